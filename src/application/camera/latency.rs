//! How long cameras take for commands, as a histogram for metrics. Atomic counters: lanes never
//! wait for who reads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::order::Order;
use crate::domain::metrics::Spread;

/// Upper bounds of the buckets, milliseconds.
const BOUNDS_MS: [u32; 11] = [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000];

/// What a command is, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A movement.
    Move,
    /// A stop.
    Stop,
    /// Presets and the rest that moves.
    Other,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Move, Self::Stop, Self::Other];

    /// Questions, tours and holds are not measured: a question is no movement, and the answers of
    /// the others do not wait for the camera.
    pub fn of(order: &Order) -> Option<Self> {
        match order {
            Order::Move { .. } => Some(Self::Move),
            Order::Stop(_) => Some(Self::Stop),
            Order::Query(_) | Order::Patrol(_) | Order::Hold(_) => None,
            _ => Some(Self::Other),
        }
    }

    /// As a label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Move => "move",
            Self::Stop => "stop",
            Self::Other => "other",
        }
    }
}

#[derive(Debug, Default)]
struct One {
    /// One more than there are bounds: the last is for what is above all.
    buckets: [AtomicU64; BOUNDS_MS.len() + 1],
    micros: AtomicU64,
    failed: AtomicU64,
}

/// From a command's arrival to its answer, by kind.
#[derive(Debug, Default)]
pub struct Latencies([One; 3]);

impl Latencies {
    fn of(&self, kind: Kind) -> &One {
        let [a, b, c] = &self.0;
        match kind {
            Kind::Move => a,
            Kind::Stop => b,
            Kind::Other => c,
        }
    }

    /// Notes an answer. What failed counts apart, so that refusals don't look like fast cameras.
    pub fn note(&self, kind: Kind, took: Duration, ok: bool) {
        let one = self.of(kind);
        if !ok {
            one.failed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let place = BOUNDS_MS
            .iter()
            .position(|&ms| took <= Duration::from_millis(ms.into()))
            .unwrap_or(BOUNDS_MS.len());
        if let Some(bucket) = one.buckets.get(place) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        one.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Commands that failed.
    pub fn failed(&self, kind: Kind) -> u64 {
        self.of(kind).failed.load(Ordering::Relaxed)
    }

    /// Seconds of what succeeded.
    pub fn spread(&self, kind: Kind) -> Spread {
        let one = self.of(kind);
        let mut so_far = 0;
        let mut counts = one.buckets.iter().map(|b| {
            so_far += b.load(Ordering::Relaxed);
            so_far
        });
        let buckets = BOUNDS_MS
            .iter()
            .map(|&ms| f64::from(ms) / 1e3)
            .zip(counts.by_ref())
            .collect();
        let count = counts.next().unwrap_or_default();
        // Microseconds stay below 2^52, where f64 is exact, for a hundred years.
        #[expect(clippy::cast_precision_loss)]
        let sum = one.micros.load(Ordering::Relaxed) as f64 / 1e6;
        Spread {
            buckets,
            count,
            sum,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_add_up() {
        let all = Latencies::default();
        let ms = Duration::from_millis;
        for took in [ms(1), ms(5), ms(6), ms(90), ms(60_000)] {
            all.note(Kind::Stop, took, true);
        }
        all.note(Kind::Stop, ms(1), false);
        let spread = all.spread(Kind::Stop);
        let up_to: Vec<u64> = spread.buckets.iter().map(|(_, n)| *n).collect();
        assert_eq!(up_to, [2, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4]);
        assert_eq!((spread.count, all.failed(Kind::Stop)), (5, 1));
        assert!((spread.sum - 60.102).abs() < 1e-9);
        assert_eq!(all.spread(Kind::Move).count, 0);
    }
}
