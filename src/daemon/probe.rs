//! `lss probe`: one camera asked for everything it tells of itself, without a daemon.

use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use serde_json::Value;

use super::known_trust::KnownTrust;
pub(super) use super::terminal::{err, out};
use crate::adapter::camera_wire;
use crate::application::camera::{
    Book, CameraAsk, CameraParams, CameraParts, CameraService, Host, LanePolicy, Order, Origin,
    Query, QueryData, Sent, Vendor,
};
use crate::domain::camera::{CameraDeviceInfo, Credentials};
use crate::domain::gateway::CameraObserver;
use crate::domain::patrol::PatrolEvent;
use crate::domain::ptz::PtzEvent;
use crate::infrastructure::camera_names::CameraNames;
use crate::infrastructure::child::launch::Launcher;
use crate::infrastructure::http::doors::Doors;
use crate::infrastructure::pictures::Pictures;
use crate::infrastructure::rtsp::RtspClient;
use crate::util::secret::Secret;

/// The variable that holds the password; never an argument, which every user of the machine sees.
pub const PASSWORD_VARIABLE: &str = "LSS_CAMERA_PASSWORD";
/// The camera's own time limits end before this.
const PATIENCE: Duration = Duration::from_secs(30);

/// What to probe.
#[derive(Debug, PartialEq, Eq)]
pub struct ProbeRequest {
    /// `IP[:PORT]`, a host name too.
    pub address: String,
    /// Without one the camera is asked as a stranger.
    pub user: Option<String>,
    /// Whose make it is: HIKVISION and HIK speak ISAPI, others ONVIF. Without one it is found out.
    pub vendor: Option<String>,
    /// For programs.
    pub json: bool,
}

/// Probes, prints, and tells how it went: 0 it answered, 1 it did not, 2 bad arguments.
pub fn run(request: &ProbeRequest) -> ExitCode {
    let said = match said(request) {
        Ok(said) => said,
        Err(why) => {
            err(&why);
            return ExitCode::from(2);
        }
    };
    match probe(said) {
        Ok(info) if request.json => {
            let name = info.address.ip.to_string();
            out(&format!("{:#}", camera_wire::device_info(&name, &info)));
            ExitCode::SUCCESS
        }
        Ok(info) => {
            let name = info.address.ip.to_string();
            print(&camera_wire::device_info(&name, &info), 0);
            ExitCode::SUCCESS
        }
        Err(why) => {
            err(&why);
            ExitCode::FAILURE
        }
    }
}

fn said(request: &ProbeRequest) -> Result<CameraParams, String> {
    Ok(CameraParams {
        vendor: request.vendor.as_deref().and_then(Vendor::parse),
        ..said_of(&request.address, request.user.as_ref())?
    })
}

/// A camera as it was named on the command line, its password from where passwords come from.
pub(super) fn said_of(address: &str, user: Option<&String>) -> Result<CameraParams, String> {
    let (host, port) = split(address)?;
    let host = Host::parse("the address", &host).map_err(|fault| fault.message)?;
    let login = match user {
        None => None,
        Some(user) => {
            let password = password().map_err(|e| format!("the password can't be read: {e}"))?;
            Some(Credentials::new(user.clone(), password).map_err(|fault| fault.message)?)
        }
    };
    Ok(CameraParams {
        host: Some(host),
        port,
        login,
        ..CameraParams::default()
    })
}

/// `192.168.0.64`, `192.168.0.64:8000`, `[fd00::5]:80`, `fd00::5`, `camera.lan:80`.
pub(super) fn split(address: &str) -> Result<(String, Option<u16>), String> {
    let whole = |text: &str| Ok((text.to_owned(), None));
    if let Some(rest) = address.strip_prefix('[') {
        return match rest.split_once(']') {
            Some((host, "")) => whole(host),
            Some((host, port)) => with_port(host, port.strip_prefix(':').unwrap_or("")),
            None => Err("the address has a [ and no ]".to_owned()),
        };
    }
    match address.split_once(':') {
        Some((host, port)) if !port.contains(':') => with_port(host, port),
        _ => whole(address),
    }
}

fn with_port(host: &str, port: &str) -> Result<(String, Option<u16>), String> {
    match port.parse() {
        Ok(port @ 1..) => Ok((host.to_owned(), Some(port))),
        _ => Err("the port must be from 1 to 65535".to_owned()),
    }
}

/// From the environment, else from stdin: typed unseen where that is a terminal.
fn password() -> std::io::Result<Secret> {
    if let Ok(password) = std::env::var(PASSWORD_VARIABLE) {
        return Ok(Secret::new(password));
    }
    let stdin = std::io::stdin();
    let shown = stdin.is_terminal().then(|| tcgetattr(&stdin)).transpose()?;
    if let Some(shown) = &shown {
        let _ = write!(std::io::stderr(), "password: ");
        let mut hidden = shown.clone();
        hidden.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(&stdin, SetArg::TCSAFLUSH, &hidden)?;
    }
    let mut line = String::new();
    let read = stdin.lock().read_line(&mut line);
    if let Some(shown) = &shown {
        tcsetattr(&stdin, SetArg::TCSAFLUSH, shown)?;
        let _ = writeln!(std::io::stderr());
    }
    read?;
    Ok(Secret::new(line.trim_end_matches(['\r', '\n'])))
}

/// Nobody is told of anything.
pub(super) struct Nobody;

impl CameraObserver for Nobody {
    fn ptz_event(&self, _: &PtzEvent, _: SystemTime) {}
    fn patrol_event(&self, _: &PatrolEvent, _: SystemTime) {}
    fn moves_for_cloud(&self, _: bool) {}
}

/// Cameras without a daemon, without a login but what is given, behind `doors`. Whoever types an
/// address means it: a tunnel on this machine too.
pub(super) fn cameras(doors: &Doors) -> CameraService {
    CameraService::new(CameraParts {
        gateway: Arc::new(super::cameras::gateway(doors.clone())),
        rtsp: Arc::new(RtspClient::new(doors.clone())),
        names: Arc::new(CameraNames::default()),
        pictures: Arc::new(Pictures::new(
            "ffmpeg".into(),
            Launcher::of_no_node(),
            doors.clone(),
        )),
        observer: Arc::new(Nobody),
        book: Arc::new(Book::new(Vec::new(), true, Box::new(Vec::new))),
        policy: LanePolicy::default(),
    })
}

fn probe(said: CameraParams) -> Result<CameraDeviceInfo, String> {
    let trust = KnownTrust::read();
    let result = ask(&cameras(&trust.doors), said);
    trust.tell();
    result
}

fn ask(cameras: &CameraService, said: CameraParams) -> Result<CameraDeviceInfo, String> {
    let ask = CameraAsk {
        camera_id: None,
        said,
    };
    let order = Order::Query(Query::DeviceInfo);
    let done = cameras
        .submit(&ask, Origin::Internal, Sent::now(), order)
        .map_err(|fault| fault.to_string())?;
    let reply = done
        .recv_timeout(PATIENCE)
        .map_err(|_| "the camera did not answer in time".to_owned())?;
    match reply.result {
        Ok(success) => match success.data {
            Some(QueryData::Info(info)) => Ok(*info),
            _ => Err("the camera told nothing".to_owned()),
        },
        Err(fault) => Err(fault.to_string()),
    }
}

/// One line a field; what the camera did not say is a dash.
fn print(value: &Value, depth: usize) {
    let Value::Object(map) = value else {
        return;
    };
    for (name, field) in map {
        let indent = "  ".repeat(depth);
        let label = format!("{indent}{name}:");
        match field {
            Value::Object(_) => {
                out(&label);
                print(field, depth + 1);
            }
            Value::Null => out(&format!("{label:<24} -")),
            Value::Bool(yes) => out(&format!("{label:<24} {}", if *yes { "yes" } else { "no" })),
            Value::Array(items) => {
                let items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
                out(&format!("{label:<24} {}", items.join(", ")));
            }
            Value::String(text) => out(&format!("{label:<24} {text}")),
            other => out(&format!("{label:<24} {other}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, host, port) in [
            ("192.168.0.64", "192.168.0.64", None),
            ("192.168.0.64:8000", "192.168.0.64", Some(8000)),
            ("[fd00::5]:80", "fd00::5", Some(80)),
            ("[fd00::5]", "fd00::5", None),
            ("fd00::5", "fd00::5", None),
            ("camera.lan:81", "camera.lan", Some(81)),
        ] {
            assert_eq!(split(text), Ok((host.to_owned(), port)), "{text}");
        }
        for bad in ["1.2.3.4:", "1.2.3.4:0", "1.2.3.4:70000", "[::1", "[::1]x"] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }
}
