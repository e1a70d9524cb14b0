//! How tasks end: asked to, by themselves or with the daemon; what a try that failed leads to, and
//! what follows an end.

use std::time::Duration;

use crossbeam_channel::Sender;

use super::Table;
use crate::application::stream::effect::{Effect, FailedTry};
use crate::application::stream::entry::{
    classified, crash, ended_by_stop, refuse_waiting, reply, signal_effect, unknown,
};
use crate::application::stream::policy::Policy;
use crate::application::stream::retry::{Failure, Next};
use crate::application::stream::run::{EndWhy, Run};
use crate::domain::engine::{EngineKind, Launch};
use crate::domain::error::Fault;
use crate::domain::gateway::{ChildExit, LoginEnd};
use crate::domain::stream::{Cause, Diagnosis, StopReason, StreamStatus, StreamTask, TaskId};
use crate::util::time::Now;

/// Longest that an endpoint may have a task wait (`Retry-After`): one that asks for a day is tried
/// again all the same.
const LONGEST_ASKED: Duration = Duration::from_secs(600);

/// Ended tasks that stay readable.
const KEPT_ENDED: usize = 100;

impl Table {
    /// A run's process is gone.
    pub(super) fn exited(
        &mut self,
        id: &TaskId,
        exit: &ChildExit,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let Some(entry) = self.tasks.get_mut(id) else {
            return;
        };
        let Some(run) = entry.run.take() else {
            return;
        };
        out.push(Effect::Reap(run.id));
        entry.task.tally.cpu += exit.cpu;
        if run.ending() == Some(&EndWhy::Stall) {
            entry.task.tally.stalls += 1;
        }
        entry.task.process_id = None;
        let hand_over = match run.ending() {
            Some(EndWhy::Stop | EndWhy::Shutdown) => None,
            _ => run.hand_over.clone(),
        };
        if let Some(hand_over) = hand_over {
            if !run.has_login() {
                self.logins.ended(&entry.task.spec, LoginEnd::Unknown);
            }
            self.handed_over(id, hand_over, now, out);
            return;
        }
        let diagnosis = why_ended(&run, exit, entry.way().ends_by_nature, &self.policy);
        let host = entry.task.spec.whip_url.host();
        let diagnosis = diagnosis.map(|why| self.consent.judge(host, run.session_lived(), why));
        entry.wait_for = exit.retry_after;
        match &diagnosis {
            Some(why) if why.cause == Cause::SourceAuth => {
                self.logins.ended(&entry.task.spec, LoginEnd::Refused);
            }
            _ if run.has_login() => {}
            _ => self.logins.ended(&entry.task.spec, LoginEnd::Unknown),
        }
        entry.book_exit(exit.code, exit.signal, diagnosis.as_ref(), now.wall);
        if diagnosis.is_some() && run.streaming_since.is_none() {
            self.known.forget(&entry.task.spec.source);
        }
        if let Some(why) = diagnosis.as_ref().filter(|_| !self.stopping) {
            let without = entry.without_its_sound(&run, why);
            entry.sound_blamed |= without.is_some();
            let shown = without.or_else(|| entry.with_its_picture_refused(&run, why));
            if shown.is_some() && why.cause == Cause::WhipOffer {
                self.passive.forget(entry.task.spec.whip_url.host());
            }
            if let Some(facts) = shown {
                self.another_way(id, facts, why.clone(), now, out);
                return;
            }
        }
        if let Some(why) = &diagnosis
            && fared_no_better(entry.way(), &run, why)
        {
            self.relays.forget(id, entry.task.spec.whip_url.host());
        }
        if let Some(why) = &diagnosis
            && failed_alone(entry.way(), &run, why)
            && self.relay_failed(id, &why.detail.clone(), now, out)
        {
            return;
        }
        match diagnosis {
            Some(diagnosis) => self.way_failed(id, diagnosis, run.streamed_for(), now, out),
            None => {
                let reason = match run.ending() {
                    Some(EndWhy::Shutdown) => StopReason::NodeShutdown,
                    Some(EndWhy::Stop) => StopReason::Command,
                    _ => StopReason::EndOfFile,
                };
                self.stopped(id, reason, now, out);
            }
        }
    }

    /// A try has failed; its process, if there was one, is gone. It had shown pictures for
    /// `streamed_for`.
    pub(super) fn failed(
        &mut self,
        id: &TaskId,
        diagnosis: Diagnosis,
        streamed_for: Duration,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let jitter = self.jitter.f64();
        let uplink_down = diagnosis.cause == Cause::WhipUplink && self.uplink.is_down();
        let stopping = self.stopping;
        let Some(entry) = self.tasks.get_mut(id) else {
            return;
        };
        let fault = Fault::new(diagnosis.cause.code(), diagnosis.detail);
        // A guarded login is looked at every few seconds: once is enough to write down.
        let told_before = entry.runs_since_told == 0 && entry.task.error.as_ref() == Some(&fault);
        entry.task.process_id = None;
        entry.task.error = Some(fault.clone());
        if stopping {
            self.stopped(id, StopReason::NodeShutdown, now, out);
            return;
        }
        let failure = Failure {
            cause: diagnosis.cause,
            streamed_for,
            login_worked: entry.worked_before,
            has_streamed: entry.task.started_at.is_some(),
            uplink_down,
        };
        let limit = entry.task.max_retries;
        let next = entry.account.failed(failure, limit, jitter);
        entry.task.retry_count = entry.account.counted;
        let asked = entry.wait_for.take().unwrap_or_default();
        if let Next::Again(delay) = next {
            let delay = delay.max(asked.min(LONGEST_ASKED));
            entry.informed = None;
            entry.facts = None;
            entry.retry_at = Some(now.mono + delay);
            // A try that may not even begin says nothing new of why the last one ended.
            entry.retry_for.get_or_insert(diagnosis.cause);
            if !told_before {
                entry.runs_since_told = 0;
                out.push(Effect::FailedTry(Box::new(FailedTry {
                    task: id.clone(),
                    cause: diagnosis.cause,
                    why: fault.clone(),
                    next_in: delay,
                    counted: entry.account.counted,
                })));
            }
            if entry.task.status != StreamStatus::Reconnecting {
                entry.become_(StreamStatus::Reconnecting, now.wall, out);
            }
            entry.answer_first_try(Some(&fault));
            return;
        }
        entry.task.stopped_at = Some(now.wall);
        entry.become_(StreamStatus::Error, now.wall, out);
        entry.answer_first_try(Some(&fault));
        // A stop that came while it failed has what it wanted.
        let task = entry.task.clone();
        entry.answer_stop(&Ok(task));
        self.after_end(id, now, out);
    }

    fn stopped(&mut self, id: &TaskId, reason: StopReason, now: Now, out: &mut Vec<Effect>) {
        let Some(entry) = self.tasks.get_mut(id) else {
            return;
        };
        entry.retry_at = None;
        entry.awaits = None;
        entry.task.process_id = None;
        entry.task.error = None;
        entry.task.stopped_at = Some(now.wall);
        entry.task.stop_reason = Some(reason);
        entry.become_(StreamStatus::Stopped, now.wall, out);
        let ended_first_try = (reason != StopReason::EndOfFile).then(|| ended_by_stop(id));
        entry.answer_first_try(ended_first_try.as_ref());
        let task = entry.task.clone();
        entry.answer_stop(&Ok(task));
        self.after_end(id, now, out);
    }

    /// A task has become terminal: start what waits behind it, forget the oldest ended ones.
    fn after_end(&mut self, id: &TaskId, now: Now, out: &mut Vec<Effect>) {
        let waiting = self.tasks.get_mut(id).and_then(|entry| {
            entry.ended = Some(self.next_end);
            self.next_end += 1;
            entry.behind.take()
        });
        if let Some(waiting) = waiting {
            if self.stopping {
                refuse_waiting(id, waiting.first_try);
            } else {
                self.begin(waiting.spec, waiting.plan, waiting.first_try, now, out);
            }
        }
        let mut ended: Vec<(u64, TaskId)> = self
            .tasks
            .iter()
            .filter_map(|(id, e)| Some((e.ended?, id.clone())))
            .collect();
        if ended.len() > KEPT_ENDED {
            ended.sort();
            let surplus = ended.len() - KEPT_ENDED;
            for (_, id) in ended.into_iter().take(surplus) {
                self.tasks.remove(&id);
            }
        }
    }

    /// A STOP; answered when the process is gone.
    pub(super) fn stop(
        &mut self,
        id: &TaskId,
        force: bool,
        done: Sender<Result<StreamTask, Fault>>,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let taken_back = self.stop_preparing(id, now);
        let Some(entry) = self.tasks.get_mut(id) else {
            reply(&done, taken_back.ok_or_else(|| unknown(id)));
            return;
        };
        if let Some(waiting) = entry.behind.take() {
            refuse_waiting(id, waiting.first_try);
        }
        if entry.task.status.is_terminal() {
            reply(&done, Ok(taken_back.unwrap_or_else(|| entry.task.clone())));
            return;
        }
        entry.stop_waiters.push(done);
        match &mut entry.run {
            Some(run) => {
                if let Some(signal) = run.end(EndWhy::Stop, force, &self.policy, now.mono) {
                    out.push(signal_effect(signal, run.id));
                }
            }
            None => self.stopped(id, StopReason::Command, now, out),
        }
    }

    /// The daemon ends: every run gets its SIGTERM at once, and all share one `stop_timeout`.
    pub fn shut_down(&mut self, now: Now) -> Vec<Effect> {
        self.stopping = true;
        self.refuse_preparing();
        let mut out = Vec::new();
        let ids: Vec<TaskId> = self.tasks.keys().cloned().collect();
        for id in ids {
            let Some(entry) = self.tasks.get_mut(&id) else {
                continue;
            };
            if let Some(waiting) = entry.behind.take() {
                refuse_waiting(&id, waiting.first_try);
            }
            if entry.task.status.is_terminal() {
                continue;
            }
            match &mut entry.run {
                Some(run) => {
                    let why = match run.ending() {
                        Some(EndWhy::Stop) => EndWhy::Stop,
                        _ => EndWhy::Shutdown,
                    };
                    if let Some(signal) = run.end(why, false, &self.policy, now.mono) {
                        out.push(signal_effect(signal, run.id));
                    }
                }
                None => self.stopped(&id, StopReason::NodeShutdown, now, &mut out),
            }
        }
        out
    }

    /// No more grace: SIGKILL to what still runs.
    pub fn kill_all(&mut self, now: Now) -> Vec<Effect> {
        let mut out = self.shut_down(now);
        for entry in self.tasks.values_mut() {
            if let Some(run) = &mut entry.run
                && let Some(signal) = run.kill(now.mono)
            {
                out.push(signal_effect(signal, run.id));
            }
        }
        out
    }
}

/// Whether a run of our own publisher has failed in a way that another one may not share.
fn failed_alone(way: &Launch, run: &Run, why: &Diagnosis) -> bool {
    way.engine == EngineKind::Relay && (run.fails_alone || why.cause == Cause::EngineCrash)
}

/// Whether a run of FFmpeg shows that it is no way round what our own publisher has failed by: the
/// endpoint did not keep it either, or it never got as far as a picture.
fn fared_no_better(way: &Launch, run: &Run, why: &Diagnosis) -> bool {
    way.engine == EngineKind::Ffmpeg
        && (why.cause.is_the_endpoints() || run.streaming_since.is_none())
}

/// Why a run has ended, by what the process said and by why it was ended; `None` = it was to end.
fn why_ended(
    run: &Run,
    exit: &ChildExit,
    ends_by_nature: bool,
    policy: &Policy,
) -> Option<Diagnosis> {
    let said = exit.diagnosis.clone().or_else(|| run.failing.clone());
    match run.ending() {
        Some(EndWhy::Stop | EndWhy::Shutdown) => None,
        Some(EndWhy::Stall) if run.runs_away() => Some(classified(said).unwrap_or_else(|| {
            Diagnosis {
                cause: Cause::SourceStream,
                detail:
                    "output ran at a pace that no camera makes: has the camera's clock been set?"
                        .to_owned(),
            }
        })),
        Some(EndWhy::Stall) if run.lacks_pictures() => {
            Some(classified(said).unwrap_or_else(|| Diagnosis {
                cause: Cause::SourceStream,
                detail: format!(
                    "sound arrives, pictures don't, for {} s: the picture has frozen",
                    policy.stall_timeout.as_secs()
                ),
            }))
        }
        Some(EndWhy::Stall) => Some(classified(said).unwrap_or_else(|| Diagnosis {
            cause: Cause::SourceStream,
            detail: format!(
                "no progress for {} s: the source has stalled",
                policy.stall_timeout.as_secs()
            ),
        })),
        Some(EndWhy::StartTimeout) if run.lacks_pictures() => {
            Some(classified(said).unwrap_or_else(|| Diagnosis {
                cause: Cause::SourceStream,
                detail: format!(
                    "sound arrives, pictures don't, within {} s of the start: no key frame?",
                    policy.start_timeout.as_secs()
                ),
            }))
        }
        Some(EndWhy::StartTimeout) => Some(classified(said).unwrap_or_else(|| Diagnosis {
            cause: Cause::EngineTimeout,
            detail: format!(
                "no media within {} s of the start",
                policy.start_timeout.as_secs()
            ),
        })),
        Some(EndWhy::Failing | EndWhy::HandOver) => {
            Some(run.failing.clone().or(said).unwrap_or_else(crash))
        }
        None if said.is_none() && ends_by_nature && exit.code == Some(0) => None,
        None => Some(said.unwrap_or_else(crash)),
    }
}
