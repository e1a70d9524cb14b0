//! What sends to a WHIP endpoint, as the relay sees it: a machine without a socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a peer wants of whoever holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A datagram is to be sent.
    Transmit {
        /// From the socket that is bound to this address.
        from: SocketAddr,
        /// To this one.
        to: SocketAddr,
        /// What.
        bytes: Vec<u8>,
    },
    /// Nothing until then, or until something comes.
    Wait(Instant),
    /// Something has happened.
    Event(Event),
}

/// What happens to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Media can go out.
    Connected,
    /// Somebody has lost pictures, or has just come, and wants a key picture.
    KeyframeWanted,
    /// The other end is not who the answer says it is.
    FingerprintWrong,
    /// The path is gone, or never came up: why.
    Lost(String),
}

/// What a session has been through.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Figures {
    /// Bytes of media that went out, resent ones included.
    pub bytes: u64,
    /// Those that were sent again.
    pub resent: u64,
    /// Part of what was sent lately that was lost, 0 to 1, where the other end tells.
    pub loss: Option<f32>,
    /// There and back, where the other end tells.
    pub round_trip: Option<Duration>,
    /// Requests for packets to be sent again.
    pub nacks: u64,
    /// Key pictures that were asked for.
    pub keyframe_requests: u64,
}

/// One session's sender.
pub trait Peer {
    /// The answer has come. `Err` says in words why it can't be used.
    fn accept(&mut self, answer: &str, now: Instant) -> Result<(), String>;
    /// A datagram has come.
    fn receive(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8], now: Instant);
    /// The time it has waited for has come.
    fn timeout(&mut self, now: Instant);
    /// What it wants now; to be asked until it waits.
    fn poll(&mut self, now: Instant) -> Output;
    /// One picture, as payloads of RTP, the last of which ends it.
    fn video(&mut self, payloads: &[Arc<[u8]>], ticks: u64, now: Instant);
    /// Tells the other end that this is the end; to be asked once more for what that takes.
    fn close(&mut self);
    /// What it has been through.
    fn figures(&self) -> Figures;
}
