//! Whether something speaks ONVIF, asked without credentials.

use std::time::{Instant, SystemTime};

use super::answer::device::system_time;
use super::client::clock_share;
use super::clock::CameraClock;
use super::envelope::envelope;
use super::reply::{self, Reply};
use super::request::{self, Service};
use crate::domain::camera::{CameraAddress, CameraError};
use crate::infrastructure::http::camera::CameraOptions;
use crate::infrastructure::http::camera_client::{CameraClient, Request, Resend};
use crate::infrastructure::http::look::offset;
use crate::infrastructure::http::response::HttpError;
use crate::infrastructure::xml::MAX_DOCUMENT;

/// The camera's clock less ours, in seconds, as it tells strangers: by ONVIF, else by the date of
/// its web server. Local time where UTC belongs does not count as wrong.
pub fn clock_offset(
    address: &CameraAddress,
    options: CameraOptions,
    deadline: Instant,
) -> Option<i64> {
    let body = envelope(None, &request::system_date_and_time().body);
    let begin = Instant::now();
    let mut client = CameraClient::new(address.socket(), options.connect_timeout);
    let response = client.send(&question(&body), None, deadline).ok()?;
    let (at, ours) = (begin + begin.elapsed() / 2, SystemTime::now());
    let date = response
        .header("date")
        .and_then(|d| httpdate::parse_http_date(&d).ok());
    let told = match reply::read(&response.body) {
        Ok(Reply::Content(content)) => system_time(&content),
        _ => None,
    };
    if told.is_none() && date.is_none() {
        return None;
    }
    let clock = CameraClock::new(told, date, ours, at);
    let by = |clock: &CameraClock| offset(clock.time(at, ours), ours);
    let other = clock.alternative().and_then(|c| by(&c));
    by(&clock)
        .into_iter()
        .chain(other)
        .min_by_key(|seconds| seconds.unsigned_abs())
}

fn question(body: &[u8]) -> Request<'_> {
    Request {
        method: "POST",
        target: Service::Device.usual_path(),
        content_type: Some("application/soap+xml; charset=utf-8"),
        body: Some(body),
        resend: Resend::Always,
        max_reply: MAX_DOCUMENT,
    }
}

/// Asks for the clock, which nearly every camera tells anybody; where nothing comes of that, for
/// the capabilities. Any SOAP answer counts, a fault too; a bare 401 does not, for routers answer
/// that to everything.
pub fn speaks_onvif(
    address: &CameraAddress,
    options: CameraOptions,
    deadline: Instant,
) -> Result<bool, CameraError> {
    let mut client = CameraClient::new(address.socket(), options.connect_timeout);
    let share = clock_share(Instant::now(), deadline);
    let clock = envelope(None, &request::system_date_and_time().body);
    match client.send(&question(&clock), None, share) {
        Ok(response) if reply::read(&response.body).is_ok() => return Ok(true),
        // The question may be what it can't.
        Ok(response) if response.status >= 500 || response.body.trim_ascii().is_empty() => {}
        Err(HttpError::Timeout(_) | HttpError::Lost(_)) => {}
        Ok(_) => return Ok(false),
        Err(error) => return no_answer(error),
    }
    let capabilities = envelope(None, &request::capabilities().body);
    match client.send(&question(&capabilities), None, deadline) {
        Ok(response) => Ok(reply::read(&response.body).is_ok()),
        Err(error) => no_answer(error),
    }
}

fn no_answer(error: HttpError) -> Result<bool, CameraError> {
    match error.into() {
        // Something answers, and it is not this.
        CameraError::BadAnswer(_) => Ok(false),
        error => Err(error),
    }
}
