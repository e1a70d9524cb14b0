//! The table of all tasks: decides, and does nothing itself.
//!
//! Requests, child events and the time go in; [`Effect`]s and the next deadline come out. It
//! knows no process, no thread, no clock. Replies go straight to their channels: they have room
//! for one and never block. `starts` is how tasks begin, `hand_overs` how one way to carry a task
//! follows another, `endings` how they end, `views` what is told of them.

mod endings;
mod hand_overs;
mod starts;
mod views;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::Sender;

use self::starts::{Asker, Preparing, never_prepared};
use super::consent::ConsentWatch;
use super::effect::Effect;
use super::entry::{Entry, no_way, reply, shown_as, signal_effect};
use super::known::KnownSources;
use super::passive::PassiveHosts;
use super::policy::Policy;
use super::relays::RelayWatch;
use super::retry::Account;
use super::run::{Run, Verdict};
use super::service::{FirstTryEnd, StreamRequest};
use crate::domain::engine::{EngineKind, HandOver, Plan};
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::gateway::{
    ChildEvent, LoginEnd, LoginPermit, RunEvent, RunId, StartedRun, StreamCameras, Uplink,
};
use crate::domain::stream::{
    AudioMode, Cause, Diagnosis, StreamSpec, StreamStatus, StreamTask, TaskAudio, TaskEventKind,
    TaskId, TaskMode, TaskSender, Unsendable,
};
use crate::util::time::Now;

/// Runs whose logs are kept, a task.
const KEPT_LOGS: usize = 3;

/// A try that waits for another one's login is looked at this often.
const LOGIN_PAUSE: Duration = Duration::from_millis(250);

/// All tasks.
pub struct Table {
    policy: Policy,
    uplink: Arc<dyn Uplink>,
    logins: Arc<dyn StreamCameras>,
    jitter: fastrand::Rng,
    consent: ConsentWatch,
    tasks: BTreeMap<TaskId, Entry>,
    known: KnownSources,
    passive: PassiveHosts,
    relays: RelayWatch,
    /// Accepted as far as the table goes; what the engine says to them is not known yet.
    preparing: BTreeMap<TaskId, Preparing>,
    next_ticket: u64,
    next_run: u64,
    next_number: u64,
    next_end: u64,
    maintenance: bool,
    stopping: bool,
}

impl Table {
    /// No tasks yet. `seed` is for the retry jitter.
    pub fn new(
        policy: Policy,
        uplink: Arc<dyn Uplink>,
        logins: Arc<dyn StreamCameras>,
        seed: u64,
    ) -> Self {
        Self {
            policy,
            uplink,
            logins,
            jitter: fastrand::Rng::with_seed(seed),
            consent: ConsentWatch::default(),
            tasks: BTreeMap::new(),
            known: KnownSources::default(),
            passive: PassiveHosts::default(),
            relays: RelayWatch::default(),
            preparing: BTreeMap::new(),
            next_ticket: 1,
            next_run: 1,
            next_number: 1,
            next_end: 1,
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
                accepted,
                first_try,
            } => {
                let asker = Asker {
                    accepted,
                    first_try,
                };
                self.start(*spec, asker, now, &mut out);
            }
            StreamRequest::Stop { task, force, done } => {
                self.stop(&task, force, done, now, &mut out);
            }
            StreamRequest::Get { task, reply: to } => {
                reply(&to, self.get(&task));
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

    /// A task of which nobody knows yet how it will be carried.
    fn new_task(&self, spec: StreamSpec, at: SystemTime) -> StreamTask {
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
            mode: match spec.ffmpeg_command {
                Some(_) => TaskMode::Prebuilt,
                None => TaskMode::Transcode,
            },
            sender: TaskSender::Ffmpeg,
            mode_reason: String::new(),
            audio: match spec.audio.mode {
                AudioMode::Off => TaskAudio::None,
                AudioMode::Wanted | AudioMode::Required => TaskAudio::Encoded,
            },
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
        plan: Plan,
        first_try: Option<Sender<FirstTryEnd>>,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> StreamTask {
        let mut task = self.new_task(spec, now.wall);
        shown_as(&mut task, plan.current(), "");
        let id = task.spec.task_id.clone();
        if let Some(before) = self.tasks.get(&id) {
            task.tally = before.task.tally.carried_on();
        }
        let number = self.next_number;
        self.next_number += 1;
        let mut entry = Entry {
            task,
            plan,
            informed: None,
            facts: None,
            sound_blamed: false,
            awaits: None,
            untold: true,
            run: None,
            retry_at: None,
            retry_for: None,
            wait_for: None,
            account: Account::new(),
            worked_before: false,
            runs: 0,
            runs_since_told: 0,
            logs: VecDeque::new(),
            first_try,
            stop_waiters: Vec::new(),
            behind: None,
            number,
            ended: None,
        };
        let guarded = self.launch(&mut entry, now, out);
        // After the start, so that the event carries the pid: see `started`.
        entry.task.status = StreamStatus::Starting;
        let shown = entry.task.clone();
        self.tasks.insert(id.clone(), entry);
        if let Some(diagnosis) = guarded {
            self.failed(&id, diagnosis, Duration::ZERO, now, out);
        }
        shown
    }

    /// Starts a try, or puts it off; or tells why there may be none.
    fn launch(&mut self, entry: &mut Entry, now: Now, out: &mut Vec<Effect>) -> Option<Diagnosis> {
        entry.worked_before |= self.logins.has_worked(&entry.task.spec);
        entry.show_whole_plan();
        let host = entry.task.spec.whip_url.host();
        let task = &entry.task.spec.task_id;
        if entry.way().engine == EngineKind::Relay && self.relays.avoids(task, host, now.mono) {
            entry.pass_over("lss's own relay has failed twice in a row of late");
        }
        let host = entry.task.spec.whip_url.host();
        if entry.way().dtls_active && self.passive.knows(host, now.mono) {
            entry.skip_way();
        }
        if entry.way().engine == EngineKind::Look
            && let Some(facts) = self.known.get(&entry.task.spec.source, now.mono)
        {
            // What it would say is known.
            let facts = Box::new(facts.clone());
            entry.retry_at = None;
            let ticket = self.new_ticket();
            entry.await_ways(ticket, facts, None, now.mono, out);
            return None;
        }
        match self.logins.permit(&entry.task.spec) {
            LoginPermit::Granted => {}
            LoginPermit::NotYet => {
                entry.retry_at = Some(now.mono + LOGIN_PAUSE);
                return None;
            }
            LoginPermit::Guarded(detail) => {
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
        entry.runs_since_told += 1;
        entry.retry_at = None;
        if let Some(cause) = entry.retry_for.take() {
            *entry.task.tally.restarts.entry(cause).or_default() += 1;
        }
        entry.task.progress = None;
        entry.run = Some(Run::new(id, now.mono));
        out.push(Effect::Start(id, entry.way().clone()));
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
                if entry.way().engine != EngineKind::Look {
                    entry.task.tally.runs += 1;
                }
                entry.task.process_id = Some(started.pid);
                entry.logs.push_back((entry.runs, started.log));
                if entry.logs.len() > KEPT_LOGS {
                    entry.logs.pop_front();
                }
                if entry.untold {
                    entry.tell(TaskEventKind::StatusUpdate, now.wall, &mut out);
                }
            }
            Err(diagnosis) => {
                entry.run = None;
                self.logins.ended(&entry.task.spec, LoginEnd::Unknown);
                entry.book_exit(None, None, Some(&diagnosis), now.wall);
                self.way_failed(&id, diagnosis, Duration::ZERO, now, &mut out);
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
        run.spoke();
        match event.event {
            ChildEvent::Spoke => {}
            ChildEvent::SessionUp(took) => {
                // FFmpeg opens its inputs before its output: the camera has let it in.
                if run.take_login() {
                    self.logins.ended(&entry.task.spec, LoginEnd::Taken);
                }
                run.session_up(took, now.mono);
            }
            ChildEvent::Handshaking => {
                if run.take_login() {
                    self.logins.ended(&entry.task.spec, LoginEnd::Taken);
                }
                run.handshaking(&self.policy, now.mono);
            }
            ChildEvent::LoginTaken => {
                if run.take_login() {
                    self.logins.ended(&entry.task.spec, LoginEnd::Taken);
                }
            }
            ChildEvent::KeyframeWanted => {
                if run.ending().is_none() {
                    self.logins.keyframe_wanted(&entry.task.spec);
                }
            }
            ChildEvent::Progress(progress) => {
                run.progress(&progress, now.mono);
                entry.note_health();
                entry.task.progress = Some(progress);
                entry.task.last_heartbeat = Some(now.wall);
            }
            ChildEvent::Failing(diagnosis) => run.failing(diagnosis, now.mono),
            ChildEvent::FailingAlone(diagnosis) => {
                run.fails_alone = run.failing.is_none();
                run.failing(diagnosis, now.mono);
            }
            ChildEvent::SessionLost(why) => {
                run.session_lost(now.mono);
                if entry.task.status == StreamStatus::Streaming && run.ending().is_none() {
                    entry.task.error = Some(Fault::new(why.cause.code(), why.detail));
                    entry.become_(StreamStatus::Reconnecting, now.wall, &mut out);
                }
            }
            ChildEvent::Unfit(why) => {
                let mut facts = entry.facts.as_deref().cloned().unwrap_or_default();
                facts.video.unsendable = Some(Unsendable {
                    by: None,
                    why: why.clone(),
                });
                let hand_over = HandOver {
                    facts: Some(facts),
                    why,
                };
                run.hand_over(hand_over, now.mono);
            }
            ChildEvent::HandOver(hand_over) => run.hand_over(*hand_over, now.mono),
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
            .chain(self.prepare_deadline())
            .min()
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Now) -> Vec<Effect> {
        let mut out = Vec::new();
        self.expire_preparing(now);
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
            self.failed(id, diagnosis, Duration::ZERO, now, out);
            return;
        }
        if entry
            .awaits
            .as_ref()
            .is_some_and(|a| now.mono >= a.give_up_at)
        {
            entry.awaits = None;
            self.tasks.insert(id.clone(), entry);
            self.has_no_way(id, no_way(never_prepared()), now, out);
            return;
        }
        if let Some(run) = &mut entry.run {
            let run_id = run.id;
            match run.judge(&self.policy, now.mono) {
                Verdict::Wait => {}
                Verdict::Streaming => {
                    entry.task.tally.start = run.start_split();
                    entry.sound_blamed = false;
                    if let Some(facts) = &entry.facts {
                        self.known.keep(&entry.task.spec.source, facts, now.mono);
                    }
                    if entry.way().engine == EngineKind::Relay {
                        let host = entry.task.spec.whip_url.host();
                        self.relays.forget(id, host);
                    }
                    entry.streaming(now.wall, out);
                }
                Verdict::End(why) => {
                    if let Some(signal) = run.end(why, false, &self.policy, now.mono) {
                        out.push(signal_effect(signal, run_id));
                    }
                    // The picture is gone now, not when the process is.
                    if entry.task.status == StreamStatus::Streaming {
                        entry.task.error = Some(match (&run.failing, &run.hand_over) {
                            (Some(d), _) => Fault::new(d.cause.code(), d.detail.clone()),
                            (None, Some(h)) => hand_overs::interrupted(h),
                            (None, None) => Fault::new(
                                ErrorCode::RtspStreamError,
                                "no progress: the process is being ended",
                            ),
                        });
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

    fn task_of(&self, run: RunId) -> Option<TaskId> {
        self.tasks
            .iter()
            .find(|(_, e)| e.run.as_ref().is_some_and(|r| r.id == run))
            .map(|(id, _)| id.clone())
    }
}
