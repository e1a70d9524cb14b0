//! What really arrives on stderr. A process has one logger, so each case runs in a process of its
//! own: this test binary again, told by a variable which part to play.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

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
        Ok(part @ ("frame text" | "frame json")) => {
            let words = [
                "level",
                "INFO",
                "fields",
                "animal",
                "started",
                "lss::",
                "target",
                "stream started",
                "Z INFO  stream",
            ];
            let _keep = words.map(Secret::new);
            let now = humantime::format_rfc3339(std::time::SystemTime::now()).to_string();
            let year = &now[..4];
            let _year = Secret::new(year);
            let format = if part == "frame text" {
                LogFormat::Text
            } else {
                LogFormat::Json
            };
            start(format, log::LevelFilter::Info);
            let value = format!("an animal of {year}, level");
            log::info!(target: "lss::part", animal = value.as_str(); "stream started");
            // What is known at run time only is a value, in a message too.
            log::info!(target: "lss::part", "stream {}", String::from("started"));
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
    assert!(logging::flush(std::time::Duration::from_secs(20)));
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
fn no_password_touches_the_frame_or_words_of_our_own() {
    let lines = play("frame text");
    let after_the_time: Vec<&str> = lines.iter().map(|line| &line[25..]).collect();
    assert_eq!(
        after_the_time,
        [
            r#"INFO  stream started animal="an *** of ***, ***""#,
            "INFO  ***",
        ]
    );
    assert!(
        humantime::parse_rfc3339(&lines[0][..24]).is_ok(),
        "{lines:?}"
    );
    let lines = play("frame json");
    let event: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(event["level"], "INFO");
    assert_eq!(event["msg"], "stream started");
    assert_eq!(event["fields"]["animal"], "an *** of ***, ***");
    assert!(humantime::parse_rfc3339(event["ts"].as_str().unwrap()).is_ok());
    let event: serde_json::Value = serde_json::from_str(&lines[1]).unwrap();
    assert_eq!(
        (&event["level"], &event["msg"]),
        (&"INFO".into(), &"***".into())
    );
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

/// A pipe by name that holds little, as the stderr of a daemon: what its reader does is up to the
/// test.
struct Pipe {
    dir: tempfile::TempDir,
    end: std::fs::File,
}

impl Pipe {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stderr");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut open = std::fs::OpenOptions::new();
        let end = open.read(true).write(true).open(&path).unwrap();
        nix::fcntl::fcntl(&end, nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
        Self { dir, end }
    }

    /// Runs lss with it.
    fn within(&self) -> Vec<String> {
        let path = self.dir.path().join("stderr");
        let script = format!("exec \"$0\" \"$@\" 2>'{}'", path.display());
        vec!["/bin/sh".into(), "-c".into(), script]
    }
}

/// One value of `/metrics`.
fn figure(daemon: &support::daemon::Daemon, series: &str) -> f64 {
    let request = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    let (status, text) = support::daemon::raw_request(daemon.addr, request);
    assert_eq!(status, 200, "{text}");
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    let line = line.unwrap_or_else(|| panic!("no {series}"));
    line.trim().parse().unwrap()
}

/// Asks until the log has lost lines by `reason`.
fn ask_until_lines_are_lost(daemon: &support::daemon::Daemon, reason: &str) {
    let series = format!("lss_log_lines_dropped_total{{reason=\"{reason}\"}}");
    // Each answer is a line at debug.
    support::daemon::wait_for("lost lines", SOON, || {
        for _ in 0..50 {
            daemon.get("/api/stream/tasks");
        }
        (figure(daemon, &series) > 0.0).then_some(())
    });
}

const SOON: std::time::Duration = std::time::Duration::from_secs(60);

#[test]
fn a_stderr_that_nobody_reads_holds_nothing_up_and_the_loss_is_told() {
    use std::io::{BufRead as _, BufReader};
    use support::daemon::{Daemon, Setup, wait_for};
    let pipe = Pipe::new();
    // The service manager's end of the watchdog.
    let manager = pipe.dir.path().join("notify");
    let manager = (
        std::os::unix::net::UnixDatagram::bind(&manager).unwrap(),
        manager,
    );
    manager.0.set_read_timeout(Some(SOON)).unwrap();
    let fed = || {
        let mut told = [0; 512];
        loop {
            let length = manager.0.recv(&mut told).unwrap();
            if told[..length].starts_with(b"WATCHDOG=1") {
                return;
            }
        }
    };
    let mut daemon = Daemon::start(&Setup {
        within: pipe.within(),
        env: vec![
            ("NOTIFY_SOCKET".into(), manager.1.display().to_string()),
            ("WATCHDOG_USEC".into(), "1000000".into()),
        ],
        ..Setup::default()
    });
    assert_eq!(daemon.start_task("before", "ok").0, 200);
    daemon.wait_status("before", "STREAMING");
    ask_until_lines_are_lost(&daemon, "no_room");
    // Everything goes on: commands, streams that run, streams that fail and come back, the watchdog.
    assert_eq!(daemon.start_task("during", "ok").0, 200);
    daemon.wait_status("during", "STREAMING");
    assert_eq!(daemon.start_task("refused", "refused").0, 200);
    daemon.wait_status("refused", "RECONNECTING");
    assert_eq!(daemon.stop_task("before", false).0, 200);
    daemon.wait_status("during", "STREAMING");
    for _ in 0..6 {
        fed();
    }
    // Somebody reads again: what is missing is said where it is missing, and the log goes on.
    let lines = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = lines.clone();
    let end = BufReader::new(pipe.end.try_clone().unwrap());
    std::thread::spawn(move || {
        for line in end.lines().map_while(Result::ok) {
            sink.lock().unwrap().push(line);
        }
    });
    let told = wait_for("the loss to be told", SOON, || {
        daemon.get("/api/stream/tasks");
        let lines = lines.lock().unwrap();
        let at = lines
            .iter()
            .position(|line| line.contains(" dropped here: "))?;
        (lines.len() > at + 1).then(|| lines[at].clone())
    });
    let (_, lost) = told.rsplit_once("dropped=").unwrap();
    let lost: f64 = lost.parse().unwrap();
    let series = "lss_log_lines_dropped_total{reason=\"no_room\"}";
    assert!(lost > 0.0 && lost <= figure(&daemon, series), "{told}");
    assert!(daemon.stop().success());
}

#[test]
fn a_stderr_that_nobody_reads_holds_up_no_stop() {
    use support::daemon::{Daemon, Setup};
    let pipe = Pipe::new();
    let mut daemon = Daemon::start(&Setup {
        within: pipe.within(),
        ..Setup::default()
    });
    assert_eq!(daemon.start_task("t", "ok").0, 200);
    daemon.wait_status("t", "STREAMING");
    ask_until_lines_are_lost(&daemon, "no_room");
    assert!(daemon.stop().success());
}

#[test]
fn a_stderr_that_takes_nothing_ends_nothing() {
    use support::daemon::{Daemon, Setup};
    for (script, what) in [
        ("exec \"$0\" \"$@\" 2>/dev/full", "a full disk"),
        ("exec \"$0\" \"$@\" 2>&-", "none"),
    ] {
        let mut daemon = Daemon::start(&Setup {
            within: vec!["/bin/sh".into(), "-c".into(), script.into()],
            ..Setup::default()
        });
        assert_eq!(daemon.start_task("t", "ok").0, 200);
        daemon.wait_status("t", "STREAMING");
        if what == "a full disk" {
            ask_until_lines_are_lost(&daemon, "not_written");
        }
        assert!(daemon.stop().success(), "{what}");
    }
}
