//! H.264 over RTP (RFC 6184): [`assembler`] makes whole pictures of what a camera sends,
//! [`packetizer`] makes packets of them that any receiver takes.

pub mod assembler;
pub mod nal;
pub mod packetizer;
pub mod picture;
pub mod sets;
pub mod sps;
pub mod watch;

pub use assembler::{Assembler, Tally, Unfit};
pub use picture::Picture;
