//! Ably Realtime, spoken directly over a websocket (JSON frames, protocol version 6).
//!
//! * [`frame`], [`data`]: protocol messages and payloads ↔ JSON. No state.
//! * [`connection`]: the machine: connection, channels, presence, publishes. No socket, thread or
//!   clock.
//! * [`client`]: the thread `ably` around it; [`handle`] what the daemon holds of it; `transport`,
//!   `socket`, `upgrade` its websocket; `helper` what can't be done without waiting; `report` its
//!   log lines; [`mod@line`] what goes to which channel; [`check`] a look from outside the machine.
//!
//! Nothing in here knows what a command means or what is published; channels only `line`.
//! Facts about the protocol carry the ids of the Ably client feature specification (RTN15, …);
//! `docs/ably-conformance.md` lists which test shows which.

pub mod check;
pub mod client;
pub mod connection;
pub mod data;
mod doorbell;
pub mod endpoint;
pub mod frame;
pub mod handle;
pub mod helper;
pub mod line;
mod report;
mod socket;
mod transport;
mod upgrade;
