//! Discovery: which cameras there are (contract 9).
//!
//! Pure machines, each with the time as an argument: [`Inventory`] (which finds are the same
//! camera, which is gone), the schedule (what is swept next), the plan of a sweep (which
//! addresses). The thread `discovery` does what they say and owns them; doors ask it by messages
//! and read the list without asking.

mod ask;
mod inventory;
mod learning;
mod maker;
mod networks;
mod owner;
#[cfg(test)]
mod owner_tests;
mod schedule;
mod service;
mod shared;
mod tally;

pub use ask::ask_strangers;
pub use inventory::{
    Askable, CameraKey, Change, ChangeKind, Inventory, KEPT, Lesson, MAX_CAMERAS, StreamPlace,
    Swept,
};
pub use networks::{Networks, Plan, plan};
pub use service::DiscoveryService;
pub use shared::{DiscoveryObserver, DiscoveryParts, NewScanner, ScanPolicy, ScanReply, ScanState};
pub use tally::{LastSweep, SweepEnd, SweepTally};
