//! Metrics of lss's own process.

use super::{by, count, counter, gauge};
use crate::domain::metrics::Metric;
use crate::infrastructure::process;
use crate::logging;

pub(super) fn metrics(out: &mut Vec<Metric>) {
    let panics = logging::panics();
    out.push(Metric::counter(
        "lss_panics_total",
        "Faults of lss itself, by the thread that one struck; each is in the log.",
        by("thread", panics.map(|(thread, n)| (thread, count(n)))).collect(),
    ));
    let lost = logging::lost();
    let lost = [("no_room", lost.no_room), ("not_written", lost.not_written)];
    out.push(Metric::counter(
        "lss_log_lines_dropped_total",
        "Log lines that nobody will read: the queue was full, because stderr is not read, or stderr did not take them.",
        by("reason", lost.map(|(reason, n)| (reason, count(n)))).collect(),
    ));
    if let Some(spent) = process::ended_children_cpu() {
        out.push(counter(
            "lss_ended_processes_cpu_seconds_total",
            "Processor time of every process that lss has started and that has ended, those for pictures and questions included.",
            spent.as_secs_f64(),
        ));
    }
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
    let Some(usage) = process::usage(std::process::id()) else {
        return;
    };
    out.push(counter(
        "process_cpu_seconds_total",
        "Total user and system CPU time spent in seconds.",
        usage.cpu.as_secs_f64(),
    ));
    out.push(gauge(
        "process_resident_memory_bytes",
        "Resident memory size in bytes.",
        count(usage.resident_bytes),
    ));
    out.push(gauge(
        "process_virtual_memory_bytes",
        "Virtual memory size in bytes.",
        count(usage.virtual_bytes),
    ));
    out.push(gauge(
        "process_threads",
        "Number of OS threads in the process.",
        count(usage.threads),
    ));
    if let Some(boot) = process::boot_time() {
        out.push(gauge(
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            boot + usage.started_after_boot,
        ));
    }
}
