//! The process `lss relay`.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::infrastructure::child::marker::NODE_VARIABLE;
use crate::infrastructure::relay::work::work;

/// Does its job, which only a daemon gives it.
pub fn run() -> ExitCode {
    if std::env::var_os(NODE_VARIABLE).is_none() {
        let words = "lss: `lss relay` is started by lss itself, for one source at a time";
        let _ = writeln!(io::stderr(), "{words}");
        return ExitCode::from(2);
    }
    match work(io::stdin().lock(), io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            let _ = writeln!(io::stderr(), "lss relay: {why}");
            ExitCode::FAILURE
        }
    }
}
