//! Metrics of tasks and their processes.

use std::collections::BTreeMap;

use super::{count, flag};
use crate::domain::metrics::{LabelValue, Labels, Metric, Sample};
use crate::domain::stream::{Cause, StreamStatus, StreamTask};
use crate::infrastructure::process::{self, ProcessUsage};

pub(super) fn metrics(tasks: &[StreamTask], out: &mut Vec<Metric>) {
    counters(tasks, out);
    let states = tasks.iter().flat_map(|task| {
        StreamStatus::ALL
            .into_iter()
            .filter(|status| *status != StreamStatus::Idle)
            .map(move |status| {
                (
                    with(task, "state", LabelValue::lower(status.name())),
                    flag(task.status == status),
                )
            })
    });
    out.push(Metric::gauge(
        "lss_task_state",
        "1 for the state that a task is in, 0 for the others.",
        states.collect(),
    ));
    let starts = tasks.iter().flat_map(|task| {
        task.tally.start.iter().flat_map(move |split| {
            let phases = [
                ("source", split.source),
                ("session", Some(split.session)),
                ("media", Some(split.media)),
                ("streaming", Some(split.streaming)),
            ];
            phases
                .into_iter()
                .filter_map(|(phase, took)| Some((with(task, "phase", phase), took?.as_secs_f64())))
        })
    });
    out.push(Metric::gauge(
        "lss_task_start_seconds",
        "How long the last start took, from the process's start: until the source was open and the WHIP handshake began, until that was done, until media, until STREAMING.",
        starts.collect(),
    ));
    progress(tasks, out);
    processes(tasks, out);
}

fn id(task: &StreamTask) -> Labels {
    let id = task.spec.task_id.as_str().to_owned();
    vec![("task", LabelValue::Foreign(id))]
}

fn with(task: &StreamTask, name: &'static str, value: impl Into<LabelValue>) -> Labels {
    let mut labels = id(task);
    labels.push((name, value.into()));
    labels
}

/// One sample a task that has one.
fn each(tasks: &[StreamTask], value: impl Fn(&StreamTask) -> Option<f64>) -> Vec<Sample> {
    tasks
        .iter()
        .filter_map(|task| Some((id(task), value(task)?)))
        .collect()
}

fn counters(tasks: &[StreamTask], out: &mut Vec<Metric>) {
    out.push(Metric::counter(
        "lss_task_runs_total",
        "Processes started for a task.",
        each(tasks, |task| Some(count(task.tally.runs))),
    ));
    let by_cause = |counted: fn(&StreamTask) -> &BTreeMap<Cause, u64>| -> Vec<Sample> {
        let of = |task| {
            let counts = counted(task).iter();
            counts.map(move |(cause, times)| (with(task, "cause", cause.name()), count(*times)))
        };
        tasks.iter().flat_map(of).collect()
    };
    out.push(Metric::counter(
        "lss_task_failures_total",
        "Runs that ended unasked, by cause; each is tried again or ends the task.",
        by_cause(|task| &task.tally.failures),
    ));
    out.push(Metric::counter(
        "lss_task_restarts_total",
        "Runs that were started again, by the cause for which the one before had ended.",
        by_cause(|task| &task.tally.restarts),
    ));
    out.push(Metric::counter(
        "lss_task_stalls_total",
        "Runs that were ended because no media left.",
        each(tasks, |task| Some(count(task.tally.stalls))),
    ));
}

/// Of a run that is over there is no present.
fn progress(tasks: &[StreamTask], out: &mut Vec<Metric>) {
    let live = |value: fn(&crate::domain::stream::Progress) -> Option<f64>| -> Vec<Sample> {
        each(tasks, |task| {
            let streams = task.status == StreamStatus::Streaming;
            value(task.progress.as_ref().filter(|_| streams)?)
        })
    };
    out.push(Metric::gauge(
        "lss_task_fps",
        "Frames a second.",
        live(|progress| progress.fps),
    ));
    out.push(Metric::gauge(
        "lss_task_bitrate_bits_per_second",
        "What leaves, where the engine tells.",
        live(|progress| Some(progress.bitrate_kbps? * 1e3)),
    ));
    out.push(Metric::gauge(
        "lss_task_speed_ratio",
        "1 = real time; less = the machine is too slow.",
        live(|progress| progress.speed),
    ));
    out.push(Metric::gauge(
        "lss_task_dropped_frames",
        "Frames that this run's encoder has dropped.",
        live(|progress| Some(count(progress.drop_frames))),
    ));
    out.push(Metric::gauge(
        "lss_task_uplink_round_trip_seconds",
        "There and back between lss and the WHIP endpoint, where lss itself sends.",
        live(|progress| Some(progress.uplink?.round_trip?.as_secs_f64())),
    ));
    out.push(Metric::gauge(
        "lss_task_uplink_loss_ratio",
        "Part of the packets that the WHIP endpoint missed, of its last reports, where lss itself sends.",
        live(|progress| progress.uplink?.loss),
    ));
    out.push(Metric::gauge(
        "lss_task_uplink_nacks",
        "Requests of the WHIP endpoint for packets to be sent again, in this session.",
        live(|progress| Some(count(progress.uplink?.nacks))),
    ));
    out.push(Metric::gauge(
        "lss_task_uplink_keyframe_requests",
        "Requests of the WHIP endpoint for a keyframe, in this session.",
        live(|progress| Some(count(progress.uplink?.keyframe_requests))),
    ));
    out.push(Metric::gauge(
        "lss_task_uplink_bytes",
        "Bytes of media that went out in this session; kind `resent`: those that were sent again.",
        tasks
            .iter()
            .filter(|task| task.status == StreamStatus::Streaming)
            .filter_map(|task| Some((task, task.progress.as_ref()?.uplink?)))
            .flat_map(|(task, uplink)| {
                [("sent", uplink.sent_bytes), ("resent", uplink.resent_bytes)]
                    .map(|(kind, bytes)| (with(task, "kind", kind), count(bytes)))
            })
            .collect(),
    ));
}

fn processes(tasks: &[StreamTask], out: &mut Vec<Metric>) {
    // A pid that has been given to somebody else since is no child of ours.
    let ours = |usage: &ProcessUsage| usage.parent == std::process::id();
    let live: Vec<(&StreamTask, Option<ProcessUsage>)> = tasks
        .iter()
        .map(|task| {
            let usage = task.process_id.and_then(process::usage).filter(ours);
            (task, usage)
        })
        .collect();
    let spent = live.iter().filter_map(|(task, usage)| {
        let running = match (task.process_id, usage) {
            (_, Some(usage)) => usage.cpu.as_secs_f64(),
            (None, None) => 0.0,
            // Reaped since the list was made: its time is in neither now.
            (Some(_), None) => return None,
        };
        Some((id(task), task.tally.cpu.as_secs_f64() + running))
    });
    out.push(Metric::counter(
        "lss_task_process_cpu_seconds_total",
        "Processor time of a task's processes, one after the other.",
        spent.collect(),
    ));
    let resident = live
        .iter()
        .filter_map(|(task, usage)| Some((id(task), count(usage.as_ref()?.resident_bytes))));
    out.push(Metric::gauge(
        "lss_task_process_resident_memory_bytes",
        "Memory of a task's process.",
        resident.collect(),
    ));
}
