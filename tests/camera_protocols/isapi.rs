//! ISAPI cameras.

use std::net::{IpAddr, TcpListener};
use std::time::{Duration, Instant};

use lss::domain::camera::{
    CameraAddress, CameraDevice, CameraError, Protocol, SnapshotWish, StopWay,
};
use lss::domain::ptz::Drive;
use lss::infrastructure::http::camera::CameraOptions;
use lss::infrastructure::isapi::IsapiCamera;
use lss::infrastructure::isapi::client::Memory;
use lss::infrastructure::isapi::detect::speaks_isapi;

use crate::steps::{LONG, assert_near, focus, halt, halt_all, iris, soon, target, turn, velocity};
use crate::support::camera_head::{Axis, Clock, ClockHand};
use crate::support::camera_http::{Fault, Outgoing};
use crate::support::digest_server::{GateRules, Offer};
use crate::support::isapi_camera::{IsapiStandIn, Model, start};

fn open(camera: &IsapiStandIn) -> IsapiCamera {
    open_knowing(camera, &Memory::default())
}

/// Another client with a connection of its own, and with what others have learnt.
fn open_knowing(camera: &IsapiStandIn, memory: &Memory) -> IsapiCamera {
    let target = target(camera.addr, &GateRules::default().password);
    IsapiCamera::new(target, CameraOptions::default(), memory.clone())
}

fn by_hand() -> (IsapiStandIn, ClockHand) {
    let (clock, hand) = Clock::by_hand();
    let model = Model {
        clock,
        ..Model::default()
    };
    (start(GateRules::default(), model), hand)
}

fn no_violations(camera: &IsapiStandIn) {
    camera.with(|dome| assert_eq!(dome.gate.violations, Vec::<String>::new()));
}

#[test]
fn moves_and_stands_still() {
    let (camera, hand) = by_hand();
    let mut device = open(&camera);
    let accepted = turn(&mut device, velocity(-50, 25, 10), LONG).unwrap();
    assert_eq!(accepted.ends_after, None);
    hand.advance(Duration::from_secs(4));
    turn(&mut device, velocity(0, 100, 0), LONG).unwrap();
    hand.advance(Duration::from_secs(1));
    halt(&mut device).unwrap();
    hand.advance(Duration::from_secs(60));
    assert_near(camera.position(Axis::Pan), -2.0);
    assert_near(camera.position(Axis::Tilt), 2.0);
    assert_near(camera.position(Axis::Zoom), 0.4);
    let motion = device.motion(soon()).unwrap();
    assert_near(motion.position.unwrap().pan, -200.0);
    no_violations(&camera);
}

#[test]
fn one_round_trip_a_command_on_one_connection() {
    let camera = start(GateRules::default(), Model::default());
    let mut device = open(&camera);
    for _ in 0..4 {
        turn(&mut device, velocity(1, 0, 0), LONG).unwrap();
    }
    let lines = camera.take_lines();
    // All that a first move costs more: the challenge, and the login.
    assert_eq!(lines[..2], ["GET /ISAPI/Security/userCheck"; 2]);
    let put = "PUT /ISAPI/PTZCtrl/channels/1/continuous";
    assert_eq!(lines[2..], [put; 4]);
    // The first stop after a movement is looked at, the others are believed.
    halt(&mut device).unwrap();
    let look = "GET /ISAPI/PTZCtrl/channels/1/status";
    assert_eq!(camera.take_lines(), [put, look, look]);
    turn(&mut device, velocity(1, 0, 0), LONG).unwrap();
    halt(&mut device).unwrap();
    assert_eq!(camera.take_lines(), [put, put]);
    assert_eq!(camera.connections(), 1);
}

#[test]
fn short_moves_end_by_themselves_where_the_camera_can() {
    let (camera, hand) = by_hand();
    let mut device = open(&camera);
    let short = Duration::from_millis(300);
    let accepted = turn(&mut device, velocity(100, 0, 0), short).unwrap();
    assert_eq!(accepted.ends_after, Some(short));
    hand.advance(Duration::from_secs(10));
    assert_near(camera.position(Axis::Pan), 0.3);

    let camera = start(
        GateRules::default(),
        Model {
            momentary: false,
            ..Model::default()
        },
    );
    let memory = Memory::default();
    let mut device = open_knowing(&camera, &memory);
    for _ in 0..3 {
        let accepted = turn(&mut device, velocity(100, 0, 0), short).unwrap();
        assert_eq!(accepted.ends_after, None);
    }
    let timed = camera
        .log()
        .iter()
        .filter(|r| r.target.ends_with("momentary"))
        .count();
    assert_eq!(timed, 1, "the refusal is remembered");
    open_knowing(&camera, &memory)
        .move_at(Drive::PanTiltZoom, velocity(100, 0, 0), short, soon())
        .unwrap();
    let timed = camera
        .log()
        .iter()
        .filter(|r| r.target.ends_with("momentary"))
        .count();
    assert_eq!(timed, 1, "by other clients too");
}

#[test]
fn a_timed_move_that_is_refused_in_any_words_is_made_without_its_end() {
    let status = |http: u16, code: u32, sub: &str| {
        let text = format!(
            "<ResponseStatus><statusCode>{code}</statusCode><statusString>No</statusString><subStatusCode>{sub}</subStatusCode></ResponseStatus>"
        );
        Outgoing::new(http, "application/xml", text)
    };
    let json = |sub: &str| {
        let text = format!("{{\"statusCode\":4,\"subStatusCode\":\"{sub}\"}}");
        Outgoing::new(403, "application/json", text)
    };
    let short = Duration::from_millis(300);
    let with = |refusal: Outgoing| {
        let model = Model {
            momentary: false,
            ..Model::default()
        };
        let camera = start(GateRules::default(), model);
        camera.fault("/momentary", Fault::Instead(refusal), 9);
        camera
    };
    let timed = |camera: &IsapiStandIn| {
        let lines = camera.take_lines();
        lines.iter().filter(|l| l.ends_with("momentary")).count()
    };
    for refusal in [
        status(500, 3, "deviceError"),
        status(400, 5, "badXmlFormat"),
        status(400, 6, "badXmlContent"),
        status(403, 4, "invalidOperation"),
        status(200, 4, "notSupport"),
        json("invalidOperation"),
        Outgoing::new(403, "text/html", "<html>Forbidden</html>"),
        Outgoing::new(400, "text/plain", ""),
    ] {
        let camera = with(refusal.clone());
        let mut device = open(&camera);
        let mut tries = Vec::new();
        for _ in 0..2 {
            let accepted = turn(&mut device, velocity(100, 0, 0), short).unwrap();
            assert_eq!(accepted.ends_after, None);
            assert!(camera.moving(), "{refusal:?}");
            tries.push(timed(&camera));
        }
        // A 403 in HTML may be about an old nonce, and is asked again with a new one.
        let first = if refusal.body.starts_with(b"<html") {
            2
        } else {
            1
        };
        assert!(tries[0] <= first && tries[1] == 0, "{refusal:?} {tries:?}");
    }
    // A hiccup is asked again; a right, a login and a busy camera are not asked otherwise.
    let camera = with(Outgoing::new(500, "text/plain", ""));
    let mut device = open(&camera);
    for _ in 0..2 {
        turn(&mut device, velocity(100, 0, 0), short).unwrap();
    }
    assert_eq!(timed(&camera), 2);
    for refusal in [
        status(403, 4, "lowPrivilege"),
        status(403, 4, "ptzOccupiedPriority"),
        status(503, 2, "deviceBusy"),
        json("lowPrivilege"),
    ] {
        let camera = with(refusal.clone());
        turn(&mut open(&camera), velocity(100, 0, 0), short).unwrap_err();
        assert!(!camera.moving(), "{refusal:?}");
    }
}

#[test]
fn what_is_done_is_done_in_whatever_words() {
    for body in [
        "<ResponseStatus><statusCode>0</statusCode><statusString>OK</statusString></ResponseStatus>",
        "<!DOCTYPE ResponseStatus><ResponseStatus><statusCode>1</statusCode></ResponseStatus>",
        "{\"statusCode\":1,\"statusString\":\"OK\"}",
        "<html><body>OK</body></html>",
        "OK",
        "",
    ] {
        let camera = start(GateRules::default(), Model::default());
        let mut device = open(&camera);
        let reply = Fault::Instead(Outgoing::new(200, "text/xml", body));
        for path in ["/continuous", "/goto", "/presets/7"] {
            camera.fault(path, reply.clone(), 2);
        }
        turn(&mut device, velocity(50, 0, 0), LONG).unwrap();
        assert!(camera.moving(), "{body}");
        halt(&mut device).unwrap();
        assert!(!camera.moving(), "{body}");
        device.goto_preset("1", false, soon()).unwrap();
        device.set_preset(Some("7"), None, soon()).unwrap();
        // A read wants what it reads.
        camera.fault("/presets", reply, 1);
        assert!(device.presets(soon()).is_err(), "{body}");
    }
}

#[test]
fn a_stop_that_is_accepted_and_not_obeyed_is_an_error() {
    let camera = start(
        GateRules::default(),
        Model {
            ignores_stop: true,
            ..Model::default()
        },
    );
    let mut device = open(&camera);
    turn(&mut device, velocity(50, 0, 0), LONG).unwrap();
    for _ in 0..2 {
        let error = halt(&mut device).unwrap_err();
        assert!(error.to_string().contains("still moves"), "{error}");
        assert!(camera.moving());
    }
    camera.with(|dome| dome.model.ignores_stop = false);
    halt(&mut device).unwrap();
    assert!(!camera.moving());
    camera.take_lines();
    halt(&mut device).unwrap();
    assert_eq!(camera.take_lines().len(), 1);
}

#[test]
fn a_stop_is_believed_where_the_camera_does_not_say_where_it_looks() {
    let camera = start(
        GateRules::default(),
        Model {
            tells_position: false,
            ..Model::default()
        },
    );
    let mut device = open(&camera);
    for looks in [1, 0] {
        turn(&mut device, velocity(50, 0, 0), LONG).unwrap();
        camera.take_lines();
        halt(&mut device).unwrap();
        assert_eq!(camera.take_lines().len(), 1 + looks);
    }
    // One that hangs when it is looked at has stopped all the same.
    let camera = start(GateRules::default(), Model::default());
    let mut device = open(&camera);
    turn(&mut device, velocity(50, 0, 0), LONG).unwrap();
    camera.fault("/status", Fault::Hang, 1);
    let soon = Instant::now() + Duration::from_millis(500);
    device
        .stop(Drive::PanTiltZoom, StopWay::Stop, soon)
        .unwrap();
    assert!(!camera.moving());
}

#[test]
fn all_five_motors_are_driven_and_stopped() {
    let (camera, hand) = by_hand();
    let mut device = open(&camera);
    turn(&mut device, velocity(10, 10, 10), LONG).unwrap();
    focus(&mut device, -60).unwrap();
    iris(&mut device, 60).unwrap();
    hand.advance(Duration::from_secs(1));
    assert_near(camera.position(Axis::Focus), -0.6);
    assert_near(camera.position(Axis::Iris), 0.6);
    halt(&mut device).unwrap();
    assert!(camera.moving(), "the lens was not to be stopped");
    halt_all(&mut device);
    assert!(!camera.moving());
    focus(&mut device, 60).unwrap();
    device.focus_auto(soon()).unwrap();
    assert!(!camera.moving());
}

#[test]
fn a_camera_without_lens_motors_stops_all_the_same() {
    let camera = start(
        GateRules::default(),
        Model {
            lens: false,
            ..Model::default()
        },
    );
    let mut device = open(&camera);
    halt(&mut device).unwrap();
    let error = device
        .stop(Drive::Focus, StopWay::Stop, soon())
        .unwrap_err();
    assert!(matches!(error, CameraError::NotSupported(_)), "{error}");
    let error = iris(&mut device, 5).unwrap_err();
    assert!(matches!(error, CameraError::NotSupported(_)), "{error}");
    let error = device.focus_auto(soon()).unwrap_err();
    assert!(matches!(error, CameraError::NotSupported(_)), "{error}");
}

#[test]
fn presets() {
    let (camera, hand) = by_hand();
    let mut device = open(&camera);
    device.goto_preset("1", false, soon()).unwrap();
    assert_near(camera.position(Axis::Pan), 0.25);
    turn(&mut device, velocity(50, 0, 0), LONG).unwrap();
    hand.advance(Duration::from_secs(1));
    halt(&mut device).unwrap();
    let id = device
        .set_preset(Some("7"), Some("Gate</presetName><id>94</id>&\"'"), soon())
        .unwrap();
    assert_eq!(id, "7");
    assert_eq!(device.set_preset(Some("8"), None, soon()).unwrap(), "8");
    let list = device.presets(soon()).unwrap();
    let names: Vec<_> = list
        .iter()
        .map(|p| (p.id.as_str(), p.name.as_deref().unwrap(), p.function))
        .collect();
    assert_eq!(
        names,
        [
            ("1", "Entrance", false),
            ("7", "Gate</presetName><id>94</id>&\"'", false),
            ("8", "Preset 8", false),
            ("94", "Remote reboot", true)
        ]
    );
    device.goto_preset("7", false, soon()).unwrap();
    assert_near(camera.position(Axis::Pan), 0.75);
    device.delete_preset("7", soon()).unwrap();
    let error = device.goto_preset("7", false, soon()).unwrap_err();
    assert!(matches!(error, CameraError::Device(_)), "{error}");
}

#[test]
fn function_presets_are_guarded() {
    let camera = start(GateRules::default(), Model::default());
    let mut device = open(&camera);
    for result in [
        device.goto_preset("94", false, soon()),
        device.delete_preset("94", soon()),
        device.set_preset(Some("33"), Some("x"), soon()).map(|_| ()),
    ] {
        assert!(
            matches!(result, Err(CameraError::NotSupported(_))),
            "{result:?}"
        );
    }
    camera.with(|dome| assert_eq!(dome.reboots, 0));
    // This camera lists 33, 34, 92 and 94 only: 90 is an ordinary preset here.
    device.set_preset(Some("90"), Some("x"), soon()).unwrap();
    device.goto_preset("94", true, soon()).unwrap();
    camera.with(|dome| assert_eq!(dome.reboots, 1));
}

#[test]
fn ids_that_are_none_are_not_sent() {
    let camera = start(GateRules::default(), Model::default());
    let mut device = open(&camera);
    for bad in ["../../x", "0", "1/goto", ""] {
        device.goto_preset(bad, true, soon()).unwrap_err();
        device.set_preset(Some(bad), None, soon()).unwrap_err();
        device.delete_preset(bad, soon()).unwrap_err();
        device.start_patrol(bad, soon()).unwrap_err();
        device.stop_patrol(bad, soon()).unwrap_err();
    }
    assert!(camera.log().is_empty());
}

#[test]
fn patrols_of_the_camera() {
    let camera = start(GateRules::default(), Model::default());
    let mut device = open(&camera);
    device.start_patrol("3", soon()).unwrap();
    camera.with(|dome| assert_eq!(dome.patrol, Some(3)));
    device.stop_patrol("3", soon()).unwrap();
    camera.with(|dome| assert_eq!(dome.patrol, None));
}

#[test]
fn a_refused_login_tells_what_is_left_and_a_lock_for_how_long() {
    let camera = start(
        GateRules {
            lock_after: Some(2),
            ..GateRules::default()
        },
        Model::default(),
    );
    let wrong = target(camera.addr, "wrong-password");
    let mut device = IsapiCamera::new(wrong, CameraOptions::default(), Memory::default());
    let CameraError::LoginRefused(refusal) = device.check(soon()).unwrap_err() else {
        panic!()
    };
    assert!(refusal.tried);
    assert_eq!(refusal.tries_left, Some(1));
    let error = turn(&mut device, velocity(1, 0, 0), LONG).unwrap_err();
    assert_eq!(error.code().number(), 10001);

    // Locked: the right password is not even sent.
    camera.take_lines();
    let mut device = open(&camera);
    let CameraError::LoginRefused(refusal) = device.check(soon()).unwrap_err() else {
        panic!()
    };
    assert!(!refusal.tried);
    assert_eq!(refusal.unlock_after, Some(Duration::from_secs(1712)));
    halt(&mut device).unwrap_err();
    assert!(
        camera
            .log()
            .iter()
            .all(|r| r.header("Authorization").is_none())
    );
    camera.with(|dome| assert_eq!(dome.gate.refused, 2));
}

#[test]
fn one_function_s_401_is_no_wrong_password() {
    for (refused, reads_first) in [
        ("/presets", true),
        ("/presets", false),
        ("/picture", true),
        ("/continuous", false),
    ] {
        let model = Model {
            refuses: Some(refused),
            ..Model::default()
        };
        let camera = start(GateRules::default(), model);
        let mut device = open(&camera);
        let mut refusals = Vec::new();
        for round in 0..2 {
            if reads_first || round > 0 {
                refusals.extend(device.presets(soon()).err());
                refusals.extend(device.snapshot(SnapshotWish::default(), soon()).err());
            }
            refusals.extend(turn(&mut device, velocity(1, 0, 0), LONG).err());
            refusals.extend(halt(&mut device).err());
        }
        assert!(!refusals.is_empty());
        for error in refusals {
            assert_eq!(error.code().number(), 10002, "{refused}: {error}");
        }
        assert!(device.check(soon()).unwrap().authenticated);
    }
}

#[test]
fn a_login_check_that_leads_nowhere_keeps_nobody_from_a_picture() {
    for fault in [
        Fault::ResetAfter,
        Fault::Instead(Outgoing::new(503, "text/plain", "")),
        Fault::Instead(Outgoing::new(500, "text/html", "<html>500</html>")),
        Fault::Instead(Outgoing::new(404, "text/html", "<html>404</html>")),
    ] {
        let camera = start(GateRules::default(), Model::default());
        camera.fault("/userCheck", fault.clone(), 9);
        let picture = open(&camera).snapshot(SnapshotWish::default(), soon());
        assert_eq!(picture.unwrap(), Model::default().picture, "{fault:?}");
    }
}

#[test]
fn a_wrong_password_is_sent_once_and_a_changed_one_once_more() {
    let camera = start(GateRules::default(), Model::default());
    let wrong = target(camera.addr, "wrong-password");
    let mut device = IsapiCamera::new(wrong, CameraOptions::default(), Memory::default());
    let error = device.presets(soon()).unwrap_err();
    assert_eq!(error.code().number(), 10001);
    camera.with(|dome| assert_eq!(dome.gate.refused, 1));

    let camera = start(GateRules::default(), Model::default());
    let wrong = || target(camera.addr, "wrong-password");
    let mut device = IsapiCamera::new(wrong(), CameraOptions::default(), Memory::default());
    let error = device.stream_uri(soon()).unwrap_err();
    assert_eq!(error.code().number(), 10001);
    camera.with(|dome| assert_eq!(dome.gate.refused, 1));
    let mut device = IsapiCamera::new(wrong(), CameraOptions::default(), Memory::default());
    let encoders = CameraDevice::encoders(&mut device).unwrap();
    let error = encoders.encoders(soon()).unwrap_err();
    assert_eq!(error.code().number(), 10001);
    camera.with(|dome| assert_eq!(dome.gate.refused, 2));

    let camera = start(GateRules::default(), Model::default());
    let mut device = open(&camera);
    device.presets(soon()).unwrap();
    camera.with(|dome| dome.gate.rules.password = "another".to_owned());
    // With the old nonce, with a new one, and to the check.
    for refused in [3, 4] {
        let error = device.presets(soon()).unwrap_err();
        assert_eq!(error.code().number(), 10001);
        camera.with(|dome| assert!(dome.gate.refused <= refused, "{}", dome.gate.refused));
    }
}

#[test]
fn checks() {
    for user_check in [true, false] {
        let camera = start(
            GateRules {
                offers: vec![Offer::Basic, Offer::Md5, Offer::Sha256],
                ..GateRules::default()
            },
            Model {
                user_check,
                ..Model::default()
            },
        );
        assert!(open(&camera).check(soon()).unwrap().authenticated);
        no_violations(&camera);
    }
}

#[test]
fn privileges_and_priorities() {
    let camera = start(
        GateRules::default(),
        Model {
            low_privilege: true,
            ..Model::default()
        },
    );
    let error = open(&camera)
        .move_at(Drive::PanTiltZoom, velocity(1, 0, 0), LONG, soon())
        .unwrap_err();
    assert_eq!(error.code().number(), 10002);
    assert_eq!(camera.log().len(), 3, "challenge, login and move, no retry");
    let camera = start(
        GateRules::default(),
        Model {
            occupied: true,
            ..Model::default()
        },
    );
    let error = open(&camera)
        .move_at(Drive::PanTiltZoom, velocity(1, 0, 0), LONG, soon())
        .unwrap_err();
    assert_eq!(error.code().number(), 30302);
}

#[test]
fn a_recorder_s_channels_are_found_once() {
    let camera = start(
        GateRules::default(),
        Model {
            recorder: true,
            ..Model::default()
        },
    );
    let memory = Memory::default();
    let mut device = open_knowing(&camera, &memory);
    turn(&mut device, velocity(50, 0, 0), LONG).unwrap();
    assert!(camera.moving());
    let mut other = open_knowing(&camera, &memory);
    other.check(soon()).unwrap();
    camera.take_lines();
    halt(&mut other).unwrap();
    let proxy = "/ISAPI/ContentMgmt/PTZCtrlProxy/channels/1";
    let look = format!("GET {proxy}/status");
    assert_eq!(
        camera.take_lines(),
        [format!("PUT {proxy}/continuous"), look.clone(), look]
    );
    assert!(!camera.moving());
    device.snapshot(SnapshotWish::default(), soon()).unwrap();
    camera.take_lines();
    device.snapshot(SnapshotWish::default(), soon()).unwrap();
    assert_eq!(
        camera.take_lines(),
        ["GET /ISAPI/ContentMgmt/StreamingProxy/channels/101/picture"]
    );
}

#[test]
fn snapshots() {
    let wish = SnapshotWish {
        size: Some((704, 576)),
    };
    let camera = start(GateRules::default(), Model::default());
    let mut device = open(&camera);
    let picture = device.snapshot(wish, soon()).unwrap();
    assert_eq!(picture, Model::default().picture);
    assert!(
        camera
            .log()
            .iter()
            .any(|r| r.target.contains("videoResolutionWidth=704"))
    );
    no_violations(&camera);

    let camera = start(
        GateRules::default(),
        Model {
            picture_size: false,
            old_picture: true,
            ..Model::default()
        },
    );
    let mut device = open(&camera);
    device.snapshot(wish, soon()).unwrap();
    camera.take_lines();
    device.snapshot(wish, soon()).unwrap();
    assert_eq!(
        camera.take_lines(),
        ["GET /ISAPI/Streaming/channels/1/picture"],
        "what was refused is remembered"
    );
}

#[test]
fn what_is_no_picture() {
    let camera = start(GateRules::default(), Model::default());
    let mut device = open(&camera);
    let cases = [
        (
            Outgoing::new(200, "image/jpeg", "<html>login</html>"),
            50001,
        ),
        (Outgoing::new(200, "image/jpeg", ""), 50001),
        (Outgoing::new(200, "image/jpeg", "GIF89a"), 50001),
        (Outgoing::new(503, "text/html", ""), 30302),
        (
            Outgoing::new(
                500,
                "application/xml",
                "<ResponseStatus><statusCode>3</statusCode><statusString>Device Error</statusString></ResponseStatus>",
            ),
            50001,
        ),
    ];
    for (reply, code) in cases {
        camera.fault("picture", Fault::Instead(reply.clone()), 1);
        let error = device
            .snapshot(SnapshotWish::default(), soon())
            .unwrap_err();
        assert_eq!(error.code().number(), code, "{reply:?}: {error}");
    }
    let large = [vec![0xFF, 0xD8, 0xFF], vec![0; 9 * 1024 * 1024]].concat();
    camera.with(|dome| dome.model.picture = large);
    let error = device
        .snapshot(SnapshotWish::default(), soon())
        .unwrap_err();
    assert!(matches!(error, CameraError::BadAnswer(_)), "{error}");
}

#[test]
fn a_busy_camera_is_read_again() {
    let camera = start(GateRules::default(), Model::default());
    let mut device = open(&camera);
    let busy = Outgoing::new(
        503,
        "application/xml",
        "<ResponseStatus><statusCode>2</statusCode><statusString>Device Busy</statusString><subStatusCode>deviceBusy</subStatusCode></ResponseStatus>",
    );
    camera.fault("deviceInfo", Fault::Instead(busy.clone()), 1);
    device.probe(soon()).unwrap();
    camera.fault("deviceInfo", Fault::Instead(busy), 1);
    let error = device
        .probe(Instant::now() + Duration::from_millis(300))
        .unwrap_err();
    assert_eq!(error.code().number(), 30302, "no time for another try");
}

#[test]
fn a_probe_tells_what_the_camera_told() {
    let camera = start(GateRules::default(), Model::default());
    let info = open(&camera).probe(soon()).unwrap();
    assert_eq!(info.model.as_deref(), Some("DS-2DF7276"));
    assert_eq!(info.manufacturer, None);
    assert_eq!(
        info.firmware_version.as_deref(),
        Some("V5.8.1 build 240929")
    );
    assert_eq!(info.mac_address.as_deref(), Some("44:19:b6:01:02:03"));
    assert_eq!(info.probe_method, Protocol::ISAPI);
    assert_eq!(info.protocol_support.of(Protocol::ISAPI), Some(true));
    assert_eq!(info.protocol_support.of(Protocol::ONVIF), None);
    let caps = info.capabilities.unwrap();
    assert_eq!(caps.ptz.supported, Some(true));
    assert_eq!(caps.ptz.continuous_move, Some(true));
    assert_eq!(caps.ptz.absolute_move, None);
    assert_eq!(caps.ptz.max_presets, Some(300));
    assert_eq!(caps.ptz.max_patrols, Some(8));
    assert_eq!((caps.ptz.focus, caps.ptz.iris), (Some(true), Some(true)));
    assert_eq!(caps.video.codecs.unwrap(), ["H264", "H265"]);
    assert_eq!(caps.video.max_fps, Some(25.0));
    assert_eq!(caps.audio.supported, None);
}

#[test]
fn faults_are_errors_with_a_reason_by_the_deadline() {
    let cases: [(Fault, bool); 7] = [
        (Fault::Hang, false),
        (Fault::HangAfter, true),
        (
            Fault::Garbage(b"\x00\x01\x02 not http at all\r\n\r\n".to_vec()),
            true,
        ),
        (
            Fault::Garbage(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n<PTZ>&;".to_vec()),
            true,
        ),
        (Fault::HalfClosed, true),
        (Fault::Drip(Duration::from_millis(50)), true),
        (Fault::LateAnswer(Duration::from_secs(5)), true),
    ];
    for (fault, acts) in cases {
        let camera = start(GateRules::default(), Model::default());
        let mut device = open(&camera);
        camera.fault("<pan>77", fault.clone(), 1);
        let begin = Instant::now();
        let error = device
            .move_at(
                Drive::PanTiltZoom,
                velocity(77, 0, 0),
                LONG,
                begin + Duration::from_millis(400),
            )
            .unwrap_err();
        assert!(begin.elapsed() < Duration::from_secs(3), "{fault:?}");
        assert!(error.may_have_acted(), "{fault:?}: {error}");
        assert_eq!(camera.moving(), acts, "{fault:?}");
        // And the next word gets through, on a new connection.
        halt(&mut device).unwrap();
        assert!(!camera.moving(), "{fault:?}");
        no_violations(&camera);
    }
}

#[test]
fn a_move_whose_connection_is_reset_is_sent_once_more_at_most() {
    let camera = start(GateRules::default(), Model::default());
    let mut device = open(&camera);
    camera.fault("<pan>77", Fault::ResetAfter, 1);
    turn(&mut device, velocity(77, 0, 0), LONG).unwrap();
    let moves = |camera: &IsapiStandIn| {
        camera
            .log()
            .iter()
            .filter(|r| r.text().contains("<pan>77"))
            .count()
    };
    assert_eq!(moves(&camera), 2, "the same speed twice is the same speed");
    // Not on a connection opened for this very request.
    device.hang_up();
    camera.fault("<pan>77", Fault::ResetAfter, 1);
    let error = device
        .move_at(Drive::PanTiltZoom, velocity(77, 0, 0), LONG, soon())
        .unwrap_err();
    assert!(error.may_have_acted(), "{error}");
    assert_eq!(moves(&camera), 3);
    // What creates is never sent twice.
    device.presets(soon()).unwrap();
    camera.fault("<presetName>", Fault::ResetAfter, 1);
    let error = device.set_preset(Some("5"), Some("x"), soon()).unwrap_err();
    assert!(error.may_have_acted(), "{error}");
    let sets = camera
        .log()
        .iter()
        .filter(|r| r.text().contains("<presetName>"))
        .count();
    assert_eq!(sets, 1);
    no_violations(&camera);
}

#[test]
fn a_stop_passes_a_move_that_hangs() {
    let camera = start(GateRules::default(), Model::default());
    let memory = Memory::default();
    let mut device = open_knowing(&camera, &memory);
    let mut other = open_knowing(&camera, &memory);
    camera.fault("<pan>77", Fault::HangAfter, 1);
    let hanging = std::thread::spawn(move || {
        device.move_at(
            Drive::PanTiltZoom,
            velocity(77, 0, 0),
            LONG,
            Instant::now() + Duration::from_secs(1),
        )
    });
    let deadline = soon();
    while !camera.moving() {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    halt(&mut other).unwrap();
    assert!(!camera.moving());
    let error = hanging.join().unwrap().unwrap_err();
    assert!(matches!(error, CameraError::NoAnswer(_)), "{error}");
}

#[test]
fn idle_connections_closed_by_the_camera_are_no_error() {
    let camera = start(GateRules::default(), Model::default());
    let mut device = open(&camera);
    for _ in 0..5 {
        turn(&mut device, velocity(1, 0, 0), LONG).unwrap();
        device.set_preset(Some("3"), Some("x"), soon()).unwrap();
        camera.close_connections();
    }
    no_violations(&camera);
}

#[test]
fn nobody_there() {
    let addr = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let mut device = IsapiCamera::new(
        target(addr, "x"),
        CameraOptions::default(),
        Memory::default(),
    );
    let error = device.check(soon()).unwrap_err();
    assert!(matches!(error, CameraError::Unreachable(_)), "{error}");
    assert!(!error.may_have_acted());
    assert_eq!(error.code().number(), 50003);
}

#[test]
fn detection_sends_no_login() {
    let camera = start(GateRules::default(), Model::default());
    let address = CameraAddress::new(IpAddr::from([127, 0, 0, 1]), camera.addr.port());
    assert!(speaks_isapi(&address, &CameraOptions::default(), soon()).unwrap());
    assert!(
        camera
            .log()
            .iter()
            .all(|r| r.header("Authorization").is_none())
    );
    camera.fault("deviceInfo", Fault::Garbage(b"SSH-2.0-x\r\n".to_vec()), 1);
    assert!(!speaks_isapi(&address, &CameraOptions::default(), soon()).unwrap());
}
