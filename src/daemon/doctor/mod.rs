//! `lss doctor`: looks at the machine, the way out, the peers and the cameras, side by side, and
//! prints what the application makes of it. Registers nothing, moves nothing, changes nothing.

mod cameras;
mod here;
mod jobs;
mod way_out;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::probe;
use super::startup::needs_no_ffmpeg;
use crate::adapter;
use crate::application::doctor::{self, Check, Report};
use crate::config::{self, Config, ConfigFault, LoadRequest, Loaded, Mode};
use jobs::{Findings, Job};

/// The whole run ends by then, whatever hangs.
const WHOLE: Duration = Duration::from_secs(20);
/// One step of one look ends by then.
const STEP: Duration = Duration::from_secs(4);
/// Asked where nothing else is said: the WHIP receiver's own company runs it, for everybody.
const USUAL_STUN: (&str, u16) = ("stun.cloudflare.com", 3478);
/// Where STUN listens (RFC 8489, 4).
const STUN_PORT: u16 = 3478;

/// Which STUN server is asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Stun {
    /// Cloudflare's; none in standalone mode.
    #[default]
    Usual,
    /// None.
    Off,
    /// This one.
    At(String, u16),
}

impl Stun {
    /// `off`, or `HOST[:PORT]`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let (host, port) = probe::split(text).map_err(|why| format!("--stun: {why}"))?;
        if host.is_empty() {
            return Err("--stun needs HOST:PORT, or off".to_owned());
        }
        Ok(Self::At(host, port.unwrap_or(STUN_PORT)))
    }

    fn server(&self, standalone: bool) -> Option<(String, u16)> {
        match self {
            Self::At(host, port) => Some((host.clone(), *port)),
            Self::Usual if !standalone => Some((USUAL_STUN.0.to_owned(), USUAL_STUN.1)),
            Self::Usual | Self::Off => None,
        }
    }
}

/// A camera to look at beside the configured ones, or at another port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CameraAt {
    /// Address or name.
    pub host: String,
    /// Of HTTP.
    pub port: Option<u16>,
}

impl CameraAt {
    /// `HOST[:PORT]`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (host, port) = probe::split(text).map_err(|why| format!("--camera: {why}"))?;
        if host.is_empty() {
            return Err("--camera needs HOST[:PORT]".to_owned());
        }
        Ok(Self { host, port })
    }
}

/// What to look at.
#[derive(Debug, PartialEq, Eq)]
pub struct DoctorRequest {
    /// The configuration.
    pub load: LoadRequest,
    /// For programs.
    pub json: bool,
    /// Who is asked by UDP.
    pub stun: Stun,
    /// Beside those of `camera.credentials`.
    pub cameras: Vec<CameraAt>,
}

/// Looks, prints, and tells how it went: 0 nothing failed, 1 something did, 2 the configuration
/// can't be used.
pub fn run(request: &DoctorRequest) -> ExitCode {
    let deadline = Instant::now() + WHOLE;
    let loaded = config::load(&request.load, &config::process_env);
    let (mut checks, jobs, readable) = match &loaded {
        Ok(loaded) => {
            let (checks, jobs) = with_configuration(request, loaded);
            (checks, jobs, true)
        }
        Err(faults) => {
            let checks = faults.iter().map(fault).collect();
            (checks, without_configuration(request), false)
        }
    };
    checks.extend(jobs::run(jobs, deadline));
    let report = Report { checks };
    print(&report, request.json);
    match (readable, report.is_good()) {
        (false, _) => ExitCode::from(2),
        (true, true) => ExitCode::SUCCESS,
        (true, false) => ExitCode::FAILURE,
    }
}

fn print(report: &Report, json: bool) {
    let text = if json {
        format!("{:#}\n", adapter::doctor::json(report))
    } else {
        adapter::doctor::text(report)
    };
    // A reader that has gone away (`| head`) is no failure.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn fault(fault: &ConfigFault) -> Check {
    Check::fail(
        "config",
        fault.to_string(),
        "mend it; `lss check-config` shows what is in effect then",
    )
}

fn configuration(loaded: &Loaded) -> Vec<Check> {
    let mode = match loaded.config.mode {
        Mode::Cloud => "cloud",
        Mode::Standalone => "standalone",
    };
    let file = match &loaded.path {
        Some(path) => path.display().to_string(),
        None => "no file, defaults and environment alone".to_owned(),
    };
    let good = Check::pass("config", format!("{file}; {mode} mode"));
    let warnings = loaded.warnings.iter().map(|warning| {
        Check::warn(
            "config",
            warning.to_string(),
            "mend that line of the configuration",
        )
    });
    std::iter::once(good).chain(warnings).collect()
}

fn with_configuration(request: &DoctorRequest, loaded: &Loaded) -> (Vec<Check>, Vec<Job>) {
    let config = Arc::new(loaded.config.clone());
    let mut checks = configuration(loaded);
    // Whether a daemon runs decides what else is to be looked at; it answers at once or hangs.
    let (node, known) = here::node(&config);
    checks.extend(node);
    let mut jobs = machine(config.ffmpeg.path.clone(), needs_no_ffmpeg(&config));
    jobs.push(jobs::clock());
    if config.mode == Mode::Cloud {
        jobs.extend(way_out::cloud(&config));
    }
    jobs.extend(way_out::whip_hosts(&config));
    jobs.push(udp(request, config.mode == Mode::Standalone));
    jobs.extend(cameras::jobs(&config, &request.cameras, known));
    (checks, jobs)
}

fn without_configuration(request: &DoctorRequest) -> Vec<Job> {
    let path = config::process_env("FFMPEG_PATH").filter(|path| !path.trim().is_empty());
    let path = path.unwrap_or_else(|| "ffmpeg".to_owned());
    let mut jobs = machine(path.into(), false);
    jobs.push(udp(request, request.load.standalone));
    jobs
}

fn machine(ffmpeg: std::path::PathBuf, spared: bool) -> Vec<Job> {
    vec![
        Job::new("the machine", || Findings::of(here::machine())),
        Job::new("FFmpeg", move || {
            Findings::of(here::ffmpeg(&ffmpeg, spared))
        }),
    ]
}

fn udp(request: &DoctorRequest, standalone: bool) -> Job {
    let server = request.stun.server(standalone);
    Job::new("UDP", move || {
        let Some((host, port)) = server else {
            return Findings::of(vec![doctor::udp(None, None)]);
        };
        let look = crate::infrastructure::stun::look(&host, port, STEP);
        let shown = format!("{host}:{port}");
        Findings::of(vec![doctor::udp(Some(&shown), Some(&look))])
    })
}

/// The node's own configuration, shared by the jobs.
type Shared = Arc<Config>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stun_servers() {
        let at = |host: &str, port| Ok(Stun::At(host.to_owned(), port));
        assert_eq!(Stun::parse("off"), Ok(Stun::Off));
        assert_eq!(Stun::parse("127.0.0.1:99"), at("127.0.0.1", 99));
        assert_eq!(Stun::parse("stun.test"), at("stun.test", 3478));
        assert!(Stun::parse("").is_err() && Stun::parse("a:0").is_err());
        assert_eq!(Stun::Usual.server(true), None, "standalone asks nobody");
        assert_eq!(
            Stun::Usual.server(false),
            Some(("stun.cloudflare.com".to_owned(), 3478))
        );
        assert_eq!(Stun::Off.server(false), None);
    }
}
