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
use support::rcs::{Door, Mode};
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
    // The stand-in tells a millisecond for the handshake.
    assert!((start("session") - start("source") - 0.001).abs() < 1e-9);
    assert!(start("session") <= start("streaming") && start("media") <= start("streaming"));
    assert!(start("streaming") >= 0.3, "start_confirm");
    assert!(value("lss_task_process_resident_memory_bytes{task=\"t\"}") > 0.0);
    assert!(value("process_open_fds") > 3.0 && value("process_threads") > 5.0);
    assert_eq!(value("lss_panics_total{thread=\"stream\"}"), 0.0);
    assert_eq!(sum(&now, "lss_panics_total{"), 0.0);
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
    let now = samples(&scrape(&daemon));
    assert_eq!(
        now["lss_task_restarts_total{task=\"t\",cause=\"engine_crash\"}"],
        1.0
    );
}

/// Whatever becomes of a task and its processes: as long as it is listed, its counters are there
/// and rise.
#[test]
fn counters_of_a_listed_task_never_go_back() {
    let daemon = Daemon::start(&Setup::default());
    let mut before = BTreeMap::new();
    let mut look = || {
        let now = samples(&scrape(&daemon));
        let counters = now.into_iter().filter(|(series, _)| {
            let name = series.split('{').next().unwrap();
            name.ends_with("_total")
        });
        for (series, value) in counters {
            let earlier = before.insert(series.clone(), value).unwrap_or_default();
            assert!(value >= earlier, "{series}: {earlier}, then {value}");
        }
        before.clone()
    };
    let runs = "lss_task_runs_total{task=\"t\"}";
    let spent = "lss_task_process_cpu_seconds_total{task=\"t\"}";
    // Busy, and it never streams: its start times out.
    assert_eq!(daemon.start_task("t", "flood").0, 200);
    wait_for("the second run", SOON, || {
        (look()[runs] >= 2.0).then_some(())
    });
    assert_eq!(daemon.stop_task("t", false).0, 200);
    let ended = look();
    assert!(ended[spent] > 0.0, "{ended:#?}");
    assert_eq!(daemon.start_task("t", "ok").0, 200);
    daemon.wait_status("t", "STREAMING");
    let again = look();
    assert_eq!(again[runs], ended[runs] + 1.0);
    assert!(again[spent] >= ended[spent]);
    // What lss has started and reaped: those of the task, and the probe's.
    assert!(again["lss_ended_processes_cpu_seconds_total"] >= ended[spent]);
    let failures = "lss_task_failures_total{task=\"t\"";
    assert!(sum(&ended, failures) >= 1.0);
    assert_eq!(sum(&again, failures), sum(&ended, failures));
}

/// How many of these names there are, and their sum.
fn sum(samples: &BTreeMap<String, f64>, prefix: &str) -> f64 {
    let of = samples
        .iter()
        .filter(|(series, _)| series.starts_with(prefix));
    let values: Vec<f64> = of.map(|(_, value)| *value).collect();
    assert!(!values.is_empty(), "no {prefix}");
    values.iter().sum()
}

#[test]
fn sweeps_and_what_they_found() {
    let camera = std::net::SocketAddr::from(([127, 78, 0, 9], 8080));
    let _camera = isapi_camera::start_on(camera, GateRules::default(), Model::default()).unwrap();
    let daemon = Daemon::start(&Setup {
        camera_scan: true,
        camera: ", scan_subnet: ['127.78.0.8/30'], rescan_interval: 600s, scan_timeout: 10s"
            .to_owned(),
        ..Setup::default()
    });
    let now = wait_for("the first sweep", SOON, || {
        let now = samples(&scrape(&daemon));
        let ended = now["lss_discovery_sweeps_total{outcome=\"complete\"}"];
        // One at most, which is under way or over; REST may answer before it has begun.
        assert!(ended + now["lss_discovery_sweep_in_progress"] <= 1.0);
        // The list was read a moment before the count.
        let found = now["lss_discovered_cameras{online=\"true\"}"];
        (ended == 1.0 && found == 1.0).then_some(now)
    });
    let value = |name: &str| {
        *now.get(name)
            .unwrap_or_else(|| panic!("no {name}: {now:#?}"))
    };
    assert_eq!(value("lss_discovered_cameras{online=\"true\"}"), 1.0);
    assert_eq!(value("lss_discovered_cameras{online=\"false\"}"), 0.0);
    assert_eq!(
        value("lss_discovered_cameras_by_vendor{vendor=\"HIKVISION\"}"),
        1.0
    );
    assert_eq!(value("lss_discovery_last_sweep_addresses"), 4.0);
    assert_eq!(value("lss_discovery_interval_seconds"), 600.0);
    let took = value("lss_discovery_last_sweep_duration_seconds");
    assert!(took > 0.0 && took < 10.0, "{took}");
    let ended = value("lss_discovery_last_sweep_timestamp_seconds");
    let clock = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    assert!(ended <= clock && ended > clock - 30.0, "{ended} at {clock}");
    assert_eq!(value("lss_discovery_sweeps_total{outcome=\"failed\"}"), 0.0);
    assert_eq!(
        value("lss_discovery_sweeps_total{outcome=\"cut_short\"}"),
        0.0
    );
    let body = json!({ "subnet": "127.78.0.16/30" });
    assert_eq!(
        daemon.request("POST", "/api/cameras/scan", Some(&body)).0,
        200
    );
    let now = samples(&scrape(&daemon));
    assert_eq!(now["lss_discovery_sweeps_total{outcome=\"complete\"}"], 2.0);
    // Its camera was not among those that were looked at.
    assert_eq!(now["lss_discovered_cameras{online=\"true\"}"], 1.0);
}

#[test]
fn nothing_is_swept_where_that_is_switched_off() {
    let daemon = Daemon::start(&Setup::default());
    let now = samples(&scrape(&daemon));
    assert_eq!(sum(&now, "lss_discovery_sweeps_total{"), 0.0);
    assert_eq!(now["lss_discovered_cameras{online=\"true\"}"], 0.0);
    for name in ["interval_seconds", "last_sweep_timestamp_seconds"] {
        let name = format!("lss_discovery_{name}");
        assert!(!now.contains_key(&name), "{name}");
    }
    // Nor is there a cloud to wait for.
    let queues = |prefix: &str| now.keys().filter(|s| s.starts_with(prefix)).count();
    assert_eq!(queues("lss_queue_length{"), 7, "{now:#?}");
    assert_eq!(queues("lss_queue_max{"), 7);
    let log = now["lss_queue_length{queue=\"log_lines\"}"];
    assert_eq!(sum(&now, "lss_queue_length{"), log);
    assert_eq!(queues("lss_rcs_"), 0);
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
    assert_eq!(value("lss_ably_commands_arrive"), 1.0);
    assert_eq!(sum(&now, "lss_ably_connection_state{"), 1.0);
    assert_eq!(
        value("lss_ably_channel_state{channel=\"commands\",state=\"attached\"}"),
        1.0
    );
    assert_eq!(sum(&now, "lss_ably_channel_state{"), 2.0, "one a channel");
    for (queue, bound) in [
        ("stream_requests", 256.0),
        ("child_events", 1_024.0),
        ("camera_commands", 128.0),
        ("discovery_messages", 32.0),
        ("discovery_callers", 16.0),
        ("cloud_commands", 256.0),
        ("ably_results", 2_000.0),
        ("ably_held_commands", 1_000.0),
        ("rcs_callbacks", 1_000.0),
    ] {
        let waits = value(&format!("lss_queue_length{{queue=\"{queue}\"}}"));
        let most = value(&format!("lss_queue_max{{queue=\"{queue}\"}}"));
        assert!(waits <= most, "{queue}");
        assert_eq!(most, bound, "{queue}");
    }
    // Fewer where lss may open few files.
    assert!(value("lss_queue_max{queue=\"rest_late_answers\"}") > 0.0);
    value("lss_queue_length{queue=\"ably_publishes\"}");
    assert_eq!(sum(&now, "lss_thread_replacements_total{"), 0.0);
    assert_eq!(
        value("lss_rcs_requests_total{request=\"register\",outcome=\"taken\"}"),
        1.0
    );
    for secret in [rules.password.as_str(), "app.key", "secret"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

/// Names of figures in a text that is no exposition: rules and words about them.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter(|word| word.starts_with("lss_") || word.starts_with("process_"))
        .map(|word| word.trim_end_matches('_').to_owned())
        .collect()
}

/// A rule about a figure that is not there never fires, and nobody notices.
#[test]
fn every_figure_that_an_alert_looks_at_is_there() {
    let camera_at = std::net::SocketAddr::from(([127, 78, 1, 9], 8080));
    let _found = isapi_camera::start_on(camera_at, GateRules::default(), Model::default()).unwrap();
    let site = Site::with(Setup {
        camera_scan: true,
        camera: ", scan_subnet: ['127.78.1.8/30'], scan_timeout: 10s".to_owned(),
        ..Setup::default()
    });
    assert_eq!(site.daemon.start_task("good", "ok").0, 200);
    assert_eq!(site.daemon.start_task("bad", "refused").0, 200);
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/etc/alerts.yaml");
    let mut wanted = named(&std::fs::read_to_string(rules).unwrap());
    assert!(wanted.len() > 20, "{wanted:?}");
    // The table of figures tells of all there are, and of no others.
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/observability.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let documented: BTreeSet<String> = rows
        .flat_map(|row| named(row.split('|').nth(1).unwrap()))
        // Of FFmpeg's WHIP muxer there are none.
        .filter(|name| name != "lss_task_bitrate_bits_per_second")
        .filter(|name| !name.starts_with("lss_task_uplink_"))
        .collect();
    wanted.extend(documented.iter().cloned());
    let deadline = std::time::Instant::now() + SOON;
    loop {
        let now = samples(&scrape(&site.daemon));
        let there: BTreeSet<&str> = now.keys().filter_map(|s| s.split('{').next()).collect();
        let is_there = |name: &str| there.contains(name) || there.contains(&*format!("{name}_sum"));
        let missing = wanted.iter().filter(|name| !is_there(name));
        let missing: Vec<&String> = missing.collect();
        if missing.is_empty() {
            let families: BTreeSet<String> = there
                .iter()
                .map(|name| {
                    let ends = ["_bucket", "_sum", "_count"];
                    let family = ends.iter().find_map(|end| name.strip_suffix(end));
                    family.unwrap_or(name).to_owned()
                })
                .collect();
            let untold: Vec<&String> = families.difference(&documented).collect();
            assert!(
                untold.is_empty(),
                "not in docs/observability.md: {untold:?}"
            );
            break;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "not there: {missing:?}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What a figure can be labelled with is known before it is scraped, tasks' ids excepted: labels
/// that grow fill the memory of whoever scrapes.
#[test]
fn labels_take_values_of_fixed_sets() {
    let site = Site::start();
    assert_eq!(site.daemon.start_task("t", "ok").0, 200);
    site.daemon.wait_status("t", "STREAMING");
    let now = samples(&scrape(&site.daemon));
    let known = [
        "task", "state", "cause", "phase", "part", "online", "vendor", "outcome", "kind", "le",
        "queue", "thread", "channel", "request", "reason", "version", "target",
    ];
    for series in now.keys() {
        let Some((_, labels)) = series.split_once('{') else {
            continue;
        };
        for label in labels.trim_end_matches('}').split("\",") {
            let (name, value) = label.split_once("=\"").unwrap();
            assert!(known.contains(&name), "{series}");
            let plain = |c: char| c.is_ascii_alphanumeric() || "_-+.".contains(c);
            assert!(value.trim_end_matches('"').chars().all(plain), "{series}");
        }
    }
    // Of one task in good health.
    let of_task = now.keys().filter(|s| s.contains("task=\"t\"")).count();
    assert!(of_task < 24, "{of_task}");
    assert!(now.len() < 220, "{}", now.len());
}

#[test]
fn what_rcs_does_not_take() {
    let site = Site::start();
    site.rcs.set(Door::Callback, Mode::Status(503));
    site.rcs.set(Door::Heartbeat, Mode::Hangup);
    assert_eq!(site.daemon.start_task("t", "ok").0, 200);
    let failed = |request: &str| {
        format!("lss_rcs_requests_total{{request=\"{request}\",outcome=\"failed\"}}")
    };
    let now = wait_for("failures", SOON, || {
        let now = samples(&scrape(&site.daemon));
        let all = ["callback", "heartbeat"];
        // A request counts a moment before the part says so.
        let is_down = now["lss_part_up{part=\"rcs\"}"] == 0.0;
        (is_down && all.iter().all(|r| now[&failed(r)] >= 1.0)).then_some(now)
    });
    assert!(now["lss_queue_length{queue=\"rcs_callbacks\"}"] >= 1.0);
    site.rcs.set(Door::Heartbeat, Mode::Ok);
    site.rcs.set(Door::Callback, Mode::Status(422));
    wait_for("a callback that is lost", SOON, || {
        let now = samples(&scrape(&site.daemon));
        let lost = now["lss_rcs_callbacks_lost_total{reason=\"refused\"}"];
        (lost >= 1.0 && now["lss_part_up{part=\"rcs\"}"] == 1.0).then_some(())
    });
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
