//! Places for publishes that must not be lost (contract 5): whoever takes on work that will have
//! a result takes a place for it first, so that no result is ever turned away.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::super::data::Encoded;

/// Kept publishes at most.
pub const PLACES: usize = 2_000;
/// Of those, kept for answers that tell of a refusal.
pub const RESERVED: usize = 64;
/// Bytes at which no new place is given. A place that is already given is always filled, so the
/// sum may pass this by one message for each command that is being executed.
pub const BYTES: usize = 4 << 20;

/// One publish.
#[derive(Debug)]
pub struct Publish {
    /// Where to; never attached for it (RTL6c5).
    pub channel: String,
    /// The message's name.
    pub name: String,
    /// The payload.
    pub data: Encoded,
    /// Our own id for it: the service drops doubles of it.
    pub id: String,
    /// What becomes of it when there is no way out.
    pub kind: PublishKind,
}

/// What becomes of a publish when it can't go out.
#[derive(Debug)]
pub enum PublishKind {
    /// Kept until it is acknowledged, in a place of the ledger.
    Kept(Reservation),
    /// Only the newest one waits.
    Latest,
    /// Kept, but the oldest is dropped when too many wait.
    Event,
}

/// Counts places and bytes. Shared by everyone who publishes.
#[derive(Debug, Default)]
pub struct Ledger {
    places: AtomicUsize,
    bytes: AtomicUsize,
    /// Kept publishes of a client that ended by a fault, oldest first.
    rescued: Mutex<Vec<Publish>>,
}

/// For what a place is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Results of commands.
    Ordinary,
    /// Answers that must go out even then: refusals, results of stops.
    High,
}

impl Ledger {
    /// Takes a place, if there is one.
    pub fn take(self: &Arc<Self>, priority: Priority) -> Option<Reservation> {
        let limit = match priority {
            Priority::Ordinary if self.bytes() >= BYTES => return None,
            Priority::Ordinary => PLACES - RESERVED,
            Priority::High => PLACES,
        };
        self.places
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                (taken < limit).then_some(taken + 1)
            })
            .ok()?;
        Some(Reservation {
            ledger: Arc::clone(self),
            bytes: 0,
        })
    }

    /// Whether a place for the result of one more command is free.
    pub fn has_room(&self) -> bool {
        self.places() < PLACES - RESERVED && self.bytes() < BYTES
    }

    /// Puts aside what a client that ends by a fault has not delivered. It keeps its place.
    pub fn rescue(&self, publish: Publish) {
        self.rescued
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(publish);
    }

    /// What was put aside, for the client that takes over.
    pub fn take_rescued(&self) -> Vec<Publish> {
        std::mem::take(&mut *self.rescued.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Places taken.
    pub fn places(&self) -> usize {
        self.places.load(Ordering::Relaxed)
    }

    /// Bytes in them.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// A place in the ledger. Given back when it is dropped.
pub struct Reservation {
    ledger: Arc<Ledger>,
    bytes: usize,
}

impl Reservation {
    /// The ledger that it is a place in.
    pub fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.ledger)
    }

    /// Counts the bytes that lie in it.
    pub fn fill(&mut self, bytes: usize) {
        self.ledger.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.ledger.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = bytes;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.fill(0);
        self.ledger.places.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({} bytes)", self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixty_four_places_are_kept_for_refusals() {
        let ledger = Arc::new(Ledger::default());
        let mut held = Vec::new();
        while let Some(place) = ledger.take(Priority::Ordinary) {
            held.push(place);
        }
        assert_eq!(held.len(), PLACES - RESERVED);
        assert!(!ledger.has_room());
        while let Some(place) = ledger.take(Priority::High) {
            held.push(place);
        }
        assert_eq!((held.len(), ledger.places()), (PLACES, PLACES));
        held.clear();
        assert_eq!(ledger.places(), 0);
        assert!(ledger.has_room());
    }

    #[test]
    fn bytes_are_counted_and_given_back() {
        let ledger = Arc::new(Ledger::default());
        let mut place = ledger.take(Priority::Ordinary).unwrap();
        place.fill(BYTES);
        assert!(ledger.take(Priority::Ordinary).is_none());
        assert!(!ledger.has_room());
        assert!(ledger.take(Priority::High).is_some(), "refusals still go");
        place.fill(10);
        assert_eq!(ledger.bytes(), 10);
        drop(place);
        assert_eq!((ledger.places(), ledger.bytes()), (0, 0));
    }
}
