//! Which login a camera is told things with, and which it is not.

use lss_test::camera_head::Axis;
use lss_test::daemon::Setup;
use lss_test::digest_server::GateRules;
use lss_test::isapi_camera::{self, IsapiStandIn, Model};
use lss_test::onvif_camera::{self, OnvifModel};
use lss_test::rtsp_server::{BASELINE_SDP, RtspServer, Rules};
use serde_json::{Value, json};

use super::{Bench, lss_test, stands, with};

#[test]
fn releases_of_a_joystick_whose_login_is_refused_do_not_lock_the_account() {
    let rules = GateRules {
        lock_after: Some(4),
        ..GateRules::default()
    };
    let (bench, camera) = (Bench::new(), isapi_camera::start(rules, Model::default()));
    let first = with(camera.addr, Some("HIK"), &json!({ "action": "PAN_LEFT" }));
    bench.done("c", &first);
    bench.done("c", &json!({ "action": "STOP" }));
    camera.with(|dome| "changed at the camera".clone_into(&mut dome.gate.rules.password));
    for action in ["PAN_LEFT", "STOP"].repeat(6) {
        let (status, answer) = bench.ptz("c", &json!({ "action": action }));
        assert_eq!((status, &answer["code"]), (502, &json!(10001)), "{answer}");
    }
    camera.with(|dome| {
        assert!(!dome.gate.is_locked());
        // The first press alone: with the challenge that was kept, and with a fresh one.
        assert!(dome.gate.refused <= 2, "{}", dome.gate.refused);
    });
}

/// A dome with an account that may move and one that may look, and no limit of its own.
fn two_accounts() -> IsapiStandIn {
    let rules = GateRules {
        others: vec![
            ("viewer".to_owned(), "looks-1".to_owned()),
            ("operator".to_owned(), "moves-2".to_owned()),
        ],
        ..GateRules::default()
    };
    let model = Model {
        viewers: vec!["viewer".to_owned()],
        momentary: false,
        ..Model::default()
    };
    isapi_camera::start(rules, model)
}

/// A payload by which somebody speaks of a camera with this account.
fn as_user(camera: &IsapiStandIn, user: &str, password: &str, more: &Value) -> Value {
    let mut body = with(camera.addr, Some("HIK"), more);
    body["username"] = json!(user);
    body["password"] = json!(password);
    body
}

fn move_as_admin(bench: &Bench, camera: &IsapiStandIn, id: &str) {
    let body = with(camera.addr, Some("HIK"), &json!({ "action": "PAN_LEFT" }));
    bench.done(id, &body);
    assert!(camera.moving());
}

/// Somebody looks at the camera with the viewing account, and is let.
fn look_as_viewer(bench: &Bench, camera: &IsapiStandIn, id: &str) {
    let body = as_user(camera, "viewer", "looks-1", &json!({ "cameraId": id }));
    let (status, answer) = bench
        .daemon
        .request("POST", "/api/cameras/probe", Some(&body));
    assert_eq!(status, 200, "{answer}");
}

/// A stream of the camera with the viewing account; its FFmpeg says that it was let in.
fn stream_as_viewer(bench: &Bench, camera: &IsapiStandIn, id: &str) {
    let rtsp = RtspServer::start_on(
        (camera.addr.ip(), 0).into(),
        Rules {
            any: Some(BASELINE_SDP.to_owned()),
            ..Rules::default()
        },
    );
    let rtsp = rtsp.unwrap();
    let source = rtsp.url("/ok").replace("//", "//viewer:looks-1@");
    let body = json!({
        "taskId": format!("stream-{id}"), "cameraId": id, "sourceUrl": source,
        "whipUrl": "https://127.0.0.1:1/whip",
    });
    let (status, answer) = bench
        .daemon
        .request("POST", "/api/stream/start", Some(&body));
    assert_eq!(status, 200, "{answer}");
    bench
        .daemon
        .wait_status(&format!("stream-{id}"), "STREAMING");
}

#[test]
fn the_dead_mans_stop_goes_out_with_the_login_that_moved() {
    let setup = Setup {
        more: "ptz: { max_move: 1500ms }".into(),
        ..Setup::default()
    };
    let (bench, camera) = (Bench::with(&setup), two_accounts());
    move_as_admin(&bench, &camera, "c1");
    look_as_viewer(&bench, &camera, "c2");
    stands(&camera);
    assert_eq!(camera.with(|dome| dome.gate.refused), 0);
}

#[test]
fn a_shutdown_stops_with_the_login_that_moved() {
    let (mut bench, camera) = (Bench::new(), two_accounts());
    move_as_admin(&bench, &camera, "c1");
    look_as_viewer(&bench, &camera, "c1");
    stream_as_viewer(&bench, &camera, "c1");
    assert!(camera.moving());
    assert!(bench.daemon.stop().success());
    assert!(!camera.moving());
}

#[test]
fn a_stop_finds_the_login_that_may_among_all_that_are_known() {
    let (bench, camera) = (Bench::new(), two_accounts());
    // Nothing but the viewing account is known; what moves was moved by somebody else.
    look_as_viewer(&bench, &camera, "c1");
    camera.with(|dome| {
        let now = dome.model.clock.now();
        dome.head.drive(Axis::Pan, 0.2, now, None);
    });
    // The stop carries the login that may.
    let stop = with(camera.addr, Some("HIK"), &json!({ "action": "STOP" }));
    bench.done("c1", &stop);
    assert!(!camera.moving());
}

#[test]
fn a_stop_goes_on_where_the_login_that_moved_is_refused() {
    let (bench, camera) = (Bench::new(), two_accounts());
    let operator = as_user(&camera, "operator", "moves-2", &json!({ "action": "STOP" }));
    bench.done("c2", &operator);
    move_as_admin(&bench, &camera, "c1");
    camera.with(|dome| "changed at the camera".clone_into(&mut dome.gate.rules.password));
    bench.done("c1", &json!({ "action": "STOP" }));
    assert!(!camera.moving());
    // So does one where it may not any more.
    let (bench, camera) = (Bench::new(), two_accounts());
    let operator = as_user(&camera, "operator", "moves-2", &json!({ "action": "STOP" }));
    bench.done("c2", &operator);
    move_as_admin(&bench, &camera, "c1");
    camera.with(|dome| dome.model.viewers.push("admin".to_owned()));
    bench.done("c1", &json!({ "action": "STOP" }));
    assert!(!camera.moving());
}

#[test]
fn a_viewing_account_does_not_take_control_away() {
    let (bench, camera) = (Bench::new(), two_accounts());
    move_as_admin(&bench, &camera, "c1");
    stream_as_viewer(&bench, &camera, "c1");
    bench.done("c1", &json!({ "action": "PAN_RIGHT" }));
    bench.done("c1", &json!({ "action": "GOTO_PRESET", "presetId": "1" }));
    // Even where a command itself comes with it.
    let body = as_user(
        &camera,
        "viewer",
        "looks-1",
        &json!({ "action": "PAN_LEFT" }),
    );
    bench.done("c1", &body);
    bench.done("c1", &json!({ "action": "STOP" }));
    assert!(!camera.moving());
    assert_eq!(camera.with(|dome| dome.gate.refused), 0);
    // Where no other is known, it is said what is wrong.
    let (bench, camera) = (Bench::new(), two_accounts());
    let body = as_user(
        &camera,
        "viewer",
        "looks-1",
        &json!({ "action": "PAN_LEFT" }),
    );
    for _ in 0..2 {
        let (status, answer) = bench.ptz("c1", &body);
        assert_eq!(answer["code"], json!(10002), "{status} {answer}");
    }
}

#[test]
fn by_onvif_too_the_login_that_may_is_found() {
    let rules = GateRules {
        others: vec![("viewer".to_owned(), "looks-1".to_owned())],
        ..GateRules::default()
    };
    let model = OnvifModel {
        viewers: vec!["viewer".to_owned()],
        ..OnvifModel::default()
    };
    let (bench, camera) = (Bench::new(), onvif_camera::start(rules, model));
    let admin = with(camera.addr, Some("AXIS"), &json!({ "action": "PAN_LEFT" }));
    let viewer = |action: &str| {
        let mut body = with(camera.addr, Some("AXIS"), &json!({ "action": action }));
        body["username"] = json!("viewer");
        body["password"] = json!("looks-1");
        body
    };
    let (status, answer) = bench.ptz("c2", &viewer("PAN_LEFT"));
    assert_eq!(answer["code"], json!(10002), "{status} {answer}");
    bench.done("c1", &admin);
    assert!(camera.moving());
    // Whoever stops it, the login that moved it is at hand.
    bench.done("c2", &viewer("STOP"));
    assert!(!camera.moving());
    bench.done("c2", &viewer("TILT_UP"));
    assert!(camera.moving());
    bench.done("c2", &viewer("STOP"));
    assert!(!camera.moving());
}
