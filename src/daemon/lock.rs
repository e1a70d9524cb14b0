//! One daemon a node.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Held while the daemon lives; the kernel lets go of it however the process ends. An abstract
/// socket name: no file to write, none to be left behind.
#[derive(Debug)]
pub struct NodeLock {
    _socket: UnixDatagram,
}

impl NodeLock {
    /// Whether some process has the lock of `node_id`. Does not take it, not even for a moment.
    pub fn is_held(node_id: &str) -> bool {
        SocketAddr::from_abstract_name(name_of(node_id))
            .and_then(|name| UnixDatagram::unbound()?.connect_addr(&name))
            .is_ok()
    }

    /// Takes the lock of `node_id`; `AddrInUse` if another process has it.
    pub fn take(node_id: &str) -> io::Result<Self> {
        let name = SocketAddr::from_abstract_name(name_of(node_id))?;
        Ok(Self {
            _socket: UnixDatagram::bind_addr(&name)?,
        })
    }
}

/// A socket name has room for 107 bytes, a node id may be longer: then its tail is a hash.
fn name_of(node_id: &str) -> String {
    let name = format!("lss-node/{node_id}");
    if name.len() <= 100 {
        return name;
    }
    // FNV-1a: only has to differ between the few nodes of one machine.
    let hash = node_id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    });
    let head: String = name.chars().take(80).collect();
    format!("{head}~{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_free_again() {
        let id = format!("lss-lock-test-{}", std::process::id());
        assert!(!NodeLock::is_held(&id));
        let held = NodeLock::take(&id).unwrap();
        assert!(NodeLock::is_held(&id));
        assert_eq!(
            NodeLock::take(&id).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        drop(held);
        assert!(!NodeLock::is_held(&id));
        NodeLock::take(&id).unwrap();
    }

    #[test]
    fn long_ids_fit_and_differ() {
        let (one, two) = ("a".repeat(131) + "1", "a".repeat(131) + "2");
        assert!(name_of(&one).len() <= 107);
        assert_ne!(name_of(&one), name_of(&two));
        NodeLock::take(&one).unwrap();
    }
}
