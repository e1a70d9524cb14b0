//! The table of all tasks: decides, and does nothing itself.
//!
//! Requests, child events and the time go in; [`Effect`]s and the next deadline come out. It
//! knows no process, no thread, no clock. Replies go straight to their channels: they have room
//! for one and never block.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::Sender;

use super::effect::Effect;
use super::entry::{
    Entry, Waiting, classified, crash, ended_by_stop, refuse_waiting, reply, signal_effect, unknown,
};
use super::policy::Policy;
use super::retry::{Account, HEALTHY, Next};
use super::run::{EndWhy, Run, Verdict};
use super::service::{FirstTryEnd, StreamRequest, TaskLog};
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::gateway::{
    ChildEvent, ChildExit, Launch, Leave, LoginEnd, RunEvent, RunId, StartedRun, StreamLogins,
    Uplink,
};
use crate::domain::stream::{
    Cause, Diagnosis, StopReason, StreamSpec, StreamStatus, StreamTask, TaskEventKind, TaskId,
};
use crate::util::time::Now;

/// Ended tasks that stay readable.
const KEPT_ENDED: usize = 100;
/// Runs whose logs are kept, a task.
const KEPT_LOGS: usize = 3;

/// A try that waits for another one's login is looked at this often.
const LOGIN_PAUSE: Duration = Duration::from_millis(250);

/// All tasks.
pub struct Table {
    policy: Policy,
    uplink: Arc<dyn Uplink>,
    logins: Arc<dyn StreamLogins>,
    jitter: fastrand::Rng,
    tasks: BTreeMap<TaskId, Entry>,
    next_run: u64,
    next_number: u64,
    maintenance: bool,
    stopping: bool,
}

impl Table {
    /// No tasks yet. `seed` is for the retry jitter.
    pub fn new(
        policy: Policy,
        uplink: Arc<dyn Uplink>,
        logins: Arc<dyn StreamLogins>,
        seed: u64,
    ) -> Self {
        Self {
            policy,
            uplink,
            logins,
            jitter: fastrand::Rng::with_seed(seed),
            tasks: BTreeMap::new(),
            next_run: 1,
            next_number: 1,
            maintenance: false,
            stopping: false,
        }
    }

    /// New limits, which count from the next decision on.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// Takes a request.
    pub fn request(&mut self, request: StreamRequest, now: Now) -> Vec<Effect> {
        let mut out = Vec::new();
        match request {
            StreamRequest::Start {
                spec,
                launch,
                accepted,
                first_try,
            } => {
                let answer = self.start(*spec, *launch, first_try, now, &mut out);
                reply(&accepted, answer);
            }
            StreamRequest::Stop { task, force, done } => {
                self.stop(&task, force, done, now, &mut out);
            }
            StreamRequest::Get { task, reply: to } => {
                let found = self.tasks.get(&task).map(|e| e.task.clone());
                reply(&to, found.ok_or_else(|| unknown(&task)));
            }
            StreamRequest::List {
                active_only,
                reply: to,
            } => reply(&to, self.list(active_only)),
            StreamRequest::Log {
                task,
                run,
                reply: to,
            } => reply(&to, self.log(&task, run)),
            StreamRequest::Maintenance { enabled, reply: to } => {
                self.maintenance = enabled;
                reply(&to, ());
            }
        }
        out
    }

    fn start(
        &mut self,
        spec: StreamSpec,
        launch: Launch,
        first_try: Option<Sender<FirstTryEnd>>,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Result<StreamTask, Fault> {
        if self.stopping {
            return Err(Fault::new(ErrorCode::NodeOffline, "the node is stopping"));
        }
        if self.maintenance {
            return Err(Fault::new(
                ErrorCode::NodeBusy,
                "the node is in maintenance and takes no new tasks",
            ));
        }
        let exists = || {
            Fault::new(
                ErrorCode::TaskAlreadyExist,
                format!("task {} is active already; stop it first", spec.task_id),
            )
        };
        let behind_stop = match self.tasks.get(&spec.task_id) {
            None => false,
            Some(entry) if entry.behind.is_some() => return Err(exists()),
            Some(entry) if entry.is_being_stopped() => true,
            Some(entry) if entry.task.status.is_terminal() => false,
            Some(_) => return Err(exists()),
        };
        let taken = self
            .tasks
            .values()
            .filter(|e| e.takes_a_place() && e.task.spec.task_id != spec.task_id)
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
        if behind_stop {
            let task = self.new_task(spec.clone(), &launch, now.wall);
            if let Some(entry) = self.tasks.get_mut(&spec.task_id) {
                entry.behind = Some(Box::new(Waiting {
                    spec,
                    launch,
                    first_try,
                }));
            }
            return Ok(task);
        }
        Ok(self.begin(spec, launch, first_try, now, out))
    }

    fn new_task(&self, spec: StreamSpec, launch: &Launch, at: SystemTime) -> StreamTask {
        StreamTask {
            status: StreamStatus::Idle,
            process_id: None,
            error: None,
            retry_count: 0,
            max_retries: spec.max_retries.unwrap_or(self.policy.max_retries),
            created_at: at,
            started_at: None,
            stopped_at: None,
            last_heartbeat: None,
            mode: launch.mode,
            mode_reason: launch.mode_reason.clone(),
            progress: None,
            exit_history: Vec::new(),
            stop_reason: None,
            tally: crate::domain::stream::Tally::default(),
            spec,
        }
    }

    /// Puts a task in the table and starts its first try.
    fn begin(
        &mut self,
        spec: StreamSpec,
        launch: Launch,
        first_try: Option<Sender<FirstTryEnd>>,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> StreamTask {
        let mut task = self.new_task(spec, &launch, now.wall);
        let id = task.spec.task_id.clone();
        if let Some(before) = self.tasks.get(&id) {
            task.tally = before.task.tally.carried_on();
        }
        let number = self.next_number;
        self.next_number += 1;
        let mut entry = Entry {
            task,
            launch,
            run: None,
            retry_at: None,
            retry_for: None,
            account: Account::new(),
            worked_before: false,
            runs: 0,
            logs: VecDeque::new(),
            first_try,
            stop_waiters: Vec::new(),
            behind: None,
            number,
        };
        let guarded = self.launch(&mut entry, now, out);
        // After the start, so that the event carries the pid: see `started`.
        entry.task.status = StreamStatus::Starting;
        let shown = entry.task.clone();
        self.tasks.insert(id.clone(), entry);
        if let Some(diagnosis) = guarded {
            self.failed(&id, diagnosis, now, out);
        }
        shown
    }

    /// Starts a try, or puts it off; or tells why there may be none.
    fn launch(&mut self, entry: &mut Entry, now: Now, out: &mut Vec<Effect>) -> Option<Diagnosis> {
        match self.logins.leave(&entry.task.spec) {
            Leave::Go => {}
            Leave::Later => {
                entry.retry_at = Some(now.mono + LOGIN_PAUSE);
                return None;
            }
            Leave::Guarded(detail) => {
                entry.retry_at = None;
                return Some(Diagnosis {
                    cause: Cause::SourceAuth,
                    detail,
                });
            }
        }
        let id = RunId(self.next_run);
        self.next_run += 1;
        entry.runs += 1;
        entry.retry_at = None;
        if let Some(cause) = entry.retry_for.take() {
            *entry.task.tally.restarts.entry(cause).or_default() += 1;
        }
        entry.task.progress = None;
        entry.run = Some(Run::new(id, now.mono));
        out.push(Effect::Start(id, entry.launch.clone()));
        None
    }

    /// The outcome of an [`Effect::Start`].
    pub fn started(
        &mut self,
        run: RunId,
        outcome: Result<StartedRun, Diagnosis>,
        now: Now,
    ) -> Vec<Effect> {
        let mut out = Vec::new();
        let Some(id) = self.task_of(run) else {
            return out;
        };
        let Some(entry) = self.tasks.get_mut(&id) else {
            return out;
        };
        match outcome {
            Ok(started) => {
                entry.task.tally.runs += 1;
                entry.task.process_id = Some(started.pid);
                entry.logs.push_back((entry.runs, started.log));
                if entry.logs.len() > KEPT_LOGS {
                    entry.logs.pop_front();
                }
                if entry.task.status == StreamStatus::Starting {
                    entry.tell(TaskEventKind::StatusUpdate, now.wall, &mut out);
                }
            }
            Err(diagnosis) => {
                entry.run = None;
                self.logins.ended(&entry.task.spec, LoginEnd::Unknown);
                entry.book_exit(None, None, Some(&diagnosis), now.wall);
                self.failed(&id, diagnosis, now, &mut out);
            }
        }
        out
    }

    /// Takes a child's event. What an old run still sends is dropped.
    pub fn child(&mut self, event: RunEvent, now: Now) -> Vec<Effect> {
        let mut out = Vec::new();
        let Some(id) = self.task_of(event.run) else {
            return out;
        };
        let Some(entry) = self.tasks.get_mut(&id) else {
            return out;
        };
        let Some(run) = &mut entry.run else {
            return out;
        };
        match event.event {
            ChildEvent::SessionUp(took) => {
                // FFmpeg opens its inputs before its output: the camera has let it in.
                if !run.has_session() {
                    self.logins.ended(&entry.task.spec, LoginEnd::Taken);
                }
                run.session_up(took, now.mono);
            }
            ChildEvent::Progress(progress) => {
                run.progress(&progress, now.mono);
                entry.task.progress = Some(progress);
                entry.task.last_heartbeat = Some(now.wall);
            }
            ChildEvent::Failing(diagnosis) => run.failing(diagnosis, now.mono),
            ChildEvent::Exited(exit) => {
                self.exited(&id, &exit, now, &mut out);
                return out;
            }
        }
        self.look(&id, now, &mut out);
        out
    }

    /// The next moment at which [`tick`](Self::tick) has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.tasks
            .values()
            .filter_map(|entry| entry.deadline(&self.policy))
            .min()
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Now) -> Vec<Effect> {
        let mut out = Vec::new();
        let due: Vec<TaskId> = self
            .tasks
            .iter()
            .filter(|(_, e)| e.deadline(&self.policy).is_some_and(|at| at <= now.mono))
            .map(|(id, _)| id.clone())
            .collect();
        for id in due {
            self.look(&id, now, &mut out);
        }
        out
    }

    /// Looks at one task: retries, confirmations, stalls, the ladder.
    fn look(&mut self, id: &TaskId, now: Now, out: &mut Vec<Effect>) {
        let Some(mut entry) = self.tasks.remove(id) else {
            return;
        };
        if entry.retry_at.is_some_and(|at| now.mono >= at)
            && let Some(diagnosis) = self.launch(&mut entry, now, out)
        {
            self.tasks.insert(id.clone(), entry);
            self.failed(id, diagnosis, now, out);
            return;
        }
        if entry.healthy_at().is_some_and(|at| now.mono >= at) {
            entry.account.reset();
            entry.task.retry_count = 0;
        }
        if let Some(run) = &mut entry.run {
            let run_id = run.id;
            match run.judge(&self.policy, now.mono) {
                Verdict::Wait => {}
                Verdict::Streaming => {
                    entry.task.tally.start = run.start_split();
                    entry.streaming(now.wall, out);
                }
                Verdict::End(why) => {
                    if let Some(signal) = run.end(why, false, &self.policy, now.mono) {
                        out.push(signal_effect(signal, run_id));
                    }
                    // The picture is gone now, not when the process is.
                    if entry.task.status == StreamStatus::Streaming {
                        entry.task.error = Some(run.failing.as_ref().map_or_else(
                            || {
                                Fault::new(
                                    ErrorCode::RtspStreamError,
                                    "no progress: the process is being ended",
                                )
                            },
                            |d| Fault::new(d.cause.code(), d.detail.clone()),
                        ));
                        entry.become_(StreamStatus::Reconnecting, now.wall, out);
                    }
                }
                Verdict::Send(signal) => {
                    let stuck = run.will_not_die();
                    out.push(signal_effect(signal, run_id));
                    if stuck {
                        entry.answer_stop(&Err(Fault::new(
                            ErrorCode::TaskStopFailed,
                            "the process does not end, not even by SIGKILL; it is tried again every 5 s",
                        )));
                    }
                }
            }
        }
        self.tasks.insert(id.clone(), entry);
    }

    fn exited(&mut self, id: &TaskId, exit: &ChildExit, now: Now, out: &mut Vec<Effect>) {
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
        let asked = matches!(run.ending(), Some(EndWhy::Stop | EndWhy::Shutdown));
        let said = exit.diagnosis.clone().or_else(|| run.failing.clone());
        let diagnosis = match run.ending() {
            Some(EndWhy::Stop | EndWhy::Shutdown) => None,
            Some(EndWhy::Stall) => Some(classified(said).unwrap_or_else(|| Diagnosis {
                cause: Cause::SourceStream,
                detail: format!(
                    "no progress for {} s: the source has stalled",
                    self.policy.stall_timeout.as_secs()
                ),
            })),
            Some(EndWhy::StartTimeout) => Some(classified(said).unwrap_or_else(|| Diagnosis {
                cause: Cause::EngineTimeout,
                detail: format!(
                    "no media within {} s of the start",
                    self.policy.start_timeout.as_secs()
                ),
            })),
            Some(EndWhy::Failing) => Some(run.failing.clone().or(said).unwrap_or_else(crash)),
            None if said.is_none() && entry.launch.ends_by_nature && exit.code == Some(0) => None,
            None => Some(said.unwrap_or_else(crash)),
        };
        match &diagnosis {
            Some(why) if why.cause == Cause::SourceAuth => {
                self.logins.ended(&entry.task.spec, LoginEnd::Refused);
            }
            _ if run.has_session() => {}
            _ => self.logins.ended(&entry.task.spec, LoginEnd::Unknown),
        }
        entry.book_exit(exit.code, exit.signal, diagnosis.as_ref(), now.wall);
        if run
            .streaming_since
            .is_some_and(|since| now.mono >= since + HEALTHY)
        {
            entry.account.reset();
        }
        match diagnosis {
            Some(diagnosis) => self.failed(id, diagnosis, now, out),
            None => {
                let reason = match run.ending() {
                    Some(EndWhy::Shutdown) => StopReason::NodeShutdown,
                    _ if asked => StopReason::Command,
                    _ => StopReason::EndOfFile,
                };
                self.stopped(id, reason, now, out);
            }
        }
    }

    /// A try has failed; its process, if there was one, is gone.
    fn failed(&mut self, id: &TaskId, diagnosis: Diagnosis, now: Now, out: &mut Vec<Effect>) {
        let jitter = self.jitter.f64();
        let uplink_down = diagnosis.cause == Cause::WhipUplink && self.uplink.is_down();
        let stopping = self.stopping;
        let Some(entry) = self.tasks.get_mut(id) else {
            return;
        };
        let fault = Fault::new(diagnosis.cause.code(), diagnosis.detail);
        entry.task.process_id = None;
        entry.task.error = Some(fault.clone());
        if stopping {
            self.stopped(id, StopReason::NodeShutdown, now, out);
            return;
        }
        let next = entry.account.failed(
            diagnosis.cause,
            entry.worked_before,
            uplink_down,
            entry.task.max_retries,
            jitter,
        );
        entry.task.retry_count = entry.account.counted;
        if let Next::Again(delay) = next {
            entry.retry_at = Some(now.mono + delay);
            // A try that may not even begin says nothing new of why the last one ended.
            entry.retry_for.get_or_insert(diagnosis.cause);
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
        let waiting = self.tasks.get_mut(id).and_then(|e| e.behind.take());
        if let Some(waiting) = waiting {
            if self.stopping {
                refuse_waiting(id, waiting.first_try);
            } else {
                self.begin(waiting.spec, waiting.launch, waiting.first_try, now, out);
            }
        }
        let mut ended: Vec<(SystemTime, u64, TaskId)> = self
            .tasks
            .iter()
            .filter(|(_, e)| e.task.status.is_terminal())
            .map(|(id, e)| {
                (
                    e.task.stopped_at.unwrap_or(e.task.created_at),
                    e.number,
                    id.clone(),
                )
            })
            .collect();
        if ended.len() > KEPT_ENDED {
            ended.sort();
            let surplus = ended.len() - KEPT_ENDED;
            for (_, _, id) in ended.into_iter().take(surplus) {
                self.tasks.remove(&id);
            }
        }
    }

    fn stop(
        &mut self,
        id: &TaskId,
        force: bool,
        done: Sender<Result<StreamTask, Fault>>,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let Some(entry) = self.tasks.get_mut(id) else {
            reply(&done, Err(unknown(id)));
            return;
        };
        if let Some(waiting) = entry.behind.take() {
            refuse_waiting(id, waiting.first_try);
        }
        if entry.task.status.is_terminal() {
            reply(&done, Ok(entry.task.clone()));
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

    fn list(&self, active_only: bool) -> Vec<StreamTask> {
        let mut found: Vec<(u64, &StreamTask)> = self
            .tasks
            .values()
            .filter(|e| !active_only || e.task.status.is_active())
            .map(|e| (e.number, &e.task))
            .collect();
        found.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        found.into_iter().map(|(_, task)| task.clone()).collect()
    }

    fn log(&self, id: &TaskId, run: Option<u64>) -> Result<TaskLog, Fault> {
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

    fn task_of(&self, run: RunId) -> Option<TaskId> {
        self.tasks
            .iter()
            .find(|(_, e)| e.run.as_ref().is_some_and(|r| r.id == run))
            .map(|(id, _)| id.clone())
    }
}
