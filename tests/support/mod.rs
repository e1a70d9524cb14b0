//! Stand-ins for the peers of lss.

pub mod ably;
