//! The server's clock, carried on our monotonic one.
//!
//! Every fresh frame that has a time is a lower bound of the server's clock at its receipt; an
//! answer to an HTTP request for the time bounds it from both sides. Our own wall clock takes no
//! part: a gateway without a battery may believe it is 1970.

use std::time::{Duration, Instant};

use super::types::TimeAnswer;

/// The time is asked for again soon after an answer that took longer.
const MAX_ROUND_TRIP: Duration = Duration::from_secs(3);
/// How far behind a frame may be that was just made.
const FRAME_DELAY_MS: i64 = 2_000;
/// Of our crystal and the server's, together: a millisecond in so many.
const DRIFT: i64 = 5_000;

/// An estimate of the server's clock, in its milliseconds since the epoch.
#[derive(Debug, Default)]
pub(super) struct ServerClock {
    /// Best estimate.
    anchor: Option<Anchor>,
    /// What it certainly was at least. Unlike the anchor, fed from stored messages too.
    floor: Option<Anchor>,
    /// Nothing has confirmed it since the last connect.
    doubtful: bool,
}

#[derive(Debug, Clone, Copy)]
struct Anchor {
    at: Instant,
    ms: i64,
    /// It may be so far off, either way, at `at`.
    error: i64,
}

impl Anchor {
    /// The time at another moment, before or after.
    fn time(self, at: Instant) -> i64 {
        let after = ms(at.saturating_duration_since(self.at));
        let before = ms(self.at.saturating_duration_since(at));
        self.ms.saturating_add(after).saturating_sub(before)
    }

    /// How far off it may be by then.
    fn error_at(self, at: Instant) -> i64 {
        let since = ms(at.saturating_duration_since(self.at));
        self.error.saturating_add(since / DRIFT)
    }

    /// Whether both can't be true.
    fn contradicts(self, other: Self, at: Instant) -> bool {
        let apart = self
            .time(at)
            .saturating_sub(other.time(at))
            .saturating_abs();
        apart > self.error_at(at).saturating_add(other.error_at(at))
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl ServerClock {
    /// A new connection: until the server has told its time, what was known of it may be behind
    /// (a machine that sleeps stops our clock).
    pub(super) fn doubt(&mut self) {
        self.doubtful = true;
    }

    /// Whether nothing has confirmed the estimate since the last connect.
    pub(super) fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// A frame that the server made just now carried this time.
    pub(super) fn fresh(&mut self, server_ms: i64, at: Instant) {
        self.stored(server_ms, at);
        self.doubtful = false;
        let known = self.anchor.filter(|anchor| anchor.time(at) >= server_ms);
        if known.is_none() {
            // It is later than we thought; and if we had been sure, we were wrong.
            let left = |anchor: Anchor| {
                let behind = server_ms.saturating_sub(anchor.time(at));
                let left = anchor.error_at(at).saturating_sub(behind);
                if left < 0 { FRAME_DELAY_MS } else { left }
            };
            self.anchor = Some(Anchor {
                at,
                ms: server_ms,
                error: self.anchor.map_or(FRAME_DELAY_MS, left),
            });
        }
    }

    /// A message that may be old carried this time.
    pub(super) fn stored(&mut self, server_ms: i64, at: Instant) {
        if self.floor.is_none_or(|floor| floor.time(at) < server_ms) {
            self.floor = Some(Anchor {
                at,
                ms: server_ms,
                error: 0,
            });
        }
    }

    /// The server was asked. Its answer replaces the estimate where it is the more certain one, by
    /// now, or shows that the other was wrong. Returns whether it says enough for long.
    pub(super) fn answered(&mut self, answer: TimeAnswer) -> bool {
        let TimeAnswer { at, round_trip, .. } = answer;
        let half = ms(round_trip) / 2;
        let new = Anchor {
            at,
            ms: answer.server_ms.saturating_add(half),
            error: half,
        };
        let better = |old: Anchor| new.error <= old.error_at(at) || new.contradicts(old, at);
        if self.doubtful || self.anchor.is_none_or(better) {
            self.anchor = Some(new);
        }
        self.doubtful = false;
        round_trip <= MAX_ROUND_TRIP
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

    fn answer(server_ms: i64, at: Instant, trip: u64) -> TimeAnswer {
        TimeAnswer {
            server_ms,
            at,
            round_trip: Duration::from_millis(trip),
        }
    }

    #[test]
    fn the_most_certain_answer_counts_and_may_lower() {
        let t0 = Instant::now();
        let mut clock = ServerClock::default();
        // A slow one is better than none, and is not enough.
        assert!(!clock.answered(answer(10_000, t0, 4_000)));
        assert_eq!(clock.time(t0), Some(12_000));
        // A quick one lowers it.
        assert!(clock.answered(answer(10_500, t0, 200)));
        assert_eq!(clock.time(t0), Some(10_600));
        // A slow one that agrees does not blur it.
        assert!(!clock.answered(answer(9_000, t0, 6_000)));
        assert_eq!(clock.time(t0), Some(10_600));
        // One that can't be reconciled with it shows that it was wrong.
        clock.answered(answer(50_000, t0, 6_000));
        assert_eq!(clock.time(t0), Some(53_000));
    }

    #[test]
    fn certainty_fades() {
        let t0 = Instant::now();
        let mut clock = ServerClock::default();
        clock.answered(answer(10_000, t0, 20));
        let hour = t0 + SEC * 3_600;
        // By now it may be 730 ms off: an answer within 400 ms says more.
        clock.answered(answer(3_609_400, hour, 400));
        assert_eq!(clock.time(hour), Some(3_609_600));
        clock.answered(answer(3_608_900, hour, 1_400));
        assert_eq!(clock.time(hour), Some(3_609_600));
    }

    #[test]
    fn after_a_connect_it_is_in_doubt_until_the_server_tells_its_time() {
        let t0 = Instant::now();
        let mut clock = ServerClock::default();
        clock.answered(answer(10_000, t0, 20));
        // The machine slept for an hour; our clock did not notice.
        clock.doubt();
        assert!(clock.is_doubtful());
        clock.answered(answer(3_610_000, t0 + SEC, 4_000));
        assert!(!clock.is_doubtful());
        assert_eq!(clock.time(t0 + SEC), Some(3_612_000));
        clock.doubt();
        clock.fresh(7_200_000, t0 + SEC);
        assert!(!clock.is_doubtful());
        assert_eq!(clock.time(t0 + SEC), Some(7_200_000));
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
