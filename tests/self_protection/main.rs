//! What lss keeps to when everybody around it means harm, in the real binary on loopback: its
//! budgets of descriptors, threads and memory, its files (an empty lock), its way without what it is used
//! to (descriptors, a place to write).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr
)] // Helpers of tests fail their test by panicking.

mod attack;
mod descriptors;
mod files;
mod hostile;
mod read_only;
#[path = "../support/mod.rs"]
mod support;

use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use hostile::{Hostile, Manner};
use serde_json::{Value, json};
use support::daemon::{Daemon, Setup, raw_bytes, start_body, wait_for};
use support::site::Site;

/// What the REST port may cost beyond the idle process (docs/security.md, "Budgets"): 64 clients,
/// each with the client's own descriptor and three behind the gate, and a margin for what a new
/// server behind the gate takes.
const FILES_OF_STRANGERS: u64 = 64 * 4 + 16;
/// A thread of the HTTP server for each of the 64.
const THREADS_OF_STRANGERS: u64 = 64;
/// Requests and answers of all clients (16 MiB), stacks and what the allocator keeps.
const BYTES_OF_STRANGERS: u64 = 32 << 20;
/// A camera that is spoken to: two workers, one for a stop, a lookup; their connections.
const OF_A_CAMERA: u64 = 4;
/// The longest answer that is taken from a camera, on two wires at once.
const BYTES_OF_A_CAMERA: u64 = 2 * (8 << 20);
/// The sweep's thread, two that ask, their sockets; connections of one sweep.
const OF_A_SWEEP: u64 = 4;
const FILES_OF_A_SWEEP: u64 = 256;

/// The process with its cloud, and one stream: everything, not only what comes on top.
const WITH_A_CLOUD: Holds = Holds {
    files: 64,
    threads: 48,
    resident: 48 << 20,
};

const TOKEN: &str = "attack-token-canary";
const SOON: Duration = Duration::from_secs(20);

/// What the process holds.
#[derive(Debug, Clone, Copy, Default)]
struct Holds {
    files: u64,
    threads: u64,
    resident: u64,
}

impl Holds {
    fn of(pid: u32) -> Self {
        let usage = lss::infrastructure::process::usage(pid).unwrap();
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        Self {
            files: files.count() as u64,
            threads: usage.threads,
            resident: usage.resident_bytes,
        }
    }

    fn most(self, other: Self) -> Self {
        Self {
            files: self.files.max(other.files),
            threads: self.threads.max(other.threads),
            resident: self.resident.max(other.resident),
        }
    }

    fn is_within(self, most: Self) -> bool {
        self.files <= most.files && self.threads <= most.threads && self.resident <= most.resident
    }
}

/// Looks at a process as long as it lives; its most.
struct Watch<'a> {
    pid: u32,
    peak: &'a Mutex<Holds>,
    over: &'a AtomicBool,
}

impl Watch<'_> {
    fn look(&self) {
        while !self.over.load(Ordering::SeqCst) {
            let now = Holds::of(self.pid);
            let mut peak = self.peak.lock().unwrap();
            *peak = peak.most(now);
            drop(peak);
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

/// One request with the token; status and body. `None` where there was no answer at all.
fn asked(addr: SocketAddr, method: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
    let text = body.to_string();
    let raw = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    );
    let mut stream = TcpStream::connect(addr).ok()?;
    std::io::Write::write_all(&mut stream, raw.as_bytes()).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .ok()?;
    let mut answer = Vec::new();
    let _ = std::io::Read::read_to_end(&mut stream, &mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let body = answer.split_once("\r\n\r\n")?.1;
    Some((status, serde_json::from_str(body).unwrap_or(Value::Null)))
}

/// The same of one who is not the attacker: asks again where it was turned away.
fn answered(addr: SocketAddr, method: &str, path: &str, body: &Value) -> (u16, Value) {
    wait_for(&format!("{method} {path}"), SOON, || {
        asked(addr, method, path, body).filter(|(status, answer)| {
            // No place in the queue, as a client of flesh would see it: later.
            !(*status == 503 && answer["code"] == 30302)
        })
    })
}

fn is_alive(addr: SocketAddr) -> bool {
    let raw = b"GET /livez HTTP/1.1\r\nHost: whoever\r\nConnection: close\r\n\r\n";
    let answer = std::panic::catch_unwind(|| raw_bytes(addr, raw)).unwrap_or_default();
    answer.starts_with(b"HTTP/1.1 200 ")
}

/// Asks for health until the attack is over; how often it answered, and how long it took at most.
fn health(addr: SocketAddr, over: &AtomicBool) -> (usize, Duration) {
    let (mut answers, mut longest) = (0, Duration::ZERO);
    while !over.load(Ordering::SeqCst) {
        let asked = Instant::now();
        wait_for("health under attack", SOON, || is_alive(addr).then_some(()));
        longest = longest.max(asked.elapsed());
        answers += 1;
        std::thread::park_timeout(Duration::from_millis(50));
    }
    (answers, longest)
}

fn at(camera: SocketAddr, more: &Value) -> Value {
    let mut body = json!({
        "ip": camera.ip().to_string(), "port": camera.port(),
        "username": "admin", "password": "camera-canary-1",
    });
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

fn quiet() -> Vec<(String, String)> {
    [
        ("LSS_LOG", "warn"),
        // What is freed goes back at once, as with the allocator of the packaged binary: what
        // stays is held.
        ("MALLOC_ARENA_MAX", "1"),
        ("MALLOC_MMAP_THRESHOLD_", "131072"),
        ("MALLOC_TRIM_THRESHOLD_", "131072"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

fn site(server: &str) -> Site {
    Site::with(Setup {
        server: format!("  api_token: '{TOKEN}'\n{server}"),
        env: quiet(),
        ..Setup::default()
    })
}

#[test]
fn strangers_cost_no_more_than_their_budget() {
    let site = site("");
    let daemon = &site.daemon;
    let addr = daemon.addr;
    assert_eq!(
        answered(
            addr,
            "POST",
            "/api/stream/start",
            &start_body("flooded", "flood")
        )
        .0,
        200
    );
    // What is made once is no leak.
    answered(addr, "GET", "/api/cameras", &json!({}));
    let before = Holds::of(daemon.pid());
    let (peak, over) = (Mutex::new(before), AtomicBool::new(false));
    let let_in = AtomicUsize::new(0);
    let strangers = || {
        let_in.fetch_add(attack::strangers(addr, 200), Ordering::SeqCst);
    };
    let (answers, longest) = std::thread::scope(|scope| {
        let watch = Watch {
            pid: daemon.pid(),
            peak: &peak,
            over: &over,
        };
        scope.spawn(move || watch.look());
        let health = scope.spawn(|| health(addr, &over));
        let attackers = [
            scope.spawn(move || drop(attack::silent(addr, 500))),
            scope.spawn(move || attack::slow(addr, 100)),
            scope.spawn(move || attack::oversized(addr, 2)),
            scope.spawn(move || attack::oversized(addr, 2)),
            scope.spawn(move || attack::pipelined(addr, 20, TOKEN)),
            scope.spawn(strangers),
            scope.spawn(strangers),
        ];
        let ends: Vec<_> = attackers.into_iter().map(ScopedJoinHandle::join).collect();
        over.store(true, Ordering::SeqCst);
        assert!(ends.iter().all(Result::is_ok));
        health.join().unwrap()
    });
    let peak = *peak.lock().unwrap();
    eprintln!("idle {before:?}, attacked {peak:?}; health {answers} times, {longest:?} at most");
    assert_eq!(let_in.into_inner(), 0, "strangers were let in");
    let budget = Holds {
        files: before.files + FILES_OF_STRANGERS,
        threads: before.threads + THREADS_OF_STRANGERS,
        resident: before.resident + BYTES_OF_STRANGERS,
    };
    assert!(peak.is_within(budget), "{peak:?}, and not {budget:?}");
    as_before(daemon, before, 0);
    // Nothing else was disturbed.
    let (status, answer) = answered(addr, "GET", "/api/stream/task/flooded", &json!({}));
    assert_eq!(
        (status, &answer["data"]["status"]),
        (200, &json!("STREAMING"))
    );
    assert_eq!(answer["data"]["retryCount"], 0);
    site.ably.assert_clean();
}

/// Waits until the process holds what it held, but for workers of cameras' lanes, which stay as
/// long as those, and what the allocator keeps.
fn as_before(daemon: &Daemon, before: Holds, workers: u64) {
    let allowed = Holds {
        files: before.files + 4,
        threads: before.threads + 2 + workers,
        resident: before.resident + (16 << 20),
    };
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let now = Holds::of(daemon.pid());
        if now.is_within(allowed) {
            eprintln!("afterwards {now:?}");
            return;
        }
        assert!(Instant::now() < until, "{before:?} has become {now:?}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

#[test]
fn hostile_cameras_cost_no_more_than_their_budget() {
    let site = site("");
    let daemon = &site.daemon;
    let addr = daemon.addr;
    let third = Hostile::start(Manner::Mute);
    let manners = [
        Manner::EndlessBody,
        Manner::EndlessChunks,
        Manner::EndlessHead,
        Manner::EndlessLine,
        Manner::EndlessInterim,
        Manner::XmlBomb,
        Manner::RtspFlood,
        Manner::Redirect(third.addr),
    ];
    // Each at an address of its own: the guard of logins goes by that.
    let cameras: Vec<Hostile> = (1..)
        .zip(manners)
        .map(|(n, manner)| Hostile::start_on(([127, 67, 0, n], 0).into(), manner).unwrap())
        .collect();
    // And such as a sweep comes upon; where these ports are not ours to take, there are none.
    let swept: Vec<Hostile> = [
        ([127, 66, 0, 1], 554, Manner::RtspFlood),
        ([127, 66, 0, 1], 80, Manner::EndlessBody),
        ([127, 66, 0, 2], 8000, Manner::EndlessHead),
        ([127, 66, 0, 2], 8554, Manner::RtspFlood),
        ([127, 66, 0, 2], 80, Manner::Redirect(third.addr)),
    ]
    .into_iter()
    .filter_map(|(ip, port, manner)| Hostile::start_on(SocketAddr::from((ip, port)), manner).ok())
    .collect();
    let requests = |camera: &Hostile, n: usize| {
        let vendor = [json!("HIKVISION"), json!("ONVIF"), Value::Null];
        let body = at(
            camera.addr,
            &json!({ "vendorType": vendor[n % 3], "action": "PAN_LEFT", "duration": 100 }),
        );
        let (method, path) = [
            ("POST", "/api/cameras/hostile/ptz"),
            ("POST", "/api/cameras/probe"),
            ("GET", "/api/cameras/hostile/presets"),
            ("GET", "/api/cameras/hostile/snapshot.jpg"),
        ][n % 4];
        (method, path, body)
    };
    // Lanes stay for a while: they are there before anything is measured.
    std::thread::scope(|scope| {
        for camera in &cameras {
            let body = at(camera.addr, &json!({ "vendorType": "ONVIF" }));
            let path = "/api/cameras/hostile/presets";
            scope.spawn(move || asked(addr, "GET", path, &body));
        }
    });
    let before = Holds::of(daemon.pid());
    let (peak, over) = (Mutex::new(before), AtomicBool::new(false));
    let trusting = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let watch = Watch {
            pid: daemon.pid(),
            peak: &peak,
            over: &over,
        };
        scope.spawn(move || watch.look());
        let health = scope.spawn(|| health(addr, &over));
        let mut callers = Vec::new();
        for (n, camera) in cameras.iter().enumerate() {
            for m in 0..6 {
                let (trusting, requests) = (&trusting, &requests);
                callers.push(scope.spawn(move || {
                    let (method, path, body) = requests(camera, n + m);
                    // A movement is done where the camera answers 200, whatever it says beside that
                    // (or superseded, because its id leads elsewhere by now). What a camera tells
                    // is another matter.
                    let believed =
                        |(status, _): (u16, Value)| status == 200 && !path.ends_with("/ptz");
                    if asked(addr, method, path, &body).is_some_and(believed) {
                        trusting.fetch_add(1, Ordering::SeqCst);
                    }
                }));
            }
        }
        for _ in 0..8 {
            callers.push(scope.spawn(move || {
                let body = json!({ "subnet": "127.66.0.0/30" });
                asked(addr, "POST", "/api/cameras/scan", &body);
            }));
        }
        let ends: Vec<_> = callers.into_iter().map(ScopedJoinHandle::join).collect();
        over.store(true, Ordering::SeqCst);
        assert!(ends.iter().all(Result::is_ok));
        assert!(health.join().unwrap().0 > 0);
    });
    let peak = *peak.lock().unwrap();
    eprintln!("idle {before:?}, attacked {peak:?}");
    for camera in cameras.iter().chain(&swept) {
        assert!(camera.connections() > 0, "{} was not asked", camera.addr);
    }
    assert_eq!(third.connections(), 0, "somebody else was called");
    assert_eq!(trusting.into_inner(), 0, "one of them was believed");
    let count = (cameras.len() + swept.len()) as u64;
    let budget = Holds {
        files: before.files + FILES_OF_STRANGERS + count * OF_A_CAMERA + FILES_OF_A_SWEEP,
        threads: before.threads + THREADS_OF_STRANGERS + count * OF_A_CAMERA + OF_A_SWEEP,
        resident: before.resident + BYTES_OF_STRANGERS + count * BYTES_OF_A_CAMERA,
    };
    assert!(peak.is_within(budget), "{peak:?}, and not {budget:?}");
    // The worker for movements, beside that for questions.
    as_before(daemon, before, cameras.len() as u64);
}

/// RCS, the clock of Ably and where its tokens come from, all of them hostile in the same manner.
#[test]
fn a_hostile_cloud_costs_little_and_leads_nowhere() {
    let third = Hostile::start(Manner::Mute);
    let manners = [
        Manner::EndlessBody,
        Manner::EndlessChunks,
        Manner::EndlessHead,
        Manner::EndlessLine,
        Manner::EndlessInterim,
        Manner::Redirect(third.addr),
    ];
    std::thread::scope(|scope| {
        for manner in manners {
            let third = third.addr;
            scope.spawn(move || hostile_cloud(&manner, third));
        }
    });
    assert_eq!(third.connections(), 0, "somebody else was called");
}

fn hostile_cloud(manner: &Manner, third: SocketAddr) {
    let rcs = Hostile::start(manner.clone());
    let tokens = Hostile::start(manner.clone());
    let setup = Setup {
        standalone: false,
        more: format!(
            "rcs: {{ base_url: 'http://{}/', token: 'rcs-token-canary' }}\n\
             ably: {{ auth_url: 'http://{}/token', endpoint: '127.0.0.1', port: {}, tls: false, connectivity_check_url: 'http://{}/up' }}\n",
            rcs.addr,
            tokens.addr,
            tokens.addr.port(),
            tokens.addr,
        ),
        env: quiet(),
        ..Setup::default()
    };
    let mut daemon = Daemon::start(&setup);
    let mut peak = Holds::default();
    // Registered for, refused, and come again; the stream is a callback's matter.
    assert_eq!(daemon.start_task("t", "ok").0, 200);
    wait_for("calls again and again", Duration::from_secs(25), || {
        peak = peak.most(Holds::of(daemon.pid()));
        (rcs.connections() > 1 && tokens.connections() > 0).then_some(())
    });
    daemon.wait_status("t", "STREAMING");
    eprintln!("{manner:?}: {peak:?}");
    assert!(peak.is_within(WITH_A_CLOUD), "{manner:?}: {peak:?}");
    let (status, answer) = daemon.request("GET", "/readyz", None);
    assert_eq!(status, 503, "{manner:?}: {answer}");
    assert!(!daemon.log().contains("rcs-token-canary"));
    assert!(!daemon.log().contains(&third.to_string()) || matches!(manner, Manner::Redirect(_)));
    assert!(daemon.stop().success());
}
