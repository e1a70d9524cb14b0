//! Reading a command message (spec: Ably commands; contract 6).

use serde_json::Value;

use crate::adapter::camera_wire::{self, Shape};
use crate::adapter::decode::{self, Fields};
use crate::adapter::wire::start_command;
use crate::application::camera::{CameraAsk, Order, PatrolOrder, Query};
use crate::application::stream::StartCommand;
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::gateway::CloudMessage;
use crate::domain::ptz::PtzAction;

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
    /// QUERY_STATUS
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
            Command::Camera { order, .. } => matches!(
                order,
                Order::Stop(_) | Order::Patrol(PatrolOrder::Stop(_) | PatrolOrder::Pause(_))
            ),
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
    let value = unwrapped(decode::parse(text.as_bytes())?)?;
    let fields = Fields::of(&value, "the message")?;
    let name = fields
        .text("command")?
        .filter(|name| !name.is_empty())
        .ok_or_else(|| fields.missing("command"))?;
    about.command = name.chars().take(64).collect();
    let payload = fields.object("payload")?;
    // The ids first, so that a refusal further down names what it is about.
    let short = |text: Option<&str>| text.map(|t| t.chars().take(128).collect::<String>());
    about.request_id = match payload.text_or_number("requestId")? {
        Some(id) => short(Some(&id)),
        None => short(fields.text_or_number("requestId")?.as_deref()),
    };
    about.task_id = short(payload.text("taskId")?);
    about.camera_id = short(payload.text("cameraId")?);
    about.tour_id = short(payload.text("tourId")?);
    match name {
        "START_STREAM" => Ok(Command::Start(Box::new(start_command(&payload)?))),
        "STOP_STREAM" => Ok(Command::Stop {
            force: payload.flag("force")?.unwrap_or(false),
        }),
        "QUERY_STATUS" => Ok(Command::QueryStatus),
        camera => camera_command(camera, &payload, max_answer),
    }
}

/// The commands for cameras and patrols.
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
            | "PTZ_STOP"
            | "PTZ_PRESET_GOTO"
            | "PTZ_PRESET_SET"
            | "PTZ_PRESET_DELETE"
            | "CAMERA_CHECK"
            | "CAMERA_SNAPSHOT"
            | "CAMERA_PRESET_LIST"
            | "CAMERA_DEVICE_INFO"
            | "ONVIF_PROBE"
            | "PATROL_START"
            | "PATROL_STOP"
            | "PATROL_PAUSE"
            | "PATROL_RESUME"
            | "PATROL_STATUS"
    );
    if !known {
        return Err(Fault::new(ErrorCode::ParamInvalid, "unknown command"));
    }
    let ask = camera_wire::camera_ask(payload)?;
    let (order, action) = match name {
        "PTZ_CONTROL" | "PTZ_CONTINUOUS_MOVE" => ptz(camera_wire::action(payload)?),
        "PTZ_STOP" => ptz(PtzAction::Stop),
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
        "ONVIF_PROBE" => query(Query::OnvifProbe),
        "PATROL_START" => Ok((camera_wire::patrol_start(&ask, payload)?, None)),
        "PATROL_STOP" => patrol(PatrolOrder::Stop(camera_wire::tour_named(payload)?)),
        "PATROL_PAUSE" => patrol(PatrolOrder::Pause(camera_wire::tour_named(payload)?)),
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

/// Whether a decoded message stops something.
pub fn is_stop_value(value: &Value) -> bool {
    let inner;
    let value = match value {
        Value::String(text) => {
            let Ok(parsed) = decode::parse(text.as_bytes()) else {
                return false;
            };
            inner = parsed;
            &inner
        }
        other => other,
    };
    let Some(command) = value.get("command").and_then(Value::as_str) else {
        return false;
    };
    stops(command, value.get("payload"))
}

/// Stops of streams, cameras and patrols; a movement with action STOP or speed 0 is one.
fn stops(command: &str, payload: Option<&Value>) -> bool {
    match command {
        "STOP_STREAM" | "PTZ_STOP" | "PATROL_STOP" | "PATROL_PAUSE" => true,
        "PTZ_CONTROL" | "PTZ_CONTINUOUS_MOVE" => payload.is_some_and(|payload| {
            payload.get("action").and_then(Value::as_str) == Some("STOP")
                || payload.get("speed").and_then(Value::as_f64) == Some(0.0)
        }),
        _ => false,
    }
}
