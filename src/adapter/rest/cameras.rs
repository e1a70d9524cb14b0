//! The camera and patrol routes: what is asked → which order → what is answered (contract 10).
//! Every answer comes later, so a camera that is slow holds no worker.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::api::{Answer, Api, Call};
use super::late::Deferred;
use super::reply::{self, Reply};
use super::route_table::CameraOp;
use crate::adapter::camera_wire::{self, ForgottenJson, KnownCameraJson, Reading, Shape};
use crate::adapter::decode::{self, Fields};
use crate::adapter::fit_wire;
use crate::application::camera::{
    CameraAsk, CameraReply, KnownCamera, Order, Origin, PatrolOrder, Query, QueryData, Sent,
};
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::node::Camera;
use crate::domain::ptz::PtzAction;

/// A picture over REST is scaled only on request; a camera's own limit is lower.
const MAX_PICTURE: usize = 8 * 1024 * 1024;
/// The widest picture that can be asked for.
const MAX_WIDTH: u32 = 16_384;

/// Answers a camera route. `ids` = the variable segments of the path.
pub fn answer(api: &Api, call: &Call, op: CameraOp, ids: &[String]) -> Result<Answer, Fault> {
    match op {
        CameraOp::List => {
            return Ok(list(&api.discovery.cameras(), api.cameras.known()).into());
        }
        CameraOp::Scan => return scan(api, call),
        _ => {}
    }
    let id = ids.first().map_or("", String::as_str);
    let preset = ids.get(1).map(|id| Value::from(id.as_str()));
    let body = decode::parse(&call.body)?;
    Fields::of(&body, "the body")?;
    let named = !ids.is_empty();
    let by_ip = id.parse::<IpAddr>().is_ok();
    let body = camera_wire::overlaid(
        body,
        &[
            ("ip", (named && by_ip).then(|| Value::from(id))),
            ("cameraId", (named && !by_ip).then(|| Value::from(id))),
            ("presetId", preset),
        ],
    );
    let fields = Fields::of(&body, "the body")?;
    let mut reading = Reading::of_a_stop();
    if let Some((order, action)) = stop(op, &fields, &mut reading) {
        let mut ask = camera_wire::camera_ask(&fields, &mut reading)?;
        if api.cameras.leave_refused_host(&mut ask) {
            reading.leave_out("ip");
        }
        return submit(api, &ask, order, action, reading.ignored());
    }
    let ask = camera_wire::camera_ask(&fields, &mut Reading::strict())?;
    if op == CameraOp::CertificateForget {
        let forgotten = api.cameras.forget_certificates(&ask)?;
        return Ok(Reply::ok(&ForgottenJson::of(id, &forgotten)).into());
    }
    let (order, action) = order(call, op, &ask, &fields)?;
    submit(api, &ask, order, action, Vec::new())
}

/// What makes a camera or its tour stand still.
fn stop(
    op: CameraOp,
    fields: &Fields,
    reading: &mut Reading,
) -> Option<(Order, Option<PtzAction>)> {
    let tour = |reading: &mut Reading| camera_wire::tour_of_a_stop(fields, reading);
    Some(match op {
        CameraOp::Ptz => {
            let (order, action) = camera_wire::ptz_stop(fields, reading)?;
            (order, Some(action))
        }
        CameraOp::PatrolStop => (Order::Patrol(PatrolOrder::Stop(tour(reading))), None),
        CameraOp::PatrolPause => (Order::Patrol(PatrolOrder::Pause(tour(reading))), None),
        _ => return None,
    })
}

fn list(found: &[Camera], known: Vec<KnownCamera>) -> Reply {
    Reply::ok(&KnownCameraJson::list(found, known))
}

/// The list after a sweep.
fn scan(api: &Api, call: &Call) -> Result<Answer, Fault> {
    let body = if call.body.is_empty() {
        json!({})
    } else {
        decode::parse(&call.body)?
    };
    let fields = Fields::of(&body, "the body")?;
    let subnet = fields.text("subnet")?.filter(|text| !text.is_empty());
    let place = api.late.place().ok_or_else(full)?;
    let done = api.discovery.scan(subnet)?;
    let limit = api.discovery.patience();
    let overdue = Fault::new(
        ErrorCode::Unavailable,
        "the sweep takes longer than it is waited for; GET /api/cameras tells what it saw",
    );
    let cameras = api.cameras.clone();
    Ok(Answer::Later(Deferred::new(
        place,
        done,
        limit,
        overdue,
        move |swept| match swept {
            Ok(found) => list(&found, cameras.known()),
            Err(fault) => Reply::fault(&fault),
        },
    )))
}

fn full() -> Fault {
    Fault::new(
        ErrorCode::NodeBusy,
        "too many callers wait for answers of cameras and streams",
    )
}

fn order(
    call: &Call,
    op: CameraOp,
    ask: &CameraAsk,
    fields: &Fields,
) -> Result<(Order, Option<PtzAction>), Fault> {
    let preset = |action| -> Result<_, Fault> {
        Ok((camera_wire::ptz_order(action, fields)?, Some(action)))
    };
    Ok(match op {
        CameraOp::List | CameraOp::Scan | CameraOp::Probe | CameraOp::CertificateForget => {
            (Order::Query(Query::DeviceInfo), None)
        }
        CameraOp::Ptz => {
            let action = camera_wire::action(fields)?;
            return preset(action);
        }
        CameraOp::Hold => (Order::hold(), None),
        CameraOp::Presets => (Order::Query(Query::Presets), None),
        CameraOp::PresetSet => {
            let name = fields.text("name")?.map(Value::from);
            let named = camera_wire::overlaid(
                json!({ "presetId": fields.text_or_number("presetId")? }),
                &[("presetName", name)],
            );
            let named = Fields::of(&named, "the body")?;
            let order = camera_wire::ptz_order(PtzAction::SetPreset, &named)?;
            (order, Some(PtzAction::SetPreset))
        }
        CameraOp::PresetGoto => return preset(PtzAction::GotoPreset),
        CameraOp::PresetDelete => return preset(PtzAction::DeletePreset),
        CameraOp::Snapshot => (
            Order::Query(Query::Snapshot {
                max_width: width(call)?,
                max_bytes: MAX_PICTURE,
            }),
            None,
        ),
        CameraOp::Fit => (Order::Query(Query::Fit(fit_wire::ask(fields)?)), None),
        CameraOp::PatrolStart => (camera_wire::patrol_start(ask, fields)?, None),
        CameraOp::PatrolResume => {
            let tour = camera_wire::tour_named(fields)?;
            (Order::Patrol(PatrolOrder::Resume(tour)), None)
        }
        // Stops were taken before.
        CameraOp::PatrolStop | CameraOp::PatrolPause | CameraOp::PatrolStatus => {
            (Order::Patrol(PatrolOrder::Status), None)
        }
    })
}

fn width(call: &Call) -> Result<Option<u32>, Fault> {
    call.query("width")
        .map(|text| {
            text.parse()
                .ok()
                .filter(|width| (1..=MAX_WIDTH).contains(width))
                .ok_or_else(|| {
                    Fault::new(
                        ErrorCode::ParamInvalid,
                        format!("width must be from 1 to {MAX_WIDTH} pixels"),
                    )
                })
        })
        .transpose()
}

fn submit(
    api: &Api,
    ask: &CameraAsk,
    order: Order,
    action: Option<PtzAction>,
    ignored: Vec<&'static str>,
) -> Result<Answer, Fault> {
    let shape = Shape::of(&order, action);
    let stop = order.is_stop();
    let limit = api.cameras.patience(&order).min(api.late_limit.get());
    let place = api.late.place();
    // A stop is carried out even if nobody can wait for its end.
    if place.is_none() && !stop {
        return Err(full());
    }
    let done = match api.cameras.submit(ask, Origin::Rest, Sent::now(), order) {
        Ok(done) => done,
        Err(fault) => return Ok(refused(&fault).into()),
    };
    let Some(place) = place else {
        return Err(full());
    };
    let overdue = Fault::new(
        ErrorCode::Unavailable,
        "the camera has not answered in time",
    );
    Ok(Answer::Later(Deferred::new(
        place,
        done,
        limit,
        overdue,
        move |reply| shown(shape, reply, &ignored),
    )))
}

fn shown(shape: Shape, reply: CameraReply, ignored: &[&'static str]) -> Reply {
    if let Ok(success) = &reply.result
        && let Some(QueryData::Picture(shot)) = &success.data
    {
        return Reply::jpeg(shot.jpeg.clone());
    }
    match camera_wire::outcome(shape, reply) {
        (mut data, None) => {
            camera_wire::name_ignored(&mut data, ignored);
            Reply::ok(&data)
        }
        (Value::Null, Some(fault)) => refused(&fault),
        // What was found is of use all the same.
        (data, Some(fault)) => Reply::fault_with(status(&fault), &fault, Some(&data)),
    }
}

/// A login that a camera refused is not one that the API refused (contract 12).
fn refused(fault: &Fault) -> Reply {
    Reply::fault_as(status(fault), fault)
}

fn status(fault: &Fault) -> u16 {
    match fault.code {
        ErrorCode::Unauthorized | ErrorCode::AccessDenied => 502,
        code => reply::http_status(code),
    }
}
