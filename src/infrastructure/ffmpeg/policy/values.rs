//! What the value of an option on the allow list may be, by its kind. Pure.

use super::super::probe::H264_ENCODERS;
use super::filters;
use super::options::{Kind, Rule};
use super::sizes;

/// Why a value is refused, in words that carry nothing of it.
pub(super) fn check(rule: &Rule, value: &str, output: bool) -> Result<(), String> {
    if value.chars().any(char::is_control) && rule.kind != Kind::Filters {
        return Err("has a control character in its value".to_owned());
    }
    // No value that FFmpeg could take for anything but one, were it ever to lose count.
    if value.starts_with("--") || value.starts_with("-/") {
        return Err("has a value that looks like an option".to_owned());
    }
    let fits = match rule.kind {
        Kind::Number => is_number(value),
        Kind::Size => sizes::is_option(value),
        Kind::Word => is_word(value),
        Kind::Flags(names) => is_flags(value, names),
        Kind::OneOf(words) => words.contains(&value),
        Kind::Text | Kind::Secret => value.len() <= 512,
        Kind::Bearer => {
            !value.is_empty() && value.len() <= 4096 && value.bytes().all(|b| b.is_ascii_graphic())
        }
        Kind::Codec => is_word(value) && (!output || is_whip_codec(value)),
        Kind::Filters => return filters::check(value),
        Kind::Map => is_map(value),
        Kind::Bsf => is_bsf(value),
        Kind::X264 => is_x264(value),
        Kind::Transport => matches!(value, "tcp" | "udp" | "tcp+udp" | "udp+tcp"),
        // Judged with their input or output, or never passed on.
        Kind::Flag
        | Kind::Format
        | Kind::Timeout
        | Kind::Ours
        | Kind::OurFlag
        | Kind::Reconnect => true,
    };
    if fits {
        Ok(())
    } else {
        Err("has a value that is not allowed".to_owned())
    }
}

fn is_number(value: &str) -> bool {
    (1..=40).contains(&value.len())
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b':' | b'/' | b'+' | b'-'))
        && value.bytes().any(|b| b.is_ascii_alphanumeric())
        && !value.starts_with('/')
        && !value.contains("//")
}

fn is_word(value: &str) -> bool {
    (1..=64).contains(&value.len())
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'+' | b'-'))
}

/// `+a+b-c` or `a`: signs separate, as FFmpeg has it, and what stands between them is a name of the
/// list. A number, or an expression, is none.
fn is_flags(value: &str, names: &[&str]) -> bool {
    let unsigned = value.strip_prefix(['+', '-']).unwrap_or(value);
    value.len() <= 256 && unsigned.split(['+', '-']).all(|one| names.contains(&one))
}

fn is_whip_codec(value: &str) -> bool {
    H264_ENCODERS.contains(&value) || matches!(value, "copy" | "h264" | "opus" | "libopus")
}

fn is_map(value: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b':' | b'?' | b'_');
    match value.strip_prefix('[') {
        Some(label) => label
            .strip_suffix(']')
            .is_some_and(|l| !l.is_empty() && l.len() <= 32 && l.bytes().all(plain)),
        None => {
            let value = value.strip_prefix('-').unwrap_or(value);
            value.len() <= 32
                && value.starts_with(|c: char| c.is_ascii_digit())
                && value.bytes().all(plain)
        }
    }
}

fn is_bsf(value: &str) -> bool {
    const ALLOWED: [&str; 6] = [
        "h264_mp4toannexb",
        "h264_metadata",
        "h264_redundant_pps",
        "dump_extra",
        "extract_extradata",
        "null",
    ];
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'=' | b'+');
    value.len() <= 256
        && value.split(',').all(|one| {
            let name = one.split('=').next().unwrap_or("");
            ALLOWED.contains(&name) && one.bytes().all(plain)
        })
}

/// x264 reads and writes files by some of its options (`stats`, `qpfile`, `cqmfile`, `dump-yuv`):
/// these do not.
fn is_x264(value: &str) -> bool {
    const ALLOWED: [&str; 44] = [
        "keyint",
        "min-keyint",
        "scenecut",
        "no-scenecut",
        "bframes",
        "b-adapt",
        "ref",
        "cabac",
        "no-cabac",
        "8x8dct",
        "no-8x8dct",
        "weightp",
        "weightb",
        "vbv-maxrate",
        "vbv-bufsize",
        "vbv-init",
        "nal-hrd",
        "force-cfr",
        "threads",
        "sliced-threads",
        "rc-lookahead",
        "sync-lookahead",
        "repeat-headers",
        "annexb",
        "aud",
        "slices",
        "slice-max-size",
        "intra-refresh",
        "bitrate",
        "crf",
        "qp",
        "qpmin",
        "qpmax",
        "level",
        "aq-mode",
        "deblock",
        "no-deblock",
        "me",
        "subme",
        "trellis",
        "open-gop",
        "mbtree",
        "no-mbtree",
        "psy",
    ];
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b',' | b'-');
    value.len() <= 512
        && value.split(':').all(|one| {
            let (name, value) = one.split_once('=').unwrap_or((one, ""));
            ALLOWED.contains(&name) && value.bytes().all(plain)
        })
}

#[cfg(test)]
mod tests {
    use super::super::options::find;
    use super::*;

    /// One bit of each such option may write a file or listen, so none is known by its number.
    #[test]
    fn flags_are_known_by_their_names_alone() {
        let mut seen = 0;
        for rule in super::super::options::all() {
            let Kind::Flags(names) = rule.kind else {
                continue;
            };
            seen += 1;
            for name in names {
                for good in [
                    (*name).to_owned(),
                    format!("+{name}"),
                    format!("-{name}+{name}"),
                ] {
                    assert!(check(rule, &good, true).is_ok(), "{} {good}", rule.name);
                }
            }
            let some = names[0];
            for bad in [
                "pass1".to_owned(),
                "+pass1".to_owned(),
                format!("{some}+pass1"),
                "-pass2".to_owned(),
                "512".to_owned(),
                "+512".to_owned(),
                "0x200".to_owned(),
                "1e2".to_owned(),
                "listen".to_owned(),
                format!("+{some}+listen"),
                "2".to_owned(),
                "all".to_owned(),
                "max".to_owned(),
                "default".to_owned(),
                "+".to_owned(),
                String::new(),
                format!("{some}+"),
                format!("{some}|{some}"),
                some.to_uppercase(),
                format!("({some})"),
                format!("{some} "),
            ] {
                assert!(check(rule, &bad, true).is_err(), "{} {bad}", rule.name);
            }
        }
        assert_eq!(seen, 10);
    }

    #[test]
    fn values() {
        let ok = |option: &str, value: &str| check(find(option).unwrap(), value, true).is_ok();
        for (option, value) in [
            ("b:v", "2500k"),
            ("r", "30000/1001"),
            ("t", "00:00:10.5"),
            ("s", "1280x720"),
            ("strict", "-2"),
            ("flags", "+global_header"),
            ("c:v", "libx264"),
            ("c:a", "libopus"),
            ("map", "0:v:0"),
            ("map", "-0:a?"),
            ("map", "[out]"),
            ("bsf:v", "h264_metadata=level=3.1,dump_extra"),
            ("x264-params", "keyint=30:no-scenecut=1:vbv-maxrate=2500"),
            ("authorization", "abc.DEF-123="),
        ] {
            assert!(ok(option, value), "{option} {value}");
        }
        for (option, value) in [
            ("flags", "+global_header-low_delay"),
            ("fflags", "nobuffer+genpts"),
            ("err_detect:v", "ignore_err"),
            ("rtsp_flags", "prefer_tcp"),
            ("whip_flags", "dtls_active"),
            ("strict", "experimental"),
            ("mode", "caller"),
        ] {
            assert!(ok(option, value), "{option} {value}");
        }
        for (option, value) in [
            ("b:v", ""),
            ("b:v", "--1"),
            ("metadata", "-/vf"),
            ("b:v", "/etc/passwd"),
            ("b:v", "http://x"),
            ("t", "1 2"),
            ("pix_fmt", "a/b"),
            ("c:v", "libx265"),
            ("c:v", "rawvideo"),
            ("c:a", "aac"),
            ("map", "x"),
            ("map", "0:m:a:b,1"),
            ("map", "[a/b]"),
            ("bsf:v", "noise"),
            ("bsf:v", "h264_metadata=sei_user_data=/x"),
            ("x264-params", "stats=/tmp/x"),
            ("x264-params", "keyint=30:qpfile=x"),
            ("x264opts", "dump-yuv=x"),
            ("rtsp_transport", "udp_multicast"),
            ("rtsp_transport", "http"),
            ("rtsp_flags", "+listen"),
            ("flags:v", "+pass1"),
            ("flags", "512"),
            ("mode", "listener"),
            ("mode", "1"),
            ("mode", "rendezvous"),
            ("strict", "512"),
            ("authorization", "a\r\nX: y"),
            ("authorization", "a b"),
            ("user_agent", "a\nb"),
        ] {
            assert!(!ok(option, value), "{option} {value}");
        }
    }
}
