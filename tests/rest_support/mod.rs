//! A REST API on a free port of 127.0.0.1, with a stand-in for the stream owner behind it, and
//! clients that speak raw HTTP.
#![allow(dead_code)] // each test binary uses its own part

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded};
use lss::adapter::rest::{Access, Limits, RestDeps, RestServer, RestSettings};
use lss::application::camera::{Book, CameraParts, CameraService, LanePolicy};
use lss::application::discovery::{
    DiscoveryObserver, DiscoveryParts, DiscoveryService, Networks, ScanPolicy, ScanState,
};
use lss::application::health::HealthBoard;
use lss::application::stream::{StreamRequest, StreamRules, StreamService, TaskLog};
use lss::domain::error::{ErrorCode, Fault};
use lss::domain::gateway::CameraObserver;
use lss::domain::health::{Part, PartStatus};
use lss::domain::node::{Camera, LssNode, NodeIdentity, NodeStatus, SystemInfo};
use lss::domain::patrol::PatrolEvent;
use lss::domain::ptz::PtzEvent;
use lss::domain::stream::{
    ExitRecord, Progress, RetryLimit, StopReason, StreamSpec, StreamStatus, StreamTask, TaskMode,
    TaskSender,
};
use lss::infrastructure::camera_gateway::Cameras;
use lss::infrastructure::camera_names::CameraNames;
use lss::infrastructure::child::launch::Launcher;
use lss::infrastructure::discovery::Scanner;
use lss::infrastructure::http::camera::CameraOptions;
use lss::infrastructure::pictures::Pictures;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect as connect_socket, setsockopt,
    socket, sockopt,
};
use serde_json::Value;

/// Longer than anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Lets the process open as many descriptors as it may.
pub fn raise_limits() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        use nix::sys::resource::{Resource, getrlimit, setrlimit};
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    });
}

/// A task as the stand-in keeps it.
pub fn task(spec: StreamSpec) -> StreamTask {
    StreamTask {
        spec,
        status: StreamStatus::Starting,
        process_id: Some(4711),
        error: None,
        retry_count: 0,
        max_retries: RetryLimit::Times(3),
        created_at: SystemTime::now(),
        started_at: None,
        stopped_at: None,
        last_heartbeat: None,
        mode: TaskMode::Transcode,
        sender: TaskSender::Ffmpeg,
        mode_reason: "as asked".into(),
        audio: lss::domain::stream::TaskAudio::Encoded,
        progress: Some(Progress::default()),
        exit_history: vec![ExitRecord {
            at: SystemTime::now(),
            code: Some(1),
            signal: None,
            error_code: ErrorCode::RtspConnFailed,
            cause: "the camera refused".into(),
        }],
        stop_reason: None,
        tally: lss::domain::stream::Tally::default(),
    }
}

type Done = Sender<Result<StreamTask, Fault>>;

/// What the tests can see and do of the stand-in.
#[derive(Default)]
pub struct Owner {
    /// Newest last.
    pub tasks: Mutex<Vec<StreamTask>>,
    /// Stops of tasks whose id begins with `slow`, unanswered.
    pub held: Mutex<Vec<(StreamTask, Done)>>,
    pub maintenance: AtomicBool,
}

impl Owner {
    fn run(&self, requests: &Receiver<StreamRequest>) {
        for request in requests {
            self.one(request);
        }
    }

    fn one(&self, request: StreamRequest) {
        let unknown = || Fault::new(ErrorCode::TaskNotFound, "no task of that id");
        let mut tasks = self.tasks.lock().unwrap();
        let find = |tasks: &Vec<StreamTask>, id: &lss::domain::stream::TaskId| {
            tasks.iter().position(|t| t.spec.task_id == *id)
        };
        match request {
            StreamRequest::Start { spec, accepted, .. } => {
                let answer = if self.maintenance.load(Ordering::Relaxed) {
                    Err(Fault::new(ErrorCode::NodeBusy, "in maintenance"))
                } else if spec.task_id.as_str() == "no-engine" {
                    Err(Fault::new(ErrorCode::FfmpegNotFound, "no FFmpeg here"))
                } else if find(&tasks, &spec.task_id).is_some() {
                    Err(Fault::new(ErrorCode::TaskAlreadyExist, "already active"))
                } else if tasks.len() >= 1000 {
                    Err(Fault::new(ErrorCode::TaskLimitReached, "no more room"))
                } else {
                    tasks.push(task(*spec));
                    Ok(tasks.last().unwrap().clone())
                };
                drop(accepted.unwrap().send(answer));
            }
            StreamRequest::Stop { task, done, .. } => match find(&tasks, &task) {
                None => drop(done.send(Err(unknown()))),
                Some(at) => {
                    let ended = &mut tasks[at];
                    ended.status = StreamStatus::Stopped;
                    ended.stop_reason = Some(StopReason::Command);
                    if task.as_str().starts_with("slow") {
                        self.held.lock().unwrap().push((ended.clone(), done));
                    } else {
                        drop(done.send(Ok(ended.clone())));
                    }
                }
            },
            StreamRequest::Get { task, reply } => {
                let found = find(&tasks, &task).map(|at| tasks[at].clone());
                drop(reply.send(found.ok_or_else(unknown)));
            }
            StreamRequest::List { active_only, reply } => {
                let list = tasks.iter().rev();
                let list = list.filter(|t| !active_only || t.status.is_active());
                drop(reply.send(list.cloned().collect()));
            }
            StreamRequest::Log { task, run, reply } => {
                let answer = match (find(&tasks, &task), run) {
                    (None, _) => Err(unknown()),
                    (_, Some(run)) if run > 1 => {
                        Err(Fault::new(ErrorCode::NotFound, "that run is not kept"))
                    }
                    _ => Ok(TaskLog {
                        run: 1,
                        runs: vec![1],
                        lines: vec!["first".into(), "second".into()],
                    }),
                };
                drop(reply.send(answer));
            }
            StreamRequest::Maintenance { enabled, reply } => {
                self.maintenance.store(enabled, Ordering::Relaxed);
                reply.send(()).unwrap_or(());
            }
        }
    }
}

/// The API under test.
pub struct Site {
    pub rest: Option<RestServer>,
    pub address: SocketAddr,
    pub owner: Arc<Owner>,
    pub health: Arc<HealthBoard>,
    /// Makes the picture of the node panic.
    pub node_panics: Arc<AtomicBool>,
    owner_thread: Option<JoinHandle<()>>,
}

/// What a test may want otherwise.
pub struct Setup {
    pub access: Access,
    pub limits: Limits,
    pub late_limit: Duration,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            access: Access {
                host_name: "gateway-7".into(),
                ..Access::default()
            },
            limits: Limits::default(),
            late_limit: Duration::from_secs(60),
        }
    }
}

impl Site {
    pub fn new() -> Self {
        Self::with(Setup::default())
    }

    pub fn with(setup: Setup) -> Self {
        raise_limits();
        let owner = Arc::new(Owner::default());
        let (queue, requests) = bounded(256);
        let owner_thread = {
            let owner = Arc::clone(&owner);
            std::thread::spawn(move || owner.run(&requests))
        };
        let health = Arc::new(HealthBoard::new(SystemTime::now()));
        for part in Part::ALL {
            health.set(part, PartStatus::Up, "", SystemTime::now());
        }
        let node_panics = Arc::new(AtomicBool::new(false));
        let panics = Arc::clone(&node_panics);
        let rest = RestServer::start(
            RestSettings {
                listen: SocketAddr::from(([127, 0, 0, 1], 0)),
                access: setup.access,
                late_limit: setup.late_limit,
                limits: setup.limits,
            },
            RestDeps {
                streams: StreamService::new(queue, Arc::new(StreamRules::default())),
                cameras: no_cameras(),
                discovery: no_discovery(),
                health: Arc::clone(&health),
                node: Arc::new(move || {
                    assert!(!panics.load(Ordering::Relaxed), "the test asked for this");
                    node()
                }),
                node_id: "lss-test".into(),
                metrics: Arc::new(|_| Vec::new()),
                started: Instant::now(),
            },
        )
        .unwrap();
        Self {
            address: rest.local_addr(),
            rest: Some(rest),
            owner,
            health,
            node_panics,
            owner_thread: Some(owner_thread),
        }
    }

    pub fn connect(&self) -> TcpStream {
        connect(self.address)
    }

    /// Sends bytes and reads the answer to its end.
    pub fn raw(&self, bytes: &[u8]) -> Reply {
        let mut client = self.connect();
        client.write_all(bytes).unwrap();
        read_reply(&mut client)
    }

    /// A request with a `Host` and, if there is one, a JSON body.
    pub fn call(&self, method: &str, target: &str, body: &str) -> Reply {
        self.call_with(method, target, body, "")
    }

    /// The same with further header lines, each ending in CRLF.
    pub fn call_with(&self, method: &str, target: &str, body: &str, headers: &str) -> Reply {
        self.raw(&request(method, target, body, headers))
    }

    pub fn get(&self, target: &str) -> Reply {
        self.call("GET", target, "")
    }

    pub fn start(&self, task_id: &str) -> Reply {
        self.call("POST", "/api/stream/start", &start_body(task_id))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        drop(self.rest.take());
        if let Some(thread) = self.owner_thread.take() {
            thread.join().unwrap();
        }
    }
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.set_write_timeout(Some(PATIENCE)).unwrap();
    client
}

pub fn request(method: &str, target: &str, body: &str, headers: &str) -> Vec<u8> {
    let framing = if body.is_empty() {
        String::new()
    } else {
        format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        )
    };
    format!("{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}{framing}\r\n{body}")
        .into_bytes()
}

pub fn start_body(task_id: &str) -> String {
    serde_json::json!({
        "taskId": task_id, "cameraId": "cam_001",
        "sourceUrl": "rtsp://admin:canary-camera@192.168.0.64/Streaming/Channels/101",
        "whipUrl": "https://customer-xxx.cloudflarestream.com/canary-whip/whip",
        "playbackUrl": "https://customer-xxx.cloudflarestream.com/canary-play/whep",
        "inputType": "RTSP", "loop": false,
        "videoConfig": { "codec": "libx264", "bitrate": "2500k", "fps": 30, "preset": "veryfast" },
        "audioConfig": { "codec": "opus", "bitrate": "128k", "sampleRate": 48000, "channels": 2 }
    })
    .to_string()
}

pub fn node() -> LssNode {
    LssNode {
        identity: NodeIdentity {
            node_id: "lss-test".into(),
            node_name: "LSS-Node-1".into(),
            machine_id: "test".into(),
            node_port: 10060,
            max_tasks: 4,
            ffmpeg_path: PathBuf::from("/usr/local/ffmpeg-whip/bin/ffmpeg"),
        },
        node_ip: Some("192.168.0.100".into()),
        public_ip: None,
        status: NodeStatus::Online,
        active_tasks: vec![("task_001".into(), SystemTime::now())],
        registered_at: None,
        last_heartbeat: None,
        system: SystemInfo {
            os: "Linux 6.1".into(),
            cpu_cores: 4,
            total_memory: 16_000_000_000,
            available_memory: 12_000_000_000,
            ffmpeg_version: "9.0".into(),
        },
        cpu_usage: None,
        memory_usage: Some(62.3),
        cameras: vec![lss::domain::node::Camera {
            ip: "192.168.0.64".into(),
            port: 554,
            onvif: true,
            rtsp_url: "rtsp://192.168.0.64:554/Streaming/Channels/101".into(),
            vendor: Some("HIKVISION".into()),
            model: String::new(),
            online: true,
            last_seen: SystemTime::now(),
        }],
    }
}

/// What a client got.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|why| panic!("{why}: {self:?}"))
    }

    pub fn code(&self) -> u64 {
        self.json()["code"].as_u64().unwrap()
    }

    pub fn data(&self) -> Value {
        let json = self.json();
        assert_eq!(
            (self.status, json["code"].as_u64()),
            (200, Some(0)),
            "{self:?}"
        );
        json["data"].clone()
    }

    pub fn header(&self, name: &str) -> Option<String> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name)
                .then(|| value.trim().to_owned())
        })
    }

    /// Status and code, after a look at what every answer has.
    pub fn outcome(&self) -> (u16, u64) {
        assert_eq!(
            self.header("Content-Type").as_deref(),
            Some("application/json; charset=utf-8"),
            "{self:?}"
        );
        assert_eq!(self.header("Connection").as_deref(), Some("close"));
        assert_eq!(self.header("Cache-Control").as_deref(), Some("no-store"));
        assert_eq!(
            self.header("X-Content-Type-Options").as_deref(),
            Some("nosniff")
        );
        assert_eq!(
            self.header("Content-Length"),
            Some(self.body.len().to_string()),
            "{self:?}"
        );
        let json = self.json();
        assert_eq!(json.as_object().unwrap().len(), 3, "{self:?}");
        assert!(json["message"].is_string());
        (self.status, self.code())
    }
}

/// Reads to the end of the connection.
pub fn read_reply(client: &mut TcpStream) -> Reply {
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).unwrap_or_else(|why| {
        panic!("{why} after {:?}", String::from_utf8_lossy(&bytes));
    });
    parse_reply(&bytes)
}

pub fn parse_reply(bytes: &[u8]) -> Reply {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let (head, body) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .and_then(|digits| digits.parse().ok())
        .unwrap_or_else(|| panic!("no status: {text:?}"));
    Reply {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

/// Looks again until something holds, for at most [`PATIENCE`].
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "not in time: {what}");
        std::thread::yield_now();
    }
}

/// A TCP socket that exists and leads nowhere yet.
pub struct Unconnected(OwnedFd);

impl Unconnected {
    pub fn new() -> Self {
        let flags = SockFlag::SOCK_CLOEXEC;
        Self(socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap())
    }

    /// One that holds little of what is sent to it.
    pub fn small() -> Self {
        let small = Self::new();
        setsockopt(&small.0, sockopt::RcvBuf, &4096).unwrap();
        small
    }

    pub fn connect(self, address: SocketAddr) -> TcpStream {
        connect_socket(self.0.as_raw_fd(), &SockaddrStorage::from(address)).unwrap();
        let stream = TcpStream::from(self.0);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

/// Cameras of the real kind, none of which is known.
fn no_cameras() -> CameraService {
    struct Nobody;
    impl CameraObserver for Nobody {
        fn ptz_event(&self, _: &PtzEvent, _: SystemTime) {}
        fn patrol_event(&self, _: &PatrolEvent, _: SystemTime) {}
        fn moves_for_cloud(&self, _: bool) {}
    }
    CameraService::new(CameraParts {
        gateway: Arc::new(Cameras::new(CameraOptions::default())),
        rtsp: Arc::new(lss::infrastructure::rtsp::RtspClient::default()),
        names: Arc::new(CameraNames::default()),
        pictures: Arc::new(Pictures::new(
            "/nonexistent/ffmpeg".into(),
            Launcher::of_no_node(),
            lss::infrastructure::http::doors::Doors::default(),
        )),
        observer: Arc::new(Nobody),
        book: Arc::new(Book::new(Vec::new(), true, Box::new(Vec::new))),
        policy: LanePolicy::default(),
    })
}

/// Discovery that only sweeps when it is asked to.
fn no_discovery() -> DiscoveryService {
    struct Nobody;
    impl DiscoveryObserver for Nobody {
        fn listed(&self, _: &Arc<Vec<Camera>>, _: &ScanState) {}
        fn first_sweep_over(&self) {}
    }
    let parts = DiscoveryParts {
        scanner: Box::new(|| Ok(Box::new(Scanner::new()?))),
        cameras: no_cameras(),
        observer: Arc::new(Nobody),
    };
    let policy = ScanPolicy {
        enabled: false,
        networks: Networks::Listed(Vec::new()),
        every: Duration::from_secs(60),
        timeout: Duration::from_secs(5),
        allow_loopback: true,
    };
    DiscoveryService::start(parts, policy).unwrap()
}
