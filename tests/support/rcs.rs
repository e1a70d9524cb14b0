//! A stand-in for RCS: a small, strict HTTP/1.1 server on loopback, plain or TLS.
//!
//! It checks each request down to the type of every field ([`Rcs::violations`]; dropping the
//! stand-in with one left fails the test), keeps what came in order, and misbehaves on demand, at
//! run time, per door or per request. A heartbeat of a node that has not registered gets 404.

// A path: this file is a module of tests, and of an example elsewhere.
#[path = "rcs/shape.rs"]
mod shape;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

/// Where a request went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Door {
    Register,
    Heartbeat,
    Callback,
    /// GET /ip: the service that tells the caller's address.
    Ip,
}

impl Door {
    pub const ALL: [Self; 4] = [Self::Register, Self::Heartbeat, Self::Callback, Self::Ip];

    fn of(method: &str, path: &str) -> Option<Self> {
        let path = path.split('?').next().unwrap_or(path);
        Some(match (method, path) {
            ("POST", "/lss/register") => Self::Register,
            ("POST", "/lss/heartbeat") => Self::Heartbeat,
            ("POST", "/lss/task/callback") => Self::Callback,
            ("GET", "/ip") => Self::Ip,
            _ => return None,
        })
    }
}

/// How the stand-in treats a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Mode {
    /// As RCS does: 200 `{"code":0,…}`, 404 to a heartbeat of a stranger.
    Ok,
    /// As `Ok`, and then the connection is closed without having said so.
    OkThenClose,
    /// As `Ok`, said with this body.
    OkAs(&'static str),
    /// This status, and that the request belongs elsewhere.
    Moved(u16, String),
    /// This status with an empty body.
    Status(u16),
    /// This status and body.
    Answer(u16, String),
    /// A captive portal's page, 200.
    Html,
    /// A captive portal's redirect.
    Redirect,
    /// 200 with this `code`.
    Code(i64),
    /// 200 with a body of so many bytes.
    Huge(usize),
    /// No answer until the client gives up.
    Silence,
    /// An answer whose head never ends, a byte at a time.
    DripHead,
    /// An answer whose body never ends, a byte at a time.
    DripBody,
    /// The connection is closed in place of an answer.
    Hangup,
    /// The connection is reset in place of an answer.
    Reset,
}

/// One request that came.
#[derive(Debug, Clone)]
pub struct Request {
    pub door: Door,
    /// With its query.
    pub path: String,
    pub body: Value,
    pub authorization: Option<String>,
    /// Numbers the connection it came on.
    pub connection: u64,
    pub at: Instant,
    /// How it was treated.
    pub mode: Mode,
}

impl Request {
    /// A field's text; empty if it is none.
    pub fn text(&self, field: &str) -> &str {
        self.body.get(field).and_then(Value::as_str).unwrap_or("")
    }

    /// Whether RCS has said that it took it.
    pub fn taken(&self) -> bool {
        matches!(self.mode, Mode::Ok | Mode::OkThenClose | Mode::OkAs(_))
    }
}

type Script = dyn Fn(&Request) -> Option<Mode> + Send + Sync;

/// The stand-in.
pub struct Rcs {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    tls: Option<Arc<ServerConfig>>,
    state: Mutex<State>,
    changed: Condvar,
    connections: AtomicU64,
    /// Tells the present listener's threads to end.
    open: Mutex<Arc<AtomicBool>>,
}

#[derive(Default)]
struct State {
    token: Option<String>,
    modes: BTreeMap<Door, Mode>,
    script: Option<Arc<Script>>,
    known: HashSet<String>,
    ip: String,
    requests: Vec<Request>,
    violations: Vec<String>,
    streams: Vec<TcpStream>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn violation(&self, what: impl Into<String>) {
        self.lock().violations.push(what.into());
        self.changed.notify_all();
    }
}

impl Rcs {
    /// On a free port of 127.0.0.1.
    pub fn start() -> Self {
        Self::listen(None)
    }

    /// The same over TLS.
    pub fn start_tls(config: Arc<ServerConfig>) -> Self {
        Self::listen(Some(config))
    }

    fn listen(tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let mut rcs = Self {
            address: listener.local_addr().unwrap(),
            shared: Arc::new(Shared {
                tls,
                state: Mutex::default(),
                changed: Condvar::new(),
                connections: AtomicU64::new(0),
                open: Mutex::default(),
            }),
            accepting: None,
        };
        rcs.accept_on(listener);
        rcs
    }

    /// For `rcs.base_url`.
    pub fn base_url(&self) -> String {
        let scheme = if self.shared.tls.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.address)
    }

    /// For `lss.node.public_ip_url`.
    pub fn ip_url(&self) -> String {
        format!("{}/ip", self.base_url())
    }

    /// What GET /ip answers.
    pub fn set_ip(&self, text: &str) {
        text.clone_into(&mut self.shared.lock().ip);
    }

    /// From now on each request needs this bearer (`None`: must carry none).
    pub fn set_token(&self, token: Option<&str>) {
        self.shared.lock().token = token.map(str::to_owned);
    }

    /// From now on every request is treated like this.
    pub fn set_all(&self, mode: &Mode) {
        for door in Door::ALL {
            self.set(door, mode.clone());
        }
    }

    /// From now on requests to `door` are treated like this.
    pub fn set(&self, door: Door, mode: Mode) {
        self.shared.lock().modes.insert(door, mode);
    }

    /// Asked for each request before the modes; `None` = as the modes say.
    pub fn script(&self, script: impl Fn(&Request) -> Option<Mode> + Send + Sync + 'static) {
        self.shared.lock().script = Some(Arc::new(script));
    }

    /// Ends the script.
    pub fn unscript(&self) {
        self.shared.lock().script = None;
    }

    /// RCS has been restarted: it knows no node any more.
    pub fn forget_nodes(&self) {
        self.shared.lock().known.clear();
    }

    /// Nothing listens any more; open connections are closed.
    pub fn close(&mut self) {
        let open = self.shared.open.lock().unwrap().clone();
        open.store(false, Ordering::SeqCst);
        self.shared.changed.notify_all();
        // Wakes accept().
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            accepting.join().unwrap();
        }
        for stream in std::mem::take(&mut self.shared.lock().streams) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Listens again, on the same port.
    pub fn reopen(&mut self) {
        assert!(self.accepting.is_none(), "is open");
        let deadline = Instant::now() + Duration::from_secs(10);
        let listener = loop {
            match TcpListener::bind(self.address) {
                Ok(listener) => break listener,
                Err(why) => assert!(Instant::now() < deadline, "{}: {why}", self.address),
            }
            thread::yield_now();
        };
        self.accept_on(listener);
    }

    fn accept_on(&mut self, listener: TcpListener) {
        let open = Arc::new(AtomicBool::new(true));
        *self.shared.open.lock().unwrap() = open.clone();
        let shared = self.shared.clone();
        let accepting = thread::Builder::new().name("rcs-stand-in".to_owned());
        let accepting = accepting.spawn(move || {
            for stream in listener.incoming() {
                if !open.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                shared.lock().streams.push(stream.try_clone().unwrap());
                let (shared, open) = (shared.clone(), open.clone());
                thread::spawn(move || serve(&shared, &open, stream));
            }
        });
        self.accepting = Some(accepting.unwrap());
    }

    /// Everything so far, in the order in which it came.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.lock().requests.clone()
    }

    /// What came to `door`.
    pub fn at(&self, door: Door) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|r| r.door == door);
        requests
    }

    /// Waits until `predicate` holds of everything so far; panics after `patience`.
    pub fn wait_for(
        &self,
        what: &str,
        patience: Duration,
        predicate: impl Fn(&[Request]) -> bool,
    ) -> Vec<Request> {
        let deadline = Instant::now() + patience;
        let mut state = self.shared.lock();
        while !predicate(&state.requests) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let seen = Summary(&state.requests).to_string();
                let bad = state.violations.join("; ");
                drop(state);
                panic!("RCS still waits for {what}; it saw {seen}{bad}");
            }
            state = self
                .shared
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        state.requests.clone()
    }

    /// Waits for the `n`th request (from 1) to `door`.
    pub fn wait_nth(&self, door: Door, n: usize) -> Request {
        let what = format!("{door:?} number {n}");
        self.wait_for(&what, Duration::from_secs(20), |requests| {
            requests.iter().filter(|r| r.door == door).count() >= n
        });
        self.at(door).swap_remove(n - 1)
    }

    /// What did not keep to the contract.
    pub fn violations(&self) -> Vec<String> {
        self.shared.lock().violations.clone()
    }

    /// Violations that a test has provoked are no failure.
    pub fn forgive(&self) {
        self.shared.lock().violations.clear();
    }
}

impl Drop for Rcs {
    fn drop(&mut self) {
        self.close();
        let violations = self.violations();
        if !thread::panicking() {
            assert!(violations.is_empty(), "RCS complains: {violations:#?}");
        }
    }
}

struct Summary<'a>(&'a [Request]);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for request in self.0.iter().rev().take(30).rev() {
            let (door, mode) = (request.door, &request.mode);
            let (task, kind) = (request.text("taskId"), request.text("callbackType"));
            write!(f, "{door:?} {task} {kind} {mode:?}; ")?;
        }
        Ok(())
    }
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

fn serve(shared: &Shared, open: &AtomicBool, raw: TcpStream) {
    let connection = shared.connections.fetch_add(1, Ordering::SeqCst);
    raw.set_nodelay(true).unwrap();
    let control = raw.try_clone().unwrap();
    let stream: Box<dyn Stream> = match &shared.tls {
        Some(config) => {
            let tls = ServerConnection::new(config.clone()).unwrap();
            Box::new(StreamOwned::new(tls, raw))
        }
        None => Box::new(raw),
    };
    let mut stream = BufReader::new(stream);
    while open.load(Ordering::SeqCst) {
        // A client may close or abort a connection whenever it likes.
        let Ok(Some(head)) = read_head(&mut stream) else {
            return;
        };
        let request = match read_request(shared, &mut stream, &head, connection) {
            Ok(request) => request,
            Err(Bad::Aborted) => return,
            Err(Bad::Violation(why)) => {
                shared.violation(why);
                let _ = respond(&mut stream, 400, "application/json", "{\"code\":20001}");
                let _ = control.shutdown(Shutdown::Both);
                return;
            }
        };
        if answer(shared, open, &mut stream, &control, &request).is_err() || !keeps(&request.mode) {
            let _ = control.shutdown(Shutdown::Both);
            return;
        }
    }
}

/// Whether the connection lives on after an answer like this.
fn keeps(mode: &Mode) -> bool {
    !matches!(
        mode,
        Mode::OkThenClose
            | Mode::Silence
            | Mode::DripHead
            | Mode::DripBody
            | Mode::Hangup
            | Mode::Reset
    )
}

struct Head {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
}

impl Head {
    fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(key, _)| key == name);
        let first = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "two headers {name}");
        first
    }
}

/// `None` where the client has closed the connection between two requests.
fn read_head(stream: &mut impl BufRead) -> io::Result<Option<Head>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let bad = || io::Error::other("no request line");
    let first = lines.first().ok_or_else(bad)?;
    let words: Vec<&str> = first.split(' ').collect();
    let [method, path, "HTTP/1.1"] = words[..] else {
        return Err(bad());
    };
    let headers = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Ok(Some(Head {
        method: method.to_owned(),
        path: path.to_owned(),
        headers,
    }))
}

/// Why a request is none.
enum Bad {
    /// The client has given it up half-way, which it may.
    Aborted,
    /// It does not keep to the contract.
    Violation(String),
}

impl From<String> for Bad {
    fn from(what: String) -> Self {
        Self::Violation(what)
    }
}

/// Reads and checks one request, decides how to treat it, and notes it.
fn read_request(
    shared: &Shared,
    stream: &mut impl Read,
    head: &Head,
    connection: u64,
) -> Result<Request, Bad> {
    let (method, path) = (&head.method, &head.path);
    let door = Door::of(method, path).ok_or_else(|| format!("no such door: {method} {path}"))?;
    let agent = head.header("user-agent").unwrap_or("");
    if !agent.starts_with("lss/") {
        return Err(format!("{door:?}: User-Agent {agent:?}").into());
    }
    if head.header("host").is_none_or(str::is_empty) {
        return Err(format!("{door:?}: no Host").into());
    }
    let authorization = head.header("authorization").map(str::to_owned);
    let body = if door == Door::Ip {
        if authorization.is_some() {
            let what = "the token was sent to the address service".to_owned();
            return Err(Bad::Violation(what));
        }
        Value::Null
    } else {
        let bytes = read_body(stream, head).map_err(|bad| match bad {
            Bad::Violation(why) => Bad::Violation(format!("{door:?}: {why}")),
            Bad::Aborted => Bad::Aborted,
        })?;
        serde_json::from_slice(&bytes).map_err(|why| format!("{door:?}: no JSON: {why}"))?
    };
    shape::shape(door, &body).map_err(|why| format!("{door:?}: {why} in {body}"))?;
    let mut request = Request {
        door,
        path: path.clone(),
        body,
        authorization,
        connection,
        at: Instant::now(),
        mode: Mode::Ok,
    };
    let mut state = shared.lock();
    let scripted = state.script.clone().and_then(|script| script(&request));
    let standing = state.modes.get(&door).cloned().unwrap_or(Mode::Ok);
    request.mode = scripted.unwrap_or(standing);
    let expected = state.token.as_ref().map(|token| format!("Bearer {token}"));
    if door != Door::Ip && request.authorization != expected {
        request.mode = Mode::Status(401);
    }
    if request.taken() {
        let node = request.text("nodeId").to_owned();
        match door {
            Door::Register => {
                state.known.insert(node);
            }
            Door::Heartbeat if !state.known.contains(&node) => {
                let body = r#"{"code":20004,"message":"unknown node"}"#;
                request.mode = Mode::Answer(404, body.to_owned());
            }
            _ => {}
        }
    }
    state.requests.push(request.clone());
    drop(state);
    shared.changed.notify_all();
    Ok(request)
}

fn read_body(stream: &mut impl Read, head: &Head) -> Result<Vec<u8>, Bad> {
    if head.header("content-type") != Some("application/json") {
        return Err(format!("Content-Type {:?}", head.header("content-type")).into());
    }
    let length = head.header("content-length").and_then(|l| l.parse().ok());
    let length: usize = length.ok_or_else(|| "no Content-Length".to_owned())?;
    if length > 1 << 20 {
        return Err(format!("a body of {length} bytes").into());
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).map_err(|_| Bad::Aborted)?;
    Ok(bytes)
}

fn answer(
    shared: &Shared,
    open: &AtomicBool,
    stream: &mut BufReader<Box<dyn Stream>>,
    control: &TcpStream,
    request: &Request,
) -> io::Result<()> {
    const JSON: &str = "application/json";
    const OK: &str = r#"{"code":0,"message":"success","data":null}"#;
    match &request.mode {
        Mode::Ok | Mode::OkThenClose if request.door == Door::Ip => {
            let ip = shared.lock().ip.clone();
            respond(stream, 200, "text/plain", &ip)
        }
        Mode::Ok | Mode::OkThenClose => respond(stream, 200, JSON, OK),
        Mode::OkAs(body) => respond(stream, 200, JSON, body),
        Mode::Moved(status, to) => {
            let out = stream.get_mut();
            let text =
                format!("HTTP/1.1 {status} Moved\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
            out.write_all(text.as_bytes())?;
            out.flush()
        }
        Mode::Status(status) => respond(stream, *status, JSON, ""),
        Mode::Answer(status, body) => respond(stream, *status, JSON, body),
        Mode::Html => respond(
            stream,
            200,
            "text/html",
            "<html><body>Welcome to the hotel. Please log in.</body></html>",
        ),
        Mode::Redirect => {
            let out = stream.get_mut();
            out.write_all(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/login\r\nContent-Length: 0\r\n\r\n")?;
            out.flush()
        }
        Mode::Code(code) => {
            let body = format!(r#"{{"code":{code},"message":"no","data":null}}"#);
            respond(stream, 200, JSON, &body)
        }
        Mode::Huge(bytes) => respond(stream, 200, JSON, &" ".repeat(*bytes)),
        Mode::Silence => {
            // Ends when the client hangs up, or when the stand-in closes.
            stream.get_mut().read(&mut [0]).map(|_| ())
        }
        Mode::DripHead => drip(shared, open, stream, b"HTTP/1.1 200 OK\r\nX-Slow: "),
        Mode::DripBody => drip(
            shared,
            open,
            stream,
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n",
        ),
        Mode::Hangup => Ok(()),
        Mode::Reset => {
            let now = libc::linger {
                l_onoff: 1,
                l_linger: 0,
            };
            setsockopt(control, sockopt::Linger, &now)?;
            Ok(())
        }
    }
}

fn respond(
    stream: &mut BufReader<Box<dyn Stream>>,
    status: u16,
    kind: &str,
    body: &str,
) -> io::Result<()> {
    let out = stream.get_mut();
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status} Status\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Sends `start`, then a byte now and then until the client hangs up.
fn drip(
    shared: &Shared,
    open: &AtomicBool,
    stream: &mut BufReader<Box<dyn Stream>>,
    start: &[u8],
) -> io::Result<()> {
    let out = stream.get_mut();
    out.write_all(start)?;
    while open.load(Ordering::SeqCst) {
        out.write_all(b" ")?;
        out.flush()?;
        let state = shared.lock();
        // The pace of the drip; closing the stand-in ends it early.
        drop(
            shared
                .changed
                .wait_timeout(state, Duration::from_millis(10))
                .unwrap_or_else(PoisonError::into_inner),
        );
    }
    Ok(())
}
