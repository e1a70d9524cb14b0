//! The shipped example, and what `check-config` prints.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use lss::config::{FileText, Input, Takes, known_keys, parse, rows, to_yaml};

use super::{CLOUD, FILE, shown, standalone, with_env};

const EXAMPLE: &str = include_str!("../../etc/lss.yaml");

#[test]
fn the_example_is_loadable_and_holds_the_defaults() {
    let example = with_env(EXAMPLE, CLOUD).unwrap();
    assert_eq!(shown(example.warnings), [""; 0]);
    let defaults = with_env("", CLOUD).unwrap();
    assert_eq!(to_yaml(&example.config), to_yaml(&defaults.config));
}

#[test]
fn the_example_is_complete() {
    let there = dotted_keys(EXAMPLE);
    let missing: Vec<String> = known_keys()
        .into_iter()
        .map(|key| key.replace("[]", ""))
        .filter(|key| !there.contains(key))
        .collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn the_examples_comments_are_loadable_too() {
    // The credentials, with their comment signs taken off.
    let start = EXAMPLE.find("  # credentials:").unwrap();
    let end = EXAMPLE.find("# Single pictures").unwrap();
    let block: String = EXAMPLE[start..end]
        .lines()
        .map(|line| line.replacen("# ", "", 1) + "\n")
        .collect();
    let text = format!("camera:\n{block}");
    let files = |_: &Path, _: usize| {
        Ok(FileText {
            bytes: b"secret".to_vec(),
            world_readable: false,
        })
    };
    let mut input = Input::new(FILE, text.as_bytes());
    input.standalone = true;
    input.files = &files;
    let parsed = parse(&input).unwrap_or_else(|f| panic!("{text}\n{f:#?}"));
    assert_eq!(parsed.config.camera.credentials.len(), 2);
}

#[test]
fn the_effective_configuration_is_complete_and_loadable() {
    let c = with_env("", CLOUD).unwrap().config;
    let there = dotted_keys(&to_yaml(&c));
    // What stands in a file of its own shows under the key it stands in for.
    let files = ["server.api_token_file"];
    let missing: Vec<String> = known_keys()
        .into_iter()
        .filter(|key| !key.contains("[]") && !files.contains(&key.as_str()))
        .filter(|key| !there.contains(key))
        .collect();
    assert_eq!(missing, [""; 0]);
    // With no secret in it, it loads and comes out as it went in.
    let c =
        standalone("lss: { node: { name: \"it's: #1\" } }\ncamera: { scan_subnet: auto }").unwrap();
    let text = to_yaml(&c);
    let again = with_env(&text, &[]).unwrap().config;
    assert_eq!(to_yaml(&again), text);
    assert_eq!(again.node.name, "it's: #1");
}

/// The page's table is what the rows say. To write it anew: `UPDATE_DOCS=1 cargo test --test config`.
#[test]
fn the_documents_table_is_that_of_the_rows() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    let text = std::fs::read_to_string(page).unwrap();
    let begin = text.find("| key |").unwrap();
    let end = text[begin..]
        .find("\n\n")
        .map_or(text.len(), |at| begin + at + 1);
    let table = key_table();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let new = [&text[..begin], &table, &text[end..]].concat();
        std::fs::write(page, new).unwrap();
        return;
    }
    assert_eq!(
        text[begin..end],
        table,
        "UPDATE_DOCS=1 writes the table anew"
    );
}

fn key_table() -> String {
    let mut table = String::from(
        "| key | what it is for | may be | default | environment | at a reload |\n|---|---|---|---|---|---|\n",
    );
    for row in rows() {
        let code = |text: &str| match text {
            "" | "''" => String::new(),
            text => format!("`{text}`"),
        };
        let reload = match row.reload {
            Takes::Now => "at once",
            Takes::Restart => "after a restart",
        };
        writeln!(
            table,
            "| `{}` |{} | {} | {} | {} | {reload} |",
            row.key,
            row.about,
            row.takes,
            match row.default.as_str() {
                "" => "(has to be set)".to_owned(),
                default => code(default),
            },
            code(row.env.unwrap_or_default()),
        )
        .unwrap();
    }
    table
}

/// A key of a row is one of the file, in the order of the page; nothing is read beside the rows.
#[test]
fn every_key_that_is_read_is_a_row() {
    let rows: BTreeSet<String> = rows().iter().map(|row| row.key.to_owned()).collect();
    let section = |key: &str| rows.iter().any(|row| row.starts_with(&format!("{key}.")));
    let read: BTreeSet<String> = known_keys()
        .into_iter()
        .filter(|key| !section(key))
        .collect();
    assert_eq!(read, rows);
}

/// Dotted paths of every key in block-style YAML, those behind a comment sign included.
fn dotted_keys(text: &str) -> BTreeSet<String> {
    let mut stack: Vec<(usize, String)> = Vec::new();
    let mut out = BTreeSet::new();
    for line in text.lines() {
        let bare = line.replace("# ", "").replace("- ", "  ");
        let Some((key, _)) = bare.trim_start().split_once(':') else {
            continue;
        };
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
            continue;
        }
        let indent = bare.len() - bare.trim_start().len();
        stack.retain(|(i, _)| *i < indent);
        stack.push((indent, key.to_owned()));
        let path: Vec<&str> = stack.iter().map(|(_, key)| key.as_str()).collect();
        out.insert(path.join("."));
    }
    out
}
