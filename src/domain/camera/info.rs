//! What a camera tells about itself. Every `None` is something that it did not say: nothing here
//! is guessed.

use std::time::SystemTime;

use super::{CameraAddress, Protocol};

/// The protocols a camera was seen to speak; `None` = not tried.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProtocolSupport {
    /// The protocols by which cameras are controlled that were tried, and whether it answers.
    tried: Vec<(Protocol, bool)>,
    /// Answers RTSP.
    pub rtsp: Option<bool>,
    /// The highest version it names.
    pub onvif_version: Option<String>,
}

impl ProtocolSupport {
    /// It speaks this one; nothing is known of others.
    pub fn speaks(protocol: Protocol) -> Self {
        Self {
            tried: vec![(protocol, true)],
            ..Self::default()
        }
    }

    /// Whether it speaks a protocol.
    pub fn of(&self, protocol: Protocol) -> Option<bool> {
        let tried = self.tried.iter().find(|(tried, _)| *tried == protocol);
        tried.map(|(_, answers)| *answers)
    }

    /// A protocol was tried that was not tried before.
    pub fn note(&mut self, protocol: Protocol, answers: bool) {
        if self.of(protocol).is_none() {
            self.tried.push((protocol, answers));
        }
    }
}

/// What the camera says it can move; `None` = it did not say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PtzCapabilities {
    /// Moves at all.
    pub supported: Option<bool>,
    /// At a speed until stopped.
    pub continuous_move: Option<bool>,
    /// To a position.
    pub absolute_move: Option<bool>,
    /// By a distance.
    pub relative_move: Option<bool>,
    /// Has presets.
    pub preset: Option<bool>,
    /// How many.
    pub max_presets: Option<u32>,
    /// Has tours of its own.
    pub patrol: Option<bool>,
    /// How many.
    pub max_patrols: Option<u32>,
    /// Has a zoom.
    pub zoom: Option<bool>,
    /// Has a focus motor that can be driven.
    pub focus: Option<bool>,
    /// Has an iris that can be driven.
    pub iris: Option<bool>,
}

/// What the camera says of its pictures; `None` = it did not say.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct VideoCapabilities {
    /// `H264`, `H265`, `JPEG`, …
    pub codecs: Option<Vec<String>>,
    /// `1920x1080`, the largest first.
    pub resolutions: Option<Vec<String>>,
    /// Frames per second.
    pub max_fps: Option<f64>,
}

/// What the camera says of its sound; `None` = it did not say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AudioCapabilities {
    /// Has any.
    pub supported: Option<bool>,
    /// `G711`, `AAC`, …
    pub codecs: Option<Vec<String>>,
}

/// The spec's `CameraCapabilities`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CameraCapabilities {
    /// Movement.
    pub ptz: PtzCapabilities,
    /// Pictures.
    pub video: VideoCapabilities,
    /// Sound.
    pub audio: AudioCapabilities,
}

/// The spec's `CameraDeviceInfo` without the camera's id, which only the asker knows. Every
/// `None` is something that the camera did not say.
#[derive(Debug, Clone, PartialEq)]
pub struct CameraDeviceInfo {
    /// Where it was reached.
    pub address: CameraAddress,
    /// As the camera spells it.
    pub manufacturer: Option<String>,
    pub model: Option<String>,
    pub serial_number: Option<String>,
    /// Firmware, with its build where the camera tells it.
    pub firmware_version: Option<String>,
    pub hardware_id: Option<String>,
    /// `aa:bb:cc:dd:ee:ff`
    pub mac_address: Option<String>,
    /// The name somebody gave it.
    pub device_name: Option<String>,
    /// How it was asked.
    pub probe_method: Protocol,
    /// What it was seen to speak: only what this probe saw; the asker fills in the rest.
    pub protocol_support: ProtocolSupport,
    /// `None` where it was asked and said nothing at all.
    pub capabilities: Option<CameraCapabilities>,
    /// When.
    pub probe_time: SystemTime,
}

/// How a camera's stream is set, by its own word. `None` = it did not say.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StreamSettings {
    /// Where RTSP listens.
    pub rtsp_port: Option<u16>,
    /// From one keyframe to the next, in frames.
    pub keyframe_interval: Option<u32>,
    /// Frames a second.
    pub fps: Option<f64>,
    /// A vendor's own scheme that stretches the keyframe interval as it likes.
    pub smart_codec: Option<bool>,
}
