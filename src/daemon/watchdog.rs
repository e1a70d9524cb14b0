//! The service manager's watchdog (contract 13): fed from `main`'s loop, and only when the stream
//! owner's loop has answered. A camera, cloud or REST thread that is stuck is replaced; that is no
//! reason to restart everything.

use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded, never, tick};

use super::streams::Streams;

/// What feeds the watchdog, where there is one.
pub struct Watchdog {
    due: Receiver<Instant>,
    answers: Receiver<()>,
    answer: Sender<()>,
}

impl Watchdog {
    /// As `WATCHDOG_USEC` and `WATCHDOG_PID` say (sd_watchdog_enabled(3)): twice in its time. Without
    /// them there is no wake-up.
    pub fn from_environment() -> Self {
        // A second question waits for nothing: one answer is as good as two.
        let (answer, answers) = bounded(1);
        let due = match sd_notify::watchdog_enabled() {
            Some(within) if !within.is_zero() => tick(within / 2),
            _ => never(),
        };
        Self {
            due,
            answers,
            answer,
        }
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

    /// Tells the service manager that all is well.
    pub fn feed() {
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
    }
}
