//! Bits of a parameter set: fixed-length and exp-Golomb numbers, emulation prevention undone
//! (H.264 7.2, 7.3.1, 9.1; H.265 the same). Reads past the end as `None`, never panics.

/// Longest parameter set that is looked at, in bytes; a real one has a few dozen.
const MAX_SET: usize = 4096;
/// Most zeros before an exp-Golomb number: its value fits 32 bits.
const MAX_ZEROS: u32 = 31;

/// Without the `03` of every `00 00 03` (H.264 7.4.1), cut at [`MAX_SET`].
pub fn unescape(nal: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(nal.len().min(MAX_SET));
    let mut zeros = 0_u8;
    for &byte in nal.iter().take(MAX_SET) {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 {
            zeros.saturating_add(1)
        } else {
            0
        };
        out.push(byte);
    }
    out
}

/// Reads from the highest bit of the first byte on.
#[derive(Debug, Clone)]
pub struct Bits<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
}

impl<'a> Bits<'a> {
    /// Of an [unescaped](unescape) unit.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// One bit.
    pub fn bit(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }

    /// `u(count)`, 32 bits at most.
    pub fn number(&mut self, count: u32) -> Option<u32> {
        if count > 32 {
            return None;
        }
        let mut value = 0_u64;
        for _ in 0..count {
            value = value << 1 | u64::from(self.bit()?);
        }
        u32::try_from(value).ok()
    }

    /// Steps over so many bits.
    pub fn skip(&mut self, count: usize) -> Option<()> {
        let at = self.at.checked_add(count)?;
        (at <= self.bytes.len().checked_mul(8)?).then(|| self.at = at)
    }

    /// `ue(v)`: 0 to 2^32 - 2.
    pub fn unsigned(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
            if zeros > MAX_ZEROS {
                return None;
            }
        }
        let tail = u64::from(self.number(zeros)?);
        u32::try_from((1_u64 << zeros) - 1 + tail).ok()
    }

    /// `ue(v)` that may not be over `limit`.
    pub fn unsigned_to(&mut self, limit: u32) -> Option<u32> {
        self.unsigned().filter(|v| *v <= limit)
    }

    /// `se(v)`.
    pub fn signed(&mut self) -> Option<i64> {
        let code = i64::from(self.unsigned()?);
        let size = (code + 1) / 2;
        Some(if code % 2 == 1 { size } else { -size })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Writes what [`Bits`] reads. For the tests of the parameter sets.
    #[derive(Debug, Default)]
    pub struct Pen {
        bits: Vec<bool>,
    }

    impl Pen {
        pub fn u(&mut self, count: u32, value: u32) -> &mut Self {
            for at in (0..count).rev() {
                self.bits.push(value >> at & 1 == 1);
            }
            self
        }

        pub fn ue(&mut self, value: u32) -> &mut Self {
            let code = u64::from(value) + 1;
            let length = 64 - code.leading_zeros();
            for _ in 1..length {
                self.bits.push(false);
            }
            for at in (0..length).rev() {
                self.bits.push(code >> at & 1 == 1);
            }
            self
        }

        pub fn se(&mut self, value: i32) -> &mut Self {
            let code = if value > 0 {
                2 * value.unsigned_abs() - 1
            } else {
                2 * value.unsigned_abs()
            };
            self.ue(code)
        }

        /// The whole unit: its header, the stop bit, emulation prevention.
        pub fn nal(&self, header: &[u8]) -> Vec<u8> {
            let mut bits = self.bits.clone();
            bits.push(true);
            bits.resize(bits.len().next_multiple_of(8), false);
            let mut out = header.to_vec();
            let mut zeros = 0;
            for eight in bits.chunks(8) {
                let byte = eight.iter().fold(0_u8, |b, bit| b << 1 | u8::from(*bit));
                if zeros >= 2 && byte <= 3 {
                    out.push(3);
                    zeros = 0;
                }
                zeros = if byte == 0 { zeros + 1 } else { 0 };
                out.push(byte);
            }
            out
        }
    }

    #[test]
    fn exp_golomb_as_in_the_standards_table() {
        // H.264 table 9-2: 1, 010, 011, 00100, 00101.
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        let read: Vec<u32> = (0..5).map(|_| bits.unsigned().unwrap()).collect();
        assert_eq!(read, [0, 1, 2, 3, 4]);
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        let read: Vec<i64> = (0..5).map(|_| bits.signed().unwrap()).collect();
        assert_eq!(read, [0, 1, -1, 2, -2]);
    }

    #[test]
    fn too_many_zeros_and_the_end_are_no_number() {
        assert_eq!(Bits::new(&[0; 16]).unsigned(), None);
        assert_eq!(Bits::new(&[0, 0]).unsigned(), None);
        assert_eq!(Bits::new(&[]).bit(), None);
        assert_eq!(Bits::new(&[0xff; 5]).number(33), None);
        assert_eq!(Bits::new(&[0xff; 5]).number(32), Some(u32::MAX));
        let mut bits = Bits::new(&[0xff]);
        assert_eq!(bits.skip(9), None);
        assert_eq!(bits.skip(8), Some(()));
        assert_eq!(bits.skip(usize::MAX), None);
        // 31 zeros, a one, 31 ones: the highest there is.
        let highest = [0, 0, 0, 1, 0xff, 0xff, 0xff, 0xfe];
        assert_eq!(Bits::new(&highest).unsigned(), Some(u32::MAX - 1));
    }

    #[test]
    fn emulation_prevention_is_taken_out() {
        assert_eq!(unescape(&[0, 0, 3, 1, 0, 0, 3]), [0, 0, 1, 0, 0]);
        assert_eq!(unescape(&[0, 0, 3, 0, 0, 3, 0]), [0, 0, 0, 0, 0]);
        assert_eq!(unescape(&[0, 3, 0, 4]), [0, 3, 0, 4]);
        assert_eq!(unescape(&vec![1; 9000]).len(), MAX_SET);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            numbers in proptest::collection::vec((0..u32::MAX, any::<i16>(), 1..=32_u32), 1..20),
        ) {
            let mut pen = Pen::default();
            for (value, signed, count) in &numbers {
                let cut = value & (u32::MAX >> (32 - count));
                pen.ue(*value).se((*signed).into()).u(*count, cut);
            }
            let bytes = unescape(&pen.nal(&[]));
            let mut bits = Bits::new(&bytes);
            for (value, signed, count) in numbers {
                prop_assert_eq!(bits.unsigned(), Some(value));
                prop_assert_eq!(bits.signed(), Some(signed.into()));
                let cut = value & (u32::MAX >> (32 - count));
                prop_assert_eq!(bits.number(count), Some(cut));
            }
        }
    }
}
