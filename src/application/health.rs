//! Where every part writes how it is, and health routes read.

use std::sync::{PoisonError, RwLock};
use std::time::SystemTime;

use crate::domain::gateway::HealthSink;
use crate::domain::health::{Overall, Part, PartHealth, PartStatus};
use crate::util::foreign;

/// Longest reason, in characters.
const MAX_REASON: usize = 1_000;

/// The board. One writer a part; a write that changes nothing keeps `since`.
pub struct HealthBoard {
    parts: RwLock<Vec<(Part, PartHealth)>>,
    stopping: std::sync::atomic::AtomicBool,
}

impl HealthBoard {
    /// Every part down for the reason "starting".
    pub fn new(at: SystemTime) -> Self {
        let start = PartHealth {
            status: PartStatus::Down,
            since: at,
            reason: "starting".to_owned(),
        };
        Self {
            parts: RwLock::new(Part::ALL.iter().map(|&p| (p, start.clone())).collect()),
            stopping: std::sync::atomic::AtomicBool::new(false),
        }
    }

    /// Says how `part` is. Returns whether the status changed.
    pub fn set(&self, part: Part, status: PartStatus, reason: &str, at: SystemTime) -> bool {
        // What peers say of themselves is in it.
        let reason = foreign::shown(reason, MAX_REASON);
        let mut parts = self.parts.write().unwrap_or_else(PoisonError::into_inner);
        let Some((_, health)) = parts.iter_mut().find(|(p, _)| *p == part) else {
            return false;
        };
        let changed = health.status != status;
        if changed {
            health.since = at;
        }
        health.status = status;
        health.reason = reason;
        changed
    }

    /// How `part` is.
    pub fn get(&self, part: Part) -> Option<PartHealth> {
        let parts = self.parts.read().unwrap_or_else(PoisonError::into_inner);
        parts
            .iter()
            .find(|(p, _)| *p == part)
            .map(|(_, h)| h.clone())
    }

    /// Every part, in the wire's order.
    pub fn all(&self) -> Vec<(Part, PartHealth)> {
        self.parts
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// From now on the node is DOWN: it stops.
    pub fn stopping(&self) {
        self.stopping
            .store(true, std::sync::atomic::Ordering::Relaxed);
    }

    /// Whether the node stops.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// The whole (contract 10): DOWN without an engine or when stopping, DEGRADED when another
    /// part that is switched on is down.
    pub fn overall(&self) -> Overall {
        if self.is_stopping() {
            return Overall::Down;
        }
        let mut overall = Overall::Up;
        for (part, health) in self.all() {
            match (part, health.status) {
                (Part::Ffmpeg, PartStatus::Down) => return Overall::Down,
                (_, PartStatus::Down) => overall = Overall::Degraded,
                _ => {}
            }
        }
        overall
    }

    /// Why the node is not ready; empty = ready. Cameras don't count (contract 10).
    pub fn not_ready(&self) -> Vec<(Part, String)> {
        let mut reasons: Vec<(Part, String)> = self
            .all()
            .into_iter()
            .filter(|(part, h)| *part != Part::Cameras && h.status == PartStatus::Down)
            .map(|(part, h)| (part, h.reason))
            .collect();
        if self.is_stopping() {
            reasons.push((Part::Ffmpeg, "stopping".to_owned()));
        }
        reasons
    }
}

impl HealthSink for HealthBoard {
    fn report(&self, part: Part, status: PartStatus, reason: &str, at: SystemTime) {
        self.set(part, status, reason, at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn since_is_kept_while_the_status_is() {
        let board = HealthBoard::new(UNIX_EPOCH);
        let later = UNIX_EPOCH + Duration::from_secs(5);
        assert!(!board.set(Part::Rcs, PartStatus::Down, "refused", later));
        let rcs = board.get(Part::Rcs).unwrap();
        assert_eq!((rcs.since, rcs.reason.as_str()), (UNIX_EPOCH, "refused"));
        assert!(board.set(Part::Rcs, PartStatus::Up, "", later));
        assert_eq!(board.get(Part::Rcs).unwrap().since, later);
    }

    #[test]
    fn no_engine_is_down_no_cloud_is_degraded() {
        let board = HealthBoard::new(UNIX_EPOCH);
        assert_eq!(board.overall(), Overall::Down);
        for part in Part::ALL {
            board.set(part, PartStatus::Up, "", UNIX_EPOCH);
        }
        assert_eq!(board.overall(), Overall::Up);
        board.set(Part::Rcs, PartStatus::Down, "x", UNIX_EPOCH);
        assert_eq!(board.overall(), Overall::Degraded);
        board.set(Part::Rcs, PartStatus::Off, "", UNIX_EPOCH);
        assert_eq!(board.overall(), Overall::Up);
        board.set(Part::Cameras, PartStatus::Down, "x", UNIX_EPOCH);
        assert!(board.not_ready().is_empty());
        board.stopping();
        assert_eq!(board.overall(), Overall::Down);
        assert!(!board.not_ready().is_empty());
    }
}
