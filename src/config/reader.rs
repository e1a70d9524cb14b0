//! Typed reading of the tree: every value comes with its place, every fault is collected, every
//! key asked for is a known key.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::fault::{ConfigFault, MAX_FAULTS, Place, shown_key};
use super::suggest;
use super::tree::{Entry, Node, Value};
use super::value::Wrong;
use super::{FileText, Input, UnknownKeys};
use crate::util::secret::Secret;

/// Most entries of any list: no site has more cameras behind one gateway.
const MAX_ENTRIES: usize = 1024;

/// Most bytes of a token or password file.
const MAX_SECRET_FILE: usize = 4096;

/// Most bytes of a certificate file: the whole of Mozilla's list has a quarter of it.
const MAX_CA_FILE: usize = 1024 * 1024;

/// A text as given, and where. No `Debug`: it may be secret.
pub(super) struct Given {
    pub text: String,
    pub place: Place,
}

/// What a key came to.
pub(super) struct Field<T> {
    /// As given, or the default.
    pub value: T,
    /// Where it stands, or would stand.
    pub place: Place,
    /// Whether somebody set it.
    pub given: bool,
    /// Whether what was set could be taken; `true` for a default.
    pub sound: bool,
}

/// A mapping of keys; more than one where a section may be written in two places.
#[derive(Clone)]
pub(super) struct Section<'a> {
    /// Without list positions: `camera.credentials[]`.
    canonical: String,
    /// With them: `camera.credentials[1]`.
    shown: String,
    /// Dotted path as written, and the keys there.
    places: Vec<(String, &'a [Entry])>,
    /// Line of a list's item.
    line: Option<usize>,
}

impl Section<'_> {
    /// Where this section stands, or would stand.
    fn place_of(&self, name: &str, key: &str) -> Place {
        Place::File {
            name: name.to_owned(),
            line: self.line,
            key: Some(join(&self.shown, key)),
        }
    }
}

fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() {
        key.to_owned()
    } else {
        format!("{prefix}.{key}")
    }
}

pub(super) struct Reader<'a> {
    input: &'a Input<'a>,
    name: &'a str,
    pub faults: Vec<ConfigFault>,
    pub warnings: Vec<ConfigFault>,
    /// Canonical dotted keys that were asked for.
    pub known: BTreeSet<String>,
    sections: Vec<Section<'a>>,
    /// Environment variables that were used.
    pub env_used: Vec<&'static str>,
    secret_in_file: bool,
}

impl<'a> Reader<'a> {
    pub fn new(input: &'a Input<'a>) -> Self {
        Self {
            input,
            name: input
                .file
                .as_ref()
                .map_or("configuration", |file| file.name),
            faults: Vec::new(),
            warnings: Vec::new(),
            known: BTreeSet::new(),
            sections: Vec::new(),
            env_used: Vec::new(),
            secret_in_file: false,
        }
    }

    /// As faults name the file.
    pub fn file_name(&self) -> &'a str {
        self.name
    }

    /// The file holds a secret that was not read with [`Self::secret`].
    pub fn note_secret(&mut self) {
        self.secret_in_file = true;
    }

    pub fn fault(&mut self, place: &Place, text: impl Into<String>) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(ConfigFault::new(place.clone(), text));
        } else if self.faults.len() == MAX_FAULTS {
            self.faults.push(ConfigFault::new(
                Place::Whole,
                "has more faults than are worth listing: put these right first",
            ));
        }
    }

    pub fn warn(&mut self, place: &Place, text: impl Into<String>) {
        if self.warnings.len() < MAX_FAULTS {
            self.warnings.push(ConfigFault::new(place.clone(), text));
        }
    }

    /// The top of the file.
    pub fn root(&mut self, entries: &'a [Entry]) -> Section<'a> {
        let section = Section {
            canonical: String::new(),
            shown: String::new(),
            places: vec![(String::new(), entries)],
            line: None,
        };
        self.sections.push(section.clone());
        section
    }

    /// A section. `also` is a second spelling: the same name in another section.
    pub fn section(
        &mut self,
        parent: &Section<'a>,
        name: &str,
        also: Option<&Section<'a>>,
    ) -> Section<'a> {
        let mut places = Vec::new();
        for parent in std::iter::once(parent).chain(also) {
            self.known.insert(join(&parent.canonical, name));
            for (prefix, entries) in &parent.places {
                for entry in entries.iter().filter(|e| e.key == name) {
                    let path = join(prefix, name);
                    match &entry.node.value {
                        Value::Map(entries) => places.push((path, entries.as_slice())),
                        Value::Null => {}
                        Value::Scalar(_) | Value::List(_) => {
                            let place = self.at(entry, &path);
                            self.fault(&place, "must hold keys of its own, indented below it");
                        }
                    }
                }
            }
        }
        let section = Section {
            canonical: join(&parent.canonical, name),
            shown: join(&parent.shown, name),
            places,
            line: parent.line,
        };
        self.sections.push(section.clone());
        section
    }

    /// A list of mappings; empty where the key is not set.
    pub fn items(&mut self, parent: &Section<'a>, name: &'static str) -> Vec<Section<'a>> {
        let canonical = format!("{}[]", join(&parent.canonical, name));
        let Some((entry, path)) = self.find(parent, name) else {
            // Known, though nobody has written one.
            return Vec::new();
        };
        let nodes = match &entry.node.value {
            Value::Null => return Vec::new(),
            Value::List(nodes) => nodes,
            Value::Scalar(_) | Value::Map(_) => {
                let place = self.at(entry, &path);
                self.fault(&place, "must be a list: each entry begins with `- `");
                return Vec::new();
            }
        };
        self.limit(entry, &path, nodes.len());
        let mut items = Vec::new();
        for (index, node) in nodes.iter().take(MAX_ENTRIES).enumerate() {
            let shown = format!("{path}[{index}]");
            match &node.value {
                Value::Map(entries) => {
                    let section = Section {
                        canonical: canonical.clone(),
                        places: vec![(shown.clone(), entries.as_slice())],
                        shown,
                        line: Some(node.line),
                    };
                    self.sections.push(section.clone());
                    items.push(section);
                }
                Value::Null | Value::Scalar(_) | Value::List(_) => {
                    let place = self.at_line(node.line, &shown);
                    self.fault(&place, "must hold keys of its own");
                }
            }
        }
        items
    }

    fn limit(&mut self, entry: &Entry, path: &str, entries: usize) {
        if entries > MAX_ENTRIES {
            let place = self.at(entry, path);
            self.fault(&place, format!("has more than {MAX_ENTRIES} entries"));
        }
    }

    /// Takes the keys of a list's items for known even where there is no item.
    pub fn knows(&mut self, canonical: &str) {
        self.known.insert(canonical.to_owned());
    }

    fn at(&self, entry: &Entry, path: &str) -> Place {
        // A value that stands on lines below its key is pointed at by its key's line only where
        // there is nothing to point at.
        let line = match entry.node.value {
            Value::Null => entry.line,
            _ => entry.node.line.max(entry.line),
        };
        self.at_line(line, path)
    }

    fn at_line(&self, line: usize, path: &str) -> Place {
        Place::File {
            name: self.name.to_owned(),
            line: Some(line),
            key: Some(path.to_owned()),
        }
    }

    /// The entry of a key with its path as written. A key of a section that may stand in two
    /// places, set in both, is a fault.
    fn find(&mut self, section: &Section<'a>, key: &str) -> Option<(&'a Entry, String)> {
        self.known.insert(join(&section.canonical, key));
        let mut hits = section.places.iter().flat_map(|(prefix, entries)| {
            entries
                .iter()
                .filter(|e| e.key == key)
                .map(move |e| (e, join(prefix, key)))
        });
        let first = hits.next()?;
        if let Some((second, path)) = hits.next() {
            let place = self.at_line(second.line, &path);
            let (entry, other) = &first;
            self.fault(
                &place,
                format!(
                    "is also set as {other} on line {}: take one out",
                    entry.line
                ),
            );
        }
        Some(first)
    }

    /// An environment variable that says something. Blank counts as unset, for environment files
    /// ship with blank lines to fill in.
    pub fn env(&mut self, name: &'static str) -> Option<Given> {
        let text = (self.input.env)(name)?;
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        if !self.env_used.contains(&name) {
            self.env_used.push(name);
        }
        Some(Given {
            text: text.to_owned(),
            place: Place::Env(name),
        })
    }

    /// The text of a key, from the environment if it is set there, else from the file.
    pub fn scalar(
        &mut self,
        section: &Section<'a>,
        key: &'static str,
        env: Option<&'static str>,
    ) -> Result<Option<Given>, Place> {
        let found = self.find(section, key);
        if let Some(given) = env.and_then(|name| self.env(name)) {
            return Ok(Some(given));
        }
        let Some((entry, path)) = found else {
            return Ok(None);
        };
        match &entry.node.value {
            Value::Null => Ok(None),
            Value::Scalar(text) => Ok(Some(Given {
                text: text.clone(),
                place: self.at(entry, &path),
            })),
            Value::List(_) | Value::Map(_) => {
                let place = self.at(entry, &path);
                self.fault(&place, "must be one value");
                Err(place)
            }
        }
    }

    /// A key of any type.
    pub fn read<T>(
        &mut self,
        section: &Section<'a>,
        key: &'static str,
        env: Option<&'static str>,
        default: T,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Field<T> {
        match self.scalar(section, key, env) {
            Ok(None) => Field {
                value: default,
                place: section.place_of(self.name, key),
                given: false,
                sound: true,
            },
            Ok(Some(given)) => match parse(&given.text) {
                Ok(value) => Field {
                    value,
                    place: given.place,
                    given: true,
                    sound: true,
                },
                Err(wrong) => {
                    self.fault(&given.place, wrong);
                    Field {
                        value: default,
                        place: given.place,
                        given: true,
                        sound: false,
                    }
                }
            },
            Err(place) => Field {
                value: default,
                place,
                given: true,
                sound: false,
            },
        }
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
        if field.value.is_some() && matches!(field.place, Place::File { .. }) {
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
        let path = self.read(
            section,
            key,
            None,
            None,
            super::value::optional(super::value::text),
        );
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
        let path = self.read(
            section,
            key,
            None,
            None,
            super::value::optional(super::value::text),
        );
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

    /// A list of scalars, or one scalar in its place. `None` where the key is not set.
    pub fn list(&mut self, section: &Section<'a>, key: &'static str) -> Option<Vec<Given>> {
        let (entry, path) = self.find(section, key)?;
        match &entry.node.value {
            Value::Null => None,
            Value::Scalar(text) if text.is_empty() => Some(Vec::new()),
            Value::Scalar(text) => Some(vec![Given {
                text: text.clone(),
                place: self.at(entry, &path),
            }]),
            Value::List(nodes) => {
                self.limit(entry, &path, nodes.len());
                let mut out = Vec::new();
                for (index, Node { value, line }) in nodes.iter().take(MAX_ENTRIES).enumerate() {
                    let place = self.at_line(*line, &format!("{path}[{index}]"));
                    match value {
                        Value::Scalar(text) => out.push(Given {
                            text: text.clone(),
                            place,
                        }),
                        _ => self.fault(&place, "must be one value"),
                    }
                }
                Some(out)
            }
            Value::Map(_) => {
                let place = self.at(entry, &path);
                self.fault(&place, "must be a list");
                None
            }
        }
    }

    /// A list of values of one type; bad ones are left out.
    pub fn read_list<T>(
        &mut self,
        section: &Section<'a>,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Vec<T> {
        let mut out = Vec::new();
        for given in self.list(section, key).unwrap_or_default() {
            match parse(&given.text) {
                Ok(value) => out.push(value),
                Err(wrong) => self.fault(&given.place, wrong),
            }
        }
        out
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
                    out.push((entry.key.clone(), Secret::new(text.clone())));
                }
                Err(wrong) => self.fault(&place, wrong),
            }
        }
        out
    }

    /// Reports every key that nobody asked for, and a file of secrets that is open to all. To be
    /// called last.
    pub fn finish(&mut self) {
        let all = self.sections.iter().flat_map(|section| {
            let places = section.places.iter();
            places.flat_map(move |(prefix, entries)| {
                entries.iter().map(move |entry| (section, prefix, entry))
            })
        });
        let unknown: Vec<(Place, String)> = all
            .filter(|(section, _, entry)| {
                !self.known.contains(&join(&section.canonical, &entry.key))
            })
            .take(MAX_FAULTS + 1)
            .map(|(section, prefix, entry)| {
                let (key, text) = self.unknown(section, entry);
                (self.at_line(entry.line, &join(prefix, key)), text)
            })
            .collect();
        for (place, text) in unknown {
            match self.input.unknown_keys {
                UnknownKeys::Fault => self.fault(&place, text),
                UnknownKeys::Warn => self.warn(&place, text),
            }
        }
        let open = self.input.file.as_ref().is_some_and(|f| f.world_readable);
        if open && self.secret_in_file {
            let place = Place::File {
                name: self.name.to_owned(),
                line: None,
                key: None,
            };
            self.warn(
                &place,
                "holds secrets and every user of this machine can read it: chmod 640 it",
            );
        }
        self.warnings.sort_by_key(ConfigFault::order);
    }

    /// How to name an unknown key, and what to say of it.
    fn unknown<'e>(&self, section: &Section<'_>, entry: &'e Entry) -> (&'e str, String) {
        let key = entry.key.as_str();
        let prefix = join(&section.canonical, "");
        let here = self.known.iter().filter_map(|known| {
            let rest = known.strip_prefix(prefix.as_str())?;
            (!rest.contains('.')).then_some(rest)
        });
        if let Some(close) = suggest::closest(key, here) {
            let text = format!("is not a key of this configuration: did you mean {close}?");
            return (shown_key(key), text);
        }
        // The right word in the wrong section.
        let elsewhere = self.known.iter().find(|known| {
            known
                .rsplit('.')
                .next()
                .is_some_and(|k| suggest::same(k, key))
        });
        if let Some(known) = elsewhere {
            let text = format!("is not a key of this section: did you mean {known}?");
            return (shown_key(key), text);
        }
        match entry.node.value {
            // `{ token, secret }`: where the colon is missing, the value stands in a key's place.
            Value::Null => (
                "(a word without a value)",
                "is not a key of this configuration: is there a `:` missing?".to_owned(),
            ),
            Value::Scalar(_) | Value::List(_) | Value::Map(_) => (
                shown_key(key),
                "is not a key of this configuration".to_owned(),
            ),
        }
    }
}
