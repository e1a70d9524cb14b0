//! Which address and port is connected to next, and how long silence is listened to. Pure: `now`
//! is passed in, sockets are tickets.
//!
//! An address is knocked at once. On a local network the kernel must resolve a neighbour for that,
//! and the neighbour table tells long before any time-out who is there: no neighbour, no host. The
//! rest of the ports goes to addresses that answered, whose neighbour is known, or for which no
//! neighbour is needed (routed); silence alone counts for nothing. Silent connects give way after
//! [`MIN_HOLD`] to those that wait for a socket, and are tried again if there is time.
//!
//! Bounds: sockets in all, addresses whose neighbour is being resolved (the kernel's table
//! overflows at 1,024), connects a second, and two connections that talk to one device.

mod host;
mod pace;
mod resolving;
mod turns;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use self::host::{Host, Life, Ports, bit};
use self::pace::Pace;
pub use self::resolving::Neighbour;
use self::resolving::Resolving;
use self::turns::Turn;

/// A connect that is silent for that long makes room for one that waits.
pub const MIN_HOLD: Duration = Duration::from_millis(300);
/// The longest that a connect is waited for: the kernel's second SYN goes out after a second.
const MAX_HOLD: Duration = Duration::from_millis(1300);
/// Most addresses added by hints.
const MAX_ADDED: usize = 256;
/// Most ports, those of hints included.
const MAX_PORTS: usize = 64;

/// What holds for one sweep.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Sockets at once.
    pub sockets: usize,
    /// Addresses whose neighbour is being resolved, at once.
    pub unresolved: usize,
}

/// One connect under way.
pub type Ticket = u64;

/// A connect to be begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// Names it afterwards.
    pub ticket: Ticket,
    /// Where to.
    pub ip: Ipv4Addr,
    /// Where to.
    pub port: u16,
}

#[derive(Debug)]
struct Flight {
    host: usize,
    port: usize,
    started: Instant,
    young: bool,
    known_open: bool,
}

/// The plan of one sweep.
#[derive(Debug)]
pub struct Schedule {
    /// Sockets at once.
    sockets: usize,
    ports: Vec<u16>,
    standard: Ports,
    hosts: Vec<Host>,
    by_ip: BTreeMap<Ipv4Addr, usize>,
    added: usize,
    flights: BTreeMap<Ticket, Flight>,
    next_ticket: Ticket,
    talking: usize,
    /// Connects to ports that wait to talk.
    reserved: usize,
    /// Not knocked at yet.
    knocks: VecDeque<usize>,
    resolving: Resolving,
    /// Hosts that have answered, and have something to be tried.
    live: VecDeque<usize>,
    /// The same, of hosts that are there and have said nothing.
    silent: VecDeque<usize>,
    /// Hosts with ports that may have a second chance.
    second: VecDeque<usize>,
    /// Hosts with open ports, while too many connections talk already.
    crowd: VecDeque<usize>,
    pace: Pace,
    /// Second chances end then.
    soft_end: Instant,
    /// Something waits for nothing but a socket.
    starved: bool,
    tried: u32,
    connects: u32,
}

impl Schedule {
    /// All of `ports` on all of `addresses`.
    pub fn new(
        addresses: impl IntoIterator<Item = Ipv4Addr>,
        ports: &[u16],
        limits: Limits,
        now: Instant,
    ) -> Self {
        let ports: Vec<u16> = ports.iter().copied().take(MAX_PORTS / 2).collect();
        let standard = (1_u64 << ports.len()) - 1;
        let mut this = Self {
            sockets: limits.sockets.max(1),
            ports,
            standard,
            hosts: Vec::new(),
            by_ip: BTreeMap::new(),
            added: 0,
            flights: BTreeMap::new(),
            next_ticket: 1,
            talking: 0,
            reserved: 0,
            knocks: VecDeque::new(),
            resolving: Resolving::new(limits.unresolved.max(1)),
            live: VecDeque::new(),
            silent: VecDeque::new(),
            second: VecDeque::new(),
            crowd: VecDeque::new(),
            pace: Pace::new(now),
            soft_end: now,
            starved: false,
            tried: 0,
            connects: 0,
        };
        for ip in addresses {
            if !this.by_ip.contains_key(&ip) {
                let at = this.push(ip, Life::New);
                this.knocks.push_back(at);
            }
        }
        // Room for eight ports of each at MIN_HOLD with 512 sockets, and a little more.
        let by_size = Duration::from_millis(350)
            + Duration::from_millis(5) * u32::try_from(this.hosts.len()).unwrap_or(u32::MAX);
        this.soft_end = now + by_size.max(Duration::from_millis(1620));
        this
    }

    fn push(&mut self, ip: Ipv4Addr, life: Life) -> usize {
        let at = self.hosts.len();
        self.hosts.push(Host::new(ip, life, self.standard));
        self.by_ip.insert(ip, at);
        at
    }

    /// Addresses that were tried.
    pub fn tried(&self) -> u32 {
        self.tried
    }

    /// Connects that were begun.
    pub fn connects(&self) -> u32 {
        self.connects
    }

    /// The next connect to begin now, if any may be.
    pub fn next(&mut self, now: Instant) -> Option<Attempt> {
        self.pace.refill(now);
        self.starved = false;
        if !self.pace.allows() || !self.has_work(now) {
            return None;
        }
        if self.in_use() >= self.sockets {
            self.starved = true;
            return None;
        }
        let Turn {
            host,
            port,
            known_open,
        } = self.pick(now)?;
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.pace.spend();
        self.connects = self.connects.saturating_add(1);
        self.reserved += usize::from(known_open);
        self.flights.insert(
            ticket,
            Flight {
                host,
                port,
                started: now,
                young: true,
                known_open,
            },
        );
        let ip = self.host(host)?.ip;
        if let Some(h) = self.hosts.get_mut(host) {
            h.young += 1;
        }
        self.enqueue(host);
        let port = self.ports.get(port).copied()?;
        Some(Attempt { ticket, ip, port })
    }

    /// It could not be begun for want of descriptors, memory or local ports: later, and fewer.
    pub fn not_begun(&mut self, ticket: Ticket, now: Instant) {
        let Some(flight) = self.remove(ticket) else {
            return;
        };
        self.connects = self.connects.saturating_sub(1);
        self.sockets = self.in_use().max(1);
        self.pace.pause(now);
        let Some(host) = self.hosts.get_mut(flight.host) else {
            return;
        };
        if flight.known_open {
            host.open |= bit(flight.port);
        } else {
            host.todo |= bit(flight.port);
        }
        if host.life == Life::Knocked {
            host.life = Life::New;
            self.tried = self.tried.saturating_sub(1);
            self.knocks.push_front(flight.host);
            self.resolving.forget(flight.host);
        }
        self.enqueue(flight.host);
    }

    /// It is connected. Whether it may talk now; otherwise it is closed, and comes again when the
    /// device has room. `talks` = there is something to say on this port at all.
    pub fn opened(&mut self, ticket: Ticket, talks: bool) -> bool {
        let Some(flight) = self.remove(ticket) else {
            return false;
        };
        self.answered(flight.host);
        // Its place was kept.
        let crowded = self.crowded() && !flight.known_open;
        let Some(host) = self.hosts.get_mut(flight.host) else {
            return false;
        };
        let now = talks && !crowded && host.may_talk();
        if now {
            host.talking += 1;
            self.talking += 1;
        } else if talks {
            host.open |= bit(flight.port);
        }
        self.enqueue(flight.host);
        now
    }

    /// It was refused: somebody is there.
    pub fn refused(&mut self, ticket: Ticket) {
        if let Some(flight) = self.remove(ticket) {
            self.answered(flight.host);
            self.enqueue(flight.host);
        }
    }

    /// The network said that there is no way. That may be a firewall's word for one port, so the
    /// others are tried.
    pub fn unreachable(&mut self, ticket: Ticket) {
        if let Some(flight) = self.remove(ticket) {
            if let Some(host) = self.hosts.get_mut(flight.host)
                && host.life == Life::Knocked
            {
                host.life = Life::Silent;
            }
            self.enqueue(flight.host);
        }
    }

    /// A conversation is over, its socket closed. `again` = it goes on in a new connection.
    pub fn talked(&mut self, ip: Ipv4Addr, port: u16, again: bool) {
        let Some(at) = self.by_ip.get(&ip).copied() else {
            return;
        };
        let place = self.ports.iter().position(|p| *p == port);
        let Some(host) = self.hosts.get_mut(at) else {
            return;
        };
        host.talking = host.talking.saturating_sub(1);
        self.talking = self.talking.saturating_sub(1);
        if let (true, Some(place)) = (again, place) {
            host.open |= bit(place);
        }
        self.enqueue(at);
    }

    /// The rest of an address's ports is left alone: it accepts everything and says nothing.
    pub fn leave(&mut self, ip: Ipv4Addr) {
        if let Some(host) = self
            .by_ip
            .get(&ip)
            .copied()
            .and_then(|at| self.hosts.get_mut(at))
        {
            host.todo = 0;
            host.open = 0;
            host.second = 0;
        }
    }

    /// An address spoke by itself. All ports are tried on it, and `port` too; `again` = even if it
    /// was tried before. `false` = there are too many already.
    pub fn spoke(&mut self, ip: Ipv4Addr, port: Option<u16>, again: bool) -> bool {
        let at = match self.by_ip.get(&ip) {
            Some(at) => *at,
            None if self.added >= MAX_ADDED => return false,
            None => {
                self.added += 1;
                self.tried = self.tried.saturating_add(1);
                self.push(ip, Life::Answered)
            }
        };
        let place = port.and_then(|port| {
            self.ports.iter().position(|p| *p == port).or_else(|| {
                (self.ports.len() < MAX_PORTS).then(|| {
                    self.ports.push(port);
                    self.ports.len() - 1
                })
            })
        });
        let Some(host) = self.hosts.get_mut(at) else {
            return false;
        };
        if matches!(host.life, Life::New | Life::Absent) {
            if host.life == Life::New {
                self.tried = self.tried.saturating_add(1);
            }
            host.todo = self.standard;
            self.knocks.retain(|other| *other != at);
        }
        if let Some(place) = place
            && (again || host.given & bit(place) == 0)
        {
            host.given |= bit(place);
            if host.todo & bit(place) == 0 {
                host.open |= bit(place);
            }
        }
        self.answered(at);
        self.enqueue(at);
        true
    }

    /// Whether the neighbour table should be read now.
    pub fn wants_neighbours(&self, now: Instant) -> bool {
        self.resolving.next_look().is_some_and(|at| now >= at)
    }

    /// What the neighbour table holds now.
    pub fn neighbours(&mut self, table: &HashMap<Ipv4Addr, Neighbour>, now: Instant) {
        for at in self.resolving.look(&mut self.hosts, table, now) {
            self.enqueue(at);
        }
    }

    /// Connects that are given up now; their sockets are to be closed.
    pub fn expire(&mut self, now: Instant) -> Vec<Ticket> {
        self.resolving.expire(&mut self.hosts, now);
        let mut give_way = if self.starved {
            self.waiting().min(32)
        } else {
            0
        };
        let mut over = Vec::new();
        let mut aged = Vec::new();
        let mut silenced = Vec::new();
        for (ticket, flight) in &mut self.flights {
            let age = now.saturating_duration_since(flight.started);
            if age < MIN_HOLD {
                continue;
            }
            let Some(host) = self.hosts.get_mut(flight.host) else {
                continue;
            };
            if flight.young {
                flight.young = false;
                host.young = host.young.saturating_sub(1);
                aged.push(flight.host);
            }
            let done = match host.life {
                Life::Absent => true,
                Life::Knocked => false,
                Life::Answered => age >= MAX_HOLD,
                Life::New | Life::Silent => age >= MAX_HOLD || now >= self.soft_end,
            };
            if done {
                over.push(*ticket);
            } else if give_way > 0 {
                give_way -= 1;
                over.push(*ticket);
                if host.life == Life::Knocked {
                    // The neighbour is waited for without a socket.
                    host.todo |= bit(flight.port);
                } else if age < MAX_HOLD {
                    host.second |= bit(flight.port);
                    silenced.push(flight.host);
                }
            }
        }
        for ticket in &over {
            self.remove(*ticket);
        }
        self.second.extend(silenced);
        for at in aged {
            self.enqueue(at);
        }
        over
    }

    /// When something is due without anything happening.
    pub fn next_wake(&self, now: Instant) -> Option<Instant> {
        let mut wake = self.resolving.next_look();
        let mut sooner = |at: Instant| wake = Some(wake.map_or(at, |w| w.min(at)));
        if let Some(at) = self.resolving.next_absent() {
            sooner(at);
        }
        if !self.knocks.is_empty()
            && let Some(at) = self.resolving.next_room()
        {
            sooner(at);
        }
        for flight in self.flights.values() {
            let age = now.saturating_duration_since(flight.started);
            if age < MIN_HOLD {
                sooner(flight.started + MIN_HOLD);
                // Those after it are younger.
                break;
            }
            if self.starved {
                sooner(now);
            }
            match self.host(flight.host).map(|h| h.life) {
                Some(Life::Knocked) => {}
                Some(Life::Answered) => sooner(flight.started + MAX_HOLD),
                _ => sooner((flight.started + MAX_HOLD).min(self.soft_end)),
            }
        }
        if self.has_work(now) && self.in_use() < self.sockets {
            sooner(self.pace.next_go());
        }
        wake
    }

    /// Nothing is under way and nothing left to begin.
    pub fn is_done(&self, now: Instant) -> bool {
        self.flights.is_empty()
            && self.talking == 0
            && self.knocks.is_empty()
            && self.resolving.is_done()
            && !self.has_work(now)
    }

    fn host(&self, at: usize) -> Option<&Host> {
        self.hosts.get(at)
    }

    fn in_use(&self) -> usize {
        self.flights.len() + self.talking
    }

    fn answered(&mut self, at: usize) {
        if let Some(host) = self.hosts.get_mut(at) {
            if host.life == Life::Knocked {
                self.resolving.forget(at);
            }
            host.life = Life::Answered;
        }
    }

    fn remove(&mut self, ticket: Ticket) -> Option<Flight> {
        let flight = self.flights.remove(&ticket)?;
        self.reserved -= usize::from(flight.known_open);
        if flight.young
            && let Some(host) = self.hosts.get_mut(flight.host)
        {
            host.young = host.young.saturating_sub(1);
        }
        Some(flight)
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
