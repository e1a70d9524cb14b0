//! lss where nothing can be written: every file system is read-only, in a mount namespace of its
//! own. Where the machine allows no such namespace the tests say SKIPPED.

use std::process::Command;

use super::*;

/// Makes the file systems below `/` read-only but for those mentioned, then becomes lss.
fn read_only(but: &[&str]) -> Vec<String> {
    let each = |make: &dyn Fn(&str) -> String| -> String {
        let made: Vec<String> = but.iter().map(|place| make(place)).collect();
        made.concat()
    };
    let mounts = each(&|place| format!("mount -t tmpfs none {place}\n"));
    let spared = each(&|place| format!("|{place}"));
    // Deepest first; what can't be (a mount that is hidden by another) has nobody who sees it.
    let script = format!(
        "set -e\nmount --make-rprivate /\n{mounts}\
         for at in $(cut -d' ' -f5 /proc/self/mountinfo | sort -r); do\n\
         case $at in none{spared}) ;; *) mount -o remount,bind,ro $at 2>/dev/null || true ;; esac\n\
         done\n\
         for at in /tmp /run /dev/shm; do\n\
         case $at in none{spared}) ;; *) ! touch $at/lss-$$ 2>/dev/null || exit 99 ;; esac\n\
         done\n\
         exec \"$0\" \"$@\""
    );
    ["unshare", "--mount", "/bin/sh", "-c"]
        .map(str::to_owned)
        .into_iter()
        .chain([script])
        .collect()
}

/// Whether such a namespace can be had; says so where not.
fn possible(test: &str) -> bool {
    let words = read_only(&[]);
    let made = Command::new(&words[0])
        .args(&words[1..])
        .args(["/bin/true"])
        .status();
    let possible = made.as_ref().is_ok_and(std::process::ExitStatus::success);
    if !possible {
        eprintln!("SKIPPED {test}: no read-only mount namespace here ({made:?})");
    }
    possible
}

#[test]
fn without_any_place_to_write_it_says_what_is_missing() {
    if !possible("without_any_place_to_write_it_says_what_is_missing") {
        return;
    }
    let mut daemon = Daemon::spawn(&Setup {
        within: read_only(&[]),
        ..Setup::default()
    });
    assert_eq!(daemon.wait_exit(SOON).code(), Some(1));
    let log = daemon.log();
    for part in [
        "no directory takes its lock",
        "/run/lss-0: Read-only file system",
        "/dev/shm/lss-0: ",
        "/tmp/lss-0: ",
        "RuntimeDirectory=",
    ] {
        assert!(log.contains(part), "{part} is not in:\n{log}");
    }
    assert!(!log.contains("another program"), "{log}");
}

/// Any one of the places is enough; nothing is in it but the empty lock, and nothing afterwards.
#[test]
fn one_place_to_write_is_enough() {
    if !possible("one_place_to_write_is_enough") {
        return;
    }
    for place in ["/run", "/dev/shm"] {
        let mut daemon = Daemon::start(&Setup {
            within: read_only(&[place]),
            ..Setup::default()
        });
        assert_eq!(daemon.start_task("t", "ok").0, 200);
        daemon.wait_status("t", "STREAMING");
        let there = format!("/proc/{}/root{place}", daemon.pid());
        // mount(8) has its own file there.
        let ours = || -> Vec<String> {
            let entries = std::fs::read_dir(&there).unwrap();
            let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
            names.filter(|name| name.contains("lss")).collect()
        };
        assert_eq!(ours(), ["lss-0"]);
        let lock = format!("{there}/lss-0/{}.lock", daemon.node_id);
        assert_eq!(std::fs::metadata(lock).unwrap().len(), 0);
        assert!(daemon.stop().success());
    }
}

#[test]
fn a_port_that_is_taken_is_called_that() {
    let first = Daemon::start(&Setup::default());
    let mut second = Daemon::spawn_on(&Setup::default(), first.addr.port());
    assert_eq!(second.wait_exit(SOON).code(), Some(1));
    let log = second.log();
    let words = format!("can't listen on {}: Address already in use", first.addr);
    assert!(
        log.contains(&words) && log.contains("another program"),
        "{log}"
    );
}
