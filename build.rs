//! Hands the target triple and the commit to `lss version`.
use std::process::Command;

fn main() {
    let target = std::env::var("TARGET").unwrap_or_default();
    println!("cargo:rustc-env=LSS_TARGET={target}");
    println!("cargo:rerun-if-env-changed=LSS_COMMIT");
    println!(
        "cargo:rustc-env=LSS_COMMIT={}",
        commit().unwrap_or_else(|| "unknown".into())
    );
}

fn commit() -> Option<String> {
    // A source archive has no git: the packager may say the commit instead.
    if let Ok(commit) = std::env::var("LSS_COMMIT") {
        return Some(commit);
    }
    // Not named where the commit is given: a file that is not there would mean a new build each time.
    println!("cargo:rerun-if-changed=.git/HEAD");
    let out = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output()
        .ok()?;
    out.status
        .success()
        .then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
}
