//! Where a camera may be: no address that belongs to nobody, to everybody or to this machine
//! (contract 7), and names resolved within bounds.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use crate::domain::camera::{AddressRules, CameraError};
use crate::domain::error::{ErrorCode, Fault};
use crate::infrastructure::http::names::Names;
use crate::infrastructure::system;

/// See [`AddressRules`].
pub struct CameraRules {
    allow_loopback: bool,
    names: Names,
}

impl CameraRules {
    /// `allow_loopback`: `camera.allow_loopback`.
    pub fn new(allow_loopback: bool) -> Self {
        Self {
            allow_loopback,
            names: Names::default(),
        }
    }
}

impl AddressRules for CameraRules {
    fn check(&self, ip: IpAddr) -> Result<(), Fault> {
        let own = !ip.is_loopback() && system::own_addresses().contains(&ip.to_canonical());
        match verdict(ip, own, self.allow_loopback) {
            None => Ok(()),
            Some(why) => Err(Fault::new(
                ErrorCode::ValidationFailed,
                format!("the camera's address is {why}"),
            )),
        }
    }

    fn lookup(&self, host: &str, deadline: Instant) -> Result<Vec<IpAddr>, CameraError> {
        let timeout = deadline.saturating_duration_since(Instant::now());
        // The port is of no interest here.
        self.names
            .lookup(host, 80, timeout)
            .map(|found| found.iter().map(SocketAddr::ip).collect())
            .map_err(|why| CameraError::Unreachable(format!("the host name: {why}")))
    }
}

/// What is wrong with an address.
fn verdict(ip: IpAddr, own: bool, allow_loopback: bool) -> Option<&'static str> {
    let ip = ip.to_canonical();
    if ip.is_loopback() {
        return (!allow_loopback)
            .then_some("this machine itself (camera.allow_loopback would allow it)");
    }
    if own {
        return Some("one of this machine's own");
    }
    if ip.is_unspecified() {
        return Some("unspecified");
    }
    if ip.is_multicast() {
        return Some("a multicast address");
    }
    match ip {
        IpAddr::V4(v4) => match v4.octets() {
            _ if v4.is_broadcast() => Some("the broadcast address"),
            [169, 254, 169, 254] => Some("that of a cloud's metadata service"),
            [0 | 240.., ..] => Some("reserved"),
            _ => None,
        },
        IpAddr::V6(v6) => (v6.segments() == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254])
            .then_some("that of a cloud's metadata service"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_no_cameras() {
        for bad in [
            "224.0.0.1",
            "239.255.255.250",
            "255.255.255.255",
            "0.0.0.0",
            "0.1.2.3",
            "240.0.0.1",
            "169.254.169.254",
            "127.0.0.1",
            "127.9.9.9",
            "::",
            "::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "fd00:ec2::254",
        ] {
            assert!(
                verdict(bad.parse().unwrap(), false, false).is_some(),
                "{bad}"
            );
        }
        for good in [
            "192.168.0.64",
            "10.0.0.1",
            "169.254.1.2",
            "fe80::1",
            "8.8.8.8",
        ] {
            assert_eq!(verdict(good.parse().unwrap(), false, false), None, "{good}");
            assert!(
                verdict(good.parse().unwrap(), true, true).is_some(),
                "{good}"
            );
        }
        assert_eq!(verdict("127.0.0.2".parse().unwrap(), false, true), None);
        assert_eq!(verdict("::1".parse().unwrap(), false, true), None);
    }
}
