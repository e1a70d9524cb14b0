//! `/metrics` of the real binary: what stands there while a stream runs, fails and comes back, and
//! that no secret does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::float_cmp
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;
use support::daemon::{Daemon, Setup, raw_request, wait_for};
use support::digest_server::GateRules;
use support::isapi_camera::{self, Model};
use support::site::Site;

const SOON: Duration = Duration::from_secs(20);

fn scrape(daemon: &Daemon) -> String {
    let request = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    let (status, text) = raw_request(daemon.addr, request);
    assert_eq!(status, 200, "{text}");
    text
}

/// The values by name and labels; panics where the text is not what a scraper takes.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut types: BTreeMap<String, String> = BTreeMap::new();
    let mut helped = BTreeSet::new();
    let mut samples = BTreeMap::new();
    let body = text.split_once("\r\n\r\n").map_or(text, |(_, body)| body);
    for line in body.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            assert!(
                helped.insert(rest.split(' ').next().unwrap().to_owned()),
                "{line}"
            );
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(
                types.insert(name.to_owned(), kind.to_owned()).is_none(),
                "{line}"
            );
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end).filter(|n| types.contains_key(*n)))
                .unwrap_or(name);
            let kind = types
                .get(family)
                .unwrap_or_else(|| panic!("no type: {line}"));
            assert!(helped.contains(family), "no help: {line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            let value: f64 = value.parse().unwrap();
            assert!(
                samples.insert(series.to_owned(), value).is_none(),
                "twice: {line}"
            );
        }
    }
    samples
}

#[test]
fn a_stream_that_runs_fails_and_comes_back() {
    let daemon = Daemon::start(&Setup::default());
    assert_eq!(daemon.start_task("t", "ok").0, 200);
    daemon.wait_status("t", "STREAMING");
    let pid = daemon.task("t")["processId"].as_i64().unwrap();
    wait_for("figures of progress", SOON, || {
        let now = samples(&scrape(&daemon));
        (now.get("lss_task_fps{task=\"t\"}")
            .copied()
            .unwrap_or_default()
            > 0.0)
            .then_some(())
    });
    let now = samples(&scrape(&daemon));
    let value = |series: &str| {
        *now.get(series)
            .unwrap_or_else(|| panic!("no {series}: {now:#?}"))
    };
    assert_eq!(value("lss_task_state{task=\"t\",state=\"streaming\"}"), 1.0);
    assert_eq!(value("lss_task_state{task=\"t\",state=\"starting\"}"), 0.0);
    assert_eq!(value("lss_task_runs_total{task=\"t\"}"), 1.0);
    assert_eq!(value("lss_task_stalls_total{task=\"t\"}"), 0.0);
    let start = |phase: &str| {
        value(&format!(
            "lss_task_start_seconds{{task=\"t\",phase=\"{phase}\"}}"
        ))
    };
    assert!(start("session") <= start("streaming") && start("media") <= start("streaming"));
    assert!(start("streaming") >= 0.3, "start_confirm");
    assert!(value("lss_task_process_resident_memory_bytes{task=\"t\"}") > 0.0);
    assert!(value("process_open_fds") > 3.0 && value("process_threads") > 5.0);
    assert_eq!(value("lss_panics_total"), 0.0);
    // Its process is killed by somebody.
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    wait_for("the failure", SOON, || {
        let now = samples(&scrape(&daemon));
        (now.get("lss_task_failures_total{task=\"t\",cause=\"engine_crash\"}") == Some(&1.0))
            .then_some(())
    });
    wait_for("the second run", SOON, || {
        let now = samples(&scrape(&daemon));
        (now["lss_task_runs_total{task=\"t\"}"] == 2.0).then_some(())
    });
}

#[test]
fn a_stall_is_counted() {
    let daemon = Daemon::start(&Setup::default());
    assert_eq!(daemon.start_task("t", "stall").0, 200);
    wait_for("the stall", SOON, || {
        let now = samples(&scrape(&daemon));
        (now.get("lss_task_stalls_total{task=\"t\"}").copied() >= Some(1.0)).then_some(())
    });
}

#[test]
fn cameras_and_the_cloud() {
    let site = Site::start();
    let rules = GateRules::default();
    let camera = isapi_camera::start(rules.clone(), Model::default());
    let body = json!({
        "ip": camera.addr.ip().to_string(), "port": camera.addr.port(), "vendorType": "HIK",
        "username": rules.user, "password": rules.password, "action": "PAN_LEFT",
    });
    let path = "/api/cameras/cam/ptz";
    assert_eq!(site.daemon.request("POST", path, Some(&body)).0, 200);
    let stop = json!({ "action": "STOP" });
    assert_eq!(site.daemon.request("POST", path, Some(&stop)).0, 200);
    wait_for("the line's health", SOON, || {
        let now = samples(&scrape(&site.daemon));
        (now["lss_part_up{part=\"ably\"}"] == 1.0).then_some(())
    });
    let text = scrape(&site.daemon);
    let now = samples(&text);
    let value = |series: &str| {
        *now.get(series)
            .unwrap_or_else(|| panic!("no {series}: {now:#?}"))
    };
    assert_eq!(
        value("lss_camera_command_seconds_count{kind=\"move\"}"),
        1.0
    );
    assert_eq!(
        value("lss_camera_command_seconds_count{kind=\"stop\"}"),
        1.0
    );
    assert_eq!(value("lss_camera_lanes"), 1.0);
    assert_eq!(value("lss_ably_connected"), 1.0);
    assert_eq!(value("lss_ably_connection_state{state=\"connected\"}"), 1.0);
    value("lss_queue_length{queue=\"rcs_callbacks\"}");
    for secret in [rules.password.as_str(), "app.key", "secret"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[test]
fn strangers_see_nothing() {
    let daemon = Daemon::start(&Setup {
        server: "  api_token: 'canary-token-0123456789'".to_owned(),
        ..Setup::default()
    });
    let request = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    assert_eq!(raw_request(daemon.addr, request).0, 401);
}
