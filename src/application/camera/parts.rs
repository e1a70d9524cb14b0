//! What every lane works with, whichever camera it is for.

use std::sync::{Arc, PoisonError, RwLock};

use super::LanePolicy;
use super::book::Book;
use super::latency::Latencies;
use crate::domain::camera::{CameraGateway, NameLookup, SnapshotMaker};
use crate::domain::discovery::RtspGateway;
use crate::domain::gateway::CameraObserver;

/// What the lanes work with.
pub struct CameraParts {
    /// Opens devices.
    pub gateway: Arc<dyn CameraGateway>,
    /// Asks cameras over RTSP.
    pub rtsp: Arc<dyn RtspGateway>,
    /// Resolves host names.
    pub names: Arc<dyn NameLookup>,
    /// Fits pictures, and takes them from streams.
    pub pictures: Arc<dyn SnapshotMaker>,
    /// Told of what lss does on its own.
    pub observer: Arc<dyn CameraObserver>,
    /// Addresses and logins.
    pub book: Arc<Book>,
    /// Numbers of the configuration.
    pub policy: LanePolicy,
}

/// The same, with what changes while lanes work. One for all of them.
pub(super) struct Common {
    pub parts: CameraParts,
    policy: RwLock<LanePolicy>,
    pub latencies: Latencies,
}

impl Common {
    pub fn new(parts: CameraParts) -> Self {
        Self {
            policy: RwLock::new(parts.policy),
            latencies: Latencies::default(),
            parts,
        }
    }

    /// The limits that count now.
    pub fn policy(&self) -> LanePolicy {
        *self.policy.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Other limits, after a reload. Moves that run keep their ends.
    pub fn set_policy(&self, policy: LanePolicy) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = policy;
    }
}
