//! What a site has around it: a web server that says what a test wants, a STUN server, and a run of
//! the real binary between them. Written apart from lss's own code.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use crate::support::ably::Standin;
use crate::support::ably::model::Config;
use crate::support::daemon::{fake_ffmpeg, free_port};
use crate::support::digest_server::GateRules;
use crate::support::isapi_camera::{self, IsapiStandIn, Model};
use crate::support::rtsp_server::{BASELINE_SDP, RtspServer, Rules};

/// The head of a request → the bytes of the answer; `None` = silence.
type Say = dyn Fn(&str) -> Option<String> + Send + Sync;

/// A web server of few words.
pub struct Web {
    /// What a test puts into the configuration; it may name another port than the server's own.
    pub addr: SocketAddr,
    own: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    stopped: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    acceptor: Option<JoinHandle<()>>,
}

impl Web {
    pub fn start(
        tls: Option<Arc<ServerConfig>>,
        say: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let stopped = Arc::new(AtomicBool::new(false));
        let streams = Arc::new(Mutex::new(Vec::new()));
        let say: Arc<Say> = Arc::new(say);
        let acceptor = std::thread::spawn({
            let (heads, stopped, streams) = (heads.clone(), stopped.clone(), streams.clone());
            move || {
                for stream in listener.incoming() {
                    if stopped.load(Ordering::SeqCst) {
                        return;
                    }
                    let Ok(stream) = stream else { continue };
                    streams.lock().unwrap().push(stream.try_clone().unwrap());
                    let (heads, say, tls) = (heads.clone(), say.clone(), tls.clone());
                    std::thread::spawn(move || serve(stream, tls, &heads, &*say));
                }
            }
        });
        Self {
            addr,
            own: addr,
            heads,
            stopped,
            streams,
            acceptor: Some(acceptor),
        }
    }

    /// Heads of all requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.own);
        let _ = self.acceptor.take().unwrap().join();
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

fn serve(tcp: TcpStream, tls: Option<Arc<ServerConfig>>, heads: &Mutex<Vec<String>>, say: &Say) {
    let mut wire: Box<dyn Wire> = match tls {
        None => Box::new(tcp),
        Some(config) => Box::new(StreamOwned::new(
            ServerConnection::new(config).unwrap(),
            tcp,
        )),
    };
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if !matches!(wire.read(&mut byte), Ok(1)) {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    heads.lock().unwrap().push(head.clone());
    match say(&head) {
        Some(answer) => {
            let _ = wire.write_all(answer.as_bytes());
            let _ = wire.flush();
        }
        // Ends when the client goes, or the server.
        None => while matches!(wire.read(&mut byte), Ok(1)) {},
    }
}

/// An answer that ends its connection; `date` = seconds that its clock is off.
pub fn answer(status: u16, kind: &str, body: &str, date: i64) -> String {
    let now = SystemTime::now();
    let by = Duration::from_secs(date.unsigned_abs());
    let at = if date < 0 { now - by } else { now + by };
    format!(
        "HTTP/1.1 {status} X\r\nDate: {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        httpdate::fmt_http_date(at),
        body.len()
    )
}

/// RCS: a bearer is asked for before the method is looked at.
pub fn rcs(token: &'static str, date: i64) -> impl Fn(&str) -> Option<String> + Send + Sync {
    move |head| {
        let json = "application/json";
        let has_token = head
            .lines()
            .any(|line| line.eq_ignore_ascii_case(&format!("authorization: Bearer {token}")));
        Some(if head.starts_with("HEAD / ") {
            answer(404, json, "", date)
        } else if !has_token {
            answer(401, json, "{\"code\":10001,\"message\":\"no\"}", date)
        } else if head.starts_with("GET /lss/heartbeat ") {
            answer(
                405,
                json,
                "{\"code\":20001,\"message\":\"POST only\"}",
                date,
            )
        } else {
            answer(500, json, "{}", date)
        })
    }
}

/// A STUN server, or one that never answers.
pub struct Stun {
    pub addr: SocketAddr,
    thread: Option<JoinHandle<()>>,
    stopped: Arc<AtomicBool>,
}

impl Stun {
    pub fn start(answers: bool) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let addr = socket.local_addr().unwrap();
        let stopped = Arc::new(AtomicBool::new(false));
        let seen = stopped.clone();
        let thread = std::thread::spawn(move || {
            let mut buffer = [0_u8; 1500];
            while let Ok((n, from)) = socket.recv_from(&mut buffer) {
                if seen.load(Ordering::SeqCst) {
                    return;
                }
                let well_formed = n == 20 && buffer[..8] == [0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42];
                let SocketAddr::V4(from4) = from else {
                    continue;
                };
                if !answers || !well_formed {
                    continue;
                }
                let mut reply = vec![1, 1, 0, 12, 0x21, 0x12, 0xA4, 0x42];
                reply.extend(&buffer[8..20]);
                reply.extend([0, 0x20, 0, 8, 0, 1]);
                reply.extend((from4.port() ^ 0x2112).to_be_bytes());
                let cookie = [0x21, 0x12, 0xA4, 0x42];
                reply.extend(from4.ip().octets().iter().zip(cookie).map(|(a, b)| a ^ b));
                socket.send_to(&reply, from).unwrap();
            }
        });
        Self {
            addr,
            thread: Some(thread),
            stopped,
        }
    }
}

impl Drop for Stun {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let waker = UdpSocket::bind("127.0.0.1:0").unwrap();
        let _ = waker.send_to(&[0], self.addr);
        let _ = self.thread.take().unwrap().join();
    }
}

pub const TOKEN: &str = "canary-rcs-token";
pub const KEY: &str = "app.key:canary-ably-key";
pub const PASSWORD: &str = "canary-camera-word";

/// A site where all is well, unless a test says otherwise before it runs the doctor.
pub struct Site {
    pub ably: Standin,
    pub rcs: Web,
    pub camera: IsapiStandIn,
    pub rtsp: RtspServer,
    pub stun: Stun,
    pub rcs_scheme: &'static str,
    pub ably_key: String,
    /// And what else goes with it.
    pub ably_endpoint: String,
    pub token: String,
    pub password: String,
    pub ffmpeg: PathBuf,
    pub port: u16,
    pub more_rcs: String,
    pub dir: tempfile::TempDir,
}

/// What came of a run.
pub struct Seen {
    pub code: i32,
    pub out: String,
    pub took: Duration,
}

impl Site {
    pub fn new() -> Self {
        let gate = GateRules {
            password: PASSWORD.to_owned(),
            ..GateRules::default()
        };
        let rtsp = RtspServer::start(Rules {
            gate: Some(gate.clone()),
            streams: [(
                "/Streaming/Channels/101".to_owned(),
                BASELINE_SDP.to_owned(),
            )]
            .into(),
            ..Rules::default()
        });
        let model = Model {
            stream: Some((rtsp.addr.port(), 50)),
            rtsp_port: rtsp.addr.port(),
            ..Model::default()
        };
        let site = Self {
            ably: Standin::with_config(Config {
                keys: [KEY.to_owned()].into(),
                ..Config::default()
            }),
            rcs: Web::start(None, rcs(TOKEN, 0)),
            camera: isapi_camera::start(gate, model),
            rtsp,
            stun: Stun::start(true),
            rcs_scheme: "http",
            ably_key: KEY.to_owned(),
            ably_endpoint: "127.0.0.1".to_owned(),
            token: TOKEN.to_owned(),
            password: PASSWORD.to_owned(),
            ffmpeg: fake_ffmpeg(),
            port: free_port(),
            more_rcs: String::new(),
            dir: tempfile::tempdir().unwrap(),
        };
        site.ably_clock(0);
        site
    }

    /// Ably's clock is off by so many seconds. (The stand-in's own is years ahead.)
    pub fn ably_clock(&self, seconds: i64) {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        let now = i64::try_from(now.as_millis()).unwrap();
        self.ably
            .http(|http| http.time_offset = now - 4_000_000_000_000 + seconds * 1000);
    }

    fn yaml(&self) -> String {
        format!(
            "server: {{ listen: 127.0.0.1, port: {} }}
rcs: {{ base_url: '{}://{}', token: '{}'{} }}
ably: {{ api_key: '{}', endpoint: {}, port: {}, tls: false, connectivity_check_url: 'http://{}/up' }}
lss: {{ node: {{ machine_id: 'doctor-{}' }}, ffmpeg: {{ path: '{}' }} }}
camera: {{ scan_enabled: false, allow_loopback: true, credentials: [ {{ match: 127.0.0.1, username: admin, password: '{}' }} ] }}
",
            self.port,
            self.rcs_scheme,
            self.rcs.addr,
            self.token,
            self.more_rcs,
            self.ably_key,
            self.ably_endpoint,
            self.ably.address.port(),
            self.ably.address,
            self.port,
            self.ffmpeg.display(),
            self.password
        )
    }

    /// Runs the doctor; whatever it says, no secret is in it and every fault has its advice.
    pub fn doctor(&self, more: &[&str]) -> Seen {
        let config = self.dir.path().join("lss.yaml");
        std::fs::write(&config, self.yaml()).unwrap();
        std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o600)).unwrap();
        let camera = self.camera.addr.to_string();
        let stun = self.stun.addr.to_string();
        let config = config.to_str().unwrap();
        let args = ["--config", config, "--stun", &stun, "--camera", &camera];
        run(&[&args[..], more].concat(), &[])
    }
}

/// Runs `lss doctor`.
pub fn run(args: &[&str], env: &[(&str, &str)]) -> Seen {
    let begin = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_lss"))
        .arg("doctor")
        .args(args)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let seen = Seen {
        code: output.status.code().expect("an exit code"),
        out: text(output.stdout),
        took: begin.elapsed(),
    };
    let err = text(output.stderr);
    assert_eq!(err, "", "{}", seen.out);
    assert!(!seen.out.contains("canary"), "{}", seen.out);
    assert!(!seen.out.contains("panicked"), "{}", seen.out);
    seen
}

impl Seen {
    /// The line of a check that begins so, and the advice below it.
    #[track_caller]
    pub fn line(&self, start: &str) -> (&str, &str) {
        let mut lines = self.out.lines();
        let line = lines
            .find(|line| line.starts_with(start))
            .unwrap_or_else(|| panic!("no {start:?} in\n{}", self.out));
        let advice = lines.next().unwrap_or("").trim_start();
        (line, advice.strip_prefix("-> ").unwrap_or(""))
    }

    /// A failure that says `words` and advises `advice`, and exit code 1.
    #[track_caller]
    pub fn fails(&self, check: &str, words: &str, advice: &str) {
        let (line, advised) = self.line(&format!("fail  {check}"));
        assert!(line.contains(words), "{line}");
        assert!(advised.contains(advice), "{line}\n{advised}");
        assert_eq!(self.code, 1, "{}", self.out);
    }

    /// Nothing else has failed.
    #[track_caller]
    pub fn only_fails(&self, checks: &[&str]) {
        for line in self.out.lines().filter(|line| line.starts_with("fail")) {
            let known = checks
                .iter()
                .any(|c| line.starts_with(&format!("fail  {c}")));
            assert!(known, "{line}\n{}", self.out);
        }
    }

    /// The report of `--json`.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|why| panic!("{why}: {}", self.out))
    }
}
