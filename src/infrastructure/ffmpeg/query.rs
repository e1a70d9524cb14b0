//! The query of a source's URL, where FFmpeg reads options out of it: judged like the options
//! themselves, for `sourceUrl` and for inputs of `ffmpegCommand` alike. Pure.
//!
//! SRT takes nearly all of its options this way, `mode=listener` among them, so of SRT only keys
//! on a list pass, as FFmpeg compares them: by their exact letters, undecoded. The queries of RTSP
//! and RTMP belong to the camera or the server (`?channel=1&subtype=0`, `?token=…`), but for a few
//! words that are refused in any spelling.

use crate::domain::error::{ErrorCode, Fault};
use crate::domain::stream::InputType;
use crate::util::url;

use super::policy::flags::{SRT_MODE, SRT_TYPE};
use super::source::input_of_scheme;

/// What a key of an SRT URL takes.
enum Takes {
    /// A number of at most ten digits.
    Number,
    /// Microseconds, within what lss waits for a source at all.
    TimeOut,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// Any text: it goes to the peer.
    Text,
}

const SRT: &[(&str, Takes)] = &[
    ("connect_timeout", Takes::Number),
    ("enforced_encryption", Takes::Number),
    ("ffs", Takes::Number),
    ("inputbw", Takes::Number),
    ("iptos", Takes::Number),
    ("ipttl", Takes::Number),
    ("kmpreannounce", Takes::Number),
    ("kmrefreshrate", Takes::Number),
    ("latency", Takes::Number),
    ("linger", Takes::Number),
    ("lossmaxttl", Takes::Number),
    ("maxbw", Takes::Number),
    ("messageapi", Takes::Number),
    ("mode", Takes::OneOf(SRT_MODE)),
    ("mss", Takes::Number),
    ("nakreport", Takes::Number),
    ("oheadbw", Takes::Number),
    ("passphrase", Takes::Text),
    ("payload_size", Takes::Number),
    ("pbkeylen", Takes::Number),
    ("peerlatency", Takes::Number),
    ("pkt_size", Takes::Number),
    ("rcvbuf", Takes::Number),
    ("rcvlatency", Takes::Number),
    ("sndbuf", Takes::Number),
    ("snddropdelay", Takes::Number),
    ("streamid", Takes::Text),
    ("timeout", Takes::TimeOut),
    ("tlpktdrop", Takes::Number),
    ("transtype", Takes::OneOf(SRT_TYPE)),
    ("tsbpd", Takes::Number),
    ("tsbpddelay", Takes::Number),
];

/// Words that make FFmpeg listen, or take another transport than the one that lss has chosen.
const REFUSED_KEYS: [&str; 5] = [
    "listen",
    "listen_timeout",
    "rtmp_listen",
    "rtsp_flags",
    "rtsp_transport",
];
/// The same, where they stand alone, as FFmpeg's RTSP reader takes them.
const REFUSED_WORDS: [&str; 4] = ["udp", "multicast", "http", "https"];

/// Judges what follows the first `?` of a source's URL. `field` names it in the fault, which shows
/// no value.
pub(super) fn check(field: &str, source_url: &str) -> Result<(), Fault> {
    let Ok(parts) = url::split(source_url) else {
        return Ok(());
    };
    // As FFmpeg finds it: behind the first `?`, whatever stands before it.
    let Some((_, query)) = parts.path.split_once('?') else {
        return Ok(());
    };
    let srt = input_of_scheme(parts.scheme) == Some(InputType::Srt);
    for item in query.split('&').filter(|item| !item.is_empty()) {
        let fits = if srt {
            srt_item(item)
        } else {
            foreign_item(item)
        };
        fits.map_err(|why| Fault::new(ErrorCode::ValidationFailed, format!("{field}: {why}")))?;
    }
    Ok(())
}

fn srt_item(item: &str) -> Result<(), String> {
    let (key, value) = item.split_once('=').unwrap_or((item, ""));
    let Some((name, takes)) = SRT.iter().find(|(name, _)| *name == key) else {
        return Err("its query has a key that SRT sources may not have".to_owned());
    };
    let fits = match takes {
        Takes::Number => is_number(value),
        Takes::TimeOut => value
            .parse::<u64>()
            .is_ok_and(|micros| (100_000..=60_000_000).contains(&micros)),
        Takes::OneOf(words) => words.contains(&value),
        Takes::Text => value.len() <= 512,
    };
    match (fits, *name) {
        (true, _) => Ok(()),
        (false, "mode") => {
            Err("lss calls SRT sources and never listens: mode must be caller".to_owned())
        }
        (false, "timeout") => {
            Err("timeout in its query must be from 100000 to 60000000 (µs)".to_owned())
        }
        (false, name) => Err(format!(
            "{name} in its query has a value that is not allowed"
        )),
    }
}

fn is_number(value: &str) -> bool {
    let digits = value.strip_prefix('-').unwrap_or(value);
    (1..=10).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
}

fn foreign_item(item: &str) -> Result<(), String> {
    let (key, value) = item.split_once('=').unwrap_or((item, ""));
    let plain = |text: &str| url::decode(text).trim().to_ascii_lowercase();
    let (key, value) = (plain(key), plain(value));
    let alone = value.is_empty() && REFUSED_WORDS.contains(&key.as_str());
    let listens = key == "mode" && matches!(value.as_str(), "listener" | "rendezvous" | "1" | "2");
    if alone || listens || REFUSED_KEYS.contains(&key.as_str()) {
        return Err("its query would make FFmpeg listen, or take another transport".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cameras_and_servers_are_asked() {
        for url in [
            "rtsp://u:p@10.0.0.9/cam/realmonitor?channel=1&subtype=0",
            "rtsp://10.0.0.9/live?mode=main&tcp",
            "rtsp://10.0.0.9/live",
            "rtmp://10.0.0.9/live/x?token=a%26b&user=listen",
            "srt://10.0.0.9:9000",
            "srt://10.0.0.9:9000?mode=caller&latency=120000&streamid=#!::r=live/x,m=request",
            "srt://10.0.0.9:9000/?passphrase=0123456789&pbkeylen=16&transtype=live&timeout=3000000",
            "srt://10.0.0.9:9000?maxbw=-1&",
        ] {
            assert!(check("sourceUrl", url).is_ok(), "{url}");
        }
    }

    #[test]
    fn nothing_listens_in_any_spelling() {
        for url in [
            "srt://10.0.0.9:9000?mode=listener",
            "SRT://10.0.0.9:9000?mode=listener",
            "srt://10.0.0.9:9000/?mode=listener",
            "srt://10.0.0.9:9000/x?mode=listener",
            "srt://10.0.0.9:9000#?mode=listener",
            "srt://10.0.0.9:9000/a?b?mode=listener",
            "srt://u:p?x@10.0.0.9:9000?mode=listener",
            "srt://10.0.0.9:9000?latency=1&mode=listener",
            "srt://10.0.0.9:9000?mode=caller&mode=listener",
            "srt://10.0.0.9:9000?mode=%6cistener",
            "srt://10.0.0.9:9000?mode=%6Cistener",
            "srt://10.0.0.9:9000?%6dode=listener",
            "srt://10.0.0.9:9000?MODE=LISTENER",
            "srt://10.0.0.9:9000?mode=LISTENER",
            "srt://10.0.0.9:9000?Mode=listener",
            "srt://10.0.0.9:9000?mode=rendezvous",
            "srt://10.0.0.9:9000?mode=1",
            "srt://10.0.0.9:9000?mode=",
            "srt://10.0.0.9:9000?mode",
            "srt://10.0.0.9:9000?mode= listener",
            "srt://10.0.0.9:9000?mode=+listener",
            "srt://10.0.0.9:9000?listen_timeout=1",
            "srt://10.0.0.9:9000?listen=1",
            "srt://10.0.0.9:9000?localport=1",
            "srt://10.0.0.9:9000?timeout=-1",
            "srt://10.0.0.9:9000?latency=1;mode=listener",
            "rtmp://10.0.0.9/live/x?listen",
            "rtmp://10.0.0.9/live/x?listen=1",
            "rtmp://10.0.0.9/live/x?LISTEN=1",
            "rtmps://10.0.0.9/live/x?%6cisten=1",
            "rtmp://10.0.0.9/live/x?a=b&listen&listen_timeout=1",
            "rtmp://10.0.0.9/live/x?mode=listener",
            "rtsp://10.0.0.9/x?listen",
            "rtsp://10.0.0.9/x?rtsp_flags=listen",
            "rtsp://10.0.0.9/x?channel=1&Multicast",
            "rtsp://10.0.0.9/x?http",
            "rtsps://10.0.0.9/x?udp",
        ] {
            let fault = check("sourceUrl", url).expect_err(url);
            assert_eq!(fault.code, ErrorCode::ValidationFailed, "{url}");
            assert!(
                fault.message.starts_with("sourceUrl: "),
                "{}",
                fault.message
            );
        }
    }

    #[test]
    fn refusals_show_no_value() {
        for url in [
            "srt://10.0.0.9:9000?canary=1",
            "srt://10.0.0.9:9000?mode=canary",
            "srt://10.0.0.9:9000?latency=canary",
        ] {
            let fault = check("sourceUrl", url).expect_err(url);
            assert!(!fault.message.contains("canary"), "{}", fault.message);
        }
    }
}
