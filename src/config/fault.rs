//! What is wrong with a configuration, and where. Never what a value says: values may be secret.

use std::fmt;

/// A file full of nonsense is not worth more lines than this.
pub(super) const MAX_FAULTS: usize = 100;

/// Where a fault or warning stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultPlace {
    /// In the file.
    File {
        /// As the caller named it.
        name: String,
        /// First line = 1. `None` where the fault is about something that is not there.
        line: Option<usize>,
        /// Dotted, e.g. `camera.credentials[1].match`; `None` for the file as a whole.
        key: Option<String>,
    },
    /// In an environment variable.
    Env(&'static str),
    /// In the configuration as a whole.
    Whole,
}

/// One fault or warning: where, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFault {
    /// Where.
    pub place: FaultPlace,
    /// In words an installer understands, to be read behind the key's name.
    pub text: String,
}

impl ConfigFault {
    pub(super) fn new(place: FaultPlace, text: impl Into<String>) -> Self {
        Self {
            place,
            text: text.into(),
        }
    }

    /// Line faults by line, then what has no line, then the environment, then the whole.
    pub(super) fn order(&self) -> (u8, usize) {
        match &self.place {
            FaultPlace::File {
                line: Some(line), ..
            } => (0, *line),
            FaultPlace::File { line: None, .. } => (1, 0),
            FaultPlace::Env(_) => (2, 0),
            FaultPlace::Whole => (3, 0),
        }
    }
}

impl fmt::Display for FaultPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line, key } => {
                f.write_str(name)?;
                if let Some(line) = line {
                    write!(f, ":{line}")?;
                }
                match key {
                    Some(key) => write!(f, ": {key}"),
                    None => Ok(()),
                }
            }
            Self::Env(name) => write!(f, "environment: {name}"),
            Self::Whole => f.write_str("configuration"),
        }
    }
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// A key as it may be shown: a word as it is, anything else (which may be a password that has
/// slipped into a key's place) as a placeholder.
pub(super) fn shown_key(key: &str) -> &str {
    let word = !key.is_empty()
        && key.len() <= 48
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    if word { key } else { "(unreadable key)" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_like_a_compiler_message() {
        let at = |line, key: Option<&str>| FaultPlace::File {
            name: "etc/lss.yaml".into(),
            line,
            key: key.map(Into::into),
        };
        let show = |place| ConfigFault::new(place, "must be a number").to_string();
        assert_eq!(
            show(at(Some(12), Some("server.port"))),
            "etc/lss.yaml:12: server.port: must be a number"
        );
        assert_eq!(
            show(at(None, Some("server.port"))),
            "etc/lss.yaml: server.port: must be a number"
        );
        assert_eq!(show(at(Some(3), None)), "etc/lss.yaml:3: must be a number");
        assert_eq!(
            show(FaultPlace::Env("LSS_MAX_TASKS")),
            "environment: LSS_MAX_TASKS: must be a number"
        );
    }

    #[test]
    fn only_words_are_shown_as_keys() {
        assert_eq!(shown_key("base_url"), "base_url");
        assert_eq!(shown_key("a\nb"), "(unreadable key)");
        assert_eq!(shown_key("p@ss word"), "(unreadable key)");
        assert_eq!(shown_key(""), "(unreadable key)");
    }
}
