//! A strict HTTP/1.1 server with logins and with faults on demand, written apart from lss's own
//! HTTP and Digest code so that no mistake is made on both sides.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use md5::Digest as _;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Incoming {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Which connection, from 0.
    pub connection: usize,
    pub at: Instant,
}

impl Incoming {
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Outgoing {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Outgoing {
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: vec![("Content-Type".to_owned(), content_type.to_owned())],
            body: body.into(),
        }
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} X\r\n", self.status);
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let _ = write!(head, "Content-Length: {}\r\n\r\n", self.body.len());
        [head.as_bytes(), &self.body].concat()
    }
}

/// What answers requests.
pub trait Site: Send + 'static {
    fn answer(&mut self, request: &Incoming) -> Outgoing;
}

/// What goes wrong with a request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Not carried out, never answered.
    Hang,
    /// Carried out, never answered.
    HangAfter,
    /// Not carried out, the connection is reset.
    Reset,
    /// Carried out, the connection is reset.
    ResetAfter,
    /// Carried out after this time, then answered.
    LateAct(Duration),
    /// Carried out at once, answered after this time.
    LateAnswer(Duration),
    /// Carried out, answered with these bytes.
    Garbage(Vec<u8>),
    /// Carried out; half an answer, then the sending side is closed.
    HalfClosed,
    /// Carried out; the answer comes a byte at a time, this far apart.
    Drip(Duration),
    /// Carried out, answered with this instead.
    Instead(Outgoing),
    /// Carried out and answered, then the connection is closed without a word.
    CloseAfter,
}

struct FaultRule {
    needle: String,
    fault: Fault,
    /// How many requests are hit before it is over.
    times: usize,
}

#[derive(Default)]
struct Shared {
    faults: Mutex<Vec<FaultRule>>,
    log: Mutex<Vec<Incoming>>,
    stopped: AtomicBool,
    stop_lock: Mutex<()>,
    stop_bell: Condvar,
    streams: Mutex<HashMap<usize, TcpStream>>,
    connections: AtomicUsize,
}

impl Shared {
    /// Waits, `false` when the server is to end.
    fn pause(&self, time: Duration) -> bool {
        let guard = self.stop_lock.lock().unwrap();
        let (_guard, _) = self
            .stop_bell
            .wait_timeout_while(guard, time, |()| !self.stopped.load(Ordering::SeqCst))
            .unwrap();
        !self.stopped.load(Ordering::SeqCst)
    }

    fn fault_for(&self, request: &Incoming) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        let text = request.text();
        let at = faults
            .iter()
            .position(|f| request.target.contains(&f.needle) || text.contains(&f.needle))?;
        let fault = faults[at].fault.clone();
        faults[at].times -= 1;
        if faults[at].times == 0 {
            faults.remove(at);
        }
        Some(fault)
    }
}

/// A running server. Dropping it ends its threads.
pub struct HttpServer<S> {
    pub addr: SocketAddr,
    site: Arc<Mutex<S>>,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl<S: Site> HttpServer<S> {
    /// On a free port of loopback.
    pub fn start(site: S) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let site = Arc::new(Mutex::new(site));
        let shared = Arc::new(Shared::default());
        let acceptor = {
            let (site, shared) = (site.clone(), shared.clone());
            std::thread::spawn(move || accept(&listener, &site, &shared))
        };
        Self {
            addr,
            site,
            shared,
            acceptor: Some(acceptor),
        }
    }

    /// Looks at or changes the site.
    pub fn with<T>(&self, use_it: impl FnOnce(&mut S) -> T) -> T {
        use_it(&mut self.site.lock().unwrap())
    }

    /// The next `times` requests that have `needle` in target or body go wrong.
    pub fn fault(&self, needle: &str, fault: Fault, times: usize) {
        self.shared.faults.lock().unwrap().push(FaultRule {
            needle: needle.to_owned(),
            fault,
            times,
        });
    }

    pub fn clear_faults(&self) {
        self.shared.faults.lock().unwrap().clear();
    }

    /// Every request so far.
    pub fn log(&self) -> Vec<Incoming> {
        self.shared.log.lock().unwrap().clone()
    }

    /// `METHOD target` of every request so far, and forgets them.
    pub fn take_lines(&self) -> Vec<String> {
        let log = std::mem::take(&mut *self.shared.log.lock().unwrap());
        log.iter()
            .map(|r| format!("{} {}", r.method, r.target))
            .collect()
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Closes every connection, as a camera does after an idle time.
    pub fn close_connections(&self) {
        for (_, stream) in self.shared.streams.lock().unwrap().drain() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl<S> Drop for HttpServer<S> {
    fn drop(&mut self) {
        {
            let _guard = self.shared.stop_lock.lock().unwrap();
            self.shared.stopped.store(true, Ordering::SeqCst);
            self.shared.stop_bell.notify_all();
        }
        // Wakes the acceptor.
        let _ = TcpStream::connect(self.addr);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn accept<S: Site>(listener: &TcpListener, site: &Arc<Mutex<S>>, shared: &Arc<Shared>) {
    let mut threads = Vec::new();
    while let Ok((stream, _)) = listener.accept() {
        if shared.stopped.load(Ordering::SeqCst) {
            break;
        }
        let number = shared.connections.fetch_add(1, Ordering::SeqCst);
        shared
            .streams
            .lock()
            .unwrap()
            .insert(number, stream.try_clone().unwrap());
        let (site, shared) = (site.clone(), shared.clone());
        threads.push(std::thread::spawn(move || {
            serve(&stream, number, &site, &shared);
            // Before the last handle closes, or a reset would not be one.
            shared.streams.lock().unwrap().remove(&number);
        }));
    }
    for (_, stream) in shared.streams.lock().unwrap().drain() {
        let _ = stream.shutdown(Shutdown::Both);
    }
    for thread in threads {
        let _ = thread.join();
    }
}

fn serve<S: Site>(mut stream: &TcpStream, number: usize, site: &Mutex<S>, shared: &Shared) {
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream);
    loop {
        let request = match read_request(&mut reader, number) {
            Ok(Some(request)) => request,
            Ok(None) => return,
            Err(why) => {
                let reply = Outgoing::new(400, "text/plain", why);
                let _ = stream.write_all(&reply.bytes());
                return;
            }
        };
        shared.log.lock().unwrap().push(request.clone());
        let fault = shared.fault_for(&request);
        let act = || site.lock().unwrap().answer(&request);
        let (bytes, go_on) = match fault {
            None => (act().bytes(), true),
            Some(Fault::Hang) => {
                shared.pause(Duration::from_secs(3600));
                return;
            }
            Some(Fault::HangAfter) => {
                act();
                shared.pause(Duration::from_secs(3600));
                return;
            }
            Some(Fault::Reset) => return reset(stream),
            Some(Fault::ResetAfter) => {
                act();
                return reset(stream);
            }
            Some(Fault::LateAct(time)) => {
                if !shared.pause(time) {
                    return;
                }
                (act().bytes(), true)
            }
            Some(Fault::LateAnswer(time)) => {
                let bytes = act().bytes();
                if !shared.pause(time) {
                    return;
                }
                (bytes, true)
            }
            Some(Fault::Garbage(bytes)) => {
                act();
                (bytes, false)
            }
            Some(Fault::HalfClosed) => {
                let bytes = act().bytes();
                let _ = stream.write_all(&bytes[..bytes.len() / 2]);
                let _ = stream.shutdown(Shutdown::Write);
                shared.pause(Duration::from_secs(3600));
                return;
            }
            Some(Fault::Drip(apart)) => {
                for byte in act().bytes() {
                    if stream.write_all(&[byte]).is_err() || !shared.pause(apart) {
                        return;
                    }
                }
                continue;
            }
            Some(Fault::Instead(reply)) => {
                act();
                (reply.bytes(), true)
            }
            Some(Fault::CloseAfter) => (act().bytes(), false),
        };
        if stream.write_all(&bytes).is_err() || !go_on {
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
    }
}

fn reset(stream: &TcpStream) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    nix::sys::socket::setsockopt(stream, nix::sys::socket::sockopt::Linger, &linger).unwrap();
}

/// Strict as embedded servers are: no chunks, no body without its length, a Host.
fn read_request(
    reader: &mut BufReader<&TcpStream>,
    connection: usize,
) -> Result<Option<Incoming>, String> {
    let mut line = String::new();
    if reader.read_line(&mut line).map_or(true, |n| n == 0) {
        return Ok(None);
    }
    let parts: Vec<&str> = line.trim_end().split(' ').collect();
    let [method, target, "HTTP/1.1"] = parts[..] else {
        return Err(format!("request line {line:?}"));
    };
    let (method, target) = (method.to_owned(), target.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).map_or(true, |n| n == 0) {
            return Ok(None);
        }
        let line = line.trim_end_matches(['\r', '\n']);
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or("header without colon")?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut request = Incoming {
        method,
        target,
        headers,
        body: Vec::new(),
        connection,
        at: Instant::now(),
    };
    if request.header("Host").is_none() {
        return Err("no Host".to_owned());
    }
    if request.header("Transfer-Encoding").is_some() {
        return Err("chunked request".to_owned());
    }
    let length = request.header("Content-Length");
    if length.is_none() && matches!(request.method.as_str(), "PUT" | "POST") {
        return Err("PUT or POST without Content-Length".to_owned());
    }
    let length: usize = length.unwrap_or("0").parse().map_err(|_| "bad length")?;
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return Ok(None);
    }
    request.body = body;
    Ok(Some(request))
}

/// How a gate asks for a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    Basic,
    Md5,
    Md5Sess,
    Sha256,
    Sha256Sess,
}

impl Offer {
    fn name(self) -> &'static str {
        match self {
            Self::Basic => "",
            Self::Md5 => "MD5",
            Self::Md5Sess => "MD5-sess",
            Self::Sha256 => "SHA-256",
            Self::Sha256Sess => "SHA-256-sess",
        }
    }

    fn hash(self, text: &str) -> String {
        let bytes = match self {
            Self::Sha256 | Self::Sha256Sess => sha2::Sha256::digest(text).to_vec(),
            _ => md5::Md5::digest(text).to_vec(),
        };
        bytes.iter().fold(String::new(), |mut out, b| {
            let _ = write!(out, "{b:02x}");
            out
        })
    }
}

/// The rules of a gate. `Default` = MD5, qop, nonces good for ever and anywhere.
#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools, reason = "independent quirks")]
pub struct GateRules {
    pub user: String,
    pub password: String,
    pub realm: String,
    /// In the order in which they are offered.
    pub offers: Vec<Offer>,
    /// All in one header instead of one each.
    pub one_header: bool,
    pub qop: bool,
    pub opaque: Option<String>,
    /// How often a nonce is taken.
    pub nonce_uses: Option<u32>,
    /// Whether an old nonce is called stale, or just refused.
    pub says_stale: bool,
    /// An old nonce gets 403 without a challenge.
    pub old_is_403: bool,
    /// A nonce is good on its connection only.
    pub bound_to_connection: bool,
    /// A nonce is good for one target only.
    pub bound_to_target: bool,
    /// Wrong passwords until the account is locked.
    pub lock_after: Option<u32>,
}

impl Default for GateRules {
    fn default() -> Self {
        Self {
            user: "admin".to_owned(),
            password: "p@ss \"w&ö<rd".to_owned(),
            realm: "IP Camera(F1598)".to_owned(),
            offers: vec![Offer::Md5],
            one_header: false,
            qop: true,
            opaque: None,
            nonce_uses: None,
            says_stale: true,
            old_is_403: false,
            bound_to_connection: false,
            bound_to_target: false,
            lock_after: None,
        }
    }
}

struct NonceState {
    offer: Offer,
    connection: usize,
    target: Option<String>,
    last_nc: u32,
    uses: u32,
}

/// Checks logins, strictly.
pub struct Gate {
    pub rules: GateRules,
    nonces: HashMap<String, NonceState>,
    issued: u32,
    /// Wrong passwords since the last right one.
    pub wrong: u32,
    /// All wrong passwords.
    pub refused: u32,
    /// Requests without any login.
    pub strangers: u32,
    /// Answers to old nonces.
    pub stale: u32,
    /// Violations of the protocol by the client, in words. A test wants none.
    pub violations: Vec<String>,
}

/// What a gate says.
pub enum Verdict {
    Pass,
    /// 401 or 403, with its challenges; the protocol adds its body.
    Stop {
        status: u16,
        headers: Vec<(String, String)>,
        locked: bool,
        tries_left: Option<u32>,
    },
}

impl Gate {
    pub fn new(rules: GateRules) -> Self {
        Self {
            rules,
            nonces: HashMap::new(),
            issued: 0,
            wrong: 0,
            refused: 0,
            strangers: 0,
            stale: 0,
            violations: Vec::new(),
        }
    }

    pub fn is_locked(&self) -> bool {
        self.rules.lock_after.is_some_and(|n| self.wrong >= n)
    }

    pub fn judge(&mut self, request: &Incoming) -> Verdict {
        if self.is_locked() {
            return Verdict::Stop {
                status: 401,
                headers: Vec::new(),
                locked: true,
                tries_left: Some(0),
            };
        }
        let Some(login) = request.header("Authorization").map(str::to_owned) else {
            self.strangers += 1;
            return self.challenge(request, false);
        };
        if let Some(encoded) = login.strip_prefix("Basic ") {
            return self.basic(encoded, request);
        }
        let Some(params) = login.strip_prefix("Digest ") else {
            return self.violation(request, "unknown scheme");
        };
        let params = split_params(params);
        self.digest(&params, request)
    }

    fn basic(&mut self, encoded: &str, request: &Incoming) -> Verdict {
        use base64::Engine as _;
        if !self.rules.offers.contains(&Offer::Basic) {
            return self.violation(request, "Basic sent to a camera that never offered it");
        }
        let expected = format!("{}:{}", self.rules.user, self.rules.password);
        let expected = base64::engine::general_purpose::STANDARD.encode(expected);
        if encoded == expected {
            self.wrong = 0;
            return Verdict::Pass;
        }
        self.refuse(request)
    }

    fn digest(&mut self, params: &HashMap<String, String>, request: &Incoming) -> Verdict {
        let get = |name: &str| params.get(name).map_or("", String::as_str);
        let nonce = get("nonce").to_owned();
        let Some(state) = self.nonces.get_mut(&nonce) else {
            return self.old(request);
        };
        let offer = state.offer;
        let spent = self.rules.nonce_uses.is_some_and(|n| state.uses >= n)
            || (self.rules.bound_to_connection && state.connection != request.connection)
            || (self.rules.bound_to_target
                && state.target.as_ref().is_some_and(|t| *t != request.target));
        if spent {
            return self.old(request);
        }
        if get("uri") != request.target {
            return self.violation(request, "uri is not the request target");
        }
        if get("realm") != self.rules.realm {
            return self.violation(request, "another realm");
        }
        if params.get("opaque").cloned() != self.rules.opaque {
            return self.violation(request, "opaque not echoed");
        }
        if offer != Offer::Md5 && get("algorithm") != offer.name() {
            return self.violation(request, "algorithm not named");
        }
        let sess = matches!(offer, Offer::Md5Sess | Offer::Sha256Sess);
        let mut middle = String::new();
        if self.rules.qop {
            let nc = get("nc");
            let count = u32::from_str_radix(nc, 16).unwrap_or(0);
            if nc.len() != 8 || get("qop") != "auth" || get("cnonce").is_empty() {
                return self.violation(request, "qop, nc or cnonce missing");
            }
            if count <= state.last_nc {
                return self.violation(request, "nc does not rise");
            }
            state.last_nc = count;
            middle = format!("{nc}:{}:auth:", get("cnonce"));
        } else if params.contains_key("qop") || params.contains_key("nc") {
            return self.violation(request, "qop where none was offered");
        }
        let (user, password) = (get("username"), &self.rules.password);
        let mut ha1 = offer.hash(&format!("{user}:{}:{password}", self.rules.realm));
        if sess {
            ha1 = offer.hash(&format!("{ha1}:{nonce}:{}", get("cnonce")));
        }
        let ha2 = offer.hash(&format!("{}:{}", request.method, request.target));
        let expected = offer.hash(&format!("{ha1}:{nonce}:{middle}{ha2}"));
        if user != self.rules.user || get("response") != expected {
            return self.refuse(request);
        }
        state.uses += 1;
        state.target = Some(request.target.clone());
        self.wrong = 0;
        Verdict::Pass
    }

    fn old(&mut self, request: &Incoming) -> Verdict {
        self.stale += 1;
        if self.rules.old_is_403 {
            return Verdict::Stop {
                status: 403,
                headers: Vec::new(),
                locked: false,
                tries_left: None,
            };
        }
        let stale = self.rules.says_stale;
        self.challenge(request, stale)
    }

    fn refuse(&mut self, request: &Incoming) -> Verdict {
        self.wrong += 1;
        self.refused += 1;
        let left = self.rules.lock_after.map(|n| n.saturating_sub(self.wrong));
        match self.challenge(request, false) {
            Verdict::Stop { headers, .. } => Verdict::Stop {
                status: 401,
                headers,
                locked: false,
                tries_left: left,
            },
            Verdict::Pass => unreachable!(),
        }
    }

    fn violation(&mut self, request: &Incoming, what: &str) -> Verdict {
        self.violations
            .push(format!("{} {}: {what}", request.method, request.target));
        self.refuse(request)
    }

    fn challenge(&mut self, request: &Incoming, stale: bool) -> Verdict {
        let mut challenges = Vec::new();
        for offer in self.rules.offers.clone() {
            if offer == Offer::Basic {
                challenges.push(format!("Basic realm=\"{}, x\"", self.rules.realm));
                continue;
            }
            self.issued += 1;
            let nonce = format!(
                "{:08x}{}",
                self.issued,
                offer.hash(&self.issued.to_string())
            );
            let mut text = format!("Digest realm=\"{}\", nonce=\"{nonce}\"", self.rules.realm);
            if self.rules.qop {
                text.push_str(", qop=\"auth,auth-int\"");
            }
            if offer != Offer::Md5 {
                let _ = write!(text, ", algorithm={}", offer.name());
            }
            if let Some(opaque) = &self.rules.opaque {
                let _ = write!(text, ", opaque=\"{opaque}\"");
            }
            let _ = write!(text, ", stale=\"{}\"", if stale { "TRUE" } else { "FALSE" });
            challenges.push(text);
            self.nonces.insert(
                nonce,
                NonceState {
                    offer,
                    connection: request.connection,
                    target: None,
                    last_nc: 0,
                    uses: 0,
                },
            );
        }
        if self.rules.one_header {
            challenges = vec![challenges.join(", ")];
        }
        Verdict::Stop {
            status: 401,
            headers: challenges
                .into_iter()
                .map(|c| ("WWW-Authenticate".to_owned(), c))
                .collect(),
            locked: false,
            tries_left: None,
        }
    }
}

/// `a="b, \"c", d=e` → a: b, "c; d: e
fn split_params(text: &str) -> HashMap<String, String> {
    let mut out = HashMap::new();
    let mut chars = text.chars().peekable();
    loop {
        let name: String = std::iter::from_fn(|| chars.next_if(|c| *c != '=')).collect::<String>();
        if chars.next().is_none() {
            return out;
        }
        let mut value = String::new();
        if chars.next_if_eq(&'"').is_some() {
            while let Some(c) = chars.next() {
                match c {
                    '"' => break,
                    '\\' => value.extend(chars.next()),
                    c => value.push(c),
                }
            }
        } else {
            while let Some(c) = chars.next_if(|c| *c != ',') {
                value.push(c);
            }
        }
        out.insert(name.trim_matches([' ', ',']).to_owned(), value);
    }
}
