//! A report of `lss doctor` as text for a small screen, and as JSON for programs.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::application::doctor::{Check, Datum, Report};
use crate::domain::whip_fit::Grade;
use crate::util::foreign::shown;

/// Longest text of a figure, in characters.
const MAX_TEXT: usize = 2_000;

fn name(status: Grade) -> &'static str {
    match status {
        Grade::Pass => "pass",
        Grade::Warn => "warn",
        Grade::Fail => "fail",
    }
}

/// One line a check, what to do below it, the sum at the end.
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    for check in &report.checks {
        // Writing to a String can't fail.
        let _ = writeln!(out, "{}", line(check));
        if let Some(advice) = &check.advice {
            let _ = writeln!(out, "      -> {advice}");
        }
    }
    let _ = writeln!(
        out,
        "{} pass, {} warn, {} fail",
        report.count(Grade::Pass),
        report.count(Grade::Warn),
        report.count(Grade::Fail)
    );
    out
}

fn line(check: &Check) -> String {
    let status = name(check.status);
    if check.subject.is_empty() {
        format!("{status}  {}: {}", check.check, check.words)
    } else {
        format!(
            "{status}  {} {}: {}",
            check.check, check.subject, check.words
        )
    }
}

/// `{ good, pass, warn, fail, checks: [ { check, subject, status, words, advice, data } ] }`
pub fn json(report: &Report) -> Value {
    let checks: Vec<Value> = report.checks.iter().map(one).collect();
    json!({
        "good": report.is_good(),
        "pass": report.count(Grade::Pass),
        "warn": report.count(Grade::Warn),
        "fail": report.count(Grade::Fail),
        "checks": checks,
    })
}

fn one(check: &Check) -> Value {
    let data: Map<String, Value> = check
        .data
        .iter()
        .map(|(name, datum)| ((*name).to_owned(), value(datum)))
        .collect();
    json!({
        "check": check.check,
        "subject": (!check.subject.is_empty()).then_some(&check.subject),
        "status": name(check.status),
        "words": check.words,
        "advice": check.advice,
        "data": (!data.is_empty()).then_some(data),
    })
}

fn value(datum: &Datum) -> Value {
    match datum {
        Datum::Text(text) => json!(shown(text, MAX_TEXT)),
        Datum::Whole(n) => json!(n),
        Datum::Number(n) => json!(n),
        Datum::Flag(yes) => json!(yes),
        Datum::List(items) => items
            .iter()
            .map(|item| json!(shown(item, MAX_TEXT)))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            checks: vec![
                Check::pass("ffmpeg", "FFmpeg 9.0.2").with("whip", Datum::Flag(true)),
                Check::fail("tcp", "closed", "open it").about("rcs.test:443"),
            ],
        }
    }

    #[test]
    fn for_people() {
        assert_eq!(
            text(&report()),
            "pass  ffmpeg: FFmpeg 9.0.2\nfail  tcp rcs.test:443: closed\n      -> open it\n1 pass, 0 warn, 1 fail\n"
        );
    }

    #[test]
    fn for_programs() {
        assert_eq!(
            json(&report()),
            json!({
                "good": false, "pass": 1, "warn": 0, "fail": 1,
                "checks": [
                    { "check": "ffmpeg", "subject": null, "status": "pass",
                      "words": "FFmpeg 9.0.2", "advice": null, "data": { "whip": true } },
                    { "check": "tcp", "subject": "rcs.test:443", "status": "fail",
                      "words": "closed", "advice": "open it", "data": null },
                ]
            })
        );
    }
}
