//! One camera: who it is, what it can, how it is asked, how it fails. Knows no XML and no HTTP.
//!
//! The spec's `CameraDeviceAdapter` is two traits here: [`CameraGateway`] opens a device, and
//! [`CameraDevice`] is one client of one camera, owned by one thread at a time.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use super::camera_trust::{CameraTrust, KeptCertificate};
use super::error::{ErrorCode, Fault};
use super::gateway::LoginEnd;
use super::ptz::{Drive, Velocity};
use crate::util::secret::Secret;

pub mod fit;
mod info;

pub use info::{
    AudioCapabilities, CameraCapabilities, CameraDeviceInfo, ProtocolSupport, PtzCapabilities,
    StreamSettings, VideoCapabilities,
};

/// A way to speak with cameras. Which ways there are is what a [`CameraGateway`] offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Protocol(&'static str);

impl Protocol {
    /// SOAP, every vendor.
    pub const ONVIF: Self = Self("ONVIF");
    /// Hikvision's own.
    pub const ISAPI: Self = Self("ISAPI");

    /// One by its name on the wire, in capitals.
    pub const fn named(name: &'static str) -> Self {
        Self(name)
    }

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        self.0
    }
}

/// A protocol that a [`CameraGateway`] speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProtocolOffer {
    /// Which.
    pub protocol: Protocol,
    /// The vendors whose own it is, as [`vendor names`](super::vendor) in capitals; none = it is
    /// everybody's.
    pub vendors: &'static [&'static str],
}

/// What cameras of a vendor are taken to speak: the vendor's own protocol, else what everybody
/// speaks. `None` where nothing of that kind is on offer: then the camera is asked.
pub fn protocol_of_vendor(offers: &[ProtocolOffer], vendor: &str) -> Option<Protocol> {
    let own = |offer: &&ProtocolOffer| offer.vendors.contains(&vendor);
    let common = |offer: &&ProtocolOffer| offer.vendors.is_empty();
    let offer = offers.iter().find(own).or(offers.iter().find(common))?;
    Some(offer.protocol)
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a camera's HTTP answers. The address is resolved and judged before it gets here.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CameraAddress {
    /// What is connected to.
    pub ip: IpAddr,
    /// HTTP port.
    pub port: u16,
}

impl CameraAddress {
    /// An address with its port.
    pub fn new(ip: IpAddr, port: u16) -> Self {
        Self { ip, port }
    }

    /// For connecting.
    pub fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.port)
    }
}

impl fmt::Display for CameraAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket().fmt(f)
    }
}

/// User and password of a camera. Its debug text shows neither.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    username: String,
    password: Secret,
}

impl Credentials {
    /// Most bytes of a user name or a password.
    pub const MAX_LEN: usize = 256;

    /// What no header could carry is refused (20003), and an empty user name (20002); a password
    /// may be empty. The fault shows neither.
    pub fn new(username: impl Into<String>, password: Secret) -> Result<Self, Fault> {
        let username = username.into();
        for (field, text) in [
            ("username", username.as_str()),
            ("password", password.expose()),
        ] {
            if text.len() > Self::MAX_LEN || text.chars().any(char::is_control) {
                return Err(Fault::new(
                    ErrorCode::ParamInvalid,
                    format!(
                        "{field} must be at most {} bytes without control characters",
                        Self::MAX_LEN
                    ),
                ));
            }
        }
        if username.is_empty() {
            return Err(Fault::new(ErrorCode::ParamMissing, "username is empty"));
        }
        Ok(Self { username, password })
    }

    /// In clear: user names are no secrets.
    pub fn username(&self) -> &str {
        &self.username
    }

    /// The password.
    pub fn password(&self) -> &Secret {
        &self.password
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(***)")
    }
}

/// Everything that is needed to speak with one channel of one camera.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CameraTarget {
    /// Where.
    pub address: CameraAddress,
    /// `None` = as a stranger.
    pub credentials: Option<Credentials>,
    /// Video channel, from 1; above 1 only on recorders and cameras with several lenses.
    pub channel: u16,
    /// What somebody has said of how to speak with it.
    pub manner: Manner,
}

/// How a camera is to be spoken with where the usual does not do. Said by people, not found out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manner {
    /// The ONVIF profile, where several views of one video source move.
    pub profile: Option<String>,
    /// Where its ONVIF device service is.
    pub onvif_path: Option<String>,
    /// The login may be sent by HTTP Basic, which hands the password over.
    pub allow_basic: bool,
}

impl Manner {
    /// Where the ONVIF device service usually is.
    pub const ONVIF_PATH: &str = "/onvif/device_service";
}

/// The answer to "are you there".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// Credentials were given and the camera took them.
    pub authenticated: bool,
}

/// How to make a drive stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StopWay {
    /// The protocol's own stop.
    Stop,
    /// A movement of velocity zero, for cameras that refuse or ignore the other.
    ZeroVelocity,
}

impl StopWay {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Stop => Self::ZeroVelocity,
            Self::ZeroVelocity => Self::Stop,
        }
    }
}

/// What the camera said to a movement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MoveAccepted {
    /// The camera ends this movement by itself after that long. One that is to last longer has to
    /// be sent again before. `None` = it runs until a stop, as far as is known.
    pub ends_after: Option<Duration>,
}

/// Where a camera says it looks, in its own units: good for comparing two of the same camera.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Position {
    /// Left and right.
    pub pan: f64,
    /// Down and up.
    pub tilt: f64,
    /// Out and in.
    pub zoom: f64,
}

/// What a camera says of its motion.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Motion {
    /// Whether it moves; `None` where it does not say.
    pub moving: Option<bool>,
    /// Where it looks; `None` where it does not say.
    pub position: Option<Position>,
}

/// A stored position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresetInfo {
    /// The camera's id: a number on ISAPI, a token on ONVIF.
    pub id: String,
    /// `None` where the camera gives none.
    pub name: Option<String>,
    /// `false` for an empty slot.
    pub enabled: bool,
    /// Not a position but a function (wiper, remote reboot, …): never set or deleted, gone to
    /// only by force.
    pub function: bool,
}

/// The numbers that Hikvision gives to functions rather than positions where the camera does not
/// list them itself. 94 restarts the camera.
pub fn is_function_preset(number: u32) -> bool {
    matches!(number, 33..=48 | 90 | 92..=105)
}

/// What kind of picture is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SnapshotWish {
    /// Ask the camera for about this size, where it can be asked: width and height.
    pub size: Option<(u32, u32)>,
}

/// A login that the camera did not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginRefusal {
    /// Whether credentials were sent at all. Only then does it count against them.
    pub tried: bool,
    /// The account is locked for that long, says the camera.
    pub unlock_after: Option<Duration>,
    /// Tries left until it locks, says the camera.
    pub tries_left: Option<u32>,
    /// In words.
    pub words: String,
}

/// Why a camera did not do what was asked. The words carry no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CameraError {
    /// No connection; nothing was sent.
    Unreachable(String),
    /// The request has left, and no whole answer came: it may have been carried out.
    NoAnswer(String),
    /// The login was refused or is missing.
    LoginRefused(LoginRefusal),
    /// It shows a certificate that is not the one it has to be; nothing was sent.
    Certificate(String),
    /// Logged in, but the account may not.
    Forbidden(String),
    /// This camera can't.
    NotSupported(String),
    /// It can't now: too many clients, or somebody with priority.
    Busy(String),
    /// No such preset or tour.
    NotFound(String),
    /// It said no, in these words.
    Device(String),
    /// What it said is no answer: garbage, over the limits, not what was asked for.
    BadAnswer(String),
}

impl CameraError {
    /// Whether the camera may have done it all the same: then it is treated as moving.
    pub fn may_have_acted(&self) -> bool {
        matches!(
            self,
            Self::NoAnswer(_) | Self::Device(_) | Self::BadAnswer(_)
        )
    }

    /// The contract's code (section 12).
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Unreachable(_) | Self::NoAnswer(_) => ErrorCode::Unavailable,
            Self::LoginRefused(_) => ErrorCode::Unauthorized,
            Self::Forbidden(_) | Self::Certificate(_) => ErrorCode::AccessDenied,
            Self::NotSupported(_) => ErrorCode::ValidationFailed,
            Self::Busy(_) => ErrorCode::NodeBusy,
            Self::NotFound(_) => ErrorCode::NotFound,
            Self::Device(_) | Self::BadAnswer(_) => ErrorCode::InternalError,
        }
    }

    /// With the code, for those who asked.
    pub fn fault(&self) -> Fault {
        Fault::new(self.code(), self.to_string())
    }
}

impl fmt::Display for CameraError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(words) => write!(f, "camera not reachable: {words}"),
            Self::NoAnswer(words) => write!(f, "no answer from the camera: {words}"),
            Self::LoginRefused(refusal) => {
                write!(f, "camera refused the login: {}", refusal.words)?;
                if let Some(left) = refusal.tries_left {
                    write!(f, "; tries left: {left}")?;
                }
                if let Some(after) = refusal.unlock_after {
                    write!(f, "; locked for {} s", after.as_secs())?;
                }
                Ok(())
            }
            Self::Certificate(words) => write!(f, "camera certificate refused: {words}"),
            Self::Forbidden(words) => write!(f, "the camera account may not do this: {words}"),
            Self::NotSupported(words) => write!(f, "this camera can't: {words}"),
            Self::Busy(words) => write!(f, "camera busy: {words}"),
            Self::NotFound(words) => f.write_str(words),
            Self::Device(words) => write!(f, "camera error: {words}"),
            Self::BadAnswer(words) => write!(f, "camera answer not understood: {words}"),
        }
    }
}

impl std::error::Error for CameraError {}

/// One client of one camera, used by one thread at a time. Every call ends by its deadline.
///
/// Each client has a connection and a login state of its own; what is learnt of the camera
/// (paths, profile, clock, what it refuses) is shared by all that one gateway has opened.
pub trait CameraDevice: Send {
    /// What it speaks.
    fn protocol(&self) -> Protocol;

    /// Drops the connection; the next call opens a new one.
    fn hang_up(&mut self);

    /// Whether the camera answers, and takes the credentials.
    fn check(&mut self, deadline: Instant) -> Result<Checked, CameraError>;

    /// Everything that the camera tells about itself.
    fn probe(&mut self, deadline: Instant) -> Result<CameraDeviceInfo, CameraError>;

    /// Moves one drive at a speed until told otherwise. All axes of the drive are set, those at
    /// zero stop. `limit` = the longest this may go on without another word: set in the camera
    /// where the camera has such a limit (rounded up to what it takes), so that even the movement
    /// of a killed daemon ends. Where a camera has steps only (the ONVIF iris): one step.
    fn move_at(
        &mut self,
        drive: Drive,
        velocity: Velocity,
        limit: Duration,
        deadline: Instant,
    ) -> Result<MoveAccepted, CameraError>;

    /// Hands the focus back to the camera.
    fn focus_auto(&mut self, deadline: Instant) -> Result<(), CameraError>;

    /// One try to make one drive stand still. An error also where the camera has accepted the
    /// stop and says that it still moves.
    fn stop(&mut self, drive: Drive, way: StopWay, deadline: Instant) -> Result<(), CameraError>;

    /// What the camera says of its motion.
    fn motion(&mut self, deadline: Instant) -> Result<Motion, CameraError>;

    /// All presets, functions included.
    fn presets(&mut self, deadline: Instant) -> Result<Vec<PresetInfo>, CameraError>;

    /// Goes to a preset: an id, on ONVIF also a name. A function preset only with `force`.
    fn goto_preset(
        &mut self,
        preset: &str,
        force: bool,
        deadline: Instant,
    ) -> Result<(), CameraError>;

    /// Stores where the camera looks; the answer is the preset's id. An unknown `preset` is
    /// created (ONVIF answers with a token of its own), and so is one without id where the
    /// camera gives ids itself.
    fn set_preset(
        &mut self,
        preset: Option<&str>,
        name: Option<&str>,
        deadline: Instant,
    ) -> Result<String, CameraError>;

    /// Forgets a preset.
    fn delete_preset(&mut self, preset: &str, deadline: Instant) -> Result<(), CameraError>;

    /// Begins a tour that is stored in the camera.
    fn start_patrol(&mut self, patrol: &str, deadline: Instant) -> Result<(), CameraError>;

    /// Ends a tour that is stored in the camera.
    fn stop_patrol(&mut self, patrol: &str, deadline: Instant) -> Result<(), CameraError>;

    /// One picture, as the camera gives it: it begins like a JPEG, and no more is checked here.
    fn snapshot(&mut self, wish: SnapshotWish, deadline: Instant) -> Result<Vec<u8>, CameraError>;

    /// Where the camera's stream is, without credentials, if it tells.
    fn stream_uri(&mut self, deadline: Instant) -> Result<Option<String>, CameraError>;

    /// How the main stream is set, as far as the camera tells.
    fn stream_settings(&mut self, _deadline: Instant) -> Result<StreamSettings, CameraError> {
        Ok(StreamSettings::default())
    }

    /// Its encoders; `None` where they can't be set by what it speaks.
    fn encoders(&mut self) -> Option<&mut dyn fit::EncoderDevice> {
        None
    }
}

/// Opens devices (the way in for application code).
pub trait CameraGateway: Send + Sync {
    /// The protocols that it speaks, the one to be preferred first: a camera of which nothing is
    /// known is asked for each in this order.
    fn protocols(&self) -> &[ProtocolOffer];

    /// A client of a camera. Opens no connection yet. Clients of one target share what was
    /// learnt of it. An error where the protocol is none of those on offer.
    fn open(
        &self,
        target: &CameraTarget,
        protocol: Protocol,
    ) -> Result<Box<dyn CameraDevice>, CameraError>;

    /// Whether a camera speaks a protocol, asked without credentials.
    fn speaks(
        &self,
        address: &CameraAddress,
        protocol: Protocol,
        deadline: Instant,
    ) -> Result<bool, CameraError>;

    /// What the certificates of an address are judged by.
    fn trust(&self, _ip: IpAddr) -> CameraTrust {
        CameraTrust::default()
    }

    /// Forgets the certificates of an address, so that the next ones are the first; what that was.
    fn forget_certificates(&self, _ip: IpAddr) -> Vec<KeptCertificate> {
        Vec::new()
    }
}

/// Resolves host names.
pub trait NameLookup: Send + Sync {
    /// The addresses of a host name, none of them judged yet.
    fn lookup(&self, host: &str, deadline: Instant) -> Result<Vec<IpAddr>, CameraError>;
}

/// What a picture has to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureLimit {
    /// Most bytes of the JPEG.
    pub max_bytes: usize,
    /// Most pixels across.
    pub max_width: Option<u32>,
}

/// A picture that fits.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    /// The JPEG.
    pub jpeg: Vec<u8>,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// When the camera gave it.
    pub captured_at: SystemTime,
}

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Picture({}x{})", self.width, self.height)
    }
}

/// A stream that a frame is taken from.
#[derive(Debug, Clone)]
pub struct FrameSource {
    /// Of the camera, judged. Nobody else is connected to, whatever host the URL names.
    pub ip: IpAddr,
    /// As the camera tells it; a login in it is not used.
    pub url: Secret,
    /// For where the camera wants one.
    pub login: Option<Credentials>,
}

/// Makes pictures that fit, and takes them from streams.
pub trait SnapshotMaker: Send + Sync {
    /// Scales a camera's picture down, then gives up quality, until it fits. Never enlarges.
    fn fit(&self, jpeg: Vec<u8>, limit: PictureLimit) -> Result<(Vec<u8>, u32, u32), CameraError>;

    /// One frame of an RTSP stream as a JPEG, and what the camera thought of the login, which the
    /// guard has let pass.
    fn frame(
        &self,
        source: &FrameSource,
        deadline: Instant,
    ) -> (LoginEnd, Result<Vec<u8>, CameraError>);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_with_every_special_character_but_control() {
        for odd in ["p@ss:w/ö\"rd\\&<%é中", "p@ss:w/ö&<\"'>%#? x"] {
            let login = Credentials::new("ad:m\"in é\\", Secret::new(odd)).unwrap();
            assert_eq!(login.password().expose(), odd);
            assert_eq!(format!("{login:?}"), "Credentials(***)");
        }
        let code = |user: &str, password: &str| {
            Credentials::new(user, Secret::new(password))
                .unwrap_err()
                .code
        };
        for (user, password) in [
            ("a\r\nX: y", "p"),
            ("a", "p\n"),
            ("a", "x\0"),
            ("a", "x\u{7f}"),
            (&"u".repeat(257), "p"),
            ("a", &"p".repeat(257)),
        ] {
            assert_eq!(code(user, password), ErrorCode::ParamInvalid, "{user:?}");
        }
        assert_eq!(code("", "p"), ErrorCode::ParamMissing);
    }

    #[test]
    fn codes_of_the_contract() {
        let words = String::new;
        let refusal = LoginRefusal {
            tried: true,
            unlock_after: Some(Duration::from_secs(1_700)),
            tries_left: Some(0),
            words: "wrong password".to_owned(),
        };
        let cases = [
            (CameraError::Unreachable(words()), 50003, false),
            (CameraError::NoAnswer(words()), 50003, true),
            (CameraError::LoginRefused(refusal), 10001, false),
            (CameraError::Forbidden(words()), 10002, false),
            (CameraError::Certificate(words()), 10002, false),
            (CameraError::NotSupported(words()), 20005, false),
            (CameraError::Busy(words()), 30302, false),
            (CameraError::NotFound(words()), 20004, false),
            (CameraError::Device(words()), 50001, true),
            (CameraError::BadAnswer(words()), 50001, true),
        ];
        for (error, code, acted) in cases {
            assert_eq!(error.fault().code.number(), code, "{error}");
            assert_eq!(error.may_have_acted(), acted, "{error}");
        }
    }
}
