//! One camera of the list: its addresses, what was seen there, what it told.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Instant, SystemTime};

use super::{Askable, CameraKey, Change, ChangeKind, MAX_FACES};
use crate::application::camera::Sighting;
use crate::application::discovery::maker;
use crate::domain::camera::Manner;
use crate::domain::discovery::{Certainty, Find, VendorGuess};
use crate::domain::node::Camera;
use crate::domain::vendor;
use crate::util::foreign;
use crate::util::time::Now;
use crate::util::url;

/// Longest model or serial number that is kept, in characters.
const MAX_TEXT: usize = 128;

/// What a camera tells to somebody who has its login, or by RTSP to anybody.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lesson {
    /// As the camera spells it.
    pub manufacturer: Option<String>,
    pub model: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// `aa:bb:cc:dd:ee:ff`
    pub mac: Option<String>,
    /// Where its stream is; `None` = not found out.
    pub stream: Option<StreamPlace>,
}

/// Where a camera's stream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamPlace {
    /// There.
    At {
        /// `None` = the port that answers RTSP.
        port: Option<u16>,
        /// Path and query, with the slash.
        path: String,
    },
    /// At none of the places where its vendor's streams usually are.
    Nowhere,
}

/// What was seen at one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Face {
    pub endpoint: Option<String>,
    pub mac: Option<String>,
    pub rtsp_port: Option<u16>,
    pub http_port: Option<u16>,
    pub onvif: bool,
    /// Where its device service is, if that is not where it usually is.
    pub onvif_path: Option<String>,
    pub isapi: bool,
    pub vendor: Option<VendorGuess>,
    pub model: Option<String>,
}

impl Face {
    pub fn of(find: &Find) -> Self {
        Self {
            endpoint: find.endpoint.clone(),
            mac: find.mac.clone(),
            rtsp_port: find.rtsp_port,
            http_port: find.http_port,
            onvif: find.onvif.is_some(),
            onvif_path: find
                .onvif
                .as_ref()
                .map(|(_, path)| path.clone())
                .filter(|path| path != Manner::ONVIF_PATH && url::is_service_path(path)),
            isapi: find.isapi,
            vendor: find.vendor.clone(),
            model: find.model.as_deref().and_then(clean),
        }
    }

    /// The same address, seen again. Who it is stays known where this sweep did not hear it; so
    /// does what it answers where the sweep was `cut_short`.
    fn refresh(&mut self, find: &Find, cut_short: bool) {
        let old = std::mem::replace(self, Self::of(find));
        self.endpoint = self.endpoint.take().or(old.endpoint);
        self.mac = self.mac.take().or(old.mac);
        self.model = self.model.take().or(old.model);
        self.vendor = better(old.vendor, self.vendor.take());
        if cut_short {
            self.rtsp_port = self.rtsp_port.or(old.rtsp_port);
            self.http_port = self.http_port.or(old.http_port);
            self.onvif |= old.onvif;
            if self.onvif_path.is_none() {
                self.onvif_path.clone_from(&old.onvif_path);
            }
            self.isapi |= old.isapi;
        }
    }
}

/// The surer of two; of equals the newer.
fn better(old: Option<VendorGuess>, new: Option<VendorGuess>) -> Option<VendorGuess> {
    match (old, new) {
        (Some(old), Some(new)) if old.certainty > new.certainty => Some(old),
        (old, None) => old,
        (_, new) => new,
    }
}

/// As it may be shown, and not empty.
fn clean(text: &str) -> Option<String> {
    let text: String = foreign::shown(text, 4 * MAX_TEXT)
        .chars()
        .take(MAX_TEXT)
        .collect();
    (!text.is_empty()).then_some(text)
}

/// What the camera said of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Identity {
    vendor: Option<String>,
    model: Option<String>,
    serial: Option<String>,
    pub mac: Option<String>,
}

impl Identity {
    /// Whether both are words of one device: by its MAC address, else by its serial number.
    pub fn is_same_device(&self, other: &Self) -> bool {
        if let (Some(mine), Some(theirs)) = (&self.mac, &other.mac) {
            return mine == theirs;
        }
        // Copied firmware has numbers like 00000000, too.
        let is_telling = |serial: &String| {
            let mut kinds: Vec<char> = serial.chars().collect();
            kinds.sort_unstable();
            kinds.dedup();
            serial.len() >= 8 && kinds.len() >= 4
        };
        self.serial.as_ref().is_some_and(is_telling)
            && self.serial == other.serial
            && self.vendor == other.vendor
            && self.model == other.model
    }
}

/// One camera.
#[derive(Debug)]
pub(super) struct Known {
    /// Its addresses; never empty between two sweeps.
    pub faces: BTreeMap<IpAddr, Face>,
    /// The address that it is listed with.
    pub primary: IpAddr,
    vendor: Option<VendorGuess>,
    model: Option<String>,
    pub told: Option<Identity>,
    stream: Option<StreamPlace>,
    pub online: bool,
    last_seen: SystemTime,
    /// Since when it is gone.
    pub gone: Option<Instant>,
}

impl Known {
    /// Of finds that are one camera; there is at least one.
    pub fn new(finds: &[&Find], now: Now) -> Self {
        let mut known = Self {
            faces: BTreeMap::new(),
            primary: finds
                .first()
                .map_or(IpAddr::from([0, 0, 0, 0]), |find| find.ip),
            vendor: None,
            model: None,
            told: None,
            stream: None,
            online: true,
            last_seen: now.wall,
            gone: None,
        };
        known.see(finds, false);
        known.primary = known.best().unwrap_or(known.primary);
        known
    }

    /// After a sweep that saw it at `seen` (nothing = did not see it) and would have seen it
    /// wherever `looked` says yes.
    pub fn update(
        &mut self,
        seen: &[&Find],
        cut_short: bool,
        looked: impl Fn(IpAddr) -> bool,
        now: Now,
        changes: &mut Vec<Change>,
    ) {
        if seen.is_empty() {
            self.settle(changes);
            let missed = !self.faces.is_empty() && self.faces.keys().all(|ip| looked(*ip));
            if self.online && missed {
                self.online = false;
                self.gone = Some(now.mono);
                changes.push(self.change(ChangeKind::Gone));
            }
            return;
        }
        let before = self.camera();
        self.faces
            .retain(|ip, _| !looked(*ip) || seen.iter().any(|find| find.ip == *ip));
        self.see(seen, cut_short);
        self.last_seen = now.wall;
        self.gone = None;
        let was_online = std::mem::replace(&mut self.online, true);
        self.settle(changes);
        if !was_online {
            changes.push(self.change(ChangeKind::Back));
        }
        self.tell_if_learnt(&before, changes);
    }

    /// What it told to somebody with its login counts more than what a sweep sees.
    pub fn learn(&mut self, lesson: &Lesson, changes: &mut Vec<Change>) {
        fn keep(old: &mut Option<String>, new: Option<String>) {
            if new.is_some() {
                *old = new;
            }
        }
        let before = self.camera();
        let text = |text: &Option<String>| text.as_deref().and_then(clean);
        let is_real = |mac: &String| mac.chars().any(|c| !matches!(c, '0' | ':'));
        let told = self.told.get_or_insert_default();
        let maker = text(&lesson.manufacturer).and_then(|name| maker::vendor_of(&name));
        keep(&mut told.vendor, maker);
        keep(&mut told.model, text(&lesson.model));
        keep(&mut told.serial, text(&lesson.serial));
        keep(&mut told.mac, text(&lesson.mac).filter(is_real));
        if lesson.stream.is_some() {
            self.stream.clone_from(&lesson.stream);
        }
        self.tell_if_learnt(&before, changes);
    }

    /// Takes over the addresses of another entry that is the same camera.
    pub fn absorb(&mut self, other: Self, changes: &mut Vec<Change>) {
        for (ip, face) in other.faces {
            if self.faces.len() < MAX_FACES {
                self.faces.entry(ip).or_insert(face);
            }
        }
        self.last_seen = self.last_seen.max(other.last_seen);
        self.vendor = better(other.vendor, self.vendor.take());
        if other.online && !self.online {
            let from = std::mem::replace(&mut self.primary, other.primary);
            self.online = true;
            self.gone = None;
            changes.push(self.change(ChangeKind::Back));
            changes.push(self.change(ChangeKind::Moved { from }));
        }
    }

    /// Is listed with another address where it has lost the one before, or has a better one now.
    fn settle(&mut self, changes: &mut Vec<Change>) {
        let from = self.primary;
        let Some(best) = self.best() else { return };
        if !self.faces.contains_key(&from) || is_makeshift(from) && !is_makeshift(best) {
            self.primary = best;
            changes.push(self.change(ChangeKind::Moved { from }));
        }
    }

    fn see(&mut self, finds: &[&Find], cut_short: bool) {
        for find in finds {
            if self.faces.len() >= MAX_FACES && !self.faces.contains_key(&find.ip) {
                // What was not looked at makes room for what was seen.
                let unseen = |ip: &&IpAddr| finds.iter().all(|find| find.ip != **ip);
                let Some(unseen) = self.faces.keys().find(unseen).copied() else {
                    continue;
                };
                self.faces.remove(&unseen);
            }
            self.faces
                .entry(find.ip)
                .and_modify(|face| face.refresh(find, cut_short))
                .or_insert_with(|| Face::of(find));
            self.vendor = better(self.vendor.take(), find.vendor.clone());
            self.model = find.model.as_deref().and_then(clean).or(self.model.take());
        }
    }

    fn tell_if_learnt(&self, before: &Camera, changes: &mut Vec<Change>) {
        let camera = self.camera();
        let new_vendor = camera.vendor.is_some() && before.vendor != camera.vendor;
        let new_model = !camera.model.is_empty() && before.model != camera.model;
        if new_vendor || new_model {
            changes.push(self.change(ChangeKind::Learnt));
        }
    }

    /// The address to list it with: one that answers, IPv4 before IPv6, and no link-local one
    /// where there is another.
    fn best(&self) -> Option<IpAddr> {
        self.faces
            .iter()
            .min_by_key(|(ip, face)| {
                let silent = (face.rtsp_port.is_none(), face.http_port.is_none());
                (is_makeshift(**ip), silent, **ip)
            })
            .map(|(ip, _)| *ip)
    }

    fn vendor(&self) -> Option<&str> {
        let told = self.told.as_ref().and_then(|t| t.vendor.as_deref());
        let seen = self.vendor.as_ref().map(|guess| guess.vendor.as_str());
        told.or(seen)
    }

    /// As the spec's list has it.
    pub fn camera(&self) -> Camera {
        let face = self.faces.get(&self.primary);
        let rtsp = face.and_then(|f| f.rtsp_port);
        let http = face.and_then(|f| f.http_port);
        let told = self.told.as_ref().and_then(|t| t.model.clone());
        Camera {
            ip: self.primary.to_string(),
            port: rtsp.or(http).unwrap_or(0),
            onvif: self.faces.values().any(|f| f.onvif),
            rtsp_url: self.rtsp_url(rtsp).unwrap_or_default(),
            vendor: self.vendor().map(str::to_owned),
            model: told.or_else(|| self.model.clone()).unwrap_or_default(),
            online: self.online,
            last_seen: self.last_seen,
        }
    }

    /// Without user info, for the address that it is listed with.
    fn rtsp_url(&self, rtsp_port: Option<u16>) -> Option<String> {
        let (port, path) = match &self.stream {
            Some(StreamPlace::Nowhere) => return None,
            Some(StreamPlace::At { port, path }) => (port.or(rtsp_port)?, path.clone()),
            None => (rtsp_port?, vendor::rtsp_path(self.vendor()?, 1)?),
        };
        Some(match self.primary {
            IpAddr::V4(ip) => format!("rtsp://{ip}:{port}{path}"),
            IpAddr::V6(ip) => format!("rtsp://[{ip}]:{port}{path}"),
        })
    }

    pub fn change(&self, kind: ChangeKind) -> Change {
        Change {
            kind,
            camera: self.camera(),
        }
    }

    pub fn askable(&self, key: CameraKey) -> Askable {
        let face = self.faces.get(&self.primary);
        Askable {
            key,
            ip: self.primary,
            rtsp_port: face.and_then(|f| f.rtsp_port),
            vendor: self.vendor().map(str::to_owned),
            tells: face.is_some_and(|f| f.onvif || f.isapi),
        }
    }

    pub fn facts(&self) -> impl Iterator<Item = Sighting> {
        self.faces.iter().map(|(ip, face)| Sighting {
            ip: *ip,
            vendor: self.spoken_to_as(face),
            http_port: face.http_port,
            rtsp_port: face.rtsp_port,
            onvif_path: face.onvif_path.clone(),
        })
    }

    /// What answers ISAPI is spoken to as a Hikvision, whatever name is on it.
    fn spoken_to_as(&self, face: &Face) -> Option<String> {
        if face.isapi {
            return Some("HIKVISION".to_owned());
        }
        let told = self.told.as_ref().and_then(|t| t.vendor.clone());
        told.or_else(|| {
            let is_sure = |guess: &&VendorGuess| guess.certainty >= Certainty::Likely;
            let guess = self.vendor.as_ref().filter(is_sure)?;
            Some(guess.vendor.clone())
        })
    }
}

/// An address that a device gives itself for want of a better one, or one of IPv6, which few
/// others speak.
fn is_makeshift(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(_) => true,
    }
}
