//! Content codings undone. Nobody is asked for one (`Accept-Encoding: identity` goes with every
//! request), and some cameras send one all the same. Pure.

use miniz_oxide::inflate::{
    DecompressError, TINFLStatus, decompress_to_vec_with_limit, decompress_to_vec_zlib_with_limit,
};

use super::answer::{HttpError, Response};

/// What goes with every request, for without it any coding is allowed (RFC 9110, 12.5.3).
pub const ACCEPT: &str = "Accept-Encoding: identity\r\n";

/// Most codings of one answer, one inside the other.
const MAX_CODINGS: usize = 3;

const GZIP: [u8; 3] = [0x1f, 0x8b, 8];

/// Undoes the codings that an answer names. One that is named and not there (some cameras say gzip
/// over plain text) is left alone, as are those that are not known: who reads the body finds out.
pub fn decode(response: &mut Response, max_body: usize) -> Result<(), HttpError> {
    let names: Vec<String> = response
        .all("content-encoding")
        .flat_map(|value| value.split(|b| *b == b','))
        .map(|name| String::from_utf8_lossy(name).trim().to_ascii_lowercase())
        .collect();
    // The last one was put on last.
    for name in names.iter().rev().take(MAX_CODINGS) {
        let plain = match name.as_str() {
            "gzip" | "x-gzip" if response.body.starts_with(&GZIP) => {
                let packed = behind_gzip_head(&response.body).ok_or_else(|| {
                    HttpError::Malformed("a gzip head that ends early".to_owned())
                })?;
                bounded(decompress_to_vec_with_limit(packed, max_body), max_body)?
            }
            "deflate" => match inflate(&response.body, max_body)? {
                Some(plain) => plain,
                None => continue,
            },
            _ => continue,
        };
        response.body = plain;
    }
    response
        .headers
        .retain(|(name, _)| name != "content-encoding");
    Ok(())
}

/// `deflate` means zlib, and is sent without zlib's head by those who take the name at its word.
/// `None` = neither, so plain.
fn inflate(body: &[u8], max_body: usize) -> Result<Option<Vec<u8>>, HttpError> {
    for unpack in [
        decompress_to_vec_zlib_with_limit,
        decompress_to_vec_with_limit,
    ] {
        match unpack(body, max_body) {
            Ok(plain) => return Ok(Some(plain)),
            Err(why) if why.status == TINFLStatus::HasMoreOutput => {
                return Err(HttpError::TooLarge(max_body));
            }
            Err(_) => {}
        }
    }
    Ok(None)
}

fn bounded(
    result: Result<Vec<u8>, DecompressError>,
    max_body: usize,
) -> Result<Vec<u8>, HttpError> {
    result.map_err(|why| match why.status {
        TINFLStatus::HasMoreOutput => HttpError::TooLarge(max_body),
        _ => HttpError::Malformed("gzip that can't be unpacked".to_owned()),
    })
}

/// What stands behind the head of a gzip member (RFC 1952, 2.3).
fn behind_gzip_head(bytes: &[u8]) -> Option<&[u8]> {
    const CHECKSUM: u8 = 2;
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    let flags = *bytes.get(3)?;
    let mut rest = bytes.get(10..)?;
    if flags & EXTRA != 0 {
        let len = usize::from(u16::from_le_bytes([*rest.first()?, *rest.get(1)?]));
        rest = rest.get(2 + len..)?;
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            let end = rest.iter().position(|b| *b == 0)?;
            rest = rest.get(end + 1..)?;
        }
    }
    if flags & CHECKSUM != 0 {
        rest = rest.get(2..)?;
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use miniz_oxide::deflate::{compress_to_vec, compress_to_vec_zlib};
    use proptest::prelude::*;

    const PLAIN: &[u8] = b"<a>plain, plain, plain, plain</a>";

    fn gzip(flags: u8, more: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut out = vec![0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 3];
        out.extend_from_slice(more);
        out.extend_from_slice(&compress_to_vec(plain, 6));
        // Checksum and length, which nobody looks at.
        out.extend_from_slice(&[0; 8]);
        out
    }

    fn decoded(codings: &[&str], body: Vec<u8>, max: usize) -> Result<Vec<u8>, HttpError> {
        let mut response = Response {
            status: 200,
            headers: codings
                .iter()
                .map(|c| ("content-encoding".to_owned(), c.as_bytes().to_vec()))
                .collect(),
            body,
        };
        decode(&mut response, max)?;
        assert_eq!(response.header("content-encoding"), None);
        Ok(response.body)
    }

    /// Cameras that compress unasked, and one that says it does (docs/cameras.md).
    #[test]
    fn codings_that_nobody_asked_for_are_undone() {
        let zlib = compress_to_vec_zlib(PLAIN, 6);
        for (codings, body) in [
            (vec!["gzip"], gzip(0, b"", PLAIN)),
            (vec!["x-gzip"], gzip(0, b"", PLAIN)),
            (vec![" GZip "], gzip(8 | 16, b"name\0comment\0", PLAIN)),
            (vec!["gzip"], gzip(4 | 2, b"\x03\0abc\x01\x02", PLAIN)),
            (vec!["deflate"], zlib.clone()),
            (vec!["deflate"], compress_to_vec(PLAIN, 6)),
            (vec!["deflate, gzip"], gzip(0, b"", &zlib)),
            (vec!["deflate", "identity", "gzip"], gzip(0, b"", &zlib)),
            (vec!["gzip"], PLAIN.to_vec()),
            (vec!["deflate"], PLAIN.to_vec()),
            (vec!["br"], PLAIN.to_vec()),
            (vec![], PLAIN.to_vec()),
        ] {
            let read = decoded(&codings, body, 1000);
            assert_eq!(read.as_deref(), Ok(PLAIN), "{codings:?}");
        }
        assert_eq!(decoded(&["gzip"], Vec::new(), 1000), Ok(Vec::new()));
    }

    #[test]
    fn what_unpacks_to_more_than_the_limit_is_cut_off() {
        let bomb = vec![0; 10_000_000];
        for (coding, body) in [
            ("gzip", gzip(0, b"", &bomb)),
            ("deflate", compress_to_vec_zlib(&bomb, 9)),
            ("deflate", compress_to_vec(&bomb, 9)),
        ] {
            assert!(body.len() < 50_000);
            assert_eq!(
                decoded(&[coding], body, 100_000),
                Err(HttpError::TooLarge(100_000)),
                "{coding}"
            );
        }
        let mut cut = gzip(0, b"", &[7; 5000]);
        cut.truncate(15);
        assert!(matches!(
            decoded(&["gzip"], cut, 10_000),
            Err(HttpError::Malformed(_))
        ));
    }

    proptest! {
        #[test]
        fn any_bytes_make_no_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            flags in any::<u8>(),
            coding in proptest::sample::select(vec!["gzip", "deflate", "gzip, deflate"]),
        ) {
            for body in [bytes.clone(), [&[0x1f, 0x8b, 8, flags][..], &bytes].concat()] {
                if let Ok(plain) = decoded(&[coding], body, 4096) {
                    prop_assert!(plain.len() <= 4096);
                }
            }
        }
    }
}
