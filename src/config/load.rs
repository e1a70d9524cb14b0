//! The disk and the process's environment around [`super::parse`].

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::fault::{ConfigFault, FaultPlace};
use super::{ConfigFile, EnvReader, FileText, Input, LoadRequest, Loaded, parse, tree};

/// Read if nothing else is named and it exists.
pub const DEFAULT_PATH: &str = "/etc/lss/lss.yaml";

/// The process's environment, for [`load`].
pub fn process_env(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// Reads the configuration that `request` asks for.
///
/// # Errors
/// Every fault at once; a file that can't be read is one.
pub fn load(request: &LoadRequest, env: EnvReader<'_>) -> Result<Loaded, Vec<ConfigFault>> {
    let from_env = env("LSS_CONFIG")
        .map(|path| path.trim().to_owned())
        .filter(|path| !path.is_empty());
    let (path, place) = match (&request.path, from_env) {
        (Some(path), _) => (path.clone(), None),
        (None, Some(path)) => (PathBuf::from(path), Some(FaultPlace::Env("LSS_CONFIG"))),
        (None, None) => (PathBuf::from(DEFAULT_PATH), None),
    };
    let by_default = request.path.is_none() && place.is_none();
    let name = path.to_string_lossy().into_owned();
    let file = match read_file(&path, tree::MAX_BYTES) {
        Ok(file) => Some(file),
        Err(ReadError::Io(error)) if by_default && error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            let fault = match place {
                Some(place) => {
                    ConfigFault::new(place, format!("names a file that {error}: {name}"))
                }
                None => ConfigFault::new(
                    FaultPlace::File {
                        name,
                        line: None,
                        key: None,
                    },
                    error.to_string(),
                ),
            };
            return Err(vec![fault]);
        }
    };
    let input = Input {
        file: file.as_ref().map(|file| ConfigFile {
            name: &name,
            bytes: &file.bytes,
            world_readable: file.world_readable,
        }),
        env,
        files: &|path, max| read_file(path, max).map_err(|error| error.to_string()),
        host_name: &host_name(),
        standalone: request.standalone,
        unknown_keys: request.unknown_keys,
    };
    let parsed = parse(&input)?;
    Ok(Loaded {
        config: parsed.config,
        warnings: parsed.warnings,
        path: file.is_some().then_some(path),
        env_used: parsed.env_used,
        request: request.clone(),
    })
}

fn host_name() -> String {
    nix::unistd::gethostname()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// Why a file was not read; to be put behind its name.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("{}", io_words(.0))]
    Io(io::Error),
    #[error("is not a file")]
    NoFile,
    #[error("is larger than {0} bytes")]
    TooLarge(usize),
}

fn io_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "can't be read: this user has no right to".to_owned(),
        _ => format!("can't be read: {error}"),
    }
}

/// At most `max` bytes. Never waits: a pipe nobody writes to would hold up the start for ever.
fn read_file(path: &Path, max: usize) -> Result<FileText, ReadError> {
    let file: File = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(ReadError::Io)?;
    let meta = file.metadata().map_err(ReadError::Io)?;
    // A character device is /dev/null: an empty configuration.
    if !(meta.is_file() || meta.file_type().is_char_device()) {
        return Err(ReadError::NoFile);
    }
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    file.take(limit)
        .read_to_end(&mut bytes)
        .map_err(ReadError::Io)?;
    if bytes.len() > max {
        return Err(ReadError::TooLarge(max));
    }
    Ok(FileText {
        bytes,
        world_readable: meta.is_file() && meta.permissions().mode() & 0o004 != 0,
    })
}
