//! Endpoints that put their sessions elsewhere, are slow, or want to be left alone; and an FFmpeg that
//! does not end when it is told to.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::daemon::{Lab, Lss, SOON};
use crate::lab::until;

/// A source that costs little: a file, unchanged, without sound.
fn start(lab: &Lab, lss: &Lss, task: &str, whip: &str, retries: i32) {
    lss.start_stream(&json!({
        "taskId": task, "inputType": "FILE", "loop": true, "whipUrl": whip,
        "sourceUrl": lab.tools.clips.join("long_h264_noaudio.mp4"),
        "videoConfig": { "codec": "copy" }, "maxRetries": retries,
    }));
}

/// The process that carries it.
fn pid(task: &Value) -> Pid {
    let pid = task["processId"].as_i64().expect("it runs");
    Pid::from_raw(i32::try_from(pid).unwrap())
}

#[test]
fn a_session_on_another_host_is_ended_or_named() {
    let Some(lab) = Lab::enter("a_session_on_another_host_is_ended_or_named") else {
        return;
    };
    let receiver = lab.counter();
    for (hosts, ours) in [("[localhost]", true), ("[]", false)] {
        let lss = lab.lss(&[("whip_hosts", hosts)]);
        for mode in ["elsewhere", "moved"] {
            let key = lss.key(mode);
            start(&lab, &lss, mode, &receiver.url(mode, &key), 0);
            let shown = lss.await_streaming(mode);
            // It has no chance to say good-bye.
            kill(pid(&shown), Signal::SIGKILL).unwrap();
            lss.await_status(mode, &["ERROR", "RECONNECTING"]);
            let named = "a WHIP session stays open";
            until("the session is dealt with", SOON, || {
                let deleted = receiver.sessions(&key).iter().any(|s| s.deleted);
                let said = lss.said();
                let line = said.lines().find(|l| l.contains(named));
                (deleted || line.is_some()).then_some(())
            });
            let said = lss.said();
            let line = said.lines().find(|line| line.contains(named));
            assert_eq!(receiver.sessions(&key)[0].deleted, ours, "{mode}: {line:?}");
            assert_eq!(line.is_none(), ours, "{mode}: {line:?}");
            assert!(ours || line.unwrap().contains("host=localhost"), "{line:?}");
        }
        lss.finish();
    }
}

#[test]
fn an_endpoint_that_wants_to_be_left_alone_is() {
    let Some(lab) = Lab::enter("an_endpoint_that_wants_to_be_left_alone_is") else {
        return;
    };
    let receiver = lab.counter();
    let lss = lab.lss(&[]);
    let key = lss.key("t");
    start(&lab, &lss, "t", &receiver.url("busy-200", &key), 1);
    let shown = lss.await_status("t", &["RECONNECTING", "ERROR"]);
    assert_eq!(shown["errorCode"], 40201, "{shown:#}");
    let line = until("the next try is told", SOON, || {
        let said = lss.said();
        let told = said.lines().find(|l| l.contains("a try has failed"));
        told.map(str::to_owned)
    });
    assert!(line.contains("next_in_ms=200000"), "{line}");
    assert_eq!(receiver.posts(&key), 1);
    lss.finish();
}

#[test]
fn a_slow_answer_is_waited_for_as_long_as_is_set() {
    let Some(lab) = Lab::enter("a_slow_answer_is_waited_for_as_long_as_is_set") else {
        return;
    };
    let receiver = lab.counter();
    for (timeout, streams) in [("10s", true), ("2s", false)] {
        let lss = lab.lss(&[("whip_timeout", timeout)]);
        // Longer than the five seconds that FFmpeg was given once.
        start(
            &lab,
            &lss,
            "t",
            &receiver.url("slow-6", &lss.key(timeout)),
            0,
        );
        let shown = lss.await_status("t", &["STREAMING", "ERROR"]);
        assert_eq!(shown["status"] == "STREAMING", streams, "{shown:#}");
        if !streams {
            assert_eq!(shown["errorCode"], 40201, "{shown:#}");
        }
        lss.finish();
    }
}

#[test]
fn what_a_wrapper_has_put_into_a_session_of_its_own_ends_with_ffmpeg() {
    let Some(lab) = Lab::enter("what_a_wrapper_has_put_into_a_session_of_its_own_ends_with_ffmpeg")
    else {
        return;
    };
    let receiver = lab.counter();
    let wrapper = lab.dir().join("ffmpeg");
    let pid = lab.dir().join("stray");
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *'-f whip'*)\n\
         setsid sh -c 'echo $$ > {0}.new && mv {0}.new {0} && exec sleep 1000' </dev/null >/dev/null 2>&1 &\n\
         ;; esac\nexec {1} \"$@\"\n",
        pid.display(),
        lab.tools.ffmpeg.display()
    );
    fs::write(&wrapper, script).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    let lss = lab.lss(&[("path", wrapper.to_str().unwrap())]);
    start(&lab, &lss, "t", &receiver.url("ok", &lss.key("t")), 0);
    lss.await_streaming("t");
    let stray = until("it is there", SOON, || fs::read_to_string(&pid).ok());
    // Of a process that is gone, or only not reaped yet by its new parent, there is none.
    let command = || fs::read(format!("/proc/{}/cmdline", stray.trim())).unwrap_or_default();
    assert!(!command().is_empty(), "it runs");
    let answer = lss.stop_stream("t", false);
    assert_eq!(answer.status, 200, "{}", answer.text);
    until("it is ended", SOON, || command().is_empty().then_some(()));
    lss.finish();
}

#[test]
fn an_ffmpeg_that_says_nothing_any_more_is_not_waited_for() {
    let Some(lab) = Lab::enter("an_ffmpeg_that_says_nothing_any_more_is_not_waited_for") else {
        return;
    };
    let receiver = lab.counter();
    // Longer than this test waits for anything.
    let lss = lab.lss(&[("stop_timeout", "120s")]);
    let key = lss.key("t");
    start(&lab, &lss, "t", &receiver.url("ok", &key), 0);
    let shown = lss.await_streaming("t");
    kill(pid(&shown), Signal::SIGSTOP).unwrap();
    let answer = lss.stop_stream("t", false);
    assert_eq!(answer.json["data"]["status"], "STOPPED", "{}", answer.text);
    assert_eq!(lss.task("t")["exitHistory"][0]["signal"], 9);
    // Its session is ended in its place.
    until("DELETE", SOON, || {
        receiver.sessions(&key)[0].deleted.then_some(())
    });
    lss.finish();
}
