//! The numbers that tasks live by.

use std::time::Duration;

use crate::domain::stream::RetryLimit;

/// The numbers of the configuration.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Most active tasks.
    pub max_tasks: usize,
    /// A process must have lived so long to count as streaming.
    pub start_confirm: Duration,
    /// Not streaming by then = a failed try.
    pub start_timeout: Duration,
    /// No progress for so long = a stall.
    pub stall_timeout: Duration,
    /// SIGKILL so long after the first SIGTERM.
    pub stop_timeout: Duration,
    /// Where a task names no limit.
    pub max_retries: RetryLimit,
}

impl Default for Policy {
    /// The spec's and the contract's defaults.
    fn default() -> Self {
        Self {
            max_tasks: 4,
            start_confirm: Duration::from_secs(2),
            start_timeout: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(10),
            stop_timeout: Duration::from_secs(10),
            max_retries: RetryLimit::Times(3),
        }
    }
}
