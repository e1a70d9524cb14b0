//! The watchdog (contract 13): fed from `main`'s loop, and only when the stream owner's loop has
//! answered. A camera, cloud or REST thread that is stuck is replaced; that is no reason to restart
//! everything.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, never, tick};
use nix::unistd::alarm;

use super::streams::Streams;

/// What feeds the watchdog, where there is one.
pub struct Watchdog {
    keeper: Keeper,
    due: Receiver<Instant>,
    answers: Receiver<()>,
    answer: Sender<()>,
}

/// Who ends a process that feeds nobody.
#[derive(Debug, PartialEq, Eq)]
enum Keeper {
    Nobody,
    /// systemd, over its socket.
    Manager,
    /// The kernel: an alarm of so many seconds (at least 1), which is put off at each feeding. For
    /// service managers without a socket, as the firmware's; nothing in this process has to work
    /// for it.
    Alarm(u32),
}

impl Watchdog {
    /// As `WATCHDOG_USEC` and `WATCHDOG_PID` say (sd_watchdog_enabled(3)): twice in its time. Without
    /// them there is no wake-up.
    pub fn from_environment() -> Self {
        // A second question waits for nothing: one answer is as good as two.
        let (answer, answers) = bounded(1);
        let within = sd_notify::watchdog_enabled().filter(|within| !within.is_zero());
        let watchdog = Self {
            keeper: Keeper::of(within, std::env::var_os("NOTIFY_SOCKET").is_some()),
            due: within.map_or_else(never, |within| tick(within / 2)),
            answers,
            answer,
        };
        watchdog.feed();
        watchdog
    }

    /// Ready when it is time to [`ask`](Self::ask).
    pub fn due(&self) -> &Receiver<Instant> {
        &self.due
    }

    /// Ready when the stream owner has answered.
    pub fn answers(&self) -> &Receiver<()> {
        &self.answers
    }

    /// Asks the stream owner whether it lives.
    pub fn ask(&self, streams: &Streams) {
        streams.ping(self.answer.clone());
    }

    /// All is well.
    pub fn feed(&self) {
        match self.keeper {
            Keeper::Nobody => {}
            Keeper::Manager => {
                let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
            }
            Keeper::Alarm(seconds) => {
                alarm::set(seconds);
            }
        }
    }

    /// From now on nobody feeds: stopping has deadlines of its own.
    pub fn rest(&self) {
        if let Keeper::Alarm(_) = self.keeper {
            alarm::cancel();
        }
    }
}

impl Keeper {
    fn of(within: Option<Duration>, has_socket: bool) -> Self {
        match within {
            None => Self::Nobody,
            Some(_) if has_socket => Self::Manager,
            // 0 would be no alarm.
            Some(within) => Self::Alarm(u32::try_from(within.as_secs()).unwrap_or(u32::MAX).max(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_looks_after_it() {
        let s = Duration::from_secs;
        assert_eq!(Keeper::of(None, true), Keeper::Nobody);
        assert_eq!(Keeper::of(None, false), Keeper::Nobody);
        assert_eq!(Keeper::of(Some(s(30)), true), Keeper::Manager);
        assert_eq!(Keeper::of(Some(s(30)), false), Keeper::Alarm(30));
        assert_eq!(Keeper::of(Some(s(1) / 2), false), Keeper::Alarm(1));
    }
}
