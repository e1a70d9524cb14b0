//! The cameras: those with a login of their own in the configuration, those that a running daemon
//! knows, and those named on the command line. Every login is tried once: what a camera refuses
//! by one protocol is not tried by another.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::jobs::{Findings, Job};
use super::{CameraAt, STEP, Shared};
use crate::application::camera::{
    Book, CameraAsk, CameraFacts, CameraParams, CameraParts, CameraService, Host, LanePolicy,
    Order, Origin, Query, QueryData, Sent, Vendor,
};
use crate::application::doctor;
use crate::daemon::cameras::{self, book};
use crate::daemon::login_memory;
use crate::daemon::probe::Nobody;
use crate::domain::camera::{
    CameraDeviceInfo, CameraGateway as _, CameraTarget, Credentials, Protocol, StreamSettings,
};
use crate::domain::checkup::{CameraLook, StreamLook};
use crate::domain::discovery::RtspGateway as _;
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::vendor;
use crate::infrastructure::camera_gateway::Cameras;
use crate::infrastructure::camera_names::CameraNames;
use crate::infrastructure::child::launch::Launcher;
use crate::infrastructure::pictures::Pictures;
use crate::infrastructure::rtsp::RtspClient;
use crate::util::secret::Secret;
use crate::util::url;

/// What a camera may take to tell of itself.
const INFO: Duration = Duration::from_secs(8);
/// After which an answer is no longer waited for.
const INFO_LATE: Duration = Duration::from_secs(9);
/// HTTP, unless said.
const HTTP_PORT: u16 = 80;
/// RTSP, unless said.
const RTSP_PORT: u16 = 554;
/// Usual paths of a vendor that are tried.
const MAX_PATHS: usize = 3;
/// The first channel.
const CHANNEL: u16 = 1;

/// What the looks share.
struct Tools {
    service: CameraService,
    gateway: Arc<Cameras>,
    book: Arc<Book>,
    rtsp: RtspClient,
}

/// One job a camera.
pub(super) fn jobs(config: &Shared, named: &[CameraAt], known: Vec<CameraAt>) -> Vec<Job> {
    let configured = config.camera.credentials.iter();
    let configured = configured
        .filter(|entry| entry.matches.parse::<IpAddr>().is_ok())
        .map(|entry| CameraAt {
            host: entry.matches.clone(),
            port: None,
        });
    // Whoever says a port knows better than who does not.
    let mut all: Vec<CameraAt> = Vec::new();
    for camera in named.iter().cloned().chain(known).chain(configured) {
        let covered = all
            .iter()
            .any(|c| c.host == camera.host && (camera.port.is_none() || c.port == camera.port));
        if !covered {
            all.push(camera);
        }
    }
    if all.is_empty() {
        return Vec::new();
    }
    let tools = Arc::new(tools(config));
    all.into_iter()
        .map(|camera| {
            let tools = tools.clone();
            let what = format!("camera {}", camera.host);
            Job::new(what, move || {
                Findings::of(doctor::camera(&tools.look(&camera)))
            })
        })
        .collect()
}

fn tools(config: &Shared) -> Tools {
    let book = book(config);
    let doors = cameras::doors(config);
    login_memory::look(config, &book, &doors);
    let gateway = Arc::new(cameras::gateway(doors.clone()));
    let service = CameraService::new(CameraParts {
        gateway: gateway.clone(),
        rtsp: Arc::new(RtspClient::new(doors.clone())),
        names: Arc::new(CameraNames::default()),
        pictures: Arc::new(Pictures::new(
            config.ffmpeg.path.clone(),
            Launcher::of_no_node(),
            doors.clone(),
        )),
        observer: Arc::new(Nobody),
        book: book.clone(),
        policy: LanePolicy {
            query_timeout: INFO,
            ..LanePolicy::default()
        },
    });
    Tools {
        rtsp: RtspClient::new(doors),
        service,
        gateway,
        book,
    }
}

impl Tools {
    fn look(&self, camera: &CameraAt) -> CameraLook {
        let port = camera.port.unwrap_or(HTTP_PORT);
        let mut look = CameraLook {
            name: shown(&camera.host, port),
            has_login: false,
            info: Err(Fault::new(ErrorCode::Unavailable, "not asked")),
            clock: None,
            settings: None,
            stream: None,
        };
        let host = match Host::parse("the address", &camera.host) {
            Ok(host) => host,
            Err(fault) => {
                look.info = Err(fault);
                return look;
            }
        };
        let ask = CameraAsk {
            camera_id: None,
            said: CameraParams {
                host: Some(host.clone()),
                port: camera.port,
                ..CameraParams::default()
            },
        };
        look.info = self.ask(&ask).map(Box::new);
        let name = ask.name().ok();
        let known = name.as_ref().map(|name| self.book.target(name, &host));
        let target = known.and_then(Result::ok);
        let login = name.and_then(|name| self.book.login_for(&name, &host));
        look.has_login = login.is_some();
        if let Ok(info) = &look.info {
            let deadline = Instant::now() + STEP;
            look.clock = self.gateway.clock_offset(&info.address, deadline);
            let info = info.clone();
            self.look_at_stream(&mut look, &info, login.as_ref(), target.as_ref());
        } else if let (Err(fault), Some(target), Host::Ip(ip)) = (&look.info, &target, &host)
            && matches!(
                fault.code,
                ErrorCode::Unavailable | ErrorCode::ValidationFailed
            )
            && target.vendor.is_some()
        {
            // Without HTTP the login has not been tried yet, so RTSP may.
            let paths = usual_paths(target.vendor.as_ref().map(Vendor::as_str), None);
            let at = SocketAddr::new(*ip, RTSP_PORT);
            look.stream = self
                .describe(("rtsp", at), &paths, login.as_ref())
                .filter(|s| !matches!(&s.found, Err(f) if f.code == ErrorCode::Unavailable));
        }
        look
    }

    /// Asks path after path until one is known. A login that is refused ends it.
    fn describe(
        &self,
        (scheme, at): (&str, SocketAddr),
        paths: &[String],
        login: Option<&Credentials>,
    ) -> Option<StreamLook> {
        let mut last = None;
        for path in paths {
            let url = Secret::url(format!("{scheme}://{at}{path}"));
            let found = self.rtsp.describe(at, &url, login, STEP);
            let elsewhere = matches!(&found, Err(fault) if fault.code == ErrorCode::NotFound);
            last = Some(StreamLook {
                place: format!("{at}{}", masked(path)),
                told: false,
                found,
            });
            if !elsewhere {
                break;
            }
        }
        last
    }

    fn ask(&self, ask: &CameraAsk) -> Result<CameraDeviceInfo, Fault> {
        let order = Order::Query(Query::DeviceInfo);
        let done = self
            .service
            .submit(ask, Origin::Internal, Sent::now(), order)?;
        let reply = done
            .recv_timeout(INFO_LATE)
            .map_err(|_| Fault::new(ErrorCode::Unavailable, "no answer in time"))?;
        match reply.result?.data {
            Some(QueryData::Info(info)) => Ok(*info),
            _ => Err(Fault::new(ErrorCode::InternalError, "it told nothing")),
        }
    }

    /// The login, if there is one, has just been taken.
    fn look_at_stream(
        &self,
        look: &mut CameraLook,
        info: &CameraDeviceInfo,
        login: Option<&Credentials>,
        target: Option<&CameraFacts>,
    ) {
        let device = CameraTarget {
            address: info.address.clone(),
            credentials: login.cloned(),
            channel: CHANNEL,
            manner: target.map(|told| told.manner(login)).unwrap_or_default(),
        };
        // It has just told of itself by this protocol.
        let Ok(mut device) = self.gateway.open(&device, info.probe_method) else {
            return;
        };
        let deadline = Instant::now() + STEP;
        let settings = device.stream_settings(deadline).unwrap_or_default();
        let ip = info.address.ip;
        let told = device.stream_uri(deadline).ok().flatten();
        let told = told.as_deref().and_then(|uri| told_place(uri, ip));
        look.stream = match told {
            Some((at, path)) => self.describe(at, &[path], login).map(|stream| StreamLook {
                told: true,
                ..stream
            }),
            None => {
                let at = SocketAddr::new(ip, settings.rtsp_port.unwrap_or(RTSP_PORT));
                let vendor = target.and_then(|t| t.vendor.as_ref()).map(Vendor::as_str);
                self.describe(("rtsp", at), &usual_paths(vendor, Some(info)), login)
            }
        };
        look.settings = (settings != StreamSettings::default()).then_some(settings);
    }
}

/// `10.0.0.5:80`, `[fd00::5]:80`, `cam.lan:80`.
fn shown(host: &str, port: u16) -> String {
    match url::literal_ip(host) {
        Some(ip) => SocketAddr::new(ip, port).to_string(),
        None => format!("{host}:{port}"),
    }
}

/// Where the camera says its stream is; the host is the one that was reached.
fn told_place(uri: &str, ip: IpAddr) -> Option<((&'static str, SocketAddr), String)> {
    let parts = url::split(uri).ok()?;
    let scheme = ["rtsp", "rtsps"]
        .into_iter()
        .find(|known| parts.scheme.eq_ignore_ascii_case(known))?;
    let rest = uri.split_once("://")?.1;
    let path = rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/");
    let at = SocketAddr::new(ip, parts.rtsp_port());
    Some(((scheme, at), path.to_owned()))
}

fn usual_paths(configured: Option<&str>, info: Option<&CameraDeviceInfo>) -> Vec<String> {
    let maker = info.and_then(|i| i.manufacturer.as_deref());
    let maker = maker.and_then(vendor::named_in);
    let isapi = info.is_some_and(|i| i.probe_method == Protocol::ISAPI);
    let names = [configured, maker, isapi.then_some("HIKVISION")];
    let mut paths = names
        .into_iter()
        .flatten()
        .map(|name| vendor::rtsp_paths(name, CHANNEL))
        .find(|paths| !paths.is_empty())
        .unwrap_or_default();
    paths.truncate(MAX_PATHS);
    paths
}

/// Some cameras put a password into the path.
fn masked(path: &str) -> String {
    let secret = ["password", "passwd", "pwd", "user"]
        .iter()
        .any(|word| path.to_ascii_lowercase().contains(word));
    if secret {
        "/***".to_owned()
    } else {
        path.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_stream_is() {
        let ip = IpAddr::from([10, 0, 0, 5]);
        let place = |uri| told_place(uri, ip).map(|((_, at), path)| format!("{at}{path}"));
        assert_eq!(
            place("rtsp://192.168.1.9:8554/a/b?c=d").as_deref(),
            Some("10.0.0.5:8554/a/b?c=d")
        );
        assert_eq!(place("rtsp://h").as_deref(), Some("10.0.0.5:554/"));
        assert_eq!(place("http://h/x"), None);
        assert_eq!(masked("/user=a_password=b"), "/***");
        assert_eq!(masked("/Streaming/Channels/101"), "/Streaming/Channels/101");
        assert_eq!(shown("fd00::5", 80), "[fd00::5]:80");
    }

    #[test]
    fn usual_paths_by_vendor() {
        assert_eq!(
            usual_paths(Some("DAHUA"), None),
            ["/cam/realmonitor?channel=1&subtype=0"]
        );
        assert!(usual_paths(None, None).is_empty());
        assert!(usual_paths(Some("XM"), None).is_empty());
    }
}
