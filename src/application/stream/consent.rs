//! Which endpoints end every session after half a minute. Pure.
//!
//! A full ICE agent asks its peer for consent every five seconds and ends the session after six
//! questions without an answer (RFC 7675). FFmpeg's muxer answers none (9.0.2, seen in packets), so
//! such an endpoint ends each of its sessions after 33 s, and nothing in FFmpeg's words tells why.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::domain::stream::{Cause, Diagnosis};

/// How long such sessions live: six questions, five seconds apart, each up to a fifth more or less.
const LIVES: RangeInclusive<Duration> = Duration::from_secs(25)..=Duration::from_secs(45);
/// So often in a row, and it is no chance.
const IN_A_ROW: u32 = 2;
/// Hosts that are remembered. A node has a few; of more, those beyond are not told apart.
const MOST_HOSTS: usize = 64;

/// What was added to the message.
pub const ASKS_FOR_CONSENT: &str =
    "this endpoint asks for ICE consent, which FFmpeg's muxer can't give";

/// Sessions lost in a row, by host.
#[derive(Debug, Default)]
pub struct ConsentWatch {
    lost: BTreeMap<String, u32>,
}

impl ConsentWatch {
    /// A run has failed whose session with `host` had lived so long, from its handshake to the last
    /// picture; `None` where there was none.
    pub fn judge(&mut self, host: &str, lived: Option<Duration>, why: Diagnosis) -> Diagnosis {
        let Some(lived) = lived else {
            // Tells nothing of how sessions end there.
            return why;
        };
        let lost = matches!(
            why.cause,
            Cause::WhipStream | Cause::WhipUnreachable | Cause::WhipUplink
        );
        if !lost || !LIVES.contains(&lived) {
            self.lost.remove(host);
            return why;
        }
        if !self.lost.contains_key(host) && self.lost.len() >= MOST_HOSTS {
            return why;
        }
        let times = self.lost.entry(host.to_owned()).or_default();
        *times = times.saturating_add(1);
        if *times < IN_A_ROW {
            return why;
        }
        Diagnosis {
            detail: format!(
                "{}; its sessions end after half a minute, {times} in a row: {ASKS_FOR_CONSENT}",
                why.detail
            ),
            ..why
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(watch: &mut ConsentWatch, host: &str, seconds: u64, cause: Cause) -> bool {
        let why = Diagnosis {
            cause,
            detail: "sending failed".to_owned(),
        };
        let told = watch.judge(host, Some(Duration::from_secs(seconds)), why);
        assert_eq!(told.cause, cause);
        assert!(told.detail.starts_with("sending failed"));
        told.detail.contains("consent")
    }

    #[test]
    fn two_in_a_row_at_one_host_are_named() {
        let mut watch = ConsentWatch::default();
        assert!(!lost(&mut watch, "a", 33, Cause::WhipStream));
        assert!(
            !lost(&mut watch, "b", 33, Cause::WhipStream),
            "another host"
        );
        assert!(lost(&mut watch, "a", 30, Cause::WhipStream));
        assert!(lost(&mut watch, "a", 36, Cause::WhipUnreachable), "and on");
    }

    #[test]
    fn what_ends_otherwise_begins_the_count_anew() {
        for (seconds, cause) in [
            (300, Cause::WhipStream),
            (5, Cause::WhipStream),
            (33, Cause::SourceStream),
        ] {
            let mut watch = ConsentWatch::default();
            lost(&mut watch, "a", 33, Cause::WhipStream);
            assert!(!lost(&mut watch, "a", seconds, cause));
            assert!(!lost(&mut watch, "a", 33, Cause::WhipStream));
            // A try that makes no session says nothing.
            let refused = Diagnosis {
                cause: Cause::WhipUnreachable,
                detail: "409".to_owned(),
            };
            assert_eq!(watch.judge("a", None, refused).detail, "409");
            assert!(lost(&mut watch, "a", 33, Cause::WhipStream));
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut watch = ConsentWatch::default();
        for host in 0..1000 {
            lost(&mut watch, &host.to_string(), 33, Cause::WhipStream);
        }
        assert_eq!(watch.lost.len(), MOST_HOSTS);
    }
}
