//! Attempts to connect: the primary host, then, for faults that another host may not have, a
//! connectivity check and some fallbacks (RTN17); each attempt within its time (RTN14c).

use std::time::Instant;

use super::super::endpoint::{Login, MAX_FALLBACKS, connect_path};
use super::super::frame::ErrorInfo;
use super::retry::delay;
use super::types::{ConnectionState, Credentials, Output, RequestId, TokenFault, TransportId};
use super::{Machine, Now};

/// One series of attempts: the primary host, then fallbacks.
#[derive(Default)]
pub(super) struct Round {
    pub(super) step: Step,
    pub(super) until: Option<Instant>,
    /// Fallbacks that are left; `None` = not drawn yet.
    fallbacks: Option<Vec<String>>,
    /// A token was renewed in this round already.
    pub(super) renewed: bool,
    /// The transport that is being opened carries `resume`.
    pub(super) resuming: bool,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    #[default]
    None,
    Token(RequestId),
    /// A token is needed, and was asked for just now: not before then again.
    TokenDue(Instant),
    Check(RequestId),
    Transport,
}

impl Machine {
    pub(super) fn begin_round(&mut self, now: Now) {
        self.link.retry_at = None;
        self.link.round = Round {
            renewed: std::mem::take(&mut self.link.token_refused),
            ..Round::default()
        };
        self.link.retries = self.link.retries.saturating_add(1);
        self.enter(ConnectionState::Connecting, None, now);
        if std::mem::take(&mut self.link.skip_primary) {
            let reason = ErrorInfo::new(80000, 400, "the service asked for another host");
            self.next_host(reason, now);
        } else {
            let host = self.settings.hosts.primary.clone();
            self.open(host, now);
        }
    }

    /// Opens a transport; asks for a token first if one is needed.
    pub(super) fn open(&mut self, host: String, now: Now) {
        let until = now.mono + self.settings.timing.request;
        self.link.round.until = Some(until);
        self.link.host.clone_from(&host);
        if self.link.token_ends_at.is_some_and(|at| at <= now.mono) {
            self.forget_token();
        }
        let login = match (&self.settings.credentials, &self.link.token) {
            (Credentials::Key(key), _) => Login::Key(key),
            (Credentials::Tokens, Some(token)) => Login::Token(&token.value),
            (Credentials::Tokens, None) => {
                let due = self.token_due(now.mono);
                if due > now.mono {
                    self.link.round.step = Step::TokenDue(due);
                    self.link.round.until = Some(due);
                } else {
                    let id = self.request_id();
                    self.link.round.step = Step::Token(id);
                    self.link.token_asked = Some(now.mono);
                    self.out.push(Output::FetchToken(id, host));
                }
                return;
            }
        };
        // Always, however long the outage (RTN14h).
        let resume = self.link.key.as_ref();
        let path = connect_path(
            login,
            &self.settings.client_id,
            &self.settings.agent,
            resume,
        );
        self.link.round.resuming = resume.is_some();
        self.link.round.step = Step::Transport;
        self.link.transport = TransportId(self.link.transport.0 + 1);
        self.link.open = true;
        self.out.push(Output::OpenTransport {
            transport: self.link.transport,
            host,
            path,
        });
    }

    pub(super) fn attempt_failed(&mut self, reason: ErrorInfo, try_another: bool, now: Now) {
        self.drop_transport();
        if try_another {
            self.next_host(reason, now);
        } else {
            self.round_failed(reason, now);
        }
    }

    /// A fallback, after the connectivity check (RTN17j).
    fn next_host(&mut self, reason: ErrorInfo, now: Now) {
        if self.settings.hosts.fallbacks.is_empty() {
            // RTN17g; and RTN17f1 with nowhere else to go.
            if self.link.round.step == Step::None {
                let host = self.settings.hosts.primary.clone();
                self.open(host, now);
            } else {
                self.round_failed(reason, now);
            }
            return;
        }
        let Some(left) = &mut self.link.round.fallbacks else {
            let id = self.request_id();
            self.link.round.step = Step::Check(id);
            self.link.round.until = Some(now.mono + self.settings.timing.request);
            self.link.now.reason = Some(reason);
            self.out.push(Output::CheckConnectivity(id));
            return;
        };
        match left.pop() {
            Some(host) => self.open(host, now),
            None => self.round_failed(reason, now),
        }
    }

    /// The answer of the connectivity check.
    pub(super) fn on_connectivity(&mut self, id: RequestId, up: bool, now: Now) {
        if self.link.round.step != Step::Check(id) || !self.is_connecting() {
            return;
        }
        let reason = self.link.now.reason.clone();
        let reason = reason.unwrap_or_else(|| ErrorInfo::new(80000, 400, "connection failed"));
        if up {
            let mut hosts = self.settings.hosts.fallbacks.clone();
            self.rng.shuffle(&mut hosts);
            hosts.truncate(MAX_FALLBACKS);
            self.link.round.fallbacks = Some(hosts);
            self.next_host(reason, now);
        } else {
            let text = format!("no way to the internet; {}", reason.message);
            self.round_failed(ErrorInfo::new(80000, 400, text), now);
        }
    }

    pub(super) fn is_connecting(&self) -> bool {
        self.link.now.state == ConnectionState::Connecting
    }

    /// No host could be reached: wait, and try again.
    pub(super) fn round_failed(&mut self, reason: ErrorInfo, now: Now) {
        self.drop_transport();
        if self.link.closing.is_some() {
            self.finish_close(now);
            return;
        }
        if self.link.suspend_at.is_none_or(|at| at <= now.mono) {
            self.suspend(Some(reason), now);
            return;
        }
        self.link.backoff = self.link.backoff.saturating_add(1);
        let base = self.settings.timing.disconnected_retry;
        let wait = delay(base, self.link.backoff, &mut self.rng);
        self.link.retry_at = Some(now.mono + wait);
        self.enter(ConnectionState::Disconnected, Some(reason), now);
    }

    pub(super) fn attempt_late(&mut self, now: Now) {
        match self.link.round.step {
            Step::Token(_) => {
                let text = "the token source did not answer in time".to_owned();
                self.no_token(
                    &TokenFault {
                        forbidden: false,
                        text,
                    },
                    now,
                );
            }
            Step::TokenDue(_) => {
                let host = self.link.host.clone();
                self.open(host, now);
            }
            Step::Check(id) => self.on_connectivity(id, false, now),
            Step::Transport | Step::None => {
                let text = format!("{} did not connect us in time", self.link.host);
                self.attempt_failed(ErrorInfo::new(80014, 408, text), true, now);
            }
        }
    }
}
