//! What the table decides, for the owner's thread to do.

use crate::domain::gateway::{Launch, RunId};
use crate::domain::stream::TaskEvent;

/// What the owner's thread has to do, in this order.
#[derive(Debug)]
pub enum Effect {
    /// Start a child, and report by [`Table::started`](super::Table::started).
    Start(RunId, Launch),
    /// SIGTERM to its group.
    Terminate(RunId),
    /// SIGKILL to its group.
    Kill(RunId),
    /// Collect it.
    Reap(RunId),
    /// Tell the observers.
    Event(Box<TaskEvent>),
}
