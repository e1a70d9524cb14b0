//! An Ably stand-in: a strict server ([`model`]) and the sockets around it.

pub mod model;
