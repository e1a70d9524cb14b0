//! Descriptors kept back for the day when the process has none left, so that the API can still
//! say so. tiny_http's accept thread dies of a failed `accept` or `dup`; it must not meet one.

use std::os::fd::{AsFd, OwnedFd};

/// What one request needs: the client, our end and tiny_http's two of the private socket.
const WANTED: usize = 4;
/// Of these, those that are opened once the client is accepted.
const BEHIND_THE_GATE: usize = 3;

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

    /// Makes sure that a request can go on behind the gate, giving the store up if it must.
    pub fn make_way(&mut self) {
        if !self.could_open(BEHIND_THE_GATE) {
            self.release();
        }
    }

    fn could_open(&self, count: usize) -> bool {
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
