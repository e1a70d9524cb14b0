//! What looks at lss from outside and is not ours: Prometheus' checker at the figures and alerts,
//! a fuzzer at the API and its description.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::daemon::{parts, skip};
use crate::lab::{free_port, repo};
use crate::support::daemon::{Daemon, Setup};

#[test]
fn prometheus_takes_the_figures_and_the_alerts() {
    let Some([promtool]) = parts("promtool", ["promtool"]) else {
        return;
    };
    let checked = Command::new(&promtool)
        .args(["check", "rules"])
        .arg(repo().join("etc/alerts.yaml"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&checked.stdout).into_owned()
        + &String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}");
    assert!(said.contains("rules found"), "{said}");
    let daemon = Daemon::start(&Setup::default());
    assert_eq!(daemon.start_task("t", "ok").0, 200);
    daemon.wait_status("t", "STREAMING");
    let url = format!("http://{}/metrics", daemon.addr);
    let figures = crate::lab::http("GET", &url, &[], None).text;
    assert!(figures.contains("lss_task_state"), "{figures}");
    let mut check = Command::new(&promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = check.stdin.take().unwrap();
    stdin.write_all(figures.as_bytes()).unwrap();
    drop(stdin);
    let checked = check.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&checked.stdout).into_owned()
        + &String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}\n{figures}");
    assert!(said.trim().is_empty(), "{said}");
}

#[test]
fn a_fuzzer_finds_nothing_in_the_api() {
    let name = "schemathesis";
    let Some([st]) = parts(name, [name]) else {
        return;
    };
    let own_network = Command::new("unshare").args(["-n", "true"]).output();
    if !own_network.is_ok_and(|done| done.status.success()) {
        return skip(name, "no network namespace can be made here");
    }
    let dir = tempfile::tempdir().unwrap();
    let done = Command::new("unshare")
        .arg("-n")
        .arg(repo().join("tests/e2e/schemathesis.sh"))
        .arg(env!("CARGO_BIN_EXE_lss"))
        .arg(st)
        .arg(dir.path())
        .arg(free_port().to_string())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    assert!(said.contains("generated"), "nothing was tried: {said}");
}
