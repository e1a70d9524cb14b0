//! The handle to all cameras: finds a command's camera, starts its lane, hands the command over.
//!
//! A lane and its threads belong to one camera (address, port and channel), so nothing of one
//! camera delays another. Knows no JSON and no protocol.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::LanePolicy;
use super::book::address::{AddressRules, Host};
use super::book::directory::{CameraParams, ConfiguredLogin, Sighting};
use super::book::{Book, CameraAsk, ChannelAddress, KnownCamera, NamedChannel};
use super::contact::Contact;
use super::lanes::{Flags, Input, LaneHandle, Lanes, Registry};
use super::latency::Latencies;
use super::order::{
    CameraDone, CameraReply, Command, CommandId, Order, Origin, PatrolOrder, Query, Success,
};
use super::overtaken::{Call, Sent};
use super::parts::{CameraParts, Common};
use super::running;
use super::whereabouts::{Job, Whereabouts};
use crate::domain::camera::Credentials;
use crate::domain::camera_trust::KeptCertificate;
use crate::domain::discovery::StreamDescription;
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::gateway::{LoginEnd, LoginPermit};
use crate::domain::metrics::QueueMetric;
use crate::domain::patrol::PatrolStatus;
use crate::domain::stream::{CameraId, MediaUrl};
use crate::domain::vendor;
use crate::util::secret::Secret;
use crate::util::time::Now;

/// Commands that wait for a lane's thread, which takes microseconds for each. A full queue
/// answers 30302 at once; a stop waits for a place, up to [`STOP_WAITS`].
const MAX_WAITING: usize = 128;
/// The lane's thread is stuck or gone if a stop finds no place for so long.
const STOP_WAITS: Duration = Duration::from_secs(1);

/// The service itself, which its handles share. No lane and no wire knows it.
pub(super) struct ServiceCore {
    pub common: Arc<Common>,
    lanes: Arc<Registry>,
    whereabouts: Mutex<Whereabouts>,
    commands: AtomicU64,
    link_down: AtomicBool,
    stopping: AtomicBool,
    /// Every lane's thread holds a clone: disconnected when all have ended.
    alive: Mutex<Option<Sender<()>>>,
    ended: Receiver<()>,
}

/// A cheap handle; every door has a clone.
#[derive(Clone)]
pub struct CameraService {
    pub(super) shared: Arc<ServiceCore>,
}

impl CameraService {
    /// No lane yet.
    pub fn new(parts: CameraParts) -> Self {
        let (alive, ended) = bounded(0);
        Self {
            shared: Arc::new(ServiceCore {
                common: Arc::new(Common::new(parts)),
                lanes: Arc::default(),
                whereabouts: Mutex::default(),
                commands: AtomicU64::new(1),
                link_down: AtomicBool::new(false),
                stopping: AtomicBool::new(false),
                alive: Mutex::new(Some(alive)),
                ended,
            }),
        }
    }

    /// Hands an order to its camera's lane. The fault is an answer already: nothing was sent to
    /// the camera.
    pub fn submit(
        &self,
        ask: &CameraAsk,
        origin: Origin,
        sent: Sent,
        order: Order,
    ) -> Result<CameraDone, Fault> {
        let shared = &self.shared;
        let camera = ask.name()?;
        let call = Call::new(ask, sent);
        // A tour's other commands make no lane: there is no tour where there is none.
        let patrol_only = match &order {
            Order::Patrol(PatrolOrder::Start(_)) => None,
            Order::Patrol(order) => Some(order.clone()),
            _ => None,
        };
        let place = shared.book().place(ask);
        if order.is_stop() {
            // Whatever becomes of it: what is older moves nothing any more.
            let ip = place.as_ref().ok().and_then(|place| match &place.host {
                Host::Ip(ip) => Some(*ip),
                Host::Name(name) => shared.whereabouts().last(name),
            });
            let spot = place.as_ref().ok().zip(ip).map(|(place, ip)| place.at(ip));
            let mut lanes = shared.lanes();
            lanes.overtaken.note(&call, spot, &order, Now::read().mono);
        }
        let place = match place {
            Ok(place) => place,
            Err(fault) if patrol_only.is_some() && fault.code == ErrorCode::NotFound => {
                return without_lane(camera, patrol_only.as_ref());
            }
            Err(fault) => return Err(fault),
        };
        let (reply, done) = bounded(1);
        let job = Job {
            command: Command {
                id: shared.command_id(),
                camera: camera.clone(),
                origin,
                age: sent.age,
                overtaken: false,
                order,
            },
            place,
            call: Some(call),
            reply,
            since: Now::read().mono,
        };
        match &job.place.host {
            Host::Ip(ip) => {
                let ip = *ip;
                self.settle(&camera, &job.place, Some(ip));
                if patrol_only.is_some() && !shared.has_lane(&job.place, ip, &camera) {
                    return without_lane(camera, patrol_only.as_ref());
                }
                self.hand_over(job, ip)?;
            }
            Host::Name(name) => {
                let name = name.clone();
                let (last, awaited) = {
                    let names = shared.whereabouts();
                    (names.last(&name), names.is_awaited(&name))
                };
                let lane = last.is_some_and(|ip| shared.has_lane(&job.place, ip, &camera));
                // Where the name leads may be where its tour runs, or somewhere else.
                let idle = !lane && !awaited && !shared.moves_anywhere(&camera);
                if patrol_only.is_some() && idle {
                    return without_lane(camera, patrol_only.as_ref());
                }
                self.by_name(&name, job, lane)?;
            }
        }
        Ok(done)
    }

    /// Forgets the certificates of a camera's address, on every port of it: the next ones are the
    /// first. What that was.
    pub fn forget_certificates(&self, ask: &CameraAsk) -> Result<Vec<KeptCertificate>, Fault> {
        let parts = &self.shared.common.parts;
        let place = parts.book.place(ask)?;
        let ip = match &place.host {
            Host::Ip(ip) => Some(*ip),
            Host::Name(name) => self.shared.whereabouts().last(name),
        };
        let ip = ip.or_else(|| parts.book.address(&place.host));
        let ip = ip.ok_or_else(|| {
            Fault::new(
                ErrorCode::NotFound,
                "nothing was sent to this camera yet, so nobody knows which address its name has",
            )
        })?;
        Ok(parts.gateway.forget_certificates(ip))
    }

    /// Hands a command to the lane of its camera, which is made where there is none.
    pub(super) fn hand_over(&self, job: Job, ip: IpAddr) -> Result<(), Fault> {
        let shared = &self.shared;
        let wanted = job.place.at(ip);
        let port_is_said = job.place.port_is_said;
        let (camera, host) = (job.command.camera.clone(), job.place.host.clone());
        let urgent = job.command.order.is_stop();
        let moves = job.command.order.sets_in_motion();
        self.settle(&camera, &job.place, Some(ip));
        let call = job.call;
        let mut command = job.command;
        command.age = command.age.saturating_add(job.since.elapsed());
        let mut input = Input::Command(command, host.clone(), job.reply);
        let give_up = Now::read().mono + STOP_WAITS;
        loop {
            let (refused, queue, place) = {
                let mut lanes = shared.lanes();
                let place = lanes.find(wanted, port_is_said, &camera);
                if let (Some(call), Input::Command(command, ..)) = (&call, &mut input) {
                    let (order, now) = (&command.order, Now::read().mono);
                    command.overtaken = lanes.overtaken.has(call, &place, order, now);
                    lanes.overtaken.note(call, Some(place), order, now);
                }
                if let Input::Command(command, _, reply) = &input
                    && command.overtaken
                    && !lanes.map.contains_key(&place)
                {
                    answer_overtaken(command, reply);
                    return Ok(());
                }
                let handle = match lanes.map.get_mut(&place) {
                    Some(handle) => handle,
                    None => self.start_lane(&mut lanes, place, &camera, &host, urgent)?,
                };
                let overtaken = matches!(&input, Input::Command(command, ..) if command.overtaken);
                if moves && !overtaken {
                    handle.moved_by(&camera);
                }
                match handle.queue.try_send(input) {
                    Ok(()) => return Ok(()),
                    Err(refused) => (refused, handle.queue.clone(), place),
                }
            };
            input = match refused {
                // A stop waits for its place, in nobody's way.
                TrySendError::Full(input) if urgent => match queue.send_deadline(input, give_up) {
                    Ok(()) => return Ok(()),
                    Err(why) => why.into_inner(),
                },
                TrySendError::Full(_) => {
                    return Err(Fault::new(
                        ErrorCode::NodeBusy,
                        "too many commands wait for this camera; try again in a moment",
                    ));
                }
                TrySendError::Disconnected(input) => {
                    shared.lanes().map.remove(&place);
                    input
                }
            };
            if Now::read().mono >= give_up {
                return Err(Fault::new(
                    ErrorCode::InternalError,
                    "the camera's lane does not answer; the log says more",
                ));
            }
        }
    }

    /// A camera's id leads there now (`None` = nobody knows where its host's name leads). What it
    /// has set in motion anywhere else is stopped and ended there, because no stop by that id comes
    /// there any more.
    pub(super) fn settle(&self, camera: &CameraId, place: &NamedChannel, ip: Option<IpAddr>) {
        let left = {
            let lanes = self.shared.lanes();
            let now_at = ip.map(|ip| lanes.find(place.at(ip), place.port_is_said, camera));
            let by_address = camera.as_str() == place.host.to_string();
            lanes.left_by(camera, by_address, now_at)
        };
        for queue in left {
            // Behind the commands that came before it. The lane's thread takes microseconds for
            // each; where it is stuck, nothing could be stopped by it anyway.
            let _ = queue.send_timeout(Input::Left(camera.clone()), STOP_WAITS);
        }
    }

    /// Leaves out of `ask` an address that can't be a camera's, where its id is known without it.
    /// True = left out. For stops, which need nothing but to know which camera.
    pub fn leave_refused_host(&self, ask: &mut CameraAsk) -> bool {
        let book = self.shared.book();
        let (Some(id), Some(Host::Ip(ip))) = (&ask.camera_id, &ask.said.host) else {
            return false;
        };
        let refused = book.check(*ip).is_err() && book.knows(id);
        if refused {
            // The rest was said of that address.
            ask.said = CameraParams {
                channel: ask.said.channel,
                ..CameraParams::default()
            };
        }
        refused
    }

    /// New limits and other configured logins, after a reload. Moves that run keep their ends.
    pub fn configure(&self, policy: LanePolicy, logins: Vec<ConfiguredLogin>) {
        self.shared.common.set_policy(policy);
        self.shared.book().configure(logins);
    }

    /// What a stream's source tells of its camera.
    pub fn learn_source(&self, id: &CameraId, source: &MediaUrl) {
        let book = self.shared.book();
        let Some(place) = book.learn_source(id, source) else {
            return;
        };
        match &place.host {
            Host::Ip(ip) => self.settle(id, &place, Some(*ip)),
            Host::Name(name) => {
                if let Some(ip) = book.address(&place.host) {
                    self.settle(id, &place, Some(ip));
                } else if self.shared.moves_anywhere(id) {
                    self.look_up_for(id, name, place.clone());
                }
            }
        }
    }

    /// Whether a stream may log in to its camera now: accounts lock for every protocol at once.
    pub fn stream_permit(&self, source: &MediaUrl) -> LoginPermit {
        match self.stream_account(source) {
            Some((ip, login)) => self.shared.book().stream_permit(ip, &login),
            None => LoginPermit::Granted,
        }
    }

    /// Whether the camera has ever taken a stream's login, for whatever it was wanted.
    pub fn stream_login_has_worked(&self, source: &MediaUrl) -> bool {
        self.stream_account(source)
            .is_some_and(|(ip, login)| self.shared.book().has_worked(ip, &login))
    }

    /// What came of it.
    pub fn stream_login(&self, source: &MediaUrl, end: LoginEnd) {
        if let Some((ip, login)) = self.stream_account(source) {
            self.shared.book().stream_login(ip, &login, end);
        }
    }

    /// Asks the camera of a stream for a keyframe, at most one in 2 s a camera. Nobody waits for
    /// what comes of it: a camera that can't sends its next one by itself.
    pub fn ask_keyframe(&self, id: Option<&CameraId>, source: &MediaUrl) {
        let Ok(host) = Host::parse("sourceUrl", source.host()) else {
            return;
        };
        let by_host = || self.shared.book().places_by(&host).into_iter().next();
        // What nobody has called a camera is asked nothing: it may be a server of recordings.
        let Some(id) = id.cloned().or_else(|| Some(by_host()?.0)) else {
            return;
        };
        let ask = CameraAsk {
            camera_id: Some(id),
            said: CameraParams::default(),
        };
        let order = Order::Query(Query::Keyframe(vendor::stream_of(&source.path())));
        if let Err(fault) = self.submit(&ask, Origin::Internal, Sent::now(), order) {
            log::debug!("a camera can't be asked for a keyframe: {}", fault.message);
        }
    }

    /// Whose account a stream uses; `None` where it has none, or nobody knows where the name of
    /// its host leads: names are not looked up for this.
    fn stream_account(&self, source: &MediaUrl) -> Option<(IpAddr, Credentials)> {
        let host = Host::parse("sourceUrl", source.host()).ok()?;
        let ip = self.shared.book().address(&host)?;
        let (user, password) = source.credentials()?;
        Some((ip, Credentials::new(user, password).ok()?))
    }

    // ---- What discovery asks of cameras: under the guard, in their lanes, with the login that
    // belongs to an address and no other ----

    /// What discovery sees, and addresses where it sees nothing any more.
    pub fn sighted(&self, seen: &[Sighting], gone: &[IpAddr]) {
        self.shared.book().sighted(seen, gone);
    }

    /// The login that belongs to an address, if anybody has told one.
    pub fn login_at(&self, ip: IpAddr) -> Option<Credentials> {
        self.shared.book().login_at(ip)
    }

    /// The rules for addresses, with this machine's own.
    pub fn address_rules(&self) -> AddressRules {
        self.shared.book().rules()
    }

    /// Asks what is at an address, in its camera's lane and with the login that belongs there.
    pub fn ask_at(&self, ip: IpAddr, query: Query) -> Result<CameraDone, Fault> {
        let ask = CameraAsk {
            camera_id: Some(self.shared.book().introduce(ip)?),
            ..CameraAsk::default()
        };
        let order = Order::Query(query);
        self.submit(&ask, Origin::Internal, Sent::now(), order)
    }

    /// What a stream at an address is. `url` has no login; where the server asks for one, it gets
    /// the address's own, if the camera has taken that before and the guard lets it pass. Waits,
    /// at most for `timeout`.
    pub fn describe(
        &self,
        at: SocketAddr,
        url: &Secret,
        timeout: Duration,
    ) -> Result<StreamDescription, Fault> {
        let parts = &self.shared.common.parts;
        let ip = parts.book.check(at.ip())?;
        let at = SocketAddr::new(ip, at.port());
        let login = parts
            .book
            .login_at(ip)
            .filter(|login| parts.book.may_repeat(ip, login));
        let Some(login) = login else {
            return parts.rtsp.describe(at, url, None, timeout);
        };
        let described = parts.rtsp.describe(at, url, Some(&login), timeout);
        match &described {
            Err(fault) if fault.code == ErrorCode::Unauthorized => {
                log::warn!(camera:% = at, user = login.username(); "the camera refused over RTSP a login that it takes over HTTP");
                parts.book.stream_login(ip, &login, LoginEnd::Refused);
            }
            _ => parts.book.nothing_heard(ip, &login),
        }
        described
    }

    // ---- All cameras ----

    /// How long cameras take.
    pub fn latencies(&self) -> &Latencies {
        &self.shared.common.latencies
    }

    /// The cameras that are known, by id and address.
    pub fn known(&self) -> Vec<KnownCamera> {
        self.shared.book().known()
    }

    /// The cloud's line has left CONNECTED: what moves by a manual command of the cloud stops.
    pub fn link_lost(&self) {
        self.link(true);
    }

    /// The cloud's line is back.
    pub fn link_back(&self) {
        self.link(false);
    }

    fn link(&self, down: bool) {
        // Under the lock, so that a lane that is just being made misses nothing.
        let lanes = self.shared.lanes();
        self.shared.link_down.store(down, Ordering::Relaxed);
        lanes.signal(|flags| flags.link_down.store(down, Ordering::Relaxed));
    }

    /// How long an answer to `order` may take at most.
    pub fn patience(&self, order: &Order) -> Duration {
        patience(order, &self.shared.common.policy())
    }

    /// Whether a camera moves by a manual command of the cloud: then its line is to be watched
    /// more closely (contract 5).
    pub fn moves_for_cloud(&self) -> bool {
        let lanes = self.shared.lanes();
        lanes
            .map
            .values()
            .any(|handle| handle.flags.moves_for_cloud.load(Ordering::Relaxed))
    }

    /// What waits for the lane that most waits for.
    pub fn queue(&self) -> QueueMetric {
        let lanes = self.shared.lanes();
        let longest = lanes.map.values().map(|handle| handle.queue.len()).max();
        QueueMetric::bounded("camera_commands", longest.unwrap_or(0), MAX_WAITING)
    }

    /// How many cameras have a lane.
    pub fn lanes(&self) -> usize {
        self.shared.lanes().map.len()
    }

    /// The next command by a name looks it up again.
    #[cfg(test)]
    pub(super) fn distrust_names(&self) {
        self.shared.whereabouts().distrust();
    }

    /// Ends patrols, stops what moves, refuses all but stops of cameras that have a lane. Does
    /// not wait: [`ended`](Self::ended) tells when every camera stands, at the latest after 6 s.
    pub fn shut_down(&self) {
        let lanes = self.shared.lanes();
        self.shared.stopping.store(true, Ordering::Relaxed);
        lanes.signal(|flags| flags.stopping.store(true, Ordering::Relaxed));
        drop(lanes);
        self.shared
            .alive
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    /// Disconnected when every lane has ended after [`shut_down`](Self::shut_down).
    pub fn ended(&self) -> &Receiver<()> {
        &self.shared.ended
    }

    fn start_lane<'a>(
        &self,
        lanes: &'a mut Lanes,
        place: ChannelAddress,
        camera: &CameraId,
        host: &Host,
        stop: bool,
    ) -> Result<&'a mut LaneHandle, Fault> {
        let shared = &self.shared;
        let alive = shared
            .alive
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Some(alive) = alive.filter(|_| !shared.stopping.load(Ordering::Relaxed)) else {
            return Err(Fault::new(ErrorCode::NodeOffline, "the node is stopping"));
        };
        lanes.make_room(stop)?;
        let generation = lanes.next_generation();
        let (queue, inputs) = bounded(MAX_WAITING);
        let flags = Arc::new(Flags::default());
        flags
            .link_down
            .store(shared.link_down.load(Ordering::Relaxed), Ordering::Relaxed);
        let contact = Contact::new(
            place,
            camera.clone(),
            host.clone(),
            Arc::clone(&shared.common),
        );
        running::start(running::Start {
            contact: Arc::new(contact),
            registry: Arc::clone(&shared.lanes),
            inputs,
            flags: flags.clone(),
            generation,
            alive,
        })
        .map_err(|why| {
            Fault::new(
                ErrorCode::NodeBusy,
                format!("no thread can be started for this camera: {why}"),
            )
        })?;
        let handle = LaneHandle {
            queue,
            flags,
            generation,
            movers: Vec::new(),
        };
        Ok(lanes.map.entry(place).or_insert(handle))
    }
}

impl ServiceCore {
    pub(super) fn book(&self) -> &Book {
        &self.common.parts.book
    }

    pub(super) fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock()
    }

    pub(super) fn whereabouts(&self) -> MutexGuard<'_, Whereabouts> {
        self.whereabouts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn has_lane(&self, place: &NamedChannel, ip: IpAddr, camera: &CameraId) -> bool {
        let lanes = self.lanes();
        let at = lanes.find(place.at(ip), place.port_is_said, camera);
        lanes.map.contains_key(&at)
    }

    /// Whether an id may have set something in motion anywhere.
    fn moves_anywhere(&self, camera: &CameraId) -> bool {
        !self.lanes().left_by(camera, false, None).is_empty()
    }

    pub(super) fn command_id(&self) -> CommandId {
        CommandId(self.commands.fetch_add(1, Ordering::Relaxed))
    }
}

/// A tour's command where there is no lane, so no tour.
fn without_lane(camera: CameraId, order: Option<&PatrolOrder>) -> Result<CameraDone, Fault> {
    if !matches!(order, Some(PatrolOrder::Status)) {
        return Err(Fault::new(
            ErrorCode::NotFound,
            "there is no patrol on this camera",
        ));
    }
    let (reply, done) = bounded(1);
    let _ = reply.send(CameraReply {
        protocol: None,
        result: Ok(Success {
            patrol: Some(PatrolStatus::none(camera.clone())),
            ..Success::default()
        }),
        camera,
    });
    Ok(done)
}

/// Of what a later stop has overtaken, where there is no lane that could say more.
fn answer_overtaken(command: &Command, reply: &Sender<CameraReply>) {
    let camera = command.camera.clone();
    let patrol = matches!(command.order, Order::Patrol(_));
    let _ = reply.try_send(CameraReply {
        protocol: None,
        result: Ok(Success {
            patrol: patrol.then(|| PatrolStatus::none(camera.clone())),
            ..Success::superseded()
        }),
        camera,
    });
}

/// How long an answer may take at most: what doors wait for.
fn patience(order: &Order, policy: &LanePolicy) -> Duration {
    let margin = Duration::from_secs(5);
    match order {
        Order::Query(Query::Fit(ask)) if ask.apply => policy.fit_timeout + margin,
        Order::Query(_) => policy.query_timeout + Duration::from_secs(30) + margin,
        Order::Stop(_) => Duration::from_secs(60) + margin,
        _ => policy.request_timeout * 2 + policy.command_ttl + margin,
    }
}
