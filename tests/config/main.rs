//! The configuration, as an installer meets it: defaults, precedence, faults, and nothing secret
//! shown.

// Helpers fail their test by panicking; the lints know only the test functions themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod shown;
mod slips;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lss::config::{
    Config, ConfigFault, ConfigFile, EngineChoice, FileText, Input, LoadRequest, LogFormat, Mode,
    Parsed, Passthrough, UnknownKeys, load, parse,
};

const FILE: &str = "lss.yaml";
const CLOUD: &[(&str, &str)] = &[
    ("ABLY_API_KEY", "app.key:canary-ably-key"),
    ("LSS_MACHINE_ID", "machine_007"),
    ("RCS_BASE_URL", "https://rcs.example/api/"),
];

/// Parses with an environment and no other files.
fn with_env(text: &str, env: &[(&str, &str)]) -> Result<Parsed, Vec<String>> {
    let env = |name: &str| {
        env.iter()
            .find(|(n, _)| *n == name)
            .map(|(_, v)| (*v).to_owned())
    };
    let mut input = Input::new(FILE, text.as_bytes());
    input.env = &env;
    parse(&input).map_err(shown)
}

fn shown(faults: impl AsRef<[ConfigFault]>) -> Vec<String> {
    faults.as_ref().iter().map(ToString::to_string).collect()
}

/// Parses for the local API alone.
fn standalone(text: &str) -> Result<Config, Vec<String>> {
    with_env(&format!("mode: standalone\n{text}"), &[]).map(|p| p.config)
}

/// The faults of a standalone file; its first line is line 1.
fn faults(text: &str) -> Vec<String> {
    let mut input = Input::new(FILE, text.as_bytes());
    input.standalone = true;
    shown(parse(&input).expect_err(text))
}

fn warnings(text: &str) -> Vec<String> {
    let mut input = Input::new(FILE, text.as_bytes());
    input.standalone = true;
    shown(parse(&input).unwrap_or_else(|f| panic!("{f:?}")).warnings)
}

#[test]
fn defaults_are_the_contracts() {
    let c = with_env("", CLOUD).unwrap().config;
    let secs = Duration::from_secs;
    assert_eq!(c.mode, Mode::Cloud);
    assert_eq!((c.server.listen, c.server.port), (None, 10_060));
    assert_eq!(c.server.api_token, None);
    assert!(c.server.allowed_hosts.is_empty());
    assert_eq!(c.ably.client_id, "lss-machine_007");
    assert_eq!(c.ably.heartbeat_interval, secs(10));
    assert_eq!((c.ably.endpoint.as_str(), c.ably.port), ("main", 443));
    assert!(c.ably.tls && c.ably.fallback_hosts.is_none() && c.ably.auth_url.is_none());
    assert_eq!(c.rcs.base_url.as_deref(), Some("https://rcs.example/api"));
    assert_eq!(c.rcs.connect_timeout, secs(10));
    assert_eq!(c.rcs.read_timeout, secs(30));
    assert_eq!(c.rcs.heartbeat_interval, secs(5));
    assert_eq!((c.rcs.token, c.rcs.callback_queue), (None, 1000));
    assert_eq!((c.node.name.as_str(), c.node.max_tasks), ("LSS-Node-1", 4));
    assert_eq!(c.node.machine_id, "machine_007");
    assert_eq!((c.node.ip, c.node.public_ip_url), (None, None));
    assert_eq!(
        c.ffmpeg.path,
        PathBuf::from("/usr/local/ffmpeg-whip/bin/ffmpeg")
    );
    assert_eq!(c.ffmpeg.stop_timeout, secs(10));
    assert_eq!(c.ffmpeg.start_confirm, secs(2));
    assert_eq!(c.ffmpeg.start_timeout, secs(15));
    assert_eq!(c.ffmpeg.stall_timeout, secs(10));
    assert_eq!(c.ffmpeg.whip_timeout, secs(10));
    assert_eq!(c.ffmpeg.max_retries, 3);
    assert_eq!(c.ffmpeg.passthrough, Passthrough::Never);
    assert_eq!(c.ffmpeg.engine, EngineChoice::Auto);
    assert!(c.ffmpeg.whip_hosts.is_empty() && c.ffmpeg.file_root.is_none());
    assert_eq!(c.ptz.max_move, secs(30));
    assert_eq!(c.ptz.command_ttl, secs(5));
    assert!(c.camera.scan_enabled && !c.camera.allow_loopback);
    assert_eq!(c.camera.scan_subnet, ["192.168.0.0/24"]);
    assert_eq!(c.camera.scan_timeout, secs(30));
    assert_eq!(c.camera.rescan_interval, secs(60));
    assert!(c.camera.credentials.is_empty());
    assert_eq!(c.snapshot.timeout, secs(5));
    assert_eq!(c.log.format, LogFormat::Text);
    assert_eq!(c.log.level, log::LevelFilter::Info);
}

#[test]
fn every_key_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str, content: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let token = path("token", "  token-from-a-file\n");
    let password = path("password", "pa ss\r\n");
    let ca = path("ca.pem", "# x\n-----BEGIN CERTIFICATE-----\n");
    let text = format!(
        "
mode: Cloud
server: {{ listen: '::', port: '8080', api_token_file: {token}, allowed_hosts: [ GW.example, 10.0.0.1 ] }}
ably:
  api_key: a.b:cdefgh
  client_id: lss-m1
  heartbeat_interval: 1m
  endpoint: 127.0.0.1
  port: 8081
  tls: no
  fallback_hosts: [ a.example, b.example ]
  connectivity_check_url: ''
  auth_url: https://auth.example/token?site=1
  auth_headers: {{ X-Key: 'k1 k2', Authorization: Bearer zzz }}
  ca_file: {ca}
rcs:
  base_url: http://rcs.example:8082/x/
  connect_timeout: 1s
  read_timeout: 2s
  heartbeat_interval: 3s
  callback_queue: 5
  ca_file: ca.pem
lss:
  node: {{ name: Küche 1, machine_id: m1, max_tasks: 32, ip: 10.0.0.9, public_ip_url: 'https://api.ipify.org' }}
  ffmpeg:
    path: ffmpeg
    stop_timeout: 500ms
    start_confirm: 0s
    start_timeout: 20s
    stall_timeout: 5s
    whip_timeout: 7s
    max_retries: -1
    passthrough: prefer
    engine: ffmpeg
    whip_hosts: SFU.local
    file_root: /srv/video
ptz: {{ max_move: 10s, command_ttl: 1s }}
camera:
  scan_enabled: off
  scan_subnet: [ 10.0.0.7/24, 10.0.1.0/25 ]
  scan_timeout: 5s
  rescan_interval: 10m
  allow_loopback: yes
  credentials:
    - {{ match: 10.0.0.64, username: admin, password_file: {password}, vendor: hikvision, allow_basic: yes }}
    - {{ match: 10.0.1.0/24, username: op, password: 12345678, onvif_path: /onvif/services, profile: Profile_2 }}
    - {{ match: cam_001, username: u, password: '' }}
snapshot: {{ timeout: 3s }}
log: {{ format: json, level: debug }}
"
    );
    let file = dir.path().join("lss.yaml");
    std::fs::write(&file, text).unwrap();
    let request = LoadRequest {
        path: Some(file.clone()),
        standalone: false,
        unknown_keys: UnknownKeys::Fault,
    };
    let loaded = load(&request, &|_| None).unwrap_or_else(|f| panic!("{f:#?}"));
    assert_eq!(loaded.path, Some(file));
    assert_eq!(loaded.request, request);
    let c = loaded.config;
    assert_eq!(c.server.listen, Some("::".parse::<IpAddr>().unwrap()));
    assert_eq!(c.server.port, 8080);
    assert_eq!(c.server.api_token.unwrap().expose(), "token-from-a-file");
    assert_eq!(c.server.allowed_hosts, ["gw.example", "10.0.0.1"]);
    assert_eq!(c.ably.api_key.unwrap().expose(), "a.b:cdefgh");
    assert_eq!(c.ably.client_id, "lss-m1");
    assert_eq!(c.ably.heartbeat_interval, Duration::from_secs(60));
    assert_eq!((c.ably.endpoint.as_str(), c.ably.port), ("127.0.0.1", 8081));
    assert!(!c.ably.tls);
    assert_eq!(c.ably.fallback_hosts.unwrap(), ["a.example", "b.example"]);
    assert_eq!(c.ably.connectivity_check_url, "");
    assert_eq!(
        c.ably.auth_url.unwrap().expose(),
        "https://auth.example/token?site=1"
    );
    let headers: Vec<_> = c
        .ably
        .auth_headers
        .iter()
        .map(|(n, v)| (n.as_str(), v.expose()))
        .collect();
    assert_eq!(
        headers,
        [("X-Key", "k1 k2"), ("Authorization", "Bearer zzz")]
    );
    assert_eq!(c.ably.ca_file, Some(PathBuf::from(&ca)));
    assert_eq!(c.rcs.base_url.as_deref(), Some("http://rcs.example:8082/x"));
    assert_eq!(c.rcs.connect_timeout, Duration::from_secs(1));
    assert_eq!(c.rcs.read_timeout, Duration::from_secs(2));
    assert_eq!(c.rcs.heartbeat_interval, Duration::from_secs(3));
    assert_eq!(c.rcs.callback_queue, 5);
    assert_eq!(
        c.rcs.ca_file,
        Some(PathBuf::from(&ca)),
        "relative to the file's directory"
    );
    assert_eq!(c.node.name, "Küche 1");
    assert_eq!(c.node.node_id(), "lss-m1");
    assert_eq!(c.node.max_tasks, 32);
    assert_eq!(c.node.ip, Some("10.0.0.9".parse::<IpAddr>().unwrap()));
    assert_eq!(
        c.node.public_ip_url.as_deref(),
        Some("https://api.ipify.org")
    );
    assert_eq!(c.ffmpeg.path, PathBuf::from("ffmpeg"));
    assert_eq!(c.ffmpeg.stop_timeout, Duration::from_millis(500));
    assert_eq!(c.ffmpeg.start_confirm, Duration::ZERO);
    assert_eq!(c.ffmpeg.start_timeout, Duration::from_secs(20));
    assert_eq!(c.ffmpeg.stall_timeout, Duration::from_secs(5));
    assert_eq!(c.ffmpeg.whip_timeout, Duration::from_secs(7));
    assert_eq!(c.ffmpeg.max_retries, -1);
    assert_eq!(c.ffmpeg.passthrough, Passthrough::Prefer);
    assert_eq!(c.ffmpeg.engine, EngineChoice::Ffmpeg);
    assert_eq!(c.ffmpeg.whip_hosts, ["sfu.local"]);
    assert_eq!(c.ffmpeg.file_root, Some(PathBuf::from("/srv/video")));
    assert_eq!(c.ptz.max_move, Duration::from_secs(10));
    assert_eq!(c.ptz.command_ttl, Duration::from_secs(1));
    assert!(!c.camera.scan_enabled && c.camera.allow_loopback);
    assert_eq!(c.camera.scan_subnet, ["10.0.0.0/24", "10.0.1.0/25"]);
    assert_eq!(c.camera.scan_timeout, Duration::from_secs(5));
    assert_eq!(c.camera.rescan_interval, Duration::from_secs(600));
    let credentials: Vec<_> = c
        .camera
        .credentials
        .iter()
        .map(|c| {
            (
                c.matches.as_str(),
                c.username.as_str(),
                c.password.expose(),
                c.vendor.as_deref(),
            )
        })
        .collect();
    let manners: Vec<_> = c
        .camera
        .credentials
        .iter()
        .map(|c| (c.allow_basic, c.onvif_path.as_deref(), c.profile.as_deref()))
        .collect();
    assert_eq!(
        manners,
        [
            (true, None, None),
            (false, Some("/onvif/services"), Some("Profile_2")),
            (false, None, None),
        ]
    );
    assert_eq!(
        credentials,
        [
            ("10.0.0.64", "admin", "pa ss", Some("HIKVISION")),
            ("10.0.1.0/24", "op", "12345678", None),
            ("cam_001", "u", "", None),
        ]
    );
    assert_eq!(c.snapshot.timeout, Duration::from_secs(3));
    assert_eq!(c.log.format, LogFormat::Json);
    assert_eq!(c.log.level, log::LevelFilter::Debug);
}

#[test]
fn the_environment_wins_over_the_file() {
    let text = "
server: { api_token: token-of-the-file }
ably: { api_key: 'of.the:file' }
rcs: { base_url: 'not even a URL' }
lss: { node: { name: file, machine_id: file, max_tasks: 1 }, ffmpeg: { path: /file } }
log: { level: error }
";
    let env = [
        ("ABLY_API_KEY", "of.the:env"),
        ("LSS_MACHINE_ID", " env-machine\n"),
        ("RCS_BASE_URL", "https://env.example"),
        ("LSS_NODE_NAME", "env node"),
        ("LSS_MAX_TASKS", "9"),
        ("FFMPEG_PATH", "/env/ffmpeg"),
        ("LSS_API_TOKEN", "token-of-the-env"),
        ("LSS_LOG", "trace"),
    ];
    let parsed = with_env(text, &env).unwrap();
    let c = parsed.config;
    assert_eq!(c.ably.api_key.unwrap().expose(), "of.the:env");
    assert_eq!(c.node.machine_id, "env-machine");
    assert_eq!(c.rcs.base_url.as_deref(), Some("https://env.example"));
    assert_eq!(c.node.name, "env node");
    assert_eq!(c.node.max_tasks, 9);
    assert_eq!(c.ffmpeg.path, PathBuf::from("/env/ffmpeg"));
    assert_eq!(c.server.api_token.unwrap().expose(), "token-of-the-env");
    assert_eq!(c.log.level, log::LevelFilter::Trace);
    let used: BTreeSet<_> = parsed.env_used.into_iter().collect();
    assert_eq!(used, env.iter().map(|(name, _)| *name).collect());
}

#[test]
fn a_blank_variable_is_none() {
    let blank: Vec<(&str, &str)> = CLOUD
        .iter()
        .copied()
        .chain([("LSS_MAX_TASKS", ""), ("LSS_LOG", "  ")])
        .collect();
    let parsed = with_env("", &blank).unwrap();
    assert_eq!(parsed.config.node.max_tasks, 4);
    assert!(!parsed.env_used.contains(&"LSS_LOG"));
}

#[test]
fn bad_variables_are_named() {
    let env: Vec<(&str, &str)> = vec![
        ("ABLY_API_KEY", "a b"),
        ("LSS_MACHINE_ID", "no good"),
        ("RCS_BASE_URL", "rcs.example"),
        ("LSS_MAX_TASKS", "many"),
        ("LSS_LOG", "loud"),
        ("LSS_API_TOKEN", "short"),
    ];
    assert_eq!(
        with_env("", &env).unwrap_err(),
        [
            "environment: LSS_API_TOKEN: must have at least 8 characters (`openssl rand -hex 16` makes a good one)",
            "environment: LSS_MACHINE_ID: must be 1 to 128 letters, digits and . _ : -",
            "environment: LSS_MAX_TASKS: must be a number from 1 to 256",
            "environment: RCS_BASE_URL: must begin with https:// or http://",
            "environment: ABLY_API_KEY: must be printable ASCII characters without spaces",
            "environment: LSS_LOG: must be error, warn, info, debug, trace or off",
        ]
    );
}

#[test]
fn what_the_cloud_needs_is_named_in_one_fault() {
    assert_eq!(
        with_env("", &[]).unwrap_err(),
        [
            "configuration: missing for work with the cloud: ABLY_API_KEY (or ably.api_key, or ably.auth_url), LSS_MACHINE_ID (or lss.node.machine_id), RCS_BASE_URL (or rcs.base_url). Set them, or run with --standalone (mode: standalone) for the local REST API alone"
        ]
    );
    let only = with_env("", &CLOUD[..2]).unwrap_err();
    assert_eq!(only.len(), 1);
    assert!(only[0].contains("RCS_BASE_URL") && !only[0].contains("ABLY_API_KEY"));
    assert!(only[0].contains("--standalone"));
    // A service that hands out tokens stands in for the key.
    with_env("ably: { auth_url: 'https://a.example/t' }", &CLOUD[1..]).unwrap();
    // What is there but wrong is wrong, not missing.
    let wrong = with_env("rcs: { base_url: 'x' }", &CLOUD[..2]).unwrap_err();
    assert_eq!(
        wrong,
        ["lss.yaml:1: rcs.base_url: must begin with https:// or http://"]
    );
}

#[test]
fn standalone_needs_nothing_and_takes_the_host_name() {
    let mut input = Input::new(FILE, b"");
    input.standalone = true;
    input.host_name = "gw kitchen.lan";
    let c = parse(&input).unwrap().config;
    assert_eq!(c.mode, Mode::Standalone);
    assert_eq!(c.node.machine_id, "gw-kitchen.lan");
    assert_eq!(c.ably.client_id, "lss-gw-kitchen.lan");
    assert_eq!(c.rcs.base_url, None);
    let given = standalone("lss: { node: { machine_id: mine } }").unwrap();
    assert_eq!(given.node.node_id(), "lss-mine");
    // The flag wins over the file.
    let mut input = Input::new(FILE, b"mode: cloud");
    input.standalone = true;
    assert_eq!(parse(&input).unwrap().config.mode, Mode::Standalone);
}

#[test]
fn a_configuration_full_of_mistakes_gives_every_fault_in_one_go() {
    let text = "\
mode: clowd
server:
  listen: 0.0.0.0
  prot: 80
  port: 65536
  api_token: canary1
  allowed_hosts: [ 'http://x', y ]
  ably: {}
ably:
  api_key: 'canary key'
  client_id: someone-else
  heartbeat_interval: 10
  tls: false
  auth_url: http://auth.example/canary-path-1
  auth_headers: { Host: canary-h, X: \"canary\\nh\" }
  ca_file: /nowhere
rcs:
  base_url: http://rcs.example
  token: canary-token-2
  callback_queue: 0
lss:
  node:
    machine_id: m1
    max_tasks: -1
    ip: eth0
  ffmpeg:
    start_confirm: 15s
    stop_timeout: 0s
    max_retries: -2
    engine: vlc
    file_root: relative/dir
  rcs:
    base_url: http://127.0.0.1
ptz: 30s
camera:
  scan_subnet: [ auto, 10.0.0.0/8, 127.0.0.0/24 ]
  scan_enabled: maybe
  credentials:
    - match: 'no good'
      username: ''
      password: canary-pw-3
    - match: 10.0.0.1
      username: u
      vendorr: x
    - match: 10.0.0.1
      username: u
      password: canary-pw-4
      password_file: /nowhere
    - just text
    - { match: 10.0.0.2, username: u, password: canary-pw-5, allow_basic: perhaps, onvif_path: 'x y', profile: [ a ] }
snapshot:
  timeout: [ 5s ]
log: { format: xml, level: loud }
lss_node: 1
";
    let all = {
        let input = Input::new(FILE, text.as_bytes());
        shown(parse(&input).unwrap_err())
    };
    let expected = [
        ":1: mode: must be cloud or standalone",
        // With a bad token it is not known whether there is one: listen is not complained about.
        ":4: server.prot: is not a key of this configuration: did you mean port?",
        ":5: server.port: must be a number from 1 to 65535",
        ":6: server.api_token: must have at least 8 characters (`openssl rand -hex 16` makes a good one)",
        ":7: server.allowed_hosts[0]: must be a host name or an IP address, without http:// and without a port",
        ":8: server.ably: is not a key of this section: did you mean ably?",
        ":10: ably.api_key: must be printable ASCII characters without spaces",
        ":11: ably.client_id: must equal the node id, which is lss- and the machine id: leave it empty",
        ":12: ably.heartbeat_interval: must be a time with its unit, like 10s, 500ms or 1m",
        ":13: ably.tls: must be true: without TLS only to an ably.endpoint on loopback (127.0.0.1, ::1, localhost)",
        ":14: ably.auth_url: must be https: tokens travel over it",
        ":15: ably.auth_headers[0]: is not a name that can be set here",
        ":15: ably.auth_headers[1]: must be printable ASCII characters",
        ":16: ably.ca_file: names a file that can't be read here",
        ":19: rcs.token: must not be sent over plain http to another machine: make rcs.base_url https",
        ":20: rcs.callback_queue: must be a number from 1 to 100000",
        ":24: lss.node.max_tasks: must be a number from 1 to 256",
        ":25: lss.node.ip: must be an IP address, like 192.168.0.10",
        ":27: lss.ffmpeg.start_confirm: start_confirm must be shorter than start_timeout, or no stream can ever start",
        ":28: lss.ffmpeg.stop_timeout: must be from 100ms to 2m",
        ":29: lss.ffmpeg.max_retries: must be a number from -1 to 1000000 (-1 = for ever)",
        ":30: lss.ffmpeg.engine: must be auto, ffmpeg or relay",
        ":31: lss.ffmpeg.file_root: must be a directory's full path, beginning with /",
        ":33: lss.rcs.base_url: is also set as rcs.base_url on line 18: take one out",
        ":34: ptz: must hold keys of its own, indented below it",
        ":36: camera.scan_subnet[0]: auto stands alone, without other networks",
        ":36: camera.scan_subnet[1]: must be a /16 or smaller: a larger network can't be swept",
        ":36: camera.scan_subnet[2]: is this machine itself: set camera.allow_loopback if cameras are reached there",
        ":37: camera.scan_enabled: must be true or false",
        ":39: camera.credentials[0].match: must be an IP address, a network like 192.168.0.0/24, a host name or a camera id",
        ":40: camera.credentials[0].username: must not be empty",
        ":42: camera.credentials[1].password: is missing: set password or password_file",
        ":44: camera.credentials[1].vendorr: is not a key of this configuration: did you mean vendor?",
        ":45: camera.credentials[2].match: is in the list already: take one out",
        ":48: camera.credentials[2].password_file: names a file that can't be read here",
        ":49: camera.credentials[3]: must hold keys of its own",
        ":50: camera.credentials[4].allow_basic: must be true or false",
        ":50: camera.credentials[4].onvif_path: must be the path of the camera's ONVIF device service, like /onvif/services",
        ":50: camera.credentials[4].profile: must be one value",
        ":52: snapshot.timeout: must be one value",
        ":53: log.format: must be text or json",
        ":53: log.level: must be error, warn, info, debug, trace or off",
        ":54: lss_node: is not a key of this configuration",
    ];
    let expected: Vec<String> = expected.iter().map(|e| format!("{FILE}{e}")).collect();
    assert_eq!(all, expected, "{all:#?}");
    assert!(!all.iter().any(|f| f.contains("canary")));
}

#[test]
fn an_open_address_needs_a_token() {
    for listen in ["0.0.0.0", "::", "192.168.0.9"] {
        let fault = faults(&format!("server: {{ listen: '{listen}' }}"));
        assert_eq!(fault.len(), 1);
        assert!(fault[0].contains("needs a token"), "{fault:?}");
        standalone(&format!(
            "server: {{ listen: '{listen}', api_token: long-enough }}"
        ))
        .unwrap();
    }
    for listen in ["127.0.0.1", "::1", ""] {
        standalone(&format!("server: {{ listen: '{listen}' }}")).unwrap();
    }
}

#[test]
fn secrets_travel_encrypted_or_not_at_all() {
    let bad = [
        "rcs: { base_url: 'http://rcs.example', token: t }",
        "ably: { tls: false }",
        "ably: { tls: false, endpoint: ably.example }",
        "ably: { auth_url: 'http://a.example' }",
    ];
    for text in bad {
        assert_eq!(faults(text).len(), 1, "{text}");
    }
    let good = [
        "rcs: { base_url: 'http://127.0.0.1:1', token: t }",
        "rcs: { base_url: 'http://[::1]:1', token: t }",
        "rcs: { base_url: 'https://rcs.example', token: t }",
        "rcs: { base_url: 'http://rcs.example' }",
        "ably: { tls: false, endpoint: localhost }",
        "ably: { auth_url: 'http://localhost:9/x' }",
    ];
    for text in good {
        standalone(text).unwrap_or_else(|f| panic!("{text} {f:?}"));
    }
}

#[test]
fn rcs_and_camera_may_stand_below_lss() {
    let c = standalone(
        "lss:\n  rcs: { base_url: 'https://x' }\n  camera: { scan_enabled: false }\nrcs: { read_timeout: 7s }\n",
    )
    .unwrap();
    assert_eq!(c.rcs.base_url.as_deref(), Some("https://x"));
    assert_eq!(c.rcs.read_timeout, Duration::from_secs(7));
    assert!(!c.camera.scan_enabled);
    assert_eq!(
        faults(
            "camera: { scan_timeout: 1s }\nlss:\n  camera:\n    scan_timeout: 2s\n    skan: 1\n"
        ),
        [
            "lss.yaml:4: lss.camera.scan_timeout: is also set as camera.scan_timeout on line 1: take one out",
            "lss.yaml:5: lss.camera.skan: is not a key of this configuration",
        ]
    );
}

#[test]
fn unknown_keys_warn_a_daemon_and_stop_a_check() {
    let text = b"server: { api-token: long-enough-1 }\nffmpeg: { path: x }\nfuture: 1\n";
    let mut input = Input::new(FILE, text);
    input.standalone = true;
    let expected = [
        "lss.yaml:1: server.api-token: is not a key of this configuration: did you mean api_token?",
        "lss.yaml:2: ffmpeg: is not a key of this section: did you mean lss.ffmpeg?",
        "lss.yaml:3: future: is not a key of this configuration",
    ];
    assert_eq!(shown(parse(&input).unwrap_err()), expected);
    input.unknown_keys = UnknownKeys::Warn;
    let parsed = parse(&input).unwrap();
    assert_eq!(shown(parsed.warnings), expected);
}

#[test]
fn subnets_to_scan() {
    let scan = |value: &str| {
        standalone(&format!("camera: {{ scan_subnet: {value} }}")).map(|c| c.camera.scan_subnet)
    };
    assert_eq!(scan("Auto").unwrap(), ["auto"]);
    assert_eq!(scan("[auto]").unwrap(), ["auto"]);
    assert_eq!(
        scan("[10.0.0.1/24, 10.0.0.2/24, 10.0.9.9]").unwrap(),
        ["10.0.0.0/24", "10.0.9.9/32"]
    );
    assert!(scan("[10.0.0.0/16, 10.1.0.0/16]").unwrap_err()[0].contains("more than 65536"));
    assert!(scan("[]").unwrap_err()[0].contains("names no network"));
    assert!(scan("''").unwrap_err()[0].contains("names no network"));
    assert!(scan("eth0").is_err());
    standalone("camera: { scan_enabled: false, scan_subnet: [] }").unwrap();
    standalone("camera: { allow_loopback: true, scan_subnet: 127.0.0.0/30 }").unwrap();
    assert!(scan("8.8.8.0/24").unwrap_err()[0].contains("only private networks are scanned"));
    assert!(scan("169.254.169.254").unwrap_err()[0].contains("credentials"));
    assert_eq!(
        warnings("camera: { rescan_interval: 5s }"),
        [
            "lss.yaml:1: camera.rescan_interval: rescan_interval is shorter than scan_timeout: a slow sweep puts the next one off",
        ]
    );
}

#[test]
fn what_carries_a_stream_is_said_without_a_word() {
    for word in ["engine: relay", "passthrough: auto", "passthrough: prefer"] {
        let text = format!("lss: {{ ffmpeg: {{ {word} }} }}");
        assert_eq!(warnings(&text), [""; 0], "{word}");
    }
}

#[test]
fn token_and_password_files() {
    let files = |path: &Path, max: usize| -> Result<FileText, String> {
        assert_eq!(max, 4096);
        let (bytes, world_readable): (&[u8], bool) = match path.to_str().unwrap() {
            "/dir/good" => (b"\n canary-in-file \n", false),
            "/abs/open" => (b"canary-in-open-file", true),
            "/dir/empty" => (b" \n", false),
            "/dir/short" => (b"canary", false),
            "/dir/binary" => (b"canary\xff\xfe\xfd", false),
            "/dir/lines" => (b"canary-a\ncanary-b", false),
            other => return Err(format!("does not exist, {}", other.len())),
        };
        Ok(FileText {
            bytes: bytes.to_vec(),
            world_readable,
        })
    };
    let check = |name: &str| {
        let text = format!("server: {{ api_token_file: {name} }}");
        let mut input = Input::new("/dir/lss.yaml", text.as_bytes());
        input.files = &files;
        input.standalone = true;
        let result = parse(&input).map_err(|f| shown(f).join("; "));
        result.map(|p| (p.config.server.api_token.unwrap(), shown(p.warnings)))
    };
    let (token, none) = check("good").unwrap();
    assert_eq!((token.expose(), none.len()), ("canary-in-file", 0));
    let (_, warned) = check("/abs/open").unwrap();
    assert_eq!(
        warned,
        [
            "/dir/lss.yaml:1: server.api_token_file: names a file that every user of this machine can read: chmod 640 it"
        ]
    );
    for (name, words) in [
        ("empty", "is empty"),
        ("short", "at least 8"),
        ("binary", "not UTF-8"),
        ("lines", "printable ASCII"),
        ("gone", "does not exist"),
    ] {
        let fault = check(name).unwrap_err();
        assert!(
            fault.contains(words) && !fault.contains("canary") && !fault.contains(';'),
            "{fault}"
        );
    }
    let both = "server: { api_token: canary-token-1, api_token_file: good }";
    let mut input = Input::new("/dir/lss.yaml", both.as_bytes());
    input.files = &files;
    input.standalone = true;
    assert_eq!(
        shown(parse(&input).unwrap_err()),
        [
            "/dir/lss.yaml:1: server.api_token_file: is set beside server.api_token: take one of the two out"
        ]
    );
}

#[test]
fn files_on_disk() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let ask = |path: PathBuf| {
        let request = LoadRequest {
            path: Some(path),
            standalone: true,
            unknown_keys: UnknownKeys::Warn,
        };
        load(&request, &|_| None).map_err(shown)
    };
    let gone = at("gone");
    assert_eq!(
        ask(gone.clone()).unwrap_err(),
        [format!("{}: does not exist", gone.display())]
    );
    assert_eq!(
        ask(dir.path().to_owned()).unwrap_err(),
        [format!("{}: is not a file", dir.path().display())]
    );
    // A pipe that nobody writes to must not hold up the start.
    nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(ask(at("pipe")).unwrap_err()[0].contains("is not a file"));
    std::fs::write(at("large"), vec![b'#'; 1024 * 1024 + 1]).unwrap();
    assert!(ask(at("large")).unwrap_err()[0].contains("is larger than"));
    assert!(ask(PathBuf::from("/dev/null")).is_ok());

    // The environment names a file just as the command line does.
    let env_path = gone.display().to_string();
    let request = LoadRequest {
        path: None,
        standalone: true,
        unknown_keys: UnknownKeys::Warn,
    };
    let faults = load(&request, &|name| {
        (name == "LSS_CONFIG").then(|| env_path.clone())
    })
    .unwrap_err();
    assert_eq!(
        shown(faults),
        [format!(
            "environment: LSS_CONFIG: names a file that does not exist: {env_path}"
        )]
    );

    // Secrets in a file that is open to all.
    std::fs::write(at("open"), "server: { api_token: long-enough }").unwrap();
    for (mode, warned) in [(0o644, 1), (0o640, 0)] {
        std::fs::set_permissions(at("open"), std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(ask(at("open")).unwrap().warnings.len(), warned);
    }
    std::fs::write(at("open"), "server: { port: 1 }").unwrap();
    std::fs::set_permissions(at("open"), std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(ask(at("open")).unwrap().warnings.len(), 0);
}

#[test]
fn a_key_that_is_not_one_of_ablys_is_pointed_out() {
    assert_eq!(
        warnings("ably: { api_key: half-a-key }"),
        [
            "lss.yaml:1: ably.api_key: does not look like an Ably key (appId.keyId:secret): was it copied whole?"
        ]
    );
}

#[test]
fn an_unreadable_file_does_not_hide_the_environment() {
    let found = with_env("server: [\n", &[("LSS_MAX_TASKS", "x")]).unwrap_err();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("lss.yaml:"));
    assert!(found[0].contains("not valid YAML"));
    assert!(found[1].starts_with("environment: LSS_MAX_TASKS"));
}

#[test]
fn faults_have_an_end() {
    let mut text = String::new();
    for i in 0..5000 {
        writeln!(text, "k{i}: 1").unwrap();
    }
    let found = faults(&text);
    assert_eq!(found.len(), 101);
    assert!(found[100].contains("more faults"));
    // Where reading itself is given up, too.
    assert_eq!(faults(&"port: 1\n".repeat(5000)).len(), 100);
    assert_eq!(faults("a: &x 1\nb: [\n").len(), 2);
    let hosts: Vec<String> = (0..1025).map(|i| format!("h{i}")).collect();
    let text = format!("server: {{ allowed_hosts: [ {} ] }}", hosts.join(", "));
    assert_eq!(
        faults(&text),
        ["lss.yaml:1: server.allowed_hosts: has more than 1024 entries"]
    );
}

#[test]
fn a_file_that_is_open_to_all_warns_only_with_secrets() {
    let mut input = Input::new(FILE, b"rcs: { token: abc }");
    input.standalone = true;
    input.file = Some(ConfigFile {
        world_readable: true,
        ..input.file.unwrap()
    });
    let parsed = parse(&input).unwrap();
    assert_eq!(
        shown(parsed.warnings),
        ["lss.yaml: holds secrets and every user of this machine can read it: chmod 640 it"]
    );
}
