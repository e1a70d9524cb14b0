//! Asks a camera what it streams: a thin blocking client around [`Talk`](super::talk::Talk).
//!
//! Every call opens a connection of its own, and a second one only where the server closes the first
//! behind its challenge.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::hello;
use super::line::{Line, Trouble, is_secure, judge, next_target};
use super::message::request_url_or_secure;
use super::talk::TalkError;
use super::watch;
use crate::domain::camera::Credentials;
use crate::domain::discovery::{RtspGateway, Sight, StreamDescription};
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::gateway::LoginEnd;
use crate::infrastructure::http::doors::Doors;
use crate::util::secret::Secret;

/// Redirects followed, on the same host.
const MAX_REDIRECTS: u32 = 1;

/// Asks cameras over RTSP. Keeps nothing between two calls but certificates.
#[derive(Debug, Clone, Default)]
pub struct RtspClient {
    doors: Doors,
}

impl RtspClient {
    /// With the certificates that all clients of cameras share.
    pub fn new(doors: Doors) -> Self {
        Self { doors }
    }
}

impl RtspGateway for RtspClient {
    fn speaks(&self, at: SocketAddr, timeout: Duration) -> Result<(), Fault> {
        let mut line = Line::open(at, None, timeout, None)?;
        // Any answer will do, a 401 too: some want a login even for this.
        let response = match line.ask("OPTIONS", Secret::unlisted(format!("rtsp://{at}/")), &[]) {
            Ok(response) => response,
            Err(Trouble::Talk(TalkError::LoginWanted)) => return Ok(()),
            Err(trouble) => return Err(trouble.fault(at)),
        };
        if hello::only_receives(&response) {
            return Err(Fault::new(
                ErrorCode::InternalError,
                format!("{at} takes streams and gives none (AirPlay or the like)"),
            ));
        }
        Ok(())
    }

    fn describe(
        &self,
        at: SocketAddr,
        url: &Secret,
        login: Option<&Credentials>,
        timeout: Duration,
    ) -> Result<StreamDescription, Fault> {
        let mut target = request_url_or_secure(url.expose()).ok_or_else(|| {
            Fault::new(
                ErrorCode::ValidationFailed,
                "not an rtsp:// URL with a host",
            )
        })?;
        let tls = is_secure(&target).then(|| self.doors.clone());
        let mut line = Line::open(at, tls, timeout, login.cloned())?;
        for _ in 0..=MAX_REDIRECTS {
            let headers = [("Accept", "application/sdp".to_owned())];
            let response = line
                .ask("DESCRIBE", Secret::url(target.clone()), &headers)
                .map_err(|trouble| trouble.fault(at))?;
            match next_target(&response, &target, at)? {
                None => return judge(&response, at),
                Some(next) => target = next,
            }
        }
        Err(Fault::new(
            ErrorCode::InternalError,
            format!("{at} sends from one URL to the next"),
        ))
    }

    fn look(
        &self,
        at: SocketAddr,
        url: &Secret,
        login: Option<&Credentials>,
        until: Instant,
        on_play: &mut dyn FnMut(),
    ) -> (LoginEnd, Result<Sight, Fault>) {
        watch::look(at, &self.doors, url, login, until, on_play)
    }
}
