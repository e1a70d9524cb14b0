//! The thread `rcs-callback` around the [`outbox`](super::outbox).

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::backoff::Pace;
use super::client::{Door, RcsClient};
use super::error::RcsError;
use super::outbox::{Callback, Fate, Next, Outbox, Outcome};
use super::wire;
use super::worker::{Turn, Worker};
use crate::domain::gateway::TaskObserver;
use crate::domain::stream::TaskEvent;

/// While callbacks are being dropped, one log line in so many.
const DROPS_A_LINE: u64 = 100;
/// Beyond the longest request, before a thread counts as stuck.
const SLACK: Duration = Duration::from_secs(30);

/// Owner of the callback thread.
pub struct RcsCallbacks {
    shared: Arc<CallbacksShared>,
    worker: Worker,
}

/// Tells RCS of every change of a task. Pushing never waits for the network.
#[derive(Clone)]
pub struct TaskCallbacks {
    shared: Arc<CallbacksShared>,
}

struct CallbacksShared {
    client: Arc<RcsClient>,
    node_id: String,
    state: Mutex<State>,
    /// Something was pushed, a pause was cut short, or the thread is to look up.
    work: Condvar,
    /// The outbox has become empty.
    empty: Condvar,
}

struct State {
    outbox: Outbox,
    /// Dropped since the last callback that RCS took.
    dropped: u64,
    /// Dropped since the start.
    dropped_ever: u64,
    /// Refused for good since the start.
    refused: u64,
    /// Refused for so long that they were given up, since the start.
    expired: u64,
}

/// Callbacks that RCS will never get, by why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lost {
    /// There was no room for them.
    pub no_room: u64,
    /// RCS refused them for good.
    pub refused: u64,
    /// RCS refused them for an hour.
    pub expired: u64,
}

impl CallbacksShared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TaskObserver for TaskCallbacks {
    fn task_changed(&self, event: &TaskEvent) {
        let callback = Callback {
            task: event.task.spec.task_id.as_str().to_owned(),
            kind: event.kind,
            body: Arc::from(wire::callback(&self.shared.node_id, event)),
        };
        let mut state = self.shared.lock();
        let gone = state.outbox.push(callback);
        let before = state.dropped;
        state.dropped += gone.len() as u64;
        state.dropped_ever += gone.len() as u64;
        let (dropped, waiting) = (state.dropped, state.outbox.len());
        drop(state);
        self.shared.work.notify_one();
        if let Some(first) = gone.first()
            && (before == 0 || before / DROPS_A_LINE != dropped / DROPS_A_LINE)
        {
            log::warn!(task = first.task.as_str(), kind = first.kind.name(), waiting = waiting, dropped = dropped; "RCS has not taken callbacks for so long that there is no room: the least important are dropped (rcs.callback_queue)");
        }
    }
}

impl TaskCallbacks {
    /// How many callbacks RCS has not taken yet.
    pub fn waiting(&self) -> usize {
        self.shared.lock().outbox.len()
    }

    /// How many may wait.
    pub fn limit(&self) -> usize {
        self.shared.lock().outbox.limit()
    }

    /// Callbacks that RCS will never get, since the start.
    pub fn lost(&self) -> Lost {
        let state = self.shared.lock();
        Lost {
            no_room: state.dropped_ever,
            refused: state.refused,
            expired: state.expired,
        }
    }
}

impl RcsCallbacks {
    /// Starts the thread. At most `limit` callbacks wait (`rcs.callback_queue`).
    pub fn start(
        client: Arc<RcsClient>,
        node_id: String,
        limit: usize,
        pace: Pace,
    ) -> io::Result<Self> {
        let shared = Arc::new(CallbacksShared {
            client,
            node_id,
            state: Mutex::new(State {
                outbox: Outbox::new(limit, pace, fastrand::u64(..)),
                dropped: 0,
                dropped_ever: 0,
                refused: 0,
                expired: 0,
            }),
            work: Condvar::new(),
            empty: Condvar::new(),
        });
        let told = Arc::downgrade(&shared);
        shared.client.on_heartbeat(move |taken| {
            if let Some(shared) = told.upgrade() {
                shared.lock().outbox.heartbeat(taken);
                shared.work.notify_one();
            }
        });
        let worker = {
            let shared = shared.clone();
            Worker::start("rcs-callback", move |turn| run(&shared, turn))?
        };
        Ok(Self { shared, worker })
    }

    /// What the stream owner tells its changes to.
    pub fn observer(&self) -> TaskCallbacks {
        TaskCallbacks {
            shared: self.shared.clone(),
        }
    }

    /// How many callbacks RCS has not taken yet.
    pub fn waiting(&self) -> usize {
        self.shared.lock().outbox.len()
    }

    /// Whether the thread hangs beyond every time-out of a request: a bug, mended by
    /// [`replace`](Self::replace).
    pub fn is_stuck(&self, now: Instant) -> bool {
        self.worker.busy_for(now) > self.shared.client.longest_request() + SLACK
    }

    /// Puts a new thread in the old one's place. Nothing is lost; what was on its way is sent again.
    pub fn replace(&self) -> io::Result<()> {
        self.worker.replace()?;
        self.wake();
        Ok(())
    }

    /// Sends what is left without pauses, until everything is sent or `deadline`. Returns how many
    /// callbacks are left.
    pub fn flush(&self, deadline: Instant) -> usize {
        let mut state = self.shared.lock();
        state.outbox.hurry();
        self.shared.work.notify_all();
        if state.outbox.is_retrying() {
            // A try that may hang, of a task that RCS chokes on: the others have no time for it.
            drop(state);
            self.shared.client.interrupt();
            state = self.shared.lock();
        }
        while !state.outbox.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self
                .shared
                .empty
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        state.outbox.len()
    }

    /// [`flush`](Self::flush), then ends the thread, whatever it is doing. Returns how many
    /// callbacks RCS has not got.
    pub fn stop(&self, deadline: Instant) -> usize {
        let left = self.flush(deadline);
        self.worker.stop();
        self.wake();
        if left > 0 {
            log::warn!(left = left; "lss ends with callbacks that RCS has not taken");
            self.shared.client.interrupt();
        }
        self.worker.join(deadline);
        left
    }

    fn wake(&self) {
        // Under the lock, or a thread between its look and its sleep would miss it.
        let _state = self.shared.lock();
        self.shared.work.notify_all();
    }
}

impl Drop for RcsCallbacks {
    fn drop(&mut self) {
        self.worker.stop();
        self.wake();
    }
}

/// The thread.
fn run(shared: &CallbacksShared, turn: &Turn) {
    if !turn.is_void() {
        // What a predecessor had under way when it died.
        shared.lock().outbox.abandon();
    }
    while let Some((ticket, callback)) = next(shared, turn) {
        let result = turn.busy(|| shared.client.post(Door::Callback, &callback.body));
        if turn.is_void() {
            return;
        }
        let mut state = shared.lock();
        let outcome = state.outbox.finish(ticket, fate(&result), Instant::now());
        state.refused += u64::from(outcome == Outcome::Refused);
        state.expired += u64::from(outcome == Outcome::Expired);
        let dropped = match &result {
            Ok(()) => std::mem::take(&mut state.dropped),
            Err(_) => 0,
        };
        let waiting = state.outbox.len();
        if waiting == 0 {
            shared.empty.notify_all();
        }
        drop(state);
        report(&callback, &result, outcome, waiting);
        if dropped > 0 {
            log::warn!(dropped = dropped; "RCS takes callbacks again; some had been dropped for want of room");
        }
    }
}

/// Waits for something to send. `None` = the turn is over.
fn next(shared: &CallbacksShared, turn: &Turn) -> Option<(super::outbox::Ticket, Callback)> {
    let mut state = shared.lock();
    loop {
        if turn.is_over() {
            return None;
        }
        let now = Instant::now();
        state = match state.outbox.next(now) {
            Next::Send(ticket, callback) => return Some((ticket, callback)),
            Next::Wait(until) => {
                shared
                    .work
                    .wait_timeout(state, until.saturating_duration_since(now))
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
            // Ends with the next push, replacement or stop: each wakes us.
            Next::Idle => shared
                .work
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner),
        };
    }
}

fn fate(result: &Result<(), RcsError>) -> Fate {
    match result {
        Ok(()) => Fate::Taken,
        Err(why) if why.is_final() => Fate::Refused,
        Err(RcsError::Refused(refusal)) if !matches!(refusal.status, 408 | 429 | 500..) => {
            Fate::NotTaken
        }
        Err(_) => Fate::Unwell,
    }
}

fn report(callback: &Callback, result: &Result<(), RcsError>, outcome: Outcome, waiting: usize) {
    let (task, kind) = (callback.task.as_str(), callback.kind.name());
    let Err(why) = result else {
        if outcome == (Outcome::Taken { recovered: true }) {
            log::info!(task = task, kind = kind, waiting = waiting; "RCS takes callbacks again");
        } else {
            log::debug!(task = task, kind = kind; "callback taken");
        }
        return;
    };
    let code = why.code().number();
    match outcome {
        Outcome::Refused => {
            log::warn!(task = task, kind = kind, code = code, reason:% = why; "RCS refuses this callback for good; it is dropped");
        }
        Outcome::Expired => {
            log::warn!(task = task, kind = kind, code = code, reason:% = why; "RCS has refused this callback for an hour; it is dropped");
        }
        Outcome::Kept { pause, news } => {
            // The first failure is news; that it goes on is not.
            let level = if news {
                log::Level::Warn
            } else {
                log::Level::Debug
            };
            log::log!(level, task = task, kind = kind, code = code, reason:% = why, waiting = waiting, retry_in:? = pause; "callback not taken; it is kept and sent again");
        }
        Outcome::Stale | Outcome::Taken { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::Refusal;
    use super::*;

    #[test]
    fn fates() {
        let refused = |status, code| {
            let refusal = Refusal {
                status,
                code,
                message: String::new(),
            };
            Err(match status {
                401 | 403 => RcsError::Login(refusal),
                _ => RcsError::Refused(refusal),
            })
        };
        assert_eq!(fate(&Ok(())), Fate::Taken);
        assert_eq!(fate(&refused(400, None)), Fate::Refused);
        assert_eq!(fate(&refused(422, Some(1))), Fate::Refused);
        for code in [20003, 20004, 30101, 30199] {
            assert_eq!(fate(&refused(200, Some(code))), Fate::Refused, "{code}");
        }
        assert_eq!(fate(&refused(404, Some(30101))), Fate::Refused);
        for code in [500, 30003, 30201, 30303, 50001] {
            assert_eq!(fate(&refused(200, Some(code))), Fate::NotTaken, "{code}");
        }
        assert_eq!(fate(&refused(404, None)), Fate::NotTaken);
        assert_eq!(fate(&refused(404, Some(20004))), Fate::NotTaken);
        for status in [401, 403, 408, 429, 500, 503] {
            assert_eq!(fate(&refused(status, None)), Fate::Unwell, "{status}");
        }
        // A server in trouble may say anything.
        assert_eq!(fate(&refused(500, Some(30101))), Fate::Unwell);
        assert_eq!(fate(&Err(RcsError::Foreign(String::new()))), Fate::Unwell);
    }
}
