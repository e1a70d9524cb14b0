//! The command line, as the real binary answers it.

// Helpers fail their test by panicking; the lints know only the test functions themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const CLOUD: [(&str, &str); 3] = [
    ("ABLY_API_KEY", "app.key:canary-ably"),
    ("LSS_MACHINE_ID", "machine_007"),
    ("RCS_BASE_URL", "https://rcs.example/api"),
];

/// Exit code, stdout, stderr.
struct Outcome {
    code: i32,
    out: String,
    err: String,
}

fn lss(args: &[&str], env: &[(&str, &str)]) -> Outcome {
    let output = Command::new(env!("CARGO_BIN_EXE_lss"))
        .args(args)
        .env_clear()
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Outcome {
        code: output.status.code().expect("an exit code"),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

struct File {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

impl File {
    fn with(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lss.yaml");
        std::fs::write(&path, text).unwrap();
        Self { _dir: dir, path }
    }

    fn name(&self) -> &str {
        self.path.to_str().unwrap()
    }
}

#[test]
fn version_names_version_target_and_commit() {
    for args in [["version"], ["--version"], ["-V"]] {
        let got = lss(&args, &[]);
        assert_eq!((got.code, got.err.as_str()), (0, ""));
        let words: Vec<&str> = got.out.split_whitespace().collect();
        assert_eq!(words.len(), 4, "{}", got.out);
        assert_eq!(words[..2], ["lss", env!("CARGO_PKG_VERSION")]);
        assert!(words[2].contains("linux"), "{}", got.out);
    }
}

#[test]
fn help_goes_to_stdout() {
    let got = lss(&["--help"], &[]);
    assert_eq!((got.code, got.err.as_str()), (0, ""));
    assert!(got.out.contains("check-config"));
}

#[test]
fn bad_arguments_are_2_with_a_hint() {
    for (args, words) in [
        (&["chek-config"][..], "did you mean check-config?"),
        (
            &["frobnicate"],
            "known are run, check-config, doctor, scan, probe, fit, version",
        ),
        (&["--standalon"], "did you mean --standalone?"),
        (&["run", "x"], "unexpected argument"),
        (&["--config"], "--config"),
    ] {
        let got = lss(args, &[]);
        assert_eq!((got.code, got.out.as_str()), (2, ""), "{args:?}");
        assert!(got.err.contains(words), "{args:?}: {}", got.err);
    }
}

#[test]
fn check_config_prints_what_is_in_effect_without_secrets() {
    let file = File::with(
        "server: { api_token: canary-api-token }\ncamera:\n  credentials:\n    - { match: 10.0.0.1, username: admin, password: canary-pw }\n",
    );
    let got = lss(&["check-config", "--config", file.name()], &CLOUD);
    assert_eq!(got.code, 0, "{}", got.err);
    assert!(got.out.starts_with(&format!("# file: {}\n", file.name())));
    let origin = "# from the environment: LSS_MACHINE_ID, RCS_BASE_URL, ABLY_API_KEY";
    assert_eq!(got.out.lines().nth(1), Some(origin));
    for line in [
        "  api_token: '***'",
        "  api_key: '***'",
        "    machine_id: 'machine_007'",
        "  base_url: 'https://rcs.example/api'",
        "      password: '***'",
    ] {
        assert!(got.out.lines().any(|l| l == line), "{line}\n{}", got.out);
    }
    assert!(!got.out.contains("canary") && !got.err.contains("canary"));
}

#[test]
fn check_config_lists_every_fault() {
    let file =
        File::with("mode: standalone\nserver:\n  prot: 1\n  port: x\nlog: { level: loud }\n");
    let got = lss(&["check-config", "--config", file.name()], &[]);
    assert_eq!((got.code, got.out.as_str()), (2, ""));
    let name = file.name();
    assert_eq!(
        got.err,
        format!(
            "{name}:3: server.prot: is not a key of this configuration: did you mean port?\n\
             {name}:4: server.port: must be a number from 1 to 65535\n\
             {name}:5: log.level: must be error, warn, info, debug, trace or off\n\
             lss: 3 faults in the configuration\n"
        )
    );
}

#[test]
fn the_file_may_be_named_by_the_environment() {
    let file = File::with("lss: { node: { name: from-the-file } }\n");
    let env: Vec<_> = CLOUD
        .iter()
        .copied()
        .chain([("LSS_CONFIG", file.name())])
        .collect();
    let got = lss(&["check-config"], &env);
    assert_eq!(got.code, 0, "{}", got.err);
    assert!(got.out.contains("name: 'from-the-file'"));
    // The command line wins.
    let other = File::with("lss: { node: { name: from-the-command-line } }\n");
    let got = lss(&["check-config", "--config", other.name()], &env);
    assert!(got.out.contains("from-the-command-line"), "{}", got.err);
    // What is named must be there.
    let gone = Path::new(file.name()).with_file_name("gone.yaml");
    for (args, env) in [
        (vec!["run", "--config", gone.to_str().unwrap()], vec![]),
        (
            vec!["--standalone"],
            vec![("LSS_CONFIG", gone.to_str().unwrap())],
        ),
    ] {
        let got = lss(&args, &env);
        assert_eq!(got.code, 2, "{args:?}");
        assert!(got.err.contains("does not exist"), "{}", got.err);
    }
}

#[test]
fn the_shipped_example_passes_its_own_check() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/etc/lss.yaml");
    let got = lss(&["check-config", "--config", example], &CLOUD);
    assert_eq!((got.code, got.err.as_str()), (0, ""));
    let got = lss(&["check-config", "--config", example, "--standalone"], &[]);
    assert_eq!((got.code, got.err.as_str()), (0, ""));
    assert!(got.out.contains("mode: standalone"));
}

#[test]
fn run_without_the_cloud_names_what_is_missing_and_the_way_out() {
    for args in [&[][..], &["run"]] {
        let file = File::with("camera: { scan_enabled: false }");
        let got = lss(args, &[("LSS_CONFIG", file.name())]);
        assert_eq!((got.code, got.out.as_str()), (2, ""));
        for word in [
            "ABLY_API_KEY",
            "LSS_MACHINE_ID",
            "RCS_BASE_URL",
            "--standalone",
        ] {
            assert!(got.err.contains(word), "{word}: {}", got.err);
        }
    }
}

#[test]
fn a_broken_file_is_2_with_its_line() {
    let file = File::with("mode: standalone\nserver:\n\tport: 1\n");
    let got = lss(&["run", "--config", file.name()], &[]);
    assert_eq!(got.code, 2);
    assert_eq!(
        got.err,
        format!(
            "{}:3: is not valid YAML: a tab: indent with spaces\nlss: 1 fault in the configuration\n",
            file.name()
        )
    );
}

/// Starts the daemon and reads its log up to the line that holds `word`.
fn first_lines(format: &str, word: &str) -> Vec<String> {
    let file = File::with(&format!(
        "mode: standalone
server: {{ listen: 127.0.0.1, port: 1, api_token: canary-api-token, futur: 1 }}
lss: {{ node: {{ machine_id: cli-test-{}-{format} }} }}
camera: {{ scan_enabled: false }}
log: {{ format: {format} }}
",
        std::process::id()
    ));
    let mut child = Command::new(env!("CARGO_BIN_EXE_lss"))
        .args(["run", "--config", file.name()])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = Vec::new();
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        lines.push(line.unwrap());
        if lines.last().is_some_and(|l| l.contains(word)) {
            break;
        }
    }
    let _ = child.kill();
    child.wait().unwrap();
    assert!(
        lines.last().is_some_and(|l| l.contains(word)),
        "no {word} in {lines:?}"
    );
    assert!(!lines.join("\n").contains("canary"), "{lines:?}");
    lines
}

#[test]
fn run_warns_of_an_unknown_key_and_goes_on() {
    let lines = first_lines("text", "server.futur");
    let line = lines.last().unwrap();
    assert!(line.contains(" WARN  "), "{line}");
    assert!(
        line.contains("is not a key of this configuration"),
        "{line}"
    );
    let ts = line.split(' ').next().unwrap();
    assert!(ts.len() == 24 && ts.ends_with('Z'), "{line}");
}

#[test]
fn json_logs_are_one_object_a_line() {
    for line in first_lines("json", "server.futur") {
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(
            event["ts"].is_string() && event["msg"].is_string(),
            "{line}"
        );
        assert_eq!(event["level"], "WARN");
    }
}
