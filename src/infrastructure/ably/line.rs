//! The domain's line to the cloud on top of the Ably client: which channel a thing goes to, and
//! under which name (spec; contract 5).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::{Value, json};

use super::connection::ledger::{Priority, Reservation};
use super::connection::types::{Delivery, Publish, PublishKind, Refusal};
use super::data::Data;
use super::frame::Message;
use super::handle::{AblyHandle, Outgoing};
use crate::domain::error::ErrorCode;
use crate::domain::gateway::{AnswerSlot, CloudLine, CloudMessage};
use crate::domain::stream::TaskId;
use crate::util::secret::Secret;
use crate::util::time::epoch_ms;

/// Message name of an answer to a command.
pub const COMMAND_RESULT: &str = "command_result";
/// Message name of a task's event.
pub const TASK_EVENT: &str = "task_event";
/// Message name of a heartbeat.
pub const HEARTBEAT: &str = "heartbeat";

/// The channel that commands come by.
pub fn commands_channel(node_id: &str) -> String {
    format!("lss:{node_id}:commands")
}

/// The channel that results and heartbeats go to.
pub fn status_channel(node_id: &str) -> String {
    format!("lss:{node_id}:status")
}

/// The channel whose presence all nodes enter.
pub const REGISTRY_CHANNEL: &str = "lss:registry";

/// One node's line.
#[derive(Debug, Clone)]
pub struct AblyLine {
    /// Another one once a client has ended by a fault.
    handle: Arc<RwLock<AblyHandle>>,
    status: Arc<str>,
    ids: Arc<Ids>,
}

/// Ids for messages of ours: unique for all times, so that the service drops doubles.
#[derive(Debug)]
struct Ids {
    base: String,
    next: AtomicU64,
}

impl Ids {
    fn new() -> Self {
        let started = epoch_ms(std::time::SystemTime::now());
        let random = fastrand::u64(..);
        Self {
            base: format!("lss-{started:x}-{random:016x}"),
            next: AtomicU64::new(0),
        }
    }

    fn next(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number}:0", self.base)
    }
}

impl AblyLine {
    /// Speaks for that node.
    pub fn new(handle: AblyHandle, node_id: &str) -> Self {
        Self {
            handle: Arc::new(RwLock::new(handle)),
            status: status_channel(node_id).into(),
            ids: Arc::new(Ids::new()),
        }
    }

    /// The client that carries the line now.
    pub fn handle(&self) -> AblyHandle {
        self.handle
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A new client carries the line from now on, and delivers what the old one had not.
    pub fn replace(&self, handle: AblyHandle) {
        let old = {
            let mut carrier = self.handle.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *carrier, handle)
        };
        self.handle().inherit(&old);
    }

    /// The node's heartbeat; only the newest waits.
    pub fn heartbeat(&self, json: &str) {
        self.publish(&self.status, HEARTBEAT, json, PublishKind::Latest);
    }

    /// In place of a result that was refused as too large goes an error that says so, under an id
    /// of its own.
    pub fn too_large(&self, refused: Publish, why: &Refusal) {
        let name = refused.name.as_str();
        let before = refused.data.size;
        let error = as_error(
            refused.data.data.as_deref().unwrap_or_default(),
            &why.to_string(),
        );
        if error.len() >= before {
            log::error!(name = name, bytes = before; "a message is given up: {why}");
            return;
        }
        self.publish(&refused.channel, name, &error, refused.kind);
    }

    /// What a payload may have now, in bytes, its message's name included.
    pub fn max_size(&self) -> usize {
        self.handle().status().max_message_size
    }

    fn publish(&self, channel: &str, name: &str, json: &str, kind: PublishKind) {
        // Our own shapes: always JSON.
        let data = serde_json::from_str(json).map_or(Data::None, Data::Json);
        let outgoing = Outgoing {
            channel: channel.to_owned(),
            name: name.to_owned(),
            data,
            id: self.ids.next(),
            kind,
        };
        if let Err(why) = self.handle().publish(outgoing) {
            log::warn!(channel = channel, name = name; "not told to the cloud: {why}");
        }
    }
}

impl CloudLine for AblyLine {
    fn reserve(&self, last_places: bool) -> Option<Box<dyn AnswerSlot>> {
        let priority = if last_places {
            Priority::High
        } else {
            Priority::Ordinary
        };
        let place = self.handle().reserve(priority)?;
        Some(Box::new(LineSlot {
            place,
            line: self.clone(),
        }))
    }

    fn task_event(&self, task: &TaskId, json: String) {
        let channel = format!("task:{task}:events");
        self.publish(&channel, TASK_EVENT, &json, PublishKind::Event);
    }

    fn node_event(&self, name: &'static str, json: String) {
        self.publish(&self.status, name, &json, PublishKind::Event);
    }

    fn max_answer(&self) -> usize {
        self.max_size().saturating_sub(COMMAND_RESULT.len())
    }
}

struct LineSlot {
    place: Reservation,
    line: AblyLine,
}

impl AnswerSlot for LineSlot {
    fn publish(self: Box<Self>, json: String) {
        let max = self.line.max_size().saturating_sub(COMMAND_RESULT.len());
        let json = fitted(json, max);
        let kind = PublishKind::Kept(self.place);
        self.line
            .publish(&self.line.status, COMMAND_RESULT, &json, kind);
    }
}

/// Over the limit nothing is sent: such a result becomes an error that says so (contract 5).
fn fitted(json: String, max: usize) -> String {
    if json.len() <= max {
        return json;
    }
    let size = json.len();
    let text = format!("the result of {size} bytes is over the cloud line's limit of {max} bytes");
    log::error!(bytes = size, limit = max; "a result is too large for the cloud; an error is sent instead");
    as_error(&json, &text)
}

/// The same answer as an error, without its data.
fn as_error(json: &str, text: &str) -> String {
    let mut result = serde_json::from_str(json).unwrap_or_else(|_| json!({}));
    if let Value::Object(map) = &mut result {
        map.insert("success".to_owned(), Value::Bool(false));
        map.insert("data".to_owned(), Value::Null);
        map.insert(
            "errorCode".to_owned(),
            ErrorCode::InternalError.number().into(),
        );
        map.insert("errorMessage".to_owned(), text.to_owned().into());
    }
    result.to_string()
}

/// A delivered message as the command door takes it.
pub fn message(delivery: &Delivery) -> CloudMessage {
    let message = &delivery.message;
    CloudMessage {
        id: message.id.clone().unwrap_or_default(),
        name: message.name.clone().unwrap_or_default(),
        text: Secret::unlisted(text(message)),
        place: delivery.place,
        received: delivery.received,
        age: delivery.age(std::time::Instant::now()),
        replayed: delivery.replayed,
    }
}

/// What a message says, as text.
pub fn text(message: &Message) -> String {
    match &message.data {
        Data::None => String::new(),
        Data::Text(text) => text.clone(),
        Data::Json(value) => value.to_string(),
        // No command is binary; what is UTF-8 may be one all the same.
        Data::Binary(bytes) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_that_is_too_large_becomes_an_error_about_the_same_command() {
        let big = json!({
            "type": "COMMAND_RESULT", "command": "CAMERA_SNAPSHOT", "requestId": "r-1",
            "success": true, "data": { "image": "x".repeat(1_000) },
            "errorCode": 0, "errorMessage": null,
        });
        let small = fitted(big.to_string(), 500);
        assert!(small.len() <= 500, "{small}");
        let value: Value = serde_json::from_str(&small).unwrap();
        assert_eq!(value["requestId"], "r-1");
        assert_eq!(
            (&value["success"], &value["data"]),
            (&json!(false), &Value::Null)
        );
        assert_eq!(value["errorCode"], ErrorCode::InternalError.number());
        assert!(
            value["errorMessage"]
                .as_str()
                .unwrap()
                .contains("limit of 500")
        );
        assert_eq!(fitted("{}".to_owned(), 2), "{}");
    }
}
