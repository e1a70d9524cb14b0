//! Ably Realtime, spoken directly over a websocket (JSON frames, protocol version 6).
//!
//! * [`frame`], [`data`]: protocol messages and payloads ↔ JSON. No state.
//! * [`connection`]: the machine: connection, channels, presence, publishes. No socket, thread or
//!   clock.
//! * `client`, `transport`, `helper`: the thread `ably` around it.
//!
//! Nothing in here knows what a command means, which channels there are, or what is published.
//! Facts about the protocol carry the ids of the Ably client feature specification (RTN15, …);
//! `docs/ably-conformance.md` lists which test shows which.

pub mod connection;
pub mod data;
pub mod endpoint;
pub mod frame;
