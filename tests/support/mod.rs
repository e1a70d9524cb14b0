//! Stand-ins for what lss talks to. Each keeps the rules of the real thing, and says no where it
//! would.
#![allow(dead_code, reason = "every test binary takes what it needs")]

pub mod camera_head;
pub mod digest_server;
pub mod isapi_camera;
pub mod onvif_camera;
