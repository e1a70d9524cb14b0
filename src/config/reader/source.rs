//! How a row of `keys` is read: the question, not the answers.

use super::{Field, Reader, Section};
use crate::config::row::Row;

/// A key's name in its section, and the environment variable that wins over it.
#[derive(Clone, Copy)]
pub(in crate::config) struct Key {
    pub name: &'static str,
    pub env: Option<&'static str>,
}

/// Where a value of type `T` comes from.
pub(in crate::config) trait Source<T> {
    /// Reads it, or takes the default and says what is wrong.
    fn read<'a>(&self, r: &mut Reader<'a>, section: &Section<'a>, key: Key, default: T)
    -> Field<T>;

    /// What the key may be set to, in words.
    fn takes(&self) -> String;

    /// Whether there is a default at all.
    fn required(&self) -> bool {
        false
    }

    /// The key of a file that may hold the value instead.
    fn file(&self) -> Option<&'static str> {
        None
    }

    /// The keys of the entries, if it is a list of such.
    fn entries(&self, _: &mut Vec<Row>) {}
}
