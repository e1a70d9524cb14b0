//! The engines that there are: which of them carries a task, and how the output of each is read.

use std::sync::Arc;

use crate::domain::engine::{Engine, EngineKind, Launch, Plan};
use crate::domain::error::Fault;
use crate::domain::stream::{SourceFacts, StreamSpec};
use crate::infrastructure::child::process::MakeJudge;
use crate::infrastructure::ffmpeg::engine::FfmpegEngine;
use crate::infrastructure::ffmpeg::judge::Judge;

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
    fn prepare(&self, spec: &StreamSpec, _: Option<&SourceFacts>) -> Result<Plan, Fault> {
        Ok(Plan::only(self.ffmpeg.launch(spec)?))
    }
}

/// Who reads what a run says. A WHIP session on another host than that of its endpoint is ended there
/// only if that is one of `whip_hosts`.
pub fn readers(whip_hosts: Arc<[String]>) -> MakeJudge {
    Arc::new(move |launch: &Launch| match launch.engine {
        EngineKind::Ffmpeg | EngineKind::Look => {
            Box::new(Judge::new(launch, Arc::clone(&whip_hosts)))
        }
    })
}
