//! Pauses between tries: 1 s doubling to 60 s (contract 10), and up to a fifth more, so that the
//! gateways of a whole site do not come back in step.

use std::time::Duration;

/// How pauses grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Before the second try.
    pub first: Duration,
    /// Never longer, but for the jitter.
    pub longest: Duration,
}

impl Default for Pace {
    /// The contract's.
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(60),
        }
    }
}

impl Pace {
    /// The pause after so many earlier failures, without jitter.
    pub fn after(self, earlier_failures: u32) -> Duration {
        self.first
            .saturating_mul(1 << earlier_failures.min(20))
            .min(self.longest)
    }
}

/// Up to a fifth more.
pub fn jittered(pause: Duration, random: &mut fastrand::Rng) -> Duration {
    pause.mul_f64(1.0 + 0.2 * random.f64())
}

/// The pauses of one thing that is tried again and again.
#[derive(Debug, Clone)]
pub struct Backoff {
    pace: Pace,
    failures: u32,
    random: fastrand::Rng,
}

impl Backoff {
    /// `seed` decides the jitter.
    pub fn new(pace: Pace, seed: u64) -> Self {
        Self {
            pace,
            failures: 0,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// One more failure: how long to wait now.
    pub fn failed(&mut self) -> Duration {
        let pause = self.pace.after(self.failures);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_a_minute() {
        let pace = Pace::default();
        let seconds: Vec<u64> = (0..9).map(|n| pace.after(n).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(pace.after(u32::MAX), pace.longest);
    }

    #[test]
    fn jitter_adds_at_most_a_fifth_and_success_starts_over() {
        let pace = Pace::default();
        let mut backoff = Backoff::new(pace, 7);
        for n in 0..100 {
            let pause = backoff.failed();
            assert!(pause >= pace.after(n) && pause <= pace.after(n).mul_f64(1.2));
        }
        backoff.reset();
        assert!(backoff.failed() < Duration::from_secs(2));
    }
}
