//! Every order of events, up to a bound, over the real machines that must lose nothing: the outbox
//! of callbacks to RCS and the Ably connection with its outbox. Not a sample: all of them. How many
//! they were is printed; `LSS_ORDERS_DEPTH` sets another bound.

// Helpers of tests are tests too: they may panic, and say after what.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "cloud_orders/callbacks.rs"]
mod callbacks;
#[path = "cloud_orders/line.rs"]
mod line;

/// The bound: `LSS_ORDERS_DEPTH`, else `usual`.
fn depth(usual: usize) -> usize {
    let wanted = std::env::var("LSS_ORDERS_DEPTH").ok();
    wanted.map_or(usual, |depth| depth.parse().expect("a number"))
}
