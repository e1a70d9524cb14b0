//! The sockets that WebRTC is sent from: one for each of the machine's addresses, because a peer may
//! reach any of them only.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

/// Addresses that are offered; a machine with more has them for others.
const MAX_ADDRESSES: usize = 8;

/// See the module.
#[derive(Debug, Default)]
pub struct Sockets(Vec<(SocketAddr, UdpSocket)>);

impl Sockets {
    /// Binds afresh. `loopback`: the endpoint is on this machine, so its own addresses serve, too;
    /// they do also where there are no others.
    pub fn bind(loopback: bool) -> Self {
        let mut addresses = own_addresses();
        let outward = addresses.iter().any(|ip| !ip.is_loopback());
        if outward && !loopback {
            addresses.retain(|ip| !ip.is_loopback());
        }
        // The nearest first, where only so many are offered.
        addresses.sort_by_key(|ip| ip.is_loopback() != loopback);
        addresses.truncate(MAX_ADDRESSES);
        let bound = addresses.into_iter().filter_map(|ip| {
            let socket = UdpSocket::bind((ip, 0)).ok()?;
            socket.set_nonblocking(true).ok()?;
            Some((socket.local_addr().ok()?, socket))
        });
        Self(bound.collect())
    }

    /// What they are bound to.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|(at, _)| *at).collect()
    }

    /// Each, to wait on.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(|(_, socket)| socket.as_fd())
    }

    /// Sends a datagram. What a full socket does not take is lost, as on any network.
    pub fn send(&self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        if let Some((_, socket)) = self.0.iter().find(|(at, _)| *at == from) {
            // ICE tries ways that do not exist, and asks again where one is gone.
            let _ = socket.send_to(bytes, to);
        }
    }

    /// The next datagram, of any of them: its length, from, to. `None` where none waits.
    pub fn receive(&self, buffer: &mut [u8]) -> Option<(usize, SocketAddr, SocketAddr)> {
        self.0.iter().find_map(|(at, socket)| {
            loop {
                match socket.recv_from(buffer) {
                    Ok((length, from)) => return Some((length, from, *at)),
                    Err(why) if why.kind() == io::ErrorKind::WouldBlock => return None,
                    // An earlier datagram was refused by its host; there may be more behind.
                    Err(why)
                        if matches!(
                            why.kind(),
                            io::ErrorKind::ConnectionRefused | io::ErrorKind::Interrupted
                        ) => {}
                    Err(_) => return None,
                }
            }
        })
    }
}

/// Of interfaces that are up. Link-local ones lead nowhere that an endpoint is.
fn own_addresses() -> Vec<IpAddr> {
    let Ok(all) = getifaddrs() else {
        return Vec::new();
    };
    let mut found: Vec<IpAddr> = Vec::new();
    for interface in all.filter(|i| i.flags.contains(InterfaceFlags::IFF_UP)) {
        let Some(address) = interface.address else {
            continue;
        };
        let ip = if let Some(v4) = address.as_sockaddr_in() {
            IpAddr::V4(v4.ip())
        } else if let Some(v6) = address.as_sockaddr_in6() {
            IpAddr::V6(v6.ip())
        } else {
            continue;
        };
        let local = match ip {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        if !local && !ip.is_unspecified() && !found.contains(&ip) {
            found.push(ip);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_goes_from_the_address_that_is_named() {
        let sockets = Sockets::bind(true);
        let here = sockets
            .addresses()
            .into_iter()
            .find(|at| at.is_ipv4() && at.ip().is_loopback())
            .unwrap();
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let there = peer.local_addr().unwrap();
        sockets.send(here, there, b"hello");
        let mut buffer = [0; 16];
        assert_eq!(peer.recv_from(&mut buffer).unwrap(), (5, here));
        assert_eq!(sockets.receive(&mut buffer), None);
        peer.send_to(b"back", here).unwrap();
        assert_eq!(sockets.receive(&mut buffer), Some((4, there, here)));
        // From where nothing is bound, nothing goes.
        sockets.send(there, here, b"x");
        assert_eq!(sockets.receive(&mut buffer), None);
    }

    #[test]
    fn loopback_is_offered_only_to_this_machine_or_for_want_of_others() {
        let outward = own_addresses().iter().any(|ip| !ip.is_loopback());
        let offered = Sockets::bind(false).addresses();
        assert_eq!(offered.iter().all(|at| !at.ip().is_loopback()), outward);
    }
}
