//! A command line taken apart as FFmpeg does it: words, then globals, inputs with their options, one
//! output. Every option is on the allow list, and its value is not looked at yet.

use super::options::{self, Kind, Place, Rule};
use super::{refused, shown};
use crate::domain::error::Fault;

/// The longest command line looked at, in bytes.
pub(super) const MAX_TEXT: usize = 16 * 1024;
/// The most inputs (a camera, a silent sound source, a logo).
const MAX_INPUTS: usize = 4;

/// The words, without the program's name.
pub(super) fn split(text: &str) -> Result<Vec<String>, Fault> {
    if text.len() > MAX_TEXT {
        return Err(refused(format!("is longer than {MAX_TEXT} bytes")));
    }
    let text = text.replace("\r\n", "\n");
    if text
        .chars()
        .any(|c| c.is_control() && !matches!(c, '\n' | '\t'))
    {
        return Err(refused("contains a control character"));
    }
    let mut words = shell_words::split(&text).map_err(|_| refused("a quote is not closed"))?;
    // A command may come with the program's name or without.
    if words.first().is_some_and(|w| !w.starts_with('-')) {
        words.remove(0);
    }
    if words.is_empty() {
        return Err(refused("is empty"));
    }
    Ok(words)
}

/// One option as written, with its rule.
#[derive(Debug)]
pub(super) struct Given<'a> {
    pub rule: &'static Rule,
    /// With its stream specifier, without its dash.
    pub name: &'a str,
    pub value: Option<&'a str>,
}

/// An input or the output.
#[derive(Debug, Default)]
pub(super) struct File<'a> {
    pub options: Vec<Given<'a>>,
    pub url: &'a str,
}

impl<'a> File<'a> {
    /// Of the last option of that name: FFmpeg takes the last.
    pub fn value(&self, name: &str) -> Option<&'a str> {
        self.options
            .iter()
            .rfind(|o| o.rule.name == name)
            .and_then(|o| o.value)
    }

    pub fn has(&self, name: &str) -> bool {
        self.options.iter().any(|o| o.rule.name == name)
    }
}

/// A command line taken apart as FFmpeg does it.
#[derive(Debug, Default)]
pub(super) struct Command<'a> {
    pub globals: Vec<Given<'a>>,
    pub inputs: Vec<File<'a>>,
    pub output: File<'a>,
}

impl<'a> Command<'a> {
    pub fn parse(words: &'a [String]) -> Result<Self, Fault> {
        let mut command = Self::default();
        let mut pending = Vec::new();
        let mut output = None;
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            if output.is_some() {
                return Err(refused(
                    "something follows the output: there is one output, and it is last",
                ));
            }
            let Some(option) = word.strip_prefix('-').filter(|o| !o.is_empty()) else {
                output = Some(File {
                    options: std::mem::take(&mut pending),
                    url: word,
                });
                continue;
            };
            if option == "i" {
                let url = words
                    .next()
                    .ok_or_else(|| refused("option -i has no value"))?;
                command.inputs.push(File {
                    options: std::mem::take(&mut pending),
                    url,
                });
                continue;
            }
            let rule = options::find(option)
                .ok_or_else(|| refused(format!("{} is not allowed", shown(option))))?;
            let value = match rule.kind {
                Kind::Flag | Kind::OurFlag => None,
                _ => Some(
                    words
                        .next()
                        .ok_or_else(|| refused(format!("{} has no value", shown(option))))?,
                ),
            };
            let given = Given {
                rule,
                name: option,
                value,
            };
            if rule.place == Place::Global {
                command.globals.push(given);
            } else {
                pending.push(given);
            }
        }
        command.output = output.ok_or_else(|| refused("names no output"))?;
        if command.inputs.is_empty() {
            return Err(refused("names no input (-i)"));
        }
        if command.inputs.len() > MAX_INPUTS {
            return Err(refused(format!("names more than {MAX_INPUTS} inputs")));
        }
        Ok(command)
    }
}
