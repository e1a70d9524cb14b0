//! Stop, whatever the stream is doing: it ends, soon, and nothing else waits for it.

use serde_json::{Value, json};

use crate::daemon::{Lab, Lss, SOON, rtsp, with};
use crate::lab::{SilentPort, until};

/// Stops `task` and checks that it is over: state, callback, process.
fn stops(lss: &Lss, task: &str, force: bool) {
    let answer = lss.stop_stream(task, force);
    assert_eq!(
        (answer.status, &answer.json["code"]),
        (200, &json!(0)),
        "{}",
        answer.text
    );
    assert_eq!(answer.json["data"]["status"], "STOPPED", "{}", answer.text);
    assert_eq!(
        answer.json["data"]["processId"],
        Value::Null,
        "{}",
        answer.text
    );
    assert_eq!(
        lss.children(),
        Vec::<u32>::new(),
        "the answer came before the end"
    );
    assert_eq!(lss.await_callback(task, "STOPPED")["reason"], "COMMAND");
    assert_eq!(
        lss.story(task).last().map(String::as_str),
        Some("STOPPED/STOPPED")
    );
}

#[test]
fn while_starting_at_a_camera_that_hangs() {
    let Some(lab) = Lab::enter("while_starting_at_a_camera_that_hangs") else {
        return;
    };
    let silent = SilentPort::open();
    let lss = lab.lss(&[]);
    for (task, force) in [("gently", false), ("by-force", true)] {
        let source = format!("rtsp://127.0.0.1:{}/cam", silent.port());
        let whip = format!("http://127.0.0.1:9/whip/{}", lss.key(task));
        lss.start_stream(&rtsp(task, &source, &whip));
        // The one that asks it what it streams.
        until("a child runs", SOON, || {
            lss.task(task)["processId"].is_u64().then_some(())
        });
        assert_eq!(lss.task(task)["status"], "STARTING");
        stops(&lss, task, force);
        assert_eq!(lss.story(task), ["STOPPED/STOPPED"]);
    }
    lss.finish();
}

/// One SIGTERM does not end this FFmpeg.
#[test]
fn while_starting_at_a_receiver_that_hangs() {
    let Some(lab) = Lab::enter("while_starting_at_a_receiver_that_hangs") else {
        return;
    };
    let camera = lab.camera(&["cam=long_h264_noaudio.mp4"]);
    let receiver = lab.counter();
    let lss = lab.lss(&[]);
    let key = lss.key("a");
    lss.start_stream(&rtsp(
        "t1",
        &camera.url("cam"),
        &receiver.url("silent", &key),
    ));
    until("the POST hangs", SOON, || {
        (receiver.posts(&key) == 1).then_some(())
    });
    stops(&lss, "t1", false);
    lss.finish();
}

#[test]
fn while_streaming_to_a_receiver_that_never_answers_the_delete() {
    let Some(lab) = Lab::enter("while_streaming_to_a_receiver_that_never_answers_the_delete")
    else {
        return;
    };
    let camera = lab.camera(&["cam=long_h264_noaudio.mp4"]);
    let receiver = lab.counter();
    let lss = lab.lss(&[]);
    lss.start_stream(&rtsp(
        "t1",
        &camera.url("cam"),
        &receiver.url("mute", &lss.key("a")),
    ));
    lss.await_streaming("t1");
    stops(&lss, "t1", false);
    lss.finish();
}

#[test]
fn while_streaming_from_a_camera_that_hangs() {
    let Some(lab) = Lab::enter("while_streaming_from_a_camera_that_hangs") else {
        return;
    };
    let mut camera = lab.camera(&["cam=long_h264_noaudio.mp4"]);
    let receiver = lab.counter();
    let lss = lab.lss(&[]);
    let key = lss.key("a");
    lss.start_stream(&rtsp("t1", &camera.url("cam"), &receiver.url("ok", &key)));
    lss.await_streaming("t1");
    camera.hang();
    stops(&lss, "t1", false);
    // By FFmpeg, or by lss in its place.
    until("DELETE", SOON, || {
        receiver.sessions(&key)[0].deleted.then_some(())
    });
    lss.finish();
}

#[test]
fn while_reconnecting() {
    let Some(lab) = Lab::enter("while_reconnecting") else {
        return;
    };
    let mut camera = lab.camera(&["cam=long_h264_noaudio.mp4"]);
    let receiver = lab.counter();
    let lss = lab.lss(&[]);
    let key = lss.key("a");
    lss.start_stream(&rtsp("t1", &camera.url("cam"), &receiver.url("ok", &key)));
    lss.await_streaming("t1");
    camera.kill();
    lss.await_status("t1", &["RECONNECTING"]);
    stops(&lss, "t1", false);
    // It stays stopped when the camera is back.
    camera.restart();
    assert_eq!(lss.task("t1")["status"], "STOPPED");
    assert_eq!(receiver.posts(&key), 1);
    lss.finish();
}

#[test]
fn by_force_and_lss_ends_the_session() {
    let Some(lab) = Lab::enter("by_force_and_lss_ends_the_session") else {
        return;
    };
    let camera = lab.camera(&["cam=long_h264_noaudio.mp4"]);
    let receiver = lab.counter();
    let lss = lab.lss(&[]);
    let key = lss.key("a");
    lss.start_stream(&rtsp("t1", &camera.url("cam"), &receiver.url("ok", &key)));
    lss.await_streaming("t1");
    stops(&lss, "t1", true);
    until("DELETE", SOON, || {
        receiver.sessions(&key)[0].deleted.then_some(())
    });
    lss.finish();
}

#[test]
fn what_is_not_there_or_over_already() {
    let Some(lab) = Lab::enter("what_is_not_there_or_over_already") else {
        return;
    };
    let lss = lab.lss(&[]);
    let answer = lss.stop_stream("never-heard-of", false);
    assert_eq!(
        (answer.status, &answer.json["code"]),
        (404, &json!(30101)),
        "{}",
        answer.text
    );

    let source = "rtsp://127.0.0.1:9/cam";
    let start = with(
        rtsp("t1", source, "http://127.0.0.1:9/whip/x"),
        json!({ "maxRetries": 0 }),
    );
    lss.start_stream(&start);
    lss.await_status("t1", &["ERROR"]);
    let answer = lss.stop_stream("t1", false);
    assert_eq!(
        (answer.status, &answer.json["data"]["status"]),
        (200, &json!("ERROR")),
        "{}",
        answer.text
    );
    assert_eq!(lss.story("t1"), ["ERROR/ERROR"]);
    lss.finish();
}

/// A START that comes while its task is being stopped waits for the end, and then runs.
#[test]
fn and_start_again_behind_it() {
    let Some(lab) = Lab::enter("and_start_again_behind_it") else {
        return;
    };
    let camera = lab.camera(&["cam=long_h264_noaudio.mp4"]);
    let receiver = lab.counter();
    let lss = lab.lss(&[]);
    let key = lss.key("a");
    let start = rtsp("t1", &camera.url("cam"), &receiver.url("mute", &key));
    lss.start_stream(&start);
    lss.await_streaming("t1");
    let old = lss.children();
    // The stop takes a while: the receiver never answers FFmpeg's DELETE.
    std::thread::scope(|scope| {
        let stop = scope.spawn(|| lss.stop_stream("t1", false));
        until("the stop is under way", SOON, || {
            receiver.sessions(&key)[0].deleted.then_some(())
        });
        let answer = lss.rest("POST", "/api/stream/start", Some(&start));
        assert_eq!(answer.status, 200, "{}", answer.text);
        // Answered while the old process still ends: nothing else waits for a stop.
        let stopped = stop.join().unwrap();
        assert_eq!(stopped.json["code"], 0, "{}", stopped.text);
    });
    let shown = lss.await_streaming("t1");
    let now = lss.children();
    assert_eq!(now.len(), 1);
    assert_ne!(old, now);
    assert_eq!(shown["processId"], now[0]);
    assert_eq!(receiver.sessions(&key).len(), 2);
    lss.finish();
}
