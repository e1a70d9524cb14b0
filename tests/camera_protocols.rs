//! The camera protocols against stand-in cameras over real sockets.

// Marked as tests so that helpers may unwrap as tests do.
#[cfg(test)]
mod support;

#[cfg(test)]
#[path = "camera_protocols/isapi.rs"]
mod isapi;
#[cfg(test)]
#[path = "camera_protocols/login.rs"]
mod login;
#[cfg(test)]
#[path = "camera_protocols/onvif.rs"]
mod onvif;
#[cfg(test)]
#[path = "camera_protocols/steps.rs"]
mod steps;
