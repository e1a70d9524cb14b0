//! What WS-Discovery answers tell, within bounds. Pure.
//!
//! Anybody on the network can send one, with any source address. So a hint only says where to
//! ask, it must come from an address that cameras here can have, and each source has its share.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};

use super::words::words;
use crate::infrastructure::onvif::address::ServiceAddress;
use crate::infrastructure::onvif::answer::device::normal_mac;
use crate::infrastructure::onvif::discovery::{self, ProbeMatch};
use crate::util::address;

/// Datagrams of one source that are read: three kinds of probe, three times, and a few more.
const MAX_FROM_ONE: u32 = 16;
/// Bytes that are read in all.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// Sources that are remembered.
const MAX_SOURCES: usize = 1024;
/// Places of one source that are asked.
const MAX_PLACES: usize = 3;

/// What one address said of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hint {
    /// The id that it gives itself.
    pub endpoint: Option<String>,
    /// `name` of its scopes.
    pub name: Option<String>,
    /// `hardware` of its scopes.
    pub hardware: Option<String>,
    /// `MAC` of its scopes.
    pub mac: Option<String>,
    /// Where its device service is to be, on the address that the answer came from.
    pub places: Vec<ServiceAddress>,
}

/// Whose answers count.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    /// This machine's addresses, with the length of their networks' prefixes.
    pub own: Vec<(Ipv4Addr, u8)>,
    /// Loopback addresses count.
    pub loopback: bool,
}

impl Reach {
    /// Whether a camera on a network of ours can have this address. Public addresses only inside
    /// such a network: a forged source must not make us connect to the internet.
    pub fn allows(&self, ip: Ipv4Addr) -> bool {
        if ip.is_loopback() {
            return self.loopback;
        }
        let [first, second, ..] = ip.octets();
        let never = address::objection(ip.into()).is_some()
            || ip.is_link_local()
            || self.own.iter().any(|(own, _)| *own == ip);
        let shared = first == 100 && second & 0xc0 == 64;
        !never && (ip.is_private() || shared || self.is_ours(ip))
    }

    fn is_ours(&self, ip: Ipv4Addr) -> bool {
        self.own.iter().any(|(own, prefix)| {
            let mask = u32::MAX
                .checked_shl(32 - u32::from((*prefix).min(32)))
                .unwrap_or(0);
            *prefix > 0
                && ip.to_bits() & mask == own.to_bits() & mask
                && ip.to_bits() | mask != u32::MAX
        })
    }
}

#[derive(Debug, Default)]
struct Source {
    datagrams: u32,
    hint: Option<Hint>,
}

/// The answers of one sweep.
#[derive(Debug)]
pub struct Hints {
    reach: Reach,
    ids: HashSet<String>,
    sources: HashMap<Ipv4Addr, Source>,
    bytes: usize,
}

impl Hints {
    /// None yet.
    pub fn new(reach: Reach) -> Self {
        Self {
            reach,
            ids: HashSet::new(),
            sources: HashMap::new(),
            bytes: 0,
        }
    }

    /// A probe of this id went out.
    pub fn asked(&mut self, id: &str) {
        self.ids.insert(id.to_ascii_lowercase());
    }

    /// Whether more came than is read.
    pub fn is_flooded(&self) -> bool {
        self.bytes >= MAX_BYTES
    }

    /// Takes a datagram. `Some` = a camera, and where to ask it if that is new.
    pub fn datagram(
        &mut self,
        source: IpAddr,
        bytes: &[u8],
    ) -> Option<(Ipv4Addr, Option<ServiceAddress>)> {
        let IpAddr::V4(ip) = source else { return None };
        if !self.reach.allows(ip) || self.is_flooded() {
            return None;
        }
        if !self.sources.contains_key(&ip) && self.sources.len() >= MAX_SOURCES {
            return None;
        }
        let from = self.sources.entry(ip).or_default();
        from.datagrams += 1;
        if from.datagrams > MAX_FROM_ONE {
            return None;
        }
        self.bytes = self.bytes.saturating_add(bytes.len());
        let answer = discovery::read(bytes).ok()?;
        if answer.relates_to.is_some_and(|id| !self.ids.contains(&id)) {
            return None;
        }
        let mut found = None;
        for one in answer.matches.iter().filter(|m| m.is_camera()) {
            let place = from.take(one, source);
            found = found.or(Some((ip, None)));
            if place.is_some() {
                found = Some((ip, place));
            }
        }
        found
    }

    /// What an address said of itself.
    pub fn of(&self, ip: Ipv4Addr) -> Option<&Hint> {
        self.sources.get(&ip)?.hint.as_ref()
    }

    /// The path that it named on a port.
    pub fn path(&self, ip: Ipv4Addr, port: u16) -> Option<&str> {
        self.of(ip)?
            .places
            .iter()
            .find(|p| p.port == port)
            .map(|p| p.path.as_str())
    }

    /// All that said they are cameras.
    pub fn cameras(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.sources
            .iter()
            .filter(|(_, s)| s.hint.is_some())
            .map(|(ip, _)| *ip)
    }
}

impl Source {
    /// The place, if it was not known.
    fn take(&mut self, one: &ProbeMatch, source: IpAddr) -> Option<ServiceAddress> {
        let hint = self.hint.get_or_insert_default();
        let text = |key: &str| one.scopes.value(key).and_then(words);
        hint.name = hint.name.take().or_else(|| text("name"));
        hint.hardware = hint.hardware.take().or_else(|| text("hardware"));
        hint.mac = hint
            .mac
            .take()
            .or_else(|| one.scopes.value("mac").and_then(normal_mac));
        hint.endpoint = hint
            .endpoint
            .take()
            .or_else(|| one.endpoint.as_deref().and_then(words));
        let place = one.place(source)?;
        let is_new = place.port != 0
            && hint.places.len() < MAX_PLACES
            && !hint.places.iter().any(|p| p.port == place.port);
        is_new.then(|| {
            hint.places.push(place.clone());
            place
        })
    }
}

#[cfg(test)]
#[path = "hints_tests.rs"]
mod tests;
