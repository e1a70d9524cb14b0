//! One sweep: the poll loop, its sockets and their deadlines. What to do is decided elsewhere.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, connect, setsockopt, socket, sockopt,
};

use super::dossier::Dossier;
use super::hints::{Hints, Reach};
use super::http_talk::{HttpTalk, Questions};
use super::multicast::{self, Line};
use super::neighbours;
use super::resources;
use super::rtsp_talk::RtspTalk;
use super::scanner::{PortKind, Stop};
use super::schedule::{Attempt, Schedule, Ticket};
use super::talk::{End, Facts, Next, Talk};
use crate::domain::discovery::{SweepOrder, SweepReport};
use crate::infrastructure::onvif::discovery::{self, MAX_ANSWER, ProbeFor};
use crate::infrastructure::system;

/// An answer is waited for that long.
const ANSWER: Duration = Duration::from_secs(2);
/// A conversation with one port takes that long at most.
const CONVERSATION: Duration = Duration::from_secs(5);
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
/// What is due is done together with what is due a little later.
const TOGETHER: Duration = Duration::from_millis(5);
/// Datagrams read from one socket before others have their turn.
const DATAGRAMS: usize = 32;
/// What the kernel keeps of an open connection that nobody reads yet.
const RECEIVE_BUFFER: usize = 16 * 1024;
/// Most addresses of one sweep.
const MAX_ADDRESSES: usize = 65_536;
/// Most lines about ports that are no camera's.
const MAX_OTHERS: usize = 64;
/// Most warnings.
const MAX_WARNINGS: usize = 16;

/// Names of what is polled, beside tickets, which count from 1.
const STOP: u64 = 0;
const LINES: u64 = u64::MAX - 1024;

/// A socket to one port.
#[derive(Debug)]
struct Conn {
    stream: TcpStream,
    ip: Ipv4Addr,
    port: u16,
    /// `None` while connecting.
    talking: Option<Talking>,
}

#[derive(Debug)]
struct Talking {
    talk: Talk,
    out: Vec<u8>,
    deadline: Instant,
    end: Instant,
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
    lines: Vec<Option<Line>>,
    probes_sent: usize,
    heard: bool,
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
        let mut warnings = Vec::new();
        let (lines, said) = if order.multicast {
            multicast::open()
        } else {
            (Vec::new(), Vec::new())
        };
        warnings.extend(said);
        for (line, name) in lines.iter().zip(LINES..) {
            epoll.add(&line.socket, EpollEvent::new(EpollFlags::EPOLLIN, name))?;
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
        let size = if lines.is_empty() { 4096 } else { MAX_ANSWER };
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
            lines: lines.into_iter().map(Some).collect(),
            probes_sent: 0,
            heard: false,
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
            self.ask_around(now);
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
        self.conns.is_empty() && self.lines.is_empty() && self.schedule.is_done(now)
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
        if !self.lines.is_empty() {
            let next = PROBES.get(self.probes_sent).copied();
            sooner(self.begin + next.unwrap_or(self.listen()));
        }
        wake.unwrap_or(now + Duration::from_secs(1))
    }

    fn listen(&self) -> Duration {
        if self.heard { LISTEN } else { LISTEN_SILENCE }
    }

    // ---- WS-Discovery

    fn ask_around(&mut self, now: Instant) {
        if self.lines.is_empty() {
            return;
        }
        let passed = now.saturating_duration_since(self.begin);
        if PROBES.get(self.probes_sent).is_some_and(|at| passed >= *at) {
            self.probes_sent += 1;
            for kind in ProbeFor::ALL {
                self.probe(kind);
            }
        }
        let done = self.probes_sent == PROBES.len() && passed >= self.listen();
        if done || self.lines.iter().all(Option::is_none) {
            self.lines.clear();
        }
    }

    fn probe(&mut self, kind: ProbeFor) {
        let mut failed = Vec::new();
        for slot in &mut self.lines {
            let Some(line) = slot else { continue };
            let id = random_id();
            self.hints.asked(&id);
            if let Err(why) = line.send(&discovery::probe(kind, &id))
                && why.kind() != io::ErrorKind::WouldBlock
            {
                // An interface without a way for multicast; asking again changes nothing.
                failed.push(format!("{}: cannot multicast: {}", line.name, words(&why)));
                *slot = None;
            }
        }
        for warning in failed {
            self.warn(warning);
        }
    }

    fn hear(&mut self, index: usize) {
        for _ in 0..DATAGRAMS {
            let Some(Some(line)) = self.lines.get(index) else {
                return;
            };
            let (len, source) = match line.socket.recv_from(&mut self.buffer) {
                Ok(got) => got,
                Err(why) if why.kind() == io::ErrorKind::Interrupted => continue,
                // Nothing more, or an error that an earlier probe met on its way.
                Err(_) => return,
            };
            self.heard = true;
            let bytes = self.buffer.get(..len).unwrap_or_default();
            let told = self.hints.datagram(source.ip(), bytes);
            if self.hints.is_flooded() {
                self.warn("WS-Discovery: more answers than are read".to_owned());
                self.lines.iter_mut().for_each(|line| *line = None);
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

    // ---- Connections

    fn connect(&mut self, attempt: Attempt, now: Instant) {
        match begin_connect(attempt, &self.epoll) {
            Ok(stream) => {
                let conn = Conn {
                    stream,
                    ip: attempt.ip,
                    port: attempt.port,
                    talking: None,
                };
                self.conns.insert(attempt.ticket, conn);
            }
            Err(Errno::ECONNREFUSED) => {
                self.schedule.refused(attempt.ticket);
                self.abandon(attempt.ip, attempt.port);
            }
            Err(
                why @ (Errno::EMFILE
                | Errno::ENFILE
                | Errno::ENOBUFS
                | Errno::ENOMEM
                | Errno::ENOSPC
                | Errno::EADDRNOTAVAIL
                | Errno::EAGAIN),
            ) => {
                self.schedule.not_begun(attempt.ticket, now);
                self.warn(format!("the sweep is slower: {}", why.desc()));
            }
            Err(_) => {
                self.schedule.unreachable(attempt.ticket);
                self.abandon(attempt.ip, attempt.port);
            }
        }
    }

    fn given_up(&mut self, ticket: Ticket) {
        if let Some(conn) = self.conns.remove(&ticket) {
            self.abandon(conn.ip, conn.port);
        }
    }

    /// A conversation that was to go on has no connection any more.
    fn abandon(&mut self, ip: Ipv4Addr, port: u16) {
        if let Some((talk, _)) = self.parked.remove(&(ip, port)) {
            self.learnt(ip, port, talk.facts());
        }
    }

    fn ready(&mut self, event: EpollEvent) {
        let name = event.data();
        if name == STOP {
            return;
        }
        if name >= LINES {
            self.hear(usize::try_from(name - LINES).unwrap_or(usize::MAX));
            return;
        }
        let Some(conn) = self.conns.get_mut(&name) else {
            return;
        };
        if conn.talking.is_some() {
            if event
                .events()
                .intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR)
            {
                self.read(name);
            } else {
                self.write(name);
            }
            return;
        }
        let connected = match conn.stream.take_error() {
            Ok(None) => {
                event.events().contains(EpollFlags::EPOLLOUT)
                    && !event.events().contains(EpollFlags::EPOLLERR)
            }
            Ok(Some(why)) | Err(why) => {
                let (ip, port) = (conn.ip, conn.port);
                self.conns.remove(&name);
                match why.kind() {
                    io::ErrorKind::ConnectionRefused => self.schedule.refused(name),
                    // Only a connection that stood can be reset.
                    io::ErrorKind::ConnectionReset => {
                        self.schedule.opened(name, false);
                        self.dossiers.entry(ip).or_default().opened(port);
                        let note = "closes at once".to_owned();
                        self.learnt(
                            ip,
                            port,
                            Facts {
                                note,
                                ..Facts::default()
                            },
                        );
                    }
                    _ => self.schedule.unreachable(name),
                }
                self.abandon(ip, port);
                return;
            }
        };
        if connected {
            self.opened(name);
        }
    }

    fn opened(&mut self, ticket: Ticket) {
        let Some(conn) = self.conns.remove(&ticket) else {
            return;
        };
        let (ip, port) = (conn.ip, conn.port);
        self.dossiers.entry(ip).or_default().opened(port);
        let now = Instant::now();
        let parked = self.parked.remove(&(ip, port));
        let resumed = parked.is_some();
        let talk = match parked {
            Some(parked) => Some(parked),
            None => self.talk(ip, port).map(|talk| (talk, now + CONVERSATION)),
        };
        let Some((mut talk, end)) = talk else {
            self.schedule.opened(ticket, false);
            if self.kind(port) == PortKind::Sign {
                let note = "open; nothing is asked there".to_owned();
                self.learnt(
                    ip,
                    port,
                    Facts {
                        note,
                        ..Facts::default()
                    },
                );
            }
            return;
        };
        if !self.schedule.opened(ticket, true) {
            // No room on that device or here: closed, and it comes again.
            if resumed {
                self.parked.insert((ip, port), (talk, end));
            }
            return;
        }
        // What nobody reads must not pile up in the kernel; it is no fault if that can't be set.
        let _ = setsockopt(&conn.stream, sockopt::RcvBuf, &RECEIVE_BUFFER);
        if self.named(ip, port).is_some() {
            self.dossiers.entry(ip).or_default().hint_asked(port, true);
        }
        let out = talk.begin();
        let talking = Talking {
            talk,
            out,
            deadline: (now + ANSWER).min(end),
            end,
        };
        self.conns.insert(
            ticket,
            Conn {
                talking: Some(talking),
                ..conn
            },
        );
        self.write(ticket);
    }

    /// The conversation for a port; `None` where there is nothing to say.
    fn talk(&self, ip: Ipv4Addr, port: u16) -> Option<Talk> {
        let kind = self.kind(port);
        let dossier = self.dossiers.get(&ip);
        let knows = |what: fn(&Dossier) -> bool| dossier.is_some_and(what);
        let fresh = !dossier.is_some_and(|d| d.knows(port));
        let isapi = kind == PortKind::Web && fresh && !knows(Dossier::isapi);
        let questions = match kind {
            PortKind::Rtsp => return fresh.then(|| Talk::Rtsp(RtspTalk::new(ip, port))),
            PortKind::Sign => return None,
            PortKind::Web | PortKind::Onvif => Questions {
                isapi,
                onvif: fresh && !knows(Dossier::onvif),
                hinted: self
                    .named(ip, port)
                    .filter(|_| !knows(Dossier::onvif))
                    .map(str::to_owned),
                page: isapi,
            },
        };
        let talk = HttpTalk::new(ip, port, questions);
        (!talk.is_empty()).then_some(Talk::Http(talk))
    }

    fn kind(&self, port: u16) -> PortKind {
        self.ports
            .iter()
            .find(|(p, _)| *p == port)
            .map_or(PortKind::Onvif, |(_, kind)| *kind)
    }

    fn write(&mut self, ticket: Ticket) {
        let Some(conn) = self.conns.get_mut(&ticket) else {
            return;
        };
        let Some(talking) = &mut conn.talking else {
            return;
        };
        while !talking.out.is_empty() {
            match (&conn.stream).write(&talking.out) {
                Ok(0) => break,
                Ok(n) => {
                    talking.out.drain(..n);
                }
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => break,
                // The reading side tells how it ended, and what was said before.
                Err(_) => talking.out.clear(),
            }
        }
        let mut wanted = EpollFlags::EPOLLIN;
        if !talking.out.is_empty() {
            wanted |= EpollFlags::EPOLLOUT;
        }
        let mut event = EpollEvent::new(wanted, ticket);
        // It can fail only for a descriptor that is not in the set.
        let _ = self.epoll.modify(&conn.stream, &mut event);
    }

    fn read(&mut self, ticket: Ticket) {
        let Some(conn) = self.conns.get_mut(&ticket) else {
            return;
        };
        let Some(talking) = &mut conn.talking else {
            return;
        };
        let room = self.buffer.len().min(4096);
        let Some(buffer) = self.buffer.get_mut(..room) else {
            return;
        };
        let next = match (&conn.stream).read(buffer) {
            Ok(0) => talking.talk.ended(End::Closed),
            Ok(n) => talking.talk.received(buffer.get(..n).unwrap_or_default()),
            Err(why)
                if matches!(
                    why.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                if talking.out.is_empty() {
                    return;
                }
                self.write(ticket);
                return;
            }
            Err(_) => talking.talk.ended(End::Closed),
        };
        self.goes_on(ticket, next);
    }

    fn late(&mut self, now: Instant) {
        let late: Vec<Ticket> = self
            .conns
            .iter()
            .filter(|(_, c)| c.talking.as_ref().is_some_and(|t| now >= t.deadline))
            .map(|(ticket, _)| *ticket)
            .collect();
        for ticket in late {
            let Some(talking) = self
                .conns
                .get_mut(&ticket)
                .and_then(|conn| conn.talking.as_mut())
            else {
                continue;
            };
            let mut next = talking.talk.ended(End::Late);
            if now >= talking.end {
                next = Next::Over;
            }
            self.goes_on(ticket, next);
        }
    }

    fn goes_on(&mut self, ticket: Ticket, next: Next) {
        let now = Instant::now();
        match next {
            Next::More => {}
            Next::Send(bytes) => {
                if let Some(talking) = self
                    .conns
                    .get_mut(&ticket)
                    .and_then(|conn| conn.talking.as_mut())
                {
                    talking.out = bytes;
                    talking.deadline = (now + ANSWER).min(talking.end);
                }
                self.write(ticket);
            }
            Next::Again | Next::Over => {
                let Some(conn) = self.conns.remove(&ticket) else {
                    return;
                };
                let (ip, port) = (conn.ip, conn.port);
                // Closed before the next is opened.
                drop(conn.stream);
                let Some(talking) = conn.talking else { return };
                if next == Next::Again && now < talking.end {
                    self.parked.insert((ip, port), (talking.talk, talking.end));
                    self.schedule.talked(ip, port, true);
                } else {
                    self.learnt(ip, port, talking.talk.facts());
                    let again = self.is_hint_open(ip, port);
                    self.schedule.talked(ip, port, again);
                }
            }
        }
    }

    fn learnt(&mut self, ip: Ipv4Addr, port: u16, facts: Facts) {
        let dossier = self.dossiers.entry(ip).or_default();
        dossier.learnt(port, facts);
        if dossier.is_tarpit() {
            self.schedule.leave(ip);
        }
    }

    // ---- The end

    fn warn(&mut self, warning: String) {
        if self.warnings.len() < MAX_WARNINGS && !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    fn report(mut self, cut_short: bool) -> SweepReport {
        // What was learnt in conversations that were cut off counts.
        let conns: Vec<Conn> = self.conns.drain().map(|(_, conn)| conn).collect();
        for conn in conns {
            if let Some(talking) = conn.talking {
                self.learnt(conn.ip, conn.port, talking.talk.facts());
            }
        }
        let parked: Vec<_> = self.parked.drain().collect();
        for ((ip, port), (talk, _)) in parked {
            self.learnt(ip, port, talk.facts());
        }
        for ip in self.hints.cameras() {
            self.dossiers.entry(ip).or_default();
        }
        let macs = neighbours::macs(|ip| self.dossiers.contains_key(&ip));
        let rank = |port: u16| {
            self.ports
                .iter()
                .position(|(p, _)| *p == port)
                .unwrap_or(usize::MAX)
        };
        let mut finds = Vec::new();
        let mut others = Vec::new();
        for (ip, dossier) in &self.dossiers {
            let hint = self.hints.of(*ip);
            match dossier.find(*ip, hint, macs.get(ip).cloned(), rank) {
                Some(find) => finds.push(find),
                None => others.extend(dossier.others(*ip, hint.is_some())),
            }
        }
        others.truncate(MAX_OTHERS);
        self.warnings.truncate(MAX_WARNINGS);
        SweepReport {
            finds,
            addresses: self.schedule.tried(),
            connects: self.schedule.connects(),
            took: self.begin.elapsed(),
            cut_short,
            others,
            warnings: self.warnings,
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
            let never = ip.is_multicast()
                || ip.is_unspecified()
                || ip.is_broadcast()
                || (ip.is_loopback() && !order.loopback);
            if !never && !order.except.contains(&ip) {
                all.push(ip);
            }
        }
    }
    all
}

fn begin_connect(attempt: Attempt, epoll: &Epoll) -> nix::Result<TcpStream> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
    let to = SockaddrIn::from(SocketAddrV4::new(attempt.ip, attempt.port));
    match connect(fd.as_raw_fd(), &to) {
        Ok(()) | Err(Errno::EINPROGRESS) => {}
        Err(why) => return Err(why),
    }
    epoll.add(&fd, EpollEvent::new(EpollFlags::EPOLLOUT, attempt.ticket))?;
    Ok(TcpStream::from(fd))
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
