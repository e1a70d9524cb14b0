//! A camera client that logs in: challenge, answer, nonce reuse, one re-challenge, no more.
//!
//! Owns one connection and one nonce. A refused login is never tried a second time with the same
//! nonce state: that is how accounts get locked. What a refusal's body says is the protocol's to
//! read; it is handed up whole.

use std::time::{Duration, Instant};

use super::camera_client::{CameraClient, Request, Resend};
use super::digest::{self, Challenge, Session};
use super::doors::Door;
use super::response::{HttpError, Response};
use crate::domain::camera::Credentials;
use crate::util::url;

/// A nonce refused within this time of its issue was not too old: the camera does not let nonces
/// be used twice.
const YOUNG: Duration = Duration::from_secs(5);
/// After so many young nonces refused in a row, none is used twice any more.
const REUSE_GIVEN_UP: u32 = 2;
/// Longest answer to the request that only fetches a challenge.
const MAX_PRIMER: usize = 256 * 1024;

/// Why there is no response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginError {
    /// No HTTP answer.
    Http(HttpError),
    /// 401. `tried` = credentials were sent; else there were none, or no login was offered.
    Refused {
        /// Whether credentials were sent.
        tried: bool,
        /// What the camera answered.
        response: Response,
    },
    /// Only Basic is offered, and that is not allowed or would be a step down from Digest.
    BasicOnly,
    /// Every nonce is called stale: no word on the password.
    StaleForEver,
    /// A redirect to somewhere else.
    Elsewhere(String),
}

impl From<HttpError> for LoginError {
    fn from(error: HttpError) -> Self {
        Self::Http(error)
    }
}

/// How a client logs in.
#[derive(Debug, Clone, Copy)]
pub struct LoginRules {
    /// Answer Basic where nothing else is offered, and never was.
    pub allow_basic: bool,
    /// A 403 that is the camera's word on the request, not on an old nonce.
    pub is_definite: fn(&Response) -> bool,
}

/// A nonce with its age.
#[derive(Debug)]
struct Nonce {
    session: Session,
    since: Instant,
}

/// See the module.
#[derive(Debug)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "facts that are learnt one by one"
)]
pub struct LoginClient {
    http: CameraClient,
    credentials: Option<Credentials>,
    rules: LoginRules,
    nonce: Option<Nonce>,
    /// The camera has asked for Basic and gets it up front.
    basic: bool,
    /// The camera has offered Digest before: it never gets Basic.
    digest_seen: bool,
    /// The camera asked for no login when it was primed: it needs no primer again.
    open: bool,
    young_refusals: u32,
    /// The request at hand was led here by the camera: no password follows such a lead.
    led_on: bool,
}

impl LoginClient {
    /// Opens nothing yet.
    pub fn new(http: CameraClient, credentials: Option<Credentials>, rules: LoginRules) -> Self {
        Self {
            http,
            credentials,
            rules,
            nonce: None,
            basic: false,
            digest_seen: false,
            open: false,
            young_refusals: 0,
            led_on: false,
        }
    }

    /// Closes the connection. The nonce stays: most cameras take it on another connection, and
    /// those which do not say so.
    pub fn hang_up(&mut self) {
        self.http.hang_up();
    }

    /// Whether the camera has asked for a login and taken ours.
    pub fn is_logged_in(&self) -> bool {
        self.basic || self.nonce.as_ref().is_some_and(|n| n.session.used() > 0)
    }

    /// Sends without a login, whatever the answer. May end in [`HttpError::Dead`].
    pub fn send_plain(
        &mut self,
        request: &Request<'_>,
        deadline: Instant,
    ) -> Result<Response, HttpError> {
        self.http.send(request, None, deadline)
    }

    /// Takes the login that a refused request was offered, for the next request.
    pub fn take_challenge(&mut self, response: &Response) -> Result<bool, LoginError> {
        let offered = digest::parse_challenges(response.all("www-authenticate"));
        match digest::strongest(&offered) {
            Some(Challenge::Digest(challenge)) => {
                self.digest_seen = true;
                self.basic = false;
                self.nonce = Some(Nonce {
                    session: Session::new(challenge.clone()),
                    since: Instant::now(),
                });
                Ok(true)
            }
            Some(Challenge::Basic)
                if self.rules.allow_basic && !self.digest_seen && !self.led_on =>
            {
                if self.credentials.is_some() {
                    log::warn!(
                        camera:% = self.http.peer();
                        "the password of this camera goes over the network as good as in clear, by HTTP \
                         Basic: allow_basic of its credential says so, and the camera offers nothing else"
                    );
                }
                self.basic = true;
                Ok(true)
            }
            Some(Challenge::Basic) => Err(LoginError::BasicOnly),
            None => Ok(false),
        }
    }

    /// Fetches a challenge by a GET of `primer`, where one is needed, so that the next request
    /// takes one round trip and its body is not sent in vain.
    pub fn prime(&mut self, primer: &str, deadline: Instant) -> Result<(), LoginError> {
        let usable = self
            .nonce
            .as_ref()
            .is_some_and(|n| n.session.used() == 0 || self.young_refusals < REUSE_GIVEN_UP);
        if self.credentials.is_none() || usable || self.basic || self.open {
            return Ok(());
        }
        let request = Request {
            method: "GET",
            target: primer,
            content_type: None,
            soap_action: None,
            body: None,
            resend: Resend::Always,
            max_reply: MAX_PRIMER,
            secret: false,
        };
        self.nonce = None;
        let (response, _) = self.send_resending(&request, deadline)?;
        if response.status == 401 {
            if !self.take_challenge(&response)? {
                return Err(LoginError::Refused {
                    tried: false,
                    response,
                });
            }
        } else {
            self.open = true;
        }
        Ok(())
    }

    /// Sends with a login if one is asked for. Credentials are sent at most twice, and the second
    /// time only for a nonce that the first answer brought. A GET is led on once, to the same
    /// host only.
    pub fn send(
        &mut self,
        request: &Request<'_>,
        deadline: Instant,
    ) -> Result<Response, LoginError> {
        let response = self.send_here(request, deadline)?;
        let Some(location) = redirect(&response) else {
            return Ok(response);
        };
        let Some(target) = same_host_target(&location, self.http.door()) else {
            return Err(LoginError::Elsewhere(location));
        };
        if request.method != "GET" {
            return Err(LoginError::Elsewhere(location));
        }
        let there = Request {
            target: &target,
            ..*request
        };
        self.led_on = true;
        let response = self.send_here(&there, deadline);
        self.led_on = false;
        let response = response?;
        match redirect(&response) {
            Some(location) => Err(LoginError::Elsewhere(location)),
            None => Ok(response),
        }
    }

    fn send_here(
        &mut self,
        request: &Request<'_>,
        deadline: Instant,
    ) -> Result<Response, LoginError> {
        let mut rechallenged = false;
        loop {
            let (response, used) = self.send_resending(request, deadline)?;
            if response.status == 403
                && matches!(used, Used::OldNonce(_))
                && !rechallenged
                && !(self.rules.is_definite)(&response)
            {
                // Some firmware answers an old nonce like this, and brings no new one.
                rechallenged = true;
                self.nonce = None;
                continue;
            }
            if response.status != 401 {
                if matches!(used, Used::OldNonce(_)) {
                    self.young_refusals = 0;
                }
                return Ok(response);
            }
            self.open = false;
            let stale = says_stale(&response);
            match self.take_challenge(&response) {
                Ok(true) if self.credentials.is_some() => {}
                Ok(_) => {
                    self.forget_login();
                    let tried = used != Used::Nothing;
                    return Err(LoginError::Refused { tried, response });
                }
                // What it asks for next is no answer to what it was sent, and refused.
                Err(error) => {
                    self.forget_login();
                    return Err(match (used, stale) {
                        (Used::Nothing, _) => error,
                        (_, true) => LoginError::StaleForEver,
                        (_, false) => LoginError::Refused {
                            tried: true,
                            response,
                        },
                    });
                }
            }
            match used {
                // The next round carries the login that was just asked for.
                Used::Nothing => {}
                Used::OldNonce(age) if !rechallenged => {
                    rechallenged = true;
                    if age < YOUNG {
                        self.young_refusals += 1;
                    }
                }
                Used::NewNonce if stale && !rechallenged => rechallenged = true,
                Used::OldNonce(_) | Used::NewNonce | Used::Basic => {
                    self.forget_login();
                    return Err(if stale {
                        LoginError::StaleForEver
                    } else {
                        LoginError::Refused {
                            tried: true,
                            response,
                        }
                    });
                }
            }
        }
    }

    /// Sends, and once more if the kept connection was dead, with a login made anew.
    fn send_resending(
        &mut self,
        request: &Request<'_>,
        deadline: Instant,
    ) -> Result<(Response, Used), LoginError> {
        loop {
            let (authorization, used) = self.authorization(request)?;
            match self.http.send(request, authorization.as_deref(), deadline) {
                // Ends: the next one opens a connection, and a new one is never Dead.
                Err(HttpError::Dead) => {}
                Err(error) => return Err(error.into()),
                Ok(response) => return Ok((response, used)),
            }
        }
    }

    fn authorization(
        &mut self,
        request: &Request<'_>,
    ) -> Result<(Option<Vec<u8>>, Used), LoginError> {
        let Some(login) = &self.credentials else {
            return Ok((None, Used::Nothing));
        };
        let (user, password) = (login.username(), login.password().expose());
        if self.basic && !self.led_on {
            let value = digest::basic_authorization(user, password);
            return Ok((Some(value), Used::Basic));
        }
        let given_up = self.young_refusals >= REUSE_GIVEN_UP;
        let Some(nonce) = self
            .nonce
            .as_mut()
            .filter(|n| n.session.used() == 0 || !given_up)
        else {
            return Ok((None, Used::Nothing));
        };
        let age = nonce.since.elapsed();
        let kind = if nonce.session.used() == 0 && age < YOUNG {
            Used::NewNonce
        } else {
            Used::OldNonce(age)
        };
        let value =
            nonce
                .session
                .authorization(user, password, request.method, request.target, &cnonce()?);
        Ok((Some(value), kind))
    }

    /// The next request begins as a stranger, instead of with a nonce born in a refusal.
    fn forget_login(&mut self) {
        self.nonce = None;
        self.basic = false;
    }
}

/// What login a request carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Used {
    Nothing,
    Basic,
    /// The camera has just issued it.
    NewNonce,
    /// In use for that long.
    OldNonce(Duration),
}

fn says_stale(response: &Response) -> bool {
    digest::parse_challenges(response.all("www-authenticate"))
        .iter()
        .any(|c| matches!(c, Challenge::Digest(d) if d.stale))
}

/// 16 random bytes as hex.
fn cnonce() -> Result<String, LoginError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes)
        .map_err(|why| HttpError::Connect(format!("no random numbers: {why}")))?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

/// Where a redirect leads to.
fn redirect(response: &Response) -> Option<String> {
    matches!(response.status, 301 | 302 | 303 | 307 | 308)
        .then(|| response.header("location"))
        .flatten()
}

/// The target of a redirect if it stays with this host, its port and its TLS.
fn same_host_target(location: &str, door: Door) -> Option<String> {
    let path = if location.starts_with('/') && !location.starts_with("//") {
        location
    } else {
        let parts = url::split(location).ok()?;
        let (scheme, usual) = if door.tls {
            ("https", 443)
        } else {
            ("http", 80)
        };
        let same = parts.scheme.eq_ignore_ascii_case(scheme)
            && url::literal_ip(parts.host) == Some(door.at.ip().to_canonical())
            && parts.port.unwrap_or(usual) == door.at.port();
        if !same {
            return None;
        }
        if parts.path.is_empty() {
            "/"
        } else {
            parts.path
        }
    };
    let clean = path
        .bytes()
        .all(|b| b.is_ascii_graphic() && b != b'#' && b != b'\\');
    clean.then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    #[test]
    fn redirects_stay_on_the_host() {
        let door = |port, tls| Door {
            at: SocketAddr::from(([10, 0, 0, 9], port)),
            tls,
        };
        let on = |location| same_host_target(location, door(8080, false));
        assert_eq!(on("/doc/x?y=1").as_deref(), Some("/doc/x?y=1"));
        assert_eq!(on("http://10.0.0.9:8080/a").as_deref(), Some("/a"));
        assert_eq!(on("http://10.0.0.9:8080").as_deref(), Some("/"));
        for elsewhere in [
            "http://10.0.0.9/a",
            "http://10.0.0.8:8080/a",
            "https://10.0.0.9:8080/a",
            "//evil.example/a",
            "http://10.0.0.9:8080@evil.example/a",
            "/a b",
            "/a\r\nX: y",
            "relative",
            "",
        ] {
            assert_eq!(on(elsewhere), None, "{elsewhere}");
        }
        for (location, port, tls, target) in [
            ("http://10.0.0.9:80/a", 80, false, Some("/a")),
            ("http://10.0.0.9/a", 80, false, Some("/a")),
            ("https://10.0.0.9/a", 443, true, Some("/a")),
            ("https://10.0.0.9:443/a", 443, true, Some("/a")),
            ("https://10.0.0.9:8443/a", 443, true, None),
            // Back to where everybody reads along.
            ("http://10.0.0.9:443/a", 443, true, None),
            ("http://10.0.0.9/a", 443, true, None),
        ] {
            let found = same_host_target(location, door(port, tls));
            assert_eq!(found.as_deref(), target, "{location}");
        }
    }
}
