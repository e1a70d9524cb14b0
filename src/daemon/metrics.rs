//! Gathers what `/metrics` shows, when somebody asks. What is counted is counted by its owner;
//! nothing is kept here.
//!
//! Labels take values of fixed sets, and ids of listed tasks; never an address, a URL or a
//! camera's own words.

mod cloud;
mod discovery;
mod process;
mod tasks;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::cameras::CamerasHealth;
use crate::application::camera::{CameraService, CommandKind};
use crate::application::discovery::DiscoveryService;
use crate::application::health::HealthBoard;
use crate::application::node::NodeRegistry;
use crate::application::stream::StreamService;
use crate::domain::gateway::NodeSource;
use crate::domain::health::PartStatus;
use crate::domain::metrics::{Metric, QueueMetric, Sample};
use crate::domain::node::LssNode;
use crate::logging;
use crate::util::time::Now;

pub use cloud::{CloudSources, Replaced};

/// Where metrics come from.
pub struct Sources {
    pub streams: StreamService,
    pub cameras: CameraService,
    pub cameras_health: Arc<CamerasHealth>,
    pub discovery: DiscoveryService,
    pub health: Arc<HealthBoard>,
    pub node: Arc<NodeRegistry>,
    /// What children have told and the stream owner has not read yet.
    pub child_events: Box<dyn Fn() -> QueueMetric + Send + Sync>,
    /// The cloud's, where there is one.
    pub cloud: Option<CloudSources>,
}

/// 1 or 0.
fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}

/// Counts stay below 2^52, where f64 is exact.
#[expect(clippy::cast_precision_loss)]
fn count(value: u64) -> f64 {
    value as f64
}

fn size(value: usize) -> f64 {
    count(value as u64)
}

/// Seconds since the epoch.
fn moment(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs_f64()
}

fn one(value: f64) -> Vec<Sample> {
    vec![(Vec::new(), value)]
}

/// One sample for each value of one label.
fn by(
    label: &'static str,
    values: impl IntoIterator<Item = (&'static str, f64)>,
) -> impl Iterator<Item = Sample> {
    let named = move |(name, value): (&'static str, f64)| (vec![(label, name.into())], value);
    values.into_iter().map(named)
}

fn gauge(name: &'static str, help: &'static str, value: f64) -> Metric {
    Metric::gauge(name, help, one(value))
}

fn counter(name: &'static str, help: &'static str, value: f64) -> Metric {
    Metric::counter(name, help, one(value))
}

impl Sources {
    /// All metrics now. The stream owner is asked, within the bounds of any request to it.
    /// `doors` = what waits at the door that asks.
    pub fn gather(&self, doors: &[QueueMetric]) -> Vec<Metric> {
        let mut out = vec![Metric::gauge(
            "lss_build_info",
            "Version and target; always 1.",
            vec![(
                vec![
                    ("version", env!("CARGO_PKG_VERSION").into()),
                    ("target", env!("LSS_TARGET").into()),
                ],
                1.0,
            )],
        )];
        let node = self.node.node(Now::read());
        self.node(&node, &mut out);
        match self.streams.list(false) {
            Ok(tasks) => tasks::metrics(&tasks, &mut out),
            Err(fault) => log::warn!("metrics without streams: {fault}"),
        }
        self.cameras(&mut out);
        discovery::metrics(&self.discovery, &node.cameras, &mut out);
        if let Some(cloud) = &self.cloud {
            cloud.metrics(&mut out);
        }
        self.queues(doors, &mut out);
        process::metrics(&mut out);
        out
    }

    fn node(&self, node: &LssNode, out: &mut Vec<Metric>) {
        let parts = self.health.all().into_iter().filter_map(|(part, health)| {
            let up = match health.status {
                PartStatus::Off => return None,
                status => flag(status == PartStatus::Up),
            };
            Some((part.name(), up))
        });
        out.push(Metric::gauge(
            "lss_part_up",
            "Whether a part of the node does its work; parts that are switched off are left out.",
            by("part", parts).collect(),
        ));
        out.push(gauge(
            "lss_tasks_max",
            "Most active tasks.",
            size(node.identity.max_tasks),
        ));
        if let Some(percent) = node.cpu_usage {
            out.push(gauge(
                "lss_machine_cpu_ratio",
                "Part of the machine's processors in use since the last look.",
                percent / 100.0,
            ));
        }
        out.push(gauge(
            "lss_machine_memory_bytes",
            "Memory of the machine.",
            count(node.system.total_memory),
        ));
        out.push(gauge(
            "lss_machine_memory_available_bytes",
            "Available memory of the machine.",
            count(node.system.available_memory),
        ));
        out.push(Metric::gauge(
            "lss_rcs_last_heartbeat_timestamp_seconds",
            "When RCS last took a heartbeat.",
            node.last_heartbeat
                .map(|at| (Vec::new(), moment(at)))
                .into_iter()
                .collect(),
        ));
    }

    fn cameras(&self, out: &mut Vec<Metric>) {
        out.push(gauge(
            "lss_camera_lanes",
            "Cameras that are in use.",
            size(self.cameras.lanes()),
        ));
        out.push(gauge(
            "lss_cameras_not_stopped",
            "Cameras that do not obey their stop and may be moving.",
            size(self.cameras_health.disobedient()),
        ));
        let latencies = self.cameras.latencies();
        let label = |kind: CommandKind| vec![("kind", kind.name().into())];
        out.push(Metric::Spread {
            name: "lss_camera_command_seconds",
            help: "From a command's arrival to its camera's acceptance.",
            spreads: CommandKind::ALL
                .into_iter()
                .map(|kind| (label(kind), latencies.spread(kind)))
                .collect(),
        });
        out.push(Metric::counter(
            "lss_camera_command_failures_total",
            "Commands that a camera did not carry out.",
            CommandKind::ALL
                .into_iter()
                .map(|kind| (label(kind), count(latencies.failed(kind))))
                .collect(),
        ));
    }

    fn queues(&self, doors: &[QueueMetric], out: &mut Vec<Metric>) {
        let mut queues = vec![
            self.streams.queue(),
            (self.child_events)(),
            self.cameras.queue(),
        ];
        queues.extend(self.discovery.queues());
        queues.extend(self.cloud.iter().flat_map(CloudSources::queues));
        let (waiting, bound) = logging::backlog();
        queues.push(QueueMetric::bounded("log_lines", waiting, bound));
        queues.extend(doors);
        let waiting = queues.iter().map(|queue| (queue.name, size(queue.waiting)));
        let bounds = queues
            .iter()
            .filter_map(|queue| Some((queue.name, size(queue.bound?))));
        out.push(Metric::gauge(
            "lss_queue_length",
            "What waits; of the cameras' queues, the longest.",
            by("queue", waiting).collect(),
        ));
        out.push(Metric::gauge(
            "lss_queue_max",
            "How much may wait.",
            by("queue", bounds).collect(),
        ));
    }
}
