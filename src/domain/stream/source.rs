//! What a source said of itself when it was asked, before anything is played, and what of its sound
//! goes out. Values, and what they mean for an engine.

use super::cause::{Cause, Diagnosis};
use crate::util::secret::Secret;
use crate::util::url;

/// What asking a source has brought.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceLook {
    /// It has said what it is.
    Known(Box<SourceFacts>),
    /// It can't be had now, by no engine.
    Refused {
        /// Why, in words. [`Cause::SourceAuth`] only where a login was sent and refused.
        why: Diagnosis,
        /// It had taken the login before.
        login_taken: bool,
    },
    /// What it said was not understood, which says nothing of an engine that reads more than lss
    /// does. Why, in words.
    Unclear(String),
}

/// What a source is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SourceFacts {
    /// Its picture: the first one that it describes.
    pub video: VideoFacts,
    /// Its sound; `None` = it announces none.
    pub audio: Option<AudioFacts>,
    /// How it wants to be logged in to.
    pub challenge: Challenge,
    /// A login was sent, and it was right.
    pub login_taken: bool,
    /// Where it sent on to: another path or port of the same host, as a URL without user info.
    pub moved_to: Option<Secret>,
}

/// A picture, as its description (SDP) tells.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct VideoFacts {
    /// `H264`, `H265`, `JPEG`, … in upper case; `None` where nothing is said.
    pub codec: Option<String>,
    /// H.264 profile_idc, constraint flags, level_idc.
    pub h264_profile: Option<[u8; 3]>,
    /// Width and height.
    pub size: Option<(u32, u32)>,
    /// Pictures a second.
    pub fps: Option<f64>,
    /// Whether pictures may be shown in another order than sent (B-frames); `None` where nothing
    /// says so.
    pub reorders: Option<bool>,
    /// A start has tried to send it as it is, and was refused.
    pub unsendable: Option<Unsendable>,
}

/// Why a picture does not go out as it is, though it seems to fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsendable {
    /// The host of the WHIP endpoint that refused it; `None` = what was to send it, to any.
    pub by: Option<String>,
    /// In words.
    pub why: String,
}

/// A sound, as its description tells, and whether it can be had.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AudioFacts {
    /// `PCMA`, `MPEG4-GENERIC`, … in upper case; `None` where nothing is said.
    pub codec: Option<String>,
    /// Hz.
    pub clock_rate: Option<u32>,
    /// How many.
    pub channels: Option<u8>,
    /// The status by which the source refused to set it up (SETUP): 461, 404, …; `None` = it can be
    /// had, as far as anybody has asked.
    pub refused: Option<u16>,
    /// A start has waited for it in vain: it is announced and does not come.
    pub silent: bool,
}

/// How a source wants to be logged in to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Challenge {
    /// Not at all, or nobody knows.
    #[default]
    None,
    /// Digest by MD5.
    Digest,
    /// Digest, but by MD5 in no way that FFmpeg takes: by SHA-256.
    DigestSha256,
    /// Basic.
    Basic,
}

impl SourceFacts {
    /// Why FFmpeg can't have what is there, whatever it is told to do with it.
    ///
    /// Of Digest it knows MD5 alone, and sends no login at all where that is not what is asked for:
    /// the 401 that follows says nothing of the password.
    pub fn why_not_ffmpeg(&self) -> Option<Diagnosis> {
        (self.challenge == Challenge::DigestSha256).then(|| Diagnosis {
            cause: Cause::SourceLogin,
            detail: "the camera offers Digest logins by SHA-256 only, which FFmpeg can't: set its \
                     RTSP authentication to Digest MD5 (Hikvision: Digest Algorithm)"
                .to_owned(),
        })
    }
}

/// What a task asks of the sound (`audioConfig.mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AudioMode {
    /// With it where that can be: a stream without sound is better than none.
    #[default]
    Wanted,
    /// Not without it.
    Required,
    /// Without it.
    Off,
}

impl AudioMode {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Wanted, Self::Required, Self::Off];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wanted => "wanted",
            Self::Required => "required",
            Self::Off => "off",
        }
    }

    /// From the name on the wire.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.name().eq_ignore_ascii_case(text))
    }
}

/// Who sends what goes out (a task's `sender`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskSender {
    /// FFmpeg's own WHIP muxer.
    Ffmpeg,
    /// Our own publisher.
    Lss,
}

impl TaskSender {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ffmpeg => "ffmpeg",
            Self::Lss => "lss",
        }
    }
}

/// What of the source's sound goes out (a task's `audio`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskAudio {
    /// There is none, or none is asked for.
    None,
    /// As the source sends it.
    Unchanged,
    /// As Opus, if the source has any.
    Encoded,
    /// It can't be had or converted, and was left out.
    Dropped,
}

impl TaskAudio {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Unchanged => "unchanged",
            Self::Encoded => "encoded",
            Self::Dropped => "dropped",
        }
    }
}

/// `url` as it is found at `to`: another port and path of the same host, the login of the first. `to`
/// comes from the source itself, so nothing else of it is taken. `None` = they are no URLs.
pub fn moved(url: &Secret, to: &Secret) -> Option<Secret> {
    let (old, new) = (
        url::split(url.expose()).ok()?,
        url::split(to.expose()).ok()?,
    );
    let login = old.userinfo.map(|login| format!("{login}@"));
    let port = new.port.map(|p| format!(":{p}"));
    Some(Secret::url(format!(
        "{}://{}{}{}{}",
        old.scheme,
        login.unwrap_or_default(),
        old.host_in_url(),
        port.unwrap_or_default(),
        new.path
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sha_256_alone_is_beyond_ffmpeg() {
        for challenge in [
            Challenge::None,
            Challenge::Digest,
            Challenge::DigestSha256,
            Challenge::Basic,
        ] {
            let facts = SourceFacts {
                challenge,
                ..SourceFacts::default()
            };
            let why = facts.why_not_ffmpeg();
            assert_eq!(why.is_some(), challenge == Challenge::DigestSha256);
            assert!(why.is_none_or(|why| why.detail.contains("SHA-256 only")));
        }
    }

    #[test]
    fn modes_are_read_as_they_are_written() {
        for mode in AudioMode::ALL {
            assert_eq!(AudioMode::parse(&mode.name().to_uppercase()), Some(mode));
        }
        assert_eq!(AudioMode::parse("maybe"), None);
    }

    #[test]
    fn a_source_that_has_moved_keeps_scheme_host_and_login() {
        for (from, to, found) in [
            (
                "rtsp://admin:p@ss@cam/x",
                "rtsp://evil.example:8554/y?z=1",
                "rtsp://admin:p@ss@cam:8554/y?z=1",
            ),
            (
                "rtsp://[fd00::1]:554/x",
                "rtsp://u:p@h/y",
                "rtsp://[fd00::1]/y",
            ),
        ] {
            assert_eq!(
                moved(&Secret::url(from), &Secret::url(to))
                    .unwrap()
                    .expose(),
                found
            );
        }
        assert_eq!(
            moved(&Secret::url("rtsp://cam/x"), &Secret::unlisted("nonsense")),
            None
        );
    }
}
