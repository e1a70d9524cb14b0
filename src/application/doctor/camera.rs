//! One camera: reached, let in, its clock, its stream, and what that means for WHIP.

use super::network::span;
use super::{Check, Datum};
use crate::domain::camera::{CameraDeviceInfo, StreamSettings};
use crate::domain::checkup::{CameraLook, StreamLook};
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::whip_fit::{self, Grade, VideoFit, WhipFit};

/// A camera's clock off by more than this many seconds makes its recordings useless as evidence.
const CLOCK_WARN: u64 = 60;
/// A keyframe this seldom, in seconds, is a long wait for a viewer.
const LONG_GAP: f64 = 4.0;

/// Everything about one camera.
pub fn camera(look: &CameraLook) -> Vec<Check> {
    let mut checks = vec![login(look)];
    checks.extend(look.clock.map(clock));
    if let Some(stream) = &look.stream {
        let mut found = streams(stream, look.settings.as_ref());
        name_the_fit(&mut found, look);
        checks.extend(found);
    }
    checks.into_iter().map(|c| c.about(&look.name)).collect()
}

/// The first thing that keeps a picture from going out well as it is names the command that asks the
/// camera what it offers, and sets it.
fn name_the_fit(checks: &mut [Check], look: &CameraLook) {
    if look.info.is_err() {
        return;
    }
    let worth = checks
        .iter_mut()
        .find(|c| c.status == Grade::Warn && matches!(c.check, "camera.whip" | "camera.keyframes"));
    if let Some(advice) = worth.and_then(|check| check.advice.as_mut()) {
        let user = if look.has_login { " --user USER" } else { "" };
        *advice = super::plain(&format!(
            "{advice}; `lss fit {}{user}` tells what the camera offers, and sets it with --apply",
            look.name
        ));
    }
}

fn login(look: &CameraLook) -> Check {
    let fault = match &look.info {
        Ok(info) => return known(info, look.has_login),
        Err(fault) => fault,
    };
    let (words, advice) = match fault.code {
        ErrorCode::Unauthorized if look.has_login => (
            format!(
                "is there and refuses the login: {}. It was tried once, and is not tried again",
                fault.message
            ),
            "set the right username and password in camera.credentials; after a few wrong ones \
             the camera locks the account for half an hour",
        ),
        ErrorCode::Unauthorized => (
            "is there and wants a login, and none is configured for it".to_owned(),
            "add it to camera.credentials (match, username, password_file)",
        ),
        ErrorCode::AccessDenied => (
            format!(
                "takes the login, but the account may not: {}",
                fault.message
            ),
            "give the account the rights of an operator on the camera",
        ),
        ErrorCode::Unavailable => (
            format!("can't be reached: {}", fault.message),
            "is it switched on, is its address still this one, is it on the same network? its \
             HTTP port, if it is not 80, goes behind the address: --camera IP:PORT",
        ),
        ErrorCode::ValidationFailed => (
            fault.message.clone(),
            "switch ONVIF on in the camera's network settings, or name its HTTP port: --camera \
             IP:PORT",
        ),
        ErrorCode::NodeBusy => (
            fault.message.clone(),
            "too many clients are logged in to it: end some, then try again",
        ),
        _ => (
            fault.message.clone(),
            "restart the camera, then try again; newer firmware may help",
        ),
    };
    Check::fail("camera", words, advice).with("code", Datum::Whole(i64::from(fault.code.number())))
}

fn known(info: &CameraDeviceInfo, has_login: bool) -> Check {
    let named: Vec<&str> = [&info.manufacturer, &info.model, &info.firmware_version]
        .into_iter()
        .filter_map(|part| part.as_deref())
        .collect();
    let protocol = info.probe_method.name();
    let login = if has_login {
        "takes the login"
    } else {
        "asks for no login"
    };
    let check = if has_login {
        Check::pass(
            "camera",
            format!("{} by {protocol}, {login}", or_camera(&named)),
        )
    } else {
        Check::warn(
            "camera",
            format!("{} by {protocol}, {login}", or_camera(&named)),
            "set a password on the camera, and add it to camera.credentials",
        )
    };
    let text = |part: &Option<String>| Datum::Text(part.clone().unwrap_or_default());
    check
        .with("protocol", Datum::Text(protocol.to_owned()))
        .with("model", text(&info.model))
        .with("firmware", text(&info.firmware_version))
}

fn or_camera(named: &[&str]) -> String {
    if named.is_empty() {
        "a camera".to_owned()
    } else {
        named.join(" ")
    }
}

fn clock(offset: i64) -> Check {
    let off = offset.unsigned_abs();
    let side = if offset < 0 { "behind" } else { "ahead" };
    let check = if off > CLOCK_WARN {
        // Our own logins carry the camera's time, so they work all the same.
        Check::warn(
            "camera.clock",
            format!(
                "its clock is {} {side} of this machine's; logins of lss allow for that, its \
                 pictures carry the wrong time",
                span(off)
            ),
            "set a time server (NTP) in the camera, this gateway's network has one or pool.ntp.org",
        )
    } else {
        Check::pass(
            "camera.clock",
            format!("its clock agrees within {} s", off.max(1)),
        )
    };
    check.with("offsetSeconds", Datum::Whole(offset))
}

fn streams(look: &StreamLook, settings: Option<&StreamSettings>) -> Vec<Check> {
    let told = if look.told {
        ""
    } else {
        ", the vendor's usual path"
    };
    let description = match &look.found {
        Ok(description) => description,
        Err(fault) => return vec![no_stream(look, fault)],
    };
    let fit = whip_fit::judge(description);
    let mut checks = vec![
        Check::pass("camera.stream", format!("{} answers{told}", look.place))
            .with("place", Datum::Text(look.place.clone()))
            .with("unchanged", Datum::Flag(fit.video == VideoFit::Unchanged)),
    ];
    checks.extend(notes(&fit, settings));
    checks
}

fn no_stream(look: &StreamLook, fault: &Fault) -> Check {
    let advice = match fault.code {
        ErrorCode::Unauthorized => {
            "the account may look at the camera's pages, but not at its stream: give it the right \
             to live view, or set RTSP authentication to digest"
        }
        ErrorCode::NotFound => {
            "look the stream's path up in the camera's manual, and use it in the task's sourceUrl"
        }
        ErrorCode::Unavailable => {
            "switch RTSP on in the camera's network settings; is its port the usual 554?"
        }
        ErrorCode::NodeBusy => "too many viewers are on it: end some, or use its second stream",
        _ => "try its stream with another player; newer firmware may help",
    };
    Check::fail(
        "camera.stream",
        format!("no stream at {}: {}", look.place, fault.message),
        advice,
    )
    .with("place", Datum::Text(look.place.clone()))
    .with("code", Datum::Whole(i64::from(fault.code.number())))
}

/// The judgement's notes. The one that says that keyframes are unknown gives way to what the
/// camera's settings say.
fn notes(fit: &WhipFit, settings: Option<&StreamSettings>) -> Vec<Check> {
    let known = settings.and_then(|s| keyframes(fit, s));
    let mut out = Vec::new();
    for note in &fit.notes {
        if known.is_some() && note.words.contains("keyframe interval") {
            continue;
        }
        let advice = note.advice.as_deref();
        let check = match (note.grade, advice) {
            (Grade::Pass, None) => Check::pass("camera.whip", &note.words),
            // Worth doing, and nothing is wrong.
            (Grade::Pass, Some(advice)) => Check {
                advice: Some(super::plain(advice)),
                ..Check::pass("camera.whip", &note.words)
            },
            (Grade::Warn, advice) => Check::warn(
                "camera.whip",
                &note.words,
                advice.unwrap_or("see the README"),
            ),
            (Grade::Fail, advice) => Check::fail(
                "camera.whip",
                &note.words,
                advice.unwrap_or("see the README"),
            ),
        };
        out.push(check);
    }
    out.extend(known);
    out
}

fn keyframes(fit: &WhipFit, settings: &StreamSettings) -> Option<Check> {
    if fit.video == VideoFit::Transcode {
        // Encoded anew, the interval is lss's own.
        return None;
    }
    let advice = "set the I-frame interval to 2 s (50 at 25 frames a second), and no smart codec \
                  (H.264+)";
    if settings.smart_codec == Some(true) {
        return Some(Check::warn(
            "camera.keyframes",
            "a smart codec is on, which spaces keyframes as it likes: sent as it is, a viewer who \
             joins may wait for long",
            advice,
        ));
    }
    let frames = settings.keyframe_interval.filter(|n| *n > 0)?;
    let seconds = settings
        .fps
        .filter(|fps| *fps > 0.0)
        .map(|fps| f64::from(frames) / fps);
    let check = match seconds {
        Some(gap) if gap > LONG_GAP => Check::warn(
            "camera.keyframes",
            format!("a keyframe every {gap:.1} s: sent as it is, a viewer who joins waits as long"),
            advice,
        ),
        Some(gap) => Check::pass("camera.keyframes", format!("a keyframe every {gap:.1} s")),
        None => Check::pass(
            "camera.keyframes",
            format!("a keyframe every {frames} frames"),
        ),
    };
    Some(check.with("frames", Datum::Whole(i64::from(frames))))
}

#[cfg(test)]
#[path = "camera_tests.rs"]
mod tests;
