//! The socket that the API listens on.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6, TcpListener};
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn6, bind, listen, setsockopt, socket,
    sockopt,
};

/// Connections that wait to be taken; the gate takes them at once.
const BACKLOG: i32 = 128;

/// Listens on `address`. `[::]` is every address of both families, whatever the system's default
/// for such sockets is; where IPv6 is switched off, every address of IPv4.
pub fn on(address: SocketAddr) -> io::Result<TcpListener> {
    match address {
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => match both_families(v6) {
            Err(why) if is_no_ipv6(&why) => {
                log::info!("this machine has no IPv6: the REST API listens on IPv4 alone");
                TcpListener::bind((IpAddr::V4(Ipv4Addr::UNSPECIFIED), v6.port()))
            }
            other => other,
        },
        other => TcpListener::bind(other),
    }
}

/// What the kernel says where IPv6 is not built in, or switched off at boot or by sysctl.
fn is_no_ipv6(why: &io::Error) -> bool {
    matches!(
        why.raw_os_error(),
        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL | libc::EPROTONOSUPPORT)
    )
}

fn both_families(address: SocketAddrV6) -> io::Result<TcpListener> {
    let made = socket(
        AddressFamily::Inet6,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    setsockopt(&made, sockopt::ReuseAddr, &true)?;
    setsockopt(&made, sockopt::Ipv6V6Only, &false)?;
    bind(made.as_raw_fd(), &SockaddrIn6::from(address))?;
    listen(&made, Backlog::new(BACKLOG)?)?;
    Ok(TcpListener::from(made))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv6Addr, TcpStream};

    #[test]
    fn both_families_where_there_are_two() {
        let listener = on((Ipv6Addr::UNSPECIFIED, 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, address.port())).is_ok());
        if address.is_ipv6() && TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            assert!(TcpStream::connect((Ipv6Addr::LOCALHOST, address.port())).is_ok());
        }
        // The port is taken for both.
        assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, address.port())).is_err());
    }

    #[test]
    fn without_ipv6_it_is_ipv4() {
        for code in [libc::EAFNOSUPPORT, libc::EADDRNOTAVAIL] {
            assert!(is_no_ipv6(&io::Error::from_raw_os_error(code)));
        }
        for code in [libc::EADDRINUSE, libc::EACCES] {
            assert!(!is_no_ipv6(&io::Error::from_raw_os_error(code)));
        }
    }
}
