//! The one way to start a child, whatever it is for.
//!
//! Every child gets the node's mark, an environment from an allow list, `/` to work in, a group of
//! its own (so a signal reaches what it starts, too), no blocked signals, no way to more rights,
//! and bounds of memory, descriptors and core dumps. Where memory runs out, the kernel takes it
//! before it takes lss.
//!
//! The kernel sends the parent-death signal when the *thread* that spawned a child ends (measured).
//! So a child belongs to a thread that outlives it: the stream owner's, or one that waits for its
//! end.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::{SysconfVar, sysconf};

use super::marker::{Marker, RUN_VARIABLE};

/// Memory that a child may write to: so much, and [`MEMORY_EACH`] for each processor, because an
/// encoder keeps pictures for each of its threads. Measured with FFmpeg 9.0 and libx264: 4K made
/// smaller 0.6 GB, 4K kept 1.3 GB, at `veryslow` 2.7 GB, on 32 threads 5.3 GB.
const MEMORY: u64 = 4 << 30;
/// See [`MEMORY`].
const MEMORY_EACH: u64 = 64 << 20;
/// On a small machine less, but never less than this.
const MEMORY_LEAST: u64 = 1 << 30;
/// Descriptors that a child may have open.
const OPEN_FILES: rlim_t = 1024;
/// How much sooner than lss a child is taken where the machine's memory runs out: half of what
/// there is, so that it goes before any program of ordinary size.
const OOM_SCORE: i32 = 500;

/// Tells what one child has started, and all that comes of that, from what others have: also where
/// it has left the child's group and session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunMark(u64);

impl RunMark {
    /// One that no other child of this process has.
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// As it stands in the environment.
    pub(super) fn value(self) -> String {
        self.0.to_string()
    }
}

/// Starts children. Each thread may have one: it holds nothing but the mark.
#[derive(Debug, Clone)]
pub struct Launcher {
    marker: Marker,
}

impl Launcher {
    /// Children carry `marker`.
    pub fn new(marker: Marker) -> Self {
        Self { marker }
    }

    /// For commands that are no daemon's: the children belong to no node.
    pub fn of_no_node() -> Self {
        Self::new(Marker::of_this_process(""))
    }

    /// Starts a program that dies with the thread that calls this. Its output goes to pipes, its
    /// input is empty.
    pub fn spawn<A: AsRef<OsStr>>(
        &self,
        program: &OsStr,
        args: impl IntoIterator<Item = A>,
    ) -> io::Result<Child> {
        self.spawn_reading(program, args, Stdio::null(), RunMark::next())
    }

    /// The same, with that as its input, and marked so.
    pub fn spawn_reading<A: AsRef<OsStr>>(
        &self,
        program: &OsStr,
        args: impl IntoIterator<Item = A>,
        input: Stdio,
        mark: RunMark,
    ) -> io::Result<Child> {
        let mut command = Command::new(from_here(program)?);
        command
            .args(args)
            .env_clear()
            .envs(self.marker.environment())
            .env(RUN_VARIABLE, mark.value())
            .current_dir("/")
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        prepare(&mut command, Fate::Ours);
        let child = command.spawn()?;
        goes_first(child.id());
        Ok(child)
    }

    /// Starts this very program as the guard, which is to outlive us: in a session of its own,
    /// without our signals and those of our group. It has the input that comes back, and nothing
    /// else.
    pub fn spawn_guard(&self) -> io::Result<Child> {
        // Leads to what we are, also where that has been replaced on the disk since.
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("lss")
            .arg("guard")
            .env_clear()
            .envs(self.marker.guard_environment())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        prepare(&mut command, Fate::ItsOwn);
        command.spawn()
    }
}

/// A child works in `/`, and a program with a relative path is meant from where lss works.
fn from_here(program: &OsStr) -> io::Result<PathBuf> {
    let path = PathBuf::from(program);
    if path.components().count() > 1 && path.is_relative() {
        std::path::absolute(path)
    } else {
        Ok(path)
    }
}

/// With whom a child ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// With the thread that started it.
    Ours,
    /// When it has done its work.
    ItsOwn,
}

/// What is set up in the child before it becomes the program.
#[allow(unsafe_code)]
fn prepare(command: &mut Command, fate: Fate) {
    let parent = nix::unistd::getpid();
    let memory = memory(machine_memory(), processors());
    let bounds = [
        (Resource::RLIMIT_CORE, 0),
        (
            Resource::RLIMIT_DATA,
            rlim_t::try_from(memory).unwrap_or(rlim_t::MAX),
        ),
        (Resource::RLIMIT_NOFILE, OPEN_FILES),
    ];
    let mut mask = SigSet::empty();
    if fate == Fate::ItsOwn {
        for signal in [
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGHUP,
            Signal::SIGQUIT,
        ] {
            mask.add(signal);
        }
    }
    let setup = move || {
        // A child inherits the mask, and we block SIGTERM for `sigwait`. A guard keeps it: what the
        // service manager sends to all that is left of us is not for it.
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&mask), None)?;
        for (what, most) in bounds {
            let (_, hard) = getrlimit(what)?;
            let most = most.min(hard);
            setrlimit(what, most, most)?;
        }
        nix::sys::prctl::set_no_new_privs()?;
        close_the_rest();
        if fate == Fate::ItsOwn {
            nix::unistd::setsid()?;
            return Ok(());
        }
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have died before the line above.
        if nix::unistd::getppid() != parent {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed. The closure makes
    // system calls only (rt_sigprocmask, prlimit64, prctl,
    // close_range, setsid, getppid), and neither allocates nor
    // locks: its error values hold an errno.
    unsafe {
        command.pre_exec(setup);
    }
}

/// Marks every descriptor but the first three to be closed when the program begins: ours are marked
/// already, those that lss was started with may not be. (A kernel before 5.11 can't; then a child has
/// those.)
#[allow(unsafe_code)]
fn close_the_rest() {
    // SAFETY: close_range(2) takes three numbers and touches no memory of ours; with this flag it
    // closes nothing yet.
    unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        );
    }
}

/// What a child may write to: what the largest encoder takes, three quarters of the machine at
/// most. Of what it writes to, not of address space (RLIMIT_AS): encoders in hardware reserve tens
/// of gigabytes that they never use.
fn memory(machine: Option<u64>, processors: u64) -> u64 {
    let wanted = MEMORY + MEMORY_EACH * processors;
    let there = machine.map_or(u64::MAX, |bytes| bytes / 4 * 3);
    wanted.min(there.max(MEMORY_LEAST))
}

fn machine_memory() -> Option<u64> {
    let ask = |what| sysconf(what).ok().flatten()?.try_into().ok();
    let pages: u64 = ask(SysconfVar::_PHYS_PAGES)?;
    pages.checked_mul(ask(SysconfVar::PAGE_SIZE)?)
}

fn processors() -> u64 {
    std::thread::available_parallelism().map_or(1, |n| n.get() as u64)
}

/// Raises a child's badness. From outside: until it has become the program, its files in `/proc`
/// belong to root, as ours do, and for a moment after, too.
fn goes_first(pid: u32) {
    let own = std::fs::read_to_string("/proc/self/oom_score_adj")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0);
    let score = OOM_SCORE.max(own).to_string();
    let file = format!("/proc/{pid}/oom_score_adj");
    for _ in 0..10 {
        match std::fs::write(&file, &score) {
            Err(why) if why.kind() == io::ErrorKind::PermissionDenied => {
                std::thread::sleep(Duration::from_millis(1));
            }
            // It may have ended already.
            Err(_) | Ok(()) => return,
        }
    }
    log::debug!(pid = pid; "a child's oom_score_adj can't be set");
}

#[cfg(test)]
#[path = "launch_tests.rs"]
mod tests;
