//! What a command over the cloud's line costs, in the real optimised binary against the strict Ably
//! stand-in on loopback: `cargo bench --bench cloud`. The numbers in docs/performance.md are its.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss
)]
#![allow(missing_docs)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::ably::Standin;
use support::daemon::{Daemon, Setup, wait_for};
use support::rcs::Rcs;

fn main() {
    let ably = Standin::start();
    let rcs = Rcs::start();
    let daemon = Daemon::start(&Setup {
        standalone: false,
        env: vec![("LSS_LOG".into(), "warn".into())],
        more: format!(
            "rcs: {{ base_url: '{}' }}\nably: {{ api_key: 'app.key:secret', endpoint: '127.0.0.1', port: {}, tls: false, connectivity_check_url: 'http://{}/up' }}\n",
            rcs.base_url(),
            ably.address.port(),
            ably.address,
        ),
        ..Setup::default()
    });
    let site = Site { daemon, ably };
    site.attached();
    println!("| what | measured | target |\n|---|---|---|");
    site.latency();
    site.burst();
    site.minute();
    site.reconnect();
    site.idle();
    site.ably.assert_clean();
}

struct Site {
    daemon: Daemon,
    ably: Standin,
}

impl Site {
    fn attached(&self) {
        let node = self.daemon.node_id.clone();
        let commands = self.commands();
        self.ably
            .until("the command channel", |m| m.is_attached(&node, &commands));
    }

    fn commands(&self) -> String {
        format!("lss:{}:commands", self.daemon.node_id)
    }

    fn ask(&self, request: &str) {
        let data = json!({"command": "QUERY_STATUS", "payload": {"requestId": request}});
        let message = json!({"name": "command", "data": data.to_string(), "encoding": "json"});
        self.ably.publish(&self.commands(), &message);
    }

    /// Requests that have been answered since entry `from` of the log, and how long that is now.
    fn answered(&self, from: usize) -> (Vec<String>, usize) {
        let status = format!("lss:{}:status", self.daemon.node_id);
        self.ably.model(|model| {
            let Some(channel) = model.channels.get(&status) else {
                return (Vec::new(), 0);
            };
            let found = channel.log.iter().skip(from).filter_map(|(_, data)| {
                let value: Value = match data {
                    Value::String(text) => serde_json::from_str(text).ok()?,
                    other => other.clone(),
                };
                Some(value["requestId"].as_str()?.to_owned())
            });
            (found.collect(), channel.log.len())
        })
    }

    /// Sends `count` commands, `per_second` of them a second, and waits for every answer: how long
    /// each took, in order.
    fn run(&self, name: &str, count: u32, per_second: u32) -> Vec<Duration> {
        let mut sent: BTreeMap<String, Instant> = BTreeMap::new();
        let mut took = Vec::new();
        let mut seen = self.answered(0).1;
        let begin = Instant::now();
        let mut next = 0;
        while took.len() < count as usize {
            while next < count && begin.elapsed() >= Duration::from_secs(1) * next / per_second {
                let id = format!("{name}{next}");
                sent.insert(id.clone(), Instant::now());
                self.ask(&id);
                next += 1;
            }
            let (answers, now_seen) = self.answered(seen);
            seen = now_seen;
            for id in answers {
                let at = sent.remove(&id).expect("answered twice");
                took.push(at.elapsed());
            }
            assert!(
                begin.elapsed() < Duration::from_secs(300),
                "an answer was lost"
            );
            std::thread::sleep(Duration::from_micros(200));
        }
        took.sort();
        took
    }

    fn latency(&self) {
        let took = self.run("l", 1000, 30);
        row(
            "command in to result out (QUERY_STATUS), p50 / p99 of 1,000 at 30 a second",
            &format!("{:.2} / {:.2} ms", ms(took[500]), ms(took[990])),
            "p99 < 5 ms",
        );
    }

    fn burst(&self) {
        let begin = Instant::now();
        let took = self.run("b", 200, 1_000_000);
        row(
            "a burst of 200 commands: answered, in",
            &format!("{}, {:.1} s", took.len(), begin.elapsed().as_secs_f64()),
            "none lost, inside the publish limits",
        );
    }

    fn minute(&self) {
        let took = self.run("m", 2000, 34);
        row(
            "2,000 commands over a minute: answered, p99",
            &format!("{}, {:.1} ms", took.len(), ms(took[1980])),
            "none lost, inside the publish limits",
        );
    }

    fn reconnect(&self) {
        let mut took: Vec<Duration> = (0..5)
            .map(|n| {
                // A line that is lost again within ten seconds is not taken up at once: it may flap.
                std::thread::sleep(Duration::from_secs(11));
                let seen = self.answered(0).1;
                self.ably.cut(&self.daemon.node_id);
                let begin = Instant::now();
                self.ask(&format!("r{n}"));
                wait_for("the answer", Duration::from_secs(20), || {
                    (!self.answered(seen).0.is_empty()).then(|| begin.elapsed())
                })
            })
            .collect();
        took.sort();
        row(
            "a cut line to a command executed and answered, median / max of 5",
            &format!("{:.0} / {:.0} ms", ms(took[2]), ms(took[4])),
            "< 150 ms",
        );
    }

    fn idle(&self) {
        std::thread::sleep(Duration::from_secs(2));
        let before = cpu_ticks(self.daemon.pid());
        std::thread::sleep(Duration::from_secs(30));
        row(
            "idle with the cloud: CPU ticks of 10 ms in 30 s",
            &(cpu_ticks(self.daemon.pid()) - before).to_string(),
            "not measurable",
        );
        row(
            "resident memory after all this (glibc)",
            &format!("{:.1} MB", rss_kb(self.daemon.pid()) / 1024.0),
            "-",
        );
    }
}

fn row(what: &str, measured: &str, target: &str) {
    println!("| {what} | {measured} | {target} |");
}

fn ms(d: Duration) -> f64 {
    d.as_secs_f64() * 1000.0
}

fn cpu_ticks(pid: u32) -> i64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    after[11].parse::<i64>().unwrap() + after[12].parse::<i64>().unwrap()
}

fn rss_kb(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
