//! ONVIF cameras.

use std::time::{Duration, Instant};

use lss::domain::camera::{
    CameraAddress, CameraDevice, CameraError, Protocol, SnapshotWish, StopWay,
};
use lss::domain::ptz::Drive;
use lss::infrastructure::camera_gateway::Cameras;
use lss::infrastructure::http::camera::CameraOptions;
use lss::infrastructure::onvif::detect::speaks_onvif;
use lss::infrastructure::onvif::{Memory, OnvifCamera};

use crate::steps::{LONG, assert_near, focus, halt, halt_all, iris, soon, target, turn, velocity};
use crate::support::camera_head::{Axis, Clock};
use crate::support::camera_http::{Fault, Outgoing};
use crate::support::digest_server::GateRules;
use crate::support::onvif_camera::{
    LoginMode, OnvifModel, OnvifStandIn, StopMode, Understands, start,
};

fn on(model: OnvifModel) -> OnvifStandIn {
    start(GateRules::default(), model)
}

fn open(camera: &OnvifStandIn) -> OnvifCamera {
    open_as(camera, &GateRules::default().password)
}

fn open_as(camera: &OnvifStandIn, password: &str) -> OnvifCamera {
    OnvifCamera::new(
        target(camera.addr, password),
        CameraOptions::default(),
        Memory::default(),
    )
}

/// Another client with a connection of its own, and with what others have learnt.
fn open_knowing(camera: &OnvifStandIn, memory: &Memory) -> OnvifCamera {
    OnvifCamera::new(
        target(camera.addr, &GateRules::default().password),
        CameraOptions::default(),
        memory.clone(),
    )
}

/// Asks whether it moves, as the guard does after a stop. One that is known to tell is looked at.
fn look(device: &mut OnvifCamera) {
    let _ = device.motion(soon());
}

fn no_violations(camera: &OnvifStandIn) {
    camera.with(|device| {
        assert_eq!(device.gate.violations, Vec::<String>::new());
        assert_eq!((device.refused_tokens, device.gate.refused), (0, 0));
    });
}

#[test]
fn moves_and_stands_still_whatever_the_login_and_style() {
    for login in [
        LoginMode::Open,
        LoginMode::Token,
        LoginMode::Digest,
        LoginMode::Both,
    ] {
        for odd_style in [false, true] {
            let (clock, hand) = Clock::by_hand();
            let camera = on(OnvifModel {
                login,
                odd_style,
                clock,
                clock_ahead: -987_654_321,
                ..OnvifModel::default()
            });
            let mut device = open(&camera);
            look(&mut device);
            turn(&mut device, velocity(-50, 25, 10), LONG).unwrap();
            hand.advance(Duration::from_secs(4));
            assert_eq!(device.motion(soon()).unwrap().moving, Some(true));
            halt(&mut device).unwrap();
            hand.advance(Duration::from_secs(60));
            assert_near(camera.position(Axis::Pan), -2.0);
            assert_near(camera.position(Axis::Tilt), 1.0);
            assert_near(camera.position(Axis::Zoom), 0.4);
            let motion = device.motion(soon()).unwrap();
            assert_eq!(motion.moving, Some(false));
            assert_near(motion.position.unwrap().pan, -2.0);
            no_violations(&camera);
        }
    }
}

#[test]
fn one_round_trip_a_command_on_one_connection() {
    for login in [LoginMode::Token, LoginMode::Digest, LoginMode::Both] {
        let camera = on(OnvifModel {
            login,
            ..OnvifModel::default()
        });
        let memory = Memory::default();
        let mut device = open_knowing(&camera, &memory);
        look(&mut device);
        turn(&mut device, velocity(1, 0, 0), LONG).unwrap();
        halt(&mut device).unwrap();
        camera.take_operations();
        camera.take_lines();
        for _ in 0..3 {
            turn(&mut device, velocity(1, 0, 0), LONG).unwrap();
        }
        halt(&mut device).unwrap();
        assert_eq!(
            camera.take_operations(),
            ["ContinuousMove", "ContinuousMove", "ContinuousMove", "Stop"]
        );
        assert_eq!(
            camera.take_lines(),
            vec!["POST /onvif/Ptz?a=b"; 4],
            "{login:?}"
        );
        assert_eq!(camera.connections(), 1);
        // Another client knows all that already, but for its own nonce.
        halt(&mut open_knowing(&camera, &memory)).unwrap();
        let stops = camera.take_operations();
        assert!(stops.iter().all(|o| o == "Stop"), "{stops:?}");
        no_violations(&camera);
    }
}

#[test]
fn the_camera_s_time_is_kept() {
    // Told to users only: then ours is tried, and here it is right.
    let camera = on(OnvifModel {
        clock_needs_login: true,
        ..OnvifModel::default()
    });
    open(&camera).check(soon()).unwrap();
    no_violations(&camera);

    // The camera restarts with another clock, right after we have read it: one refusal, one reading,
    // one more try.
    let camera = on(OnvifModel::default());
    let memory = Memory::default();
    let open = || open_knowing(&camera, &memory);
    open().check(soon()).unwrap();
    camera.with(|device| device.model.clock_ahead = 86_400 * 365);
    camera.take_operations();
    let mut device = open();
    device.check(soon()).unwrap();
    assert_eq!(
        camera.take_operations(),
        [
            "GetDeviceInformation",
            "GetSystemDateAndTime",
            "GetDeviceInformation"
        ]
    );
    camera.with(|device| assert_eq!(device.refused_tokens, 1));
    device.check(soon()).unwrap();
    camera.with(|device| assert_eq!(device.refused_tokens, 1));
}

#[test]
fn a_camera_without_a_clock_to_tell_has_ours() {
    let question = "GetSystemDateAndTime";
    let html = Outgoing::new(500, "text/html", "<html>500</html>");
    for fault in [
        Fault::ResetAfter,
        Fault::Hang,
        Fault::Garbage(Vec::new()),
        Fault::Garbage(b"garbage\r\n\r\n".to_vec()),
        Fault::Instead(Outgoing::new(200, "text/plain", "")),
        Fault::Instead(html.clone()),
    ] {
        let camera = on(OnvifModel::default());
        camera.fault(question, fault.clone(), 99);
        let mut device = open(&camera);
        turn(&mut device, velocity(50, 0, 0), LONG).unwrap();
        assert!(camera.moving(), "{fault:?}");
        halt(&mut device).unwrap();
        assert!(!camera.moving(), "{fault:?}");
        // One that has learnt nothing, in the short time that a stop has.
        turn(&mut device, velocity(50, 0, 0), LONG).unwrap();
        let soon = Instant::now() + Duration::from_secs(4);
        open(&camera)
            .stop(Drive::PanTiltZoom, StopWay::Stop, soon)
            .unwrap();
        assert!(!camera.moving(), "{fault:?}");
        no_violations(&camera);
        if !matches!(&fault, Fault::Garbage(bytes) if !bytes.is_empty()) {
            let address = CameraAddress::new(camera.addr.ip(), camera.addr.port());
            let speaks = speaks_onvif(&address, &CameraOptions::default(), crate::steps::soon());
            assert!(speaks.unwrap(), "{fault:?}");
        }
    }
}

#[test]
fn a_camera_that_answers_with_nothing_is_asked_in_another_form() {
    for understands in [Understands::Soap12WithAction, Understands::Soap11] {
        for login in [LoginMode::Open, LoginMode::Token, LoginMode::Digest] {
            let camera = on(OnvifModel {
                understands,
                login,
                clock_ahead: -987_654_321,
                ..OnvifModel::default()
            });
            let address = CameraAddress::new(camera.addr.ip(), camera.addr.port());
            let speaks = speaks_onvif(&address, &CameraOptions::default(), soon());
            assert!(speaks.unwrap(), "{understands:?}");
            let cameras = Cameras::new(CameraOptions::default());
            let offset = cameras.clock_offset(&address, soon()).unwrap();
            assert!((offset + 987_654_321).abs() < 5, "{offset}");
            // Shared by all clients of a camera, as is how its port is spoken to.
            let (memory, options) = (Memory::default(), CameraOptions::default());
            let client = || {
                let target = target(camera.addr, &GateRules::default().password);
                OnvifCamera::new(target, options.clone(), memory.clone())
            };
            let mut device = client();
            turn(&mut device, velocity(50, 0, 0), LONG).unwrap();
            assert!(camera.moving(), "{understands:?} {login:?}");
            halt(&mut device).unwrap();
            assert!(!camera.moving(), "{understands:?} {login:?}");
            assert_eq!(device.presets(soon()).unwrap().len(), 2);
            no_violations(&camera);
            // Remembered: no request is sent in vain any more.
            camera.take_lines();
            camera.take_operations();
            device.check(soon()).unwrap();
            client().check(soon()).unwrap();
            let asked = camera.take_operations().len();
            let digest_again = usize::from(login == LoginMode::Digest);
            assert_eq!(asked, 2 + digest_again, "{understands:?} {login:?}");
            assert_eq!(camera.take_lines().len(), asked);
        }
    }
}

#[test]
fn a_question_that_is_never_answered_is_asked_in_all_forms_once() {
    let camera = on(OnvifModel::default());
    let silence = Outgoing::new(200, "text/plain", "");
    camera.fault("GetPresets", Fault::Instead(silence), 99);
    let mut device = open(&camera);
    device.check(soon()).unwrap();
    for expected in [3, 1] {
        camera.take_operations();
        let error = device.presets(soon()).unwrap_err();
        assert!(matches!(error, CameraError::BadAnswer(_)), "{error:?}");
        let asked = camera.log();
        let asked = asked.iter().filter(|r| r.text().contains("GetPresets"));
        assert_eq!(asked.count(), expected, "{error:?}");
        camera.take_lines();
    }
    turn(&mut device, velocity(50, 0, 0), LONG).unwrap();
    assert!(camera.moving(), "in the form that it answers to");
}

#[test]
fn local_time_told_as_utc_is_found_out() {
    let camera = on(OnvifModel {
        utc_ahead: 8 * 3600,
        ..OnvifModel::default()
    });
    let memory = Memory::default();
    let mut device = open_knowing(&camera, &memory);
    device.check(soon()).unwrap();
    turn(&mut device, velocity(1, 0, 0), LONG).unwrap();
    open_knowing(&camera, &memory).check(soon()).unwrap();
    camera.with(|device| assert_eq!(device.refused_tokens, 1, "and remembered"));
}

#[test]
fn a_right_that_is_missing_is_no_wrong_login() {
    for login in [LoginMode::Token, LoginMode::Digest, LoginMode::Both] {
        let camera = on(OnvifModel {
            login,
            may_not_move: true,
            ..OnvifModel::default()
        });
        let mut device = open(&camera);
        for _ in 0..3 {
            for error in [
                turn(&mut device, velocity(1, 0, 0), LONG).unwrap_err(),
                halt(&mut device).unwrap_err(),
                device.goto_preset("1", false, soon()).unwrap_err(),
            ] {
                assert!(
                    matches!(error, CameraError::Forbidden(_)),
                    "{login:?}: {error}"
                );
            }
        }
        camera.with(|device| {
            assert_eq!(
                (device.refused_tokens, device.gate.refused),
                (0, 0),
                "{login:?}"
            );
            assert_eq!(device.gate.violations, Vec::<String>::new());
        });
    }
    // One that tells strangers the same proves nothing of a login.
    let camera = on(OnvifModel {
        may_not_move: true,
        open_information: true,
        ..OnvifModel::default()
    });
    let error = turn(&mut open(&camera), velocity(1, 0, 0), LONG).unwrap_err();
    assert!(matches!(error, CameraError::LoginRefused(_)), "{error}");
}

#[test]
fn a_password_that_was_changed_costs_one_more_try_once() {
    let camera = on(OnvifModel::default());
    let mut device = open(&camera);
    turn(&mut device, velocity(1, 0, 0), LONG).unwrap();
    halt(&mut device).unwrap();
    camera.with(|device| device.gate.rules.password = "another".to_owned());
    for refused in [2, 3, 4] {
        let error = turn(&mut device, velocity(1, 0, 0), LONG).unwrap_err();
        assert!(matches!(error, CameraError::LoginRefused(_)), "{error}");
        camera.with(|device| assert_eq!(device.refused_tokens, refused));
    }
}

#[test]
fn a_wrong_password_is_sent_once() {
    for (login, expected) in [
        (LoginMode::Token, (1, 0)),
        (LoginMode::Digest, (0, 1)),
        (LoginMode::Both, (1, 0)),
    ] {
        for call in [
            (|d: &mut OnvifCamera| d.check(soon()).map(|_| ())) as fn(&mut OnvifCamera) -> _,
            |d| halt(d),
            |d| turn(d, velocity(1, 0, 0), LONG).map(|_| ()),
            |d| d.presets(soon()).map(|_| ()),
            |d| d.snapshot(SnapshotWish::default(), soon()).map(|_| ()),
            |d| d.probe(soon()).map(|_| ()),
        ] {
            let camera = on(OnvifModel {
                login,
                ..OnvifModel::default()
            });
            let error = call(&mut open_as(&camera, "wrong-password")).unwrap_err();
            let CameraError::LoginRefused(refusal) = error else {
                panic!("{error}")
            };
            assert!(refusal.tried);
            assert!(!refusal.words.contains("wrong-password"));
            if login != LoginMode::Digest {
                assert_eq!(refusal.tries_left, Some(26));
            }
            camera.with(|device| {
                assert_eq!((device.refused_tokens, device.gate.refused), expected);
            });
        }
    }
}

#[test]
fn without_credentials() {
    let camera = on(OnvifModel::default());
    let mut stranger = target(camera.addr, "x");
    stranger.credentials = None;
    let mut device = OnvifCamera::new(
        stranger.clone(),
        CameraOptions::default(),
        Memory::default(),
    );
    let error = device.check(soon()).unwrap_err();
    let CameraError::LoginRefused(refusal) = error else {
        panic!("{error}")
    };
    assert!(!refusal.tried);
    camera.with(|device| device.model.login = LoginMode::Open);
    assert!(!device.check(soon()).unwrap().authenticated);
    assert!(open(&camera).check(soon()).unwrap().authenticated);
}

#[test]
fn services_are_found_where_they_are() {
    let quirks = [
        OnvifModel {
            wrong_paths: true,
            ..OnvifModel::default()
        },
        OnvifModel {
            services: false,
            ..OnvifModel::default()
        },
        OnvifModel {
            ptz_in_capabilities: false,
            ..OnvifModel::default()
        },
        OnvifModel {
            media1: false,
            media2: true,
            ..OnvifModel::default()
        },
        OnvifModel {
            faults_in_200: true,
            wrong_paths: true,
            ..OnvifModel::default()
        },
    ];
    for model in quirks {
        let camera = on(model);
        let mut device = open(&camera);
        turn(&mut device, velocity(50, 0, 0), LONG).unwrap();
        assert!(camera.moving());
        halt_all(&mut device);
        assert!(!camera.moving());
        camera.take_operations();
        turn(&mut device, velocity(50, 0, 0), LONG).unwrap();
        assert_eq!(camera.take_operations(), ["ContinuousMove"], "learnt");
        no_violations(&camera);
    }
}

#[test]
fn a_device_service_elsewhere_is_found_where_somebody_says() {
    let elsewhere = "/onvif/services";
    for (path, told) in [
        (elsewhere, elsewhere),
        // Who is wrong about it is none the worse for it.
        ("/onvif/device_service", elsewhere),
    ] {
        for login in [LoginMode::Token, LoginMode::Digest] {
            let camera = on(OnvifModel {
                device_path: path,
                clock_ahead: -987_654_321,
                login,
                ..OnvifModel::default()
            });
            let mut target = target(camera.addr, &GateRules::default().password);
            target.manner.onvif_path = Some(told.to_owned());
            let options = CameraOptions::default();
            let mut device = OnvifCamera::new(target, options, Memory::default());
            assert!(device.check(soon()).unwrap().authenticated);
            turn(&mut device, velocity(50, 0, 0), LONG).unwrap();
            assert!(camera.moving(), "{path}");
            halt(&mut device).unwrap();
            assert!(!camera.moving(), "{path}");
            no_violations(&camera);
        }
    }
}

#[test]
fn of_several_views_the_one_that_is_named_moves_and_what_moves_is_stopped() {
    for tells_motion in [true, false] {
        let camera = on(OnvifModel {
            views: vec!["View_2", "View_3"],
            tells_motion,
            ..OnvifModel::default()
        });
        let memory = Memory::default();
        let view = |profile: Option<&str>| {
            let mut target = target(camera.addr, &GateRules::default().password);
            target.manner.profile = profile.map(str::to_owned);
            OnvifCamera::new(target, CameraOptions::default(), memory.clone())
        };
        let at = || camera.with(|device| device.view.clone());
        let first = OnvifModel::default().profile;
        for (named, moved) in [
            (None, first.as_str()),
            (Some("View_2"), "View_2"),
            (Some("View_3"), "View_3"),
        ] {
            let mut device = view(named);
            turn(&mut device, velocity(50, 0, 0), LONG).unwrap();
            assert_eq!(at(), moved);
            // By whatever view a stop is said.
            let mut device = view(if named.is_none() {
                Some("View_3")
            } else {
                None
            });
            halt(&mut device).unwrap();
            assert!(!camera.moving(), "{moved}");
        }
        // A move of another view stops the one that moves: then one stop is enough.
        turn(&mut view(Some("View_2")), velocity(50, 0, 0), LONG).unwrap();
        camera.take_operations();
        turn(&mut view(Some("View_3")), velocity(0, 50, 0), LONG).unwrap();
        let said = camera.take_operations();
        assert!(said.contains(&"Stop".to_owned()), "{said:?}");
        assert_eq!(at(), "View_3");
        // One that is not there moves nothing, and keeps no stop from what moves.
        let error = turn(&mut view(Some("View_9")), velocity(50, 0, 0), LONG).unwrap_err();
        assert!(
            matches!(&error, CameraError::NotFound(words) if words.contains("View_2")),
            "{error:?}"
        );
        assert!(camera.moving());
        halt(&mut view(Some("View_9"))).unwrap();
        assert!(!camera.moving());
        no_violations(&camera);
    }
}

#[test]
fn services_on_another_port() {
    let behind = on(OnvifModel::default());
    let front = on(OnvifModel {
        xaddr: behind.addr.to_string(),
        ptz_elsewhere: true,
        ..OnvifModel::default()
    });
    let mut device = open(&front);
    turn(&mut device, velocity(50, 0, 0), LONG).unwrap();
    assert!(behind.moving() && !front.moving());
    no_violations(&behind);
}

#[test]
fn a_profile_that_changes_is_fetched_again() {
    let camera = on(OnvifModel::default());
    let mut device = open(&camera);
    turn(&mut device, velocity(50, 0, 0), LONG).unwrap();
    camera.with(|device| device.model.profile = "new token".to_owned());
    camera.take_operations();
    halt(&mut device).unwrap();
    assert!(!camera.moving());
    let operations = camera.take_operations();
    assert_eq!(operations[..3], ["Stop", "GetProfiles", "Stop"]);
}

#[test]
fn moves_end_by_themselves_where_the_camera_can() {
    let (clock, hand) = Clock::by_hand();
    let camera = on(OnvifModel {
        timeouts: Some((1, 10)),
        clock,
        ..OnvifModel::default()
    });
    let mut device = open(&camera);
    for (limit, expected) in [
        (Duration::from_millis(300), 1),
        (Duration::from_millis(2_500), 3),
        (LONG, 10),
    ] {
        let accepted = turn(&mut device, velocity(100, 0, 0), limit).unwrap();
        assert_eq!(accepted.ends_after, Some(Duration::from_secs(expected)));
    }
    // As if the daemon had been killed.
    hand.advance(Duration::from_secs(3600));
    assert_near(camera.position(Axis::Pan), 10.0);

    let camera = on(OnvifModel {
        timeouts: Some((1, 10)),
        refuses_timeouts: true,
        default_timeout: Some(Duration::from_secs(5)),
        ..OnvifModel::default()
    });
    let mut device = open(&camera);
    for _ in 0..2 {
        let accepted = turn(&mut device, velocity(100, 0, 0), LONG).unwrap();
        assert_eq!(accepted.ends_after, Some(Duration::from_secs(5)), "its own");
    }
    let moves = camera
        .take_operations()
        .iter()
        .filter(|o| *o == "ContinuousMove")
        .count();
    assert_eq!(moves, 3, "refused once, then left out");
    let none = on(OnvifModel::default());
    let accepted = open(&none)
        .move_at(Drive::PanTiltZoom, velocity(1, 0, 0), LONG, soon())
        .unwrap();
    assert_eq!(accepted.ends_after, None);
}

#[test]
fn cameras_that_take_axes_only_together_or_only_apart() {
    let camera = on(OnvifModel {
        both_axes_only: true,
        ..OnvifModel::default()
    });
    open(&camera)
        .move_at(Drive::PanTiltZoom, velocity(50, 0, 0), LONG, soon())
        .unwrap();
    assert!(camera.moving());
    let camera = on(OnvifModel {
        one_axis_only: true,
        ..OnvifModel::default()
    });
    let mut device = open(&camera);
    turn(&mut device, velocity(50, 0, 0), LONG).unwrap();
    assert!(camera.moving());
    camera.take_operations();
    turn(&mut device, velocity(0, 0, 50), LONG).unwrap();
    assert_eq!(camera.take_operations(), ["ContinuousMove"], "learnt");
    halt(&mut device).unwrap();
    assert!(!camera.moving());
}

#[test]
fn a_stop_that_is_refused_or_ignored() {
    for stop in [StopMode::Unsupported, StopMode::Ignored] {
        for tells_motion in [true, false] {
            for looked in [true, false] {
                let camera = on(OnvifModel {
                    stop,
                    tells_motion,
                    ..OnvifModel::default()
                });
                let mut device = open(&camera);
                if looked {
                    look(&mut device);
                }
                for _ in 0..2 {
                    turn(&mut device, velocity(50, 0, 50), LONG).unwrap();
                    halt(&mut device).unwrap();
                    assert!(!camera.moving(), "{stop:?} {tells_motion} {looked}");
                }
                turn(&mut device, velocity(50, 0, 50), LONG).unwrap();
                device
                    .stop(Drive::PanTiltZoom, StopWay::ZeroVelocity, soon())
                    .unwrap();
                assert!(!camera.moving());
            }
        }
    }
}

#[test]
fn a_stop_names_the_axes_that_moves_were_taken_with() {
    for (refuses_zoom, refuses_pan_tilt, to) in [
        (true, false, velocity(50, 0, 0)),
        (false, true, velocity(0, 0, 50)),
        (false, false, velocity(50, 0, 50)),
    ] {
        for stop in [StopMode::Unsupported, StopMode::Ignored] {
            for tells_motion in [true, false] {
                for way in [StopWay::Stop, StopWay::ZeroVelocity] {
                    let camera = on(OnvifModel {
                        refuses_zoom,
                        refuses_pan_tilt,
                        stop,
                        tells_motion,
                        timeouts: Some((1, 10)),
                        ..OnvifModel::default()
                    });
                    let mut device = open(&camera);
                    look(&mut device);
                    for _ in 0..2 {
                        let accepted = turn(&mut device, to, LONG).unwrap();
                        let limit = Some(Duration::from_secs(10));
                        assert_eq!(accepted.ends_after, limit, "its limit is kept");
                        device.stop(Drive::PanTiltZoom, way, soon()).unwrap();
                        assert!(!camera.moving(), "{stop:?} {tells_motion} {way:?}");
                    }
                    // One that has learnt nothing, as the child that stops after a killed daemon.
                    turn(&mut device, to, LONG).unwrap();
                    open(&camera).stop(Drive::PanTiltZoom, way, soon()).unwrap();
                    assert!(!camera.moving(), "a stranger, {stop:?} {way:?}");
                }
            }
        }
    }
}

#[test]
fn a_stop_is_said_again_for_each_axis_that_was_moved_alone() {
    let camera = on(OnvifModel {
        one_axis_only: true,
        stop: StopMode::Ignored,
        tells_motion: false,
        ..OnvifModel::default()
    });
    let mut device = open(&camera);
    turn(&mut device, velocity(50, 0, 0), LONG).unwrap();
    turn(&mut device, velocity(0, 0, 50), LONG).unwrap();
    camera.take_operations();
    halt(&mut device).unwrap();
    assert!(!camera.moving());
    assert_eq!(
        camera.take_operations(),
        ["Stop", "ContinuousMove", "ContinuousMove"]
    );
}

#[test]
fn a_refused_second_word_is_no_success() {
    for tells_motion in [true, false] {
        let camera = on(OnvifModel {
            stop: StopMode::Ignored,
            refuses_zero: true,
            tells_motion,
            ..OnvifModel::default()
        });
        let mut device = open(&camera);
        look(&mut device);
        turn(&mut device, velocity(50, 0, 0), LONG).unwrap();
        for _ in 0..2 {
            let error = halt(&mut device).unwrap_err();
            assert!(matches!(error, CameraError::Device(_)), "{error}");
        }
        // Obeyed in the end; believed only where that can be seen.
        camera.with(|d| d.model.stop = StopMode::Works);
        assert_eq!(halt(&mut device).is_ok(), tells_motion);
        assert!(!camera.moving());
    }
}

#[test]
fn a_time_is_left_out_however_it_is_refused() {
    for refusal in [
        (
            "Sender",
            "",
            "Validation constraint violation: data type mismatch in element 'tptz:Timeout'",
        ),
        ("Receiver", "", "timeout is an unsupported field"),
        ("Sender", "InvalidArgs", "Invalid Args"),
        ("Sender", "InvalidArgVal/TimeoutNotSupported", "timeout"),
        ("Receiver", "ActionNotSupported", "not implemented"),
    ] {
        let camera = on(OnvifModel {
            timeouts: Some((1, 10)),
            refuses_timeouts: true,
            timeout_refusal: refusal,
            ..OnvifModel::default()
        });
        let mut device = open(&camera);
        for _ in 0..2 {
            turn(&mut device, velocity(50, 0, 0), LONG).unwrap();
            assert!(camera.moving(), "{refusal:?}");
        }
        let moves = camera.take_operations();
        let moves = moves.iter().filter(|o| *o == "ContinuousMove").count();
        assert_eq!(moves, 3, "refused once, then left out: {refusal:?}");
    }
    // What is about a right, the login or the moment is not asked otherwise.
    for refusal in [
        ("Sender", "NotAuthorized/OperationProhibited", "no"),
        ("Receiver", "Action/MovingPTZ", "it moves"),
    ] {
        let camera = on(OnvifModel {
            timeouts: Some((1, 10)),
            refuses_timeouts: true,
            timeout_refusal: refusal,
            ..OnvifModel::default()
        });
        turn(&mut open(&camera), velocity(50, 0, 0), LONG).unwrap_err();
        assert!(!camera.moving(), "{refusal:?}");
    }
}

#[test]
fn a_stop_is_looked_at_until_it_was_seen_to_work() {
    let camera = on(OnvifModel::default());
    let mut device = open(&camera);
    look(&mut device);
    camera.take_operations();
    // It stood still already: that proves nothing.
    halt(&mut device).unwrap();
    assert_eq!(camera.take_operations(), ["Stop", "GetStatus"]);
    turn(&mut device, velocity(50, 0, 0), LONG).unwrap();
    halt(&mut device).unwrap();
    assert_eq!(
        camera.take_operations(),
        [
            "GetConfigurationOptions",
            "ContinuousMove",
            "Stop",
            "GetStatus"
        ]
    );
    turn(&mut device, velocity(50, 0, 0), LONG).unwrap();
    halt(&mut device).unwrap();
    assert_eq!(camera.take_operations(), ["ContinuousMove", "Stop"]);
}

#[test]
fn a_camera_that_obeys_no_stop_at_all_is_an_error() {
    let camera = on(OnvifModel {
        stop: StopMode::Ignored,
        ignores_zero: true,
        ..OnvifModel::default()
    });
    let mut device = open(&camera);
    look(&mut device);
    turn(&mut device, velocity(50, 0, 0), LONG).unwrap();
    for way in [StopWay::Stop, StopWay::ZeroVelocity] {
        let error = device.stop(Drive::PanTiltZoom, way, soon()).unwrap_err();
        assert!(error.to_string().contains("still moves"), "{error}");
    }
}

#[test]
fn what_is_done_without_a_word_is_done() {
    let empty =
        "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\"><s:Body/></s:Envelope>";
    let nuls = b"POST /onvif/Ptz\0HTTP/1.1\0\0Content-Type\0 application/soap+xml\0\0\0";
    let forms = [
        Fault::Instead(Outgoing::new(200, "application/soap+xml", empty)),
        Fault::Instead(Outgoing::new(200, "text/plain", "")),
        Fault::Instead(Outgoing::new(202, "text/plain", "")),
        Fault::Garbage(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n".to_vec()),
        Fault::Garbage(nuls.to_vec()),
        Fault::Instead(Outgoing::new(200, "text/plain", nuls.to_vec())),
    ];
    for login in [LoginMode::Token, LoginMode::Digest] {
        for form in &forms {
            let camera = on(OnvifModel {
                login,
                ..OnvifModel::default()
            });
            let mut device = open(&camera);
            look(&mut device);
            device.presets(soon()).unwrap();
            for name in ["<ContinuousMove", "<Stop", "<GotoPreset", "<SetPreset"] {
                camera.fault(name, form.clone(), 1);
            }
            turn(&mut device, velocity(50, 0, 0), LONG).unwrap();
            assert!(camera.moving(), "{form:?}");
            halt(&mut device).unwrap();
            assert!(!camera.moving());
            device.goto_preset("guid-2", false, soon()).unwrap();
            assert_near(camera.position(Axis::Pan), 0.5);
            let token = device.set_preset(None, Some("New"), soon()).unwrap();
            camera.with(|d| assert_eq!(d.presets[&token].0, "New"));
            // What is needed is missed.
            camera.fault("<GetPresets", form.clone(), 1);
            device.presets(soon()).unwrap_err();
        }
    }
}

#[test]
fn lens_motors() {
    let (clock, hand) = Clock::by_hand();
    let camera = on(OnvifModel {
        clock,
        ..OnvifModel::default()
    });
    let mut device = open(&camera);
    focus(&mut device, -50).unwrap();
    hand.advance(Duration::from_secs(2));
    assert_near(camera.position(Axis::Focus), -1.0);
    halt(&mut device).unwrap();
    assert!(camera.moving(), "the lens was not to be stopped");
    halt_all(&mut device);
    assert!(!camera.moving());
    focus(&mut device, 50).unwrap();
    device.focus_auto(soon()).unwrap();
    camera.with(|device| assert!(device.auto_focus));
    assert!(!camera.moving());

    let iris_of = |camera: &OnvifStandIn| camera.with(|device| device.iris);
    iris(&mut device, 50).unwrap();
    assert_near(iris_of(&camera), 8.0);
    iris(&mut device, 0).unwrap();
    assert_near(iris_of(&camera), 8.0);
    for _ in 0..9 {
        iris(&mut device, -100).unwrap();
    }
    assert_near(iris_of(&camera), 20.0);

    let camera = on(OnvifModel {
        focus: false,
        iris: false,
        ..OnvifModel::default()
    });
    let mut device = open(&camera);
    for result in [focus(&mut device, 5), iris(&mut device, 5)] {
        assert_eq!(result.unwrap_err().code().number(), 20005);
    }
    let stop = device.stop(Drive::Focus, StopWay::Stop, soon());
    assert_eq!(stop.unwrap_err().code().number(), 20005);
    halt(&mut device).unwrap();
}

#[test]
fn presets_by_token_then_by_name() {
    let (clock, hand) = Clock::by_hand();
    let camera = on(OnvifModel {
        clock,
        ..OnvifModel::default()
    });
    let mut device = open(&camera);
    let list = device.presets(soon()).unwrap();
    assert_eq!(list.len(), 2);
    assert_eq!(list[1].name.as_deref(), Some("Gate & <Yard>"));
    device.goto_preset("1", false, soon()).unwrap();
    assert_near(camera.position(Axis::Pan), 0.25);
    device.goto_preset("Gate & <Yard>", false, soon()).unwrap();
    assert_near(camera.position(Axis::Pan), 0.5);
    let error = device.goto_preset("../../x", false, soon()).unwrap_err();
    assert_eq!(error.code().number(), 20004);

    turn(&mut device, velocity(100, 0, 0), LONG).unwrap();
    let error = device.set_preset(Some("7"), None, soon()).unwrap_err();
    assert_eq!(error.code().number(), 30302, "it moves");
    hand.advance(Duration::from_secs(1));
    halt(&mut device).unwrap();
    let evil = "</PresetName><PresetToken>1</PresetToken>";
    let token = device.set_preset(Some("7"), Some(evil), soon()).unwrap();
    assert_eq!(token, "made-2", "the camera's own");
    camera.with(|device| {
        assert_eq!(device.presets["made-2"].0, evil);
        assert_near(device.presets["1"].1[0], 0.25);
    });
    device.goto_preset("1", false, soon()).unwrap();
    assert_eq!(
        device.set_preset(Some("made-2"), None, soon()).unwrap(),
        "made-2"
    );
    camera.with(|device| assert_eq!(device.presets["made-2"].0, evil, "keeps its name"));
    device.delete_preset("made-2", soon()).unwrap();
    let error = device.delete_preset("made-2", soon()).unwrap_err();
    assert_eq!(error.code().number(), 20004);
    // Somebody else removes and adds: both are noticed.
    device.goto_preset("1", false, soon()).unwrap();
    camera.with(|device| {
        let place = device.presets.remove("1").unwrap();
        device.presets.insert("new".to_owned(), place);
    });
    let error = device.goto_preset("1", false, soon()).unwrap_err();
    assert_eq!(error.code().number(), 20004);
    device.goto_preset("new", false, soon()).unwrap();
}

#[test]
fn a_name_that_moved_to_another_preset_leads_there() {
    let (clock, _hand) = Clock::by_hand();
    let camera = on(OnvifModel {
        clock,
        ..OnvifModel::default()
    });
    let mut device = open(&camera);
    let gate = "Gate & <Yard>";
    device.goto_preset(gate, false, soon()).unwrap();
    assert_near(camera.position(Axis::Pan), 0.5);
    // Somebody gives the name to the other position, behind our back.
    let (old, new) = camera.with(|device| {
        let mut all = device.presets.iter();
        let old = all.find(|(_, p)| p.0 == gate).unwrap().0.clone();
        let new = device.presets.keys().find(|t| **t != old).unwrap().clone();
        device.presets.get_mut(&old).unwrap().0 = "Elsewhere".to_owned();
        device.presets.get_mut(&new).unwrap().0 = gate.to_owned();
        (old, new)
    });
    device.goto_preset(gate, false, soon()).unwrap();
    assert_near(camera.position(Axis::Pan), 0.25);
    // Stored and deleted by name: the same.
    assert_eq!(device.set_preset(Some(gate), None, soon()).unwrap(), new);
    device.delete_preset(gate, soon()).unwrap();
    camera.with(|device| {
        assert!(device.presets.contains_key(&old) && !device.presets.contains_key(&new));
    });
    // By its token: no list is fetched for that.
    device.presets(soon()).unwrap();
    camera.take_operations();
    device.goto_preset(&old, false, soon()).unwrap();
    assert_eq!(camera.take_operations(), ["GotoPreset"]);
}

/// It refuses a token whose time it does not like, and asks for Basic beside that.
#[test]
fn a_challenge_that_is_not_answered_hides_no_refusal() {
    let camera = on(OnvifModel {
        asks_for_basic: true,
        ..OnvifModel::default()
    });
    let mut device = open(&camera);
    device.check(soon()).unwrap();
    camera.with(|device| device.model.clock_ahead = 86_400 * 365);
    device.check(soon()).unwrap();
    camera.with(|device| assert_eq!(device.refused_tokens, 1));
    // A wrong password is told as one that was sent.
    match open_as(&camera, "wrong").check(soon()) {
        Err(CameraError::LoginRefused(refusal)) => assert!(refusal.tried, "{refusal:?}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn function_presets_are_guarded() {
    let camera = on(OnvifModel::default());
    camera.with(|device| {
        for n in 1..=300 {
            let name = if n == 94 { "Remote reboot" } else { "" };
            device
                .presets
                .insert(n.to_string(), (name.to_owned(), [0.9, 0.0, 0.0]));
        }
        device.presets.remove("guid-2");
    });
    let mut device = open(&camera);
    let list = device.presets(soon()).unwrap();
    assert!(list.iter().find(|p| p.id == "94").unwrap().function);
    assert!(!list.iter().find(|p| p.id == "7").unwrap().function);
    for result in [
        device.goto_preset("94", false, soon()),
        device.goto_preset("Remote reboot", false, soon()),
        device.set_preset(Some("94"), None, soon()).map(|_| ()),
        device.delete_preset("94", soon()),
    ] {
        assert_eq!(result.unwrap_err().code().number(), 20005);
    }
    assert_near(camera.position(Axis::Pan), 0.0);
    device.goto_preset("94", true, soon()).unwrap();
    assert_near(camera.position(Axis::Pan), 0.9);
}

#[test]
fn tours_of_the_camera() {
    let camera = on(OnvifModel::default());
    let mut device = open(&camera);
    device.start_patrol("Night", soon()).unwrap();
    camera.with(|device| assert_eq!(device.tour.as_deref(), Some("T1")));
    device.stop_patrol("T1", soon()).unwrap();
    camera.with(|device| assert_eq!(device.tour, None));
    let error = device.start_patrol("9", soon()).unwrap_err();
    assert_eq!(error.code().number(), 20004);
}

#[test]
fn snapshots_with_their_own_login() {
    for login in [LoginMode::Open, LoginMode::Token, LoginMode::Digest] {
        let camera = on(OnvifModel {
            login,
            ..OnvifModel::default()
        });
        let mut device = open(&camera);
        let picture = device.snapshot(SnapshotWish::default(), soon()).unwrap();
        assert_eq!(Some(picture), OnvifModel::default().picture);
        camera.take_lines();
        device.snapshot(SnapshotWish::default(), soon()).unwrap();
        assert_eq!(camera.take_lines(), ["GET /picture?x=1&y=2"], "learnt");
        no_violations(&camera);
    }
    let camera = on(OnvifModel {
        picture: None,
        ..OnvifModel::default()
    });
    let error = open(&camera)
        .snapshot(SnapshotWish::default(), soon())
        .unwrap_err();
    assert_eq!(error.code().number(), 20005);
    let camera = on(OnvifModel {
        picture: Some(b"<html>".to_vec()),
        ..OnvifModel::default()
    });
    let error = open(&camera)
        .snapshot(SnapshotWish::default(), soon())
        .unwrap_err();
    assert!(matches!(error, CameraError::BadAnswer(_)), "{error}");
}

#[test]
fn streams_keep_their_port_and_lose_their_login() {
    for media2 in [false, true] {
        let camera = on(OnvifModel {
            media1: !media2,
            media2,
            ..OnvifModel::default()
        });
        let uri = open(&camera).stream_uri(soon()).unwrap();
        assert_eq!(uri.as_deref(), Some("rtsp://127.0.0.1:8554/main?a=1&b=2"));
    }
}

#[test]
fn a_probe_tells_what_the_camera_told() {
    let camera = on(OnvifModel::default());
    let info = open(&camera).probe(soon()).unwrap();
    assert_eq!(info.manufacturer.as_deref(), Some("ACME"));
    assert_eq!(info.model.as_deref(), Some("Dome & Co"));
    assert_eq!(info.hardware_id, None);
    assert_eq!(info.mac_address.as_deref(), Some("aa:bb:cc:dd:ee:0f"));
    assert_eq!(info.device_name.as_deref(), Some("Yard Dome"));
    assert_eq!(info.probe_method, Protocol::ONVIF);
    assert_eq!(
        info.protocol_support.onvif_version.as_deref(),
        Some("20.06")
    );
    assert_eq!(info.protocol_support.of(Protocol::ISAPI), None);
    let caps = info.capabilities.unwrap();
    assert_eq!(caps.ptz.supported, Some(true));
    assert_eq!(caps.ptz.continuous_move, Some(true));
    assert_eq!(caps.ptz.absolute_move, Some(false));
    assert_eq!(caps.ptz.max_presets, Some(100));
    assert_eq!(caps.ptz.patrol, None);
    assert_eq!((caps.ptz.focus, caps.ptz.iris), (Some(true), Some(true)));
    assert_eq!(caps.video.resolutions.unwrap(), ["1920x1080", "1280x720"]);
    assert_eq!(caps.video.max_fps, Some(30.0));
    assert_eq!(caps.audio.supported, None);
}

#[test]
fn faults_are_errors_with_a_reason_by_the_deadline() {
    let soap_garbage = Outgoing::new(200, "application/soap+xml", "<e:Envelope><e:Body>");
    let other_answer = Outgoing::new(
        200,
        "application/soap+xml",
        "<Envelope><Body><GetProfilesResponse/></Body></Envelope>",
    );
    let cases: [(Fault, bool); 8] = [
        (Fault::Hang, false),
        (Fault::HangAfter, true),
        (Fault::Garbage(b"\x00\x01 not http\r\n\r\n".to_vec()), true),
        (Fault::HalfClosed, true),
        (Fault::Drip(Duration::from_millis(50)), true),
        (Fault::Instead(soap_garbage), true),
        (Fault::Instead(other_answer), true),
        (Fault::LateAnswer(Duration::from_secs(5)), true),
    ];
    for (fault, acts) in cases {
        let camera = on(OnvifModel::default());
        let mut device = open(&camera);
        look(&mut device);
        camera.fault("x=\"0.77\"", fault.clone(), 1);
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
        halt(&mut device).unwrap();
        assert!(!camera.moving(), "{fault:?}");
        no_violations(&camera);
    }
}

#[test]
fn a_reset_connection_costs_no_nonce() {
    let camera = on(OnvifModel::default());
    let mut device = open(&camera);
    look(&mut device);
    camera.fault("ContinuousMove", Fault::ResetAfter, 1);
    turn(&mut device, velocity(77, 0, 0), LONG).unwrap();
    // The second time with a token of its own, or the camera would call it a replay.
    no_violations(&camera);
    camera.fault("SetPreset", Fault::ResetAfter, 1);
    halt(&mut device).unwrap();
    let error = device.set_preset(Some("x"), None, soon()).unwrap_err();
    assert!(error.may_have_acted(), "{error}");
    let sets = camera
        .take_operations()
        .iter()
        .filter(|o| *o == "SetPreset")
        .count();
    assert_eq!(sets, 1);
}

#[test]
fn detection_sends_no_login() {
    let camera = on(OnvifModel::default());
    let address = CameraAddress::new(camera.addr.ip(), camera.addr.port());
    assert!(speaks_onvif(&address, &CameraOptions::default(), soon()).unwrap());
    camera.with(|device| device.model.clock_needs_login = true);
    assert!(speaks_onvif(&address, &CameraOptions::default(), soon()).unwrap());
    camera.fault(
        "",
        Fault::Instead(Outgoing::new(401, "text/html", "<html>")),
        1,
    );
    assert!(!speaks_onvif(&address, &CameraOptions::default(), soon()).unwrap());
    assert!(camera.log().iter().all(|r| !r.text().contains("Security")));
}
