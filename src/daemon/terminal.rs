//! What commands print: results on stdout, words about them on stderr.

use std::io::Write as _;

pub(super) fn out(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

pub(super) fn err(line: &str) {
    let _ = writeln!(std::io::stderr(), "lss: {line}");
}
