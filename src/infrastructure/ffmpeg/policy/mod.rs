//! The judge of command lines that RCS has built (contract 4). Pure, but for the look at a FILE
//! input's path.
//!
//! The text is split as a shell would split it and run by none. It is then taken apart as FFmpeg
//! takes it apart (globals, inputs with their options, one output: [`parts`]), every piece is held
//! against the allow list ([`options`]) and its kind of value ([`values`]), and a new command line
//! is put together from the pieces: what lss sets itself (program, log level, progress, protocol
//! white lists) is set, missing time-outs are added, and what no input here can take is dropped,
//! each with a note for the log. Nothing of the text reaches FFmpeg that was not looked at.

mod filters;
pub(super) mod flags;
mod options;
mod parts;
mod sizes;
mod values;

use crate::domain::engine::{EngineKind, Launch, SourceFile, Stdin};
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::stream::{InputType, StreamSpec, TaskAudio, TaskMode, TaskSender};
use crate::util::secret::Secret;
use crate::util::url;

use self::options::{Kind, Place};
use self::parts::{Command, File, Given, split};
use super::command::{Args, FfmpegSettings, INTERLEAVE, global_args, whip_args};
use super::probe::Abilities;
use super::query;
use super::source::{
    FILE_FORMATS, FILE_INPUT, file_below, input_of_scheme, network_url, protocols,
};

/// A command line that may run.
#[derive(Debug)]
pub struct Judged {
    /// The command line.
    pub launch: Launch,
    /// What was changed about it, for the log; carries no value.
    pub notes: Vec<String>,
    /// What it lays open, for the log.
    pub warnings: Vec<&'static str>,
}

/// Of a bearer that FFmpeg's own muxer sends (seen with 9.0: 301, 302, 307 and a foreign `Location`
/// are followed, the bearer goes along, and no option forbids it).
const BEARER_TRAVELS: &str = "FFmpeg's whip muxer follows redirects of the WHIP endpoint to any host and \
    sends the bearer (-authorization) along: give one only to endpoints that are trusted not to redirect";

/// Judges `text` for the task `spec`. Refusals are 20005, name the option, and show no value.
pub fn judge(
    text: &str,
    spec: &StreamSpec,
    settings: &FfmpegSettings,
    abilities: &Abilities,
) -> Result<Judged, Fault> {
    let words = split(text)?;
    let command = Command::parse(&words)?;
    let mut judge = Judge {
        spec,
        settings,
        abilities,
        notes: Vec::new(),
        bearer: None,
        file: None,
    };
    judge.command(&command)
}

fn refused(why: impl AsRef<str>) -> Fault {
    // No value is ever put in; an option's name is masked as every fault's words are.
    Fault::new(
        ErrorCode::ValidationFailed,
        format!("ffmpegCommand: {}", why.as_ref()),
    )
}

/// An option's name as it may be shown.
fn shown(option: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '-' | '/');
    if option.len() <= 40 && option.chars().all(plain) {
        format!("option -{option}")
    } else {
        "an option with characters that no option has".to_owned()
    }
}

struct Judge<'a> {
    spec: &'a StreamSpec,
    settings: &'a FfmpegSettings,
    abilities: &'a Abilities,
    notes: Vec<String>,
    bearer: Option<Secret>,
    file: Option<SourceFile>,
}

/// What an input turned out to be.
#[derive(PartialEq, Eq)]
enum InputKind {
    Live,
    File { looped: bool },
    Silence,
}

impl Judge<'_> {
    fn command(&mut self, command: &Command<'_>) -> Result<Judged, Fault> {
        let mut args = Args::new(&self.settings.path);
        global_args(&mut args);
        for given in &command.globals {
            self.option(&mut args, given, false)?;
        }
        let mut kinds = Vec::new();
        for input in &command.inputs {
            kinds.push(self.input(&mut args, input)?);
        }
        if kinds.iter().all(|k| *k == InputKind::Silence) {
            return Err(refused("has no input but silence"));
        }
        self.output(&mut args, &command.output)?;
        // Ends with its shortest cause: a limit, or files that are played once.
        let limited = command
            .inputs
            .iter()
            .chain([&command.output])
            .any(|f| ["t", "to", "frames", "vframes"].iter().any(|o| f.has(o)));
        let files = kinds
            .iter()
            .filter(|k| **k != InputKind::Silence)
            .all(|k| *k == InputKind::File { looped: false });
        let mut mode_reason = "RCS has built the command (ffmpegCommand)".to_owned();
        for note in &self.notes {
            mode_reason.push_str("; ");
            mode_reason.push_str(note);
        }
        let has_bearer = self.bearer.is_some();
        Ok(Judged {
            launch: Launch {
                engine: EngineKind::Ffmpeg,
                mode: TaskMode::Prebuilt,
                sender: TaskSender::Ffmpeg,
                mode_reason,
                audio: if command.output.has("an") {
                    TaskAudio::None
                } else {
                    TaskAudio::Encoded
                },
                argv: args.done(),
                stdin: self.file.take().map_or(Stdin::Empty, Stdin::File),
                ends_by_nature: limited || files,
                whip_bearer: self.bearer.take(),
                dtls_active: false,
            },
            notes: std::mem::take(&mut self.notes),
            warnings: if has_bearer {
                vec![BEARER_TRAVELS]
            } else {
                Vec::new()
            },
        })
    }

    fn note(&mut self, text: String) {
        if !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    /// Checks one option and passes it on, if it is one to pass on.
    fn option(&mut self, args: &mut Args, given: &Given<'_>, output: bool) -> Result<(), Fault> {
        let name = given.name;
        let Some(value) = given.value else {
            if given.rule.kind == Kind::Flag {
                args.plain([&format!("-{name}")]);
            }
            return Ok(());
        };
        values::check(given.rule, value, output)
            .map_err(|why| refused(format!("{} {why}", shown(name))))?;
        match given.rule.kind {
            // Set by us, or with the URL they belong to.
            Kind::Ours | Kind::OurFlag | Kind::Format | Kind::Timeout => {}
            Kind::Reconnect => {
                self.note(format!("-{name} dropped: only HTTP inputs have it"));
            }
            Kind::Secret => {
                args.plain([&format!("-{name}")]);
                args.secret(Secret::new(value));
            }
            Kind::Bearer => {
                let token = Secret::new(value);
                args.plain([&format!("-{name}")]);
                args.secret(token.clone());
                self.bearer = Some(token);
            }
            _ => {
                args.pair(&format!("-{name}"), value);
            }
        }
        Ok(())
    }

    fn input(&mut self, args: &mut Args, input: &File<'_>) -> Result<InputKind, Fault> {
        for given in &input.options {
            if given.rule.place == Place::Output {
                return Err(refused(format!(
                    "{} stands before an input",
                    shown(given.name)
                )));
            }
            if given.rule.kind == Kind::Timeout {
                continue;
            }
            self.option(args, given, false)?;
        }
        if input.value("f") == Some("lavfi") {
            return Self::silence(args, input);
        }
        match url::split(input.url) {
            Ok(parts) if input_of_scheme(parts.scheme).is_some() => {
                self.network(args, input, parts.scheme, parts.host)
            }
            // Anything else with a protocol in front, `concat:a|b` and `data:,x` too.
            _ if input.url.contains(':') && !input.url.starts_with("file:") => Err(refused(
                "option -i: inputs are rtsp, rtmp and srt, and files where inputType is FILE",
            )),
            _ => self.file(args, input),
        }
    }

    /// `-f lavfi -i anullsrc=…`, for cameras without a microphone. A lavfi "URL" is a filter graph
    /// and could read files, so this one source is all that is taken, with plain parameters.
    fn silence(args: &mut Args, input: &File<'_>) -> Result<InputKind, Fault> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'=' | b':' | b'_' | b'.');
        let rest = input.url.strip_prefix("anullsrc");
        let known = rest.is_some_and(|r| {
            (r.is_empty() || r.starts_with('=')) && r.len() <= 128 && r.bytes().all(plain)
        });
        if !known {
            return Err(refused("option -f: of lavfi only anullsrc is allowed"));
        }
        args.pair("-protocol_whitelist", "none");
        args.plain(["-f", "lavfi", "-i", input.url]);
        Ok(InputKind::Silence)
    }

    fn network(
        &mut self,
        args: &mut Args,
        input: &File<'_>,
        scheme: &str,
        host: &str,
    ) -> Result<InputKind, Fault> {
        if url::is_no_source_host(host) {
            return Err(refused(
                "option -i names a multicast, broadcast or metadata address",
            ));
        }
        query::check("ffmpegCommand: option -i", input.url)?;
        let scheme = scheme.to_ascii_lowercase();
        let kind = input_of_scheme(&scheme);
        let format = match kind {
            Some(InputType::Rtsp) => "rtsp",
            Some(InputType::Rtmp) => "flv",
            _ => "mpegts",
        };
        if let Some(given) = input.value("f") {
            if given != format {
                return Err(refused(format!(
                    "option -f: an input of {scheme} is {format}"
                )));
            }
            args.pair("-f", format);
        }
        let udp = input
            .value("rtsp_transport")
            .is_some_and(|t| t.contains("udp"));
        if kind == Some(InputType::Rtsp) {
            if !input.has("rtsp_transport") {
                args.pair("-rtsp_transport", "tcp");
                self.note("-rtsp_transport tcp added".to_owned());
            }
        } else if let Some(given) = input
            .options
            .iter()
            .find(|o| matches!(o.rule.kind, Kind::Transport) || o.rule.name == "rtsp_flags")
        {
            return Err(refused(format!(
                "{} belongs to RTSP inputs",
                shown(given.name)
            )));
        }
        if udp {
            args.pair("-protocol_whitelist", "tcp,udp,rtp");
        } else {
            args.pair("-protocol_whitelist", protocols(&scheme));
        }
        self.time_out(args, input, kind);
        args.plain(["-i"]);
        args.secret(network_url(input.url));
        Ok(InputKind::Live)
    }

    /// The time-out in the input's own option: RTSP and SRT have `-timeout`, RTMP `-rw_timeout`
    /// (there `-timeout` makes FFmpeg listen).
    fn time_out(&mut self, args: &mut Args, input: &File<'_>, kind: Option<InputType>) {
        let right = if kind == Some(InputType::Rtmp) {
            "rw_timeout"
        } else {
            "timeout"
        };
        for given in input
            .options
            .iter()
            .filter(|o| o.rule.kind == Kind::Timeout)
        {
            if given.name != right {
                self.note(format!("-{} replaced by -{right}", given.name));
            }
        }
        let ours = u64::try_from(self.settings.input_timeout.as_micros()).unwrap_or(u64::MAX);
        // From a tenth of a second to a minute; -1 and 0 are "for ever".
        let asked = input.value(right).map(|v| {
            v.parse::<u64>()
                .ok()
                .filter(|t| (100_000..=60_000_000).contains(t))
        });
        let micros = match asked {
            Some(Some(asked)) => asked,
            Some(None) => {
                self.note(format!(
                    "-{right} set to {ours} µs: it was no time of 0.1 s to 60 s"
                ));
                ours
            }
            None => {
                self.note(format!("-{right} {ours} added"));
                ours
            }
        };
        args.number(&format!("-{right}"), micros);
    }

    fn file(&mut self, args: &mut Args, input: &File<'_>) -> Result<InputKind, Fault> {
        if self.spec.input != InputType::File {
            return Err(refused("option -i names a file, and inputType is not FILE"));
        }
        if let Some(format) = input.value("f") {
            if !FILE_FORMATS.split(',').any(|f| f == format) {
                return Err(refused(format!(
                    "option -f: files are read as {FILE_FORMATS}"
                )));
            }
            args.pair("-f", format);
        }
        let path = input.url.strip_prefix("file:").unwrap_or(input.url);
        if self.file.is_some() {
            return Err(refused("option -i: one input of a command may be a file"));
        }
        self.file = Some(file_below(
            "ffmpegCommand: option -i",
            self.settings.file_root.as_deref(),
            path,
        )?);
        args.pair("-protocol_whitelist", protocols("file"));
        args.pair("-format_whitelist", FILE_FORMATS);
        if !input.has("re") && !input.has("readrate") {
            args.plain(["-re"]);
            self.note("-re added: a file is sent at its own pace".to_owned());
        }
        args.pair("-i", FILE_INPUT);
        let looped = input.value("stream_loop").is_some_and(|n| n != "0");
        Ok(InputKind::File { looped })
    }

    fn output(&mut self, args: &mut Args, output: &File<'_>) -> Result<(), Fault> {
        let formats: Vec<&str> = output
            .options
            .iter()
            .filter(|o| o.rule.kind == Kind::Format)
            .filter_map(|o| o.value)
            .collect();
        if formats != ["whip"] {
            return Err(refused("option -f: the output must be of one format, whip"));
        }
        let url = self.whip_url(output.url)?;
        for given in &output.options {
            if given.rule.place == Place::Input {
                return Err(refused(format!(
                    "{} stands before the output",
                    shown(given.name)
                )));
            }
            match (given.rule.name, given.value) {
                ("ar", Some(value)) if value != "48000" => {
                    self.note("-ar set to 48000, all that WHIP takes".to_owned());
                }
                ("ac", Some(value)) if value != "2" => {
                    self.note("-ac set to 2, all that WHIP takes".to_owned());
                }
                ("ar" | "ac", _) => {}
                ("timeout" | "rw_timeout" | "stimeout", _) => {
                    self.note(format!("-{} of the output set by lss", given.name));
                }
                _ => self.option(args, given, true)?,
            }
        }
        if !output.has("an") && !copies_sound(output) {
            args.plain(["-ar", "48000", "-ac", "2"]);
        }
        if !output.has("max_interleave_delta") {
            args.pair(INTERLEAVE.0, INTERLEAVE.1);
        }
        whip_args(args, self.settings, self.abilities);
        args.pair("-f", "whip");
        args.secret(url);
        Ok(())
    }

    /// An http(s) URL on the host of `whipUrl` or one in `whip_hosts`; plain http only to loopback
    /// or a host in `whip_hosts`.
    fn whip_url(&self, text: &str) -> Result<Secret, Fault> {
        let Ok(parts) = url::split(text) else {
            return Err(refused("the output is no URL"));
        };
        let listed = self
            .settings
            .whip_hosts
            .iter()
            .any(|h| h.eq_ignore_ascii_case(parts.host));
        if !listed && !parts.host.eq_ignore_ascii_case(self.spec.whip_url.host()) {
            return Err(refused(
                "the output's host is neither that of whipUrl nor in lss.ffmpeg.whip_hosts",
            ));
        }
        match parts.scheme.to_ascii_lowercase().as_str() {
            "https" => {}
            "http" if listed || url::is_loopback_host(parts.host) => {}
            "http" => {
                return Err(refused(
                    "the output must be https: plain http is taken only to loopback or to a host in lss.ffmpeg.whip_hosts",
                ));
            }
            _ => return Err(refused("the output must be an http(s) URL")),
        }
        Ok(network_url(text))
    }
}

/// `-c copy`, `-c:a copy`, `-acodec copy`: then the sound is what it is.
fn copies_sound(output: &File<'_>) -> bool {
    output
        .options
        .iter()
        .rfind(|o| {
            matches!(
                o.name,
                "c" | "codec" | "c:a" | "codec:a" | "acodec" | "c:a:0"
            )
        })
        .is_some_and(|o| o.value == Some("copy"))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
