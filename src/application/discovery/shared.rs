//! What the thread `discovery` and its handles have in common: what it works with, what it is told,
//! and what both look at.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use crossbeam_channel::Sender;

use super::networks::Networks;
use super::schedule::Wish;
use super::tally::SweepTally;
use crate::application::camera::CameraService;
use crate::domain::discovery::CameraScannerGateway;
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::node::Camera;

/// Numbers of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanPolicy {
    /// `camera.scan_enabled`: whether sweeps come round by themselves.
    pub enabled: bool,
    /// `camera.scan_subnet`
    pub networks: Networks,
    /// `camera.rescan_interval`
    pub every: Duration,
    /// `camera.scan_timeout`
    pub timeout: Duration,
    /// `camera.allow_loopback`
    pub allow_loopback: bool,
}

impl ScanPolicy {
    /// How often sweeps come round by themselves; `None` = only when somebody asks.
    pub fn pace(&self) -> Option<Duration> {
        let something = self.enabled && self.networks != Networks::Listed(Vec::new());
        something.then_some(self.every)
    }
}

/// How discovery is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScanState {
    /// Cameras that are listed.
    pub listed: usize,
    /// Those that are there.
    pub online: usize,
    /// A sweep has ended, well or not.
    pub swept: bool,
    /// What keeps it from looking, in words.
    pub trouble: Option<String>,
}

/// Told by the thread `discovery`. Must not wait.
pub trait DiscoveryObserver: Send + Sync {
    /// The list, after each sweep and each change.
    fn listed(&self, cameras: &Arc<Vec<Camera>>, state: &ScanState);
    /// The first sweep is over, well or not.
    fn first_sweep_over(&self);
}

/// Makes a scanner; again where one has been lost.
pub type NewScanner = Box<dyn Fn() -> io::Result<Box<dyn CameraScannerGateway>> + Send + Sync>;
/// Ends a scanner's sweeps.
pub type Canceller = Arc<dyn Fn() + Send + Sync>;

/// What discovery works with.
pub struct DiscoveryParts {
    /// Makes what looks.
    pub scanner: NewScanner,
    /// Asks cameras, and learns where they are.
    pub cameras: CameraService,
    /// Told of the list.
    pub observer: Arc<dyn DiscoveryObserver>,
}

/// The list after a sweep, or why there was none.
pub type ScanReply = Result<Arc<Vec<Camera>>, Fault>;

/// What the thread and its handles share.
pub(super) struct DiscoveryShared {
    list: RwLock<Arc<Vec<Camera>>>,
    policy: RwLock<Arc<ScanPolicy>>,
    canceller: Mutex<Option<Canceller>>,
    tally: Mutex<SweepTally>,
    stopping: AtomicBool,
}

/// What the thread is told.
pub(super) enum Input {
    /// Somebody asks for a sweep.
    Scan(Wish, Sender<ScanReply>),
    /// The policy has changed.
    Configured,
}

impl DiscoveryShared {
    pub fn new(policy: ScanPolicy) -> Self {
        Self {
            list: RwLock::default(),
            policy: RwLock::new(Arc::new(policy)),
            canceller: Mutex::default(),
            tally: Mutex::default(),
            stopping: AtomicBool::new(false),
        }
    }

    pub fn set_policy(&self, policy: ScanPolicy) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
    }

    /// The sweep under way ends, and nothing begins any more.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.cancel();
    }

    pub fn cameras(&self) -> Arc<Vec<Camera>> {
        self.list
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub fn publish(&self, list: Arc<Vec<Camera>>) {
        *self.list.write().unwrap_or_else(PoisonError::into_inner) = list;
    }

    /// Held for a look or a change, never longer.
    pub fn tally(&self) -> MutexGuard<'_, SweepTally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn policy(&self) -> Arc<ScanPolicy> {
        self.policy
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// From now on this ends the sweep.
    pub fn set_canceller(&self, canceller: Canceller) {
        *self
            .canceller
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(canceller);
        // Told to stop while it was being made.
        if self.is_stopping() {
            self.cancel();
        }
    }

    pub fn cancel(&self) {
        let canceller = self
            .canceller
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(cancel) = canceller {
            cancel();
        }
    }
}

/// 30302
pub(super) fn busy() -> Fault {
    Fault::new(
        ErrorCode::NodeBusy,
        "too many wait for a sweep; GET /api/cameras tells what the last one saw",
    )
}

/// 50003
pub(super) fn stopping() -> Fault {
    Fault::new(ErrorCode::Unavailable, "the node is stopping")
}
