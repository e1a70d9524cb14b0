//! FFmpeg: its command line, what it says, and what it can do.

pub mod command;
pub mod diagnosis;
pub mod engine;
pub mod judge;
mod level;
mod line;
mod patterns;
pub mod policy;
pub mod probe;
pub mod release;
mod session;
mod source;
