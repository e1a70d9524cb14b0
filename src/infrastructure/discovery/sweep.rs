//! One sweep: the poll loop and what is polled. Which address is connected to is `schedule`'s; the
//! sockets are `connections`', probes `asking`'s, and what is told in the end `report`'s.

mod asking;
mod connections;
mod report;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use self::asking::Asking;
use self::connections::Conn;
use super::dossier::Dossier;
use super::hints::{Hints, Reach};
use super::neighbours;
use super::resources;
use super::schedule::{Schedule, Ticket};
use super::talk::{PortKind, Talk};
use crate::domain::discovery::{SweepOrder, SweepReport};
use crate::infrastructure::onvif::discovery::MAX_ANSWER;
use crate::infrastructure::system;
use crate::util::address;

/// What is due is done together with what is due a little later.
const TOGETHER: Duration = Duration::from_millis(5);
/// Datagrams read from one socket before others have their turn.
const DATAGRAMS: usize = 32;
/// Most addresses of one sweep.
const MAX_ADDRESSES: usize = 65_536;
/// Most warnings.
const MAX_WARNINGS: usize = 16;

/// Names of what is polled, beside tickets, which count from 1.
const STOP: u64 = 0;
const LINES: u64 = u64::MAX - 1024;

/// Rung once, it rings for ever.
#[derive(Debug)]
pub(super) struct Stop {
    is: AtomicBool,
    bell: EventFd,
}

impl Stop {
    pub(super) fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        Ok(Self {
            is: AtomicBool::new(false),
            bell: EventFd::from_flags(flags)?,
        })
    }

    /// Whether it has rung.
    pub(super) fn is(&self) -> bool {
        self.is.load(Ordering::SeqCst)
    }

    /// What a poll loop waits for.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    pub(super) fn ring(&self) {
        self.is.store(true, Ordering::SeqCst);
        // It can fail only where it rings already.
        let _ = self.bell.write(1);
    }
}

/// Everything of one sweep.
pub(super) struct Sweep<'a> {
    order: &'a SweepOrder,
    ports: &'a [(u16, PortKind)],
    stop: &'a Stop,
    begin: Instant,
    epoll: Epoll,
    schedule: Schedule,
    conns: HashMap<Ticket, Conn>,
    /// Conversations that go on in a new connection, and when each must be over.
    parked: HashMap<(Ipv4Addr, u16), (Talk, Instant)>,
    dossiers: BTreeMap<Ipv4Addr, Dossier>,
    hints: Hints,
    asking: Asking,
    warnings: Vec<String>,
    buffer: Vec<u8>,
}

impl<'a> Sweep<'a> {
    /// Ready to run.
    pub(super) fn new(
        order: &'a SweepOrder,
        ports: &'a [(u16, PortKind)],
        stop: &'a Stop,
    ) -> nix::Result<Self> {
        let begin = Instant::now();
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(stop.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, STOP))?;
        let (asking, mut warnings) = if order.multicast {
            Asking::open(begin)
        } else {
            (Asking::none(begin), Vec::new())
        };
        for (socket, name) in asking.sockets().zip(LINES..) {
            epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, name))?;
        }
        let addresses = if ports.is_empty() {
            Vec::new()
        } else {
            addresses(order)
        };
        if addresses.len() >= MAX_ADDRESSES {
            warnings.push(format!(
                "only the first {MAX_ADDRESSES} addresses are tried"
            ));
        }
        let numbers: Vec<u16> = ports.iter().map(|(port, _)| *port).collect();
        let schedule = Schedule::new(addresses, &numbers, resources::limits(), begin);
        let own = system::own_addresses()
            .into_iter()
            .filter_map(|(ip, prefix)| match ip {
                IpAddr::V4(ip) => Some((ip, prefix)),
                IpAddr::V6(_) => None,
            })
            .collect();
        let reach = Reach {
            own,
            loopback: order.loopback,
        };
        let size = if asking.is_over() { 4096 } else { MAX_ANSWER };
        Ok(Self {
            order,
            ports,
            stop,
            begin,
            epoll,
            schedule,
            conns: HashMap::new(),
            parked: HashMap::new(),
            dossiers: BTreeMap::new(),
            hints: Hints::new(reach),
            asking,
            warnings,
            buffer: vec![0; size],
        })
    }

    /// To the end.
    pub(super) fn run(mut self) -> SweepReport {
        let end = self.begin + self.order.timeout;
        let mut cut_short = false;
        let mut events = [EpollEvent::empty(); 64];
        loop {
            let now = Instant::now();
            if self.stop.is() || now >= end {
                cut_short = true;
                break;
            }
            for warning in self.asking.ask(&mut self.hints, now) {
                self.warn(warning);
            }
            if self.schedule.wants_neighbours(now) {
                self.schedule.neighbours(&neighbours::table(), now);
            }
            for ticket in self.schedule.expire(now) {
                self.given_up(ticket);
            }
            self.late(now);
            while let Some(attempt) = self.schedule.next(now) {
                self.connect(attempt, now);
            }
            if self.is_done(now) {
                break;
            }
            let wake = self.next_wake(now).min(end);
            let Some(ready) = self.wait(&mut events, wake, now) else {
                cut_short = true;
                break;
            };
            for event in events.iter().take(ready) {
                self.ready(*event);
            }
        }
        self.report(cut_short)
    }

    fn is_done(&self, now: Instant) -> bool {
        self.conns.is_empty() && self.asking.is_over() && self.schedule.is_done(now)
    }

    /// How many events there are; `None` if waiting is not possible.
    fn wait(&mut self, events: &mut [EpollEvent], wake: Instant, now: Instant) -> Option<usize> {
        let left = wake.saturating_duration_since(now).max(TOGETHER);
        let millis = u16::try_from(left.as_micros().div_ceil(1000)).unwrap_or(u16::MAX);
        match self.epoll.wait(events, EpollTimeout::from(millis)) {
            Ok(ready) => Some(ready),
            Err(Errno::EINTR) => Some(0),
            Err(why) => {
                self.warn(format!("the sweep ended early: {}", why.desc()));
                None
            }
        }
    }

    fn next_wake(&self, now: Instant) -> Instant {
        let mut wake = self.schedule.next_wake(now);
        let mut sooner = |at: Instant| wake = Some(wake.map_or(at, |w| w.min(at)));
        for conn in self.conns.values() {
            if let Some(talking) = &conn.talking {
                sooner(talking.deadline);
            }
        }
        if let Some(at) = self.asking.next_wake() {
            sooner(at);
        }
        wake.unwrap_or(now + Duration::from_secs(1))
    }

    fn ready(&mut self, event: EpollEvent) {
        match event.data() {
            STOP => {}
            name if name >= LINES => {
                self.hear(usize::try_from(name - LINES).unwrap_or(usize::MAX));
            }
            ticket => self.stirred(ticket, event.events()),
        }
    }

    /// Something waits on a line of WS-Discovery.
    fn hear(&mut self, line: usize) {
        for _ in 0..DATAGRAMS {
            let Some((len, source)) = self.asking.receive(line, &mut self.buffer) else {
                return;
            };
            let bytes = self.buffer.get(..len).unwrap_or_default();
            let told = self.hints.datagram(source.ip(), bytes);
            if self.hints.is_flooded() {
                self.warn("WS-Discovery: more answers than are read".to_owned());
                self.asking.close();
            }
            let Some((ip, place)) = told else { continue };
            let port = place.map(|p| p.port);
            let again = port.is_some_and(|port| self.is_hint_open(ip, port));
            if !self.schedule.spoke(ip, port, again) {
                self.warn("WS-Discovery: more addresses answered than are asked".to_owned());
            }
        }
    }

    /// Whether a place that was named has not been asked, on a port whose conversation is over.
    fn is_hint_open(&mut self, ip: Ipv4Addr, port: u16) -> bool {
        let named = self.named(ip, port).is_some();
        self.dossiers.get_mut(&ip).is_some_and(|dossier| {
            named && dossier.knows(port) && !dossier.onvif() && !dossier.hint_asked(port, false)
        })
    }

    /// The path that a device named on a port. Not on ports for something else: a forged answer
    /// must not keep that from being asked.
    fn named(&self, ip: Ipv4Addr, port: u16) -> Option<&str> {
        match self.kind(port) {
            PortKind::Web | PortKind::Onvif => self.hints.path(ip, port),
            PortKind::Rtsp | PortKind::Sign => None,
        }
    }

    fn kind(&self, port: u16) -> PortKind {
        self.ports
            .iter()
            .find(|(p, _)| *p == port)
            .map_or(PortKind::Onvif, |(_, kind)| *kind)
    }

    fn warn(&mut self, warning: String) {
        if self.warnings.len() < MAX_WARNINGS && !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }
}

/// Every address of the order, once.
fn addresses(order: &SweepOrder) -> Vec<Ipv4Addr> {
    let mut all = Vec::new();
    for range in &order.ranges {
        for bits in range.first.to_bits()..=range.last.to_bits() {
            if all.len() >= MAX_ADDRESSES {
                return all;
            }
            let ip = Ipv4Addr::from_bits(bits);
            let never = address::objection(IpAddr::V4(ip)).is_some()
                || (ip.is_loopback() && !order.loopback);
            if !never && !order.except.contains(&ip) {
                all.push(ip);
            }
        }
    }
    all
}
