//! RTP packets of a camera to pictures, and those to packets and pictures again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lss::infrastructure::media::h264::packetizer::packetize;
use lss::infrastructure::media::h264::{Assembler, Picture};
use lss::infrastructure::media::rtp::{self, Packet};

fuzz_target!(|data: &[u8]| {
    // Each packet: its length, then its bytes.
    let mut camera = Assembler::default();
    let mut pictures = Vec::new();
    let mut rest = data;
    while let Some((&length, bytes)) = rest.split_first() {
        let (packet, after) = bytes.split_at(usize::from(length).min(bytes.len()));
        rest = after;
        let Some(packet) = rtp::read(packet) else {
            continue;
        };
        if camera.push(&packet, &mut pictures).is_err() {
            break;
        }
    }
    assert!(pictures.first().is_none_or(|first| first.key));
    let tally = camera.tally();
    assert_eq!(tally.pictures, pictures.len() as u64);

    // What came out is well formed, so cutting and joining it changes nothing.
    let mut again = Assembler::default();
    let mut joined: Vec<Picture> = Vec::new();
    let mut sequence = 0_u16;
    for (number, picture) in pictures.iter().enumerate() {
        packetize(picture, 40, |payload, marker| {
            assert!(payload.len() <= 40 && !payload.is_empty());
            let packet = Packet {
                marker,
                payload_type: 96,
                sequence,
                // A picture of its own, whatever the camera's clock did.
                timestamp: number as u32,
                ssrc: 0,
                payload,
            };
            sequence = sequence.wrapping_add(1);
            assert_eq!(again.push(&packet, &mut joined), Ok(()));
        });
    }
    assert!(joined.len() <= pictures.len());
});
