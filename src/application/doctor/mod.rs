//! What the findings of `lss doctor` mean, in words for whoever stands before the gateway with a
//! phone: pass, warn or fail, and what to do. Pure: looks come in, checks go out.

mod camera;
mod machine;
mod network;
mod peers;

use crate::domain::whip_fit::Grade;
use crate::util::foreign;

/// Longest text of a check, in characters.
const MAX_TEXT: usize = 2_000;

pub use camera::camera;
pub use machine::{clock_discipline, ffmpeg, machine, node, rest_port};
pub use network::{clock, host, udp};
pub use peers::{ably, internet, rcs};

/// A figure for programs.
#[derive(Debug, Clone, PartialEq)]
pub enum Datum {
    Text(String),
    /// A whole number.
    Whole(i64),
    /// Any number.
    Number(f64),
    /// Yes or no.
    Flag(bool),
    /// Texts.
    List(Vec<String>),
}

/// One finding.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// A stable name: `ffmpeg`, `clock`, `camera.stream`, …
    pub check: &'static str,
    /// What it is about where there are several: a host, a camera. Else empty.
    pub subject: String,
    /// How good.
    pub status: Grade,
    /// What was seen.
    pub words: String,
    /// What to do; a warning or a failure always has it.
    pub advice: Option<String>,
    /// For programs.
    pub data: Vec<(&'static str, Datum)>,
}

impl Check {
    fn new(check: &'static str, status: Grade, words: &str, advice: Option<&str>) -> Self {
        // Masked by value here as well: what a peer says may repeat what we sent it.
        Self {
            check,
            subject: String::new(),
            status,
            words: plain(words),
            advice: advice.map(plain),
            data: Vec::new(),
        }
    }

    /// Nothing to do.
    pub fn pass(check: &'static str, words: impl AsRef<str>) -> Self {
        Self::new(check, Grade::Pass, words.as_ref(), None)
    }

    /// Works, but.
    pub fn warn(check: &'static str, words: impl AsRef<str>, advice: impl AsRef<str>) -> Self {
        Self::new(check, Grade::Warn, words.as_ref(), Some(advice.as_ref()))
    }

    /// Does not work.
    pub fn fail(check: &'static str, words: impl AsRef<str>, advice: impl AsRef<str>) -> Self {
        Self::new(check, Grade::Fail, words.as_ref(), Some(advice.as_ref()))
    }

    /// Names what it is about.
    #[must_use]
    pub fn about(mut self, subject: impl AsRef<str>) -> Self {
        self.subject = plain(subject.as_ref());
        self
    }

    /// Adds a figure.
    #[must_use]
    pub fn with(mut self, name: &'static str, datum: Datum) -> Self {
        self.data.push((name, datum));
        self
    }
}

/// Masked, and on one line without what would disturb a terminal.
fn plain(text: &str) -> String {
    foreign::shown(text, MAX_TEXT)
}

/// Everything that was found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// In the order in which they are shown.
    pub checks: Vec<Check>,
}

impl Report {
    /// How many have that status.
    pub fn count(&self, status: Grade) -> usize {
        self.checks.iter().filter(|c| c.status == status).count()
    }

    /// Nothing has failed.
    pub fn is_good(&self) -> bool {
        self.count(Grade::Fail) == 0
    }
}

/// A check that had not ended when the time was up.
pub fn unfinished(what: &str) -> Check {
    Check::fail(
        "time",
        format!("{what}: no result in time"),
        "something on the way hangs: see the other lines, then run it again",
    )
    .about(what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::secret::Secret;

    #[test]
    fn no_secret_and_no_control_character_gets_into_a_check() {
        let held = Secret::new("canary-token-1");
        let check = Check::fail(
            "rcs",
            format!("said {}\u{1b}[2J", held.expose()),
            format!("do\n{}", held.expose()),
        )
        .about(held.expose());
        let all = format!("{check:?}");
        assert!(!all.contains("canary"), "{all}");
        assert!(!check.words.chars().any(char::is_control));
        assert!(!check.advice.unwrap().chars().any(char::is_control));
    }

    #[test]
    fn a_report_is_good_without_a_failure() {
        let mut report = Report::default();
        report.checks.push(Check::pass("a", "x"));
        report.checks.push(Check::warn("b", "x", "y"));
        assert!(report.is_good());
        report.checks.push(unfinished("ably"));
        assert!(!report.is_good());
        assert_eq!(report.count(Grade::Warn), 1);
    }
}
