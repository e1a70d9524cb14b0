//! The scanner: one sweep of the network for cameras, on one thread, in one poll loop.
//!
//! Decisions are pure: [`schedule`] says what is connected to and when, [`talk`] what is said on an
//! open port and what the answers mean, [`hints`] what WS-Discovery answers are worth, [`dossier`]
//! what makes a camera, [`fingerprint`] whose it is. [`scanner`] has the sockets. Knows no login,
//! no camera list, and nothing of what becomes of a find.

pub mod dossier;
pub mod facts;
pub mod fingerprint;
pub mod hints;
pub mod http_reader;
pub mod http_talk;
mod multicast;
pub mod neighbours;
mod resources;
pub mod rtsp_talk;
pub mod scanner;
pub mod schedule;
mod sweep;
pub mod talk;
mod words;

pub use scanner::Scanner;
pub use talk::PortKind;
