//! What a task has been through, counted for metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Cause;

/// How long the last start took, from the start of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartSplit {
    /// Until the WHIP session was up.
    pub session: Duration,
    /// Until output first advanced.
    pub media: Duration,
    /// Until the task counted as STREAMING.
    pub streaming: Duration,
}

/// Counters of a task's whole life.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// Processes started.
    pub runs: u64,
    /// Runs that ended unasked, by why.
    pub failures: BTreeMap<Cause, u64>,
    /// Runs that were ended because output stood still.
    pub stalls: u64,
    /// `None` until it first streamed.
    pub start: Option<StartSplit>,
}
