//! Reading a command message (spec: Ably commands; contract 6).

use serde_json::{Map, Value};

use crate::adapter::camera_wire::{self, Reading, Shape};
use crate::adapter::decode::{self, Fields};
use crate::adapter::fit_wire;
use crate::adapter::wire::start_command;
use crate::application::camera::{CameraAsk, Order, PatrolOrder, Query};
use crate::application::stream::StartCommand;
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::gateway::CloudMessage;
use crate::domain::ptz::{Drives, PtzAction};

/// Room in a result for all but the picture: ids, names, times. Base64 grows by a third.
const AROUND_A_PICTURE: usize = 2 * 1024;

/// What a result says of its command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// As it was sent; empty where none could be read.
    pub command: String,
    /// Echoed.
    pub request_id: Option<String>,
    /// If the command named one.
    pub task_id: Option<String>,
    /// If the command named one.
    pub camera_id: Option<String>,
    /// If the command named one.
    pub tour_id: Option<String>,
    /// Of a stop: what could not be read beside it.
    pub ignored: Vec<&'static str>,
}

/// What is to be done.
pub enum Command {
    /// START_STREAM
    Start(Box<StartCommand>),
    /// STOP_STREAM
    Stop {
        /// SIGKILL at once.
        force: bool,
    },
    QueryStatus,
    /// Anything for a camera.
    Camera {
        /// Which.
        ask: Box<CameraAsk>,
        /// What to do.
        order: Order,
        /// How it is answered.
        shape: Shape,
    },
}

/// A message that was understood.
pub struct Request {
    /// For the result.
    pub about: About,
    /// What is to be done.
    pub command: Command,
}

impl Request {
    /// Whether it stops something.
    pub fn is_stop(&self) -> bool {
        match &self.command {
            Command::Stop { .. } => true,
            Command::Camera { order, .. } => order.is_stop(),
            _ => false,
        }
    }
}

/// A message that was not understood, with what could be read of it.
pub struct Unreadable {
    /// For the result.
    pub about: About,
    /// Why.
    pub fault: Fault,
}

/// Reads a message.
///
/// `max_answer` = most bytes of a result.
pub fn read(message: &CloudMessage, max_answer: usize) -> Result<Request, Box<Unreadable>> {
    let mut about = About::default();
    match read_into(message.text.expose(), &mut about, max_answer) {
        Ok(command) => Ok(Request { about, command }),
        Err(fault) => Err(Box::new(Unreadable { about, fault })),
    }
}

fn read_into(text: &str, about: &mut About, max_answer: usize) -> Result<Command, Fault> {
    let plain = Plain::of(text)?;
    about.command = plain.sent.chars().take(64).collect();
    let name = plain.sent.trim().to_ascii_uppercase();
    let fields = Fields::of(&plain.payload, "payload")?.within("payload");
    let mut reading = Reading::of_a_stop();
    let stop = camera_stop(&name, &fields, &mut reading);
    if stop.is_none() {
        reading = Reading::strict();
    }
    if let Some(fault) = plain.unreadable {
        if stop.is_none() {
            return Err(fault);
        }
        reading.leave_out("payload");
    }
    // The ids first, so that a refusal further down names what it is about.
    let short = |text: Option<String>| text.map(|t| t.chars().take(128).collect::<String>());
    about.request_id = short(reading.take("requestId", fields.echo("requestId"))?);
    about.task_id = short(reading.take("taskId", fields.id("taskId"))?);
    about.camera_id = short(reading.take("cameraId", fields.id("cameraId"))?);
    about.tour_id = short(reading.take("tourId", fields.id("tourId"))?);
    if let Some((order, action)) = stop {
        let ask = camera_wire::camera_ask(&fields, &mut reading)?;
        about.ignored = reading.ignored();
        return Ok(Command::Camera {
            shape: Shape::of(&order, action),
            ask: Box::new(ask),
            order,
        });
    }
    match name.as_str() {
        "START_STREAM" => Ok(Command::Start(Box::new(start_command(&fields)?))),
        "STOP_STREAM" => Ok(Command::Stop {
            force: fields.flag("force")?.unwrap_or(false),
        }),
        "QUERY_STATUS" => Ok(Command::QueryStatus),
        camera => camera_command(camera, &fields, max_answer),
    }
}

/// A message in its plain form: the command's name as it was sent, and one object with its fields.
struct Plain {
    sent: String,
    payload: Value,
    /// Why there is nothing in `payload` but what stood beside it.
    unreadable: Option<Fault>,
}

impl Plain {
    /// Undoes what senders do: a text that holds the object, as the whole or as its payload; fields
    /// beside the payload in place of in it.
    fn of(text: &str) -> Result<Self, Fault> {
        let value = unwrapped(decode::parse(text.as_bytes())?)?;
        let fields = Fields::of(&value, "the message")?;
        let sent = fields
            .text("command")?
            .ok_or_else(|| fields.missing("command"))?
            .to_owned();
        let given = fields.has("payload");
        let mut message = match value {
            Value::Object(message) => message,
            _ => Map::new(),
        };
        let payload = message.remove("payload").filter(|_| given);
        let (mut payload, unreadable) = match payload.map(unwrapped) {
            None => (Map::new(), None),
            Some(Ok(Value::Object(payload))) => (payload, None),
            Some(Ok(other)) => (Map::new(), Fields::of(&other, "payload").err()),
            Some(Err(fault)) => (Map::new(), Some(fault)),
        };
        for (name, beside) in message {
            let unset = payload
                .get(&name)
                .is_none_or(|inner| inner.is_null() || inner.as_str().is_some_and(str::is_empty));
            // Where there is a payload, what else stands beside it may be an envelope's own.
            if unset && (!given || IDS.contains(&name.as_str())) {
                payload.insert(name, beside);
            }
        }
        Ok(Self {
            sent,
            payload: Value::Object(payload),
            unreadable,
        })
    }
}

/// What a payload's fields may stand beside it.
const IDS: [&str; 5] = ["cameraId", "ip", "taskId", "tourId", "requestId"];

/// A command that makes a camera or its tour stand still, if it is one.
fn camera_stop(
    name: &str,
    payload: &Fields,
    reading: &mut Reading,
) -> Option<(Order, Option<PtzAction>)> {
    let tour = |reading: &mut Reading| camera_wire::tour_of_a_stop(payload, reading);
    Some(match name {
        "PTZ_STOP" => (Order::Stop(Drives::ALL), Some(PtzAction::Stop)),
        "PTZ_CONTROL" | "PTZ_CONTINUOUS_MOVE" => {
            let (order, action) = camera_wire::ptz_stop(payload, reading)?;
            (order, Some(action))
        }
        "PATROL_STOP" => (Order::Patrol(PatrolOrder::Stop(tour(reading))), None),
        "PATROL_PAUSE" => (Order::Patrol(PatrolOrder::Pause(tour(reading))), None),
        _ => return None,
    })
}

/// The other commands for cameras and patrols.
fn camera_command(name: &str, payload: &Fields, max_answer: usize) -> Result<Command, Fault> {
    let ptz = |action: PtzAction| -> Result<_, Fault> {
        Ok((camera_wire::ptz_order(action, payload)?, Some(action)))
    };
    let query = |query| Ok((Order::Query(query), None));
    let patrol = |order| Ok((Order::Patrol(order), None));
    let known = matches!(
        name,
        "PTZ_CONTROL"
            | "PTZ_CONTINUOUS_MOVE"
            | "PTZ_HOLD"
            | "PTZ_PRESET_GOTO"
            | "PTZ_PRESET_SET"
            | "PTZ_PRESET_DELETE"
            | "CAMERA_CHECK"
            | "CAMERA_SNAPSHOT"
            | "CAMERA_PRESET_LIST"
            | "CAMERA_DEVICE_INFO"
            | "CAMERA_FIT"
            | "ONVIF_PROBE"
            | "PATROL_START"
            | "PATROL_RESUME"
            | "PATROL_STATUS"
    );
    if !known {
        return Err(Fault::new(ErrorCode::ParamInvalid, "unknown command"));
    }
    let ask = camera_wire::camera_ask(payload, &mut Reading::strict())?;
    let (order, action) = match name {
        "PTZ_CONTROL" | "PTZ_CONTINUOUS_MOVE" => ptz(camera_wire::action(payload)?),
        "PTZ_HOLD" => Ok((Order::hold(), None)),
        "PTZ_PRESET_GOTO" => ptz(PtzAction::GotoPreset),
        "PTZ_PRESET_SET" => ptz(PtzAction::SetPreset),
        "PTZ_PRESET_DELETE" => ptz(PtzAction::DeletePreset),
        "CAMERA_CHECK" => query(Query::Check),
        "CAMERA_SNAPSHOT" => query(Query::Snapshot {
            max_width: None,
            max_bytes: max_answer.saturating_sub(AROUND_A_PICTURE) / 4 * 3,
        }),
        "CAMERA_PRESET_LIST" => query(Query::Presets),
        "CAMERA_DEVICE_INFO" => query(Query::DeviceInfo),
        "CAMERA_FIT" => query(Query::Fit(fit_wire::ask(payload)?)),
        "ONVIF_PROBE" => query(Query::OnvifProbe),
        "PATROL_START" => Ok((camera_wire::patrol_start(&ask, payload)?, None)),
        "PATROL_RESUME" => patrol(PatrolOrder::Resume(camera_wire::tour_named(payload)?)),
        _ => patrol(PatrolOrder::Status),
    }?;
    let shape = Shape::of(&order, action);
    Ok(Command::Camera {
        ask: Box::new(ask),
        order,
        shape,
    })
}

/// The object itself, also where it comes as a text that holds it.
fn unwrapped(value: Value) -> Result<Value, Fault> {
    match value {
        Value::String(inner) => decode::parse(inner.as_bytes()),
        other => Ok(other),
    }
}

/// Whether a message stops something.
pub fn is_stop(text: &str) -> bool {
    let Ok(plain) = Plain::of(text) else {
        return false;
    };
    let name = plain.sent.trim().to_ascii_uppercase();
    name == "STOP_STREAM"
        || Fields::of(&plain.payload, "payload")
            .is_ok_and(|fields| camera_stop(&name, &fields, &mut Reading::of_a_stop()).is_some())
}
