//! What a session has sent, and how it arrives.

use std::time::Duration;

use str0m::stats::{MediaEgressStats, PeerStats};

/// Of one session, from its start.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Figures {
    /// There and back, by RTCP or by ICE's own checks.
    pub round_trip: Option<Duration>,
    /// Share of the video's packets that the peer missed, of its last reports; those that came by
    /// being sent again count as missed.
    pub loss: Option<f32>,
    /// Requests for packets to be sent again.
    pub nacks: u64,
    /// Requests for a keyframe (PLI and FIR).
    pub keyframe_requests: u64,
    /// Packets of media, retransmissions included.
    pub packets: u64,
    /// Bytes of UDP in these.
    pub bytes: u64,
    /// Bytes of those that were sent again.
    pub retransmitted_bytes: u64,
}

/// Keeps the figures.
#[derive(Debug, Default)]
pub struct Meter(Figures);

impl Meter {
    /// A datagram leaves; `again` is the payload type of retransmissions.
    pub fn sent(&mut self, datagram: &[u8], again: u8) {
        let [first, second, ..] = datagram else {
            return;
        };
        let kind = second & 0x7f;
        // RTP, not DTLS, STUN or RTCP (RFC 7983, 7; RFC 5761, 4).
        if !(128..192).contains(first) || (64..96).contains(&kind) {
            return;
        }
        let length = u64::try_from(datagram.len()).unwrap_or(0);
        self.0.packets += 1;
        self.0.bytes += length;
        if kind == again {
            self.0.retransmitted_bytes += length;
        }
    }

    /// What is known of the video.
    pub fn media(&mut self, stats: &MediaEgressStats) {
        self.0.nacks = stats.nacks;
        self.0.keyframe_requests = stats.plis + stats.firs;
        self.0.round_trip = stats.rtt.or(self.0.round_trip);
        self.0.loss = stats.loss.or(self.0.loss);
    }

    /// What is known of the way.
    pub fn peer(&mut self, stats: &PeerStats) {
        let by_ice = stats
            .selected_candidate_pair
            .as_ref()
            .and_then(|pair| pair.current_round_trip_time);
        self.0.round_trip = by_ice.or(self.0.round_trip);
    }

    /// As they stand.
    pub fn figures(&self) -> Figures {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_alone_is_counted() {
        let mut meter = Meter::default();
        for datagram in [&[0x80, 96, 0][..], &[0x80, 0xe1, 0, 0], &[0x90, 111]] {
            meter.sent(datagram, 97);
        }
        // RTCP, STUN, DTLS, nothing.
        for datagram in [
            &[0x80, 200, 0][..],
            &[0, 1, 0],
            &[22, 254, 253],
            &[],
            &[0x80],
        ] {
            meter.sent(datagram, 97);
        }
        let figures = meter.figures();
        assert_eq!((figures.packets, figures.bytes), (3, 9));
        assert_eq!(figures.retransmitted_bytes, 4);
    }
}
