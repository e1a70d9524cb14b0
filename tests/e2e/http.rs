//! HTTP to peers on this machine, by hand: the example is built with fat LTO, and is there sooner
//! without a client and its TLS.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// How long an HTTP exchange may stand still. A stop takes a while.
const HTTP_PATIENCE: Duration = Duration::from_secs(60);

/// An HTTP answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status; 0 = none came.
    pub status: u16,
    /// The body, if it is JSON, else null.
    pub json: Value,
    /// The body as text, or why none came.
    pub text: String,
    /// The body as it came.
    pub body: Vec<u8>,
}

/// One request on a connection of its own; any status is an answer.
pub fn http(method: &str, url: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Answer {
    match exchange(method, url, headers, body) {
        Ok((status, body)) => Answer {
            status,
            json: serde_json::from_slice(&body).unwrap_or(Value::Null),
            text: String::from_utf8_lossy(&body).into_owned(),
            body,
        },
        Err(e) => Answer {
            status: 0,
            json: Value::Null,
            text: e.to_string(),
            body: Vec::new(),
        },
    }
}

fn exchange(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: Option<&Value>,
) -> io::Result<(u16, Vec<u8>)> {
    let rest = url.strip_prefix("http://").expect("http://");
    let (host, path) = rest.split_at(rest.find('/').expect("a path"));
    let body = body.map(Value::to_string);
    let mut lines = vec![
        format!("{method} {path} HTTP/1.1"),
        format!("Host: {host}"),
        "Connection: close".to_owned(),
    ];
    lines.extend(
        headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}")),
    );
    if let Some(body) = &body {
        lines.push("Content-Type: application/json".to_owned());
        lines.push(format!("Content-Length: {}", body.len()));
    }
    let request = lines.join("\r\n") + "\r\n\r\n" + body.as_deref().unwrap_or("");

    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(HTTP_PATIENCE))?;
    stream.set_write_timeout(Some(HTTP_PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let bad = || {
        let text = String::from_utf8_lossy(&answer);
        io::Error::other(format!("no HTTP answer: {text:?}"))
    };
    let (head, body) = split(&answer, b"\r\n\r\n").ok_or_else(bad)?;
    let head = String::from_utf8_lossy(head);
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok());
    let chunked = head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked");
    let body = if chunked {
        unchunk(body).ok_or_else(bad)?
    } else {
        body.to_vec()
    };
    Ok((status.ok_or_else(bad)?, body))
}

/// What stands before and behind the first `mark`.
fn split<'a>(bytes: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(mark.len()).position(|w| w == mark)?;
    Some((bytes.get(..at)?, bytes.get(at + mark.len()..)?))
}

/// What is in a chunked body.
fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let (size, behind) = split(rest, b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(size).ok()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(whole);
        }
        whole.extend_from_slice(behind.get(..size)?);
        rest = behind.get(size + 2..)?;
    }
}
