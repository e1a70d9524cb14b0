//! What the application asks of the world, as traits (the spec's gateway interfaces).
//!
//! The spec's `FFmpegGateway` is [`ProcessGateway`] here: a task is carried by a child process
//! whatever the engine, and the owner never asks whether a pid is alive: it is told by events.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::engine::{HandOver, Launch};
use super::health::{Part, PartStatus};
use super::node::LssNode;
use super::patrol::PatrolEvent;
use super::ptz::PtzEvent;
use super::stream::{Diagnosis, Progress, StreamSpec, TaskEvent};
use crate::util::secret::Secret;
use crate::util::time::Now;

/// One run of one child process. Never reused while the daemon lives, so what an old run still
/// sends is recognised and dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(pub u64);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// How a child ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildExit {
    /// Exit code, if it exited.
    pub code: Option<i32>,
    /// Signal number, if one ended it.
    pub signal: Option<i32>,
    /// What its output told of the reason.
    pub diagnosis: Option<Diagnosis>,
    /// Processor time that it took, its threads together.
    pub cpu: Duration,
    /// How long the WHIP endpoint, which refused it for being asked too much, wants to be left alone.
    pub retry_after: Option<Duration>,
}

/// What a child's watcher reports.
#[derive(Debug, Clone, PartialEq)]
pub enum ChildEvent {
    /// The WHIP session is up (HTTP, ICE, DTLS all done), and how long that took since the muxer
    /// began, where the engine tells.
    SessionUp(Option<Duration>),
    /// Its peer's word in the DTLS handshake is due, and the engine itself would wait for ever.
    Handshaking,
    /// A progress block.
    Progress(Progress),
    /// It has said something after it was told to end; now and then, not of every word.
    Spoke,
    /// The engine has said that it has failed, but the process may not end by itself.
    Failing(Diagnosis),
    /// The same, and the fault is its own way of sending's: another one may not share it.
    FailingAlone(Diagnosis),
    /// Media goes out no longer, and the process makes a fresh session by itself: it will say so
    /// ([`ChildEvent::SessionUp`]), or that it has failed.
    SessionLost(Diagnosis),
    /// What the source sends can't go out as it is: why, in masked words. The process ends by itself.
    Unfit(String),
    /// The source has taken the login that it was sent, whatever becomes of the run.
    LoginTaken,
    /// Who watches can show nothing before the next keyframe; at most every 2 s.
    KeyframeWanted,
    /// It does not go on, and nothing has failed: another way is to carry the task. The process ends
    /// by itself.
    HandOver(Box<HandOver>),
    /// The process has ended, its output is read to the end; it waits to be reaped.
    Exited(ChildExit),
}

/// A child event with the run it belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct RunEvent {
    /// Which run.
    pub run: RunId,
    /// What happened.
    pub event: ChildEvent,
}

/// The masked last words of one run.
pub trait RunLog: Send + Sync {
    /// Whole lines, oldest first; at most 2,000 characters in all.
    fn lines(&self) -> Vec<String>;
}

/// A started run.
#[derive(Clone)]
pub struct StartedRun {
    /// Process id, for people.
    pub pid: u32,
    /// Its log, readable while it runs and after.
    pub log: Arc<dyn RunLog>,
}

/// Runs children. Only the stream owner holds one, so only one thread spawns, signals and reaps.
/// No call waits.
pub trait ProcessGateway {
    /// Starts a run; its events come to the channel the gateway was made with.
    fn start(&mut self, run: RunId, launch: &Launch) -> Result<StartedRun, Diagnosis>;
    /// SIGTERM to the run's process group. Does nothing once it is reaped.
    fn terminate(&mut self, run: RunId);
    /// SIGKILL to the run's process group. Does nothing once it is reaped.
    fn kill(&mut self, run: RunId);
    /// Collects an exited run: ends what is left of its group, and frees its pid.
    fn reap(&mut self, run: RunId);
    /// The last call: waits until what ended runs left behind (WHIP sessions) is tidied up, at
    /// most until `deadline`.
    fn finish(&mut self, deadline: std::time::Instant);
}

/// Told of every change of a task. Must not wait.
pub trait TaskObserver: Send {
    /// One change, in order per task.
    fn task_changed(&self, event: &TaskEvent);
}

/// Told of what lss does with cameras on its own. Must not wait.
pub trait CameraObserver: Send + Sync {
    /// A movement that lss has ended, or a stop that is not obeyed.
    fn ptz_event(&self, event: &PtzEvent, at: SystemTime);
    /// A change of a patrol.
    fn patrol_event(&self, event: &PatrolEvent, at: SystemTime);
    /// One more camera moves by a manual command of the cloud, or one fewer.
    fn moves_for_cloud(&self, moves: bool);
}

/// Whether the way to the cloud is known to be down.
pub trait Uplink: Send + Sync {
    /// `true` only if every cloud peer that is configured was last seen failing; `false` when
    /// none is configured, for then nothing is known.
    fn is_down(&self) -> bool;
}

/// Whether a stream may log in to its camera now (contract 7): cameras lock an account after a few
/// wrong passwords, for all protocols at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginPermit {
    /// Yes. What comes of it is to be told to [`StreamCameras`].
    Granted,
    /// As many tries as the camera may refuse are under way: to be asked again in a moment, when
    /// the first of them has shown whether the login is right.
    NotYet,
    /// The camera has refused it: why, until when.
    Guarded(String),
}

/// What came of a stream's try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginEnd {
    /// The camera has let it in.
    Taken,
    /// It has refused the login.
    Refused,
    /// It ended without telling.
    Unknown,
}

/// The cameras of streams: their logins, as the lock-out guard sees them, and their keyframes. Must
/// not wait.
pub trait StreamCameras: Send + Sync {
    /// To be asked before each try.
    fn permit(&self, spec: &StreamSpec) -> LoginPermit;
    /// Whether the camera has ever taken this login, from whomever: then a refusal is waited out.
    fn has_worked(&self, spec: &StreamSpec) -> bool;
    /// To be told once for each [`LoginPermit::Granted`], and when a camera refuses a login later on.
    fn ended(&self, spec: &StreamSpec, end: LoginEnd);
    /// Who watches the stream can show nothing before the camera's next keyframe.
    fn keyframe_wanted(&self, spec: &StreamSpec);
}

/// Where a part says how it is. Must not wait.
pub trait HealthSink: Send + Sync {
    /// `reason` carries no secret; empty when there is nothing to say.
    fn report(&self, part: Part, status: PartStatus, reason: &str, at: SystemTime);
}

/// The node as the cloud's clients tell of it, and where they note that the cloud has heard it.
/// Must not wait.
pub trait NodeSource: Send + Sync {
    /// A picture of the node as it is now.
    fn node(&self, now: Now) -> LssNode;
    /// RCS has taken a registration.
    fn registered(&self, at: SystemTime);
    /// RCS has taken a heartbeat.
    fn heartbeat_taken(&self, at: SystemTime);
    /// The address of the site's uplink has been asked for.
    fn public_ip_found(&self, ip: IpAddr);
}

/// What the operating system says of the machine at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SystemSample {
    /// Kernel name and release.
    pub os: String,
    /// Processors that are online.
    pub cpu_cores: usize,
    /// Bytes; 0 where the system does not say.
    pub total_memory: u64,
    /// Bytes.
    pub available_memory: u64,
    /// Percent of the machine's processors in use since an earlier sample, at the first one since
    /// boot; `None` where the system does not say.
    pub cpu_usage: Option<f64>,
    /// Percent of the machine's memory in use.
    pub memory_usage: Option<f64>,
    /// The address under which the site's network knows this machine.
    pub node_ip: Option<IpAddr>,
}

/// Looks at the machine.
pub trait SystemProbe: Send + Sync {
    /// Takes microseconds: reads what the kernel has at hand.
    fn sample(&self, now: Instant) -> SystemSample;
}

/// Where a message stands in the cloud's stream of commands. Only good for comparing two.
///
/// What passes while others are held, and what is fetched again after a loss, reaches us out of
/// order; this is what tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamPlace {
    /// When the cloud took it, by its own clock in milliseconds; of one without a time, that of
    /// the message before it.
    pub made_ms: i64,
    /// Which unbroken piece of the stream it came in: within one, the cloud sends in order. A
    /// later piece begins by sending what was missed.
    pub section: u64,
    /// Counts the messages of all sections as they come, those of one array included.
    pub number: u64,
    /// It was held back, and others passed it.
    pub held: bool,
}

impl StreamPlace {
    /// Whether the cloud took this one before `other`.
    pub fn is_before(&self, other: &Self) -> bool {
        if self.section == other.section && !self.held {
            return self.number < other.number;
        }
        self.by_time() < other.by_time()
    }

    /// The order of what came in more than one section. At the same millisecond what a later one
    /// brings was missed by the earlier one, so it is older than what was live then.
    pub fn by_time(&self) -> impl Ord + use<> {
        (self.made_ms, std::cmp::Reverse(self.section), self.number)
    }
}

/// A message from the cloud, delivered once.
#[derive(Clone, PartialEq, Eq)]
pub struct CloudMessage {
    /// The service's id for it.
    pub id: String,
    /// Its name: what kind of command it carries.
    pub name: String,
    /// What it holds: the text of a JSON object, or of a JSON string that holds one. May carry
    /// passwords.
    pub text: Secret,
    /// Where it stands in the cloud's stream of commands.
    pub place: StreamPlace,
    /// When it reached us.
    pub received: std::time::Instant,
    /// How old it is by the cloud's own clock; `None` while that is unknown.
    pub age: Option<std::time::Duration>,
    /// It was sent while we were away, and comes from the service's store.
    pub replayed: bool,
}

/// A place in the cloud line's store, for one answer.
pub trait AnswerSlot: Send {
    /// Hands the answer over; it is kept until the cloud has it.
    fn publish(self: Box<Self>, json: String);
}

/// The line to the cloud, as doors speak on it. No call waits.
pub trait CloudLine: Send + Sync {
    /// A place for an answer; `None` when too much waits already. `last_places`: also the few
    /// kept for saying so.
    fn reserve(&self, last_places: bool) -> Option<Box<dyn AnswerSlot>>;
    /// An event of a task.
    fn task_event(&self, task: &super::stream::TaskId, json: String);
    /// An event of the node, under its message name (`ptz_event`, `patrol_event`).
    fn node_event(&self, name: &'static str, json: String);
    /// Most bytes that an answer's JSON may have, by what the service says of itself.
    fn max_answer(&self) -> usize;
}
