//! Our own publisher as a relay's peer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::peer::{Event, Output, Peer};
use crate::domain::stream::UplinkStats;
use crate::infrastructure::rtc::{self, Publisher};

/// A session to be sent from these addresses, and its offer; or why there is none.
pub fn make(now: Instant, from: &[SocketAddr]) -> Result<(Publisher, String), String> {
    Publisher::new(now, from, false).map_err(|why| why.to_string())
}

impl Peer for Publisher {
    fn accept(&mut self, answer: &str, now: Instant) -> Result<(), String> {
        Publisher::accept(self, answer, now).map_err(|why| why.to_string())
    }

    fn receive(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8], now: Instant) {
        Publisher::receive(self, now, from, to, bytes);
    }

    fn timeout(&mut self, now: Instant) {
        Publisher::timeout(self, now);
    }

    fn poll(&mut self, now: Instant) -> Output {
        match Publisher::poll(self, now) {
            rtc::Output::Transmit { from, to, bytes } => Output::Transmit { from, to, bytes },
            rtc::Output::Wait(at) => Output::Wait(at),
            rtc::Output::Event(event) => Output::Event(match event {
                rtc::Event::Connected => Event::Connected,
                rtc::Event::KeyframeWanted => Event::KeyframeWanted,
                rtc::Event::FingerprintWrong => Event::FingerprintWrong,
                rtc::Event::Lost(why) => Event::Lost(why.to_string()),
            }),
        }
    }

    fn video(&mut self, payloads: &[Arc<[u8]>], ticks: u64, now: Instant) {
        Publisher::video(self, now, ticks, payloads, true);
    }

    fn close(&mut self) {
        Publisher::close(self);
    }

    fn uplink(&self) -> UplinkStats {
        let figures = Publisher::figures(self);
        UplinkStats {
            round_trip: figures.round_trip,
            loss: figures.loss.map(f64::from),
            nacks: figures.nacks,
            keyframe_requests: figures.keyframe_requests,
            sent_bytes: figures.bytes,
            resent_bytes: figures.retransmitted_bytes,
        }
    }
}
