//! The FFmpeg engine: a task → a judged command line, for the FFmpeg that is there.
//!
//! Owns the settings and what the last probe found. One probe runs at a time, on the thread of
//! whoever needs it first, without a lock held; the others wait for it, at most [`WAIT`]. None of
//! them is a thread that anybody else waits for: doors never come here. A probe that found nothing
//! usable is repeated when the next task comes (so an FFmpeg installed later needs no restart) and
//! whenever [`FfmpegEngine::refresh`] is called, and so is one whose program has been replaced
//! since. Knows no process of a task: it prepares, others run.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::domain::carry::Carried;
use crate::domain::engine::Launch;
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::stream::{SourceFacts, StreamSpec};
use crate::infrastructure::child::launch::Launcher;
use crate::util::secret::Secret;

use super::command::{self, FfmpegSettings};
use super::policy;
use super::probe::{Abilities, H264_ENCODERS, ProbeError, probe};

/// How long a task waits for a probe that another thread has begun.
const WAIT: Duration = Duration::from_secs(11);

/// How long an FFmpeg that hung is left alone.
const HANGING: Duration = Duration::from_secs(30);

/// What a probe found.
pub type ProbeResult = Result<Abilities, ProbeError>;

/// Told of each probe's result. Must not wait.
pub type ProbeListener = Box<dyn Fn(&ProbeResult) + Send + Sync>;

/// The engine. Shared by every thread that prepares tasks.
pub struct FfmpegEngine {
    state: Mutex<State>,
    changed: Condvar,
    launcher: Launcher,
    listener: ProbeListener,
}

struct State {
    settings: Arc<FfmpegSettings>,
    found: Found,
}

enum Found {
    /// Nobody has looked yet.
    Nothing,
    /// Somebody is looking.
    Probing,
    /// What the last look found.
    Known(Known),
}

/// What a look found, and when, and what stood at the path then.
struct Known {
    found: Arc<ProbeResult>,
    identity: Option<Identity>,
    at: Instant,
}

impl Known {
    /// Whether it still tells of what stands at the path. A failure does not (it is cheap to look
    /// again), but for one: an FFmpeg that hangs would hold up every task.
    fn holds(&self, identity: Option<&Identity>, now: Instant) -> bool {
        if self.identity.as_ref() != identity {
            return false;
        }
        match self.found.as_ref() {
            Ok(abilities) => abilities.whip,
            Err(ProbeError::Silent(_)) => now < self.at + HANGING,
            Err(_) => false,
        }
    }
}

/// What a task that needs the abilities does next.
enum Next {
    Take(Arc<ProbeResult>),
    Wait,
    Probe(Arc<FfmpegSettings>, Found),
}

/// Tells a program from the one that takes its place.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    path: PathBuf,
    device: u64,
    inode: u64,
    len: u64,
    modified: Option<SystemTime>,
}

impl Identity {
    fn read(settings: &FfmpegSettings) -> Option<Self> {
        let path = located(&settings.path)?;
        let meta = std::fs::metadata(&path).ok()?;
        Some(Self {
            path,
            device: meta.dev(),
            inode: meta.ino(),
            len: meta.len(),
            modified: meta.modified().ok(),
        })
    }
}

/// Where the program is: a bare name is looked for as starting it does, along `PATH`.
fn located(path: &Path) -> Option<PathBuf> {
    if path.components().count() != 1 || path.is_absolute() {
        return Some(path.to_owned());
    }
    let directories = std::env::var_os("PATH")?;
    std::env::split_paths(&directories)
        .map(|directory| directory.join(path))
        .find(|candidate| candidate.is_file())
}

impl FfmpegEngine {
    /// Not probed yet: [`FfmpegEngine::look`] does that, or the first task. `listener`
    /// is told of each probe's result.
    pub fn new(settings: FfmpegSettings, launcher: Launcher, listener: ProbeListener) -> Self {
        Self {
            state: Mutex::new(State {
                settings: Arc::new(settings),
                found: Found::Nothing,
            }),
            changed: Condvar::new(),
            launcher,
            listener,
        }
    }

    /// Looks what the FFmpeg at the path can do, unless somebody is looking just now: then waits
    /// for that one. Takes milliseconds; at most 10 s, if FFmpeg hangs.
    pub fn look(&self) -> Option<Arc<ProbeResult>> {
        self.go(self.next(|_| false))
    }

    /// Looks again where nothing usable was found, or where another program stands at the path
    /// since. Costs a `stat` otherwise. For a thread that does this every now and then.
    pub fn refresh(&self) {
        self.fresh();
    }

    /// What is known, if it still holds; else another look.
    fn fresh(&self) -> Option<Arc<ProbeResult>> {
        let identity = Identity::read(&self.settings());
        let now = Instant::now();
        self.go(self.next(|known| known.holds(identity.as_ref(), now)))
    }

    /// Decides under one lock, so that of many only one probes.
    fn next(&self, holds: impl FnOnce(&Known) -> bool) -> Next {
        let mut state = self.lock();
        match &state.found {
            Found::Known(known) if holds(known) => Next::Take(Arc::clone(&known.found)),
            Found::Probing => Next::Wait,
            Found::Known(_) | Found::Nothing => {
                let before = std::mem::replace(&mut state.found, Found::Probing);
                Next::Probe(Arc::clone(&state.settings), before)
            }
        }
    }

    fn go(&self, next: Next) -> Option<Arc<ProbeResult>> {
        let (settings, before) = match next {
            Next::Take(found) => return Some(found),
            Next::Wait => return self.wait(),
            Next::Probe(settings, before) => (settings, before),
        };
        // Whatever happens below, nobody is left waiting for a probe that never ends.
        let mut restore = Restore {
            engine: self,
            found: Some(before),
        };
        let identity = Identity::read(&settings);
        let found = Arc::new(probe(&settings.path, &self.launcher));
        restore.found = Some(Found::Known(Known {
            found: Arc::clone(&found),
            identity,
            at: Instant::now(),
        }));
        drop(restore);
        (self.listener)(&found);
        Some(found)
    }

    fn wait(&self) -> Option<Arc<ProbeResult>> {
        let until = Instant::now() + WAIT;
        let mut state = self.lock();
        loop {
            match &state.found {
                Found::Known(known) => return Some(Arc::clone(&known.found)),
                Found::Nothing => return None,
                Found::Probing => {}
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// The FFmpeg that there is, if it can send; else 40101 with what to do.
    pub fn usable(&self) -> Result<Usable, Fault> {
        let settings = self.settings();
        let found = self.fresh().ok_or_else(|| {
            Fault::new(
                ErrorCode::FfmpegNotFound,
                format!(
                    "{} has not yet said what it can do: try again",
                    settings.path.display()
                ),
            )
        })?;
        match found.as_ref() {
            Ok(abilities) if abilities.whip => Ok(Usable {
                settings,
                abilities: abilities.clone(),
            }),
            other => {
                let why = unusable(other).unwrap_or_default();
                Err(Fault::new(
                    ErrorCode::FfmpegNotFound,
                    advice(&why, &settings),
                ))
            }
        }
    }

    fn settings(&self) -> Arc<FfmpegSettings> {
        Arc::clone(&self.lock().settings)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An FFmpeg that can send, as it was when it was looked at.
pub struct Usable {
    settings: Arc<FfmpegSettings>,
    abilities: Abilities,
}

impl Usable {
    /// Whether it has an encoder for H.264.
    pub fn encodes(&self) -> bool {
        H264_ENCODERS
            .into_iter()
            .any(|encoder| self.abilities.has_encoder(encoder))
    }

    /// The command line of a task whose picture is carried so, by what its source has said of itself
    /// if it has been asked; or why there is none (20005, 40101, 30203).
    pub fn carry(
        &self,
        spec: &StreamSpec,
        carried: &Carried,
        facts: Option<&SourceFacts>,
    ) -> Result<Launch, Fault> {
        command::build(spec, carried, &self.settings, &self.abilities, facts)
    }

    /// What RCS has built for a task, judged; or why it is refused (20005).
    pub fn prebuilt(&self, spec: &StreamSpec, command: &Secret) -> Result<Launch, Fault> {
        let judged = policy::judge(command.expose(), spec, &self.settings, &self.abilities)?;
        for note in &judged.notes {
            log::info!(task:% = spec.task_id; "ffmpegCommand: {note}");
        }
        for warning in &judged.warnings {
            log::warn!(task:% = spec.task_id; "ffmpegCommand: {warning}");
        }
        Ok(judged.launch)
    }
}

/// Puts a result in place of [`Found::Probing`], also when the probe panics.
struct Restore<'a> {
    engine: &'a FfmpegEngine,
    found: Option<Found>,
}

impl Drop for Restore<'_> {
    fn drop(&mut self) {
        if let Some(found) = self.found.take() {
            self.engine.lock().found = found;
            self.engine.changed.notify_all();
        }
    }
}

/// Why what was found can't carry a stream.
fn unusable(found: &ProbeResult) -> Option<String> {
    match found {
        Ok(abilities) if abilities.whip => None,
        Ok(abilities) => Some(format!("FFmpeg {} has no whip muxer", abilities.version)),
        Err(why) => Some(why.to_string()),
    }
}

fn advice(why: &str, settings: &FfmpegSettings) -> String {
    format!(
        "{why}. Install FFmpeg 8.1 or newer (better 9.0) with the whip muxer, libx264 and libopus, \
         and name it in lss.ffmpeg.path or FFMPEG_PATH (now {})",
        settings.path.display()
    )
}

#[cfg(test)]
#[path = "engine_tests.rs"]
pub(in crate::infrastructure) mod tests;
