//! What a child finds itself in.

use std::io::Read;

use super::*;

fn said(script: &str) -> String {
    let launcher = Launcher::new(Marker::of_this_process("lss-test"));
    let mut child = launcher
        .spawn(OsStr::new("/bin/sh"), ["-c", script])
        .unwrap();
    let mut text = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    child.wait().unwrap();
    text
}

#[test]
fn a_child_is_marked_bound_and_alone() {
    let text = said(
        "pwd; ulimit -c; ulimit -d; ulimit -n; \
         echo $LSS_CHILD_OF_NODE ${LSS_CHILD_OF_PROCESS%:*} ${CARGO_MANIFEST_DIR:-none}; \
         grep -E 'NoNewPrivs|SigBlk' /proc/self/status | tr -d '\\t'; \
         until [ $(cat /proc/self/oom_score_adj) -ge 500 ]; do :; done; cat /proc/self/oom_score_adj; \
         cut -d' ' -f5 /proc/self/stat | grep -x $$ >/dev/null && echo leads",
    );
    let pid = std::process::id();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "/",
            "0",
            &(memory(machine_memory(), processors()) / 1024).to_string(),
            "1024",
            &format!("lss-test {pid} none"),
            "SigBlk:0000000000000000",
            "NoNewPrivs:1",
            "500",
            "leads",
        ]
    );
}

/// Whoever starts lss may leave it descriptors; they end with lss, not with its children.
#[test]
fn what_lss_was_started_with_ends_there() {
    let (read, write) = std::io::pipe().unwrap();
    nix::fcntl::fcntl(
        &write,
        nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()),
    )
    .unwrap();
    let launcher = Launcher::new(Marker::of_this_process("lss-test"));
    let mut child = launcher.spawn(OsStr::new("/bin/sleep"), ["600"]).unwrap();
    drop(write);
    // The end of the pipe: nobody holds the other one.
    assert_eq!((&read).read(&mut [0]).unwrap(), 0);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn it_dies_with_the_thread_that_started_it() {
    let launcher = Launcher::new(Marker::of_this_process("lss-test"));
    let mut child =
        std::thread::spawn(move || launcher.spawn(OsStr::new("/bin/sleep"), ["600"]).unwrap())
            .join()
            .unwrap();
    let status = child.wait().unwrap();
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    assert_eq!(signal, Some(Signal::SIGKILL as i32));
}

#[test]
fn a_program_named_relatively_is_meant_from_here() {
    assert_eq!(
        from_here(OsStr::new("ffmpeg")).unwrap(),
        PathBuf::from("ffmpeg")
    );
    assert_eq!(
        from_here(OsStr::new("/x/ffmpeg")).unwrap(),
        PathBuf::from("/x/ffmpeg")
    );
    let here = std::env::current_dir().unwrap();
    assert_eq!(
        from_here(OsStr::new("bin/ffmpeg")).unwrap(),
        here.join("bin/ffmpeg")
    );
}

#[test]
fn memory_by_machine() {
    const GIB: u64 = 1 << 30;
    assert_eq!(memory(Some(64 * GIB), 16), 5 * GIB);
    assert_eq!(memory(Some(4 * GIB), 4), 3 * GIB);
    assert_eq!(memory(Some(GIB), 4), GIB);
    assert_eq!(memory(Some(GIB / 2), 1), GIB);
    assert_eq!(memory(None, 2), 4 * GIB + (128 << 20));
    assert!(machine_memory().unwrap() > GIB / 8);
}
