//! The handle to discovery: doors ask it for sweeps, and read the list without waiting.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};

use super::networks::Networks;
use super::owner::{self, Input};
use super::schedule::{MAX_WAITING, Wish};
use super::tally::SweepTally;
use crate::application::camera::CameraService;
use crate::domain::discovery::CameraScannerGateway;
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::figures::QueueFigure;
use crate::domain::node::Camera;

/// Messages that wait for the thread, which takes microseconds for each. A full queue answers
/// 30302 at once.
const MAX_MESSAGES: usize = 32;

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
pub(super) struct Shared {
    list: RwLock<Arc<Vec<Camera>>>,
    policy: RwLock<Arc<ScanPolicy>>,
    canceller: Mutex<Option<Canceller>>,
    tally: Mutex<SweepTally>,
    stopping: AtomicBool,
}

/// A cheap handle; every door has a clone.
#[derive(Clone)]
pub struct DiscoveryService {
    shared: Arc<Shared>,
    queue: Sender<Input>,
    /// Dropped to end the thread.
    stop: Arc<Mutex<Option<Sender<()>>>>,
    ended: Receiver<()>,
}

impl DiscoveryService {
    /// Starts the thread `discovery`. The first sweep begins at once, if sweeps come round at all.
    pub fn start(parts: DiscoveryParts, policy: ScanPolicy) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            list: RwLock::default(),
            policy: RwLock::new(Arc::new(policy)),
            canceller: Mutex::default(),
            tally: Mutex::default(),
            stopping: AtomicBool::new(false),
        });
        let (queue, inputs) = bounded(MAX_MESSAGES);
        let (stop, stopped) = bounded(0);
        let (alive, ended) = bounded(0);
        owner::start(parts, shared.clone(), inputs, stopped, alive)?;
        Ok(Self {
            shared,
            queue,
            stop: Arc::new(Mutex::new(Some(stop))),
            ended,
        })
    }

    /// The cameras as they were last seen.
    pub fn cameras(&self) -> Arc<Vec<Camera>> {
        self.shared.cameras()
    }

    /// Sweeps `subnet` (a CIDR, an address, `auto`), else what is configured, as soon as the sweep
    /// under way has ended, and answers with the list then. 20003 and 20005 for what can't be
    /// swept, 30302 where too many wait.
    pub fn scan(&self, subnet: Option<&str>) -> Result<Receiver<ScanReply>, Fault> {
        if self.shared.is_stopping() {
            return Err(stopping());
        }
        let policy = self.shared.policy();
        let wish = match subnet {
            None if policy.networks.is_empty() => {
                return Err(Fault::new(
                    ErrorCode::ParamMissing,
                    "subnet is missing, and camera.scan_subnet names no network",
                ));
            }
            None => Wish::Configured,
            Some(text) => {
                let asked = Networks::parse("subnet", &[text.to_owned()], policy.allow_loopback)?;
                if asked == policy.networks {
                    Wish::Configured
                } else {
                    Wish::These(asked)
                }
            }
        };
        let (reply, done) = bounded(1);
        match self.queue.try_send(Input::Scan(wish, reply)) {
            Ok(()) => Ok(done),
            Err(TrySendError::Full(_)) => Err(busy()),
            Err(TrySendError::Disconnected(_)) => Err(stopping()),
        }
    }

    /// What sweeps there have been.
    pub fn tally(&self) -> SweepTally {
        *self.shared.tally()
    }

    /// How often sweeps come round by themselves; `None` = only when somebody asks.
    pub fn every(&self) -> Option<Duration> {
        owner::every(&self.shared.policy())
    }

    /// What waits here.
    pub fn queues(&self) -> [QueueFigure; 2] {
        [
            QueueFigure::bounded("discovery_messages", self.queue.len(), MAX_MESSAGES),
            QueueFigure::bounded("discovery_callers", self.tally().callers, MAX_WAITING),
        ]
    }

    /// How long a sweep that is asked for may take: the one under way, and its own.
    pub fn patience(&self) -> Duration {
        self.shared.policy().timeout * 2 + Duration::from_secs(5)
    }

    /// Other numbers, from the next sweep on.
    pub fn configure(&self, policy: ScanPolicy) {
        *self
            .shared
            .policy
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
        // A full queue wakes the thread just as well.
        let _ = self.queue.try_send(Input::Configured);
    }

    /// Ends the sweep under way and the thread. Does not wait; see [`join`](Self::join).
    pub fn shut_down(&self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.stop
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        self.shared.cancel();
    }

    /// Waits for the thread's end after [`shut_down`](Self::shut_down). Says whether it has ended.
    pub fn join(&self, deadline: Instant) -> bool {
        !matches!(
            self.ended.recv_deadline(deadline),
            Err(RecvTimeoutError::Timeout)
        )
    }
}

impl Shared {
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
