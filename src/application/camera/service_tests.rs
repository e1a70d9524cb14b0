//! The service with fake cameras: link loss, room for lanes, shutdown.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::fakes::{self, FakeNames, Told};
use super::lane::sim::plan;
use super::lanes::LaneHandle;
use super::{
    CameraAsk, CameraParams, CameraReply, CameraService, Host, Order, Origin, PatrolOrder, PtzAsk,
    Sent, Sighting, Vendor,
};
use crate::domain::camera::{CameraError, Credentials, Protocol, ProtocolOffer};
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::ptz::{PtzAction, PtzEventKind};
use crate::domain::stream::{Id, MediaUrl};
use crate::util::secret::Secret;

const SOON: Duration = Duration::from_secs(10);

fn ask(number: u8) -> CameraAsk {
    CameraAsk {
        camera_id: Some(Id::parse("cameraId", &format!("cam_{number}")).unwrap()),
        said: CameraParams {
            host: Some(Host::parse("ip", &format!("192.168.7.{number}")).unwrap()),
            login: Some(Credentials::new("admin", Secret::new(fakes::PASSWORD)).unwrap()),
            ..CameraParams::default()
        },
    }
}

fn order(action: PtzAction) -> Order {
    Order::ptz(&PtzAsk::new(action)).unwrap()
}

fn send(
    cameras: &CameraService,
    number: u8,
    origin: Origin,
    action: PtzAction,
) -> Result<CameraReply, Fault> {
    cameras
        .submit(&ask(number), origin, Sent::now(), order(action))
        .map(|done| done.recv_timeout(SOON).unwrap())
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + SOON;
    while !done() {
        assert!(Instant::now() < until, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_lost_link_stops_what_the_cloud_moves_and_nothing_else() {
    let (cameras, asked, told) = fakes::cameras();
    for (number, origin) in [(1, Origin::Ably), (2, Origin::Rest)] {
        let reply = send(&cameras, number, origin, PtzAction::PanLeft).unwrap();
        assert!(reply.result.is_ok());
    }
    wait_for("the link to count", || cameras.moves_for_cloud());
    cameras.link_lost();
    let stopped = |n: u8| {
        let line = format!("192.168.7.{n}:80 PanTiltZoom stop");
        asked.lock().unwrap().contains(&line)
    };
    wait_for("the stop", || stopped(1));
    match told.recv_timeout(SOON).unwrap() {
        Told::Ptz(event) => {
            assert_eq!(event.kind, PtzEventKind::StoppedByLinkLoss);
            assert_eq!(event.camera.as_str(), "cam_1");
        }
        other @ Told::Patrol(_) => panic!("{other:?}"),
    }
    assert!(!stopped(2));
    // A lane that is made meanwhile knows of it too.
    let reply = send(&cameras, 3, Origin::Ably, PtzAction::PanLeft).unwrap();
    assert_eq!(reply.result.unwrap_err().code, ErrorCode::Unavailable);
    cameras.link_back();
    let reply = send(&cameras, 3, Origin::Ably, PtzAction::PanLeft).unwrap();
    assert!(reply.result.is_ok());
    wait_for("nothing to move for the cloud but one", || {
        cameras.moves_for_cloud()
    });
    cameras.shut_down();
    assert!(cameras.ended().recv_timeout(SOON).is_err());
    assert!(stopped(2) && stopped(3));
    assert!(send(&cameras, 4, Origin::Rest, PtzAction::PanLeft).is_err());
}

#[test]
fn quiet_lanes_make_room_and_moving_ones_do_not() {
    let (cameras, _, _) = fakes::cameras();
    for number in 1..=80 {
        let reply = send(&cameras, number, Origin::Rest, PtzAction::Stop).unwrap();
        assert!(reply.result.is_ok());
        // Its thread notes that it is quiet a moment after it has answered.
        wait_for("the lane to be quiet", || {
            let lanes = cameras.shared.lanes();
            let quiet = |handle: &LaneHandle| handle.flags.quiet_since().is_some();
            lanes.map.len() < 64 || number < 64 || lanes.map.values().any(quiet)
        });
    }
    assert!(cameras.lanes() <= 64);
    let (cameras, _, _) = fakes::cameras();
    for number in 1..=64 {
        let reply = send(&cameras, number, Origin::Rest, PtzAction::PanLeft).unwrap();
        assert!(reply.result.is_ok());
    }
    let full = send(&cameras, 65, Origin::Rest, PtzAction::PanLeft).unwrap_err();
    assert_eq!(full.code, ErrorCode::NodeBusy);
    cameras.shut_down();
    assert!(cameras.ended().recv_timeout(SOON).is_err());
}

#[test]
fn stops_where_no_camera_is_leave_room_for_every_other_stop() {
    let (cameras, _, _) = fakes::cameras();
    let stop = |net: u8, number: u8| {
        let host = format!("192.168.{net}.{number}");
        let ask = called(Some(&format!("c_{net}_{number}")), Some(&host), true);
        cameras.submit(&ask, Origin::Rest, Sent::now(), order(PtzAction::Stop))
    };
    let mut waiting: Vec<_> = (1..=200).map(|number| stop(8, number).unwrap()).collect();
    assert!(cameras.lanes() <= 128);
    // Who had to make room was told so.
    let first = waiting.remove(0).recv_timeout(SOON).unwrap();
    assert_eq!(first.result.unwrap_err().code, ErrorCode::Unavailable);
    let other = stop(7, 1).unwrap().recv_timeout(SOON).unwrap();
    assert!(other.result.is_ok());
    cameras.shut_down();
}

/// A camera by an id or none, and a host or none, with or without a login.
fn called(id: Option<&str>, host: Option<&str>, login: bool) -> CameraAsk {
    CameraAsk {
        camera_id: id.map(|id| Id::parse("cameraId", id).unwrap()),
        said: CameraParams {
            host: host.map(|host| Host::parse("ip", host).unwrap()),
            login: login.then(|| Credentials::new("admin", Secret::new(fakes::PASSWORD)).unwrap()),
            ..CameraParams::default()
        },
    }
}

fn name_service(address: &str) -> Arc<FakeNames> {
    Arc::new(FakeNames(Mutex::new(Ok(vec![address.parse().unwrap()]))))
}

fn done(cameras: &CameraService, ask: &CameraAsk, action: PtzAction) -> CameraReply {
    cameras
        .submit(ask, Origin::Rest, Sent::now(), order(action))
        .unwrap()
        .recv_timeout(SOON)
        .unwrap()
}

#[test]
fn one_camera_has_one_lane_whatever_it_is_called() {
    let (cameras, asked, _) = fakes::cameras_named(name_service("192.168.7.1"));
    let by_id = called(Some("cam"), Some("dome.lan"), true);
    assert!(done(&cameras, &by_id, PtzAction::PanLeft).result.is_ok());
    // By its address, and by its name alone: nobody says the login again.
    for ask in [
        called(None, Some("192.168.7.1"), false),
        called(None, Some("dome.lan"), false),
        called(Some("cam"), None, false),
        called(Some("another"), Some("192.168.7.1"), false),
    ] {
        let reply = done(&cameras, &ask, PtzAction::Stop);
        assert!(reply.result.is_ok(), "{:?}", reply.result);
    }
    assert_eq!(cameras.lanes(), 1);
    let asked = asked.lock().unwrap();
    assert!(asked.iter().all(|line| line.starts_with("192.168.7.1:80 ")));
    assert!(
        !asked.iter().any(|line| line == "login refused"),
        "{asked:?}"
    );
}

#[test]
fn commands_by_a_new_name_keep_their_order() {
    let (cameras, asked, _) = fakes::cameras_named(name_service("192.168.7.1"));
    for number in 0..50 {
        let ask = called(Some("cam"), Some(&format!("dome{number}.lan")), true);
        let send = |action| {
            let order = order(action);
            cameras.submit(&ask, Origin::Rest, Sent::now(), order)
        };
        // The lookup may still be under way when the stop comes: the camera stands all the same.
        let (moved, stopped) = (send(PtzAction::PanLeft), send(PtzAction::Stop));
        for each in [moved, stopped] {
            let reply = each.unwrap().recv_timeout(SOON).unwrap();
            assert!(reply.result.is_ok(), "{:?}", reply.result);
        }
        // A stop that left while the move was unanswered is sent once more.
        wait_for("the camera to stand", || {
            let asked = asked.lock().unwrap();
            let last = asked.iter().rfind(|line| line.contains("PanTiltZoom"));
            last.unwrap() == "192.168.7.1:80 PanTiltZoom stop"
        });
    }
    assert_eq!(cameras.lanes(), 1);
}

#[test]
fn a_name_that_leads_elsewhere_leaves_nothing_moving_behind() {
    let names = name_service("192.168.7.1");
    let (cameras, asked, _) = fakes::cameras_named(names.clone());
    let ask = called(Some("cam"), Some("dome.lan"), true);
    assert!(done(&cameras, &ask, PtzAction::PanLeft).result.is_ok());
    *names.0.lock().unwrap() = Ok(vec!["192.168.7.2".parse().unwrap()]);
    cameras.distrust_names();
    // A stop waits for no name service: it goes to where the camera was.
    assert!(done(&cameras, &ask, PtzAction::Stop).result.is_ok());
    let count = |what: &str| {
        let asked = asked.lock().unwrap();
        asked.iter().filter(|line| *line == what).count()
    };
    assert!(count("192.168.7.1:80 PanTiltZoom stop") >= 1);
    wait_for("the new address", || {
        done(&cameras, &ask, PtzAction::TiltUp);
        asked
            .lock()
            .unwrap()
            .iter()
            .any(|line| line.starts_with("192.168.7.2"))
    });
    // What that may have set in motion at the old address was stopped unasked.
    let last = || {
        let asked = asked.lock().unwrap();
        let at_old = asked.iter().rfind(|line| line.starts_with("192.168.7.1"));
        at_old.cloned().unwrap()
    };
    wait_for("the old one to stand", || last().ends_with("stop"));
}

#[test]
fn a_name_service_that_is_away_stops_nobody() {
    let names = name_service("192.168.7.1");
    let (cameras, _, _) = fakes::cameras_named(names.clone());
    let ask = called(Some("cam"), Some("dome.lan"), true);
    assert!(done(&cameras, &ask, PtzAction::PanLeft).result.is_ok());
    *names.0.lock().unwrap() = Err(CameraError::Unreachable("no name service".into()));
    cameras.distrust_names();
    assert!(done(&cameras, &ask, PtzAction::Stop).result.is_ok());
    assert!(done(&cameras, &ask, PtzAction::PanLeft).result.is_ok());
    // One that was never found is not there.
    let ask = called(Some("new"), Some("other.lan"), true);
    let fault = done(&cameras, &ask, PtzAction::PanLeft).result.unwrap_err();
    assert_eq!(fault.code, ErrorCode::Unavailable);
}

#[test]
fn names_that_lead_where_no_camera_is() {
    for bad in [
        "127.0.0.1",
        "169.254.169.254",
        "239.1.1.1",
        "255.255.255.255",
        "::1",
    ] {
        let good: IpAddr = "192.168.7.1".parse().unwrap();
        let names = name_service(bad);
        if let Ok(list) = &mut *names.0.lock().unwrap() {
            list.insert(0, good);
        }
        let (cameras, asked, _) = fakes::cameras_named(names);
        let ask = called(Some("cam"), Some("dome.lan"), true);
        for action in [PtzAction::PanLeft, PtzAction::Stop] {
            let fault = done(&cameras, &ask, action).result.unwrap_err();
            assert_eq!(fault.code, ErrorCode::ValidationFailed, "{bad}");
        }
        assert!(asked.lock().unwrap().is_empty());
        assert_eq!(cameras.lanes(), 0);
    }
}

/// The camera that a bug of ours is met with, on its wire and wherever it is told of.
#[test]
fn a_bug_of_ours_costs_one_answer_and_leaves_nothing_moving() {
    let (cameras, asked, _told) = fakes::cameras();
    let number = fakes::BUGGY[3];
    let stops = || {
        let line = format!("192.168.7.{number}:80 PanTiltZoom stop");
        let asked = asked.lock().unwrap();
        asked.iter().filter(|each| **each == line).count()
    };
    let reply = send(&cameras, number, Origin::Ably, PtzAction::PanLeft).unwrap();
    let fault = reply.result.unwrap_err();
    assert_eq!(fault.code, ErrorCode::InternalError, "{fault:?}");
    wait_for("a stop of what may have begun", || stops() > 0);

    let before = stops();
    let reply = send(&cameras, number, Origin::Ably, PtzAction::PanLeft).unwrap();
    assert!(reply.result.is_ok(), "{:?}", reply.result);
    wait_for("the link to count", || cameras.moves_for_cloud());
    // Whoever is told of this stop panics.
    cameras.link_lost();
    wait_for("the stop all the same", || stops() > before);
    let reply = send(&cameras, number, Origin::Rest, PtzAction::PanRight).unwrap();
    assert!(reply.result.is_ok(), "{:?}", reply.result);
    let reply = send(&cameras, number, Origin::Rest, PtzAction::Stop).unwrap();
    assert!(reply.result.is_ok(), "{:?}", reply.result);
}

/// What a sweep has seen: a camera's HTTP port.
fn sweep(cameras: &CameraService, ip: &str, port: u16) {
    let seen = Sighting {
        ip: ip.parse().unwrap(),
        vendor: None,
        http_port: Some(port),
        rtsp_port: None,
        onvif_path: None,
    };
    cameras.sighted(&[seen], &[]);
}

fn patrol(cameras: &CameraService, ask: &CameraAsk, order: PatrolOrder) -> CameraReply {
    cameras
        .submit(ask, Origin::Rest, Sent::now(), Order::Patrol(order))
        .unwrap()
        .recv_timeout(SOON)
        .unwrap()
}

#[test]
fn a_sweep_that_names_another_port_leads_no_stop_astray() {
    let (cameras, asked, _) = fakes::cameras();
    let ask = called(Some("cam"), Some("192.168.7.1"), true);
    sweep(&cameras, "192.168.7.1", 8899);
    assert!(done(&cameras, &ask, PtzAction::PanLeft).result.is_ok());
    // The camera was slow to answer at its own port.
    sweep(&cameras, "192.168.7.1", 80);
    for ask in [
        called(Some("cam"), None, false),
        called(None, Some("192.168.7.1"), false),
    ] {
        assert!(done(&cameras, &ask, PtzAction::PanLeft).result.is_ok());
        assert!(done(&cameras, &ask, PtzAction::Stop).result.is_ok());
    }
    assert_eq!(cameras.lanes(), 1);
    let asked = asked.lock().unwrap();
    let elsewhere = |line: &&String| !line.starts_with("192.168.7.1:8899 ");
    assert_eq!(asked.iter().find(elsewhere), None);
}

#[test]
fn who_does_not_know_the_port_finds_what_runs() {
    let (cameras, asked, _) = fakes::cameras();
    // A camera whose port was said under one id; a sweep knows another.
    let mut known = called(Some("cam"), Some("192.168.7.1"), true);
    known.said.port = Some(8899);
    let tour = plan(1_000, &[("LEFT", 0, 60_000)]);
    let started = patrol(&cameras, &known, PatrolOrder::Start(Box::new(tour)));
    assert!(started.result.is_ok(), "{:?}", started.result);
    sweep(&cameras, "192.168.7.1", 80);
    // The id is told anew, by a name of the same address, so that its port is not said any more.
    let by_address = called(None, Some("192.168.7.1"), false);
    let stopped = patrol(&cameras, &by_address, PatrolOrder::Stop(None));
    assert!(stopped.result.is_ok(), "{:?}", stopped.result);
    wait_for("the camera to stand", || {
        let asked = asked.lock().unwrap();
        let last = asked.last().map(String::as_str);
        last == Some("192.168.7.1:8899 PanTiltZoom stop")
    });
}

#[test]
fn a_channel_that_was_guessed_gives_way_and_what_moves_there_is_stopped() {
    let (cameras, asked, _) = fakes::cameras();
    let id = Id::parse("cameraId", "cam").unwrap();
    let source = |stream: u32| {
        let url = format!(
            "rtsp://admin:{}@192.168.7.1/Streaming/Channels/{stream}",
            fakes::PASSWORD
        );
        let url = MediaUrl::parse("sourceUrl", &url).unwrap();
        cameras.learn_source(&id, &url);
    };
    source(501);
    let ask = called(Some("cam"), None, false);
    assert!(done(&cameras, &ask, PtzAction::PanLeft).result.is_ok());
    let stops = || {
        let asked = asked.lock().unwrap();
        let stops = asked.iter().filter(|l| l.ends_with("PanTiltZoom stop"));
        stops.count()
    };
    // The same channel once more.
    source(502);
    assert!(done(&cameras, &ask, PtzAction::PanLeft).result.is_ok());
    assert_eq!((stops(), cameras.lanes()), (0, 1));
    source(601);
    wait_for("the other channel to stand", || stops() == 1);
    assert!(done(&cameras, &ask, PtzAction::PanLeft).result.is_ok());
    assert_eq!(cameras.lanes(), 2);
}

const VAPIX: Protocol = Protocol::named("VAPIX");

/// One protocol more than there are, put before the others.
const WITH_VAPIX: &[ProtocolOffer] = &[
    ProtocolOffer {
        protocol: VAPIX,
        vendors: &["AXIS"],
    },
    fakes::PROTOCOLS[0],
    fakes::PROTOCOLS[1],
];

/// What a camera that speaks these is asked for, given what is said of its vendor, and by what it
/// is moved in the end.
fn moved_by(
    spoken: &'static [Protocol],
    vendor: Option<&str>,
) -> (Vec<String>, Result<Protocol, Fault>) {
    let (cameras, asked) = fakes::cameras_speaking(WITH_VAPIX, spoken);
    let mut ask = ask(1);
    ask.said.vendor = vendor.and_then(Vendor::parse);
    let reply = done(&cameras, &ask, PtzAction::PanLeft);
    let asked = asked.lock().unwrap();
    let questions = asked.iter().filter(|line| line.ends_with('?'));
    let by = reply.result.map(|_| reply.protocol.unwrap());
    (questions.cloned().collect(), by)
}

#[test]
fn a_third_protocol_is_one_more_in_the_list() {
    let by = |spoken, vendor| {
        let (questions, by) = moved_by(spoken, vendor);
        (questions, by.unwrap())
    };
    // Nothing is known: asked in the order of preference, until one answers.
    assert_eq!(by(&[VAPIX], None), (vec!["VAPIX?".to_owned()], VAPIX));
    let (questions, spoken) = by(&[Protocol::ONVIF], None);
    assert_eq!(questions, ["VAPIX?", "ISAPI?", "ONVIF?"]);
    assert_eq!(spoken, Protocol::ONVIF);
    // A vendor that has one of its own is taken at its word, any other speaks what all speak.
    let both = &[VAPIX, Protocol::ISAPI, Protocol::ONVIF];
    for (vendor, spoken) in [
        ("AXIS", VAPIX),
        ("HIK", Protocol::ISAPI),
        ("DAHUA", Protocol::ONVIF),
    ] {
        assert_eq!(by(both, Some(vendor)), (Vec::new(), spoken), "{vendor}");
    }
    // What the vendor should speak is refused: all others are tried, in their order.
    let (questions, spoken) = by(&[Protocol::ONVIF], Some("HIKVISION"));
    assert_eq!(questions, ["ISAPI?", "VAPIX?", "ONVIF?"]);
    assert_eq!(spoken, Protocol::ONVIF);
    assert_eq!(by(&[VAPIX], Some("DAHUA")).1, VAPIX);
}

#[test]
fn a_camera_that_speaks_none_of_them_is_told_so() {
    let (_, result) = moved_by(&[], None);
    let fault = result.unwrap_err();
    assert_eq!(fault.code, ErrorCode::ValidationFailed);
    let words = "what answers there speaks neither VAPIX nor ISAPI nor ONVIF";
    assert!(fault.message.contains(words), "{}", fault.message);
}

#[test]
fn the_camera_of_a_stream_is_asked_for_a_keyframe_and_what_is_none_is_not() {
    let (cameras, asked, _) = fakes::cameras();
    let source = format!(
        "rtsp://admin:{}@192.168.7.1/Streaming/Channels/102",
        fakes::PASSWORD
    );
    let source = MediaUrl::parse("sourceUrl", &source).unwrap();
    // Nobody has called it a camera: it may be a server of recordings.
    cameras.ask_keyframe(None, &source);
    assert_eq!(cameras.lanes(), 0);

    let id = Id::parse("cameraId", "cam_1").unwrap();
    cameras.learn_source(&id, &source);
    let keyframes = || {
        let asked = asked.lock().unwrap();
        let is = |line: &&String| line.as_str() == "192.168.7.1:80 keyframe sub";
        asked.iter().filter(is).count()
    };
    cameras.ask_keyframe(Some(&id), &source);
    wait_for("a keyframe by the camera's id", || keyframes() == 1);
    cameras.ask_keyframe(None, &source);
    wait_for("a keyframe by its address", || keyframes() == 2);
}
