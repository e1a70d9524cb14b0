//! Which addresses a sweep looks at: what was asked for, judged, narrowed and bounded (contract
//! 7, 9). Pure: this machine's addresses come in with the rules.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::application::camera::AddressRules;
use crate::domain::discovery::{AddressRange, SweepOrder};
use crate::domain::error::{ErrorCode, Fault};
use crate::util::address;
use crate::util::cidr::{Cidr, CidrError, WIDEST};
use crate::util::foreign;

/// Of `auto`, at most this much of each network: a /22 (contract 9).
const AUTO_PREFIX: u8 = 22;
/// Addresses that one sweep takes at most: a /16.
const MAX_ADDRESSES: u64 = 65_536;
/// The word for this machine's own networks.
const AUTO: &str = "auto";

/// What is to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Networks {
    /// The networks of this machine, as they are when the sweep starts.
    Auto,
    /// These.
    Listed(Vec<Cidr>),
}

impl Networks {
    /// Reads and judges what somebody asks for; `field` names it in the fault. 20003 for what is
    /// no network, 20005 for one that is refused. An empty list is no fault here.
    pub fn parse(field: &str, texts: &[String], allow_loopback: bool) -> Result<Self, Fault> {
        if let [only] = texts
            && only.trim().eq_ignore_ascii_case(AUTO)
        {
            return Ok(Self::Auto);
        }
        let mut listed = Vec::with_capacity(texts.len());
        for text in texts {
            let cidr = parse_one(field, text.trim(), allow_loopback)?;
            if !listed.contains(&cidr) {
                listed.push(cidr);
            }
        }
        if listed.iter().map(|c| c.size()).sum::<u64>() > MAX_ADDRESSES {
            return Err(refused(
                field,
                format!("makes more than {MAX_ADDRESSES} addresses in all (a /{WIDEST})"),
            ));
        }
        Ok(Self::Listed(listed))
    }

    /// Whether it names nothing.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Listed(list) if list.is_empty())
    }

    /// For people.
    pub fn describe(&self) -> String {
        match self {
            Self::Auto => "the networks of this machine".to_owned(),
            Self::Listed(list) => {
                let names: Vec<String> = list.iter().map(Cidr::to_string).collect();
                names.join(", ")
            }
        }
    }
}

fn parse_one(field: &str, text: &str, allow_loopback: bool) -> Result<Cidr, Fault> {
    let shown = foreign::shown(text, 64);
    let cidr = Cidr::parse(text).map_err(|why| match why {
        CidrError::Malformed => Fault::new(
            ErrorCode::ParamInvalid,
            format!("{field} {why}, or auto; it is `{shown}`"),
        ),
        CidrError::TooLarge | CidrError::NoHosts => refused(field, format!("{why}; it is {shown}")),
    })?;
    if cidr.first().is_loopback() {
        if !allow_loopback {
            return Err(refused(
                field,
                format!("{cidr} is this machine itself, and camera.allow_loopback is off"),
            ));
        }
    } else if !cidr.is_private() {
        return Err(refused(
            field,
            format!("{cidr} is not a private network: only private networks are scanned"),
        ));
    } else if cidr.is_nobody() {
        return Err(refused(
            field,
            format!("{cidr} is where clouds keep their machines' credentials"),
        ));
    }
    Ok(cidr)
}

fn refused(field: &str, why: impl std::fmt::Display) -> Fault {
    Fault::new(ErrorCode::ValidationFailed, format!("{field} {why}"))
}

/// A sweep, and what an operator should know of how it came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// For the scanner.
    pub order: SweepOrder,
    /// What is really looked at.
    pub networks: Vec<Cidr>,
    /// Networks that were narrowed or left out, and why.
    pub notes: Vec<String>,
}

/// Makes the order of a sweep. `also` = cameras that are known beyond the networks, to be looked
/// at again. Our own addresses, the ends of networks and what no camera can have are left out.
pub fn plan(
    networks: &Networks,
    rules: &AddressRules,
    also: impl IntoIterator<Item = IpAddr>,
    timeout: Duration,
) -> Plan {
    let mut notes = Vec::new();
    let networks = match networks {
        Networks::Listed(list) => list.clone(),
        Networks::Auto => own_networks(rules, &mut notes),
    };
    // Where only this machine is asked for, nobody on the network is to be bothered.
    let multicast = networks.is_empty() || !networks.iter().all(|c| c.first().is_loopback());
    let mut ranges: Vec<AddressRange> = networks
        .iter()
        .map(|cidr| AddressRange {
            first: cidr.first(),
            last: cidr.last(),
        })
        .collect();
    for ip in also {
        if let IpAddr::V4(ip) = ip
            && rules.check(IpAddr::V4(ip)).is_ok()
        {
            ranges.push(AddressRange {
                first: ip,
                last: ip,
            });
        }
    }
    let ranges = merged(ranges);
    let except = left_out(&networks, rules, &ranges);
    Plan {
        order: SweepOrder {
            ranges,
            except,
            multicast,
            loopback: rules.allow_loopback,
            timeout,
        },
        networks,
        notes,
    }
}

/// What `auto` means at this moment.
fn own_networks(rules: &AddressRules, notes: &mut Vec<String>) -> Vec<Cidr> {
    let mut found = Vec::new();
    for own in &rules.own {
        let IpAddr::V4(ip) = own.ip else { continue };
        // A /32 is the end of a tunnel: nobody else is in it.
        if own.prefix == 0 || own.prefix >= 32 || ip.is_loopback() && !rules.allow_loopback {
            continue;
        }
        let whole = Cidr::around(ip, own.prefix);
        let cidr = Cidr::around(ip, own.prefix.max(AUTO_PREFIX));
        if !cidr.is_private() {
            notes.push(format!(
                "{whole} is not a private network and is left out: only private networks are scanned"
            ));
            continue;
        }
        if found.contains(&cidr) {
            continue;
        }
        if cidr != whole {
            notes.push(format!(
                "{whole} is narrowed to {cidr} around our own address {ip}; name what is to be \
                 swept in camera.scan_subnet"
            ));
        }
        found.push(cidr);
    }
    if found.is_empty() {
        notes.push("this machine has no network of its own to sweep".to_owned());
    }
    found
}

/// Rising, without overlaps and gaps of nothing.
fn merged(mut ranges: Vec<AddressRange>) -> Vec<AddressRange> {
    ranges.sort_by_key(|r| (r.first, r.last));
    let mut out: Vec<AddressRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match out.last_mut() {
            Some(last) if range.first.to_bits() <= last.last.to_bits().saturating_add(1) => {
                last.last = last.last.max(range.last);
            }
            _ => out.push(range),
        }
    }
    out
}

fn left_out(networks: &[Cidr], rules: &AddressRules, ranges: &[AddressRange]) -> Vec<Ipv4Addr> {
    let own: Vec<(Ipv4Addr, Cidr)> = rules
        .own
        .iter()
        .filter_map(|own| match own.ip {
            IpAddr::V4(ip) => Some((ip, Cidr::around(ip, own.prefix))),
            IpAddr::V6(_) => None,
        })
        .collect();
    // The end of a part of our network may be anybody's address.
    let is_host = |ip: Ipv4Addr| own.iter().any(|(_, c)| c.contains(ip) && !c.is_edge(ip));
    let ends = networks
        .iter()
        .flat_map(|c| [c.first(), c.last()].map(|ip| (c, ip)))
        .filter(|(c, ip)| c.is_edge(*ip) && !is_host(*ip))
        .map(|(_, ip)| ip);
    let no_camera = own
        .iter()
        .flat_map(|(ip, c)| [*ip, c.first(), c.last()])
        .chain(address::METADATA_V4)
        .filter(|ip| rules.check(IpAddr::V4(*ip)).is_err());
    let mut out: Vec<Ipv4Addr> = ends
        .chain(no_camera)
        .filter(|ip| covers(ranges, *ip))
        .collect();
    out.sort_unstable();
    out.dedup();
    out
}

/// Whether an address lies in one of the ranges.
pub fn covers(ranges: &[AddressRange], ip: Ipv4Addr) -> bool {
    ranges.iter().any(|r| r.first <= ip && ip <= r.last)
}

/// Whether a network lies in one of the ranges, which are [`plan`]'s and so have no seams.
pub fn covers_all(ranges: &[AddressRange], cidr: Cidr) -> bool {
    ranges
        .iter()
        .any(|r| r.first <= cidr.first() && cidr.last() <= r.last)
}

#[cfg(test)]
#[path = "networks_tests.rs"]
mod tests;
