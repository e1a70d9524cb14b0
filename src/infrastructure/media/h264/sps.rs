//! What an H.264 sequence parameter set says of the pictures (H.264 7.3.2.1, annex E).

use crate::infrastructure::media::bits::{Bits, unescape};

/// Most samples a side; level 6.2 ends below it.
const MAX_SIDE: u32 = 16_384;
/// A frame rate over this is a broken timing.
const MAX_FPS: f64 = 1000.0;

/// What is taken from a sequence parameter set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sps {
    /// profile_idc, constraint flags, level_idc.
    pub profile: [u8; 3],
    /// Width and height as shown: the cropped part.
    pub size: (u32, u32),
    /// Frames a second; `None` where no timing is given.
    pub fps: Option<f64>,
    /// Whether pictures may be shown in another order than sent (B-frames); `None` where nothing
    /// forbids it and nothing says so.
    pub reorders: Option<bool>,
    /// Pictures may come as fields (interlaced).
    pub interlaced: bool,
}

/// Whether a unit is a sequence parameter set, by its header.
pub fn is_sps(nal: &[u8]) -> bool {
    nal.first().is_some_and(|header| header & 0x1f == 7)
}

/// Reads a unit, header included, without a start code. What follows the set is ignored. A
/// broken VUI costs only what it would have said.
pub fn read_sps(nal: &[u8]) -> Option<Sps> {
    if !is_sps(nal) {
        return None;
    }
    let bytes = unescape(nal.get(1..)?);
    let mut bits = Bits::new(&bytes);
    let mut byte = || bits.number(8).and_then(|v| u8::try_from(v).ok());
    let profile = [byte()?, byte()?, byte()?];
    let profile_idc = profile[0];
    bits.unsigned_to(31)?; // seq_parameter_set_id
    let chroma = if has_chroma(profile_idc) {
        read_chroma(&mut bits)?
    } else {
        Chroma::C420
    };
    bits.unsigned_to(12)?; // log2_max_frame_num_minus4
    let order_type = bits.unsigned_to(2)?;
    match order_type {
        0 => {
            bits.unsigned_to(12)?; // log2_max_pic_order_cnt_lsb_minus4
        }
        1 => {
            bits.bit()?; // delta_pic_order_always_zero_flag
            bits.signed()?;
            bits.signed()?;
            for _ in 0..bits.unsigned_to(255)? {
                bits.signed()?;
            }
        }
        _ => {}
    }
    bits.unsigned_to(16)?; // max_num_ref_frames
    bits.bit()?; // gaps_in_frame_num_value_allowed_flag
    let (size, interlaced) = read_size(&mut bits, chroma)?;
    let vui = if bits.bit() == Some(true) {
        read_vui(&mut bits)
    } else {
        Vui::default()
    };
    Some(Sps {
        profile,
        size,
        fps: vui.fps,
        reorders: reorders(profile, order_type, vui.reorder_frames),
        interlaced,
    })
}

/// Baseline has no B slices (A.2.1); order type 2 makes the output order the decoding order
/// (8.2.1); an intra profile reorders nothing (E.2.1).
fn reorders(profile: [u8; 3], order_type: u32, reorder_frames: Option<u32>) -> Option<bool> {
    let [profile_idc, constraints, _] = profile;
    let intra_only =
        constraints & 0b0001_0000 != 0 && matches!(profile_idc, 44 | 86 | 100 | 110 | 122 | 244);
    if profile_idc == 66 || order_type == 2 || intra_only {
        return Some(false);
    }
    reorder_frames.map(|frames| frames > 0)
}

/// The profiles whose sets carry the chroma format.
fn has_chroma(profile_idc: u8) -> bool {
    matches!(
        profile_idc,
        100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135
    )
}

/// How much colour, as far as it decides the unit of cropping (table 6-1).
#[derive(Clone, Copy, PartialEq)]
enum Chroma {
    /// One unit a sample.
    Full,
    C420,
    C422,
}

fn read_chroma(bits: &mut Bits<'_>) -> Option<Chroma> {
    let format = bits.unsigned_to(3)?;
    if format == 3 {
        bits.bit()?; // separate_colour_plane_flag
    }
    bits.unsigned_to(6)?; // bit_depth_luma_minus8
    bits.unsigned_to(6)?;
    bits.bit()?; // qpprime_y_zero_transform_bypass_flag
    if bits.bit()? {
        for list in 0..(if format == 3 { 12 } else { 8 }) {
            if bits.bit()? {
                skip_scaling_list(bits, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    Some(match format {
        1 => Chroma::C420,
        2 => Chroma::C422,
        _ => Chroma::Full,
    })
}

/// 7.3.2.1.1.1
fn skip_scaling_list(bits: &mut Bits<'_>, size: u32) -> Option<()> {
    let (mut last, mut next) = (8_i64, 8_i64);
    for _ in 0..size {
        if next != 0 {
            next = (last + bits.signed()? + 256) % 256;
        }
        if next != 0 {
            last = next;
        }
    }
    Some(())
}

fn read_size(bits: &mut Bits<'_>, chroma: Chroma) -> Option<((u32, u32), bool)> {
    let mbs = MAX_SIDE / 16 - 1;
    let width = (bits.unsigned_to(mbs)? + 1) * 16;
    let map_units = bits.unsigned_to(mbs)? + 1;
    let frame_mbs_only = bits.bit()?;
    // Fields: a map unit is two macroblocks high.
    let fields = if frame_mbs_only { 1 } else { 2 };
    let height = map_units * 16 * fields;
    if !frame_mbs_only {
        bits.bit()?; // mb_adaptive_frame_field_flag
    }
    bits.bit()?; // direct_8x8_inference_flag
    if !bits.bit()? {
        return Some(((width, height), !frame_mbs_only));
    }
    let (unit_x, unit_y) = match chroma {
        Chroma::Full => (1, fields),
        Chroma::C420 => (2, 2 * fields),
        Chroma::C422 => (2, fields),
    };
    let mut cut = |unit: u32| {
        let (first, second) = (bits.unsigned_to(MAX_SIDE)?, bits.unsigned_to(MAX_SIDE)?);
        Some((first + second) * unit)
    };
    let (cut_x, cut_y) = (cut(unit_x)?, cut(unit_y)?);
    let cropped = (width.checked_sub(cut_x)?, height.checked_sub(cut_y)?);
    (cropped.0 > 0 && cropped.1 > 0).then_some((cropped, !frame_mbs_only))
}

/// What is taken from the video usability information.
#[derive(Default)]
struct Vui {
    fps: Option<f64>,
    reorder_frames: Option<u32>,
}

fn read_vui(bits: &mut Bits<'_>) -> Vui {
    let mut vui = Vui::default();
    // `None` = broken or cut short: what was read before is good.
    let _ = fill_vui(bits, &mut vui);
    vui
}

/// E.1.1
fn fill_vui(bits: &mut Bits<'_>, vui: &mut Vui) -> Option<()> {
    if bits.bit()? && bits.number(8)? == 255 {
        bits.skip(32)?; // sar_width, sar_height
    }
    if bits.bit()? {
        bits.bit()?; // overscan_appropriate_flag
    }
    if bits.bit()? {
        bits.skip(4)?; // video_format, video_full_range_flag
        if bits.bit()? {
            bits.skip(24)?; // colour description
        }
    }
    if bits.bit()? {
        bits.unsigned_to(5)?; // chroma_sample_loc_type
        bits.unsigned_to(5)?;
    }
    if bits.bit()? {
        let tick = bits.number(32)?;
        let scale = bits.number(32)?;
        bits.bit()?; // fixed_frame_rate_flag
        if tick > 0 {
            // A tick is a field's time.
            let fps = f64::from(scale) / (2.0 * f64::from(tick));
            vui.fps = (fps > 0.0 && fps <= MAX_FPS).then_some(fps);
        }
    }
    let nal_hrd = bits.bit()?;
    if nal_hrd {
        skip_hrd(bits)?;
    }
    let vcl_hrd = bits.bit()?;
    if vcl_hrd {
        skip_hrd(bits)?;
    }
    if nal_hrd || vcl_hrd {
        bits.bit()?; // low_delay_hrd_flag
    }
    bits.bit()?; // pic_struct_present_flag
    if bits.bit()? {
        bits.bit()?; // motion_vectors_over_pic_boundaries_flag
        for _ in 0..4 {
            bits.unsigned()?;
        }
        vui.reorder_frames = Some(bits.unsigned_to(16)?);
    }
    Some(())
}

/// E.1.2
fn skip_hrd(bits: &mut Bits<'_>) -> Option<()> {
    let count = bits.unsigned_to(31)? + 1;
    bits.skip(8)?;
    for _ in 0..count {
        bits.unsigned()?;
        bits.unsigned()?;
        bits.bit()?;
    }
    bits.skip(20)
}

#[cfg(test)]
#[path = "sps_tests.rs"]
mod tests;
