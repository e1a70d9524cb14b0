//! The HTTP requests that clients of the service make: its time, tokens, the connectivity check.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use super::Shared;

/// What an answering token source says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum TokenAnswer {
    /// The token as text.
    #[default]
    Plain,
    /// TokenDetails.
    Details,
    /// A TokenRequest, to be exchanged.
    Request,
    /// An HTTP error.
    Status(u16),
    /// A page of a captive portal.
    Html,
    /// No answer at all.
    Hang,
}

/// How requests are answered.
#[derive(Debug)]
pub struct Behaviour {
    /// Of `/auth`.
    pub token: TokenAnswer,
    /// How long tokens live.
    pub token_life: Duration,
    /// Body of `/up`.
    pub connectivity: String,
    /// HTTP errors in place of the next upgrades.
    pub upgrade_status: VecDeque<u16>,
    /// Added to the time that `/time` tells.
    pub time_offset: i64,
    /// Paths with their queries, and one header each, of requests that came.
    pub requests: Vec<String>,
    issued: u64,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            token: TokenAnswer::default(),
            token_life: Duration::from_secs(3600),
            connectivity: "yes\n".to_owned(),
            upgrade_status: VecDeque::new(),
            time_offset: 0,
            requests: Vec::new(),
            issued: 0,
        }
    }
}

/// A request.
pub struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
}

impl Request {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The decoded query parameters.
    pub fn query(&self) -> Vec<(String, String)> {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), lss::util::url::decode(value)))
            .collect()
    }

    fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// Reads a request's head, and lets its body go.
pub fn read(tcp: &mut TcpStream) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if tcp.read(&mut byte).ok()? == 0 || head.len() > 64 * 1024 {
            return None;
        }
        head.push(byte[0]);
    }
    let text = String::from_utf8(head).ok()?;
    let mut lines = text.lines();
    let mut first = lines.next()?.split(' ');
    let request = Request {
        method: first.next()?.to_owned(),
        target: first.next()?.to_owned(),
        headers: lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect(),
    };
    let length = request.header("content-length").unwrap_or("0");
    let mut body = vec![0; length.parse().ok()?];
    tcp.read_exact(&mut body).ok()?;
    Some(request)
}

/// Answers a request that is no upgrade.
pub(crate) fn answer(shared: &Shared, tcp: &mut TcpStream, request: &Request) {
    let now = shared.now();
    let mut state = shared.lock();
    let seen = format!(
        "{} {} {}",
        request.method,
        request.target,
        request.header("x-auth").unwrap_or("-")
    );
    state.http.requests.push(seen);
    let path = request.path().to_owned();
    let exchange = path.starts_with("/keys/");
    let (status, kind, body) = match path.as_str() {
        "/time" => {
            let ms = now + state.http.time_offset;
            (200, "application/json", json!([ms]).to_string())
        }
        "/up" | "/is-the-internet-up.txt" => (200, "text/plain", state.http.connectivity.clone()),
        path if path == "/auth" || exchange => {
            let kind = if exchange {
                TokenAnswer::Details
            } else {
                state.http.token.clone()
            };
            if kind == TokenAnswer::Hang {
                drop(state);
                while tcp.read(&mut [0; 64]).is_ok_and(|read| read > 0) {}
                return;
            }
            state.http.issued += 1;
            let token = format!("token-{}", state.http.issued);
            let life = i64::try_from(state.http.token_life.as_millis()).unwrap();
            if !matches!(kind, TokenAnswer::Request | TokenAnswer::Status(_)) {
                state.model.tokens.insert(token.clone(), now + life);
            }
            match kind {
                TokenAnswer::Plain | TokenAnswer::Hang => (200, "text/plain", token),
                TokenAnswer::Details => {
                    let details = json!({"token": token, "issued": now, "expires": now + life,
                        "capability": "{\"*\":[\"*\"]}"});
                    (200, "application/json", details.to_string())
                }
                TokenAnswer::Request => {
                    let request = json!({"keyName": "app.key", "timestamp": now,
                        "nonce": "0123456789abcdef", "mac": "x"});
                    (200, "application/json", request.to_string())
                }
                TokenAnswer::Status(status) => (status, "text/plain", String::new()),
                TokenAnswer::Html => (200, "text/html", "<html>log in</html>".to_owned()),
            }
        }
        _ => (404, "text/plain", String::new()),
    };
    drop(state);
    shared.changed.notify_all();
    let _ = write!(
        tcp,
        "HTTP/1.1 {status} x\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         Access-Control-Allow-Origin: *\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
}
