//! Whether something speaks ISAPI, asked without credentials.

use std::time::Instant;

use super::body;
use crate::domain::camera::{CameraAddress, CameraError};
use crate::infrastructure::http::camera::CameraOptions;
use crate::infrastructure::http::camera_client::{CameraClient, Request, Resend};
use crate::infrastructure::http::digest::{Challenge, parse_challenges};
use crate::infrastructure::http::response::Response;
use crate::infrastructure::xml::{self, MAX_DOCUMENT};

/// Asks.
pub fn speaks_isapi(
    address: &CameraAddress,
    options: &CameraOptions,
    deadline: Instant,
) -> Result<bool, CameraError> {
    let target = body::device_info().target;
    let request = Request {
        method: "GET",
        target: &target,
        content_type: None,
        soap_action: None,
        body: None,
        resend: Resend::Always,
        max_reply: MAX_DOCUMENT,
        secret: false,
    };
    let mut client = client(address, options);
    match client
        .send(&request, None, deadline)
        .map_err(CameraError::from)
    {
        Ok(response) => Ok(is_isapi(&response)),
        // Something answers, and it is not this.
        Err(CameraError::BadAnswer(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

fn client(address: &CameraAddress, options: &CameraOptions) -> CameraClient {
    let doors = options.doors.clone();
    CameraClient::new(address.socket(), options.connect_timeout, doors)
}

/// Judges the answer to a request for the device's information. A 401 alone is not enough:
/// routers answer 401 to everything.
pub fn is_isapi(response: &Response) -> bool {
    if let Ok(root) = xml::parse(&response.body) {
        let names = ["DeviceInfo", "userCheck", "ResponseStatus"];
        if names.iter().any(|n| root.name.eq_ignore_ascii_case(n)) {
            return true;
        }
    }
    if response.status != 401 {
        return false;
    }
    let server = response.header("server").unwrap_or_default();
    let known_server = ["App-webs/", "Hikvision-Webs", "DNVRS-Webs", "DVRDVS-Webs"]
        .iter()
        .any(|s| server.starts_with(s));
    parse_challenges(response.all("www-authenticate"))
        .iter()
        .any(|c| match c {
            Challenge::Digest(d) => {
                known_server || is_vendor_realm(&d.realm) || server == "webserver"
            }
            Challenge::Basic => known_server,
        })
}

/// `IP Camera(…)`, `DS-…`, or a long number in hex.
fn is_vendor_realm(realm: &[u8]) -> bool {
    realm.starts_with(b"IP Camera(")
        || realm.starts_with(b"DS-")
        || (realm.len() >= 24 && realm.iter().all(u8::is_ascii_hexdigit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, headers: &[(&str, &str)], body: &str) -> Response {
        Response {
            status,
            headers: headers
                .iter()
                .map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec()))
                .collect(),
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn signs_of_the_vendor() {
        let digest =
            |realm: &str| format!("Digest qop=\"auth\", realm=\"{realm}\", nonce=\"4e44\"");
        let yes = [
            reply(
                401,
                &[("www-authenticate", &digest("IP Camera(F1598)"))],
                "",
            ),
            reply(401, &[("www-authenticate", &digest("DS-2CD2012"))], ""),
            reply(
                401,
                &[("www-authenticate", &digest("fe12f37b12345678fe12f37b"))],
                "",
            ),
            reply(
                401,
                &[("www-authenticate", &digest("x")), ("server", "App-webs/")],
                "",
            ),
            reply(200, &[], "<DeviceInfo/>"),
            reply(
                401,
                &[],
                "<userCheck><lockStatus>lock</lockStatus></userCheck>",
            ),
        ];
        for response in yes {
            assert!(is_isapi(&response), "{response:?}");
        }
        let no = [
            reply(401, &[("www-authenticate", &digest("Login to 6M0A"))], ""),
            reply(401, &[("www-authenticate", "Basic realm=\"router\"")], ""),
            reply(404, &[("server", "App-webs/")], ""),
            reply(200, &[], "<html>login</html>"),
            reply(200, &[], ""),
        ];
        for response in no {
            assert!(!is_isapi(&response), "{response:?}");
        }
    }
}
