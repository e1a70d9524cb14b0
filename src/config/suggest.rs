//! "Did you mean": the known word that is closest to an unknown one.

/// The closest of `known` to `word`, if it is close enough to be a slip of the hand. Case, `-` and
/// `_` count for nothing: `apiToken` means `api_token`.
pub fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = folded(word);
    // Nobody mistypes by more; and it bounds the work.
    if word.is_empty() || word.len() > 48 {
        return None;
    }
    let most = match word.len() {
        0..=3 => 1,
        4..=7 => 2,
        _ => 3,
    };
    known
        .into_iter()
        .map(|k| (distance(&word, &folded(k)), k))
        .filter(|&(d, _)| d <= most)
        .min_by_key(|&(d, _)| d)
        .map(|(_, k)| k)
}

/// Whether two words are the same but for case, `-` and `_`.
pub(super) fn same(a: &str, b: &str) -> bool {
    folded(a) == folded(b)
}

fn folded(word: &str) -> Vec<char> {
    word.chars()
        .filter(|c| !matches!(c, '-' | '_'))
        .flat_map(char::to_lowercase)
        .collect()
}

/// Edits (insert, delete, replace, swap neighbours) that turn `a` into `b`.
fn distance(a: &[char], b: &[char]) -> usize {
    // Rows of the table: the one before last, the last, and the one being filled.
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, cb) in b.iter().enumerate() {
            let at = |r: &[usize], k: usize| r.get(k).copied().unwrap_or(usize::MAX / 2);
            let mut cost = (at(&last, j) + usize::from(ca != cb))
                .min(at(&last, j + 1) + 1)
                .min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(cb) && b.get(j - 1) == Some(ca);
            if swapped {
                cost = cost.min(at(&before, j - 1) + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edits(a: &str, b: &str) -> usize {
        let chars = |t: &str| t.chars().collect::<Vec<_>>();
        distance(&chars(a), &chars(b))
    }

    #[test]
    fn counts_edits() {
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("port", "port"), 0);
        assert_eq!(edits("prot", "port"), 1);
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("ab", "ba"), 1);
    }

    #[test]
    fn suggests_slips_and_nothing_far_fetched() {
        let known = ["port", "listen", "api_token", "api_token_file"];
        assert_eq!(closest("prot", known), Some("port"));
        assert_eq!(closest("apiToken", known), Some("api_token"));
        assert_eq!(closest("api-tokenfile", known), Some("api_token_file"));
        assert_eq!(closest("listens", known), Some("listen"));
        assert_eq!(closest("hostname", known), None);
        assert_eq!(closest("", known), None);
        assert_eq!(closest(&"p".repeat(1000), known), None);
    }
}
