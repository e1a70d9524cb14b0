//! The daemon itself: two tasks at once, its end, its sudden death, its secrets.

use std::path::Path;

use serde_json::json;

use crate::daemon::{Lab, Lss, SOON, Settings, environment_of, rtsp};
use crate::lab::{self, Part};

#[test]
fn two_tasks_at_once_and_no_third() {
    let Some(lab) = Lab::enter("two_tasks_at_once_and_no_third") else {
        return;
    };
    let camera = lab.camera(&["one=long_h264_aac.mp4", "two=long_h265_aac.mp4"]);
    let receiver = lab.receiver();
    let lss = Lss::start(
        &lab,
        &Settings {
            max_tasks: 2,
            ..Settings::default()
        },
    );
    for task in ["one", "two"] {
        lss.start_stream(&rtsp(
            task,
            &camera.url(task),
            &receiver.url("ok", &lss.key(task)),
        ));
    }
    let third = rtsp(
        "three",
        &camera.url("one"),
        &receiver.url("ok", &lss.key("three")),
    );
    let answer = lss.rest("POST", "/api/stream/start", Some(&third));
    assert_eq!(
        (answer.status, &answer.json["code"]),
        (503, &json!(30103)),
        "{}",
        answer.text
    );
    let twice = rtsp(
        "one",
        &camera.url("two"),
        &receiver.url("ok", &lss.key("three")),
    );
    let answer = lss.rest("POST", "/api/stream/start", Some(&twice));
    assert_eq!(
        (answer.status, &answer.json["code"]),
        (409, &json!(30102)),
        "{}",
        answer.text
    );
    for task in ["one", "two"] {
        lss.await_streaming(task);
        receiver.await_frames(&lss.key(task), 0, 50, SOON);
    }
    assert_eq!(lss.children().len(), 2);
    let active = lss.rest("GET", "/api/stream/tasks/active", None);
    assert_eq!(
        active.json["data"].as_array().map(Vec::len),
        Some(2),
        "{}",
        active.text
    );

    what_it_costs_is_told(&lss, "two");

    // One ends, the other does not notice.
    assert_eq!(lss.stop_stream("one", false).json["code"], 0);
    let before = receiver.sessions(&lss.key("two"))[0].video;
    receiver.await_frames(&lss.key("two"), 0, before + 30, SOON);
    lss.start_stream(&third);
    lss.await_streaming("three");
    assert_eq!(lss.story("two"), ["STARTED/STREAMING"]);
    lss.finish();
}

/// The figures of a real FFmpeg that streams.
fn what_it_costs_is_told(lss: &Lss, task: &str) {
    let figures = lss.rest("GET", "/metrics", None).text;
    let value = |name: &str, more: &str| -> f64 {
        let series = format!("{name}{{task=\"{task}\"{more}}} ");
        let line = figures.lines().find_map(|line| line.strip_prefix(&series));
        line.unwrap_or_else(|| panic!("no {series}: {figures}"))
            .parse()
            .unwrap()
    };
    let phases = ["source", "session", "media", "streaming"]
        .map(|phase| value("lss_task_start_seconds", &format!(",phase=\"{phase}\"")));
    assert!(phases[0] > 0.0 && phases.is_sorted(), "{phases:?}");
    assert!(value("lss_task_fps", "") > 1.0);
    assert!(value("lss_task_speed_ratio", "") > 0.1);
    assert!(value("lss_task_process_cpu_seconds_total", "") > 0.05);
    let resident = value("lss_task_process_resident_memory_bytes", "");
    assert!(resident > 10e6, "{resident}");
}

#[test]
fn sigterm_ends_every_stream_and_tells_the_cloud() {
    let Some(lab) = Lab::enter("sigterm_ends_every_stream_and_tells_the_cloud") else {
        return;
    };
    let camera = lab.camera(&["cam=long_h264_noaudio.mp4"]);
    let silent = lab::SilentPort::open();
    let receiver = lab.counter();
    let mut lss = lab.lss(&[]);
    let hanging = format!("rtsp://127.0.0.1:{}/cam", silent.port());
    // One that streams, one whose receiver will not answer the DELETE, one that is still starting.
    for (task, source, mode) in [
        ("good", &camera.url("cam"), "ok"),
        ("mute", &camera.url("cam"), "mute"),
        ("starting", &hanging, "ok"),
    ] {
        lss.start_stream(&rtsp(task, source, &receiver.url(mode, &lss.key(task))));
    }
    lss.await_streaming("good");
    lss.await_streaming("mute");
    lss.terminate();
    for task in ["good", "mute", "starting"] {
        assert_eq!(
            lss.await_callback(task, "STOPPED")["reason"],
            "NODE_SHUTDOWN",
            "{task}"
        );
    }
    assert!(receiver.sessions(&lss.key("good"))[0].deleted);
    lss.finish();
}

#[test]
fn sigkill_leaves_no_ffmpeg_and_no_obstacle() {
    let Some(lab) = Lab::enter("sigkill_leaves_no_ffmpeg_and_no_obstacle") else {
        return;
    };
    let camera = lab.camera(&["cam=long_h264_noaudio.mp4"]);
    let receiver = lab.counter();
    let mut lss = lab.lss(&[]);
    let key = lss.key("a");
    let start = rtsp("t1", &camera.url("cam"), &receiver.url("ok", &key));
    lss.start_stream(&start);
    lss.await_streaming("t1");
    lss.kill();
    lss.await_no_child();
    lss.restart();
    // Nothing is remembered: the cloud orders anew.
    assert_eq!(
        lss.rest("GET", "/api/stream/tasks", None).json["data"],
        json!([])
    );
    lss.start_stream(&start);
    lss.await_streaming("t1");
    receiver.await_frames(&key, 1, 20, SOON);
    lss.finish();
}

#[test]
fn a_second_daemon_of_the_same_node_gives_up() {
    let Some(lab) = Lab::enter("a_second_daemon_of_the_same_node_gives_up") else {
        return;
    };
    let lss = lab.lss(&[]);
    let config = std::fs::read_to_string(lab.dir().join("lss.yaml")).unwrap();
    let port = config
        .split("port: ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .unwrap();
    let other = config.replacen(
        &format!("port: {port}"),
        &format!("port: {}", lab::free_port()),
        1,
    );
    let path = lab.dir().join("second.yaml");
    std::fs::write(&path, other).unwrap();
    let mut second = Part::start(
        lab.dir(),
        "second",
        Path::new(env!("CARGO_BIN_EXE_lss")),
        &["run", "--config", path.to_str().unwrap()],
        &[
            ("ABLY_API_KEY", "appid.keyid:cAnaryAblyKey"),
            ("LSS_API_TOKEN", "cAnaryApiToken"),
        ],
    );
    let status = second.wait(SOON).expect("ends by itself");
    assert_eq!(lab::ending(status), "exit 1", "{}", second.output());
    assert_eq!(lss.rest("GET", "/livez", None).status, 200);
    lss.finish();
}

#[test]
fn ffmpeg_gets_no_key_and_no_token() {
    let Some(lab) = Lab::enter("ffmpeg_gets_no_key_and_no_token") else {
        return;
    };
    let camera = lab.camera(&["cam=long_h264_noaudio.mp4"]);
    let receiver = lab.counter();
    let lss = lab.lss(&[]);
    lss.start_stream(&rtsp(
        "t1",
        &camera.url("cam"),
        &receiver.url("ok", &lss.key("a")),
    ));
    lss.await_streaming("t1");
    let own = environment_of(lss.pid());
    assert!(
        own.contains("cAnaryAblyKey"),
        "the test looks at the wrong thing"
    );
    let environment = environment_of(lss.children()[0]);
    for secret in ["cAnary", "ABLY", "TOKEN"] {
        assert!(!environment.contains(secret), "{environment}");
    }
    lss.finish();
}
