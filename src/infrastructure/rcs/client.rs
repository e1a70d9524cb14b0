//! Sends one body to RCS and judges the answer. Holds the connections, the token, and what was
//! last seen of the way to RCS; knows no retries.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use ureq::Agent;
use ureq::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, LOCATION};
use zeroize::Zeroizing;

use super::error::{self, RcsError, Refusal};
use super::wire::{self, Answer};
use crate::domain::checkup::RcsLook;
use crate::domain::error::ErrorCode;
use crate::domain::gateway::Uplink;
use crate::infrastructure::http::agent::{LazyAgent, Timeouts};
use crate::infrastructure::http::look::offset;
use crate::infrastructure::http::tls::TrustStore;
use crate::util::secret::Secret;
use crate::util::url;

/// An answer is read up to this many bytes.
const MAX_ANSWER: u64 = 64 * 1024;
/// An address is asked for at most this long.
const PUBLIC_IP_WITHIN: Duration = Duration::from_secs(5);
/// An address is no longer than this.
const MAX_PUBLIC_IP: u64 = 256;

/// What the client needs of the configuration.
#[derive(Debug, Clone)]
pub struct RcsSettings {
    /// `rcs.base_url`, without a trailing slash.
    pub base_url: String,
    /// `rcs.token`; over plain http it is sent to loopback only.
    pub token: Option<Secret>,
    /// `rcs.connect_timeout`
    pub connect_timeout: Duration,
    /// `rcs.read_timeout`
    pub read_timeout: Duration,
    /// `lss.node.public_ip_url`
    pub public_ip_url: Option<String>,
}

/// RCS's three doors (spec).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    Register,
    Heartbeat,
    Callback,
}

/// What has become of the requests at one door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchanges {
    /// Which.
    pub name: &'static str,
    /// RCS took what they told.
    pub taken: u64,
    /// It did not, or was not reached.
    pub failed: u64,
}

impl Door {
    const ALL: [Self; 3] = [Self::Register, Self::Heartbeat, Self::Callback];

    fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Heartbeat => "heartbeat",
            Self::Callback => "callback",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Register => "/lss/register",
            Self::Heartbeat => "/lss/heartbeat",
            Self::Callback => "/lss/task/callback",
        }
    }
}

/// One RCS. Shared by the heartbeat and the callback thread, so that they share connections.
pub struct RcsClient {
    base_url: String,
    /// Scheme, host and port, for people.
    shown: String,
    /// https, or loopback.
    may_carry_token: bool,
    token: RwLock<Option<Secret>>,
    http: LazyAgent,
    /// Some request has come back, so a connection may have been kept.
    may_reuse: AtomicBool,
    public_ip: Option<(String, LazyAgent)>,
    /// For where RCS sends us from http to https.
    secure: LazyAgent,
    uplink: Arc<RcsUplink>,
    counts: Counts,
    on_heartbeat: RwLock<Option<Box<OnHeartbeat>>>,
}

/// Told whether RCS took the heartbeat, or the registration, that has just ended.
type OnHeartbeat = dyn Fn(bool) + Send + Sync;

/// Requests that were taken and that failed, by door.
#[derive(Default)]
struct Counts([[AtomicU64; 2]; 3]);

impl Counts {
    fn of(&self, door: Door) -> &[AtomicU64; 2] {
        let [register, heartbeat, callback] = &self.0;
        match door {
            Door::Register => register,
            Door::Heartbeat => heartbeat,
            Door::Callback => callback,
        }
    }
}

impl fmt::Debug for RcsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RcsClient")
            .field("at", &self.shown)
            .finish_non_exhaustive()
    }
}

impl RcsClient {
    /// Opens nothing, reads nothing.
    pub fn new(settings: RcsSettings, trust: &Arc<TrustStore>) -> Self {
        let trust_for = |target: &str| is_https(target).then(|| trust.clone());
        let parts = url::split(&settings.base_url).ok();
        let timeouts = Timeouts {
            connect: settings.connect_timeout,
            read: settings.read_timeout,
        };
        let briefly = Timeouts {
            connect: PUBLIC_IP_WITHIN / 4,
            read: PUBLIC_IP_WITHIN / 4,
        };
        Self {
            shown: parts.as_ref().map_or_else(
                || "rcs.base_url".to_owned(),
                |p| match p.port {
                    Some(port) => format!("{}://{}:{port}", p.scheme, p.host_in_url()),
                    None => format!("{}://{}", p.scheme, p.host_in_url()),
                },
            ),
            may_carry_token: is_https(&settings.base_url)
                || parts.is_some_and(|p| url::is_loopback_host(p.host)),
            http: LazyAgent::new(timeouts, trust_for(&settings.base_url)),
            public_ip: settings.public_ip_url.map(|target| {
                let agent = LazyAgent::new(briefly, trust_for(&target));
                (target, agent)
            }),
            base_url: settings.base_url.trim_end_matches('/').to_owned(),
            token: RwLock::new(settings.token),
            may_reuse: AtomicBool::new(false),
            secure: LazyAgent::new(timeouts, Some(trust.clone())),
            uplink: Arc::new(RcsUplink::default()),
            counts: Counts::default(),
            on_heartbeat: RwLock::default(),
        }
    }

    /// From the next request on (reload).
    pub fn set_token(&self, token: Option<Secret>) {
        *self.token.write().unwrap_or_else(PoisonError::into_inner) = token;
    }

    /// Whether the way to RCS was last seen failing.
    pub fn uplink(&self) -> Arc<RcsUplink> {
        self.uplink.clone()
    }

    /// Scheme, host and port, for people.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// How long one request can last at most.
    pub fn longest_request(&self) -> Duration {
        // A stale connection is tried twice, and so is what RCS sends elsewhere.
        self.http.timeouts().whole().saturating_mul(3)
    }

    /// Who wants to hear of each heartbeat and registration whether RCS took it.
    pub(super) fn on_heartbeat(&self, told: impl Fn(bool) + Send + Sync + 'static) {
        *self
            .on_heartbeat
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(Box::new(told));
    }

    /// Requests that wait for an answer right now fail at once. For the end of the daemon's
    /// patience at stop.
    pub fn interrupt(&self) {
        self.http.interrupt();
        self.secure.interrupt();
        if let Some((_, agent)) = &self.public_ip {
            agent.interrupt();
        }
    }

    /// What has become of the requests so far.
    pub fn exchanges(&self) -> [Exchanges; 3] {
        Door::ALL.map(|door| {
            let [taken, failed] = self.counts.of(door);
            Exchanges {
                name: door.name(),
                taken: taken.load(Ordering::Relaxed),
                failed: failed.load(Ordering::Relaxed),
            }
        })
    }

    pub(super) fn post(&self, door: Door, body: &[u8]) -> Result<(), RcsError> {
        let result = self.exchange(door, body);
        let [taken, failed] = self.counts.of(door);
        let counted = if result.is_ok() { taken } else { failed };
        counted.fetch_add(1, Ordering::Relaxed);
        match &result {
            Err(why) if why.is_link_down() => {
                self.http.distrust_names();
                self.uplink.failing.store(true, Ordering::Relaxed);
            }
            // Our own refusal to send says nothing about the way.
            Err(RcsError::Unsent(_)) => {}
            _ => self.uplink.failing.store(false, Ordering::Relaxed),
        }
        if door != Door::Callback
            && let Some(told) = &*self
                .on_heartbeat
                .read()
                .unwrap_or_else(PoisonError::into_inner)
        {
            told(result.is_ok());
        }
        result
    }

    fn exchange(&self, door: Door, body: &[u8]) -> Result<(), RcsError> {
        let bearer = self.bearer()?;
        let agent = self
            .http
            .get()
            .map_err(|why| RcsError::Unsent(error::outside(&why.to_string())))?;
        let target = format!("{}{}", self.base_url, door.path());
        let mut answer = send(&agent, &target, bearer.as_ref(), body);
        if let Err(why) = &answer
            && error::was_stale(why)
            && self.may_reuse.swap(false, Ordering::Relaxed)
        {
            log::debug!(door:? = door; "RCS had closed the connection; sent again on a new one");
            answer = send(&agent, &target, bearer.as_ref(), body);
        }
        let failed = |why| error::from_ureq(&why, &self.shown, self.http.timeouts());
        let mut answer = answer.map_err(failed)?;
        self.may_reuse.store(true, Ordering::Relaxed);
        if let Some(there) = answer.elsewhere(&target) {
            // Once: whoever sends us on from there sends us in a circle.
            let agent = if is_https(&there) && !is_https(&target) {
                let made = self.secure.get();
                made.map_err(|why| RcsError::Unsent(error::outside(&why.to_string())))?
            } else {
                agent
            };
            answer = send(&agent, &there, bearer.as_ref(), body).map_err(failed)?;
        }
        judge(answer.status, &answer.body)
    }

    fn bearer(&self) -> Result<Option<Zeroizing<String>>, RcsError> {
        let token = self
            .token
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match token {
            Some(_) if !self.may_carry_token => Err(RcsError::Unsent(
                "rcs.token would cross the network in clear: use https in rcs.base_url".to_owned(),
            )),
            Some(token) => Ok(Some(Zeroizing::new(format!("Bearer {}", token.expose())))),
            None => Ok(None),
        }
    }

    /// Asks RCS something harmless, and its clock less ours in seconds: a GET at the heartbeat's
    /// door. GET changes nothing (RFC 9110, 9.2.1); whoever checks logins does so before the
    /// method, so a wrong token is refused and a right one gets 405 or the like.
    pub fn look(&self) -> (RcsLook, Option<i64>) {
        let answered = self.bearer().and_then(|bearer| {
            let agent = self
                .http
                .get()
                .map_err(|why| RcsError::Unsent(error::outside(&why.to_string())))?;
            let mut request = agent
                .get(format!("{}{}", self.base_url, Door::Heartbeat.path()))
                .header(ACCEPT, "application/json");
            if let Some(bearer) = &bearer {
                request = request.header(AUTHORIZATION, bearer.as_str());
            }
            let failed = |why| error::from_ureq(&why, &self.shown, self.http.timeouts());
            let response = request.call().map_err(failed)?;
            let now = SystemTime::now();
            let status = response.status().as_u16();
            let date = response.headers().get(DATE).and_then(|v| v.to_str().ok());
            let theirs = date.and_then(|d| httpdate::parse_http_date(d).ok());
            let clock = theirs.and_then(|theirs| offset(theirs, now));
            let body = response.into_body().into_with_config().limit(MAX_ANSWER);
            // A body that never ends tells no less than one that is none.
            let body = body.read_to_vec().unwrap_or_else(|_| b"<".to_vec());
            Ok((status, body, clock))
        });
        match answered {
            Ok((status, body, clock)) => (seen(status, &body), clock),
            Err(RcsError::Foreign(words)) => (RcsLook::Foreign(words), None),
            Err(other) => (RcsLook::Unreachable(other.to_string()), None),
        }
    }

    /// Whether there is an address to ask for.
    pub(super) fn wants_public_ip(&self) -> bool {
        self.public_ip.is_some()
    }

    /// The address under which `lss.node.public_ip_url` sees us. At most 5 s.
    pub(super) fn public_ip(&self) -> Option<IpAddr> {
        let (target, agent) = self.public_ip.as_ref()?;
        let found = agent
            .get()
            .map_err(|why| why.to_string())
            .and_then(|agent| {
                let response = agent.get(target).call().map_err(|why| why.to_string())?;
                let status = response.status();
                let body = response
                    .into_body()
                    .into_with_config()
                    .limit(MAX_PUBLIC_IP)
                    .read_to_vec()
                    .map_err(|why| why.to_string())?;
                wire::public_ip(&body)
                    .filter(|_| status.is_success())
                    .ok_or_else(|| format!("HTTP {} with no plain address", status.as_u16()))
            });
        match found {
            Ok(ip) => Some(ip),
            Err(why) => {
                agent.distrust_names();
                log::info!(reason = error::outside(&why); "the public address is unknown: lss.node.public_ip_url does not tell");
                None
            }
        }
    }
}

/// An answer to a POST, whatever it says.
struct Answered {
    status: u16,
    location: Option<String>,
    body: Vec<u8>,
}

impl Answered {
    /// Where a redirect wants the request sent again: to the same host only, so that neither token
    /// nor body gets to a stranger (a captive portal redirects, too). From http to https is fine.
    fn elsewhere(&self, target: &str) -> Option<String> {
        if !matches!(self.status, 301 | 302 | 307 | 308) {
            return None;
        }
        let location = self.location.as_deref()?.trim();
        let here = url::split(target).ok()?;
        if location.starts_with('/') && !location.starts_with("//") {
            let port = here.port.map(|port| format!(":{port}")).unwrap_or_default();
            let host = here.host_in_url();
            return Some(format!("{}://{host}{port}{location}", here.scheme));
        }
        let there = url::split(location).ok()?;
        let same_host = there.host.eq_ignore_ascii_case(here.host);
        let same_door = there.scheme.eq_ignore_ascii_case(here.scheme)
            && port_of(there.port, there.scheme) == port_of(here.port, here.scheme);
        let safer = !is_https(target) && is_https(location);
        (same_host && (same_door || safer)).then(|| location.to_owned())
    }
}

fn port_of(port: Option<u16>, scheme: &str) -> u16 {
    let usual = if scheme.eq_ignore_ascii_case("https") {
        443
    } else {
        80
    };
    port.unwrap_or(usual)
}

/// One POST.
fn send(
    agent: &Agent,
    target: &str,
    bearer: Option<&Zeroizing<String>>,
    body: &[u8],
) -> Result<Answered, ureq::Error> {
    let mut request = agent
        .post(target)
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "application/json");
    if let Some(bearer) = bearer {
        request = request.header(AUTHORIZATION, bearer.as_str());
    }
    let response = request.send(body)?;
    let status = response.status().as_u16();
    let location = response.headers().get(LOCATION);
    let location = location.and_then(|v| v.to_str().ok()).map(str::to_owned);
    let body = response
        .into_body()
        .into_with_config()
        .limit(MAX_ANSWER)
        .read_to_vec()?;
    Ok(Answered {
        status,
        location,
        body,
    })
}

fn is_https(target: &str) -> bool {
    target
        .get(..8)
        .is_some_and(|start| start.eq_ignore_ascii_case("https://"))
}

/// Success = 2xx with an empty body or a JSON object whose `code` is 0, 200 or missing.
fn judge(status: u16, body: &[u8]) -> Result<(), RcsError> {
    let answer = wire::answer(body);
    let refusal = |answer: Answer| match answer {
        Answer::Bad { code, message } => Refusal {
            status,
            code,
            message: error::outside(&message),
        },
        Answer::Good | Answer::Foreign => Refusal {
            status,
            code: None,
            message: String::new(),
        },
    };
    match (status, answer) {
        (200..=299, Answer::Good) => Ok(()),
        (200..=299, Answer::Foreign) => Err(RcsError::Foreign(format!(
            "HTTP {status} with a body that is no JSON object"
        ))),
        (300..=399, _) => Err(RcsError::Foreign(format!("HTTP {status}: a redirect"))),
        (401 | 403, answer) => Err(RcsError::Login(refusal(answer))),
        (
            200..=299,
            answer @ Answer::Bad {
                code: Some(code), ..
            },
        ) if refuses_login(code) => Err(RcsError::Login(refusal(answer))),
        (_, answer) => Err(RcsError::Refused(refusal(answer))),
    }
}

/// Whether a `code` says what the statuses 401 and 403 say.
fn refuses_login(code: i64) -> bool {
    let ours = [ErrorCode::Unauthorized, ErrorCode::AccessDenied].map(|c| i64::from(c.number()));
    matches!(code, 401 | 403) || ours.contains(&code)
}

/// What an answer to a GET at a door for POST tells.
fn seen(status: u16, body: &[u8]) -> RcsLook {
    let answer = wire::answer(body);
    let words = match &answer {
        Answer::Bad { code, message } => Refusal {
            status,
            code: *code,
            message: error::outside(message),
        },
        Answer::Good | Answer::Foreign => Refusal {
            status,
            code: None,
            message: String::new(),
        },
    }
    .to_string();
    match (status, &answer) {
        (401 | 403, _) => RcsLook::RefusesLogin(words),
        (
            _,
            Answer::Bad {
                code: Some(code), ..
            },
        ) if refuses_login(*code) => RcsLook::RefusesLogin(words),
        (300..=399, _) => RcsLook::Foreign(format!("HTTP {status}: it sends us elsewhere")),
        (407 | 511, _) => RcsLook::Foreign(format!("HTTP {status}: a proxy wants a login")),
        (200..=299, Answer::Foreign) => {
            RcsLook::Foreign(format!("HTTP {status} with a page instead of JSON"))
        }
        // An envelope of RCS's own may carry 500 for a method it does not know.
        (500, Answer::Bad { .. }) => RcsLook::Answers { status },
        (500..=599, _) => RcsLook::Trouble(words),
        _ => RcsLook::Answers { status },
    }
}

/// Whether RCS was last seen failing (contract 3: failures while the uplink is down don't count).
#[derive(Debug, Default)]
pub struct RcsUplink {
    failing: AtomicBool,
}

impl Uplink for RcsUplink {
    fn is_down(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(base_url: &str, token: Option<&str>) -> RcsSettings {
        RcsSettings {
            base_url: base_url.to_owned(),
            token: token.map(Secret::new),
            connect_timeout: Duration::from_secs(1),
            read_timeout: Duration::from_secs(1),
            public_ip_url: None,
        }
    }

    #[test]
    fn a_harmless_question_tells_rcs_from_what_stands_in_its_place() {
        let answers = |status, body: &str| seen(status, body.as_bytes());
        for (status, body) in [
            (405, ""),
            (405, "<html>nginx"),
            (404, "{}"),
            (200, r#"{"code":0}"#),
            (200, r#"{"code":500,"message":"GET not supported"}"#),
            (500, r#"{"code":500,"message":"GET not supported"}"#),
        ] {
            assert_eq!(
                answers(status, body),
                RcsLook::Answers { status },
                "{status} {body}"
            );
        }
        for (status, body) in [(401, ""), (403, "<html>"), (200, r#"{"code":10001}"#)] {
            let look = answers(status, body);
            assert!(matches!(look, RcsLook::RefusesLogin(_)), "{look:?}");
        }
        for (status, body) in [(200, "<html>"), (302, ""), (407, ""), (511, "")] {
            let look = answers(status, body);
            assert!(matches!(look, RcsLook::Foreign(_)), "{look:?}");
        }
        assert!(matches!(answers(503, ""), RcsLook::Trouble(_)));
        assert!(matches!(answers(500, "<html>"), RcsLook::Trouble(_)));
    }

    #[test]
    fn judged_by_status_and_body() {
        assert_eq!(judge(200, b""), Ok(()));
        assert_eq!(judge(204, b""), Ok(()));
        assert_eq!(judge(201, br#"{"code":0,"data":{}}"#), Ok(()));
        assert!(matches!(judge(200, b"<html>"), Err(RcsError::Foreign(_))));
        assert!(matches!(judge(302, b""), Err(RcsError::Foreign(_))));
        assert!(matches!(judge(401, b"x"), Err(RcsError::Login(_))));
        // A failing status does not become success by its body.
        assert!(matches!(
            judge(500, br#"{"code":0}"#),
            Err(RcsError::Refused(_))
        ));
        let why = judge(200, br#"{"code":30303,"message":"no such\nnode"}"#).unwrap_err();
        assert!(why.node_is_unknown());
        assert_eq!(
            why.to_string(),
            "RCS answered HTTP 200, code 30303: no such node"
        );
    }

    #[test]
    fn a_login_refused_by_code_is_a_login_refused() {
        for code in [401, 403, 10001, 10002] {
            let body = format!(r#"{{"code":"{code}","msg":"who are you"}}"#);
            let why = judge(200, body.as_bytes()).unwrap_err();
            assert!(matches!(why, RcsError::Login(_)), "{why}");
        }
        // A failing server may say anything.
        let why = judge(502, br#"{"code":401}"#).unwrap_err();
        assert!(matches!(why, RcsError::Refused(_)), "{why}");
    }

    #[test]
    fn a_request_is_sent_elsewhere_on_the_same_host_only() {
        let sent_to = |status, here: &str, location: &str| {
            let answer = Answered {
                status,
                location: Some(location.to_owned()),
                body: Vec::new(),
            };
            answer.elsewhere(here)
        };
        let here = "http://rcs.example:8080/lss/register";
        for (location, there) in [
            (
                "/api/lss/register",
                "http://rcs.example:8080/api/lss/register",
            ),
            ("http://RCS.example:8080/x", "http://RCS.example:8080/x"),
            (
                "https://rcs.example/lss/register",
                "https://rcs.example/lss/register",
            ),
        ] {
            for status in [301, 302, 307, 308] {
                assert_eq!(sent_to(status, here, location).as_deref(), Some(there));
            }
            assert_eq!(sent_to(303, here, location), None, "that asks for a GET");
            assert_eq!(sent_to(200, here, location), None);
        }
        for location in [
            "http://rcs.example:8081/x",
            "http://portal.example/login",
            "https://rcs.example.evil.test/x",
            "https://rcs.example@evil.test/x",
            "//evil.test/x",
            "lss/register",
            "",
        ] {
            assert_eq!(sent_to(302, here, location), None, "{location}");
        }
        let here = "https://rcs.example/lss/register";
        assert_eq!(sent_to(308, here, "http://rcs.example/lss/register"), None);
        assert_eq!(sent_to(308, here, "https://rcs.example:8443/x"), None);
        let same = "https://rcs.example:443/x";
        assert_eq!(sent_to(308, here, same).as_deref(), Some(same));
    }

    #[test]
    fn a_token_never_crosses_the_network_in_clear() {
        let trust = Arc::new(TrustStore::new(None));
        let bearer =
            |base: &str| RcsClient::new(settings(base, Some("tok-canary")), &trust).bearer();
        assert!(matches!(
            bearer("http://rcs.example:80"),
            Err(RcsError::Unsent(_))
        ));
        for fine in [
            "https://rcs.example",
            "HTTPS://rcs.example",
            "http://127.0.0.1:1",
            "http://[::1]:1",
            "http://localhost",
        ] {
            assert_eq!(
                bearer(fine).unwrap().unwrap().as_str(),
                "Bearer tok-canary",
                "{fine}"
            );
        }
    }

    #[test]
    fn shown_without_path_and_user() {
        let trust = Arc::new(TrustStore::new(None));
        let client = RcsClient::new(settings("https://u:pw-canary@[::1]:8/base/", None), &trust);
        assert_eq!(client.shown(), "https://[::1]:8");
        assert!(!format!("{client:?}").contains("canary"));
        assert!(!client.uplink().is_down());
    }
}
