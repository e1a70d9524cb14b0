//! The shape of each body (the spec, contract 10 and 14): exactly these fields, each of its type.

use std::net::IpAddr;

use serde_json::Value;

use super::Door;

/// What a field may hold.
#[derive(Clone, Copy)]
enum Is {
    Text,
    /// May be empty.
    AnyText,
    OrNull(&'static Is),
    Whole,
    Percent,
    Bool,
    Ip,
    Port,
    Time,
    OneOf(&'static [&'static str]),
    Object(&'static [(&'static str, Is)]),
    List(&'static [(&'static str, Is)]),
}

const SYSTEM: &[(&str, Is)] = &[
    ("os", Is::Text),
    ("cpuCores", Is::Whole),
    ("totalMemory", Is::Whole),
    ("availableMemory", Is::Whole),
    ("ffmpegVersion", Is::AnyText),
];

const REGISTER_CAMERA: &[(&str, Is)] = &[
    ("ip", Is::Ip),
    ("port", Is::Port),
    ("onvif", Is::Bool),
    ("rtspUrl", Is::AnyText),
    ("vendor", Is::Text),
    ("model", Is::AnyText),
];

const REGISTER: &[(&str, Is)] = &[
    ("nodeId", Is::Text),
    ("nodeName", Is::Text),
    ("nodeIp", Is::OrNull(&Is::Ip)),
    ("nodePort", Is::Port),
    ("machineId", Is::Text),
    ("ablyClientId", Is::Text),
    ("maxTasks", Is::Whole),
    ("ffmpegPath", Is::Text),
    ("publicIp", Is::OrNull(&Is::Ip)),
    ("systemInfo", Is::Object(SYSTEM)),
    ("cameras", Is::List(REGISTER_CAMERA)),
];

const HEARTBEAT_CAMERA: &[(&str, Is)] = &[
    ("ip", Is::Ip),
    ("port", Is::Port),
    ("online", Is::Bool),
    ("rtspUrl", Is::AnyText),
    ("vendor", Is::Text),
    ("model", Is::AnyText),
];

const HEARTBEAT: &[(&str, Is)] = &[
    ("nodeId", Is::Text),
    (
        "status",
        Is::OneOf(&["ONLINE", "OFFLINE", "BUSY", "MAINTENANCE"]),
    ),
    ("activeTaskCount", Is::Whole),
    ("cpuUsage", Is::OrNull(&Is::Percent)),
    ("memoryUsage", Is::OrNull(&Is::Percent)),
    ("cameras", Is::List(HEARTBEAT_CAMERA)),
];

const CALLBACK: &[(&str, Is)] = &[
    ("taskId", Is::Text),
    ("nodeId", Is::Text),
    (
        "callbackType",
        Is::OneOf(&["STARTED", "STOPPED", "ERROR", "STATUS_UPDATE"]),
    ),
    (
        "status",
        Is::OneOf(&["STARTING", "STREAMING", "RECONNECTING", "STOPPED", "ERROR"]),
    ),
    ("processId", Is::OrNull(&Is::Whole)),
    ("hlsPlaybackUrl", Is::OrNull(&Is::AnyText)),
    ("errorMessage", Is::OrNull(&Is::Text)),
    ("errorCode", Is::OrNull(&Is::Whole)),
    ("retryCount", Is::Whole),
    ("timestamp", Is::Time),
    (
        "reason",
        Is::OrNull(&Is::OneOf(&["COMMAND", "NODE_SHUTDOWN", "END_OF_FILE"])),
    ),
];

/// Exactly these fields, each of its type, and what must fit together fits.
pub fn shape(door: Door, body: &Value) -> Result<(), String> {
    match door {
        Door::Ip => Ok(()),
        Door::Register => {
            check("body", Is::Object(REGISTER), body)?;
            let id = text(body, "nodeId");
            if id != format!("lss-{}", text(body, "machineId")) || id != text(body, "ablyClientId")
            {
                return Err("nodeId, machineId and ablyClientId do not fit".to_owned());
            }
            Ok(())
        }
        Door::Heartbeat => check("body", Is::Object(HEARTBEAT), body),
        Door::Callback => {
            check("body", Is::Object(CALLBACK), body)?;
            let (kind, status) = (text(body, "callbackType"), text(body, "status"));
            let fits = match kind {
                "STARTED" => status == "STREAMING",
                "STATUS_UPDATE" => !matches!(status, "STOPPED" | "ERROR"),
                other => status == other,
            };
            if !fits {
                return Err(format!("{kind} with status {status}"));
            }
            if (kind == "STOPPED") != body["reason"].is_string() {
                return Err("STOPPED, and only that, has a reason".to_owned());
            }
            if kind == "ERROR" && (body["errorCode"].is_null() || body["errorMessage"].is_null()) {
                return Err("ERROR does not say what is wrong".to_owned());
            }
            Ok(())
        }
    }
}

fn text<'a>(body: &'a Value, field: &str) -> &'a str {
    body.get(field).and_then(Value::as_str).unwrap_or("")
}

fn check(name: &str, is: Is, value: &Value) -> Result<(), String> {
    let fits = match is {
        Is::OrNull(_) if value.is_null() => true,
        Is::OrNull(inner) => return check(name, *inner, value),
        Is::Text => value.as_str().is_some_and(|t| !t.is_empty()),
        Is::AnyText => value.is_string(),
        Is::Whole => value.is_u64(),
        Is::Percent => value.as_f64().is_some_and(|p| (0.0..=100.0).contains(&p)),
        Is::Bool => value.is_boolean(),
        Is::Ip => value.as_str().is_some_and(|t| t.parse::<IpAddr>().is_ok()),
        Is::Port => value.as_u64().is_some_and(|p| (1..=65_535).contains(&p)),
        Is::Time => value.as_str().is_some_and(is_time),
        Is::OneOf(names) => value.as_str().is_some_and(|t| names.contains(&t)),
        Is::Object(fields) => return check_object(name, fields, value),
        Is::List(fields) => {
            let list = value.as_array().ok_or(format!("{name} is no array"))?;
            return list
                .iter()
                .try_for_each(|item| check_object(name, fields, item));
        }
    };
    if fits {
        Ok(())
    } else {
        Err(format!("{name} is {value}"))
    }
}

fn check_object(name: &str, fields: &[(&str, Is)], value: &Value) -> Result<(), String> {
    let object = value.as_object().ok_or(format!("{name} is no object"))?;
    for (field, is) in fields {
        let value = object.get(*field).ok_or(format!("{field} is missing"))?;
        check(field, *is, value)?;
    }
    match object
        .keys()
        .find(|key| fields.iter().all(|(f, _)| f != key))
    {
        Some(stranger) => Err(format!("{stranger} is not in the contract")),
        None => Ok(()),
    }
}

/// RFC 3339 in UTC with milliseconds.
fn is_time(text: &str) -> bool {
    text.len() == 24 && text.as_bytes()[19] == b'.' && humantime::parse_rfc3339(text).is_ok()
}
