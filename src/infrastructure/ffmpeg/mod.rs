//! FFmpeg: its command line, what it says, and what it can do.

pub mod diagnosis;
pub mod judge;
mod line;
mod patterns;
pub mod release;
mod session;
