//! The real `lss` with a configuration of its own, its cloud, and the watch over its secrets.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::lab::http::Answer;
use crate::lab::{self, Camera, Part, Receiver, Tools, http, poll, processes_with, until};
use crate::support::rcs::{Door, Rcs};

/// How long anything may take that should happen soon. Generous: two slow, shared cores.
pub const SOON: Duration = Duration::from_secs(60);

/// In every secret that a test hands out; must show up nowhere.
const CANARY: &str = "cAnary";

/// A camera password with every character that breaks a URL.
pub const NASTY_PASSWORD: &str = "cAnary-p@ss:#%1";

/// At most so many tests at once, whatever `--test-threads` says: they encode and decode video.
const AT_ONCE: usize = 3;

static RUNNING: Mutex<usize> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

/// Says loudly that a part is missing, and counts it; with `LSS_E2E_REQUIRE=1` a failure.
pub fn skip(test: &str, why: &str) {
    assert!(
        std::env::var_os("LSS_E2E_REQUIRE").is_none_or(|v| v != "1"),
        "{test}: {why}"
    );
    let line = format!("SKIPPED e2e {test}: {why}");
    // Past libtest's capture, which would swallow it.
    lab::append(Path::new("/dev/stderr"), &line);
    lab::append(&lab::repo().join("target/e2e/skipped"), &line);
}

/// Some parts for a test that needs no whole [`Lab`]; `None` like there.
pub fn parts<const N: usize>(test: &str, names: [&str; N]) -> Option<[PathBuf; N]> {
    let mut found = names.map(|_| PathBuf::new());
    for (place, name) in found.iter_mut().zip(names) {
        match lab::tool(name) {
            Ok(path) => *place = path,
            Err(why) => {
                skip(test, &why);
                return None;
            }
        }
    }
    Some(found)
}

/// One test's lab: the tools, a directory, a place among [`AT_ONCE`].
pub struct Lab {
    /// Where the parts are.
    pub tools: Tools,
    dir: tempfile::TempDir,
}

impl Lab {
    /// `None`, said loudly and counted, if a part is missing. With `LSS_E2E_REQUIRE=1` that is a
    /// failure.
    pub fn enter(test: &str) -> Option<Self> {
        let tools = match Tools::find() {
            Ok(tools) => tools,
            Err(why) => {
                skip(test, &why);
                return None;
            }
        };
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        while *running >= AT_ONCE {
            running = ENDED.wait(running).unwrap_or_else(PoisonError::into_inner);
        }
        *running += 1;
        Some(Self {
            tools,
            dir: tempfile::tempdir().expect("directory"),
        })
    }

    /// Where logs go.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A camera without login.
    pub fn camera(&self, mounts: &[&str]) -> Camera {
        Camera::start(&self.tools, self.dir(), None, mounts)
    }

    /// A receiver that decodes.
    pub fn receiver(&self) -> Receiver {
        Receiver::start(&self.tools, self.dir(), true)
    }

    /// A receiver that counts frames only.
    pub fn counter(&self) -> Receiver {
        Receiver::start(&self.tools, self.dir(), false)
    }

    /// An lss with a cloud; `ffmpeg`: keys and values under `lss.ffmpeg`.
    pub fn lss(&self, ffmpeg: &[(&str, &str)]) -> Lss {
        Lss::start(
            self,
            &Settings {
                ffmpeg,
                ..Settings::default()
            },
        )
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        ENDED.notify_one();
    }
}

/// What tests set of the configuration.
pub struct Settings<'a> {
    /// With RCS, or standalone.
    pub cloud: bool,
    /// `lss.node.max_tasks`
    pub max_tasks: usize,
    /// Under `lss.ffmpeg`.
    pub ffmpeg: &'a [(&'a str, &'a str)],
    /// `camera.allow_loopback`
    pub camera_loopback: bool,
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Self {
            cloud: true,
            max_tasks: 30,
            ffmpeg: &[],
            camera_loopback: false,
        }
    }
}

/// A running daemon.
pub struct Lss {
    process: Part,
    dir: PathBuf,
    port: u16,
    id: String,
    rcs: Option<Rcs>,
    /// Every REST answer, for the search after secrets.
    answers: Mutex<String>,
    finished: bool,
}

impl Lss {
    /// Starts it and waits until its API answers.
    pub fn start(lab: &Lab, settings: &Settings<'_>) -> Self {
        let port = lab::free_port();
        // Unique on this machine while it runs, so it also marks this daemon's children.
        let id = format!("{CANARY}{:x}x{port}", std::process::id());
        let rcs = settings.cloud.then(Rcs::start);
        if let Some(rcs) = &rcs {
            rcs.set_token(Some("cAnaryRcsToken"));
        }
        let config = config(lab, port, rcs.as_ref(), settings);
        let path = lab.dir().join("lss.yaml");
        lab::write_private(&path, &config);
        let process = launch(lab.dir(), settings.cloud);
        let mut lss = Self {
            process,
            dir: lab.dir().to_owned(),
            port,
            id,
            rcs,
            answers: Mutex::default(),
            finished: false,
        };
        lss.await_up();
        lss
    }

    fn await_up(&mut self) {
        until("the API answers", SOON, || {
            let ended = self.process.ended().map(lab::ending);
            assert_eq!(ended, None, "lss ended:\n{}", self.process.output());
            (self.rest("GET", "/livez", None).status == 200).then_some(())
        });
    }

    /// The same daemon again, after it ended or was killed.
    pub fn restart(&mut self) {
        self.process.kill();
        self.process = launch(&self.dir, self.rcs.is_some());
        self.await_up();
    }

    /// SIGKILL: no chance to tidy up.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// A WHIP key that belongs to this daemon alone.
    pub fn key(&self, name: &str) -> String {
        format!("{}-{name}", self.id)
    }

    /// One REST call with the token.
    pub fn rest(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let token = format!("Bearer {CANARY}ApiToken");
        let answer = http(method, &url, &[("authorization", &token)], body);
        let mut answers = self.answers.lock().expect("answers");
        let _ = writeln!(answers, "{method} {path} {} {}", answer.status, answer.text);
        answer
    }

    /// `POST /api/stream/start`, which must be accepted.
    pub fn start_stream(&self, body: &Value) {
        let answer = self.rest("POST", "/api/stream/start", Some(body));
        assert_eq!(
            (answer.status, &answer.json["code"]),
            (200, &json!(0)),
            "{}",
            answer.text
        );
        assert_eq!(answer.json["data"]["status"], "STARTING", "{}", answer.text);
    }

    /// `POST /api/stream/stop`.
    pub fn stop_stream(&self, task: &str, force: bool) -> Answer {
        let body = json!({ "taskId": task, "force": force });
        self.rest("POST", "/api/stream/stop", Some(&body))
    }

    /// The task as REST shows it.
    pub fn task(&self, task: &str) -> Value {
        let answer = self.rest("GET", &format!("/api/stream/task/{task}"), None);
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json["data"].clone()
    }

    /// Waits until the task's status is one of `wanted`.
    pub fn await_status(&self, task: &str, wanted: &[&str]) -> Value {
        let mut last = Value::Null;
        poll(SOON, || {
            last = self.task(task);
            let status = last["status"].as_str().unwrap_or("");
            wanted.contains(&status).then(|| last.clone())
        })
        .unwrap_or_else(|| {
            panic!(
                "{task} did not become {wanted:?}: {last:#}\n{}",
                self.log(task)
            )
        })
    }

    /// Waits for STREAMING.
    pub fn await_streaming(&self, task: &str) -> Value {
        let seen = self.await_status(task, &["STREAMING", "ERROR", "STOPPED"]);
        assert_eq!(seen["status"], "STREAMING", "{seen:#}\n{}", self.log(task));
        seen
    }

    /// The lines of the last run.
    pub fn log(&self, task: &str) -> String {
        let answer = self.rest("GET", &format!("/api/stream/task/{task}/log"), None);
        let lines = answer.json["data"]["lines"].as_array().cloned();
        let lines: Vec<String> = lines
            .unwrap_or_default()
            .iter()
            .filter_map(|l| l.as_str().map(str::to_owned))
            .collect();
        lines.join("\n")
    }

    /// A task's callbacks so far, oldest first.
    pub fn callbacks(&self, task: &str) -> Vec<Value> {
        let rcs = self.rcs.as_ref().expect("started with a cloud");
        let mut bodies: Vec<Value> = rcs.at(Door::Callback).into_iter().map(|r| r.body).collect();
        bodies.retain(|b| b["taskId"] == task);
        bodies
    }

    /// Their `callbackType/status`, after the first, which says STARTING.
    pub fn story(&self, task: &str) -> Vec<String> {
        let text = |v: &Value| v.as_str().unwrap_or("?").to_owned();
        let callbacks = self.callbacks(task);
        let mut story = callbacks
            .iter()
            .map(|c| format!("{}/{}", text(&c["callbackType"]), text(&c["status"])))
            .peekable();
        let starting = "STATUS_UPDATE/STARTING";
        assert_eq!(story.next().as_deref(), Some(starting));
        // Once more where the source was asked first.
        story.next_if(|told| told == starting);
        story.collect()
    }

    /// Waits for a task's callback of that type.
    pub fn await_callback(&self, task: &str, kind: &str) -> Value {
        let find = || {
            let callbacks = self.callbacks(task);
            callbacks.into_iter().find(|c| c["callbackType"] == kind)
        };
        poll(SOON, find)
            .unwrap_or_else(|| panic!("no {kind} callback of {task}: {:?}", self.story(task)))
    }

    /// Its log so far.
    pub fn said(&self) -> String {
        self.process.output()
    }

    /// The FFmpeg processes that send to a key of ours.
    pub fn children(&self) -> Vec<u32> {
        processes_with(&self.id)
    }

    /// Waits until none of them is left.
    pub fn await_no_child(&self) {
        let mut left = Vec::new();
        poll(SOON, || {
            left = self.children();
            left.is_empty().then_some(())
        })
        .unwrap_or_else(|| panic!("processes left behind: {left:?}"));
    }

    /// SIGTERM; the daemon must end with 0 and leave no child.
    pub fn terminate(&mut self) {
        self.process.signal(Signal::SIGTERM);
        let status = self.process.wait(SOON).expect("ends after SIGTERM");
        assert_eq!(lab::ending(status), "exit 0", "{}", self.process.output());
        assert_eq!(self.children(), Vec::<u32>::new(), "left behind");
    }

    /// Reads all that can be read, ends the daemon, and looks for secrets in all that it said.
    pub fn finish(mut self) {
        if self.process.ended().is_none() {
            self.read_everything();
            self.terminate();
        }
        self.assert_no_secret();
        self.finished = true;
    }

    fn read_everything(&self) {
        for path in [
            "/api/stream/health",
            "/api/stream/node",
            "/api/stream/tasks/active",
            "/readyz",
            "/metrics",
        ] {
            self.rest("GET", path, None);
        }
        let tasks = self.rest("GET", "/api/stream/tasks", None).json["data"].clone();
        for task in tasks.as_array().cloned().unwrap_or_default() {
            let id = task["taskId"].as_str().unwrap_or_default().to_owned();
            for run in 0..4 {
                self.rest("GET", &format!("/api/stream/task/{id}/log?run={run}"), None);
            }
        }
    }

    fn assert_no_secret(&self) {
        let mut said = vec![
            (
                "REST".to_owned(),
                self.answers.lock().expect("answers").clone(),
            ),
            ("the log".to_owned(), self.process.output()),
        ];
        if let Some(rcs) = &self.rcs {
            for request in rcs.requests() {
                let mut body = request.body;
                // The one place where a whole playback URL belongs.
                body["hlsPlaybackUrl"] = Value::Null;
                said.push((format!("{:?}", request.door), body.to_string()));
            }
        }
        for (place, text) in said {
            if let Some(line) = text.lines().find(|l| l.contains(CANARY)) {
                panic!("a secret in {place}: {line}");
            }
        }
    }
}

impl Drop for Lss {
    fn drop(&mut self) {
        if !self.finished {
            let text = self.process.output();
            // Not the polling of the test itself.
            let own = |line: &&str| !line.contains("REST request answered method=GET");
            let lines: Vec<&str> = text.lines().filter(own).collect();
            eprintln!("--- lss said:\n{}", lines.join("\n"));
        }
    }
}

fn launch(dir: &Path, cloud: bool) -> Part {
    let config = dir.join("lss.yaml");
    let mut env = vec![("LSS_LOG", "debug"), ("LSS_API_TOKEN", "cAnaryApiToken")];
    if cloud {
        env.push(("ABLY_API_KEY", "appid.keyid:cAnaryAblyKey"));
    }
    let program = Path::new(env!("CARGO_BIN_EXE_lss"));
    Part::start(
        dir,
        "lss",
        program,
        &["run", "--config", config.to_str().expect("path")],
        &env,
    )
}

fn config(lab: &Lab, port: u16, rcs: Option<&Rcs>, settings: &Settings<'_>) -> String {
    let mut ffmpeg = BTreeMap::from([
        ("path", lab.tools.ffmpeg.display().to_string()),
        ("file_root", lab.tools.clips.display().to_string()),
        // A busy machine may be slow to start; tests of this limit set their own.
        ("start_timeout", "45s".to_owned()),
        // What sends instead of it has tests of its own.
        ("engine", "ffmpeg".to_owned()),
    ]);
    ffmpeg.extend(settings.ffmpeg.iter().map(|&(k, v)| (k, v.to_owned())));
    let mut text = format!(
        "server: {{ listen: 127.0.0.1, port: {port} }}\n\
         camera: {{ scan_enabled: false, allow_loopback: {} }}\n\
         lss:\n  node: {{ name: e2e, machine_id: e2e-{port}, ip: 127.0.0.1, max_tasks: {} }}\n  ffmpeg:\n",
        settings.camera_loopback, settings.max_tasks
    );
    for (key, value) in ffmpeg {
        let _ = writeln!(text, "    {key}: {value}");
    }
    match rcs {
        None => text.push_str("mode: standalone\n"),
        Some(rcs) => {
            // Nobody listens there: the cloud's command line is not what is tested here.
            let dead = lab::free_port();
            let _ = write!(
                text,
                "mode: cloud\nrcs: {{ base_url: '{}', token: cAnaryRcsToken }}\n\
                 ably: {{ endpoint: 127.0.0.1, port: {dead}, tls: false, connectivity_check_url: 'http://127.0.0.1:{dead}/' }}\n",
                rcs.base_url()
            );
        }
    }
    text
}

/// A START of an RTSP source.
pub fn rtsp(task: &str, source: &str, whip: &str) -> Value {
    json!({
        "taskId": task, "cameraId": format!("cam-{task}"), "inputType": "RTSP",
        "sourceUrl": source, "whipUrl": whip,
    })
}

/// `base` with `extra`'s fields.
pub fn with(mut base: Value, extra: Value) -> Value {
    if let (Value::Object(base), Value::Object(extra)) = (&mut base, extra) {
        base.extend(extra);
    }
    base
}

/// The environment of a living process, as text.
pub fn environment_of(pid: u32) -> String {
    let file = fs::File::open(format!("/proc/{pid}/environ")).expect("environment");
    BufReader::new(file)
        .split(0)
        .map_while(Result::ok)
        .map(|v| String::from_utf8_lossy(&v).into_owned())
        .collect::<Vec<_>>()
        .join("\n")
}
