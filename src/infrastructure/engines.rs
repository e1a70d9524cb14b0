//! The engines that there are: which of them carries a task, and how the output of each is read.
//!
//! An RTSP source is asked first what it is, by a child that only looks; what FFmpeg is told follows
//! from that. A command that RCS has built stays as it is: its source is asked as a stranger, without
//! the login, for what FFmpeg would misunderstand of it.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::engine::{Engine, EngineKind, Launch, Plan, Stdin};
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::stream::{
    Challenge, MediaUrl, Source, SourceFacts, StreamSpec, TaskAudio, TaskMode,
};
use crate::infrastructure::child::process::MakeJudge;
use crate::infrastructure::ffmpeg::command::passive;
use crate::infrastructure::ffmpeg::engine::FfmpegEngine;
use crate::infrastructure::ffmpeg::judge::Judge;
use crate::infrastructure::ffmpeg::source::only_input;
use crate::infrastructure::relay::job::Job;
use crate::infrastructure::relay::judge::LookJudge;
use crate::util::secret::Secret;

/// A look's time: a third of the usual `start_timeout`, and as long as FFmpeg waits for one answer.
const LOOK_WITHIN: Duration = Duration::from_secs(5);

/// All of them.
pub struct Engines {
    ffmpeg: Arc<FfmpegEngine>,
}

impl Engines {
    /// With this FFmpeg.
    pub fn new(ffmpeg: Arc<FfmpegEngine>) -> Self {
        Self { ffmpeg }
    }
}

impl Engine for Engines {
    fn prepare(&self, spec: &StreamSpec, facts: Option<&SourceFacts>) -> Result<Plan, Fault> {
        let way = self.ffmpeg.launch(spec, facts)?;
        let passive = passive(&way).map(Ok);
        let Some(facts) = facts else {
            return Ok(match looked_at(spec, &way) {
                Some(url) => Plan::new(look(&url, &way), [Ok(way)].into_iter().chain(passive)),
                None => Plan::new(way, passive),
            });
        };
        if let Some(why) = facts.why_not_ffmpeg() {
            return Err(Fault::new(why.cause.code(), why.detail));
        }
        if way.mode == TaskMode::Prebuilt {
            fits_prebuilt(&way, facts)?;
        }
        if way.audio == TaskAudio::Dropped {
            log::warn!(task:% = spec.task_id; "the sound is left out: {}", way.mode_reason);
        }
        Ok(Plan::new(way, passive))
    }
}

/// The source that is to be asked first: one that speaks RTSP without TLS, which lss can ask.
fn looked_at(spec: &StreamSpec, way: &Launch) -> Option<Secret> {
    let url = match &spec.source {
        _ if way.mode == TaskMode::Prebuilt => only_input(&way.argv)?.clone(),
        Source::Network(url) => Secret::url(url.expose()),
        Source::File(_) => return None,
    };
    let parsed = MediaUrl::parse("sourceUrl", url.expose()).ok()?;
    (parsed.scheme() == "rtsp").then_some(url)
}

fn look(url: &Secret, way: &Launch) -> Launch {
    let job = Job::Look {
        url: url.clone(),
        as_stranger: way.mode == TaskMode::Prebuilt,
        within: LOOK_WITHIN,
    };
    Launch {
        engine: EngineKind::Look,
        mode: way.mode,
        mode_reason: way.mode_reason.clone(),
        audio: way.audio,
        argv: ["/proc/self/exe", "relay"].map(Secret::unlisted).to_vec(),
        stdin: Stdin::Job(job.write()),
        ends_by_nature: false,
        whip_bearer: None,
        dtls_active: false,
    }
}

/// What a prebuilt command can't do, and FFmpeg would have misleading words for.
fn fits_prebuilt(way: &Launch, facts: &SourceFacts) -> Result<(), Fault> {
    if facts.moved_to.is_some() {
        return Err(Fault::new(
            ErrorCode::RtspStreamError,
            "the camera sends on to another path or port of its own, which FFmpeg does not follow: \
             put that into ffmpegCommand",
        ));
    }
    let login = only_input(&way.argv)
        .and_then(|url| MediaUrl::parse("ffmpegCommand", url.expose()).ok())
        .and_then(|url| url.credentials());
    if facts.challenge != Challenge::None && login.is_none() {
        return Err(Fault::new(
            ErrorCode::RtspAuthFailed,
            "the camera asks for a login and the URL has none: put user and password into the \
             input of ffmpegCommand",
        ));
    }
    Ok(())
}

/// Who reads what a run says. A WHIP session on another host than that of its endpoint is ended there
/// only if that is one of `whip_hosts`.
pub fn readers(whip_hosts: Arc<[String]>) -> MakeJudge {
    Arc::new(move |launch: &Launch| match launch.engine {
        EngineKind::Ffmpeg => Box::new(Judge::new(launch, Arc::clone(&whip_hosts))),
        EngineKind::Look => Box::new(LookJudge::new()),
    })
}
