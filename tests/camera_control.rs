//! The daemon and its cameras: REST in, a stand-in camera's position out.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lss_test::camera_head::Axis;
use lss_test::camera_http::Fault;
use lss_test::daemon::{Daemon, Setup, raw_request, wait_for};
use lss_test::digest_server::GateRules;
use lss_test::isapi_camera::{self, IsapiStandIn, Model};
use lss_test::onvif_camera::{self, LoginMode, OnvifModel, OnvifStandIn};
use lss_test::rtsp_server::{Quirk, RtspServer, Rules};
use serde_json::{Value, json};

#[path = "camera_control/logins.rs"]
mod logins;
#[path = "support/mod.rs"]
mod lss_test;
#[path = "camera_control/names.rs"]
mod names;
#[path = "camera_control/repoint.rs"]
mod repoint;

const SOON: Duration = Duration::from_secs(10);

fn dome() -> IsapiStandIn {
    isapi_camera::start(GateRules::default(), Model::default())
}

fn onvif() -> OnvifStandIn {
    onvif_camera::start(GateRules::default(), OnvifModel::default())
}

/// A payload with everything that is needed.
fn with(addr: SocketAddr, vendor: Option<&str>, more: &Value) -> Value {
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

struct Bench {
    daemon: Daemon,
}

impl Bench {
    fn new() -> Self {
        Self::with(&Setup::default())
    }

    fn with(setup: &Setup) -> Self {
        Self {
            daemon: Daemon::start(setup),
        }
    }

    fn ptz(&self, camera: &str, body: &Value) -> (u16, Value) {
        self.daemon
            .request("POST", &format!("/api/cameras/{camera}/ptz"), Some(body))
    }

    fn done(&self, camera: &str, body: &Value) -> Value {
        let (status, answer) = self.ptz(camera, body);
        assert_eq!((status, &answer["code"]), (200, &json!(0)), "{answer}");
        answer["data"].clone()
    }
}

fn stands(camera: &IsapiStandIn) {
    wait_for("the camera to stand", SOON, || {
        (!camera.moving()).then_some(())
    });
}

#[test]
fn a_hold_moves_until_a_newer_one_a_stop_or_silence() {
    let (bench, camera) = (Bench::new(), dome());
    let at = with(camera.addr, Some("HIKVISION"), &json!({}));
    let press = |body: &Value| {
        let (status, answer) =
            bench
                .daemon
                .request("POST", "/api/cameras/cam_1/ptz/hold", Some(body));
        assert_eq!((status, &answer["code"]), (200, &json!(0)), "{answer}");
        assert_eq!(answer["data"]["expiresMs"], 1500);
        answer["data"]["hold"].clone()
    };
    let push = |hold: &Value| {
        let body = json!({ "action": "PAN_LEFT", "speed": 30, "duration": 800, "hold": hold });
        bench.done("cam_1", &body)["superseded"] == false
    };

    let first = press(&at);
    assert!(!camera.moving() && camera.position(Axis::Pan).abs() < f64::EPSILON);
    assert!(push(&first) && camera.moving());
    // The hand lets go, and an order that was on its way comes after the stop.
    bench.done("cam_1", &json!({ "action": "STOP" }));
    assert!(!push(&first));
    assert!(!camera.moving());

    // Two pages: the last press wins.
    let (mine, theirs) = (press(&json!({})), press(&json!({})));
    assert!(!push(&mine));
    assert!(push(&theirs));
    // Nobody lets go: the camera stands by itself all the same.
    stands(&camera);

    let refused = |more: &Value| {
        let mut body =
            json!({ "action": "PAN_LEFT", "speed": 30, "duration": 800, "hold": theirs });
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        bench.ptz("cam_1", &body).1["code"].clone()
    };
    assert_eq!(refused(&json!({ "duration": 1001 })), 20003);
    assert_eq!(refused(&json!({ "duration": null })), 20002);
    assert_eq!(refused(&json!({ "hold": "x" })), 20003);
    assert_eq!(refused(&json!({ "action": "FOCUS_AUTO" })), 20003);
    assert!(!camera.moving());
}

#[test]
fn a_move_a_stop_and_what_is_known_afterwards() {
    let (bench, camera) = (Bench::new(), dome());
    let first = with(
        camera.addr,
        Some("HIKVISION"),
        &json!({ "action": "PAN_LEFT", "speed": 50 }),
    );
    let data = bench.done("cam_1", &first);
    assert_eq!(
        (&data["cameraId"], &data["protocol"], &data["action"]),
        (&json!("cam_1"), &json!("ISAPI"), &json!("PAN_LEFT"))
    );
    assert!(data["stopsAt"].is_string(), "{data}");
    assert!(camera.moving());
    wait_for("the head to turn", SOON, || {
        (camera.position(Axis::Pan) < -0.05).then_some(())
    });
    // The camera is known by now.
    let data = bench.done("cam_1", &json!({ "action": "STOP" }));
    assert_eq!(data["stopsAt"], Value::Null);
    assert!(!camera.moving());
    let known = bench.daemon.get("/api/cameras");
    assert_eq!(known[0]["cameraId"], "cam_1");
    assert_eq!(known[0]["online"], true);
    // One that nobody has told of.
    let (status, answer) = bench.ptz("cam_2", &json!({ "action": "STOP" }));
    assert_eq!((status, &answer["code"]), (404, &json!(20004)));
}

#[test]
fn the_protocol_is_found_where_nobody_names_a_vendor() {
    let (bench, hik, other) = (Bench::new(), dome(), onvif());
    for (name, addr, protocol) in [("h", hik.addr, "ISAPI"), ("o", other.addr, "ONVIF")] {
        let body = with(addr, None, &json!({ "action": "TILT_UP", "duration": 200 }));
        assert_eq!(bench.done(name, &body)["protocol"], protocol);
    }
    stands(&hik);
    wait_for("the other to stand", SOON, || {
        (!other.moving()).then_some(())
    });
    assert!(hik.position(Axis::Tilt) > 0.0 && other.position(Axis::Tilt) > 0.0);
    // Called a Hikvision, but it is none: found out, and remembered.
    let body = with(other.addr, Some("HIKVISION"), &json!({ "action": "STOP" }));
    assert_eq!(bench.done("wrong", &body)["protocol"], "ONVIF");
}

#[test]
fn a_camera_that_tells_strangers_nothing_is_asked_with_the_login_that_was_given() {
    // No realm that is known, and HTML to everybody: for ONVIF and for ISAPI.
    let rules = GateRules {
        realm: "iPOLiS".to_owned(),
        ..GateRules::default()
    };
    let other = onvif_camera::start(
        rules.clone(),
        OnvifModel {
            login: LoginMode::Digest,
            clock_needs_login: true,
            ..OnvifModel::default()
        },
    );
    let hik = isapi_camera::start(rules, Model::default());
    let bench = Bench::new();
    for (name, addr, protocol) in [("o", other.addr, "ONVIF"), ("h", hik.addr, "ISAPI")] {
        let body = with(addr, None, &json!({ "action": "TILT_UP", "duration": 200 }));
        assert_eq!(bench.done(name, &body)["protocol"], protocol);
    }
    stands(&hik);
    wait_for("the other to stand", SOON, || {
        (!other.moving()).then_some(())
    });
    other.with(|device| assert_eq!((device.gate.refused, device.refused_tokens), (0, 0)));
}

#[test]
fn a_view_and_a_path_that_were_said_are_kept() {
    let camera = onvif_camera::start(
        GateRules::default(),
        OnvifModel {
            views: vec!["View_2"],
            device_path: "/onvif/services",
            ..OnvifModel::default()
        },
    );
    let bench = Bench::new();
    let more = json!({ "action": "PAN_LEFT", "profile": "View_2", "onvifPath": "/onvif/services" });
    bench.done("fish", &with(camera.addr, None, &more));
    assert_eq!(camera.with(|device| device.view.clone()), "View_2");
    assert!(camera.moving());
    bench.done("fish", &json!({ "action": "STOP" }));
    assert!(!camera.moving());
    for bad in [
        json!({ "action": "PAN_LEFT", "onvifPath": "onvif" }),
        json!({ "action": "PAN_LEFT", "onvifPath": "/a b" }),
        json!({ "action": "PAN_LEFT", "profile": "a\nb" }),
    ] {
        let (status, reply) = bench.ptz("fish", &bad);
        assert_eq!((status, &reply["code"]), (400, &json!(20003)), "{bad}");
    }
}

#[test]
fn a_duration_ends_the_move_and_so_does_the_limit() {
    let setup = Setup {
        more: "ptz: { max_move: 700ms }".into(),
        ..Setup::default()
    };
    let (bench, camera) = (Bench::with(&setup), dome());
    let body = with(
        camera.addr,
        Some("HIK"),
        &json!({ "action": "PAN_RIGHT", "speed": 100, "duration": 500 }),
    );
    bench.done("c", &body);
    stands(&camera);
    let after = camera.position(Axis::Pan);
    assert!((0.4..0.9).contains(&after), "{after}");
    bench.done("c", &json!({ "action": "PAN_RIGHT", "speed": 100 }));
    stands(&camera);
    let more = camera.position(Axis::Pan) - after;
    assert!((0.6..1.3).contains(&more), "{more}");
}

#[test]
fn a_stop_overtakes_a_move_that_hangs() {
    let (bench, camera) = (Bench::new(), dome());
    bench.done(
        "c",
        &with(camera.addr, Some("HIK"), &json!({ "action": "STOP" })),
    );
    // Carried out, never answered: the move that nobody knows of.
    camera.fault("/continuous", Fault::HangAfter, 1);
    std::thread::scope(|scope| {
        let mover = scope.spawn(|| bench.ptz("c", &json!({ "action": "ZOOM_IN" })));
        wait_for("the lens to move", SOON, || camera.moving().then_some(()));
        let asked = Instant::now();
        bench.done("c", &json!({ "action": "STOP" }));
        assert!(!camera.moving());
        assert!(
            asked.elapsed() < Duration::from_secs(2),
            "{:?}",
            asked.elapsed()
        );
        let (status, answer) = mover.join().unwrap();
        assert_eq!((status, &answer["code"]), (503, &json!(50003)), "{answer}");
    });
    stands(&camera);
}

#[test]
fn resets_and_refusals_leave_nothing_moving() {
    let (bench, camera) = (Bench::new(), dome());
    bench.done(
        "c",
        &with(camera.addr, Some("HIK"), &json!({ "action": "STOP" })),
    );
    camera.fault("/continuous", Fault::ResetAfter, 1);
    let (status, _) = bench.ptz("c", &json!({ "action": "PAN_LEFT", "speed": 30 }));
    // Whether the client's own repetition gets through or not: it is in hand.
    assert!([200, 503].contains(&status), "{status}");
    bench.done("c", &json!({ "action": "STOP" }));
    stands(&camera);
    // Nobody there.
    let gone = dome();
    let addr = gone.addr;
    drop(gone);
    let (status, answer) = bench.ptz(
        "gone",
        &with(addr, Some("HIK"), &json!({ "action": "PAN_LEFT" })),
    );
    assert_eq!((status, &answer["code"]), (503, &json!(50003)), "{answer}");
}

#[test]
fn a_daemon_that_is_told_to_end_stops_the_camera_first() {
    let (mut bench, hik, other) = (Bench::new(), dome(), onvif());
    for (name, addr, vendor) in [("h", hik.addr, "HIK"), ("o", other.addr, "DAHUA")] {
        bench.done(
            name,
            &with(
                addr,
                Some(vendor),
                &json!({ "action": "PAN_LEFT", "speed": 10 }),
            ),
        );
    }
    assert!(hik.moving() && other.moving());
    assert!(bench.daemon.stop().success());
    assert!(!hik.moving() && !other.moving());
}

#[test]
fn a_camera_that_hangs_holds_no_other_up() {
    let (bench, good, bad) = (Bench::new(), dome(), dome());
    for (name, camera) in [("good", &good), ("bad", &bad)] {
        bench.done(
            name,
            &with(camera.addr, Some("HIK"), &json!({ "action": "STOP" })),
        );
    }
    bad.fault("/ISAPI", Fault::Hang, 1_000);
    std::thread::scope(|scope| {
        let stuck = scope.spawn(|| bench.ptz("bad", &json!({ "action": "PAN_LEFT" })));
        wait_for("the bad one to be asked", SOON, || {
            (bad.log().len() > 2).then_some(())
        });
        let asked = Instant::now();
        for _ in 0..20 {
            bench.done("good", &json!({ "action": "PAN_LEFT" }));
            bench.done("good", &json!({ "action": "STOP" }));
        }
        assert!(
            asked.elapsed() < Duration::from_secs(4),
            "{:?}",
            asked.elapsed()
        );
        let (status, _) = stuck.join().unwrap();
        assert_eq!(status, 503);
        bad.clear_faults();
    });
}

#[test]
fn presets_are_listed_set_gone_to_and_deleted() {
    let (bench, hik, other) = (Bench::new(), dome(), onvif());
    bench.done(
        "h",
        &with(hik.addr, Some("HIK"), &json!({ "action": "STOP" })),
    );
    bench.done(
        "o",
        &with(other.addr, Some("AXIS"), &json!({ "action": "STOP" })),
    );
    let list = bench.daemon.get("/api/cameras/h/presets");
    assert_eq!(
        list["presets"][0],
        json!({ "id": "1", "name": "Entrance", "enabled": true })
    );
    for camera in ["h", "o"] {
        let path = format!("/api/cameras/{camera}/presets/7");
        let body = json!({ "name": "Gate & <yard>" });
        let (status, answer) = bench.daemon.request("PUT", &path, Some(&body));
        assert_eq!(status, 200, "{answer}");
        let id = answer["data"]["presetId"].as_str().unwrap().to_owned();
        let list = bench.daemon.get(&format!("/api/cameras/{camera}/presets"));
        let found = list["presets"]
            .as_array()
            .unwrap()
            .iter()
            .any(|p| p["name"] == "Gate & <yard>" && p["id"] == id);
        assert!(found, "{list}");
        let path = format!("/api/cameras/{camera}/presets/{id}");
        let (status, answer) = bench.daemon.request("POST", &format!("{path}/goto"), None);
        assert_eq!(status, 200, "{answer}");
        let (status, answer) = bench.daemon.request("DELETE", &path, None);
        assert_eq!(status, 200, "{answer}");
    }
    // A function of the camera, an id that is a path, one that is not there.
    let (status, answer) = bench
        .daemon
        .request("POST", "/api/cameras/h/presets/94/goto", None);
    assert_eq!((status, &answer["code"]), (400, &json!(20005)), "{answer}");
    let (status, answer) =
        bench
            .daemon
            .request("POST", "/api/cameras/h/presets/..%2f..%2fx/goto", None);
    assert_eq!((status, &answer["code"]), (400, &json!(20003)), "{answer}");
    let (status, answer) = bench
        .daemon
        .request("POST", "/api/cameras/o/presets/none/goto", None);
    assert_eq!((status, &answer["code"]), (404, &json!(20004)), "{answer}");
    assert_eq!(hik.with(|dome| dome.reboots), 0);
}

#[test]
fn a_probe_tells_what_the_camera_is_and_a_wrong_password_is_no_fault_of_the_token() {
    let (bench, hik, other) = (Bench::new(), dome(), onvif());
    for (addr, vendor, method) in [(hik.addr, "HIKVISION", "ISAPI"), (other.addr, "X", "ONVIF")] {
        let body = with(addr, Some(vendor), &json!({}));
        let (status, answer) = bench
            .daemon
            .request("POST", "/api/cameras/probe", Some(&body));
        assert_eq!(status, 200, "{answer}");
        let data = &answer["data"];
        assert_eq!(
            (&data["probeMethod"], &data["port"]),
            (&json!(method), &json!(addr.port()))
        );
        assert!(
            data["model"].is_string() && data["capabilities"]["ptz"]["supported"] == true,
            "{data}"
        );
        assert!(
            data["protocolSupport"]
                .as_object()
                .unwrap()
                .contains_key("onvifVersion")
        );
    }
    // On a node of its own: all stand-ins have one address, and logins belong to addresses.
    let (bench, camera) = (Bench::new(), dome());
    let mut body = with(camera.addr, Some("HIK"), &json!({}));
    body["password"] = json!("canary-wrong-password");
    for tries in 0..3 {
        let (status, answer) = bench
            .daemon
            .request("POST", "/api/cameras/probe", Some(&body));
        assert_eq!((status, &answer["code"]), (502, &json!(10001)), "{answer}");
        let guarded = answer["message"]
            .as_str()
            .unwrap()
            .contains("guarded until");
        assert_eq!(guarded, tries > 0, "{answer}");
        assert!(!answer.to_string().contains("canary"));
    }
    assert!(!bench.daemon.log().contains("canary-wrong"));
    assert!(!bench.daemon.log().contains(&GateRules::default().password));
}

#[test]
fn a_picture() {
    let bench = Bench::new();
    let mut jpeg = Vec::new();
    let picture = image::RgbImage::from_fn(1280, 720, |x, y| {
        image::Rgb([(x % 256) as u8, (y % 256) as u8, 7])
    });
    picture
        .write_to(
            &mut std::io::Cursor::new(&mut jpeg),
            image::ImageFormat::Jpeg,
        )
        .unwrap();
    let camera = isapi_camera::start(
        GateRules::default(),
        Model {
            picture: jpeg,
            picture_size: false,
            ..Model::default()
        },
    );
    bench.done(
        "c",
        &with(camera.addr, Some("HIK"), &json!({ "action": "STOP" })),
    );
    let get = |path: &str| {
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            bench.daemon.addr
        );
        lss_test::daemon::raw_bytes(bench.daemon.addr, head.as_bytes())
    };
    for (path, width) in [
        ("/api/cameras/c/snapshot.jpg", 1280),
        ("/api/cameras/c/snapshot.jpg?width=320", 320),
    ] {
        let answer = get(path);
        let split = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        let (head, body) = (
            String::from_utf8_lossy(&answer[..split]),
            &answer[split + 4..],
        );
        assert!(
            head.starts_with("HTTP/1.1 200") && head.contains("image/jpeg"),
            "{head}"
        );
        let shown = image::load_from_memory(body).unwrap();
        assert_eq!(shown.width(), width);
    }
    let (status, _) = raw_request(
        bench.daemon.addr,
        format!(
            "GET /api/cameras/c/snapshot.jpg?width=x HTTP/1.1\r\nHost: {}\r\n\r\n",
            bench.daemon.addr
        )
        .as_bytes(),
    );
    assert_eq!(status, 400);
}

/// A dome that gives no picture by HTTP: its frames come out of the stream.
fn without_pictures(stream: &RtspServer) -> IsapiStandIn {
    isapi_camera::start(
        GateRules::default(),
        Model {
            picture: Vec::new(),
            rtsp_port: stream.addr.port(),
            ..Model::default()
        },
    )
}

#[test]
fn a_frame_s_login_asks_the_guard() {
    let bench = Bench::new();
    // RTSP has accounts of its own, as on many cameras.
    let stream = RtspServer::start(Rules {
        gate: Some(GateRules {
            password: "another".to_owned(),
            ..GateRules::default()
        }),
        ..Rules::default()
    });
    let camera = without_pictures(&stream);
    bench.done(
        "c",
        &with(camera.addr, Some("HIK"), &json!({ "action": "STOP" })),
    );
    let began = Instant::now();
    for _ in 0..6 {
        let (status, answer) = bench
            .daemon
            .request("GET", "/api/cameras/c/snapshot.jpg", None);
        assert_eq!((status, &answer["code"]), (502, &json!(10001)), "{answer}");
    }
    // One, and one more try after ten seconds: so long only a machine that stands still takes.
    let refused = stream.seen().refused;
    assert!(
        refused == 1 || (refused == 2 && began.elapsed() > SOON),
        "{refused}"
    );
    // What HTTP takes goes on.
    bench.done("c", &json!({ "action": "STOP" }));
}

#[test]
fn a_frame_is_not_fetched_where_the_camera_sends_it() {
    let bench = Bench::new();
    let third = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    third.set_nonblocking(true).unwrap();
    let stream = RtspServer::start(Rules {
        gate: Some(GateRules::default()),
        quirk: Quirk::Redirects {
            path: "/".to_owned(),
            to: format!("rtsp://127.0.0.1:{}/x", third.local_addr().unwrap().port()),
        },
        ..Rules::default()
    });
    let camera = without_pictures(&stream);
    bench.done(
        "c",
        &with(camera.addr, Some("HIK"), &json!({ "action": "STOP" })),
    );
    let (status, answer) = bench
        .daemon
        .request("GET", "/api/cameras/c/snapshot.jpg", None);
    assert_ne!(status, 200, "{answer}");
    assert!(!stream.seen().requests.is_empty(), "the stream was asked");
    let nobody = third.accept().unwrap_err();
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn the_spec_s_tour_ends_where_it_should() {
    let (bench, camera) = (Bench::new(), dome());
    let body = with(
        camera.addr,
        Some("HIKVISION"),
        &json!({
            "cameraId": "cam_001", "tourId": "tour_001", "loopCount": 1,
            "waypoints": [
                { "action": "LEFT", "speed": 50, "duration": 1200, "startTime": 0 },
                { "action": "STOP", "speed": 0, "duration": 500, "startTime": 1200 },
                { "action": "RIGHT", "speed": 50, "duration": 600, "startTime": 1700 }
            ]
        }),
    );
    let (status, answer) = bench
        .daemon
        .request("POST", "/api/patrol/start", Some(&body));
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["data"]["state"], "RUNNING");
    let mut leftmost: f64 = 0.0;
    wait_for("the tour to end", SOON, || {
        leftmost = leftmost.min(camera.position(Axis::Pan));
        (bench.daemon.get("/api/patrol/cam_001")["state"] == "STOPPED").then_some(())
    });
    stands(&camera);
    assert!((-0.75..-0.5).contains(&leftmost), "{leftmost}");
    let end = camera.position(Axis::Pan);
    assert!((-0.42..-0.18).contains(&end), "{end}");
    let nothing = json!({ "cameraId": "cam_001" });
    let (status, answer) = bench
        .daemon
        .request("POST", "/api/patrol/pause", Some(&nothing));
    assert_eq!((status, &answer["code"]), (404, &json!(20004)));
}

#[test]
fn a_manual_command_pauses_a_tour_and_resume_goes_on() {
    let (bench, camera) = (Bench::new(), dome());
    let body = with(
        camera.addr,
        Some("HIK"),
        &json!({
            "cameraId": "cam", "tourId": "t",
            "waypoints": [{ "action": "UP", "speed": 20, "duration": 60_000, "startTime": 0 }]
        }),
    );
    let (status, _) = bench
        .daemon
        .request("POST", "/api/patrol/start", Some(&body));
    assert_eq!(status, 200);
    wait_for("the tour to move", SOON, || camera.moving().then_some(()));
    bench.done("cam", &json!({ "action": "STOP" }));
    stands(&camera);
    assert_eq!(bench.daemon.get("/api/patrol/cam")["state"], "PAUSED");
    let named = json!({ "cameraId": "cam", "tourId": "t" });
    let (status, answer) = bench
        .daemon
        .request("POST", "/api/patrol/resume", Some(&named));
    assert_eq!(
        (status, &answer["data"]["state"]),
        (200, &json!("RUNNING")),
        "{answer}"
    );
    wait_for("the tour to go on", SOON, || camera.moving().then_some(()));
    let (status, _) = bench
        .daemon
        .request("POST", "/api/patrol/stop", Some(&named));
    assert_eq!(status, 200);
    stands(&camera);
    let bad = with(
        camera.addr,
        None,
        &json!({ "cameraId": "cam", "tourId": "t", "waypoints": [] }),
    );
    let (status, answer) = bench
        .daemon
        .request("POST", "/api/patrol/start", Some(&bad));
    assert_eq!((status, &answer["code"]), (400, &json!(20005)));
}

#[test]
fn bad_input_is_refused_and_nothing_is_sent() {
    let bench = Bench::new();
    let camera = dome();
    let good = with(camera.addr, Some("HIK"), &json!({ "action": "PAN_LEFT" }));
    for (field, value, code) in [
        ("action", json!("PAN_SIDEWAYS"), 20003),
        ("action", Value::Null, 20002),
        ("speed", json!(1000), 20003),
        ("speed", json!("fast"), 20003),
        ("duration", json!(-1), 20003),
        ("duration", json!(3_600_001), 20003),
        ("ip", json!("224.0.0.1"), 20005),
        ("ip", json!("255.255.255.255"), 20005),
        ("ip", json!("169.254.169.254"), 20005),
        ("ip", json!("0.0.0.0"), 20005),
        ("ip", json!("http://x/"), 20003),
        ("port", json!(-1), 20003),
        ("port", json!(70_000), 20003),
        ("username", json!("a\r\nX: y"), 20003),
        ("channel", json!(-1), 20003),
    ] {
        let mut body = good.clone();
        body[field] = value.clone();
        let (status, answer) = bench.ptz("cam", &body);
        assert_eq!(
            (status, &answer["code"]),
            (400, &json!(code)),
            "{field} {value}: {answer}"
        );
    }
    assert!(camera.log().is_empty());
}

#[test]
fn loopback_is_no_camera_unless_allowed() {
    let setup = Setup {
        camera_loopback: false,
        ..Setup::default()
    };
    let (bench, camera) = (Bench::with(&setup), dome());
    let (status, answer) = bench.ptz("c", &with(camera.addr, None, &json!({ "action": "STOP" })));
    assert_eq!((status, &answer["code"]), (400, &json!(20005)), "{answer}");
    let mut by_name = with(camera.addr, None, &json!({ "action": "STOP" }));
    by_name["ip"] = json!("localhost");
    let (status, answer) = bench.ptz("d", &by_name);
    assert_eq!((status, &answer["code"]), (400, &json!(20005)), "{answer}");
    assert!(camera.log().is_empty());
}

#[test]
fn probe_from_the_command_line() {
    let camera = dome();
    let rules = GateRules::default();
    let probe = |args: &[&str], password: &str| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_lss"))
            .args(["probe", &camera.addr.to_string()])
            .args(args)
            .env("LSS_CAMERA_PASSWORD", password)
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let (code, out, err) = probe(&["--user", &rules.user, "--json"], &rules.password);
    assert_eq!(code, Some(0), "{err}");
    let info: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&info["model"], &info["probeMethod"]),
        (&json!("DS-2DF7276"), &json!("ISAPI"))
    );
    let (code, out, _) = probe(&["--user", &rules.user], &rules.password);
    assert_eq!(code, Some(0));
    assert!(
        out.contains("model:") && out.contains("DS-2DF7276"),
        "{out}"
    );
    let (code, out, err) = probe(&["--user", &rules.user], "canary-wrong");
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("10001") && !err.contains("canary"), "{err}");
}
