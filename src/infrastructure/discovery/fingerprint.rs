//! Vendor and model from what a device says to strangers. Pure; the signs themselves are data in
//! [`table`].

pub mod table;

use std::collections::BTreeMap;

use self::table::{Kind, NO_MODEL, OUIS, TABLE};
use crate::domain::discovery::{Certainty, VendorGuess};
use crate::domain::vendor::named_in;

/// Longest model that is passed on, in characters.
const MAX_MODEL: usize = 64;
/// Weak signs of one vendor that make it one: a single one is said of many.
const WEAK_ENOUGH: usize = 2;

/// What was seen of one device.
#[derive(Debug, Clone, Default)]
pub struct Signs {
    /// `Server` of HTTP.
    pub http_server: Option<String>,
    /// Title of the home page.
    pub http_title: Option<String>,
    /// Realms of HTTP and RTSP.
    pub realms: Vec<String>,
    /// `Server` of RTSP.
    pub rtsp_server: Option<String>,
    /// Speaks ISAPI.
    pub isapi: bool,
    /// `name` of the discovery scopes.
    pub scopes_name: Option<String>,
    /// `hardware` of the discovery scopes.
    pub scopes_hardware: Option<String>,
    /// Hardware address.
    pub mac: Option<String>,
    /// Ports that accept.
    pub open_ports: Vec<u16>,
    /// Where the home page leads, and how it begins.
    pub pages: Vec<String>,
}

/// One sign found.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Hit {
    kind: Kind,
    vendor: &'static str,
    certainty: Certainty,
}

/// The vendor. What speaks ISAPI is Hikvision's, whoever sells it; else the most certain sign
/// decides; weak ones only where two agree and no other vendor has as many.
pub fn guess(signs: &Signs) -> Option<VendorGuess> {
    let found = |vendor: &str, certainty| VendorGuess {
        vendor: vendor.to_owned(),
        certainty,
    };
    if signs.isapi {
        return Some(found("HIKVISION", Certainty::Said));
    }
    let hits = hits(signs);
    let best = hits
        .iter()
        .filter(|h| h.certainty > Certainty::Weak)
        // The first of the best, which is the most telling.
        .min_by_key(|h| (std::cmp::Reverse(h.certainty), h.kind));
    if let Some(best) = best {
        return Some(found(best.vendor, best.certainty));
    }
    let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
    for hit in &hits {
        *votes.entry(hit.vendor).or_default() += 1;
    }
    let most = votes
        .values()
        .copied()
        .max()
        .filter(|n| *n >= WEAK_ENOUGH)?;
    let mut winners = votes.iter().filter(|(_, n)| **n == most);
    match (winners.next(), winners.next()) {
        (Some((vendor, _)), None) => Some(found(vendor, Certainty::Weak)),
        _ => None,
    }
}

/// The model, where the device says it unasked.
pub fn model(signs: &Signs) -> Option<String> {
    let hardware = signs.scopes_hardware.as_deref().map(|h| {
        let (_, rest) = without_vendor(h);
        rest
    });
    // A name is what somebody typed, unless it is the vendor's own: `HIKVISION DS-2CD2012-I`.
    let name = signs.scopes_name.as_deref().map(without_vendor);
    let name = name
        .filter(|(vendor, rest)| *vendor && rest.chars().any(|c| c.is_ascii_digit()))
        .map(|(_, rest)| rest);
    let realm = signs.realms.iter().find(|r| begins(r, "DS-")).cloned();
    [hardware, name, realm]
        .into_iter()
        .flatten()
        .find(|model| !model.is_empty() && !NO_MODEL.iter().any(|n| n.eq_ignore_ascii_case(model)))
}

/// Whether a vendor's name stands in front, and what is behind it.
fn without_vendor(text: &str) -> (bool, String) {
    let mut words: Vec<&str> = text.split_whitespace().collect();
    let has_vendor = words
        .first()
        .is_some_and(|w| named_in(w).is_some_and(|v| v.eq_ignore_ascii_case(w)));
    if has_vendor {
        words.remove(0);
    }
    let rest = shortened(&words.join(" "));
    (has_vendor, rest)
}

/// At most so much of a name as a list has room for. Without a mark where it was cut: it is compared
/// with others.
fn shortened(name: &str) -> String {
    name.chars().take(MAX_MODEL).collect()
}

/// Every sign there is, each counted once.
fn hits(signs: &Signs) -> Vec<Hit> {
    let mut hits: Vec<Hit> = Vec::new();
    // The device's own word on itself.
    for scope in [&signs.scopes_hardware, &signs.scopes_name] {
        if let Some(vendor) = scope.as_deref().and_then(named_in) {
            hits.push(Hit {
                kind: Kind::Hardware,
                vendor: family(vendor),
                certainty: Certainty::Said,
            });
        }
    }
    // A vendor's name where software names itself.
    let named = signs
        .realms
        .iter()
        .map(|t| (Kind::Realm, t))
        .chain(signs.http_server.iter().map(|t| (Kind::HttpServer, t)))
        .chain(signs.rtsp_server.iter().map(|t| (Kind::RtspServer, t)))
        .chain(signs.http_title.iter().map(|t| (Kind::Title, t)));
    for (kind, text) in named {
        if let Some(vendor) = named_in(text) {
            hits.push(Hit {
                kind,
                vendor: family(vendor),
                certainty: Certainty::Likely,
            });
        }
    }
    if signs.realms.iter().any(|r| is_serial_in_hex(r)) {
        hits.push(Hit {
            kind: Kind::Realm,
            vendor: "HIKVISION",
            certainty: Certainty::Likely,
        });
    }
    for &(kind, pattern, vendor, certainty) in TABLE {
        let starts = |text: &Option<String>| text.as_deref().is_some_and(|t| begins(t, pattern));
        let is_there = match kind {
            Kind::Hardware => starts(&signs.scopes_hardware),
            Kind::Realm => signs.realms.iter().any(|r| begins(r, pattern)),
            Kind::HttpServer => starts(&signs.http_server),
            Kind::RtspServer => starts(&signs.rtsp_server),
            Kind::Title => starts(&signs.http_title),
            Kind::Page => signs.pages.iter().any(|t| holds(t, pattern)),
            Kind::Mac => starts(&signs.mac),
            Kind::Ports => pattern
                .split('+')
                .all(|p| p.parse().is_ok_and(|p| signs.open_ports.contains(&p))),
        };
        if is_there {
            hits.push(Hit {
                kind,
                vendor,
                certainty,
            });
        }
    }
    if let Some(vendor) = signs.mac.as_deref().and_then(oui) {
        hits.push(Hit {
            kind: Kind::Mac,
            vendor,
            certainty: Certainty::Weak,
        });
    }
    hits
}

/// One name for one vendor.
fn family(name: &'static str) -> &'static str {
    match name {
        "HIK" => "HIKVISION",
        "UNV" => "UNIVIEW",
        "XIONGMAI" | "NETSURVEILLANCE" => "XM",
        other => other,
    }
}

/// As old Hikvision firmware makes its realms.
fn is_serial_in_hex(realm: &str) -> bool {
    realm.len() == 24 && realm.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Whose hardware addresses begin like this one, however it is written.
fn oui(mac: &str) -> Option<&'static str> {
    let digits = |text: &str| -> String {
        text.chars()
            .filter(char::is_ascii_hexdigit)
            .map(|c| c.to_ascii_uppercase())
            .collect()
    };
    let mac = digits(mac);
    if mac.len() != 12 {
        return None;
    }
    OUIS.iter()
        .find(|(_, prefixes)| prefixes.iter().any(|p| mac.starts_with(&digits(p))))
        .map(|(vendor, _)| *vendor)
}

fn begins(text: &str, with: &str) -> bool {
    let text = text.trim_start();
    text.get(..with.len())
        .is_some_and(|t| t.eq_ignore_ascii_case(with))
}

fn holds(text: &str, what: &str) -> bool {
    text.to_ascii_lowercase()
        .contains(&what.to_ascii_lowercase())
}

#[cfg(test)]
#[path = "fingerprint_tests.rs"]
mod tests;
