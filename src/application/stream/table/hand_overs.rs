//! How one way to carry a task follows another. That is no failure: no retry is counted, nothing is
//! waited for, the status stays as it is while nothing has streamed, and one STATUS_UPDATE tells of
//! the way that carries it now.

use std::time::Duration;

use super::Table;
use crate::application::stream::effect::Effect;
use crate::application::stream::entry::no_way;
use crate::application::stream::prepare::Ticket;
use crate::domain::engine::{EngineKind, HandOver, Plan};
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::stream::{Cause, Diagnosis, SourceFacts, StreamStatus, TaskId};
use crate::util::time::Now;

impl Table {
    /// A child has handed over, and its process is gone.
    pub(super) fn handed_over(
        &mut self,
        id: &TaskId,
        hand_over: HandOver,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let ticket = self.new_ticket();
        let Some(entry) = self.tasks.get_mut(id) else {
            return;
        };
        if entry.task.status == StreamStatus::Streaming {
            entry.task.error = Some(interrupted(&hand_over));
            entry.become_(StreamStatus::Reconnecting, now.wall, out);
        }
        if entry.way().dtls_active {
            self.passive.note(entry.task.spec.whip_url.host(), now.mono);
        }
        entry.forget_look();
        match hand_over.facts {
            // What has been asked for this try is not asked again; what has been met with since is news.
            Some(facts) if entry.informed.is_none() || entry.way().engine == EngineKind::Relay => {
                entry.await_ways(ticket, Box::new(facts), None, now.mono, out);
            }
            _ => self.move_on(id, &hand_over.why, now, out),
        }
    }

    /// A start has shown of the source what that did not say: which way can carry it follows anew.
    pub(super) fn another_way(
        &mut self,
        id: &TaskId,
        facts: Box<SourceFacts>,
        after: Diagnosis,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let ticket = self.new_ticket();
        if let Some(entry) = self.tasks.get_mut(id) {
            entry.await_ways(ticket, facts, Some(after), now.mono, out);
        }
    }

    /// A run has failed, or could not be started. A look that fails by itself says nothing of the
    /// source: then the task is carried as if nobody had looked.
    pub(super) fn way_failed(
        &mut self,
        id: &TaskId,
        diagnosis: Diagnosis,
        streamed_for: Duration,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let looks = self
            .tasks
            .get(id)
            .is_some_and(|entry| entry.way().engine == EngineKind::Look);
        if looks && !self.stopping && !is_the_sources(diagnosis.cause) {
            self.move_on(id, &diagnosis.detail, now, out);
        } else {
            self.failed(id, diagnosis, streamed_for, now, out);
        }
    }

    /// Our own publisher has failed, and it alone: whether another way takes over.
    pub(super) fn relay_failed(
        &mut self,
        id: &TaskId,
        why: &str,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> bool {
        let Some(entry) = self.tasks.get(id) else {
            return false;
        };
        let host = entry.task.spec.whip_url.host();
        let over =
            self.relays.failed(id, host, now.mono) && entry.has_another_way() && !self.stopping;
        if over {
            if let Some(entry) = self.tasks.get_mut(id) {
                entry.keep_plan();
            }
            self.move_on(id, why, now, out);
        }
        over
    }

    /// The next way of the plan is taken at once; without one, the try has failed.
    fn move_on(&mut self, id: &TaskId, why: &str, now: Now, out: &mut Vec<Effect>) {
        let Some(entry) = self.tasks.get_mut(id) else {
            return;
        };
        match entry.plan_in_force().move_on() {
            Ok(()) => {
                entry.show_way(why);
                self.take_way(id, now, out);
            }
            Err(fault) => {
                let diagnosis = fault.map_or_else(
                    || Diagnosis {
                        cause: Cause::StreamRefused,
                        detail: format!("{why}; no other way can carry it"),
                    },
                    no_way,
                );
                self.has_no_way(id, diagnosis, now, out);
            }
        }
    }

    /// The try has failed between two runs.
    pub(super) fn has_no_way(
        &mut self,
        id: &TaskId,
        why: Diagnosis,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        if let Some(entry) = self.tasks.get_mut(id) {
            entry.count_failure(why.cause);
        }
        self.failed(id, why, Duration::ZERO, now, out);
    }

    /// The task that waits for this plan.
    pub(super) fn awaiting(&self, ticket: Ticket) -> Option<TaskId> {
        self.tasks
            .iter()
            .find(|(_, e)| e.awaits.as_ref().is_some_and(|a| a.ticket == ticket))
            .map(|(id, _)| id.clone())
    }

    /// What follows from what the source has said is there, or why nothing does.
    pub(super) fn next_ways(
        &mut self,
        id: &TaskId,
        plan: Result<Plan, Fault>,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let Some(entry) = self.tasks.get_mut(id) else {
            return;
        };
        let after = entry.awaits.take().and_then(|awaited| awaited.after);
        match (plan, after) {
            (Ok(plan), _) => {
                entry.informed = Some(plan);
                entry.show_way("");
                self.take_way(id, now, out);
            }
            (Err(fault), None) => self.has_no_way(id, no_way(fault), now, out),
            // That the run before it has failed is booked, and may not be so at the next try.
            (Err(fault), Some(mut after)) => {
                after.detail = format!("{}; {}", after.detail, fault.message);
                self.failed(id, after, Duration::ZERO, now, out);
            }
        }
    }

    /// Starts what carries the task now, without any pause.
    fn take_way(&mut self, id: &TaskId, now: Now, out: &mut Vec<Effect>) {
        let Some(mut entry) = self.tasks.remove(id) else {
            return;
        };
        let guarded = self.launch(&mut entry, now, out);
        self.tasks.insert(id.clone(), entry);
        if let Some(diagnosis) = guarded {
            self.failed(id, diagnosis, Duration::ZERO, now, out);
        }
    }
}

/// Why a stream that ran is away for a moment.
pub(super) fn interrupted(hand_over: &HandOver) -> Fault {
    let why = match hand_over.why.as_str() {
        "" => "the source is not what it was",
        why => why,
    };
    Fault::new(
        ErrorCode::RtspStreamError,
        format!("{why}; another way takes over"),
    )
}

/// Whether whatever carries the task would meet with the same.
fn is_the_sources(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::SourceUnreachable
            | Cause::SourceAuth
            | Cause::SourceLogin
            | Cause::SourceStream
            | Cause::SourceRefused
    )
}
