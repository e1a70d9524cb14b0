//! The way out and the peers behind it.

use std::sync::Arc;
use std::time::SystemTime;

use super::jobs::{Findings, Job};
use super::{STEP, Shared};
use crate::application::doctor::{self, Check};
use crate::config::Config;
use crate::daemon::cloud;
use crate::domain::whip_fit::Grade;
use crate::infrastructure::ably::check;
use crate::infrastructure::http::look::look;
use crate::infrastructure::http::tls::TrustStore;
use crate::infrastructure::rcs::{RcsClient, RcsSettings};
use crate::util::url;

/// Where WHIP endpoints listen, unless their URLs say otherwise.
const WHIP_PORT: u16 = 443;

/// A host that the configuration names.
struct Peer {
    host: String,
    port: u16,
    trust: Option<Arc<TrustStore>>,
}

/// Everything about RCS and Ably.
pub(super) fn cloud(config: &Shared) -> Vec<Job> {
    let mut jobs = Vec::new();
    if !config.ably.connectivity_check_url.is_empty() {
        jobs.push(internet(config));
    }
    jobs.extend(peers(config).into_iter().map(host));
    jobs.extend(rcs(config));
    jobs.push(ably(config));
    jobs
}

fn peers(config: &Config) -> Vec<Peer> {
    let ably_trust = Arc::new(TrustStore::new(config.ably.ca_file.clone()));
    let rcs_trust = Arc::new(TrustStore::new(config.rcs.ca_file.clone()));
    let ably = &config.ably;
    let mut out = Vec::new();
    out.extend(
        config
            .rcs
            .base_url
            .as_deref()
            .and_then(|target| peer(target, &rcs_trust)),
    );
    if let Ok(settings) = cloud::settings(config) {
        out.push(Peer {
            host: check::primary_host(&settings),
            port: ably.port,
            trust: ably.tls.then(|| ably_trust.clone()),
        });
    }
    let token_source = ably
        .auth_url
        .as_ref()
        .map(crate::util::secret::Secret::expose);
    out.extend(token_source.and_then(|target| peer(target, &ably_trust)));
    let public_ip = config.node.public_ip_url.as_deref();
    out.extend(public_ip.and_then(|target| peer(target, &rcs_trust)));
    let mut seen = Vec::new();
    out.retain(|peer: &Peer| {
        let key = (peer.host.clone(), peer.port);
        let new = !seen.contains(&key);
        seen.push(key);
        new
    });
    out
}

fn peer(target: &str, trust: &Arc<TrustStore>) -> Option<Peer> {
    let parts = url::split(target).ok()?;
    let tls = parts.scheme.eq_ignore_ascii_case("https");
    Some(Peer {
        host: parts.host.to_owned(),
        port: parts.port.unwrap_or(if tls { 443 } else { 80 }),
        trust: tls.then(|| trust.clone()),
    })
}

fn host(peer: Peer) -> Job {
    Job::new(peer.host.clone(), move || {
        let seen = look(&peer.host, peer.port, peer.trust.as_deref(), STEP);
        Findings::of(doctor::host(&seen, SystemTime::now())).with_clock(&peer.host, seen.clock)
    })
}

/// Hosts that streams may go to. Their URLs, which only tasks know, may be plain or have another
/// port, so what can't be reached is a warning.
pub(super) fn whip_hosts(config: &Config) -> Vec<Job> {
    let trust = Arc::new(TrustStore::new(None));
    let hosts = config.ffmpeg.whip_hosts.iter().cloned();
    hosts
        .map(|host| {
            let trust = trust.clone();
            Job::new(host.clone(), move || {
                let seen = look(&host, WHIP_PORT, Some(&trust), STEP);
                let checks = doctor::host(&seen, SystemTime::now());
                let softened = checks.into_iter().map(|check| match check.status {
                    Grade::Fail => Check {
                        status: Grade::Warn,
                        ..check
                    },
                    _ => check,
                });
                Findings::of(softened.collect()).with_clock(&host, seen.clock)
            })
        })
        .collect()
}

fn internet(config: &Shared) -> Job {
    let config = config.clone();
    Job::new("the internet", move || {
        let target = &config.ably.connectivity_check_url;
        let host = url::split(target).map_or("", |parts| parts.host);
        let found = match cloud::settings(&config) {
            Ok(settings) => check::internet(&settings, STEP),
            Err(why) => Err(why.to_string()),
        };
        Findings::of(vec![doctor::internet(host, &found)])
    })
}

fn rcs(config: &Shared) -> Option<Job> {
    let base_url = config.rcs.base_url.clone()?;
    let config = config.clone();
    Some(Job::new("RCS", move || {
        let settings = RcsSettings {
            base_url,
            token: config.rcs.token.clone(),
            connect_timeout: config.rcs.connect_timeout.min(STEP),
            read_timeout: config.rcs.read_timeout.min(STEP),
            public_ip_url: None,
        };
        let trust = Arc::new(TrustStore::new(config.rcs.ca_file.clone()));
        let client = RcsClient::new(settings, &trust);
        let (seen, clock) = client.look();
        let check = doctor::rcs(client.shown(), &seen, config.rcs.token.is_some());
        Findings::of(vec![check]).with_clock("RCS", clock)
    }))
}

fn ably(config: &Shared) -> Job {
    let config = config.clone();
    Job::new("Ably", move || {
        let settings = match cloud::settings(&config) {
            Ok(settings) => settings,
            Err(why) => {
                let check = Check::fail("ably", why.to_string(), "see ably in the configuration");
                return Findings::of(vec![check]);
            }
        };
        let clock = check::clock(&settings, STEP);
        let seen = check::connect(&settings, STEP);
        Findings::of(vec![doctor::ably(&seen)]).with_clock("Ably", clock)
    })
}
