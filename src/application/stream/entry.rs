//! One task in the table: its record, its live run, and who waits for it. The table decides; what
//! follows from a decision for the task itself is done here.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::Sender;

use super::effect::Effect;
use super::policy::Policy;
use super::prepare::{PREPARE_WITHIN, Ticket};
use super::retry::{Account, HEALTHY};
use super::run::{EndWhy, Run, Signal};
use super::service::FirstTryEnd;
use crate::domain::carry::Asked;
use crate::domain::engine::{EngineKind, Launch, Plan};
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::gateway::{RunId, RunLog};
use crate::domain::stream::{
    AudioMode, Cause, Diagnosis, ExitRecord, SourceFacts, StreamSpec, StreamStatus, StreamTask,
    TaskAudio, TaskEvent, TaskEventKind, TaskId, TaskMode, Unsendable,
};

/// Ended runs in `exitHistory`.
const KEPT_EXITS: usize = 5;

/// A START that waits until the child before it is reaped.
pub struct Waiting {
    pub spec: StreamSpec,
    pub plan: Plan,
    pub first_try: Option<Sender<FirstTryEnd>>,
}

/// A plan that is being prepared from what the source has said.
pub struct Awaited {
    pub ticket: Ticket,
    pub give_up_at: Instant,
    /// What ended the run before it, where this one is to do better.
    pub after: Option<Diagnosis>,
}

/// One task.
pub struct Entry {
    /// As it is shown.
    pub task: StreamTask,
    /// The ways to carry it, as its START was prepared. One that has handed over by itself is not
    /// taken again before the next START.
    pub plan: Plan,
    /// The ways that follow from what the source has said of itself: for this try alone, the next
    /// one asks again.
    pub informed: Option<Plan>,
    /// What the source has said, where `informed` follows from it.
    pub facts: Option<Box<SourceFacts>>,
    /// A start has waited for a sound in vain, and without it none has shown pictures either.
    pub sound_blamed: bool,
    /// Between two ways: the plan that is being prepared.
    pub awaits: Option<Awaited>,
    /// Nobody has been told that it begins, or how it is carried now.
    pub untold: bool,
    /// Its process, until that is reaped.
    pub run: Option<Run>,
    /// While RECONNECTING without a process.
    pub retry_at: Option<Instant>,
    /// Why its last run ended, until there is another.
    pub retry_for: Option<Cause>,
    /// How long the endpoint has asked for no further try.
    pub wait_for: Option<Duration>,
    /// Its failures.
    pub account: Account,
    /// These credentials have worked: this task has streamed with them, or the guard knows.
    pub worked_before: bool,
    /// Runs so far.
    pub runs: u64,
    /// Runs since the last failed try that was written down.
    pub runs_since_told: u64,
    /// Number and log of the last runs, oldest first.
    pub logs: VecDeque<(u64, Arc<dyn RunLog>)>,
    /// Who waits for the end of the first try.
    pub first_try: Option<Sender<FirstTryEnd>>,
    /// Who waits for the reaping.
    pub stop_waiters: Vec<Sender<Result<StreamTask, Fault>>>,
    /// A START of the same id that waits for the reaping.
    pub behind: Option<Box<Waiting>>,
    /// Order of acceptance, for "newest first".
    pub number: u64,
    /// Order of ending; the clock on the wall may have been set meanwhile.
    pub ended: Option<u64>,
}

impl Entry {
    /// By a STOP, and its process is not reaped yet.
    pub fn is_being_stopped(&self) -> bool {
        self.run
            .as_ref()
            .is_some_and(|r| r.ending() == Some(&EndWhy::Stop))
    }

    /// What it is started with now.
    pub fn way(&self) -> &Launch {
        self.informed.as_ref().unwrap_or(&self.plan).current()
    }

    /// The plan that it is started by now.
    pub fn plan_in_force(&mut self) -> &mut Plan {
        self.informed.as_mut().unwrap_or(&mut self.plan)
    }

    /// The current way is known to lead nowhere: the next one is taken in its place, if there is one.
    pub fn skip_way(&mut self) {
        let _ = self.plan_in_force().move_on();
    }

    /// Shows how the current way carries it. A look carries nothing, so it changes nothing that is shown.
    pub fn show_way(&mut self, why: &str) {
        let way = self.way().clone();
        if way.engine == EngineKind::Look {
            return;
        }
        self.untold |= shown_as(&mut self.task, &way, why);
    }

    /// A new try begins with the plan as it is: what is shown of the last try's way is so no longer.
    pub fn show_whole_plan(&mut self) {
        let way = self.way();
        let shown = (self.task.mode, self.task.sender) == (way.mode, way.sender);
        if self.informed.is_none() && !shown {
            self.show_way("");
        }
    }

    /// Takes the next way in place of the current one, if there is one that can be started.
    pub fn pass_over(&mut self, why: &str) {
        self.keep_plan();
        let plan = self.plan_in_force();
        if plan.has_another() && plan.move_on().is_ok() {
            self.show_way(why);
        }
    }

    /// What is moved on from here is so for this try alone: the next one begins with the whole plan.
    pub fn keep_plan(&mut self) {
        self.informed.get_or_insert_with(|| self.plan.clone());
    }

    /// Whether a way to carry the task is left besides the current one.
    pub fn has_another_way(&self) -> bool {
        self.informed.as_ref().unwrap_or(&self.plan).has_another()
    }

    /// Has the ways prepared that follow from what the source has said.
    pub fn await_ways(
        &mut self,
        ticket: Ticket,
        facts: Box<SourceFacts>,
        after: Option<Diagnosis>,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        self.facts = Some(facts.clone());
        self.awaits = Some(Awaited {
            ticket,
            give_up_at: now + PREPARE_WITHIN,
            after,
        });
        let spec = Box::new(self.task.spec.clone());
        out.push(Effect::Prepare(ticket, spec, Some(facts)));
    }

    /// What the source is, less its sound, where a start has waited for that in vain: no session was
    /// made, no media of any kind has left, and nothing else says why. Once, unless it helps.
    pub fn without_its_sound(&self, run: &Run, why: &Diagnosis) -> Option<Box<SourceFacts>> {
        let way = self.way();
        let facts = self.facts.as_ref()?;
        let blamed = run.got_nowhere()
            && why.cause == Cause::EngineTimeout
            && way.engine == EngineKind::Ffmpeg
            && way.mode != TaskMode::Prebuilt
            && way.audio == TaskAudio::Encoded
            && self.task.spec.audio.mode == AudioMode::Wanted
            && facts.audio.is_some()
            && !self.sound_blamed;
        let mut facts = facts.clone();
        facts.audio.as_mut()?.silent = true;
        blamed.then_some(facts)
    }

    /// A look that has done its work is none of the task's runs.
    pub fn forget_look(&mut self) {
        if self.way().engine == EngineKind::Look {
            self.logs.retain(|(number, _)| *number != self.runs);
            self.runs = self.runs.saturating_sub(1);
        }
    }

    /// What the source is, where its picture was to go out as it is, seemed to fit, and was refused by
    /// what was to send it or by the endpoint: encoded it may still go out. Not where the task asks for
    /// it as it is.
    pub fn with_its_picture_refused(&self, run: &Run, why: &Diagnosis) -> Option<Box<SourceFacts>> {
        let spec = &self.task.spec;
        let facts = self.facts.as_ref()?;
        let by = match why.cause {
            Cause::StreamRefused => None,
            Cause::WhipOffer => Some(spec.whip_url.host().to_owned()),
            _ => return None,
        };
        let blamed = run.streaming_since.is_none()
            && self.way().mode == TaskMode::Copy
            && Asked::of(&spec.video) != Asked::Unchanged;
        let mut facts = facts.clone();
        facts.video.unsendable = Some(Unsendable {
            by,
            why: why.detail.clone(),
        });
        blamed.then_some(facts)
    }

    /// One that is being stopped for another START of its own id keeps its place for it.
    pub fn takes_a_place(&self) -> bool {
        self.task.status.is_active()
    }

    /// After a picture: a healthy minute forgets what failed before. What comes after the last
    /// picture (a stall, the ladder, the exit) is not part of it.
    pub fn note_health(&mut self) {
        if self
            .run
            .as_ref()
            .is_some_and(|r| r.streamed_for() >= HEALTHY)
        {
            self.account.reset();
            self.task.retry_count = 0;
        }
    }

    /// The next moment at which it must be looked at.
    pub fn deadline(&self, policy: &Policy) -> Option<Instant> {
        let run = self.run.as_ref().map(|run| run.deadline(policy));
        let awaits = self.awaits.as_ref().map(|a| a.give_up_at);
        [run, self.retry_at, awaits].into_iter().flatten().min()
    }

    /// Media leaves.
    pub fn streaming(&mut self, at: SystemTime, out: &mut Vec<Effect>) {
        let first = self.task.started_at.is_none();
        self.task.started_at.get_or_insert(at);
        self.task.error = None;
        self.worked_before = true;
        self.task.status = StreamStatus::Streaming;
        let kind = if first {
            TaskEventKind::Started
        } else {
            TaskEventKind::StatusUpdate
        };
        self.tell(kind, at, out);
        self.answer_first_try(None);
    }

    /// Moves on in the contract's table, and says so.
    pub fn become_(&mut self, next: StreamStatus, at: SystemTime, out: &mut Vec<Effect>) {
        debug_assert!(
            self.task.status.may_become(next),
            "{:?} -> {next:?}",
            self.task.status
        );
        self.task.status = next;
        let kind = match next {
            StreamStatus::Stopped => TaskEventKind::Stopped,
            StreamStatus::Error => TaskEventKind::Error,
            _ => TaskEventKind::StatusUpdate,
        };
        self.tell(kind, at, out);
    }

    /// Says what has changed.
    pub fn tell(&mut self, kind: TaskEventKind, at: SystemTime, out: &mut Vec<Effect>) {
        self.untold = false;
        out.push(Effect::Event(Box::new(TaskEvent {
            kind,
            at,
            task: self.task.clone(),
        })));
    }

    /// Counts a failure for metrics.
    pub fn count_failure(&mut self, cause: Cause) {
        *self.task.tally.failures.entry(cause).or_default() += 1;
    }

    /// Notes an ended run.
    pub fn book_exit(
        &mut self,
        code: Option<i32>,
        signal: Option<i32>,
        diagnosis: Option<&Diagnosis>,
        at: SystemTime,
    ) {
        if let Some(diagnosis) = diagnosis {
            self.count_failure(diagnosis.cause);
        }
        let history = &mut self.task.exit_history;
        history.push(ExitRecord {
            at,
            code,
            signal,
            error_code: diagnosis.map_or(ErrorCode::Success, |d| d.cause.code()),
            cause: diagnosis.map_or_else(|| "ended as asked".to_owned(), |d| d.detail.clone()),
        });
        if history.len() > KEPT_EXITS {
            history.remove(0);
        }
    }

    /// `None` = it streams (or a file was played to its end).
    pub fn answer_first_try(&mut self, fault: Option<&Fault>) {
        let Some(to) = self.first_try.take() else {
            return;
        };
        reply(
            &to,
            match fault {
                None => Ok(self.task.clone()),
                Some(fault) => Err((fault.clone(), Some(Box::new(self.task.clone())))),
            },
        );
    }

    /// Answers everyone who waits for the reaping.
    pub fn answer_stop(&mut self, answer: &Result<StreamTask, Fault>) {
        for waiter in self.stop_waiters.drain(..) {
            reply(&waiter, answer.clone());
        }
    }
}

/// Shows how a way carries a task, and why that way: the words of the one before it come last. Whether
/// that is news.
pub fn shown_as(task: &mut StreamTask, way: &Launch, why: &str) -> bool {
    let mut reason = way.mode_reason.clone();
    if !why.is_empty() {
        reason = format!("{reason}; {why}");
    }
    let news = (way.mode, way.sender, &reason, way.audio)
        != (task.mode, task.sender, &task.mode_reason, task.audio);
    (task.mode, task.sender, task.audio) = (way.mode, way.sender, way.audio);
    task.mode_reason = reason;
    news
}

/// A diagnosis that says something; "crashed" and "timed out" say less than what we saw ourselves.
pub fn classified(said: Option<Diagnosis>) -> Option<Diagnosis> {
    said.filter(|d| !matches!(d.cause, Cause::EngineCrash | Cause::EngineTimeout))
}

/// For an end that nothing explains.
pub fn crash() -> Diagnosis {
    Diagnosis {
        cause: Cause::EngineCrash,
        detail: "the process ended and nothing says why; the task's log may tell more".to_owned(),
    }
}

/// Why there is no way to carry a task that has been accepted.
pub fn no_way(fault: Fault) -> Diagnosis {
    let cause = match fault.code {
        ErrorCode::RtspConnFailed => Cause::SourceUnreachable,
        // Nobody logs in while a plan is made: none was refused.
        ErrorCode::RtspAuthFailed => Cause::SourceLogin,
        ErrorCode::RtspStreamError => Cause::SourceStream,
        ErrorCode::FfmpegNotFound => Cause::EngineMissing,
        ErrorCode::FfmpegTimeout => Cause::EngineTimeout,
        ErrorCode::TaskStartFailed => Cause::StreamRefused,
        ErrorCode::ValidationFailed => Cause::BadCommand,
        _ => Cause::EngineStart,
    };
    Diagnosis {
        cause,
        detail: fault.message,
    }
}

/// A signal as an effect.
pub fn signal_effect(signal: Signal, run: RunId) -> Effect {
    match signal {
        Signal::Terminate => Effect::Terminate(run),
        Signal::Kill => Effect::Kill(run),
    }
}

/// Answers a START that a STOP overtook while it waited.
pub fn refuse_waiting(id: &TaskId, first_try: Option<Sender<FirstTryEnd>>) {
    if let Some(to) = first_try {
        reply(&to, Err((ended_by_stop(id), None)));
    }
}

/// 30106
pub fn ended_by_stop(id: &TaskId) -> Fault {
    Fault::new(
        ErrorCode::TaskInvalidState,
        format!("task {id} was stopped before it streamed"),
    )
}

/// 30101
pub fn unknown(id: &TaskId) -> Fault {
    Fault::new(ErrorCode::TaskNotFound, format!("there is no task {id}"))
}

/// Reply channels have room for one; a caller that has gone away is no fault.
pub fn reply<T>(to: &Sender<T>, answer: T) {
    let _ = to.try_send(answer);
}
