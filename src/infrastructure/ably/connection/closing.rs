//! The orderly end: LEAVE, CLOSE, CLOSED (RTN12), each waited for, none for ever.

use std::time::Instant;

use super::super::frame::{Action, ErrorInfo, ProtocolMessage};
use super::types::{ConnectionState, Output};
use super::{Machine, Now};

/// How far a close has got.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Closing {
    /// LEAVE and the last publishes are under way.
    Leaving { until: Instant },
    /// CLOSE is sent, or waits for CONNECTED.
    Waiting { until: Instant },
}

impl Closing {
    pub(super) fn until(self) -> Instant {
        match self {
            Self::Leaving { until } | Self::Waiting { until } => until,
        }
    }
}

impl Machine {
    /// LEAVE, CLOSE, end (RTN12).
    pub(super) fn close(&mut self, now: Now) {
        if self.link.closing.is_some() {
            return;
        }
        let until = now.mono + self.settings.timing.close_step;
        match self.link.now.state {
            ConnectionState::Connected => {
                self.link.closing = Some(Closing::Leaving { until });
                self.leave(now);
            }
            ConnectionState::Connecting if self.link.open => {
                self.link.closing = Some(Closing::Waiting { until });
                self.enter(ConnectionState::Closing, None, now);
            }
            _ => {
                self.link.closing = Some(Closing::Waiting { until });
                self.finish_close(now);
            }
        }
    }

    /// CLOSE, once everything that had to go first is gone or late.
    pub(super) fn close_when_ready(&mut self, ready: bool, now: Now) {
        let Some(Closing::Leaving { until }) = self.link.closing else {
            return;
        };
        if self.is_connected() && (ready || until <= now.mono) {
            let until = now.mono + self.settings.timing.close_step;
            self.link.closing = Some(Closing::Waiting { until });
            self.send(ProtocolMessage::new(Action::Close));
            self.enter(ConnectionState::Closing, None, now);
        }
    }

    /// CLOSED, asked for or not.
    pub(super) fn on_closed(&mut self, error: Option<ErrorInfo>, now: Now) {
        match self.link.now.state {
            ConnectionState::Closing => {
                self.drop_transport();
                self.finish_close(now);
            }
            // Nobody asked: its state is gone, ours goes on with a new connection.
            ConnectionState::Connected => {
                let reason =
                    error.unwrap_or_else(|| ErrorInfo::new(80017, 400, "closed by the service"));
                self.forget_connection();
                self.connection_lost(reason, now);
            }
            _ => {}
        }
    }

    pub(super) fn finish_close(&mut self, now: Now) {
        self.drop_transport();
        self.forget_connection();
        self.channels_disconnected();
        self.channels_follow(ConnectionState::Closed, None, now);
        self.link.retry_at = None;
        self.link.suspend_at = None;
        self.enter(ConnectionState::Closed, None, now);
        self.link_left_connected();
        self.out.push(Output::Ended);
    }
}
