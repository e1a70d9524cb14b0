//! The file that a run reads: found, judged and opened anew for each run, and given to the child as
//! an open descriptor. So nothing that changes on the disk between the look and the child's own
//! open, or between two tries, leads it to another file.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::bounded;
use nix::fcntl::OFlag;

use crate::domain::engine::SourceFile;
use crate::domain::stream::{Cause, Diagnosis};

/// A disk that takes longer is not waited for: the owner of all streams waits here.
const OPEN_WITHIN: Duration = Duration::from_secs(2);

/// Opens a regular file below `root`, whatever links lead to it; `None` for anything else. What
/// lies outside is not told apart from what is not there.
pub fn open_below(root: &Path, path: &str) -> Option<File> {
    let root = root.canonicalize().ok()?;
    // An absolute path replaces the root in `join`, and is then checked like any other.
    let path = root.join(path).canonicalize().ok()?;
    if !path.starts_with(&root) {
        return None;
    }
    // A pipe or a device in its place must neither be waited for nor become our terminal.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)
        .ok()?;
    // What counts is what has been opened: a directory on the way may have been swapped since.
    let opened = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    (opened.starts_with(&root) && file.metadata().ok()?.is_file()).then_some(file)
}

/// Opens files for runs, without ever waiting long.
#[derive(Debug, Default)]
pub(super) struct Opener {
    /// An earlier open has not come back.
    hangs: Arc<AtomicBool>,
}

impl Opener {
    /// The file of a run, or why there is none.
    pub(super) fn open(&self, file: &SourceFile) -> Result<File, Diagnosis> {
        let silent = || Diagnosis {
            cause: Cause::SourceStream,
            detail: "the disk that holds the file does not answer".to_owned(),
        };
        if self.hangs.swap(true, Ordering::AcqRel) {
            return Err(silent());
        }
        let (done, opened) = bounded(1);
        let (hangs, file) = (Arc::clone(&self.hangs), file.clone());
        let begun = std::thread::Builder::new()
            .name("child-file".to_owned())
            .stack_size(128 * 1024)
            .spawn(move || {
                let found = open_below(&file.root, &file.path);
                hangs.store(false, Ordering::Release);
                // Nobody waits any more: then it is closed again.
                let _ = done.send(found);
            });
        if let Err(why) = begun {
            self.hangs.store(false, Ordering::Release);
            return Err(Diagnosis {
                cause: Cause::EngineStart,
                detail: format!("the file could not be opened: {why}"),
            });
        }
        match opened.recv_timeout(OPEN_WITHIN) {
            Ok(Some(file)) => Ok(file),
            Ok(None) => Err(Diagnosis {
                cause: Cause::SourceRefused,
                detail: "sourceUrl names no regular file below lss.ffmpeg.file_root (any more)"
                    .to_owned(),
            }),
            Err(_) => Err(silent()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_is_opened_is_below_the_root_whatever_leads_there() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("media");
        std::fs::create_dir_all(root.join("sub")).unwrap();
        std::fs::write(root.join("sub/a.mp4"), "inside").unwrap();
        std::fs::write(dir.path().join("secret"), "outside").unwrap();
        symlink(dir.path().join("secret"), root.join("out")).unwrap();
        symlink(root.join("sub/a.mp4"), root.join("in")).unwrap();
        nix::unistd::mkfifo(&root.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let absolute = root.join("sub/a.mp4");
        for good in [
            "sub/a.mp4",
            "in",
            "sub/../sub/a.mp4",
            absolute.to_str().unwrap(),
        ] {
            let mut text = String::new();
            let mut file = open_below(&root, good).unwrap_or_else(|| panic!("{good}"));
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text, "inside", "{good}");
        }
        for bad in [
            "../secret",
            "out",
            "sub",
            "none",
            "",
            "/etc/passwd",
            "pipe",
            "/dev/null",
        ] {
            assert!(open_below(&root, bad).is_none(), "{bad}");
        }
        assert!(open_below(&dir.path().join("gone"), "a.mp4").is_none());
    }

    #[test]
    fn what_is_swapped_between_two_runs_is_judged_again() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("media");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join("a.mp4"), "inside").unwrap();
        std::fs::write(dir.path().join("secret"), "outside").unwrap();
        let file = SourceFile {
            root: root.clone(),
            path: "link.mp4".to_owned(),
        };
        let opener = Opener::default();
        symlink("a.mp4", root.join("link.mp4")).unwrap();
        let mut first = opener.open(&file).unwrap();
        std::fs::remove_file(root.join("link.mp4")).unwrap();
        symlink("../secret", root.join("link.mp4")).unwrap();
        assert_eq!(opener.open(&file).unwrap_err().cause, Cause::SourceRefused);
        // The first is what it was.
        let mut text = String::new();
        first.read_to_string(&mut text).unwrap();
        assert_eq!(text, "inside");
        // A disk that hangs is asked once at a time.
        opener.hangs.store(true, Ordering::Release);
        assert_eq!(opener.open(&file).unwrap_err().cause, Cause::SourceStream);
    }
}
