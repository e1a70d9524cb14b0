//! The thread `rcs-heartbeat` around the [`schedule`](super::schedule): registers, beats, says how
//! RCS is, and takes leave.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::client::{Door, RcsClient};
use super::error::RcsError;
use super::schedule::{Action, Beat, Rhythm, Schedule};
use super::wire;
use super::worker::{Turn, Worker};
use crate::domain::gateway::{HealthSink, NodeSource};
use crate::domain::health::{Part, PartStatus};
use crate::domain::node::NodeStatus;
use crate::util::time::Now;

/// Beyond the longest request, before a thread counts as stuck.
const SLACK: Duration = Duration::from_secs(30);

/// Longest that `lss.node.public_ip_url` is waited for.
const PUBLIC_IP: Duration = Duration::from_secs(5);

/// The registration waits at most this long for its [`Facts`] (contract 13).
pub const FIRST_LOOK: Duration = Duration::from_secs(5);

/// What a registration tells that is not known at once, and how long it waits for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The cameras that the first scan finds.
    pub cameras: bool,
    /// What the engine says of itself.
    pub engine: bool,
    /// At most so long.
    pub patience: Duration,
}

impl Facts {
    /// Everything is known.
    pub const KNOWN: Self = Self {
        cameras: false,
        engine: false,
        patience: Duration::ZERO,
    };
}

/// Owner of the heartbeat thread.
pub struct RcsHeartbeat {
    shared: Arc<HeartbeatShared>,
    worker: Worker,
}

struct HeartbeatShared {
    client: Arc<RcsClient>,
    node: Arc<dyn NodeSource>,
    health: Arc<dyn HealthSink>,
    state: Mutex<State>,
    /// A fact is known, or the thread is to end.
    changed: Condvar,
}

struct State {
    /// Survives a panic of the thread.
    schedule: Schedule,
    /// What the registration still waits for.
    awaited: Facts,
    /// Not longer than this.
    facts_by: Instant,
    /// What RCS was told of us at the last registration that it took.
    told: Option<Vec<u8>>,
    /// Asked for since the last registration that was taken.
    public_ip_known: bool,
    /// The last try failed, and that has been said.
    troubled: bool,
}

impl HeartbeatShared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RcsHeartbeat {
    /// Starts the thread. The registration waits for what `awaited` names, until
    /// [`first_scan_done`](Self::first_scan_done) and [`engine_known`](Self::engine_known) have
    /// been called, or patience ends.
    pub fn start(
        client: Arc<RcsClient>,
        node: Arc<dyn NodeSource>,
        health: Arc<dyn HealthSink>,
        rhythm: Rhythm,
        awaited: Facts,
    ) -> io::Result<Self> {
        let now = Now::read();
        health.report(Part::Rcs, PartStatus::Down, "not registered yet", now.wall);
        let shared = Arc::new(HeartbeatShared {
            client,
            node,
            health,
            state: Mutex::new(State {
                schedule: Schedule::new(rhythm, now.mono, fastrand::u64(..)),
                awaited,
                facts_by: now.mono + awaited.patience,
                told: None,
                public_ip_known: false,
                troubled: false,
            }),
            changed: Condvar::new(),
        });
        let worker = {
            let shared = shared.clone();
            Worker::start("rcs-heartbeat", move |turn| run(&shared, turn))?
        };
        Ok(Self { shared, worker })
    }

    /// The first scan has ended: a registration that waits for its cameras goes out.
    pub fn first_scan_done(&self) {
        self.shared.lock().awaited.cameras = false;
        self.shared.changed.notify_all();
    }

    /// The engine has said what it is: a registration that waits for that goes out.
    pub fn engine_known(&self) {
        self.shared.lock().awaited.engine = false;
        self.shared.changed.notify_all();
    }

    /// Whether RCS has taken a registration and not disowned it since.
    pub fn is_registered(&self) -> bool {
        self.shared.lock().schedule.is_registered()
    }

    /// Whether the thread hangs beyond every time-out of a request: a bug, mended by
    /// [`replace`](Self::replace).
    pub fn is_stuck(&self, now: Instant) -> bool {
        self.worker.busy_for(now) > self.shared.client.longest_request() + PUBLIC_IP + SLACK
    }

    /// Puts a new thread in the old one's place; the schedule goes on.
    pub fn replace(&self) -> io::Result<()> {
        self.worker.replace()?;
        self.wake();
        Ok(())
    }

    /// Ends the thread, then tells RCS OFFLINE if it knows us; both by `deadline`. Returns whether
    /// RCS has heard it (or has nothing to hear).
    pub fn stop(&self, deadline: Instant) -> bool {
        self.worker.stop();
        self.wake();
        // A heartbeat under way is of no use any more.
        self.shared.client.interrupt();
        let ended = self.worker.join(deadline);
        if !self.is_registered() {
            return true;
        }
        if !ended || Instant::now() >= deadline {
            log::warn!("RCS could not be told that this node goes offline");
            return false;
        }
        self.take_leave(deadline)
    }

    /// The last heartbeat, on a thread of its own, because a request may hang longer than we may.
    fn take_leave(&self, deadline: Instant) -> bool {
        let (tx, rx) = crossbeam_channel::bounded(1);
        let shared = self.shared.clone();
        let spawned = std::thread::Builder::new()
            .name("rcs-offline".to_owned())
            .spawn(move || {
                let now = Now::read();
                let body = wire::heartbeat(&shared.node.node(now), NodeStatus::Offline);
                let result = shared.client.post(Door::Heartbeat, &body);
                // Nobody may be waiting any more.
                let _ = tx.send(result);
            });
        let result = match spawned {
            Ok(_) => rx.recv_deadline(deadline).unwrap_or_else(|_| {
                self.shared.client.interrupt();
                Err(RcsError::NoAnswer("no time left".to_owned()))
            }),
            Err(why) => Err(RcsError::Unsent(why.to_string())),
        };
        match result {
            Ok(()) => {
                log::info!(rcs = self.shared.client.shown(); "RCS knows that this node goes offline");
                true
            }
            Err(why) => {
                log::warn!(code = why.code().number(), reason:% = why; "RCS could not be told that this node goes offline");
                false
            }
        }
    }

    fn wake(&self) {
        // Under the lock, or a thread between its look and its sleep would miss it.
        let _state = self.shared.lock();
        self.shared.changed.notify_all();
    }
}

impl Drop for RcsHeartbeat {
    fn drop(&mut self) {
        self.worker.stop();
        self.wake();
    }
}

/// The thread.
fn run(shared: &HeartbeatShared, turn: &Turn) {
    if turn.is_again() {
        shared.report(
            PartStatus::Down,
            "a fault of lss ended the heartbeat thread; it has started again",
            Now::read(),
        );
    }
    while let Some(action) = next(shared, turn) {
        turn.busy(|| match action {
            Action::Register => register(shared, turn),
            Action::Heartbeat => beat(shared, turn),
        });
    }
}

/// Waits for the next action. `None` = the turn is over.
fn next(shared: &HeartbeatShared, turn: &Turn) -> Option<Action> {
    let mut state = shared.lock();
    loop {
        if turn.is_over() {
            return None;
        }
        let now = Instant::now();
        let (action, at) = state.schedule.next();
        let waits = state.awaited.cameras || state.awaited.engine;
        let until = match action {
            Action::Register if waits => at.max(state.facts_by),
            _ => at,
        };
        if until <= now {
            return Some(action);
        }
        state = shared
            .changed
            .wait_timeout(state, until - now)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
}

fn register(shared: &HeartbeatShared, turn: &Turn) {
    let began = Instant::now();
    if shared.client.wants_public_ip() && !shared.lock().public_ip_known {
        let found = shared.client.public_ip();
        if let Some(ip) = found {
            shared.node.public_ip_found(ip);
            shared.lock().public_ip_known = true;
        }
    }
    if turn.is_over() {
        return;
    }
    let node = shared.node.node(Now::read());
    let body = wire::register(&node);
    let result = shared.client.post(Door::Register, &body);
    if turn.is_over() {
        // Stopped meanwhile: an interrupted try is nobody's fault. A try that was taken counts, so
        // that RCS hears of our end.
        if result.is_ok() && !turn.is_void() {
            shared
                .lock()
                .schedule
                .register_ended(true, began, Instant::now());
        }
        return;
    }
    let now = Now::read();
    let mut state = shared.lock();
    let pause = state
        .schedule
        .register_ended(result.is_ok(), began, now.mono);
    state.troubled = result.is_err();
    if result.is_ok() {
        // The next registration asks again: the uplink may have changed by then.
        state.public_ip_known = false;
        state.told = Some(wire::registered_facts(node));
    }
    drop(state);
    match result {
        Ok(()) => {
            log::info!(rcs = shared.client.shown(); "registered with RCS");
            shared.node.registered(now.wall);
            shared.report(PartStatus::Up, "", now);
        }
        Err(why) => {
            let pause = pause.unwrap_or_default();
            log::warn!(code = why.code().number(), reason:% = why, retry_in:? = pause; "registration failed");
            shared.report(
                PartStatus::Down,
                &format!("registration failed: {why}"),
                now,
            );
        }
    }
}

fn beat(shared: &HeartbeatShared, turn: &Turn) {
    let node = shared.node.node(Now::read());
    // OFFLINE is the last message's alone (contract 13): first RCS hears what became of the tasks.
    let status = match node.status {
        NodeStatus::Offline => {
            let most = node.identity.max_tasks;
            NodeStatus::of(false, false, node.active_tasks.len(), most)
        }
        status => status,
    };
    let body = wire::heartbeat(&node, status);
    let facts = wire::registered_facts(node);
    let result = shared.client.post(Door::Heartbeat, &body);
    if turn.is_over() {
        return;
    }
    let beat = match &result {
        Ok(()) => Beat::Taken,
        Err(why) if why.node_is_unknown() => Beat::Unknown,
        Err(_) => Beat::Failed,
    };
    let now = Now::read();
    let mut state = shared.lock();
    let again = state.schedule.beat_ended(beat, now.mono);
    if result.is_ok() && state.told.as_ref().is_some_and(|told| *told != facts) {
        state.schedule.changed(now.mono);
    }
    let was_troubled = std::mem::replace(&mut state.troubled, result.is_err());
    drop(state);
    match result {
        Ok(()) => {
            if was_troubled {
                log::info!(rcs = shared.client.shown(); "RCS takes heartbeats again");
            } else {
                log::debug!("heartbeat taken");
            }
            shared.node.heartbeat_taken(now.wall);
            shared.report(PartStatus::Up, "", now);
        }
        Err(why) => {
            // The first failure is news; that it goes on is not.
            let level = if was_troubled {
                log::Level::Debug
            } else {
                log::Level::Warn
            };
            let code = why.code().number();
            if let Some(at) = again {
                let wait = at.saturating_duration_since(now.mono);
                log::log!(level, code = code, reason:% = why, register_in:? = wait; "RCS does not know this node; it registers again");
            } else {
                log::log!(level, code = code, reason:% = why; "heartbeat failed");
            }
            shared.report(PartStatus::Down, &format!("heartbeat failed: {why}"), now);
        }
    }
}

impl HeartbeatShared {
    fn report(&self, status: PartStatus, reason: &str, now: Now) {
        self.health.report(Part::Rcs, status, reason, now.wall);
    }
}
