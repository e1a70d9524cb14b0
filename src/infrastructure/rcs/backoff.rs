//! Pauses between tries: 1 s doubling to 60 s, and up to a fifth more, so that the gateways of a
//! whole site do not come back in step.

use std::time::Duration;

/// Before the second try.
pub const FIRST: Duration = Duration::from_secs(1);
/// Never longer, but for the jitter.
pub const LONGEST: Duration = Duration::from_secs(60);

/// The pauses of one thing that is tried again and again.
#[derive(Debug, Clone)]
pub struct Backoff {
    failures: u32,
    random: fastrand::Rng,
}

impl Backoff {
    /// `seed` decides the jitter.
    pub fn new(seed: u64) -> Self {
        Self {
            failures: 0,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// One more failure: how long to wait now.
    pub fn failed(&mut self) -> Duration {
        let pause = after(self.failures);
        self.failures = self.failures.saturating_add(1);
        jittered(pause, &mut self.random)
    }

    /// It worked.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures since it last worked.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

/// The pause after so many earlier failures, without jitter.
pub fn after(earlier_failures: u32) -> Duration {
    FIRST
        .saturating_mul(1 << earlier_failures.min(6))
        .min(LONGEST)
}

/// Up to a fifth more.
pub fn jittered(pause: Duration, random: &mut fastrand::Rng) -> Duration {
    pause.mul_f64(1.0 + 0.2 * random.f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_a_minute() {
        let seconds: Vec<u64> = (0..9).map(|n| after(n).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(after(u32::MAX), LONGEST);
    }

    #[test]
    fn jitter_adds_at_most_a_fifth_and_success_starts_over() {
        let mut backoff = Backoff::new(7);
        for n in 0..100 {
            let pause = backoff.failed();
            assert!(pause >= after(n) && pause <= after(n).mul_f64(1.2));
        }
        backoff.reset();
        assert!(backoff.failed() < Duration::from_secs(2));
    }
}
