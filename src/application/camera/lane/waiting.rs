//! Orders that wait for the camera's control connection, in order.
//!
//! Of movements of one drive only the newest waits; what it pushes out is given back to be
//! answered. So the queue is short however fast a joystick sends: one movement a drive and what
//! else fits in [`MAX_WAITING`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::motor::TourNumber;
use crate::application::camera::order::{Action, CommandId, Origin};
use crate::domain::ptz::{Drive, HoldId, Velocity};
use crate::domain::stream::CameraId;

/// Most orders that wait, movements and patrol steps not counted.
const MAX_WAITING: usize = 16;

/// Who wants something of the camera.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Source {
    /// A command, which is to be answered.
    Command {
        id: CommandId,
        camera: CameraId,
        origin: Origin,
    },
    /// A step of the tour of that number.
    Patrol { tour: TourNumber, camera: CameraId },
    /// The lane: a movement is repeated before the camera ends it.
    Repeat,
}

/// When a movement ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    /// So long after it was sent.
    After(Duration),
    /// `ptz.max_move` after it was sent.
    ByLimit,
    /// Then.
    At(Instant),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Wanted {
    Move {
        drive: Drive,
        velocity: Velocity,
        ends: Ends,
    },
    /// Presets, auto focus, the camera's own patrols.
    Act(Action),
}

impl Wanted {
    /// The drive that this could set in motion.
    pub(super) fn moves(&self) -> Option<Drive> {
        match self {
            Self::Move { drive, .. } => Some(*drive),
            Self::Act(action) => action.moves(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Waiting {
    pub source: Source,
    pub wanted: Wanted,
    /// From then on it is too old to be carried out.
    pub stale_at: Option<Instant>,
    /// The press of a joystick that it belongs to: it is void without that.
    pub hold: Option<HoldId>,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Waiting>,
}

impl Source {
    pub(super) fn origin(&self) -> Origin {
        match self {
            Self::Command { origin, .. } => *origin,
            Self::Patrol { .. } => Origin::Patrol,
            Self::Repeat => Origin::Internal,
        }
    }

    pub(super) fn camera(&self) -> Option<&CameraId> {
        match self {
            Self::Command { camera, .. } | Self::Patrol { camera, .. } => Some(camera),
            Self::Repeat => None,
        }
    }
}

impl Queue {
    /// Whether there is room for what is no movement.
    pub(super) fn has_room(&self) -> bool {
        let others = self
            .waiting
            .iter()
            .filter(|w| w.wanted.moves().is_none())
            .count();
        others < MAX_WAITING
    }

    /// Puts an order at the end; gives back those that it makes pointless.
    pub(super) fn push(&mut self, new: Waiting) -> Vec<Source> {
        let pushed_out = match new.wanted.moves() {
            Some(drive) => self.take_if(|w| w.wanted.moves() == Some(drive)),
            None => Vec::new(),
        };
        self.waiting.push_back(new);
        pushed_out
    }

    /// Takes out all that `which` says; in order.
    pub(super) fn take_if(&mut self, mut which: impl FnMut(&Waiting) -> bool) -> Vec<Source> {
        let mut taken = Vec::new();
        let mut index = 0;
        while let Some(waiting) = self.waiting.get(index) {
            if which(waiting) {
                taken.extend(self.waiting.remove(index).map(|w| w.source));
            } else {
                index += 1;
            }
        }
        taken
    }

    /// Takes out what has become too old.
    pub(super) fn take_stale(&mut self, now: Instant) -> Vec<Source> {
        self.take_if(|w| w.stale_at.is_some_and(|at| at <= now))
    }

    /// Whether something waits that could set `drive` in motion.
    pub(super) fn moves(&self, drive: Drive) -> bool {
        self.waiting.iter().any(|w| w.wanted.moves() == Some(drive))
    }

    pub(super) fn first(&self) -> Option<&Waiting> {
        self.waiting.front()
    }

    pub(super) fn pop(&mut self) -> Option<Waiting> {
        self.waiting.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// When something here becomes too old.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.iter().filter_map(|w| w.stale_at).min()
    }
}
