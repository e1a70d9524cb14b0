//! Ends WHIP sessions that their publisher left behind.
//!
//! A killed or crashed FFmpeg sends no DELETE; its session would hold the slot until the server's
//! ICE timeout, and the next try would find it taken. Runs on the dead child's watcher thread,
//! after its exit has been reported: nothing waits for it.

use std::sync::Arc;
use std::time::Duration;

use crate::infrastructure::http::agent::{LazyAgent, Timeouts};
use crate::infrastructure::http::tls::TrustStore;
use crate::util::foreign::shown;
use crate::util::secret::Secret;

/// Short: the next try is a second away.
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(1),
    read: Duration::from_secs(2),
};

/// Sends the DELETE that a dead publisher could not (RFC 9725, section 4.2).
#[derive(Debug)]
pub struct SessionCloser {
    agent: LazyAgent,
}

impl SessionCloser {
    /// Trusts the system's roots, as FFmpeg does.
    pub fn new(trust: Arc<TrustStore>) -> Self {
        Self {
            agent: LazyAgent::new(TIMEOUTS, Some(trust)),
        }
    }

    /// Ends the session at `resource`. One try, at most five seconds; the outcome is only logged.
    pub fn close(&self, resource: &Secret, bearer: Option<&Secret>) {
        let agent = match self.agent.get() {
            Ok(agent) => agent,
            Err(why) => {
                log::warn!("a WHIP session stays open: {why}");
                return;
            }
        };
        let mut request = agent.delete(resource.expose());
        if let Some(token) = bearer {
            request = request.header("Authorization", format!("Bearer {}", token.expose()));
        }
        match request.call() {
            Ok(answer) if answer.status().is_success() => {
                log::info!("closed the WHIP session that its publisher left open");
            }
            // Gone already: what we wanted.
            Ok(answer) if matches!(answer.status().as_u16(), 404 | 410) => {}
            Ok(answer) => log::warn!(
                status = answer.status().as_u16();
                "the WHIP server refused to close a session"
            ),
            Err(why) => log::warn!(
                "a WHIP session stays open until the server's own timeout: {}",
                shown(&why.to_string(), 200)
            ),
        }
    }
}
