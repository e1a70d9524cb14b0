//! A request's head: parsed strictly, then written anew, so that what tiny_http reads has one
//! meaning only (RFC 9112; request smuggling lives where two parsers differ). Pure.

use std::fmt::Write as _;
use std::net::IpAddr;

use httparse::{EMPTY_HEADER, Status};

use crate::domain::error::{ErrorCode, Fault};

/// Longest head, request line included (contract: the gate's own limit; nobody needs more).
pub const MAX_HEAD: usize = 16 * 1024;
/// Most header lines.
const MAX_HEADERS: usize = 64;

/// Tells the workers who asks. Only the gate writes it: a client's own is not passed on.
pub const PEER: &str = "X-Lss-Peer";
/// Tells the workers that the body is over the limit and was left out.
pub const OVERSIZE: &str = "X-Lss-Oversize";

/// The headers that the API looks at; no other gets through.
const PASSED_ON: [&str; 4] = ["Host", "Origin", "Authorization", "Content-Type"];

/// How the end of the body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes; 0 where the head says nothing.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// A refusal with its HTTP status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// What is wrong.
    pub fault: Fault,
}

impl Refusal {
    /// A refusal with 20001.
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        Self {
            status,
            fault: Fault::new(ErrorCode::BadRequest, message),
        }
    }
}

fn malformed(what: &str) -> Refusal {
    Refusal::new(400, format!("the HTTP request is malformed: {what}"))
}

/// A head as it goes on to tiny_http.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// Request line and headers without framing and without the empty line at the end.
    canonical: String,
    /// How the end of the body is found.
    pub framing: Framing,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// A HEAD: answers have no body.
    pub without_body: bool,
}

impl Head {
    /// The whole head for a body of `length` bytes.
    pub fn with_length(&self, length: usize) -> String {
        if length == 0 {
            format!("{}\r\n", self.canonical)
        } else {
            format!("{}Content-Length: {length}\r\n\r\n", self.canonical)
        }
    }

    /// The whole head for a body that is over the limit and was left out.
    pub fn with_oversize(&self) -> String {
        format!("{}{OVERSIZE}: 1\r\n\r\n", self.canonical)
    }
}

/// Parses what has come so far: the head and its length in bytes, or `None` while it is
/// incomplete.
pub fn parse(bytes: &[u8], peer: IpAddr) -> Result<Option<(Head, usize)>, Refusal> {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bytes) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Refusal::new(431, "the request has too many headers"));
        }
        Err(_) if bytes.starts_with(&[0x16, 0x03]) => {
            return Err(malformed("this port speaks plain HTTP, not HTTPS"));
        }
        Err(httparse::Error::Version) => {
            return Err(malformed("only HTTP/1.0 and HTTP/1.1 are spoken here"));
        }
        Err(why) => return Err(malformed(&why.to_string())),
    };
    canonical(&request, peer).map(|head| Some((head, length)))
}

fn canonical(request: &httparse::Request<'_, '_>, peer: IpAddr) -> Result<Head, Refusal> {
    let method = request.method.unwrap_or_default();
    let is_1_1 = request.version == Some(1);
    let (authority, target) = split_target(request.path.unwrap_or_default())?;

    let mut text = format!("{method} {target} HTTP/1.1\r\n");
    for name in PASSED_ON {
        let mut value = single(request.headers, name)?;
        if name == "Host" {
            if value.is_none() && is_1_1 {
                return Err(malformed("the Host header is missing"));
            }
            // RFC 9112, 3.2.2: a target with an authority replaces the Host header.
            value = authority.or(value);
        }
        if let Some(value) = value {
            // Writing to a String can't fail.
            let _ = write!(text, "{name}: {value}\r\n");
        }
    }
    let _ = write!(
        text,
        "{PEER}: {}\r\nConnection: close\r\n",
        peer.to_canonical()
    );

    let expects_continue = match single(request.headers, "Expect")? {
        None => false,
        Some(value) if value.eq_ignore_ascii_case("100-continue") => is_1_1,
        Some(_) => return Err(Refusal::new(417, "the Expect header asks for the unknown")),
    };
    Ok(Head {
        canonical: text,
        framing: framing(request.headers, is_1_1)?,
        expects_continue,
        without_body: method == "HEAD",
    })
}

/// `http://authority/path` → both; a plain path → itself.
fn split_target(target: &str) -> Result<(Option<&str>, &str), Refusal> {
    let (authority, path) = match target.get(..7) {
        Some(scheme) if scheme.eq_ignore_ascii_case("http://") => {
            let rest = target.get(7..).unwrap_or_default();
            let at = rest.find('/').unwrap_or(rest.len());
            let (authority, path) = rest.split_at(at);
            (Some(authority), if path.is_empty() { "/" } else { path })
        }
        _ => (None, target),
    };
    if path.starts_with('/') && target.is_ascii() {
        Ok((authority, path))
    } else {
        Err(malformed("the request target is not a path"))
    }
}

fn framing(headers: &[httparse::Header<'_>], is_1_1: bool) -> Result<Framing, Refusal> {
    let length = single(headers, "Content-Length")?;
    match (single(headers, "Transfer-Encoding")?, length) {
        (None, None) => Ok(Framing::Length(0)),
        (None, Some(digits)) => {
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            digits
                .parse()
                .ok()
                .filter(|_| plain)
                .map(Framing::Length)
                .ok_or_else(|| malformed("Content-Length is not a number"))
        }
        (Some(_), Some(_)) => Err(malformed(
            "Content-Length and Transfer-Encoding exclude each other",
        )),
        (Some(coding), None) if is_1_1 && coding.eq_ignore_ascii_case("chunked") => {
            Ok(Framing::Chunked)
        }
        (Some(_), None) => Err(malformed("the only Transfer-Encoding taken is chunked")),
    }
}

/// The value of a header that may stand once at most, in visible ASCII.
fn single<'h>(headers: &[httparse::Header<'h>], name: &str) -> Result<Option<&'h str>, Refusal> {
    let mut found = headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case(name));
    let Some(header) = found.next() else {
        return Ok(None);
    };
    if found.next().is_some() {
        return Err(malformed(&format!("the {name} header stands twice")));
    }
    std::str::from_utf8(header.value)
        .ok()
        .filter(|value| value.bytes().all(|b| matches!(b, b'\t' | b' '..=b'~')))
        .map(|value| Some(value.trim()))
        .ok_or_else(|| malformed(&format!("the {name} header is not plain ASCII")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const PEER_IP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7));

    fn head(text: &str) -> Head {
        let (head, length) = parse(text.as_bytes(), PEER_IP).unwrap().unwrap();
        assert_eq!(length, text.find("\r\n\r\n").unwrap() + 4);
        head
    }

    fn refused(text: &str) -> (u16, String) {
        let refusal = parse(text.as_bytes(), PEER_IP).unwrap_err();
        (refusal.status, refusal.fault.message)
    }

    #[test]
    fn written_anew() {
        let head = head(
            "POST /api/stream/start?x=1 HTTP/1.1\r\nhost: 10.0.0.1\r\nAUTHORIZATION:  Bearer t \r\n\
             Cookie: a=b\r\nX-Lss-Peer: 1.2.3.4\r\nX-Lss-Oversize: 1\r\nConnection: upgrade\r\n\
             Upgrade: websocket\r\nTE: trailers\r\nContent-Length: 12\r\n\r\n",
        );
        assert_eq!(
            head.with_length(12),
            "POST /api/stream/start?x=1 HTTP/1.1\r\nHost: 10.0.0.1\r\nAuthorization: Bearer t\r\n\
             X-Lss-Peer: 10.0.0.7\r\nConnection: close\r\nContent-Length: 12\r\n\r\n"
        );
        assert_eq!(head.framing, Framing::Length(12));
        assert!(
            head.with_oversize()
                .ends_with("\r\nX-Lss-Oversize: 1\r\n\r\n")
        );
    }

    #[test]
    fn incomplete_is_not_wrong_yet() {
        for text in ["", "GET", "GET / HTTP/1.1\r\nHost: a\r\n"] {
            assert_eq!(parse(text.as_bytes(), PEER_IP), Ok(None), "{text:?}");
        }
    }

    #[test]
    fn versions_and_hosts() {
        assert_eq!(
            refused("GET / HTTP/1.1\r\n\r\n").1,
            "the HTTP request is malformed: the Host header is missing"
        );
        assert!(
            !head("GET / HTTP/1.0\r\n\r\n")
                .with_length(0)
                .contains("Host")
        );
        assert!(
            refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
                .1
                .contains("HTTP/1.1")
        );
        let absolute = head("GET http://a.b:1/x?y HTTP/1.1\r\nHost: other\r\n\r\n").with_length(0);
        assert!(absolute.starts_with("GET /x?y HTTP/1.1\r\nHost: a.b:1\r\n"));
        let bare = head("GET HTTP://a.b HTTP/1.1\r\nHost: other\r\n\r\n").with_length(0);
        assert!(bare.starts_with("GET / HTTP/1.1\r\nHost: a.b\r\n"));
    }

    #[test]
    fn smuggling_and_garbage_is_refused() {
        let with = |lines: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n");
        for (text, status, words) in [
            (
                with("Content-Length: 5\r\nTransfer-Encoding: chunked"),
                400,
                "exclude",
            ),
            (with("Content-Length: 5\r\nContent-Length: 5"), 400, "twice"),
            (with("Content-Length: +5"), 400, "not a number"),
            (with("Content-Length: 5, 5"), 400, "not a number"),
            (with("Content-Length:"), 400, "not a number"),
            (
                with("Content-Length: 99999999999999999999"),
                400,
                "not a number",
            ),
            (with("Transfer-Encoding: gzip, chunked"), 400, "chunked"),
            (
                with("Transfer-Encoding: chunked\r\nTransfer-Encoding: x"),
                400,
                "twice",
            ),
            (with("Content-Length : 5"), 400, "malformed"),
            (with("X: a\r\n folded"), 400, "malformed"),
            (with("Host: b"), 400, "twice"),
            (with("Authorization: Bearer \u{e4}"), 400, "plain ASCII"),
            (with("Expect: magic"), 417, "Expect"),
            (with(&"X: y\r\n".repeat(80)), 431, "too many"),
            (
                "GET * HTTP/1.1\r\nHost: a\r\n\r\n".into(),
                400,
                "not a path",
            ),
            (
                "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n".into(),
                400,
                "not a path",
            ),
            (
                "GET /\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n".into(),
                400,
                "not a path",
            ),
            (
                "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n".into(),
                400,
                "malformed",
            ),
            (
                "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
                400,
                "chunked",
            ),
            ("\u{16}\u{3}\u{1}\0".into(), 400, "plain HTTP"),
            ("\0\0\0\0".into(), 400, "malformed"),
        ] {
            let (got, message) = refused(&text);
            assert_eq!(got, status, "{text:?}: {message}");
            assert!(message.contains(words), "{text:?}: {message}");
        }
    }

    #[test]
    fn expectations() {
        let text =
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n";
        assert!(head(text).expects_continue);
        assert!(head("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").without_body);
    }
}
