//! Whether something speaks ONVIF, asked without credentials.

use std::time::{Instant, SystemTime};

use super::answer::device::system_time;
use super::client::clock_share;
use super::clock::CameraClock;
use super::form::{Form, Message};
use super::reply::{self, Reply};
use super::request::{self, Operation, Service};
use crate::domain::camera::{CameraAddress, CameraError};
use crate::infrastructure::http::camera::CameraOptions;
use crate::infrastructure::http::camera_client::CameraClient;
use crate::infrastructure::http::look::offset;
use crate::infrastructure::http::response::{HttpError, Response};

/// The camera's clock less ours, in seconds, as it tells strangers: by ONVIF, else by the date of
/// its web server. Local time where UTC belongs does not count as wrong.
pub fn clock_offset(
    address: &CameraAddress,
    options: &CameraOptions,
    deadline: Instant,
) -> Option<i64> {
    let mut client = client(address, options);
    let (mut begin, mut form) = (Instant::now(), Form::default());
    let response = loop {
        let clock = request::system_date_and_time();
        let response = ask(&mut client, &clock, form, deadline).ok()?;
        match form.next().filter(|_| says_yes_alone(&response)) {
            Some(next) => (begin, form) = (Instant::now(), next),
            None => break response,
        }
    };
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

fn ask(
    client: &mut CameraClient,
    operation: &Operation,
    form: Form,
    deadline: Instant,
) -> Result<Response, HttpError> {
    let message = Message::new(form, None, operation);
    client.send(&message.to(Service::Device.usual_path()), None, deadline)
}

/// A success and nothing else: what is said by those that want to be asked in another form.
pub fn says_yes_alone(response: &Response) -> bool {
    (200..300).contains(&response.status)
        && response
            .body
            .iter()
            .all(|b| *b == 0 || b.is_ascii_whitespace())
}

fn client(address: &CameraAddress, options: &CameraOptions) -> CameraClient {
    let doors = options.doors.clone();
    CameraClient::new(address.socket(), options.connect_timeout, doors)
}

/// Asks for the clock, which nearly every camera tells anybody, in other forms, too, where the answer
/// is empty; where nothing comes of that, for the capabilities. Any SOAP answer counts, a fault too; a
/// bare 401 does not, for routers answer that to everything.
pub fn speaks_onvif(
    address: &CameraAddress,
    options: &CameraOptions,
    deadline: Instant,
) -> Result<bool, CameraError> {
    let mut client = client(address, options);
    let clock = request::system_date_and_time();
    let share = clock_share(Instant::now(), deadline);
    let mut form = Form::default();
    loop {
        match ask(&mut client, &clock, form, share) {
            Ok(response) if is_soap(&response) => return Ok(true),
            Ok(response) if says_yes_alone(&response) => match form.next() {
                Some(next) => form = next,
                None => break,
            },
            // The question may be what it can't.
            Ok(response) if response.status >= 500 || response.body.trim_ascii().is_empty() => {
                break;
            }
            Err(HttpError::Timeout(_) | HttpError::Lost(_)) => break,
            _ if form != Form::default() => break,
            Ok(_) => return Ok(false),
            Err(error) => return no_answer(error),
        }
    }
    let capabilities = request::capabilities();
    match ask(&mut client, &capabilities, Form::default(), deadline) {
        Ok(response) => Ok(is_soap(&response)),
        Err(error) => no_answer(error),
    }
}

fn is_soap(response: &Response) -> bool {
    reply::read(&response.body).is_ok()
}

fn no_answer(error: HttpError) -> Result<bool, CameraError> {
    match error.into() {
        // Something answers, and it is not this.
        CameraError::BadAnswer(_) => Ok(false),
        error => Err(error),
    }
}
