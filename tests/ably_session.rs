//! The Ably client against the stand-in over loopback sockets: each behaviour, each fault.

// Helpers of tests are tests too: they may panic.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "ably_session/conformance.rs"]
mod conformance;
#[path = "ably_session/faults.rs"]
mod faults;
#[path = "ably_session/login.rs"]
mod login;
#[path = "ably_session/session.rs"]
mod session;
#[path = "support/mod.rs"]
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
        token_gap: 50 * MS,
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

    /// Attached, where the events must be taken for that.
    fn attached(self) -> Self {
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
                Err(e) => panic!("{e} waiting for {what}: {:?}", self.handle.status()),
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
        let until = Instant::now() + PATIENCE;
        while self.handle.status().publishes_waiting > 0 {
            assert!(Instant::now() < until, "{:?}", self.handle.status());
            std::thread::park_timeout(MS);
        }
    }

    /// The client's thread is over: nobody holds the other end of its events.
    fn is_over(&self) -> bool {
        loop {
            match self.events.try_recv() {
                Ok(_) => {}
                Err(why) => return why.is_disconnected(),
            }
        }
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
