//! What is known of cameras: addresses by id, logins by address, and which logins may be tried.
//!
//! Learnt from every command that carries something, kept in memory only. A login goes to no
//! address but its own. Beside it stands the lock-out guard: cameras lock an account after a few
//! wrong passwords, for every protocol at once (contract 7).

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use super::lockout::Lockout;
use crate::domain::camera::{CameraError, Credentials, LoginRefusal, Protocol};
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::stream::{CameraId, Id};
use crate::util::secret::Secret;

/// Most cameras remembered; beyond that the one heard of longest ago is forgotten.
const MAX_KNOWN: usize = 1_024;
/// Where a camera's HTTP answers unless somebody says otherwise.
const HTTP_PORT: u16 = 80;
/// Longest host name.
const MAX_HOST: usize = 253;

/// How a command names its camera, and what it says of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CameraAsk {
    /// Wire: `cameraId`.
    pub camera_id: Option<CameraId>,
    /// Wire: `ip`: an address or a host name, checked by [`CameraAsk::host`].
    pub host: Option<String>,
    /// Wire: `port`, of HTTP.
    pub port: Option<u16>,
    /// Wire: `username` and `password`.
    pub login: Option<Credentials>,
    /// Wire: `vendorType`, upper case.
    pub vendor: Option<String>,
    /// Wire: `channel`, from 1.
    pub channel: Option<u16>,
}

impl CameraAsk {
    /// Judges the text of `ip`: an address, or a host name in lower case.
    pub fn host(text: &str) -> Result<String, Fault> {
        let bare = text
            .strip_prefix('[')
            .and_then(|t| t.strip_suffix(']'))
            .unwrap_or(text);
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return Ok(ip.to_canonical().to_string());
        }
        let name = !text.is_empty()
            && text.len() <= MAX_HOST
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
            // Not a number that some resolver takes for an address.
            && text.bytes().any(|b| b.is_ascii_alphabetic())
            && !text.starts_with("0x");
        if name {
            Ok(text.to_ascii_lowercase())
        } else {
            Err(Fault::new(
                ErrorCode::ParamInvalid,
                "ip must be an address or a host name",
            ))
        }
    }

    /// What answers and events call the camera.
    pub fn name(&self) -> Result<CameraId, Fault> {
        if let Some(id) = &self.camera_id {
            return Ok(id.clone());
        }
        match &self.host {
            Some(host) => Id::parse("ip", host),
            None => Err(Fault::new(
                ErrorCode::ParamMissing,
                "cameraId is missing; ip, username and password can stand in its place",
            )),
        }
    }
}

/// One channel of one camera.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Address or name.
    pub host: String,
    /// Of HTTP.
    pub port: u16,
    /// From 1.
    pub channel: u16,
}

impl Place {
    /// A name for it, where nobody gave one.
    pub fn id(&self) -> CameraId {
        let text = format!("{}:{}", self.host, self.port);
        Id::parse("ip", &text)
            .or_else(|_| Id::parse("ip", "camera"))
            .unwrap_or_else(|_| unreachable!("a literal that is an id"))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)?;
        if self.channel != 1 {
            write!(f, "/{}", self.channel)?;
        }
        Ok(())
    }
}

/// A login of the configuration, for the cameras that it matches.
#[derive(Debug, Clone)]
pub struct ConfiguredLogin {
    /// What it matches.
    pub matches: LoginMatch,
    /// The login.
    pub login: Credentials,
    /// The vendor of those cameras.
    pub vendor: Option<String>,
}

/// What a configured login matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginMatch {
    /// Addresses: a network and its prefix length.
    Network(IpAddr, u8),
    /// A host name in lower case, or a camera's id.
    Name(String),
}

impl LoginMatch {
    fn holds(&self, host: &str, ip: Option<IpAddr>, ids: &[&CameraId]) -> bool {
        match self {
            Self::Name(name) => {
                name.eq_ignore_ascii_case(host)
                    || ids.iter().any(|id| id.as_str().eq_ignore_ascii_case(name))
            }
            Self::Network(network, prefix) => match (network, ip) {
                (IpAddr::V4(net), Some(IpAddr::V4(ip))) => {
                    let shift = 32 - u32::from((*prefix).min(32));
                    let of = |a: u32| a.checked_shr(shift).unwrap_or(0);
                    of(net.to_bits()) == of(ip.to_bits())
                }
                (IpAddr::V6(net), Some(IpAddr::V6(ip))) => {
                    let shift = 128 - u32::from((*prefix).min(128));
                    let of = |a: u128| a.checked_shr(shift).unwrap_or(0);
                    of(net.to_bits()) == of(ip.to_bits())
                }
                _ => false,
            },
        }
    }
}

/// A camera as the list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownCamera {
    /// If a command named it.
    pub camera_id: Option<CameraId>,
    /// Address or name.
    pub host: String,
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
struct ById {
    host: Option<String>,
    port: Option<u16>,
    channel: Option<u16>,
    heard: u64,
}

/// What belongs to an address.
#[derive(Debug, Default)]
struct Host {
    port: Option<u16>,
    vendor: Option<String>,
    model: Option<String>,
    protocol: Option<Protocol>,
    online: Option<bool>,
    last_seen: Option<SystemTime>,
    candidate: Option<Credentials>,
    accepted: Option<Credentials>,
    heard: u64,
}

#[derive(Debug, Default)]
struct Pages {
    ids: HashMap<CameraId, ById>,
    hosts: HashMap<String, Host>,
    lockout: Lockout,
    heard: u64,
}

/// The directory and the guard.
#[derive(Debug)]
pub struct Book {
    configured: Mutex<Vec<ConfiguredLogin>>,
    pages: Mutex<Pages>,
}

impl Book {
    /// With the logins of the configuration.
    pub fn new(configured: Vec<ConfiguredLogin>) -> Self {
        Self {
            configured: Mutex::new(configured),
            pages: Mutex::default(),
        }
    }

    /// Takes down what a command says of its camera.
    pub fn learn(&self, ask: &CameraAsk) {
        let mut pages = self.pages();
        pages.heard += 1;
        let heard = pages.heard;
        if let Some(id) = &ask.camera_id {
            make_room(&mut pages.ids, id, |known| known.heard);
            let known = pages.ids.entry(id.clone()).or_default();
            if ask.host.is_some() && known.host != ask.host {
                // Another address: what was known of the old one does not hold for it.
                *known = ById::default();
                known.host.clone_from(&ask.host);
            }
            known.port = ask.port.or(known.port);
            known.channel = ask.channel.or(known.channel);
            known.heard = heard;
        }
        let host = ask.host.clone().or_else(|| {
            let id = ask.camera_id.as_ref()?;
            pages.ids.get(id)?.host.clone()
        });
        let Some(host) = host else {
            return;
        };
        make_room(&mut pages.hosts, &host, |known| known.heard);
        let known = pages.hosts.entry(host).or_default();
        known.heard = heard;
        known.port = ask.port.or(known.port);
        if ask.vendor.is_some() {
            known.vendor.clone_from(&ask.vendor);
        }
        if ask.login.is_some() && ask.login != known.accepted {
            known.candidate.clone_from(&ask.login);
        }
    }

    /// Where a command's camera is; takes down what it says of it. 20004 where nothing is known.
    pub fn place(&self, ask: &CameraAsk) -> Result<Place, Fault> {
        self.learn(ask);
        let pages = self.pages();
        let known = ask.camera_id.as_ref().and_then(|id| pages.ids.get(id));
        let host = ask
            .host
            .as_ref()
            .or_else(|| known.and_then(|k| k.host.as_ref()))
            .ok_or_else(|| {
                Fault::new(
                    ErrorCode::NotFound,
                    "nothing is known of this camera: send ip, username and password with the \
                     command (port and vendorType too, where they are not 80 and ONVIF)",
                )
            })?;
        let port = ask
            .port
            .or(known.and_then(|k| k.port))
            .or_else(|| pages.hosts.get(host).and_then(|h| h.port))
            .unwrap_or(HTTP_PORT);
        let channel = ask.channel.or(known.and_then(|k| k.channel)).unwrap_or(1);
        Ok(Place {
            host: host.clone(),
            port,
            channel,
        })
    }

    /// The vendor of the camera at an address.
    pub fn vendor(&self, host: &str, ip: IpAddr) -> Option<String> {
        let pages = self.pages();
        if let Some(vendor) = pages.hosts.get(host).and_then(|h| h.vendor.clone()) {
            return Some(vendor);
        }
        let ids = ids_at(&pages, host);
        self.configured()
            .iter()
            .find(|c| c.matches.holds(host, Some(ip), &ids))
            .and_then(|c| c.vendor.clone())
    }

    /// The logins to try at an address, the first first; `None` = none is known, as a stranger.
    /// 10001 where all of them are guarded. `stop`: those that have worked come first, guarded or
    /// not.
    pub fn logins(
        &self,
        host: &str,
        ip: IpAddr,
        stop: bool,
        now: Instant,
    ) -> Result<Vec<Option<Credentials>>, CameraError> {
        let pages = self.pages();
        let known = pages.hosts.get(host);
        let candidate = known.and_then(|h| h.candidate.clone());
        let accepted = known.and_then(|h| h.accepted.clone());
        let ids = ids_at(&pages, host);
        let configured = self
            .configured()
            .iter()
            .find(|c| c.matches.holds(host, Some(ip), &ids))
            .map(|c| c.login.clone());
        let mut all: Vec<Credentials> = Vec::new();
        let in_order = if stop {
            [accepted, candidate, configured]
        } else {
            [candidate, accepted, configured]
        };
        for login in in_order.into_iter().flatten() {
            if !all.contains(&login) {
                all.push(login);
            }
        }
        if all.is_empty() {
            return Ok(vec![None]);
        }
        let mut guarded = None;
        let mut allowed = Vec::new();
        for login in all {
            match pages.lockout.until(ip, &login, stop, now) {
                None => allowed.push(Some(login)),
                Some(until) => {
                    guarded = Some(guarded.map_or(until, |soonest: Instant| soonest.min(until)));
                }
            }
        }
        if allowed.is_empty() {
            let wait = guarded.map_or(0, |until| until.saturating_duration_since(now).as_secs());
            let at = SystemTime::now() + std::time::Duration::from_secs(wait);
            return Err(CameraError::LoginRefused(LoginRefusal {
                tried: false,
                unlock_after: None,
                tries_left: None,
                words: format!(
                    "guarded until {}: this login was refused before, and another try could lock \
                     the account",
                    crate::util::time::rfc3339(at)
                ),
            }));
        }
        Ok(allowed)
    }

    /// A camera has taken a login.
    pub fn accepted(&self, host: &str, ip: IpAddr, login: &Credentials) {
        let mut pages = self.pages();
        pages.lockout.accepted(ip, login);
        if let Some(known) = pages.hosts.get_mut(host)
            && known.accepted.as_ref() != Some(login)
        {
            known.accepted = Some(login.clone());
            if known.candidate.as_ref() == Some(login) {
                known.candidate = None;
            }
        }
    }

    /// A camera has refused a login.
    pub fn refused(&self, ip: IpAddr, login: &Credentials, refusal: &LoginRefusal, now: Instant) {
        if refusal.tried {
            let mut pages = self.pages();
            pages.lockout.refused(ip, login, refusal.unlock_after, now);
        }
    }

    /// A camera has answered, or has not.
    pub fn seen(&self, host: &str, protocol: Option<Protocol>, online: bool) {
        let mut pages = self.pages();
        if let Some(known) = pages.hosts.get_mut(host) {
            known.online = Some(online);
            if online {
                known.protocol = protocol;
                known.last_seen = Some(SystemTime::now());
            }
        }
    }

    /// A camera has told its model.
    pub fn model(&self, host: &str, model: Option<&str>) {
        if let Some(known) = self.pages().hosts.get_mut(host) {
            known.model = model.map(str::to_owned);
        }
    }

    /// The cameras that are known, by id, then those without one by address.
    pub fn known(&self) -> Vec<KnownCamera> {
        let pages = self.pages();
        let show = |id: Option<&CameraId>, host: &str, port: Option<u16>| {
            let known = pages.hosts.get(host);
            KnownCamera {
                camera_id: id.cloned(),
                host: host.to_owned(),
                port: port
                    .or_else(|| known.and_then(|h| h.port))
                    .unwrap_or(HTTP_PORT),
                vendor: known.and_then(|h| h.vendor.clone()),
                model: known.and_then(|h| h.model.clone()),
                protocol: known.and_then(|h| h.protocol),
                online: known.and_then(|h| h.online),
                last_seen: known.and_then(|h| h.last_seen),
            }
        };
        let mut named: Vec<KnownCamera> = pages
            .ids
            .iter()
            .filter_map(|(id, known)| Some(show(Some(id), known.host.as_deref()?, known.port)))
            .collect();
        named.sort_by(|a, b| a.camera_id.cmp(&b.camera_id));
        let mut nameless: Vec<KnownCamera> = pages
            .hosts
            .keys()
            .filter(|host| named.iter().all(|k| k.host != **host))
            .map(|host| show(None, host, None))
            .collect();
        nameless.sort_by(|a, b| a.host.cmp(&b.host));
        named.extend(nameless);
        named
    }

    fn pages(&self) -> std::sync::MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn configured(&self) -> std::sync::MutexGuard<'_, Vec<ConfiguredLogin>> {
        self.configured
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn ids_at<'a>(pages: &'a Pages, host: &str) -> Vec<&'a CameraId> {
    pages
        .ids
        .iter()
        .filter(|(_, known)| known.host.as_deref() == Some(host))
        .map(|(id, _)| id)
        .collect()
}

fn make_room<K, V>(map: &mut HashMap<K, V>, key: &K, heard: impl Fn(&V) -> u64)
where
    K: Clone + Eq + std::hash::Hash,
{
    if map.len() < MAX_KNOWN || map.contains_key(key) {
        return;
    }
    let oldest = map
        .iter()
        .min_by_key(|(_, known)| heard(known))
        .map(|(key, _)| key.clone());
    if let Some(oldest) = oldest {
        map.remove(&oldest);
    }
}

/// A login as a payload carries it: both or none.
pub fn login(
    username: Option<&str>,
    password: Option<&Secret>,
) -> Result<Option<Credentials>, Fault> {
    match (username, password) {
        (None, None) => Ok(None),
        (Some(user), Some(password)) => Credentials::new(user, password.clone()).map(Some),
        (Some(_), None) => Err(Fault::new(
            ErrorCode::ParamMissing,
            "password is missing: username and password go together",
        )),
        (None, Some(_)) => Err(Fault::new(
            ErrorCode::ParamMissing,
            "username is missing: username and password go together",
        )),
    }
}
