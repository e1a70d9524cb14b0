//! The commands that ask a camera without a daemon, and what the node knows of its certificate.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::digest_server::GateRules;
use crate::support::isapi_camera::{self, Model};
use crate::support::tls_camera::TlsCamera;

/// Exit code and standard error of `lss WORD` at this camera, by the configuration in `dir`.
fn lss(dir: &Path, word: &str, camera: &TlsCamera) -> (i32, String) {
    let mut args = vec![word.to_owned(), camera.addr.to_string()];
    args.extend(["--user".to_owned(), GateRules::default().user]);
    if word == "probe" {
        args.extend(["--vendor".to_owned(), "HIKVISION".to_owned()]);
    }
    let output = Command::new(env!("CARGO_BIN_EXE_lss"))
        .args(args)
        .env_clear()
        .env("LSS_CAMERA_PASSWORD", GateRules::default().password)
        .env("LSS_CONFIG", dir.join("lss.yaml"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), said)
}

fn configure(dir: &Path, tls: &str) {
    let state = dir.join("state");
    std::fs::create_dir_all(&state).unwrap();
    let text = format!(
        "lss:\n  node: {{ state_dir: '{}' }}\ncamera: {{ tls: {tls} }}\n",
        state.display()
    );
    std::fs::write(dir.join("lss.yaml"), text).unwrap();
}

fn keep(dir: &Path, camera: &TlsCamera, sha256: &str) {
    let kept = json!({ "version": 1, "certificates": [
        { "at": camera.addr.to_string(), "sha256": sha256, "since": 1_700_000_000, "entrances": [] },
    ] });
    std::fs::write(dir.join("state/certificates.json"), kept.to_string()).unwrap();
}

#[test]
fn a_command_holds_a_camera_to_what_the_node_knows() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let behind = isapi_camera::start(GateRules::default(), Model::default());
    let camera = TlsCamera::usual(behind.addr);

    // Nothing is known: taken, told, and not kept for the node.
    configure(dir, "pin");
    let (code, said) = lss(dir, "probe", &camera);
    assert_eq!(code, 0, "{said}");
    let words = "was taken unseen; compare its SHA-256 with the camera's own page: ";
    let (_, sha256) = said.split_once(words).unwrap_or_else(|| panic!("{said}"));
    let sha256 = sha256.lines().next().unwrap().to_owned();
    assert!(!dir.join("state/certificates.json").exists());

    keep(dir, &camera, &sha256);
    let (code, said) = lss(dir, "probe", &camera);
    assert_eq!((code, said.contains("unseen")), (0, false), "{said}");

    // The node knows another one, or wants one that is vouched for: no login goes out.
    let before = camera.secured();
    keep(dir, &camera, &"00".repeat(32));
    for tls in ["pin", "verify"] {
        configure(dir, tls);
        for word in ["probe", "fit"] {
            let (code, said) = lss(dir, word, &camera);
            assert_eq!(code, 1, "{said}");
            assert!(said.contains("certificate"), "{said}");
            assert!(!said.contains("unseen"), "{said}");
        }
    }
    assert_eq!(camera.secured(), before, "something was sent");
    assert!(!camera.plain().contains("Authorization"));

    // What can't be read is said, and a camera can be asked all the same.
    std::fs::write(dir.join("state/certificates.json"), "{").unwrap();
    configure(dir, "pin");
    let (code, said) = lss(dir, "probe", &camera);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("can't be read") && said.contains(words),
        "{said}"
    );
    std::fs::remove_file(dir.join("lss.yaml")).unwrap();
    let (code, said) = lss(dir, "probe", &camera);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("configuration can't be used"), "{said}");
    assert!(said.contains(words), "{said}");
}
