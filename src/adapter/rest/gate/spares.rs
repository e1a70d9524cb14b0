//! Descriptors kept back for the day when the process has none left, so that the API can still
//! say so. tiny_http's accept thread dies of a failed `accept` or `dup`; it must not meet one.

use std::os::fd::{AsFd, OwnedFd};

/// What each request needs behind the gate: our end of the private socket, tiny_http's two, one
/// of which its next `accept` takes in advance.
pub const EACH: usize = 3;
/// What a new tiny_http needs, should the old one have died: its socket, the way to it, a first
/// connection from both ends, its first `accept`.
pub const NEW_SERVER: usize = 5;
/// What one request needs at the worst: the client's too.
const WANTED: usize = 1 + EACH + NEW_SERVER;

/// The store.
pub struct Spares {
    source: OwnedFd,
    kept: Vec<OwnedFd>,
}

impl Spares {
    /// Fills the store with duplicates of `source`.
    pub fn new(source: OwnedFd) -> Self {
        let mut spares = Self {
            source,
            kept: Vec::with_capacity(WANTED),
        };
        spares.refill();
        spares
    }

    /// Gives the store up; whether there was anything in it.
    pub fn release(&mut self) -> bool {
        let any = !self.kept.is_empty();
        self.kept.clear();
        any
    }

    /// Fills the store up again as far as possible; whether it is full.
    pub fn refill(&mut self) -> bool {
        while self.kept.len() < WANTED {
            match self.source.as_fd().try_clone_to_owned() {
                Ok(fd) => self.kept.push(fd),
                Err(_) => return false,
            }
        }
        true
    }

    /// Whether nothing is missing.
    pub fn is_full(&self) -> bool {
        self.kept.len() >= WANTED
    }

    /// Whether a whole request could go on without the store.
    pub fn more_are_free(&self) -> bool {
        self.could_open(WANTED)
    }

    /// Whether so many can be opened now.
    pub fn could_open(&self, count: usize) -> bool {
        let mut probes = Vec::with_capacity(count);
        (0..count).all(|_| match self.source.as_fd().try_clone_to_owned() {
            Ok(fd) => {
                probes.push(fd);
                true
            }
            Err(_) => false,
        })
    }
}
