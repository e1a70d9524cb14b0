//! Addresses that were knocked at and whose neighbour the kernel is asking for: when its table is
//! read, who is absent by then, and how many there may be (that table overflows at 1,024).

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::host::{Host, Life};

/// A neighbour that is not resolved by then is absent: two requests have gone unanswered.
const NEIGHBOUR_WAIT: Duration = Duration::from_millis(1450);
/// An unresolved neighbour stays in the kernel's table for three requests a second apart.
const NEIGHBOUR_KEPT: Duration = Duration::from_millis(3100);
/// The neighbour table is read that long after a knock, and again.
const NEIGHBOUR_LOOK: Duration = Duration::from_millis(100);

/// What the kernel's neighbour table says of an address that is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Neighbour {
    /// Being asked for, or in vain.
    Unresolved,
    /// Its hardware address is known.
    Known,
}

/// Hosts, by their places in the schedule's list.
#[derive(Debug)]
pub(super) struct Resolving {
    limit: usize,
    /// Knocked at, and the neighbour table has not said anything; oldest first.
    knocked: VecDeque<(Instant, usize)>,
    /// Every one of these may have an unresolved entry in the kernel's table; oldest first.
    unresolved: VecDeque<(Instant, usize)>,
    looked: Option<Instant>,
}

impl Resolving {
    /// `limit` = how many at once.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            knocked: VecDeque::new(),
            unresolved: VecDeque::new(),
            looked: None,
        }
    }

    /// How many more may be knocked at.
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.unresolved.len())
    }

    /// Nobody is waited for.
    pub fn is_done(&self) -> bool {
        self.knocked.is_empty()
    }

    pub fn knocked(&mut self, at: usize, now: Instant) {
        self.knocked.push_back((now, at));
        self.unresolved.push_back((now, at));
    }

    /// It has answered, or the knock was none: it does not count any more.
    pub fn forget(&mut self, at: usize) {
        self.unresolved.retain(|(_, other)| *other != at);
        self.knocked.retain(|(_, other)| *other != at);
    }

    /// When the neighbour table should be read.
    pub fn next_look(&self) -> Option<Instant> {
        let (oldest, _) = self.knocked.front()?;
        let after = self.looked.map_or(*oldest, |at| at.max(*oldest));
        Some(after + NEIGHBOUR_LOOK)
    }

    /// What the table holds now. Says who need not be waited for any longer.
    pub fn look(
        &mut self,
        hosts: &mut [Host],
        table: &HashMap<Ipv4Addr, Neighbour>,
        now: Instant,
    ) -> Vec<usize> {
        self.looked = Some(now);
        let mut freed = Vec::new();
        self.knocked.retain(|(_, at)| {
            let Some(host) = hosts.get_mut(*at) else {
                return false;
            };
            if host.life != Life::Knocked {
                return false;
            }
            match table.get(&host.ip) {
                Some(Neighbour::Unresolved) => true,
                // No entry: it is not resolved here, a router's way or a line without addresses.
                Some(Neighbour::Known) | None => {
                    host.life = Life::Silent;
                    freed.push(*at);
                    false
                }
            }
        });
        self.unresolved.retain(|(_, at)| {
            hosts
                .get(*at)
                .is_some_and(|h| matches!(h.life, Life::Knocked | Life::Absent))
        });
        freed
    }

    /// Who was waited for long enough is absent.
    pub fn expire(&mut self, hosts: &mut [Host], now: Instant) {
        while let Some((at, _)) = self.unresolved.front()
            && now >= *at + NEIGHBOUR_KEPT
        {
            self.unresolved.pop_front();
        }
        while let Some((since, at)) = self.knocked.front().copied()
            && now >= since + NEIGHBOUR_WAIT
        {
            self.knocked.pop_front();
            if let Some(host) = hosts.get_mut(at)
                && host.life == Life::Knocked
            {
                host.life = Life::Absent;
                host.todo = 0;
            }
        }
    }

    /// When the next address is absent, if nothing is heard of it.
    pub fn next_absent(&self) -> Option<Instant> {
        let (since, _) = self.knocked.front()?;
        Some(*since + NEIGHBOUR_WAIT)
    }

    /// When there is room, if there is none now.
    pub fn next_room(&self) -> Option<Instant> {
        let (since, _) = self.unresolved.front()?;
        (self.room() == 0).then(|| *since + NEIGHBOUR_KEPT)
    }
}
