//! Lines on their way to stderr: a bounded queue and the one thread that writes.
//!
//! Whoever reads stderr may stop reading, and then a write takes for ever. Only the writer waits for
//! that; who logs never does. What finds no room is counted, and said as soon as there is room.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::Level;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Most lines that wait.
pub(super) const MAX_LINES: usize = 1_024;
/// Most bytes that wait.
const MAX_BYTES: usize = 1024 * 1024;

/// Says how many lines were lost.
pub(super) type Notice = Box<dyn Fn(u64) -> String + Send + Sync>;

/// The queue.
pub(super) struct Queue {
    state: Mutex<State>,
    /// A line is there.
    filled: Condvar,
    /// A line has been written, or given up.
    done: Condvar,
    notice: Notice,
}

#[derive(Default)]
struct State {
    lines: VecDeque<String>,
    bytes: usize,
    /// One more is being written.
    writing: bool,
    /// Lost, and not yet said.
    unsaid: u64,
    lost: Lost,
}

/// Lines that nobody will read, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lost {
    /// The queue was full.
    pub no_room: u64,
    /// stderr took them not: its reader has gone, or a disk is full.
    pub not_written: u64,
}

impl Queue {
    pub(super) fn new(notice: Notice) -> Self {
        Self {
            state: Mutex::default(),
            filled: Condvar::new(),
            done: Condvar::new(),
            notice,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a line, or counts it. A quarter of the room is kept for warnings and errors.
    pub(super) fn push(&self, level: Level, line: String) {
        let parts = if level <= Level::Warn { 4 } else { 3 };
        let mut state = self.state();
        let fits = state.lines.len() < MAX_LINES / 4 * parts
            && state.bytes.saturating_add(line.len()) <= MAX_BYTES / 4 * parts;
        if !fits {
            state.lost.no_room += 1;
            state.unsaid += 1;
            return;
        }
        if state.unsaid > 0 {
            // Where the lost lines would stand.
            self.say(&mut state);
        }
        state.add(line);
        drop(state);
        self.filled.notify_one();
    }

    fn say(&self, state: &mut State) {
        let lost = std::mem::take(&mut state.unsaid);
        state.add((self.notice)(lost));
    }

    /// The next line; waits for it.
    fn next(&self) -> String {
        let mut state = self.state();
        loop {
            if state.lines.is_empty() && state.unsaid > 0 {
                self.say(&mut state);
            }
            if let Some(line) = state.lines.pop_front() {
                state.bytes = state.bytes.saturating_sub(line.len());
                state.writing = true;
                return line;
            }
            state = self
                .filled
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn written(&self, whole: bool) {
        let mut state = self.state();
        state.writing = false;
        if !whole {
            state.lost.not_written += 1;
        }
        drop(state);
        self.done.notify_all();
    }

    /// Waits until everything is written, but not longer than `patience`; whether it is.
    pub(super) fn flush(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut state = self.state();
        while state.writing || !state.lines.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self
                .done
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    pub(super) fn waiting(&self) -> usize {
        self.state().lines.len()
    }

    pub(super) fn lost(&self) -> Lost {
        self.state().lost
    }

    /// Writes to stderr for ever. What can't be written is given up: another line may fare better.
    pub(super) fn write_out(&self) {
        let mut torn = false;
        loop {
            let mut line = self.next();
            line.push('\n');
            if torn {
                // The line before ended in its middle.
                line.insert(0, '\n');
            }
            let how = write_all(line.as_bytes());
            torn = match &how {
                Ok(()) => false,
                Err((_, written)) => *written > 0 || (torn && *written == 0),
            };
            self.written(how.is_ok());
        }
    }
}

impl State {
    fn add(&mut self, line: String) {
        self.bytes = self.bytes.saturating_add(line.len());
        self.lines.push_back(line);
    }
}

/// Past the standard library's lock, which others would wait for. An error comes with how much of
/// the bytes went out before.
fn write_all(mut bytes: &[u8]) -> Result<(), (Errno, usize)> {
    let stderr = io::stderr();
    let whole = bytes.len();
    while !bytes.is_empty() {
        match nix::unistd::write(stderr.as_fd(), bytes) {
            Ok(0) => return Err((Errno::EIO, whole - bytes.len())),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            // Somebody has made it non-blocking: it is shared with the process that started us.
            Err(Errno::EAGAIN) => {
                let mut ready = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
                let _ = poll(&mut ready, PollTimeout::from(1_000_u16));
            }
            Err(why) => return Err((why, whole - bytes.len())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> Queue {
        Queue::new(Box::new(|lost| format!("{lost} lost")))
    }

    fn take(queue: &Queue) -> String {
        let line = queue.next();
        queue.written(true);
        line
    }

    #[test]
    fn what_finds_no_room_is_counted_and_said_in_its_place() {
        let queue = queue();
        for n in 0..MAX_LINES {
            queue.push(Level::Info, format!("line {n}"));
        }
        let kept = MAX_LINES / 4 * 3;
        let lost = (MAX_LINES - kept) as u64;
        assert_eq!(queue.waiting(), kept);
        assert_eq!(queue.lost().no_room, lost);
        // There is room for what matters.
        queue.push(Level::Error, "an error".to_owned());
        assert_eq!(queue.lost().no_room, lost);
        for n in 0..kept {
            assert_eq!(take(&queue), format!("line {n}"));
        }
        assert_eq!(take(&queue), format!("{lost} lost"));
        assert_eq!(take(&queue), "an error");
    }

    #[test]
    fn the_loss_is_said_also_when_nothing_follows() {
        let queue = queue();
        queue.push(Level::Info, "short".to_owned());
        queue.push(Level::Error, "x".repeat(MAX_BYTES));
        assert_eq!(take(&queue), "short");
        assert_eq!(take(&queue), "1 lost");
        assert_eq!(
            queue.lost(),
            Lost {
                no_room: 1,
                not_written: 0
            }
        );
    }

    #[test]
    fn nobody_waits_longer_than_told_for_a_reader_that_does_not_read() {
        let queue = queue();
        assert!(queue.flush(Duration::ZERO));
        queue.push(Level::Info, "a".to_owned());
        assert!(!queue.flush(Duration::from_millis(1)));
        assert_eq!(queue.next(), "a");
        assert!(!queue.flush(Duration::from_millis(1)), "it is on its way");
        queue.written(false);
        assert!(queue.flush(Duration::ZERO));
        assert_eq!(queue.lost().not_written, 1);
    }
}
