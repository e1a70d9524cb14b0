//! A look: one source is asked what it is, one event tells.

use std::net::{IpAddr, ToSocketAddrs};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::event;
use crate::domain::camera::Credentials;
use crate::domain::stream::{Cause, Diagnosis, MediaUrl, SourceLook};
use crate::infrastructure::rtsp::look::{Question, look};
use crate::util::secret::Secret;
use crate::util::{address, url};

/// The longest look, whatever the job says.
const LONGEST: Duration = Duration::from_secs(30);
/// Addresses of one host that are tried.
const MAX_ADDRESSES: usize = 4;

/// The event that tells what that source is.
pub(super) fn told(url: &Secret, as_stranger: bool, within: Duration) -> String {
    let until = Instant::now() + within.min(LONGEST);
    event::write(&see(url, as_stranger, until))
}

fn see(url: &Secret, as_stranger: bool, until: Instant) -> SourceLook {
    let source = match MediaUrl::parse("sourceUrl", url.expose()) {
        Ok(source) => source,
        Err(fault) => return SourceLook::Unclear(fault.message),
    };
    let Some(at) = addresses(source.host(), until) else {
        return SourceLook::Refused {
            why: Diagnosis {
                cause: Cause::SourceUnreachable,
                detail: "the source's host name can't be resolved".to_owned(),
            },
            login_taken: false,
        };
    };
    let login = match source.credentials().filter(|_| !as_stranger) {
        None => None,
        Some((user, password)) => match Credentials::new(user, password) {
            Ok(login) => Some(login),
            Err(fault) => return SourceLook::Unclear(fault.message),
        },
    };
    look(&Question {
        at: &at,
        url,
        login: login.as_ref(),
        as_stranger,
        until,
    })
}

/// The addresses of a host. A lookup has no deadline of its own, so it is left behind at ours; the
/// process ends soon after.
pub(super) fn addresses(host: &str, until: Instant) -> Option<Vec<IpAddr>> {
    if host.contains('%') {
        // Which interface is meant is FFmpeg's to know.
        return Some(Vec::new());
    }
    if let Some(ip) = url::literal_ip(host) {
        return Some(vec![ip]);
    }
    let (found, answer) = mpsc::channel();
    let name = host.to_owned();
    std::thread::Builder::new()
        .name("name".to_owned())
        .spawn(move || {
            let all = (name.as_str(), 0).to_socket_addrs();
            let _ = found.send(all.map(|all| all.map(|at| at.ip()).collect::<Vec<_>>()));
        })
        .ok()?;
    let left = until.saturating_duration_since(Instant::now());
    let mut all = answer.recv_timeout(left).ok()?.ok()?;
    all.retain(|ip| address::objection(*ip).is_none());
    all.truncate(MAX_ADDRESSES);
    (!all.is_empty()).then_some(all)
}
