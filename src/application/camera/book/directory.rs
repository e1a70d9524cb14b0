//! What is known of cameras: where each is, how to log in, and whose make it is (contract 7).
//!
//! Learnt from commands, from stream sources, from the configuration and from discovery; kept in
//! memory only, bounded, the least recently used forgotten first. Each fact carries how it is known:
//! what was said is replaced by what is said, a guess by a newer guess, and what has proven itself
//! stays until it is refuted. A login belongs to the address it was given for and goes nowhere else.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::accounts::{Accounts, Use};
use super::address::{AddressRules, Host};
use crate::domain::camera::{Credentials, Manner, Protocol, ProtocolOffer, protocol_of_vendor};
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::stream::{CameraId, MediaUrl};
use crate::util::url;

/// Most cameras that are remembered.
const MAX_CAMERAS: usize = 1024;
/// Most finds that are remembered.
const MAX_FINDS: usize = 4096;
/// Most host names whose address is remembered.
const MAX_NAMES: usize = 1024;
/// The HTTP port where nobody says another.
const HTTP: u16 = 80;
/// What some send as a camera's `port`, because lists of cameras have it there. No camera answers
/// HTTP on it.
const RTSP: u16 = 554;

/// Whose make a camera is, in upper case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vendor(String);

impl Vendor {
    /// `None` for an empty text, `UNKNOWN`, and what no vendor is called.
    pub fn parse(text: &str) -> Option<Self> {
        let name = text.trim().to_uppercase();
        let known = !name.is_empty()
            && name != "UNKNOWN"
            && name.len() <= 64
            && !name.chars().any(char::is_control);
        known.then_some(Self(name))
    }

    /// In upper case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What one command says of a camera.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CameraParams {
    /// Where it is.
    pub host: Option<Host>,
    /// The HTTP port.
    pub port: Option<u16>,
    /// User and password.
    pub login: Option<Credentials>,
    /// Whose make.
    pub vendor: Option<Vendor>,
    /// Channel of a recorder, from 1.
    pub channel: Option<u16>,
    /// The token of an ONVIF profile.
    pub profile: Option<String>,
    /// Where its ONVIF device service is.
    pub onvif_path: Option<String>,
}

/// One channel of one camera, as somebody names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedChannel {
    /// Address or name: to be resolved, and what it resolves to to be checked.
    pub host: Host,
    /// Of HTTP.
    pub port: u16,
    /// From 1.
    pub channel: u16,
    /// A command has said the port under this very id; else it is inferred, and the lane that is in
    /// use counts for more.
    pub port_is_said: bool,
}

/// What is known of a camera that is to be spoken with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CameraFacts {
    /// Where it is.
    pub at: NamedChannel,
    /// As far as is known.
    pub vendor: Option<Vendor>,
    /// What has answered before.
    pub protocol: Option<Protocol>,
    /// The port of RTSP, where discovery or a stream has told it.
    pub rtsp_port: Option<u16>,
    /// How it is to be spoken with, whatever the login; see [`CameraFacts::manner`].
    manner: Manner,
    /// The one login that may be sent by HTTP Basic.
    basic_login: Option<Credentials>,
    /// Somebody has said where its ONVIF service is: then it has one.
    pub has_onvif: bool,
}

impl CameraFacts {
    /// What has answered before, else what the vendor speaks (the spec's `selectAdapter`), else
    /// what somebody has said the path of; none = to be found out.
    pub fn protocol(&self, offers: &[ProtocolOffer]) -> Option<Protocol> {
        let by_vendor = |vendor: &Vendor| protocol_of_vendor(offers, vendor.as_str());
        self.protocol
            .or_else(|| self.vendor.as_ref().and_then(by_vendor))
            .or(self.has_onvif.then_some(Protocol::ONVIF))
    }

    /// How it is to be spoken with by that login: Basic is allowed to the login of the entry that
    /// allows it, and to no other.
    pub fn manner(&self, login: Option<&Credentials>) -> Manner {
        Manner {
            allow_basic: login.is_some() && login == self.basic_login.as_ref(),
            ..self.manner.clone()
        }
    }
}

/// One entry of `camera.credentials`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfiguredLogin {
    /// Address, CIDR, host name or camera id.
    pub matches: String,
    /// User and password.
    pub login: Credentials,
    /// Whose make.
    pub vendor: Option<Vendor>,
    /// How its cameras are spoken with.
    pub manner: Manner,
}

/// How a fact is known; the greater counts for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Known {
    /// From what a path looks like.
    Guessed,
    /// A command has it.
    Said,
}

#[derive(Debug)]
struct Fact<T> {
    value: T,
    known: Known,
}

/// Takes a fact down, unless what is known counts for more.
fn learn_fact<T>(fact: &mut Option<Fact<T>>, value: Option<T>, known: Known) {
    if let Some(value) = value
        && fact.as_ref().is_none_or(|old| old.known <= known)
    {
        *fact = Some(Fact { value, known });
    }
}

#[derive(Debug, Default)]
struct Camera {
    host: Option<Host>,
    /// As a command said.
    port: Option<u16>,
    channel: Option<Fact<u16>>,
    vendor: Option<Fact<Vendor>>,
    profile: Option<String>,
    onvif_path: Option<String>,
    /// What has answered.
    protocol: Option<Protocol>,
    /// The last that a command said under this id, and for which host.
    login: Option<(Host, Credentials)>,
    /// Of RTSP, as a stream's source has it.
    rtsp_port: Option<u16>,
    /// No command has spoken of it: discovery asks it by its address.
    introduced: bool,
    used: u64,
}

/// The port at which the camera of an address has answered.
#[derive(Debug)]
struct Proof {
    port: u16,
    /// It did not answer there the last time.
    doubted: bool,
    used: u64,
}

/// What discovery has seen at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The address.
    pub ip: IpAddr,
    /// Whose protocol is spoken there, if that is more than a weak sign.
    pub vendor: Option<String>,
    /// Of HTTP.
    pub http_port: Option<u16>,
    /// Of RTSP.
    pub rtsp_port: Option<u16>,
    /// Where its ONVIF device service is, if that is not where it usually is.
    pub onvif_path: Option<String>,
}

#[derive(Debug)]
struct Find {
    pub vendor: Option<Vendor>,
    pub port: Option<u16>,
    pub rtsp_port: Option<u16>,
    pub onvif_path: Option<String>,
    used: u64,
}

/// The directory.
#[derive(Debug, Default)]
pub struct Directory {
    rules: AddressRules,
    cameras: BTreeMap<CameraId, Camera>,
    finds: BTreeMap<IpAddr, Find>,
    accounts: Accounts,
    proofs: BTreeMap<IpAddr, Proof>,
    /// Where host names have led.
    names: Names,
    configured: Vec<ConfiguredLogin>,
    /// Counts uses.
    clock: u64,
}

impl Directory {
    /// Knows nothing but the configuration.
    pub fn new(rules: AddressRules, configured: Vec<ConfiguredLogin>) -> Self {
        Self {
            rules,
            configured,
            ..Self::default()
        }
    }

    /// New rules and logins, after a reload or when the machine's addresses have changed.
    pub fn configure(&mut self, rules: AddressRules, configured: Vec<ConfiguredLogin>) {
        self.rules = rules;
        self.configured = configured;
    }

    /// The rules, for what a name resolves to.
    pub fn rules(&self) -> &AddressRules {
        &self.rules
    }

    /// Learns what a command says. An address that can't be a camera's is refused (20005), and
    /// then nothing is learnt.
    pub fn learn(&mut self, id: &CameraId, said: CameraParams) -> Result<(), Fault> {
        let login = said.login.clone();
        self.take_down(id, said, Known::Said)?;
        let camera = self.camera(id);
        if let Some(pair) = camera.host.clone().zip(login) {
            camera.login = Some(pair);
        }
        Ok(())
    }

    fn take_down(&mut self, id: &CameraId, said: CameraParams, known: Known) -> Result<(), Fault> {
        if let Some(Host::Ip(ip)) = said.host {
            self.rules.check(ip)?;
        }
        let moved = said.host.as_ref().is_some_and(|new| {
            let old = self.cameras.get(id).and_then(|c| c.host.as_ref());
            !old.is_some_and(|old| self.is_same(old, new))
        });
        let camera = self.camera(id);
        camera.introduced &= said == CameraParams::default();
        if !moved {
            camera.host = said.host.or(camera.host.take());
        } else if let Some(host) = said.host {
            // Another device may stand there.
            camera.port = None;
            camera.rtsp_port = None;
            camera.channel = None;
            camera.profile = None;
            camera.onvif_path = None;
            camera.protocol = None;
            camera.vendor = None;
            camera.host = Some(host);
        }
        if let Some(port) = said.port.filter(|p| *p != RTSP && *p != 0) {
            camera.port = Some(port);
        }
        learn_fact(&mut camera.channel, said.channel, known);
        if said.profile.is_some() {
            camera.profile = said.profile;
        }
        if said.onvif_path.is_some() {
            camera.onvif_path = said.onvif_path;
        }
        let before = camera.vendor.as_ref().map(|fact| fact.value.clone());
        learn_fact(&mut camera.vendor, said.vendor, known);
        if camera.vendor.as_ref().map(|fact| &fact.value) != before.as_ref() {
            camera.protocol = None;
        }
        if let Some((host, login)) = camera.host.clone().zip(said.login) {
            self.accounts.give(&host, &login);
        }
        Ok(())
    }

    /// Learns from a stream's source: its host and login, and what its path tells. Its port is
    /// that of another protocol. A source that can't be a camera (a proxy on this machine, a
    /// file, another protocol than RTSP) teaches nothing.
    pub fn learn_source(&mut self, id: &CameraId, source: &MediaUrl) {
        if !matches!(source.scheme(), "rtsp" | "rtsps") {
            return;
        }
        let Ok(host) = Host::parse("sourceUrl", source.host()) else {
            return;
        };
        let path = url::split(source.expose()).map(|parts| parts.path);
        let (vendor, channel) = path.map_or((None, None), told_by_path);
        let login = source
            .credentials()
            .and_then(|(user, password)| Credentials::new(user, password).ok());
        let said = CameraParams {
            vendor,
            channel,
            host: Some(host),
            login,
            ..CameraParams::default()
        };
        let port = url::split(source.expose())
            .ok()
            .and_then(|parts| parts.port);
        // A refused address is a proxy's: not worth a word.
        if self.take_down(id, said, Known::Guessed).is_ok() {
            self.camera(id).rtsp_port = Some(port.unwrap_or(RTSP));
        }
    }

    /// Learns where a host name leads. What is known of a camera by its name holds by its address
    /// too, logins included: they were sent there.
    pub fn leads_to(&mut self, name: &str, ip: IpAddr) {
        self.clock += 1;
        if !self.names.contains_key(name) && self.names.len() >= MAX_NAMES {
            let oldest = self.names.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                self.names.remove(&oldest);
            }
        }
        let entry = (ip.to_canonical(), self.clock);
        self.names.insert(name.to_owned(), entry);
    }

    /// Whether two hosts are one, as far as is known.
    pub fn is_same(&self, one: &Host, other: &Host) -> bool {
        is_same(&self.names, one, other)
    }

    /// Where a host is, as far as is known.
    pub fn address(&self, host: &Host) -> Option<IpAddr> {
        address(&self.names, host)
    }

    /// Learns which protocol a camera really answers.
    pub fn learn_protocol(&mut self, id: &CameraId, protocol: Protocol) {
        self.camera(id).protocol = Some(protocol);
    }

    /// The camera at `host` has taken `login`.
    pub fn accepted(&mut self, host: &Host, login: &Credentials, purpose: Use) {
        self.accounts.taken(host, login, purpose);
    }

    /// The camera at `host` knows `login`, and does not let it do this.
    pub fn forbidden(&mut self, host: &Host, login: &Credentials, purpose: Use) {
        self.accounts.forbidden(host, login, purpose);
    }

    /// The camera at `host` has refused `login`. One that it has never taken is forgotten; what
    /// was taken once is kept: the guard paces it.
    pub fn refused(&mut self, host: &Host, login: &Credentials) {
        let names = &self.names;
        self.accounts
            .refused(|there| is_same(names, there, host), login);
        // Until somebody says it again.
        for camera in self.cameras.values_mut() {
            camera
                .login
                .take_if(|(at, said)| said == login && is_same(names, at, host));
        }
    }

    /// The logins for a purpose at `host`, best first. What was said last under `id` comes first
    /// where it is for there, and not known to be for something else.
    pub fn logins(&self, id: &CameraId, host: &Host, purpose: Use) -> Vec<Credentials> {
        self.ranked(id, host, self.said_login(id, host).as_ref(), purpose)
    }

    /// The same, whatever was said last: what the camera has taken comes first.
    pub fn taken_logins(&self, id: &CameraId, host: &Host, purpose: Use) -> Vec<Credentials> {
        self.ranked(id, host, None, purpose)
    }

    fn ranked(
        &self,
        id: &CameraId,
        host: &Host,
        own: Option<&Credentials>,
        purpose: Use,
    ) -> Vec<Credentials> {
        let configured = self.configured_for(id, host).map(|entry| &entry.login);
        let is_there = |there: &Host| self.is_same(there, host);
        self.accounts.for_use(is_there, own, configured, purpose)
    }

    /// The login that was said last under `id`, if it is for there.
    pub fn said_login(&self, id: &CameraId, host: &Host) -> Option<Credentials> {
        let (at, login) = self.cameras.get(id)?.login.as_ref()?;
        self.is_same(at, host).then(|| login.clone())
    }

    /// A camera has answered at a port as cameras do.
    pub fn proven(&mut self, ip: IpAddr, port: u16) {
        self.clock += 1;
        if !self.proofs.contains_key(&ip) && self.proofs.len() >= MAX_CAMERAS {
            let oldest = self.proofs.iter().min_by_key(|(_, proof)| proof.used);
            if let Some(oldest) = oldest.map(|(ip, _)| *ip) {
                self.proofs.remove(&oldest);
            }
        }
        let proof = Proof {
            port,
            doubted: false,
            used: self.clock,
        };
        self.proofs.insert(ip, proof);
    }

    /// Nothing that could be a camera has answered at a port. What has proven itself is doubted
    /// from then on: what a sweep says is tried, until that fails in turn.
    pub fn failed_at(&mut self, ip: IpAddr, port: u16) {
        if let Some(proof) = self.proofs.get_mut(&ip) {
            proof.doubted = proof.port == port;
        }
    }

    /// Where to find a camera. `id` is a camera's id or an address. 20004 where nothing is known
    /// of it, 20005 where a camera can't be.
    pub fn resolve(&mut self, id: &CameraId) -> Result<CameraFacts, Fault> {
        self.clock += 1;
        let clock = self.clock;
        let known = self.cameras.get_mut(id).map(|camera| {
            camera.used = clock;
            &*camera
        });
        let Some(host) = known
            .and_then(|c| c.host.clone())
            .or_else(|| address_of(id))
        else {
            return Err(unknown(id));
        };
        if let Host::Ip(ip) = host {
            self.rules.check(ip)?;
        }
        let known = self.cameras.get(id);
        let find = self.address(&host).and_then(|ip| self.finds.get(&ip));
        let configured = self.configured_for(id, &host);
        let vendor_of = |c: &Camera| c.vendor.as_ref().map(|fact| fact.value.clone());
        let vendor = known
            .and_then(vendor_of)
            .or_else(|| configured.and_then(|c| c.vendor.clone()))
            .or_else(|| find.and_then(|f| f.vendor.clone()))
            .or_else(|| self.neighbour(&host, vendor_of));
        let said = known.and_then(|c| c.port);
        let proof = self.address(&host).and_then(|ip| self.proofs.get(&ip));
        let port = said
            .or_else(|| self.neighbour(&host, |c| c.port))
            .or_else(|| proof.filter(|p| !p.doubted).map(|p| p.port))
            .or_else(|| find.and_then(|f| f.port))
            .or_else(|| proof.map(|p| p.port))
            .unwrap_or(HTTP);
        // Behind one address there may be several cameras, each at a port of its own.
        let same_port = |c: &Camera| c.protocol.filter(|_| c.port.is_none_or(|p| p == port));
        let protocol = known
            .and_then(|c| c.protocol)
            .or_else(|| self.neighbour(&host, same_port));
        let rtsp_port = find
            .and_then(|f| f.rtsp_port)
            .or_else(|| known.and_then(|c| c.rtsp_port))
            .or_else(|| self.neighbour(&host, |c| c.rtsp_port));
        let onvif_path = known
            .and_then(|c| c.onvif_path.clone())
            .or_else(|| configured.and_then(|c| c.manner.onvif_path.clone()))
            .or_else(|| self.neighbour(&host, |c| c.onvif_path.clone()));
        let manner = Manner {
            profile: known
                .and_then(|c| c.profile.clone())
                .or_else(|| configured.and_then(|c| c.manner.profile.clone())),
            onvif_path: onvif_path
                .clone()
                .or_else(|| find.and_then(|f| f.onvif_path.clone())),
            ..Manner::default()
        };
        Ok(CameraFacts {
            manner,
            basic_login: configured
                .filter(|entry| entry.manner.allow_basic)
                .map(|entry| entry.login.clone()),
            has_onvif: onvif_path.is_some(),
            at: NamedChannel {
                host,
                port,
                port_is_said: said.is_some(),
                channel: known
                    .and_then(|c| c.channel.as_ref())
                    .map_or(1, |fact| fact.value),
            },
            rtsp_port,
            vendor,
            protocol,
        })
    }

    /// Every camera that is known: id, where it is, its HTTP port, its make, what it speaks.
    #[allow(clippy::type_complexity)] // Read in one place.
    pub fn known(
        &self,
    ) -> impl Iterator<Item = (&CameraId, &Host, u16, Option<&Vendor>, Option<Protocol>)> {
        let told = self.cameras.iter().filter(|(_, c)| !c.introduced);
        told.filter_map(|(id, camera)| {
            let host = camera.host.as_ref()?;
            let proof = self.address(host).and_then(|ip| self.proofs.get(&ip));
            let port = camera.port.or(proof.map(|p| p.port)).unwrap_or(HTTP);
            let vendor = camera.vendor.as_ref().map(|fact| &fact.value);
            Some((id, host, port, vendor, camera.protocol))
        })
    }

    /// The ids of the cameras at an address.
    pub fn ids_at(&self, ip: IpAddr) -> Vec<CameraId> {
        let host = Host::Ip(ip.to_canonical());
        self.cameras
            .iter()
            .filter(|(_, c)| c.host.as_ref().is_some_and(|at| self.is_same(at, &host)))
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// The ids of the cameras that are found by that very host.
    pub fn ids_by(&self, host: &Host) -> Vec<CameraId> {
        let by = |(_, c): &(&CameraId, &Camera)| c.host.as_ref() == Some(host);
        let ids = self.cameras.iter().filter(by);
        ids.map(|(id, _)| id.clone()).collect()
    }

    /// What another id says of the same address: the one used last that says anything.
    fn neighbour<T>(&self, host: &Host, what: impl Fn(&Camera) -> Option<T>) -> Option<T> {
        self.cameras
            .values()
            .filter(|c| c.host.as_ref().is_some_and(|at| self.is_same(at, host)))
            .filter_map(|c| what(c).map(|found| (c.used, found)))
            .max_by_key(|(used, _)| *used)
            .map(|(_, found)| found)
    }

    /// The configured login that fits best: one for the id or the very address before one for a
    /// network, a small network before a large one.
    fn configured_for(&self, id: &CameraId, host: &Host) -> Option<&ConfiguredLogin> {
        self.configured
            .iter()
            .filter_map(|entry| fit(&entry.matches, id, host).map(|fit| (fit, entry)))
            // The first of equals.
            .rev()
            .max_by_key(|(fit, _)| *fit)
            .map(|(_, entry)| entry)
    }

    /// Learns what a sweep has found at an address.
    pub fn learn_find(&mut self, seen: &Sighting) {
        let Ok(ip) = self.rules.check(seen.ip) else {
            return;
        };
        self.clock += 1;
        let used = self.clock;
        if !self.finds.contains_key(&ip) && self.finds.len() >= MAX_FINDS {
            let oldest = self.finds.iter().min_by_key(|(_, f)| f.used);
            if let Some(oldest) = oldest.map(|(ip, _)| *ip) {
                self.finds.remove(&oldest);
            }
        }
        let find = Find {
            vendor: seen.vendor.as_deref().and_then(Vendor::parse),
            port: seen.http_port,
            rtsp_port: seen.rtsp_port,
            onvif_path: seen.onvif_path.clone(),
            used,
        };
        self.finds.insert(ip, find);
    }

    /// Nothing is to be found at an address any more.
    pub fn forget_find(&mut self, ip: IpAddr) {
        let host = Host::Ip(ip.to_canonical());
        self.finds.remove(&ip.to_canonical());
        self.cameras
            .retain(|_, camera| !camera.introduced || camera.host.as_ref() != Some(&host));
    }

    /// The id under which to ask what is at an address: one that commands use, else the address.
    pub fn introduce(&mut self, ip: IpAddr) -> Result<CameraId, Fault> {
        let ip = self.rules.check(ip)?;
        if let Some(id) = self.ids_at(ip).into_iter().next() {
            return Ok(id);
        }
        let id = CameraId::parse("ip", &ip.to_string())?;
        let is_new = !self.cameras.contains_key(&id);
        let camera = self.camera(&id);
        camera.introduced |= is_new;
        Ok(id)
    }

    /// The login that belongs to an address: one that was taken there, one that was given for it,
    /// one of the configuration.
    pub fn login_at(&self, ip: IpAddr) -> Option<Credentials> {
        let host = Host::Ip(ip.to_canonical());
        let address = CameraId::parse("ip", &host.to_string()).ok();
        let ids = self.ids_at(ip).into_iter().chain(address);
        // The configuration may name the camera by any of its ids.
        let mut lists = ids.map(|id| self.taken_logins(&id, &host, Use::View));
        lists.find_map(|logins| logins.into_iter().next())
    }

    fn camera(&mut self, id: &CameraId) -> &mut Camera {
        self.clock += 1;
        if !self.cameras.contains_key(id) && self.cameras.len() >= MAX_CAMERAS {
            let oldest = self
                .cameras
                .iter()
                .min_by_key(|(_, c)| (!c.introduced, c.used));
            if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
                self.cameras.remove(&oldest);
            }
        }
        let camera = self.cameras.entry(id.clone()).or_default();
        camera.used = self.clock;
        if camera.host.is_none() {
            camera.host = address_of(id);
        }
        camera
    }
}

fn unknown(id: &CameraId) -> Fault {
    Fault::new(
        ErrorCode::NotFound,
        format!(
            "nothing is known of camera {id}: send ip, username and password (and port, if it is \
             not 80) with the command"
        ),
    )
}

/// Where host names have led, and when they were last found to.
type Names = BTreeMap<String, (IpAddr, u64)>;

fn address(names: &Names, host: &Host) -> Option<IpAddr> {
    match host {
        Host::Ip(ip) => Some(*ip),
        Host::Name(name) => names.get(name).map(|(ip, _)| *ip),
    }
}

fn is_same(names: &Names, one: &Host, other: &Host) -> bool {
    one == other || address(names, one).is_some_and(|ip| address(names, other) == Some(ip))
}

/// An id that is an address.
fn address_of(id: &CameraId) -> Option<Host> {
    let ip: IpAddr = id.as_str().parse().ok()?;
    Some(Host::Ip(ip.to_canonical()))
}

/// How well a configured match fits; more is better.
fn fit(matches: &str, id: &CameraId, host: &Host) -> Option<u16> {
    if matches == id.as_str() {
        return Some(1000);
    }
    let ip = match host {
        Host::Name(name) => return matches.eq_ignore_ascii_case(name).then_some(999),
        Host::Ip(ip) => *ip,
    };
    if let Ok(address) = matches.parse::<IpAddr>() {
        return (address.to_canonical() == ip).then_some(999);
    }
    let (network, prefix) = matches.split_once('/')?;
    let network: IpAddr = network.parse().ok()?;
    let prefix: u16 = prefix.parse().ok()?;
    let inside = match (network, ip) {
        (IpAddr::V4(network), IpAddr::V4(ip)) if prefix <= 32 => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            (network.to_bits() ^ ip.to_bits()) & mask == 0
        }
        (IpAddr::V6(network), IpAddr::V6(ip)) if prefix <= 128 => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            (network.to_bits() ^ ip.to_bits()) & mask == 0
        }
        _ => false,
    };
    inside.then_some(prefix)
}

/// Vendor and channel that an RTSP path tells of.
fn told_by_path(path: &str) -> (Option<Vendor>, Option<u16>) {
    let lower = path.to_ascii_lowercase();
    if let Some(rest) = ["/streaming/channels/", "/streaming/tracks/"]
        .iter()
        .find_map(|start| lower.split_once(start).map(|(_, rest)| rest))
    {
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
        let number = digits.and_then(|d| d.parse::<u32>().ok());
        // 101, 102, 201: channel and stream; 1, 2: the old spelling of the channel.
        let channel = number.map(|n| if n >= 100 { n / 100 } else { n });
        let channel = channel.and_then(|n| u16::try_from(n).ok());
        return (Vendor::parse("HIKVISION"), channel.filter(|n| *n >= 1));
    }
    if lower.starts_with("/cam/realmonitor") {
        let channel = lower
            .split(['?', '&'])
            .find_map(|part| part.strip_prefix("channel="))
            .and_then(|n| n.parse().ok());
        return (Vendor::parse("DAHUA"), channel.filter(|n| *n >= 1));
    }
    if lower.starts_with("/axis-media/") || lower.starts_with("/onvif-media/") {
        return (Vendor::parse("AXIS"), None);
    }
    (None, None)
}
#[cfg(test)]
mod tests;
