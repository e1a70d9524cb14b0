//! The camera's clock, and XML schema's durations. Pure: readings of our clocks are passed in.
//!
//! Cameras compare the time in a login with their own clock, and many have no other clock than
//! the one they woke up with. So logins carry the camera's time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A camera's time is fetched again after that long.
const GOOD_FOR: Duration = Duration::from_secs(3600);
/// Zones differ by whole quarters of an hour.
const QUARTER: u64 = 15 * 60;
/// How near to a whole number of quarters a difference has to be to count as a zone.
const NEAR: u64 = 10;
/// The farthest zone.
const FARTHEST: u64 = 14 * 3600;

/// A moment in UTC from its fields; `None` for fields out of range.
pub fn utc(
    year: u32,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
) -> Option<SystemTime> {
    let fits = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !fits {
        return None;
    }
    // Days since 1970 by years that begin in March, so that the leap day is the last.
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1;
    let days = u64::from(days.checked_sub(719_468)?);
    let seconds = days * 86_400 + u64::from(hour * 3600 + minute * 60 + second);
    Some(UNIX_EPOCH + Duration::from_secs(seconds))
}

/// `PT10S`, `PT00H01M00S`, `PT0.5S`, `P1DT2H`; `None` for anything else. Months and years count
/// 30 and 365 days: no camera means them.
pub fn duration(text: &str) -> Option<Duration> {
    let rest = text.trim().strip_prefix('P')?;
    let (date, time) = rest.split_once('T').unwrap_or((rest, ""));
    let mut total = None;
    for (part, units) in [
        (
            date,
            [('Y', 31_536_000.0), ('M', 2_592_000.0), ('D', 86_400.0)],
        ),
        (time, [('H', 3600.0), ('M', 60.0), ('S', 1.0)]),
    ] {
        let mut number = String::new();
        for c in part.chars() {
            if c.is_ascii_digit() || c == '.' {
                number.push(c);
                continue;
            }
            let (_, factor) = units.iter().find(|(unit, _)| *unit == c)?;
            let seconds = number.parse::<f64>().ok()? * factor;
            total = Some(total.unwrap_or(0.0) + seconds);
            number.clear();
        }
        if !number.is_empty() {
            return None;
        }
    }
    Duration::try_from_secs_f64(total?).ok()
}

/// What is known of a camera's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CameraClock {
    /// Its time, `None` where it does not tell: then ours is taken.
    reading: Option<SystemTime>,
    /// When that was its time.
    at: Instant,
    /// Another time that it may mean.
    alternative: Option<SystemTime>,
}

impl CameraClock {
    /// `told` = what it told, `date` = what its web server said, both at `at` (the middle of the
    /// round trip), when our own clock showed `ours`.
    pub fn new(
        told: Option<SystemTime>,
        date: Option<SystemTime>,
        ours: SystemTime,
        at: Instant,
    ) -> Self {
        let reading = told.or(date);
        // Some put their local time where UTC belongs: then the web server's date, or our own
        // clock, is off by whole quarters of an hour, and may be the time they check with.
        let alternative = reading.and_then(|told| {
            [date, Some(ours)]
                .into_iter()
                .flatten()
                .find(|other| is_zone_apart(told, *other))
        });
        Self {
            reading,
            at,
            alternative,
        }
    }

    /// Since it was read.
    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.at)
    }

    /// Whether it should be read again.
    pub fn is_old(&self, now: Instant) -> bool {
        self.age(now) > GOOD_FOR
    }

    /// The camera's time at `now`, when ours is `ours`.
    pub fn time(&self, now: Instant, ours: SystemTime) -> SystemTime {
        match self.reading {
            Some(reading) => reading + now.saturating_duration_since(self.at),
            None => ours,
        }
    }

    /// The clock with the other time that it may mean, if there is one.
    pub fn alternative(&self) -> Option<Self> {
        Some(Self {
            reading: Some(self.alternative?),
            at: self.at,
            alternative: None,
        })
    }

    /// Whether a login made by this clock differs from one made by `other` by more than a
    /// camera's patience.
    pub fn differs(&self, other: &Self, now: Instant, ours: SystemTime) -> bool {
        apart(self.time(now, ours), other.time(now, ours)) > Duration::from_secs(2)
    }
}

fn apart(a: SystemTime, b: SystemTime) -> Duration {
    a.duration_since(b).unwrap_or_else(|e| e.duration())
}

fn is_zone_apart(a: SystemTime, b: SystemTime) -> bool {
    let seconds = apart(a, b).as_secs();
    let off = seconds % QUARTER;
    seconds > QUARTER / 2 && seconds <= FARTHEST + NEAR && (off <= NEAR || off >= QUARTER - NEAR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::time::rfc3339;
    use proptest::prelude::*;

    #[test]
    fn moments() {
        let text = |t: Option<SystemTime>| t.map(rfc3339);
        assert_eq!(
            text(utc(2026, 1, 30, 2, 4, 9)).as_deref(),
            Some("2026-01-30T02:04:09.000Z")
        );
        assert_eq!(
            text(utc(2024, 2, 29, 23, 59, 59)).as_deref(),
            Some("2024-02-29T23:59:59.000Z")
        );
        assert_eq!(utc(1970, 1, 1, 0, 0, 0), Some(UNIX_EPOCH));
        for bad in [(1969, 1, 1), (2026, 0, 1), (2026, 13, 1), (2026, 1, 0)] {
            assert_eq!(utc(bad.0, bad.1, bad.2, 0, 0, 0), None);
        }
    }

    #[test]
    fn durations() {
        for (text, seconds) in [
            ("PT5S", 5.0),
            (" PT00H01M00S\n", 60.0),
            ("PT2147S", 2147.0),
            ("PT1093754.348S", 1_093_754.348),
            ("PT0.5S", 0.5),
            ("P1DT2H", 93_600.0),
            ("PT0S", 0.0),
        ] {
            assert_eq!(
                duration(text),
                Some(Duration::from_secs_f64(seconds)),
                "{text}"
            );
        }
        for bad in [
            "5", "PT5", "00:00:05", "P", "PT", "-PT5S", "PTxS", "PT1.2.3S", "",
        ] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_camera_s_time_runs_on_our_monotonic_clock() {
        let at = Instant::now();
        let ours = utc(2026, 1, 1, 12, 0, 0).unwrap();
        let told = utc(2000, 1, 1, 0, 0, 7).unwrap();
        let clock = CameraClock::new(Some(told), None, ours, at);
        let later = at + Duration::from_secs(100);
        assert_eq!(
            clock.time(later, UNIX_EPOCH),
            told + Duration::from_secs(100)
        );
        assert!(!clock.is_old(later));
        assert!(clock.is_old(at + Duration::from_secs(3601)));
        assert_eq!(clock.alternative(), None, "no zone is 26 years");
        let silent = CameraClock::new(None, None, ours, at);
        assert_eq!(silent.time(later, ours), ours);
    }

    #[test]
    fn local_time_in_the_place_of_utc() {
        let at = Instant::now();
        let ours = utc(2026, 1, 1, 12, 0, 3).unwrap();
        let local = utc(2026, 1, 1, 20, 0, 0).unwrap();
        let clock = CameraClock::new(Some(local), None, ours, at);
        let other = clock.alternative().unwrap();
        assert_eq!(other.time(at, UNIX_EPOCH), ours);
        assert!(clock.differs(&other, at, ours));
        let right = CameraClock::new(Some(ours), Some(ours), ours, at);
        assert_eq!(
            right.alternative(),
            None,
            "nothing to try: the password is wrong"
        );
        let half_past = utc(2026, 1, 1, 12, 7, 30).unwrap();
        assert_eq!(
            CameraClock::new(Some(half_past), None, ours, at).alternative(),
            None
        );
    }

    proptest! {
        #[test]
        fn any_text_makes_no_panic(text in any::<String>(), y in any::<u32>(), m in any::<u32>(), d in any::<u32>()) {
            let _ = duration(&text);
            let _ = duration(&format!("PT{text}S"));
            let _ = utc(y, m, d, y, m, d);
        }
    }
}
