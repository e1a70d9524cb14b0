//! Gathers what `/metrics` shows, when somebody asks: nothing is counted twice, nothing is kept
//! for it but the cameras' latencies.

use std::sync::Arc;

use crate::application::camera::{CameraService, CommandKind};
use crate::application::health::HealthBoard;
use crate::application::node::NodeRegistry;
use crate::application::stream::StreamService;
use crate::domain::figures::{Figure, Sample};
use crate::domain::gateway::NodeSource;
use crate::domain::health::PartStatus;
use crate::domain::stream::{StreamStatus, StreamTask};
use crate::infrastructure::ably::connection::types::ConnectionState;
use crate::infrastructure::ably::line::AblyLine;
use crate::infrastructure::process::{self, ProcessFigures};
use crate::infrastructure::rcs::TaskCallbacks;
use crate::logging;
use crate::util::time::Now;

/// Where figures come from.
pub struct Sources {
    pub streams: StreamService,
    pub cameras: CameraService,
    pub health: Arc<HealthBoard>,
    pub node: Arc<NodeRegistry>,
    /// The cloud's, where there is one.
    pub cloud: Option<CloudSources>,
}

/// Of the cloud's clients.
pub struct CloudSources {
    pub line: AblyLine,
    pub callbacks: TaskCallbacks,
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

fn one(value: f64) -> Vec<Sample> {
    vec![(Vec::new(), value)]
}

fn gauge(name: &'static str, help: &'static str, value: f64) -> Figure {
    Figure::gauge(name, help, one(value))
}

fn counter(name: &'static str, help: &'static str, value: f64) -> Figure {
    Figure::counter(name, help, one(value))
}

impl Sources {
    /// All figures now. The stream owner is asked, within the bounds of any request to it.
    pub fn gather(&self) -> Vec<Figure> {
        let mut out = vec![Figure::gauge(
            "lss_build_info",
            "Version and target; always 1.",
            vec![(
                vec![
                    ("version", env!("CARGO_PKG_VERSION").to_owned()),
                    ("target", env!("LSS_TARGET").to_owned()),
                ],
                1.0,
            )],
        )];
        self.node(&mut out);
        match self.streams.list(false) {
            Ok(tasks) => tasks_figures(&tasks, &mut out),
            Err(fault) => log::warn!("figures without streams: {fault}"),
        }
        self.cameras(&mut out);
        if let Some(cloud) = &self.cloud {
            cloud.figures(&mut out);
        }
        own_process(&mut out);
        out
    }

    fn node(&self, out: &mut Vec<Figure>) {
        let parts = self.health.all().into_iter().filter_map(|(part, health)| {
            let up = match health.status {
                PartStatus::Off => return None,
                status => flag(status == PartStatus::Up),
            };
            Some((vec![("part", part.name().to_lowercase())], up))
        });
        out.push(Figure::gauge(
            "lss_part_up",
            "Whether a part of the node does its work; parts that are switched off are left out.",
            parts.collect(),
        ));
        let node = self.node.node(Now::read());
        out.push(gauge(
            "lss_tasks_max",
            "Most active tasks.",
            size(node.identity.max_tasks),
        ));
        let online = node.cameras.iter().filter(|camera| camera.online).count();
        out.push(Figure::gauge(
            "lss_discovered_cameras",
            "Cameras that discovery lists.",
            vec![
                (vec![("online", "true".to_owned())], size(online)),
                (
                    vec![("online", "false".to_owned())],
                    size(node.cameras.len() - online),
                ),
            ],
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
            "Memory of the machine that is to be had.",
            count(node.system.available_memory),
        ));
        let known = |at: Option<std::time::SystemTime>| {
            at?.duration_since(std::time::UNIX_EPOCH)
                .ok()
                .map(|since| (Vec::new(), since.as_secs_f64()))
        };
        out.push(Figure::gauge(
            "lss_rcs_last_heartbeat_timestamp_seconds",
            "When RCS last took a heartbeat.",
            known(node.last_heartbeat).into_iter().collect(),
        ));
    }

    fn cameras(&self, out: &mut Vec<Figure>) {
        out.push(gauge(
            "lss_camera_lanes",
            "Cameras that are in use.",
            size(self.cameras.lanes()),
        ));
        let latencies = self.cameras.latencies();
        let label = |kind: CommandKind| vec![("kind", kind.name().to_owned())];
        out.push(Figure::Spread {
            name: "lss_camera_command_seconds",
            help: "From a command's arrival to its camera's acceptance.",
            spreads: CommandKind::ALL
                .into_iter()
                .map(|kind| (label(kind), latencies.spread(kind)))
                .collect(),
        });
        out.push(Figure::counter(
            "lss_camera_command_failures_total",
            "Commands that a camera did not carry out.",
            CommandKind::ALL
                .into_iter()
                .map(|kind| (label(kind), count(latencies.failed(kind))))
                .collect(),
        ));
    }
}

fn tasks_figures(tasks: &[StreamTask], out: &mut Vec<Figure>) {
    let id = |task: &StreamTask| vec![("task", task.spec.task_id.as_str().to_owned())];
    let each = |value: &dyn Fn(&StreamTask) -> Option<f64>| -> Vec<Sample> {
        tasks
            .iter()
            .filter_map(|task| Some((id(task), value(task)?)))
            .collect()
    };
    let with = |task: &StreamTask, name: &'static str, value: String| {
        let mut labels = id(task);
        labels.push((name, value));
        labels
    };
    let states = tasks.iter().flat_map(|task| {
        StreamStatus::ALL
            .into_iter()
            .filter(|status| *status != StreamStatus::Idle)
            .map(move |status| {
                (
                    with(task, "state", status.name().to_lowercase()),
                    flag(task.status == status),
                )
            })
    });
    out.push(Figure::gauge(
        "lss_task_state",
        "1 for the state that a task is in, 0 for the others.",
        states.collect(),
    ));
    out.push(Figure::counter(
        "lss_task_runs_total",
        "Processes started for a task.",
        each(&|task| Some(count(task.tally.runs))),
    ));
    let failures = tasks.iter().flat_map(|task| {
        task.tally.failures.iter().map(move |(cause, times)| {
            (with(task, "cause", cause.name().to_owned()), count(*times))
        })
    });
    out.push(Figure::counter(
        "lss_task_failures_total",
        "Runs that ended unasked, by cause; each is tried again or ends the task.",
        failures.collect(),
    ));
    out.push(Figure::counter(
        "lss_task_stalls_total",
        "Runs that were ended because no media left.",
        each(&|task| Some(count(task.tally.stalls))),
    ));
    let starts = tasks.iter().flat_map(|task| {
        task.tally.start.iter().flat_map(move |split| {
            [
                ("session", split.session),
                ("media", split.media),
                ("streaming", split.streaming),
            ]
            .map(|(phase, took)| (with(task, "phase", phase.to_owned()), took.as_secs_f64()))
        })
    });
    out.push(Figure::gauge(
        "lss_task_start_seconds",
        "How long the last start took, from the process's start: until the WHIP session, until media, until STREAMING.",
        starts.collect(),
    ));
    // Of a run that is over there is no present.
    let live = |value: &dyn Fn(&StreamTask) -> Option<f64>| -> Vec<Sample> {
        each(&|task| {
            (task.status == StreamStatus::Streaming)
                .then(|| value(task))
                .flatten()
        })
    };
    out.push(Figure::gauge(
        "lss_task_fps",
        "Frames a second.",
        live(&|task| task.progress.and_then(|p| p.fps)),
    ));
    out.push(Figure::gauge(
        "lss_task_bitrate_bits_per_second",
        "What leaves.",
        live(&|task| task.progress.and_then(|p| Some(p.bitrate_kbps? * 1e3))),
    ));
    out.push(Figure::gauge(
        "lss_task_speed_ratio",
        "1 = real time; less = the machine is too slow.",
        live(&|task| task.progress.and_then(|p| p.speed)),
    ));
    out.push(Figure::gauge(
        "lss_task_dropped_frames",
        "Frames that this run's encoder has dropped.",
        live(&|task| task.progress.map(|p| count(p.drop_frames))),
    ));
    let children: Vec<(&StreamTask, ProcessFigures)> = tasks
        .iter()
        .filter_map(|task| Some((task, process::figures(task.process_id?)?)))
        .collect();
    out.push(Figure::counter(
        "lss_task_process_cpu_seconds_total",
        "Processor time of a task's process.",
        children
            .iter()
            .map(|(task, figures)| (id(task), figures.cpu_seconds))
            .collect(),
    ));
    out.push(Figure::gauge(
        "lss_task_process_resident_memory_bytes",
        "Memory of a task's process.",
        children
            .iter()
            .map(|(task, figures)| (id(task), count(figures.resident_bytes)))
            .collect(),
    ));
}

impl CloudSources {
    fn figures(&self, out: &mut Vec<Figure>) {
        let line = self.line.handle().status();
        out.push(Figure::gauge(
            "lss_ably_connection_state",
            "1 for the state that the connection is in.",
            vec![(
                vec![("state", line.connection.state.name().to_lowercase())],
                1.0,
            )],
        ));
        out.push(gauge(
            "lss_ably_connected",
            "Whether commands can arrive.",
            flag(line.connection.state == ConnectionState::Connected),
        ));
        out.push(counter(
            "lss_ably_connects_total",
            "Times the connection came up.",
            count(line.connects),
        ));
        out.push(counter(
            "lss_ably_continuity_losses_total",
            "Times a channel lost its continuity.",
            count(line.continuity_lost),
        ));
        out.push(counter(
            "lss_ably_events_dropped_total",
            "Task events that were dropped for want of room.",
            count(line.events_dropped),
        ));
        out.push(Figure::gauge(
            "lss_queue_length",
            "What waits.",
            [
                ("ably_results", line.results_waiting),
                ("ably_publishes", line.publishes_waiting),
                ("ably_held_commands", line.commands_held),
                ("rcs_callbacks", self.callbacks.waiting()),
            ]
            .map(|(queue, waiting)| (vec![("queue", queue.to_owned())], size(waiting)))
            .into(),
        ));
        out.push(gauge(
            "lss_ably_result_bytes",
            "Bytes of results that wait for their acknowledgement.",
            size(line.result_bytes),
        ));
        out.push(gauge(
            "lss_ably_cloned_machine_id",
            "Whether another node uses this machine's id.",
            flag(line.cloned),
        ));
    }
}

fn own_process(out: &mut Vec<Figure>) {
    out.push(counter(
        "lss_panics_total",
        "Faults of lss itself; each is in the log.",
        count(logging::panics()),
    ));
    let (open, limit) = process::open_files();
    out.push(gauge(
        "process_open_fds",
        "Number of open file descriptors.",
        count(open),
    ));
    out.push(gauge(
        "process_max_fds",
        "Maximum number of open file descriptors.",
        count(limit),
    ));
    let Some(figures) = process::figures(std::process::id()) else {
        return;
    };
    out.push(counter(
        "process_cpu_seconds_total",
        "Total user and system CPU time spent in seconds.",
        figures.cpu_seconds,
    ));
    out.push(gauge(
        "process_resident_memory_bytes",
        "Resident memory size in bytes.",
        count(figures.resident_bytes),
    ));
    out.push(gauge(
        "process_virtual_memory_bytes",
        "Virtual memory size in bytes.",
        count(figures.virtual_bytes),
    ));
    out.push(gauge(
        "process_threads",
        "Number of OS threads in the process.",
        count(figures.threads),
    ));
    if let Some(boot) = process::boot_time() {
        out.push(gauge(
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            boot + figures.started_after_boot,
        ));
    }
}
