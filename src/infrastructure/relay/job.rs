//! What the daemon wants of the child: one JSON object on its standard input. The source's password is
//! in it, so it stands in no argument and no environment.

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
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line<'a> {
    Look {
        url: Cow<'a, str>,
        as_stranger: bool,
        within_ms: u64,
    },
}

impl Job {
    /// As the child reads it.
    pub fn write(&self) -> Secret {
        let Self::Look {
            url,
            as_stranger,
            within,
        } = self;
        let line = Line::Look {
            url: Cow::Borrowed(url.expose()),
            as_stranger: *as_stranger,
            within_ms: u64::try_from(within.as_millis()).unwrap_or(u64::MAX),
        };
        // Room enough from the start: what a growing buffer leaves behind would not be wiped. (A
        // struct of texts and numbers can't fail to be written.)
        let mut text = Vec::with_capacity(256 + 6 * url.expose().len());
        let written = serde_json::to_writer(&mut text, &line).is_ok();
        let text = String::from_utf8(text).ok().filter(|_| written);
        Secret::unlisted(text.unwrap_or_default())
    }

    /// `None` for what is none: it comes from a daemon of the same build.
    pub fn read(text: &[u8]) -> Option<Self> {
        let Line::Look {
            url,
            as_stranger,
            within_ms,
        } = serde_json::from_slice(text).ok()?;
        Some(Self::Look {
            url: Secret::url(url.into_owned()),
            as_stranger,
            within: Duration::from_millis(within_ms),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let job = Job::Look {
            url: Secret::url("rtsp://admin:p\"\\ä@10.0.0.9/x"),
            as_stranger: true,
            within: Duration::from_millis(4321),
        };
        let text = job.write();
        assert_eq!(Job::read(text.expose().as_bytes()), Some(job));
        for cut in 0..text.expose().len() {
            assert_eq!(Job::read(&text.expose().as_bytes()[..cut]), None);
        }
        assert_eq!(Job::read(b"{\"dance\":{}}"), None);
    }
}
