//! Streams by TLS.

use std::time::Duration;

use lss::domain::camera::Credentials;
use lss::domain::camera_trust::CertificateRule;
use lss::domain::discovery::RtspGateway as _;
use lss::infrastructure::http::doors::Doors;
use lss::infrastructure::rtsp::RtspClient;
use lss::util::secret::Secret;

use crate::support::digest_server::GateRules;
use crate::support::rtsp_server::{RtspServer, Rules};
use crate::support::tls_camera::{BOTH, Kind, Shown, TlsCamera};

const LONG: Duration = Duration::from_secs(10);

#[test]
fn a_stream_by_tls_is_described_to_whom_its_certificate_is_known() {
    let rules = GateRules::default();
    let login = Credentials::new(rules.user.clone(), Secret::new(&rules.password)).unwrap();
    let camera = RtspServer::start(Rules {
        gate: Some(rules),
        ..Rules::default()
    });
    let front = TlsCamera::usual(camera.addr);
    let doors = Doors::new(CertificateRule::Pin);
    let client = RtspClient::new(doors.clone());
    let url = Secret::url(format!("rtsps://{}/main", front.addr));
    let described = || client.describe(front.addr, &url, Some(&login), LONG);
    assert!(!described().unwrap().tracks.is_empty());
    assert_eq!(doors.tls().kept()[0].at, front.addr);
    assert!(front.secured().contains("DESCRIBE rtsps://"));

    front.show(Shown::new(Kind::Version1, BOTH));
    let before = front.secured();
    let fault = described().unwrap_err();
    assert_eq!(fault.code.number(), 10002);
    assert!(fault.message.contains("certificate"), "{fault}");
    assert_eq!(front.secured(), before, "something was sent");
    doors.forget(front.addr.ip());
    assert!(described().is_ok());
}

#[test]
fn what_speaks_no_tls_is_said_to_speak_none() {
    let camera = RtspServer::start(Rules::default());
    let url = Secret::url(format!("rtsps://{}/main", camera.addr));
    let client = RtspClient::default();
    let fault = client.describe(camera.addr, &url, None, LONG).unwrap_err();
    assert!(fault.message.contains("TLS"), "{fault}");
}
