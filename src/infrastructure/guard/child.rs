//! The thread that keeps the guard's process: starts it when something begins to move, tells it what
//! moves, starts it anew where it is gone, and sends it home when nothing has moved for a while.
//!
//! The guard outlives this process on purpose; so it is in a session of its own and holds nothing of
//! ours but the pipe's other end.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::job::{self, GuardOrder, Job};
use crate::infrastructure::child::launch::Launcher;

/// Words to the thread that wait. It waits for nothing but a fork: more is no traffic of cameras.
const WAITING: usize = 256;
/// While something moves, the guard's life is looked at so often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Without anything that moves the guard goes home after so long.
const IDLE: Duration = Duration::from_secs(60);
/// A guard that is sent home is gone by then.
const GOES: Duration = Duration::from_secs(1);
/// Pause between starts that fail.
const RETRY: Duration = Duration::from_secs(1);

enum Order {
    Job(Job, Sender<()>),
    End(Sender<bool>),
}

/// The way to the guard. Clones lead to the same.
#[derive(Clone)]
pub struct Guard {
    orders: Sender<Order>,
}

impl Guard {
    /// Starts the thread `guard`; no process yet. `locks` = where the node's locks are.
    pub fn start(launcher: Launcher, locks: Vec<PathBuf>) -> io::Result<Self> {
        let (orders, inbox) = bounded(WAITING);
        let keeper = Keeper {
            launcher,
            locks,
            jobs: BTreeMap::new(),
            process: None,
            retry_at: None,
        };
        std::thread::Builder::new()
            .name("guard".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || keeper.run(&inbox))?;
        Ok(Self { orders })
    }

    /// Tells what is true of a camera from now on. What comes back is ready when it stands in the
    /// pipe, where our death can't take it back. Never waits.
    pub fn tell(&self, job: Job) -> Receiver<()> {
        let (done, ready) = bounded(1);
        if self.orders.try_send(Order::Job(job, done)).is_err() {
            log::error!("the guard can't be told what moves: its thread does not answer");
        }
        ready
    }

    /// The daemon ends: the guard goes home, unless something may move still. Whether it has gone.
    pub fn end(&self, by: Duration) -> bool {
        let (done, ready) = bounded(1);
        self.orders.try_send(Order::End(done)).is_ok() && ready.recv_timeout(by) == Ok(true)
    }
}

struct Process {
    child: Child,
    pipe: ChildStdin,
}

struct Keeper {
    launcher: Launcher,
    locks: Vec<PathBuf>,
    /// What may move.
    jobs: BTreeMap<String, Job>,
    process: Option<Process>,
    /// After a start that failed.
    retry_at: Option<Instant>,
}

impl Keeper {
    fn run(mut self, inbox: &Receiver<Order>) {
        loop {
            let order = if self.jobs.is_empty() && self.process.is_none() {
                inbox.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else if self.jobs.is_empty() {
                inbox.recv_timeout(IDLE)
            } else {
                inbox.recv_timeout(LOOK_EVERY)
            };
            match order {
                Ok(Order::Job(job, done)) => {
                    self.take(job);
                    let _ = done.try_send(());
                }
                Ok(Order::End(done)) => {
                    let _ = done.try_send(self.end());
                    return;
                }
                Err(RecvTimeoutError::Timeout) if self.jobs.is_empty() => self.send_home(),
                Err(RecvTimeoutError::Timeout) => self.look_after(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn take(&mut self, job: Job) {
        let key = format!("{}/{}", job.address, job.channel);
        if job.drives.is_empty() {
            self.jobs.remove(&key);
        } else {
            self.jobs.insert(key, job.clone());
        }
        match &mut self.process {
            Some(process) => {
                let told = process.tell(&GuardOrder::Job(job));
                if told.is_err() {
                    self.replace();
                }
            }
            None if !self.jobs.is_empty() => self.start(),
            None => {}
        }
    }

    /// A new process, told everything.
    fn start(&mut self) {
        let now = Instant::now();
        if self.retry_at.is_some_and(|at| now < at) {
            return;
        }
        match self.spawn() {
            Ok(process) => {
                self.retry_at = None;
                self.process = Some(process);
            }
            Err(why) => {
                if self.retry_at.is_none() {
                    log::error!(
                        "the guard can't be started: {why}; a camera that ends no movement by itself would go on if lss were killed now"
                    );
                }
                self.retry_at = Some(now + RETRY);
            }
        }
    }

    fn spawn(&self) -> io::Result<Process> {
        let mut child = self.launcher.spawn_guard()?;
        let pipe = child.stdin.take();
        let pipe = pipe.ok_or_else(|| io::Error::other("it has no pipe"))?;
        let mut process = Process { child, pipe };
        // A guard that does not read must not hold us up; it is replaced.
        fcntl(&process.pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        process.tell(&GuardOrder::Locks(self.locks.clone()))?;
        for job in self.jobs.values() {
            process.tell(&GuardOrder::Job(job.clone()))?;
        }
        log::debug!(pid = process.child.id(); "the guard is told what moves");
        Ok(process)
    }

    fn replace(&mut self) {
        log::warn!("the guard is gone; another takes its place");
        if let Some(process) = self.process.take() {
            process.kill();
        }
        if !self.jobs.is_empty() {
            self.start();
        }
    }

    fn look_after(&mut self) {
        match &mut self.process {
            None => self.start(),
            Some(process) => {
                if !matches!(process.child.try_wait(), Ok(None)) {
                    self.replace();
                }
            }
        }
    }

    fn send_home(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        let told = process.tell(&GuardOrder::Done).is_ok();
        let until = Instant::now() + GOES;
        while told && Instant::now() < until {
            if !matches!(process.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        process.kill();
    }

    /// What has not obeyed until now is left to the guard: the pipe closes when this process is gone.
    fn end(mut self) -> bool {
        if self.jobs.is_empty() {
            self.send_home();
            return true;
        }
        if let Some(process) = self.process.take() {
            log::warn!(cameras = self.jobs.len(); "a camera may still be moving; the guard tries on for a minute");
            std::mem::forget(process.pipe);
        }
        false
    }
}

impl Process {
    fn tell(&mut self, told: &GuardOrder) -> io::Result<()> {
        self.pipe.write_all(&job::write(told))
    }

    /// Its pipe must not close before: it would begin to stop what we move.
    fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
