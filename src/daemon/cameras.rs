//! Puts camera control together: what it works with, what it learns, whom it tells.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::adapter::command::CameraEvents;
use crate::application::camera::{
    Book, CameraAsk, CameraParts, CameraService, ConfiguredLogin, LanePolicy, LoginMatch,
};
use crate::application::health::HealthBoard;
use crate::config::{CameraCredential, Config};
use crate::domain::camera::Credentials;
use crate::domain::error::ErrorCode;
use crate::domain::gateway::{CameraObserver, TaskObserver};
use crate::domain::health::{Part, PartStatus};
use crate::domain::patrol::PatrolEvent;
use crate::domain::ptz::{PtzEvent, PtzEventKind};
use crate::domain::stream::{InputType, Source, StreamStatus, TaskEvent};
use crate::infrastructure::camera_gateway::Cameras;
use crate::infrastructure::camera_rules::CameraRules;
use crate::infrastructure::http::CameraOptions;
use crate::infrastructure::pictures::Pictures;
use crate::util::time::Now;

/// Starts nothing: lanes come with commands. `events` = the cloud's line, where there is one.
pub fn service(
    config: &Config,
    health: &Arc<HealthBoard>,
    events: Option<CameraEvents>,
) -> CameraService {
    health.set(Part::Cameras, PartStatus::Up, "", Now::read().wall);
    let observer = Observer {
        health: health.clone(),
        events,
    };
    let defaults = LanePolicy::default();
    let service = CameraService::new(CameraParts {
        gateway: Arc::new(Cameras::new(CameraOptions::default())),
        rules: Arc::new(CameraRules::new(config.camera.allow_loopback)),
        pictures: Arc::new(Pictures::new(
            config.ffmpeg.path.clone(),
            config.node.node_id(),
        )),
        observer: Arc::new(observer),
        book: Arc::new(Book::new(
            config
                .camera
                .credentials
                .iter()
                .filter_map(configured)
                .collect(),
        )),
        policy: LanePolicy {
            max_move: config.ptz.max_move,
            command_ttl: config.ptz.command_ttl,
            // The camera's own picture, then the frame of its stream.
            query_timeout: (config.snapshot.timeout * 2).max(Duration::from_secs(15)),
            ..defaults
        },
    });
    for credential in &config.camera.credentials {
        // What names one camera is known from the start.
        if !credential.matches.contains('/')
            && let Ok(host) = CameraAsk::host(&credential.matches)
            && host.parse::<IpAddr>().is_ok()
        {
            service.learn(&CameraAsk {
                host: Some(host),
                vendor: credential.vendor.clone(),
                ..CameraAsk::default()
            });
        }
    }
    service
}

fn configured(entry: &CameraCredential) -> Option<ConfiguredLogin> {
    let login = match Credentials::new(entry.username.clone(), entry.password.clone()) {
        Ok(login) => login,
        Err(why) => {
            log::warn!(camera = entry.matches.as_str(); "camera.credentials: {}", why.message);
            return None;
        }
    };
    Some(ConfiguredLogin {
        matches: matches(&entry.matches),
        login,
        vendor: entry.vendor.clone(),
    })
}

fn matches(text: &str) -> LoginMatch {
    let (address, prefix) = text
        .split_once('/')
        .map_or((text, None), |(a, p)| (a, p.parse::<u8>().ok()));
    match address.parse::<IpAddr>() {
        Ok(ip) => {
            let ip = ip.to_canonical();
            LoginMatch::Network(ip, prefix.unwrap_or(if ip.is_ipv4() { 32 } else { 128 }))
        }
        Err(_) => LoginMatch::Name(text.to_owned()),
    }
}

/// Tells the cloud, and health.
struct Observer {
    health: Arc<HealthBoard>,
    events: Option<CameraEvents>,
}

impl CameraObserver for Observer {
    fn ptz_event(&self, event: &PtzEvent, at: SystemTime) {
        match event.kind {
            PtzEventKind::StopFailed => {
                let words = format!("{}: {}", event.camera, event.reason);
                self.health.set(Part::Cameras, PartStatus::Down, &words, at);
            }
            PtzEventKind::StopRecovered => {
                self.health.set(Part::Cameras, PartStatus::Up, "", at);
            }
            _ => {}
        }
        if let Some(events) = &self.events {
            events.ptz_event(event, at);
        }
    }

    fn patrol_event(&self, event: &PatrolEvent, at: SystemTime) {
        if let Some(events) = &self.events {
            events.patrol_event(event, at);
        }
    }
}

/// Learns cameras from the streams that are started from them, and which logins they take.
pub struct Learner(pub CameraService);

impl TaskObserver for Learner {
    fn task_changed(&self, event: &TaskEvent) {
        let task = &event.task;
        let Source::Network(url) = &task.spec.source else {
            return;
        };
        if task.spec.input != InputType::Rtsp {
            return;
        }
        let Ok(host) = CameraAsk::host(url.host()) else {
            return;
        };
        let login = url
            .credentials()
            .and_then(|(user, password)| Credentials::new(user, password).ok());
        let refused = task
            .error
            .as_ref()
            .is_some_and(|fault| fault.code == ErrorCode::RtspAuthFailed);
        match (task.status, login) {
            // Once a task: what commands say of the camera later counts for more.
            (StreamStatus::Starting, login) if task.retry_count == 0 => {
                self.0.learn(&CameraAsk {
                    camera_id: task.spec.camera_id.clone(),
                    host: Some(host),
                    login,
                    // The port of RTSP is never that of HTTP.
                    ..CameraAsk::default()
                });
            }
            (StreamStatus::Streaming, Some(login)) => self.0.stream_login(&host, &login, true),
            (StreamStatus::Error | StreamStatus::Reconnecting, Some(login)) if refused => {
                self.0.stream_login(&host, &login, false);
            }
            _ => {}
        }
    }
}
