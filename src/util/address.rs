//! Where no peer of ours may be: what cameras, stream sources, sweeps and the names that our own
//! clients look up are all judged by. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where clouds keep their machines' credentials (AWS, Azure, Google and most others; Alibaba).
pub const METADATA_V4: [Ipv4Addr; 2] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(100, 100, 100, 200),
];
/// The same by IPv6 (AWS, Google).
const METADATA_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

/// IPv4 out of the IPv6 forms that lead to it: mapped (`::ffff:a.b.c.d`) and NAT64 with the
/// well-known prefix (`64:ff9b::a.b.c.d`).
pub fn plain(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) if v6.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0] => {
            IpAddr::V4(last_four(v6))
        }
        ip => ip,
    }
}

/// Why no peer can have this address, whoever names it; `None` for one that a host may have.
/// Loopback is for the caller to judge: a stream's source may be a local proxy, a camera not.
pub fn objection(ip: IpAddr) -> Option<&'static str> {
    match plain(ip) {
        IpAddr::V4(v4) => objection_v4(v4),
        IpAddr::V6(v6) => objection_v6(v6),
    }
}

fn objection_v4(ip: Ipv4Addr) -> Option<&'static str> {
    if ip.is_unspecified() {
        Some("it is the unspecified address")
    } else if ip.is_multicast() {
        Some("it is a multicast address")
    } else if METADATA_V4.contains(&ip) {
        Some("it is a cloud's metadata address")
    } else if ip.is_broadcast() {
        Some("it is the broadcast address")
    } else if ip.octets()[0] == 0 || ip.octets()[0] >= 240 {
        Some("it is no host's address")
    } else {
        None
    }
}

fn objection_v6(ip: Ipv6Addr) -> Option<&'static str> {
    if ip.is_unspecified() {
        return Some("it is the unspecified address");
    }
    if ip.is_multicast() {
        return Some("it is a multicast address");
    }
    if METADATA_V6.contains(&ip) {
        return Some("it is a cloud's metadata address");
    }
    if ip.is_loopback() {
        return None;
    }
    match ip.segments() {
        // "IPv4-compatible", long given up; whatever is routed there is none of ours.
        [0, 0, 0, 0, 0, 0, ..] => Some("it is no host's address"),
        // 6to4, and a site's own NAT64 (RFC 8215), carry an IPv4 address: judged as that.
        [0x2002, high, low, ..] => {
            let [a, b] = high.to_be_bytes();
            let [c, d] = low.to_be_bytes();
            objection_v4(Ipv4Addr::new(a, b, c, d))
        }
        [0x64, 0xff9b, 1, ..] => objection_v4(last_four(ip)),
        _ => None,
    }
}

fn last_four(ip: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = ip.octets();
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Where nobody of ours ever is, in the spellings of addresses; for the tests of all who ask.
    pub(crate) const NOWHERE: [&str; 22] = [
        "0.0.0.0",
        "0.1.2.3",
        "100.100.100.200",
        "169.254.169.254",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::169.254.169.254",
        "::ffff:0.0.0.0",
        "::ffff:169.254.169.254",
        "::ffff:224.0.0.1",
        "64:ff9b::169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b::e000:1",
        "64:ff9b:1::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "2002:e000:1::",
        "fd00:ec2::254",
        "fd20:ce::254",
        "ff02::1",
    ];

    #[test]
    fn nobody_is_there_in_whatever_spelling() {
        for bad in NOWHERE {
            assert!(objection(bad.parse().unwrap()).is_some(), "{bad}");
        }
    }

    #[test]
    fn somebody_may_be_there() {
        for good in [
            "127.0.0.1",
            "::1",
            "::ffff:127.0.0.1",
            "10.0.0.1",
            "169.254.10.20",
            "100.64.0.1",
            "8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
            "2001:db8::1",
            "fe80::1",
            "fd00:ec2::253",
            "fd12::6",
        ] {
            assert_eq!(objection(good.parse().unwrap()), None, "{good}");
        }
    }

    #[test]
    fn ipv4_in_ipv6_is_ipv4() {
        for text in ["::ffff:10.0.0.1", "64:ff9b::10.0.0.1", "10.0.0.1"] {
            assert_eq!(
                plain(text.parse().unwrap()),
                IpAddr::from([10, 0, 0, 1]),
                "{text}"
            );
        }
    }
}
