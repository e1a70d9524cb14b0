//! NAL units: their kinds, their borders in a byte stream, and what a slice says at its beginning
//! (H.264 7.3.1, 7.3.3, annex B).

use crate::infrastructure::media::bits::{Bits, unescape};

/// What a unit is, as far as passing it on depends on it (H.264 table 7-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Part of a picture that refers to others.
    Slice,
    /// Part of a picture that stands for itself, and after which nothing refers to what came before.
    KeySlice,
    /// Sequence parameter set.
    Sps,
    /// Picture parameter set.
    Pps,
    /// Supplemental information, delimiters and the like: stands before a picture, and no decoder
    /// needs it.
    Beside,
    /// Filler, ends of sequences, and what no camera sends.
    Other,
}

/// By the unit's first byte; an empty one is [`Kind::Other`].
pub fn kind(unit: &[u8]) -> Kind {
    match unit.first().map(|header| header & 0x1f) {
        Some(1..=4) => Kind::Slice,
        Some(5) => Kind::KeySlice,
        Some(7) => Kind::Sps,
        Some(8) => Kind::Pps,
        Some(6 | 9 | 14..=18) => Kind::Beside,
        _ => Kind::Other,
    }
}

/// The beginning of a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// It begins a picture: its first macroblock is the picture's.
    pub begins: bool,
    /// It may refer to pictures that are shown later (a B slice).
    pub bidirectional: bool,
}

/// Longest beginning that is read: two numbers of at most 63 bits, with their escapes.
const SLICE_HEAD: usize = 24;

/// Of a whole slice, header byte included; `None` where it is too short or broken.
pub fn read_slice(unit: &[u8]) -> Option<Slice> {
    let head = unescape(unit.get(1..)?.get(..SLICE_HEAD).or_else(|| unit.get(1..))?);
    let mut bits = Bits::new(&head);
    let first_macroblock = bits.unsigned()?;
    let kind = bits.unsigned_to(9)?;
    Some(Slice {
        begins: first_macroblock == 0,
        bidirectional: kind % 5 == 1,
    })
}

/// The units between start codes; the whole, where there is none. Nothing that is a unit holds a
/// start code (7.4.1), so cutting at each of them harms none. Zeros at an end belong to no unit.
pub fn split(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        loop {
            let here = rest?;
            let unit = if let Some(at) = start_code(here) {
                rest = here.get(at + 3..);
                here.get(..at)?
            } else {
                rest = None;
                here
            };
            let zeros = unit.iter().rev().take_while(|byte| **byte == 0).count();
            let unit = unit.get(..unit.len() - zeros)?;
            if !unit.is_empty() {
                return Some(unit);
            }
        }
    })
}

/// Units of an aggregate (RFC 6184 5.7.1); what is cut short ends it.
pub fn aggregated(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = bytes.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        let unit = rest.get(..length)?;
        bytes = rest.get(length..)?;
        Some(unit)
    })
}

/// Where the next `00 00 01` stands.
fn start_code(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    // Looks at each third byte, mostly: one over 1 can be no part of a start code.
    while let Some(&third) = bytes.get(at + 2) {
        if third > 1 {
            at += 3;
        } else if third == 1 && bytes.get(at..at + 2) == Some(&[0, 0]) {
            return Some(at);
        } else {
            at += 1;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(bytes: &[u8]) -> Vec<&[u8]> {
        split(bytes).collect()
    }

    #[test]
    fn units_are_cut_at_start_codes_of_either_length() {
        assert_eq!(cut(&[0x65, 1, 2]), [&[0x65, 1, 2][..]]);
        assert_eq!(
            cut(&[0, 0, 0, 1, 0x67, 9, 0, 0, 1, 0x68, 8, 0, 0, 0, 1, 0x65, 7]),
            [&[0x67, 9][..], &[0x68, 8], &[0x65, 7]]
        );
        // Zeros at the end, an empty unit, nothing at all.
        assert_eq!(cut(&[0x61, 5, 0, 0]), [&[0x61, 5][..]]);
        assert_eq!(cut(&[0, 0, 1, 0, 0, 1, 0x41, 3]), [&[0x41, 3][..]]);
        assert!(cut(&[0, 0, 1]).is_empty());
        assert!(cut(&[]).is_empty());
    }

    #[test]
    fn a_slice_tells_where_it_begins_and_whether_it_looks_ahead() {
        let slice = |bytes: &[u8]| read_slice(bytes);
        // first_mb 0 = `1`, slice_type 5 (P) = `00110`.
        let p = Slice {
            begins: true,
            bidirectional: false,
        };
        assert_eq!(slice(&[0x41, 0b1001_1000]), Some(p));
        // slice_type 6 (B) = `00111`, 1 (B) = `010`.
        let b = Slice {
            begins: true,
            bidirectional: true,
        };
        assert_eq!(slice(&[0x01, 0b1001_1100]), Some(b));
        assert_eq!(slice(&[0x01, 0b1010_0000]), Some(b));
        // first_mb 1 = `010`, slice_type 7 (I) = `0001000`.
        let later = Slice {
            begins: false,
            bidirectional: false,
        };
        assert_eq!(slice(&[0x65, 0b0100_0010, 0]), Some(later));
        // slice_type 10 is none; nothing there.
        assert_eq!(slice(&[0x65, 0b1000_1011]), None);
        assert_eq!(slice(&[0x65]), None);
        assert_eq!(slice(&[]), None);
    }

    proptest! {
        #[test]
        fn cutting_finds_what_a_plain_search_finds(
            bytes in proptest::collection::vec(prop_oneof![3 => Just(0_u8), 2 => Just(1), 2 => any::<u8>()], 0..60),
        ) {
            let at = bytes.windows(3).position(|three| three == [0, 0, 1]);
            prop_assert_eq!(start_code(&bytes), at);
            for unit in split(&bytes) {
                prop_assert_eq!(start_code(unit), None);
                prop_assert!(unit.last() != Some(&0));
            }
        }
    }
}
