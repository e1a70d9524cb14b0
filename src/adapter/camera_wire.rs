//! Camera and patrol commands as JSON has them, at every door: payloads in, `data` out (contract
//! 6, 14). Knows neither HTTP nor Ably.

use std::collections::BTreeMap;

use base64::Engine as _;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::decode::Fields;
use super::fit_wire;
use crate::application::camera::{
    Action, CameraAsk, CameraParams, CameraReply, CheckReport, Host, KnownCamera, Order,
    PatrolOrder, PresetOrder, PtzAsk, QueryData, Vendor,
};
use crate::domain::camera::{CameraDeviceInfo, Credentials, Picture, Protocol};
use crate::domain::camera_trust::{self, KeptCertificate};
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::node::Camera;
use crate::domain::patrol::{PatrolAsk, PatrolStatus, Plan, WaypointAsk};
use crate::domain::ptz::{HoldId, PtzAction, PtzEvent};
use crate::domain::stream::Id;
use crate::json::vendor as vendor_word;
use crate::util::foreign;
use crate::util::secret::Secret;
use crate::util::time::rfc3339;
use crate::util::url;

/// Longest name of a preset that is shown, in characters.
const MAX_NAME: usize = 256;

/// Most waypoints that are read at all; the rules take fewer.
const MAX_WAYPOINTS_READ: usize = 1_024;

/// How fields are read: as they must be, or, of a stop, as far as they can be.
#[derive(Debug)]
pub struct Reading {
    /// What a stop can do without and nobody can read.
    ignored: Option<Vec<&'static str>>,
}

impl Reading {
    /// What can't be read is a fault.
    pub fn strict() -> Self {
        Self { ignored: None }
    }

    /// A stop needs nothing but its camera: what can't be read beside it is left out and named.
    pub fn of_a_stop() -> Self {
        Self {
            ignored: Some(Vec::new()),
        }
    }

    /// What was left out.
    pub fn ignored(self) -> Vec<&'static str> {
        self.ignored.unwrap_or_default()
    }

    /// Leaves a field out, if that is how this is read.
    pub fn leave_out(&mut self, name: &'static str) {
        if let Some(ignored) = &mut self.ignored
            && !ignored.contains(&name)
        {
            ignored.push(name);
        }
    }

    /// A field's value, or nothing in the place of what can't be read.
    pub fn take<T>(
        &mut self,
        name: &'static str,
        read: Result<Option<T>, Fault>,
    ) -> Result<Option<T>, Fault> {
        match read {
            Err(_) if self.ignored.is_some() => {
                self.leave_out(name);
                Ok(None)
            }
            read => read,
        }
    }
}

/// Which camera, by a payload's fields.
pub fn camera_ask(fields: &Fields, reading: &mut Reading) -> Result<CameraAsk, Fault> {
    let id = fields
        .id("cameraId")
        .and_then(|text| text.map(|text| Id::parse("cameraId", &text)).transpose());
    let host = fields
        .text("ip")
        .and_then(|text| text.map(|text| Host::parse("ip", text)).transpose());
    // Where neither is left there is no camera: the reason why is the answer.
    let fault = id.as_ref().err().or(host.as_ref().err()).cloned();
    let camera_id = reading.take("cameraId", id)?;
    let host = reading.take("ip", host)?;
    if let (None, None, Some(fault)) = (&camera_id, &host, fault) {
        return Err(fault);
    }
    let vendor = reading.take("vendorType", fields.text("vendorType"))?;
    Ok(CameraAsk {
        camera_id,
        said: CameraParams {
            host,
            port: {
                let port = number(fields, "port", u16::MAX);
                reading.take("port", port)?
            },
            login: login(fields, reading)?,
            vendor: vendor.and_then(Vendor::parse),
            channel: {
                let channel = number(fields, "channel", 512);
                reading.take("channel", channel)?
            },
            profile: {
                let profile = checked(
                    fields,
                    "profile",
                    foreign::is_token,
                    "the token of a profile",
                );
                reading.take("profile", profile)?
            },
            onvif_path: {
                let words = "a path like /onvif/device_service";
                let path = checked(fields, "onvifPath", url::is_service_path, words);
                reading.take("onvifPath", path)?
            },
        },
    })
}

fn checked(
    fields: &Fields,
    name: &str,
    is_good: fn(&str) -> bool,
    what: &str,
) -> Result<Option<String>, Fault> {
    match fields.text(name)? {
        None => Ok(None),
        Some(text) if is_good(text) => Ok(Some(text.to_owned())),
        Some(_) => Err(Fault::new(
            ErrorCode::ParamInvalid,
            format!("{name} must be {what}"),
        )),
    }
}

fn login(fields: &Fields, reading: &mut Reading) -> Result<Option<Credentials>, Fault> {
    let user = reading.take("username", fields.text("username"))?;
    let password = reading.take("password", fields.text_or_empty("password"))?;
    let password = password.map(Secret::new);
    match (user, password) {
        (Some(user), Some(password)) => {
            let login = Credentials::new(user, password).map(Some);
            if login.is_err() {
                reading.leave_out("password");
            }
            reading.take("username", login)
        }
        (Some(_), None) => reading.take("username", Err(fields.missing("password"))),
        // An empty pair is how some senders say "none".
        (None, password) if password.as_ref().is_none_or(Secret::is_empty) => Ok(None),
        (None, _) => reading.take("password", Err(fields.missing("username"))),
    }
}

fn number(fields: &Fields, name: &str, max: u16) -> Result<Option<u16>, Fault> {
    match fields.integer(name)? {
        None => Ok(None),
        Some(value) => u16::try_from(value)
            .ok()
            .filter(|v| (1..=max).contains(v))
            .map(Some)
            .ok_or_else(|| {
                Fault::new(
                    ErrorCode::ParamInvalid,
                    format!("{name} must be from 1 to {max}"),
                )
            }),
    }
}

/// Whether a PTZ payload is a stop, and of what: action STOP in any case, or a movement at speed 0.
/// The one place that decides it, for every door.
pub fn ptz_stop(fields: &Fields, reading: &mut Reading) -> Option<(Order, PtzAction)> {
    let named = action(fields);
    let still = fields.integer_or_zero("speed") == Ok(Some(0));
    let action = match named {
        Ok(action) => action,
        // Nothing can be meant by speed 0 but to stand still.
        Err(_) if still => {
            if fields.has("action") {
                reading.leave_out("action");
            }
            PtzAction::Stop
        }
        Err(_) => return None,
    };
    let order = Order::ptz(&PtzAsk {
        speed: still.then_some(0),
        ..PtzAsk::new(action)
    });
    let order = order.ok().filter(Order::is_stop)?;
    if !still {
        let _ = reading.take("speed", fields.integer_or_zero("speed"));
    }
    let _ = reading.take("duration", fields.integer("duration"));
    Some((order, action))
}

/// The tour that a stop or pause of tours names, if it does.
pub fn tour_of_a_stop(fields: &Fields, reading: &mut Reading) -> Option<Id> {
    reading.take("tourId", tour_named(fields)).ok().flatten()
}

/// Names in an answer what was left out.
pub fn name_ignored(data: &mut Value, ignored: &[&'static str]) {
    if let Value::Object(map) = data
        && !ignored.is_empty()
    {
        map.insert("ignored".to_owned(), json!(ignored));
    }
}

/// The action that a PTZ payload names.
pub fn action(fields: &Fields) -> Result<PtzAction, Fault> {
    let text = fields
        .text("action")?
        .filter(|text| !text.is_empty())
        .ok_or_else(|| fields.missing("action"))?;
    PtzAction::parse(text.trim()).ok_or_else(|| {
        Fault::new(
            ErrorCode::ParamInvalid,
            "unknown action; use one of PAN_LEFT, PAN_RIGHT, TILT_UP, TILT_DOWN, ZOOM_IN, ZOOM_OUT, \
             FOCUS_NEAR, FOCUS_FAR, FOCUS_AUTO, IRIS_OPEN, IRIS_CLOSE, STOP, SET_PRESET, \
             GOTO_PRESET, DELETE_PRESET, START_PATROL, STOP_PATROL",
        )
    })
}

/// A PTZ payload for `action`.
pub fn ptz_order(action: PtzAction, fields: &Fields) -> Result<Order, Fault> {
    let patrol = match fields.text_or_number("patrolId")? {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| {
            Fault::new(ErrorCode::ParamInvalid, "patrolId must be a number from 1")
        })?),
    };
    Order::ptz(&PtzAsk {
        action,
        speed: fields.integer_or_zero("speed")?,
        duration: fields.integer("duration")?,
        preset: fields.text_or_number("presetId")?,
        preset_name: fields.text("presetName")?.map(str::to_owned),
        patrol,
        force: fields.flag("force")?.unwrap_or(false),
        hold: fields.text("hold")?.map(str::to_owned),
    })
}

/// A PATROL_START payload.
pub fn patrol_start(ask: &CameraAsk, fields: &Fields) -> Result<Order, Fault> {
    let tour = fields
        .id("tourId")?
        .ok_or_else(|| fields.missing("tourId"))?;
    let waypoints = fields
        .list("waypoints")?
        .ok_or_else(|| fields.missing("waypoints"))?;
    // The rules name the number; what is far beyond them is not read to its end.
    let waypoints = waypoints
        .into_iter()
        .take(MAX_WAYPOINTS_READ)
        .map(|waypoint| {
            Ok(WaypointAsk {
                action: waypoint
                    .text("action")?
                    .ok_or_else(|| waypoint.missing("action"))?
                    .to_owned(),
                speed: waypoint.integer_or_zero("speed")?,
                duration: waypoint.integer_or_zero("duration")?,
                start_time: waypoint.integer("startTime")?,
                preset: waypoint.text_or_number("presetId")?,
            })
        })
        .collect::<Result<_, Fault>>()?;
    let plan = Plan::check(&PatrolAsk {
        tour: Id::parse("tourId", &tour)?,
        camera: ask.name()?,
        loop_count: fields.integer("loopCount")?,
        waypoints,
    })?;
    Ok(Order::Patrol(PatrolOrder::Start(Box::new(plan))))
}

/// The tour that PATROL_STOP, PAUSE or RESUME names, if it does.
pub fn tour_named(fields: &Fields) -> Result<Option<Id>, Fault> {
    fields
        .id("tourId")?
        .map(|text| Id::parse("tourId", &text))
        .transpose()
}

/// What kind of answer a command gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A movement or a preset.
    Ptz(PtzAction),
    /// A question.
    Query,
    /// A patrol.
    Patrol,
    /// A press of a joystick.
    Hold(HoldId),
}

impl Shape {
    /// That of an order.
    pub fn of(order: &Order, action: Option<PtzAction>) -> Self {
        match order {
            Order::Query(_) => Self::Query,
            Order::Patrol(_) => Self::Patrol,
            Order::Hold(hold) => Self::Hold(*hold),
            Order::Act(Action::Preset(preset)) => Self::Ptz(match preset {
                PresetOrder::Goto { .. } => PtzAction::GotoPreset,
                PresetOrder::Set { .. } => PtzAction::SetPreset,
                PresetOrder::Delete { .. } => PtzAction::DeletePreset,
            }),
            _ => Self::Ptz(action.unwrap_or(PtzAction::Stop)),
        }
    }
}

/// What a press of a joystick is answered with.
fn hold_json(hold: HoldId) -> Value {
    json!({
        "hold": hold.to_string(),
        "expiresMs": HoldId::EXPIRES_MS,
    })
}

/// The `data` of an answer, and what is wrong.
pub fn outcome(shape: Shape, reply: CameraReply) -> (Value, Option<Fault>) {
    let CameraReply {
        camera,
        protocol,
        result,
    } = reply;
    let success = match result {
        Ok(success) => success,
        Err(fault) => return (Value::Null, Some(fault)),
    };
    let camera = camera.as_str();
    match shape {
        Shape::Ptz(action) => (
            json!({
                "cameraId": camera,
                "protocol": protocol.map(Protocol::name),
                "action": action.name(),
                "stopsAt": success.stops_at.map(rfc3339),
                "presetId": success.preset.as_deref(),
                "superseded": success.superseded,
            }),
            None,
        ),
        Shape::Hold(hold) => (hold_json(hold), None),
        Shape::Patrol => {
            let mut data = success.patrol.as_ref().map_or(Value::Null, patrol);
            if let (Value::Object(map), true) = (&mut data, success.superseded) {
                map.insert("superseded".to_owned(), Value::Bool(true));
            }
            (data, None)
        }
        Shape::Query => {
            match success.data {
                Some(QueryData::Check(report)) => check(&report),
                Some(QueryData::Picture(shot)) => (picture(camera, &shot), None),
                Some(QueryData::Presets(presets)) => {
                    let list: Vec<Value> = presets
                    .iter()
                    .map(|p| json!({
                        "id": p.id,
                        "name": p.name.as_deref().map(|name| foreign::shown(name, MAX_NAME)),
                        "enabled": p.enabled,
                    }))
                    .collect();
                    (json!({ "presets": list }), None)
                }
                Some(QueryData::Info(info)) => (device_info(camera, &info), None),
                Some(QueryData::Fit(report)) => {
                    let data = fit_wire::report(camera, protocol, &report);
                    (data, report.failed.clone())
                }
                // Asked by discovery and streams alone.
                Some(QueryData::StreamUri(_) | QueryData::Keyframe(_)) | None => {
                    (Value::Null, None)
                }
            }
        }
    }
}

fn check(report: &CheckReport) -> (Value, Option<Fault>) {
    let data = json!({
        "online": report.online,
        "protocol": report.protocol.map(Protocol::name),
        "latencyMs": report.latency.map(|l| u64::try_from(l.as_millis()).unwrap_or(u64::MAX)),
        "authenticated": report.authenticated,
    });
    (data, report.fault.clone())
}

fn picture(camera: &str, shot: &Picture) -> Value {
    json!({
        "cameraId": camera,
        "contentType": "image/jpeg",
        "width": shot.width,
        "height": shot.height,
        "bytes": shot.jpeg.len(),
        "capturedAt": rfc3339(shot.captured_at),
        "image": base64::engine::general_purpose::STANDARD.encode(&shot.jpeg),
    })
}

/// `{ tourId, cameraId, state, currentWaypoint, currentLoop, loopCount }`
fn patrol(status: &PatrolStatus) -> Value {
    json!({
        "tourId": status.tour.as_ref().map(Id::as_str),
        "cameraId": status.camera.as_str(),
        "state": status.state.name(),
        "currentWaypoint": status.current_waypoint,
        "currentLoop": status.current_loop,
        "loopCount": status.loop_count,
    })
}

/// The spec's `CameraDeviceInfo`.
pub fn device_info(camera: &str, info: &CameraDeviceInfo) -> Value {
    let capabilities = info.capabilities.as_ref().map(|all| {
        let (ptz, video, audio) = (&all.ptz, &all.video, &all.audio);
        let says_video =
            video.codecs.is_some() || video.resolutions.is_some() || video.max_fps.is_some();
        let says_audio = audio.supported.is_some() || audio.codecs.is_some();
        json!({
            "ptz": {
                "supported": ptz.supported,
                "continuousMove": ptz.continuous_move,
                "absoluteMove": ptz.absolute_move,
                "relativeMove": ptz.relative_move,
                "preset": ptz.preset,
                "maxPresets": ptz.max_presets,
                "patrol": ptz.patrol,
                "maxPatrols": ptz.max_patrols,
                "zoom": ptz.zoom,
                "focus": ptz.focus,
                "iris": ptz.iris,
            },
            "video": says_video.then(|| json!({
                "codecs": video.codecs,
                "resolutions": video.resolutions,
                "maxFps": video.max_fps,
            })),
            "audio": says_audio.then(|| json!({
                "supported": audio.supported,
                "codecs": audio.codecs,
            })),
        })
    });
    json!({
        "cameraId": camera,
        "ip": info.address.ip.to_string(),
        "port": info.address.port,
        "manufacturer": info.manufacturer,
        "model": info.model,
        "serialNumber": info.serial_number,
        "firmwareVersion": info.firmware_version,
        "hardwareId": info.hardware_id,
        "macAddress": info.mac_address,
        "deviceName": info.device_name,
        "probeMethod": info.probe_method.name(),
        "protocolSupport": {
            "onvif": info.protocol_support.of(Protocol::ONVIF),
            "isapi": info.protocol_support.of(Protocol::ISAPI),
            "rtsp": info.protocol_support.rtsp,
            "onvifVersion": info.protocol_support.onvif_version,
        },
        "capabilities": capabilities,
        "probeTime": rfc3339(info.probe_time),
    })
}

/// What `DELETE /api/cameras/{id}/certificate` has forgotten.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ForgottenJson {
    camera_id: String,
    forgotten: Vec<CertificateJson>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CertificateJson {
    ip: String,
    port: u16,
    sha256: String,
    since: String,
}

impl ForgottenJson {
    /// Of one camera.
    pub fn of(camera: &str, forgotten: &[KeptCertificate]) -> Self {
        let certificate = |kept: &KeptCertificate| CertificateJson {
            ip: kept.at.ip().to_string(),
            port: kept.at.port(),
            sha256: camera_trust::hex(&kept.fingerprint),
            since: rfc3339(kept.since),
        };
        Self {
            camera_id: camera.to_owned(),
            forgotten: forgotten.iter().map(certificate).collect(),
        }
    }
}

/// One entry of `GET /api/cameras`: the spec's `Camera` and what contract 10 adds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KnownCameraJson {
    camera_id: Option<String>,
    ip: String,
    port: u16,
    onvif: Option<bool>,
    rtsp_url: Option<String>,
    vendor: Option<String>,
    model: Option<String>,
    online: Option<bool>,
    last_seen: Option<String>,
}

impl KnownCameraJson {
    /// What discovery has found, by address, with the ids that commands use (one entry each where
    /// there are several); behind them what only commands know.
    pub fn list(found: &[Camera], known: Vec<KnownCamera>) -> Vec<Self> {
        let mut list = Vec::with_capacity(found.len() + known.len());
        let mut by_ip: BTreeMap<String, Vec<KnownCamera>> = BTreeMap::new();
        let mut elsewhere = Vec::new();
        for camera in known {
            match camera.ip {
                Some(ip) => by_ip.entry(ip.to_string()).or_default().push(camera),
                None => elsewhere.push(camera),
            }
        }
        for camera in found {
            let here = by_ip.remove(&camera.ip).unwrap_or_default();
            let named = here.iter().filter(|known| known.camera_id.is_some());
            let ids = named.clone().count();
            list.extend(named.map(|known| Self::found(camera, Some(known))));
            if ids == 0 {
                list.push(Self::found(camera, here.first()));
            }
        }
        let rest = by_ip.into_values().flatten().chain(elsewhere);
        list.extend(rest.map(Self::new));
        list
    }

    fn found(camera: &Camera, known: Option<&KnownCamera>) -> Self {
        let filled = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let told = known.and_then(|known| known.vendor.clone());
        let answered = known.and_then(|known| known.last_seen);
        Self {
            camera_id: known
                .and_then(|known| known.camera_id.as_ref())
                .map(|id| id.as_str().to_owned()),
            ip: camera.ip.clone(),
            port: camera.port,
            onvif: Some(camera.onvif),
            rtsp_url: filled(&camera.rtsp_url),
            vendor: camera
                .vendor
                .clone()
                .or(told)
                .or_else(|| Some(vendor_word(camera).to_owned())),
            model: filled(&camera.model).or_else(|| known.and_then(|known| known.model.clone())),
            online: Some(camera.online),
            last_seen: Some(rfc3339(
                answered.map_or(camera.last_seen, |at| at.max(camera.last_seen)),
            )),
        }
    }

    /// As commands know it.
    fn new(camera: KnownCamera) -> Self {
        let onvif = camera
            .protocol
            .map(|p| p == Protocol::ONVIF)
            // That it speaks the other one says nothing of this.
            .filter(|onvif| *onvif);
        Self {
            camera_id: camera.camera_id.map(|id| id.as_str().to_owned()),
            ip: camera.host.to_string(),
            port: camera.port,
            onvif,
            rtsp_url: None,
            vendor: camera.vendor,
            model: camera.model,
            online: camera.online,
            last_seen: camera.last_seen.map(rfc3339),
        }
    }
}

/// A `ptz_event`.
pub fn ptz_event(node_id: &str, event: &PtzEvent, at: std::time::SystemTime) -> String {
    json!({
        "type": "PTZ_EVENT",
        "nodeId": node_id,
        "cameraId": event.camera.as_str(),
        "event": event.kind.name(),
        "reason": event.reason,
        "timestamp": rfc3339(at),
    })
    .to_string()
}

/// A `patrol_event`.
pub fn patrol_event(
    node_id: &str,
    event: &crate::domain::patrol::PatrolEvent,
    at: std::time::SystemTime,
) -> String {
    json!({
        "type": "PATROL_EVENT",
        "nodeId": node_id,
        "cameraId": event.camera.as_str(),
        "tourId": event.tour.as_str(),
        "event": event.kind.name(),
        "reason": event.reason,
        "currentWaypoint": event.current_waypoint,
        "currentLoop": event.current_loop,
        "timestamp": rfc3339(at),
    })
    .to_string()
}

/// A payload with fields of a route's own laid over it.
pub fn overlaid(mut value: Value, fields: &[(&str, Option<Value>)]) -> Value {
    if !value.is_object() {
        return value;
    }
    if let Value::Object(map) = &mut value {
        overlay(map, fields);
    }
    value
}

fn overlay(map: &mut Map<String, Value>, fields: &[(&str, Option<Value>)]) {
    for (name, field) in fields {
        if let Some(field) = field {
            map.insert((*name).to_owned(), field.clone());
        }
    }
}
