//! What looks at lss from outside and is not ours: Prometheus and its checker at the figures and
//! alerts, a fuzzer at the API and its description.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::daemon::{SOON, parts, skip};
use crate::lab::{Part, free_port, http, poll, repo, until};
use crate::support::daemon::{Daemon, Setup, start_body};
use crate::support::rcs::Mode;
use crate::support::site::Site;

/// The names of all alerts.
fn alerts() -> BTreeSet<String> {
    let rules = fs::read_to_string(repo().join("etc/alerts.yaml")).unwrap();
    let names = rules
        .lines()
        .filter_map(|l| l.trim().strip_prefix("- alert: "));
    names.map(str::to_owned).collect()
}

/// What it said, if it was content.
fn content(checker: &Path, args: &[&str]) -> String {
    let done = Command::new(checker)
        .args(args)
        .current_dir(repo())
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    said
}

/// Each alert, in Prometheus' own simulation: when it fires, what it says, when it is quiet.
#[test]
fn each_alert_fires_when_it_should() {
    let Some([promtool]) = parts("promtool", ["promtool"]) else {
        return;
    };
    let file = "tests/e2e/alerts_test.yaml";
    let said = content(&promtool, &["test", "rules", file]);
    assert!(said.contains("SUCCESS"), "{said}");
    let tests = fs::read_to_string(repo().join(file)).unwrap();
    for alert in alerts() {
        let quiet = tests.lines().any(|line| {
            line.contains(&format!("alertname: {alert},")) && line.contains("exp_alerts: []")
        });
        assert!(quiet, "{alert} is not tested to be quiet");
        let fires = tests
            .lines()
            .any(|line| line.trim() == format!("- alertname: {alert}"));
        assert!(fires, "{alert} is not tested to fire");
    }
}

/// A real Prometheus.
struct Prometheus {
    _process: Part,
    url: String,
    _dir: tempfile::TempDir,
}

impl Prometheus {
    /// Scrapes that lss twice a second and judges by our alerts, their patience shortened: what
    /// has to last for minutes there has to last for a second here, and what looks back for half
    /// an hour looks back for ten seconds.
    fn start(program: &Path, lss: &str, token: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let rules = fs::read_to_string(repo().join("etc/alerts.yaml")).unwrap();
        let mut shortened = String::new();
        for line in rules.lines() {
            let is_patience = line.trim().starts_with("for: ");
            let (before, _) = line.split_once("for: ").unwrap_or((line, ""));
            let line = if is_patience {
                format!("{before}for: 1s")
            } else {
                line.to_owned()
            };
            shortened += &line.replace("[30m]", "[10s]").replace("[1h]", "[10s]");
            shortened.push('\n');
        }
        shortened = shortened.replace("[15m]", "[10s]");
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        fs::write(at("alerts.yaml"), shortened).unwrap();
        fs::write(at("token"), token).unwrap();
        let config = json!({
            "global": {
                "scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms",
            },
            "rule_files": [at("alerts.yaml")],
            "scrape_configs": [{
                "job_name": "lss",
                "authorization": { "credentials_file": at("token") },
                "static_configs": [{ "targets": [lss] }],
            }],
        });
        // JSON is YAML.
        fs::write(at("prometheus.yaml"), config.to_string()).unwrap();
        let listen = format!("127.0.0.1:{}", free_port());
        let args = [
            format!("--config.file={}", at("prometheus.yaml")),
            format!("--storage.tsdb.path={}", at("data")),
            format!("--web.listen-address={listen}"),
            "--log.level=warn".to_owned(),
        ];
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let process = Part::start(dir.path(), "prometheus", program, &args, &[]);
        let this = Self {
            url: format!("http://{listen}"),
            _process: process,
            _dir: dir,
        };
        until("Prometheus to be ready", SOON, || {
            let ready = http("GET", &format!("{}/-/ready", this.url), &[], None);
            (ready.status == 200).then_some(())
        });
        this
    }

    fn get(&self, path: &str) -> Value {
        let answer = http("GET", &format!("{}/api/v1/{path}", self.url), &[], None);
        assert_eq!(answer.json["status"], "success", "{path}: {}", answer.text);
        answer.json["data"].clone()
    }

    /// The value of a series that is alone of its name.
    fn value(&self, series: &str) -> Option<f64> {
        let found = self.get(&format!("query?query={series}"));
        found["result"][0]["value"][1].as_str()?.parse().ok()
    }

    /// Alerts that fire now: name, and what they say.
    fn firing(&self) -> Vec<(String, Value)> {
        let alerts = self.get("alerts");
        let all = alerts["alerts"].as_array().unwrap().iter();
        all.filter(|alert| alert["state"] == "firing")
            .map(|alert| {
                let name = alert["labels"]["alertname"].as_str().unwrap();
                (name.to_owned(), alert.clone())
            })
            .collect()
    }

    fn until_fires(&self, name: &str) -> Value {
        let firing = poll(SOON, || {
            let mut firing = self.firing().into_iter();
            firing.find(|(is, _)| is == name).map(|(_, alert)| alert)
        });
        firing.unwrap_or_else(|| panic!("{name} does not fire: {}", self.get("rules")))
    }
}

#[test]
fn a_real_prometheus_scrapes_warns_and_is_calm_again() {
    let Some([program]) = parts("prometheus", ["prometheus"]) else {
        return;
    };
    let token = "canary-scraper-0123456789";
    let mut site = Site::with(Setup {
        server: format!("  api_token: '{token}'"),
        ..Setup::default()
    });
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", bearer.as_str())];
    let lss = site.daemon.addr.to_string();
    let post = |path: &str, body: &Value| {
        let url = format!("http://{lss}/api/stream/{path}");
        let answer = http("POST", &url, &headers, Some(body));
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    };
    post("start", &start_body("good", "ok"));
    let prometheus = Prometheus::start(&program, &lss, token);

    // It takes every figure.
    until("the target to be up", SOON, || {
        (prometheus.value("up") == Some(1.0)).then_some(())
    });
    let target = prometheus.get("targets")["activeTargets"][0].clone();
    assert_eq!(
        (&target["health"], &target["lastError"]),
        (&json!("up"), &json!("")),
        "{target}"
    );
    until("every sample to be taken", SOON, || {
        let figures = http("GET", &format!("http://{lss}/metrics"), &headers, None).text;
        let samples = figures
            .lines()
            .filter(|l| !l.is_empty() && !l.starts_with('#'));
        let told = u32::try_from(samples.count()).unwrap();
        let names = ["scraped", "post_metric_relabeling"];
        names
            .iter()
            .all(|n| prometheus.value(&format!("scrape_samples_{n}")) == Some(f64::from(told)))
            .then_some(())
    });
    let own = http("GET", &format!("{}/metrics", prometheus.url), &[], None).text;
    for fault in [
        "prometheus_target_scrapes_sample_duplicate_timestamp_total",
        "prometheus_target_scrapes_sample_out_of_order_total",
        "prometheus_target_scrapes_sample_out_of_bounds_total",
    ] {
        assert!(own.contains(&format!("\n{fault} 0\n")), "{fault}: {own}");
    }
    // It understands every alert, and has no reason for any.
    let looked = until("every alert to have been looked at", SOON, || {
        let rules = prometheus.get("rules")["groups"][0]["rules"].clone();
        let rules = rules.as_array().unwrap().clone();
        rules
            .iter()
            .all(|rule| rule["health"] != "unknown")
            .then_some(rules)
    });
    for rule in &looked {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
    let names = looked
        .iter()
        .map(|rule| rule["name"].as_str().unwrap().to_owned());
    assert_eq!(names.collect::<BTreeSet<_>>(), alerts());
    until("calm", SOON, || {
        prometheus.firing().is_empty().then_some(())
    });

    // One stream is given up, one never comes up, RCS is gone.
    post("start", &start_body("broken", "badoption"));
    post("start", &start_body("mute", "mute"));
    site.rcs.set_all(&Mode::Status(503));
    let given_up = prometheus.until_fires("LssStreamGivenUp");
    assert_eq!(given_up["labels"]["task"], "broken");
    let summary = format!("stream broken on {lss} was given up");
    assert_eq!(given_up["annotations"]["summary"], summary);
    let trying = prometheus.until_fires("LssStreamNotStreaming");
    assert_eq!(trying["labels"]["task"], "mute");
    let part = prometheus.until_fires("LssPartDown");
    assert_eq!(
        part["annotations"]["summary"],
        format!("rcs on {lss} is down")
    );
    for (name, alert) in prometheus.firing() {
        let said = alert["annotations"].to_string();
        assert!(
            !said.contains("{{") && !said.contains("error expanding"),
            "{name}: {said}"
        );
        let good = alert["labels"]["task"] == "good";
        assert!(!good, "{name}: {alert}");
    }

    // All is mended.
    site.rcs.set_all(&Mode::Ok);
    post("stop", &json!({ "taskId": "mute" }));
    post("start", &start_body("broken", "ok"));
    until("calm again", SOON, || {
        let firing: Vec<String> = prometheus
            .firing()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        firing.is_empty().then_some(())
    });

    assert!(site.daemon.stop().success());
    let down = prometheus.until_fires("LssDown");
    assert_eq!(
        down["annotations"]["summary"],
        format!("lss on {lss} does not answer")
    );
}

#[test]
fn prometheus_takes_the_figures_and_the_alerts() {
    let Some([promtool]) = parts("promtool", ["promtool"]) else {
        return;
    };
    let said = content(&promtool, &["check", "rules", "etc/alerts.yaml"]);
    assert!(
        said.contains(&format!("{} rules found", alerts().len())),
        "{said}"
    );
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
