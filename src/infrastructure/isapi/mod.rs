//! Hikvision's ISAPI: XML over HTTP with Digest logins.
//!
//! [`body`] builds requests and [`answer`] reads replies, both pure; [`client`] sends and judges;
//! [`device`] is the camera the rest of lss sees. Knows nothing of ONVIF.

pub mod answer;
pub mod body;
pub mod client;
pub mod detect;
pub mod device;
mod encoder;
pub mod status;

pub use device::IsapiCamera;
