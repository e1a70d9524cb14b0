//! Log lines: one event = one line on stderr, as `key=value` text or as JSON.
//!
//! What an event tells (its message and the values of its fields) is masked where it arises; the
//! frame around it (time, level, keys) is lss's own and is never touched, whatever somebody's
//! password is. env_logger formats; a finished line waits in a queue for the thread that writes
//! ([`writer`]): who logs waits for nobody. The level is `log`'s own maximum, so [`set_level`] works at run time. Knows no
//! layer.

mod writer;

use std::io::Write as _;
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use log::kv::{Key, Value, VisitSource};
use log::{Level, LevelFilter, Log, Metadata, Record};
use nix::sys::signal::{SigSet, SigmaskHow};

use crate::config::{self, LogFormat};
use crate::util::foreign::{is_unprintable, shown, shown_as_it_is};
use crate::util::secret::{self, MASK};
use crate::util::time::rfc3339;
use writer::Queue;

pub use writer::Lost;

/// Longest message or value, in characters; what is over is cut, so that no peer fills a disk
/// with one line.
const MAX_TEXT: usize = 4096;

/// What lss itself logs under; everything else is a dependency.
const OWN_TARGET: &str = "lss";

/// Who panics waits so long for its line to be written: what comes after may end the process.
const PANIC_FLUSH: Duration = Duration::from_millis(250);

/// The queue that lines wait in, once logging has started.
static QUEUE: OnceLock<Arc<Queue>> = OnceLock::new();

/// Starts logging to stderr. To be called once, before any other thread is started.
///
/// # Errors
/// If the process has a logger already, or can have no thread.
pub fn init(log: &config::Log) -> Result<(), String> {
    let look = Look {
        format: log.format,
        priorities: log.format == LogFormat::Text && stderr_is_journal(),
    };
    let notice = move |lost: u64| {
        let lines = if lost == 1 { "line was" } else { "lines were" };
        let event = Event {
            ts: rfc3339(SystemTime::now()),
            level: Level::Warn,
            msg: Text::Own(format!(
                "{lost} log {lines} dropped here: stderr took none, or too slowly"
            )),
            target: None,
            fields: vec![("dropped".to_owned(), Field::Unsigned(lost))],
        };
        event.line(look)
    };
    let queue = Arc::new(Queue::new(Box::new(notice)));
    let mut builder = env_logger::Builder::new();
    builder
        .filter_level(LevelFilter::Trace)
        .write_style(env_logger::WriteStyle::Never)
        .target(env_logger::Target::Pipe(Box::new(Inlet(queue.clone()))))
        .format(move |out, record| {
            let line = Event::of(record, SystemTime::now()).line(look);
            // The inlet takes it off again: the queue keeps room by level.
            out.write_all(&[priority(record.level())])?;
            out.write_all(line.as_bytes())
        });
    let logger = Logger {
        inner: builder.build(),
        queue: queue.clone(),
    };
    log::set_boxed_logger(Box::new(logger)).map_err(|why| why.to_string())?;
    start_writer(queue.clone()).map_err(|why| format!("thread log: {why}"))?;
    let _ = QUEUE.set(queue);
    set_level(log.level);
    Ok(())
}

/// The writer takes no signal: those that end the daemon are for the thread that waits for them,
/// which blocks them later, in threads started after that.
fn start_writer(queue: Arc<Queue>) -> std::io::Result<()> {
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let started = std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || queue.write_out());
    before.thread_set_mask()?;
    started.map(drop)
}

/// Waits until every line is written, but not longer than `patience`; whether all are. For the end
/// of the process.
pub fn flush(patience: Duration) -> bool {
    QUEUE.get().is_none_or(|queue| queue.flush(patience))
}

/// Lines that wait to be written, and how many may.
pub fn backlog() -> (usize, usize) {
    (
        QUEUE.get().map_or(0, |queue| queue.waiting()),
        writer::MAX_LINES,
    )
}

/// Lines that nobody will read.
pub fn lost() -> Lost {
    QUEUE.get().map(|queue| queue.lost()).unwrap_or_default()
}

/// Changes the level from now on.
pub fn set_level(level: LevelFilter) {
    log::set_max_level(level);
}

/// Logs panics as one masked line each, in place of the default print: the default would show
/// whatever the panic's message holds.
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let words = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        if let Some(counted) = PANICS.get(kind(thread)) {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        let at = info
            .location()
            .map_or_else(String::new, ToString::to_string);
        if log::log_enabled!(Level::Error) {
            log::error!(thread, at = at.as_str(); "panic: {words}");
        } else {
            // Before the logger, or with it off: a panic is never silent.
            let words = shown_as_it_is(words, MAX_TEXT);
            let line = escaped(&format!("lss: panic in thread {thread} at {at}: {words}"));
            match QUEUE.get() {
                Some(queue) => queue.push(Level::Error, line),
                None => drop(writeln!(std::io::stderr(), "{line}")),
            }
        }
        // The writer can't wait for itself.
        if thread != "log" {
            flush(PANIC_FLUSH);
        }
    }));
}

/// The names of lss's threads, without the number or address that some end in; the last one is for
/// every other.
const THREADS: [&str; 23] = [
    "main",
    "log",
    "signals",
    "start-up",
    "stream",
    "child",
    "rest",
    "rest-gate",
    "rest-late",
    "camera",
    "camera-wire",
    "camera-name",
    "discovery",
    "discovery-sweep",
    "discovery-ask",
    "ably",
    "cloud",
    "commands",
    "rcs-heartbeat",
    "rcs-callback",
    "rcs-offline",
    "dns",
    "other",
];

/// Panics so far, by [`THREADS`].
static PANICS: [AtomicU64; THREADS.len()] = [const { AtomicU64::new(0) }; THREADS.len()];

/// How often threads have panicked since the start, by their name without its number or address:
/// a fixed set.
pub fn panics() -> [(&'static str, u64); THREADS.len()] {
    let mut counts = PANICS.iter().map(|n| n.load(Ordering::Relaxed));
    THREADS.map(|name| (name, counts.next().unwrap_or_default()))
}

/// The place in [`THREADS`] of a thread's name: the longest that it is or begins with.
fn kind(thread: &str) -> usize {
    let is = |name: &str| {
        let rest = thread.strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    let names = THREADS.iter().enumerate().filter(|(_, name)| is(name));
    names
        .max_by_key(|(_, name)| name.len())
        .map_or(THREADS.len() - 1, |(place, _)| place)
}

struct Logger {
    inner: env_logger::Logger,
    queue: Arc<Queue>,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        wanted(metadata.level(), metadata.target(), log::max_level())
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.inner.log(record);
        }
    }

    fn flush(&self) {
        self.queue.flush(PANIC_FLUSH);
    }
}

/// Where env_logger writes to: each write is one finished line behind its priority, and enters the
/// queue.
struct Inlet(Arc<Queue>);

impl std::io::Write for Inlet {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        if let Some((priority, text)) = line.split_first() {
            let line = String::from_utf8_lossy(text).into_owned();
            self.0.push(level_of(*priority), line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// How lines look.
#[derive(Debug, Clone, Copy)]
struct Look {
    format: LogFormat,
    /// With sd-daemon(3)'s priority in front.
    priorities: bool,
}

/// Dependencies speak from WARN up, and from DEBUG up when everything is asked for. Never at TRACE:
/// there HTTP clients dump what goes over the wire in pieces, tokens included, which no masking by
/// value can find.
fn wanted(level: Level, target: &str, max: LevelFilter) -> bool {
    let own = is_own(target);
    let dependencies = if max == LevelFilter::Trace {
        Level::Debug
    } else {
        Level::Warn
    };
    level <= max && (own || level <= dependencies)
}

/// Whether stderr is the journal that systemd tells of (systemd.exec(5), `$JOURNAL_STREAM`).
fn stderr_is_journal() -> bool {
    let Ok(journal) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    let Ok(stat) = nix::sys::stat::fstat(std::io::stderr().as_fd()) else {
        return false;
    };
    journal == format!("{}:{}", stat.st_dev, stat.st_ino)
}

/// sd-daemon(3)
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// The level of a [`priority`]; of those that have one in common, the more telling.
fn level_of(priority: u8) -> Level {
    match priority {
        0..=3 => Level::Error,
        4 => Level::Warn,
        5 | 6 => Level::Info,
        _ => Level::Debug,
    }
}

/// A record, masked, ready to be written down in one of the two formats.
#[derive(Clone)]
struct Event {
    ts: String,
    level: Level,
    msg: Text,
    /// Of dependencies only, and of lss where it helps who debugs.
    target: Option<String>,
    fields: Vec<(String, Field)>,
}

/// A message.
#[derive(Clone)]
enum Text {
    /// lss's own words and nothing else: no secret is in them, whatever they look like.
    Own(String),
    /// With something in it that is known at run time only; masked.
    Mixed(String),
}

impl Text {
    fn text(&self) -> &str {
        match self {
            Self::Own(text) | Self::Mixed(text) => text,
        }
    }
}

#[derive(Clone)]
enum Field {
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Text(String),
}

/// What a part of a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Message,
    Target,
    Field(usize),
}

/// A line, and where in it values stand; what is between them is the frame.
#[derive(Default)]
struct Line {
    text: String,
    values: Vec<(Part, Range<usize>)>,
}

impl Line {
    fn frame(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn value(&mut self, part: Part, text: &str) {
        let from = self.text.len();
        self.text.push_str(text);
        self.values.push((part, from..self.text.len()));
    }
}

impl Event {
    fn of(record: &Record<'_>, at: SystemTime) -> Self {
        let mut fields = Fields(Vec::new());
        // Collecting into a Vec can't fail; a value's own Display might: what came before it stays.
        let _ = record.key_values().visit(&mut fields);
        let target = record.target();
        let own = is_own(target);
        let msg = match record.args().as_str() {
            Some(words) if own => Text::Own(words.to_owned()),
            _ => Text::Mixed(shown_as_it_is(&record.args().to_string(), MAX_TEXT)),
        };
        Self {
            ts: rfc3339(at),
            level: record.level(),
            msg,
            target: (!own || record.level() >= Level::Debug).then(|| shown(target, MAX_TEXT)),
            fields: fields.0,
        }
    }

    /// The finished line. A secret may have been put together from two values: then neither is
    /// shown. The frame stays whatever it is.
    fn line(mut self, look: Look) -> String {
        let mut line = self.written(look);
        let split = self.split_secrets(&line);
        if !split.is_empty() {
            for part in split {
                self.hide(part);
            }
            line = self.written(look);
        }
        line.text
    }

    fn written(&self, look: Look) -> Line {
        let mut line = match look.format {
            LogFormat::Text => self.text(),
            LogFormat::Json => self.json(),
        };
        if look.priorities {
            let mark = format!("<{}>", priority(self.level));
            line.text.insert_str(0, &mark);
            for (_, place) in &mut line.values {
                place.start += mark.len();
                place.end += mark.len();
            }
        }
        line
    }

    /// The values over whose edges a secret reaches. One that lies in the frame is none: somebody's
    /// password is `level`, or `2026`. Within one value all are masked by now.
    fn split_secrets(&self, line: &Line) -> Vec<Part> {
        let mut parts = Vec::new();
        for secret in secret::places(&line.text) {
            let touches =
                |place: &Range<usize>| place.start < secret.end && secret.start < place.end;
            let values: Vec<&(Part, Range<usize>)> = line
                .values
                .iter()
                .filter(|(_, place)| touches(place))
                .collect();
            let tells = match values.as_slice() {
                [] => false,
                [(part, place)] => {
                    let within = place.start <= secret.start && secret.end <= place.end;
                    let own = *part == Part::Message && matches!(self.msg, Text::Own(_));
                    !within && !own
                }
                _ => true,
            };
            if tells {
                parts.extend(values.iter().map(|(part, _)| *part));
            }
        }
        parts
    }

    fn hide(&mut self, part: Part) {
        match part {
            Part::Message => self.msg = Text::Mixed(MASK.to_owned()),
            Part::Target => self.target = Some(MASK.to_owned()),
            Part::Field(at) => {
                if let Some((_, field)) = self.fields.get_mut(at) {
                    *field = Field::Text(MASK.to_owned());
                }
            }
        }
    }

    /// `2026-01-30T10:00:00.000Z INFO  stream started task=task_001 pid=123`
    fn text(&self) -> Line {
        let mut line = Line::default();
        line.frame(&format!("{} {:5} ", self.ts, self.level));
        line.value(Part::Message, &escaped(self.msg.text()));
        for (at, (key, value)) in self.fields.iter().enumerate() {
            line.frame(&format!(" {key}="));
            let value = match value {
                Field::Bool(v) => v.to_string(),
                Field::Signed(v) => v.to_string(),
                Field::Unsigned(v) => v.to_string(),
                Field::Float(v) => v.to_string(),
                Field::Text(v) => quoted(v),
            };
            line.value(Part::Field(at), &value);
        }
        if let Some(target) = &self.target {
            line.frame(" target=");
            line.value(Part::Target, &quoted(target));
        }
        line
    }

    /// One object a line.
    fn json(&self) -> Line {
        let mut line = Line::default();
        let level = self.level;
        line.frame(&format!(
            r#"{{"ts":{},"level":"{level}","msg":"#,
            as_json(&self.ts)
        ));
        line.value(Part::Message, &as_json(self.msg.text()));
        if let Some(target) = &self.target {
            line.frame(r#","target":"#);
            line.value(Part::Target, &as_json(target));
        }
        let mut glue = r#","fields":{"#;
        for (at, (key, value)) in self.fields.iter().enumerate() {
            line.frame(&format!("{glue}{}:", as_json(key)));
            let value = match value {
                Field::Bool(v) => v.to_string(),
                Field::Signed(v) => v.to_string(),
                Field::Unsigned(v) => v.to_string(),
                Field::Float(v) => serde_json::to_string(v).unwrap_or_default(),
                Field::Text(v) => as_json(v),
            };
            line.value(Part::Field(at), &value);
            glue = ",";
        }
        line.frame(if self.fields.is_empty() { "}" } else { "}}" });
        line
    }
}

/// A text in JSON's quotes.
fn as_json(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

/// Whether lss itself logs so.
fn is_own(target: &str) -> bool {
    target
        .strip_prefix(OWN_TARGET)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

struct Fields(Vec<(String, Field)>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), log::kv::Error> {
        // Numbers can't be secret here: what could be (a PIN as password) is a Secret, not a number.
        let field = if let Some(v) = value.to_bool() {
            Field::Bool(v)
        } else if let Some(v) = value.to_u64() {
            Field::Unsigned(v)
        } else if let Some(v) = value.to_i64() {
            Field::Signed(v)
        } else if let Some(v) = value.to_f64().filter(|v| v.is_finite()) {
            Field::Float(v)
        } else {
            Field::Text(shown_as_it_is(&value.to_string(), MAX_TEXT))
        };
        self.0.push((key.as_str().to_owned(), field));
        Ok(())
    }
}

/// Without anything unprintable.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unprintable(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// As it is, or in quotes where the eye would not see its end.
fn quoted(text: &str) -> String {
    let plain = !text.is_empty()
        && !text
            .chars()
            .any(|c| c.is_whitespace() || matches!(c, '"' | '=' | '\\') || is_unprintable(c));
    if plain {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
            out.push(c);
        } else if is_unprintable(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::secret::Secret;
    use std::time::{Duration, UNIX_EPOCH};

    fn event(level: Level, target: &str, message: &str, fields: &[(&str, Value<'_>)]) -> Event {
        let at = UNIX_EPOCH + Duration::from_secs(1_769_767_200);
        Event::of(
            &Record::builder()
                .level(level)
                .target(target)
                .args(format_args!("{message}"))
                .key_values(&fields)
                .build(),
            at,
        )
    }

    fn line(event: &Event, format: LogFormat) -> String {
        event.clone().line(Look {
            format,
            priorities: false,
        })
    }

    fn text(event: &Event) -> String {
        line(event, LogFormat::Text)
    }

    fn json(event: &Event) -> String {
        line(event, LogFormat::Json)
    }

    fn parsed(line: &str) -> serde_json::Value {
        serde_json::from_str(line).unwrap()
    }

    #[test]
    fn the_example_of_the_contract() {
        let event = event(
            Level::Info,
            "lss::application::stream",
            "stream started",
            &[("task", "task_001".into()), ("pid", 123.into())],
        );
        assert_eq!(
            text(&event),
            "2026-01-30T10:00:00.000Z INFO  stream started task=task_001 pid=123"
        );
        assert_eq!(
            json(&event),
            r#"{"ts":"2026-01-30T10:00:00.000Z","level":"INFO","msg":"stream started","fields":{"task":"task_001","pid":123}}"#
        );
    }

    #[test]
    fn one_event_is_one_line() {
        let nasty = "a\nb\r\n\u{1b}[2J\u{2028}\u{202e}\"c\"\\ d=e";
        let event = event(Level::Warn, "lss", nasty, &[("why", nasty.into())]);
        let text = text(&event);
        assert!(!text.chars().any(is_unprintable), "{text}");
        assert!(
            text.contains(r#"why="a\nb\r\n\u{1b}[2J\u{2028}\u{202e}\"c\"\\ d=e""#),
            "{text}"
        );
        let json = json(&event);
        assert!(!json.contains('\n'));
        assert_eq!(parsed(&json)["msg"], nasty);
    }

    #[test]
    fn types_survive_in_json() {
        let event = event(
            Level::Error,
            "ureq::run",
            "m",
            &[
                ("b", true.into()),
                ("i", (-5).into()),
                ("f", 1.5.into()),
                ("nan", f64::NAN.into()),
                ("s", "".into()),
            ],
        );
        let json = parsed(&json(&event));
        assert_eq!(json["fields"]["b"], true);
        assert_eq!(json["fields"]["i"], -5);
        assert_eq!(json["fields"]["f"], 1.5);
        assert_eq!(json["fields"]["nan"], "NaN");
        assert_eq!(json["target"], "ureq::run");
        assert!(text(&event).ends_with(r#"b=true i=-5 f=1.5 nan=NaN s="" target=ureq::run"#));
    }

    #[test]
    fn secrets_are_masked_before_they_are_escaped() {
        // Its escaped form differs from its value: masking the finished line would miss it.
        let password = Secret::new("ca\"na\\ry\n§1");
        let _whip = Secret::url("https://whip.example/canary-path-secret/publish");
        let value = password.expose();
        let message = format!("login {value} at https://whip.example/canary-path-secret/publish");
        let event = event(
            Level::Info,
            "lss",
            &message,
            &[
                ("password", value.into()),
                ("url", "rtsp://u:canary@cam/Streaming/1".into()),
            ],
        );
        for line in [text(&event), json(&event)] {
            assert!(!line.contains("na\\"), "{line}");
            assert!(!line.contains("canary"), "{line}");
            assert!(line.contains("login ***"), "{line}");
        }
        parsed(&json(&event));
    }

    #[test]
    fn masking_never_breaks_json() {
        // Values that reach over what JSON puts between two fields.
        let _a = Secret::new(r#"x","b":"y"#);
        let _b = Secret::new("\\\" tail");
        for (a, b) in [("x", "y"), ("end\"", " tail"), ("\" tail", "")] {
            let event = event(Level::Info, "lss", "m", &[("a", a.into()), ("b", b.into())]);
            let json = json(&event);
            assert!(!json.contains(r#"x","b":"y"#), "{json}");
            parsed(&json);
        }
        // A URL in quotes: its end must not be taken with the quote's escape.
        let event = event(
            Level::Info,
            "lss",
            r#"see "https://h.example/abcde" and "https://h.example/abcdefgh""#,
            &[],
        );
        parsed(&json(&event));
    }

    #[test]
    fn a_secret_of_two_values_hides_both_and_nothing_else() {
        let _keep = [
            Secret::new("half-one two=half-two"),
            Secret::new(r#"half-one","two":"half-two"#),
            Secret::new("message one=half-one"),
        ];
        let fields = [
            ("one", "half-one".into()),
            ("two", "half-two".into()),
            ("n", 7.into()),
        ];
        let event = event(Level::Info, "lss", "some message", &fields);
        assert_eq!(
            text(&event),
            "2026-01-30T10:00:00.000Z INFO  *** one=*** two=*** n=7"
        );
        let object = parsed(&json(&event));
        assert_eq!(object["msg"], "some message");
        assert_eq!(object["fields"]["one"], MASK);
        assert_eq!(object["fields"]["two"], MASK);
        assert_eq!(object["fields"]["n"], 7);
    }

    #[test]
    fn long_texts_are_cut() {
        let event = event(Level::Info, "lss", &"ü".repeat(MAX_TEXT * 2), &[]);
        assert_eq!(event.msg.text().chars().count(), MAX_TEXT + 1);
    }

    #[test]
    fn dependencies_are_quiet_unless_everything_is_asked_for() {
        use LevelFilter as F;
        for (level, target, max, expected) in [
            (Level::Info, "lss::daemon", F::Info, true),
            (Level::Debug, "lss::daemon", F::Info, false),
            (Level::Debug, "lss", F::Debug, true),
            (Level::Debug, "rustls::client", F::Debug, false),
            (Level::Info, "lssomething", F::Debug, false),
            (Level::Warn, "rustls::client", F::Info, true),
            (Level::Warn, "rustls::client", F::Error, false),
            (Level::Debug, "rustls::client", F::Trace, true),
            (Level::Trace, "ureq_proto::util", F::Trace, false),
            (Level::Trace, "lss::daemon", F::Trace, true),
            (Level::Error, "lss", F::Off, false),
        ] {
            assert_eq!(
                wanted(level, target, max),
                expected,
                "{level} {target} {max}"
            );
        }
    }

    #[test]
    fn threads_are_told_apart_by_a_fixed_set_of_names() {
        for (thread, expected) in [
            ("stream", "stream"),
            ("child-17", "child"),
            ("rest-3", "rest"),
            ("rest-gate", "rest-gate"),
            ("camera-192.168.0.64:80/1", "camera"),
            ("camera-wire", "camera-wire"),
            ("ably-token", "ably"),
            ("streamer", "other"),
            ("unnamed", "other"),
        ] {
            assert_eq!(THREADS[kind(thread)], expected, "{thread}");
        }
    }

    #[test]
    fn journal_priorities() {
        assert_eq!(priority(Level::Error), 3);
        assert_eq!(priority(Level::Trace), 7);
    }
}
