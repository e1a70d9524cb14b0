//! Tokens: fetched before a connect, renewed within a connection, replaced when refused (RSA4,
//! RTN14b, RTN15h, RTN22). With an API key there is nothing to do here.

use std::time::{Duration, Instant};

use super::super::frame::{Action, ErrorInfo, ProtocolMessage};
use super::attempt::Step;
use super::types::{Credentials, MAX_MS, Output, RequestId, Token, TokenFault};
use super::{Machine, Now};

/// No token is believed to live longer.
const LONGEST_LIFE: Duration = Duration::from_secs(400 * 24 * 3600);

impl Machine {
    /// A token was refused while connecting: renew it once, then wait (RTN14b, RSA4a2).
    pub(super) fn token_refused(&mut self, reason: ErrorInfo, now: Now) {
        self.drop_transport();
        if matches!(self.settings.credentials, Credentials::Key(_)) {
            self.fail(not_renewable(&reason), now);
            return;
        }
        self.forget_token();
        if self.link.round.renewed {
            self.round_failed(reason, now);
        } else {
            self.link.round.renewed = true;
            let host = self.link.host.clone();
            self.open(host, now);
        }
    }

    /// The answer of the token source.
    pub(super) fn on_token(&mut self, id: RequestId, answer: Result<Token, TokenFault>, now: Now) {
        let connecting = self.is_connecting() && self.link.round.step == Step::Token(id);
        let renewing = self.link.renewal.is_some_and(|(asked, _)| asked == id);
        match answer {
            Ok(token) if connecting || renewing => {
                let plausible = self.plausible(token.lifetime);
                // Renewed a tenth of its life, at most a minute, before its end.
                let life = plausible.map(|l| l.min(Duration::from_millis(MAX_MS)));
                let early = |l: Duration| l.saturating_sub((l / 10).min(Duration::from_secs(60)));
                self.link.token_renew_at = life.map(|life| now.mono + early(life));
                self.link.token_ends_at = life.map(|life| now.mono + life);
                if connecting {
                    self.link.token = Some(token);
                    let host = self.link.host.clone();
                    self.open(host, now);
                } else {
                    self.link.renewal = None;
                    let mut auth = ProtocolMessage::new(Action::Auth);
                    auth.access_token = Some(token.value.clone());
                    self.link.token = Some(token);
                    self.send(auth);
                }
            }
            Err(fault) if connecting => self.no_token(&fault, now),
            Err(fault) if renewing => self.renewal_failed(&fault, now),
            _ => {}
        }
    }

    pub(super) fn no_token(&mut self, fault: &TokenFault, now: Now) {
        let text = format!("no token: {}", fault.text);
        if fault.forbidden {
            self.fail(ErrorInfo::new(80019, 403, text), now);
        } else {
            self.round_failed(ErrorInfo::new(80019, 401, text), now);
        }
    }

    /// The connection stays up with its old token (RSA4c), and the next try comes soon.
    pub(super) fn renewal_failed(&mut self, fault: &TokenFault, now: Now) {
        if fault.forbidden {
            let text = format!("no token: {}", fault.text);
            self.fail(ErrorInfo::new(80019, 403, text), now);
            return;
        }
        self.link.renewal = None;
        self.link.token_renew_at = Some(now.mono + self.settings.timing.request);
        let text = format!("the token could not be renewed: {}", fault.text);
        self.out.push(Output::Note(text));
    }

    /// When the token source may be asked: a source whose tokens are refused at once, or have
    /// ended, must not be asked without a pause.
    pub(super) fn token_due(&self, now: Instant) -> Instant {
        let gap = self.settings.timing.token_gap;
        let due = self.link.token_asked.map(|asked| asked + gap);
        due.map_or(now, |due| due.max(now))
    }

    /// A lifetime that can be meant. One that is over already, or before a renewal could be asked
    /// for, is ignored, and so is one of years: then the service says when a token has ended.
    fn plausible(&mut self, lifetime: Option<Duration>) -> Option<Duration> {
        let lifetime = lifetime?;
        let least = self.settings.timing.token_gap * 2;
        if (least..=LONGEST_LIFE).contains(&lifetime) {
            self.link.odd_lifetime = None;
            return Some(lifetime);
        }
        if self.link.odd_lifetime.replace(lifetime).is_none() {
            let text = format!(
                "the token source says that its token lives for {lifetime:?}: that can't be meant and is ignored"
            );
            self.out.push(Output::Note(text));
        }
        None
    }

    /// AUTH from the server, or our own timer: renew within the connection (RTN22).
    pub(super) fn renew_token(&mut self, now: Now) {
        self.link.token_renew_at = None;
        let renewable = matches!(self.settings.credentials, Credentials::Tokens);
        if !renewable || !self.is_connected() || self.link.renewal.is_some() {
            return;
        }
        let due = self.token_due(now.mono);
        if due > now.mono {
            self.link.token_renew_at = Some(due);
            return;
        }
        self.link.token_asked = Some(now.mono);
        let id = self.request_id();
        self.link.renewal = Some((id, now.mono + self.settings.timing.request));
        let host = self.link.host.clone();
        self.out.push(Output::FetchToken(id, host));
    }
}

pub(super) fn not_renewable(reason: &ErrorInfo) -> ErrorInfo {
    let text = format!("{reason}, and there is no way to renew it");
    ErrorInfo::new(40171, 401, text)
}
