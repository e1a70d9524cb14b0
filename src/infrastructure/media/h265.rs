//! The size of the pictures by an H.265 sequence parameter set (H.265 7.3.2.2, 7.3.3).

use super::bits::{Bits, unescape};

/// Most samples a side: level 6.2 ends below it.
const MAX_SIDE: u32 = 16_384;

/// Width and height as shown, of a unit with its header and without a start code.
pub fn read_size(nal: &[u8]) -> Option<(u32, u32)> {
    if nal.first()? >> 1 & 0x3f != 33 {
        return None;
    }
    let bytes = unescape(nal.get(2..)?);
    let mut bits = Bits::new(&bytes);
    bits.skip(4)?; // sps_video_parameter_set_id
    let sub_layers = usize::try_from(bits.number(3)?).ok()?;
    bits.skip(1)?; // sps_temporal_id_nesting_flag
    skip_profile_tier_level(&mut bits, sub_layers)?;
    bits.unsigned_to(15)?; // sps_seq_parameter_set_id
    let chroma = bits.unsigned_to(3)?;
    if chroma == 3 {
        bits.bit()?; // separate_colour_plane_flag
    }
    let width = bits.unsigned_to(MAX_SIDE)?;
    let height = bits.unsigned_to(MAX_SIDE)?;
    let (mut cut_x, mut cut_y) = (0, 0);
    if bits.bit()? {
        // SubWidthC, SubHeightC (table 6-1).
        let (unit_x, unit_y) = match chroma {
            1 => (2, 2),
            2 => (2, 1),
            _ => (1, 1),
        };
        let mut cut = |unit: u32| {
            let (first, second) = (bits.unsigned_to(MAX_SIDE)?, bits.unsigned_to(MAX_SIDE)?);
            Some((first + second) * unit)
        };
        cut_x = cut(unit_x)?;
        cut_y = cut(unit_y)?;
    }
    let size = (width.checked_sub(cut_x)?, height.checked_sub(cut_y)?);
    (size.0 > 0 && size.1 > 0).then_some(size)
}

/// 7.3.3
fn skip_profile_tier_level(bits: &mut Bits<'_>, sub_layers: usize) -> Option<()> {
    bits.skip(96)?; // the general profile and level
    let mut length = 0;
    for _ in 0..sub_layers {
        length += if bits.bit()? { 88 } else { 0 };
        length += if bits.bit()? { 8 } else { 0 };
    }
    if sub_layers > 0 {
        bits.skip(2 * 8_usize.checked_sub(sub_layers)?)?;
    }
    bits.skip(length)
}

#[cfg(test)]
mod tests {
    use super::super::bits::tests::Pen;
    use super::*;
    use proptest::prelude::*;

    const HEADER: [u8; 2] = [0x42, 0x01];

    /// A set up to the conformance window.
    fn set(sub_layers: &[(bool, bool)], size: (u32, u32), cut: Option<[u32; 4]>) -> Vec<u8> {
        let mut pen = Pen::default();
        pen.u(4, 0)
            .u(3, u32::try_from(sub_layers.len()).unwrap())
            .u(1, 1);
        let zeros = |pen: &mut Pen, count: usize| {
            for _ in 0..count {
                pen.u(1, 0);
            }
        };
        zeros(&mut pen, 96);
        for (profile, level) in sub_layers {
            pen.u(1, u32::from(*profile)).u(1, u32::from(*level));
        }
        if !sub_layers.is_empty() {
            zeros(&mut pen, 2 * (8 - sub_layers.len()));
        }
        for (profile, level) in sub_layers {
            zeros(&mut pen, if *profile { 88 } else { 0 });
            zeros(&mut pen, if *level { 8 } else { 0 });
        }
        pen.ue(0).ue(1).ue(size.0).ue(size.1);
        match cut {
            None => pen.u(1, 0),
            Some([left, right, top, bottom]) => pen.u(1, 1).ue(left).ue(right).ue(top).ue(bottom),
        };
        pen.nal(&HEADER)
    }

    #[test]
    fn sizes_with_and_without_a_window() {
        assert_eq!(read_size(&set(&[], (640, 360), None)), Some((640, 360)));
        let cut = Some([0, 0, 0, 4]);
        assert_eq!(
            read_size(&set(&[], (1920, 1088), cut)),
            Some((1920, 1080)),
            "4:2:0: units of two lines"
        );
        let layers = [(true, true), (false, true)];
        assert_eq!(
            read_size(&set(&layers, (2560, 1440), None)),
            Some((2560, 1440))
        );
    }

    #[test]
    fn what_says_no_size() {
        assert_eq!(read_size(&set(&[], (0, 360), None)), None);
        assert_eq!(read_size(&set(&[], (64, 64), Some([40, 0, 0, 0]))), None);
        assert_eq!(read_size(&[0x67, 0x42, 0, 0x1f]), None);
        let whole = set(&[], (640, 360), None);
        assert_eq!(read_size(&whole[..10]), None);
        assert_eq!(read_size(&[]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_make_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let mut nal = HEADER.to_vec();
            nal.extend(bytes);
            let _ = read_size(&nal);
        }
    }
}
