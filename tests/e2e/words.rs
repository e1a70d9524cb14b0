//! The reason of a failure stands in the message, whoever found it out: FFmpeg, or the look at the
//! source before it. Which of FFmpeg's words mean what is tested with recordings; this is the way from
//! a camera or an endpoint to the message that an engineer on site reads.

use serde_json::{Value, json};

use crate::daemon::{Lab, Lss, SOON, rtsp, with};
use crate::inputs::{bound, listener};
use crate::lab::{OddCamera, until};

/// One START, and what is said of its end.
struct Said {
    task: &'static str,
    start: Value,
    code: u32,
    /// In the message.
    words: &'static str,
    /// No retry mends it, so none is made.
    permanent: bool,
}

/// Starts all at once. What is permanent is given retries that it must not use.
fn check(lss: &Lss, rows: &[Said]) {
    for row in rows {
        let retries = if row.permanent { 3 } else { 0 };
        lss.start_stream(&with(row.start.clone(), json!({ "maxRetries": retries })));
    }
    for row in rows {
        let shown = lss.await_status(row.task, &["ERROR", "STREAMING"]);
        let log = lss.log(row.task);
        assert_eq!(shown["errorCode"], row.code, "{shown:#}\n{log}");
        let message = shown["errorMessage"].as_str().unwrap_or("");
        assert!(message.contains(row.words), "{shown:#}\n{log}");
        if row.permanent {
            assert_eq!(shown["retryCount"], 0, "{shown:#}");
        }
    }
    lss.await_no_child();
}

#[test]
fn what_a_camera_says() {
    let Some(lab) = Lab::enter("what_a_camera_says") else {
        return;
    };
    let camera = lab.camera(&["mute=long_h264_noaudio.mp4", "full=long_h264_aac.mp4"]);
    let odd = OddCamera::start(&lab.tools, lab.dir(), &camera, "cAnaryOdd7");
    let receiver = lab.counter();
    let lss = lab.lss(&[]);
    let whip = receiver.url("ok", &lss.key("a"));
    let row = |task, source: String, words| Said {
        task,
        start: rtsp(task, &source, &whip),
        code: 30203,
        words,
        permanent: false,
    };
    // The look sets up what has a sound; of a source without one FFmpeg is the first to hear it.
    check(
        &lss,
        &[
            row("d-406", odd.url("describe-406", "mute", None), "RTSP 406"),
            row(
                "d-453",
                odd.url("describe-453", "mute", None),
                "no free viewer place",
            ),
            row(
                "v-453",
                odd.url("video-453", "full", None),
                "no free viewer place",
            ),
            row(
                "f-453",
                odd.url("video-453", "mute", None),
                "no free viewer place",
            ),
            row("v-461", odd.url("video-461", "full", None), "over TCP"),
            row("f-461", odd.url("video-461", "mute", None), "over TCP"),
            row(
                "web",
                receiver.url("ok", "x").replace("http:", "rtsp:"),
                "is the port right",
            ),
        ],
    );
    // A / in a password ends the host: nobody knows where that leads.
    let start = rtsp("slash", "rtsp://admin:cAnary/x@127.0.0.1/cam", &whip);
    let answer = lss.rest("POST", "/api/stream/start", Some(&start));
    assert_eq!(answer.json["code"], 20003, "{}", answer.text);
    assert!(answer.text.contains("%2F"), "{}", answer.text);
    assert_eq!(receiver.posts(&lss.key("a")), 0);
    lss.finish();
}

#[test]
fn what_srt_says_of_passphrases() {
    let Some(lab) = Lab::enter("what_srt_says_of_passphrases") else {
        return;
    };
    let receiver = lab.counter();
    let lss = lab.lss(&[]);
    let whip = receiver.url("ok", &lss.key("a"));
    let mut parts = Vec::new();
    let mut row = |task, theirs: &str, ours: &str, code, words| {
        let port = crate::lab::free_port();
        let url = format!("srt://127.0.0.1:{port}?mode=listener{theirs}");
        parts.push(listener(&lab, task, &["-f", "mpegts", &url]));
        until("SRT listens", SOON, || bound("udp", port).then_some(()));
        Said {
            task,
            start: json!({
                "taskId": task, "inputType": "SRT", "whipUrl": whip,
                "sourceUrl": format!("srt://127.0.0.1:{port}{ours}"),
            }),
            code,
            words,
            permanent: true,
        }
    };
    let right = "&passphrase=cAnaryRight1";
    let rows = [
        row(
            "wrong",
            right,
            "?passphrase=cAnaryWrong1",
            30202,
            "passphrase is wrong",
        ),
        row("none", right, "", 30202, "the other has none"),
        row(
            "unwanted",
            "",
            "?passphrase=cAnaryWrong1",
            30202,
            "the other has none",
        ),
        row(
            "short",
            right,
            "?passphrase=cAnary1",
            30104,
            "10 to 79 characters",
        ),
    ];
    check(&lss, &rows);
    lss.finish();
}

#[test]
fn what_an_endpoint_says() {
    let Some(lab) = Lab::enter("what_an_endpoint_says") else {
        return;
    };
    let receiver = lab.counter();
    let lss = lab.lss(&[]);
    let row = |task: &'static str, words| Said {
        task,
        start: json!({
            "taskId": task, "inputType": "FILE", "loop": true,
            "whipUrl": receiver.url(task.trim_start_matches("http-"), &lss.key(task)),
            "sourceUrl": lab.tools.clips.join("h264_noaudio.mp4"),
            "videoConfig": { "codec": "copy" },
        }),
        code: 40203,
        words,
        permanent: false,
    };
    check(
        &lss,
        &[
            row("http-402", "paid (402)"),
            row("http-405", "nothing can be published there (405)"),
            row("http-406", "(406)"),
            row("http-413", "the offer is too long"),
            row("http-415", "no session descriptions (415)"),
            row("garbage", "a web page came back"),
        ],
    );
    lss.finish();
}
