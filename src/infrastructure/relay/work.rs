//! The child's work: one job in, and what comes of it out.

use std::io::{self, Read, Write};

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

#[cfg(feature = "relay")]
use super::carry::carry;
use super::job::Job;
use super::look;
#[cfg(feature = "relay")]
use super::publisher::make;
use crate::domain::engine::MAX_JOB;

/// Address space: a look and a relay take a few megabytes, their threads' stacks included.
const MEMORY: rlim_t = 512 << 20;
/// Descriptors.
const OPEN_FILES: rlim_t = 64;

/// Does the job that `input` holds and says on `output` what comes of it. `Err` = there was no job, or
/// nobody to tell.
pub fn work(input: impl Read, output: impl Write) -> io::Result<()> {
    bound();
    let mut text = zeroize::Zeroizing::new(Vec::with_capacity(MAX_JOB));
    input.take(MAX_JOB as u64).read_to_end(&mut text)?;
    let no_job = || io::Error::new(io::ErrorKind::InvalidData, "no job on standard input");
    let job = Job::read(&text).ok_or_else(no_job)?;
    drop(text);
    let mut output = output;
    match job {
        Job::Look {
            url,
            as_stranger,
            within,
        } => {
            output.write_all(look::told(&url, as_stranger, within).as_bytes())?;
            output.flush()
        }
        #[cfg(feature = "relay")]
        Job::Carry(job) => carry(&job, make, output),
        #[cfg(not(feature = "relay"))]
        Job::Carry(_) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this build has no sender of its own",
        )),
    }
}

/// They need little, so they get little. What is bounded tighter already stays so.
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
