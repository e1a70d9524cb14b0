//! When an RTSP request carries a login, and which. Cameras lock an account after a few wrong
//! passwords, so a login that was refused is not sent a second time.

use crate::domain::camera::Credentials;
use crate::domain::stream;
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
    /// The login was taken for another request, and is not for this one.
    NotAllowed,
    /// No kind of login is offered that is known here.
    Unknown,
    /// Every nonce is called stale: no word on the password.
    StaleForEver,
}

/// How the requests of a connection log in.
#[derive(Debug)]
enum Scheme {
    Unauthenticated,
    Digest(Session, Vec<u8>),
    Basic,
}

/// The login of one conversation.
#[derive(Debug)]
pub struct Login {
    credentials: Option<Credentials>,
    /// Random, without quotes; the nonce's count rises instead of it.
    cnonce: String,
    way: Scheme,
    /// The server has taken it: another 401 is about the nonce.
    accepted: bool,
    /// Something was given for it.
    taken: bool,
    /// The request in hand has been sent a second time for the nonce's sake.
    renewed: bool,
    /// What the last 401 asked for.
    asked_for: stream::Challenge,
}

impl Login {
    /// `cnonce` = fresh random text without quotes.
    pub fn new(credentials: Option<Credentials>, cnonce: String) -> Self {
        Self {
            credentials,
            cnonce,
            way: Scheme::Unauthenticated,
            accepted: false,
            taken: false,
            renewed: false,
            asked_for: stream::Challenge::None,
        }
    }

    /// What the last 401 asked for, as FFmpeg would understand it.
    pub fn asked_for(&self) -> stream::Challenge {
        self.asked_for
    }

    /// The value of an `Authorization` header; `url` as on the request line.
    pub fn authorization(&mut self, method: &str, url: &str) -> Option<Vec<u8>> {
        let login = self.credentials.as_ref()?;
        let (user, password) = (login.username(), login.password().expose());
        match &mut self.way {
            Scheme::Unauthenticated => None,
            Scheme::Digest(session, _) => {
                Some(session.authorization(user, password, method, url, &self.cnonce))
            }
            Scheme::Basic => Some(basic_authorization(user, password)),
        }
    }

    /// Whether requests carry a login now.
    pub fn is_used(&self) -> bool {
        !matches!(self.way, Scheme::Unauthenticated)
    }

    /// An answer other than 401: the login it answers was good, if there was one.
    pub fn passed(&mut self, success: bool) {
        self.accepted = self.is_used();
        self.taken |= self.is_used() && success;
        self.renewed = false;
    }

    /// A 401. One for a request beside others for which the same login was taken, on the same
    /// connection, is about the request.
    pub fn challenged(&mut self, response: &Response) -> Verdict {
        match self.judged(response) {
            Verdict::Refused if self.taken => Verdict::NotAllowed,
            verdict => verdict,
        }
    }

    fn judged(&mut self, response: &Response) -> Verdict {
        self.asked_for = ffmpegs_choice(response.all("www-authenticate"));
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
            (Scheme::Unauthenticated, Challenge::Basic) if names_digest(response) => {
                // It can do better than Basic, in a way that is not known here. The password is
                // not handed over for that.
                return Verdict::Unknown;
            }
            (Scheme::Unauthenticated, _) => {}
            (Scheme::Digest(_, old), Challenge::Digest(new)) if new.nonce != *old => {
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
            Challenge::Digest(new) => Scheme::Digest(Session::new(new.clone()), new.nonce.clone()),
            Challenge::Basic => Scheme::Basic,
        };
        Verdict::Again
    }
}

/// Which login FFmpeg would choose. It prefers Digest to Basic; of several Digests it takes the last,
/// and of that the last algorithm; and it sends nothing where that is not MD5 (measured with 9.0.2).
fn ffmpegs_choice<'a>(headers: impl Iterator<Item = &'a [u8]>) -> stream::Challenge {
    let mut choice = stream::Challenge::None;
    for header in headers {
        let header = String::from_utf8_lossy(header);
        let header = header.trim_start();
        let scheme = header.split(' ').next().unwrap_or_default();
        if scheme.eq_ignore_ascii_case("digest") {
            choice = match last_algorithm(header).as_str() {
                "" | "MD5" | "MD5-sess" => stream::Challenge::Digest,
                _ => stream::Challenge::DigestSha256,
            };
        } else if scheme.eq_ignore_ascii_case("basic") && choice == stream::Challenge::None {
            choice = stream::Challenge::Basic;
        }
    }
    choice
}

/// The value of the last `algorithm=` of a header; empty where there is none.
fn last_algorithm(header: &str) -> String {
    let lower = header.to_ascii_lowercase();
    let Some((at, name)) = lower.rmatch_indices("algorithm=").next() else {
        return String::new();
    };
    let value = header.get(at + name.len()..).unwrap_or_default();
    value
        .trim_start_matches('"')
        .chars()
        .take_while(|c| !matches!(c, ',' | '"' | ' '))
        .collect()
}

/// Whether a Digest login is offered at all, in whatever form.
fn names_digest(response: &Response) -> bool {
    response.all("www-authenticate").any(|header| {
        let header = String::from_utf8_lossy(header).to_ascii_lowercase();
        header.trim_start().starts_with("digest") || header.contains(", digest ")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ffmpeg_takes_the_last_digest_and_knows_md5_alone() {
        use stream::Challenge::{Basic, Digest, DigestSha256, None};
        let md5 = r#"Digest realm="a, b", nonce="n", algorithm=MD5, qop="auth""#;
        let plain = r#"Digest realm="algorithm", nonce="n""#;
        let sha = r#"digest realm="r", nonce="n", algorithm="SHA-256""#;
        let basic = r#"Basic realm="r""#;
        let both =
            r#"Digest realm="r", nonce="n", algorithm=MD5, Digest realm="r", algorithm=SHA-256"#;
        for (headers, choice) in [
            (vec![], None),
            (vec!["Negotiate"], None),
            (vec![basic], Basic),
            (vec![plain], Digest),
            (vec![basic, md5], Digest),
            (vec![md5, basic], Digest),
            (vec![sha, md5], Digest),
            (vec![md5, sha], DigestSha256),
            (vec![sha], DigestSha256),
            (vec![basic, sha], DigestSha256),
            (vec![both], DigestSha256),
        ] {
            let found = ffmpegs_choice(headers.iter().map(|h| h.as_bytes()));
            assert_eq!(found, choice, "{headers:?}");
        }
    }
}
