//! The real binary with a cloud: registration, heartbeats and callbacks of tasks, against a strict
//! RCS stand-in that can misbehave; children are stand-ins for FFmpeg.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::time::Duration;

use serde_json::Value;
use support::daemon::{Daemon, Setup, fake_ffmpeg, wait_for};
use support::rcs::{Door, Mode, Rcs, Request};

const SOON: Duration = Duration::from_secs(20);

fn cloud(rcs: &Rcs) -> Setup {
    Setup {
        standalone: false,
        more: format!(
            "rcs: {{ base_url: '{}', heartbeat_interval: 500ms, connect_timeout: 2s, read_timeout: 2s, token: 'rcs-token-canary-7' }}\nably: {{ api_key: 'app.key:ably-canary-8', endpoint: '127.0.0.1', port: 9, tls: false }}\n",
            rcs.base_url()
        ),
        ffmpeg: format!(
            "path: '{}', start_confirm: 300ms, start_timeout: 3s, stall_timeout: 2s, stop_timeout: 4s, max_retries: 1",
            fake_ffmpeg().display()
        ),
        ..Setup::default()
    }
}

/// What RCS has taken of a task. Where the source was asked first, STARTING comes twice: before and
/// after the answer. Only the second is looked at.
fn told_of(requests: Vec<Request>, task: &str) -> Vec<Request> {
    let mut told: Vec<Request> = Vec::new();
    let starting = |r: &Request| kind_of(r) == ("STATUS_UPDATE".into(), "STARTING".into());
    for request in requests {
        if request.door != Door::Callback || !request.taken() || request.text("taskId") != task {
            continue;
        }
        if told.last().is_some_and(starting) && starting(&request) {
            told.pop();
        }
        told.push(request);
    }
    told
}

fn kind_of(request: &Request) -> (String, String) {
    (
        request.text("callbackType").to_owned(),
        request.text("status").to_owned(),
    )
}

fn callbacks_of(requests: &[Request], task: &str) -> Vec<(String, String)> {
    told_of(requests.to_vec(), task)
        .iter()
        .map(kind_of)
        .collect()
}

fn expect(rcs: &Rcs, task: &str, wanted: &[(&str, &str)]) -> Vec<Request> {
    let wanted: Vec<(String, String)> = wanted
        .iter()
        .map(|(k, s)| ((*k).to_owned(), (*s).to_owned()))
        .collect();
    let all = rcs.wait_for(&format!("{wanted:?}"), SOON, |requests| {
        callbacks_of(requests, task).len() >= wanted.len()
    });
    assert_eq!(callbacks_of(&all, task), wanted);
    told_of(all, task)
}

#[test]
fn a_stream_s_life_as_rcs_hears_it() {
    let rcs = Rcs::start();
    rcs.set_token(Some("rcs-token-canary-7"));
    let mut daemon = Daemon::start(&cloud(&rcs));
    let registered = rcs.wait_nth(Door::Register, 1);
    assert_eq!(registered.text("nodeId"), daemon.node_id);
    assert_eq!(registered.text("ablyClientId"), daemon.node_id);
    let engine = registered.body["systemInfo"]["ffmpegVersion"].as_str();
    assert_ne!(engine, Some("not probed yet"));
    daemon.start_task("t1", "zero");
    // It streams, ends with 0 as when a camera closes, comes back, ends again: its one retry is
    // spent.
    let told = expect(
        &rcs,
        "t1",
        &[
            ("STATUS_UPDATE", "STARTING"),
            ("STARTED", "STREAMING"),
            ("STATUS_UPDATE", "RECONNECTING"),
            ("STATUS_UPDATE", "STREAMING"),
            ("ERROR", "ERROR"),
        ],
    );
    assert_eq!(
        told[1].text("hlsPlaybackUrl"),
        "https://play.example/playback-canary-3/whep"
    );
    assert!(told[1].body["processId"].is_u64());
    assert_ne!(told[1].body["processId"], told[3].body["processId"]);
    assert_eq!(told[4].body["errorCode"], 30203);
    assert!(!told[4].text("errorMessage").is_empty());
    let order: Vec<&str> = told.iter().map(|r| r.text("timestamp")).collect();
    assert!(order.is_sorted(), "{order:?}");

    daemon.start_task("t2", "ok");
    daemon.wait_status("t2", "STREAMING");
    daemon.stop_task("t2", false);
    let told = expect(
        &rcs,
        "t2",
        &[
            ("STATUS_UPDATE", "STARTING"),
            ("STARTED", "STREAMING"),
            ("STOPPED", "STOPPED"),
        ],
    );
    assert_eq!(told[2].text("reason"), "COMMAND");

    daemon.start_task("t3", "ok");
    daemon.wait_status("t3", "STREAMING");
    rcs.wait_for("a heartbeat that counts it", SOON, |requests| {
        requests
            .iter()
            .any(|r| r.door == Door::Heartbeat && r.body["activeTaskCount"] == 1)
    });
    assert!(daemon.stop().success());
    let told = expect(
        &rcs,
        "t3",
        &[
            ("STATUS_UPDATE", "STARTING"),
            ("STARTED", "STREAMING"),
            ("STOPPED", "STOPPED"),
        ],
    );
    assert_eq!(told[2].text("reason"), "NODE_SHUTDOWN");
    let last = rcs.requests().pop().unwrap();
    assert_eq!(
        (last.door, last.text("status")),
        (Door::Heartbeat, "OFFLINE")
    );
    assert!(rcs.violations().is_empty(), "{:?}", rcs.violations());
    let log = daemon.log();
    for canary in [
        "camera-canary-1",
        "whip-canary-path-2",
        "playback-canary-3",
        "rcs-token-canary-7",
        "ably-canary-8",
    ] {
        assert!(!log.contains(canary), "{canary}:\n{log}");
        for request in rcs.requests() {
            let body = request.body.to_string();
            assert!(
                canary == "playback-canary-3" || !body.contains(canary),
                "{body}"
            );
        }
    }
}

#[test]
fn callbacks_survive_an_outage_in_order() {
    let rcs = Rcs::start();
    rcs.set_token(Some("rcs-token-canary-7"));
    let daemon = Daemon::start(&cloud(&rcs));
    rcs.wait_nth(Door::Register, 1);
    rcs.set(Door::Callback, Mode::Status(500));
    for n in 0..3 {
        let id = format!("o{n}");
        daemon.start_task(&id, "ok");
        daemon.wait_status(&id, "STREAMING");
        daemon.stop_task(&id, true);
    }
    rcs.wait_for("a refused callback", SOON, |requests| {
        requests
            .iter()
            .any(|r| r.door == Door::Callback && !r.taken())
    });
    rcs.set(Door::Callback, Mode::Ok);
    for n in 0..3 {
        expect(
            &rcs,
            &format!("o{n}"),
            &[
                ("STATUS_UPDATE", "STARTING"),
                ("STARTED", "STREAMING"),
                ("STOPPED", "STOPPED"),
            ],
        );
    }
}

#[test]
fn tasks_that_rcs_refuses_hold_up_no_other_not_even_at_the_end() {
    let rcs = Rcs::start();
    rcs.set_token(Some("rcs-token-canary-7"));
    rcs.script(|r| {
        let refused = r.door == Door::Callback && r.text("taskId").starts_with("refused");
        refused.then_some(Mode::Code(30001))
    });
    let mut daemon = Daemon::start(&cloud(&rcs));
    rcs.wait_nth(Door::Heartbeat, 1);
    for n in 0..8 {
        let id = format!("refused-{n}");
        daemon.start_task(&id, "ok");
        daemon.stop_task(&id, true);
    }
    rcs.wait_for("a second try of each", SOON, |requests| {
        (0..8).all(|n| {
            let task = format!("refused-{n}");
            let tries = requests.iter().filter(|r| r.text("taskId") == task);
            tries.count() >= 2
        })
    });
    daemon.start_task("t", "ok");
    let started = &[("STATUS_UPDATE", "STARTING"), ("STARTED", "STREAMING")];
    expect(&rcs, "t", started);
    assert!(daemon.stop().success());
    let told = expect(&rcs, "t", &[started[0], started[1], ("STOPPED", "STOPPED")]);
    assert_eq!(told[2].text("reason"), "NODE_SHUTDOWN");
    // Between the two ends of its start, hardly more than the others' turns of a second or so.
    let all = rcs.at(Door::Callback);
    let place = |kind: &str| {
        let ours = |r: &Request| r.text("taskId") == "t" && r.text("callbackType") == kind;
        all.iter().position(ours).unwrap()
    };
    let between = place("STARTED") - place("STATUS_UPDATE");
    assert!(between <= 10, "{between}");
}

#[test]
fn an_rcs_that_is_away_is_a_degraded_node_whose_streams_run() {
    let rcs = Rcs::start();
    rcs.set_token(Some("rcs-token-canary-7"));
    rcs.set_all(&Mode::Html);
    let daemon = Daemon::start(&cloud(&rcs));
    daemon.start_task("t", "ok");
    daemon.wait_status("t", "STREAMING");
    let health = daemon.get("/api/stream/health");
    assert_eq!(health["status"], "DEGRADED");
    assert_eq!(health["parts"]["rcs"]["status"], "DOWN");
    let (status, ready) = daemon.request("GET", "/readyz", None);
    assert_eq!(status, 503, "{ready}");
    rcs.set_all(&Mode::Ok);
    wait_for("rcs to be up", SOON, || {
        let health = daemon.get("/api/stream/health");
        (health["parts"]["rcs"]["status"] == "UP").then_some(())
    });
    assert_ne!(daemon.get("/api/stream/node")["registeredAt"], Value::Null);
}

#[test]
fn a_stop_is_not_held_up_by_an_rcs_that_never_answers() {
    let rcs = Rcs::start();
    rcs.set_token(Some("rcs-token-canary-7"));
    let mut daemon = Daemon::start(&cloud(&rcs));
    rcs.wait_nth(Door::Register, 1);
    rcs.set_all(&Mode::Silence);
    daemon.start_task("t", "ok");
    daemon.wait_status("t", "STREAMING");
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    // Flush 3 s, last heartbeat 2 s, and what a busy machine adds.
    assert!(daemon.wait_exit(Duration::from_secs(15)).success());
}
