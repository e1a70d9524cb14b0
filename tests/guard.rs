//! A daemon that is killed while a camera turns: its guard stops that. The camera is one that ends no
//! movement by itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

#[path = "support/mod.rs"]
mod lss_test;

use std::io::Read;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use lss_test::camera_head::Axis;
use lss_test::daemon::{Daemon, Setup, wait_for};
use lss_test::digest_server::GateRules;
use lss_test::isapi_camera::{self, Model};
use lss_test::onvif_camera::{self, OnvifModel, OnvifStandIn, StopMode};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(15);

/// A dome that refuses to end a movement by itself.
fn dome() -> OnvifStandIn {
    onvif_camera::start(
        GateRules::default(),
        OnvifModel {
            refuses_timeouts: true,
            ..OnvifModel::default()
        },
    )
}

fn with(addr: SocketAddr, vendor: &str, action: &str) -> Value {
    let rules = GateRules::default();
    json!({
        "ip": addr.ip().to_string(), "port": addr.port(), "vendorType": vendor,
        "username": rules.user, "password": rules.password,
        "action": action, "duration": 600_000,
    })
}

fn ptz(daemon: &Daemon, addr: SocketAddr, vendor: &str, action: &str) {
    let body = with(addr, vendor, action);
    let (status, answer) = daemon.request("POST", "/api/cameras/dome/ptz", Some(&body));
    assert_eq!((status, &answer["code"]), (200, &json!(0)), "{answer}");
}

/// Processes that carry the mark of this node's guard. Root alone can tell.
fn guards(node_id: &str) -> Vec<Pid> {
    let mark = format!("LSS_GUARD_OF_NODE={node_id}");
    let is = |pid: &i32| {
        std::fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|all| all.split(|b| *b == 0).any(|one| one == mark.as_bytes()))
    };
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(is)
        .map(Pid::from_raw)
        .collect()
}

fn possible(test: &str) -> bool {
    let root = Uid::effective().is_root();
    if !root {
        eprintln!("SKIPPED {test}: only root can see which process is the guard");
    }
    root
}

fn guard(daemon: &Daemon) -> Pid {
    wait_for("the guard", SOON, || {
        // Just forked, it is still called as its daemon is.
        let guards = guards(&daemon.node_id);
        (guards.len() == 1).then(|| guards[0])
    })
}

fn gone(node_id: &str) {
    wait_for("the guard to go", SOON, || {
        guards(node_id).is_empty().then_some(())
    });
}

#[test]
fn a_killed_daemon_leaves_no_camera_turning() {
    for signal in [Signal::SIGKILL, Signal::SIGABRT] {
        let onvif = dome();
        let isapi = isapi_camera::start(
            GateRules::default(),
            Model {
                momentary: false,
                ..Model::default()
            },
        );
        let mut daemon = Daemon::start(&Setup::default());
        ptz(&daemon, onvif.addr, "ONVIF", "PAN_LEFT");
        let body = with(isapi.addr, "HIKVISION", "FOCUS_NEAR");
        let (status, answer) = daemon.request("POST", "/api/cameras/hik/ptz", Some(&body));
        assert_eq!(status, 200, "{answer}");
        assert!(onvif.moving() && isapi.speed(Axis::Focus) != 0.0);
        daemon.signal(signal);
        daemon.wait_exit(SOON);
        wait_for("both to stand", SOON, || {
            (!onvif.moving() && isapi.speed(Axis::Focus) == 0.0).then_some(())
        });
        gone(&daemon.node_id);
    }
}

#[test]
fn what_the_guard_is_and_holds() {
    if !possible("what_the_guard_is_and_holds") {
        return;
    }
    let camera = dome();
    let mut daemon = Daemon::start(&Setup::default());
    assert!(guards(&daemon.node_id).is_empty(), "nothing moves");
    ptz(&daemon, camera.addr, "ONVIF", "PAN_LEFT");
    let pid = guard(&daemon);
    let of = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap();
    assert_eq!(of("cmdline"), b"lss\0guard\0");
    let mark = format!("LSS_GUARD_OF_NODE={}\0", daemon.node_id);
    assert_eq!(of("environ"), mark.as_bytes());
    // Its pipe, and nowhere to write to.
    let files = wait_for("its descriptors", SOON, || {
        let mut files: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let to = std::fs::read_link(entry.path()).ok()?;
                Some(format!("{} {}", entry.file_name().to_str()?, to.display()))
            })
            .collect();
        files.sort();
        (files.len() == 3).then_some(files)
    });
    assert!(files[0].starts_with("0 pipe:["), "{files:?}");
    assert_eq!(files[1..], ["1 /dev/null", "2 /dev/null"]);
    let stat = String::from_utf8(of("stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    // Group and session are its own.
    assert_eq!(fields[2..4], [pid.to_string(), pid.to_string()]);
    // What the service manager sends to all that is left does not reach it.
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        kill(pid, signal).unwrap();
    }
    // The camera stands: nothing to guard, and none is left behind in the end.
    ptz(&daemon, camera.addr, "ONVIF", "STOP");
    assert_eq!(guards(&daemon.node_id), [pid]);
    ptz(&daemon, camera.addr, "ONVIF", "PAN_RIGHT");
    let mut log = String::new();
    assert!(daemon.stop().success());
    log.push_str(&daemon.log());
    assert!(!camera.moving());
    assert!(guards(&daemon.node_id).is_empty(), "{log}");
}

#[test]
fn terminated_after_its_daemon_it_goes_on() {
    if !possible("terminated_after_its_daemon_it_goes_on") {
        return;
    }
    let camera = dome();
    camera.with(|device| {
        device.model.stop = StopMode::Ignored;
        device.model.ignores_zero = true;
    });
    let mut daemon = Daemon::start(&Setup::default());
    ptz(&daemon, camera.addr, "ONVIF", "PAN_LEFT");
    let pid = guard(&daemon);
    daemon.signal(Signal::SIGKILL);
    daemon.wait_exit(SOON);
    kill(pid, Signal::SIGTERM).unwrap();
    camera.take_operations();
    wait_for("another try", SOON, || {
        let done = camera.take_operations();
        done.iter().any(|op| op == "Stop").then_some(())
    });
    assert!(camera.moving());
    camera.with(|device| device.model.stop = StopMode::Works);
    wait_for("the camera to stand", SOON, || {
        (!camera.moving()).then_some(())
    });
    gone(&daemon.node_id);
}

#[test]
fn a_guard_that_is_killed_is_replaced() {
    if !possible("a_guard_that_is_killed_is_replaced") {
        return;
    }
    let camera = dome();
    let mut daemon = Daemon::start(&Setup::default());
    ptz(&daemon, camera.addr, "ONVIF", "PAN_LEFT");
    let first = guard(&daemon);
    kill(first, Signal::SIGKILL).unwrap();
    wait_for("another guard, told as well", SOON, || {
        let told = daemon.log().matches("the guard is told what moves").count();
        let guards = guards(&daemon.node_id);
        (told == 2 && guards.iter().any(|pid| *pid != first)).then_some(())
    });
    assert!(camera.moving(), "the daemon lives: nobody stops the camera");
    daemon.signal(Signal::SIGKILL);
    daemon.wait_exit(SOON);
    wait_for("the camera to stand", SOON, || {
        (!camera.moving()).then_some(())
    });
}

/// A later daemon moves the camera while the guard of the killed one still tries to stop it: from then
/// on the camera is the later one's.
#[test]
fn a_restarted_daemon_is_not_fought() {
    if !possible("a_restarted_daemon_is_not_fought") {
        return;
    }
    let camera = dome();
    let deaf = |is: bool| {
        camera.with(|device| {
            device.model.stop = if is {
                StopMode::Ignored
            } else {
                StopMode::Works
            };
            device.model.ignores_zero = is;
        });
    };
    deaf(true);
    let setup = Setup::default();
    let mut first = Daemon::start(&setup);
    ptz(&first, camera.addr, "ONVIF", "PAN_LEFT");
    first.signal(Signal::SIGKILL);
    first.wait_exit(SOON);
    camera.take_operations();
    wait_for("the guard's tries", SOON, || {
        let done = camera.take_operations();
        done.iter().any(|op| op == "Stop").then_some(())
    });
    // The restart finds lock and port free, and ends no guard.
    let second = Daemon::start(&setup);
    ptz(&second, camera.addr, "ONVIF", "PAN_RIGHT");
    // A try that was under way falls on deaf ears; then one guard is left, the second daemon's.
    wait_for("the old guard to let go", SOON, || {
        (guards(&second.node_id).len() == 1).then_some(())
    });
    camera.take_operations();
    deaf(false);
    assert!(camera.moving());
    assert!(!camera.take_operations().iter().any(|op| op == "Stop"));
    ptz(&second, camera.addr, "ONVIF", "STOP");
    assert!(!camera.moving());
}

#[test]
fn by_hand_it_says_what_it_is() {
    for input in [std::process::Stdio::null(), std::process::Stdio::piped()] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_lss"))
            .arg("guard")
            .stdin(input)
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut words = String::new();
        let mut stderr = child.stderr.take().unwrap();
        stderr.read_to_string(&mut words).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(2));
        assert!(words.contains("started by lss itself"), "{words}");
    }
}
