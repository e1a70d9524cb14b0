//! The environment of children: an allow list, so that no key or token of ours is in it.

use std::ffi::OsString;

/// What a child may see of our environment: where programs, libraries and certificates are, and
/// the language and time zone of the system. Not among them, on purpose: `LSS_*`, `ABLY_*`,
/// `RCS_*`, and `FFREPORT`, with which FFmpeg would write files.
const ALLOWED: [&str; 9] = [
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "LD_LIBRARY_PATH",
];

/// The variables a child gets, as they are set here.
pub fn child_env() -> Vec<(OsString, OsString)> {
    ALLOWED
        .iter()
        .filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_the_list() {
        let env = child_env();
        assert!(env.iter().any(|(name, _)| name == "PATH"));
        assert!(
            env.iter()
                .all(|(name, _)| ALLOWED.iter().any(|a| name == *a))
        );
    }
}
