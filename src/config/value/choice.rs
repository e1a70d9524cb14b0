//! Keys that take one of a few words, and those words.

use super::Wrong;
use crate::config::{CertificateCheck, EngineChoice, LogFormat, Mode, Passthrough};

/// One of a few words, in any case.
fn choice<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, Wrong> {
    words
        .iter()
        .find(|(word, _)| word.eq_ignore_ascii_case(text))
        .map(|&(_, value)| value)
        .ok_or_else(|| {
            let names: Vec<&str> = words.iter().map(|&(word, _)| word).collect();
            match names.split_last() {
                Some((last, rest)) if !rest.is_empty() => {
                    format!("must be {} or {last}", rest.join(", "))
                }
                _ => "has no right value".to_owned(),
            }
        })
}

pub(in crate::config) const MODES: [(&str, Mode); 2] =
    [("cloud", Mode::Cloud), ("standalone", Mode::Standalone)];
pub(in crate::config) const PASSTHROUGHS: [(&str, Passthrough); 3] = [
    ("never", Passthrough::Never),
    ("auto", Passthrough::Auto),
    ("prefer", Passthrough::Prefer),
];
pub(in crate::config) const ENGINES: [(&str, EngineChoice); 2] = [
    ("auto", EngineChoice::Auto),
    ("ffmpeg", EngineChoice::Ffmpeg),
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

pub(in crate::config) fn mode(text: &str) -> Result<Mode, Wrong> {
    choice(text, &MODES)
}

pub(in crate::config) fn passthrough(text: &str) -> Result<Passthrough, Wrong> {
    choice(text, &PASSTHROUGHS)
}

/// `relay` is a word of the contract: refused with the reason, because with nothing else to carry a
/// stream it would be a key that is accepted and ignored.
pub(in crate::config) fn engine(text: &str) -> Result<EngineChoice, Wrong> {
    if text.eq_ignore_ascii_case("relay") {
        return Err("must be auto or ffmpeg: this version of lss has no relay".into());
    }
    choice(text, &ENGINES)
}

pub(in crate::config) fn certificate_check(text: &str) -> Result<CertificateCheck, Wrong> {
    choice(text, &CERTIFICATE_CHECKS)
}

pub(in crate::config) fn log_format(text: &str) -> Result<LogFormat, Wrong> {
    choice(text, &FORMATS)
}

pub(in crate::config) fn log_level(text: &str) -> Result<log::LevelFilter, Wrong> {
    choice(text, &LEVELS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_name_what_there_is() {
        assert_eq!(mode("Standalone"), Ok(Mode::Standalone));
        assert_eq!(
            passthrough("maybe"),
            Err("must be never, auto or prefer".into())
        );
        assert_eq!(log_format("x"), Err("must be text or json".into()));
        assert_eq!(word(&ENGINES, &EngineChoice::Ffmpeg), "ffmpeg");
        assert_eq!(engine("x"), Err("must be auto or ffmpeg".into()));
        for word in ["relay", "Relay"] {
            let wrong = engine(word).unwrap_err();
            assert!(wrong.contains("has no relay"), "{wrong}");
        }
    }
}
