use std::collections::{BTreeSet, HashSet};

use proptest::prelude::*;

use super::*;

/// What an address does, in simulated time.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// On the local network, and nobody there.
    Nobody,
    /// Behind a router or a line without neighbours, and silent.
    Routed,
    /// There (its neighbour is known), and its firewall drops everything.
    Mute,
    /// There; drops everything but one port.
    OnlyPort(usize),
    /// There; refuses everything but one port.
    Camera(usize),
    /// There from that many ms on, when its neighbour answers; refuses all but the first port.
    Slow(u64),
    /// Every port accepts.
    Tarpit,
    /// A router says at once that there is no way.
    NoWay,
}

const PORTS: [u16; 8] = [554, 80, 8000, 8080, 8554, 8899, 2020, 37777];
const RTT: Duration = Duration::from_millis(4);
/// How long a conversation takes.
const TALK: Duration = Duration::from_millis(900);

#[derive(Debug)]
struct Outcome {
    took: Duration,
    tried: HashMap<(Ipv4Addr, u16), u32>,
    talks: BTreeSet<(Ipv4Addr, u16)>,
    connects: u32,
    most_sockets: usize,
    most_talks_with_one: usize,
    most_unresolved: usize,
    turns: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Accepts,
    Refuses,
    NoWay,
}

struct Net {
    t0: Instant,
    now: Instant,
    kinds: BTreeMap<Ipv4Addr, Kind>,
    /// When the kernel began to ask for a neighbour last.
    asked: HashMap<Ipv4Addr, Instant>,
}

impl Net {
    fn new(kinds: &[Kind]) -> Self {
        let t0 = Instant::now();
        let kinds = kinds
            .iter()
            .zip(0x0a00_0001_u32..)
            .map(|(kind, bits)| (Ipv4Addr::from_bits(bits), *kind))
            .collect();
        Self {
            t0,
            now: t0,
            kinds,
            asked: HashMap::new(),
        }
    }

    fn up_at(&self, ip: Ipv4Addr) -> Instant {
        match self.kinds[&ip] {
            Kind::Slow(ms) => self.t0 + Duration::from_millis(ms),
            _ => self.t0,
        }
    }

    /// What comes of a connect, and when; `None` = never anything.
    fn answer(&self, ip: Ipv4Addr, port: u16) -> Option<(Instant, Event)> {
        let index = PORTS.iter().position(|p| *p == port).unwrap_or(99);
        let at = self.now.max(self.up_at(ip)) + RTT;
        let event = match self.kinds[&ip] {
            Kind::Nobody | Kind::Routed | Kind::Mute => return None,
            Kind::OnlyPort(open) if open != index => return None,
            Kind::Camera(open) | Kind::OnlyPort(open) if open == index => Event::Accepts,
            Kind::Slow(_) if index == 0 => Event::Accepts,
            Kind::Tarpit => Event::Accepts,
            Kind::Camera(_) | Kind::OnlyPort(_) | Kind::Slow(_) => Event::Refuses,
            Kind::NoWay => Event::NoWay,
        };
        Some((at, event))
    }

    fn table(&self) -> HashMap<Ipv4Addr, Neighbour> {
        self.asked
            .keys()
            .filter_map(|ip| {
                let state = match self.kinds[ip] {
                    Kind::Routed | Kind::NoWay => return None,
                    Kind::Nobody => Neighbour::Unresolved,
                    _ if self.now < self.up_at(*ip) + RTT => Neighbour::Unresolved,
                    _ => Neighbour::Known,
                };
                Some((*ip, state))
            })
            .collect()
    }

    fn unresolved(&self) -> usize {
        self.asked
            .iter()
            .filter(|(ip, since)| {
                self.kinds[*ip] == Kind::Nobody && self.now < **since + Duration::from_secs(3)
            })
            .count()
    }

    /// A whole sweep. `cancel` = stop looking at that time. `lack` = every so many connects there
    /// is no descriptor.
    fn sweep(&mut self, limits: Limits, lack: Option<u32>) -> Outcome {
        let all: Vec<Ipv4Addr> = self.kinds.keys().copied().collect();
        let mut plan = Schedule::new(all, &PORTS, limits, self.now);
        let mut out = Outcome {
            took: Duration::ZERO,
            tried: HashMap::new(),
            talks: BTreeSet::new(),
            connects: 0,
            most_sockets: 0,
            most_talks_with_one: 0,
            most_unresolved: 0,
            turns: 0,
        };
        let mut pending: BTreeMap<(Instant, Ticket), (Event, Ipv4Addr, u16)> = BTreeMap::new();
        let mut sockets: HashSet<Ticket> = HashSet::new();
        let mut talks: BTreeSet<(Instant, Ipv4Addr, u16)> = BTreeSet::new();
        let mut begun = 0;
        loop {
            out.turns += 1;
            assert!(out.turns < 100_000, "spins: {plan:?}");
            if plan.wants_neighbours(self.now) {
                plan.neighbours(&self.table(), self.now);
            }
            for ticket in plan.expire(self.now) {
                assert!(sockets.remove(&ticket));
                pending.retain(|(_, other), _| *other != ticket);
            }
            while let Some(attempt) = plan.next(self.now) {
                begun += 1;
                if lack.is_some_and(|every| begun % every == 0) {
                    plan.not_begun(attempt.ticket, self.now);
                    continue;
                }
                sockets.insert(attempt.ticket);
                let Attempt { ip, port, ticket } = attempt;
                *out.tried.entry((ip, port)).or_default() += 1;
                let again = self
                    .asked
                    .get(&ip)
                    .is_none_or(|at| self.now >= *at + Duration::from_secs(3));
                if again {
                    self.asked.insert(ip, self.now);
                }
                if let Some((at, event)) = self.answer(ip, port) {
                    pending.insert((at, ticket), (event, ip, port));
                }
            }
            out.most_sockets = out.most_sockets.max(sockets.len() + talks.len());
            out.most_unresolved = out.most_unresolved.max(self.unresolved());
            if plan.is_done(self.now) && talks.is_empty() {
                break;
            }
            // The loop around it waits 5 ms at least.
            let wake = plan
                .next_wake(self.now)
                .unwrap_or(self.now + Duration::from_secs(1))
                .max(self.now + Duration::from_millis(5));
            let wake = [
                pending.keys().next().map(|k| k.0),
                talks.first().map(|t| t.0),
            ]
            .into_iter()
            .flatten()
            .fold(wake, Instant::min);
            self.now = self.now.max(wake);
            while let Some(entry) = pending.first_entry()
                && entry.key().0 <= self.now
            {
                let (_, ticket) = *entry.key();
                let (event, ip, port) = entry.remove();
                sockets.remove(&ticket);
                match event {
                    Event::Accepts => {
                        if plan.opened(ticket, port != 37777) {
                            talks.insert((self.now + TALK, ip, port));
                            out.talks.insert((ip, port));
                            let with = talks.iter().filter(|t| t.1 == ip).count();
                            out.most_talks_with_one = out.most_talks_with_one.max(with);
                        }
                    }
                    Event::Refuses => plan.refused(ticket),
                    Event::NoWay => plan.unreachable(ticket),
                }
            }
            while let Some((at, ip, port)) = talks.first().copied()
                && at <= self.now
            {
                talks.pop_first();
                plan.talked(ip, port, false);
            }
        }
        out.took = self.now - self.t0;
        out.connects = plan.connects();
        assert_eq!(plan.tried() as usize, self.kinds.len());
        out
    }
}

const LIMITS: Limits = Limits {
    sockets: 512,
    unresolved: 600,
};

fn sweep(kinds: &[Kind]) -> Outcome {
    let out = Net::new(kinds).sweep(LIMITS, None);
    assert!(out.most_sockets <= LIMITS.sockets, "{}", out.most_sockets);
    assert!(
        out.most_unresolved <= LIMITS.unresolved + 20,
        "{}",
        out.most_unresolved
    );
    assert!(out.most_talks_with_one <= 2);
    out
}

fn ports_tried(out: &Outcome, ip: Ipv4Addr) -> usize {
    out.tried.keys().filter(|(other, _)| *other == ip).count()
}

#[test]
fn a_dead_local_network_takes_under_two_seconds() {
    let out = sweep(&[Kind::Nobody; 254]);
    assert!(out.took < Duration::from_millis(1800), "{:?}", out.took);
    // One knock each: who has no neighbour has no ports.
    assert_eq!(out.connects, 254);
    assert!(out.turns < 250, "{}", out.turns);
}

#[test]
fn a_silent_network_takes_under_two_seconds_with_every_port_tried() {
    for kind in [Kind::Routed, Kind::Mute] {
        let out = sweep(&[kind; 254]);
        assert!(
            out.took < Duration::from_millis(1900),
            "{kind:?} {:?}",
            out.took
        );
        assert_eq!(out.tried.len(), 254 * 8, "{kind:?}");
    }
}

#[test]
fn a_dead_network_of_a_thousand_takes_under_six_seconds() {
    let out = sweep(&[Kind::Nobody; 1022]);
    assert!(out.took < Duration::from_millis(5500), "{:?}", out.took);
    assert_eq!(out.connects, 1022);
    for kind in [Kind::Routed, Kind::Mute] {
        let out = sweep(&[kind; 1022]);
        assert!(
            out.took < Duration::from_millis(5900),
            "{kind:?} {:?}",
            out.took
        );
        assert_eq!(out.tried.len(), 1022 * 8);
        assert!(out.turns < 4000, "{}", out.turns);
    }
}

#[test]
fn one_silent_address_is_listened_to_past_the_second_syn() {
    let out = sweep(&[Kind::Mute]);
    assert_eq!(out.tried.len(), 8);
    assert!(out.took > Duration::from_millis(1300), "{:?}", out.took);
    assert!(out.took < Duration::from_millis(1800), "{:?}", out.took);
}

#[test]
fn a_camera_behind_a_firewall_with_one_open_port_is_found_among_the_dead() {
    for (port, number) in PORTS.into_iter().enumerate().take(7) {
        let mut kinds = vec![Kind::Nobody; 254];
        kinds[100] = Kind::OnlyPort(port);
        kinds[101] = Kind::Camera(port);
        let mut net = Net::new(&kinds);
        let ips: Vec<Ipv4Addr> = net.kinds.keys().copied().collect();
        let out = net.sweep(LIMITS, None);
        assert!(out.talks.contains(&(ips[100], number)), "{port}");
        assert!(out.talks.contains(&(ips[101], number)), "{port}");
        assert_eq!(ports_tried(&out, ips[100]), 8);
        assert_eq!(ports_tried(&out, ips[101]), 8);
        assert!(out.took < Duration::from_secs(3), "{:?}", out.took);
    }
}

#[test]
fn a_neighbour_that_answers_the_second_request_is_in_time() {
    let mut kinds = vec![Kind::Nobody; 1022];
    kinds[7] = Kind::Slow(1100);
    kinds[900] = Kind::Slow(200);
    let mut net = Net::new(&kinds);
    let ips: Vec<Ipv4Addr> = net.kinds.keys().copied().collect();
    let out = net.sweep(LIMITS, None);
    assert!(out.talks.contains(&(ips[7], 554)));
    assert!(out.talks.contains(&(ips[900], 554)));
    assert_eq!(ports_tried(&out, ips[7]), 8);
}

#[test]
fn a_network_of_tarpits_keeps_the_bounds() {
    let out = sweep(&[Kind::Tarpit; 254]);
    // Seven ports with something to say.
    assert_eq!(out.talks.len(), 254 * 7);
    let out = sweep(&[Kind::Tarpit; 3]);
    assert_eq!(out.talks.len(), 3 * 7);
}

#[test]
fn no_way_is_no_silence() {
    let out = sweep(&[Kind::NoWay; 20]);
    assert_eq!(out.tried.len(), 160);
    assert!(out.took < Duration::from_millis(700), "{:?}", out.took);
}

#[test]
fn a_lack_of_descriptors_makes_it_slower() {
    let mut kinds = vec![Kind::Camera(0); 40];
    kinds.extend([Kind::Mute; 10]);
    let mut net = Net::new(&kinds);
    let out = net.sweep(LIMITS, Some(50));
    assert_eq!(out.tried.len(), 400);
    assert_eq!(out.talks.len(), 40);
}

#[test]
fn few_sockets_make_it_slower() {
    let few = Limits {
        sockets: 8,
        unresolved: 32,
    };
    let mut net = Net::new(&[Kind::Mute; 10]);
    let out = net.sweep(few, None);
    assert_eq!(out.tried.len(), 80);
    assert!(out.most_sockets <= 8);
}

#[test]
fn an_address_that_spoke_is_tried_on_all_ports_and_its_own() {
    let now = Instant::now();
    let ip = Ipv4Addr::new(10, 9, 9, 9);
    let mut plan = Schedule::new([], &PORTS, LIMITS, now);
    assert!(plan.is_done(now));
    assert!(plan.spoke(ip, Some(8081), false));
    let mut ports = BTreeSet::new();
    while let Some(attempt) = plan.next(now) {
        assert_eq!(attempt.ip, ip);
        ports.insert(attempt.port);
        plan.refused(attempt.ticket);
    }
    assert_eq!(ports.len(), 9);
    assert!(ports.contains(&8081));
    // Again only where that is asked for.
    assert!(plan.spoke(ip, Some(8081), false));
    assert_eq!(plan.next(now), None);
    assert!(plan.spoke(ip, Some(8081), true));
    assert_eq!(plan.next(now).unwrap().port, 8081);
    assert_eq!((plan.tried(), plan.connects()), (1, 10));
}

#[test]
fn addresses_that_spoke_are_bounded() {
    let now = Instant::now();
    let mut plan = Schedule::new([], &PORTS, LIMITS, now);
    let taken = (1..2000_u32)
        .filter(|n| plan.spoke(Ipv4Addr::from_bits(0x0a00_0000 + n), None, false))
        .count();
    assert_eq!(taken, 256);
}

#[test]
fn ports_of_hints_are_bounded() {
    let now = Instant::now();
    let mut plan = Schedule::new([], &PORTS, LIMITS, now);
    for port in 1..1000 {
        plan.spoke(Ipv4Addr::new(10, 0, 0, 1), Some(port), true);
    }
    assert_eq!(plan.ports.len(), 64);
}

#[test]
fn an_address_that_was_given_up_is_left_alone() {
    let now = Instant::now();
    let ip = Ipv4Addr::new(10, 0, 0, 1);
    let mut plan = Schedule::new([ip], &PORTS, LIMITS, now);
    let knock = plan.next(now).unwrap();
    assert!(plan.opened(knock.ticket, true));
    plan.leave(ip);
    plan.talked(ip, knock.port, false);
    assert_eq!(plan.next(now), None);
    assert!(plan.is_done(now));
}

#[test]
fn a_conversation_that_goes_on_gets_its_connection() {
    let now = Instant::now();
    let ip = Ipv4Addr::new(10, 0, 0, 1);
    let mut plan = Schedule::new([ip], &[80], LIMITS, now);
    let knock = plan.next(now).unwrap();
    assert!(plan.opened(knock.ticket, true));
    assert!(!plan.is_done(now));
    plan.talked(ip, 80, true);
    let again = plan.next(now).unwrap();
    assert_eq!((again.ip, again.port), (ip, 80));
    assert!(plan.opened(again.ticket, true));
    plan.talked(ip, 80, false);
    assert!(plan.is_done(now));
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        4 => Just(Kind::Nobody),
        2 => Just(Kind::Routed),
        1 => Just(Kind::Mute),
        1 => (0..8_usize).prop_map(Kind::OnlyPort),
        2 => (0..8_usize).prop_map(Kind::Camera),
        1 => (0..1400_u64).prop_map(Kind::Slow),
        1 => Just(Kind::Tarpit),
        1 => Just(Kind::NoWay),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is out there: it ends, within its bounds, and everything was tried or nobody is
    /// there; who is there and accepts is talked with.
    #[test]
    fn everything_is_tried_or_accounted_for(
        kinds in proptest::collection::vec(kind(), 1..120),
        sockets in 4..300_usize,
        unresolved in 8..300_usize,
        lack in proptest::option::of(7..60_u32),
    ) {
        let mut net = Net::new(&kinds);
        let out = net.sweep(Limits { sockets, unresolved }, lack);
        prop_assert!(out.most_sockets <= sockets);
        prop_assert!(out.most_talks_with_one <= 2);
        prop_assert!(out.most_unresolved <= unresolved + 20, "{}", out.most_unresolved);
        for (ip, kind) in &net.kinds {
            let tried = ports_tried(&out, *ip);
            match kind {
                Kind::Nobody => prop_assert!(tried >= 1),
                Kind::Slow(_) => prop_assert!(tried == 8 || tried == 1, "{tried}"),
                _ => prop_assert_eq!(tried, 8, "{:?}", kind),
            }
            let talked = |index: usize| out.talks.contains(&(*ip, PORTS[index]));
            match kind {
                Kind::OnlyPort(n) | Kind::Camera(n) if *n < 7 => prop_assert!(talked(*n), "{:?}", kind),
                Kind::Slow(ms) if *ms < 1000 => prop_assert!(talked(0), "{:?}", kind),
                Kind::Tarpit => prop_assert!((0..7).all(talked)),
                _ => {}
            }
        }
        for tries in out.tried.values() {
            prop_assert!(*tries <= 4, "{tries}");
        }
    }
}

#[test]
fn a_small_neighbour_table_makes_it_slower() {
    let small = Limits {
        sockets: 512,
        unresolved: 320,
    };
    let out = Net::new(&[Kind::Nobody; 1022]).sweep(small, None);
    assert_eq!(out.connects, 1022);
    assert!(out.took < Duration::from_secs(12), "{:?}", out.took);
}
