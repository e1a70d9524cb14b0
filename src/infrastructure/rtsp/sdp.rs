//! Session descriptions (RFC 8866), as far as cameras need them: media, formats, their
//! parameters and controls. Lenient: what can't be read is left out and costs no other part.

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::domain::discovery::TrackInfo;
use crate::infrastructure::media::h264::sps;
use crate::infrastructure::media::h265;
use crate::util::foreign;

/// Most media taken from one description.
const MAX_MEDIA: usize = 32;
/// Most attributes of a media, or of the session.
const MAX_ATTRIBUTES: usize = 128;
/// Longest codec name.
const MAX_NAME: usize = 64;

/// Base64 as cameras write it: padding is left out, bits are left over.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A description.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sdp {
    /// Name and value of each `a=` before the first media.
    attributes: Vec<(String, String)>,
    /// In their order.
    pub media: Vec<Media>,
}

/// One `m=` and what belongs to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Media {
    /// `video`, `audio`, `application`, …
    pub kind: String,
    /// The first format's number.
    pub payload_type: Option<u8>,
    attributes: Vec<(String, String)>,
}

/// `a=rtpmap`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RtpMap {
    /// In upper case.
    pub codec: String,
    /// Hz.
    pub clock_rate: Option<u32>,
    /// Audio channels.
    pub channels: Option<u8>,
}

impl Sdp {
    /// Never fails: what is no description has no media.
    pub fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut sdp = Self::default();
        // A media that is not understood swallows its attributes.
        let mut unread = false;
        for line in text.split(['\n', '\r']) {
            let Some((kind, value)) = line.trim().split_once('=') else {
                continue;
            };
            match kind.trim() {
                "m" => {
                    let media = read_media(value).filter(|_| sdp.media.len() < MAX_MEDIA);
                    unread = media.is_none();
                    sdp.media.extend(media);
                }
                "a" if !unread => {
                    let list = match sdp.media.last_mut() {
                        Some(media) => &mut media.attributes,
                        None => &mut sdp.attributes,
                    };
                    if list.len() < MAX_ATTRIBUTES {
                        let (name, value) = value.split_once(':').unwrap_or((value, ""));
                        list.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
                    }
                }
                _ => {}
            }
        }
        sdp
    }

    /// The session's `a=control`.
    pub fn control(&self) -> Option<&str> {
        value(&self.attributes, "control")
    }

    /// All media as the domain has them.
    pub fn tracks(&self) -> Vec<TrackInfo> {
        self.media.iter().map(Media::track).collect()
    }
}

impl Media {
    /// `a=control`: where it is set up.
    pub fn control(&self) -> Option<&str> {
        value(&self.attributes, "control")
    }

    /// The first format's mapping; the standard one where none is given (RFC 3551).
    pub fn rtpmap(&self) -> Option<RtpMap> {
        let maps: Vec<(&str, &str)> = self.numbered("rtpmap").collect();
        let own = maps
            .iter()
            .find(|(number, _)| number.parse().ok() == self.payload_type);
        // One mapping under another number: the camera has miscounted.
        let only = match maps.as_slice() {
            [only] => Some(only),
            _ => None,
        };
        match own.or(only) {
            Some((_, map)) => read_rtpmap(map),
            None => standard(self.payload_type?),
        }
    }

    /// A parameter of the first format (`a=fmtp`); `name` in lower case.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let all: Vec<(&str, &str)> = self.numbered("fmtp").collect();
        let only = all.len() == 1;
        all.iter()
            .filter(|(number, _)| only || number.parse().ok() == self.payload_type)
            .flat_map(|(_, list)| list.split(';'))
            .find_map(|pair| {
                let (key, value) = pair.split_once('=')?;
                key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
            })
    }

    /// Number and rest of the attributes that begin with a format's number.
    fn numbered<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.attributes
            .iter()
            .filter(move |(n, _)| n == name)
            .filter_map(|(_, v)| v.split_once([' ', '\t']))
            .map(|(number, rest)| (number, rest.trim()))
    }

    /// Parameter sets and the like: units in Base64, separated by commas.
    pub fn units(&self, parameter: &str) -> Vec<Vec<u8>> {
        let list = self.parameter(parameter).unwrap_or("");
        list.split(',')
            .filter_map(|text| {
                let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
                BASE64.decode(text).ok()
            })
            .map(without_start_code)
            .filter(|unit| !unit.is_empty())
            .collect()
    }

    /// As the domain has it.
    pub fn track(&self) -> TrackInfo {
        let map = self.rtpmap();
        let mut track = TrackInfo {
            media: self.kind.clone(),
            codec: map.as_ref().map(|m| m.codec.clone()),
            clock_rate: map.as_ref().and_then(|m| m.clock_rate),
            channels: map.and_then(|m| m.channels),
            ..TrackInfo::default()
        };
        match track.codec.as_deref() {
            Some("H264") => self.fill_h264(&mut track),
            Some("H265" | "HEVC") => {
                track.size = self
                    .units("sprop-sps")
                    .iter()
                    .find_map(|unit| h265::read_size(unit));
            }
            _ => {}
        }
        track
    }

    fn fill_h264(&self, track: &mut TrackInfo) {
        let sps = self
            .units("sprop-parameter-sets")
            .iter()
            .find_map(|unit| sps::read_sps(unit));
        if let Some(sps) = sps {
            // Before the description's own word: cameras write the wrong profile there.
            track.h264_profile = Some(sps.profile);
            track.size = Some(sps.size);
            track.fps = sps.fps;
            track.reorders = sps.reorders;
            return;
        }
        track.h264_profile = self.parameter("profile-level-id").and_then(read_profile);
        if matches!(track.h264_profile, Some([66, _, _])) {
            track.reorders = Some(false);
        }
    }
}

fn value<'a>(attributes: &'a [(String, String)], name: &str) -> Option<&'a str> {
    attributes
        .iter()
        .find(|(n, v)| n == name && !v.is_empty())
        .map(|(_, v)| v.as_str())
}

/// `video 0 RTP/AVP 96 97`
fn read_media(text: &str) -> Option<Media> {
    let mut words = text.split_whitespace();
    let kind = words.next()?.to_ascii_lowercase();
    let plain = kind.len() <= MAX_NAME
        && kind
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'/' | b'_' | b'.'));
    plain.then(|| Media {
        kind,
        payload_type: words.nth(2).and_then(|n| n.parse().ok()),
        attributes: Vec::new(),
    })
}

/// `H264/90000`, `MPEG4-GENERIC/48000/2`
fn read_rtpmap(text: &str) -> Option<RtpMap> {
    let mut parts = text.split('/').map(str::trim);
    let codec: String = foreign::shown(parts.next()?, 4 * MAX_NAME)
        .chars()
        .take(MAX_NAME)
        .collect::<String>()
        .to_uppercase();
    if codec.is_empty() {
        return None;
    }
    Some(RtpMap {
        codec,
        clock_rate: parts.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0),
        channels: parts.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0),
    })
}

/// The formats that need no mapping, of those that cameras send (RFC 3551 tables 4 and 5).
fn standard(payload_type: u8) -> Option<RtpMap> {
    let (codec, clock_rate, channels) = match payload_type {
        0 => ("PCMU", 8000, Some(1)),
        3 => ("GSM", 8000, Some(1)),
        4 => ("G723", 8000, Some(1)),
        8 => ("PCMA", 8000, Some(1)),
        9 => ("G722", 8000, Some(1)),
        10 => ("L16", 44_100, Some(2)),
        11 => ("L16", 44_100, Some(1)),
        14 => ("MPA", 90_000, None),
        18 => ("G729", 8000, Some(1)),
        26 => ("JPEG", 90_000, None),
        32 => ("MPV", 90_000, None),
        33 => ("MP2T", 90_000, None),
        34 => ("H263", 90_000, None),
        _ => return None,
    };
    Some(RtpMap {
        codec: codec.to_owned(),
        clock_rate: Some(clock_rate),
        channels,
    })
}

/// Six hex digits.
fn read_profile(text: &str) -> Option<[u8; 3]> {
    if text.len() != 6 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let number = u32::from_str_radix(text, 16).ok()?;
    let [_, profile, constraints, level] = number.to_be_bytes();
    Some([profile, constraints, level])
}

/// Some cameras put one in front of each set.
fn without_start_code(mut unit: Vec<u8>) -> Vec<u8> {
    let zeros = unit.iter().take_while(|b| **b == 0).count();
    if zeros >= 2 && unit.get(zeros) == Some(&1) {
        unit.drain(..=zeros);
    }
    unit
}

#[cfg(test)]
#[path = "sdp_tests.rs"]
mod tests;
