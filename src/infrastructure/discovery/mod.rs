//! Finding cameras.

pub mod fingerprint;
