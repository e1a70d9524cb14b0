//! RTSP messages (RFC 2326), both ways, without a socket.
//!
//! Owns the framing: bytes go in as they come, whole messages come out; what a head is like is
//! [`head`](super::head)'s. Knows no login, no sequence of requests and no meaning. Lenient where
//! servers are known to be careless, bounded everywhere: what stands before an answer and is none is
//! stepped over, where RTSP was spoken before or follows at once; a length that is no length, or longer
//! than what comes, ends with the connection or a silence.

use super::head::{Head, Headers, Start, first_line};
use crate::util::foreign;

/// Longest head of a message, in bytes.
pub const MAX_HEAD: usize = 8 * 1024;
/// Longest body of a message, in bytes.
pub const MAX_BODY: usize = 64 * 1024;
/// How an answer begins.
const BEGINS: &[u8] = b"RTSP/1.";
/// Most characters of an unknown answer that are shown.
const SHOWN: usize = 60;

/// Why what came is no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Another protocol, or none. The words say which.
    #[error("{0}")]
    NotRtsp(String),
    /// Head or body over its limit.
    #[error("an RTSP message over {0} bytes")]
    TooLong(usize),
    /// RTSP that contradicts itself.
    #[error("broken RTSP: {0}")]
    Malformed(&'static str),
    /// The connection ended inside a message.
    #[error("the connection ended in the middle of an answer")]
    CutShort,
}

/// An answer, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// What stands behind it.
    pub reason: String,
    headers: Headers,
    /// Body.
    pub body: Vec<u8>,
}

impl Response {
    /// Every value of a header; `name` in lower case.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.headers.all(name)
    }

    /// The first value of a header, as text; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers.text(name)
    }

    /// The number that ties it to its request.
    pub fn cseq(&self) -> Option<u32> {
        self.header("cseq")?.parse().ok()
    }

    /// 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// An answer.
    Response(Response),
    /// A request of the server's.
    Request {
        /// `OPTIONS`, `SET_PARAMETER`, …
        method: String,
        /// Its number, as it came.
        cseq: Option<String>,
    },
    /// Media between messages (RFC 2326 10.12).
    Frame {
        /// Channel.
        channel: u8,
        /// An RTP or RTCP packet.
        payload: Vec<u8>,
    },
}

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    After(usize),
    /// An answer with a type and no length: with the connection, or with a silence.
    WithTheConnection,
}

/// An answer or a request whose head is read, and its body is not.
#[derive(Debug)]
struct Begun {
    head: Head,
    ends: Ends,
}

/// Bytes to messages.
#[derive(Debug, Default)]
pub struct Inbox {
    buffer: Vec<u8>,
    begun: Option<Begun>,
    /// A message has come before: there is a server of RTSP at the other end.
    heard: bool,
}

impl Inbox {
    /// Takes what the socket gave. Call [`Inbox::next_message`] until it has no more, then feed
    /// again: that bounds what is kept.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, if it is there. After an error nothing more can be read.
    pub fn next_message(&mut self) -> Result<Option<Incoming>, MessageError> {
        if self.begun.is_none() {
            // Blank lines between messages, and what fills a buffer up.
            let blank = self
                .buffer
                .iter()
                .take_while(|b| matches!(b, b'\r' | b'\n' | 0))
                .count();
            self.buffer.drain(..blank);
            match self.buffer.first() {
                None => return Ok(None),
                Some(b'$') => return Ok(self.frame()),
                Some(_) => {}
            }
            self.begun = self.begin()?;
        }
        let Some(begun) = &self.begun else {
            return Ok(None);
        };
        let Ends::After(length) = begun.ends else {
            if self.buffer.len() > MAX_BODY {
                return Err(MessageError::TooLong(MAX_BODY));
            }
            return Ok(None);
        };
        if self.buffer.len() < length {
            return Ok(None);
        }
        Ok(self.finish_message(length))
    }

    /// An answer has begun whose end only the connection's end or a silence tells; one that has a
    /// length and may be shorter, too, where it stands at the end of a line.
    pub fn is_open_ended(&self) -> bool {
        match &self.begun {
            Some(begun) => match begun.ends {
                Ends::WithTheConnection => true,
                Ends::After(length) => {
                    let lines_end = self.buffer.iter().rfind(|b| **b != 0) == Some(&b'\n');
                    lines_end && self.buffer.len() < length && begun.is_answer()
                }
            },
            None => false,
        }
    }

    /// Nothing more comes: what there is of an open-ended answer is all of it.
    pub fn end(&mut self) -> Result<Option<Incoming>, MessageError> {
        if self.is_open_ended() {
            return Ok(self.finish_message(self.buffer.len()));
        }
        if self.buffer.is_empty() && self.begun.is_none() {
            return Ok(None);
        }
        // Something without a line's end: which protocol it was can be told all the same.
        if self.begun.is_none() {
            let line = first_line(&self.buffer).unwrap_or(&self.buffer);
            if !line.starts_with(b"RTSP/1.") && !line.starts_with(b"$") {
                return Err(MessageError::NotRtsp(what_it_is(line)));
            }
        }
        Err(MessageError::CutShort)
    }

    fn frame(&mut self) -> Option<Incoming> {
        let &[_, channel, high, low, ref rest @ ..] = self.buffer.as_slice() else {
            return None;
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let payload = rest.get(..length)?.to_vec();
        self.buffer.drain(..4 + length);
        Some(Incoming::Frame { channel, payload })
    }

    fn begin(&mut self) -> Result<Option<Begun>, MessageError> {
        // Judged before the head is whole: an SSH banner is one line and no more, and other
        // protocols have no lines.
        if !self.buffer.first().is_some_and(u8::is_ascii_alphabetic) {
            return self.step_over();
        }
        let Some(line) = first_line(&self.buffer) else {
            return self.bounded_head();
        };
        match Start::read(line) {
            None => return self.step_over(),
            Some(Start::Response { status: None, .. }) => {
                return Err(MessageError::Malformed("its status is no number"));
            }
            Some(_) => {}
        }
        let Some((head, length)) = Head::read(&self.buffer) else {
            return self.bounded_head();
        };
        if length > MAX_HEAD {
            return Err(MessageError::TooLong(MAX_HEAD));
        }
        let ends = body_ends(&head)?;
        self.buffer.drain(..length);
        Ok(Some(Begun { head, ends }))
    }

    /// What the buffer begins with is no message: one may follow, of a server that has printed
    /// something first, or sent more than it said.
    fn step_over(&mut self) -> Result<Option<Begun>, MessageError> {
        let next = (1..self.buffer.len()).find(|at| begins(&self.buffer, *at));
        match next {
            Some(at) => {
                self.buffer.drain(..at);
                self.begin()
            }
            None if self.heard && self.buffer.len() <= MAX_BODY => Ok(None),
            None => Err(MessageError::NotRtsp(what_it_is(&self.buffer))),
        }
    }

    fn bounded_head(&self) -> Result<Option<Begun>, MessageError> {
        if self.buffer.len() > MAX_HEAD {
            Err(MessageError::TooLong(MAX_HEAD))
        } else {
            Ok(None)
        }
    }

    fn finish_message(&mut self, length: usize) -> Option<Incoming> {
        let Head { start, headers } = self.begun.take()?.head;
        self.heard = true;
        let body: Vec<u8> = self.buffer.drain(..length).collect();
        Some(match start {
            Start::Response { status, reason } => Incoming::Response(Response {
                // `begin` lets none through without.
                status: status?,
                reason,
                headers,
                body,
            }),
            Start::Request { method } => Incoming::Request {
                method,
                cseq: headers.text("cseq"),
            },
        })
    }
}

impl Begun {
    fn is_answer(&self) -> bool {
        matches!(self.head.start, Start::Response { .. })
    }
}

fn begins(bytes: &[u8], at: usize) -> bool {
    bytes
        .get(at..at + BEGINS.len())
        .is_some_and(|word| word.eq_ignore_ascii_case(BEGINS))
}

/// What all lengths of a head say, if they are numbers and the same.
fn length(head: &Head) -> Option<usize> {
    let mut numbers = head.headers.all("content-length").map(|value| {
        let digits = std::str::from_utf8(value).ok()?;
        let digits = digits.trim_end_matches('\0');
        let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        // Digits that don't parse are more than there can be.
        is_number.then(|| digits.parse().unwrap_or(usize::MAX))
    });
    let first = numbers.next()??;
    numbers.all(|other| other == Some(first)).then_some(first)
}

fn body_ends(head: &Head) -> Result<Ends, MessageError> {
    match length(head) {
        Some(n) if n > MAX_BODY => Err(MessageError::TooLong(MAX_BODY)),
        Some(n) => Ok(Ends::After(n)),
        // By RFC 2326 12.14 there is no body then. Some servers just leave the length out.
        None => Ok(match head.start {
            Start::Response {
                status: Some(200..300),
                ..
            } if head.headers.all("content-type").next().is_some() => Ends::WithTheConnection,
            _ => Ends::After(0),
        }),
    }
}

/// Something that is not RTSP, in words for a person.
fn what_it_is(line: &[u8]) -> String {
    let first = line.split(|b| *b == b'\n').next().unwrap_or_default();
    let shown = foreign::shown_bytes(first, SHOWN).replace(char::REPLACEMENT_CHARACTER, "");
    let kind = if line.starts_with(b"HTTP/") {
        "an HTTP server"
    } else if line.starts_with(b"SSH-") {
        "an SSH server"
    } else if line.starts_with(&[0x15, 3]) || line.starts_with(&[0x16, 3]) {
        "a TLS server"
    } else {
        "something that is not RTSP"
    };
    let shown = shown.trim();
    if shown.is_empty() {
        format!("{kind} answers there")
    } else {
        format!("{kind} answers there: {shown}")
    }
}

/// Writes a request. Header values and the URL come from places that let no control characters
/// through; any that are there are left out, because they would end the line.
pub fn write_request(method: &str, url: &str, cseq: u32, headers: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    let mut line = |parts: &[&[u8]]| {
        for part in parts {
            out.extend(part.iter().filter(|b| !b.is_ascii_control()));
        }
        out.extend_from_slice(b"\r\n");
    };
    let cseq = cseq.to_string();
    line(&[method.as_bytes(), b" ", url.as_bytes(), b" RTSP/1.0"]);
    // Spelled so: some servers look for these letters.
    line(&[b"CSeq: ", cseq.as_bytes()]);
    // Some servers refuse whoever does not name itself.
    line(&[b"User-Agent: lss"]);
    for (name, value) in headers {
        line(&[name.as_bytes(), b": ", value]);
    }
    line(&[]);
    out
}

/// Writes an answer without a body to a request of the server's.
pub fn write_response(status: u16, reason: &str, cseq: Option<&str>) -> Vec<u8> {
    let cseq: String = cseq
        .unwrap_or("0")
        .chars()
        .filter(char::is_ascii_digit)
        .take(10)
        .collect();
    format!("RTSP/1.0 {status} {reason}\r\nCSeq: {cseq}\r\n\r\n").into_bytes()
}

/// A URL as it may stand on a request line: no user info, blanks and non-ASCII encoded. `None`
/// for what is no RTSP URL with a host; one that wants TLS is none here.
pub fn request_url(url: &str) -> Option<String> {
    written(url, &["rtsp"])
}

/// The same for whoever can speak TLS, too: `rtsps` stays what it is.
pub fn request_url_or_secure(url: &str) -> Option<String> {
    written(url, &["rtsp", "rtsps"])
}

fn written(url: &str, schemes: &[&str]) -> Option<String> {
    let parts = crate::util::url::split(url).ok()?;
    let scheme = parts.scheme.to_ascii_lowercase();
    if !schemes.contains(&scheme.as_str()) {
        return None;
    }
    let port = parts.port.map(|p| format!(":{p}")).unwrap_or_default();
    let mut out = format!("{scheme}://{}{port}", parts.host_in_url());
    for byte in parts.path.bytes() {
        if byte.is_ascii_graphic() {
            out.push(char::from(byte));
        } else {
            // Writing to a String can't fail.
            let _ = std::fmt::Write::write_fmt(&mut out, format_args!("%{byte:02X}"));
        }
    }
    Some(out)
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
