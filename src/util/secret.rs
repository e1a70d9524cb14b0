//! Secrets as a type, and their masking by value.
//!
//! A [`Secret`] never shows itself in `Debug` and has no `Display`; [`Secret::expose`] is the one
//! way to its text, so that a search for that word finds every place a secret leaves by. While a
//! secret lives, its value stands in a process-wide table, and [`mask`] replaces it in any text, in
//! whatever spelling a peer may quote it: log lines, FFmpeg's stderr, error messages. The last
//! clone's drop takes it out again and wipes it.
//!
//! Masking comes before anything else that is done to a text: half a secret, or one whose spaces
//! were folded, is not recognised. [`foreign`](super::foreign) does it in that order.

mod needles;
mod unescape;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

use zeroize::Zeroizing;

use super::url;
use needles::{Needle, Needles, forms};

pub use super::url::MASK;

/// A password, key, token, or URL that carries one. Cloning is cheap; all clones share one value.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<Inner>);

struct Inner {
    value: Zeroizing<String>,
    /// Ours in the table.
    needles: Vec<Arc<Needle>>,
}

impl PartialEq for Inner {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Eq for Inner {}

/// Parameters of a URL whose values are secrets, in lower case.
const SECRET_PARAMETERS: [&str; 14] = [
    "access_token",
    "accesskey",
    "apikey",
    "api_key",
    "auth",
    "jwt",
    "key",
    "passphrase",
    "password",
    "pwd",
    "secret",
    "sig",
    "signature",
    "token",
];

impl Secret {
    /// A password or token.
    pub fn new(value: impl Into<String>) -> Self {
        let value = value.into();
        let needles = forms(&value);
        Self::register(value, needles)
    }

    /// A key of two parts, `name:secret`, as Ably's: its second part is one on its own, too.
    pub fn key(value: impl Into<String>) -> Self {
        let value = value.into();
        let mut needles = forms(&value);
        if let Some((_, secret)) = value.split_once(':') {
            needles.extend(forms(secret));
        }
        Self::register(value, needles)
    }

    /// A header's value. Behind the name of a scheme (`Bearer`, `Basic`) the rest is one on its
    /// own, too.
    pub fn header(value: impl Into<String>) -> Self {
        let value = value.into();
        let mut needles = forms(&value);
        if let Some((_, credentials)) = value.trim().split_once(' ') {
            needles.extend(forms(credentials.trim()));
        }
        Self::register(value, needles)
    }

    /// A URL that is a secret as a whole (WHIP), or carries one (RTSP user info). In other text it
    /// shows as [`url::mask`] shows it; its path, its password and the parameters of its query that
    /// are secrets by their name are masked on their own too.
    pub fn url(value: impl Into<String>) -> Self {
        let value = value.into();
        let mut needles = vec![Needle::new(value.as_str(), &url::mask(&value))];
        if let Ok(parts) = url::split(&value) {
            if parts.path.len() > url::SHOWN_PATH {
                needles.push(Needle::new(parts.path, &url::mask_path(parts.path)));
            }
            if let Some(password) = parts.raw_password() {
                needles.extend(forms(&url::decode(password)));
                needles.push(Needle::new(password, MASK));
            }
            let (path, query) = parts.path.split_once('?').unwrap_or((parts.path, ""));
            // Without the slash some servers quote it, too. A single part may be nothing but the
            // name of the task, which must stay readable.
            let bare = path.trim_start_matches('/');
            for path in [path, bare, parts.path.trim_start_matches('/')] {
                if path.len() > url::SHOWN_PATH && bare.contains('/') {
                    needles.push(Needle::new(path, &url::mask_path(path)));
                }
            }
            for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
                let name = name.to_ascii_lowercase();
                if SECRET_PARAMETERS.contains(&name.as_str()) {
                    needles.extend(forms(&url::decode(value)));
                }
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

    fn register(value: String, needles: Vec<Needle>) -> Self {
        let needles = if needles.is_empty() {
            Vec::new()
        } else {
            let mut table = TABLE.write().unwrap_or_else(PoisonError::into_inner);
            table.add(needles)
        };
        Self(Arc::new(Inner {
            value: Zeroizing::new(value),
            needles,
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
        if !self.needles.is_empty() {
            let mut table = TABLE.write().unwrap_or_else(PoisonError::into_inner);
            table.remove(&self.needles);
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

static TABLE: RwLock<Needles> = RwLock::new(Needles::new());

/// Replaces every living secret's value in `text`, in whatever spelling, then the user info and the
/// path of every URL that is left in it.
///
/// ```
/// use lss::util::secret::{mask, Secret};
/// let password = Secret::new("hunter/22");
/// assert_eq!(mask("login hunter/22 failed"), "login *** failed");
/// assert_eq!(mask("login hunter%2f22 failed"), "login *** failed");
/// assert_eq!(mask("open rtsp://a:b@cam/Streaming/1"), "open rtsp://***@cam/Strea…");
/// ```
pub fn mask(text: &str) -> String {
    masked(text, false)
}

/// The same for a text that was cut at its end, maybe in the middle of a secret.
pub fn mask_cut(text: &str) -> String {
    masked(text, true)
}

/// Where secrets stand in `text`, in order.
pub fn places(text: &str) -> Vec<Range<usize>> {
    let table = TABLE.read().unwrap_or_else(PoisonError::into_inner);
    let hits = table.hits(text, false);
    hits.into_iter().map(|hit| hit.from..hit.to).collect()
}

fn masked(text: &str, cut: bool) -> String {
    let hits = {
        let table = TABLE.read().unwrap_or_else(PoisonError::into_inner);
        table.hits(text, cut)
    };
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for hit in hits {
        out.push_str(text.get(from..hit.from).unwrap_or_default());
        out.push_str(&hit.shown);
        from = hit.to;
    }
    out.push_str(text.get(from..).unwrap_or_default());
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
    fn masked_by_value_in_every_spelling() {
        let _keep = Secret::new("p@ss: Wörd#1%2\"&x");
        for form in [
            "p@ss: Wörd#1%2\"&x",
            // encodeURIComponent, a form, JavaScript's escape(), lower case.
            "p%40ss%3A%20W%C3%B6rd%231%252%22%26x",
            "p%40ss%3a+W%c3%b6rd%231%252%22%26x",
            "p@ss%3A%20W%F6rd%231%252%22%26x",
            "p@ss%3A%20W%u00F6rd%231%252%22%26x",
            // JSON, tame and with every character escaped that may be.
            r#"p@ss: Wörd#1%2\"&x"#,
            r"p@ss: W\u00f6rd#1%2\u0022\u0026x",
            // HTML, XML.
            "p@ss: Wörd#1%2&quot;&amp;x",
            "p&#64;ss: W&#xF6;rd#1%2&#34;&#38;x",
            "p&commat;ss&colon; Wörd&num;1&percnt;2&quot;&amp;x",
            // An error page in a JSON answer.
            r"p@ss: Wörd#1%2&quot;\u0026amp;x",
            // Rust's Debug, Latin-1 taken for UTF-8.
            r#"p@ss: Wörd#1%2\"&x"#,
            "p@ss: W\u{fffd}rd#1%2\"&x",
        ] {
            let masked = mask(&format!("x <{form}> y"));
            assert_eq!(masked, "x <***> y", "{form}");
        }
    }

    #[test]
    fn masked_in_base64_wherever_it_stands() {
        use base64::Engine as _;
        use base64::engine::general_purpose as engines;
        let password = "c?nary>pass~1";
        let _keep = Secret::new(password);
        for user in ["", "u:", "ab:", "abc:", "admin:"] {
            for behind in ["", "\n", "yz", "xyz!"] {
                let text = format!("{user}{password}{behind}");
                for form in [
                    engines::STANDARD.encode(&text),
                    engines::STANDARD_NO_PAD.encode(&text),
                    engines::URL_SAFE.encode(&text),
                    engines::URL_SAFE_NO_PAD.encode(&text),
                    engines::STANDARD.encode(&text).replace('=', "%3d"),
                    engines::STANDARD.encode(&text).replace('/', "\\/"),
                ] {
                    let masked = mask(&format!("Authorization: Basic {form}, x"));
                    assert_eq!(masked, "Authorization: Basic ***, x", "{text} {form}");
                }
            }
        }
        assert_eq!(mask("c2FmZTp0ZXh0"), "c2FmZTp0ZXh0");
    }

    #[test]
    fn the_parts_of_keys_headers_and_queries_are_masked_too() {
        let _key = Secret::key("app1.key1:canary-of/the+key");
        let _header = Secret::header("Bearer canary-of-a-header");
        let _url = Secret::url("https://auth.example/t?clientId=shown&Token=canary%2Fq&key=x");
        for (text, expected) in [
            ("key app1.key1:canary-of/the+key", "key ***"),
            (
                "secret canary-of/the+key of app1.key1",
                "secret *** of app1.key1",
            ),
            ("canary-of%2fthe%2Bkey", "***"),
            ("token canary-of-a-header", "token ***"),
            ("bearer CANARY Bearer", "bearer CANARY Bearer"),
            ("said canary/q", "said ***"),
            ("clientId=shown", "clientId=shown"),
        ] {
            assert_eq!(mask(text), expected);
        }
    }

    #[test]
    fn what_overlaps_is_hidden_whole() {
        let _keep = [
            Secret::new("overlap-canary-a"),
            Secret::new("canary-a-and-b"),
            Secret::new("overlap-canary-a-and-b-and-c"),
        ];
        assert_eq!(mask("x overlap-canary-a-and-b y"), "x *** y");
        assert_eq!(mask("x overlap-canary-a-and-b-and-c y"), "x *** y");
        assert_eq!(mask("overlap-canary-a overlap-canary-a"), "*** ***");
        let text = "é overlap%2Dcanary-a-and-b";
        assert_eq!(places(text), vec![3..text.len()]);
    }

    #[test]
    fn a_text_cut_within_a_secret_shows_no_half_of_it() {
        let _keep = Secret::new("cutting#canary#4711");
        for whole in [
            "cutting#canary#4711",
            "cutting%23canary%234711",
            "cutting&#35;canary&#x23;4711",
        ] {
            for end in 4..whole.len() {
                let text = format!("x {}", &whole[..end]);
                assert!(!mask_cut(&text).contains("cutt"), "{text}");
            }
        }
        assert_eq!(mask_cut("x cut off"), "x cut off");
    }

    #[test]
    fn many_secrets_and_long_texts() {
        // Hundreds that begin alike, and texts that begin like them everywhere.
        let keep: Vec<Secret> = (0..500)
            .map(|n| Secret::url(format!("rtsp://admin:many-canary-{n}@10.0.0.{n}/x")))
            .collect();
        let text = "rtsp rtsp://admin:many-canary-499@h/x many%2Dcanary-77 ".repeat(600);
        let masked = mask(&text);
        assert!(!masked.contains("canary"));
        assert_eq!(masked.matches("***").count(), 1200);
        drop(keep);
        assert_eq!(mask("many-canary-77"), "many-canary-77");
    }

    #[test]
    fn a_url_is_masked_whole_and_in_its_parts() {
        let _keep = Secret::url("https://whip.example/4f1c-canary-path/publish");
        assert_eq!(
            mask("POST https://whip.example/4f1c-canary-path/publish: 500"),
            "POST https://whip.example/4f1c-…: 500"
        );
        assert!(!mask("Cannot POST /4f1c-canary-path/publish").contains("canary"));
        assert!(!mask("no stream 4f1c-canary-path/publish").contains("canary"));
        assert!(!mask(r"at https:\/\/whip.example\/4f1c-canary-path\/publish").contains("canary"));
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
