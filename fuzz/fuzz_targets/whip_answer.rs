//! What a WHIP endpoint answers, and what it sends then: a session that takes both, or refuses in words,
//! and comes to an end by itself. `{video}` and `{audio}` stand for the mids of the offer; datagrams
//! follow the answer, each behind a byte that is no UTF-8.
#![no_main]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lss::infrastructure::rtc::{Output, Publisher};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let (ours, theirs): (SocketAddr, SocketAddr) =
        (([192, 0, 2, 1], 5000).into(), ([192, 0, 2, 2], 6000).into());
    let mut now = Instant::now();
    let (mut session, offer) = Publisher::new(now, &[ours], true).unwrap();
    let mids: Vec<&str> = offer
        .lines()
        .filter_map(|line| line.strip_prefix("a=mid:"))
        .collect();
    let mut parts = data.split(|byte| *byte == 0xff);
    let answer = String::from_utf8_lossy(parts.next().unwrap_or_default())
        .replace("{video}", mids[0])
        .replace("{audio}", mids[1]);
    match session.accept(&answer, now) {
        Err(refusal) => assert!(!refusal.to_string().is_empty()),
        Ok(()) => {
            let mut over = false;
            for step in 0..40_u32 {
                if let Some(datagram) = parts.next() {
                    session.receive(now, theirs, ours, datagram);
                }
                session.timeout(now);
                let mut polls = 0;
                let wait = loop {
                    polls += 1;
                    assert!(polls < 1000);
                    match session.poll(now) {
                        Output::Wait(at) => break at,
                        Output::Event(_) => over = true,
                        Output::Transmit { .. } => {}
                    }
                };
                assert!(wait > now);
                now += Duration::from_millis(u64::from(step) * 20);
            }
            assert!(over, "a session that nobody answers ends");
        }
    }
});
