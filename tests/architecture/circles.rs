//! No circles: files that know each other, by whatever way round, are one thought in several files,
//! or a type that lies in the wrong one. A module and those below it may know each other.

use std::collections::{BTreeMap, BTreeSet};

use super::{is_test_file, place_of, sources};

/// A file by its modules.
type Module = Vec<String>;

#[test]
fn files_know_each_other_in_one_direction() {
    let circles = circles(&graph(&modules()));
    let named: Vec<String> = circles
        .iter()
        .map(|circle| {
            let names: Vec<String> = circle.iter().map(|module| module.join("/")).collect();
            format!("a circle: {}", names.join(", "))
        })
        .collect();
    assert!(named.is_empty(), "\n{}", named.join("\n"));
}

#[test]
fn a_circle_is_seen_whichever_way_it_is_written() {
    let files = |list: &[(&str, &str)]| -> BTreeMap<Module, String> {
        let module = |name: &str| name.split('/').map(str::to_owned).collect();
        let files = list
            .iter()
            .map(|&(name, text)| (module(name), text.to_owned()));
        files.collect()
    };
    let found = |list: &[(&str, &str)]| circles(&graph(&files(list))).len();
    let one = ("a/one", "use crate::b::{two::Two, three};\n");
    assert_eq!(found(&[one, ("b/two", "use crate::a::one::One;")]), 1);
    assert_eq!(
        found(&[
            one,
            ("b/two", "use super::three;"),
            ("b/three", "fn f() -> crate::a::one::One {}")
        ]),
        1
    );
    assert_eq!(
        found(&[
            ("b/two", "use super::{\n    three::{A, B},\n};"),
            ("b/three", "use super::two as x;")
        ]),
        1
    );
    // One direction, a module and its child, a comment, a test.
    assert_eq!(
        found(&[one, ("b/two", ""), ("b/three", "use super::two::Two;")]),
        0
    );
    assert_eq!(
        found(&[("b", "use self::two::X;"), ("b/two", "use super::Y;")]),
        0
    );
    assert_eq!(
        found(&[
            one,
            (
                "b/two",
                "//! crate::a::one\n#[cfg(test)]\nmod tests { use crate::a::one::One; fn f() { {} } }\n"
            )
        ]),
        0
    );
    assert_eq!(
        found(&[one, ("b/two", "#[cfg(test)]\nuse crate::a::one::One;\n")]),
        0
    );
}

/// Every file that is no test's, with its text.
fn modules() -> BTreeMap<Module, String> {
    let files = sources().into_iter().filter(|file| !is_test_file(file));
    files
        .map(|file| (place_of(&file), std::fs::read_to_string(&file).unwrap()))
        .filter(|(module, _)| !module.iter().any(|part| part == "tests" || part == "main"))
        .collect()
}

/// Which file names which, but for those above and below it.
fn graph(files: &BTreeMap<Module, String>) -> BTreeMap<&Module, BTreeSet<&Module>> {
    files
        .iter()
        .map(|(module, text)| {
            let paths = paths(&code_of(text), module);
            let known = paths.iter().filter_map(|path| {
                // The file that has it: the longest one there is.
                let lengths = (1..=path.len()).rev();
                lengths
                    .filter_map(|length| files.get_key_value(&path[..length]))
                    .map(|(known, _)| known)
                    .next()
            });
            let others =
                known.filter(|known| !known.starts_with(module) && !module.starts_with(known));
            (module, others.collect())
        })
        .collect()
}

/// Without comments and tests.
fn code_of(text: &str) -> String {
    let mut code: String = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or("").to_owned() + "\n")
        .collect();
    while let Some(at) = code.find("#[cfg(test)]") {
        let mut depth = 0;
        let end = code[at..].char_indices().find(|&(_, c)| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            depth == 0 && matches!(c, ';' | '}')
        });
        let end = end.map_or(code.len(), |(length, c)| at + length + c.len_utf8());
        code.replace_range(at..end, "");
    }
    code
}

/// Every path that begins with `crate`, `super` or `self`, from the crate's root, groups opened.
fn paths(code: &str, module: &Module) -> Vec<Module> {
    let mut out = Vec::new();
    for root in ["crate", "super", "self"] {
        for (at, _) in code.match_indices(&format!("{root}::")) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | ':' | '$')) {
                continue;
            }
            let mut found = Vec::new();
            open(&code[at..], &mut Vec::new(), &mut found);
            out.extend(found.into_iter().map(|path| absolute(path, module)));
        }
    }
    out
}

fn absolute(path: Module, module: &Module) -> Module {
    let mut here = module.clone();
    let mut rest = path.into_iter().peekable();
    while let Some(step) = rest.next_if(|step| matches!(step.as_str(), "crate" | "super" | "self"))
    {
        match step.as_str() {
            "crate" => here.clear(),
            "super" => {
                here.pop();
            }
            _ => {}
        }
    }
    here.extend(rest);
    here
}

/// Reads one path, with its groups, and gives what stands behind it.
fn open<'a>(text: &'a str, prefix: &mut Module, out: &mut Vec<Module>) -> &'a str {
    let word: String = text
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    let mut rest = &text[word.len()..];
    let depth = prefix.len();
    if !word.is_empty() {
        prefix.push(word);
    }
    if let Some(more) = rest.strip_prefix("::") {
        rest = open(more, prefix, out);
    } else if let Some(mut group) = rest.strip_prefix('{').filter(|_| depth > 0) {
        loop {
            group = group.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
            if let Some(behind) = group.strip_prefix('}') {
                rest = behind;
                break;
            }
            // `x as y`, `*`, and the end of a text that is none.
            let behind = open(group, prefix, out);
            let end = behind.find([',', '}']).unwrap_or(behind.len());
            group = &behind[end..];
            if group.is_empty() {
                rest = group;
                break;
            }
        }
    } else {
        out.push(prefix.clone());
    }
    prefix.truncate(depth);
    rest
}

/// Sets of files each of which reaches every other.
fn circles(graph: &BTreeMap<&Module, BTreeSet<&Module>>) -> Vec<Vec<Module>> {
    let reach = |from: &Module| -> BTreeSet<Module> {
        let mut seen = BTreeSet::new();
        let mut next = vec![from.clone()];
        while let Some(module) = next.pop() {
            for known in graph.get(&module).into_iter().flatten() {
                if seen.insert((*known).clone()) {
                    next.push((*known).clone());
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&Module, BTreeSet<Module>> = graph
        .keys()
        .map(|module| (*module, reach(module)))
        .collect();
    let mut done: BTreeSet<&Module> = BTreeSet::new();
    let mut out = Vec::new();
    for (module, seen) in &reached {
        if !seen.contains(*module) || done.contains(module) {
            continue;
        }
        let circle: Vec<&Module> = reached
            .iter()
            .filter(|(other, back)| seen.contains(**other) && back.contains(*module))
            .map(|(other, _)| *other)
            .collect();
        out.push(circle.iter().map(|module| (*module).clone()).collect());
        done.extend(circle);
    }
    out
}
