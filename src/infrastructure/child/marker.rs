//! The mark by which children are known.
//!
//! Two variables in a child's environment name the node it belongs to and the process that
//! started it, so that a later daemon of the same node recognises what a killed one left behind,
//! and never anything else.

use std::ffi::OsString;

use super::env::child_env;

/// Variable that names the node.
pub const NODE_VARIABLE: &str = "LSS_CHILD_OF_NODE";
/// Variable that names the daemon: its pid and its start time, which no later process shares.
pub const PARENT_VARIABLE: &str = "LSS_CHILD_OF_PROCESS";

/// Variable that names the child among those of its daemon, for what it starts.
pub const RUN_VARIABLE: &str = "LSS_CHILD_OF_RUN";

/// Variable that names the node of a guard. Another one than a child's, because a guard is meant to
/// outlive its daemon: no later daemon ends it.
pub const GUARD_VARIABLE: &str = "LSS_GUARD_OF_NODE";

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

    /// A guard's whole environment.
    pub fn guard_environment(&self) -> [(&'static str, &str); 1] {
        [(GUARD_VARIABLE, &self.node_id)]
    }

    /// A child's whole environment.
    pub fn environment(&self) -> Vec<(OsString, OsString)> {
        let mut all = child_env();
        all.push((NODE_VARIABLE.into(), self.node_id.clone().into()));
        all.push((PARENT_VARIABLE.into(), self.parent.clone().into()));
        all
    }
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
}
