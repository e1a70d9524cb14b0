//! lss with few descriptors, under attack and with more streams than they are enough for.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use support::digest_server::GateRules;
use support::isapi_camera::{self, Model};

const STREAMS: usize = 8;

#[test]
fn with_64_descriptors_cameras_stop_and_streams_run_or_say_why_not() {
    starved(64);
}

/// Some of the streams find none left.
#[test]
fn with_48_descriptors_cameras_stop_and_streams_run_or_say_why_not() {
    starved(48);
}

fn starved(files: u32) {
    let camera = isapi_camera::start(GateRules::default(), Model::default());
    let mut daemon = Daemon::start(&Setup {
        server: format!("  api_token: '{TOKEN}'\n"),
        open_files: Some(files),
        env: quiet(),
        ..Setup::default()
    });
    let addr = daemon.addr;
    let rules = GateRules::default();
    let ptz = |action: &str| {
        let body = json!({
            "ip": camera.addr.ip().to_string(), "port": camera.addr.port(),
            "username": rules.user, "password": rules.password, "vendorType": "HIKVISION",
            "action": action,
        });
        answered(addr, "POST", "/api/cameras/dome/ptz", &body)
    };
    assert_eq!(ptz("STOP").0, 200);
    let before = Holds::of(daemon.pid());
    let over = AtomicBool::new(false);
    let tried_again = std::thread::scope(|scope| {
        // As long as the rest takes.
        let attackers = [0, 1].map(|n| {
            let over = &over;
            scope.spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    let held = attack::silent(addr, 200);
                    if n == 0 {
                        attack::strangers(addr, 10);
                    } else {
                        attack::oversized(addr, 1);
                    }
                    drop(held);
                }
            })
        });
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            moves_and_stops(&camera, &ptz);
            let ended = streams(addr);
            // Whatever the streams have taken: a camera still stops.
            moves_and_stops(&camera, &ptz);
            ended
        }));
        over.store(true, Ordering::SeqCst);
        let ends: Vec<_> = attackers.into_iter().map(ScopedJoinHandle::join).collect();
        assert!(ends.iter().all(Result::is_ok));
        done.unwrap()
    });
    eprintln!("{files} descriptors: {tried_again:?} found none");
    // Where there is room again, one comes back by itself.
    let returns = tried_again.first().copied();
    for n in (0..STREAMS).filter(|n| Some(*n) != returns) {
        stop(addr, n);
    }
    if let Some(n) = returns {
        status_of(addr, n, &["STREAMING"]);
        stop(addr, n);
    }
    as_before(&daemon, before, 1);
    // As if nothing had been.
    for n in 0..2 {
        let name = format!("t{n}");
        let (status, answer) =
            answered(addr, "POST", "/api/stream/start", &start_body(&name, "ok"));
        assert_eq!(status, 200, "{answer}");
        status_of(addr, n, &["STREAMING"]);
    }
    assert!(daemon.stop().success());
    assert!(!camera.moving());
}

fn moves_and_stops(camera: &isapi_camera::IsapiStandIn, ptz: &dyn Fn(&str) -> (u16, Value)) {
    // One that could not go out is no matter; one that went out is stopped.
    ptz("PAN_LEFT");
    let (status, answer) = ptz("STOP");
    assert_eq!(status, 200, "{answer}");
    wait_for("the camera to stand", SOON, || {
        (!camera.moving()).then_some(())
    });
}

/// Starts them all; those that did not run, and said why.
fn streams(addr: SocketAddr) -> BTreeSet<usize> {
    let mut tried_again = BTreeSet::new();
    for n in 0..STREAMS {
        let body = start_body(&format!("t{n}"), "ok");
        let (status, answer) = answered(addr, "POST", "/api/stream/start", &body);
        assert_eq!(status, 200, "{answer}");
        let task = status_of(addr, n, &["STREAMING", "RECONNECTING", "ERROR"]);
        if task["status"] != "STREAMING" {
            let why = task["errorMessage"].as_str().unwrap();
            assert!(why.contains("Too many open files"), "{why}");
            assert_eq!(task["status"], "RECONNECTING", "{task}");
            tried_again.insert(n);
        }
    }
    tried_again
}

fn status_of(addr: SocketAddr, n: usize, wanted: &[&str]) -> Value {
    wait_for(&format!("t{n} {wanted:?}"), SOON, || {
        let (_, answer) = answered(addr, "GET", &format!("/api/stream/task/t{n}"), &json!({}));
        let task = answer["data"].clone();
        wanted.iter().any(|w| task["status"] == *w).then_some(task)
    })
}

fn stop(addr: SocketAddr, n: usize) {
    let (status, answer) = answered(
        addr,
        "POST",
        "/api/stream/stop",
        &json!({ "taskId": format!("t{n}") }),
    );
    // One that was refused is not known.
    assert!(
        status == 200 || answer["code"] == 30101,
        "{status}: {answer}"
    );
}
