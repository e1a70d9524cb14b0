//! Engines: what can carry a stream, what a run of one is started with, and the plan that a START
//! is carried by.

use std::fmt;
use std::path::PathBuf;

use super::error::Fault;
use super::stream::{SourceFacts, StreamSpec, TaskAudio, TaskMode, TaskSender};
use crate::util::secret::Secret;

/// What runs, and so how its output is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    /// An FFmpeg that takes the source and sends.
    Ffmpeg,
    /// This program as `lss relay`, with a job that asks the source what it is and sends nothing.
    Look,
    /// The same, with a job that sends the source's picture as it is.
    Relay,
}

/// A file that a run reads. It is found, judged and opened anew for each run, so that what is swapped
/// on the disk meanwhile leads nobody outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// It must lie below this directory.
    pub root: PathBuf,
    /// As it was named.
    pub path: String,
}

/// What a child reads on its standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stdin {
    /// Nothing.
    Empty,
    /// This file.
    File(SourceFile),
    /// These words, and then the end: its job, with the secrets that must stand neither in its
    /// arguments nor in its environment. At most [`MAX_JOB`] bytes.
    Job(Secret),
}

/// The longest job that a child is given. A job is a few URLs and options; one that is longer is a
/// fault of ours, and its run does not start.
pub const MAX_JOB: usize = 64 * 1024;

/// What one run of an engine is started with: judged and complete.
#[derive(Clone, PartialEq)]
pub struct Launch {
    /// What it starts.
    pub engine: EngineKind,
    /// How the task is carried; of a [`EngineKind::Look`], how it is meant to be.
    pub mode: TaskMode,
    /// By whom it is sent.
    pub sender: TaskSender,
    /// Why so, in words.
    pub mode_reason: String,
    /// What of the sound goes out.
    pub audio: TaskAudio,
    /// Program and arguments; arguments may carry secrets.
    pub argv: Vec<Secret>,
    /// What it reads on its standard input.
    pub stdin: Stdin,
    /// A source that ends by nature (FILE without loop): exit code 0 is its end.
    pub ends_by_nature: bool,
    /// Sent with the DELETE of a WHIP session that its publisher left behind.
    pub whip_bearer: Option<Secret>,
    /// It takes the client's part in the DTLS handshake, which is a second quicker. Not every endpoint
    /// leaves it that: one that does not is for the plan's next way.
    pub dtls_active: bool,
}

impl fmt::Debug for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Launch")
            .field("engine", &self.engine)
            .field("mode", &self.mode)
            .field("args", &self.argv.len())
            .finish_non_exhaustive()
    }
}

/// The ways in which a task may be carried, the first choice first. One of them is the current one;
/// those behind it are for when that one hands over.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    current: Launch,
    /// Still to come: each one what it is started with, or why it can't be.
    rest: std::collections::VecDeque<Result<Launch, Fault>>,
}

impl Plan {
    /// With one way, and no other.
    pub fn only(launch: Launch) -> Self {
        Self::new(launch, [])
    }

    /// With other ways behind the first one.
    pub fn new(first: Launch, rest: impl IntoIterator<Item = Result<Launch, Fault>>) -> Self {
        Self {
            current: first,
            rest: rest.into_iter().collect(),
        }
    }

    /// What is to be started now.
    pub fn current(&self) -> &Launch {
        &self.current
    }

    /// Whether another way could be started after the current one.
    pub fn has_another(&self) -> bool {
        self.rest.iter().any(Result::is_ok)
    }

    /// The current way hands over: the next one that can be started is the current one from now on.
    /// `None` where none is left; else why none of those that are left can be.
    pub fn move_on(&mut self) -> Result<(), Option<Fault>> {
        let mut why = None;
        while let Some(next) = self.rest.pop_front() {
            match next {
                Ok(launch) => {
                    self.current = launch;
                    return Ok(());
                }
                Err(fault) => why = Some(fault),
            }
        }
        Err(why)
    }
}

/// A child that does not go on, though nothing has failed: another way is to carry the task.
#[derive(Debug, Clone, PartialEq)]
pub struct HandOver {
    /// What the source is, where the child has asked it: which way comes next follows from that.
    /// Otherwise it is the plan's next one.
    pub facts: Option<SourceFacts>,
    /// Why, for people, in masked words; empty where the facts say it all.
    pub why: String,
}

/// Turns a task into a plan. Called on a thread that nobody else waits for: it may ask the engine
/// first, which takes seconds where that hangs.
pub trait Engine: Send + Sync {
    /// Before a task is accepted, `facts` are `None`: the plan, or why this task can't be carried
    /// (20005, 40101, …). Where a run has asked the source since, the ways that follow from what it
    /// said; the plan then never begins with another [`EngineKind::Look`].
    fn prepare(&self, spec: &StreamSpec, facts: Option<&SourceFacts>) -> Result<Plan, Fault>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::error::ErrorCode;

    fn launch(reason: &str) -> Launch {
        Launch {
            engine: EngineKind::Ffmpeg,
            mode: TaskMode::Copy,
            sender: TaskSender::Ffmpeg,
            mode_reason: reason.to_owned(),
            audio: TaskAudio::Encoded,
            argv: Vec::new(),
            stdin: Stdin::Empty,
            ends_by_nature: false,
            whip_bearer: None,
            dtls_active: false,
        }
    }

    #[test]
    fn a_plan_moves_on_past_what_can_not_be_and_says_why_nothing_is_left() {
        let no = |why: &str| Err(Fault::new(ErrorCode::FfmpegNotFound, why));
        let mut plan = Plan::new(launch("a"), [no("b can't"), Ok(launch("c")), no("d can't")]);
        assert_eq!(plan.current().mode_reason, "a");
        plan.move_on().unwrap();
        assert_eq!(plan.current().mode_reason, "c");
        let why = plan.move_on().unwrap_err().unwrap();
        assert_eq!(why.message, "d can't");
        assert_eq!(plan.move_on(), Err(None));
        assert_eq!(plan.current().mode_reason, "c", "the last way stays");
        assert_eq!(Plan::only(launch("a")).move_on(), Err(None));
    }

    #[test]
    fn a_job_is_not_shown() {
        let launch = Launch {
            stdin: Stdin::Job(Secret::unlisted("{\"password\":\"geheim\"}")),
            ..launch("")
        };
        assert!(!format!("{launch:?} {:?}", launch.stdin).contains("geheim"));
    }
}
