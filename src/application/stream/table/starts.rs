//! How tasks begin: asked for, while the plan is prepared, and once it is there.

use std::time::Instant;

use crossbeam_channel::Sender;

use super::Table;
use crate::application::stream::effect::Effect;
use crate::application::stream::entry::{Waiting, ended_by_stop, reply, shown_as};
use crate::application::stream::prepare::{PREPARE_WITHIN, Ticket};
use crate::application::stream::service::FirstTryEnd;
use crate::domain::engine::Plan;
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::stream::{StopReason, StreamSpec, StreamStatus, StreamTask, TaskId};
use crate::util::time::Now;

/// Who waits for a START.
#[derive(Debug)]
pub struct Asker {
    /// Told at once when it is accepted or refused.
    pub accepted: Option<Sender<Result<StreamTask, Fault>>>,
    /// Told when its first try ends, or that it was refused.
    pub first_try: Option<Sender<FirstTryEnd>>,
}

impl Asker {
    fn refuse(&self, fault: &Fault, task: Option<&StreamTask>) {
        if let Some(to) = &self.accepted {
            reply(to, Err(fault.clone()));
        }
        if let Some(to) = &self.first_try {
            reply(to, Err((fault.clone(), task.cloned().map(Box::new))));
        }
    }

    fn accept(self, task: StreamTask) {
        if let Some(to) = &self.accepted {
            reply(to, Ok(task));
        }
    }
}

/// A START whose plan is not there yet.
pub(super) struct Preparing {
    ticket: Ticket,
    spec: StreamSpec,
    asker: Asker,
    /// As it is shown meanwhile.
    task: StreamTask,
    give_up_at: Instant,
}

impl Preparing {
    pub(super) fn task(&self) -> &StreamTask {
        &self.task
    }
}

impl Table {
    /// A START: refused, or its plan is to be prepared.
    pub(super) fn start(
        &mut self,
        spec: StreamSpec,
        asker: Asker,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        if let Err(fault) = self.may_start(&spec.task_id) {
            asker.refuse(&fault, None);
            return;
        }
        let ticket = self.new_ticket();
        let mut task = self.new_task(spec.clone(), now.wall);
        task.status = StreamStatus::Starting;
        out.push(Effect::Prepare(ticket, Box::new(spec.clone()), None));
        self.preparing.insert(
            spec.task_id.clone(),
            Preparing {
                ticket,
                spec,
                asker,
                task,
                give_up_at: now.mono + PREPARE_WITHIN,
            },
        );
    }

    fn may_start(&self, id: &TaskId) -> Result<(), Fault> {
        if self.stopping {
            return Err(stopping());
        }
        if self.maintenance {
            return Err(Fault::new(
                ErrorCode::NodeBusy,
                "the node is in maintenance and takes no new tasks",
            ));
        }
        let is_free = match self.tasks.get(id) {
            _ if self.preparing.contains_key(id) => false,
            None => true,
            Some(entry) => {
                entry.behind.is_none()
                    && (entry.is_being_stopped() || entry.task.status.is_terminal())
            }
        };
        if !is_free {
            return Err(Fault::new(
                ErrorCode::TaskAlreadyExist,
                format!("task {id} is active already; stop it first"),
            ));
        }
        let others = self.preparing.keys().filter(|other| *other != id);
        let taken = others.count()
            + self
                .tasks
                .values()
                .filter(|e| e.takes_a_place() && e.task.spec.task_id != *id)
                .filter(|e| !self.preparing.contains_key(&e.task.spec.task_id))
                .count();
        if taken >= self.policy.max_tasks {
            return Err(Fault::new(
                ErrorCode::TaskLimitReached,
                format!(
                    "{taken} tasks are active, and lss.node.max_tasks is {}",
                    self.policy.max_tasks
                ),
            ));
        }
        Ok(())
    }

    pub(super) fn new_ticket(&mut self) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        ticket
    }

    /// The plan is there, or why there is none. What nobody waits for any more is dropped.
    pub fn prepared(&mut self, ticket: Ticket, plan: Result<Plan, Fault>, now: Now) -> Vec<Effect> {
        let mut out = Vec::new();
        if let Some(id) = self.awaiting(ticket) {
            self.next_ways(&id, plan, now, &mut out);
            return out;
        }
        let id = self
            .preparing
            .iter()
            .find(|(_, p)| p.ticket == ticket)
            .map(|(id, _)| id.clone());
        let Some(Preparing { spec, asker, .. }) = id.and_then(|id| self.preparing.remove(&id))
        else {
            return out;
        };
        let plan = match plan {
            Ok(plan) => plan,
            Err(fault) => {
                asker.refuse(&fault, None);
                return out;
            }
        };
        let being_stopped = self
            .tasks
            .get(&spec.task_id)
            .is_some_and(super::Entry::is_being_stopped);
        if being_stopped {
            let mut task = self.new_task(spec.clone(), now.wall);
            shown_as(&mut task, plan.current(), "");
            // Its first try is under way as soon as the stop is done.
            task.status = StreamStatus::Starting;
            let first_try = asker.first_try.clone();
            if let Some(entry) = self.tasks.get_mut(&spec.task_id) {
                entry.behind = Some(Box::new(Waiting {
                    spec,
                    plan,
                    first_try,
                }));
            }
            asker.accept(task);
        } else {
            let task = self.begin(spec, plan, asker.first_try.clone(), now, &mut out);
            asker.accept(task);
        }
        out
    }

    /// Takes a START back whose plan is not there yet; the task as it was then, STOPPED.
    pub(super) fn stop_preparing(&mut self, id: &TaskId, now: Now) -> Option<StreamTask> {
        let preparing = self.preparing.remove(id)?;
        let mut task = preparing.task;
        task.status = StreamStatus::Stopped;
        task.stopped_at = Some(now.wall);
        task.stop_reason = Some(StopReason::Command);
        preparing.asker.refuse(&ended_by_stop(id), Some(&task));
        Some(task)
    }

    /// The node stops: nothing new begins.
    pub(super) fn refuse_preparing(&mut self) {
        for (_, preparing) in std::mem::take(&mut self.preparing) {
            preparing.asker.refuse(&stopping(), None);
        }
    }

    /// The soonest end of patience.
    pub(super) fn prepare_deadline(&self) -> Option<Instant> {
        self.preparing.values().map(|p| p.give_up_at).min()
    }

    /// Gives up what takes too long.
    pub(super) fn expire_preparing(&mut self, now: Now) {
        let overdue: Vec<TaskId> = self
            .preparing
            .iter()
            .filter(|(_, p)| p.give_up_at <= now.mono)
            .map(|(id, _)| id.clone())
            .collect();
        for id in overdue {
            if let Some(preparing) = self.preparing.remove(&id) {
                preparing.asker.refuse(&never_prepared(), None);
            }
        }
    }
}

pub(super) fn never_prepared() -> Fault {
    Fault::new(
        ErrorCode::FfmpegTimeout,
        format!(
            "the command line could not be prepared within {} s: FFmpeg or a disk hangs",
            PREPARE_WITHIN.as_secs()
        ),
    )
}

fn stopping() -> Fault {
    Fault::new(ErrorCode::NodeOffline, "the node is stopping")
}
