//! The Ably connection machine.
//!
//! Owns the states of the connection and of its two channels, our presence, every publish that is
//! not acknowledged, and all deadlines. Knows no socket, no thread, no clock and no JSON: inputs
//! and the time go in with [`Machine::handle`], what is to be done comes out, and
//! [`Machine::next_deadline`] says when [`Input::Timeout`] is due. It does not know what a message
//! means.
//!
//! Split by what each file owns: `link` the connection, `channel` the channels, `feed` deliveries,
//! `outbox` publishes, `presence`, `watch` pings, `clock` the server's time, `retry` delays,
//! [`ledger`] the places that publishes take.

mod channel;
mod clock;
mod feed;
pub mod ledger;
mod link;
mod outbox;
mod presence;
mod retry;
pub mod types;
mod watch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use self::channel::{Channel, Which};
use self::clock::ServerClock;
use self::feed::Feed;
use self::ledger::Ledger;
use self::link::{Closing, Link};
use self::outbox::{Outbox, Settled};
use self::presence::{Answer, Presence};
use self::types::{Delivery, Input, Output, RequestId, Settings, Status, TimeAnswer};
use self::watch::Watch;

pub use self::feed::MAX_HELD;

use super::frame::{Action, ErrorInfo, ProtocolMessage};
use crate::util::time::Now;

/// What a publish may have until the server says otherwise (TO3l8).
pub const DEFAULT_MAX_MESSAGE_SIZE: usize = 65_536;
/// After an asking of the server's time that failed, or took so long that it says little.
const CLOCK_RETRY: Duration = Duration::from_secs(60);

pub struct Machine {
    settings: Settings,
    rng: fastrand::Rng,
    ledger: Arc<Ledger>,
    link: Link,
    commands: Channel,
    registry: Channel,
    feed: Feed,
    /// The loss that a rewind is to mend was told already.
    loss_told: bool,
    presence: Presence,
    outbox: Outbox,
    watch: Watch,
    /// When it was last said that nobody listens.
    pardoned_at: Instant,
    clock: ServerClock,
    clock_asked: Option<RequestId>,
    clock_due: Option<Instant>,
    requests: u64,
    out: Vec<Output>,
}

impl Machine {
    /// A machine at rest.
    pub fn new(settings: Settings, now: Now) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(settings.seed),
            ledger: Arc::new(Ledger::default()),
            link: Link::new(
                settings.hosts.primary.clone(),
                settings.timing.state_ttl,
                now,
            ),
            commands: Channel::new(&settings.commands, Which::Commands, now),
            registry: Channel::new(&settings.registry, Which::Registry, now),
            feed: Feed::new(),
            loss_told: false,
            presence: Presence::default(),
            outbox: Outbox::new(DEFAULT_MAX_MESSAGE_SIZE),
            watch: Watch::default(),
            pardoned_at: now.mono,
            clock: ServerClock::default(),
            clock_asked: None,
            clock_due: Some(now.mono),
            requests: 0,
            out: Vec::new(),
            settings,
        }
    }

    /// Where places for publishes come from.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// One thing that happened. Returns what is to be done about it, in order.
    pub fn handle(&mut self, input: Input, now: Now) -> Vec<Output> {
        match input {
            Input::Connect => self.connect(now),
            Input::Opened(id) => {
                self.heard(id, now);
            }
            Input::Activity(id) => {
                if self.heard(id, now) {
                    // A whole frame that is no message says nothing of what is still to come.
                    self.feed.bytes(now.mono, &self.settings.timing);
                }
            }
            Input::Lost(id, fault) => self.on_lost(id, fault, now),
            Input::Frame(id, frame) => {
                if self.heard(id, now) {
                    self.on_frame(*frame, now);
                }
            }
            Input::Timeout => self.on_timeout(now),
            Input::Publish(publish) => {
                let refused = self.outbox.push(publish);
                self.report(refused);
            }
            Input::PresenceData(data) => self.presence.set(data.encode()),
            Input::WatchLink(on) => self.watch_link(on, now),
            Input::Ping => self.ping(now),
            Input::Token(id, answer) => self.on_token(id, answer, now),
            Input::Connectivity(id, up) => self.on_connectivity(id, up, now),
            Input::ServerTime(id, answer) => self.on_server_time(id, answer, now),
            Input::Close => self.close(now),
        }
        self.settle(now);
        std::mem::take(&mut self.out)
    }

    /// When [`Input::Timeout`] is due; `None` = never, as things are.
    pub fn next_deadline(&self) -> Option<Instant> {
        let timing = &self.settings.timing;
        let connected = self.is_connected();
        let mut all = vec![
            self.link.next_deadline(timing.request),
            self.feed.next_deadline(),
        ];
        if connected {
            let transport = self.link.transport;
            let patience = timing.ack_patience;
            all.extend([
                self.commands.next_deadline(true),
                self.registry.next_deadline(true),
                self.watch
                    .next_deadline(timing.request, timing.watch_patience),
                // Not before what is there now: the bucket counts from its last use.
                self.outbox.next_flush(transport, self.link.heard_at()),
                self.unanswered_since().map(|at| at + patience),
                self.clock_due.filter(|_| self.clock_asked.is_none()),
            ]);
            if self.registry.is_attached() {
                all.push(self.presence.retry_at());
                all.push(self.presence.clone_deadline(timing.clone_after));
            }
        }
        all.into_iter().flatten().min()
    }

    /// The reader rests, because nobody takes what it reads; the silence of the service proves
    /// nothing meanwhile.
    pub fn not_listening(&mut self, now: Now) {
        self.pardon_silence(now);
    }

    /// How things are.
    pub fn status(&self) -> Status {
        Status {
            connection: self.link.now.clone(),
            commands: self.commands.now.clone(),
            registry: self.registry.now.clone(),
            host: self.link.host.clone(),
            retries: self.link.retries,
            connects: self.link.connects,
            present: self.presence.is_entered(),
            cloned: self.presence.is_cloned(),
            results_waiting: self.ledger.places(),
            result_bytes: self.ledger.bytes(),
            publishes_waiting: self.outbox.len(),
            events_dropped: self.outbox.events_dropped,
            commands_held: self.feed.held(),
            continuity_lost: self.feed.lost,
            max_message_size: self.outbox.max_message_size,
        }
    }

    fn on_frame(&mut self, frame: ProtocolMessage, now: Now) {
        let which = self.which(frame.channel.as_deref());
        match (frame.action, which) {
            (Action::Connected, _) => self.on_connected(frame, now),
            (Action::Disconnected, _) => self.on_disconnected(frame.error, now),
            (Action::Closed, _) => self.on_closed(frame.error, now),
            (Action::Heartbeat, _) => self.on_heartbeat(frame.id.as_deref(), now),
            (Action::Auth, _) => self.renew_token(now),
            (Action::Error, None) => match &frame.channel {
                None => self.on_error(frame.error, now),
                Some(channel) => {
                    let error = frame.error.as_ref().map(ToString::to_string);
                    let error = error.unwrap_or_default();
                    self.out
                        .push(Output::Note(format!("error on channel {channel}: {error}")));
                }
            },
            // What follows means something only on a connection that is up.
            _ if !self.is_connected() => {}
            (Action::Ack, _) => self.on_answer(&frame, None, now),
            (Action::Nack, _) => {
                let error = frame.error.clone();
                let unknown = || ErrorInfo::new(50000, 500, "refused without a reason");
                self.on_answer(&frame, Some(&error.unwrap_or_else(unknown)), now);
            }
            (Action::Error, Some(which)) => {
                let unknown = || ErrorInfo::new(90000, 400, "refused without a reason");
                self.on_channel_error(which, frame.error.unwrap_or_else(unknown), now);
            }
            (Action::Attached, Some(which)) => self.on_attached(which, &frame, now),
            (Action::Detached, Some(which)) => self.on_detached(which, frame.error, now),
            (Action::Message, Some(Which::Commands)) => self.on_messages(frame, now),
            (Action::Presence, Some(Which::Registry)) => self.on_presence(&frame, false, now),
            (Action::Sync, Some(Which::Registry)) => self.on_presence(&frame, true, now),
            _ => {}
        }
    }

    fn on_answer(&mut self, frame: &ProtocolMessage, error: Option<&ErrorInfo>, now: Now) {
        let Some(serial) = frame.msg_serial else {
            return;
        };
        let count = frame.count.unwrap_or(1);
        let base = self.settings.timing.channel_retry;
        let answer = self.presence.answered(
            serial,
            count,
            error.is_some(),
            base,
            &mut self.rng,
            now.mono,
        );
        if let (Answer::Refused, Some(error)) = (answer, error) {
            self.out.push(Output::PresenceRefused(error.clone()));
        }
        let transport = self.link.transport;
        let settled = self
            .outbox
            .answered(transport, serial, count, error, now.mono);
        self.report(settled);
    }

    /// Messages of the command channel (RTL7, RTL17, RTL21).
    fn on_messages(&mut self, frame: ProtocolMessage, now: Now) {
        if !self.commands.is_receiving() {
            return;
        }
        self.store_serial(Which::Commands, &frame);
        for message in frame.messages {
            let ready = self.feed.message(
                message,
                &mut self.clock,
                &self.settings.urgent,
                now.mono,
                &self.settings.timing,
            );
            self.deliver(ready);
        }
    }

    fn on_presence(&mut self, frame: &ProtocolMessage, sync: bool, now: Now) {
        if !self.registry.is_attached() {
            return;
        }
        if sync {
            let strangers = self.presence.strangers();
            strangers.sync_page(frame.channel_serial.as_deref());
        } else {
            self.store_serial(Which::Registry, frame);
        }
        for entry in &frame.presence {
            if entry.client_id.as_deref() == Some(self.settings.client_id.as_str()) {
                let ours = self.link.id.as_deref();
                self.presence.seen(entry, ours, sync, now.mono);
            }
        }
        if sync {
            let strangers = self.presence.strangers();
            strangers.sync_page_read(frame.channel_serial.as_deref());
        }
    }

    fn on_server_time(&mut self, id: RequestId, answer: Option<TimeAnswer>, now: Now) {
        if self.clock_asked != Some(id) {
            return;
        }
        self.clock_asked = None;
        let good = answer.is_some_and(|answer| self.clock.answered(answer));
        let refresh = self.settings.timing.clock_refresh;
        let wait = if good {
            refresh
        } else {
            refresh.min(CLOCK_RETRY)
        };
        self.clock_due = Some(now.mono + wait);
    }

    fn on_timeout(&mut self, now: Now) {
        self.link_timeouts(now);
        let ready = self.feed.on_timeout(&self.clock, now.mono);
        self.deliver(ready);
        if !self.is_connected() {
            return;
        }
        self.channel_timeouts(now);
        self.watch_timeouts(now);
        let patience = self.settings.timing.ack_patience;
        if self
            .unanswered_since()
            .is_some_and(|at| at + patience <= now.mono)
        {
            self.give_up_transport("publishes are not acknowledged", now);
        }
    }

    fn unanswered_since(&self) -> Option<Instant> {
        let outbox = self.outbox.unanswered_since(self.link.transport);
        let presence = self.presence.unanswered_since();
        let oldest = outbox.into_iter().chain(presence).min();
        oldest.map(|at| at.max(self.pardoned_at))
    }

    /// What follows from any input: frames that may go now.
    fn settle(&mut self, now: Now) {
        if !self.is_connected() {
            return;
        }
        let transport = self.link.transport;
        let (frames, settled) = self.outbox.flush(transport, now.mono);
        for frame in frames {
            self.send(frame);
        }
        self.report(settled);
        if self.registry.is_attached() {
            self.settle_presence(now);
        }
        if matches!(self.link.closing, Some(Closing::Leaving { .. })) {
            let ready = !self.presence.is_leaving() && self.outbox.len() == 0;
            self.close_when_ready(ready, now);
        }
        let due = self.clock_due.is_some_and(|at| at <= now.mono);
        if due && self.clock_asked.is_none() {
            let id = self.request_id();
            self.clock_asked = Some(id);
            let host = self.link.host.clone();
            self.out.push(Output::FetchTime(id, host));
        }
    }

    fn settle_presence(&mut self, now: Now) {
        let after = self.settings.timing.clone_after;
        if let Some(cloned) = self.presence.strangers().judge(after, now.mono) {
            self.out.push(Output::ClonedMachineId(cloned));
        }
        // Serials rise on the wire: what is sent again goes first.
        if self.link.closing.is_some() || !self.outbox.caught_up(self.link.transport) {
            return;
        }
        let max = self.outbox.max_message_size;
        let outbox = &mut self.outbox;
        let serial = || outbox.serial_for_presence(now.mono);
        match self
            .presence
            .next_frame(&self.registry.name, max, now.mono, serial)
        {
            Ok(Some(frame)) => self.send(frame),
            Ok(None) => {}
            Err(error) => self.out.push(Output::PresenceRefused(error)),
        }
    }

    /// LEAVE, if there is anything to leave.
    fn leave(&mut self, now: Now) {
        if !self.registry.is_attached() {
            return;
        }
        let outbox = &mut self.outbox;
        let serial = || outbox.serial_for_presence(now.mono);
        let leave = self.presence.leave(&self.registry.name, now.mono, serial);
        if let Some(frame) = leave {
            self.send(frame);
        }
    }

    fn send(&mut self, frame: ProtocolMessage) {
        if self.link.open {
            self.out
                .push(Output::Send(self.link.transport, Box::new(frame)));
        }
    }

    fn deliver(&mut self, deliveries: Vec<Delivery>) {
        let boxed = deliveries.into_iter().map(Box::new);
        self.out.extend(boxed.map(Output::Deliver));
    }

    fn report(&mut self, settled: impl IntoIterator<Item = Settled>) {
        self.out.extend(settled.into_iter().map(|one| match one {
            Settled::Acked(id) => Output::Acked(id),
            Settled::Refused {
                id,
                channel,
                why,
                kept,
            } => Output::Refused {
                id,
                channel,
                why,
                kept,
            },
        }));
    }

    fn request_id(&mut self) -> RequestId {
        self.requests += 1;
        RequestId(self.requests)
    }
}

#[cfg(test)]
mod tests;
