//! Pictures for snapshots: made to fit, and taken from a stream by FFmpeg where a camera gives
//! none by HTTP.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::domain::camera::{CameraError, PictureLimit, SnapshotMaker};
use crate::infrastructure::child::launch::Launcher;
use crate::infrastructure::ffmpeg::frame;
use crate::infrastructure::snapshot::{self, Fit};
use crate::util::secret::Secret;

/// See [`SnapshotMaker`].
pub struct Pictures {
    ffmpeg: PathBuf,
    launcher: Launcher,
    /// One picture is decoded at a time, for each may take a lot of memory.
    turn: Mutex<()>,
}

impl Pictures {
    /// With the FFmpeg of the configuration.
    pub fn new(ffmpeg: PathBuf, launcher: Launcher) -> Self {
        Self {
            ffmpeg,
            launcher,
            turn: Mutex::new(()),
        }
    }
}

impl SnapshotMaker for Pictures {
    fn fit(&self, jpeg: Vec<u8>, limit: PictureLimit) -> Result<(Vec<u8>, u32, u32), CameraError> {
        // Held for computing alone; there is no I/O in it.
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let fit = Fit {
            max_bytes: limit.max_bytes,
            max_width: limit.max_width,
        };
        let fitted = snapshot::fit(jpeg, fit)?;
        Ok((fitted.jpeg, fitted.width, fitted.height))
    }

    fn frame(&self, url: &Secret, deadline: Instant) -> Result<Vec<u8>, CameraError> {
        frame::take(&self.ffmpeg, &self.launcher, url, deadline)
    }
}
