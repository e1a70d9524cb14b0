//! Looks side by side on a few threads, all within one deadline. A look that hangs is left behind
//! and named.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::application::doctor::{self, Check};

/// Threads. Each waits for the network nearly all the time.
const THREADS: usize = 12;

/// What a look brings.
#[derive(Default)]
pub(super) struct Findings {
    checks: Vec<Check>,
    /// Somebody's clock less ours, in seconds.
    clock: Option<(String, i64)>,
}

impl Findings {
    pub(super) fn of(checks: Vec<Check>) -> Self {
        Self {
            checks,
            clock: None,
        }
    }

    /// With what somebody's clock showed.
    pub(super) fn with_clock(mut self, who: &str, offset: Option<i64>) -> Self {
        self.clock = offset.map(|offset| (who.to_owned(), offset));
        self
    }
}

/// One look.
pub(super) struct Job {
    what: String,
    /// `None` = the place where the judgement on the clock is shown.
    look: Option<Box<dyn FnOnce() -> Findings + Send>>,
}

impl Job {
    /// `what` names it, should it not end in time.
    pub(super) fn new(
        what: impl Into<String>,
        look: impl FnOnce() -> Findings + Send + 'static,
    ) -> Self {
        Self {
            what: what.into(),
            look: Some(Box::new(look)),
        }
    }
}

/// Where the judgement on the clock is shown: others tell the time in passing.
pub(super) fn clock() -> Job {
    Job {
        what: String::new(),
        look: None,
    }
}

/// Runs all; the checks in the order of the jobs.
pub(super) fn run(jobs: Vec<Job>, deadline: Instant) -> Vec<Check> {
    let names: Vec<String> = jobs.iter().map(|job| job.what.clone()).collect();
    let mut places: Vec<Option<Findings>> = Vec::new();
    let (queue, waiting) = unbounded();
    let mut left = 0;
    for (place, job) in jobs.into_iter().enumerate() {
        places.push(None);
        match job.look {
            None => {
                if let Some(slot) = places.last_mut() {
                    *slot = Some(Findings::default());
                }
            }
            Some(look) => {
                left += 1;
                // Unbounded, and the receiver is here.
                let _ = queue.send((place, look));
            }
        }
    }
    drop(queue);
    let (done, results) = bounded(names.len());
    for number in 0..left.min(THREADS) {
        let (waiting, done) = (waiting.clone(), done.clone());
        // With fewer threads it takes longer; with none, every look is named as unfinished.
        let _ = std::thread::Builder::new()
            .name(format!("doctor-{number}"))
            .spawn(move || work(&waiting, &done));
    }
    drop(done);
    while left > 0 {
        let Ok((place, findings)) = results.recv_deadline(deadline) else {
            break;
        };
        left -= 1;
        if let Some(slot) = places.get_mut(place) {
            *slot = findings;
        }
    }
    assemble(&names, places)
}

type Look = Box<dyn FnOnce() -> Findings + Send>;

fn work(waiting: &Receiver<(usize, Look)>, done: &Sender<(usize, Option<Findings>)>) {
    for (place, look) in waiting {
        let findings = catch_unwind(AssertUnwindSafe(look)).ok();
        if done.send((place, findings)).is_err() {
            return;
        }
    }
}

fn assemble(names: &[String], places: Vec<Option<Findings>>) -> Vec<Check> {
    let mut readings: Vec<(String, i64)> = Vec::new();
    for findings in places.iter().flatten() {
        if let Some((who, offset)) = &findings.clock
            && !readings.iter().any(|(known, _)| known == who)
        {
            readings.push((who.clone(), *offset));
        }
    }
    // Ably tells milliseconds, RCS is the peer that matters, the rest are web servers.
    readings.sort_by_key(|(who, _)| match who.as_str() {
        "Ably" => 0,
        "RCS" => 1,
        _ => 2,
    });
    let mut out = Vec::new();
    for (name, findings) in names.iter().zip(places) {
        match findings {
            None => out.push(doctor::unfinished(name)),
            Some(_) if name.is_empty() => out.push(doctor::clock(&readings)),
            Some(findings) => out.extend(findings.checks),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn in_order_and_what_hangs_or_panics_is_named() {
        let (hold, waits) = bounded::<()>(0);
        let jobs = vec![
            Job::new("one", || {
                Findings::of(vec![Check::pass("one", "x")]).with_clock("c", Some(90))
            }),
            clock(),
            Job::new("hangs", move || {
                let _ = waits.recv();
                Findings::default()
            }),
            Job::new("panics", || panic!("on purpose")),
            Job::new("last", || Findings::of(vec![Check::pass("last", "x")])),
        ];
        let checks = run(jobs, Instant::now() + Duration::from_millis(300));
        let names: Vec<(&str, &str)> = checks
            .iter()
            .map(|c| (c.check, c.subject.as_str()))
            .collect();
        assert_eq!(
            names,
            [
                ("one", ""),
                ("clock", ""),
                ("time", "hangs"),
                ("time", "panics"),
                ("last", "")
            ]
        );
        drop(hold);
    }
}
