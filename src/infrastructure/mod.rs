//! The world outside: sockets, processes, the operating system. Implements the domain's gateways
//! and knows neither the application nor an adapter.

pub mod ably;
pub mod camera_gateway;
pub mod camera_names;
pub mod child;
pub mod discovery;
pub mod engines;
pub mod ffmpeg;
pub mod guard;
pub mod http;
pub mod isapi;
pub mod machine;
pub mod media;
pub mod onvif;
pub mod pictures;
pub mod process;
pub mod rcs;
pub mod relay;
#[cfg(feature = "relay")]
pub mod rtc;
pub mod rtsp;
pub mod snapshot;
pub mod state;
pub mod stun;
pub mod system;
pub mod whip;
pub mod xml;
