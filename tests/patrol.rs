//! Tours on the real binary, ordered over the cloud's line and over REST: what they do to a camera
//! that counts its own steps, and what the cloud is told of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::camera_head::Axis;
use support::camera_http::Fault;
use support::daemon::{Daemon, Setup, wait_for};
use support::digest_server::GateRules;
use support::isapi_camera::{self, IsapiStandIn, Model};
use support::site::Site;

const SOON: Duration = Duration::from_secs(20);

fn camera() -> IsapiStandIn {
    isapi_camera::start(GateRules::default(), Model::default())
}

/// Without a limit of its own a camera that is not stopped runs on, and shows.
fn one_that_runs_on() -> IsapiStandIn {
    let model = Model {
        momentary: false,
        ..Model::default()
    };
    isapi_camera::start(GateRules::default(), model)
}

fn payload(camera: &IsapiStandIn, request: &str, more: &Value) -> Value {
    let rules = GateRules::default();
    let mut payload = json!({
        "cameraId": "cam_1", "tourId": "tour_1", "requestId": request,
        "ip": camera.addr.ip().to_string(), "port": camera.addr.port(),
        "username": rules.user, "password": rules.password, "vendorType": "HIKVISION",
    });
    for (name, value) in more.as_object().unwrap() {
        payload[name] = value.clone();
    }
    payload
}

fn named(request: &str) -> Value {
    json!({ "cameraId": "cam_1", "tourId": "tour_1", "requestId": request })
}

/// The events of the patrol, as `EVENT` or `EVENT: reason`, oldest first.
fn events(site: &Site) -> Vec<String> {
    let told = site.told("PATROL_EVENT");
    told.iter()
        .map(|event| {
            assert_eq!(
                (&event["cameraId"], &event["tourId"]),
                (&json!("cam_1"), &json!("tour_1"))
            );
            let kind = event["event"].as_str().unwrap();
            match event["reason"].as_str() {
                Some(reason) => format!("{kind}: {reason}"),
                None => kind.to_owned(),
            }
        })
        .collect()
}

fn until_told(site: &Site, what: &str) {
    wait_for(what, SOON, || {
        events(site)
            .iter()
            .any(|event| event.starts_with(what))
            .then_some(())
    });
}

fn stands(camera: &IsapiStandIn) {
    wait_for("the camera to stand", SOON, || {
        (!camera.moving()).then_some(())
    });
}

fn ok(result: &Value) -> &Value {
    assert_eq!(
        (&result["success"], &result["errorCode"]),
        (&json!(true), &json!(0)),
        "{result}"
    );
    &result["data"]
}

#[test]
fn the_spec_s_tour_over_the_line() {
    let (site, camera) = (Site::start(), camera());
    let tour = json!({ "loopCount": 2, "waypoints": [
        { "action": "LEFT", "speed": 50, "duration": 600, "startTime": 0 },
        { "action": "STOP", "speed": 0, "duration": 300, "startTime": 600 },
        { "action": "RIGHT", "speed": 50, "duration": 600, "startTime": 900 }
    ]});
    site.send("PATROL_START", payload(&camera, "p1", &tour));
    let data = ok(&site.result_of("p1")).clone();
    assert_eq!(
        (&data["state"], &data["loopCount"], &data["tourId"]),
        (&json!("RUNNING"), &json!(2), &json!("tour_1"))
    );
    let mut leftmost: f64 = 0.0;
    wait_for("the end", SOON, || {
        leftmost = leftmost.min(camera.position(Axis::Pan));
        events(&site)
            .iter()
            .any(|e| e.starts_with("ENDED"))
            .then_some(())
    });
    assert!(!camera.moving());
    assert!((-0.42..-0.18).contains(&leftmost), "{leftmost}");
    let end = camera.position(Axis::Pan);
    assert!((-0.12..0.12).contains(&end), "{end}");
    let kinds: Vec<String> = events(&site)
        .iter()
        .map(|e| e.split(':').next().unwrap().to_owned())
        .collect();
    assert_eq!(kinds, ["STARTED", "LOOP_END", "LOOP_END", "ENDED"]);
    site.send("PATROL_STATUS", named("p2"));
    assert_eq!(ok(&site.result_of("p2"))["state"], "STOPPED");
    site.ably.assert_clean();
}

#[test]
fn pause_resume_replacement_and_stop_act_at_once() {
    let (site, camera) = (Site::start(), one_that_runs_on());
    let left = json!({ "waypoints": [{ "action": "LEFT", "speed": 10, "duration": 60_000 }] });
    site.send("PATROL_START", payload(&camera, "p1", &left));
    ok(&site.result_of("p1"));
    wait_for("the move", SOON, || {
        (camera.speed(Axis::Pan) < 0.0).then_some(())
    });
    // In the middle of a minute's move.
    site.send("PATROL_PAUSE", named("p2"));
    assert_eq!(ok(&site.result_of("p2"))["state"], "PAUSED");
    stands(&camera);
    site.send("PATROL_PAUSE", named("p3"));
    ok(&site.result_of("p3"));
    site.send("PATROL_RESUME", named("p4"));
    assert_eq!(ok(&site.result_of("p4"))["state"], "RUNNING");
    wait_for("the rest of it", SOON, || {
        (camera.speed(Axis::Pan) < 0.0).then_some(())
    });
    // Another tour takes its place.
    let up = json!({ "tourId": "tour_2",
        "waypoints": [{ "action": "UP", "speed": 10, "duration": 60_000 }] });
    site.send("PATROL_START", payload(&camera, "p5", &up));
    assert_eq!(ok(&site.result_of("p5"))["tourId"], "tour_2");
    wait_for("up alone", SOON, || {
        (camera.speed(Axis::Tilt) > 0.0 && camera.speed(Axis::Pan) == 0.0).then_some(())
    });
    // The first one is no longer there.
    site.send("PATROL_STOP", named("p6"));
    let result = site.result_of("p6");
    assert_eq!(
        (&result["success"], &result["errorCode"]),
        (&json!(false), &json!(20004)),
        "{result}"
    );
    assert!(camera.moving());
    let second = json!({ "cameraId": "cam_1", "tourId": "tour_2", "requestId": "p7" });
    site.send("PATROL_STOP", second);
    assert_eq!(ok(&site.result_of("p7"))["state"], "STOPPED");
    stands(&camera);
}

#[test]
fn a_camera_that_restarts_in_mid_tour_is_taken_up_again() {
    let (site, camera) = (Site::start(), one_that_runs_on());
    let waypoint = |action: &str, start: u64| json!({ "action": action, "speed": 10, "duration": 200, "startTime": start });
    let tour = json!({ "waypoints": [
        waypoint("LEFT", 0), waypoint("RIGHT", 300), waypoint("LEFT", 600), waypoint("RIGHT", 900),
    ]});
    site.send("PATROL_START", payload(&camera, "p1", &tour));
    ok(&site.result_of("p1"));
    wait_for("a first move", SOON, || camera.moving().then_some(()));
    camera.fault("/", Fault::Reset, 1_000_000);
    until_told(&site, "PAUSED");
    camera.clear_faults();
    site.send("PATROL_STATUS", named("p2"));
    let data = ok(&site.result_of("p2")).clone();
    // Tried again every ten seconds: it may be up by now.
    assert!(
        ["PAUSED", "RUNNING"].contains(&data["state"].as_str().unwrap()),
        "{data}"
    );
    until_told(&site, "RESUMED");
    wait_for("a move", SOON, || camera.moving().then_some(()));
    site.send("PATROL_STOP", named("p3"));
    ok(&site.result_of("p3"));
    stands(&camera);
    let log = events(&site);
    assert!(
        log.iter()
            .any(|e| e.starts_with("PAUSED: ") && e.contains("3 times")),
        "{log:?}"
    );
}

#[test]
fn a_daemon_that_is_told_to_end_ends_its_tours_first() {
    let (mut site, camera) = (Site::start(), one_that_runs_on());
    let left = json!({ "waypoints": [{ "action": "LEFT", "speed": 10, "duration": 60_000 }] });
    site.send("PATROL_START", payload(&camera, "p1", &left));
    ok(&site.result_of("p1"));
    wait_for("the move", SOON, || camera.moving().then_some(()));
    assert!(site.daemon.stop().success());
    assert!(!camera.moving());
}

#[test]
fn a_manual_move_pauses_and_the_cloud_hears_why() {
    let (site, camera) = (Site::start(), camera());
    let left = json!({ "waypoints": [{ "action": "LEFT", "speed": 10, "duration": 60_000 }] });
    site.send("PATROL_START", payload(&camera, "p1", &left));
    ok(&site.result_of("p1"));
    site.send(
        "PTZ_CONTROL",
        json!({ "cameraId": "cam_1", "action": "TILT_UP", "requestId": "m1" }),
    );
    ok(&site.result_of("m1"));
    until_told(&site, "PAUSED: ");
    site.send(
        "PTZ_STOP",
        json!({ "cameraId": "cam_1", "requestId": "m2" }),
    );
    ok(&site.result_of("m2"));
    stands(&camera);
    site.send("PATROL_RESUME", named("p2"));
    ok(&site.result_of("p2"));
    until_told(&site, "RESUMED");
    wait_for("left again", SOON, || {
        (camera.speed(Axis::Pan) < 0.0).then_some(())
    });
}

/// Tours that are refused; all with 20005 but where a shape is wrong.
fn refused() -> Vec<(Value, u64)> {
    let one = |more: Value| {
        let mut waypoint = json!({ "action": "LEFT", "speed": 10, "duration": 2_000 });
        for (name, value) in more.as_object().unwrap() {
            waypoint[name] = value.clone();
        }
        json!({ "waypoints": [waypoint] })
    };
    let many = |count: usize| json!({ "waypoints": vec![json!({ "action": "LEFT", "duration": 10 }); count] });
    vec![
        (many(0), 20005),
        (many(257), 20005),
        (one(json!({ "duration": -1 })), 20005),
        (one(json!({ "duration": 3_600_001 })), 20005),
        (one(json!({ "startTime": -1 })), 20005),
        (one(json!({ "startTime": 3_600_001 })), 20005),
        (one(json!({ "duration": 999 })), 20005),
        (one(json!({ "action": "SPIN" })), 20005),
        (one(json!({ "action": "../../x" })), 20005),
        (one(json!({ "action": "GOTO_PRESET" })), 20005),
        (
            one(json!({ "action": "GOTO_PRESET", "presetId": "../../x" })),
            20005,
        ),
        (one(json!({ "speed": 101 })), 20005),
        (one(json!({ "speed": -1 })), 20005),
        (
            {
                let mut tour = one(json!({}));
                tour["loopCount"] = json!(-1);
                tour
            },
            20005,
        ),
    ]
}

#[test]
fn bad_tours_are_refused_and_nothing_is_sent() {
    let (site, camera) = (Site::start(), camera());
    for (n, (tour, code)) in refused().iter().enumerate() {
        let request = format!("bad{n}");
        let body = payload(&camera, &request, tour);
        let shown: String = tour.to_string().chars().take(100).collect();
        site.send("PATROL_START", body.clone());
        let result = site.result_of(&request);
        assert_eq!(
            (&result["success"], &result["errorCode"]),
            (&json!(false), &json!(code)),
            "{shown}: {result}"
        );
        assert!(result["errorMessage"].as_str().unwrap().len() > 10);
        let (status, answer) = site
            .daemon
            .request("POST", "/api/patrol/start", Some(&body));
        assert_eq!(
            (status, &answer["code"]),
            (400, &json!(code)),
            "{shown}: {answer}"
        );
    }
    // More than a request may hold.
    let huge = json!({ "waypoints": vec![json!({ "action": "LEFT", "duration": 10 }); 100_000] });
    let (status, _) = site.daemon.request(
        "POST",
        "/api/patrol/start",
        Some(&payload(&camera, "huge", &huge)),
    );
    assert_eq!(status, 413);
    assert!(camera.log().is_empty());
    assert!(site.told("PATROL_EVENT").is_empty());
}

/// Times that overlap or go back are no mistake: such a waypoint begins when the last one ends.
#[test]
fn times_that_overlap_begin_at_once() {
    let daemon = Daemon::start(&Setup::default());
    let camera = camera();
    let waypoint = |action: &str, start: u64| json!({ "action": action, "speed": 50, "duration": 400, "startTime": start });
    let tour = json!({ "loopCount": 1, "waypoints": [
        waypoint("LEFT", 0), waypoint("UP", 100), waypoint("RIGHT", 50),
    ]});
    let body = payload(&camera, "p", &tour);
    let (status, answer) = daemon.request("POST", "/api/patrol/start", Some(&body));
    assert_eq!(status, 200, "{answer}");
    wait_for("the end", SOON, || {
        (daemon.get("/api/patrol/cam_1")["state"] == "STOPPED").then_some(())
    });
    stands(&camera);
    let (pan, tilt) = (camera.position(Axis::Pan), camera.position(Axis::Tilt));
    assert!((-0.12..0.12).contains(&pan), "{pan}");
    assert!((0.1..0.32).contains(&tilt), "{tilt}");
}
