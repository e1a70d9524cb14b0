//! The daemon: wiring, threads, shutdown order.

use std::process::ExitCode;

use crate::config::Loaded;

/// Runs until it is told to stop.
pub fn run(loaded: Loaded) -> ExitCode {
    log::error!(node = loaded.config.node.node_id(); "nothing to run yet");
    drop(loaded);
    ExitCode::FAILURE
}
