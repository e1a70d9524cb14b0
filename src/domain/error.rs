//! The error codes of the wire contract, and the fault that carries one. No HTTP status here:
//! that is the REST adapter's.

use std::fmt;

use crate::util::foreign;

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal),* $(,)?) => {
        /// The contract's error codes (contract 12).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ErrorCode { $($(#[$doc])* $name = $code),* }

        impl ErrorCode {
            /// Every code there is, in ascending order.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The number on the wire.
            pub fn number(self) -> u32 {
                match self { $(Self::$name => $code),* }
            }
        }
    };
}

error_codes! {
    /// No fault.
    Success = 0,
    /// Login missing or refused.
    Unauthorized = 10001,
    /// Logged in, but not allowed.
    AccessDenied = 10002,
    /// Not what the protocol asks for: malformed JSON, wrong method or content type.
    BadRequest = 20001,
    /// A field that must be there is not.
    ParamMissing = 20002,
    /// A field of the wrong type or out of range.
    ParamInvalid = 20003,
    /// No such route or thing.
    NotFound = 20004,
    /// Well formed, but refused by a rule.
    ValidationFailed = 20005,
    /// No task of that id.
    TaskNotFound = 30101,
    /// A task of that id is active.
    TaskAlreadyExist = 30102,
    /// `max_tasks` tasks are active.
    TaskLimitReached = 30103,
    /// Start failed for a cause of no class, or one that no retry mends.
    TaskStartFailed = 30104,
    /// The process could not be ended.
    TaskStopFailed = 30105,
    /// The task's state does not allow that.
    TaskInvalidState = 30106,
    /// The source can't be reached.
    RtspConnFailed = 30201,
    /// The source refused the login.
    RtspAuthFailed = 30202,
    /// The source failed in mid-stream, or has no such stream.
    RtspStreamError = 30203,
    /// The node is not ready yet.
    NodeNotReady = 30301,
    /// The node has no room for that now.
    NodeBusy = 30302,
    /// The node is going away.
    NodeOffline = 30303,
    /// FFmpeg is missing or can't do WHIP.
    FfmpegNotFound = 40101,
    /// FFmpeg could not be started.
    FfmpegStartFail = 40102,
    /// FFmpeg ended, and nothing says why.
    FfmpegCrash = 40103,
    /// FFmpeg did not get there in time.
    FfmpegTimeout = 40104,
    /// The WHIP endpoint can't be reached.
    WhipConnFailed = 40201,
    /// The WHIP endpoint refused the login.
    WhipAuthFailed = 40202,
    /// The WHIP session failed, or there is no such endpoint.
    WhipStreamError = 40203,
    /// Ably can't be reached.
    AblyConnFailed = 40301,
    /// Ably refused the key or token.
    AblyAuthFailed = 40302,
    /// Ably refused a message.
    AblyPublishFail = 40303,
    /// RCS can't be reached.
    RcsConnFailed = 40401,
    /// RCS refused the token.
    RcsAuthFailed = 40402,
    /// RCS refused a callback.
    RcsCallbackFail = 40403,
    /// A bug of ours.
    InternalError = 50001,
    /// Unused: there is no database.
    DatabaseError = 50002,
    /// Not reachable now.
    Unavailable = 50003,
    /// None of the above.
    UnknownError = 59999,
}

/// The longest sentence, in characters.
const MAX_MESSAGE: usize = 2_000;

/// What went wrong: a code for machines and a sentence for people. The sentence is one line and
/// never carries a secret, whatever outside text it was built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What kind of fault.
    pub code: ErrorCode,
    /// What happened and what to do about it.
    pub message: String,
}

impl Fault {
    /// A fault with its sentence.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: foreign::shown(&message.into(), MAX_MESSAGE),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code.number())
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_discriminants_and_rise() {
        for pair in ErrorCode::ALL.windows(2) {
            assert!(pair[0].number() < pair[1].number());
        }
        for &code in ErrorCode::ALL {
            assert_eq!(code as u32, code.number());
        }
    }
}
