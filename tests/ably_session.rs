//! The Ably client against the stand-in over loopback sockets: each behaviour, each fault.

// Helpers of tests are tests too: they may panic.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "support/mod.rs"]
#[allow(dead_code)]
mod support;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use lss::infrastructure::ably::client::{AblyClient, AblyEvent, Auth, ClientSettings, StartError};
use lss::infrastructure::ably::connection::ledger::Priority;
use lss::infrastructure::ably::connection::types::{
    ChannelState, ConnectionState, Delivery, PublishKind, Refusal, Timing,
};
use lss::infrastructure::ably::data::Data;
use lss::infrastructure::ably::handle::{AblyHandle, Outgoing};
use lss::infrastructure::ably::helper::TokenSource;
use lss::util::secret::Secret;
use serde_json::{Value, json};
use support::ably::http::TokenAnswer;
use support::ably::model::{Config, Model};
use support::ably::tls::TlsFront;
use support::ably::{PATIENCE, Shape, Standin};

const NODE: &str = "lss-test";
const COMMANDS: &str = "lss:lss-test:commands";
const STATUS: &str = "lss:lss-test:status";
const REGISTRY: &str = "lss:registry";
const KEY: &str = "app.key:secret";
const MS: Duration = Duration::from_millis(1);
const SEC: Duration = Duration::from_secs(1);

/// A client and what it has told so far.
struct Rig {
    standin: Standin,
    handle: AblyHandle,
    events: Receiver<AblyEvent>,
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .proxy(None)
        .build()
        .new_agent()
}

/// The protocol's durations are for patient operators; tests have none.
fn quick() -> Timing {
    Timing {
        request: 2 * SEC,
        disconnected_retry: 50 * MS,
        suspended_retry: 100 * MS,
        channel_retry: 50 * MS,
        failed_retry: 200 * MS,
        backlog_quiet: 150 * MS,
        watch_interval: 50 * MS,
        watch_patience: 300 * MS,
        ack_patience: SEC,
        ..Timing::default()
    }
}

fn settings(standin: &Standin) -> ClientSettings {
    ClientSettings {
        client_id: NODE.to_owned(),
        auth: Auth::Key(Secret::new(KEY)),
        endpoint: "127.0.0.1".to_owned(),
        port: standin.address.port(),
        fallback_hosts: None,
        tls: None,
        http: agent(),
        connectivity_check_url: format!("http://{}/up", standin.address),
        commands: COMMANDS.to_owned(),
        registry: REGISTRY.to_owned(),
        agent: "lss/test".to_owned(),
        urgent: Arc::new(|message| message.name.as_deref() == Some("stop")),
        timing: quick(),
    }
}

fn tokens(standin: &Standin) -> ClientSettings {
    ClientSettings {
        auth: Auth::Url(TokenSource {
            url: Secret::new(format!("http://{}/auth?site=7", standin.address)),
            headers: vec![("x-auth".to_owned(), Secret::new("header-secret"))],
        }),
        ..settings(standin)
    }
}

impl Rig {
    fn new() -> Self {
        Self::on(Standin::start(), settings)
    }

    fn on(standin: Standin, settings: impl Fn(&Standin) -> ClientSettings) -> Self {
        standin.model(|model| model.config.presence_linger = 300);
        Self::start(standin, settings, 1_000)
    }

    fn start(
        standin: Standin,
        settings: impl Fn(&Standin) -> ClientSettings,
        capacity: usize,
    ) -> Self {
        standin.model(|model| model.strict.insert(NODE.to_owned()));
        let (sender, events) = bounded(capacity);
        let handle = AblyClient::start(settings(&standin), sender).unwrap();
        Self {
            standin,
            handle,
            events,
        }
    }

    /// Attached, and present as `{"v":1}`.
    fn up(self) -> Self {
        self.handle.set_presence(Data::Json(json!({"v": 1})));
        self.status("up", |s| {
            s.connection.state == ConnectionState::Connected
                && s.commands.state == ChannelState::Attached
                && s.present
        });
        self
    }

    /// Waits until the client's status is so.
    fn status(
        &self,
        what: &str,
        holds: impl Fn(&lss::infrastructure::ably::connection::types::Status) -> bool,
    ) {
        let until = Instant::now() + PATIENCE;
        while !holds(&self.handle.status()) {
            assert!(Instant::now() < until, "{what}: {:?}", self.handle.status());
            std::thread::park_timeout(MS);
        }
    }

    /// Waits for an event that `pick` takes; lets others go.
    fn event<T>(&self, what: &str, mut pick: impl FnMut(AblyEvent) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(event) => {
                    if let Some(found) = pick(event) {
                        return found;
                    }
                }
                Err(_) => panic!("waited in vain for {what}: {:?}", self.handle.status()),
            }
        }
    }

    fn command(&self) -> Box<Delivery> {
        self.event("a command", |event| match event {
            AblyEvent::Message(delivery) => Some(delivery),
            _ => None,
        })
    }

    /// The next `count` commands, by their data.
    fn commands(&self, count: usize) -> Vec<String> {
        (0..count).map(|_| text(&self.command())).collect()
    }

    fn state(&self, state: ConnectionState) -> Option<String> {
        self.event(state.name(), |event| match event {
            AblyEvent::Connection(change) if change.state == state => {
                Some(change.reason.map(|reason| reason.to_string()))
            }
            _ => None,
        })
    }

    fn send(&self, data: &str) -> String {
        self.send_named("command", data)
    }

    fn send_named(&self, name: &str, data: &str) -> String {
        self.standin
            .publish(COMMANDS, &json!({"name": name, "data": data}))
    }

    fn result(&self, id: &str) -> Result<(), Refusal> {
        let place = self.handle.reserve(Priority::Ordinary).expect("room");
        self.handle.publish(Outgoing {
            channel: STATUS.to_owned(),
            name: "command_result".to_owned(),
            data: Data::Json(json!({"id": id})),
            id: id.to_owned(),
            kind: PublishKind::Kept(place),
        })
    }

    /// Ids that arrived on the status channel, in order, once each.
    fn arrived(&self) -> Vec<String> {
        self.standin.model(|model| log(model, STATUS))
    }

    fn all_sent(&self) {
        assert!(
            self.handle.wait_sent(PATIENCE),
            "{:?}",
            self.handle.status()
        );
    }

    /// Nothing against the protocol was done, and the end is an orderly one.
    fn end(self) {
        self.standin.assert_clean();
        assert!(self.handle.close(PATIENCE));
        self.standin.assert_clean();
        // Those of connections that could not be resumed leave a little later.
        self.standin
            .until("nobody", |model| members(model).is_empty());
    }
}

fn text(delivery: &Delivery) -> String {
    match &delivery.message.data {
        Data::Text(text) => text.clone(),
        other => format!("{other:?}"),
    }
}

fn log(model: &mut Model, channel: &str) -> Vec<String> {
    let channel = model.channels.get(channel);
    channel.map_or_else(Vec::new, |c| {
        c.log.iter().map(|(id, _)| id.clone()).collect()
    })
}

fn members(model: &mut Model) -> Vec<String> {
    let registry = model.channels.get(REGISTRY);
    registry.map_or_else(Vec::new, support::ably::model::Channel::member_clients)
}

#[test]
fn a_session_from_connect_to_close() {
    let rig = Rig::new().up();
    rig.standin
        .until("a member", |model| members(model) == [NODE]);
    let id = rig.send("first");
    let delivery = rig.command();
    assert_eq!(text(&delivery), "first");
    assert_eq!(delivery.message.id.as_deref(), Some(id.as_str()));
    assert_eq!(delivery.message.client_id.as_deref(), Some("rcs"));
    assert!(!delivery.replayed);
    rig.result("r1").unwrap();
    rig.all_sent();
    assert_eq!(rig.arrived(), ["r1"]);
    let status = rig.handle.status();
    assert_eq!((status.results_waiting, status.connects), (0, 1));
    rig.end();
}

#[test]
fn the_end_is_told_and_nothing_is_taken_after_it() {
    let rig = Rig::new().up();
    assert!(rig.handle.close(PATIENCE));
    rig.event("the end", |event| {
        matches!(event, AblyEvent::Ended).then_some(())
    });
    assert!(rig.events.recv().is_err(), "the thread is gone");
    assert!(rig.handle.is_ended());
    assert_eq!(rig.result("late"), Err(Refusal::Ended));
    assert_eq!(rig.handle.status().results_waiting, 0, "its place is free");
    assert!(rig.handle.close(SEC), "again is fine");
}

#[test]
fn data_of_every_encoding_arrives_decoded() {
    let rig = Rig::new().up();
    for (data, encoding, expected) in [
        (json!("plain"), None, Data::Text("plain".into())),
        (
            json!("{\"a\":1}"),
            Some("json"),
            Data::Json(json!({"a": 1})),
        ),
        (
            json!("eyJhIjoxfQ=="),
            Some("json/utf-8/base64"),
            Data::Json(json!({"a": 1})),
        ),
        (
            json!("3q2+7w=="),
            Some("base64"),
            Data::Binary(vec![0xde, 0xad, 0xbe, 0xef]),
        ),
        (json!("{broken"), Some("json"), Data::Text("{broken".into())),
        (Value::Null, None, Data::None),
    ] {
        let mut message = json!({"name": "command"});
        if !data.is_null() {
            message["data"] = data;
        }
        if let Some(encoding) = encoding {
            message["encoding"] = json!(encoding);
        }
        rig.standin.publish(COMMANDS, &message);
        assert_eq!(rig.command().message.data, expected);
    }
    rig.end();
}

#[test]
fn a_cut_is_mended_at_once_and_loses_nothing() {
    let rig = Rig::new().up();
    rig.send("before");
    assert_eq!(rig.commands(1), ["before"]);
    let cut = Instant::now();
    rig.standin.cut(NODE);
    let meanwhile = rig.send("meanwhile");
    rig.result("r1").unwrap();
    let delivery = rig.command();
    assert_eq!(delivery.message.id.as_deref(), Some(meanwhile.as_str()));
    println!("cut to command: {:?}", cut.elapsed());
    rig.all_sent();
    assert_eq!(rig.arrived(), ["r1"]);
    let status = rig.handle.status();
    assert_eq!((status.connects, status.continuity_lost), (2, 0));
    rig.status("present", |s| s.present);
    rig.end();
}

#[test]
fn what_was_not_acknowledged_is_sent_again_and_arrives_once() {
    let rig = Rig::new().up();
    for refuse_resume in [0, 1] {
        rig.standin.model(|model| model.faults.lose_acks = 3);
        for n in 0..3 {
            rig.result(&format!("r{refuse_resume}-{n}")).unwrap();
        }
        rig.standin.until("three without ACK", |model| {
            log(model, STATUS).len() == 3 * (1 + refuse_resume as usize)
        });
        rig.standin
            .model(|model| model.faults.refuse_resume = refuse_resume);
        rig.standin.cut(NODE);
        rig.all_sent();
    }
    let expected = ["r0-0", "r0-1", "r0-2", "r1-0", "r1-1", "r1-2"];
    assert_eq!(rig.arrived(), expected);
    rig.status("present", |s| s.present);
    rig.end();
}

#[test]
fn lost_acks_on_a_line_that_lives_are_noticed() {
    let rig = Rig::new().up();
    rig.standin.model(|model| model.faults.lose_acks = 1);
    rig.result("r1").unwrap();
    // Nothing follows that would tell: the client has to lose patience.
    rig.all_sent();
    assert_eq!(rig.arrived(), ["r1"]);
    assert_eq!(rig.handle.status().connects, 2);
    rig.status("present", |s| s.present);
    rig.end();
}

#[test]
fn where_continuity_is_lost_the_stored_commands_come_in_order() {
    let rig = Rig::new().up();
    rig.send("done");
    assert_eq!(rig.commands(1), ["done"]);
    rig.standin.model(|model| {
        model.faults.refuse_resume = 1;
        model.faults.refuse_continuity = 2;
    });
    rig.standin.cut(NODE);
    for n in 0..5 {
        rig.send(&format!("missed {n}"));
    }
    rig.send_named("stop", "the stop");
    let rewinding = rig.event("the loss", |event| match event {
        AblyEvent::ContinuityLost { rewinding } => Some(rewinding),
        _ => None,
    });
    assert!(rewinding);
    let mut got = rig.commands(6);
    // Those that were published after the rewind came live; the stop went first, or in its turn
    // if it was live itself.
    assert!(got.contains(&"the stop".to_owned()));
    got.retain(|text| text != "the stop");
    assert_eq!(
        got,
        (0..5).map(|n| format!("missed {n}")).collect::<Vec<_>>()
    );
    assert_eq!(rig.handle.status().continuity_lost, 1);
    rig.status("present", |s| s.present);
    rig.end();
}

#[test]
fn a_dead_line_is_noticed_by_its_silence() {
    let standin = Standin::with_config(Config {
        max_idle: 100,
        ..Config::default()
    });
    let mut timing = quick();
    timing.request = 400 * MS;
    let rig = Rig::on(standin, |standin| ClientSettings {
        timing: timing.clone(),
        ..settings(standin)
    })
    .up();
    rig.standin.silence(NODE);
    rig.send("into the void");
    rig.result("r1").unwrap();
    assert_eq!(rig.commands(1), ["into the void"]);
    rig.all_sent();
    assert_eq!(rig.handle.status().connects, 2);
    // `delivered` was not said of what was swallowed, so the serials were checked too.
    rig.status("present", |s| s.present);
    rig.end();
}

#[test]
fn nacks_are_waited_out_or_told() {
    let rig = Rig::new().up();
    rig.standin.model(|model| {
        model.faults.nack.push_back((42911, 429));
        model.faults.nack.push_back((50003, 503));
    });
    rig.result("slow").unwrap();
    rig.all_sent();
    assert_eq!(rig.arrived(), ["slow"]);
    rig.standin
        .model(|model| model.faults.nack.push_back((40160, 401)));
    rig.result("never").unwrap();
    rig.event("the refusal", |event| match event {
        AblyEvent::Refused { id, channel, why } => {
            assert_eq!((id.as_str(), channel.as_str()), ("never", STATUS));
            assert!(matches!(why, Refusal::Refused(e) if e.code == 40160));
            Some(())
        }
        _ => None,
    });
    assert_eq!(rig.handle.status().results_waiting, 0);
    rig.end();
}

#[test]
fn detached_and_disconnected_by_the_service() {
    let rig = Rig::new().up();
    let socket = rig.standin.model(|model| model.sockets_of(NODE)[0]);
    rig.standin.with(|model, now| {
        let out = model.detach(socket, COMMANDS, 90198, now);
        ((), out)
    });
    rig.standin
        .until("attached again", |model| model.is_attached(NODE, COMMANDS));
    rig.send("one");
    assert_eq!(rig.commands(1), ["one"]);
    rig.standin.with(|model, now| {
        let out = model.detach(socket, REGISTRY, 91007, now);
        ((), out)
    });
    rig.standin
        .until("a member again", |model| members(model) == [NODE]);
    rig.standin.with(|model, now| {
        let out = model.disconnect(socket, 80003, 400, now);
        ((), out)
    });
    rig.send("two");
    assert_eq!(rig.commands(1), ["two"]);
    rig.status("present", |s| s.present);
    rig.end();
}

#[test]
fn refused_by_the_service_and_let_in_later() {
    let standin = Standin::start();
    standin.model(|model| {
        model.faults.connect_error.push_back((40101, 401));
        model.faults.connect_error.push_back((40101, 401));
    });
    let rig = Rig::on(standin, settings);
    rig.result("kept").unwrap();
    assert_eq!(
        rig.state(ConnectionState::Failed).as_deref(),
        Some("refused (40101)")
    );
    let rig = rig.up();
    rig.all_sent();
    assert_eq!(rig.arrived(), ["kept"]);
    rig.end();
}

#[test]
fn a_channel_that_is_refused_is_tried_again() {
    let standin = Standin::start();
    standin.model(|model| {
        model.faults.attach_error.push_back((40160, 401));
        model.faults.attach_error.push_back((40160, 401));
    });
    let rig = Rig::on(standin, settings).up();
    rig.send("one");
    assert_eq!(rig.commands(1), ["one"]);
    rig.end();
}

#[test]
fn presence_that_is_refused_is_told_and_tried_again() {
    let rig = Rig::new().up();
    rig.standin
        .model(|model| model.faults.nack.push_back((91003, 400)));
    rig.handle.set_presence(Data::Json(json!({"v": 2})));
    rig.event("the refusal", |event| match event {
        AblyEvent::PresenceRefused(error) => Some(assert_eq!(error.code, 91003)),
        _ => None,
    });
    rig.standin.until("the new data", |model| {
        let member = model.channels[REGISTRY].members.values().next();
        member.is_some_and(|m| m.entry["data"] == json!("{\"v\":2}"))
    });
    rig.end();
}

#[test]
fn doubles_are_delivered_once() {
    let rig = Rig::new().up();
    rig.standin.model(|model| model.faults.duplicate = 2);
    for data in ["a", "b", "c"] {
        rig.send(data);
    }
    assert_eq!(rig.commands(3), ["a", "b", "c"]);
    rig.end();
}

#[test]
fn frames_in_crumbs() {
    let standin = Standin::start();
    standin.shape(Shape {
        fragment: Some(5),
        dribble: Some((3, Duration::from_micros(200))),
    });
    let rig = Rig::on(standin, settings).up();
    let long = "x".repeat(2_000);
    rig.send(&long);
    rig.send("short");
    rig.result("r1").unwrap();
    assert_eq!(rig.commands(2), [long, "short".to_owned()]);
    rig.all_sent();
    rig.end();
}

#[test]
fn nonsense_on_the_wire_changes_nothing() {
    let rig = Rig::new().up();
    let text = |text: &str| support::ably::frames(text.as_bytes(), None);
    for bytes in [
        text("this is not JSON"),
        text("[1,2,3]"),
        text("{}"),
        text("{\"action\":\"15\"}"),
        text("{\"action\":15,\"channel\":7,\"messages\":{\"a\":1}}"),
        text("{\"action\":1,\"msgSerial\":-5,\"count\":1e300}"),
        text("{\"action\":4711,\"news\":[[[]]]}"),
        text(&"[".repeat(100_000)),
        // Binary, and text that is no UTF-8.
        vec![0x82, 3, 1, 2, 3],
        vec![0x81, 3, b'{', 0xC3, b'}'],
        // Pings and pongs.
        vec![0x89, 2, b'h', b'i'],
        vec![0x8A, 0],
    ] {
        rig.standin.raw(NODE, &bytes);
    }
    let deep = "[".repeat(100_000);
    rig.standin.publish(
        COMMANDS,
        &json!({"data": deep, "encoding": "json/utf-8/nonsense/base64"}),
    );
    assert_eq!(rig.commands(1), [deep]);
    let large = "y".repeat(600_000);
    rig.send(&large);
    assert_eq!(rig.commands(1), [large]);
    rig.send("and on it goes");
    assert_eq!(rig.commands(1), ["and on it goes"]);
    assert_eq!(rig.handle.status().connects, 1);
    rig.end();
}

#[test]
fn a_message_without_an_id_is_delivered() {
    let rig = Rig::new().up();
    let socket = rig.standin.model(|model| model.sockets_of(NODE)[0]);
    for _ in 0..2 {
        rig.standin.with(|model, now| {
            let frame = json!({"action": 15, "channel": COMMANDS, "messages": [{"data": "anon"}]});
            ((), model.inject(socket, frame, now))
        });
        let delivery = rig.command();
        assert_eq!(
            (delivery.message.id.as_deref(), text(&delivery)),
            (None, "anon".into())
        );
    }
    rig.end();
}

#[test]
fn a_frame_over_a_megabyte_costs_the_transport_and_no_memory() {
    let rig = Rig::new().up();
    // Only its header: nobody waits for the rest.
    rig.standin.raw(NODE, &[0x81, 127, 0, 0, 0, 1, 0, 0, 0, 0]);
    let reason = rig.state(ConnectionState::Disconnected).unwrap();
    assert!(reason.contains("4294967296 bytes"), "{reason}");
    rig.status("up again", |s| s.connects == 2 && s.present);
    rig.send("fine");
    assert_eq!(rig.commands(1), ["fine"]);
    // A broken websocket is the same.
    rig.standin.raw(NODE, &[0xFF, 0xFF, 0xFF]);
    rig.status("up again", |s| s.connects == 3 && s.present);
    rig.end();
}

#[test]
fn a_consumer_that_rests_loses_nothing_and_stops_nothing_else() {
    let standin = Standin::with_config(Config {
        max_idle: 100,
        ..Config::default()
    });
    let mut timing = quick();
    timing.request = 300 * MS;
    let settings = |standin: &Standin| ClientSettings {
        timing: timing.clone(),
        ..settings(standin)
    };
    let rig = Rig::start(standin, settings, 2);
    // Nobody takes an event: not even the state changes fit.
    rig.status("attached", |s| {
        s.connection.state == ConnectionState::Connecting
    });
    for n in 0..3_000 {
        rig.send(&n.to_string());
    }
    // Publishes still go out, and nothing takes the silence for a dead line.
    rig.status("full", |_| rig.events.is_full());
    let until = Instant::now() + SEC;
    while Instant::now() < until {
        std::thread::park_timeout(50 * MS);
    }
    assert!(rig.handle.status().connects <= 1);
    let got = rig.event("the first", |event| match event {
        AblyEvent::Channel(name, change)
            if name == COMMANDS && change.state == ChannelState::Attached =>
        {
            Some(())
        }
        _ => None,
    });
    assert_eq!(got, ());
    rig.send("last");
    loop {
        if text(&rig.command()) == "last" {
            break;
        }
    }
    assert_eq!(rig.handle.status().connects, 1);
    rig.standin.assert_clean();
}

#[test]
fn three_thousand_commands_in_a_row() {
    let rig = Rig::start(Standin::start(), settings, 4).up_quietly();
    for n in 0..3_000 {
        rig.send(&n.to_string());
    }
    let expected: Vec<String> = (0..3_000).map(|n| n.to_string()).collect();
    assert_eq!(rig.commands(3_000), expected);
    assert_eq!(rig.handle.status().connects, 1);
}

impl Rig {
    /// Up, where the events must be taken for that.
    fn up_quietly(self) -> Self {
        self.event("attached", |event| match event {
            AblyEvent::Channel(name, change)
                if name == COMMANDS && change.state == ChannelState::Attached =>
            {
                Some(())
            }
            _ => None,
        });
        self
    }
}

#[test]
fn a_watched_link_that_falls_silent_is_told_soon() {
    let rig = Rig::new().up();
    rig.handle.watch_link(true);
    let lost = |rig: &Rig| {
        rig.event("the loss", |event| {
            matches!(event, AblyEvent::LinkLost).then_some(())
        });
    };
    // Unanswered pings, on a line that lives otherwise.
    rig.standin.model(|model| model.faults.ignore_pings = 1);
    lost(&rig);
    assert_eq!(
        rig.handle.status().connection.state,
        ConnectionState::Connected
    );
    // A cut.
    rig.standin
        .until("an answered ping", |model| model.faults.ignore_pings == 0);
    rig.standin.cut(NODE);
    lost(&rig);
    rig.handle.watch_link(false);
    rig.status("up again", |s| s.connects == 2 && s.present);
    rig.end();
}

#[test]
fn a_clone_is_told() {
    let mut timing = quick();
    timing.clone_after = 200 * MS;
    let rig = Rig::on(Standin::start(), |standin| ClientSettings {
        timing: timing.clone(),
        ..settings(standin)
    })
    .up();
    let cloned = |rig: &Rig| {
        rig.event("the verdict", |event| match event {
            AblyEvent::ClonedMachineId(cloned) => Some(cloned),
            _ => None,
        })
    };
    rig.standin
        .with(|model, now| ((), model.stranger(REGISTRY, "elsewhere", NODE, true, now)));
    assert!(cloned(&rig));
    rig.standin
        .with(|model, now| ((), model.stranger(REGISTRY, "elsewhere", NODE, false, now)));
    assert!(!cloned(&rig));
    rig.end();
}

#[test]
fn ages_are_true_by_a_clock_that_is_years_off() {
    let standin = Standin::with_config(Config {
        stamps: false,
        ..Config::default()
    });
    let rig = Rig::on(standin, settings).up();
    // Known once `/time` is answered.
    let until = Instant::now() + PATIENCE;
    let age = loop {
        rig.send("how old");
        if let Some(age) = rig.command().age_when_received {
            break age;
        }
        assert!(Instant::now() < until);
    };
    assert!(age < SEC, "{age:?}");
    rig.standin.cut(NODE);
    rig.send("late");
    let late = rig.command();
    assert!(late.age(Instant::now()).is_some());
    rig.end();
}

#[test]
fn two_hundred_at_once_stay_under_the_rate() {
    let rig = Rig::new().up();
    for n in 0..200 {
        rig.result(&format!("r{n}")).unwrap();
    }
    rig.all_sent();
    let expected: Vec<String> = (0..200).map(|n| format!("r{n}")).collect();
    assert_eq!(rig.arrived(), expected);
    rig.end();
}

#[test]
fn too_large_is_refused_before_it_is_queued() {
    let rig = Rig::on(
        Standin::with_config(Config {
            max_message_size: 1_000,
            ..Config::default()
        }),
        settings,
    )
    .up();
    let place = rig.handle.reserve(Priority::Ordinary).unwrap();
    let refused = rig.handle.publish(Outgoing {
        channel: STATUS.to_owned(),
        name: "n".to_owned(),
        data: Data::Text("x".repeat(1_000)),
        id: "big".to_owned(),
        kind: PublishKind::Kept(place),
    });
    assert_eq!(
        refused,
        Err(Refusal::TooLarge {
            size: 1_001,
            max: 1_000
        })
    );
    assert_eq!(rig.handle.status().results_waiting, 0);
    rig.end();
}

#[test]
fn places_run_out_and_come_back() {
    let standin = Standin::start();
    standin.mute(true);
    let rig = Rig::on(standin, settings);
    let mut sent = 0;
    while let Some(place) = rig.handle.reserve(Priority::Ordinary) {
        rig.handle
            .publish(Outgoing {
                channel: STATUS.to_owned(),
                name: "n".to_owned(),
                data: Data::Text(sent.to_string()),
                id: format!("r{sent}"),
                kind: PublishKind::Kept(place),
            })
            .unwrap();
        sent += 1;
    }
    assert_eq!(sent, 1_936);
    assert!(!rig.handle.has_room());
    assert!(rig.handle.reserve(Priority::High).is_some());
    for n in 0..2_000 {
        rig.handle
            .publish(Outgoing {
                channel: STATUS.to_owned(),
                name: "heartbeat".to_owned(),
                data: Data::Text(n.to_string()),
                id: format!("h{n}"),
                kind: PublishKind::Latest,
            })
            .unwrap();
    }
    rig.status("one heartbeat", |s| s.publishes_waiting == 1_937);
    let aborted = !rig.handle.close(Duration::ZERO);
    assert!(aborted);
    assert!(rig.handle.has_room(), "everything is let go at the end");
}

#[test]
fn a_service_that_does_not_answer_holds_up_no_close() {
    let standin = Standin::start();
    standin.mute(true);
    let mut timing = quick();
    timing.close_step = 100 * MS;
    let rig = Rig::on(standin, |standin| ClientSettings {
        timing: timing.clone(),
        ..settings(standin)
    });
    rig.state(ConnectionState::Connecting);
    let start = Instant::now();
    assert!(rig.handle.close(PATIENCE));
    assert!(start.elapsed() < SEC, "{:?}", start.elapsed());
}

#[test]
fn a_service_that_does_not_answer_is_given_its_time_and_no_more() {
    let standin = Standin::start();
    standin.mute(true);
    let mut timing = quick();
    timing.request = 200 * MS;
    let rig = Rig::on(standin, |standin| ClientSettings {
        timing: timing.clone(),
        ..settings(standin)
    });
    let reason = rig.state(ConnectionState::Disconnected).unwrap();
    assert!(reason.contains("80014"), "{reason}");
    rig.standin.mute(false);
    rig.up().end();
}

#[test]
fn a_handle_that_is_dropped_ends_the_client() {
    let rig = Rig::new().up();
    drop(rig.handle.clone());
    rig.send("still there");
    assert_eq!(rig.command().message.name.as_deref(), Some("command"));
    let Rig {
        standin,
        handle,
        events,
    } = rig;
    drop(handle);
    standin.until("it is gone", |model| model.sockets_of(NODE).is_empty());
    while events.recv_timeout(PATIENCE).is_ok() {}
}

#[test]
fn a_consumer_that_is_gone_ends_the_client_in_order() {
    let rig = Rig::new().up();
    let Rig {
        standin,
        handle,
        events,
    } = rig;
    drop(events);
    standin.publish(COMMANDS, &json!({"data": "for nobody"}));
    standin.until("it has left", |model| members(model).is_empty());
    assert!(handle.close(PATIENCE));
    standin.assert_clean();
}

#[test]
fn a_panic_in_the_predicate_is_an_end_that_shows() {
    let rig = Rig::on(Standin::start(), |standin| ClientSettings {
        urgent: Arc::new(|_| panic!("a bug of ours")),
        ..settings(standin)
    })
    .up();
    rig.standin.model(|model| {
        model.faults.refuse_continuity = 1;
    });
    rig.standin.cut(NODE);
    rig.send("judge this");
    let until = Instant::now() + PATIENCE;
    while !rig.handle.is_ended() {
        // Should it have come live, another loss gives the predicate its chance.
        if Instant::now() > until {
            panic!("it lives");
        }
        rig.standin
            .model(|model| model.faults.refuse_continuity = 1);
        rig.standin.cut(NODE);
        rig.send("judge this");
        std::thread::park_timeout(20 * MS);
    }
    assert_eq!(rig.result("r"), Err(Refusal::Ended));
    assert!(!rig.handle.wait_sent(SEC) || rig.handle.is_ended());
}

#[test]
fn fallbacks_are_tried_where_the_primary_does_not_answer() {
    // Nobody listens at that address.
    let away = |standin: &Standin| ClientSettings {
        endpoint: "127.0.0.77".to_owned(),
        fallback_hosts: Some(vec!["127.0.0.1".to_owned()]),
        ..settings(standin)
    };
    let rig = Rig::on(Standin::start(), away).up();
    assert_eq!(rig.handle.status().host, "127.0.0.1");
    let asked = rig.standin.http(|http| http.requests.clone());
    assert!(asked.iter().any(|r| r.starts_with("GET /up")), "{asked:?}");
    rig.end();
    // Behind a captive portal there is nothing to be tried.
    let standin = Standin::start();
    standin.http(|http| http.connectivity = "<html>log in</html>".to_owned());
    let rig = Rig::on(standin, away);
    let reason = rig.state(ConnectionState::Disconnected).unwrap();
    assert!(reason.contains("no way to the internet"), "{reason}");
    assert!(rig.standin.model(|model| model.connects.is_empty()));
}

#[test]
fn an_http_error_in_place_of_the_upgrade() {
    let standin = Standin::start();
    standin.http(|http| http.upgrade_status.extend([503, 404]));
    let rig = Rig::on(standin, |standin| ClientSettings {
        fallback_hosts: Some(vec!["127.0.0.1".to_owned()]),
        ..settings(standin)
    });
    // 503 leads to the fallback, its 404 to the end of the round.
    let reason = rig.state(ConnectionState::Disconnected).unwrap();
    assert!(reason.contains("HTTP 404"), "{reason}");
    rig.up().end();
}

#[test]
fn every_kind_of_token_source() {
    for answer in [
        TokenAnswer::Plain,
        TokenAnswer::Details,
        TokenAnswer::Request,
    ] {
        let standin = Standin::start();
        standin.http(|http| http.token = answer.clone());
        let rig = Rig::on(standin, tokens).up();
        let asked = rig.standin.http(|http| http.requests.clone());
        assert!(
            asked.contains(&"GET /auth?site=7&clientId=lss-test header-secret".to_owned()),
            "{asked:?}"
        );
        rig.send("one");
        assert_eq!(rig.commands(1), ["one"]);
        rig.end();
    }
}

#[test]
fn token_sources_that_fail_are_asked_again() {
    for (answer, words) in [
        (TokenAnswer::Status(500), "HTTP 500"),
        (TokenAnswer::Html, "text/html"),
        (TokenAnswer::Hang, "80019"),
    ] {
        let standin = Standin::start();
        standin.http(|http| http.token = answer.clone());
        let rig = Rig::on(standin, |standin| {
            let mut settings = tokens(standin);
            settings.timing.request = 300 * MS;
            settings
        });
        let reason = rig.state(ConnectionState::Disconnected).unwrap();
        assert!(reason.contains(words), "{answer:?}: {reason}");
        rig.standin.http(|http| http.token = TokenAnswer::Plain);
        rig.up().end();
    }
    // One that forbids is believed, for a while.
    let standin = Standin::start();
    standin.http(|http| http.token = TokenAnswer::Status(403));
    let rig = Rig::on(standin, tokens);
    rig.state(ConnectionState::Failed);
    rig.standin.http(|http| http.token = TokenAnswer::Plain);
    rig.up().end();
}

#[test]
fn tokens_that_end_are_renewed() {
    let standin = Standin::start();
    // So short that it is renewed within the test, before its end.
    standin.http(|http| {
        http.token = TokenAnswer::Details;
        http.token_life = 1500 * MS;
    });
    let rig = Rig::on(standin, tokens).up();
    let before = rig.standin.http(|http| http.requests.len());
    rig.standin.http(|http| http.token_life = 3_600 * SEC);
    let until = Instant::now() + PATIENCE;
    let auths = |rig: &Rig| {
        rig.standin.http(|http| {
            http.requests
                .iter()
                .filter(|r| r.starts_with("GET /auth"))
                .count()
        })
    };
    while auths(&rig) < 2 {
        assert!(Instant::now() < until, "{before}");
        std::thread::park_timeout(5 * MS);
    }
    rig.send("one");
    assert_eq!(rig.commands(1), ["one"]);
    assert_eq!(rig.handle.status().connects, 1, "within the connection");
    // Asked for by the service.
    let socket = rig.standin.model(|model| model.sockets_of(NODE)[0]);
    rig.standin
        .with(|model, now| ((), model.inject(socket, json!({"action": 17}), now)));
    while auths(&rig) < 3 {
        assert!(Instant::now() < until);
        std::thread::park_timeout(5 * MS);
    }
    // Thrown out for it.
    rig.standin
        .with(|model, now| ((), model.disconnect(socket, 40142, 401, now)));
    rig.status("up again", |s| s.connects == 2 && s.present);
    assert_eq!(auths(&rig), 4);
    rig.end();
}

#[test]
fn over_tls() {
    let standin = Standin::start();
    let front = TlsFront::start(standin.address);
    let secure = |standin: &Standin, trust: bool| {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ureq::tls::TlsConfig::builder()
            .root_certs(ureq::tls::RootCerts::from(vec![front.pem()]))
            .unversioned_rustls_crypto_provider(provider)
            .build();
        let http = ureq::Agent::config_builder().proxy(None).tls_config(tls);
        ClientSettings {
            endpoint: "localhost".to_owned(),
            port: front.address.port(),
            tls: Some(front.client(trust)),
            http: http.build().new_agent(),
            ..settings(standin)
        }
    };
    // A certificate that nobody vouches for.
    let rig = Rig::on(standin, |standin| secure(standin, false));
    let reason = rig.state(ConnectionState::Disconnected).unwrap();
    assert!(reason.contains("TLS"), "{reason}");
    assert!(rig.standin.model(|model| model.connects.is_empty()));
    assert!(rig.handle.close(PATIENCE));
    let Rig { standin, .. } = rig;

    let rig = Rig::on(standin, |standin| secure(standin, true)).up();
    let long = "z".repeat(200_000);
    rig.send(&long);
    assert_eq!(rig.commands(1), [long]);
    for n in 0..50 {
        rig.result(&format!("r{n}")).unwrap();
    }
    rig.all_sent();
    assert_eq!(rig.arrived().len(), 50);
    rig.standin.cut(NODE);
    rig.send("after the cut");
    assert_eq!(rig.commands(1), ["after the cut"]);
    rig.status("the time is known", |s| s.present);
    let asked = rig.standin.http(|http| http.requests.clone());
    assert!(
        asked.iter().any(|r| r.starts_with("GET /time")),
        "{asked:?}"
    );
    rig.end();
}

#[test]
fn a_key_does_not_travel_in_the_clear() {
    let standin = Standin::start();
    for (endpoint, fallbacks) in [
        ("main", None),
        ("ably.example.org", None),
        ("192.0.2.1", None),
        ("localhost", Some(vec!["192.0.2.2".to_owned()])),
    ] {
        let refused = AblyClient::start(
            ClientSettings {
                endpoint: endpoint.to_owned(),
                fallback_hosts: fallbacks,
                ..settings(&standin)
            },
            bounded(1).0,
        );
        assert!(
            matches!(refused, Err(StartError::NotLoopback(_))),
            "{endpoint}"
        );
    }
}

/// Everything that is logged in this process, at any level.
struct Tape(Mutex<Vec<(String, String)>>);

impl log::Log for Tape {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        struct Pairs(String);
        impl<'kvs> log::kv::VisitSource<'kvs> for Pairs {
            fn visit_pair(
                &mut self,
                key: log::kv::Key<'kvs>,
                value: log::kv::Value<'kvs>,
            ) -> Result<(), log::kv::Error> {
                use std::fmt::Write as _;
                let _ = write!(self.0, " {key}={value}");
                Ok(())
            }
        }
        let mut pairs = Pairs(String::new());
        let _ = record.key_values().visit(&mut pairs);
        let line = format!("{} {}{}", record.level(), record.args(), pairs.0);
        self.0
            .lock()
            .unwrap()
            .push((record.target().to_owned(), line));
    }

    fn flush(&self) {}
}

static TAPE: Tape = Tape(Mutex::new(Vec::new()));

#[test]
fn no_key_and_no_token_in_any_log() {
    log::set_logger(&TAPE).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let key = "canary.app:canary/secret+key";
    let standin = Standin::with_config(Config {
        keys: vec![key.to_owned()],
        ..Config::default()
    });
    standin.http(|http| http.upgrade_status.push_back(500));
    standin.model(|model| model.faults.connect_error.push_back((40101, 401)));
    let rig = Rig::on(standin, |standin| ClientSettings {
        auth: Auth::Key(Secret::new(key)),
        ..settings(standin)
    })
    .up();
    rig.standin.cut(NODE);
    rig.status("up again", |s| s.connects == 2 && s.present);
    rig.end();

    let rig = Rig::on(Standin::start(), tokens).up();
    let socket = rig.standin.model(|model| model.sockets_of(NODE)[0]);
    rig.standin
        .with(|model, now| ((), model.disconnect(socket, 40142, 401, now)));
    rig.status("up again", |s| s.connects == 2 && s.present);
    rig.end();

    log::set_max_level(log::LevelFilter::Off);
    let tape = std::mem::take(&mut *TAPE.0.lock().unwrap());
    let ours: Vec<&(String, String)> = tape.iter().filter(|(t, _)| t.starts_with("lss")).collect();
    assert!(
        ours.iter().any(|(_, line)| line.contains("CONNECTED")),
        "{ours:?}"
    );
    for (target, line) in &tape {
        for secret in ["canary/secret", "canary%2Fsecret"] {
            assert!(!line.contains(secret), "{target}: {line}");
        }
        // At trace the websocket and HTTP libraries show whole frames; the daemon's logger is not
        // to let them.
        if target.starts_with("lss") || !line.starts_with("TRACE") {
            for secret in ["!k1", "!k2", "token-1", "token-2", "header-secret"] {
                assert!(!line.contains(secret), "{target}: {line}");
            }
        }
    }
}
