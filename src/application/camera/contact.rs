//! One camera as its workers speak to it: finds the address, the protocol and the login, sends a
//! request, and tells how it ended. Blocking; runs on the camera's own threads only.

mod fit;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::LanePolicy;
use super::book::accounts::Use;
use super::book::address::Host;
use super::book::directory::CameraFacts;
use super::book::guard::Purpose;
use super::book::{ChannelAddress, Tried};
use super::login_ladder::{Errand, Ladder, Rung, sets_in_motion, use_of};
use super::order::{
    Action, CheckReport, DeviceRequest, Done, Outcome, PresetOrder, Query, QueryData, RequestId,
    Send, Wire,
};
use super::parts::Common;
use crate::domain::camera::{
    CameraAddress, CameraDevice, CameraError, CameraTarget, Credentials, FrameSource, LoginRefusal,
    Picture, PictureLimit, Protocol, SnapshotWish,
};
use crate::domain::gateway::{CameraObserver, LoginEnd, LoginPermit};
use crate::domain::stream::CameraId;
use crate::util::secret::Secret;
use crate::util::time::Now;

/// Asking what a camera speaks takes at most so long for each protocol.
const DETECT: Duration = Duration::from_secs(3);

/// The port of RTSP where nobody says another.
const RTSP: u16 = 554;
/// Whether a camera answers RTSP is waited for so long.
const ASK_RTSP: Duration = Duration::from_secs(2);

/// A question for a keyframe takes this long at most.
const KEYFRAME: Duration = Duration::from_secs(3);
/// What can't be asked for one is not asked for so long.
const KEYFRAME_PAUSE: Duration = Duration::from_secs(600);

/// A worker's place: the device that it keeps between requests.
#[derive(Default)]
pub(super) struct KeptDevice {
    device: Option<(CameraTarget, Protocol, Box<dyn CameraDevice>)>,
}

#[derive(Default)]
struct Learnt {
    protocol: Option<Protocol>,
    /// The camera has done something by it.
    proven: bool,
    /// What the directory said when the protocol was chosen.
    told: Option<Protocol>,
    /// Till then it is not asked for keyframes.
    no_keyframes_until: Option<Instant>,
}

/// By what a camera has taken the last movement: what a stop of it uses first.
#[derive(Debug, Clone)]
pub(super) struct InForce {
    pub login: Credentials,
    pub protocol: Protocol,
}

/// One camera.
pub(super) struct Contact {
    place: ChannelAddress,
    common: Arc<Common>,
    learnt: Mutex<Learnt>,
    in_force: Mutex<Option<InForce>>,
    /// When its encoder's settings were last written.
    fitted: Mutex<Option<Instant>>,
    /// As the last command named it: what that one said counts first.
    named: Mutex<(CameraId, Host)>,
}

impl Contact {
    pub fn new(place: ChannelAddress, camera: CameraId, host: Host, common: Arc<Common>) -> Self {
        Self {
            place,
            common,
            learnt: Mutex::default(),
            in_force: Mutex::default(),
            fitted: Mutex::default(),
            named: Mutex::new((camera, host)),
        }
    }

    /// As the last command named it.
    pub fn camera(&self) -> CameraId {
        self.as_named().0
    }

    /// As the last command named it, and the host that it was found by: an address or a name.
    fn as_named(&self) -> (CameraId, Host) {
        self.named
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A command names it so.
    pub fn named(&self, camera: &CameraId, host: &Host) {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        named.0.clone_from(camera);
        named.1.clone_from(host);
    }

    fn target(&self) -> Result<CameraFacts, CameraError> {
        let (camera, host) = self.as_named();
        self.common
            .parts
            .book
            .target(&camera, &host)
            .map_err(|fault| CameraError::NotSupported(fault.message))
    }

    pub fn place(&self) -> &ChannelAddress {
        &self.place
    }

    pub fn common(&self) -> &Common {
        &self.common
    }

    pub fn policy(&self) -> LanePolicy {
        self.common.policy()
    }

    pub fn observer(&self) -> Arc<dyn CameraObserver> {
        Arc::clone(&self.common.parts.observer)
    }

    /// By which protocol it is spoken to, as far as that is known.
    pub fn protocol(&self) -> Option<Protocol> {
        self.learnt().protocol
    }

    fn learnt(&self) -> std::sync::MutexGuard<'_, Learnt> {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries one request out. Ends by `deadline`.
    pub fn perform(&self, seat: &mut KeptDevice, send: &Send, deadline: Instant) -> Outcome {
        let asked = Now::read().mono;
        let keyframe = matches!(send.request, DeviceRequest::Query(Query::Keyframe(_)));
        let result = if keyframe {
            self.keyframe(seat, send, deadline.min(asked + KEYFRAME))
        } else {
            self.attempt(seat, send, deadline)
        };
        if let DeviceRequest::Query(Query::Check) = &send.request {
            let report = self.report(result, asked.elapsed());
            return Outcome::Done(Done {
                data: Some(QueryData::Check(report)),
                ..Done::default()
            });
        }
        match result {
            Ok(done) => Outcome::Done(done),
            Err(error) => {
                log::debug!(camera:% = self.place; "request failed: {error}");
                let fault = error.fault();
                match error {
                    CameraError::Certificate(_) => Outcome::Stranger(fault),
                    error if error.may_have_acted() => Outcome::Lost(fault),
                    _ => Outcome::Refused(fault),
                }
            }
        }
    }

    /// A camera that could not be asked for a keyframe is left alone for a while: nothing depends on
    /// it, and questions of people wait behind it.
    fn keyframe(
        &self,
        seat: &mut KeptDevice,
        send: &Send,
        deadline: Instant,
    ) -> Result<Done, CameraError> {
        let now = Now::read().mono;
        if self
            .learnt()
            .no_keyframes_until
            .is_some_and(|until| now < until)
        {
            return Err(CameraError::NotSupported("keyframes on demand".to_owned()));
        }
        let result = self.attempt(seat, send, deadline);
        self.learnt().no_keyframes_until = result.is_err().then(|| now + KEYFRAME_PAUSE);
        result
    }

    fn report(&self, result: Result<Done, CameraError>, latency: Duration) -> CheckReport {
        let mut report = CheckReport {
            online: false,
            protocol: self.protocol(),
            latency: Some(latency),
            authenticated: false,
            fault: None,
        };
        match result {
            Ok(done) => match done.data {
                Some(QueryData::Check(found)) => report = found,
                _ => report.online = true,
            },
            Err(error) => {
                report.online = !matches!(
                    error,
                    CameraError::Unreachable(_) | CameraError::NoAnswer(_)
                );
                report.fault = Some(error.fault());
            }
        }
        if !report.online {
            report.latency = None;
        }
        report
    }

    fn attempt(
        &self,
        seat: &mut KeptDevice,
        send: &Send,
        deadline: Instant,
    ) -> Result<Done, CameraError> {
        let ip = self.address()?;
        let result = self.with_protocol(seat, ip, send, deadline);
        let online = !matches!(
            result,
            Err(CameraError::Unreachable(_) | CameraError::NoAnswer(_))
        );
        self.common.parts.book.seen(&self.as_named().1, online);
        result
    }

    /// The address, judged: the rules change with this machine's own addresses.
    pub(super) fn address(&self) -> Result<IpAddr, CameraError> {
        let judged = self.common.parts.book.check(self.place.ip);
        judged.map_err(|fault| CameraError::NotSupported(fault.message))
    }

    /// With the protocol that the camera speaks; where that turns out to be another one, with that.
    fn with_protocol(
        &self,
        seat: &mut KeptDevice,
        ip: IpAddr,
        send: &Send,
        deadline: Instant,
    ) -> Result<Done, CameraError> {
        if let DeviceRequest::Query(Query::OnvifProbe) = send.request {
            return self.with_login(seat, ip, Protocol::ONVIF, send, deadline);
        }
        let in_force = self.in_force().map(|now| now.protocol);
        let protocol = match (&send.request, in_force) {
            (DeviceRequest::Stop { .. }, Some(protocol)) => protocol,
            _ => self.choose(seat, ip, deadline)?,
        };
        let result = self.with_login(seat, ip, protocol, send, deadline);
        self.judge_port(ip, &result);
        match &result {
            Ok(_) => self.learnt().proven = true,
            Err(
                CameraError::NotSupported(_)
                | CameraError::BadAnswer(_)
                | CameraError::Device(_)
                | CameraError::NotFound(_),
            ) if !self.learnt().proven => {
                if let Some(other) = self.spoken_instead(ip, protocol, deadline) {
                    log::info!(
                        camera:% = self.place, protocol = other.name();
                        "the camera does not speak {}", protocol.name()
                    );
                    self.learnt().protocol = Some(other);
                    let camera = self.camera();
                    self.common.parts.book.learn_protocol(&camera, other);
                    return self.with_login(seat, ip, other, send, deadline);
                }
            }
            Err(_) => {}
        }
        result
    }

    /// What the camera speaks, where it does not speak `protocol`.
    fn spoken_instead(
        &self,
        ip: IpAddr,
        protocol: Protocol,
        deadline: Instant,
    ) -> Option<Protocol> {
        if self.speaks(ip, protocol, deadline) == Ok(true) {
            return None;
        }
        let offers = self.common.parts.gateway.protocols().iter();
        offers
            .map(|offer| offer.protocol)
            .filter(|other| *other != protocol)
            .find(|other| self.speaks(ip, *other, deadline) == Ok(true))
    }

    /// Whether this is the camera's port.
    fn judge_port(&self, ip: IpAddr, result: &Result<Done, CameraError>) {
        let answers = match result {
            Ok(_) => true,
            Err(CameraError::Unreachable(_)) => false,
            Err(
                CameraError::NotSupported(_) | CameraError::BadAnswer(_) | CameraError::NotFound(_),
            ) if !self.learnt().proven => false,
            Err(_) => return,
        };
        let book = &self.common.parts.book;
        book.answers_at(ip, self.place.port, answers);
    }

    fn speaks(
        &self,
        ip: IpAddr,
        protocol: Protocol,
        deadline: Instant,
    ) -> Result<bool, CameraError> {
        let address = CameraAddress::new(ip, self.place.port);
        let deadline = deadline.min(Now::read().mono + DETECT);
        self.common
            .parts
            .gateway
            .speaks(&address, protocol, deadline)
    }

    /// What the directory says (what has answered before, else what the vendor speaks); unknown →
    /// asked without a login.
    fn choose(
        &self,
        seat: &mut KeptDevice,
        ip: IpAddr,
        deadline: Instant,
    ) -> Result<Protocol, CameraError> {
        let told = self
            .target()?
            .protocol(self.common.parts.gateway.protocols());
        {
            let learnt = self.learnt();
            if let Some(protocol) = learnt.protocol
                && (learnt.proven || told.is_none() || learnt.told == told)
            {
                return Ok(protocol);
            }
        }
        let protocol = match told {
            Some(protocol) => protocol,
            None => self.find_out(seat, ip, deadline)?,
        };
        let mut learnt = self.learnt();
        learnt.protocol = Some(protocol);
        learnt.told = told;
        Ok(protocol)
    }

    /// The first protocol that a camera of which nothing is known speaks.
    fn find_out(
        &self,
        seat: &mut KeptDevice,
        ip: IpAddr,
        deadline: Instant,
    ) -> Result<Protocol, CameraError> {
        let offers = self.common.parts.gateway.protocols();
        for offer in offers {
            // A camera that can't be reached is not asked a second time.
            if self.speaks(ip, offer.protocol, deadline)? {
                return Ok(offer.protocol);
            }
        }
        if let Some(protocol) = self.find_out_with_login(seat, ip, deadline)? {
            return Ok(protocol);
        }
        let names: Vec<&str> = offers.iter().map(|offer| offer.protocol.name()).collect();
        Err(CameraError::NotSupported(format!(
            "what answers there speaks neither {}; is the port right?",
            names.join(" nor ")
        )))
    }

    /// The first protocol in which the camera answers to the logins that are known for it, for there
    /// are cameras that tell strangers nothing. Asked for what only a camera that speaks the protocol
    /// can tell, and under the guard: a login that is refused is not shown by another protocol.
    fn find_out_with_login(
        &self,
        seat: &mut KeptDevice,
        ip: IpAddr,
        deadline: Instant,
    ) -> Result<Option<Protocol>, CameraError> {
        let check = DeviceRequest::Query(Query::Check);
        if self.ladder(ip, &check).is_empty() {
            return Ok(None);
        }
        let send = Send {
            id: RequestId(0),
            wire: Wire::Query,
            timeout: DETECT,
            may_move: false,
            request: check,
        };
        for offer in self.common.parts.gateway.protocols() {
            let until = deadline.min(Now::read().mono + DETECT);
            match self.with_login(seat, ip, offer.protocol, &send, until) {
                Ok(_) => {
                    self.common
                        .parts
                        .book
                        .learn_protocol(&self.camera(), offer.protocol);
                    return Ok(Some(offer.protocol));
                }
                Err(
                    error @ (CameraError::LoginRefused(_)
                    | CameraError::Unreachable(_)
                    | CameraError::NoAnswer(_)
                    | CameraError::Busy(_)),
                ) => return Err(error),
                Err(_) => {}
            }
        }
        Ok(None)
    }

    /// With the logins that are known, one after the other, under the guard.
    fn with_login(
        &self,
        seat: &mut KeptDevice,
        ip: IpAddr,
        protocol: Protocol,
        send: &Send,
        deadline: Instant,
    ) -> Result<Done, CameraError> {
        let mut ladder = self.ladder(ip, &send.request);
        while let Some(login) = ladder.next() {
            match self.climb(seat, (ip, protocol), &login, send, deadline) {
                (_, Ok(done)) => return Ok(done),
                (None, Err(error)) => return Err(ladder.failed(error)),
                (Some(rung), Err(error)) => ladder.told(rung, error),
            }
        }
        match ladder.spent() {
            Some(error) => Err(error),
            None => {
                let device = self.device(seat, ip, protocol, None)?;
                self.carry_out(device, protocol, None, &send.request, deadline)
            }
        }
    }

    /// The logins that a request may be sent with.
    fn ladder(&self, ip: IpAddr, request: &DeviceRequest) -> Ladder {
        let (book, camera) = (&self.common.parts.book, self.camera());
        let errand = Errand::of(request);
        let known = match errand {
            Errand::Stop => book.taken_logins(&camera, ip, use_of(request)),
            // Who asks whether a login is right does not want to hear of another.
            Errand::Judge => match book.said_login(&camera, ip) {
                Some(said) => vec![said],
                None => book.logins(&camera, ip, use_of(request)),
            },
            Errand::Other => book.logins(&camera, ip, use_of(request)),
        };
        Ladder::new(errand, self.in_force().map(|now| now.login), known)
    }

    /// One try with one login; why it did not do, if that was the login.
    fn climb(
        &self,
        seat: &mut KeptDevice,
        (ip, protocol): (IpAddr, Protocol),
        login: &Credentials,
        send: &Send,
        deadline: Instant,
    ) -> (Option<Rung>, Result<Done, CameraError>) {
        let (book, request) = (&self.common.parts.book, &send.request);
        // A stop of what stands still is a try like any other: releases of a joystick whose login
        // is refused must not lock the account.
        let purpose = match request {
            DeviceRequest::Stop { .. } if send.may_move => Purpose::Stop,
            _ => Purpose::Other,
        };
        if let Err(guarded) = book.may_try(ip, login, purpose) {
            return (Some(Rung::Guarded), Err(guarded));
        }
        let result = self
            .device(seat, ip, protocol, Some(login.clone()))
            .and_then(|device| self.carry_out(device, protocol, Some(login), request, deadline));
        let (rung, end) = match &result {
            Ok(done) if is_proof(done) => (None, Tried::Taken),
            Err(CameraError::LoginRefused(refusal)) if refusal.tried => {
                log::warn!(
                    camera:% = self.place, user = login.username();
                    "the camera refused a login: {}", refusal.words
                );
                (Some(Rung::Refused), Tried::Refused(refusal.unlock_after))
            }
            Err(CameraError::LoginRefused(_)) => (Some(Rung::Refused), Tried::Unknown),
            Err(CameraError::Forbidden(words)) => {
                log::info!(
                    camera:% = self.place, user = login.username();
                    "the camera does not let this account do it: {words}"
                );
                (Some(Rung::Forbidden), Tried::Forbidden)
            }
            _ => (None, Tried::Unknown),
        };
        book.tried(ip, login, use_of(request), &end);
        if rung == Some(Rung::Refused) {
            seat.device = None;
        }
        let acted = match &result {
            Ok(_) => true,
            Err(error) => error.may_have_acted() && self.in_force().is_none(),
        };
        if acted && sets_in_motion(request) {
            let login = login.clone();
            *self.motion() = Some(InForce { login, protocol });
        }
        (rung, result)
    }

    /// Whether the encoder's settings may be written now.
    pub(super) fn may_write(&self, now: Instant) -> Result<(), CameraError> {
        fit::may_write(*self.last_write(), now)
    }

    /// They have been, or may have been.
    pub(super) fn has_written(&self, now: Instant) {
        *self.last_write() = Some(now);
    }

    fn last_write(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.fitted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The camera has taken this login for looking, in the middle of a request.
    pub(super) fn has_taken(&self, ip: IpAddr, login: &Credentials) {
        let book = &self.common.parts.book;
        book.tried(ip, login, Use::View, &Tried::Taken);
    }

    /// By what the camera has taken the last movement of this lane.
    pub fn in_force(&self) -> Option<InForce> {
        self.motion().clone()
    }

    fn motion(&self) -> std::sync::MutexGuard<'_, Option<InForce>> {
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn device<'a>(
        &self,
        seat: &'a mut KeptDevice,
        ip: IpAddr,
        protocol: Protocol,
        credentials: Option<Credentials>,
    ) -> Result<&'a mut dyn CameraDevice, CameraError> {
        let told = self.target();
        let target = CameraTarget {
            address: CameraAddress::new(ip, self.place.port),
            channel: self.place.channel,
            manner: told
                .map(|told| told.manner(credentials.as_ref()))
                .unwrap_or_default(),
            credentials,
        };
        let kept = seat.device.take();
        let kept = match kept.filter(|(t, p, _)| *t == target && *p == protocol) {
            Some(kept) => kept,
            None => {
                let device = self.common.parts.gateway.open(&target, protocol)?;
                (target, protocol, device)
            }
        };
        Ok(seat.device.insert(kept).2.as_mut())
    }

    // ---- What each request is on a device ----

    pub(super) fn ask(
        &self,
        device: &mut dyn CameraDevice,
        protocol: Protocol,
        request: &DeviceRequest,
        deadline: Instant,
    ) -> Result<Done, CameraError> {
        let nothing = Done::default;
        match request {
            DeviceRequest::Move {
                drive,
                velocity,
                limit,
            } => {
                let accepted = device.move_at(*drive, *velocity, *limit, deadline)?;
                Ok(Done {
                    ends_after: accepted.ends_after,
                    ..nothing()
                })
            }
            DeviceRequest::Stop { drive, way } => {
                device.stop(*drive, *way, deadline)?;
                Ok(nothing())
            }
            DeviceRequest::Act(action) => act(device, action, deadline),
            DeviceRequest::Query(query) => Ok(Done {
                data: Some(self.query(device, protocol, *query, deadline)?),
                ..nothing()
            }),
        }
    }

    fn query(
        &self,
        device: &mut dyn CameraDevice,
        protocol: Protocol,
        query: Query,
        deadline: Instant,
    ) -> Result<QueryData, CameraError> {
        let book = &self.common.parts.book;
        match query {
            Query::Check => {
                let asked = Instant::now();
                let checked = device.check(deadline)?;
                Ok(QueryData::Check(CheckReport {
                    online: true,
                    protocol: Some(protocol),
                    latency: Some(asked.elapsed()),
                    authenticated: checked.authenticated,
                    fault: None,
                }))
            }
            Query::Snapshot {
                max_width,
                max_bytes,
            } => {
                let limit = PictureLimit {
                    max_bytes,
                    max_width,
                };
                self.picture(device, limit, deadline)
            }
            Query::Presets => Ok(QueryData::Presets(device.presets(deadline)?)),
            Query::DeviceInfo | Query::OnvifProbe => {
                let mut info = device.probe(deadline)?;
                let support = &mut info.protocol_support;
                let address = CameraAddress::new(info.address.ip, info.address.port);
                let soon = deadline.min(Instant::now() + DETECT);
                let speaks = |protocol| self.common.parts.gateway.speaks(&address, protocol, soon);
                for offer in self.common.parts.gateway.protocols() {
                    // Only what it answers counts; a question that fails tells nothing.
                    if support.of(offer.protocol).is_none()
                        && let Ok(answers) = speaks(offer.protocol)
                    {
                        support.note(offer.protocol, answers);
                    }
                }
                if support.rtsp.is_none() {
                    support.rtsp = self.speaks_rtsp(address.ip, deadline);
                }
                book.model(&self.as_named().1, info.model.as_deref());
                Ok(QueryData::Info(Box::new(info)))
            }
            Query::StreamUri => Ok(QueryData::StreamUri(device.stream_uri(deadline)?)),
            Query::Keyframe(stream) => {
                let asked = match device.encoders() {
                    Some(encoders) => encoders.keyframe(stream, deadline)?,
                    None => false,
                };
                Ok(QueryData::Keyframe(asked))
            }
            // Carried out before it gets here, for it needs the login itself.
            Query::Fit(_) => Err(CameraError::NotSupported("a fit by this way".to_owned())),
        }
    }

    /// Whether the camera answers RTSP, asked without a login; `None` = there was no time to ask.
    fn speaks_rtsp(&self, ip: IpAddr, deadline: Instant) -> Option<bool> {
        let told = self.target().ok().and_then(|target| target.rtsp_port);
        let at = SocketAddr::new(ip, told.unwrap_or(RTSP));
        let time = deadline
            .saturating_duration_since(Instant::now())
            .min(ASK_RTSP);
        if time.is_zero() {
            return None;
        }
        Some(self.common.parts.rtsp.speaks(at, time).is_ok())
    }

    /// The camera's own picture, else a frame of its stream.
    fn picture(
        &self,
        device: &mut dyn CameraDevice,
        limit: PictureLimit,
        deadline: Instant,
    ) -> Result<QueryData, CameraError> {
        let pictures = &self.common.parts.pictures;
        // What is asked for small needs no scaling down.
        let wish = SnapshotWish {
            size: limit.max_width.map(|width| (width, width * 9 / 16)),
        };
        let half = Instant::now() + deadline.saturating_duration_since(Instant::now()) / 2;
        let jpeg = match device.snapshot(wish, half) {
            Ok(jpeg) => jpeg,
            Err(error @ (CameraError::LoginRefused(_) | CameraError::Unreachable(_))) => {
                return Err(error);
            }
            Err(error) => match self.frame(device, half, deadline) {
                Ok(jpeg) => jpeg,
                Err(refused @ CameraError::LoginRefused(_)) => return Err(refused),
                // What the camera itself said tells more than FFmpeg's words.
                Err(_) => return Err(error),
            },
        };
        let captured_at = SystemTime::now();
        let (jpeg, width, height) = pictures.fit(jpeg, limit)?;
        Ok(QueryData::Picture(Box::new(Picture {
            jpeg,
            width,
            height,
            captured_at,
        })))
    }

    /// A frame of the camera's stream, under the guard: RTSP may know other logins than HTTP.
    fn frame(
        &self,
        device: &mut dyn CameraDevice,
        half: Instant,
        deadline: Instant,
    ) -> Result<Vec<u8>, CameraError> {
        let no_stream = || CameraError::NotSupported("it tells no stream".to_owned());
        let uri = device.stream_uri(half)?.ok_or_else(no_stream)?;
        let ip = self.address()?;
        let book = &self.common.parts.book;
        let known = book.taken_logins(&self.camera(), self.place.ip, Use::View);
        let login = known.into_iter().next();
        let mut source = FrameSource {
            ip,
            url: Secret::url(uri),
            login: None,
        };
        let pictures = &self.common.parts.pictures;
        let Some(login) = login else {
            return pictures.frame(&source, deadline).1;
        };
        let refusal = |words: String| {
            CameraError::LoginRefused(LoginRefusal {
                // By the stream, and told to the guard here; nothing is said of HTTP.
                tried: false,
                unlock_after: None,
                tries_left: None,
                words,
            })
        };
        match book.stream_permit(ip, &login) {
            LoginPermit::Granted => {}
            LoginPermit::Guarded(words) => return Err(refusal(words)),
            LoginPermit::NotYet => {
                return Err(CameraError::Busy(
                    "other tries of this login are under way".to_owned(),
                ));
            }
        }
        source.login = Some(login.clone());
        let (end, picture) = pictures.frame(&source, deadline);
        book.stream_login(ip, &login, end);
        if end == LoginEnd::Refused {
            let words = "the camera's stream refused user name or password";
            log::warn!(camera:% = self.place, user = login.username(); "{words}");
            return Err(refusal(words.to_owned()));
        }
        picture
    }
}

/// Whether a yes shows that the login was taken.
fn is_proof(done: &Done) -> bool {
    !matches!(
        &done.data,
        Some(QueryData::Check(CheckReport {
            authenticated: false,
            ..
        }))
    )
}

fn act(
    device: &mut dyn CameraDevice,
    action: &Action,
    deadline: Instant,
) -> Result<Done, CameraError> {
    match action {
        Action::Preset(order) => return preset(device, order, deadline),
        Action::FocusAuto => device.focus_auto(deadline)?,
        Action::CameraPatrol { patrol, start } => {
            let patrol = patrol.to_string();
            if *start {
                device.start_patrol(&patrol, deadline)?;
            } else {
                device.stop_patrol(&patrol, deadline)?;
            }
        }
    }
    Ok(Done::default())
}

fn preset(
    device: &mut dyn CameraDevice,
    order: &PresetOrder,
    deadline: Instant,
) -> Result<Done, CameraError> {
    let preset = match order {
        PresetOrder::Goto { preset, force } => {
            device.goto_preset(preset, *force, deadline)?;
            Arc::clone(preset)
        }
        PresetOrder::Set { preset, name } => {
            Arc::from(device.set_preset(preset.as_deref(), name.as_deref(), deadline)?)
        }
        PresetOrder::Delete { preset } => {
            device.delete_preset(preset, deadline)?;
            Arc::clone(preset)
        }
    };
    Ok(Done {
        preset: Some(preset),
        ..Done::default()
    })
}
