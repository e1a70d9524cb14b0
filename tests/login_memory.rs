//! Restarts don't lock a camera's account: which logins were refused outlives the daemon, where it has
//! a state directory.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use support::daemon::{Daemon, Setup, wait_for};
use support::digest_server::GateRules;
use support::isapi_camera::{self, IsapiStandIn, Model};

mod support;

const SOON: Duration = Duration::from_secs(10);
const WRONG: &str = "canary-wrong-password";

fn setup(state: &Path) -> Setup {
    Setup {
        env: vec![("STATE_DIRECTORY".into(), state.to_str().unwrap().into())],
        ..Setup::default()
    }
}

fn try_login(daemon: &Daemon, camera: &IsapiStandIn, password: &str) -> (u16, Value) {
    let body = json!({
        "action": "LEFT", "duration": 100, "ip": "127.0.0.1", "port": camera.addr.port(),
        "username": GateRules::default().user, "password": password, "vendorType": "HIKVISION",
    });
    let (status, answer) = daemon.request("POST", "/api/cameras/c/ptz", Some(&body));
    (status, answer["code"].clone())
}

fn says(daemon: &Daemon, words: &str) {
    wait_for(words, SOON, || daemon.log().contains(words).then_some(()));
}

fn refused(camera: &IsapiStandIn) -> u32 {
    camera.with(|device| device.gate.refused)
}

#[test]
fn five_starts_with_a_wrong_password_are_one_refusal() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let file = state.join("logins.json");
    let camera = isapi_camera::start(GateRules::default(), Model::default());
    for run in 0..5 {
        let mut daemon = Daemon::start(&setup(&state));
        assert_eq!(try_login(&daemon, &camera, WRONG), (502, json!(10001)));
        assert_eq!(refused(&camera), 1, "run {run}");
        if run % 2 == 0 {
            // Killed: what it has to keep is there within moments.
            wait_for("the file", SOON, || file.exists().then_some(()));
            daemon.signal(Signal::SIGKILL);
            drop(daemon);
        } else {
            assert!(daemon.stop().success());
        }
    }
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(
        !kept.contains(WRONG) && !kept.contains(&GateRules::default().user),
        "{kept}"
    );
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&state), mode(&file)), (0o700, 0o600));
    assert_eq!(std::fs::read_dir(&state).unwrap().count(), 1);

    // The right one passes all the same, and nothing is written for that, nor by and by.
    let mut daemon = Daemon::start(&setup(&state));
    let before = std::fs::metadata(&file).unwrap().modified().unwrap();
    assert_eq!(
        try_login(&daemon, &camera, &GateRules::default().password).0,
        200
    );
    assert!(daemon.stop().success());
    assert_eq!(
        std::fs::metadata(&file).unwrap().modified().unwrap(),
        before
    );
}

#[test]
fn a_damaged_file_is_said_and_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("logins.json");
    std::fs::write(&file, "{\"version\":1,").unwrap();
    let camera = isapi_camera::start(GateRules::default(), Model::default());
    let mut daemon = Daemon::start(&setup(dir.path()));
    says(&daemon, "can't be read and are forgotten");
    assert_eq!(try_login(&daemon, &camera, WRONG), (502, json!(10001)));
    assert!(daemon.stop().success());
    let kept: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(kept["accounts"].as_array().unwrap().len(), 1);
}

#[test]
fn a_directory_that_can_t_be_written_costs_nothing_but_the_memory() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("a/b");
    let camera = isapi_camera::start(GateRules::default(), Model::default());
    let mut daemon = Daemon::start(&setup(&state));
    says(&daemon, "nothing is kept");
    assert_eq!(try_login(&daemon, &camera, WRONG), (502, json!(10001)));
    assert_eq!(
        try_login(&daemon, &camera, &GateRules::default().password).0,
        200
    );
    assert!(daemon.stop().success());
}
