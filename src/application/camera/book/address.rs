//! Which addresses may be a camera's (contract 7). Names are resolved by the caller, and what they
//! resolve to is checked here each time, right before it is connected to.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use crate::domain::error::{ErrorCode, Fault};
use crate::util::address::{self, plain};
use crate::util::url;

/// Where a camera is, as somebody said it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// An address; IPv4 in IPv6's clothes is IPv4.
    Ip(IpAddr),
    /// A name in lower case, without a dot at its end.
    Name(String),
}

impl Host {
    /// Reads an address (IPv6 with or without brackets) or a name; `field` names it in the fault.
    pub fn parse(field: &str, text: &str) -> Result<Self, Fault> {
        let bare = text
            .strip_prefix('[')
            .and_then(|t| t.strip_suffix(']'))
            .unwrap_or(text);
        // In every spelling that the resolver would take. A zone (`%eth0`) is none of a camera's.
        if let Some(ip) = url::literal_ip(bare).filter(|_| !bare.contains('%')) {
            return Ok(Self::Ip(ip));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        if name.len() <= 253 && name.split('.').all(label) {
            Ok(Self::Name(name.to_ascii_lowercase()))
        } else {
            Err(Fault::new(
                ErrorCode::ParamInvalid,
                format!("{field} is neither an IP address nor a host name"),
            ))
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => write!(f, "{ip}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// One of this machine's addresses with the length of its network's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnAddress {
    /// The address.
    pub ip: IpAddr,
    /// 0 to 32, or 0 to 128.
    pub prefix: u8,
}

/// The rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressRules {
    /// `camera.allow_loopback`
    pub allow_loopback: bool,
    /// This machine's addresses.
    pub own: Vec<OwnAddress>,
}

impl AddressRules {
    /// The address in its plain form, if a camera may have it; else 20005.
    pub fn check(&self, ip: IpAddr) -> Result<IpAddr, Fault> {
        let ip = plain(ip);
        match self.objection(ip) {
            None => Ok(ip),
            Some(why) => Err(Fault::new(
                ErrorCode::ValidationFailed,
                format!("{ip} can't be a camera: {why}"),
            )),
        }
    }

    fn objection(&self, ip: IpAddr) -> Option<&'static str> {
        if ip.is_loopback() {
            return (!self.allow_loopback)
                .then_some("it is a loopback address, and camera.allow_loopback is off");
        }
        if let Some(why) = address::objection(ip) {
            return Some(why);
        }
        for own in &self.own {
            if plain(own.ip) == ip {
                return Some("it is this machine's own address");
            }
            if let (IpAddr::V4(mine), IpAddr::V4(v4)) = (own.ip, ip)
                && is_edge(v4, mine, own.prefix)
            {
                return Some("it is the broadcast address of a network of this machine");
            }
        }
        None
    }
}

/// The first or last address of the network that `mine` is in.
fn is_edge(ip: Ipv4Addr, mine: Ipv4Addr, prefix: u8) -> bool {
    if prefix == 0 || prefix >= 31 {
        return false;
    }
    let hosts = u32::MAX >> prefix;
    let network = mine.to_bits() & !hosts;
    ip.to_bits() == network || ip.to_bits() == network | hosts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::address::tests::NOWHERE;

    fn rules(allow_loopback: bool) -> AddressRules {
        AddressRules {
            allow_loopback,
            own: vec![
                OwnAddress {
                    ip: "127.0.0.1".parse().unwrap(),
                    prefix: 8,
                },
                OwnAddress {
                    ip: "192.168.0.5".parse().unwrap(),
                    prefix: 24,
                },
                OwnAddress {
                    ip: "10.9.8.7".parse().unwrap(),
                    prefix: 31,
                },
                OwnAddress {
                    ip: "fd12::5".parse().unwrap(),
                    prefix: 64,
                },
            ],
        }
    }

    #[test]
    fn no_camera_lives_there() {
        let here = [
            "127.0.0.1",
            "127.8.8.8",
            "192.168.0.5",
            "192.168.0.255",
            "192.168.0.0",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:192.168.0.5",
            "fd12::5",
            "64:ff9b::192.168.0.5",
        ];
        for bad in here.into_iter().chain(NOWHERE) {
            let fault = rules(false).check(bad.parse().unwrap()).unwrap_err();
            assert_eq!(fault.code, ErrorCode::ValidationFailed, "{bad}");
        }
    }

    #[test]
    fn cameras_live_there() {
        for good in [
            "192.168.0.64",
            "192.168.1.255",
            "10.9.8.6",
            "169.254.10.20",
            "8.8.8.8",
            "fe80::1",
            "fd12::6",
            "2001:db8::1",
        ] {
            assert!(rules(false).check(good.parse().unwrap()).is_ok(), "{good}");
        }
        let mapped = rules(false).check("::ffff:192.168.0.64".parse().unwrap());
        assert_eq!(mapped.unwrap(), "192.168.0.64".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn loopback_where_it_is_allowed() {
        for good in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(rules(true).check(good.parse().unwrap()).is_ok(), "{good}");
        }
        assert!(rules(true).check("192.168.0.5".parse().unwrap()).is_err());
    }

    #[test]
    fn hosts() {
        let ip = |text: &str| Host::Ip(text.parse().unwrap());
        let parse = |text: &str| Host::parse("ip", text);
        assert_eq!(parse("192.168.0.64").unwrap(), ip("192.168.0.64"));
        assert_eq!(parse("[fd12::6]").unwrap(), ip("fd12::6"));
        assert_eq!(parse("::ffff:10.0.0.1").unwrap(), ip("10.0.0.1"));
        assert_eq!(
            parse("Cam-1.Local.").unwrap(),
            Host::Name("cam-1.local".to_owned())
        );
        for loopback in ["2130706433", "127.1", "0x7f.0.0.1", "0177.0.0.1"] {
            assert_eq!(parse(loopback).unwrap(), ip("127.0.0.1"), "{loopback}");
        }
        for bad in [
            "",
            ".",
            "a..b",
            "a b",
            "a/b",
            "a@b",
            "host:80",
            "a\n",
            "ä.de",
            "fe80::1%eth0",
        ] {
            assert_eq!(
                parse(bad).unwrap_err().code,
                ErrorCode::ParamInvalid,
                "{bad}"
            );
        }
        assert!(parse(&"a".repeat(64)).is_err());
    }
}
