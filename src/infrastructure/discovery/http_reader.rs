//! One HTTP response from pieces as they come, up to a bound. Pure.

use super::facts::may_begin;
use crate::infrastructure::http::coding;
use crate::infrastructure::http::response::{
    Framing, Head, Response, framing, keep_for, parse_head,
};

/// Most bytes of a response that are read. What is longer counts as far as it was read.
pub const MAX_BYTES: usize = 16 * 1024;
/// Interim (1xx) responses put up with.
const MAX_INTERIM: u8 = 2;

/// What the bytes so far are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// Not enough yet.
    More,
    /// A response, and whether its connection can be used again.
    Whole(Response, bool),
    /// No HTTP.
    NotHttp,
}

/// Reads one response.
#[derive(Default)]
pub struct HttpReader {
    buffer: Vec<u8>,
    taken: usize,
    interim: u8,
    head: Option<(Head, Framing)>,
}

impl std::fmt::Debug for HttpReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpReader")
            .field("taken", &self.taken)
            .finish_non_exhaustive()
    }
}

impl HttpReader {
    /// Nothing has come.
    pub fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// What came, while it is no response.
    pub fn head(&self) -> &[u8] {
        &self.buffer
    }

    /// Takes what came.
    pub fn received(&mut self, bytes: &[u8]) -> Read {
        let room = MAX_BYTES.saturating_sub(self.taken);
        self.taken = self.taken.saturating_add(bytes.len());
        self.buffer
            .extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
        let full = self.taken >= MAX_BYTES;
        while self.head.is_none() {
            if !may_begin(&self.buffer, b"HTTP/1.") {
                return Read::NotHttp;
            }
            // A head ends with a line; without a new one there is nothing new to parse.
            if !full && !bytes.contains(&b'\n') {
                return Read::More;
            }
            match parse_head(&self.buffer) {
                Ok(Some((head, len))) => {
                    self.buffer.drain(..len);
                    if (100..200).contains(&head.response.status) && self.interim < MAX_INTERIM {
                        self.interim += 1;
                        continue;
                    }
                    // Contradictory lengths: the end of the connection is the only one left.
                    let framing = framing(&head.response).unwrap_or(Framing::UntilClose);
                    self.head = Some((head, framing));
                }
                Ok(None) if full => return Read::NotHttp,
                Ok(None) => return Read::More,
                Err(_) => return Read::NotHttp,
            }
        }
        self.body(full)
    }

    fn body(&mut self, full: bool) -> Read {
        let Some((_, framing)) = &self.head else {
            return Read::More;
        };
        let (body, keep) = match framing {
            Framing::Empty if self.buffer.is_empty() => (Vec::new(), true),
            // Bytes that belong to nothing: this connection is out of step.
            Framing::Empty => (Vec::new(), false),
            Framing::Length(n) if self.buffer.len() >= *n => {
                let keep = self.buffer.len() == *n;
                self.buffer.truncate(*n);
                (std::mem::take(&mut self.buffer), keep)
            }
            Framing::Chunked => match dechunk(&self.buffer) {
                (body, Some(used)) => (body, used == self.buffer.len()),
                (body, None) if full => (body, false),
                _ => return Read::More,
            },
            Framing::Length(_) | Framing::UntilClose if full => {
                (std::mem::take(&mut self.buffer), false)
            }
            Framing::Length(_) | Framing::UntilClose => return Read::More,
        };
        match self.head.take() {
            Some((head, _)) => {
                let mut response = head.response;
                let keep = keep && keep_for(&response, head.http_1_0).is_some();
                response.body = body;
                Read::Whole(plain(response), keep)
            }
            None => Read::More,
        }
    }

    /// The connection ended, or time is up: what there is of a response, if its head is whole.
    pub fn ended(&mut self) -> Option<Response> {
        let (head, framing) = self.head.take()?;
        let mut response = head.response;
        let rest = std::mem::take(&mut self.buffer);
        response.body = match framing {
            Framing::Chunked => dechunk(&rest).0,
            _ => rest,
        };
        Some(plain(response))
    }
}

/// Without the codings that nobody asked for; as it came where they can't be undone.
fn plain(mut response: Response) -> Response {
    let _ = coding::decode(&mut response, MAX_BYTES);
    response
}

/// The chunks that are there, and how long all of them are if the last is among them.
fn dechunk(bytes: &[u8]) -> (Vec<u8>, Option<usize>) {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let Some((line, used)) = line(bytes, at) else {
            return (body, None);
        };
        let size = line
            .split(|b| *b == b';')
            .next()
            .and_then(|hex| std::str::from_utf8(hex.trim_ascii()).ok())
            .and_then(|hex| usize::from_str_radix(hex, 16).ok());
        let Some(size) = size else {
            return (body, Some(bytes.len()));
        };
        at = used;
        if size == 0 {
            break;
        }
        let end = at.saturating_add(size);
        match bytes.get(at..end) {
            Some(chunk) => body.extend_from_slice(chunk),
            None => {
                body.extend_from_slice(bytes.get(at..).unwrap_or_default());
                return (body, None);
            }
        }
        let Some((_, used)) = self::line(bytes, end) else {
            return (body, None);
        };
        at = used;
    }
    // Trailers, up to an empty line.
    loop {
        match line(bytes, at) {
            Some(([], used)) => return (body, Some(used)),
            Some((_, used)) => at = used,
            None => return (body, None),
        }
    }
}

/// The line at a place without its end, and where the next begins.
fn line(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = bytes.get(at..)?;
    let end = rest.iter().position(|b| *b == b'\n')?;
    Some((rest.get(..end)?.trim_ascii_end(), at + end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn in_pieces(bytes: &[u8], size: usize) -> Read {
        let mut reader = HttpReader::default();
        for piece in bytes.chunks(size.max(1)) {
            match reader.received(piece) {
                Read::More => {}
                other => return other,
            }
        }
        Read::More
    }

    #[test]
    fn bodies_by_length_by_chunks_and_by_the_end() {
        for size in [1, 3, 7, 1000] {
            let Read::Whole(one, keep) =
                in_pieces(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", size)
            else {
                panic!("{size}")
            };
            assert_eq!(
                (one.status, one.body.as_slice(), keep),
                (200, &b"hello"[..], true)
            );
            let Read::Whole(one, keep) = in_pieces(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=1\r\nhel\r\n2\r\nlo\r\n0\r\nT: 1\r\n\r\n",
                size,
            ) else {
                panic!("{size}")
            };
            assert_eq!((one.body.as_slice(), keep), (&b"hello"[..], true));
            let Read::Whole(one, _) = in_pieces(
                b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n",
                size,
            ) else {
                panic!("{size}")
            };
            assert_eq!(one.status, 401);
        }
        let mut reader = HttpReader::default();
        assert_eq!(reader.received(b"HTTP/1.0 200 OK\r\n\r\n<a"), Read::More);
        assert_eq!(reader.received(b"/>"), Read::More);
        assert_eq!(reader.ended().unwrap().body, b"<a/>");
        assert_eq!(reader.ended(), None);
    }

    #[test]
    fn what_is_no_http_is_told_at_once() {
        assert_eq!(in_pieces(b"SSH-2.0-x\r\n", 1), Read::NotHttp);
        assert_eq!(in_pieces(b"RTSP/1.0 400 Bad\r\n\r\n", 100), Read::NotHttp);
        assert_eq!(in_pieces(&vec![b'H'; 20_000], 1000), Read::NotHttp);
        let endless = [b"HTTP/1.1 200 OK\r\n".to_vec(), b"A: b\r\n".repeat(5000)].concat();
        assert_eq!(in_pieces(&endless, 1000), Read::NotHttp);
    }

    #[test]
    fn an_endless_body_counts_as_far_as_it_was_read() {
        let endless = [
            b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n".to_vec(),
            vec![b'x'; 40_000],
        ]
        .concat();
        let Read::Whole(one, keep) = in_pieces(&endless, 1400) else {
            panic!()
        };
        assert!(!keep && one.body.len() < MAX_BYTES && one.body.len() > MAX_BYTES - 1500);
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces(
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
            size in 1..100_usize,
            head in proptest::sample::select(vec![
                "", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                "HTTP/1.1 401 x\r\nContent-Length: 77\r\n\r\n",
            ]),
        ) {
            let all = [head.as_bytes(), &bytes].concat();
            let mut reader = HttpReader::default();
            for piece in all.chunks(size) {
                match reader.received(piece) {
                    Read::More => {}
                    Read::Whole(one, _) => { prop_assert!(one.body.len() <= MAX_BYTES); break }
                    Read::NotHttp => break,
                }
            }
            let _ = reader.ended();
        }
    }
}
