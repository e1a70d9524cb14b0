//! The outside world: child processes, engines, peers. Knows the domain and its gateways; never
//! an application service or a door.

pub mod child;
pub mod ffmpeg;
