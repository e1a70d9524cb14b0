//! When to register and when to beat. Sans-IO: no socket, no clock, no thread.
//!
//! Registration is tried for ever with growing pauses. Then heartbeats come at a steady cadence,
//! whatever each one's fate; ticks that were missed while one was under way are left out, not made
//! up for. A heartbeat that says "unknown node" leads back to registration, at most once in
//! [`AGAIN`].

use std::time::{Duration, Instant};

use super::backoff::{Backoff, Pace};

/// Registrations that follow on one that was taken begin at most this often: those that an RCS asks
/// for by not knowing us, and those that have something new to tell.
pub const AGAIN: Duration = Duration::from_secs(30);

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// POST /lss/register
    Register,
    /// POST /lss/heartbeat
    Heartbeat,
}

/// How a heartbeat was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    Taken,
    /// Not taken, or nobody there.
    Failed,
    /// RCS does not know this node.
    Unknown,
}

/// The times that a plan keeps.
#[derive(Debug, Clone, Copy)]
pub struct Rhythm {
    /// Between heartbeats.
    pub interval: Duration,
    /// Between registrations that fail.
    pub pace: Pace,
    /// Registrations that follow on one that was taken begin at most this often.
    pub again: Duration,
}

impl Rhythm {
    /// The contract's, with `rcs.heartbeat_interval`.
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            pace: Pace::default(),
            again: AGAIN,
        }
    }
}

/// The plan.
#[derive(Debug)]
pub struct Schedule {
    interval: Duration,
    again: Duration,
    backoff: Backoff,
    registered: bool,
    /// RCS knows us, but not what is new of us.
    news: bool,
    /// When the last series of registration tries began.
    began: Option<Instant>,
    next: Instant,
}

impl Schedule {
    /// Registers at `first`, then beats as `rhythm` says. `seed` decides the jitter.
    pub fn new(rhythm: Rhythm, first: Instant, seed: u64) -> Self {
        Self {
            interval: rhythm.interval.max(Duration::from_millis(1)),
            again: rhythm.again,
            backoff: Backoff::new(rhythm.pace, seed),
            registered: false,
            news: false,
            began: None,
            next: first,
        }
    }

    /// What to do next, and when.
    pub fn next(&self) -> (Action, Instant) {
        let action = if self.registered && !self.news {
            Action::Heartbeat
        } else {
            Action::Register
        };
        (action, self.next)
    }

    /// Whether RCS has taken a registration and not disowned it since.
    pub fn is_registered(&self) -> bool {
        self.registered
    }

    /// What the registration told is not true any more: RCS is told again, as soon as it may be.
    pub fn changed(&mut self, now: Instant) {
        if self.registered && self.may_register_again() <= now {
            self.news = true;
            self.next = now;
        }
    }

    /// A registration try that began at `began` has ended now. Returns the pause before the next
    /// try, if it failed. One that only had news to tell is not repeated at that pace: heartbeats
    /// go on, and whoever sees that there is still news says so again.
    pub fn register_ended(
        &mut self,
        taken: bool,
        began: Instant,
        now: Instant,
    ) -> Option<Duration> {
        if self.backoff.failures() == 0 {
            self.began = Some(began);
        }
        if std::mem::take(&mut self.news) && !taken {
            self.next = now + self.interval;
            return Some(self.interval);
        }
        if taken {
            self.backoff.reset();
            self.registered = true;
            self.next = now + self.interval;
            None
        } else {
            let pause = self.backoff.failed();
            self.next = now + pause;
            Some(pause)
        }
    }

    /// The heartbeat that was due has ended now. Returns when a registration will be tried, if
    /// RCS asked for one.
    pub fn beat_ended(&mut self, beat: Beat, now: Instant) -> Option<Instant> {
        // The next tick of the same clockwork that lies ahead.
        let late = now.saturating_duration_since(self.next);
        let missed = late.as_nanos() / self.interval.as_nanos();
        let skipped = u32::try_from(missed).unwrap_or(u32::MAX);
        self.next += self
            .interval
            .saturating_mul(skipped)
            .saturating_add(self.interval);
        if beat != Beat::Unknown {
            return None;
        }
        let allowed = self.may_register_again();
        if allowed <= now {
            self.registered = false;
            self.next = now;
            Some(now)
        } else {
            // Beats go on meanwhile: RCS may come to its senses. The tick after that asks again.
            Some(allowed)
        }
    }

    fn may_register_again(&self) -> Instant {
        self.began.map_or(self.next, |began| began + self.again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FIVE: Duration = Duration::from_secs(5);

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn registration_is_tried_for_ever_with_growing_pauses() {
        let t0 = Instant::now();
        let mut plan = Schedule::new(Rhythm::new(FIVE), t0, 1);
        let mut now = t0;
        for n in 0..20u32 {
            assert_eq!(plan.next(), (Action::Register, now));
            let pause = plan.register_ended(false, now, now).unwrap();
            let least = Pace::default().after(n);
            assert!(
                pause >= least && pause <= least.mul_f64(1.2),
                "{n}: {pause:?}"
            );
            now += pause;
        }
        assert_eq!(plan.register_ended(true, now, now), None);
        assert_eq!(plan.next(), (Action::Heartbeat, now + FIVE));
    }

    #[test]
    fn the_cadence_is_steady_and_missed_ticks_are_left_out() {
        let t0 = Instant::now();
        let mut plan = Schedule::new(Rhythm::new(FIVE), t0, 1);
        plan.register_ended(true, t0, t0);
        // Beats that take a while do not shift the clockwork.
        plan.beat_ended(Beat::Taken, t0 + ms(5_900));
        assert_eq!(plan.next().1, t0 + ms(10_000));
        plan.beat_ended(Beat::Failed, t0 + ms(10_001));
        assert_eq!(plan.next().1, t0 + ms(15_000));
        // One that hung for 32 s.
        plan.beat_ended(Beat::Failed, t0 + ms(47_000));
        assert_eq!(plan.next().1, t0 + ms(50_000));
        assert!(plan.is_registered());
    }

    #[test]
    fn an_unknown_node_registers_again_at_most_each_half_minute() {
        let t0 = Instant::now();
        let mut plan = Schedule::new(Rhythm::new(FIVE), t0, 1);
        plan.register_ended(true, t0, t0);
        for tick in 1..6 {
            let now = t0 + FIVE * tick;
            assert_eq!(plan.next(), (Action::Heartbeat, now));
            assert_eq!(plan.beat_ended(Beat::Unknown, now), Some(t0 + AGAIN));
        }
        let now = t0 + AGAIN;
        assert_eq!(plan.beat_ended(Beat::Unknown, now), Some(now));
        assert_eq!(plan.next(), (Action::Register, now));
        // Its own tries follow the backoff, not the half minute.
        let pause = plan.register_ended(false, now, now).unwrap();
        assert!(pause < ms(1_300));
        plan.register_ended(true, now + pause, now + pause);
        // The half minute counts from the first try.
        assert_eq!(
            plan.beat_ended(Beat::Unknown, now + pause + FIVE),
            Some(now + AGAIN)
        );
    }

    #[test]
    fn news_is_told_at_most_each_half_minute_and_never_makes_us_strangers() {
        let t0 = Instant::now();
        let mut plan = Schedule::new(Rhythm::new(FIVE), t0, 1);
        plan.changed(t0);
        plan.register_ended(true, t0, t0);
        for tick in 1..6 {
            let now = t0 + FIVE * tick;
            plan.changed(now);
            assert_eq!(plan.next(), (Action::Heartbeat, now));
            plan.beat_ended(Beat::Taken, now);
        }
        let now = t0 + AGAIN;
        plan.beat_ended(Beat::Taken, now);
        plan.changed(now);
        assert_eq!(plan.next(), (Action::Register, now));
        assert!(plan.is_registered());
        // Refused: beats go on, and it is tried again after another half minute.
        assert_eq!(plan.register_ended(false, now, now), Some(FIVE));
        assert!(plan.is_registered());
        plan.changed(now + FIVE);
        assert_eq!(plan.next(), (Action::Heartbeat, now + FIVE));
        plan.changed(now + AGAIN);
        assert_eq!(plan.next(), (Action::Register, now + AGAIN));
        assert_eq!(plan.register_ended(true, now + AGAIN, now + AGAIN), None);
        assert_eq!(plan.next(), (Action::Heartbeat, now + AGAIN + FIVE));
    }

    proptest! {
        #[test]
        fn a_next_tick_always_lies_ahead_and_within_an_interval(
            delays in proptest::collection::vec(0u64..200_000, 1..60),
        ) {
            let t0 = Instant::now();
            let mut plan = Schedule::new(Rhythm::new(FIVE), t0, 1);
            plan.register_ended(true, t0, t0);
            for delay in delays {
                let now = plan.next().1 + ms(delay);
                plan.beat_ended(Beat::Taken, now);
                let next = plan.next().1;
                prop_assert!(next > now && next <= now + FIVE);
                prop_assert_eq!((next - t0).as_nanos() % FIVE.as_nanos(), 0);
            }
        }
    }
}
