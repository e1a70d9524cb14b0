//! Sending pictures and sound by WebRTC, without a socket, a thread or a clock of its own: all that is
//! passed in ([`publisher`]). ICE, DTLS, SRTP and RTCP are str0m's, the cryptography ring's
//! ([`crypto`]).

mod answer;
mod crypto;
mod figures;
mod publisher;
mod stamps;

pub use answer::Refusal;
pub use figures::Figures;
pub use publisher::{Event, Loss, MOST_PAYLOAD, NoOffer, Output, Publisher};
