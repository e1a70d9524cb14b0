//! What every HTTP and TLS client shares: certificates, name lookups, bounds of a request. Knows
//! no peer and no URL of one.

pub mod agent;
pub mod names;
pub mod tls;
