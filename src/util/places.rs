//! Where a process may keep for a while what nobody else shall reach: a socket, a lock.

use std::path::PathBuf;

/// The directories that may let us, the best first: what the service manager gives, then those that
/// a boot empties, then the temporary directory. None of them is private by itself: what is made in
/// them has to be.
pub fn places() -> Vec<PathBuf> {
    let given = std::env::var_os("RUNTIME_DIRECTORY");
    // systemd lists several with colons.
    let given = given
        .as_deref()
        .and_then(std::ffi::OsStr::to_str)
        .and_then(|list| list.split(':').next())
        .filter(|first| !first.is_empty())
        .map(PathBuf::from);
    given
        .into_iter()
        .chain(["/run", "/dev/shm"].map(PathBuf::from))
        .chain([std::env::temp_dir()])
        .collect()
}

/// What to do where none of them lets us.
pub const ADVICE: &str = "let lss write to one of them: RuntimeDirectory= in a unit, a tmpfs in a \
     container (nothing of weight stays in it)";
