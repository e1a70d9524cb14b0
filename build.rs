//! Hands the target triple and the commit to `lss version`.
use std::process::Command;

fn main() {
    let target = std::env::var("TARGET").unwrap_or_default();
    // A source archive has no git: the packager may say the commit instead.
    let commit = std::env::var("LSS_COMMIT").ok().or_else(|| {
        let out = Command::new("git")
            .args(["rev-parse", "--short=12", "HEAD"])
            .output()
            .ok()?;
        out.status
            .success()
            .then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
    });
    println!("cargo:rustc-env=LSS_TARGET={target}");
    println!(
        "cargo:rustc-env=LSS_COMMIT={}",
        commit.unwrap_or_else(|| "unknown".into())
    );
    println!("cargo:rerun-if-env-changed=LSS_COMMIT");
    println!("cargo:rerun-if-changed=.git/HEAD");
}
