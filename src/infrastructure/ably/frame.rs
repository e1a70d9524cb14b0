//! Protocol messages ↔ JSON text (TR, TM, TP, TI). No state.
//!
//! Reading is tolerant: unknown fields and actions are ignored (RTF1, RSF1), `null` is absent, and
//! a field of the wrong type counts as absent and is noted in [`ProtocolMessage::defects`]; only a
//! text that is no JSON object with an `action` is refused. Nothing in here panics, whatever the
//! text, and no `Debug` shows payloads, keys or tokens.

mod read;
#[cfg(test)]
mod tests;

use std::fmt;

use serde_json::{Map, Value};

use super::data::{Data, Encoded};
use crate::util::secret::Secret;

/// ATTACHED: a SYNC follows (TR3).
pub const HAS_PRESENCE: u64 = 1;
/// ATTACHED: stored messages follow (TR3).
pub const HAS_BACKLOG: u64 = 1 << 1;
/// ATTACHED: no message was lost since the given serial (TR3).
pub const RESUMED: u64 = 1 << 2;
/// Channel mode: may enter presence (TR3).
pub const PRESENCE: u64 = 1 << 16;
/// Channel mode: receives messages (TR3).
pub const SUBSCRIBE: u64 = 1 << 18;
/// Channel mode: receives the presence of others (TR3).
pub const PRESENCE_SUBSCRIBE: u64 = 1 << 19;

macro_rules! numbered {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $number:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
            /// A number this version does not know.
            Other(u64),
        }

        impl $name {
            /// The number on the wire.
            pub fn number(self) -> u64 {
                match self { $(Self::$variant => $number,)* Self::Other(number) => number }
            }

            /// The name of a number; every number has one.
            pub fn of(number: u64) -> Self {
                match number { $($number => Self::$variant,)* other => Self::Other(other) }
            }
        }
    };
}

numbered! {
    /// What a protocol message is (TR2).
    Action {
        /// Keep-alive; with an id a ping or its reply.
        Heartbeat = 0,
        /// Publishes accepted.
        Ack = 1,
        /// Publishes refused.
        Nack = 2,
        /// Connection ready, or its details changed.
        Connected = 4,
        /// The transport is about to go; the state is kept.
        Disconnected = 6,
        /// End the connection and its state.
        Close = 7,
        /// Reply to CLOSE.
        Closed = 8,
        /// Fatal: for a channel if there is one, else for the connection.
        Error = 9,
        /// Attach a channel.
        Attach = 10,
        /// A channel is attached.
        Attached = 11,
        /// Detach a channel.
        Detach = 12,
        /// A channel is detached.
        Detached = 13,
        /// Presence operations and events.
        Presence = 14,
        Message = 15,
        /// A page of a presence set.
        Sync = 16,
        /// A new token, or the wish for one.
        Auth = 17,
    }
}

numbered! {
    /// What a presence entry says (TP2).
    PresenceAction {
        /// Not there.
        Absent = 0,
        /// Was there already.
        Present = 1,
        /// Came.
        Enter = 2,
        /// Went.
        Leave = 3,
        /// Changed its data.
        Update = 4,
    }
}

/// What Ably, or we ourselves, say went wrong (TI1).
#[derive(Clone, PartialEq, Eq)]
pub struct ErrorInfo {
    /// Ably's code, 5 digits.
    pub code: u32,
    /// The HTTP status that goes with it.
    pub status: u16,
    /// For people. Already masked.
    pub message: String,
}

impl ErrorInfo {
    /// An error of our own. `message` must carry no secret.
    pub fn new(code: u32, status: u16, message: impl Into<String>) -> Self {
        Self {
            code,
            status,
            message: message.into(),
        }
    }

    /// Whether a new token would mend it (RSA4b).
    pub fn is_token_error(&self) -> bool {
        self.status == 401 && (40140..=40149).contains(&self.code)
    }

    /// Whether the server itself is in trouble: another try may succeed.
    pub fn is_server_error(&self) -> bool {
        (500..=504).contains(&self.status)
    }

    /// Whether it says "slow down".
    pub fn is_rate_limit(&self) -> bool {
        self.status == 429 || (42900..43000).contains(&self.code)
    }
}

impl fmt::Display for ErrorInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() {
            write!(f, "code {}", self.code)
        } else {
            write!(f, "{} ({})", self.message, self.code)
        }
    }
}

impl fmt::Debug for ErrorInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for ErrorInfo {}

/// CONNECTED's details (CD2). Absent = the server says nothing about it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConnectionDetails {
    /// The identity the server accepted; `*` = any.
    pub client_id: Option<String>,
    /// What the next `resume` carries.
    pub connection_key: Option<Secret>,
    /// Bytes a publish may have.
    pub max_message_size: Option<u64>,
    /// Publishes a second that are taken.
    pub max_inbound_rate: Option<u64>,
    /// Milliseconds the server keeps the state of a lost connection.
    pub connection_state_ttl: Option<u64>,
    /// Milliseconds the server is silent at most; 0 = no promise.
    pub max_idle_interval: Option<u64>,
}

/// One message (TM2), as received: `id`, `connection_id` and `timestamp` filled in from the frame.
#[derive(Clone, Default, PartialEq)]
pub struct Message {
    /// Stable across redelivery: its own, else `<frame id>:<index>` (TM2a).
    pub id: Option<String>,
    /// What kind of message, for the subscriber.
    pub name: Option<String>,
    /// The payload, decoded as far as possible.
    pub data: Data,
    /// Steps of `encoding` that could not be undone.
    pub encoding: Option<String>,
    /// Who published it.
    pub client_id: Option<String>,
    /// The publisher's connection.
    pub connection_id: Option<String>,
    /// When the server took it, in its milliseconds since the epoch.
    pub timestamp: Option<i64>,
    /// 0 = created; others change earlier messages (TM5).
    pub action: u64,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("data", &self.data)
            .field("timestamp", &self.timestamp)
            .finish_non_exhaustive()
    }
}

/// One presence entry (TP3), as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceEntry {
    /// What happened.
    pub action: PresenceAction,
    /// Its own, else `<frame id>:<index>`.
    pub id: Option<String>,
    /// Who.
    pub client_id: Option<String>,
    /// On which connection.
    pub connection_id: Option<String>,
    /// When, in the server's milliseconds.
    pub timestamp: Option<i64>,
}

/// One publish, as sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Makes it idempotent.
    pub id: Option<String>,
    pub name: Option<String>,
    /// Its payload.
    pub data: Encoded,
}

/// One presence operation, as sent. Without clientId: the connection's applies (RTP8c).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceOp {
    /// ENTER, UPDATE or LEAVE.
    pub action: PresenceAction,
    /// Its payload.
    pub data: Encoded,
}

/// One protocol message (TR4). What is received and what is sent have their own lists: a message
/// sent must not carry what only the server may say.
#[derive(Clone, PartialEq)]
pub struct ProtocolMessage {
    /// What it is.
    pub action: Action,
    /// Frame id; of a HEARTBEAT, the ping's.
    pub id: Option<String>,
    /// The channel it is about.
    pub channel: Option<String>,
    /// Position in the channel; of a SYNC, the page cursor.
    pub channel_serial: Option<String>,
    /// Public id of a connection.
    pub connection_id: Option<String>,
    /// CONNECTED only.
    pub details: Option<ConnectionDetails>,
    /// Number of a publish on its connection.
    pub msg_serial: Option<u64>,
    /// How many publishes an ACK or NACK covers.
    pub count: Option<u64>,
    /// What went wrong.
    pub error: Option<ErrorInfo>,
    /// Bit mask (TR3).
    pub flags: u64,
    /// The server's milliseconds since the epoch.
    pub timestamp: Option<i64>,
    /// MESSAGE, received.
    pub messages: Vec<Message>,
    /// PRESENCE and SYNC, received.
    pub presence: Vec<PresenceEntry>,
    /// ATTACH: channel parameters.
    pub params: Vec<(&'static str, String)>,
    /// AUTH: the token.
    pub access_token: Option<Secret>,
    /// MESSAGE, to be sent.
    pub publish: Option<Outgoing>,
    /// PRESENCE, to be sent.
    pub presence_op: Option<PresenceOp>,
    /// Fields that had the wrong type and were taken as absent.
    pub defects: u32,
}

/// Why a text is no protocol message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// No JSON, or JSON nested too deep.
    #[error("it is no JSON")]
    NotJson,
    /// JSON, but no object.
    #[error("it is no JSON object")]
    NotAnObject,
    /// No number where the action should be.
    #[error("it has no action number")]
    NoAction,
}

impl ProtocolMessage {
    /// An empty message of that kind.
    pub fn new(action: Action) -> Self {
        Self {
            action,
            id: None,
            channel: None,
            channel_serial: None,
            connection_id: None,
            details: None,
            msg_serial: None,
            count: None,
            error: None,
            flags: 0,
            timestamp: None,
            messages: Vec::new(),
            presence: Vec::new(),
            params: Vec::new(),
            access_token: None,
            publish: None,
            presence_op: None,
            defects: 0,
        }
    }

    /// An empty message of that kind about a channel.
    pub fn on(action: Action, channel: &str) -> Self {
        Self {
            channel: Some(channel.to_owned()),
            ..Self::new(action)
        }
    }

    /// Whether a flag is set.
    pub fn has(&self, flag: u64) -> bool {
        self.flags & flag != 0
    }

    /// The text to send. What only the server says (`connectionId`, `timestamp`, …) is not in it.
    pub fn to_text(&self) -> String {
        let mut map = Map::new();
        map.insert("action".into(), self.action.number().into());
        put(&mut map, "id", self.id.as_deref());
        put(&mut map, "channel", self.channel.as_deref());
        put(&mut map, "channelSerial", self.channel_serial.as_deref());
        if let Some(serial) = self.msg_serial {
            map.insert("msgSerial".into(), serial.into());
        }
        if self.flags != 0 {
            map.insert("flags".into(), self.flags.into());
        }
        if !self.params.is_empty() {
            let params: Map<String, Value> = self
                .params
                .iter()
                .map(|(key, value)| ((*key).to_owned(), value.clone().into()))
                .collect();
            map.insert("params".into(), Value::Object(params));
        }
        if let Some(token) = &self.access_token {
            let mut auth = Map::new();
            put(&mut auth, "accessToken", Some(token.expose()));
            map.insert("auth".into(), Value::Object(auth));
        }
        if let Some(publish) = &self.publish {
            let mut message = Map::new();
            put(&mut message, "id", publish.id.as_deref());
            put(&mut message, "name", publish.name.as_deref());
            put_data(&mut message, &publish.data);
            map.insert("messages".into(), Value::Array(vec![message.into()]));
        }
        if let Some(op) = &self.presence_op {
            let mut entry = Map::new();
            entry.insert("action".into(), op.action.number().into());
            put_data(&mut entry, &op.data);
            map.insert("presence".into(), Value::Array(vec![entry.into()]));
        }
        Value::Object(map).to_string()
    }
}

impl fmt::Debug for ProtocolMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProtocolMessage")
            .field("action", &self.action)
            .field("channel", &self.channel)
            .field("serial", &self.channel_serial)
            .field("msg_serial", &self.msg_serial)
            .field("count", &self.count)
            .field("flags", &self.flags)
            .field("error", &self.error)
            .field("messages", &self.messages)
            .field("presence", &self.presence)
            .field("publish", &self.publish)
            .finish_non_exhaustive()
    }
}

/// Bytes of a publish that count towards `maxMessageSize` (TM6): name and data. There is no
/// clientId and there are no extras in what we send.
pub fn message_size(name: &str, data: &Encoded) -> usize {
    name.len().saturating_add(data.size)
}

fn put(map: &mut Map<String, Value>, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        map.insert(key.to_owned(), Value::from(value));
    }
}

fn put_data(map: &mut Map<String, Value>, data: &Encoded) {
    put(map, "data", data.data.as_deref());
    put(map, "encoding", data.encoding);
}
