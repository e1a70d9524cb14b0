//! `lss`: arguments, logging, exit code. Knows no protocol.

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use lss::config::{self, ConfigFault, LoadRequest, Loaded};
use lss::infrastructure::process;
use lss::{daemon, logging};

mod cli;

/// Bad arguments or configuration (contract 1).
const USAGE: u8 = 2;

/// The last log lines get so long.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The program. Public for the example that runs it (`examples/site.rs`).
pub fn main() -> ExitCode {
    logging::install_panic_hook();
    // Before anything reads a secret; some are in the environment already.
    if let Err(why) = process::close_to_others() {
        err(format_args!(
            "lss: other processes of this user can look into this one: {why}"
        ));
    }
    // A panic is a failure while running, exit code 1; Rust's own would be 101.
    let code = std::panic::catch_unwind(run).unwrap_or(ExitCode::FAILURE);
    // The last lines say why it ends. Who does not read them does not hold the end up.
    logging::flush(LAST_LINES);
    code
}

fn run() -> ExitCode {
    match cli::parse(std::env::args_os()) {
        Ok(cli::Command::Run(request)) => run_daemon(&request),
        Ok(cli::Command::CheckConfig(request)) => check_config(&request),
        Ok(cli::Command::Scan(request)) => daemon::scan::run(&request),
        Ok(cli::Command::Doctor(request)) => daemon::doctor::run(&request),
        Ok(cli::Command::Probe(request)) => daemon::probe::run(&request),
        Ok(cli::Command::Fit(request)) => daemon::fit::run(&request),
        Ok(cli::Command::Guard) => daemon::guard::run(),
        Ok(cli::Command::Relay) => daemon::relay::run(),
        Ok(cli::Command::Version) => {
            out(format_args!(
                "lss {} ({}, {})",
                env!("CARGO_PKG_VERSION"),
                env!("LSS_TARGET"),
                env!("LSS_COMMIT")
            ));
            ExitCode::SUCCESS
        }
        Ok(cli::Command::Help) => {
            out(cli::HELP.trim_end());
            ExitCode::SUCCESS
        }
        Err(wrong) => {
            err(format_args!("lss: {wrong}\ntry `lss --help`"));
            ExitCode::from(USAGE)
        }
    }
}

fn run_daemon(request: &LoadRequest) -> ExitCode {
    let loaded = match config::load(request, &config::process_env) {
        Ok(loaded) => loaded,
        Err(faults) => return refuse(&faults),
    };
    if let Err(error) = logging::init(&loaded.config.log) {
        err(format_args!("lss: {error}"));
        return ExitCode::FAILURE;
    }
    for warning in &loaded.warnings {
        log::warn!("{warning}");
    }
    daemon::run(&loaded)
}

fn check_config(request: &LoadRequest) -> ExitCode {
    let loaded = match config::load(request, &config::process_env) {
        Ok(loaded) => loaded,
        Err(faults) => return refuse(&faults),
    };
    for warning in &loaded.warnings {
        err(format_args!("warning: {warning}"));
    }
    out(origin(&loaded));
    out(config::to_yaml(&loaded.config).trim_end());
    ExitCode::SUCCESS
}

/// Where the values come from, as YAML comments.
fn origin(loaded: &Loaded) -> String {
    let file = match &loaded.path {
        Some(path) => path.display().to_string(),
        None => format!("none ({} does not exist)", config::DEFAULT_PATH),
    };
    let env = if loaded.env_used.is_empty() {
        "nothing".to_owned()
    } else {
        loaded.env_used.join(", ")
    };
    format!("# file: {file}\n# from the environment: {env}")
}

fn refuse(faults: &[ConfigFault]) -> ExitCode {
    for fault in faults {
        err(fault);
    }
    let count = match faults.len() {
        1 => "1 fault".to_owned(),
        n => format!("{n} faults"),
    };
    err(format_args!("lss: {count} in the configuration"));
    ExitCode::from(USAGE)
}

/// To stdout. A reader that has gone away (`| head`) is no failure.
fn out(text: impl Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// To stderr.
fn err(text: impl Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
