//! COMMAND_RESULT and TASK_EVENT on the wire (spec; contract 6, 14).

use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Value, json};

use super::pending::Outcome;
use super::request::About;
use super::shown;
use crate::adapter::camera_wire;
use crate::domain::stream::TaskEvent;
use crate::util::time::rfc3339;

/// One command's result. Unset = null, never absent.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CommandResult {
    #[serde(rename = "type")]
    kind: &'static str,
    command: String,
    request_id: Option<String>,
    node_id: String,
    task_id: Option<String>,
    camera_id: Option<String>,
    tour_id: Option<String>,
    /// Whether it did what it should.
    pub success: bool,
    data: Value,
    /// 0, or contract 12.
    pub error_code: u32,
    error_message: Option<String>,
    timestamp: String,
}

impl CommandResult {
    /// The result of what `about` tells of.
    pub fn new(node_id: &str, about: &About, outcome: Outcome, at: SystemTime) -> Self {
        let (mut data, fault) = match outcome {
            Outcome::Task(task) => (json(&shown(&task)), None),
            Outcome::Tasks(tasks) => {
                let tasks: Vec<Value> = tasks.iter().map(|t| json(&shown(t))).collect();
                (json!({ "tasks": tasks }), None)
            }
            Outcome::Camera(data, fault) => (data, fault),
            Outcome::Refused(fault) => (Value::Null, Some(fault)),
            Outcome::Failed(fault, task) => (
                task.map_or(Value::Null, |task| json(&shown(&task))),
                Some(fault),
            ),
        };
        camera_wire::name_ignored(&mut data, &about.ignored);
        Self {
            kind: "COMMAND_RESULT",
            command: about.command.clone(),
            request_id: about.request_id.clone(),
            node_id: node_id.to_owned(),
            task_id: about.task_id.clone(),
            camera_id: about.camera_id.clone(),
            tour_id: about.tour_id.clone(),
            success: fault.is_none(),
            data,
            error_code: fault.as_ref().map_or(0, |f| f.code.number()),
            error_message: fault.map(|f| f.message),
            timestamp: rfc3339(at),
        }
    }

    /// As text.
    pub fn json(&self) -> String {
        json(self).to_string()
    }
}

/// One change of a task.
pub fn task_event(node_id: &str, event: &TaskEvent) -> String {
    let task = &event.task;
    json!({
        "type": "TASK_EVENT",
        "taskId": task.spec.task_id.as_str(),
        "nodeId": node_id,
        "event": event.kind.name(),
        "status": task.status.name(),
        "processId": task.process_id,
        "errorCode": task.error.as_ref().map(|f| f.code.number()),
        "errorMessage": task.error.as_ref().map(|f| f.message.as_str()),
        "timestamp": rfc3339(event.at),
    })
    .to_string()
}

/// Our own shapes have text keys and finite numbers: they always become JSON.
fn json(shape: &impl Serialize) -> Value {
    serde_json::to_value(shape).unwrap_or(Value::Null)
}
