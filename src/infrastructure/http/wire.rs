//! A connection to a camera, plain or by TLS, whose every read and write ends by one deadline.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

use rustls::{ClientConnection, Stream};

use super::bounded::Bounded;

/// See the module.
#[derive(Debug)]
pub struct Wire {
    tcp: Bounded,
    tls: Option<Box<ClientConnection>>,
    /// By TLS: nothing more comes.
    has_ended: bool,
}

impl Wire {
    /// Without TLS.
    pub fn plain(tcp: TcpStream, deadline: Instant) -> Self {
        Self {
            tcp: Bounded::of(tcp, deadline),
            tls: None,
            has_ended: false,
        }
    }

    /// With TLS, hands shaken.
    pub(super) fn secured(tcp: Bounded, tls: ClientConnection) -> Self {
        Self {
            tcp,
            tls: Some(Box::new(tls)),
            has_ended: false,
        }
    }

    /// Of everything that follows.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.tcp.set_deadline(deadline);
    }

    /// To wait on. What has been decrypted already makes it no readier: see [`Wire::holds_more`].
    pub fn socket(&self) -> &TcpStream {
        self.tcp.socket()
    }

    /// Whether there is something to be read that the socket does not know of.
    pub fn holds_more(&self) -> bool {
        // Records are decrypted whole; it wants more only when all of that has been taken.
        self.tls.as_ref().is_some_and(|tls| !tls.wants_read())
    }

    /// Tells the other end that nothing more is read.
    pub fn shut_down(&self) {
        let _ = self.socket().shutdown(Shutdown::Both);
    }

    /// Whether it is open with nothing to read. A camera that has closed it, or that says something
    /// without having been asked, is not quiet. What TLS says for itself (tickets) does not count.
    pub fn is_quiet(&mut self) -> bool {
        if self.socket().set_nonblocking(true).is_err() {
            return false;
        }
        let quiet = self.looks_quiet();
        quiet && self.socket().set_nonblocking(false).is_ok()
    }

    /// Whether the other end has closed it already. A login that is about to be sent would be lost
    /// on it, and nobody could tell whether it was counted.
    pub fn is_closed(&mut self) -> bool {
        if self.socket().set_nonblocking(true).is_err() {
            return true;
        }
        let open = self.looks_quiet()
            || match &self.tls {
                None => matches!(self.socket().peek(&mut [0_u8; 1]), Ok(n) if n > 0),
                // What it has said and nobody has taken yet.
                Some(tls) => !tls.wants_read() && !self.has_ended,
            };
        self.socket().set_nonblocking(false).is_err() || !open
    }

    fn looks_quiet(&mut self) -> bool {
        let waits = |why: &io::Error| why.kind() == io::ErrorKind::WouldBlock;
        let Some(tls) = &mut self.tls else {
            return matches!(self.socket().peek(&mut [0_u8; 1]), Err(why) if waits(&why));
        };
        let mut socket = self.tcp.socket();
        loop {
            match tls.read_tls(&mut socket) {
                Err(why) if waits(&why) => return true,
                Ok(0) | Err(_) => {
                    self.has_ended = true;
                    return false;
                }
                Ok(_) => {}
            }
            match tls.process_new_packets() {
                Ok(state) if state.peer_has_closed() => {
                    self.has_ended = true;
                    return false;
                }
                Ok(state) if state.plaintext_bytes_to_read() == 0 => {}
                Ok(_) => return false,
                Err(_) => {
                    self.has_ended = true;
                    return false;
                }
            }
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.tcp.read(buf),
            Some(tls) => match Stream::new(tls.as_mut(), &mut self.tcp).read(buf) {
                // Hardly any camera takes its leave. Whether something is missing shows in what
                // there is.
                Err(why) if why.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
                read => read,
            },
        }
    }
}

impl Write for Wire {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.tcp.write(buf),
            Some(tls) => {
                let mut stream = Stream::new(tls.as_mut(), &mut self.tcp);
                let written = stream.write(buf)?;
                // It keeps what the socket did not take, and its error.
                stream.flush()?;
                Ok(written)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            None => self.tcp.flush(),
            Some(tls) => Stream::new(tls.as_mut(), &mut self.tcp).flush(),
        }
    }
}
