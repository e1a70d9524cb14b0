//! A camera's answer, and why there is none: values, whoever has read them.

/// A response, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Names in lower case, values as bytes: cameras send any encoding.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Response {
    /// Every value of a header.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.headers
            .iter()
            .filter(move |(n, _)| n == name)
            .map(|(_, v)| v.as_slice())
    }

    /// The first value of a header, as text.
    pub fn header(&self, name: &str) -> Option<String> {
        self.all(name)
            .next()
            .map(|v| String::from_utf8_lossy(v).trim().to_owned())
    }
}

/// Why there is no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// No connection; nothing was sent.
    #[error("{0}")]
    Connect(String),
    /// Out of time with nothing sent.
    #[error("out of time before anything was sent")]
    TooLate,
    /// Out of time after the request had left.
    #[error("timed out {0}")]
    Timeout(&'static str),
    /// The kept connection was dead, and the request may be sent once more.
    #[error("the kept connection was dead")]
    Dead,
    /// The connection ended before a whole answer was there.
    #[error("{0}")]
    Lost(String),
    /// The answer is over the limit.
    #[error("answer over {0} bytes cut off")]
    TooLarge(usize),
    /// Our own request, or the beginning of one, in the place of an answer.
    #[error("not an HTTP answer: our own request")]
    Echo,
    /// A TLS record in the place of an answer.
    #[error("not an HTTP answer: it speaks TLS")]
    SpeaksTls,
    /// The certificate is not the one that it has to be; nothing was sent.
    #[error("{0}")]
    Certificate(String),
    /// Not HTTP, or HTTP that contradicts itself.
    #[error("not an HTTP answer: {0}")]
    Malformed(String),
}
