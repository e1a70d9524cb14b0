//! Endpoints that would not have FFmpeg as DTLS client. Pure.
//!
//! A run that finds that out costs a refused offer, or five seconds in which nobody says anything. So
//! what was found out holds for the host, for a day: then it is asked again, for an endpoint may have
//! learnt better, or have been silent for another reason.
//!
//! Bounded; the one that was found out longest ago goes first.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Hosts that are remembered. A node has a few.
const MOST_HOSTS: usize = 64;
/// So long.
const HOLDS: Duration = Duration::from_secs(24 * 60 * 60);

/// See the module.
#[derive(Debug, Default)]
pub struct PassiveHosts(VecDeque<(String, Instant)>);

impl PassiveHosts {
    /// That host would not have FFmpeg as client.
    pub fn note(&mut self, host: &str, now: Instant) {
        self.0.retain(|(known, _)| known != host);
        if self.0.len() >= MOST_HOSTS {
            self.0.pop_front();
        }
        self.0.push_back((host.to_owned(), now + HOLDS));
    }

    /// To it as server that host says the same: its part was not the reason.
    pub fn forget(&mut self, host: &str) {
        self.0.retain(|(known, _)| known != host);
    }

    /// Whether FFmpeg is to be the server there from the start.
    pub fn knows(&self, host: &str, now: Instant) -> bool {
        let of_host = |(known, until): &(String, Instant)| known == host && now < *until;
        self.0.iter().any(of_host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_host_and_for_a_day() {
        let (now, mut hosts) = (Instant::now(), PassiveHosts::default());
        hosts.note("a", now);
        assert!(hosts.knows("a", now) && !hosts.knows("b", now));
        hosts.note("a", now + HOLDS / 2);
        assert!(hosts.knows("a", now + HOLDS), "found out again since");
        assert!(!hosts.knows("a", now + HOLDS * 2));
        hosts.forget("a");
        assert!(!hosts.knows("a", now));
    }

    #[test]
    fn bounded() {
        let (now, mut hosts) = (Instant::now(), PassiveHosts::default());
        for host in 0..=MOST_HOSTS {
            hosts.note(&host.to_string(), now);
        }
        assert_eq!(hosts.0.len(), MOST_HOSTS);
        assert!(!hosts.knows("0", now) && hosts.knows("1", now));
    }
}
