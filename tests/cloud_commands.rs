//! The real binary steered over the cloud's line: commands in, results, heartbeats, presence and
//! task events out, against the strict Ably and RCS stand-ins.
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
use support::daemon::{start_body, wait_for};
use support::digest_server::GateRules;
use support::isapi_camera;
use support::site::{Site, published};

const SOON: Duration = Duration::from_secs(20);
const REGISTRY: &str = "lss:registry";

fn start_payload(task: &str, mode: &str, request: &str) -> Value {
    let mut payload = start_body(task, mode);
    payload["requestId"] = json!(request);
    payload
}

#[test]
fn commands_are_executed_answered_and_told() {
    let mut site = Site::start();
    site.send("START_STREAM", start_payload("t1", "ok", "r1"));
    let result = site.result_of("r1");
    assert_eq!(result["success"], true, "{result}");
    assert_eq!(result["data"]["status"], "STREAMING");
    assert_eq!(result["nodeId"], site.daemon.node_id.as_str());
    site.send("QUERY_STATUS", json!({ "taskId": "t1", "requestId": "r2" }));
    assert_eq!(site.result_of("r2")["data"]["taskId"], "t1");
    wait_for("a heartbeat with the task", SOON, || {
        site.told("HEARTBEAT")
            .iter()
            .any(|beat| beat["activeTasks"]["t1"].is_u64())
            .then_some(())
    });
    site.send("STOP_STREAM", json!({ "taskId": "t1", "requestId": "r3" }));
    let result = site.result_of("r3");
    assert_eq!(result["data"]["status"], "STOPPED", "{result}");
    let events = site
        .ably
        .model(|model| published(model, "task:t1:events", "TASK_EVENT"));
    let kinds: Vec<&str> = events
        .iter()
        .map(|e| e["event"].as_str().unwrap())
        .collect();
    // Begun, and the way that carries it once the source has said what it is.
    assert_eq!(
        kinds,
        ["STATUS_UPDATE", "STATUS_UPDATE", "STARTED", "STOPPED"]
    );
    for (request, command, payload, code) in [
        ("r4", "STOP_STREAM", json!({ "taskId": "nobody" }), 30101),
        ("r5", "START_STREAM", json!({ "taskId": "x" }), 20002),
        ("r6", "WHATEVER", json!({}), 20003),
    ] {
        let mut payload = payload;
        payload["requestId"] = json!(request);
        site.send(command, payload);
        let result = site.result_of(request);
        assert_eq!(
            (&result["success"], &result["errorCode"]),
            (&json!(false), &json!(code)),
            "{result}"
        );
    }
    site.ably.publish(
        &site.commands(),
        &json!({ "name": "command", "data": "not json" }),
    );
    wait_for("an answer to what can't be understood", SOON, || {
        site.told("COMMAND_RESULT")
            .iter()
            .any(|r| r["errorCode"] == 20001)
            .then_some(())
    });
    // The register body, entered once, gone at the end.
    let node = site.daemon.node_id.clone();
    let entry = site.ably.wait("presence", |model| {
        let registry = model.channels.get(REGISTRY)?;
        registry
            .members
            .iter()
            .find(|((_, client), _)| *client == node)
            .map(|(_, m)| m.entry.clone())
    });
    let body = match &entry["data"] {
        Value::String(text) => serde_json::from_str(text).unwrap(),
        other => other.clone(),
    };
    assert_eq!(body["ablyClientId"], node.as_str());
    assert_eq!(
        site.daemon.get("/api/stream/health")["parts"]["ably"]["status"],
        "UP"
    );
    assert!(site.daemon.stop().success());
    site.ably.until("nobody present", |model| {
        model.channels[REGISTRY].members.is_empty()
    });
    assert_eq!(site.told("HEARTBEAT").last().unwrap()["status"], "OFFLINE");
    site.ably.assert_clean();
    assert!(
        site.rcs.violations().is_empty(),
        "{:?}",
        site.rcs.violations()
    );
    let status = site
        .told("COMMAND_RESULT")
        .iter()
        .chain(&site.told("HEARTBEAT"))
        .map(ToString::to_string)
        .collect::<String>();
    for canary in ["camera-canary-1", "whip-canary-path-2", "app.key:secret"] {
        assert!(!status.contains(canary), "{status}");
        assert!(!site.daemon.log().contains(canary), "{}", site.daemon.log());
    }
}

#[test]
fn a_cut_line_loses_nothing_and_doubles_nothing() {
    let site = Site::start();
    let node = site.daemon.node_id.clone();
    for round in 0..5 {
        site.ably.cut(&node);
        // Sent while it is away.
        let task = format!("c{round}");
        site.send(
            "START_STREAM",
            start_payload(&task, "ok", &format!("s{round}")),
        );
        site.send(
            "STOP_STREAM",
            json!({ "taskId": task, "requestId": format!("e{round}") }),
        );
    }
    for round in 0..5 {
        let started = site.result_of(&format!("s{round}"));
        // The stop follows at once: it ends the first try or finds it streaming.
        assert!(
            started["success"] == true || started["errorCode"] == 30106,
            "{started}"
        );
        assert_eq!(site.result_of(&format!("e{round}"))["success"], true);
    }
    let results = site.told("COMMAND_RESULT");
    let mut requests: Vec<&str> = results
        .iter()
        .filter_map(|r| r["requestId"].as_str())
        .collect();
    requests.sort_unstable();
    let before = requests.len();
    requests.dedup();
    assert_eq!(before, requests.len(), "a command was answered twice");
    assert_eq!(requests.len(), 10);
    site.ably.assert_clean();
}

#[test]
fn a_result_that_the_service_finds_too_large_is_answered_as_an_error() {
    let site = Site::start();
    site.send("START_STREAM", start_payload("t", "ok", "r"));
    assert_eq!(site.result_of("r")["success"], true);
    // A heartbeat may be what is refused: then another one is asked for.
    for n in 0.. {
        site.ably
            .model(|model| model.faults.nack.push_back((40009, 400)));
        let request = format!("q{n}");
        let payload = json!({ "taskId": "t", "requestId": request });
        site.send("QUERY_STATUS", payload);
        let result = site.result_of(&request);
        if result["success"] == true && n < 5 {
            continue;
        }
        assert_eq!(result["success"], false, "{result}");
        assert_eq!(result["command"], "QUERY_STATUS");
        assert_eq!(result["data"], Value::Null);
        let words = result["errorMessage"].as_str().unwrap();
        assert!(words.contains("40009"), "{words}");
        break;
    }
    wait_for("no result to wait", SOON, || {
        let health = site.daemon.get("/api/stream/health");
        let words = health["parts"]["ably"]["reason"].as_str()?.to_owned();
        words.contains("results waiting 0").then_some(())
    });
    site.ably.assert_clean();
}

#[test]
fn streams_outlive_the_line_and_the_result_waits_for_it() {
    let site = Site::start();
    let node = site.daemon.node_id.clone();
    site.send("START_STREAM", start_payload("t", "ok", "r"));
    wait_for("the command to be taken", SOON, || {
        let (status, _) = site.daemon.request("GET", "/api/stream/task/t", None);
        (status == 200).then_some(())
    });
    site.ably.silence(&node);
    site.daemon.wait_status("t", "STREAMING");
    site.ably.cut(&node);
    assert_eq!(site.result_of("r")["success"], true);
    assert_eq!(site.daemon.task("t")["status"], "STREAMING");
    assert_eq!(site.daemon.task("t")["retryCount"], 0);
}

fn camera_payload(camera: &isapi_camera::IsapiStandIn, request: &str, more: &Value) -> Value {
    let rules = GateRules::default();
    let mut payload = json!({
        "cameraId": "cam_1", "ip": "127.0.0.1", "port": camera.addr.port(),
        "username": rules.user, "password": rules.password, "vendorType": "HIKVISION",
        "requestId": request,
    });
    for (name, value) in more.as_object().unwrap() {
        payload[name] = value.clone();
    }
    payload
}

#[test]
fn a_camera_is_moved_stopped_and_photographed_over_the_line() {
    let site = Site::start();
    let mut picture = std::io::Cursor::new(Vec::new());
    // Noise: nothing that packs well.
    let mut seed = 1_u32;
    let noise = image::RgbImage::from_fn(1280, 720, |_, _| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        image::Rgb(seed.to_be_bytes()[..3].try_into().unwrap())
    });
    noise
        .write_to(&mut picture, image::ImageFormat::Jpeg)
        .unwrap();
    let model = isapi_camera::Model {
        picture: picture.into_inner(),
        picture_size: false,
        ..isapi_camera::Model::default()
    };
    let camera = isapi_camera::start(GateRules::default(), model);
    let left = json!({ "action": "PAN_LEFT", "speed": 50 });
    site.send("PTZ_CONTROL", camera_payload(&camera, "m1", &left));
    let result = site.result_of("m1");
    assert_eq!(
        (&result["success"], &result["data"]["protocol"]),
        (&json!(true), &json!("ISAPI")),
        "{result}"
    );
    assert!(camera.moving());
    site.send(
        "PTZ_STOP",
        json!({ "cameraId": "cam_1", "requestId": "m2" }),
    );
    assert_eq!(site.result_of("m2")["success"], true);
    assert!(!camera.moving());
    assert!(camera.position(Axis::Pan) < 0.0);
    site.send(
        "CAMERA_SNAPSHOT",
        json!({ "cameraId": "cam_1", "requestId": "s1" }),
    );
    let result = site.result_of("s1");
    assert_eq!(result["success"], true, "{}", result["errorMessage"]);
    assert!(result.to_string().len() < 65_536);
    assert!(result["data"]["width"].as_u64().unwrap() >= 200);
    assert!(!site.daemon.log().contains(&GateRules::default().password));
    site.ably.assert_clean();
}

#[test]
fn a_line_that_falls_silent_stops_what_it_moves() {
    let site = Site::start();
    let camera = isapi_camera::start(GateRules::default(), isapi_camera::Model::default());
    let left = json!({ "action": "PAN_LEFT", "speed": 10 });
    site.send("PTZ_CONTROL", camera_payload(&camera, "m1", &left));
    assert_eq!(site.result_of("m1")["success"], true);
    assert!(camera.moving());
    site.ably.silence(&site.daemon.node_id);
    // A ping every 2 s, and 3 s for its answer; long before the 30 s of the dead man's switch.
    wait_for("the camera to stand", Duration::from_secs(12), || {
        (!camera.moving()).then_some(())
    });
    wait_for("the event", Duration::from_secs(60), || {
        let events = site.told("PTZ_EVENT");
        events
            .iter()
            .any(|e| e["event"] == "STOPPED_BY_LINK_LOSS" && e["cameraId"] == "cam_1")
            .then_some(())
    });
}

fn moves_left() -> Value {
    json!({ "action": "PAN_LEFT", "speed": 10 })
}

fn tour() -> Value {
    json!({ "tourId": "t", "waypoints": [{ "action": "LEFT", "speed": 10, "duration": 60_000 }] })
}

/// A camera that runs on until it is stopped, and has a preset.
fn dome() -> isapi_camera::IsapiStandIn {
    let model = isapi_camera::Model {
        momentary: false,
        ..isapi_camera::Model::default()
    };
    let camera = isapi_camera::start(GateRules::default(), model);
    camera.with(|dome| {
        dome.presets
            .insert(3, ("Gate".to_owned(), [30.0, 0.0, 1.0]));
    });
    camera
}

#[test]
fn what_a_loss_brings_back_never_follows_its_later_stop() {
    let site = Site::start();
    let node = site.daemon.node_id.clone();
    let camera = |cam: &isapi_camera::IsapiStandIn, id: &str, request: &str, more: Value| {
        let mut payload = camera_payload(cam, request, &more);
        payload["cameraId"] = json!(id);
        payload
    };
    let [
        move_stop,
        tour_stop,
        goto_stop,
        array,
        instant,
        resumed,
        address,
    ] = std::array::from_fn::<_, 7, _>(|_| dome());
    // A tour that stands: its RESUME and the PAUSE behind it get lost.
    site.send("PATROL_START", camera(&resumed, "c6", "s6", tour()));
    assert_eq!(site.result_of("s6")["success"], true);
    site.send(
        "PATROL_PAUSE",
        json!({ "cameraId": "c6", "requestId": "p6" }),
    );
    assert_eq!(site.result_of("p6")["success"], true);
    wait_for("the tour to stand", SOON, || {
        (!resumed.moving()).then_some(())
    });
    site.ably.model(|model| {
        model.faults.refuse_resume = 1;
        model.faults.refuse_continuity = 2;
    });
    let stood = resumed.position(Axis::Pan);
    site.ably.cut(&node);
    let order = |command: &str, payload: Value| {
        json!({ "name": "command", "encoding": "json",
            "data": json!({ "command": command, "payload": payload }).to_string() })
    };
    let stop = |id: &str| json!({ "cameraId": id });
    site.send("PTZ_CONTROL", camera(&move_stop, "c1", "m1", moves_left()));
    site.send("PTZ_STOP", stop("c1"));
    site.send("PATROL_START", camera(&tour_stop, "c2", "m2", tour()));
    site.send("PATROL_STOP", stop("c2"));
    let preset = json!({ "presetId": 3 });
    site.send("PTZ_PRESET_GOTO", camera(&goto_stop, "c3", "m3", preset));
    site.send("PTZ_STOP", stop("c3"));
    let commands = site.commands();
    site.ably.with(|model, now| {
        let both = [
            order("PTZ_CONTROL", camera(&array, "c4", "m4", moves_left())),
            order("PTZ_STOP", stop("c4")),
        ];
        ((), model.publish_all(&commands, &both, now))
    });
    site.ably.with(|model, now| {
        let left = order("PTZ_CONTROL", camera(&instant, "c5", "m5", moves_left()));
        let (_, mut out) = model.publish(&commands, &left, now);
        let stop = order("PTZ_CONTROL", json!({ "cameraId": "c5", "action": "STOP" }));
        out.extend(model.publish(&commands, &stop, now).1);
        ((), out)
    });
    site.send(
        "PATROL_RESUME",
        json!({ "cameraId": "c6", "requestId": "m6" }),
    );
    site.send("PATROL_PAUSE", stop("c6"));
    site.send("PTZ_CONTROL", camera(&address, "c7", "m7", moves_left()));
    let at = json!({ "ip": "127.0.0.1", "port": address.addr.port() });
    site.send("PTZ_STOP", at);
    // And one that nobody has stopped is carried out.
    let free = dome();
    site.send("PTZ_CONTROL", camera(&free, "c8", "m8", moves_left()));
    for request in ["m1", "m2", "m3", "m4", "m5", "m6", "m7"] {
        let result = site.result_of(request);
        assert_eq!(
            (&result["success"], &result["data"]["superseded"]),
            (&json!(true), &json!(true)),
            "{request}: {result}"
        );
    }
    let free_result = site.result_of("m8");
    assert_eq!(free_result["data"]["superseded"], false, "{free_result}");
    assert!(free.moving());
    for camera in [move_stop, tour_stop, goto_stop, array, instant, address] {
        assert!(!camera.moving());
        assert!(camera.position(Axis::Pan).abs() < f64::EPSILON);
    }
    assert!(!resumed.moving());
    assert!((resumed.position(Axis::Pan) - stood).abs() < f64::EPSILON);
    site.ably.assert_clean();
}
