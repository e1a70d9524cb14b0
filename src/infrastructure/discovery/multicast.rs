//! WS-Discovery's sockets: one an interface address, so that each is asked and answers come back.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt,
};

use crate::infrastructure::onvif::discovery::{MULTICAST, PORT};

/// Most interface addresses that are asked.
const MAX_LINES: usize = 32;

mod option {
    //! The one socket option that nix does not have.
    use nix::sys::socket::sockopt::SetStruct;

    /// `IP_MULTICAST_IF`, by the interface's address.
    #[derive(Debug, Clone, Copy)]
    pub struct MulticastInterface;

    nix::setsockopt_impl!(
        MulticastInterface,
        libc::IPPROTO_IP,
        libc::IP_MULTICAST_IF,
        libc::in_addr,
        SetStruct<libc::in_addr>
    );
}

/// The socket of one interface address.
#[derive(Debug)]
pub struct Line {
    /// `eth0 (192.168.0.9)`
    pub name: String,
    /// Probes go out and answers come in.
    pub socket: UdpSocket,
}

impl Line {
    /// Sends to the group.
    pub fn send(&self, probe: &[u8]) -> std::io::Result<()> {
        self.socket
            .send_to(probe, SocketAddrV4::new(MULTICAST, PORT))
            .map(drop)
    }
}

/// A socket for each address of the interfaces that are up and can multicast, and what went wrong.
pub fn open() -> (Vec<Line>, Vec<String>) {
    let mut lines = Vec::new();
    let mut warnings = Vec::new();
    for (name, ip) in interfaces() {
        let name = format!("{name} ({ip})");
        if lines.len() >= MAX_LINES {
            warnings.push(format!(
                "more than {MAX_LINES} interface addresses: {name} and others not asked"
            ));
            break;
        }
        match line(ip) {
            Ok(socket) => lines.push(Line { name, socket }),
            Err(why) => warnings.push(format!("{name}: no WS-Discovery: {}", why.desc())),
        }
    }
    (lines, warnings)
}

fn interfaces() -> Vec<(String, Ipv4Addr)> {
    let Ok(all) = getifaddrs() else {
        return Vec::new();
    };
    let wanted = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_MULTICAST;
    let mut found: Vec<(String, Ipv4Addr)> = Vec::new();
    for interface in all {
        let flags = interface.flags;
        if !flags.contains(wanted) || flags.contains(InterfaceFlags::IFF_LOOPBACK) {
            continue;
        }
        let ip = interface
            .address
            .as_ref()
            .and_then(|a| a.as_sockaddr_in())
            .map(nix::sys::socket::SockaddrIn::ip);
        if let Some(ip) = ip
            && !found.iter().any(|(_, other)| *other == ip)
        {
            found.push((interface.interface_name, ip));
        }
    }
    found
}

fn line(ip: Ipv4Addr) -> nix::Result<UdpSocket> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
    bind(
        std::os::fd::AsRawFd::as_raw_fd(&fd),
        &SockaddrIn::from(SocketAddrV4::new(ip, 0)),
    )?;
    let interface = libc::in_addr {
        s_addr: u32::from_ne_bytes(ip.octets()),
    };
    setsockopt(&fd, option::MulticastInterface, &interface)?;
    // Not beyond this network, and not back to us.
    setsockopt(&fd, sockopt::IpMulticastTtl, &1)?;
    setsockopt(&fd, sockopt::IpMulticastLoop, &false)?;
    Ok(UdpSocket::from(fd))
}
