//! A connection to a camera and the conversation on it: questions and their answers, by one deadline.
//!
//! `rtsps` goes by TLS, under the same rule for certificates as HTTPS.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::hello;
use super::message::{MessageError, Response, request_url_or_secure};
use super::sdp::Sdp;
use super::talk::{Event, Talk, TalkError};
use crate::domain::camera::Credentials;
use crate::domain::discovery::StreamDescription;
use crate::domain::error::{ErrorCode, Fault};
use crate::infrastructure::http::bounded::left;
use crate::infrastructure::http::camera::camera_words;
use crate::infrastructure::http::camera_tls::TlsTrouble;
use crate::infrastructure::http::doors::Doors;
use crate::infrastructure::http::response::is_timeout;
use crate::infrastructure::http::wire::Wire;
use crate::util::secret::Secret;
use crate::util::url;

/// An answer without a length that has been silent for so long is whole.
const SILENCE: Duration = Duration::from_secs(1);
/// Whether a URL asks for TLS.
pub(super) fn is_secure(url: &str) -> bool {
    url::split(url).is_ok_and(|parts| parts.scheme.eq_ignore_ascii_case("rtsps"))
}

/// Where the answer leads on to: nowhere, or to the same server. One that leads elsewhere is a
/// fault, and not followed.
pub(super) fn next_target(
    response: &Response,
    from: &str,
    at: SocketAddr,
) -> Result<Option<String>, Fault> {
    match response.status {
        300..=399 => redirect(response, from, at).map(Some),
        _ => Ok(None),
    }
}

/// The description, or why there is none.
pub(super) fn judge(response: &Response, at: SocketAddr) -> Result<StreamDescription, Fault> {
    let said = || {
        let words = camera_words(&response.reason);
        format!("{at} answers {} {words}", response.status)
    };
    let code = match response.status {
        200..=299 => {
            let tracks = Sdp::parse(&response.body).tracks();
            if tracks.is_empty() {
                return Err(Fault::new(
                    ErrorCode::InternalError,
                    format!("{at} describes no media"),
                ));
            }
            return Ok(StreamDescription {
                server: hello::server(response),
                tracks,
            });
        }
        403 => ErrorCode::AccessDenied,
        404 => {
            return Err(Fault::new(
                ErrorCode::NotFound,
                format!("{at} has no stream under this path"),
            ));
        }
        453 | 503 => ErrorCode::NodeBusy,
        _ => ErrorCode::InternalError,
    };
    Err(Fault::new(code, said()))
}

/// Where a redirect leads, if that is the same server.
fn redirect(response: &Response, from: &str, at: SocketAddr) -> Result<String, Fault> {
    let location = response.header("location").unwrap_or_default();
    let refused = || {
        let shown = camera_words(&location);
        Fault::new(
            ErrorCode::InternalError,
            format!("{at} sends elsewhere ({shown}); not followed"),
        )
    };
    let target = request_url_or_secure(&location).ok_or_else(refused)?;
    let (Ok(old), Ok(new)) = (url::split(from), url::split(&target)) else {
        return Err(refused());
    };
    // Never from TLS to none.
    if !old.scheme.eq_ignore_ascii_case(new.scheme) {
        return Err(refused());
    }
    let same_port = new.rtsp_port() == at.port();
    let same_host = new.host.eq_ignore_ascii_case(old.host)
        || url::literal_ip(new.host) == Some(at.ip().to_canonical());
    if same_host && (same_port || new.port == old.port) {
        Ok(target)
    } else {
        Err(refused())
    }
}

/// Why a question has no answer.
pub(super) enum Trouble {
    Talk(TalkError),
    /// Nothing came in time. Whether anything had come at all.
    Late,
    Lost(String),
    Other(Fault),
}

impl Trouble {
    pub(super) fn fault(self, at: SocketAddr) -> Fault {
        let (code, words) = match self {
            Self::Other(fault) => return fault,
            Self::Late => (
                ErrorCode::Unavailable,
                format!("{at} accepts connections and did not answer in time"),
            ),
            Self::Lost(words) => (ErrorCode::Unavailable, format!("{at}: {words}")),
            Self::Talk(error) => {
                let code = match &error {
                    TalkError::LoginWanted | TalkError::LoginRefused => ErrorCode::Unauthorized,
                    TalkError::NotAllowed => ErrorCode::AccessDenied,
                    TalkError::Closed => ErrorCode::Unavailable,
                    TalkError::Message(_)
                    | TalkError::LoginUnknown
                    | TalkError::StaleForEver
                    | TalkError::Chatter => ErrorCode::InternalError,
                };
                (code, format!("{at}: {error}"))
            }
        };
        Fault::new(code, words)
    }
}

/// A connection and the conversation on it.
pub(super) struct Line {
    at: SocketAddr,
    /// By TLS.
    tls: Option<Doors>,
    deadline: Instant,
    stream: Wire,
    pub(super) talk: Talk,
}

impl Line {
    pub(super) fn open(
        at: SocketAddr,
        tls: Option<Doors>,
        timeout: Duration,
        credentials: Option<Credentials>,
    ) -> Result<Self, Fault> {
        let deadline = Instant::now() + timeout;
        Ok(Self {
            at,
            deadline,
            stream: connect(at, tls.as_ref(), deadline)?,
            tls,
            talk: Talk::new(credentials, cnonce()?),
        })
    }

    /// For what follows the first questions.
    pub(super) fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }

    /// To wait on.
    pub(super) fn socket(&self) -> &TcpStream {
        self.stream.socket()
    }

    /// Something has come that the socket does not know of any more.
    pub(super) fn holds_more(&self) -> bool {
        self.stream.holds_more()
    }

    /// What has come, where the socket was seen to have something; 0 = its end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Trouble> {
        self.hear(buffer)
    }

    /// Asks, and waits for the answer; frames in between are dropped.
    pub(super) fn ask(
        &mut self,
        method: &'static str,
        url: Secret,
        headers: &[(&'static str, String)],
    ) -> Result<Response, Trouble> {
        self.talk.request(method, url, headers.to_vec());
        let mut buffer = [0_u8; 4096];
        loop {
            self.send()?;
            let heard = self.hear(&mut buffer)?;
            if let Some(bytes) = buffer.get(..heard).filter(|b| !b.is_empty()) {
                self.talk.feed(bytes);
            } else if let Some(Event::Answer(response)) = self.talk.end().map_err(Trouble::Talk)? {
                return Ok(response);
            }
            while let Some(event) = self.talk.next_event().map_err(Trouble::Talk)? {
                if let Event::Answer(response) = event {
                    return Ok(response);
                }
            }
        }
    }

    /// Writes what there is to write.
    pub(super) fn send(&mut self) -> Result<(), Trouble> {
        let output = self.talk.take_output();
        if output.is_empty() {
            return Ok(());
        }
        if self.talk.needs_connection() || (self.talk.is_logging_in() && self.stream.is_closed()) {
            let tls = self.tls.as_ref();
            self.stream = connect(self.at, tls, self.deadline).map_err(Trouble::Other)?;
            self.talk.connected_anew();
        }
        let mut rest = output.as_slice();
        while !rest.is_empty() {
            left(self.deadline).ok_or(Trouble::Late)?;
            self.stream.set_deadline(self.deadline);
            match self.stream.write(rest) {
                Ok(0) => return Err(Trouble::Talk(TalkError::Closed)),
                Ok(n) => rest = rest.get(n..).unwrap_or_default(),
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                Err(why) if is_timeout(&why) => return Err(Trouble::Late),
                // What it said before it closed may be there to be read.
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    /// How many bytes came; 0 = it has ended, or an open-ended answer has fallen silent.
    fn hear(&mut self, buffer: &mut [u8]) -> Result<usize, Trouble> {
        loop {
            let open_ended = self.talk.is_open_ended();
            let Some(mut left) = left(self.deadline) else {
                return if open_ended { Ok(0) } else { self.late() };
            };
            if open_ended {
                left = left.min(SILENCE);
            }
            self.stream.set_deadline(Instant::now() + left);
            match self.stream.read(buffer) {
                Ok(n) => return Ok(n),
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                Err(why) if is_timeout(&why) && open_ended => return Ok(0),
                Err(why) if is_timeout(&why) => {}
                Err(why) if why.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(Trouble::Talk(TalkError::Closed));
                }
                Err(why) => return Err(Trouble::Lost(format!("connection lost: {why}"))),
            }
        }
    }

    /// Out of time. What has come may say that this is no RTSP at all.
    fn late(&mut self) -> Result<usize, Trouble> {
        match self.talk.end() {
            Err(error @ TalkError::Message(MessageError::NotRtsp(_))) => Err(Trouble::Talk(error)),
            _ => Err(Trouble::Late),
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // The camera should not go on filling a pipe that nobody empties.
        self.stream.shut_down();
    }
}

fn connect(at: SocketAddr, tls: Option<&Doors>, deadline: Instant) -> Result<Wire, Fault> {
    match tls {
        None => Ok(Wire::plain(reach(at, deadline)?, deadline)),
        Some(doors) => doors.tls().secure(at, deadline, || reach(at, deadline)),
    }
}

impl From<TlsTrouble> for Fault {
    fn from(trouble: TlsTrouble) -> Self {
        let code = match &trouble {
            TlsTrouble::Certificate(_) => ErrorCode::AccessDenied,
            _ => ErrorCode::Unavailable,
        };
        Self::new(code, trouble.words())
    }
}

fn reach(at: SocketAddr, deadline: Instant) -> Result<TcpStream, Fault> {
    let unavailable = |words: String| Fault::new(ErrorCode::Unavailable, words);
    let left =
        left(deadline).ok_or_else(|| unavailable(format!("no time left to connect to {at}")))?;
    let stream = TcpStream::connect_timeout(&at, left).map_err(|why| {
        unavailable(match why.kind() {
            io::ErrorKind::ConnectionRefused => format!("nothing listens on {at}"),
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
                format!("no connection to {at} in time")
            }
            _ => format!("no connection to {at}: {why}"),
        })
    })?;
    stream
        .set_nodelay(true)
        .map_err(|why| unavailable(format!("{at}: {why}")))?;
    Ok(stream)
}

/// 16 random bytes as hex.
pub(in crate::infrastructure) fn cnonce() -> Result<String, Fault> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|why| {
        Fault::new(
            ErrorCode::InternalError,
            format!("no random numbers: {why}"),
        )
    })?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}
