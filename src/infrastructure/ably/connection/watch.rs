//! Pings (RTN13), and the watch over the link while a camera is being moved (contract 5).

use std::time::{Duration, Instant};

use super::super::frame::{Action, ProtocolMessage};
use super::types::Output;
use super::{Machine, Now};

#[derive(Default)]
pub(super) struct Watch {
    on: bool,
    /// The ping of the watch that waits for its answer.
    ping: Option<(String, Instant)>,
    next_at: Option<Instant>,
    /// A ping that somebody asked for.
    asked: Option<(String, Instant)>,
}

impl Watch {
    pub(super) fn next_deadline(&self, request: Duration, patience: Duration) -> Option<Instant> {
        let asked = self.asked.as_ref().map(|(_, at)| *at + request);
        let watch = match &self.ping {
            Some((_, at)) => Some(*at + patience),
            None => self.next_at,
        };
        [asked, watch].into_iter().flatten().min()
    }
}

impl Machine {
    /// Switches the watch on or off.
    pub(super) fn watch_link(&mut self, on: bool, now: Now) {
        if self.watch.on == on {
            return;
        }
        self.watch.on = on;
        self.watch.ping = None;
        self.watch.next_at = None;
        if on && self.is_connected() {
            self.watch_ping(now);
        } else if on {
            self.tell_link_lost();
        }
    }

    fn watch_ping(&mut self, now: Now) {
        let id = self.heartbeat();
        self.watch.ping = Some((id, now.mono));
        self.watch.next_at = Some(now.mono + self.settings.timing.watch_interval);
    }

    /// Sends a HEARTBEAT with an id of its own (RTN13e).
    fn heartbeat(&mut self) -> String {
        let id = format!("{:016x}", self.rng.u64(..));
        let mut frame = ProtocolMessage::new(Action::Heartbeat);
        frame.id = Some(id.clone());
        self.send(frame);
        id
    }

    /// A ping that somebody asked for; only one at a time.
    pub(super) fn ping(&mut self, now: Now) {
        if self.watch.asked.is_some() {
            return;
        }
        if self.is_connected() {
            let id = self.heartbeat();
            self.watch.asked = Some((id, now.mono));
        } else {
            self.out.push(Output::PingLost);
        }
    }

    /// HEARTBEAT; without an id it only shows that the line is alive.
    pub(super) fn on_heartbeat(&mut self, id: Option<&str>, now: Now) {
        if id.is_none() {
            return;
        }
        if let Some((asked, at)) = &self.watch.asked
            && Some(asked.as_str()) == id
        {
            let took = now.mono.saturating_duration_since(*at);
            self.watch.asked = None;
            self.out.push(Output::PingAnswered(took));
        }
        if let Some((ping, _)) = &self.watch.ping
            && Some(ping.as_str()) == id
        {
            self.watch.ping = None;
        }
    }

    /// Every loss is told, also the next one after an unanswered ping: a move may have begun in
    /// between, and telling a camera that stands still to stop costs nothing.
    fn tell_link_lost(&mut self) {
        if self.watch.on {
            self.out.push(Output::LinkLost);
        }
    }

    /// The connection is no longer CONNECTED.
    pub(super) fn link_left_connected(&mut self) {
        self.watch.ping = None;
        self.watch.next_at = None;
        if self.watch.asked.take().is_some() {
            self.out.push(Output::PingLost);
        }
        self.tell_link_lost();
    }

    /// The connection is CONNECTED.
    pub(super) fn link_entered_connected(&mut self, now: Now) {
        if self.watch.on {
            self.watch_ping(now);
        }
    }

    pub(super) fn watch_timeouts(&mut self, now: Now) {
        let timing = &self.settings.timing;
        let (request, patience) = (timing.request, timing.watch_patience);
        if let Some((_, at)) = &self.watch.asked
            && *at + request <= now.mono
        {
            self.watch.asked = None;
            self.out.push(Output::PingLost);
        }
        if let Some((_, at)) = &self.watch.ping
            && *at + patience <= now.mono
        {
            self.watch.ping = None;
            self.tell_link_lost();
        }
        let due = self.watch.next_at.is_some_and(|at| at <= now.mono);
        if self.watch.on && self.watch.ping.is_none() && due {
            self.watch_ping(now);
        }
    }
}
