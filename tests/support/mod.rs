//! Stand-ins and tools that integration tests share.
#![allow(dead_code)] // Each test binary uses a part of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)] // Tests: a fault ends them.
#![allow(clippy::print_stderr, missing_docs)]

pub mod ably;
pub mod camera_head;
pub mod camera_http;
pub mod certs;
pub mod daemon;
pub mod digest_server;
pub mod fit_camera;
pub mod isapi_camera;
pub mod logs;
pub mod onvif_camera;
mod onvif_operations;
pub mod rcs;
pub mod rtsp_server;
pub mod site;
pub mod tls_camera;
