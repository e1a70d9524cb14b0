//! Pictures for snapshots: made to fit, and taken from a stream by FFmpeg where a camera gives
//! none by HTTP.

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::domain::camera::{CameraError, FrameSource, PictureLimit, SnapshotMaker};
use crate::domain::gateway::LoginEnd;
use crate::infrastructure::child::launch::Launcher;
use crate::infrastructure::ffmpeg::frame;
use crate::infrastructure::http::doors::Doors;
use crate::infrastructure::rtsp::lend::Lent;
use crate::infrastructure::snapshot::{self, Fit};
use crate::util::url;

/// See [`SnapshotMaker`].
pub struct Pictures {
    ffmpeg: PathBuf,
    launcher: Launcher,
    doors: Doors,
    /// One picture is decoded at a time, for each may take a lot of memory.
    turn: Mutex<()>,
}

impl Pictures {
    /// With the FFmpeg of the configuration, and the certificates that all clients of cameras share.
    pub fn new(ffmpeg: PathBuf, launcher: Launcher, doors: Doors) -> Self {
        Self {
            ffmpeg,
            launcher,
            doors,
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

    fn frame(
        &self,
        source: &FrameSource,
        deadline: Instant,
    ) -> (LoginEnd, Result<Vec<u8>, CameraError>) {
        let parts = url::split(source.url.expose()).ok();
        // What is no URL is refused by whoever opens it.
        let port = parts.map_or(0, |parts| parts.rtsp_port());
        let at = SocketAddr::new(source.ip, port);
        let lent = match Lent::open(
            at,
            &self.doors,
            &source.url,
            source.login.as_ref(),
            deadline,
        ) {
            Ok(lent) => lent,
            Err((end, fault)) => return (end, Err(CameraError::NoAnswer(fault.message))),
        };
        let end = lent.login();
        let url = match lent.url() {
            Ok(url) => url,
            Err(why) => return (end, Err(CameraError::NoAnswer(why.to_string()))),
        };
        let failed = |why: std::io::Error| CameraError::NoAnswer(why.to_string());
        let (here, there) = match UnixStream::pair() {
            Ok(ends) => ends,
            Err(why) => return (end, Err(failed(why))),
        };
        let lender = std::thread::Builder::new()
            .name("camera-frame".to_owned())
            .spawn(move || lent.serve(there, deadline));
        let lender = match lender {
            Ok(lender) => lender,
            Err(why) => return (end, Err(failed(why))),
        };
        let picture = frame::take(&self.ffmpeg, &self.launcher, &url, deadline);
        drop(here);
        let end = lender.join().unwrap_or(end);
        (end, picture)
    }
}
