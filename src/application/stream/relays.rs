//! Endpoints that our own publisher gets no media to, though FFmpeg's may: by host, for an hour.
//!
//! Only what no other publisher need share counts: a path that does not come up, an answer that can't be
//! used, a crash. Twice in a row, and FFmpeg has its turn.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// So long a host is left to FFmpeg.
const LEFT_FOR: Duration = Duration::from_secs(60 * 60);
/// Failures in a row after which another way is tried.
const TRIES: u32 = 2;
/// Hosts that are remembered: a node sends to one, mostly.
const MAX_HOSTS: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub struct RelayWatch(BTreeMap<String, Seen>);

#[derive(Debug)]
struct Seen {
    failures: u32,
    last: Instant,
}

impl RelayWatch {
    /// The publisher has failed there by a fault of its own; whether another way should be tried.
    pub fn failed(&mut self, host: &str, now: Instant) -> bool {
        if !self.0.contains_key(host) && self.0.len() >= MAX_HOSTS {
            let oldest = self.0.iter().min_by_key(|(_, seen)| seen.last);
            if let Some(oldest) = oldest.map(|(host, _)| host.clone()) {
                self.0.remove(&oldest);
            }
        }
        let seen = self.0.entry(host.to_owned()).or_insert(Seen {
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

    /// It gets media there.
    pub fn works(&mut self, host: &str) {
        self.0.remove(host);
    }

    /// Whether another way is to be taken there.
    pub fn avoids(&self, host: &str, now: Instant) -> bool {
        self.0.get(host).is_some_and(|seen| {
            seen.failures >= TRIES && now.saturating_duration_since(seen.last) < LEFT_FOR
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_in_a_row_leaves_a_host_to_others_for_an_hour() {
        let (mut watch, t0) = (RelayWatch::default(), Instant::now());
        assert!(!watch.failed("a", t0));
        assert!(!watch.avoids("a", t0));
        watch.works("a");
        assert!(!watch.failed("a", t0), "not in a row");
        assert!(watch.failed("a", t0));
        assert!(watch.avoids("a", t0 + LEFT_FOR / 2) && !watch.avoids("b", t0));
        assert!(!watch.avoids("a", t0 + LEFT_FOR));
        assert!(!watch.failed("a", t0 + LEFT_FOR), "counted anew");
    }

    #[test]
    fn it_is_bounded() {
        let (mut watch, t0) = (RelayWatch::default(), Instant::now());
        for number in 0..500_u64 {
            watch.failed(&number.to_string(), t0 + Duration::from_secs(number));
        }
        assert_eq!(watch.0.len(), MAX_HOSTS);
        assert!(watch.0.contains_key("499"));
    }
}
