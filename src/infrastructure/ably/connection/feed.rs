//! The command channel's messages on their way to their consumer: each once, and in order where
//! continuity was lost.
//!
//! Where an ATTACHED without RESUMED told of a loss, messages are *held* until the rewound backlog
//! is in, then released in the order of their timestamps; urgent ones pass at once. The backlog is
//! in at the first of: an ATTACHED without HAS_BACKLOG; a message that was made after the ATTACHED
//! (by the server's clock: a channel's stream is in order, so what is live comes after what is
//! stored); a quiet period, in which not a byte came; a deadline; too much being held.
//!
//! On a line that is slower than that, stored messages still come when nothing is held any more. So
//! for two minutes after a rewind each message is looked at: what an earlier run of ours has had is
//! dropped, and only what was made after the ATTACHED counts as live.

use std::borrow::Cow;
use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::super::data::Data;
use super::super::frame::Message;
use super::clock::ServerClock;
use super::types::{Delivery, Timing, Urgent};
use crate::domain::gateway::StreamPlace;

/// Ids of messages that are remembered (contract 5).
pub(super) const REMEMBERED: usize = 4_096;
/// Messages that are held at most; more, and all are released.
pub const MAX_HELD: usize = 1_000;
/// Bytes of payload that are held at most.
const MAX_HELD_BYTES: usize = 4 << 20;

pub(super) struct Feed {
    seen: Seen,
    /// The first ATTACHED of the process: our time, and the server's if the frame told.
    first_attached: Option<(Instant, Option<i64>)>,
    hold: Option<Hold>,
    /// The last rewind, as long as something of it may come.
    rewound: Option<Rewound>,
    /// A resumed stream that may still be catching up.
    catching_up: Option<Backlog>,
    /// Times that continuity was lost.
    pub(super) lost: u64,
    /// The unbroken piece of the stream that is coming in.
    section: u64,
    /// Messages so far.
    number: u64,
    /// The time of the last message that had one.
    last_made: i64,
}

/// Numbers sections for the whole process: those of two clients are never taken for one.
static SECTIONS: AtomicU64 = AtomicU64::new(0);

fn next_section() -> u64 {
    SECTIONS.fetch_add(1, Ordering::Relaxed)
}

struct Hold {
    held: Vec<Delivery>,
    bytes: usize,
    /// Released at the latest.
    until: Instant,
    /// Once the rewound ATTACHED is there.
    backlog: Option<Backlog>,
}

#[derive(Clone, Copy)]
struct Rewound {
    attached: Instant,
    until: Instant,
}

impl Rewound {
    /// Whether a message can't be one of those that were stored, as far as that can be known.
    fn is_live(&self, message: &Message, clock: &ServerClock) -> bool {
        match (message.timestamp, clock.at_least(self.attached)) {
            (Some(made), Some(attached)) => made > attached,
            _ => true,
        }
    }
}

/// Stored messages that are coming in.
#[derive(Clone, Copy)]
struct Backlog {
    quiet_at: Instant,
    limit: Instant,
    /// The server's time at ATTACHED.
    attached_ms: Option<i64>,
}

impl Backlog {
    fn new(now: Instant, attached_ms: Option<i64>, timing: &Timing) -> Self {
        Self {
            quiet_at: now + timing.backlog_quiet,
            limit: now + timing.backlog_limit,
            attached_ms,
        }
    }

    fn ends_at(&self) -> Instant {
        self.quiet_at.min(self.limit)
    }

    fn is_live(&self, message: &Message) -> bool {
        match (message.timestamp, self.attached_ms) {
            (Some(made), Some(attached)) => made > attached,
            _ => false,
        }
    }
}

impl Feed {
    pub(super) fn new() -> Self {
        Self {
            seen: Seen::default(),
            first_attached: None,
            hold: None,
            rewound: None,
            catching_up: None,
            lost: 0,
            section: next_section(),
            number: 0,
            last_made: i64::MIN,
        }
    }

    /// ATTACHED for the first time in this process: nothing before it is ours.
    pub(super) fn attached_first(&mut self, frame_ms: Option<i64>, now: Instant) {
        self.first_attached = Some((now, frame_ms));
    }

    /// ATTACHED with RESUMED after a reconnect: what was missed follows, in order.
    pub(super) fn resumed(&mut self, clock: &ServerClock, now: Instant, timing: &Timing) {
        let backlog = Backlog::new(now, clock.time(now), timing);
        match &mut self.hold {
            Some(hold) => hold.backlog = Some(backlog),
            None => self.catching_up = Some(backlog),
        }
    }

    /// ATTACHED without RESUMED: from now on messages are held.
    pub(super) fn continuity_lost(&mut self, now: Instant, timing: &Timing) {
        self.lost = self.lost.saturating_add(1);
        self.section = next_section();
        self.catching_up = None;
        match &mut self.hold {
            // A loss on top of a loss does not hold the same commands for longer.
            Some(hold) => hold.backlog = None,
            None => {
                self.hold = Some(Hold {
                    held: Vec::new(),
                    bytes: 0,
                    until: now + timing.hold_limit,
                    backlog: None,
                });
            }
        }
    }

    /// The rewound ATTACHED.
    pub(super) fn rewound(
        &mut self,
        has_backlog: bool,
        clock: &ServerClock,
        now: Instant,
        timing: &Timing,
    ) -> Vec<Delivery> {
        self.rewound = Some(Rewound {
            attached: now,
            until: now + timing.rewind_doubt,
        });
        self.section = next_section();
        if !has_backlog {
            return self.release(clock);
        }
        if let Some(hold) = &mut self.hold {
            hold.backlog = Some(Backlog::new(now, clock.time(now), timing));
        }
        Vec::new()
    }

    /// One message of the channel. Returns what is to be delivered now.
    pub(super) fn message(
        &mut self,
        message: Message,
        clock: &mut ServerClock,
        urgent: &Urgent,
        now: Instant,
        timing: &Timing,
    ) -> Vec<Delivery> {
        // Only newly created messages are commands (TM5).
        if message.action != 0 {
            return Vec::new();
        }
        if let Some(made) = message.timestamp {
            clock.stored(made, now);
        }
        let rewound = self.rewound.filter(|rewound| now < rewound.until);
        let suspect = self.hold.is_some() || rewound.is_some();
        if suspect && self.is_of_an_earlier_run(&message, clock) {
            return Vec::new();
        }
        if !self.seen.insert(message.id.as_deref()) {
            return Vec::new();
        }
        let backlog = match &mut self.hold {
            Some(hold) => hold.backlog.as_mut(),
            None => self.catching_up.as_mut(),
        };
        let live = match backlog {
            Some(backlog) => {
                backlog.quiet_at = now + timing.backlog_quiet;
                backlog.is_live(&message)
            }
            None => rewound.is_none_or(|rewound| rewound.is_live(&message, clock)),
        };
        self.number += 1;
        self.last_made = message.timestamp.unwrap_or(self.last_made);
        // Since a reconnect the clock may be behind, and what is old look new.
        let known = live || !clock.is_doubtful();
        let made = message.timestamp.filter(|_| known);
        let mut delivery = Delivery {
            replayed: !live,
            place: StreamPlace {
                // A message without a time keeps its place behind the one it came after.
                made_ms: self.last_made,
                section: self.section,
                number: self.number,
                held: false,
            },
            received: now,
            age_when_received: made.and_then(|made| clock.age(made, now)),
            message,
        };
        let Some(hold) = &mut self.hold else {
            if live {
                self.catching_up = None;
            }
            return vec![delivery];
        };
        if urgent(&delivery.message) {
            return vec![delivery];
        }
        hold.bytes = hold.bytes.saturating_add(weight(&delivery.message.data));
        delivery.place.held = true;
        hold.held.push(delivery);
        let full = hold.held.len() >= MAX_HELD || hold.bytes >= MAX_HELD_BYTES;
        if full || (live && hold.backlog.is_some()) {
            self.release(clock)
        } else {
            Vec::new()
        }
    }

    /// Rewinding did not work out, or took too long: what is held goes out.
    pub(super) fn release(&mut self, clock: &ServerClock) -> Vec<Delivery> {
        let Some(hold) = self.hold.take() else {
            return Vec::new();
        };
        let mut deliveries = hold.held;
        // While they were held the service may have told its time: what came in doubt has an age.
        let untold = deliveries
            .iter_mut()
            .filter(|delivery| delivery.age_when_received.is_none() && !clock.is_doubtful());
        for delivery in untold {
            let made = delivery.message.timestamp;
            delivery.age_when_received = made.and_then(|made| clock.age(made, delivery.received));
        }
        deliveries.sort_by_key(|delivery| delivery.place.by_time());
        deliveries
    }

    /// A part of a frame came on the line: a backlog that is coming in is not over.
    pub(super) fn bytes(&mut self, now: Instant, timing: &Timing) {
        let backlog = match &mut self.hold {
            Some(hold) => hold.backlog.as_mut(),
            None => self.catching_up.as_mut(),
        };
        if let Some(backlog) = backlog {
            backlog.quiet_at = now + timing.backlog_quiet;
        }
    }

    /// Ends what is over.
    pub(super) fn on_timeout(&mut self, clock: &ServerClock, now: Instant) -> Vec<Delivery> {
        if self.catching_up.is_some_and(|b| b.ends_at() <= now) {
            self.catching_up = None;
        }
        let over = self.hold.as_ref().is_some_and(|hold| {
            hold.until <= now || hold.backlog.is_some_and(|b| b.ends_at() <= now)
        });
        if over {
            self.release(clock)
        } else {
            Vec::new()
        }
    }

    /// When [`Feed::on_timeout`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let hold = self.hold.as_ref().map(|hold| {
            hold.backlog
                .map_or(hold.until, |b| b.ends_at().min(hold.until))
        });
        let catching_up = self.catching_up.map(|b| b.ends_at());
        [hold, catching_up].into_iter().flatten().min()
    }

    /// The transport is gone: a backlog that was coming in comes with the next one.
    pub(super) fn disconnected(&mut self) {
        self.catching_up = None;
        if let Some(hold) = &mut self.hold {
            hold.backlog = None;
        }
    }

    /// Messages that are held.
    pub(super) fn held(&self) -> usize {
        self.hold.as_ref().map_or(0, |hold| hold.held.len())
    }

    /// Made before the first ATTACHED of this process: an earlier run has had it.
    fn is_of_an_earlier_run(&self, message: &Message, clock: &ServerClock) -> bool {
        let Some((at, frame_ms)) = self.first_attached else {
            return false;
        };
        match (message.timestamp, frame_ms.or_else(|| clock.at_least(at))) {
            (Some(made), Some(attached)) => made < attached,
            _ => false,
        }
    }
}

fn weight(data: &Data) -> usize {
    match data {
        Data::None => 0,
        Data::Text(text) => text.len(),
        // Only a bound on memory: a JSON value takes more room than its text.
        Data::Json(value) => value.to_string().len().saturating_mul(4),
        Data::Binary(bytes) => bytes.len(),
    }
}

/// The last ids.
#[derive(Default)]
struct Seen {
    set: HashSet<Arc<str>>,
    order: VecDeque<Arc<str>>,
}

impl Seen {
    /// Whether the id is new. A message without one always is.
    fn insert(&mut self, id: Option<&str>) -> bool {
        let Some(id) = id else { return true };
        let id = bounded(id);
        if self.set.contains(id.as_ref()) {
            return false;
        }
        let id: Arc<str> = Arc::from(id);
        self.set.insert(Arc::clone(&id));
        self.order.push_back(id);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.set.remove(&oldest);
        }
        true
    }
}

/// Publishers may choose ids of any length; what is remembered of one is bounded.
fn bounded(id: &str) -> Cow<'_, str> {
    const LONG: usize = 128;
    match id.char_indices().nth(LONG) {
        None => Cow::Borrowed(id),
        Some((at, _)) => {
            let mut hasher = DefaultHasher::new();
            id.hash(&mut hasher);
            let head = id.get(..at).unwrap_or_default();
            Cow::Owned(format!("{head}…{}:{:x}", id.len(), hasher.finish()))
        }
    }
}
