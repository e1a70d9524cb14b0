//! What a task has been through, counted for metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Cause;

/// How long the last start took, from the start of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartSplit {
    /// Until the source was open and the WHIP handshake began; `None` where the engine does not
    /// tell.
    pub source: Option<Duration>,
    /// Until the WHIP session was up.
    pub session: Duration,
    /// Until output first advanced.
    pub media: Duration,
    /// Until the task counted as STREAMING.
    pub streaming: Duration,
}

/// Counters of a task's whole life. A task that is started anew under the same id counts on as long
/// as the one before is listed, so that no counter of a listed task goes back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// Processes started.
    pub runs: u64,
    /// Runs that ended unasked, by why.
    pub failures: BTreeMap<Cause, u64>,
    /// Runs that were started again, by why the one before had ended.
    pub restarts: BTreeMap<Cause, u64>,
    /// Runs that were ended because output stood still.
    pub stalls: u64,
    /// Processor time of the runs that have ended.
    pub cpu: Duration,
    /// `None` until it first streamed.
    pub start: Option<StartSplit>,
}

impl Tally {
    /// What a new task of the same id counts on from.
    #[must_use]
    pub fn carried_on(&self) -> Self {
        Self {
            start: None,
            ..self.clone()
        }
    }
}
