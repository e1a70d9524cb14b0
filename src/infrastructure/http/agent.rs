//! ureq agents with a bound on everything: names, connecting, sending, the answer's head and body,
//! the whole. No redirects are followed (a captive portal redirects; who may follow one does so
//! himself), no proxy is taken from the environment (the other half of the cloud's traffic would not use it).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ureq::Agent;
use ureq::tls::TlsConfig;

use super::names::Names;
use super::tls::{TlsError, TrustStore};

/// `lss/<version>`, in every request.
pub const USER_AGENT: &str = concat!("lss/", env!("CARGO_PKG_VERSION"));

/// An idle connection is kept this long: longer than the pause between two heartbeats, so that
/// they share one TLS handshake.
const IDLE: Duration = Duration::from_secs(60);
/// Heartbeat and callback at the same time.
const IDLE_CONNECTIONS: usize = 2;
/// Of an answer's head.
const MAX_HEAD: usize = 16 * 1024;
/// Our requests and answers are small; two such buffers live as long as a connection.
const BUFFER: usize = 16 * 1024;

/// What bounds one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Of the name lookup, and again of TCP and TLS together.
    pub connect: Duration,
    /// Of sending, of waiting for the answer's head, and of reading its body.
    pub read: Duration,
}

impl Timeouts {
    /// However slowly the peer drips: a request has ended by then.
    pub fn whole(&self) -> Duration {
        self.connect
            .saturating_mul(2)
            .saturating_add(self.read)
            .saturating_add(Duration::from_secs(1))
    }
}

/// An agent that answers whatever the status, and never waits longer than `timeouts` say.
pub fn agent(timeouts: Timeouts, tls: TlsConfig, names: Names) -> Agent {
    let config = Agent::config_builder()
        .timeout_resolve(Some(timeouts.connect))
        .timeout_connect(Some(timeouts.connect))
        .timeout_send_request(Some(timeouts.read))
        .timeout_send_body(Some(timeouts.read))
        .timeout_recv_response(Some(timeouts.read))
        .timeout_recv_body(Some(timeouts.read))
        .timeout_global(Some(timeouts.whole()))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .user_agent(USER_AGENT)
        .accept_encoding("identity")
        .max_response_header_size(MAX_HEAD)
        .input_buffer_size(BUFFER)
        .output_buffer_size(BUFFER)
        .max_idle_connections(IDLE_CONNECTIONS)
        .max_idle_connections_per_host(IDLE_CONNECTIONS)
        .max_idle_age(IDLE)
        .tls_config(tls)
        .build();
    Agent::with_parts(
        config,
        ureq::unversioned::transport::DefaultConnector::default(),
        names,
    )
}

/// An agent made when it is first needed, that can be interrupted from another thread.
pub struct LazyAgent {
    timeouts: Timeouts,
    trust: Option<Arc<TrustStore>>,
    names: Names,
    agent: Mutex<Option<Agent>>,
}

impl LazyAgent {
    /// Loads nothing yet. Without `trust` it is for plain http, and no roots are ever read.
    pub fn new(timeouts: Timeouts, trust: Option<Arc<TrustStore>>) -> Self {
        Self {
            timeouts,
            trust,
            names: Names::default(),
            agent: Mutex::new(None),
        }
    }

    /// The agent.
    pub fn get(&self) -> Result<Agent, TlsError> {
        if let Some(agent) = self.slot().clone() {
            return Ok(agent);
        }
        // Reads files: not under the lock. If another thread was faster, its agent is the one.
        let tls = match &self.trust {
            Some(trust) => trust.roots()?.ureq(),
            None => TlsConfig::default(),
        };
        let made = agent(self.timeouts, tls, self.names.clone());
        Ok(self.slot().get_or_insert(made).clone())
    }

    /// Ends every request that waits for an answer right now, with an error; later requests use
    /// fresh connections. Lookups and TCP connects under way run into their own timeouts.
    pub fn interrupt(&self) {
        let agent = self.slot().take();
        if let Some(agent) = agent {
            agent.shutdown();
        }
    }

    /// After a failed request: names are looked up again before the next.
    pub fn distrust_names(&self) {
        self.names.distrust();
    }

    /// What bounds a request.
    pub fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Agent>> {
        self.agent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for LazyAgent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LazyAgent")
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}
