//! What goes wrong at either end, and what lss makes of it: code, callbacks, state, words.

use serde_json::{Value, json};

use crate::daemon::{Lab, Lss, SOON, rtsp, with};
use crate::lab::{self, Camera, Login, SilentPort, until};
use crate::support::certs::TestCa;
use crate::support::rcs::Rcs;

/// No name server is asked for a label of 64 characters.
const NO_SUCH_HOST: &str =
    "cam-0123456789012345678901234567890123456789012345678901234567890123.example";

/// One row: what is started, and what becomes of it.
struct Row {
    task: &'static str,
    start: Value,
    code: u32,
    /// No retry mends it, so none is made.
    permanent: bool,
}

/// Starts all rows at once and checks each. A permanent failure is given retries that it must not
/// use; any other is given none.
fn check(lss: &Lss, rows: &[Row]) {
    for row in rows {
        let retries = if row.permanent { 3 } else { 0 };
        lss.start_stream(&with(row.start.clone(), json!({ "maxRetries": retries })));
    }
    for row in rows {
        let name = row.task;
        let shown = lss.await_status(name, &["ERROR", "STREAMING", "STOPPED"]);
        let log = lss.log(name);
        assert_eq!(shown["status"], "ERROR", "{name}: {shown:#}\n{log}");
        assert_eq!(shown["errorCode"], row.code, "{name}: {shown:#}\n{log}");
        assert!(
            !shown["errorMessage"].as_str().unwrap_or("").is_empty(),
            "{name}: {shown:#}"
        );
        assert_eq!(shown["processId"], Value::Null, "{name}: {shown:#}");
        let last = shown["exitHistory"]
            .as_array()
            .and_then(|h| h.last())
            .cloned();
        assert_eq!(
            last.unwrap_or_default()["errorCode"],
            row.code,
            "{name}: {shown:#}"
        );
        let callback = lss.await_callback(name, "ERROR");
        assert!(
            !callback["errorMessage"].as_str().unwrap_or("").is_empty(),
            "{name}: {callback}"
        );
        assert_eq!(lss.story(name), ["ERROR/ERROR"], "{name}");
    }
    lss.await_no_child();
}

#[test]
fn sources_that_fail_to_start() {
    let Some(lab) = Lab::enter("sources_that_fail_to_start") else {
        return;
    };
    let login = Login {
        user: "admin",
        password: "cAnaryPw1",
        scheme: "digest",
    };
    let camera = lab.camera(&["cam=long_h264_noaudio.mp4"]);
    let locked = Camera::start(
        &lab.tools,
        lab.dir(),
        Some(login),
        &["cam=long_h264_noaudio.mp4"],
    );
    let basic = Camera::start(
        &lab.tools,
        lab.dir(),
        Some(Login {
            scheme: "basic",
            ..login
        }),
        &["cam=long_h264_noaudio.mp4"],
    );
    let silent = SilentPort::open();
    let receiver = lab.counter();
    let lss = lab.lss(&[]);
    let whip = receiver.url("ok", &lss.key("a"));
    let row = |task, source: String, code, permanent| Row {
        task,
        start: rtsp(task, &source, &whip),
        code,
        permanent,
    };
    check(
        &lss,
        &[
            row(
                "refused",
                format!("rtsp://127.0.0.1:{}/cam", lab::free_port()),
                30201,
                false,
            ),
            row(
                "no-name",
                format!("rtsp://{NO_SUCH_HOST}/cam"),
                30201,
                false,
            ),
            row(
                "silent",
                format!("rtsp://127.0.0.1:{}/cam", silent.port()),
                30201,
                false,
            ),
            row(
                "wrong-password",
                format!("rtsp://admin:cAnaryWrong@127.0.0.1:{}/cam", locked.port()),
                30202,
                true,
            ),
            row(
                "wrong-basic",
                format!("rtsp://admin:cAnaryWrong@127.0.0.1:{}/cam", basic.port()),
                30202,
                true,
            ),
            row("no-password", locked.url("cam"), 30202, true),
            row("no-stream", camera.url("nothing-here"), 30203, false),
        ],
    );
    assert_eq!(receiver.posts(&lss.key("a")), 0);
    lss.finish();
}

#[test]
fn pictures_that_can_not_be_sent() {
    let Some(lab) = Lab::enter("pictures_that_can_not_be_sent") else {
        return;
    };
    let camera = lab.camera(&[
        "h265=long_h265_aac.mp4",
        "bf=long_h264_bf_aac.mp4",
        "cam=long_h264_aac.mp4",
    ]);
    let receiver = lab.counter();
    let lss = lab.lss(&[]);
    let whip = receiver.url("ok", &lss.key("a"));
    let row = |task, mount, extra| Row {
        task,
        start: with(rtsp(task, &camera.url(mount), &whip), extra),
        code: 30104,
        // Refused for what the camera sent, and a camera can be set otherwise.
        permanent: false,
    };
    // The cameras say so themselves: no FFmpeg is started for them.
    for (task, words) in [("h265", "not H.264"), ("bf", "with B-frames")] {
        let extra = json!({ "videoConfig": { "codec": "copy" }, "maxRetries": 0 });
        lss.start_stream(&with(rtsp(task, &camera.url(task), &whip), extra));
        let shown = lss.await_status(task, &["ERROR", "STREAMING"]);
        assert_eq!(shown["errorCode"], 30104, "{shown:#}");
        let said = shown["errorMessage"].as_str().unwrap_or("");
        assert!(said.contains(words), "{said}");
        assert_eq!(shown["exitHistory"], json!([]), "{shown:#}");
        assert_eq!(lss.story(task), ["ERROR/ERROR"], "{task}");
    }
    let prebuilt = |options: &str| {
        let command = format!("ffmpeg -i {} {options} -f whip {whip}", camera.url("cam"));
        json!({ "ffmpegCommand": command })
    };
    check(
        &lss,
        &[
            row(
                "unknown-preset",
                "cam",
                prebuilt("-c:v libx264 -preset nosuchpreset -an"),
            ),
            row("aac-copied", "cam", prebuilt("-c copy")),
        ],
    );
    lss.finish();
}

/// A source that never fails and costs little: a file, unchanged, without sound.
fn sound_source(lab: &Lab, task: &str, whip: &str) -> Value {
    json!({
        "taskId": task, "inputType": "FILE", "loop": true, "whipUrl": whip,
        "sourceUrl": lab.tools.clips.join("h264_noaudio.mp4"), "videoConfig": { "codec": "copy" },
    })
}

#[test]
fn receivers_that_refuse() {
    let Some(lab) = Lab::enter("receivers_that_refuse") else {
        return;
    };
    let receiver = lab.counter();
    let lss = lab.lss(&[]);
    let row = |task: &'static str, code, permanent| Row {
        task,
        start: sound_source(
            &lab,
            task,
            &receiver.url(task.trim_start_matches("http-"), &lss.key(task)),
        ),
        code,
        permanent,
    };
    check(
        &lss,
        &[
            row("http-400", 40203, false),
            row("http-401", 40202, true),
            row("http-403", 40202, true),
            row("http-404", 40203, true),
            row("http-409", 40201, false),
            row("http-410", 40203, true),
            row("http-429", 40201, false),
            row("http-500", 40201, false),
            row("http-503", 40201, false),
            row("garbage", 40203, false),
        ],
    );
    for task in ["http-401", "http-403", "http-404", "http-410"] {
        assert_eq!(receiver.posts(&lss.key(task)), 1, "{task} was tried again");
    }
    lss.finish();
}

#[test]
fn receivers_that_can_not_be_reached() {
    let Some(lab) = Lab::enter("receivers_that_can_not_be_reached") else {
        return;
    };
    let receiver = lab.counter();
    let lss = lab.lss(&[]);
    let row = |task, whip: String| Row {
        task,
        start: sound_source(&lab, task, &whip),
        code: 40201,
        permanent: false,
    };
    let key = |name| lss.key(name);
    // A server with a certificate that nobody trusts; nothing must be said to it.
    let ca = TestCa::new("nobody");
    let stranger = Rcs::start_tls(ca.server(&["127.0.0.1"]));
    check(
        &lss,
        &[
            row(
                "refused",
                format!("http://127.0.0.1:{}/whip/ok/{}", lab::free_port(), key("a")),
            ),
            row(
                "no-name",
                format!("https://{NO_SUCH_HOST}/whip/ok/{}", key("b")),
            ),
            row(
                "no-trust",
                format!("{}/whip/ok/{}", stranger.base_url(), key("f")),
            ),
            row("silent", receiver.url("silent", &key("c"))),
            row("black-hole", receiver.url("blackhole", &key("d"))),
            row("black-hole-mute", receiver.url("blackhole+mute", &key("e"))),
        ],
    );
    let words = lss.task("no-trust")["errorMessage"].clone();
    assert!(
        words.as_str().is_some_and(|w| w.contains("certificate")),
        "{words}"
    );
    lss.finish();
}

#[test]
fn not_there_in_time_and_nobody_says_why() {
    let Some(lab) = Lab::enter("not_there_in_time_and_nobody_says_why") else {
        return;
    };
    let silent = SilentPort::open();
    let receiver = lab.counter();
    // Shorter than FFmpeg's own patience with the camera.
    let lss = lab.lss(&[("start_timeout", "3s")]);
    let source = format!("rtsp://127.0.0.1:{}/cam", silent.port());
    check(
        &lss,
        &[Row {
            task: "late",
            start: rtsp("late", &source, &receiver.url("ok", &lss.key("a"))),
            code: 40104,
            permanent: false,
        }],
    );
    lss.finish();
}

#[test]
fn retries_are_told_and_spent() {
    let Some(lab) = Lab::enter("retries_are_told_and_spent") else {
        return;
    };
    let receiver = lab.counter();
    let lss = lab.lss(&[("max_retries", "1")]);
    let key = lss.key("a");
    lss.start_stream(&sound_source(&lab, "t1", &receiver.url("503", &key)));
    let shown = lss.await_status("t1", &["ERROR"]);
    assert_eq!(shown["errorCode"], 40201, "{shown:#}");
    assert_eq!(shown["maxRetries"], 1);
    assert_eq!(
        shown["exitHistory"].as_array().map(Vec::len),
        Some(2),
        "{shown:#}"
    );
    assert_eq!(receiver.posts(&key), 2);
    lss.await_callback("t1", "ERROR");
    let story = lss.story("t1");
    assert_eq!(story[0], "STATUS_UPDATE/RECONNECTING", "{story:?}");
    assert_eq!(story[story.len() - 1], "ERROR/ERROR", "{story:?}");
    assert!(!story.iter().any(|s| s.starts_with("STARTED")), "{story:?}");
    lss.finish();
}

/// A stream that runs and then breaks, without a retry left.
fn breaks(
    lab: &Lab,
    ffmpeg: &[(&str, &str)],
    code: u32,
    source: impl FnOnce(&str) -> Value,
    receiver: &lab::Receiver,
    hurt: impl FnOnce(&str),
) {
    let lss = lab.lss(ffmpeg);
    let key = lss.key("a");
    lss.start_stream(&with(
        source(&receiver.url("ok", &key)),
        json!({ "maxRetries": 0 }),
    ));
    lss.await_streaming("t1");
    receiver.await_frames(&key, 0, 20, SOON);
    hurt(&key);
    let shown = until("the run has ended", SOON, || {
        let task = lss.task("t1");
        let ended = task["exitHistory"]
            .as_array()
            .is_some_and(|e| !e.is_empty());
        ended.then_some(task)
    });
    let end = &shown["exitHistory"][0];
    assert_eq!(end["errorCode"], code, "{shown:#}\n{}", lss.log("t1"));
    // A run that showed pictures for ten seconds is tried again whatever `maxRetries` says; a
    // shorter one was the last.
    let goes_on =
        lss.await_status("t1", &["ERROR", "RECONNECTING", "STREAMING"])["status"] != "ERROR";
    if goes_on {
        let stopped = lss.stop_stream("t1", false);
        assert_eq!(stopped.status, 200, "{}", stopped.text);
        lss.await_callback("t1", "STOPPED");
    } else {
        lss.await_callback("t1", "ERROR");
    }
    let mut story = lss.story("t1");
    // RECONNECTING is told where the process has to be ended first.
    story.retain(|s| !s.starts_with("STATUS_UPDATE/"));
    let end = if goes_on {
        "STOPPED/STOPPED"
    } else {
        "ERROR/ERROR"
    };
    assert_eq!(story, ["STARTED/STREAMING", end]);
    lss.await_no_child();
    lss.finish();
}

#[test]
fn camera_loses_power() {
    let Some(lab) = Lab::enter("camera_loses_power") else {
        return;
    };
    let mut camera = lab.camera(&["cam=long_h264_aac.mp4"]);
    let receiver = lab.counter();
    let url = camera.url("cam");
    breaks(
        &lab,
        &[],
        30203,
        |whip| rtsp("t1", &url, whip),
        &receiver,
        |_| camera.kill(),
    );
}

#[test]
fn camera_ends_the_stream() {
    let Some(lab) = Lab::enter("camera_ends_the_stream") else {
        return;
    };
    // Ten seconds long.
    let camera = lab.camera(&["cam=h264_aac.mp4"]);
    let receiver = lab.counter();
    breaks(
        &lab,
        &[],
        30203,
        |whip| rtsp("t1", &camera.url("cam"), whip),
        &receiver,
        |_| (),
    );
}

#[test]
fn camera_hangs_and_the_stall_is_seen() {
    let Some(lab) = Lab::enter("camera_hangs_and_the_stall_is_seen") else {
        return;
    };
    let mut camera = lab.camera(&["cam=long_h264_aac.mp4"]);
    let receiver = lab.counter();
    let url = camera.url("cam");
    let settings = [("stall_timeout", "3s")];
    breaks(
        &lab,
        &settings,
        30203,
        |whip| rtsp("t1", &url, whip),
        &receiver,
        |_| camera.hang(),
    );
}

#[test]
fn camera_hangs_and_ffmpeg_sees_it_itself() {
    let Some(lab) = Lab::enter("camera_hangs_and_ffmpeg_sees_it_itself") else {
        return;
    };
    let mut camera = lab.camera(&["cam=long_h264_aac.mp4"]);
    let receiver = lab.counter();
    let url = camera.url("cam");
    let settings = [("stall_timeout", "60s")];
    breaks(
        &lab,
        &settings,
        30203,
        |whip| rtsp("t1", &url, whip),
        &receiver,
        |_| camera.hang(),
    );
}

#[test]
fn receiver_dies() {
    let Some(lab) = Lab::enter("receiver_dies") else {
        return;
    };
    let lss = lab.lss(&[]);
    let mut receiver = lab.counter();
    let key = lss.key("a");
    let start = sound_source(&lab, "t1", &receiver.url("ok", &key));
    lss.start_stream(&with(start, json!({ "maxRetries": 0 })));
    lss.await_streaming("t1");
    receiver.kill();
    let shown = lss.await_status("t1", &["ERROR"]);
    assert_eq!(shown["errorCode"], 40203, "{shown:#}\n{}", lss.log("t1"));
    lss.finish();
}

#[test]
fn receiver_freezes() {
    let Some(lab) = Lab::enter("receiver_freezes") else {
        return;
    };
    let receiver = lab.counter();
    let source = |whip: &str| sound_source(&lab, "t1", whip);
    // FFmpeg goes on sending until the consent runs out: half a minute.
    breaks(&lab, &[], 40203, source, &receiver, |key| {
        receiver.control("freeze", key);
    });
}

/// With sound, FFmpeg reports the closed peer and then hangs for ever in nearly every run.
#[test]
fn receiver_closes_and_ffmpeg_hangs() {
    let Some(lab) = Lab::enter("receiver_closes_and_ffmpeg_hangs") else {
        return;
    };
    let camera = lab.camera(&["cam=long_h264_aac.mp4"]);
    let receiver = lab.counter();
    let start = |whip: &str| {
        with(
            rtsp("t1", &camera.url("cam"), whip),
            json!({ "videoConfig": { "codec": "copy" } }),
        )
    };
    breaks(&lab, &[], 40203, start, &receiver, |key| {
        receiver.control("close", key);
    });
}

#[test]
fn no_ffmpeg_or_the_wrong_one() {
    let Some(lab) = Lab::enter("no_ffmpeg_or_the_wrong_one") else {
        return;
    };
    for path in ["/nonexistent/ffmpeg", "/bin/true"] {
        let lss = lab.lss(&[("path", path)]);
        let start = rtsp("t1", "rtsp://127.0.0.1:9/cam", "http://127.0.0.1:9/whip/a");
        let answer = until("the start is judged", SOON, || {
            // Until FFmpeg has been looked at, the node is not ready.
            let answer = lss.rest("POST", "/api/stream/start", Some(&start));
            (answer.json["code"] != 30301).then_some(answer)
        });
        assert_eq!(
            (answer.status, &answer.json["code"]),
            (500, &json!(40101)),
            "{}",
            answer.text
        );
        let message = answer.json["message"].as_str().unwrap_or("").to_owned();
        assert!(message.contains(path), "does not name it: {message}");
        assert_eq!(lss.rest("GET", "/readyz", None).status, 503);
        let health = lss.rest("GET", "/api/stream/health", None);
        assert_eq!(health.json["data"]["status"], "DOWN", "{}", health.text);
        lss.finish();
    }
}
