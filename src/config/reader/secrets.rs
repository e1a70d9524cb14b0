//! Keys with secrets, and files that keys name.

use std::path::{Path, PathBuf};

use super::section::{Field, Section};
use super::{MAX_ENTRIES, Reader};
use crate::config::FileText;
use crate::config::fault::FaultPlace;
use crate::config::tree::Value;
use crate::config::value::{self, Wrong};
use crate::util::secret::Secret;

/// Most bytes of a token or password file.
const MAX_SECRET_FILE: usize = 4096;

/// Most bytes of a certificate file: the whole of Mozilla's list has a quarter of it.
const MAX_CA_FILE: usize = 1024 * 1024;

impl<'a> Reader<'a> {
    /// The file holds a secret that was not read with [`Self::secret`].
    pub fn note_secret(&mut self) {
        self.secret_in_file = true;
    }

    /// A secret key. `''` = none.
    pub fn secret(
        &mut self,
        section: &Section<'a>,
        key: &'static str,
        env: Option<&'static str>,
        make: fn(String) -> Secret,
        check: impl Fn(&str) -> Result<(), Wrong>,
    ) -> Field<Option<Secret>> {
        let field = self.read(section, key, env, None, |text| {
            if text.is_empty() {
                return Ok(None);
            }
            check(text)?;
            Ok(Some(make(text.to_owned())))
        });
        if field.value.is_some() && matches!(field.place, FaultPlace::File { .. }) {
            self.secret_in_file = true;
        }
        field
    }

    /// A key that names a file with a secret in it, read and trimmed. `''` = none.
    pub fn secret_file(
        &mut self,
        section: &Section<'a>,
        key: &'static str,
        check: impl Fn(&str) -> Result<(), Wrong>,
    ) -> Field<Option<Secret>> {
        let path = self.read(section, key, None, None, value::optional(value::text));
        let mut field = Field {
            value: None,
            place: path.place,
            given: path.given,
            sound: path.sound,
        };
        let Some(path) = path.value else {
            return field;
        };
        match self.file(&path, MAX_SECRET_FILE) {
            Ok(file) => {
                if file.world_readable {
                    self.warn(
                        &field.place,
                        "names a file that every user of this machine can read: chmod 640 it",
                    );
                }
                let checked = match std::str::from_utf8(&file.bytes).map(str::trim) {
                    Err(_) => Err("is not UTF-8 text".to_owned()),
                    Ok("") => Err("is empty".to_owned()),
                    Ok(text) => check(text).map(|()| Secret::new(text)),
                };
                match checked {
                    Ok(secret) => field.value = Some(secret),
                    Err(wrong) => {
                        field.sound = false;
                        self.fault(&field.place, format!("the file's content {wrong}"));
                    }
                }
            }
            Err(wrong) => {
                field.sound = false;
                self.fault(&field.place, wrong);
            }
        }
        field
    }

    /// A key that names a file of PEM certificates. `''` = none.
    pub fn ca_file(&mut self, section: &Section<'a>, key: &'static str) -> Option<PathBuf> {
        let path = self.read(section, key, None, None, value::optional(value::text));
        let text = path.value?;
        match self.file(&text, MAX_CA_FILE) {
            Ok(file) => {
                let marker: &[u8] = b"-----BEGIN CERTIFICATE-----";
                if !file.bytes.windows(marker.len()).any(|w| w == marker) {
                    self.fault(
                        &path.place,
                        "names a file without a certificate in PEM form (-----BEGIN CERTIFICATE-----)",
                    );
                }
            }
            Err(wrong) => self.fault(&path.place, wrong),
        }
        Some(self.resolved(&text))
    }

    fn file(&self, path: &str, max: usize) -> Result<FileText, Wrong> {
        (self.input.files)(&self.resolved(path), max)
            .map_err(|wrong| format!("names a file that {wrong}"))
    }

    /// A relative path counts from the configuration file's directory.
    fn resolved(&self, path: &str) -> PathBuf {
        match self.input.file.as_ref().map(|f| Path::new(f.name).parent()) {
            Some(Some(dir)) => dir.join(path),
            _ => PathBuf::from(path),
        }
    }

    /// A mapping whose keys are the installer's own: name → secret.
    pub fn secrets_by_name(
        &mut self,
        section: &Section<'a>,
        key: &'static str,
        name_ok: impl Fn(&str) -> bool,
        check: impl Fn(&str) -> Result<(), Wrong>,
    ) -> Vec<(String, Secret)> {
        let Some((entry, path)) = self.find(section, key) else {
            return Vec::new();
        };
        let entries = match &entry.node.value {
            Value::Null => return Vec::new(),
            Value::Map(entries) => entries,
            Value::Scalar(_) | Value::List(_) => {
                let place = self.at(entry, &path);
                self.fault(&place, "must hold names with values, indented below it");
                return Vec::new();
            }
        };
        self.limit(entry, &path, entries.len());
        let mut out = Vec::new();
        for (index, entry) in entries.iter().take(MAX_ENTRIES).enumerate() {
            // By position: where a comma has slipped in, the secret stands in the name's place.
            let place = self.at(entry, &format!("{path}[{index}]"));
            let Value::Scalar(text) = &entry.node.value else {
                self.fault(&place, "must have one value");
                continue;
            };
            if !name_ok(&entry.key) {
                self.fault(&place, "is not a name that can be set here");
                continue;
            }
            match check(text) {
                Ok(()) => {
                    self.secret_in_file = true;
                    out.push((entry.key.clone(), Secret::header(text.clone())));
                }
                Err(wrong) => self.fault(&place, wrong),
            }
        }
        out
    }
}
