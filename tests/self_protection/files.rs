//! A running daemon writes no file but its lock, which stays empty and goes with it: every system
//! call that could, of it and of its children, is looked at. Where strace can't be had the test says SKIPPED; that lss can do without is shown by
//! `read_only` as well.

use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use super::*;
use support::digest_server::GateRules;
use support::isapi_camera::{self, Model};

/// What could create, change or remove a file; `bind` makes a socket's.
const CALLS: &str = "open,openat,openat2,creat,mkdir,mkdirat,mknod,mknodat,rename,renameat,renameat2,\
link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir,truncate,ftruncate,fallocate,chmod,fchmod,\
fchmodat,chown,fchown,lchown,fchownat,utimensat,setxattr,fsetxattr,bind";

fn traced(into: &Path) -> Vec<String> {
    // Detached: the traced process keeps its pid and its parent.
    let trace = format!("trace={CALLS}");
    let words = ["strace", "-D", "-f", "-q", "-s", "4096", "-e", &trace, "-o"];
    let into = into.to_str().unwrap();
    words.into_iter().chain([into]).map(str::to_owned).collect()
}

fn possible(test: &str, dir: &Path) -> bool {
    let words = traced(&dir.join("try"));
    let ran = Command::new(&words[0])
        .args(&words[1..])
        .arg("/bin/true")
        .status();
    // lss is closed to tracers of its own user.
    let root = nix::unistd::Uid::effective().is_root();
    let possible = root && ran.as_ref().is_ok_and(std::process::ExitStatus::success);
    if !possible {
        eprintln!("SKIPPED {test}: no strace here, or not root ({ran:?})");
    }
    possible
}

/// Whether a line of the trace changes a file, or tries to, but for those that are declared: the
/// private socket, in a directory of its own, gone at once; the node's lock, in a directory of this
/// user; what a child counts for where memory runs out.
fn writes(line: &str, runtime: &Path) -> bool {
    let call = line.split_once(' ').map_or(line, |(_, call)| call).trim();
    let name = call.split('(').next().unwrap();
    let path = call.split('"').nth(1).unwrap_or_default();
    match name {
        "open" | "openat" | "openat2" => {
            let harmless = path == "/dev/null" || path == "/dev/tty";
            let flags = [
                "O_WRONLY",
                "O_RDWR",
                "O_CREAT",
                "O_TRUNC",
                "O_APPEND",
                "O_TMPFILE",
            ];
            let declared = is_lock(path) || is_oom_score(path);
            !harmless && !declared && flags.iter().any(|flag| call.contains(flag))
        }
        // Addresses of the network, and names that are in no directory.
        "bind" if !call.contains("AF_UNIX") || call.contains("sun_path=@") => false,
        _ if call.starts_with("+++") || call.starts_with("---") || call.starts_with("<...") => {
            false
        }
        "mkdir" | "rmdir" if is_lock_dir(path) => false,
        "unlinkat" => !is_lock(path),
        "mkdir" | "bind" | "unlink" | "rmdir" => {
            let ours = format!("{}/lss-", runtime.display());
            !path.starts_with(&ours)
        }
        _ => true,
    }
}

/// `…/lss-UID`, in which the lock is.
fn is_lock_dir(path: &str) -> bool {
    let own = format!("/lss-{}", nix::unistd::Uid::effective());
    path.ends_with(&own)
}

/// Named within that directory, which is open.
fn is_lock(path: &str) -> bool {
    let node = path.strip_suffix(".lock");
    node.is_some_and(|node| node.starts_with("lss-") && !node.contains('/'))
}

/// `/proc/PID/oom_score_adj`
fn is_oom_score(path: &str) -> bool {
    path.starts_with("/proc/") && path.ends_with("/oom_score_adj")
}

#[test]
fn what_counts_as_writing() {
    let at = Path::new("/run/x");
    for (line, is) in [
        (
            r#"7 openat(AT_FDCWD, "/tmp/a", O_WRONLY|O_CREAT|O_CLOEXEC, 0666) = 3"#,
            true,
        ),
        (
            r#"7 openat(AT_FDCWD, "/tmp/a", O_RDWR <unfinished ...>"#,
            true,
        ),
        (r#"7 rename("/tmp/a", "/tmp/b") = 0"#, true),
        (r#"7 mkdir("/tmp/lss-x", 0700) = 0"#, true),
        (
            r#"7 bind(3, {sa_family=AF_UNIX, sun_path="/tmp/s"}, 16) = 0"#,
            true,
        ),
        (r#"7 mkdir("/run/x/lss-0123456789abcdef", 0700) = 0"#, false),
        (
            r#"7 openat(AT_FDCWD, "/proc/self/stat", O_RDONLY|O_CLOEXEC) = 3"#,
            false,
        ),
        (
            r#"7 bind(3, {sa_family=AF_UNIX, sun_path=@"x"}, 16) = 0"#,
            false,
        ),
        (
            r#"7 openat(5, "lss-a.lock", O_RDWR|O_CREAT|O_NOFOLLOW|O_CLOEXEC, 0600) = 6"#,
            false,
        ),
        (r#"7 unlinkat(5, "lss-a.lock", 0) = 0"#, false),
        (r#"7 unlinkat(5, "other", 0) = 0"#, true),
        (
            r#"7 openat(AT_FDCWD, "/tmp/lss-a.lock", O_RDWR|O_CREAT, 0600) = 6"#,
            true,
        ),
        (
            "7 bind(3, {sa_family=AF_INET, sin_port=htons(0)}, 16) = 0",
            false,
        ),
        ("7 <... openat resumed>) = 3", false),
        ("7 +++ exited with 0 +++", false),
    ] {
        assert_eq!(writes(line, at), is, "{line}");
    }
}

#[test]
fn a_running_daemon_writes_no_file() {
    let dir = tempfile::tempdir().unwrap();
    if !possible("a_running_daemon_writes_no_file", dir.path()) {
        return;
    }
    let trace = dir.path().join("trace");
    let runtime = dir.path().join("runtime");
    std::fs::create_dir(&runtime).unwrap();
    let mut jpeg = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(64, 48)
        .write_to(&mut jpeg, image::ImageFormat::Jpeg)
        .unwrap();
    let model = Model {
        picture: jpeg.into_inner(),
        ..Model::default()
    };
    let camera = isapi_camera::start(GateRules::default(), model);
    let runtime_text = runtime.to_str().unwrap().to_owned();
    let mut site = Site::with(Setup {
        within: traced(&trace),
        env: vec![("RUNTIME_DIRECTORY".into(), runtime_text)],
        ..Setup::default()
    });
    let rules = GateRules::default();
    let mut dome = json!({
        "cameraId": "dome", "ip": camera.addr.ip().to_string(), "port": camera.addr.port(),
        "username": rules.user, "password": rules.password, "vendorType": "HIKVISION",
    });
    for (n, mode) in ["ok", "flood", "refused", "only-kill"]
        .into_iter()
        .enumerate()
    {
        assert_eq!(site.daemon.start_task(&format!("t{n}"), mode).0, 200);
    }
    site.daemon.wait_status("t0", "STREAMING");
    dome["action"] = json!("PAN_LEFT");
    for (command, action) in [
        ("PTZ_CONTROL", "PAN_LEFT"),
        ("PTZ_STOP", "STOP"),
        ("CAMERA_SNAPSHOT", ""),
        ("QUERY_STATUS", ""),
    ] {
        dome["action"] = json!(action);
        dome["requestId"] = json!(command);
        site.send(command, dome.clone());
        let result = site.result_of(command);
        assert_eq!(result["success"], true, "{result}");
    }
    let scan = json!({ "subnet": "127.66.1.0/30" });
    let (status, answer) = site
        .daemon
        .request("POST", "/api/cameras/scan", Some(&scan));
    assert_eq!(status, 200, "{answer}");
    let (status, _) = site.daemon.request("GET", "/readyz", None);
    assert!(status == 200 || status == 503);
    site.daemon.signal(Signal::SIGHUP);
    wait_for("the reload", SOON, || {
        site.daemon.log().contains("reload").then_some(())
    });
    site.daemon.stop_task("t1", true);
    let pid = site.daemon.pid();
    assert!(site.daemon.stop().success());

    let end = format!("{pid} +++ exited with 0 +++");
    let text = wait_for("the end of the trace", SOON, || {
        let text = std::fs::read_to_string(&trace).ok()?;
        let over = text
            .lines()
            .any(|line| line.split_whitespace().eq(end.split_whitespace()));
        over.then_some(text)
    });
    // It was looked at: the configuration was read, the socket made.
    assert!(
        text.contains("lss.yaml") && text.contains("/lss-"),
        "{text}"
    );
    let written: Vec<&str> = text.lines().filter(|line| writes(line, &runtime)).collect();
    assert!(written.is_empty(), "{}", written.join("\n"));
    assert_eq!(std::fs::read_dir(&runtime).unwrap().count(), 0);
}
