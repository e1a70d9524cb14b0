//! An SDP answer, looked at before it is taken: whether it takes what was offered, in words that
//! name what it doesn't. What is fine here is still read by str0m, which is strict about grammar.

use crate::util::foreign;

/// No endpoint needs more.
const MAX_ANSWER: usize = 64 * 1024;
/// Characters of what an answer says that are repeated to people.
const MAX_SHOWN: usize = 100;

/// Why an answer can't be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A web page, say.
    #[error("the answer is no SDP")]
    NotSdp,
    /// More than 64 KiB.
    #[error("the answer is longer than any SDP")]
    TooLong,
    /// Each offered line has to be answered.
    #[error("the answer has {answered} m-lines, {offered} were offered")]
    Lines {
        /// What we sent.
        offered: usize,
        /// What came back.
        answered: usize,
    },
    /// `m=video 0`.
    #[error("the endpoint rejects the video (m=video 0)")]
    VideoRejected,
    /// Neither `recvonly` nor `sendrecv`.
    #[error("the endpoint does not want to receive the video (a={0})")]
    VideoNotWanted(&'static str),
    /// Other formats, or packetization mode 0 alone.
    #[error("the endpoint takes no H.264 (packetization-mode 1, 42e01f)")]
    NoH264,
    /// Nothing to check the peer's certificate by.
    #[error("the answer has no a=fingerprint")]
    NoFingerprint,
    /// Its hash is not one that can be checked.
    #[error("the answer's a=fingerprint is no SHA-256")]
    OtherFingerprint,
    /// `a=ice-ufrag` or `a=ice-pwd` is missing.
    #[error("the answer has no a=ice-ufrag and a=ice-pwd")]
    NoIce,
    /// What str0m says of it.
    #[error("the answer can't be understood: {0}")]
    Unreadable(String),
    /// A session has one answer.
    #[error("the session has its answer")]
    Late,
}

impl Refusal {
    /// Words of a parser, which may repeat the answer's.
    pub fn unreadable(words: &str) -> Self {
        Self::Unreadable(foreign::shown(words, MAX_SHOWN))
    }
}

/// What an answer takes of the offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// The sound, if it was offered.
    pub audio: bool,
}

/// One m-line and its attributes.
struct Media<'a> {
    kind: &'a str,
    port_zero: bool,
    attributes: Vec<&'a str>,
}

impl<'a> Media<'a> {
    fn begin(words: &'a str) -> Self {
        let mut words = words.split_ascii_whitespace();
        Self {
            kind: words.next().unwrap_or(""),
            port_zero: words.next() == Some("0"),
            attributes: Vec::new(),
        }
    }

    fn value(&self, name: &str) -> Option<&'a str> {
        value(&self.attributes, name)
    }

    /// Port 0 with a place in the bundle means the first line's port (RFC 8843, 7.2.1).
    fn rejected(&self, bundle: &[&str]) -> bool {
        self.port_zero && !self.value("mid").is_some_and(|mid| bundle.contains(&mid))
    }
}

fn value<'a>(attributes: &[&'a str], name: &str) -> Option<&'a str> {
    attributes.iter().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found == name).then_some(value.trim())
    })
}

/// Looks at an answer to an offer of video, and of audio where there is `audio`.
pub fn look(sdp: &str, audio: bool) -> Result<Taken, Refusal> {
    if sdp.len() > MAX_ANSWER {
        return Err(Refusal::TooLong);
    }
    if !sdp.trim_start().starts_with("v=0") {
        return Err(Refusal::NotSdp);
    }
    let (session, media) = parts(sdp);
    let offered = 1 + usize::from(audio);
    if media.len() != offered {
        return Err(Refusal::Lines {
            offered,
            answered: media.len(),
        });
    }
    let bundle: Vec<&str> = value(&session, "group")
        .and_then(|group| group.strip_prefix("BUNDLE"))
        .map(|mids| mids.split_ascii_whitespace().collect())
        .unwrap_or_default();
    let of = |kind| media.iter().find(|line| line.kind == kind);
    let video = of("video").ok_or(Refusal::VideoRejected)?;
    if video.rejected(&bundle) {
        return Err(Refusal::VideoRejected);
    }
    if let Some(direction) = unwanted(video).or_else(|| {
        (!has_direction(&video.attributes))
            .then(|| unwanted_of(&session))
            .flatten()
    }) {
        return Err(Refusal::VideoNotWanted(direction));
    }
    if !takes_h264(video) {
        return Err(Refusal::NoH264);
    }
    let everywhere = |name: &str| {
        value(&session, name).or_else(|| media.iter().find_map(|line| line.value(name)))
    };
    if everywhere("ice-ufrag").is_none() || everywhere("ice-pwd").is_none() {
        return Err(Refusal::NoIce);
    }
    let mut prints = session
        .iter()
        .chain(media.iter().flat_map(|line| &line.attributes))
        .filter_map(|line| line.strip_prefix("fingerprint:"))
        .peekable();
    if prints.peek().is_none() {
        return Err(Refusal::NoFingerprint);
    }
    if !prints.any(|print| {
        let hash = print.split_ascii_whitespace().next().unwrap_or("");
        hash.eq_ignore_ascii_case("sha-256")
    }) {
        return Err(Refusal::OtherFingerprint);
    }
    let audio = of("audio").is_some_and(|line| {
        !line.rejected(&bundle) && unwanted(line).is_none() && named(line, "opus").next().is_some()
    });
    Ok(Taken { audio })
}

/// The session's attributes, and the media lines with theirs.
fn parts(sdp: &str) -> (Vec<&str>, Vec<Media<'_>>) {
    let (mut session, mut media) = (Vec::new(), Vec::<Media<'_>>::new());
    for line in sdp.lines() {
        if let Some(words) = line.strip_prefix("m=") {
            media.push(Media::begin(words));
        } else if let Some(attribute) = line.strip_prefix("a=") {
            match media.last_mut() {
                Some(media) => media.attributes.push(attribute.trim_end()),
                None => session.push(attribute.trim_end()),
            }
        }
    }
    (session, media)
}

fn has_direction(attributes: &[&str]) -> bool {
    ["sendrecv", "recvonly", "sendonly", "inactive"]
        .iter()
        .any(|direction| attributes.contains(direction))
}

fn unwanted(line: &Media<'_>) -> Option<&'static str> {
    unwanted_of(&line.attributes)
}

fn unwanted_of(attributes: &[&str]) -> Option<&'static str> {
    ["sendonly", "inactive"]
        .into_iter()
        .find(|direction| attributes.contains(direction))
}

/// Numbers of the formats of that name.
fn named<'a>(line: &'a Media<'_>, name: &'a str) -> impl Iterator<Item = &'a str> {
    line.attributes.iter().filter_map(move |attribute| {
        let (number, format) = attribute.strip_prefix("rtpmap:")?.split_once(' ')?;
        let found = format.split('/').next().unwrap_or("");
        found.eq_ignore_ascii_case(name).then_some(number)
    })
}

/// In packetization mode 1, which is what the packets are cut for.
fn takes_h264(video: &Media<'_>) -> bool {
    named(video, "H264").any(|number| {
        video
            .attributes
            .iter()
            .filter_map(|line| line.strip_prefix("fmtp:")?.split_once(' '))
            .filter(|(of, _)| *of == number)
            .any(|(_, parameters)| {
                parameters
                    .split(';')
                    .any(|one| one.trim() == "packetization-mode=1")
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As a server on plain libdatachannel answers, here and there in other words.
    const GOOD: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
        a=group:BUNDLE v a\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n\
        a=fingerprint:SHA-256 00:11\r\na=setup:active\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:v\r\na=recvonly\r\n\
        a=rtpmap:96 h264/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
        a=fmtp:96 level-asymmetry-allowed=1; packetization-mode=1;profile-level-id=42e01f\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:a\r\na=recvonly\r\n\
        a=rtpmap:111 opus/48000/2\r\n";

    #[test]
    fn each_line_that_is_refused_is_named() {
        let looked = |from: &str, to: &str| {
            assert!(GOOD.contains(from), "{from}");
            look(&GOOD.replace(from, to), true)
        };
        assert_eq!(look(GOOD, true), Ok(Taken { audio: true }));
        assert_eq!(
            look(GOOD, false),
            Err(Refusal::Lines {
                offered: 1,
                answered: 2
            })
        );
        for (from, to, refusal) in [
            ("v=0", "<html>", Refusal::NotSdp),
            ("m=video 9", "m=application 9", Refusal::VideoRejected),
            (
                "a=mid:v\r\na=recvonly",
                "a=mid:v\r\na=inactive",
                Refusal::VideoNotWanted("inactive"),
            ),
            (
                "a=mid:v\r\na=recvonly",
                "a=mid:v\r\na=sendonly",
                Refusal::VideoNotWanted("sendonly"),
            ),
            (" h264/", " VP8/", Refusal::NoH264),
            (
                "packetization-mode=1",
                "packetization-mode=0",
                Refusal::NoH264,
            ),
            ("a=fmtp:96", "a=fmtp:98", Refusal::NoH264),
            ("a=fingerprint:", "a=finger:", Refusal::NoFingerprint),
            (":SHA-256", ":sha-1", Refusal::OtherFingerprint),
            ("a=ice-ufrag", "a=frag", Refusal::NoIce),
            ("a=ice-pwd", "a=pwd", Refusal::NoIce),
        ] {
            assert_eq!(looked(from, to), Err(refusal), "{from}");
        }
        let long = format!("{GOOD}{}", "a=x\r\n".repeat(20_000));
        assert_eq!(look(&long, true), Err(Refusal::TooLong));
    }

    #[test]
    fn port_zero_rejects_but_for_a_place_in_the_bundle() {
        let zero = GOOD.replace("m=video 9", "m=video 0");
        assert_eq!(look(&zero, true), Ok(Taken { audio: true }));
        let alone = zero.replace("BUNDLE v a", "BUNDLE a");
        assert_eq!(look(&alone, true), Err(Refusal::VideoRejected));
        let silent = GOOD
            .replace("m=audio 9", "m=audio 0")
            .replace("BUNDLE v a", "BUNDLE v");
        assert_eq!(look(&silent, true), Ok(Taken { audio: false }));
    }

    #[test]
    fn what_the_session_says_holds_for_its_lines() {
        let session = GOOD.replace("a=recvonly\r\n", "");
        assert_eq!(look(&session, true), Ok(Taken { audio: true }));
        let inactive = session.replace("a=setup", "a=inactive\r\na=setup");
        assert_eq!(
            look(&inactive, true),
            Err(Refusal::VideoNotWanted("inactive"))
        );
        let one_line = GOOD.replace("a=setup", "a=inactive\r\na=setup");
        assert_eq!(look(&one_line, true), Ok(Taken { audio: true }));
    }

    proptest! {
        #[test]
        fn no_text_panics(
            text in "(v=0|m=|a=|video|[ -~\r\n]){0,60}",
            at in 0..700_usize,
            what in "[ -~\r\n]{0,8}",
        ) {
            let _ = look(&text, true);
            let mut changed = GOOD.to_owned();
            let at = at.min(changed.len());
            changed.insert_str(at, &what);
            let _ = look(&changed, true);
        }
    }
}
