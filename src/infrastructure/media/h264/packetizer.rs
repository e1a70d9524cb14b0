//! Packets of a picture, as every WebRTC receiver takes them (RFC 6184, packetization mode 1):
//! parameter sets as one aggregate in front, slices as they are or in fragments of one size.

use super::picture::Picture;

/// STAP-A and FU-A (RFC 6184 table 1).
const AGGREGATE: u8 = 24;
const FRAGMENT: u8 = 28;
/// Start and end of a fragmented unit.
const START: u8 = 0x80;
const END: u8 = 0x40;

/// Least payload that fragments are made for.
pub const LEAST_PAYLOAD: usize = 16;

/// Hands each payload of at most `most` bytes (no less than [`LEAST_PAYLOAD`]) to `sink`, with the
/// marker: `true` at the picture's last one. The bytes are good only during the call.
pub fn packetize(picture: &Picture, most: usize, mut sink: impl FnMut(&[u8], bool)) {
    let most = most.max(LEAST_PAYLOAD);
    let mut buffer = Vec::with_capacity(most);
    if let Some(sets) = &picture.sets {
        put_sets(sets, most, &mut buffer, &mut sink);
    }
    let mut slices = picture.slices().peekable();
    while let Some(slice) = slices.next() {
        put(slice, most, slices.peek().is_none(), &mut buffer, &mut sink);
    }
}

/// One aggregate if all fit, else one by one.
fn put_sets(
    sets: &[Vec<u8>],
    most: usize,
    buffer: &mut Vec<u8>,
    sink: &mut impl FnMut(&[u8], bool),
) {
    let size: usize = sets.iter().map(|set| set.len() + 2).sum();
    let lengths: Option<Vec<u16>> = sets.iter().map(|s| u16::try_from(s.len()).ok()).collect();
    let Some(lengths) = lengths.filter(|_| sets.len() > 1 && size < most) else {
        for set in sets {
            put(set, most, false, buffer, sink);
        }
        return;
    };
    // The highest importance of all that are in it (5.7).
    let importance = sets
        .iter()
        .filter_map(|set| set.first())
        .map(|h| h & 0x60)
        .max();
    buffer.clear();
    buffer.push(importance.unwrap_or(0) | AGGREGATE);
    for (set, length) in sets.iter().zip(lengths) {
        buffer.extend_from_slice(&length.to_be_bytes());
        buffer.extend_from_slice(set);
    }
    sink(buffer, false);
}

/// One unit: as it is, or in fragments of about the same size, so that no small one is left over.
fn put(
    unit: &[u8],
    most: usize,
    last: bool,
    buffer: &mut Vec<u8>,
    sink: &mut impl FnMut(&[u8], bool),
) {
    if unit.len() <= most {
        if !unit.is_empty() {
            sink(unit, last);
        }
        return;
    }
    let Some((header, body)) = unit.split_first() else {
        return;
    };
    let room = most - 2;
    let count = body.len().div_ceil(room);
    let size = body.len().div_ceil(count);
    let mut pieces = body.chunks(size).enumerate().peekable();
    while let Some((number, piece)) = pieces.next() {
        let ends = pieces.peek().is_none();
        let mut kind = header & 0x1f;
        if number == 0 {
            kind |= START;
        }
        if ends {
            kind |= END;
        }
        buffer.clear();
        buffer.extend_from_slice(&[header & 0xe0 | FRAGMENT, kind]);
        buffer.extend_from_slice(piece);
        sink(buffer, last && ends);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn packets(picture: &Picture, most: usize) -> Vec<(Vec<u8>, bool)> {
        let mut all = Vec::new();
        packetize(picture, most, |payload, marker| {
            all.push((payload.to_vec(), marker));
        });
        all
    }

    #[test]
    fn sets_go_in_front_as_one_and_the_marker_ends_the_picture() {
        let mut picture = Picture::begin(0);
        picture.sets = Some(Arc::from([vec![0x67, 1, 2], vec![0x48, 3]]));
        picture.push(&[0x65, 4]);
        picture.push(&[0x65, 5]);
        assert_eq!(
            packets(&picture, 100),
            [
                (vec![0x78, 0, 3, 0x67, 1, 2, 0, 2, 0x48, 3], false),
                (vec![0x65, 4], false),
                (vec![0x65, 5], true),
            ]
        );
    }

    #[test]
    fn sets_that_do_not_fit_together_go_alone() {
        let mut picture = Picture::begin(0);
        picture.sets = Some(Arc::from([vec![0x67; 14], vec![0x68; 3]]));
        picture.push(&[0x65, 4]);
        assert_eq!(
            packets(&picture, 16),
            [
                (vec![0x67; 14], false),
                (vec![0x68; 3], false),
                (vec![0x65, 4], true)
            ]
        );
    }

    #[test]
    fn fragments_are_of_one_size() {
        let mut picture = Picture::begin(0);
        let mut slice = vec![0x65];
        slice.extend(0..30);
        picture.push(&slice);
        let all = packets(&picture, 16);
        let sizes: Vec<usize> = all.iter().map(|(p, _)| p.len()).collect();
        assert_eq!(sizes, [12, 12, 12]);
        let heads: Vec<[u8; 2]> = all.iter().map(|(p, _)| [p[0], p[1]]).collect();
        assert_eq!(heads, [[0x7c, 0x85], [0x7c, 0x05], [0x7c, 0x45]]);
        let markers: Vec<bool> = all.iter().map(|(_, marker)| *marker).collect();
        assert_eq!(markers, [false, false, true]);
        // Fits exactly.
        let mut picture = Picture::begin(0);
        picture.push(&[0x41; 16]);
        assert_eq!(packets(&picture, 16), [(vec![0x41; 16], true)]);
    }
}
