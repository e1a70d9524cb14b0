//! What lss itself says to a WHIP endpoint: ends sessions that their publisher left behind, and asks
//! how long to wait where it was refused for too much.
//!
//! A killed or crashed FFmpeg sends no DELETE; its session would hold the slot until the server's
//! ICE timeout, and the next try would find it taken. Runs on the dead child's watcher thread: the
//! DELETE after its exit has been reported, so nothing waits for it; the question before, because when
//! the next try is depends on it, and a STOP that comes in meanwhile waits for it, seconds at most.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::infrastructure::http::agent::{LazyAgent, Timeouts};
use crate::infrastructure::http::tls::TrustStore;
use crate::util::foreign::shown;
use crate::util::secret::Secret;

/// Short: the next try is a second away.
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(1),
    read: Duration::from_secs(2),
};

/// What came of a DELETE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// It is ended.
    Done,
    /// It was gone already: what was wanted.
    Gone,
    /// The server will not, by this status.
    Refused(u16),
    /// The server was not reached, in words.
    Failed(String),
}

/// Sends the DELETE that a dead publisher could not (RFC 9725, section 4.2).
#[derive(Debug)]
pub struct SessionCloser {
    agent: LazyAgent,
}

impl SessionCloser {
    /// Trusts the system's roots, as FFmpeg does.
    pub fn new(trust: Arc<TrustStore>) -> Self {
        Self {
            agent: LazyAgent::new(TIMEOUTS, Some(trust)),
        }
    }

    /// How long an endpoint that has refused with 429 or 503 wants to be left alone. FFmpeg prints no
    /// header of the answer it got, so the endpoint is asked once more, with OPTIONS: that makes no
    /// session whatever is answered, and what refuses every request says for how long here, too.
    pub fn retry_after(&self, endpoint: &Secret, bearer: Option<&Secret>) -> Option<Duration> {
        let agent = self.agent.get().ok()?;
        let mut request = agent.options(endpoint.expose());
        if let Some(token) = bearer {
            request = request.header("Authorization", format!("Bearer {}", token.expose()));
        }
        let answer = request.call().ok()?;
        if !matches!(answer.status().as_u16(), 429 | 503) {
            return None;
        }
        let said = answer.headers().get("Retry-After")?.to_str().ok()?;
        after(said, SystemTime::now())
    }

    /// Ends the session at `resource`. One try, at most five seconds.
    pub fn close(&self, resource: &Secret, bearer: Option<&Secret>) -> Closed {
        let agent = match self.agent.get() {
            Ok(agent) => agent,
            Err(why) => return Closed::Failed(why.to_string()),
        };
        let mut request = agent.delete(resource.expose());
        if let Some(token) = bearer {
            request = request.header("Authorization", format!("Bearer {}", token.expose()));
        }
        match request.call() {
            Ok(answer) if answer.status().is_success() => Closed::Done,
            Ok(answer) if matches!(answer.status().as_u16(), 404 | 410) => Closed::Gone,
            Ok(answer) => Closed::Refused(answer.status().as_u16()),
            Err(why) => Closed::Failed(shown(&why.to_string(), 200)),
        }
    }

    /// The same of a session that its publisher left behind; the outcome is only logged.
    pub fn tidy_up(&self, resource: &Secret, bearer: Option<&Secret>) {
        match self.close(resource, bearer) {
            Closed::Done => log::info!("closed the WHIP session that its publisher left open"),
            Closed::Gone => {}
            Closed::Refused(status) => {
                log::warn!(status = status; "the WHIP server refused to close a session");
            }
            Closed::Failed(why) => {
                log::warn!("a WHIP session stays open until the server's own timeout: {why}");
            }
        }
    }
}

/// `Retry-After`: seconds, or a date.
pub(super) fn after(said: &str, now: SystemTime) -> Option<Duration> {
    let said = said.trim();
    if let Ok(seconds) = said.parse() {
        return Some(Duration::from_secs(seconds));
    }
    httpdate::parse_http_date(said)
        .ok()?
        .duration_since(now)
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    #[test]
    fn seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let secs = |said| after(said, now).map(|d| d.as_secs());
        assert_eq!(secs("120"), Some(120));
        assert_eq!(secs(" 0 "), Some(0));
        assert_eq!(secs("Sun, 06 Nov 1994 08:51:37 GMT"), Some(120));
        assert_eq!(secs("Sun, 06 Nov 1994 08:00:00 GMT"), None, "past");
        for odd in ["", "soon", "-5", "1.5", "99999999999999999999999"] {
            assert_eq!(secs(odd), None, "{odd}");
        }
    }

    /// What is answered to one request, and what the request was.
    fn asked(answer: &'static str) -> (Option<Duration>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/whip/x", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 1024];
            while !request.ends_with(b"\r\n\r\n") {
                let n = peer.read(&mut buffer).unwrap();
                request.extend_from_slice(&buffer[..n]);
            }
            peer.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request).unwrap()
        });
        let closer = SessionCloser::new(Arc::new(TrustStore::new(None)));
        let bearer = Secret::new("canary-bearer");
        let said = closer.retry_after(&Secret::url(&url), Some(&bearer));
        (said, server.join().unwrap())
    }

    #[test]
    fn an_endpoint_that_wants_to_be_left_alone_is_asked_for_how_long() {
        let (said, request) =
            asked("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 37\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(said, Some(Duration::from_secs(37)));
        assert!(
            request.starts_with("OPTIONS /whip/x HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(
            request
                .to_ascii_lowercase()
                .contains("authorization: bearer canary-bearer")
        );
        let (said, _) =
            asked("HTTP/1.1 204 No Content\r\nRetry-After: 37\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(said, None);
        let (said, _) = asked("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(said, None);
    }
}
