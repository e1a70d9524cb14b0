//! Whose turn it is: the schedule's queues, those first that promise most. Who has answered comes
//! before who was not knocked at, that before who is silent, and second chances come last.

use std::time::Instant;

use super::host::{Life, bit, first};
use super::{MIN_HOLD, Schedule};

/// Who is connected to next. Host and port by their places in the schedule's lists.
pub(super) struct Turn {
    pub host: usize,
    pub port: usize,
    /// It was open before, and waited to talk.
    pub known_open: bool,
}

impl Turn {
    fn new(host: usize, port: usize, known_open: bool) -> Self {
        Self {
            host,
            port,
            known_open,
        }
    }
}

impl Schedule {
    /// Takes whose turn it is out of the queues.
    pub(super) fn pick(&mut self, now: Instant) -> Option<Turn> {
        while !self.crowded()
            && let Some(at) = self.crowd.pop_front()
        {
            self.enqueue(at);
        }
        if let Some(found) = self.pick_ready(|s| s.live.pop_front()) {
            return Some(found);
        }
        if self.resolving.room() > 0
            && let Some(at) = self.knocks.pop_front()
            && let Some(host) = self.hosts.get_mut(at)
            && let Some(port) = first(host.todo)
        {
            host.todo &= !bit(port);
            host.life = Life::Knocked;
            self.tried = self.tried.saturating_add(1);
            self.resolving.knocked(at, now);
            return Some(Turn::new(at, port, false));
        }
        if let Some(found) = self.pick_ready(|s| s.silent.pop_front()) {
            return Some(found);
        }
        if !self.second_chances(now) {
            return None;
        }
        for _ in 0..self.second.len() {
            let at = self.second.pop_front()?;
            let host = self.hosts.get_mut(at)?;
            let Some(port) = first(host.second) else {
                continue;
            };
            if !host.has_room() {
                self.second.push_back(at);
                continue;
            }
            host.second &= !bit(port);
            if host.second != 0 {
                self.second.push_back(at);
            }
            return Some(Turn::new(at, port, false));
        }
        None
    }

    fn pick_ready(&mut self, mut pop: impl FnMut(&mut Self) -> Option<usize>) -> Option<Turn> {
        while let Some(at) = pop(self) {
            let crowded = self.crowded();
            let Some(host) = self.hosts.get_mut(at) else {
                continue;
            };
            host.queued = false;
            if !host.has_room() {
                continue;
            }
            if let Some(port) = first(host.open) {
                if !crowded {
                    host.open &= !bit(port);
                    return Some(Turn::new(at, port, true));
                }
                self.crowd.push_back(at);
            }
            let Some(host) = self.hosts.get_mut(at) else {
                continue;
            };
            if let Some(port) = first(host.todo) {
                host.todo &= !bit(port);
                return Some(Turn::new(at, port, false));
            }
        }
        None
    }

    /// Where a host belongs by what is known of it, if there is anything to do there.
    pub(super) fn enqueue(&mut self, at: usize) {
        let Some(host) = self.hosts.get_mut(at) else {
            return;
        };
        if host.queued || (host.todo | host.open) == 0 || !host.has_room() {
            return;
        }
        match host.life {
            Life::Answered => self.live.push_back(at),
            Life::Silent => self.silent.push_back(at),
            Life::New | Life::Knocked | Life::Absent => return,
        }
        host.queued = true;
    }

    /// Half of the sockets may talk: a network of tarpits must not hold up the search.
    pub(super) fn crowded(&self) -> bool {
        self.talking + self.reserved >= (self.sockets / 2).max(1)
    }

    /// Whether who was silent may still be tried again.
    fn second_chances(&self, now: Instant) -> bool {
        now + MIN_HOLD <= self.soft_end
    }

    /// Whether anything could be begun, were there a socket.
    pub(super) fn has_work(&self, now: Instant) -> bool {
        !self.live.is_empty()
            || !self.silent.is_empty()
            || (!self.knocks.is_empty() && self.resolving.room() > 0)
            || (!self.second.is_empty() && self.second_chances(now))
            || (!self.crowd.is_empty() && !self.crowded())
    }

    /// How many wait for nothing but a socket.
    pub(super) fn waiting(&self) -> usize {
        let knocks = self.knocks.len().min(self.resolving.room());
        self.live.len() + self.silent.len() + self.second.len() + knocks
    }
}
