//! What can't be done without waiting: names, tokens, the connectivity check, the server's time.
//! Each on a short-lived thread of its own; the answers come back by a channel and the doorbell.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use crossbeam_channel::{Receiver, Sender, bounded};
use serde_json::Value;

use super::connection::types::{Input, RequestId, TimeAnswer, Token, TokenFault, TransportId};
use super::doorbell::Doorbell;
use crate::util::foreign::shown;
use crate::util::secret::Secret;
use crate::util::url::encode_userinfo;

/// Helpers at a time: a resolver that hangs must not become a hundred that do.
const MAX_RUNNING: usize = 6;
/// Answers of token sources are not longer (RSA4f).
const MAX_TOKEN_BODY: u64 = 128 * 1024;
/// Longest words of a peer or of the system that are passed on, in characters.
pub(super) const MAX_WORDS: usize = 300;

/// What a helper brings back.
#[derive(Debug)]
pub(super) enum Answer {
    /// For the machine.
    Machine(Input),
    /// Addresses of a transport's host.
    Resolved(TransportId, Result<Vec<SocketAddr>, String>),
}

/// Where tokens come from.
#[derive(Debug, Clone)]
pub struct TokenSource {
    /// Asked with GET; `clientId` is added to its query (RSA8c).
    pub url: Secret,
    /// Sent along.
    pub headers: Vec<(String, Secret)>,
}

/// Starts helpers.
pub(super) struct Helpers {
    http: ureq::Agent,
    /// `https` or `http`, and the port, of the service's own hosts.
    scheme: &'static str,
    port: u16,
    patience: Duration,
    answers: Sender<Answer>,
    bell: Arc<Doorbell>,
    running: Arc<AtomicUsize>,
}

/// Counts a helper while it runs.
struct HelperCount(Arc<AtomicUsize>);

impl Drop for HelperCount {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Helpers {
    /// Helpers, and where their answers come.
    pub(super) fn new(
        http: ureq::Agent,
        tls: bool,
        port: u16,
        patience: Duration,
        bell: Arc<Doorbell>,
    ) -> (Self, Receiver<Answer>) {
        // Every helper sends one answer: more than there are helpers never wait here, unless the
        // owner is stuck, and then they wait with it.
        let (answers, receiver) = bounded(MAX_RUNNING * 2);
        let helpers = Self {
            http,
            scheme: if tls { "https" } else { "http" },
            port,
            patience,
            answers,
            bell,
            running: Arc::new(AtomicUsize::new(0)),
        };
        (helpers, receiver)
    }

    /// Runs a job on a thread; `otherwise` is the answer if there can't be one more.
    fn run(&self, name: &str, job: impl FnOnce() -> Answer + Send + 'static, otherwise: Answer) {
        let before = self.running.fetch_add(1, Ordering::Relaxed);
        let running = HelperCount(Arc::clone(&self.running));
        let (answers, bell) = (self.answers.clone(), Arc::clone(&self.bell));
        let work = move || {
            let _running = running;
            // If nobody listens any more, nobody misses it.
            let _ = answers.send(job());
            bell.ring();
        };
        let started = before < MAX_RUNNING
            && thread::Builder::new()
                .name(name.to_owned())
                .spawn(work)
                .is_ok();
        if !started {
            self.answer_self(otherwise);
        }
    }

    /// An answer of the owner to itself, taken at its next turn.
    pub(super) fn answer_self(&self, answer: Answer) {
        // Full = the owner has not looked for long; what it would learn it will learn again.
        let _ = self.answers.try_send(answer);
        self.bell.ring();
    }

    /// Resolves a name.
    pub(super) fn resolve(&self, transport: TransportId, host: &str) {
        let port = self.port;
        if let Ok(ip) = host.parse::<IpAddr>() {
            self.answer_self(Answer::Resolved(
                transport,
                Ok(vec![SocketAddr::new(ip, port)]),
            ));
            return;
        }
        let host = host.to_owned();
        let job = move || {
            let addresses = match (host.as_str(), port).to_socket_addrs() {
                Ok(addresses) => Ok(addresses.collect()),
                Err(error) => Err(format!("'{host}' does not resolve: {error}")),
            };
            Answer::Resolved(transport, addresses)
        };
        let busy = Err("name resolution hangs".to_owned());
        self.run("ably-dns", job, Answer::Resolved(transport, busy));
    }

    /// Fetches a token; a TokenRequest is exchanged at `host` (RTN17e).
    pub(super) fn token(&self, id: RequestId, source: &TokenSource, client_id: &str, host: &str) {
        let fetch = TokenFetch {
            http: self.http.clone(),
            patience: self.patience,
            source: source.clone(),
            client_id: client_id.to_owned(),
            service: base(self.scheme, host, self.port),
        };
        let job = move || Answer::Machine(Input::Token(id, fetch.run()));
        let busy = TokenFault {
            forbidden: false,
            text: "too many requests hang".to_owned(),
        };
        self.run(
            "ably-token",
            job,
            Answer::Machine(Input::Token(id, Err(busy))),
        );
    }

    /// Asks the connectivity check URL (RTN17j).
    pub(super) fn connectivity(&self, id: RequestId, url: &str) {
        let (http, patience, url) = (self.http.clone(), self.patience, url.to_owned());
        let job = move || {
            let up = get(&http, &url, patience, 64).is_ok_and(|body| body.contains("yes"));
            Answer::Machine(Input::Connectivity(id, up))
        };
        let busy = Answer::Machine(Input::Connectivity(id, false));
        self.run("ably-check", job, busy);
    }

    /// Asks the service for its time (RSA9d's request; here only for the age of commands).
    pub(super) fn time(&self, id: RequestId, host: &str) {
        let (http, patience) = (self.http.clone(), self.patience);
        let url = format!("{}/time", base(self.scheme, host, self.port));
        let job = move || {
            let asked = Instant::now();
            let server_ms = server_time(&http, &url, patience);
            let at = Instant::now();
            let answer = server_ms.map(|server_ms| TimeAnswer {
                server_ms,
                at,
                round_trip: at.saturating_duration_since(asked),
            });
            Answer::Machine(Input::ServerTime(id, answer))
        };
        let busy = Answer::Machine(Input::ServerTime(id, None));
        self.run("ably-time", job, busy);
    }
}

/// Scheme, host and port of the service's own requests.
pub(super) fn base(scheme: &str, host: &str, port: u16) -> String {
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    format!("{scheme}://{host}:{port}")
}

/// The time that the service tells, in milliseconds.
pub(super) fn server_time(http: &ureq::Agent, url: &str, patience: Duration) -> Option<i64> {
    let body = get(http, url, patience, 256).ok()?;
    let list: Vec<i64> = serde_json::from_str(&body).ok()?;
    list.first().copied()
}

/// The body of a GET that was answered with 200.
pub(super) fn get(
    http: &ureq::Agent,
    url: &str,
    patience: Duration,
    limit: u64,
) -> Result<String, String> {
    let request = http
        .get(url)
        .config()
        .timeout_global(Some(patience))
        .http_status_as_error(false)
        .max_redirects(0)
        .build();
    let mut response = request
        .call()
        .map_err(|e| shown(&e.to_string(), MAX_WORDS))?;
    if response.status() != 200 {
        return Err(format!("HTTP {}", response.status().as_u16()));
    }
    let body = response.body_mut().with_config().limit(limit);
    body.read_to_string()
        .map_err(|e| shown(&e.to_string(), MAX_WORDS))
}

/// One fetch of a token.
pub(super) struct TokenFetch {
    pub(super) http: ureq::Agent,
    pub(super) patience: Duration,
    pub(super) source: TokenSource,
    pub(super) client_id: String,
    /// Where a TokenRequest is exchanged.
    pub(super) service: String,
}

impl TokenFetch {
    /// Asks, and exchanges what has to be exchanged.
    pub(super) fn run(&self) -> Result<Token, TokenFault> {
        let until = Instant::now() + self.patience;
        let url = self.source.url.expose();
        let glue = if url.contains('?') { '&' } else { '?' };
        let url = format!("{url}{glue}clientId={}", encode_userinfo(&self.client_id));
        let mut request = self.http.get(&url);
        for (name, value) in &self.source.headers {
            request = request.header(name, value.expose());
        }
        let request = request
            .config()
            .timeout_global(Some(self.patience))
            .http_status_as_error(false)
            .max_redirects(0)
            .build();
        let (kind, body) = read_token_answer(request.call())?;
        match parse_token(&kind, &body)? {
            Parsed::Token(token) => Ok(token),
            Parsed::Request { key_name, body } => {
                let name = encode_userinfo(&key_name);
                let url = format!("{}/keys/{name}/requestToken", self.service);
                let left = until.saturating_duration_since(Instant::now());
                let request = self
                    .http
                    .post(&url)
                    .header("content-type", "application/json")
                    .config()
                    .timeout_global(Some(left.max(Duration::from_millis(1))))
                    .http_status_as_error(false)
                    .max_redirects(0)
                    .build();
                let (kind, body) = read_token_answer(request.send(body.as_str()))?;
                match parse_token(&kind, &body)? {
                    Parsed::Token(token) => Ok(token),
                    Parsed::Request { .. } => {
                        Err(fault("a token request was answered with another"))
                    }
                }
            }
        }
    }
}

fn fault(text: &str) -> TokenFault {
    TokenFault {
        forbidden: false,
        text: shown(text, MAX_WORDS),
    }
}

fn read_token_answer(
    answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<(String, String), TokenFault> {
    let mut response = answer.map_err(|e| fault(&e.to_string()))?;
    let status = response.status().as_u16();
    if !(200..300).contains(&status) {
        return Err(TokenFault {
            forbidden: status == 403,
            text: format!("HTTP {status}"),
        });
    }
    let kind = response.headers().get("content-type");
    let kind = kind.and_then(|v| v.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let kind = kind.to_ascii_lowercase();
    let body = response.body_mut().with_config().limit(MAX_TOKEN_BODY);
    let body = body.read_to_string().map_err(|e| fault(&e.to_string()))?;
    Ok((kind, body))
}

enum Parsed {
    Token(Token),
    Request { key_name: String, body: String },
}

/// An answer of a token source (RSA8c, RSA4f).
fn parse_token(kind: &str, body: &str) -> Result<Parsed, TokenFault> {
    let plain = |text: &str| {
        let text = text.trim();
        if text.is_empty() {
            return Err(fault("an empty token"));
        }
        Ok(Parsed::Token(Token {
            value: Secret::new(text),
            lifetime: jwt_lifetime(text),
        }))
    };
    match kind {
        "text/plain" | "application/jwt" => plain(body),
        "application/json" => {
            let value: Value =
                serde_json::from_str(body).map_err(|_| fault("the answer is no JSON"))?;
            if let Some(token) = value.as_str() {
                return plain(token);
            }
            if let Some(token) = value.get("token").and_then(Value::as_str) {
                let ms = |name: &str| value.get(name).and_then(Value::as_i64);
                let life = ms("expires")
                    .zip(ms("issued"))
                    .map(|(e, i)| e.saturating_sub(i));
                // One that is over before it begins is no lifetime, and the machine says so.
                let life = life.map(|ms| u64::try_from(ms).unwrap_or(0));
                return Ok(Parsed::Token(Token {
                    value: Secret::new(token),
                    lifetime: life
                        .map(Duration::from_millis)
                        .or_else(|| jwt_lifetime(token)),
                }));
            }
            match value.get("keyName").and_then(Value::as_str) {
                Some(name) => Ok(Parsed::Request {
                    key_name: name.to_owned(),
                    body: value.to_string(),
                }),
                None => Err(fault("the answer is neither a token nor a token request")),
            }
        }
        "" => Err(fault("the answer has no content type")),
        other => Err(fault(&format!("an answer of type '{other:.60}'"))),
    }
}

/// How long a JWT is meant to live, if it says so; our own clock takes no part in it.
fn jwt_lifetime(token: &str) -> Option<Duration> {
    let claims = token.split('.').nth(1)?;
    let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    let seconds = |name: &str| claims.get(name).and_then(Value::as_i64);
    let life = seconds("exp")?.checked_sub(seconds("iat")?)?;
    Some(Duration::from_secs(u64::try_from(life).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(kind: &str, body: &str) -> Result<(String, Option<u64>), String> {
        match parse_token(kind, body) {
            Ok(Parsed::Token(token)) => Ok((
                token.value.expose().to_owned(),
                token.lifetime.map(|l| l.as_secs()),
            )),
            Ok(Parsed::Request { key_name, .. }) => Ok((format!("request of {key_name}"), None)),
            Err(fault) => Err(fault.text),
        }
    }

    #[test]
    fn every_form_of_answer() {
        assert_eq!(token("text/plain", " abc\n"), Ok(("abc".into(), None)));
        assert_eq!(
            token(
                "application/json",
                r#"{"token":"t","issued":1000,"expires":3601000}"#
            ),
            Ok(("t".into(), Some(3600)))
        );
        assert_eq!(token("application/json", "\"s\""), Ok(("s".into(), None)));
        assert_eq!(
            token("application/json", r#"{"keyName":"a.b","mac":"m"}"#),
            Ok(("request of a.b".into(), None))
        );
        // {"iat":100,"exp":160}
        let jwt = "e30.eyJpYXQiOjEwMCwiZXhwIjoxNjB9.sig";
        assert_eq!(
            token("application/jwt", jwt),
            Ok((jwt.to_owned(), Some(60)))
        );
    }

    #[test]
    fn what_is_no_token_is_refused_in_words() {
        for (kind, body) in [
            ("text/html", "<html>"),
            ("", "abc"),
            ("text/plain", "  "),
            ("application/json", "{"),
            ("application/json", "{}"),
            ("application/json", "[1]"),
        ] {
            assert!(token(kind, body).is_err(), "{kind} {body}");
        }
    }

    #[test]
    fn lifetimes_that_can_t_be_read_are_none() {
        let over = r#"{"token":"t","issued":5,"expires":1}"#;
        assert_eq!(token("application/json", over).unwrap().1, Some(0));
        for body in [
            r#"{"token":"t","issued":"x","expires":1}"#,
            r#"{"token":"a.!!.c"}"#,
        ] {
            assert_eq!(token("application/json", body).unwrap().1, None, "{body}");
        }
        // {"iat":"x","exp":9223372036854775807}
        assert_eq!(
            jwt_lifetime("e30.eyJpYXQiOiJ4IiwiZXhwIjo5MjIzMzcyMDM2ODU0Nzc1ODA3fQ.s"),
            None
        );
    }
}
