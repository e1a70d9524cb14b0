//! What REST answers: the envelope `{code, message, data}`, and the HTTP status that belongs to
//! an error code (contract 10, 12). Knows no route.

use std::io::Cursor;

use serde::Serialize;

use crate::domain::error::{ErrorCode, Fault};
use crate::util::foreign;

/// The HTTP status of an error code (contract 12).
pub fn http_status(code: ErrorCode) -> u16 {
    match code {
        ErrorCode::Success => 200,
        ErrorCode::BadRequest
        | ErrorCode::ParamMissing
        | ErrorCode::ParamInvalid
        | ErrorCode::ValidationFailed => 400,
        ErrorCode::Unauthorized => 401,
        ErrorCode::AccessDenied => 403,
        ErrorCode::NotFound | ErrorCode::TaskNotFound => 404,
        ErrorCode::TaskAlreadyExist | ErrorCode::TaskInvalidState => 409,
        ErrorCode::RtspConnFailed
        | ErrorCode::RtspAuthFailed
        | ErrorCode::RtspStreamError
        | ErrorCode::WhipConnFailed
        | ErrorCode::WhipAuthFailed
        | ErrorCode::WhipStreamError
        | ErrorCode::AblyConnFailed
        | ErrorCode::AblyAuthFailed
        | ErrorCode::AblyPublishFail
        | ErrorCode::RcsConnFailed
        | ErrorCode::RcsAuthFailed
        | ErrorCode::RcsCallbackFail => 502,
        ErrorCode::TaskLimitReached
        | ErrorCode::NodeBusy
        | ErrorCode::NodeNotReady
        | ErrorCode::NodeOffline
        | ErrorCode::Unavailable => 503,
        ErrorCode::FfmpegTimeout => 504,
        ErrorCode::TaskStartFailed
        | ErrorCode::TaskStopFailed
        | ErrorCode::FfmpegNotFound
        | ErrorCode::FfmpegStartFail
        | ErrorCode::FfmpegCrash
        | ErrorCode::InternalError
        | ErrorCode::DatabaseError
        | ErrorCode::UnknownError => 500,
    }
}

/// Seconds after which a caller may try again, where the contract wants that said.
fn retry_after(code: ErrorCode) -> Option<&'static str> {
    match code {
        ErrorCode::TaskLimitReached => Some("10"),
        ErrorCode::NodeBusy => Some("2"),
        _ => None,
    }
}

/// The one envelope.
#[derive(Serialize)]
struct Envelope<'a, T: Serialize> {
    code: u32,
    message: &'a str,
    data: Option<T>,
}

/// A complete answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// The envelope's code, for the log.
    pub code: ErrorCode,
    /// Beyond those that every answer has.
    headers: Vec<(&'static str, String)>,
    content_type: &'static str,
    body: Vec<u8>,
}

/// Longest message, in characters.
const MAX_MESSAGE: usize = 2_000;

/// What all answers but pictures are.
const JSON: &str = "application/json; charset=utf-8";

impl Reply {
    /// Code 0 with `data`.
    pub fn ok<T: Serialize>(data: &T) -> Self {
        Self::envelope(200, ErrorCode::Success, "success", Some(data))
    }

    /// A fault under its own status.
    pub fn fault(fault: &Fault) -> Self {
        Self::fault_as(http_status(fault.code), fault)
    }

    /// A fault under a status that says more than its code's (405, 408, 413, 415, 421, 431).
    pub fn fault_as(status: u16, fault: &Fault) -> Self {
        Self::fault_with(status, fault, None::<&()>)
    }

    /// A fault whose data is of use all the same (`/readyz`).
    pub fn fault_with<T: Serialize>(status: u16, fault: &Fault, data: Option<&T>) -> Self {
        let message = foreign::shown(&fault.message, MAX_MESSAGE);
        let reply = Self::envelope(status, fault.code, &message, data);
        match retry_after(fault.code) {
            Some(seconds) => reply.with("Retry-After", seconds),
            None => reply,
        }
    }

    /// A JSON document that stands outside the envelope.
    pub fn document(json: &str) -> Self {
        Self {
            status: 200,
            code: ErrorCode::Success,
            headers: Vec::new(),
            content_type: JSON,
            body: json.as_bytes().to_vec(),
        }
    }

    /// Text outside the envelope, of a type that says its own character set.
    pub fn text(content_type: &'static str, text: Vec<u8>) -> Self {
        Self {
            status: 200,
            code: ErrorCode::Success,
            headers: Vec::new(),
            content_type,
            body: text,
        }
    }

    /// A picture, outside the envelope.
    pub fn jpeg(jpeg: Vec<u8>) -> Self {
        Self {
            status: 200,
            code: ErrorCode::Success,
            headers: Vec::new(),
            content_type: "image/jpeg",
            body: jpeg,
        }
    }

    /// One more header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn envelope<T: Serialize>(
        status: u16,
        code: ErrorCode,
        message: &str,
        data: Option<&T>,
    ) -> Self {
        let body = serde_json::to_vec(&Envelope {
            code: code.number(),
            message,
            data,
        });
        match body {
            Ok(body) => Self {
                status,
                code,
                headers: Vec::new(),
                content_type: JSON,
                body,
            },
            // Our shapes have text keys only, so this can't happen; it must not panic either.
            Err(_) => Self {
                status: 500,
                code: ErrorCode::InternalError,
                headers: Vec::new(),
                content_type: JSON,
                body: br#"{"code":50001,"message":"the answer could not be written as JSON","data":null}"#
                    .to_vec(),
            },
        }
    }

    fn all_headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("Content-Type", self.content_type),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("Server", "lss"),
        ]
        .into_iter()
        .chain(self.headers.iter().map(|(n, v)| (*n, v.as_str())))
    }

    /// For tiny_http.
    pub fn into_tiny(self) -> tiny_http::Response<Cursor<Vec<u8>>> {
        let headers = self
            .all_headers()
            .filter_map(|(name, value)| {
                tiny_http::Header::from_bytes(name.as_bytes(), value.as_bytes()).ok()
            })
            .collect();
        let length = self.body.len();
        tiny_http::Response::new(
            tiny_http::StatusCode(self.status),
            headers,
            Cursor::new(self.body),
            Some(length),
            None,
        )
        // Always a Content-Length: a client of HTTP 1.0 knows no chunks.
        .with_chunked_threshold(usize::MAX)
    }

    /// As bytes, for what the gate answers by itself.
    pub fn into_bytes(self, without_body: bool) -> Vec<u8> {
        let mut out = format!(
            "HTTP/1.1 {} {}\r\nConnection: close\r\n",
            self.status,
            tiny_http::StatusCode(self.status).default_reason_phrase()
        );
        for (name, value) in self.all_headers() {
            out.push_str(name);
            out.push_str(": ");
            out.push_str(value);
            out.push_str("\r\n");
        }
        out.push_str("Content-Length: ");
        out.push_str(&self.body.len().to_string());
        out.push_str("\r\n\r\n");
        let mut out = out.into_bytes();
        if !without_body {
            out.extend_from_slice(&self.body);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contracts_table() {
        for &code in ErrorCode::ALL {
            let expected = match code.number() {
                0 => 200,
                20001..=20003 | 20005 => 400,
                10001 => 401,
                10002 => 403,
                20004 | 30101 => 404,
                30102 | 30106 => 409,
                40104 => 504,
                30103 | 30302 | 30301 | 30303 | 50003 => 503,
                30201..=30299 | 40201..=40499 => 502,
                _ => 500,
            };
            assert_eq!(http_status(code), expected, "{}", code.number());
            let reply = Reply::fault(&Fault::new(code, "x"));
            let says_when = reply.headers.iter().any(|(name, _)| *name == "Retry-After");
            assert_eq!(says_when, matches!(code.number(), 30103 | 30302));
        }
    }

    #[test]
    fn one_envelope_for_all() {
        let json = |reply: Reply| serde_json::from_slice::<serde_json::Value>(&reply.body).unwrap();
        assert_eq!(
            json(Reply::ok(&[1, 2])),
            serde_json::json!({ "code": 0, "message": "success", "data": [1, 2] })
        );
        let fault = Fault::new(ErrorCode::TaskNotFound, "no task of that id");
        assert_eq!(
            json(Reply::fault(&fault)),
            serde_json::json!({ "code": 30101, "message": "no task of that id", "data": null })
        );
    }

    #[test]
    fn a_fault_is_masked_on_its_way_out() {
        let _keep = crate::util::secret::Secret::new("canary-in-a-fault");
        let reply = Reply::fault(&Fault::new(ErrorCode::InternalError, "x canary-in-a-fault"));
        assert!(!String::from_utf8(reply.body).unwrap().contains("canary"));
    }

    #[test]
    fn raw_bytes_are_a_whole_answer() {
        let reply = Reply::fault_as(408, &Fault::new(ErrorCode::BadRequest, "too slow"));
        let text = String::from_utf8(reply.clone().into_bytes(false)).unwrap();
        assert!(text.starts_with("HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n"));
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
        assert!(reply.into_bytes(true).ends_with(b"\r\n\r\n"));
    }
}
