//! Where the WHIP session is that FFmpeg made, and whether FFmpeg deleted it. Pure.
//!
//! FFmpeg names the session's URL at `verbose` when ICE is up (`ICE STUN ok, … location=…`), and
//! in the errors of its own DELETE. Whoever answered the POST chose that URL, and a camera can
//! forge the line, so it is ours only if it is on the host of the task's `whipUrl`. FFmpeg follows
//! redirects, so an honest endpoint may have it elsewhere, too: that is told apart, and whether it
//! may be called is the operator's to say.

use crate::util::secret::Secret;
use crate::util::url;

use super::line::Line;

/// Scheme and host of the task's WHIP endpoint.
#[derive(Debug)]
struct Origin {
    https: bool,
    host: String,
}

/// A session that is not on the host of `whipUrl`, or there without its https.
#[derive(Debug, Clone)]
pub(super) struct Elsewhere {
    /// Lower case.
    pub(super) host: String,
    /// The session.
    pub(super) url: Secret,
}

/// What one run's lines tell of its session.
#[derive(Debug)]
pub(super) struct SessionTrace {
    whip: Option<Origin>,
    url: Option<Secret>,
    elsewhere: Option<Elsewhere>,
    /// FFmpeg's own DELETE reached the server.
    deleted: bool,
}

impl SessionTrace {
    pub(super) fn new(whip_url: &str) -> Self {
        let whip = url::split(whip_url).ok().map(|parts| Origin {
            https: parts.scheme.eq_ignore_ascii_case("https"),
            host: parts.host.to_ascii_lowercase(),
        });
        Self {
            whip,
            url: None,
            elsewhere: None,
            deleted: false,
        }
    }

    /// The session, if it was made and no DELETE is known to have arrived.
    pub(super) fn left(&self) -> Option<Secret> {
        self.url.clone().filter(|_| !self.deleted)
    }

    /// The same, of a session elsewhere.
    pub(super) fn left_elsewhere(&self) -> Option<Elsewhere> {
        self.elsewhere.clone().filter(|_| !self.deleted)
    }

    /// Takes the next line.
    pub(super) fn line(&mut self, line: &Line<'_>) {
        if !line.is_whip() {
            return;
        }
        if line.text.contains("ICE STUN ok")
            && let Some((_, rest)) = line.text.split_once(", location=")
            && let Some((location, _)) = rest.split_once(", username=")
        {
            self.remember(location);
        } else if let Some((what, location)) = line.text.split_once(" url=")
            && what.contains("DELETE")
        {
            // "Failed to read response" is printed on every clean stop too, whatever the answer
            // was; whether the request went out shows in the code of the line that follows.
            self.remember(location);
            self.deleted = what.contains("read response");
        } else if line.text.contains("Dispose resource") && line.text.trim_end().ends_with(" ok") {
            self.deleted = true;
        } else if let Some((_, code)) = line.text.split_once("Failed to dispose resource, ret=") {
            // -5: the answer could not be read to its end; anything else (timed out, interrupted,
            // refused) may not have reached the server.
            self.deleted = self.deleted && code.trim() == "-5";
        }
    }

    fn remember(&mut self, location: &str) {
        let location = location.trim();
        let (Ok(parts), Some(whip)) = (url::split(location), &self.whip) else {
            return;
        };
        if parts.userinfo.is_some() {
            // Where the host of `https://a?@b/` begins, not everybody agrees.
            return;
        }
        let https = parts.scheme.eq_ignore_ascii_case("https");
        let http = parts.scheme.eq_ignore_ascii_case("http");
        let host = parts.host.to_ascii_lowercase();
        if host == whip.host && (https || (http && !whip.https)) {
            if self.url.as_ref().is_none_or(|s| s.expose() != location) {
                self.url = Some(Secret::url(location));
            }
        } else if https || http {
            let url = Secret::url(location);
            self.elsewhere = Some(Elsewhere { host, url });
        }
    }
}
