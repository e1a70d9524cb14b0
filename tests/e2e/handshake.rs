//! Who speaks first in the DTLS handshake: FFmpeg, where the endpoint takes it so.

use serde_json::json;

use crate::daemon::{Lab, SOON, rtsp, with};
use crate::lab::until;

#[test]
fn an_endpoint_gets_the_dtls_role_that_it_takes() {
    let Some(lab) = Lab::enter("an_endpoint_gets_the_dtls_role_that_it_takes") else {
        return;
    };
    let camera = lab.camera(&["cam=long_h264_noaudio.mp4"]);
    let receiver = lab.counter();
    // What it takes; how often it is asked by the first task, and by one after that; what is said.
    let rows = [
        ("ok", 1, ""),
        ("passive", 2, "refused the offer (400)"),
        ("passive-422", 2, "refused the offer (422)"),
        ("deaf", 2, "says nothing"),
    ];
    for (mode, asked, said) in rows {
        let lss = lab.lss(&[]);
        for (task, asked, said) in [("first", asked, said), ("second", 1, "")] {
            let key = lss.key(task);
            let start = rtsp(task, &camera.url("cam"), &receiver.url(mode, &key));
            let copy = json!({ "videoConfig": { "codec": "copy" }, "maxRetries": 0 });
            lss.start_stream(&with(start, copy));
            let shown = lss.await_streaming(task);
            let reason = shown["modeReason"].as_str().unwrap_or("");
            assert!(reason.contains(said), "{mode}: {shown:#}");
            assert_eq!(reason.contains("as DTLS server"), !said.is_empty());
            assert_eq!(shown["retryCount"], 0, "no retry: {shown:#}");
            assert_eq!(shown["exitHistory"], json!([]), "no failure: {shown:#}");
            let mut story = lss.story(task);
            // Each hand-over is told.
            story.retain(|told| told != "STATUS_UPDATE/STARTING");
            assert_eq!(story, ["STARTED/STREAMING"], "{mode}");
            assert_eq!(receiver.posts(&key), asked, "{mode}: {task}");
            let sessions = receiver.sessions(&key);
            let (last, before) = sessions.split_last().unwrap();
            assert!(last.video > 0, "{mode}: {last:?}");
            for session in before {
                assert!(session.deleted, "{mode}: {session:?} is left behind");
            }
        }
        lss.finish();
    }
}

#[test]
fn a_prebuilt_command_keeps_its_dtls_role() {
    let Some(lab) = Lab::enter("a_prebuilt_command_keeps_its_dtls_role") else {
        return;
    };
    let camera = lab.camera(&["cam=long_h264_noaudio.mp4"]);
    let receiver = lab.counter();
    let lss = lab.lss(&[]);
    // Who is offered a client answers 400 here, and nothing takes the place of RCS's own words.
    for (task, flags) in [("plain", ""), ("active", "-whip_flags dtls_active")] {
        let key = lss.key(task);
        let (source, whip) = (camera.url("cam"), receiver.url("passive", &key));
        let command = format!("ffmpeg -i {source} -c copy -an {flags} -f whip {whip}");
        let extra = json!({ "ffmpegCommand": command, "maxRetries": 0 });
        lss.start_stream(&with(rtsp(task, &source, &whip), extra));
        if flags.is_empty() {
            lss.await_streaming(task);
            until("pictures arrive", SOON, || {
                receiver
                    .sessions(&key)
                    .iter()
                    .any(|s| s.video > 0)
                    .then_some(())
            });
        } else {
            let shown = lss.await_status(task, &["ERROR", "STREAMING"]);
            assert_eq!(shown["errorCode"], 40203, "{shown:#}");
        }
        assert_eq!(receiver.posts(&key), 1, "{task}");
    }
    lss.finish();
}
