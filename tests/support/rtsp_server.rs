//! A strict stand-in RTSP server with faults on demand. Written apart from lss's own RTSP code, so
//! that no mistake is made on both sides. Answers OPTIONS and DESCRIBE, and sets streams up without
//! playing them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::camera_http::Incoming;
use super::digest_server::{Gate, GateRules, Verdict};

/// H.264 Constrained Baseline, 640x360 at 25, and G.711: as an encoder wrote the sets.
pub const BASELINE_SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=Media Presentation\r\nt=0 0\r\na=control:*\r\n\
m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n\
a=fmtp:96 packetization-mode=1; profile-level-id=42C01E; sprop-parameter-sets=Z0LAHtoCgL/lwEQAAAMABAAAAwDIPFi6gA==,aM48gA==\r\n\
a=control:trackID=1\r\nm=audio 0 RTP/AVP 8\r\na=control:trackID=2\r\n";

/// What a camera does on purpose or by mistake.
#[derive(Debug, Clone, Default)]
pub enum Quirk {
    #[default]
    None,
    /// Accepts, reads, never answers.
    Silent,
    /// Closes as soon as it is asked.
    HangsUp,
    /// Answers with these bytes, and keeps the connection.
    Says(Vec<u8>),
    /// Says these bytes before it is asked anything, and keeps the connection.
    Greets(Vec<u8>),
    /// A byte at a time, this far apart.
    Drip(Duration),
    /// Half an answer, then the sending side is closed.
    HalfClosed,
    /// Closes behind a challenge; tells so in it, or not.
    ClosesBehindChallenge { tells: bool },
    /// These bytes before every answer.
    Before(Vec<u8>),
    /// No Content-Length; closes behind the answer, or does not.
    NoLength { closes: bool },
    /// Every DESCRIBE of a path that holds this is sent on to a URL.
    Redirects { path: String, to: String },
}

/// How the server is.
#[derive(Debug, Clone)]
pub struct Rules {
    /// No gate = open to all.
    pub gate: Option<GateRules>,
    /// A login is wanted for OPTIONS, too.
    pub gate_on_options: bool,
    /// An unknown path is 404 before a login is asked for.
    pub path_before_login: bool,
    pub server: Option<String>,
    pub public: String,
    /// Path with query → description.
    pub streams: BTreeMap<String, String>,
    /// The description of every other path.
    pub any: Option<String>,
    /// Status of every DESCRIBE that gets through.
    pub status: u16,
    /// End of a URL → status of its SETUP; 200 for all others.
    pub setups: BTreeMap<String, u16>,
    /// What stands in `Content-Base`, in place of the URL that was asked for.
    pub base: Option<String>,
    pub quirk: Quirk,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            gate: None,
            gate_on_options: false,
            path_before_login: false,
            server: Some("Rtsp Server/3.0".to_owned()),
            public: "OPTIONS, DESCRIBE, SETUP, TEARDOWN, PLAY, GET_PARAMETER".to_owned(),
            streams: BTreeMap::from([("/main".to_owned(), BASELINE_SDP.to_owned())]),
            any: None,
            status: 200,
            setups: BTreeMap::new(),
            base: None,
            quirk: Quirk::None,
        }
    }
}

/// What happened so far.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// `METHOD url`, in order.
    pub requests: Vec<String>,
    /// Whether each carried a login.
    pub with_login: Vec<bool>,
    pub connections: usize,
    /// Logins that were wrong.
    pub refused: u32,
    /// Sessions set up and not torn down.
    pub sessions: usize,
    /// Breaches of the protocol, in words. A test wants none.
    pub violations: Vec<String>,
}

struct Shared {
    rules: Rules,
    gate: Mutex<Option<Gate>>,
    seen: Mutex<Seen>,
    stopped: AtomicBool,
    lock: Mutex<()>,
    bell: Condvar,
    streams: Mutex<Vec<TcpStream>>,
}

impl Shared {
    /// Waits, `false` when the server is to end.
    fn pause(&self, time: Duration) -> bool {
        let guard = self.lock.lock().unwrap();
        let running = |(): &mut ()| !self.stopped.load(Ordering::SeqCst);
        let (_guard, _) = self.bell.wait_timeout_while(guard, time, running).unwrap();
        !self.stopped.load(Ordering::SeqCst)
    }

    fn violation(&self, what: &str) {
        self.seen.lock().unwrap().violations.push(what.to_owned());
    }
}

/// A running server. Dropping it ends its threads.
pub struct RtspServer {
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl RtspServer {
    /// On a free port of loopback.
    pub fn start(rules: Rules) -> Self {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0)), rules).unwrap()
    }

    /// On this very port.
    pub fn start_on(addr: SocketAddr, rules: Rules) -> std::io::Result<Self> {
        let listener = TcpListener::bind(addr)?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            gate: Mutex::new(rules.gate.clone().map(Gate::new)),
            rules,
            seen: Mutex::default(),
            stopped: AtomicBool::new(false),
            lock: Mutex::default(),
            bell: Condvar::new(),
            streams: Mutex::default(),
        });
        let acceptor = {
            let shared = shared.clone();
            std::thread::spawn(move || accept(&listener, &shared))
        };
        Ok(Self {
            addr,
            shared,
            acceptor: Some(acceptor),
        })
    }

    /// The URL of a path on it.
    pub fn url(&self, path: &str) -> String {
        format!("rtsp://{}{path}", self.addr)
    }

    /// So far.
    pub fn seen(&self) -> Seen {
        let mut seen = self.shared.seen.lock().unwrap().clone();
        if let Some(gate) = &*self.shared.gate.lock().unwrap() {
            seen.refused = gate.refused;
            seen.violations.extend(gate.violations.clone());
        }
        seen
    }
}

impl Drop for RtspServer {
    fn drop(&mut self) {
        {
            let _guard = self.shared.lock.lock().unwrap();
            self.shared.stopped.store(true, Ordering::SeqCst);
            self.shared.bell.notify_all();
        }
        // Wakes the acceptor.
        let _ = TcpStream::connect(self.addr);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads = Vec::new();
    while let Ok((stream, _)) = listener.accept() {
        if shared.stopped.load(Ordering::SeqCst) {
            break;
        }
        let number = {
            let mut seen = shared.seen.lock().unwrap();
            seen.connections += 1;
            seen.connections - 1
        };
        shared
            .streams
            .lock()
            .unwrap()
            .push(stream.try_clone().unwrap());
        let shared = shared.clone();
        threads.push(std::thread::spawn(move || {
            serve(&stream, number, &shared);
            let _ = stream.shutdown(Shutdown::Both);
        }));
    }
    for stream in shared.streams.lock().unwrap().drain(..) {
        let _ = stream.shutdown(Shutdown::Both);
    }
    for thread in threads {
        let _ = thread.join();
    }
}

const LONG: Duration = Duration::from_secs(3600);

fn serve(mut stream: &TcpStream, number: usize, shared: &Shared) {
    stream.set_nodelay(true).unwrap();
    if let Quirk::Greets(bytes) = &shared.rules.quirk {
        let _ = stream.write_all(bytes);
        shared.pause(LONG);
        return;
    }
    let mut reader = BufReader::new(stream);
    let mut last_cseq = 0;
    while let Some((request, cseq)) = read_request(&mut reader, number, shared) {
        if number == 0 && cseq <= last_cseq {
            shared.violation("CSeq does not rise");
        }
        last_cseq = cseq;
        {
            let mut seen = shared.seen.lock().unwrap();
            seen.requests
                .push(format!("{} {}", request.method, request.target));
            seen.with_login
                .push(request.header("Authorization").is_some());
        }
        let reply = answer(&request, shared);
        let challenge = reply.status == 401;
        let bytes = reply.bytes(cseq, shared);
        match &shared.rules.quirk {
            Quirk::Silent => {
                shared.pause(LONG);
                return;
            }
            Quirk::HangsUp => return,
            Quirk::Says(bytes) => {
                let _ = stream.write_all(bytes);
                shared.pause(LONG);
                return;
            }
            Quirk::Drip(apart) => {
                for byte in bytes {
                    if stream.write_all(&[byte]).is_err() || !shared.pause(*apart) {
                        return;
                    }
                }
            }
            Quirk::HalfClosed => {
                let _ = stream.write_all(&bytes[..bytes.len() / 2]);
                let _ = stream.shutdown(Shutdown::Write);
                shared.pause(LONG);
                return;
            }
            Quirk::Before(media) => {
                let _ = stream.write_all(&[media, bytes.as_slice()].concat());
            }
            quirk => {
                let _ = stream.write_all(&bytes);
                let ends = match quirk {
                    Quirk::ClosesBehindChallenge { .. } => challenge,
                    Quirk::NoLength { closes } => *closes && reply.status == 200,
                    _ => false,
                };
                if ends {
                    return;
                }
            }
        }
    }
}

struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Reply {
    fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: String::new(),
        }
    }

    fn bytes(&self, cseq: u32, shared: &Shared) -> Vec<u8> {
        let mut out = format!("RTSP/1.0 {} Word\r\nCSeq: {cseq}\r\n", self.status);
        let mut line = |name: &str, value: &str| {
            let _ = write!(out, "{name}: {value}\r\n");
        };
        if let Some(server) = &shared.rules.server {
            line("Server", server);
        }
        for (name, value) in &self.headers {
            line(name, value);
        }
        match shared.rules.quirk {
            Quirk::ClosesBehindChallenge { tells: true } if self.status == 401 => {
                line("Connection", "close");
            }
            Quirk::NoLength { .. } => {}
            _ if self.body.is_empty() => {}
            _ => line("Content-Length", &self.body.len().to_string()),
        }
        out.push_str("\r\n");
        out.push_str(&self.body);
        out.into_bytes()
    }
}

fn answer(request: &Incoming, shared: &Shared) -> Reply {
    let rules = &shared.rules;
    let path = path_of(&request.target);
    let known = rules.streams.get(path).or(rules.any.as_ref());
    if request.method == "DESCRIBE" && rules.path_before_login && known.is_none() {
        return Reply::new(404);
    }
    if (request.method != "OPTIONS" || rules.gate_on_options)
        && let Some(gate) = &mut *shared.gate.lock().unwrap()
        && let Verdict::Stop {
            status, headers, ..
        } = gate.judge(request)
    {
        let mut reply = Reply::new(status);
        reply.headers = headers;
        return reply;
    }
    match request.method.as_str() {
        "OPTIONS" => {
            let mut reply = Reply::new(200);
            reply
                .headers
                .push(("Public".to_owned(), rules.public.clone()));
            reply
        }
        "DESCRIBE" => describe(request, path, known, rules),
        "SETUP" => set_up(request, shared),
        "TEARDOWN" => {
            if request.header("Session") == Some(SESSION) {
                shared.seen.lock().unwrap().sessions = 0;
            } else {
                shared.violation("TEARDOWN of no session");
            }
            Reply::new(200)
        }
        _ => Reply::new(501),
    }
}

const SESSION: &str = "4711";

/// One session at a time: whoever sets a second stream up has to name it.
fn set_up(request: &Incoming, shared: &Shared) -> Reply {
    let named = match request.header("Session") {
        Some(SESSION) => true,
        Some(other) => {
            shared.violation(&format!("no such session: {other}"));
            return Reply::new(454);
        }
        None => false,
    };
    let transport = request.header("Transport").unwrap_or_default();
    if !transport.starts_with("RTP/AVP/TCP;unicast;interleaved=") {
        shared.violation(&format!("Transport: {transport}"));
    }
    let mut setups = shared.rules.setups.iter();
    if let Some((_, status)) = setups.find(|(end, _)| request.target.ends_with(end.as_str())) {
        return Reply::new(*status);
    }
    let mut seen = shared.seen.lock().unwrap();
    if seen.sessions > 0 && !named {
        seen.violations.push("a second session".to_owned());
        return Reply::new(453);
    }
    seen.sessions = 1;
    let mut reply = Reply::new(200);
    for (name, value) in [
        ("Transport", transport),
        ("Session", &format!("{SESSION};timeout=60")),
    ] {
        reply.headers.push((name.to_owned(), value.to_owned()));
    }
    reply
}

fn describe(request: &Incoming, path: &str, known: Option<&String>, rules: &Rules) -> Reply {
    if let Quirk::Redirects { path: from, to } = &rules.quirk
        && path.contains(from.as_str())
    {
        let mut reply = Reply::new(302);
        reply.headers.push(("Location".to_owned(), to.clone()));
        return reply;
    }
    if rules.status != 200 {
        return Reply::new(rules.status);
    }
    let Some(body) = known else {
        return Reply::new(404);
    };
    let mut reply = Reply::new(200);
    let usual = format!("{}/", request.target);
    for (name, value) in [
        ("Content-Type", "application/sdp"),
        ("Content-Base", rules.base.as_ref().unwrap_or(&usual)),
    ] {
        reply.headers.push((name.to_owned(), value.to_owned()));
    }
    reply.body.clone_from(body);
    reply
}

fn path_of(url: &str) -> &str {
    let rest = ["rtsp://", "rtsps://"]
        .iter()
        .find_map(|scheme| url.strip_prefix(scheme))
        .unwrap_or(url);
    rest.find('/').map_or("", |at| &rest[at..])
}

/// A request and its CSeq; `None` at the end of the connection or behind a breach of the protocol.
fn read_request(
    reader: &mut BufReader<&TcpStream>,
    connection: usize,
    shared: &Shared,
) -> Option<(Incoming, u32)> {
    let mut lines = Vec::new();
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line).unwrap_or(0) == 0 {
            if !lines.is_empty() {
                shared.violation("half a request");
            }
            return None;
        }
        let line = String::from_utf8(line).ok();
        let Some(line) = line.as_deref().and_then(|l| l.strip_suffix("\r\n")) else {
            shared.violation("a line that is no text or does not end in CRLF");
            return None;
        };
        if line.is_empty() {
            break;
        }
        lines.push(line.to_owned());
    }
    let words: Vec<&str> = lines.first()?.split(' ').collect();
    let [method, target, "RTSP/1.0"] = words.as_slice() else {
        shared.violation(&format!("request line: {words:?}"));
        return None;
    };
    // By TLS where there is a front that takes it off.
    let known = ["rtsp://", "rtsps://"]
        .iter()
        .any(|s| target.starts_with(s));
    if !known || target.contains('@') {
        shared.violation(&format!("request URL: {target}"));
    }
    let headers: Vec<(String, String)> = lines[1..]
        .iter()
        .filter_map(|l| l.split_once(": "))
        .map(|(n, v)| (n.to_owned(), v.to_owned()))
        .collect();
    if headers.len() != lines.len() - 1 {
        shared.violation("a line that is no header");
    }
    let request = Incoming {
        method: (*method).to_owned(),
        target: (*target).to_owned(),
        headers,
        body: Vec::new(),
        connection,
        at: Instant::now(),
    };
    let Some(cseq) = request.header("CSeq").and_then(|n| n.parse().ok()) else {
        shared.violation("no CSeq");
        return None;
    };
    if request.header("User-Agent").is_none() {
        shared.violation("no User-Agent");
    }
    if *method == "DESCRIBE" && request.header("Accept") != Some("application/sdp") {
        shared.violation("DESCRIBE without Accept");
    }
    Some((request, cseq))
}
