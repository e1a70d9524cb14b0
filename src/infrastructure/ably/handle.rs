//! What the rest of the daemon holds of the client: it publishes, asks how things are, ends it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::connection::ledger::{Ledger, Priority, Reservation};
use super::connection::types::{Publish, PublishKind, Refusal, Status};
use super::data::Data;
use super::doorbell::Doorbell;
use super::frame::message_size;

/// Events that wait to be taken over by the client's thread; the oldest goes first.
const MAX_EVENTS: usize = 500;

/// One publish, as the daemon asks for it.
#[derive(Debug)]
pub struct Outgoing {
    /// Where to. The channel is not attached for it.
    pub channel: String,
    /// The message's name.
    pub name: String,
    /// The payload.
    pub data: Data,
    /// An id of its own, never used for anything else: the service drops doubles of it.
    pub id: String,
    /// What becomes of it when it can't go out now.
    pub kind: PublishKind,
}

/// What has changed at the handle since the thread last looked.
#[derive(Default)]
pub(super) struct Inbox {
    pub(super) publishes: VecDeque<Publish>,
    pub(super) presence: Option<Data>,
    pub(super) watch: Option<bool>,
    pub(super) close: bool,
    pub(super) abort: bool,
}

/// Shared by the handles and the thread. One mutex, never held across anything that waits.
pub(super) struct HandleShared {
    state: Mutex<State>,
    changed: Condvar,
    pub(super) bell: Arc<Doorbell>,
    ledger: Arc<Ledger>,
}

struct State {
    inbox: Inbox,
    status: Status,
    turn: Instant,
    events_dropped: u64,
    ended: bool,
    /// By a fault: what must not be lost is put aside.
    broken: bool,
}

impl HandleShared {
    pub(super) fn new(bell: Arc<Doorbell>, ledger: Arc<Ledger>, status: Status) -> Self {
        Self {
            state: Mutex::new(State {
                inbox: Inbox::default(),
                status,
                turn: Instant::now(),
                events_dropped: 0,
                ended: false,
                broken: false,
            }),
            changed: Condvar::new(),
            bell,
            ledger,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that has come in.
    pub(super) fn take(&self) -> Inbox {
        let mut state = self.lock();
        let inbox = std::mem::take(&mut state.inbox);
        // They still wait, until the end of the turn says what became of them.
        state.status.publishes_waiting += inbox.publishes.len();
        inbox
    }

    /// The end of a turn of the thread. `status` only if it may have changed.
    pub(super) fn turned(&self, status: Option<Status>) {
        let mut state = self.lock();
        state.turn = Instant::now();
        if let Some(status) = status {
            state.status = status;
            drop(state);
            self.changed.notify_all();
        }
    }

    /// The thread is over, in order or not.
    pub(super) fn ended(&self) {
        let mut state = self.lock();
        state.ended = true;
        state.broken = std::thread::panicking();
        let left = std::mem::take(&mut state.inbox);
        if state.broken {
            for publish in left.publishes {
                if matches!(publish.kind, PublishKind::Kept(_)) {
                    self.ledger.rescue(publish);
                }
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    fn with_inbox(&self, change: impl FnOnce(&mut Inbox)) {
        change(&mut self.lock().inbox);
        self.bell.ring();
    }
}

/// A running client. Cheap to clone; when the last one is dropped, the client ends without grace.
#[derive(Clone)]
pub struct AblyHandle(Arc<Inner>);

struct Inner {
    shared: Arc<HandleShared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.with_inbox(|inbox| inbox.abort = true);
    }
}

impl fmt::Debug for AblyHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AblyHandle").finish_non_exhaustive()
    }
}

impl AblyHandle {
    pub(super) fn new(shared: Arc<HandleShared>, thread: JoinHandle<()>) -> Self {
        Self(Arc::new(Inner {
            shared,
            thread: Mutex::new(Some(thread)),
        }))
    }

    /// Takes a place for a publish that must not be lost. Whoever accepts a command takes one
    /// first; without a place the command is to be refused (30302). The place of a refusal is
    /// taken with [`Priority::High`].
    pub fn reserve(&self, priority: Priority) -> Option<Reservation> {
        self.0.shared.ledger.take(priority)
    }

    /// Whether a place for the result of one more command is free.
    pub fn has_room(&self) -> bool {
        self.0.shared.ledger.has_room()
    }

    /// Hands a publish over. Does not wait. What is too large for the service, as far as that is
    /// known now, is refused at once; a refusal that comes later is an event, and so is that of
    /// what must not be lost: it comes back with it.
    pub fn publish(&self, outgoing: Outgoing) -> Result<(), Refusal> {
        let data = outgoing.data.encode();
        let size = message_size(&outgoing.name, &data);
        let mut publish = Publish {
            channel: outgoing.channel,
            name: outgoing.name,
            data,
            id: outgoing.id,
            kind: outgoing.kind,
        };
        let mut state = self.0.shared.lock();
        if state.ended {
            if state.broken && matches!(publish.kind, PublishKind::Kept(_)) {
                self.0.shared.ledger.rescue(publish);
                return Ok(());
            }
            return Err(Refusal::Ended);
        }
        let max = state.status.max_message_size;
        if size > max && !matches!(publish.kind, PublishKind::Kept(_)) {
            return Err(Refusal::TooLarge { size, max });
        }
        let waiting = &mut state.inbox.publishes;
        match &mut publish.kind {
            PublishKind::Kept(place) => place.fill(size),
            PublishKind::Latest => {
                let replaced = |old: &&mut Publish| {
                    let latest = matches!(old.kind, PublishKind::Latest);
                    latest && old.channel == publish.channel && old.name == publish.name
                };
                // In its place, so that it gets its turn.
                if let Some(old) = waiting.iter_mut().find(replaced) {
                    *old = publish;
                    return Ok(());
                }
            }
            PublishKind::Event => {
                let is_event = |old: &Publish| matches!(old.kind, PublishKind::Event);
                if waiting.iter().filter(|old| is_event(old)).count() >= MAX_EVENTS
                    && let Some(oldest) = waiting.iter().position(is_event)
                {
                    waiting.remove(oldest);
                    state.events_dropped += 1;
                }
            }
        }
        state.inbox.publishes.push_back(publish);
        drop(state);
        self.0.shared.bell.ring();
        Ok(())
    }

    /// Takes over what a client that ended by a fault had not delivered, under the same ids: the
    /// service drops what it had taken after all.
    pub fn inherit(&self, broken: &Self) {
        let left = broken.0.shared.ledger.take_rescued();
        if left.is_empty() {
            return;
        }
        let mut state = self.0.shared.lock();
        // Before anything newer.
        for publish in left.into_iter().rev() {
            state.inbox.publishes.push_front(publish);
        }
        drop(state);
        self.0.shared.bell.ring();
    }

    /// What our presence in the registry says, from now on. Entered as soon as that is possible.
    pub fn set_presence(&self, data: Data) {
        self.0
            .shared
            .with_inbox(|inbox| inbox.presence = Some(data));
    }

    /// Whether the loss of the link must be noticed within seconds: while it is on, the service is
    /// pinged every 2 s, and `AblyEvent::LinkLost` comes when there was no answer for 3 s or the
    /// connection leaves CONNECTED.
    pub fn watch_link(&self, on: bool) {
        self.0.shared.with_inbox(|inbox| inbox.watch = Some(on));
    }

    /// How things are.
    pub fn status(&self) -> Status {
        let state = self.0.shared.lock();
        let mut status = state.status.clone();
        status.results_waiting = self.0.shared.ledger.places();
        status.result_bytes = self.0.shared.ledger.bytes();
        status.publishes_waiting += state.inbox.publishes.len();
        status.events_dropped += state.events_dropped;
        status
    }

    /// When the thread was last seen awake. It never sleeps for more than ten seconds.
    pub fn last_turn(&self) -> Instant {
        self.0.shared.lock().turn
    }

    fn wait_until(&self, patience: Duration, done: impl Fn(&State) -> bool) -> bool {
        let until = Instant::now() + patience;
        let mut state = self.0.shared.lock();
        loop {
            if done(&state) {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || state.ended {
                return false;
            }
            state = self
                .0
                .shared
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Leaves the registry, closes the connection and ends the thread: LEAVE and CLOSE are each
    /// waited for 2 s at most, and the whole for `patience`, after which it is ended without
    /// grace. `false` = it had to be.
    pub fn close(&self, patience: Duration) -> bool {
        self.0.shared.with_inbox(|inbox| inbox.close = true);
        let orderly = self.wait_until(patience, |state| state.ended);
        if !orderly {
            self.0.shared.with_inbox(|inbox| inbox.abort = true);
        }
        // It never waits for anything but poll(2), which the doorbell ends.
        let ended = self.wait_until(Duration::from_secs(1), |state| state.ended);
        let mut thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if ended && let Some(thread) = thread.take() {
            // A panic of it was reported when it happened.
            let _ = thread.join();
        }
        orderly
    }
}
