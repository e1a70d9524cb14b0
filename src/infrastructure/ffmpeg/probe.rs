//! What the configured FFmpeg can do: asked once, by running it, with deadlines and bounds.
//!
//! [`Abilities`] and its parser are pure; [`probe`] runs the program: started as every child is, at
//! most 256 KiB of output, always reaped. Knows no task.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::infrastructure::child::launch::{Launcher, RunMark};
use crate::infrastructure::child::leftovers::end_strays;
use crate::util::foreign::shown;

/// How long the three calls of FFmpeg may take together: a cold start from an SD card reads 70 MB first.
const DEADLINE: Duration = Duration::from_secs(10);
/// The most output looked at. The list of encoders is 20 KB.
const MAX_OUTPUT: usize = 256 * 1024;
/// Longest part of that which is shown, in characters.
const MAX_WORDS: usize = 200;

/// H.264 encoders that lss knows how to drive, the default first.
pub const H264_ENCODERS: [&str; 6] = [
    "libx264",
    "libopenh264",
    "h264_v4l2m2m",
    "h264_nvenc",
    "h264_qsv",
    "h264_rkmpp",
];

/// What an FFmpeg said of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Abilities {
    /// As it prints it: `n9.0.2-17-g2a571b6068`, `8.1.2`, `N-118000-gabcdef`.
    pub version: String,
    /// Has the whip muxer.
    pub whip: bool,
    /// The muxer's option names.
    pub whip_options: BTreeSet<String>,
    /// Encoders among [`H264_ENCODERS`], and `opus`, `libopus`.
    pub encoders: BTreeSet<String>,
}

impl Abilities {
    /// Reads the outputs of `-version`, `-h muxer=whip` and `-encoders`.
    pub fn parse(version: &str, muxer: &str, encoders: &str) -> Option<Self> {
        let first = version
            .lines()
            .find_map(|l| l.strip_prefix("ffmpeg version "))?;
        let version = shown(first.split_whitespace().next()?, 64);
        let whip = muxer.lines().any(|l| l.starts_with("Muxer whip"));
        let whip_options = muxer
            .lines()
            .filter(|_| whip)
            .filter_map(|l| {
                let l = l.strip_prefix("  ")?;
                let name = l.split_whitespace().next()?;
                match name.strip_prefix('-') {
                    Some(option) => Some(option.to_owned()),
                    // Constants of a flags option stand below it, deeper.
                    None if name == "dtls_active" => Some(name.to_owned()),
                    None => None,
                }
            })
            .collect();
        let encoders = encoders
            .lines()
            .filter_map(|l| l.split_whitespace().nth(1))
            .filter(|name| H264_ENCODERS.contains(name) || matches!(*name, "opus" | "libopus"))
            .map(str::to_owned)
            .collect();
        Some(Self {
            version,
            whip,
            whip_options,
            encoders,
        })
    }

    /// Whether the muxer has that option.
    pub fn has_whip_option(&self, name: &str) -> bool {
        self.whip_options.contains(name)
    }

    /// Whether that encoder is there.
    pub fn has_encoder(&self, name: &str) -> bool {
        self.encoders.contains(name)
    }

    /// Major version, where the version names one (builds from git do not).
    pub fn major(&self) -> Option<u32> {
        let digits = self.version.trim_start_matches('n');
        digits.split('.').next()?.parse().ok()
    }

    /// Whether it verifies the WHIP server's certificate: since 9.0, which also brought the
    /// muxer's `timeout` (so a build from git can be told too).
    pub fn verifies_certificates(&self) -> bool {
        match self.major() {
            Some(major) => major >= 9,
            None => self.has_whip_option("timeout"),
        }
    }

    /// What an operator should know, one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let mut out = Vec::new();
        if !self.whip {
            return out;
        }
        if !self.verifies_certificates() {
            out.push(format!(
                "FFmpeg {} does not verify the WHIP server's certificate: use 9.0 or newer",
                self.version
            ));
        }
        if !self.has_whip_option("whip_flags") {
            out.push(format!(
                "FFmpeg {} does not notice a WHIP server that has gone away: use 8.1 or newer",
                self.version
            ));
        }
        if !self.has_encoder("libx264") {
            out.push("this FFmpeg has no libx264: only tasks that name another encoder, or copy, can run".to_owned());
        }
        if !self.has_encoder("libopus") && !self.has_encoder("opus") {
            out.push("this FFmpeg has no Opus encoder: streams go out without sound".to_owned());
        }
        out
    }

    /// For `ffmpegVersion`.
    pub fn describe(&self) -> String {
        if self.whip {
            self.version.clone()
        } else {
            format!("{} (without the whip muxer)", self.version)
        }
    }
}

/// Why an FFmpeg could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// Nothing there.
    #[error("there is no program at {path}", path = .0.display())]
    Missing(PathBuf),
    /// There, but it could not be started.
    #[error("{path} can't be started: {why}", path = .path.display())]
    Start {
        /// Which program.
        path: PathBuf,
        /// The system's words.
        why: String,
    },
    /// Started, and did not answer in time.
    #[error("{path} does not answer", path = .0.display())]
    Silent(PathBuf),
    /// Answered, but not as an FFmpeg does.
    #[error("{path} is no FFmpeg that works: {why}", path = .path.display())]
    Strange {
        /// Which program.
        path: PathBuf,
        /// Its last words.
        why: String,
    },
}

/// Runs `path` three times and reads what it says. Takes milliseconds, at most 10 s.
pub fn probe(path: &Path, launcher: &Launcher) -> Result<Abilities, ProbeError> {
    probe_within(path, launcher, DEADLINE)
}

fn probe_within(
    path: &Path,
    launcher: &Launcher,
    within: Duration,
) -> Result<Abilities, ProbeError> {
    let until = Instant::now() + within;
    let version = run(path, &["-version"], launcher, until)?;
    let muxer = run(path, &["-hide_banner", "-h", "muxer=whip"], launcher, until)?;
    let encoders = run(path, &["-hide_banner", "-encoders"], launcher, until)?;
    Abilities::parse(&version.out, &muxer.out, &encoders.out).ok_or_else(|| {
        let words = [&version.err, &version.out]
            .iter()
            .find_map(|text| text.lines().rfind(|l| !l.trim().is_empty()))
            .unwrap_or("it prints nothing");
        ProbeError::Strange {
            path: path.to_owned(),
            why: shown(words, MAX_WORDS),
        }
    })
}

/// What one call printed.
struct Printed {
    out: String,
    err: String,
}

fn run(
    path: &Path,
    args: &[&str],
    launcher: &Launcher,
    until: Instant,
) -> Result<Printed, ProbeError> {
    let (out, err) = run_bounded(path, args, launcher, until, MAX_OUTPUT)?;
    Ok(Printed {
        out: String::from_utf8_lossy(&out).into_owned(),
        err: String::from_utf8_lossy(&err).into_owned(),
    })
}

/// Runs a program to its end, which comes before `until` if need be by SIGKILL to its group; what
/// it has written to stdout and stderr, each at most `max_output` bytes.
pub(super) fn run_bounded(
    path: &Path,
    args: &[&str],
    launcher: &Launcher,
    until: Instant,
    max_output: usize,
) -> Result<(Vec<u8>, Vec<u8>), ProbeError> {
    let start = |e: &io::Error| match e.kind() {
        io::ErrorKind::NotFound => ProbeError::Missing(path.to_owned()),
        _ => ProbeError::Start {
            path: path.to_owned(),
            why: e.to_string(),
        },
    };
    let mark = RunMark::next();
    let mut child = launcher
        .spawn_reading(path.as_os_str(), args, Stdio::null(), mark)
        .map_err(|e| start(&e))?;
    let printed = read_both(&mut child, until, max_output);
    let ended = ends(&mut child, until);
    if !ended || printed.is_err() {
        end_group(&mut child);
        end_strays(mark);
    }
    match printed {
        Ok(Some(printed)) if ended => Ok(printed),
        Ok(_) => Err(ProbeError::Silent(path.to_owned())),
        Err(e) => Err(start(&e)),
    }
}

/// Reads stdout and stderr to their ends; `None` if they have none before `until`. What exceeds
/// the bound is read and dropped, so that the child does not block on a full pipe.
fn read_both(
    child: &mut Child,
    until: Instant,
    max_output: usize,
) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let (Some(mut out), Some(mut err)) = (child.stdout.take(), child.stderr.take()) else {
        return Ok(None);
    };
    for fd in [out.as_fd(), err.as_fd()] {
        fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    }
    let (mut out_text, mut err_text) = (Vec::new(), Vec::new());
    let (mut out_open, mut err_open) = (true, true);
    while out_open || err_open {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let mut fds = Vec::with_capacity(2);
        if out_open {
            fds.push(PollFd::new(out.as_fd(), PollFlags::POLLIN));
        }
        if err_open {
            fds.push(PollFd::new(err.as_fd(), PollFlags::POLLIN));
        }
        match poll(
            &mut fds,
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX),
        ) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
        if out_open {
            out_open = read_some(&mut out, &mut out_text, max_output)?;
        }
        if err_open {
            err_open = read_some(&mut err, &mut err_text, max_output)?;
        }
    }
    Ok(Some((out_text, err_text)))
}

/// Reads what is there; whether there can be more.
fn read_some(from: &mut impl Read, into: &mut Vec<u8>, max_output: usize) -> io::Result<bool> {
    let mut buffer = [0; 8192];
    match from.read(&mut buffer) {
        Ok(0) => Ok(false),
        Ok(n) => {
            let room = max_output.saturating_sub(into.len()).min(n);
            into.extend_from_slice(buffer.get(..room).unwrap_or_default());
            Ok(true)
        }
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
            ) =>
        {
            Ok(true)
        }
        Err(e) => Err(e),
    }
}

/// Waits for the end that follows closed pipes; whether it came before `until`.
fn ends(child: &mut Child, until: Instant) -> bool {
    loop {
        match child.try_wait() {
            Ok(Some(_)) => return true,
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(2)),
            Ok(None) | Err(_) => return false,
        }
    }
}

/// SIGKILL to the whole group, then reaps. (A process that even SIGKILL does not end within a
/// second hangs in the kernel; it is left to init.)
fn end_group(child: &mut Child) {
    if let Ok(pid) = i32::try_from(child.id()) {
        // Gone already is as good.
        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
    }
    ends(child, Instant::now() + Duration::from_secs(1));
}

impl fmt::Display for Abilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infrastructure::child::marker::Marker;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    const MUXER_9: &str = "Muxer whip [WHIP(WebRTC-HTTP ingestion protocol) muxer]:\n    Default video codec: h264.\n    Default audio codec: opus.\nWHIP muxer AVOptions:\n  -handshake_timeout <int>        E.......... Timeout in milliseconds (default 5000)\n  -timeout           <duration>   E.......... Set timeout for socket I/O operations\n  -ts_buffer_size    <int>        E.......... The buffer size\n  -whip_flags        <flags>      E.......... Set flags (default 0)\n     dtls_active                  E.......... Set dtls role as active\n  -authorization     <string>     E.......... The optional Bearer token\n\n\nExiting with exit code 0\n";
    const MUXER_81: &str = "Muxer whip [WHIP(WebRTC-HTTP ingestion protocol) muxer]:\nWHIP muxer AVOptions:\n  -handshake_timeout <int>        E.......... Timeout\n  -whip_flags        <flags>      E.......... Set flags (default 0)\n     dtls_active                  E.......... Set dtls role as active\n";
    const ENCODERS: &str = "Encoders:\n V..... = Video\n ------\n V....D libx264              libx264 H.264 / AVC (codec h264)\n V....D libx264rgb           libx264 RGB (codec h264)\n A....D aac                  AAC\n A..X.D opus                 Opus\n A....D libopus              libopus Opus (codec opus)\n";

    fn abilities(version: &str, muxer: &str) -> Abilities {
        let version = format!(
            "ffmpeg version {version} Copyright (c) 2000-2026 the FFmpeg developers\nbuilt with gcc\n"
        );
        Abilities::parse(&version, muxer, ENCODERS).unwrap()
    }

    #[test]
    fn a_complete_one() {
        let a = abilities("n9.0.2-17-g2a571b6068-20260930", MUXER_9);
        assert!(a.whip && a.verifies_certificates());
        assert_eq!(a.major(), Some(9));
        for option in ["timeout", "dtls_active", "authorization", "whip_flags"] {
            assert!(a.has_whip_option(option), "{option}");
        }
        let encoders: Vec<&str> = a.encoders.iter().map(String::as_str).collect();
        assert_eq!(encoders, ["libopus", "libx264", "opus"]);
        assert_eq!(a.warnings(), Vec::<String>::new());
        assert_eq!(a.describe(), "n9.0.2-17-g2a571b6068-20260930");
    }

    #[test]
    fn before_9_0_certificates_are_not_verified() {
        let a = abilities("8.1.2-0+deb14u1", MUXER_81);
        assert!(!a.has_whip_option("timeout"));
        assert!(!a.verifies_certificates());
        assert!(a.warnings()[0].contains("does not verify"));
        let git = abilities("N-118000-gabcdef", MUXER_9);
        assert_eq!(git.major(), None);
        assert!(git.verifies_certificates());
    }

    #[test]
    fn without_the_muxer() {
        let a = abilities("5.1.6-0+deb12u1", "Unknown format 'whip'.\n");
        assert!(!a.whip && a.whip_options.is_empty());
        assert_eq!(a.describe(), "5.1.6-0+deb12u1 (without the whip muxer)");
    }

    /// A program that does what `script` says. Written by another process: an open descriptor of
    /// ours, inherited by a child that another test forks just then, would make it "busy".
    fn program(dir: &tempfile::TempDir, script: &str) -> PathBuf {
        let path = dir.path().join("ffmpeg");
        let written = Command::new("sh")
            .args([
                "-c",
                r#"printf '#!/bin/sh\n%s\n' "$1" > "$2" && chmod 755 "$2""#,
                "-",
            ])
            .arg(script)
            .arg(&path)
            .status()
            .unwrap();
        assert!(written.success());
        path
    }

    #[test]
    fn each_way_to_fail_has_its_words() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("none");
        assert_eq!(
            probe(&missing, &Launcher::of_no_node()),
            Err(ProbeError::Missing(missing.clone()))
        );
        let path = program(
            &dir,
            "echo 'error while loading shared libraries: libx.so' >&2; exit 127",
        );
        let said = probe(&path, &Launcher::of_no_node())
            .unwrap_err()
            .to_string();
        assert!(said.contains("libx.so"), "{said}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(
            probe(&path, &Launcher::of_no_node()),
            Err(ProbeError::Start { .. })
        ));
    }

    #[test]
    fn one_that_hangs_is_ended_with_all_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let pids = dir.path().join("pids");
        // The last one leaves the group.
        let script = format!(
            "sleep 60 & echo $$ $! > {0}; setsid sh -c 'echo $$ >> {0}; exec sleep 60' & wait",
            pids.display()
        );
        let path = program(&dir, &script);
        let within = Duration::from_millis(300);
        assert_eq!(
            probe_within(&path, &Launcher::of_no_node(), within),
            Err(ProbeError::Silent(path.clone()))
        );
        let text = std::fs::read_to_string(&pids).unwrap();
        for pid in text.split_whitespace() {
            let until = Instant::now() + Duration::from_secs(5);
            // The grandchild is init's to reap: a zombie has been ended too.
            while is_running(pid) {
                assert!(Instant::now() < until, "{pid} lives");
                std::thread::yield_now();
            }
        }
    }

    fn is_running(pid: &str) -> bool {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
            !stat
                .rsplit(')')
                .next()
                .unwrap_or("")
                .trim()
                .starts_with('Z')
        })
    }

    #[test]
    fn a_flood_is_read_and_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = program(
            &dir,
            "echo 'ffmpeg version 9.1 x'; head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2",
        );
        let a = probe(&path, &Launcher::of_no_node()).unwrap();
        assert_eq!((a.version.as_str(), a.whip), ("9.1", false));
    }

    #[test]
    fn nothing_of_ours_is_in_its_environment() {
        let dir = tempfile::tempdir().unwrap();
        let path = program(
            &dir,
            "echo \"ffmpeg version $LSS_CHILD_OF_NODE-${CARGO_MANIFEST_DIR:-none} x\"",
        );
        let launcher = Launcher::new(Marker::of_this_process("lss-7"));
        let a = probe(&path, &launcher).unwrap();
        assert_eq!(a.version, "lss-7-none");
    }
}
