//! The clock of a stream that is passed on: it goes on evenly whatever the camera's clock does.
//!
//! A camera's timestamps are followed as long as they make sense: they tell when a picture was
//! taken, which arrival does not. Where they jump (the camera has set its clock, or restarted), or
//! run at a speed that no clock has, the time of arrival goes on in their place.

use std::time::{Duration, Instant};

/// A step forward over this is a jump of the clock, not a pause.
const MAX_STEP: Duration = Duration::from_secs(10);
/// The camera's clock is held against ours once in this time.
const WINDOW: Duration = Duration::from_secs(10);
/// A clock that gains or loses over a tenth has another rate than it says.
const MAX_DRIFT: u64 = 10;

/// Puts one stream's timestamps on a clock of our own.
#[derive(Debug)]
pub struct Timeline {
    /// Ticks a second.
    rate: u32,
    /// Of the last picture: as it came, when it came, as it went out.
    last: Option<(u32, Instant, u64)>,
    /// Since when the camera's clock is watched: when, and what it showed by then.
    window: Option<(Instant, u64)>,
    /// Ticks by the camera's own clock since the start, jumps left out.
    told: u64,
    /// The camera's clock has been found wrong.
    by_arrival: bool,
}

impl Timeline {
    /// For a format whose clock makes `rate` ticks a second; at least one.
    pub fn new(rate: u32) -> Self {
        Self {
            rate: rate.max(1),
            last: None,
            window: None,
            told: 0,
            by_arrival: false,
        }
    }

    /// Ticks since the first picture: never less than for the one before.
    pub fn map(&mut self, timestamp: u32, now: Instant) -> u64 {
        let Some((before, came, out)) = self.last else {
            self.last = Some((timestamp, now, 0));
            self.window = Some((now, 0));
            return 0;
        };
        let step = timestamp.wrapping_sub(before);
        // A step back shows as one of over half the range.
        let makes_sense = u64::from(step) <= self.ticks(MAX_STEP);
        let by_arrival = self.ticks(now.saturating_duration_since(came));
        let forward = if makes_sense && !self.by_arrival {
            u64::from(step)
        } else {
            by_arrival
        };
        self.watch(makes_sense.then_some(step), now);
        let out = out.saturating_add(forward);
        self.last = Some((timestamp, now, out));
        out
    }

    /// The camera's clock has been found wrong, and arrival is followed.
    pub fn goes_by_arrival(&self) -> bool {
        self.by_arrival
    }

    fn watch(&mut self, step: Option<u32>, now: Instant) {
        let Some(step) = step else {
            // Measured across a jump, nothing is learnt.
            self.window = Some((now, self.told));
            return;
        };
        self.told = self.told.saturating_add(u64::from(step));
        let Some((since, told)) = self.window else {
            return;
        };
        let passed = now.saturating_duration_since(since);
        if passed < WINDOW {
            return;
        }
        let (ours, theirs) = (self.ticks(passed), self.told.saturating_sub(told));
        self.by_arrival = theirs.abs_diff(ours) > ours / MAX_DRIFT;
        self.window = Some((now, self.told));
    }

    fn ticks(&self, time: Duration) -> u64 {
        let ticks = time.as_nanos().saturating_mul(u128::from(self.rate)) / 1_000_000_000;
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    /// Steps by `ticks` at 25 pictures a second, as the camera tells and as they go out.
    fn played(timeline: &mut Timeline, at: &mut Instant, stamps: &[u32]) -> Vec<u64> {
        stamps
            .iter()
            .map(|stamp| {
                *at += 40 * MS;
                timeline.map(*stamp, *at)
            })
            .collect()
    }

    #[test]
    fn the_cameras_steps_are_kept_over_the_wrap() {
        let (mut timeline, mut at) = (Timeline::new(90_000), Instant::now());
        let first = u32::MAX - 3600 - 1800;
        let stamps: Vec<u32> = (0..4_u32).map(|n| first.wrapping_add(n * 3600)).collect();
        let out = played(&mut timeline, &mut at, &stamps);
        assert_eq!(out, [0, 3600, 7200, 10_800]);
    }

    #[test]
    fn a_clock_that_is_set_costs_one_step_by_arrival() {
        for jump in [3600 * 90_000_u32, 0_u32.wrapping_sub(3600 * 90_000)] {
            let (mut timeline, mut at) = (Timeline::new(90_000), Instant::now());
            let out = played(&mut timeline, &mut at, &[0, 3600, 7200]);
            assert_eq!(out, [0, 3600, 7200]);
            let after: Vec<u32> = (0..3)
                .map(|n| (7200 + n * 3600_u32).wrapping_add(jump))
                .collect();
            let out = played(&mut timeline, &mut at, &after);
            assert_eq!(out, [10_800, 14_400, 18_000], "{jump}");
            assert!(!timeline.goes_by_arrival());
        }
    }

    #[test]
    fn a_pause_is_no_jump() {
        let (mut timeline, mut at) = (Timeline::new(90_000), Instant::now());
        played(&mut timeline, &mut at, &[0]);
        at += 9 * 1000 * MS;
        assert_eq!(timeline.map(9 * 90_000, at), 9 * 90_000);
    }

    #[test]
    fn a_clock_of_another_rate_gives_way_to_arrival_and_comes_back() {
        let (mut timeline, mut at) = (Timeline::new(90_000), Instant::now());
        // Says 1,000 ticks a second, as some do that count in milliseconds.
        let stamps: Vec<u32> = (0..400).map(|n| n * 40).collect();
        played(&mut timeline, &mut at, &stamps);
        assert!(timeline.goes_by_arrival());
        let out = played(&mut timeline, &mut at, &[400 * 40, 401 * 40]);
        assert_eq!(out[1] - out[0], 3600);
        let right: Vec<u32> = (0..600).map(|n| 402 * 40 + n * 3600).collect();
        played(&mut timeline, &mut at, &right);
        assert!(!timeline.goes_by_arrival());
    }

    #[test]
    fn a_burst_after_a_pause_of_the_line_is_no_other_rate() {
        let (mut timeline, mut at) = (Timeline::new(90_000), Instant::now());
        let mut stamp = 0;
        for second in 0..60_u32 {
            for _ in 0..25 {
                // Twenty-five pictures at once, then nothing for a second.
                timeline.map(stamp, at);
                stamp += 3600;
            }
            at += 1000 * MS;
            assert!(!timeline.goes_by_arrival(), "{second}");
        }
    }

    proptest! {
        #[test]
        fn it_never_runs_back_nor_ahead_of_what_came(
            steps in proptest::collection::vec((any::<u32>(), 0..2000_u64), 1..200),
        ) {
            let mut timeline = Timeline::new(90_000);
            let start = Instant::now();
            let (mut at, mut last) = (start, 0);
            for (count, (stamp, wait)) in steps.iter().enumerate() {
                at += Duration::from_millis(*wait);
                let out = timeline.map(*stamp, at);
                prop_assert!(out >= last);
                // No step may be longer than the longest pause or the time that passed.
                let most = (u64::try_from(count).unwrap() + 1) * 10 * 90_000 + u64::try_from((at - start).as_millis()).unwrap() * 90;
                prop_assert!(out <= most);
                last = out;
            }
        }
    }
}
