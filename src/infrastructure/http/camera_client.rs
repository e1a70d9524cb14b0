//! A thin HTTP/1.1 client for one camera: one kept-alive connection, and a word on how far a
//! request got when it fails. Whether that is by TLS, and by which port, is found out by what
//! answers ([`Doors`]): nothing has to say so.
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
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::bounded::left;
use super::camera_tls::TlsTrouble;
use super::coding;
use super::doors::{Door, Doors, Known};
use super::response::{HttpError, Reader, Response, is_timeout, lost_words};
use super::wire::Wire;
use crate::util::url;

/// A request that must not be sent twice does not use a connection idle for longer than this.
const FRESH_ENOUGH: Duration = Duration::from_secs(1);
/// A loss that is noticed this soon after sending is a close that crossed the request.
const CROSSED: Duration = Duration::from_millis(500);
/// The ports of HTTP and HTTPS where nobody says another.
const HTTP: u16 = 80;
const HTTPS: [u16; 2] = [443, 8443];
/// How often one request may find that its camera is spoken to otherwise.
const MAX_TURNS: u32 = 4;
/// Longest answer to a request that only finds that out.
const MAX_KNOCK: usize = 256 * 1024;

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
    /// There is a login in its body.
    pub secret: bool,
}

/// A connection between two requests.
#[derive(Debug)]
struct Kept {
    wire: Wire,
    door: Door,
    since: Instant,
    idle_limit: Duration,
}

/// A client of one address.
#[derive(Debug)]
pub struct CameraClient {
    peer: SocketAddr,
    connect_timeout: Duration,
    doors: Doors,
    kept: Option<Kept>,
}

impl CameraClient {
    /// Opens nothing yet.
    pub fn new(peer: SocketAddr, connect_timeout: Duration, doors: Doors) -> Self {
        Self {
            peer,
            connect_timeout,
            doors,
            kept: None,
        }
    }

    /// Where to, as it was asked for.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Where the conversation takes place, as far as is known.
    pub fn door(&self) -> Door {
        match self.doors.of(self.peer) {
            Some(Known::Door(door)) => door,
            _ => self.plain_door(),
        }
    }

    fn plain_door(&self) -> Door {
        Door {
            at: self.peer,
            tls: false,
        }
    }

    /// Closes the kept connection, if there is one.
    pub fn hang_up(&mut self) {
        self.kept = None;
    }

    /// Sends a request and reads the whole answer, all by `deadline`. `authorization` is the
    /// value of that header. A login leaves only when it is known how the camera is spoken to, and
    /// by TLS only when its certificate has been judged.
    pub fn send(
        &mut self,
        request: &Request<'_>,
        authorization: Option<&[u8]>,
        deadline: Instant,
    ) -> Result<Response, HttpError> {
        for turn in 1..=MAX_TURNS {
            let known = self.doors.of(self.peer);
            let door = match known {
                Some(Known::Door(door)) => door,
                _ => {
                    let usual = HTTPS.contains(&self.peer.port());
                    if usual && self.doors.tls().wants_tls_where_usual() {
                        self.try_tls(self.peer, deadline).map_err(nothing_else)?;
                        continue;
                    }
                    if usual || known == Some(Known::Silent) {
                        match self.try_tls(self.peer, share(deadline)) {
                            Ok(()) => continue,
                            Err(TlsTrouble::Certificate(words)) => {
                                return Err(HttpError::Certificate(words));
                            }
                            Err(_) => {}
                        }
                    }
                    self.plain_door()
                }
            };
            let stranger = !matches!(known, Some(Known::Door(_)));
            if stranger && (authorization.is_some() || request.secret) {
                let knock = Request {
                    method: "GET",
                    content_type: None,
                    soap_action: None,
                    body: None,
                    max_reply: MAX_KNOCK,
                    secret: false,
                    ..*request
                };
                let answer = self.send_by(door, &knock, None, deadline);
                self.learn(stranger, &answer, deadline)?;
                if !matches!(self.doors.of(self.peer), Some(Known::Door(_))) {
                    return answer.map_err(|failure| failure.error);
                }
                continue;
            }
            let answer = self.send_by(door, request, authorization, deadline);
            let turned = !door.tls && self.learn(stranger, &answer, deadline)?;
            if !turned || turn == MAX_TURNS {
                return answer.map_err(|failure| failure.error);
            }
        }
        Err(HttpError::TooLate)
    }

    /// What the answer to a plain request says of how the camera is spoken to. True if otherwise.
    fn learn(
        &mut self,
        stranger: bool,
        answer: &Result<Response, Failure>,
        deadline: Instant,
    ) -> Result<bool, HttpError> {
        let peer = self.peer;
        let failure = match answer {
            Ok(response) => {
                if let Some(at) = tls_behind(response, peer.ip()) {
                    return match self.try_tls(at, deadline) {
                        Ok(()) => {
                            self.doors.leads(peer, at);
                            Ok(true)
                        }
                        Err(TlsTrouble::Certificate(words)) => Err(HttpError::Certificate(words)),
                        Err(other) => Err(HttpError::Connect(format!(
                            "it sends to https on port {}: {}",
                            at.port(),
                            other.words()
                        ))),
                    };
                }
                // Some say it in words, to whoever speaks plainly to a TLS port.
                if stranger && response.status == 400 {
                    match self.try_tls(peer, deadline) {
                        Ok(()) => return Ok(true),
                        Err(TlsTrouble::Certificate(words)) => {
                            return Err(HttpError::Certificate(words));
                        }
                        Err(_) => {}
                    }
                }
                self.doors.learn(peer, Known::Door(self.plain_door()));
                return Ok(false);
            }
            Err(failure) => failure,
        };
        let fresh_and_mute = failure.fresh && !failure.answer_seen;
        match &failure.error {
            HttpError::SpeaksTls => match self.try_tls(peer, deadline) {
                Ok(()) => Ok(true),
                Err(TlsTrouble::Certificate(words)) => Err(HttpError::Certificate(words)),
                Err(other) => Err(HttpError::Connect(other.words())),
            },
            HttpError::Lost(_) if fresh_and_mute && stranger => {
                match self.try_tls(peer, deadline) {
                    Ok(()) => Ok(true),
                    Err(TlsTrouble::Certificate(words)) => Err(HttpError::Certificate(words)),
                    Err(TlsTrouble::TooOld(words)) => Err(HttpError::Connect(words)),
                    Err(_) => Ok(false),
                }
            }
            // It may be another device by now.
            HttpError::Lost(_) if fresh_and_mute => {
                self.doors.unlearn(peer);
                Ok(false)
            }
            HttpError::Connect(_) if failure.refused && stranger && peer.port() == HTTP => {
                let [https, ..] = HTTPS;
                match self.try_tls(SocketAddr::new(peer.ip(), https), deadline) {
                    Ok(()) => Ok(true),
                    Err(TlsTrouble::Certificate(words)) => Err(HttpError::Certificate(words)),
                    Err(TlsTrouble::TooOld(words)) => Err(HttpError::Connect(words)),
                    Err(_) => Ok(false),
                }
            }
            HttpError::Timeout(_) if fresh_and_mute && stranger => {
                self.doors.learn(peer, Known::Silent);
                Ok(false)
            }
            HttpError::TooLarge(_) | HttpError::Echo | HttpError::Malformed(_) if stranger => {
                self.doors.learn(peer, Known::Door(self.plain_door()));
                Ok(false)
            }
            _ => Ok(false),
        }
    }

    /// Whether there is TLS, and from now on by that; the connection is kept for what follows.
    fn try_tls(&mut self, at: SocketAddr, deadline: Instant) -> Result<(), TlsTrouble> {
        let door = Door { at, tls: true };
        let wire = self.secure(at, deadline).map_err(|trouble| match trouble {
            Opening::Tls(trouble) => trouble,
            Opening::Tcp(failure) => TlsTrouble::BrokenOff(failure.error.to_string()),
        })?;
        log::debug!(camera:% = self.peer, at:%; "it speaks TLS");
        self.doors.learn(self.peer, Known::Door(door));
        self.kept = Some(Kept {
            wire,
            door,
            since: Instant::now(),
            idle_limit: FRESH_ENOUGH,
        });
        Ok(())
    }

    fn secure(&self, at: SocketAddr, deadline: Instant) -> Result<Wire, Opening> {
        let connect = || self.connect(at, deadline).map_err(Opening::Tcp);
        self.doors.tls().secure(at, deadline, connect)
    }

    /// Sends to where it is known to go, and how.
    fn send_by(
        &mut self,
        door: Door,
        request: &Request<'_>,
        authorization: Option<&[u8]>,
        deadline: Instant,
    ) -> Result<Response, Failure> {
        let message = encode(&host_header(door), request, authorization);
        let head_only = request.method == "HEAD";
        if let Some(wire) = self.take_kept(door, request.resend) {
            let sent_at = Instant::now();
            return self
                .exchange(wire, door, &message, request.max_reply, head_only, deadline)
                .map_err(|mut failure| {
                    failure.fresh = false;
                    let again = !failure.answer_seen
                        && matches!(failure.error, HttpError::Lost(_))
                        && match request.resend {
                            Resend::Always => true,
                            Resend::WhenCrossed => sent_at.elapsed() < CROSSED,
                            Resend::Never => false,
                        };
                    if again {
                        failure.error = HttpError::Dead;
                    }
                    failure
                });
        }
        let wire = self.open(door, deadline)?;
        self.exchange(wire, door, &message, request.max_reply, head_only, deadline)
    }

    fn open(&self, door: Door, deadline: Instant) -> Result<Wire, Failure> {
        if !door.tls {
            let tcp = self.connect(door.at, deadline)?;
            return Ok(Wire::plain(tcp, deadline));
        }
        self.secure(door.at, deadline).map_err(|opening| {
            Failure::of(match opening {
                Opening::Tcp(failure) => return self.not_reached(door, failure),
                Opening::Tls(TlsTrouble::Certificate(words)) => HttpError::Certificate(words),
                Opening::Tls(TlsTrouble::NoTls(words)) => {
                    if self.doors.tls().may_speak_plain() {
                        self.doors.unlearn(self.peer);
                        HttpError::Connect(words)
                    } else {
                        HttpError::Certificate(format!(
                            "{words}, and it has shown a certificate before: without one nothing \
                             is sent. If the camera was set so, \
                             DELETE /api/cameras/{{id}}/certificate forgets it"
                        ))
                    }
                }
                Opening::Tls(TlsTrouble::BrokenOff(words)) => {
                    if self.doors.tls().may_speak_plain() {
                        self.doors.unlearn(self.peer);
                        HttpError::Connect(words)
                    } else {
                        // No word of forgetting the certificate: anybody can break a handshake off.
                        HttpError::Connect(format!(
                            "{words}, and it has shown a certificate before: without one nothing \
                             is sent"
                        ))
                    }
                }
                Opening::Tls(TlsTrouble::TooOld(words) | TlsTrouble::Late(words)) => {
                    HttpError::Connect(words)
                }
            })
        })
    }

    /// Nobody has taken the connection at a door with TLS.
    fn not_reached(&self, door: Door, failure: Failure) -> Failure {
        // A port that was closed when it was asked may be open again.
        let elsewhere = door.at != self.peer && !self.doors.is_held(self.peer);
        if elsewhere || self.doors.tls().may_speak_plain() {
            self.doors.unlearn(self.peer);
            return failure;
        }
        match failure.error {
            HttpError::Connect(words) if failure.refused => Failure {
                error: HttpError::Connect(format!(
                    "{words}, and it has shown a certificate there before: without one nothing is \
                     sent. If its HTTPS was turned off or moved, \
                     DELETE /api/cameras/{{id}}/certificate forgets it"
                )),
                ..failure
            },
            _ => failure,
        }
    }

    /// The kept connection, if it is young enough and nothing was heard on it.
    fn take_kept(&mut self, door: Door, resend: Resend) -> Option<Wire> {
        let mut kept = self.kept.take().filter(|kept| kept.door == door)?;
        let limit = match resend {
            Resend::Never => kept.idle_limit.min(FRESH_ENOUGH),
            Resend::Always | Resend::WhenCrossed => kept.idle_limit,
        };
        (kept.since.elapsed() < limit && kept.wire.is_quiet()).then_some(kept.wire)
    }

    fn connect(&self, at: SocketAddr, deadline: Instant) -> Result<TcpStream, Failure> {
        let left = left(deadline).ok_or_else(|| Failure::of(HttpError::TooLate))?;
        let stream =
            TcpStream::connect_timeout(&at, left.min(self.connect_timeout)).map_err(|why| {
                Failure {
                    refused: why.kind() == io::ErrorKind::ConnectionRefused,
                    ..Failure::of(HttpError::Connect(connect_words(at, &why)))
                }
            })?;
        stream
            .set_nodelay(true)
            .map_err(|why| Failure::of(HttpError::Connect(why.to_string())))?;
        Ok(stream)
    }

    fn exchange(
        &mut self,
        mut wire: Wire,
        door: Door,
        message: &[u8],
        max_reply: usize,
        head_only: bool,
        deadline: Instant,
    ) -> Result<Response, Failure> {
        wire.set_deadline(deadline);
        write_all(&mut wire, message, deadline)?;
        let mut reader = Reader {
            stream: wire,
            buffer: Vec::new(),
            deadline,
            answer_seen: false,
        };
        let result = reader.response(max_reply, head_only);
        match result {
            Ok((response, keep)) => {
                if let Some(idle_limit) = keep.filter(|_| reader.buffer.is_empty()) {
                    self.kept = Some(Kept {
                        wire: reader.stream,
                        door,
                        since: Instant::now(),
                        idle_limit,
                    });
                }
                Ok(response)
            }
            Err(error) => {
                // The camera should not go on filling a pipe that nobody empties.
                reader.stream.shut_down();
                Err(Failure {
                    answer_seen: reader.answer_seen,
                    ..Failure::of(error)
                })
            }
        }
    }
}

/// An error, and what is known of it.
struct Failure {
    error: HttpError,
    /// A byte of an answer came before it.
    answer_seen: bool,
    /// The connection was opened for this request.
    fresh: bool,
    /// Nothing listens there.
    refused: bool,
}

impl Failure {
    fn of(error: HttpError) -> Self {
        Self {
            error,
            answer_seen: false,
            fresh: true,
            refused: false,
        }
    }
}

/// Why there is no connection with TLS.
enum Opening {
    Tcp(Failure),
    Tls(TlsTrouble),
}

impl From<TlsTrouble> for Opening {
    fn from(trouble: TlsTrouble) -> Self {
        Self::Tls(trouble)
    }
}

/// Of a port where nothing but TLS is spoken.
fn nothing_else(trouble: TlsTrouble) -> HttpError {
    match trouble {
        TlsTrouble::NoTls(words) => HttpError::Certificate(format!(
            "{words}, and by camera.tls: verify this port is spoken to by nothing else"
        )),
        TlsTrouble::Certificate(words) => HttpError::Certificate(words),
        TlsTrouble::BrokenOff(words) | TlsTrouble::TooOld(words) | TlsTrouble::Late(words) => {
            HttpError::Connect(words)
        }
    }
}

/// Half of what is left: something else may have to be tried.
fn share(deadline: Instant) -> Instant {
    let now = Instant::now();
    now + deadline.saturating_duration_since(now) / 2
}

/// Where an answer leads that sends on to TLS, if that is the same host.
fn tls_behind(response: &Response, ip: IpAddr) -> Option<SocketAddr> {
    if !matches!(response.status, 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.header("location")?;
    let parts = url::split(&location).ok()?;
    let same = url::literal_ip(parts.host) == Some(ip.to_canonical());
    let [https, ..] = HTTPS;
    (same && parts.scheme.eq_ignore_ascii_case("https"))
        .then(|| SocketAddr::new(ip, parts.port.unwrap_or(https)))
}

fn encode(host: &str, request: &Request<'_>, authorization: Option<&[u8]>) -> Vec<u8> {
    let body = request.body.unwrap_or_default();
    let mut out = Vec::with_capacity(512 + body.len());
    // Writing to a Vec can't fail.
    let _ = write!(
        out,
        "{} {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: lss\r\nAccept: */*\r\n{}Connection: keep-alive\r\n",
        request.method,
        request.target,
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

fn host_header(door: Door) -> String {
    let host = match door.at.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let [https, ..] = HTTPS;
    let usual = if door.tls { https } else { HTTP };
    if door.at.port() == usual {
        host
    } else {
        format!("{host}:{}", door.at.port())
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

fn write_all(wire: &mut Wire, message: &[u8], deadline: Instant) -> Result<(), Failure> {
    let mut rest = message;
    while !rest.is_empty() {
        if left(deadline).is_none() {
            return Err(Failure::of(if rest.len() == message.len() {
                HttpError::TooLate
            } else {
                HttpError::Timeout("while sending")
            }));
        }
        match wire.write(rest) {
            Ok(0) => {
                return Err(Failure::of(HttpError::Lost("connection closed".to_owned())));
            }
            Ok(n) => rest = rest.get(n..).unwrap_or_default(),
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Err(why) if is_timeout(&why) => {
                return Err(Failure::of(HttpError::Timeout("while sending")));
            }
            Err(why) => return Err(Failure::of(HttpError::Lost(lost_words(&why)))),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
