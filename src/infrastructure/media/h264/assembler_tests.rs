use super::super::packetizer::{LEAST_PAYLOAD, packetize};
use super::*;
use proptest::prelude::*;

/// Number 0 both; what follows is of no interest here.
const SPS: &[u8] = &[0x67, 66, 0xc0, 31, 0x95, 1];
const PPS: &[u8] = &[0x68, 0xce, 0x3c, 0x80];
const SEI: &[u8] = &[0x06, 5, 1, 9, 0x80];
const AUD: &[u8] = &[0x09, 0x30];

/// first_mb 0, P or I; then `fill`, which makes it told from others.
fn first(header: u8, fill: u8) -> Vec<u8> {
    vec![header, 0b1001_1000, fill, fill, 0x80]
}

/// first_mb 1, P.
fn later(header: u8, fill: u8) -> Vec<u8> {
    vec![header, 0b0100_0110, fill, fill, 0x80]
}

fn key(fill: u8) -> Vec<u8> {
    first(0x65, fill)
}

fn delta(fill: u8) -> Vec<u8> {
    first(0x41, fill)
}

/// A camera: counts its packets.
#[derive(Default)]
struct Camera {
    assembler: Assembler,
    number: u16,
    out: Vec<Picture>,
}

impl Camera {
    fn send(&mut self, timestamp: u32, marker: bool, payload: &[u8]) -> &mut Self {
        let packet = Packet {
            marker,
            payload_type: 96,
            sequence: self.number,
            timestamp,
            ssrc: 1,
            payload,
        };
        self.number = self.number.wrapping_add(1);
        self.assembler.push(&packet, &mut self.out).unwrap();
        self
    }

    /// In order, each in a packet of its own, the marker where it belongs.
    fn picture(&mut self, timestamp: u32, units: &[&[u8]]) -> &mut Self {
        for (at, unit) in units.iter().enumerate() {
            self.send(timestamp, at + 1 == units.len(), unit);
        }
        self
    }

    /// Sends a piece of a unit.
    fn piece(&mut self, timestamp: u32, marker: bool, state: u8, piece: &[u8]) -> &mut Self {
        let mut payload = vec![0x7c, state];
        payload.extend_from_slice(piece);
        self.send(timestamp, marker, &payload)
    }

    fn took(&mut self) -> Vec<Picture> {
        std::mem::take(&mut self.out)
    }

    /// Slices of the pictures that came out, by the byte that tells them apart.
    fn fills(&mut self) -> Vec<Vec<u8>> {
        self.took()
            .iter()
            .map(|picture| picture.slices().map(|slice| slice[2]).collect())
            .collect()
    }
}

fn running() -> Camera {
    let mut camera = Camera::default();
    camera.picture(0, &[SPS, PPS, &key(1)]);
    camera
}

#[test]
fn a_key_picture_brings_its_sets_and_begins_the_stream() {
    let mut camera = Camera::default();
    camera
        .picture(0, &[&delta(9)])
        .picture(1, &[SPS, PPS, SEI, &key(1)]);
    assert!(camera.assembler.wants_key());
    camera
        .picture(2, &[AUD, &delta(2)])
        .picture(3, &[&delta(3)]);
    let out = camera.took();
    assert_eq!(out.len(), 2);
    assert!(out[0].key && !out[1].key);
    assert_eq!(
        out[0].sets.as_deref().unwrap(),
        [SPS.to_vec(), PPS.to_vec()]
    );
    assert_eq!(out[1].sets, None);
    assert_eq!((out[0].timestamp, out[1].timestamp), (1, 2));
    assert_eq!(out[0].slices().collect::<Vec<_>>(), [key(1)]);
    assert!(!camera.assembler.wants_key());
    let tally = Tally {
        pictures: 2,
        dropped: 1,
        lost: 0,
    };
    assert_eq!(camera.assembler.tally(), tally);
}

#[test]
fn sets_of_the_description_serve_until_the_stream_brings_others() {
    let mut camera = Camera {
        assembler: Assembler::new([SPS, PPS]),
        ..Camera::default()
    };
    camera.picture(0, &[&key(1)]).picture(1, &[&delta(2)]);
    assert_eq!(
        camera.took()[0].sets.as_deref().unwrap(),
        [SPS.to_vec(), PPS.to_vec()]
    );
    let mut other = PPS.to_vec();
    other[2] = 0x38;
    // Between key pictures: the next picture has them in front.
    camera
        .picture(2, &[&other, &delta(3)])
        .picture(3, &[&delta(4)]);
    let out = camera.took();
    assert_eq!(out[0].sets, None);
    assert_eq!(
        out[1].sets.as_deref().unwrap(),
        [SPS.to_vec(), other.clone()]
    );
    // Both behind each other in one description, with start codes.
    let joined = [&[0, 0, 0, 1], SPS, &[0, 0, 0, 1], PPS].concat();
    let mut assembler = Assembler::new([&joined[..]]);
    assert!(assembler.sets.together().is_some());
}

#[test]
fn a_key_picture_without_sets_is_of_no_use() {
    let mut camera = Camera::default();
    camera.picture(0, &[&key(1)]).picture(1, &[&delta(2)]);
    assert!(camera.took().is_empty());
    assert!(camera.assembler.wants_key());
}

#[test]
fn a_marker_on_sets_ends_nothing_and_sets_belong_to_the_slices_behind_them() {
    let mut camera = running();
    for round in 1..100_u32 {
        // Sets with the timestamp of the picture before, each with a marker.
        let before = round * 10 - 10;
        camera
            .send(before, true, SPS)
            .send(before, true, PPS)
            .send(before, true, SEI);
        camera.send(round * 10, true, &key(7));
    }
    camera.send(1000, true, &delta(8));
    let out = camera.took();
    // The last by its marker, which has proven right by then.
    assert_eq!(out.len(), 101);
    assert!(out.iter().all(|picture| picture.slices().len() == 1));
    assert_eq!(out[50].timestamp, 500);
}

#[test]
fn without_markers_a_picture_ends_with_the_next() {
    let mut camera = running();
    camera
        .send(10, false, &delta(2))
        .send(10, false, &later(0x41, 3));
    assert_eq!(camera.fills(), [[1]]);
    camera.send(20, false, &delta(4));
    assert_eq!(camera.fills(), [[2, 3]]);
    // The same timestamp again, but the first macroblock: another picture.
    camera.send(20, false, &delta(5));
    assert_eq!(camera.fills(), [[4]]);
}

#[test]
fn a_marker_is_trusted_when_it_has_been_right_thirty_times() {
    let mut camera = running();
    for number in 1..30_u32 {
        camera.picture(number, &[&delta(2), &later(0x41, 3)]);
        assert_eq!(camera.took().len(), 1, "{number}: only the one before");
    }
    camera.picture(30, &[&delta(4), &later(0x41, 5)]);
    assert_eq!(
        camera.fills(),
        [vec![2, 3], vec![4, 5]],
        "at once from here on"
    );
    camera.picture(31, &[&delta(6)]);
    assert_eq!(camera.fills(), [[6]]);
    // A picture without one: its trust is gone.
    camera.send(33, false, &delta(7)).send(34, true, &delta(8));
    assert_eq!(camera.fills(), [[7]]);
}

#[test]
fn a_marker_on_each_slice_is_never_trusted() {
    let mut camera = running();
    for number in 1..100_u32 {
        camera
            .send(number, true, &delta(2))
            .send(number, true, &later(0x41, 3));
    }
    let fills = camera.fills();
    assert_eq!(fills.len(), 99);
    assert!(fills[1..].iter().all(|slices| slices == &[2, 3]));
}

#[test]
fn a_byte_stream_in_place_of_a_unit_is_cut() {
    let stream = |parts: &[&[u8]]| -> Vec<u8> {
        parts
            .iter()
            .flat_map(|part| [&[0, 0, 0, 1], *part].concat())
            .collect()
    };
    let all = stream(&[SPS, PPS, SEI, &key(1), &later(0x65, 2)]);
    // With a start code in front, and without.
    for payload in [&all[..], &all[4..]] {
        let mut camera = Camera::default();
        camera.send(0, true, payload).send(1, true, &delta(3));
        assert_eq!(camera.fills(), [[1, 2]]);
    }
    // In pieces, cut in the middle of a start code; the piece's own header in front.
    let (header, rest) = all[4..].split_first().unwrap();
    let cut = SPS.len() + 1;
    let mut camera = Camera::default();
    camera
        .piece(0, false, 0x80 | header & 0x1f, &rest[..cut])
        .piece(0, true, 0x40 | header & 0x1f, &rest[cut..])
        .send(1, true, &delta(3));
    assert_eq!(camera.fills(), [[1, 2]]);
}

#[test]
fn aggregates_are_taken_apart_and_what_is_cut_short_ends_them() {
    let mut payload = vec![0x78];
    for unit in [SPS, PPS, &key(1)] {
        payload.extend_from_slice(&u16::try_from(unit.len()).unwrap().to_be_bytes());
        payload.extend_from_slice(unit);
    }
    payload.extend_from_slice(&[0, 200, 0x41, 1]);
    let mut camera = Camera::default();
    camera.send(0, true, &payload).send(1, true, &delta(2));
    assert_eq!(camera.fills(), [[1]]);
}

#[test]
fn pieces_with_wrong_marks_are_put_together() {
    let unit = delta(2);
    let rest = &unit[1..];
    // Begin and end in one.
    running()
        .piece(5, true, 0xc1, rest)
        .send(6, true, &delta(9));
    let forms: &[&[(u8, &[u8])]] = &[
        &[(0xc1, rest)],
        // Another kind in those that follow.
        &[(0x81, &rest[..1]), (0x07, &rest[1..2]), (0x5c, &rest[2..])],
        // Empty ones between.
        &[
            (0x81, &[]),
            (0x01, &rest[..2]),
            (0x01, &[]),
            (0x41, &rest[2..]),
        ],
        // No end.
        &[(0x81, &rest[..2]), (0x01, &rest[2..])],
    ];
    for form in forms {
        let mut camera = running();
        for (at, (state, piece)) in form.iter().enumerate() {
            let mut payload = vec![0x5c, *state];
            payload.extend_from_slice(piece);
            camera.send(5, at + 1 == form.len(), &payload);
        }
        camera.send(6, true, &delta(9));
        let out = camera.took();
        assert_eq!(out.len(), 2, "{form:?}");
        assert_eq!(
            out[1].slices().collect::<Vec<_>>(),
            [&[0x41][..], rest].concat().chunks(9).collect::<Vec<_>>(),
            "{form:?}"
        );
    }
}

#[test]
fn after_a_loss_nothing_until_the_next_key_picture() {
    let mut camera = running();
    camera.picture(1, &[&delta(2)]);
    // In the middle of a picture that comes in pieces.
    camera.piece(2, false, 0x81, &[0x98, 3, 3]);
    camera.number += 1;
    camera.piece(2, true, 0x41, &[3, 0x80]);
    assert!(camera.assembler.wants_key());
    camera.picture(3, &[&delta(4)]).picture(4, &[&delta(5)]);
    assert_eq!(
        camera.fills(),
        [[1]],
        "the last before the loss may lack its end"
    );
    camera
        .picture(5, &[&key(6)])
        .picture(6, &[&delta(7)])
        .picture(7, &[&delta(8)]);
    assert_eq!(camera.fills(), [[6], [7]]);
    assert_eq!(camera.assembler.tally().lost, 1);
}

#[test]
fn a_key_picture_that_lacks_its_beginning_or_its_middle_is_dropped() {
    for lost in 0..3 {
        let mut camera = running();
        let slices = [key(1), later(0x65, 2), later(0x65, 3)];
        for (at, slice) in slices.iter().enumerate() {
            if at == lost {
                camera.number += 1;
            } else {
                camera.send(10, at == 2, slice);
            }
        }
        camera.picture(20, &[&delta(4)]).picture(30, &[&delta(5)]);
        let fills = camera.fills();
        // Where the last slice is lost, what was before is; where the first is, the one in hand.
        assert!(
            fills.iter().all(|slices| slices == &[1]),
            "{lost}: {fills:?}"
        );
        assert!(camera.assembler.wants_key(), "{lost}");
    }
}

#[test]
fn numbers_that_mean_nothing_are_left_alone_and_come_back_to_honour() {
    for step in [0_u16, 2, 40_000] {
        let mut camera = running();
        for number in 1..=200_u32 {
            camera.number = camera.number.wrapping_sub(1).wrapping_add(step);
            camera.picture(number, &[&key(2)]);
        }
        assert!(camera.took().len() > 100, "{step}");
        for number in 201..=400_u32 {
            camera.picture(number, &[&key(2)]);
        }
        camera.took();
        camera.number += 1;
        camera.picture(401, &[&delta(3)]);
        assert!(camera.assembler.wants_key(), "{step}: a gap counts again");
    }
}

#[test]
fn a_picture_without_end_is_given_up() {
    let mut camera = running();
    let big = vec![0x55; 64_000];
    camera.piece(1, false, 0x81, &big);
    for _ in 0..100 {
        camera.piece(1, false, 0x01, &big);
    }
    assert!(camera.assembler.wants_key());
    assert!(camera.assembler.fragment.is_none());
    // By slices, too.
    let mut camera = running();
    let mut slice = later(0x41, 1);
    slice.resize(64_000, 0x55);
    camera.send(1, false, &delta(1));
    for _ in 0..100 {
        camera.send(1, false, &slice);
    }
    camera.send(2, true, &delta(2));
    assert!(camera.assembler.wants_key());
}

#[test]
fn slices_that_look_ahead_are_noticed() {
    let mut camera = running();
    assert!(!camera.assembler.has_bidirectional());
    camera.send(1, true, &[0x01, 0b1010_0000, 1]);
    assert!(camera.assembler.has_bidirectional());
}

#[test]
fn interleaved_packets_are_refused() {
    for kind in [25, 26, 27, 29] {
        let payload = [kind, 1, 2, 3];
        let packet = Packet {
            marker: false,
            payload_type: 96,
            sequence: 0,
            timestamp: 0,
            ssrc: 0,
            payload: &payload,
        };
        let refused = Assembler::default().push(&packet, &mut Vec::new());
        assert_eq!(refused, Err(Unfit::Interleaved));
    }
}

/// A slice that holds no start code and does not end with zeros, as real ones.
fn slice_body() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(1..=255_u8, 1..300)
}

proptest! {
    #[test]
    fn what_is_cut_is_put_together_again(
        pictures in proptest::collection::vec((any::<bool>(), proptest::collection::vec(slice_body(), 1..4)), 1..12),
        most in LEAST_PAYLOAD..200_usize,
    ) {
        let mut camera = Camera::default();
        let mut sent = Vec::new();
        for (number, (is_key, slices)) in pictures.iter().enumerate() {
            let is_key = *is_key || number == 0;
            let mut picture = Picture::begin(u32::try_from(number).unwrap() * 3600);
            picture.key = is_key;
            picture.sets = is_key.then(|| std::sync::Arc::from([SPS.to_vec(), PPS.to_vec()]));
            for (at, body) in slices.iter().enumerate() {
                let mut slice = if at == 0 { first(0x41, 1) } else { later(0x41, 1) };
                slice[0] = if is_key { 0x65 } else { 0x41 };
                slice.extend_from_slice(body);
                picture.push(&slice);
            }
            let timestamp = picture.timestamp;
            packetize(&picture, most, |payload, marker| {
                assert!(payload.len() <= most);
                camera.send(timestamp, marker, payload);
            });
            sent.push(picture);
        }
        // Ends the last one.
        camera.send(u32::MAX, false, AUD);
        prop_assert_eq!(camera.took(), sent);
    }

    #[test]
    fn no_packets_panic_and_what_comes_out_begins_with_a_key_picture(
        packets in proptest::collection::vec(
            (0..4_u16, 0..4_u32, any::<bool>(),
             prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..20),
                (0..32_u8, proptest::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(0x80), any::<u8>()], 0..20))
                    .prop_map(|(kind, mut rest)| { rest.insert(0, kind | 0x60); rest }),
             ]), 0..80),
    ) {
        let mut assembler = Assembler::default();
        let (mut out, mut sequence, mut timestamp) = (Vec::new(), 0_u16, 0_u32);
        for (step, passes, marker, payload) in &packets {
            sequence = sequence.wrapping_add(*step);
            timestamp = timestamp.wrapping_add(*passes);
            let packet = Packet { marker: *marker, payload_type: 96, sequence, timestamp, ssrc: 0, payload };
            if assembler.push(&packet, &mut out).is_err() {
                break;
            }
        }
        if let Some(first) = out.first() {
            prop_assert!(first.key && first.sets.is_some());
        }
        prop_assert!(out.iter().all(|picture| !picture.is_empty() && (!picture.key || picture.sets.is_some())));
    }
}

/// Slices of two bytes, thousands in a packet: bounded in number, not in bytes alone.
#[test]
fn a_picture_of_too_many_slices_is_left_out() {
    let mut camera = running();
    let before = camera.assembler.tally().dropped;
    let unit = [0, 2, 0x41, 0x40];
    let packet: Vec<u8> = [24].into_iter().chain(unit.repeat(1000)).collect();
    camera.send(90_000, false, &key(1));
    for _ in 0..20 {
        camera.send(90_000, false, &packet);
    }
    let held = camera.assembler.picture.as_ref().unwrap();
    assert_eq!(held.slices().len(), MAX_SLICES);
    camera.picture(93_600, &[&key(2)]);
    camera.picture(97_200, &[&key(3)]);
    assert_eq!(camera.fills(), [[1], [2]]);
    assert_eq!(camera.assembler.tally().dropped, before + 1);
}
