//! The gate: the one thread that strangers reach.
//!
//! tiny_http parses HTTP and runs workers, but knows no limits: a thread for each connection, no
//! timeouts, and an accept thread that dies when descriptors run out. So the gate alone listens
//! on the network, takes each request whole within bounds ([`exchange`]), writes it anew
//! ([`head`], [`chunked`]) and only then hands it to tiny_http over a socket nobody else can
//! reach ([`private_socket`]). One connection carries one request.
//!
//! One thread, `poll`, no wake-up while nothing happens. Knows no route, no token, no tiny_http.

mod chunked;
mod connection;
mod exchange;
mod head;
mod limits;
mod outbox;
mod private_socket;
mod spares;

use std::io;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, TryRecvError};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;

use super::reply::Reply;
use crate::domain::error::{ErrorCode, Fault};
use connection::{Connection, Ready};
use exchange::{MAX_BODY, Pace, Standing};
pub use head::{OVERSIZE, PEER};
pub use limits::{Limits, affordable};
pub use private_socket::PrivateSocket;
use spares::{EACH, NEW_SERVER, Spares};

/// Connections taken from the queue before the others are looked at again.
const ACCEPTS_A_TURN: usize = 32;
/// Connections beyond the limit, only to be told that there is no room.
const TURNED_AWAY: usize = 8;
/// For so long a client may leave an answer untouched while others want its place.
const PATIENCE: Duration = Duration::from_secs(1);
/// Pause before the next try of what failed for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// A shortage of descriptors is told at most this often.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// What an answer that takes as long as it may is given on top by the gate.
const ANSWER_MARGIN: Duration = Duration::from_secs(10);

/// How long the slowest answer may take just now.
pub type Longest = Box<dyn Fn() -> Duration + Send>;

/// Opens a connection to the server behind the gate.
pub type Connect = Box<dyn FnMut() -> io::Result<UnixStream> + Send>;

/// The gate's state. [`run`](Self::run) is the thread.
pub struct Gate {
    listener: Option<TcpListener>,
    bell: Arc<EventFd>,
    /// Carries the moment by which everything must be closed.
    stop: Receiver<Instant>,
    stop_by: Option<Instant>,
    connect: Connect,
    limits: Limits,
    longest: Longest,
    connections: Vec<Connection>,
    spares: Spares,
    /// Descriptors ran out and the store is not full again.
    exhausted: bool,
    /// When that was last said.
    shortage_told: Option<Instant>,
    accept_again_at: Option<Instant>,
    /// When requests that wait for descriptors are tried again.
    retry_at: Option<Instant>,
    buffer: Vec<u8>,
}

/// Whether a request can be handed on.
enum HandOver {
    /// Yes.
    Free,
    /// When those before it are through, or something else gives descriptors back.
    Soon,
    /// It has waited long enough.
    Blocked,
}

/// What one `poll` found.
struct Found {
    accept: bool,
    connections: Vec<Ready>,
}

impl Gate {
    /// A gate on `listener`. `stop` is looked at whenever `bell` is rung.
    pub fn new(
        listener: TcpListener,
        bell: Arc<EventFd>,
        stop: Receiver<Instant>,
        connect: Connect,
        limits: Limits,
        longest: Longest,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let source: OwnedFd = bell.as_fd().try_clone_to_owned()?;
        Ok(Self {
            listener: Some(listener),
            bell,
            stop,
            stop_by: None,
            connect,
            limits,
            longest,
            connections: Vec::new(),
            spares: Spares::new(source),
            exhausted: false,
            shortage_told: None,
            accept_again_at: None,
            retry_at: None,
            buffer: vec![0; 16 * 1024],
        })
    }

    /// Runs until it is told to stop. A panic costs the open connections, not the API.
    pub fn run(mut self) {
        loop {
            if catch_unwind(AssertUnwindSafe(|| while self.turn() {})).is_ok() {
                return;
            }
            log::error!("the REST gate panicked; its connections are closed");
            self.connections = Vec::new();
            // Whatever it was, it must not become a busy loop.
            std::thread::sleep(PAUSE);
        }
    }

    /// Waits once and does what is to do; `false` when all is over.
    fn turn(&mut self) -> bool {
        let found = match self.poll() {
            Ok(found) => found,
            Err(Errno::EINTR) => return true,
            Err(why) => {
                // Only a kernel out of memory, or a descriptor limit lowered under our feet.
                log::error!(error = why.desc(); "the REST gate can't poll");
                std::thread::sleep(PAUSE);
                self.connections.clear();
                return true;
            }
        };
        let now = Instant::now();
        self.hear_the_bell(now);
        for (connection, ready) in self.connections.iter_mut().zip(&found.connections) {
            connection.advance(*ready, now, &mut self.buffer);
        }
        self.expire(now);
        if found.accept {
            self.accept(now);
        }
        self.hand_on(now);
        self.shed(now);
        self.connections.retain(|c| !c.exchange.is_done());
        self.recover();
        match self.stop_by {
            // Who has its answer is not waited for.
            Some(by) => {
                let leaving = |c: &Connection| c.exchange.standing() == Standing::Leaving;
                !self.connections.iter().all(leaving) && now < by
            }
            None => true,
        }
    }

    fn poll(&mut self) -> nix::Result<Found> {
        let now = Instant::now();
        if self.accept_again_at.is_some_and(|at| at <= now) {
            self.accept_again_at = None;
        }
        // Without descriptors one request is served at a time, on the spare ones.
        let serves = || {
            self.connections
                .iter()
                .any(|c| matches!(c.exchange.standing(), Standing::Served | Standing::Taking))
        };
        let accepts = self.accept_again_at.is_none() && !(self.exhausted && serves());
        let listener = self.listener.as_ref().filter(|_| accepts);
        let timeout = timeout(self.deadline(), now);

        let mut fds = Vec::with_capacity(2 + 2 * self.connections.len());
        fds.push(PollFd::new(self.bell.as_fd(), PollFlags::POLLIN));
        for connection in &self.connections {
            connection.watch(&mut fds);
        }
        if let Some(listener) = listener {
            fds.push(PollFd::new(listener.as_fd(), PollFlags::POLLIN));
        }
        poll(&mut fds, timeout)?;

        let mut events = fds
            .iter()
            .map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        // The bell is looked at each turn anyway: a channel tells what it was rung for.
        events.next();
        let connections = self
            .connections
            .iter()
            .map(|connection| connection.ready(&mut events))
            .collect();
        let accept = listener.is_some() && events.next().is_some_and(|e| !e.is_empty());
        Ok(Found {
            accept,
            connections,
        })
    }

    fn deadline(&self) -> Option<Instant> {
        self.connections
            .iter()
            .map(|c| c.exchange.deadline())
            .chain(self.accept_again_at)
            .chain(self.retry_at)
            .chain(self.stop_by)
            .min()
    }

    fn hear_the_bell(&mut self, now: Instant) {
        // Non-blocking: nothing to read is no error worth a word.
        let _ = self.bell.read();
        if self.stop_by.is_some() {
            return;
        }
        self.stop_by = match self.stop.try_recv() {
            Ok(by) => Some(by),
            Err(TryRecvError::Disconnected) => Some(now),
            Err(TryRecvError::Empty) => return,
        };
        self.listener = None;
        for connection in &mut self.connections {
            if connection.exchange.standing() == Standing::Asking {
                let fault = Fault::new(ErrorCode::Unavailable, "the node is stopping");
                connection.exchange.answer(Reply::fault(&fault), now);
                connection.flush(now);
            }
        }
    }

    fn expire(&mut self, now: Instant) {
        for connection in &mut self.connections {
            if connection.exchange.deadline() <= now && !connection.exchange.is_done() {
                connection.exchange.on_deadline(now);
                connection.flush(now);
            }
        }
    }

    fn accept(&mut self, now: Instant) {
        for _ in 0..ACCEPTS_A_TURN {
            let Some(listener) = &self.listener else {
                return;
            };
            match listener.accept() {
                Ok((stream, address)) => {
                    // On a socket of both families IPv4 comes in the dress of IPv6.
                    self.admit(stream, address.ip().to_canonical(), now);
                    if self.exhausted {
                        return;
                    }
                }
                Err(why) => match why.kind() {
                    io::ErrorKind::WouldBlock => return,
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ if self.found_descriptors(&why, now) => {}
                    _ => {
                        self.accept_again_at = Some(now + PAUSE);
                        return;
                    }
                },
            }
        }
    }

    /// Connects complete requests to tiny_http, as far as there are descriptors for both sides.
    fn hand_on(&mut self, now: Instant) {
        self.retry_at = None;
        while self.connections.iter().any(|c| c.exchange.wants_backend()) {
            let backend = match self.make_way(now) {
                HandOver::Free => (self.connect)(),
                HandOver::Blocked => Err(Errno::EMFILE.into()),
                HandOver::Soon => {
                    self.retry_at = Some(now + PAUSE);
                    return;
                }
            };
            let mut waiting = self.connections.iter_mut();
            if let Some(connection) = waiting.find(|c| c.exchange.wants_backend()) {
                connection.set_backend(backend, now);
            }
        }
    }

    /// Makes sure that neither side of the private socket meets a shortage: tiny_http's would
    /// die of it.
    fn make_way(&mut self, now: Instant) -> HandOver {
        let on_their_way = self.connections.iter().filter(|c| {
            c.backend_since().is_some_and(|at| at + PATIENCE > now)
                && c.exchange.standing() == Standing::Served
        });
        let needed = NEW_SERVER + EACH * (1 + on_their_way.count());
        if self.spares.could_open(needed) {
            return HandOver::Free;
        }
        self.run_short(now);
        while let Some(at) = self.victim(now) {
            self.close(at, now);
        }
        if self.spares.could_open(needed) || self.spares.release() && self.spares.could_open(needed)
        {
            return HandOver::Free;
        }
        let waits_too_long =
            |c: &Connection| c.exchange.wants_backend() && c.exchange.taken_at() + PATIENCE <= now;
        if self.connections.iter().any(waits_too_long) {
            HandOver::Blocked
        } else {
            HandOver::Soon
        }
    }

    /// Notes that descriptors have run out, and says so; once a minute, as it may come and go.
    fn run_short(&mut self, now: Instant) {
        let told = self.shortage_told.is_some_and(|at| at + TELL_AGAIN > now);
        if !std::mem::replace(&mut self.exhausted, true) && !told {
            self.shortage_told = Some(now);
            log::error!(
                "no file descriptors are left; the REST API answers one request at a time \
                 (raise LimitNOFILE, or see what holds them)"
            );
        }
    }

    /// After a failed `accept`: whether something was freed that makes a second try worthwhile.
    fn found_descriptors(&mut self, why: &io::Error, now: Instant) -> bool {
        let out = [Errno::EMFILE, Errno::ENFILE].map(|e| Some(e as i32));
        if !out.contains(&why.raw_os_error()) {
            log::warn!(error:% = why; "the REST API could not take a connection");
            return false;
        }
        self.run_short(now);
        let mut found = false;
        while let Some(at) = self.victim(now) {
            self.close(at, now);
            found = true;
        }
        found || self.spares.release()
    }

    /// Fills the store of descriptors up again once nobody needs them, and says when there are
    /// enough for all.
    fn recover(&mut self) {
        let in_use = self.connections.iter().any(|c| c.backend_since().is_some());
        if in_use || (self.spares.is_full() && !self.exhausted) {
            return;
        }
        if self.spares.refill() && self.spares.more_are_free() && self.exhausted {
            self.exhausted = false;
            log::debug!("file descriptors are free again; the REST API takes requests as usual");
        }
    }

    /// The times of a new exchange: the slowest answer gets its own time and a margin.
    fn pace(&self) -> Pace {
        let pace = self.limits.pace();
        Pace {
            answer: pace.answer.max((self.longest)() + ANSWER_MARGIN),
            ..pace
        }
    }

    fn admit(&mut self, stream: TcpStream, peer: IpAddr, now: Instant) {
        let mut connection = match Connection::new(stream, peer, self.pace(), now) {
            Ok(connection) => connection,
            Err(why) => {
                log::warn!(error:% = why; "a REST connection could not be set up");
                return;
            }
        };
        if self.make_room(self.limits.connections, now) {
            // What it has to say is mostly there already.
            connection.advance(Ready::INPUT, now, &mut self.buffer);
        } else if self.make_room(self.limits.connections + TURNED_AWAY, now) {
            connection.exchange.answer(busy(), now);
            connection.flush(now);
        } else {
            return;
        }
        self.connections.push(connection);
    }

    /// Whether there are fewer than `most` connections, after closing some if need be.
    fn make_room(&mut self, most: usize, now: Instant) -> bool {
        self.connections.retain(|c| !c.exchange.is_done());
        while self.connections.len() >= most {
            let Some(at) = self.victim(now) else {
                return false;
            };
            self.close(at, now);
        }
        true
    }

    /// Who can be spared: who has its answer; who has not asked yet, the oldest first; who does
    /// not take its answer. Never one whose request is being served.
    fn victim(&self, now: Instant) -> Option<usize> {
        let oldest = |standing: Standing| {
            self.connections
                .iter()
                .position(|c| c.exchange.standing() == standing)
        };
        oldest(Standing::Leaving)
            .or_else(|| oldest(Standing::Asking))
            .or_else(|| self.stalled(now))
    }

    /// Who has left its answer untouched for the longest, and too long for one in the way.
    fn stalled(&self, now: Instant) -> Option<usize> {
        self.connections
            .iter()
            .enumerate()
            .filter(|(_, c)| c.exchange.standing() == Standing::Taking)
            .min_by_key(|(_, c)| c.exchange.taken_at())
            .filter(|(_, c)| c.exchange.taken_at() + PATIENCE <= now)
            .map(|(at, _)| at)
    }

    /// Closes one; who was still asking is told why, as far as that goes without waiting.
    fn close(&mut self, at: usize, now: Instant) {
        if at >= self.connections.len() {
            return;
        }
        // The order is the order of arrival: victims are looked for by it.
        let mut connection = self.connections.remove(at);
        if connection.exchange.standing() == Standing::Asking {
            connection.exchange.answer(busy(), now);
            connection.flush(now);
        }
    }

    /// Keeps the bytes held within bounds: who does not take its answer goes, then who holds most.
    fn shed(&mut self, now: Instant) {
        let held = |connections: &[Connection]| -> usize {
            connections.iter().map(|c| c.exchange.buffered()).sum()
        };
        while held(&self.connections) > self.limits.buffered.max(2 * MAX_BODY) {
            let largest = || {
                self.connections
                    .iter()
                    .enumerate()
                    .filter(|(_, c)| c.exchange.standing() != Standing::Served)
                    .max_by_key(|(_, c)| c.exchange.buffered())
                    .map(|(at, _)| at)
            };
            match self.stalled(now).or_else(largest) {
                Some(at) => self.close(at, now),
                None => return,
            }
        }
    }
}

fn busy() -> Reply {
    Reply::fault(&Fault::new(
        ErrorCode::NodeBusy,
        "too many connections are open; try again in a moment",
    ))
}

/// Up to the next whole millisecond, so that a wake-up never comes too early.
fn timeout(deadline: Option<Instant>, now: Instant) -> PollTimeout {
    match deadline {
        None => PollTimeout::NONE,
        Some(at) => {
            let left = at.saturating_duration_since(now);
            let millis = left.as_millis() + u128::from(!left.is_zero());
            PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
        }
    }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
