//! Hosts and the connect request (REC, RTN2, RTN17). Pure.

use std::fmt::Write as _;

use crate::util::secret::Secret;
use crate::util::url::encode_userinfo as encode;

/// The protocol version we speak (CSV2).
const VERSION: &str = "6";
/// How many fallback hosts one round tries (TO3l5).
pub const MAX_FALLBACKS: usize = 3;

/// Where to connect: always the primary first (RTN17i), then some of the fallbacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts {
    /// Tried first in every round.
    pub primary: String,
    /// Tried in random order after a qualifying failure; may be empty.
    pub fallbacks: Vec<String>,
}

impl Hosts {
    /// Hosts of an `endpoint` option (REC1, REC2). An explicit list of fallbacks replaces the
    /// derived one, an empty one switches fallback off.
    ///
    /// ```
    /// use lss::infrastructure::ably::endpoint::Hosts;
    /// assert_eq!(Hosts::of("main", None).primary, "main.realtime.ably.net");
    /// assert!(Hosts::of("ably.example.org", None).fallbacks.is_empty());
    /// ```
    pub fn of(endpoint: &str, explicit: Option<&[String]>) -> Self {
        let is_host = endpoint.contains('.') || endpoint.contains("::") || endpoint == "localhost";
        let (primary, suffix) = if is_host {
            (endpoint.to_owned(), None)
        } else if let Some(id) = endpoint.strip_prefix("nonprod:") {
            (
                format!("{id}.realtime.ably-nonprod.net"),
                Some((id, "ably-realtime-nonprod.com")),
            )
        } else {
            let id = if endpoint.is_empty() {
                "main"
            } else {
                endpoint
            };
            (
                format!("{id}.realtime.ably.net"),
                Some((id, "ably-realtime.com")),
            )
        };
        let fallbacks = match (explicit, suffix) {
            (Some(list), _) => list.to_vec(),
            (None, Some((id, domain))) => ["a", "b", "c", "d", "e"]
                .iter()
                .map(|letter| format!("{id}.{letter}.fallback.{domain}"))
                .collect(),
            (None, None) => Vec::new(),
        };
        Self { primary, fallbacks }
    }
}

/// Who connects.
#[derive(Debug, Clone, Copy)]
pub enum Login<'a> {
    /// Basic authentication: `appId.keyId:keySecret` (RSA11).
    Key(&'a Secret),
    /// A token, opaque.
    Token(&'a Secret),
}

/// The path and query of the websocket request (RTN2). A secret as a whole: it holds the key.
pub fn connect_path(
    login: Login<'_>,
    client_id: &str,
    agent: &str,
    resume: Option<&Secret>,
) -> Secret {
    let (name, value) = match login {
        Login::Key(key) => ("key", key),
        Login::Token(token) => ("accessToken", token),
    };
    let mut path = format!(
        "/?v={VERSION}&format=json&{name}={}&clientId={}&echo=false&heartbeats=true&agent={}",
        encode(value.expose()),
        encode(client_id),
        encode(agent)
    );
    if let Some(key) = resume {
        // Writing to a String can't fail.
        let _ = write!(path, "&resume={}", encode(key.expose()));
    }
    Secret::new(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routing_names_hosts_and_explicit_lists() {
        let main = Hosts::of("main", None);
        assert_eq!(main.primary, "main.realtime.ably.net");
        assert_eq!(main.fallbacks.len(), 5);
        assert_eq!(main.fallbacks[0], "main.a.fallback.ably-realtime.com");
        assert_eq!(Hosts::of("", None), main, "REC1a");

        let other = Hosts::of("acme", None);
        assert_eq!(other.primary, "acme.realtime.ably.net");
        assert_eq!(other.fallbacks[4], "acme.e.fallback.ably-realtime.com");

        let nonprod = Hosts::of("nonprod:sandbox", None);
        assert_eq!(nonprod.primary, "sandbox.realtime.ably-nonprod.net");
        assert_eq!(
            nonprod.fallbacks[2],
            "sandbox.c.fallback.ably-realtime-nonprod.com"
        );

        for host in ["ably.example.org", "127.0.0.1", "::1", "localhost"] {
            let hosts = Hosts::of(host, None);
            assert_eq!((hosts.primary.as_str(), hosts.fallbacks.len()), (host, 0));
        }
        let listed = vec!["f.example".to_owned()];
        assert_eq!(Hosts::of("main", Some(&listed)).fallbacks, listed);
        assert!(Hosts::of("main", Some(&[])).fallbacks.is_empty());
    }

    #[test]
    fn the_request_has_every_parameter_encoded() {
        let key = Secret::new("xVLyHw.SmDuMg:sec/ret");
        let path = connect_path(Login::Key(&key), "lss-machine_007", "lss/1.0.0", None);
        assert_eq!(
            path.expose(),
            "/?v=6&format=json&key=xVLyHw.SmDuMg%3Asec%2Fret&clientId=lss-machine_007\
             &echo=false&heartbeats=true&agent=lss%2F1.0.0"
        );
        assert_eq!(format!("{path:?}"), "***");
        let resume = Secret::new("AA!k1");
        let path = connect_path(Login::Token(&key), "n", "a", Some(&resume));
        assert!(path.expose().contains("&accessToken=xVLyHw"));
        assert!(path.expose().ends_with("&resume=AA%21k1"));
        assert!(!path.expose().contains("key="));
    }
}
