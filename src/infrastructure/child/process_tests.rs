//! Children of /bin/sh.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};

use super::*;
use crate::domain::engine::{EngineKind, MAX_JOB, SourceFile, Stdin};
use crate::domain::stream::{TaskMode, TaskSender};
use nix::sys::signal::{SigSet, SigmaskHow};

use crate::infrastructure::child::marker::Marker;

/// Says what it saw.
struct Echo {
    asked: bool,
}

impl OutputJudge for Echo {
    fn stdout(&mut self, bytes: &[u8], tell: &mut dyn FnMut(RunSignal)) {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let why = text.trim_end().to_owned();
        tell(RunSignal::HandOver(Box::new(HandOver { facts: None, why })));
    }
    fn line(&mut self, line: &str) -> Option<RunSignal> {
        assert!(line != "bug", "a bug of ours");
        (line == "up").then_some(RunSignal::SessionUp(None))
    }
    fn asked_to_end(&mut self) {
        self.asked = true;
    }
    fn verdict(&self, code: Option<i32>, signal: Option<i32>, asked: bool) -> Option<Diagnosis> {
        (!asked).then(|| Diagnosis {
            cause: Cause::EngineCrash,
            detail: format!("{code:?} {signal:?}"),
        })
    }
    fn session_left(&self) -> Option<Secret> {
        Some(Secret::new("http://127.0.0.1/session"))
    }
    fn busy(&self) -> Option<Secret> {
        Some(Secret::new("http://127.0.0.1/busy"))
    }
}

struct Bench {
    children: Children,
    events: Receiver<RunEvent>,
    released: Receiver<String>,
}

fn bench() -> Bench {
    let (tx, events) = bounded(64);
    let (release, released) = bounded(64);
    let launcher = Launcher::new(Marker::of_this_process("lss-test"));
    let tools = Tools {
        judge: Arc::new(|_| Box::new(Echo { asked: false })),
        release: Arc::new(move |url, _| {
            let _ = release.try_send(url.expose().to_owned());
        }),
        retry_after: Arc::new(|url, _| {
            assert_eq!(url.expose(), "http://127.0.0.1/busy");
            Some(Duration::from_secs(7))
        }),
    };
    Bench {
        children: Children::new(tools, launcher, tx),
        events,
        released,
    }
}

fn sh(script: &str) -> Launch {
    Launch {
        engine: EngineKind::Ffmpeg,
        mode: TaskMode::Transcode,
        sender: TaskSender::Ffmpeg,
        mode_reason: String::new(),
        audio: crate::domain::stream::TaskAudio::Encoded,
        argv: ["/bin/sh", "-c", script].map(Secret::new).to_vec(),
        stdin: Stdin::Empty,
        ends_by_nature: false,
        whip_bearer: None,
        dtls_active: false,
    }
}

#[test]
fn a_file_is_handed_over_open_and_judged_for_each_run() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("media");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("a.mp4"), "inside\n").unwrap();
    std::fs::write(dir.path().join("secret"), "outside\n").unwrap();
    std::os::unix::fs::symlink("a.mp4", root.join("link")).unwrap();
    let launch = Launch {
        stdin: Stdin::File(SourceFile {
            root: root.clone(),
            path: "link".to_owned(),
        }),
        ..sh("cat /proc/self/fd/0 >&2")
    };
    let mut bench = bench();
    let started = bench.children.start(RunId(1), &launch).unwrap();
    bench.exit();
    bench.children.reap(RunId(1));
    assert_eq!(started.log.lines(), ["inside"]);
    std::fs::remove_file(root.join("link")).unwrap();
    std::os::unix::fs::symlink("../secret", root.join("link")).unwrap();
    let Err(refused) = bench.children.start(RunId(2), &launch) else {
        panic!("it was started");
    };
    assert_eq!(refused.cause, Cause::SourceRefused);
}

impl Bench {
    fn next(&self) -> ChildEvent {
        self.events
            .recv_timeout(Duration::from_secs(10))
            .expect("no event")
            .event
    }

    /// The exit, whatever comes before it.
    fn exit(&self) -> ChildExit {
        loop {
            if let ChildEvent::Exited(exit) = self.next() {
                return exit;
            }
        }
    }
}

#[test]
fn output_comes_before_the_exit_and_the_zombie_stays_until_reaped() {
    let mut bench = bench();
    let run = RunId(1);
    let started = bench
        .children
        .start(run, &sh("echo up >&2; echo last words >&2; exit 7"))
        .unwrap();
    assert_eq!(bench.next(), ChildEvent::SessionUp(None));
    let exit = bench.exit();
    assert_eq!((exit.code, exit.signal), (Some(7), None));
    assert_eq!(exit.diagnosis.unwrap().detail, "Some(7) None");
    assert_eq!(exit.retry_after, Some(Duration::from_secs(7)));
    assert_eq!(started.log.lines(), ["up", "last words"]);
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", started.pid)).unwrap();
    assert!(stat.contains(") Z "), "{stat}");
    bench.children.reap(run);
    assert!(!std::path::Path::new(&format!("/proc/{}", started.pid)).exists());
    let url = bench.released.recv_timeout(Duration::from_secs(5)).unwrap();
    assert_eq!(url, "http://127.0.0.1/session");
}

#[test]
fn a_job_is_read_from_standard_input_and_stands_nowhere_else() {
    let mut bench = bench();
    let job = |words: &str, script: &str| Launch {
        stdin: Stdin::Job(Secret::unlisted(words)),
        ..sh(script)
    };
    let look = r#"cat; for f in cmdline environ; do
        echo "$f $(tr '\0' ' ' < /proc/self/$f | grep -c g[e]heim)" >&2; done"#;
    let started = bench
        .children
        .start(RunId(1), &job("a geheim job", look))
        .unwrap();
    let ChildEvent::HandOver(heard) = bench.next() else {
        panic!("nothing on stdout");
    };
    assert_eq!(heard.why, "a geheim job", "whole, and then the end");
    bench.exit();
    bench.children.reap(RunId(1));
    assert_eq!(started.log.lines(), ["cmdline 0", "environ 0"]);
    // One that does not read holds up nobody, whatever it is told.
    let long = "x".repeat(MAX_JOB);
    bench
        .children
        .start(RunId(2), &job(&long, "exit 3"))
        .unwrap();
    assert_eq!(bench.exit().code, Some(3));
    bench.children.reap(RunId(2));
    let Err(refused) = bench.children.start(RunId(3), &job(&(long + "x"), "")) else {
        panic!("it was started");
    };
    assert_eq!(refused.cause, Cause::EngineStart);
}

#[test]
fn what_it_cost_is_told_with_its_end() {
    let mut bench = bench();
    let run = RunId(1);
    let busy = "i=0; while [ $i -lt 300000 ]; do i=$((i + 1)); done";
    bench.children.start(run, &sh(busy)).unwrap();
    let exit = bench.exit();
    assert!(exit.cpu >= Duration::from_millis(20), "{exit:?}");
    bench.children.reap(run);
    let reaped = crate::infrastructure::process::ended_children_cpu().unwrap();
    assert!(reaped >= exit.cpu, "{reaped:?}");
}

#[test]
fn the_whole_group_is_signalled_and_the_mask_is_clear() {
    let mut bench = bench();
    let run = RunId(1);
    // A blocked SIGTERM in this thread must not reach the child.
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGTERM);
    let before = blocked.thread_swap_mask(SigmaskHow::SIG_BLOCK).unwrap();
    bench
        .children
        .start(run, &sh("sleep 600 & echo up >&2; wait"))
        .unwrap();
    before.thread_set_mask().unwrap();
    assert_eq!(bench.next(), ChildEvent::SessionUp(None));
    bench.children.terminate(run);
    let exit = bench.exit();
    assert_eq!(exit.signal, Some(libc::SIGTERM));
    assert_eq!(exit.diagnosis, None, "asked for");
    bench.children.reap(run);
    // Nothing to signal any more, and nobody else is hit.
    bench.children.terminate(run);
    bench.children.kill(run);
}

#[test]
fn what_is_left_in_the_group_is_ended_at_reaping() {
    let mut bench = bench();
    let run = RunId(1);
    let started = bench
        .children
        .start(run, &sh("sleep 600 >/dev/null 2>&1 & echo $! >&2; exit 0"))
        .unwrap();
    bench.exit();
    let grandchild = started.log.lines().remove(0);
    bench.children.reap(run);
    let deadline = Instant::now() + Duration::from_secs(5);
    // Gone, or a zombie that init has not collected yet.
    let gone = || match std::fs::read_to_string(format!("/proc/{grandchild}/stat")) {
        Ok(stat) => stat.contains(") Z "),
        Err(_) => true,
    };
    while !gone() {
        assert!(Instant::now() < deadline, "{grandchild} lives on");
        std::thread::yield_now();
    }
}

#[test]
fn what_has_left_the_group_does_not_outlive_the_child_either() {
    let mut bench = bench();
    let run = RunId(1);
    let other = bench
        .children
        .start(RunId(2), &sh("echo up >&2; exec sleep 600"))
        .unwrap();
    assert_eq!(bench.next(), ChildEvent::SessionUp(None));
    let stray = "setsid sh -c 'echo $$ >&2; echo up >&2; exec sleep 600' & wait";
    let started = bench.children.start(run, &sh(stray)).unwrap();
    assert_eq!(bench.next(), ChildEvent::SessionUp(None));
    let stray = started.log.lines().remove(0);
    bench.children.kill(run);
    bench.exit();
    // Gone, or a zombie that init has not collected yet.
    let state = std::fs::read_to_string(format!("/proc/{stray}/stat")).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
    bench.children.reap(run);
    // Another child is not taken for one of its own.
    let lives = std::fs::read_to_string(format!("/proc/{}/stat", other.pid)).unwrap();
    assert!(!lives.contains(") Z "), "{lives}");
}

#[test]
fn one_that_is_being_ended_and_speaks_is_heard() {
    let mut bench = bench();
    let run = RunId(1);
    let script = "trap 'echo no >&2' TERM; echo up >&2; while :; do sleep 0.05; done";
    bench.children.start(run, &sh(script)).unwrap();
    assert_eq!(bench.next(), ChildEvent::SessionUp(None));
    bench.children.terminate(run);
    assert_eq!(bench.next(), ChildEvent::Spoke);
    bench.children.kill(run);
    let exit = bench.exit();
    assert_eq!(
        exit.retry_after, None,
        "nobody is asked for one that was to end"
    );
}

#[test]
fn a_missing_program_and_one_that_may_not_run() {
    let mut bench = bench();
    for program in ["/nonexistent/ffmpeg", "/dev/null"] {
        let mut launch = sh("");
        launch.argv = vec![Secret::new(program)];
        let Err(diagnosis) = bench.children.start(RunId(1), &launch) else {
            panic!("{program} was started");
        };
        assert_eq!(diagnosis.cause, Cause::EngineMissing);
        assert!(diagnosis.detail.contains(program), "{}", diagnosis.detail);
    }
}

#[test]
fn dropped_children_are_killed() {
    let mut bench = bench();
    let started = bench
        .children
        .start(RunId(1), &sh("trap '' TERM; while :; do sleep 1; done"))
        .unwrap();
    drop(bench.children);
    assert!(!std::path::Path::new(&format!("/proc/{}", started.pid)).exists());
}

#[test]
fn a_watcher_that_panics_ends_its_child_and_tells() {
    let mut bench = bench();
    let run = RunId(1);
    let started = bench
        .children
        .start(run, &sh("echo bug >&2; exec sleep 600"))
        .unwrap();
    let exit = bench.exit();
    assert_eq!(exit.signal, Some(libc::SIGKILL));
    let diagnosis = exit.diagnosis.unwrap();
    assert_eq!(diagnosis.cause, Cause::EngineCrash);
    assert!(diagnosis.detail.contains("lss failed"), "{diagnosis:?}");
    // Its session is not left behind either.
    let soon = Duration::from_secs(10);
    assert!(bench.released.recv_timeout(soon).is_ok());
    bench.children.reap(run);
    assert!(!std::path::Path::new(&format!("/proc/{}", started.pid)).exists());
    // The next one is as good as ever.
    bench.children.start(RunId(2), &sh("exit 3")).unwrap();
    assert_eq!(bench.exit().code, Some(3));
    bench.children.reap(RunId(2));
}
