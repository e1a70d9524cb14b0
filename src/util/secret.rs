//! Secrets as a type, and their masking by value.
//!
//! A [`Secret`] never shows itself in `Debug` and has no `Display`; [`Secret::expose`] is the one
//! way to its text, so that a search for that word finds every place a secret leaves by. While a
//! secret lives, its value (and the forms in which others print it) stands in a process-wide
//! table, and [`mask`] replaces it in any text: log lines, FFmpeg's stderr, error messages. The
//! last clone's drop takes it out again and wipes it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use zeroize::Zeroizing;

use super::url;

pub use super::url::MASK;

/// Values shorter than this are masked by type only: masking a two-letter password by value would
/// blank half of every log line and so betray it.
const MIN_BY_VALUE: usize = 4;

/// A password, key, token, or URL that carries one. Cloning is cheap; all clones share one value.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<Inner>);

#[derive(PartialEq, Eq)]
struct Inner {
    value: Zeroizing<String>,
    /// Needles of ours in the table.
    needles: Vec<String>,
}

impl Secret {
    /// A password, key or token.
    pub fn new(value: impl Into<String>) -> Self {
        let value = value.into();
        let needles = vec![
            (value.clone(), MASK.to_owned()),
            (url::encode_userinfo(&value), MASK.to_owned()),
            (url::decode(&value), MASK.to_owned()),
        ];
        Self::register(value, needles)
    }

    /// A URL that is a secret as a whole (WHIP), or carries one (RTSP user info). In other text it
    /// shows as [`url::mask`] shows it; its path and its password are masked on their own too.
    pub fn url(value: impl Into<String>) -> Self {
        let value = value.into();
        let mut needles = vec![(value.clone(), url::mask(&value))];
        if let Ok(parts) = url::split(&value) {
            if parts.path.len() > url::SHOWN_PATH {
                needles.push((parts.path.to_owned(), url::mask_path(parts.path)));
            }
            if let Some(password) = parts.raw_password() {
                let decoded = url::decode(password);
                needles.push((url::encode_userinfo(&decoded), MASK.to_owned()));
                needles.push((decoded, MASK.to_owned()));
                needles.push((password.to_owned(), MASK.to_owned()));
            }
        }
        Self::register(value, needles)
    }

    /// A text that is hidden by type like any other, but not masked by value where it turns up:
    /// for the harmless parts of something that carries secrets elsewhere, an argument like
    /// `-c:v` in a command line. Masking those by value would blank half of every log line.
    pub fn unlisted(value: impl Into<String>) -> Self {
        Self::register(value.into(), Vec::new())
    }

    fn register(value: String, needles: Vec<(String, String)>) -> Self {
        let mut kept: Vec<String> = Vec::with_capacity(needles.len());
        let mut table = TABLE.write().unwrap_or_else(PoisonError::into_inner);
        for (needle, shown) in needles {
            if needle.len() < MIN_BY_VALUE || kept.contains(&needle) {
                continue;
            }
            table.entry(needle.clone()).or_insert((0, shown)).0 += 1;
            kept.push(needle);
        }
        drop(table);
        Self(Arc::new(Inner {
            value: Zeroizing::new(value),
            needles: kept,
        }))
    }

    /// The text itself. Only for handing it to where it must go.
    pub fn expose(&self) -> &str {
        &self.0.value
    }

    /// Whether there is any text at all.
    pub fn is_empty(&self) -> bool {
        self.0.value.is_empty()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let mut table = TABLE.write().unwrap_or_else(PoisonError::into_inner);
        for needle in &self.needles {
            let gone = match table.get_mut(needle) {
                Some((count, _)) => {
                    *count = count.saturating_sub(1);
                    *count == 0
                }
                None => false,
            };
            if gone {
                table.remove(needle);
            }
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// needle → (living secrets that have it, what to show instead)
static TABLE: RwLock<BTreeMap<String, (usize, String)>> = RwLock::new(BTreeMap::new());

/// Replaces every living secret's value in `text`, then the user info and the path of every URL
/// that is left in it.
///
/// ```
/// use lss::util::secret::{mask, Secret};
/// let password = Secret::new("hunter22");
/// assert_eq!(mask("login hunter22 failed"), "login *** failed");
/// assert_eq!(mask("open rtsp://a:b@cam/Streaming/1"), "open rtsp://***@cam/Strea…");
/// ```
pub fn mask(text: &str) -> String {
    let mut out = text.to_owned();
    {
        let table = TABLE.read().unwrap_or_else(PoisonError::into_inner);
        let mut hits: Vec<(&String, &String)> = table
            .iter()
            .filter(|(needle, _)| text.contains(needle.as_str()))
            .map(|(needle, (_, shown))| (needle, shown))
            .collect();
        // The longest first: a whole URL before the password inside it.
        hits.sort_by_key(|(needle, _)| std::cmp::Reverse(needle.len()));
        for (needle, shown) in hits {
            out = out.replace(needle.as_str(), shown);
        }
    }
    url::mask_all(&out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new("topsecret-1")), "***");
    }

    #[test]
    fn an_unlisted_one_is_hidden_by_type_only() {
        let arg = Secret::unlisted("-keyint_min");
        assert_eq!(format!("{arg:?}"), "***");
        assert_eq!(mask("option -keyint_min"), "option -keyint_min");
    }

    #[test]
    fn masked_by_value_in_every_form() {
        let _keep = Secret::new("p@ss:Wörd#1%");
        for form in ["p@ss:Wörd#1%", "p%40ss%3AW%C3%B6rd%231%25"] {
            let masked = mask(&format!("x {form} y"));
            assert_eq!(masked, "x *** y", "{form}");
        }
    }

    #[test]
    fn a_url_is_masked_whole_and_in_its_parts() {
        let _keep = Secret::url("https://whip.example/4f1c-canary-path/publish");
        assert_eq!(
            mask("POST https://whip.example/4f1c-canary-path/publish: 500"),
            "POST https://whip.example/4f1c-…: 500"
        );
        assert!(!mask("Cannot POST /4f1c-canary-path/publish").contains("canary"));
    }

    #[test]
    fn a_password_with_a_space_in_a_url_is_masked() {
        let _keep = Secret::url("rtsp://admin:my canary#@10.0.0.1/x");
        assert!(!mask("input rtsp://admin:my canary#@10.0.0.1/x failed").contains("canary"));
    }

    #[test]
    fn gone_with_its_last_clone() {
        let secret = Secret::new("short-lived-value");
        let clone = secret.clone();
        drop(secret);
        assert_eq!(mask("short-lived-value"), "***");
        drop(clone);
        assert_eq!(mask("short-lived-value"), "short-lived-value");
    }

    #[test]
    fn two_secrets_of_one_value_count_twice() {
        let one = Secret::new("same-value-77");
        let two = Secret::new("same-value-77");
        drop(one);
        assert_eq!(mask("same-value-77"), "***");
        drop(two);
    }
}
