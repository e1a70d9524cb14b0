//! An id that names another camera from now on: what it set in motion where it was is ended there.

use std::net::Ipv4Addr;

use lss_test::daemon::wait_for;
use lss_test::digest_server::GateRules;
use lss_test::isapi_camera::{self, IsapiStandIn, Model};
use serde_json::{Value, json};

use super::{Bench, SOON, lss_test, stands, with};

/// A dome without a limit of its own, at an address of its own.
fn dome_at(last: u8) -> IsapiStandIn {
    let model = Model {
        momentary: false,
        ..Model::default()
    };
    let ip = Ipv4Addr::new(127, 0, 0, last);
    isapi_camera::start_at(ip, GateRules::default(), model)
}

fn says(camera: &IsapiStandIn, action: &str) -> Value {
    with(camera.addr, Some("HIK"), &json!({ "action": action }))
}

/// It moves on while others are told things.
fn goes_on(bench: &Bench, camera: &IsapiStandIn, other: &IsapiStandIn) {
    for _ in 0..5 {
        bench.done("somebody", &says(other, "STOP"));
    }
    assert!(camera.moving());
}

#[test]
fn a_command_that_names_another_address_stops_what_moves_at_the_old_one() {
    let bench = Bench::new();
    let (old, new) = (dome_at(2), dome_at(3));
    bench.done("c", &says(&old, "PAN_LEFT"));
    bench.done("c", &says(&new, "PAN_RIGHT"));
    stands(&old);
    // A stop that names another place is both.
    bench.done("c", &says(&old, "STOP"));
    stands(&new);
    assert!(!old.moving());
}

#[test]
fn a_stream_that_names_another_address_stops_what_moves_at_the_old_one() {
    let bench = Bench::new();
    let old = dome_at(2);
    bench.done("c", &says(&old, "PAN_LEFT"));
    let body = json!({
        "taskId": "t", "cameraId": "c", "whipUrl": "https://127.0.0.1:1/whip",
        "sourceUrl": "rtsp://admin:x@127.0.0.3:554/ok",
    });
    let (status, answer) = bench
        .daemon
        .request("POST", "/api/stream/start", Some(&body));
    assert_eq!(status, 200, "{answer}");
    stands(&old);
}

#[test]
fn a_stream_by_another_word_for_the_same_camera_stops_nothing() {
    let bench = Bench::new();
    let camera = dome_at(1);
    bench.done("c", &says(&camera, "PAN_LEFT"));
    let body = json!({
        "taskId": "t", "cameraId": "c", "whipUrl": "https://127.0.0.1:1/whip",
        "sourceUrl": "rtsp://admin:x@localhost:554/ok",
    });
    let (status, answer) = bench
        .daemon
        .request("POST", "/api/stream/start", Some(&body));
    assert_eq!(status, 200, "{answer}");
    goes_on(&bench, &camera, &dome_at(2));
    // It is still the one that the id names.
    bench.done("c", &json!({ "action": "STOP" }));
    assert!(!camera.moving());
}

#[test]
fn another_port_or_channel_is_another_camera_too() {
    let bench = Bench::new();
    let (old, new) = (dome_at(1), dome_at(1));
    bench.done("c", &says(&old, "PAN_LEFT"));
    bench.done("c", &says(&new, "STOP"));
    stands(&old);
    bench.done("c", &says(&old, "PAN_LEFT"));
    // The stand-in has no such channel.
    let (status, answer) = bench.ptz("c", &json!({ "action": "PAN_LEFT", "channel": 2 }));
    assert_ne!(status, 200, "{answer}");
    stands(&old);
}

#[test]
fn a_tour_ends_where_its_id_has_left() {
    let bench = Bench::new();
    let (old, new) = (dome_at(2), dome_at(3));
    let tour = with(
        old.addr,
        Some("HIK"),
        &json!({
            "cameraId": "c", "tourId": "t",
            "waypoints": [
                { "action": "LEFT", "speed": 20, "duration": 600, "startTime": 0 },
                { "action": "RIGHT", "speed": 20, "duration": 600, "startTime": 600 },
            ]
        }),
    );
    let (status, answer) = bench
        .daemon
        .request("POST", "/api/patrol/start", Some(&tour));
    assert_eq!(status, 200, "{answer}");
    wait_for("the tour to move", SOON, || old.moving().then_some(()));
    bench.done("c", &says(&new, "STOP"));
    stands(&old);
    let state = bench.daemon.get(&format!("/api/patrol/{}", old.addr.ip()));
    assert_ne!(state["state"], "RUNNING", "{state}");
}

#[test]
fn what_others_move_goes_on() {
    let bench = Bench::new();
    let (old, new) = (dome_at(2), dome_at(3));
    // One id has moved it before, another does so now.
    bench.done("c", &says(&old, "PAN_LEFT"));
    bench.done("another", &says(&old, "PAN_RIGHT"));
    bench.done("c", &says(&new, "STOP"));
    goes_on(&bench, &old, &new);
    bench.done("another", &json!({ "action": "STOP" }));
    assert!(!old.moving());
}

#[test]
fn cameras_that_are_called_by_their_address_alone_are_many() {
    let bench = Bench::new();
    let (one, other) = (dome_at(1), dome_at(1));
    bench.done("127.0.0.1", &says(&one, "PAN_LEFT"));
    bench.done("127.0.0.1", &says(&other, "PAN_LEFT"));
    goes_on(&bench, &one, &other);
    bench.done("127.0.0.1", &says(&one, "STOP"));
    assert!(!one.moving());
}
