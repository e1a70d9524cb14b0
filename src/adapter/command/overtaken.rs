//! STARTs that their own, later STOP has overtaken.
//!
//! While a lost backlog is fetched, stops pass at once and everything else is held (contract 5).
//! A START that comes out afterwards must not start what the operator has stopped since.

use std::collections::VecDeque;

use super::request::{Command, Request};
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::gateway::StreamPlace;

/// So many stops are remembered; a backlog has at most a hundred messages.
const REMEMBERED: usize = 256;

/// The last stops: task, and where the stop stands in the cloud's stream.
#[derive(Debug, Default)]
pub struct Overtaken {
    stops: VecDeque<(String, StreamPlace)>,
}

impl Overtaken {
    /// Remembers a stop; refuses (30106) a START that was sent before the last stop of its task.
    pub fn pass(&mut self, request: &Request, place: StreamPlace) -> Result<(), Fault> {
        let Some(task) = &request.about.task_id else {
            return Ok(());
        };
        match request.command {
            Command::Stop { .. } => {
                if self.stops.len() >= REMEMBERED {
                    self.stops.pop_front();
                }
                self.stops.push_back((task.clone(), place));
                Ok(())
            }
            Command::Start(_)
                if self
                    .stops
                    .iter()
                    .any(|(stopped, stop)| stopped == task && place.is_before(stop)) =>
            {
                Err(Fault::new(
                    ErrorCode::TaskInvalidState,
                    format!("task {task} was stopped after this START was sent"),
                ))
            }
            _ => Ok(()),
        }
    }
}
