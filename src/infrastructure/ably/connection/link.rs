//! The connection (RTN): how it comes about (the primary host, then, for faults that another host
//! may not have, a connectivity check and some fallbacks; RTN17), each attempt within its time
//! (RTN14c); its tokens, fetched before a connect, renewed within a connection, replaced when
//! refused (RSA4, RTN14b, RTN15h, RTN22); its liveness; its orderly end, LEAVE, CLOSE, CLOSED
//! (RTN12), each waited for, none for ever.

use std::time::{Duration, Instant};

use super::super::endpoint::{Login, MAX_FALLBACKS, connect_path};
use super::super::frame::{Action, ConnectionDetails, ErrorInfo, ProtocolMessage};
use super::retry::{delay, doubling};
use super::types::{
    ConnectionState, Credentials, FaultKind, Output, RequestId, StateChange, Token, TokenFault,
    TransportFault, TransportId,
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
/// No duration the server names is taken for longer than this.
const MAX_MS: u64 = 24 * 3600 * 1000;
/// No token is believed to live longer.
const LONGEST_LIFE: Duration = Duration::from_secs(400 * 24 * 3600);

/// One series of attempts: the primary host, then fallbacks.
#[derive(Default)]
struct Round {
    step: Step,
    pub(super) until: Option<Instant>,
    /// Fallbacks that are left; `None` = not drawn yet.
    fallbacks: Option<Vec<String>>,
    /// A token was renewed in this round already.
    renewed: bool,
    /// The transport that is being opened carries `resume`.
    resuming: bool,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Step {
    #[default]
    None,
    Token(RequestId),
    /// A token is needed, and was asked for just now: not before then again.
    TokenDue(Instant),
    Check(RequestId),
    Transport,
}

/// How far a close has got.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Closing {
    /// LEAVE and the last publishes are under way.
    Leaving { until: Instant },
    /// CLOSE is sent, or waits for CONNECTED.
    Waiting { until: Instant },
}

impl Closing {
    pub(super) fn until(self) -> Instant {
        match self {
            Self::Leaving { until } | Self::Waiting { until } => until,
        }
    }
}

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
    round: Round,
    /// When the next round begins (DISCONNECTED, SUSPENDED, FAILED).
    pub(super) retry_at: Option<Instant>,
    /// The next round begins with a fallback (RTN17f1).
    skip_primary: bool,
    /// A token error ended the connection: the next round begins with a new token, its one
    /// renewal (RTN15h2).
    token_refused: bool,
    /// When DISCONNECTED becomes SUSPENDED (RTN14e).
    pub(super) suspend_at: Option<Instant>,
    backoff: u32,
    failures: u32,
    immediate_at: Option<Instant>,
    quick: u32,
    pub(super) token: Option<Token>,
    /// When it must be renewed, and when it is no longer worth trying.
    token_renew_at: Option<Instant>,
    token_ends_at: Option<Instant>,
    /// When the source was last asked.
    token_asked: Option<Instant>,
    /// A lifetime that can't be meant, and has been said.
    odd_lifetime: Option<Duration>,
    renewal: Option<(RequestId, Instant)>,
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

    fn drop_transport(&mut self) {
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
    fn suspend(&mut self, reason: Option<ErrorInfo>, now: Now) {
        self.link.backoff = 0;
        self.link.suspend_at = None;
        self.link.retry_at = Some(now.mono + self.settings.timing.suspended_retry);
        let reason = reason.or_else(|| Some(ErrorInfo::new(80002, 400, "connection suspended")));
        self.channels_follow(ConnectionState::Suspended, reason.as_ref(), now);
        self.enter(ConnectionState::Suspended, reason, now);
    }

    /// The connection was up and is gone: reconnect at once, with resume (RTN15a).
    fn connection_lost(&mut self, reason: ErrorInfo, now: Now) {
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

    fn forget_connection(&mut self) {
        if let Some(over) = self.link.id.take() {
            self.presence.connection_over(over);
        }
        self.link.key = None;
        self.link.renewal = None;
        self.link.backoff = 0;
        self.outbox.reset();
    }

    fn forget_token(&mut self) {
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

    // How it comes about.

    fn begin_round(&mut self, now: Now) {
        self.link.retry_at = None;
        self.link.round = Round {
            renewed: std::mem::take(&mut self.link.token_refused),
            ..Round::default()
        };
        self.link.retries = self.link.retries.saturating_add(1);
        self.enter(ConnectionState::Connecting, None, now);
        if std::mem::take(&mut self.link.skip_primary) {
            let reason = ErrorInfo::new(80000, 400, "the service asked for another host");
            self.next_host(reason, now);
        } else {
            let host = self.settings.hosts.primary.clone();
            self.open(host, now);
        }
    }

    /// Opens a transport; asks for a token first if one is needed.
    pub(super) fn open(&mut self, host: String, now: Now) {
        let until = now.mono + self.settings.timing.request;
        self.link.round.until = Some(until);
        self.link.host.clone_from(&host);
        if self.link.token_ends_at.is_some_and(|at| at <= now.mono) {
            self.forget_token();
        }
        let login = match (&self.settings.credentials, &self.link.token) {
            (Credentials::Key(key), _) => Login::Key(key),
            (Credentials::Tokens, Some(token)) => Login::Token(&token.value),
            (Credentials::Tokens, None) => {
                let due = self.token_due(now.mono);
                if due > now.mono {
                    self.link.round.step = Step::TokenDue(due);
                    self.link.round.until = Some(due);
                } else {
                    let id = self.request_id();
                    self.link.round.step = Step::Token(id);
                    self.link.token_asked = Some(now.mono);
                    self.out.push(Output::FetchToken(id, host));
                }
                return;
            }
        };
        // Always, however long the outage (RTN14h).
        let resume = self.link.key.as_ref();
        let path = connect_path(
            login,
            &self.settings.client_id,
            &self.settings.agent,
            resume,
        );
        self.link.round.resuming = resume.is_some();
        self.link.round.step = Step::Transport;
        self.link.transport = TransportId(self.link.transport.0 + 1);
        self.link.open = true;
        self.out.push(Output::OpenTransport {
            transport: self.link.transport,
            host,
            path,
        });
    }

    fn attempt_failed(&mut self, reason: ErrorInfo, try_another: bool, now: Now) {
        self.drop_transport();
        if try_another {
            self.next_host(reason, now);
        } else {
            self.round_failed(reason, now);
        }
    }

    /// A fallback, after the connectivity check (RTN17j).
    fn next_host(&mut self, reason: ErrorInfo, now: Now) {
        if self.settings.hosts.fallbacks.is_empty() {
            // RTN17g; and RTN17f1 with nowhere else to go.
            if self.link.round.step == Step::None {
                let host = self.settings.hosts.primary.clone();
                self.open(host, now);
            } else {
                self.round_failed(reason, now);
            }
            return;
        }
        let Some(left) = &mut self.link.round.fallbacks else {
            let id = self.request_id();
            self.link.round.step = Step::Check(id);
            self.link.round.until = Some(now.mono + self.settings.timing.request);
            self.link.now.reason = Some(reason);
            self.out.push(Output::CheckConnectivity(id));
            return;
        };
        match left.pop() {
            Some(host) => self.open(host, now),
            None => self.round_failed(reason, now),
        }
    }

    /// The answer of the connectivity check.
    pub(super) fn on_connectivity(&mut self, id: RequestId, up: bool, now: Now) {
        if self.link.round.step != Step::Check(id) || !self.is_connecting() {
            return;
        }
        let reason = self.link.now.reason.clone();
        let reason = reason.unwrap_or_else(|| ErrorInfo::new(80000, 400, "connection failed"));
        if up {
            let mut hosts = self.settings.hosts.fallbacks.clone();
            self.rng.shuffle(&mut hosts);
            hosts.truncate(MAX_FALLBACKS);
            self.link.round.fallbacks = Some(hosts);
            self.next_host(reason, now);
        } else {
            let text = format!("no way to the internet; {}", reason.message);
            self.round_failed(ErrorInfo::new(80000, 400, text), now);
        }
    }

    fn is_connecting(&self) -> bool {
        self.link.now.state == ConnectionState::Connecting
    }

    /// No host could be reached: wait, and try again.
    fn round_failed(&mut self, reason: ErrorInfo, now: Now) {
        self.drop_transport();
        if self.link.closing.is_some() {
            self.finish_close(now);
            return;
        }
        if self.link.suspend_at.is_none_or(|at| at <= now.mono) {
            self.suspend(Some(reason), now);
            return;
        }
        self.link.backoff = self.link.backoff.saturating_add(1);
        let base = self.settings.timing.disconnected_retry;
        let wait = delay(base, self.link.backoff, &mut self.rng);
        self.link.retry_at = Some(now.mono + wait);
        self.enter(ConnectionState::Disconnected, Some(reason), now);
    }

    fn attempt_late(&mut self, now: Now) {
        match self.link.round.step {
            Step::Token(_) => {
                let text = "the token source did not answer in time".to_owned();
                self.no_token(
                    &TokenFault {
                        forbidden: false,
                        text,
                    },
                    now,
                );
            }
            Step::TokenDue(_) => {
                let host = self.link.host.clone();
                self.open(host, now);
            }
            Step::Check(id) => self.on_connectivity(id, false, now),
            Step::Transport | Step::None => {
                let text = format!("{} did not connect us in time", self.link.host);
                self.attempt_failed(ErrorInfo::new(80014, 408, text), true, now);
            }
        }
    }

    // Its tokens. With an API key there is nothing to do here.

    /// A token was refused while connecting: renew it once, then wait (RTN14b, RSA4a2).
    fn token_refused(&mut self, reason: ErrorInfo, now: Now) {
        self.drop_transport();
        if matches!(self.settings.credentials, Credentials::Key(_)) {
            self.fail(not_renewable(&reason), now);
            return;
        }
        self.forget_token();
        if self.link.round.renewed {
            self.round_failed(reason, now);
        } else {
            self.link.round.renewed = true;
            let host = self.link.host.clone();
            self.open(host, now);
        }
    }

    /// The answer of the token source.
    pub(super) fn on_token(&mut self, id: RequestId, answer: Result<Token, TokenFault>, now: Now) {
        let connecting = self.is_connecting() && self.link.round.step == Step::Token(id);
        let renewing = self.link.renewal.is_some_and(|(asked, _)| asked == id);
        match answer {
            Ok(token) if connecting || renewing => {
                let plausible = self.plausible(token.lifetime);
                // Renewed a tenth of its life, at most a minute, before its end.
                let life = plausible.map(|l| l.min(Duration::from_millis(MAX_MS)));
                let early = |l: Duration| l.saturating_sub((l / 10).min(Duration::from_secs(60)));
                self.link.token_renew_at = life.map(|life| now.mono + early(life));
                self.link.token_ends_at = life.map(|life| now.mono + life);
                if connecting {
                    self.link.token = Some(token);
                    let host = self.link.host.clone();
                    self.open(host, now);
                } else {
                    self.link.renewal = None;
                    let mut auth = ProtocolMessage::new(Action::Auth);
                    auth.access_token = Some(token.value.clone());
                    self.link.token = Some(token);
                    self.send(auth);
                }
            }
            Err(fault) if connecting => self.no_token(&fault, now),
            Err(fault) if renewing => self.renewal_failed(&fault, now),
            _ => {}
        }
    }

    pub(super) fn no_token(&mut self, fault: &TokenFault, now: Now) {
        let text = format!("no token: {}", fault.text);
        if fault.forbidden {
            self.fail(ErrorInfo::new(80019, 403, text), now);
        } else {
            self.round_failed(ErrorInfo::new(80019, 401, text), now);
        }
    }

    /// The connection stays up with its old token (RSA4c), and the next try comes soon.
    fn renewal_failed(&mut self, fault: &TokenFault, now: Now) {
        if fault.forbidden {
            let text = format!("no token: {}", fault.text);
            self.fail(ErrorInfo::new(80019, 403, text), now);
            return;
        }
        self.link.renewal = None;
        self.link.token_renew_at = Some(now.mono + self.settings.timing.request);
        let text = format!("the token could not be renewed: {}", fault.text);
        self.out.push(Output::Note(text));
    }

    /// When the token source may be asked: a source whose tokens are refused at once, or have
    /// ended, must not be asked without a pause.
    fn token_due(&self, now: Instant) -> Instant {
        let gap = self.settings.timing.token_gap;
        let due = self.link.token_asked.map(|asked| asked + gap);
        due.map_or(now, |due| due.max(now))
    }

    /// A lifetime that can be meant. One that is over already, or before a renewal could be asked
    /// for, is ignored, and so is one of years: then the service says when a token has ended.
    fn plausible(&mut self, lifetime: Option<Duration>) -> Option<Duration> {
        let lifetime = lifetime?;
        let least = self.settings.timing.token_gap * 2;
        if (least..=LONGEST_LIFE).contains(&lifetime) {
            self.link.odd_lifetime = None;
            return Some(lifetime);
        }
        if self.link.odd_lifetime.replace(lifetime).is_none() {
            let text = format!(
                "the token source says that its token lives for {lifetime:?}: that can't be meant and is ignored"
            );
            self.out.push(Output::Note(text));
        }
        None
    }

    /// AUTH from the server, or our own timer: renew within the connection (RTN22).
    pub(super) fn renew_token(&mut self, now: Now) {
        self.link.token_renew_at = None;
        let renewable = matches!(self.settings.credentials, Credentials::Tokens);
        if !renewable || !self.is_connected() || self.link.renewal.is_some() {
            return;
        }
        let due = self.token_due(now.mono);
        if due > now.mono {
            self.link.token_renew_at = Some(due);
            return;
        }
        self.link.token_asked = Some(now.mono);
        let id = self.request_id();
        self.link.renewal = Some((id, now.mono + self.settings.timing.request));
        let host = self.link.host.clone();
        self.out.push(Output::FetchToken(id, host));
    }

    // Its end.

    /// LEAVE, CLOSE, end (RTN12).
    pub(super) fn close(&mut self, now: Now) {
        if self.link.closing.is_some() {
            return;
        }
        let until = now.mono + self.settings.timing.close_step;
        match self.link.now.state {
            ConnectionState::Connected => {
                self.link.closing = Some(Closing::Leaving { until });
                self.leave(now);
            }
            ConnectionState::Connecting if self.link.open => {
                self.link.closing = Some(Closing::Waiting { until });
                self.enter(ConnectionState::Closing, None, now);
            }
            _ => {
                self.link.closing = Some(Closing::Waiting { until });
                self.finish_close(now);
            }
        }
    }

    /// CLOSE, once everything that had to go first is gone or late.
    pub(super) fn close_when_ready(&mut self, ready: bool, now: Now) {
        let Some(Closing::Leaving { until }) = self.link.closing else {
            return;
        };
        if self.is_connected() && (ready || until <= now.mono) {
            let until = now.mono + self.settings.timing.close_step;
            self.link.closing = Some(Closing::Waiting { until });
            self.send(ProtocolMessage::new(Action::Close));
            self.enter(ConnectionState::Closing, None, now);
        }
    }

    /// CLOSED, asked for or not.
    pub(super) fn on_closed(&mut self, error: Option<ErrorInfo>, now: Now) {
        match self.link.now.state {
            ConnectionState::Closing => {
                self.drop_transport();
                self.finish_close(now);
            }
            // Nobody asked: its state is gone, ours goes on with a new connection.
            ConnectionState::Connected => {
                let reason =
                    error.unwrap_or_else(|| ErrorInfo::new(80017, 400, "closed by the service"));
                self.forget_connection();
                self.connection_lost(reason, now);
            }
            _ => {}
        }
    }

    fn finish_close(&mut self, now: Now) {
        self.drop_transport();
        self.forget_connection();
        self.channels_disconnected();
        self.channels_follow(ConnectionState::Closed, None, now);
        self.link.retry_at = None;
        self.link.suspend_at = None;
        self.enter(ConnectionState::Closed, None, now);
        self.link_left_connected();
        self.out.push(Output::Ended);
    }
}

fn not_renewable(reason: &ErrorInfo) -> ErrorInfo {
    let text = format!("{reason}, and there is no way to renew it");
    ErrorInfo::new(40171, 401, text)
}
