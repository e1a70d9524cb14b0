//! The real binary, started with a configuration of its own, talked to over loopback.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::rtsp_server::{BASELINE_SDP, RtspServer, Rules};

/// Looks again every 10 ms until `check` gives something, or panics with `what`.
pub fn wait_for<T>(what: &str, within: Duration, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A port nobody listens on at the moment. Below those that the kernel hands out by itself, to
/// clients too: hundreds of them must not take it by chance before its owner does.
pub fn free_port() -> u16 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let lowest = range.ok().and_then(|text| {
        let word = text.split_whitespace().next()?;
        word.parse::<u16>().ok()
    });
    let below = lowest.unwrap_or(32_768).max(16_000);
    loop {
        let port = fastrand::u16(12_000..below);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The stand-in for FFmpeg.
pub fn fake_ffmpeg() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/support/fake_ffmpeg")
}

/// How a daemon is to be started.
pub struct Setup {
    /// Machine id; unique by default.
    pub machine_id: String,
    /// Lines below `lss: ffmpeg:`.
    pub ffmpeg: String,
    /// More top-level YAML.
    pub more: String,
    /// More lines below `server:`.
    pub server: String,
    /// Environment.
    pub env: Vec<(String, String)>,
    /// More of the section `camera`, a comma first.
    pub camera: String,
    /// `camera.scan_enabled`
    pub camera_scan: bool,
    /// `camera.allow_loopback`
    pub camera_loopback: bool,
    /// Standalone, or with the cloud.
    pub standalone: bool,
    /// Soft and hard limit of open files; none = inherited.
    pub open_files: Option<u32>,
    /// A program with its arguments that runs lss in its own place.
    pub within: Vec<String>,
    /// Most tasks.
    pub max_tasks: u32,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            machine_id: format!("t{}-{}", std::process::id(), free_port()),
            ffmpeg: format!(
                "path: '{}', start_confirm: 300ms, start_timeout: 3s, stall_timeout: 2s, stop_timeout: 4s",
                fake_ffmpeg().display()
            ),
            more: String::new(),
            server: String::new(),
            camera: String::new(),
            camera_scan: false,
            camera_loopback: true,
            env: Vec::new(),
            standalone: true,
            open_files: None,
            within: Vec::new(),
            max_tasks: 8,
        }
    }
}

/// A running daemon; killed when dropped.
pub struct Daemon {
    child: Child,
    /// Where REST listens.
    pub addr: SocketAddr,
    /// Its node id.
    pub node_id: String,
    log: Arc<Mutex<String>>,
    /// Its configuration file.
    pub config: PathBuf,
    _dir: tempfile::TempDir,
}

impl Daemon {
    /// Starts it and waits until REST answers.
    pub fn start(setup: &Setup) -> Self {
        let daemon = Self::spawn(setup);
        wait_for("REST to answer", Duration::from_secs(10), || {
            TcpStream::connect(daemon.addr).ok()
        });
        daemon
    }

    /// Starts it.
    pub fn spawn(setup: &Setup) -> Self {
        Self::spawn_on(setup, free_port())
    }

    /// Starts it with a port that may be taken.
    pub fn spawn_on(setup: &Setup, port: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("lss.yaml");
        let mode = if setup.standalone {
            "standalone"
        } else {
            "cloud"
        };
        std::fs::write(
            &config,
            format!(
                "mode: {mode}\nserver:\n  listen: '127.0.0.1'\n  port: {port}\n{}\nlss:\n  node: {{ machine_id: '{}', max_tasks: {} }}\n  ffmpeg: {{ {} }}\ncamera: {{ scan_enabled: {}, allow_loopback: {}{} }}\n{}\n",
                setup.server, setup.machine_id, setup.max_tasks, setup.ffmpeg, setup.camera_scan, setup.camera_loopback, setup.camera, setup.more
            ),
        )
        .unwrap();
        let binary = env!("CARGO_BIN_EXE_lss");
        let mut words = setup.within.clone();
        if let Some(limit) = setup.open_files {
            let script = format!("ulimit -n {limit}; exec \"$0\" \"$@\"");
            words.extend(["/bin/sh".into(), "-c".into(), script]);
        }
        words.push(binary.into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command
            .args(["run", "--config"])
            .arg(&config)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LSS_LOG", "debug")
            .envs(setup.env.iter().map(|(k, v)| (k, v)));
        // An empty value takes the variable away.
        for (name, _) in setup.env.iter().filter(|(_, value)| value.is_empty()) {
            command.env_remove(name);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let sink = Arc::clone(&log);
        let stderr = child.stderr.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = sink.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        Self {
            child,
            addr: SocketAddr::from(([127, 0, 0, 1], port)),
            node_id: format!("lss-{}", setup.machine_id),
            log,
            config,
            _dir: dir,
        }
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// One request; status and parsed body.
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let text = body.map(Value::to_string).unwrap_or_default();
        let content = if body.is_some() {
            format!(
                "Content-Type: application/json\r\nContent-Length: {}\r\n",
                text.len()
            )
        } else {
            String::new()
        };
        let raw = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{content}Connection: close\r\n\r\n{text}",
            self.addr
        );
        let (status, body) = raw_request(self.addr, raw.as_bytes());
        let value = serde_json::from_str(&body)
            .unwrap_or_else(|e| panic!("{method} {path}: {status}, no JSON ({e}): {body:?}"));
        (status, value)
    }

    /// GET; panics unless 200; the envelope's `data`.
    pub fn get(&self, path: &str) -> Value {
        let (status, body) = self.request("GET", path, None);
        assert_eq!(status, 200, "{path}: {body}");
        body["data"].clone()
    }

    /// Starts a task whose stand-in behaves as `mode`.
    pub fn start_task(&self, id: &str, mode: &str) -> (u16, Value) {
        self.request("POST", "/api/stream/start", Some(&start_body(id, mode)))
    }

    /// The task.
    pub fn task(&self, id: &str) -> Value {
        self.get(&format!("/api/stream/task/{id}"))
    }

    /// Waits until the task has this status.
    pub fn wait_status(&self, id: &str, status: &str) -> Value {
        wait_for(&format!("{id} {status}"), Duration::from_secs(20), || {
            let task = self.task(id);
            (task["status"] == status).then_some(task)
        })
    }

    /// Stops a task; status and body.
    pub fn stop_task(&self, id: &str, force: bool) -> (u16, Value) {
        self.request(
            "POST",
            "/api/stream/stop",
            Some(&serde_json::json!({ "taskId": id, "force": force })),
        )
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.pid()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// Waits for its end.
    pub fn wait_exit(&mut self, within: Duration) -> ExitStatus {
        wait_for("the daemon to end", within, || {
            self.child.try_wait().unwrap()
        })
    }

    /// SIGTERM, and its exit status.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        self.wait_exit(Duration::from_secs(20))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of {}\n{}", self.node_id, self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A camera that describes a picture under every path and wants no login, for all tests of one
/// process: lss asks it before the stand-in of FFmpeg is started, which reads nothing of it.
fn any_camera() -> SocketAddr {
    static CAMERA: std::sync::OnceLock<RtspServer> = std::sync::OnceLock::new();
    let (picture, _) = BASELINE_SDP.split_once("m=audio").expect("a sound");
    let rules = || Rules {
        any: Some(picture.to_owned()),
        ..Rules::default()
    };
    CAMERA.get_or_init(|| RtspServer::start(rules())).addr
}

/// The source that makes the stand-in behave like that.
pub fn source_url(mode: &str) -> String {
    format!("rtsp://admin:camera-canary-1@{}/{mode}", any_camera())
}

/// A START body for the stand-in.
pub fn start_body(id: &str, mode: &str) -> Value {
    serde_json::json!({
        "taskId": id,
        "cameraId": "cam_001",
        "sourceUrl": source_url(mode),
        "whipUrl": "http://127.0.0.1:1/whip-canary-path-2/publish",
        "playbackUrl": "https://play.example/playback-canary-3/whep",
        "inputType": "RTSP"
    })
}

/// Sends bytes, reads to the end; status and body (empty and 0 if nothing came).
pub fn raw_request(addr: SocketAddr, raw: &[u8]) -> (u16, String) {
    let text = String::from_utf8_lossy(&raw_bytes(addr, raw)).into_owned();
    let status = text
        .split_whitespace()
        .nth(1)
        .and_then(|s| s.parse().ok())
        .unwrap_or(0);
    let body = text
        .split_once("\r\n\r\n")
        .map(|(_, b)| b.to_owned())
        .unwrap_or_default();
    (status, body)
}

/// Sends bytes, reads to the end.
pub fn raw_bytes(addr: SocketAddr, raw: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    stream.write_all(raw).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

/// Pids of living processes that carry this node's mark.
pub fn children_of(node_id: &str) -> Vec<u32> {
    let mark = format!("LSS_CHILD_OF_NODE={node_id}");
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let environ = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
            environ
                .split(|b| *b == 0)
                .any(|e| e == mark.as_bytes())
                .then_some(pid)
        })
        .collect()
}
