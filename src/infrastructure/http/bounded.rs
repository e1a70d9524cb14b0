//! A TCP connection whose every read and write ends by one deadline, however a peer drips.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Of the addresses of one name, so many are tried.
const MAX_ADDRESSES: usize = 4;

/// What is left until the deadline; `None` when it has passed.
pub(in crate::infrastructure) fn left(deadline: Instant) -> Option<Duration> {
    deadline
        .checked_duration_since(Instant::now())
        .filter(|d| !d.is_zero())
}

/// See the module.
#[derive(Debug)]
pub struct Bounded {
    tcp: TcpStream,
    deadline: Instant,
}

impl Bounded {
    /// Connects to the first of `addresses` that answers; each gets its share of the time.
    pub fn connect(addresses: &[SocketAddr], deadline: Instant) -> io::Result<(Self, SocketAddr)> {
        let addresses = addresses
            .get(..addresses.len().min(MAX_ADDRESSES))
            .unwrap_or_default();
        let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "no address");
        for (tried, address) in addresses.iter().enumerate() {
            let Some(left) = left(deadline) else {
                return Err(io::ErrorKind::TimedOut.into());
            };
            let others = u32::try_from(addresses.len() - tried).unwrap_or(1);
            let share = (left / others.max(1)).max(Duration::from_millis(1));
            match TcpStream::connect_timeout(address, share) {
                Ok(tcp) => return Ok((Self { tcp, deadline }, *address)),
                Err(why) => last = why,
            }
        }
        Err(last)
    }

    /// A connection that is there.
    pub fn of(tcp: TcpStream, deadline: Instant) -> Self {
        Self { tcp, deadline }
    }

    /// For what follows.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }

    /// The socket itself, to wait on.
    pub fn socket(&self) -> &TcpStream {
        &self.tcp
    }

    fn left(&self) -> io::Result<Duration> {
        left(self.deadline).ok_or_else(|| io::ErrorKind::TimedOut.into())
    }
}

impl Read for Bounded {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.tcp.set_read_timeout(Some(self.left()?))?;
        self.tcp.read(buf)
    }
}

impl Write for Bounded {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.tcp.set_write_timeout(Some(self.left()?))?;
        self.tcp.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}
