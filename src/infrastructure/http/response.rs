//! Reading one HTTP/1.1 response from a camera's socket, by a deadline and within bounds. Knows no
//! login and no retry.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use super::bounded::left;
use super::coding;
use super::wire::Wire;

pub use super::answer::{HttpError, Response};

/// Longest head of a response.
const MAX_HEAD: usize = 32 * 1024;
/// Most headers of a response.
const MAX_HEADERS: usize = 96;
/// Interim (1xx) responses put up with.
const MAX_INTERIM: usize = 4;
/// A connection that has been idle for longer is not used again; a camera may name a shorter time.
const IDLE_LIMIT: Duration = Duration::from_secs(15);

pub(in crate::infrastructure) fn is_timeout(why: &io::Error) -> bool {
    matches!(
        why.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

pub(super) fn lost_words(why: &io::Error) -> String {
    match why.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            "the camera reset the connection".to_owned()
        }
        _ => format!("connection lost: {why}"),
    }
}

/// How a body ends.
pub enum Framing {
    /// There is none.
    Empty,
    /// After so many bytes.
    Length(usize),
    /// After the last chunk.
    Chunked,
    /// With the connection.
    UntilClose,
}

/// Reads one response. What is left in `buffer` afterwards belongs to no response of ours.
pub(super) struct Reader {
    pub(super) stream: Wire,
    pub(super) buffer: Vec<u8>,
    pub(super) deadline: Instant,
    pub(super) answer_seen: bool,
}

impl Reader {
    /// The response, and for how long its connection may be kept if at all.
    pub(super) fn response(
        &mut self,
        max_reply: usize,
        head_only: bool,
    ) -> Result<(Response, Option<Duration>), HttpError> {
        for _ in 0..=MAX_INTERIM {
            let head = self.head()?;
            if (100..200).contains(&head.response.status) {
                continue;
            }
            let Head {
                mut response,
                http_1_0,
            } = head;
            let framing = if head_only {
                Framing::Empty
            } else {
                framing(&response)?
            };
            let keep = match framing {
                Framing::UntilClose => None,
                _ => keep_for(&response, http_1_0),
            };
            response.body = match framing {
                Framing::Empty => Vec::new(),
                Framing::Length(n) if n > max_reply => return Err(HttpError::TooLarge(max_reply)),
                Framing::Length(n) => self.take(n)?,
                Framing::Chunked => self.chunked(max_reply)?,
                Framing::UntilClose => self.until_close(max_reply)?,
            };
            coding::decode(&mut response, max_reply)?;
            return Ok((response, keep));
        }
        Err(HttpError::Malformed("interim answers only".to_owned()))
    }

    /// Reads what has come; `false` at the end of the stream.
    fn fill(&mut self) -> Result<bool, HttpError> {
        const WAITING: HttpError = HttpError::Timeout("waiting for the answer");
        let mut chunk = [0_u8; 8 * 1024];
        loop {
            if left(self.deadline).is_none() {
                return Err(WAITING);
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(false),
                Ok(n) => {
                    self.answer_seen = true;
                    self.buffer
                        .extend_from_slice(chunk.get(..n).unwrap_or_default());
                    return Ok(true);
                }
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                Err(why) if is_timeout(&why) => return Err(WAITING),
                Err(why) => return Err(HttpError::Lost(lost_words(&why))),
            }
        }
    }

    fn need_more(&mut self) -> Result<(), HttpError> {
        if self.fill()? {
            Ok(())
        } else if self.answer_seen {
            Err(HttpError::Lost(
                "the camera closed the connection in mid-answer".to_owned(),
            ))
        } else {
            Err(HttpError::Lost(
                "the camera closed the connection without an answer".to_owned(),
            ))
        }
    }

    /// Parses and removes a head.
    fn head(&mut self) -> Result<Head, HttpError> {
        loop {
            if let Some((head, len)) = parse_head(&self.buffer)? {
                self.buffer.drain(..len);
                return Ok(head);
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(HttpError::Malformed("endless head".to_owned()));
            }
            self.need_more()?;
        }
    }

    /// Exactly `n` bytes.
    fn take(&mut self, n: usize) -> Result<Vec<u8>, HttpError> {
        while self.buffer.len() < n {
            self.need_more()?;
        }
        let rest = self.buffer.split_off(n);
        Ok(std::mem::replace(&mut self.buffer, rest))
    }

    /// A line without its end.
    fn line(&mut self) -> Result<Vec<u8>, HttpError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let mut line = self.take(end + 1)?;
                line.truncate(line.trim_ascii_end().len());
                return Ok(line);
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(HttpError::Malformed("endless chunk line".to_owned()));
            }
            self.need_more()?;
        }
    }

    fn chunked(&mut self, max_reply: usize) -> Result<Vec<u8>, HttpError> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = line
                .split(|b| *b == b';')
                .next()
                .and_then(|hex| std::str::from_utf8(hex.trim_ascii()).ok())
                .and_then(|hex| usize::from_str_radix(hex, 16).ok())
                .ok_or_else(|| HttpError::Malformed("chunk size is no number".to_owned()))?;
            if size == 0 {
                break;
            }
            if size > max_reply.saturating_sub(body.len()) {
                return Err(HttpError::TooLarge(max_reply));
            }
            body.extend_from_slice(&self.take(size)?);
            if !self.line()?.is_empty() {
                return Err(HttpError::Malformed("chunk longer than it says".to_owned()));
            }
        }
        // Trailers, of no interest; bounded like headers.
        for _ in 0..=MAX_HEADERS {
            if self.line()?.is_empty() {
                return Ok(body);
            }
        }
        Err(HttpError::Malformed("endless trailers".to_owned()))
    }

    fn until_close(&mut self, max_reply: usize) -> Result<Vec<u8>, HttpError> {
        loop {
            if self.buffer.len() > max_reply {
                return Err(HttpError::TooLarge(max_reply));
            }
            match self.fill() {
                Ok(true) => {}
                Ok(false) => return Ok(std::mem::take(&mut self.buffer)),
                // Some cameras end a body by a reset. Nobody can tell it from a loss, so the
                // parser of the body has the last word.
                Err(HttpError::Lost(_)) if !self.buffer.is_empty() => {
                    return Ok(std::mem::take(&mut self.buffer));
                }
                Err(other) => return Err(other),
            }
        }
    }
}

/// What stands before a body.
pub struct Head {
    /// Without its body.
    pub response: Response,
    /// Of the version that closes after each answer.
    pub http_1_0: bool,
}

/// A head and its length, `None` while it is incomplete. Lenient where embedded servers are
/// sloppy, and strict where leniency would blur what belongs to a body.
pub fn parse_head(bytes: &[u8]) -> Result<Option<(Head, usize)>, HttpError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut headers);
    let mut config = httparse::ParserConfig::default();
    config
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_multiple_spaces_in_response_status_delimiters(true)
        .allow_space_before_first_header_name(true)
        .ignore_invalid_headers_in_responses(true);
    match config.parse_response(&mut parsed, bytes) {
        Ok(httparse::Status::Complete(len)) => {
            let response = Response {
                status: parsed.code.unwrap_or(0),
                headers: parsed
                    .headers
                    .iter()
                    .map(|h| (h.name.to_ascii_lowercase(), h.value.to_vec()))
                    .collect(),
                body: Vec::new(),
            };
            let http_1_0 = parsed.version == Some(0);
            Ok(Some((Head { response, http_1_0 }, len)))
        }
        Ok(httparse::Status::Partial) => Ok(None),
        Err(_) if is_request(bytes) => Err(HttpError::Echo),
        // An alert or a handshake, of any version.
        Err(_) if matches!(bytes, [0x15 | 0x16, 3, ..] | [0x15]) => Err(HttpError::SpeaksTls),
        Err(why) => Err(HttpError::Malformed(why.to_string())),
    }
}

/// Some cameras hand back the buffer that they have read our request into, cut up by NULs.
fn is_request(bytes: &[u8]) -> bool {
    ["POST ", "PUT ", "GET ", "DELETE "].iter().any(|method| {
        let seen = bytes.len().min(method.len());
        seen > 0 && bytes.get(..seen) == method.as_bytes().get(..seen)
    })
}

/// How the body ends, by what its head says.
pub fn framing(response: &Response) -> Result<Framing, HttpError> {
    if matches!(response.status, 204 | 304) {
        return Ok(Framing::Empty);
    }
    let chunked = response
        .all("transfer-encoding")
        .any(|v| v.to_ascii_lowercase().ends_with(b"chunked"));
    if chunked {
        return Ok(Framing::Chunked);
    }
    let mut length = None;
    for value in response.all("content-length") {
        let n = std::str::from_utf8(value)
            .ok()
            .map(str::trim)
            .filter(|v| v.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|v| v.parse::<usize>().ok())
            .ok_or_else(|| HttpError::Malformed("Content-Length is no number".to_owned()))?;
        if length.is_some_and(|before| before != n) {
            return Err(HttpError::Malformed("two Content-Lengths".to_owned()));
        }
        length = Some(n);
    }
    Ok(match length {
        Some(0) => Framing::Empty,
        Some(n) => Framing::Length(n),
        None => Framing::UntilClose,
    })
}

/// For how long the camera keeps an idle connection, a second less than it says.
pub fn keep_for(response: &Response, http_1_0: bool) -> Option<Duration> {
    let says = |word: &str| {
        response.all("connection").any(|v| {
            v.split(|b| *b == b',')
                .any(|t| t.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
        })
    };
    if says("close") || (http_1_0 && !says("keep-alive")) {
        return None;
    }
    let Some(text) = response.header("keep-alive") else {
        return Some(IDLE_LIMIT);
    };
    let param = |name: &str| {
        text.split(',')
            .filter_map(|part| part.split_once('='))
            .find(|(n, _)| n.trim().eq_ignore_ascii_case(name))
            .and_then(|(_, v)| v.trim().parse::<u64>().ok())
    };
    if param("max") == Some(0) {
        return None;
    }
    Some(match param("timeout") {
        Some(secs) => IDLE_LIMIT.min(Duration::from_secs(secs.saturating_sub(1))),
        None => IDLE_LIMIT,
    })
}
