//! `lss relay`: the child that speaks with cameras in the daemon's stead, so that no camera's bytes
//! are read by the process that owns everything else. Today it looks: it asks one source what it is
//! ([`look`]), says it as an event on stdout ([`event`]) and ends. Its job comes by standard input
//! ([`job`]).
//!
//! Knows no task and no retry.

pub mod event;
pub mod job;
pub mod judge;
pub mod look;
