//! lss between peers that are not ours: a real FFmpeg, RTSP server and WHIP receiver; web servers
//! that ask for logins; and clients that are not ours at our stand-in cameras.
//!
//! `tests/e2e/setup` installs them. Where one is missing, each test says SKIPPED on stderr, is
//! counted in `target/e2e/skipped` and passes; with `LSS_E2E_REQUIRE=1` it fails instead.
//!
//! After every test, all that lss has logged, answered and called back is searched for the secrets
//! that the test gave it.

// Helpers of tests are test code too, but Clippy knows only what stands inside `#[test]`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

mod cameras;
mod clock;
mod daemon;
mod endpoints;
mod failures;
mod handshake;
mod inputs;
mod itself;
mod lab;
mod life;
mod observers;
mod odd_sources;
mod passthrough;
mod recovery;
mod relay;
mod rtsp;
mod stopping;
#[path = "../support/mod.rs"]
mod support;
mod words;
