//! Receiver reports (RFC 3550 6.4.2), which some cameras want to have, over TCP too: one that gets none
//! stops sending after a while.

use std::time::{Duration, Instant};

use super::rtp::Packet;

/// A report is due this often. (One camera stops after ten seconds without.)
pub const REPORT_EVERY: Duration = Duration::from_secs(5);
/// RFC 3550 12.1
const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;

/// Counts what has come of one stream.
#[derive(Debug)]
pub struct Reception {
    /// Ours.
    own: u32,
    /// Whose packets come, their highest number with its wraps, the number of the first.
    stream: Option<(u32, u32, u32)>,
    received: u32,
    /// Middle of the time in the last sender report, and when that came.
    sent: Option<(u32, Instant)>,
}

impl Reception {
    /// Of nothing yet. `own` = any number, the reporter's name.
    pub fn new(own: u32) -> Self {
        Self {
            own,
            stream: None,
            received: 0,
            sent: None,
        }
    }

    /// A packet has come.
    pub fn packet(&mut self, packet: &Packet<'_>) {
        let number = u32::from(packet.sequence);
        match &mut self.stream {
            Some((ssrc, highest, _)) if *ssrc == packet.ssrc => {
                let low = (*highest & 0xffff) as u16;
                let step = packet.sequence.wrapping_sub(low);
                if step < 0x8000 {
                    *highest = highest.wrapping_add(u32::from(step));
                }
                self.received = self.received.wrapping_add(1);
            }
            _ => {
                self.stream = Some((packet.ssrc, number, number));
                self.received = 1;
                self.sent = None;
            }
        }
    }

    /// Reports have come; of a sender's, the time is kept.
    pub fn reports(&mut self, bytes: &[u8], now: Instant) {
        let Some((head, rest)) = bytes.split_first_chunk::<4>() else {
            return;
        };
        let [flags, kind, _, _] = *head;
        // Source, then the time of which the middle half is reported back.
        let middle = rest.get(6..10).and_then(|half| half.first_chunk::<4>());
        if flags >> 6 == 2
            && kind == SENDER_REPORT
            && let Some(middle) = middle
        {
            self.sent = Some((u32::from_be_bytes(*middle), now));
        }
    }

    /// What to send; `None` before anything has come.
    pub fn report(&self, now: Instant) -> Option<Vec<u8>> {
        let (ssrc, highest, first) = self.stream?;
        let expected = highest.wrapping_sub(first).wrapping_add(1);
        let lost = expected.saturating_sub(self.received).min(0x007f_ffff);
        let (middle, since) = self.sent.map_or((0, 0), |(middle, at)| {
            let units = now.saturating_duration_since(at).as_micros() * 65_536 / 1_000_000;
            (middle, u32::try_from(units).unwrap_or(u32::MAX))
        });
        let mut report = vec![0x81, RECEIVER_REPORT, 0, 7];
        // Loss and jitter of late are left at nothing: no camera adapts to them.
        for word in [self.own, ssrc, lost, highest, 0, middle, since] {
            report.extend_from_slice(&word.to_be_bytes());
        }
        Some(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(sequence: u16, ssrc: u32) -> Packet<'static> {
        Packet {
            marker: false,
            payload_type: 96,
            sequence,
            timestamp: 0,
            ssrc,
            payload: &[],
        }
    }

    fn word(report: &[u8], at: usize) -> u32 {
        u32::from_be_bytes(report[at * 4..][..4].try_into().unwrap())
    }

    #[test]
    fn a_report_tells_what_is_missing_over_the_wrap() {
        let now = Instant::now();
        let mut reception = Reception::new(7);
        assert_eq!(reception.report(now), None);
        for number in [0xfffe, 0xffff, 0, 3, 2] {
            reception.packet(&packet(number, 9));
        }
        // A report of the sender: 32 bits of seconds, 32 of their parts.
        let mut sent = vec![0x80, 200, 0, 6, 0, 0, 0, 9];
        sent.extend_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
        reception.reports(&sent, now);
        let report = reception.report(now + Duration::from_millis(1500)).unwrap();
        assert_eq!(report.len(), 32);
        assert_eq!(report[..4], [0x81, 201, 0, 7]);
        assert_eq!((word(&report, 1), word(&report, 2)), (7, 9));
        assert_eq!(word(&report, 3), 1, "one of six");
        assert_eq!(word(&report, 4), 0x1_0003);
        assert_eq!(word(&report, 6), 0x0304_0506);
        assert_eq!(word(&report, 7), 3 * 65_536 / 2);
    }

    #[test]
    fn another_stream_is_counted_anew() {
        let mut reception = Reception::new(7);
        reception.packet(&packet(1, 9));
        reception.packet(&packet(500, 10));
        let report = reception.report(Instant::now()).unwrap();
        assert_eq!(word(&report, 2), 10);
        assert_eq!(word(&report, 3), 0);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..40),
            numbers in proptest::collection::vec(any::<u16>(), 0..20),
        ) {
            let now = Instant::now();
            let mut reception = Reception::new(1);
            reception.reports(&bytes, now);
            for number in numbers {
                reception.packet(&packet(number, 3));
            }
            let _ = reception.report(now);
        }
    }
}
