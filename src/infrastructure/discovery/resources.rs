//! How much of the machine a sweep may take.

use nix::sys::resource::{Resource, getrlimit};

use super::neighbours;
use super::schedule::{Limits, Neighbour};

/// Sockets at once where there is no lack.
const SOCKETS: usize = 512;
/// Neighbours being resolved at once where the table is as large as usual.
const UNRESOLVED: usize = 600;
/// The usual size of the kernel's neighbour table.
const TABLE: usize = 1024;

/// For a sweep that begins now.
pub(super) fn limits() -> Limits {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let open = std::fs::read_dir("/proc/self/fd").map_or(256, Iterator::count);
    // In a network namespace of its own the size can't be read; it is the machine's.
    let table = std::fs::read_to_string("/proc/sys/net/ipv4/neigh/default/gc_thresh3")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(TABLE);
    // The others failed: the kernel drops them when it needs their place. The last sweep leaves
    // hundreds of them.
    let known = neighbours::table()
        .values()
        .filter(|n| **n == Neighbour::Known)
        .count();
    bounded(limit, open, table, known)
}

/// Half of what is free of descriptors, three quarters of what is free of the neighbour table.
fn bounded(limit: usize, open: usize, table: usize, known: usize) -> Limits {
    Limits {
        sockets: (limit.saturating_sub(open) / 2).clamp(8, SOCKETS),
        unresolved: (table.saturating_sub(known) / 4 * 3).clamp(32, UNRESOLVED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_than_is_there() {
        let of = |limit, open, table, known| {
            let limits = bounded(limit, open, table, known);
            (limits.sockets, limits.unresolved)
        };
        assert_eq!(of(65_536, 40, 1024, 10), (512, 600));
        assert_eq!(of(1024, 100, 1024, 600), (462, 318));
        assert_eq!(of(64, 60, 128, 128), (8, 32));
        assert_eq!(of(usize::MAX, 10, usize::MAX, 0), (512, 600));
        let here = limits();
        assert!((8..=SOCKETS).contains(&here.sockets) && here.unresolved >= 32);
    }
}
