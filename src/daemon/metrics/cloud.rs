//! Metrics of the cloud's clients.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use crossbeam_channel::Sender;

use super::{by, count, counter, flag, gauge, size};
use crate::domain::gateway::CloudMessage;
use crate::domain::metrics::{LabelValue, Metric, QueueMetric, Sample};
use crate::infrastructure::ably::connection::MAX_HELD;
use crate::infrastructure::ably::connection::ledger::PLACES;
use crate::infrastructure::ably::connection::types::{ChannelState, ConnectionState};
use crate::infrastructure::ably::line::AblyLine;
use crate::infrastructure::rcs::{RcsClient, TaskCallbacks};

/// Of the cloud's clients.
pub struct CloudSources {
    pub line: AblyLine,
    pub client: Arc<RcsClient>,
    pub callbacks: TaskCallbacks,
    /// The way to the command door, as long as there is one.
    pub commands: Weak<Sender<CloudMessage>>,
    pub replaced: Arc<Replaced>,
}

/// Threads that others have taken the place of, because they hung or had ended by a fault.
#[derive(Debug, Default)]
pub struct Replaced {
    pub ably: AtomicU64,
    pub heartbeat: AtomicU64,
    pub callback: AtomicU64,
}

impl CloudSources {
    pub(super) fn metrics(&self, out: &mut Vec<Metric>) {
        self.line(out);
        self.rcs(out);
        let replaced = [
            ("ably", &self.replaced.ably),
            ("rcs-heartbeat", &self.replaced.heartbeat),
            ("rcs-callback", &self.replaced.callback),
        ];
        let replaced =
            replaced.map(|(thread, times)| (thread, count(times.load(Ordering::Relaxed))));
        out.push(Metric::counter(
            "lss_thread_replacements_total",
            "Threads that were replaced because they hung or had ended by a fault of lss.",
            by("thread", replaced).collect(),
        ));
    }

    pub(super) fn queues(&self) -> Vec<QueueMetric> {
        let line = self.line.handle().status();
        let commands = self.commands.upgrade();
        let capacity = commands.as_ref().and_then(|queue| queue.capacity());
        vec![
            QueueMetric {
                name: "cloud_commands",
                waiting: commands.map_or(0, |queue| queue.len()),
                bound: capacity,
            },
            QueueMetric::bounded("ably_results", line.results_waiting, PLACES),
            QueueMetric {
                name: "ably_publishes",
                waiting: line.publishes_waiting,
                // Results, events and what only the newest of waits: each has its own.
                bound: None,
            },
            QueueMetric::bounded("ably_held_commands", line.commands_held, MAX_HELD),
            QueueMetric::bounded(
                "rcs_callbacks",
                self.callbacks.waiting(),
                self.callbacks.limit(),
            ),
        ]
    }

    fn line(&self, out: &mut Vec<Metric>) {
        let line = self.line.handle().status();
        let states = ConnectionState::ALL.map(|state| {
            let is = flag(state == line.connection.state);
            (vec![("state", LabelValue::lower(state.name()))], is)
        });
        out.push(Metric::gauge(
            "lss_ably_connection_state",
            "1 for the state that the connection is in, 0 for the others.",
            states.into(),
        ));
        let channels = [
            ("commands", line.commands.state),
            ("registry", line.registry.state),
        ];
        let states = channels.into_iter().flat_map(|(channel, now)| {
            ChannelState::ALL.map(|state| -> Sample {
                let labels = vec![
                    ("channel", channel.into()),
                    ("state", LabelValue::lower(state.name())),
                ];
                (labels, flag(state == now))
            })
        });
        out.push(Metric::gauge(
            "lss_ably_channel_state",
            "1 for the state that a channel is in, 0 for the others.",
            states.collect(),
        ));
        let connected = line.connection.state == ConnectionState::Connected;
        let attached = line.commands.state == ChannelState::Attached;
        out.push(gauge(
            "lss_ably_connected",
            "Whether the connection is up.",
            flag(connected),
        ));
        out.push(gauge(
            "lss_ably_commands_arrive",
            "Whether commands can arrive: the connection is up and the command channel attached.",
            flag(connected && attached),
        ));
        out.push(gauge(
            "lss_ably_present",
            "Whether the node is known to be in the registry.",
            flag(line.present),
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

    fn rcs(&self, out: &mut Vec<Metric>) {
        let requests = self.client.exchanges().into_iter().flat_map(|door| {
            let sample = |outcome: &'static str, n: u64| -> Sample {
                let labels = vec![("request", door.name.into()), ("outcome", outcome.into())];
                (labels, count(n))
            };
            [sample("taken", door.taken), sample("failed", door.failed)]
        });
        out.push(Metric::counter(
            "lss_rcs_requests_total",
            "Requests to RCS, and whether it took what they told.",
            requests.collect(),
        ));
        let lost = self.callbacks.lost();
        let lost = [
            ("no_room", lost.no_room),
            ("refused", lost.refused),
            ("expired", lost.expired),
        ];
        out.push(Metric::counter(
            "lss_rcs_callbacks_lost_total",
            "Callbacks that RCS will never get: there was no room, or it refused them, for good or for an hour.",
            by("reason", lost.map(|(reason, n)| (reason, count(n)))).collect(),
        ));
    }
}
