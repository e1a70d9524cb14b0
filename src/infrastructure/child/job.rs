//! A child's job, as it reads it from its standard input: written before the child starts, into
//! memory that has a descriptor and no name. So the owner never waits for a child that does not
//! read, the end of the words is the end of the input, and nothing of it is in arguments, environment
//! or on a disk.

use std::fs::File;
use std::io::{Seek, Write};

use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::domain::engine::MAX_JOB;
use crate::domain::stream::{Cause, Diagnosis};

/// A file to read `job` from, or why there is none.
pub(super) fn readable(job: &str) -> Result<File, Diagnosis> {
    let failed = |why: String| Diagnosis {
        cause: Cause::EngineStart,
        detail: format!("the engine could not be told its job: {why}"),
    };
    if job.len() > MAX_JOB {
        return Err(failed(format!(
            "it has {} bytes, more than {MAX_JOB}",
            job.len()
        )));
    }
    let memory =
        memfd_create("lss-job", MFdFlags::MFD_CLOEXEC).map_err(|why| failed(why.to_string()))?;
    let mut file = File::from(memory);
    file.write_all(job.as_bytes())
        .and_then(|()| file.rewind())
        .map_err(|why| failed(why.to_string()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn read_to_its_end_and_bounded() {
        let job = "x".repeat(MAX_JOB);
        let mut read = String::new();
        readable(&job).unwrap().read_to_string(&mut read).unwrap();
        assert_eq!(read, job);
        let refused = readable(&format!("{job}x")).unwrap_err();
        assert_eq!(refused.cause, Cause::EngineStart);
        assert!(refused.detail.contains("65536"), "{}", refused.detail);
    }
}
