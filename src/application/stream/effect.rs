//! What the table decides, for the owner's thread to do.

use std::time::Duration;

use super::prepare::Ticket;
use crate::domain::engine::Launch;
use crate::domain::error::Fault;
use crate::domain::gateway::RunId;
use crate::domain::stream::{Cause, SourceFacts, StreamSpec, TaskEvent, TaskId};

/// A try that has failed and is followed by another.
#[derive(Debug)]
pub struct FailedTry {
    /// Whose.
    pub task: TaskId,
    /// What kind of failure.
    pub cause: Cause,
    /// The same for people.
    pub why: Fault,
    /// When the next one comes.
    pub next_in: Duration,
    /// Failures counted so far.
    pub counted: u32,
}

/// What the owner's thread has to do, in this order.
#[derive(Debug)]
pub enum Effect {
    /// Prepare a plan, with what the source has said of itself if it has been asked, and report by
    /// [`Table::prepared`](super::Table::prepared).
    Prepare(Ticket, Box<StreamSpec>, Option<Box<SourceFacts>>),
    /// Start a child, and report by [`Table::started`](super::Table::started).
    Start(RunId, Launch),
    /// SIGTERM to its group.
    Terminate(RunId),
    /// SIGKILL to its group.
    Kill(RunId),
    /// Collect it.
    Reap(RunId),
    /// Write it down.
    FailedTry(Box<FailedTry>),
    /// Tell the observers.
    Event(Box<TaskEvent>),
}
