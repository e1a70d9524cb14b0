//! The engine, and what is done in the background while REST answers already.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::application::health::HealthBoard;
use crate::application::node::NodeRegistry;
use crate::config::{Config, EngineChoice, Passthrough};
use crate::domain::health::{Part, PartStatus};
use crate::infrastructure::child::launch::Launcher;
use crate::infrastructure::child::leftovers::end_leftovers;
use crate::infrastructure::child::marker::Marker;
use crate::infrastructure::ffmpeg::command::FfmpegSettings;
use crate::infrastructure::ffmpeg::engine::{FfmpegEngine, ProbeResult};
use crate::infrastructure::ffmpeg::probe::Abilities;
use crate::infrastructure::relay::CARRIES;
use crate::util::time::Now;

/// Whether streams go out without FFmpeg, as far as they stay as they are: then a node without one is
/// ready.
pub fn needs_no_ffmpeg(config: &Config) -> bool {
    let ffmpeg = &config.ffmpeg;
    let stays = match ffmpeg.engine {
        EngineChoice::Relay => true,
        EngineChoice::Auto => ffmpeg.passthrough != Passthrough::Never,
        EngineChoice::Ffmpeg => false,
    };
    CARRIES && stays
}

/// What starts the children of this node.
pub fn launcher(config: &Config) -> Launcher {
    Launcher::new(Marker::of_this_process(&config.node.node_id()))
}

/// How often it is looked whether FFmpeg has come, gone or been replaced: a `stat` while it is there.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// The FFmpeg engine. Each probe's result goes to health and to the node's picture.
pub fn engine(
    config: &Config,
    health: &Arc<HealthBoard>,
    node: &Arc<NodeRegistry>,
) -> Arc<FfmpegEngine> {
    let mut settings = FfmpegSettings::new(&config.ffmpeg.path);
    settings.file_root.clone_from(&config.ffmpeg.file_root);
    settings.whip_hosts.clone_from(&config.ffmpeg.whip_hosts);
    settings.whip_timeout = config.ffmpeg.whip_timeout;
    let (health, node) = (health.clone(), node.clone());
    let path = config.ffmpeg.path.display().to_string();
    let spared = needs_no_ffmpeg(config);
    let listener = move |found: &ProbeResult| {
        let at = Now::read().wall;
        let (status, reason, version) = match found {
            Ok(abilities) if abilities.whip => {
                (PartStatus::Up, String::new(), abilities.describe())
            }
            Ok(abilities) => (
                PartStatus::Down,
                format!("FFmpeg {} at {path} has no whip muxer", abilities.version),
                abilities.describe(),
            ),
            Err(why) => (PartStatus::Down, why.to_string(), format!("none: {why}")),
        };
        node.set_engine(version);
        let (status, reason) = match status {
            PartStatus::Down if spared => (
                PartStatus::Up,
                format!("only what goes out as the camera sends it can be carried: {reason}"),
            ),
            _ => (status, reason),
        };
        let before = health.get(Part::Ffmpeg);
        let carries = status == PartStatus::Up && reason.is_empty();
        if health.set(Part::Ffmpeg, status, &reason, at) && carries {
            let version = found.as_ref().map_or("", |a| a.version.as_str());
            log::info!(version = version; "FFmpeg can publish to WHIP");
        }
        // It is looked at again and again: said once.
        let is_news = before.is_none_or(|b| b.status != status || b.reason != reason);
        if status == PartStatus::Down && is_news {
            log::error!(code = 40101; "no stream can start: {reason}");
        } else if !carries && is_news {
            log::warn!(code = 40101; "{reason}");
        }
        for warning in found.iter().flat_map(Abilities::warnings) {
            log::warn!("{warning}");
        }
    };
    Arc::new(FfmpegEngine::new(
        settings,
        launcher(config),
        Box::new(listener),
    ))
}

/// Keeps the thread `start-up` going; dropped, it ends it.
pub struct Watch {
    _alive: Sender<()>,
}

/// Starts the thread `start-up`: leftovers of an earlier run are ended, FFmpeg is probed, and from
/// then on looked at every now and then. What comes back is ready when the probe is over.
pub fn begin(config: &Config, engine: Arc<FfmpegEngine>) -> io::Result<(Receiver<()>, Watch)> {
    let node_id = config.node.node_id();
    let (probing, probed): (Sender<()>, _) = bounded(0);
    let (alive, end) = bounded::<()>(0);
    std::thread::Builder::new()
        .name("start-up".to_owned())
        .spawn(move || {
            engine.look();
            drop(probing);
            let ended = end_leftovers(&node_id);
            if ended > 0 {
                log::warn!(count = ended; "an earlier run of this node had been killed");
            }
            while let Err(RecvTimeoutError::Timeout) = end.recv_timeout(LOOK_EVERY) {
                engine.refresh();
            }
        })?;
    Ok((probed, Watch { _alive: alive }))
}
