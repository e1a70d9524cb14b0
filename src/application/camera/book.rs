//! The directory and the guard behind one lock, as commands and workers use them, and when each
//! camera last answered.

pub(super) mod accounts;
pub(super) mod address;
pub(super) mod directory;
pub(super) mod guard;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded};

use self::accounts::Use;
use self::address::{AddressRules, Host, OwnAddress};
pub use self::directory::NamedChannel;
use self::directory::{CameraFacts, CameraParams, ConfiguredLogin, Directory, Sighting};
use self::guard::{Guard, Purpose};
use crate::domain::camera::{CameraError, Credentials, LoginRefusal, Protocol};
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::gateway::{LoginEnd, LoginPermit};
use crate::domain::login_memory::LoginMemory;
use crate::domain::stream::{CameraId, Id, MediaUrl};
use crate::util::time::Now;

/// Most addresses whose last answer is remembered.
const MAX_SEEN: usize = 1_024;
/// The machine's own addresses are asked for at most this often.
const OWN_EVERY: Duration = Duration::from_secs(10);

/// How a command names its camera, and what it says of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CameraAsk {
    /// Wire: `cameraId`.
    pub camera_id: Option<CameraId>,
    /// Wire: `ip`, `port`, `username`, `password`, `vendorType`, `channel`, `profile`,
    /// `onvifPath`.
    pub said: CameraParams,
}

impl CameraAsk {
    /// What answers and events call the camera, and the directory knows it by.
    pub fn name(&self) -> Result<CameraId, Fault> {
        match (&self.camera_id, &self.said.host) {
            (Some(id), _) => Ok(id.clone()),
            (None, Some(host)) => Id::parse("ip", &host.to_string()),
            (None, None) => Err(Fault::new(
                ErrorCode::ParamMissing,
                "cameraId is missing; ip, username and password can stand in its place",
            )),
        }
    }
}

impl NamedChannel {
    /// Where that is, once its host's address is known.
    pub fn at(&self, ip: IpAddr) -> ChannelAddress {
        ChannelAddress {
            ip,
            port: self.port,
            channel: self.channel,
        }
    }
}

/// One channel of one camera, whatever it is called: what a lane belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelAddress {
    /// Its address.
    pub ip: IpAddr,
    /// Of HTTP.
    pub port: u16,
    /// From 1.
    pub channel: u16,
}

impl fmt::Display for ChannelAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::net::SocketAddr::new(self.ip, self.port).fmt(f)?;
        if self.channel != 1 {
            write!(f, "/{}", self.channel)?;
        }
        Ok(())
    }
}

/// A camera as the list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownCamera {
    /// As a command named it; `None` where that was its address.
    pub camera_id: Option<CameraId>,
    /// Address or name.
    pub host: Host,
    /// Where that is, as far as is known.
    pub ip: Option<IpAddr>,
    /// Of HTTP.
    pub port: u16,
    /// As a command or the configuration said.
    pub vendor: Option<String>,
    /// As the camera said.
    pub model: Option<String>,
    /// What it was seen to speak.
    pub protocol: Option<Protocol>,
    /// Whether it answered the last time it was asked; `None` = never asked.
    pub online: Option<bool>,
    /// When it last answered.
    pub last_seen: Option<SystemTime>,
}

#[derive(Debug, Default)]
struct Seen {
    model: Option<String>,
    online: Option<bool>,
    at: Option<SystemTime>,
}

#[derive(Debug)]
struct Pages {
    directory: Directory,
    guard: Guard,
    seen: BTreeMap<Host, Seen>,
    configured: Vec<ConfiguredLogin>,
    own_asked: Option<Instant>,
    /// Told when what the guard keeps has changed.
    refusals: Option<Sender<()>>,
}

impl Pages {
    /// After the guard has heard something. Waits for nothing: one word stands for all.
    fn tell_changes(&mut self) {
        if self.guard.take_changed()
            && let Some(refusals) = &self.refusals
        {
            let _ = refusals.try_send(());
        }
    }
}

/// Tells this machine's addresses. Takes microseconds.
pub type OwnAddresses = Box<dyn Fn() -> Vec<OwnAddress> + Send + Sync>;

/// The directory and the guard. Locked for moments only, never while a camera is asked.
pub struct Book {
    pages: Mutex<Pages>,
    allow_loopback: bool,
    own: OwnAddresses,
}

impl Book {
    /// With the logins of the configuration.
    pub fn new(configured: Vec<ConfiguredLogin>, allow_loopback: bool, own: OwnAddresses) -> Self {
        Self {
            pages: Mutex::new(Pages {
                directory: Directory::default(),
                guard: Guard::new(),
                seen: BTreeMap::new(),
                configured,
                own_asked: None,
                refusals: None,
            }),
            allow_loopback,
            own,
        }
    }

    /// Takes back which logins an earlier run has seen refused.
    pub fn remember(&self, memory: &LoginMemory) {
        self.pages().guard.remember(memory, Now::read());
    }

    /// Which refused logins are to be kept; `None` where none are.
    pub fn login_memory(&self) -> Option<LoginMemory> {
        self.pages().guard.memory(Now::read())
    }

    /// Has something whenever that has changed. One reader.
    pub fn on_refusals(&self) -> Receiver<()> {
        let (tell, told) = bounded(1);
        self.pages().refusals = Some(tell);
        told
    }

    /// Other logins in the place of the configured ones. What was given by commands stays.
    pub fn configure(&self, configured: Vec<ConfiguredLogin>) {
        let mut pages = self.pages();
        pages.configured.clone_from(&configured);
        let rules = pages.directory.rules().clone();
        pages.directory.configure(rules, configured);
    }

    /// Takes down what a command says, and tells where its camera is.
    pub fn place(&self, ask: &CameraAsk) -> Result<NamedChannel, Fault> {
        let id = ask.name()?;
        let mut pages = self.fresh_pages();
        pages.directory.learn(&id, ask.said.clone())?;
        let target = pages.directory.resolve(&id)?;
        Ok(target.at)
    }

    /// Takes down what a stream's source tells of its camera, and tells where that is now.
    pub fn learn_source(&self, id: &CameraId, source: &MediaUrl) -> Option<NamedChannel> {
        let mut pages = self.fresh_pages();
        pages.directory.learn_source(id, source);
        pages.directory.resolve(id).ok().map(|target| target.at)
    }

    /// The ids whose cameras are found by a host, and where each is.
    pub fn places_by(&self, host: &Host) -> Vec<(CameraId, NamedChannel)> {
        let mut pages = self.fresh_pages();
        let ids = pages.directory.ids_by(host);
        let place = |id: CameraId| {
            let target = pages.directory.resolve(&id).ok()?;
            Some((id, target.at))
        };
        ids.into_iter().filter_map(place).collect()
    }

    /// Whether it is known where a camera is.
    pub fn knows(&self, id: &CameraId) -> bool {
        self.fresh_pages().directory.resolve(id).is_ok()
    }

    /// Whether a stream may log in to its camera now.
    pub fn stream_permit(&self, ip: IpAddr, login: &Credentials) -> LoginPermit {
        let now = Now::read();
        let guard = &mut self.pages().guard;
        if guard.is_crowded(ip, login, now) {
            return LoginPermit::NotYet;
        }
        match guard.may_stream(ip, login, now) {
            Ok(()) => LoginPermit::Granted,
            Err(fault) => LoginPermit::Guarded(fault.message),
        }
    }

    /// Whether the camera has ever taken a login.
    pub fn has_worked(&self, ip: IpAddr, login: &Credentials) -> bool {
        self.pages().guard.has_worked(ip, login)
    }

    /// Where a host is, as far as is known.
    pub fn address(&self, host: &Host) -> Option<IpAddr> {
        self.pages().directory.address(host)
    }

    /// What came of a stream's login.
    pub fn stream_login(&self, ip: IpAddr, login: &Credentials, end: LoginEnd) {
        let (now, host) = (Now::read(), Host::Ip(ip));
        let pages = &mut *self.pages();
        match end {
            LoginEnd::Taken => {
                pages.guard.stream_accepted(ip, login, now);
                pages.directory.accepted(&host, login, Use::Stream);
            }
            LoginEnd::Refused if pages.guard.stream_refused(ip, login, now) => {
                pages.directory.forbidden(&host, login, Use::Stream);
            }
            LoginEnd::Refused => pages.directory.refused(&host, login),
            LoginEnd::Unknown => pages.guard.unknown(ip, login, now),
        }
        pages.tell_changes();
    }

    /// What discovery sees, and where it sees nothing any more.
    pub fn sighted(&self, seen: &[Sighting], gone: &[IpAddr]) {
        let mut pages = self.fresh_pages();
        for ip in gone {
            pages.directory.forget_find(*ip);
        }
        for each in seen {
            pages.directory.learn_find(each);
        }
    }

    /// The id under which to ask what is at an address.
    pub fn introduce(&self, ip: IpAddr) -> Result<CameraId, Fault> {
        self.fresh_pages().directory.introduce(ip)
    }

    /// The login that belongs to an address.
    pub fn login_at(&self, ip: IpAddr) -> Option<Credentials> {
        self.pages().directory.login_at(ip)
    }

    /// Asks the guard whether a login that has worked before may be sent to its camera again, by
    /// another protocol. Each pass is followed by [`stream_login`](Self::stream_login) where it
    /// was refused.
    pub fn may_repeat(&self, ip: IpAddr, login: &Credentials) -> bool {
        let guard = &mut self.pages().guard;
        guard.has_worked(ip, login) && guard.may_stream(ip, login, Now::read()).is_ok()
    }

    /// The try has ended without telling what the camera thinks of the login.
    pub fn nothing_heard(&self, ip: IpAddr, login: &Credentials) {
        self.pages().guard.unknown(ip, login, Now::read());
    }

    /// The rules for addresses, with this machine's own.
    pub fn rules(&self) -> AddressRules {
        self.fresh_pages().directory.rules().clone()
    }

    /// What is known of a camera, by the id of the command that is being carried out, or by its
    /// address where that id has moved on.
    pub fn target(&self, id: &CameraId, host: &Host) -> Result<CameraFacts, Fault> {
        let mut pages = self.fresh_pages();
        match pages.directory.resolve(id) {
            Ok(target) if pages.directory.is_same(&target.at.host, host) => Ok(target),
            _ => {
                let address = Id::parse("ip", &host.to_string())?;
                pages.directory.resolve(&address)
            }
        }
    }

    /// The logins for a purpose at an address, best first; see [`Directory::logins`].
    pub fn logins(&self, id: &CameraId, ip: IpAddr, purpose: Use) -> Vec<Credentials> {
        self.pages().directory.logins(id, &Host::Ip(ip), purpose)
    }

    /// The same, whatever was said last: what the camera has taken comes first.
    pub fn taken_logins(&self, id: &CameraId, ip: IpAddr, purpose: Use) -> Vec<Credentials> {
        let directory = &self.pages().directory;
        directory.taken_logins(id, &Host::Ip(ip), purpose)
    }

    /// The login to look at a camera with.
    pub fn login_for(&self, id: &CameraId, host: &Host) -> Option<Credentials> {
        let logins = self.pages().directory.logins(id, host, Use::View);
        logins.into_iter().next()
    }

    /// The login that was said last under an id, if it is for that address.
    pub fn said_login(&self, id: &CameraId, ip: IpAddr) -> Option<Credentials> {
        self.pages().directory.said_login(id, &Host::Ip(ip))
    }

    /// A camera has answered at a port as cameras do, or nothing that could be one has.
    pub fn answers_at(&self, ip: IpAddr, port: u16, answers: bool) {
        let directory = &mut self.pages().directory;
        if answers {
            directory.proven(ip, port);
        } else {
            directory.failed_at(ip, port);
        }
    }

    /// A name has been found to lead to an address.
    pub fn leads_to(&self, name: &str, ip: IpAddr) {
        self.pages().directory.leads_to(name, ip);
    }

    /// Judges what a name resolves to.
    pub fn check(&self, ip: IpAddr) -> Result<IpAddr, Fault> {
        self.fresh_pages().directory.rules().check(ip)
    }

    /// Asks the guard; each pass is followed by one [`tried`](Self::tried). A login that is
    /// guarded is no candidate any more.
    pub fn may_try(
        &self,
        ip: IpAddr,
        login: &Credentials,
        purpose: Purpose,
    ) -> Result<(), CameraError> {
        let pages = &mut *self.pages();
        let now = Now::read();
        pages
            .guard
            .may_try(ip, login, purpose, now)
            .map_err(|fault| {
                // One that merely waits for its turn is not wrong.
                if !pages.guard.is_crowded(ip, login, now) {
                    pages.directory.refused(&Host::Ip(ip), login);
                }
                CameraError::LoginRefused(LoginRefusal {
                    tried: false,
                    unlock_after: None,
                    tries_left: None,
                    words: fault.message,
                })
            })
    }

    /// How a try ended: taken, refused, or nobody knows.
    pub fn tried(&self, ip: IpAddr, login: &Credentials, purpose: Use, end: &Tried) {
        let (now, host) = (Now::read(), Host::Ip(ip));
        let pages = &mut *self.pages();
        match end {
            Tried::Taken => {
                pages.guard.accepted(ip, login, now);
                pages.directory.accepted(&host, login, purpose);
            }
            Tried::Forbidden => {
                pages.guard.unknown(ip, login, now);
                pages.directory.forbidden(&host, login, purpose);
            }
            Tried::Refused(unlock) => {
                pages.guard.refused(ip, login, *unlock, now);
                pages.directory.refused(&host, login);
            }
            Tried::Unknown => pages.guard.unknown(ip, login, now),
        }
        pages.tell_changes();
    }

    /// A camera has been found to speak a protocol.
    pub fn learn_protocol(&self, id: &CameraId, protocol: Protocol) {
        self.pages().directory.learn_protocol(id, protocol);
    }

    /// A camera has answered, or has not.
    pub fn seen(&self, host: &Host, online: bool) {
        self.with_seen(host, |seen| {
            seen.online = Some(online);
            if online {
                seen.at = Some(SystemTime::now());
            }
        });
    }

    /// A camera has told its model.
    pub fn model(&self, host: &Host, model: Option<&str>) {
        self.with_seen(host, |seen| seen.model = model.map(str::to_owned));
    }

    fn with_seen(&self, host: &Host, change: impl FnOnce(&mut Seen)) {
        let seen = &mut self.pages().seen;
        if seen.len() >= MAX_SEEN && !seen.contains_key(host) {
            let oldest = seen
                .iter()
                .min_by_key(|(_, seen)| seen.at)
                .map(|(host, _)| host.clone());
            if let Some(oldest) = oldest {
                seen.remove(&oldest);
            }
        }
        change(seen.entry(host.clone()).or_default());
    }

    /// The cameras that are known, by id.
    pub fn known(&self) -> Vec<KnownCamera> {
        let pages = self.pages();
        pages
            .directory
            .known()
            .map(|(id, host, port, vendor, protocol)| {
                let seen = pages.seen.get(host);
                let by_address = id.as_str() == host.to_string();
                KnownCamera {
                    camera_id: (!by_address).then(|| id.clone()),
                    host: host.clone(),
                    ip: pages.directory.address(host),
                    port,
                    vendor: vendor.map(|v| v.as_str().to_owned()),
                    model: seen.and_then(|s| s.model.clone()),
                    protocol,
                    online: seen.and_then(|s| s.online),
                    last_seen: seen.and_then(|s| s.at),
                }
            })
            .collect()
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// With rules that know this machine's addresses: they change with every lease.
    fn fresh_pages(&self) -> MutexGuard<'_, Pages> {
        let mut pages = self.pages();
        let now = Instant::now();
        if pages
            .own_asked
            .is_none_or(|asked| now.saturating_duration_since(asked) >= OWN_EVERY)
        {
            pages.own_asked = Some(now);
            let rules = AddressRules {
                allow_loopback: self.allow_loopback,
                own: (self.own)(),
            };
            if *pages.directory.rules() != rules {
                let configured = pages.configured.clone();
                pages.directory.configure(rules, configured);
            }
        }
        pages
    }
}

/// How a login's try ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tried {
    /// The camera has let us in.
    Taken,
    /// It knows the login, and does not let it do this.
    Forbidden,
    /// It has not; locked for so long, where it says.
    Refused(Option<Duration>),
    /// It did not come to that.
    Unknown,
}
