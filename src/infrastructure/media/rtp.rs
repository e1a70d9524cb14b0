//! RTP packets as cameras send them (RFC 3550 5.1), read in place.

/// One packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// By the payload's rules, mostly: the last packet of a picture.
    pub marker: bool,
    /// Format number.
    pub payload_type: u8,
    /// Counts packets, wraps.
    pub sequence: u16,
    /// In ticks of the format's clock, wraps.
    pub timestamp: u32,
    /// Names the sender of the stream.
    pub ssrc: u32,
    /// Without header, extensions and padding.
    pub payload: &'a [u8],
}

/// `None` where the bytes are no RTP packet. Padding that can't be is taken for payload: cameras
/// set the bit and add none.
pub fn read(bytes: &[u8]) -> Option<Packet<'_>> {
    let (head, rest) = bytes.split_first_chunk::<12>()?;
    let [flags, kind, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3] = *head;
    if flags >> 6 != 2 {
        return None;
    }
    let mut payload = rest.get(usize::from(flags & 0x0f) * 4..)?;
    if flags & 0x10 != 0 {
        let (extension, after) = payload.split_first_chunk::<4>()?;
        let [_, _, high, low] = *extension;
        payload = after.get(usize::from(u16::from_be_bytes([high, low])) * 4..)?;
    }
    if flags & 0x20 != 0 {
        let padding = usize::from(payload.last().copied().unwrap_or(0));
        let kept = payload.len().checked_sub(padding);
        payload = kept.and_then(|kept| payload.get(..kept)).unwrap_or(payload);
    }
    Some(Packet {
        marker: kind & 0x80 != 0,
        payload_type: kind & 0x7f,
        sequence: u16::from_be_bytes([s0, s1]),
        timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
        ssrc: u32::from_be_bytes([r0, r1, r2, r3]),
        payload,
    })
}

/// Writes one packet without extensions, for stand-ins and tests.
pub fn write(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = vec![
        0x80,
        u8::from(packet.marker) << 7 | packet.payload_type & 0x7f,
    ];
    bytes.extend_from_slice(&packet.sequence.to_be_bytes());
    bytes.extend_from_slice(&packet.timestamp.to_be_bytes());
    bytes.extend_from_slice(&packet.ssrc.to_be_bytes());
    bytes.extend_from_slice(packet.payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAIN: Packet<'static> = Packet {
        marker: true,
        payload_type: 96,
        sequence: 0xfffe,
        timestamp: 0x0102_0304,
        ssrc: 7,
        payload: b"media",
    };

    #[test]
    fn extensions_sources_and_padding_are_left_out() {
        let mut bytes = write(&PLAIN);
        assert_eq!(read(&bytes), Some(PLAIN));
        // Two sources, an extension of one word, three bytes of padding.
        bytes[0] = 0x80 | 0x20 | 0x10 | 2;
        let tail = bytes.split_off(12);
        bytes.extend_from_slice(&[9; 8]);
        bytes.extend_from_slice(&[0xbe, 0xde, 0, 1, 1, 2, 3, 4]);
        bytes.extend_from_slice(&tail);
        bytes.extend_from_slice(&[0, 0, 3]);
        assert_eq!(read(&bytes), Some(PLAIN));
    }

    #[test]
    fn padding_that_cannot_be_is_payload() {
        let mut bytes = write(&PLAIN);
        bytes[0] |= 0x20;
        // "a" = 97 bytes of padding in a payload of five.
        assert_eq!(read(&bytes).unwrap().payload, b"media");
        bytes.truncate(12);
        assert_eq!(read(&bytes).unwrap().payload, b"");
    }

    #[test]
    fn other_bytes_are_no_packet() {
        for bytes in [
            &b""[..],
            &[0x80; 11],
            // Version 1.
            &[0x40; 20],
            // Fifteen sources, and room for none.
            &[0x8f, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            // An extension that ends behind the packet.
            &[0x90, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9],
        ] {
            assert_eq!(read(bytes), None, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_what_is_written_is_read(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
            (marker, payload_type, sequence, timestamp, ssrc) in
                (any::<bool>(), 0..128_u8, any::<u16>(), any::<u32>(), any::<u32>()),
        ) {
            let _ = read(&bytes);
            let packet = Packet { marker, payload_type, sequence, timestamp, ssrc, payload: &bytes };
            let written = write(&packet);
            prop_assert_eq!(read(&written), Some(packet));
        }
    }
}
