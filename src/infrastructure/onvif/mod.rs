//! ONVIF: SOAP over HTTP, with a login inside the message or around it.
//!
//! [`envelope`], [`form`] and [`request`] write messages, [`reply`] and [`answer`] read them, [`clock`],
//! [`address`] and [`discovery`] decide on them, all pure; [`client`] sends, logs in and finds the
//! camera's paths; [`device`] is the camera the rest of lss sees. Knows nothing of ISAPI.

pub mod address;
pub mod answer;
mod camera;
pub mod client;
pub mod clock;
pub mod detect;
mod device;
pub mod discovery;
pub mod encoder;
pub mod envelope;
pub mod form;
mod lens;
pub mod memory;
mod movement;
pub mod outcome;
mod presets;
mod probe;
pub mod reply;
pub mod request;

pub use camera::OnvifCamera;
pub use memory::Memory;
