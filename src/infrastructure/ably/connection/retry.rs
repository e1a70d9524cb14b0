//! How long to wait: RTB1's delays, the pace of publishes. Pure; randomness and time are passed in.

use std::time::{Duration, Instant};

/// Delay before the `n`-th retry (RTB1): base · min((n+2)/3, 2) · jitter, `n` from 1, jitter in
/// [0.8, 1.0].
pub(super) fn delay(base: Duration, n: u32, rng: &mut fastrand::Rng) -> Duration {
    let factor = (f64::from(n) + 2.0) / 3.0;
    base.mul_f64(factor.min(2.0) * (0.8 + 0.2 * rng.f64()))
}

/// Delay before the `n`-th try after a refusal (`n` from 1): doubling, without jitter.
pub(super) fn doubling(base: Duration, n: u32, max: Duration) -> Duration {
    let factor = 1_u32.checked_shl(n.saturating_sub(1)).unwrap_or(u32::MAX);
    base.saturating_mul(factor).min(max)
}

/// A token bucket: `rate` a second, `burst` at once.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: f64,
    burst: f64,
    level: f64,
    at: Option<Instant>,
}

impl Bucket {
    /// A full bucket for a service that takes `limit` a second: seven tenths of it as rate and two
    /// as burst, so that no second sees more than the limit, even where the network pushes
    /// together what was sent apart.
    pub(super) fn for_limit(limit: u32) -> Self {
        let limit = f64::from(limit.clamp(5, 1_000));
        Self {
            rate: limit * 0.7,
            burst: limit * 0.2,
            level: limit * 0.2,
            at: None,
        }
    }

    /// A new limit; what is left stays.
    pub(super) fn set_limit(&mut self, limit: u32) {
        let new = Self::for_limit(limit);
        self.rate = new.rate;
        self.burst = new.burst;
        self.level = self.level.min(new.burst);
    }

    fn refill(&mut self, now: Instant) {
        if let Some(at) = self.at {
            let gained = now.saturating_duration_since(at).as_secs_f64() * self.rate;
            self.level = (self.level + gained).min(self.burst);
        }
        self.at = Some(now);
    }

    /// Takes one if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        self.refill(now);
        let there = self.level >= 1.0;
        if there {
            self.level -= 1.0;
        }
        there
    }

    /// Takes one in any case; the ones after it wait longer.
    pub(super) fn charge(&mut self, now: Instant) {
        self.refill(now);
        self.level -= 1.0;
    }

    /// When the next one is there.
    pub(super) fn next(&self, now: Instant) -> Instant {
        let missing = (1.0 - self.level).max(0.0) / self.rate;
        let from = self.at.unwrap_or(now);
        // Rounded up: a wake-up a nanosecond early would find nothing and be repeated.
        from + Duration::from_secs_f64(missing) + Duration::from_micros(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rtb1_grows_to_twice_the_base_with_jitter() {
        let mut rng = fastrand::Rng::with_seed(7);
        let base = Duration::from_secs(15);
        for (n, full) in [(1, 15.0), (2, 20.0), (3, 25.0), (4, 30.0), (50, 30.0)] {
            for _ in 0..200 {
                let got = delay(base, n, &mut rng).as_secs_f64();
                assert!(
                    (full * 0.8 - 1e-6..=full + 1e-6).contains(&got),
                    "{n}: {got}"
                );
            }
        }
    }

    #[test]
    fn doubling_ends_at_its_maximum() {
        let (base, max) = (Duration::from_secs(60), Duration::from_secs(300));
        let got: Vec<u64> = (1..7).map(|n| doubling(base, n, max).as_secs()).collect();
        assert_eq!(got, [60, 120, 240, 300, 300, 300]);
        assert_eq!(doubling(base, u32::MAX, max), max);
    }

    #[test]
    fn no_second_sees_more_than_the_limit() {
        let t0 = Instant::now();
        let mut bucket = Bucket::for_limit(50);
        let mut sent = Vec::new();
        let mut now = t0;
        while sent.len() < 500 {
            if bucket.take(now) {
                sent.push(now);
            } else {
                now = bucket.next(now);
            }
        }
        for (i, first) in sent.iter().enumerate() {
            let within = sent[i..]
                .iter()
                .take_while(|at| at.duration_since(*first) < Duration::from_secs(1));
            assert!(within.count() <= 45);
        }
        let took = now.duration_since(t0).as_secs_f64();
        assert!((13.9..14.2).contains(&took), "490 at 35 a second: {took}");
    }
}
