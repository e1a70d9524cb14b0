//! `lss fit`: what one camera's encoder must change, and with leave the change, without a daemon.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use super::known_trust::KnownTrust;
use super::probe::{cameras, err, out, said_of};
use crate::adapter::fit_wire;
use crate::application::camera::{
    CameraAsk, CameraParams, CameraService, Order, Origin, Query, QueryData, Sent,
};
use crate::domain::camera::fit::{FitAsk, StreamName};
use crate::domain::error::Fault;

/// The camera's own time limits end before this.
const PATIENCE: Duration = Duration::from_secs(70);

/// What to fit.
#[derive(Debug, PartialEq, Eq)]
pub struct FitRequest {
    /// `IP[:PORT]`, a host name too.
    pub address: String,
    /// Without one the camera is asked as a stranger.
    pub user: Option<String>,
    /// The stream, and whether to write.
    pub ask: FitAsk,
    /// For programs.
    pub json: bool,
}

impl FitRequest {
    /// From the command line.
    ///
    /// # Errors
    /// What is wrong, for the user.
    pub fn parse(
        address: String,
        user: Option<String>,
        stream: Option<&str>,
        apply: bool,
        json: bool,
    ) -> Result<Self, String> {
        let named = |text| StreamName::parse(text).ok_or("--stream takes main or sub");
        let stream = stream.map(named).transpose()?;
        Ok(Self {
            address,
            user,
            ask: FitAsk {
                stream,
                apply,
                ..FitAsk::default()
            },
            json,
        })
    }
}

/// Fits, prints, and tells how it went: 0 told or done, 1 it did not work, 2 bad arguments.
pub fn run(request: &FitRequest) -> ExitCode {
    let said = match said_of(&request.address, request.user.as_ref()) {
        Ok(said) => said,
        Err(why) => {
            err(&why);
            return ExitCode::from(2);
        }
    };
    let (report, failed) = match fit(said, request.ask) {
        Ok(done) => done,
        Err(why) => {
            err(&why);
            return ExitCode::FAILURE;
        }
    };
    if request.json {
        out(&format!("{report:#}"));
    } else {
        for line in lines(&report, request.ask.apply) {
            out(&line);
        }
    }
    match failed {
        None => ExitCode::SUCCESS,
        Some(fault) => {
            err(&fault.to_string());
            ExitCode::FAILURE
        }
    }
}

fn fit(said: CameraParams, wish: FitAsk) -> Result<(Value, Option<Fault>), String> {
    let trust = KnownTrust::read();
    let result = ask(&cameras(&trust.doors), said, wish);
    trust.tell();
    result
}

fn ask(
    cameras: &CameraService,
    said: CameraParams,
    wish: FitAsk,
) -> Result<(Value, Option<Fault>), String> {
    let camera = CameraAsk {
        camera_id: None,
        said,
    };
    let order = Order::Query(Query::Fit(wish));
    let done = cameras
        .submit(&camera, Origin::Internal, Sent::now(), order)
        .map_err(|fault| fault.to_string())?;
    let reply = done
        .recv_timeout(PATIENCE)
        .map_err(|_| "the camera did not answer in time".to_owned())?;
    match reply.result.map_err(|fault| fault.to_string())?.data {
        Some(QueryData::Fit(report)) => {
            let shown = fit_wire::report(reply.camera.as_str(), reply.protocol, &report);
            Ok((shown, report.failed))
        }
        _ => Err("the camera told nothing".to_owned()),
    }
}

/// A line a stream, then a line a key.
fn lines(report: &Value, apply: bool) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        other => other.to_string(),
    };
    let list = |name: &str| {
        let items = report.get(name).and_then(Value::as_array);
        items.cloned().unwrap_or_default()
    };
    let mut lines = Vec::new();
    for stream in list("streams") {
        let of = |name: &str| text(stream.get(name).unwrap_or(&Value::Null));
        lines.push(format!(
            "{:<5} {} {}, {}x{} at {}/s, {} kb/s, a keyframe every {} s, audio {}",
            of("stream"),
            of("codec"),
            of("profile"),
            of("width"),
            of("height"),
            of("fps"),
            of("bitrateKbps"),
            of("keyframeSeconds"),
            of("audio"),
        ));
        lines.push(format!("      {}: {}", of("fit"), of("reason")));
    }
    let plan = list("plan");
    for step in &plan {
        let of = |name: &str| text(step.get(name).unwrap_or(&Value::Null));
        lines.push(format!(
            "plan  {} {}: {} -> {}",
            of("stream"),
            of("key"),
            of("from"),
            of("to")
        ));
    }
    let is = |name: &str| report.get(name) == Some(&Value::Bool(true));
    lines.push(match (is("applied"), is("rolledBack")) {
        (true, _) => "applied, and the stream is as asked".to_owned(),
        (_, true) => "not as asked; the old settings were written back".to_owned(),
        _ if apply => "nothing is changed".to_owned(),
        _ if plan.is_empty() => "nothing to change".to_owned(),
        _ => "nothing is written without --apply".to_owned(),
    });
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_plan_is_shown_key_by_key() {
        let report = json!({
            "streams": [{ "stream": "sub", "codec": "H265", "profile": null, "width": 640,
                "height": 360, "fps": 25, "bitrateKbps": 512, "keyframeSeconds": 4,
                "audio": null, "fit": "needs_change", "reason": "why" }],
            "plan": [{ "stream": "sub", "key": "codec", "from": "H265", "to": "H264" }],
            "applied": false, "rolledBack": false,
        });
        assert_eq!(
            lines(&report, false),
            [
                "sub   H265 -, 640x360 at 25/s, 512 kb/s, a keyframe every 4 s, audio -",
                "      needs_change: why",
                "plan  sub codec: H265 -> H264",
                "nothing is written without --apply",
            ]
        );
        assert_eq!(lines(&report, true).last().unwrap(), "nothing is changed");
    }

    #[test]
    fn streams_have_names() {
        let parse = |stream| FitRequest::parse("a".into(), None, stream, false, false);
        assert_eq!(
            parse(Some("sub")).unwrap().ask.stream,
            Some(StreamName::Sub)
        );
        assert!(parse(Some("third")).is_err());
    }
}
