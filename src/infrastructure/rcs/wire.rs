//! The JSON that RCS gets and gives: the spec's bodies and what the contract adds (10, 14).
//! Fields are never absent; what is unset is null.

use std::net::IpAddr;

use serde::Serialize;
use serde_json::Value;

use crate::domain::node::{LssNode, NodeStatus};
use crate::domain::stream::{TaskEvent, TaskEventKind};
use crate::json::{HeartbeatJson, NodeJson, Reader};
use crate::util::foreign;
use crate::util::time::rfc3339;

/// An error message is cut to this many characters: a callback is news, not a log.
pub const MAX_ERROR_CHARS: usize = 1_000;

/// POST /lss/task/callback
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Callback<'a> {
    task_id: &'a str,
    node_id: &'a str,
    #[serde(rename = "callbackType")]
    kind: &'static str,
    status: &'static str,
    process_id: Option<u32>,
    hls_playback_url: Option<&'a str>,
    error_message: Option<&'a str>,
    error_code: Option<u32>,
    retry_count: u32,
    timestamp: String,
    reason: Option<&'static str>,
}

/// The body of a registration.
pub fn register(node: &LssNode) -> Vec<u8> {
    to_json(&NodeJson::new(node, Reader::Registration))
}

/// What of a registration is worth telling again when it changes: all but what is different each
/// time one looks.
pub fn registered_facts(mut node: LssNode) -> Vec<u8> {
    node.system.available_memory = 0;
    register(&node)
}

/// The body of a heartbeat; `status` = the node's own, but OFFLINE in the last one.
pub fn heartbeat(node: &LssNode, status: NodeStatus) -> Vec<u8> {
    to_json(&HeartbeatJson::new(node, status, Reader::RcsHeartbeat))
}

/// The body of a callback. The playback URL is whole here, and only here.
pub fn callback(node_id: &str, event: &TaskEvent) -> Vec<u8> {
    let task = &event.task;
    let error = task.error.as_ref();
    // A character is kept for the mark of a cut.
    let words = error.map(|fault| foreign::shown(&fault.message, MAX_ERROR_CHARS - 1));
    to_json(&Callback {
        task_id: task.spec.task_id.as_str(),
        node_id,
        kind: event.kind.name(),
        status: task.status.name(),
        process_id: task.process_id,
        hls_playback_url: task.spec.playback_url.as_deref(),
        error_message: words.as_deref(),
        error_code: error.map(|fault| fault.code.number()),
        retry_count: task.retry_count,
        timestamp: rfc3339(event.at),
        reason: match event.kind {
            TaskEventKind::Stopped => task
                .stop_reason
                .map(crate::domain::stream::StopReason::name),
            _ => None,
        },
    })
}

fn to_json(body: &impl Serialize) -> Vec<u8> {
    // Strings, numbers and sequences of them: there is nothing in these shapes that can fail.
    serde_json::to_vec(body).unwrap_or_default()
}

/// What an answer's body says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nothing, or an object whose `code` is 0 or 200, as a number or as text, or missing.
    Good,
    /// An object with another `code`.
    Bad {
        /// `None` where it is no whole number.
        code: Option<i64>,
        /// `message` (or `msg`), raw: from outside.
        message: String,
    },
    /// No JSON object: not RCS.
    Foreign,
}

/// Reads an answer's body.
pub fn answer(body: &[u8]) -> Answer {
    let body = body
        .strip_prefix("\u{feff}".as_bytes())
        .unwrap_or(body)
        .trim_ascii();
    if body.is_empty() {
        return Answer::Good;
    }
    let Ok(Value::Object(fields)) = serde_json::from_slice(body) else {
        return Answer::Foreign;
    };
    let code = match fields.get("code") {
        None | Some(Value::Null) => return Answer::Good,
        Some(other) => whole_number(other),
    };
    if matches!(code, Some(0 | 200)) {
        return Answer::Good;
    }
    let message = ["message", "msg"]
        .iter()
        .find_map(|key| fields.get(*key).and_then(Value::as_str))
        .unwrap_or("")
        .to_owned();
    Answer::Bad { code, message }
}

/// A number that is meant as a whole one, in quotes or not.
fn whole_number(value: &Value) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation)]
    let of_float = |n: f64| (n.fract() == 0.0 && n.abs() < 1e15).then_some(n as i64);
    match value {
        Value::Number(n) => n.as_i64().or_else(|| n.as_f64().and_then(of_float)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// The address in an answer of `lss.node.public_ip_url`.
pub fn public_ip(body: &[u8]) -> Option<IpAddr> {
    crate::infrastructure::system::parse_public_ip(std::str::from_utf8(body).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_counts_as_success() {
        for good in [
            "",
            " \r\n",
            "{}",
            r#"{"code":0}"#,
            r#"{"code":0.0}"#,
            r#"{"code":"0"}"#,
            r#"{"code":200,"msg":"ok"}"#,
            r#"{"code":"200"}"#,
            r#"{"code":null,"x":[1]}"#,
            "\u{feff}{\"message\":\"ok\"}",
        ] {
            assert_eq!(answer(good.as_bytes()), Answer::Good, "{good:?}");
        }
        for foreign in [
            "<html>Please log in</html>",
            "[]",
            r#"[{"code":0}]"#,
            "0",
            "\"ok\"",
            "null",
            "true",
            "{",
            "ok",
            "{\"code\":0} trailing",
        ] {
            assert_eq!(answer(foreign.as_bytes()), Answer::Foreign, "{foreign:?}");
        }
        assert_eq!(answer(b"\xff\xfe"), Answer::Foreign);
        assert_eq!(answer("[".repeat(60_000).as_bytes()), Answer::Foreign);
    }

    #[test]
    fn codes_that_are_not_zero() {
        let bad = |code, message: &str| Answer::Bad {
            code,
            message: message.to_owned(),
        };
        assert_eq!(
            answer(br#"{"code":30303,"message":"who are you"}"#),
            bad(Some(30303), "who are you")
        );
        assert_eq!(answer(br#"{"code":500,"msg":"m"}"#), bad(Some(500), "m"));
        assert_eq!(answer(br#"{"code":"30303"}"#), bad(Some(30303), ""));
        assert_eq!(answer(br#"{"code":"no"}"#), bad(None, ""));
        assert_eq!(answer(br#"{"code":true}"#), bad(None, ""));
        assert_eq!(answer(br#"{"code":0.5}"#), bad(None, ""));
        assert_eq!(answer(br#"{"code":-1,"message":7}"#), bad(Some(-1), ""));
    }

    proptest! {
        #[test]
        fn no_answer_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = answer(&body);
            let _ = public_ip(&body);
        }
    }
}
