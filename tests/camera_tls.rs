//! HTTPS cameras: found by their answers, known again by their certificate, and told no login before
//! that has been judged.

// Marked as tests so that helpers may unwrap as tests do.
#[cfg(test)]
#[path = "camera_tls/client.rs"]
mod client;
#[cfg(test)]
#[path = "camera_tls/command.rs"]
mod command;
#[cfg(test)]
#[path = "camera_tls/daemon.rs"]
mod daemon;
#[cfg(test)]
#[path = "camera_tls/rtsp.rs"]
mod rtsp;
#[cfg(test)]
mod support;
