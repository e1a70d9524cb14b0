//! One text → one value, or what would be right. Pure; never repeats the text, which may be secret.

mod choice;
mod network;

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

pub(super) use self::choice::{
    CERTIFICATE_CHECKS, ENGINES, FORMATS, LEVELS, MODES, PASSTHROUGHS, choice, names, word,
};
pub use self::choice::{CertificateCheck, EngineChoice, LogFormat, Mode, Passthrough};
pub(super) use self::network::{
    address, base_url, camera, endpoint, host, host_address, is_plain_remote, plain_url, subnet,
    token_url,
};
use crate::util::{foreign, url};

/// What would be right.
pub(super) type Wrong = String;

/// Longest text that any key takes.
const MAX_TEXT: usize = 4096;

/// Any text without control characters.
pub(super) fn text(text: &str) -> Result<String, Wrong> {
    if text.len() > MAX_TEXT {
        return Err(format!("must have at most {MAX_TEXT} characters"));
    }
    if text.chars().any(char::is_control) {
        return Err("must not contain line breaks or control characters".into());
    }
    Ok(text.to_owned())
}

/// A text that says something.
pub(super) fn non_empty(given: &str) -> Result<String, Wrong> {
    if given.trim().is_empty() {
        return Err("must not be empty".into());
    }
    text(given)
}

/// `''` = none.
pub(super) fn optional<T>(
    parse: impl Fn(&str) -> Result<T, Wrong>,
) -> impl Fn(&str) -> Result<Option<T>, Wrong> {
    move |text| {
        if text.is_empty() {
            Ok(None)
        } else {
            parse(text).map(Some)
        }
    }
}

/// YAML's words for yes and no, old and new.
pub(super) fn boolean(text: &str) -> Result<bool, Wrong> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Ok(true),
        "false" | "no" | "off" => Ok(false),
        _ => Err("must be true or false".into()),
    }
}

/// A whole number in a range.
pub(super) fn number(range: RangeInclusive<i64>) -> impl Fn(&str) -> Result<i64, Wrong> {
    move |text| {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        match text.parse::<i64>() {
            Ok(number) if plain && range.contains(&number) => Ok(number),
            _ => Err(format!(
                "must be a number from {} to {}",
                range.start(),
                range.end()
            )),
        }
    }
}

/// A span like `10s`, `500ms`, `1m` in a range.
pub(super) fn duration(
    range: RangeInclusive<Duration>,
) -> impl Fn(&str) -> Result<Duration, Wrong> {
    move |text| {
        // humantime also knows months and leap years; nobody means those here.
        let parsed = humantime::parse_duration(text)
            .map_err(|_| "must be a time with its unit, like 10s, 500ms or 1m".to_owned())?;
        if parsed.subsec_nanos() % 1_000_000 != 0 {
            Err("must be whole milliseconds".to_owned())
        } else if range.contains(&parsed) {
            Ok(parsed)
        } else {
            Err(format!(
                "must be from {} to {}",
                shown_duration(*range.start()),
                shown_duration(*range.end())
            ))
        }
    }
}

/// As it is written in the file: `1m`, `10s`, `1500ms`.
pub(super) fn shown_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    if !ms.is_multiple_of(1000) {
        format!("{ms}ms")
    } else if !ms.is_multiple_of(60_000) || ms == 0 {
        format!("{}s", ms / 1000)
    } else if !ms.is_multiple_of(3_600_000) {
        format!("{}m", ms / 60_000)
    } else {
        format!("{}h", ms / 3_600_000)
    }
}

/// Characters of ids on every wire (contract 3).
fn is_id_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-')
}

/// Longest id.
const MAX_ID: usize = 128;

/// `[A-Za-z0-9._:-]{1,128}`
pub(super) fn id(text: &str) -> Result<String, Wrong> {
    if (1..=MAX_ID).contains(&text.len()) && text.chars().all(is_id_char) {
        Ok(text.to_owned())
    } else {
        Err("must be 1 to 128 letters, digits and . _ : -".into())
    }
}

/// A host name as an id: what no id may have becomes `-`.
pub(super) fn id_of_host(host: &str) -> String {
    let id: String = host
        .trim()
        .chars()
        .take(MAX_ID)
        .map(|c| if is_id_char(c) { c } else { '-' })
        .collect();
    if id.is_empty() {
        "standalone".to_owned()
    } else {
        id
    }
}

/// A vendor's name.
pub(super) fn vendor(text: &str) -> Result<String, Wrong> {
    let word = text.len() <= 32
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if word {
        Ok(text.to_ascii_uppercase())
    } else {
        Err("must be a vendor's name, like HIKVISION or DAHUA".into())
    }
}

/// The path of an ONVIF device service.
pub(super) fn onvif_path(text: &str) -> Result<String, Wrong> {
    if url::is_service_path(text) {
        Ok(text.to_owned())
    } else {
        Err("must be the path of the camera's ONVIF device service, like /onvif/services".into())
    }
}

/// The token of an ONVIF profile.
pub(super) fn profile(text: &str) -> Result<String, Wrong> {
    if foreign::is_token(text) {
        Ok(text.to_owned())
    } else {
        Err("must be the token of an ONVIF profile, at most 256 bytes".into())
    }
}

/// A directory, wherever lss was started.
pub(super) fn directory(given: &str) -> Result<PathBuf, Wrong> {
    let path = PathBuf::from(text(given)?);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err("must be a directory's full path, beginning with /".to_owned())
    }
}

/// A name for people.
pub(super) fn name(given: &str) -> Result<String, Wrong> {
    let name = non_empty(given)?;
    if name.chars().count() > 128 {
        return Err("must have at most 128 characters".into());
    }
    Ok(name)
}

/// What may stand in an `Authorization` header.
pub(super) fn header_token(text: &str) -> Result<(), Wrong> {
    if !text.is_empty() && text.len() <= MAX_TEXT && text.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(())
    } else {
        Err("must be printable ASCII characters without spaces".into())
    }
}

/// The token of the REST API. It is the only login of an API that moves cameras, and every host of
/// the site's network may guess at it, so a word of a few letters is refused; eight is also long
/// enough for masking by value not to blank ordinary words in the log.
pub(super) fn api_token(text: &str) -> Result<(), Wrong> {
    header_token(text)?;
    if text.len() < 8 {
        return Err(
            "must have at least 8 characters (`openssl rand -hex 16` makes a good one)".into(),
        );
    }
    Ok(())
}

/// A password: no control characters, for it ends up in headers, URLs and arguments.
pub(super) fn password(given: &str) -> Result<(), Wrong> {
    text(given).map(|_| ())
}

/// A header's value.
pub(super) fn header_value(text: &str) -> Result<(), Wrong> {
    if text.len() <= MAX_TEXT && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
        Ok(())
    } else {
        Err("must be printable ASCII characters".into())
    }
}

/// A header's name (RFC 9110 5.6.2), without those that the client writes itself.
pub(super) fn is_header_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
        && !["host", "content-length", "transfer-encoding", "connection"]
            .contains(&name.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_plain_digits_in_range() {
        let port = number(1..=65535);
        assert_eq!(port("10060"), Ok(10060));
        for bad in [
            "0",
            "65536",
            "-1",
            "+80",
            "8_0",
            "0x50",
            "80.0",
            "",
            " 80",
            "99999999999999999999",
        ] {
            assert_eq!(
                port(bad),
                Err("must be a number from 1 to 65535".into()),
                "{bad}"
            );
        }
        assert_eq!(number(-1..=5)("-1"), Ok(-1));
    }

    #[test]
    fn durations_have_units_and_ranges() {
        let parse = duration(Duration::from_millis(100)..=Duration::from_secs(60));
        assert_eq!(parse("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("1m"), Ok(Duration::from_secs(60)));
        for bad in ["10", "ten", "s", "-1s", ""] {
            assert!(parse(bad).unwrap_err().contains("like 10s"), "{bad}");
        }
        for bad in ["0s", "0", "99ms", "61s", "1y"] {
            assert_eq!(parse(bad), Err("must be from 100ms to 1m".into()), "{bad}");
        }
        assert_eq!(parse("1s 5us"), Err("must be whole milliseconds".into()));
        for (ms, shown) in [
            (0, "0s"),
            (1500, "1500ms"),
            (90_000, "90s"),
            (60_000, "1m"),
            (7_200_000, "2h"),
        ] {
            let span = Duration::from_millis(ms);
            assert_eq!(shown_duration(span), shown);
            assert_eq!(humantime::parse_duration(shown), Ok(span));
        }
    }

    #[test]
    fn booleans_as_yaml_users_write_them() {
        assert_eq!(boolean("Yes"), Ok(true));
        assert_eq!(boolean("off"), Ok(false));
        assert!(boolean("1").is_err());
    }

    #[test]
    fn ids() {
        assert_eq!(id("machine_007"), Ok("machine_007".into()));
        assert!(id("").is_err());
        assert!(id("a b").is_err());
        assert!(id(&"x".repeat(129)).is_err());
        assert_eq!(id_of_host("gw kitchen.local"), "gw-kitchen.local");
        assert_eq!(id_of_host(" "), "standalone");
        assert_eq!(id_of_host(&"ü".repeat(200)).len(), 128);
    }

    #[test]
    fn tokens() {
        assert!(api_token("12345678").is_ok());
        assert!(api_token("1234567").unwrap_err().contains("at least 8"));
        for bad in ["", "has space in it", "line\nbreak-here", "ümlaut-token"] {
            assert!(header_token(bad).is_err(), "{bad}");
        }
        assert!(is_header_name("X-Api-Key"));
        assert!(!is_header_name("Host"));
        assert!(!is_header_name("a:b"));
    }
}
