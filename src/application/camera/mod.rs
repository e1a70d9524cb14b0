//! Cameras: what one is told and in which order, and that it stands still again.
//!
//! Pure machines, each with the time as an argument: [`Lane`] (one camera's commands, stops and
//! tour), [`Guard`] (no account is locked by wrong logins), [`Directory`] (where a camera is and how
//! to log in). The threads around them send what the lane says.

mod book;
mod contact;
#[cfg(test)]
mod explore;
#[cfg(test)]
pub(crate) mod fakes;
mod lane;
mod lanes;
mod latency;
mod login_ladder;
mod naming;
mod order;
mod overtaken;
#[cfg(test)]
mod overtaken_tests;
mod parts;
mod ptz_ask;
mod running;
mod service;
#[cfg(test)]
mod service_tests;
mod whereabouts;
mod wires;

pub use book::accounts::Use;
pub use book::address::{AddressRules, Host, OwnAddress};
pub use book::directory::{
    CameraFacts, CameraParams, ConfiguredLogin, Directory, Sighting, Vendor,
};
pub use book::guard::{Guard, Purpose};
pub use book::{Book, CameraAsk, KnownCamera, NamedChannel, OwnAddresses};
pub use lane::{Lane, LanePolicy};
pub use latency::{Kind as CommandKind, Latencies};
pub use order::{
    Action, CameraDone, CameraReply, CheckReport, Command, CommandId, CommandResult, DeviceRequest,
    Done, Order, Origin, Outcome, Output, PatrolOrder, PresetOrder, Query, QueryData, RequestId,
    Send, StopWay, Success, Wire,
};
pub use overtaken::Sent;
pub use parts::CameraParts;
pub use ptz_ask::PtzAsk;
pub use service::CameraService;
