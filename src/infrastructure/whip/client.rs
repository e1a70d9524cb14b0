//! Opens a WHIP session: one POST with the offer, redirects within the rules, the answer.
//!
//! Blocks, each wait by its own bound; for a thread that nobody else waits for.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ureq::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use zeroize::Zeroizing;

use super::place::{Places, resolve};
use super::release::after;
use super::words;
use crate::domain::stream::{Cause, Diagnosis};
use crate::infrastructure::http::agent::{LazyAgent, Timeouts};
use crate::infrastructure::http::tls::TrustStore;
use crate::util::foreign::shown;
use crate::util::secret::Secret;

/// Most of an answer. One with many candidates has a few thousand bytes.
const MAX_ANSWER: u64 = 64 * 1024;
/// Redirects followed.
const MAX_REDIRECTS: usize = 3;
/// Longest text of others that is shown, in characters.
const MAX_SHOWN: usize = 200;

/// A session that has been made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Where it is ended. `None` where the endpoint named no place, or one that may not be asked.
    pub url: Option<Secret>,
    /// A host that the session was put on, and that is neither `whipUrl`'s nor in the list.
    pub elsewhere: Option<String>,
    /// The answer to the offer, as it came.
    pub answer: String,
}

/// Why there is no session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// In words.
    pub why: Diagnosis,
    /// How long the endpoint wants to be left alone, where it says so (429, 503).
    pub retry_after: Option<Duration>,
}

impl Refusal {
    fn of(cause: Cause, words: impl Into<String>) -> Self {
        Self {
            why: Diagnosis {
                cause,
                detail: words.into(),
            },
            retry_after: None,
        }
    }
}

/// One endpoint.
#[derive(Debug)]
pub struct Client {
    agent: LazyAgent,
    endpoint: Secret,
    bearer: Option<Secret>,
    places: Option<Places>,
}

impl Client {
    /// For sessions at `endpoint`. Connecting and answering may take `patience` each.
    pub fn new(
        endpoint: Secret,
        bearer: Option<Secret>,
        whip_hosts: Arc<[String]>,
        patience: Duration,
        trust: Arc<TrustStore>,
    ) -> Self {
        let timeouts = Timeouts {
            connect: patience,
            read: patience,
        };
        Self {
            agent: LazyAgent::new(timeouts, Some(trust)),
            places: Places::of(endpoint.expose(), whip_hosts),
            endpoint,
            bearer,
        }
    }

    /// Asks for a session.
    pub fn open(&self, offer: &str) -> Result<Session, Refusal> {
        let agent = self
            .agent
            .get()
            .map_err(|why| Refusal::of(Cause::WhipUnreachable, why.to_string()))?;
        let places = self.places.as_ref().ok_or_else(|| {
            let words = "whipUrl is no http(s) URL";
            Refusal::of(Cause::BadCommand, words)
        })?;
        let mut target = Zeroizing::new(self.endpoint.expose().to_owned());
        for _ in 0..=MAX_REDIRECTS {
            let answered = self.post(&agent, &target, offer).map_err(|why| {
                self.agent.distrust_names();
                from_ureq(&why)
            })?;
            match answered.status {
                200..=299 => return made(answered, &target, places),
                300..=399 => target = next(&answered, &target, places)?,
                status => {
                    let (cause, words) = words::refused(status).unwrap_or_else(|| {
                        let words = format!("{} ({status})", words::NO_ANSWER);
                        (Cause::WhipStream, words)
                    });
                    return Err(Refusal {
                        retry_after: answered.retry_after,
                        ..Refusal::of(cause, words)
                    });
                }
            }
        }
        Err(Refusal::of(
            Cause::WhipStream,
            "the WHIP endpoint sends from one URL to the next without end",
        ))
    }

    fn post(
        &self,
        agent: &ureq::Agent,
        target: &str,
        offer: &str,
    ) -> Result<Answered, ureq::Error> {
        let mut request = agent
            .post(target)
            .header(CONTENT_TYPE, "application/sdp")
            .header(ACCEPT, "application/sdp");
        if let Some(token) = &self.bearer {
            let value = Zeroizing::new(format!("Bearer {}", token.expose()));
            request = request.header(AUTHORIZATION, value.as_str());
        }
        let response = request.send(offer.as_bytes())?;
        let status = response.status().as_u16();
        let header = |name| {
            let value = response.headers().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let location = header(LOCATION);
        let retry_after = matches!(status, 429 | 503)
            .then(|| after(&header(RETRY_AFTER)?, SystemTime::now()))
            .flatten();
        let wanted = (200..300).contains(&status);
        let body = response.into_body().into_with_config().limit(MAX_ANSWER);
        let body = match body.read_to_vec() {
            Ok(body) => body,
            Err(why) if wanted => return Err(why),
            // The words of a refusal are not asked for.
            Err(_) => Vec::new(),
        };
        Ok(Answered {
            status,
            location,
            retry_after,
            body,
        })
    }
}

/// What came back.
struct Answered {
    status: u16,
    location: Option<String>,
    retry_after: Option<Duration>,
    body: Vec<u8>,
}

fn made(answered: Answered, target: &str, places: &Places) -> Result<Session, Refusal> {
    let refused = |words: &str| Refusal::of(Cause::WhipStream, words);
    let answer = String::from_utf8(answered.body).map_err(|_| refused(words::NO_ANSWER))?;
    if answer.trim_start().starts_with('<') {
        return Err(refused(words::WEB_PAGE));
    }
    if !answer.starts_with("v=0") {
        return Err(refused(words::NO_ANSWER));
    }
    let location = answered.location.and_then(|to| resolve(target, &to));
    let (url, elsewhere) = match location.map(|to| (places.allow(&to), to)) {
        Some((Ok(()), to)) => (Some(Secret::url(to)), None),
        Some((Err(host), _)) => (None, Some(shown(&host, MAX_SHOWN))),
        None => (None, None),
    };
    Ok(Session {
        url,
        elsewhere,
        answer,
    })
}

/// Where a redirect leads. RFC 9725 4.5: 307 and 308 alone keep a POST a POST, so the others come from
/// whoever stands in between.
fn next(answered: &Answered, from: &str, places: &Places) -> Result<Zeroizing<String>, Refusal> {
    let status = answered.status;
    let refused = |words: String| Err(Refusal::of(Cause::WhipStream, words));
    let Some(to) = answered.location.as_ref().and_then(|to| resolve(from, to)) else {
        return refused(format!("the WHIP endpoint sends on ({status}) to nowhere"));
    };
    let to = Zeroizing::new(to);
    if !matches!(status, 307 | 308) {
        return refused(format!(
            "the WHIP endpoint sends elsewhere ({status}), which no WHIP endpoint may: is a login \
             page (captive portal, proxy) in between, is whipUrl right?"
        ));
    }
    match places.allow(&to) {
        Ok(()) => Ok(to),
        Err(host) => refused(format!(
            "the WHIP endpoint sends on ({status}) to {}, which is neither whipUrl's host nor in \
             lss.ffmpeg.whip_hosts",
            shown(&host, MAX_SHOWN)
        )),
    }
}

/// ureq's errors, with the words and causes that FFmpeg's have.
fn from_ureq(error: &ureq::Error) -> Refusal {
    use ureq::{Error, Timeout};
    let failed = |why: String| {
        let why = shown(&why, MAX_SHOWN);
        let words = format!("the connection to the WHIP endpoint failed: {why}");
        Refusal::of(Cause::WhipUnreachable, words)
    };
    match error {
        Error::HostNotFound | Error::Timeout(Timeout::Resolve) => {
            Refusal::of(Cause::WhipUplink, words::NO_NAME)
        }
        Error::Timeout(_) => Refusal::of(Cause::WhipUplink, words::SILENT),
        Error::Io(why) => from_io(why),
        Error::Rustls(why) => from_tls(why),
        Error::BodyExceedsLimit(_) | Error::LargeResponseHeader(..) | Error::Protocol(_) => {
            Refusal::of(Cause::WhipStream, words::NO_ANSWER)
        }
        other => failed(other.to_string()),
    }
}

fn from_io(why: &io::Error) -> Refusal {
    if let Some(tls) = why
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    {
        return from_tls(tls);
    }
    let (cause, words) = match why.kind() {
        io::ErrorKind::ConnectionRefused => (Cause::WhipUnreachable, words::REFUSED.to_owned()),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            (Cause::WhipUplink, words::SILENT.to_owned())
        }
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown => (
            Cause::WhipUplink,
            format!("there is no way to the WHIP endpoint: {}", io_words(why)),
        ),
        io::ErrorKind::UnexpectedEof => (Cause::WhipUnreachable, words::CLOSED.to_owned()),
        _ => (
            Cause::WhipUnreachable,
            format!(
                "the connection to the WHIP endpoint failed: {}",
                io_words(why)
            ),
        ),
    };
    Refusal::of(cause, words)
}

fn io_words(why: &io::Error) -> String {
    shown(&why.to_string(), MAX_SHOWN)
}

fn from_tls(why: &rustls::Error) -> Refusal {
    match why {
        rustls::Error::InvalidCertificate(_) => {
            Refusal::of(Cause::WhipUnreachable, words::NOT_TRUSTED)
        }
        other => Refusal::of(
            Cause::WhipUnreachable,
            format!(
                "the connection to the WHIP endpoint failed: TLS: {}",
                shown(&other.to_string(), MAX_SHOWN)
            ),
        ),
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
