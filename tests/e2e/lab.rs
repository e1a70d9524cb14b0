//! Parts that are not ours, started and ended: cameras, receivers, files. Knows nothing of lss.
//!
//! Shared with `examples/site.rs`. Every part runs in a process group of its own, writes its output
//! to a file, and dies with the thread that started it, however that ends.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;

// By path, because the example and a benchmark include this file from elsewhere.
#[path = "http.rs"]
pub mod http;
pub use http::http;

/// How long a part may take to come up on a slow, busy machine.
const PART_START: Duration = Duration::from_secs(60);

/// Asks `probe` until it answers, every 50 ms; `None` at the deadline.
pub fn poll<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// [`poll`] whose deadline is a failure.
pub fn until<T>(what: &str, limit: Duration, probe: impl FnMut() -> Option<T>) -> T {
    poll(limit, probe).unwrap_or_else(|| panic!("not within {limit:?}: {what}"))
}

/// A TCP port that nobody listens on, outside the range that outgoing connections draw from.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Two test processes on one machine begin at different places.
    let start = (std::process::id() % 10_000) as u16;
    loop {
        let port = 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Where the parts are: what `tests/e2e/setup` wrote.
#[derive(Debug, Clone)]
pub struct Tools {
    /// An FFmpeg with the whip muxer.
    pub ffmpeg: PathBuf,
    /// Python with aiortc.
    pub python: PathBuf,
    /// Python with gst-rtsp-server.
    pub rtsp_python: PathBuf,
    /// The clips.
    pub clips: PathBuf,
}

/// Where one part is, or that it is missing.
pub fn tool(name: &str) -> Result<PathBuf, String> {
    let path = repo().join("target/e2e/env");
    let text =
        fs::read_to_string(&path).map_err(|_| "tests/e2e/setup has not been run".to_owned())?;
    text.lines()
        .filter_map(|line| line.split_once('='))
        .find(|(key, value)| *key == name && !value.is_empty())
        .map(|(_, value)| PathBuf::from(value))
        .filter(|path| path.exists())
        .ok_or_else(|| format!("no {name} (run tests/e2e/setup, which says why)"))
}

impl Tools {
    /// All of them, or what is missing.
    pub fn find() -> Result<Self, String> {
        Ok(Self {
            ffmpeg: tool("ffmpeg")?,
            python: tool("python")?,
            rtsp_python: tool("rtsp_python")?,
            clips: tool("clips")?,
        })
    }
}

/// The checkout.
pub fn repo() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A child process with its output in a file.
#[derive(Debug)]
pub struct Part {
    name: String,
    child: Child,
    ended: Option<ExitStatus>,
    output: PathBuf,
}

impl Part {
    /// Starts `program` with `args` and `env`; its output goes to a file in `dir`.
    pub fn start(
        dir: &Path,
        name: &str,
        program: &Path,
        args: &[&str],
        env: &[(&str, &str)],
    ) -> Self {
        static COUNT: AtomicU16 = AtomicU16::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let output = dir.join(format!("{number}-{name}.log"));
        let out = File::create(&output).expect("log file");
        // setpriv replaces itself by the program, so its pid is the program's.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(args)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("log file"))
            .stderr(out)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|e| panic!("{name}: setpriv {}: {e}", program.display()));
        Self {
            name: name.to_owned(),
            child,
            ended: None,
            output,
        }
    }

    /// Its process id, which is its group's too.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has said so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("wait");
        }
        self.ended
    }

    /// The port of its line `listening PORT`.
    fn port(&mut self) -> u16 {
        let port = poll(PART_START, || {
            let text = self.output();
            let line = text.lines().find_map(|l| l.strip_prefix("listening "));
            match (line, self.ended()) {
                (Some(port), _) => Some(Some(port.trim().parse().expect("a port"))),
                (None, Some(_)) => Some(None),
                (None, None) => None,
            }
        });
        port.flatten()
            .unwrap_or_else(|| panic!("{} did not come up:\n{}", self.name, self.output()))
    }

    /// Sends `signal` to its group, if it still runs.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            // Not reaped yet, so the number is still its own.
            let _ = killpg(Pid::from_raw(self.pid().cast_signed()), signal);
        }
    }

    /// Waits for its end.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        poll(limit, || self.ended())
    }

    /// SIGKILL, and reaped.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        if self.ended.is_none() {
            self.ended = self.child.wait().ok();
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How [`ExitStatus`] reads: `exit 0`, `signal 9`.
pub fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown end".to_owned(),
    }
}

/// A camera's login.
#[derive(Debug, Clone, Copy)]
pub struct Login<'a> {
    /// User name.
    pub user: &'a str,
    /// Password.
    pub password: &'a str,
    /// `digest` or `basic`.
    pub scheme: &'a str,
}

/// A Python part that says `listening PORT`, and can come back on the same port.
#[derive(Debug)]
struct Script {
    process: Part,
    dir: PathBuf,
    python: PathBuf,
    file: &'static str,
    args: Vec<String>,
    port: u16,
}

impl Script {
    fn start(dir: &Path, python: &Path, file: &'static str, args: Vec<String>) -> Self {
        let (process, port) = Self::launch(dir, python, file, &args, 0);
        Self {
            process,
            dir: dir.to_owned(),
            python: python.to_owned(),
            file,
            args,
            port,
        }
    }

    fn launch(dir: &Path, python: &Path, file: &str, args: &[String], port: u16) -> (Part, u16) {
        let path = repo().join("tests/e2e/lab").join(file);
        let wanted = port.to_string();
        let mut all = vec![path.to_str().expect("path"), "--port", &wanted];
        all.extend(args.iter().map(String::as_str));
        let mut process = Part::start(dir, file, python, &all, &[]);
        let bound = process.port();
        (process, bound)
    }

    fn restart(&mut self) {
        self.process.kill();
        let (process, port) =
            Self::launch(&self.dir, &self.python, self.file, &self.args, self.port);
        (self.process, self.port) = (process, port);
    }
}

/// A real RTSP server with one clip a mount point.
#[derive(Debug)]
pub struct Camera(Script);

impl Camera {
    /// `mounts`: `NAME=FILE` (a file name below the clips) or `NAME=live`.
    pub fn start(tools: &Tools, dir: &Path, login: Option<Login<'_>>, mounts: &[&str]) -> Self {
        let mut args = login.map(login_args).unwrap_or_default();
        for mount in mounts {
            let (name, source) = mount.split_once('=').expect("NAME=SOURCE");
            args.push(if source.starts_with("live") {
                (*mount).to_owned()
            } else {
                format!("{name}={}", tools.clips.join(source).display())
            });
        }
        Self(Script::start(dir, &tools.rtsp_python, "rtsp_src.py", args))
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// The URL of a mount point, without login.
    pub fn url(&self, mount: &str) -> String {
        format!("rtsp://127.0.0.1:{}/{mount}", self.0.port)
    }

    /// It answers nothing any more; its connections stay open.
    pub fn hang(&mut self) {
        self.0.process.signal(Signal::SIGSTOP);
    }

    /// It goes on where it hung.
    pub fn go_on(&mut self) {
        self.0.process.signal(Signal::SIGCONT);
    }

    /// It loses power.
    pub fn kill(&mut self) {
        self.0.process.kill();
    }

    /// Which login it takes from its next restart on. Only for a camera that had one before.
    pub fn set_login(&mut self, login: Login<'_>) {
        let new = login_args(login);
        self.0.args.splice(..new.len(), new);
    }

    /// Power again, on the same port.
    pub fn restart(&mut self) {
        self.0.restart();
    }
}

/// A camera whose clock is set while it sends.
#[derive(Debug)]
pub struct ClockCamera(Script);

impl ClockCamera {
    /// Plays a clip; its clock jumps by `step` seconds once it has been watched for `after`.
    pub fn start(tools: &Tools, dir: &Path, clip: &str, step: i32, after: u32) -> Self {
        let bytes = dir.join("clock.h264");
        let made = Command::new(&tools.ffmpeg)
            .args(["-v", "error", "-nostdin", "-y", "-i"])
            .arg(tools.clips.join(clip))
            .args(["-map", "0:v", "-c", "copy", "-f", "h264", "-bsf:v"])
            .arg("h264_mp4toannexb,h264_metadata=aud=insert")
            .arg(&bytes)
            .status();
        assert!(made.expect("ffmpeg").success());
        let args = vec![
            format!("--step={step}"),
            format!("--after={after}"),
            bytes.to_str().expect("path").to_owned(),
        ];
        Self(Script::start(dir, &tools.python, "clock_camera.py", args))
    }

    /// The URL of its stream.
    pub fn url(&self) -> String {
        format!("rtsp://127.0.0.1:{}/cam", self.0.port)
    }
}

/// A camera that passes another one's streams on, with an oddity of its own: which stands in the path.
#[derive(Debug)]
pub struct OddCamera(Script);

impl OddCamera {
    /// In front of `camera`. `password` = admin's, where an oddity wants a login.
    pub fn start(tools: &Tools, dir: &Path, camera: &Camera, password: &str) -> Self {
        let args = [
            "--upstream",
            &camera.port().to_string(),
            "--password",
            password,
        ];
        let args = args.map(str::to_owned).to_vec();
        Self(Script::start(dir, &tools.python, "odd_camera.py", args))
    }

    /// The URL of a mount point with that oddity; `login` = user and password, where there is one.
    pub fn url(&self, oddity: &str, mount: &str, login: Option<(&str, &str)>) -> String {
        let login = login.map(|(user, password)| format!("{user}:{password}@"));
        let login = login.unwrap_or_default();
        format!("rtsp://{login}127.0.0.1:{}/{oddity}/{mount}", self.0.port)
    }
}

fn login_args(login: Login<'_>) -> Vec<String> {
    [
        "--user",
        login.user,
        "--password",
        login.password,
        "--auth",
        login.scheme,
    ]
    .map(str::to_owned)
    .to_vec()
}

/// What a receiver has seen of one WHIP session.
#[derive(Debug, Clone)]
pub struct Session {
    /// Video frames decoded.
    pub video: u64,
    /// Audio frames decoded.
    pub audio: u64,
    /// Sizes seen, as `WIDTHxHEIGHT`.
    pub sizes: Vec<String>,
    /// Whether it was DELETEd.
    pub deleted: bool,
    /// `Authorization` of that DELETE.
    pub delete_auth: Option<String>,
    /// As WebRTC calls it: `connected`, `closed`, …
    pub state: String,
    /// Frames whose time lay before the one of their predecessor.
    pub backwards: u64,
}

/// A real WHIP receiver.
#[derive(Debug)]
pub struct Receiver(Script);

impl Receiver {
    /// `decode`: really decode, or only count the frames.
    pub fn start(tools: &Tools, dir: &Path, decode: bool) -> Self {
        Self::start_with(tools, dir, if decode { &[] } else { &["--no-decode"] })
    }

    /// With arguments of its own.
    pub fn start_with(tools: &Tools, dir: &Path, args: &[&str]) -> Self {
        let args = args.iter().map(|&a| a.to_owned()).collect();
        Self(Script::start(dir, &tools.python, "whip_recv.py", args))
    }

    /// Where to send to. `mode`: `tests/e2e/lab/whip_recv.py` lists them.
    pub fn url(&self, mode: &str, key: &str) -> String {
        format!("http://127.0.0.1:{}/whip/{mode}/{key}", self.0.port)
    }

    /// It dies: every socket is gone.
    pub fn kill(&mut self) {
        self.0.process.kill();
    }

    /// A new one on the same port, which knows nothing of the old one's sessions.
    pub fn restart(&mut self) {
        self.0.restart();
    }

    fn get(&self, path: &str) -> Value {
        http(
            "GET",
            &format!("http://127.0.0.1:{}{path}", self.0.port),
            &[],
            None,
        )
        .json
    }

    /// `close`, `freeze`, or `mode` with `&mode=…` behind the key.
    pub fn control(&self, what: &str, key: &str) {
        let url = format!("http://127.0.0.1:{}/ctl/{what}?key={key}", self.0.port);
        let answer = http("POST", &url, &[], None);
        assert_eq!(answer.status, 200, "{url}");
    }

    /// Every session of `key`, oldest first.
    pub fn sessions(&self, key: &str) -> Vec<Session> {
        let stats = self.get(&format!("/stats?key={key}"));
        let list = stats["sessions"].as_array().cloned().unwrap_or_default();
        list.iter()
            .map(|s| Session {
                video: s["video"]["frames"].as_u64().unwrap_or(0),
                audio: s["audio"]["frames"].as_u64().unwrap_or(0),
                sizes: s["video"]["size"]
                    .as_object()
                    .map(|sizes| sizes.keys().cloned().collect())
                    .unwrap_or_default(),
                deleted: s["deleted"] == true,
                delete_auth: s["delete_auth"].as_str().map(str::to_owned),
                state: s["state"].as_str().unwrap_or("").to_owned(),
                backwards: s["video"]["pts_backwards"].as_u64().unwrap_or(0),
            })
            .collect()
    }

    /// How often `key` was POSTed to.
    pub fn posts(&self, key: &str) -> u64 {
        self.get("/stats")["posts"][key].as_u64().unwrap_or(0)
    }

    /// Waits until session number `nth` (from 0) of `key` has `frames` video frames.
    pub fn await_frames(&self, key: &str, nth: usize, frames: u64, limit: Duration) -> Session {
        until(
            &format!("{frames} frames in session {nth} of {key}"),
            limit,
            || {
                let session = self.sessions(key).into_iter().nth(nth)?;
                (session.video >= frames).then_some(session)
            },
        )
    }
}

/// Listens and never answers: a camera that accepts and hangs. The kernel completes the handshake;
/// nobody accepts.
#[derive(Debug)]
pub struct SilentPort(TcpListener);

impl SilentPort {
    /// On any port.
    pub fn open() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").expect("bind"))
    }

    /// Which one.
    pub fn port(&self) -> u16 {
        self.0.local_addr().expect("address").port()
    }
}

/// Writes a file that only its owner can read.
pub fn write_private(path: &Path, text: &str) {
    fs::write(path, text).expect("file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("file mode");
}

/// Appends a line to a file that several processes write to.
pub fn append(path: &Path, line: &str) {
    let file = fs::OpenOptions::new().create(true).append(true).open(path);
    if let Ok(mut file) = file {
        let _ = file.write_all(format!("{line}\n").as_bytes());
    }
}

/// Pids of the living processes that have `marker` in their command line, ourselves excepted.
pub fn processes_with(marker: &str) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|&pid| pid != std::process::id())
        .filter(|pid| {
            // A zombie's command line is empty.
            fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(marker))
        })
        .collect()
}
