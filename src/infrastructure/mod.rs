//! The world outside: one folder a protocol, none of which knows another, the application or the
//! adapters.

pub mod ably;
