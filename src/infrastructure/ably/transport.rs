//! One websocket, from the name to its end. Never blocks: every phase is driven by poll(2).
//!
//! Owns the socket and the websocket's buffers. Knows no protocol message and no retry; the time
//! it may take as a whole is the machine's affair, which ends it with `CloseTransport`.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use rustls::ClientConfig;
use tungstenite::error::CapacityError;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use super::connection::types::{FaultKind, TransportFault, TransportId};
use super::socket::{Stream, connected, dial, early_fault};
use super::upgrade::{Progress, Upgrade};
use crate::util::secret::Secret;

/// A frame or message larger than this ends the transport: the service sends none over 512 KiB.
pub const MAX_FRAME: usize = 1 << 20;
/// Writes that make no progress for this long end the transport.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);
/// Time for one address while there are others.
const PER_ADDRESS: Duration = Duration::from_secs(3);
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 4;
/// Frames that are read in one turn, so that timers and publishes get theirs.
const FRAMES_PER_TURN: usize = 64;

/// What a turn brought.
#[derive(Debug)]
pub(super) enum Event {
    /// The upgrade is done.
    Opened,
    /// A text frame.
    Text(String),
    /// Something that is no text frame, but a sign of life; also a part of one.
    Activity,
    /// A frame that can't be read; the transport goes on.
    Unreadable(&'static str),
    /// The end.
    Lost(TransportFault),
}

/// A websocket on its way or open.
pub(super) struct Transport {
    pub(super) id: TransportId,
    host: String,
    port: u16,
    path: Secret,
    tls: Option<Arc<ClientConfig>>,
    phase: Phase,
    /// Since when, and at how many bytes, writing is stuck.
    stuck: Option<(Instant, u64)>,
    /// Bytes that had come when that was last looked at.
    received: u64,
    /// The last turn stopped before everything was read.
    more: bool,
}

enum Phase {
    Resolving,
    Connecting {
        socket: TcpStream,
        left: VecDeque<SocketAddr>,
        until: Option<Instant>,
    },
    Upgrading {
        stream: Stream,
        upgrade: Upgrade,
    },
    Open(Box<WebSocket<Stream>>),
    Ended,
}

impl Transport {
    /// A transport whose name is being resolved.
    pub(super) fn new(
        id: TransportId,
        host: String,
        port: u16,
        path: Secret,
        tls: Option<Arc<ClientConfig>>,
    ) -> Self {
        Self {
            id,
            host,
            port,
            path,
            tls,
            phase: Phase::Resolving,
            stuck: None,
            received: 0,
            more: false,
        }
    }

    /// The name is resolved, or can't be.
    pub(super) fn resolved(
        &mut self,
        addresses: Result<Vec<SocketAddr>, String>,
        now: Instant,
    ) -> Option<Event> {
        if !matches!(self.phase, Phase::Resolving) {
            return None;
        }
        let fault = |kind, text: String| Some(Event::Lost(TransportFault { kind, text }));
        let mut addresses = match addresses {
            Ok(addresses) => addresses,
            Err(text) => return fault(FaultKind::Resolve, text),
        };
        if self.tls.is_none() {
            // The key must not travel in the clear, whatever the name resolves to (RSA1).
            addresses.retain(|a| a.ip().is_loopback());
            if addresses.is_empty() {
                let text = format!("'{}' is not a loopback address, and TLS is off", self.host);
                return fault(FaultKind::Tls, text);
            }
        }
        let left = alternate(addresses);
        if left.is_empty() {
            return fault(
                FaultKind::Resolve,
                format!("'{}' has no address", self.host),
            );
        }
        self.dial_next(left, None, now)
    }

    fn dial_next(
        &mut self,
        mut left: VecDeque<SocketAddr>,
        mut last: Option<String>,
        now: Instant,
    ) -> Option<Event> {
        while let Some(address) = left.pop_front() {
            match dial(address) {
                Ok(socket) => {
                    let until = (!left.is_empty()).then(|| now + PER_ADDRESS);
                    self.phase = Phase::Connecting {
                        socket,
                        left,
                        until,
                    };
                    return None;
                }
                Err(error) => last = Some(format!("{address}: {error}")),
            }
        }
        self.phase = Phase::Ended;
        let text = last.unwrap_or_else(|| "no address answers".to_owned());
        let kind = FaultKind::Connect;
        Some(Event::Lost(TransportFault { kind, text }))
    }

    /// Does what can be done without waiting. `listen` = whether frames may be read.
    pub(super) fn drive(&mut self, listen: bool, now: Instant) -> Vec<Event> {
        let mut events = Vec::new();
        if matches!(self.phase, Phase::Connecting { .. }) {
            events.extend(self.drive_connecting(now));
        }
        if matches!(self.phase, Phase::Upgrading { .. }) {
            events.extend(self.drive_upgrading());
        }
        if matches!(self.phase, Phase::Open(_)) {
            if listen {
                self.more = false;
                self.read(&mut events);
            }
            events.extend(self.flush(now));
        }
        events
    }

    fn drive_connecting(&mut self, now: Instant) -> Option<Event> {
        let phase = std::mem::replace(&mut self.phase, Phase::Ended);
        let Phase::Connecting {
            socket,
            left,
            until,
        } = phase
        else {
            return None;
        };
        match connected(&socket) {
            Ok(()) => match Stream::new(socket, self.tls.as_ref(), &self.host) {
                Ok(stream) => {
                    let upgrade =
                        Upgrade::new(&self.host, self.port, self.tls.is_some(), &self.path);
                    self.phase = Phase::Upgrading { stream, upgrade };
                    None
                }
                Err(fault) => Some(Event::Lost(fault)),
            },
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if until.is_some_and(|until| until <= now) {
                    return self.dial_next(left, None, now);
                }
                self.phase = Phase::Connecting {
                    socket,
                    left,
                    until,
                };
                None
            }
            Err(error) => self.dial_next(left, Some(error.to_string()), now),
        }
    }

    fn drive_upgrading(&mut self) -> Option<Event> {
        let phase = std::mem::replace(&mut self.phase, Phase::Ended);
        let Phase::Upgrading {
            mut stream,
            mut upgrade,
        } = phase
        else {
            return None;
        };
        match step_upgrade(&mut stream, &mut upgrade) {
            Ok(Some(tail)) => {
                let config = WebSocketConfig::default()
                    .read_buffer_size(16 * 1024)
                    .write_buffer_size(0)
                    .max_write_buffer_size(8 << 20)
                    .max_message_size(Some(MAX_FRAME))
                    .max_frame_size(Some(MAX_FRAME));
                let socket =
                    WebSocket::from_partially_read(stream, tail, Role::Client, Some(config));
                self.phase = Phase::Open(Box::new(socket));
                Some(Event::Opened)
            }
            Ok(None) => {
                self.phase = Phase::Upgrading { stream, upgrade };
                None
            }
            Err(fault) => Some(Event::Lost(fault)),
        }
    }

    fn read(&mut self, events: &mut Vec<Event>) {
        for _ in 0..FRAMES_PER_TURN {
            let Phase::Open(socket) = &mut self.phase else {
                return;
            };
            let event = match socket.read() {
                Ok(Message::Text(text)) => Event::Text(text.as_str().to_owned()),
                Ok(Message::Binary(_)) => Event::Unreadable("it is binary"),
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => Event::Activity,
                Ok(Message::Close(_)) => {
                    self.end(events, FaultKind::Closed, "closed by the service");
                    return;
                }
                Err(Error::Io(e)) if e.kind() == ErrorKind::WouldBlock => {
                    let received = socket.get_ref().received();
                    if std::mem::replace(&mut self.received, received) != received
                        && events.is_empty()
                    {
                        events.push(Event::Activity);
                    }
                    return;
                }
                Err(Error::Utf8(_)) => Event::Unreadable("it is not UTF-8"),
                Err(error) => {
                    let (kind, text) = describe(&error);
                    self.end(events, kind, &text);
                    return;
                }
            };
            events.push(event);
        }
        self.more = true;
    }

    fn end(&mut self, events: &mut Vec<Event>, kind: FaultKind, text: &str) {
        self.phase = Phase::Ended;
        let text = text.to_owned();
        events.push(Event::Lost(TransportFault { kind, text }));
    }

    /// Queues a frame; [`Transport::drive`] writes it.
    pub(super) fn send(&mut self, text: String) -> Option<Event> {
        let Phase::Open(socket) = &mut self.phase else {
            return None;
        };
        match socket.write(Message::text(text)) {
            Ok(()) => None,
            // It is in the buffer.
            Err(Error::Io(e)) if e.kind() == ErrorKind::WouldBlock => None,
            Err(error) => {
                let (kind, text) = describe(&error);
                self.phase = Phase::Ended;
                Some(Event::Lost(TransportFault { kind, text }))
            }
        }
    }

    fn flush(&mut self, now: Instant) -> Option<Event> {
        let Phase::Open(socket) = &mut self.phase else {
            return None;
        };
        let fault = match socket.flush() {
            Ok(()) => {
                self.stuck = None;
                return None;
            }
            Err(Error::Io(e)) if e.kind() == ErrorKind::WouldBlock => {
                let written = socket.get_ref().written();
                match self.stuck {
                    Some((since, at)) if at == written => {
                        if now.saturating_duration_since(since) < WRITE_PATIENCE {
                            return None;
                        }
                        let text = "nothing could be sent for too long".to_owned();
                        let kind = FaultKind::Timeout;
                        TransportFault { kind, text }
                    }
                    _ => {
                        self.stuck = Some((now, written));
                        return None;
                    }
                }
            }
            Err(error) => {
                let (kind, text) = describe(&error);
                TransportFault { kind, text }
            }
        };
        self.phase = Phase::Ended;
        Some(Event::Lost(fault))
    }

    /// What poll(2) is to wait for.
    pub(super) fn interest(&self, listen: bool) -> Option<(BorrowedFd<'_>, PollFlags)> {
        match &self.phase {
            Phase::Resolving | Phase::Ended => None,
            Phase::Connecting { socket, .. } => Some((socket.as_fd(), PollFlags::POLLOUT)),
            Phase::Upgrading { stream, upgrade } => {
                let mut flags = PollFlags::POLLIN;
                // In a TLS handshake our request has to wait; TLS itself says what it wants.
                let ours = !upgrade.to_write().is_empty() && !stream.is_handshaking();
                if ours || stream.wants_write() {
                    flags |= PollFlags::POLLOUT;
                }
                Some((stream.as_fd(), flags))
            }
            Phase::Open(socket) => {
                let mut flags = PollFlags::empty();
                if listen {
                    flags |= PollFlags::POLLIN;
                }
                if self.stuck.is_some() || socket.get_ref().wants_write() {
                    flags |= PollFlags::POLLOUT;
                }
                // Without flags poll(2) still reports a hang-up, again and again.
                (!flags.is_empty()).then(|| (socket.get_ref().as_fd(), flags))
            }
        }
    }

    /// When [`Transport::drive`] is due even if poll(2) says nothing.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Connecting { until, .. } => *until,
            Phase::Open(_) => self.stuck.map(|(since, _)| since + WRITE_PATIENCE),
            _ => None,
        }
    }

    /// Whether there is more to read at once.
    pub(super) fn has_more(&self) -> bool {
        let holds = |socket: &WebSocket<Stream>| socket.get_ref().holds_input();
        self.more || matches!(&self.phase, Phase::Open(socket) if holds(socket))
    }

    /// Closes, without waiting for anything.
    pub(super) fn close(&mut self) {
        if let Phase::Open(socket) = &mut self.phase {
            // Whether the close frame went out is no longer of interest.
            let _ = socket.close(None);
            socket.get_mut().farewell();
        }
        self.phase = Phase::Ended;
    }
}

/// Writes the request and reads the response, as far as that goes. `Some` = what came behind it.
fn step_upgrade(
    stream: &mut Stream,
    upgrade: &mut Upgrade,
) -> Result<Option<Vec<u8>>, TransportFault> {
    while !upgrade.to_write().is_empty() {
        match stream.write(upgrade.to_write()) {
            Ok(0) => return Err(early_fault(&ErrorKind::WriteZero.into())),
            Ok(written) => upgrade.wrote(written),
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(early_fault(&e)),
        }
    }
    match stream.flush() {
        Ok(()) => {}
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
        Err(e) => return Err(early_fault(&e)),
    }
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Err(early_fault(&ErrorKind::UnexpectedEof.into())),
            Ok(read) => {
                let bytes = buffer.get(..read).unwrap_or_default();
                if let Progress::Done(tail) = upgrade.read(bytes)? {
                    return Ok(Some(tail));
                }
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(early_fault(&e)),
        }
    }
}

/// Kind and words of a websocket error; the words are ours, for the library's may quote frames.
fn describe(error: &Error) -> (FaultKind, String) {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => {
            (FaultKind::Closed, "closed by the service".to_owned())
        }
        Error::Io(e) => (FaultKind::Closed, format!("connection lost: {e}")),
        Error::Capacity(CapacityError::MessageTooLong { size, .. }) => (
            FaultKind::Protocol,
            format!("the service sent a frame of {size} bytes"),
        ),
        Error::Capacity(_) => (FaultKind::Protocol, "the service sent too much".to_owned()),
        Error::Protocol(e) => {
            use tungstenite::error::ProtocolError as P;
            if matches!(e, P::ResetWithoutClosingHandshake) {
                (FaultKind::Closed, "connection reset".to_owned())
            } else {
                (FaultKind::Protocol, format!("broken websocket: {e}"))
            }
        }
        Error::WriteBufferFull(_) => (FaultKind::Timeout, "too much waits to be sent".to_owned()),
        _ => (FaultKind::Protocol, "broken websocket".to_owned()),
    }
}

/// The first address, then one of the other family, then the rest: one broken family costs one
/// address's time.
fn alternate(addresses: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let first_v4 = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (mut same, mut other): (VecDeque<_>, VecDeque<_>) =
        addresses.into_iter().partition(|a| a.is_ipv4() == first_v4);
    let mut out = VecDeque::new();
    while out.len() < MAX_ADDRESSES && !(same.is_empty() && other.is_empty()) {
        out.extend(same.pop_front());
        out.extend(other.pop_front());
    }
    out.truncate(MAX_ADDRESSES);
    out
}
