//! What can go wrong between RCS and us, and what follows from it.

use std::io;
use std::time::Duration;

use crate::domain::error::{ErrorCode, Fault};
use crate::infrastructure::http::agent::Timeouts;
use crate::util::foreign;

/// Longest piece of outside text in a message of ours.
const MAX_OUTSIDE: usize = 200;

/// Why a request did not succeed. Every text in here is masked and free of control characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RcsError {
    /// Name, route, port or TLS: RCS was not reached, or did not answer in time.
    #[error("RCS can't be reached: {0}")]
    Unreachable(String),
    /// The request went out, but no whole answer came back.
    #[error("RCS does not answer: {0}")]
    NoAnswer(String),
    /// Something answered, but not RCS: a captive portal, a proxy, a wrong `rcs.base_url`.
    #[error(
        "what answers is not RCS ({0}); is rcs.base_url right, is there a login page in between?"
    )]
    Foreign(String),
    /// 401 or 403, as status or as `code`.
    #[error("RCS refuses the login ({0}); check rcs.token")]
    Login(Refusal),
    /// RCS answered and did not take it.
    #[error("RCS answered {0}")]
    Refused(Refusal),
    /// Not sent at all, for a reason on our side.
    #[error("not sent: {0}")]
    Unsent(String),
}

/// RCS's own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status; a 2xx has a `code` that is not 0.
    pub status: u16,
    /// `code` of the body, if it had one.
    pub code: Option<i64>,
    /// `message` of the body, masked and cut.
    pub message: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HTTP {}", self.status)?;
        if let Some(code) = self.code {
            write!(f, ", code {code}")?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

impl RcsError {
    /// The wire code (contract 12).
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Unreachable(_) | Self::NoAnswer(_) | Self::Foreign(_) | Self::Unsent(_) => {
                ErrorCode::RcsConnFailed
            }
            Self::Login(_) => ErrorCode::RcsAuthFailed,
            Self::Refused(_) => ErrorCode::RcsCallbackFail,
        }
    }

    /// Whether it tells of a dead way to RCS rather than of an RCS that says no.
    pub fn is_link_down(&self) -> bool {
        matches!(
            self,
            Self::Unreachable(_) | Self::NoAnswer(_) | Self::Foreign(_)
        )
    }

    /// To a heartbeat: RCS does not know this node (any more).
    pub fn node_is_unknown(&self) -> bool {
        match self {
            Self::Login(refusal) | Self::Refused(refusal) => {
                refusal.status == 404
                    || refusal.code == Some(i64::from(ErrorCode::NodeOffline.number()))
            }
            _ => false,
        }
    }

    /// A refusal of just this body, which no repetition mends: 4xx but 401, 403, 404, 408 and 429
    /// (contract 10); and where RCS says it by a `code` only, one of 2xxxx (the request is bad) or
    /// 301xx (there is no such task, or not in that state).
    pub fn is_final(&self) -> bool {
        let Self::Refused(refusal) = self else {
            return false;
        };
        let code = refusal.code.unwrap_or_default();
        let of_the_task = (30_100..30_200).contains(&code);
        match refusal.status {
            200..=299 => of_the_task || (20_000..30_000).contains(&code),
            404 => of_the_task,
            408 | 429 => false,
            status => (400..500).contains(&status),
        }
    }

    /// As the application's error.
    pub fn fault(&self) -> Fault {
        Fault::new(self.code(), self.to_string())
    }
}

/// Text from outside as it may stand in a log line: masked, one line, not endless.
pub(super) fn outside(text: &str) -> String {
    foreign::shown(text, MAX_OUTSIDE)
}

/// ureq's errors in an operator's words.
pub(super) fn from_ureq(error: &ureq::Error, at: &str, timeouts: Timeouts) -> RcsError {
    use ureq::{Error, Timeout};
    let after = |limit: Duration| format!("{limit:?}");
    match error {
        Error::Timeout(which) => match which {
            Timeout::Resolve => RcsError::Unreachable(format!(
                "looking up the name in {at} took more than {}",
                after(timeouts.connect)
            )),
            Timeout::Connect => RcsError::Unreachable(format!(
                "connecting to {at} took more than {} (rcs.connect_timeout)",
                after(timeouts.connect)
            )),
            Timeout::SendRequest | Timeout::SendBody => RcsError::NoAnswer(format!(
                "sending to {at} took more than {} (rcs.read_timeout)",
                after(timeouts.read)
            )),
            Timeout::RecvResponse => RcsError::NoAnswer(format!(
                "nothing from {at} within {} (rcs.read_timeout)",
                after(timeouts.read)
            )),
            Timeout::RecvBody => RcsError::NoAnswer(format!(
                "the answer of {at} did not end within {} (rcs.read_timeout)",
                after(timeouts.read)
            )),
            _ => RcsError::NoAnswer(format!(
                "the whole exchange with {at} took more than {}",
                after(timeouts.whole())
            )),
        },
        Error::HostNotFound => RcsError::Unreachable(format!("there is no host {at}")),
        Error::Io(why) => from_io(why, at),
        Error::Rustls(why) => RcsError::Unreachable(tls_words(why, at)),
        Error::Tls(why) => RcsError::Unreachable(format!("TLS with {at}: {why}")),
        Error::Protocol(why) => RcsError::Foreign(format!(
            "{at} does not speak HTTP: {}",
            outside(&why.to_string())
        )),
        Error::LargeResponseHeader(..) => {
            RcsError::Foreign(format!("the head of the answer of {at} is too long"))
        }
        Error::BodyExceedsLimit(limit) => {
            RcsError::Foreign(format!("the answer of {at} is longer than {limit} bytes"))
        }
        Error::Http(_) => RcsError::Unsent(
            "rcs.base_url or rcs.token holds characters that HTTP can't carry".to_owned(),
        ),
        other => RcsError::Unreachable(format!("{at}: {}", outside(&other.to_string()))),
    }
}

fn from_io(why: &io::Error, at: &str) -> RcsError {
    if let Some(tls) = why
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    {
        return RcsError::Unreachable(tls_words(tls, at));
    }
    match why.kind() {
        io::ErrorKind::ConnectionRefused => {
            RcsError::Unreachable(format!("nothing listens at {at} (connection refused)"))
        }
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            RcsError::Unreachable(format!("there is no route to {at}"))
        }
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => {
            RcsError::NoAnswer(format!("{at} closed the connection without an answer"))
        }
        io::ErrorKind::NotConnected => RcsError::NoAnswer("interrupted: lss stops".to_owned()),
        _ => RcsError::Unreachable(format!("{at}: {}", outside(&why.to_string()))),
    }
}

fn tls_words(why: &rustls::Error, at: &str) -> String {
    use rustls::CertificateError as Bad;
    let rustls::Error::InvalidCertificate(bad) = why else {
        return format!("TLS with {at}: {}", outside(&why.to_string()));
    };
    match bad {
        Bad::UnknownIssuer => format!(
            "the certificate of {at} is not signed by an authority that this machine trusts; if it is your own, name it in rcs.ca_file"
        ),
        Bad::Expired
        | Bad::ExpiredContext { .. }
        | Bad::NotValidYet
        | Bad::NotValidYetContext { .. } => {
            format!(
                "the certificate of {at} is not valid at this machine's time; is the clock right?"
            )
        }
        Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
            format!("the certificate of {at} is for another name")
        }
        other => format!(
            "the certificate of {at} is refused: {}",
            outside(&other.to_string())
        ),
    }
}

/// Whether a kept-open connection had been closed by the other side meanwhile: then the request
/// reached nobody, and a fresh connection is worth one try.
pub(super) fn was_stale(error: &ureq::Error) -> bool {
    let ureq::Error::Io(why) = error else {
        return false;
    };
    matches!(
        why.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::secret::Secret;

    const LIMITS: Timeouts = Timeouts {
        connect: Duration::from_secs(10),
        read: Duration::from_secs(30),
    };

    fn refused(status: u16, code: Option<i64>) -> RcsError {
        let refusal = Refusal {
            status,
            code,
            message: String::new(),
        };
        if matches!(status, 401 | 403) {
            RcsError::Login(refusal)
        } else {
            RcsError::Refused(refusal)
        }
    }

    #[test]
    fn only_some_refusals_are_final() {
        for (status, last) in [
            (200, false),
            (400, true),
            (401, false),
            (403, false),
            (404, false),
            (405, true),
            (408, false),
            (409, true),
            (422, true),
            (429, false),
            (499, true),
            (500, false),
            (503, false),
        ] {
            assert_eq!(refused(status, None).is_final(), last, "{status}");
        }
        assert!(!RcsError::Unreachable(String::new()).is_final());
    }

    #[test]
    fn an_unknown_node_is_404_or_30303() {
        assert!(refused(404, None).node_is_unknown());
        assert!(refused(200, Some(30303)).node_is_unknown());
        assert!(refused(503, Some(30303)).node_is_unknown());
        assert!(refused(403, Some(30303)).node_is_unknown());
        assert!(!refused(500, None).node_is_unknown());
        assert!(!RcsError::Foreign(String::new()).node_is_unknown());
    }

    #[test]
    fn codes_of_the_contract() {
        let number = |e: RcsError| e.code().number();
        assert_eq!(number(RcsError::Unreachable(String::new())), 40401);
        assert_eq!(number(refused(401, None)), 40402);
        assert_eq!(number(refused(500, None)), 40403);
    }

    #[test]
    fn time_outs_say_which() {
        let words = |t| from_ureq(&ureq::Error::Timeout(t), "rcs.test", LIMITS).to_string();
        assert!(words(ureq::Timeout::Connect).contains("rcs.connect_timeout"));
        assert!(words(ureq::Timeout::RecvResponse).contains("rcs.read_timeout"));
        assert!(words(ureq::Timeout::Resolve).contains("name"));
        assert!(words(ureq::Timeout::Global).contains("51s"));
    }

    #[test]
    fn outside_text_is_masked_before_it_is_cut() {
        let secret = Secret::new("canary-5ea1-token");
        let text = format!("{}{}", "x".repeat(MAX_OUTSIDE - 6), secret.expose());
        let shown = outside(&text);
        assert!(!shown.contains("canary"), "{shown}");
        assert_eq!(outside("a\r\nb\u{1b}[31m"), "a b [31m");
        assert!(outside(&"y".repeat(9_999)).chars().count() <= MAX_OUTSIDE + 1);
    }
}
