//! Keys that take one of a few words, and those words.

use super::Wrong;

/// With the cloud, or alone (contract 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// RCS and Ably.
    Cloud,
    /// Local REST only.
    Standalone,
}

/// Whether unchanged video is preferred (contract 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passthrough {
    /// As asked.
    Never,
    /// Unchanged when nothing in particular is asked and the source fits.
    Auto,
    /// Unchanged whenever WHIP can carry the source.
    Prefer,
}

/// Which engine carries tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineChoice {
    /// By task.
    Auto,
    /// Always FFmpeg.
    Ffmpeg,
    /// Never FFmpeg's own sender.
    Relay,
}

/// What an HTTPS camera's certificate has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateCheck {
    /// The one that was seen first.
    Pin,
    /// Good by this machine's authorities.
    Verify,
    /// Any.
    Any,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// key=value
    Text,
    /// One JSON object a line.
    Json,
}

/// The words of a table, as a sentence names them.
pub(in crate::config) fn names<T>(words: &[(&str, T)]) -> String {
    let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => names.concat(),
    }
}

/// One of a few words, in any case.
pub(in crate::config) fn choice<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, Wrong> {
    words
        .iter()
        .find(|(word, _)| word.eq_ignore_ascii_case(text))
        .map(|&(_, value)| value)
        .ok_or_else(|| format!("must be {}", names(words)))
}

pub(in crate::config) const MODES: [(&str, Mode); 2] =
    [("cloud", Mode::Cloud), ("standalone", Mode::Standalone)];
pub(in crate::config) const PASSTHROUGHS: [(&str, Passthrough); 3] = [
    ("never", Passthrough::Never),
    ("auto", Passthrough::Auto),
    ("prefer", Passthrough::Prefer),
];
pub(in crate::config) const ENGINES: [(&str, EngineChoice); 3] = [
    ("auto", EngineChoice::Auto),
    ("ffmpeg", EngineChoice::Ffmpeg),
    ("relay", EngineChoice::Relay),
];
pub(in crate::config) const CERTIFICATE_CHECKS: [(&str, CertificateCheck); 3] = [
    ("pin", CertificateCheck::Pin),
    ("verify", CertificateCheck::Verify),
    ("any", CertificateCheck::Any),
];
pub(in crate::config) const FORMATS: [(&str, LogFormat); 2] =
    [("text", LogFormat::Text), ("json", LogFormat::Json)];
pub(in crate::config) const LEVELS: [(&str, log::LevelFilter); 6] = [
    ("error", log::LevelFilter::Error),
    ("warn", log::LevelFilter::Warn),
    ("info", log::LevelFilter::Info),
    ("debug", log::LevelFilter::Debug),
    ("trace", log::LevelFilter::Trace),
    ("off", log::LevelFilter::Off),
];

/// The word of a value. Every value is in its table.
pub(in crate::config) fn word<T: PartialEq>(
    words: &'static [(&'static str, T)],
    value: &T,
) -> &'static str {
    words
        .iter()
        .find(|(_, v)| v == value)
        .map_or("", |&(word, _)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_name_what_there_is() {
        assert_eq!(choice("Standalone", &MODES), Ok(Mode::Standalone));
        assert_eq!(
            choice("maybe", &PASSTHROUGHS),
            Err("must be never, auto or prefer".into())
        );
        assert_eq!(choice("x", &FORMATS), Err("must be text or json".into()));
        assert_eq!(word(&ENGINES, &EngineChoice::Ffmpeg), "ffmpeg");
        assert_eq!(
            choice("x", &ENGINES),
            Err("must be auto, ffmpeg or relay".into())
        );
        assert_eq!(choice("Relay", &ENGINES), Ok(EngineChoice::Relay));
    }
}
