//! The keys: names, defaults, ranges, and the rules among them (spec's YAML section; contract 2).

use std::path::PathBuf;
use std::time::Duration;

use super::fault::Place;
use super::reader::{Field, Reader, Section};
use super::value::{self, Wrong};
use super::{
    Config, EngineChoice, Ffmpeg, Log, LogFormat, Mode, Node, Passthrough, Ptz, Server, Snapshot,
};
use crate::util::secret::Secret;

mod camera;
mod cloud;

/// The spec's.
pub(super) const FFMPEG_PATH: &str = "/usr/local/ffmpeg-whip/bin/ffmpeg";

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Facts that come from outside the file.
pub(super) struct Facts<'a> {
    /// `--standalone` was given.
    pub standalone: bool,
    /// The machine id of a standalone node that has none.
    pub host_name: &'a str,
}

/// Reads every key. Always gives a configuration; whether it may be used is told by the reader's
/// faults.
pub(super) fn assemble<'a>(r: &mut Reader<'a>, root: &Section<'a>, facts: &Facts<'_>) -> Config {
    let mode = r.read(root, "mode", None, Mode::Cloud, value::mode);
    let mode_value = if facts.standalone {
        Mode::Standalone
    } else {
        mode.value
    };

    let section = r.section(root, "server", None);
    let server = server(r, &section);

    let lss = r.section(root, "lss", None);
    let section = r.section(&lss, "node", None);
    let (mut node, machine_id) = node(r, &section);
    let section = r.section(&lss, "ffmpeg", None);
    let ffmpeg = ffmpeg(r, &section);

    // The spec's listing does not show whether these two stand below `lss`: both are read.
    let section = r.section(root, "rcs", Some(&lss));
    let (rcs, rcs_given) = cloud::rcs(r, &section);
    let section = r.section(root, "camera", Some(&lss));
    let camera = camera::camera(r, &section);

    let section = r.section(root, "ably", None);
    let (mut ably, ably_given, client_id) = cloud::ably(r, &section);

    if !machine_id.given && mode_value == Mode::Standalone {
        node.machine_id = value::id_of_host(facts.host_name);
    }
    if mode_value == Mode::Cloud && mode.sound {
        cloud::missing(r, ably_given, machine_id.given, rcs_given);
    }
    let node_id = node.node_id();
    if client_id.given
        && client_id.sound
        && !client_id.value.is_empty()
        && machine_id.sound
        && !node.machine_id.is_empty()
        && client_id.value != node_id
    {
        r.fault(
            &client_id.place,
            "must equal the node id, which is lss- and the machine id: leave it empty",
        );
    }
    ably.client_id = node_id;

    let section = r.section(root, "ptz", None);
    let ptz = Ptz {
        max_move: duration(r, &section, "max_move", secs(30), ms(100), secs(300)).value,
        command_ttl: duration(r, &section, "command_ttl", secs(5), ms(500), secs(60)).value,
    };
    let section = r.section(root, "snapshot", None);
    let snapshot = Snapshot {
        timeout: duration(r, &section, "timeout", secs(5), ms(500), secs(60)).value,
    };
    let section = r.section(root, "log", None);
    let log = Log {
        format: r
            .read(&section, "format", None, LogFormat::Text, value::log_format)
            .value,
        level: r
            .read(
                &section,
                "level",
                Some("LSS_LOG"),
                log::LevelFilter::Info,
                value::log_level,
            )
            .value,
    };
    Config {
        mode: mode_value,
        server,
        ably,
        rcs,
        node,
        ffmpeg,
        ptz,
        camera,
        snapshot,
        log,
    }
}

fn duration<'a>(
    r: &mut Reader<'a>,
    section: &Section<'a>,
    key: &'static str,
    default: Duration,
    min: Duration,
    max: Duration,
) -> Field<Duration> {
    r.read(section, key, None, default, value::duration(min..=max))
}

/// A whole number in a range that the target type holds.
fn count<'a>(
    r: &mut Reader<'a>,
    section: &Section<'a>,
    key: &'static str,
    env: Option<&'static str>,
    default: usize,
    max: i64,
) -> usize {
    let parse = |text: &str| -> Result<usize, Wrong> {
        let number = value::number(1..=max)(text)?;
        usize::try_from(number).map_err(|_| "is too large".to_owned())
    };
    r.read(section, key, env, default, parse).value
}

fn port<'a>(r: &mut Reader<'a>, section: &Section<'a>, default: u16) -> u16 {
    let parse = |text: &str| -> Result<u16, Wrong> {
        let number = value::number(1..=65_535)(text)?;
        u16::try_from(number).map_err(|_| "is too large".to_owned())
    };
    r.read(section, "port", None, default, parse).value
}

fn server<'a>(r: &mut Reader<'a>, section: &Section<'a>) -> Server {
    let listen = r.read(
        section,
        "listen",
        None,
        None,
        value::optional(value::address),
    );
    let port = port(r, section, 10_060);
    let token = r.secret(
        section,
        "api_token",
        Some("LSS_API_TOKEN"),
        Secret::new,
        value::api_token,
    );
    let from_env = matches!(token.place, Place::Env(_));
    let token = if from_env {
        r.knows("server.api_token_file");
        token
    } else {
        let file = r.secret_file(section, "api_token_file", value::api_token);
        either(r, token, file, "server.api_token")
    };
    let allowed_hosts = r.read_list(section, "allowed_hosts", value::host);
    if let Some(ip) = listen.value
        && !ip.is_loopback()
        && token.value.is_none()
        && token.sound
    {
        r.fault(
            &listen.place,
            "needs a token on this address: the API moves cameras and has no other login. Set server.api_token_file (or server.api_token, or LSS_API_TOKEN), or leave listen empty for loopback alone",
        );
    }
    Server {
        listen: listen.value,
        port,
        api_token: token.value,
        allowed_hosts,
    }
}

/// One secret that may be written down or kept in a file, but not both.
fn either(
    r: &mut Reader<'_>,
    written: Field<Option<Secret>>,
    file: Field<Option<Secret>>,
    name: &str,
) -> Field<Option<Secret>> {
    if written.value.is_some() && file.value.is_some() {
        r.fault(
            &file.place,
            format!("is set beside {name}: take one of the two out"),
        );
    }
    let sound = written.sound && file.sound;
    let from = if written.value.is_some() {
        written
    } else {
        file
    };
    Field { sound, ..from }
}

fn node<'a>(r: &mut Reader<'a>, section: &Section<'a>) -> (Node, Field<()>) {
    let name = r.read(
        section,
        "name",
        Some("LSS_NODE_NAME"),
        "LSS-Node-1".to_owned(),
        value::name,
    );
    let machine_id = r.read(
        section,
        "machine_id",
        Some("LSS_MACHINE_ID"),
        None,
        value::optional(value::id),
    );
    let node = Node {
        name: name.value,
        max_tasks: count(r, section, "max_tasks", Some("LSS_MAX_TASKS"), 4, 256),
        ip: r
            .read(
                section,
                "ip",
                None,
                None,
                value::optional(value::host_address),
            )
            .value,
        public_ip_url: r
            .read(
                section,
                "public_ip_url",
                None,
                None,
                value::optional(value::plain_url),
            )
            .value,
        state_dir: state_dir(r, section),
        machine_id: machine_id.value.clone().unwrap_or_default(),
    };
    let given = Field {
        value: (),
        place: machine_id.place,
        // A bad one is a fault already, not a missing one.
        given: machine_id.value.is_some() || !machine_id.sound,
        sound: machine_id.sound,
    };
    (node, given)
}

/// As the file says, else the service manager's first; what that says is no fault of anybody here.
fn state_dir<'a>(r: &mut Reader<'a>, section: &Section<'a>) -> Option<PathBuf> {
    let said = r.read(section, "state_dir", None, None, value::optional(directory));
    said.value.or_else(|| {
        let given = r.env("STATE_DIRECTORY")?;
        let first = given.text.split(':').next()?;
        Some(PathBuf::from(first)).filter(|path| path.is_absolute())
    })
}

fn directory(text: &str) -> Result<PathBuf, Wrong> {
    let path = PathBuf::from(value::text(text)?);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err("must be a directory's full path, beginning with /".to_owned())
    }
}

fn ffmpeg<'a>(r: &mut Reader<'a>, section: &Section<'a>) -> Ffmpeg {
    let path = r.read(
        section,
        "path",
        Some("FFMPEG_PATH"),
        PathBuf::from(FFMPEG_PATH),
        |text| value::non_empty(text).map(PathBuf::from),
    );
    let stop_timeout = duration(r, section, "stop_timeout", secs(10), ms(100), secs(120));
    let start_confirm = duration(r, section, "start_confirm", secs(2), ms(0), secs(60));
    let start_timeout = duration(r, section, "start_timeout", secs(15), ms(500), secs(600));
    let stall_timeout = duration(r, section, "stall_timeout", secs(10), secs(1), secs(600));
    if start_confirm.sound && start_timeout.sound && start_confirm.value >= start_timeout.value {
        let place = if start_confirm.given {
            &start_confirm.place
        } else {
            &start_timeout.place
        };
        r.fault(
            place,
            "start_confirm must be shorter than start_timeout, or no stream can ever start",
        );
    }
    let whip_timeout = duration(r, section, "whip_timeout", secs(10), secs(1), secs(60));
    let max_retries = r.read(section, "max_retries", None, 3, |text| {
        value::number(-1..=1_000_000)(text).map_err(|wrong| format!("{wrong} (-1 = for ever)"))
    });
    let file_root = r.read(section, "file_root", None, None, value::optional(directory));
    let passthrough = r.read(
        section,
        "passthrough",
        None,
        Passthrough::Never,
        value::passthrough,
    );
    if passthrough.value != Passthrough::Never {
        r.warn(
            &passthrough.place,
            "waits for a relay, which this version of lss does not have: every stream is encoded, \
             but those that ask for codec copy",
        );
    }
    Ffmpeg {
        path: path.value,
        stop_timeout: stop_timeout.value,
        start_confirm: start_confirm.value,
        start_timeout: start_timeout.value,
        stall_timeout: stall_timeout.value,
        whip_timeout: whip_timeout.value,
        max_retries: max_retries.value,
        passthrough: passthrough.value,
        engine: r
            .read(section, "engine", None, EngineChoice::Auto, value::engine)
            .value,
        whip_hosts: r.read_list(section, "whip_hosts", value::host),
        file_root: file_root.value,
    }
}
