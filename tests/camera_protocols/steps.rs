//! What tests of either protocol do with a camera.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lss::domain::camera::{
    CameraAddress, CameraDevice, CameraError, CameraTarget, Credentials, Manner, MoveAccepted,
    StopWay,
};
use lss::domain::ptz::{Drive, Velocity};
use lss::util::secret::Secret;

use crate::support::digest_server::GateRules;

pub const LONG: Duration = Duration::from_secs(30);

pub fn soon() -> Instant {
    Instant::now() + Duration::from_secs(8)
}

pub fn target(addr: SocketAddr, password: &str) -> CameraTarget {
    CameraTarget {
        address: CameraAddress::new(addr.ip(), addr.port()),
        credentials: Some(
            Credentials::new(GateRules::default().user, Secret::new(password)).unwrap(),
        ),
        channel: 1,
        manner: Manner::default(),
    }
}

pub fn velocity(pan: i8, tilt: i8, zoom: i8) -> Velocity {
    Velocity {
        pan,
        tilt,
        zoom,
        ..Velocity::ZERO
    }
}

pub fn turn(
    device: &mut (impl CameraDevice + ?Sized),
    to: Velocity,
    limit: Duration,
) -> Result<MoveAccepted, CameraError> {
    device.move_at(Drive::PanTiltZoom, to, limit, soon())
}

pub fn focus(
    device: &mut (impl CameraDevice + ?Sized),
    focus: i8,
) -> Result<MoveAccepted, CameraError> {
    let velocity = Velocity {
        focus,
        ..Velocity::ZERO
    };
    device.move_at(Drive::Focus, velocity, LONG, soon())
}

pub fn iris(
    device: &mut (impl CameraDevice + ?Sized),
    iris: i8,
) -> Result<MoveAccepted, CameraError> {
    let velocity = Velocity {
        iris,
        ..Velocity::ZERO
    };
    device.move_at(Drive::Iris, velocity, LONG, soon())
}

pub fn halt(device: &mut (impl CameraDevice + ?Sized)) -> Result<(), CameraError> {
    device.stop(Drive::PanTiltZoom, StopWay::Stop, soon())
}

pub fn halt_all(device: &mut (impl CameraDevice + ?Sized)) {
    for drive in Drive::ALL {
        device.stop(drive, StopWay::Stop, soon()).unwrap();
    }
}

pub fn assert_near(left: f64, right: f64) {
    assert!((left - right).abs() < 1e-9, "{left} is not {right}");
}
