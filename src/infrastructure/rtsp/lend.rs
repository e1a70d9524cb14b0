//! Lends a camera's stream to a child of ours without lending it the login.
//!
//! FFmpeg's RTSP client follows redirects to any host and logs in there with what it was given (a
//! camera that means harm gets its password back in clear, at a place of its choice). So it is
//! given nothing: the camera is asked, described and logged in to here, by [`Talk`](super::talk::Talk),
//! and FFmpeg reads from a port on loopback that only passes on what this one camera sends. What it asks goes
//! to that camera alone; an answer that would lead it elsewhere does not reach it.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::head::{Head, Start, first_line};
use super::line::{Line, Trouble, is_secure, next_target};
use super::message::{Response, request_url_or_secure};
use super::talk::{Event, TalkError};
use crate::domain::camera::Credentials;
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::gateway::LoginEnd;
use crate::infrastructure::http::bounded::left;
use crate::infrastructure::http::doors::Doors;
use crate::util::secret::Secret;

/// Longest request of a borrower.
const MAX_REQUEST: usize = 8 * 1024;
/// Strangers on our own machine who knock before the borrower does.
const MAX_STRANGERS: usize = 16;
/// Redirects followed, on the same host.
const MAX_REDIRECTS: u32 = 1;
/// Headers of the borrower that the camera needs.
const ASKED: [&str; 3] = ["Transport", "Session", "Range"];
/// Headers of the camera that the borrower needs.
const TOLD: [&str; 4] = ["Transport", "Session", "RTP-Info", "Range"];

/// A stream that its camera has described.
pub struct Lent {
    line: Line,
    /// What the description's relative URLs are relative to.
    base: String,
    sdp: Vec<u8>,
    listener: TcpListener,
    /// The path that the borrower has to know, so that nobody else on this machine reads along.
    path: String,
    login: LoginEnd,
}

impl Lent {
    /// Asks the camera at `at` for the stream, and logs in where it wants that; and what came of
    /// the login, whatever came of the rest.
    pub fn open(
        at: SocketAddr,
        doors: &Doors,
        url: &Secret,
        login: Option<&Credentials>,
        until: Instant,
    ) -> Result<Self, (LoginEnd, Fault)> {
        let untold = |fault| (LoginEnd::Unknown, fault);
        let Some(mut target) = request_url_or_secure(url.expose()) else {
            let words = "not an rtsp:// URL with a host";
            return Err(untold(Fault::new(ErrorCode::ValidationFailed, words)));
        };
        let timeout = until.saturating_duration_since(Instant::now());
        let tls = is_secure(&target).then(|| doors.clone());
        let mut line = Line::open(at, tls, timeout, login.cloned()).map_err(untold)?;
        for _ in 0..=MAX_REDIRECTS {
            let accept = [("Accept", "application/sdp".to_owned())];
            let response = match line.ask("DESCRIBE", Secret::url(target.clone()), &accept) {
                Ok(response) => response,
                Err(trouble) => {
                    let refused = matches!(trouble, Trouble::Talk(TalkError::LoginRefused));
                    let end = if refused {
                        LoginEnd::Refused
                    } else {
                        LoginEnd::Unknown
                    };
                    return Err((end, trouble.fault(at)));
                }
            };
            if let Some(next) = next_target(&response, &target, at).map_err(untold)? {
                target = next;
                continue;
            }
            let taken = if line.talk.is_logging_in() {
                LoginEnd::Taken
            } else {
                LoginEnd::Unknown
            };
            return Self::of(line, target, response, taken, at).map_err(|fault| (taken, fault));
        }
        Err(untold(Fault::new(
            ErrorCode::InternalError,
            format!("{at} sends from one URL to the next"),
        )))
    }

    fn of(
        line: Line,
        target: String,
        response: Response,
        login: LoginEnd,
        at: SocketAddr,
    ) -> Result<Self, Fault> {
        super::line::judge(&response, at)?;
        let broken = |why: io::Error| {
            let words = format!("no place on loopback to pass a stream on: {why}");
            Fault::new(ErrorCode::InternalError, words)
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(broken)?;
        listener.set_nonblocking(true).map_err(broken)?;
        let base = response
            .header("content-base")
            .or_else(|| response.header("content-location"))
            .and_then(|base| request_url_or_secure(&base))
            .unwrap_or(target);
        Ok(Self {
            line,
            base,
            sdp: response.body,
            listener,
            path: super::line::cnonce()?,
            login,
        })
    }

    /// What the borrower is to read. It holds no login.
    pub fn url(&self) -> io::Result<Secret> {
        let at = self.listener.local_addr()?;
        Ok(Secret::unlisted(format!("rtsp://{at}/{}", self.path)))
    }

    /// What the camera thought of the login.
    pub fn login(&self) -> LoginEnd {
        self.login
    }

    /// Passes on until the borrower leaves, the camera ends, `over` is closed at its other end, or
    /// `until`. The camera may have found fault with the login only now.
    pub fn serve(mut self, over: UnixStream, until: Instant) -> LoginEnd {
        self.line.set_deadline(until);
        if let Ok(Some((borrower, first, asked))) = self.welcome(&over, until) {
            let mut bridge = Bridge {
                borrower,
                over,
                asked,
                waiting: None,
                lent: self,
            };
            let end = bridge.run(first, until);
            if let Err(End::Refused) = end {
                return LoginEnd::Refused;
            }
            return bridge.lent.login;
        }
        self.login
    }

    /// The borrower: whoever asks for the right path.
    fn welcome(
        &self,
        over: &UnixStream,
        until: Instant,
    ) -> io::Result<Option<(TcpStream, Request, Vec<u8>)>> {
        for _ in 0..MAX_STRANGERS {
            match readable([self.listener.as_fd(), over.as_fd()], until)? {
                [true, false] => {}
                _ => return Ok(None),
            }
            let (stream, _) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => continue,
                Err(why) => return Err(why),
            };
            stream.set_nonblocking(false)?;
            stream.set_nodelay(true)?;
            if let Some((first, rest)) = self.first_request(&stream, until) {
                return Ok(Some((stream, first, rest)));
            }
        }
        Ok(None)
    }

    fn first_request(&self, mut stream: &TcpStream, until: Instant) -> Option<(Request, Vec<u8>)> {
        let mut bytes = Vec::new();
        let mut buffer = [0_u8; 2048];
        loop {
            if let Taken::Request(request) = take(&mut bytes).ok()? {
                let path = request.url.rsplit('/').next()?;
                return (path == self.path).then_some((request, bytes));
            }
            stream.set_read_timeout(Some(left(until)?)).ok()?;
            let heard = stream.read(&mut buffer).ok().filter(|n| *n > 0)?;
            bytes.extend_from_slice(buffer.get(..heard)?);
        }
    }
}

/// Why passing on has ended.
enum End {
    /// The camera has refused the login in the middle.
    Refused,
    /// Anything else; the borrower sees it as the connection's end.
    Over,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Over
    }
}

impl From<Trouble> for End {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Talk(error) => error.into(),
            _ => Self::Over,
        }
    }
}

impl From<TalkError> for End {
    fn from(error: TalkError) -> Self {
        match error {
            TalkError::LoginRefused => Self::Refused,
            _ => Self::Over,
        }
    }
}

/// The camera on one side, the borrower on the other.
struct Bridge {
    lent: Lent,
    borrower: TcpStream,
    over: UnixStream,
    /// What the borrower has sent and nobody has read yet.
    asked: Vec<u8>,
    /// The number of the borrower's request that the camera has in hand.
    waiting: Option<String>,
}

impl Bridge {
    fn run(&mut self, first: Request, until: Instant) -> Result<(), End> {
        self.answer(first)?;
        let mut buffer = [0_u8; 16 * 1024];
        loop {
            self.lent.line.send()?;
            while self.waiting.is_none() {
                match take(&mut self.asked).map_err(|()| End::Over)? {
                    Taken::Request(request) => {
                        if self.answer(request)? {
                            return Ok(());
                        }
                    }
                    // Its reports on what it receives: the camera does without for so long.
                    Taken::Frame => {}
                    Taken::Nothing => break,
                }
            }
            self.lent.line.send()?;
            let sockets = [
                self.borrower.as_fd(),
                self.lent.line.socket().as_fd(),
                self.over.as_fd(),
            ];
            // What is decrypted already is no news to the socket.
            let ready = if self.lent.line.holds_more() {
                [false, true, false]
            } else {
                readable(sockets, until)?
            };
            match ready {
                [_, _, true] => return Ok(()),
                [true, _, _] => {
                    let heard = self.borrower.read(&mut buffer)?;
                    if heard == 0 {
                        return Ok(());
                    }
                    self.asked
                        .extend_from_slice(buffer.get(..heard).unwrap_or_default());
                }
                [_, true, _] => {
                    let heard = self.lent.line.read(&mut buffer)?;
                    if heard == 0 {
                        return Err(End::Over);
                    }
                    self.lent
                        .line
                        .talk
                        .feed(buffer.get(..heard).unwrap_or_default());
                    while let Some(event) = self.lent.line.talk.next_event()? {
                        self.pass_on(event, until)?;
                    }
                }
                _ => return Err(End::Over),
            }
        }
    }

    /// To the borrower.
    fn pass_on(&mut self, event: Event, until: Instant) -> Result<(), End> {
        let bytes = match event {
            Event::Frame { channel, payload } => {
                let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
                let [high, low] = length.to_be_bytes();
                let mut frame = vec![b'$', channel, high, low];
                frame.extend(payload);
                frame
            }
            Event::Answer(response) => {
                let Some(cseq) = self.waiting.take() else {
                    return Ok(());
                };
                // Only here the camera's own word reaches FFmpeg: nothing in it leads elsewhere.
                let (status, reason) = match response.status {
                    300..=399 => (502, "Bad Gateway"),
                    status if response.is_success() => (status, "OK"),
                    status => (status, "Refused"),
                };
                let headers: Vec<(&str, String)> = TOLD
                    .into_iter()
                    .filter_map(|name| {
                        let value = response.header(&name.to_ascii_lowercase())?;
                        Some((name, value))
                    })
                    .collect();
                reply(status, reason, &cseq, &headers, b"")
            }
        };
        let left = left(until).ok_or(End::Over)?;
        self.borrower.set_write_timeout(Some(left))?;
        Ok(self.borrower.write_all(&bytes)?)
    }

    /// A request of the borrower's; true when it was its last.
    fn answer(&mut self, request: Request) -> Result<bool, End> {
        let method = match request.method.as_str() {
            "OPTIONS" => {
                let public = "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN".to_owned();
                let bytes = reply(200, "OK", &request.cseq, &[("Public", public)], b"");
                self.borrower.write_all(&bytes)?;
                return Ok(false);
            }
            "DESCRIBE" => {
                let headers = [
                    ("Content-Type", "application/sdp".to_owned()),
                    ("Content-Base", self.lent.base.clone()),
                ];
                let bytes = reply(200, "OK", &request.cseq, &headers, &self.lent.sdp);
                self.borrower.write_all(&bytes)?;
                return Ok(false);
            }
            "SETUP" => "SETUP",
            "PLAY" => "PLAY",
            "TEARDOWN" => "TEARDOWN",
            _ => {
                let bytes = reply(501, "Not Implemented", &request.cseq, &[], b"");
                self.borrower.write_all(&bytes)?;
                return Ok(false);
            }
        };
        let headers = ASKED
            .into_iter()
            .filter_map(|name| {
                let value = request.head.headers.text(&name.to_ascii_lowercase())?;
                Some((name, value))
            })
            .collect();
        let talk = &mut self.lent.line.talk;
        talk.request(method, Secret::url(request.url), headers);
        if method == "TEARDOWN" {
            // Politeness: nobody waits for the answer.
            let _ = self.lent.line.send();
            return Ok(true);
        }
        self.waiting = Some(request.cseq);
        Ok(false)
    }
}

/// A request of the borrower's.
struct Request {
    method: String,
    url: String,
    cseq: String,
    head: Head,
}

enum Taken {
    Request(Request),
    Frame,
    Nothing,
}

/// The next thing that the borrower has sent whole, taken out of `bytes`.
fn take(bytes: &mut Vec<u8>) -> Result<Taken, ()> {
    if let &[b'$', _, high, low, ..] = bytes.as_slice() {
        let length = 4 + usize::from(u16::from_be_bytes([high, low]));
        if bytes.len() < length {
            return Ok(Taken::Nothing);
        }
        bytes.drain(..length);
        return Ok(Taken::Frame);
    }
    let Some((head, length)) = Head::read(bytes) else {
        return if bytes.len() > MAX_REQUEST {
            Err(())
        } else {
            Ok(Taken::Nothing)
        };
    };
    let Start::Request { method } = &head.start else {
        return Err(());
    };
    if head
        .headers
        .text("content-length")
        .is_some_and(|n| n != "0")
    {
        return Err(());
    }
    let line = String::from_utf8_lossy(first_line(bytes).unwrap_or_default()).into_owned();
    let request = Request {
        method: method.clone(),
        url: line.split_ascii_whitespace().nth(1).ok_or(())?.to_owned(),
        cseq: head.headers.text("cseq").unwrap_or_default(),
        head,
    };
    bytes.drain(..length);
    Ok(Taken::Request(request))
}

fn reply(
    status: u16,
    reason: &str,
    cseq: &str,
    headers: &[(&str, String)],
    body: &[u8],
) -> Vec<u8> {
    let mut out = format!("RTSP/1.0 {status} {reason}\r\n");
    let length = ("Content-Length", body.len().to_string());
    let cseq = ("CSeq", cseq.to_owned());
    for (name, value) in [&cseq, &length].into_iter().chain(headers) {
        let value: String = value.chars().filter(|c| !c.is_control()).collect();
        // Writing to a String can't fail.
        let _ = write!(out, "{name}: {value}\r\n");
    }
    out.push_str("\r\n");
    let mut out = out.into_bytes();
    out.extend_from_slice(body);
    out
}

/// Which of them have something to be read (or have ended); waits for the first until then.
fn readable<const N: usize>(sockets: [BorrowedFd<'_>; N], until: Instant) -> io::Result<[bool; N]> {
    let mut fds = sockets.map(|socket| PollFd::new(socket, PollFlags::POLLIN));
    loop {
        let Some(left) = left(until) else {
            return Ok([false; N]);
        };
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, left) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(fds.map(|fd| fd.revents().is_some_and(|r| !r.is_empty()))),
            Err(why) => return Err(why.into()),
        }
    }
}
