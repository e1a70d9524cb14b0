//! A site in a box, on loopback: a camera with a moving picture, a WHIP receiver that decodes it, a
//! cloud that takes every callback, and lss between them.
//!
//! ```sh
//! cargo run --example site              # until Ctrl-C
//! cargo run --example site -- --once    # until 100 frames are decoded, then all ends
//! ```
//!
//! One build makes both the site and lss: lss is this program, called with one of its commands.
//!
//! What is missing on the machine is installed by `tests/e2e/setup` (Debian packages need root or
//! sudo). Nothing is left behind but `target/`.

// A program for people: it prints, and a part that does not come up ends it.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "site/cloud.rs"]
mod cloud;
// The program's own `main`, not a likeness of it.
#[path = "../src/main.rs"]
mod program;
// The tests' own parts; they use more of them than this.
#[allow(dead_code)]
#[path = "../tests/e2e/lab.rs"]
mod lab;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use serde_json::{Value, json};

/// The one stream's task.
const TASK: &str = "site-1";

/// What of `tests/e2e/setup` it uses.
const PARTS: [&str; 3] = ["rtsp", "python", "ffmpeg"];

/// Frames that `--once` waits for, and for how long.
const ONCE_FRAMES: u64 = 100;
const ONCE_LIMIT: Duration = Duration::from_secs(180);

const HELP: &str = "usage: site [--once]\n  --once   end with 0 as soon as 100 frames are decoded";

fn main() -> ExitCode {
    // lss is this program, too, so one build makes all there is: a first word (`run`) is one of its
    // commands; the site's own arguments begin with a dash.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|first| !first.as_encoded_bytes().starts_with(b"-"))
    {
        return program::main();
    }
    let mut once = false;
    for arg in std::env::args().skip(1) {
        match arg.as_str() {
            "--once" => once = true,
            "-h" | "--help" => {
                println!("{HELP}");
                return ExitCode::SUCCESS;
            }
            other => {
                eprintln!("site: unknown argument {other}\n{HELP}");
                return ExitCode::from(2);
            }
        }
    }
    let found = prepare().and_then(|tools| {
        let lss = std::env::current_exe().map_err(|e| e.to_string())?;
        Ok((tools, lss))
    });
    let (tools, lss) = match found {
        Ok(found) => found,
        Err(why) => {
            eprintln!("site: {why}");
            return ExitCode::FAILURE;
        }
    };
    let dir = tempfile::Builder::new()
        .prefix("lss-site-")
        .tempdir()
        .expect("a directory for logs");
    let signals = signals();
    let mut site = Site::start(&tools, &lss, dir.path());
    let result = site.run(once, &signals);
    let ended = site.end();
    if let Err(why) = result.and(ended) {
        eprintln!("site: {why}");
        return ExitCode::FAILURE;
    }
    println!("Everything has ended; nothing is left behind.");
    ExitCode::SUCCESS
}

/// Installs what is missing. Before any signal is blocked, so Ctrl-C ends it.
fn prepare() -> Result<lab::Tools, String> {
    let setup = lab::repo().join("tests/e2e/setup");
    let status = Command::new(&setup).args(PARTS).status();
    if !status.as_ref().is_ok_and(std::process::ExitStatus::success) {
        return Err(format!("{} failed: {status:?}", setup.display()));
    }
    Ok(lab::Tools {
        ffmpeg: lab::tool("ffmpeg")?,
        python: lab::tool("python")?,
        rtsp_python: lab::tool("rtsp_python")?,
        // The camera's picture is made as it goes.
        clips: PathBuf::new(),
    })
}

/// From here on SIGINT, SIGTERM and SIGHUP come as messages. Called before any other thread runs.
fn signals() -> Receiver<Signal> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        set.add(signal);
    }
    set.thread_block().expect("signal mask");
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        while let Ok(signal) = set.wait() {
            if sender.send(signal).is_err() {
                return;
            }
        }
    });
    receiver
}

/// All that runs.
struct Site {
    camera: lab::Camera,
    receiver: lab::Receiver,
    cloud: cloud::Cloud,
    lss: lab::Part,
    base: String,
    key: String,
    told: usize,
}

impl Site {
    fn start(tools: &lab::Tools, lss: &Path, dir: &Path) -> Self {
        println!("Starting a camera, a receiver, a cloud and lss …");
        let camera = lab::Camera::start(tools, dir, None, &["cam=live"]);
        let receiver = lab::Receiver::start(tools, dir, true);
        let cloud = cloud::Cloud::start();
        // The usual port, if nobody has it.
        let port = std::net::TcpListener::bind("127.0.0.1:10060")
            .map_or_else(|_| lab::free_port(), |_| 10_060);
        let config = dir.join("lss.yaml");
        lab::write_private(&config, &configuration(tools, port, &cloud));
        let mut lss = lab::Part::start(
            dir,
            "lss",
            lss,
            &["run", "--config", config.to_str().expect("path")],
            &[("ABLY_API_KEY", "nobody.there:nothing")],
        );
        let base = format!("http://127.0.0.1:{port}");
        lab::until("lss answers", Duration::from_secs(30), || {
            assert!(lss.ended().is_none(), "lss ended:\n{}", lss.output());
            (lab::http("GET", &format!("{base}/livez"), &[], None).status == 200).then_some(())
        });
        Self {
            camera,
            receiver,
            cloud,
            lss,
            base,
            key: format!("{:x}", std::process::id()),
            told: 0,
        }
    }

    fn start_body(&self) -> Value {
        json!({
            "taskId": TASK, "cameraId": "cam-1", "inputType": "RTSP",
            "sourceUrl": self.camera.url("cam"), "whipUrl": self.receiver.url("ok", &self.key),
        })
    }

    fn post(&self, path: &str, body: &Value) -> Result<(), String> {
        let answer = lab::http("POST", &format!("{}{path}", self.base), &[], Some(body));
        match answer.status {
            200 => Ok(()),
            _ => Err(format!("POST {path}: {}", answer.text)),
        }
    }

    fn print_curl(&self) {
        let base = &self.base;
        let post = format!("curl -s -H 'content-type: application/json' {base}/api/stream");
        println!(
            "\nlss listens on {base}. In another terminal:\n\n\
             look    curl -s {base}/api/stream/task/{TASK}\n\
             all     curl -s {base}/api/stream/tasks\n\
             log     curl -s {base}/api/stream/task/{TASK}/log\n\
             health  curl -s {base}/api/stream/health\n\
             stop    {post}/stop -d '{{\"taskId\":\"{TASK}\"}}'\n\
             start   {post}/start -d '{}'\n\n\
             Ctrl-C ends everything.\n",
            self.start_body()
        );
    }

    /// Until a signal, or with `once` until enough frames are decoded.
    fn run(&mut self, once: bool, signals: &Receiver<Signal>) -> Result<(), String> {
        self.print_curl();
        self.post("/api/stream/start", &self.start_body())?;
        let begun = Instant::now();
        let mut before = 0;
        loop {
            match signals.recv_timeout(Duration::from_secs(2)) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(_) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            self.tell_callbacks();
            if self.lss.ended().is_some() {
                return Err(format!("lss has ended:\n{}", self.lss.output()));
            }
            let decoded = self.tell(&mut before);
            if once && decoded >= ONCE_FRAMES {
                return self.stop_and_check();
            }
            if once && begun.elapsed() > ONCE_LIMIT {
                return Err(format!(
                    "only {decoded} frames in {ONCE_LIMIT:?}; lss said:\n{}",
                    self.lss.output()
                ));
            }
        }
    }

    /// One line: how the task stands and what arrives.
    fn tell(&self, before: &mut u64) -> u64 {
        let url = format!("{}/api/stream/task/{TASK}", self.base);
        let task = lab::http("GET", &url, &[], None).json["data"].clone();
        let status = task["status"].as_str().unwrap_or("?");
        let sessions = self.receiver.sessions(&self.key);
        let decoded: u64 = sessions.iter().map(|s| s.video).sum();
        let size = sessions
            .last()
            .map(|s| s.sizes.join(" "))
            .unwrap_or_default();
        let sound: u64 = sessions.iter().map(|s| s.audio).sum();
        println!(
            "task {TASK} {status:<12} arrived: {decoded:>6} pictures {size} (+{}), {sound} pieces of sound",
            decoded.saturating_sub(*before)
        );
        *before = decoded;
        decoded
    }

    /// One line for each callback that is new.
    fn tell_callbacks(&mut self) {
        let callbacks = self.cloud.callbacks();
        for callback in &callbacks[self.told..] {
            let text = |name: &str| callback[name].as_str().unwrap_or("-").to_owned();
            println!(
                "  the cloud was told: {} {} {}",
                text("callbackType"),
                text("status"),
                text("errorMessage")
            );
        }
        self.told = callbacks.len();
    }

    /// Stops the stream as an operator would, and looks whether everybody noticed.
    fn stop_and_check(&mut self) -> Result<(), String> {
        self.post("/api/stream/stop", &json!({ "taskId": TASK }))?;
        let limit = Duration::from_secs(20);
        let told = lab::poll(limit, || {
            let callbacks = self.cloud.callbacks();
            callbacks
                .iter()
                .any(|c| c["callbackType"] == "STOPPED")
                .then_some(())
        });
        self.tell_callbacks();
        told.ok_or("the cloud was not told of the stop")?;
        lab::poll(limit, || {
            self.receiver
                .sessions(&self.key)
                .last()?
                .deleted
                .then_some(())
        })
        .ok_or("the receiver's session was not ended")?;
        Ok(())
    }

    /// lss first, so that it can tell the others.
    fn end(mut self) -> Result<(), String> {
        println!("Ending …");
        self.lss.signal(Signal::SIGTERM);
        let status = self.lss.wait(Duration::from_secs(30)).map(lab::ending);
        self.tell_callbacks();
        let left = lab::processes_with(&self.receiver.url("ok", &self.key));
        match status.as_deref() {
            Some("exit 0") if left.is_empty() => Ok(()),
            Some("exit 0") => Err(format!("processes left behind: {left:?}")),
            other => Err(format!("lss: {other:?}; it said:\n{}", self.lss.output())),
        }
    }
}

fn configuration(tools: &lab::Tools, port: u16, cloud: &cloud::Cloud) -> String {
    // Nobody listens on that port: the cloud's command line is not part of this site.
    let nobody = lab::free_port();
    format!(
        "mode: cloud\n\
         server: {{ listen: 127.0.0.1, port: {port} }}\n\
         rcs: {{ base_url: '{}' }}\n\
         ably: {{ endpoint: 127.0.0.1, port: {nobody}, tls: false, connectivity_check_url: 'http://127.0.0.1:{nobody}/' }}\n\
         camera: {{ scan_enabled: false }}\n\
         lss:\n  node: {{ name: site, machine_id: site-{port}, ip: 127.0.0.1 }}\n  ffmpeg: {{ path: '{}' }}\n",
        cloud.base_url(),
        tools.ffmpeg.display()
    )
}
