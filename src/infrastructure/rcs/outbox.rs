//! The callbacks that RCS has not taken yet. Sans-IO: no socket, no clock, no thread.
//!
//! **Order.** Each task has a lane; its callbacks leave in the order in which they came, the next
//! one only when the one before was taken or dropped. Among the lanes that are due, the oldest
//! callback goes first, but a lane that has just failed goes to the back of the line: a callback
//! that RCS chokes on delays its own task only.
//!
//! **At least once.** A callback stays until RCS has taken it, refused it for good
//! ([`Fate::Refused`]), or it was dropped for want of room.
//!
//! **Bounds.** At most `limit` callbacks and [`MAX_BYTES`] of bodies wait, and one is on its way.
//! When there is no room, what goes first is (1) the oldest STATUS_UPDATE, the new one included;
//! only when there is none left (2) the oldest STARTED of a task whose end is waiting behind it,
//! (3) any other STARTED, (4) the end of a run that a later end of the same task stands behind,
//! (5) the oldest end. So RCS learns first and foremost what has ended.
//!
//! **Pauses.** [`Fate::Unreachable`] holds for every callback: the whole outbox pauses, 1 s doubling
//! to 60 s. [`Fate::NotTaken`] (5xx, 404, a `code`) pauses its task in the same way; when
//! [`STREAK`] different tries in a row were not taken, the outbox pauses too.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backoff::{Pace, jittered};
use crate::domain::stream::TaskEventKind;

/// Of all waiting bodies.
pub const MAX_BYTES: usize = 4 * 1024 * 1024;
/// So many tries in a row that RCS did not take, whatever the task: it is RCS, not the callback.
pub const STREAK: u32 = 3;
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
    /// RCS takes nothing now: not reached, login refused, too many requests.
    Unreachable,
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

#[derive(Debug)]
struct Entry {
    seq: u64,
    callback: Callback,
}

#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<Entry>,
    failures: u32,
    retry_at: Option<Instant>,
    /// Behind everything that came before this; 0 = has not failed.
    turn: u64,
}

#[derive(Debug)]
struct OnTheWay {
    ticket: Ticket,
    entry: Entry,
}

/// See the module.
#[derive(Debug)]
pub struct Outbox {
    limit: usize,
    pace: Pace,
    lanes: BTreeMap<String, Lane>,
    waiting: usize,
    bytes: usize,
    on_the_way: Option<OnTheWay>,
    seq: u64,
    unreachable: u32,
    streak: u32,
    paused_until: Option<Instant>,
    hurried: bool,
    random: fastrand::Rng,
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
            unreachable: 0,
            streak: 0,
            paused_until: None,
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
            .push_back(Entry { seq, callback });
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
        let due = |lane: &Lane| lane.retry_at.is_none_or(|at| at <= now);
        let chosen = self
            .lanes
            .iter()
            .filter(|(_, lane)| due(lane))
            .filter_map(|(task, lane)| {
                let head = lane.waiting.front()?;
                Some((head.seq.max(lane.turn), task))
            })
            .min()
            .map(|(_, task)| task.clone());
        let Some(entry) = chosen.and_then(|task| self.take_head(&task)) else {
            // Everything that waits has a pause of its own.
            let first = self.lanes.values().filter_map(|lane| lane.retry_at).min();
            return first.map_or(Next::Idle, Next::Wait);
        };
        let ticket = Ticket(self.next_seq());
        let callback = entry.callback.clone();
        self.on_the_way = Some(OnTheWay { ticket, entry });
        Next::Send(ticket, callback)
    }

    /// How the try `ticket` went. Returns the pause of the whole outbox or of the task that
    /// follows from it. An old ticket changes nothing.
    pub fn finish(&mut self, ticket: Ticket, fate: Fate, now: Instant) -> Option<Duration> {
        let on_the_way = self.on_the_way.take_if(|way| way.ticket == ticket)?;
        let task = on_the_way.entry.callback.task.clone();
        match fate {
            Fate::Taken | Fate::Refused => {
                self.recovered();
                if let Some(lane) = self.lanes.get_mut(&task) {
                    lane.failures = 0;
                    lane.retry_at = None;
                    lane.turn = 0;
                    if lane.waiting.is_empty() {
                        self.lanes.remove(&task);
                    }
                }
                None
            }
            Fate::Unreachable => {
                let pause = self.pause(self.unreachable);
                self.unreachable = self.unreachable.saturating_add(1);
                self.paused_until = Some(now + pause);
                self.put_back(on_the_way.entry);
                Some(pause)
            }
            Fate::NotTaken => {
                self.unreachable = 0;
                self.streak = self.streak.saturating_add(1);
                if self.streak >= STREAK {
                    let pause = self.pause(self.streak - STREAK);
                    self.paused_until = Some(now + pause);
                }
                let failures = self.lanes.get(&task).map_or(0, |lane| lane.failures);
                let pause = self.pause(failures);
                self.put_back(on_the_way.entry);
                if let Some(lane) = self.lanes.get_mut(&task) {
                    lane.failures = failures.saturating_add(1);
                    lane.retry_at = Some(now + pause);
                }
                Some(pause)
            }
        }
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
        self.recovered();
        for lane in self.lanes.values_mut() {
            lane.retry_at = None;
        }
    }

    /// RCS has answered as it should: no pause of the whole outbox any more. Tasks that were held
    /// back while RCS as a whole took nothing are due again.
    fn recovered(&mut self) {
        if self.streak >= STREAK {
            for lane in self.lanes.values_mut() {
                lane.retry_at = None;
            }
        }
        self.streak = 0;
        self.unreachable = 0;
        self.paused_until = None;
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
        let (_, seq, task) = self
            .lanes
            .iter()
            .flat_map(|(task, lane)| {
                // From the back, so that each knows whether an end stands behind it.
                let mut end_behind = false;
                lane.waiting.iter().rev().map(move |entry| {
                    let class = match entry.callback.kind {
                        TaskEventKind::StatusUpdate => 0,
                        TaskEventKind::Started if end_behind => 1,
                        TaskEventKind::Started => 2,
                        _ if end_behind => 3,
                        _ => 4,
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
