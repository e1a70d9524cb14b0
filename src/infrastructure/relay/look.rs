//! The child's work: one job in, one look at a source, one event out.

use std::io::{self, Read, Write};
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

use super::event;
use super::job::Job;
use crate::domain::camera::Credentials;
use crate::domain::engine::MAX_JOB;
use crate::domain::stream::{Cause, Diagnosis, MediaUrl, SourceLook};
use crate::infrastructure::rtsp::look::{Question, look};
use crate::util::secret::Secret;
use crate::util::url;

/// The longest look, whatever the job says.
const LONGEST: Duration = Duration::from_secs(30);
/// Addresses of one host that are tried.
const MAX_ADDRESSES: usize = 4;
/// Address space: a look takes a few megabytes, its threads' stacks included.
const MEMORY: rlim_t = 512 << 20;
/// Descriptors.
const OPEN_FILES: rlim_t = 64;

/// Does the job that `input` holds and says on `output` what came of it. `Err` = there was no job, or
/// nobody to tell.
pub fn work(input: impl Read, output: impl Write) -> io::Result<()> {
    bound();
    let mut text = zeroize::Zeroizing::new(Vec::with_capacity(MAX_JOB));
    input.take(MAX_JOB as u64).read_to_end(&mut text)?;
    let no_job = || io::Error::new(io::ErrorKind::InvalidData, "no job on standard input");
    let Job::Look {
        url,
        as_stranger,
        within,
    } = Job::read(&text).ok_or_else(no_job)?;
    drop(text);
    let until = Instant::now() + within.min(LONGEST);
    let seen = see(&url, as_stranger, until);
    let mut output = output;
    output.write_all(event::write(&seen).as_bytes())?;
    output.flush()
}

/// A look needs little, so it gets little. What is bounded tighter already stays so.
fn bound() {
    for (what, most) in [
        (Resource::RLIMIT_AS, MEMORY),
        (Resource::RLIMIT_NOFILE, OPEN_FILES),
    ] {
        let set = getrlimit(what).and_then(|(_, hard)| {
            let most = most.min(hard);
            setrlimit(what, most, most)
        });
        if let Err(why) = set {
            log::debug!("a bound of this process can't be set: {why}");
        }
    }
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
fn addresses(host: &str, until: Instant) -> Option<Vec<IpAddr>> {
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
    all.truncate(MAX_ADDRESSES);
    (!all.is_empty()).then_some(all)
}
