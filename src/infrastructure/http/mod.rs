//! What every HTTP and TLS client shares: certificates, name lookups, bounds of a request; and
//! what the camera clients share: logins, and a connection that knows how far a request got.
//! Knows no peer and no URL of one.

pub mod agent;
mod answer;
pub mod bounded;
pub mod camera;
pub mod camera_client;
pub mod camera_tls;
pub mod certificate;
pub mod coding;
pub mod der;
pub mod digest;
pub mod doors;
pub mod login_client;
pub mod look;
pub mod names;
pub mod response;
pub mod tls;
pub mod wire;
