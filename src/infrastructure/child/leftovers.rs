//! What has outlived whom it belongs to is ended: children that an earlier, killed daemon of this
//! node left behind, at start; what a child has started and has left its group, at the child's end.
//!
//! Recognised by their mark alone, never by name, and only if the daemon that started them is
//! gone. The parent-death signal normally leaves nothing to do; this is for what escaped it (a
//! child that changed its user, a kernel without it).

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use super::launch::RunMark;
use super::marker::{NODE_VARIABLE, PARENT_VARIABLE, RUN_VARIABLE, start_time};

/// SIGTERM, so much time, SIGTERM again, the same, SIGKILL.
const STEP: Duration = Duration::from_secs(2);

/// Ends what is left of earlier runs of `node_id`. Waits at most six seconds, and not at all when
/// nothing is left. Returns how many were ended.
pub fn end_leftovers(node_id: &str) -> usize {
    let mut left: Vec<(Pid, OwnedFd)> = find(|environ| {
        judge(environ, node_id, |parent, started| {
            start_time(parent) == Some(started)
        })
    });
    let count = left.len();
    for signal in [libc::SIGTERM, libc::SIGTERM, libc::SIGKILL] {
        if left.is_empty() {
            break;
        }
        for (pid, pidfd) in &left {
            log::warn!(pid = pid.as_raw(), signal = signal; "ending a child that an earlier run left behind");
            send(pidfd, signal);
        }
        let deadline = Instant::now() + STEP;
        left.retain(|(_, pidfd)| !ended_by(pidfd, deadline));
    }
    for (pid, _) in &left {
        log::error!(pid = pid.as_raw(); "a child of an earlier run does not end, not even by SIGKILL");
    }
    count
}

/// Ends at once what a child that is gone has left behind outside its group (`setsid`). It may have
/// started more meanwhile, so this looks again, a few times.
pub fn end_strays(mark: RunMark) {
    let own = std::process::id();
    let parent = format!("{own}:{}", start_time(own).unwrap_or(0));
    let run = mark.value();
    for _ in 0..3 {
        let strays = find(|environ| {
            value(environ, RUN_VARIABLE) == Some(&run)
                && value(environ, PARENT_VARIABLE) == Some(&parent)
        });
        if strays.is_empty() {
            return;
        }
        for (pid, pidfd) in &strays {
            log::warn!(pid = pid.as_raw(); "ending what a child has started and left behind");
            send(pidfd, libc::SIGKILL);
        }
        let deadline = Instant::now() + STEP;
        for (_, pidfd) in &strays {
            ended_by(pidfd, deadline);
        }
    }
}

fn find(marked: impl Fn(&[u8]) -> bool) -> Vec<(Pid, OwnedFd)> {
    let marked = |pid: u32| {
        std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| marked(&environ))
    };
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            if !marked(pid) {
                return None;
            }
            let pid_t = Pid::from_raw(i32::try_from(pid).ok()?);
            let pidfd = pidfd_open(pid_t)?;
            // The pid may have changed hands before the pidfd was ours: look again.
            marked(pid).then_some((pid_t, pidfd))
        })
        .collect()
}

fn value<'a>(environ: &'a [u8], name: &str) -> Option<&'a str> {
    environ.split(|b| *b == 0).find_map(|entry| {
        let text = std::str::from_utf8(entry).ok()?;
        text.strip_prefix(name)?.strip_prefix('=')
    })
}

/// Whether an environment marks a leftover of `node_id`. `alive` tells whether the process of
/// that pid and start time still lives.
fn judge(environ: &[u8], node_id: &str, alive: impl Fn(u32, u64) -> bool) -> bool {
    if value(environ, NODE_VARIABLE) != Some(node_id) {
        return false;
    }
    let parent = value(environ, PARENT_VARIABLE)
        .and_then(|p| p.split_once(':'))
        .and_then(|(pid, at)| Some((pid.parse().ok()?, at.parse().ok()?)));
    match parent {
        Some((pid, at)) => !alive(pid, at),
        // Without a readable parent nothing says that it is gone.
        None => false,
    }
}

/// A descriptor that becomes readable when the process ends; `None` where the kernel has none.
#[allow(unsafe_code)]
pub(super) fn pidfd_open(pid: Pid) -> Option<OwnedFd> {
    // SAFETY: pidfd_open(2) takes a pid and flags by value and returns a new descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[allow(unsafe_code)]
fn send(pidfd: &OwnedFd, signal: i32) {
    // SAFETY: pidfd_send_signal(2) with a descriptor that we own, no siginfo, no flags.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if sent != 0 {
        log::debug!("signal {signal}: {}", std::io::Error::last_os_error());
    }
}

fn ended_by(pidfd: &OwnedFd, deadline: Instant) -> bool {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(0) => return false,
            Err(nix::errno::Errno::EINTR) => {}
            Ok(_) => return true,
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_marked_orphans_of_this_node() {
        let environ = b"PATH=/bin\0LSS_CHILD_OF_NODE=lss-a\0LSS_CHILD_OF_PROCESS=77:1234\0";
        assert!(judge(environ, "lss-a", |_, _| false));
        assert!(!judge(environ, "lss-a", |pid, at| (pid, at) == (77, 1234)));
        assert!(!judge(environ, "lss-b", |_, _| false));
        assert!(!judge(b"PATH=/bin\0", "lss-a", |_, _| false));
        assert!(!judge(b"LSS_CHILD_OF_NODE=lss-a\0", "lss-a", |_, _| false));
        assert!(!judge(b"\xff\xfe\0=\0", "lss-a", |_, _| false));
    }
}
