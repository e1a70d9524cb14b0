//! Pictures that go out as the camera sends them: where they fit and the node is set so, and encoded
//! everywhere else, with the reason in words.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::daemon::{Lab, Lss, SOON, rtsp, with};
use crate::lab::{OddCamera, Receiver, until};

/// A source, and what becomes of it.
struct Row {
    task: &'static str,
    source: String,
    extra: Value,
    /// What the receiver takes.
    takes: &'static str,
    mode: &'static str,
    /// What `modeReason` says.
    why: &'static str,
}

fn row(
    task: &'static str,
    source: String,
    extra: Value,
    mode: &'static str,
    why: &'static str,
) -> Row {
    Row {
        task,
        source,
        extra,
        takes: "high",
        mode,
        why,
    }
}

/// Three minutes of H.264 High without B-frames.
fn high(lab: &Lab) -> PathBuf {
    let path = lab.dir().join("h264_high_noaudio.mp4");
    let made = Command::new(&lab.tools.ffmpeg)
        .args(["-v", "error", "-nostdin", "-y", "-f", "lavfi", "-i"])
        .arg("testsrc2=size=320x180:rate=25")
        .args(["-t", "180", "-c:v", "libx264", "-preset", "superfast"])
        .args(["-profile:v", "high", "-bf", "0", "-g", "25"])
        .args(["-pix_fmt", "yuv420p"])
        .arg(&path)
        .status();
    assert!(made.expect("ffmpeg").success());
    path
}

/// One after the other: pictures are decoded at the far end, and each is carried as its row says.
fn check(lss: &Lss, receiver: &Receiver, rows: &[Row]) {
    for row in rows {
        let key = lss.key(row.task);
        let start = rtsp(row.task, &row.source, &receiver.url(row.takes, &key));
        lss.start_stream(&with(start, row.extra.clone()));
        let shown = lss.await_streaming(row.task);
        let how = ["mode", "sender"].map(|field| shown[field].as_str().unwrap_or("?"));
        assert_eq!(how, [row.mode, "ffmpeg"], "{}: {shown:#}", row.task);
        let why = shown["modeReason"].as_str().unwrap_or("");
        assert!(why.contains(row.why), "{}: {why}", row.task);
        assert_eq!(shown["retryCount"], 0, "{}: {shown:#}", row.task);
        // What was refused before may have left a session without pictures.
        let session = until("pictures arrive", SOON, || {
            let all = receiver.sessions(&key);
            all.into_iter().find(|session| session.video >= 30)
        });
        assert_eq!(session.backwards, 0, "{}: {session:?}", row.task);
        assert_eq!(lss.task(row.task)["status"], "STREAMING", "{}", row.task);
        assert_eq!(lss.stop_stream(row.task, false).status, 200);
        let mut told = lss.story(row.task);
        told.retain(|event| event != "STATUS_UPDATE/STARTING");
        assert_eq!(told[..1], ["STARTED/STREAMING"], "{}: {told:?}", row.task);
        assert!(!told.contains(&"ERROR/ERROR".to_owned()), "{told:?}");
    }
}

#[test]
fn auto_leaves_baseline_alone_and_encodes_the_rest() {
    let Some(lab) = Lab::enter("auto_leaves_baseline_alone_and_encodes_the_rest") else {
        return;
    };
    let clip = format!("high={}", high(&lab).display());
    let camera = lab.camera(&["base=long_h264_aac.mp4", "bf=long_h264_bf_aac.mp4", &clip]);
    let odd = OddCamera::start(&lab.tools, lab.dir(), &camera, "");
    let receiver = lab.receiver();
    let lss = lab.lss(&[("passthrough", "auto")]);
    let none = || json!({});
    let slower = json!({ "videoConfig": { "fps": 10 } });
    let copy = json!({ "videoConfig": { "codec": "copy" } });
    let url = |mount| camera.url(mount);
    check(
        &lss,
        &receiver,
        &[
            row("fits", url("base"), none(), "copy", "Baseline without B"),
            row("asks", url("base"), slower, "transcode", "a frame rate"),
            row("high", url("high"), none(), "transcode", "Main or High"),
            row("copied", url("base"), copy, "copy", "codec is copy"),
            row("bf", url("bf"), none(), "transcode", "with B-frames"),
            // Only FFmpeg sees it; that is a hand-over.
            row(
                "lies",
                odd.url("baseline", "bf", None),
                none(),
                "transcode",
                "refused when it was to be sent as it is",
            ),
        ],
    );
    lss.finish();
}

#[test]
fn prefer_leaves_alone_what_whip_can_carry() {
    let Some(lab) = Lab::enter("prefer_leaves_alone_what_whip_can_carry") else {
        return;
    };
    let clip = format!("high={}", high(&lab).display());
    let camera = lab.camera(&["bf=long_h264_bf_aac.mp4", "h265=long_h265_aac.mp4", &clip]);
    let receiver = lab.receiver();
    let lss = lab.lss(&[("passthrough", "prefer")]);
    let none = || json!({});
    let slower = json!({ "videoConfig": { "fps": 10 } });
    let url = |mount| camera.url(mount);
    check(
        &lss,
        &receiver,
        &[
            row("high", url("high"), none(), "copy", "Main or High without"),
            row(
                "asks",
                url("high"),
                slower,
                "copy",
                "whatever videoConfig says",
            ),
            row("bf", url("bf"), none(), "transcode", "with B-frames"),
            row("h265", url("h265"), none(), "transcode", "not H.264"),
            // A hand-over, too: the endpoint takes Baseline alone. Last, because that is remembered.
            Row {
                takes: "ok",
                ..row(
                    "picky",
                    url("high"),
                    none(),
                    "transcode",
                    "refused the offer (400)",
                )
            },
        ],
    );
    lss.finish();
}

#[test]
fn never_encodes_what_is_not_asked_for_as_copy() {
    let Some(lab) = Lab::enter("never_encodes_what_is_not_asked_for_as_copy") else {
        return;
    };
    let camera = lab.camera(&["base=long_h264_aac.mp4"]);
    let receiver = lab.receiver();
    let lss = lab.lss(&[("passthrough", "never")]);
    let none = json!({});
    let copy = json!({ "videoConfig": { "codec": "copy" } });
    let url = || camera.url("base");
    check(
        &lss,
        &receiver,
        &[
            row("plain", url(), none, "transcode", "does not ask for copy"),
            row("copied", url(), copy, "copy", "codec is copy"),
        ],
    );
    lss.finish();
}
