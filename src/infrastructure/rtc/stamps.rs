//! Timestamps of pictures that may be sent faster than they were taken, as a kept keyframe group is to
//! a new session: they never run ahead of the time of sending for long. Else a viewer would take the
//! group's length for delay of the network, and hold back all that follows by as much.

use std::time::{Duration, Instant};

/// Ticks a second.
const RATE: u64 = 90_000;
/// So far ahead they may run: cameras' own unevenness is passed on as it is.
const AHEAD: u64 = RATE / 20;
/// Two pictures are never closer to each other.
const LEAST_STEP: u64 = RATE / 1000;

/// See the module.
#[derive(Debug, Default)]
pub struct Stamps {
    /// When the first picture was sent, and its ticks.
    first: Option<(Instant, u64)>,
    /// Ticks of the last picture, and its timestamp.
    last: (u64, u64),
    /// Ticks that were left out since the first picture.
    left_out: u64,
}

impl Stamps {
    /// The timestamp, counted from the first picture's, of one that is sent now.
    pub fn stamp(&mut self, ticks: u64, now: Instant) -> u64 {
        let Some((begun, first)) = self.first else {
            self.first = Some((now, ticks));
            self.last = (ticks, 0);
            return 0;
        };
        let (last_ticks, last_stamp) = self.last;
        if ticks == last_ticks {
            return last_stamp;
        }
        let wanted = ticks.saturating_sub(first).saturating_sub(self.left_out);
        let most = ticks_of(now.saturating_duration_since(begun)).saturating_add(AHEAD);
        let stamp = wanted.min(most).max(last_stamp + LEAST_STEP);
        self.left_out = self.left_out.saturating_add(wanted.saturating_sub(stamp));
        self.last = (ticks, stamp);
        stamp
    }
}

fn ticks_of(time: Duration) -> u64 {
    u64::try_from(time.as_micros() * u128::from(RATE) / 1_000_000).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_is_sent_as_it_was_taken_keeps_its_steps() {
        let (mut stamps, t0) = (Stamps::default(), Instant::now());
        // Arrival is uneven by 30 ms.
        for (number, late) in [(0_u32, 20), (1, 30), (2, 0), (3, 25), (4, 10)] {
            let now = t0 + number * 40 * MS + late * MS;
            let number = u64::from(number);
            assert_eq!(stamps.stamp(7_000_000 + number * 3600, now), number * 3600);
        }
    }

    #[test]
    fn a_group_sent_in_a_hurry_takes_as_long_as_it_was_sent() {
        let (mut stamps, t0) = (Stamps::default(), Instant::now());
        // Two seconds of pictures in half a second, and then what comes.
        let mut now = t0;
        for picture in 0..50 {
            stamps.stamp(picture * 3600, now);
            now += 10 * MS;
        }
        let caught_up = stamps.stamp(50 * 3600, now);
        assert_eq!(caught_up, ticks_of(500 * MS) + AHEAD);
        for picture in 1..10 {
            now += 40 * MS;
            let stamp = stamps.stamp((50 + picture) * 3600, now);
            assert_eq!(stamp, caught_up + picture * 3600);
        }
    }

    #[test]
    fn parts_of_a_picture_have_its_timestamp_and_pictures_differ() {
        let (mut stamps, t0) = (Stamps::default(), Instant::now());
        let burst: Vec<u64> = (0..100).map(|n| stamps.stamp(n * 3600, t0)).collect();
        assert!(burst.is_sorted_by(|a, b| b - a >= LEAST_STEP));
        let last = stamps.stamp(100 * 3600, t0 + 5 * MS);
        assert_eq!(stamps.stamp(100 * 3600, t0 + 9 * MS), last);
    }

    proptest! {
        #[test]
        fn they_never_run_back_nor_far_ahead(
            steps in proptest::collection::vec((0..90_000_u64, 0..300_u64), 1..200),
        ) {
            let (mut stamps, t0) = (Stamps::default(), Instant::now());
            let (mut ticks, mut now, mut last, mut pictures) = (0, t0, 0, 0);
            for (step, wait) in steps {
                ticks += step;
                now += Duration::from_millis(wait);
                let stamp = stamps.stamp(ticks, now);
                pictures += 1;
                prop_assert!(stamp >= last);
                prop_assert!(stamp <= ticks_of(now - t0) + AHEAD + pictures * LEAST_STEP);
                last = stamp;
            }
        }
    }
}
