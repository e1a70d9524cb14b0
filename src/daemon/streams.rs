//! Puts the stream owner together and keeps it in its thread.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::application::node::{ActiveTasks, NodeRegistry};
use crate::application::stream::{
    Control, MAX_WAITING, Owner, Policy, StreamRules, StreamService, Table, prepare,
};
use crate::config::{Config, EngineChoice, Passthrough};
use crate::domain::carry;
use crate::domain::engine::Engine;
use crate::domain::gateway::{RunEvent, StreamCameras, TaskObserver, Uplink};
use crate::domain::metrics::QueueMetric;
use crate::domain::stream::RetryLimit;
use crate::infrastructure::child::process::{Children, Tools};
use crate::infrastructure::engines::{self, Relaying};
use crate::infrastructure::http::tls::TrustStore;
use crate::infrastructure::whip::release::SessionCloser;

/// Child events that wait for the owner. Progress is dropped when it is full, the rest waits: the
/// owner waits for nothing but its queues.
const CHILD_EVENTS: usize = 1024;

/// The running stream owner, as the daemon holds it.
pub struct Streams {
    /// What doors talk to it through.
    pub service: StreamService,
    control: Sender<Control>,
    /// Of the children, for a look at its length.
    events: Sender<RunEvent>,
    thread: JoinHandle<()>,
}

/// What the owner is put together from.
pub struct Parts {
    /// Prepares plans.
    pub engine: Arc<dyn Engine>,
    /// Tells whether the cloud can be reached.
    pub uplink: Arc<dyn Uplink>,
    /// Guards the logins of cameras.
    pub logins: Arc<dyn StreamCameras>,
    /// Told of every change.
    pub observers: Vec<Box<dyn TaskObserver>>,
    /// Where active tasks are shown.
    pub active: Arc<ActiveTasks>,
    /// Where maintenance is shown.
    pub node: Arc<NodeRegistry>,
    /// Hears when the thread has ended, however.
    pub ended: Sender<&'static str>,
}

impl Streams {
    /// Starts the thread `stream`.
    pub fn start(config: &Config, parts: Parts) -> io::Result<Self> {
        let (requests_tx, requests) = bounded(MAX_WAITING);
        let (control, orders) = bounded(8);
        let (events_tx, events) = bounded(CHILD_EVENTS);
        let rules = StreamRules {
            whip_hosts: config.ffmpeg.whip_hosts.clone(),
            file_root: config.ffmpeg.file_root.clone(),
        };
        let service = StreamService::new(requests_tx, Arc::new(rules));
        let (prepare, prepared) = prepare::start(parts.engine)?;
        let table = Table::new(
            policy(config),
            parts.uplink,
            parts.logins,
            fastrand::u64(..),
        );
        let children = events_tx.clone();
        let launcher = super::startup::launcher(config);
        let closer = Arc::new(SessionCloser::new(Arc::new(TrustStore::new(None))));
        let asker = Arc::clone(&closer);
        let tools = Tools {
            judge: engines::readers(config.ffmpeg.whip_hosts.clone().into()),
            release: Arc::new(move |url, bearer| closer.tidy_up(url, bearer)),
            retry_after: Arc::new(move |url, bearer| asker.retry_after(url, bearer)),
        };
        let (active, node, observers) = (parts.active, parts.node, parts.observers);
        let mut shown = Vec::new();
        let on_turn = move |table: &Table| {
            let now_active = table.active();
            if now_active != shown {
                shown.clone_from(&now_active);
                active.set(now_active);
            }
            node.set_maintenance(table.maintenance());
        };
        let ended = Ended(parts.ended);
        let thread = std::thread::Builder::new()
            .name("stream".to_owned())
            .spawn(move || {
                let _ended = ended;
                // Made here: children follow the thread that spawns them.
                let owner = Owner {
                    table,
                    gateway: Box::new(Children::new(tools, launcher, events_tx)),
                    prepare,
                    observers,
                    control: orders,
                    on_turn: Box::new(on_turn),
                };
                owner.run(&events, prepared, requests);
            })?;
        Ok(Self {
            service,
            control,
            events: children,
            thread,
        })
    }

    /// Looks at what children have told and the owner has not read yet.
    pub fn child_events(&self) -> impl Fn() -> QueueMetric + Send + Sync + 'static {
        let events = self.events.clone();
        move || QueueMetric::bounded("child_events", events.len(), CHILD_EVENTS)
    }

    /// Ends all tasks; with `at_once`, without grace.
    pub fn shut_down(&self, at_once: bool) {
        let order = if at_once {
            Control::KillAll
        } else {
            Control::ShutDown
        };
        // Eight orders wait only if the owner is stuck; then its end is no longer awaited anyway.
        let _ = self.control.try_send(order);
    }

    /// New limits. What runs goes on.
    pub fn set_limits(&self, config: &Config) {
        // Refused only where the owner is stuck, and then the watchdog ends it.
        let _ = self.control.try_send(Control::Limits(policy(config)));
    }

    /// Answers on `answer` when the owner's loop turns.
    pub fn ping(&self, answer: Sender<()>) {
        let _ = self.control.try_send(Control::Ping(answer));
    }

    /// Whether the thread has ended.
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Joins the thread; `false` if it had panicked.
    pub fn join(self) -> bool {
        self.thread.join().is_ok()
    }
}

/// Says so when it is dropped, which a panic does too.
struct Ended(Sender<&'static str>);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.try_send("stream");
    }
}

fn policy(config: &Config) -> Policy {
    Policy {
        max_tasks: config.node.max_tasks,
        start_confirm: config.ffmpeg.start_confirm,
        start_timeout: config.ffmpeg.start_timeout,
        stall_timeout: config.ffmpeg.stall_timeout,
        stop_timeout: config.ffmpeg.stop_timeout,
        max_retries: u32::try_from(config.ffmpeg.max_retries)
            .map_or(RetryLimit::Forever, RetryLimit::Times),
    }
}

/// Whether pictures stay as they are, in the table's terms.
pub fn passthrough(config: &Config) -> carry::Passthrough {
    match config.ffmpeg.passthrough {
        Passthrough::Never => carry::Passthrough::Never,
        Passthrough::Auto => carry::Passthrough::Auto,
        Passthrough::Prefer => carry::Passthrough::Prefer,
    }
}

/// Our own publisher, where the configuration allows it.
pub fn relaying(config: &Config) -> Option<Relaying> {
    let ffmpeg = &config.ffmpeg;
    (ffmpeg.engine != EngineChoice::Ffmpeg).then(|| Relaying {
        only: ffmpeg.engine == EngineChoice::Relay,
        whip_hosts: ffmpeg.whip_hosts.clone(),
        patience: ffmpeg.whip_timeout,
        // Before its task is taken for stalled, so that it can say who was silent.
        silence: ffmpeg.stall_timeout / 5 * 4,
    })
}

/// For a node without a cloud: nothing is known of the uplink.
pub struct NoUplink;

impl Uplink for NoUplink {
    fn is_down(&self) -> bool {
        false
    }
}

/// A channel that nobody reads is no use: the daemon reads this one.
pub fn vital_ends() -> (Sender<&'static str>, Receiver<&'static str>) {
    bounded(4)
}
