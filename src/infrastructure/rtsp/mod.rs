//! RTSP (RFC 2326), as a client. Messages, the conversation and descriptions are pure; only
//! `line` has a socket.
//!
//! Knows no task, no vendor and no scan. Media comes out of a conversation as frames, for whoever
//! asks for it; the client here only asks what there is.

pub mod client;
pub mod control;
pub mod head;
pub mod hello;
pub mod lend;
pub mod line;
pub mod login;
pub mod look;
pub mod message;
pub mod play;
pub mod sdp;
pub mod talk;
mod watch;

pub use client::RtspClient;
