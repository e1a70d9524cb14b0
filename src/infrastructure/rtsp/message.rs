//! RTSP messages (RFC 2326), both ways, without a socket.
//!
//! Owns the framing: bytes go in as they come, whole messages come out. Knows no login, no
//! sequence of requests and no meaning. Lenient where servers are known to be careless, bounded
//! everywhere.

use crate::util::secret;

/// Longest head of a message, in bytes.
pub const MAX_HEAD: usize = 8 * 1024;
/// Longest body of a message, in bytes.
pub const MAX_BODY: usize = 64 * 1024;
/// Most headers of a message.
const MAX_HEADERS: usize = 96;
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

/// A header's name in lower case and its value, as bytes: cameras send any encoding.
type Headers = Vec<(String, Vec<u8>)>;

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
        values(&self.headers, name)
    }

    /// The first value of a header, as text; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<String> {
        text(&self.headers, name)
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

fn values<'a>(headers: &'a Headers, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    headers
        .iter()
        .filter(move |(n, _)| n == name)
        .map(|(_, v)| v.as_slice())
}

fn text(headers: &Headers, name: &str) -> Option<String> {
    values(headers, name)
        .next()
        .map(|v| String::from_utf8_lossy(v).trim().to_owned())
}

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    After(usize),
    /// An answer with a type and no length: with the connection, or with a silence.
    WithTheConnection,
}

/// A first line, judged.
#[derive(Debug)]
enum Start {
    Response { status: u16, reason: String },
    Request { method: String },
}

/// A head that is read, and its body is not.
#[derive(Debug)]
struct Head {
    start: Start,
    headers: Headers,
    ends: Ends,
}

/// Bytes to messages.
#[derive(Debug, Default)]
pub struct Inbox {
    buffer: Vec<u8>,
    head: Option<Head>,
}

impl Inbox {
    /// Takes what the socket gave. Call [`Inbox::next_message`] until it has no more, then feed
    /// again: that bounds what is kept.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, if it is there. After an error nothing more can be read.
    pub fn next_message(&mut self) -> Result<Option<Incoming>, MessageError> {
        if self.head.is_none() {
            // Blank lines between messages.
            let blank = self
                .buffer
                .iter()
                .take_while(|b| matches!(b, b'\r' | b'\n'))
                .count();
            self.buffer.drain(..blank);
            match self.buffer.first() {
                None => return Ok(None),
                Some(b'$') => return Ok(self.frame()),
                Some(_) => {}
            }
            self.head = self.read_head()?;
        }
        let Some(head) = &self.head else {
            return Ok(None);
        };
        let Ends::After(length) = head.ends else {
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

    /// An answer has begun whose end only the connection's end or a silence tells.
    pub fn is_open_ended(&self) -> bool {
        matches!(
            self.head,
            Some(Head {
                ends: Ends::WithTheConnection,
                ..
            })
        )
    }

    /// Nothing more comes: what there is of an open-ended answer is all of it.
    pub fn end(&mut self) -> Result<Option<Incoming>, MessageError> {
        if self.is_open_ended() {
            return Ok(self.finish_message(self.buffer.len()));
        }
        if self.buffer.is_empty() && self.head.is_none() {
            return Ok(None);
        }
        // Something without a line's end: which protocol it was can be told all the same.
        if self.head.is_none() {
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

    fn read_head(&mut self) -> Result<Option<Head>, MessageError> {
        // Judged before the head is whole: an SSH banner is one line and no more, and other
        // protocols have no lines.
        if !self.buffer.first().is_some_and(u8::is_ascii_uppercase) {
            return Err(MessageError::NotRtsp(what_it_is(&self.buffer)));
        }
        let Some(line) = first_line(&self.buffer) else {
            return self.bounded_head();
        };
        let start = read_start(line)?;
        let Some((length, behind)) = head_length(&self.buffer) else {
            return self.bounded_head();
        };
        if length > MAX_HEAD {
            return Err(MessageError::TooLong(MAX_HEAD));
        }
        let headers = read_headers(self.buffer.get(..length).unwrap_or_default());
        let ends = body_ends(&start, &headers)?;
        self.buffer.drain(..behind);
        Ok(Some(Head {
            start,
            headers,
            ends,
        }))
    }

    fn bounded_head(&self) -> Result<Option<Head>, MessageError> {
        if self.buffer.len() > MAX_HEAD {
            Err(MessageError::TooLong(MAX_HEAD))
        } else {
            Ok(None)
        }
    }

    fn finish_message(&mut self, length: usize) -> Option<Incoming> {
        let head = self.head.take()?;
        let body: Vec<u8> = self.buffer.drain(..length).collect();
        Some(match head.start {
            Start::Response { status, reason } => Incoming::Response(Response {
                status,
                reason,
                headers: head.headers,
                body,
            }),
            Start::Request { method } => Incoming::Request {
                method,
                cseq: text(&head.headers, "cseq"),
            },
        })
    }
}

/// Without its end; `None` = not whole yet.
fn first_line(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().position(|b| *b == b'\n')?;
    bytes.get(..end).map(<[u8]>::trim_ascii_end)
}

/// The head's length, and where the body begins. Lines may end in a bare LF.
fn head_length(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut from = 0;
    loop {
        let end = from + bytes.get(from..)?.iter().position(|b| *b == b'\n')?;
        if matches!(bytes.get(from..end), Some([] | [b'\r'])) {
            return Some((from, end + 1));
        }
        from = end + 1;
    }
}

fn read_start(line: &[u8]) -> Result<Start, MessageError> {
    let text = String::from_utf8_lossy(line);
    let not_rtsp = || MessageError::NotRtsp(what_it_is(line));
    if let Some(rest) = text.strip_prefix("RTSP/1.") {
        let mut words = rest.splitn(3, ' ');
        let status = words
            .nth(1)
            .and_then(|s| s.trim().parse().ok())
            .filter(|s| (100..1000).contains(s))
            .ok_or(MessageError::Malformed("its status is no number"))?;
        let reason = words.next().unwrap_or("").trim().to_owned();
        return Ok(Start::Response { status, reason });
    }
    let mut words = text.split_ascii_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some(method), Some(_), Some(version))
            if version.starts_with("RTSP/1.")
                && method.bytes().all(|b| b.is_ascii_uppercase() || b == b'_') =>
        {
            Ok(Start::Request {
                method: method.to_owned(),
            })
        }
        _ => Err(not_rtsp()),
    }
}

/// Names in lower case; a line that begins with a blank goes on with the one before; a line that
/// is no header is left out.
fn read_headers(head: &[u8]) -> Headers {
    let mut out: Headers = Vec::new();
    for line in head.split(|b| *b == b'\n').skip(1) {
        let line = line.trim_ascii_end();
        if line.first().is_some_and(|b| matches!(b, b' ' | b'\t')) {
            if let Some((_, value)) = out.last_mut() {
                value.push(b' ');
                value.extend_from_slice(line.trim_ascii_start());
            }
            continue;
        }
        let Some(colon) = line.iter().position(|b| *b == b':') else {
            continue;
        };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default();
        if out.len() < MAX_HEADERS {
            out.push((
                String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase(),
                value.trim_ascii().to_vec(),
            ));
        }
    }
    out
}

fn body_ends(start: &Start, headers: &Headers) -> Result<Ends, MessageError> {
    let mut length = None;
    for value in values(headers, "content-length") {
        let digits = std::str::from_utf8(value)
            .ok()
            .filter(|v| !v.is_empty() && v.bytes().all(|b| b.is_ascii_digit()))
            .ok_or(MessageError::Malformed("its length is no number"))?;
        // Digits that don't parse are more than there can be.
        let number: usize = digits.parse().unwrap_or(usize::MAX);
        if length.is_some_and(|before| before != number) {
            return Err(MessageError::Malformed("it has two lengths"));
        }
        length = Some(number);
    }
    match length {
        Some(n) if n > MAX_BODY => Err(MessageError::TooLong(MAX_BODY)),
        Some(n) => Ok(Ends::After(n)),
        // By RFC 2326 12.14 there is no body then. Some servers just leave the length out.
        None => Ok(match start {
            Start::Response { status, .. }
                if (200..300).contains(status)
                    && values(headers, "content-type").next().is_some() =>
            {
                Ends::WithTheConnection
            }
            _ => Ends::After(0),
        }),
    }
}

/// Something that is not RTSP, in words for a person.
fn what_it_is(line: &[u8]) -> String {
    let shown: String = String::from_utf8_lossy(line)
        .chars()
        .take_while(|c| *c != '\n')
        .filter(|c| !c.is_control() && *c != char::REPLACEMENT_CHARACTER)
        .take(SHOWN)
        .collect();
    let kind = if line.starts_with(b"HTTP/") {
        "an HTTP server"
    } else if line.starts_with(b"SSH-") {
        "an SSH server"
    } else if line.starts_with(&[0x15, 3]) || line.starts_with(&[0x16, 3]) {
        "a TLS server"
    } else {
        "something that is not RTSP"
    };
    let shown = secret::mask(shown.trim());
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
/// for what is no RTSP URL with a host.
pub fn request_url(url: &str) -> Option<String> {
    let parts = crate::util::url::split(url).ok()?;
    if !parts.scheme.eq_ignore_ascii_case("rtsp") {
        return None;
    }
    let port = parts.port.map(|p| format!(":{p}")).unwrap_or_default();
    let mut out = format!("rtsp://{}{port}", parts.host_in_url());
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
