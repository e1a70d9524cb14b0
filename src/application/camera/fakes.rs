//! A camera for unit tests: it takes everything, and tells what it was asked.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Sender, unbounded};

use super::{Book, CameraAsk, CameraParams, CameraParts, CameraService, Host, LanePolicy};
use crate::domain::camera::fit::{
    ChangeError, EncoderBackup, EncoderChange, EncoderDevice, EncoderStream, StreamName,
};
use crate::domain::camera::{
    CameraAddress, CameraDevice, CameraDeviceInfo, CameraError, CameraGateway, CameraTarget,
    Checked, Credentials, FrameSource, LoginRefusal, Motion, MoveAccepted, NameLookup,
    PictureLimit, PresetInfo, Protocol, ProtocolOffer, ProtocolSupport, SnapshotMaker,
    SnapshotWish, StopWay,
};
use crate::domain::discovery::{RtspGateway, Sight, StreamDescription};
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::gateway::{CameraObserver, LoginEnd};
use crate::domain::patrol::PatrolEvent;
use crate::domain::ptz::{Drive, PtzEvent, Velocity};
use crate::util::secret::Secret;

/// What the fake cameras were asked, one line each.
pub(crate) type Asked = Arc<Mutex<Vec<String>>>;

/// The password that fake cameras take; any other is refused.
pub(crate) const PASSWORD: &str = "fake-camera-password";

/// Speaking to this camera meets a bug of ours, the first time; telling of it always does.
pub(crate) const BUGGY: [u8; 4] = [192, 168, 7, 66];

/// Events as they were told.
#[derive(Debug)]
#[allow(dead_code)] // Its text is what tests look at.
pub(crate) enum Told {
    Ptz(PtzEvent),
    Patrol(PatrolEvent),
}

/// Cameras, and what they were asked.
pub(crate) fn cameras() -> (CameraService, Asked, crossbeam_channel::Receiver<Told>) {
    let address = IpAddr::from([192, 168, 0, 9]);
    cameras_named(Arc::new(FakeNames(Mutex::new(Ok(vec![address])))))
}

/// The same, with a name service.
pub(crate) fn cameras_named(
    names: Arc<FakeNames>,
) -> (CameraService, Asked, crossbeam_channel::Receiver<Told>) {
    cameras_by(FakeGateway::default(), names)
}

/// The same, spoken to by other protocols.
pub(crate) fn cameras_speaking(
    offers: &'static [ProtocolOffer],
    spoken: &'static [Protocol],
) -> (CameraService, Asked) {
    let gateway = FakeGateway {
        offers,
        spoken,
        ..FakeGateway::default()
    };
    let nobody = FakeNames(Mutex::new(Ok(Vec::new())));
    let (cameras, asked, _) = cameras_by(gateway, Arc::new(nobody));
    (cameras, asked)
}

fn cameras_by(
    gateway: FakeGateway,
    names: Arc<FakeNames>,
) -> (CameraService, Asked, crossbeam_channel::Receiver<Told>) {
    let asked = gateway.asked.clone();
    let (told, events) = unbounded();
    let parts = CameraParts {
        gateway: Arc::new(gateway),
        rtsp: Arc::new(FakeRtsp(asked.clone())),
        names,
        pictures: Arc::new(FakePictures),
        observer: Arc::new(FakeObserver(told)),
        book: Arc::new(Book::new(Vec::new(), false, Box::new(Vec::new))),
        policy: LanePolicy::default(),
    };
    (CameraService::new(parts), asked, events)
}

/// The camera at an address has taken this login, as somebody who commands it has found.
pub(crate) fn give_login(cameras: &CameraService, ip: &str) {
    let login = Credentials::new("admin", Secret::new(PASSWORD)).unwrap();
    give_this_login(cameras, ip, &login);
}

/// Somebody has sent a login for the camera at an address; it is asked a question with it.
pub(crate) fn give_this_login(cameras: &CameraService, ip: &str, login: &Credentials) {
    let ask = CameraAsk {
        camera_id: None,
        said: CameraParams {
            host: Some(Host::parse("ip", ip).unwrap()),
            login: Some(login.clone()),
            ..CameraParams::default()
        },
    };
    cameras.shared.book().place(&ask).unwrap();
}

/// Speaks RTSP; nobody looks what it was asked.
pub(crate) fn rtsp() -> Arc<dyn RtspGateway> {
    Arc::new(FakeRtsp(Asked::default()))
}

/// Fits pictures.
pub(crate) fn pictures() -> Arc<dyn SnapshotMaker> {
    Arc::new(FakePictures)
}

/// As the real gateway offers them.
pub(crate) const PROTOCOLS: &[ProtocolOffer] = &[
    ProtocolOffer {
        protocol: Protocol::ISAPI,
        vendors: &["HIKVISION", "HIK"],
    },
    ProtocolOffer {
        protocol: Protocol::ONVIF,
        vendors: &[],
    },
];

struct FakeGateway {
    asked: Asked,
    offers: &'static [ProtocolOffer],
    /// What the cameras speak; to anything else they say that they can't.
    spoken: &'static [Protocol],
}

impl Default for FakeGateway {
    fn default() -> Self {
        Self {
            asked: Asked::default(),
            offers: PROTOCOLS,
            spoken: &[Protocol::ISAPI, Protocol::ONVIF],
        }
    }
}

impl CameraGateway for FakeGateway {
    fn protocols(&self) -> &[ProtocolOffer] {
        self.offers
    }

    fn open(
        &self,
        target: &CameraTarget,
        protocol: Protocol,
    ) -> Result<Box<dyn CameraDevice>, CameraError> {
        if target.address.ip == IpAddr::from(BUGGY) {
            let mut asked = self.asked.lock().unwrap();
            let first = !asked.iter().any(|line| line == "bug");
            asked.push("bug".to_owned());
            drop(asked);
            assert!(!first, "a bug of ours");
        }
        Ok(Box::new(FakeCamera {
            target: target.clone(),
            protocol,
            spoken: self.spoken.contains(&protocol),
            asked: self.asked.clone(),
        }))
    }

    fn speaks(
        &self,
        _: &CameraAddress,
        protocol: Protocol,
        _: Instant,
    ) -> Result<bool, CameraError> {
        if self.offers != PROTOCOLS {
            let line = format!("{protocol}?");
            self.asked.lock().unwrap().push(line);
        }
        Ok(self.spoken.contains(&protocol))
    }
}

/// Speaks RTSP everywhere but at port 555; its stream is `/live`, for whoever has the password.
struct FakeRtsp(Asked);

impl RtspGateway for FakeRtsp {
    fn speaks(&self, at: SocketAddr, _: Duration) -> Result<(), Fault> {
        self.0.lock().unwrap().push(format!("{at} speaks"));
        if at.port() == 555 {
            return Err(Fault::new(ErrorCode::Unavailable, "refused"));
        }
        Ok(())
    }

    fn describe(
        &self,
        at: SocketAddr,
        url: &Secret,
        login: Option<&Credentials>,
        _: Duration,
    ) -> Result<StreamDescription, Fault> {
        let who = login.map_or("stranger", |login| login.username());
        let line = format!("{at} describe {} by {who}", url.expose());
        self.0.lock().unwrap().push(line);
        let fails = |code| Err(Fault::new(code, "as the test asked"));
        match login {
            _ if !url.expose().ends_with("/live") => fails(ErrorCode::NotFound),
            Some(login) if login.password().expose() == PASSWORD => {
                Ok(StreamDescription::default())
            }
            _ => fails(ErrorCode::Unauthorized),
        }
    }

    fn look(
        &self,
        _: SocketAddr,
        _: &Secret,
        _: Option<&Credentials>,
        _: Instant,
        _: &mut dyn FnMut(),
    ) -> (LoginEnd, Result<Sight, Fault>) {
        let fault = Fault::new(ErrorCode::Unavailable, "nothing to see");
        (LoginEnd::Unknown, Err(fault))
    }
}

/// What every name leads to.
pub(crate) struct FakeNames(pub Mutex<Result<Vec<IpAddr>, CameraError>>);

impl NameLookup for FakeNames {
    fn lookup(&self, _: &str, _: Instant) -> Result<Vec<IpAddr>, CameraError> {
        self.0.lock().unwrap().clone()
    }
}

struct FakePictures;

impl SnapshotMaker for FakePictures {
    fn fit(&self, jpeg: Vec<u8>, limit: PictureLimit) -> Result<(Vec<u8>, u32, u32), CameraError> {
        let fitted = jpeg.into_iter().take(limit.max_bytes).collect();
        Ok((fitted, 640, 360))
    }

    fn frame(&self, _: &FrameSource, _: Instant) -> (LoginEnd, Result<Vec<u8>, CameraError>) {
        let error = CameraError::NotSupported("no stream".into());
        (LoginEnd::Unknown, Err(error))
    }
}

struct FakeObserver(Sender<Told>);

impl CameraObserver for FakeObserver {
    fn ptz_event(&self, event: &PtzEvent, _: SystemTime) {
        assert_ne!(event.camera.as_str(), "cam_66", "a bug of ours");
        let _ = self.0.send(Told::Ptz(event.clone()));
    }

    fn patrol_event(&self, event: &PatrolEvent, _: SystemTime) {
        let _ = self.0.send(Told::Patrol(event.clone()));
    }

    fn moves_for_cloud(&self, _: bool) {}
}

struct FakeCamera {
    target: CameraTarget,
    protocol: Protocol,
    spoken: bool,
    asked: Asked,
}

impl FakeCamera {
    fn note(&self, what: &str) -> Result<(), CameraError> {
        if let Some(login) = &self.target.credentials
            && login.password().expose() != PASSWORD
        {
            self.asked.lock().unwrap().push("login refused".into());
            return Err(CameraError::LoginRefused(LoginRefusal {
                tried: true,
                unlock_after: None,
                tries_left: None,
                words: "wrong password".into(),
            }));
        }
        if !self.spoken {
            let words = format!("no {} here", self.protocol);
            return Err(CameraError::NotSupported(words));
        }
        assert_ne!(self.target.address.port, 666, "as the test asked");
        if matches!(self.target.address.ip, IpAddr::V4(ip) if ip.octets()[2] == 8) {
            return Err(CameraError::Unreachable("nobody is there".to_owned()));
        }
        let line = format!("{} {what}", self.target.address);
        self.asked.lock().unwrap().push(line);
        Ok(())
    }
}

/// Has keyframes on demand, and settings that nobody can read.
impl EncoderDevice for FakeCamera {
    fn encoders(&mut self, _: Instant) -> Result<Vec<EncoderStream>, CameraError> {
        Err(unreadable())
    }
    fn backup(
        &mut self,
        _: StreamName,
        _: &EncoderChange,
        _: Instant,
    ) -> Result<EncoderBackup, CameraError> {
        Err(unreadable())
    }
    fn change(
        &mut self,
        _: &EncoderBackup,
        _: &EncoderChange,
        _: Instant,
    ) -> Result<(), ChangeError> {
        Err(unreadable().into())
    }
    fn restore(&mut self, _: &EncoderBackup, _: Instant) -> Result<(), CameraError> {
        Err(unreadable())
    }
    fn keyframe(&mut self, stream: StreamName, _: Instant) -> Result<bool, CameraError> {
        self.note(&format!("keyframe {}", stream.name()))?;
        Ok(true)
    }
}

fn unreadable() -> CameraError {
    CameraError::NotSupported("encoder settings".to_owned())
}

impl CameraDevice for FakeCamera {
    fn protocol(&self) -> Protocol {
        self.protocol
    }
    fn hang_up(&mut self) {}
    fn encoders(&mut self) -> Option<&mut dyn EncoderDevice> {
        Some(self)
    }
    fn check(&mut self, _: Instant) -> Result<Checked, CameraError> {
        self.note("check")?;
        Ok(Checked {
            authenticated: self.target.credentials.is_some(),
        })
    }
    fn probe(&mut self, _: Instant) -> Result<CameraDeviceInfo, CameraError> {
        self.note("probe")?;
        Ok(CameraDeviceInfo {
            address: self.target.address.clone(),
            manufacturer: Some("Fake".into()),
            model: None,
            serial_number: None,
            firmware_version: None,
            hardware_id: None,
            mac_address: None,
            device_name: None,
            probe_method: self.protocol,
            protocol_support: ProtocolSupport::default(),
            capabilities: None,
            probe_time: SystemTime::UNIX_EPOCH,
        })
    }
    fn move_at(
        &mut self,
        drive: Drive,
        v: Velocity,
        limit: Duration,
        _: Instant,
    ) -> Result<MoveAccepted, CameraError> {
        self.note(&format!(
            "{drive:?} {} {} {} {} {} for {} ms",
            v.pan,
            v.tilt,
            v.zoom,
            v.focus,
            v.iris,
            limit.as_millis()
        ))?;
        Ok(MoveAccepted::default())
    }
    fn focus_auto(&mut self, _: Instant) -> Result<(), CameraError> {
        self.note("auto focus")
    }
    fn stop(&mut self, drive: Drive, _: StopWay, _: Instant) -> Result<(), CameraError> {
        self.note(&format!("{drive:?} stop"))
    }
    fn motion(&mut self, _: Instant) -> Result<Motion, CameraError> {
        Ok(Motion::default())
    }
    fn presets(&mut self, _: Instant) -> Result<Vec<PresetInfo>, CameraError> {
        self.note("presets")?;
        Ok(vec![PresetInfo {
            id: "1".into(),
            name: None,
            enabled: true,
            function: false,
        }])
    }
    fn goto_preset(&mut self, preset: &str, force: bool, _: Instant) -> Result<(), CameraError> {
        self.note(&format!("goto {preset} {force}"))
    }
    fn set_preset(
        &mut self,
        preset: Option<&str>,
        name: Option<&str>,
        _: Instant,
    ) -> Result<String, CameraError> {
        self.note(&format!("set {preset:?} {name:?}"))?;
        Ok(preset.unwrap_or("new").to_owned())
    }
    fn delete_preset(&mut self, preset: &str, _: Instant) -> Result<(), CameraError> {
        self.note(&format!("delete {preset}"))
    }
    fn start_patrol(&mut self, patrol: &str, _: Instant) -> Result<(), CameraError> {
        self.note(&format!("start patrol {patrol}"))
    }
    fn stop_patrol(&mut self, patrol: &str, _: Instant) -> Result<(), CameraError> {
        self.note(&format!("stop patrol {patrol}"))
    }
    fn snapshot(&mut self, _: SnapshotWish, _: Instant) -> Result<Vec<u8>, CameraError> {
        self.note("snapshot")?;
        Ok(vec![0xFF; 100_000])
    }
    fn stream_uri(&mut self, _: Instant) -> Result<Option<String>, CameraError> {
        Ok(None)
    }
}
