//! The state directory: the few things that have to outlive a restart, where the machine has a place
//! for them (`lss.node.state_dir`, or the service manager's).

pub mod certificates;
pub mod logins;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Makes the directory if need be, for its owner alone.
pub fn prepare(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(why) if why.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Writes a file so that after a crash, whenever that is, the old one is there or the new one,
/// whole; for its owner alone.
pub fn write(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let fresh = dir.join(format!("{name}.new"));
    // Of a run that was ended in the middle.
    match fs::remove_file(&fresh) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, dir.join(name))?;
    File::open(dir)?.sync_all()
}

/// Reads a file of at most so many bytes; `None` where there is none. Follows no link.
pub fn read(dir: &Path, name: &str, most: u64) -> io::Result<Option<Vec<u8>>> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(dir.join(name));
    let file = match opened {
        Ok(file) => file,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(why),
    };
    let meta = file.metadata()?;
    if !meta.is_file() || meta.len() > most {
        let words = "it is no file, or too long";
        return Err(io::Error::new(io::ErrorKind::InvalidData, words));
    }
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn what_is_written_is_read_and_nobody_else_s() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        prepare(&state).unwrap();
        prepare(&state).unwrap();
        assert_eq!(read(&state, "x", 9).unwrap(), None);
        // What a crash left behind is in nobody's way.
        fs::write(state.join("x.new"), "half").unwrap();
        for text in ["one", "two"] {
            write(&state, "x", text.as_bytes()).unwrap();
            assert_eq!(read(&state, "x", 9).unwrap().unwrap(), text.as_bytes());
        }
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&state), mode(&state.join("x"))), (0o700, 0o600));
        assert_eq!(fs::read_dir(&state).unwrap().count(), 1);
        assert!(read(&state, "x", 2).is_err(), "too long");
        symlink(state.join("x"), state.join("link")).unwrap();
        assert!(read(&state, "link", 9).is_err());
        assert!(read(dir.path(), "state", 9).is_err());
        assert!(write(&dir.path().join("gone"), "x", b"").is_err());
    }
}
