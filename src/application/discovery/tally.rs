//! What sweeps there have been, counted for metrics. Outlives the thread's panics: the handles and
//! the thread share it.

use std::time::{Duration, SystemTime};

use crate::domain::discovery::SweepReport;

/// How a sweep ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SweepEnd {
    /// It looked at everything.
    Complete,
    /// It ran into its time-out or was cancelled; what it saw counts.
    CutShort,
    /// It came to a bad end, or could not begin: nothing of it counts.
    Failed,
}

impl SweepEnd {
    /// Every end.
    pub const ALL: [Self; 3] = [Self::Complete, Self::CutShort, Self::Failed];

    /// As a label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::CutShort => "cut_short",
            Self::Failed => "failed",
        }
    }
}

/// The last sweep that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastSweep {
    /// When it ended.
    pub ended: SystemTime,
    /// From its start to its end.
    pub took: Duration,
    /// Addresses that were connected to.
    pub addresses: u32,
}

/// Sweeps since the start of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SweepTally {
    complete: u64,
    cut_short: u64,
    failed: u64,
    /// `None` until one has ended that counts.
    pub last: Option<LastSweep>,
    /// A sweep is under way.
    pub under_way: bool,
    /// Who waits for a sweep's end.
    pub callers: usize,
}

impl SweepTally {
    /// Sweeps that ended so.
    pub fn ended(&self, how: SweepEnd) -> u64 {
        match how {
            SweepEnd::Complete => self.complete,
            SweepEnd::CutShort => self.cut_short,
            SweepEnd::Failed => self.failed,
        }
    }

    pub(super) fn swept(&mut self, report: &SweepReport, at: SystemTime) {
        if report.cut_short {
            self.cut_short += 1;
        } else {
            self.complete += 1;
        }
        self.last = Some(LastSweep {
            ended: at,
            took: report.took,
            addresses: report.addresses,
        });
        self.under_way = false;
    }

    pub(super) fn lost(&mut self) {
        self.failed += 1;
        self.under_way = false;
    }
}
