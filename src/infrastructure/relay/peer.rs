//! What sends to a WHIP endpoint, as the relay sees it: a machine without a socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::domain::stream::UplinkStats;

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
    /// How what it sends arrives.
    fn uplink(&self) -> UplinkStats;
}
