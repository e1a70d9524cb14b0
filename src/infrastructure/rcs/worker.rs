//! A named thread that outlives its own panics and can be replaced when it is stuck. Knows nothing
//! of what it does.
//!
//! Each incarnation has a generation. A replaced one may still hang somewhere; when it comes back
//! it finds its [`Turn`] void, and everything it still wants to do is dropped.

use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::util::foreign::shown;

/// After a panic, so that a bug that strikes at once does not spin.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// What the thread does; returns when its turn is over. Called again after a panic.
type Work = dyn Fn(&Turn) + Send + Sync;

/// The thread's owner.
pub(super) struct Worker {
    name: &'static str,
    work: Arc<Work>,
    shared: Arc<WorkerShared>,
}

#[derive(Default)]
struct WorkerShared {
    /// Read without the lock, so that a look at them nests in no other lock. Written under it.
    generation: AtomicU64,
    stopping: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The last incarnation that has ended.
    ended: u64,
    /// Since when the current incarnation has been out of our hands (a request).
    busy_since: Option<Instant>,
}

impl WorkerShared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One incarnation's view of itself.
pub(super) struct Turn {
    generation: u64,
    panicked: Cell<bool>,
    shared: Arc<WorkerShared>,
}

impl Turn {
    /// Whether an earlier try or incarnation of this work came to a bad end.
    pub(super) fn is_again(&self) -> bool {
        self.panicked.get() || self.generation > 1
    }

    /// Whether the thread is to end: stopped, or replaced.
    pub(super) fn is_over(&self) -> bool {
        self.shared.stopping.load(Ordering::SeqCst) || self.is_void()
    }

    /// Whether another thread has this one's place: whatever it still holds counts for nothing.
    pub(super) fn is_void(&self) -> bool {
        self.shared.generation.load(Ordering::SeqCst) != self.generation
    }

    /// Runs what may hang (within its own time-outs).
    pub(super) fn busy<T>(&self, work: impl FnOnce() -> T) -> T {
        self.mark(Some(Instant::now()));
        let result = work();
        self.mark(None);
        result
    }

    /// Waits until `until`, or until the turn is over. Says whether it is.
    pub(super) fn wait_until(&self, until: Instant) -> bool {
        let mut state = self.shared.lock();
        loop {
            if self.is_over() {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self
                .shared
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn mark(&self, since: Option<Instant>) {
        let mut state = self.shared.lock();
        if !self.is_void() {
            state.busy_since = since;
        }
    }
}

impl Worker {
    /// Starts the thread.
    pub(super) fn start(
        name: &'static str,
        work: impl Fn(&Turn) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let worker = Self {
            name,
            work: Arc::new(work),
            shared: Arc::default(),
        };
        worker.replace()?;
        Ok(worker)
    }

    /// Puts a new thread in the place of the present one, whose turn is void from now on.
    pub(super) fn replace(&self) -> io::Result<()> {
        let generation = {
            let mut state = self.shared.lock();
            state.busy_since = None;
            self.shared.generation.fetch_add(1, Ordering::SeqCst) + 1
        };
        self.shared.changed.notify_all();
        let (name, work) = (self.name, self.work.clone());
        let turn = Turn {
            generation,
            panicked: Cell::new(false),
            shared: self.shared.clone(),
        };
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                live(name, &turn, &*work);
                let mut state = turn.shared.lock();
                state.ended = state.ended.max(turn.generation);
                drop(state);
                turn.shared.changed.notify_all();
            })
            .map(|_| ())
            .inspect_err(|_| {
                // Without a thread nothing moves: let it look stuck, so that it is tried again.
                self.shared.lock().busy_since = Some(Instant::now());
            })
    }

    /// For how long the thread has been out of our hands.
    pub(super) fn busy_for(&self, now: Instant) -> Duration {
        self.shared
            .lock()
            .busy_since
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Ends the thread at its next look. Does not wait.
    pub(super) fn stop(&self) {
        {
            let _state = self.shared.lock();
            self.shared.stopping.store(true, Ordering::SeqCst);
        }
        self.shared.changed.notify_all();
    }

    /// Waits for the thread's end. Says whether it has ended.
    pub(super) fn join(&self, deadline: Instant) -> bool {
        let mut state = self.shared.lock();
        while state.ended < self.shared.generation.load(Ordering::SeqCst) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self
                .shared
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
    }
}

fn live(name: &'static str, turn: &Turn, work: &Work) {
    while let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(turn))) {
        let words = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no words");
        log::error!(thread = name, reason = shown(words, 300); "a fault of lss ended this thread's work; it starts again");
        turn.panicked.set(true);
        turn.mark(None);
        if turn.wait_until(Instant::now() + AFTER_PANIC) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::{Receiver, bounded, unbounded};

    const SOON: Duration = Duration::from_secs(10);

    fn soon() -> Instant {
        Instant::now() + SOON
    }

    #[test]
    fn works_again_after_a_panic() {
        let (tx, rx) = unbounded();
        let worker = Worker::start("t-panic", move |turn| {
            tx.send(turn.is_again()).unwrap();
            assert!(turn.is_over(), "a bug");
        })
        .unwrap();
        assert!(!rx.recv_timeout(SOON).unwrap());
        assert!(rx.recv_timeout(SOON).unwrap());
        worker.stop();
        assert!(worker.join(soon()));
    }

    #[test]
    fn a_stuck_thread_is_replaced_and_what_it_still_does_is_void() {
        let (release, held): (_, Receiver<()>) = bounded(0);
        let (tx, rx) = unbounded();
        let worker = Worker::start("t-stuck", move |turn| {
            if turn.generation == 1 {
                turn.busy(|| held.recv().unwrap_err());
                tx.send(("old", turn.is_void())).unwrap();
            } else {
                tx.send(("new", turn.is_void())).unwrap();
                turn.wait_until(Instant::now() + 6 * SOON);
            }
        })
        .unwrap();
        let deadline = soon();
        while worker.busy_for(Instant::now()).is_zero() {
            assert!(Instant::now() < deadline);
            thread::yield_now();
        }
        worker.replace().unwrap();
        assert_eq!(rx.recv_timeout(SOON).unwrap(), ("new", false));
        drop(release);
        assert_eq!(rx.recv_timeout(SOON).unwrap(), ("old", true));
        assert_eq!(worker.busy_for(Instant::now()), Duration::ZERO);
        worker.stop();
        assert!(worker.join(soon()));
    }

    #[test]
    fn join_gives_up_at_its_deadline() {
        let (release, held): (_, Receiver<()>) = bounded(0);
        let worker = Worker::start("t-join", move |_| {
            let _ = held.recv();
        })
        .unwrap();
        worker.stop();
        assert!(!worker.join(Instant::now() + Duration::from_millis(5)));
        drop(release);
        assert!(worker.join(soon()));
    }
}
