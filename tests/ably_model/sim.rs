//! The simulation: a machine, a model server, and a network between them that tells no one the
//! truth. One clock for all, which jumps from event to event.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::support::ably::model::{Config, Faults, Model, Out};
use lss::infrastructure::ably::connection::Machine;
use lss::infrastructure::ably::connection::types::{
    ChannelState, ConnectionState, Credentials, Delivery, FaultKind, Input, Output, RequestId,
    Settings, TimeAnswer, Timing, Token, TransportFault, TransportId,
};
use lss::infrastructure::ably::data::Data;
use lss::infrastructure::ably::endpoint::Hosts;
use lss::infrastructure::ably::frame::ProtocolMessage;
use lss::util::secret::Secret;
use lss::util::time::Now;
use serde_json::{Value, json};

pub const CLIENT: &str = "lss-sim";
pub const COMMANDS: &str = "lss:lss-sim:commands";
pub const STATUS: &str = "lss:lss-sim:status";
pub const REGISTRY: &str = "lss:registry";
/// The server's clock is years off ours.
const SERVER_EPOCH: i64 = 4_000_000_000_000;
pub const MINUTE: i64 = 60_000;

/// What is wrong with the network and the server, each with its weight.
#[derive(Debug, Clone)]
pub struct Weather {
    pub seed: u64,
    pub hours: i64,
    /// Milliseconds between faults, on average.
    pub calm: i64,
    /// Longest outage.
    pub outage: i64,
    pub latency: i64,
    pub tokens: bool,
    pub stamps: bool,
}

pub(super) enum Event {
    Opened(TransportId, String),
    ToServer(TransportId, Value),
    ToClient(TransportId, Value),
    ServerClosed(TransportId),
    ServerNotices(TransportId),
    Answer(Box<dyn FnOnce(i64, Instant) -> Input>),
    Fault,
    Command,
    Work,
    /// From here on nothing goes wrong.
    Calm,
}

pub(super) struct Wire {
    pub(super) alive: bool,
    to_server: i64,
    to_client: i64,
}

pub struct Sim {
    pub machine: Machine,
    pub model: Model,
    pub weather: Weather,
    pub rng: fastrand::Rng,
    pub start: Now,
    pub now: i64,
    pub queue: BinaryHeap<Reverse<(i64, u64)>>,
    pub(super) events: BTreeMap<u64, Event>,
    pub next_event: u64,
    pub(super) wires: BTreeMap<TransportId, Wire>,
    pub down_until: i64,
    pub faults_until: i64,
    pub commands: Vec<(String, i64)>,
    pub delivered: Vec<(Delivery, i64)>,
    pub published: BTreeSet<String>,
    pub acked: Vec<String>,
    pub first_attached: Option<i64>,
    pub good: Vec<(i64, i64)>,
    pub attempts: Vec<i64>,
    pub losses: u64,
    pub refusals: u64,
    pub most_waiting: usize,
    pub timeouts: u64,
    pub rewind_refused: i64,
}

impl Sim {
    pub fn new(weather: Weather) -> Self {
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

    pub(super) fn server_ms(&self) -> i64 {
        SERVER_EPOCH + self.now
    }

    fn clock(&self) -> Now {
        self.start.after(millis(self.now))
    }

    pub(super) fn at(&mut self, when: i64, event: Event) {
        self.next_event += 1;
        self.events.insert(self.next_event, event);
        self.queue.push(Reverse((when, self.next_event)));
    }

    fn latency(&mut self) -> i64 {
        1 + self.rng.i64(0..self.weather.latency.max(1))
    }

    pub(super) fn feed(&mut self, input: Input) {
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

    pub(super) fn server_says(&mut self, out: Vec<Out>) {
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

    pub(super) fn is_alive(&self, id: TransportId) -> bool {
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
            Event::Calm => self.model.faults = Faults::default(),
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
    pub(super) fn cut(&mut self, id: TransportId) {
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

    /// Runs to the end of the faults, and then until everything has had time to settle.
    pub fn run(&mut self) {
        self.feed(Input::PresenceData(Data::Json(json!({"at": 0}))));
        self.feed(Input::Connect);
        self.schedule_fault();
        self.at(self.faults_until, Event::Calm);
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
    pub fn owed(&self) -> BTreeSet<&str> {
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
}

pub fn millis(ms: i64) -> Duration {
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
