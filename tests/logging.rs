//! What really arrives on stderr. A process has one logger, so each case runs in a process of its
//! own: this test binary again, told by a variable which part to play.

mod support;

use std::process::{Command, Stdio};

use lss::config::{Log, LogFormat};
use lss::logging;
use lss::util::secret::Secret;

const PART: &str = "LSS_TEST_PART";

/// Runs one part in a process of its own and gives the lines of its stderr.
fn play(part: &str) -> Vec<String> {
    let output = Command::new(std::env::current_exe().unwrap_or_default())
        .args(["--exact", "the_parts", "--nocapture"])
        .env(PART, part)
        .env_remove("JOURNAL_STREAM")
        .stdin(Stdio::null())
        .output();
    let err = output.map(|o| o.stderr).unwrap_or_default();
    String::from_utf8_lossy(&err)
        .lines()
        .map(str::to_owned)
        .collect()
}

fn start(format: LogFormat, level: log::LevelFilter) {
    logging::install_panic_hook();
    assert!(logging::init(&Log { format, level }).is_ok());
}

/// Not a test of its own: does nothing unless told to.
#[test]
fn the_parts() {
    let password = Secret::new("canary-password");
    let words = format!("login with {} refused\nat once", password.expose());
    match std::env::var(PART).as_deref() {
        Ok("text") => {
            start(LogFormat::Text, log::LevelFilter::Info);
            log::info!(target: "lss::part", task = "t 1", pid = 7, why = words.as_str(); "{words}");
            log::debug!(target: "lss::part", "not shown");
            log::info!(target: "ureq::run", "not shown");
            log::warn!(target: "ureq::run", "shown");
            logging::set_level(log::LevelFilter::Debug);
            log::debug!(target: "lss::part", "shown now");
            logging::set_level(log::LevelFilter::Off);
            log::error!(target: "lss::part", "not shown");
        }
        Ok("json") => {
            start(LogFormat::Json, log::LevelFilter::Info);
            log::info!(target: "lss::part", task = "t 1", pid = 7, why = words.as_str(); "{words}");
        }
        Ok("panic") => {
            start(LogFormat::Text, log::LevelFilter::Info);
            let thread = std::thread::Builder::new()
                .name("camera-1".to_owned())
                .spawn(move || panic!("{words}"));
            assert!(thread.is_ok_and(|t| t.join().is_err()));
            // A panic here would be a second line.
            let counted = logging::panics().into_iter().filter(|(_, n)| *n > 0);
            assert_eq!(counted.collect::<Vec<_>>(), [("camera", 1)]);
        }
        Ok("panic before the logger") => {
            logging::install_panic_hook();
            assert!(std::panic::catch_unwind(|| panic!("{words}")).is_err());
        }
        _ => {}
    }
}

#[test]
fn text_lines() {
    let lines: Vec<String> = play("text")
        .iter()
        .map(|line| line.get(25..).unwrap_or("").to_owned())
        .collect();
    assert_eq!(
        lines,
        [
            r#"INFO  login with *** refused\nat once task="t 1" pid=7 why="login with *** refused\nat once""#,
            "WARN  shown target=ureq::run",
            "DEBUG shown now target=lss::part",
        ]
    );
}

#[test]
fn json_lines() {
    let lines = play("json");
    assert_eq!(lines.len(), 1, "{lines:?}");
    let event: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(event["msg"], "login with *** refused\nat once");
    assert_eq!(event["fields"]["pid"], 7);
    assert_eq!(event["fields"]["why"], "login with *** refused\nat once");
}

#[test]
fn a_panic_is_one_masked_line() {
    let lines = play("panic");
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = &lines[0];
    assert!(
        line.contains(
            r"ERROR panic: login with *** refused\nat once thread=camera-1 at=tests/logging.rs:"
        ),
        "{line}"
    );
    let lines = play("panic before the logger");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].starts_with("lss: panic in thread ")
            && lines[0].ends_with(r"login with *** refused\nat once"),
        "{lines:?}"
    );
}

/// A whole life of the real binary, at the level that says most: streams that run, fail and end, a
/// reload, refused requests, the stop.
#[test]
fn a_daemon_logs_an_object_a_line() {
    use support::daemon::{Daemon, Setup, raw_request, wait_for};
    let mut daemon = Daemon::start(&Setup {
        env: vec![("LSS_LOG".into(), String::new())],
        more: "log: { format: json, level: trace }".to_owned(),
        ..Setup::default()
    });
    for mode in ["ok", "refused", "badoption"] {
        assert_eq!(daemon.start_task(mode, mode).0, 200);
    }
    daemon.wait_status("ok", "STREAMING");
    daemon.wait_status("refused", "RECONNECTING");
    daemon.wait_status("badoption", "ERROR");
    assert_eq!(
        raw_request(daemon.addr, b"\"BREW\n\x1b[2J\xff\r\n\r\n").0,
        400
    );
    daemon.signal(nix::sys::signal::Signal::SIGHUP);
    wait_for("the reload", std::time::Duration::from_secs(20), || {
        daemon.log().contains("reloaded").then_some(())
    });
    assert!(daemon.stop().success());
    // The reader of its stderr may be behind its end.
    wait_for("the last line", std::time::Duration::from_secs(20), || {
        daemon.log().contains(r#""msg":"stopped""#).then_some(())
    });
    let log = daemon.log();
    let mut levels = std::collections::BTreeSet::new();
    for line in log.lines() {
        let event: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        for name in ["ts", "msg"] {
            assert!(
                event[name].as_str().is_some_and(|s| !s.is_empty()),
                "{line}"
            );
        }
        levels.insert(event["level"].as_str().unwrap().to_owned());
    }
    assert_eq!(Vec::from_iter(levels), ["DEBUG", "ERROR", "INFO", "WARN"]);
    assert!(!log.contains("canary"));
}
