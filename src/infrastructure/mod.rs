//! The world outside: sockets, processes, the operating system. Implements the domain's gateways
//! and knows neither the application nor an adapter.

pub mod ably;
pub mod child;
pub mod ffmpeg;
pub mod http;
pub mod rcs;
pub mod system;
