//! The official Ably client plays RCS against the stand-in, and our client is the node: what
//! satisfies the one and the other is not merely our own idea of the protocol.
//!
//! Needs `node` and `npm`; the package is installed once into `target/ably-official`. Where that
//! can't be done the test says SKIPPED, is counted, and passes; with `LSS_E2E_REQUIRE=1` it fails.

// Helpers of tests are tests too: they may panic.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

#[path = "support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded, unbounded};
use lss::infrastructure::ably::client::{AblyClient, AblyEvent, Auth, ClientSettings};
use lss::infrastructure::ably::connection::ledger::Priority;
use lss::infrastructure::ably::connection::types::{Delivery, PublishKind, Timing};
use lss::infrastructure::ably::data::Data;
use lss::infrastructure::ably::handle::{AblyHandle, Outgoing};
use lss::util::secret::Secret;
use nix::fcntl::{Flock, FlockArg};
use serde_json::{Value, json};
use support::ably::{PATIENCE, Standin};

const NODE: &str = "lss-official";
const COMMANDS: &str = "lss:lss-official:commands";
const STATUS: &str = "lss:lss-official:status";
const EVENTS: &str = "task:task_001:events";

fn repo() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Installs the package where it is missing or of another version.
fn install() -> Result<PathBuf, String> {
    let to = repo().join("target/ably-official");
    std::fs::create_dir_all(&to).map_err(|e| e.to_string())?;
    let lock = std::fs::File::create(to.join("lock")).map_err(|e| e.to_string())?;
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, e)| e.to_string())?;
    let from = repo().join("tests/e2e/ably");
    let done = to.join("package-lock.done");
    let wanted = std::fs::read(from.join("package-lock.json")).map_err(|e| e.to_string())?;
    if std::fs::read(&done).is_ok_and(|installed| installed == wanted) {
        return Ok(to);
    }
    for file in ["package.json", "package-lock.json"] {
        std::fs::copy(from.join(file), to.join(file)).map_err(|e| e.to_string())?;
    }
    let npm = Command::new("npm")
        .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"])
        .args(["--fetch-timeout=30000", "--fetch-retries=1"])
        .current_dir(&to)
        .output()
        .map_err(|e| format!("npm: {e}"))?;
    if !npm.status.success() {
        let text = String::from_utf8_lossy(&npm.stderr);
        let last = text.lines().rev().find(|line| !line.trim().is_empty());
        return Err(format!("npm ci: {}", last.unwrap_or("failed")));
    }
    std::fs::write(done, wanted).map_err(|e| e.to_string())?;
    Ok(to)
}

/// Where the package is; `None`, said loudly and counted, where it can't be had.
fn official() -> Option<PathBuf> {
    let why = match Command::new("node").arg("--version").output() {
        Ok(_) => match install() {
            Ok(path) => return Some(path),
            Err(why) => why,
        },
        Err(e) => format!("node: {e}"),
    };
    let line = format!("SKIPPED ably_official: {why}");
    eprintln!("{line}");
    let required = std::env::var_os("LSS_E2E_REQUIRE").is_some_and(|v| v == "1");
    assert!(!required, "{line}");
    let counted = repo().join("target/e2e/skipped");
    if let Ok(mut file) = std::fs::OpenOptions::new().append(true).open(counted) {
        let _ = writeln!(file, "{line}");
    }
    None
}

/// The official client in a process of its own.
struct Rcs {
    child: Child,
    orders: ChildStdin,
    said: Receiver<Value>,
}

impl Drop for Rcs {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Rcs {
    fn start(installed: &Path, standin: &Standin) -> Self {
        let mut child = Command::new("node")
            .arg(repo().join("tests/e2e/ably_rcs.mjs"))
            .arg(standin.address.port().to_string())
            .arg(NODE)
            .env("LSS_NODE_MODULES_FROM", installed.join("package.json"))
            .env("NO_PROXY", "*")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, said) = unbounded();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let Ok(value) = serde_json::from_str(&line) else {
                    panic!("not JSON: {line}");
                };
                if sender.send(value).is_err() {
                    return;
                }
            }
        });
        let orders = child.stdin.take().unwrap();
        let rcs = Self {
            child,
            orders,
            said,
        };
        rcs.hears("ready");
        rcs
    }

    fn order(&mut self, order: &Value) {
        writeln!(self.orders, "{order}").unwrap();
    }

    fn publish(&mut self, name: &str, data: &Value) {
        self.order(&json!({"publish": {"channel": COMMANDS, "name": name, "data": data}}));
    }

    /// The next line with that key; others pass.
    fn hears(&self, key: &str) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.said.recv_timeout(left);
            let line = line.unwrap_or_else(|e| panic!("{e}: waited in vain for {key}"));
            assert!(line.get("failed").is_none(), "{line}");
            assert_ne!(line["state"], "failed");
            if let Some(value) = line.get(key) {
                return value.clone();
            }
        }
    }

    fn hears_message(&self, name: &str) -> Value {
        loop {
            let message = self.hears("message");
            if message["name"] == name {
                return message;
            }
        }
    }
}

fn node(standin: &Standin) -> (AblyHandle, Receiver<AblyEvent>) {
    standin.model(|model| {
        model.strict.insert(NODE.to_owned());
    });
    let (sender, events) = bounded(1_000);
    let settings = ClientSettings {
        client_id: NODE.to_owned(),
        auth: Auth::Key(Secret::new("app.key:secret")),
        endpoint: "127.0.0.1".to_owned(),
        port: standin.address.port(),
        fallback_hosts: None,
        tls: None,
        http: ureq::Agent::config_builder()
            .proxy(None)
            .build()
            .new_agent(),
        connectivity_check_url: format!("http://{}/up", standin.address),
        commands: COMMANDS.to_owned(),
        registry: "lss:registry".to_owned(),
        agent: "lss/official".to_owned(),
        urgent: Arc::new(|_| false),
        timing: Timing::default(),
    };
    (AblyClient::start(settings, sender).unwrap(), events)
}

fn command(events: &Receiver<AblyEvent>) -> Box<Delivery> {
    let until = Instant::now() + PATIENCE;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if let AblyEvent::Message(delivery) = events.recv_timeout(left).expect("a command") {
            return delivery;
        }
    }
}

fn publish(handle: &AblyHandle, channel: &str, name: &str, id: &str, data: Value) {
    let kind = match name {
        "command_result" => PublishKind::Kept(handle.reserve(Priority::Ordinary).unwrap()),
        "heartbeat" => PublishKind::Latest,
        _ => PublishKind::Event,
    };
    handle
        .publish(Outgoing {
            channel: channel.to_owned(),
            name: name.to_owned(),
            data: Data::Json(data),
            id: id.to_owned(),
            kind,
        })
        .unwrap();
}

#[test]
fn the_official_client_is_satisfied() {
    let Some(installed) = official() else { return };
    let standin = Standin::start();
    let mut rcs = Rcs::start(&installed, &standin);

    // Presence: it sees us come, with our data as an object.
    let (handle, events) = node(&standin);
    handle.set_presence(Data::Json(json!({"nodeId": NODE, "maxTasks": 4})));
    let entered = rcs.hears("presence");
    assert_eq!(entered["action"], "enter");
    assert_eq!(entered["clientId"], NODE);
    assert_eq!(entered["data"], json!({"nodeId": NODE, "maxTasks": 4}));
    rcs.order(&json!({"members": true}));
    let members = rcs.hears("members");
    assert_eq!(members.as_array().unwrap().len(), 1);
    assert_eq!(members[0]["data"]["maxTasks"], 4);

    // Commands: objects, strings and bytes, decoded; in order; under the id it knows them by.
    let start =
        json!({"command": "START_STREAM", "payload": {"taskId": "task_001", "ß": [1, null]}});
    rcs.publish("command", &start);
    rcs.publish("command", &json!("{\"command\":\"QUERY_STATUS\"}"));
    rcs.order(&json!({"publish": {"channel": COMMANDS, "name": "raw", "base64": "3q2+7w=="}}));
    let first = command(&events);
    assert_eq!(first.message.data, Data::Json(start));
    assert_eq!(first.message.client_id.as_deref(), Some("rcs"));
    assert_eq!(rcs.hears("own")["id"], json!(first.message.id));
    let second = command(&events).message.data;
    assert_eq!(
        second,
        Data::Text("{\"command\":\"QUERY_STATUS\"}".to_owned())
    );
    let third = command(&events).message.data;
    assert_eq!(third, Data::Binary(vec![0xde, 0xad, 0xbe, 0xef]));

    // Results, heartbeats, task events: as objects, from us, under our ids.
    rcs.order(&json!({"task": EVENTS}));
    assert_eq!(rcs.hears("subscribed"), EVENTS);
    publish(
        &handle,
        STATUS,
        "command_result",
        "r-1",
        json!({"success": true}),
    );
    publish(
        &handle,
        STATUS,
        "heartbeat",
        "h-1",
        json!({"type": "HEARTBEAT"}),
    );
    publish(
        &handle,
        EVENTS,
        "task_event",
        "e-1",
        json!({"event": "STARTED"}),
    );
    let result = rcs.hears_message("command_result");
    assert_eq!(
        (&result["data"], &result["id"], &result["clientId"]),
        (&json!({"success": true}), &json!("r-1"), &json!(NODE))
    );
    assert_eq!(rcs.hears_message("heartbeat")["data"]["type"], "HEARTBEAT");
    assert_eq!(rcs.hears_message("task_event")["data"]["event"], "STARTED");

    // A hundred questions and answers, each after the other: the service takes 50 a second.
    for n in 0..100 {
        rcs.publish("command", &json!({"n": n}));
        assert_eq!(command(&events).message.data, Data::Json(json!({"n": n})));
        let id = format!("n-{n}");
        publish(&handle, STATUS, "command_result", &id, json!({"n": n}));
        assert_eq!(rcs.hears_message("command_result")["data"]["n"], n);
    }

    // Our line is cut while it speaks, then its own while we do.
    standin.cut(NODE);
    rcs.publish("command", &json!({"while": "we were away"}));
    let late = command(&events).message.data;
    assert_eq!(late, Data::Json(json!({"while": "we were away"})));
    standin.cut("rcs");
    publish(
        &handle,
        STATUS,
        "command_result",
        "r-2",
        json!({"while": "it was away"}),
    );
    let result = rcs.hears_message("command_result");
    assert_eq!(result["data"], json!({"while": "it was away"}));
    rcs.order(&json!({"ping": true}));
    rcs.hears("pinged");
    rcs.publish("command", &json!({"after": true}));
    assert_eq!(
        command(&events).message.data,
        Data::Json(json!({"after": true}))
    );

    // One member still, then an update, then none.
    rcs.order(&json!({"members": true}));
    assert_eq!(rcs.hears("members").as_array().unwrap().len(), 1);
    handle.set_presence(Data::Json(json!({"nodeId": NODE, "maxTasks": 5})));
    loop {
        let event = rcs.hears("presence");
        if event["action"] == "update" {
            assert_eq!(event["data"]["maxTasks"], 5);
            break;
        }
    }
    let until = Instant::now() + PATIENCE;
    while handle.status().publishes_waiting > 0 {
        assert!(Instant::now() < until, "{:?}", handle.status());
        std::thread::park_timeout(Duration::from_millis(1));
    }
    assert!(handle.close(Duration::from_secs(10)));
    loop {
        let event = rcs.hears("presence");
        if event["action"] == "leave" {
            break;
        }
    }
    rcs.order(&json!({"members": true}));
    assert_eq!(rcs.hears("members"), json!([]));
    rcs.order(&json!({"close": true}));
    standin.until("it has closed", |model| model.sockets_of("rcs").is_empty());
    standin.assert_clean();
}
