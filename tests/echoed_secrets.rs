//! Everybody who is told a password quotes it back, in every spelling that servers have, and so that
//! lss's own cuts fall into it: no part of it comes out of the real binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use support::ably::{Standin, frames};
use support::camera_http::{HttpServer, Incoming, Outgoing, Site};
use support::daemon::{Daemon, Setup, fake_ffmpeg, raw_request, source_url, wait_for};
use support::rcs::{Door, Mode, Rcs};

const SOON: Duration = Duration::from_secs(30);

/// Of the camera, and of the Ably key: with everything that somebody escapes.
const PASSWORD: &str = "Quokka@\"wombat&/'7";
const KEY_SECRET: &str = "Numbat+bilby/potoroo";

/// What must not come out: pieces that are left in every spelling, and the sure part of each of the
/// three ways in which base64 has it.
fn pieces() -> Vec<String> {
    let mut out: Vec<String> = ["uokk", "omba", "umba", "bilb", "otoro"]
        .map(str::to_owned)
        .into();
    for secret in [PASSWORD, KEY_SECRET] {
        for before in 0..3 {
            let text = STANDARD.encode(format!("{}{secret}", "x".repeat(before)));
            out.push(text[4..12].to_owned());
        }
    }
    out
}

/// A secret in every spelling that fits into JSON's and XML's quotes.
fn spellings(secret: &str) -> Vec<String> {
    let each = |write: &dyn Fn(&mut String, u8)| {
        let mut out = String::new();
        for byte in secret.bytes() {
            if byte.is_ascii_alphanumeric() {
                out.push(char::from(byte));
            } else {
                write(&mut out, byte);
            }
        }
        out
    };
    let upper = each(&|out, byte| write!(out, "%{byte:02X}").unwrap());
    let lower = each(&|out, byte| write!(out, "%{byte:02x}").unwrap());
    vec![
        upper,
        lower.clone(),
        lower.replace('%', "%25"),
        each(&|out, byte| write!(out, "&#{byte};").unwrap()),
        each(&|out, byte| write!(out, "&#x{byte:X};").unwrap()),
        each(&|out, byte| write!(out, "\\u{byte:04x}").unwrap()),
        each(&|out, byte| write!(out, "\\\\u{byte:04X}").unwrap()),
        STANDARD.encode(secret),
        STANDARD.encode(format!("admin:{secret}")),
        STANDARD.encode(format!("root:{secret}")),
        URL_SAFE_NO_PAD.encode(format!("me:{secret} and more")),
    ]
}

/// The same behind so much else that a cut at `bound` characters falls into it.
fn across(bound: usize, spelling: &str) -> String {
    format!("{} {spelling}", "x".repeat(bound.saturating_sub(7)))
}

fn assert_silent(where_: &str, text: &str) {
    for piece in pieces() {
        assert!(!text.contains(&piece), "{piece} in {where_}:\n{text}");
    }
}

struct Echo {
    answers: Vec<String>,
    next: usize,
}

impl Site for Echo {
    fn answer(&mut self, _: &Incoming) -> Outgoing {
        let said = &self.answers[self.next % self.answers.len()];
        self.next += 1;
        let body = format!(
            "<?xml version=\"1.0\"?><ResponseStatus version=\"1.0\"><requestURL>/x</requestURL>\
             <statusCode>4</statusCode><statusString>{said}</statusString>\
             <subStatusCode>badXmlContent</subStatusCode></ResponseStatus>"
        );
        Outgoing::new(400, "application/xml", body)
    }
}

/// An FFmpeg that says what stands in the file named like the last part of its source.
fn echoing_ffmpeg(dir: &std::path::Path, files: &[String]) -> std::path::PathBuf {
    for (n, text) in files.iter().enumerate() {
        std::fs::write(dir.join(format!("m{n}")), text).unwrap();
    }
    let program = dir.join("ffmpeg");
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in *\" -i \"*) ;; *) exec '{}' \"$@\" ;; esac\n\
         while [ $# -gt 0 ]; do [ \"$1\" = -i ] && url=$2; shift; done\n\
         cat '{}'/\"${{url##*/}}\" >&2\nexit 8\n",
        fake_ffmpeg().display(),
        dir.display(),
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    program
}

#[test]
fn no_spelling_of_a_secret_comes_back_out() {
    let ways = spellings(PASSWORD);
    let key_ways = spellings(KEY_SECRET);
    let dir = tempfile::tempdir().unwrap();
    let files: Vec<String> = ways
        .iter()
        .map(|way| {
            let mut out = String::new();
            for text in [
                across(4096, way),
                across(500, way),
                across(190, way),
                way.clone(),
            ] {
                let _ = writeln!(out, "[in#0 @ 0x1] [error] Error opening input: {text}");
                let _ = writeln!(out, "[in#0 @ 0x1] [error] {text}");
            }
            out
        })
        .collect();
    let ffmpeg = echoing_ffmpeg(dir.path(), &files);

    let ably = Standin::with_config(support::ably::model::Config {
        keys: vec![format!("app.key:{KEY_SECRET}")],
        ..Default::default()
    });
    let rcs = Rcs::start();
    // RCS quotes the camera's password and the Ably key, in turn, in answers of every kind.
    let said: Vec<String> = ways
        .iter()
        .chain(&key_ways)
        .flat_map(|way| [way.clone(), across(200, way), across(1000, way)])
        .collect();
    let turn = AtomicUsize::new(0);
    rcs.script(move |request| {
        let n = turn.fetch_add(1, Ordering::Relaxed);
        let said = &said[n % said.len()];
        // A spelling in JSON's escapes is one inside JSON's quotes as it is.
        let body = format!("{{\"code\":50001,\"message\":\"refused: {said}\"}}");
        match request.door {
            Door::Heartbeat => Some(Mode::Answer(500, body)),
            Door::Callback if n.is_multiple_of(2) => Some(Mode::Answer(503, body)),
            _ => None,
        }
    });
    let daemon = Daemon::start(&Setup {
        standalone: false,
        env: vec![("LSS_LOG".into(), "trace".into())],
        max_tasks: 16,
        more: format!(
            "rcs: {{ base_url: '{}', heartbeat_interval: 500ms }}\n\
             ably: {{ api_key: 'app.key:{KEY_SECRET}', endpoint: '127.0.0.1', port: {}, tls: false, \
             heartbeat_interval: 500ms, connectivity_check_url: 'http://{}/up' }}\n",
            rcs.base_url(),
            ably.address.port(),
            ably.address,
        ),
        ffmpeg: format!(
            "path: '{}', start_confirm: 300ms, start_timeout: 3s, stop_timeout: 4s",
            ffmpeg.display()
        ),
        ..Setup::default()
    });
    let node = daemon.node_id.clone();
    let commands = format!("lss:{node}:commands");
    ably.until("the command channel", |model| {
        model.is_attached(&node, &commands)
    });

    // FFmpeg quotes it.
    for n in 0..ways.len() {
        let body = json!({
            "taskId": format!("t{n}"), "requestId": format!("start {n}"),
            "sourceUrl": source_url(&format!("m{n}")).replace("camera-canary-1", &ways[0]),
            "whipUrl": "http://127.0.0.1:1/some/where", "inputType": "RTSP",
        });
        if n % 2 == 0 {
            daemon.request("POST", "/api/stream/start", Some(&body));
        } else {
            let data = json!({ "command": "START_STREAM", "payload": body }).to_string();
            let message = json!({ "name": "command", "data": data, "encoding": "json" });
            ably.publish(&commands, &message);
        }
    }
    for n in 0..ways.len() {
        let task = wait_for("a failed run", SOON, || {
            let task = daemon
                .request("GET", &format!("/api/stream/task/t{n}"), None)
                .1;
            task["data"]["errorMessage"].is_string().then_some(task)
        });
        assert_silent("the task", &task.to_string());
        let log = daemon
            .request("GET", &format!("/api/stream/task/t{n}/log"), None)
            .1;
        assert!(log.to_string().contains("Error opening input"), "{log}");
        assert_silent("the task's log", &log.to_string());
    }

    // A camera quotes it.
    let camera = HttpServer::start(Echo {
        answers: ways
            .iter()
            .flat_map(|way| [way.clone(), across(200, way)])
            .collect(),
        next: 0,
    });
    for n in 0..2 * ways.len() {
        let body = json!({
            "ip": "127.0.0.1", "port": camera.addr.port(), "vendorType": "HIKVISION",
            "username": "admin", "password": PASSWORD, "action": "LEFT", "speed": 1,
        });
        let path = format!("/api/cameras/c{n}/ptz");
        let (_, answer) = daemon.request("POST", &path, Some(&body));
        assert_ne!(answer["code"], 0, "{answer}");
        assert_silent("the camera's answer", &answer.to_string());
    }

    // Ably quotes its key, and the password.
    for way in [
        &key_ways[1],
        &key_ways[4],
        &key_ways[5],
        &key_ways[7],
        &ways[0],
    ] {
        let told = |daemon: &Daemon| {
            let log = daemon.log();
            log.matches("did not keep every command").count()
        };
        let before = told(&daemon);
        wait_for("Ably's words in the log", SOON, || {
            for text in [way.clone(), across(300, way)] {
                let frame = format!(
                    "{{\"action\":11,\"flags\":0,\"channel\":\"{commands}\",\"error\":{{\"code\":90001,\"statusCode\":500,\"message\":\"no: {text}\"}}}}"
                );
                ably.raw(&node, &frames(frame.as_bytes(), None));
            }
            (told(&daemon) > before).then_some(())
        });
    }
    rcs.wait_for("callbacks and heartbeats", SOON, |seen| seen.len() > 30);

    for path in [
        "/readyz",
        "/livez",
        "/api/stream/tasks",
        "/api/stream/node",
        "/api/cameras",
    ] {
        assert_silent(path, &daemon.request("GET", path, None).1.to_string());
    }
    let request = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    assert_silent("/metrics", &raw_request(daemon.addr, request).1);
    for seen in rcs.requests() {
        assert_silent("what RCS is told", &seen.body.to_string());
    }
    let published: Vec<Value> = ably.model(|model| {
        let channels = model.channels.iter().filter(|(name, _)| **name != commands);
        channels
            .flat_map(|(_, channel)| channel.log.iter().map(|(_, data)| data.clone()))
            .collect()
    });
    assert!(!published.is_empty());
    assert_silent("what Ably is told", &json!(published).to_string());
    assert_silent("the log", &daemon.log());
}
