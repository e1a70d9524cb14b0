//! How values are shown in YAML again, for `check-config` and the documents: secrets masked.

use std::fmt::{Display, Write as _};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::value::{self, shown_duration, word};
use super::{CertificateCheck, EngineChoice, LogFormat, Mode, Passthrough};
use crate::util::secret::{MASK, Secret};

/// How a value is shown: its type says it, so that no secret can be shown by a slip.
pub(super) trait Shown {
    /// In the file's notation, on one line.
    fn shown(&self) -> String;

    /// Whether it says anything.
    fn is_set(&self) -> bool {
        true
    }

    /// With its key. What has more than one line writes it itself.
    fn write(&self, key: &str, yaml: &mut Yaml) {
        yaml.line(key, self.shown());
    }
}

/// Texts stand in single quotes always: no text is then taken for a number, a word or a mark.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Numbers and words of ours, as they are.
macro_rules! plain {
    ($($type:ty: $value:ident => $shown:expr;)+) => {
        $(impl Shown for $type {
            fn shown(&self) -> String {
                let $value = self;
                $shown.to_string()
            }
        })+
    };
}

plain! {
    bool: value => value;
    u16: value => value;
    usize: value => value;
    i64: value => value;
    Duration: value => shown_duration(*value);
    String: value => quoted(value);
    PathBuf: value => quoted(&value.to_string_lossy());
    IpAddr: value => quoted(&value.to_string());
    Secret: value => quoted(if value.is_empty() { "" } else { MASK });
    Mode: value => word(&value::MODES, value);
    Passthrough: value => word(&value::PASSTHROUGHS, value);
    CertificateCheck: value => word(&value::CERTIFICATE_CHECKS, value);
    EngineChoice: value => word(&value::ENGINES, value);
    LogFormat: value => word(&value::FORMATS, value);
    log::LevelFilter: value => word(&value::LEVELS, value);
}

impl<T: Shown> Shown for Option<T> {
    fn shown(&self) -> String {
        self.as_ref().map_or_else(|| quoted(""), Shown::shown)
    }

    fn is_set(&self) -> bool {
        self.is_some()
    }
}

impl Shown for Vec<String> {
    fn shown(&self) -> String {
        let items: Vec<String> = self.iter().map(|item| quoted(item)).collect();
        format!("[{}]", items.join(", "))
    }
}

/// Names of the installer's own, each with a secret.
impl Shown for Vec<(String, Secret)> {
    fn shown(&self) -> String {
        "{}".to_owned()
    }

    fn write(&self, key: &str, yaml: &mut Yaml) {
        if self.is_empty() {
            return yaml.line(key, self.shown());
        }
        yaml.line(key, "");
        yaml.depth += 1;
        for (name, value) in self {
            yaml.line(&quoted(name), value.shown());
        }
        yaml.depth -= 1;
    }
}

/// Block-style YAML. Writing to a String can't fail.
#[derive(Default)]
pub(super) struct Yaml {
    pub(super) out: String,
    /// The section that is open.
    path: Vec<String>,
    depth: usize,
    /// Inside a list's entry: what is not set is left out.
    in_entry: bool,
    /// The next line begins an entry.
    begins: bool,
}

impl Yaml {
    /// One key of the section that is open.
    pub(super) fn key(&mut self, key: &str, value: &impl Shown) {
        if value.is_set() || !self.in_entry {
            value.write(key, self);
        }
    }

    /// Opens a section, `a.b.`, and closes those it is not in.
    pub(super) fn section(&mut self, path: &str) {
        let names: Vec<&str> = path.split_terminator('.').collect();
        let shared = names.iter().zip(&self.path).take_while(|(a, b)| a == b);
        let shared = shared.count();
        self.path.truncate(shared);
        for name in names.into_iter().skip(shared) {
            self.depth = self.path.len();
            self.line(name, "");
            self.path.push(name.to_owned());
        }
        self.depth = self.path.len();
    }

    /// A list of sections, below its key.
    pub(super) fn entries<T>(&mut self, key: &str, entries: &[T], show: impl Fn(&T, &mut Self)) {
        self.line(key, "");
        self.depth += 1;
        for entry in entries {
            self.entry(|yaml| show(entry, yaml));
        }
        self.depth -= 1;
    }

    fn entry(&mut self, show: impl FnOnce(&mut Self)) {
        self.depth += 1;
        (self.in_entry, self.begins) = (true, true);
        show(self);
        (self.in_entry, self.begins) = (false, false);
        self.depth -= 1;
    }

    pub(super) fn line(&mut self, key: &str, value: impl Display) {
        let indent = self.depth * 2;
        let value = value.to_string();
        let gap = if value.is_empty() { "" } else { " " };
        let _ = if std::mem::take(&mut self.begins) {
            let indent = indent.saturating_sub(2);
            writeln!(self.out, "{:indent$}- {key}:{gap}{value}", "")
        } else {
            writeln!(self.out, "{:indent$}{key}:{gap}{value}", "")
        };
    }
}
