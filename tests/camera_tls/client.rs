//! The clients of both protocols, by TLS.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lss::domain::camera::{
    CameraAddress, CameraDevice, CameraError, CameraGateway, CameraTarget, Credentials, Manner,
    Protocol, SnapshotWish, StopWay,
};
use lss::domain::camera_trust::CertificateRule;
use lss::domain::ptz::{Drive, Velocity};
use lss::infrastructure::camera_gateway::Cameras;
use lss::infrastructure::http::camera::CameraOptions;
use lss::infrastructure::http::doors::Doors;
use lss::util::secret::Secret;

use crate::support::digest_server::GateRules;
use crate::support::isapi_camera::{self, IsapiStandIn, Model};
use crate::support::onvif_camera::{self, OnvifModel};
use crate::support::tls_camera::{BOTH, Kind, Plain, Plainly, Redirect, Shown, TlsCamera};

const BOTH_PROTOCOLS: [Protocol; 2] = [Protocol::ISAPI, Protocol::ONVIF];

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

fn dome() -> IsapiStandIn {
    isapi_camera::start(GateRules::default(), Model::default())
}

/// The way to cameras, and what it knows of certificates.
fn cameras(rule: CertificateRule) -> (Cameras, Doors) {
    let doors = Doors::new(rule);
    let options = CameraOptions {
        doors: doors.clone(),
        ..CameraOptions::default()
    };
    (Cameras::new(options), doors)
}

fn open(cameras: &Cameras, at: SocketAddr, protocol: Protocol) -> Box<dyn CameraDevice> {
    let rules = GateRules::default();
    let login = Credentials::new(rules.user, Secret::new(rules.password)).unwrap();
    let target = CameraTarget {
        address: CameraAddress::new(at.ip(), at.port()),
        credentials: Some(login),
        channel: 1,
        manner: Manner::default(),
    };
    cameras.open(&target, protocol).unwrap()
}

/// Moves and stops.
fn moves(device: &mut dyn CameraDevice) -> Result<(), CameraError> {
    let left = Velocity {
        pan: -50,
        ..Velocity::default()
    };
    let limit = Duration::from_secs(5);
    device.move_at(Drive::PanTiltZoom, left, limit, soon())?;
    device.stop(Drive::PanTiltZoom, StopWay::Stop, soon())
}

fn certificate_words(error: &CameraError) -> &str {
    match error {
        CameraError::Certificate(words) => words,
        other => panic!("{other:?}"),
    }
}

/// No login in it, in either form, and no request that would carry one.
fn tells_no_login(said: &str) -> bool {
    let rules = GateRules::default();
    !said.contains("Authorization")
        && !said.contains("UsernameToken")
        && !said.contains(&rules.password)
}

#[test]
fn every_certificate_of_cameras_will_do_in_both_protocols_and_versions() {
    let versions = [
        &[&rustls::version::TLS13][..],
        &[&rustls::version::TLS12][..],
    ];
    for kind in [Kind::Usual, Kind::Expired, Kind::Version1] {
        for version in versions {
            for protocol in BOTH_PROTOCOLS {
                let (isapi, onvif) = (
                    dome(),
                    onvif_camera::start(GateRules::default(), OnvifModel::default()),
                );
                let behind = if protocol == Protocol::ISAPI {
                    isapi.addr
                } else {
                    onvif.addr
                };
                let shown = Shown::new(kind, version);
                let front = TlsCamera::start(behind, shown, Plainly::Close);
                let (cameras, doors) = cameras(CertificateRule::Pin);
                let address = CameraAddress::new(front.addr.ip(), front.addr.port());
                assert_eq!(cameras.speaks(&address, protocol, soon()), Ok(true));
                let mut device = open(&cameras, front.addr, protocol);
                moves(device.as_mut()).unwrap();
                let jpeg = device.snapshot(SnapshotWish::default(), soon()).unwrap();
                assert!(jpeg.starts_with(&[0xFF, 0xD8]), "{kind:?} {protocol:?}");
                let kept = doors.tls().kept();
                assert_eq!(kept.len(), 1);
                assert_eq!(kept[0].at, front.addr);
                assert!(tells_no_login(&front.plain()), "{}", front.plain());
            }
        }
    }
}

#[test]
fn tls_is_recognised_by_whatever_a_plain_request_gets() {
    for plainly in [Plainly::Alert, Plainly::Close, Plainly::Words] {
        let camera = dome();
        let front = TlsCamera::start(camera.addr, Shown::new(Kind::Usual, BOTH), plainly);
        let (cameras, _) = cameras(CertificateRule::Pin);
        moves(open(&cameras, front.addr, Protocol::ISAPI).as_mut())
            .unwrap_or_else(|why| panic!("{plainly:?}: {why}"));
        assert!(tells_no_login(&front.plain()), "{plainly:?}");
    }
}

#[test]
fn a_port_that_says_nothing_is_asked_by_tls_the_next_time() {
    let camera = dome();
    let shown = Shown::new(Kind::Usual, BOTH);
    let front = TlsCamera::start(camera.addr, shown, Plainly::Silence);
    let (cameras, _) = cameras(CertificateRule::Pin);
    let mut device = open(&cameras, front.addr, Protocol::ISAPI);
    let short = Instant::now() + Duration::from_millis(300);
    assert!(device.check(short).is_err());
    assert!(device.check(soon()).is_ok());
}

#[test]
fn a_redirect_to_https_on_the_same_host_is_followed_for_good() {
    for protocol in BOTH_PROTOCOLS {
        let (isapi, onvif) = (
            dome(),
            onvif_camera::start(GateRules::default(), OnvifModel::default()),
        );
        let behind = if protocol == Protocol::ISAPI {
            isapi.addr
        } else {
            onvif.addr
        };
        let front = TlsCamera::usual(behind);
        let door = Redirect::start(front.addr.ip(), front.addr.port());
        let (cameras, doors) = cameras(CertificateRule::Pin);
        moves(open(&cameras, door.addr, protocol).as_mut()).unwrap();
        let said = door.said();
        assert!(tells_no_login(&said), "{said}");
        assert_eq!(said.matches("HTTP/1.1").count(), 1, "{said}");
        assert_eq!(doors.tls().kept()[0].entrances, [door.addr.port()]);

        // A later run knows where it leads, and asks nobody on the way.
        let kept = doors.tls().kept();
        let (later, doors) = self::cameras(CertificateRule::Pin);
        doors.tls().take_back(kept);
        moves(open(&later, door.addr, protocol).as_mut()).unwrap();
        assert_eq!(door.said(), said);
    }
}

#[test]
fn a_redirect_to_another_host_is_not_followed() {
    let camera = dome();
    let front = TlsCamera::usual(camera.addr);
    let door = Redirect::start("127.0.0.9".parse().unwrap(), front.addr.port());
    let (cameras, _) = cameras(CertificateRule::Pin);
    let error = moves(open(&cameras, door.addr, Protocol::ISAPI).as_mut()).unwrap_err();
    assert!(error.to_string().contains("not followed"), "{error}");
    assert_eq!(front.handshakes(), 0);
}

#[test]
fn another_certificate_is_refused_before_anything_is_sent() {
    for protocol in BOTH_PROTOCOLS {
        let (isapi, onvif) = (
            dome(),
            onvif_camera::start(GateRules::default(), OnvifModel::default()),
        );
        let behind = if protocol == Protocol::ISAPI {
            isapi.addr
        } else {
            onvif.addr
        };
        let front = TlsCamera::usual(behind);
        let (cameras, doors) = cameras(CertificateRule::Pin);
        let mut device = open(&cameras, front.addr, protocol);
        moves(device.as_mut()).unwrap();
        front.show(Shown::new(Kind::Usual, BOTH));
        let before = front.secured();
        // A session of before is no way around it either: that would show the old certificate.
        let mut another = open(&cameras, front.addr, protocol);
        for _ in 0..3 {
            let error = moves(another.as_mut()).unwrap_err();
            assert_eq!(error.code().number(), 10002);
            assert!(certificate_words(&error).contains("certificate"), "{error}");
        }
        assert_eq!(front.secured(), before, "something was sent");
        // Forgotten on purpose, the new one is the first.
        assert_eq!(doors.forget(front.addr.ip()).len(), 1);
        moves(another.as_mut()).unwrap();
        assert_eq!(doors.tls().kept().len(), 1);
    }
}

#[test]
fn one_that_had_a_certificate_does_not_get_a_login_without() {
    let camera = dome();
    let front = TlsCamera::usual(camera.addr);
    let (cameras, doors) = cameras(CertificateRule::Pin);
    moves(open(&cameras, front.addr, Protocol::ISAPI).as_mut()).unwrap();
    // The same place speaks plainly now: what is kept was kept for a port of a plain camera.
    let mut kept = doors.tls().kept();
    kept[0].at = camera.addr;
    let (later, doors) = self::cameras(CertificateRule::Pin);
    doors.tls().take_back(kept.clone());
    let before = camera.log().len();
    // This one closes, which one that speaks TLS might do as well.
    let error = moves(open(&later, camera.addr, Protocol::ISAPI).as_mut()).unwrap_err();
    assert!(matches!(error, CameraError::Unreachable(_)), "{error}");
    assert!(error.to_string().contains("shown a certificate before"));
    assert_eq!(camera.log().len(), before);
    // Another says that it speaks plainly.
    let plain = Plain::start();
    kept[0].at = plain.addr;
    doors.tls().take_back(kept);
    let error = moves(open(&later, plain.addr, Protocol::ISAPI).as_mut()).unwrap_err();
    assert!(certificate_words(&error).contains("shown a certificate before"));
    assert!(certificate_words(&error).contains("DELETE"), "{error}");
    assert!(!plain.said().contains("HTTP"), "{}", plain.said());
    doors.forget(camera.addr.ip());
    moves(open(&later, camera.addr, Protocol::ISAPI).as_mut()).unwrap();
}

#[test]
fn a_handshake_that_breaks_off_is_a_connection_that_fails_and_no_stranger() {
    for protocol in BOTH_PROTOCOLS {
        let (isapi, onvif) = (
            dome(),
            onvif_camera::start(GateRules::default(), OnvifModel::default()),
        );
        let behind = if protocol == Protocol::ISAPI {
            isapi.addr
        } else {
            onvif.addr
        };
        let front = TlsCamera::usual(behind);
        let (cameras, _) = cameras(CertificateRule::Pin);
        let mut device = open(&cameras, front.addr, protocol);
        moves(device.as_mut()).unwrap();
        // Reset, an alert, closed.
        front.break_off(99);
        for _ in 0..3 {
            device.hang_up();
            let error = device
                .stop(Drive::PanTiltZoom, StopWay::Stop, soon())
                .unwrap_err();
            assert!(matches!(error, CameraError::Unreachable(_)), "{error}");
            assert!(!error.to_string().contains("DELETE"), "{error}");
        }
        front.break_off(0);
        device
            .stop(Drive::PanTiltZoom, StopWay::Stop, soon())
            .unwrap();
    }
}

#[test]
fn verify_wants_an_authority_and_any_wants_nothing() {
    let camera = dome();
    let front = TlsCamera::usual(camera.addr);
    let (verifying, doors) = cameras(CertificateRule::Verify);
    let error = moves(open(&verifying, front.addr, Protocol::ISAPI).as_mut()).unwrap_err();
    assert!(certificate_words(&error).contains("certificate"), "{error}");
    assert!(tells_no_login(&front.secured()));
    assert!(doors.tls().kept().is_empty());

    // Nor does it help to speak no TLS: not where there was a certificate, and not where HTTPS is usual.
    let had_one = Plain::start();
    let (pinning, doors) = cameras(CertificateRule::Pin);
    moves(open(&pinning, front.addr, Protocol::ISAPI).as_mut()).unwrap();
    let mut kept = doors.tls().kept();
    kept[0].at = had_one.addr;
    let (verifying, doors) = cameras(CertificateRule::Verify);
    doors.tls().take_back(kept);
    let usual = Plain::start_at("127.84.43.1:8443".parse().unwrap());
    for plain in [had_one, usual] {
        let error = moves(open(&verifying, plain.addr, Protocol::ISAPI).as_mut()).unwrap_err();
        assert!(certificate_words(&error).contains("no TLS"), "{error}");
        assert!(!plain.said().contains("HTTP"), "{}", plain.said());
    }

    let (any, doors) = cameras(CertificateRule::Any);
    for _ in 0..2 {
        moves(open(&any, front.addr, Protocol::ISAPI).as_mut()).unwrap();
        front.show(Shown::new(Kind::Expired, BOTH));
    }
    assert!(doors.tls().kept().is_empty());
}

#[test]
fn a_connection_is_kept_and_a_new_one_is_opened_for_a_dead_one() {
    let camera = dome();
    let front = TlsCamera::usual(camera.addr);
    let (cameras, _) = cameras(CertificateRule::Pin);
    let mut device = open(&cameras, front.addr, Protocol::ISAPI);
    moves(device.as_mut()).unwrap();
    let before = front.handshakes();
    for _ in 0..5 {
        moves(device.as_mut()).unwrap();
    }
    assert_eq!(front.handshakes(), before, "one connection for all of them");
    device.hang_up();
    moves(device.as_mut()).unwrap();
    assert_eq!(front.handshakes(), before + 1);
}

#[test]
fn an_old_tls_is_said() {
    // rustls speaks nothing older, so this one says what such a camera does.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        for _ in 0..2 {
            let (mut tcp, _) = listener.accept().unwrap();
            let _ = tcp.read(&mut [0; 4096]);
            // A fatal alert of TLS 1.0: protocol_version.
            let _ = tcp.write_all(&[0x15, 3, 1, 0, 2, 2, 70]);
        }
    });
    let (cameras, _) = cameras(CertificateRule::Pin);
    let error = moves(open(&cameras, at, Protocol::ISAPI).as_mut()).unwrap_err();
    assert!(error.to_string().contains("too old"), "{error}");
    thread.join().unwrap();
}
