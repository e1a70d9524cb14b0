//! Heads of RTSP messages (RFC 2326 4 to 7): a first line and headers, out of bytes. Pure.
//!
//! Takes what careless servers write: bare line feeds, blanks around names, folded lines, lines
//! that are no header. Knows no body and gives no faults: what a head is worth, and how long it may
//! be, is for its readers to judge.

/// Most headers of a message.
const MAX_HEADERS: usize = 96;

/// A first line, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// An answer's.
    Response {
        /// Status code; `None` = what stands there is none.
        status: Option<u16>,
        /// What stands behind it.
        reason: String,
    },
    /// A request's.
    Request {
        /// `OPTIONS`, `SET_PARAMETER`, …
        method: String,
    },
}

impl Start {
    /// Of a line without its end; `None` = not RTSP 1.
    pub fn read(line: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(line);
        let (version, rest) = text.split_at_checked(7).unwrap_or(("", ""));
        if version.eq_ignore_ascii_case("RTSP/1.") {
            let (_version, rest) = next_word(rest);
            let (status, reason) = next_word(rest);
            let status = status.parse().ok().filter(|s| (100..1000).contains(s));
            let reason = reason.to_owned();
            return Some(Self::Response { status, reason });
        }
        let mut words = text.split_ascii_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some(method), Some(_), Some(version))
                if version.starts_with("RTSP/1.")
                    && method.bytes().all(|b| b.is_ascii_uppercase() || b == b'_') =>
            {
                Some(Self::Request {
                    method: method.to_owned(),
                })
            }
            _ => None,
        }
    }
}

/// Headers: names in lower case, and values as bytes, for cameras send any encoding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, Vec<u8>)>);

impl Headers {
    /// Of a head's lines, the first line among them. A line that begins with a blank goes on with
    /// the one before; a line that is no header is left out.
    fn read(head: &[u8]) -> Self {
        let mut out: Vec<(String, Vec<u8>)> = Vec::new();
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
        Self(out)
    }

    /// Every value of a header, in order; `name` in lower case.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.0
            .iter()
            .filter(move |(n, _)| n == name)
            .map(|(_, v)| v.as_slice())
    }

    /// The first value of a header, as text; `name` in lower case.
    pub fn text(&self, name: &str) -> Option<String> {
        let value = self.all(name).next()?;
        let value = String::from_utf8_lossy(value);
        Some(value.trim_end_matches('\0').trim().to_owned())
    }
}

/// A message without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// First line.
    pub start: Start,
    /// The rest.
    pub headers: Headers,
}

impl Head {
    /// The head that `bytes` begin with, and its length with the empty line that ends it; `None`
    /// while it is not whole, and for what is not RTSP.
    pub fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let start = Start::read(first_line(bytes)?)?;
        let (end, body) = head_end(bytes)?;
        let headers = Headers::read(bytes.get(..end).unwrap_or_default());
        Some((Self { start, headers }, body))
    }
}

/// A word, and what stands behind it; neither with blanks around it.
fn next_word(text: &str) -> (&str, &str) {
    let text = text.trim();
    text.split_once(char::is_whitespace)
        .map_or((text, ""), |(word, rest)| (word, rest.trim_start()))
}

/// Without its end; `None` = not whole yet.
pub fn first_line(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().position(|b| *b == b'\n')?;
    bytes.get(..end).map(<[u8]>::trim_ascii_end)
}

/// Where the empty line begins, and where the body does.
fn head_end(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut from = 0;
    loop {
        let end = from + bytes.get(from..)?.iter().position(|b| *b == b'\n')?;
        // Some end their lines in two carriage returns, and leave blanks in this one.
        if bytes.get(from..end)?.trim_ascii().is_empty() {
            return Some((from, end + 1));
        }
        from = end + 1;
    }
}
