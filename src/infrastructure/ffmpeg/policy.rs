//! The judge of RCS's command lines. Until it exists, every one of them is refused.

use crate::domain::error::{ErrorCode, Fault};
use crate::domain::gateway::Launch;
use crate::domain::stream::StreamSpec;

use super::command::FfmpegSettings;
use super::probe::Abilities;

/// A judged command.
pub struct Judged {
    /// The command line.
    pub launch: Launch,
    /// What was changed about it, for the log.
    pub notes: Vec<String>,
}

/// Judges `text`.
pub fn judge(
    _text: &str,
    _spec: &StreamSpec,
    _settings: &FfmpegSettings,
    _abilities: &Abilities,
) -> Result<Judged, Fault> {
    Err(Fault::new(
        ErrorCode::ValidationFailed,
        "ffmpegCommand is not taken yet",
    ))
}
