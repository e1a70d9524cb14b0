//! Log lines: one event = one line on stderr, as `key=value` text or as JSON, masked twice.
//!
//! env_logger writes; the filter and the two formats are ours. The level is `log`'s own maximum,
//! so [`set_level`] works at run time. Knows no layer.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use log::kv::{Key, Value, VisitSource};
use log::{Level, LevelFilter, Log, Metadata, Record};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::config::{self, LogFormat};
use crate::util::secret::mask;
use crate::util::time::rfc3339;

/// Longest message or value, in characters; what is over is cut, so that no peer fills a disk
/// with one line.
const MAX_TEXT: usize = 4096;

/// What lss itself logs under; everything else is a dependency.
const OWN_TARGET: &str = "lss";

/// Starts logging to stderr. To be called once, before any thread is started.
///
/// # Errors
/// If the process has a logger already.
pub fn init(log: &config::Log) -> Result<(), log::SetLoggerError> {
    let format = log.format;
    let priorities = format == LogFormat::Text && stderr_is_journal();
    let mut builder = env_logger::Builder::new();
    builder
        .filter_level(LevelFilter::Trace)
        .write_style(env_logger::WriteStyle::Never)
        .target(env_logger::Target::Stderr)
        .format(move |out, record| {
            let event = Event::of(record, SystemTime::now());
            let line = match format {
                LogFormat::Text => event.text(),
                LogFormat::Json => event.json(),
            };
            if priorities {
                write!(out, "<{}>", priority(record.level()))?;
            }
            writeln!(out, "{line}")
        });
    log::set_boxed_logger(Box::new(Logger {
        inner: builder.build(),
    }))?;
    set_level(log.level);
    Ok(())
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
            let line = mask(&format!("lss: panic in thread {thread} at {at}: {words}"));
            let _ = writeln!(std::io::stderr(), "{}", escaped(&line));
        }
    }));
}

/// The names of lss's threads, without the number or address that some end in; the last one is for
/// every other.
const THREADS: [&str; 22] = [
    "main",
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
        self.inner.flush();
    }
}

/// Dependencies speak from WARN up, and from DEBUG up when everything is asked for. Never at TRACE:
/// there HTTP clients dump what goes over the wire in pieces, tokens included, which no masking by
/// value can find.
fn wanted(level: Level, target: &str, max: LevelFilter) -> bool {
    let own = target
        .strip_prefix(OWN_TARGET)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
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

/// A record, masked, ready to be written down in one of the two formats.
#[derive(Serialize)]
struct Event {
    ts: String,
    level: &'static str,
    msg: String,
    /// Of dependencies only, and of lss where it helps who debugs.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(serialize_with = "as_map", skip_serializing_if = "Vec::is_empty")]
    fields: Vec<(String, Field)>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Field {
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Text(String),
}

impl Event {
    fn of(record: &Record<'_>, at: SystemTime) -> Self {
        let mut fields = Fields(Vec::new());
        // Collecting into a Vec can't fail; a value's own Display might: what came before it stays.
        let _ = record.key_values().visit(&mut fields);
        let own = record.target().starts_with(OWN_TARGET);
        Self {
            ts: rfc3339(at),
            level: record.level().as_str(),
            msg: shown(&record.args().to_string()),
            target: (!own || record.level() >= Level::Debug).then(|| shown(record.target())),
            fields: fields.0,
        }
    }

    /// `2026-01-30T10:00:00.000Z INFO  stream started task=task_001 pid=123`
    fn text(&self) -> String {
        let mut line = format!("{} {:5} {}", self.ts, self.level, escaped(&self.msg));
        for (key, value) in &self.fields {
            // Writing to a String can't fail.
            let _ = match value {
                Field::Bool(v) => write!(line, " {key}={v}"),
                Field::Signed(v) => write!(line, " {key}={v}"),
                Field::Unsigned(v) => write!(line, " {key}={v}"),
                Field::Float(v) => write!(line, " {key}={v}"),
                Field::Text(v) => write!(line, " {key}={}", quoted(v)),
            };
        }
        if let Some(target) = &self.target {
            let _ = write!(line, " target={}", quoted(target));
        }
        // Once more over the whole: a secret may have been put together from two fields.
        mask(&line)
    }

    /// One object a line.
    fn json(&self) -> String {
        let line = serde_json::to_string(self).unwrap_or_default();
        let masked = mask(&line);
        // Masking over the quotes of two fields could leave no JSON behind; then nothing of the
        // event is shown but that there was one.
        if masked == line || serde_json::from_str::<serde::de::IgnoredAny>(&masked).is_ok() {
            return masked;
        }
        let bare = Self {
            ts: self.ts.clone(),
            level: self.level,
            msg: "(an event that held a secret)".to_owned(),
            target: None,
            fields: Vec::new(),
        };
        serde_json::to_string(&bare).unwrap_or_default()
    }
}

fn as_map<S: Serializer>(fields: &[(String, Field)], to: S) -> Result<S::Ok, S::Error> {
    let mut map = to.serialize_map(Some(fields.len()))?;
    for (key, value) in fields {
        map.serialize_entry(key, value)?;
    }
    map.end()
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
            Field::Text(shown(&value.to_string()))
        };
        self.0.push((key.as_str().to_owned(), field));
        Ok(())
    }
}

/// Masked, and cut to a bearable length.
fn shown(text: &str) -> String {
    let mut masked = mask(text);
    if let Some((at, _)) = masked.char_indices().nth(MAX_TEXT) {
        masked.truncate(at);
        masked.push('…');
    }
    masked
}

/// Characters that would end a line, move the cursor, or turn the reading direction.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
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
            event.text(),
            "2026-01-30T10:00:00.000Z INFO  stream started task=task_001 pid=123"
        );
        assert_eq!(
            event.json(),
            r#"{"ts":"2026-01-30T10:00:00.000Z","level":"INFO","msg":"stream started","fields":{"task":"task_001","pid":123}}"#
        );
    }

    #[test]
    fn one_event_is_one_line() {
        let nasty = "a\nb\r\n\u{1b}[2J\u{2028}\u{202e}\"c\"\\ d=e";
        let event = event(Level::Warn, "lss", nasty, &[("why", nasty.into())]);
        let text = event.text();
        assert!(!text.chars().any(is_unprintable), "{text}");
        assert!(
            text.contains(r#"why="a\nb\r\n\u{1b}[2J\u{2028}\u{202e}\"c\"\\ d=e""#),
            "{text}"
        );
        let json = event.json();
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
        let json = parsed(&event.json());
        assert_eq!(json["fields"]["b"], true);
        assert_eq!(json["fields"]["i"], -5);
        assert_eq!(json["fields"]["f"], 1.5);
        assert_eq!(json["fields"]["nan"], "NaN");
        assert_eq!(json["target"], "ureq::run");
        assert!(
            event
                .text()
                .ends_with(r#"b=true i=-5 f=1.5 nan=NaN s="" target=ureq::run"#)
        );
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
        for line in [event.text(), event.json()] {
            assert!(!line.contains("na\\"), "{line}");
            assert!(!line.contains("canary"), "{line}");
            assert!(line.contains("login ***"), "{line}");
        }
        parsed(&event.json());
    }

    #[test]
    fn masking_never_breaks_json() {
        // Values that reach over what JSON puts between two fields.
        let _a = Secret::new(r#"x","b":"y"#);
        let _b = Secret::new("\\\" tail");
        for (a, b) in [("x", "y"), ("end\"", " tail"), ("\" tail", "")] {
            let json = event(Level::Info, "lss", "m", &[("a", a.into()), ("b", b.into())]).json();
            assert!(!json.contains(r#"x","b":"y"#), "{json}");
            parsed(&json);
        }
        // A URL in quotes: its end must not be taken with the quote's escape.
        let json = event(
            Level::Info,
            "lss",
            r#"see "https://h.example/abcde" and "https://h.example/abcdefgh""#,
            &[],
        )
        .json();
        parsed(&json);
    }

    #[test]
    fn long_texts_are_cut() {
        let event = event(Level::Info, "lss", &"ü".repeat(MAX_TEXT * 2), &[]);
        assert_eq!(event.msg.chars().count(), MAX_TEXT + 1);
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
