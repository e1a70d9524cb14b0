//! A daemon between the strict Ably and RCS stand-ins.

use std::time::Duration;

use serde_json::{Value, json};

use super::ably::Standin;
use super::ably::model::Model;
use super::daemon::{Daemon, Setup, fake_ffmpeg, wait_for};
use super::rcs::Rcs;

const SOON: Duration = Duration::from_secs(20);
/// One site.
pub struct Site {
    pub daemon: Daemon,
    pub ably: Standin,
    pub rcs: Rcs,
}

impl Site {
    /// Started, its command channel attached.
    pub fn start() -> Self {
        Self::with(Setup::default())
    }

    /// The same, set up otherwise.
    pub fn with(setup: Setup) -> Self {
        let ably = Standin::start();
        let rcs = Rcs::start();
        let setup = Setup {
            standalone: false,
            more: format!(
                "rcs: {{ base_url: '{}' }}\nably: {{ api_key: 'app.key:secret', endpoint: '127.0.0.1', port: {}, tls: false, heartbeat_interval: 500ms, connectivity_check_url: 'http://{}/up' }}\n",
                rcs.base_url(),
                ably.address.port(),
                ably.address,
            ),
            ffmpeg: format!(
                "path: '{}', start_confirm: 300ms, start_timeout: 3s, stop_timeout: 4s",
                fake_ffmpeg().display()
            ),
            ..setup
        };
        let daemon = Daemon::start(&setup);
        let site = Self { daemon, ably, rcs };
        let node = site.daemon.node_id.clone();
        let commands = site.commands();
        site.ably.until("the command channel", |model| {
            model.is_attached(&node, &commands)
        });
        site
    }

    /// The command channel.
    pub fn commands(&self) -> String {
        format!("lss:{}:commands", self.daemon.node_id)
    }

    /// Publishes a command; its message id.
    pub fn send(&self, command: &str, payload: impl Into<Value>) -> String {
        let data = json!({ "command": command, "payload": payload.into() }).to_string();
        self.ably.publish(
            &self.commands(),
            &json!({ "name": "command", "data": data, "encoding": "json" }),
        )
    }

    /// Everything of that type on the status channel.
    pub fn told(&self, kind: &str) -> Vec<Value> {
        let status = format!("lss:{}:status", self.daemon.node_id);
        self.ably.model(|model| published(model, &status, kind))
    }

    /// Waits for the result of a request.
    pub fn result_of(&self, request: &str) -> Value {
        wait_for(&format!("the result of {request}"), SOON, || {
            self.told("COMMAND_RESULT")
                .into_iter()
                .find(|r| r["requestId"] == request)
        })
    }
}

/// What was published on a channel and is of that type.
pub fn published(model: &mut Model, channel: &str, kind: &str) -> Vec<Value> {
    let Some(channel) = model.channels.get(channel) else {
        return Vec::new();
    };
    channel
        .log
        .iter()
        .map(|(_, data)| match data {
            Value::String(text) => serde_json::from_str(text).unwrap(),
            other => other.clone(),
        })
        .filter(|value: &Value| value["type"] == kind)
        .collect()
}
