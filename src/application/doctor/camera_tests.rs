use std::net::IpAddr;
use std::time::SystemTime;

use super::*;
use crate::domain::camera::{CameraAddress, Protocol, ProtocolSupport};
use crate::domain::discovery::{StreamDescription, TrackInfo};

fn info() -> CameraDeviceInfo {
    CameraDeviceInfo {
        address: CameraAddress::new(IpAddr::from([10, 0, 0, 5]), 80),
        manufacturer: None,
        model: Some("DS-2CD".to_owned()),
        serial_number: None,
        firmware_version: Some("V5".to_owned()),
        hardware_id: None,
        mac_address: None,
        device_name: None,
        probe_method: Protocol::ISAPI,
        protocol_support: ProtocolSupport::default(),
        capabilities: None,
        probe_time: SystemTime::UNIX_EPOCH,
    }
}

fn look(info: Result<CameraDeviceInfo, Fault>) -> CameraLook {
    CameraLook {
        name: "10.0.0.5:80".to_owned(),
        has_login: true,
        info: info.map(Box::new),
        clock: Some(2),
        settings: None,
        stream: None,
    }
}

fn described(profile: [u8; 3], reorders: bool) -> StreamLook {
    StreamLook {
        place: "10.0.0.5:554/main".to_owned(),
        told: true,
        found: Ok(StreamDescription {
            server: None,
            tracks: vec![TrackInfo {
                media: "video".to_owned(),
                codec: Some("H264".to_owned()),
                h264_profile: Some(profile),
                reorders: Some(reorders),
                ..TrackInfo::default()
            }],
        }),
    }
}

fn of(checks: &[Check], name: &str) -> Check {
    checks.iter().find(|c| c.check == name).unwrap().clone()
}

#[test]
fn a_good_camera_and_its_keyframes() {
    let mut good = look(Ok(info()));
    good.stream = Some(described([66, 0xC0, 30], false));
    let unknown = camera(&good);
    assert!(
        unknown.iter().all(|c| c.status == Grade::Pass),
        "{unknown:?}"
    );
    assert!(
        unknown
            .iter()
            .any(|c| c.words.contains("does not tell its keyframe interval"))
    );
    good.settings = Some(StreamSettings {
        keyframe_interval: Some(50),
        fps: Some(25.0),
        ..StreamSettings::default()
    });
    let known = camera(&good);
    assert_eq!(
        of(&known, "camera.keyframes").words,
        "a keyframe every 2.0 s"
    );
    assert!(!known.iter().any(|c| c.words.contains("does not tell")));
    good.settings = Some(StreamSettings {
        keyframe_interval: Some(250),
        fps: Some(25.0),
        ..StreamSettings::default()
    });
    assert_eq!(of(&camera(&good), "camera.keyframes").status, Grade::Warn);
    good.settings = Some(StreamSettings {
        smart_codec: Some(true),
        ..StreamSettings::default()
    });
    assert_eq!(of(&camera(&good), "camera.keyframes").status, Grade::Warn);
    good.stream = Some(described([100, 0, 40], true));
    let transcoded = camera(&good);
    assert!(!transcoded.iter().any(|c| c.check == "camera.keyframes"));
    let whip = of(&transcoded, "camera.whip");
    assert!(whip.words.contains("B-frames"));
    let command = "`lss fit 10.0.0.5:80 --user USER`";
    assert!(whip.advice.unwrap().contains(command));
    let named = |checks: &[Check]| {
        let advice = checks.iter().filter_map(|c| c.advice.as_ref());
        advice.filter(|advice| advice.contains("lss fit")).count()
    };
    assert_eq!(named(&transcoded), 1);
    assert_eq!(named(&unknown), 0, "what is well needs no command");
}

#[test]
fn each_fault_has_its_advice() {
    let of_code = |code| {
        let check = login(&look(Err(Fault::new(code, "words"))));
        assert_eq!(check.status, Grade::Fail);
        (check.words, check.advice.unwrap())
    };
    let (words, advice) = of_code(ErrorCode::Unauthorized);
    assert!(words.contains("tried once") && advice.contains("camera.credentials"));
    assert!(of_code(ErrorCode::Unavailable).1.contains("--camera"));
    assert!(of_code(ErrorCode::AccessDenied).1.contains("rights"));
    assert!(of_code(ErrorCode::ValidationFailed).1.contains("ONVIF"));
    assert!(of_code(ErrorCode::NodeBusy).1.contains("clients"));
    let mut stranger = look(Err(Fault::new(ErrorCode::Unauthorized, "words")));
    stranger.has_login = false;
    assert!(login(&stranger).words.contains("none is configured"));
}

#[test]
fn a_camera_that_lets_strangers_in_is_a_warning() {
    let mut open = look(Ok(info()));
    open.has_login = false;
    assert_eq!(login(&open).status, Grade::Warn);
}

#[test]
fn clocks_of_cameras() {
    assert_eq!(clock(-3).status, Grade::Pass);
    let wrong = clock(-86_400 * 400);
    assert!(wrong.status == Grade::Warn && wrong.words.contains("400 days behind"));
}

#[test]
fn streams_that_are_not_there() {
    for code in [
        ErrorCode::Unauthorized,
        ErrorCode::NotFound,
        ErrorCode::Unavailable,
        ErrorCode::NodeBusy,
        ErrorCode::InternalError,
    ] {
        let mut camera = look(Ok(info()));
        camera.stream = Some(StreamLook {
            found: Err(Fault::new(code, "words")),
            ..described([66, 0, 30], false)
        });
        let check = of(&super::camera(&camera), "camera.stream");
        assert!(check.status == Grade::Fail && check.advice.is_some());
    }
}
