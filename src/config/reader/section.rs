//! Values and sections with their places.

use crate::config::fault::FaultPlace;
use crate::config::tree::{Entry, Value};

/// A text as given, and where. No `Debug`: it may be secret.
pub(in crate::config) struct Given {
    pub text: String,
    pub place: FaultPlace,
}

/// What a key came to.
pub(in crate::config) struct Field<T> {
    /// As given, or the default.
    pub value: T,
    /// Where it stands, or would stand.
    pub place: FaultPlace,
    /// Whether somebody set it.
    pub given: bool,
    /// Whether what was set could be taken; `true` for a default.
    pub sound: bool,
}

impl<T> Field<T> {
    /// Found in the same way, as another type.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Field<U> {
        Field {
            value: f(self.value),
            place: self.place,
            given: self.given,
            sound: self.sound,
        }
    }
}

/// A [`Field`] without its value.
#[derive(Clone)]
pub(in crate::config) struct FieldState {
    pub place: FaultPlace,
    pub given: bool,
    pub sound: bool,
}

/// A mapping of keys; more than one where a section may be written in two places.
#[derive(Clone)]
pub(in crate::config) struct Section<'a> {
    /// Without list positions: `camera.credentials[]`.
    pub(super) canonical: String,
    /// With them: `camera.credentials[1]`.
    pub(super) shown: String,
    /// Dotted path as written, and the keys there.
    pub(super) places: Vec<(String, &'a [Entry])>,
    /// Line of a list's item.
    pub(super) line: Option<usize>,
}

impl Section<'_> {
    /// A key of it, dotted, without list positions.
    pub fn path_of(&self, key: &str) -> String {
        join(&self.canonical, key)
    }

    /// A key's text, to look at; what is wrong with it is said where the key is read.
    pub fn text_of(&self, key: &str) -> Option<&str> {
        let entries = self.places.iter().flat_map(|(_, entries)| entries.iter());
        let mut values = entries.filter(|e| e.key == key).map(|e| &e.node.value);
        match values.next() {
            Some(Value::Scalar(text)) => Some(text),
            _ => None,
        }
    }

    /// Where this section stands, or would stand.
    pub(super) fn place_of(&self, name: &str, key: &str) -> FaultPlace {
        FaultPlace::File {
            name: name.to_owned(),
            line: self.line,
            key: Some(join(&self.shown, key)),
        }
    }
}

/// A dotted key.
pub(super) fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() {
        key.to_owned()
    } else {
        format!("{prefix}.{key}")
    }
}
