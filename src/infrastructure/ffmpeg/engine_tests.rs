use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::command::tests::spec;
use super::*;
use crate::domain::carry::Way;
use crate::domain::stream::TaskMode;

const CAMERA: &str = "rtsp://10.0.0.9/x";

/// An engine, and how often it has probed.
pub(in crate::infrastructure) fn engine(
    path: impl Into<PathBuf>,
) -> (FfmpegEngine, Arc<AtomicUsize>) {
    let probes = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&probes);
    let listener = move |_: &ProbeResult| {
        counted.fetch_add(1, Ordering::SeqCst);
    };
    let engine = FfmpegEngine::new(
        FfmpegSettings::new(path),
        Launcher::of_no_node(),
        Box::new(listener),
    );
    (engine, probes)
}

/// What the last look has found to be wrong.
fn problem(engine: &FfmpegEngine) -> Option<String> {
    match &engine.lock().found {
        Found::Known(known) => unusable(&known.found),
        Found::Nothing | Found::Probing => panic!("nobody has looked"),
    }
}

/// The default camera's command line.
fn launch(engine: &FfmpegEngine) -> Result<Launch, Fault> {
    let carried = Carried {
        way: Way::Transcode,
        reason: String::new(),
    };
    engine.usable()?.carry(&spec(CAMERA), &carried, None)
}

/// Puts a program at `path` that answers as an FFmpeg does.
fn install(path: &std::path::Path, muxer: &str) {
    install_with(path, muxer, &["libx264", "libopus"]);
}

/// The same, with these encoders.
pub(in crate::infrastructure) fn install_with(path: &Path, muxer: &str, encoders: &[&str]) {
    let encoders: Vec<String> = encoders
        .iter()
        .map(|name| format!("echo ' V....D {name} x'; "))
        .collect();
    let encoders = encoders.concat();
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in\n-version) echo 'ffmpeg version 9.0.2 Copyright';;\n*whip*) echo '{muxer}';;\n*) {encoders};;\nesac\n"
    );
    let written = Command::new("sh")
        .args([
            "-c",
            r#"printf '%s' "$1" > "$2.new" && chmod 755 "$2.new" && mv "$2.new" "$2""#,
            "-",
        ])
        .arg(script)
        .arg(path)
        .status()
        .unwrap();
    assert!(written.success());
}

#[test]
fn missing_now_and_installed_later_needs_no_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ffmpeg");
    let (engine, probes) = engine(&path);
    let fault = launch(&engine).unwrap_err();
    assert_eq!(fault.code, ErrorCode::FfmpegNotFound);
    for word in ["8.1", "whip", "FFMPEG_PATH", path.to_str().unwrap()] {
        assert!(fault.message.contains(word), "{}", fault.message);
    }
    install(&path, "no such muxer");
    let fault = launch(&engine).unwrap_err();
    assert!(fault.message.contains("no whip muxer"), "{}", fault.message);
    assert!(problem(&engine).unwrap().contains("no whip muxer"));
    install(&path, "Muxer whip [WHIP]:");
    let launch = launch(&engine).unwrap();
    assert_eq!(launch.mode, TaskMode::Transcode);
    assert_eq!(launch.argv[0].expose(), path.to_str().unwrap());
    assert_eq!(problem(&engine), None);
    assert_eq!(probes.load(Ordering::SeqCst), 3);
}

#[test]
fn a_usable_one_is_asked_once_until_it_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ffmpeg");
    install(&path, "Muxer whip [WHIP]:");
    let (engine, probes) = engine(&path);
    for _ in 0..3 {
        launch(&engine).unwrap();
    }
    assert_eq!(probes.load(Ordering::SeqCst), 1);
    install(&path, "Muxer whip [WHIP]:\n  -timeout <duration>");
    let launch = launch(&engine).unwrap();
    assert_eq!(probes.load(Ordering::SeqCst), 2);
    assert!(launch.argv.iter().any(|a| a.expose() == "-timeout"));
}

#[test]
fn one_that_comes_or_goes_is_noticed_without_a_task() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ffmpeg");
    let (engine, probes) = engine(&path);
    engine.look();
    assert!(problem(&engine).unwrap().contains("no program"));
    install(&path, "Muxer whip [WHIP]:");
    engine.refresh();
    assert_eq!(problem(&engine), None);
    assert_eq!(probes.load(Ordering::SeqCst), 2);
    // A stat is all it costs while nothing changes.
    for _ in 0..5 {
        engine.refresh();
    }
    assert_eq!(probes.load(Ordering::SeqCst), 2);
    // Of the same size and age, but another file.
    let times = std::fs::metadata(&path).unwrap().modified().unwrap();
    install(&path, "Muxer whip [WHIP]:");
    let again = std::fs::File::options().append(true).open(&path).unwrap();
    again.set_modified(times).unwrap();
    drop(again);
    engine.refresh();
    assert_eq!(probes.load(Ordering::SeqCst), 3);
    std::fs::remove_file(&path).unwrap();
    engine.refresh();
    assert!(problem(&engine).unwrap().contains("no program"));
    assert_eq!(probes.load(Ordering::SeqCst), 4);
}

#[test]
fn a_bare_name_is_looked_for_along_the_path() {
    let shell = located(std::path::Path::new("sh")).unwrap();
    assert!(shell.is_absolute() && shell.is_file(), "{shell:?}");
    assert_eq!(located(std::path::Path::new("no-such-program-1")), None);
    for named in ["/x/ffmpeg", "bin/ffmpeg", "./ffmpeg"] {
        assert_eq!(located(named.as_ref()), Some(named.into()));
    }
}

#[test]
fn many_tasks_at_once_share_one_probe() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ffmpeg");
    install(&path, "Muxer whip [WHIP]:");
    let (engine, probes) = engine(&path);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| launch(&engine).unwrap());
        }
    });
    assert_eq!(probes.load(Ordering::SeqCst), 1);
}

#[test]
fn one_that_hangs_is_left_alone_for_a_while() {
    let path = PathBuf::from("/nowhere/ffmpeg");
    let known = |found: ProbeResult| Known {
        found: Arc::new(found),
        identity: None,
        at: Instant::now(),
    };
    let silent = known(Err(ProbeError::Silent(path.clone())));
    assert!(silent.holds(None, silent.at + Duration::from_secs(29)));
    assert!(!silent.holds(None, silent.at + Duration::from_secs(31)));
    let missing = known(Err(ProbeError::Missing(path)));
    assert!(!missing.holds(None, missing.at));
}
