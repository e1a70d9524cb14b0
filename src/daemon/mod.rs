//! Wiring, threads, the order of start and stop. The only module that sees all layers; it decides
//! nothing about streams, cameras or peers.

mod cameras;
mod cloud;
mod discovery;
pub mod doctor;
pub mod fit;
pub mod guard;
mod known_trust;
mod lock;
mod login_memory;
mod metrics;
pub mod probe;
pub mod relay;
mod reload;
pub mod scan;
mod signals;
mod startup;
mod streams;
mod terminal;
mod watchdog;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, select};
use nix::sys::signal::Signal;

use crate::adapter::rest::{Access, Limits, RestDeps, RestServer, RestSettings};
use crate::application::camera::CameraService;
use crate::application::discovery::DiscoveryService;
use crate::application::health::HealthBoard;
use crate::application::node::{ActiveTasks, NodeRegistry};
use crate::config::{Config, Loaded, Mode};
use crate::domain::gateway::{NodeSource, TaskObserver, Uplink};
use crate::domain::health::{Part, PartStatus};
use crate::domain::node::NodeIdentity;
use crate::infrastructure::engines::Engines;
use crate::infrastructure::guard::child::Guard;
use crate::infrastructure::http::tls::TrustStore;
use crate::infrastructure::rcs::{
    FIRST_LOOK, Facts, RcsCallbacks, RcsClient, RcsHeartbeat, RcsSettings, backoff::Pace,
    schedule::Rhythm,
};
use crate::infrastructure::system::{self, LinuxSystem};
use crate::util::time::Now;

/// Callbacks and results get so long at stop (contract 13).
const FLUSH: Duration = Duration::from_secs(3);
/// The last heartbeat gets so long.
const LAST_WORD: Duration = Duration::from_secs(2);
/// REST requests in progress get so long at stop.
const REST_GRACE: Duration = Duration::from_secs(1);

/// The longest that a camera's answer takes: a stop that is not obeyed fails after 60 s.
const CAMERA_ANSWERS: Duration = Duration::from_secs(70);
/// Cameras stand still so long after a stop of the node began (contract 7), and a margin.
const CAMERAS_STAND: Duration = Duration::from_millis(6_500);

/// Discovery was told to end long before, and waits for nothing.
const DISCOVERY_ENDS: Duration = Duration::from_millis(200);

/// The guard goes home within a second; one that hangs is killed.
const GUARD_ENDS: Duration = Duration::from_millis(1_500);

/// How often the cloud's threads are looked at. A wake-up a minute, and none without a cloud.
const LOOK_AFTER: Duration = Duration::from_secs(60);

/// Why the daemon could not start.
type StartError = String;

/// Runs the daemon until a signal ends it. Exit codes: contract 1.
pub fn run(loaded: &Loaded) -> ExitCode {
    let started = Instant::now();
    match start(loaded, started) {
        Ok(node) => node.run(),
        Err(why) => {
            log::error!("lss can't start: {why}");
            ExitCode::FAILURE
        }
    }
}

/// What speaks with the cloud, before there are streams to speak of.
struct Early {
    client: Arc<RcsClient>,
    callbacks: RcsCallbacks,
    line: cloud::Line,
    replaced: Arc<metrics::Replaced>,
}

/// What speaks with the cloud.
struct Cloud {
    callbacks: RcsCallbacks,
    heartbeat: RcsHeartbeat,
    client: Arc<RcsClient>,
    line: cloud::Cloud,
    replaced: Arc<metrics::Replaced>,
}

impl Early {
    fn camera_events(&self) -> cameras::CloudEnd {
        self.line.camera_events()
    }

    fn metrics(&self) -> metrics::CloudSources {
        metrics::CloudSources {
            line: self.line.speaker(),
            client: self.client.clone(),
            callbacks: self.callbacks.observer(),
            commands: self.line.commands(),
            replaced: self.replaced.clone(),
        }
    }

    fn observers(&self) -> [Box<dyn TaskObserver>; 2] {
        [Box::new(self.callbacks.observer()), self.line.observer()]
    }

    fn serve(
        self,
        config: &Config,
        streams: &streams::Streams,
        cameras: &CameraService,
        node: &Arc<NodeRegistry>,
        health: &Arc<HealthBoard>,
    ) -> Result<Cloud, StartError> {
        let rhythm = Rhythm::new(config.rcs.heartbeat_interval);
        let awaited = Facts {
            cameras: config.camera.scan_enabled && !config.camera.scan_subnet.is_empty(),
            engine: true,
            patience: FIRST_LOOK,
        };
        let heartbeat = RcsHeartbeat::start(
            self.client.clone(),
            node.clone(),
            health.clone(),
            rhythm,
            awaited,
        )
        .map_err(|e| format!("thread rcs-heartbeat: {e}"))?;
        let line = self
            .line
            .serve(
                config,
                streams.service.clone(),
                cameras.clone(),
                node.clone(),
                health.clone(),
            )
            .map_err(|e| format!("the cloud's line: {e}"))?;
        Ok(Cloud {
            callbacks: self.callbacks,
            heartbeat,
            client: self.client,
            line,
            replaced: self.replaced,
        })
    }
}

/// Everything that runs.
struct RunningDaemon {
    health: Arc<HealthBoard>,
    node: Arc<NodeRegistry>,
    rest: RestServer,
    streams: streams::Streams,
    cameras: CameraService,
    guard: Guard,
    discovery: DiscoveryService,
    /// Ready when the first sweep is over.
    first_scan: Receiver<()>,
    /// Ready when the engine has said what it is, or that there is none.
    engine_known: Receiver<()>,
    cloud: Option<Cloud>,
    signals: Receiver<Signal>,
    vital_ends: Receiver<&'static str>,
    loaded: Loaded,
    watchdog: watchdog::Watchdog,
    _ffmpeg_watch: startup::Watch,
    /// Writes what is to be kept when it is dropped, before the next daemon may read it.
    _login_memory: login_memory::LoginMemory,
    _lock: lock::NodeLock,
}

fn start(loaded: &Loaded, started: Instant) -> Result<RunningDaemon, StartError> {
    let config = &loaded.config;
    // Before any thread: they inherit the mask.
    let set = signals::block().map_err(|e| format!("signals can't be blocked: {e}"))?;
    let signals = signals::listen(set).map_err(|e| e.to_string())?;
    let node_id = config.node.node_id();
    let lock = lock::NodeLock::take(&node_id).map_err(|e| e.to_string())?;
    if let Err(why) = system::raise_open_files() {
        log::warn!("the limit of open files stays as it is: {why}");
    }
    log::info!(
        node = node_id.as_str(), version = env!("CARGO_PKG_VERSION"),
        mode = match config.mode { Mode::Cloud => "cloud", Mode::Standalone => "standalone" };
        "lss starts"
    );
    let health = Arc::new(HealthBoard::new(Now::read().wall));
    let active = Arc::new(ActiveTasks::default());
    let probe = Arc::new(LinuxSystem::new(config.node.ip));
    let node = Arc::new(NodeRegistry::new(identity(config), probe, active.clone()));
    let (vital, vital_ends) = streams::vital_ends();
    let early = open_cloud(config)?;
    let cameras_health = Arc::new(cameras::CamerasHealth::new(health.clone()));
    let cloud_end = early.as_ref().map(Early::camera_events);
    let book = cameras::book(config);
    let doors = cameras::doors(config);
    let login_memory = login_memory::LoginMemory::start(config, &book, &doors)
        .map_err(|e| format!("thread login-memory: {e}"))?;
    let guard = guard::start(config, &lock).map_err(|e| format!("thread guard: {e}"))?;
    let gateway = guard::watched(cameras::gateway(doors.clone()), guard.clone(), &lock);
    let cameras = cameras::service(config, book, &cameras_health, cloud_end, (gateway, doors));
    let mut observers: Vec<Box<dyn TaskObserver>> =
        early.iter().flat_map(Early::observers).collect();
    observers.push(Box::new(cameras::Learner(cameras.clone())));
    let uplink: Arc<dyn Uplink> = match &early {
        Some(early) => early.line.uplink(early.client.uplink()),
        None => Arc::new(streams::NoUplink),
    };
    let engine = startup::engine(config, &health, &node);
    let streams = streams::Streams::start(
        config,
        streams::Parts {
            engine: Arc::new(Engines::new(
                engine.clone(),
                streams::passthrough(config),
                streams::relaying(config),
            )),
            uplink,
            logins: Arc::new(cameras::Learner(cameras.clone())),
            observers,
            active,
            node: node.clone(),
            ended: vital,
        },
    )
    .map_err(|e| format!("thread stream: {e}"))?;
    let (discovery, first_scan) = discovery::start(
        config,
        cameras.clone(),
        node.clone(),
        cameras_health.clone(),
    )?;
    let sources = metrics::Sources {
        streams: streams.service.clone(),
        cameras: cameras.clone(),
        cameras_health: cameras_health.clone(),
        discovery: discovery.clone(),
        health: health.clone(),
        node: node.clone(),
        child_events: Box::new(streams.child_events()),
        cloud: early.as_ref().map(Early::metrics),
    };
    let rest = rest(config, sources, started)?;
    let (engine_known, ffmpeg_watch) =
        startup::begin(config, engine).map_err(|e| format!("thread start-up: {e}"))?;
    let cloud = match early {
        Some(early) => Some(early.serve(config, &streams, &cameras, &node, &health)?),
        None => None,
    };
    switched_off(config, &health);
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    Ok(RunningDaemon {
        health,
        node,
        rest,
        streams,
        cameras,
        guard,
        discovery,
        first_scan,
        engine_known,
        cloud,
        signals,
        vital_ends,
        loaded: loaded.clone(),
        watchdog: watchdog::Watchdog::from_environment(),
        _ffmpeg_watch: ffmpeg_watch,
        _login_memory: login_memory,
        _lock: lock,
    })
}

/// Parts that nobody waits for.
fn switched_off(config: &Config, health: &HealthBoard) {
    let at = Now::read().wall;
    if config.mode == Mode::Standalone {
        health.set(Part::Rcs, PartStatus::Off, "standalone", at);
        health.set(Part::Ably, PartStatus::Off, "standalone", at);
    }
}

fn identity(config: &Config) -> NodeIdentity {
    NodeIdentity {
        node_id: config.node.node_id(),
        node_name: config.node.name.clone(),
        machine_id: config.node.machine_id.clone(),
        node_port: config.server.port,
        max_tasks: config.node.max_tasks,
        ffmpeg_path: config.ffmpeg.path.clone(),
    }
}

/// `None` in standalone mode.
fn open_cloud(config: &Config) -> Result<Option<Early>, StartError> {
    let (Mode::Cloud, Some(base_url)) = (config.mode, config.rcs.base_url.clone()) else {
        return Ok(None);
    };
    let settings = RcsSettings {
        base_url,
        token: config.rcs.token.clone(),
        connect_timeout: config.rcs.connect_timeout,
        read_timeout: config.rcs.read_timeout,
        public_ip_url: config.node.public_ip_url.clone(),
    };
    let trust = Arc::new(TrustStore::new(config.rcs.ca_file.clone()));
    let client = Arc::new(RcsClient::new(settings, &trust));
    let callbacks = RcsCallbacks::start(
        client.clone(),
        config.node.node_id(),
        config.rcs.callback_queue,
        Pace::default(),
    )
    .map_err(|e| format!("thread rcs-callback: {e}"))?;
    let replaced = Arc::<metrics::Replaced>::default();
    let line = cloud::Line::open(config, replaced.clone())
        .map_err(|e| format!("the cloud's line: {e}"))?;
    Ok(Some(Early {
        client,
        callbacks,
        line,
        replaced,
    }))
}

fn rest(
    config: &Config,
    sources: metrics::Sources,
    started: Instant,
) -> Result<RestServer, StartError> {
    let listen = listen_address(config);
    let settings = RestSettings {
        listen,
        access: access(config),
        late_limit: late_limit(config),
        limits: Limits::default(),
    };
    let picture = sources.node.clone();
    let deps = RestDeps {
        streams: sources.streams.clone(),
        cameras: sources.cameras.clone(),
        discovery: sources.discovery.clone(),
        health: sources.health.clone(),
        node: Arc::new(move || picture.node(Now::read())),
        node_id: config.node.node_id(),
        metrics: Arc::new(move |queues: &[_]| sources.gather(queues)),
        started,
    };
    RestServer::start(settings, deps).map_err(|why| format!("the REST API: {why}"))
}

/// How long answers may take that depend on a process or a camera.
fn late_limit(config: &Config) -> Duration {
    (config.ffmpeg.stop_timeout + Duration::from_secs(10)).max(CAMERA_ANSWERS)
}

/// Where the REST API listens.
fn listen_address(config: &Config) -> SocketAddr {
    let ip = config
        .server
        .listen
        .unwrap_or(if config.server.api_token.is_some() {
            // Of both families.
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        } else {
            IpAddr::V4(Ipv4Addr::LOCALHOST)
        });
    SocketAddr::new(ip, config.server.port)
}

/// Who may ask what.
fn access(config: &Config) -> Access {
    Access {
        token: config.server.api_token.clone(),
        allowed_hosts: config.server.allowed_hosts.clone(),
        host_name: system::host_name().unwrap_or_default(),
    }
}

impl Cloud {
    /// Puts new threads in the place of those that hang beyond every time-out of theirs.
    fn look_after(&self, now: Instant) {
        if self.heartbeat.is_stuck(now) {
            self.replaced.heartbeat.fetch_add(1, Ordering::Relaxed);
            report("rcs-heartbeat", self.heartbeat.replace());
        }
        if self.callbacks.is_stuck(now) {
            self.replaced.callback.fetch_add(1, Ordering::Relaxed);
            report("rcs-callback", self.callbacks.replace());
        }
    }
}

impl Cloud {
    /// Both ways at once: callbacks and OFFLINE to RCS, results, OFFLINE and LEAVE on the line.
    fn say_goodbye(self) {
        let Self {
            callbacks,
            heartbeat,
            line,
            client: _,
            replaced: _,
        } = self;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                callbacks.stop(Instant::now() + FLUSH);
                heartbeat.stop(Instant::now() + LAST_WORD);
            });
            line.close(Instant::now() + FLUSH + LAST_WORD);
        });
    }
}

/// A replacement that fails is tried again at the next look.
fn report(thread: &str, replaced: std::io::Result<()>) {
    match replaced {
        Ok(()) => log::error!(thread = thread; "a thread hung and has been replaced"),
        Err(why) => log::error!(thread = thread; "a thread hangs and can't be replaced: {why}"),
    }
}

impl RunningDaemon {
    fn run(mut self) -> ExitCode {
        let look = match self.cloud {
            Some(_) => crossbeam_channel::tick(LOOK_AFTER),
            None => crossbeam_channel::never(),
        };
        loop {
            select! {
                recv(look) -> _ => if let Some(cloud) = &self.cloud {
                    cloud.look_after(Instant::now());
                },
                recv(self.signals) -> signal => match signal {
                    Ok(Signal::SIGHUP) => self.reload(),
                    Ok(signal) => {
                        log::info!(signal = signal.as_str(); "stopping");
                        return self.stop();
                    }
                    Err(_) => {
                        log::error!("no signal can be received any more: stopping");
                        return self.fail();
                    }
                },
                recv(self.first_scan) -> _ => {
                    self.first_scan = crossbeam_channel::never();
                    if let Some(cloud) = &self.cloud {
                        cloud.heartbeat.first_scan_done();
                    }
                }
                recv(self.engine_known) -> _ => {
                    self.engine_known = crossbeam_channel::never();
                    if let Some(cloud) = &self.cloud {
                        cloud.heartbeat.engine_known();
                    }
                }
                recv(self.watchdog.due()) -> _ => self.watchdog.ask(&self.streams),
                recv(self.watchdog.answers()) -> _ => self.watchdog.feed(),
                recv(self.vital_ends) -> name => {
                    log::error!(thread = name.unwrap_or("?"); "a thread that streams depend on has ended: lss ends too, its service manager starts it anew");
                    return self.fail();
                }
            }
        }
    }

    /// The orderly way (contract 13).
    fn stop(self) -> ExitCode {
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        self.watchdog.rest();
        self.health.stopping();
        self.node.set_stopping();
        self.rest.refuse_new();
        self.discovery.shut_down();
        // Side by side: a camera that moves and a stream that ends don't wait for each other.
        self.cameras.shut_down();
        let cameras_by = Instant::now() + CAMERAS_STAND;
        self.streams.shut_down(false);
        // The ladder ends by SIGKILL; what even that does not end is not waited for.
        let patience =
            Instant::now() + self.loaded.config.ffmpeg.stop_timeout + Duration::from_secs(10);
        while !self.streams.has_ended() {
            select! {
                recv(self.vital_ends) -> _ => break,
                recv(self.signals) -> signal => if signal != Ok(Signal::SIGHUP) {
                    log::info!("a second signal: no more grace");
                    self.streams.shut_down(true);
                },
                recv(crossbeam_channel::at(patience)) -> _ => {
                    log::error!("the streams do not end; lss ends without them");
                    return self.say_goodbye(false);
                }
            }
        }
        self.await_cameras(cameras_by);
        self.say_goodbye(true)
    }

    /// Also after a second signal: a camera is not left moving for impatience.
    fn await_cameras(&self, by: Instant) {
        if let Err(RecvTimeoutError::Timeout) = self.cameras.ended().recv_deadline(by) {
            log::error!(
                "a camera may still be moving: it has not obeyed its stop; lss ends without it"
            );
        }
    }

    fn say_goodbye(self, streams_ended: bool) -> ExitCode {
        let clean = streams_ended && self.streams.join();
        if !self.discovery.join(Instant::now() + DISCOVERY_ENDS) {
            log::warn!("discovery does not end; lss ends without it");
        }
        if let Some(cloud) = self.cloud {
            cloud.say_goodbye();
        }
        self.rest.stop(REST_GRACE);
        self.guard.end(GUARD_ENDS);
        log::info!("stopped");
        if clean {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    /// Something vital is gone: tell who can be told, and go.
    fn fail(self) -> ExitCode {
        self.watchdog.rest();
        self.health.stopping();
        self.node.set_stopping();
        self.rest.refuse_new();
        self.discovery.shut_down();
        self.cameras.shut_down();
        self.streams.shut_down(true);
        self.await_cameras(Instant::now() + CAMERAS_STAND);
        if let Some(cloud) = self.cloud {
            cloud.say_goodbye();
        }
        self.guard.end(GUARD_ENDS);
        ExitCode::FAILURE
    }
}
