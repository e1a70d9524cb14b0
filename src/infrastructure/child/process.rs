//! Children: spawn, watch, signal, reap.
//!
//! One [`Children`] belongs to one thread, which must live as long as any child: the kernel sends
//! a child's parent-death signal when the *thread* that spawned it ends (measured). Each child has
//! a process group of its own, and one watcher thread that drains its output, hears of its end
//! and leaves the zombie in place. Until the owner reaps it, pid and group can't be given to
//! anybody else, so no signal ever reaches a stranger.
//!
//! Knows no task, no retry, no engine: what output means is an [`OutputJudge`]'s. What a child is
//! to read is there before it starts, so nobody waits for it to be read.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, TrySendError};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::file::Opener;
use super::job;
use super::launch::{Launcher, RunMark};
use super::leftovers::{end_strays, pidfd_open};
use super::log_tail::{LineSplitter, LogTail};
use crate::domain::engine::{HandOver, Launch, Stdin};
use crate::domain::gateway::{ChildEvent, ChildExit, ProcessGateway, RunEvent, RunId, StartedRun};
use crate::domain::stream::{Cause, Diagnosis, Progress};
use crate::infrastructure::process;
use crate::util::secret::Secret;

/// Where the kernel has no pidfd (before 5.3), the watcher looks this often instead.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A child that is being ended and talks a lot is told of this often.
const SPEAKS_EVERY: Duration = Duration::from_millis(100);

/// Descriptors that a child costs as long as it lives: two pipes and a pidfd.
const EACH: usize = 3;
/// Descriptors that a start leaves to those who could not go on without: a request over REST, a
/// stop to a camera. More than starting one takes for a moment.
const LEFT_TO_OTHERS: usize = 12;

/// What output said.
#[derive(Debug, Clone, PartialEq)]
pub enum RunSignal {
    /// The WHIP session is up; how long its handshake took.
    SessionUp(Option<Duration>),
    /// The peer's word in the DTLS handshake is due, and the engine itself would wait for ever.
    Handshaking,
    /// The source has taken the login that it was sent.
    LoginTaken,
    /// Who watches can show nothing before the next keyframe.
    KeyframeWanted,
    /// How far it is.
    Progress(Progress),
    /// The engine has failed, though it may not end.
    Failing(Diagnosis),
    /// The same, and another way of sending may not share it.
    FailingAlone(Diagnosis),
    /// Media goes out no longer, and it makes a fresh session by itself.
    SessionLost(Diagnosis),
    /// What the source sends can't go out as it is; it ends by itself.
    Unfit(String),
    /// It does not go on, and nothing has failed; it ends by itself.
    HandOver(Box<HandOver>),
}

/// Makes sense of one run's output while it is read. Raw lines: masking comes after.
pub trait OutputJudge: Send {
    /// The next bytes of stdout, in pieces of any size: what the engine says to lss alone. No word of
    /// a camera or a server comes here, so it is what may be believed.
    fn stdout(&mut self, bytes: &[u8], tell: &mut dyn FnMut(RunSignal));
    /// One whole line of stderr.
    fn line(&mut self, line: &str) -> Option<RunSignal>;
    /// We have told it to end: what it says from now on is our doing.
    fn asked_to_end(&mut self);
    /// After the last line: why it ended. `asked`: we told it to.
    fn verdict(&self, code: Option<i32>, signal: Option<i32>, asked: bool) -> Option<Diagnosis>;
    /// A WHIP session that the process did not close itself.
    fn session_left(&self) -> Option<Secret>;
    /// The WHIP endpoint that refused it for being asked too much, now or altogether.
    fn busy(&self) -> Option<Secret>;
    /// How long the WHIP endpoint wants to be left alone, where the process was told.
    fn retry_after(&self) -> Option<Duration> {
        None
    }
}

/// Makes a judge for a run.
pub type MakeJudge = Arc<dyn Fn(&Launch) -> Box<dyn OutputJudge> + Send + Sync>;
/// Ends a WHIP session that its publisher left behind (URL, bearer). Called on the watcher's
/// thread after the exit is reported; must end by itself within seconds.
pub type Release = Arc<dyn Fn(&Secret, Option<&Secret>) + Send + Sync>;

/// Asks a WHIP endpoint (URL, bearer) how long it wants to be left alone. Called on the watcher's
/// thread before the exit is reported; must end by itself within seconds.
pub type RetryAfter = Arc<dyn Fn(&Secret, Option<&Secret>) -> Option<Duration> + Send + Sync>;

/// What a process gateway is made with.
#[derive(Clone)]
pub struct Tools {
    /// A judge for a run.
    pub judge: MakeJudge,
    /// For sessions left behind.
    pub release: Release,
    /// For endpoints that want to be left alone.
    pub retry_after: RetryAfter,
}

struct Running {
    child: Child,
    pid: Pid,
    asked: Arc<AtomicBool>,
}

/// The children of one thread.
pub struct Children {
    tools: Tools,
    launcher: Launcher,
    opener: Opener,
    events: Sender<RunEvent>,
    running: BTreeMap<RunId, Running>,
    watchers: Vec<JoinHandle<()>>,
}

impl Children {
    /// No children yet. Their events go to `events`.
    pub fn new(tools: Tools, launcher: Launcher, events: Sender<RunEvent>) -> Self {
        Self {
            tools,
            launcher,
            opener: Opener::default(),
            events,
            running: BTreeMap::new(),
            watchers: Vec::new(),
        }
    }

    fn spawn(&mut self, run: RunId, launch: &Launch, input: Stdio) -> std::io::Result<StartedRun> {
        let mut argv = launch.argv.iter();
        let program = argv.next().map_or("", |p| p.expose());
        leaves_enough()?;
        let mark = RunMark::next();
        let mut child = self.launcher.spawn_reading(
            OsStr::new(program),
            argv.map(Secret::expose),
            input,
            mark,
        )?;
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
        let asked = Arc::new(AtomicBool::new(false));
        let log = Arc::new(LogTail::new());
        let watcher = Watcher {
            run,
            pid,
            pidfd: pidfd_open(pid),
            stdout: child.stdout.take().map(OwnedFd::from),
            stderr: child.stderr.take().map(OwnedFd::from),
            asked: Arc::clone(&asked),
            judge: (self.tools.judge)(launch),
            log: Arc::clone(&log),
            events: self.events.clone(),
            release: Arc::clone(&self.tools.release),
            retry_after: Arc::clone(&self.tools.retry_after),
            mark,
            spoke_at: None,
            bearer: launch.whip_bearer.clone(),
            told: false,
        };
        let thread = std::thread::Builder::new()
            .name(format!("child-{run}"))
            .stack_size(256 * 1024)
            .spawn(move || watcher.live());
        match thread {
            Ok(handle) => self.watchers.push(handle),
            Err(why) => {
                // Unwatched is unsupervised: don't keep it.
                let _ = killpg(pid, Signal::SIGKILL);
                let _ = child.wait();
                return Err(why);
            }
        }
        let started = StartedRun {
            pid: child.id(),
            log,
        };
        self.running.insert(run, Running { child, pid, asked });
        Ok(started)
    }

    fn signal(&self, run: RunId, signal: Signal) {
        let Some(running) = self.running.get(&run) else {
            return;
        };
        running.asked.store(true, Ordering::Relaxed);
        // Not reaped, so the group is still its own.
        if let Err(why) = killpg(running.pid, signal)
            && why != Errno::ESRCH
        {
            log::warn!(run = run.0, pid = running.pid.as_raw(); "{signal} failed: {why}");
        }
    }
}

impl ProcessGateway for Children {
    fn start(&mut self, run: RunId, launch: &Launch) -> Result<StartedRun, Diagnosis> {
        self.watchers.retain(|w| !w.is_finished());
        let input = match &launch.stdin {
            Stdin::Empty => Stdio::null(),
            Stdin::File(file) => Stdio::from(self.opener.open(file)?),
            Stdin::Job(words) => Stdio::from(job::readable(words.expose())?),
        };
        self.spawn(run, launch, input).map_err(|why| Diagnosis {
            cause: if why.kind() == std::io::ErrorKind::NotFound
                || why.kind() == std::io::ErrorKind::PermissionDenied
            {
                Cause::EngineMissing
            } else {
                Cause::EngineStart
            },
            detail: format!(
                "{} could not be started: {why}",
                launch.argv.first().map_or("the engine", |p| p.expose())
            ),
        })
    }

    fn terminate(&mut self, run: RunId) {
        self.signal(run, Signal::SIGTERM);
    }

    fn kill(&mut self, run: RunId) {
        self.signal(run, Signal::SIGKILL);
    }

    fn reap(&mut self, run: RunId) {
        let Some(mut running) = self.running.remove(&run) else {
            return;
        };
        // What it may have left in its group; the zombie still holds the group's number.
        let _ = killpg(running.pid, Signal::SIGKILL);
        if let Err(why) = running.child.wait() {
            log::warn!(run = run.0; "a child could not be reaped: {why}");
        }
    }

    fn finish(&mut self, deadline: Instant) {
        while Instant::now() < deadline && self.watchers.iter().any(|w| !w.is_finished()) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Children {
    /// Nothing is left running, whatever the way out (a panic of the owner among them).
    fn drop(&mut self) {
        for running in self.running.values_mut() {
            let _ = killpg(running.pid, Signal::SIGKILL);
            let _ = running.child.wait();
        }
    }
}

/// Fails as a start would that found no descriptor left, before it takes the last ones: a stream
/// holds them for as long as it runs, and nobody could stop it.
fn leaves_enough() -> std::io::Result<()> {
    let null = std::fs::File::open("/dev/null")?;
    let mut probes = Vec::with_capacity(EACH + LEFT_TO_OTHERS);
    for _ in 1..EACH + LEFT_TO_OTHERS {
        probes.push(null.try_clone()?);
    }
    Ok(())
}

/// One child's watcher.
struct Watcher {
    run: RunId,
    pid: Pid,
    pidfd: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    asked: Arc<AtomicBool>,
    judge: Box<dyn OutputJudge>,
    log: Arc<LogTail>,
    events: Sender<RunEvent>,
    release: Release,
    retry_after: RetryAfter,
    bearer: Option<Secret>,
    /// Of all that it has started.
    mark: RunMark,
    /// When it was last told that the child speaks.
    spoke_at: Option<Instant>,
    /// The exit has been told.
    told: bool,
}

impl Watcher {
    /// Follows the child to its end, whatever happens: an end that nobody tells of would leave its
    /// task waiting for ever.
    fn live(mut self) {
        if catch_unwind(AssertUnwindSafe(|| self.run())).is_err() && !self.told {
            self.give_up();
        }
    }

    /// After a fault of lss itself: a child that nobody understands any more is ended.
    fn give_up(&mut self) {
        log::error!(
            run = self.run.0, pid = self.pid.as_raw();
            "a child can't be followed any more by a fault of lss itself; it is ended"
        );
        (self.stdout, self.stderr) = (None, None);
        // Not reaped, so the group is still its own.
        let _ = killpg(self.pid, Signal::SIGKILL);
        let status = loop {
            if let Some(status) = self.exited() {
                break status;
            }
            self.wait();
        };
        // The judge is what may have failed.
        let judge = &self.judge;
        let left = catch_unwind(AssertUnwindSafe(|| judge.session_left()));
        end_strays(self.mark);
        self.tell_exit(
            status,
            Some(Diagnosis {
                cause: Cause::EngineCrash,
                detail: "lss failed inside while it followed the process; its log says more".into(),
            }),
            None,
        );
        if let Ok(Some(session)) = left {
            (self.release)(&session, self.bearer.as_ref());
        }
    }

    fn run(&mut self) {
        let mut lines = LineSplitter::new();
        for pipe in [&self.stdout, &self.stderr].into_iter().flatten() {
            set_nonblocking(pipe.as_fd());
        }
        let status = loop {
            self.wait();
            self.drain_stderr(&mut lines);
            self.drain_stdout();
            if let Some(status) = self.exited() {
                break status;
            }
        };
        // Everything it wrote before it ended is in the pipes now.
        self.drain_stderr(&mut lines);
        self.drain_stdout();
        let mut rest = None;
        lines.finish(|line| rest = Some(line.to_owned()));
        if let Some(rest) = rest {
            self.line(&rest);
        }
        let (code, signal) = (status.code(), status.signal());
        let asked = self.asked.load(Ordering::Relaxed);
        let diagnosis = self.judge.verdict(code, signal, asked);
        let left = self.judge.session_left();
        // What left its group does not outlive it either.
        end_strays(self.mark);
        let busy = self.judge.busy().filter(|_| !asked);
        let told = self.judge.retry_after().filter(|_| !asked);
        let asked_for = || busy.and_then(|url| (self.retry_after)(&url, self.bearer.as_ref()));
        let retry_after = told.or_else(asked_for);
        self.tell_exit(status, diagnosis, retry_after);
        if let Some(session) = left {
            (self.release)(&session, self.bearer.as_ref());
        }
    }

    fn tell_exit(
        &mut self,
        status: ExitStatus,
        diagnosis: Option<Diagnosis>,
        retry_after: Option<Duration>,
    ) {
        self.told = true;
        // The zombie still tells.
        let cpu =
            process::usage(self.pid.as_raw().unsigned_abs()).map_or(Duration::ZERO, |f| f.cpu);
        self.send(ChildEvent::Exited(ChildExit {
            code: status.code(),
            signal: status.signal(),
            diagnosis,
            cpu,
            retry_after,
        }));
    }

    /// Waits for output or the end.
    fn wait(&self) {
        let mut fds: Vec<PollFd<'_>> = [&self.stdout, &self.stderr, &self.pidfd]
            .into_iter()
            .flatten()
            .map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN))
            .collect();
        let timeout = if self.pidfd.is_some() {
            PollTimeout::NONE
        } else {
            PollTimeout::try_from(LOOK_EVERY).unwrap_or(PollTimeout::ZERO)
        };
        // EINTR and the like: the loop looks again.
        let _ = poll(&mut fds, timeout);
    }

    /// How it ended, if it has; it stays a zombie.
    fn exited(&self) -> Option<ExitStatus> {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG;
        match waitid(Id::Pid(self.pid), flags) {
            Ok(WaitStatus::Exited(_, code)) => Some(ExitStatus::from_raw((code & 0xff) << 8)),
            Ok(WaitStatus::Signaled(_, signal, _)) => Some(ExitStatus::from_raw(signal as i32)),
            Ok(_) | Err(Errno::EINTR) => None,
            // Reaped by somebody else: can't happen, but must not spin.
            Err(_) => Some(ExitStatus::from_raw(0xff << 8)),
        }
    }

    fn drain_stderr(&mut self, lines: &mut LineSplitter) {
        let Some(pipe) = self.stderr.take() else {
            return;
        };
        let mut found = Vec::new();
        let open = drain(
            &pipe,
            |bytes| lines.feed(bytes, |line| found.push(line.to_owned())),
            16,
        );
        for line in found {
            self.line(&line);
        }
        if open {
            self.stderr = Some(pipe);
        }
    }

    fn drain_stdout(&mut self) {
        let Some(pipe) = self.stdout.take() else {
            return;
        };
        self.heed_asked();
        let mut said: Vec<RunSignal> = Vec::new();
        let judge = &mut self.judge;
        let open = drain(
            &pipe,
            |bytes| {
                judge.stdout(bytes, &mut |next| {
                    // Of many blocks at once, the last says it all.
                    if matches!(next, RunSignal::Progress(_)) {
                        said.pop_if(|before| matches!(before, RunSignal::Progress(_)));
                    }
                    said.push(next);
                });
            },
            16,
        );
        for next in said {
            self.tell(next);
        }
        if open {
            self.stdout = Some(pipe);
        }
    }

    fn heed_asked(&mut self) {
        if self.asked.load(Ordering::Relaxed) {
            self.judge.asked_to_end();
            self.tell_spoke();
        }
    }

    fn line(&mut self, line: &str) {
        self.heed_asked();
        if let Some(said) = self.judge.line(line) {
            self.tell(said);
        }
        self.log.push(line);
    }

    /// Whether one that is being ended still says something decides how long it is waited for.
    fn tell_spoke(&mut self) {
        let now = Instant::now();
        if self.spoke_at.is_some_and(|at| now < at + SPEAKS_EVERY) {
            return;
        }
        self.spoke_at = Some(now);
        // A full queue loses one; it will speak again.
        let _ = self.events.try_send(RunEvent {
            run: self.run,
            event: ChildEvent::Spoke,
        });
    }

    fn tell(&self, said: RunSignal) {
        match said {
            RunSignal::SessionUp(took) => self.send(ChildEvent::SessionUp(took)),
            RunSignal::Handshaking => self.send(ChildEvent::Handshaking),
            RunSignal::LoginTaken => self.send(ChildEvent::LoginTaken),
            RunSignal::KeyframeWanted => self.send(ChildEvent::KeyframeWanted),
            RunSignal::Failing(diagnosis) => self.send(ChildEvent::Failing(diagnosis)),
            RunSignal::FailingAlone(diagnosis) => self.send(ChildEvent::FailingAlone(diagnosis)),
            RunSignal::SessionLost(diagnosis) => self.send(ChildEvent::SessionLost(diagnosis)),
            RunSignal::Unfit(why) => self.send(ChildEvent::Unfit(why)),
            RunSignal::HandOver(hand_over) => self.send(ChildEvent::HandOver(hand_over)),
            RunSignal::Progress(block) => {
                // The next one says the same a second later: a full queue may lose it.
                let event = RunEvent {
                    run: self.run,
                    event: ChildEvent::Progress(block),
                };
                if let Err(TrySendError::Full(_)) = self.events.try_send(event) {
                    log::debug!(run = self.run.0; "a progress block was dropped: queue full");
                }
            }
        }
    }

    /// Must arrive, so it waits for a place: the owner waits for nothing but its queues. A closed
    /// channel means the owner is gone, and so will be the process.
    fn send(&self, event: ChildEvent) {
        let _ = self.events.send(RunEvent {
            run: self.run,
            event,
        });
    }
}

/// Reads what is there, at most `chunks` × 4 KiB, so that a flood on one pipe does not starve the
/// other. Returns whether the pipe is still open.
fn drain(pipe: &OwnedFd, mut take: impl FnMut(&[u8]), chunks: usize) -> bool {
    let mut buffer = [0u8; 4096];
    for _ in 0..chunks {
        match nix::unistd::read(pipe, &mut buffer) {
            Ok(0) => return false,
            Ok(n) => take(buffer.get(..n).unwrap_or(&[])),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return true,
            Err(_) => return false,
        }
    }
    true
}

fn set_nonblocking(fd: BorrowedFd<'_>) {
    if let Err(why) = fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)) {
        log::warn!("a pipe can't be made non-blocking: {why}");
    }
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
