//! The keys: names, defaults, ranges, and the rules among them (spec's YAML section; contract 2).

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::fault::Place;
use super::reader::{Field, Reader, Section};
use super::value::{self, Wrong};
use super::{
    Ably, Camera, CameraCredential, Config, EngineChoice, Ffmpeg, Log, LogFormat, Mode, Node,
    Passthrough, Ptz, Rcs, Server, Snapshot,
};
use crate::util::secret::Secret;
use crate::util::url::is_loopback_host;

/// Ably's own page for "is there an internet at all".
pub(super) const CONNECTIVITY_URL: &str =
    "https://internet-up.ably-realtime.com/is-the-internet-up.txt";
/// The spec's.
pub(super) const FFMPEG_PATH: &str = "/usr/local/ffmpeg-whip/bin/ffmpeg";

/// Addresses that one sweep takes at most: a /16.
const MAX_SCANNED: u64 = 65_536;

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
    let (rcs, rcs_given) = rcs(r, &section);
    let section = r.section(root, "camera", Some(&lss));
    let camera = camera(r, &section);

    let section = r.section(root, "ably", None);
    let (mut ably, ably_given, client_id) = ably(r, &section);

    if !machine_id.given && mode_value == Mode::Standalone {
        node.machine_id = value::id_of_host(facts.host_name);
    }
    if mode_value == Mode::Cloud && mode.sound {
        missing(r, ably_given, machine_id.given, rcs_given);
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

/// The cloud mode's three, in one fault (contract 1).
fn missing(r: &mut Reader<'_>, ably: bool, machine_id: bool, rcs: bool) {
    let names: Vec<&str> = [
        (ably, "ABLY_API_KEY (or ably.api_key, or ably.auth_url)"),
        (machine_id, "LSS_MACHINE_ID (or lss.node.machine_id)"),
        (rcs, "RCS_BASE_URL (or rcs.base_url)"),
    ]
    .into_iter()
    .filter(|&(given, _)| !given)
    .map(|(_, name)| name)
    .collect();
    if !names.is_empty() {
        r.fault(
            &Place::Whole,
            format!(
                "missing for work with the cloud: {}. Set them, or run with --standalone (mode: standalone) for the local REST API alone",
                names.join(", ")
            ),
        );
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
    let max_retries = r.read(section, "max_retries", None, 3, |text| {
        value::number(-1..=1_000_000)(text).map_err(|wrong| format!("{wrong} (-1 = for ever)"))
    });
    let file_root = r.read(
        section,
        "file_root",
        None,
        None,
        value::optional(|text| {
            let path = PathBuf::from(value::text(text)?);
            if path.is_absolute() {
                Ok(path)
            } else {
                Err("must be a directory's full path, beginning with /".to_owned())
            }
        }),
    );
    Ffmpeg {
        path: path.value,
        stop_timeout: stop_timeout.value,
        start_confirm: start_confirm.value,
        start_timeout: start_timeout.value,
        stall_timeout: stall_timeout.value,
        max_retries: max_retries.value,
        passthrough: r
            .read(
                section,
                "passthrough",
                None,
                Passthrough::Never,
                value::passthrough,
            )
            .value,
        engine: r
            .read(section, "engine", None, EngineChoice::Auto, value::engine)
            .value,
        whip_hosts: r.read_list(section, "whip_hosts", value::host),
        file_root: file_root.value,
    }
}

/// With whether a base URL was given at all.
fn rcs<'a>(r: &mut Reader<'a>, section: &Section<'a>) -> (Rcs, bool) {
    let base_url = r.read(
        section,
        "base_url",
        Some("RCS_BASE_URL"),
        None,
        value::optional(value::base_url),
    );
    let token = r.secret(section, "token", None, Secret::new, value::header_token);
    if token.value.is_some()
        && base_url
            .value
            .as_deref()
            .is_some_and(value::is_plain_remote)
    {
        r.fault(
            &token.place,
            "must not be sent over plain http to another machine: make rcs.base_url https",
        );
    }
    let given = base_url.value.is_some() || !base_url.sound;
    let rcs = Rcs {
        base_url: base_url.value,
        connect_timeout: duration(r, section, "connect_timeout", secs(10), ms(100), secs(120))
            .value,
        read_timeout: duration(r, section, "read_timeout", secs(30), ms(100), secs(300)).value,
        heartbeat_interval: duration(
            r,
            section,
            "heartbeat_interval",
            secs(5),
            ms(100),
            secs(600),
        )
        .value,
        token: token.value,
        callback_queue: count(r, section, "callback_queue", None, 1000, 100_000),
        ca_file: r.ca_file(section, "ca_file"),
    };
    (rcs, given)
}

/// With whether there is a way to authenticate, and the client id as given.
fn ably<'a>(r: &mut Reader<'a>, section: &Section<'a>) -> (Ably, bool, Field<String>) {
    let api_key = r.secret(
        section,
        "api_key",
        Some("ABLY_API_KEY"),
        Secret::new,
        value::header_token,
    );
    let shaped = api_key.value.as_ref().is_none_or(|key| {
        key.expose()
            .split_once(':')
            .is_some_and(|(name, secret)| !name.is_empty() && !secret.is_empty())
    });
    if !shaped {
        r.warn(
            &api_key.place,
            "does not look like an Ably key (appId.keyId:secret): was it copied whole?",
        );
    }
    let auth_url = r.secret(section, "auth_url", None, Secret::url, |text| {
        let url = value::http_url(text)?;
        if value::is_plain_remote(&url) {
            return Err("must be https: tokens travel over it".into());
        }
        Ok(())
    });
    let auth_headers = r.secrets_by_name(
        section,
        "auth_headers",
        value::is_header_name,
        value::header_value,
    );
    let client_id = r.read(section, "client_id", None, String::new(), value::text);
    let endpoint = r.read(
        section,
        "endpoint",
        None,
        "main".to_owned(),
        value::endpoint,
    );
    let tls = r.read(section, "tls", None, true, value::boolean);
    if !tls.value && endpoint.sound && !is_loopback_host(&endpoint.value) {
        r.fault(
            &tls.place,
            "must be true: without TLS only to an ably.endpoint on loopback (127.0.0.1, ::1, localhost)",
        );
    }
    let fallback_hosts = r.read_list(section, "fallback_hosts", value::host);
    let given =
        api_key.value.is_some() || auth_url.value.is_some() || !api_key.sound || !auth_url.sound;
    let ably = Ably {
        api_key: api_key.value,
        client_id: String::new(),
        heartbeat_interval: duration(
            r,
            section,
            "heartbeat_interval",
            secs(10),
            ms(100),
            secs(600),
        )
        .value,
        endpoint: endpoint.value,
        port: port(r, section, 443),
        tls: tls.value,
        fallback_hosts: (!fallback_hosts.is_empty()).then_some(fallback_hosts),
        connectivity_check_url: r
            .read(
                section,
                "connectivity_check_url",
                None,
                CONNECTIVITY_URL.to_owned(),
                |text| {
                    if text.is_empty() {
                        Ok(String::new())
                    } else {
                        value::plain_url(text)
                    }
                },
            )
            .value,
        auth_url: auth_url.value,
        auth_headers,
        ca_file: r.ca_file(section, "ca_file"),
    };
    (ably, given, client_id)
}

fn camera<'a>(r: &mut Reader<'a>, section: &Section<'a>) -> Camera {
    let scan_enabled = r.read(section, "scan_enabled", None, true, value::boolean);
    let allow_loopback = r.read(section, "allow_loopback", None, false, value::boolean);
    let scan_subnet = subnets(r, section, scan_enabled.value, allow_loopback.value);
    let scan_timeout = duration(r, section, "scan_timeout", secs(30), secs(1), secs(600));
    let rescan = duration(
        r,
        section,
        "rescan_interval",
        secs(60),
        secs(1),
        secs(86_400),
    );
    if scan_enabled.value && scan_timeout.sound && rescan.sound && scan_timeout.value > rescan.value
    {
        let place = if rescan.given {
            &rescan.place
        } else {
            &scan_timeout.place
        };
        r.warn(
            place,
            "rescan_interval is shorter than scan_timeout: a slow sweep puts the next one off",
        );
    }
    Camera {
        scan_enabled: scan_enabled.value,
        scan_subnet,
        scan_timeout: scan_timeout.value,
        rescan_interval: rescan.value,
        allow_loopback: allow_loopback.value,
        credentials: credentials(r, section),
    }
}

fn subnets<'a>(
    r: &mut Reader<'a>,
    section: &Section<'a>,
    enabled: bool,
    allow_loopback: bool,
) -> Vec<String> {
    let Some(given) = r.list(section, "scan_subnet") else {
        return vec!["192.168.0.0/24".to_owned()];
    };
    let alone = given.len() == 1;
    let mut out: Vec<String> = Vec::new();
    let mut size = 0;
    let mut last = None;
    let mut sound = true;
    for item in given {
        if item.text.eq_ignore_ascii_case("auto") {
            if alone {
                return vec!["auto".to_owned()];
            }
            r.fault(&item.place, "auto stands alone, without other networks");
            sound = false;
            continue;
        }
        let subnet = match value::subnet(&item.text) {
            Ok(subnet) => subnet,
            Err(wrong) => {
                r.fault(&item.place, wrong);
                sound = false;
                continue;
            }
        };
        if subnet.network.is_loopback() && !allow_loopback {
            r.fault(
                &item.place,
                "is this machine itself: set camera.allow_loopback if cameras are reached there",
            );
        } else if !subnet.is_private() {
            r.warn(
                &item.place,
                "is not a private network: every address of it will be knocked at",
            );
        }
        size += subnet.size();
        let text = subnet.to_string();
        if !out.contains(&text) {
            out.push(text);
        }
        last = Some(item.place);
    }
    if let Some(place) = last
        && size > MAX_SCANNED
    {
        r.fault(
            &place,
            format!("makes more than {MAX_SCANNED} addresses in all (a /16): name fewer networks"),
        );
    }
    if enabled && sound && out.is_empty() {
        let place = Place::File {
            name: r.file_name().to_owned(),
            line: None,
            key: Some("camera.scan_subnet".to_owned()),
        };
        r.fault(
            &place,
            "names no network: name one, or auto, or set camera.scan_enabled to false",
        );
    }
    out
}

fn credentials<'a>(r: &mut Reader<'a>, section: &Section<'a>) -> Vec<CameraCredential> {
    for key in ["match", "username", "password", "password_file", "vendor"] {
        r.knows(&format!("camera.credentials[].{key}"));
    }
    let mut out: Vec<CameraCredential> = Vec::new();
    for item in r.items(section, "credentials") {
        let matches = r.read(&item, "match", None, String::new(), credential_match);
        let username = r.read(&item, "username", None, String::new(), value::non_empty);
        for field in [&matches, &username] {
            if !field.given {
                r.fault(&field.place, "is missing");
            }
        }
        // An empty password is a password here, if it is written down.
        let written = r.read(&item, "password", None, None, |text| {
            value::password(text).map(|()| Some(Secret::new(text)))
        });
        if written.value.as_ref().is_some_and(|p| !p.is_empty()) {
            r.note_secret();
        }
        let file = r.secret_file(&item, "password_file", value::password);
        let neither = !written.given && !file.given;
        let place = written.place.clone();
        let password = either(r, written, file, "password");
        if neither {
            r.fault(&place, "is missing: set password or password_file");
        }
        let vendor = r.read(&item, "vendor", None, None, value::optional(vendor));
        let twice = matches.sound
            && matches.given
            && out
                .iter()
                .any(|other| other.matches.eq_ignore_ascii_case(&matches.value));
        if twice {
            r.fault(&matches.place, "is in the list already: take one out");
        }
        out.push(CameraCredential {
            matches: matches.value,
            username: username.value,
            password: password.value.unwrap_or_else(|| Secret::new("")),
            vendor: vendor.value,
        });
    }
    out
}

/// An address, a network, a host name or a camera id.
fn credential_match(text: &str) -> Result<String, Wrong> {
    if text.contains('/') {
        return value::subnet(text)
            .map(|subnet| subnet.to_string())
            .map_err(|_| "must be a network of a /16 or smaller, like 192.168.0.0/24".to_owned());
    }
    if text.parse::<IpAddr>().is_ok() {
        return Ok(text.to_owned());
    }
    value::id(text).map_err(|_| {
        "must be an IP address, a network like 192.168.0.0/24, a host name or a camera id".into()
    })
}

fn vendor(text: &str) -> Result<String, Wrong> {
    let word = text.len() <= 32
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if word {
        Ok(text.to_ascii_uppercase())
    } else {
        Err("must be a vendor's name, like HIKVISION or DAHUA".into())
    }
}
