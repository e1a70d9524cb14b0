//! Tasks over their life, in the real binary with real children: each child is a stand-in whose
//! behaviour the source URL chooses (tests/support/fake_ffmpeg).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use support::daemon::{
    Daemon, Setup, children_of, fake_ffmpeg, raw_request, source_url, start_body, wait_for,
};

const SOON: Duration = Duration::from_secs(10);

/// What must never be seen outside the place it belongs to.
const CANARIES: [&str; 3] = ["camera-canary-1", "whip-canary-path-2", "playback-canary-3"];

fn assert_no_canary(what: &str, text: &str) {
    for canary in CANARIES {
        assert!(!text.contains(canary), "{what} shows {canary}:\n{text}");
    }
}

#[test]
fn start_look_stop() {
    let mut daemon = Daemon::start(&Setup::default());
    let (status, body) = daemon.start_task("t1", "ok");
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["code"], 0);
    assert_eq!(body["data"]["status"], "STARTING");
    let task = daemon.wait_status("t1", "STREAMING");
    assert!(task["processId"].is_u64());
    assert_eq!(task["errorMessage"], Value::Null);
    wait_for("progress", SOON, || {
        (daemon.task("t1")["progress"]["frame"].as_u64()? > 12).then_some(())
    });
    assert_eq!(
        daemon
            .get("/api/stream/tasks/active")
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let (status, again) = daemon.start_task("t1", "ok");
    assert_eq!((status, &again["code"]), (409, &json!(30102)));
    let (status, body) = daemon.stop_task("t1", false);
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["data"]["status"], "STOPPED");
    assert_eq!(body["data"]["processId"], Value::Null);
    assert!(children_of(&daemon.node_id).is_empty());
    let (status, body) = daemon.stop_task("t1", false);
    assert_eq!(
        (status, &body["code"]),
        (200, &json!(0)),
        "stopping the stopped"
    );
    let (status, body) = daemon.stop_task("nobody", false);
    assert_eq!((status, &body["code"]), (404, &json!(30101)));
    let all = daemon.get("/api/stream/tasks");
    assert_no_canary("the task list", &all.to_string());
    assert!(daemon.stop().success());
    assert_no_canary("the log", &daemon.log());
}

#[test]
fn a_source_that_would_listen_starts_nothing() {
    let daemon = Daemon::start(&Setup::default());
    let whip = "https://127.0.0.1:1/whip";
    let sources = [
        ("SRT", "srt://127.0.0.1:9/ok?mode=listener"),
        ("SRT", "127.0.0.1:9/ok?mode=listener"),
        ("SRT", "srt://127.0.0.1:9/ok?mode=%6Cistener"),
        ("SRT", "srt://127.0.0.1:9/ok?MODE=LISTENER"),
        ("RTMP", "rtmp://127.0.0.1:9/live/ok?listen=1"),
        ("RTSP", "rtsp://127.0.0.1:9/ok?listen"),
    ];
    for (at, (kind, source)) in sources.into_iter().enumerate() {
        let body = json!({ "taskId": format!("s{at}"), "inputType": kind, "sourceUrl": source, "whipUrl": whip });
        let (status, answer) = daemon.request("POST", "/api/stream/start", Some(&body));
        assert_eq!(
            (status, &answer["code"]),
            (400, &json!(20005)),
            "{source}: {answer}"
        );
        let command = format!("ffmpeg -i '{source}' -c copy -f whip {whip}");
        if source.contains("://") {
            let body = json!({ "taskId": format!("c{at}"), "sourceUrl": "rtsp://127.0.0.1:9/ok", "whipUrl": whip, "ffmpegCommand": command });
            let (status, answer) = daemon.request("POST", "/api/stream/start", Some(&body));
            assert_eq!(
                (status, &answer["code"]),
                (400, &json!(20005)),
                "{command}: {answer}"
            );
        }
    }
    let options = format!("ffmpeg -mode listener -i srt://127.0.0.1:9/ok -c copy -f whip {whip}");
    let body = json!({ "taskId": "o", "sourceUrl": "rtsp://127.0.0.1:9/ok", "whipUrl": whip, "ffmpegCommand": options });
    let (status, answer) = daemon.request("POST", "/api/stream/start", Some(&body));
    assert_eq!((status, &answer["code"]), (400, &json!(20005)), "{answer}");
    // No process was ever there that could have opened a socket.
    assert_eq!(daemon.get("/api/stream/tasks"), json!([]));
    assert!(children_of(&daemon.node_id).is_empty());
}

#[test]
fn a_file_that_is_swapped_between_two_tries_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("media");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("a.mp4"), "inside").unwrap();
    std::fs::write(dir.path().join("secret"), "outside").unwrap();
    let link = root.join("link.mp4");
    std::os::unix::fs::symlink("a.mp4", &link).unwrap();
    let defaults = Setup::default().ffmpeg;
    let daemon = Daemon::start(&Setup {
        ffmpeg: format!("{defaults}, file_root: '{}'", root.display()),
        ..Setup::default()
    });
    // The stand-in knows nothing of files, so it fails and is tried again.
    let body = json!({
        "taskId": "f", "inputType": "FILE", "sourceUrl": "link.mp4",
        "whipUrl": "https://127.0.0.1:1/whip"
    });
    let (status, answer) = daemon.request("POST", "/api/stream/start", Some(&body));
    assert_eq!(status, 200, "{answer}");
    daemon.wait_status("f", "RECONNECTING");
    assert_eq!(daemon.task("f")["errorCode"], 40103);
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("../secret", &link).unwrap();
    let task = wait_for("the next try", Duration::from_secs(20), || {
        let task = daemon.task("f");
        (task["errorCode"] == 20005).then_some(task)
    });
    assert_eq!(task["processId"], Value::Null, "{task}");
    let runs = daemon.get("/api/stream/task/f/log")["runs"].clone();
    assert_eq!(
        runs.as_array().unwrap().len(),
        1,
        "a process was started for it"
    );
}

#[test]
fn the_ladder_ends_what_does_not_want_to_end() {
    let daemon = Daemon::start(&Setup::default());
    for (mode, signal) in [("need-two", None), ("only-kill", Some(9))] {
        daemon.start_task(mode, mode);
        daemon.wait_status(mode, "STREAMING");
        let (status, body) = daemon.stop_task(mode, false);
        assert_eq!(status, 200, "{body}");
        let exit = body["data"]["exitHistory"][0].clone();
        assert_eq!(exit["signal"], json!(signal), "{mode}: {exit}");
    }
    daemon.start_task("f", "only-kill");
    daemon.wait_status("f", "STREAMING");
    let (_, body) = daemon.stop_task("f", true);
    assert_eq!(body["data"]["exitHistory"][0]["signal"], 9);
    assert!(children_of(&daemon.node_id).is_empty());
}

#[test]
fn a_stop_never_holds_up_another_task() {
    let daemon = Daemon::start(&Setup::default());
    daemon.start_task("slow", "only-kill");
    daemon.wait_status("slow", "STREAMING");
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| daemon.stop_task("slow", false));
        wait_for("the stop to be under way", SOON, || {
            daemon.log().contains("slow").then_some(())
        });
        daemon.start_task("other", "ok");
        daemon.wait_status("other", "STREAMING");
        assert_eq!(daemon.stop_task("other", false).0, 200);
        assert!(
            !slow.is_finished(),
            "the slow stop was over too soon to prove anything"
        );
        assert_eq!(slow.join().unwrap().0, 200);
    });
}

/// Puts a program in place of the one at `path`, at once.
fn install(path: &std::path::Path, script: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, script).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&new, mode).unwrap();
    std::fs::rename(&new, path).unwrap();
}

#[test]
fn an_ffmpeg_that_hangs_holds_up_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ffmpeg");
    let good = format!("#!/bin/sh\nexec '{}' \"$@\"\n", fake_ffmpeg().display());
    install(&path, &good);
    let daemon = Daemon::start(&Setup {
        ffmpeg: format!("path: '{}', start_confirm: 300ms", path.display()),
        max_tasks: 16,
        ..Setup::default()
    });
    daemon.start_task("runs", "ok");
    daemon.wait_status("runs", "STREAMING");
    for part in ["-version", "-encoders"] {
        let hangs = format!(
            "#!/bin/sh\ncase \" $* \" in *' {part} '*) exec sleep 3600 ;; esac\nexec '{}' \"$@\"\n",
            fake_ffmpeg().display()
        );
        install(&path, &hangs);
        // More than there are REST workers.
        let ids: Vec<String> = (0..8).map(|n| format!("hangs{part}{n}")).collect();
        std::thread::scope(|scope| {
            let daemon = &daemon;
            let starts: Vec<_> = ids
                .iter()
                .map(|id| scope.spawn(move || daemon.start_task(id, "ok")))
                .collect();
            for id in &ids {
                wait_for("the start to be under way", SOON, || {
                    let (status, body) =
                        daemon.request("GET", &format!("/api/stream/task/{id}"), None);
                    (status == 200 && body["data"]["status"] == "STARTING").then_some(())
                });
            }
            assert_eq!(daemon.get("/livez")["live"], true);
            assert_eq!(daemon.task("runs")["status"], "STREAMING");
            let (status, body) = daemon.stop_task("runs", false);
            assert_eq!(status, 200, "{body}");
            // One that is taken back is never begun.
            let (status, body) = daemon.stop_task(&ids[7], false);
            assert_eq!((status, &body["data"]["status"]), (200, &json!("STOPPED")));
            let finished = starts.iter().filter(|s| s.is_finished()).count();
            assert!(finished <= 1, "over too soon to prove anything: {finished}");
            for (start, id) in starts.into_iter().zip(&ids) {
                let (_, body) = start.join().unwrap();
                let code = if *id == ids[7] { 30106 } else { 40101 };
                assert_eq!(body["code"], code, "{id}: {body}");
            }
        });
        // The next START looks again.
        install(&path, &good);
        daemon.start_task("runs", "ok");
        daemon.wait_status("runs", "STREAMING");
    }
    assert_eq!(
        daemon
            .get("/api/stream/tasks/active")
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn each_failure_has_its_code_and_state() {
    let daemon = Daemon::start(&Setup::default());
    for (mode, code, status) in [
        ("refused", 30201, "RECONNECTING"),
        ("notfound", 30203, "RECONNECTING"),
        ("whip401", 40202, "ERROR"),
        ("whip404", 40203, "ERROR"),
        ("whip500", 40201, "RECONNECTING"),
        ("badoption", 30104, "ERROR"),
        ("die", 40103, "RECONNECTING"),
        ("mute", 40104, "RECONNECTING"),
        // Last: from then on the login is guarded.
        ("auth", 30202, "ERROR"),
    ] {
        daemon.start_task(mode, mode);
        let task = daemon.wait_status(mode, status);
        assert_eq!(task["errorCode"], code, "{mode}: {task}");
        assert!(!task["errorMessage"].as_str().unwrap().is_empty());
        let log = daemon.get(&format!("/api/stream/task/{mode}/log"));
        assert_no_canary(mode, &log.to_string());
        assert_no_canary(mode, &task.to_string());
        daemon.stop_task(mode, false);
    }
    assert_no_canary("the log", &daemon.log());
}

#[test]
fn a_refused_login_is_not_tried_again_by_any_task() {
    let daemon = Daemon::start(&Setup::default());
    daemon.start_task("first", "auth");
    let task = daemon.wait_status("first", "ERROR");
    assert_eq!(task["exitHistory"].as_array().unwrap().len(), 1);
    // The camera would take it now, and is not asked: it locks accounts.
    for id in ["first", "second"] {
        daemon.start_task(id, "ok");
        let task = daemon.wait_status(id, "ERROR");
        assert_eq!(task["errorCode"], 30202, "{task}");
        let words = task["errorMessage"].as_str().unwrap();
        assert!(words.contains("guarded until"), "{words}");
        assert_eq!(task["exitHistory"], json!([]), "{task}");
    }
    // Another login is another matter.
    let mut body = start_body("other", "ok");
    let source = source_url("ok").replace("camera-canary-1", "camera-canary-9");
    body["sourceUrl"] = json!(source);
    daemon.request("POST", "/api/stream/start", Some(&body));
    daemon.wait_status("other", "STREAMING");
    assert_no_canary("the log", &daemon.log());
}

#[test]
fn a_login_that_has_worked_is_waited_for_by_new_tasks_too() {
    let daemon = Daemon::start(&Setup::default());
    daemon.start_task("first", "ok");
    daemon.wait_status("first", "STREAMING");
    // Refused once, as a camera does while it restarts: not the end of a task that is new.
    daemon.start_task("second", "auth");
    let task = daemon.wait_status("second", "RECONNECTING");
    assert_eq!(task["errorCode"], 30202, "{task}");
    daemon.stop_task("second", false);
    // The guard has the next one wait for some seconds.
    daemon.start_task("third", "ok");
    let task = daemon.wait_status("third", "RECONNECTING");
    let words = task["errorMessage"].as_str().unwrap();
    assert!(words.contains("guarded until"), "{words}");
    let task = daemon.wait_status("third", "STREAMING");
    assert_eq!(task["retryCount"], 0, "{task}");
}

#[test]
fn many_streams_of_one_new_login_wait_for_the_first() {
    let daemon = Daemon::start(&Setup::default());
    for n in 0..3 {
        daemon.start_task(&format!("mute-{n}"), "mute");
    }
    // Behind its look, each has its FFmpeg.
    for n in 0..3 {
        wait_for("FFmpeg", Duration::from_secs(20), || {
            let pid = daemon.task(&format!("mute-{n}"))["processId"].as_u64()?;
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            line.windows(4).any(|part| part == b"\0-i\0").then_some(())
        });
    }
    let late: Vec<String> = (0..5).map(|n| format!("late-{n}")).collect();
    for id in &late {
        daemon.start_task(id, "ok");
    }
    // As many tries as the camera may refuse are under way: no process yet.
    for id in &late {
        let task = daemon.task(id);
        assert_eq!(
            (&task["status"], &task["processId"]),
            (&json!("STARTING"), &json!(null))
        );
    }
    for n in 0..3 {
        daemon.stop_task(&format!("mute-{n}"), false);
    }
    for id in &late {
        daemon.wait_status(id, "STREAMING");
    }
}

#[test]
fn exit_code_zero_reconnects_and_streams_again() {
    let daemon = Daemon::start(&Setup::default());
    daemon.start_task("z", "zero");
    daemon.wait_status("z", "STREAMING");
    let task = daemon.wait_status("z", "RECONNECTING");
    assert_eq!(task["errorCode"], 30203);
    let task = daemon.wait_status("z", "STREAMING");
    assert_eq!(task["retryCount"], 1);
    assert_eq!(task["exitHistory"].as_array().unwrap().len(), 1);
}

#[test]
fn a_stall_and_a_hanging_engine_are_ended_and_tried_again() {
    let daemon = Daemon::start(&Setup::default());
    for (mode, code) in [("stall", 30203), ("hang", 40203)] {
        daemon.start_task(mode, mode);
        daemon.wait_status(mode, "STREAMING");
        let first = daemon.task(mode)["processId"].clone();
        let task = wait_for("the run to end", SOON, || {
            let task = daemon.task(mode);
            (task["exitHistory"].as_array()?.len() == 1).then_some(task)
        });
        assert_eq!(task["exitHistory"][0]["errorCode"], code, "{task}");
        let task = daemon.wait_status(mode, "STREAMING");
        assert_ne!(task["processId"], first);
        daemon.stop_task(mode, true);
    }
}

#[test]
fn a_flood_of_secrets_is_drained_and_masked() {
    let daemon = Daemon::start(&Setup::default());
    daemon.start_task("flood", "flood");
    daemon.wait_status("flood", "STREAMING");
    let log = wait_for("a full log ring", SOON, || {
        let log = daemon.get("/api/stream/task/flood/log");
        (log["lines"].as_array()?.len() > 5).then_some(log)
    });
    let chars: usize = log["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l.as_str().unwrap().chars().count())
        .sum();
    assert!(chars <= 2000, "{chars}");
    assert_no_canary("the ring", &log.to_string());
    assert_eq!(daemon.stop_task("flood", false).0, 200);
}

#[test]
fn children_get_nothing_of_ours() {
    let daemon = Daemon::start(&Setup {
        server: "  api_token: 'api-token-canary-4'".into(),
        env: vec![
            ("ABLY_API_KEY".into(), "app.key:ably-canary-5".into()),
            ("OTHER".into(), "unrelated-canary-6".into()),
        ],
        ..Setup::default()
    });
    let body = start_body("e", "env").to_string();
    let ask = |method: &str, path: &str, body: &str| {
        raw_request(
            daemon.addr,
            format!(
                "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer api-token-canary-4\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .as_bytes(),
        )
    };
    assert_eq!(ask("POST", "/api/stream/start", &body).0, 200);
    let pids = wait_for("the child", SOON, || {
        let pids = children_of(&daemon.node_id);
        (!pids.is_empty()).then_some(pids)
    });
    let environ = std::fs::read(format!("/proc/{}/environ", pids[0])).unwrap();
    let environ = String::from_utf8_lossy(&environ);
    for canary in [
        "api-token-canary-4",
        "ably-canary-5",
        "unrelated-canary-6",
        "LSS_LOG",
    ] {
        assert!(!environ.contains(canary), "{environ}");
    }
    assert!(environ.contains("PATH="));
    assert_eq!(ask("POST", "/api/stream/stop", r#"{"taskId":"e"}"#).0, 200);
}

/// Of the daemon's own user, too: FFmpeg runs as that.
#[test]
fn nobody_but_root_looks_into_the_daemon() {
    use std::os::unix::fs::MetadataExt;
    let setup = Setup::default();
    let daemon = Daemon::start(&setup);
    daemon.start_task("t", "ok");
    daemon.wait_status("t", "STREAMING");
    let pid = daemon.pid();
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find(|l| l.starts_with("Max core file size"));
    let core: Vec<&str> = core.unwrap().split_whitespace().collect();
    assert_eq!(core[4..6], ["0", "0"], "{core:?}");
    if !nix::unistd::Uid::effective().is_root() {
        // What is ours is root's now.
        let meta = std::fs::metadata(format!("/proc/{pid}/environ")).unwrap();
        assert_eq!(meta.uid(), 0);
        assert!(std::fs::read(format!("/proc/{pid}/environ")).is_err());
        return;
    }
    // As a user without rights, which the daemon is given, too.
    drop(daemon);
    let binary = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(binary.path(), Some(65_534), Some(65_534)).unwrap();
    let lss = binary.path().join("lss");
    std::fs::copy(env!("CARGO_BIN_EXE_lss"), &lss).unwrap();
    let script = format!(
        "cd / && TMPDIR={dir} ABLY_API_KEY=canary-key {lss} run --standalone --config {dir}/lss.yaml 2>{dir}/log & \
         lss=$!; i=0; until grep -q 'lss starts' {dir}/log || [ $i -gt 200 ]; do i=$((i+1)); sleep 0.05; done; \
         for f in environ mem maps fd/0; do cat /proc/$lss/$f >/dev/null 2>&1 && echo reads $f; done; \
         grep -a -q canary-key /proc/$lss/environ 2>/dev/null && echo has the key; \
         [ -d /proc/$lss ] && echo lives; kill -9 $lss",
        dir = binary.path().display(),
        lss = lss.display(),
    );
    std::fs::write(
        binary.path().join("lss.yaml"),
        format!("server: {{ port: {} }}\nlss: {{ node: {{ machine_id: '{}' }} }}\ncamera: {{ scan_enabled: false }}\n", support::daemon::free_port(), setup.machine_id),
    )
    .unwrap();
    let ran = std::process::Command::new("setpriv")
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--bounding-set=-all",
            "/bin/sh",
            "-c",
            &script,
        ])
        .output()
        .unwrap();
    let log = std::fs::read_to_string(binary.path().join("log")).unwrap_or_default();
    assert_eq!(
        String::from_utf8_lossy(&ran.stdout),
        "lives\n",
        "{log}\n{}",
        String::from_utf8_lossy(&ran.stderr)
    );
}

#[test]
fn no_child_survives_a_killed_daemon() {
    let setup = Setup::default();
    let mut daemon = Daemon::start(&setup);
    for mode in ["ok", "only-kill"] {
        daemon.start_task(mode, mode);
        daemon.wait_status(mode, "STREAMING");
    }
    assert!(children_of(&daemon.node_id).len() >= 2);
    daemon.signal(Signal::SIGKILL);
    daemon.wait_exit(SOON);
    // The shells die with their parent; a sleep that a shell has just started ends by itself.
    wait_for("the children to be gone", SOON, || {
        children_of(&daemon.node_id).is_empty().then_some(())
    });
    let again = Daemon::start(&setup);
    again.start_task("ok", "ok");
    again.wait_status("ok", "STREAMING");
}

/// Killed or asked to end: an FFmpeg that hangs when it is asked for its abilities does not stay.
#[test]
fn an_ffmpeg_that_is_being_asked_dies_with_the_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let ffmpeg = dir.path().join("ffmpeg");
    let written = std::process::Command::new("sh")
        .args([
            "-c",
            r#"printf '#!/bin/sh\nexec sleep 600\n' > "$0" && chmod 755 "$0""#,
        ])
        .arg(&ffmpeg)
        .status()
        .unwrap();
    assert!(written.success());
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let setup = Setup {
            ffmpeg: format!("path: '{}'", ffmpeg.display()),
            ..Setup::default()
        };
        let mut daemon = Daemon::start(&setup);
        let pids = wait_for("the one that is asked", SOON, || {
            let pids = children_of(&daemon.node_id);
            (!pids.is_empty()).then_some(pids)
        });
        // A later daemon would know it, and whose it was.
        let environ = std::fs::read(format!("/proc/{}/environ", pids[0])).unwrap();
        let mark = format!("LSS_CHILD_OF_PROCESS={}:", daemon.pid());
        assert!(String::from_utf8_lossy(&environ).contains(&mark));
        daemon.signal(signal);
        daemon.wait_exit(SOON);
        wait_for("its end", SOON, || {
            children_of(&daemon.node_id).is_empty().then_some(())
        });
    }
}

#[test]
fn what_a_killed_daemon_left_behind_is_ended_at_the_next_start() {
    let setup = Setup::default();
    let node_id = format!("lss-{}", setup.machine_id);
    let spawn = |parent: &str| {
        std::process::Command::new("/bin/sleep")
            .arg("600")
            .env("LSS_CHILD_OF_NODE", &node_id)
            .env("LSS_CHILD_OF_PROCESS", parent)
            .spawn()
            .unwrap()
    };
    let mut orphan = spawn("1:18446744073709551615");
    let own = std::process::id();
    let stat = std::fs::read_to_string(format!("/proc/{own}/stat")).unwrap();
    let started = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .nth(19)
        .unwrap()
        .to_owned();
    let mut of_the_living = spawn(&format!("{own}:{started}"));
    let daemon = Daemon::start(&setup);
    wait_for("the orphan to be ended", SOON, || {
        orphan.try_wait().unwrap()
    });
    wait_for("the log to say so", SOON, || {
        daemon.log().contains("left behind").then_some(())
    });
    assert!(
        of_the_living.try_wait().unwrap().is_none(),
        "ended a living daemon's child"
    );
    of_the_living.kill().unwrap();
    of_the_living.wait().unwrap();
}

#[test]
fn a_second_daemon_of_the_same_node_exits_1() {
    let setup = Setup::default();
    let _first = Daemon::start(&setup);
    let mut second = Daemon::spawn(&setup);
    let status = second.wait_exit(SOON);
    assert_eq!(status.code(), Some(1));
    wait_for("the reason", SOON, || {
        second.log().contains("already runs").then_some(())
    });
}

#[test]
fn sigterm_ends_everything_under_one_deadline() {
    let mut daemon = Daemon::start(&Setup::default());
    for n in 0..3 {
        let id = format!("k{n}");
        daemon.start_task(&id, "only-kill");
    }
    daemon.start_task("w", "ok");
    for id in ["k0", "k1", "k2", "w"] {
        daemon.wait_status(id, "STREAMING");
    }
    let begin = Instant::now();
    assert!(daemon.stop().success());
    // Three ladders one after another would take three stop_timeouts (4 s each).
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "{:?}",
        begin.elapsed()
    );
    assert!(children_of(&daemon.node_id).is_empty());
}

#[test]
fn a_second_signal_skips_the_grace() {
    let mut daemon = Daemon::start(&Setup {
        ffmpeg: format!(
            "path: '{}', start_confirm: 300ms, stop_timeout: 60s",
            fake_ffmpeg().display()
        ),
        ..Setup::default()
    });
    daemon.start_task("k", "only-kill");
    daemon.wait_status("k", "STREAMING");
    daemon.signal(Signal::SIGTERM);
    wait_for("the stop to begin", SOON, || {
        daemon.log().contains("stopping").then_some(())
    });
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait_exit(SOON).success());
    assert!(children_of(&daemon.node_id).is_empty());
}

#[test]
fn maintenance_and_limits() {
    let daemon = Daemon::start(&Setup {
        max_tasks: 1,
        ..Setup::default()
    });
    daemon.start_task("a", "ok");
    let (status, body) = daemon.start_task("b", "ok");
    assert_eq!((status, &body["code"]), (503, &json!(30103)));
    assert_eq!(daemon.get("/api/stream/node")["status"], "BUSY");
    let on = json!({ "enabled": true });
    let (status, _) = daemon.request("PUT", "/api/stream/node/maintenance", Some(&on));
    assert_eq!(status, 200);
    daemon.stop_task("a", true);
    let (status, body) = daemon.start_task("b", "ok");
    assert_eq!((status, &body["code"]), (503, &json!(30302)));
    assert_eq!(daemon.get("/api/stream/node")["status"], "MAINTENANCE");
}

#[test]
fn a_missing_ffmpeg_is_said_everywhere() {
    let daemon = Daemon::start(&Setup {
        ffmpeg: "path: '/nonexistent/ffmpeg'".into(),
        ..Setup::default()
    });
    let (status, body) = daemon.start_task("a", "ok");
    assert_eq!((status, &body["code"]), (500, &json!(40101)));
    let message = body["message"].as_str().unwrap();
    assert!(message.contains("/nonexistent/ffmpeg"), "{message}");
    let (status, _) = daemon.request("GET", "/readyz", None);
    assert_eq!(status, 503);
    assert_eq!(daemon.get("/api/stream/health")["status"], "DOWN");
    let (status, _) = daemon.request("GET", "/livez", None);
    assert_eq!(status, 200);
}

#[test]
fn descriptor_exhaustion_and_idle_connections_touch_neither_api_nor_streams() {
    let daemon = Daemon::start(&Setup {
        open_files: Some(96),
        ..Setup::default()
    });
    daemon.start_task("s", "ok");
    daemon.wait_status("s", "STREAMING");
    let frame = |d: &Daemon| d.task("s")["progress"]["frame"].as_u64().unwrap();
    let before = frame(&daemon);
    let idle: Vec<std::net::TcpStream> = (0..500)
        .filter_map(|_| std::net::TcpStream::connect(daemon.addr).ok())
        .collect();
    assert!(idle.len() > 400, "{}", idle.len());
    for _ in 0..20 {
        assert_eq!(daemon.request("GET", "/livez", None).0, 200);
    }
    wait_for("the stream to go on", SOON, || {
        (frame(&daemon) > before + 12).then_some(())
    });
    drop(idle);
    daemon.start_task("s2", "ok");
    daemon.wait_status("s2", "STREAMING");
    assert_eq!(daemon.task("s")["status"], "STREAMING");
    assert_eq!(daemon.task("s")["retryCount"], 0);
}

#[test]
#[cfg(feature = "relay")]
fn a_node_without_ffmpeg_is_ready_where_pictures_may_stay_as_they_are() {
    let nowhere = |more: &str| Setup {
        ffmpeg: format!("path: /nonexistent/ffmpeg, {more}"),
        ..Setup::default()
    };
    let daemon = Daemon::start(&nowhere("passthrough: auto"));
    wait_for("the node to be ready", SOON, || {
        (daemon.request("GET", "/readyz", None).0 == 200).then_some(())
    });
    let health = daemon.get("/api/stream/health");
    let part = &health["parts"]["ffmpeg"];
    assert_eq!(
        (&health["status"], &part["status"]),
        (&json!("UP"), &json!("UP"))
    );
    let reason = part["reason"].as_str().unwrap();
    assert!(
        reason.contains("only what goes out as the camera sends it")
            && reason.contains("/nonexistent"),
        "{health}"
    );
    // What needs FFmpeg says so.
    let mut body = start_body("t1", "ok");
    body["videoConfig"] = json!({ "codec": "libx264" });
    let (status, answer) = daemon.request("POST", "/api/stream/start", Some(&body));
    assert_eq!((status, &answer["code"]), (500, &json!(40101)), "{answer}");

    let daemon = Daemon::start(&nowhere("passthrough: never"));
    let status = wait_for("FFmpeg to be looked for", SOON, || {
        let (status, answer) = daemon.request("GET", "/readyz", None);
        answer
            .to_string()
            .contains("/nonexistent")
            .then_some(status)
    });
    assert_eq!(status, 503);
}
