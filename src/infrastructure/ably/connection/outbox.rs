//! Publishes on their way out: one list, oldest first (RTN7, RTN19, RTL6).
//!
//! A publish gets its `msgSerial` when it is first written. Until it is acknowledged it stays in
//! the list: on a resumed connection it is sent again with the same serial, on a new one with a
//! new serial, and always under the same message id, so that the service drops doubles.
//! Presence frames share the serials but not the list: after a disconnect a fresh one is made
//! (reference 12.4).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::super::data::Encoded;
use super::super::frame::{Action, ErrorInfo, Outgoing, ProtocolMessage, message_size};
use super::ledger::Reservation;
use super::retry::{Bucket, doubling};
use super::types::{Publish, PublishKind, Refusal, TransportId};

/// Publishes that may be unacknowledged at a time: as many as one second's rate can resend.
const WINDOW: usize = 40;
/// Events that wait at most; the oldest goes first.
pub(super) const MAX_EVENTS: usize = 500;
/// Bytes of events that wait at most.
const MAX_EVENT_BYTES: usize = 1 << 20;
/// Pause after "slow down" or server trouble; doubles.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(30);

pub(super) struct Outbox {
    entries: VecDeque<Entry>,
    next_serial: u64,
    bucket: Bucket,
    paused_until: Option<Instant>,
    pauses: u32,
    pub(super) max_message_size: usize,
    pub(super) events_dropped: u64,
}

struct Entry {
    channel: String,
    name: String,
    data: Encoded,
    id: String,
    kind: Kind,
    /// Given when it was first written on this connection.
    serial: Option<u64>,
    /// The transport it was last written on, and when.
    sent: Option<(TransportId, Instant)>,
}

enum Kind {
    /// Holds its place in the ledger while it exists.
    Kept(Reservation),
    Latest,
    Event,
}

/// What became of a publish.
#[derive(Debug)]
pub(super) enum Settled {
    Acked(String),
    Refused {
        id: String,
        channel: String,
        why: Refusal,
        /// What was to be kept, where something smaller may go in its place.
        kept: Option<Box<Publish>>,
    },
}

/// A fault of ours must cost no result: what is not acknowledged is put aside for the client that
/// takes over, which sends it under the same id.
impl Drop for Outbox {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for entry in self.entries.drain(..) {
            if let Some(publish) = entry.into_kept()
                && let PublishKind::Kept(place) = &publish.kind
            {
                place.ledger().rescue(publish);
            }
        }
    }
}

impl Entry {
    fn frame(&self) -> ProtocolMessage {
        let mut frame = ProtocolMessage::on(Action::Message, &self.channel);
        frame.msg_serial = self.serial;
        frame.publish = Some(Outgoing {
            id: Some(self.id.clone()),
            name: Some(self.name.clone()),
            data: self.data.clone(),
        });
        frame
    }

    fn size(&self) -> usize {
        message_size(&self.name, &self.data)
    }

    fn refused(self, why: Refusal) -> Settled {
        Settled::Refused {
            id: self.id.clone(),
            channel: self.channel.clone(),
            kept: why
                .is_for_size()
                .then(|| self.into_kept())
                .flatten()
                .map(Box::new),
            why,
        }
    }

    /// As it was handed over, if it holds a place.
    fn into_kept(self) -> Option<Publish> {
        let Kind::Kept(place) = self.kind else {
            return None;
        };
        Some(Publish {
            channel: self.channel,
            name: self.name,
            data: self.data,
            id: self.id,
            kind: PublishKind::Kept(place),
        })
    }

    fn replaces(&self, old: &Self) -> bool {
        matches!(old.kind, Kind::Latest) && old.channel == self.channel && old.name == self.name
    }

    fn waits_as(&self, kind: &Kind) -> bool {
        self.serial.is_none() && std::mem::discriminant(&self.kind) == std::mem::discriminant(kind)
    }
}

impl Outbox {
    pub(super) fn new(max_message_size: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            next_serial: 0,
            bucket: Bucket::for_limit(50),
            paused_until: None,
            pauses: 0,
            max_message_size,
            events_dropped: 0,
        }
    }

    /// Takes a publish in. Too large → refused at once (RSL1i, 40009).
    pub(super) fn push(&mut self, publish: Publish) -> Option<Settled> {
        let kind = match publish.kind {
            PublishKind::Kept(place) => Kind::Kept(place),
            PublishKind::Latest => Kind::Latest,
            PublishKind::Event => Kind::Event,
        };
        let mut entry = Entry {
            channel: publish.channel,
            name: publish.name,
            data: publish.data,
            id: publish.id,
            kind,
            serial: None,
            sent: None,
        };
        let size = entry.size();
        if size > self.max_message_size {
            let max = self.max_message_size;
            return Some(entry.refused(Refusal::TooLarge { size, max }));
        }
        match &mut entry.kind {
            Kind::Kept(place) => place.fill(size),
            Kind::Latest => {
                // In its place: at the end of the queue it would never get to the front.
                let waits = |old: &&mut Entry| old.serial.is_none() && entry.replaces(old);
                if let Some(old) = self.entries.iter_mut().find(waits) {
                    *old = entry;
                    return None;
                }
            }
            Kind::Event => self.make_room_for_event(size),
        }
        self.entries.push_back(entry);
        None
    }

    fn make_room_for_event(&mut self, size: usize) {
        loop {
            let waiting = self.entries.iter().filter(|e| e.waits_as(&Kind::Event));
            let (count, bytes) = waiting.fold((0, 0), |(n, b), e| (n + 1, b + e.size()));
            if count < MAX_EVENTS && bytes + size <= MAX_EVENT_BYTES {
                return;
            }
            let Some(oldest) = self.entries.iter().position(|e| e.waits_as(&Kind::Event)) else {
                return;
            };
            self.entries.remove(oldest);
            self.events_dropped = self.events_dropped.saturating_add(1);
        }
    }

    /// CONNECTED. A resumed connection goes on counting; on a new one everything is unsent
    /// (RTN15c6, RTN15c7, RTN19a2).
    pub(super) fn connected(&mut self, resumed: bool) {
        self.paused_until = None;
        self.pauses = 0;
        if !resumed {
            self.reset();
        }
    }

    /// The connection's state is gone: serials count from 0.
    pub(super) fn reset(&mut self) {
        self.next_serial = 0;
        for entry in &mut self.entries {
            entry.serial = None;
            entry.sent = None;
        }
        self.only_the_newest();
    }

    /// What was in flight may stand beside a newer one of which only one is wanted: the newer one
    /// takes its place.
    fn only_the_newest(&mut self) {
        let mut kept: VecDeque<Entry> = VecDeque::with_capacity(self.entries.len());
        for entry in self.entries.drain(..) {
            let latest = matches!(entry.kind, Kind::Latest);
            let older = |old: &&mut Entry| latest && old.serial.is_none() && entry.replaces(old);
            match kept.iter_mut().find(older) {
                Some(old) if entry.serial.is_none() => *old = entry,
                _ => kept.push_back(entry),
            }
        }
        self.entries = kept;
    }

    /// New limits from CONNECTED.
    pub(super) fn set_rate(&mut self, per_second: u32) {
        self.bucket.set_limit(per_second);
    }

    /// Frames that may be written now on that transport, in order.
    pub(super) fn flush(
        &mut self,
        transport: TransportId,
        now: Instant,
    ) -> (Vec<ProtocolMessage>, Vec<Settled>) {
        let (mut frames, mut settled) = (Vec::new(), Vec::new());
        if self.paused_until.is_some_and(|until| now < until) {
            return (frames, settled);
        }
        self.paused_until = None;
        for index in self.unsent_on(transport) {
            if !self.bucket.take(now) {
                return (frames, settled);
            }
            if let Some(entry) = self.entries.get_mut(index) {
                entry.sent = Some((transport, now));
                frames.push(entry.frame());
            }
        }
        let mut unacked = self.entries.iter().filter(|e| e.serial.is_some()).count();
        let mut index = 0;
        while let Some(entry) = self.entries.get_mut(index) {
            if entry.serial.is_some() {
                index += 1;
                continue;
            }
            if entry.size() > self.max_message_size {
                // The limit has shrunk since it was taken in.
                let (size, max) = (entry.size(), self.max_message_size);
                if let Some(entry) = self.entries.remove(index) {
                    settled.push(entry.refused(Refusal::TooLarge { size, max }));
                }
                continue;
            }
            if unacked >= WINDOW || !self.bucket.take(now) {
                break;
            }
            entry.serial = Some(self.next_serial);
            entry.sent = Some((transport, now));
            frames.push(entry.frame());
            self.next_serial = self.next_serial.saturating_add(1);
            unacked += 1;
            index += 1;
        }
        (frames, settled)
    }

    /// Entries that have a serial but were not written on this transport, by serial (RTN19a).
    fn unsent_on(&self, transport: TransportId) -> Vec<usize> {
        let mut again: Vec<(u64, usize)> = self
            .entries
            .iter()
            .enumerate()
            .filter(|(_, e)| e.sent.is_some_and(|(sent_on, _)| sent_on != transport))
            .filter_map(|(index, e)| e.serial.map(|serial| (serial, index)))
            .collect();
        again.sort_unstable();
        again.into_iter().map(|(_, index)| index).collect()
    }

    /// Whether everything that has a serial was written on this transport: only then may a frame
    /// with a newer serial follow.
    pub(super) fn caught_up(&self, transport: TransportId) -> bool {
        self.unsent_on(transport).is_empty()
    }

    /// A serial for a presence frame; it counts towards the rate, but does not wait for it.
    pub(super) fn serial_for_presence(&mut self, now: Instant) -> u64 {
        self.bucket.charge(now);
        let serial = self.next_serial;
        self.next_serial = self.next_serial.saturating_add(1);
        serial
    }

    /// ACK (`error` = `None`) or NACK of `count` frames from `serial` on (RTN7).
    pub(super) fn answered(
        &mut self,
        transport: TransportId,
        serial: u64,
        count: u64,
        error: Option<&ErrorInfo>,
        now: Instant,
    ) -> Vec<Settled> {
        let end = serial.saturating_add(count);
        let mut settled = Vec::new();
        let mut index = 0;
        while let Some(entry) = self.entries.get_mut(index) {
            let Some(own) = entry.serial.filter(|own| *own < end) else {
                index += 1;
                continue;
            };
            if own < serial {
                // Skipped by the server: it does not have it, or will not say so. Under its id it
                // can go again without becoming two.
                if entry.sent.is_some_and(|(on, _)| on == transport) {
                    entry.serial = None;
                    entry.sent = None;
                }
                index += 1;
                continue;
            }
            match error {
                Some(error) if may_pass_later(error) => {
                    entry.serial = None;
                    entry.sent = None;
                    index += 1;
                }
                _ => {
                    let Some(entry) = self.entries.remove(index) else {
                        break;
                    };
                    settled.push(match error {
                        None => Settled::Acked(entry.id),
                        Some(error) => entry.refused(Refusal::Refused(error.clone())),
                    });
                }
            }
        }
        match error {
            Some(error) if may_pass_later(error) => {
                self.only_the_newest();
                self.pauses = self.pauses.saturating_add(1);
                self.paused_until = Some(now + doubling(PAUSE, self.pauses, MAX_PAUSE));
            }
            Some(_) => {}
            None => self.pauses = 0,
        }
        settled
    }

    /// When [`Outbox::flush`] may have something to do, given that the connection is up.
    pub(super) fn next_flush(&self, transport: TransportId, now: Instant) -> Option<Instant> {
        let unacked = self.entries.iter().filter(|e| e.serial.is_some()).count();
        let fresh = self.entries.len() > unacked && unacked < WINDOW;
        let wants = fresh || !self.caught_up(transport);
        wants.then(|| self.paused_until.unwrap_or_else(|| self.bucket.next(now)))
    }

    /// Since when the oldest publish on this transport has no answer.
    pub(super) fn unanswered_since(&self, transport: TransportId) -> Option<Instant> {
        let sent = self.entries.iter().filter_map(|entry| entry.sent);
        sent.filter(|(on, _)| *on == transport)
            .map(|(_, at)| at)
            .min()
    }

    /// Publishes that wait or are not acknowledged.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// Rate limits, server trouble and stale tokens pass; what else is refused is refused for good.
fn may_pass_later(error: &ErrorInfo) -> bool {
    error.is_rate_limit() || error.is_server_error() || error.is_token_error()
}
