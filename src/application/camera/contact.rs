//! One camera as its workers speak to it: finds the address, the protocol and the login, sends a
//! request, and tells how it ended. Blocking; runs on the camera's own threads only.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::LanePolicy;
use super::address::Host;
use super::book::{Spot, Tried};
use super::directory::Target;
use super::guard::Purpose;
use super::login::Login;
use super::login_ladder::{Errand, Ladder, Rung, sets_in_motion, use_of};
use super::order::{DeviceRequest, Done, Outcome, Query, Send};
use super::service::Shared;
use crate::domain::camera::{
    CameraAddress, CameraDevice, CameraDeviceInfo, CameraError, CameraTarget, Credentials, Picture,
    PresetInfo, Protocol,
};
use crate::domain::error::Fault;
use crate::domain::gateway::CameraObserver;
use crate::domain::stream::CameraId;
use crate::util::time::Now;

/// Asking what a camera speaks takes at most so long for each protocol.
pub(super) const DETECT: Duration = Duration::from_secs(3);

/// What a query brings.
#[derive(Debug, Clone, PartialEq)]
pub enum QueryData {
    /// Of [`Query::Check`].
    Check(CheckReport),
    /// Of [`Query::Snapshot`].
    Picture(Box<Picture>),
    /// Of [`Query::Presets`].
    Presets(Vec<PresetInfo>),
    /// Of [`Query::DeviceInfo`] and [`Query::OnvifProbe`].
    Info(Box<CameraDeviceInfo>),
    /// Of [`Query::StreamUri`]: without a login; `None` where the camera does not tell.
    StreamUri(Option<String>),
}

/// Whether a camera is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckReport {
    /// It answers.
    pub online: bool,
    /// By which protocol.
    pub protocol: Option<Protocol>,
    /// How long its answer took.
    pub latency: Option<Duration>,
    /// It has taken the login.
    pub authenticated: bool,
    /// What is wrong.
    pub fault: Option<Fault>,
}

/// A worker's place: the device that it keeps between requests.
#[derive(Default)]
pub(super) struct Seat {
    device: Option<(CameraTarget, Protocol, Box<dyn CameraDevice>)>,
}

#[derive(Default)]
struct Learnt {
    protocol: Option<Protocol>,
    /// The camera has done something by it.
    proven: bool,
    /// What the directory said when the protocol was chosen.
    told: Option<Protocol>,
}

/// By what a camera has taken the last movement: what a stop of it uses first.
#[derive(Debug, Clone)]
pub(super) struct InForce {
    pub login: Login,
    pub protocol: Protocol,
}

/// One camera.
pub(super) struct Contact {
    pub(super) place: Spot,
    pub(super) shared: Arc<Shared>,
    learnt: Mutex<Learnt>,
    in_force: Mutex<Option<InForce>>,
    /// As the last command named it: what that one said counts first.
    named: Mutex<(CameraId, Host)>,
}

impl Contact {
    pub fn new(place: Spot, camera: CameraId, host: Host, shared: Arc<Shared>) -> Self {
        Self {
            place,
            shared,
            learnt: Mutex::default(),
            in_force: Mutex::default(),
            named: Mutex::new((camera, host)),
        }
    }

    /// As the last command named it.
    pub fn camera(&self) -> CameraId {
        self.as_named().0
    }

    /// As the last command named it, and the host that it was found by: an address or a name.
    pub(super) fn as_named(&self) -> (CameraId, Host) {
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

    pub(super) fn target(&self) -> Result<Target, CameraError> {
        let (camera, host) = self.as_named();
        self.shared
            .parts
            .book
            .target(&camera, &host)
            .map_err(|fault| CameraError::NotSupported(fault.message))
    }

    pub fn place(&self) -> &Spot {
        &self.place
    }

    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    pub fn policy(&self) -> LanePolicy {
        self.shared.policy()
    }

    pub fn observer(&self) -> Arc<dyn CameraObserver> {
        Arc::clone(&self.shared.parts.observer)
    }

    /// By which protocol it is spoken to, as far as that is known.
    pub fn protocol(&self) -> Option<Protocol> {
        self.learnt().protocol
    }

    fn learnt(&self) -> std::sync::MutexGuard<'_, Learnt> {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries one request out. Ends by `deadline`.
    pub fn perform(&self, seat: &mut Seat, send: &Send, deadline: Instant) -> Outcome<QueryData> {
        let asked = Now::read().mono;
        let result = self.attempt(seat, send, deadline);
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
                if error.may_have_acted() {
                    Outcome::Lost(fault)
                } else {
                    Outcome::Refused(fault)
                }
            }
        }
    }

    fn report(
        &self,
        result: Result<Done<QueryData>, CameraError>,
        latency: Duration,
    ) -> CheckReport {
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
        seat: &mut Seat,
        send: &Send,
        deadline: Instant,
    ) -> Result<Done<QueryData>, CameraError> {
        let ip = self.address()?;
        let result = self.with_protocol(seat, ip, send, deadline);
        let online = !matches!(
            result,
            Err(CameraError::Unreachable(_) | CameraError::NoAnswer(_))
        );
        self.shared.parts.book.seen(&self.as_named().1, online);
        result
    }

    /// The address, judged: the rules change with this machine's own addresses.
    pub(super) fn address(&self) -> Result<IpAddr, CameraError> {
        let judged = self.shared.parts.book.check(self.place.ip);
        judged.map_err(|fault| CameraError::NotSupported(fault.message))
    }

    /// With the protocol that the camera speaks; where that turns out to be another one, with that.
    fn with_protocol(
        &self,
        seat: &mut Seat,
        ip: IpAddr,
        send: &Send,
        deadline: Instant,
    ) -> Result<Done<QueryData>, CameraError> {
        if let DeviceRequest::Query(Query::OnvifProbe) = send.request {
            return self.with_login(seat, ip, Protocol::ONVIF, send, deadline);
        }
        let in_force = self.in_force().map(|now| now.protocol);
        let protocol = match (&send.request, in_force) {
            (DeviceRequest::Stop { .. }, Some(protocol)) => protocol,
            _ => self.choose(ip, deadline)?,
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
                    self.shared.parts.book.learn_protocol(&camera, other);
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
        let offers = self.shared.parts.gateway.protocols().iter();
        offers
            .map(|offer| offer.protocol)
            .filter(|other| *other != protocol)
            .find(|other| self.speaks(ip, *other, deadline) == Ok(true))
    }

    /// Whether this is the camera's port.
    fn judge_port(&self, ip: IpAddr, result: &Result<Done<QueryData>, CameraError>) {
        let answers = match result {
            Ok(_) => true,
            Err(CameraError::Unreachable(_)) => false,
            Err(
                CameraError::NotSupported(_) | CameraError::BadAnswer(_) | CameraError::NotFound(_),
            ) if !self.learnt().proven => false,
            Err(_) => return,
        };
        let book = &self.shared.parts.book;
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
        self.shared
            .parts
            .gateway
            .speaks(&address, protocol, deadline)
    }

    /// What the directory says (what has answered before, else what the vendor speaks); unknown →
    /// asked without a login.
    fn choose(&self, ip: IpAddr, deadline: Instant) -> Result<Protocol, CameraError> {
        let told = self
            .target()?
            .protocol(self.shared.parts.gateway.protocols());
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
            None => self.find_out(ip, deadline)?,
        };
        let mut learnt = self.learnt();
        learnt.protocol = Some(protocol);
        learnt.told = told;
        Ok(protocol)
    }

    /// The first protocol that a camera of which nothing is known speaks.
    fn find_out(&self, ip: IpAddr, deadline: Instant) -> Result<Protocol, CameraError> {
        let offers = self.shared.parts.gateway.protocols();
        for offer in offers {
            // A camera that can't be reached is not asked a second time.
            if self.speaks(ip, offer.protocol, deadline)? {
                return Ok(offer.protocol);
            }
        }
        let names: Vec<&str> = offers.iter().map(|offer| offer.protocol.name()).collect();
        Err(CameraError::NotSupported(format!(
            "what answers there speaks neither {}; is the port right?",
            names.join(" nor ")
        )))
    }

    /// With the logins that are known, one after the other, under the guard.
    fn with_login(
        &self,
        seat: &mut Seat,
        ip: IpAddr,
        protocol: Protocol,
        send: &Send,
        deadline: Instant,
    ) -> Result<Done<QueryData>, CameraError> {
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
                self.ask(device, protocol, &send.request, deadline)
            }
        }
    }

    /// The logins that a request may be sent with.
    fn ladder(&self, ip: IpAddr, request: &DeviceRequest) -> Ladder {
        let (book, camera) = (&self.shared.parts.book, self.camera());
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
        seat: &mut Seat,
        (ip, protocol): (IpAddr, Protocol),
        login: &Login,
        send: &Send,
        deadline: Instant,
    ) -> (Option<Rung>, Result<Done<QueryData>, CameraError>) {
        let (book, request) = (&self.shared.parts.book, &send.request);
        let credentials = match Credentials::new(login.user.clone(), login.password.clone()) {
            Ok(credentials) => credentials,
            Err(fault) => {
                let error = CameraError::NotSupported(fault.message);
                return (None, Err(error));
            }
        };
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
            .device(seat, ip, protocol, Some(credentials))
            .and_then(|device| self.ask(device, protocol, request, deadline));
        let (rung, end) = match &result {
            Ok(done) if is_proof(done) => (None, Tried::Taken),
            Err(CameraError::LoginRefused(refusal)) if refusal.tried => {
                log::warn!(
                    camera:% = self.place, user = login.user.as_str();
                    "the camera refused a login: {}", refusal.words
                );
                (Some(Rung::Refused), Tried::Refused(refusal.unlock_after))
            }
            Err(CameraError::LoginRefused(_)) => (Some(Rung::Refused), Tried::Unknown),
            Err(CameraError::Forbidden(words)) => {
                log::info!(
                    camera:% = self.place, user = login.user.as_str();
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

    /// By what the camera has taken the last movement of this lane.
    pub fn in_force(&self) -> Option<InForce> {
        self.motion().clone()
    }

    fn motion(&self) -> std::sync::MutexGuard<'_, Option<InForce>> {
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn device<'a>(
        &self,
        seat: &'a mut Seat,
        ip: IpAddr,
        protocol: Protocol,
        credentials: Option<Credentials>,
    ) -> Result<&'a mut dyn CameraDevice, CameraError> {
        let target = CameraTarget {
            address: CameraAddress::new(ip, self.place.port),
            credentials,
            channel: self.place.channel,
        };
        let kept = seat.device.take();
        let kept = match kept.filter(|(t, p, _)| *t == target && *p == protocol) {
            Some(kept) => kept,
            None => {
                let device = self.shared.parts.gateway.open(&target, protocol)?;
                (target, protocol, device)
            }
        };
        Ok(seat.device.insert(kept).2.as_mut())
    }
}

/// Whether a yes shows that the login was taken.
fn is_proof(done: &Done<QueryData>) -> bool {
    !matches!(
        &done.data,
        Some(QueryData::Check(CheckReport {
            authenticated: false,
            ..
        }))
    )
}
