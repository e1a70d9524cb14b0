//! YAML text → a small tree in which every key and value knows its line.
//!
//! Only what a configuration needs is taken: mappings, lists, scalars. Aliases, anchors, tags,
//! further documents and deep nesting are faults, so that a file of a few lines stays a few lines
//! in memory. Knows no key of ours.

use std::collections::HashMap;
use std::fmt::Write as _;

use yaml_rust2::parser::{Event, Parser};
use yaml_rust2::scanner::TScalarStyle;

use super::fault::{ConfigFault, FaultPlace, MAX_FAULTS, shown_key};

/// A larger file is no configuration of ours.
pub const MAX_BYTES: usize = 1024 * 1024;

/// Ours needs 4 levels.
const MAX_DEPTH: usize = 16;

/// A value with its line. No `Debug`: it holds secrets.
pub(super) struct Node {
    pub value: Value,
    /// First line = 1.
    pub line: usize,
}

pub(super) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// Any scalar, unquoted.
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

pub(super) struct Entry {
    pub key: String,
    pub line: usize,
    pub node: Node,
}

/// What came out of a file.
pub(super) struct Parsed {
    /// The top mapping; `None` where the text could not be read to its end.
    pub root: Option<Vec<Entry>>,
    pub faults: Vec<ConfigFault>,
}

/// Reads `bytes`. Never panics, whatever they are.
pub(super) fn parse(name: &str, bytes: &[u8]) -> Parsed {
    let mut builder = Builder {
        name,
        faults: Vec::new(),
        stack: Vec::new(),
        root: None,
    };
    let complete = builder.run(bytes);
    let root = match (complete, builder.root) {
        (false, _) => None,
        (true, None) => Some(Vec::new()),
        (true, Some(node)) => match node.value {
            Value::Null => Some(Vec::new()),
            Value::Map(entries) => Some(entries),
            Value::Scalar(_) | Value::List(_) => {
                builder.faults.push(ConfigFault::new(
                    FaultPlace::File {
                        name: name.to_owned(),
                        line: Some(node.line),
                        key: None,
                    },
                    "must hold keys with values, like `server:`",
                ));
                None
            }
        },
    };
    Parsed {
        root,
        faults: builder.faults,
    }
}

enum Frame {
    List {
        line: usize,
        items: Vec<Node>,
    },
    Map {
        line: usize,
        entries: Vec<Entry>,
        /// Key → its line.
        seen: HashMap<String, usize>,
        /// The key whose value comes next; `None` in it = a key to be dropped with its value.
        key: Option<(Option<String>, usize)>,
    },
}

struct Builder<'a> {
    name: &'a str,
    faults: Vec<ConfigFault>,
    stack: Vec<Frame>,
    root: Option<Node>,
}

impl Builder<'_> {
    /// Whether the text was read to its end.
    fn run(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() > MAX_BYTES {
            self.fault(None, None, "is larger than 1 MiB");
            return false;
        }
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
                let line = good.split(|&b| b == b'\n').count();
                self.fault(
                    Some(line),
                    None,
                    "is not UTF-8 text: save the file as UTF-8",
                );
                return false;
            }
        };
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        // Events are drawn one by one: the library's own loader recurses with the nesting.
        let mut parser = Parser::new_from_str(text);
        let mut documents = 0;
        loop {
            let (event, mark) = match parser.next_token() {
                Ok(next) => next,
                Err(error) => {
                    let (line, words) = syntax(text, error.marker().line(), error.info());
                    self.fault(Some(line), None, &words);
                    return false;
                }
            };
            let line = mark.line();
            let go_on = match event {
                Event::StreamEnd => return true,
                Event::Nothing | Event::StreamStart | Event::DocumentEnd => true,
                Event::DocumentStart => {
                    documents += 1;
                    if documents > 1 {
                        self.fault(Some(line), None, "begins a second document: one file is one document, take out the second `---`");
                    }
                    documents == 1
                }
                Event::Alias(_) => {
                    self.unsupported(line);
                    self.put(Value::Null, line);
                    true
                }
                Event::Scalar(text, style, anchor, tag) => {
                    if anchor != 0 || tag.is_some() {
                        self.unsupported(line);
                    }
                    self.scalar(text, style, line);
                    true
                }
                Event::SequenceStart(anchor, tag) => {
                    if anchor != 0 || tag.is_some() {
                        self.unsupported(line);
                    }
                    self.open(Frame::List {
                        line,
                        items: Vec::new(),
                    })
                }
                Event::MappingStart(anchor, tag) => {
                    if anchor != 0 || tag.is_some() {
                        self.unsupported(line);
                    }
                    self.open(Frame::Map {
                        line,
                        entries: Vec::new(),
                        seen: HashMap::new(),
                        key: None,
                    })
                }
                Event::SequenceEnd | Event::MappingEnd => {
                    match self.stack.pop() {
                        Some(Frame::List { line, items }) => self.put(Value::List(items), line),
                        Some(Frame::Map { line, entries, .. }) => {
                            self.put(Value::Map(entries), line);
                        }
                        None => {}
                    }
                    true
                }
            };
            if !go_on || self.faults.len() >= MAX_FAULTS {
                return false;
            }
        }
    }

    fn open(&mut self, frame: Frame) -> bool {
        if self.stack.len() >= MAX_DEPTH {
            let (Frame::List { line, .. } | Frame::Map { line, .. }) = frame;
            self.fault(Some(line), None, "is nested too deeply");
            return false;
        }
        self.stack.push(frame);
        true
    }

    fn scalar(&mut self, text: String, style: TScalarStyle, line: usize) {
        if let Some(Frame::Map {
            key: key @ None, ..
        }) = self.stack.last_mut()
        {
            *key = Some((Some(text), line));
            self.check_duplicate();
            return;
        }
        let null = style == TScalarStyle::Plain
            && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL");
        let value = if null {
            Value::Null
        } else {
            Value::Scalar(text)
        };
        self.put(value, line);
    }

    fn check_duplicate(&mut self) {
        let Some(Frame::Map {
            seen,
            key: Some((key, line)),
            ..
        }) = self.stack.last_mut()
        else {
            return;
        };
        let (Some(text), line) = (key.clone(), *line) else {
            return;
        };
        match seen.get(&text).copied() {
            None => {
                seen.insert(text, line);
            }
            Some(first) => {
                let path = self.path();
                if let Some(Frame::Map {
                    key: Some((key, _)),
                    ..
                }) = self.stack.last_mut()
                {
                    *key = None;
                }
                self.fault(
                    Some(line),
                    path,
                    &format!("is set twice (first on line {first}): take one out"),
                );
            }
        }
    }

    /// Puts a finished value where it belongs.
    fn put(&mut self, value: Value, line: usize) {
        let node = Node { value, line };
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(Frame::List { items, .. }) => items.push(node),
            Some(Frame::Map { entries, key, .. }) => match key.take() {
                Some((Some(key), line)) => entries.push(Entry { key, line, node }),
                Some((None, _)) => {}
                None => {
                    // A list, a mapping or an alias in a key's place.
                    *key = Some((None, line));
                    self.fault(Some(line), None, "has a key that is not a plain word");
                }
            },
        }
    }

    fn unsupported(&mut self, line: usize) {
        let path = self.path();
        self.fault(
            Some(line),
            path,
            "anchors (&), aliases (*) and tags (!) are not supported: put a value that begins with one of these characters in single quotes",
        );
    }

    /// The dotted path of the value that is being read.
    fn path(&self) -> Option<String> {
        let mut path = String::new();
        for frame in &self.stack {
            match frame {
                Frame::List { items, .. } => {
                    let _ = write!(path, "[{}]", items.len());
                }
                Frame::Map { key, .. } => {
                    let Some((Some(key), _)) = key else { continue };
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(shown_key(key));
                }
            }
        }
        (!path.is_empty()).then_some(path)
    }

    fn fault(&mut self, line: Option<usize>, key: Option<String>, text: &str) {
        self.faults.push(ConfigFault::new(
            FaultPlace::File {
                name: self.name.to_owned(),
                line,
                key,
            },
            text,
        ));
    }
}

/// The library's line and words, which quote at most one character of the text, and ours where
/// those help nobody.
fn syntax(text: &str, line: usize, info: &str) -> (usize, String) {
    let indented_by_tab =
        |line: &str| line.trim_start_matches(' ').starts_with('\t') && !line.trim().is_empty();
    // The library points at the start of the value in whose indentation it found the tab.
    let tab = text
        .lines()
        .enumerate()
        .skip(line.saturating_sub(1))
        .take(2)
        .find(|(_, text)| indented_by_tab(text));
    if let Some((index, _)) = tab {
        return (
            index + 1,
            "is not valid YAML: a tab: indent with spaces".to_owned(),
        );
    }
    let hint = if info.contains("unexpected character") || info.contains("directive") {
        "a value must not begin with @, ` or %: put it in single quotes"
    } else if info.contains("anchor") || info.contains("tag") {
        "a value that begins with &, * or ! must stand in single quotes"
    } else if info.contains("simple key expect") {
        "a `:` with a space behind it is missing here or on the line before"
    } else if info.contains("mapping values are not allowed") {
        "no key may stand here: look at the indentation, and for a `:` without a space behind it on this line or the one before"
    } else if info.contains("quoted scalar, found unexpected end") {
        "a quote is opened here and never closed"
    } else if info.contains("flow sequence") || info.contains("flow mapping") {
        "a list in [ ] or { } is not closed, or a comma is missing"
    } else {
        info
    };
    (line, format!("is not valid YAML: {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        parse("f", text.as_bytes())
            .faults
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    /// `key@line=value`, flat.
    fn flat(entries: &[Entry], prefix: &str, out: &mut Vec<String>) {
        for entry in entries {
            let path = format!("{prefix}{}@{}", entry.key, entry.line);
            leaf(&entry.node, &path, out);
        }
    }

    fn leaf(node: &Node, path: &str, out: &mut Vec<String>) {
        match &node.value {
            Value::Null => out.push(format!("{path}=null")),
            Value::Scalar(text) => out.push(format!("{path}={text:?}")),
            Value::List(items) => {
                for item in items {
                    leaf(item, &format!("{path}[{}]", item.line), out);
                }
            }
            Value::Map(entries) => flat(entries, &format!("{path}."), out),
        }
    }

    fn tree(text: &str) -> Vec<String> {
        let parsed = parse("f", text.as_bytes());
        assert_eq!(parsed.faults, vec![]);
        let mut out = Vec::new();
        flat(&parsed.root.unwrap(), "", &mut out);
        out
    }

    #[test]
    fn every_key_knows_its_line() {
        assert_eq!(
            tree("# c\na:\n  b: 1\n  c: 'x'\nd: [ 1,\n 2 ]\ne:\n  - f: ''\n    g: ~\nh:\n"),
            [
                "a@2.b@3=\"1\"",
                "a@2.c@4=\"x\"",
                "d@5[5]=\"1\"",
                "d@5[6]=\"2\"",
                "e@7[8].f@8=\"\"",
                "e@7[8].g@9=null",
                "h@10=null"
            ]
        );
    }

    #[test]
    fn nothing_is_an_empty_configuration() {
        for text in [
            "",
            "\n\n",
            "# only a comment\n",
            "---\n",
            "\u{feff}a: 1",
            "---\n...\n",
        ] {
            assert!(
                parse("f", text.as_bytes()).root.is_some(),
                "{text:?} {:?}",
                faults(text)
            );
        }
        assert_eq!(tree("\u{feff}a: 1\r\nb: 2\r\n"), ["a@1=\"1\"", "b@2=\"2\""]);
    }

    #[test]
    fn what_is_not_supported_is_said_with_its_place() {
        assert_eq!(
            faults("a: &x 1\nb: *x\nc: !t 2\n"),
            [
                "f:1: a: anchors (&), aliases (*) and tags (!) are not supported: put a value that begins with one of these characters in single quotes",
                "f:2: b: anchors (&), aliases (*) and tags (!) are not supported: put a value that begins with one of these characters in single quotes",
                "f:3: c: anchors (&), aliases (*) and tags (!) are not supported: put a value that begins with one of these characters in single quotes",
            ]
        );
        assert_eq!(
            faults("a:\n  b: 1\n  c: 2\n  b: 3\na: 4\n"),
            [
                "f:4: a.b: is set twice (first on line 2): take one out",
                "f:5: a: is set twice (first on line 1): take one out"
            ]
        );
        assert_eq!(
            faults("a: 1\n---\nb: 2\n"),
            ["f:2: begins a second document: one file is one document, take out the second `---`"]
        );
        assert_eq!(
            faults("? [a]\n: b\n"),
            ["f:1: has a key that is not a plain word"]
        );
        assert_eq!(
            faults("- a\n"),
            ["f:1: must hold keys with values, like `server:`"]
        );
        assert_eq!(faults(&"[".repeat(100)), ["f:1: is nested too deeply"]);
        assert_eq!(
            faults(&format!("a: {}", " ".repeat(MAX_BYTES))),
            ["f: is larger than 1 MiB"]
        );
        let parsed = parse("f", b"a: 1\nb: \xff\n");
        assert_eq!(
            parsed.faults[0].to_string(),
            "f:2: is not UTF-8 text: save the file as UTF-8"
        );
    }

    #[test]
    fn syntax_faults_have_lines_and_quote_nothing() {
        for (text, line) in [
            ("a: 1\nb: @canary\n", 2),
            ("a: 1\nb: \"canary\n", 2),
            ("a: 1\n\tb: canary\n", 2),
            ("a: 1\n   b: canary\n", 2),
            ("a: [canary\n", 2),
            ("a: {b: canary\n", 2),
            ("api_token:canary\nb: 1\n", 1),
        ] {
            let found = faults(text);
            assert_eq!(found.len(), 1, "{text:?} {found:?}");
            assert!(!found[0].contains("canary"), "{found:?}");
            assert!(
                found[0].starts_with(&format!("f:{line}: is not valid YAML"))
                    || found[0].starts_with(&format!("f:{}: is not valid YAML", line + 1)),
                "{text:?} {found:?}"
            );
        }
    }
}
