//! Whether something speaks ONVIF, asked without credentials.

use std::time::Instant;

use super::envelope::envelope;
use super::reply;
use super::request::{self, Service};
use crate::domain::camera::{CameraAddress, CameraError};
use crate::infrastructure::http::camera::CameraOptions;
use crate::infrastructure::http::camera_client::{CameraClient, Request, Resend};
use crate::infrastructure::xml::MAX_DOCUMENT;

/// Asks for the clock, which nearly every camera tells anybody. Any SOAP answer counts, a fault
/// too; a bare 401 does not, for routers answer that to everything.
pub fn speaks_onvif(
    address: &CameraAddress,
    options: CameraOptions,
    deadline: Instant,
) -> Result<bool, CameraError> {
    let body = envelope(None, &request::system_date_and_time().body);
    let request = Request {
        method: "POST",
        target: Service::Device.usual_path(),
        content_type: Some("application/soap+xml; charset=utf-8"),
        body: Some(&body),
        resend: Resend::Always,
        max_reply: MAX_DOCUMENT,
    };
    let mut client = CameraClient::new(address.socket(), options.connect_timeout);
    match client
        .send(&request, None, deadline)
        .map_err(CameraError::from)
    {
        Ok(response) => Ok(reply::read(&response.body).is_ok()),
        // Something answers, and it is not this.
        Err(CameraError::BadAnswer(_)) => Ok(false),
        Err(error) => Err(error),
    }
}
