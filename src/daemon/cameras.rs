//! Puts camera control together: what it works with, what it learns, whom it tells.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::adapter::command::CameraEvents;
use crate::application::camera::{
    Book, CameraParts, CameraService, ConfiguredLogin, LanePolicy, OwnAddress, OwnAddresses, Vendor,
};
use crate::application::discovery::ScanState;
use crate::application::health::HealthBoard;
use crate::config::{CameraCredential, CertificateCheck, Config};
use crate::domain::camera::{CameraGateway, Credentials, Manner};
use crate::domain::camera_trust::CertificateRule;
use crate::domain::gateway::{CameraObserver, LoginEnd, LoginPermit, StreamCameras, TaskObserver};
use crate::domain::health::{Part, PartStatus};
use crate::domain::patrol::PatrolEvent;
use crate::domain::ptz::{PtzEvent, PtzEventKind};
use crate::domain::stream::{InputType, MediaUrl, Source, StreamSpec, StreamStatus, TaskEvent};
use crate::infrastructure::camera_gateway::Cameras;
use crate::infrastructure::camera_names::CameraNames;
use crate::infrastructure::http::camera::CameraOptions;
use crate::infrastructure::http::doors::Doors;
use crate::infrastructure::pictures::Pictures;
use crate::infrastructure::rtsp::RtspClient;
use crate::infrastructure::system;
use crate::util::time::Now;

/// What is known of cameras and their logins: at first, what the configuration says.
pub fn book(config: &Config) -> Arc<Book> {
    let own: OwnAddresses = Box::new(|| {
        let addresses = system::own_addresses().into_iter();
        addresses
            .map(|(ip, prefix)| OwnAddress { ip, prefix })
            .collect()
    });
    Arc::new(Book::new(logins(config), config.camera.allow_loopback, own))
}

/// How the ports of cameras are spoken to, and what their certificates have to be.
pub fn doors(config: &Config) -> Doors {
    Doors::new(match config.camera.tls {
        CertificateCheck::Pin => CertificateRule::Pin,
        CertificateCheck::Verify => CertificateRule::Verify,
        CertificateCheck::Any => CertificateRule::Any,
    })
}

/// The way to cameras.
pub fn gateway(doors: Doors) -> Cameras {
    Cameras::new(CameraOptions {
        doors,
        ..CameraOptions::default()
    })
}

/// Starts nothing: lanes come with commands. `cloud` = the cloud's line, where there is one.
pub fn service(
    config: &Config,
    book: Arc<Book>,
    health: &Arc<CamerasHealth>,
    cloud: Option<CloudEnd>,
    (gateway, doors): (Arc<dyn CameraGateway>, Doors),
) -> CameraService {
    let observer = Observer {
        health: health.clone(),
        cloud,
        moving: AtomicUsize::new(0),
    };
    CameraService::new(CameraParts {
        gateway,
        rtsp: Arc::new(RtspClient::new(doors.clone())),
        names: Arc::new(CameraNames::default()),
        pictures: Arc::new(Pictures::new(
            config.ffmpeg.path.clone(),
            super::startup::launcher(config),
            doors,
        )),
        observer: Arc::new(observer),
        book,
        policy: policy(config),
    })
}

/// The limits that the configuration sets.
pub fn policy(config: &Config) -> LanePolicy {
    let defaults = LanePolicy::default();
    LanePolicy {
        max_move: config.ptz.max_move,
        command_ttl: config.ptz.command_ttl,
        // The camera's own picture, then the frame of its stream.
        query_timeout: (config.snapshot.timeout * 2).max(defaults.query_timeout),
        ..defaults
    }
}

/// The logins that the configuration holds.
pub fn logins(config: &Config) -> Vec<ConfiguredLogin> {
    let entries = config.camera.credentials.iter();
    entries.filter_map(configured).collect()
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
        matches: entry.matches.clone(),
        login,
        vendor: entry.vendor.as_deref().and_then(Vendor::parse),
        manner: Manner {
            profile: entry.profile.clone(),
            onvif_path: entry.onvif_path.clone(),
            allow_basic: entry.allow_basic,
        },
    })
}

/// How cameras are, control and discovery together: the one writer of that part of health.
pub struct CamerasHealth {
    board: Arc<HealthBoard>,
    facts: Mutex<Facts>,
}

#[derive(Default)]
struct Facts {
    /// Cameras that do not obey their stop, and why. As many as there are lanes, at most.
    disobedient: BTreeMap<String, String>,
    scan: ScanState,
}

impl CamerasHealth {
    /// All is well so far.
    pub fn new(board: Arc<HealthBoard>) -> Self {
        let health = Self {
            board,
            facts: Mutex::default(),
        };
        health.change(|_| ());
        health
    }

    /// How discovery is.
    pub fn scan(&self, state: &ScanState) {
        self.change(|facts| facts.scan = state.clone());
    }

    /// How many cameras do not obey their stop.
    pub fn disobedient(&self) -> usize {
        let facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        facts.disobedient.len()
    }

    fn disobeys(&self, camera: &str, why: Option<&str>) {
        self.change(|facts| match why {
            Some(why) => {
                facts.disobedient.insert(camera.to_owned(), why.to_owned());
            }
            None => {
                facts.disobedient.remove(camera);
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut Facts)) {
        let (status, words) = {
            let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
            change(&mut facts);
            facts.in_words()
        };
        self.board
            .set(Part::Cameras, status, &words, Now::read().wall);
    }
}

impl Facts {
    fn in_words(&self) -> (PartStatus, String) {
        let mut troubles: Vec<String> = self
            .disobedient
            .iter()
            .map(|(camera, why)| format!("{camera}: {why}"))
            .collect();
        troubles.extend(
            self.scan
                .trouble
                .iter()
                .map(|why| format!("discovery: {why}")),
        );
        if !troubles.is_empty() {
            return (PartStatus::Down, troubles.join("; "));
        }
        let words = if self.scan.swept {
            format!("{} found, {} online", self.scan.listed, self.scan.online)
        } else {
            String::new()
        };
        (PartStatus::Up, words)
    }
}

/// The cloud's line as cameras see it.
pub struct CloudEnd {
    /// Where events go.
    pub events: CameraEvents,
    /// Has the line watched closely (or no more), so that its loss is noticed within seconds.
    pub watch: Box<dyn Fn(bool) + Send + Sync>,
}

/// Tells the cloud, and health.
struct Observer {
    health: Arc<CamerasHealth>,
    cloud: Option<CloudEnd>,
    /// Cameras that move for the cloud.
    moving: AtomicUsize,
}

impl CameraObserver for Observer {
    fn ptz_event(&self, event: &PtzEvent, at: SystemTime) {
        match event.kind {
            PtzEventKind::StopFailed => {
                self.health
                    .disobeys(event.camera.as_str(), Some(&event.reason));
            }
            PtzEventKind::StopRecovered => self.health.disobeys(event.camera.as_str(), None),
            _ => {}
        }
        if let Some(cloud) = &self.cloud {
            cloud.events.ptz_event(event, at);
        }
    }

    fn patrol_event(&self, event: &PatrolEvent, at: SystemTime) {
        if let Some(cloud) = &self.cloud {
            cloud.events.patrol_event(event, at);
        }
    }

    fn moves_for_cloud(&self, moves: bool) {
        let before = if moves {
            self.moving.fetch_add(1, Ordering::AcqRel)
        } else {
            self.moving.fetch_sub(1, Ordering::AcqRel)
        };
        if let Some(cloud) = &self.cloud
            && before == usize::from(!moves)
        {
            (cloud.watch)(moves);
        }
    }
}

/// Cameras as the stream owner sees them: learns them from the streams that are started from
/// them, and guards their logins.
pub struct Learner(pub CameraService);

impl Learner {
    /// The source of a stream that logs in to its camera.
    fn source(spec: &StreamSpec) -> Option<&MediaUrl> {
        match &spec.source {
            Source::Network(url) if spec.input == InputType::Rtsp => Some(url),
            _ => None,
        }
    }
}

impl StreamCameras for Learner {
    fn permit(&self, spec: &StreamSpec) -> LoginPermit {
        Self::source(spec).map_or(LoginPermit::Granted, |url| self.0.stream_permit(url))
    }

    fn has_worked(&self, spec: &StreamSpec) -> bool {
        Self::source(spec).is_some_and(|url| self.0.stream_login_has_worked(url))
    }

    fn ended(&self, spec: &StreamSpec, end: LoginEnd) {
        if let Some(url) = Self::source(spec) {
            self.0.stream_login(url, end);
        }
    }

    fn keyframe_wanted(&self, spec: &StreamSpec) {
        if let Some(url) = Self::source(spec) {
            self.0.ask_keyframe(spec.camera_id.as_ref(), url);
        }
    }
}

impl TaskObserver for Learner {
    fn task_changed(&self, event: &TaskEvent) {
        let task = &event.task;
        // Once a task: what commands say of the camera later counts for more.
        if task.status == StreamStatus::Starting
            && task.retry_count == 0
            && let Some(url) = Self::source(&task.spec)
            && let Some(id) = &task.spec.camera_id
        {
            self.0.learn_source(id, url);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_camera_that_obeys_again_does_not_speak_for_another() {
        let board = Arc::new(HealthBoard::new(SystemTime::UNIX_EPOCH));
        let health = CamerasHealth::new(board.clone());
        let shown = || {
            let part = board.get(Part::Cameras).unwrap();
            (part.status, part.reason)
        };
        assert_eq!(shown(), (PartStatus::Up, String::new()));
        health.disobeys("a", Some("moves on"));
        health.disobeys("b", Some("no answer"));
        health.disobeys("a", None);
        assert_eq!(shown(), (PartStatus::Down, "b: no answer".to_owned()));
        assert_eq!(health.disobedient(), 1);
        let state = ScanState {
            listed: 3,
            online: 2,
            swept: true,
            trouble: Some("hangs".to_owned()),
        };
        health.scan(&state);
        health.disobeys("b", None);
        assert_eq!(shown(), (PartStatus::Down, "discovery: hangs".to_owned()));
        health.scan(&ScanState {
            trouble: None,
            ..state
        });
        assert_eq!(shown(), (PartStatus::Up, "3 found, 2 online".to_owned()));
    }
}
