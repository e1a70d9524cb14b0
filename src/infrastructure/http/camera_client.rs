//! A thin HTTP/1.1 client for one camera: one kept-alive connection, and a word on how far a
//! request got when it fails.
//!
//! Not ureq, because a pool can't say whether a failed request was sent, can't be told to use a
//! fresh connection for a stop, and splits head and body over two packets. Knows no login and no
//! redirect; follows nothing.
//!
//! **When a request is sent twice.** Cameras close idle connections without a word, so a kept
//! connection may be dead. It is looked at before use, which finds all but the close that crosses
//! our request on the wire. Then, and only if no byte of an answer was seen and the connection
//! was not opened for this very request, and if its [`Resend`] allows, the error is
//! [`HttpError::Dead`]: whoever sent it sends it once more, with a login made anew, because
//! cameras refuse a nonce count or a token that they may have seen. That goes on a new connection
//! and can't end so again.

use std::io::{self, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::coding;
use super::response::{HttpError, Reader, Response, is_timeout, left, lost_words};

/// A request that must not be sent twice does not use a connection idle for longer than this.
const FRESH_ENOUGH: Duration = Duration::from_secs(1);
/// A loss that is noticed this soon after sending is a close that crossed the request.
const CROSSED: Duration = Duration::from_millis(500);

/// Whether a request may be sent once more on a new connection when the kept one turns out dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resend {
    /// Reads, stops, going to a preset: twice is as good as once.
    Always,
    /// Moves: twice is as good as once, but only if no stop came in between on another
    /// connection; so only while the loss is so fresh that it is a close that crossed the
    /// request. (Whoever stops while a move is unanswered stops again when that has ended.)
    WhenCrossed,
    /// What creates or removes something.
    Never,
}

/// A request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `GET`, `PUT`, …
    pub method: &'a str,
    /// Path and query, as it goes on the wire.
    pub target: &'a str,
    /// `Content-Type`, if there is a body.
    pub content_type: Option<&'a str>,
    /// `SOAPAction`, which belongs to SOAP 1.1 alone.
    pub soap_action: Option<&'a str>,
    /// Sent with `Content-Length`; `None` for methods without one.
    pub body: Option<&'a [u8]>,
    /// See [`Resend`].
    pub resend: Resend,
    /// Longest body of an answer, in bytes.
    pub max_reply: usize,
}

/// A connection between two requests.
#[derive(Debug)]
struct Kept {
    stream: TcpStream,
    since: Instant,
    idle_limit: Duration,
}

/// A client of one address.
#[derive(Debug)]
pub struct CameraClient {
    peer: SocketAddr,
    host: String,
    connect_timeout: Duration,
    kept: Option<Kept>,
}

impl CameraClient {
    /// Opens nothing yet.
    pub fn new(peer: SocketAddr, connect_timeout: Duration) -> Self {
        Self {
            peer,
            host: host_header(peer),
            connect_timeout,
            kept: None,
        }
    }

    /// Where to.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The `Host` header.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Closes the kept connection, if there is one.
    pub fn hang_up(&mut self) {
        self.kept = None;
    }

    /// Sends a request and reads the whole answer, all by `deadline`. `authorization` is the
    /// value of that header.
    pub fn send(
        &mut self,
        request: &Request<'_>,
        authorization: Option<&[u8]>,
        deadline: Instant,
    ) -> Result<Response, HttpError> {
        let message = self.encode(request, authorization);
        let head_only = request.method == "HEAD";
        if let Some(stream) = self.take_kept(request.resend) {
            let sent_at = Instant::now();
            return self
                .exchange(stream, &message, request.max_reply, head_only, deadline)
                .map_err(|failure| {
                    let again = !failure.answer_seen
                        && matches!(failure.error, HttpError::Lost(_))
                        && match request.resend {
                            Resend::Always => true,
                            Resend::WhenCrossed => sent_at.elapsed() < CROSSED,
                            Resend::Never => false,
                        };
                    if again {
                        HttpError::Dead
                    } else {
                        failure.error
                    }
                });
        }
        let stream = self.connect(deadline)?;
        self.exchange(stream, &message, request.max_reply, head_only, deadline)
            .map_err(|failure| failure.error)
    }

    fn encode(&self, request: &Request<'_>, authorization: Option<&[u8]>) -> Vec<u8> {
        let body = request.body.unwrap_or_default();
        let mut out = Vec::with_capacity(512 + body.len());
        // Writing to a Vec can't fail.
        let _ = write!(
            out,
            "{} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: lss\r\nAccept: */*\r\n{}Connection: keep-alive\r\n",
            request.method,
            request.target,
            self.host,
            coding::ACCEPT
        );
        if let Some(value) = authorization {
            out.extend_from_slice(b"Authorization: ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
        if let Some(kind) = request.content_type {
            let _ = write!(out, "Content-Type: {kind}\r\n");
        }
        if let Some(action) = request.soap_action {
            let _ = write!(out, "SOAPAction: {action}\r\n");
        }
        if request.body.is_some() {
            let _ = write!(out, "Content-Length: {}\r\n", body.len());
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(body);
        out
    }

    /// The kept connection, if it is young enough and nothing was heard on it.
    fn take_kept(&mut self, resend: Resend) -> Option<TcpStream> {
        let kept = self.kept.take()?;
        let limit = match resend {
            Resend::Never => kept.idle_limit.min(FRESH_ENOUGH),
            Resend::Always | Resend::WhenCrossed => kept.idle_limit,
        };
        (kept.since.elapsed() < limit && is_quiet(&kept.stream)).then_some(kept.stream)
    }

    fn connect(&self, deadline: Instant) -> Result<TcpStream, HttpError> {
        let left = left(deadline).ok_or(HttpError::TooLate)?;
        let stream = TcpStream::connect_timeout(&self.peer, left.min(self.connect_timeout))
            .map_err(|why| HttpError::Connect(connect_words(self.peer, &why)))?;
        stream
            .set_nodelay(true)
            .map_err(|why| HttpError::Connect(why.to_string()))?;
        Ok(stream)
    }

    fn exchange(
        &mut self,
        mut stream: TcpStream,
        message: &[u8],
        max_reply: usize,
        head_only: bool,
        deadline: Instant,
    ) -> Result<Response, Failure> {
        write_all(&mut stream, message, deadline)?;
        let mut reader = Reader {
            stream,
            buffer: Vec::new(),
            deadline,
            answer_seen: false,
        };
        let result = reader.response(max_reply, head_only);
        match result {
            Ok((response, keep)) => {
                if let Some(idle_limit) = keep.filter(|_| reader.buffer.is_empty()) {
                    self.kept = Some(Kept {
                        stream: reader.stream,
                        since: Instant::now(),
                        idle_limit,
                    });
                }
                Ok(response)
            }
            Err(error) => {
                // The camera should not go on filling a pipe that nobody empties.
                let _ = reader.stream.shutdown(Shutdown::Both);
                Err(Failure {
                    error,
                    answer_seen: reader.answer_seen,
                })
            }
        }
    }
}

/// An error, and whether any byte of an answer came before it.
struct Failure {
    error: HttpError,
    answer_seen: bool,
}

fn host_header(peer: SocketAddr) -> String {
    let host = match peer.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    match peer.port() {
        80 => host,
        port => format!("{host}:{port}"),
    }
}

fn connect_words(peer: SocketAddr, why: &io::Error) -> String {
    match why.kind() {
        io::ErrorKind::ConnectionRefused => format!("nothing listens on {peer}"),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            format!("no connection to {peer} in time")
        }
        _ => format!("no connection to {peer}: {why}"),
    }
}

/// Whether a connection is open with nothing to read. A camera that has closed it, or that says
/// something without having been asked, is not quiet.
fn is_quiet(stream: &TcpStream) -> bool {
    if stream.set_nonblocking(true).is_err() {
        return false;
    }
    let quiet = matches!(
        stream.peek(&mut [0_u8; 1]),
        Err(why) if why.kind() == io::ErrorKind::WouldBlock
    );
    quiet && stream.set_nonblocking(false).is_ok()
}

fn write_all(stream: &mut TcpStream, message: &[u8], deadline: Instant) -> Result<(), Failure> {
    let fail = |error| Failure {
        error,
        answer_seen: false,
    };
    let mut rest = message;
    while !rest.is_empty() {
        let left = left(deadline).ok_or_else(|| {
            fail(if rest.len() == message.len() {
                HttpError::TooLate
            } else {
                HttpError::Timeout("while sending")
            })
        })?;
        let step = stream
            .set_write_timeout(Some(left))
            .and_then(|()| stream.write(rest));
        match step {
            Ok(0) => return Err(fail(HttpError::Lost("connection closed".to_owned()))),
            Ok(n) => rest = rest.get(n..).unwrap_or_default(),
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Err(why) if is_timeout(&why) => {
                return Err(fail(HttpError::Timeout("while sending")));
            }
            Err(why) => return Err(fail(HttpError::Lost(lost_words(&why)))),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
