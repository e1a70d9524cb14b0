//! WHIP (RFC 9725) as lss itself speaks it: opens sessions for the relay, ends those that their
//! publisher left behind, and has the words for what endpoints refuse with.
//!
//! Knows no media and no task: an offer and an answer are texts here.

pub mod client;
pub mod place;
pub mod release;
pub mod words;
