//! Cameras: what one is told and in which order, and that it stands still again.
//!
//! Pure machines, each with the time as an argument: [`Lane`] (one camera's commands, stops and
//! tour), the lock-out guard, the directory. The threads around them send what the lane says.

mod guard;
mod lane;
#[cfg(test)]
mod lane_props;
#[cfg(test)]
mod lane_tests;
#[cfg(test)]
mod lane_tour_tests;
mod login;
mod motor;
mod order;
#[cfg(test)]
mod sim;
mod waiting;

pub use guard::{Guard, Purpose};
pub use lane::{Lane, LanePolicy};
pub use login::Login;
pub use order::{
    Command, CommandId, CommandResult, DeviceRequest, Done, Order, Origin, Outcome, Output,
    PatrolOrder, PresetOrder, PtzAsk, Query, RequestId, Send, StopWay, Success, Wire,
};
