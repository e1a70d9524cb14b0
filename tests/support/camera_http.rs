//! A strict HTTP/1.1 server for stand-in cameras, with faults on demand. Written apart from lss's
//! own HTTP code, so that no mistake is made on both sides.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

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
    /// Carried out and answered, then nobody listens for this long: the service starts again.
    Restart(Duration),
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
    /// For how long nobody is to listen, and who is told when nobody does any more.
    away: Mutex<Option<(Duration, Sender<()>)>>,
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
        Self::start_at(Ipv4Addr::LOCALHOST, site)
    }

    /// On a free port of an address of its own: the login guard counts by address.
    pub fn start_at(ip: Ipv4Addr, site: S) -> Self {
        Self::start_on(SocketAddr::from((ip, 0)), site).unwrap()
    }

    /// On this very port.
    pub fn start_on(addr: SocketAddr, site: S) -> std::io::Result<Self> {
        let listener = TcpListener::bind(addr)?;
        let addr = listener.local_addr()?;
        let site = Arc::new(Mutex::new(site));
        let shared = Arc::new(Shared::default());
        let acceptor = {
            let (site, shared) = (site.clone(), shared.clone());
            std::thread::spawn(move || accept(listener, &site, &shared))
        };
        Ok(Self {
            addr,
            site,
            shared,
            acceptor: Some(acceptor),
        })
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

fn accept<S: Site>(mut listener: TcpListener, site: &Arc<Mutex<S>>, shared: &Arc<Shared>) {
    let mut threads = Vec::new();
    while let Ok((stream, _)) = listener.accept() {
        if shared.stopped.load(Ordering::SeqCst) {
            break;
        }
        let away = shared.away.lock().unwrap().take();
        if let Some((time, gone)) = away {
            let at = stream.local_addr().unwrap();
            drop((stream, listener));
            gone.send(()).unwrap();
            let goes_on = shared.pause(time);
            listener = TcpListener::bind(at).unwrap();
            if !goes_on {
                break;
            }
            continue;
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
            Some(Fault::Restart(time)) => {
                let bytes = act().bytes();
                let (gone, is_gone) = channel();
                *shared.away.lock().unwrap() = Some((time, gone));
                let _ = TcpStream::connect(stream.local_addr().unwrap());
                is_gone.recv().unwrap();
                let _ = stream.write_all(&bytes);
                for (_, stream) in shared.streams.lock().unwrap().drain() {
                    let _ = stream.shutdown(Shutdown::Both);
                }
                return;
            }
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
