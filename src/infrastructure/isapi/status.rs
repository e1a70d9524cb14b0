//! What a reply says of success: HTTP status, body type and the status inside the body are three
//! signals, and success needs all three. Pure.

use std::time::Duration;

use crate::domain::camera::{CameraError, LoginRefusal};
use crate::infrastructure::http::camera::camera_words;
use crate::infrastructure::http::response::Response;
use crate::infrastructure::xml::{self, Element, XmlError};

/// A refusal in the camera's own terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub http: u16,
    /// `statusCode` of the body; `None` where the body has none.
    pub code: Option<u32>,
    /// `subStatusCode`, in lower case; may be empty.
    pub sub: String,
    /// What it says, as it may be shown.
    pub words: String,
}

impl Refusal {
    /// This may be the wrong path of a recorder, where another one works.
    pub fn is_wrong_tree(&self) -> bool {
        matches!(self.http, 404 | 405)
            || matches!(
                self.sub.as_str(),
                "notsupport" | "badxmlcontent" | "methodnotallowed" | "invalidoperation"
            )
            || (self.code == Some(6) && self.sub.is_empty())
    }

    /// As the domain has it.
    pub fn error(&self) -> CameraError {
        let words = self.words.clone();
        match (self.code, self.sub.as_str()) {
            (_, "lowprivilege" | "insufficientpermission" | "notactivated" | "riskpassword") => {
                CameraError::Forbidden(words)
            }
            (_, "ptzoccupiedpriority") | (Some(2), _) => CameraError::Busy(words),
            (_, "badauthorization") => CameraError::LoginRefused(LoginRefusal {
                tried: true,
                unlock_after: None,
                tries_left: None,
                words,
            }),
            (_, "notsupport" | "methodnotallowed") | (Some(4), "") => {
                CameraError::NotSupported(words)
            }
            (Some(_), _) => CameraError::Device(words),
            (None, _) => match self.http {
                403 => CameraError::Forbidden(words),
                404 | 405 | 501 => CameraError::NotSupported(words),
                503 => CameraError::Busy(words),
                _ => CameraError::Device(words),
            },
        }
    }
}

/// A reply that says no, or that says nothing we know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The camera's no.
    Refused(Refusal),
    /// Anything else.
    Other(CameraError),
}

impl From<Trouble> for CameraError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Refused(refusal) => refusal.error(),
            Trouble::Other(error) => error,
        }
    }
}

/// The document of a reply, `None` for an empty one; or why it is no success.
pub fn judge(response: &Response) -> Result<Option<Element>, Trouble> {
    let good = (200..300).contains(&response.status);
    let document = match xml::parse(&response.body) {
        Ok(root) => Some(root),
        Err(XmlError::Empty) => None,
        Err(why) if good => {
            let words = format!("{why} where ISAPI was expected");
            return Err(Trouble::Other(CameraError::BadAnswer(words)));
        }
        Err(_) => None,
    };
    if let Some(root) = &document {
        if root.name.eq_ignore_ascii_case("ResponseStatus") {
            return match status_code(root) {
                Some(1 | 7) if good => Ok(document),
                code => Err(Trouble::Refused(refusal(response.status, code, root))),
            };
        }
        if root.text_of("statusValue") == Some("401") {
            return Err(Trouble::Other(CameraError::LoginRefused(LoginRefusal {
                tried: true,
                ..read_refusal(&response.body)
            })));
        }
    }
    if good {
        return Ok(document);
    }
    Err(Trouble::Refused(Refusal {
        http: response.status,
        code: None,
        sub: String::new(),
        words: format!("HTTP {}", response.status),
    }))
}

fn status_code(root: &Element) -> Option<u32> {
    root.text_of("statusCode").and_then(|t| t.parse().ok())
}

fn refusal(http: u16, code: Option<u32>, root: &Element) -> Refusal {
    let string = root.text_of("statusString").unwrap_or("no reason given");
    let sub = root.text_of("subStatusCode").unwrap_or("");
    let words = match (code, sub) {
        (Some(code), "") => format!("{string}, status {code}"),
        (Some(code), sub) => format!("{string} ({sub}), status {code}"),
        (None, sub) => format!("{string} ({sub}), HTTP {http}"),
    };
    Refusal {
        http,
        code,
        sub: sub.to_ascii_lowercase(),
        words: camera_words(&words),
    }
}

/// What the body of a refused login tells (tries left, lock). Old firmware sends HTML and tells
/// nothing.
pub fn read_refusal(body: &[u8]) -> LoginRefusal {
    let mut told = LoginRefusal {
        tried: false,
        unlock_after: None,
        tries_left: None,
        words: "user name or password not taken".to_owned(),
    };
    let Ok(root) = xml::parse(body) else {
        return told;
    };
    let text = |name: &str| root.find(name).map(Element::text);
    let number = |name: &str| text(name).and_then(|t| t.parse::<u32>().ok());
    told.tries_left = number("retryLoginTime");
    if text("lockStatus").is_some_and(|t| t.eq_ignore_ascii_case("lock")) {
        let secs = number("unlockTime").filter(|s| *s > 0);
        told.unlock_after = secs.map(|s| Duration::from_secs(s.into()));
        "the account is locked after wrong logins".clone_into(&mut told.words);
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, body: &str) -> Response {
        Response {
            status,
            headers: Vec::new(),
            body: body.as_bytes().to_vec(),
        }
    }

    fn status(code: u32, string: &str, sub: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?><ResponseStatus version=\"1.0\" xmlns=\"urn:psialliance-org\"><requestURL>/x</requestURL><statusCode>{code}</statusCode><statusString>{string}</statusString>{sub}</ResponseStatus>"
        )
    }

    fn number(http: u16, code: u32, sub: &str) -> u32 {
        let sub = format!("<subStatusCode>{sub}</subStatusCode>");
        match judge(&reply(http, &status(code, "Invalid Operation", &sub))) {
            Ok(_) => 0,
            Err(trouble) => CameraError::from(trouble).code().number(),
        }
    }

    #[test]
    fn the_status_in_the_body_counts() {
        assert_eq!(number(200, 1, "ok"), 0);
        assert_eq!(number(200, 7, "rebootRequired"), 0);
        assert_eq!(number(200, 4, "notSupport"), 20005);
        assert_eq!(number(403, 4, "notSupport"), 20005);
        assert_eq!(number(403, 4, "lowPrivilege"), 10002);
        assert_eq!(number(403, 4, "ptzOccupiedPriority"), 30302);
        assert_eq!(number(503, 2, "deviceBusy"), 30302);
        assert_eq!(number(500, 3, "deviceError"), 50001);
        assert_eq!(number(400, 6, "badParameters"), 50001);
        assert_eq!(number(400, 5, "badXmlFormat"), 50001);
        assert_eq!(number(403, 4, "badAuthorization"), 10001);
        // A success of the body under an error of HTTP is none.
        assert_eq!(number(500, 1, "ok"), 50001);
    }

    #[test]
    fn bodies_that_are_missing_or_something_else() {
        assert_eq!(judge(&reply(200, "")), Ok(None));
        assert!(judge(&reply(200, "<DeviceInfo/>")).unwrap().is_some());
        let code = |http, body: &str| {
            CameraError::from(judge(&reply(http, body)).unwrap_err())
                .code()
                .number()
        };
        assert_eq!(code(200, "<html>login</html>"), 50001);
        assert_eq!(code(200, "garbage"), 50001);
        assert_eq!(code(404, "<html>"), 20005);
        assert_eq!(code(503, ""), 30302);
        assert_eq!(code(403, ""), 10002);
        assert_eq!(code(500, "garbage"), 50001);
        assert_eq!(
            code(200, "<userCheck><statusValue>401</statusValue></userCheck>"),
            10001
        );
        assert_eq!(code(200, &status(4, "Invalid Operation", "")), 20005);
    }

    #[test]
    fn words_say_what_the_camera_said() {
        let sub = "<subStatusCode>deviceError</subStatusCode>";
        let Err(Trouble::Refused(refusal)) = judge(&reply(500, &status(3, "Device\nError", sub)))
        else {
            panic!()
        };
        assert_eq!(refusal.words, "Device Error (deviceError), status 3");
    }

    #[test]
    fn tries_left_and_locks() {
        let body = |lock: &str, unlock: u32, retry: u32| {
            format!(
                "<userCheck version=\"2.0\" xmlns=\"http://www.hikvision.com/ver20/XMLSchema\">\n<statusValue>401</statusValue>\n<statusString>Unauthorized</statusString>\n<isIllegalLogin>true</isIllegalLogin>\n<lockStatus>{lock}</lockStatus><unlockTime>{unlock}</unlockTime><retryLoginTime>{retry}</retryLoginTime>\n</userCheck>"
            )
        };
        let told = read_refusal(body("unlock", 0, 3).as_bytes());
        assert_eq!((told.tries_left, told.unlock_after), (Some(3), None));
        let told = read_refusal(body("lock", 1712, 0).as_bytes());
        assert_eq!(told.unlock_after, Some(Duration::from_secs(1712)));
        let told = read_refusal(b"<html>Document Error: Unauthorized</html>");
        assert_eq!((told.tries_left, told.unlock_after), (None, None));
    }
}
