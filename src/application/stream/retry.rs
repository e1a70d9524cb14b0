//! When a failed task is tried again (contract 3). Pure.

use std::time::Duration;

use crate::domain::stream::{Cause, RetryLimit};

/// Delays of the first retries; the last one repeats. The spec's three retries so ride out a
/// camera's reboot.
const LADDER: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(60),
];

/// Pace of retries while the camera refuses a login that has worked before (contract 7).
const GUARD_PACE: Duration = Duration::from_secs(10);

/// So long healthy, and the counter starts anew.
pub const HEALTHY: Duration = Duration::from_secs(60);

/// What comes after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Try again after so long.
    Again(Duration),
    /// Give up: no retry mends it.
    Permanent,
    /// Give up: the retries are spent.
    Spent,
}

/// A task's retry account.
#[derive(Debug, Clone)]
pub struct Account {
    /// Counted failures since the last healthy minute.
    pub counted: u32,
    /// Failures since then, counted or not: how far up the ladder we are.
    step: usize,
}

impl Account {
    /// Nothing has failed yet.
    pub fn new() -> Self {
        Self {
            counted: 0,
            step: 0,
        }
    }

    /// A healthy minute has passed.
    pub fn reset(&mut self) {
        *self = Self::new();
    }

    /// Books a failure. `worked_before`: these credentials have worked. `uplink_down`: neither
    /// RCS nor Ably can be reached. `jitter` is from 0.0 to 1.0.
    pub fn failed(
        &mut self,
        cause: Cause,
        worked_before: bool,
        uplink_down: bool,
        limit: RetryLimit,
        jitter: f64,
    ) -> Next {
        let mut pace = None;
        let counts = match cause {
            Cause::SourceAuth if worked_before => {
                pace = Some(GUARD_PACE);
                false
            }
            Cause::SourceAuth => return Next::Permanent,
            cause if cause.is_permanent() => return Next::Permanent,
            // The site is offline: that is not the stream's fault.
            Cause::WhipUplink => !uplink_down,
            _ => true,
        };
        if counts {
            if let RetryLimit::Times(most) = limit
                && self.counted >= most
            {
                return Next::Spent;
            }
            self.counted = self.counted.saturating_add(1);
        }
        let base = pace.unwrap_or_else(|| {
            let last = LADDER.len() - 1;
            LADDER
                .get(self.step.min(last))
                .copied()
                .unwrap_or(GUARD_PACE)
        });
        self.step = self.step.saturating_add(1);
        Next::Again(base.mul_f64(1.0 + 0.2 * jitter.clamp(0.0, 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECS: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn one_ten_sixty_and_then_every_sixty() {
        let mut account = Account::new();
        let mut delays = Vec::new();
        for _ in 0..5 {
            match account.failed(Cause::SourceStream, false, false, RetryLimit::Forever, 0.0) {
                Next::Again(delay) => delays.push(delay),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(delays, [SECS(1), SECS(10), SECS(60), SECS(60), SECS(60)]);
    }

    #[test]
    fn three_retries_then_spent() {
        let mut account = Account::new();
        let limit = RetryLimit::Times(3);
        for _ in 0..3 {
            assert!(matches!(
                account.failed(Cause::EngineCrash, false, false, limit, 0.5),
                Next::Again(_)
            ));
        }
        assert_eq!(
            account.failed(Cause::EngineCrash, false, false, limit, 0.5),
            Next::Spent
        );
        account.reset();
        assert!(matches!(
            account.failed(Cause::EngineCrash, false, false, limit, 0.5),
            Next::Again(_)
        ));
    }

    #[test]
    fn jitter_adds_at_most_a_fifth() {
        let next =
            Account::new().failed(Cause::SourceStream, false, false, RetryLimit::Forever, 1.0);
        assert_eq!(next, Next::Again(Duration::from_millis(1200)));
    }

    #[test]
    fn permanent_causes_and_a_refused_first_login() {
        for cause in Cause::ALL {
            let next = Account::new().failed(cause, false, false, RetryLimit::Forever, 0.0);
            let permanent = cause.is_permanent() || cause == Cause::SourceAuth;
            assert_eq!(next == Next::Permanent, permanent, "{cause:?}");
        }
    }

    #[test]
    fn a_login_that_worked_before_is_tried_at_the_guards_pace_uncounted() {
        let mut account = Account::new();
        for _ in 0..9 {
            assert_eq!(
                account.failed(Cause::SourceAuth, true, false, RetryLimit::Times(1), 0.0),
                Next::Again(SECS(10))
            );
        }
        assert_eq!(account.counted, 0);
    }

    #[test]
    fn a_dead_uplink_is_not_counted() {
        let mut account = Account::new();
        for _ in 0..9 {
            assert!(matches!(
                account.failed(Cause::WhipUplink, true, true, RetryLimit::Times(0), 0.0),
                Next::Again(_)
            ));
        }
        assert_eq!(
            account.failed(Cause::WhipUplink, true, false, RetryLimit::Times(0), 0.0),
            Next::Spent
        );
        assert_eq!(
            account.failed(
                Cause::WhipUnreachable,
                true,
                true,
                RetryLimit::Times(0),
                0.0
            ),
            Next::Spent
        );
    }
}
