//! Where something is: addresses, hosts, URLs, subnets.

use std::net::IpAddr;

use super::{MAX_TEXT, Wrong, id};
use crate::util::cidr::{Cidr, CidrError};
use crate::util::url;

/// An address of this machine.
pub(in crate::config) fn address(text: &str) -> Result<IpAddr, Wrong> {
    text.parse()
        .map_err(|_| "must be an IP address, like 192.168.0.10".to_owned())
}

/// An address that others can reach.
pub(in crate::config) fn host_address(text: &str) -> Result<IpAddr, Wrong> {
    let ip = address(text)?;
    if ip.is_unspecified() || ip.is_multicast() {
        return Err("must be the address of one machine".into());
    }
    Ok(ip)
}

/// A host name or an IP address, lower case, without scheme, port and brackets.
pub(in crate::config) fn host(text: &str) -> Result<String, Wrong> {
    let bare = text
        .strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'))
        .unwrap_or(text);
    let name = !bare.is_empty()
        && bare.len() <= 253
        && bare
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    if name || bare.parse::<IpAddr>().is_ok() {
        Ok(bare.to_ascii_lowercase())
    } else {
        Err("must be a host name or an IP address, without http:// and without a port".into())
    }
}

/// Ably's endpoint: a routing name (`main`, `nonprod:sandbox`) or a host.
pub(in crate::config) fn endpoint(text: &str) -> Result<String, Wrong> {
    let routing = text.strip_prefix("nonprod:").unwrap_or(text);
    host(routing)
        .map_err(|_| {
            "must be a routing name, like main, or a host name without scheme and port".to_owned()
        })
        .map(|_| text.to_ascii_lowercase())
}

/// An `http://` or `https://` URL with a host, without user info and fragment. Its parts are
/// `util::url`'s; this holds what a request line needs.
fn http_url(text: &str) -> Result<String, Wrong> {
    let parts = url::split(text).map_err(|error| match error {
        url::UrlError::NoScheme => "must begin with https:// or http://".to_owned(),
        other => other.to_string(),
    })?;
    if !matches!(parts.scheme, "http" | "https") {
        return Err("must begin with https:// or http://".into());
    }
    if parts.userinfo.is_some() {
        return Err("must not carry a user name or password".into());
    }
    if text.len() > MAX_TEXT
        || !parts.host.is_ascii()
        || !parts
            .path
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(&b))
    {
        return Err(
            "must not contain spaces, # or characters that have to be percent-encoded".into(),
        );
    }
    Ok(text.to_owned())
}

/// An [`http_url`] without a query: it is shown whole, and queries carry keys.
pub(in crate::config) fn plain_url(text: &str) -> Result<String, Wrong> {
    let url = http_url(text)?;
    if url.contains('?') {
        return Err("must not carry a query (?…)".into());
    }
    Ok(url)
}

/// A [`plain_url`] to which paths are appended: no slash at its end.
pub(in crate::config) fn base_url(text: &str) -> Result<String, Wrong> {
    Ok(plain_url(text)?.trim_end_matches('/').to_owned())
}

/// Where tokens are handed out.
pub(in crate::config) fn token_url(text: &str) -> Result<(), Wrong> {
    if is_plain_remote(&http_url(text)?) {
        return Err("must be https: tokens travel over it".into());
    }
    Ok(())
}

/// Whether a URL that [`http_url`] took is plain http to another machine.
pub(in crate::config) fn is_plain_remote(url: &str) -> bool {
    url::split(url).is_ok_and(|parts| parts.scheme == "http" && !url::is_loopback_host(parts.host))
}

/// A subnet to scan.
pub(in crate::config) fn subnet(text: &str) -> Result<Cidr, Wrong> {
    Cidr::parse(text).map_err(|why| match why {
        CidrError::Malformed => {
            "must be an IPv4 network like 192.168.0.0/24, a list of such, or auto".to_owned()
        }
        other => other.to_string(),
    })
}

/// Which cameras a login is for: an address, a network, a host name or a camera id.
pub(in crate::config) fn camera(text: &str) -> Result<String, Wrong> {
    if text.contains('/') {
        return subnet(text)
            .map(|subnet| subnet.to_string())
            .map_err(|_| "must be a network of a /16 or smaller, like 192.168.0.0/24".to_owned());
    }
    if text.parse::<IpAddr>().is_ok() {
        return Ok(text.to_owned());
    }
    id(text).map_err(|_| {
        "must be an IP address, a network like 192.168.0.0/24, a host name or a camera id".into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets() {
        let shown = |t: &str| subnet(t).map(|s| s.to_string());
        assert_eq!(shown("192.168.0.64/24"), Ok("192.168.0.0/24".into()));
        assert_eq!(shown("10.1.2.3"), Ok("10.1.2.3/32".into()));
        assert_eq!(shown("10.1.0.0/16"), Ok("10.1.0.0/16".into()));
        assert_eq!(subnet("10.1.0.0/16").unwrap().size(), 65536);
        for bad in [
            "10.0.0.0/8",
            "10.0.0.0/33",
            "10.0.0.0/+24",
            "10.0.0/24",
            "fe80::/64",
            "0.0.0.0/16",
            "224.0.0.0/24",
            "255.255.255.255",
            "eth0",
            "",
            "10.0.0.0/24,10.0.1.0/24",
        ] {
            assert!(subnet(bad).is_err(), "{bad}");
        }
        for (text, private) in [
            ("172.31.9.0/24", true),
            ("172.32.9.0/24", false),
            ("100.64.0.0/16", true),
            ("100.128.0.0/16", false),
            ("8.8.8.0/24", false),
        ] {
            assert_eq!(subnet(text).unwrap().is_private(), private, "{text}");
        }
    }

    #[test]
    fn urls() {
        assert_eq!(
            base_url("https://rcs.example/api/"),
            Ok("https://rcs.example/api".into())
        );
        assert_eq!(
            base_url("http://[::1]:8080"),
            Ok("http://[::1]:8080".into())
        );
        for bad in [
            "rcs.example",
            "ftp://rcs.example",
            "https://",
            "https://u:p@rcs.example",
            "https://rcs.example/a b",
            "https://rcs.example/#x",
            "https://rcs.example/?a=b",
            "https://rcs.example:0",
            "https://rcs.example\r\nX: y",
            "https://ümlaut.example",
        ] {
            assert!(base_url(bad).is_err(), "{bad}");
        }
        assert!(is_plain_remote("http://rcs.example"));
        assert!(!is_plain_remote("http://127.0.0.1:1"));
        assert!(!is_plain_remote("https://rcs.example"));
    }

    #[test]
    fn hosts_and_endpoints() {
        assert_eq!(host("GW.Local"), Ok("gw.local".into()));
        assert_eq!(host("[fe80::1]"), Ok("fe80::1".into()));
        for bad in ["http://gw", "gw:80", "", "g w", "*.x"] {
            assert!(host(bad).is_err(), "{bad}");
        }
        assert_eq!(endpoint("nonprod:sandbox"), Ok("nonprod:sandbox".into()));
        assert!(endpoint("wss://x").is_err());
    }
}
