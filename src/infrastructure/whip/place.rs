//! Where an endpoint may lead: a redirect, or the session that it has made. Pure.
//!
//! What is sent there carries the key to the stream, so it goes to the host of `whipUrl` and to those
//! in `lss.ffmpeg.whip_hosts`, and to nobody else.

use std::sync::Arc;

use crate::util::url::{self, UrlParts};

/// Where requests of one endpoint may go.
#[derive(Debug, Clone)]
pub struct Places {
    https: bool,
    /// Lower case.
    host: String,
    whip_hosts: Arc<[String]>,
}

impl Places {
    /// Of the endpoint at `whip_url`; `None` where that is no http(s) URL.
    pub fn of(whip_url: &str, whip_hosts: Arc<[String]>) -> Option<Self> {
        let parts = url::split(whip_url).ok()?;
        let https = is_https(&parts)?;
        Some(Self {
            https,
            host: parts.host.to_ascii_lowercase(),
            whip_hosts,
        })
    }

    /// Whether something may be sent there; `Err` names the host that it is not, in lower case.
    /// Plain http is never taken on the host of an https endpoint, unless that host is in the list.
    pub fn allow(&self, target: &str) -> Result<(), String> {
        let parts = url::split(target).ok();
        let Some((parts, https)) = parts.and_then(|parts| Some((parts, is_https(&parts)?))) else {
            return Err("what is no http(s) URL".to_owned());
        };
        let host = parts.host.to_ascii_lowercase();
        if parts.userinfo.is_some() {
            // Where the host of `https://a?@b/` begins, not everybody agrees.
            return Err(host);
        }
        let own = host == self.host && (https || !self.https);
        let listed = |known: &String| known.eq_ignore_ascii_case(&host);
        if own || self.whip_hosts.iter().any(listed) {
            Ok(())
        } else {
            Err(host)
        }
    }
}

fn is_https(parts: &UrlParts<'_>) -> Option<bool> {
    if parts.scheme.eq_ignore_ascii_case("https") {
        Some(true)
    } else {
        parts.scheme.eq_ignore_ascii_case("http").then_some(false)
    }
}

/// A reference as it stands in `Location`, from the URL that was asked (RFC 3986 5.2). `None` where
/// nothing can be asked there.
pub fn resolve(base: &str, reference: &str) -> Option<String> {
    let reference = reference.trim();
    let reference = reference.split('#').next().unwrap_or_default();
    let parts = url::split(base).ok()?;
    let (path, _) = parts
        .path
        .split_once(['?', '#'])
        .unwrap_or((parts.path, ""));
    let target = if has_scheme(reference) {
        reference.to_owned()
    } else if let Some(rest) = reference.strip_prefix("//") {
        format!("{}://{rest}", parts.scheme)
    } else {
        let port = parts
            .port
            .map(|port| format!(":{port}"))
            .unwrap_or_default();
        let origin = format!("{}://{}{port}", parts.scheme, parts.host_in_url());
        let joined = if reference.starts_with('/') {
            without_dots(reference)
        } else if reference.is_empty() || reference.starts_with('?') {
            format!("{path}{reference}")
        } else {
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            without_dots(&format!("{folder}/{reference}"))
        };
        format!("{origin}{joined}")
    };
    url::split(&target).is_ok().then_some(target)
}

/// `name:` before any `/` or `?`.
fn has_scheme(reference: &str) -> bool {
    reference.split_once(':').is_some_and(|(name, _)| {
        name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
    })
}

/// RFC 3986 5.2.4; the query stays as it is.
fn without_dots(target: &str) -> String {
    let (path, query) = match target.find('?') {
        Some(at) => target.split_at_checked(at).unwrap_or((target, "")),
        None => (target, ""),
    };
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." if last => kept.push(""),
            "." => {}
            ".." => {
                kept.pop();
                if last {
                    kept.push("");
                }
            }
            other => kept.push(other),
        }
    }
    format!("/{}{query}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_location_is_resolved_against_the_url_that_was_asked() {
        const BASE: &str = "https://whip.example:8443/live/whip?token=a/b";
        for (reference, target) in [
            ("/res/1", "https://whip.example:8443/res/1"),
            (
                "res/1?x=../y",
                "https://whip.example:8443/live/res/1?x=../y",
            ),
            ("./1", "https://whip.example:8443/live/1"),
            ("../1", "https://whip.example:8443/1"),
            ("../../..", "https://whip.example:8443/"),
            ("?id=1", "https://whip.example:8443/live/whip?id=1"),
            ("//sfu.example/1", "https://sfu.example/1"),
            ("http://sfu.example/a#part", "http://sfu.example/a"),
            (" HTTPS://SFU.example/a ", "HTTPS://SFU.example/a"),
            ("a:b", "a:b"),
        ] {
            let found = resolve(BASE, reference);
            if target == "a:b" {
                assert_eq!(found, None);
            } else {
                assert_eq!(found.as_deref(), Some(target), "{reference}");
            }
        }
        assert_eq!(
            resolve("http://h", "x").as_deref(),
            Some("http://h/x"),
            "a base without a path"
        );
        assert_eq!(
            resolve("http://[fd00::1]:8/a/", "x").as_deref(),
            Some("http://[fd00::1]:8/a/x")
        );
        assert_eq!(resolve("nonsense", "/x"), None);
    }

    #[test]
    fn only_the_endpoints_own_host_and_those_in_the_list() {
        let known: Arc<[String]> = vec!["sfu-2.example".to_owned(), "10.0.0.7".to_owned()].into();
        let places = Places::of("https://whip.example/whip/x", known).unwrap();
        for (target, allowed) in [
            ("https://whip.example/res/1", true),
            ("https://WHIP.example:8443/res/1", true),
            ("http://whip.example/res/1", false),
            ("https://SFU-2.example/res/1", true),
            ("http://10.0.0.7/res/1", true),
            ("https://sfu-3.example/res/1", false),
            ("http://169.254.169.254/latest", false),
            ("ftp://sfu-2.example/res/1", false),
            ("https://whip.example@evil.example/", false),
            ("https://evil.example?@whip.example/", false),
            ("https://evil.example\\@whip.example/", false),
            ("file:///etc/passwd", false),
        ] {
            assert_eq!(places.allow(target).is_ok(), allowed, "{target}");
        }
        let plain = Places::of("http://127.0.0.1:8080/w", Arc::from([])).unwrap();
        assert_eq!(plain.allow("http://127.0.0.1:9/x"), Ok(()));
        assert_eq!(plain.allow("http://127.0.0.2/x"), Err("127.0.0.2".into()));
        assert!(Places::of("rtsp://h/x", Arc::from([])).is_none());
    }

    proptest! {
        #[test]
        fn a_reference_without_a_host_never_leaves_the_host(reference in "[a-z./?%@\\\\-]{0,30}") {
            prop_assume!(!reference.starts_with("//"));
            if let Some(target) = resolve("https://whip.example/a/b", &reference) {
                prop_assert!(target.starts_with("https://whip.example/"), "{target}");
            }
        }
    }
}
