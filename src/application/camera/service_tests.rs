//! The service with fake cameras: link loss, room for lanes, shutdown.

use std::time::{Duration, Instant};

use super::fakes::{self, Told};
use super::{CameraAsk, CameraReply, CameraService, Host, Login, Order, Origin, PtzAsk, Said};
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::ptz::{PtzAction, PtzEventKind};
use crate::domain::stream::Id;
use crate::util::secret::Secret;

const SOON: Duration = Duration::from_secs(10);

fn ask(number: u8) -> CameraAsk {
    CameraAsk {
        camera_id: Some(Id::parse("cameraId", &format!("cam_{number}")).unwrap()),
        said: Said {
            host: Some(Host::parse("ip", &format!("192.168.7.{number}")).unwrap()),
            login: Some(Login::parse("admin", &Secret::new(fakes::PASSWORD)).unwrap()),
            ..Said::default()
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
        .submit(&ask(number), origin, Duration::ZERO, order(action))
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
            cameras.lanes() < 64 || number < 64 || cameras.has_quiet()
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
