//! Asking around by WS-Discovery: which lines are open, when probes go out on them, and how long
//! answers are taken. What an answer says is `hints`'.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::infrastructure::discovery::hints::Hints;
use crate::infrastructure::discovery::multicast::{self, Line};
use crate::infrastructure::onvif::discovery::{self, ProbeFor};

/// Probes go out then, counted from the start.
const PROBES: [Duration; 3] = [
    Duration::from_millis(0),
    Duration::from_millis(300),
    Duration::from_millis(600),
];
/// Answers to probes are taken that long.
const LISTEN: Duration = Duration::from_secs(3);
/// Where nobody has said anything by then nobody will: cameras wait half a second at most.
const LISTEN_SILENCE: Duration = Duration::from_millis(1750);

/// The lines, one an interface, and how far the asking is.
pub(super) struct Asking {
    begin: Instant,
    /// `None` = closed; no lines at all = over.
    lines: Vec<Option<Line>>,
    probes_sent: usize,
    heard: bool,
}

impl Asking {
    /// On every interface, and what is to be told of those that could not be opened.
    pub fn open(begin: Instant) -> (Self, Vec<String>) {
        let (lines, warnings) = multicast::open();
        let lines = lines.into_iter().map(Some).collect();
        (Self::on(lines, begin), warnings)
    }

    /// Nobody is asked.
    pub fn none(begin: Instant) -> Self {
        Self::on(Vec::new(), begin)
    }

    fn on(lines: Vec<Option<Line>>, begin: Instant) -> Self {
        Self {
            begin,
            lines,
            probes_sent: 0,
            heard: false,
        }
    }

    /// To be polled; their order is their lines' names.
    pub fn sockets(&self) -> impl Iterator<Item = impl AsFd> {
        self.lines.iter().flatten().map(|line| &line.socket)
    }

    /// No probe is to be sent, and no answer is taken any more.
    pub fn is_over(&self) -> bool {
        self.lines.is_empty()
    }

    /// When something is due without anything happening.
    pub fn next_wake(&self) -> Option<Instant> {
        let next = PROBES.get(self.probes_sent).copied();
        (!self.is_over()).then(|| self.begin + next.unwrap_or(self.listen()))
    }

    fn listen(&self) -> Duration {
        if self.heard { LISTEN } else { LISTEN_SILENCE }
    }

    /// Does what is due. What comes back is to be told.
    pub fn ask(&mut self, hints: &mut Hints, now: Instant) -> Vec<String> {
        let mut failed = Vec::new();
        if self.is_over() {
            return failed;
        }
        let passed = now.saturating_duration_since(self.begin);
        if PROBES.get(self.probes_sent).is_some_and(|at| passed >= *at) {
            self.probes_sent += 1;
            for kind in ProbeFor::ALL {
                self.probe(kind, hints, &mut failed);
            }
        }
        let done = self.probes_sent == PROBES.len() && passed >= self.listen();
        if done || self.lines.iter().all(Option::is_none) {
            self.lines.clear();
        }
        failed
    }

    fn probe(&mut self, kind: ProbeFor, hints: &mut Hints, failed: &mut Vec<String>) {
        for slot in &mut self.lines {
            let Some(line) = slot else { continue };
            let id = random_id();
            hints.asked(&id);
            if let Err(why) = line.send(&discovery::probe(kind, &id))
                && why.kind() != io::ErrorKind::WouldBlock
            {
                // An interface without a way for multicast; asking again changes nothing.
                failed.push(format!("{}: cannot multicast: {}", line.name, words(&why)));
                *slot = None;
            }
        }
    }

    /// The next datagram that waits on a line: its length and where it is from.
    pub fn receive(&mut self, index: usize, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
        let line = self.lines.get(index)?.as_ref()?;
        loop {
            match line.socket.recv_from(buffer) {
                Ok(got) => {
                    self.heard = true;
                    return Some(got);
                }
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                // Nothing more, or an error that an earlier probe met on its way.
                Err(_) => return None,
            }
        }
    }

    /// Nothing more is taken on any line.
    pub fn close(&mut self) {
        self.lines.iter_mut().for_each(|line| *line = None);
    }
}

fn words(why: &io::Error) -> &'static str {
    why.raw_os_error()
        .map_or("it can't be sent", |code| Errno::from_raw(code).desc())
}

/// A random UUID.
fn random_id() -> String {
    let bits = fastrand::u128(..);
    let bits = bits & !(0xf << 76) | (4 << 76);
    let bits = bits & !(0x3 << 62) | (2 << 62);
    let hex = format!("{bits:032x}");
    let part = |from, to| hex.get(from..to).unwrap_or_default();
    [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)]
        .map(|(from, to)| part(from, to))
        .join("-")
}
