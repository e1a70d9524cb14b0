//! Everything at once, with everything failing at random: streams, commands over the cloud's line
//! and over REST, movement, tours, sweeps, reloads; against stand-ins that cut, hang, refuse and
//! forget. At the end nothing is left of it: memory, threads, descriptors and children are where
//! they were, every command has been answered once, no camera moves.
//!
//! A minute by default. `LSS_SOAK_SECONDS=28800 cargo test --release --test soak` is a night;
//! `LSS_SOAK_SEED` repeats a run's choices.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

mod support;

use std::collections::HashMap;
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use support::camera_http::Fault;
use support::daemon::{Setup, children_of, start_body, wait_for};
use support::digest_server::GateRules;
use support::isapi_camera::{self, IsapiStandIn, Model};
use support::rcs::Mode;
use support::site::Site;

const CAMERAS: u8 = 6;
const TASKS: u32 = 6;
/// Behaviours of the stand-in for FFmpeg, good ones more often.
const BEHAVIOURS: [&str; 12] = [
    "ok",
    "ok",
    "ok",
    "need-two",
    "stall",
    "hang",
    "refused",
    "whip500",
    "zero",
    "flood",
    "mute",
    "only-kill",
];
/// Long enough for retries, ladders and a line that is found dead.
const SETTLES: Duration = Duration::from_secs(90);

/// What the process holds.
#[derive(Debug, Clone, Copy)]
struct Holds {
    resident: u64,
    threads: u64,
    files: u64,
}

fn holds(pid: u32) -> Holds {
    let usage = lss::infrastructure::process::usage(pid).unwrap();
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    Holds {
        resident: usage.resident_bytes,
        threads: usage.threads,
        files: files.count() as u64,
    }
}

struct Soak {
    site: Site,
    cameras: Vec<IsapiStandIn>,
    random: fastrand::Rng,
    /// Ids of requests over the cloud's line.
    asked: Vec<String>,
    /// Connections that say nothing.
    idle: Vec<TcpStream>,
}

impl Soak {
    fn request(&mut self, command: &str, mut payload: Value) {
        let id = format!("soak-{}", self.asked.len());
        payload["requestId"] = json!(id);
        self.site.send(command, payload);
        self.asked.push(id);
    }

    fn camera(&mut self) -> (usize, Value) {
        let n = self.random.usize(..self.cameras.len());
        let rules = GateRules::default();
        let at = self.cameras[n].addr;
        let payload = json!({
            "cameraId": format!("cam_{n}"), "ip": at.ip().to_string(), "port": at.port(),
            "username": rules.user, "password": rules.password, "vendorType": "HIKVISION",
        });
        (n, payload)
    }

    fn ptz(&mut self, over_rest: bool) {
        let (n, mut payload) = self.camera();
        let action = ["PAN_LEFT", "TILT_UP", "ZOOM_IN", "STOP", "STOP"][self.random.usize(..5)];
        payload["action"] = json!(action);
        payload["speed"] = json!(self.random.u8(1..=100));
        if over_rest {
            let path = format!("/api/cameras/cam_{n}/ptz");
            payload.as_object_mut().unwrap().remove("cameraId");
            // Not waited for: the answer of a camera that hangs comes late.
            let body = payload.to_string();
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            let mut stream = TcpStream::connect(self.site.daemon.addr).unwrap();
            std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
            self.idle.push(stream);
        } else {
            self.request("PTZ_CONTROL", payload);
        }
    }

    fn patrol(&mut self) {
        let (_, mut payload) = self.camera();
        payload["tourId"] = json!("tour");
        let command = [
            "PATROL_START",
            "PATROL_START",
            "PATROL_PAUSE",
            "PATROL_RESUME",
            "PATROL_STOP",
        ][self.random.usize(..5)];
        if command == "PATROL_START" {
            payload["waypoints"] = json!([
                { "action": "LEFT", "speed": 20, "duration": 300, "startTime": 0 },
                { "action": "RIGHT", "speed": 20, "duration": 700, "startTime": 500 },
            ]);
        }
        self.request(command, payload);
    }

    fn stream(&mut self) {
        let task = format!("task_{}", self.random.u32(..TASKS));
        if self.random.bool() {
            let mode = BEHAVIOURS[self.random.usize(..BEHAVIOURS.len())];
            self.request("START_STREAM", start_body(&task, mode));
        } else {
            let force = self.random.u8(..4) == 0;
            self.request("STOP_STREAM", json!({ "taskId": task, "force": force }));
        }
    }

    /// Something breaks.
    fn harm(&mut self) {
        let node = self.site.daemon.node_id.clone();
        match self.random.u8(..9) {
            0 => self.site.ably.cut(&node),
            1 => self.site.ably.model(|model| model.faults.lose_acks = 2),
            2 => self.site.ably.silence(&node),
            3 => self.site.rcs.set_all(&Mode::Status(503)),
            4 => self.site.rcs.set_all(&Mode::Ok),
            5 => {
                let n = self.random.usize(..self.cameras.len());
                let fault = [
                    Fault::Hang,
                    Fault::Reset,
                    Fault::ResetAfter,
                    Fault::HangAfter,
                ][self.random.usize(..4)]
                .clone();
                let times = self.random.usize(1..4);
                self.cameras[n].fault("/PTZCtrl", fault, times);
            }
            6 => {
                // Somebody kills a child.
                if let Some(pid) = children_of(&node).first() {
                    let pid = nix::unistd::Pid::from_raw(i32::try_from(*pid).unwrap());
                    let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
                }
            }
            7 => self.site.daemon.signal(Signal::SIGHUP),
            _ => {
                for _ in 0..5 {
                    self.idle
                        .extend(TcpStream::connect(self.site.daemon.addr).ok());
                }
            }
        }
    }

    fn step(&mut self) {
        match self.random.u8(..20) {
            0..6 => self.ptz(false),
            6..9 => self.ptz(true),
            9..12 => self.patrol(),
            12..17 => self.stream(),
            17 => self.request("QUERY_STATUS", json!({})),
            18 => {
                let (_, payload) = self.camera();
                self.request("CAMERA_CHECK", payload);
            }
            _ => self.harm(),
        }
        if self.idle.len() > 40 {
            self.idle.drain(..20);
        }
    }

    /// The harm ends, and everything is told to stop.
    fn calm(&mut self) {
        self.site.rcs.set_all(&Mode::Ok);
        self.site.ably.model(|model| model.faults.lose_acks = 0);
        for camera in &self.cameras {
            camera.clear_faults();
        }
        self.idle.clear();
        let node = self.site.daemon.node_id.clone();
        let commands = self.site.commands();
        self.site
            .ably
            .until("the line again", |m| m.is_attached(&node, &commands));
        for n in 0..self.cameras.len() {
            let name = json!({ "cameraId": format!("cam_{n}") });
            self.request("PATROL_STOP", name.clone());
            self.request("PTZ_STOP", name);
        }
        for n in 0..TASKS {
            self.request("STOP_STREAM", json!({ "taskId": format!("task_{n}") }));
        }
    }

    /// How often each request was answered.
    fn answers(&self) -> HashMap<String, usize> {
        let mut answers = HashMap::new();
        for result in self.site.told("COMMAND_RESULT") {
            if let Some(id) = result["requestId"].as_str() {
                *answers.entry(id.to_owned()).or_default() += 1;
            }
        }
        answers
    }

    fn settled(&self) {
        wait_for("every answer", SETTLES, || {
            let answers = self.answers();
            self.asked
                .iter()
                .all(|id| answers.contains_key(id))
                .then_some(())
        });
        wait_for("the end of every child", SETTLES, || {
            children_of(&self.site.daemon.node_id)
                .is_empty()
                .then_some(())
        });
        wait_for("every camera to stand", SETTLES, || {
            self.cameras.iter().all(|c| !c.moving()).then_some(())
        });
    }
}

#[test]
fn nothing_is_left_of_it() {
    let env = |name: &str| std::env::var(name).ok().and_then(|v| v.parse().ok());
    let seconds: u64 = env("LSS_SOAK_SECONDS").unwrap_or(60);
    let seed: u64 = env("LSS_SOAK_SEED").unwrap_or_else(|| fastrand::u64(..));
    eprintln!("soak: {seconds} s, LSS_SOAK_SEED={seed}");
    let site = Site::with(Setup {
        env: vec![("LSS_LOG".into(), "warn".into())],
        ..Setup::default()
    });
    let cameras = (1..=CAMERAS)
        .map(|n| {
            let ip = Ipv4Addr::new(127, 79, 0, n);
            isapi_camera::start_at(ip, GateRules::default(), Model::default())
        })
        .collect();
    let mut soak = Soak {
        site,
        cameras,
        random: fastrand::Rng::with_seed(seed),
        asked: Vec::new(),
        idle: Vec::new(),
    };
    // A little of everything first: what is made once is no leak.
    for n in 0..CAMERAS {
        let (_, mut payload) = {
            soak.random.seed(u64::from(n));
            soak.camera()
        };
        payload["action"] = json!("STOP");
        soak.request("PTZ_CONTROL", payload);
    }
    soak.random.seed(seed);
    let pace = Duration::from_millis(60);
    let run = |soak: &mut Soak, time: Duration| {
        let until = Instant::now() + time;
        while Instant::now() < until {
            soak.step();
            std::thread::park_timeout(pace);
        }
        soak.calm();
        soak.settled();
    };
    run(&mut soak, Duration::from_secs(seconds.min(15)));
    let pid = soak.site.daemon.pid();
    let before = holds(pid);
    run(&mut soak, Duration::from_secs(seconds));

    for (id, times) in soak.answers() {
        assert_eq!(times, 1, "{id} was answered {times} times");
    }
    // Wires that hung end by their own time-outs, caches fill: a moment, and a margin.
    let slack = |now: Holds| {
        now.threads <= before.threads + 4
            && now.files <= before.files + 16
            && now.resident <= before.resident + 8_000_000
    };
    let mut now = holds(pid);
    let until = Instant::now() + SETTLES;
    while !slack(now) && Instant::now() < until {
        std::thread::park_timeout(Duration::from_millis(200));
        now = holds(pid);
    }
    eprintln!("soak: {} commands, {before:?} -> {now:?}", soak.asked.len());
    assert!(slack(now), "{before:?} -> {now:?}");
    let figures = support::daemon::raw_request(
        soak.site.daemon.addr,
        b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
    );
    let panics: Vec<&str> = figures.1.lines().collect();
    let panics = panics.iter().filter(|l| l.starts_with("lss_panics_total{"));
    let none: Vec<bool> = panics.map(|line| line.ends_with(" 0")).collect();
    assert!(
        !none.is_empty() && none.iter().all(|none| *none),
        "{}",
        figures.1
    );
    let secret = GateRules::default().password;
    assert!(!soak.site.daemon.log().contains(&secret));
    assert!(soak.site.daemon.stop().success());
    assert!(soak.cameras.iter().all(|camera| !camera.moving()));
}
