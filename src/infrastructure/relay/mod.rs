//! `lss relay`: the child that speaks with cameras in the daemon's stead, so that no camera's bytes
//! are read by the process that owns everything else. Its job comes by standard input ([`job`]), and is
//! one of two ([`work`]).
//!
//! It **looks**: asks one source what it is ([`look`]), says it as an event on stdout ([`event`]) and ends.
//! Or it **carries** ([`carry`]): plays a camera ([`source`]), puts its pictures in order for a new session
//! ([`group`]), makes WHIP sessions ([`sessions`]) by a thread that speaks with the endpoint ([`courier`]),
//! and reports on stdout ([`report`]). What sends is a [`peer`].
//!
//! Knows no task and no retry.

/// Whether this build can carry.
pub const CARRIES: bool = cfg!(feature = "relay");

mod camera_words;
pub mod carry;
pub mod carry_judge;
pub mod courier;
pub mod event;
pub mod group;
pub mod job;
pub mod judge;
pub mod look;
pub mod peer;
#[cfg(feature = "relay")]
mod publisher;
pub mod report;
pub mod sessions;
pub mod sockets;
pub mod source;
pub mod work;
