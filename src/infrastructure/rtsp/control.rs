//! Where the parts of a described stream are set up (RFC 2326 C.1.1), and what the answers to SETUP
//! say. Pure. Cameras write these in every way there is, so several places are tried, best first.

use std::time::Duration;

use super::message::{Response, request_url_or_secure};
use crate::util::url;

/// Of a session that names none (RFC 2326 12.37).
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// Some cameras promise hours and end the session after a minute.
const MAX_TIMEOUT: Duration = Duration::from_secs(60);
/// A session that ends sooner is none.
const MIN_TIMEOUT: Duration = Duration::from_secs(4);

/// The answers to SETUP that speak of the place, so that another one may do.
pub fn is_wrong_place(status: u16) -> bool {
    matches!(status, 400 | 404 | 454)
}

/// What a description's control URLs are joined to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// As described: what was asked for, after redirects.
    asked: String,
    /// Best first; never empty.
    bases: Vec<String>,
    /// Where the whole stream is played and ended.
    aggregate: String,
}

impl Places {
    /// Before anything is described.
    pub fn of(asked: &str) -> Self {
        Self {
            asked: asked.to_owned(),
            bases: vec![asked.to_owned()],
            aggregate: asked.to_owned(),
        }
    }

    /// By the answer to DESCRIBE, and the description's own control for the whole, if it has one.
    pub fn described(asked: &str, response: &Response, control: Option<&str>) -> Self {
        let mut places = Self::of(asked);
        let named = ["content-base", "content-location"]
            .iter()
            .find_map(|name| response.header(name))
            .and_then(|base| places.repaired(&base));
        if let Some(base) = named.filter(|base| base != asked) {
            places.aggregate.clone_from(&base);
            places.bases.insert(0, base);
        }
        let control = control.filter(|control| *control != "*");
        if let Some(whole) = control.and_then(|control| places.repaired(control)) {
            places.aggregate.clone_from(&whole);
            places.bases.push(whole);
        }
        places
    }

    /// Where the whole stream is played, kept alive and ended.
    pub fn aggregate(&self) -> &str {
        &self.aggregate
    }

    /// Where a part with this control may be set up, in the order of trying; nowhere, if it is a URL of
    /// another protocol.
    pub fn of_part(&self, control: &str) -> Vec<String> {
        let mut urls: Vec<String> = Vec::new();
        if control.contains("://") && strip_scheme(control).is_none() {
            return urls;
        }
        for base in &self.bases {
            let url = self
                .absolute(control)
                .unwrap_or_else(|| join(base, control));
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
        urls
    }

    /// A control that is a URL of its own, led to the host that was dialled.
    fn absolute(&self, control: &str) -> Option<String> {
        strip_scheme(control)?;
        self.repaired(control)
    }

    /// A base as cameras write it, on the host that was dialled and by the scheme that was asked by:
    /// without a scheme, with two, a path only. `None` = of no use.
    fn repaired(&self, base: &str) -> Option<String> {
        let here = url::split(&self.asked).ok()?;
        let port = here.port.map(|port| format!(":{port}")).unwrap_or_default();
        let base = base.trim();
        let mut rest = base;
        while let Some(after) = strip_scheme(rest) {
            rest = after;
        }
        if rest.is_empty() {
            return None;
        }
        let path = if rest.starts_with('/') {
            rest
        } else if rest.len() < base.len() || looks_like_host(rest) {
            let at = rest.find(['/', '?']);
            at.and_then(|at| rest.get(at..)).unwrap_or("/")
        } else {
            return None;
        };
        let scheme = here.scheme;
        request_url_or_secure(&format!("{scheme}://{}{port}{path}", here.host_in_url()))
    }
}

fn strip_scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once("://")?;
    let known = ["rtsp", "rtsps"];
    known
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known))
        .then_some(rest)
}

/// `192.168.0.64:554/…` without a scheme.
fn looks_like_host(text: &str) -> bool {
    let host = text.split(['/', '?']).next().unwrap_or_default();
    host.contains('.') || host.contains(':')
}

/// As text, one slash between, behind a query too: cameras look for their own words, not for what
/// RFC 3986 makes of them.
fn join(base: &str, control: &str) -> String {
    let control = control.trim();
    if control.is_empty() || control == "*" {
        return base.to_owned();
    }
    let control = control.trim_start_matches('/');
    let slash = if base.ends_with('/') { "" } else { "/" };
    let joined = format!("{base}{slash}{control}");
    request_url_or_secure(&joined).unwrap_or(joined)
}

/// The `Transport` that is asked for: interleaved, on this channel and the next.
pub fn transport(channel: usize) -> (&'static str, String) {
    let value = format!("RTP/AVP/TCP;unicast;interleaved={channel}-{}", channel + 1);
    ("Transport", value)
}

/// Id and lifetime of the session that an answer to SETUP names.
pub fn session(response: &Response) -> (Option<String>, Duration) {
    let Some(value) = response.header("session") else {
        return (None, DEFAULT_TIMEOUT);
    };
    let mut parts = value.split(';').map(str::trim);
    let id = parts.next().filter(|id| !id.is_empty()).map(str::to_owned);
    let seconds = parts
        .filter_map(|part| part.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .filter(|seconds| *seconds > 0);
    let timeout = seconds.map_or(DEFAULT_TIMEOUT, Duration::from_secs);
    (id, timeout.clamp(MIN_TIMEOUT, MAX_TIMEOUT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_another_protocol_has_no_place() {
        let places = Places::of("rtsp://h/live");
        assert_eq!(places.of_part("http://h/x"), Vec::<String>::new());
        assert_eq!(places.of_part("RTSP://h:8/x y"), ["rtsp://h/x%20y"]);
        assert_eq!(places.of_part("*"), ["rtsp://h/live"]);
        // By TLS all of it is, whatever the camera writes.
        let places = Places::of("rtsps://h/live");
        assert_eq!(places.of_part("rtsp://h/x"), ["rtsps://h/x"]);
        assert_eq!(places.of_part("t1"), ["rtsps://h/live/t1"]);
    }

    #[test]
    fn a_query_may_hold_a_url() {
        let places = Places::of("rtsp://h/live");
        assert_eq!(places.of_part("t?u=a%3A//b"), ["rtsp://h/live/t?u=a%3A//b"]);
    }
}
