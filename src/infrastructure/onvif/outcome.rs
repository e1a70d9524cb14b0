//! What one exchange ended in: SOAP and HTTP each have a word, and the login's words may be either.
//! Pure.

use super::reply::{self, Fault, FaultKind, Reply, ReplyError};
use super::request::Operation;
use crate::domain::camera::{CameraError, LoginRefusal};
use crate::infrastructure::http::camera::camera_words;
use crate::infrastructure::http::login_client::LoginError;
use crate::infrastructure::http::response::{HttpError, Response};
use crate::infrastructure::xml::{Element, XmlError};

/// Why an operation failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The camera says no in SOAP; not about the login.
    Fault(Fault),
    /// No such service at this path.
    NotHere(CameraError),
    /// A success, and nothing where an answer is needed: what cameras say that want to be asked in
    /// another form.
    Wordless(CameraError),
    /// Anything else.
    Other(CameraError),
}

impl From<Trouble> for CameraError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Fault(fault) => fault.error(),
            Trouble::NotHere(error) | Trouble::Wordless(error) | Trouble::Other(error) => error,
        }
    }
}

impl From<CameraError> for Trouble {
    fn from(error: CameraError) -> Self {
        Self::Other(error)
    }
}

impl From<HttpError> for Trouble {
    fn from(error: HttpError) -> Self {
        Self::Other(error.into())
    }
}

impl Trouble {
    /// What the fault means, if it is one.
    pub fn kind(&self) -> Option<FaultKind> {
        match self {
            Self::Fault(fault) => Some(fault.kind()),
            _ => None,
        }
    }

    /// The camera understands us, but not this question.
    pub(super) fn is_about_the_question(&self) -> bool {
        match self {
            Self::Fault(_) | Self::NotHere(_) | Self::Wordless(_) => true,
            Self::Other(error) => {
                matches!(error, CameraError::BadAnswer(_) | CameraError::Device(_))
            }
        }
    }

    /// The camera has answered with a no that may be about how it was said: not about the login, a
    /// right or the profile, and not that it is busy. Saying it otherwise does no harm, for what
    /// was refused was not done. Not judged by the fault's name: each firmware has its own.
    pub(super) fn may_be_about_the_form(&self) -> bool {
        match self {
            Self::Fault(fault) => !matches!(
                fault.kind(),
                FaultKind::NotAuthorized
                    | FaultKind::Prohibited
                    | FaultKind::Moving
                    | FaultKind::NoProfile
                    | FaultKind::NoPtzProfile
            ),
            Self::NotHere(error) => matches!(error, CameraError::NotSupported(_)),
            Self::Wordless(_) => false,
            Self::Other(error) => matches!(error, CameraError::Device(_)),
        }
    }

    /// Whether another path may do better.
    pub(super) fn is_elsewhere(&self) -> bool {
        matches!(self, Self::NotHere(_)) || self.kind() == Some(FaultKind::NotSupported)
    }
}

/// What one exchange ended in.
pub(super) enum Outcome {
    Done(Element),
    /// The login, or the clock in it.
    Refused(String, Option<u32>, Box<Response>),
    Failed(Trouble),
}

/// Takes a response apart: SOAP first, whatever the HTTP status, then the status.
pub(super) fn judge(response: Response, operation: &Operation) -> Outcome {
    let (status, name) = (response.status, operation.name);
    let silence_will_do = !operation.asks && (200..300).contains(&status);
    match reply::read(&response.body) {
        Ok(Reply::Fault(fault)) if fault.kind() == FaultKind::NotAuthorized => {
            Outcome::Refused(fault.words(), fault.tries_left(), Box::new(response))
        }
        _ if status == 401 => Outcome::Refused("HTTP 401".to_owned(), None, Box::new(response)),
        Ok(Reply::Fault(fault)) => Outcome::Failed(Trouble::Fault(fault)),
        Ok(Reply::Content(content)) if (200..300).contains(&status) => {
            let expected = content
                .name
                .strip_suffix("Response")
                .is_some_and(|n| n.eq_ignore_ascii_case(name));
            let echo = silence_will_do && content.name.eq_ignore_ascii_case(name);
            if expected || echo {
                return Outcome::Done(content);
            }
            let words = format!("{} where an answer to {name} was expected", content.name);
            Outcome::Failed(CameraError::BadAnswer(camera_words(&words)).into())
        }
        Ok(Reply::Content(_)) => {
            Outcome::Failed(CameraError::Device(format!("HTTP {status}")).into())
        }
        Err(ReplyError::NoContent) if silence_will_do => Outcome::Done(Element::default()),
        Err(_) if silence_will_do && says_nothing(&response.body, name) => {
            Outcome::Done(Element::default())
        }
        Err(why) => Outcome::Failed(judge_status(status, &why)),
    }
}

/// Nothing at all, or the buffer that our own request was read into, cut up by NULs.
fn says_nothing(body: &[u8], name: &str) -> bool {
    let text = String::from_utf8_lossy(body).replace('\0', "");
    let text = text.trim();
    let echo = text.starts_with("POST ")
        || text
            .split_once(&format!("<{name}"))
            .is_some_and(|(_, rest)| rest.starts_with([' ', '>', '/']) || rest.is_empty());
    text.is_empty() || (echo && !text.contains("Fault"))
}

fn judge_status(status: u16, why: &ReplyError) -> Trouble {
    let words = format!("{why}, HTTP {status}");
    match status {
        404 | 405 | 501 => Trouble::NotHere(CameraError::NotSupported(format!(
            "nothing at this path, HTTP {status}"
        ))),
        403 => Trouble::Other(CameraError::Forbidden(words)),
        503 => Trouble::Other(CameraError::Busy(words)),
        200..300 if matches!(why, ReplyError::Xml(XmlError::Html)) => {
            Trouble::NotHere(CameraError::BadAnswer(words))
        }
        200..300 if matches!(why, ReplyError::Xml(XmlError::Empty)) => {
            Trouble::Wordless(CameraError::BadAnswer(words))
        }
        200..300 => Trouble::Other(CameraError::BadAnswer(words)),
        _ => Trouble::Other(CameraError::Device(words)),
    }
}

pub(super) fn refusal(tried: bool, words: String, tries_left: Option<u32>) -> Trouble {
    Trouble::Other(CameraError::LoginRefused(LoginRefusal {
        tried,
        unlock_after: None,
        tries_left,
        words,
    }))
}

pub(super) fn login_error(error: LoginError) -> Trouble {
    Trouble::Other(error.into_camera_error(|response| {
        let fault = match reply::read(&response.body) {
            Ok(Reply::Fault(fault)) => Some(fault),
            _ => None,
        };
        LoginRefusal {
            tried: false,
            unlock_after: None,
            tries_left: fault.as_ref().and_then(Fault::tries_left),
            words: fault.map_or_else(|| "HTTP 401".to_owned(), |f| f.words()),
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::super::request::{self, MoveForm};
    use super::*;
    use crate::domain::ptz::Velocity;

    fn done(operation: &Operation, status: u16, body: &[u8]) -> bool {
        let response = Response {
            status,
            headers: Vec::new(),
            body: body.to_vec(),
        };
        matches!(judge(response, operation), Outcome::Done(_))
    }

    #[test]
    fn where_nothing_is_needed_a_success_without_a_word_is_one() {
        let moves = request::continuous_move("p", Velocity::ZERO, MoveForm::default());
        let envelope = |body: &str| {
            format!("<s:Envelope xmlns:s='u'><s:Body>{body}</s:Body></s:Envelope>").into_bytes()
        };
        let silent = [
            Vec::new(),
            b" \r\n".to_vec(),
            b"\0\0\0\0".to_vec(),
            envelope(""),
            envelope("<ContinuousMove xmlns='u'/>"),
            b"POST /onvif/ptz\0HTTP/1.1\0\0Content-Type\0".to_vec(),
            b"<s:Envelope><s:Body><ContinuousMove xmlns=\"u\"><Prof\0\0".to_vec(),
        ];
        for body in &silent {
            let text = String::from_utf8_lossy(body);
            for status in [200, 202, 204] {
                assert!(done(&moves, status, body), "{text}");
                for other in [
                    request::stop("p"),
                    request::goto_preset("p", "1"),
                    request::set_preset("p", "n", None),
                ] {
                    let body = text.replace("ContinuousMove", other.name);
                    assert!(done(&other, status, body.as_bytes()), "{body}");
                }
                assert!(!done(&request::presets("p"), status, body), "{text}");
            }
            for status in [400, 401, 404, 500, 503] {
                assert!(!done(&moves, status, body), "{status} {text}");
            }
        }
        for no in [
            "<html><body>POST </body></html>",
            "garbage",
            "<s:Envelope><s:Body><s:Fault><x><ContinuousMove >",
            "<s:Envelope xmlns:s='u'><s:Body><StopResponse/></s:Body></s:Envelope>",
        ] {
            assert!(!done(&moves, 200, no.as_bytes()), "{no}");
        }
    }
}
