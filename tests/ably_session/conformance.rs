//! The conformance table names tests that exist.

use std::collections::BTreeSet;
use std::path::Path;

/// Test functions of a file or of the files in a folder.
fn tests_in(place: &str, found: &mut BTreeSet<String>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(place);
    let files = if path.is_dir() {
        std::fs::read_dir(&path)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect()
    } else {
        vec![path]
    };
    for file in files {
        let prefix = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            if line == "#[test]" {
                is_test = true;
            } else if let Some(name) = line.strip_prefix("fn ").filter(|_| is_test) {
                let name = name.split('(').next().unwrap();
                let prefix = match place {
                    "tests/ably_session" => "net",
                    "tests/ably_model.rs" => "model",
                    "tests/ably_official.rs" => "official",
                    "src/infrastructure/ably/frame/tests.rs" => "frame",
                    "src/infrastructure/ably/transport/tests.rs" => "transport",
                    _ => &prefix,
                };
                found.insert(format!("{prefix}::{name}"));
                is_test = false;
            }
        }
    }
}

#[test]
fn every_test_the_table_names_exists() {
    let mut exist = BTreeSet::new();
    for place in [
        "src/infrastructure/ably/connection/tests",
        "src/infrastructure/ably/frame/tests.rs",
        "src/infrastructure/ably/transport/tests.rs",
        "src/infrastructure/ably/data.rs",
        "src/infrastructure/ably/endpoint.rs",
        "src/infrastructure/ably/upgrade.rs",
        "src/infrastructure/ably/helper.rs",
        "src/infrastructure/ably/connection/retry.rs",
        "src/infrastructure/ably/connection/clock.rs",
        "src/infrastructure/ably/connection/ledger.rs",
        "tests/ably_session",
        "tests/ably_model.rs",
        "tests/ably_official.rs",
    ] {
        tests_in(place, &mut exist);
    }
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ably-conformance.md");
    let table = std::fs::read_to_string(table).unwrap();
    let named: Vec<&str> = table
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.contains("::") && !word.ends_with("::"))
        .collect();
    assert!(named.len() > 100, "the table was not read");
    let missing: Vec<&&str> = named.iter().filter(|n| !exist.contains(**n)).collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
}
