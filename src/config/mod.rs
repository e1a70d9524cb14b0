//! File and environment → one validated [`Config`]. Knows no layer.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::util::secret::Secret;

/// With the cloud, or alone (contract 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// RCS and Ably.
    Cloud,
    /// Local REST only.
    Standalone,
}

/// The effective configuration: file, environment and defaults, validated. Key names and defaults
/// are the spec's and the contract's; `etc/lss.yaml` explains each.
#[derive(Debug, Clone)]
pub struct Config {
    /// `mode`
    pub mode: Mode,
    /// `server`
    pub server: Server,
    /// `ably`
    pub ably: Ably,
    /// `rcs`
    pub rcs: Rcs,
    /// `lss.node`
    pub node: Node,
    /// `lss.ffmpeg`
    pub ffmpeg: Ffmpeg,
    /// `ptz`
    pub ptz: Ptz,
    /// `camera`
    pub camera: Camera,
    /// `snapshot`
    pub snapshot: Snapshot,
    /// `log`
    pub log: Log,
}

/// The local REST API.
#[derive(Debug, Clone)]
pub struct Server {
    /// `listen`; `None` = every address when a token is set, loopback when none is.
    pub listen: Option<IpAddr>,
    /// `port`
    pub port: u16,
    /// `api_token`, or what `api_token_file` holds, or `LSS_API_TOKEN`.
    pub api_token: Option<Secret>,
    /// `allowed_hosts`
    pub allowed_hosts: Vec<String>,
}

/// The cloud's command line.
#[derive(Debug, Clone)]
pub struct Ably {
    /// `api_key`
    pub api_key: Option<Secret>,
    /// `client_id`; equals the node id.
    pub client_id: String,
    /// `heartbeat_interval`
    pub heartbeat_interval: Duration,
    /// `endpoint`: a routing name or a host.
    pub endpoint: String,
    /// `port`
    pub port: u16,
    /// `tls`
    pub tls: bool,
    /// `fallback_hosts`; `None` = derived from the endpoint.
    pub fallback_hosts: Option<Vec<String>>,
    /// `connectivity_check_url`
    pub connectivity_check_url: String,
    /// `auth_url`
    pub auth_url: Option<Secret>,
    /// `auth_headers`
    pub auth_headers: Vec<(String, Secret)>,
    /// `ca_file`
    pub ca_file: Option<PathBuf>,
}

/// The cloud service's HTTP side.
#[derive(Debug, Clone)]
pub struct Rcs {
    /// `base_url` without a trailing slash; `None` only in standalone mode.
    pub base_url: Option<String>,
    /// `connect_timeout`
    pub connect_timeout: Duration,
    /// `read_timeout`
    pub read_timeout: Duration,
    /// `heartbeat_interval`
    pub heartbeat_interval: Duration,
    /// `token`
    pub token: Option<Secret>,
    /// `callback_queue`
    pub callback_queue: usize,
    /// `ca_file`
    pub ca_file: Option<PathBuf>,
}

/// Who we are.
#[derive(Debug, Clone)]
pub struct Node {
    /// `name`
    pub name: String,
    /// `machine_id`; the host name in standalone mode if none is given.
    pub machine_id: String,
    /// `max_tasks`
    pub max_tasks: usize,
    /// `ip`; `None` = detect.
    pub ip: Option<IpAddr>,
    /// `public_ip_url`; `None` = off.
    pub public_ip_url: Option<String>,
}

impl Node {
    /// `lss-{machineId}`
    pub fn node_id(&self) -> String {
        format!("lss-{}", self.machine_id)
    }
}

/// Whether unchanged video is preferred (contract 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passthrough {
    /// As asked.
    Never,
    /// Unchanged when nothing in particular is asked and the source fits.
    Auto,
    /// Unchanged whenever WHIP can carry the source.
    Prefer,
}

/// Which engine carries tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineChoice {
    /// By task.
    Auto,
    /// Always FFmpeg.
    Ffmpeg,
    /// Always the relay.
    Relay,
}

/// Streams.
#[derive(Debug, Clone)]
pub struct Ffmpeg {
    /// `path`
    pub path: PathBuf,
    /// `stop_timeout`
    pub stop_timeout: Duration,
    /// `start_confirm`
    pub start_confirm: Duration,
    /// `start_timeout`
    pub start_timeout: Duration,
    /// `stall_timeout`
    pub stall_timeout: Duration,
    /// `max_retries`; -1 = for ever.
    pub max_retries: i64,
    /// `passthrough`
    pub passthrough: Passthrough,
    /// `engine`
    pub engine: EngineChoice,
    /// `whip_hosts`
    pub whip_hosts: Vec<String>,
    /// `file_root`; `None` = FILE sources refused.
    pub file_root: Option<PathBuf>,
}

/// Camera movement.
#[derive(Debug, Clone)]
pub struct Ptz {
    /// `max_move`
    pub max_move: Duration,
    /// `command_ttl`
    pub command_ttl: Duration,
}

/// Cameras.
#[derive(Debug, Clone)]
pub struct Camera {
    /// `scan_enabled`
    pub scan_enabled: bool,
    /// `scan_subnet`: CIDRs, or `auto` alone.
    pub scan_subnet: Vec<String>,
    /// `scan_timeout`
    pub scan_timeout: Duration,
    /// `rescan_interval`
    pub rescan_interval: Duration,
    /// `allow_loopback`
    pub allow_loopback: bool,
    /// `credentials`
    pub credentials: Vec<CameraCredential>,
}

/// One entry of `camera.credentials`.
#[derive(Debug, Clone)]
pub struct CameraCredential {
    /// `match`: an address, CIDR, host name or camera id.
    pub matches: String,
    /// `username`
    pub username: String,
    /// `password`, or what `password_file` holds.
    pub password: Secret,
    /// `vendor`
    pub vendor: Option<String>,
}

/// Snapshots.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// `timeout`
    pub timeout: Duration,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// key=value
    Text,
    /// One JSON object a line.
    Json,
}

/// Logs.
#[derive(Debug, Clone)]
pub struct Log {
    /// `format`
    pub format: LogFormat,
    /// `LSS_LOG`: `error`, `warn`, `info` (default), `debug`, `trace`.
    pub level: log::LevelFilter,
}
