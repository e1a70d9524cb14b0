//! The cloud's line: results and commands, two each; acknowledgements, refusals for now, losses
//! with and without what was in flight having arrived, reconnects that resume and that don't,
//! attempts that fail, a client that crashes, time.

use std::collections::{BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use lss::infrastructure::ably::connection::Machine;
use lss::infrastructure::ably::connection::ledger::Priority;
use lss::infrastructure::ably::connection::types::{
    ConnectionState, Credentials, FaultKind, Input, Output, Publish, PublishKind, Settings, Timing,
    TransportFault, TransportId,
};
use lss::infrastructure::ably::data::Data;
use lss::infrastructure::ably::endpoint::Hosts;
use lss::infrastructure::ably::frame::{
    Action, ConnectionDetails, ErrorInfo, HAS_BACKLOG, Message, ProtocolMessage, RESUMED,
};
use lss::util::secret::Secret;
use lss::util::time::Now;

const COMMANDS: &str = "commands";
const EPOCH: i64 = 4_000_000_000_000;
const RESULTS: usize = 2;
const ORDERS: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// The node has a result.
    Publish,
    /// The cloud sends a command.
    Order,
    /// The service takes what it got, and says so.
    Ack,
    /// It refuses the oldest of that for the moment.
    Nack,
    /// The connection breaks; the service had taken what it got, or never got it.
    Lose(bool),
    /// The attempt succeeds; the service still knows the connection, or not.
    Connect(bool),
    /// The attempt fails.
    Fail,
    /// The client ends by a fault of ours; another one takes over.
    Crash,
    /// A second, or until something is due.
    Wait,
}

/// The service's side of a connection.
struct World {
    machine: Machine,
    now: Now,
    ms: i64,
    opening: Option<TransportId>,
    open: Option<TransportId>,
    connection: u32,
    expects: u64,
    attached: bool,
    /// The service can go on where the channel was.
    continuous: bool,
    /// Got and neither taken nor refused.
    pending: Vec<(u64, String)>,
    taken: Vec<String>,
    acked: BTreeSet<String>,
    published: usize,
    /// What has happened.
    seen: Vec<Event>,
    /// Commands, with their time and whether this client has to get them.
    orders: Vec<(String, i64, bool)>,
    /// This client has been attached: from then on commands are its own.
    is_ours: bool,
    delivered: Vec<String>,
    inputs: VecDeque<Input>,
}

fn machine(now: Now) -> Machine {
    let settings = Settings {
        client_id: "node".to_owned(),
        credentials: Credentials::Key(Secret::new("app.key:secret")),
        hosts: Hosts {
            primary: "primary".to_owned(),
            fallbacks: Vec::new(),
        },
        commands: COMMANDS.to_owned(),
        registry: "registry".to_owned(),
        agent: "lss/test".to_owned(),
        urgent: Arc::new(|_| false),
        timing: Timing::default(),
        seed: 7,
    };
    Machine::new(settings, now)
}

impl World {
    fn new() -> Self {
        let now = Now {
            mono: Instant::now(),
            wall: SystemTime::UNIX_EPOCH,
        };
        let mut world = Self {
            machine: machine(now),
            now,
            ms: 0,
            opening: None,
            open: None,
            connection: 0,
            expects: 0,
            attached: false,
            continuous: false,
            pending: Vec::new(),
            taken: Vec::new(),
            acked: BTreeSet::new(),
            published: 0,
            seen: Vec::new(),
            orders: Vec::new(),
            is_ours: false,
            delivered: Vec::new(),
            inputs: VecDeque::new(),
        };
        world.feed(Input::Connect);
        world.happen(Event::Connect(false));
        world
    }

    fn enabled(&self) -> Vec<Event> {
        let mut all = Vec::new();
        if self.published < RESULTS {
            all.push(Event::Publish);
        }
        if self.orders.len() < ORDERS {
            all.push(Event::Order);
        }
        if self.opening.is_some() {
            all.extend([Event::Connect(true), Event::Connect(false), Event::Fail]);
        } else {
            all.push(Event::Wait);
        }
        if self.open.is_some() {
            all.push(Event::Lose(false));
            if !self.pending.is_empty() {
                all.extend([Event::Lose(true), Event::Ack, Event::Nack]);
            }
        }
        if !self.seen.contains(&Event::Crash) {
            all.push(Event::Crash);
        }
        all
    }

    fn happen(&mut self, event: Event) {
        self.seen.push(event);
        self.pass(Duration::from_millis(100));
        match event {
            Event::Publish => {
                let id = format!("r-{}", self.published);
                self.published += 1;
                let place = self.machine.ledger().take(Priority::Ordinary).unwrap();
                self.feed(Input::Publish(Publish {
                    channel: "status".to_owned(),
                    name: "n".to_owned(),
                    data: Data::Text(id.clone()).encode(),
                    id,
                    kind: PublishKind::Kept(place),
                }));
            }
            Event::Order => {
                let id = format!("c-{}", self.orders.len());
                self.orders.push((id, self.server_ms(), self.is_ours));
                if self.open.is_some() && self.attached {
                    self.send_orders(self.orders.len() - 1);
                }
            }
            Event::Ack => {
                let mut ack = ProtocolMessage::new(Action::Ack);
                ack.msg_serial = Some(self.pending[0].0);
                ack.count = Some(self.pending.len() as u64);
                for (_, id) in std::mem::take(&mut self.pending) {
                    self.take(&id);
                    self.acked.insert(id);
                }
                self.frame(ack);
            }
            Event::Nack => {
                let (serial, id) = self.pending.remove(0);
                // It may have it from before the connection broke; then it would not refuse.
                if self.taken.contains(&id) {
                    self.pending.insert(0, (serial, id));
                    return;
                }
                let mut nack = ProtocolMessage::new(Action::Nack);
                nack.msg_serial = Some(serial);
                nack.count = Some(1);
                nack.error = Some(ErrorInfo::new(50003, 503, "later"));
                self.frame(nack);
            }
            Event::Lose(arrived) => {
                let pending = std::mem::take(&mut self.pending);
                if arrived {
                    for (_, id) in &pending {
                        self.take(id);
                    }
                }
                let id = self.open.take().unwrap();
                self.lost(id, FaultKind::Closed);
            }
            Event::Connect(known) => self.connect(known),
            Event::Fail => {
                let id = self.opening.take().unwrap();
                self.lost(id, FaultKind::Connect);
            }
            Event::Crash => self.crash(),
            Event::Wait => {
                let due = self.machine.next_deadline();
                let until = match (self.open, due) {
                    (None, Some(due)) => due.saturating_duration_since(self.now.mono),
                    _ => Duration::from_secs(1),
                };
                self.pass(until + Duration::from_millis(1));
                if self.open.is_some() {
                    self.frame(ProtocolMessage::new(Action::Heartbeat));
                }
            }
        }
    }

    /// Time passes; what is due in it is done.
    fn pass(&mut self, by: Duration) {
        let end = self.now.after(by);
        while let Some(at) = self.machine.next_deadline().filter(|at| *at <= end.mono) {
            self.set(self.now.after(at.saturating_duration_since(self.now.mono)));
            self.feed(Input::Timeout);
        }
        self.set(end);
    }

    fn set(&mut self, now: Now) {
        let by = now.mono.saturating_duration_since(self.now.mono);
        self.ms += i64::try_from(by.as_millis()).unwrap();
        self.now = now;
    }

    fn server_ms(&self) -> i64 {
        EPOCH + self.ms
    }

    fn take(&mut self, id: &str) {
        // Under the same id a second one is no second one.
        if !self.taken.iter().any(|taken| taken == id) {
            self.taken.push(id.to_owned());
        }
    }

    fn lost(&mut self, id: TransportId, kind: FaultKind) {
        self.attached = false;
        let text = "broken".to_owned();
        self.feed(Input::Lost(id, TransportFault { kind, text }));
    }

    fn connect(&mut self, known: bool) {
        let id = self.opening.take().unwrap();
        self.open = Some(id);
        self.attached = false;
        self.continuous = known;
        if !known {
            self.connection += 1;
            self.expects = 0;
        }
        let mut connected = ProtocolMessage::new(Action::Connected);
        connected.timestamp = Some(self.server_ms());
        connected.connection_id = Some(format!("connection-{}", self.connection));
        connected.details = Some(ConnectionDetails {
            connection_key: Some(Secret::new(format!("key-{}", id.0))),
            ..ConnectionDetails::default()
        });
        self.feed(Input::Opened(id));
        self.frame(connected);
    }

    /// The client panics; its successor takes over what must not be lost. What the old one had not
    /// delivered can't be had.
    fn crash(&mut self) {
        self.open = None;
        self.opening = None;
        self.attached = false;
        self.pending.clear();
        self.is_ours = false;
        for order in &mut self.orders {
            order.2 = false;
        }
        let broken = std::mem::replace(&mut self.machine, machine(self.now));
        let ledger = Arc::clone(broken.ledger());
        let died = catch_unwind(AssertUnwindSafe(move || {
            let _broken = broken;
            resume_unwind(Box::new("a fault, provoked by this test"));
        }));
        assert!(died.is_err());
        self.feed(Input::Connect);
        for publish in ledger.take_rescued() {
            self.feed(Input::Publish(publish));
        }
    }

    fn frame(&mut self, frame: ProtocolMessage) {
        if let Some(id) = self.open {
            self.feed(Input::Frame(id, Box::new(frame)));
        }
    }

    fn feed(&mut self, input: Input) {
        let busy = !self.inputs.is_empty();
        self.inputs.push_back(input);
        if busy {
            return;
        }
        while let Some(input) = self.inputs.pop_front() {
            // What answers come of it come behind what is there already.
            let outputs = self.machine.handle(input, self.now);
            self.inputs.push_front(Input::Timeout);
            for output in outputs {
                self.act(output);
            }
            self.inputs.pop_front();
        }
    }

    fn act(&mut self, output: Output) {
        match output {
            Output::OpenTransport { transport, .. } => self.opening = Some(transport),
            Output::CloseTransport(id) => {
                self.opening = self.opening.filter(|opening| *opening != id);
                self.open = self.open.filter(|open| *open != id);
            }
            Output::Send(id, frame) if self.open == Some(id) => self.served(*frame),
            Output::Deliver(delivery) => {
                let id = delivery.message.id.clone().unwrap();
                assert!(!self.delivered.contains(&id), "{id} was delivered twice");
                self.delivered.push(id);
            }
            Output::Refused { id, why, .. } => panic!("{id} refused: {why}"),
            _ => {}
        }
    }

    /// The service gets a frame.
    fn served(&mut self, frame: ProtocolMessage) {
        let name = frame.channel.clone().unwrap_or_default();
        match frame.action {
            Action::Message => {
                let (serial, id) = (frame.msg_serial.unwrap(), frame.publish.unwrap().id);
                let id = id.unwrap();
                assert!(!self.acked.contains(&id), "{id} was acknowledged already");
                assert!(serial <= self.expects, "a serial was skipped");
                self.expects = self.expects.max(serial + 1);
                assert!(self.pending.iter().all(|(_, other)| *other != id));
                self.pending.push((serial, id));
            }
            Action::Attach => {
                let mut attached = ProtocolMessage::on(Action::Attached, &name);
                attached.timestamp = Some(self.server_ms());
                if name != COMMANDS {
                    self.frame(attached);
                    return;
                }
                let rewinds = frame.params.iter().any(|(key, _)| *key == "rewind");
                let position = frame.channel_serial.and_then(|serial| serial.parse().ok());
                let from = match position {
                    _ if rewinds => 0,
                    Some(position) if self.continuous => position,
                    _ => self.orders.len(),
                };
                let resumed = position.is_some() && self.continuous && !rewinds;
                let backlog = from < self.orders.len();
                attached.flags =
                    if resumed { RESUMED } else { 0 } | if backlog { HAS_BACKLOG } else { 0 };
                attached.channel_serial = Some(from.to_string());
                self.attached = true;
                // A gap is told once; from here on the stream goes on.
                self.continuous = true;
                self.is_ours = true;
                self.frame(attached);
                self.send_orders(from);
            }
            Action::Detach => {
                self.attached = false;
                self.frame(ProtocolMessage::on(Action::Detached, &name));
            }
            _ => {}
        }
    }

    fn send_orders(&mut self, from: usize) {
        for n in from..self.orders.len() {
            let (id, made, _) = self.orders[n].clone();
            let mut message = ProtocolMessage::on(Action::Message, COMMANDS);
            message.channel_serial = Some((n + 1).to_string());
            message.messages = vec![Message {
                id: Some(id),
                timestamp: Some(made),
                ..Message::default()
            }];
            self.frame(message);
        }
    }

    /// From now on nothing goes wrong: everything arrives.
    fn heal(mut self) {
        for _ in 0..60 {
            if self.opening.is_some() {
                self.happen(Event::Connect(true));
            } else if self.pending.is_empty() {
                self.happen(Event::Wait);
            } else {
                self.happen(Event::Ack);
            }
            let owed = self.orders.iter().filter(|(_, _, owed)| *owed);
            let mut owed = owed.map(|(id, ..)| id);
            let status = self.machine.status();
            if status.connection.state == ConnectionState::Connected
                && self.acked.len() == self.published
                && status.commands_held == 0
                && owed.all(|id| self.delivered.contains(id))
            {
                assert_eq!(status.publishes_waiting, 0);
                let (nacked, crashed) = (
                    self.seen.contains(&Event::Nack),
                    self.seen.contains(&Event::Crash),
                );
                assert!(nacked || self.taken.is_sorted(), "oldest first");
                assert!(crashed || self.delivered.is_sorted(), "in their order");
                return;
            }
        }
        panic!(
            "{} of {} results, {:?} of {:?}: {:?}",
            self.acked.len(),
            self.published,
            self.delivered,
            self.orders,
            self.machine.status()
        );
    }
}

fn replay(order: &[Event]) -> World {
    let mut world = World::new();
    for event in order {
        world.happen(*event);
    }
    world
}

/// All orders that begin with `so_far`. A machine can't be copied, so each is lived from the start.
fn explore(so_far: &mut Vec<Event>, depth: usize, orders: &AtomicU64) {
    let world = replay(so_far);
    if so_far.len() == depth {
        world.heal();
        orders.fetch_add(1, Ordering::Relaxed);
        return;
    }
    for event in world.enabled() {
        so_far.push(event);
        explore(so_far, depth, orders);
        so_far.pop();
    }
}

/// Tells the order that a failed assertion was found in.
struct Told(Vec<Event>);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("after {:?}", self.0);
        }
    }
}

#[test]
fn no_order_of_events_loses_or_doubles_a_result_or_a_command() {
    let depth = super::depth(8);
    let orders = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for first in World::new().enabled() {
            let orders = &orders;
            scope.spawn(move || {
                let mut told = Told(vec![first]);
                explore(&mut told.0, depth, orders);
            });
        }
    });
    let orders = orders.into_inner();
    println!(
        "Ably connection and outbox: all {orders} orders of {depth} events: nothing lost, nothing twice"
    );
    assert!(orders > 1_000);
}
