//! What a sweep of the network saw, and the gateways that look (contract 9; the spec's
//! `CameraScannerGateway`). Values only: what becomes of a find is the application's to say.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::camera::Credentials;
use super::error::Fault;
use super::gateway::LoginEnd;
use crate::util::secret::Secret;

/// The TCP ports that a sweep tries on every address (contract 9).
pub const PORTS: [u16; 8] = [554, 80, 8000, 8080, 8554, 8899, 2020, 37777];

/// Addresses to try, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressRange {
    /// The lowest.
    pub first: Ipv4Addr,
    /// The highest.
    pub last: Ipv4Addr,
}

/// One sweep, judged and bounded before it gets here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepOrder {
    /// What is connected to; empty = WS-Discovery alone.
    pub ranges: Vec<AddressRange>,
    /// Addresses in the ranges that are left out: our own, and a network's ends.
    pub except: Vec<Ipv4Addr>,
    /// Whether every interface is asked by WS-Discovery too.
    pub multicast: bool,
    /// The loopback addresses among the finds are kept.
    pub loopback: bool,
    /// The sweep ends then, whatever is missing.
    pub timeout: Duration,
}

/// How sure a vendor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Certainty {
    /// A port, a MAC address: said of many.
    Weak,
    /// A server's name, a realm, a page.
    Likely,
    /// The device's own word: its scopes, its vendor's own protocol.
    Said,
}

/// A vendor, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VendorGuess {
    /// `HIKVISION`, `DAHUA`, … in upper case.
    pub vendor: String,
    /// How sure.
    pub certainty: Certainty,
}

/// What one address was seen to be in one sweep, from what it says to strangers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Find {
    /// Where.
    pub ip: IpAddr,
    /// The id that the device gives itself in WS-Discovery; cloned firmware shares one.
    pub endpoint: Option<String>,
    /// `aa:bb:cc:dd:ee:ff`, from the kernel's neighbour table or the scopes.
    pub mac: Option<String>,
    /// The port that speaks RTSP.
    pub rtsp_port: Option<u16>,
    /// The port that speaks HTTP as a camera does (ONVIF's or ISAPI's before any other).
    pub http_port: Option<u16>,
    /// The device service of ONVIF: its port and path. None = did not answer ONVIF.
    pub onvif: Option<(u16, String)>,
    /// Speaks ISAPI.
    pub isapi: bool,
    /// As sure as can be without a login; `None` = no sign.
    pub vendor: Option<VendorGuess>,
    /// The model, where the device says it unasked.
    pub model: Option<String>,
    /// The name that somebody gave it.
    pub name: Option<String>,
}

/// What a sweep did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SweepReport {
    /// Cameras only, one entry an address, lowest address first.
    pub finds: Vec<Find>,
    /// Addresses tried.
    pub addresses: u32,
    /// Connections tried.
    pub connects: u32,
    /// From its start to its end.
    pub took: Duration,
    /// It was cancelled or ran into its time-out: what was not seen may be there.
    pub cut_short: bool,
    /// Ports that were open and no camera's, as `ip:port: what it was`, at most 64; for a person
    /// who misses a camera.
    pub others: Vec<String>,
    /// What went wrong on the way (an interface that can't multicast, no more descriptors), in
    /// words; at most 16.
    pub warnings: Vec<String>,
}

/// Looks for cameras. Never sends a login, never speaks to an address that was not ordered or did
/// not answer a probe.
pub trait CameraScannerGateway: Send {
    /// One sweep on the calling thread. Ends by the order's time-out, or at once when cancelled.
    fn sweep(&mut self, order: &SweepOrder) -> SweepReport;
    /// Ends the sweep under way and every later one; from any thread.
    fn canceller(&self) -> Arc<dyn Fn() + Send + Sync>;
}

/// One kind of media in a stream, as its description (SDP) tells.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TrackInfo {
    /// `video`, `audio`, `application`, …
    pub media: String,
    /// `H264`, `H265`, `PCMA`, `MPEG4-GENERIC`, … in upper case; `None` where nothing is said.
    pub codec: Option<String>,
    /// Clock rate, Hz.
    pub clock_rate: Option<u32>,
    /// Audio channels.
    pub channels: Option<u8>,
    /// H.264 profile_idc and constraint flags, level_idc, as in `profile-level-id`.
    pub h264_profile: Option<[u8; 3]>,
    /// Width and height by the SPS.
    pub size: Option<(u32, u32)>,
    /// By the SPS's timing.
    pub fps: Option<f64>,
    /// The SPS allows frames to be reordered (B-frames); `None` where it does not say.
    pub reorders: Option<bool>,
}

/// What a stream's DESCRIBE answered.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StreamDescription {
    /// `Server`, where it names itself.
    pub server: Option<String>,
    /// In their order.
    pub tracks: Vec<TrackInfo>,
}

/// What a stream itself shows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sight {
    /// `H264`, `H265`, …
    pub codec: Option<String>,
    /// profile_idc, constraint flags, level_idc.
    pub profile: Option<[u8; 3]>,
    /// Pictures are sent in another order than shown.
    pub b_frames: Option<bool>,
    /// Width and height as shown.
    pub size: Option<(u32, u32)>,
    /// Frames a second.
    pub fps: Option<f64>,
    /// The longest distance between two keyframes that was seen.
    pub keyframe_seconds: Option<f64>,
    /// The sound's codec as its description spells it.
    pub audio: Option<String>,
}

/// Asks cameras over RTSP. One connection a call.
pub trait RtspGateway: Send + Sync {
    /// Whether something at that address speaks RTSP: OPTIONS, without a login. An `Err` says what
    /// was there instead, or that nothing was (50003).
    fn speaks(&self, at: SocketAddr, timeout: Duration) -> Result<(), Fault>;
    /// DESCRIBE of a URL without user info, sent to `at` whatever host the URL names. The login is
    /// sent only where the server asks for one, and once: 10001 when it is refused, 20004 where the
    /// path is unknown, 50003 where nobody answers, 10002 where the account may not, 30302 where the
    /// camera has no room, 20005 for what is no `rtsp://` URL, 50001 for all else.
    fn describe(
        &self,
        at: SocketAddr,
        url: &Secret,
        login: Option<&Credentials>,
        timeout: Duration,
    ) -> Result<StreamDescription, Fault>;
    /// Plays the stream until its encoder can be judged, or `until`; `on_play` is called once it
    /// plays. Faults as of `describe`. What came of the login, whatever came of the rest.
    fn look(
        &self,
        at: SocketAddr,
        url: &Secret,
        login: Option<&Credentials>,
        until: Instant,
        on_play: &mut dyn FnMut(),
    ) -> (LoginEnd, Result<Sight, Fault>);
}
