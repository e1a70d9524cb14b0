//! An Ably stand-in: a strict server ([`model`]) behind real sockets on loopback.
//!
//! Websocket and the HTTP requests a client makes (`/time`, tokens, the connectivity check) share
//! one port. What goes wrong is up to the test: protocol faults through [`Standin::with`], faults
//! of the line through the methods here. It is good enough for the official clients.

pub mod http;
pub mod model;
pub mod tls;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use serde_json::Value;
use tungstenite::protocol::{Message, Role, WebSocket};

use model::{Config, Model, Out, SocketId};

/// How long a test waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How bytes leave the server.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shape {
    /// Websocket fragments of at most this many bytes.
    pub fragment: Option<usize>,
    /// Writes of this many bytes, and the pause between them.
    pub dribble: Option<(usize, Duration)>,
}

/// What goes to a socket's writer.
enum Outgoing {
    Text(String),
    Raw(Vec<u8>),
    Close,
}

/// One websocket.
struct Line {
    out: Sender<Outgoing>,
    tcp: TcpStream,
    /// Swallows everything in both directions.
    silent: Arc<AtomicBool>,
    client: String,
    /// Pongs that came back.
    pongs: u64,
}

struct State {
    model: Model,
    lines: BTreeMap<SocketId, Line>,
    next_socket: SocketId,
    http: http::Behaviour,
    shape: Shape,
    /// Sockets that are accepted and left alone, without an answer.
    mute: bool,
}

pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    started: Instant,
    epoch: i64,
    stop: AtomicBool,
}

/// A running server. Ends when dropped.
pub struct Standin {
    shared: Arc<Shared>,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Drop for Standin {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
        for line in self.shared.lock().lines.values() {
            let _ = line.tcp.shutdown(Shutdown::Both);
        }
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The server's clock: years off.
    fn now(&self) -> i64 {
        self.epoch + i64::try_from(self.started.elapsed().as_millis()).unwrap()
    }

    fn dispatch(state: &mut State, out: Vec<Out>) {
        for one in out {
            match one {
                Out::Send(socket, frame) => {
                    if let Some(line) = state.lines.get(&socket)
                        && !line.silent.load(Ordering::Relaxed)
                    {
                        let client = line.client.clone();
                        let _ = line.out.send(Outgoing::Text(frame.to_string()));
                        state.model.delivered(&client, &frame);
                    }
                }
                Out::Close(socket) => {
                    if let Some(line) = state.lines.get(&socket) {
                        let _ = line.out.send(Outgoing::Close);
                    }
                }
            }
        }
    }
}

impl Standin {
    /// A server with the usual behaviour on a free port.
    pub fn start() -> Self {
        Self::with_config(Config::default())
    }

    /// A server on a free port.
    pub fn with_config(config: Config) -> Self {
        Self::bind("127.0.0.1:0", config)
    }

    /// A server on that address.
    pub fn bind(address: &str, config: Config) -> Self {
        let listener = TcpListener::bind(address).expect("a port");
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                model: Model::new(config),
                lines: BTreeMap::new(),
                next_socket: 1,
                http: http::Behaviour::default(),
                shape: Shape::default(),
                mute: false,
            }),
            changed: Condvar::new(),
            started: Instant::now(),
            epoch: 4_000_000_000_000,
            stop: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accept(&accepting, &listener));
        let ticking = Arc::clone(&shared);
        thread::spawn(move || tick(&ticking));
        Self { shared, address }
    }

    /// Does something with the model; what it puts out is sent.
    pub fn with<T>(&self, act: impl FnOnce(&mut Model, i64) -> (T, Vec<Out>)) -> T {
        let now = self.shared.now();
        let mut state = self.shared.lock();
        let (value, out) = act(&mut state.model, now);
        Shared::dispatch(&mut state, out);
        drop(state);
        self.shared.changed.notify_all();
        value
    }

    /// Looks at, or changes, the model.
    pub fn model<T>(&self, act: impl FnOnce(&mut Model) -> T) -> T {
        self.with(|model, _| (act(model), Vec::new()))
    }

    /// Changes how HTTP requests are answered, or looks at those that came.
    pub fn http<T>(&self, act: impl FnOnce(&mut http::Behaviour) -> T) -> T {
        act(&mut self.shared.lock().http)
    }

    /// How bytes leave from now on.
    pub fn shape(&self, shape: Shape) {
        self.shared.lock().shape = shape;
    }

    /// New connections are accepted and never answered.
    pub fn mute(&self, mute: bool) {
        self.shared.lock().mute = mute;
    }

    /// Publishes as an RCS elsewhere would. Returns the message's id.
    pub fn publish(&self, channel: &str, message: &Value) -> String {
        self.with(|model, now| model.publish(channel, message, now))
    }

    /// Waits until `look` finds something.
    pub fn wait<T>(&self, what: &str, mut look: impl FnMut(&mut Model) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        let mut state = self.shared.lock();
        loop {
            if let Some(found) = look(&mut state.model) {
                return found;
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited in vain for: {what}");
            state = self.shared.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Waits until `holds`.
    pub fn until(&self, what: &str, mut holds: impl FnMut(&mut Model) -> bool) {
        self.wait(what, |model| holds(model).then_some(()));
    }

    /// Cuts the lines of a client, both sides at once: no close frame, no DISCONNECTED. What was
    /// sent before has been received, so that the client can be held to it.
    pub fn cut(&self, client: &str) {
        self.drain(client);
        let now = self.shared.now();
        let mut state = self.shared.lock();
        let State { lines, model, .. } = &mut *state;
        for (id, line) in lines.iter().filter(|(_, line)| line.client == client) {
            // What is published from here on does not count as delivered.
            line.silent.store(true, Ordering::Relaxed);
            let _ = line.tcp.shutdown(Shutdown::Both);
            model.lost(*id, now);
        }
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Waits until a client has read everything that was sent to it.
    fn drain(&self, client: &str) {
        let until = Instant::now() + PATIENCE;
        let mut state = self.shared.lock();
        let mut waiting = Vec::new();
        for (id, line) in state.lines.iter().filter(|(_, l)| l.client == client) {
            if !line.silent.load(Ordering::Relaxed) {
                let _ = line.out.send(Outgoing::Raw(vec![0x89, 0]));
                waiting.push((*id, line.pongs));
            }
        }
        while waiting
            .iter()
            .any(|(id, pongs)| state.lines.get(id).is_some_and(|line| line.pongs == *pongs))
        {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the client does not read");
            state = self.shared.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Makes the lines of a client swallow everything, without closing them.
    pub fn silence(&self, client: &str) {
        for line in self.shared.lock().lines.values() {
            if line.client == client {
                line.silent.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Sends bytes to a client as they are.
    pub fn raw(&self, client: &str, bytes: &[u8]) {
        for line in self.shared.lock().lines.values() {
            if line.client == client {
                let _ = line.out.send(Outgoing::Raw(bytes.to_vec()));
            }
        }
    }

    /// Fails if a client did anything against the protocol.
    pub fn assert_clean(&self) {
        let violations = self.model(|model| model.violations.clone());
        assert_eq!(violations, Vec::<String>::new());
    }
}

fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    for tcp in listener.incoming() {
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        let Ok(tcp) = tcp else { continue };
        let shared = Arc::clone(shared);
        thread::spawn(move || serve(&shared, tcp));
    }
}

fn tick(shared: &Arc<Shared>) {
    while !shared.stop.load(Ordering::Relaxed) {
        thread::park_timeout(Duration::from_millis(5));
        let now = shared.now();
        let mut state = shared.lock();
        if state.model.next_tick().is_some_and(|at| at <= now) {
            let out = state.model.tick(now);
            Shared::dispatch(&mut state, out);
            drop(state);
            shared.changed.notify_all();
        }
    }
}

/// One TCP connection: an HTTP request, or a websocket.
fn serve(shared: &Arc<Shared>, mut tcp: TcpStream) {
    let _ = tcp.set_nodelay(true);
    let _ = tcp.set_read_timeout(Some(PATIENCE));
    if shared.lock().mute {
        // Held open until the peer gives up.
        let _ = tcp.read(&mut [0; 1]);
        while tcp.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {}
        return;
    }
    let Some(request) = http::read(&mut tcp) else {
        return;
    };
    let Some(key) = request.header("sec-websocket-key") else {
        http::answer(shared, &mut tcp, &request);
        return;
    };
    if let Some(status) = shared.lock().http.upgrade_status.pop_front() {
        let _ = write!(tcp, "HTTP/1.1 {status} no\r\nContent-Length: 0\r\n\r\n");
        return;
    }
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
    let _ = write!(
        tcp,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    let _ = tcp.set_read_timeout(None);
    websocket(shared, tcp, &request);
}

fn websocket(shared: &Arc<Shared>, tcp: TcpStream, request: &http::Request) {
    let (out, queue) = unbounded();
    let silent = Arc::new(AtomicBool::new(false));
    let query = request.query();
    let client = query.iter().find(|(name, _)| name == "clientId");
    let client = client.map_or_else(String::new, |(_, id)| id.clone());
    let now = shared.now();
    let mut state = shared.lock();
    let id = state.next_socket;
    state.next_socket += 1;
    let line = Line {
        out,
        tcp: tcp.try_clone().unwrap(),
        silent: Arc::clone(&silent),
        client,
        pongs: 0,
    };
    let answering = line.out.clone();
    state.lines.insert(id, line);
    let frames = state.model.connect(id, &query, now);
    Shared::dispatch(&mut state, frames);
    drop(state);
    shared.changed.notify_all();

    let writer = tcp.try_clone().unwrap();
    let shaping = Arc::clone(shared);
    let writing = thread::spawn(move || write_all(&shaping, writer, &queue));

    // Pongs and close frames go through the one writer too.
    let stream = ReadSide { tcp, answering };
    let mut socket = WebSocket::from_raw_socket(stream, Role::Server, None);
    loop {
        let text = match socket.read() {
            Ok(Message::Text(text)) => text,
            Ok(Message::Binary(_)) => {
                shared.lock().model.garbage("binary");
                continue;
            }
            Ok(Message::Pong(_)) => {
                if let Some(line) = shared.lock().lines.get_mut(&id) {
                    line.pongs += 1;
                }
                shared.changed.notify_all();
                continue;
            }
            Ok(_) => continue,
            Err(_) => break,
        };
        if silent.load(Ordering::Relaxed) {
            continue;
        }
        let now = shared.now();
        let mut state = shared.lock();
        match serde_json::from_str::<Value>(&text) {
            Ok(frame) => {
                let out = state.model.frame(id, &frame, now);
                Shared::dispatch(&mut state, out);
            }
            Err(_) => state.model.garbage(&text),
        }
        drop(state);
        shared.changed.notify_all();
    }
    let now = shared.now();
    let mut state = shared.lock();
    state.lines.remove(&id);
    state.model.lost(id, now);
    drop(state);
    shared.changed.notify_all();
    let _ = writing.join();
}

/// Reads from the socket; what the websocket layer writes by itself goes to the writer.
struct ReadSide {
    tcp: TcpStream,
    answering: Sender<Outgoing>,
}

impl Read for ReadSide {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.tcp.read(buf)
    }
}

impl Write for ReadSide {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        let _ = self.answering.send(Outgoing::Raw(buf.to_vec()));
        Ok(buf.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn write_all(shared: &Arc<Shared>, mut tcp: TcpStream, queue: &Receiver<Outgoing>) {
    for outgoing in queue {
        let shape = shared.lock().shape;
        let bytes = match outgoing {
            Outgoing::Text(text) => frames(text.as_bytes(), shape.fragment),
            Outgoing::Raw(bytes) => bytes,
            Outgoing::Close => {
                // 1000, normal closure.
                let _ = tcp.write_all(&[0x88, 2, 0x03, 0xE8]);
                let _ = tcp.shutdown(Shutdown::Write);
                continue;
            }
        };
        let written = match shape.dribble {
            None => tcp.write_all(&bytes),
            Some((size, pause)) => bytes.chunks(size).try_for_each(|chunk| {
                thread::park_timeout(pause);
                tcp.write_all(chunk)
            }),
        };
        if written.is_err() {
            let _ = tcp.shutdown(Shutdown::Both);
        }
    }
}

/// A text message as websocket frames.
pub fn frames(text: &[u8], fragment: Option<usize>) -> Vec<u8> {
    let pieces: Vec<&[u8]> = match fragment {
        Some(size) if text.len() > size => text.chunks(size).collect(),
        _ => vec![text],
    };
    let mut out = Vec::new();
    for (index, piece) in pieces.iter().enumerate() {
        let opcode = u8::from(index == 0);
        let last = index + 1 == pieces.len();
        out.push(opcode | if last { 0x80 } else { 0 });
        match piece.len() {
            n @ 0..=125 => out.push(u8::try_from(n).unwrap()),
            n @ 126..=65_535 => {
                out.push(126);
                out.extend(u16::try_from(n).unwrap().to_be_bytes());
            }
            n => {
                out.push(127);
                out.extend((n as u64).to_be_bytes());
            }
        }
        out.extend_from_slice(piece);
    }
    out
}
