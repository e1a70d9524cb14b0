//! How well tours keep their times: 32 at once on 32 stand-in cameras, four of them dead, in the
//! real optimised binary: `cargo bench --bench patrol`. And a week of one tour in simulated time.
//!
//! The greatest lateness is each camera's second waypoint, once: it begins 200 ms after the first
//! stop, whose proof (two looks at the camera, 250 ms apart) is not over by then.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]
#![allow(missing_docs)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use lss::domain::patrol::{Patrol, PatrolAsk, PatrolEventKind, Plan, Step, WaypointAsk};
use lss::domain::stream::Id;
use serde_json::json;
use support::camera_http::Fault;
use support::daemon::{Daemon, Setup};
use support::digest_server::GateRules;
use support::isapi_camera::{self, IsapiStandIn, Model};

const CAMERAS: usize = 32;
const DEAD: usize = 4;
const LOOPS: usize = 30;
/// When the waypoints of a loop begin; it lasts two seconds.
const STARTS: [u64; 4] = [0, 500, 1_000, 1_500];
const LOOP: u64 = 2_000;

fn main() {
    println!("| what | measured | target |\n|---|---|---|");
    // The dead ones hang: connections are taken and nothing is answered.
    for dead in [0, DEAD] {
        tours(dead);
    }
    week();
}

fn tours(dead: usize) {
    let model = || Model {
        momentary: false,
        ..Model::default()
    };
    let cameras: Vec<IsapiStandIn> = (0..CAMERAS)
        .map(|n| {
            let ip = Ipv4Addr::new(127, 78, 0, n as u8 + 1);
            isapi_camera::start_at(ip, GateRules::default(), model())
        })
        .collect();
    for camera in &cameras[..dead] {
        camera.fault("/", Fault::Hang, usize::MAX);
    }
    let daemon = Daemon::start(&Setup {
        env: vec![("LSS_LOG".into(), "error".into())],
        ..Setup::default()
    });
    for (n, camera) in cameras.iter().enumerate() {
        start(&daemon, n, camera.addr);
    }
    let cpu = ticks(daemon.pid());
    let begun = Instant::now();
    let alive = &cameras[dead..];
    // Looking costs the cameras' time: looked at once, when all should be over.
    std::thread::sleep(Duration::from_millis(LOOP) * (LOOPS as u32 + 1));
    for camera in alive {
        let seen = moves(camera).len();
        assert!(seen >= LOOPS * STARTS.len(), "{seen} moves");
    }
    let busy = ticks(daemon.pid()) - cpu;
    let late: Vec<f64> = alive.iter().flat_map(lateness).collect();
    let percent = busy as f64 / begun.elapsed().as_secs_f64();
    let of = if dead == 0 {
        String::new()
    } else {
        format!(", {dead} of them hanging")
    };
    println!(
        "| {CAMERAS} tours{of}: lateness of {} waypoints, p50 / p99 / max | {:.1} / {:.1} / {:.1} ms | p99 < 20 ms |",
        late.len(),
        percentile(&late, 0.5),
        percentile(&late, 0.99),
        percentile(&late, 1.0),
    );
    println!("| the same: CPU | {percent:.1} % of a core | - |");
}

fn start(daemon: &Daemon, n: usize, at: SocketAddr) {
    let rules = GateRules::default();
    let waypoints: Vec<_> = STARTS
        .iter()
        .zip(["LEFT", "RIGHT", "UP", "DOWN"])
        .map(|(start, action)| {
            let duration = if *start == STARTS[3] { 500 } else { 300 };
            json!({"action": action, "speed": 10, "duration": duration, "startTime": start})
        })
        .collect();
    let body = json!({
        "cameraId": format!("cam_{n}"), "tourId": "tour", "loopCount": 0, "waypoints": waypoints,
        "ip": at.ip().to_string(), "port": at.port(), "vendorType": "HIKVISION",
        "username": rules.user, "password": rules.password,
    });
    let (status, answer) = daemon.request("POST", "/api/patrol/start", Some(&body));
    assert_eq!(status, 200, "{answer}");
}

/// When the camera got each movement: its first line is a speed that is not zero, and the login
/// was good (a challenged request comes twice).
fn moves(camera: &IsapiStandIn) -> Vec<Instant> {
    let log = camera.log();
    let moves = log.iter().filter(|request| {
        let text = request.text();
        request.path().ends_with("/continuous")
            && request.header("authorization").is_some()
            && ["<pan>", "<tilt>"].iter().any(|axis| {
                text.split(axis)
                    .nth(1)
                    .is_some_and(|rest| !rest.starts_with("0<"))
            })
    });
    moves.map(|request| request.at).collect()
}

/// Milliseconds behind the timetable, whose origin is the least late waypoint's.
fn lateness(camera: &IsapiStandIn) -> Vec<f64> {
    let moves = moves(camera);
    let first = moves[0];
    let offsets: Vec<f64> = moves
        .iter()
        .take(LOOPS * STARTS.len())
        .enumerate()
        .map(|(k, at)| {
            let due = LOOP * (k / STARTS.len()) as u64 + STARTS[k % STARTS.len()];
            at.duration_since(first).as_secs_f64() * 1e3 - due as f64
        })
        .collect();
    let origin = offsets.iter().copied().fold(f64::INFINITY, f64::min);
    offsets.iter().map(|offset| offset - origin).collect()
}

/// A week of one tour in simulated time: every deadline is looked at up to 120 ms late, as a slow
/// camera and a busy machine would have it. What is left of that at the end is drift.
fn week() {
    let waypoints = [
        ("LEFT", 0, 3_000),
        ("STOP", 3_000, 2_000),
        ("RIGHT", 5_000, 2_001),
    ];
    let plan = Plan::check(&PatrolAsk {
        tour: Id::parse("tourId", "week").unwrap(),
        camera: Id::parse("cameraId", "cam").unwrap(),
        loop_count: None,
        waypoints: waypoints
            .into_iter()
            .map(|(action, start, duration)| WaypointAsk {
                action: action.to_owned(),
                duration: Some(duration),
                start_time: Some(start),
                ..WaypointAsk::default()
            })
            .collect(),
    })
    .unwrap();
    let length = plan.length();
    let begun = Instant::now();
    let mut now = begun;
    let mut patrol = Patrol::start(plan, now);
    let mut loops = 0u32;
    let mut late = Duration::ZERO;
    let took = Instant::now();
    while now < begun + Duration::from_secs(7 * 24 * 3_600) {
        while let Some(step) = patrol.poll(now) {
            if let Step::Event(event) = step
                && event.kind == PatrolEventKind::LoopEnd
            {
                loops += 1;
                late = now.duration_since(begun + length * loops);
            }
        }
        let lag = Duration::from_millis(u64::from(loops) * 37 % 121);
        now = patrol.deadline().unwrap() + lag;
    }
    println!(
        "| a week of one tour, simulated, {loops} loops, each deadline up to 120 ms late: behind the timetable at the end | {} ms | below one round trip |",
        late.as_millis()
    );
    println!(
        "| the same: time to compute it | {} ms | - |",
        took.elapsed().as_millis()
    );
}

fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len() - 1;
    sorted[(last as f64 * share).round() as usize]
}

/// User and system time in ticks of 10 ms.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
