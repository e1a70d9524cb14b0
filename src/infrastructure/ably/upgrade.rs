//! The websocket upgrade: request and response (RFC 6455, 4), without I/O.
//!
//! Our own, although tungstenite has one: that one logs the whole request, and the request holds
//! the API key.

use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;
use zeroize::Zeroizing;

use super::connection::types::{FaultKind, TransportFault};
use crate::util::secret::Secret;

/// A response head longer than this is none.
const MAX_HEAD: usize = 16 * 1024;

/// One upgrade under way.
pub(super) struct Upgrade {
    request: Zeroizing<Vec<u8>>,
    written: usize,
    accept: String,
    head: Vec<u8>,
}

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The response is not complete yet.
    Incomplete,
    /// A websocket; what followed the head belongs to it.
    Done(Vec<u8>),
}

impl Upgrade {
    /// An upgrade of `path` at `host`.
    pub(super) fn new(host: &str, port: u16, tls: bool, path: &Secret) -> Self {
        let key = generate_key();
        let default = if tls { 443 } else { 80 };
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        let authority = if port == default {
            host
        } else {
            format!("{host}:{port}")
        };
        let request = Zeroizing::new(format!(
            "GET {} HTTP/1.1\r\nHost: {authority}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n",
            path.expose()
        ));
        Self {
            request: Zeroizing::new(request.as_bytes().to_vec()),
            written: 0,
            accept: derive_accept_key(key.as_bytes()),
            head: Vec::new(),
        }
    }

    /// What is left to be written.
    pub(super) fn to_write(&self) -> &[u8] {
        self.request.get(self.written..).unwrap_or_default()
    }

    /// So much of it was written.
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.written = self.written.saturating_add(bytes);
    }

    /// Bytes came.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Progress, TransportFault> {
        self.head.extend_from_slice(bytes);
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        let length = match response.parse(&self.head) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if self.head.len() <= MAX_HEAD => {
                return Ok(Progress::Incomplete);
            }
            Ok(httparse::Status::Partial) => return Err(no_websocket("its answer has no end")),
            Err(_) => return Err(no_websocket("its answer is no HTTP")),
        };
        let header = |name: &str| {
            let found = response
                .headers
                .iter()
                .find(|h| h.name.eq_ignore_ascii_case(name));
            found.map_or("", |h| std::str::from_utf8(h.value).unwrap_or(""))
        };
        let status = response.code.unwrap_or(0);
        if status != 101 {
            let cloudfront = header("server").eq_ignore_ascii_case("cloudfront");
            return Err(TransportFault {
                kind: FaultKind::Http { status, cloudfront },
                text: format!("answered with HTTP {status}"),
            });
        }
        let upgrade = header("upgrade").eq_ignore_ascii_case("websocket");
        let mut connection = header("connection").split(',');
        if !upgrade || !connection.any(|token| token.trim().eq_ignore_ascii_case("upgrade")) {
            return Err(no_websocket("it did not upgrade"));
        }
        if header("sec-websocket-accept") != self.accept {
            return Err(no_websocket("it did not answer our request"));
        }
        if !header("sec-websocket-extensions").is_empty() {
            return Err(no_websocket("it uses extensions that nobody asked for"));
        }
        Ok(Progress::Done(self.head.split_off(length)))
    }
}

fn no_websocket(why: &str) -> TransportFault {
    TransportFault {
        kind: FaultKind::Protocol,
        text: format!("no websocket: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upgrade() -> (Upgrade, String) {
        let path = Secret::new("/?key=a.b%3Acanary-key");
        let upgrade = Upgrade::new("main.example", 443, true, &path);
        let accept = upgrade.accept.clone();
        (upgrade, accept)
    }

    fn response(accept: &str) -> String {
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: keep-alive, Upgrade\r\n\
             upgrade: WebSocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        )
    }

    #[test]
    fn the_request_is_complete_and_written_in_pieces() {
        let (mut upgrade, _) = upgrade();
        let text = String::from_utf8(upgrade.to_write().to_vec()).unwrap();
        assert!(text.starts_with("GET /?key=a.b%3Acanary-key HTTP/1.1\r\nHost: main.example\r\n"));
        assert!(text.ends_with("\r\n\r\n"));
        upgrade.wrote(4);
        assert!(upgrade.to_write().starts_with(b"/?key"));
        upgrade.wrote(10_000);
        assert!(upgrade.to_write().is_empty());
    }

    #[test]
    fn ports_that_go_without_saying_are_not_said() {
        let host = |host: &str, port, tls| {
            let upgrade = Upgrade::new(host, port, tls, &Secret::new("/"));
            let text = String::from_utf8(upgrade.to_write().to_vec()).unwrap();
            text.lines().nth(1).unwrap().to_owned()
        };
        assert_eq!(host("h", 80, false), "Host: h");
        assert_eq!(host("h", 80, true), "Host: h:80");
        assert_eq!(host("::1", 4000, false), "Host: [::1]:4000");
    }

    #[test]
    fn a_response_byte_by_byte_with_a_frame_behind_it() {
        let (mut upgrade, accept) = upgrade();
        let whole = format!("{}\u{1}xyz", response(&accept));
        let (last, before) = whole.as_bytes().split_last().unwrap();
        let mut done = None;
        for byte in before.iter().chain([last]) {
            match upgrade.read(&[*byte]).unwrap() {
                Progress::Done(rest) => {
                    done = Some(rest);
                    break;
                }
                Progress::Incomplete => {}
            }
        }
        assert_eq!(done, Some(Vec::new()));
        let (mut upgrade, accept) = self::upgrade();
        let whole = format!("{}\u{1}xyz", response(&accept));
        assert_eq!(
            upgrade.read(whole.as_bytes()),
            Ok(Progress::Done(b"\x01xyz".to_vec()))
        );
    }

    #[test]
    fn other_answers_have_their_kind() {
        let kind = |text: &str| upgrade().0.read(text.as_bytes()).unwrap_err().kind;
        assert_eq!(
            kind("HTTP/1.1 503 x\r\n\r\n"),
            FaultKind::Http {
                status: 503,
                cloudfront: false
            }
        );
        assert_eq!(
            kind("HTTP/1.1 404 x\r\nServer: CloudFront\r\n\r\n"),
            FaultKind::Http {
                status: 404,
                cloudfront: true
            }
        );
        assert_eq!(kind("SSH-2.0-OpenSSH\r\n"), FaultKind::Protocol);
        assert_eq!(kind(&response("wrong")), FaultKind::Protocol);
        assert_eq!(
            kind("HTTP/1.1 101 x\r\nUpgrade: h2c\r\n\r\n"),
            FaultKind::Protocol
        );
        let endless = format!("HTTP/1.1 101 x\r\nA: {}", "y".repeat(20_000));
        assert_eq!(kind(&endless), FaultKind::Protocol);
    }
}
