//! SIGHUP and the service manager's watchdog, on the real binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::{Value, json};
use support::daemon::{Daemon, Setup, raw_request, wait_for};
use support::digest_server::GateRules;
use support::isapi_camera::{self, Model};

const SOON: Duration = Duration::from_secs(10);

/// Swaps a piece of the configuration file and has it read again; what the log says of it.
fn reload(daemon: &Daemon, old: &str, new: &str) -> String {
    let text = std::fs::read_to_string(&daemon.config).unwrap();
    assert!(text.contains(old), "{text}");
    std::fs::write(&daemon.config, text.replacen(old, new, 1)).unwrap();
    hup(daemon)
}

fn hup(daemon: &Daemon) -> String {
    let before = daemon.log().len();
    daemon.signal(Signal::SIGHUP);
    wait_for("the reload", SOON, || {
        let said = daemon.log().split_off(before);
        (said.contains("reloaded")).then_some(said)
    })
}

/// The status that a token gets.
fn with_token(daemon: &Daemon, token: &str) -> u16 {
    let request = format!(
        "GET /api/stream/tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    raw_request(daemon.addr, request.as_bytes()).0
}

#[test]
fn limits_change_and_what_runs_goes_on() {
    let daemon = Daemon::start(&Setup {
        max_tasks: 1,
        ..Setup::default()
    });
    assert_eq!(daemon.start_task("one", "ok").0, 200);
    let pid = daemon.wait_status("one", "STREAMING")["processId"].clone();
    let (status, answer) = daemon.start_task("two", "ok");
    assert_eq!((status, &answer["code"]), (503, &json!(30103)), "{answer}");
    let said = reload(&daemon, "max_tasks: 1", "max_tasks: 2");
    assert!(said.contains("key=lss.node.max_tasks"), "{said}");
    wait_for("the new limit", SOON, || {
        (daemon.start_task("two", "ok").0 == 200).then_some(())
    });
    daemon.wait_status("two", "STREAMING");
    assert_eq!(daemon.task("one")["processId"], pid);
    assert_eq!(daemon.task("one")["retryCount"], 0);
    assert_eq!(daemon.get("/api/stream/node")["maxTasks"], 2);
    assert!(hup(&daemon).contains("nothing has changed"));
}

#[test]
fn a_bad_file_changes_nothing_and_the_log_says_why() {
    let mut daemon = Daemon::start(&Setup {
        max_tasks: 1,
        ..Setup::default()
    });
    assert_eq!(daemon.start_task("one", "ok").0, 200);
    let pid = daemon.wait_status("one", "STREAMING")["processId"].clone();
    for (old, bad, word) in [
        ("max_tasks: 1", "max_tasks: many", "lss.node.max_tasks"),
        ("max_tasks: many", "max_tasks: [", "not valid YAML"),
    ] {
        let said = reload(&daemon, old, bad);
        assert!(said.contains(word), "{said}");
        assert!(said.contains("was not reloaded"), "{said}");
    }
    // A file that is gone.
    std::fs::remove_file(&daemon.config).unwrap();
    assert!(hup(&daemon).contains("was not reloaded"));
    assert_eq!(daemon.start_task("two", "ok").0, 503);
    assert_eq!(daemon.task("one")["processId"], pid);
    assert!(daemon.stop().success());
}

#[test]
fn what_waits_for_a_restart_is_named_each_time() {
    let daemon = Daemon::start(&Setup::default());
    let said = reload(&daemon, "127.0.0.1", "127.0.0.2");
    assert!(
        said.contains("key=server.listen") && said.contains("restart"),
        "{said}"
    );
    assert!(hup(&daemon).contains("key=server.listen"));
    assert_eq!(daemon.get("/api/stream/tasks"), json!([]));
}

#[test]
fn a_token_is_swapped_and_does_not_vanish() {
    let (old, new) = ("canary-old-0123456789abcdef", "canary-new-0123456789abcdef");
    let daemon = Daemon::start(&Setup {
        server: format!("  api_token: '{old}'"),
        ..Setup::default()
    });
    assert_eq!(
        (with_token(&daemon, old), with_token(&daemon, new)),
        (200, 403)
    );
    reload(&daemon, old, new);
    assert_eq!(
        (with_token(&daemon, old), with_token(&daemon, new)),
        (403, 200)
    );
    let said = reload(&daemon, new, "");
    assert!(said.contains("restart"), "{said}");
    assert_eq!(with_token(&daemon, new), 200);
    let log = daemon.log();
    assert!(!log.contains(old) && !log.contains(new));
}

#[test]
fn logins_and_limits_of_cameras_change() {
    let rules = GateRules::default();
    let camera = isapi_camera::start(rules.clone(), Model::default());
    let daemon = Daemon::start(&Setup {
        more: "ptz: { max_move: 30s }".to_owned(),
        ..Setup::default()
    });
    let ask = |more: Value| {
        let mut body = json!({
            "ip": camera.addr.ip().to_string(), "port": camera.addr.port(),
            "vendorType": "HIKVISION", "action": "PAN_LEFT",
        });
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        daemon.request("POST", "/api/cameras/cam/ptz", Some(&body))
    };
    // Nothing is known of it but where it is.
    assert_eq!(ask(json!({})).1["code"], 10001);
    let quoted = rules.password.replace('\'', "''");
    let said = reload(
        &daemon,
        "allow_loopback: true",
        &format!(
            "allow_loopback: true, credentials: [ {{ match: cam, username: {}, password: '{quoted}' }} ]",
            rules.user
        ),
    );
    assert!(said.contains("key=camera.credentials"), "{said}");
    let (status, answer) = ask(json!({}));
    assert_eq!(status, 200, "{answer}");
    daemon.request(
        "POST",
        "/api/cameras/cam/ptz",
        Some(&json!({ "action": "STOP" })),
    );
    let said = reload(&daemon, "max_move: 30s", "max_move: 1s");
    assert!(said.contains("key=ptz.max_move"), "{said}");
    assert_eq!(ask(json!({})).0, 200);
    wait_for("the limit to strike", SOON, || {
        (!camera.moving()).then_some(())
    });
    assert!(!daemon.log().contains(&rules.password));
}

#[test]
fn the_log_s_level_changes() {
    let daemon = Daemon::start(&Setup {
        env: vec![("LSS_LOG".into(), String::new())],
        more: "log: { level: info }".to_owned(),
        ..Setup::default()
    });
    daemon.get("/api/stream/tasks");
    assert!(!daemon.log().contains("DEBUG"));
    reload(&daemon, "level: info", "level: debug");
    daemon.get("/api/stream/tasks");
    wait_for("a debug line", SOON, || {
        daemon.log().contains("DEBUG").then_some(())
    });
}

#[test]
fn the_service_manager_hears_of_start_reload_life_and_stop() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let next = |wanted: &str| {
        let mut buffer = [0; 512];
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            let n = socket.recv(&mut buffer).unwrap();
            if String::from_utf8_lossy(&buffer[..n]).contains(wanted) {
                return;
            }
        }
        panic!("never heard {wanted}");
    };
    let mut daemon = Daemon::start(&Setup {
        env: vec![
            ("NOTIFY_SOCKET".into(), path.display().to_string()),
            ("WATCHDOG_USEC".into(), "600000".into()),
        ],
        ..Setup::default()
    });
    next("READY=1");
    for _ in 0..3 {
        next("WATCHDOG=1");
    }
    daemon.signal(Signal::SIGHUP);
    next("RELOADING=1");
    next("READY=1");
    next("WATCHDOG=1");
    daemon.stop();
    next("STOPPING=1");
}

#[test]
fn without_a_service_manager_the_kernel_ends_a_daemon_that_hangs() {
    let mut daemon = Daemon::start(&Setup {
        env: vec![("WATCHDOG_USEC".into(), "1000000".into())],
        ..Setup::default()
    });
    // It lives on while its loops answer: a beat is half a second.
    let beats = |from: u64| {
        wait_for("beats of the watchdog", SOON, || {
            (wake_ups(&daemon, "lss") >= from + 5).then_some(())
        });
    };
    beats(wake_ups(&daemon, "lss"));
    // Nobody can tell a thread that the debugger holds from one that hangs.
    let owner = Pid::from_raw(i32::try_from(thread(&daemon, "stream")).unwrap());
    ptrace::seize(owner, ptrace::Options::empty()).unwrap();
    ptrace::interrupt(owner).unwrap();
    wait_for("the daemon's end", SOON, || {
        match waitpid(owner, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG)).unwrap() {
            WaitStatus::Signaled(_, signal, _) => Some(signal),
            _ => None,
        }
    });
    let status = daemon.wait_exit(SOON);
    assert_eq!(status.signal(), Some(Signal::SIGALRM as i32), "{status}");
}

/// The number of a thread, by its name.
fn thread(daemon: &Daemon, name: &str) -> u32 {
    std::fs::read_dir(format!("/proc/{}/task", daemon.pid()))
        .unwrap()
        .map(|entry| entry.unwrap())
        .find(|entry| {
            std::fs::read_to_string(entry.path().join("comm"))
                .is_ok_and(|comm| comm.trim_end() == name)
        })
        .and_then(|entry| entry.file_name().to_str()?.parse().ok())
        .unwrap_or_else(|| panic!("no thread {name}"))
}

/// How often a thread has slept.
fn wake_ups(daemon: &Daemon, name: &str) -> u64 {
    let path = format!(
        "/proc/{}/task/{}/status",
        daemon.pid(),
        thread(daemon, name)
    );
    std::fs::read_to_string(path)
        .unwrap()
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))
        .and_then(|count| count.trim().parse().ok())
        .unwrap()
}
