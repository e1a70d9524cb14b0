//! What the beginning and the end of a JPEG tell, without decoding it. Pure.

use super::SnapshotError;

/// The end is looked for in so many last bytes: some cameras pad.
const TAIL: usize = 4096;

/// One component's share of the pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sampling {
    across: u8,
    down: u8,
}

/// The frame header of a JPEG.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JpegHeader {
    /// Pixels, as stored.
    pub width: u32,
    /// Pixels, as stored.
    pub height: u32,
    /// Comes in passes of rising detail.
    pub progressive: bool,
    /// Whether the end marker is there.
    pub has_end: bool,
    components: Vec<Sampling>,
}

impl JpegHeader {
    /// Width times height.
    pub fn pixels(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// How many components it has.
    pub fn parts(&self) -> usize {
        self.components.len()
    }

    /// Whether it can be decoded at a part of its size.
    pub fn is_reducible(&self) -> bool {
        !self.progressive && matches!(self.parts(), 1 | 3)
    }

    /// Estimated bytes that decoding takes: the picture, and for a progressive one all its
    /// coefficients too.
    pub fn memory(&self) -> u64 {
        let channels = if self.components.len() == 1 { 1 } else { 3 };
        let picture = self.pixels() * channels;
        if !self.progressive {
            return picture;
        }
        let most =
            |of: fn(&Sampling) -> u8| u64::from(self.components.iter().map(of).max().unwrap_or(1));
        let whole = (most(|s| s.across) * most(|s| s.down)).max(1);
        let parts: u64 = self
            .components
            .iter()
            .map(|s| u64::from(s.across) * u64::from(s.down))
            .sum();
        picture + self.pixels() * 2 * parts / whole
    }
}

/// Reads up to the frame header, and looks for the end.
pub fn read_header(jpeg: &[u8]) -> Result<JpegHeader, SnapshotError> {
    let Some(mut rest) = jpeg.strip_prefix(&[0xFF, 0xD8]) else {
        return Err(SnapshotError::NotJpeg);
    };
    let tail = jpeg.get(jpeg.len().saturating_sub(TAIL)..).unwrap_or(jpeg);
    let has_end = tail.windows(2).any(|pair| pair == [0xFF, 0xD9]);
    loop {
        let (marker, body) = next_marker(rest)?;
        match marker {
            // Without a body.
            0x01 | 0xD0..=0xD7 => {
                rest = body;
                continue;
            }
            // The picture, or its end, before its size.
            0xD8..=0xDA => return Err(SnapshotError::Broken("no size in it".to_owned())),
            _ => {}
        }
        let (segment, after) = segment(body)?;
        match marker {
            0xC0..=0xC2 => {
                let mut header = frame(segment)?;
                header.progressive = marker == 0xC2;
                header.has_end = has_end;
                return Ok(header);
            }
            0xC3 | 0xC7 | 0xCB | 0xCF => return Err(SnapshotError::Unusual("lossless")),
            0xC5 | 0xC6 | 0xCD | 0xCE => return Err(SnapshotError::Unusual("hierarchical")),
            0xC9 | 0xCA => return Err(SnapshotError::Unusual("arithmetic coding")),
            _ => rest = after,
        }
    }
}

/// The next marker and what follows it.
fn next_marker(bytes: &[u8]) -> Result<(u8, &[u8]), SnapshotError> {
    let Some((0xFF, mut rest)) = bytes.split_first().map(|(b, r)| (*b, r)) else {
        return Err(if bytes.is_empty() {
            SnapshotError::Truncated
        } else {
            SnapshotError::NotJpeg
        });
    };
    // Any number of FF may fill up.
    loop {
        match rest.split_first() {
            Some((0xFF, more)) => rest = more,
            Some((0x00, _)) => return Err(SnapshotError::NotJpeg),
            Some((marker, body)) => return Ok((*marker, body)),
            None => return Err(SnapshotError::Truncated),
        }
    }
}

/// A segment without its length, and what follows it.
pub(super) fn segment(bytes: &[u8]) -> Result<(&[u8], &[u8]), SnapshotError> {
    let [high, low, rest @ ..] = bytes else {
        return Err(SnapshotError::Truncated);
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let Some(length) = length.checked_sub(2) else {
        return Err(SnapshotError::Broken(
            "a segment shorter than its length".to_owned(),
        ));
    };
    rest.split_at_checked(length)
        .ok_or(SnapshotError::Truncated)
}

pub(super) fn frame(segment: &[u8]) -> Result<JpegHeader, SnapshotError> {
    let [precision, h1, h0, w1, w0, count, components @ ..] = segment else {
        return Err(SnapshotError::Broken("a short frame header".to_owned()));
    };
    if *precision != 8 {
        return Err(SnapshotError::Unusual("not 8 bits a sample"));
    }
    let width = u32::from(u16::from_be_bytes([*w1, *w0]));
    let height = u32::from(u16::from_be_bytes([*h1, *h0]));
    let components: Vec<Sampling> = components
        .chunks_exact(3)
        .take(usize::from(*count))
        .filter_map(|c| c.get(1))
        .map(|s| Sampling {
            across: s >> 4,
            down: s & 15,
        })
        .collect();
    let plausible = width > 0
        && height > 0
        && (1..=4).contains(&components.len())
        && components.len() == usize::from(*count)
        && components
            .iter()
            .all(|s| (1..=4).contains(&s.across) && (1..=4).contains(&s.down));
    if !plausible {
        return Err(SnapshotError::Broken(
            "a frame header without sense".to_owned(),
        ));
    }
    Ok(JpegHeader {
        width,
        height,
        progressive: false,
        has_end: false,
        components,
    })
}
