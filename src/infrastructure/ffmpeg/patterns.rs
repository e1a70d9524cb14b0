//! The words FFmpeg has for each kind of failure. Pure; whose failure it is decides
//! [`super::diagnosis`].

use crate::domain::stream::Cause;

use super::line::Line;
use super::words::{Weight, Who, look_up};

/// A source that broke off in mid-stream, in words.
pub(super) fn source_words(reason: &str) -> String {
    if timed_out(reason) {
        "the source stopped sending (timed out)".to_owned()
    } else if reason.contains("End of file") {
        "the source closed the connection".to_owned()
    } else {
        format!("reading the source failed: {reason}")
    }
}

pub(super) fn timed_out(text: &str) -> bool {
    text.contains("timed out") || text.contains("Operation timed out")
}

pub(super) fn unroutable(text: &str) -> bool {
    text.contains("Network is unreachable")
        || text.contains("No route to host")
        || text.contains("Host is unreachable")
        || text.contains("Network is down")
}

/// `method DESCRIBE failed: 401 (Unauthorized)`
pub(super) fn rtsp_refusal(text: &str) -> Option<(&str, u16)> {
    let (_, rest) = text.split_once("method ")?;
    let (method, rest) = rest.split_once(" failed: ")?;
    Some((method, leading_number(rest)?))
}

/// `Server returned 429 Too Many Requests`
pub(super) fn returned(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once("Server returned ")?;
    let (word, _) = rest.split_once(' ').unwrap_or((rest, ""));
    word.parse().ok()
}

/// `HTTP error 409 Conflict`
pub(super) fn http_status(text: &str) -> Option<u16> {
    leading_number(text.split_once("HTTP error ")?.1)
}

pub(super) fn leading_number(text: &str) -> Option<u16> {
    let digits = text.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// `Task finished with error code: -111 (Connection refused)` and its sister → the reason.
pub(super) fn thread_error(text: &str) -> Option<&str> {
    let (_, rest) = text
        .split_once("Task finished with error code: ")
        .or_else(|| text.split_once("Terminating thread with return code "))?;
    let rest = rest.strip_prefix('-')?;
    let (_, reason) = rest.split_once(" (")?;
    Some(reason.trim_end().trim_end_matches(')'))
}

/// `Failed to write packet=1194B, ret=-111`: error numbers that say what became of the peer. A
/// full socket buffer (-11) says nothing.
pub(super) fn whip_write(code: &str) -> Option<(Weight, Cause, String)> {
    let (cause, words) = match code {
        "-111" => (
            Cause::WhipStream,
            "the WHIP server closed its end of the media path",
        ),
        "-110" => (
            Cause::WhipStream,
            "the WHIP server stopped answering on the media path",
        ),
        "-100" | "-101" | "-113" => (
            Cause::WhipUplink,
            "the way to the WHIP server is gone (network unreachable)",
        ),
        "-1" => (
            Cause::WhipStream,
            "sending to the WHIP server is not permitted: a firewall?",
        ),
        _ => return None,
    };
    Some((Weight::Definite, cause, words.to_owned()))
}

/// What a line of the network layer tells, whichever side it belongs to, in the table's words.
pub(super) fn network(text: &str) -> Option<&'static str> {
    const TOLD: [&str; 4] = [
        "Failed to resolve hostname",
        "Port missing in uri",
        "certificate",
        "timed out",
    ];
    TOLD.into_iter().find(|words| text.contains(words))
}

/// What the SRT library or FFmpeg's part that uses it tells of a connection that fails, in the
/// table's words.
pub(super) fn srt(text: &str) -> Option<&'static str> {
    const TOLD: [&str; 6] = [
        "Incorrect passphrase",
        "BADSECRET",
        "Password required or unexpected",
        "UNSECURE",
        "SRTO_PASSPHRASE",
        "failed to set option SRTO_",
    ];
    TOLD.into_iter().find(|words| text.contains(words))
}

/// Refusals that no retry mends: options, codecs, filters. For lines of level error.
pub(super) fn bad_command(line: &Line<'_>) -> Option<(Weight, Cause, String)> {
    const REFUSALS: [&str; 29] = [
        "Unrecognized option",
        "Option not found",
        "Missing argument for option",
        "Error splitting the argument list",
        "Error parsing options",
        "Failed to set value",
        "Error setting option",
        "Undefined constant or missing",
        "Unknown encoder",
        "Unknown decoder",
        "Encoder not found",
        "whip muxer supports only codec",
        "Unsupported B frames by RTC",
        "Unsupported audio channels",
        "Unsupported audio sample rate",
        "Unsupported audio codec",
        "Unsupported video codec",
        "is not supported by RTC",
        "stream is supported by RTC",
        "Experimental feature",
        "experimental codecs are not enabled",
        "No such filter",
        "Filter not found",
        "Error initializing filters",
        "Error initializing the muxer",
        "Error while opening encoder",
        "Protocol not found",
        "Error setting profile",
        "Error setting preset",
    ];
    let text = line.text;
    if text.contains("Requested output format 'whip' is not")
        || text.contains("Unknown format 'whip'")
    {
        let words = "this FFmpeg has no whip muxer: install FFmpeg 8.1 or newer with it";
        return Some((Weight::Definite, Cause::EngineMissing, words.to_owned()));
    }
    let whose = match line.context.as_str() {
        c if c.starts_with("aist#") => "its sound: ",
        c if c.starts_with("vist#") => "its picture: ",
        _ => "",
    };
    if let Some(found) = look_up(Who::Anybody, &[text], &format!("{whose}{}", text.trim())) {
        return Some(found);
    }
    let option = text.starts_with("Option ") && text.trim_end().ends_with("not found.");
    let range = text.starts_with("Value ") && text.contains("out of range");
    let refused = option || range || REFUSALS.iter().any(|r| text.contains(r));
    refused.then(|| {
        let words = format!("FFmpeg refuses the command: {}", text.trim());
        (Weight::Definite, Cause::BadCommand, words)
    })
}
