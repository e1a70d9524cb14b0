//! Messages in, results out, against a line and a stream owner of the test's own.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, bounded};
use serde_json::{Value, json};

use super::*;
use crate::application::camera::fakes;
use crate::application::stream::{StreamRequest, StreamRules};
use crate::domain::gateway::StreamPlace;
use crate::domain::stream::{
    RetryLimit, StreamSpec, StreamStatus, TaskEvent, TaskEventKind, TaskId, TaskMode, TaskSender,
};
use crate::util::secret::Secret;

struct Line {
    out: Sender<Value>,
    places: Arc<AtomicUsize>,
    events: Mutex<Vec<(String, Value)>>,
}

struct Slot(Sender<Value>);

impl AnswerSlot for Slot {
    fn publish(self: Box<Self>, json: String) {
        self.0.send(serde_json::from_str(&json).unwrap()).unwrap();
    }
}

impl CloudLine for Line {
    fn reserve(&self, last_places: bool) -> Option<Box<dyn AnswerSlot>> {
        let left = self.places.load(Ordering::Relaxed);
        if left == PANIC {
            self.places.store(1, Ordering::Relaxed);
            panic!("as the test asked");
        }
        if left == 0 && !last_places {
            return None;
        }
        Some(Box::new(Slot(self.out.clone())))
    }
    fn task_event(&self, task: &TaskId, json: String) {
        let value = serde_json::from_str(&json).unwrap();
        self.events.lock().unwrap().push((task.to_string(), value));
    }
    fn node_event(&self, name: &'static str, json: String) {
        let value = serde_json::from_str(&json).unwrap();
        self.events.lock().unwrap().push((name.to_owned(), value));
    }
    fn max_answer(&self) -> usize {
        MAX_ANSWER
    }
}

const MAX_ANSWER: usize = 20_000;
/// So many places make the line panic, once.
const PANIC: usize = usize::MAX;

struct Bench {
    messages: Option<Sender<CloudMessage>>,
    results: Receiver<Value>,
    requests: Receiver<StreamRequest>,
    places: Arc<AtomicUsize>,
    numbers: AtomicU64,
    asked: fakes::Asked,
    thread: Option<JoinHandle<()>>,
}

const SOON: Duration = Duration::from_secs(10);

impl Bench {
    fn new() -> Self {
        let (queue, requests) = bounded(64);
        let (out, results) = bounded(256);
        let (tx, rx) = bounded(64);
        let places = Arc::new(AtomicUsize::new(1));
        let line = Line {
            out,
            places: places.clone(),
            events: Mutex::default(),
        };
        let (cameras, asked, _) = fakes::cameras();
        let door = CommandDoor {
            streams: StreamService::new(queue, Arc::new(StreamRules::default())),
            cameras,
            line: Arc::new(line),
            node_id: "lss-m".into(),
        };
        Self {
            messages: Some(tx),
            results,
            requests,
            places,
            numbers: AtomicU64::new(0),
            asked,
            thread: Some(door.start(rx).unwrap()),
        }
    }

    /// The next place in the stream, or that of one that was held.
    fn place(&self, held_since: Option<i64>) -> StreamPlace {
        StreamPlace {
            made_ms: held_since.unwrap_or(0),
            section: 0,
            number: self.numbers.fetch_add(1, Ordering::Relaxed),
            held: held_since.is_some(),
        }
    }

    fn send(&self, text: &str) {
        self.send_at(text, None);
    }

    fn send_at(&self, text: &str, sent_at: Option<i64>) {
        let message = CloudMessage {
            id: "m:0".into(),
            name: "command".into(),
            text: Secret::new(text),
            place: self.place(sent_at),
            received: Instant::now(),
            age: None,
            replayed: false,
        };
        self.messages.as_ref().unwrap().send(message).unwrap();
    }

    fn result(&self) -> Value {
        self.results.recv_timeout(SOON).unwrap()
    }

    fn request(&self) -> StreamRequest {
        self.requests.recv_timeout(SOON).unwrap()
    }

    fn ask(&self, text: &str) -> Value {
        self.send(text);
        self.result()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.messages = None;
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn start(id: &str) -> String {
    json!({
        "command": "START_STREAM",
        "payload": {
            "taskId": id, "cameraId": "cam_1", "requestId": "r-1",
            "sourceUrl": "rtsp://admin:canary-pw-1@127.0.0.1/x",
            "whipUrl": "https://whip.example/canary-path-2/publish",
            "playbackUrl": "https://play.example/whep"
        }
    })
    .to_string()
}

fn task_of(spec: StreamSpec, status: StreamStatus) -> StreamTask {
    StreamTask {
        spec,
        status,
        process_id: Some(7),
        error: None,
        retry_count: 0,
        max_retries: RetryLimit::Times(3),
        created_at: UNIX_EPOCH,
        started_at: None,
        stopped_at: None,
        last_heartbeat: None,
        mode: TaskMode::Transcode,
        sender: TaskSender::Ffmpeg,
        mode_reason: String::new(),
        audio: crate::domain::stream::TaskAudio::Encoded,
        progress: None,
        exit_history: Vec::new(),
        stop_reason: None,
        tally: crate::domain::stream::Tally::default(),
    }
}

#[test]
fn a_start_is_answered_when_its_first_try_ends_and_holds_nothing_up() {
    let bench = Bench::new();
    bench.send(&start("t1"));
    let StreamRequest::Start {
        spec, first_try, ..
    } = bench.request()
    else {
        panic!("no start");
    };
    let task = task_of(*spec, StreamStatus::Starting);
    // Others are answered in the meantime.
    let other = bench.ask(r#"{"command":"PTZ_STOP","payload":{"cameraId":"c"}}"#);
    assert_eq!(other["errorCode"], 20004);
    let mut streaming = task;
    streaming.status = StreamStatus::Streaming;
    first_try.unwrap().send(Ok(streaming)).unwrap();
    let result = bench.result();
    assert_eq!(result["type"], "COMMAND_RESULT");
    assert_eq!(result["command"], "START_STREAM");
    assert_eq!(result["success"], true);
    assert_eq!(result["errorCode"], 0);
    assert_eq!(result["errorMessage"], Value::Null);
    assert_eq!(
        (&result["taskId"], &result["cameraId"]),
        (&json!("t1"), &json!("cam_1"))
    );
    assert_eq!(
        (&result["requestId"], &result["nodeId"]),
        (&json!("r-1"), &json!("lss-m"))
    );
    assert_eq!(result["data"]["status"], "STREAMING");
    assert_eq!(result["data"]["playbackUrl"], "https://play.example/whep");
    let text = result.to_string();
    assert!(!text.contains("canary"), "{text}");
}

#[test]
fn a_failed_start_tells_whether_it_goes_on() {
    let bench = Bench::new();
    bench.send(&start("t1"));
    let StreamRequest::Start {
        spec, first_try, ..
    } = bench.request()
    else {
        panic!("no start");
    };
    let task = task_of(*spec, StreamStatus::Reconnecting);
    let fault = Fault::new(ErrorCode::RtspConnFailed, "the camera refused");
    first_try
        .unwrap()
        .send(Err((fault, Some(Box::new(task)))))
        .unwrap();
    let result = bench.result();
    assert_eq!(
        (&result["success"], &result["errorCode"]),
        (&json!(false), &json!(30201))
    );
    assert_eq!(result["data"]["status"], "RECONNECTING");
}

#[test]
fn a_stop_is_answered_when_it_is_reaped_also_from_a_string() {
    let bench = Bench::new();
    let inner = json!({"command":"STOP_STREAM","payload":{"taskId":"t1","force":true}}).to_string();
    bench.send(&json!(inner).to_string());
    let StreamRequest::Stop { task, force, done } = bench.request() else {
        panic!("no stop");
    };
    assert_eq!((task.as_str(), force), ("t1", true));
    done.send(Err(Fault::new(
        ErrorCode::TaskNotFound,
        "there is no task t1",
    )))
    .unwrap();
    assert_eq!(bench.result()["errorCode"], 30101);
}

#[test]
fn a_start_that_comes_after_its_later_stop_is_not_executed() {
    let bench = Bench::new();
    bench.send_at(
        r#"{"command":"STOP_STREAM","payload":{"taskId":"t1"}}"#,
        Some(2_000),
    );
    let StreamRequest::Stop { done, .. } = bench.request() else {
        panic!("no stop");
    };
    done.send(Err(Fault::new(ErrorCode::TaskNotFound, "no")))
        .unwrap();
    assert_eq!(bench.result()["errorCode"], 30101);
    // Held back while the stop passed.
    bench.send_at(&start("t1"), Some(1_000));
    let result = bench.result();
    assert_eq!(result["errorCode"], 30106, "{result}");
    // One that was sent after the stop is.
    bench.send_at(&start("t1"), Some(3_000));
    let StreamRequest::Start { first_try, .. } = bench.request() else {
        panic!("no start");
    };
    first_try
        .unwrap()
        .send(Err((Fault::new(ErrorCode::NodeBusy, "no"), None)))
        .unwrap();
    assert_eq!(bench.result()["errorCode"], 30302);
}

#[test]
fn query_with_and_without_a_task() {
    let bench = Bench::new();
    bench.send(r#"{"command":"QUERY_STATUS","payload":{}}"#);
    let StreamRequest::List {
        active_only: false,
        reply,
    } = bench.request()
    else {
        panic!("no list");
    };
    reply.send(Vec::new()).unwrap();
    assert_eq!(bench.result()["data"], json!({"tasks": []}));
    bench.send(r#"{"command":"QUERY_STATUS","payload":{"taskId":"t9"}}"#);
    let StreamRequest::Get { reply, .. } = bench.request() else {
        panic!("no get");
    };
    reply
        .send(Err(Fault::new(ErrorCode::TaskNotFound, "no")))
        .unwrap();
    assert_eq!(bench.result()["success"], false);
}

#[test]
fn what_can_t_be_understood_is_answered_with_the_reason() {
    let bench = Bench::new();
    for (text, code, words) in [
        ("not json", 20001, "malformed"),
        ("", 20002, "command is missing"),
        ("[1]", 20003, "object"),
        (r#""\u0000""#, 20001, "malformed"),
        (r#"{"command":7}"#, 20003, "command"),
        (
            r#"{"command":"LAUNCH","payload":{}}"#,
            20003,
            "unknown command",
        ),
        (
            r#"{"command":"START_STREAM","payload":[]}"#,
            20003,
            "payload",
        ),
        (r#"{"command":"START_STREAM"}"#, 20002, "taskId"),
        (
            r#"{"command":"STOP_STREAM","payload":{"taskId":"t","force":"yes"}}"#,
            20003,
            "force",
        ),
        (r#"{"command":"STOP_STREAM","payload":{}}"#, 20002, "taskId"),
    ] {
        let result = bench.ask(text);
        assert_eq!(result["errorCode"], code, "{text}: {result}");
        let message = result["errorMessage"].as_str().unwrap();
        assert!(message.contains(words), "{text}: {message}");
        assert_eq!(result["success"], false);
    }
    // A payload that is wrong further down still names its task.
    let text = r#"{"command":"START_STREAM","payload":{"taskId":"t5","sourceUrl":1}}"#;
    assert_eq!(bench.ask(text)["taskId"], "t5");
}

#[test]
fn a_full_store_refuses_all_but_stops() {
    let bench = Bench::new();
    bench.places.store(0, Ordering::Relaxed);
    assert_eq!(bench.ask(&start("t1"))["errorCode"], 30302);
    bench.send(r#"{"command":"STOP_STREAM","payload":{"taskId":"t1"}}"#);
    let StreamRequest::Stop { done, .. } = bench.request() else {
        panic!("the stop was not executed");
    };
    done.send(Err(Fault::new(ErrorCode::TaskNotFound, "no")))
        .unwrap();
    assert_eq!(bench.result()["errorCode"], 30101);
}

#[test]
fn a_panic_in_one_command_is_answered_and_silences_nothing() {
    let bench = Bench::new();
    bench.places.store(PANIC, Ordering::Relaxed);
    assert_eq!(bench.ask(&start("t1"))["errorCode"], 50001);
    assert_eq!(bench.ask("{}")["errorCode"], 20002);
}

#[test]
fn what_stops_something_is_urgent() {
    for text in [
        r#"{"command":"STOP_STREAM","payload":{"taskId":"t"}}"#,
        r#"{"command":"PTZ_STOP"}"#,
        r#"{"command":"PTZ_CONTROL","payload":{"action":"STOP"}}"#,
        r#"{"command":"PTZ_CONTINUOUS_MOVE","payload":{"action":"PAN_LEFT","speed":0}}"#,
        r#"{"command":"PATROL_PAUSE","payload":{}}"#,
        r#""{\"command\":\"PTZ_STOP\"}""#,
        r#"{"command":"PTZ_CONTROL","payload":{"action":"stop"}}"#,
        r#"{"command":"ptz_stop","cameraId":"c"}"#,
        r#"{"command":"PTZ_CONTROL","payload":"{\"action\":\"Stop\"}"}"#,
        r#"{"command":"PTZ_CONTROL","payload":{"action":"TILT_UP","speed":"0"}}"#,
        r#"{"command":"PTZ_CONTROL","payload":{"speed":0}}"#,
        r#"{"command":" patrol_stop ","payload":7}"#,
    ] {
        assert!(is_urgent(text), "{text}");
    }
    for text in [
        r#"{"command":"START_STREAM"}"#,
        r#"{"command":"PTZ_CONTROL","payload":{"action":"PAN_LEFT","speed":5}}"#,
        // Its speed says nothing of how it goes there.
        r#"{"command":"PTZ_CONTROL","payload":{"action":"GOTO_PRESET","presetId":3,"speed":0}}"#,
        r#"{"command":"PTZ_CONTROL","payload":{"action":"PAN_LEFT","speed":""}}"#,
        "garbage",
        "7",
        "",
    ] {
        assert!(!is_urgent(text), "{text}");
    }
}

#[test]
fn task_events_have_the_contract_s_shape() {
    let (out, _results) = bounded(1);
    let line = Arc::new(Line {
        out,
        places: Arc::default(),
        events: Mutex::default(),
    });
    let events = TaskEvents {
        line: line.clone(),
        node_id: "lss-m".into(),
    };
    let command = {
        let value: Value = serde_json::from_str(&start("t1")).unwrap();
        let fields = crate::adapter::decode::Fields::of(&value["payload"], "payload").unwrap();
        crate::adapter::wire::start_command(&fields).unwrap()
    };
    let spec = command.validate(&StreamRules::default()).unwrap();
    crate::domain::gateway::TaskObserver::task_changed(
        &events,
        &TaskEvent {
            kind: TaskEventKind::Started,
            at: UNIX_EPOCH,
            task: task_of(spec, StreamStatus::Streaming),
        },
    );
    let told = line.events.lock().unwrap().clone();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].0, "t1");
    assert_eq!(
        told[0].1,
        json!({
            "type": "TASK_EVENT", "taskId": "t1", "nodeId": "lss-m", "event": "STARTED",
            "status": "STREAMING", "processId": 7, "errorCode": null, "errorMessage": null,
            "timestamp": "1970-01-01T00:00:00.000Z"
        })
    );
}

/// A payload with everything that is needed.
fn camera(more: &Value) -> Value {
    let mut payload = json!({
        "cameraId": "cam_1", "ip": "192.168.0.64", "port": 80, "requestId": 7,
        "username": "admin", "password": fakes::PASSWORD, "vendorType": "HIKVISION",
    });
    for (key, value) in more.as_object().unwrap() {
        payload[key] = value.clone();
    }
    payload
}

fn message(command: &str, more: &Value) -> String {
    json!({ "command": command, "payload": camera(more) }).to_string()
}

#[test]
fn each_camera_command_is_decoded_sent_and_answered() {
    let bench = Bench::new();
    let cases = [
        (
            "PTZ_CONTROL",
            json!({ "action": "LEFT_UP", "speed": 40 }),
            "192.168.0.64:80 PanTiltZoom -40 40 0 0 0 for 30000 ms",
        ),
        (
            "PTZ_CONTINUOUS_MOVE",
            json!({ "action": "FOCUS_FAR", "duration": 1500 }),
            "192.168.0.64:80 Focus 0 0 0 50 0 for 1500 ms",
        ),
        ("PTZ_STOP", json!({}), "192.168.0.64:80 PanTiltZoom stop"),
        (
            "PTZ_PRESET_GOTO",
            json!({ "presetId": 3, "force": true }),
            "192.168.0.64:80 goto 3 true",
        ),
        (
            "PTZ_PRESET_SET",
            json!({ "presetId": "4", "presetName": "Gate" }),
            "192.168.0.64:80 set Some(\"4\") Some(\"Gate\")",
        ),
        (
            "PTZ_PRESET_DELETE",
            json!({ "presetId": "4" }),
            "192.168.0.64:80 delete 4",
        ),
        (
            "PTZ_CONTROL",
            json!({ "action": "START_PATROL", "patrolId": "2" }),
            "192.168.0.64:80 start patrol 2",
        ),
        ("CAMERA_CHECK", json!({}), "192.168.0.64:80 check"),
        ("CAMERA_PRESET_LIST", json!({}), "192.168.0.64:80 presets"),
        ("CAMERA_DEVICE_INFO", json!({}), "192.168.0.64:80 probe"),
        ("ONVIF_PROBE", json!({}), "192.168.0.64:80 probe"),
    ];
    for (command, more, asked) in cases {
        bench.asked.lock().unwrap().clear();
        let result = bench.ask(&message(command, &more));
        assert_eq!(
            (&result["success"], &result["errorCode"], &result["command"]),
            (&json!(true), &json!(0), &json!(command)),
            "{result}"
        );
        assert_eq!(
            (&result["cameraId"], &result["requestId"]),
            (&json!("cam_1"), &json!("7"))
        );
        let lines = bench.asked.lock().unwrap().clone();
        assert!(
            lines.iter().any(|line| line == asked),
            "{command}: {lines:?}"
        );
        assert!(!result.to_string().contains(fakes::PASSWORD));
    }
}

#[test]
fn results_have_the_shapes_of_the_contract() {
    let bench = Bench::new();
    let data = |command: &str, more: Value| bench.ask(&message(command, &more))["data"].clone();
    let keys = |value: &Value| -> Vec<String> {
        let mut keys: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    };
    let moved = data("PTZ_CONTROL", json!({ "action": "PAN_LEFT" }));
    assert_eq!(
        keys(&moved),
        [
            "action",
            "cameraId",
            "presetId",
            "protocol",
            "stopsAt",
            "superseded"
        ]
    );
    assert_eq!(moved["protocol"], "ISAPI");
    assert!(moved["stopsAt"].is_string());
    let check = data("CAMERA_CHECK", json!({}));
    assert_eq!(
        keys(&check),
        ["authenticated", "latencyMs", "online", "protocol"]
    );
    assert_eq!(
        (&check["online"], &check["authenticated"]),
        (&json!(true), &json!(true))
    );
    let presets = data("CAMERA_PRESET_LIST", json!({}));
    assert_eq!(
        presets,
        json!({ "presets": [{ "id": "1", "name": null, "enabled": true }] })
    );
    let status = data("PATROL_STATUS", json!({}));
    assert_eq!(
        status,
        json!({
            "tourId": null, "cameraId": "cam_1", "state": "STOPPED",
            "currentWaypoint": 0, "currentLoop": 0, "loopCount": 0,
        })
    );
    let info = data("CAMERA_DEVICE_INFO", json!({}));
    assert_eq!(
        (&info["manufacturer"], &info["capabilities"], &info["model"]),
        (&json!("Fake"), &Value::Null, &Value::Null)
    );
}

#[test]
fn a_picture_fits_the_whole_message() {
    let bench = Bench::new();
    let result = bench.ask(&message("CAMERA_SNAPSHOT", &json!({})));
    assert_eq!(result["success"], true, "{result}");
    let text = result.to_string();
    assert!(text.len() <= MAX_ANSWER, "{}", text.len());
    assert!(text.len() > MAX_ANSWER / 2, "{}", text.len());
    assert_eq!(result["data"]["contentType"], "image/jpeg");
}

#[test]
fn a_refused_login_is_told_as_the_contract_says() {
    let bench = Bench::new();
    let wrong = json!({ "password": "canary-wrong" });
    let result = bench.ask(&message("CAMERA_CHECK", &wrong));
    assert_eq!(
        (&result["success"], &result["errorCode"]),
        (&json!(false), &json!(10001))
    );
    assert_eq!(
        (&result["data"]["online"], &result["data"]["authenticated"]),
        (&json!(true), &json!(false))
    );
    // The second one does not reach the camera.
    let result = bench.ask(&message(
        "PTZ_CONTROL",
        &json!({
            "password": "canary-wrong", "action": "PAN_LEFT"
        }),
    ));
    assert_eq!(result["errorCode"], 10001);
    let message = result["errorMessage"].as_str().unwrap();
    assert!(message.contains("guarded until"), "{message}");
    assert!(!result.to_string().contains("canary"));
    assert_eq!(bench.asked.lock().unwrap().len(), 1);
}

#[test]
fn what_is_too_old_moves_nothing_and_stops_are_never_too_old() {
    let bench = Bench::new();
    let send = |command: &str, more: &Value, age: Option<Duration>, replayed| {
        let message = CloudMessage {
            id: "m:1".into(),
            name: "command".into(),
            text: Secret::new(message(command, more)),
            place: bench.place(None),
            received: Instant::now(),
            age,
            replayed,
        };
        bench.messages.as_ref().unwrap().send(message).unwrap();
        bench.result()
    };
    let left = json!({ "action": "PAN_LEFT" });
    let old = Some(Duration::from_secs(6));
    for (age, replayed) in [(old, false), (old, true), (None, true)] {
        let result = send("PTZ_CONTROL", &left, age, replayed);
        assert_eq!(result["errorCode"], 20005, "{result}");
        assert!(result["errorMessage"].as_str().unwrap().contains("stale"));
    }
    assert!(bench.asked.lock().unwrap().is_empty());
    let zero = json!({ "action": "PAN_LEFT", "speed": 0 });
    for (command, more) in [
        ("PTZ_STOP", json!({})),
        ("PTZ_CONTROL", json!({ "action": "STOP" })),
        ("PTZ_CONTROL", zero),
        ("PATROL_STATUS", json!({})),
    ] {
        assert_eq!(send(command, &more, None, true)["success"], true);
    }
    let young = Some(Duration::from_secs(1));
    assert_eq!(send("PTZ_CONTROL", &left, young, true)["success"], true);
    assert_eq!(send("PTZ_CONTROL", &left, None, false)["success"], true);
}

#[test]
fn a_fault_of_lss_in_a_camera_request_is_an_answer_and_the_next_works() {
    let bench = Bench::new();
    let result = bench.ask(&message("CAMERA_PRESET_LIST", &json!({ "port": 666 })));
    assert_eq!(result["errorCode"], 50001, "{result}");
    let result = bench.ask(&message("CAMERA_PRESET_LIST", &json!({})));
    assert_eq!(result["success"], true, "{result}");
}

#[test]
fn bad_camera_payloads() {
    let bench = Bench::new();
    for (command, more, code) in [
        ("PTZ_CONTROL", json!({}), 20002),
        ("PTZ_CONTROL", json!({ "action": "FLY" }), 20003),
        (
            "PTZ_CONTROL",
            json!({ "action": "PAN_LEFT", "speed": 1000 }),
            20003,
        ),
        ("PTZ_PRESET_GOTO", json!({}), 20002),
        ("PTZ_PRESET_GOTO", json!({ "presetId": "../../x" }), 20003),
        ("PTZ_STOP", json!({ "ip": "239.1.1.1" }), 20005),
        ("PATROL_START", json!({ "tourId": "t" }), 20002),
        (
            "PATROL_START",
            json!({ "tourId": "t", "waypoints": [] }),
            20005,
        ),
        (
            "PATROL_START",
            json!({ "tourId": "t", "waypoints": ["x"] }),
            20003,
        ),
        ("PATROL_PAUSE", json!({}), 20004),
        ("CAMERA_CHECK", json!({ "password": null }), 20002),
    ] {
        let result = bench.ask(&message(command, &more));
        assert_eq!(result["errorCode"], code, "{command} {more}: {result}");
    }
    let nobody = bench.ask(r#"{"command":"PTZ_CONTROL","payload":{"action":"PAN_LEFT"}}"#);
    assert_eq!(nobody["errorCode"], 20002);
    assert!(bench.asked.lock().unwrap().is_empty());
}

#[test]
fn a_stop_needs_nothing_but_its_camera() {
    let bench = Bench::new();
    let known = bench.ask(&message("CAMERA_CHECK", &json!({})));
    assert_eq!(known["success"], true);
    let cases = [
        (json!({ "port": "x" }), json!(["port"])),
        (json!({ "port": 70_000 }), json!(["port"])),
        (json!({ "channel": -1 }), json!(["channel"])),
        (json!({ "vendorType": 7 }), json!(["vendorType"])),
        (json!({ "username": "admin" }), json!(["username"])),
        (json!({ "password": "canary" }), json!(["password"])),
        (json!({ "ip": "not a host!" }), json!(["ip"])),
        (json!({ "ip": "239.1.1.1" }), json!(["ip"])),
        (json!({ "requestId": [1] }), json!(["requestId"])),
        (json!({ "tourId": { "a": 1 } }), json!(["tourId"])),
        (
            json!({ "port": [], "channel": "two", "duration": "soon" }),
            json!(["port", "channel"]),
        ),
        (
            json!({ "port": 0, "channel": 0, "username": "" }),
            Value::Null,
        ),
        (json!({ "port": "80" }), Value::Null),
    ];
    for (beside, ignored) in &cases {
        let mut payload = beside.clone();
        payload["cameraId"] = json!("cam_1");
        let result = bench.ask(&json!({ "command": "PTZ_STOP", "payload": payload }).to_string());
        assert_eq!(result["success"], true, "{beside}: {result}");
        assert_eq!(&result["data"]["ignored"], ignored, "{beside}");
        assert!(!result.to_string().contains("canary"));
    }
    for (action, beside, ignored) in [
        ("stop", json!({ "speed": "fast" }), json!(["speed"])),
        (
            "TILT_UP",
            json!({ "speed": 0, "duration": "x" }),
            json!(["duration"]),
        ),
        ("FLY", json!({ "speed": "0" }), json!(["action"])),
        ("", json!({ "speed": 0 }), Value::Null),
    ] {
        let mut payload = beside.clone();
        payload["cameraId"] = json!("cam_1");
        payload["action"] = json!(action);
        let text = json!({ "command": "PTZ_CONTROL", "payload": payload }).to_string();
        let result = bench.ask(&text);
        assert_eq!(result["success"], true, "{result}");
        assert_eq!(result["data"]["ignored"], ignored, "{action} {beside}");
        assert!(is_urgent(&text));
    }
    // A movement is not guessed at.
    for beside in [json!({ "port": "x" }), json!({ "username": "admin" })] {
        let mut payload = beside;
        payload["cameraId"] = json!("cam_1");
        payload["action"] = json!("PAN_LEFT");
        let text = json!({ "command": "PTZ_CONTROL", "payload": payload }).to_string();
        assert_eq!(bench.ask(&text)["success"], false);
    }
    // Nobody says which camera.
    for payload in [
        json!({ "port": 80 }),
        json!({ "cameraId": "a b" }),
        json!({ "ip": "?" }),
        json!({ "cameraId": "never_seen", "ip": "239.1.1.1" }),
    ] {
        let result = bench.ask(&json!({ "command": "PTZ_STOP", "payload": payload }).to_string());
        assert_eq!(result["success"], false, "{result}");
    }
}

#[test]
fn a_message_is_understood_in_every_form_that_can_mean_one_thing_only() {
    let bench = Bench::new();
    assert_eq!(
        bench.ask(&message("CAMERA_CHECK", &json!({})))["success"],
        true
    );
    let camera = camera(&json!({ "action": "PAN_LEFT", "speed": "40", "duration": "1500" }));
    let as_text = json!({ "command": "PTZ_CONTROL", "payload": camera.to_string() });
    let mut flat = camera.clone();
    flat["command"] = json!("ptz_control");
    let beside = json!({ "command": "Ptz_Control", "cameraId": "cam_1", "type": "x", "channel": "y",
        "payload": { "action": "pan_left", "speed": 40.0, "duration": 1500, "port": 0 } });
    for text in [as_text, flat, beside] {
        bench.asked.lock().unwrap().clear();
        let result = bench.ask(&text.to_string());
        assert_eq!(result["success"], true, "{result}");
        assert_eq!(result["cameraId"], "cam_1");
        let asked = bench.asked.lock().unwrap().clone();
        let moved = "192.168.0.64:80 PanTiltZoom -40 0 0 0 0 for 1500 ms".to_owned();
        assert!(asked.contains(&moved), "{asked:?}");
    }
    for text in [
        r#"{"command":"ptz_stop","payload":"{\"cameraId\":\"cam_1\"}"}"#,
        r#"{"command":"PTZ_STOP","cameraId":"cam_1"}"#,
        r#"{"command":"PTZ_STOP","cameraId":"cam_1","payload":{}}"#,
        r#"{"command":"PTZ_STOP","cameraId":"cam_1","payload":""}"#,
    ] {
        let result = bench.ask(text);
        assert_eq!(result["success"], true, "{text}: {result}");
        assert_eq!(result["data"].get("ignored"), None);
    }
    let result = bench.ask(r#"{"command":"PTZ_STOP","cameraId":"cam_1","payload":"{oops"}"#);
    assert_eq!(result["data"]["ignored"], json!(["payload"]), "{result}");
    let result = bench.ask(r#"{"command":"PTZ_CONTROL","cameraId":"cam_1","payload":"{oops"}"#);
    assert_eq!(result["errorCode"], 20001, "{result}");
}

#[test]
fn ids_may_be_numbers() {
    let bench = Bench::new();
    bench.send(r#"{"command":"STOP_STREAM","payload":{"taskId":4711,"force":"true"}}"#);
    let StreamRequest::Stop { task, force, done } = bench.request() else {
        panic!("no stop");
    };
    assert_eq!((task.as_str(), force), ("4711", true));
    done.send(Err(Fault::new(ErrorCode::TaskNotFound, "no")))
        .unwrap();
    assert_eq!(bench.result()["taskId"], "4711");
    let check = bench.ask(&message("CAMERA_CHECK", &json!({ "cameraId": 12 })));
    assert_eq!(check["cameraId"], "12", "{check}");
}
