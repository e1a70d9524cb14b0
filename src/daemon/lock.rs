//! One daemon a node.
//!
//! The lock is on an empty file in a directory that only lss's user can enter, so no other user of
//! the machine can hold it and keep lss from starting. Two daemons of a node may see different
//! places (a service manager gives one its own, or hides some): each takes the lock in every place
//! that lets it, so one that they share is enough. Locks end with the process, however it ends.

use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, FcntlArg, OFlag, fcntl, open, openat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};
use nix::unistd::{Uid, UnlinkatFlags, unlinkat};

use crate::infrastructure::guard::Claim;
use crate::util::places::{ADVICE, places};

#[expect(clippy::cast_possible_truncation, reason = "2")]
const UNLOCKED: libc::c_short = libc::F_UNLCK as libc::c_short;
/// Somebody may remove the file just before it is locked, so often.
const TRIES: usize = 8;

/// Held while the daemon lives.
#[derive(Debug)]
pub struct NodeLock {
    held: Vec<Held>,
}

/// The lock in one place.
#[derive(Debug)]
struct Held {
    dir: PathBuf,
    at: OwnedFd,
    name: OsString,
    file: Arc<File>,
}

/// The way to say which cameras are this daemon's. Outlives the lock.
#[derive(Clone)]
pub struct Claims(Vec<Arc<File>>);

/// Why the lock can't be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("a daemon of node {0} already runs on this machine")]
    Held(String),
    /// No place lets us, each with its reason.
    #[error("no directory takes its lock ({0}); {ADVICE}")]
    NoPlace(String),
}

impl NodeLock {
    /// Whether some process has the lock of `node_id`. Does not take it, not even for a moment.
    /// Only root sees those of other users.
    pub fn is_held(node_id: &str) -> bool {
        is_held_in(&places(), node_id)
    }

    /// Takes the lock of `node_id`.
    pub fn take(node_id: &str) -> Result<Self, LockError> {
        let own = format!("lss-{}", Uid::effective());
        let dirs: Vec<PathBuf> = places().iter().map(|place| place.join(&own)).collect();
        Self::take_in(&dirs, node_id)
    }

    /// For claiming cameras.
    pub fn claims(&self) -> Claims {
        Claims(self.held.iter().map(|held| held.file.clone()).collect())
    }

    /// Where the lock is.
    pub fn paths(&self) -> Vec<PathBuf> {
        let held = self.held.iter();
        held.map(|held| held.dir.join(&held.name)).collect()
    }

    fn take_in(dirs: &[PathBuf], node_id: &str) -> Result<Self, LockError> {
        let mut held: Vec<Held> = Vec::new();
        let mut refusals = Vec::new();
        for dir in dirs {
            match Held::take(dir, node_id, &held) {
                Ok(Some(lock)) => held.push(lock),
                Ok(None) => {}
                Err(why) if is_locked(&why) => return Err(LockError::Held(node_id.to_owned())),
                Err(why) => refusals.push(format!("{}: {why}", dir.display())),
            }
        }
        if held.is_empty() {
            return Err(LockError::NoPlace(refusals.join("; ")));
        }
        Ok(Self { held })
    }
}

impl Claims {
    /// Says of a camera whose it is; what is said holds until the daemon ends, or says otherwise.
    pub fn say(&self, place: &str, claim: Claim) {
        let [begins, holds] = bytes_of(place);
        // Only a daemon of this node has the file open for this, and no other one runs.
        let set = |byte, on: bool| {
            for file in &self.0 {
                let mut lock = range(byte);
                if !on {
                    lock.l_type = UNLOCKED;
                }
                let _ = fcntl(file, FcntlArg::F_OFD_SETLK(&lock));
            }
        };
        if claim == Claim::Holds {
            set(holds, true);
        }
        set(begins, claim == Claim::Begins);
    }
}

/// What a living daemon says of a camera in one of these lock files.
pub fn claimed(locks: &[PathBuf], place: &str) -> Option<Claim> {
    let [begins, holds] = bytes_of(place);
    let is = |byte| locks.iter().any(|path| is_locked_at(path, byte));
    if is(holds) {
        Some(Claim::Holds)
    } else {
        is(begins).then_some(Claim::Begins)
    }
}

/// Two bytes of the lock file for each camera; the first of all is the node's. Cameras that share them
/// would only make a guard let go of one too early, and there are 2^29.
fn bytes_of(place: &str) -> [libc::off_t; 2] {
    // FNV-1a.
    let hash = place.bytes().fold(0x811c_9dc5_u32, |h, b| {
        (h ^ u32::from(b)).wrapping_mul(0x0100_0193)
    });
    let first = libc::off_t::from(i32::try_from(hash >> 3).unwrap_or(0)) * 2 + 1;
    [first, first + 1]
}

/// Looks without taking anything.
fn is_locked_at(path: &Path, byte: libc::off_t) -> bool {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty()).is_ok_and(|file| {
        let mut wanted = range(byte);
        fcntl(&file, FcntlArg::F_OFD_GETLK(&mut wanted)).is_ok() && wanted.l_type != UNLOCKED
    })
}

fn is_held_in(places: &[PathBuf], node_id: &str) -> bool {
    let of_lss = |entry: io::Result<std::fs::DirEntry>| {
        let entry = entry.ok()?;
        let is = entry.file_name().to_str()?.starts_with("lss-");
        is.then(|| entry.path().join(name_of(node_id)))
    };
    places
        .iter()
        .filter_map(|place| std::fs::read_dir(place).ok())
        .flat_map(|entries| entries.filter_map(of_lss).collect::<Vec<_>>())
        .any(|path| is_locked_at(&path, 0))
}

impl Held {
    /// `None` where one of `others` is this very file, by another way.
    fn take(dir: &Path, node_id: &str, others: &[Self]) -> io::Result<Option<Self>> {
        let name = name_of(node_id);
        for _ in 0..TRIES {
            match DirBuilder::new().mode(0o700).create(dir) {
                Err(why) if why.kind() != io::ErrorKind::AlreadyExists => return Err(why),
                _ => {}
            }
            let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let at = match open(dir, OFlag::O_PATH | flags, Mode::empty()) {
                Err(Errno::ENOENT) => continue,
                opened => opened?,
            };
            is_private(&fstat(&at)?)?;
            let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let file = match openat(&at, name.as_os_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR) {
                Err(Errno::ENOENT) => continue,
                opened => File::from(opened?),
            };
            let mine = fstat(&file)?;
            for other in others {
                if is_same(&fstat(&other.file)?, &mine) {
                    return Ok(None);
                }
            }
            // Of the open file, not of the process: a child that is just being forked shares it for a
            // moment, and closes it without letting go.
            fcntl(&file, FcntlArg::F_OFD_SETLK(&range(0)))?;
            // Whoever held it before may have removed it meanwhile: then the lock is on nothing.
            match fstatat(&at, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(there) if is_same(&there, &mine) => {
                    let (dir, file) = (dir.to_owned(), Arc::new(file));
                    return Ok(Some(Self {
                        dir,
                        at,
                        name,
                        file,
                    }));
                }
                Ok(_) | Err(Errno::ENOENT) => {}
                Err(why) => return Err(why.into()),
            }
        }
        Err(io::Error::other("its files come and go"))
    }
}

impl Drop for Held {
    /// While the lock is held, so nobody else's is removed.
    fn drop(&mut self) {
        let _ = unlinkat(&self.at, self.name.as_os_str(), UnlinkatFlags::NoRemoveDir);
        // Of another node there may be one still.
        let _ = std::fs::remove_dir(&self.dir);
    }
}

/// By the lock alone: whoever may not enter a directory gets another error.
fn is_locked(why: &io::Error) -> bool {
    why.raw_os_error() == Some(Errno::EAGAIN as i32)
}

/// A directory that was there before may be another user's.
fn is_private(dir: &FileStat) -> io::Result<()> {
    if dir.st_uid != Uid::effective().as_raw() {
        return Err(io::Error::other("it belongs to another user"));
    }
    if dir.st_mode & 0o077 != 0 {
        return Err(io::Error::other("other users may enter it"));
    }
    Ok(())
}

fn is_same(one: &FileStat, other: &FileStat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

/// A node id holds letters, digits and `._:-`, and begins with `lss-`.
fn name_of(node_id: &str) -> OsString {
    format!("{node_id}.lock").into()
}

/// One byte, which need not be there.
fn range(start: libc::off_t) -> libc::flock {
    #[expect(clippy::cast_possible_truncation, reason = "0 and 1")]
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start,
        l_len: 1,
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    const NODE: &str = "lss-a:1";

    fn dirs(place: &tempfile::TempDir, names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(|name| place.path().join(name)).collect()
    }

    #[test]
    fn one_at_a_time_and_free_again() {
        let place = tempfile::tempdir().unwrap();
        let (dir, root) = (dirs(&place, &["lss-7"]), [place.path().to_owned()]);
        assert!(!is_held_in(&root, NODE));
        let held = NodeLock::take_in(&dir, NODE).unwrap();
        assert!(is_held_in(&root, NODE));
        let refused = NodeLock::take_in(&dir, NODE).unwrap_err();
        assert!(matches!(refused, LockError::Held(_)), "{refused}");
        // Looking has not let go, and another node is another's.
        assert!(is_held_in(&root, NODE));
        drop(NodeLock::take_in(&dir, "lss-b").unwrap());
        let meta = std::fs::metadata(dir[0].join("lss-a:1.lock")).unwrap();
        assert_eq!((meta.len(), meta.mode() & 0o777), (0, 0o600));
        assert_eq!(std::fs::metadata(&dir[0]).unwrap().mode() & 0o777, 0o700);
        drop(held);
        assert!(!is_held_in(&root, NODE));
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
        NodeLock::take_in(&dir, NODE).unwrap();
    }

    #[test]
    fn cameras_are_claimed_until_the_daemon_ends() {
        let place = tempfile::tempdir().unwrap();
        let held = NodeLock::take_in(&dirs(&place, &["a", "b"]), NODE).unwrap();
        let paths = held.paths();
        let claims = held.claims();
        let said = |paths: &[PathBuf]| claimed(paths, "10.0.0.9/1");
        assert_eq!(said(&paths), None);
        for (claim, is) in [
            (Claim::Begins, Some(Claim::Begins)),
            (Claim::Fails, None),
            (Claim::Begins, Some(Claim::Begins)),
            (Claim::Holds, Some(Claim::Holds)),
            // Another movement, which the camera does not take: it is ours all the same.
            (Claim::Begins, Some(Claim::Holds)),
            (Claim::Fails, Some(Claim::Holds)),
        ] {
            claims.say("10.0.0.9/1", claim);
            assert_eq!((said(&paths), said(&paths[1..])), (is, is), "{claim:?}");
        }
        assert_eq!(claimed(&paths, "10.0.0.9/2"), None);
        drop(held);
        // The name is gone, though somebody still holds the file.
        assert_eq!(said(&paths), None);
    }

    #[test]
    fn one_place_in_common_is_enough() {
        let place = tempfile::tempdir().unwrap();
        let _held = NodeLock::take_in(&dirs(&place, &["a", "b"]), NODE).unwrap();
        let refused = NodeLock::take_in(&dirs(&place, &["b", "c"]), NODE);
        assert!(matches!(refused, Err(LockError::Held(_))));
        assert!(!place.path().join("c").exists());
    }

    #[test]
    fn the_same_place_by_two_ways_is_no_second_daemon() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("real")).unwrap();
        symlink(place.path().join("real"), place.path().join("alias")).unwrap();
        let held = NodeLock::take_in(&dirs(&place, &["real/l", "alias/l"]), NODE).unwrap();
        assert_eq!(held.held.len(), 1);
    }

    #[test]
    fn what_is_left_of_a_killed_one_is_no_lock() {
        let place = tempfile::tempdir().unwrap();
        let dir = dirs(&place, &["l"]);
        std::mem::forget(NodeLock::take_in(&dir, "lss-forgotten").unwrap());
        DirBuilder::new()
            .mode(0o700)
            .create(place.path().join("m"))
            .unwrap();
        std::fs::write(place.path().join("m/lss-a:1.lock"), "").unwrap();
        NodeLock::take_in(&dirs(&place, &["m"]), NODE).unwrap();
    }

    /// A directory that somebody has put there first is not entered: not an open one, not a link.
    #[test]
    fn nobody_can_put_one_in_the_way() {
        let place = tempfile::tempdir().unwrap();
        let open_to_all = place.path().join("open");
        std::fs::create_dir(&open_to_all).unwrap();
        let all = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(&open_to_all, all).unwrap();
        symlink(place.path(), place.path().join("link")).unwrap();
        std::fs::write(place.path().join("file"), "").unwrap();
        let refused = NodeLock::take_in(&dirs(&place, &["open", "link", "file"]), NODE);
        let words = refused.unwrap_err().to_string();
        for part in [
            "other users may enter it",
            "link: ",
            "file: ",
            "RuntimeDirectory=",
        ] {
            assert!(words.contains(part), "{part}: {words}");
        }
        // And a lock file that is a link leads nowhere.
        let dir = dirs(&place, &["d"]);
        DirBuilder::new().mode(0o700).create(&dir[0]).unwrap();
        symlink(place.path().join("elsewhere"), dir[0].join("lss-a:1.lock")).unwrap();
        assert!(NodeLock::take_in(&dir, NODE).is_err());
        assert!(!place.path().join("elsewhere").exists());
        // With one good place left the others don't matter.
        NodeLock::take_in(&dirs(&place, &["open", "good"]), NODE).unwrap();
        if Uid::effective().is_root() {
            let theirs = dirs(&place, &["theirs"]);
            DirBuilder::new().mode(0o700).create(&theirs[0]).unwrap();
            std::os::unix::fs::chown(&theirs[0], Some(12_345), None).unwrap();
            let words = NodeLock::take_in(&theirs, NODE).unwrap_err().to_string();
            assert!(words.contains("another user"), "{words}");
        }
    }
}
