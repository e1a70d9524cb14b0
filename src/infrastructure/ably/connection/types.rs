//! What goes into the machine and what comes out.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::super::data::Data;
use super::super::endpoint::Hosts;
use super::super::frame::{ErrorInfo, Message, ProtocolMessage};
use crate::domain::gateway::StreamPlace;
use crate::util::secret::Secret;

pub use super::ledger::{Publish, PublishKind};

/// How we log in.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// An API key: basic authentication, nothing to renew.
    Key(Secret),
    /// Tokens, asked for by [`Output::FetchToken`].
    Tokens,
}

/// Whether a message must not wait behind others (a stop). Called on the Ably thread: must be
/// quick.
pub type Urgent = Arc<dyn Fn(&Message) -> bool + Send + Sync>;

/// What the machine is told once.
#[derive(Clone)]
pub struct Settings {
    /// Our identity.
    pub client_id: String,
    /// How we log in.
    pub credentials: Credentials,
    /// Where to.
    pub hosts: Hosts,
    /// The channel whose messages are delivered.
    pub commands: String,
    /// The channel whose presence we enter.
    pub registry: String,
    /// `name/version`, told to the server (RSC7d).
    pub agent: String,
    /// Which messages pass while others are held.
    pub urgent: Urgent,
    /// Durations.
    pub timing: Timing,
    /// Of the jitter and the order of fallback hosts.
    pub seed: u64,
}

/// Durations. [`Timing::default`] has the protocol's and the contract's; tests shorten them.
#[derive(Debug, Clone)]
pub struct Timing {
    /// Connect, ATTACH, DETACH, ping, token (TO3l11).
    pub request: Duration,
    /// Base of the retry delay while DISCONNECTED (TO3l1).
    pub disconnected_retry: Duration,
    /// Between tries while SUSPENDED (TO3l2).
    pub suspended_retry: Duration,
    /// Base of the retry delay of a channel (TO3l7).
    pub channel_retry: Duration,
    /// First delay after FAILED; doubles.
    pub failed_retry: Duration,
    /// Longest delay after FAILED.
    pub failed_retry_max: Duration,
    /// Until the server says otherwise (DF1a).
    pub state_ttl: Duration,
    /// For LEAVE, and again for CLOSE.
    pub close_step: Duration,
    /// A backlog without a message for this long is in.
    pub backlog_quiet: Duration,
    /// A backlog is in after this long at the latest.
    pub backlog_limit: Duration,
    /// No command is held longer than this.
    pub hold_limit: Duration,
    /// A stranger under our client id for longer than this is a clone.
    pub clone_after: Duration,
    /// A publish without an answer for longer than this: the transport is given up.
    pub ack_patience: Duration,
    /// Between pings while the link is watched.
    pub watch_interval: Duration,
    /// A ping without an answer for this long: the link counts as lost.
    pub watch_patience: Duration,
    /// Between askings of the server's time within one connection.
    pub clock_refresh: Duration,
    /// Tokens are fetched at most this often.
    pub token_gap: Duration,
    /// For so long after a rewind, what comes may be what was stored.
    pub rewind_doubt: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            request: Duration::from_secs(10),
            disconnected_retry: Duration::from_secs(15),
            suspended_retry: Duration::from_secs(30),
            channel_retry: Duration::from_secs(15),
            failed_retry: Duration::from_secs(60),
            failed_retry_max: Duration::from_secs(300),
            state_ttl: Duration::from_secs(120),
            close_step: Duration::from_secs(2),
            backlog_quiet: Duration::from_secs(1),
            backlog_limit: Duration::from_secs(5),
            hold_limit: Duration::from_secs(30),
            clone_after: Duration::from_secs(60),
            ack_patience: Duration::from_secs(60),
            watch_interval: Duration::from_secs(2),
            watch_patience: Duration::from_secs(3),
            clock_refresh: Duration::from_secs(3600),
            token_gap: Duration::from_secs(10),
            rewind_doubt: Duration::from_secs(120),
        }
    }
}

/// One transport. What an older one still reports is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransportId(pub u64);

/// One request to the outside (token, connectivity, time); an answer to an older one is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId(pub u64);

/// Why a transport failed or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The name does not resolve.
    Resolve,
    /// Refused, unreachable, reset before the upgrade.
    Connect,
    /// No answer in time.
    Timeout,
    /// TLS was refused, by either side.
    Tls,
    /// An HTTP answer other than 101.
    Http {
        status: u16,
        /// Whether it came from `CloudFront`.
        cloudfront: bool,
    },
    /// Closed or reset after the upgrade.
    Closed,
    /// What came was no websocket, or too large.
    Protocol,
}

impl FaultKind {
    /// Whether another host may do better (RSC15l, RTN17f).
    pub fn wants_fallback(self) -> bool {
        match self {
            Self::Resolve | Self::Connect | Self::Timeout => true,
            Self::Http { status, cloudfront } => {
                (500..=504).contains(&status) || (cloudfront && status >= 400)
            }
            Self::Tls | Self::Closed | Self::Protocol => false,
        }
    }
}

/// A kind and its words; the words carry no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransportFault {
    /// What kind.
    pub kind: FaultKind,
    /// What happened, for people.
    pub text: String,
}

/// A token with what is known of its life.
#[derive(Debug, Clone)]
pub struct Token {
    /// The token, opaque.
    pub value: Secret,
    /// How long it lives from now on; `None` = it does not say.
    pub lifetime: Option<Duration>,
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFault {
    /// The source said no for good (HTTP 403, RSA4d).
    pub forbidden: bool,
    /// What happened, for people; no secret in it.
    pub text: String,
}

/// The server's clock, as asked over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeAnswer {
    /// Its milliseconds since the epoch.
    pub server_ms: i64,
    /// When the answer came.
    pub at: Instant,
    /// How long the asking took.
    pub round_trip: Duration,
}

/// Why a publish was not, or will not be, taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Larger than the service takes (40009, local).
    #[error("message of {size} bytes is over the limit of {max} bytes (40009)")]
    TooLarge {
        /// Its size, as the service counts it.
        size: usize,
        /// What is allowed now.
        max: usize,
    },
    /// Too much waits already.
    #[error("too many results wait for the cloud")]
    Full,
    /// The service said no, and will again.
    #[error("refused by the service: {0}")]
    Refused(ErrorInfo),
    /// The client has ended.
    #[error("the Ably client has ended")]
    Ended,
}

impl Refusal {
    /// Whether something smaller might be taken.
    pub fn is_for_size(&self) -> bool {
        /// Maximum message length exceeded.
        const TOO_LONG: u32 = 40009;
        match self {
            Self::TooLarge { .. } => true,
            Self::Refused(error) => error.code == TOO_LONG,
            Self::Full | Self::Ended => false,
        }
    }
}

/// What happens to the machine.
#[derive(Debug)]
pub enum Input {
    /// Begin (RTN11).
    Connect,
    /// The websocket upgrade is done.
    Opened(TransportId),
    /// A transport failed before or ended after its upgrade.
    Lost(TransportId, TransportFault),
    /// A frame came.
    Frame(TransportId, Box<ProtocolMessage>),
    /// Something else came: a websocket ping, a frame that could not be read (RTN23b).
    Activity(TransportId),
    /// A deadline may have passed.
    Timeout,
    /// Something to publish.
    Publish(Publish),
    /// What our presence says, from now on.
    PresenceData(Data),
    /// Whether the loss of the link must be noticed within seconds.
    WatchLink(bool),
    /// Ask the server for a sign of life (RTN13).
    Ping,
    /// Answer to [`Output::FetchToken`].
    Token(RequestId, Result<Token, TokenFault>),
    /// Answer to [`Output::CheckConnectivity`].
    Connectivity(RequestId, bool),
    /// Answer to [`Output::FetchTime`].
    ServerTime(RequestId, Option<TimeAnswer>),
    /// Leave, close, end.
    Close,
}

/// What the world must do or know.
#[derive(Debug)]
pub enum Output {
    /// Open a websocket; report [`Input::Opened`] or [`Input::Lost`].
    OpenTransport {
        /// Its number.
        transport: TransportId,
        /// Host name, also for `Host` and SNI.
        host: String,
        /// Path and query; holds the key.
        path: Secret,
    },
    /// Send a frame on a transport that is open.
    Send(TransportId, Box<ProtocolMessage>),
    /// Close a transport; nothing of it is of interest any more.
    CloseTransport(TransportId),
    /// A message of the command channel, once.
    Deliver(Box<Delivery>),
    /// The connection changed its state.
    Connection(StateChange<ConnectionState>),
    /// A channel changed its state.
    Channel(String, StateChange<ChannelState>),
    /// Messages of the command channel may have been lost.
    ContinuityLost {
        /// Whether what is still stored is being fetched.
        rewinding: bool,
        /// What the server said.
        reason: Option<ErrorInfo>,
    },
    /// A publish arrived.
    Acked(String),
    /// A publish is given up.
    Refused {
        id: String,
        channel: String,
        why: Refusal,
        /// A kept one that was too large, with its place: an error may go in its stead.
        kept: Option<Box<Publish>>,
    },
    /// Our presence was refused; it is tried again (RTP17e, 91004).
    PresenceRefused(ErrorInfo),
    /// Ask the connectivity check URL (RTN17j).
    CheckConnectivity(RequestId),
    /// Fetch a token. A TokenRequest is to be exchanged at `host` (RTN17e).
    FetchToken(RequestId, String),
    /// Ask `host` for its time.
    FetchTime(RequestId, String),
    /// The answer to [`Input::Ping`], and how long it took.
    PingAnswered(Duration),
    /// No answer to [`Input::Ping`].
    PingLost,
    /// The watched link is gone.
    LinkLost,
    /// Somebody else uses our client id, or no longer does.
    ClonedMachineId(bool),
    /// Worth a log line.
    Note(String),
    /// Closed, as asked; the machine rests.
    Ended,
}

/// States of the connection (RTN4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionState {
    /// Not asked yet.
    Initialized,
    /// On its way.
    Connecting,
    /// Up.
    Connected,
    /// Down, tried again soon.
    Disconnected,
    /// Down for long, tried again at intervals.
    Suspended,
    /// CLOSE is sent.
    Closing,
    /// Closed by us.
    Closed,
    /// Refused; tried again slowly.
    Failed,
}

impl ConnectionState {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Initialized,
        Self::Connecting,
        Self::Connected,
        Self::Disconnected,
        Self::Suspended,
        Self::Closing,
        Self::Closed,
        Self::Failed,
    ];

    /// Its name in the specification.
    pub fn name(self) -> &'static str {
        match self {
            Self::Initialized => "INITIALIZED",
            Self::Connecting => "CONNECTING",
            Self::Connected => "CONNECTED",
            Self::Disconnected => "DISCONNECTED",
            Self::Suspended => "SUSPENDED",
            Self::Closing => "CLOSING",
            Self::Closed => "CLOSED",
            Self::Failed => "FAILED",
        }
    }
}

/// States of a channel (RTL2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelState {
    /// Not asked yet.
    Initialized,
    /// ATTACH is sent, or waits for the connection.
    Attaching,
    Attached,
    /// DETACH is sent.
    Detaching,
    Detached,
    /// Could not attach; tried again.
    Suspended,
    /// Refused; tried again slowly.
    Failed,
}

impl ChannelState {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Initialized,
        Self::Attaching,
        Self::Attached,
        Self::Detaching,
        Self::Detached,
        Self::Suspended,
        Self::Failed,
    ];

    /// Its name in the specification.
    pub fn name(self) -> &'static str {
        match self {
            Self::Initialized => "INITIALIZED",
            Self::Attaching => "ATTACHING",
            Self::Attached => "ATTACHED",
            Self::Detaching => "DETACHING",
            Self::Detached => "DETACHED",
            Self::Suspended => "SUSPENDED",
            Self::Failed => "FAILED",
        }
    }
}

/// A state with its history (TH).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange<S> {
    pub state: S,
    /// Since when.
    pub since: SystemTime,
    /// Why, if there is something to say.
    pub reason: Option<ErrorInfo>,
    /// Of a channel that became attached: nothing was lost (RTL2f).
    pub resumed: bool,
}

/// A message of the command channel, delivered once.
#[derive(Clone, PartialEq)]
pub struct Delivery {
    /// The message; its id is stable across redelivery.
    pub message: Message,
    /// It was stored while we were away, or may have been.
    pub replayed: bool,
    /// Where it stands in the stream. Of one that was held back until a rewound backlog was in:
    /// an urgent message that was made after it may have been delivered before it.
    pub place: StreamPlace,
    /// When we got it.
    pub received: Instant,
    /// How old it was then by the server's clock; `None` while that is not known.
    pub age_when_received: Option<Duration>,
}

impl Delivery {
    /// How old it is by the server's clock.
    pub fn age(&self, now: Instant) -> Option<Duration> {
        let since = now.saturating_duration_since(self.received);
        self.age_when_received.map(|age| age.saturating_add(since))
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("id", &self.message.id)
            .field("name", &self.message.name)
            .field("replayed", &self.replayed)
            .field("age", &self.age_when_received)
            .finish_non_exhaustive()
    }
}

/// How the client is doing, for health, metrics and people.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    pub connection: StateChange<ConnectionState>,
    pub commands: StateChange<ChannelState>,
    pub registry: StateChange<ChannelState>,
    /// Host of the transport there is, or was last.
    pub host: String,
    /// Tries since the connection was up.
    pub retries: u32,
    /// Times the connection came up.
    pub connects: u64,
    /// Whether our presence is known to be entered.
    pub present: bool,
    /// Somebody else uses our client id.
    pub cloned: bool,
    /// Kept publishes that are not acknowledged.
    pub results_waiting: usize,
    /// Their bytes.
    pub result_bytes: usize,
    /// Every publish that waits or is not acknowledged.
    pub publishes_waiting: usize,
    /// Events that were dropped for want of room.
    pub events_dropped: u64,
    /// Commands held until a rewound backlog is in.
    pub commands_held: usize,
    /// Times that continuity was lost.
    pub continuity_lost: u64,
    /// What a publish may have now.
    pub max_message_size: usize,
}
