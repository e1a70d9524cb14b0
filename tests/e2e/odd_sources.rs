//! Sources with oddities that end FFmpeg, or mislead it: lss asks them first, and the picture arrives, or
//! the message says what to do.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::daemon::{Lab, Lss, SOON, rtsp, with};
use crate::lab::{ClockCamera, OddCamera, Receiver, until};

const PASSWORD: &str = "cAnaryOdd7";
const LOGIN: Option<(&str, &str)> = Some(("admin", PASSWORD));

/// As it is, so that many run beside each other.
fn start(lss: &Lss, task: &str, source: &str, whip: &str, audio: &str) {
    let extra = json!({
        "videoConfig": { "codec": "copy" }, "audioConfig": { "mode": audio }, "maxRetries": 0,
    });
    lss.start_stream(&with(rtsp(task, source, whip), extra));
}

fn words(task: &Value, field: &str) -> String {
    task[field].as_str().unwrap_or("").to_owned()
}

#[test]
fn no_sound_costs_the_picture() {
    let Some(lab) = Lab::enter("no_sound_costs_the_picture") else {
        return;
    };
    let camera = lab.camera(&["mute=long_h264_noaudio.mp4", "full=long_h264_aac.mp4"]);
    let odd = OddCamera::start(&lab.tools, lab.dir(), &camera, PASSWORD);
    let receiver = lab.counter();
    let lss = lab.lss(&[("start_timeout", "6s")]);
    // Oddity, mount, what becomes of the sound, and what is said of it.
    let rows = [
        ("plain", "full", "encoded", ""),
        ("codec", "mute", "dropped", "X-VENDOR-VOICE"),
        ("setup-461", "mute", "dropped", "461"),
        ("setup-404", "mute", "dropped", "404"),
        ("data-461", "full", "encoded", ""),
        // Announced, and never sent: the start hangs for it, and is tried without.
        ("silent", "mute", "dropped", ""),
        ("moved", "full", "encoded", ""),
    ];
    for (oddity, mount, ..) in rows {
        let whip = receiver.url("ok", &lss.key(oddity));
        start(&lss, oddity, &odd.url(oddity, mount, None), &whip, "wanted");
    }
    for (oddity, _, audio, said) in rows {
        let shown = lss.await_streaming(oddity);
        let log = lss.log(oddity);
        assert_eq!(shown["audio"], audio, "{shown:#}\n{log}");
        assert_eq!(shown["retryCount"], 0, "a hand-over is no retry: {shown:#}");
        assert!(words(&shown, "modeReason").contains(said), "{shown:#}");
        // An FFmpeg that hangs for a sound may make a session while it is being ended, and send nothing.
        let session = until("pictures arrive", SOON, || {
            let all = receiver.sessions(&lss.key(oddity));
            all.into_iter().find(|session| session.video >= 30)
        });
        assert_eq!(session.audio > 0, audio == "encoded", "{session:?}");
        assert_eq!(lss.story(oddity), ["STARTED/STREAMING"], "{oddity}");
    }
    lss.finish();
}

#[test]
fn a_sound_that_is_required_is_not_left_out() {
    let Some(lab) = Lab::enter("a_sound_that_is_required_is_not_left_out") else {
        return;
    };
    let camera = lab.camera(&["mute=long_h264_noaudio.mp4"]);
    let odd = OddCamera::start(&lab.tools, lab.dir(), &camera, PASSWORD);
    let receiver = lab.counter();
    let lss = lab.lss(&[]);
    let whip = receiver.url("ok", &lss.key("a"));
    start(
        &lss,
        "t",
        &odd.url("codec", "mute", None),
        &whip,
        "required",
    );
    let shown = lss.await_status("t", &["ERROR", "STREAMING"]);
    assert_eq!(shown["status"], "ERROR", "{shown:#}");
    assert!(
        words(&shown, "errorMessage").contains("X-VENDOR-VOICE"),
        "{shown:#}"
    );
    lss.finish();
}

#[test]
fn a_sound_that_ends_leaves_the_picture_alone() {
    let Some(lab) = Lab::enter("a_sound_that_ends_leaves_the_picture_alone") else {
        return;
    };
    let camera = lab.camera(&["full=long_h264_aac.mp4"]);
    let odd = OddCamera::start(&lab.tools, lab.dir(), &camera, PASSWORD);
    let receiver = lab.counter();
    let lss = lab.lss(&[]);
    let key = lss.key("t");
    let source = odd.url("mute-3", "full", None);
    // Encoded, both: so FFmpeg by itself holds the picture back for ten seconds, and is late ever after.
    lss.start_stream(&rtsp("t", &source, &receiver.url("ok", &key)));
    lss.await_streaming("t");
    let (sound, pictures) = silence_of(&receiver, &key);
    assert!(
        pictures >= 25,
        "{pictures} in the four seconds behind the sound"
    );
    let seen = receiver.sessions(&key).remove(0).video;
    let later = receiver.await_frames(&key, 0, seen + 100, SOON);
    assert_eq!(later.audio, sound, "the sound has ended for good");
    assert_eq!(receiver.sessions(&key).len(), 1);
    assert_eq!(lss.story("t"), ["STARTED/STREAMING"]);
    lss.finish();
}

/// Waits until sound has come and, for four seconds, no more; how much it was, and how many pictures
/// came in that time.
fn silence_of(receiver: &Receiver, key: &str) -> (u64, u64) {
    let (mut sound, mut pictures, mut since) = (0, 0, Instant::now());
    until("the sound ends", SOON, || {
        let now = receiver.sessions(key).into_iter().next()?;
        if now.audio != sound {
            (sound, pictures, since) = (now.audio, now.video, Instant::now());
        }
        let silent = sound > 0 && since.elapsed() > Duration::from_secs(4);
        silent.then(|| (sound, now.video - pictures))
    })
}

#[test]
fn a_camera_whose_clock_is_set_is_ridden_out() {
    let Some(lab) = Lab::enter("a_camera_whose_clock_is_set_is_ridden_out") else {
        return;
    };
    for step in [3600, -3600] {
        let clip = "long_h264_noaudio.mp4";
        let camera = ClockCamera::start(&lab.tools, lab.dir(), clip, step, 4);
        let receiver = lab.counter();
        let lss = lab.lss(&[]);
        let key = lss.key("t");
        lss.start_stream(&rtsp("t", &camera.url(), &receiver.url("ok", &key)));
        lss.await_streaming("t");
        // Twelve seconds of pictures: eight of them behind the jump.
        let begun = Instant::now();
        receiver.await_frames(&key, 0, 300, SOON);
        let shown = lss.task("t");
        assert_eq!(shown["status"], "STREAMING", "{step}: {shown:#}");
        assert_eq!(receiver.sessions(&key).len(), 1, "{step}");
        assert_eq!(lss.story("t"), ["STARTED/STREAMING"], "{step}");
        // By the source's clock, FFmpeg makes 90,000 pictures of that hour.
        let doubled = shown["progress"]["dupFrames"].as_u64();
        assert!(doubled.is_none_or(|n| n < 30), "{step}: {shown:#}");
        assert!(
            begun.elapsed() > Duration::from_secs(6),
            "{step}: faster than it was sent"
        );
        lss.finish();
    }
}

#[test]
fn what_ffmpeg_would_misunderstand_is_said_in_words() {
    let Some(lab) = Lab::enter("what_ffmpeg_would_misunderstand_is_said_in_words") else {
        return;
    };
    let camera = lab.camera(&["mute=long_h264_noaudio.mp4"]);
    let odd = OddCamera::start(&lab.tools, lab.dir(), &camera, PASSWORD);
    let receiver = lab.counter();
    let lss = lab.lss(&[]);
    let rows = [
        ("sha256", LOGIN, 30202, "SHA-256"),
        ("sha256-basic", LOGIN, 30202, "SHA-256"),
        ("both", None, 30202, "the URL has none"),
        ("away", None, 30203, "127.9.9.9:8554"),
    ];
    let whip = receiver.url("ok", &lss.key("a"));
    for (oddity, login, ..) in rows {
        start(
            &lss,
            oddity,
            &odd.url(oddity, "mute", login),
            &whip,
            "wanted",
        );
    }
    for (oddity, _, code, said) in rows {
        let shown = lss.await_status(oddity, &["ERROR", "STREAMING"]);
        assert_eq!(shown["errorCode"], code, "{shown:#}");
        assert!(words(&shown, "errorMessage").contains(said), "{shown:#}");
    }
    // The password was right, so nobody is kept away from it: the same login, where FFmpeg knows how.
    let whip = receiver.url("ok", &lss.key("b"));
    start(
        &lss,
        "right",
        &odd.url("both", "mute", LOGIN),
        &whip,
        "wanted",
    );
    lss.await_streaming("right");
    lss.finish();
}
