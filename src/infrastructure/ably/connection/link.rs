//! The connection: hosts, retries, resume, tokens, liveness (RTN).

use std::time::{Duration, Instant};

use super::super::frame::{Action, ConnectionDetails, ErrorInfo, ProtocolMessage};
use super::attempt::Round;
use super::closing::Closing;
use super::login::not_renewable;
use super::retry::doubling;
use super::types::{
    ConnectionState, Credentials, FaultKind, MAX_MS, Output, RequestId, StateChange, Token,
    TokenFault, TransportFault, TransportId,
};
use super::{Machine, Now};
use crate::util::secret::Secret;

/// What the server is believed to promise before it says so.
const DEFAULT_IDLE: Duration = Duration::from_secs(15);
/// A connection that is lost within this time of the last immediate reconnect is not reconnected
/// at once again.
const QUICK: Duration = Duration::from_secs(10);
/// Gap between the first two immediate reconnects; doubles.
const QUICK_GAP: Duration = Duration::from_secs(1);
/// Its maximum.
const QUICK_GAP_MAX: Duration = Duration::from_secs(15);
pub(super) struct Link {
    pub(super) now: StateChange<ConnectionState>,
    /// The newest transport; `open` says whether it still exists.
    pub(super) transport: TransportId,
    pub(super) open: bool,
    pub(super) host: String,
    /// Tries since the connection was up.
    pub(super) retries: u32,
    /// Times it came up.
    pub(super) connects: u64,
    pub(super) id: Option<String>,
    pub(super) key: Option<Secret>,
    pub(super) state_ttl: Duration,
    idle: Option<Duration>,
    heard_at: Instant,
    pub(super) round: Round,
    /// When the next round begins (DISCONNECTED, SUSPENDED, FAILED).
    pub(super) retry_at: Option<Instant>,
    /// The next round begins with a fallback (RTN17f1).
    pub(super) skip_primary: bool,
    /// A token error ended the connection: the next round begins with a new token, its one
    /// renewal (RTN15h2).
    pub(super) token_refused: bool,
    /// When DISCONNECTED becomes SUSPENDED (RTN14e).
    pub(super) suspend_at: Option<Instant>,
    pub(super) backoff: u32,
    failures: u32,
    immediate_at: Option<Instant>,
    quick: u32,
    pub(super) token: Option<Token>,
    /// When it must be renewed, and when it is no longer worth trying.
    pub(super) token_renew_at: Option<Instant>,
    pub(super) token_ends_at: Option<Instant>,
    /// When the source was last asked.
    pub(super) token_asked: Option<Instant>,
    /// A lifetime that can't be meant, and has been said.
    pub(super) odd_lifetime: Option<Duration>,
    pub(super) renewal: Option<(RequestId, Instant)>,
    pub(super) closing: Option<Closing>,
}

impl Link {
    pub(super) fn new(host: String, state_ttl: Duration, now: Now) -> Self {
        Self {
            now: StateChange {
                state: ConnectionState::Initialized,
                since: now.wall,
                reason: None,
                resumed: false,
            },
            transport: TransportId(0),
            open: false,
            host,
            retries: 0,
            connects: 0,
            id: None,
            key: None,
            state_ttl,
            idle: Some(DEFAULT_IDLE),
            heard_at: now.mono,
            round: Round::default(),
            retry_at: None,
            skip_primary: false,
            token_refused: false,
            suspend_at: None,
            backoff: 0,
            failures: 0,
            immediate_at: None,
            quick: 0,
            token: None,
            token_renew_at: None,
            token_ends_at: None,
            token_asked: None,
            odd_lifetime: None,
            renewal: None,
            closing: None,
        }
    }

    fn idle_at(&self, request: Duration) -> Option<Instant> {
        self.idle.map(|idle| self.heard_at + idle + request)
    }

    pub(super) fn heard_at(&self) -> Instant {
        self.heard_at
    }

    pub(super) fn next_deadline(&self, request: Duration) -> Option<Instant> {
        let closing = self.closing.map(Closing::until);
        let renewal = self.renewal.map(|(_, until)| until);
        let own = match self.now.state {
            ConnectionState::Connecting => [self.round.until, None, None, None],
            ConnectionState::Connected => {
                [self.idle_at(request), self.token_renew_at, renewal, closing]
            }
            ConnectionState::Disconnected => [self.retry_at, self.suspend_at, None, None],
            ConnectionState::Suspended | ConnectionState::Failed => {
                [self.retry_at, None, None, None]
            }
            ConnectionState::Closing => [closing, None, None, None],
            ConnectionState::Initialized | ConnectionState::Closed => [None; 4],
        };
        own.into_iter().flatten().min()
    }
}

impl Machine {
    pub(super) fn is_connected(&self) -> bool {
        self.link.now.state == ConnectionState::Connected
    }

    pub(super) fn enter(&mut self, state: ConnectionState, reason: Option<ErrorInfo>, now: Now) {
        self.link.now = StateChange {
            state,
            since: now.wall,
            reason,
            resumed: false,
        };
        let change = self.link.now.clone();
        self.out.push(Output::Connection(change));
    }

    pub(super) fn drop_transport(&mut self) {
        if std::mem::take(&mut self.link.open) {
            self.out.push(Output::CloseTransport(self.link.transport));
        }
    }

    /// An explicit connect, from any state (RTN11).
    pub(super) fn connect(&mut self, now: Now) {
        match self.link.now.state {
            ConnectionState::Initialized | ConnectionState::Closed => self.begin_anew(now),
            ConnectionState::Failed => {
                self.channels_follow(ConnectionState::Initialized, None, now);
                self.begin_anew(now);
            }
            ConnectionState::Disconnected | ConnectionState::Suspended => self.begin_round(now),
            ConnectionState::Connecting | ConnectionState::Connected | ConnectionState::Closing => {
            }
        }
    }

    fn begin_anew(&mut self, now: Now) {
        self.link.closing = None;
        self.link.suspend_at = Some(now.mono + self.link.state_ttl);
        self.begin_round(now);
    }

    /// The transport failed or ended.
    pub(super) fn on_lost(&mut self, id: TransportId, fault: TransportFault, now: Now) {
        if id != self.link.transport || !self.link.open {
            return;
        }
        self.link.open = false;
        let code = match fault.kind {
            FaultKind::Timeout => 80014,
            _ => 80003,
        };
        let reason = ErrorInfo::new(code, 400, fault.text);
        match self.link.now.state {
            ConnectionState::Connecting => {
                self.attempt_failed(reason, fault.kind.wants_fallback(), now);
            }
            ConnectionState::Connected => self.connection_lost(reason, now),
            ConnectionState::Closing => self.finish_close(now),
            _ => {}
        }
    }

    /// SUSPENDED: too long without a connection (RTN14e, RTN14f).
    pub(super) fn suspend(&mut self, reason: Option<ErrorInfo>, now: Now) {
        self.link.backoff = 0;
        self.link.suspend_at = None;
        self.link.retry_at = Some(now.mono + self.settings.timing.suspended_retry);
        let reason = reason.or_else(|| Some(ErrorInfo::new(80002, 400, "connection suspended")));
        self.channels_follow(ConnectionState::Suspended, reason.as_ref(), now);
        self.enter(ConnectionState::Suspended, reason, now);
    }

    /// The connection was up and is gone: reconnect at once, with resume (RTN15a).
    pub(super) fn connection_lost(&mut self, reason: ErrorInfo, now: Now) {
        self.drop_transport();
        if self.link.closing.is_some() {
            self.finish_close(now);
            return;
        }
        self.link.renewal = None;
        self.link.suspend_at = Some(now.mono + self.link.state_ttl);
        self.channels_disconnected();
        self.enter(ConnectionState::Disconnected, Some(reason), now);
        self.link_left_connected();
        let at = self.next_immediate(now.mono);
        self.link.retry_at = Some(at);
        if at <= now.mono {
            self.begin_round(now);
        }
    }

    /// When the next immediate reconnect may be: at once, unless the last one was just now.
    fn next_immediate(&mut self, now: Instant) -> Instant {
        let link = &mut self.link;
        let gap = doubling(QUICK_GAP, link.quick + 1, QUICK_GAP_MAX);
        let at = match link.immediate_at {
            Some(last) if now < last + QUICK.max(gap * 2) => {
                link.quick = (link.quick + 1).min(16);
                (last + gap).max(now)
            }
            _ => {
                link.quick = 0;
                now
            }
        };
        link.immediate_at = Some(at);
        at
    }

    /// FAILED: refused (RTN14a, RTN15j). Tried again slowly (contract 5).
    pub(super) fn fail(&mut self, reason: ErrorInfo, now: Now) {
        self.drop_transport();
        if self.link.closing.is_some() {
            self.finish_close(now);
            return;
        }
        self.forget_connection();
        self.forget_token();
        self.link.failures = self.link.failures.saturating_add(1);
        let timing = &self.settings.timing;
        let wait = doubling(
            timing.failed_retry,
            self.link.failures,
            timing.failed_retry_max,
        );
        self.link.retry_at = Some(now.mono + wait);
        self.channels_disconnected();
        self.channels_follow(ConnectionState::Failed, Some(&reason), now);
        self.enter(ConnectionState::Failed, Some(reason), now);
        self.link_left_connected();
    }

    pub(super) fn forget_connection(&mut self) {
        if let Some(over) = self.link.id.take() {
            self.presence.connection_over(over);
        }
        self.link.key = None;
        self.link.renewal = None;
        self.link.backoff = 0;
        self.outbox.reset();
    }

    pub(super) fn forget_token(&mut self) {
        self.link.token = None;
        self.link.token_renew_at = None;
        self.link.token_ends_at = None;
    }

    /// CONNECTED (RTN6, RTN15c, RTN24).
    pub(super) fn on_connected(&mut self, frame: ProtocolMessage, now: Now) {
        if self.is_connecting() {
            // The machine may have slept, and our clock with it.
            self.clock.doubt();
        }
        if let Some(made) = frame.timestamp {
            self.clock.fresh(made, now.mono);
        }
        let details = frame.details.unwrap_or_default();
        match self.link.now.state {
            ConnectionState::Connected => {
                self.take_details(details);
                self.link.id = frame.connection_id.or(self.link.id.take());
                self.link.now.reason = frame.error;
                return;
            }
            ConnectionState::Closing => {
                self.send(ProtocolMessage::new(Action::Close));
                return;
            }
            ConnectionState::Connecting => {}
            _ => return,
        }
        if let Some(theirs) = &details.client_id
            && *theirs != self.settings.client_id
            && theirs != "*"
        {
            let text = format!(
                "the service takes us for '{theirs}', not for '{}'",
                self.settings.client_id
            );
            self.fail(ErrorInfo::new(40102, 401, text), now);
            return;
        }
        // The one test for a resume that worked (RTN15c6, RTN15c7).
        let resumed = self.link.round.resuming
            && self.link.id.is_some()
            && self.link.id == frame.connection_id;
        if !resumed && let Some(over) = self.link.id.take() {
            self.presence.connection_over(over);
        }
        self.link.id = frame.connection_id;
        self.link.key = None;
        self.take_details(details);
        self.link.round = Round::default();
        self.link.backoff = 0;
        self.link.failures = 0;
        self.link.retries = 0;
        self.link.connects = self.link.connects.saturating_add(1);
        self.link.suspend_at = None;
        self.clock_asked = None;
        self.clock_due = Some(now.mono);
        self.outbox.connected(resumed);
        // Channels change before anybody hears of CONNECTED (RTL3d1).
        self.link.now.state = ConnectionState::Connected;
        self.channels_connected(resumed, now);
        self.enter(ConnectionState::Connected, frame.error, now);
        self.link_entered_connected(now);
    }

    fn take_details(&mut self, details: ConnectionDetails) {
        let ms = |value: u64| Duration::from_millis(value.min(MAX_MS));
        let link = &mut self.link;
        if details.connection_key.is_some() {
            link.key = details.connection_key;
        }
        if let Some(ttl) = details.connection_state_ttl {
            link.state_ttl = ms(ttl);
        }
        link.idle = match details.max_idle_interval {
            None => Some(DEFAULT_IDLE),
            Some(0) => None,
            Some(interval) => Some(ms(interval)),
        };
        if let Some(size) = details.max_message_size.filter(|size| *size > 0) {
            self.outbox.max_message_size = usize::try_from(size).unwrap_or(usize::MAX);
        }
        if let Some(rate) = details.max_inbound_rate {
            self.outbox
                .set_rate(u32::try_from(rate).unwrap_or(u32::MAX));
        }
    }

    /// DISCONNECTED: the server gives the transport up (RTN15h).
    pub(super) fn on_disconnected(&mut self, error: Option<ErrorInfo>, now: Now) {
        let reason = error.unwrap_or_else(|| ErrorInfo::new(80003, 400, "the service hung up"));
        match self.link.now.state {
            ConnectionState::Connecting if reason.is_token_error() => {
                self.token_refused(reason, now);
            }
            ConnectionState::Connecting => {
                let another = reason.is_server_error();
                self.attempt_failed(reason, another, now);
            }
            ConnectionState::Connected if reason.is_token_error() => {
                match self.settings.credentials {
                    Credentials::Key(_) => self.fail(not_renewable(&reason), now),
                    Credentials::Tokens => {
                        self.forget_token();
                        self.link.token_refused = true;
                        self.connection_lost(reason, now);
                    }
                }
            }
            ConnectionState::Connected => {
                self.link.skip_primary = reason.is_server_error();
                self.connection_lost(reason, now);
            }
            ConnectionState::Closing => {
                self.drop_transport();
                self.finish_close(now);
            }
            _ => {}
        }
    }

    /// ERROR without a channel (RTN14b, RTN14g, RTN15c4, RTN15c5, RTN15j).
    pub(super) fn on_error(&mut self, error: Option<ErrorInfo>, now: Now) {
        let reason = error.unwrap_or_else(|| ErrorInfo::new(80000, 400, "refused by the service"));
        match self.link.now.state {
            ConnectionState::Connecting if reason.is_token_error() => {
                self.token_refused(reason, now);
            }
            ConnectionState::Connecting | ConnectionState::Connected => self.fail(reason, now),
            ConnectionState::Closing => {
                self.drop_transport();
                self.finish_close(now);
            }
            _ => {}
        }
    }

    /// Anything came from the server (RTN23a, RTN23b).
    pub(super) fn heard(&mut self, id: TransportId, now: Now) -> bool {
        let current = id == self.link.transport && self.link.open;
        if current {
            self.link.heard_at = now.mono;
        }
        current
    }

    /// The reader rests because nobody takes what it reads: silence proves nothing meanwhile, and
    /// what the server is to answer is waited for anew.
    pub(super) fn pardon_silence(&mut self, now: Now) {
        let until = now.mono + self.settings.timing.request;
        self.link.heard_at = now.mono;
        self.pardoned_at = now.mono;
        if let Some(at) = &mut self.link.round.until {
            *at = (*at).max(until);
        }
        self.commands.wait_until(until);
        self.registry.wait_until(until);
    }

    /// Drops a transport that no longer answers, and reconnects.
    pub(super) fn give_up_transport(&mut self, text: &str, now: Now) {
        self.connection_lost(ErrorInfo::new(80003, 408, text), now);
    }

    /// Deadlines of the connection.
    pub(super) fn link_timeouts(&mut self, now: Now) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now.mono);
        if let Some(Closing::Waiting { until }) = self.link.closing
            && self.link.now.state == ConnectionState::Closing
            && until <= now.mono
        {
            self.finish_close(now);
            return;
        }
        if let Some((_, until)) = self.link.renewal
            && until <= now.mono
        {
            let text = "the token source did not answer in time".to_owned();
            let fault = TokenFault {
                forbidden: false,
                text,
            };
            self.renewal_failed(&fault, now);
        }
        match self.link.now.state {
            ConnectionState::Connecting if due(self.link.round.until) => self.attempt_late(now),
            ConnectionState::Connected => {
                if due(self.link.idle_at(self.settings.timing.request)) {
                    self.give_up_transport("nothing was heard from the service for too long", now);
                } else if due(self.link.token_renew_at) {
                    self.renew_token(now);
                }
            }
            ConnectionState::Disconnected if due(self.link.suspend_at) => self.suspend(None, now),
            ConnectionState::Disconnected | ConnectionState::Suspended
                if due(self.link.retry_at) =>
            {
                self.begin_round(now);
            }
            ConnectionState::Failed if due(self.link.retry_at) => self.connect(now),
            _ => {}
        }
    }
}
