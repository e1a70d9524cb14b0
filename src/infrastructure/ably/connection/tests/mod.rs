//! One test a rule. The bench plays the world: it feeds frames as JSON text and moves the time.

mod channels;
mod link;
mod login;
mod presence;
mod publish;
mod rewind;
mod watch;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use super::super::data::Data;
use super::super::endpoint::Hosts;
use super::super::frame::ProtocolMessage;
use super::Machine;
use super::ledger::Priority;
use super::types::{
    ChannelState, ConnectionState, Credentials, Delivery, FaultKind, Input, Output, Publish,
    PublishKind, Refusal, Settings, Timing, TransportFault, TransportId,
};
use crate::util::secret::Secret;
use crate::util::time::Now;

const C: &str = "cmd";
const R: &str = "reg";
const SEC: Duration = Duration::from_secs(1);

fn settings() -> Settings {
    Settings {
        client_id: "node".to_owned(),
        credentials: Credentials::Key(Secret::new("app.key:secret")),
        hosts: Hosts {
            primary: "primary".to_owned(),
            fallbacks: Vec::new(),
        },
        commands: C.to_owned(),
        registry: R.to_owned(),
        agent: "lss/test".to_owned(),
        urgent: Arc::new(|m| m.name.as_deref() == Some("stop")),
        timing: Timing::default(),
        seed: 7,
    }
}

struct Bench {
    machine: Machine,
    now: Now,
    transport: TransportId,
    host: String,
    path: String,
}

impl Bench {
    fn new(settings: Settings) -> Self {
        let now = Now {
            mono: Instant::now(),
            wall: SystemTime::UNIX_EPOCH,
        };
        Self {
            machine: Machine::new(settings, now),
            now,
            transport: TransportId(0),
            host: String::new(),
            path: String::new(),
        }
    }

    /// Connected, both channels attached at their first positions.
    fn up() -> Self {
        Self::up_with(settings())
    }

    fn up_with(settings: Settings) -> Self {
        let mut bench = Self::new(settings);
        bench.feed(Input::Connect);
        bench.connected("A", "k1");
        bench.attached(C, "c1", 0);
        bench.attached(R, "r1", 0);
        bench
    }

    fn feed(&mut self, input: Input) -> Vec<Output> {
        let out = self.machine.handle(input, self.now);
        for one in &out {
            if let Output::OpenTransport {
                transport,
                host,
                path,
            } = one
            {
                self.transport = *transport;
                self.host.clone_from(host);
                path.expose().clone_into(&mut self.path);
            }
        }
        out
    }

    fn frame(&mut self, frame: &Value) -> Vec<Output> {
        let frame = ProtocolMessage::parse(&frame.to_string()).unwrap();
        self.feed(Input::Frame(self.transport, Box::new(frame)))
    }

    fn connected(&mut self, id: &str, key: &str) -> Vec<Output> {
        self.feed(Input::Opened(self.transport));
        self.frame(
            &json!({"action": 4, "connectionId": id, "connectionDetails":
            {"clientId": "node", "connectionKey": key, "maxIdleInterval": 15000,
             "connectionStateTtl": 120_000, "maxMessageSize": 65536}}),
        )
    }

    fn attached(&mut self, channel: &str, serial: &str, flags: u64) -> Vec<Output> {
        self.frame(
            &json!({"action": 11, "channel": channel, "channelSerial": serial, "flags": flags}),
        )
    }

    fn message(&mut self, id: &str, serial: &str) -> Vec<Output> {
        self.named(id, serial, "command", 0)
    }

    fn named(&mut self, id: &str, serial: &str, name: &str, at: i64) -> Vec<Output> {
        let mut frame = json!({"action": 15, "channel": C, "channelSerial": serial,
            "messages": [{"id": id, "name": name, "data": "x"}]});
        if at != 0 {
            frame["timestamp"] = json!(at);
        }
        self.frame(&frame)
    }

    fn error(&mut self, channel: Option<&str>, code: u32, status: u16) -> Vec<Output> {
        let mut frame =
            json!({"action": 9, "error": {"code": code, "statusCode": status, "message": "no"}});
        if let Some(channel) = channel {
            frame["channel"] = json!(channel);
        }
        self.frame(&frame)
    }

    fn ack(&mut self, serial: u64, count: u64) -> Vec<Output> {
        self.frame(&json!({"action": 1, "msgSerial": serial, "count": count}))
    }

    fn nack(&mut self, serial: u64, code: u32, status: u16) -> Vec<Output> {
        self.frame(&json!({"action": 2, "msgSerial": serial, "count": 1,
            "error": {"code": code, "statusCode": status}}))
    }

    fn lose(&mut self) -> Vec<Output> {
        self.fault(FaultKind::Closed)
    }

    fn fault(&mut self, kind: FaultKind) -> Vec<Output> {
        let fault = TransportFault {
            kind,
            text: "broken".to_owned(),
        };
        self.feed(Input::Lost(self.transport, fault))
    }

    /// Time passes; every deadline in it is met.
    fn wait(&mut self, by: Duration) -> Vec<Output> {
        let end = self.now.after(by);
        let mut out = Vec::new();
        while let Some(at) = self.machine.next_deadline() {
            if at > end.mono {
                break;
            }
            self.now = self.now.after(at.saturating_duration_since(self.now.mono));
            out.extend(self.feed(Input::Timeout));
            let next = self.machine.next_deadline();
            assert!(next.is_none_or(|next| next > self.now.mono), "it spins");
        }
        self.now = end;
        out
    }

    /// Time passes, and the server keeps the line alive.
    fn wait_alive(&mut self, by: Duration) -> Vec<Output> {
        let mut out = Vec::new();
        let mut left = by;
        while !left.is_zero() {
            let step = left.min(10 * SEC);
            out.extend(self.wait(step));
            out.extend(self.frame(&json!({"action": 0})));
            left = left.saturating_sub(step);
        }
        out
    }

    fn publish(&mut self, id: &str) -> Vec<Output> {
        let place = self.machine.ledger().take(Priority::Ordinary).unwrap();
        self.publish_as(id, PublishKind::Kept(place))
    }

    fn publish_as(&mut self, id: &str, kind: PublishKind) -> Vec<Output> {
        self.feed(Input::Publish(Publish {
            channel: "status".to_owned(),
            name: "n".to_owned(),
            data: Data::Text(id.to_owned()).encode(),
            id: id.to_owned(),
            kind,
        }))
    }

    fn state(&self) -> ConnectionState {
        self.machine.status().connection.state
    }

    fn channel_state(&self) -> ChannelState {
        self.machine.status().commands.state
    }

    fn until_retry(&self) -> f64 {
        let at = self.machine.next_deadline().unwrap();
        at.saturating_duration_since(self.now.mono).as_secs_f64()
    }
}

/// Frames that are sent.
fn sent(out: &[Output]) -> Vec<Value> {
    out.iter()
        .filter_map(|one| match one {
            Output::Send(_, frame) => Some(serde_json::from_str(&frame.to_text()).unwrap()),
            _ => None,
        })
        .collect()
}

/// Frames of that action that are sent.
fn sent_of(out: &[Output], action: u64) -> Vec<Value> {
    let mut frames = sent(out);
    frames.retain(|frame| frame["action"] == action);
    frames
}

/// Ids of the messages that are published, with their serials.
fn published(out: &[Output]) -> Vec<(String, u64)> {
    sent_of(out, 15)
        .iter()
        .map(|f| {
            let id = f["messages"][0]["id"].as_str().unwrap().to_owned();
            (id, f["msgSerial"].as_u64().unwrap())
        })
        .collect()
}

fn deliveries(out: &[Output]) -> Vec<&Delivery> {
    out.iter()
        .filter_map(|one| match one {
            Output::Deliver(delivery) => Some(&**delivery),
            _ => None,
        })
        .collect()
}

fn ids(out: &[Output]) -> Vec<&str> {
    deliveries(out)
        .iter()
        .map(|d| d.message.id.as_deref().unwrap())
        .collect()
}

/// Connection states entered, in order.
fn states(out: &[Output]) -> Vec<ConnectionState> {
    out.iter()
        .filter_map(|one| match one {
            Output::Connection(change) => Some(change.state),
            _ => None,
        })
        .collect()
}

fn opens(out: &[Output]) -> usize {
    out.iter()
        .filter(|one| matches!(one, Output::OpenTransport { .. }))
        .count()
}

fn acked(out: &[Output]) -> Vec<&str> {
    out.iter()
        .filter_map(|one| match one {
            Output::Acked(id) => Some(id.as_str()),
            _ => None,
        })
        .collect()
}

fn refused(out: &[Output]) -> Vec<(&str, &Refusal)> {
    out.iter()
        .filter_map(|one| match one {
            Output::Refused { id, why, .. } => Some((id.as_str(), why)),
            _ => None,
        })
        .collect()
}
