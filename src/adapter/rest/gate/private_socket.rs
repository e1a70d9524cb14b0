//! A listening Unix socket that nobody but its owner can reach and that leaves nothing on disk.
//!
//! It is bound inside a fresh directory of mode 0700, its inode is held by an `O_PATH`
//! descriptor, and file and directory are removed at once. From then on the way to it is
//! `/proc/self/fd/N`, which leads to the inode without a name. Where that does not work (no
//! `/proc`), the directory stays until the socket is dropped.

use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::sys::stat::Mode;

use crate::util::places::{ADVICE, places};

/// The way to a listener that only this process knows.
pub struct PrivateSocket {
    address: UnixAddr,
    /// Keeps the inode that `address` leads to.
    _inode: Option<OwnedFd>,
    /// What is still on disk, if anything.
    _kept: Option<Kept>,
}

struct Kept {
    dir: PathBuf,
    socket: PathBuf,
}

impl Drop for Kept {
    fn drop(&mut self) {
        // The listener may have removed it itself; an empty directory is all that is left then.
        let _ = std::fs::remove_file(&self.socket);
        let _ = std::fs::remove_dir(&self.dir);
    }
}

/// Whether descriptors have run out.
fn is_shortage(why: &io::Error) -> bool {
    [Errno::EMFILE, Errno::ENFILE]
        .map(|e| Some(e as i32))
        .contains(&why.raw_os_error())
}

impl PrivateSocket {
    /// Binds one in the first directory that lets us: `RUNTIME_DIRECTORY`, /run, /dev/shm, the
    /// temporary directory.
    ///
    /// # Errors
    /// Out of descriptors; or no directory would have it, each with its reason, and what to do.
    pub fn bind() -> io::Result<(UnixListener, Self)> {
        Self::bind_in_any(places().into_iter())
    }

    fn bind_in_any(places: impl Iterator<Item = PathBuf>) -> io::Result<(UnixListener, Self)> {
        let mut refusals = Vec::new();
        for place in places {
            match Self::bind_in(&place) {
                Ok(bound) => return Ok(bound),
                // No other place is better then, and whoever asked knows this one.
                Err(why) if is_shortage(&why) => return Err(why),
                Err(why) => refusals.push(format!("{}: {why}", place.display())),
            }
        }
        // Only a directory will do: a listener wants a name, an abstract one is open to every
        // user of the machine, and none is made without a directory.
        Err(io::Error::other(format!(
            "no directory takes its private socket ({}); {ADVICE}",
            refusals.join("; ")
        )))
    }

    fn bind_in(place: &Path) -> io::Result<(UnixListener, Self)> {
        let dir = place.join(format!("lss-{:016x}", fastrand::u64(..)));
        // Fails if it exists, so it is ours and empty.
        DirBuilder::new().mode(0o700).create(&dir)?;
        let kept = Kept {
            socket: dir.join("s"),
            dir,
        };
        let listener = UnixListener::bind(&kept.socket)?;
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let inode = open(&kept.socket, flags, Mode::empty())?;
        let by_inode = Self {
            address: UnixAddr::new(format!("/proc/self/fd/{}", inode.as_raw_fd()).as_str())?,
            _inode: Some(inode),
            _kept: None,
        };
        if by_inode.reaches(&listener).is_ok() {
            drop(kept);
            return Ok((listener, by_inode));
        }
        let by_name = Self {
            address: UnixAddr::new(&kept.socket)?,
            _inode: None,
            _kept: Some(kept),
        };
        by_name.reaches(&listener)?;
        Ok((listener, by_name))
    }

    /// Connects once and takes that connection off the listener again.
    fn reaches(&self, listener: &UnixListener) -> io::Result<()> {
        let _probe = self.connect()?;
        listener.set_nonblocking(true)?;
        listener.accept()?;
        listener.set_nonblocking(false)
    }

    /// A non-blocking connection to the listener. `ConnectionRefused` if it is gone.
    pub fn connect(&self) -> io::Result<UnixStream> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        connect(fd.as_raw_fd(), &self.address)?;
        Ok(UnixStream::from(fd))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn reachable_without_a_name() {
        let place = tempfile::tempdir().unwrap();
        let (listener, socket) = PrivateSocket::bind_in(place.path()).unwrap();
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
        let mut client = socket.connect().unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(b"x").unwrap();
        let mut byte = [0];
        server.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
        drop(listener);
        assert_eq!(
            socket.connect().unwrap_err().kind(),
            io::ErrorKind::ConnectionRefused
        );
    }

    #[test]
    fn every_refusal_is_told_with_its_reason() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("file");
        std::fs::write(&file, "").unwrap();
        let missing = place.path().join("missing");
        let refused = PrivateSocket::bind_in_any([missing.clone(), file].into_iter());
        let words = refused.map(|_| ()).unwrap_err().to_string();
        let first = format!("{}: No such file or directory", missing.display());
        assert!(words.contains(&first), "{words}");
        assert!(words.contains("file: Not a directory"), "{words}");
        assert!(words.contains("RuntimeDirectory="), "{words}");
    }

    #[test]
    fn a_kept_name_goes_with_the_socket() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("d");
        std::fs::create_dir(&dir).unwrap();
        let kept = Kept {
            socket: dir.join("s"),
            dir,
        };
        let listener = UnixListener::bind(&kept.socket).unwrap();
        let socket = PrivateSocket {
            address: UnixAddr::new(&kept.socket).unwrap(),
            _inode: None,
            _kept: Some(kept),
        };
        socket.reaches(&listener).unwrap();
        drop(socket);
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
    }
}
