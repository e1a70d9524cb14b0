//! How fast connects are begun: so many a second, so many in one go, none for a moment after the
//! machine ran out of something.

use std::time::{Duration, Instant};

/// Connects a second.
const RATE: f64 = 2500.0;
/// Most connects in one go.
const BURST: f64 = 64.0;
/// After a lack of descriptors or memory nothing is begun for that long, in seconds.
const PAUSE: f64 = 0.1;

/// A bucket of tokens, one a connect.
#[derive(Debug)]
pub(super) struct Pace {
    tokens: f64,
    refilled: Instant,
}

impl Pace {
    pub fn new(now: Instant) -> Self {
        Self {
            tokens: BURST,
            refilled: now,
        }
    }

    pub fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.refilled).as_secs_f64();
        self.refilled = now.max(self.refilled);
        self.tokens = (self.tokens + passed * RATE).min(BURST);
    }

    /// Whether a connect may be begun.
    pub fn allows(&self) -> bool {
        self.tokens >= 1.0
    }

    /// A connect is begun.
    pub fn spend(&mut self) {
        self.tokens -= 1.0;
    }

    pub fn pause(&mut self, now: Instant) {
        self.refilled = now;
        self.tokens = -RATE * PAUSE;
    }

    /// When some may be begun together: nobody wakes for each single one.
    pub fn next_go(&self) -> Instant {
        let lacking = (BURST / 2.0 - self.tokens).max(0.0);
        self.refilled + Duration::from_secs_f64(lacking / RATE)
    }
}
