//! What the table tells of itself and its tasks. Changes nothing.

use std::time::SystemTime;

use super::Table;
use super::starts::Preparing;
use crate::application::stream::entry::{Entry, unknown};
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

    /// One task.
    pub(super) fn get(&self, id: &TaskId) -> Result<StreamTask, Fault> {
        let preparing = self.preparing.get(id).map(Preparing::task);
        let known = self.tasks.get(id).filter(|e| e.task.status.is_active());
        known
            .map(|e| &e.task)
            .or(preparing)
            .or_else(|| self.tasks.get(id).map(|e| &e.task))
            .cloned()
            .ok_or_else(|| unknown(id))
    }

    /// The newest first. What is being prepared is shown in place of an ended task of its id.
    pub(super) fn list(&self, active_only: bool) -> Vec<StreamTask> {
        let hidden = |e: &Entry| {
            e.task.status.is_terminal() && self.preparing.contains_key(&e.task.spec.task_id)
        };
        let is_free = |task: &StreamTask| {
            let entry = self.tasks.get(&task.spec.task_id);
            entry.is_none_or(|e| e.task.status.is_terminal())
        };
        let mut found: Vec<(u64, &StreamTask)> = self
            .tasks
            .values()
            .filter(|e| !hidden(e) && (!active_only || e.task.status.is_active()))
            .map(|e| (e.number, &e.task))
            .collect();
        let preparing = self.preparing.values().map(Preparing::task);
        found.extend(preparing.filter(|t| is_free(t)).map(|t| (u64::MAX, t)));
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
