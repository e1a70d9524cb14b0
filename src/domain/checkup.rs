//! What a look at the site has seen: the machine, the way out, the peers, the cameras. Values for
//! `lss doctor`; what they mean is the application's to say. No text in here carries a secret.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::camera::{CameraDeviceInfo, StreamSettings};
use super::discovery::StreamDescription;
use super::error::Fault;

/// How a connection did not come about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoConnection {
    /// The other side is there and has nothing on that port.
    Refused,
    /// Nothing came back.
    Silent,
    /// This machine knows no way there.
    NoRoute,
    /// Anything else, in the system's words.
    Other(String),
}

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Common name of its owner, else the organisation.
    pub subject: String,
    /// Common name of who signed it, else the organisation.
    pub issuer: String,
    /// Not valid before.
    pub from: Option<SystemTime>,
    /// Not valid after.
    pub until: Option<SystemTime>,
}

/// What became of TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsVerdict {
    /// As it should be.
    Good,
    /// Signed by somebody whom this machine does not trust.
    Stranger,
    /// Not valid at this machine's time.
    NotNow,
    /// For another name.
    OtherName,
    /// Refused for another reason.
    Refused(String),
    /// What answers does not speak TLS.
    NoTls(String),
    /// Nothing came back, or the connection was cut.
    Silent(String),
    /// Not tried, for a reason on our side.
    Untried(String),
}

/// A TLS server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsLook {
    /// Judged as every client of lss judges.
    pub verdict: TlsVerdict,
    /// What it showed.
    pub certificate: Option<CertificateFacts>,
}

/// The way to one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostLook {
    /// As configured.
    pub host: String,
    pub port: u16,
    /// Its addresses, or why there are none.
    pub names: Result<Vec<IpAddr>, String>,
    /// The first address that took a connection; `None` = not tried.
    pub tcp: Option<Result<SocketAddr, NoConnection>>,
    /// `None` = plain, or not reached.
    pub tls: Option<TlsLook>,
    /// The `Date` that it answered, less our own clock at that moment, in seconds.
    pub clock: Option<i64>,
}

/// What RCS answered to a harmless question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RcsLook {
    /// It answered, and did not refuse the login.
    Answers {
        /// HTTP status.
        status: u16,
    },
    /// 401 or 403.
    RefusesLogin(String),
    /// Something else answers in its place.
    Foreign(String),
    /// It answered that it is in trouble.
    Trouble(String),
    /// It did not answer.
    Unreachable(String),
}

/// What became of a connection to Ably.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AblyLook {
    /// CONNECTED, and closed again.
    Connected {
        host: String,
        /// Until CONNECTED.
        took: Duration,
        /// The host that should have answered and did not, and why.
        missed: Option<(String, String)>,
    },
    /// It said no.
    Refused {
        /// Ably's code.
        code: u32,
        /// Ably's words.
        words: String,
    },
    /// The source of tokens gives none.
    NoToken(String),
    /// Something answers that is no websocket of Ably.
    Foreign(String),
    /// Not reached.
    Unreachable(String),
}

/// What came back by UDP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UdpLook {
    /// An answer.
    Answered {
        /// Our own address and port.
        ours: SocketAddr,
        /// As the server saw us.
        seen: SocketAddr,
        /// How long it took.
        took: Duration,
    },
    /// Nothing came back.
    Silent,
    /// The server's name has no address.
    NoName(String),
    /// This machine could not even send, or was told that nobody is there.
    Failed(String),
}

/// What FFmpeg said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "independent abilities")]
pub struct FfmpegFacts {
    /// As it prints it.
    pub version: String,
    /// Has the whip muxer.
    pub whip: bool,
    /// Checks the WHIP server's certificate (9.0).
    pub verifies_certificates: bool,
    /// Notices a WHIP server that has gone (8.1).
    pub notices_lost_peer: bool,
    /// H.264 encoders that lss can drive.
    pub h264: Vec<String>,
    /// Has an Opus encoder.
    pub opus: bool,
}

/// The configured FFmpeg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FfmpegLook {
    /// As configured.
    pub path: PathBuf,
    /// What it said, or why it said nothing.
    pub found: Result<FfmpegFacts, String>,
    /// What goes out as the camera sends it needs none.
    pub spared: bool,
}

/// Whether the kernel's clock is held by a time service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClockDiscipline {
    /// By some.
    Held,
    /// By none.
    Free,
    /// The system does not say.
    Unknown(String),
}

/// What the machine has.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MachineLook {
    /// Kernel name and release.
    pub os: String,
    /// Processors.
    pub cores: usize,
    /// Processes that want to run, over the last minute.
    pub load: Option<f64>,
    /// Bytes.
    pub memory: u64,
    /// Bytes.
    pub memory_free: u64,
    /// Bytes left on the file system of `/`.
    pub disk_free: Option<u64>,
    /// The hard limit of open files.
    pub open_files: Option<u64>,
    /// Interface, address, prefix length.
    pub addresses: Vec<(String, IpAddr, u8)>,
}

/// Whether a daemon of this node runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeLook {
    /// None.
    Absent,
    /// One does, and this is what its REST API says of it.
    Runs(Result<RunningNode, String>),
}

/// A running daemon by its own word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningNode {
    /// UP, DEGRADED or DOWN.
    pub status: String,
    /// Parts that are not up: name and reason.
    pub troubles: Vec<(String, String)>,
}

/// The REST API's port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortLook {
    /// Nobody has it.
    Free,
    /// A daemon of this node has it.
    Ours,
    /// Another program has it.
    Taken,
    /// It can't be had for another reason.
    Unusable(String),
}

/// A camera's stream, or why there is no description of it.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamLook {
    /// Port and path, without a login.
    pub place: String,
    /// The camera told the place itself; else it is the vendor's usual one.
    pub told: bool,
    /// What DESCRIBE answered.
    pub found: Result<StreamDescription, Fault>,
}

/// One camera.
#[derive(Debug, Clone, PartialEq)]
pub struct CameraLook {
    /// Address and port of HTTP.
    pub name: String,
    /// A login is configured for it.
    pub has_login: bool,
    /// What it told of itself, or why not.
    pub info: Result<Box<CameraDeviceInfo>, Fault>,
    /// Its clock, less our own, in seconds.
    pub clock: Option<i64>,
    /// How its stream is set.
    pub settings: Option<StreamSettings>,
    /// Its stream; `None` = not asked, because its login was refused or it did not answer.
    pub stream: Option<StreamLook>,
}
