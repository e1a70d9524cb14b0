//! A stream comes back by itself, whatever broke, and says so in the right order.

use serde_json::{Value, json};

use crate::daemon::{Lab, Lss, SOON, rtsp, with};
use crate::lab::{Camera, Login, Receiver, until};

/// The stream runs, breaks by `hurt` with `code`, is healed by `heal`, and runs again.
fn comes_back(
    lss: &Lss,
    receiver: &mut Receiver,
    start: impl FnOnce(&str) -> Value,
    code: u32,
    hurt: impl FnOnce(&str, &mut Receiver),
    heal: impl FnOnce(&mut Receiver),
) {
    let key = lss.key("a");
    lss.start_stream(&start(&receiver.url("ok", &key)));
    let first = lss.await_streaming("t1");
    receiver.await_frames(&key, 0, 20, SOON);
    hurt(&key, receiver);
    let broken = lss.await_status("t1", &["RECONNECTING", "ERROR", "STOPPED"]);
    assert_eq!(
        broken["status"],
        "RECONNECTING",
        "{broken:#}\n{}",
        lss.log("t1")
    );
    let ended = until("the run is in the history", SOON, || {
        lss.task("t1")["exitHistory"].get(0).cloned()
    });
    assert_eq!(ended["errorCode"], code, "{ended:#}\n{}", lss.log("t1"));
    heal(receiver);
    let again = lss.await_streaming("t1");
    assert_ne!(first["processId"], again["processId"]);
    until("frames again", SOON, || {
        let newest = receiver.sessions(&key).pop()?;
        (newest.video >= 20 && newest.state == "connected").then_some(())
    });
    assert_eq!(lss.children().len(), 1);

    assert_eq!(
        lss.stop_stream("t1", false).json["data"]["status"],
        "STOPPED"
    );
    lss.await_callback("t1", "STOPPED");
    let story = lss.story("t1");
    assert_eq!(
        story[..2],
        ["STARTED/STREAMING", "STATUS_UPDATE/RECONNECTING"],
        "{story:?}"
    );
    assert_eq!(
        story[story.len() - 2..],
        ["STATUS_UPDATE/STREAMING", "STOPPED/STOPPED"],
        "{story:?}"
    );
    let count = |kind: &str| story.iter().filter(|s| s.starts_with(kind)).count();
    assert_eq!(
        (count("STARTED"), count("STOPPED"), count("ERROR")),
        (1, 1, 0),
        "{story:?}"
    );
    let pid = lss
        .callbacks("t1")
        .iter()
        .rev()
        .find(|c| c["status"] == "STREAMING")
        .cloned();
    assert_eq!(
        pid.unwrap_or_default()["processId"],
        again["processId"],
        "not the new process"
    );
}

/// [`comes_back`] with a camera.
fn camera_comes_back(
    test: &str,
    ffmpeg: &[(&str, &str)],
    hurt: fn(&mut Camera),
    heal: fn(&mut Camera),
) {
    let Some(lab) = Lab::enter(test) else { return };
    let camera = std::cell::RefCell::new(lab.camera(&["cam=long_h264_aac.mp4"]));
    let url = camera.borrow().url("cam");
    let mut receiver = lab.counter();
    let lss = lab.lss(ffmpeg);
    comes_back(
        &lss,
        &mut receiver,
        |whip| rtsp("t1", &url, whip),
        30203,
        |_, _| hurt(&mut camera.borrow_mut()),
        |_| heal(&mut camera.borrow_mut()),
    );
    lss.finish();
}

#[test]
fn camera_loses_power_and_is_back() {
    camera_comes_back(
        "camera_loses_power_and_is_back",
        &[],
        Camera::kill,
        Camera::restart,
    );
}

#[test]
fn camera_hangs_and_goes_on() {
    camera_comes_back(
        "camera_hangs_and_goes_on",
        &[("stall_timeout", "3s")],
        Camera::hang,
        Camera::go_on,
    );
}

#[test]
fn camera_ends_its_stream_and_starts_a_new_one() {
    let Some(lab) = Lab::enter("camera_ends_its_stream_and_starts_a_new_one") else {
        return;
    };
    let camera = lab.camera(&["cam=h264_aac.mp4"]);
    let mut receiver = lab.counter();
    let lss = lab.lss(&[]);
    comes_back(
        &lss,
        &mut receiver,
        |whip| rtsp("t1", &camera.url("cam"), whip),
        30203,
        |_, _| (),
        |_| (),
    );
    lss.finish();
}

/// The defect that the stall rule is for: FFmpeg lives on, and sends nothing.
#[test]
fn receiver_closes_its_peer() {
    let Some(lab) = Lab::enter("receiver_closes_its_peer") else {
        return;
    };
    let camera = lab.camera(&["cam=long_h264_aac.mp4"]);
    let mut receiver = lab.counter();
    let lss = lab.lss(&[]);
    let copy = json!({ "videoConfig": { "codec": "copy" } });
    comes_back(
        &lss,
        &mut receiver,
        |whip| with(rtsp("t1", &camera.url("cam"), whip), copy),
        40203,
        |key, receiver| receiver.control("close", key),
        |_| (),
    );
    lss.finish();
}

#[test]
fn receiver_restarts() {
    let Some(lab) = Lab::enter("receiver_restarts") else {
        return;
    };
    let camera = lab.camera(&["cam=long_h264_aac.mp4"]);
    let mut receiver = lab.counter();
    let lss = lab.lss(&[]);
    comes_back(
        &lss,
        &mut receiver,
        |whip| rtsp("t1", &camera.url("cam"), whip),
        40203,
        |_, receiver| receiver.kill(),
        Receiver::restart,
    );
    lss.finish();
}

/// The receiver takes one session a key: only if lss ends the orphan does the next try get in.
#[test]
fn a_killed_ffmpegs_session_is_ended_by_lss() {
    let Some(lab) = Lab::enter("a_killed_ffmpegs_session_is_ended_by_lss") else {
        return;
    };
    let camera = lab.camera(&["cam=long_h264_noaudio.mp4"]);
    let receiver = lab.counter();
    let lss = lab.lss(&[]);
    let key = lss.key("a");
    // With a Location that must be resolved against the request's URL.
    lss.start_stream(&rtsp(
        "t1",
        &camera.url("cam"),
        &receiver.url("one+relative", &key),
    ));
    lss.await_streaming("t1");
    receiver.await_frames(&key, 0, 20, SOON);
    let pid = lss.children()[0];
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid.cast_signed()),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    until("DELETE of the orphan", SOON, || {
        receiver.sessions(&key)[0].deleted.then_some(())
    });
    receiver.await_frames(&key, 1, 20, SOON);
    let shown = lss.await_streaming("t1");
    assert_eq!(shown["exitHistory"][0]["signal"], 9, "{shown:#}");
    assert_eq!(shown["exitHistory"][0]["errorCode"], 40103, "{shown:#}");
    // The next try came at once, not after a second one had been refused.
    assert_eq!(receiver.posts(&key), 2);
    lss.finish();
}

/// A login that has worked is not given up when the camera refuses it for a while.
#[test]
fn a_login_that_has_worked_is_tried_again() {
    let Some(lab) = Lab::enter("a_login_that_has_worked_is_tried_again") else {
        return;
    };
    let login = |password| Login {
        user: "admin",
        password,
        scheme: "digest",
    };
    let mounts = ["cam=long_h264_noaudio.mp4"];
    let mut camera = Camera::start(&lab.tools, lab.dir(), Some(login("cAnaryPw1")), &mounts);
    let receiver = lab.counter();
    let lss = lab.lss(&[]);
    let source = format!("rtsp://admin:cAnaryPw1@127.0.0.1:{}/cam", camera.port());
    lss.start_stream(&rtsp("t1", &source, &receiver.url("ok", &lss.key("a"))));
    lss.await_streaming("t1");
    camera.set_login(login("another"));
    camera.restart();
    until("the refusal is in the history", SOON, || {
        let shown = lss.task("t1");
        let history = shown["exitHistory"].as_array()?.clone();
        assert_ne!(shown["status"], "ERROR", "{shown:#}");
        history
            .iter()
            .any(|run| run["errorCode"] == 30202)
            .then_some(())
    });
    assert_eq!(lss.task("t1")["status"], "RECONNECTING");
    camera.set_login(login("cAnaryPw1"));
    camera.restart();
    lss.await_streaming("t1");
    lss.finish();
}
