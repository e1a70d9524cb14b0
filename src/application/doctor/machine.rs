//! The machine itself, its FFmpeg, and a daemon that runs already.

use std::fmt::Write as _;

use super::{Check, Datum};
use crate::domain::checkup::{
    ClockDiscipline, FfmpegLook, MachineLook, NodeLook, PortLook, RunningNode,
};

/// Less memory than this, in bytes, is too little for a decoder and an encoder.
const LITTLE_MEMORY: u64 = 128 << 20;
/// Less room than this, in bytes, soon stops journals and updates.
const LITTLE_DISK: u64 = 200 << 20;
/// Fewer open files are little for 64 connections and a few pipes a child.
const FEW_FILES: u64 = 1024;
/// FFmpeg's encoder that the spec's tasks name.
const USUAL_ENCODER: &str = "libx264";
/// The release that checks certificates.
const GET_FFMPEG: &str = "install FFmpeg 9.0 or newer, built with the whip muxer, libx264 and \
    libopus, and name it in lss.ffmpeg.path (or FFMPEG_PATH)";

/// FFmpeg and its encoders.
pub fn ffmpeg(look: &FfmpegLook) -> Vec<Check> {
    let path = look.path.display().to_string();
    let facts = match &look.found {
        Ok(facts) => facts,
        Err(why) => {
            let words = format!("no FFmpeg that works: {why}");
            return vec![without(look, words).with("path", Datum::Text(path))];
        }
    };
    let version = format!("FFmpeg {} ({path})", facts.version);
    let main = if !facts.whip {
        without(
            look,
            format!("{version} has no whip muxer: it can send no stream"),
        )
    } else if !facts.notices_lost_peer {
        let words = format!(
            "{version} sends WHIP, but checks no certificate and does not notice a receiver that \
             has gone"
        );
        Check::warn("ffmpeg", words, "use FFmpeg 9.0 or newer")
    } else if !facts.verifies_certificates {
        let words = format!(
            "{version} sends WHIP, but does not check the receiver's certificate: whoever sits on \
             the way can take the stream"
        );
        Check::warn("ffmpeg", words, "use FFmpeg 9.0 or newer")
    } else {
        // Nothing to be done about it here; whoever orders streams with a bearer should know.
        let words = format!(
            "{version} sends WHIP; its muxer follows an endpoint's redirects to any host, a bearer \
             (-authorization) included"
        );
        Check::pass("ffmpeg", words)
    };
    let mut checks = vec![
        main.with("path", Datum::Text(path))
            .with("version", Datum::Text(facts.version.clone()))
            .with("whip", Datum::Flag(facts.whip)),
    ];
    if facts.whip {
        checks.push(encoders(&facts.h264, facts.opus));
    }
    checks
}

/// No FFmpeg that sends.
fn without(look: &FfmpegLook, words: String) -> Check {
    if look.spared {
        let words = format!(
            "{words}; lss itself sends what goes out as the camera sends it, and nothing else"
        );
        Check::warn("ffmpeg", words, GET_FFMPEG)
    } else {
        Check::fail("ffmpeg", words, GET_FFMPEG)
    }
}

fn encoders(h264: &[String], opus: bool) -> Check {
    let hardware: Vec<&str> = h264
        .iter()
        .map(String::as_str)
        .filter(|name| !name.starts_with("lib"))
        .collect();
    let has_usual = h264.iter().any(|name| name == USUAL_ENCODER);
    let check = if h264.is_empty() {
        Check::fail(
            "ffmpeg.encoders",
            "no H.264 encoder that lss can drive: only what goes out as the camera sends it can run (see \
             lss.ffmpeg.passthrough, and tasks with codec copy)",
            "use an FFmpeg built with libx264",
        )
    } else if !has_usual {
        Check::warn(
            "ffmpeg.encoders",
            format!(
                "no libx264: tasks that ask for it can't run, and those that name no encoder take {}",
                h264.first().map_or("none", String::as_str)
            ),
            "use an FFmpeg built with libx264",
        )
    } else if !opus {
        Check::warn(
            "ffmpeg.encoders",
            "libx264, but no Opus encoder: streams go out without sound",
            "use an FFmpeg built with libopus",
        )
    } else if hardware.is_empty() {
        Check::pass(
            "ffmpeg.encoders",
            "libx264 and Opus; no hardware encoder is built in",
        )
    } else {
        // Built in is not usable: that shows only when it is tried, with the device there.
        let words = format!(
            "libx264 and Opus; hardware encoders built in, if the machine has the chip: {}",
            hardware.join(", ")
        );
        Check::pass("ffmpeg.encoders", words)
    };
    check
        .with("h264", Datum::List(h264.to_vec()))
        .with("opus", Datum::Flag(opus))
}

/// Whether the clock is kept right from now on.
pub fn clock_discipline(look: &ClockDiscipline) -> Check {
    match look {
        ClockDiscipline::Held => Check::pass(
            "clock.sync",
            "the kernel's clock is kept right by a time service",
        ),
        ClockDiscipline::Free => Check::warn(
            "clock.sync",
            "no time service keeps the clock right: it will drift, and after a power cut it may \
             start years off",
            "switch one on: `timedatectl set-ntp true`, or chrony; let UDP port 123 out",
        ),
        ClockDiscipline::Unknown(why) => Check::warn(
            "clock.sync",
            format!("the kernel does not say whether the clock is kept right: {why}"),
            "look at `timedatectl`",
        ),
    }
}

/// Processors, memory, disk; addresses.
pub fn machine(look: &MachineLook) -> Vec<Check> {
    vec![resources(look), addresses(look)]
}

fn resources(look: &MachineLook) -> Check {
    let mib = |bytes: u64| bytes >> 20;
    let mut words = format!(
        "{}, {} {}",
        look.os,
        look.cores,
        if look.cores == 1 { "core" } else { "cores" }
    );
    if let Some(load) = look.load {
        let _ = write!(words, ", load {load:.1}");
    }
    let _ = write!(
        words,
        ", memory {} of {} MB free",
        mib(look.memory_free),
        mib(look.memory)
    );
    if let Some(disk) = look.disk_free {
        let _ = write!(words, ", disk {} MB free", mib(disk));
    }
    if let Some(files) = look.open_files {
        let _ = write!(words, ", open files up to {files}");
    }
    let mut advice = Vec::new();
    if look.memory > 0 && look.memory_free < LITTLE_MEMORY {
        advice.push("little memory is free: a stream that is encoded anew takes 100 MB and more");
    }
    if look.disk_free.is_some_and(|d| d < LITTLE_DISK) {
        advice.push("the disk is nearly full: make room, the system's journal needs some");
    }
    if look.open_files.is_some_and(|f| f < FEW_FILES) {
        advice.push("raise the limit of open files (LimitNOFILE= in the unit) to 4096");
    }
    #[expect(clippy::cast_precision_loss)] // Cores are few.
    if look
        .load
        .is_some_and(|l| l > 2.0 * look.cores.max(1) as f64)
    {
        advice.push("the machine is overloaded: see with `top` by what");
    }
    let check = if advice.is_empty() {
        Check::pass("machine", words)
    } else {
        Check::warn("machine", words, advice.join("; "))
    };
    let whole = |n: u64| Datum::Whole(i64::try_from(n).unwrap_or(i64::MAX));
    let mut check = check
        .with("cores", whole(look.cores as u64))
        .with("memory", whole(look.memory))
        .with("memoryFree", whole(look.memory_free));
    if let Some(disk) = look.disk_free {
        check = check.with("diskFree", whole(disk));
    }
    if let Some(files) = look.open_files {
        check = check.with("openFiles", whole(files));
    }
    match look.load {
        Some(load) => check.with("load", Datum::Number(load)),
        None => check,
    }
}

fn addresses(look: &MachineLook) -> Check {
    let usable: Vec<String> = look
        .addresses
        .iter()
        .filter(|(_, ip, _)| match ip {
            std::net::IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
            std::net::IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
        })
        .map(|(name, ip, prefix)| format!("{name} {ip}/{prefix}"))
        .collect();
    let check = if usable.is_empty() {
        Check::warn(
            "addresses",
            "this machine has no network address but its own loopback",
            "is the cable in, does the network give out addresses (DHCP)?",
        )
    } else {
        Check::pass("addresses", usable.join(", "))
    };
    check.with("addresses", Datum::List(usable))
}

/// Whether a daemon runs, and how it is.
pub fn node(node_id: &str, look: &NodeLook) -> Check {
    let data = |check: Check, runs| {
        check
            .with("nodeId", Datum::Text(node_id.to_owned()))
            .with("running", Datum::Flag(runs))
    };
    let check = match look {
        NodeLook::Absent => Check::pass(
            "node",
            format!("no daemon of {node_id} runs on this machine: all is asked from here"),
        ),
        NodeLook::Runs(Err(why)) => Check::warn(
            "node",
            format!("a daemon of {node_id} runs, and its REST API does not answer: {why}"),
            "look at its log (`journalctl -u lss`); restart it if it hangs",
        ),
        NodeLook::Runs(Ok(RunningNode { status, troubles })) => {
            let words = format!(
                "a daemon of {node_id} runs and says {status}; its port is taken by itself, and \
                 the cameras it knows are looked at too"
            );
            if troubles.is_empty() {
                Check::pass("node", words)
            } else {
                let list: Vec<String> = troubles
                    .iter()
                    .map(|(part, reason)| format!("{part} ({reason})"))
                    .collect();
                Check::warn(
                    "node",
                    format!("{words}; not up: {}", list.join(", ")),
                    "the lines below look at each of these from here; the daemon's log says more",
                )
            }
        }
    };
    data(check, !matches!(look, NodeLook::Absent))
}

/// Whether the REST API can have its port.
pub fn rest_port(at: &str, look: &PortLook) -> Check {
    match look {
        PortLook::Free => Check::pass("rest", format!("{at} is free for the REST API")),
        PortLook::Ours => Check::pass("rest", format!("the running daemon listens on {at}")),
        PortLook::Taken => Check::fail(
            "rest",
            format!("another program has {at}: the daemon can't start"),
            "see by `ss -ltnp` which; end it, or set another server.port",
        ),
        PortLook::Unusable(why) => Check::fail(
            "rest",
            format!("the REST API can't listen on {at}: {why}"),
            "set server.listen to an address of this machine, or leave it out; ports below 1024 \
             need root",
        ),
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
