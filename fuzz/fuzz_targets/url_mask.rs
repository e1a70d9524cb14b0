//! A URL with a planted secret, in any text: neither the password nor the path survives masking.
#![no_main]

use lss::util::secret::{Secret, mask};
use lss::util::url;

const CANARY: &str = "cAnary7f3aX";

libfuzzer_sys::fuzz_target!(|text: &str| {
    // No panic, whatever it is.
    let _ = (url::split(text), url::mask(text), url::mask_all(text), url::literal_ip(text));
    if text.contains("cAnary") {
        return;
    }
    // Two cuts make a beginning of the password, an end of it, and what stands around the URL.
    let third = text.len() / 3;
    let cut = |at: usize| (at..=text.len()).find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    let (head, rest) = text.split_at(cut(third));
    let (middle, tail) = rest.split_at((third..=rest.len()).find(|i| rest.is_char_boundary(*i)).unwrap_or(0));
    // A raw `/` ends the authority, in a password too: such a password must be encoded.
    let (start, end) = (head.replace('/', "-"), middle.replace('/', "-"));
    for url in [
        format!("rtsp://admin:{start}{CANARY}{end}@10.0.0.9/{tail}"),
        format!("https://whip.example/live/{head}{CANARY}{middle}"),
    ] {
        let living = Secret::url(url.clone());
        for around in [url.clone(), format!("{head} {url} {tail}"), format!("[{tail}'{url}'")] {
            let masked = mask(&around);
            assert!(!masked.contains(CANARY), "{around:?} -> {masked:?}");
        }
        drop(living);
    }
});
