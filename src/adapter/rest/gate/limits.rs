//! The gate's bounds, and what the process can afford.

use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};

use super::exchange::Pace;

/// The gate's bounds.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Most connections at a time. Lowered where the process may open few descriptors.
    pub connections: usize,
    /// From the connection to the last byte of the request.
    pub request: Duration,
    /// For which a client may take no byte of its answer.
    pub stall: Duration,
    /// From the last byte of the request to the answer; raised to what late answers may take.
    pub answer: Duration,
    /// For which a client that got its answer may keep the connection.
    pub linger: Duration,
    /// Bytes of requests and answers held for all connections.
    pub buffered: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            request: Duration::from_secs(10),
            stall: Duration::from_secs(10),
            answer: Duration::from_secs(30),
            linger: Duration::from_secs(2),
            buffered: 16 * 1024 * 1024,
        }
    }
}

impl Limits {
    /// The times, for one exchange.
    pub(super) fn pace(&self) -> Pace {
        Pace {
            request: self.request,
            answer: self.answer,
            stall: self.stall,
            linger: self.linger,
        }
    }
}

/// How many connections the process can afford: a request takes four descriptors, and half of
/// what the process may open belongs to streams and cameras.
pub fn affordable(connections: usize) -> usize {
    let soft = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    let budget = usize::try_from(soft / 2 / 4).unwrap_or(usize::MAX);
    connections.min(budget).max(2)
}
