//! The command line (contract 1).

use std::ffi::OsString;
use std::path::PathBuf;

use lss::config::{LoadRequest, UnknownKeys, closest};
use lss::daemon::doctor::{CameraAt, DoctorRequest, Stun};
use lss::daemon::fit::FitRequest;
use lss::daemon::probe::ProbeRequest;
use lss::daemon::scan::ScanRequest;

/// Shown for `--help`.
pub const HELP: &str = "\
lss, the Local Sender Service: pushes IP cameras to WHIP endpoints from a gateway on site

usage:
  lss [run] [--config FILE] [--standalone]
  lss check-config [--config FILE] [--standalone]
  lss scan [--subnet CIDR]... [--json] [--config FILE]
  lss doctor [--config FILE] [--standalone] [--stun HOST:PORT|off] [--camera IP[:PORT]]… [--json]
  lss probe IP[:PORT] [--user U] [--vendor V] [--json]
  lss fit IP[:PORT] [--user U] [--stream main|sub] [--apply] [--json]
  lss version

commands:
  run            run the daemon (the default)
  check-config   validate the configuration, print what is in effect, secrets masked
  doctor         look at the site: FFmpeg, clock, network, cloud, cameras; one line a check,
                 pass, warn or fail, and what to do; 20 s at most, changes nothing
  scan           look for cameras, once: in the networks of --subnet, else of camera.scan_subnet;
                 no password is sent
  probe          ask one camera what it is and what it can; its password comes from
                 LSS_CAMERA_PASSWORD, or is typed, or read from stdin
  fit            what a camera's encoder must change for its stream to go unchanged; with
                 --apply it is changed, looked at, and changed back if it is not as asked
  version        print version, target and commit

options:
  --config FILE  the configuration file; default LSS_CONFIG, then /etc/lss/lss.yaml if it exists
  --standalone   neither RCS nor Ably: the local REST API alone
  --stun S       the server that doctor asks by UDP, or off; default stun.cloudflare.com:3478,
                 and none in standalone mode
  --camera IP[:PORT]  a camera that doctor looks at beside those in camera.credentials, or
                 the port of one of those; may be given several times
  --subnet CIDR  where to look, like 192.168.1.0/24; auto: the networks of this machine
  --user U       the camera's user; without one it is asked without a login
  --vendor V     whose make the camera is, like HIKVISION or AXIS; without it that is found out
  --stream S     the stream to fit, main or sub; default: sub if it is large enough
  --apply        write the change to the camera
  --json         for programs
  -h, --help     print this
  -V, --version  as `lss version`

environment, which wins over the file:
  ABLY_API_KEY, LSS_MACHINE_ID, RCS_BASE_URL    needed for work with the cloud
  LSS_NODE_NAME, LSS_MAX_TASKS, FFMPEG_PATH, LSS_API_TOKEN
  LSS_LOG        error, warn, info, debug, trace or off
  LSS_CONFIG     the configuration file

environment of `lss probe` and `lss fit`:
  LSS_CAMERA_PASSWORD

exit codes: 0 clean stop, 1 failure while running, 2 bad arguments or configuration;
of doctor: 0 nothing failed, 1 something did, 2 bad arguments or configuration
";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Run the daemon.
    Run(LoadRequest),
    /// Validate and print.
    CheckConfig(LoadRequest),
    /// Look at the site.
    Doctor(DoctorRequest),
    /// Look for cameras.
    Scan(ScanRequest),
    /// Ask one camera.
    Probe(ProbeRequest),
    /// Fit one camera's encoder.
    Fit(FitRequest),
    /// Stop cameras when the daemon is killed; only a daemon starts it.
    Guard,
    /// Speak with a camera; only a daemon starts it.
    Relay,
    /// Print the version.
    Version,
    /// Print [`HELP`].
    Help,
}

/// Commands as they are typed.
const COMMANDS: [&str; 7] = [
    "run",
    "check-config",
    "doctor",
    "scan",
    "probe",
    "fit",
    "version",
];
/// Options as they are typed.
const OPTIONS: [&str; 12] = [
    "--stream",
    "--apply",
    "--config",
    "--standalone",
    "--stun",
    "--camera",
    "--subnet",
    "--user",
    "--vendor",
    "--json",
    "--help",
    "--version",
];

/// Takes the arguments, the program's name first.
///
/// # Errors
/// What is wrong with them, for the user.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    use lexopt::prelude::{Long, Short, Value};
    let mut parser = lexopt::Parser::from_iter(args);
    let mut command: Option<String> = None;
    let mut config: Option<PathBuf> = None;
    let mut standalone = false;
    let mut address: Option<String> = None;
    let mut user: Option<String> = None;
    let mut vendor: Option<String> = None;
    let mut json = false;
    let mut stream: Option<String> = None;
    let mut apply = false;
    let mut subnets: Vec<String> = Vec::new();
    let mut stun: Option<Stun> = None;
    let mut cameras: Vec<CameraAt> = Vec::new();
    while let Some(arg) = parser.next().map_err(|e| e.to_string())? {
        match arg {
            Short('h') | Long("help") => return Ok(Command::Help),
            Short('V') | Long("version") => return Ok(Command::Version),
            Long("config") => {
                let value = parser.value().map_err(|e| e.to_string())?;
                if value.is_empty() {
                    return Err("--config needs the name of a file".to_owned());
                }
                if config.replace(PathBuf::from(value)).is_some() {
                    return Err("--config is given twice".to_owned());
                }
            }
            Long("standalone") => standalone = true,
            Long("json") => json = true,
            Long("apply") => apply = true,
            Long("stream") => {
                let value = parser.value().map_err(|e| e.to_string())?;
                stream = Some(value.to_string_lossy().into_owned());
            }
            Long("stun") => {
                let value = parser.value().map_err(|e| e.to_string())?;
                stun = Some(Stun::parse(&value.to_string_lossy())?);
            }
            Long("camera") => {
                let value = parser.value().map_err(|e| e.to_string())?;
                cameras.push(CameraAt::parse(&value.to_string_lossy())?);
            }
            Long("vendor") => {
                let value = parser.value().map_err(|e| e.to_string())?;
                vendor = Some(value.to_string_lossy().into_owned());
            }
            Long("user") => {
                let value = parser.value().map_err(|e| e.to_string())?;
                user = Some(value.to_string_lossy().into_owned());
            }
            Long("subnet") => {
                let value = parser.value().map_err(|e| e.to_string())?;
                subnets.push(value.to_string_lossy().into_owned());
            }
            Value(word)
                if matches!(command.as_deref(), Some("probe" | "fit")) && address.is_none() =>
            {
                address = Some(word.to_string_lossy().into_owned());
            }
            Value(word) if command.is_none() => {
                command = Some(word.to_string_lossy().into_owned());
            }
            Value(word) => {
                return Err(format!(
                    "unexpected argument {}",
                    shown(&word.to_string_lossy())
                ));
            }
            Long(name) => return Err(unknown("option", &format!("--{name}"), &OPTIONS)),
            Short(c) => return Err(unknown("option", &format!("-{c}"), &OPTIONS)),
        }
    }
    let given = config.is_some() || standalone;
    if command.as_deref() != Some("doctor") && (stun.is_some() || !cameras.is_empty()) {
        return Err("--stun and --camera belong to doctor".to_owned());
    }
    if command.as_deref() != Some("fit") && (stream.is_some() || apply) {
        return Err("--stream and --apply belong to fit".to_owned());
    }
    if command.as_deref() == Some("scan") {
        if standalone || user.is_some() || vendor.is_some() {
            return Err("scan takes --subnet, --json and --config only".to_owned());
        }
        return Ok(Command::Scan(ScanRequest {
            subnets,
            json,
            // What the cloud needs is not needed here.
            load: LoadRequest {
                path: config,
                standalone: true,
                unknown_keys: UnknownKeys::Warn,
            },
        }));
    }
    if !subnets.is_empty() {
        return Err("--subnet belongs to scan".to_owned());
    }
    if vendor.is_some() && command.as_deref() != Some("probe") {
        return Err("--vendor belongs to probe".to_owned());
    }
    if command.as_deref() == Some("fit") {
        if given {
            return Err("fit takes --user, --stream, --apply and --json only".to_owned());
        }
        let address = address.ok_or("fit needs the camera's address: lss fit IP[:PORT]")?;
        return Ok(Command::Fit(FitRequest::parse(
            address,
            user,
            stream.as_deref(),
            apply,
            json,
        )?));
    }
    if command.as_deref() == Some("probe") {
        if given {
            return Err("probe takes --user, --vendor and --json only".to_owned());
        }
        let address = address.ok_or("probe needs the camera's address: lss probe IP[:PORT]")?;
        return Ok(Command::Probe(ProbeRequest {
            address,
            user,
            vendor,
            json,
        }));
    }
    let is_doctor = command.as_deref() == Some("doctor");
    if user.is_some() || (json && !is_doctor) {
        return Err(
            "--user belongs to probe and fit, --json to doctor, fit, probe and scan".to_owned(),
        );
    }
    let request = |unknown_keys| LoadRequest {
        path: config,
        standalone,
        unknown_keys,
    };
    match command.as_deref() {
        None | Some("run") => Ok(Command::Run(request(UnknownKeys::Warn))),
        Some("check-config") => Ok(Command::CheckConfig(request(UnknownKeys::Fault))),
        Some("doctor") => Ok(Command::Doctor(DoctorRequest {
            load: request(UnknownKeys::Warn),
            json,
            stun: stun.unwrap_or_default(),
            cameras,
        })),
        Some("guard") if !given => Ok(Command::Guard),
        Some("relay") if !given => Ok(Command::Relay),
        Some("version") if given => Err("version takes no options".to_owned()),
        Some("version") => Ok(Command::Version),
        Some("help") => Ok(Command::Help),
        Some(other) => Err(unknown("command", other, &COMMANDS)),
    }
}

fn unknown(what: &str, word: &str, known: &[&'static str]) -> String {
    let hint = match closest(word, known.iter().copied()) {
        Some(close) => format!("did you mean {close}?"),
        None => format!("known are {}", known.join(", ")),
    };
    format!("unknown {what} {}: {hint}", shown(word))
}

/// An argument in quotes, without what would disturb a terminal.
fn shown(word: &str) -> String {
    let word: String = word.chars().take(64).flat_map(char::escape_debug).collect();
    format!("`{word}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        let args = std::iter::once("lss").chain(line.split_whitespace());
        parse(args.map(OsString::from))
    }

    fn request(path: Option<&str>, standalone: bool, unknown_keys: UnknownKeys) -> LoadRequest {
        LoadRequest {
            path: path.map(PathBuf::from),
            standalone,
            unknown_keys,
        }
    }

    #[test]
    fn run_is_the_default() {
        let plain = Command::Run(request(None, false, UnknownKeys::Warn));
        assert_eq!(parsed("").as_ref(), Ok(&plain));
        assert_eq!(parsed("run").as_ref(), Ok(&plain));
        let full = Command::Run(request(Some("a.yaml"), true, UnknownKeys::Warn));
        for line in [
            "--config a.yaml --standalone",
            "run --config=a.yaml --standalone",
            "--standalone run --config a.yaml",
        ] {
            assert_eq!(parsed(line).as_ref(), Ok(&full), "{line}");
        }
    }

    #[test]
    fn check_config_is_strict() {
        assert_eq!(
            parsed("check-config --config a.yaml"),
            Ok(Command::CheckConfig(request(
                Some("a.yaml"),
                false,
                UnknownKeys::Fault
            )))
        );
    }

    #[test]
    fn probe_takes_an_address_and_never_a_password() {
        let probe = |address: &str, user: Option<&str>, json| {
            Ok(Command::Probe(ProbeRequest {
                address: address.to_owned(),
                user: user.map(str::to_owned),
                vendor: None,
                json,
            }))
        };
        assert_eq!(parsed("probe 10.0.0.1"), probe("10.0.0.1", None, false));
        assert_eq!(
            parsed("probe --json 10.0.0.1:81 --user admin"),
            probe("10.0.0.1:81", Some("admin"), true)
        );
        let Ok(Command::Probe(request)) = parsed("probe 10.0.0.1 --vendor AXIS") else {
            panic!()
        };
        assert_eq!(request.vendor.as_deref(), Some("AXIS"));
        for bad in [
            "run --vendor x",
            "scan --vendor x",
            "probe",
            "probe a b",
            "probe a --password x",
            "probe a --config x",
            "run --json",
            "--user x",
        ] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn scan_takes_networks_and_a_configuration() {
        let scan = |subnets: &[&str], json, path| {
            Ok(Command::Scan(ScanRequest {
                subnets: subnets.iter().map(|s| (*s).to_owned()).collect(),
                json,
                load: request(path, true, UnknownKeys::Warn),
            }))
        };
        assert_eq!(parsed("scan"), scan(&[], false, None));
        assert_eq!(
            parsed("scan --subnet 10.0.0.0/24 --json --subnet auto --config a.yaml"),
            scan(&["10.0.0.0/24", "auto"], true, Some("a.yaml"))
        );
        for bad in [
            "scan 10.0.0.0/24",
            "scan --user u",
            "scan --standalone",
            "scan --subnet",
            "run --subnet 10.0.0.0/24",
        ] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn doctor_takes_a_configuration_a_stun_server_and_cameras() {
        let doctor = |path, json, stun, cameras: &[(&str, Option<u16>)]| {
            Ok(Command::Doctor(DoctorRequest {
                load: request(path, false, UnknownKeys::Warn),
                json,
                stun,
                cameras: cameras
                    .iter()
                    .map(|(host, port)| CameraAt {
                        host: (*host).to_owned(),
                        port: *port,
                    })
                    .collect(),
            }))
        };
        assert_eq!(parsed("doctor"), doctor(None, false, Stun::Usual, &[]));
        assert_eq!(
            parsed("doctor --config a --json --stun off --camera 10.0.0.1 --camera 10.0.0.2:81"),
            doctor(
                Some("a"),
                true,
                Stun::Off,
                &[("10.0.0.1", None), ("10.0.0.2", Some(81))]
            )
        );
        assert_eq!(
            parsed("doctor --stun 127.0.0.1:99"),
            doctor(None, false, Stun::At("127.0.0.1".to_owned(), 99), &[])
        );
        for bad in [
            "doctor x",
            "doctor --user a",
            "doctor --stun a:0",
            "doctor --stun",
            "doctor --camera 10.0.0.1:x",
            "run --stun off",
            "probe a --camera b",
        ] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn version_and_help() {
        for line in ["version", "--version", "-V", "run --version"] {
            assert_eq!(parsed(line), Ok(Command::Version), "{line}");
        }
        for line in ["--help", "-h", "check-config --help", "help"] {
            assert_eq!(parsed(line), Ok(Command::Help), "{line}");
        }
    }

    #[test]
    fn slips_get_a_hint() {
        for (line, words) in [
            ("rum", "unknown command `rum`: did you mean run?"),
            (
                "chek-config",
                "unknown command `chek-config`: did you mean check-config?",
            ),
            (
                "frobnicate",
                "unknown command `frobnicate`: known are run, check-config, doctor, scan, probe, fit, version",
            ),
            (
                "--confg x",
                "unknown option `--confg`: did you mean --config?",
            ),
            (
                "-x",
                "unknown option `-x`: known are --stream, --apply, --config, --standalone, --stun, --camera, --subnet, --user, --vendor, --json, --help, --version",
            ),
            ("run now", "unexpected argument `now`"),
            ("--config a --config b", "--config is given twice"),
            ("version --standalone", "version takes no options"),
        ] {
            assert_eq!(parsed(line), Err(words.to_owned()), "{line}");
        }
        assert!(parsed("--config").unwrap_err().contains("--config"));
        assert!(
            parsed("--standalone=yes")
                .unwrap_err()
                .contains("standalone")
        );
        let nasty = parse(["lss", "\u{1b}[2Jx\n"].map(OsString::from)).unwrap_err();
        assert!(!nasty.chars().any(char::is_control), "{nasty}");
    }

    /// The files of `packaging/completions`: the commands that each offers, and its text.
    fn completions() -> [(Vec<&'static str>, &'static str); 2] {
        let bash = include_str!("../packaging/completions/lss");
        let zsh = include_str!("../packaging/completions/_lss");
        let line = bash.lines().find_map(|l| {
            let list = l.trim().strip_prefix("local commands='")?;
            list.strip_suffix('\'')
        });
        let list = zsh.split("commands=(\n").nth(1).unwrap();
        let list = list.split("\n)").next().unwrap().lines();
        let names = list.map(|l| l.trim().trim_start_matches('\'').split(':').next().unwrap());
        [
            (line.unwrap().split(' ').collect(), bash),
            (names.collect(), zsh),
        ]
    }

    /// Which options a completion offers after a command.
    fn offered(text: &'static str, command: &str) -> Vec<&'static str> {
        let begin = format!("{command}) options=");
        let line = text
            .lines()
            .find_map(|l| l.trim().strip_prefix(begin.as_str()));
        let line = line.unwrap_or_else(|| panic!("no options of {command}"));
        let words = line.split(|c: char| c != '-' && !c.is_ascii_lowercase());
        words.filter(|w| w.starts_with("--")).collect()
    }

    #[test]
    fn completions_offer_what_is_taken_and_nothing_else() {
        for (commands, text) in completions() {
            assert_eq!(commands, COMMANDS);
            for command in COMMANDS {
                let offered = offered(text, command);
                for option in OPTIONS {
                    let value = match option {
                        "--config" | "--user" | "--vendor" => " x",
                        "--stun" => " off",
                        "--stream" => " main",
                        "--camera" => " 10.0.0.1",
                        "--subnet" => " 10.0.0.0/24",
                        _ => "",
                    };
                    let address = match command {
                        "probe" | "fit" => " 10.0.0.1",
                        _ => "",
                    };
                    let line = format!("{command}{address} {option}{value}");
                    assert_eq!(
                        parsed(&line).is_ok(),
                        offered.contains(&option),
                        "{line}: {offered:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn help_names_every_command_and_option_and_nothing_that_is_not_there() {
        for word in COMMANDS.iter().chain(&OPTIONS) {
            assert!(HELP.contains(word), "{word}");
        }
        assert!(!HELP.contains("relay"), "not there yet");
    }
}
