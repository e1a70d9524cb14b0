//! Sources as FFmpeg takes them: URLs with their user info encoded, files below `file_root`, and
//! the options that each kind of input needs. Shared by our own command lines and the judge of
//! RCS's. Knows no output.

use std::path::Path;

use crate::domain::engine::SourceFile;
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::stream::InputType;
use crate::infrastructure::child::file::open_below;
use crate::util::secret::Secret;
use crate::util::url;

/// Demuxers that a file may be read with. Those that open other files (`hls`, `concat`, `image2`)
/// are not among them.
pub(super) const FILE_FORMATS: &str =
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,mpeg,flv,avi,asf,ogg,h264,hevc";

/// What kind of input a URL scheme is; `None` for one that lss does not read.
pub(super) fn input_of_scheme(scheme: &str) -> Option<InputType> {
    match scheme.to_ascii_lowercase().as_str() {
        "rtsp" | "rtsps" => Some(InputType::Rtsp),
        "srt" => Some(InputType::Srt),
        "rtmp" | "rtmps" => Some(InputType::Rtmp),
        _ => None,
    }
}

/// The protocols an input may open, itself included, and nothing else: a playlist inside a stream
/// can't send FFmpeg to other hosts or to files. RTSP is no protocol to FFmpeg, but a demuxer over
/// TCP.
pub(super) fn protocols(scheme: &str) -> &'static str {
    match scheme.to_ascii_lowercase().as_str() {
        "rtsp" => "tcp",
        "rtsps" => "tls,tcp",
        "srt" => "srt",
        "rtmp" => "rtmp,tcp",
        "rtmps" => "rtmps,tls,tcp",
        _ => "file",
    }
}

/// The URL put together anew from its parts, its user info decoded once and encoded properly: a
/// password typed with raw `@ # : %` reaches the peer as it was meant, and FFmpeg finds the same
/// host in it that was checked (to FFmpeg a `?` or `#` ends the host, even in a password).
pub(super) fn network_url(text: &str) -> Secret {
    let Ok(parts) = url::split(text) else {
        return Secret::url(text);
    };
    let rtmp = input_of_scheme(parts.scheme) == Some(InputType::Rtmp);
    let encode = |text: &str| {
        if rtmp {
            // FFmpeg does not decode this one: only what would end the host early is encoded.
            let text = text.replace('/', "%2F").replace('?', "%3F");
            text.replace('#', "%23")
        } else {
            url::encode_userinfo(&url::decode(text))
        }
    };
    let user = match (parts.raw_user(), parts.raw_password()) {
        (Some(user), Some(password)) => format!("{}:{}@", encode(user), encode(password)),
        (Some(user), None) => format!("{}@", encode(user)),
        (None, _) => String::new(),
    };
    let port = parts.port.map(|p| format!(":{p}")).unwrap_or_default();
    Secret::url(format!(
        "{}://{user}{}{port}{}",
        parts.scheme.to_ascii_lowercase(),
        parts.host_in_url(),
        parts.path.replace(' ', "%20"),
    ))
}

/// The input of a command line from the network, where it has but one.
pub fn only_input(argv: &[Secret]) -> Option<&Secret> {
    let pairs = argv.iter().zip(argv.iter().skip(1));
    let mut inputs = pairs
        .filter(|(option, _)| option.expose() == "-i")
        .map(|(_, url)| url)
        .filter(|url| url.expose().contains("://"));
    let first = inputs.next()?;
    inputs.next().is_none().then_some(first)
}

/// Sounds that FFmpeg reads from RTP and decodes, by their names in a description (read in its RTP
/// handlers; an unknown one ends the whole command: "no decoder found").
const SOUNDS: [&str; 38] = [
    "PCMU",
    "PCMA",
    "G722",
    "G723",
    "G726-16",
    "G726-24",
    "G726-32",
    "G726-40",
    "AAL2-G726-16",
    "AAL2-G726-24",
    "AAL2-G726-32",
    "AAL2-G726-40",
    "G729",
    "GSM",
    "DVI4",
    "L8",
    "L16",
    "L24",
    "MPA",
    "MPA-ROBUST",
    "X-MP3-DRAFT-00",
    "MP3",
    "MP4A-LATM",
    "MPEG4-GENERIC",
    "AC3",
    "EAC3",
    "AMR",
    "AMR-WB",
    "OPUS",
    "VORBIS",
    "SPEEX",
    "ILBC",
    "QCELP",
    "PUREVOICE",
    "X-QDM",
    "X-QT",
    "X-QUICKTIME",
    "MP2T",
];

/// Whether FFmpeg has that sound, as the description names it.
pub(super) fn decodes_sound(codec: &str) -> bool {
    SOUNDS.iter().any(|known| known.eq_ignore_ascii_case(codec))
}

/// Where FFmpeg finds the file of a FILE source: its standard input, which whoever starts it has
/// opened for that run. Opened anew by this name it can be sought in, and no link leads elsewhere.
pub(super) const FILE_INPUT: &str = "file:/proc/self/fd/0";

/// A FILE source: a regular file below `root`, whatever links lead to it. `field` names it in the
/// fault. What lies outside is not told apart from what is not there. Each run looks again.
pub(super) fn file_below(
    field: &str,
    root: Option<&Path>,
    text: &str,
) -> Result<SourceFile, Fault> {
    let refused = |why: &str| {
        Err(Fault::new(
            ErrorCode::ValidationFailed,
            format!("{field} {why}"),
        ))
    };
    let Some(root) = root else {
        return refused(
            "is a file, and files are switched off: set lss.ffmpeg.file_root to the directory that holds them",
        );
    };
    if text.is_empty() || text.chars().any(char::is_control) {
        return refused("must be a plain path below lss.ffmpeg.file_root");
    }
    if !root.is_dir() {
        return refused("can't be looked up: the directory lss.ffmpeg.file_root is not there");
    }
    match open_below(root, text) {
        Some(_) => Ok(SourceFile {
            root: root.to_owned(),
            path: text.to_owned(),
        }),
        None => refused("must name a regular file below lss.ffmpeg.file_root"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn raw_and_encoded_passwords_come_out_the_same() {
        for typed in [
            "rtsp://admin:p@ss:1#%@10.0.0.9/Streaming/101?a=b",
            "RTSP://admin:p%40ss%3A1%23%25@10.0.0.9/Streaming/101?a=b",
        ] {
            assert_eq!(
                network_url(typed).expose(),
                "rtsp://admin:p%40ss%3A1%23%25@10.0.0.9/Streaming/101?a=b"
            );
        }
        for same in [
            "rtsp://10.0.0.9:554/x",
            "rtsp://admin@[fe80::1]:554/x",
            "srt://h:9000?mode=caller",
            "rtmp://u:p@ss%41@h/live/x",
        ] {
            assert_eq!(network_url(same).expose(), same);
        }
    }

    #[test]
    fn ffmpeg_finds_the_host_that_was_checked() {
        for (typed, host) in [
            ("rtsp://169.254.169.254?@good/x", "good"),
            ("rtmp://169.254.169.254#@good/x", "good"),
            ("https://evil.example?a@good/x", "good"),
            ("https://u:a#b@good?x", "good"),
        ] {
            let url = network_url(typed);
            // As FFmpeg splits: the authority ends at the first of these.
            let authority = url.expose().split("://").nth(1).unwrap();
            let authority = authority.split(['/', '?', '#']).next().unwrap();
            assert_eq!(authority.rsplit('@').next().unwrap(), host, "{typed}");
        }
    }

    #[test]
    fn files_stay_below_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("media");
        std::fs::create_dir_all(root.join("sub")).unwrap();
        std::fs::write(root.join("sub/a.mp4"), "x").unwrap();
        std::fs::write(dir.path().join("secret"), "x").unwrap();
        symlink(dir.path().join("secret"), root.join("out")).unwrap();
        symlink(root.join("sub/a.mp4"), root.join("in")).unwrap();
        let found = |text: &str| file_below("sourceUrl", Some(&root), text);
        let real = root.canonicalize().unwrap().join("sub/a.mp4");
        for good in ["sub/a.mp4", real.to_str().unwrap(), "in"] {
            let file = found(good).unwrap();
            assert_eq!(
                (file.root.as_path(), file.path.as_str()),
                (root.as_path(), good)
            );
        }
        for bad in [
            "../secret",
            "out",
            "sub",
            "none",
            "",
            "/etc/passwd",
            "a\nb",
            "file:sub/a.mp4",
        ] {
            let fault = found(bad).unwrap_err();
            assert_eq!(fault.code, ErrorCode::ValidationFailed, "{bad}");
            assert!(fault.message.starts_with("sourceUrl "), "{}", fault.message);
        }
        assert!(file_below("sourceUrl", None, "a.mp4").is_err());
        assert!(file_below("sourceUrl", Some(&dir.path().join("gone")), "a.mp4").is_err());
    }
}
