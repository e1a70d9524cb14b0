//! The table in simulated time.
#![allow(unused_must_use)] // Many tests look at the task afterwards, not at the first answer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use proptest::prelude::*;

use super::effect::{Effect, FailedTry};
use super::policy::Policy;
use super::prepare::Ticket;
use super::service::{FirstTryEnd, StreamRequest};
use super::table::Table;
use super::validate::{StartCommand, StreamRules};
use crate::domain::engine::{EngineKind, HandOver, Launch, Plan, Stdin};
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::gateway::{
    ChildEvent, ChildExit, LoginEnd, LoginPermit, RunEvent, RunId, RunLog, StartedRun,
    StreamCameras, Uplink,
};
use crate::domain::stream::{
    AudioFacts, Cause, Diagnosis, Progress, SourceFacts, StopReason, StreamSpec, StreamStatus,
    StreamTask, TaskAudio, TaskEvent, TaskEventKind, TaskId, TaskMode, TaskSender,
};
use crate::util::secret::Secret;
use crate::util::time::Now;

struct NoLog;
impl RunLog for NoLog {
    fn lines(&self) -> Vec<String> {
        vec!["a line".to_owned()]
    }
}

struct Up(bool);
impl Uplink for Up {
    fn is_down(&self) -> bool {
        !self.0
    }
}

/// A guard that answers as it is told, and writes down what it hears.
#[derive(Default)]
struct Door {
    answers: Mutex<VecDeque<LoginPermit>>,
    asked: AtomicUsize,
    /// How often it has let somebody go.
    went: AtomicUsize,
    heard: Mutex<Vec<LoginEnd>>,
    /// The camera has taken this login before, from somebody.
    has_worked: AtomicBool,
    /// How often a keyframe was wanted.
    keyframes: AtomicUsize,
}

impl Door {
    fn says(&self, answers: impl IntoIterator<Item = LoginPermit>) {
        self.answers.lock().unwrap().extend(answers);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    pub(super) fn keyframes(&self) -> usize {
        self.keyframes.load(Ordering::Relaxed)
    }

    fn heard(&self) -> Vec<LoginEnd> {
        std::mem::take(&mut self.heard.lock().unwrap())
    }
}

impl StreamCameras for Door {
    fn permit(&self, _: &StreamSpec) -> LoginPermit {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let answer = self.answers.lock().unwrap().pop_front();
        let answer = answer.unwrap_or(LoginPermit::Granted);
        if answer == LoginPermit::Granted {
            self.went.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }

    fn has_worked(&self, _: &StreamSpec) -> bool {
        self.has_worked.load(Ordering::Relaxed)
    }

    fn ended(&self, _: &StreamSpec, end: LoginEnd) {
        self.heard.lock().unwrap().push(end);
    }

    fn keyframe_wanted(&self, _: &StreamSpec) {
        self.keyframes.fetch_add(1, Ordering::Relaxed);
    }
}

/// How a simulated child behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manners {
    Willing,
    NeedsTwoTerminates,
    OnlyKill,
}

struct Child {
    manners: Manners,
    terminates: u32,
    /// Set when it has exited, until it is reaped.
    exited: bool,
}

/// How a plan begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begins {
    /// With FFmpeg.
    Blindly,
    /// With a look.
    Looking,
    /// With FFmpeg as DTLS client.
    Active,
}

struct Sim {
    table: Table,
    door: Arc<Door>,
    now: Now,
    children: BTreeMap<RunId, Child>,
    manners: Manners,
    spawn_fails: Option<Cause>,
    /// Command lines to come are of sources that end by nature.
    ends_by_nature: bool,
    /// What the endpoint asks for when a child exits.
    retry_after: Option<Duration>,
    /// Command lines are prepared later, by [`Sim::prepare`].
    hold_prepared: bool,
    /// With whether it follows from what a source has said.
    held: VecDeque<(Ticket, bool)>,
    /// Plans to come.
    begins: Begins,
    /// What has been started, in this order.
    engines: Vec<EngineKind>,
    /// Which of it as DTLS client.
    actives: Vec<bool>,
    events: Vec<TaskEvent>,
    failed_tries: Vec<FailedTry>,
    launches: u64,
    max_live: usize,
}

type Stopped = Receiver<Result<StreamTask, Fault>>;

impl Sim {
    fn new() -> Self {
        Self::with(Policy::default(), true)
    }

    fn with(policy: Policy, uplink: bool) -> Self {
        let door = Arc::new(Door::default());
        Self {
            table: Table::new(policy, Arc::new(Up(uplink)), door.clone(), 7),
            door,
            now: Now::read(),
            children: BTreeMap::new(),
            manners: Manners::Willing,
            spawn_fails: None,
            ends_by_nature: false,
            retry_after: None,
            hold_prepared: false,
            held: VecDeque::new(),
            begins: Begins::Blindly,
            engines: Vec::new(),
            actives: Vec::new(),
            events: Vec::new(),
            failed_tries: Vec::new(),
            launches: 0,
            max_live: 0,
        }
    }

    fn start(&mut self, id: &str) -> (Result<StreamTask, Fault>, Receiver<FirstTryEnd>) {
        self.start_with(id, |_| {}, false)
    }

    fn start_with(
        &mut self,
        id: &str,
        change: impl FnOnce(&mut StartCommand),
        ends_by_nature: bool,
    ) -> (Result<StreamTask, Fault>, Receiver<FirstTryEnd>) {
        let mut command = StartCommand {
            task_id: Some(id.to_owned()),
            source_url: Some(Secret::new("rtsp://127.0.0.1/x")),
            whip_url: Some(Secret::new("https://whip.example/y")),
            ..StartCommand::default()
        };
        change(&mut command);
        let spec = command.validate(&StreamRules::default()).unwrap();
        let (accepted, answer) = bounded(1);
        let (tx, first) = bounded(1);
        self.ends_by_nature = ends_by_nature;
        let effects = self.table.request(
            StreamRequest::Start {
                spec: Box::new(spec),
                accepted: Some(accepted),
                first_try: Some(tx),
            },
            self.now,
        );
        self.perform(effects);
        let answer = answer.try_recv().unwrap_or_else(|_| {
            assert!(self.hold_prepared, "not answered");
            Err(Fault::new(ErrorCode::Success, "not yet"))
        });
        (answer, first)
    }

    /// What the engine answers: where it looks first, FFmpeg without a look comes second; what
    /// follows from a look is a copy, and behind it a transcode.
    fn plan(&self, informed: bool) -> Plan {
        let launch = |engine, mode, reason: &str| self.launch(engine, mode, reason);
        let blind = launch(EngineKind::Ffmpeg, TaskMode::Transcode, "");
        match (informed, self.begins) {
            (true, _) => Plan::new(
                launch(EngineKind::Ffmpeg, TaskMode::Copy, "it fits"),
                [Ok(launch(
                    EngineKind::Ffmpeg,
                    TaskMode::Transcode,
                    "encoded",
                ))],
            ),
            (false, Begins::Looking) => Plan::new(
                launch(EngineKind::Look, TaskMode::Transcode, "it is asked"),
                [Ok(blind)],
            ),
            (false, Begins::Active) => Plan::new(
                Launch {
                    dtls_active: true,
                    ..blind.clone()
                },
                [Ok(blind)],
            ),
            (false, Begins::Blindly) => Plan::only(blind),
        }
    }

    fn launch(&self, engine: EngineKind, mode: TaskMode, reason: &str) -> Launch {
        Launch {
            engine,
            mode,
            sender: TaskSender::Ffmpeg,
            mode_reason: reason.to_owned(),
            audio: TaskAudio::Encoded,
            argv: Vec::new(),
            stdin: Stdin::Empty,
            ends_by_nature: self.ends_by_nature,
            whip_bearer: None,
            dtls_active: false,
        }
    }

    /// The oldest plan that is held is there.
    fn prepare(&mut self, plan: Result<(), Fault>) {
        let (ticket, informed) = self.held.pop_front().expect("nothing is being prepared");
        let plan = plan.map(|()| self.plan(informed));
        let effects = self.table.prepared(ticket, plan, self.now);
        self.perform(effects);
    }

    fn stop(&mut self, id: &str, force: bool) -> Stopped {
        let (done, answer) = bounded(1);
        let task = TaskId::parse("taskId", id).unwrap();
        let effects = self
            .table
            .request(StreamRequest::Stop { task, force, done }, self.now);
        self.perform(effects);
        answer
    }

    fn get(&mut self, id: &str) -> StreamTask {
        let (reply, answer) = bounded(1);
        let task = TaskId::parse("taskId", id).unwrap();
        let effects = self
            .table
            .request(StreamRequest::Get { task, reply }, self.now);
        assert!(effects.is_empty());
        answer.try_recv().unwrap().unwrap()
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        let mut queue: std::collections::VecDeque<Effect> = effects.into();
        while let Some(effect) = queue.pop_front() {
            match effect {
                Effect::Prepare(ticket, _, facts) if self.hold_prepared => {
                    self.held.push_back((ticket, facts.is_some()));
                }
                Effect::Prepare(ticket, _, facts) => {
                    let sound = facts.as_ref().and_then(|facts| facts.audio.as_ref());
                    let plan = Ok(if sound.is_some_and(|sound| sound.silent) {
                        Plan::only(Launch {
                            audio: TaskAudio::Dropped,
                            ..self.launch(EngineKind::Ffmpeg, TaskMode::Copy, "without sound")
                        })
                    } else if facts.as_ref().is_some_and(|f| f.video.unsendable.is_some()) {
                        let way = TaskMode::Transcode;
                        Plan::only(self.launch(EngineKind::Ffmpeg, way, "refused as it is"))
                    } else {
                        self.plan(facts.is_some())
                    });
                    queue.extend(self.table.prepared(ticket, plan, self.now));
                }
                Effect::Start(run, launch) => {
                    self.launches += 1;
                    self.engines.push(launch.engine);
                    self.actives.push(launch.dtls_active);
                    let outcome = match self.spawn_fails {
                        Some(cause) => Err(Diagnosis {
                            cause,
                            detail: "spawn".into(),
                        }),
                        None => {
                            self.children.insert(
                                run,
                                Child {
                                    manners: self.manners,
                                    terminates: 0,
                                    exited: false,
                                },
                            );
                            Ok(StartedRun {
                                pid: 1000,
                                log: Arc::new(NoLog),
                            })
                        }
                    };
                    let live = self.children.len();
                    self.max_live = self.max_live.max(live);
                    queue.extend(self.table.started(run, outcome, self.now));
                }
                Effect::Terminate(run) => {
                    let child = self.children.get_mut(&run).expect("signal to a reaped run");
                    child.terminates += 1;
                    let ends = match child.manners {
                        Manners::Willing => true,
                        Manners::NeedsTwoTerminates => child.terminates >= 2,
                        Manners::OnlyKill => false,
                    };
                    if ends {
                        queue.extend(self.exit_effects(run, Some(255), None, None));
                    }
                }
                Effect::Kill(run) => {
                    assert!(self.children.contains_key(&run), "kill of a reaped run");
                    queue.extend(self.exit_effects(run, None, Some(9), None));
                }
                Effect::Reap(run) => {
                    let child = self.children.remove(&run).expect("reaped twice");
                    assert!(child.exited, "reaped alive");
                }
                Effect::FailedTry(failed) => self.failed_tries.push(*failed),
                Effect::Event(event) => self.events.push(*event),
            }
        }
    }

    fn exit_effects(
        &mut self,
        run: RunId,
        code: Option<i32>,
        signal: Option<i32>,
        diagnosis: Option<Diagnosis>,
    ) -> Vec<Effect> {
        match self.children.get_mut(&run) {
            Some(child) if !child.exited => child.exited = true,
            _ => return Vec::new(),
        }
        self.table.child(
            RunEvent {
                run,
                event: ChildEvent::Exited(ChildExit {
                    code,
                    signal,
                    diagnosis,
                    cpu: Duration::from_millis(300),
                    retry_after: self.retry_after,
                }),
            },
            self.now,
        )
    }

    fn exit(&mut self, run: RunId, code: i32, cause: Option<Cause>) {
        let diagnosis = cause.map(|cause| Diagnosis {
            cause,
            detail: cause.name().to_owned(),
        });
        let effects = self.exit_effects(run, Some(code), None, diagnosis);
        self.perform(effects);
    }

    fn child_event(&mut self, run: RunId, event: ChildEvent) {
        let effects = self.table.child(RunEvent { run, event }, self.now);
        self.perform(effects);
    }

    /// The child says that another way is to carry the task, and ends.
    fn hand_over(&mut self, run: RunId, facts: bool, why: &str) {
        self.child_event(run, hand_over(facts, why));
        self.exit(run, 0, None);
    }

    /// Lets time pass, deadline by deadline.
    fn pass(&mut self, by: Duration) {
        let end = self.now.after(by);
        let mut turns = 0;
        while let Some(at) = self.table.next_deadline().filter(|at| *at <= end.mono) {
            turns += 1;
            assert!(turns < 10_000, "a deadline that is never dealt with");
            let step = at.saturating_duration_since(self.now.mono);
            self.now = self.now.after(step);
            let effects = self.table.tick(self.now);
            self.perform(effects);
        }
        self.now = self.now.after(end.mono - self.now.mono);
    }

    /// Lets time pass until the next child is started, or for 73 s.
    fn until_launch(&mut self) {
        let before = self.launches;
        for _ in 0..730 {
            if self.launches > before {
                return;
            }
            self.pass(Duration::from_millis(100));
        }
    }

    fn live(&self) -> RunId {
        *self.children.keys().next_back().expect("no live child")
    }

    fn send_media(&mut self, run: RunId, out_time_ms: u64) {
        self.child_event(
            run,
            ChildEvent::Progress(Progress {
                out_time_ms,
                ..Progress::default()
            }),
        );
    }

    /// Brings the newest child to STREAMING.
    fn stream(&mut self) -> RunId {
        let run = self.live();
        self.child_event(run, ChildEvent::SessionUp(None));
        self.send_media(run, 500);
        self.pass(Duration::from_secs(2));
        run
    }

    /// Streams on for so long.
    fn stream_for(&mut self, run: RunId, seconds: u64) {
        for s in 0..seconds {
            self.send_media(run, 10_000 + s * 1000 + self.launches);
            self.pass(Duration::from_secs(1));
        }
    }

    fn kinds(&self) -> Vec<(TaskEventKind, StreamStatus)> {
        self.events
            .iter()
            .map(|e| (e.kind, e.task.status))
            .collect()
    }
}

fn hand_over(facts: bool, why: &str) -> ChildEvent {
    ChildEvent::HandOver(Box::new(HandOver {
        facts: facts.then(SourceFacts::default),
        why: why.to_owned(),
    }))
}

#[test]
fn the_happy_path_and_its_callbacks() {
    let mut sim = Sim::new();
    let (accepted, first) = sim.start("t");
    assert_eq!(accepted.unwrap().status, StreamStatus::Starting);
    assert!(first.try_recv().is_err(), "answered before it streams");
    sim.stream();
    assert_eq!(
        first.try_recv().unwrap().unwrap().status,
        StreamStatus::Streaming
    );
    let done = sim.stop("t", false);
    let task = done.try_recv().unwrap().unwrap();
    assert_eq!(task.status, StreamStatus::Stopped);
    assert_eq!(task.stop_reason, Some(StopReason::Command));
    assert_eq!(
        sim.kinds(),
        [
            (TaskEventKind::StatusUpdate, StreamStatus::Starting),
            (TaskEventKind::Started, StreamStatus::Streaming),
            (TaskEventKind::Stopped, StreamStatus::Stopped),
        ]
    );
    assert!(sim.children.is_empty());
    let again = sim.stop("t", false);
    assert!(again.try_recv().unwrap().is_ok(), "stopping the stopped");
    let unknown = sim.stop("nobody", false);
    assert_eq!(
        unknown.try_recv().unwrap().unwrap_err().code,
        ErrorCode::TaskNotFound
    );
}

#[test]
fn an_endpoint_may_ask_for_ten_minutes_and_no_more() {
    for (asked, waits) in [(1, 1), (300, 300), (600, 600), (86_400, 600)] {
        let mut sim = Sim::new();
        sim.start("t");
        sim.retry_after = Some(Duration::from_secs(asked));
        let run = sim.live();
        sim.exit(run, 8, Some(Cause::WhipUnreachable));
        let told = sim.failed_tries.last().unwrap().next_in;
        // The ladder's first step is a second, and up to a fifth more.
        assert!(
            told >= Duration::from_secs(waits) && told <= Duration::from_secs(waits).mul_f64(1.2),
            "{asked}: {told:?}"
        );
        sim.pass(told.saturating_sub(Duration::from_millis(10)));
        assert_eq!(sim.launches, 1, "{asked}");
        sim.pass(Duration::from_millis(20));
        assert_eq!(sim.launches, 2, "{asked}");
        // Asked once, not for ever.
        sim.retry_after = None;
        let run = sim.live();
        sim.exit(run, 8, Some(Cause::WhipUnreachable));
        let told = sim.failed_tries.last().unwrap().next_in;
        assert!(told <= Duration::from_secs(12), "{asked}: {told:?}");
    }
}

#[test]
fn an_endpoint_that_asks_for_consent_is_named_at_the_second_session_that_it_ends() {
    let mut sim = Sim::new();
    sim.start("t");
    for named in [false, true] {
        let run = sim.stream();
        sim.stream_for(run, 32);
        sim.exit(run, 145, Some(Cause::WhipStream));
        let error = sim.get("t").error.unwrap();
        assert_eq!(error.code, ErrorCode::WhipStreamError);
        assert_eq!(error.message.contains("ICE consent"), named, "{error:?}");
        sim.until_launch();
    }
}

#[test]
fn output_that_runs_away_is_a_stall_and_says_so() {
    let mut sim = Sim::new();
    sim.start("t");
    let run = sim.stream();
    for second in 1..8 {
        sim.send_media(run, second * 60_000);
        sim.pass(Duration::from_secs(1));
    }
    let task = sim.get("t");
    assert_eq!(task.status, StreamStatus::Reconnecting);
    assert_eq!(task.tally.stalls, 1);
    let error = task.error.unwrap();
    assert_eq!(error.code, ErrorCode::RtspStreamError);
    assert!(error.message.contains("clock"), "{error:?}");
}

#[test]
fn a_command_line_that_takes_its_time_holds_up_its_own_start_alone() {
    let mut sim = Sim::new();
    sim.start("runs");
    sim.stream();
    sim.hold_prepared = true;
    let (_, first) = sim.start("slow");
    assert_eq!(sim.get("slow").status, StreamStatus::Starting, "shown");
    assert_eq!(
        sim.start("slow").0.unwrap_err().code,
        ErrorCode::TaskAlreadyExist
    );
    let done = sim.stop("runs", false);
    assert!(done.try_recv().unwrap().is_ok());
    sim.prepare(Ok(()));
    sim.stream();
    assert!(first.try_recv().unwrap().is_ok());
    // Refused by the engine: the task was never there.
    let (_, first) = sim.start("bad");
    sim.prepare(Err(Fault::new(ErrorCode::ValidationFailed, "no")));
    let (fault, task) = first.try_recv().unwrap().unwrap_err();
    assert_eq!(
        (fault.code, task.is_none()),
        (ErrorCode::ValidationFailed, true)
    );
    let unknown = sim.stop("bad", false).try_recv().unwrap();
    assert_eq!(unknown.unwrap_err().code, ErrorCode::TaskNotFound);
}

#[test]
fn a_stop_takes_back_a_start_that_is_being_prepared() {
    let mut sim = Sim::new();
    sim.hold_prepared = true;
    let (_, first) = sim.start("t");
    let done = sim.stop("t", false).try_recv().unwrap().unwrap();
    assert_eq!(done.status, StreamStatus::Stopped);
    let (fault, task) = first.try_recv().unwrap().unwrap_err();
    assert_eq!(fault.code, ErrorCode::TaskInvalidState);
    assert_eq!(task.unwrap().status, StreamStatus::Stopped);
    sim.prepare(Ok(()));
    assert_eq!(sim.launches, 0, "it began all the same");
    // Another one of the same id is not taken for it.
    sim.start("t");
    sim.stop("t", false);
    sim.start("t");
    sim.prepare(Ok(()));
    assert_eq!(sim.launches, 0);
    sim.prepare(Ok(()));
    assert_eq!(sim.launches, 1);
}

#[test]
fn places_are_counted_while_command_lines_are_prepared() {
    let policy = Policy {
        max_tasks: 2,
        ..Policy::default()
    };
    let mut sim = Sim::with(policy, true);
    sim.hold_prepared = true;
    sim.start("a");
    sim.start("b");
    assert_eq!(
        sim.start("c").0.unwrap_err().code,
        ErrorCode::TaskLimitReached
    );
    sim.prepare(Ok(()));
    assert_eq!(
        sim.start("c").0.unwrap_err().code,
        ErrorCode::TaskLimitReached
    );
    sim.stop("b", false);
    let (_, first) = sim.start("c");
    // What never comes is given up.
    sim.pass(Duration::from_secs(30));
    let (fault, _) = first.try_recv().unwrap().unwrap_err();
    assert_eq!(fault.code, ErrorCode::FfmpegTimeout);
    sim.start("d");
    let (_, first) = sim.start("e");
    assert!(first.try_recv().unwrap().is_err(), "a and d are active");
    let effects = sim.table.shut_down(sim.now);
    sim.perform(effects);
    assert!(sim.table.next_deadline().is_none());
}

#[test]
fn a_lost_camera_comes_back_by_itself() {
    let mut sim = Sim::new();
    let (_, first) = sim.start("t");
    let run = sim.stream();
    assert!(first.try_recv().unwrap().is_ok());
    sim.exit(run, 0, Some(Cause::SourceStream));
    let task = sim.get("t");
    assert_eq!(task.status, StreamStatus::Reconnecting);
    assert_eq!((task.retry_count, task.process_id), (1, None));
    sim.pass(Duration::from_millis(1300));
    sim.stream();
    let task = sim.get("t");
    assert_eq!(task.status, StreamStatus::Streaming);
    assert_eq!(task.error, None);
    assert_eq!(
        sim.kinds(),
        [
            (TaskEventKind::StatusUpdate, StreamStatus::Starting),
            (TaskEventKind::Started, StreamStatus::Streaming),
            (TaskEventKind::StatusUpdate, StreamStatus::Reconnecting),
            (TaskEventKind::StatusUpdate, StreamStatus::Streaming),
        ]
    );
    assert_eq!(task.exit_history.len(), 1);
    assert_eq!(task.exit_history[0].error_code, ErrorCode::RtspStreamError);
}

#[test]
fn a_guarded_login_is_not_tried() {
    let mut sim = Sim::new();
    sim.door
        .says([LoginPermit::Guarded("guarded until noon".to_owned())]);
    let (_, first) = sim.start("t");
    let (fault, task) = first.try_recv().unwrap().unwrap_err();
    assert_eq!(fault.code, ErrorCode::RtspAuthFailed);
    assert_eq!(fault.message, "guarded until noon");
    assert_eq!(task.unwrap().status, StreamStatus::Error);
    assert_eq!(sim.launches, 0);
    assert_eq!(sim.door.heard(), []);
    assert!(sim.get("t").exit_history.is_empty(), "nothing has run");
    assert_eq!(sim.table.next_deadline(), None);
}

#[test]
fn a_login_that_worked_and_is_guarded_waits_without_a_process() {
    let mut sim = Sim::new();
    sim.start("t");
    let run = sim.stream();
    assert_eq!(sim.door.heard(), [LoginEnd::Taken]);
    sim.exit(run, 0, Some(Cause::SourceAuth));
    assert_eq!(sim.door.heard(), [LoginEnd::Refused]);
    let guarded = || LoginPermit::Guarded("guarded".to_owned());
    sim.door.says(std::iter::repeat_with(guarded).take(3));
    let launches = sim.launches;
    while sim.door.asked() < 4 {
        assert_eq!(sim.launches, launches);
        sim.pass(Duration::from_secs(1));
    }
    let task = sim.get("t");
    assert_eq!(task.status, StreamStatus::Reconnecting);
    assert_eq!((task.retry_count, task.exit_history.len()), (0, 1));
    sim.until_launch();
    sim.stream();
    assert_eq!(sim.get("t").status, StreamStatus::Streaming);
    assert_eq!(sim.door.heard(), [LoginEnd::Taken]);
}

#[test]
fn a_new_task_with_a_login_that_the_guard_knows_as_good_waits() {
    let mut sim = Sim::new();
    sim.door.has_worked.store(true, Ordering::Relaxed);
    sim.door
        .says([LoginPermit::Guarded("guarded for 10 s".to_owned())]);
    let (_, first) = sim.start("t");
    let (fault, task) = first.try_recv().unwrap().unwrap_err();
    assert_eq!(fault.code, ErrorCode::RtspAuthFailed);
    assert_eq!(task.unwrap().status, StreamStatus::Reconnecting);
    sim.until_launch();
    // Refused once more: that is waited out too, and does not count.
    let run = sim.live();
    sim.exit(run, 1, Some(Cause::SourceAuth));
    let task = sim.get("t");
    assert_eq!(task.status, StreamStatus::Reconnecting);
    assert_eq!(task.retry_count, 0);
    sim.until_launch();
    sim.stream();
    assert_eq!(sim.get("t").status, StreamStatus::Streaming);
}

#[test]
fn a_try_waits_for_the_logins_before_it() {
    let mut sim = Sim::new();
    sim.door.says([LoginPermit::NotYet, LoginPermit::NotYet]);
    let (accepted, first) = sim.start("t");
    assert_eq!(accepted.unwrap().status, StreamStatus::Starting);
    assert_eq!(sim.launches, 0);
    assert!(first.try_recv().is_err());
    sim.until_launch();
    assert_eq!(sim.door.asked(), 3);
    sim.stream();
    assert!(first.try_recv().unwrap().is_ok());
    sim.stop("t", false);
    // A stop needs no try.
    sim.door.says([LoginPermit::NotYet]);
    let (_, first) = sim.start("t");
    let done = sim.stop("t", false);
    assert_eq!(
        done.try_recv().unwrap().unwrap().status,
        StreamStatus::Stopped
    );
    assert!(first.try_recv().unwrap().is_err());
    assert_eq!(sim.table.next_deadline(), None);
}

#[test]
fn the_guard_hears_of_each_try_once() {
    let mut sim = Sim::new();
    // No process at all.
    sim.spawn_fails = Some(Cause::EngineMissing);
    sim.start("a");
    assert_eq!(sim.door.heard(), [LoginEnd::Unknown]);
    sim.spawn_fails = None;
    // It ends before the camera has let it in, or not.
    sim.start("b");
    let run = sim.live();
    sim.exit(run, 1, Some(Cause::SourceStream));
    sim.stop("b", false);
    assert_eq!(sim.door.heard(), [LoginEnd::Unknown]);
    sim.start("c");
    let run = sim.live();
    sim.exit(run, 1, Some(Cause::SourceAuth));
    assert_eq!(sim.door.heard(), [LoginEnd::Refused]);
    // Once a run, however often its session is told of.
    sim.start("d");
    let run = sim.stream();
    sim.child_event(run, ChildEvent::SessionUp(None));
    sim.stop("d", false);
    assert_eq!(sim.door.heard(), [LoginEnd::Taken]);
}

#[test]
fn exit_code_zero_of_a_live_source_is_unexpected() {
    let mut sim = Sim::new();
    let (_, first) = sim.start("t");
    let run = sim.live();
    sim.exit(run, 0, None);
    assert_eq!(sim.get("t").status, StreamStatus::Reconnecting);
    let (fault, task) = first.try_recv().unwrap().unwrap_err();
    assert_eq!(fault.code, ErrorCode::FfmpegCrash);
    assert_eq!(task.unwrap().status, StreamStatus::Reconnecting);
}

#[test]
fn a_file_that_ends_is_stopped() {
    let mut sim = Sim::new();
    let (_, first) = sim.start_with("t", |_| {}, true);
    let run = sim.stream();
    sim.exit(run, 0, None);
    let task = sim.get("t");
    assert_eq!(task.status, StreamStatus::Stopped);
    assert_eq!(task.stop_reason, Some(StopReason::EndOfFile));
    assert!(first.try_recv().unwrap().is_ok());
}

#[test]
fn retries_spent_is_error_and_a_start_replaces_it() {
    let mut sim = Sim::new();
    let (_, first) = sim.start("t");
    for _ in 0..4 {
        let run = sim.live();
        sim.exit(run, 1, Some(Cause::SourceUnreachable));
        sim.until_launch();
    }
    let task = sim.get("t");
    assert_eq!(task.status, StreamStatus::Error);
    assert_eq!(task.error.unwrap().code, ErrorCode::RtspConnFailed);
    assert_eq!(sim.launches, 4);
    assert_eq!(
        first.try_recv().unwrap().unwrap_err().0.code,
        ErrorCode::RtspConnFailed
    );
    let (accepted, _) = sim.start("t");
    assert_eq!(accepted.unwrap().status, StreamStatus::Starting);
}

#[test]
fn counters_go_on_in_the_task_that_replaces_another() {
    let mut sim = Sim::new();
    sim.start("t");
    let run = sim.stream();
    sim.exit(run, 1, Some(Cause::SourceUnreachable));
    sim.until_launch();
    let run = sim.stream();
    sim.exit(run, 1, Some(Cause::WhipStream));
    let waits = sim.get("t").tally;
    assert_eq!(waits.failures.get(&Cause::WhipStream), Some(&1));
    assert_eq!(waits.restarts.get(&Cause::WhipStream), None, "not yet");
    sim.stop("t", false);
    sim.start("t");
    let tally = sim.get("t").tally;
    assert_eq!((tally.runs, tally.start), (3, None));
    assert_eq!(tally.failures.values().sum::<u64>(), 2);
    assert_eq!(
        tally.restarts,
        BTreeMap::from([(Cause::SourceUnreachable, 1)]),
        "a stopped task was not started again for its failure"
    );
    assert_eq!(tally.cpu, Duration::from_millis(600));
    assert!(waits.start.is_some());
}

#[test]
fn a_healthy_minute_resets_the_counter() {
    let mut sim = Sim::new();
    sim.start("t");
    let run = sim.live();
    sim.exit(run, 1, Some(Cause::SourceUnreachable));
    sim.pass(Duration::from_secs(2));
    let run = sim.stream();
    assert_eq!(sim.get("t").retry_count, 1);
    sim.stream_for(run, 61);
    assert_eq!(sim.get("t").retry_count, 0);
}

#[test]
fn what_comes_after_the_last_picture_is_not_healthy() {
    let mut sim = Sim::new();
    sim.manners = Manners::OnlyKill;
    sim.start("t");
    let run = sim.live();
    sim.exit(run, 1, Some(Cause::SourceUnreachable));
    sim.pass(Duration::from_secs(2));
    let run = sim.stream();
    assert_eq!(sim.get("t").retry_count, 1);
    // 55 s of pictures, 10 s until that is a stall, 10 s until the process is gone.
    sim.stream_for(run, 56);
    assert_eq!(sim.get("t").status, StreamStatus::Streaming);
    while sim.children.contains_key(&run) {
        sim.pass(Duration::from_secs(1));
        assert_eq!(sim.get("t").retry_count, 1);
    }
    assert_eq!(sim.get("t").tally.stalls, 1);
}

#[test]
fn sessions_that_end_every_half_minute_never_leave_the_site_dark() {
    let mut sim = Sim::new();
    sim.start("t");
    for _ in 0..20 {
        let run = sim.stream();
        sim.stream_for(run, 30);
        sim.exit(run, 1, Some(Cause::WhipStream));
        let task = sim.get("t");
        assert_eq!(task.status, StreamStatus::Reconnecting);
        assert_eq!(task.retry_count, 0);
        sim.until_launch();
    }
    // But a run without ten seconds of pictures spends a retry.
    for n in 1..=3 {
        let run = sim.stream();
        sim.stream_for(run, 9);
        sim.exit(run, 1, Some(Cause::WhipStream));
        assert_eq!(sim.get("t").retry_count, n);
        sim.until_launch();
    }
    let run = sim.stream();
    sim.exit(run, 1, Some(Cause::WhipStream));
    assert_eq!(sim.get("t").status, StreamStatus::Error);
}

#[test]
fn every_failed_try_is_told_with_the_next_one() {
    let mut sim = Sim::new();
    sim.start("t");
    for _ in 0..4 {
        let run = sim.live();
        sim.exit(run, 1, Some(Cause::SourceUnreachable));
        sim.until_launch();
    }
    let told: Vec<(u32, u64)> = sim
        .failed_tries
        .iter()
        .map(|f| (f.counted, f.next_in.as_secs()))
        .collect();
    assert_eq!(sim.get("t").status, StreamStatus::Error, "that is an event");
    assert_eq!(told.len(), 3);
    for ((counted, next_in), (wanted, at_least)) in told.into_iter().zip([(1, 1), (2, 10), (3, 60)])
    {
        assert_eq!(counted, wanted);
        assert!((at_least..=at_least * 6 / 5).contains(&next_in));
    }
    assert!(sim.failed_tries.iter().all(|f| {
        f.cause == Cause::SourceUnreachable && f.why.code == ErrorCode::RtspConnFailed
    }));
}

#[test]
fn a_guarded_login_is_told_once() {
    let mut sim = Sim::new();
    sim.start("t");
    let run = sim.stream();
    sim.exit(run, 0, Some(Cause::SourceAuth));
    let guarded = || LoginPermit::Guarded("guarded".to_owned());
    sim.door.says(std::iter::repeat_with(guarded).take(50));
    sim.pass(Duration::from_secs(200));
    assert!(sim.door.asked() > 10);
    let told: Vec<&str> = sim
        .failed_tries
        .iter()
        .map(|f| f.why.message.as_str())
        .collect();
    assert_eq!(told, ["source_auth", "guarded"]);
}

#[test]
fn pictures_that_freeze_beside_sound_are_a_stall_with_words() {
    let mut sim = Sim::new();
    sim.start("t");
    let run = sim.live();
    let send = |sim: &mut Sim, frame, out_time_ms| {
        let progress = Progress {
            has_video: true,
            frame,
            out_time_ms,
            ..Progress::default()
        };
        sim.child_event(run, ChildEvent::Progress(progress));
    };
    sim.child_event(run, ChildEvent::SessionUp(None));
    send(&mut sim, 0, 500);
    sim.pass(Duration::from_secs(3));
    assert_eq!(sim.get("t").status, StreamStatus::Starting, "sound alone");
    send(&mut sim, 1, 3_000);
    assert_eq!(sim.get("t").status, StreamStatus::Streaming);
    for s in 4..16 {
        sim.pass(Duration::from_secs(1));
        send(&mut sim, 1, s * 1000);
    }
    let task = sim.get("t");
    assert_eq!(task.status, StreamStatus::Reconnecting);
    let fault = task.error.unwrap();
    assert_eq!(fault.code, ErrorCode::RtspStreamError);
    assert!(
        fault.message.contains("pictures don't"),
        "{}",
        fault.message
    );
}

#[test]
fn permanent_causes_are_errors_at_once() {
    for cause in [
        Cause::WhipGone,
        Cause::WhipAuth,
        Cause::BadCommand,
        Cause::SourceAuth,
    ] {
        let mut sim = Sim::new();
        let (_, first) = sim.start("t");
        let run = sim.live();
        sim.exit(run, 8, Some(cause));
        assert_eq!(sim.get("t").status, StreamStatus::Error, "{cause:?}");
        let (fault, task) = first.try_recv().unwrap().unwrap_err();
        assert_eq!(fault.code, cause.code());
        assert_eq!(task.unwrap().status, StreamStatus::Error);
    }
}

#[test]
fn a_missing_engine_at_spawn_is_error_40101() {
    let mut sim = Sim::new();
    sim.spawn_fails = Some(Cause::EngineMissing);
    sim.start("t");
    let task = sim.get("t");
    assert_eq!(task.status, StreamStatus::Error);
    assert_eq!(task.error.unwrap().code, ErrorCode::FfmpegNotFound);
}

#[test]
fn a_stall_ends_the_process_and_reconnects() {
    let mut sim = Sim::new();
    sim.manners = Manners::NeedsTwoTerminates;
    sim.start("t");
    let run = sim.stream();
    sim.pass(Duration::from_secs(9));
    assert_eq!(sim.get("t").status, StreamStatus::Reconnecting);
    assert!(sim.children.contains_key(&run), "ended by one SIGTERM");
    sim.pass(Duration::from_secs(2));
    assert!(!sim.children.contains_key(&run));
    assert_eq!(sim.get("t").error.unwrap().code, ErrorCode::RtspStreamError);
    sim.pass(Duration::from_secs(2));
    assert_eq!(sim.launches, 2);
}

#[test]
fn not_there_in_time_is_a_failed_try() {
    let mut sim = Sim::new();
    sim.manners = Manners::OnlyKill;
    let (_, first) = sim.start("t");
    // It says nothing, so it is killed five seconds after the first SIGTERM.
    sim.pass(Duration::from_secs(19));
    assert_eq!(sim.get("t").status, StreamStatus::Starting);
    sim.pass(Duration::from_secs(1));
    let (fault, _) = first.try_recv().unwrap().unwrap_err();
    assert_eq!(fault.code, ErrorCode::FfmpegTimeout);
    assert_eq!(sim.get("t").status, StreamStatus::Reconnecting);
}

#[test]
fn an_engine_that_has_failed_but_hangs_is_ended() {
    let mut sim = Sim::new();
    sim.start("t");
    let run = sim.stream();
    sim.child_event(
        run,
        ChildEvent::Failing(Diagnosis {
            cause: Cause::WhipStream,
            detail: "the peer is gone".into(),
        }),
    );
    assert_eq!(sim.get("t").status, StreamStatus::Streaming);
    sim.pass(Duration::from_secs(2));
    let task = sim.get("t");
    assert_eq!(task.status, StreamStatus::Reconnecting);
    assert_eq!(task.error.unwrap().code, ErrorCode::WhipStreamError);
}

#[test]
fn stop_in_each_state_never_blocks_and_answers_when_reaped() {
    // STARTING
    let mut sim = Sim::new();
    sim.manners = Manners::OnlyKill;
    let (_, first) = sim.start("a");
    let done = sim.stop("a", false);
    sim.pass(Duration::from_secs(4));
    assert!(done.try_recv().is_err(), "answered before it was reaped");
    sim.pass(Duration::from_secs(1));
    assert_eq!(
        done.try_recv().unwrap().unwrap().status,
        StreamStatus::Stopped
    );
    let (fault, task) = first.try_recv().unwrap().unwrap_err();
    assert_eq!(fault.code, ErrorCode::TaskInvalidState);
    assert_eq!(task.unwrap().status, StreamStatus::Stopped);
    // RECONNECTING
    sim.start("b");
    let run = sim.live();
    sim.exit(run, 1, Some(Cause::SourceUnreachable));
    let done = sim.stop("b", false);
    assert_eq!(
        done.try_recv().unwrap().unwrap().status,
        StreamStatus::Stopped
    );
    sim.pass(Duration::from_secs(100));
    assert_eq!(sim.launches, 2, "a stopped task came back");
    // force
    sim.start("c");
    let done = sim.stop("c", true);
    assert!(done.try_recv().unwrap().is_ok());
}

#[test]
fn a_start_behind_a_stop_waits_for_the_reaping() {
    let mut sim = Sim::new();
    sim.manners = Manners::NeedsTwoTerminates;
    sim.start("t");
    sim.stream();
    let done = sim.stop("t", false);
    let (accepted, first) = sim.start("t");
    assert_eq!(accepted.unwrap().status, StreamStatus::Starting);
    let (third, _) = sim.start("t");
    assert_eq!(third.unwrap_err().code, ErrorCode::TaskAlreadyExist);
    sim.pass(Duration::from_secs(2));
    assert!(done.try_recv().unwrap().is_ok());
    assert_eq!(sim.max_live, 1, "two processes of one task");
    assert_eq!(sim.get("t").status, StreamStatus::Starting);
    sim.stream();
    assert!(first.try_recv().unwrap().is_ok());
}

#[test]
fn a_stop_cancels_the_start_that_waits_behind_a_stop() {
    let mut sim = Sim::new();
    sim.manners = Manners::NeedsTwoTerminates;
    sim.start("t");
    let one = sim.stop("t", false);
    let (_, first) = sim.start("t");
    let two = sim.stop("t", false);
    assert_eq!(
        first.try_recv().unwrap().unwrap_err().0.code,
        ErrorCode::TaskInvalidState
    );
    sim.pass(Duration::from_secs(3));
    assert!(one.try_recv().unwrap().is_ok());
    assert!(two.try_recv().unwrap().is_ok());
    assert_eq!(sim.launches, 1);
}

#[test]
fn limits_and_maintenance() {
    let mut sim = Sim::with(
        Policy {
            max_tasks: 1,
            ..Policy::default()
        },
        true,
    );
    sim.start("a");
    assert_eq!(
        sim.start("a").0.unwrap_err().code,
        ErrorCode::TaskAlreadyExist
    );
    assert_eq!(
        sim.start("b").0.unwrap_err().code,
        ErrorCode::TaskLimitReached
    );
    sim.stop("a", false);
    let (reply, _answer) = bounded(1);
    sim.table.request(
        StreamRequest::Maintenance {
            enabled: true,
            reply,
        },
        sim.now,
    );
    assert_eq!(sim.start("b").0.unwrap_err().code, ErrorCode::NodeBusy);
}

#[test]
fn shutdown_ends_all_together_and_says_why() {
    let mut sim = Sim::new();
    sim.manners = Manners::OnlyKill;
    sim.start("a");
    sim.stream();
    sim.start("b");
    sim.start("c");
    let run = sim.live();
    sim.exit(run, 1, Some(Cause::SourceUnreachable));
    let effects = sim.table.shut_down(sim.now);
    sim.perform(effects);
    assert_eq!(sim.start("d").0.unwrap_err().code, ErrorCode::NodeOffline);
    sim.pass(Duration::from_secs(10));
    assert!(sim.table.is_idle());
    for id in ["a", "b", "c"] {
        let task = sim.get(id);
        assert_eq!(task.status, StreamStatus::Stopped);
        assert_eq!(task.stop_reason, Some(StopReason::NodeShutdown));
    }
}

#[test]
fn a_second_signal_skips_the_grace() {
    let mut sim = Sim::new();
    sim.manners = Manners::OnlyKill;
    sim.start("a");
    let effects = sim.table.shut_down(sim.now);
    sim.perform(effects);
    assert!(!sim.table.is_idle());
    let effects = sim.table.kill_all(sim.now);
    sim.perform(effects);
    assert!(sim.table.is_idle());
}

#[test]
fn the_last_hundred_ended_tasks_stay_readable() {
    let mut sim = Sim::new();
    for n in 0..120 {
        let id = format!("t{n}");
        sim.start(&id);
        sim.stop(&id, false);
        sim.pass(Duration::from_secs(1));
    }
    let (reply, answer) = bounded(1);
    sim.table.request(
        StreamRequest::List {
            active_only: false,
            reply,
        },
        sim.now,
    );
    let tasks = answer.try_recv().unwrap();
    assert_eq!(tasks.len(), 100);
    assert_eq!(tasks[0].spec.task_id.as_str(), "t119");
    assert_eq!(tasks[99].spec.task_id.as_str(), "t20");
}

#[test]
fn the_last_ended_are_kept_whatever_the_clock_says() {
    let mut sim = Sim::new();
    sim.start("long");
    for n in 0..100 {
        let id = format!("t{n}");
        sim.start(&id);
        sim.stop(&id, false);
    }
    // The clock is set back a day, and the task that began first ends last.
    sim.now.wall -= Duration::from_secs(86_400);
    sim.stop("long", false);
    assert_eq!(sim.get("long").status, StreamStatus::Stopped);
    let (reply, answer) = bounded(1);
    let active_only = false;
    let list = StreamRequest::List { active_only, reply };
    sim.table.request(list, sim.now);
    let tasks = answer.try_recv().unwrap();
    assert_eq!(tasks.len(), 100);
    assert!(tasks.iter().all(|t| t.spec.task_id.as_str() != "t0"));
}

#[test]
fn the_logs_of_the_last_three_runs() {
    let mut sim = Sim::new();
    sim.start("t");
    for _ in 0..3 {
        let run = sim.live();
        sim.exit(run, 1, Some(Cause::SourceUnreachable));
        sim.until_launch();
    }
    let ask = |sim: &mut Sim, run| {
        let (reply, answer) = bounded(1);
        let task = TaskId::parse("taskId", "t").unwrap();
        sim.table
            .request(StreamRequest::Log { task, run, reply }, sim.now);
        answer.try_recv().unwrap()
    };
    let newest = ask(&mut sim, None).unwrap();
    assert_eq!((newest.run, newest.runs), (4, vec![4, 3, 2]));
    assert_eq!(ask(&mut sim, Some(2)).unwrap().lines, ["a line"]);
    assert_eq!(
        ask(&mut sim, Some(1)).unwrap_err().code,
        ErrorCode::NotFound
    );
}

#[test]
fn an_old_run_is_not_heard() {
    let mut sim = Sim::new();
    sim.start("t");
    let old = sim.stream();
    sim.exit(old, 0, Some(Cause::SourceStream));
    sim.pass(Duration::from_secs(2));
    sim.child_event(old, ChildEvent::SessionUp(None));
    sim.send_media(old, 99_999);
    sim.pass(Duration::from_secs(3));
    assert_eq!(sim.get("t").status, StreamStatus::Reconnecting);
}

#[test]
fn a_dead_uplink_keeps_trying_uncounted() {
    let mut sim = Sim::with(Policy::default(), false);
    sim.start("t");
    for _ in 0..20 {
        let run = sim.live();
        sim.exit(run, 1, Some(Cause::WhipUplink));
        sim.until_launch();
    }
    let task = sim.get("t");
    assert_eq!(task.status, StreamStatus::Reconnecting);
    assert_eq!(task.retry_count, 0);
}

#[derive(Debug, Clone)]
enum Step {
    Start(u8),
    Stop(u8, bool),
    Pass(u64),
    Exit(u8, i32, Option<u8>),
    Up(u8),
    Media(u8, u64),
    Failing(u8),
    LoginTaken(u8),
    HandOver(u8, bool),
    SessionLost(u8),
    FailingAlone(u8),
    Unfit(u8),
    Handshaking(u8),
    Begins(u8),
    Manners(u8),
    SpawnFails(bool),
    HoldPrepared(bool),
    Prepare(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..3u8).prop_map(Step::Start),
        (0..3u8, any::<bool>()).prop_map(|(t, f)| Step::Stop(t, f)),
        (0..30_000u64).prop_map(Step::Pass),
        (0..4u8, 0..9i32, proptest::option::of(0..13u8)).prop_map(|(n, c, d)| Step::Exit(n, c, d)),
        (0..4u8).prop_map(Step::Up),
        (0..4u8, 0..100_000u64).prop_map(|(n, t)| Step::Media(n, t)),
        (0..4u8).prop_map(Step::Failing),
        (0..4u8).prop_map(Step::LoginTaken),
        (0..4u8, any::<bool>()).prop_map(|(n, facts)| Step::HandOver(n, facts)),
        (0..4u8).prop_map(Step::SessionLost),
        (0..4u8).prop_map(Step::FailingAlone),
        (0..4u8).prop_map(Step::Unfit),
        (0..4u8).prop_map(Step::Handshaking),
        (0..3u8).prop_map(Step::Begins),
        (0..3u8).prop_map(Step::Manners),
        any::<bool>().prop_map(Step::SpawnFails),
        any::<bool>().prop_map(Step::HoldPrepared),
        any::<bool>().prop_map(Step::Prepare),
    ]
}

/// A node whose tasks begin with a look.
fn looking() -> Sim {
    let mut sim = Sim::new();
    sim.begins = Begins::Looking;
    sim
}

/// A source that announces a sound.
fn with_sound() -> ChildEvent {
    ChildEvent::HandOver(Box::new(HandOver {
        facts: Some(SourceFacts {
            audio: Some(AudioFacts::default()),
            ..SourceFacts::default()
        }),
        why: String::new(),
    }))
}

#[test]
fn a_source_that_has_shown_pictures_is_not_asked_again_until_it_shows_none() {
    use EngineKind::{Ffmpeg, Look};
    let mut sim = looking();
    let _ = sim.start("t");
    let look = sim.live();
    sim.hand_over(look, true, "");
    let run = sim.stream();
    sim.exit(run, 0, Some(Cause::SourceStream));
    sim.until_launch();
    assert_eq!(sim.engines, [Look, Ffmpeg, Ffmpeg], "it is known");
    // Another task of the same source does not ask either.
    let (accepted, _) = sim.start("u");
    assert_eq!(accepted.unwrap().status, StreamStatus::Starting);
    assert_eq!(sim.engines, [Look, Ffmpeg, Ffmpeg, Ffmpeg]);
    let _ = sim.stop("u", false);
    // A run that shows nothing: what was known is not believed any more.
    let run = sim.live();
    sim.exit(run, 1, Some(Cause::SourceStream));
    sim.until_launch();
    assert_eq!(sim.engines, [Look, Ffmpeg, Ffmpeg, Ffmpeg, Look]);
}

#[test]
fn a_start_that_waits_for_a_sound_in_vain_is_tried_without_it() {
    let mut sim = looking();
    let (_, first) = sim.start("t");
    let look = sim.live();
    sim.child_event(look, with_sound());
    sim.exit(look, 0, None);
    assert_eq!(sim.get("t").audio, TaskAudio::Encoded);
    // Nothing leaves.
    sim.pass(Policy::default().start_timeout);
    assert_eq!(sim.launches, 3, "at once");
    let run = sim.stream();
    let task = first.try_recv().unwrap().unwrap();
    assert_eq!(
        (task.status, task.audio),
        (StreamStatus::Streaming, TaskAudio::Dropped)
    );
    assert_eq!(task.mode_reason, "without sound");
    assert_eq!((task.retry_count, sim.failed_tries.len()), (0, 0));
    // It is known now.
    sim.exit(run, 0, Some(Cause::SourceStream));
    sim.until_launch();
    sim.stream();
    assert_eq!(sim.get("t").audio, TaskAudio::Dropped);
    assert_eq!(sim.launches, 4);
}

#[test]
fn a_sound_is_blamed_once_and_only_where_there_may_be_one() {
    // It did not help: then it is a failed try like any other, and is not tried again.
    let mut sim = looking();
    let _ = sim.start("t");
    let look = sim.live();
    sim.child_event(look, with_sound());
    sim.exit(look, 0, None);
    sim.pass(Policy::default().start_timeout);
    assert_eq!((sim.launches, sim.failed_tries.len()), (3, 0));
    sim.pass(Policy::default().start_timeout);
    assert_eq!(sim.failed_tries.len(), 1);
    assert_eq!(sim.failed_tries[0].cause, Cause::EngineTimeout);
    sim.until_launch();
    let look = sim.live();
    sim.child_event(look, with_sound());
    sim.exit(look, 0, None);
    assert_eq!(sim.launches, 5);
    sim.pass(Policy::default().start_timeout);
    assert_eq!((sim.launches, sim.failed_tries.len()), (5, 2));

    // No sound announced; one that has to be there; a session that was made.
    for case in ["none", "required", "session"] {
        let mut sim = looking();
        let _ = sim.start_with(
            "t",
            |command| {
                if case == "required" {
                    command.audio.mode = Some("required".to_owned());
                }
            },
            false,
        );
        let look = sim.live();
        match case {
            "none" => sim.child_event(look, hand_over(true, "")),
            _ => sim.child_event(look, with_sound()),
        }
        sim.exit(look, 0, None);
        if case == "session" {
            sim.child_event(sim.live(), ChildEvent::SessionUp(None));
        }
        sim.pass(Policy::default().start_timeout);
        assert_eq!(sim.failed_tries.len(), 1, "{case}");
    }
}

#[test]
fn a_picture_that_is_refused_as_it_is_goes_out_encoded() {
    let mut sim = looking();
    let (_, first) = sim.start("t");
    let look = sim.live();
    sim.hand_over(look, true, "");
    let copy = sim.live();
    assert_eq!(sim.get("t").mode, TaskMode::Copy);
    sim.exit(copy, 234, Some(Cause::StreamRefused));
    assert_eq!(sim.launches, 3, "at once");
    let run = sim.stream();
    let task = first.try_recv().unwrap().unwrap();
    assert_eq!(task.mode, TaskMode::Transcode);
    assert_eq!(task.mode_reason, "refused as it is");
    assert_eq!((task.retry_count, sim.failed_tries.len()), (0, 0));
    // It is known now.
    sim.exit(run, 0, Some(Cause::SourceStream));
    sim.until_launch();
    assert_eq!(sim.get("t").mode, TaskMode::Transcode);
    assert_eq!(sim.launches, 4);

    // Encoded it is refused, too; and one that is to go out as it is.
    for (copy, cause) in [
        (false, Cause::StreamRefused),
        (false, Cause::WhipOffer),
        (true, Cause::StreamRefused),
        (true, Cause::WhipOffer),
    ] {
        let mut sim = looking();
        let _ = sim.start_with(
            "t",
            |command| command.video.codec = copy.then(|| "copy".to_owned()),
            false,
        );
        let look = sim.live();
        sim.hand_over(look, true, "");
        sim.exit(sim.live(), 234, Some(cause));
        assert_eq!(
            (sim.launches, sim.failed_tries.len()),
            if copy { (2, 1) } else { (3, 0) }
        );
        if !copy {
            sim.exit(sim.live(), 234, Some(cause));
            assert_eq!((sim.launches, sim.failed_tries.len()), (3, 1));
        }
    }
}

#[test]
fn a_refused_picture_that_nothing_can_encode_is_a_failed_try_like_any_other() {
    let mut sim = looking();
    let (_, first) = sim.start("t");
    let look = sim.live();
    sim.hand_over(look, true, "");
    let copy = sim.live();
    sim.hold_prepared = true;
    sim.exit(copy, 1, Some(Cause::WhipOffer));
    sim.prepare(Err(Fault::new(ErrorCode::FfmpegNotFound, "no encoder")));
    let (fault, _) = first.try_recv().unwrap().unwrap_err();
    assert_eq!(fault.code, ErrorCode::WhipStreamError);
    assert_eq!(fault.message, "whip_offer; no encoder");
    let task = sim.get("t");
    assert_eq!(task.status, StreamStatus::Reconnecting);
    assert_eq!(task.tally.failures.get(&Cause::WhipOffer), Some(&1));
}

#[test]
fn what_the_source_says_decides_what_comes_next() {
    let mut sim = looking();
    let (accepted, first) = sim.start("t");
    assert_eq!(accepted.unwrap().status, StreamStatus::Starting);
    let look = sim.live();
    sim.child_event(look, ChildEvent::LoginTaken);
    sim.hand_over(look, true, "");
    sim.stream();
    assert_eq!(sim.engines, [EngineKind::Look, EngineKind::Ffmpeg]);
    let task = first.try_recv().unwrap().unwrap();
    assert_eq!(
        (task.mode, task.mode_reason.as_str()),
        (TaskMode::Copy, "it fits")
    );
    assert_eq!((task.retry_count, task.tally.runs), (0, 1));
    assert!(task.exit_history.is_empty() && sim.failed_tries.is_empty());
    assert_eq!(
        sim.kinds(),
        [
            (TaskEventKind::StatusUpdate, StreamStatus::Starting),
            (TaskEventKind::StatusUpdate, StreamStatus::Starting),
            (TaskEventKind::Started, StreamStatus::Streaming),
        ]
    );
    assert_eq!(sim.events[1].task.mode, TaskMode::Copy);
    // Each child that logs in has asked, and the guard has heard of each.
    assert_eq!(sim.door.asked(), 2);
    assert_eq!(sim.door.heard(), [LoginEnd::Taken, LoginEnd::Taken]);
    // Its log is none of the task's.
    let (reply, answer) = bounded(1);
    let task = TaskId::parse("taskId", "t").unwrap();
    let ask = StreamRequest::Log {
        task,
        run: None,
        reply,
    };
    sim.table.request(ask, sim.now);
    assert_eq!(answer.try_recv().unwrap().unwrap().runs, [1]);
}

#[test]
fn every_try_after_one_that_showed_nothing_asks_the_source_again() {
    let mut sim = looking();
    sim.start("t");
    let look = sim.live();
    sim.hand_over(look, true, "");
    let run = sim.live();
    sim.exit(run, 1, Some(Cause::SourceStream));
    sim.until_launch();
    let told = sim.events.len();
    let look = sim.live();
    assert_eq!(sim.get("t").status, StreamStatus::Reconnecting);
    sim.hand_over(look, true, "");
    assert_eq!(sim.events.len(), told, "nothing has changed for anybody");
    sim.stream();
    let each = [EngineKind::Look, EngineKind::Ffmpeg];
    assert_eq!(sim.engines, [each, each].concat());
    let task = sim.get("t");
    assert_eq!((task.retry_count, task.tally.runs), (1, 2));
    assert_eq!(task.tally.restarts.get(&Cause::SourceStream), Some(&1));
}

#[test]
fn a_look_that_fails_by_itself_costs_no_stream() {
    for cause in [Cause::EngineCrash, Cause::EngineTimeout] {
        let mut sim = looking();
        let (_, first) = sim.start("t");
        let look = sim.live();
        sim.exit(look, 101, Some(cause));
        sim.stream();
        let task = first.try_recv().unwrap().unwrap();
        assert_eq!(task.mode, TaskMode::Transcode);
        assert_eq!(task.mode_reason, format!("; {}", cause.name()));
        assert_eq!(task.retry_count, 0);
        // It is not asked again before the next START.
        let run = sim.live();
        sim.exit(run, 1, Some(Cause::SourceStream));
        sim.until_launch();
        assert_eq!(sim.engines.last(), Some(&EngineKind::Ffmpeg), "{cause:?}");
    }
    // One that hangs, and one that can't even be started.
    let mut sim = looking();
    sim.manners = Manners::OnlyKill;
    sim.start("t");
    sim.until_launch();
    sim.stream();
    assert_eq!(sim.get("t").status, StreamStatus::Streaming);
    let mut sim = looking();
    sim.spawn_fails = Some(Cause::EngineMissing);
    sim.start("t");
    assert_eq!(sim.engines, [EngineKind::Look, EngineKind::Ffmpeg]);
    assert_eq!(sim.door.heard(), [LoginEnd::Unknown, LoginEnd::Unknown]);
    assert_eq!(sim.get("t").status, StreamStatus::Error);
}

#[test]
fn what_the_source_refuses_is_no_hand_over() {
    for (cause, status) in [
        (Cause::SourceUnreachable, StreamStatus::Reconnecting),
        (Cause::SourceStream, StreamStatus::Reconnecting),
        (Cause::SourceAuth, StreamStatus::Error),
        (Cause::SourceLogin, StreamStatus::Error),
    ] {
        let mut sim = looking();
        let (_, first) = sim.start("t");
        let look = sim.live();
        sim.exit(look, 1, Some(cause));
        assert_eq!(sim.get("t").status, status, "{cause:?}");
        let (fault, _) = first.try_recv().unwrap().unwrap_err();
        assert_eq!(fault.code, cause.code());
        assert_eq!(sim.launches, 1);
    }
}

#[test]
fn a_hand_over_moves_along_the_plan_and_ends_where_it_ends() {
    let mut sim = looking();
    let (_, first) = sim.start("t");
    let look = sim.live();
    sim.hand_over(look, true, "");
    let copy = sim.live();
    sim.hand_over(copy, false, "it has B-frames");
    assert_eq!(sim.get("t").mode, TaskMode::Transcode);
    assert_eq!(sim.get("t").mode_reason, "encoded; it has B-frames");
    // What says once more what the source is does not begin anew.
    let transcode = sim.live();
    sim.hand_over(transcode, true, "nothing fits");
    let task = sim.get("t");
    assert_eq!(task.status, StreamStatus::Reconnecting);
    assert_eq!(task.retry_count, 1, "that is a failure");
    let (fault, _) = first.try_recv().unwrap().unwrap_err();
    assert!(fault.message.contains("nothing fits"), "{}", fault.message);
    assert_eq!(sim.launches, 3);
}

#[test]
fn nothing_that_can_carry_what_the_source_is_is_an_error_with_words() {
    let mut sim = looking();
    let (_, first) = sim.start("t");
    sim.hold_prepared = true;
    let look = sim.live();
    sim.hand_over(look, true, "");
    assert_eq!(sim.get("t").status, StreamStatus::Starting);
    sim.prepare(Err(Fault::new(ErrorCode::FfmpegNotFound, "no encoder")));
    let (fault, task) = first.try_recv().unwrap().unwrap_err();
    assert_eq!(
        (fault.code, fault.message.as_str()),
        (ErrorCode::FfmpegNotFound, "no encoder")
    );
    assert_eq!(task.unwrap().status, StreamStatus::Error);
    assert_eq!(sim.table.next_deadline(), None);
}

/// Where a task stands in a hand-over.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// The look runs.
    Looking,
    /// It has said it hands over, and is not gone yet.
    Said,
    /// It is gone, and what comes next is prepared.
    Preparing,
    /// What comes next waits for a login.
    Waiting,
}

fn in_hand_over(moment: Moment) -> (Sim, Receiver<FirstTryEnd>) {
    let policy = Policy {
        max_tasks: 1,
        ..Policy::default()
    };
    let mut sim = Sim::with(policy, true);
    sim.begins = Begins::Looking;
    let (_, first) = sim.start("t");
    let look = sim.live();
    match moment {
        Moment::Looking => {}
        Moment::Said => sim.child_event(look, hand_over(true, "")),
        Moment::Preparing => {
            sim.hold_prepared = true;
            sim.hand_over(look, true, "");
        }
        Moment::Waiting => {
            sim.door.says([LoginPermit::NotYet]);
            sim.hand_over(look, true, "");
        }
    }
    (sim, first)
}

#[test]
fn a_hand_over_is_a_start_to_everybody_else() {
    for moment in [
        Moment::Looking,
        Moment::Said,
        Moment::Preparing,
        Moment::Waiting,
    ] {
        // Its place and its id are taken, in maintenance too, and nothing is answered yet.
        let (mut sim, first) = in_hand_over(moment);
        assert_eq!(sim.get("t").status, StreamStatus::Starting, "{moment:?}");
        assert!(first.try_recv().is_err());
        let code = |sim: &mut Sim, id| sim.start(id).0.unwrap_err().code;
        assert_eq!(code(&mut sim, "t"), ErrorCode::TaskAlreadyExist);
        assert_eq!(code(&mut sim, "other"), ErrorCode::TaskLimitReached);
        let (reply, _answer) = bounded(1);
        let enabled = true;
        let maintenance = StreamRequest::Maintenance { enabled, reply };
        sim.table.request(maintenance, sim.now);
        match moment {
            Moment::Looking => {
                let look = sim.live();
                sim.hand_over(look, true, "");
            }
            // It says so and hangs: it is ended.
            Moment::Said => sim.pass(Duration::from_secs(2)),
            Moment::Preparing => sim.prepare(Ok(())),
            Moment::Waiting => sim.until_launch(),
        }
        sim.stream();
        let task = first.try_recv().unwrap().unwrap();
        assert_eq!((task.mode, task.retry_count), (TaskMode::Copy, 0));

        // Stopped, by grace or by force.
        for force in [false, true] {
            let (mut sim, first) = in_hand_over(moment);
            let done = sim.stop("t", force);
            let task = done.try_recv().unwrap().unwrap();
            assert_eq!(task.status, StreamStatus::Stopped, "{moment:?}");
            assert_eq!(task.stop_reason, Some(StopReason::Command));
            let (fault, _) = first.try_recv().unwrap().unwrap_err();
            assert_eq!(fault.code, ErrorCode::TaskInvalidState);
            while !sim.held.is_empty() {
                sim.prepare(Ok(()));
            }
            sim.pass(Duration::from_secs(100));
            assert_eq!(sim.launches, 1, "{moment:?}: it went on all the same");
            let went = sim.door.went.load(Ordering::Relaxed);
            assert_eq!(sim.door.heard().len(), went, "{moment:?}");
        }

        // Shut down.
        let (mut sim, first) = in_hand_over(moment);
        let effects = sim.table.shut_down(sim.now);
        sim.perform(effects);
        assert!(sim.table.is_idle());
        let task = sim.get("t");
        assert_eq!(task.status, StreamStatus::Stopped);
        assert_eq!(task.stop_reason, Some(StopReason::NodeShutdown));
        assert!(first.try_recv().unwrap().is_err());
        assert_eq!(sim.table.next_deadline(), None, "{moment:?}");
    }
}

/// A node whose FFmpeg can be DTLS client.
fn active() -> Sim {
    let mut sim = Sim::new();
    sim.begins = Begins::Active;
    sim
}

fn at(host: &str) -> impl FnOnce(&mut StartCommand) {
    let url = Secret::new(format!("https://{host}/y"));
    |command| command.whip_url = Some(url)
}

#[test]
fn an_endpoint_that_would_not_have_a_dtls_client_gets_a_server_and_is_remembered() {
    let mut sim = active();
    let (_, first) = sim.start("t");
    let run = sim.live();
    sim.hand_over(run, false, "refused (400)");
    sim.stream();
    let task = first.try_recv().unwrap().unwrap();
    assert_eq!((task.retry_count, task.exit_history.len()), (0, 0));
    assert!(task.mode_reason.contains("refused (400)"), "{task:?}");
    assert!(sim.failed_tries.is_empty());
    assert_eq!(
        sim.kinds(),
        [
            (TaskEventKind::StatusUpdate, StreamStatus::Starting),
            (TaskEventKind::StatusUpdate, StreamStatus::Starting),
            (TaskEventKind::Started, StreamStatus::Streaming),
        ]
    );
    // Any task of that host; another host is asked.
    let _ = sim.start("s");
    let _ = sim.start("u");
    let _ = sim.start_with("v", at("other.example"), false);
    assert_eq!(sim.actives, [true, false, false, false, true]);
    // What the endpoint says to a server is its last word.
    let run = sim.children.keys().copied().nth(2).unwrap();
    sim.exit(run, 1, Some(Cause::WhipStream));
    assert_eq!(sim.get("u").status, StreamStatus::Reconnecting);
    sim.until_launch();
    assert_eq!(sim.actives, [true, false, false, false, true, false]);
}

#[test]
fn an_endpoint_that_is_silent_in_the_handshake_gets_a_server_after_five_seconds() {
    for manners in [Manners::Willing, Manners::OnlyKill] {
        let mut sim = active();
        sim.manners = manners;
        let _ = sim.start("t");
        let run = sim.live();
        sim.pass(Duration::from_secs(4));
        sim.child_event(run, ChildEvent::Handshaking);
        sim.pass(Duration::from_millis(4_900));
        assert_eq!((sim.launches, sim.children[&run].terminates), (1, 0));
        // It is asked to end, and killed if it will not.
        sim.pass(Duration::from_millis(100));
        assert_eq!(sim.get("t").status, StreamStatus::Starting);
        if sim.launches == 1 {
            sim.until_launch();
        }
        sim.stream();
        let task = sim.get("t");
        assert_eq!(task.status, StreamStatus::Streaming, "{manners:?}");
        assert_eq!((task.retry_count, task.exit_history.len()), (0, 0));
        assert!(task.mode_reason.contains("says nothing"), "{task:?}");
        assert_eq!(sim.actives, [true, false]);
    }
}

#[test]
fn a_silent_handshake_is_no_failure_however_short_a_start_may_be() {
    let policy = Policy {
        start_timeout: Duration::from_secs(3),
        ..Policy::default()
    };
    let mut sim = Sim::with(policy, true);
    sim.begins = Begins::Active;
    let _ = sim.start("t");
    let run = sim.live();
    sim.pass(Duration::from_secs(1));
    sim.child_event(run, ChildEvent::Handshaking);
    sim.pass(Duration::from_secs(2));
    assert_eq!(sim.actives, [true, false]);
    assert!(sim.failed_tries.is_empty());
}

#[test]
fn a_handshake_that_comes_about_is_waited_for_no_longer() {
    let mut sim = active();
    let _ = sim.start("t");
    let run = sim.live();
    sim.child_event(run, ChildEvent::Handshaking);
    sim.pass(Duration::from_secs(4));
    sim.child_event(run, ChildEvent::SessionUp(None));
    sim.pass(Duration::from_secs(8));
    assert_eq!(sim.launches, 1);
    // A stop has its way whatever is waited for.
    let mut sim = active();
    sim.manners = Manners::OnlyKill;
    let _ = sim.start("t");
    let run = sim.live();
    sim.child_event(run, ChildEvent::Handshaking);
    let _ = sim.stop("t", false);
    sim.pass(Duration::from_secs(60));
    assert_eq!(sim.launches, 1);
    assert_eq!(sim.get("t").status, StreamStatus::Stopped);
}

#[test]
fn a_plan_that_never_comes_is_a_failed_try() {
    let (mut sim, first) = in_hand_over(Moment::Preparing);
    sim.pass(Duration::from_secs(31));
    let (fault, _) = first.try_recv().unwrap().unwrap_err();
    assert_eq!(fault.code, ErrorCode::FfmpegTimeout);
    assert_eq!(sim.get("t").retry_count, 1);
    // Late, it is not taken for the one that comes next.
    sim.prepare(Ok(()));
    sim.until_launch();
    assert_eq!(sim.engines, [EngineKind::Look, EngineKind::Look]);
}

#[test]
fn a_stream_that_ran_is_away_while_another_way_takes_over() {
    let mut sim = looking();
    sim.start("t");
    let look = sim.live();
    sim.hand_over(look, true, "");
    let run = sim.stream();
    sim.hand_over(run, false, "the camera sends H.265 now");
    let task = sim.get("t");
    assert_eq!(task.status, StreamStatus::Reconnecting);
    assert!(task.error.unwrap().message.contains("H.265"));
    assert_eq!(task.retry_count, 0);
    sim.stream();
    assert_eq!(sim.get("t").status, StreamStatus::Streaming);
    let started = |e: &&TaskEvent| e.kind == TaskEventKind::Started;
    assert_eq!(sim.events.iter().filter(started).count(), 1);
    // Told twice: that it is away, and how it is carried now.
    let told = &sim.events[sim.events.len() - 3..];
    assert_eq!(told[0].task.mode, TaskMode::Copy);
    assert_eq!(told[1].task.mode, TaskMode::Transcode);
    assert_eq!(told[2].task.status, StreamStatus::Streaming);
}

#[test]
fn the_first_word_of_a_child_counts() {
    let failing = || {
        ChildEvent::Failing(Diagnosis {
            cause: Cause::WhipStream,
            detail: "the peer is gone".into(),
        })
    };
    let mut sim = looking();
    sim.start("t");
    let look = sim.live();
    sim.hand_over(look, true, "");
    let run = sim.live();
    sim.child_event(run, failing());
    sim.child_event(run, hand_over(false, "too late"));
    sim.pass(Duration::from_secs(2));
    assert_eq!(sim.get("t").retry_count, 1);
    sim.until_launch();
    let look = sim.live();
    sim.hand_over(look, true, "");
    let run = sim.live();
    sim.child_event(run, hand_over(false, "it does not fit"));
    sim.child_event(run, failing());
    // What it says of a session and of media counts no more.
    sim.child_event(run, ChildEvent::SessionUp(None));
    sim.send_media(run, 500);
    sim.pass(Duration::from_secs(3));
    assert_eq!(sim.get("t").status, StreamStatus::Reconnecting);
    assert_eq!(sim.get("t").retry_count, 1);
    assert_eq!(sim.engines.len(), 5, "{:?}", sim.engines);
}

#[path = "relay_tests.rs"]
mod relays;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Over any sequence: every accepted START and every STOP is answered once, statuses move
    /// only as the table allows, no task has two processes, and after a stop of everything no
    /// process is left.
    #[test]
    fn whatever_happens(steps in proptest::collection::vec(step(), 1..60)) {
        let mut sim = Sim::new();
        let mut firsts = Vec::new();
        let mut stops = Vec::new();
        let mut refusals = 0;
        for step in steps {
            let nth = |sim: &Sim, n: u8| sim.children.keys().nth(usize::from(n)).copied();
            match step {
                Step::Start(t) => {
                    let (accepted, first) = sim.start(&format!("t{t}"));
                    match accepted {
                        Err(fault) if fault.code != ErrorCode::Success => {
                            prop_assert!(first.try_recv().is_ok(), "refused and not answered");
                        }
                        _ => firsts.push(first),
                    }
                }
                Step::Stop(t, force) => stops.push(sim.stop(&format!("t{t}"), force)),
                Step::Pass(ms) => sim.pass(Duration::from_millis(ms)),
                Step::Exit(n, code, cause) => {
                    if let Some(run) = nth(&sim, n) {
                        let cause = cause.and_then(|c| Cause::ALL.get(usize::from(c)).copied());
                        refusals += usize::from(cause == Some(Cause::SourceAuth));
                        sim.exit(run, code, cause);
                    }
                }
                Step::Up(n) => if let Some(run) = nth(&sim, n) {
                    sim.child_event(run, ChildEvent::SessionUp(None));
                },
                Step::Media(n, t) => if let Some(run) = nth(&sim, n) {
                    sim.send_media(run, t);
                },
                Step::Failing(n) => if let Some(run) = nth(&sim, n) {
                    sim.child_event(run, ChildEvent::Failing(Diagnosis {
                        cause: Cause::WhipStream,
                        detail: String::new(),
                    }));
                },
                Step::LoginTaken(n) => if let Some(run) = nth(&sim, n) {
                    sim.child_event(run, ChildEvent::LoginTaken);
                },
                Step::HandOver(n, facts) => if let Some(run) = nth(&sim, n) {
                    sim.child_event(run, hand_over(facts, "it does not fit"));
                },
                Step::SessionLost(n) => if let Some(run) = nth(&sim, n) {
                    sim.child_event(run, ChildEvent::SessionLost(Diagnosis {
                        cause: Cause::WhipStream,
                        detail: String::new(),
                    }));
                },
                Step::FailingAlone(n) => if let Some(run) = nth(&sim, n) {
                    sim.child_event(run, ChildEvent::FailingAlone(Diagnosis {
                        cause: Cause::WhipUnreachable,
                        detail: String::new(),
                    }));
                },
                Step::Unfit(n) => if let Some(run) = nth(&sim, n) {
                    sim.child_event(run, ChildEvent::Unfit("it does not fit".to_owned()));
                },
                Step::Handshaking(n) => if let Some(run) = nth(&sim, n) {
                    sim.child_event(run, ChildEvent::Handshaking);
                },
                Step::Begins(n) => {
                    sim.begins = [Begins::Blindly, Begins::Looking, Begins::Active]
                        [usize::from(n)];
                }
                Step::Manners(m) => {
                    sim.manners = [Manners::Willing, Manners::NeedsTwoTerminates, Manners::OnlyKill]
                        [usize::from(m)];
                }
                Step::HoldPrepared(on) => sim.hold_prepared = on,
                Step::Prepare(works) => if !sim.held.is_empty() {
                    let no = || Fault::new(ErrorCode::ValidationFailed, "no");
                    sim.prepare(works.then_some(()).ok_or_else(no));
                },
                Step::SpawnFails(on) => sim.spawn_fails = on.then_some(Cause::EngineStart),
            }
            prop_assert!(sim.children.len() <= 3, "two processes of one task");
        }
        for t in 0..3 {
            stops.push(sim.stop(&format!("t{t}"), false));
        }
        sim.pass(Duration::from_secs(30));
        prop_assert!(sim.children.is_empty() && sim.table.is_idle());
        prop_assert!(sim.table.active().is_empty());
        prop_assert!(sim.table.next_deadline().is_none(), "something is still waited for");
        // Each time somebody was let go, the guard heard of it: once, and once more where a login
        // that was taken is refused.
        let went = sim.door.went.load(Ordering::Relaxed);
        let heard = sim.door.heard();
        prop_assert!((went..=went + refusals).contains(&heard.len()), "{went} {heard:?}");
        let taken = heard.iter().filter(|end| **end == LoginEnd::Taken).count();
        prop_assert!(taken <= went, "taken twice");
        for first in &firsts {
            prop_assert!(first.try_recv().is_ok(), "a START was never answered");
            prop_assert!(first.try_recv().is_err(), "a START was answered twice");
        }
        for stop in &stops {
            prop_assert!(stop.try_recv().is_ok(), "a STOP was never answered");
        }
        // Statuses per life of a task, as the events tell them.
        let mut last: BTreeMap<String, StreamStatus> = BTreeMap::new();
        let mut ways = BTreeMap::new();
        let mut started: BTreeSet<(String, std::time::SystemTime)> = BTreeSet::new();
        let mut counted: BTreeMap<String, [u64; 5]> = BTreeMap::new();
        for event in &sim.events {
            let id = event.task.spec.task_id.to_string();
            let before = last.get(&id).copied().filter(|s| !s.is_terminal())
                .unwrap_or(StreamStatus::Idle);
            let way = (event.task.mode, event.task.mode_reason.clone());
            let handed_over = ways.insert(id.clone(), way.clone()) != Some(way);
            let allowed = before.may_become(event.task.status)
                // Another way, and so far nothing has come of it.
                || (before == event.task.status && handed_over)
                // A spawn that failed at once never showed STARTING.
                || (before == StreamStatus::Idle && event.task.status == StreamStatus::Reconnecting);
            prop_assert!(allowed, "{before:?} -> {:?}", event.task.status);
            if event.kind == TaskEventKind::Started {
                let life = (id.clone(), event.task.created_at);
                prop_assert!(started.insert(life), "STARTED twice");
            }
            let tally = &event.task.tally;
            let sums = [
                tally.runs,
                tally.stalls,
                tally.failures.values().sum(),
                tally.restarts.values().sum(),
                u64::try_from(tally.cpu.as_millis()).unwrap(),
            ];
            let before = counted.insert(id.clone(), sums).unwrap_or_default();
            let back = before.iter().zip(sums).any(|(before, now)| *before > now);
            prop_assert!(!back, "a counter goes back: {before:?} -> {sums:?}");
            prop_assert!(tally.runs <= sim.launches);
            prop_assert!(sums[3] <= sums[2], "more restarts than failures");
            last.insert(id, event.task.status);
        }
    }
}
