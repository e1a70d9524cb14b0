//! The smallest change, and whether what came of it is what was asked.

use super::{
    ENOUGH, EncoderChange, EncoderStream, JudgedStream, LONGEST_GAP, Profile, Rates, StreamName,
    Wish, audio_rank, codec_name,
};
use crate::domain::discovery::Sight;

/// Two numbers of the same frame rate, in different units.
const SLACK: f64 = 1.02;

/// Whether a stream can go out as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fitness {
    /// As it is.
    Unchanged,
    /// After a change that the camera offers.
    NeedsChange,
    /// The camera offers nothing that would do.
    Impossible,
}

impl Fitness {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::NeedsChange => "needs_change",
            Self::Impossible => "impossible",
        }
    }
}

/// A change with what is worth saying beside it.
#[derive(Debug, Clone, PartialEq, Default)]
struct Draft {
    change: EncoderChange,
    notes: Vec<String>,
}

/// The judgement on one stream, by what the camera says and what the stream shows.
pub fn judge(stream: EncoderStream, sight: Option<Sight>) -> JudgedStream {
    let (fitness, reason) = match draft(&stream, sight.as_ref(), Wish::default()) {
        Err(why) => (Fitness::Impossible, why),
        Ok(draft) => {
            let steps = draft.change.steps(stream.name, &stream.settings);
            let mut words: Vec<String> = Vec::new();
            let fitness = if steps.is_empty() {
                words.push("WHIP can carry it as it is".to_owned());
                Fitness::Unchanged
            } else {
                let keys: Vec<&str> = steps.iter().map(|s| s.key).collect();
                words.push(format!("to be changed: {}", keys.join(", ")));
                words.push(whose(stream.name).to_owned());
                Fitness::NeedsChange
            };
            words.extend(draft.notes);
            (fitness, words.join("; "))
        }
    };
    JudgedStream {
        stream,
        sight,
        fitness,
        reason,
    }
}

/// Whose stream a change touches.
fn whose(name: StreamName) -> &'static str {
    match name {
        StreamName::Main => {
            "this is the stream that recorders usually take, and they would get the change, too"
        }
        StreamName::Sub => "the main stream, which recorders usually take, stays as it is",
    }
}

/// The stream that a plan is for: the sub stream where its size is enough, for recorders share the
/// main one.
pub fn choose(
    streams: &[JudgedStream],
    named: Option<StreamName>,
    wish: Wish,
) -> Result<&JudgedStream, String> {
    let of = |name| streams.iter().find(|s| s.stream.name == name);
    if let Some(name) = named {
        return of(name).ok_or_else(|| format!("the camera tells of no {} stream", name.name()));
    }
    let sub = of(StreamName::Sub).filter(|s| s.fitness != Fitness::Impossible && suffices(s, wish));
    sub.or_else(|| of(StreamName::Main))
        .or_else(|| of(StreamName::Sub))
        .ok_or_else(|| "the camera tells of no stream".to_owned())
}

fn suffices(stream: &JudgedStream, wish: Wish) -> bool {
    let least = (
        wish.width.unwrap_or(ENOUGH.0),
        wish.height.unwrap_or(ENOUGH.1),
    );
    let is_enough = |(width, height): (u32, u32)| width >= least.0 && height >= least.1;
    let sight = stream.sight.as_ref().and_then(|s| s.size);
    let wished = wish.width.is_some() || wish.height.is_some();
    let size = stream.stream.settings.size.or(sight);
    size.is_some_and(is_enough)
        || (wished && stream.stream.options.sizes.iter().any(|s| is_enough(*s)))
}

/// What is to be set on a stream, the smallest change and what is wished; an error says why nothing
/// helps.
pub fn plan(stream: &JudgedStream, wish: Wish) -> Result<EncoderChange, String> {
    draft(&stream.stream, stream.sight.as_ref(), wish).map(|draft| draft.change)
}

fn draft(stream: &EncoderStream, sight: Option<&Sight>, wish: Wish) -> Result<Draft, String> {
    let mut draft = Draft::default();
    draft_codec(stream, sight, &mut draft)?;
    draft_size(stream, wish, &mut draft);
    draft_rates(stream, sight, wish, &mut draft);
    draft_audio(stream, sight, &mut draft);
    Ok(draft)
}

fn draft_codec(
    stream: &EncoderStream,
    sight: Option<&Sight>,
    draft: &mut Draft,
) -> Result<(), String> {
    let (settings, options) = (&stream.settings, &stream.options);
    let codec = sight
        .and_then(|s| s.codec.as_ref())
        .or(settings.codec.as_ref());
    let is_h264 = codec.is_some_and(|c| c == "H264");
    if !is_h264 {
        let is = codec.map_or("of an unknown kind", String::as_str);
        if !options.codecs.iter().any(|c| c == "H264") {
            return Err(format!("it is {is}, and the camera offers no H.264 for it"));
        }
        if settings.codec.as_deref() == Some("H264") {
            return Err(format!("the camera says H.264 and sends {is}"));
        }
        draft.change.codec = Some("H264".to_owned());
    }
    let shown = sight
        .filter(|_| is_h264)
        .and_then(|s| s.profile)
        .map(|[idc, ..]| Profile::of_idc(idc));
    let said = settings.profile.filter(|_| is_h264);
    // What the stream shows counts before what the camera says of it.
    let profile = shown.unwrap_or(said);
    let b_frames = sight.filter(|_| is_h264).and_then(|s| s.b_frames);
    let offers = |p: Profile| options.profiles.contains(&p);
    if profile == Some(Profile::Baseline) {
        return Ok(());
    }
    if offers(Profile::Baseline) {
        if shown.is_some() && said == Some(Profile::Baseline) {
            let name = sight.and_then(Sight::profile_name).unwrap_or_default();
            return Err(format!("the camera says Baseline and sends {name}"));
        }
        draft.change.profile = Some(Profile::Baseline);
        return Ok(());
    }
    let is = profile.map_or("H.264", Profile::name);
    if profile != Some(Profile::Main) && offers(Profile::Main) {
        draft.change.profile = Some(Profile::Main);
        draft.notes.push(
            "the camera offers no Baseline; Main can be carried if it then has no B-frames"
                .to_owned(),
        );
        return Ok(());
    }
    match (b_frames, profile) {
        (Some(true), _) => Err(format!(
            "{is} with B-frames, which WebRTC does not play, and the camera offers no profile \
             without them"
        )),
        (Some(false), Some(Profile::Main | Profile::High)) => {
            draft.notes.push(format!(
                "{is} without B-frames, which Cloudflare does not list; passthrough: prefer or \
                 codec copy sends it as it is"
            ));
            Ok(())
        }
        (None, Some(Profile::Main)) => {
            draft
                .notes
                .push("whether it has B-frames is not told".to_owned());
            Ok(())
        }
        // The camera will choose; the look at the stream afterwards shows what.
        (_, None) if !is_h264 => Ok(()),
        (_, None) if shown.is_none() => {
            draft
                .notes
                .push("the camera does not tell its profile".to_owned());
            Ok(())
        }
        _ => Err(format!(
            "{is}, which receivers may refuse, and the camera offers no other profile"
        )),
    }
}

fn draft_size(stream: &EncoderStream, wish: Wish, draft: &mut Draft) {
    let (Some(now), options) = (stream.settings.size, &stream.options.sizes) else {
        return;
    };
    if wish.width.is_none() && wish.height.is_none() {
        return;
    }
    let fits = |(width, height): (u32, u32)| {
        wish.width.is_none_or(|most| width <= most) && wish.height.is_none_or(|most| height <= most)
    };
    let area = |(width, height): (u32, u32)| u64::from(width) * u64::from(height);
    // The largest within the wish; of those of one size the first that the camera names.
    let best = options
        .iter()
        .copied()
        .filter(|size| fits(*size))
        .rev()
        .max_by_key(|size| area(*size));
    match best {
        Some(best) if best != now => draft.change.size = Some(best),
        Some(_) => {}
        None if fits(now) => {}
        None => draft
            .notes
            .push("the camera offers no size within the wish".to_owned()),
    }
}

fn draft_rates(stream: &EncoderStream, sight: Option<&Sight>, wish: Wish, draft: &mut Draft) {
    let (settings, options) = (&stream.settings, &stream.options);
    if let Some(most) = wish.bitrate_kbps {
        let allowed = options
            .bitrate_kbps
            .map_or(most, |(low, high)| most.clamp(low, high.max(low)));
        match settings.bitrate_kbps {
            Some(now) if now > most && allowed < now => draft.change.bitrate_kbps = Some(allowed),
            None => draft
                .notes
                .push("the camera does not tell its bitrate".to_owned()),
            Some(_) => {}
        }
        if allowed > most {
            let note = format!("the camera's lowest bitrate is {allowed} kb/s");
            draft.notes.push(note);
        }
    }
    if let Some(most) = wish.fps.map(f64::from)
        && settings.fps.is_some_and(|now| now > most * SLACK)
    {
        let best = match &options.fps {
            None => Some(most),
            Some(Rates::Between(low, high)) => (*low <= most).then(|| most.min(*high)),
            Some(Rates::Of(list)) => list
                .iter()
                .copied()
                .filter(|rate| *rate > 0.0 && *rate <= most)
                .max_by(f64::total_cmp),
        };
        match best {
            Some(best) => draft.change.fps = Some(best),
            None => draft
                .notes
                .push("the camera offers no frame rate within the wish".to_owned()),
        }
    }
    if settings.smart_codec == Some(true) {
        draft.change.smart_codec = Some(false);
    }
    draft_keyframes(stream, sight, wish, draft);
}

fn draft_keyframes(stream: &EncoderStream, sight: Option<&Sight>, wish: Wish, draft: &mut Draft) {
    let settings = &stream.settings;
    let fps = draft
        .change
        .fps
        .or(settings.fps)
        .or(sight.and_then(|s| s.fps))
        .filter(|fps| *fps > 0.0);
    let Some((now, fps)) = settings.keyframe_frames.filter(|n| *n > 0).zip(fps) else {
        let note = "the camera does not tell how far apart its keyframes are";
        draft.notes.push(note.to_owned());
        return;
    };
    let seconds = f64::from(now) / fps;
    let wanted = match wish.keyframe_ms {
        Some(ms) => f64::from(ms) / 1000.0,
        None if seconds > LONGEST_GAP * SLACK => LONGEST_GAP,
        None => return,
    };
    let (low, high) = stream
        .options
        .keyframe_frames
        .map_or((1, u32::MAX), |(low, high)| (low.max(1), high.max(low)));
    let frames = (wanted * fps).round().clamp(1.0, 100_000.0);
    // Between 1 and 100,000 by the line above.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let frames = (frames as u32).clamp(low, high);
    if f64::from(frames) / fps > wanted * SLACK + 1.0 / fps {
        draft.notes.push(format!(
            "the camera's shortest keyframe distance is {frames} frames"
        ));
    }
    if frames != now {
        draft.change.keyframe_frames = Some(frames);
        draft.change.keyframe_fps = Some(fps);
    }
}

fn draft_audio(stream: &EncoderStream, sight: Option<&Sight>, draft: &mut Draft) {
    let shown = sight.and_then(|s| s.audio.as_ref());
    let Some(now) = stream.settings.audio.as_ref().or(shown) else {
        return;
    };
    if audio_rank(now).is_some() {
        return;
    }
    let best = stream
        .options
        .audio
        .iter()
        .filter_map(|name| Some((audio_rank(name)?, name)))
        .min_by_key(|(rank, _)| *rank);
    match best {
        Some((_, name)) if stream.settings.audio.is_some() => {
            draft.change.audio = Some(name.clone());
        }
        _ => draft.notes.push(format!(
            "its sound is {now}, which lss converts to Opus; the camera offers neither Opus nor \
             G.711 for it"
        )),
    }
}

/// What a stream shows that is not what was asked of its camera, in words; empty = all as asked.
pub fn lies(before: &JudgedStream, change: &EncoderChange, sight: &Sight) -> Vec<String> {
    let mut lies = Vec::new();
    let settings = &before.stream.settings;
    match sight.codec.as_deref() {
        Some("H264") | None => {}
        Some(other) => lies.push(format!("it says H.264 and sends {other}")),
    }
    if let (Some(asked), Some(sent)) = (change.profile.or(settings.profile), sight.profile) {
        let sent_profile = Profile::of_idc(sent[0]);
        // Less than was asked is as good.
        let fits = sent_profile == Some(asked) || sent_profile == Some(Profile::Baseline);
        if !fits {
            let name = sight.profile_name().unwrap_or_default();
            lies.push(format!("it says {} and sends {name}", asked.name()));
        }
    }
    if sight.profile.is_none() && sight.codec.as_deref() == Some("H264") {
        lies.push("its stream has no parameter set that could be read".to_owned());
    }
    if sight.b_frames == Some(true) {
        let profile = change
            .profile
            .or(settings.profile)
            .map_or("H.264", Profile::name);
        lies.push(format!("it sends B-frames in {profile}"));
    }
    if let (Some(asked), Some(sent)) = (change.size, sight.size)
        && asked != sent
    {
        lies.push(format!(
            "it says {}x{} and sends {}x{}",
            asked.0, asked.1, sent.0, sent.1
        ));
    }
    let said = change
        .keyframe_seconds()
        .or_else(|| settings.keyframe_seconds());
    if let Some(said) = said {
        match sight.keyframe_seconds {
            Some(sent) if sent > said * 1.25 + 0.25 => lies.push(format!(
                "it says a keyframe every {said:.1} s and sends one every {sent:.1} s"
            )),
            None => lies.push(format!(
                "it says a keyframe every {said:.1} s, and no two came while it was looked at"
            )),
            Some(_) => {}
        }
    }
    lies
}

/// Whether the sound is still not what was asked, in words.
pub fn silent_lie(change: &EncoderChange, sight: &Sight) -> Option<String> {
    let (asked, sent) = (change.audio.as_ref()?, sight.audio.as_ref()?);
    (audio_rank(sent).is_none()).then(|| {
        format!(
            "it says its sound is {asked} and sends {}",
            codec_name(sent)
        )
    })
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
