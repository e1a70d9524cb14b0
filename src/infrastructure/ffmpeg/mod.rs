//! FFmpeg: its command line, what it says, and what it can do.

pub mod diagnosis;
mod line;
mod patterns;
mod session;
