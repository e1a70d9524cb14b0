//! Pictures that go out as they are, by lss's own sender: to a receiver that decodes them and holds its
//! peer to ICE consent.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::daemon::{Lab, Lss, SOON, environment_of, rtsp, with};
use crate::lab::{Receiver, Session, until};

/// Pictures as the camera sends them, wherever WHIP can carry them.
const PREFER: &[(&str, &str)] = &[("engine", "auto"), ("passthrough", "prefer")];

fn carried_by_lss(shown: &Value, mode: &str) {
    assert_eq!(shown["mode"], mode, "{shown:#}");
    let sender = if mode == "relay" { "lss" } else { "ffmpeg" };
    assert_eq!(shown["sender"], sender, "{shown:#}");
}

/// The newest session, once it has shown so many pictures.
fn shows(receiver: &Receiver, key: &str, pictures: u64) -> Session {
    until("pictures arrive", SOON, || {
        let newest = receiver.sessions(key).pop()?;
        (newest.video >= pictures && newest.state == "connected").then_some(newest)
    })
}

fn started_once(lss: &Lss, task: &str) {
    let story = lss.story(task);
    let started = story.iter().filter(|told| told.starts_with("STARTED"));
    assert_eq!(started.count(), 1, "{story:?}");
}

#[test]
fn a_camera_s_picture_is_decoded_and_a_stop_ends_its_session() {
    let Some(lab) = Lab::enter("a_camera_s_picture_is_decoded_and_a_stop_ends_its_session") else {
        return;
    };
    let camera = lab.camera(&["cam=long_h264_noaudio.mp4", "sound=long_h264_aac.mp4"]);
    let receiver = lab.receiver();
    let lss = lab.lss(PREFER);
    for (mount, sound) in [("cam", "wanted"), ("sound", "off")] {
        let key = lss.key(mount);
        let whip = receiver.url("consent+relative", &key);
        let sound = json!({ "audioConfig": { "mode": sound } });
        lss.start_stream(&with(rtsp(mount, &camera.url(mount), &whip), sound));
        let shown = lss.await_streaming(mount);
        carried_by_lss(&shown, "relay");
        assert_eq!(shown["audio"], "none", "{shown:#}");
        let session = shows(&receiver, &key, 50);
        assert_eq!(session.sizes.len(), 1, "{session:?}");
        assert_eq!(
            lss.stop_stream(mount, false).json["data"]["status"],
            "STOPPED"
        );
        lss.await_no_child();
        until("the session is ended", SOON, || {
            receiver.sessions(&key)[0].deleted.then_some(())
        });
        assert_eq!(receiver.posts(&key), 1);
        started_once(&lss, mount);
    }
    lss.finish();
}

#[test]
fn a_session_that_ends_is_followed_by_a_fresh_one_and_the_camera_plays_on() {
    let Some(lab) =
        Lab::enter("a_session_that_ends_is_followed_by_a_fresh_one_and_the_camera_plays_on")
    else {
        return;
    };
    let camera = lab.camera(&["cam=long_h264_noaudio.mp4"]);
    let receiver = lab.counter();
    let lss = lab.lss(PREFER);
    let key = lss.key("a");
    lss.start_stream(&rtsp(
        "t1",
        &camera.url("cam"),
        &receiver.url("consent", &key),
    ));
    let first = lss.await_streaming("t1");
    // One that is lost earlier than 10 s after it came up ends the run: the task's pauses count then.
    shows(&receiver, &key, 290);
    receiver.control("close", &key);
    let again = until("a fresh session", SOON, || {
        let all = receiver.sessions(&key);
        (all.len() > 1 && all[1].video >= 25).then(|| lss.task("t1"))
    });
    let again = match again["status"].as_str() {
        Some("STREAMING") => again,
        _ => lss.await_streaming("t1"),
    };
    assert_eq!(first["processId"], again["processId"], "the same relay");
    assert_eq!(again["retryCount"], 0, "{again:#}");
    let story = lss.story("t1");
    let told = [
        "STARTED/STREAMING",
        "STATUS_UPDATE/RECONNECTING",
        "STATUS_UPDATE/STREAMING",
    ];
    assert_eq!(story[story.len() - 3..], told, "{story:?}");
    lss.finish();
}

#[test]
fn a_camera_that_was_away_is_carried_again() {
    let Some(lab) = Lab::enter("a_camera_that_was_away_is_carried_again") else {
        return;
    };
    let mut camera = lab.camera(&["cam=long_h264_noaudio.mp4"]);
    let receiver = lab.counter();
    let lss = lab.lss(PREFER);
    let key = lss.key("a");
    lss.start_stream(&rtsp(
        "t1",
        &camera.url("cam"),
        &receiver.url("consent+one", &key),
    ));
    lss.await_streaming("t1");
    shows(&receiver, &key, 25);
    camera.kill();
    lss.await_status("t1", &["RECONNECTING"]);
    let ended = until("the run is in the history", SOON, || {
        lss.task("t1")["exitHistory"].get(0).cloned()
    });
    assert_eq!(ended["errorCode"], 30203, "{ended:#}");
    camera.restart();
    carried_by_lss(&lss.await_streaming("t1"), "relay");
    shows(&receiver, &key, 25);
    started_once(&lss, "t1");
    lss.finish();
}

#[test]
fn what_can_not_go_out_as_it_is_is_encoded_and_told_of_once() {
    let Some(lab) = Lab::enter("what_can_not_go_out_as_it_is_is_encoded_and_told_of_once") else {
        return;
    };
    let camera = lab.camera(&["b=long_h264_bf_aac.mp4", "hevc=long_h265_aac.mp4"]);
    let receiver = lab.counter();
    let lss = lab.lss(PREFER);
    for mount in ["b", "hevc"] {
        let key = lss.key(mount);
        lss.start_stream(&rtsp(mount, &camera.url(mount), &receiver.url("ok", &key)));
        let shown = lss.await_streaming(mount);
        carried_by_lss(&shown, "transcode");
        assert_eq!(shown["retryCount"], 0, "{shown:#}");
        assert_eq!(shown["exitHistory"], json!([]), "no failure: {shown:#}");
        shows(&receiver, &key, 25);
        started_once(&lss, mount);
    }
    lss.finish();
}

#[test]
fn a_killed_relay_leaves_no_session_and_nothing_secret_stands_in_its_arguments() {
    let Some(lab) =
        Lab::enter("a_killed_relay_leaves_no_session_and_nothing_secret_stands_in_its_arguments")
    else {
        return;
    };
    let camera = lab.camera(&["cam=long_h264_noaudio.mp4"]);
    let receiver = lab.counter();
    let lss = lab.lss(&[("engine", "relay"), ("passthrough", "prefer")]);
    let key = lss.key("a");
    let whip = receiver.url("consent+one", &key);
    lss.start_stream(&rtsp("t1", &camera.url("cam"), &whip));
    let shown = lss.await_streaming("t1");
    carried_by_lss(&shown, "relay");
    shows(&receiver, &key, 25);
    let pid = shown["processId"].as_u64().unwrap();
    let arguments = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert_eq!(arguments, "/proc/self/exe\0relay\0");
    assert!(!environment_of(u32::try_from(pid).unwrap()).contains(&key));
    let pid = Pid::from_raw(i32::try_from(pid).unwrap());
    kill(pid, Signal::SIGKILL).unwrap();
    until("the daemon ends the session", SOON, || {
        receiver.sessions(&key)[0].deleted.then_some(())
    });
    let again = until("a new relay", SOON, || {
        let shown = lss.task("t1");
        let new = shown["processId"] != json!(pid.as_raw()) && shown["status"] == "STREAMING";
        new.then_some(shown)
    });
    carried_by_lss(&again, "relay");
    assert_eq!(again["exitHistory"][0]["errorCode"], 40103, "{again:#}");
    started_once(&lss, "t1");
    lss.finish();
}
