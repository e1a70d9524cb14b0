//! Our own presence in the registry, and the watch for somebody else under our client id.
//!
//! One member, known data: after every ATTACHED a fresh ENTER with the current data is sent, and
//! what was in flight before is forgotten (reference 12.4). Of others only those under our own
//! client id are kept.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::super::data::Encoded;
use super::super::frame::{
    Action, ErrorInfo, PresenceAction, PresenceEntry, PresenceOp, ProtocolMessage,
};
use super::retry::delay;

/// Connections of ours that are remembered as ours.
const FORMER: usize = 16;
/// Before a new ENTER when the service has thrown us out.
const REENTER: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(super) struct Presence {
    data: Option<Encoded>,
    /// Counts changes of `data`.
    version: u64,
    /// What the server has acknowledged on this attachment.
    entered: Option<u64>,
    in_flight: Option<InFlight>,
    retry_at: Option<Instant>,
    retries: u32,
    /// Connections of ours that are over: their members may linger.
    former: VecDeque<String>,
    strangers: Strangers,
}

/// A presence frame that has no answer yet.
#[derive(Clone, Copy)]
struct InFlight {
    serial: u64,
    /// Of the data it carries; `None` = it is a LEAVE.
    version: Option<u64>,
    sent_at: Instant,
}

/// What an answer to a presence frame means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    NotOurs,
    Settled,
    Left,
    Refused,
}

impl Presence {
    /// What our presence says from now on. Saying the same again changes nothing.
    pub(super) fn set(&mut self, data: Encoded) {
        if self.data.as_ref() != Some(&data) {
            self.data = Some(data);
            self.version = self.version.saturating_add(1);
            self.retry_at = None;
            self.retries = 0;
        }
    }

    /// The registry became ATTACHED, or says so again without RESUMED: enter afresh (RTP17i).
    pub(super) fn attached(&mut self) {
        self.forget();
        self.retry_at = None;
        self.retries = 0;
    }

    /// Nothing that was sent counts any more.
    pub(super) fn forget(&mut self) {
        self.entered = None;
        self.in_flight = None;
    }

    /// The frame that is due, if there is one: the registry must be ATTACHED.
    pub(super) fn next_frame(
        &mut self,
        registry: &str,
        max_size: usize,
        now: Instant,
        serial: impl FnOnce() -> u64,
    ) -> Result<Option<ProtocolMessage>, ErrorInfo> {
        let Some(data) = &self.data else {
            return Ok(None);
        };
        let up_to_date = self.entered == Some(self.version);
        let waits = self.retry_at.is_some_and(|at| now < at);
        if up_to_date || waits || self.in_flight.is_some() {
            return Ok(None);
        }
        if data.size > max_size {
            // Nothing mends it but other data, or a higher limit.
            self.retry_at = Some(now + Duration::from_secs(300));
            let text = format!(
                "presence data of {} bytes is over the limit of {max_size}",
                data.size
            );
            return Err(ErrorInfo::new(40009, 400, text));
        }
        let action = match self.entered {
            None => PresenceAction::Enter,
            Some(_) => PresenceAction::Update,
        };
        self.retry_at = None;
        let data = data.clone();
        let serial = serial();
        self.in_flight = Some(InFlight {
            serial,
            version: Some(self.version),
            sent_at: now,
        });
        Ok(Some(op(registry, action, data, serial)))
    }

    /// LEAVE, if we are entered or on our way (RTP10).
    pub(super) fn leave(
        &mut self,
        registry: &str,
        now: Instant,
        serial: impl FnOnce() -> u64,
    ) -> Option<ProtocolMessage> {
        if self.entered.is_none() && self.in_flight.is_none() {
            return None;
        }
        let serial = serial();
        self.data = None;
        self.in_flight = Some(InFlight {
            serial,
            version: None,
            sent_at: now,
        });
        let nothing = Encoded {
            data: None,
            encoding: None,
            size: 0,
        };
        Some(op(registry, PresenceAction::Leave, nothing, serial))
    }

    /// ACK or NACK of `count` frames from `serial` on.
    pub(super) fn answered(
        &mut self,
        serial: u64,
        count: u64,
        refused: bool,
        base: Duration,
        rng: &mut fastrand::Rng,
        now: Instant,
    ) -> Answer {
        let end = serial.saturating_add(count);
        let Some(frame) = self.in_flight.filter(|frame| frame.serial < end) else {
            return Answer::NotOurs;
        };
        self.in_flight = None;
        let skipped = frame.serial < serial;
        match frame.version {
            None => Answer::Left,
            Some(version) if !refused && !skipped => {
                self.entered = Some(version);
                self.retries = 0;
                Answer::Settled
            }
            Some(_) => {
                self.retries = self.retries.saturating_add(1);
                self.retry_at = Some(now + delay(base, self.retries, rng));
                if skipped {
                    Answer::Settled
                } else {
                    Answer::Refused
                }
            }
        }
    }

    /// Whether a LEAVE is on its way.
    pub(super) fn is_leaving(&self) -> bool {
        self.in_flight.is_some_and(|frame| frame.version.is_none())
    }

    /// Since when a frame has no answer.
    pub(super) fn unanswered_since(&self) -> Option<Instant> {
        self.in_flight.map(|frame| frame.sent_at)
    }

    /// A connection of ours is over.
    pub(super) fn connection_over(&mut self, id: String) {
        self.strangers.members.remove(&id);
        self.former.push_back(id);
        if self.former.len() > FORMER {
            self.former.pop_front();
        }
    }

    /// When a refused operation is tried again.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Whether the server has us as a member, with data of any version.
    pub(super) fn is_entered(&self) -> bool {
        self.entered.is_some()
    }

    /// Somebody under our client id, seen in a PRESENCE or SYNC frame. The end of our own
    /// membership that we did not ask for leads to a new ENTER.
    pub(super) fn seen(
        &mut self,
        entry: &PresenceEntry,
        our_connection: Option<&str>,
        in_sync: bool,
        now: Instant,
    ) {
        let Some(connection) = entry.connection_id.as_deref() else {
            return;
        };
        if Some(connection) != our_connection {
            if !self.former.iter().any(|id| id == connection) {
                self.strangers.seen(connection, entry, in_sync, now);
            }
            return;
        }
        // The LEAVE of an older connection of ours is a stranger's (RTP17b, RTP17h).
        let gone = !in_sync && entry.action == PresenceAction::Leave;
        if gone && !self.is_leaving() && self.data.is_some() && self.entered.is_some() {
            self.forget();
            self.retry_at = Some(now + REENTER);
        }
    }

    /// Strangers, for the frames and timers that concern them.
    pub(super) fn strangers(&mut self) -> &mut Strangers {
        &mut self.strangers
    }

    /// When the verdict on strangers may change by itself.
    pub(super) fn clone_deadline(&self, after: Duration) -> Option<Instant> {
        self.strangers.next_deadline(after)
    }

    /// Whether somebody else is known to use our client id.
    pub(super) fn is_cloned(&self) -> bool {
        self.strangers.cloned
    }
}

fn op(registry: &str, action: PresenceAction, data: Encoded, serial: u64) -> ProtocolMessage {
    let mut frame = ProtocolMessage::on(Action::Presence, registry);
    frame.msg_serial = Some(serial);
    frame.presence_op = Some(PresenceOp { action, data });
    frame
}

/// Members under our client id on connections that are not ours (RTP2, RTP18, RTP19, own id only).
#[derive(Default)]
pub(super) struct Strangers {
    /// By connection: since when it is known, and its newest event.
    members: HashMap<String, Stranger>,
    /// The SYNC that is under way: its sequence and whom it named.
    sync: Option<(String, HashSet<String>)>,
    cloned: bool,
}

struct Stranger {
    since: Instant,
    newest: Newness,
}

/// When a presence event happened, in the server's order (RTP2b).
struct Newness {
    /// msgSerial and index, from an id that begins with its connection's.
    order: Option<(u64, u64)>,
    timestamp: Option<i64>,
}

impl Newness {
    fn of(entry: &PresenceEntry) -> Self {
        let order = (|| {
            let id = entry.id.as_deref()?;
            let rest = id.strip_prefix(entry.connection_id.as_deref()?)?;
            let (serial, index) = rest.strip_prefix(':')?.split_once(':')?;
            Some((serial.parse().ok()?, index.parse().ok()?))
        })();
        Self {
            order,
            timestamp: entry.timestamp,
        }
    }

    fn is_older_than(&self, other: &Self) -> bool {
        match (self.order, other.order) {
            (Some(mine), Some(theirs)) => mine < theirs,
            // On equal timestamps the one that arrives wins.
            _ => matches!((self.timestamp, other.timestamp), (Some(a), Some(b)) if a < b),
        }
    }
}

/// No honest set has more members of one client id than this.
const MAX_STRANGERS: usize = 64;

impl Strangers {
    fn seen(&mut self, connection: &str, entry: &PresenceEntry, in_sync: bool, now: Instant) {
        if in_sync && let Some((_, named)) = &mut self.sync {
            named.insert(connection.to_owned());
        }
        let newest = Newness::of(entry);
        let there = matches!(
            entry.action,
            PresenceAction::Present | PresenceAction::Enter | PresenceAction::Update
        );
        let room = self.members.len() < MAX_STRANGERS;
        match self.members.get_mut(connection) {
            Some(known) if newest.is_older_than(&known.newest) => {}
            Some(known) if there => known.newest = newest,
            Some(_) => {
                self.members.remove(connection);
            }
            None if there && room => {
                let stranger = Stranger { since: now, newest };
                self.members.insert(connection.to_owned(), stranger);
            }
            None => {}
        }
    }

    /// ATTACHED: without HAS_PRESENCE nobody is there (RTP1, RTP19a).
    pub(super) fn attached(&mut self, has_presence: bool) {
        self.sync = None;
        if !has_presence {
            self.members.clear();
        }
    }

    /// A SYNC frame begins; `serial` is its `<sequence>:<cursor>` (RTP18).
    pub(super) fn sync_page(&mut self, serial: Option<&str>) {
        let sequence = serial
            .and_then(|s| s.split_once(':'))
            .map_or("", |(s, _)| s);
        if self.sync.as_ref().is_none_or(|(s, _)| s != sequence) {
            self.sync = Some((sequence.to_owned(), HashSet::new()));
        }
    }

    /// A SYNC frame is read. After the last page whoever was not named is gone (RTP19).
    pub(super) fn sync_page_read(&mut self, serial: Option<&str>) {
        let cursor = serial
            .and_then(|s| s.split_once(':'))
            .map_or("", |(_, c)| c);
        if cursor.is_empty()
            && let Some((_, named)) = self.sync.take()
        {
            self.members
                .retain(|connection, _| named.contains(connection));
        }
    }

    /// Whether the verdict has changed; call it after frames and timers while ATTACHED.
    pub(super) fn judge(&mut self, after: Duration, now: Instant) -> Option<bool> {
        // In mid-SYNC nothing is certain.
        if self.sync.is_some() {
            return None;
        }
        let cloned = self.members.values().any(|s| s.since + after <= now);
        (cloned != self.cloned).then(|| {
            self.cloned = cloned;
            cloned
        })
    }

    fn next_deadline(&self, after: Duration) -> Option<Instant> {
        if self.cloned || self.sync.is_some() {
            return None;
        }
        self.members.values().map(|s| s.since + after).min()
    }
}
