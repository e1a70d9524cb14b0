//! Cameras: what one is told and in which order, and that it stands still again.
//!
//! Pure machines, each with the time as an argument: [`Lane`] (one camera's commands, stops and
//! tour), [`Guard`] (no account is locked by wrong logins), [`Directory`] (where a camera is and how
//! to log in). The threads around them send what the lane says.

mod accounts;
mod address;
mod book;
mod contact;
mod directory;
#[cfg(test)]
mod explore;
#[cfg(test)]
pub(crate) mod fakes;
mod guard;
mod lane;
#[cfg(test)]
mod lane_props;
#[cfg(test)]
mod lane_tests;
#[cfg(test)]
mod lane_tour_tests;
mod lanes;
mod latency;
mod login;
mod login_ladder;
mod motor;
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
#[cfg(test)]
mod sim;
mod waiting;
mod whereabouts;
mod wires;

pub use accounts::Use;
pub use address::{AddressRules, Host, OwnAddress};
pub use book::{Book, CameraAsk, KnownCamera, OwnAddresses, Place};
pub use directory::{ConfiguredLogin, Directory, Said, Sighting, Target, Vendor};
pub use guard::{Guard, Purpose};
pub use lane::{Lane, LanePolicy};
pub use latency::{Kind as CommandKind, Latencies};
pub use login::Login;
pub use order::{
    Action, CameraDone, CameraReply, CheckReport, Command, CommandId, CommandResult, DeviceRequest,
    Done, Order, Origin, Outcome, Output, PatrolOrder, PresetOrder, Query, QueryData, RequestId,
    Send, StopWay, Success, Wire,
};
pub use overtaken::Sent;
pub use parts::CameraParts;
pub use ptz_ask::PtzAsk;
pub use service::CameraService;
