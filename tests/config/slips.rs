//! Slips of the hand: whatever stands in a file, nothing panics and no secret is shown.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use lss::config::{FileText, Input, UnknownKeys, parse, to_yaml};
use proptest::prelude::*;

use super::{FILE, faults, shown, standalone, with_env};

/// Everything that may be shown of a parse.
fn everything_shown(text: &str) -> String {
    let files = |_: &Path, _: usize| -> Result<FileText, String> {
        Ok(FileText {
            bytes: b"canary-of-a-file".to_vec(),
            world_readable: true,
        })
    };
    let mut out = String::new();
    for standalone in [false, true] {
        let mut input = Input::new(FILE, text.as_bytes());
        input.standalone = standalone;
        input.files = &files;
        input.unknown_keys = UnknownKeys::Warn;
        match parse(&input) {
            Ok(parsed) => {
                writeln!(out, "{:?}", parsed.config).unwrap();
                out.push_str(&to_yaml(&parsed.config));
                out.push_str(&shown(parsed.warnings).join("\n"));
            }
            Err(faults) => {
                writeln!(out, "{faults:?}").unwrap();
                out.push_str(&shown(faults).join("\n"));
            }
        }
    }
    out
}

#[test]
fn a_value_that_stands_in_a_keys_place_is_not_shown() {
    for text in [
        "rcs: { token, canary-token }",
        "ably: { auth_headers: { X-Key, canary-header } }",
        "server:\n  ? canary-token\n",
        "server: { 'canary: x' : 1 }",
        "ably:\n  auth_headers: { 'canary:x': 1 }",
    ] {
        let found = faults(text);
        assert!(!found.is_empty(), "{text}");
        assert!(!found.join("\n").contains("canary"), "{found:?}");
    }
}

/// Every secret key set.
const SECRETS: &str = "\
server: { listen: 0.0.0.0, api_token: 'canary-token-of-the-api' }
ably:
  api_key: 'canary.ably:canary-ably-secret'
  auth_url: 'https://auth.example/canary-auth-path?canary=1'
  auth_headers: { X-Key: 'canary-header' }
rcs: { base_url: 'https://rcs.example', token: canary-rcs-token }
lss: { node: { machine_id: m1 } }
camera:
  credentials:
    - { match: 10.0.0.1, username: admin, password: 'canary: #pw', vendor: HIK }
    - { match: 10.0.0.2, username: admin, password_file: pw }
";

#[test]
fn no_secret_is_shown() {
    let all = everything_shown(SECRETS);
    assert!(all.contains("password: '***'"), "{all}");
    assert!(all.contains("api_key: '***'"));
    assert!(!all.contains("canary"), "{all}");
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut input = Input::new(FILE, &bytes);
        input.standalone = true;
        let _ = parse(&input);
    }

    #[test]
    fn yaml_like_text_is_read_without_panic(text in "[-a-e:{}\\[\\],?&*!|>'\"#%@` \n\t0-9~.]{0,200}") {
        let mut input = Input::new(FILE, text.as_bytes());
        input.standalone = true;
        let _ = parse(&input);
    }

    /// A slip of the hand anywhere in a file of secrets shows none of them.
    #[test]
    fn a_mistyped_file_shows_no_secret(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..3_u8, "[-:{}\\[\\],?&*!|>'\"#%@ \n\ta0]"), 1..6)
    ) {
        let mut text: Vec<char> = SECRETS.chars().collect();
        for (at, what, with) in edits {
            let at = at.index(text.len());
            match what {
                0 => { text.remove(at); }
                1 => text.insert(at, with.chars().next().unwrap()),
                _ => text[at] = with.chars().next().unwrap(),
            }
        }
        let text: String = text.into_iter().collect();
        let all = everything_shown(&text);
        prop_assert!(!all.contains("canary"), "{text}\n----\n{all}");
    }

    /// What is in effect can be written down and read again, whatever the values.
    #[test]
    fn effective_round_trips(
        name in "[^\\p{C}]{1,40}",
        port in 1..=65535_u16,
        retries in -1..1000_i64,
        stop_ms in 100..120_000_u64,
        hosts in prop::collection::vec("[a-z][a-z0-9.-]{0,20}", 0..4),
    ) {
        prop_assume!(!name.trim().is_empty());
        let text = format!(
            "server: {{ port: {port}, allowed_hosts: [{}] }}\nlss: {{ node: {{ name: '{}' }}, ffmpeg: {{ max_retries: {retries}, stop_timeout: {stop_ms}ms }} }}",
            hosts.iter().map(|h| format!("'{h}'")).collect::<Vec<_>>().join(","),
            name.replace('\'', "''"),
        );
        let c = standalone(&text).map_err(|f| TestCaseError::fail(f.join("\n")))?;
        prop_assert_eq!(&c.server.allowed_hosts, &hosts);
        let shown = to_yaml(&c);
        let again = with_env(&shown, &[]).map_err(|f| TestCaseError::fail(f.join("\n")))?.config;
        prop_assert_eq!(to_yaml(&again), shown);
        prop_assert_eq!(again.ffmpeg.stop_timeout, Duration::from_millis(stop_ms));
    }
}
