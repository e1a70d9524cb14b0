//! What a reply says of success: the HTTP status, and the status inside the body where it has one.
//! Success needs both. Pure.

use std::time::Duration;

use serde_json::Value;

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

    /// It may be about how it was said: not about the login or a right, and not that it is busy.
    /// Saying it otherwise does no harm, for what was refused was not done. Not judged by the
    /// code: each firmware has its own for a thing that it does not know.
    pub fn may_be_about_the_form(&self) -> bool {
        match self.error() {
            CameraError::Busy(_) | CameraError::LoginRefused(_) => false,
            // A web server's 403 says nothing of rights.
            CameraError::Forbidden(_) => self.code.is_none() && self.sub.is_empty(),
            _ => true,
        }
    }

    /// It was meant, and is no hiccup of the web server.
    pub fn is_meant(&self) -> bool {
        self.code.is_some() || (400..500).contains(&self.http)
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

/// The document of a reply, `None` where it is none of ours; or why it is no success.
pub fn judge(response: &Response) -> Result<Option<Element>, Trouble> {
    let good = (200..300).contains(&response.status);
    let document = match xml::parse(&response.body) {
        Ok(root) => Some(root),
        Err(why @ (XmlError::TooLong | XmlError::TooBig)) if good => {
            let words = format!("{why} where ISAPI was expected");
            return Err(Trouble::Other(CameraError::BadAnswer(words)));
        }
        Err(_) => None,
    };
    if let Some(root) = &document
        && root.text_of("statusValue") == Some("401")
    {
        return Err(Trouble::Other(CameraError::LoginRefused(LoginRefusal {
            tried: true,
            ..read_refusal(&response.body)
        })));
    }
    let told = match &document {
        Some(root) => StatusBody::of_document(root),
        None => StatusBody::of_text(&response.body),
    };
    match told {
        Some(told) if good && told.is_success() => Ok(document),
        Some(told) => Err(Trouble::Refused(told.refusal(response.status))),
        // Markup that breaks off before it comes to the point.
        None if good && document.is_none() && is_broken(&response.body) => {
            let words = "broken XML where ISAPI was expected".to_owned();
            Err(Trouble::Other(CameraError::BadAnswer(words)))
        }
        None if good => Ok(document),
        None => Err(Trouble::Refused(Refusal {
            http: response.status,
            code: None,
            sub: String::new(),
            words: format!("HTTP {}", response.status),
        })),
    }
}

fn is_broken(body: &[u8]) -> bool {
    let body = body.trim_ascii();
    let has_doctype = body
        .windows(9)
        .any(|part| part.eq_ignore_ascii_case(b"<!doctype"));
    body.starts_with(b"<") && !has_doctype && !matches!(xml::parse(body), Err(XmlError::Html))
}

/// The status inside a body.
struct StatusBody {
    code: Option<u32>,
    string: String,
    sub: String,
}

impl StatusBody {
    fn of_document(root: &Element) -> Option<Self> {
        let text = |name| root.text_of(name).unwrap_or_default().to_owned();
        root.name
            .eq_ignore_ascii_case("ResponseStatus")
            .then(|| Self {
                code: text("statusCode").parse().ok(),
                string: text("statusString"),
                sub: text("subStatusCode"),
            })
    }

    /// From JSON, or from what is no document: a status code that stands in a page is one all the
    /// same.
    fn of_text(body: &[u8]) -> Option<Self> {
        if let Ok(json) = serde_json::from_slice::<Value>(body) {
            let status = json.get("ResponseStatus").unwrap_or(&json);
            let text = |name: &str| match status.get(name) {
                Some(Value::String(text)) => text.trim().to_owned(),
                Some(Value::Number(number)) => number.to_string(),
                _ => String::new(),
            };
            return status.get("statusCode").map(|_| Self {
                code: text("statusCode").parse().ok(),
                string: text("statusString"),
                sub: text("subStatusCode"),
            });
        }
        let text = String::from_utf8_lossy(body);
        let inside = |name: &str| {
            let lower = text.to_ascii_lowercase();
            let begin = lower.find(&format!("{name}>"))? + name.len() + 1;
            let inside = text.get(begin..)?;
            inside.get(..inside.find('<')?).map(|t| t.trim().to_owned())
        };
        let code = inside("<statuscode").or_else(|| inside(":statuscode"))?;
        Some(Self {
            code: code.parse().ok(),
            string: inside("statusstring").unwrap_or_default(),
            sub: inside("substatuscode").unwrap_or_default(),
        })
    }

    /// "0,1-OK" in the maker's guide; 7 = done, and to be used after a restart.
    fn is_success(&self) -> bool {
        matches!(self.code, Some(0 | 1 | 7))
    }

    fn refusal(self, http: u16) -> Refusal {
        let string = match self.string.as_str() {
            "" => "no reason given",
            string => string,
        };
        let words = match (self.code, self.sub.as_str()) {
            (Some(code), "") => format!("{string}, status {code}"),
            (Some(code), sub) => format!("{string} ({sub}), status {code}"),
            (None, sub) => format!("{string} ({sub}), HTTP {http}"),
        };
        Refusal {
            http,
            code: self.code,
            sub: self.sub.to_ascii_lowercase(),
            words: camera_words(&words),
        }
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
        assert_eq!(number(200, 0, ""), 0);
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
    fn a_success_in_any_dress() {
        for body in [
            "",
            "OK",
            "<html><body>OK</body></html>",
            "{}",
            "{\"requestURL\":\"/x\",\"statusCode\":1,\"statusString\":\"OK\",\"subStatusCode\":\"ok\"}",
            "{\"ResponseStatus\":{\"statusCode\":\"0\"}}",
            "<?xml version=\"1.0\"?><!DOCTYPE ResponseStatus><ResponseStatus><statusCode>1</statusCode></ResponseStatus>",
            "<RESPONSESTATUS><STATUSCODE>1</STATUSCODE></RESPONSESTATUS>",
            "<h:ResponseStatus xmlns:h=\"u\"><h:statusCode> 1\r\n</h:statusCode></h:ResponseStatus>",
            "<ResponseStatus><requestURL>/x?a=1&b=2</requestURL><statusCode>1</statusCode></ResponseStatus>",
        ] {
            for http in [200, 201] {
                assert!(judge(&reply(http, body)).is_ok(), "{http} {body}");
            }
            assert!(judge(&reply(500, body)).is_err(), "{body}");
        }
        assert!(judge(&reply(200, "<ResponseStatus><requestU")).is_err());
        // A refusal is one in any dress, too.
        for body in [
            "{\"statusCode\":4,\"statusString\":\"Invalid Operation\",\"subStatusCode\":\"notSupport\"}",
            "{\"ResponseStatus\":{\"statusCode\":\"4\",\"subStatusCode\":\"notSupport\"}}",
            "<!DOCTYPE x><ResponseStatus><statusCode>4</statusCode><statusString>s</statusString><subStatusCode>notSupport</subStatusCode></ResponseStatus>",
            "<html>x</html><a:statusCode>4</a:statusCode><a:subStatusCode>notSupport</a:subStatusCode>",
        ] {
            for http in [200, 403] {
                let error = CameraError::from(judge(&reply(http, body)).unwrap_err());
                assert_eq!(error.code().number(), 20005, "{http} {body}");
            }
        }
    }

    #[test]
    fn what_a_thing_that_is_not_known_is_answered_with() {
        let judged = |http: u16, body: &str| match judge(&reply(http, body)) {
            Err(Trouble::Refused(refusal)) => refusal.may_be_about_the_form(),
            _ => false,
        };
        let sub = |sub: &str| format!("<subStatusCode>{sub}</subStatusCode>");
        for (http, code, name) in [
            (500, 3, "deviceError"),
            (400, 5, "badXmlFormat"),
            (400, 6, "badXmlContent"),
            (400, 6, "badParameters"),
            (403, 4, "invalidOperation"),
            (403, 4, "notSupport"),
            (200, 4, "methodNotAllowed"),
        ] {
            assert!(judged(http, &status(code, "s", &sub(name))), "{name}");
        }
        for (http, body) in [
            (403, "<html>Forbidden</html>"),
            (403, ""),
            (400, ""),
            (404, ""),
            (501, ""),
            (
                403,
                "{\"statusCode\":4,\"subStatusCode\":\"invalidOperation\"}",
            ),
        ] {
            assert!(judged(http, body), "{http} {body}");
        }
        for (http, code, name) in [
            (403, 4, "lowPrivilege"),
            (403, 4, "ptzOccupiedPriority"),
            (403, 4, "badAuthorization"),
            (503, 2, "deviceBusy"),
        ] {
            assert!(!judged(http, &status(code, "s", &sub(name))), "{name}");
        }
        let json = "{\"statusCode\":4,\"subStatusCode\":\"lowPrivilege\"}";
        assert!(!judged(403, json));
        assert!(!judged(503, ""));
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
