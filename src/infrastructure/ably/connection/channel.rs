//! Channels: attach, keep attached, notice loss (RTL). Two of them: the one whose messages are
//! delivered, and the registry whose presence is entered. Channels that are only published to are
//! never attached.
//!
//! Where continuity of the command channel was lost, it is detached and attached again without
//! serial and with `rewind`, so that what is still stored comes again (contract 5); never on the
//! first attach of the process, which would replay an earlier run's commands.

use std::time::{Duration, Instant};

use super::super::frame::{
    self, Action, ErrorInfo, PRESENCE, PRESENCE_SUBSCRIBE, ProtocolMessage, SUBSCRIBE,
};
use super::retry::{delay, doubling};
use super::types::{ChannelState, ConnectionState, Output, StateChange};
use super::{Machine, Now};

/// How far a rewind reaches: as far as the service stores (contract 5).
const REWIND: &str = "2m";
/// After the first refusal of an ATTACH that rewinds.
const REWIND_RETRY: Duration = Duration::from_secs(5);
/// The server can make us attach again at once, but not more often than this.
const FORCED_GAP: Duration = Duration::from_secs(1);

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Commands,
    Registry,
}

impl Which {
    pub(super) const BOTH: [Self; 2] = [Self::Commands, Self::Registry];
}

pub(super) struct Channel {
    pub(super) name: String,
    flags: u64,
    pub(super) now: StateChange<ChannelState>,
    /// Position in the stream, opaque (RTL15b).
    serial: Option<String>,
    ever_attached: bool,
    rewind: Rewind,
    /// End of the wait for ATTACHED or DETACHED.
    answer_by: Option<Instant>,
    retry_at: Option<Instant>,
    retries: u32,
    failures: u32,
    forced_at: Option<Instant>,
    /// When the last rewind began, and when a wanted one may begin.
    rewound_at: Option<Instant>,
    rewind_at: Option<Instant>,
}

/// How far a rewind has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rewind {
    /// None under way.
    No,
    /// Continuity is lost; DETACH is under way, the next ATTACH rewinds.
    Due,
    /// The ATTACH that rewinds is sent.
    Asked,
    /// The service refused it once; it is asked again soon.
    AskedAgain,
    /// The service refused it; the next ATTACH is a plain one.
    Refused,
}

impl Channel {
    pub(super) fn new(name: &str, which: Which, now: Now) -> Self {
        Self {
            name: name.to_owned(),
            flags: match which {
                Which::Commands => SUBSCRIBE,
                Which::Registry => PRESENCE | PRESENCE_SUBSCRIBE,
            },
            now: StateChange {
                state: ChannelState::Initialized,
                since: now.wall,
                reason: None,
                resumed: false,
            },
            serial: None,
            ever_attached: false,
            rewind: Rewind::No,
            answer_by: None,
            retry_at: None,
            retries: 0,
            failures: 0,
            forced_at: None,
            rewound_at: None,
            rewind_at: None,
        }
    }

    pub(super) fn is_attached(&self) -> bool {
        self.now.state == ChannelState::Attached
    }

    /// An answer that is waited for is waited for until then at least.
    pub(super) fn wait_until(&mut self, until: Instant) {
        if let Some(at) = &mut self.answer_by {
            *at = (*at).max(until);
        }
    }

    /// Whether its messages count: attached, or on the way out only in order to rewind, when the
    /// service still sends and what it sends would otherwise depend on the rewind alone.
    pub(super) fn is_receiving(&self) -> bool {
        self.is_attached()
            || (self.now.state == ChannelState::Detaching && self.rewind == Rewind::Due)
    }

    /// When [`Machine::channel_timeouts`] has something to do.
    pub(super) fn next_deadline(&self, connected: bool) -> Option<Instant> {
        if !connected {
            return None;
        }
        [self.answer_by, self.retry_at, self.rewind_at]
            .into_iter()
            .flatten()
            .min()
    }
}

impl Machine {
    fn channel_mut(&mut self, which: Which) -> &mut Channel {
        match which {
            Which::Commands => &mut self.commands,
            Which::Registry => &mut self.registry,
        }
    }

    pub(super) fn which(&self, name: Option<&str>) -> Option<Which> {
        match name {
            Some(name) if name == self.commands.name => Some(Which::Commands),
            Some(name) if name == self.registry.name => Some(Which::Registry),
            _ => None,
        }
    }

    fn enter_channel_state(
        &mut self,
        which: Which,
        state: ChannelState,
        reason: Option<ErrorInfo>,
        now: Now,
    ) {
        let channel = self.channel_mut(which);
        channel.answer_by = None;
        channel.retry_at = None;
        if channel.now.state == state && channel.now.reason == reason {
            return;
        }
        channel.now = StateChange {
            state,
            since: now.wall,
            reason,
            resumed: false,
        };
        let (name, change) = (channel.name.clone(), channel.now.clone());
        self.out.push(Output::Channel(name, change));
    }

    /// ATTACHING, and ATTACH if the connection is up (RTL4i).
    fn attach(&mut self, which: Which, reason: Option<ErrorInfo>, now: Now) {
        self.enter_channel_state(which, ChannelState::Attaching, reason, now);
        let answer_by = now.mono + self.settings.timing.request;
        let connected = self.is_connected();
        let channel = self.channel_mut(which);
        if !connected {
            return;
        }
        let mut attach = ProtocolMessage::on(Action::Attach, &channel.name);
        attach.flags = channel.flags;
        attach.channel_serial.clone_from(&channel.serial);
        // Attached before and no position left: whatever the reason, messages may be missing.
        let gap = channel.serial.is_none() && channel.ever_attached;
        if gap && which == Which::Commands && channel.rewind != Rewind::Refused {
            attach.params = vec![("rewind", REWIND.to_owned())];
            channel.rewind_at = None;
            if channel.rewind != Rewind::AskedAgain {
                channel.rewind = Rewind::Asked;
            }
        }
        channel.answer_by = Some(answer_by);
        self.send(attach);
    }

    /// DETACHING, in order to attach again with `rewind`.
    fn detach_to_rewind(&mut self, which: Which, reason: Option<ErrorInfo>, now: Now) {
        self.enter_channel_state(which, ChannelState::Detaching, reason, now);
        let channel = self.channel_mut(which);
        channel.rewind = Rewind::Due;
        channel.rewind_at = None;
        channel.rewound_at = Some(now.mono);
        channel.serial = None;
        self.send_detach(which, now);
    }

    fn send_detach(&mut self, which: Which, now: Now) {
        let answer_by = now.mono + self.settings.timing.request;
        let channel = self.channel_mut(which);
        channel.answer_by = Some(answer_by);
        let detach = ProtocolMessage::on(Action::Detach, &channel.name);
        self.send(detach);
    }

    /// CONNECTED after a disconnect: every channel is attached again, resumed or not (RTL3d).
    pub(super) fn channels_connected(&mut self, resumed: bool, now: Now) {
        for which in Which::BOTH {
            let channel = self.channel_mut(which);
            let rewinding = matches!(channel.rewind, Rewind::Asked | Rewind::AskedAgain);
            match channel.now.state {
                // The service may still hold the attachment that the rewind was to end.
                ChannelState::Attaching if rewinding && resumed => {
                    self.detach_to_rewind(which, None, now);
                }
                ChannelState::Attached | ChannelState::Suspended if channel.rewind_at.is_some() => {
                    self.detach_to_rewind(which, None, now);
                }
                // RTN19b.
                ChannelState::Detaching => self.send_detach(which, now),
                ChannelState::Failed => {
                    if channel.retry_at.is_some_and(|at| at <= now.mono) {
                        self.attach(which, None, now);
                    }
                }
                _ => self.attach(which, None, now),
            }
        }
    }

    /// DISCONNECTED changes no channel state (RTL3e), but no answer will come and no retry runs
    /// (RTL13c).
    pub(super) fn channels_disconnected(&mut self) {
        for which in Which::BOTH {
            let channel = self.channel_mut(which);
            channel.answer_by = None;
            if channel.now.state != ChannelState::Failed {
                channel.retry_at = None;
            }
        }
        self.feed.disconnected();
        self.presence.forget();
    }

    /// SUSPENDED, CLOSED and FAILED connections take their channels along (RTL3a-c), and an
    /// explicit connect after FAILED begins anew (RTN11d).
    pub(super) fn channels_follow(
        &mut self,
        connection: ConnectionState,
        reason: Option<&ErrorInfo>,
        now: Now,
    ) {
        for which in Which::BOTH {
            let channel = self.channel_mut(which);
            let (state, forget) = match (connection, channel.now.state) {
                (ConnectionState::Suspended, ChannelState::Attaching | ChannelState::Attached) => {
                    (ChannelState::Suspended, false)
                }
                (ConnectionState::Closed, _) => (ChannelState::Detached, true),
                (ConnectionState::Failed, _) => (ChannelState::Failed, true),
                (ConnectionState::Initialized, _) => (ChannelState::Initialized, true),
                _ => continue,
            };
            if forget {
                channel.serial = None;
                channel.rewind = Rewind::No;
                channel.rewind_at = None;
            }
            self.enter_channel_state(which, state, reason.cloned(), now);
        }
    }

    /// A frame of the stream carries its position (RTL15b). Not SYNC: that one is a page cursor.
    pub(super) fn store_serial(&mut self, which: Which, frame: &ProtocolMessage) {
        let channel = self.channel_mut(which);
        if channel.now.state != ChannelState::Detaching
            && let Some(serial) = &frame.channel_serial
        {
            channel.serial = Some(serial.clone());
        }
    }

    /// ATTACHED: asked for or not (RTL4, RTL12).
    pub(super) fn on_attached(&mut self, which: Which, frame: &ProtocolMessage, now: Now) {
        let resumed = frame.has(frame::RESUMED);
        let channel = self.channel_mut(which);
        if matches!(
            channel.now.state,
            ChannelState::Detaching | ChannelState::Detached
        ) {
            self.send_detach(which, now);
            return;
        }
        let was_attached = channel.is_attached();
        let first = !channel.ever_attached;
        let rewind = std::mem::replace(&mut channel.rewind, Rewind::No);
        channel.ever_attached = true;
        channel.retries = 0;
        channel.failures = 0;
        self.store_serial(which, frame);
        if let Some(made) = frame.timestamp {
            self.clock.fresh(made, now.mono);
        }
        self.enter_attached(which, resumed, frame.error.clone(), now);
        match which {
            Which::Registry => {
                let has_presence = frame.has(frame::HAS_PRESENCE);
                self.presence.strangers().attached(has_presence);
                if !(was_attached && resumed) {
                    self.presence.attached();
                }
            }
            Which::Commands if first => self.feed.attached_first(frame.timestamp, now.mono),
            Which::Commands if resumed => {
                if !was_attached {
                    self.feed
                        .resumed(&self.clock, now.mono, &self.settings.timing);
                }
            }
            Which::Commands => self.commands_lost(rewind, frame, now),
        }
    }

    fn enter_attached(&mut self, which: Which, resumed: bool, reason: Option<ErrorInfo>, now: Now) {
        let channel = self.channel_mut(which);
        let news = !channel.is_attached() || !resumed || reason.is_some();
        if !channel.is_attached() {
            channel.now.since = now.wall;
        }
        channel.answer_by = None;
        channel.retry_at = None;
        channel.now.state = ChannelState::Attached;
        channel.now.reason = reason;
        channel.now.resumed = resumed;
        if news {
            let (name, change) = (channel.name.clone(), channel.now.clone());
            self.out.push(Output::Channel(name, change));
        }
    }

    /// ATTACHED without RESUMED on the command channel, which had been attached before.
    fn commands_lost(&mut self, rewind: Rewind, frame: &ProtocolMessage, now: Now) {
        let timing = &self.settings.timing;
        if matches!(rewind, Rewind::Asked | Rewind::AskedAgain) {
            // The answer to our rewind. It is the first we hear of the loss if the position was
            // lost with the channel (FAILED) and not by a refused resume.
            if !self.loss_told {
                self.feed.continuity_lost(now.mono, timing);
                self.out.push(Output::ContinuityLost {
                    rewinding: true,
                    reason: frame.error.clone(),
                });
            }
            self.loss_told = false;
            let backlog = frame.has(frame::HAS_BACKLOG);
            let ready = self.feed.rewound(backlog, &self.clock, now.mono, timing);
            self.deliver(ready);
            return;
        }
        let rewinding = rewind != Rewind::Refused;
        self.out.push(Output::ContinuityLost {
            rewinding,
            reason: frame.error.clone(),
        });
        self.feed.continuity_lost(now.mono, &self.settings.timing);
        self.loss_told = rewinding;
        if !rewinding {
            let held = self.feed.release(&self.clock);
            self.deliver(held);
            return;
        }
        // Not in a loop, should the service never resume anything.
        match self.commands.rewound_at.map(|at| at + FORCED_GAP) {
            Some(at) if at > now.mono => self.commands.rewind_at = Some(at),
            _ => self.detach_to_rewind(Which::Commands, frame.error.clone(), now),
        }
    }

    /// Whether a channel may be attached again at once on the server's demand; not in a loop.
    fn may_be_forced(&mut self, which: Which, now: Now) -> bool {
        let channel = self.channel_mut(which);
        let may = channel
            .forced_at
            .is_none_or(|at| at + FORCED_GAP <= now.mono);
        if may {
            channel.forced_at = Some(now.mono);
        }
        may
    }

    /// DETACHED (RTL13, RTL5d).
    pub(super) fn on_detached(&mut self, which: Which, error: Option<ErrorInfo>, now: Now) {
        let channel = self.channel_mut(which);
        match channel.now.state {
            ChannelState::Attached | ChannelState::Suspended => {
                if self.may_be_forced(which, now) {
                    self.attach(which, error, now);
                } else {
                    self.suspend_channel(which, error, now);
                }
            }
            ChannelState::Attaching => self.suspend_channel(which, error, now),
            ChannelState::Detaching => self.attach(which, None, now),
            ChannelState::Initialized | ChannelState::Detached | ChannelState::Failed => {}
        }
    }

    /// SUSPENDED, to be tried again with growing delays, for ever (RTL13b, RTL4f).
    fn suspend_channel(&mut self, which: Which, reason: Option<ErrorInfo>, now: Now) {
        self.enter_channel_state(which, ChannelState::Suspended, reason, now);
        let base = self.settings.timing.channel_retry;
        let channel = self.channel_mut(which);
        channel.retries = channel.retries.saturating_add(1);
        let n = channel.retries;
        let wait = delay(base, n, &mut self.rng);
        self.channel_mut(which).retry_at = Some(now.mono + wait);
    }

    /// ERROR with this channel (RTL14).
    pub(super) fn on_channel_error(&mut self, which: Which, error: ErrorInfo, now: Now) {
        /// "Operation on a superseded transport": to be repeated.
        const SUPERSEDED: u32 = 80016;
        let timing = self.settings.timing.clone();
        let channel = self.channel_mut(which);
        if error.code == SUPERSEDED {
            self.on_detached(which, Some(error), now);
            return;
        }
        if channel.rewind == Rewind::AskedAgain {
            // It is the rewind that is not allowed: better a gap than a deaf node.
            channel.rewind = Rewind::Refused;
            let text = format!("the service does not send stored commands again: {error}");
            self.out.push(Output::Note(text));
            self.attach(which, Some(error), now);
            return;
        }
        let wait = if channel.rewind == Rewind::Asked {
            // What is stored now is not stored for long.
            channel.rewind = Rewind::AskedAgain;
            REWIND_RETRY
        } else {
            channel.rewind = Rewind::No;
            channel.failures = channel.failures.saturating_add(1);
            let (base, max) = (timing.failed_retry, timing.failed_retry_max);
            doubling(base, channel.failures, max)
        };
        channel.serial = None;
        self.enter_channel_state(which, ChannelState::Failed, Some(error), now);
        self.channel_mut(which).retry_at = Some(now.mono + wait);
        if which == Which::Registry {
            self.presence.forget();
        }
    }

    /// Deadlines of channels; only while CONNECTED.
    pub(super) fn channel_timeouts(&mut self, now: Now) {
        for which in Which::BOTH {
            let channel = self.channel_mut(which);
            if channel.answer_by.is_some_and(|at| at <= now.mono) {
                let late = ErrorInfo::new(90007, 408, "no answer from the service in time");
                match channel.now.state {
                    ChannelState::Attaching => self.suspend_channel(which, Some(late), now),
                    // Only ever on the way to a rewind.
                    ChannelState::Detaching => self.attach(which, Some(late), now),
                    _ => channel.answer_by = None,
                }
            }
            let channel = self.channel_mut(which);
            if channel.retry_at.is_some_and(|at| at <= now.mono) {
                self.attach(which, None, now);
            }
            let channel = self.channel_mut(which);
            if channel.rewind_at.is_some_and(|at| at <= now.mono) {
                if channel.is_attached() {
                    self.detach_to_rewind(which, None, now);
                } else {
                    channel.rewind_at = Some(now.mono + FORCED_GAP);
                }
            }
        }
    }
}
