//! What the camera clients of both protocols share: options, bounds, words, and errors as the
//! domain has them.

use std::time::Duration;

use crate::domain::camera::{CameraError, LoginRefusal, Manner};
use crate::util::foreign;

use super::digest;
use super::doors::Doors;
use super::login_client::LoginError;
use super::response::{HttpError, Response};

/// Longest answer of a camera, pictures included (contract 7).
pub const MAX_REPLY: usize = 8 * 1024 * 1024;

/// Longest text of a camera that is passed on, in characters.
const MAX_WORDS: usize = 200;

/// What both protocols' clients are told.
#[derive(Debug, Clone)]
pub struct CameraOptions {
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Answer Basic logins where a camera offers nothing else and never has. They hand the
    /// password over.
    pub allow_basic: bool,
    /// How ports are spoken to, and the certificates that are kept.
    pub doors: Doors,
}

impl Default for CameraOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(3),
            allow_basic: false,
            doors: Doors::default(),
        }
    }
}

impl CameraOptions {
    /// What holds for one camera.
    #[must_use]
    pub fn for_manner(self, manner: &Manner) -> Self {
        Self {
            allow_basic: self.allow_basic || manner.allow_basic,
            ..self
        }
    }
}

/// Text from a camera as it may be shown: one line, not too long, no secret in it.
pub fn camera_words(text: &str) -> String {
    foreign::shown(text, MAX_WORDS)
}

impl From<HttpError> for CameraError {
    fn from(error: HttpError) -> Self {
        let words = camera_words(&error.to_string());
        match error {
            HttpError::Connect(_) | HttpError::TooLate => Self::Unreachable(words),
            HttpError::Timeout(_) | HttpError::Dead | HttpError::Lost(_) => Self::NoAnswer(words),
            HttpError::Certificate(_) => Self::Certificate(words),
            HttpError::TooLarge(_)
            | HttpError::Echo
            | HttpError::SpeaksTls
            | HttpError::Malformed(_) => Self::BadAnswer(words),
        }
    }
}

/// Why nothing was tried: a refusal then says nothing about user name and password.
fn untried_words(response: &Response) -> String {
    let asked = || response.all("www-authenticate");
    if !digest::parse_challenges(asked()).is_empty() {
        return "it asks for a login, and none was sent".to_owned();
    }
    let schemes = digest::schemes(asked());
    if schemes.is_empty() {
        return "it wants a login and offers no way to log in, HTTP 401".to_owned();
    }
    camera_words(&format!(
        "it asks for a login in a form that is not known, so none was sent: {}",
        schemes.join(", ")
    ))
}

impl LoginError {
    /// As the domain has it; `read` takes from a refusal what its body says.
    pub fn into_camera_error(self, read: impl FnOnce(&Response) -> LoginRefusal) -> CameraError {
        let untried = |words: &str| {
            CameraError::LoginRefused(LoginRefusal {
                tried: false,
                unlock_after: None,
                tries_left: None,
                words: words.to_owned(),
            })
        };
        match self {
            Self::Http(error) => error.into(),
            Self::Refused { tried, response } => {
                let told = read(&response);
                let words = if tried {
                    told.words
                } else {
                    untried_words(&response)
                };
                CameraError::LoginRefused(LoginRefusal {
                    tried,
                    words,
                    ..told
                })
            }
            Self::BasicOnly => untried(
                "it offers only Basic logins, which hand the password over, and those are not allowed",
            ),
            Self::StaleForEver => {
                CameraError::Device("every login is called stale, whatever its nonce".to_owned())
            }
            Self::Elsewhere(location) => CameraError::BadAnswer(format!(
                "sent elsewhere, to {}; not followed",
                camera_words(&location)
            )),
        }
    }
}
