//! Two network namespaces with a wire between them: ours, and a far side. Nothing that is sent
//! leaves them, and they vanish with their processes.
//!
//! A test calls [`enter`]; it starts itself again in a namespace of its own, where [`Wire::lay`]
//! makes the far side.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Set in the process that is inside.
const INSIDE: &str = "LSS_TEST_INSIDE";

/// One at a time: namespaces share the kernel's limits on neighbours.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// `true` inside of a namespace of its own. Outside, runs the test `name` there, and fails as it
/// fails; where that is not possible it is counted as skipped, with the reason.
pub fn enter(name: &str) -> bool {
    if is_inside() {
        return true;
    }
    if let Err(why) = possible() {
        skip(name, &why);
        return false;
    }
    let _alone = ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    // Its summary is not shown where all went well: it would be counted as another's.
    let arguments = ["--exact", name, "--test-threads", "1", "--nocapture"];
    let there = inside(&arguments).output().unwrap();
    let said = String::from_utf8_lossy(&there.stdout);
    assert!(there.status.success(), "{name}, in its namespace: {said}");
    false
}

/// Whether this process is inside.
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// This program again, in a namespace of its own.
pub fn inside(arguments: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(arguments)
        .env(INSIDE, "1")
        .stderr(Stdio::inherit());
    command
}

/// Whether this machine lets us.
pub fn possible() -> Result<(), String> {
    for (tool, arguments) in [
        (
            "unshare",
            vec!["--net", "--", "ip", "link", "set", "lo", "up"],
        ),
        ("nsenter", vec!["--version"]),
    ] {
        let done = Command::new(tool)
            .args(arguments)
            .output()
            .map_err(|e| format!("no {tool}: {e}"))?;
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr);
            return Err(format!("no network namespaces: {}", said.trim()));
        }
    }
    Ok(())
}

/// Said loudly and counted; with `LSS_E2E_REQUIRE=1` a failure.
pub fn skip(name: &str, why: &str) {
    let line = format!("SKIPPED discovery_netns {name}: {why}");
    let required = std::env::var_os("LSS_E2E_REQUIRE").is_some_and(|v| v == "1");
    assert!(!required, "{line}");
    let counted = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/e2e/skipped");
    for path in [Path::new("/dev/stderr"), &counted] {
        if let Ok(mut file) = std::fs::OpenOptions::new().append(true).open(path) {
            let _ = writeln!(file, "{line}");
        }
    }
}

/// Ended when dropped.
pub struct Part(pub Child);

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The far side of a wire.
pub struct Wire {
    /// Holds the namespace.
    holder: Part,
    /// Of the far end.
    pub mac: String,
}

impl Wire {
    /// `near` and `far` = addresses with prefixes.
    pub fn lay(near: &str, far: &[&str]) -> Self {
        let holder = Command::new("unshare")
            .args(["--net", "--", "sleep", "600"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let wire = Self {
            mac: "02:00:00:00:77:02".to_owned(),
            holder: Part(holder),
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        let theirs = format!("/proc/{}/ns/net", wire.pid());
        while std::fs::read_link(&theirs).unwrap() == own {
            assert!(Instant::now() < deadline, "no second namespace");
            std::thread::sleep(Duration::from_millis(5));
        }
        let pid = wire.pid();
        ip("link set lo up");
        ip(&format!(
            "link add near0 type veth peer name far0 address {} netns {pid}",
            wire.mac
        ));
        ip(&format!("address add {near} dev near0"));
        wire.far(&["ip", "link", "set", "lo", "up"]);
        for address in far {
            wire.far(&["ip", "address", "add", address, "dev", "far0"]);
        }
        wire.far(&["ip", "link", "set", "far0", "up"]);
        ip("link set near0 up");
        wire
    }

    fn pid(&self) -> String {
        self.holder.0.id().to_string()
    }

    /// Runs something on the far side, to its end.
    pub fn far(&self, command: &[&str]) {
        let done = self.on_far_side(command).output().unwrap();
        assert!(done.status.success(), "{command:?}: {done:?}");
    }

    /// To be run on the far side.
    pub fn on_far_side(&self, command: &[impl AsRef<OsStr>]) -> Command {
        let mut all = Command::new("nsenter");
        all.args(["--target", &self.pid(), "--net", "--"])
            .args(command)
            .stdin(Stdio::null());
        all
    }

    /// Addresses whose neighbour is fixed as the far end, which has none of them: everything sent
    /// to them is lost in silence.
    pub fn silent_neighbours(&self, addresses: impl Iterator<Item = std::net::Ipv4Addr>) {
        let mut batch = Command::new("ip")
            .args(["-batch", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = batch.stdin.take().unwrap();
        for address in addresses {
            let mac = &self.mac;
            writeln!(
                lines,
                "neighbour replace {address} lladdr {mac} nud permanent dev near0"
            )
            .unwrap();
        }
        drop(lines);
        assert!(batch.wait().unwrap().success());
    }
}

/// Starts something, and waits until it says `ready`; its further lines come
/// from the reader.
pub fn start(mut command: Command) -> (Part, impl std::io::BufRead + use<>) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let part = Part(child);
    let mut line = String::new();
    while !line.ends_with("ready\n") {
        line.clear();
        assert!(
            lines.read_line(&mut line).unwrap() > 0,
            "it ended before it was ready"
        );
    }
    (part, lines)
}

/// `ip`, on our side.
pub fn ip(arguments: &str) {
    let done = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .unwrap();
    assert!(done.status.success(), "ip {arguments}: {done:?}");
}
