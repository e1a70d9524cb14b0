//! Reading frames: JSON text → [`ProtocolMessage`], taking what can be understood.

use serde_json::{Map, Value};

use super::{
    Action, ConnectionDetails, ErrorInfo, FrameError, Message, PresenceAction, PresenceEntry,
    ProtocolMessage,
};
use crate::infrastructure::ably::data::Data;
use crate::util::foreign;
use crate::util::secret::Secret;

impl ProtocolMessage {
    /// Reads one frame.
    pub fn parse(text: &str) -> Result<Self, FrameError> {
        let value: Value = serde_json::from_str(text).map_err(|_| FrameError::NotJson)?;
        let Value::Object(mut map) = value else {
            return Err(FrameError::NotAnObject);
        };
        let mut defects = 0;
        let d = &mut defects;
        let action = map.u64("action", d).ok_or(FrameError::NoAction)?;
        let mut out = Self::new(Action::of(action));
        out.id = map.text("id", d);
        out.channel = map.text("channel", d);
        out.channel_serial = map.text("channelSerial", d);
        out.connection_id = map.text("connectionId", d);
        out.msg_serial = map.u64("msgSerial", d);
        out.count = map.u64("count", d);
        out.flags = map.u64("flags", d).unwrap_or(0);
        out.timestamp = map.i64("timestamp", d);
        out.error = map.take("error").and_then(|v| ErrorInfo::parse(v, d));
        out.details = map
            .take("connectionDetails")
            .and_then(|v| parse_details(v, d));
        let messages = map.list("messages", d);
        let presence = map.list("presence", d);
        out.messages = out.filled(messages, d, parse_message, |m| {
            (&mut m.id, &mut m.connection_id, &mut m.timestamp)
        });
        out.presence = out.filled(presence, d, parse_presence, |p| {
            (&mut p.id, &mut p.connection_id, &mut p.timestamp)
        });
        out.defects = defects;
        Ok(out)
    }

    /// Entries of the frame, with what they leave to the frame filled in (TM2a, TM2c, TM2f, TP3).
    fn filled<T>(
        &self,
        values: Vec<Value>,
        defects: &mut u32,
        parse: impl Fn(Value, &mut u32) -> Option<T>,
        shared: impl Fn(&mut T) -> (&mut Option<String>, &mut Option<String>, &mut Option<i64>),
    ) -> Vec<T> {
        let mut out = Vec::with_capacity(values.len());
        for (index, value) in values.into_iter().enumerate() {
            let Some(mut entry) = parse(value, defects) else {
                continue;
            };
            let (id, connection_id, timestamp) = shared(&mut entry);
            if id.is_none() {
                *id = self.id.as_ref().map(|frame| format!("{frame}:{index}"));
            }
            if connection_id.is_none() {
                connection_id.clone_from(&self.connection_id);
            }
            *timestamp = timestamp.or(self.timestamp);
            out.push(entry);
        }
        out
    }
}

impl ErrorInfo {
    fn parse(value: Value, defects: &mut u32) -> Option<Self> {
        /// Longer texts are cut: they go into logs and REST answers.
        const MAX_TEXT: usize = 300;
        let mut map = object(value, defects)?;
        let code = map.u64("code", defects).unwrap_or(0);
        let code = u32::try_from(code).unwrap_or(0);
        // The first three digits of a code are its status, where none is given.
        let status = map.u64("statusCode", defects);
        let status = status.unwrap_or(u64::from(code / 100));
        let text = map.text("message", defects).unwrap_or_default();
        Some(Self {
            code,
            status: u16::try_from(status).unwrap_or(0),
            message: foreign::shown(&text, MAX_TEXT),
        })
    }
}

fn parse_details(value: Value, d: &mut u32) -> Option<ConnectionDetails> {
    let mut map = object(value, d)?;
    Some(ConnectionDetails {
        client_id: map.text("clientId", d),
        connection_key: map.text("connectionKey", d).map(Secret::new),
        max_message_size: map.u64("maxMessageSize", d),
        max_inbound_rate: map.u64("maxInboundRate", d),
        connection_state_ttl: map.u64("connectionStateTtl", d),
        max_idle_interval: map.u64("maxIdleInterval", d),
    })
}

fn parse_message(value: Value, d: &mut u32) -> Option<Message> {
    let mut map = object(value, d)?;
    let encoding = map.text("encoding", d);
    let wire = map.take("data").unwrap_or(Value::Null);
    let (data, encoding) = Data::decode(wire, encoding.as_deref());
    Some(Message {
        id: map.text("id", d).or_else(|| map.text("serial", d)),
        name: map.text("name", d),
        data,
        encoding,
        client_id: map.text("clientId", d),
        connection_id: map.text("connectionId", d),
        timestamp: map.i64("timestamp", d),
        action: map.u64("action", d).unwrap_or(0),
    })
}

fn parse_presence(value: Value, d: &mut u32) -> Option<PresenceEntry> {
    let mut map = object(value, d)?;
    Some(PresenceEntry {
        action: PresenceAction::of(map.u64("action", d)?),
        id: map.text("id", d),
        client_id: map.text("clientId", d),
        connection_id: map.text("connectionId", d),
        timestamp: map.i64("timestamp", d),
    })
}

fn object(value: Value, defects: &mut u32) -> Option<Map<String, Value>> {
    if let Value::Object(map) = value {
        Some(map)
    } else {
        *defects = defects.saturating_add(1);
        None
    }
}

/// Typed, tolerant reading: absent, `null` and the wrong type all give `None`, the last is counted.
trait Fields {
    fn take(&mut self, key: &str) -> Option<Value>;
    fn text(&mut self, key: &str, defects: &mut u32) -> Option<String>;
    fn i64(&mut self, key: &str, defects: &mut u32) -> Option<i64>;
    fn u64(&mut self, key: &str, defects: &mut u32) -> Option<u64>;
    fn list(&mut self, key: &str, defects: &mut u32) -> Vec<Value>;
}

impl Fields for Map<String, Value> {
    fn take(&mut self, key: &str) -> Option<Value> {
        self.remove(key).filter(|value| !value.is_null())
    }

    fn text(&mut self, key: &str, defects: &mut u32) -> Option<String> {
        if let Value::String(text) = self.take(key)? {
            return Some(text);
        }
        *defects = defects.saturating_add(1);
        None
    }

    fn i64(&mut self, key: &str, defects: &mut u32) -> Option<i64> {
        let value = self.take(key)?;
        let number = value.as_i64().or_else(|| whole(value.as_f64()?));
        if number.is_none() {
            *defects = defects.saturating_add(1);
        }
        number
    }

    fn u64(&mut self, key: &str, defects: &mut u32) -> Option<u64> {
        let value = self.take(key)?;
        let number = value
            .as_u64()
            .or_else(|| u64::try_from(whole(value.as_f64()?)?).ok());
        if number.is_none() {
            *defects = defects.saturating_add(1);
        }
        number
    }

    fn list(&mut self, key: &str, defects: &mut u32) -> Vec<Value> {
        match self.take(key) {
            Some(Value::Array(list)) => list,
            None => Vec::new(),
            Some(_) => {
                *defects = defects.saturating_add(1);
                Vec::new()
            }
        }
    }
}

/// `1.7e12` is a whole number too.
#[allow(clippy::cast_possible_truncation)] // bounded to what a double holds exactly
fn whole(number: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64)
}
