//! The handle to discovery: doors ask it for sweeps, and read the list without waiting.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};

use super::networks::Networks;
use super::owner;
use super::schedule::{MAX_WAITING, Wish};
use super::shared::{
    DiscoveryParts, DiscoveryShared, Input, ScanPolicy, ScanReply, busy, stopping,
};
use super::tally::SweepTally;
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::metrics::QueueMetric;
use crate::domain::node::Camera;

/// Messages that wait for the thread, which takes microseconds for each. A full queue answers
/// 30302 at once.
const MAX_MESSAGES: usize = 32;

/// A cheap handle; every door has a clone.
#[derive(Clone)]
pub struct DiscoveryService {
    shared: Arc<DiscoveryShared>,
    queue: Sender<Input>,
    /// Dropped to end the thread.
    stop: Arc<Mutex<Option<Sender<()>>>>,
    ended: Receiver<()>,
}

impl DiscoveryService {
    /// Starts the thread `discovery`. The first sweep begins at once, if sweeps come round at all.
    pub fn start(parts: DiscoveryParts, policy: ScanPolicy) -> io::Result<Self> {
        let shared = Arc::new(DiscoveryShared::new(policy));
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
        self.shared.policy().pace()
    }

    /// What waits here.
    pub fn queues(&self) -> [QueueMetric; 2] {
        [
            QueueMetric::bounded("discovery_messages", self.queue.len(), MAX_MESSAGES),
            QueueMetric::bounded("discovery_callers", self.tally().callers, MAX_WAITING),
        ]
    }

    /// How long a sweep that is asked for may take: the one under way, and its own.
    pub fn patience(&self) -> Duration {
        self.shared.policy().timeout * 2 + Duration::from_secs(5)
    }

    /// Other numbers, from the next sweep on.
    pub fn configure(&self, policy: ScanPolicy) {
        self.shared.set_policy(policy);
        // A full queue wakes the thread just as well.
        let _ = self.queue.try_send(Input::Configured);
    }

    /// Ends the sweep under way and the thread. Does not wait; see [`join`](Self::join).
    pub fn shut_down(&self) {
        self.shared.stop();
        self.stop
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    /// Waits for the thread's end after [`shut_down`](Self::shut_down). Says whether it has ended.
    pub fn join(&self, deadline: Instant) -> bool {
        !matches!(
            self.ended.recv_deadline(deadline),
            Err(RecvTimeoutError::Timeout)
        )
    }
}
