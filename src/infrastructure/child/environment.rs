//! The environment of children, and the mark by which they are known.
//!
//! A child gets what it needs to run and nothing of ours: no key, no token. Two variables mark it:
//! the node it belongs to and the process that started it, so that a later daemon of the same
//! node recognises what a killed one left behind, and never anything else.

use std::ffi::OsString;

/// Names that a child inherits if we have them.
const ALLOWED: [&str; 12] = [
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "XDG_RUNTIME_DIR",
    "LIBVA_DRIVER_NAME",
    "LIBVA_DRIVERS_PATH",
];

/// Variable that names the node.
pub const NODE_VARIABLE: &str = "LSS_CHILD_OF_NODE";
/// Variable that names the daemon: its pid and its start time, which no later process shares.
pub const PARENT_VARIABLE: &str = "LSS_CHILD_OF_PROCESS";

/// The mark of one daemon's children.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// `lss-{machineId}`
    pub node_id: String,
    /// `pid:start time in clock ticks since boot`
    pub parent: String,
}

impl Marker {
    /// This process's mark.
    pub fn of_this_process(node_id: &str) -> Self {
        let pid = std::process::id();
        Self {
            node_id: node_id.to_owned(),
            parent: format!("{pid}:{}", start_time(pid).unwrap_or(0)),
        }
    }

    /// A child's whole environment.
    pub fn environment(&self) -> Vec<(OsString, OsString)> {
        let mut all = allowed();
        all.push((NODE_VARIABLE.into(), self.node_id.clone().into()));
        all.push((PARENT_VARIABLE.into(), self.parent.clone().into()));
        all
    }
}

/// What any child may inherit.
pub fn allowed() -> Vec<(OsString, OsString)> {
    ALLOWED
        .iter()
        .filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)))
        .collect()
}

/// When a process started, in clock ticks since boot (field 22 of `/proc/pid/stat`); `None` when
/// there is no such process.
pub fn start_time(pid: u32) -> Option<u64> {
    start_time_of(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name in field 2 may hold spaces and brackets: what follows the last `)` counts.
fn start_time_of(stat: &str) -> Option<u64> {
    let (_, after) = stat.rsplit_once(')')?;
    after.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_time_behind_a_nasty_name() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765 1 1";
        assert_eq!(start_time_of(stat), Some(98765));
        assert_eq!(start_time_of("garbage"), None);
        assert!(start_time(std::process::id()).is_some());
    }

    #[test]
    fn nothing_of_ours_is_inherited() {
        let marker = Marker::of_this_process("lss-m1");
        for (name, _) in marker.environment() {
            let name = name.to_string_lossy().into_owned();
            assert!(
                ALLOWED.contains(&name.as_str()) || name.starts_with("LSS_CHILD_OF_"),
                "{name}"
            );
        }
    }
}
