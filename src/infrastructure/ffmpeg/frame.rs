//! One frame of a stream as a JPEG, for cameras that give no picture by HTTP.

use std::path::Path;
use std::time::Instant;

use super::command::{Args, NetworkInput, network_input};
use super::probe::{Abilities, run_bounded};
use crate::domain::camera::CameraError;
use crate::infrastructure::child::launch::Launcher;
use crate::util::foreign;
use crate::util::secret::Secret;

/// Longest picture.
const MAX_PICTURE: usize = 8 * 1024 * 1024;
/// Longest part of what FFmpeg says that is passed on, in characters.
const MAX_WORDS: usize = 200;

/// Takes the first frame of an RTSP stream. `url` holds no login: FFmpeg follows redirects, and
/// would log in wherever they lead.
pub fn take(
    ffmpeg: &Path,
    launcher: &Launcher,
    url: &Secret,
    deadline: Instant,
) -> Result<Vec<u8>, CameraError> {
    let left = deadline.saturating_duration_since(Instant::now());
    let mut args = Args::new(ffmpeg);
    args.plain(["-nostdin", "-hide_banner", "-loglevel", "error"]);
    let input = NetworkInput {
        scheme: "rtsp",
        url: url.expose(),
        timeout: left,
        sound: false,
    };
    network_input(&mut args, &input, &Abilities::default());
    args.plain(["-an", "-frames:v", "1", "-c:v", "mjpeg", "-q:v", "3"]);
    args.plain(["-f", "image2pipe", "pipe:1"]);
    let args = args.done();
    let args: Vec<&str> = args.iter().skip(1).map(Secret::expose).collect();
    let (picture, words) = run_bounded(ffmpeg, &args, launcher, deadline, MAX_PICTURE)
        .map_err(|why| CameraError::NoAnswer(why.to_string()))?;
    if picture.starts_with(&[0xFF, 0xD8, 0xFF]) {
        return Ok(picture);
    }
    let words = String::from_utf8_lossy(&words);
    let last = words.lines().rfind(|line| !line.trim().is_empty());
    let words = foreign::shown(last.unwrap_or("no frame"), MAX_WORDS);
    Err(CameraError::NoAnswer(words))
}
