//! Sockets that never block: TCP, and TLS over it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::connection::types::{FaultKind, TransportFault};

/// Begins a TCP connection; [`connected`] tells what became of it once the socket is writable.
pub(super) fn dial(to: SocketAddr) -> io::Result<TcpStream> {
    let family = if to.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(family, SockType::Stream, flags, None)?;
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(TcpStream::from(fd)),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether the connection has come about; `Err(WouldBlock)` = not yet.
pub(super) fn connected(stream: &TcpStream) -> io::Result<()> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Ok(_) => stream.set_nodelay(true),
        Err(error) if error.kind() == ErrorKind::NotConnected => Err(ErrorKind::WouldBlock.into()),
        Err(error) => Err(error),
    }
}

/// A TCP socket that counts what it wrote and read: progress is what tells a slow line from a dead
/// one.
pub(super) struct Counted {
    tcp: TcpStream,
    written: u64,
    read: u64,
}

impl Read for Counted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.tcp.read(buf)?;
        self.read = self.read.wrapping_add(u64::try_from(read).unwrap_or(0));
        Ok(read)
    }
}

impl Write for Counted {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let written = self.tcp.write(buf)?;
        self.written = self
            .written
            .wrapping_add(u64::try_from(written).unwrap_or(0));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

/// A connected socket.
pub(super) enum Stream {
    /// Without TLS: only ever to a loopback address.
    Plain(Counted),
    /// With TLS. Handshakes by itself at the first reads and writes.
    Tls(Box<StreamOwned<ClientConnection, Counted>>),
}

impl Stream {
    /// Puts TLS on a connected socket, if it is asked for.
    pub(super) fn new(
        tcp: TcpStream,
        tls: Option<&Arc<ClientConfig>>,
        host: &str,
    ) -> Result<Self, TransportFault> {
        let counted = Counted {
            tcp,
            written: 0,
            read: 0,
        };
        let Some(config) = tls else {
            return Ok(Self::Plain(counted));
        };
        let tls_fault = |text: String| TransportFault {
            kind: FaultKind::Tls,
            text,
        };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| tls_fault(format!("'{host}' is no name a certificate can have")))?;
        let connection = ClientConnection::new(Arc::clone(config), name)
            .map_err(|e| tls_fault(format!("TLS: {e}")))?;
        Ok(Self::Tls(Box::new(StreamOwned::new(connection, counted))))
    }

    /// Bytes that went out on the wire.
    pub(super) fn written(&self) -> u64 {
        match self {
            Self::Plain(counted) => counted.written,
            Self::Tls(tls) => tls.sock.written,
        }
    }

    /// Bytes that came in on the wire.
    pub(super) fn received(&self) -> u64 {
        match self {
            Self::Plain(counted) => counted.read,
            Self::Tls(tls) => tls.sock.read,
        }
    }

    /// Whether TLS has records to write of its own accord.
    pub(super) fn wants_write(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => tls.conn.wants_write(),
        }
    }

    /// Whether something has been taken off the socket that nobody has read yet: poll(2) does not
    /// tell of it. A blocked write makes TLS read.
    pub(super) fn holds_input(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => !tls.conn.is_handshaking() && !tls.conn.wants_read(),
        }
    }

    /// Whether the TLS handshake is still under way.
    pub(super) fn is_handshaking(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => tls.conn.is_handshaking(),
        }
    }

    /// Says goodbye as far as that is possible without waiting.
    pub(super) fn farewell(&mut self) {
        if let Self::Tls(tls) = self {
            tls.conn.send_close_notify();
            // The socket is dropped next: whether this went out is no longer of interest.
            let _ = tls.flush();
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(counted) => counted.read(buf),
            Self::Tls(tls) => tls.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(counted) => counted.write(buf),
            // Where the socket takes nothing but has something to read, rustls reads, calls that
            // progress, and then has no room: nothing written, no error. A caller takes that for
            // the end of the connection; it is none.
            Self::Tls(tls) => match tls.write(buf) {
                Ok(0) if !buf.is_empty() => Err(ErrorKind::WouldBlock.into()),
                other => other,
            },
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(counted) => counted.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Plain(counted) => counted.tcp.as_fd(),
            Self::Tls(tls) => tls.sock.tcp.as_fd(),
        }
    }
}

/// What kind of fault an I/O error before the upgrade is.
pub(super) fn early_fault(error: &io::Error) -> TransportFault {
    let tls = error
        .get_ref()
        .is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>);
    TransportFault {
        kind: if tls {
            FaultKind::Tls
        } else {
            FaultKind::Connect
        },
        text: if tls {
            format!("TLS: {error}")
        } else {
            error.to_string()
        },
    }
}
