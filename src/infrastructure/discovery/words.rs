//! Texts of strangers as they may be kept and shown. Pure.

use crate::infrastructure::http::camera::camera_words;

/// One line, without control characters, not too long, no secret in it; `None` if nothing is left.
pub fn words(text: &str) -> Option<String> {
    let line = camera_words(text);
    let line = line.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

/// The realms of a `WWW-Authenticate` header, whatever its schemes.
pub fn realms(header: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(header);
    let lower = text.to_ascii_lowercase();
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = lower.get(from..).and_then(|rest| rest.find("realm")) {
        from += at + "realm".len();
        let Some(rest) = text.get(from..) else { break };
        let Some(value) = rest.trim_start().strip_prefix('=') else {
            continue;
        };
        let value = value.trim_start();
        let realm = match value.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next(),
            None => match value.strip_prefix('\'') {
                Some(quoted) if quoted.contains('\'') => quoted.split('\'').next(),
                _ => value.split([',', ';', ' ']).next(),
            },
        };
        found.extend(realm.and_then(words));
        if found.len() >= 4 {
            break;
        }
    }
    found
}

/// What the first bytes of something that is neither RTSP nor HTTP are.
pub fn banner(bytes: &[u8]) -> &'static str {
    let begins = |with: &str| bytes.starts_with(with.as_bytes());
    if bytes.is_empty() {
        "silence"
    } else if begins("SSH-") {
        "an SSH banner"
    } else if begins("HTTP/") {
        "a web server"
    } else if begins("RTSP/") {
        "an RTSP server"
    } else if begins("220") {
        "the greeting of a mail or file server"
    } else if begins("RFB ") {
        "a remote desktop (VNC)"
    } else if begins("+OK") || begins("* OK") {
        "the greeting of a mailbox"
    } else if begins("<") {
        "bare markup"
    } else if bytes.first() == Some(&0x15) || bytes.first() == Some(&0x16) {
        "TLS"
    } else if bytes.first() == Some(&0xff) {
        "Telnet"
    } else {
        "something unknown"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn realms_of_all_schemes() {
        assert_eq!(
            realms(
                b"Digest qop=\"auth\", Realm = \"IP Camera(F1598)\", nonce=\"1\", Basic realm=x, y"
            ),
            ["IP Camera(F1598)", "x"]
        );
        assert_eq!(
            realms(b"Digest realm='Login to 6M0A'; nonce='1', Basic realm=x;y"),
            ["Login to 6M0A", "x"]
        );
        assert_eq!(realms(b"Basic realm=\"\""), [] as [&str; 0]);
        assert_eq!(realms(b"realm"), [] as [&str; 0]);
        assert_eq!(
            realms("Basic realm=\"K\u{e4}mera\n\u{1}\"".as_bytes()),
            ["K\u{e4}mera"]
        );
    }

    #[test]
    fn what_strangers_say_first() {
        assert_eq!(banner(b"SSH-2.0-OpenSSH_9.6\r\n"), "an SSH banner");
        assert_eq!(banner(b""), "silence");
        assert_eq!(banner(b"\x00\x01"), "something unknown");
    }

    proptest! {
        #[test]
        fn any_bytes_make_short_lines(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = banner(&bytes);
            for realm in realms(&bytes) {
                prop_assert!(realm.chars().count() <= 250 && !realm.chars().any(char::is_control));
            }
            let _ = realms(&[b"realm=", bytes.as_slice()].concat());
        }
    }
}
