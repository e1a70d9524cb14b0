//! DER (X.690), as far as certificates need it: one item read in place, one written. Pure.

/// INTEGER.
pub const INTEGER: u8 = 0x02;
/// BIT STRING.
pub const BIT_STRING: u8 = 0x03;
/// OBJECT IDENTIFIER.
pub const OID: u8 = 0x06;
/// UTF8String.
pub const UTF8_STRING: u8 = 0x0C;
/// UTCTime: two digits of the year.
pub const UTC_TIME: u8 = 0x17;
/// GeneralizedTime: four digits of the year.
pub const GENERALIZED_TIME: u8 = 0x18;
/// SEQUENCE.
pub const SEQUENCE: u8 = 0x30;
/// SET.
pub const SET: u8 = 0x31;
/// The version of a certificate, in a tag of its own.
pub const VERSION: u8 = 0xA0;
/// id-at-commonName.
pub const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];

/// Tag, content, and what follows.
pub fn item(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let length = if first < 0x80 {
        usize::from(first)
    } else {
        let count = usize::from(first & 0x7F);
        if count == 0 || count > 4 {
            return None;
        }
        let (digits, after) = rest.split_at_checked(count)?;
        rest = after;
        digits
            .iter()
            .fold(0_usize, |n, byte| (n << 8) | usize::from(*byte))
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// Content and what follows, where the tag is as expected.
pub fn expect(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    item(bytes)
        .filter(|(found, _, _)| *found == tag)
        .map(|(_, content, rest)| (content, rest))
}

/// One item of these parts.
pub fn write(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut bytes = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => bytes.push(short),
        _ => {
            let digits = length.to_be_bytes();
            let zeros = digits.iter().take_while(|digit| **digit == 0).count();
            let digits = digits.get(zeros..).unwrap_or_default();
            bytes.push(0x80 | u8::try_from(digits.len()).unwrap_or(0));
            bytes.extend_from_slice(digits);
        }
    }
    for part in parts {
        bytes.extend_from_slice(part);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for length in [0_usize, 1, 127, 128, 255, 256, 70_000] {
            let content = vec![7; length];
            let mut bytes = write(SEQUENCE, &[&content, &[8]]);
            bytes.push(9);
            let (tag, read, rest) = item(&bytes).unwrap();
            assert_eq!((tag, read.len(), rest), (SEQUENCE, length + 1, &[9][..]));
        }
        assert_eq!(write(INTEGER, &[&[0; 127]])[..2], [INTEGER, 127]);
        assert_eq!(write(INTEGER, &[&[0; 128]])[..3], [INTEGER, 0x81, 128]);
    }

    #[test]
    fn lengths_that_cannot_be_are_refused() {
        for bytes in [
            &b""[..],
            &[SEQUENCE],
            &[SEQUENCE, 1],
            &[SEQUENCE, 0x80],
            &[SEQUENCE, 0x85, 0, 0, 0, 0, 1, 7],
            &[SEQUENCE, 0x84, 0xFF, 0xFF, 0xFF, 0xFF, 7],
        ] {
            assert_eq!(item(bytes), None, "{bytes:?}");
        }
        assert_eq!(expect(&[SET, 0], SEQUENCE), None);
    }
}
