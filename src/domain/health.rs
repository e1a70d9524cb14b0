//! How the parts of the node are doing, for `/readyz`, `/api/stream/health` and people.

use std::time::SystemTime;

/// The parts that health is told of (contract 10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// The cloud's command line.
    Ably,
    /// Registration and heartbeats.
    Rcs,
    /// An engine that can carry a stream.
    Ffmpeg,
    /// Camera scan and control.
    Cameras,
}

impl Part {
    /// Every part, in the order of the wire shape.
    pub const ALL: [Self; 4] = [Self::Ably, Self::Rcs, Self::Ffmpeg, Self::Cameras];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ably => "ably",
            Self::Rcs => "rcs",
            Self::Ffmpeg => "ffmpeg",
            Self::Cameras => "cameras",
        }
    }
}

/// What a part says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartStatus {
    /// Does its work.
    Up,
    /// Not there yet, or not any more; it keeps trying.
    Down,
    /// Switched off by configuration: nothing waits for it.
    Off,
}

impl PartStatus {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "UP",
            Self::Down => "DOWN",
            Self::Off => "OFF",
        }
    }
}

/// A part's status with its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartHealth {
    /// What it says.
    pub status: PartStatus,
    /// When it began to say so.
    pub since: SystemTime,
    /// Why, in words; empty when there is nothing to say.
    pub reason: String,
}

/// The node as a whole (contract 10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overall {
    /// Everything that is switched on works.
    Up,
    /// A part is not ready, but streams can run.
    Degraded,
    /// No engine, or stopping.
    Down,
}

impl Overall {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "UP",
            Self::Degraded => "DEGRADED",
            Self::Down => "DOWN",
        }
    }
}
