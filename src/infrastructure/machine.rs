//! A look at the machine for `lss doctor`: what it has, and whether a time service holds its
//! clock. Changes nothing.

use std::net::IpAddr;
use std::time::Instant;

use nix::ifaddrs::getifaddrs;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::socket::SockaddrStorage;
use nix::sys::statvfs::statvfs;

use crate::domain::checkup::{ClockDiscipline, MachineLook};
use crate::domain::gateway::SystemProbe as _;
use crate::infrastructure::system::LinuxSystem;

/// What the machine has.
pub fn look() -> MachineLook {
    let sample = LinuxSystem::new(None).sample(Instant::now());
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let disk = statvfs("/").ok();
    MachineLook {
        os: sample.os,
        cores: sample.cpu_cores,
        load: load.split_whitespace().next().and_then(|l| l.parse().ok()),
        memory: sample.total_memory,
        memory_free: sample.available_memory,
        #[allow(clippy::useless_conversion, reason = "narrower on 32-bit targets")]
        disk_free: disk
            .map(|d| u64::from(d.blocks_available()).saturating_mul(u64::from(d.fragment_size()))),
        open_files: getrlimit(Resource::RLIMIT_NOFILE)
            .ok()
            .map(|(_, hard)| hard),
        addresses: addresses(),
    }
}

/// Interface, address, prefix length.
fn addresses() -> Vec<(String, IpAddr, u8)> {
    let Ok(interfaces) = getifaddrs() else {
        return Vec::new();
    };
    let ip = |address: &SockaddrStorage| {
        address
            .as_sockaddr_in()
            .map(|v4| IpAddr::V4(v4.ip()))
            .or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    };
    let bits = |mask: IpAddr| match mask {
        IpAddr::V4(v4) => v4.to_bits().leading_ones(),
        IpAddr::V6(v6) => v6.to_bits().leading_ones(),
    };
    interfaces
        .filter_map(|i| {
            let prefix = i.netmask.as_ref().and_then(ip).map_or(0, bits);
            let address = ip(i.address.as_ref()?)?;
            Some((i.interface_name, address, u8::try_from(prefix).unwrap_or(0)))
        })
        .collect()
}

/// Asks the kernel whether a time service holds its clock.
#[allow(unsafe_code)]
pub fn clock_discipline() -> ClockDiscipline {
    // SAFETY: timex is plain integers, for which all zeroes are a value; modes 0 only reads.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a timex of ours that lives through the call.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    if state < 0 {
        return ClockDiscipline::Unknown(std::io::Error::last_os_error().to_string());
    }
    if state == libc::TIME_ERROR || timex.status & libc::STA_UNSYNC != 0 {
        ClockDiscipline::Free
    } else {
        ClockDiscipline::Held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_says_something() {
        let look = look();
        assert!(look.os.starts_with("Linux ") && look.cores >= 1);
        assert!(look.memory > look.memory_free && look.load.is_some());
        assert!(look.disk_free.is_some() && look.open_files.is_some());
        assert!(look.addresses.iter().any(|(_, ip, _)| ip.is_loopback()));
    }

    #[test]
    fn the_kernel_is_asked_and_not_changed() {
        let first = clock_discipline();
        assert_eq!(clock_discipline(), first);
    }
}
