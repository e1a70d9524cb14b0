//! Every order of a handful of happenings, played to the real service: doors' calls, directory,
//! guard, ladder of logins, lanes and their machines. Two cameras, two accounts, several ids; time
//! is simulated, and only the threads are replaced: a request is carried out when it is sent, and
//! its answer comes later or never.
//!
//! What must hold, at every moment of every order: no camera moves longer than somebody has ordered
//! (plus the time that a stop takes), no camera is stopped without a reason of its own, and each
//! command is answered once. The model beside the service knows only what was ordered; it knows
//! nothing of lanes, logins or requests.

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::contact::{Contact, KeptDevice};
use super::fakes::{self, FakeNames};
use super::lane::sim::{ms, plan, secs};
use super::order::{Outcome, RequestId, Send};
use super::overtaken::Sent;
use super::running::{LaneThread, Start};
use super::wires::Answers;
use super::{
    Book, CameraAsk, CameraDone, CameraParams, CameraParts, CameraService, Host, LanePolicy, Order,
    Origin, PatrolOrder, PtzAsk, Query, Sighting, Vendor,
};
use crate::domain::camera::{
    CameraAddress, CameraDevice, CameraDeviceInfo, CameraError, CameraGateway, CameraTarget,
    Checked, Credentials, LoginRefusal, Motion, MoveAccepted, PresetInfo, Protocol, ProtocolOffer,
    SnapshotWish, StopWay,
};
use crate::domain::error::ErrorCode;
use crate::domain::gateway::{CameraObserver, StreamPlace};
use crate::domain::patrol::PatrolEvent;
use crate::domain::ptz::{Drive, Drives, PtzAction, PtzEvent, Velocity};
use crate::domain::stream::{CameraId, Id, MediaUrl};
use crate::util::secret::Secret;
use crate::util::time::{Now, simulated};

/// A stop takes no longer than this, whatever else happens: a reboot of the camera, an answer that
/// is lost, a movement that is still unanswered.
const STOP_TAKES: Duration = Duration::from_secs(5);
/// `ptz.max_move`, and what a movement may wait before it is sent.
const MOVE_LASTS: Duration = Duration::from_secs(30 + 6);
/// A camera answers so fast.
const ANSWER: Duration = Duration::from_millis(20);
/// It is known so late that an answer is lost.
const LOSS: Duration = Duration::from_millis(700);
/// A camera that restarts does not answer for so long.
const RESTART: Duration = Duration::from_secs(3);

// ---- In the place of threads -------------------------------------------------------------------

type Request = (Arc<Contact>, Answers, Send);

#[derive(Default)]
struct Taken {
    lanes: Vec<Start>,
    requests: Vec<Request>,
}

thread_local! {
    static TAKEN: RefCell<Option<Taken>> = const { RefCell::new(None) };
}

/// A lane whose thread the simulation of this thread takes over; given back where there is none.
pub(super) fn take_lane(start: Start) -> Option<Start> {
    TAKEN.with_borrow_mut(|taken| match taken {
        Some(taken) => {
            taken.lanes.push(start);
            None
        }
        None => Some(start),
    })
}

/// The same of a request.
pub(super) fn take_request(contact: &Arc<Contact>, answers: &Answers, send: Send) -> Option<Send> {
    TAKEN.with_borrow_mut(|taken| match taken {
        Some(taken) => {
            taken
                .requests
                .push((Arc::clone(contact), answers.clone(), send));
            None
        }
        None => Some(send),
    })
}

// ---- The cameras -------------------------------------------------------------------------------

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dome {
    A,
    B,
}

impl Dome {
    const ALL: [Self; 2] = [Self::A, Self::B];

    fn ip(self) -> IpAddr {
        IpAddr::from([192, 168, 7, 1 + self as u8])
    }

    fn at(ip: IpAddr) -> Self {
        if ip == Self::A.ip() { Self::A } else { Self::B }
    }
}

#[derive(Default)]
struct Camera {
    moves: bool,
    restarts_until: Option<Instant>,
    /// Its next answer is lost.
    loses_answer: bool,
    /// The last request's answer was.
    lost: bool,
    /// Stops that found it moving, since last looked.
    stopped: Vec<Instant>,
}

type Site = Arc<Mutex<[Camera; 2]>>;

struct Gateway(Site);

struct Device {
    site: Site,
    target: CameraTarget,
    protocol: Protocol,
}

impl CameraGateway for Gateway {
    fn protocols(&self) -> &[ProtocolOffer] {
        fakes::PROTOCOLS
    }

    fn open(
        &self,
        target: &CameraTarget,
        protocol: Protocol,
    ) -> Result<Box<dyn CameraDevice>, CameraError> {
        Ok(Box::new(Device {
            site: self.0.clone(),
            target: target.clone(),
            protocol,
        }))
    }

    fn speaks(
        &self,
        address: &CameraAddress,
        protocol: Protocol,
        _: Instant,
    ) -> Result<bool, CameraError> {
        let mut site = self.0.lock().unwrap();
        let camera = &mut site[Dome::at(address.ip) as usize];
        answers(camera, address.port)?;
        Ok(protocol == Protocol::ISAPI)
    }
}

fn answers(camera: &Camera, port: u16) -> Result<(), CameraError> {
    let restarting = camera
        .restarts_until
        .is_some_and(|until| Now::read().mono < until);
    if restarting || port != 80 {
        return Err(CameraError::Unreachable("connection refused".into()));
    }
    Ok(())
}

impl Device {
    /// Logs in, does it, and may lose the answer.
    fn does<T>(
        &self,
        controls: bool,
        what: impl FnOnce(&mut Camera) -> T,
    ) -> Result<T, CameraError> {
        let mut site = self.site.lock().unwrap();
        let camera = &mut site[Dome::at(self.target.address.ip) as usize];
        answers(camera, self.target.address.port)?;
        camera.lost = std::mem::take(&mut camera.loses_answer);
        let refused = |tried| {
            Err(CameraError::LoginRefused(LoginRefusal {
                tried,
                unlock_after: None,
                tries_left: None,
                words: "no".into(),
            }))
        };
        let done = match self.target.credentials.as_ref() {
            None => refused(false),
            Some(login) => match (login.username(), login.password().expose()) {
                ("viewer", "viewer-password") if controls => {
                    Err(CameraError::Forbidden("no right".into()))
                }
                ("admin", "admin-password") | ("viewer", "viewer-password") => Ok(what(camera)),
                _ => refused(true),
            },
        };
        if camera.lost {
            return Err(CameraError::NoAnswer("the line broke".into()));
        }
        done
    }
}

impl CameraDevice for Device {
    fn protocol(&self) -> Protocol {
        self.protocol
    }
    fn hang_up(&mut self) {}
    fn check(&mut self, _: Instant) -> Result<Checked, CameraError> {
        self.does(false, |_| Checked {
            authenticated: true,
        })
    }
    fn probe(&mut self, _: Instant) -> Result<CameraDeviceInfo, CameraError> {
        Err(CameraError::NotSupported("not asked here".into()))
    }
    fn move_at(
        &mut self,
        _: Drive,
        velocity: Velocity,
        _: Duration,
        _: Instant,
    ) -> Result<MoveAccepted, CameraError> {
        self.does(true, |camera| {
            camera.moves = !velocity.is_zero();
            MoveAccepted::default()
        })
    }
    fn focus_auto(&mut self, _: Instant) -> Result<(), CameraError> {
        self.does(true, |_| ())
    }
    fn stop(&mut self, drive: Drive, _: StopWay, _: Instant) -> Result<(), CameraError> {
        self.does(true, |camera| {
            if drive == Drive::PanTiltZoom && std::mem::take(&mut camera.moves) {
                camera.stopped.push(Now::read().mono);
            }
        })
    }
    fn motion(&mut self, _: Instant) -> Result<Motion, CameraError> {
        Ok(Motion::default())
    }
    fn presets(&mut self, _: Instant) -> Result<Vec<PresetInfo>, CameraError> {
        Ok(Vec::new())
    }
    fn goto_preset(&mut self, _: &str, _: bool, _: Instant) -> Result<(), CameraError> {
        self.does(true, |_| ())
    }
    fn set_preset(
        &mut self,
        _: Option<&str>,
        _: Option<&str>,
        _: Instant,
    ) -> Result<String, CameraError> {
        Err(CameraError::NotSupported("not asked here".into()))
    }
    fn delete_preset(&mut self, _: &str, _: Instant) -> Result<(), CameraError> {
        Err(CameraError::NotSupported("not asked here".into()))
    }
    fn start_patrol(&mut self, _: &str, _: Instant) -> Result<(), CameraError> {
        Err(CameraError::NotSupported("not asked here".into()))
    }
    fn stop_patrol(&mut self, _: &str, _: Instant) -> Result<(), CameraError> {
        Err(CameraError::NotSupported("not asked here".into()))
    }
    fn snapshot(&mut self, _: SnapshotWish, _: Instant) -> Result<Vec<u8>, CameraError> {
        Err(CameraError::NotSupported("not asked here".into()))
    }
    fn stream_uri(&mut self, _: Instant) -> Result<Option<String>, CameraError> {
        Ok(None)
    }
}

struct Nobody;

impl CameraObserver for Nobody {
    fn ptz_event(&self, _: &PtzEvent, _: std::time::SystemTime) {}
    fn patrol_event(&self, _: &PatrolEvent, _: std::time::SystemTime) {}
    fn moves_for_cloud(&self, _: bool) {}
}

// ---- What happens ------------------------------------------------------------------------------

/// One thing that happens. `c1` leads to A at first and has moved it; `c2` to B. Both have the
/// admin's login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Happens {
    /// The cloud moves c1, by its id alone.
    Move,
    /// The cloud moves c1, and the command is held back until the next thing has happened.
    MoveHeld,
    /// The cloud stops c1, by its id alone.
    Stop,
    /// The cloud moves c1, naming A and the admin's login.
    MoveAtA,
    /// The cloud moves and stops c2.
    MoveOther,
    StopOther,
    /// Somebody on site moves and stops what is at A's address, by that alone.
    MoveByAddress,
    StopByAddress,
    /// c3 is asked at A, with the viewing account.
    CheckAsViewer,
    /// A stream of c1 begins, with the viewing account at A.
    StreamAsViewer,
    /// A stream of c1 begins, with the admin's login at B.
    StreamAtB,
    /// A sweep says that A answers at another port.
    Sweep,
    /// The cloud's line is lost for a second.
    LinkLost,
    /// A restarts.
    Restart,
    /// The next answer of A is lost.
    AnswerLost,
    /// A's lane meets a bug of ours.
    LaneFails,
    /// An endless tour of c1; its end; its pause.
    Tour,
    TourStop,
    TourPause,
    /// A minute passes.
    Minute,
}

/// What was ordered of a camera, as its operators understand it.
#[derive(Clone, Debug, Default)]
struct Ordered {
    /// It may move until then.
    until: Option<Instant>,
    /// Under which id, and whether by the cloud.
    by: Option<(&'static str, bool)>,
    /// The same of the movement before, which may be running while the newer one waits.
    before: Option<(Instant, &'static str, bool)>,
    /// A tour runs, or may be resumed.
    tour: Option<&'static str>,
    /// The last reason for which it may be stopped.
    reason: Option<Instant>,
}

struct Flying {
    at: Instant,
    answers: Answers,
    id: RequestId,
    outcome: Outcome,
}

/// A command that the cloud has sent and that is held back.
struct Held {
    sent: Sent,
    /// Stopped since, by its id or at its camera.
    overtaken: bool,
}

struct World {
    service: CameraService,
    site: Site,
    lanes: Vec<LaneThread>,
    flying: Vec<Flying>,
    now: Now,
    link_back_at: Option<Instant>,
    ordered: [Ordered; 2],
    /// Where c1 leads.
    c1: Dome,
    held: Option<Held>,
    /// Commands of the cloud so far.
    number: u64,
    answers: Vec<(String, CameraDone)>,
    begun: Instant,
}

impl Drop for World {
    fn drop(&mut self) {
        TAKEN.set(None);
        simulated::set(None);
    }
}

fn id(text: &str) -> CameraId {
    Id::parse("cameraId", text).unwrap()
}

fn login(user: &str) -> Credentials {
    Credentials::new(user, Secret::new(format!("{user}-password"))).unwrap()
}

fn called(name: Option<&str>, at: Option<Dome>, user: Option<&str>) -> CameraAsk {
    CameraAsk {
        camera_id: name.map(id),
        said: CameraParams {
            host: at.map(|dome| Host::Ip(dome.ip())),
            login: user.map(login),
            vendor: at.and_then(|_| Vendor::parse("HIKVISION")),
            ..CameraParams::default()
        },
    }
}

impl World {
    fn new() -> Self {
        let now = Now::read();
        simulated::set(Some(now));
        TAKEN.set(Some(Taken::default()));
        let site = Site::default();
        let names = FakeNames(Mutex::new(Err(CameraError::Unreachable("no names".into()))));
        let parts = CameraParts {
            gateway: Arc::new(Gateway(site.clone())),
            rtsp: fakes::rtsp(),
            names: Arc::new(names),
            pictures: fakes::pictures(),
            observer: Arc::new(Nobody),
            book: Arc::new(Book::new(Vec::new(), false, Box::new(Vec::new))),
            policy: LanePolicy::default(),
        };
        let mut world = Self {
            service: CameraService::new(parts),
            site,
            lanes: Vec::new(),
            flying: Vec::new(),
            now,
            link_back_at: None,
            ordered: [Ordered::default(), Ordered::default()],
            c1: Dome::A,
            held: None,
            number: 0,
            answers: Vec::new(),
            begun: now.mono,
        };
        for (name, dome) in [("c1", Dome::A), ("c2", Dome::B)] {
            let ask = called(Some(name), Some(dome), Some("admin"));
            world.submit(&ask, Origin::Rest, Sent::now(), Order::Query(Query::Check));
        }
        world.pass(secs(1));
        world.happen(Happens::Move);
        world.pass(secs(1));
        assert!(world.moves(Dome::A));
        world
    }

    fn moves(&self, dome: Dome) -> bool {
        self.site.lock().unwrap()[dome as usize].moves
    }

    fn submit(&mut self, ask: &CameraAsk, origin: Origin, sent: Sent, order: Order) {
        let what = format!("{ask:?} {order:?}");
        match self.service.submit(ask, origin, sent, order) {
            Ok(done) => self.answers.push((what, done)),
            Err(fault) => {
                let harmless = [ErrorCode::NotFound, ErrorCode::Unavailable];
                assert!(harmless.contains(&fault.code), "{what}: {fault:?}");
            }
        }
        self.settle();
    }

    /// The cloud sends a command; it reaches us at once.
    fn sent(&mut self) -> Sent {
        self.number += 1;
        let age = self.now.mono.saturating_duration_since(self.begun);
        Sent {
            age: Duration::ZERO,
            place: Some(StreamPlace {
                made_ms: i64::try_from(age.as_millis()).unwrap(),
                section: 1,
                number: self.number,
                held: false,
            }),
            received: self.now.mono,
        }
    }

    fn cloud(&mut self, ask: &CameraAsk, order: Order) {
        let sent = self.sent();
        // What arrives shows that the line is there.
        self.service.link_back();
        self.submit(ask, Origin::Ably, sent, order);
    }

    fn may_move(&mut self, dome: Dome, by: &'static str, cloud: bool) {
        self.tour_ends(dome);
        let now = self.now.mono;
        let until = now + MOVE_LASTS;
        let ordered = &mut self.ordered[dome as usize];
        ordered.until = ordered.until.max(Some(until));
        ordered.before = ordered.by.map(|(by, cloud)| (now, by, cloud));
        ordered.by = Some((by, cloud));
    }

    /// What `its` says of who moves a camera: it ends.
    fn ends_if(&mut self, dome: Dome, its: impl Fn(&'static str, bool) -> bool) {
        let now = self.now.mono;
        let ordered = &mut self.ordered[dome as usize];
        let newest = ordered.by.is_some_and(|(by, cloud)| its(by, cloud));
        // While the one before was unanswered, the newest waited: it never went out, or will.
        let before = ordered.before.filter(|(at, ..)| now <= *at + LOSS);
        let other = before.map(|(_, by, cloud)| its(by, cloud));
        match (newest, other) {
            (true, Some(true) | None) => self.must_stop(dome),
            // One of the two is ended, and the other goes on.
            (true, Some(false)) | (false, Some(true)) => ordered.reason = Some(now),
            (false, _) => {}
        }
    }

    fn must_stop(&mut self, dome: Dome) {
        let now = self.now.mono;
        let ordered = &mut self.ordered[dome as usize];
        ordered.until = ordered.until.map(|until| until.min(now + STOP_TAKES));
        ordered.reason = Some(now);
    }

    /// A stop of c1, or of what is at a camera: it overtakes what is held back for c1.
    fn stops(&mut self, dome: Dome, by_id: bool, held: &mut Option<Held>) {
        self.tour_ends(dome);
        self.must_stop(dome);
        if let Some(held) = held {
            held.overtaken |= by_id || self.c1 == dome;
        }
    }

    /// Whoever steers by hand pauses the tour for good.
    fn tour_ends(&mut self, dome: Dome) {
        let now = self.now.mono;
        let ordered = &mut self.ordered[dome as usize];
        if ordered.tour.take().is_some() {
            ordered.until = Some(now + STOP_TAKES);
            ordered.reason = Some(now);
        }
    }

    fn leads_to(&mut self, dome: Dome) {
        let before = std::mem::replace(&mut self.c1, dome);
        if before == dome {
            return;
        }
        if self.ordered[before as usize].tour == Some("c1") {
            self.tour_ends(before);
        } else {
            self.ends_if(before, |by, _| by == "c1");
        }
    }

    fn happen(&mut self, what: Happens) {
        // Nothing is at the very same moment as anything else.
        self.pass(ms(1));
        let mut held = self.held.take();
        let c1 = called(Some("c1"), None, None);
        let left = Order::ptz(&PtzAsk::new(PtzAction::PanLeft)).unwrap();
        match what {
            Happens::Move => {
                self.may_move(self.c1, "c1", true);
                self.cloud(&c1, left.clone());
            }
            Happens::MoveHeld => {
                let sent = self.sent();
                let place = sent.place.map(|place| StreamPlace {
                    held: true,
                    ..place
                });
                self.held = Some(Held {
                    sent: Sent { place, ..sent },
                    overtaken: false,
                });
            }
            Happens::MoveAtA => {
                self.leads_to(Dome::A);
                self.may_move(Dome::A, "c1", true);
                let ask = called(Some("c1"), Some(Dome::A), Some("admin"));
                self.cloud(&ask, left.clone());
            }
            Happens::Stop => {
                self.stops(self.c1, true, &mut held);
                self.cloud(&c1, Order::Stop(Drives::ALL));
            }
            Happens::MoveOther => {
                self.may_move(Dome::B, "c2", true);
                self.cloud(&called(Some("c2"), None, None), left.clone());
            }
            Happens::StopOther => {
                self.stops(Dome::B, false, &mut held);
                self.cloud(&called(Some("c2"), None, None), Order::Stop(Drives::ALL));
            }
            Happens::MoveByAddress => {
                self.may_move(Dome::A, "address", false);
                let ask = called(None, Some(Dome::A), None);
                self.submit(&ask, Origin::Rest, Sent::now(), left.clone());
            }
            Happens::StopByAddress => {
                self.stops(Dome::A, false, &mut held);
                let ask = called(None, Some(Dome::A), None);
                self.submit(&ask, Origin::Rest, Sent::now(), Order::Stop(Drives::ALL));
            }
            Happens::CheckAsViewer => {
                let ask = called(Some("c3"), Some(Dome::A), Some("viewer"));
                self.submit(&ask, Origin::Rest, Sent::now(), Order::Query(Query::Check));
            }
            Happens::StreamAsViewer => {
                self.leads_to(Dome::A);
                self.stream("viewer", Dome::A);
            }
            Happens::StreamAtB => {
                self.leads_to(Dome::B);
                self.stream("admin", Dome::B);
            }
            Happens::Sweep => {
                let seen = Sighting {
                    ip: Dome::A.ip(),
                    vendor: None,
                    http_port: Some(8080),
                    rtsp_port: None,
                    onvif_path: None,
                };
                self.service.sighted(&[seen], &[]);
            }
            Happens::LinkLost => {
                for dome in Dome::ALL {
                    self.ends_if(dome, |_, cloud| cloud);
                }
                self.service.link_lost();
                self.link_back_at = Some(self.now.mono + secs(1));
            }
            Happens::Restart => {
                let mut site = self.site.lock().unwrap();
                let camera = &mut site[Dome::A as usize];
                camera.moves = false;
                camera.restarts_until = Some(self.now.mono + RESTART);
            }
            Happens::AnswerLost => {
                self.site.lock().unwrap()[Dome::A as usize].loses_answer = true;
            }
            Happens::LaneFails => {
                self.tour_ends(Dome::A);
                self.must_stop(Dome::A);
                let failing = self.lanes.iter_mut();
                for lane in failing.filter(|lane| lane.contact().place().ip == Dome::A.ip()) {
                    lane.fail();
                }
            }
            Happens::Tour => {
                let ordered = &mut self.ordered[self.c1 as usize];
                ordered.tour = Some("c1");
                ordered.until = None;
                ordered.by = None;
                let plan = plan(0, &[("LEFT", 0, 2_000), ("RIGHT", 3_000, 2_000)]);
                let order = PatrolOrder::Start(Box::new(plan));
                self.cloud(&c1, Order::Patrol(order));
            }
            Happens::TourStop | Happens::TourPause => {
                self.tour_ends(self.c1);
                let order = match what {
                    Happens::TourStop => PatrolOrder::Stop(None),
                    _ => PatrolOrder::Pause(None),
                };
                self.cloud(&c1, Order::Patrol(order));
            }
            Happens::Minute => self.pass(secs(60)),
        }
        self.settle();
        self.release(held, &c1, &left);
    }

    /// What was held back comes out, after the thing that happened meanwhile.
    fn release(&mut self, held: Option<Held>, ask: &CameraAsk, order: &Order) {
        if let Some(held) = held {
            if !held.overtaken {
                self.may_move(self.c1, "c1", true);
            }
            let age = self.now.mono.saturating_duration_since(held.sent.received);
            self.service.link_back();
            self.submit(ask, Origin::Ably, Sent { age, ..held.sent }, order.clone());
        }
        self.settle();
    }

    fn stream(&mut self, user: &str, dome: Dome) {
        let url = format!("rtsp://{user}:{user}-password@{}/live", dome.ip());
        let url = MediaUrl::parse("sourceUrl", &url).unwrap();
        self.service.learn_source(&id("c1"), &url);
        self.settle();
    }

    /// Does all that is to be done now.
    fn settle(&mut self) {
        loop {
            let taken = TAKEN.with_borrow_mut(|taken| taken.replace(Taken::default()).unwrap());
            let idle = taken.lanes.is_empty() && taken.requests.is_empty();
            self.lanes
                .extend(taken.lanes.into_iter().map(LaneThread::new));
            for request in taken.requests {
                self.carry_out(request);
            }
            for lane in &mut self.lanes {
                lane.catch_up();
            }
            let more = TAKEN.with_borrow(|taken| {
                let taken = taken.as_ref().unwrap();
                !taken.lanes.is_empty() || !taken.requests.is_empty()
            });
            if idle && !more {
                break;
            }
        }
        self.judge();
    }

    fn carry_out(&mut self, (contact, answers, send): Request) {
        let dome = Dome::at(contact.place().ip) as usize;
        self.site.lock().unwrap()[dome].lost = false;
        let deadline = self.now.mono + send.timeout;
        let outcome = contact.perform(&mut KeptDevice::default(), &send, deadline);
        let lost = self.site.lock().unwrap()[dome].lost;
        if lost {
            // Nobody can tell what became of it, so it is stopped.
            self.ordered[dome].reason = Some(self.now.mono);
        }
        self.flying.push(Flying {
            at: self.now.mono + if lost { LOSS } else { ANSWER },
            answers,
            id: send.id,
            outcome,
        });
    }

    fn pass(&mut self, by: Duration) {
        let end = self.now.mono + by;
        loop {
            let lanes = self.lanes.iter().filter_map(LaneThread::deadline);
            let flying = self.flying.iter().map(|f| f.at);
            let next = lanes.chain(flying).chain(self.link_back_at).min();
            let Some(at) = next.filter(|at| *at <= end) else {
                break;
            };
            self.move_to(at);
            if self.link_back_at.take_if(|back| *back <= at).is_some() {
                self.service.link_back();
            }
            let (arrived, flying): (Vec<_>, Vec<_>) =
                self.flying.drain(..).partition(|f| f.at <= at);
            self.flying = flying;
            for each in arrived {
                each.answers.try_send((each.id, each.outcome)).unwrap();
            }
            self.settle();
        }
        self.move_to(end);
        self.judge();
    }

    fn move_to(&mut self, at: Instant) {
        let by = at.saturating_duration_since(self.now.mono);
        // What moves now moves until then.
        self.now = self.now.after(by);
        simulated::set(Some(self.now));
        for (dome, ordered) in Dome::ALL.into_iter().zip(&mut self.ordered) {
            let over = ordered.until.is_some_and(|until| until < self.now.mono);
            if over && ordered.tour.is_none() && by > Duration::ZERO {
                assert!(
                    !self.site.lock().unwrap()[dome as usize].moves,
                    "{dome:?} moves, and nobody has ordered that: {ordered:?}"
                );
            }
        }
    }

    fn judge(&mut self) {
        let now = self.now.mono;
        let mut site = self.site.lock().unwrap();
        for (dome, ordered) in Dome::ALL.into_iter().zip(&self.ordered) {
            let camera = &mut site[dome as usize];
            let has_reason = ordered.tour.is_some()
                || ordered.reason.is_some_and(|at| now <= at + secs(10))
                // The dead man's switch.
                || ordered.until.is_some_and(|until| now + ms(6_500) >= until);
            assert!(
                camera.stopped.drain(..).next().is_none() || has_reason,
                "{dome:?} was stopped, and nobody has ordered that: {ordered:?}"
            );
            let may = ordered.tour.is_some() || ordered.until.is_some_and(|until| now <= until);
            assert!(
                may || !camera.moves,
                "{dome:?} moves, and nobody has ordered that: {ordered:?}"
            );
        }
    }

    /// Everything ends: cameras stand, and each command has been answered.
    fn end(mut self) {
        self.happen(Happens::TourStop);
        self.pass(secs(120));
        for dome in Dome::ALL {
            assert!(!self.moves(dome), "{dome:?} still moves");
        }
        for (what, done) in &self.answers {
            assert!(done.try_recv().is_ok(), "not answered: {what}");
            assert!(done.try_recv().is_err(), "answered twice: {what}");
        }
    }
}

// ---- Every order -------------------------------------------------------------------------------

fn play(order: &[Happens], gap: Duration) {
    let mut world = World::new();
    for each in order {
        world.happen(*each);
        world.pass(gap);
    }
    world.end();
}

/// Calls `with` for every order of `all`.
fn permutations(all: &mut Vec<Happens>, from: usize, with: &mut impl FnMut(&[Happens])) {
    if from == all.len() {
        return with(all);
    }
    for at in from..all.len() {
        all.swap(from, at);
        permutations(all, from + 1, with);
        all.swap(from, at);
    }
}

/// Plays every order of `all`, and says how many: what happens comes before the answers to what
/// happened before it, among them, or after.
fn explore(name: &str, all: &[Happens]) {
    let gaps = [ms(0), ms(10), ms(300)];
    let mut orders = 0;
    permutations(&mut all.to_vec(), 0, &mut |order| {
        let gap = gaps[orders % gaps.len()];
        orders += 1;
        let played = std::panic::catch_unwind(|| play(order, gap));
        assert!(played.is_ok(), "{order:?}, {gap:?} apart");
    });
    println!(
        "{name}: {orders} orders of {} happenings explored",
        all.len()
    );
}

use Happens::{
    AnswerLost, CheckAsViewer, LaneFails, LinkLost, Minute, Move, MoveAtA, MoveByAddress, MoveHeld,
    MoveOther, Restart, Stop, StopByAddress, StopOther, StreamAsViewer, StreamAtB, Sweep, Tour,
    TourPause, TourStop,
};

#[test]
fn logins() {
    explore(
        "logins",
        &[
            Move,
            Stop,
            CheckAsViewer,
            StreamAsViewer,
            MoveByAddress,
            StopByAddress,
            AnswerLost,
            LinkLost,
        ],
    );
}

#[test]
fn ids_that_lead_elsewhere() {
    explore(
        "ids that lead elsewhere",
        &[
            Move,
            Stop,
            StreamAtB,
            MoveAtA,
            StreamAsViewer,
            MoveOther,
            StopOther,
            Sweep,
        ],
    );
}

#[test]
fn commands_that_are_held_back() {
    explore(
        "commands that are held back",
        &[
            MoveHeld,
            Stop,
            Move,
            StopByAddress,
            StreamAtB,
            LinkLost,
            LaneFails,
            StopOther,
        ],
    );
}

#[test]
fn faults() {
    explore(
        "faults",
        &[
            Move,
            Stop,
            Restart,
            AnswerLost,
            LaneFails,
            LinkLost,
            MoveByAddress,
            Minute,
        ],
    );
}

/// One of each kind at once, after c1's movement: its stop, another id with another account, another
/// address, a command that is held, the line, the camera, the answer and the lane lost.
#[test]
fn one_of_each_kind() {
    explore(
        "one of each kind",
        &[
            MoveHeld,
            Stop,
            StreamAtB,
            CheckAsViewer,
            LinkLost,
            Restart,
            LaneFails,
            AnswerLost,
        ],
    );
}

#[test]
fn tours() {
    explore(
        "tours",
        &[
            Tour, TourStop, TourPause, Move, Stop, StreamAtB, LaneFails, MoveHeld,
        ],
    );
}
