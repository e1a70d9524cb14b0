//! An exchange with its two sockets: moves bytes, decides nothing.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{setsockopt, sockopt};

use super::exchange::{Exchange, Pace};

/// Reads from one socket before the others have their turn.
const READS_A_TURN: usize = 4;

/// What `poll` says of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Ready {
    client: PollFlags,
    backend: PollFlags,
}

impl Ready {
    /// As if the client had sent something.
    pub const INPUT: Self = Self {
        client: PollFlags::POLLIN,
        backend: PollFlags::empty(),
    };
}

/// A client, and tiny_http's side while its request is served.
pub struct Connection {
    client: TcpStream,
    /// With the moment it was connected.
    backend: Option<(UnixStream, Instant)>,
    /// Where it stands.
    pub exchange: Exchange,
}

impl Connection {
    /// A connection that was just accepted.
    pub fn new(client: TcpStream, peer: IpAddr, pace: Pace, now: Instant) -> io::Result<Self> {
        client.set_nonblocking(true)?;
        // An answer is written at once or in large pieces: waiting for more gains nothing.
        client.set_nodelay(true)?;
        // What the kernel still holds for a client that does not read is not held for ever.
        let patience = u32::try_from((pace.stall + pace.linger).as_millis()).unwrap_or(u32::MAX);
        setsockopt(&client, sockopt::TcpUserTimeout, &patience)?;
        Ok(Self {
            client,
            backend: None,
            exchange: Exchange::new(peer, pace, now),
        })
    }

    /// Adds what is waited for: one entry for the client, one for the backend if there is one.
    pub fn watch<'fd>(&'fd self, fds: &mut Vec<PollFd<'fd>>) {
        let mut client = PollFlags::empty();
        client.set(PollFlags::POLLIN, self.exchange.reads_client());
        client.set(PollFlags::POLLOUT, !self.exchange.to_client().is_empty());
        // Even with nothing asked for, a broken connection is reported.
        fds.push(PollFd::new(self.client.as_fd(), client));
        if let Some((backend, _)) = &self.backend {
            let mut flags = PollFlags::POLLIN;
            flags.set(PollFlags::POLLOUT, !self.exchange.to_backend().is_empty());
            fds.push(PollFd::new(backend.as_fd(), flags));
        }
    }

    /// Takes the entries of [`watch`](Self::watch) off a list of results.
    pub fn ready(&self, events: &mut impl Iterator<Item = PollFlags>) -> Ready {
        let mut next = || events.next().unwrap_or(PollFlags::empty());
        let client = next();
        let backend = match self.backend {
            Some(_) => next(),
            None => PollFlags::empty(),
        };
        Ready { client, backend }
    }

    /// The outcome of connecting to tiny_http.
    pub fn set_backend(&mut self, backend: io::Result<UnixStream>, now: Instant) {
        match backend {
            Ok(stream) => {
                self.backend = Some((stream, now));
                self.exchange.on_backend_connected();
                self.write_backend();
            }
            Err(why) => {
                // Running out of descriptors has been said already, once for all requests.
                if why.raw_os_error() != Some(Errno::EMFILE as i32) {
                    log::error!(error:% = why; "a REST request could not be handed on");
                }
                self.exchange.on_backend_end(now);
                self.flush(now);
            }
        }
    }

    /// Since when tiny_http is connected, if it is.
    pub fn backend_since(&self) -> Option<Instant> {
        self.backend.as_ref().map(|(_, since)| *since)
    }

    /// Moves what can be moved.
    pub fn advance(&mut self, ready: Ready, now: Instant, buffer: &mut [u8]) {
        let broken = PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL;
        if self.exchange.reads_client() {
            if !ready.client.is_empty() {
                self.read_client(buffer, now);
            }
        } else if ready.client.intersects(broken) {
            self.exchange.on_client_gone();
        }
        self.write_backend();
        if !ready.backend.is_empty() {
            self.read_backend(buffer, now);
        }
        self.flush(now);
    }

    fn read_client(&mut self, buffer: &mut [u8], now: Instant) {
        for _ in 0..READS_A_TURN {
            if !self.exchange.reads_client() {
                return;
            }
            match self.client.read(buffer) {
                Ok(0) => return self.exchange.on_client_end(now),
                Ok(count) => {
                    let bytes = buffer.get(..count).unwrap_or_default();
                    self.exchange.on_client_bytes(bytes, now);
                }
                Err(why) if why.kind() == ErrorKind::WouldBlock => return,
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.exchange.on_client_gone(),
            }
        }
    }

    fn write_backend(&mut self) {
        let Some((backend, _)) = &mut self.backend else {
            return;
        };
        while !self.exchange.to_backend().is_empty() {
            match backend.write(self.exchange.to_backend()) {
                Ok(count) if count > 0 => self.exchange.backend_took(count),
                Err(why) if why.kind() == ErrorKind::WouldBlock => return,
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                // Answered without being read to the end; the answer is what counts.
                Ok(_) | Err(_) => {
                    let left = self.exchange.to_backend().len();
                    self.exchange.backend_took(left);
                }
            }
        }
    }

    fn read_backend(&mut self, buffer: &mut [u8], now: Instant) {
        for _ in 0..READS_A_TURN {
            let Some((backend, _)) = &mut self.backend else {
                return;
            };
            match backend.read(buffer) {
                Ok(count) if count > 0 => {
                    let bytes = buffer.get(..count).unwrap_or_default();
                    self.exchange.on_backend_bytes(bytes, now);
                }
                Err(why) if why.kind() == ErrorKind::WouldBlock => return,
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => {
                    self.backend = None;
                    self.exchange.on_backend_end(now);
                }
            }
        }
    }

    /// Writes to the client what it takes, and closes our side when all is said.
    pub fn flush(&mut self, now: Instant) {
        while !self.exchange.to_client().is_empty() && !self.exchange.is_done() {
            match self.client.write(self.exchange.to_client()) {
                Ok(count) if count > 0 => self.exchange.client_took(count, now),
                Err(why) if why.kind() == ErrorKind::WouldBlock => return,
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => self.exchange.on_client_gone(),
            }
        }
        if self.exchange.closes_write() {
            self.backend = None;
            // It may be broken already; then nobody is there to be told.
            let _ = self.client.shutdown(Shutdown::Write);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.exchange.to_client().is_empty() {
            return;
        }
        // Cut off in mid-answer: a reset, so that the kernel drops what it holds too.
        let at_once = nix::libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        // The socket is closed either way.
        let _ = setsockopt(&self.client, sockopt::Linger, &at_once);
    }
}
