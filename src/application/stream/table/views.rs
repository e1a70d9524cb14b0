//! What the table tells of itself and its tasks. Changes nothing.

use std::time::SystemTime;

use super::Table;
use crate::application::stream::entry::unknown;
use crate::application::stream::service::TaskLog;
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::stream::{StreamTask, TaskId};

impl Table {
    /// Whether no process is left.
    pub fn is_idle(&self) -> bool {
        self.tasks.values().all(|e| e.run.is_none())
    }

    /// Whether new tasks are refused by order.
    pub fn maintenance(&self) -> bool {
        self.maintenance
    }

    /// Active tasks and when they were accepted.
    pub fn active(&self) -> Vec<(String, SystemTime)> {
        self.tasks
            .iter()
            .filter(|(_, e)| e.task.status.is_active())
            .map(|(id, e)| (id.to_string(), e.task.created_at))
            .collect()
    }

    /// The newest first.
    pub(super) fn list(&self, active_only: bool) -> Vec<StreamTask> {
        let mut found: Vec<(u64, &StreamTask)> = self
            .tasks
            .values()
            .filter(|e| !active_only || e.task.status.is_active())
            .map(|e| (e.number, &e.task))
            .collect();
        found.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        found.into_iter().map(|(_, task)| task.clone()).collect()
    }

    pub(super) fn log(&self, id: &TaskId, run: Option<u64>) -> Result<TaskLog, Fault> {
        let entry = self.tasks.get(id).ok_or_else(|| unknown(id))?;
        let runs: Vec<u64> = entry.logs.iter().rev().map(|(n, _)| *n).collect();
        let wanted = run.or(runs.first().copied());
        let found = entry.logs.iter().find(|(n, _)| Some(*n) == wanted);
        match (found, run) {
            (Some((number, log)), _) => Ok(TaskLog {
                run: *number,
                runs,
                lines: log.lines(),
            }),
            (None, None) => Ok(TaskLog {
                run: 0,
                runs,
                lines: Vec::new(),
            }),
            (None, Some(run)) => Err(Fault::new(
                ErrorCode::NotFound,
                format!(
                    "run {run} of task {id} is not kept; data.runs of this route without ?run lists those that are"
                ),
            )),
        }
    }
}
