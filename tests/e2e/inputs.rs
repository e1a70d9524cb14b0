//! Every kind of source arrives as a picture at the far end, and ends when it is told to.

use std::path::Path;

use serde_json::{Value, json};

use crate::daemon::{Lab, Lss, NASTY_PASSWORD, SOON, Settings, rtsp, with};
use crate::lab::{self, Camera, Login, Part, Receiver, Session, poll, until};

/// What must come out at the far end.
struct Expect<'a> {
    size: &'a str,
    audio: bool,
    mode: &'a str,
}

const SMALL: Expect<'_> = Expect {
    size: "640x360",
    audio: true,
    mode: "transcode",
};

/// Waits for STREAMING and for frames that keep coming, and checks what they are.
fn arrives(lss: &Lss, receiver: &Receiver, task: &str, key: &str, expect: &Expect<'_>) -> Session {
    let shown = lss.await_streaming(task);
    assert_eq!(shown["mode"], expect.mode, "{shown:#}");
    let first = receiver.await_frames(key, 0, 20, SOON);
    let session = receiver.await_frames(key, 0, first.video + 30, SOON);
    assert_eq!(session.sizes, [expect.size], "{session:?}");
    assert_eq!(session.audio > 0, expect.audio, "{session:?}");
    assert_eq!(session.backwards, 0, "{session:?}");
    let later = until("progress goes on", SOON, || {
        let now = lss.task(task);
        let out = |t: &Value| t["progress"]["outTimeMs"].as_u64();
        (out(&now) > out(&shown)).then_some(now)
    });
    assert_eq!(later["status"], "STREAMING");
    session
}

/// Stops it, and checks that all who should know do.
fn stop(lss: &Lss, receiver: &Receiver, task: &str, key: &str) {
    let answer = lss.stop_stream(task, false);
    assert_eq!(
        (answer.status, &answer.json["code"]),
        (200, &json!(0)),
        "{}",
        answer.text
    );
    assert_eq!(answer.json["data"]["status"], "STOPPED", "{}", answer.text);
    assert!(
        poll(SOON, || receiver.sessions(key)[0].deleted.then_some(())).is_some(),
        "no DELETE"
    );
    assert_eq!(lss.await_callback(task, "STOPPED")["reason"], "COMMAND");
    assert_eq!(lss.story(task), ["STARTED/STREAMING", "STOPPED/STOPPED"]);
    assert_eq!(lss.children(), Vec::<u32>::new());
}

fn camera_arrives(test: &str, clip: &str, extra: Value, expect: &Expect<'_>) {
    let Some(lab) = Lab::enter(test) else { return };
    let camera = lab.camera(&[&format!("cam={clip}")]);
    let receiver = lab.receiver();
    let lss = lab.lss(&[]);
    let key = lss.key("a");
    let start = rtsp("t1", &camera.url("cam"), &receiver.url("ok", &key));
    lss.start_stream(&with(start, extra));
    arrives(&lss, &receiver, "t1", &key, expect);
    stop(&lss, &receiver, "t1", &key);
    lss.finish();
}

#[test]
fn h264_with_aac() {
    camera_arrives("h264_with_aac", "long_h264_aac.mp4", json!({}), &SMALL);
}

#[test]
fn h264_with_pcma() {
    camera_arrives("h264_with_pcma", "long_h264_pcma.mkv", json!({}), &SMALL);
}

#[test]
fn h264_without_audio() {
    let expect = Expect {
        audio: false,
        ..SMALL
    };
    camera_arrives(
        "h264_without_audio",
        "long_h264_noaudio.mp4",
        json!({}),
        &expect,
    );
}

#[test]
fn h265_is_transcoded() {
    camera_arrives("h265_is_transcoded", "long_h265_aac.mp4", json!({}), &SMALL);
}

#[test]
fn b_frames_are_transcoded() {
    camera_arrives(
        "b_frames_are_transcoded",
        "long_h264_bf_aac.mp4",
        json!({}),
        &SMALL,
    );
}

#[test]
fn full_hd_with_the_specs_example_settings() {
    let extra = json!({
        "videoConfig": { "codec": "libx264", "bitrate": "2500k", "fps": 30, "preset": "veryfast" },
        "audioConfig": { "codec": "opus", "bitrate": "128k", "sampleRate": 48000, "channels": 2 },
    });
    let expect = Expect {
        size: "1920x1080",
        ..SMALL
    };
    camera_arrives(
        "full_hd_with_the_specs_example_settings",
        "long_h264_1080_aac.mp4",
        extra,
        &expect,
    );
}

#[test]
fn scaled_down_and_slowed_down() {
    let extra = json!({
        "videoConfig": { "width": 320, "height": 180, "fps": 12, "keyframeInterval": 24, "bitrate": "300k" },
        // WHIP takes 48 kHz stereo only: what is asked for here must not break the stream.
        "audioConfig": { "sampleRate": 16000, "channels": 1 },
    });
    let expect = Expect {
        size: "320x180",
        ..SMALL
    };
    camera_arrives(
        "scaled_down_and_slowed_down",
        "long_h264_aac.mp4",
        extra,
        &expect,
    );
}

#[test]
fn copy_sends_the_cameras_own_picture() {
    let extra = json!({ "videoConfig": { "codec": "copy" } });
    let expect = Expect {
        mode: "copy",
        ..SMALL
    };
    camera_arrives(
        "copy_sends_the_cameras_own_picture",
        "long_h264_pcma.mkv",
        extra,
        &expect,
    );
}

#[test]
fn a_live_camera_in_standalone_mode() {
    let Some(lab) = Lab::enter("a_live_camera_in_standalone_mode") else {
        return;
    };
    let camera = lab.camera(&["cam=live:640x360"]);
    let receiver = lab.receiver();
    let lss = Lss::start(
        &lab,
        &Settings {
            cloud: false,
            ..Settings::default()
        },
    );
    let key = lss.key("a");
    lss.start_stream(&rtsp("t1", &camera.url("cam"), &receiver.url("ok", &key)));
    arrives(&lss, &receiver, "t1", &key, &SMALL);
    assert_eq!(
        lss.stop_stream("t1", false).json["data"]["status"],
        "STOPPED"
    );
    lss.finish();
}

/// The password as an installer types it, and as a programmer encodes it.
fn a_nasty_password_opens(test: &str, scheme: &str) {
    let Some(lab) = Lab::enter(test) else { return };
    let login = Login {
        user: "admin",
        password: NASTY_PASSWORD,
        scheme,
    };
    let camera = Camera::start(
        &lab.tools,
        lab.dir(),
        Some(login),
        &["cam=long_h264_aac.mp4"],
    );
    let receiver = lab.counter();
    let lss = lab.lss(&[]);
    for (task, password) in [
        ("raw", NASTY_PASSWORD),
        ("encoded", "cAnary-p%40ss%3A%23%251"),
    ] {
        let source = format!("rtsp://admin:{password}@127.0.0.1:{}/cam", camera.port());
        let key = lss.key(task);
        lss.start_stream(&rtsp(task, &source, &receiver.url("ok", &key)));
        lss.await_streaming(task);
        receiver.await_frames(&key, 0, 20, SOON);
        stop(&lss, &receiver, task, &key);
    }
    lss.finish();
}

#[test]
fn digest_login_with_a_nasty_password() {
    a_nasty_password_opens("digest_login_with_a_nasty_password", "digest");
}

#[test]
fn basic_login_with_a_nasty_password() {
    a_nasty_password_opens("basic_login_with_a_nasty_password", "basic");
}

fn file(lab: &Lab, task: &str, clip: &str, looped: bool, whip: &str) -> Value {
    json!({
        "taskId": task, "inputType": "FILE", "loop": looped,
        "sourceUrl": lab.tools.clips.join(clip), "whipUrl": whip,
    })
}

#[test]
fn a_file_plays_once_and_stops() {
    let Some(lab) = Lab::enter("a_file_plays_once_and_stops") else {
        return;
    };
    let receiver = lab.receiver();
    let lss = lab.lss(&[]);
    let key = lss.key("a");
    lss.start_stream(&file(
        &lab,
        "t1",
        "h264_aac.mp4",
        false,
        &receiver.url("ok", &key),
    ));
    let shown = lss.await_status("t1", &["STOPPED", "ERROR", "RECONNECTING"]);
    assert_eq!(shown["status"], "STOPPED", "{shown:#}\n{}", lss.log("t1"));
    let session = receiver.sessions(&key).remove(0);
    // Ten seconds; its beginning may be lost to a busy receiver.
    assert!(session.video > 150, "{session:?}");
    assert_eq!(lss.await_callback("t1", "STOPPED")["reason"], "END_OF_FILE");
    assert_eq!(lss.story("t1"), ["STARTED/STREAMING", "STOPPED/STOPPED"]);
    lss.finish();
}

#[test]
fn a_looped_file_begins_again() {
    let Some(lab) = Lab::enter("a_looped_file_begins_again") else {
        return;
    };
    let receiver = lab.receiver();
    let lss = lab.lss(&[]);
    let key = lss.key("a");
    let start = file(&lab, "t1", "h264_aac.mp4", true, &receiver.url("ok", &key));
    lss.start_stream(&with(start, json!({ "videoConfig": { "codec": "copy" } })));
    // 250 frames are one round.
    let session = receiver.await_frames(&key, 0, 290, SOON);
    assert_eq!(session.backwards, 0, "{session:?}");
    stop(&lss, &receiver, "t1", &key);
    lss.finish();
}

/// An FFmpeg of the lab serves a clip to the one client that connects.
pub fn listener(lab: &Lab, name: &str, output: &[&str]) -> Part {
    let clip = lab.tools.clips.join("h264_aac.mp4");
    let mut args = vec![
        "-nostdin",
        "-hide_banner",
        "-re",
        "-stream_loop",
        "-1",
        "-i",
        clip.to_str().unwrap(),
        "-c",
        "copy",
    ];
    args.extend(output);
    Part::start(lab.dir(), name, &lab.tools.ffmpeg, &args, &[])
}

/// Whether somebody has bound that port.
pub fn bound(protocol: &str, port: u16) -> bool {
    std::fs::read_to_string(Path::new("/proc/net").join(protocol))
        .is_ok_and(|table| table.contains(&format!("0100007F:{port:04X} 00000000")))
}

#[test]
fn srt_without_and_with_its_scheme_and_with_a_passphrase() {
    let Some(lab) = Lab::enter("srt_without_and_with_its_scheme_and_with_a_passphrase") else {
        return;
    };
    let receiver = lab.receiver();
    let lss = lab.lss(&[]);
    for (task, scheme, phrase) in [
        ("bare", "", ""),
        ("full", "srt://", ""),
        ("secret", "srt://", "passphrase=cAnaryPhrase1"),
    ] {
        let port = lab::free_port();
        let _server = listener(
            &lab,
            task,
            &[
                "-f",
                "mpegts",
                &format!("srt://127.0.0.1:{port}?mode=listener&{phrase}"),
            ],
        );
        until("SRT listens", SOON, || bound("udp", port).then_some(()));
        let key = lss.key(task);
        lss.start_stream(&json!({
            "taskId": task, "inputType": "SRT", "sourceUrl": format!("{scheme}127.0.0.1:{port}?{phrase}"),
            "whipUrl": receiver.url("ok", &key),
        }));
        arrives(&lss, &receiver, task, &key, &SMALL);
        stop(&lss, &receiver, task, &key);
    }
    lss.finish();
}

#[test]
fn rtmp() {
    let Some(lab) = Lab::enter("rtmp") else {
        return;
    };
    let receiver = lab.receiver();
    let lss = lab.lss(&[]);
    let port = lab::free_port();
    let url = format!("rtmp://127.0.0.1:{port}/live/cAnaryStreamKey");
    let _server = listener(&lab, "rtmp", &["-f", "flv", "-listen", "1", &url]);
    until("RTMP listens", SOON, || bound("tcp", port).then_some(()));
    let key = lss.key("a");
    lss.start_stream(&json!({
        "taskId": "t1", "inputType": "RTMP", "sourceUrl": url, "whipUrl": receiver.url("ok", &key),
    }));
    arrives(&lss, &receiver, "t1", &key, &SMALL);
    stop(&lss, &receiver, "t1", &key);
    lss.finish();
}

/// The spec's template to the letter: options that FFmpeg refuses on RTSP, a program that is not
/// there, continued lines.
fn template(source: &str, whip: &str) -> String {
    format!(
        "/usr/local/ffmpeg-whip/bin/ffmpeg \\\n-rtsp_transport tcp \\\n-analyzeduration 1000000 \\\n-probesize 1000000 \\\n\
         -reconnect 1 -reconnect_streamed 1 -reconnect_delay_max 3 \\\n-i {source} \\\n-map 0:v:0 -map \"0:a?\" \\\n\
         -c:v libx264 -preset veryfast -tune zerolatency \\\n-profile:v baseline -level 3.1 -pix_fmt yuv420p \\\n\
         -g 30 -keyint_min 30 \\\n-b:v 2500k -maxrate 2500k -bufsize 5000k \\\n\
         -c:a opus -strict -2 -ar 48000 -ac 2 -b:a 128k \\\n-f whip {whip}"
    )
}

#[test]
fn the_specs_template_as_a_prebuilt_command() {
    let Some(lab) = Lab::enter("the_specs_template_as_a_prebuilt_command") else {
        return;
    };
    let login = Login {
        user: "admin",
        password: "cAnaryPw1",
        scheme: "digest",
    };
    let camera = Camera::start(
        &lab.tools,
        lab.dir(),
        Some(login),
        &["cam=long_h264_aac.mp4"],
    );
    let receiver = lab.receiver();
    let lss = lab.lss(&[]);
    let key = lss.key("a");
    let source = format!("rtsp://admin:cAnaryPw1@127.0.0.1:{}/cam", camera.port());
    let whip = receiver.url("ok", &key);
    let command = template(&source, &whip);
    lss.start_stream(&with(
        rtsp("t1", &source, &whip),
        json!({ "ffmpegCommand": command }),
    ));
    let expect = Expect {
        mode: "prebuilt",
        ..SMALL
    };
    arrives(&lss, &receiver, "t1", &key, &expect);
    stop(&lss, &receiver, "t1", &key);
    lss.finish();
}

#[test]
fn a_prebuilt_commands_bearer_also_ends_the_session() {
    let Some(lab) = Lab::enter("a_prebuilt_commands_bearer_also_ends_the_session") else {
        return;
    };
    let camera = lab.camera(&["cam=long_h264_aac.mp4"]);
    let receiver = Receiver::start_with(
        &lab.tools,
        lab.dir(),
        &["--no-decode", "--token", "cAnaryBearer"],
    );
    let lss = lab.lss(&[]);
    let key = lss.key("a");
    let (source, whip) = (camera.url("cam"), receiver.url("bearer", &key));
    let command = format!(
        "ffmpeg -rtsp_transport tcp -i {source} -map 0:v:0 -c:v copy -an -authorization cAnaryBearer -f whip '{whip}'"
    );
    lss.start_stream(&with(
        rtsp("t1", &source, &whip),
        json!({ "ffmpegCommand": command }),
    ));
    lss.await_streaming("t1");
    // Killed outright, FFmpeg can't end its session: lss does, and needs the same token for it.
    assert_eq!(
        lss.stop_stream("t1", true).json["data"]["status"],
        "STOPPED"
    );
    let session = until("DELETE", SOON, || {
        receiver.sessions(&key).pop().filter(|s| s.deleted)
    });
    assert_eq!(session.delete_auth.as_deref(), Some("Bearer cAnaryBearer"));
    lss.finish();
}

#[test]
fn playback_url_goes_to_the_cloud_whole() {
    let Some(lab) = Lab::enter("playback_url_goes_to_the_cloud_whole") else {
        return;
    };
    let camera = lab.camera(&["cam=long_h264_noaudio.mp4"]);
    let receiver = lab.counter();
    let lss = lab.lss(&[]);
    let key = lss.key("a");
    let playback = "https://play.example/cAnaryPlayback/webRTC/play";
    let start = rtsp("t1", &camera.url("cam"), &receiver.url("ok", &key));
    lss.start_stream(&with(start, json!({ "playbackUrl": playback })));
    let callback = lss.await_callback("t1", "STARTED");
    assert_eq!(callback["hlsPlaybackUrl"], playback);
    assert_eq!(callback["processId"], lss.children()[0]);
    lss.finish();
}
