//! How large a picture a command may ask for. FFmpeg allocates what it is told to, some pictures at a
//! time, before anything is sent: 16000 × 16000 is 2 GB within seconds. Pure.

/// Most pixels each way: 8K and a margin.
const MOST: f64 = 8192.0;
/// Most that a camera's own picture may be enlarged, each way.
const MOST_TIMES: f64 = 4.0;

/// Options of filters that set a size, with the positions at which they stand without a name.
const OF_FILTERS: [(&str, &[&str], &[usize]); 3] = [
    (
        "scale",
        &["w", "width", "h", "height", "s", "size"],
        &[0, 1],
    ),
    ("pad", &["w", "width", "h", "height"], &[0, 1]),
    ("rotate", &["ow", "out_w", "oh", "out_h"], &[1, 2]),
];

/// Whether an argument of a filter is a size: by its name, else by its position.
pub(super) fn is_size(filter: &str, key: Option<&str>, position: usize) -> bool {
    OF_FILTERS.iter().any(|(name, keys, positions)| {
        *name == filter && key.map_or(positions.contains(&position), |key| keys.contains(&key))
    })
}

/// `-s`: `1280x720`, or a name such as `hd1080`, all of which are small enough.
pub(super) fn is_option(value: &str) -> bool {
    match value.split_once(['x', 'X']) {
        Some((w, h)) => [w, h].iter().all(|n| n.parse::<f64>().is_ok_and(is_fine)),
        None => !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric()),
    }
}

/// Functions that make much of little, and names of numbers that are not what they look like.
const NEVER: [&str; 9] = [
    "pow", "exp", "gamma", "root", "taylor", "while", "st", "ld", "random",
];
/// Names that may stand on one side of a product: ratios of the picture.
const RATIOS: [&str; 5] = ["a", "sar", "dar", "hsub", "vsub"];

#[derive(Clone, Copy, PartialEq)]
enum Token<'a> {
    Number(f64),
    Word(&'a str),
    Sign(char),
}

/// Whether an expression of a filter stays within the bounds: its numbers are written plainly and
/// small, all together, and nothing is multiplied by more than a little. Sound for what people write;
/// what is cleverer than that is refused, or stopped by the child's own bound of memory.
pub(super) fn is_expression(text: &str) -> bool {
    if is_pair(text) {
        return is_option(text);
    }
    let Some(tokens) = tokens(text) else {
        return false;
    };
    let (mut sum, mut times) = (0.0, 1.0);
    for (at, token) in tokens.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| tokens.get(at));
        let after = tokens.get(at + 1);
        match token {
            Token::Number(number) => {
                sum += number;
                if before == Some(&Token::Sign('/')) {
                    times /= number.max(1.0);
                } else if [before, after].contains(&Some(&Token::Sign('*'))) {
                    times *= number.max(1.0);
                }
            }
            Token::Word(word) if NEVER.contains(word) => return false,
            Token::Sign('^') => return false,
            // Width times height is no width.
            Token::Sign('*') if ![before, after].into_iter().flatten().any(is_factor) => {
                return false;
            }
            Token::Word(_) | Token::Sign(_) => {}
        }
    }
    is_fine(sum) && times <= MOST_TIMES
}

fn is_factor(token: &Token<'_>) -> bool {
    match token {
        Token::Number(_) => true,
        Token::Word(word) => RATIOS.contains(word),
        Token::Sign(_) => false,
    }
}

/// `None` for a number that is not written plainly: `10k`, `1e9`, `0x7fff`, `.5.`.
fn tokens(text: &str) -> Option<Vec<Token<'_>>> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
        let end = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let (token, after) = rest.split_at(end);
        found.push(if first.is_ascii_digit() || first == '.' {
            let plain = token.bytes().all(|b| b.is_ascii_digit() || b == b'.');
            Token::Number(token.parse().ok().filter(|_| plain)?)
        } else if is_word(first) {
            Token::Word(token)
        } else {
            Token::Sign(first)
        });
        rest = after.trim_start();
    }
    Some(found)
}

fn is_pair(text: &str) -> bool {
    text.split_once('x').is_some_and(|(w, h)| {
        [w, h]
            .iter()
            .all(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    })
}

fn is_fine(number: f64) -> bool {
    (0.0..=MOST).contains(&number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write() {
        for text in [
            "1280",
            "-1",
            "-2",
            "7680",
            "iw",
            "iw/2",
            "min(1280,iw)",
            "trunc(iw/2)*2",
            "ih*16/9",
            "iw*sar",
            "if(gt(a,16/9),1280,-2)",
            "iw+20",
            "2*iw",
            "max(iw,ih)",
            "rotw(0.5)",
            "ceil(iw/2)*2",
            "1280x720",
            "ih*4/3",
            "iw*0.5",
            "hypot(iw,ih)",
        ] {
            assert!(is_expression(text), "{text}");
        }
        for text in ["1280x720", "hd1080", "7680x4320", "vga"] {
            assert!(is_option(text), "{text}");
        }
    }

    #[test]
    fn what_would_take_all_memory() {
        for text in [
            "16000",
            "16000x16000",
            "16k",
            "1e9",
            "iw*16",
            "16*iw",
            "iw*4*4",
            "iw*ih",
            "2^14",
            "pow(2,14)",
            "8192*8192",
            "iw*ih*1",
            "0x7fff",
            "99999",
            "8000+8000",
            "iw*(ih)",
        ] {
            assert!(!is_expression(text), "{text}");
        }
        for text in ["16000x16000", "1280x99999", "x", "1280x", "0x10x10", ""] {
            assert!(!is_option(text), "{text}");
        }
    }
}
