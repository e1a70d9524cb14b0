//! Cameras: what one is told and in which order, and that it stands still again.
//!
//! Pure machines, each with the time as an argument: [`Lane`] (one camera's commands, stops and
//! tour), the lock-out guard, the directory. The threads around them send what the lane says.

mod book;
mod contact;
#[cfg(test)]
pub(crate) mod fakes;
mod lane;
#[cfg(test)]
mod lane_props;
#[cfg(test)]
mod lane_tests;
#[cfg(test)]
mod lane_tour_tests;
mod lockout;
mod motor;
mod order;
mod running;
mod service;
#[cfg(test)]
mod sim;
mod waiting;
mod wires;

pub use book::{Book, CameraAsk, ConfiguredLogin, KnownCamera, LoginMatch, Place, login};
pub use contact::{CheckReport, QueryData};
pub use lane::{Lane, LanePolicy};
pub use order::{
    Command, CommandId, CommandResult, DeviceRequest, Done, Order, Origin, Outcome, Output,
    PatrolOrder, PresetOrder, PtzAsk, Query, RequestId, Send, StopWay, Success, Wire,
};
pub use service::{CameraDone, CameraParts, CameraReply, CameraService};
