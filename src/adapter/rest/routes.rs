//! The routes: what is asked → what the application is asked → what is answered, in the
//! contract's order of checks (contract 2, 10). Which routes there are is `route_table`'s. Knows no
//! socket and no HTTP server.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::api::{Answer, Api, Call};
use super::cameras;
use super::guard::Credentials;
use super::late::Deferred;
use super::metrics;
use super::reply::Reply;
use super::route_table::{Op, Route, routes_of};
use super::wire::{HealthJson, LiveJson, LogJson, MaintenanceJson, ReadyJson};
use crate::adapter::decode::{self, Fields};
use crate::adapter::wire::{Audience, TaskJson, start_command};
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::stream::StreamTask;
use crate::json::LocalNodeJson;

/// Answers a request.
pub fn answer(api: &Api, call: &Call) -> Answer {
    checked(api, call).unwrap_or_else(|refusal| Answer::Now(*refusal))
}

fn checked(api: &Api, call: &Call) -> Result<Answer, Box<Reply>> {
    let routes = routes_of(call.path());
    if !routes.iter().any(|route| route.op.is_open()) {
        let access = Arc::clone(&api.access.read().unwrap_or_else(PoisonError::into_inner));
        access.check(&Credentials {
            host: call.host.as_deref(),
            origin: call.origin.as_deref(),
            authorization: call.authorization.as_deref(),
        })?;
        if api.refusing.load(Ordering::Relaxed) {
            let fault = Fault::new(ErrorCode::Unavailable, "the node is stopping");
            return Err(Box::new(Reply::fault(&fault)));
        }
    }
    if routes.is_empty() {
        let fault = Fault::new(
            ErrorCode::NotFound,
            "no such route; GET /api/openapi.json lists them all",
        );
        return Err(Box::new(Reply::fault(&fault)));
    }
    let method = if call.method == "HEAD" {
        "GET"
    } else {
        &call.method
    };
    let Some(route) = routes.iter().find(|route| route.method == method) else {
        let mut allowed: Vec<&str> = routes.iter().map(|route| route.method).collect();
        if allowed.contains(&"GET") {
            allowed.push("HEAD");
        }
        let allowed = allowed.join(", ");
        let refusal = refused(405, format!("this route takes {allowed} only"));
        return Err(Box::new(refusal.with("Allow", allowed)));
    };
    check_body(call)?;
    run(api, call, route).map_err(|fault| Box::new(Reply::fault(&fault)))
}

fn check_body(call: &Call) -> Result<(), Box<Reply>> {
    if call.body.is_empty() && !call.oversize {
        return Ok(());
    }
    let is_json = call
        .content_type
        .as_deref()
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
    if !is_json {
        let why = "the body must be JSON: Content-Type: application/json";
        return Err(Box::new(refused(415, why)));
    }
    if call.oversize {
        return Err(Box::new(refused(413, "the body is over 256 KiB")));
    }
    Ok(())
}

/// A request that is none, under the status that says in which way.
fn refused(status: u16, why: impl Into<String>) -> Reply {
    Reply::fault_as(status, &Fault::new(ErrorCode::BadRequest, why))
}

fn run(api: &Api, call: &Call, route: &Route) -> Result<Answer, Fault> {
    let id = route.ids.first().map_or("", String::as_str);
    Ok(match route.op {
        Op::Camera(op) => cameras::answer(api, call, op, &route.ids)?,
        Op::Start => start(api, &call.body)?,
        Op::Stop => stop(api, &call.body)?,
        Op::Task => shown(&api.streams.get(Some(id))?).into(),
        Op::TaskLog => task_log(api, call, id)?.into(),
        Op::ActiveTasks => list(api, true)?.into(),
        Op::Tasks => list(api, false)?.into(),
        Op::Node => Reply::ok(&LocalNodeJson::new(&(api.node)())).into(),
        Op::Maintenance => maintenance(api, &call.body)?.into(),
        Op::Health => health(api).into(),
        Op::Live => Reply::ok(&LiveJson { live: true }).into(),
        Op::Ready => ready(api).into(),
        Op::Metrics => metrics::reply((api.metrics)(&[api.late.queue()])).into(),
        Op::OpenApi => Reply::document(include_str!("openapi.json")).into(),
    })
}

fn shown(task: &StreamTask) -> Reply {
    Reply::ok(&TaskJson::new(task, Audience::Local))
}

fn start(api: &Api, body: &[u8]) -> Result<Answer, Fault> {
    let value = decode::parse(body)?;
    let command = start_command(&Fields::of(&value, "the body")?)?;
    // First the place: nothing is started whose answer nobody could wait for.
    let place = api.late.place().ok_or_else(|| {
        Fault::new(
            ErrorCode::NodeBusy,
            "too many callers wait for an answer; try again in a moment",
        )
    })?;
    let accepted = api.streams.start(&command)?;
    let overdue = Fault::new(
        ErrorCode::InternalError,
        "the stream owner does not answer; the log says more",
    );
    Ok(Answer::Later(Deferred::new(
        place,
        accepted,
        api.late_limit.get(),
        overdue,
        |outcome| match outcome {
            Ok(task) => shown(&task),
            Err(fault) => Reply::fault(&fault),
        },
    )))
}

fn stop(api: &Api, body: &[u8]) -> Result<Answer, Fault> {
    let value = decode::parse(body)?;
    let fields = Fields::of(&value, "the body")?;
    let force = fields.flag("force")?.unwrap_or(false);
    let place = api.late.place();
    // A stop is carried out even if nobody can wait for its end.
    let done = api.streams.stop(fields.id("taskId")?.as_deref(), force)?;
    let Some(place) = place else {
        return Err(Fault::new(
            ErrorCode::NodeBusy,
            "the stop is under way, but too many callers wait for one; \
             GET /api/stream/task/{taskId} tells when it is done",
        ));
    };
    let overdue = Fault::new(
        ErrorCode::TaskStopFailed,
        "the process has not ended in time; lss goes on ending it",
    );
    Ok(Answer::Later(Deferred::new(
        place,
        done,
        api.late_limit.get(),
        overdue,
        |outcome| match outcome {
            Ok(task) => shown(&task),
            Err(fault) => Reply::fault(&fault),
        },
    )))
}

fn list(api: &Api, active_only: bool) -> Result<Reply, Fault> {
    let tasks = api.streams.list(active_only)?;
    let shown: Vec<TaskJson> = tasks
        .iter()
        .map(|task| TaskJson::new(task, Audience::Local))
        .collect();
    Ok(Reply::ok(&shown))
}

fn task_log(api: &Api, call: &Call, id: &str) -> Result<Reply, Fault> {
    let run = match call.query("run") {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| {
            Fault::new(
                ErrorCode::ParamInvalid,
                "run must be the number of a run, 1 = the task's first",
            )
        })?),
    };
    Ok(Reply::ok(&LogJson::new(id, api.streams.log(id, run)?)))
}

fn maintenance(api: &Api, body: &[u8]) -> Result<Reply, Fault> {
    let value = decode::parse(body)?;
    let fields = Fields::of(&value, "the body")?;
    let enabled = fields
        .flag("enabled")?
        .ok_or_else(|| fields.missing("enabled"))?;
    api.streams.set_maintenance(enabled)?;
    Ok(Reply::ok(&MaintenanceJson { enabled }))
}

fn health(api: &Api) -> Reply {
    let uptime = api.started.elapsed();
    Reply::ok(&HealthJson::new(&api.health, &api.node_id, uptime))
}

fn ready(api: &Api) -> Reply {
    let missing = api.health.not_ready();
    let shown = ReadyJson::new(&api.health, missing.is_empty());
    if missing.is_empty() {
        return Reply::ok(&shown);
    }
    let reasons: Vec<String> = missing
        .iter()
        .map(|(part, reason)| format!("{}: {reason}", part.name()))
        .collect();
    let fault = Fault::new(
        ErrorCode::NodeNotReady,
        format!("not ready: {}", reasons.join("; ")),
    );
    Reply::fault_with(503, &fault, Some(&shown))
}
