//! What a camera command costs, in the real optimised binary against stand-in cameras on loopback:
//! `cargo bench --bench cameras`. Prints a table; the numbers in docs/performance.md are its.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]
#![allow(missing_docs)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::{Cursor, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use lss::domain::camera::Credentials;
use lss::infrastructure::http::camera_client::{CameraClient, Request, Resend};
use lss::infrastructure::http::doors::Doors;
use lss::infrastructure::http::login_client::{LoginClient, LoginRules};
use lss::util::secret::Secret;
use serde_json::{Value, json};
use support::ably::Standin;
use support::camera_http::{Fault, HttpServer, Site};
use support::daemon::{Daemon, Setup, wait_for};
use support::digest_server::GateRules;
use support::fit_camera::{Face, FitCamera, Lie};
use support::isapi_camera::{self, IsapiStandIn, Model};
use support::onvif_camera::{self, OnvifModel};
use support::rcs::Rcs;
use support::tls_camera::{BOTH, Kind, Plainly, Shown, TlsCamera};

const SOON: Duration = Duration::from_secs(20);
const FOREVER: usize = usize::MAX;

fn main() {
    println!("load at the beginning: {}\n", load());
    println!("| what | measured | target |\n|---|---|---|");
    bare_client();
    rest_to_isapi();
    rest_to_onvif();
    https();
    joystick();
    sixteen_cameras();
    memory_of_lanes();
    fit_plan();
    cloud();
    println!("\nload at the end: {}", load());
}

/// What a camera's encoder must change, of a camera that takes 30 ms for each answer.
fn fit_plan() {
    const LATENCY: Duration = Duration::from_millis(30);
    for (face, vendor, what) in [
        (Face::Isapi, "HIK", "ISAPI"),
        (Face::Media2, "AXIS", "ONVIF"),
    ] {
        let mut took = Vec::new();
        for n in 0..5 {
            // Each time a camera that nothing is known of yet.
            let (daemon, camera) = (daemon(""), FitCamera::start(face, Lie::None));
            camera.answers_after(LATENCY);
            let body = known(camera.addr(), vendor, &json!({}));
            let (at, text) = post(&daemon, &format!("/api/cameras/c{n}/fit"), &body);
            took.push(at.elapsed());
            assert!(text.starts_with("HTTP/1.1 200"), "{text}");
            assert!(text.contains("needs_change"), "{text}");
        }
        let (middle, last) = (median(&mut took), took[took.len() - 1]);
        row(
            &format!(
                "a fit's plan by {what} on a camera that answers in 30 ms, nothing known of it, median / max of 5"
            ),
            &format!("{:.0} / {:.0} ms", ms(middle), ms(last)),
            "< 1 s",
        );
    }
}

// ---- How long a command takes --------------------------------------------------------------------

/// The same requests by the login client alone: no lane, no REST. What is compared with.
fn bare_client() {
    let camera = dome();
    let rules = GateRules::default();
    let mut client = LoginClient::new(
        CameraClient::new(camera.addr, Duration::from_secs(3), Doors::default()),
        Some(Credentials::new(rules.user, Secret::new(rules.password)).unwrap()),
        LoginRules {
            allow_basic: false,
            is_definite: |_| false,
        },
    );
    let mut took = Vec::new();
    for n in 0..=500 {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><PTZData><pan>{}</pan><tilt>0</tilt><zoom>0</zoom></PTZData>",
            speed(n)
        );
        let request = Request {
            method: "PUT",
            target: "/ISAPI/PTZCtrl/channels/1/continuous",
            content_type: Some("application/xml"),
            soap_action: None,
            body: Some(body.as_bytes()),
            resend: Resend::WhenCrossed,
            max_reply: 100_000,
            secret: false,
        };
        let begin = Instant::now();
        let answer = client.send(&request, begin + SOON).unwrap();
        assert_eq!(answer.status, 200);
        took.push(begin.elapsed());
        std::thread::sleep(Duration::from_millis(10));
    }
    // The first brings the challenge.
    took.remove(0);
    row(
        "for comparison: the same PUT by a bare Digest client, whole round trip, p50 / p99 of 500",
        &spread(&mut took),
        "-",
    );
}

fn rest_to_isapi() {
    let (daemon, camera) = (daemon(""), dome());
    command(&daemon, "c", &known(camera.addr, "HIK", &stop()));
    let before = camera.with(|dome| dome.gate.strangers + dome.gate.stale);
    camera.take_lines();
    let (mut to_camera, mut whole) = timed(&daemon, &camera);
    row(
        "REST in to the request at an ISAPI camera, warm, p50 / p99 of 500",
        &spread(&mut to_camera),
        "p99 < 3 ms",
    );
    row(
        "REST in to REST answered, ISAPI, p50 / p99 of 500",
        &spread(&mut whole),
        "-",
    );
    let requests = camera.log().len();
    let challenges = camera.with(|dome| dome.gate.strangers + dome.gate.stale) - before;
    row(
        "requests and challenges for those 500 on ISAPI",
        &format!("{requests} and {challenges}"),
        "500 and 0",
    );
}

fn rest_to_onvif() {
    let daemon = daemon("");
    let camera = onvif_camera::start(GateRules::default(), OnvifModel::default());
    command(&daemon, "c", &known(camera.addr, "AXIS", &stop()));
    camera.take_lines();
    let (mut to_camera, _) = timed(&daemon, &camera);
    row(
        "REST in to the request at an ONVIF camera, warm, p50 / p99 of 500",
        &spread(&mut to_camera),
        "p99 < 3 ms",
    );
    row(
        "requests for those 500 on ONVIF",
        &camera.log().len().to_string(),
        "500",
    );
}

/// The same camera by HTTP and by HTTPS, turn by turn, each through the same proxy.
fn https() {
    let daemon = daemon("");
    let camera = dome();
    let shown = || Shown::new(Kind::Usual, BOTH);
    let plain = TlsCamera::start(camera.addr, shown(), Plainly::Passed);
    let secured = TlsCamera::start(camera.addr, shown(), Plainly::Close);
    let fronts = [("plain", plain.addr), ("tls", secured.addr)];
    for (name, at) in fronts {
        command(&daemon, name, &known(at, "HIK", &stop()));
        command(&daemon, name, &json!({ "action": "PAN_LEFT", "speed": 5 }));
    }
    let shaken = secured.handshakes();
    let mut took = [Vec::new(), Vec::new()];
    for n in 0..1000 {
        for ((name, _), took) in fronts.iter().zip(&mut took) {
            let body = json!({ "action": "PAN_LEFT", "speed": speed(n) });
            took.push(command(&daemon, name, &body).elapsed());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let opened = secured.handshakes() - shaken;
    let [plain, secured] = &mut took;
    let (http, https) = (spread(plain), spread(secured));
    let p99 = |sorted: &[Duration]| ms(sorted[sorted.len() * 99 / 100]);
    let ratio = p99(secured) / p99(plain);
    row(
        "REST in to REST answered through a proxy, by HTTP and by HTTPS on a kept connection, p50 / p99 of 1,000 each",
        &format!("{http} and {https}: p99 {ratio:.2} times, {opened} handshakes"),
        "p99 <= 1.5 times",
    );
}

/// 500 moves: how long each took to the camera, and to its answer.
fn timed<S: Site>(daemon: &Daemon, camera: &HttpServer<S>) -> (Vec<Duration>, Vec<Duration>) {
    // What the first move asks the camera besides is learnt once.
    command(daemon, "c", &json!({ "action": "PAN_LEFT", "speed": 5 }));
    camera.take_lines();
    let (mut sent, mut whole) = (Vec::new(), Vec::new());
    for n in 0..500 {
        let at = command(
            daemon,
            "c",
            &json!({ "action": "PAN_LEFT", "speed": speed(n) }),
        );
        whole.push(at.elapsed());
        sent.push(at);
        std::thread::sleep(Duration::from_millis(10));
    }
    let log = camera.log();
    assert_eq!(log.len(), sent.len(), "one request a command");
    let to_camera = log
        .iter()
        .zip(&sent)
        .map(|(request, sent)| request.at.saturating_duration_since(*sent))
        .collect();
    (to_camera, whole)
}

// ---- A joystick ----------------------------------------------------------------------------------

fn joystick() {
    const LATENCY: Duration = Duration::from_millis(30);
    let (daemon, camera) = (daemon(""), dome());
    command(&daemon, "c", &known(camera.addr, "HIK", &stop()));
    camera.fault("/ISAPI", Fault::LateAct(LATENCY), FOREVER);
    let mut stills = Vec::new();
    let mut requests = Vec::new();
    for _ in 0..5 {
        camera.take_lines();
        let next = AtomicU32::new(0);
        let begin = Instant::now();
        let stopped = std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if n >= 500 {
                            return;
                        }
                        pause_until(begin + Duration::from_millis(10) * n);
                        let body = json!({ "action": "PAN_LEFT", "speed": speed(n) });
                        command(&daemon, "c", &body);
                    }
                });
            }
            // The stop comes while the last moves are still on their way.
            pause_until(begin + Duration::from_secs(5));
            let at = command(&daemon, "c", &stop());
            (at, at.elapsed())
        });
        let (sent, answered) = stopped;
        // Until it has stood for a while: nothing comes after the stop.
        let mut last_moved = sent;
        wait_for("the camera to stand", SOON, || {
            if camera.moving() {
                last_moved = Instant::now();
            }
            (last_moved.elapsed() > Duration::from_secs(1)).then_some(())
        });
        // When the last stop was carried out: its request came, and the camera's latency later.
        let log = camera.log();
        let last = log.iter().rfind(|r| r.method == "PUT").unwrap();
        assert!(last.text().contains("<pan>0</pan>"));
        let first_stop = log
            .iter()
            .find(|r| r.at >= sent && r.text().contains("<pan>0</pan>"))
            .unwrap();
        let still = if last_moved > sent {
            last_moved
        } else {
            first_stop.at + LATENCY
        };
        stills.push(still.max(first_stop.at + LATENCY) - sent);
        requests.push(log.iter().filter(|r| r.method == "PUT").count());
        assert!(answered < Duration::from_secs(2), "{answered:?}");
    }
    stills.sort();
    requests.sort_unstable();
    row(
        "500 joystick commands in 5 s at a camera of 30 ms: requests that it saw, median of 5",
        &requests[2].to_string(),
        "-",
    );
    row(
        "… then a stop: to standstill, median / max of 5",
        &format!("{:.0} / {:.0} ms", ms(stills[2]), ms(stills[4])),
        "<= 80 ms",
    );
}

// ---- Many cameras --------------------------------------------------------------------------------

fn sixteen_cameras() {
    let daemon = daemon("");
    let cameras: Vec<IsapiStandIn> = (0..16).map(|_| dome()).collect();
    for (n, camera) in cameras.iter().enumerate() {
        command(&daemon, &name(n), &known(camera.addr, "HIK", &stop()));
    }
    let (good, bad) = cameras.split_at(12);
    let (mut calm, mut calm_whole) = steered(&daemon, good);
    for camera in bad {
        camera.fault("/ISAPI", Fault::Hang, FOREVER);
    }
    let over = AtomicBool::new(false);
    let (mut troubled, mut troubled_whole) = std::thread::scope(|scope| {
        for n in 12..16 {
            let (daemon, over) = (&daemon, &over);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    ask(daemon, &name(n), &json!({ "action": "PAN_LEFT" }));
                }
            });
        }
        // Until all of them hang.
        wait_for("the hanging ones to be asked", SOON, || {
            bad.iter().all(|c| c.log().len() > 2).then_some(())
        });
        let times = steered(&daemon, good);
        over.store(true, Ordering::Relaxed);
        for camera in bad {
            camera.clear_faults();
            camera.close_connections();
        }
        times
    });
    let calm_median = median(&mut calm);
    let troubled_median = median(&mut troubled);
    row(
        "12 cameras at 10 commands/s each, REST in to the camera, p50 / p99 of 1,200",
        &spread(&mut calm),
        "-",
    );
    row(
        "the same while 4 others hang",
        &spread(&mut troubled),
        "as without",
    );
    row(
        "… ratio of the medians",
        &format!(
            "{:.2}",
            troubled_median.as_secs_f64() / calm_median.as_secs_f64()
        ),
        "about 1",
    );
    row(
        "REST answered, p50 / p99: without and with the 4 that hang",
        &format!(
            "{}; {}",
            spread(&mut calm_whole),
            spread(&mut troubled_whole)
        ),
        "as without",
    );
}

/// A hundred moves to each: to the camera, and to the answer.
fn steered(daemon: &Daemon, cameras: &[IsapiStandIn]) -> (Vec<Duration>, Vec<Duration>) {
    let mut both = (Vec::new(), Vec::new());
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..cameras.len())
            .map(|n| {
                let camera = &cameras[n];
                scope.spawn(move || {
                    camera.take_lines();
                    let mut sent = Vec::new();
                    let mut whole = Vec::new();
                    for round in 0..100u32 {
                        let apart = Duration::from_millis(8) * n as u32;
                        pause_until(begin + Duration::from_millis(100) * round + apart);
                        let body = json!({ "action": "PAN_LEFT", "speed": speed(round) });
                        let at = command(daemon, &name(n), &body);
                        whole.push(at.elapsed());
                        sent.push(at);
                    }
                    let log = camera.log();
                    assert_eq!(log.len(), 100);
                    let to_camera: Vec<Duration> =
                        log.iter().zip(&sent).map(|(r, at)| r.at - *at).collect();
                    (to_camera, whole)
                })
            })
            .collect();
        for thread in all {
            let (to_camera, whole) = thread.join().unwrap();
            both.0.extend(to_camera);
            both.1.extend(whole);
        }
    });
    both
}

fn memory_of_lanes() {
    const MORE: usize = 32;
    let daemon = daemon("");
    let cameras: Vec<IsapiStandIn> = (0..=MORE).map(|_| dome()).collect();
    let use_lane = |n: usize| {
        let camera = &cameras[n];
        command(&daemon, &name(n), &known(camera.addr, "HIK", &stop()));
        command(
            &daemon,
            &name(n),
            &json!({ "action": "PAN_LEFT", "duration": 100 }),
        );
    };
    use_lane(0);
    let (rss, private) = (kb(daemon.pid(), "VmRSS:"), private_kb(daemon.pid()));
    for n in 1..=MORE {
        use_lane(n);
    }
    let grown = kb(daemon.pid(), "VmRSS:") - rss;
    let grown_private = private_kb(daemon.pid()) - private;
    row(
        "memory a lane that has moved (33 against 1): resident / private",
        &format!(
            "{:.0} / {:.0} KB",
            grown / MORE as f64,
            grown_private / MORE as f64
        ),
        "< 100 KB",
    );
    for n in 0..=MORE {
        let path = format!("/api/cameras/{}/presets", name(n));
        assert_eq!(daemon.request("GET", &path, None).0, 200);
    }
    let grown = kb(daemon.pid(), "VmRSS:") - rss;
    row(
        "… and has also been asked something (a second connection): resident",
        &format!("{:.0} KB", grown / MORE as f64),
        "-",
    );
}

// ---- Over the cloud's line -----------------------------------------------------------------------

fn cloud() {
    let ably = Standin::start();
    let rcs = Rcs::start();
    let mut setup = setup();
    setup.standalone = false;
    setup.more = format!(
        "rcs: {{ base_url: '{}' }}\nably: {{ api_key: 'app.key:secret', endpoint: '127.0.0.1', port: {}, tls: false, connectivity_check_url: 'http://{}/up' }}\n",
        rcs.base_url(),
        ably.address.port(),
        ably.address,
    );
    let daemon = Daemon::start(&setup);
    let node = daemon.node_id.clone();
    let commands = format!("lss:{node}:commands");
    ably.until("the command channel", |m| m.is_attached(&node, &commands));
    let send = |command: &str, payload: &Value| {
        let data = json!({ "command": command, "payload": payload }).to_string();
        let at = Instant::now();
        ably.publish(
            &commands,
            &json!({ "name": "command", "data": data, "encoding": "json" }),
        );
        at
    };
    let answered = |request: &str| {
        let status = format!("lss:{node}:status");
        ably.model(|model| {
            let log = &model.channels.get(&status)?.log;
            log.iter().rev().find_map(|(_, data)| {
                let value: Value = match data {
                    Value::String(text) => serde_json::from_str(text).ok()?,
                    other => other.clone(),
                };
                (value["requestId"] == request).then_some(value)
            })
        })
    };

    let camera = dome();
    let mut first = known(camera.addr, "HIK", &json!({ "action": "PAN_LEFT" }));
    (first["cameraId"], first["requestId"]) = (json!("c"), json!("first"));
    send("PTZ_CONTROL", &first);
    wait_for("the first move", SOON, || answered("first"));
    camera.take_lines();
    let mut moves = Vec::new();
    for n in 0..300 {
        let begin = Instant::now();
        let body = json!({ "cameraId": "c", "action": "PAN_LEFT", "speed": speed(n) });
        moves.push(send("PTZ_CONTROL", &body));
        pause_until(begin + Duration::from_millis(34));
    }
    wait_for("the last move", SOON, || {
        (camera.log().len() >= moves.len()).then_some(())
    });
    let log = camera.log();
    assert_eq!(log.len(), moves.len());
    let mut took: Vec<Duration> = log.iter().zip(&moves).map(|(r, at)| r.at - *at).collect();
    row(
        "a command over Ably to the request at an ISAPI camera, warm, p50 / p99 of 300",
        &spread(&mut took),
        "p99 < 3 ms",
    );

    let jpeg = picture();
    let size = jpeg.len();
    let camera = isapi_camera::start(
        GateRules::default(),
        Model {
            picture: jpeg,
            picture_size: false,
            ..Model::default()
        },
    );
    let mut body = known(camera.addr, "HIK", &json!({ "cameraId": "p" }));
    let mut took = Vec::new();
    let mut peak: f64 = 0.0;
    let mut last = Value::Null;
    for n in 0..7 {
        let request = format!("picture{n}");
        body["requestId"] = json!(request);
        // What was the peak so far is forgotten, so that this one's shows.
        std::fs::write(format!("/proc/{}/clear_refs", daemon.pid()), "5").unwrap();
        let before = kb(daemon.pid(), "VmRSS:");
        let at = send("CAMERA_SNAPSHOT", &body);
        last = wait_for("the picture", SOON, || answered(&request));
        took.push(at.elapsed());
        assert_eq!(last["success"], true, "{last}");
        peak = peak.max(kb(daemon.pid(), "VmHWM:") - before);
    }
    // The first opens the connection and finds the path.
    took.remove(0);
    took.sort();
    let data = &last["data"];
    row(
        &format!(
            "a 4 MP JPEG of {} KB as a message ({} x {}, {} KB): median / max of 6",
            size / 1024,
            data["width"],
            data["height"],
            data["bytes"].as_u64().unwrap() / 1024
        ),
        &format!("{:.0} / {:.0} ms", ms(took[3]), ms(took[5])),
        "< 150 ms",
    );
    row(
        "… memory at its peak, above what was there before",
        &format!("{:.1} MB", peak / 1024.0),
        "< 40 MB",
    );
}

/// 2560 x 1440 with fine detail, as a camera in a yard sees it.
fn picture() -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    let image = image::RgbImage::from_fn(2560, 1440, |x, y| {
        let wave = (f64::from(x) / 97.0).sin() * (f64::from(y) / 61.0).cos() * 80.0 + 120.0;
        let grain = random.i32(-14..=14);
        let value = |shift: i32| (wave as i32 + grain + shift).clamp(0, 255) as u8;
        image::Rgb([
            value(0),
            value((x % 40).cast_signed()),
            value((y % 25).cast_signed()),
        ])
    });
    let mut jpeg = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut Cursor::new(&mut jpeg), 85)
        .encode_image(&image)
        .unwrap();
    jpeg
}

// ---- Tools ---------------------------------------------------------------------------------------

fn setup() -> Setup {
    Setup {
        env: vec![("LSS_LOG".into(), "warn".into())],
        ..Setup::default()
    }
}

fn daemon(more: &str) -> Daemon {
    Daemon::start(&Setup {
        more: more.to_owned(),
        ..setup()
    })
}

fn dome() -> IsapiStandIn {
    isapi_camera::start(GateRules::default(), Model::default())
}

fn name(n: usize) -> String {
    format!("cam_{n}")
}

fn stop() -> Value {
    json!({ "action": "STOP" })
}

/// Never the same twice in a row.
fn speed(n: u32) -> u32 {
    10 + n % 50
}

fn known(addr: SocketAddr, vendor: &str, more: &Value) -> Value {
    let rules = GateRules::default();
    let mut body = json!({
        "ip": addr.ip().to_string(), "port": addr.port(),
        "username": rules.user, "password": rules.password, "vendorType": vendor,
    });
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

/// One command that must be obeyed; when it was sent.
fn command(daemon: &Daemon, camera: &str, body: &Value) -> Instant {
    let (at, text) = ask(daemon, camera, body);
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    at
}

/// One command; when it was sent (the connection stood by then), and the answer.
fn ask(daemon: &Daemon, camera: &str, body: &Value) -> (Instant, String) {
    post(daemon, &format!("/api/cameras/{camera}/ptz"), body)
}

fn post(daemon: &Daemon, path: &str, body: &Value) -> (Instant, String) {
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        daemon.addr,
        body.len()
    );
    let mut stream = TcpStream::connect(daemon.addr).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let at = Instant::now();
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    (at, text)
}

fn pause_until(at: Instant) {
    if let Some(left) = at.checked_duration_since(Instant::now()) {
        std::thread::sleep(left);
    }
}

fn row(what: &str, measured: &str, target: &str) {
    println!("| {what} | {measured} | {target} |");
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn spread(times: &mut [Duration]) -> String {
    times.sort();
    let last = times[times.len() * 99 / 100];
    format!("{:.2} / {:.2} ms", ms(times[times.len() / 2]), ms(last))
}

fn ms(d: Duration) -> f64 {
    d.as_secs_f64() * 1000.0
}

fn kb(pid: u32, key: &str) -> f64 {
    field(&format!("/proc/{pid}/status"), key)
}

fn private_kb(pid: u32) -> f64 {
    let path = format!("/proc/{pid}/smaps_rollup");
    field(&path, "Private_Dirty:") + field(&path, "Private_Clean:")
}

fn field(path: &str, key: &str) -> f64 {
    let text = std::fs::read_to_string(path).unwrap();
    let line = text.lines().find(|l| l.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn load() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default()
}
