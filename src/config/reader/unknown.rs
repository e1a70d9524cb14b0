//! Keys that nobody asked for.

use super::Reader;
use super::section::{Section, join};
use crate::config::fault::{ConfigFault, FaultPlace, MAX_FAULTS, shown_key};
use crate::config::tree::{Entry, Value};
use crate::config::{UnknownKeys, suggest};

impl Reader<'_> {
    /// Reports every key that nobody asked for, and a file of secrets that is open to all. To be
    /// called last.
    pub fn finish(&mut self) {
        let all = self.sections.iter().flat_map(|section| {
            let places = section.places.iter();
            places.flat_map(move |(prefix, entries)| {
                entries.iter().map(move |entry| (section, prefix, entry))
            })
        });
        let unknown: Vec<(FaultPlace, String)> = all
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
            let place = FaultPlace::File {
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
