//! The connection machine against a model server over a simulated bad network: hours of simulated
//! time in milliseconds, faults from random seeds, invariants at the end.

// Helpers of tests are tests too: they may panic.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "ably_model/check.rs"]
mod check;
#[path = "ably_model/happenings.rs"]
mod happenings;
#[path = "ably_model/sim.rs"]
mod sim;
#[path = "support/mod.rs"]
mod support;

use proptest::prelude::*;
use sim::{MINUTE, Sim, Weather};

fn weather() -> impl Strategy<Value = Weather> {
    (
        any::<u64>(),
        1_i64..4,
        5_000_i64..600_000,
        prop_oneof![Just(5_000_i64), Just(60_000), Just(10 * MINUTE)],
        prop_oneof![Just(2_i64), Just(80), Just(600)],
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(
            |(seed, hours, calm, outage, latency, tokens, stamps)| Weather {
                seed,
                hours,
                calm,
                outage,
                latency,
                tokens,
                stamps,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig {
        // More with PROPTEST_CASES.
        cases: ProptestConfig::default().cases.min(if std::env::var_os("PROPTEST_CASES").is_some() { u32::MAX } else { 24 }),
        max_shrink_iters: 30,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn nothing_is_lost_or_doubled_in_any_weather(weather in weather()) {
        let mut sim = Sim::new(weather);
        sim.run();
        sim.check();
        sim.check_ages();
    }
}

#[test]
fn a_calm_day() {
    let mut sim = Sim::new(Weather {
        seed: 1,
        hours: 24,
        calm: i64::MAX / 4,
        outage: 1,
        latency: 20,
        tokens: false,
        stamps: false,
    });
    sim.run();
    sim.check();
    sim.check_ages();
    assert_eq!(sim.attempts.len(), 1);
    assert_eq!(sim.losses, 0);
    let late = sim
        .delivered
        .iter()
        .filter(|(d, _)| d.age_when_received.is_none() || d.replayed);
    assert_eq!(late.count(), 0);
}
