//! A tolerant URL splitter for camera URLs, and URL masking.
//!
//! Installers type camera URLs with raw `@ # : %` in the password. A strict parser reads
//! `rtsp://admin:p@ss#1@host/` as host `ss`; here everything up to the first `/` after `://` is
//! the authority, and its *last* `@` ends the user info.

use std::fmt::Write as _;

use super::address;

/// What stands where a secret was.
pub const MASK: &str = "***";

/// How many characters of a path are shown, its leading `/` included (contract 11).
pub const SHOWN_PATH: usize = 6;

/// Why a text is no URL of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// No `scheme://` in front.
    #[error("has no scheme:// in front")]
    NoScheme,
    /// Nothing where the host should be.
    #[error("has no host")]
    NoHost,
    /// Characters in the host that no host has.
    #[error("has a host with characters that no host name has")]
    BadHost,
    /// Not a number from 1 to 65535 behind the host.
    #[error("has a port that is not a number from 1 to 65535")]
    BadPort,
    /// No usable host before the first `/`, and an `@` behind it.
    #[error("has no usable host before its first /: a / in the password must be written %2F")]
    SlashInLogin,
    /// A control character, which would end a header or an argument early.
    #[error("contains a control character")]
    Control,
}

/// A URL taken apart. Borrowed, undecoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UrlParts<'a> {
    /// Before `://`, as written.
    pub scheme: &'a str,
    /// Before the last `@` of the authority, undecoded.
    pub userinfo: Option<&'a str>,
    /// Without port; IPv6 without brackets.
    pub host: &'a str,
    /// `None` where the URL names none.
    pub port: Option<u16>,
    /// Path, query and fragment, with the leading `/`, `?` or `#`; may be empty.
    pub path: &'a str,
}

impl<'a> UrlParts<'a> {
    /// User name, undecoded.
    pub fn raw_user(&self) -> Option<&'a str> {
        self.userinfo
            .map(|u| u.split_once(':').map_or(u, |(user, _)| user))
    }

    /// Password, undecoded. `None` where there is no `:`.
    pub fn raw_password(&self) -> Option<&'a str> {
        self.userinfo
            .and_then(|u| u.split_once(':'))
            .map(|(_, p)| p)
    }

    /// The port of an RTSP URL: what it names, else the usual one, which is another one by TLS.
    pub fn rtsp_port(&self) -> u16 {
        let by_tls = self.scheme.eq_ignore_ascii_case("rtsps");
        self.port.unwrap_or(if by_tls { 322 } else { 554 })
    }

    /// Host as it stands in a URL: IPv6 in brackets.
    pub fn host_in_url(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.to_owned()
        }
    }
}

/// Splits a URL. Never panics, whatever the text.
pub fn split(url: &str) -> Result<UrlParts<'_>, UrlError> {
    if url.chars().any(char::is_control) {
        return Err(UrlError::Control);
    }
    let (scheme, rest) = url.split_once("://").ok_or(UrlError::NoScheme)?;
    if scheme.is_empty()
        || !scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        || !scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    {
        return Err(UrlError::NoScheme);
    }
    let (authority, slash_path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let (userinfo, host_port) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    // Without a path, a query may follow the host directly.
    let (host_port, path) = match host_port.find(['?', '#']) {
        Some(at) => {
            let (host, _) = host_port.split_at(at);
            let from = rest.len() - slash_path.len() - (host_port.len() - at);
            (host, rest.get(from..).unwrap_or(""))
        }
        None => (host_port, slash_path),
    };
    let cut = |otherwise| {
        if userinfo.is_none() && slash_path.contains('@') {
            UrlError::SlashInLogin
        } else {
            otherwise
        }
    };
    let (host, port) = split_port(host_port).map_err(cut)?;
    if host.is_empty() {
        return Err(UrlError::NoHost);
    }
    let fits = if host.contains(':') {
        // With a zone or without. What is no address is half a password, more likely than not.
        let (address, zone) = host.split_once('%').unwrap_or((host, "x"));
        address.parse::<std::net::Ipv6Addr>().is_ok() && !zone.is_empty() && is_name(zone)
    } else {
        is_name(host)
    };
    if !fits {
        return Err(cut(UrlError::BadHost));
    }
    Ok(UrlParts {
        scheme,
        userinfo,
        host,
        port,
        path,
    })
}

fn is_name(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

fn split_port(host_port: &str) -> Result<(&str, Option<u16>), UrlError> {
    let (host, port) = if let Some(rest) = host_port.strip_prefix('[') {
        let (host, behind) = rest.split_once(']').ok_or(UrlError::BadHost)?;
        match behind.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if behind.is_empty() => (host, None),
            None => return Err(UrlError::BadHost),
        }
    } else {
        match host_port.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') => (host, Some(port)),
            // More than one colon and no brackets: a bare IPv6 address.
            _ => (host_port, None),
        }
    };
    match port {
        None => Ok((host, None)),
        Some(digits) => match digits.parse::<u16>() {
            Ok(port) if port > 0 && digits.bytes().all(|b| b.is_ascii_digit()) => {
                Ok((host, Some(port)))
            }
            _ => Err(UrlError::BadPort),
        },
    }
}

/// Whether a host is loopback: `localhost`, 127.x.x.x or ::1.
pub fn is_loopback_host(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

/// The address that a host name literally is, in every form that the system's resolver takes:
/// `10.0.0.1`, `167772161`, `0x7f.1`, `fe80::1%eth0`; IPv4 inside IPv6 comes out as IPv4. `None`
/// for a name.
pub fn literal_ip(host: &str) -> Option<std::net::IpAddr> {
    use std::net::{IpAddr, Ipv4Addr};
    let bare = host.split('%').next().unwrap_or(host);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Some(ip.to_canonical());
    }
    let mut numbers = Vec::with_capacity(4);
    for part in host.split('.') {
        let (digits, radix) = match part.as_bytes() {
            [b'0', b'x' | b'X', ..] => (part.get(2..)?, 16),
            [b'0', _, ..] => (part.get(1..)?, 8),
            _ => (part, 10),
        };
        numbers.push(u32::from_str_radix(digits, radix).ok()?);
    }
    let (&last, heads) = numbers.split_last()?;
    let bytes_left = 4usize.checked_sub(heads.len()).filter(|n| *n > 0)?;
    if bytes_left < 4 && u64::from(last) >= 1 << (8 * bytes_left) {
        return None;
    }
    let mut address = last;
    for (at, &head) in heads.iter().enumerate() {
        let byte = u32::from(u8::try_from(head).ok()?);
        address |= byte << (24 - 8 * at);
    }
    Some(IpAddr::V4(Ipv4Addr::from(address)))
}

/// Whether a host is an address that no media source has: multicast, broadcast, unspecified, or
/// a cloud's metadata service (contract 3), by the same rules as a camera's own
/// ([`address::objection`]). Names are not resolved here.
pub fn is_no_source_host(host: &str) -> bool {
    literal_ip(host).is_some_and(|ip| address::objection(ip).is_some())
}

/// Percent-decodes; a `%` that is not followed by two hex digits stays as it is, so that raw
/// passwords survive. Bytes that are no UTF-8 become U+FFFD.
pub fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'%'
            && let [high, low, after @ ..] = tail
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            out.push(high * 16 + low);
            rest = after;
        } else {
            out.push(first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|d| u8::try_from(d).ok())
}

/// Percent-encodes everything but RFC 3986 unreserved characters.
pub fn encode_userinfo(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a String can't fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// A URL as it may be shown: scheme, host, port and the first characters of the path; user info
/// and the rest hidden. A text that is no URL is hidden whole.
pub fn mask(url: &str) -> String {
    let Ok(parts) = split(url) else {
        return MASK.to_owned();
    };
    let mut out = format!("{}://", parts.scheme);
    if parts.userinfo.is_some() {
        out.push_str("***@");
    }
    out.push_str(&parts.host_in_url());
    if let Some(port) = parts.port {
        let _ = write!(out, ":{port}");
    }
    out.push_str(&mask_path(parts.path));
    out
}

/// The first [`SHOWN_PATH`] characters of a path, and `…` for the rest.
pub fn mask_path(path: &str) -> String {
    match path.char_indices().nth(SHOWN_PATH) {
        Some((at, _)) => format!("{}…", path.get(..at).unwrap_or("")),
        None => path.to_owned(),
    }
}

/// Masks every `scheme://…` inside a text, up to the next white space, quote or bracket.
pub fn mask_all(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, from) = rest.split_at(at);
        let scheme_len = before
            .bytes()
            .rev()
            .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
            .count();
        let (plain, scheme) = before.split_at(before.len() - scheme_len);
        out.push_str(plain);
        let end = from
            .char_indices()
            .skip(3)
            .find(|(_, c)| {
                c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`' | '|' | '…')
            })
            .map_or(from.len(), |(at, _)| at);
        let (body, after) = from.split_at(end);
        // What follows an already masked path belongs to no URL.
        let trimmed = body.trim_end_matches([',', ';', ':', ')', ']', '}']);
        let tail = body.get(trimmed.len()..).unwrap_or("");
        if trimmed.len() > 3 {
            let whole = format!("{scheme}{trimmed}");
            out.push_str(&mask(&whole));
        } else {
            out.push_str(scheme);
            out.push_str(trimmed);
        }
        out.push_str(tail);
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Whether a text can be the path of a service: it goes into a request line. At most 256 bytes.
pub fn is_service_path(text: &str) -> bool {
    text.len() <= 256
        && text.starts_with('/')
        && !text.starts_with("//")
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(url: &str) -> (Option<&str>, Option<&str>, &str, Option<u16>, &str) {
        let p = split(url).unwrap();
        (p.raw_user(), p.raw_password(), p.host, p.port, p.path)
    }

    #[test]
    fn a_slash_in_the_password_is_named() {
        for url in [
            "rtsp://admin:pa/ss@192.168.0.64/cam",
            "rtsp://admin:/@192.168.0.64/cam",
            "rtsp://ad min/x:pass@192.168.0.64:554/cam",
        ] {
            assert_eq!(split(url).unwrap_err(), UrlError::SlashInLogin, "{url}");
        }
        // Where the host before it is one, it is a path with an @ in it.
        assert!(split("rtsp://192.168.0.64/user@cam").is_ok());
        assert_eq!(split("rtsp://host:x/cam").unwrap_err(), UrlError::BadPort);
    }

    #[test]
    fn the_last_at_sign_ends_the_user_info() {
        assert_eq!(
            parts("rtsp://admin:p@ss#1:x%@192.168.0.64:554/Streaming/101?a=b"),
            (
                Some("admin"),
                Some("p@ss#1:x%"),
                "192.168.0.64",
                Some(554),
                "/Streaming/101?a=b"
            )
        );
    }

    #[test]
    fn ipv6_query_and_bare_hosts() {
        assert_eq!(
            parts("rtsp://[fe80::1]:8554/x"),
            (None, None, "fe80::1", Some(8554), "/x")
        );
        assert_eq!(
            parts("srt://host:9000?mode=caller"),
            (None, None, "host", Some(9000), "?mode=caller")
        );
        assert_eq!(parts("http://u@h"), (Some("u"), None, "h", None, ""));
        assert_eq!(
            parts("rtsp://a:q?x@h/p"),
            (Some("a"), Some("q?x"), "h", None, "/p")
        );
    }

    #[test]
    fn faults_have_names() {
        assert_eq!(split("no url"), Err(UrlError::NoScheme));
        assert_eq!(split("rtsp://"), Err(UrlError::NoHost));
        assert_eq!(split("rtsp://h:0/"), Err(UrlError::BadPort));
        assert_eq!(split("rtsp://h:99999/"), Err(UrlError::BadPort));
        assert_eq!(split("rtsp://[::1/"), Err(UrlError::BadHost));
        assert_eq!(
            split("rtsp://a:b@half:a:password/x"),
            Err(UrlError::BadHost)
        );
        assert!(split("rtsp://[fe80::1%eth0]/x").is_ok());
        assert_eq!(split("rtsp://ho st/"), Err(UrlError::BadHost));
        assert_eq!(split("rtsp://h/\r\nX: y"), Err(UrlError::Control));
    }

    #[test]
    fn decoding_keeps_stray_percent_signs() {
        assert_eq!(decode("a%40b%zz%"), "a@b%zz%");
        assert_eq!(decode(&encode_userinfo("p@ß #%")), "p@ß #%");
    }

    #[test]
    fn addresses_in_every_form_the_resolver_takes() {
        for metadata in [
            "169.254.169.254",
            "2852039166",
            "0xa9fea9fe",
            "0251.0376.0251.0376",
            "169.254.43518",
            "fd00:ec2::254%eth0",
        ]
        .into_iter()
        .chain(address::tests::NOWHERE)
        {
            assert!(is_no_source_host(metadata), "{metadata}");
        }
        for bad in ["0", "ff02::1%eth0"] {
            assert!(is_no_source_host(bad), "{bad}");
        }
        for good in [
            "127.0.0.1",
            "::1",
            "192.168.0.64",
            "camera-7",
            "1.2.3.4.5",
            "0x",
            "1.2.3.256",
            "",
        ] {
            assert!(!is_no_source_host(good), "{good}");
        }
        assert_eq!(literal_ip("127.1"), "127.0.0.1".parse().ok());
    }

    #[test]
    fn masks_urls_inside_text() {
        assert_eq!(
            mask_all("Error opening input file rtsp://admin:nope@10.0.0.9:554/Streaming/1."),
            "Error opening input file rtsp://***@10.0.0.9:554/Strea…"
        );
        assert_eq!(
            mask_all("a 'https://w.example/abcdefgh' b http://x/ c :// d"),
            "a 'https://w.example/abcde…' b http://x/ c :// d"
        );
        let once = mask_all("see https://w.example/abcdefghi: x");
        assert_eq!(mask_all(&once), once, "masking twice changes nothing");
    }

    proptest::proptest! {
        #[test]
        fn neither_password_nor_path_survives(
            // As people type passwords: no `/`, which ends the authority, and nothing that ends a
            // URL in running text (those are masked by value, see `secret`).
            head in "[^/\\s\"'<>`|…\\p{Cc}]{0,12}",
            tail in "[^/\\s\"'<>`|…\\p{Cc}]{0,12}",
            before in "[^:]{0,20}",
            after in "\\PC{0,20}",
        ) {
            for url in [
                format!("rtsp://admin:{head}cAnary7f{tail}@10.0.0.9:554/Streaming/101"),
                format!("https://whip.example/live/{head}cAnary7f{tail}"),
            ] {
                let masked = mask_all(&format!("{before} {url} {after}"));
                proptest::prop_assert!(!masked.contains("cAnary7f"), "{url} -> {masked}");
            }
        }

        #[test]
        fn any_text_is_masked_without_a_panic(text in "\\PC{0,80}") {
            let _ = (split(&text), mask(&text), mask_all(&text), literal_ip(&text));
        }
    }
}
