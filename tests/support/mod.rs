//! Stand-ins and tools that integration tests share.
#![allow(dead_code)]
// Each test binary uses a part of it.
// A stand-in that fails is to fail its test; clippy.toml's leave reaches into test functions only.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

pub mod certs;
pub mod daemon;
pub mod logs;
pub mod rcs;
