//! An FFmpeg command line as it may be shown (contract 11). Pure.

use crate::util::foreign;
use crate::util::secret::{MASK, Secret};
use crate::util::url;

/// Longest command line that is shown, in characters.
const MAX_COMMAND: usize = 16 * 1024;

/// Options whose values are shown: none of them can carry an address, a header or a key.
const HARMLESS: &[&str] = &[
    "ac",
    "analyzeduration",
    "ar",
    "b",
    "bf",
    "bufsize",
    "c",
    "codec",
    "crf",
    "f",
    "fflags",
    "flags",
    "g",
    "keyint_min",
    "level",
    "map",
    "max_delay",
    "maxrate",
    "minrate",
    "pix_fmt",
    "preset",
    "probesize",
    "profile",
    "r",
    "rtsp_transport",
    "s",
    "sc_threshold",
    "stimeout",
    "stream_loop",
    "strict",
    "timeout",
    "tune",
];

/// Options that are shown by name, their values hidden. Any other word that begins with `-` may
/// be a key.
const NAMED: &[&str] = &[
    "af",
    "allowed_media_types",
    "an",
    "authorization",
    "buffer_size",
    "filter",
    "filter_complex",
    "headers",
    "hide_banner",
    "i",
    "loglevel",
    "metadata",
    "n",
    "nostats",
    "nostdin",
    "progress",
    "protocol_whitelist",
    "re",
    "reconnect",
    "reconnect_delay_max",
    "reconnect_streamed",
    "rw_timeout",
    "sn",
    "use_wallclock_as_timestamps",
    "user_agent",
    "vf",
    "vn",
    "vsync",
    "y",
];

/// A command line as it may be shown: program, known options, harmless values, masked URLs; every
/// other word hidden. A text that does not split like a shell's is hidden whole.
pub fn shown_command(command: &Secret) -> String {
    let Ok(words) = shell_words::split(&command.expose().replace("\r\n", "\n")) else {
        return MASK.to_owned();
    };
    let mut shown = Vec::with_capacity(words.len());
    let mut value_may_be_shown = false;
    for (at, word) in words.iter().enumerate() {
        let option = word
            .strip_prefix('-')
            .and_then(|name| name.split(':').next());
        let harmless = option.is_some_and(|name| HARMLESS.contains(&name));
        shown.push(if at == 0 && !word.contains("://") {
            // Where the program lies is nobody's business, and tells nothing.
            word.rsplit('/').next().unwrap_or(MASK).to_owned()
        } else if harmless || option.is_some_and(|name| NAMED.contains(&name)) {
            word.clone()
        } else if word.contains("://") {
            url::mask(word)
        } else if value_may_be_shown {
            word.clone()
        } else {
            MASK.to_owned()
        });
        value_may_be_shown = harmless;
    }
    foreign::shown_as_it_is(&shown.join(" "), MAX_COMMAND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_is_no_shell_text_is_hidden_whole() {
        assert_eq!(shown_command(&Secret::new("ffmpeg 'open canary")), MASK);
    }

    #[test]
    fn keys_are_hidden_wherever_they_stand() {
        let shown = shown_command(&Secret::new(
            "/opt/x/ffmpeg -rtsp_transport tcp -i 'rtsp://u:my canary@h/abcdefgh' \\\n\
             -headers 'Authorization: canary' -canary -map 0:v:0 -authorization -canary \
             -unknown canary canary -preset veryfast -f whip https://w.example/canary/whip",
        ));
        assert_eq!(
            shown,
            "ffmpeg -rtsp_transport tcp -i rtsp://***@h/abcde… -headers *** *** -map 0:v:0 \
             -authorization *** *** *** *** -preset veryfast -f whip https://w.example/canar…"
        );
    }
}
