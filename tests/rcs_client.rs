//! RCS (contract 10) over real sockets, against a stand-in that misbehaves on demand. The pauses
//! are those of the daemon, only shorter; nothing here sleeps to be in step.

// Helpers fail the test that calls them; clippy.toml's leave reaches into test functions only.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use lss::application::health::HealthBoard;
use lss::application::node::{ActiveTasks, NodeRegistry};
use lss::domain::error::{ErrorCode, Fault};
use lss::domain::gateway::{HealthSink, NodeSource, TaskObserver, Uplink};
use lss::domain::health::{Part, PartStatus};
use lss::domain::node::{Camera, LssNode, NodeIdentity};
use lss::domain::stream::{
    AudioConfig, Id, InputType, MediaUrl, RetryLimit, Source, StopReason, StreamSpec, StreamStatus,
    StreamTask, TaskEvent, TaskEventKind, TaskMode, TaskSender, VideoConfig,
};
use lss::infrastructure::http::tls::TrustStore;
use lss::infrastructure::rcs::backoff::Pace;
use lss::infrastructure::rcs::schedule::Rhythm;
use lss::infrastructure::rcs::{Facts, RcsCallbacks, RcsClient, RcsHeartbeat, RcsSettings};
use lss::infrastructure::system::LinuxSystem;
use lss::util::secret::Secret;
use lss::util::time::Now;
use support::certs::TestCa;
use support::logs;
use support::rcs::{Door, Mode, Rcs, Request};

/// Patience with a busy machine.
const SOON: Duration = Duration::from_secs(20);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn soon() -> Instant {
    Instant::now() + SOON
}

const QUICK: Pace = Pace {
    first: Duration::from_millis(10),
    longest: Duration::from_millis(80),
};

fn settings(base_url: String) -> RcsSettings {
    RcsSettings {
        base_url,
        token: None,
        connect_timeout: ms(2_000),
        read_timeout: ms(2_000),
        public_ip_url: None,
    }
}

fn client(settings: RcsSettings) -> Arc<RcsClient> {
    Arc::new(RcsClient::new(settings, &Arc::new(TrustStore::new(None))))
}

fn rhythm(interval: Duration) -> Rhythm {
    Rhythm {
        interval,
        pace: QUICK,
        again: ms(300),
    }
}

fn camera() -> Camera {
    Camera {
        ip: "192.168.0.64".to_owned(),
        port: 554,
        onvif: true,
        rtsp_url: "rtsp://192.168.0.64:554/Streaming/Channels/101".to_owned(),
        vendor: Some("HIKVISION".to_owned()),
        model: "DS-2CD2T45FWD".to_owned(),
        online: true,
        last_seen: SystemTime::now(),
    }
}

/// A node with its heartbeat thread.
struct Node {
    registry: Arc<NodeRegistry>,
    board: Arc<HealthBoard>,
    active: Arc<ActiveTasks>,
}

impl Node {
    fn new() -> Self {
        let identity = NodeIdentity {
            node_id: "lss-machine_007".to_owned(),
            node_name: "LSS-Node-1".to_owned(),
            machine_id: "machine_007".to_owned(),
            node_port: 10060,
            max_tasks: 4,
            ffmpeg_path: "/usr/local/ffmpeg-whip/bin/ffmpeg".into(),
        };
        let probe = LinuxSystem::new(Some("192.168.0.100".parse().unwrap()));
        let active = Arc::new(ActiveTasks::default());
        Self {
            registry: Arc::new(NodeRegistry::new(identity, Arc::new(probe), active.clone())),
            board: Arc::new(HealthBoard::new(SystemTime::now())),
            active,
        }
    }

    fn beat(&self, client: &Arc<RcsClient>, interval: Duration) -> RcsHeartbeat {
        RcsHeartbeat::start(
            client.clone(),
            self.registry.clone(),
            self.board.clone(),
            rhythm(interval),
            Facts::KNOWN,
        )
        .unwrap()
    }

    /// Waits until RCS's health is `status` and its reason holds `words`.
    fn wait_health(&self, status: PartStatus, words: &str) -> String {
        let deadline = soon();
        loop {
            let health = self.board.get(Part::Rcs).unwrap();
            if health.status == status && health.reason.contains(words) {
                return health.reason;
            }
            assert!(
                Instant::now() < deadline,
                "waited for {status:?} {words:?}, it is {health:?}"
            );
            std::thread::sleep(ms(2));
        }
    }
}

fn event(task: &str, kind: TaskEventKind, playback: &str, error: Option<Fault>) -> TaskEvent {
    let status = match kind {
        TaskEventKind::Started => StreamStatus::Streaming,
        TaskEventKind::StatusUpdate => StreamStatus::Reconnecting,
        TaskEventKind::Stopped => StreamStatus::Stopped,
        TaskEventKind::Error => StreamStatus::Error,
    };
    let now = SystemTime::now();
    let url = |field, text| MediaUrl::parse(field, text).unwrap();
    TaskEvent {
        kind,
        at: now,
        task: StreamTask {
            spec: StreamSpec {
                task_id: Id::parse("taskId", task).unwrap(),
                camera_id: None,
                input: InputType::Rtsp,
                source: Source::Network(url("sourceUrl", "rtsp://a:source-canary-1@10.0.0.9/x")),
                looped: false,
                whip_url: url("whipUrl", "https://whip.example/4f1c/whip-canary-2"),
                playback_url: Some(playback.to_owned()),
                video: VideoConfig::default(),
                audio: AudioConfig::default(),
                ffmpeg_command: None,
                max_retries: None,
            },
            status,
            process_id: (kind == TaskEventKind::Started).then_some(4711),
            error,
            retry_count: 2,
            max_retries: RetryLimit::Times(3),
            created_at: now,
            started_at: Some(now),
            stopped_at: None,
            last_heartbeat: None,
            mode: TaskMode::Transcode,
            sender: TaskSender::Ffmpeg,
            mode_reason: String::new(),
            audio: lss::domain::stream::TaskAudio::Encoded,
            progress: None,
            exit_history: Vec::new(),
            stop_reason: (kind == TaskEventKind::Stopped).then_some(StopReason::Command),
            tally: lss::domain::stream::Tally::default(),
        },
    }
}

/// A change numbered by its playback URL.
fn change(task: &str, kind: TaskEventKind, n: usize) -> TaskEvent {
    let error = (kind == TaskEventKind::Error)
        .then(|| Fault::new(ErrorCode::FfmpegCrash, "FFmpeg ended with code 1"));
    event(task, kind, &format!("https://play.example/{n}"), error)
}

fn update(task: &str, n: usize) -> TaskEvent {
    change(task, TaskEventKind::StatusUpdate, n)
}

fn number(request: &Request) -> usize {
    let url = request.text("hlsPlaybackUrl");
    url.rsplit_once('/').unwrap().1.parse().unwrap()
}

fn callbacks(client: &Arc<RcsClient>, limit: usize) -> RcsCallbacks {
    RcsCallbacks::start(client.clone(), "lss-machine_007".to_owned(), limit, QUICK).unwrap()
}

/// Waits until RCS has everything. (A flush would end the pauses.)
fn wait_sent(out: &RcsCallbacks) {
    let deadline = soon();
    while out.waiting() > 0 {
        assert!(Instant::now() < deadline, "{} are left", out.waiting());
        std::thread::sleep(ms(2));
    }
}

/// The numbers of a task's callbacks that RCS took, in the order in which they came.
fn taken(requests: &[Request], task: &str) -> Vec<usize> {
    requests
        .iter()
        .filter(|r| r.door == Door::Callback && r.taken() && r.text("taskId") == task)
        .map(number)
        .collect()
}

// ---- registration and heartbeats

#[test]
fn registers_and_beats_at_a_steady_pace_on_one_connection() {
    let rcs = Rcs::start();
    let node = Node::new();
    node.registry.set_cameras(vec![camera()]);
    node.registry.set_engine("9.0-whip");
    node.active
        .set(vec![("task_001".to_owned(), SystemTime::now())]);
    let client = client(settings(rcs.base_url()));
    let heartbeat = node.beat(&client, ms(50));
    rcs.wait_nth(Door::Heartbeat, 8);
    node.wait_health(PartStatus::Up, "");
    assert!(heartbeat.is_registered());

    let requests = rcs.requests();
    let first = &requests[0];
    assert_eq!(first.door, Door::Register);
    assert_eq!(first.authorization, None);
    assert_eq!(first.body["maxTasks"], 4);
    assert_eq!(first.body["nodeIp"], "192.168.0.100");
    assert_eq!(first.body["systemInfo"]["ffmpegVersion"], "9.0-whip");
    assert_eq!(first.body["cameras"][0]["onvif"], true);
    assert!(first.body["publicIp"].is_null());
    let beats = rcs.at(Door::Heartbeat);
    assert_eq!(requests.len(), beats.len() + 1, "one registration");
    assert_eq!(beats[0].text("status"), "ONLINE");
    assert_eq!(beats[0].body["activeTaskCount"], 1);
    assert_eq!(beats[0].body["cameras"][0]["online"], true);
    assert!(beats[0].body["cpuUsage"].is_number());
    assert!(requests.iter().all(|r| r.connection == 0));
    let span = beats[7].at - beats[0].at;
    assert!(span >= ms(6 * 50), "8 beats within {span:?}");
    let picture = node.registry.node(Now::read());
    assert!(picture.registered_at.is_some() && picture.last_heartbeat.is_some());
}

#[test]
fn registration_is_tried_until_rcs_takes_it() {
    let rcs = Rcs::start();
    let faults = [
        Mode::Hangup,
        Mode::Reset,
        Mode::Status(500),
        Mode::Html,
        Mode::Redirect,
        Mode::Code(50001),
        Mode::Answer(200, "[]".to_owned()),
        Mode::Huge(70_000),
        Mode::Status(404),
        Mode::Status(400),
    ];
    let turn = Mutex::new(faults.clone().into_iter());
    rcs.script(move |_| turn.lock().unwrap().next());
    let node = Node::new();
    let client = client(settings(rcs.base_url()));
    let _heartbeat = node.beat(&client, ms(20));
    rcs.wait_nth(Door::Heartbeat, 2);
    let tries = rcs.at(Door::Register);
    let modes: Vec<Mode> = tries.iter().map(|r| r.mode.clone()).collect();
    assert_eq!(modes[..faults.len()], faults);
    assert!(modes[faults.len()..].iter().all(|m| *m == Mode::Ok));
    assert_eq!(modes.len(), faults.len() + 1);
    for pair in tries.windows(2) {
        assert!(pair[1].at - pair[0].at >= QUICK.first, "no pause");
    }
    node.wait_health(PartStatus::Up, "");
}

#[test]
fn an_rcs_that_is_not_there_yet_is_waited_for() {
    let mut rcs = Rcs::start();
    rcs.close();
    let node = Node::new();
    let client = client(settings(rcs.base_url()));
    let _heartbeat = node.beat(&client, ms(20));
    let reason = node.wait_health(PartStatus::Down, "connection refused");
    assert!(reason.contains("127.0.0.1"), "{reason}");
    assert!(client.uplink().is_down());
    rcs.reopen();
    rcs.wait_nth(Door::Heartbeat, 1);
    node.wait_health(PartStatus::Up, "");
    assert!(!client.uplink().is_down());
}

#[test]
fn failing_heartbeats_are_told_and_mend_themselves() {
    let rcs = Rcs::start();
    let node = Node::new();
    let mut settings = settings(rcs.base_url());
    settings.read_timeout = ms(200);
    let client = client(settings);
    let _heartbeat = node.beat(&client, ms(20));
    rcs.wait_nth(Door::Heartbeat, 1);
    for (mode, words, link_down) in [
        (Mode::Status(500), "HTTP 500", false),
        (Mode::Code(50001), "code 50001", false),
        (Mode::Status(401), "rcs.token", false),
        (Mode::Html, "is not RCS", true),
        (Mode::Redirect, "a redirect", true),
        (Mode::Huge(70_000), "longer than 65536 bytes", true),
        (Mode::Silence, "within 200ms (rcs.read_timeout)", true),
        (Mode::DripHead, "within 200ms (rcs.read_timeout)", true),
        (Mode::DripBody, "did not end within 200ms", true),
        (Mode::Hangup, "closed the connection", true),
        (Mode::Reset, "closed the connection", true),
    ] {
        rcs.set(Door::Heartbeat, mode.clone());
        let reason = node.wait_health(PartStatus::Down, words);
        assert!(reason.starts_with("heartbeat failed: "), "{reason}");
        assert_eq!(client.uplink().is_down(), link_down, "{mode:?}");
        rcs.set(Door::Heartbeat, Mode::Ok);
        node.wait_health(PartStatus::Up, "");
    }
    assert_eq!(rcs.at(Door::Register).len(), 1, "none of these is a reason");
}

#[test]
fn an_answer_that_drips_is_cut_off_in_time() {
    let rcs = Rcs::start();
    rcs.set_all(&Mode::DripBody);
    let node = Node::new();
    let mut settings = settings(rcs.base_url());
    settings.connect_timeout = ms(300);
    settings.read_timeout = ms(300);
    let client = client(settings);
    let _heartbeat = node.beat(&client, ms(20));
    let first = rcs.wait_nth(Door::Register, 1);
    let second = rcs.wait_nth(Door::Register, 2);
    let pause = second.at - first.at;
    assert!(pause >= ms(300), "{pause:?}");
    assert!(pause < ms(300) + ms(2_000), "{pause:?}");
}

#[test]
fn an_rcs_that_has_forgotten_the_node_gets_a_registration() {
    let rcs = Rcs::start();
    let node = Node::new();
    let client = client(settings(rcs.base_url()));
    let _heartbeat = node.beat(&client, ms(20));
    rcs.wait_nth(Door::Heartbeat, 2);
    rcs.forget_nodes();
    rcs.wait_nth(Door::Register, 2);
    let beats = rcs.at(Door::Heartbeat).len();
    rcs.wait_nth(Door::Heartbeat, beats + 2);
    node.wait_health(PartStatus::Up, "");
}

#[test]
fn registrations_that_rcs_asks_for_keep_their_distance() {
    let rcs = Rcs::start();
    rcs.set(Door::Heartbeat, Mode::Code(30303));
    let node = Node::new();
    let client = client(settings(rcs.base_url()));
    let _heartbeat = node.beat(&client, ms(20));
    rcs.wait_nth(Door::Register, 4);
    for pair in rcs.at(Door::Register).windows(2) {
        assert!(pair[1].at - pair[0].at >= ms(295), "too often");
    }
    // It goes on beating meanwhile: RCS may come to its senses.
    assert!(rcs.at(Door::Heartbeat).len() > 12);
    node.wait_health(PartStatus::Down, "30303");
}

/// Notes every word of ill health.
struct Complaints(Mutex<Vec<String>>);
impl HealthSink for Complaints {
    fn report(&self, _: Part, status: PartStatus, reason: &str, _: SystemTime) {
        if status == PartStatus::Down {
            self.0.lock().unwrap().push(reason.to_owned());
        }
    }
}

#[test]
fn an_idle_connection_that_rcs_closes_is_no_failure() {
    // Closed right after the answer, and closed just when the next request arrives.
    let after: fn(&Request) -> Mode = |_| Mode::OkThenClose;
    let before: fn(&Request) -> Mode = {
        static USED: Mutex<Vec<u64>> = Mutex::new(Vec::new());
        |request| {
            let mut used = USED.lock().unwrap();
            if used.contains(&request.connection) {
                Mode::Hangup
            } else {
                used.push(request.connection);
                Mode::Ok
            }
        }
    };
    for how in [after, before] {
        let rcs = Rcs::start();
        rcs.script(move |request| Some(how(request)));
        let node = Node::new();
        let complaints = Arc::new(Complaints(Mutex::default()));
        let _heartbeat = RcsHeartbeat::start(
            client(settings(rcs.base_url())),
            node.registry.clone(),
            complaints.clone(),
            rhythm(ms(5)),
            Facts::KNOWN,
        )
        .unwrap();
        rcs.wait_nth(Door::Heartbeat, 40);
        assert_eq!(*complaints.0.lock().unwrap(), ["not registered yet"]);
    }
}

#[test]
fn the_registration_waits_for_scan_and_engine_but_not_for_ever() {
    let start = |node: &Node, rcs: &Rcs, patience| {
        let awaited = Facts {
            cameras: true,
            engine: true,
            patience,
        };
        RcsHeartbeat::start(
            client(settings(rcs.base_url())),
            node.registry.clone(),
            node.board.clone(),
            rhythm(ms(20)),
            awaited,
        )
        .unwrap()
    };
    let (rcs, node) = (Rcs::start(), Node::new());
    let heartbeat = start(&node, &rcs, 10 * SOON);
    node.registry.set_cameras(vec![camera()]);
    heartbeat.first_scan_done();
    assert!(rcs.requests().is_empty());
    node.registry.set_engine("9.0-whip");
    heartbeat.engine_known();
    let first = rcs.wait_nth(Door::Register, 1);
    assert_eq!(first.body["cameras"].as_array().unwrap().len(), 1);
    assert_eq!(first.body["systemInfo"]["ffmpegVersion"], "9.0-whip");

    let (rcs, node, began) = (Rcs::start(), Node::new(), Instant::now());
    let _heartbeat = start(&node, &rcs, ms(100));
    let first = rcs.wait_nth(Door::Register, 1);
    assert!(first.at - began >= ms(100));
}

#[test]
fn what_has_changed_is_registered_again_at_a_distance() {
    let rcs = Rcs::start();
    let node = Node::new();
    node.registry.set_engine("none: there is no FFmpeg");
    let client = client(settings(rcs.base_url()));
    let heartbeat = node.beat(&client, ms(20));
    rcs.wait_nth(Door::Heartbeat, 3);
    node.registry.set_engine("9.0-whip");
    node.registry.set_max_tasks(7);
    let second = rcs.wait_nth(Door::Register, 2);
    assert_eq!(second.body["systemInfo"]["ffmpegVersion"], "9.0-whip");
    assert_eq!(second.body["maxTasks"], 7);
    // Refused: RCS still knows us, beats go on, and it is told again.
    rcs.set(Door::Register, Mode::Status(500));
    node.registry.set_cameras(vec![camera()]);
    rcs.wait_nth(Door::Register, 3);
    assert!(heartbeat.is_registered());
    let beats = rcs.at(Door::Heartbeat).len();
    rcs.wait_nth(Door::Heartbeat, beats + 2);
    rcs.set(Door::Register, Mode::Ok);
    rcs.wait_for("the camera", SOON, |requests| {
        let told = requests.iter().filter(|r| r.door == Door::Register);
        let mut told = told.filter(|r| r.taken());
        told.any(|r| r.body["cameras"].as_array().is_some_and(|c| c.len() == 1))
    });
    let registrations = rcs.at(Door::Register);
    for pair in registrations.windows(2) {
        assert!(pair[1].at - pair[0].at >= ms(295), "too often");
    }
    // What changes by itself is no news.
    let beats = rcs.at(Door::Heartbeat).len();
    rcs.wait_nth(Door::Heartbeat, beats + 40);
    assert_eq!(rcs.at(Door::Register).len(), registrations.len());
}

#[test]
fn every_shape_in_which_an_rcs_says_yes() {
    for yes in [
        "",
        r#"{"code":"0","message":"success"}"#,
        r#"{"code":200,"msg":"ok","data":null}"#,
        r#"{"code":"200"}"#,
        r#"{"code":0.0}"#,
    ] {
        let rcs = Rcs::start();
        for door in Door::ALL {
            rcs.set(door, Mode::OkAs(yes));
        }
        let node = Node::new();
        let client = client(settings(rcs.base_url()));
        let _heartbeat = node.beat(&client, ms(20));
        let out = callbacks(&client, 10);
        out.observer().task_changed(&update("t", 0));
        rcs.wait_nth(Door::Heartbeat, 3);
        wait_sent(&out);
        node.wait_health(PartStatus::Up, "");
        assert_eq!(rcs.at(Door::Register).len(), 1, "{yes}");
        assert_eq!(rcs.at(Door::Callback).len(), 1, "{yes}");
    }
    // And one in which it says no: the number in quotes.
    let rcs = Rcs::start();
    let node = Node::new();
    let client = client(settings(rcs.base_url()));
    let _heartbeat = node.beat(&client, ms(20));
    rcs.wait_nth(Door::Heartbeat, 1);
    let stranger = r#"{"code":"30303","message":"who are you"}"#.to_owned();
    rcs.set(Door::Heartbeat, Mode::Answer(200, stranger));
    rcs.wait_nth(Door::Register, 2);
}

#[test]
fn an_rcs_that_has_moved_on_its_host_is_followed_once() {
    for status in [301, 302, 307, 308] {
        let rcs = Rcs::start();
        rcs.set_token(Some("tok-moved"));
        let absolute = format!("{}/lss/heartbeat?moved", rcs.base_url());
        rcs.script(move |request| {
            let moved = request.path.ends_with("?moved");
            (!moved).then(|| match request.door {
                Door::Heartbeat => Mode::Moved(status, absolute.clone()),
                _ => Mode::Moved(status, format!("{}?moved", request.path)),
            })
        });
        let node = Node::new();
        let mut settings = settings(rcs.base_url());
        settings.token = Some(Secret::new("tok-moved"));
        let client = client(settings);
        let _heartbeat = node.beat(&client, ms(20));
        // As a POST, with its body and its token: the stand-in would complain.
        rcs.wait_nth(Door::Heartbeat, 4);
        node.wait_health(PartStatus::Up, "");
        let registrations = rcs.at(Door::Register);
        assert_eq!(registrations.len(), 2, "{status}");
        assert!(registrations[1].taken());
        assert_eq!(registrations[0].body, registrations[1].body);
    }
    // In a circle, and elsewhere: told, not followed.
    let rcs = Rcs::start();
    let elsewhere = Rcs::start();
    let there = format!("{}/lss/register", elsewhere.base_url());
    for to in ["/lss/register".to_owned(), there] {
        rcs.set(Door::Register, Mode::Moved(302, to));
        let node = Node::new();
        let _heartbeat = node.beat(&client(settings(rcs.base_url())), ms(20));
        node.wait_health(PartStatus::Down, "a redirect");
    }
    assert!(elsewhere.requests().is_empty());
}

#[test]
fn the_public_address_is_asked_for_once_a_registration() {
    let rcs = Rcs::start();
    rcs.set_ip("<html>not an address</html>");
    rcs.set(Door::Register, Mode::Status(500));
    let node = Node::new();
    let mut settings = settings(rcs.base_url());
    settings.public_ip_url = Some(rcs.ip_url());
    settings.token = Some(Secret::new("tok-public-ip"));
    rcs.set_token(Some("tok-public-ip"));
    let client = client(settings);
    let _heartbeat = node.beat(&client, ms(20));
    let first = rcs.wait_nth(Door::Register, 1);
    assert!(first.body["publicIp"].is_null());
    rcs.set_ip("203.0.113.9\n");
    rcs.wait_for("a registration with the address", SOON, |requests| {
        requests.iter().any(|r| r.text("publicIp") == "203.0.113.9")
    });
    let asked = rcs.at(Door::Ip).len();
    let tried = rcs.at(Door::Register).len();
    rcs.wait_nth(Door::Register, tried + 2);
    assert_eq!(rcs.at(Door::Ip).len(), asked, "known: not asked for again");
    rcs.set(Door::Register, Mode::Ok);
    rcs.wait_nth(Door::Heartbeat, 1);
    // The next registration asks afresh.
    rcs.set_ip("203.0.113.10");
    rcs.forget_nodes();
    rcs.wait_for("a registration with the new address", SOON, |requests| {
        requests
            .iter()
            .any(|r| r.text("publicIp") == "203.0.113.10")
    });
    assert_eq!(rcs.at(Door::Ip).len(), asked + 1);
}

#[test]
fn the_last_heartbeat_says_offline() {
    let rcs = Rcs::start();
    let node = Node::new();
    let client = client(settings(rcs.base_url()));
    let heartbeat = node.beat(&client, ms(20));
    rcs.wait_nth(Door::Heartbeat, 2);
    // While streams end, beats go on; OFFLINE comes behind the callbacks of their end.
    node.registry.set_stopping();
    let before = rcs.at(Door::Heartbeat).len();
    rcs.wait_nth(Door::Heartbeat, before + 3);
    assert!(heartbeat.stop(soon()));
    let requests = rcs.requests();
    let last = requests.last().unwrap();
    assert_eq!(
        (last.door, last.text("status")),
        (Door::Heartbeat, "OFFLINE")
    );
    let offline = requests.iter().filter(|r| r.text("status") == "OFFLINE");
    assert_eq!(offline.count(), 1);
}

#[test]
fn a_stop_waits_for_no_silent_rcs() {
    let rcs = Rcs::start();
    let node = Node::new();
    let mut slow = settings(rcs.base_url());
    slow.read_timeout = 10 * SOON;
    let client = client(slow);
    let heartbeat = node.beat(&client, ms(20));
    rcs.wait_nth(Door::Heartbeat, 1);
    rcs.set_all(&Mode::Silence);
    rcs.wait_for("a heartbeat that hangs", SOON, |requests| {
        requests.last().unwrap().mode == Mode::Silence
    });
    let began = Instant::now();
    assert!(!heartbeat.stop(began + ms(200)));
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    // It had tried all the same.
    let last = rcs.requests().pop().unwrap();
    assert_eq!(last.text("status"), "OFFLINE");
}

#[test]
fn who_was_never_registered_takes_no_leave() {
    let rcs = Rcs::start();
    rcs.set_all(&Mode::Status(500));
    let node = Node::new();
    let client = client(settings(rcs.base_url()));
    let heartbeat = node.beat(&client, ms(20));
    rcs.wait_nth(Door::Register, 2);
    assert!(heartbeat.stop(soon()));
    assert!(rcs.at(Door::Heartbeat).is_empty());
}

/// Panics at its `n`th look.
struct Moody {
    node: Arc<NodeRegistry>,
    looks: Mutex<u32>,
}

impl NodeSource for Moody {
    fn node(&self, now: Now) -> LssNode {
        let look = {
            let mut looks = self.looks.lock().unwrap();
            *looks += 1;
            *looks
        };
        assert!(look != 3, "a bug, provoked by this test");
        self.node.node(now)
    }
    fn registered(&self, at: SystemTime) {
        self.node.registered(at);
    }
    fn heartbeat_taken(&self, at: SystemTime) {
        self.node.heartbeat_taken(at);
    }
    fn public_ip_found(&self, ip: IpAddr) {
        self.node.public_ip_found(ip);
    }
}

#[test]
fn a_panic_ends_no_heartbeat_for_good() {
    logs::capture();
    let rcs = Rcs::start();
    let node = Node::new();
    let moody = Arc::new(Moody {
        node: node.registry.clone(),
        looks: Mutex::new(0),
    });
    let _heartbeat = RcsHeartbeat::start(
        client(settings(rcs.base_url())),
        moody,
        node.board.clone(),
        rhythm(ms(20)),
        Facts::KNOWN,
    )
    .unwrap();
    logs::wait_for(&["ERROR", "rcs-heartbeat", "provoked by this test"]);
    rcs.wait_nth(Door::Heartbeat, 3);
    node.wait_health(PartStatus::Up, "");
    assert_eq!(rcs.at(Door::Register).len(), 1, "the schedule goes on");
}

#[test]
fn stuck_threads_are_seen_and_replaced() {
    let rcs = Rcs::start();
    rcs.set_all(&Mode::Silence);
    let node = Node::new();
    let mut slow = settings(rcs.base_url());
    slow.read_timeout = Duration::from_secs(600);
    let client = client(slow);
    let heartbeat = node.beat(&client, ms(20));
    let out = callbacks(&client, 10);
    out.observer().task_changed(&update("t", 0));
    rcs.wait_nth(Door::Register, 1);
    rcs.wait_nth(Door::Callback, 1);
    let now = Instant::now();
    assert!(!heartbeat.is_stuck(now) && !out.is_stuck(now));
    let much_later = now + Duration::from_secs(7_200);
    assert!(heartbeat.is_stuck(much_later) && out.is_stuck(much_later));

    rcs.set_all(&Mode::Ok);
    heartbeat.replace().unwrap();
    out.replace().unwrap();
    rcs.wait_nth(Door::Heartbeat, 2);
    assert_eq!(rcs.wait_nth(Door::Callback, 2).text("taskId"), "t");
    assert!(!heartbeat.is_stuck(now) && !out.is_stuck(now));
    // What the old threads still bring home counts for nothing.
    client.interrupt();
    let beats = rcs.at(Door::Heartbeat).len();
    rcs.wait_nth(Door::Heartbeat, beats + 3);
    node.wait_health(PartStatus::Up, "");
    assert_eq!(out.stop(soon()), 0);
    assert_eq!(taken(&rcs.requests(), "t"), [0]);
}

// ---- callbacks

#[test]
fn a_callback_tells_all_of_the_contract() {
    let rcs = Rcs::start();
    let client = client(settings(rcs.base_url()));
    let out = callbacks(&client, 10);
    let observer = out.observer();
    observer.task_changed(&change("t1", TaskEventKind::Started, 1));
    observer.task_changed(&change("t1", TaskEventKind::StatusUpdate, 2));
    observer.task_changed(&change("t1", TaskEventKind::Error, 3));
    observer.task_changed(&change("t2", TaskEventKind::Stopped, 4));
    assert_eq!(out.flush(soon()), 0);
    let got = rcs.at(Door::Callback);
    let started = &got[0].body;
    assert_eq!(started["nodeId"], "lss-machine_007");
    assert_eq!(started["callbackType"], "STARTED");
    assert_eq!(started["status"], "STREAMING");
    assert_eq!(started["processId"], 4711);
    assert_eq!(started["hlsPlaybackUrl"], "https://play.example/1");
    assert_eq!(started["retryCount"], 2);
    assert!(started["errorMessage"].is_null() && started["reason"].is_null());
    assert_eq!(got[2].body["errorCode"], 40103);
    assert_eq!(got[2].body["errorMessage"], "FFmpeg ended with code 1");
    assert_eq!(got[3].body["reason"], "COMMAND");
    let order: Vec<usize> = got.iter().map(number).collect();
    assert_eq!(order, [1, 2, 3, 4]);
}

#[test]
fn callbacks_survive_an_outage_in_order() {
    let mut rcs = Rcs::start();
    let client = client(settings(rcs.base_url()));
    let out = callbacks(&client, 1_000);
    let observer = out.observer();
    observer.task_changed(&change("a", TaskEventKind::Started, 0));
    wait_sent(&out);
    rcs.close();
    for n in 1..60 {
        let task = ["a", "b", "c"][n % 3];
        observer.task_changed(&update(task, n));
    }
    assert_eq!(out.waiting(), 59);
    rcs.reopen();
    // Back, but with every kind of hiccup, for one request in two.
    let hiccups = Mutex::new((
        0,
        [Mode::Hangup, Mode::Reset, Mode::Status(503), Mode::Html],
    ));
    rcs.script(move |_| {
        let mut hiccups = hiccups.lock().unwrap();
        hiccups.0 += 1;
        (hiccups.0 & 1 == 0).then(|| hiccups.1[hiccups.0 / 2 % 4].clone())
    });
    rcs.wait_for("everything", 3 * SOON, |requests| {
        requests.iter().filter(|r| r.taken()).count() >= 60
    });
    let requests = rcs.requests();
    for (at, task) in ["a", "b", "c"].iter().enumerate() {
        let expected: Vec<usize> = (0..60).filter(|n| n % 3 == at).collect();
        assert_eq!(taken(&requests, task), expected, "task {task}");
    }
    assert_eq!(out.stop(soon()), 0);
}

#[test]
fn pushing_never_waits_for_rcs() {
    let rcs = Rcs::start();
    rcs.set_all(&Mode::Silence);
    let mut slow = settings(rcs.base_url());
    slow.read_timeout = 10 * SOON;
    let client = client(slow);
    let out = callbacks(&client, 100);
    let observer = out.observer();
    observer.task_changed(&update("t", 0));
    rcs.wait_nth(Door::Callback, 1);
    let began = Instant::now();
    for n in 0..2_000 {
        observer.task_changed(&update(&format!("t{}", n % 500), n));
    }
    let took = began.elapsed();
    assert!(took < SOON / 2, "{took:?} for 2000 changes");
    assert_eq!(out.waiting(), 101, "the bound, and the one on its way");
}

#[test]
fn with_no_room_updates_go_first_and_it_is_said() {
    logs::capture();
    let mut rcs = Rcs::start();
    let client = client(settings(rcs.base_url()));
    rcs.close();
    let out = callbacks(&client, 4);
    let observer = out.observer();
    // The first may be on its way already, so it is one of no account.
    for n in 0..8 {
        observer.task_changed(&update("room", n));
    }
    observer.task_changed(&change("room", TaskEventKind::Started, 100));
    observer.task_changed(&change("room", TaskEventKind::Stopped, 101));
    observer.task_changed(&change("room2", TaskEventKind::Error, 102));
    rcs.reopen();
    rcs.wait_for("the error of room2", SOON, |r| {
        !taken(r, "room2").is_empty()
    });
    assert_eq!(out.flush(soon()), 0);
    let got = taken(&rcs.requests(), "room");
    assert!(got.len() <= 4, "{got:?}");
    assert!(got.ends_with(&[100, 101]), "{got:?}");
    logs::wait_for(&["WARN", "no room", "task=room"]);
    logs::wait_for(&["WARN", "some had been dropped for want of room"]);
}

#[test]
fn a_callback_refused_for_good_is_dropped_with_a_line() {
    logs::capture();
    let rcs = Rcs::start();
    rcs.script(|request| {
        (request.text("taskId") == "refused-1" && number(request) == 0)
            .then(|| Mode::Answer(422, r#"{"code":20003,"message":"bad status"}"#.to_owned()))
    });
    let client = client(settings(rcs.base_url()));
    let out = callbacks(&client, 10);
    let observer = out.observer();
    for n in 0..3 {
        observer.task_changed(&update("refused-1", n));
    }
    assert_eq!(out.flush(soon()), 0);
    assert_eq!(taken(&rcs.requests(), "refused-1"), [1, 2]);
    assert_eq!(rcs.at(Door::Callback).len(), 3, "not tried again");
    let line = logs::wait_for(&["WARN", "dropped", "task=refused-1"]);
    assert!(
        line.contains("code=40403") && line.contains("bad status"),
        "{line}"
    );
}

#[test]
fn a_callback_that_rcs_chokes_on_holds_up_no_other_task() {
    for mode in [
        Mode::Status(500),
        Mode::Status(404),
        Mode::Code(30001),
        Mode::Silence,
        Mode::Status(403),
    ] {
        let rcs = Rcs::start();
        let choke = mode.clone();
        rcs.script(move |r| (r.text("taskId") == "poison").then(|| choke.clone()));
        let mut settings = settings(rcs.base_url());
        settings.read_timeout = ms(100);
        let client = client(settings);
        let out = callbacks(&client, 100);
        let observer = out.observer();
        observer.task_changed(&change("poison", TaskEventKind::Started, 0));
        observer.task_changed(&change("poison", TaskEventKind::Stopped, 1));
        for n in 2..12 {
            observer.task_changed(&update("sound", n));
        }
        let requests = rcs.wait_for("the sound task", SOON, |r| taken(r, "sound").len() == 10);
        assert_eq!(taken(&requests, "sound"), (2..12).collect::<Vec<_>>());
        assert!(out.waiting() >= 2, "{mode:?}: nothing of the other is lost");
        rcs.unscript();
        rcs.wait_for("the other one", SOON, |r| taken(r, "poison") == [0, 1]);
    }
}

#[test]
fn eight_poisoned_tasks_cost_a_healthy_one_nothing() {
    for mode in [Mode::Code(30001), Mode::Status(500), Mode::Status(403)] {
        let rcs = Rcs::start();
        let choke = mode.clone();
        rcs.script(move |r| {
            let poisoned = r.text("taskId").starts_with("poison");
            poisoned.then(|| choke.clone())
        });
        let node = Node::new();
        let client = client(settings(rcs.base_url()));
        // Pauses that no test could wait for.
        let long = Pace {
            first: ms(20),
            longest: 20 * SOON,
        };
        let out =
            RcsCallbacks::start(client.clone(), "lss-machine_007".to_owned(), 20, long).unwrap();
        let _heartbeat = node.beat(&client, ms(20));
        rcs.wait_nth(Door::Heartbeat, 1);
        let observer = out.observer();
        for n in 0..8 {
            let task = format!("poison-{n}");
            observer.task_changed(&change(&task, TaskEventKind::Started, n));
            observer.task_changed(&change(&task, TaskEventKind::Stopped, n));
        }
        rcs.wait_for("three tries of each", SOON, |requests| {
            (0..8).all(|n| {
                let task = format!("poison-{n}");
                let tries = requests.iter().filter(|r| r.text("taskId") == task);
                tries.count() >= 3
            })
        });
        for n in 0..20 {
            let task = format!("sound-{n}");
            let before = rcs.at(Door::Callback).len();
            observer.task_changed(&change(&task, TaskEventKind::Started, n));
            rcs.wait_for("STARTED", SOON, |r| taken(r, &task) == [n]);
            // One may have been on its way, and one have begun before ours was there.
            let all = rcs.at(Door::Callback);
            let at = all.iter().position(|r| r.text("taskId") == task).unwrap();
            assert!(at <= before + 2, "{mode:?}: {at} after {before}");
        }
        // Nor in the last hurry.
        observer.task_changed(&change("sound-0", TaskEventKind::Stopped, 100));
        observer.task_changed(&change("sound-1", TaskEventKind::Stopped, 101));
        assert!(out.stop(Instant::now() + ms(500)) >= 16);
        let requests = rcs.requests();
        assert_eq!(taken(&requests, "sound-0"), [0, 100], "{mode:?}");
        assert_eq!(taken(&requests, "sound-1"), [1, 101], "{mode:?}");
    }
}

#[test]
fn a_poisoned_try_that_hangs_does_not_use_up_the_last_seconds() {
    let rcs = Rcs::start();
    rcs.script(|r| (r.text("taskId") == "hangs").then_some(Mode::Silence));
    let node = Node::new();
    let mut slow = settings(rcs.base_url());
    slow.read_timeout = 10 * SOON;
    let client = client(slow);
    let out = callbacks(&client, 20);
    let _heartbeat = node.beat(&client, ms(20));
    rcs.wait_nth(Door::Heartbeat, 1);
    let observer = out.observer();
    observer.task_changed(&change("hangs", TaskEventKind::Started, 0));
    rcs.wait_nth(Door::Callback, 1);
    // It has failed once before it hangs again.
    client.interrupt();
    rcs.wait_nth(Door::Callback, 2);
    observer.task_changed(&change("sound", TaskEventKind::Stopped, 1));
    assert_eq!(out.stop(Instant::now() + ms(3_000)), 1);
    assert_eq!(taken(&rcs.requests(), "sound"), [1]);
}

#[test]
fn callbacks_of_a_task_that_rcs_has_deleted_are_dropped() {
    let rcs = Rcs::start();
    rcs.script(|r| {
        let body = r#"{"code":"30101","message":"task not found"}"#;
        (r.text("taskId") == "deleted").then(|| Mode::Answer(200, body.to_owned()))
    });
    let client = client(settings(rcs.base_url()));
    let out = callbacks(&client, 10);
    let observer = out.observer();
    observer.task_changed(&change("deleted", TaskEventKind::Started, 0));
    observer.task_changed(&change("deleted", TaskEventKind::Stopped, 1));
    observer.task_changed(&change("sound", TaskEventKind::Started, 2));
    wait_sent(&out);
    assert_eq!(rcs.at(Door::Callback).len(), 3, "each once");
    assert_eq!(taken(&rcs.requests(), "sound"), [2]);
    let lost = out.observer().lost();
    assert_eq!((lost.refused, lost.expired, lost.no_room), (2, 0, 0));
}

#[test]
fn a_flush_ends_in_time_whatever_rcs_does() {
    // Not there, silent, failing: the callback is left over, the daemon ends.
    for mode in [None, Some(Mode::Silence), Some(Mode::Status(500))] {
        let mut rcs = Rcs::start();
        match &mode {
            Some(mode) => rcs.set_all(mode),
            None => rcs.close(),
        }
        let mut slow = settings(rcs.base_url());
        slow.read_timeout = 10 * SOON;
        let out = callbacks(&client(slow), 10);
        out.observer()
            .task_changed(&change("t", TaskEventKind::Stopped, 0));
        let began = Instant::now();
        assert_eq!(out.stop(began + ms(300)), 1, "{mode:?}");
        let took = began.elapsed();
        assert!(took >= ms(300) && took < SOON, "{mode:?}: {took:?}");
    }
}

#[test]
fn a_flush_cuts_the_pauses_short() {
    let mut rcs = Rcs::start();
    rcs.close();
    let client = client(settings(rcs.base_url()));
    let long = Pace {
        first: 20 * SOON,
        longest: 20 * SOON,
    };
    let out = RcsCallbacks::start(client.clone(), "lss-machine_007".to_owned(), 10, long).unwrap();
    out.observer()
        .task_changed(&change("t", TaskEventKind::Stopped, 0));
    let deadline = soon();
    while !client.uplink().is_down() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(ms(2));
    }
    rcs.reopen();
    assert_eq!(out.stop(soon()), 0);
    assert_eq!(taken(&rcs.requests(), "t"), [0]);
}

// ---- login and TLS

#[test]
fn the_token_opens_every_door_and_can_be_changed() {
    let rcs = Rcs::start();
    rcs.set_token(Some("tok-first-1"));
    let node = Node::new();
    let mut settings = settings(rcs.base_url());
    settings.token = Some(Secret::new("tok-first-1"));
    let client = client(settings);
    let _heartbeat = node.beat(&client, ms(20));
    let out = callbacks(&client, 10);
    let observer = out.observer();
    observer.task_changed(&update("t", 0));
    rcs.wait_for("the callback", SOON, |r| taken(r, "t") == [0]);
    rcs.wait_nth(Door::Heartbeat, 1);

    rcs.set_token(Some("tok-second-2"));
    let reason = node.wait_health(PartStatus::Down, "rcs.token");
    assert!(!reason.contains("tok-"), "{reason}");
    assert!(!client.uplink().is_down(), "RCS is there, it only says no");
    observer.task_changed(&update("t", 1));
    client.set_token(Some(Secret::new("tok-second-2")));
    node.wait_health(PartStatus::Up, "");
    rcs.wait_for("the kept callback", SOON, |r| taken(r, "t") == [0, 1]);
}

#[test]
fn tls_with_a_ca_of_ones_own() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, other) = (TestCa::new("ours"), TestCa::new("other"));
    let (our_file, other_file) = (dir.path().join("ours.pem"), dir.path().join("other.pem"));
    ours.write(&our_file);
    other.write(&other_file);
    let with_ca = |rcs: &Rcs, file: Option<&std::path::PathBuf>| {
        let trust = Arc::new(TrustStore::new(file.cloned()));
        Arc::new(RcsClient::new(settings(rcs.base_url()), &trust))
    };

    let rcs = Rcs::start_tls(ours.server(&["127.0.0.1"]));
    let node = Node::new();
    let heartbeat = node.beat(&with_ca(&rcs, Some(&our_file)), ms(20));
    rcs.wait_nth(Door::Heartbeat, 3);
    node.wait_health(PartStatus::Up, "");
    assert!(
        rcs.requests().iter().all(|r| r.connection == 0),
        "one handshake"
    );
    assert!(heartbeat.stop(soon()));
    let heard = rcs.requests().len();

    for file in [None, Some(&other_file)] {
        let node = Node::new();
        let client = with_ca(&rcs, file);
        let _heartbeat = node.beat(&client, ms(20));
        let reason = node.wait_health(PartStatus::Down, "rcs.ca_file");
        assert!(reason.contains("not signed by an authority"), "{reason}");
        assert!(client.uplink().is_down());
    }
    let missing = dir.path().join("missing.pem");
    let node = Node::new();
    let _heartbeat = node.beat(&with_ca(&rcs, Some(&missing)), ms(20));
    node.wait_health(PartStatus::Down, "missing.pem");
    assert_eq!(
        rcs.requests().len(),
        heard,
        "nothing was sent to a stranger"
    );

    let rcs = Rcs::start_tls(ours.server(&["rcs.example"]));
    let node = Node::new();
    let _heartbeat = node.beat(&with_ca(&rcs, Some(&our_file)), ms(20));
    node.wait_health(PartStatus::Down, "is for another name");
    assert!(rcs.requests().is_empty());
}

#[test]
fn plain_http_on_a_tls_port_and_the_reverse_are_told() {
    let ca = TestCa::new("ours");
    let tls = Rcs::start_tls(ca.server(&["127.0.0.1"]));
    let node = Node::new();
    let url = tls.base_url().replace("https:", "http:");
    let _heartbeat = node.beat(&client(settings(url)), ms(20));
    node.wait_health(PartStatus::Down, "registration failed");
    tls.forgive();

    let plain = Rcs::start();
    let node = Node::new();
    let url = plain.base_url().replace("http:", "https:");
    let _heartbeat = node.beat(&client(settings(url)), ms(20));
    node.wait_health(PartStatus::Down, "registration failed");
    plain.forgive();
}

// ---- secrets

#[test]
fn no_secret_in_any_log_line_or_reason() {
    logs::capture();
    let token = Secret::new("token-canary-3");
    let playback = "https://play.example/4f1c/playback-canary-4";
    let rcs = Rcs::start();
    rcs.set_token(Some("token-canary-3"));
    // An RCS that says everything back that it was sent.
    let echo = |status| {
        let message = format!("refused: Bearer token-canary-3 for {playback}\\nand more");
        Mode::Answer(status, format!(r#"{{"code":1,"message":"{message}"}}"#))
    };
    let node = Node::new();
    let mut settings = settings(rcs.base_url());
    settings.token = Some(token);
    let shown = format!("{settings:?}");
    let client = client(settings);
    let _heartbeat = node.beat(&client, ms(20));
    let out = callbacks(&client, 3);
    let observer = out.observer();
    let push = |kind| observer.task_changed(&event("canary-task", kind, playback, None));
    let mut reasons = shown + &format!("{client:?} {:?}", out.waiting());
    rcs.wait_nth(Door::Heartbeat, 1);
    for status in [400, 401, 500, 200] {
        rcs.set(Door::Callback, echo(status));
        rcs.set(Door::Heartbeat, echo(status));
        let before = rcs.at(Door::Callback).len();
        for _ in 0..6 {
            push(TaskEventKind::StatusUpdate);
            push(TaskEventKind::Stopped);
        }
        rcs.wait_nth(Door::Callback, before + 3);
        reasons += &node.wait_health(PartStatus::Down, "refused: Bearer");
        rcs.set_all(&Mode::Ok);
        node.wait_health(PartStatus::Up, "");
        assert_eq!(out.flush(soon()), 0);
    }
    rcs.set_all(&Mode::Hangup);
    push(TaskEventKind::Stopped);
    reasons += &node.wait_health(PartStatus::Down, "closed the connection");
    assert!(out.stop(Instant::now() + ms(100)) > 0);

    let lines = logs::lines();
    let ours = lines.iter().filter(|l| l.contains("canary-task")).count();
    assert!(ours > 8, "the log says something of it");
    assert!(reasons.contains("Bearer ***"), "{reasons}");
    for canary in [
        "source-canary-1",
        "whip-canary-2",
        "token-canary-3",
        "playback-canary-4",
    ] {
        assert!(
            !reasons.contains(canary),
            "a reason shows {canary}: {reasons}"
        );
        // The HTTP library's own trace is a dump of the wire; the daemon's log leaves it out.
        for line in lines.iter().filter(|l| !l.starts_with("TRACE ureq")) {
            assert!(!line.contains(canary), "a line shows {canary}: {line}");
        }
    }
}
