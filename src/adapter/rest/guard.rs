//! Who may ask: Host, Origin and token (contract 2). Pure.
//!
//! The API has no login of its own and its commands carry camera passwords. Without a valid
//! token two things keep a browser on the site's network from being used against it: the `Host`
//! check (a foreign name that resolves to us: DNS rebinding) and the `Origin` check (a foreign
//! page that posts to us).

use std::hint::black_box;
use std::net::IpAddr;

use super::reply::Reply;
use crate::domain::error::{ErrorCode, Fault};
use crate::util::secret::Secret;

/// Who may ask. Swapped as a whole at a reload.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// What `Authorization: Bearer` must carry; none = the check is off.
    pub token: Option<Secret>,
    /// Names that a `Host` may have besides addresses, `localhost` and `host_name`.
    pub allowed_hosts: Vec<String>,
    /// This machine's name.
    pub host_name: String,
}

/// The headers that the decision rests on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Credentials<'a> {
    /// `Host`
    pub host: Option<&'a str>,
    /// `Origin`
    pub origin: Option<&'a str>,
    /// `Authorization`
    pub authorization: Option<&'a str>,
}

impl Access {
    /// Nothing, or the refusal: Host, Origin, token, in this order.
    pub fn check(&self, who: &Credentials<'_>) -> Result<(), Box<Reply>> {
        let offered = who.authorization.and_then(bearer);
        let valid = match (&self.token, offered) {
            (Some(token), Some(offered)) => same(token.expose(), offered),
            _ => false,
        };
        if valid {
            return Ok(());
        }
        self.check_host(who.host)?;
        self.check_origin(who)?;
        if self.token.is_none() {
            return Ok(());
        }
        Err(Box::new(if offered.is_none() {
            Reply::fault(&Fault::new(
                ErrorCode::Unauthorized,
                "this needs the header Authorization: Bearer with the API token (server.api_token)",
            ))
            .with("WWW-Authenticate", "Bearer realm=\"lss\"")
        } else {
            Reply::fault(&Fault::new(
                ErrorCode::AccessDenied,
                "the token is not the API token (server.api_token)",
            ))
        }))
    }

    fn check_host(&self, host: Option<&str>) -> Result<(), Box<Reply>> {
        let name = host.map(|host| host_of(host.trim()));
        if name.is_some_and(|name| self.is_ours(name)) {
            return Ok(());
        }
        Err(Box::new(Reply::fault_as(
            421,
            &Fault::new(
                ErrorCode::AccessDenied,
                "the Host header is neither an address, localhost nor this machine's name; \
                 other names are listed in server.allowed_hosts",
            ),
        )))
    }

    /// The page's own host may ask, and so may a page on a listed one.
    fn check_origin(&self, who: &Credentials<'_>) -> Result<(), Box<Reply>> {
        let Some(origin) = who.origin else {
            return Ok(());
        };
        let authority = origin
            .trim()
            .split_once("://")
            .map_or("", |(_, authority)| authority);
        let same_host = who.host.is_some_and(|host| {
            !authority.is_empty() && host.trim().eq_ignore_ascii_case(authority)
        });
        if same_host || self.is_listed(host_of(authority)) {
            return Ok(());
        }
        Err(Box::new(Reply::fault(&Fault::new(
            ErrorCode::AccessDenied,
            "the Origin header names another site",
        ))))
    }

    fn is_ours(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name);
        let is_address = name
            .strip_prefix('[')
            .and_then(|v6| v6.strip_suffix(']'))
            .unwrap_or(name)
            .parse::<IpAddr>()
            .is_ok();
        is_address
            || name.eq_ignore_ascii_case("localhost")
            || (!name.is_empty() && name.eq_ignore_ascii_case(&self.host_name))
            || self.is_listed(name)
    }

    fn is_listed(&self, name: &str) -> bool {
        !name.is_empty()
            && self
                .allowed_hosts
                .iter()
                .any(|listed| listed.eq_ignore_ascii_case(name))
    }
}

/// `host[:port]` without the port; IPv6 keeps its brackets.
fn host_of(authority: &str) -> &str {
    let name_from = authority.find(']').unwrap_or(0);
    match authority.get(name_from..).and_then(|rest| rest.find(':')) {
        Some(colon) => authority.get(..name_from + colon).unwrap_or(""),
        None => authority,
    }
}

/// The token of `Bearer …`, the scheme in any case.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Equal, in a time that depends on the length of what was offered alone.
fn same(token: &str, offered: &str) -> bool {
    if token.is_empty() {
        return false;
    }
    let mut difference = token.len() ^ offered.len();
    for (theirs, ours) in offered.bytes().zip(token.bytes().cycle()) {
        difference |= usize::from(black_box(theirs ^ ours));
    }
    black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(token: Option<&str>) -> Access {
        Access {
            token: token.map(Secret::new),
            allowed_hosts: vec!["cam.Example.org".into()],
            host_name: "gateway-7".into(),
        }
    }

    fn status(access: &Access, who: Credentials<'_>) -> u16 {
        access
            .check(&who)
            .map_or_else(|reply| reply.status, |()| 200)
    }

    #[test]
    fn hosts() {
        let open = access(None);
        for (host, expected) in [
            (Some("127.0.0.1"), 200),
            (Some("192.168.0.9:10060"), 200),
            (Some("[::1]:10060"), 200),
            (Some("[fe80::1]"), 200),
            (Some("localhost:10060"), 200),
            (Some("LocalHost."), 200),
            (Some("gateway-7:1"), 200),
            (Some("CAM.example.org:443"), 200),
            (Some("evil.example"), 421),
            (Some("127.0.0.1.evil.example"), 421),
            (Some("evil.example:127.0.0.1"), 421),
            (Some("[::1]evil"), 421),
            (Some("localhost@evil.example"), 421),
            (Some(""), 421),
            (Some(":80"), 421),
            (None, 421),
        ] {
            let who = Credentials {
                host,
                ..Credentials::default()
            };
            assert_eq!(status(&open, who), expected, "{host:?}");
        }
    }

    #[test]
    fn origins() {
        let open = access(None);
        for (origin, expected) in [
            ("http://10.0.0.2:10060", 200),
            ("HTTP://10.0.0.2:10060", 200),
            ("https://cam.example.org", 200),
            ("http://10.0.0.2", 403),
            ("http://evil.example", 403),
            ("http://localhost:3000", 403),
            ("null", 403),
            ("", 403),
            ("http://", 403),
        ] {
            let who = Credentials {
                host: Some("10.0.0.2:10060"),
                origin: Some(origin),
                ..Credentials::default()
            };
            assert_eq!(status(&open, who), expected, "{origin:?}");
        }
    }

    #[test]
    fn tokens() {
        let closed = access(Some("right-token"));
        for (authorization, expected) in [
            (None, 401),
            (Some("Basic cmlnaHQ6dG9rZW4="), 401),
            (Some("Bearer"), 401),
            (Some("Bearer "), 401),
            (Some("right-token"), 401),
            (Some("Bearer wrong"), 403),
            (Some("Bearer right-toke"), 403),
            (Some("Bearer right-token1"), 403),
            (Some("Bearer right-tokenright-token"), 403),
            (Some("Bearer right-token"), 200),
            (Some("bEARER  right-token "), 200),
        ] {
            let who = Credentials {
                host: Some("10.0.0.2"),
                authorization,
                ..Credentials::default()
            };
            assert_eq!(status(&closed, who), expected, "{authorization:?}");
        }
    }

    #[test]
    fn the_order_is_host_origin_token_and_a_valid_token_ends_it() {
        let closed = access(Some("right-token"));
        let mut who = Credentials {
            host: Some("evil.example"),
            origin: Some("http://other.example"),
            authorization: Some("Bearer wrong"),
        };
        assert_eq!(status(&closed, who), 421);
        who.host = Some("10.0.0.2");
        assert_eq!(status(&closed, who), 403);
        who.origin = None;
        who.authorization = None;
        assert_eq!(status(&closed, who), 401);
        who = Credentials {
            host: Some("any.name"),
            origin: Some("http://any.where"),
            authorization: Some("Bearer right-token"),
        };
        assert_eq!(status(&closed, who), 200);
    }

    #[test]
    fn an_empty_token_opens_nothing() {
        let broken = access(Some(""));
        let who = Credentials {
            host: Some("10.0.0.2"),
            authorization: Some("Bearer x"),
            ..Credentials::default()
        };
        assert_eq!(status(&broken, who), 403);
    }
}
