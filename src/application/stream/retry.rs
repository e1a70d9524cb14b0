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

/// A run that has shown pictures for so long was no failure to start: sessions that end every half
/// minute must not leave a site dark.
pub const PROVEN: Duration = Duration::from_secs(10);

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

/// How a try has failed, as the account looks at it.
#[derive(Debug, Clone, Copy)]
pub struct Failure {
    /// Why.
    pub cause: Cause,
    /// From STREAMING to the last picture.
    pub streamed_for: Duration,
    /// These credentials have worked.
    pub login_worked: bool,
    /// The task has streamed: with this command.
    pub has_streamed: bool,
    /// Neither RCS nor Ably can be reached.
    pub uplink_down: bool,
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

    /// Books a failure. `jitter` is from 0.0 to 1.0.
    pub fn failed(&mut self, failure: Failure, limit: RetryLimit, jitter: f64) -> Next {
        let mut pace = None;
        let counts = match failure.cause {
            Cause::SourceAuth | Cause::SourceLogin if failure.login_worked => {
                pace = Some(GUARD_PACE);
                false
            }
            Cause::SourceAuth | Cause::SourceLogin => return Next::Permanent,
            // A command that has streamed is not refused for good by a word.
            Cause::BadCommand if failure.has_streamed => failure.streamed_for < PROVEN,
            cause if cause.is_permanent() => return Next::Permanent,
            // The site is offline: that is not the stream's fault.
            Cause::WhipUplink if failure.uplink_down => false,
            _ => failure.streamed_for < PROVEN,
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

    fn failure(cause: Cause) -> Failure {
        Failure {
            cause,
            streamed_for: Duration::ZERO,
            login_worked: false,
            has_streamed: false,
            uplink_down: false,
        }
    }

    #[test]
    fn one_ten_sixty_and_then_every_sixty() {
        let mut account = Account::new();
        let mut delays = Vec::new();
        for _ in 0..5 {
            match account.failed(failure(Cause::SourceStream), RetryLimit::Forever, 0.0) {
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
                account.failed(failure(Cause::EngineCrash), limit, 0.5),
                Next::Again(_)
            ));
        }
        assert_eq!(
            account.failed(failure(Cause::EngineCrash), limit, 0.5),
            Next::Spent
        );
        account.reset();
        assert!(matches!(
            account.failed(failure(Cause::EngineCrash), limit, 0.5),
            Next::Again(_)
        ));
    }

    #[test]
    fn jitter_adds_at_most_a_fifth() {
        let next = Account::new().failed(failure(Cause::SourceStream), RetryLimit::Forever, 1.0);
        assert_eq!(next, Next::Again(Duration::from_millis(1200)));
    }

    #[test]
    fn permanent_causes_and_a_refused_first_login() {
        for cause in Cause::ALL {
            let next = Account::new().failed(failure(cause), RetryLimit::Forever, 0.0);
            let login = matches!(cause, Cause::SourceAuth | Cause::SourceLogin);
            let permanent = cause.is_permanent() || login;
            assert_eq!(next == Next::Permanent, permanent, "{cause:?}");
        }
    }

    #[test]
    fn a_command_that_has_streamed_is_not_refused_for_good() {
        let worked = Failure {
            has_streamed: true,
            ..failure(Cause::BadCommand)
        };
        let mut account = Account::new();
        let limit = RetryLimit::Times(1);
        assert_eq!(account.failed(worked, limit, 0.0), Next::Again(SECS(1)));
        assert_eq!(account.failed(worked, limit, 0.0), Next::Spent);
    }

    #[test]
    fn runs_that_showed_pictures_are_retried_for_ever() {
        let mut account = Account::new();
        for cause in [Cause::WhipStream, Cause::SourceStream, Cause::EngineCrash] {
            for seconds in [10, 11, 59] {
                let proven = Failure {
                    streamed_for: SECS(seconds),
                    has_streamed: true,
                    ..failure(cause)
                };
                assert!(matches!(
                    account.failed(proven, RetryLimit::Times(0), 0.0),
                    Next::Again(_)
                ));
            }
        }
        assert_eq!(account.counted, 0);
        let short = Failure {
            streamed_for: Duration::from_millis(9_999),
            ..failure(Cause::WhipStream)
        };
        assert_eq!(
            account.failed(short, RetryLimit::Times(0), 0.0),
            Next::Spent
        );
    }

    #[test]
    fn a_login_that_worked_before_is_tried_at_the_guards_pace_uncounted() {
        for cause in [Cause::SourceAuth, Cause::SourceLogin] {
            let mut account = Account::new();
            let worked = Failure {
                login_worked: true,
                ..failure(cause)
            };
            for _ in 0..9 {
                assert_eq!(
                    account.failed(worked, RetryLimit::Times(1), 0.0),
                    Next::Again(SECS(10))
                );
            }
            assert_eq!(account.counted, 0);
        }
    }

    #[test]
    fn a_dead_uplink_is_not_counted() {
        let mut account = Account::new();
        let limit = RetryLimit::Times(0);
        let offline = |cause| Failure {
            has_streamed: true,
            uplink_down: true,
            ..failure(cause)
        };
        for _ in 0..9 {
            assert!(matches!(
                account.failed(offline(Cause::WhipUplink), limit, 0.0),
                Next::Again(_)
            ));
        }
        assert_eq!(
            account.failed(failure(Cause::WhipUplink), limit, 0.0),
            Next::Spent
        );
        assert_eq!(
            account.failed(offline(Cause::WhipUnreachable), limit, 0.0),
            Next::Spent
        );
    }
}
