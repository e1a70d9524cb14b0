//! FFmpeg: its command line, what it says, and what it can do.

pub mod command;
pub mod diagnosis;
pub mod engine;
pub mod frame;
pub mod judge;
mod level;
mod line;
mod patterns;
pub mod policy;
pub mod probe;
mod query;
mod session;
pub mod source;
mod words;
