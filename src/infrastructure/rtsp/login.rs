//! When an RTSP request carries a login, and which. Cameras lock an account after a few wrong
//! passwords, so a login that was refused is not sent a second time.

use crate::domain::camera::Credentials;
use crate::infrastructure::http::digest::{
    Challenge, Session, basic_authorization, parse_challenges, strongest,
};

use super::message::Response;

/// What to do about a 401.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Send the request again: it will carry a login.
    Again,
    /// A login is wanted, and there is none.
    Wanted,
    /// The login that was sent is wrong.
    Refused,
    /// No kind of login is offered that is known here.
    Unknown,
    /// Every nonce is called stale: no word on the password.
    StaleForEver,
}

/// How the requests of a connection log in.
#[derive(Debug)]
enum Way {
    Stranger,
    Digest(Session, Vec<u8>),
    Basic,
}

/// The login of one conversation.
#[derive(Debug)]
pub struct Login {
    credentials: Option<Credentials>,
    /// Random, without quotes; the nonce's count rises instead of it.
    cnonce: String,
    way: Way,
    /// The server has taken it: another 401 is about the nonce.
    accepted: bool,
    /// The request in hand has been sent a second time for the nonce's sake.
    renewed: bool,
}

impl Login {
    /// `cnonce` = fresh random text without quotes.
    pub fn new(credentials: Option<Credentials>, cnonce: String) -> Self {
        Self {
            credentials,
            cnonce,
            way: Way::Stranger,
            accepted: false,
            renewed: false,
        }
    }

    /// The value of an `Authorization` header; `url` as on the request line.
    pub fn authorization(&mut self, method: &str, url: &str) -> Option<Vec<u8>> {
        let login = self.credentials.as_ref()?;
        let (user, password) = (login.username(), login.password().expose());
        match &mut self.way {
            Way::Stranger => None,
            Way::Digest(session, _) => {
                Some(session.authorization(user, password, method, url, &self.cnonce))
            }
            Way::Basic => Some(basic_authorization(user, password)),
        }
    }

    /// Whether requests carry a login now.
    pub fn is_used(&self) -> bool {
        !matches!(self.way, Way::Stranger)
    }

    /// An answer other than 401: the login it answers was good, if there was one.
    pub fn passed(&mut self) {
        self.accepted = self.is_used();
        self.renewed = false;
    }

    /// A 401.
    pub fn challenged(&mut self, response: &Response) -> Verdict {
        if self.credentials.is_none() {
            return Verdict::Wanted;
        }
        let offered = parse_challenges(response.all("www-authenticate"));
        let Some(next) = strongest(&offered) else {
            return if self.is_used() {
                Verdict::Refused
            } else {
                Verdict::Unknown
            };
        };
        match (&self.way, next) {
            (Way::Stranger, Challenge::Basic) if names_digest(response) => {
                // It can do better than Basic, in a way that is not known here. The password is
                // not handed over for that.
                return Verdict::Unknown;
            }
            (Way::Stranger, _) => {}
            (Way::Digest(_, old), Challenge::Digest(new)) if new.nonce != *old => {
                if self.renewed {
                    return if new.stale {
                        Verdict::StaleForEver
                    } else {
                        Verdict::Refused
                    };
                }
                // A first login answered by a new nonce is a wrong password, for every answer
                // brings one, unless the server says that only the nonce was too old.
                if !self.accepted && !new.stale {
                    return Verdict::Refused;
                }
                self.renewed = true;
            }
            _ => return Verdict::Refused,
        }
        self.way = match next {
            Challenge::Digest(new) => Way::Digest(Session::new(new.clone()), new.nonce.clone()),
            Challenge::Basic => Way::Basic,
        };
        Verdict::Again
    }
}

/// Whether a Digest login is offered at all, in whatever form.
fn names_digest(response: &Response) -> bool {
    response.all("www-authenticate").any(|header| {
        let header = String::from_utf8_lossy(header).to_ascii_lowercase();
        header.trim_start().starts_with("digest") || header.contains(", digest ")
    })
}
