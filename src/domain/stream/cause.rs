//! Why runs fail, and what each cause means for the wire and for a retry.

use std::time::SystemTime;

use super::super::error::ErrorCode;

/// Why a run ended or does not get there. The wire code and whether trying again can help follow
/// from it (contract 3; the failure table in `docs/ffmpeg.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// Source refused, silent, or its name unknown.
    SourceUnreachable,
    /// Source: it has refused a login that was sent.
    SourceAuth,
    /// Source: it asks for a login, and none was sent: there is none, or not of the kind it wants.
    SourceLogin,
    /// Source ended, stalled, or has no such stream.
    SourceStream,
    /// A file that is not (or no longer) where files may be.
    SourceRefused,
    /// The endpoint's host refused, answered 5xx, 409, 429, or its media path is closed.
    WhipUnreachable,
    /// The endpoint's host can't be reached at all: no name, no route, no answer. Tells of a dead
    /// uplink when RCS and Ably can't be reached either.
    WhipUplink,
    /// 401, 403.
    WhipAuth,
    /// 404, 410: no such endpoint (any more).
    WhipGone,
    /// The endpoint refused the offer (400, 422): what it says of the media, as far as can be told.
    WhipOffer,
    /// The session failed: bad answer, consent lost, peer closed.
    WhipStream,
    /// An option, an encoder, a filter that was refused before any input was opened: the order's own
    /// fault, so no retry mends it.
    BadCommand,
    /// What the source sends can't go out as ordered, or the output could not be set up, for a cause
    /// that only this try may have: another one may find a picture where this one found none.
    StreamRefused,
    /// No FFmpeg, or one without the whip muxer.
    EngineMissing,
    /// The process could not be started.
    EngineStart,
    /// It ended and nothing says why.
    EngineCrash,
    /// Not there within `start_timeout`, and nothing says why.
    EngineTimeout,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 17] = [
        Self::SourceUnreachable,
        Self::SourceAuth,
        Self::SourceLogin,
        Self::SourceStream,
        Self::SourceRefused,
        Self::WhipUnreachable,
        Self::WhipUplink,
        Self::WhipAuth,
        Self::WhipGone,
        Self::WhipOffer,
        Self::WhipStream,
        Self::BadCommand,
        Self::StreamRefused,
        Self::EngineMissing,
        Self::EngineStart,
        Self::EngineCrash,
        Self::EngineTimeout,
    ];

    /// The wire code.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::SourceUnreachable => ErrorCode::RtspConnFailed,
            Self::SourceAuth | Self::SourceLogin => ErrorCode::RtspAuthFailed,
            Self::SourceStream => ErrorCode::RtspStreamError,
            Self::SourceRefused => ErrorCode::ValidationFailed,
            Self::WhipUnreachable | Self::WhipUplink => ErrorCode::WhipConnFailed,
            Self::WhipAuth => ErrorCode::WhipAuthFailed,
            Self::WhipGone | Self::WhipOffer | Self::WhipStream => ErrorCode::WhipStreamError,
            Self::BadCommand | Self::StreamRefused => ErrorCode::TaskStartFailed,
            Self::EngineMissing => ErrorCode::FfmpegNotFound,
            Self::EngineStart => ErrorCode::FfmpegStartFail,
            Self::EngineCrash => ErrorCode::FfmpegCrash,
            Self::EngineTimeout => ErrorCode::FfmpegTimeout,
        }
    }

    /// Whether a retry can't mend it. (A source that refuses the login is judged by the task's
    /// history, not here.)
    pub fn is_permanent(self) -> bool {
        matches!(
            self,
            Self::BadCommand | Self::EngineMissing | Self::WhipAuth | Self::WhipGone
        )
    }

    /// Whether it lies with the WHIP endpoint, or on the way there.
    pub fn is_the_endpoints(self) -> bool {
        matches!(
            self,
            Self::WhipUnreachable
                | Self::WhipUplink
                | Self::WhipAuth
                | Self::WhipGone
                | Self::WhipOffer
                | Self::WhipStream
        )
    }

    /// A short name for logs, metrics and the exit history.
    pub fn name(self) -> &'static str {
        match self {
            Self::SourceUnreachable => "source_unreachable",
            Self::SourceAuth => "source_auth",
            Self::SourceLogin => "source_login",
            Self::SourceStream => "source_stream",
            Self::SourceRefused => "source_refused",
            Self::WhipUnreachable => "whip_unreachable",
            Self::WhipUplink => "whip_uplink",
            Self::WhipAuth => "whip_auth",
            Self::WhipGone => "whip_gone",
            Self::WhipOffer => "whip_offer",
            Self::WhipStream => "whip_stream",
            Self::BadCommand => "bad_command",
            Self::StreamRefused => "stream_refused",
            Self::EngineMissing => "engine_missing",
            Self::EngineStart => "engine_start",
            Self::EngineCrash => "engine_crash",
            Self::EngineTimeout => "engine_timeout",
        }
    }
}

/// A cause with the words that show it, masked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// What kind.
    pub cause: Cause,
    /// What the engine said, or what we saw, for people. Masked.
    pub detail: String,
}

/// One ended run, for `exitHistory`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitRecord {
    /// When it was reaped.
    pub at: SystemTime,
    /// Exit code, if it exited.
    pub code: Option<i32>,
    /// Signal number, if one ended it.
    pub signal: Option<i32>,
    /// Code of the cause; `Success` when it was asked to end.
    pub error_code: ErrorCode,
    /// In words.
    pub cause: String,
}
