//! The clock discipline: time is an argument.
//!
//! Deadlines are [`Instant`]s (monotonic: a clock that NTP sets at boot disturbs nothing), moments
//! that people read are [`SystemTime`]s. Machines take both as one [`Now`], read once per wake-up
//! by the thread around them.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// One reading of both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// For deadlines and durations.
    pub mono: Instant,
    /// For what is shown to people and peers.
    pub wall: SystemTime,
}

impl Now {
    /// Reads both clocks.
    pub fn read() -> Self {
        #[cfg(test)]
        if let Some(now) = simulated::now() {
            return now;
        }
        Self {
            mono: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    /// The same moment, `by` later. For tests with simulated time.
    #[must_use]
    pub fn after(self, by: std::time::Duration) -> Self {
        Self {
            mono: self.mono + by,
            wall: self.wall + by,
        }
    }
}

/// RFC 3339 in UTC with milliseconds, as every JSON of ours carries it (contract 14).
pub fn rfc3339(at: SystemTime) -> String {
    // humantime refuses years before 1970 and after 9999; a dead clock battery must not panic us.
    let clamped = at.max(UNIX_EPOCH);
    let text = humantime::format_rfc3339_millis(clamped);
    let mut out = String::with_capacity(24);
    match std::fmt::Write::write_fmt(&mut out, format_args!("{text}")) {
        Ok(()) => out,
        Err(_) => "9999-12-31T23:59:59.999Z".to_owned(),
    }
}

/// Milliseconds since the epoch; 0 before it.
pub fn epoch_ms(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// Time that a test moves by hand, for everything that runs on its thread.
#[cfg(test)]
pub(crate) mod simulated {
    use std::cell::Cell;

    use super::Now;

    thread_local! {
        static NOW: Cell<Option<Now>> = const { Cell::new(None) };
    }

    /// What clocks show on this thread; `None` = the machine's own.
    pub(crate) fn now() -> Option<Now> {
        NOW.get()
    }

    /// From now on clocks show this on this thread.
    pub(crate) fn set(now: Option<Now>) {
        NOW.set(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn milliseconds_and_z() {
        let at = UNIX_EPOCH + Duration::from_millis(1_769_767_200_007);
        assert_eq!(rfc3339(at), "2026-01-30T10:00:00.007Z");
        assert_eq!(epoch_ms(at), 1_769_767_200_007);
    }

    #[test]
    fn a_clock_before_1970_is_shown_as_1970() {
        assert_eq!(
            rfc3339(UNIX_EPOCH - Duration::from_secs(9)),
            "1970-01-01T00:00:00.000Z"
        );
        assert_eq!(epoch_ms(UNIX_EPOCH - Duration::from_secs(9)), 0);
    }
}
