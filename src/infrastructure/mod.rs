//! The world outside: protocols, processes, the operating system. Knows domain and util, never
//! application or adapter.

pub mod camera_gateway;
pub mod http;
pub mod isapi;
pub mod onvif;
pub mod snapshot;
pub mod xml;
