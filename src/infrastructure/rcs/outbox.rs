//! The callbacks that RCS has not taken yet. Sans-IO: no socket, no clock, no thread.
//!
//! **Order.** Each task has a lane; its callbacks leave in the order in which they came, the next
//! one only when the one before was taken or dropped. Lanes that have not failed go first, the
//! oldest callback of them before the others; then those that have failed once; then the rest,
//! whoever waited longest since its last try. So a callback that RCS will never take costs the healthy ones nothing, neither in
//! the long run nor in the last seconds before the daemon ends.
//!
//! **At least once.** A callback stays until RCS has taken it, refused it for good
//! ([`Fate::Refused`]), refused it for [`MAX_REFUSED`], or it was dropped for want of room.
//!
//! **Bounds.** At most `limit` callbacks and [`MAX_BYTES`] of bodies wait, and one is on its way.
//! When there is no room, what goes first is (1) the oldest STATUS_UPDATE, the new one included,
//! those of tasks that RCS refuses before the others; (2) whatever else RCS refuses, and what
//! stands behind it; then (3) the oldest STARTED of a task whose end is waiting behind it, (4) any
//! other STARTED, (5) the end of a run that a later end of the same task stands behind, (6) the
//! oldest end. So RCS learns first and foremost what has ended.
//!
//! **Pauses.** [`Fate::NotTaken`] (404, a `code`) pauses its task, 1 s doubling to 60 s.
//! [`Fate::Unwell`] (no answer, 5xx, 401, 403, 429) pauses the whole outbox in the same way, but
//! not while RCS takes heartbeats: then it is well, and it is this callback that it chokes on.
//! Lanes that have failed more than once share one pause more, so that many of them neither hammer
//! RCS nor, where each try hangs, keep the one sender busy.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backoff::{Pace, jittered};
use crate::domain::stream::TaskEventKind;

/// Of all waiting bodies.
pub const MAX_BYTES: usize = 4 * 1024 * 1024;
/// What RCS has refused for so long, it is not offered any more.
pub const MAX_REFUSED: Duration = Duration::from_secs(3600);
/// After a try of a lane that has failed before, such lanes rest so many times as long as it took.
const REST: u32 = 4;
/// The longest pause when the daemon is about to end.
const HURRIED: Duration = Duration::from_millis(250);

/// A rendered callback.
#[derive(Clone, PartialEq, Eq)]
pub struct Callback {
    /// Whose.
    pub task: String,
    /// What it tells.
    pub kind: TaskEventKind,
    /// JSON. Holds the playback URL: never shown.
    pub body: Arc<[u8]>,
}

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} ({} B)",
            self.task,
            self.kind.name(),
            self.body.len()
        )
    }
}

impl Callback {
    fn is_end(&self) -> bool {
        matches!(self.kind, TaskEventKind::Stopped | TaskEventKind::Error)
    }
}

/// Names one try; a stale one changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(u64);

/// What became of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// RCS has it.
    Taken,
    /// RCS will never take this one.
    Refused,
    /// RCS did not take this one now.
    NotTaken,
    /// RCS may take nothing now: not reached, in trouble, login refused, too many requests.
    Unwell,
}

/// What follows from a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The ticket was an old one: nothing.
    Stale,
    /// RCS has it. `recovered` = it had not taken the try before, of this task or of any.
    Taken {
        /// See there.
        recovered: bool,
    },
    /// It is dropped: refused for good.
    Refused,
    /// It is dropped: refused for [`MAX_REFUSED`].
    Expired,
    /// It is kept. `news` = the first time that its task, or the outbox, has to wait.
    Kept {
        /// Until it is tried again at the earliest, as things are.
        pause: Duration,
        /// See there.
        news: bool,
    },
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Send this, then say how it went.
    Send(Ticket, Callback),
    /// Nothing before then.
    Wait(Instant),
    /// Nothing until something is pushed, or the try under way has ended.
    Idle,
}

#[derive(Debug, Clone)]
struct Entry {
    seq: u64,
    callback: Callback,
    /// When RCS first refused it.
    refused: Option<Instant>,
}

#[derive(Debug, Default, Clone)]
struct Lane {
    waiting: VecDeque<Entry>,
    /// Since RCS last took one of its callbacks.
    failures: u32,
    retry_at: Option<Instant>,
    /// Behind everything that came before this; 0 = has not been tried in vain.
    turn: u64,
}

#[derive(Debug, Clone)]
struct OnTheWay {
    ticket: Ticket,
    entry: Entry,
    since: Instant,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Outbox {
    limit: usize,
    pace: Pace,
    lanes: BTreeMap<String, Lane>,
    waiting: usize,
    bytes: usize,
    on_the_way: Option<OnTheWay>,
    seq: u64,
    /// RCS took the last heartbeat.
    rcs_is_well: bool,
    /// Tries in a row that found RCS unwell.
    unwell: u32,
    paused_until: Option<Instant>,
    /// Lanes that have failed more than once wait until then.
    others_first_until: Option<Instant>,
    hurried: bool,
    random: fastrand::Rng,
}

impl Lane {
    /// When it may be tried; `None` = at once. `held` = how long lanes wait that have failed more
    /// than once: after a first failure, which may be RCS's, nobody waits for others.
    fn due_at(&self, held: Option<Instant>) -> Option<Instant> {
        let held = held.filter(|_| self.failures > 1);
        self.retry_at.max(held)
    }
}

impl Outbox {
    /// Room for `limit` callbacks (at least one). `seed` decides the jitter.
    pub fn new(limit: usize, pace: Pace, seed: u64) -> Self {
        Self {
            limit: limit.max(1),
            pace,
            lanes: BTreeMap::new(),
            waiting: 0,
            bytes: 0,
            on_the_way: None,
            seq: 0,
            rcs_is_well: false,
            unwell: 0,
            paused_until: None,
            others_first_until: None,
            hurried: false,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// How many may wait.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Waiting, and on its way.
    pub fn len(&self) -> usize {
        self.waiting + usize::from(self.on_the_way.is_some())
    }

    /// Whether RCS has everything.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts a callback behind the others of its task. Returns what had to go for it, or it itself.
    pub fn push(&mut self, callback: Callback) -> Vec<Callback> {
        self.waiting += 1;
        self.bytes += callback.body.len();
        let seq = self.next_seq();
        self.lanes
            .entry(callback.task.clone())
            .or_default()
            .waiting
            .push_back(Entry {
                seq,
                callback,
                refused: None,
            });
        let mut dropped = Vec::new();
        while self.waiting > self.limit || (self.bytes > MAX_BYTES && self.waiting > 1) {
            match self.drop_one() {
                Some(callback) => dropped.push(callback),
                None => break,
            }
        }
        dropped
    }

    /// What to do now.
    pub fn next(&mut self, now: Instant) -> Next {
        if self.on_the_way.is_some() || self.waiting == 0 {
            return Next::Idle;
        }
        if let Some(until) = self.paused_until
            && until > now
        {
            return Next::Wait(until);
        }
        let rest = self.others_first_until.filter(|until| *until > now);
        let chosen = self
            .lanes
            .iter()
            .filter(|(_, lane)| lane.due_at(rest).is_none_or(|at| at <= now))
            .filter_map(|(task, lane)| {
                let head = lane.waiting.front()?;
                Some((lane.failures.min(2), head.seq.max(lane.turn), task))
            })
            .min()
            .map(|(_, _, task)| task.clone());
        let Some(entry) = chosen.and_then(|task| self.take_head(&task)) else {
            // Everything that waits has a pause of its own.
            let waiting = self.lanes.values().filter(|lane| !lane.waiting.is_empty());
            let first = waiting.filter_map(|lane| lane.due_at(rest)).min();
            return first.map_or(Next::Idle, Next::Wait);
        };
        let ticket = Ticket(self.next_seq());
        let callback = entry.callback.clone();
        self.on_the_way = Some(OnTheWay {
            ticket,
            entry,
            since: now,
        });
        Next::Send(ticket, callback)
    }

    /// How the try `ticket` went, and what follows. An old ticket changes nothing.
    pub fn finish(&mut self, ticket: Ticket, fate: Fate, now: Instant) -> Outcome {
        let Some(way) = self.on_the_way.take_if(|way| way.ticket == ticket) else {
            return Outcome::Stale;
        };
        match fate {
            Fate::Taken => {
                let lane = self.lanes.get(&way.entry.callback.task);
                let recovered = self.unwell > 0 || lane.is_some_and(|lane| lane.failures > 0);
                self.settled(&way.entry.callback.task);
                Outcome::Taken { recovered }
            }
            Fate::Refused => {
                self.settled(&way.entry.callback.task);
                Outcome::Refused
            }
            Fate::Unwell if !self.rcs_is_well => {
                let news = self.unwell == 0;
                let pause = self.pause(self.unwell);
                self.unwell = self.unwell.saturating_add(1);
                self.paused_until = Some(now + pause);
                self.put_back(way.entry);
                Outcome::Kept { pause, news }
            }
            Fate::NotTaken | Fate::Unwell => self.failed(way, fate, now),
        }
    }

    /// Its lane is at fault, not RCS.
    fn failed(&mut self, way: OnTheWay, fate: Fate, now: Instant) -> Outcome {
        let OnTheWay {
            mut entry, since, ..
        } = way;
        let task = entry.callback.task.clone();
        self.unwell = 0;
        if !self.hurried {
            let took = now.saturating_duration_since(since);
            let rest = took.saturating_mul(REST).max(self.pace.first);
            self.others_first_until = Some(now + rest);
        }
        let failures = self.lanes.get(&task).map_or(0, |lane| lane.failures);
        let pause = self.pause(failures);
        let mut expired = false;
        if fate == Fate::NotTaken {
            let first = *entry.refused.get_or_insert(now);
            expired = now.saturating_duration_since(first) >= MAX_REFUSED;
        }
        if !expired {
            self.put_back(entry);
        }
        if let Some(lane) = self.lanes.get_mut(&task) {
            lane.failures = failures.saturating_add(1);
            lane.retry_at = Some(now + pause);
            if lane.waiting.is_empty() {
                self.lanes.remove(&task);
            }
        }
        if expired {
            return Outcome::Expired;
        }
        Outcome::Kept {
            pause,
            news: failures == 0,
        }
    }

    /// RCS has answered as it should: nothing is held against its task any more, and there is no
    /// pause of the whole outbox. If the task had failed, others may be taken now, too.
    fn settled(&mut self, task: &str) {
        if self.lanes.get(task).is_some_and(|lane| lane.failures > 0) {
            for lane in self.lanes.values_mut() {
                lane.retry_at = None;
            }
            self.others_first_until = None;
        }
        self.unwell = 0;
        self.paused_until = None;
        if let Some(lane) = self.lanes.get_mut(task) {
            lane.failures = 0;
            lane.retry_at = None;
            lane.turn = 0;
            if lane.waiting.is_empty() {
                self.lanes.remove(task);
            }
        }
    }

    /// Whether RCS took the last heartbeat. While it does, it is well, and the outbox does not
    /// pause as a whole.
    pub fn heartbeat(&mut self, taken: bool) {
        self.rcs_is_well = taken;
        if taken {
            self.paused_until = None;
        }
    }

    /// Whether what is on its way belongs to a lane that has failed.
    pub fn is_retrying(&self) -> bool {
        let lane = |way: &OnTheWay| self.lanes.get(&way.entry.callback.task);
        self.on_the_way
            .as_ref()
            .and_then(lane)
            .is_some_and(|lane| lane.failures > 0)
    }

    /// The thread that had a try under way is gone: the callback goes back, nothing is held
    /// against it. RCS may get it twice.
    pub fn abandon(&mut self) {
        if let Some(way) = self.on_the_way.take() {
            self.put_back(way.entry);
        }
    }

    /// The daemon is about to end: every pause is over, and later ones are short.
    pub fn hurry(&mut self) {
        self.hurried = true;
        self.unwell = 0;
        self.paused_until = None;
        self.others_first_until = None;
        for lane in self.lanes.values_mut() {
            lane.retry_at = None;
        }
    }

    fn pause(&mut self, earlier: u32) -> Duration {
        let pause = self.pace.after(earlier);
        let pause = if self.hurried {
            pause.min(HURRIED)
        } else {
            pause
        };
        jittered(pause, &mut self.random)
    }

    fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    /// The lane stays, with what it knows of failures, even if nothing else waits in it.
    fn take_head(&mut self, task: &str) -> Option<Entry> {
        let entry = self.lanes.get_mut(task)?.waiting.pop_front()?;
        self.waiting -= 1;
        self.bytes -= entry.callback.body.len();
        Some(entry)
    }

    fn put_back(&mut self, entry: Entry) {
        self.waiting += 1;
        self.bytes += entry.callback.body.len();
        let turn = self.next_seq();
        let lane = self.lanes.entry(entry.callback.task.clone()).or_default();
        lane.turn = turn;
        lane.waiting.push_front(entry);
    }

    /// Drops the callback that is missed least (see the module). Linear in what waits, and only
    /// done when there is no room.
    fn drop_one(&mut self) -> Option<Callback> {
        let on_the_way = self.on_the_way.as_ref().map(|way| &way.entry);
        let (_, seq, task) = self
            .lanes
            .iter()
            .flat_map(|(task, lane)| {
                // Its head is what RCS has seen of it; it may be on its way just now.
                let head = on_the_way.filter(|entry| entry.callback.task == *task);
                let refused = head
                    .or(lane.waiting.front())
                    .is_some_and(|entry| entry.refused.is_some());
                // From the back, so that each knows whether an end stands behind it.
                let mut end_behind = false;
                lane.waiting.iter().rev().map(move |entry| {
                    let class = match entry.callback.kind {
                        TaskEventKind::StatusUpdate if refused => 0,
                        TaskEventKind::StatusUpdate => 1,
                        _ if refused => 2,
                        TaskEventKind::Started if end_behind => 3,
                        TaskEventKind::Started => 4,
                        _ if end_behind => 5,
                        _ => 6,
                    };
                    end_behind |= entry.callback.is_end();
                    (class, entry.seq, task)
                })
            })
            .min()?;
        let task = task.clone();
        let busy = self
            .on_the_way
            .as_ref()
            .is_some_and(|way| way.entry.callback.task == task);
        let lane = self.lanes.get_mut(&task)?;
        let at = lane.waiting.iter().position(|entry| entry.seq == seq)?;
        let entry = lane.waiting.remove(at)?;
        if lane.waiting.is_empty() && !busy {
            self.lanes.remove(&task);
        }
        self.waiting -= 1;
        self.bytes -= entry.callback.body.len();
        Some(entry.callback)
    }
}

#[cfg(test)]
mod tests;
