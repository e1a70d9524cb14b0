//! The daemon and its HTTPS cameras.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Setup, wait_for};
use crate::support::digest_server::GateRules;
use crate::support::isapi_camera::{self, IsapiStandIn, Model};
use crate::support::onvif_camera::{self, OnvifModel};
use crate::support::tls_camera::{BOTH, Kind, Redirect, Shown, TlsCamera};

const SOON: Duration = Duration::from_secs(10);

fn dome() -> IsapiStandIn {
    isapi_camera::start(GateRules::default(), Model::default())
}

fn setup(state: Option<&Path>, tls: &str) -> Setup {
    let state = state.map(|dir| ("STATE_DIRECTORY".into(), dir.to_str().unwrap().into()));
    Setup {
        env: state.into_iter().collect(),
        camera: format!(", tls: {tls}"),
        ..Setup::default()
    }
}

/// An order with everything that is needed, and what was answered.
fn order(daemon: &Daemon, at: SocketAddr, vendor: Option<&str>, more: &Value) -> (u16, Value) {
    let rules = GateRules::default();
    let mut body = json!({
        "ip": at.ip().to_string(), "port": at.port(),
        "username": rules.user, "password": rules.password, "vendorType": vendor,
    });
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    daemon.request("POST", "/api/cameras/c/ptz", Some(&body))
}

fn left(daemon: &Daemon, at: SocketAddr) -> (u16, Value) {
    let left = json!({ "action": "LEFT", "duration": 100 });
    order(daemon, at, Some("HIKVISION"), &left)
}

fn certificate(daemon: &Daemon) -> Value {
    let (status, answer) = daemon.request("DELETE", "/api/cameras/c/certificate", None);
    assert_eq!(status, 200, "{answer}");
    answer["data"]["forgotten"].clone()
}

#[test]
fn https_is_found_where_nobody_says_so_in_both_protocols() {
    let daemon = Daemon::start(&setup(None, "pin"));
    let isapi = dome();
    let onvif = onvif_camera::start(GateRules::default(), OnvifModel::default());
    for (camera, protocol) in [(isapi.addr, "ISAPI"), (onvif.addr, "ONVIF")] {
        let front = TlsCamera::usual(camera);
        let door = Redirect::start(front.addr.ip(), front.addr.port());
        for at in [front.addr, door.addr] {
            for action in ["PAN_LEFT", "STOP"] {
                let (status, answer) = order(&daemon, at, None, &json!({ "action": action }));
                assert_eq!(status, 200, "{answer}");
                assert_eq!(answer["data"]["protocol"], protocol);
            }
        }
        let password = GateRules::default().password;
        for said in [front.plain(), door.said()] {
            assert!(!said.contains("Authorization") && !said.contains("UsernameToken"));
            assert!(!said.contains(&password));
        }
    }
    assert!(daemon.log().contains("seen for the first time and kept"));
    assert!(daemon.log().contains("no state directory"));
}

#[test]
fn a_certificate_is_kept_over_restarts_until_it_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let file = state.join("certificates.json");
    let (camera, setup) = (dome(), setup(Some(&state), "pin"));
    let front = TlsCamera::usual(camera.addr);
    let daemon = Daemon::start(&setup);
    assert_eq!(left(&daemon, front.addr).0, 200);
    // Killed: what it has to keep is there within moments.
    wait_for("the file", SOON, || file.exists().then_some(()));
    daemon.signal(Signal::SIGKILL);
    drop(daemon);
    let mode = std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(kept.contains(&front.addr.to_string()), "{kept}");
    assert!(!kept.contains(&GateRules::default().password), "{kept}");

    let mut daemon = Daemon::start(&setup);
    assert_eq!(left(&daemon, front.addr).0, 200);
    front.show(Shown::new(Kind::Usual, BOTH));
    assert!(daemon.stop().success());

    let mut daemon = Daemon::start(&setup);
    let before = front.secured();
    let (status, answer) = left(&daemon, front.addr);
    assert_eq!((status, &answer["code"]), (502, &json!(10002)), "{answer}");
    let words = answer["message"].as_str().unwrap();
    assert!(words.contains("certificate"), "{words}");
    assert_eq!(front.secured(), before, "something was sent");

    let forgotten = certificate(&daemon);
    assert_eq!(forgotten[0]["port"], front.addr.port());
    assert_eq!(certificate(&daemon), json!([]));
    assert_eq!(left(&daemon, front.addr).0, 200);
    assert!(!daemon.log().contains(&GateRules::default().password));
    assert!(daemon.stop().success());
    // The new one is what is kept now.
    let daemon = Daemon::start(&setup);
    assert_eq!(left(&daemon, front.addr).0, 200);
}

#[test]
fn a_damaged_file_is_said_and_is_no_obstacle() {
    let state = tempfile::tempdir().unwrap();
    std::fs::write(state.path().join("certificates.json"), "{").unwrap();
    let daemon = Daemon::start(&setup(Some(state.path()), "pin"));
    wait_for("a word", SOON, || {
        let log = daemon.log();
        log.contains("the next ones count as the first")
            .then_some(())
    });
    let camera = dome();
    let front = TlsCamera::usual(camera.addr);
    assert_eq!(left(&daemon, front.addr).0, 200);
}

#[test]
fn what_could_not_be_written_is_written_at_the_end() {
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join("certificates.json");
    // In its way.
    std::fs::create_dir(&file).unwrap();
    let mut daemon = Daemon::start(&setup(Some(state.path()), "pin"));
    let camera = dome();
    let front = TlsCamera::usual(camera.addr);
    assert_eq!(left(&daemon, front.addr).0, 200);
    wait_for("a word", SOON, || {
        let log = daemon.log();
        log.contains("the certificates of cameras can't be kept")
            .then_some(())
    });
    std::fs::remove_dir(&file).unwrap();
    assert!(daemon.stop().success());
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(kept.contains(&front.addr.to_string()), "{kept}");
}

#[test]
fn the_other_two_rules() {
    let camera = dome();
    let front = TlsCamera::usual(camera.addr);
    let daemon = Daemon::start(&setup(None, "verify"));
    let (status, answer) = left(&daemon, front.addr);
    assert_eq!((status, &answer["code"]), (502, &json!(10002)), "{answer}");
    drop(daemon);
    let daemon = Daemon::start(&setup(None, "any"));
    for _ in 0..2 {
        assert_eq!(left(&daemon, front.addr).0, 200);
        front.show(Shown::new(Kind::Usual, BOTH));
    }
}

#[test]
fn what_is_left_moving_by_https_is_stopped_by_the_guard() {
    let camera = isapi_camera::start(
        GateRules::default(),
        Model {
            momentary: false,
            ..Model::default()
        },
    );
    let front = TlsCamera::usual(camera.addr);
    let daemon = Daemon::start(&setup(None, "pin"));
    // The certificate is known before anything moves.
    assert_eq!(left(&daemon, front.addr).0, 200);
    let on = json!({ "action": "PAN_LEFT" });
    assert_eq!(order(&daemon, front.addr, Some("HIKVISION"), &on).0, 200);
    assert!(camera.moving());
    daemon.signal(Signal::SIGKILL);
    drop(daemon);
    wait_for("the camera to stand", SOON, || {
        (!camera.moving()).then_some(())
    });
    assert!(!front.plain().contains("Authorization"));
}
