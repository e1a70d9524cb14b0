//! One address of a sweep: how far it is known, which of its ports are still to be tried, and how
//! many connections it has.

use std::net::Ipv4Addr;

/// Connections that one device has at once.
const PER_DEVICE: usize = 2;
/// Young connects to an address that has not answered yet.
const PER_SILENT: usize = 4;

/// How far an address is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// Not tried.
    New,
    /// One connect was begun; waits for the neighbour table.
    Knocked,
    /// There, or behind a router: nothing heard of it.
    Silent,
    /// It has accepted, refused or sent something.
    Answered,
    /// No neighbour.
    Absent,
}

/// A set of places in the list of ports.
pub(super) type Ports = u64;

/// The set of one place.
pub(super) fn bit(port: usize) -> Ports {
    1 << port
}

/// The first place of a set.
pub(super) fn first(ports: Ports) -> Option<usize> {
    (ports != 0).then(|| ports.trailing_zeros() as usize)
}

#[derive(Debug)]
pub(super) struct Host {
    pub ip: Ipv4Addr,
    pub life: Life,
    /// Not tried yet.
    pub todo: Ports,
    /// Open; waits for its turn to talk.
    pub open: Ports,
    /// Was silent when its socket was needed.
    pub second: Ports,
    /// Ports that were ever in `todo`.
    pub given: Ports,
    /// Connects younger than [`MIN_HOLD`](super::MIN_HOLD).
    pub young: usize,
    pub talking: usize,
    pub queued: bool,
}

impl Host {
    pub fn new(ip: Ipv4Addr, life: Life, ports: Ports) -> Self {
        Self {
            ip,
            life,
            todo: ports,
            open: 0,
            second: 0,
            given: ports,
            young: 0,
            talking: 0,
            queued: false,
        }
    }

    /// Whether another connect may be begun to it.
    pub fn has_room(&self) -> bool {
        let limit = match self.life {
            Life::Answered => PER_DEVICE,
            _ => PER_SILENT,
        };
        self.young + self.talking < limit
    }

    /// Whether another conversation may be had with it.
    pub fn may_talk(&self) -> bool {
        self.talking < PER_DEVICE
    }
}
