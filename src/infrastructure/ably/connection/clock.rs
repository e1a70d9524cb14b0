//! The server's clock, carried on our monotonic one.
//!
//! Every fresh frame that has a time is a lower bound of the server's clock at its receipt; an
//! answer to an HTTP request for the time bounds it from both sides. Our own wall clock takes no
//! part: a gateway without a battery may believe it is 1970.

use std::time::{Duration, Instant};

use super::types::TimeAnswer;

/// Answers that took longer say too little.
const MAX_ROUND_TRIP: Duration = Duration::from_secs(3);

/// An estimate of the server's clock, in its milliseconds since the epoch.
#[derive(Debug, Default)]
pub(super) struct ServerClock {
    /// Best estimate.
    anchor: Option<Anchor>,
    /// What it certainly was at least. Unlike the anchor, fed from stored messages too.
    floor: Option<Anchor>,
}

#[derive(Debug, Clone, Copy)]
struct Anchor {
    at: Instant,
    ms: i64,
}

impl Anchor {
    /// The time at another moment, before or after.
    fn time(self, at: Instant) -> i64 {
        let after = ms(at.saturating_duration_since(self.at));
        let before = ms(self.at.saturating_duration_since(at));
        self.ms.saturating_add(after).saturating_sub(before)
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl ServerClock {
    /// A frame that the server made just now carried this time.
    pub(super) fn fresh(&mut self, server_ms: i64, at: Instant) {
        self.stored(server_ms, at);
        if self.anchor.is_none_or(|anchor| anchor.time(at) < server_ms) {
            self.anchor = Some(Anchor { at, ms: server_ms });
        }
    }

    /// A message that may be old carried this time.
    pub(super) fn stored(&mut self, server_ms: i64, at: Instant) {
        if self.floor.is_none_or(|floor| floor.time(at) < server_ms) {
            self.floor = Some(Anchor { at, ms: server_ms });
        }
    }

    /// The server was asked. Replaces the estimate: crystals drift, both ways.
    /// Returns whether the answer was good enough.
    pub(super) fn answered(&mut self, answer: TimeAnswer) -> bool {
        if answer.round_trip > MAX_ROUND_TRIP {
            return false;
        }
        self.anchor = Some(Anchor {
            at: answer.at,
            ms: answer.server_ms.saturating_add(ms(answer.round_trip) / 2),
        });
        true
    }

    /// The server's time at a moment, if it is known.
    pub(super) fn time(&self, at: Instant) -> Option<i64> {
        self.anchor.map(|anchor| anchor.time(at))
    }

    /// The best that is known of the server's time at a moment: the estimate, else what it was at
    /// least.
    pub(super) fn at_least(&self, at: Instant) -> Option<i64> {
        self.anchor.or(self.floor).map(|anchor| anchor.time(at))
    }

    /// How old something of that time is.
    pub(super) fn age(&self, server_ms: i64, now: Instant) -> Option<Duration> {
        let age = self.time(now)?.saturating_sub(server_ms);
        Some(Duration::from_millis(u64::try_from(age).unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEC: Duration = Duration::from_secs(1);

    #[test]
    fn carried_on_the_monotonic_clock() {
        let t0 = Instant::now() + 100 * SEC;
        let mut clock = ServerClock::default();
        assert_eq!(clock.age(5, t0), None);
        clock.fresh(1_000_000, t0);
        assert_eq!(clock.time(t0 + SEC), Some(1_001_000));
        assert_eq!(clock.time(t0.checked_sub(SEC).unwrap()), Some(999_000));
        assert_eq!(clock.age(1_000_500, t0 + SEC), Some(SEC / 2));
        assert_eq!(
            clock.age(9_000_000, t0),
            Some(Duration::ZERO),
            "from the future"
        );
    }

    #[test]
    fn a_later_lower_bound_raises_but_never_lowers() {
        let t0 = Instant::now();
        let mut clock = ServerClock::default();
        clock.fresh(1_000, t0);
        clock.fresh(1_500, t0 + SEC);
        assert_eq!(clock.time(t0 + SEC), Some(2_000));
        clock.fresh(2_500, t0 + SEC);
        assert_eq!(clock.time(t0 + SEC), Some(2_500));
    }

    #[test]
    fn an_answer_replaces_the_estimate_unless_it_was_slow() {
        let t0 = Instant::now();
        let mut clock = ServerClock::default();
        clock.fresh(10_000, t0);
        let answer = |server_ms, trip| TimeAnswer {
            server_ms,
            at: t0,
            round_trip: trip,
        };
        assert!(!clock.answered(answer(1, 4 * SEC)));
        assert!(clock.answered(answer(5_000, SEC)));
        assert_eq!(clock.time(t0), Some(5_500));
    }

    #[test]
    fn stored_messages_bound_but_do_not_estimate() {
        let t0 = Instant::now();
        let mut clock = ServerClock::default();
        clock.stored(7_000, t0);
        assert_eq!(clock.time(t0), None);
        assert_eq!(clock.at_least(t0 + SEC), Some(8_000));
        clock.stored(6_000, t0);
        assert_eq!(clock.at_least(t0), Some(7_000));
    }

    #[test]
    fn no_overflow_whatever_the_server_says() {
        let t0 = Instant::now();
        for ms in [i64::MIN, i64::MAX] {
            let mut clock = ServerClock::default();
            clock.fresh(ms, t0);
            let _ = (clock.time(t0 + SEC), clock.age(i64::MIN, t0 + SEC));
            let _ = clock.age(i64::MAX, t0 + SEC);
        }
    }
}
