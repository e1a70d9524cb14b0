//! Everything this test binary logs, as text, unmasked by any back end: what must not show must
//! not be handed to the logger in the first place.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::kv::{Key, Value, VisitSource};
use log::{LevelFilter, Log, Metadata, Record};

struct Capture {
    lines: Mutex<Vec<String>>,
}

static CAPTURE: Capture = Capture {
    lines: Mutex::new(Vec::new()),
};

/// Starts to capture, at every level. May be called by each test.
pub fn capture() {
    // The second call fails, and that is fine.
    let _ = log::set_logger(&CAPTURE);
    log::set_max_level(LevelFilter::Trace);
}

/// The lines so far: `LEVEL target message key=value…`.
pub fn lines() -> Vec<String> {
    CAPTURE
        .lines
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

/// Waits for a line that holds all of `parts`.
pub fn wait_for(parts: &[&str]) -> String {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let found = lines()
            .into_iter()
            .find(|line| parts.iter().all(|part| line.contains(part)));
        if let Some(line) = found {
            return line;
        }
        assert!(Instant::now() < deadline, "no log line with {parts:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

struct Pairs<'a>(&'a mut String);

impl<'kvs> VisitSource<'kvs> for Pairs<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), log::kv::Error> {
        write!(self.0, " {key}={value}")?;
        Ok(())
    }
}

impl Log for Capture {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let mut line = format!("{} {} {}", record.level(), record.target(), record.args());
        record
            .key_values()
            .visit(&mut Pairs(&mut line))
            .expect("key values can be written");
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line);
    }

    fn flush(&self) {}
}
