//! The connection machine against a model server over a simulated bad network: hours of simulated
//! time in milliseconds, faults from random seeds, invariants at the end.

// Helpers of tests are tests too: they may panic.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "support/mod.rs"]
mod support;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use lss::infrastructure::ably::connection::Machine;
use lss::infrastructure::ably::connection::ledger::{PLACES, Priority};
use lss::infrastructure::ably::connection::types::{
    ChannelState, ConnectionState, Credentials, Delivery, FaultKind, Input, Output, Publish,
    PublishKind, RequestId, Settings, TimeAnswer, Timing, Token, TransportFault, TransportId,
};
use lss::infrastructure::ably::data::Data;
use lss::infrastructure::ably::endpoint::Hosts;
use lss::infrastructure::ably::frame::ProtocolMessage;
use lss::util::secret::Secret;
use lss::util::time::Now;
use proptest::prelude::*;
use serde_json::{Value, json};
use support::ably::model::{Config, Model, Out};

const CLIENT: &str = "lss-sim";
const COMMANDS: &str = "lss:lss-sim:commands";
const STATUS: &str = "lss:lss-sim:status";
const REGISTRY: &str = "lss:registry";
/// The server's clock is years off ours.
const SERVER_EPOCH: i64 = 4_000_000_000_000;
const MINUTE: i64 = 60_000;

/// What is wrong with the network and the server, each with its weight.
#[derive(Debug, Clone)]
struct Weather {
    seed: u64,
    hours: i64,
    /// Milliseconds between faults, on average.
    calm: i64,
    /// Longest outage.
    outage: i64,
    latency: i64,
    tokens: bool,
    stamps: bool,
}

enum Event {
    Opened(TransportId, String),
    ToServer(TransportId, Value),
    ToClient(TransportId, Value),
    ServerClosed(TransportId),
    ServerNotices(TransportId),
    Answer(Box<dyn FnOnce(i64, Instant) -> Input>),
    Fault,
    Command,
    Work,
}

struct Wire {
    alive: bool,
    to_server: i64,
    to_client: i64,
}

struct Sim {
    machine: Machine,
    model: Model,
    weather: Weather,
    rng: fastrand::Rng,
    start: Now,
    now: i64,
    queue: BinaryHeap<Reverse<(i64, u64)>>,
    events: BTreeMap<u64, Event>,
    next_event: u64,
    wires: BTreeMap<TransportId, Wire>,
    down_until: i64,
    faults_until: i64,
    commands: Vec<(String, i64)>,
    delivered: Vec<(Delivery, i64)>,
    published: BTreeSet<String>,
    acked: Vec<String>,
    first_attached: Option<i64>,
    good: Vec<(i64, i64)>,
    attempts: Vec<i64>,
    losses: u64,
    refusals: u64,
    most_waiting: usize,
    timeouts: u64,
    rewind_refused: i64,
}

impl Sim {
    fn new(weather: Weather) -> Self {
        let start = Now {
            mono: Instant::now(),
            // A gateway without a battery.
            wall: SystemTime::UNIX_EPOCH,
        };
        let settings = Settings {
            client_id: CLIENT.to_owned(),
            credentials: if weather.tokens {
                Credentials::Tokens
            } else {
                Credentials::Key(Secret::new("app.key:secret"))
            },
            hosts: Hosts {
                primary: "primary".to_owned(),
                fallbacks: vec!["fallback-1".to_owned(), "fallback-2".to_owned()],
            },
            commands: COMMANDS.to_owned(),
            registry: REGISTRY.to_owned(),
            agent: "lss/sim".to_owned(),
            urgent: Arc::new(|message| message.name.as_deref() == Some("stop")),
            timing: Timing::default(),
            seed: weather.seed,
        };
        let mut model = Model::new(Config {
            stamps: weather.stamps,
            rate_slack: usize::try_from(weather.latency / 20).unwrap(),
            ..Config::default()
        });
        model.strict.insert(CLIENT.to_owned());
        Self {
            machine: Machine::new(settings, start),
            model,
            rng: fastrand::Rng::with_seed(weather.seed ^ 0x5eed),
            start,
            now: 0,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            next_event: 0,
            wires: BTreeMap::new(),
            down_until: 0,
            faults_until: weather.hours * 60 * MINUTE,
            commands: Vec::new(),
            delivered: Vec::new(),
            published: BTreeSet::new(),
            acked: Vec::new(),
            first_attached: None,
            good: Vec::new(),
            attempts: Vec::new(),
            losses: 0,
            refusals: 0,
            most_waiting: 0,
            timeouts: 0,
            rewind_refused: 0,
            weather,
        }
    }

    fn server_ms(&self) -> i64 {
        SERVER_EPOCH + self.now
    }

    fn clock(&self) -> Now {
        self.start.after(millis(self.now))
    }

    fn at(&mut self, when: i64, event: Event) {
        self.next_event += 1;
        self.events.insert(self.next_event, event);
        self.queue.push(Reverse((when, self.next_event)));
    }

    fn latency(&mut self) -> i64 {
        1 + self.rng.i64(0..self.weather.latency.max(1))
    }

    fn feed(&mut self, input: Input) {
        let now = self.clock();
        for output in self.machine.handle(input, now) {
            self.act(output);
        }
        self.most_waiting = self.most_waiting.max(self.machine.status().results_waiting);
    }

    fn act(&mut self, output: Output) {
        match output {
            Output::OpenTransport {
                transport, path, ..
            } => {
                self.attempts.push(self.now);
                let wait = self.latency();
                if self.now < self.down_until {
                    // Refused at once, or swallowed until the machine loses patience.
                    if self.rng.bool() {
                        let fault = TransportFault {
                            kind: FaultKind::Connect,
                            text: "network is unreachable".to_owned(),
                        };
                        let lost = Input::Lost(transport, fault);
                        self.at(self.now + wait, Event::Answer(Box::new(|_, _| lost)));
                    }
                    return;
                }
                let wire = Wire {
                    alive: true,
                    to_server: 0,
                    to_client: 0,
                };
                self.wires.insert(transport, wire);
                let path = path.expose().to_owned();
                self.at(self.now + wait, Event::Opened(transport, path));
            }
            Output::Send(transport, frame) => {
                let value: Value = serde_json::from_str(&frame.to_text()).unwrap();
                let wait = self.latency();
                if let Some(wire) = self.wires.get_mut(&transport) {
                    wire.to_server = wire.to_server.max(self.now + wait);
                    let when = wire.to_server;
                    self.at(when, Event::ToServer(transport, value));
                }
            }
            Output::CloseTransport(transport) => {
                let alive = self.wires.get_mut(&transport).is_some_and(|wire| {
                    wire.to_server = wire.to_server.max(self.now + 1);
                    wire.alive
                });
                // A dead line keeps the news from the server for long.
                let wait = if alive { 1 } else { self.rng.i64(1..90_000) };
                self.at(self.now + wait, Event::ServerNotices(transport));
            }
            Output::Deliver(delivery) => self.delivered.push((*delivery, self.now)),
            Output::Acked(id) => self.acked.push(id),
            Output::Refused { id, why, .. } => panic!("{id} refused: {why}"),
            Output::ContinuityLost { .. } => self.losses += 1,
            Output::PresenceRefused(_) => self.refusals += 1,
            Output::CheckConnectivity(id) => {
                let up = self.now >= self.down_until;
                let answer = move |_, _| Input::Connectivity(id, up);
                self.answer(Box::new(answer));
            }
            Output::FetchTime(id, _) => self.answer_time(id),
            Output::FetchToken(id, _) => {
                let name = format!("token-{}", self.now);
                let end = self.server_ms() + self.rng.i64(MINUTE..60 * MINUTE);
                self.model.tokens.insert(name.clone(), end);
                let lifetime = millis(end - self.server_ms());
                // Half of the sources do not say how long a token lives.
                let lifetime = self.rng.bool().then_some(lifetime);
                self.answer(Box::new(move |_, _| {
                    let value = Secret::new(name);
                    Input::Token(id, Ok(Token { value, lifetime }))
                }));
            }
            Output::Channel(name, change) => {
                if name == COMMANDS && change.state == ChannelState::Attached {
                    let now = self.now;
                    self.first_attached.get_or_insert(now);
                }
            }
            Output::ClonedMachineId(cloned) => panic!("nobody was cloned: {cloned}"),
            Output::Connection(_)
            | Output::PingAnswered(_)
            | Output::PingLost
            | Output::LinkLost
            | Output::Note(_)
            | Output::Ended => {}
        }
    }

    fn answer(&mut self, answer: Box<dyn FnOnce(i64, Instant) -> Input>) {
        let wait = 2 * self.latency();
        self.at(self.now + wait, Event::Answer(answer));
    }

    fn answer_time(&mut self, id: RequestId) {
        let trip = 2 * self.latency();
        let server_ms = self.server_ms() + trip / 2;
        let down = self.now < self.down_until;
        let answer = move |_, at| {
            let round_trip = millis(trip);
            let answer = TimeAnswer {
                server_ms,
                at,
                round_trip,
            };
            Input::ServerTime(id, (!down).then_some(answer))
        };
        self.at(self.now + trip, Event::Answer(Box::new(answer)));
    }

    fn server_says(&mut self, out: Vec<Out>) {
        for one in out {
            let (socket, event): (u64, fn(TransportId, Value) -> Event) = match &one {
                Out::Send(socket, _) => (*socket, Event::ToClient),
                Out::Close(socket) => (*socket, |id, _| Event::ServerClosed(id)),
            };
            let id = TransportId(socket);
            let wait = self.latency();
            if let Some(wire) = self.wires.get_mut(&id) {
                wire.to_client = wire.to_client.max(self.now + wait);
                let when = wire.to_client;
                let frame = match one {
                    Out::Send(_, frame) => frame,
                    Out::Close(_) => Value::Null,
                };
                self.at(when, event(id, frame));
            }
        }
    }

    fn is_alive(&self, id: TransportId) -> bool {
        self.wires.get(&id).is_some_and(|wire| wire.alive)
    }

    fn step(&mut self, event: Event) {
        let server_ms = self.server_ms();
        match event {
            Event::Opened(id, path) => {
                if self.is_alive(id) {
                    self.feed(Input::Opened(id));
                    let query = query(&path);
                    let out = self.model.connect(id.0, &query, server_ms);
                    self.server_says(out);
                }
            }
            Event::ToServer(id, frame) => {
                if self.is_alive(id) {
                    let out = self.model.frame(id.0, &frame, server_ms);
                    self.server_says(out);
                }
            }
            Event::ToClient(id, frame) => {
                if self.is_alive(id) && self.is_current(id) {
                    self.model.delivered(CLIENT, &frame);
                    let frame = ProtocolMessage::parse(&frame.to_string()).unwrap();
                    assert_eq!(frame.defects, 0);
                    self.feed(Input::Frame(id, Box::new(frame)));
                }
            }
            Event::ServerClosed(id) => {
                if self.is_alive(id) {
                    self.cut(id);
                }
            }
            Event::ServerNotices(id) => {
                self.wires.remove(&id);
                self.model.lost(id.0, server_ms);
            }
            Event::Answer(answer) => {
                let input = answer(self.now, self.clock().mono);
                self.feed(input);
            }
            Event::Fault => self.fault(),
            Event::Command => self.command(),
            Event::Work => self.work(),
        }
    }

    /// Whether the machine still has this transport: what comes on others is not received.
    fn is_current(&self, id: TransportId) -> bool {
        self.wires.keys().next_back() == Some(&id)
            && !matches!(
                self.machine.status().connection.state,
                ConnectionState::Disconnected
                    | ConnectionState::Suspended
                    | ConnectionState::Failed
            )
    }

    /// The client's side of a transport breaks; the server finds out later.
    fn cut(&mut self, id: TransportId) {
        if let Some(wire) = self.wires.get_mut(&id) {
            wire.alive = false;
        }
        let fault = TransportFault {
            kind: FaultKind::Closed,
            text: "connection reset".to_owned(),
        };
        let wait = if self.rng.bool() {
            1
        } else {
            self.rng.i64(1..60_000)
        };
        self.at(self.now + wait, Event::ServerNotices(id));
        self.feed(Input::Lost(id, fault));
    }

    fn fault(&mut self) {
        let server_ms = self.server_ms();
        let current = self.wires.keys().next_back().copied();
        let socket = current.map(|id| id.0).unwrap_or_default();
        match self.rng.u32(0..18) {
            0..=3 => {
                if let Some(id) = current.filter(|id| self.is_alive(*id)) {
                    self.cut(id);
                }
            }
            4 => {
                // Silent death: neither side hears anything, nobody closes.
                if let Some(wire) = current.and_then(|id| self.wires.get_mut(&id)) {
                    wire.alive = false;
                }
            }
            5..=6 => {
                self.down_until = self.now + self.rng.i64(1..self.weather.outage.max(2));
                if let Some(id) = current.filter(|id| self.is_alive(*id)) {
                    self.cut(id);
                }
            }
            7 => self.model.faults.refuse_resume += 1,
            8 => self.model.faults.refuse_continuity += 1,
            9 => self.model.faults.lose_acks += self.rng.u32(1..5),
            10 => {
                let error = [(42911, 429), (50000, 500), (50003, 503)];
                let error = error[self.rng.usize(0..error.len())];
                self.model.faults.nack.push_back(error);
            }
            11 => {
                let name = if self.rng.bool() { COMMANDS } else { REGISTRY };
                let out = self.model.detach(socket, name, 91007, server_ms);
                self.server_says(out);
            }
            12 => self.model.faults.duplicate += self.rng.u32(1..4),
            13 => self.model.faults.ignore_attach += 1,
            14 => {
                let error = if self.rng.bool() {
                    (50003, 503)
                } else {
                    (80003, 400)
                };
                let out = self.model.disconnect(socket, error.0, error.1, server_ms);
                self.server_says(out);
            }
            15 if self.rng.u32(0..4) == 0 => {
                let out = self.model.fail(socket, 40101, 401, server_ms);
                self.server_says(out);
            }
            16 if self.rng.u32(0..4) == 0 => {
                self.model.faults.attach_error.push_back((40160, 401));
                // Twice in a row it would be believed.
                if self.now > self.rewind_refused + 10 * MINUTE {
                    self.model.faults.refuse_rewind = 1;
                    self.rewind_refused = self.now;
                }
            }
            17 if self.weather.tokens => {
                if self.rng.bool() {
                    let out = self.model.inject(socket, json!({"action": 17}), server_ms);
                    self.server_says(out);
                } else {
                    let out = self.model.disconnect(socket, 40142, 401, server_ms);
                    self.server_says(out);
                }
            }
            _ => {}
        }
        self.schedule_fault();
    }

    fn schedule_fault(&mut self) {
        let next = self.now + 1 + self.rng.i64(0..2 * self.weather.calm);
        if next < self.faults_until {
            self.at(next, Event::Fault);
        }
    }

    fn command(&mut self) {
        let stop = self.rng.u32(0..8) == 0;
        let name = if stop { "stop" } else { "command" };
        let message = json!({"name": name, "encoding": "json",
            "data": json!({"n": self.commands.len()}).to_string()});
        let now = self.server_ms();
        let (id, out) = self.model.publish(COMMANDS, &message, now);
        self.commands.push((id, self.now));
        self.server_says(out);
        // At most about 60 in two minutes: a rewind reaches back 100.
        let next = self.now + 1_000 + self.rng.i64(0..8_000);
        if next < self.faults_until {
            self.at(next, Event::Command);
        }
    }

    fn work(&mut self) {
        let id = format!("r-{}", self.published.len());
        let kind = match self.rng.u32(0..10) {
            0..=1 => PublishKind::Latest,
            2..=3 => PublishKind::Event,
            _ => {
                let place = self.machine.ledger().take(Priority::Ordinary);
                self.published.insert(id.clone());
                PublishKind::Kept(place.expect("room"))
            }
        };
        let kept = matches!(kind, PublishKind::Kept(_));
        let id = if kept {
            id
        } else {
            format!("x-{}", self.next_event)
        };
        let channel = if matches!(kind, PublishKind::Event) {
            format!("task:t{}:events", self.rng.u32(0..3))
        } else {
            STATUS.to_owned()
        };
        self.feed(Input::Publish(Publish {
            channel,
            name: "x".to_owned(),
            data: Data::Json(json!({"id": id})).encode(),
            id,
            kind,
        }));
        if self.rng.u32(0..20) == 0 {
            let data = Data::Json(json!({"at": self.now}));
            self.feed(Input::PresenceData(data));
        }
        let next = self.now + 1 + self.rng.i64(0..6_000);
        if next < self.faults_until {
            self.at(next, Event::Work);
        }
    }

    /// Runs to the end of the faults, and then until everything has had time to settle.
    fn run(&mut self) {
        self.feed(Input::PresenceData(Data::Json(json!({"at": 0}))));
        self.feed(Input::Connect);
        self.schedule_fault();
        self.at(5_000, Event::Command);
        self.at(100, Event::Work);
        let end = self.faults_until + 20 * MINUTE;
        loop {
            let machine = self.machine.next_deadline().map(|at| {
                let ms = at.saturating_duration_since(self.start.mono).as_nanos();
                i64::try_from(ms.div_ceil(1_000_000)).unwrap()
            });
            let model = self.model.next_tick().map(|ms| ms - SERVER_EPOCH);
            let queued = self.queue.peek().map(|Reverse((at, _))| *at);
            let next = [machine, model, queued].into_iter().flatten().min();
            let next = next.expect("something is always due").max(self.now);
            if next > end {
                break;
            }
            self.observe(next);
            self.now = next;
            if queued == Some(next) {
                let Reverse((_, id)) = self.queue.pop().unwrap();
                let event = self.events.remove(&id).unwrap();
                self.step(event);
            } else if model.is_some_and(|at| at <= next) {
                let out = self.model.tick(self.server_ms());
                self.server_says(out);
            } else {
                self.timeouts += 1;
                let per_minute = self.timeouts / (self.now / MINUTE + 1).unsigned_abs();
                assert!(
                    per_minute < 600,
                    "too many wake-ups: {:?}",
                    self.machine.status()
                );
                self.feed(Input::Timeout);
                let late = self.machine.next_deadline();
                assert!(
                    late.is_none_or(|at| at > self.clock().mono),
                    "a deadline that is not met would spin the thread"
                );
            }
        }
        self.observe(end);
    }

    /// Notes the stretch up to `until` as good, if commands could have come in it.
    fn observe(&mut self, until: i64) {
        let attached = self.machine.status().commands.state == ChannelState::Attached;
        let current = self.wires.keys().next_back().copied();
        let good = attached && current.is_some_and(|id| self.is_alive(id));
        if !good {
            return;
        }
        match self.good.last_mut() {
            Some(last) if last.1 == self.now => last.1 = until,
            _ => self.good.push((self.now, until)),
        }
    }

    /// Commands that had half a minute of good line while they were stored must have come.
    fn owed(&self) -> BTreeSet<&str> {
        let first = self.first_attached.unwrap_or(i64::MAX);
        self.commands
            .iter()
            .filter(|(_, at)| *at > first + 1_000)
            .filter(|(_, at)| {
                let stored = (*at, at + 110_000);
                self.good
                    .iter()
                    .any(|(from, until)| (*until).min(stored.1) - (*from).max(stored.0) >= 30_000)
            })
            .map(|(id, _)| id.as_str())
            .collect()
    }

    fn check(&self) {
        assert_eq!(self.model.violations, Vec::<String>::new());

        // Commands: none lost, none twice, none from nowhere.
        let got: Vec<&str> = self
            .delivered
            .iter()
            .map(|(d, _)| d.message.id.as_deref().unwrap())
            .collect();
        let unique: BTreeSet<&str> = got.iter().copied().collect();
        assert_eq!(got.len(), unique.len(), "a command was delivered twice");
        let owed = self.owed();
        let lost: Vec<&&str> = owed.difference(&unique).collect();
        assert!(lost.is_empty(), "commands lost: {lost:?}");
        // In a storm that never ends nothing may be owed.
        assert!(!owed.is_empty() || self.weather.calm < MINUTE);

        // Results: none lost, none twice.
        let status = &self.model.channels[STATUS];
        let arrived: Vec<&str> = status
            .log
            .iter()
            .map(|(id, _)| id.as_str())
            .filter(|id| id.starts_with("r-"))
            .collect();
        let unique: BTreeSet<&str> = arrived.iter().copied().collect();
        assert_eq!(arrived.len(), unique.len(), "a result was published twice");
        assert_eq!(unique.len(), self.published.len(), "results were lost");
        let acked: BTreeSet<&String> = self
            .acked
            .iter()
            .filter(|id| id.starts_with("r-"))
            .collect();
        assert_eq!(acked.len(), self.published.len(), "results were not acked");

        // At the end: up, one member, nothing left over.
        let end = self.machine.status();
        assert_eq!(end.connection.state, ConnectionState::Connected);
        assert_eq!(end.commands.state, ChannelState::Attached);
        assert_eq!(end.registry.state, ChannelState::Attached);
        assert_eq!((end.results_waiting, end.publishes_waiting), (0, 0));
        assert_eq!((end.result_bytes, end.commands_held), (0, 0));
        assert!(end.present);
        let members = self.model.channels[REGISTRY].member_clients();
        assert_eq!(members, [CLIENT], "one presence member");
        assert!(self.most_waiting <= PLACES);

        // No tight reconnect loop: a round has three hosts at most.
        for (i, first) in self.attempts.iter().enumerate() {
            let burst = self.attempts[i..]
                .iter()
                .take_while(|at| **at < first + 10_000);
            assert!(burst.count() <= 18, "attempts: {:?}", &self.attempts[i..]);
        }
    }

    /// Ages, where they are known, are true.
    fn check_ages(&self) {
        let made: BTreeMap<&str, i64> = self
            .commands
            .iter()
            .map(|(id, at)| (id.as_str(), *at))
            .collect();
        for (delivery, at) in &self.delivered {
            let mono = self.start.mono + millis(*at);
            if let Some(age) = delivery.age(mono) {
                let truth = at - made[delivery.message.id.as_deref().unwrap()];
                let error = (i64::try_from(age.as_millis()).unwrap() - truth).abs();
                assert!(error <= self.weather.latency + 1, "age off by {error} ms");
            }
        }
    }
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap())
}

fn query(path: &str) -> Vec<(String, String)> {
    let query = path.split_once('?').map_or("", |(_, query)| query);
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), lss::util::url::decode(value)))
        .collect()
}

fn weather() -> impl Strategy<Value = Weather> {
    (
        any::<u64>(),
        1_i64..4,
        5_000_i64..600_000,
        prop_oneof![Just(5_000_i64), Just(60_000), Just(10 * MINUTE)],
        prop_oneof![Just(2_i64), Just(80), Just(600)],
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(
            |(seed, hours, calm, outage, latency, tokens, stamps)| Weather {
                seed,
                hours,
                calm,
                outage,
                latency,
                tokens,
                stamps,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig {
        // More with PROPTEST_CASES.
        cases: ProptestConfig::default().cases.min(if std::env::var_os("PROPTEST_CASES").is_some() { u32::MAX } else { 24 }),
        max_shrink_iters: 30,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn nothing_is_lost_or_doubled_in_any_weather(weather in weather()) {
        let mut sim = Sim::new(weather);
        sim.run();
        sim.check();
        sim.check_ages();
    }
}

#[test]
fn a_calm_day() {
    let mut sim = Sim::new(Weather {
        seed: 1,
        hours: 24,
        calm: i64::MAX / 4,
        outage: 1,
        latency: 20,
        tokens: false,
        stamps: false,
    });
    sim.run();
    sim.check();
    sim.check_ages();
    assert_eq!(sim.attempts.len(), 1);
    assert_eq!(sim.losses, 0);
    let late = sim
        .delivered
        .iter()
        .filter(|(d, _)| d.age_when_received.is_none() || d.replayed);
    assert_eq!(late.count(), 0);
}
