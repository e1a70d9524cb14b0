//! The kernel's neighbour table as `/proc/net/arp` shows it. The parser is pure.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::Ipv4Addr;

use super::schedule::Neighbour;

/// Of this thread: the file of `/proc/net` is that of the process's first thread.
const TABLE: &str = "/proc/thread-self/net/arp";
/// More than that is not read; an entry is 78 bytes.
const MAX_TABLE: u64 = 4 * 1024 * 1024;
/// `ATF_COM`: the hardware address is known.
const COMPLETE: u32 = 0x2;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Whose.
    pub ip: Ipv4Addr,
    /// `aa:bb:cc:dd:ee:ff`; `None` while it is asked for, or for a line without addresses.
    pub mac: Option<String>,
    /// Whether the kernel knows where to send to.
    pub known: bool,
}

/// One line; `None` for the heading, and for what can't be read.
pub fn parse_line(line: &str) -> Option<Entry> {
    // IP address, HW type, flags, HW address, mask, device
    let mut fields = line.split_whitespace();
    let ip = fields.next()?.parse().ok()?;
    let _kind = fields.next()?;
    let flags = fields.next()?.strip_prefix("0x")?;
    let flags = u32::from_str_radix(flags, 16).ok()?;
    let known = flags & COMPLETE != 0;
    let mac = fields.next()?.to_ascii_lowercase();
    let is_mac = mac.len() == 17
        && mac != "00:00:00:00:00:00"
        && mac
            .split(':')
            .all(|pair| pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit()));
    Some(Entry {
        ip,
        mac: (known && is_mac).then_some(mac),
        known,
    })
}

/// Every entry, one after the other; none where the kernel has no such table.
fn entries(mut each: impl FnMut(Entry)) {
    let Ok(file) = File::open(TABLE) else {
        return;
    };
    let mut reader = BufReader::new(file.take(MAX_TABLE));
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|n| n > 0) {
        if let Some(entry) = parse_line(&line) {
            each(entry);
        }
        line.clear();
    }
}

/// Who is known and who is asked for. An address that is in the table twice, for two interfaces,
/// is known if it is known on one.
pub fn table() -> HashMap<Ipv4Addr, Neighbour> {
    let mut table = HashMap::new();
    entries(|entry| {
        let state = if entry.known {
            Neighbour::Known
        } else {
            Neighbour::Unresolved
        };
        let here = table.entry(entry.ip).or_insert(state);
        if entry.known {
            *here = state;
        }
    });
    table
}

/// The hardware addresses of those that `wanted` picks.
pub fn macs(wanted: impl Fn(Ipv4Addr) -> bool) -> HashMap<Ipv4Addr, String> {
    let mut macs = HashMap::new();
    entries(|entry| {
        if let Some(mac) = entry.mac.filter(|_| wanted(entry.ip)) {
            macs.insert(entry.ip, mac);
        }
    });
    macs
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_of_the_table() {
        let line = |text: &str| parse_line(text);
        assert_eq!(
            line("IP address       HW type     Flags       HW address            Mask     Device"),
            None
        );
        let known =
            line("192.0.2.1        0x1         0x2         BC:AD:28:00:11:22     *        eth0\n")
                .unwrap();
        assert_eq!(known.ip, Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(known.mac.as_deref(), Some("bc:ad:28:00:11:22"));
        assert!(known.known);
        let asked =
            line("192.0.2.9        0x1         0x0         00:00:00:00:00:00     *        eth0\n")
                .unwrap();
        assert!(!asked.known && asked.mac.is_none());
        let fixed = line("192.0.2.9 0x1 0x6 02:00:00:00:00:09 * veth0\n").unwrap();
        assert!(fixed.known);
        let infiniband =
            line("192.0.2.9 0x20 0x2 80:00:02:08:fe:80:00:00:00:00:00:00 * ib0").unwrap();
        assert!(infiniband.known && infiniband.mac.is_none());
        assert_eq!(line("192.0.2.9 0x1 2 x * eth0"), None);
        assert_eq!(line(""), None);
    }

    proptest! {
        #[test]
        fn no_line_makes_a_panic(text in any::<String>()) {
            let _ = parse_line(&text);
            let _ = parse_line(&format!("1.2.3.4 0x1 0x{text}"));
        }
    }
}
