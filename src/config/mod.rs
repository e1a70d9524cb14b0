//! File and environment → one validated [`Config`]. Knows no layer.
//!
//! Every key is one row of `keys`: its name, type, default, when a reload takes it, what it may be
//! set to and what it is for. The reader, the effective configuration, the list of changes and the
//! key table of the documents follow from the rows; what holds between keys is in `rules`.
//!
//! [`load()`] reads the file that the command line, the environment or the default names; [`parse`]
//! is its pure part. Both report every fault at once, each with file, line and key, and none with
//! a value in it. The same call serves a reload: it changes nothing outside itself.

use std::path::{Path, PathBuf};

mod change;
mod fault;
mod keys;
mod load;
mod reader;
mod row;
mod rules;
mod shown;
mod source;
mod suggest;
mod tree;
mod value;

pub use change::changes;
pub use fault::{ConfigFault, FaultPlace};
pub use keys::{
    Ably, Camera, CameraCredential, Config, Ffmpeg, Log, Node, Ptz, Rcs, Server, Snapshot,
};
pub use load::{DEFAULT_PATH, load, process_env};
pub use row::{Change, Row, Takes};
pub use suggest::closest;
pub use value::{CertificateCheck, EngineChoice, LogFormat, Mode, Passthrough};

/// What [`load()`] needs to know. Kept in [`Loaded`], so that a reload asks the same question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadRequest {
    /// `--config`; this file must exist. `None` = `LSS_CONFIG`, which must exist too, else
    /// [`DEFAULT_PATH`] if there is one.
    pub path: Option<PathBuf>,
    /// `--standalone`; wins over `mode`.
    pub standalone: bool,
    /// What an unknown key is.
    pub unknown_keys: UnknownKeys,
}

/// What an unknown key is: `run` must start with a newer version's file, `check-config` is asked
/// to find slips.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownKeys {
    /// A fault.
    Fault,
    /// A warning.
    Warn,
}

/// A configuration that may be used, and how it came about.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// To be logged; none keeps lss from running.
    pub warnings: Vec<ConfigFault>,
    /// The file that was read; `None` = there is none.
    pub path: Option<PathBuf>,
    /// The environment variables that had a say.
    pub env_used: Vec<&'static str>,
    /// What was asked for.
    pub request: LoadRequest,
}

/// Asks for an environment variable.
pub type EnvReader<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads a token, password or certificate file, at most so many bytes, or says what is wrong with
/// it in words that go behind "names a file that".
pub type FileReader<'a> = &'a dyn Fn(&Path, usize) -> Result<FileText, String>;

/// A file's content. No `Debug`: it may be a password.
#[derive(Clone)]
pub struct FileText {
    /// As it is.
    pub bytes: Vec<u8>,
    /// Whether its mode lets every user of the machine read it.
    pub world_readable: bool,
}

/// The configuration file. No `Debug`: it holds secrets.
#[derive(Clone, Copy)]
pub struct ConfigFile<'a> {
    /// As faults shall name it; relative paths in it count from its directory.
    pub name: &'a str,
    /// Its content.
    pub bytes: &'a [u8],
    /// Whether its mode lets every user of the machine read it.
    pub world_readable: bool,
}

/// Everything that [`parse`] looks at.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// The file, if there is one.
    pub file: Option<ConfigFile<'a>>,
    /// The environment, which wins over the file.
    pub env: EnvReader<'a>,
    /// Files that the file names.
    pub files: FileReader<'a>,
    /// The machine id of a standalone node that is given none.
    pub host_name: &'a str,
    /// As in [`LoadRequest`].
    pub standalone: bool,
    /// As in [`LoadRequest`].
    pub unknown_keys: UnknownKeys,
}

impl<'a> Input<'a> {
    /// A file alone: no environment, no other files, unknown keys are faults.
    pub fn new(name: &'a str, bytes: &'a [u8]) -> Self {
        Self {
            file: Some(ConfigFile {
                name,
                bytes,
                world_readable: false,
            }),
            env: &|_| None,
            files: &|_, _| Err("can't be read here".to_owned()),
            host_name: "localhost",
            standalone: false,
            unknown_keys: UnknownKeys::Fault,
        }
    }
}

/// What [`parse`] gives.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// The configuration.
    pub config: Config,
    /// To be logged.
    pub warnings: Vec<ConfigFault>,
    /// The environment variables that had a say.
    pub env_used: Vec<&'static str>,
}

/// Reads and validates. Touches nothing but its arguments.
///
/// # Errors
/// Every fault, in the order of the file's lines; then those of the environment and of the whole.
pub fn parse(input: &Input<'_>) -> Result<Parsed, Vec<ConfigFault>> {
    let read = match &input.file {
        Some(file) => tree::parse(file.name, file.bytes),
        None => tree::Parsed {
            root: Some(Vec::new()),
            faults: Vec::new(),
        },
    };
    let mut faults = read.faults;
    let readable = read.root.is_some();
    let entries = read.root.unwrap_or_default();
    let mut reader = reader::Reader::new(input);
    let config = assemble(&mut reader, &entries, input);
    reader.finish();
    // What an unreadable file does not say is no fault; what the environment says may be one.
    let told = |fault: &ConfigFault| readable || matches!(fault.place, FaultPlace::Env(_));
    faults.extend(reader.faults.into_iter().filter(told));
    faults.sort_by_key(ConfigFault::order);
    if readable && faults.is_empty() {
        Ok(Parsed {
            config,
            warnings: reader.warnings,
            env_used: reader.env_used,
        })
    } else {
        Err(faults)
    }
}

/// Reads every key. Always gives a configuration; whether it may be used is told by the reader's
/// faults.
fn assemble<'a>(
    r: &mut reader::Reader<'a>,
    entries: &'a [tree::Entry],
    input: &Input<'_>,
) -> Config {
    let root = r.root(entries);
    let lss = r.section(&root, "lss", None);
    // Variables of the environment have no line: their faults come in this order.
    let server = r.section(&root, "server", None);
    let server = Server::read(r, &server);
    let node = r.section(&lss, "node", None);
    let node = Node::read(r, &node);
    let ffmpeg = r.section(&lss, "ffmpeg", None);
    let ffmpeg = Ffmpeg::read(r, &ffmpeg);
    // The spec's listing does not show whether these two stand below `lss`: both are read.
    let rcs = r.section(&root, "rcs", Some(&lss));
    let rcs = Rcs::read(r, &rcs);
    let camera = r.section(&root, "camera", Some(&lss));
    let camera = Camera::read(r, &camera);
    let ably = r.section(&root, "ably", None);
    let ably = Ably::read(r, &ably);
    let ptz = r.section(&root, "ptz", None);
    let ptz = Ptz::read(r, &ptz);
    let snapshot = r.section(&root, "snapshot", None);
    let snapshot = Snapshot::read(r, &snapshot);
    let log = r.section(&root, "log", None);
    let log = Log::read(r, &log);
    let mut config = Config::read(
        r, &root, server, ably, rcs, node, ffmpeg, ptz, camera, snapshot, log,
    );
    let facts = rules::Facts {
        standalone: input.standalone,
        host_name: input.host_name,
    };
    rules::hold(r, &mut config, &facts);
    config
}

/// The configuration in the shape of the file. A secret that is set shows as `'***'`, one that is
/// not as `''`; what came from a token or password file stands under the key it stands in for.
pub fn to_yaml(config: &Config) -> String {
    let mut yaml = shown::Yaml::default();
    row::Keys::show(config, &mut yaml);
    yaml.out
}

/// Every key, as the tables of the documents show it.
pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    <Config as row::Keys>::rows(&mut rows);
    rows
}

/// Every key there is, dotted, sections too: for documents and the tests that keep them complete.
pub fn known_keys() -> Vec<String> {
    let mut input = Input::new("", b"");
    input.standalone = true;
    let mut reader = reader::Reader::new(&input);
    let _ = assemble(&mut reader, &[], &input);
    reader
        .known
        .into_iter()
        .filter(|key| !matches!(key.as_str(), "lss.rcs" | "lss.camera"))
        .collect()
}
