//! RCS over HTTP (contract 10): registration and heartbeats, task callbacks that survive an
//! outage. Knows no task and no camera beyond what their pictures in the domain tell.
//!
//! [`RcsClient`] sends one body and judges the answer. [`outbox`] (order, bounds, retries of
//! callbacks) and [`schedule`] (when to register, when to beat) decide without sockets and clocks;
//! [`RcsCallbacks`] and [`RcsHeartbeat`] are the threads around them.

pub mod backoff;
mod callbacks;
mod client;
mod error;
mod heartbeat;
pub mod outbox;
pub mod schedule;
pub mod wire;
mod worker;

pub use callbacks::{Lost, RcsCallbacks, TaskCallbacks};
pub use client::{Exchanges, RcsClient, RcsSettings, RcsUplink};
pub use error::{RcsError, Refusal};
pub use heartbeat::{FIRST_LOOK, Facts, RcsHeartbeat};
