//! The table: who speaks, and with what words → the cause, and what to do about it.
//!
//! Whether a retry can help follows from the cause ([`Cause::is_permanent`]). Every row names the
//! recorded run that proves it; the tests replay that run and ask for the row's own words.

use crate::domain::refusals;
use crate::domain::stream::Cause;
use crate::infrastructure::whip::words as whip;

/// How sure a finding is: a vague one gives way to a definite one that comes later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    Vague,
    Definite,
}

/// Whose words a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// The camera's RTSP answer: its status.
    RtspStatus,
    /// `Error opening input: …`, with what was said before it.
    SourceOpening,
    /// `Could not write header …: …`, with what was said before it.
    WhipOpening,
    /// Any other line of the sending side.
    WhipLine,
    /// An error line, whoever says it.
    Anybody,
}

/// One row.
#[derive(Debug)]
pub(super) struct Row {
    /// Whose words.
    pub(super) who: Who,
    /// Any of them.
    pub(super) words: &'static [&'static str],
    /// What they mean.
    pub(super) cause: Cause,
    /// In words, with what to do about it. Behind a final `: ` FFmpeg's own words follow.
    pub(super) says: &'static str,
    /// The run in `tests/fixtures/ffmpeg` that shows it.
    #[cfg(test)]
    pub(super) proof: &'static str,
}

const fn row(
    who: Who,
    words: &'static [&'static str],
    cause: Cause,
    says: &'static str,
    #[cfg_attr(not(test), expect(unused, reason = "for the tests"))] proof: &'static str,
) -> Row {
    Row {
        who,
        words,
        cause,
        says,
        #[cfg(test)]
        proof,
    }
}

/// Of rows that fit, the first counts.
#[rustfmt::skip]
pub(super) const TABLE: &[Row] = {
    use Cause::{
        BadCommand, SourceAuth, SourceStream, SourceUnreachable, StreamRefused,
        WhipStream, WhipUnreachable, WhipUplink,
    };
    use Who::{Anybody, RtspStatus, SourceOpening, WhipLine, WhipOpening};
    &[
        // The camera's RTSP answers.
        row(RtspStatus, &["401"], SourceAuth, refusals::LOGIN, "I3 "),
        row(RtspStatus, &["403"], SourceAuth, refusals::DENIED, "R DESCRIBE 403"),
        row(RtspStatus, &["404"], SourceStream, refusals::NO_STREAM, "R DESCRIBE 404"),
        row(RtspStatus, &["406"], SourceStream, refusals::NOT_DESCRIBED, "R DESCRIBE 406"),
        row(RtspStatus, &["453"], SourceStream, refusals::NO_PLACE, "R SETUP 453"),
        row(RtspStatus, &["461"], SourceStream, refusals::NOT_OVER_TCP, "R SETUP 461"),
        row(RtspStatus, &["503"], SourceStream, refusals::NOT_NOW, "R DESCRIBE 503"),
        // What opening the source ends with.
        row(SourceOpening, &["Incorrect passphrase", "BADSECRET"], SourceAuth, "the SRT passphrase is wrong", "S passphrase wrong"),
        row(SourceOpening, &["Password required or unexpected", "UNSECURE"], SourceAuth, "one end of the SRT connection has a passphrase and the other has none: check sourceUrl", "S passphrase missing"),
        row(SourceOpening, &["SRTO_PASSPHRASE"], BadCommand, "the SRT passphrase in sourceUrl must have 10 to 79 characters", "S passphrase too short"),
        row(SourceOpening, &["failed to set option SRTO_"], BadCommand, "SRT refuses a value in the query of sourceUrl", "S pbkeylen odd"),
        row(SourceOpening, &["Port missing in uri"], BadCommand, "the source's URL has no usable host: is there a / in its password? Write %2F", "O slash in the password"),
        row(SourceOpening, &["Server returned 401"], SourceAuth, "the source refused the login (401)", "R OPTIONS 401"),
        row(SourceOpening, &["Server returned 403"], SourceAuth, "the source denied access (403)", "R DESCRIBE 403"),
        row(SourceOpening, &["Server returned 404"], SourceStream, "the source has no such stream (404)", "R DESCRIBE 404"),
        row(SourceOpening, &["Server returned 400"], SourceStream, "the source did not understand the request (400): check the path of sourceUrl", "R DESCRIBE 400"),
        row(SourceOpening, &["Server returned"], SourceStream, "the source refused the stream: ", "R SETUP 453"),
        row(SourceOpening, &["No such file", "Permission denied"], SourceStream, "the file can't be opened: ", "O file missing"),
        row(SourceOpening, &["Connection refused"], SourceUnreachable, "the source refused the connection: is the port right, is it switched on?", "O source refuses"),
        row(SourceOpening, &["Failed to resolve hostname"], SourceUnreachable, "the source's host name can't be resolved", "O source name unknown"),
        row(SourceOpening, &["timed out"], SourceUnreachable, "the source does not answer (timed out)", "O source silent"),
        row(SourceOpening, &["Network is unreachable", "No route to host", "Host is unreachable", "Network is down"], SourceUnreachable, "there is no way to the source: ", "N source unroutable"),
        row(SourceOpening, &["Failed reading RTSP data"], SourceStream, "the source closed the connection and spoke no RTSP: is the port right (554 is usual, 80 is a web page's), does it take another viewer?", "R http on the RTSP port"),
        row(SourceOpening, &["Input/output error", "Connection reset"], SourceUnreachable, "the connection to the source failed: ", "O rtmp closed"),
        row(SourceOpening, &[""], SourceStream, "the source sends nothing that FFmpeg understands: ", "O file is no video"),
        // What making the session ends with, where there was no such answer.
        row(WhipOpening, &["Server returned 4XX"], WhipUnreachable, "the WHIP endpoint refused (4xx): taken by another publisher?", "W2 WHIP answers 409"),
        row(WhipOpening, &["Server returned 5XX"], WhipUnreachable, "the WHIP endpoint has trouble of its own (5xx)", "P 502"),
        row(WhipOpening, &["certificate"], WhipUnreachable, whip::NOT_TRUSTED, "P certificate not trusted"),
        row(WhipOpening, &["Failed to resolve hostname"], WhipUplink, whip::NO_NAME, "P name unknown"),
        row(WhipOpening, &["Connection refused"], WhipUnreachable, whip::REFUSED, "P refused"),
        row(WhipOpening, &["timed out"], WhipUplink, whip::SILENT, "P silent"),
        row(WhipOpening, &["Network is unreachable", "No route to host", "Host is unreachable", "Network is down"], WhipUplink, "there is no way to the WHIP endpoint: ", "N whip unroutable"),
        row(WhipOpening, &["End of file"], WhipUnreachable, whip::CLOSED, "P closed"),
        row(WhipOpening, &[""], WhipUnreachable, "the connection to the WHIP endpoint failed: ", "P reset"),
        // What the sending side says by itself.
        row(WhipLine, &["DTLS handshake timeout="], WhipUnreachable, "the WHIP server answered, but no media path came up (ICE/DTLS timed out): is outgoing UDP blocked?", "P no answer on UDP"),
        row(WhipLine, &["Consent Freshness expired"], WhipStream, "the WHIP server stopped answering on the media path (consent expired)", "W7 "),
        row(WhipLine, &["Failed to read message"], WhipUnreachable, "the WHIP server's media address refused what was sent to it (UDP port closed)", "P UDP refused"),
        row(WhipLine, &["Failed to connect udp"], WhipUnreachable, "there is no way to the WHIP server's media address", "P no way to the media address"),
        row(WhipLine, &["Invalid answer: <"], WhipStream, whip::WEB_PAGE, "P 302 to a login page"),
        row(WhipLine, &["Invalid answer"], WhipStream, whip::NO_ANSWER, "P 201 with an empty answer"),
        row(WhipLine, &[" parsed from "], WhipStream, "the WHIP endpoint's answer names no media path that FFmpeg's muxer can take", "P no candidate"),
        // Words that are the same whoever says them.
        row(Anybody, &["is not supported by RTC, choose udp"], WhipStream, "the WHIP endpoint names a media path over TCP first, which FFmpeg's muxer can't take", "P first candidate is TCP"),
        // (Of an optional map, `0:a?`, it is verbose: "…; ignoring.")
        row(Anybody, &["matches no streams"], SourceStream, "the source has no such stream: no picture?", "R html as DESCRIBE's answer"),
        // Only inputs have such a list, and ours name what the URL's own scheme needs.
        row(Anybody, &["not on whitelist"], SourceStream, "the source leads elsewhere by a protocol that it may not use: a redirect?", "O redirect"),
        row(Anybody, &["no decoder found for"], StreamRefused, "FFmpeg can't decode what the source sends: ", "O sound of an unknown codec"),
    ]
};

/// The first row of `who` that has words in one of `texts`, and what it says; `own` are the words
/// that follow a final `: `, or the status behind a final space.
pub(super) fn look_up(who: Who, texts: &[&str], own: &str) -> Option<(Weight, Cause, String)> {
    let fits = |text: &&str, word: &str| match who {
        Who::RtspStatus => text.starts_with(word),
        _ => text.contains(word),
    };
    let row = TABLE.iter().find(|row| {
        row.who == who
            && row
                .words
                .iter()
                .any(|word| texts.iter().any(|text| fits(text, word)))
    })?;
    let says = if row.says.ends_with(": ") {
        format!("{}{own}", row.says)
    } else if row.says.ends_with(' ') {
        format!("{}({own})", row.says)
    } else {
        row.says.to_owned()
    };
    Some((Weight::Definite, row.cause, says))
}
