//! What the daemon wants of the child: one JSON object on its standard input. The source's password
//! and the key to the stream are in it, so they stand in no argument and no environment.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::util::secret::Secret;

/// A job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// Ask a source what it is.
    Look {
        /// Where, with the login if there is one.
        url: Secret,
        /// Without the login: only how it wants to be logged in to is of interest.
        as_stranger: bool,
        /// From the child's start.
        within: Duration,
    },
    /// Send a source's picture, as it is, to a WHIP endpoint.
    Carry(Carry),
}

/// See [`Job::Carry`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carry {
    /// The source, with the login if there is one.
    pub url: Secret,
    /// The endpoint.
    pub whip_url: Secret,
    /// Sent with each request to the endpoint.
    pub bearer: Option<Secret>,
    /// Where the endpoint may lead, besides its own host.
    pub whip_hosts: Vec<String>,
    /// How long an answer of the endpoint, and a path to it, are waited for each.
    pub patience: Duration,
    /// How long the source may be silent.
    pub silence: Duration,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line<'a> {
    Look {
        url: Cow<'a, str>,
        as_stranger: bool,
        within_ms: u64,
    },
    Carry {
        url: Cow<'a, str>,
        whip_url: Cow<'a, str>,
        bearer: Option<Cow<'a, str>>,
        whip_hosts: Vec<String>,
        patience_ms: u64,
        silence_ms: u64,
    },
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Job {
    /// As the child reads it.
    pub fn write(&self) -> Secret {
        let borrowed = |secret: &'_ Secret| secret.expose().len();
        let (line, length) = match self {
            Self::Look {
                url,
                as_stranger,
                within,
            } => (
                Line::Look {
                    url: Cow::Borrowed(url.expose()),
                    as_stranger: *as_stranger,
                    within_ms: millis(*within),
                },
                borrowed(url),
            ),
            Self::Carry(carry) => (
                Line::Carry {
                    url: Cow::Borrowed(carry.url.expose()),
                    whip_url: Cow::Borrowed(carry.whip_url.expose()),
                    bearer: carry.bearer.as_ref().map(|b| Cow::Borrowed(b.expose())),
                    whip_hosts: carry.whip_hosts.clone(),
                    patience_ms: millis(carry.patience),
                    silence_ms: millis(carry.silence),
                },
                borrowed(&carry.url)
                    + borrowed(&carry.whip_url)
                    + carry.bearer.as_ref().map_or(0, borrowed)
                    + carry
                        .whip_hosts
                        .iter()
                        .map(|host| host.len() + 3)
                        .sum::<usize>(),
            ),
        };
        // Room enough from the start: what a growing buffer leaves behind would not be wiped. (A
        // struct of texts and numbers can't fail to be written.)
        let mut text = Vec::with_capacity(256 + 6 * length);
        let written = serde_json::to_writer(&mut text, &line).is_ok();
        let text = String::from_utf8(text).ok().filter(|_| written);
        Secret::unlisted(text.unwrap_or_default())
    }

    /// `None` for what is none: it comes from a daemon of the same build.
    pub fn read(text: &[u8]) -> Option<Self> {
        Some(match serde_json::from_slice(text).ok()? {
            Line::Look {
                url,
                as_stranger,
                within_ms,
            } => Self::Look {
                url: Secret::url(url.into_owned()),
                as_stranger,
                within: Duration::from_millis(within_ms),
            },
            Line::Carry {
                url,
                whip_url,
                bearer,
                whip_hosts,
                patience_ms,
                silence_ms,
            } => Self::Carry(Carry {
                url: Secret::url(url.into_owned()),
                whip_url: Secret::url(whip_url.into_owned()),
                bearer: bearer.map(|b| Secret::new(b.into_owned())),
                whip_hosts,
                patience: Duration::from_millis(patience_ms),
                silence: Duration::from_millis(silence_ms),
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let look = Job::Look {
            url: Secret::url("rtsp://admin:p\"\\ä@10.0.0.9/x"),
            as_stranger: true,
            within: Duration::from_millis(4321),
        };
        let carry = Job::Carry(Carry {
            url: Secret::url("rtsp://admin:p\"\\ä@10.0.0.9/x"),
            whip_url: Secret::url("https://whip.example/whip/canary-4f1c"),
            bearer: Some(Secret::new("canary\"bearer")),
            whip_hosts: vec!["sfu.example".to_owned()],
            patience: Duration::from_secs(10),
            silence: Duration::from_millis(8001),
        });
        for job in [look, carry] {
            let text = job.write();
            assert_eq!(Job::read(text.expose().as_bytes()), Some(job.clone()));
            for cut in 0..text.expose().len() {
                assert_eq!(Job::read(&text.expose().as_bytes()[..cut]), None);
            }
            assert!(!format!("{job:?}").contains("canary"), "{job:?}");
        }
        assert_eq!(Job::read(b"{\"dance\":{}}"), None);
    }
}
