//! What FFmpeg says on stderr → what is the matter. Pure, sans-IO: fed with whole raw lines while
//! they are read, because the deciding line can be pushed out of the log tail by the SDP dump that
//! follows it.
//!
//! Exit codes decide nothing here but "0" and "a signal": FFmpeg's are the low byte of its error
//! numbers, and 8 means 401, 404, 503 and "option not found" alike, on either side. The side is
//! told by the context in front of a line (`[in#0]` = source, `[out#0/whip]`, `[WHIP muxer]` =
//! WHIP), or by the words themselves where an FFmpeg prints neither contexts nor levels. The table of causes is in `docs/ffmpeg.md`; `tests` below replays recorded runs.
//!
//! Lines are text from outside: a camera's session description is printed raw, so a camera can
//! forge lines. The worst a forged line does is a wrong cause for that very task; what lss would
//! act on, the session URL, is taken only if it has the host of the task's own `whipUrl`.

use std::time::Duration;

use crate::domain::stream::{Cause, Diagnosis};
use crate::util::foreign::shown;
use crate::util::secret::Secret;

/// Longest reason, in characters.
const MAX_DETAIL: usize = 500;

use super::line::Line;
use super::patterns::{
    bad_command, http_status, network, returned, rtsp_refusal, source_words, srt, thread_error,
    unroutable, whip_write,
};
use super::session::{Elsewhere, SessionTrace};
use super::words::{Weight, Who, look_up};
use crate::infrastructure::whip::words::refused;

/// Before what the RTSP reader complains of.
const RTSP_DATA: &str = "Failed reading RTSP data: ";

/// What the watcher must be told at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// The endpoint has answered the offer, and the DTLS handshake begins.
    Handshaking,
    /// The WHIP session is up: HTTP, ICE and DTLS are done. How long they took.
    SessionUp(Option<Duration>),
    /// FFmpeg has said that it failed. It may hang now instead of ending.
    Failing(Diagnosis),
}

/// How a run ended, for [`Classifier::finish`].
#[derive(Debug, Clone, Copy, Default)]
pub struct End {
    /// Exit code, if it exited.
    pub code: Option<i32>,
    /// Signal number, if one ended it.
    pub signal: Option<i32>,
    /// The source ends by nature (FILE without loop).
    pub ends_by_nature: bool,
    /// lss asked it to end.
    pub asked_to_end: bool,
}

/// What the lines so far show of how to read the next ones.
#[derive(Debug, Default)]
struct Heard {
    /// A line has told how loud it is. One that has not been told to (another log level, a wrapper
    /// around it) tells of nothing: then the words alone decide.
    levels: bool,
    /// FFmpeg has told of an input that it has opened: what is refused from now on may be refused
    /// for what that input sent.
    input_open: bool,
}

/// Reads one run's stderr.
#[derive(Debug)]
pub struct Classifier {
    session: SessionTrace,
    session_up: bool,
    /// The DTLS handshake has failed, by FFmpeg's own words.
    handshake_failed: bool,
    found: Option<(Weight, Diagnosis)>,
    frozen: bool,
    heard: Heard,
    /// The last line of the network layer, which names no side: the line after it does.
    network: Option<&'static str>,
    /// What the SRT library said of a connection, in its own form and without a level.
    srt: Option<&'static str>,
    /// What the RTSP reader complained of; decisive only with what follows.
    rtsp: Option<String>,
    /// HTTP status of the WHIP endpoint, where FFmpeg names it.
    http_status: Option<u16>,
    /// The last error line, for ends that nothing else explains.
    last_error: Option<String>,
}

/// `elapsed=1145.81ms(…)`: from the muxer's start until its session was up.
fn elapsed(text: &str) -> Option<Duration> {
    let (_, behind) = text.split_once("elapsed=")?;
    let (millis, _) = behind.split_once("ms")?;
    let millis: f64 = millis.parse().ok()?;
    Duration::try_from_secs_f64(millis / 1e3).ok()
}

impl Classifier {
    /// For a run that publishes to `whip_url`.
    pub fn new(whip_url: &str) -> Self {
        Self {
            session: SessionTrace::new(whip_url),
            session_up: false,
            handshake_failed: false,
            found: None,
            frozen: false,
            heard: Heard::default(),
            network: None,
            srt: None,
            rtsp: None,
            http_status: None,
            last_error: None,
        }
    }

    /// For a command line of ours or a judged one: its last argument is the WHIP URL.
    pub fn for_argv(argv: &[Secret]) -> Self {
        Self::new(argv.last().map_or("", Secret::expose))
    }

    /// From now on lines explain nothing but the session's end: what FFmpeg prints while it is
    /// being ended (`Input/output error` on a healthy camera) is not why it was ended.
    pub fn freeze(&mut self) {
        self.frozen = true;
    }

    /// Takes the next line, unmasked.
    pub fn line(&mut self, line: &str) -> Option<Signal> {
        let line = Line::parse(line);
        self.session.line(&line);
        self.heard.levels |= line.has_level();
        if (line.is_whip() || self.is_bare(&line)) && line.text.contains("Muxer state=") {
            let first = !self.session_up;
            self.session_up = true;
            return first.then(|| Signal::SessionUp(elapsed(line.text)));
        }
        if line.is_whip() && !self.session_up && line.text.contains("ICE STUN ok") {
            return Some(Signal::Handshaking);
        }
        // FFmpeg's words for a signal it was sent; what follows is that signal's doing.
        if line.text.contains("Immediate exit requested") {
            self.freeze();
        }
        if self.frozen {
            return None;
        }
        if self.is_loud(&line) {
            self.last_error = Some(line.text.to_owned());
        }
        self.heard.input_open |= line.text.starts_with("Input #");
        let (weight, cause, detail) = self.judge(&line)?;
        // Only what is proven to be the order's own fault is given up for good.
        let cause = match cause {
            Cause::BadCommand if self.heard.input_open || weight == Weight::Vague => {
                Cause::StreamRefused
            }
            other => other,
        };
        let diagnosis = Diagnosis {
            cause,
            detail: shown(&detail, MAX_DETAIL),
        };
        let first = self.found.is_none();
        let better = self.found.as_ref().is_none_or(|(had, _)| *had < weight);
        if better {
            self.found = Some((weight, diagnosis.clone()));
        }
        first.then_some(Signal::Failing(diagnosis))
    }

    /// Why the run ended; `None` if it ended as it should: by nature, or asked to with nothing
    /// wrong before.
    pub fn finish(&self, end: &End) -> Option<Diagnosis> {
        if let Some((_, found)) = &self.found {
            return Some(found.clone());
        }
        let (cause, detail) = self.unsaid(end)?;
        Some(Diagnosis {
            cause,
            detail: shown(&detail, MAX_DETAIL),
        })
    }

    /// The end of a run that gave no definite reason.
    fn unsaid(&self, end: &End) -> Option<(Cause, String)> {
        let silence = self.rtsp.as_deref().map(source_words);
        if end.asked_to_end {
            // A source that fell silent before it was given up is still the reason.
            return silence.map(|words| (Cause::SourceStream, words));
        }
        let found = match (end.code, end.signal) {
            (Some(0), _) if end.ends_by_nature => return None,
            (Some(0), _) => {
                let words = silence.unwrap_or_else(|| "the source ended the stream".to_owned());
                (Cause::SourceStream, words)
            }
            (_, Some(9)) => (
                Cause::EngineCrash,
                "FFmpeg was killed from outside (signal 9): out of memory?".to_owned(),
            ),
            (_, Some(signal)) => (
                Cause::EngineCrash,
                format!("FFmpeg was ended by signal {signal}"),
            ),
            (Some(255), _) => (
                Cause::EngineCrash,
                "FFmpeg was told to end by somebody else than lss".to_owned(),
            ),
            (code, None) => {
                let code = code.map_or_else(|| "no exit code".to_owned(), |c| format!("code {c}"));
                let words = match &self.last_error {
                    Some(words) => format!("FFmpeg ended ({code}) and said: {words}"),
                    None => format!("FFmpeg ended ({code}) and did not say why"),
                };
                (Cause::EngineCrash, words)
            }
        };
        Some(found)
    }

    /// The WHIP session's URL, if the session was made and FFmpeg's own DELETE is not known to
    /// have arrived. Only a URL on the host of `whipUrl`, and never plain where that is https.
    pub fn session_left(&self) -> Option<Secret> {
        self.session.left()
    }

    /// Whether the WHIP endpoint refused with one of the answers that may say for how long (429, 503).
    pub fn is_busy(&self) -> bool {
        matches!(self.http_status, Some(429 | 503))
    }

    /// Whether the endpoint would not have FFmpeg as DTLS client, as it seems: it has refused the offer
    /// as one that can't be, or the handshake has failed.
    pub fn refuses_role(&self) -> bool {
        matches!(self.http_status, Some(400 | 406 | 415 | 422)) || self.handshake_failed
    }

    /// The same, of a session that is not on the host of `whipUrl` (or there without its https).
    pub(super) fn session_left_elsewhere(&self) -> Option<Elsewhere> {
        self.session.left_elsewhere()
    }

    /// An error by its level; where no line has one, any line.
    fn is_loud(&self, line: &Line<'_>) -> bool {
        line.is_error() || (!self.heard.levels && !line.has_level())
    }

    /// Without a name in front, from an FFmpeg that names nobody and no level.
    fn is_bare(&self, line: &Line<'_>) -> bool {
        !self.heard.levels && line.context.is_empty()
    }

    /// What a line says, if it says something.
    fn judge(&mut self, line: &Line<'_>) -> Option<(Weight, Cause, String)> {
        // Only as errors: a camera's title could hold such words too.
        if self.is_loud(line)
            && let Some(found) = bad_command(line)
        {
            return Some(found);
        }
        let by_words = self.is_loud(line);
        if line.is_source() || (by_words && line.speaks_of_source()) {
            return self.judge_source(line);
        }
        if line.is_whip() || (by_words && line.speaks_of_whip()) {
            return self.judge_whip(line);
        }
        if line.is_network() || self.is_bare(line) {
            if line.text.contains("Successfully connected") {
                self.network = None;
            }
            self.network = network(line.text).or(self.network);
            if let Some(status) = http_status(line.text) {
                self.http_status = Some(status);
            }
        }
        None
    }

    fn judge_source(&mut self, line: &Line<'_>) -> Option<(Weight, Cause, String)> {
        let text = line.text;
        if let Some((method, status)) = rtsp_refusal(text) {
            let status = status.to_string();
            return look_up(Who::RtspStatus, &[&status], "").or_else(|| {
                let words = format!("the camera answered {method} with RTSP {status}");
                Some((Weight::Definite, Cause::SourceStream, words))
            });
        }
        if let Some(words) = srt(text) {
            self.srt = Some(words);
            return None;
        }
        if let Some((_, reason)) = text.split_once(RTSP_DATA) {
            self.rtsp = Some(reason.trim().to_owned());
            return None;
        }
        if let Some((_, reason)) = text.split_once("Error opening input: ") {
            return self.source_opening(reason.trim());
        }
        if let Some((_, reason)) = text.split_once("Error during demuxing: ") {
            return Some((
                Weight::Definite,
                Cause::SourceStream,
                source_words(reason.trim()),
            ));
        }
        // Only a reading thread's: the decoder's complaints (`[dec:h264]`) are the picture's.
        if let Some(reason) = thread_error(text)
            && line.context.starts_with("in#")
        {
            return Some((Weight::Vague, Cause::SourceStream, source_words(reason)));
        }
        None
    }

    /// `Error opening input: …`, with what the lines before it told.
    fn source_opening(&self, reason: &str) -> Option<(Weight, Cause, String)> {
        let rtsp = self
            .rtsp
            .as_deref()
            .map(|words| format!("{RTSP_DATA}{words}"));
        let said = [
            reason,
            self.srt.unwrap_or_default(),
            self.network.unwrap_or_default(),
            rtsp.as_deref().unwrap_or_default(),
        ];
        look_up(Who::SourceOpening, &said, reason)
    }

    fn judge_whip(&mut self, line: &Line<'_>) -> Option<(Weight, Cause, String)> {
        use Cause::WhipStream;
        let text = line.text;
        if text.contains("DTLS session failed") || text.contains("DTLS session closed") {
            self.handshake_failed = !self.session_up;
            let words = if self.handshake_failed {
                "the DTLS handshake with the WHIP server failed"
            } else {
                "the WHIP server ended the encrypted session"
            };
            return Some((Weight::Definite, WhipStream, words.to_owned()));
        }
        if let Some((weight, cause, words)) = look_up(Who::WhipLine, &[text], "") {
            // What could not be reached has been lost, once it had been.
            let cause = if self.session_up { WhipStream } else { cause };
            return Some((weight, cause, words));
        }
        if let Some((_, reason)) = text.split_once("Could not write header")
            && let Some((_, reason)) = reason.split_once("): ").or_else(|| reason.split_once(": "))
        {
            return self.whip_opening(reason.trim());
        }
        if let Some((_, code)) = text.split_once("Failed to write packet")
            && let Some((_, code)) = code.split_once("ret=")
        {
            return whip_write(code.trim());
        }
        let reason = thread_error(text).or_else(|| {
            text.split_once("Error submitting a packet to the muxer: ")
                .map(|(_, reason)| reason.trim())
        })?;
        // Once it runs, an encoder's or muxer's thread that ends with an error ends for the peer.
        let (cause, words) = if self.session_up {
            let cause = if unroutable(reason) {
                Cause::WhipUplink
            } else {
                WhipStream
            };
            (
                cause,
                format!("sending to the WHIP server failed: {reason}"),
            )
        } else {
            (
                Cause::BadCommand,
                format!("the output could not be set up: {reason}"),
            )
        };
        Some((Weight::Vague, cause, words))
    }

    /// `Could not write header …: REASON` = the session was not made.
    fn whip_opening(&mut self, reason: &str) -> Option<(Weight, Cause, String)> {
        const VAGUE: [&str; 4] = [
            "Invalid argument",
            "Not yet implemented",
            "out of range",
            "not found",
        ];
        self.http_status = self.http_status.or_else(|| returned(reason));
        if let Some((cause, words)) = self.http_status.and_then(refused) {
            return Some((Weight::Definite, cause, words));
        }
        if self.network.is_none() && VAGUE.iter().any(|word| reason.contains(word)) {
            // The line before says what; where it did, this one changes nothing.
            let words = format!("WHIP can't carry this stream: {reason}");
            return Some((Weight::Vague, Cause::BadCommand, words));
        }
        let said = [reason, self.network.unwrap_or_default()];
        look_up(Who::WhipOpening, &said, reason)
    }
}

#[cfg(test)]
#[path = "diagnosis_tests.rs"]
mod tests;
