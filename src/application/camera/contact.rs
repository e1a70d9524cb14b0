//! One camera as its workers speak to it: finds the address, the protocol and the login, sends a
//! request, and tells how it ended. Blocking; runs on the camera's own threads only.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::LanePolicy;
use super::book::Place;
use super::order::{DeviceRequest, Done, Outcome, PresetOrder, Query, StopWay};
use super::service::Shared;
use crate::domain::camera::{
    CameraAddress, CameraDevice, CameraDeviceInfo, CameraError, CameraTarget, Credentials, Picture,
    PictureLimit, Protocol, SnapshotWish,
};
use crate::domain::error::Fault;
use crate::domain::gateway::CameraObserver;
use crate::domain::ptz::{AxisSpeed, Drive, Lens, PresetInfo, StopScope};
use crate::util::secret::Secret;

/// A camera that has taken a stop may run out for so long before it counts as disobeying.
const RUN_OUT: Duration = Duration::from_millis(800);
/// How often it is asked meanwhile.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// Asking what a camera speaks takes at most so long for each protocol.
const DETECT: Duration = Duration::from_secs(3);

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
    /// For whom the protocol was chosen.
    vendor: Option<String>,
    /// It says whether it moves; `None` = not asked yet.
    tells_motion: Option<bool>,
}

/// One camera.
pub(super) struct Contact {
    place: Place,
    shared: Arc<Shared>,
    learnt: Mutex<Learnt>,
}

impl Contact {
    pub fn new(place: Place, shared: Arc<Shared>) -> Self {
        Self {
            place,
            shared,
            learnt: Mutex::default(),
        }
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    pub fn policy(&self) -> LanePolicy {
        self.shared.parts.policy
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
    pub fn perform(
        &self,
        seat: &mut Seat,
        request: &DeviceRequest,
        deadline: Instant,
    ) -> Outcome<QueryData> {
        let asked = Instant::now();
        let result = self.attempt(seat, request, deadline);
        if let DeviceRequest::Query(Query::Check) = request {
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
        request: &DeviceRequest,
        deadline: Instant,
    ) -> Result<Done<QueryData>, CameraError> {
        let ip = self.address(deadline)?;
        let result = self.with_protocol(seat, ip, request, deadline);
        let online = !matches!(
            result,
            Err(CameraError::Unreachable(_) | CameraError::NoAnswer(_))
        );
        self.shared
            .parts
            .book
            .seen(&self.place.host, self.protocol(), online);
        result
    }

    /// The address, resolved and judged.
    fn address(&self, deadline: Instant) -> Result<IpAddr, CameraError> {
        let rules = &self.shared.parts.rules;
        let judged = |ip: IpAddr| {
            rules
                .check(ip)
                .map(|()| ip)
                .map_err(|fault| CameraError::NotSupported(fault.message))
        };
        if let Ok(ip) = self.place.host.parse() {
            return judged(ip);
        }
        // A name with one address that is none for a camera is no camera's name.
        let mut first = None;
        for ip in rules.lookup(&self.place.host, deadline)? {
            let ip = judged(ip.to_canonical())?;
            first.get_or_insert(ip);
        }
        first.ok_or_else(|| CameraError::Unreachable("the host name has no address".to_owned()))
    }

    /// With the protocol that the camera speaks; where that turns out to be the other one, with
    /// the other one.
    fn with_protocol(
        &self,
        seat: &mut Seat,
        ip: IpAddr,
        request: &DeviceRequest,
        deadline: Instant,
    ) -> Result<Done<QueryData>, CameraError> {
        if let DeviceRequest::Query(Query::OnvifProbe) = request {
            return self.with_login(seat, ip, Protocol::Onvif, request, deadline);
        }
        let protocol = self.choose(ip, deadline)?;
        let result = self.with_login(seat, ip, protocol, request, deadline);
        match &result {
            Ok(_) => self.learnt().proven = true,
            Err(
                CameraError::NotSupported(_)
                | CameraError::BadAnswer(_)
                | CameraError::Device(_)
                | CameraError::NotFound(_),
            ) if !self.learnt().proven => {
                let other = other(protocol);
                if self.speaks(ip, protocol, deadline) != Ok(true)
                    && self.speaks(ip, other, deadline) == Ok(true)
                {
                    log::info!(
                        camera:% = self.place, protocol = other.name();
                        "the camera does not speak {}", protocol.name()
                    );
                    self.learnt().protocol = Some(other);
                    return self.with_login(seat, ip, other, request, deadline);
                }
            }
            Err(_) => {}
        }
        result
    }

    fn speaks(
        &self,
        ip: IpAddr,
        protocol: Protocol,
        deadline: Instant,
    ) -> Result<bool, CameraError> {
        let address = CameraAddress::new(ip, self.place.port);
        let deadline = deadline.min(Instant::now() + DETECT);
        self.shared
            .parts
            .gateway
            .speaks(&address, protocol, deadline)
    }

    /// HIKVISION and HIK → ISAPI, other vendors → ONVIF, unknown → asked without a login.
    fn choose(&self, ip: IpAddr, deadline: Instant) -> Result<Protocol, CameraError> {
        let vendor = self.shared.parts.book.vendor(&self.place.host, ip);
        {
            let learnt = self.learnt();
            if let Some(protocol) = learnt.protocol
                && (learnt.proven || vendor.is_none() || learnt.vendor == vendor)
            {
                return Ok(protocol);
            }
        }
        let protocol = match vendor.as_deref() {
            Some("HIKVISION" | "HIK") => Protocol::Isapi,
            Some(name) if name != "UNKNOWN" => Protocol::Onvif,
            _ => {
                // A camera that can't be reached is not asked a second time.
                if self.speaks(ip, Protocol::Isapi, deadline)? {
                    Protocol::Isapi
                } else if self.speaks(ip, Protocol::Onvif, deadline)? {
                    Protocol::Onvif
                } else {
                    return Err(CameraError::NotSupported(
                        "what answers there speaks neither ONVIF nor ISAPI; is the port right?"
                            .to_owned(),
                    ));
                }
            }
        };
        let mut learnt = self.learnt();
        learnt.protocol = Some(protocol);
        learnt.vendor = vendor;
        Ok(protocol)
    }

    /// With the logins that are known, under the guard.
    fn with_login(
        &self,
        seat: &mut Seat,
        ip: IpAddr,
        protocol: Protocol,
        request: &DeviceRequest,
        deadline: Instant,
    ) -> Result<Done<QueryData>, CameraError> {
        let book = &self.shared.parts.book;
        let stop = matches!(request, DeviceRequest::Stop { .. });
        let logins = book.logins(&self.place.host, ip, stop, Instant::now())?;
        let mut refused = None;
        for login in logins {
            let device = self.device(seat, ip, protocol, login.clone());
            let result = self.ask(device, protocol, request, deadline);
            match (&result, &login) {
                (Err(CameraError::LoginRefused(refusal)), Some(login)) => {
                    book.refused(ip, login, refusal, Instant::now());
                    log::warn!(
                        camera:% = self.place, user = login.username();
                        "the camera refused a login: {}", refusal.words
                    );
                    seat.device = None;
                    refused = Some(result);
                    continue;
                }
                // Whatever else it says: it has let us in. A check that went without a login
                // proves nothing of one.
                (Ok(done), Some(login)) if is_proof(done) => {
                    book.accepted(&self.place.host, ip, login);
                }
                _ => {}
            }
            return result;
        }
        refused.unwrap_or_else(|| Err(CameraError::Unreachable("no login to try".to_owned())))
    }

    fn device<'a>(
        &self,
        seat: &'a mut Seat,
        ip: IpAddr,
        protocol: Protocol,
        credentials: Option<Credentials>,
    ) -> &'a mut dyn CameraDevice {
        let target = CameraTarget {
            address: CameraAddress::new(ip, self.place.port),
            credentials,
            channel: self.place.channel,
        };
        if !matches!(&seat.device, Some((t, p, _)) if *t == target && *p == protocol) {
            seat.device = None;
        }
        let gateway = &self.shared.parts.gateway;
        let (_, _, device) = seat.device.get_or_insert_with(|| {
            let device = gateway.open(&target, protocol);
            (target, protocol, device)
        });
        device.as_mut()
    }

    fn ask(
        &self,
        device: &mut dyn CameraDevice,
        protocol: Protocol,
        request: &DeviceRequest,
        deadline: Instant,
    ) -> Result<Done<QueryData>, CameraError> {
        let nothing = Done::default;
        match request {
            DeviceRequest::Move {
                drive,
                velocity,
                limit,
            } => match drive {
                Drive::PanTiltZoom => {
                    let accepted = device.move_at(velocity.head(), *limit, deadline)?;
                    Ok(Done {
                        ends_after: accepted.ends_by_itself,
                        ..nothing()
                    })
                }
                Drive::Focus | Drive::Iris => {
                    let lens = lens(*drive);
                    device.drive_lens(lens, velocity.lens(lens), deadline)?;
                    Ok(nothing())
                }
            },
            DeviceRequest::Stop { drive, way } => {
                if *drive == Drive::PanTiltZoom {
                    let insist = *way == StopWay::ZeroVelocity;
                    device.stop(StopScope::default(), insist, deadline)?;
                    self.see_it_stand(device, protocol, deadline)?;
                } else {
                    device.drive_lens(lens(*drive), AxisSpeed::ZERO, deadline)?;
                }
                Ok(nothing())
            }
            DeviceRequest::Preset(order) => self.preset(device, protocol, order, deadline),
            DeviceRequest::FocusAuto => {
                device.focus_auto(deadline)?;
                Ok(nothing())
            }
            DeviceRequest::CameraPatrol { patrol, start } => {
                let patrol = patrol.to_string();
                if *start {
                    device.start_patrol(&patrol, deadline)?;
                } else {
                    device.stop_patrol(&patrol, deadline)?;
                }
                Ok(nothing())
            }
            DeviceRequest::Query(query) => Ok(Done {
                data: Some(self.query(device, protocol, *query, deadline)?),
                ..nothing()
            }),
        }
    }

    fn preset(
        &self,
        device: &mut dyn CameraDevice,
        protocol: Protocol,
        order: &PresetOrder,
        deadline: Instant,
    ) -> Result<Done<QueryData>, CameraError> {
        let preset = match order {
            PresetOrder::Goto { preset, force } => {
                device.goto_preset(preset, *force, deadline)?;
                Arc::clone(preset)
            }
            PresetOrder::Set { preset, name } => {
                let preset = match (preset, name) {
                    (Some(preset), _) => preset,
                    (None, Some(name)) if protocol == Protocol::Onvif => name,
                    _ => {
                        return Err(CameraError::NotSupported(
                            "this camera numbers its presets: presetId is missing".to_owned(),
                        ));
                    }
                };
                Arc::from(device.set_preset(preset, name.as_deref(), deadline)?)
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

    /// Where a camera says whether it moves, its yes to a stop is not taken on trust.
    fn see_it_stand(
        &self,
        device: &mut dyn CameraDevice,
        protocol: Protocol,
        deadline: Instant,
    ) -> Result<(), CameraError> {
        if protocol != Protocol::Onvif || self.learnt().tells_motion == Some(false) {
            return Ok(());
        }
        let until = deadline.min(Instant::now() + RUN_OUT);
        loop {
            match device.motion(until) {
                Ok(motion) => {
                    self.learnt().tells_motion = Some(motion.moving.is_some());
                    if motion.moving != Some(true) {
                        return Ok(());
                    }
                }
                // It has accepted the stop; that it does not answer a question is another matter.
                Err(_) => return Ok(()),
            }
            if Instant::now() + ASK_EVERY >= until {
                return Err(CameraError::Busy(
                    "it has accepted the stop and says that it still moves".to_owned(),
                ));
            }
            std::thread::sleep(ASK_EVERY);
        }
    }

    fn query(
        &self,
        device: &mut dyn CameraDevice,
        protocol: Protocol,
        query: Query,
        deadline: Instant,
    ) -> Result<QueryData, CameraError> {
        let book = &self.shared.parts.book;
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
                let speaks = |protocol| self.shared.parts.gateway.speaks(&address, protocol, soon);
                // Only what it answers counts; a question that fails tells nothing.
                if support.isapi.is_none() {
                    support.isapi = speaks(Protocol::Isapi).ok();
                }
                if support.onvif.is_none() {
                    support.onvif = speaks(Protocol::Onvif).ok();
                }
                book.model(&self.place.host, info.model.as_deref());
                Ok(QueryData::Info(Box::new(info)))
            }
        }
    }

    /// The camera's own picture, else a frame of its stream.
    fn picture(
        &self,
        device: &mut dyn CameraDevice,
        limit: PictureLimit,
        deadline: Instant,
    ) -> Result<QueryData, CameraError> {
        let pictures = &self.shared.parts.pictures;
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
            Err(error) => {
                let frame = self
                    .stream(device, half)
                    .and_then(|url| pictures.frame(&url, deadline).ok());
                // What the camera itself said tells more than FFmpeg's words.
                frame.ok_or(error)?
            }
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

    /// The camera's stream, with the login that the camera has taken.
    fn stream(&self, device: &mut dyn CameraDevice, deadline: Instant) -> Option<Secret> {
        let channel = self.place.channel;
        let host = if self.place.host.contains(':') {
            format!("[{}]", self.place.host)
        } else {
            self.place.host.clone()
        };
        let uri = match device.stream_uri(deadline) {
            Ok(Some(uri)) => uri,
            // Hikvision's usual path.
            Ok(None) if device.protocol() == Protocol::Isapi => {
                format!("rtsp://{host}:554/Streaming/Channels/{channel}01")
            }
            _ => return None,
        };
        let login = self
            .address(deadline)
            .ok()
            .and_then(|ip| {
                let book = &self.shared.parts.book;
                book.logins(&self.place.host, ip, true, Instant::now()).ok()
            })
            .and_then(|logins| logins.into_iter().next().flatten());
        let rest = uri.strip_prefix("rtsp://")?;
        Some(Secret::url(&match login {
            None => uri,
            Some(login) => format!(
                "rtsp://{}:{}@{rest}",
                encoded(login.username()),
                encoded(login.password().expose())
            ),
        }))
    }
}

/// For the user information of a URL.
fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
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

fn lens(drive: Drive) -> Lens {
    match drive {
        Drive::Iris => Lens::Iris,
        _ => Lens::Focus,
    }
}

fn other(protocol: Protocol) -> Protocol {
    match protocol {
        Protocol::Isapi => Protocol::Onvif,
        Protocol::Onvif => Protocol::Isapi,
    }
}
