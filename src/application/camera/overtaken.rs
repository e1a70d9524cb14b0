//! Movements that their own, later stop has overtaken.
//!
//! While a lost backlog is fetched, stops pass at once and everything else is held; what was lost
//! is fetched again after the stop; a host name is looked up while a stop by the address goes
//! ahead. Whatever comes out afterwards and is older than the stop must move nothing (contract 7).
//! Sans-IO. Kept for all cameras together, by every name that a stop had: its camera may have no
//! lane, or be known by another name to the movement.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::book::address::Host;
use super::book::{CameraAsk, ChannelAddress};
use super::order::{Order, PatrolOrder};
use crate::domain::gateway::StreamPlace;
use crate::domain::patrol::TourId;
use crate::domain::ptz::{Drive, Drives};
use crate::domain::stream::CameraId;
use crate::util::time::Now;

/// A stop is remembered so long: rewinding reaches back two minutes, and what it brings is held
/// for half a minute at most.
const REMEMBERED: Duration = Duration::from_secs(300);
/// Most stops that are remembered; a rewound backlog has at most a hundred messages.
const MAX_STOPS: usize = 1_024;

/// When a command came, and where it stands among the others.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// How old it was when it reached us, by the clock of whoever sent it; zero where that is not
    /// known.
    pub age: Duration,
    /// In the cloud's stream; `None` for what came by another way.
    pub place: Option<StreamPlace>,
    /// When it reached us.
    pub received: Instant,
}

impl Sent {
    /// Just now, and not by the cloud.
    pub fn now() -> Self {
        Self {
            age: Duration::ZERO,
            place: None,
            received: Now::read().mono,
        }
    }

    /// The cloud knows the order of what came by it; of all else the order of arrival counts.
    fn is_before(&self, other: &Self) -> bool {
        match (&self.place, &other.place) {
            (Some(place), Some(other)) => place.is_before(other),
            _ => self.received < other.received,
        }
    }
}

/// How a command named its camera, and when.
#[derive(Debug, Clone)]
pub(super) struct Call {
    id: Option<CameraId>,
    host: Option<Host>,
    port: Option<u16>,
    channel: Option<u16>,
    sent: Sent,
}

impl Call {
    pub(super) fn new(ask: &CameraAsk, sent: Sent) -> Self {
        Self {
            id: ask.camera_id.clone(),
            host: ask.said.host.clone(),
            port: ask.said.port,
            channel: ask.said.channel,
            sent,
        }
    }

    fn is_named_like(&self, other: &Self) -> bool {
        self.id == other.id
            && self.host == other.host
            && self.port == other.port
            && self.channel == other.channel
    }
}

#[derive(Debug)]
struct Stop {
    call: Call,
    /// Where it went, as far as that was known.
    spot: Option<ChannelAddress>,
    drives: Drives,
    tours: Tours,
    noted: Instant,
}

#[derive(Debug, PartialEq, Eq)]
enum Tours {
    Any,
    Only(TourId),
}

impl Tours {
    fn of(named: Option<&TourId>) -> Self {
        named.map_or(Self::Any, |tour| Self::Only(tour.clone()))
    }

    fn covers(&self, named: Option<&TourId>) -> bool {
        match (self, named) {
            (Self::Only(stopped), Some(named)) => stopped == named,
            _ => true,
        }
    }
}

/// The last stops.
#[derive(Debug, Default)]
pub(super) struct Overtaken {
    stops: VecDeque<Stop>,
}

impl Overtaken {
    /// Remembers a command if it is a stop; `spot` = where it goes, as far as that is known.
    pub(super) fn note(
        &mut self,
        call: &Call,
        spot: Option<ChannelAddress>,
        order: &Order,
        now: Instant,
    ) {
        let (drives, tours) = match order {
            Order::Stop(drives) => (*drives, Tours::Any),
            Order::Patrol(PatrolOrder::Stop(tour) | PatrolOrder::Pause(tour)) => {
                (Drives::NONE, Tours::of(tour.as_ref()))
            }
            _ => return,
        };
        // One that says the same and is older has nothing to add.
        self.stops.retain(|old| {
            let same = old.call.is_named_like(call)
                && (old.spot == spot || old.spot.is_none())
                && old.drives == drives
                && old.tours == tours;
            let newer = call.sent.is_before(&old.call.sent);
            now.saturating_duration_since(old.noted) < REMEMBERED && (newer || !same)
        });
        if self.stops.len() >= MAX_STOPS {
            self.stops.pop_front();
        }
        self.stops.push_back(Stop {
            call: call.clone(),
            spot,
            drives,
            tours,
            noted: now,
        });
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.stops.len()
    }

    /// Whether a command would move what a later stop has stopped already.
    pub(super) fn has(
        &self,
        call: &Call,
        spot: &ChannelAddress,
        order: &Order,
        now: Instant,
    ) -> bool {
        let moves: (Option<Drive>, Option<Option<&TourId>>) = match order {
            Order::Move { drive, .. } => (Some(*drive), None),
            Order::Act(action) if action.moves().is_some() => (action.moves(), None),
            Order::Patrol(PatrolOrder::Start(plan)) => (None, Some(Some(plan.tour()))),
            Order::Patrol(PatrolOrder::Resume(tour)) => (None, Some(tour.as_ref())),
            _ => return false,
        };
        let (drive, tour) = moves;
        self.stops.iter().any(|stop| {
            now.saturating_duration_since(stop.noted) < REMEMBERED
                && (drive.is_some_and(|drive| stop.drives.contains(drive))
                    || tour.is_some_and(|tour| stop.tours.covers(tour)))
                && stop.is_for(call, spot)
                && call.sent.is_before(&stop.call.sent)
        })
    }
}

impl Stop {
    /// Whether it was for the camera that a command calls so and that is there.
    fn is_for(&self, call: &Call, at: &ChannelAddress) -> bool {
        let mine = &self.call;
        if let (Some(one), Some(other)) = (mine.channel, call.channel)
            && one != other
        {
            return false;
        }
        if mine.id.is_some() && mine.id == call.id {
            return true;
        }
        let named = mine.host.is_some() && mine.host == call.host;
        let there = self.spot.is_some_and(|spot| spot.ip == at.ip);
        let channel = match self.spot {
            Some(spot) => spot.channel,
            None => mine.channel.unwrap_or(1),
        };
        let port = match (self.spot, mine.port) {
            // By the address alone: whatever is there. Its port may be known to the movement only.
            (_, None) if mine.id.is_none() => true,
            (Some(spot), _) => spot.port == at.port,
            (None, said) => said.is_none_or(|said| said == at.port),
        };
        (named || there) && channel == at.channel && port
    }
}
