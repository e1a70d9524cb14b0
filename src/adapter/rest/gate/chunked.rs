//! Chunked bodies taken apart (RFC 9112, 7.1), strictly and with bounds. Pure.

use super::head::Refusal;

/// Bytes of chunk extensions and trailers in all; nobody sends any.
const MAX_EXTRA: usize = 4 * 1024;

/// Where the decoder stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In the hex digits of a size; how many there were.
    Size(u8),
    /// In an extension, which is skipped.
    Extension,
    /// Behind the CR of a size line.
    SizeEnd,
    /// In data.
    Data,
    /// Behind data.
    DataCr,
    /// Behind the CR behind data.
    DataLf,
    /// At the start of a trailer line.
    TrailerStart,
    /// In a trailer line.
    Trailer,
    /// Behind the CR of a trailer line.
    TrailerLf,
    /// Behind the CR of the empty line that ends it all.
    LastLf,
    /// Through.
    Done,
}

/// A body that is being read.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    left: usize,
    extra: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            state: State::Size(0),
            left: 0,
            extra: 0,
        }
    }
}

/// What a piece of input led to.
#[derive(Debug, PartialEq, Eq)]
pub enum Fed {
    /// More is needed.
    Partial,
    /// The body is complete; what follows belongs to something else.
    Complete,
    /// The body is longer than it may be.
    Oversize,
}

impl Decoder {
    /// Takes the next piece; appends data to `body`, which may hold `most` bytes.
    pub fn feed(&mut self, input: &[u8], body: &mut Vec<u8>, most: usize) -> Result<Fed, Refusal> {
        let mut rest = input;
        while let Some((&byte, tail)) = rest.split_first() {
            if self.state == State::Done {
                break;
            }
            if self.state == State::Data {
                if body.len().saturating_add(self.left) > most {
                    return Ok(Fed::Oversize);
                }
                let take = self.left.min(rest.len());
                let (data, behind) = rest.split_at(take);
                body.extend_from_slice(data);
                self.left -= take;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
                rest = behind;
                continue;
            }
            self.state = self.step(byte)?;
            rest = tail;
        }
        Ok(if self.state == State::Done {
            Fed::Complete
        } else {
            Fed::Partial
        })
    }

    fn step(&mut self, byte: u8) -> Result<State, Refusal> {
        let next = match (self.state, byte) {
            (State::Size(digits), _) if byte.is_ascii_hexdigit() => {
                // Eight digits are 4 GiB: far over every limit, and no overflow.
                if digits >= 8 {
                    return Err(malformed("a chunk size is out of range"));
                }
                let digit = char::from(byte).to_digit(16).unwrap_or(0) as usize;
                self.left = (self.left << 4) | digit;
                State::Size(digits + 1)
            }
            (State::Size(1..) | State::Extension, b'\r') => State::SizeEnd,
            (State::Size(1..), b';' | b' ' | b'\t') => State::Extension,
            (State::Extension, _) if byte != b'\n' => State::Extension,
            (State::SizeEnd, b'\n') if self.left == 0 => State::TrailerStart,
            (State::SizeEnd, b'\n') => State::Data,
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size(0),
            (State::TrailerStart, b'\r') => State::LastLf,
            (State::LastLf, b'\n') => State::Done,
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::TrailerStart | State::Trailer, _) if byte != b'\n' => State::Trailer,
            (State::TrailerLf, b'\n') => State::TrailerStart,
            _ => return Err(malformed("the chunks of the body are broken")),
        };
        if matches!(next, State::Extension | State::Trailer) {
            self.extra += 1;
            if self.extra > MAX_EXTRA {
                return Err(malformed("chunk extensions or trailers are too long"));
            }
        }
        Ok(next)
    }
}

fn malformed(what: &str) -> Refusal {
    Refusal::new(400, format!("the HTTP request is malformed: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &[u8], piece: usize) -> Result<(Fed, Vec<u8>), Refusal> {
        let mut decoder = Decoder::default();
        let mut body = Vec::new();
        let mut fed = Fed::Partial;
        for bytes in text.chunks(piece) {
            fed = decoder.feed(bytes, &mut body, 16)?;
            if fed == Fed::Oversize {
                break;
            }
        }
        Ok((fed, body))
    }

    #[test]
    fn whole_and_in_pieces() {
        let text = b"5\r\nhello\r\n6;x=\"y\"\r\n world\r\n0\r\nT: v\r\n\r\nGET /next";
        for piece in 1..=text.len() {
            let (fed, body) = decode(text, piece).unwrap();
            assert_eq!((fed, body.as_slice()), (Fed::Complete, &b"hello world"[..]));
        }
        assert_eq!(decode(b"0\r\n\r\n", 1).unwrap(), (Fed::Complete, vec![]));
        assert_eq!(decode(b"3\r\nab", 9).unwrap().0, Fed::Partial);
    }

    #[test]
    fn bounds() {
        assert_eq!(
            decode(b"10\r\n0123456789abcdef\r\n0\r\n\r\n", 99)
                .unwrap()
                .0,
            Fed::Complete
        );
        assert_eq!(
            decode(b"11\r\n0123456789abcdef0", 99).unwrap().0,
            Fed::Oversize
        );
        assert_eq!(
            decode(b"ffffffff\r\n0123456789abcdef0", 99).unwrap().0,
            Fed::Oversize
        );
        assert!(decode(b"100000000\r\n", 99).is_err());
        let long = format!("1;{}\r\na", "x".repeat(5000));
        assert!(decode(long.as_bytes(), 99).is_err());
        let trailers = format!("0\r\n{}\r\n", "T: v\r\n".repeat(5000));
        assert!(decode(trailers.as_bytes(), 99).is_err());
    }

    #[test]
    fn broken_chunks() {
        for text in [
            &b"\r\n"[..],
            b"x\r\n",
            b"-1\r\n",
            b"0x5\r\n",
            b"5\nhello",
            b"5\r\nhello0\r\n",
            b"5\r\nhelloXX",
            b"1;a\nb\r\n",
            b"0\r\n\n",
        ] {
            assert!(decode(text, 1).is_err(), "{text:?}");
        }
    }
}
