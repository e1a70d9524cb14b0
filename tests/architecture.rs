//! The layers hold: `adapter → application → domain ← infrastructure`; only `daemon` sees all,
//! `util` sees none. Reads every `crate::` path of every source file.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

#[path = "architecture/circles.rs"]
mod circles;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Top-level module → the top-level modules it may name.
const MAY_SEE: &[(&str, &[&str])] = &[
    ("util", &["util"]),
    ("domain", &["domain", "util"]),
    ("application", &["application", "domain", "util"]),
    ("json", &["domain", "util"]),
    (
        "infrastructure",
        &["infrastructure", "domain", "json", "util"],
    ),
    (
        "adapter",
        &["adapter", "application", "domain", "json", "util"],
    ),
    ("config", &["config", "util"]),
    ("logging", &["logging", "config", "util"]),
];

/// Files that wire everything and may see everything.
const SEE_ALL: &[&str] = &["daemon", "main", "lib", "cli"];

/// Inside infrastructure a protocol knows only itself and these shared folders.
const SHARED_INFRASTRUCTURE: &[&str] = &["http", "system", "xml"];
/// What else one infrastructure folder may name of another, and why.
const INFRASTRUCTURE_EXCEPTIONS: &[(&str, &str)] = &[
    // The engine implements the child's OutputJudge, and starts its probes as every child is.
    ("ffmpeg", "child"),
    // Has the words of endpoints that refuse in common with whoever else publishes.
    ("ffmpeg", "whip"),
    // Is started as every child is.
    ("guard", "child"),
    // Descriptions hold parameter sets.
    ("rtsp", "media"),
    // Asks sources over RTSP.
    ("relay", "rtsp"),
    // Puts a camera's pictures together and sends them on.
    ("relay", "media"),
    // Its pictures are sent by WebRTC.
    ("relay", "rtc"),
    // Asks endpoints for sessions.
    ("relay", "whip"),
    // Its daemon's end implements the child's OutputJudge.
    ("relay", "child"),
    // Chooses between what can carry a stream, and who reads what a run says.
    ("engines", "child"),
    ("engines", "ffmpeg"),
    ("engines", "relay"),
    // What a child has cost, before it is reaped.
    ("child", "process"),
    // Opens cameras by every protocol.
    ("camera_gateway", "isapi"),
    ("camera_gateway", "onvif"),
    // Knows cameras by what their protocols answer to strangers.
    ("discovery", "isapi"),
    ("discovery", "onvif"),
    ("discovery", "rtsp"),
    // Pictures by HTTP or from a stream, made to fit.
    ("pictures", "child"),
    ("pictures", "ffmpeg"),
    ("pictures", "rtsp"),
    ("pictures", "snapshot"),
];

/// Words that a layer's files must not contain, and why.
const ABSENT: &[(&str, &[&str])] = &[
    (
        "domain",
        &[
            "serde",
            "Instant::now",
            "SystemTime::now",
            "std::thread",
            "std::fs",
            "std::net::Tcp",
            "ureq",
            "tiny_http",
        ],
    ),
    (
        "application",
        &[
            "serde",
            "ureq",
            "tiny_http",
            "std::process",
            "std::net::Tcp",
        ],
    ),
    ("util", &["serde", "std::thread", "ureq"]),
];

#[test]
fn imports_point_in_the_right_direction() {
    let mut faults = Vec::new();
    for file in sources() {
        let text = std::fs::read_to_string(&file).unwrap();
        let place = place_of(&file);
        let top = place[0].as_str();
        if SEE_ALL.contains(&top) {
            continue;
        }
        let (_, allowed) = MAY_SEE
            .iter()
            .find(|(layer, _)| *layer == top)
            .unwrap_or_else(|| panic!("{}: no rule for module {top}", file.display()));
        for (line, path) in crate_paths(&text) {
            let target = path.first().cloned().unwrap_or_default();
            if !allowed.contains(&target.as_str()) {
                faults.push(format!(
                    "{}:{line}: {top} must not see {target}",
                    file.display()
                ));
            }
            if top == "infrastructure" && target == "infrastructure" {
                let here = place.get(1).map_or("", String::as_str);
                let there = path.get(1).map_or("", String::as_str);
                let fine = here == there
                    || there.is_empty()
                    || SHARED_INFRASTRUCTURE.contains(&there)
                    || INFRASTRUCTURE_EXCEPTIONS.contains(&(here, there));
                if !fine {
                    faults.push(format!(
                        "{}:{line}: infrastructure::{here} must not know infrastructure::{there}",
                        file.display()
                    ));
                }
            }
        }
        // `super::` must not climb out of the layer unseen.
        let depth = place.len();
        let climb = "super::".repeat(depth);
        if depth > 1 && text.contains(&climb) && !is_test_file(&file) {
            faults.push(format!(
                "{}: climbs out of its layer by super::",
                file.display()
            ));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn what_a_layer_must_not_contain() {
    let mut faults = Vec::new();
    for file in sources() {
        if is_test_file(&file) {
            continue;
        }
        let place = place_of(&file);
        let Some((_, words)) = ABSENT.iter().find(|(layer, _)| *layer == place[0]) else {
            continue;
        };
        let text = std::fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or("");
        for (number, line) in code.lines().enumerate() {
            let line = line.split("//").next().unwrap_or("");
            for word in *words {
                if line.contains(word) {
                    faults.push(format!(
                        "{}:{}: {word} in {}",
                        file.display(),
                        number + 1,
                        place[0]
                    ));
                }
            }
        }
    }
    // The one place in util that reads clocks says so by its name.
    faults.retain(|f| !f.contains("util/time.rs"));
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Files that may cut a text by characters, and why it is no text of others on its way to somebody
/// who reads it. All else is shaped by `util::foreign`, which masks before it cuts.
const CUTTERS: &[(&str, &str)] = &[
    ("util/foreign.rs", "the one place"),
    (
        "util/url.rs",
        "a path as it may be shown, in masking itself",
    ),
    ("infrastructure/child/log_tail.rs", "masked already"),
    (
        "infrastructure/discovery/http_talk.rs",
        "looked through for signs, never shown",
    ),
    (
        "infrastructure/discovery/fingerprint.rs",
        "from words that are masked already",
    ),
    (
        "adapter/command/request.rs",
        "ids, which go back to whoever sent them",
    ),
    ("application/doctor/network.rs", "a date"),
    (
        "infrastructure/ably/connection/feed.rs",
        "ids that are remembered, and compared",
    ),
    ("infrastructure/rtsp/sdp.rs", "masked already"),
    ("application/discovery/inventory/known.rs", "masked already"),
    (
        "infrastructure/rtsp/message.rs",
        "digits of a CSeq, in an answer to the camera",
    ),
    ("infrastructure/xml.rs", "looked at, never shown"),
    ("config/value.rs", "this machine's own name"),
    ("cli.rs", "an argument, to whoever typed it"),
];

#[test]
fn text_of_others_is_shaped_in_one_place() {
    let mut faults = Vec::new();
    let mut cutters = BTreeSet::new();
    for file in sources() {
        let shown = file.to_string_lossy().replace('\\', "/");
        let short = shown.split("/src/").last().unwrap_or("").to_owned();
        if is_test_file(&file) || short.starts_with("util/secret") {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or("");
        let code: String = code
            .lines()
            .map(|line| line.split("//").next().unwrap_or("").trim())
            .collect();
        // Masking alone leaves control characters and length as they are.
        let masks = code.split("secret::").skip(1).any(|rest| {
            let names = match rest.strip_prefix('{') {
                Some(group) => group.split('}').next().unwrap_or(""),
                None => rest
                    .split(|c: char| !c.is_alphanumeric() && c != '_')
                    .next()
                    .unwrap_or(""),
            };
            names
                .split(',')
                .any(|name| matches!(name.trim(), "mask" | "mask_cut"))
        });
        if masks && short != "util/foreign.rs" {
            faults.push(format!("{short}: masks by itself; use util::foreign"));
        }
        let cuts = code.split(';').any(|statement| {
            statement
                .split_once(".chars()")
                .is_some_and(|(_, rest)| rest.replace(".take()", "").contains(".take("))
                || statement.contains(".char_indices().nth(")
                || statement.contains("floor_char_boundary")
        });
        if cuts {
            if CUTTERS.iter().any(|(known, _)| *known == short) {
                cutters.insert(short);
            } else {
                faults.push(format!("{short}: cuts text by itself; use util::foreign"));
            }
        }
    }
    let idle = CUTTERS
        .iter()
        .filter(|(known, _)| !cutters.contains(*known));
    faults.extend(idle.map(|(known, _)| format!("{known}: cuts nothing any more")));
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn unsafe_is_allowed_only_where_the_map_says() {
    let allowed = [
        "infrastructure/child/launch.rs",
        "infrastructure/child/leftovers.rs",
        // adjtimex(2), which nix does not wrap: whether a time service holds the clock.
        "infrastructure/machine.rs",
    ];
    let mut found = BTreeSet::new();
    for file in sources() {
        let text = std::fs::read_to_string(&file).unwrap();
        if text.contains("allow(unsafe_code)") {
            let shown = file.to_string_lossy().replace('\\', "/");
            let short = shown.split("/src/").last().unwrap_or("").to_owned();
            found.insert(short);
        }
    }
    let expected: BTreeSet<String> = allowed.iter().map(|s| (*s).to_owned()).collect();
    assert_eq!(found, expected);
}

/// A child started elsewhere would lack what every child has to have: the mark, the bounds, the
/// signal at the daemon's end.
#[test]
fn children_are_started_in_one_place() {
    let mut places = BTreeSet::new();
    for file in sources() {
        if is_test_file(&file) {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or("");
        let starts = [
            "Command::new(",
            "posix_spawn",
            "fork()",
            "libc::exec",
            "execv",
        ];
        let has = |line: &str| {
            let line = line.split("//").next().unwrap_or("");
            starts.iter().any(|word| line.contains(word))
        };
        if code.lines().any(has) {
            places.insert(place_of(&file).join("/"));
        }
    }
    let one = BTreeSet::from(["infrastructure/child/launch".to_owned()]);
    assert_eq!(places, one);
}

/// Pages that say where things are: what they name between backticks below the checkout exists.
#[test]
fn pages_name_files_that_exist() {
    const ROOMS: [&str; 8] = [
        "src/",
        "tests/",
        "etc/",
        "docs/",
        "packaging/",
        "examples/",
        "fuzz/",
        "benches/",
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut missing = Vec::new();
    for page in ["CONTRIBUTING.md", "docs/glossary.md"] {
        let text = std::fs::read_to_string(root.join(page)).unwrap();
        for named in text.split('`').skip(1).step_by(2) {
            // A command's first word may be a file, its arguments and placeholders are not.
            let path = named.split([' ', '…']).next().unwrap();
            let ours = ROOMS.iter().any(|room| path.starts_with(room));
            if ours && !root.join(path).exists() {
                missing.push(format!("{page}: {path}"));
            }
        }
    }
    assert!(missing.is_empty(), "\n{}", missing.join("\n"));
}

#[test]
fn the_scanner_sees_groups_and_plain_paths() {
    let text = "use crate::domain::x;\nlet y = crate::infrastructure::rcs::z();\nuse crate::{adapter, util::{a, b}};\n";
    let paths: Vec<String> = crate_paths(text)
        .into_iter()
        .map(|(line, path)| format!("{line}:{}", path.join("::")))
        .collect();
    assert_eq!(
        paths,
        [
            "1:domain::x",
            "2:infrastructure::rcs::z",
            "3:adapter",
            "3:util"
        ]
    );
}

fn sources() -> Vec<PathBuf> {
    fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, out);
            } else if path.extension().is_some_and(|e| e == "rs") {
                out.push(path);
            }
        }
    }
    let mut out = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut out);
    assert!(out.len() > 10, "the scanner has lost the sources");
    out
}

/// `src/a/b/c.rs` → `[a, b, c]`; `mod.rs` stands for its folder.
fn place_of(file: &Path) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut place: Vec<String> = file
        .strip_prefix(root)
        .unwrap()
        .with_extension("")
        .components()
        .map(|c| c.as_os_str().to_string_lossy().into_owned())
        .collect();
    if place.len() > 1 && place.last().is_some_and(|l| l == "mod") {
        place.pop();
    }
    place
}

fn is_test_file(file: &Path) -> bool {
    file.file_stem()
        .is_some_and(|s| s.to_string_lossy().ends_with("tests"))
}

/// Every path behind `crate::`, with its line; groups are opened one level.
fn crate_paths(text: &str) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or("");
        let mut rest = code;
        while let Some(at) = rest.find("crate::") {
            rest = &rest[at + "crate::".len()..];
            if rest.starts_with('{') {
                // The group may go on for lines: take it from the whole text.
                let from = text
                    .lines()
                    .take(number)
                    .map(|l| l.len() + 1)
                    .sum::<usize>()
                    + line.find("crate::{").unwrap_or(0)
                    + "crate::{".len();
                let mut depth = 0i32;
                let mut word = String::new();
                for c in text[from..].chars() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => {
                            push_first(&mut found, number + 1, &word);
                            word.clear();
                        }
                        _ if depth == 0 => word.push(c),
                        _ => {}
                    }
                }
                push_first(&mut found, number + 1, &word);
            } else {
                let path: String = rest
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || matches!(c, '_' | ':'))
                    .collect();
                let parts: Vec<String> = path
                    .split("::")
                    .filter(|p| !p.is_empty())
                    .map(str::to_owned)
                    .collect();
                if !parts.is_empty() {
                    found.push((number + 1, parts));
                }
            }
        }
    }
    found
}

fn push_first(found: &mut Vec<(usize, Vec<String>)>, line: usize, word: &str) {
    let first = word.trim().split("::").next().unwrap_or("").trim();
    if !first.is_empty() {
        found.push((line, vec![first.to_owned()]));
    }
}
