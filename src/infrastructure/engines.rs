//! The engines that there are: which of them carries a task, and how the output of each is read.
//!
//! How the picture goes out is the table's to say ([`decide`]): what the task and the configuration wish,
//! what the source is, what there is to carry it with. An RTSP source is asked first what it is, by a
//! child that only looks, and the way follows from that; other sources are carried as if they had said
//! nothing. A command that RCS has built stays as it is: its source is asked as a stranger, without the
//! login, for what FFmpeg would misunderstand of it.
//!
//! Our own publisher ([`Relaying`]) carries what stays as it is, wherever no sound is lost by it that FFmpeg
//! would send. What stands behind it in the plan is what the same table gives without it, so that one that
//! can't go on hands over to FFmpeg; one that finds the source to be something else says so, and this is
//! asked anew with that.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::carry::{
    Asked, Carried, Means, Passthrough, Picture, Way, decide, depends_on_source,
};
use crate::domain::engine::{Engine, EngineKind, Launch, Plan, Stdin};
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::stream::{
    AudioMode, Challenge, MediaUrl, Source, SourceFacts, StreamSpec, TaskAudio, TaskMode,
    TaskSender, moved,
};
use crate::infrastructure::child::process::MakeJudge;
use crate::infrastructure::ffmpeg::command::passive;
use crate::infrastructure::ffmpeg::engine::{FfmpegEngine, Usable};
use crate::infrastructure::ffmpeg::judge::Judge;
use crate::infrastructure::ffmpeg::source::only_input;
use crate::infrastructure::relay::CARRIES;
use crate::infrastructure::relay::carry_judge::CarryJudge;
use crate::infrastructure::relay::job::{Carry, Job};
use crate::infrastructure::relay::judge::LookJudge;
use crate::util::secret::Secret;

/// A look's time: a third of the usual `start_timeout`, and as long as FFmpeg waits for one answer.
const LOOK_WITHIN: Duration = Duration::from_secs(5);

/// Our own publisher, and what it is told.
#[derive(Debug, Clone)]
pub struct Relaying {
    /// FFmpeg's own sender is not to be used (`engine: relay`).
    pub only: bool,
    /// `lss.ffmpeg.whip_hosts`
    pub whip_hosts: Vec<String>,
    /// How long an answer of the endpoint, and a path to it, are waited for each.
    pub patience: Duration,
    /// How long a source may be silent.
    pub silence: Duration,
}

/// All of them.
pub struct Engines {
    ffmpeg: Arc<FfmpegEngine>,
    passthrough: Passthrough,
    relaying: Option<Relaying>,
}

impl Engines {
    /// With this FFmpeg; pictures stay as they are where `passthrough` says so. `relaying`: our own
    /// publisher may be used.
    pub fn new(
        ffmpeg: Arc<FfmpegEngine>,
        passthrough: Passthrough,
        relaying: Option<Relaying>,
    ) -> Self {
        Self {
            ffmpeg,
            passthrough,
            relaying,
        }
    }
}

impl Engine for Engines {
    fn prepare(&self, spec: &StreamSpec, facts: Option<&SourceFacts>) -> Result<Plan, Fault> {
        let ffmpeg = match &self.relaying {
            Some(Relaying { only: true, .. }) => Err(Fault::new(
                ErrorCode::FfmpegNotFound,
                "lss.ffmpeg.engine is relay, so FFmpeg's own sender is not used",
            )),
            _ => self.ffmpeg.usable(),
        };
        let plan = match &spec.ffmpeg_command {
            Some(command) => prebuilt(ffmpeg?.prebuilt(spec, command)?, facts),
            None => Carrier {
                spec,
                passthrough: self.passthrough,
                ffmpeg,
                relaying: self.relaying.as_ref().filter(|_| CARRIES),
            }
            .plan(facts),
        }?;
        let way = plan.current();
        if facts.is_some() && way.audio == TaskAudio::Dropped {
            log::warn!(task:% = spec.task_id; "the sound is left out: {}", way.mode_reason);
        }
        Ok(plan)
    }
}

/// A task whose command line is lss's own, and what there is to carry it with.
struct Carrier<'a> {
    spec: &'a StreamSpec,
    passthrough: Passthrough,
    /// Or why there is none that can send.
    ffmpeg: Result<Usable, Fault>,
    relaying: Option<&'a Relaying>,
}

impl Carrier<'_> {
    fn plan(&self, facts: Option<&SourceFacts>) -> Result<Plan, Fault> {
        match (facts, asked_first(&self.spec.source)) {
            (Some(facts), _) => self.informed(facts),
            (None, Some(url)) => self.look_first(&url),
            (None, None) => {
                let carried = self.decide(Picture::Unasked, false)?;
                Ok(carried_by(self.launch(&carried, None)?))
            }
        }
    }

    fn informed(&self, facts: &SourceFacts) -> Result<Plan, Fault> {
        let picture = Picture::of_facts(&facts.video, self.spec.whip_url.host());
        let by_ffmpeg = self.by_ffmpeg(picture, facts);
        let relayed = match self.relay(picture, Some(facts)) {
            Some(relay) if self.keeps_the_sound(&relay, &by_ffmpeg) => relay,
            _ => return Ok(carried_by(by_ffmpeg?)),
        };
        Ok(match by_ffmpeg {
            Ok(way) => Plan::new(relayed, both_parts(way).map(Ok)),
            Err(fault) => Plan::new(relayed, [Err(fault)]),
        })
    }

    fn by_ffmpeg(&self, picture: Picture, facts: &SourceFacts) -> Result<Launch, Fault> {
        if let Some(why) = facts.why_not_ffmpeg() {
            return Err(Fault::new(why.cause.code(), why.detail));
        }
        let mut carried = self.decide(picture, false)?;
        if let (Picture::Unsendable, Some(refused)) = (picture, &facts.video.unsendable) {
            carried.reason = format!("{} ({})", carried.reason, refused.why);
        }
        self.launch(&carried, Some(facts))
    }

    /// What our own publisher is started with, if it is to carry that picture.
    fn relay(&self, picture: Picture, facts: Option<&SourceFacts>) -> Option<Launch> {
        let Source::Network(url) = &self.spec.source else {
            return None;
        };
        let relaying = self.relaying?;
        if picture == Picture::Unsendable || url.scheme() != "rtsp" {
            return None;
        }
        let carried = self.decide(picture, true).ok()?;
        (carried.way == Way::Relay).then(|| relay(self.spec, relaying, &carried, facts))
    }

    /// Whether no sound is lost by it that FFmpeg would send. (It sends none yet.)
    fn keeps_the_sound(&self, relay: &Launch, by_ffmpeg: &Result<Launch, Fault>) -> bool {
        let lost = relay.audio == TaskAudio::Dropped;
        let heard = by_ffmpeg
            .as_ref()
            .is_ok_and(|way| matches!(way.audio, TaskAudio::Encoded | TaskAudio::Unchanged));
        !lost || (!heard && self.spec.audio.mode != AudioMode::Required)
    }

    /// The source is asked. Should it not be understood, the task is carried as if nobody had asked.
    fn look_first(&self, url: &Secret) -> Result<Plan, Fault> {
        let by_relay = |picture| self.relay(picture, None);
        // What the task itself gets wrong is said at once, whatever the source turns out to be; and so
        // is that there is nothing here that could carry it, whatever that is.
        let (meant, behind) = match self.decide(Picture::Unasked, false) {
            Ok(carried) => {
                let way = self.launch(&carried, None)?;
                (way.clone(), both_parts(way).map(Ok).collect())
            }
            Err(fault) => {
                let any = Picture::ALL.into_iter();
                let meant = match any.clone().find_map(|p| self.decide(p, false).ok()) {
                    Some(carried) => self.launch(&carried, None)?,
                    None => any
                        .clone()
                        .find_map(by_relay)
                        .ok_or_else(|| fault.clone())?,
                };
                let behind = by_relay(Picture::Unasked).ok_or(fault);
                (meant, vec![behind])
            }
        };
        let asked = Asked::of(&self.spec.video);
        let mut first = look(url, &meant, false);
        if depends_on_source(asked, self.passthrough) {
            "the source is asked what it is".clone_into(&mut first.mode_reason);
        }
        Ok(Plan::new(first, behind))
    }

    fn decide(&self, picture: Picture, relay: bool) -> Result<Carried, Fault> {
        let means = Means {
            relay,
            ffmpeg: self.ffmpeg.is_ok(),
            encoder: self.ffmpeg.as_ref().is_ok_and(Usable::encodes),
        };
        let asked = Asked::of(&self.spec.video);
        decide(asked, self.passthrough, picture, means).map_err(|fault| match &self.ffmpeg {
            Err(why) if fault.code == ErrorCode::FfmpegNotFound => {
                Fault::new(fault.code, format!("{}: {}", fault.message, why.message))
            }
            _ => fault,
        })
    }

    fn launch(&self, carried: &Carried, facts: Option<&SourceFacts>) -> Result<Launch, Fault> {
        match (carried.way, &self.ffmpeg) {
            (Way::Copy | Way::Transcode, Ok(ffmpeg)) => ffmpeg.carry(self.spec, carried, facts),
            (Way::Copy | Way::Transcode, Err(why)) => Err(why.clone()),
            // Not asked for.
            (Way::Relay, _) => Err(Fault::new(
                ErrorCode::InternalError,
                "FFmpeg is no sender of lss's own",
            )),
        }
    }
}

/// Our own publisher's run.
fn relay(
    spec: &StreamSpec,
    relaying: &Relaying,
    carried: &Carried,
    facts: Option<&SourceFacts>,
) -> Launch {
    let url = match &spec.source {
        Source::Network(url) => Secret::url(url.expose()),
        Source::File(path) => Secret::unlisted(path.as_str()),
    };
    let url = facts
        .and_then(|facts| moved(&url, facts.moved_to.as_ref()?))
        .unwrap_or(url);
    let wanted = spec.audio.mode != AudioMode::Off;
    let sounds = wanted && facts.is_none_or(|facts| facts.audio.is_some());
    let mut mode_reason = format!("unchanged: {}", carried.reason);
    if sounds {
        mode_reason.push_str("; without sound, which lss's own sender does not send yet");
    }
    let job = Job::Carry(Carry {
        url,
        whip_url: Secret::url(spec.whip_url.expose()),
        bearer: None,
        whip_hosts: relaying.whip_hosts.clone(),
        patience: relaying.patience,
        silence: relaying.silence,
    });
    Launch {
        engine: EngineKind::Relay,
        mode: TaskMode::Relay,
        sender: TaskSender::Lss,
        mode_reason,
        audio: if sounds {
            TaskAudio::Dropped
        } else {
            TaskAudio::None
        },
        argv: ["/proc/self/exe", "relay"].map(Secret::unlisted).to_vec(),
        stdin: Stdin::Job(job.write()),
        ends_by_nature: false,
        whip_bearer: None,
        dtls_active: false,
    }
}

/// What RCS has built stays as it is; what it can't do is said before it is tried.
fn prebuilt(way: Launch, facts: Option<&SourceFacts>) -> Result<Plan, Fault> {
    let Some(facts) = facts else {
        return Ok(match only_input(&way.argv).and_then(rtsp) {
            Some(url) => Plan::new(look(&url, &way, true), both_parts(way).map(Ok)),
            None => carried_by(way),
        });
    };
    if let Some(why) = facts.why_not_ffmpeg() {
        return Err(Fault::new(why.cause.code(), why.detail));
    }
    fits_prebuilt(&way, facts)?;
    Ok(carried_by(way))
}

/// By FFmpeg, and where the endpoint would not have it as DTLS client, by FFmpeg as server.
fn carried_by(way: Launch) -> Plan {
    let behind = passive(&way).map(Ok);
    Plan::new(way, behind)
}

fn both_parts(way: Launch) -> impl Iterator<Item = Launch> {
    let behind = passive(&way);
    std::iter::once(way).chain(behind)
}

/// The source, if it is to be asked first: one that speaks RTSP without TLS, which lss can ask.
fn asked_first(source: &Source) -> Option<Secret> {
    match source {
        Source::Network(url) => rtsp(&Secret::url(url.expose())),
        Source::File(_) => None,
    }
}

fn rtsp(url: &Secret) -> Option<Secret> {
    let parsed = MediaUrl::parse("sourceUrl", url.expose()).ok()?;
    (parsed.scheme() == "rtsp").then(|| url.clone())
}

fn look(url: &Secret, way: &Launch, as_stranger: bool) -> Launch {
    let job = Job::Look {
        url: url.clone(),
        as_stranger,
        within: LOOK_WITHIN,
    };
    Launch {
        engine: EngineKind::Look,
        mode: way.mode,
        sender: way.sender,
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
        EngineKind::Relay => Box::new(CarryJudge::new(launch)),
    })
}

#[cfg(test)]
mod tests;
