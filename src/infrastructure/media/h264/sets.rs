//! The parameter sets in force: kept as they come, so that each key picture can have them in front.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::nal::{self, Kind};
use super::sps::{Sps, read_sps};
use crate::infrastructure::media::bits::{Bits, unescape};

/// Most sets of each kind that are kept; a camera has one, some have four.
const MAX_SETS: usize = 8;
/// Longest set; a real one has a few dozen bytes.
const MAX_SET: usize = 2048;
/// H.264 7.4.2.1.1, 7.4.2.2
const MAX_SPS_ID: u32 = 31;
const MAX_PPS_ID: u32 = 255;

/// Sets by their numbers.
#[derive(Debug, Default)]
pub struct ParameterSets {
    sequence: BTreeMap<u32, Vec<u8>>,
    picture: BTreeMap<u32, Vec<u8>>,
    /// As pictures carry them; made when first asked for.
    together: Option<Arc<[Vec<u8>]>>,
}

impl ParameterSets {
    /// Takes a set in; `true` if it says something new. What can't be read, or is one too many, is
    /// left out.
    pub fn take(&mut self, unit: &[u8]) -> bool {
        let place = match nal::kind(unit) {
            Kind::Sps => &mut self.sequence,
            Kind::Pps => &mut self.picture,
            _ => return false,
        };
        let Some(id) = id(unit) else { return false };
        if place.get(&id).is_some_and(|known| known == unit)
            || unit.len() > MAX_SET
            || (place.len() >= MAX_SETS && !place.contains_key(&id))
        {
            return false;
        }
        place.insert(id, unit.to_vec());
        self.together = None;
        true
    }

    /// Sequence sets first, then picture sets; nothing while one of the kinds is missing, because
    /// no picture can be decoded then.
    pub fn together(&mut self) -> Option<Arc<[Vec<u8>]>> {
        if self.sequence.is_empty() || self.picture.is_empty() {
            return None;
        }
        let together = self.together.get_or_insert_with(|| {
            let all = self.sequence.values().chain(self.picture.values());
            all.cloned().collect()
        });
        Some(Arc::clone(together))
    }

    /// What the sequence sets say of the pictures.
    pub fn sequence(&self) -> impl Iterator<Item = Sps> {
        self.sequence.values().filter_map(|unit| read_sps(unit))
    }
}

/// The number of a set.
fn id(unit: &[u8]) -> Option<u32> {
    let start = match nal::kind(unit) {
        // Profile, constraints and level come first.
        Kind::Sps => 4,
        Kind::Pps => 1,
        _ => return None,
    };
    let head = unescape(unit.get(start..unit.len().min(start + 16))?);
    let most = if start == 4 { MAX_SPS_ID } else { MAX_PPS_ID };
    Bits::new(&head).unsigned_to(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `id` 0 = `1…`, 1 = `010…`.
    const SPS: [u8; 6] = [0x67, 66, 0xc0, 31, 0b1000_0000, 1];
    const OTHER_SPS: [u8; 6] = [0x67, 66, 0xc0, 31, 0b0100_0000, 1];
    const PPS: [u8; 3] = [0x68, 0b1000_0000, 1];

    #[test]
    fn sets_stand_in_order_and_only_together() {
        let mut sets = ParameterSets::default();
        assert_eq!(sets.together(), None);
        assert!(sets.take(&PPS));
        assert_eq!(sets.together(), None, "no sequence set");
        assert!(sets.take(&OTHER_SPS));
        assert!(sets.take(&SPS));
        let want = [SPS.to_vec(), OTHER_SPS.to_vec(), PPS.to_vec()];
        assert_eq!(sets.together().unwrap()[..], want);
        assert!(!sets.take(&SPS), "known");
    }

    #[test]
    fn a_new_set_takes_the_place_of_its_number() {
        let mut sets = ParameterSets::default();
        sets.take(&SPS);
        sets.take(&PPS);
        let mut changed = PPS;
        changed[2] = 2;
        assert!(sets.take(&changed));
        assert_eq!(
            sets.together().unwrap()[..],
            [SPS.to_vec(), changed.to_vec()]
        );
    }

    #[test]
    fn what_is_no_set_and_what_is_too_much_is_left_out() {
        let mut sets = ParameterSets::default();
        for unit in [
            &[][..],
            &[0x67],
            &[0x67, 66, 0, 31],
            &[0x68],
            &[0x65, 0x80],
            &[0x68, 0, 0, 0],
        ] {
            assert!(!sets.take(unit), "{unit:?}");
        }
        let mut long = PPS.to_vec();
        long.resize(MAX_SET + 1, 1);
        assert!(!sets.take(&long));
        // Numbers 0 to 8 as exp-Golomb.
        let numbers: [u8; 9] = [
            0b1000_0000,
            0b0100_0000,
            0b0110_0000,
            0b0010_0000,
            0b0010_1000,
            0b0011_0000,
            0b0011_1000,
            0b0001_0000,
            0b0001_0010,
        ];
        let taken = numbers
            .iter()
            .filter(|n| sets.take(&[0x68, **n, 1]))
            .count();
        assert_eq!(taken, MAX_SETS);
    }
}
