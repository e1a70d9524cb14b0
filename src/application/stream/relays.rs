//! Tasks that our own publisher does not carry, though FFmpeg may: by task and host, for an hour.
//!
//! Only what FFmpeg need not share counts: a path that does not come up, an answer that can't be used, a
//! camera that does not talk to the relay, a crash. Twice in a row for one task, and FFmpeg has its turn.
//! By task, because one hiccup of an endpoint is seen by all of them at once: that is no second failure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::domain::stream::TaskId;

/// So long a task is left to FFmpeg.
const LEFT_FOR: Duration = Duration::from_secs(60 * 60);
/// Failures in a row after which another way is tried.
const TRIES: u32 = 2;
/// Tasks that are remembered.
const MAX_KEPT: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub struct RelayWatch(BTreeMap<(TaskId, String), Seen>);

#[derive(Debug)]
struct Seen {
    failures: u32,
    last: Instant,
}

impl RelayWatch {
    /// The publisher has failed for this task by a fault of its own; whether another way should be tried.
    pub fn failed(&mut self, task: &TaskId, host: &str, now: Instant) -> bool {
        let key = key(task, host);
        if !self.0.contains_key(&key) && self.0.len() >= MAX_KEPT {
            let oldest = self.0.iter().min_by_key(|(_, seen)| seen.last);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.0.remove(&oldest);
            }
        }
        let seen = self.0.entry(key).or_insert(Seen {
            failures: 0,
            last: now,
        });
        if now.saturating_duration_since(seen.last) >= LEFT_FOR {
            seen.failures = 0;
        }
        seen.failures = seen.failures.saturating_add(1);
        seen.last = now;
        seen.failures >= TRIES
    }

    /// It gets media there, or FFmpeg fares no better: the publisher has the next turn.
    pub fn forget(&mut self, task: &TaskId, host: &str) {
        self.0.remove(&key(task, host));
    }

    /// Whether another way is to be taken there.
    pub fn avoids(&self, task: &TaskId, host: &str, now: Instant) -> bool {
        self.0.get(&key(task, host)).is_some_and(|seen| {
            seen.failures >= TRIES && now.saturating_duration_since(seen.last) < LEFT_FOR
        })
    }
}

fn key(task: &TaskId, host: &str) -> (TaskId, String) {
    (task.clone(), host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(name: &str) -> TaskId {
        TaskId::parse("taskId", name).unwrap()
    }

    #[test]
    fn twice_in_a_row_leaves_a_task_to_others_for_an_hour() {
        let (mut watch, t0) = (RelayWatch::default(), Instant::now());
        let (one, other) = (task("one"), task("other"));
        assert!(!watch.failed(&one, "a", t0));
        assert!(!watch.avoids(&one, "a", t0));
        watch.forget(&one, "a");
        assert!(!watch.failed(&one, "a", t0), "not in a row");
        assert!(!watch.failed(&other, "a", t0), "another task");
        assert!(!watch.failed(&one, "b", t0), "another host");
        assert!(watch.failed(&one, "a", t0));
        assert!(watch.avoids(&one, "a", t0 + LEFT_FOR / 2));
        assert!(!watch.avoids(&one, "b", t0) && !watch.avoids(&other, "a", t0));
        assert!(!watch.avoids(&one, "a", t0 + LEFT_FOR));
        assert!(!watch.failed(&one, "a", t0 + LEFT_FOR), "counted anew");
    }

    #[test]
    fn it_is_bounded() {
        let (mut watch, t0) = (RelayWatch::default(), Instant::now());
        for number in 0..500_u64 {
            let task = task(&number.to_string());
            watch.failed(&task, "a", t0 + Duration::from_secs(number));
        }
        assert_eq!(watch.0.len(), MAX_KEPT);
        assert!(watch.0.contains_key(&key(&task("499"), "a")));
    }
}
