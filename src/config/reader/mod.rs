//! Typed reading of the tree: every value comes with its place, every fault is collected, every
//! key asked for is a known key.

use std::collections::{BTreeMap, BTreeSet};

use super::Input;
use super::fault::{ConfigFault, FaultPlace, MAX_FAULTS};
use super::tree::{Entry, Node, Value};
use super::value::Wrong;

mod secrets;
mod section;
mod source;
mod unknown;

use section::join;
pub(super) use section::{Field, FieldState, Given, Section};
pub(super) use source::{Key, Source};

/// Most entries of any list: no site has more cameras behind one gateway.
const MAX_ENTRIES: usize = 1024;

pub(super) struct Reader<'a> {
    input: &'a Input<'a>,
    name: &'a str,
    pub faults: Vec<ConfigFault>,
    pub warnings: Vec<ConfigFault>,
    /// Canonical dotted keys that were asked for.
    pub known: BTreeSet<String>,
    /// How each row's key was found; of a list's entries, the last.
    told: BTreeMap<String, FieldState>,
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
            told: BTreeMap::new(),
            sections: Vec::new(),
            env_used: Vec::new(),
            secret_in_file: false,
        }
    }

    /// As faults name the file.
    pub fn file_name(&self) -> &'a str {
        self.name
    }

    pub fn fault(&mut self, place: &FaultPlace, text: impl Into<String>) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(ConfigFault::new(place.clone(), text));
        } else if self.faults.len() == MAX_FAULTS {
            self.faults.push(ConfigFault::new(
                FaultPlace::Whole,
                "has more faults than are worth listing: put these right first",
            ));
        }
    }

    pub fn warn(&mut self, place: &FaultPlace, text: impl Into<String>) {
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

    /// The key of a row, by its source.
    pub fn row<T>(
        &mut self,
        section: &Section<'a>,
        name: &'static str,
        env: Option<&'static str>,
        default: T,
        source: &impl Source<T>,
    ) -> T {
        let field = source.read(self, section, Key { name, env }, default);
        let told = FieldState {
            place: field.place,
            given: field.given,
            sound: field.sound,
        };
        self.told.insert(section.path_of(name), told);
        field.value
    }

    /// How a key was found that a row has read.
    pub fn told(&self, key: &str) -> FieldState {
        self.told.get(key).cloned().unwrap_or(FieldState {
            place: FaultPlace::Whole,
            given: false,
            sound: false,
        })
    }

    /// What stands for several values, each with a place of its own.
    pub fn whole<T>(&self, section: &Section<'a>, key: &str, value: T) -> Field<T> {
        Field {
            value,
            place: section.place_of(self.name, key),
            given: true,
            sound: true,
        }
    }

    /// Takes the keys of a list's items for known even where there is no item.
    pub fn knows(&mut self, canonical: &str) {
        self.known.insert(canonical.to_owned());
    }

    fn at(&self, entry: &Entry, path: &str) -> FaultPlace {
        // A value that stands on lines below its key is pointed at by its key's line only where
        // there is nothing to point at.
        let line = match entry.node.value {
            Value::Null => entry.line,
            _ => entry.node.line.max(entry.line),
        };
        self.at_line(line, path)
    }

    fn at_line(&self, line: usize, path: &str) -> FaultPlace {
        FaultPlace::File {
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
            place: FaultPlace::Env(name),
        })
    }

    /// The text of a key, from the environment if it is set there, else from the file.
    pub fn scalar(
        &mut self,
        section: &Section<'a>,
        key: &'static str,
        env: Option<&'static str>,
    ) -> Result<Option<Given>, FaultPlace> {
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
}
