//! What a stream's packets show of its encoder: profile, reordering, how far apart keyframes are
//! (RFC 6184, H.264 7.3). Pure; owns nothing but what it has seen.

use super::nal::{self, Kind};
use super::sps::{Sps, read_sps};
use crate::infrastructure::media::rtp;

/// Ticks a second of video timestamps (RFC 6184 5.1).
const CLOCK: f64 = 90_000.0;
/// A keyframe that was asked for may come in between: the longest of so many distances counts.
const DISTANCES: usize = 2;
/// Longest distance between two keyframes that is believed, in ticks.
const LONGEST: u32 = 90_000 * 60;
/// Bytes of a fragment that hold its slice's head.
const SLICE_HEAD: usize = 24;

/// Watches one H.264 track.
#[derive(Debug, Default)]
pub struct PictureWatch {
    sps: Option<Sps>,
    b_slices: bool,
    /// Any slice at all.
    slices: bool,
    /// Timestamp of the last keyframe.
    keyframe: Option<u32>,
    distances: Vec<f64>,
}

impl PictureWatch {
    /// Takes one RTP packet of the track; what is none is left out.
    pub fn packet(&mut self, packet: &[u8]) {
        if let Some(packet) = rtp::read(packet) {
            self.payload(packet.payload, packet.timestamp);
        }
    }

    /// One NAL unit, an aggregation or a fragment of them.
    fn payload(&mut self, payload: &[u8], timestamp: u32) {
        let Some((head, body)) = payload.split_first() else {
            return;
        };
        match head & 0x1f {
            24 => {
                for unit in nal::aggregated(body) {
                    self.units(unit, timestamp);
                }
            }
            // The first fragment holds the slice's head; sets come whole.
            28 => {
                if let Some((state, piece)) = body.split_first().filter(|(s, _)| *s & 0x80 != 0) {
                    let mut unit = vec![head & 0xe0 | state & 0x1f];
                    unit.extend(piece.iter().take(SLICE_HEAD));
                    self.unit(&unit, timestamp);
                }
            }
            _ => self.units(payload, timestamp),
        }
    }

    /// Some cameras put a piece of byte stream in a unit's place.
    fn units(&mut self, bytes: &[u8], timestamp: u32) {
        for unit in nal::split(bytes) {
            self.unit(unit, timestamp);
        }
    }

    fn unit(&mut self, unit: &[u8], timestamp: u32) {
        let kind = nal::kind(unit);
        if kind == Kind::Sps {
            self.sps = read_sps(unit).or(self.sps);
        }
        if let Some(slice) = nal::read_slice(unit)
            && matches!(kind, Kind::Slice | Kind::KeySlice)
        {
            self.slices = true;
            self.b_slices |= slice.bidirectional;
        }
        if kind == Kind::KeySlice {
            self.key(timestamp);
        }
    }

    fn key(&mut self, timestamp: u32) {
        let before = self.keyframe.replace(timestamp);
        // Another slice of the same picture is no other keyframe.
        let distance = before.map_or(0, |before| timestamp.wrapping_sub(before));
        if (1..=LONGEST).contains(&distance) && self.distances.len() < DISTANCES {
            self.distances.push(f64::from(distance) / CLOCK);
        }
    }

    /// Enough has been seen to judge.
    pub fn is_enough(&self) -> bool {
        self.distances.len() >= DISTANCES
    }

    /// The last parameter set.
    pub fn sps(&self) -> Option<Sps> {
        self.sps
    }

    /// Whether pictures are reordered: B slices show it; a parameter set that allows it and a
    /// stream that has had none say no more than the set does.
    pub fn b_frames(&self, described: Option<bool>) -> Option<bool> {
        let allowed = self.sps.map_or(described, |sps| sps.reorders);
        match (self.b_slices, allowed) {
            (true, _) => Some(true),
            // Two whole groups without one.
            (false, None | Some(true)) if self.slices && self.is_enough() => Some(false),
            (false, allowed) => allowed,
        }
    }

    /// The longest distance between two keyframes, in seconds.
    pub fn keyframe_seconds(&self) -> Option<f64> {
        self.distances.iter().copied().max_by(f64::total_cmp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infrastructure::media::bits::tests::Pen;
    use proptest::prelude::*;

    /// Baseline, 640x360.
    const SPS: &[u8] = &[
        0x67, 0x42, 0xc0, 0x1e, 0xda, 0x02, 0x80, 0xbf, 0xe5, 0xc0, 0x44, 0x00, 0x00, 0x03, 0x00,
        0x04, 0x00, 0x00, 0x03, 0x00, 0xc8, 0x3c, 0x58, 0xba, 0x80,
    ];

    fn rtp(timestamp: u32, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x80, 96, 0, 1];
        packet.extend(timestamp.to_be_bytes());
        packet.extend([0, 0, 0, 1]);
        packet.extend(payload);
        packet
    }

    fn slice(header: u8, kind: u32) -> Vec<u8> {
        Pen::default().ue(0).ue(kind).u(8, 0xff).nal(&[header])
    }

    #[test]
    fn a_stream_is_watched_in_every_form_of_packet() {
        let idr = slice(0x65, 7);
        let mut stap = vec![24];
        for unit in [SPS, &idr] {
            stap.extend(u16::try_from(unit.len()).unwrap().to_be_bytes());
            stap.extend(unit);
        }
        let mut fragment = vec![0x7c, 0x85];
        fragment.extend(&idr[1..]);
        let forms: [Vec<Vec<u8>>; 3] = [
            vec![SPS.to_vec(), idr.clone(), idr.clone()],
            vec![stap],
            vec![SPS.to_vec(), fragment],
        ];
        for form in forms {
            let mut pictures = PictureWatch::default();
            // The timestamp wraps on the way.
            let first = 0_u32.wrapping_sub(90_000);
            for group in 0..3_u32 {
                for payload in &form {
                    pictures.packet(&rtp(first.wrapping_add(group * 180_000), payload));
                }
                pictures.packet(&rtp(7, &slice(0x41, 5)));
            }
            assert!(pictures.is_enough());
            assert_eq!(pictures.keyframe_seconds(), Some(2.0));
            assert_eq!(pictures.sps().unwrap().size, (640, 360));
            assert_eq!(pictures.b_frames(None), Some(false));
        }
    }

    #[test]
    fn the_longest_distance_counts_and_a_b_slice_shows() {
        let mut pictures = PictureWatch::default();
        for timestamp in [0, 9_000, 369_000] {
            pictures.packet(&rtp(timestamp, &slice(0x65, 2)));
        }
        assert_eq!(pictures.keyframe_seconds(), Some(4.0));
        pictures.packet(&rtp(1, &slice(0x01, 6)));
        assert_eq!(pictures.b_frames(Some(false)), Some(true));
        assert_eq!(PictureWatch::default().b_frames(Some(true)), Some(true));
        assert_eq!(PictureWatch::default().b_frames(None), None);
    }

    proptest! {
        #[test]
        fn any_bytes_make_no_panic(packets in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 0..60), 0..20
        )) {
            let mut pictures = PictureWatch::default();
            for packet in packets {
                pictures.packet(&packet);
            }
        }
    }
}
