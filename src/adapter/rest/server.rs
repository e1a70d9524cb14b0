//! Wiring of the REST API: gate, tiny_http behind it, workers, late answers; start and stop.

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::api::{Answer, Api, Call, Metrics, NodePicture};
use super::gate::{Gate, Limits, OVERSIZE, PEER, PrivateSocket, affordable};
use super::guard::Access;
use super::late::{Late, LateLimit};
use super::listen;
use super::reply::Reply;
use super::routes;
use crate::application::camera::CameraService;
use crate::application::discovery::DiscoveryService;
use crate::application::health::HealthBoard;
use crate::application::stream::StreamService;
use crate::domain::error::{ErrorCode, Fault};
use crate::util::foreign;

/// Threads that answer requests.
const WORKERS: usize = 4;
/// Refusals of strangers are logged at most this often.
const REFUSALS_EVERY: Duration = Duration::from_secs(10);

/// How the API is to be served.
pub struct RestSettings {
    /// Where to listen. Anything but loopback needs a token.
    pub listen: SocketAddr,
    /// Who may ask.
    pub access: Access,
    /// How long an answer may be waited for that depends on a process or a camera: the longest
    /// of their own time limits and a margin. A reload may change it.
    pub late_limit: Duration,
    /// The gate's bounds.
    pub limits: Limits,
}

/// What the API is a door to.
pub struct RestDeps {
    /// The stream owner.
    pub streams: StreamService,
    pub cameras: CameraService,
    /// Which cameras there are.
    pub discovery: DiscoveryService,
    /// How the parts are.
    pub health: Arc<HealthBoard>,
    /// Makes a picture of the node.
    pub node: NodePicture,
    /// `lss-{machineId}`
    pub node_id: String,
    /// Gathers the metrics of `/metrics`.
    pub metrics: Metrics,
    /// When the process began.
    pub started: Instant,
}

/// The running API. Stops when dropped; [`stop`](Self::stop) lets requests in progress end.
pub struct RestServer {
    address: SocketAddr,
    api: Arc<Api>,
    behind: Arc<Behind>,
    bell: Arc<EventFd>,
    stop: Sender<Instant>,
    gate: Option<JoinHandle<()>>,
    late: Option<JoinHandle<()>>,
    workers: Vec<JoinHandle<()>>,
    /// Disconnected when every worker has ended.
    workers_ended: Receiver<()>,
}

impl RestServer {
    /// Listens and answers from now on.
    ///
    /// # Errors
    /// The address can't be bound, a thread can't be started, no directory takes the private
    /// socket, each in words for an operator; `InvalidInput` for an address beyond loopback
    /// without a token.
    pub fn start(settings: RestSettings, deps: RestDeps) -> io::Result<Self> {
        check_exposure(settings.listen, &settings.access)?;
        let mut limits = settings.limits;
        limits.connections = affordable(limits.connections);
        let late_limit = Arc::new(LateLimit::new(settings.late_limit));
        let longest = {
            let (late_limit, discovery) = (Arc::clone(&late_limit), deps.discovery.clone());
            Box::new(move || late_limit.get().max(discovery.patience()))
        };
        // A quarter of the connections stays for who needs no patience.
        let (late, late_thread) = Late::start((limits.connections * 3 / 4).max(1))?;

        let listener =
            listen::on(settings.listen).map_err(|why| not_listening(settings.listen, &why))?;
        let address = listener.local_addr()?;
        let api = Arc::new(Api {
            streams: deps.streams,
            cameras: deps.cameras,
            discovery: deps.discovery,
            health: deps.health,
            node: deps.node,
            node_id: deps.node_id,
            metrics: deps.metrics,
            started: deps.started,
            access: RwLock::new(Arc::new(settings.access)),
            late,
            late_limit,
            refusing: AtomicBool::new(false),
        });
        let behind = Arc::new(Behind::new()?);
        let (alive, workers_ended) = bounded(0);
        let log = Arc::new(RequestLog::default());
        let mut workers = Vec::with_capacity(WORKERS);
        for number in 1..=WORKERS {
            let (behind, api, log) = (Arc::clone(&behind), Arc::clone(&api), Arc::clone(&log));
            let alive = alive.clone();
            let worker = std::thread::Builder::new()
                .name(format!("rest-{number}"))
                .spawn(move || {
                    let _alive: Sender<()> = alive;
                    work(&behind, &api, &log);
                })?;
            workers.push(worker);
        }
        drop(alive);

        let bell = Arc::new(EventFd::from_flags(
            EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC,
        )?);
        let (stop, stopped) = bounded(1);
        let connect = {
            let behind = Arc::clone(&behind);
            Box::new(move || behind.connect())
        };
        let gate = Gate::new(
            listener,
            Arc::clone(&bell),
            stopped,
            connect,
            limits,
            longest,
        )?;
        let gate = std::thread::Builder::new()
            .name("rest-gate".to_owned())
            .spawn(move || gate.run())?;
        log::info!(address:% = address; "the REST API listens");
        Ok(Self {
            address,
            api,
            behind,
            bell,
            stop,
            gate: Some(gate),
            late: Some(late_thread),
            workers,
            workers_ended,
        })
    }

    /// Where it listens; tells the port that was chosen for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Swaps who may ask, for requests that come from now on.
    ///
    /// # Errors
    /// `InvalidInput` for taking the token away while listening beyond loopback.
    pub fn set_access(&self, access: Access) -> io::Result<()> {
        check_exposure(self.address, &access)?;
        *self
            .api
            .access
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(access);
        Ok(())
    }

    /// Other time limits, for requests that come from now on.
    pub fn set_late_limit(&self, limit: Duration) {
        self.api.late_limit.set(limit);
    }

    /// From now on everything but the health routes is answered with 503, 50003. Answers that
    /// are being waited for still come.
    pub fn refuse_new(&self) {
        self.api.refusing.store(true, Ordering::Relaxed);
    }

    /// Ends the API: no new connections, late answers that are not there are given up with
    /// 50003, requests in progress get `grace`, then all is closed and the threads are joined.
    pub fn stop(mut self, grace: Duration) {
        self.shut(grace);
    }

    fn shut(&mut self, grace: Duration) {
        let Some(gate) = self.gate.take() else {
            return;
        };
        self.refuse_new();
        self.api.late.close();
        // There is room for the one message that is ever sent; a gate that is gone needs none.
        let _ = self.stop.try_send(Instant::now() + grace);
        let _ = self.bell.write(1);
        join(gate);
        if let Some(late) = self.late.take() {
            join(late);
        }
        self.behind.close();
        // A worker waits for nothing longer than the stream owner's answer.
        match self
            .workers_ended
            .recv_timeout(grace + Duration::from_secs(1))
        {
            Err(RecvTimeoutError::Timeout) => {
                log::warn!("a REST worker is still busy; it is left behind");
            }
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                self.workers.drain(..).for_each(join);
            }
        }
        log::info!("the REST API is closed");
    }
}

impl Drop for RestServer {
    fn drop(&mut self) {
        self.shut(Duration::ZERO);
    }
}

fn join(thread: JoinHandle<()>) {
    let name = thread.thread().name().unwrap_or("rest").to_owned();
    if thread.join().is_err() {
        log::error!(thread = name.as_str(); "a REST thread had panicked");
    }
}

fn not_listening(at: SocketAddr, why: &io::Error) -> io::Error {
    let advice = match why.kind() {
        io::ErrorKind::AddrInUse => "; is another program on that port?",
        io::ErrorKind::AddrNotAvailable => "; is that an address of this machine?",
        io::ErrorKind::PermissionDenied => "; ports below 1024 are for root",
        _ => "",
    };
    let words = format!("can't listen on {at}: {why}{advice} (server.listen, server.port)");
    io::Error::new(why.kind(), words)
}

fn check_exposure(address: SocketAddr, access: &Access) -> io::Result<()> {
    let has_token = access.token.as_ref().is_some_and(|t| !t.is_empty());
    if has_token || address.ip().is_loopback() {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        "server.listen beyond loopback needs server.api_token",
    ))
}

/// tiny_http behind the gate. Its accept thread can die (a failed `accept` or `dup`); then the
/// next request finds nobody listening, and a new one takes its place.
struct Behind {
    current: RwLock<Arc<Generation>>,
    closed: AtomicBool,
}

/// One tiny_http with the way to it. The order of the fields is the order of their ends: first
/// the server is told, then its accept thread is woken to hear of it.
struct Generation {
    server: tiny_http::Server,
    socket: WakeOnDrop,
}

struct WakeOnDrop(PrivateSocket);

impl Drop for WakeOnDrop {
    fn drop(&mut self) {
        // tiny_http wakes its accept thread by the socket's name, which is long gone.
        let _ = self.0.connect();
    }
}

impl Generation {
    fn new() -> io::Result<Self> {
        let (listener, socket) = PrivateSocket::bind()?;
        let server = tiny_http::Server::from_listener(listener, None).map_err(io::Error::other)?;
        Ok(Self {
            server,
            socket: WakeOnDrop(socket),
        })
    }
}

impl Behind {
    fn new() -> io::Result<Self> {
        Ok(Self {
            current: RwLock::new(Arc::new(Generation::new()?)),
            closed: AtomicBool::new(false),
        })
    }

    fn current(&self) -> Arc<Generation> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A connection to tiny_http, to a new one if the old one has died. Called by the gate alone.
    fn connect(&self) -> io::Result<std::os::unix::net::UnixStream> {
        let old = self.current();
        match old.socket.0.connect() {
            Err(why) if why.kind() == io::ErrorKind::ConnectionRefused => {
                let new = Arc::new(Generation::new()?);
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&new);
                // Each worker hears once and turns to the new one.
                (0..WORKERS).for_each(|_| old.server.unblock());
                log::warn!("the HTTP server behind the REST gate had died; a new one is in place");
                new.socket.0.connect()
            }
            other => other,
        }
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let current = self.current();
        (0..WORKERS).for_each(|_| current.server.unblock());
    }
}

fn work(behind: &Behind, api: &Arc<Api>, log: &Arc<RequestLog>) {
    while !behind.closed.load(Ordering::Acquire) {
        let generation = behind.current();
        // An error is a wake-up: another generation, the end, or an accept that failed.
        let one = || {
            generation
                .server
                .recv()
                .map(|request| serve(request, api, log))
        };
        if catch_unwind(AssertUnwindSafe(one)).is_err() {
            log::error!("a REST worker panicked outside a handler; it goes on");
            // Whatever it was, it must not become a busy loop.
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn serve(mut request: tiny_http::Request, api: &Api, log: &Arc<RequestLog>) {
    let seen = Seen::new(&request);
    let answer = catch_unwind(AssertUnwindSafe(|| match call(&mut request) {
        Ok(call) => routes::answer(api, &call),
        // The gate has the whole request, so this is its end or a bug.
        Err(_) => Answer::Now(Reply::fault(&internal())),
    }))
    .unwrap_or_else(|_| {
        log::error!(method = seen.method.as_str(), path = seen.path.as_str();
            "a REST handler panicked; answered with 50001");
        Answer::Now(Reply::fault(&internal()))
    });
    match answer {
        Answer::Now(reply) => respond(request, reply, &seen, log),
        Answer::Later(deferred) => {
            let log = Arc::clone(log);
            let responds = move |reply| respond(request, reply, &seen, &log);
            api.late.wait(deferred, Box::new(responds));
        }
    }
}

fn internal() -> Fault {
    Fault::new(
        ErrorCode::InternalError,
        "lss failed inside on this request; the log says more",
    )
}

fn respond(request: tiny_http::Request, reply: Reply, seen: &Seen, log: &RequestLog) {
    log.write(seen, &reply);
    // The gate takes every byte at once; an error means that the client is gone.
    let _ = request.respond(reply.into_tiny());
}

fn call(request: &mut tiny_http::Request) -> io::Result<Call> {
    let mut body = Vec::new();
    // The gate has counted already.
    request.as_reader().read_to_end(&mut body)?;
    Ok(Call {
        method: request.method().as_str().to_owned(),
        target: request.url().to_owned(),
        host: header(request, "Host"),
        origin: header(request, "Origin"),
        authorization: header(request, "Authorization"),
        content_type: header(request, "Content-Type"),
        oversize: header(request, OVERSIZE).is_some(),
        body,
    })
}

fn header(request: &tiny_http::Request, name: &str) -> Option<String> {
    request
        .headers()
        .iter()
        .find(|header| header.field.as_str().as_str().eq_ignore_ascii_case(name))
        .map(|header| header.value.as_str().to_owned())
}

/// What the log says of a request: never its query, headers or body.
struct Seen {
    method: String,
    path: String,
    peer: String,
    at: Instant,
}

impl Seen {
    fn new(request: &tiny_http::Request) -> Self {
        let path = request.url().split('?').next().unwrap_or_default();
        Self {
            method: foreign::shown(request.method().as_str(), 16),
            path: foreign::shown(path, 200),
            peer: header(request, PEER).unwrap_or_default(),
            at: Instant::now(),
        }
    }
}

/// One line a request: what changes something for everybody to read, what only looks for those
/// who search, strangers that are turned away once in a while.
#[derive(Default)]
struct RequestLog {
    refusals: Mutex<(Option<Instant>, u64)>,
}

impl RequestLog {
    fn write(&self, seen: &Seen, reply: &Reply) {
        let looks = matches!(seen.method.as_str(), "GET" | "HEAD");
        let level = if matches!(reply.status, 401 | 403 | 421) {
            return self.refused(seen, reply);
        } else if looks {
            log::Level::Debug
        } else {
            log::Level::Info
        };
        log::log!(
            level,
            method = seen.method.as_str(), path = seen.path.as_str(), peer = seen.peer.as_str(),
            status = reply.status, code = reply.code.number(),
            ms = u64::try_from(seen.at.elapsed().as_millis()).unwrap_or(u64::MAX);
            "REST request answered"
        );
    }

    fn refused(&self, seen: &Seen, reply: &Reply) {
        let before = {
            let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            let due = refusals
                .0
                .is_none_or(|last| last.elapsed() >= REFUSALS_EVERY);
            if !due {
                refusals.1 += 1;
                return;
            }
            refusals.0 = Some(Instant::now());
            std::mem::take(&mut refusals.1)
        };
        log::warn!(
            method = seen.method.as_str(), path = seen.path.as_str(), peer = seen.peer.as_str(),
            status = reply.status, code = reply.code.number(), unlogged_before = before;
            "REST request refused"
        );
    }
}
