//! IPv4 networks as people write them.

use std::fmt;
use std::net::Ipv4Addr;

use super::address;

/// Largest network that is taken at all: a /16.
pub const WIDEST: u8 = 16;

/// A network: its first address, and how many bits of it are fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cidr {
    network: Ipv4Addr,
    prefix: u8,
}

/// Why a text is no network to work with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// No IPv4 network at all.
    #[error("must be an IPv4 network like 192.168.0.0/24")]
    Malformed,
    /// Larger than a /16.
    #[error("must be a /16 or smaller: a larger network can't be swept")]
    TooLarge,
    /// Multicast, broadcast, reserved or unspecified.
    #[error("must be a network of hosts")]
    NoHosts,
}

impl Cidr {
    /// The network of `ip` with this prefix; 32 for anything beyond.
    pub fn around(ip: Ipv4Addr, prefix: u8) -> Self {
        let prefix = prefix.min(32);
        Self {
            network: Ipv4Addr::from_bits(ip.to_bits() & !hosts(prefix)),
            prefix,
        }
    }

    /// `192.168.0.0/24`; bits behind the prefix are cleared, an address alone is a /32.
    pub fn parse(text: &str) -> Result<Self, CidrError> {
        let (address, prefix) = text.split_once('/').unwrap_or((text, "32"));
        let ip: Ipv4Addr = address.trim().parse().map_err(|_| CidrError::Malformed)?;
        let digits = prefix.trim();
        let prefix = digits
            .parse::<u8>()
            .ok()
            .filter(|p| *p <= 32 && digits.bytes().all(|b| b.is_ascii_digit()))
            .ok_or(CidrError::Malformed)?;
        if prefix < WIDEST {
            return Err(CidrError::TooLarge);
        }
        let network = Self::around(ip, prefix);
        let first = network.first();
        if first.is_unspecified() || first.is_multicast() || first.octets()[0] >= 240 {
            return Err(CidrError::NoHosts);
        }
        Ok(network)
    }

    /// The lowest address.
    pub fn first(self) -> Ipv4Addr {
        self.network
    }

    /// The highest address.
    pub fn last(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits() | hosts(self.prefix))
    }

    /// Bits that are fixed.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// How many addresses it has.
    pub fn size(self) -> u64 {
        u64::from(hosts(self.prefix)) + 1
    }

    /// Whether an address lies in it.
    pub fn contains(self, ip: Ipv4Addr) -> bool {
        self.first() <= ip && ip <= self.last()
    }

    /// Whether an address is the network's own or its broadcast address. A /31 and a /32 have
    /// neither (RFC 3021).
    pub fn is_edge(self, ip: Ipv4Addr) -> bool {
        self.prefix <= 30 && (ip == self.first() || ip == self.last())
    }

    /// Whether it is one address alone, at which nobody may be.
    pub fn is_nobody(self) -> bool {
        self.size() == 1 && address::objection(self.first().into()).is_some()
    }

    /// Whether it lies in a range that never is a stranger's (RFC 1918, 3927, 6598, loopback).
    /// Every such range is a /16 or larger, so the first address of what [`parse`](Self::parse)
    /// takes stands for all.
    pub fn is_private(self) -> bool {
        let ip = self.network;
        ip.is_private()
            || ip.is_link_local()
            || ip.is_loopback()
            || (ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64)
    }
}

fn hosts(prefix: u8) -> u32 {
    u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0)
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cidr(text: &str) -> Cidr {
        Cidr::parse(text).unwrap()
    }

    #[test]
    fn networks_and_what_is_none() {
        assert_eq!(cidr("10.0.0.7/24").to_string(), "10.0.0.0/24");
        assert_eq!(cidr("10.0.0.7").to_string(), "10.0.0.7/32");
        assert_eq!(cidr("10.0.0.0/16").size(), 65_536);
        for bad in [
            "fe80::/64",
            "10.0.0/24",
            "10.0.0.0/33",
            "10.0.0.0/+24",
            "eth0",
            "",
        ] {
            assert_eq!(Cidr::parse(bad), Err(CidrError::Malformed), "{bad}");
        }
        assert_eq!(Cidr::parse("10.0.0.0/8"), Err(CidrError::TooLarge));
        for bad in ["0.0.0.0/16", "224.0.0.0/24", "255.255.255.255"] {
            assert_eq!(Cidr::parse(bad), Err(CidrError::NoHosts), "{bad}");
        }
    }

    #[test]
    fn edges_are_no_hosts() {
        let net = cidr("192.168.4.0/22");
        for (ip, edge) in [
            ("192.168.4.0", true),
            ("192.168.7.255", true),
            ("192.168.4.255", false),
            ("192.168.5.0", false),
        ] {
            assert_eq!(net.is_edge(ip.parse().unwrap()), edge, "{ip}");
        }
        assert!(!cidr("10.0.0.0/31").is_edge(Ipv4Addr::new(10, 0, 0, 1)));
        assert!(!cidr("10.0.0.9").is_edge(Ipv4Addr::new(10, 0, 0, 9)));
    }

    #[test]
    fn whose_addresses_these_are() {
        for (text, private) in [
            ("172.31.9.0/24", true),
            ("172.32.9.0/24", false),
            ("100.64.0.0/16", true),
            ("100.128.0.0/16", false),
            ("169.254.0.0/16", true),
            ("127.77.3.0/28", true),
            ("8.8.8.0/24", false),
        ] {
            assert_eq!(cidr(text).is_private(), private, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_network_has_its_addresses_and_no_other(bits in any::<u32>(), prefix in 0u8..=32) {
            let ip = Ipv4Addr::from_bits(bits);
            let net = Cidr::around(ip, prefix);
            prop_assert!(net.contains(ip) && net.contains(net.first()) && net.contains(net.last()));
            let span = u64::from(net.last().to_bits()) - u64::from(net.first().to_bits()) + 1;
            prop_assert_eq!(span, net.size());
            if let Some(before) = net.first().to_bits().checked_sub(1) {
                prop_assert!(!net.contains(Ipv4Addr::from_bits(before)));
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = Cidr::parse(&text);
        }
    }
}
