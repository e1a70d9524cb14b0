//! File and environment → one validated [`Config`]. Knows no layer.
//!
//! [`load()`] reads the file that the command line, the environment or the default names; [`parse`]
//! is its pure part. Both report every fault at once, each with file, line and key, and none with
//! a value in it. The same call serves a reload: it changes nothing outside itself.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::util::secret::Secret;

mod assemble;
mod change;
pub mod effective;
mod fault;
mod load;
mod reader;
mod suggest;
mod tree;
mod value;

pub use change::{Change, Takes, changes};
pub use fault::{ConfigFault, Place};
pub use load::{DEFAULT_PATH, load, process_env};
pub use suggest::closest;

/// What [`load()`] needs to know. Kept in [`Loaded`], so that a reload asks the same question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadRequest {
    /// `--config`; this file must exist. `None` = `LSS_CONFIG`, which must exist too, else
    /// [`DEFAULT_PATH`] if there is one.
    pub path: Option<PathBuf>,
    /// `--standalone`; wins over `mode`.
    pub standalone: bool,
    /// What an unknown key is.
    pub unknown_keys: UnknownKeys,
}

/// What an unknown key is: `run` must start with a newer version's file, `check-config` is asked
/// to find slips.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownKeys {
    /// A fault.
    Fault,
    /// A warning.
    Warn,
}

/// A configuration that may be used, and how it came about.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// To be logged; none keeps lss from running.
    pub warnings: Vec<ConfigFault>,
    /// The file that was read; `None` = there is none.
    pub path: Option<PathBuf>,
    /// The environment variables that had a say.
    pub env_used: Vec<&'static str>,
    /// What was asked for.
    pub request: LoadRequest,
}

/// Asks for an environment variable.
pub type EnvReader<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads a token, password or certificate file, at most so many bytes, or says what is wrong with
/// it in words that go behind "names a file that".
pub type FileReader<'a> = &'a dyn Fn(&Path, usize) -> Result<FileText, String>;

/// A file's content. No `Debug`: it may be a password.
#[derive(Clone)]
pub struct FileText {
    /// As it is.
    pub bytes: Vec<u8>,
    /// Whether its mode lets every user of the machine read it.
    pub world_readable: bool,
}

/// The configuration file. No `Debug`: it holds secrets.
#[derive(Clone, Copy)]
pub struct ConfigFile<'a> {
    /// As faults shall name it; relative paths in it count from its directory.
    pub name: &'a str,
    /// Its content.
    pub bytes: &'a [u8],
    /// Whether its mode lets every user of the machine read it.
    pub world_readable: bool,
}

/// Everything that [`parse`] looks at.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// The file, if there is one.
    pub file: Option<ConfigFile<'a>>,
    /// The environment, which wins over the file.
    pub env: EnvReader<'a>,
    /// Files that the file names.
    pub files: FileReader<'a>,
    /// The machine id of a standalone node that is given none.
    pub host_name: &'a str,
    /// As in [`LoadRequest`].
    pub standalone: bool,
    /// As in [`LoadRequest`].
    pub unknown_keys: UnknownKeys,
}

impl<'a> Input<'a> {
    /// A file alone: no environment, no other files, unknown keys are faults.
    pub fn new(name: &'a str, bytes: &'a [u8]) -> Self {
        Self {
            file: Some(ConfigFile {
                name,
                bytes,
                world_readable: false,
            }),
            env: &|_| None,
            files: &|_, _| Err("can't be read here".to_owned()),
            host_name: "localhost",
            standalone: false,
            unknown_keys: UnknownKeys::Fault,
        }
    }
}

/// What [`parse`] gives.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// The configuration.
    pub config: Config,
    /// To be logged.
    pub warnings: Vec<ConfigFault>,
    /// The environment variables that had a say.
    pub env_used: Vec<&'static str>,
}

/// Reads and validates. Touches nothing but its arguments.
///
/// # Errors
/// Every fault, in the order of the file's lines; then those of the environment and of the whole.
pub fn parse(input: &Input<'_>) -> Result<Parsed, Vec<ConfigFault>> {
    let read = match &input.file {
        Some(file) => tree::parse(file.name, file.bytes),
        None => tree::Parsed {
            root: Some(Vec::new()),
            faults: Vec::new(),
        },
    };
    let mut faults = read.faults;
    let readable = read.root.is_some();
    let entries = read.root.unwrap_or_default();
    let mut reader = reader::Reader::new(input);
    let config = assemble_from(&mut reader, &entries, input);
    reader.finish();
    // What an unreadable file does not say is no fault; what the environment says may be one.
    let told = |fault: &ConfigFault| readable || matches!(fault.place, Place::Env(_));
    faults.extend(reader.faults.into_iter().filter(told));
    faults.sort_by_key(ConfigFault::order);
    if readable && faults.is_empty() {
        Ok(Parsed {
            config,
            warnings: reader.warnings,
            env_used: reader.env_used,
        })
    } else {
        Err(faults)
    }
}

fn assemble_from<'a>(
    reader: &mut reader::Reader<'a>,
    entries: &'a [tree::Entry],
    input: &Input<'_>,
) -> Config {
    let root = reader.root(entries);
    let facts = assemble::Facts {
        standalone: input.standalone,
        host_name: input.host_name,
    };
    assemble::assemble(reader, &root, &facts)
}

/// Every key there is, dotted, sections too: for documents and the tests that keep them complete.
pub fn known_keys() -> Vec<String> {
    let mut input = Input::new("", b"");
    input.standalone = true;
    let mut reader = reader::Reader::new(&input);
    let _ = assemble_from(&mut reader, &[], &input);
    reader
        .known
        .into_iter()
        .filter(|key| !matches!(key.as_str(), "lss.rcs" | "lss.camera"))
        .collect()
}

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
    /// `connectivity_check_url`; empty = no such check.
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
    /// `state_dir`, else the service manager's; `None` = nothing outlives a restart.
    pub state_dir: Option<PathBuf>,
}

impl Node {
    /// `lss-{machineId}`
    pub fn node_id(&self) -> String {
        format!("lss-{}", self.machine_id)
    }
}

/// Whether unchanged video is preferred (contract 4). All but `Never` wait for a relay.
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
    /// `whip_timeout`
    pub whip_timeout: Duration,
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
    /// `tls`
    pub tls: CertificateCheck,
    /// `credentials`
    pub credentials: Vec<CameraCredential>,
}

/// `camera.tls`: what an HTTPS camera's certificate has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateCheck {
    /// The one that was seen first.
    Pin,
    /// Good by this machine's authorities.
    Verify,
    /// Any.
    Any,
}

/// One entry of `camera.credentials`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CameraCredential {
    /// `match`: an address, CIDR, host name or camera id.
    pub matches: String,
    /// `username`
    pub username: String,
    /// `password`, or what `password_file` holds.
    pub password: Secret,
    /// `vendor`
    pub vendor: Option<String>,
    /// `allow_basic`
    pub allow_basic: bool,
    /// `onvif_path`
    pub onvif_path: Option<String>,
    /// `profile`
    pub profile: Option<String>,
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
    /// `level`, or `LSS_LOG`: `error`, `warn`, `info` (default), `debug`, `trace`, `off`. In the
    /// file too, because a reload can't change the environment.
    pub level: log::LevelFilter,
}
