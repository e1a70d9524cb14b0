//! Media as it travels, without sockets, threads or clocks: RTP packets, H.264 pictures out of them
//! and into them again, what parameter sets say, and the clock they carry.
//!
//! What cameras send is put in order here once, so that whoever passes it on need not know their
//! habits: pictures come out whole, with their parameter sets, or not at all.

pub mod bits;
pub mod h264;
pub mod h265;
pub mod rtcp;
pub mod rtp;
pub mod timeline;
