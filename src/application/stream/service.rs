//! The handle to the stream owner.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::validate::{StartCommand, StreamRules};
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::metrics::QueueMetric;
use crate::domain::stream::{StreamSpec, StreamTask, TaskId};

/// Requests that wait for the owner; a full queue answers 30302 at once, stops excepted: they
/// wait up to [`ANSWER_WITHIN`] for a place.
pub const MAX_WAITING: usize = 256;

/// The owner answers in microseconds; more than this is a fault of ours.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// One run's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskLog {
    /// Number of the run, 1 = the task's first.
    pub run: u64,
    /// Numbers of the runs whose logs are kept, newest first.
    pub runs: Vec<u64>,
    /// Masked lines, oldest first.
    pub lines: Vec<String>,
}

/// What the owner is asked. Every request has a reply channel of capacity one; a reply nobody
/// waits for is dropped.
pub enum StreamRequest {
    /// Start a task.
    Start {
        /// Validated.
        spec: Box<StreamSpec>,
        /// Answered when its command line is prepared: the task in STARTING, or why not.
        accepted: Option<Sender<Result<StreamTask, Fault>>>,
        /// Answered when the first try ends: STREAMING = `Ok`; else the fault and the task. Also
        /// when there is none, because the START is refused.
        first_try: Option<Sender<FirstTryEnd>>,
    },
    /// Stop a task.
    Stop {
        /// Which.
        task: TaskId,
        /// SIGKILL at once.
        force: bool,
        /// Answered when the process is reaped.
        done: Sender<Result<StreamTask, Fault>>,
    },
    /// One task.
    Get {
        /// Which.
        task: TaskId,
        /// 30101 when unknown.
        reply: Sender<Result<StreamTask, Fault>>,
    },
    /// Tasks, newest first.
    List {
        /// Only STARTING, STREAMING, RECONNECTING.
        active_only: bool,
        /// The tasks.
        reply: Sender<Vec<StreamTask>>,
    },
    /// A run's log.
    Log {
        /// Which task.
        task: TaskId,
        /// Which run; the newest if none.
        run: Option<u64>,
        /// 30101, or 20004 for a run that is not kept.
        reply: Sender<Result<TaskLog, Fault>>,
    },
    /// Refuse new tasks (`true`) or take them again.
    Maintenance {
        /// On or off.
        enabled: bool,
        /// When it is so.
        reply: Sender<()>,
    },
}

/// A cheap handle; every door has a clone.
#[derive(Clone)]
pub struct StreamService {
    queue: Sender<StreamRequest>,
    rules: Arc<StreamRules>,
}

/// What a caller waits on for the end of a stop.
pub type StopDone = Receiver<Result<StreamTask, Fault>>;
/// What a caller waits on to hear whether a START is accepted.
pub type Accepted = Receiver<Result<StreamTask, Fault>>;
/// What a caller waits on for the end of a first try.
pub type FirstTry = Receiver<FirstTryEnd>;
/// The task that streams, or why not, and how the task stands then.
pub type FirstTryEnd = Result<StreamTask, (Fault, Option<Box<StreamTask>>)>;

impl StreamService {
    /// A handle that sends to `queue`.
    pub fn new(queue: Sender<StreamRequest>, rules: Arc<StreamRules>) -> Self {
        Self { queue, rules }
    }

    /// What waits for the owner.
    pub fn queue(&self) -> QueueMetric {
        QueueMetric::bounded("stream_requests", self.queue.len(), MAX_WAITING)
    }

    /// Validates and starts; the receiver hears whether it is accepted: in a moment, or when an
    /// FFmpeg that hangs has been given up.
    pub fn start(&self, command: &StartCommand) -> Result<Accepted, Fault> {
        let (accepted, answer) = bounded(1);
        self.submit_start(command, Some(accepted), None)?;
        Ok(answer)
    }

    /// Like [`start`](Self::start); the receiver hears when the first try ends, or that there is
    /// none.
    pub fn start_and_watch(&self, command: &StartCommand) -> Result<FirstTry, Fault> {
        let (first_try, answer) = bounded(1);
        self.submit_start(command, None, Some(first_try))?;
        Ok(answer)
    }

    fn submit_start(
        &self,
        command: &StartCommand,
        accepted: Option<Sender<Result<StreamTask, Fault>>>,
        first_try: Option<Sender<FirstTryEnd>>,
    ) -> Result<(), Fault> {
        let spec = command.validate(&self.rules)?;
        self.send(StreamRequest::Start {
            spec: Box::new(spec),
            accepted,
            first_try,
        })
    }

    /// Asks for a stop; the receiver hears when the process is reaped.
    pub fn stop(&self, task_id: Option<&str>, force: bool) -> Result<StopDone, Fault> {
        let task = task_id_of(task_id)?;
        let (done, answer) = bounded(1);
        // A stop is never refused for want of room: it waits for a place, for a bounded time.
        self.queue
            .send_timeout(StreamRequest::Stop { task, force, done }, ANSWER_WITHIN)
            .map_err(|_| stuck())?;
        Ok(answer)
    }

    /// One task.
    pub fn get(&self, task_id: Option<&str>) -> Result<StreamTask, Fault> {
        let task = task_id_of(task_id)?;
        let (reply, answer) = bounded(1);
        self.send(StreamRequest::Get { task, reply })?;
        wait(&answer)?
    }

    /// Tasks, newest first.
    pub fn list(&self, active_only: bool) -> Result<Vec<StreamTask>, Fault> {
        let (reply, answer) = bounded(1);
        self.send(StreamRequest::List { active_only, reply })?;
        wait(&answer)
    }

    /// A run's log; the newest run if none is named.
    pub fn log(&self, task_id: &str, run: Option<u64>) -> Result<TaskLog, Fault> {
        let task = task_id_of(Some(task_id))?;
        let (reply, answer) = bounded(1);
        self.send(StreamRequest::Log { task, run, reply })?;
        wait(&answer)?
    }

    /// Refuses new tasks, or takes them again.
    pub fn set_maintenance(&self, enabled: bool) -> Result<(), Fault> {
        let (reply, answer) = bounded(1);
        self.send(StreamRequest::Maintenance { enabled, reply })?;
        wait(&answer)
    }

    fn send(&self, request: StreamRequest) -> Result<(), Fault> {
        self.queue.try_send(request).map_err(|why| match why {
            TrySendError::Full(_) => Fault::new(
                ErrorCode::NodeBusy,
                "too many requests are waiting; try again in a moment",
            ),
            TrySendError::Disconnected(_) => stopping(),
        })
    }
}

fn task_id_of(task_id: Option<&str>) -> Result<TaskId, Fault> {
    let text = task_id.ok_or_else(|| Fault::new(ErrorCode::ParamMissing, "taskId is missing"))?;
    TaskId::parse("taskId", text)
}

fn wait<T>(answer: &Receiver<T>) -> Result<T, Fault> {
    answer.recv_timeout(ANSWER_WITHIN).map_err(|_| stuck())
}

fn stopping() -> Fault {
    Fault::new(ErrorCode::Unavailable, "the node is stopping")
}

fn stuck() -> Fault {
    Fault::new(
        ErrorCode::InternalError,
        "the stream owner does not answer; the log says more",
    )
}
