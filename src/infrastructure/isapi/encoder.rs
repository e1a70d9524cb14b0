//! Encoder settings by ISAPI: `StreamingChannel` documents, written back whole, and keyframes on
//! demand. The reading and changing are pure.

use std::net::SocketAddr;
use std::time::Instant;

use super::body::Call;
use super::client::IsapiClient;
use super::device::IsapiCamera;
use super::status::judge;
use crate::domain::camera::CameraError;
use crate::domain::camera::fit::{
    ChangeError, EncoderBackup, EncoderChange, EncoderDevice, EncoderOptions, EncoderSettings,
    EncoderStream, Profile, Rates, StreamName, codec_name, write_each, write_in_turn,
};
use crate::infrastructure::http::camera_client::Resend;
use crate::infrastructure::xml::whole::Whole;
use crate::infrastructure::xml::{Element, MAX_DOCUMENT, as_bool, as_number};

/// What `H264Profile` stands behind, where a document has none yet.
const BEFORE_PROFILE: [&str; 10] = [
    "videoCodecType",
    "videoScanType",
    "videoResolutionWidth",
    "videoResolutionHeight",
    "videoQualityControlType",
    "constantBitRate",
    "fixedQuality",
    "maxFrameRate",
    "keyFrameInterval",
    "snapShotImageType",
];

/// The id of a stream: 101, 102; 201 of the second channel.
fn id(channel: u16, stream: StreamName) -> u32 {
    let number = match stream {
        StreamName::Main => 1,
        StreamName::Sub => 2,
    };
    u32::from(channel) * 100 + number
}

fn path(channel: u16, stream: StreamName) -> String {
    format!("/ISAPI/Streaming/channels/{}", id(channel, stream))
}

/// Asks for a keyframe now.
fn request_keyframe(channel: u16, stream: StreamName) -> Call {
    Call {
        method: "PUT",
        target: format!("{}/requestKeyFrame", path(channel, stream)),
        body: Some(Vec::new()),
        resend: Resend::WhenCrossed,
    }
}

/// Writes a document that was read.
fn write(target: &str, document: Vec<u8>) -> Call {
    Call {
        method: "PUT",
        target: target.to_owned(),
        body: Some(document),
        resend: Resend::Never,
    }
}

/// How a stream is set, from its `StreamingChannel`; `None` if it is something else.
fn settings(root: &Element) -> Option<EncoderSettings> {
    let video = root.child("Video")?;
    let number = |name: &str| video.text_of(name).and_then(|t| t.parse::<u32>().ok());
    let variable = video
        .text_of("videoQualityControlType")
        .is_none_or(|kind| kind.eq_ignore_ascii_case("VBR"));
    let (first, second) = if variable {
        ("vbrUpperCap", "constantBitRate")
    } else {
        ("constantBitRate", "vbrUpperCap")
    };
    // In hundredths; 0 stands for "all".
    let fps = video
        .text_of("maxFrameRate")
        .and_then(as_number)
        .filter(|rate| *rate > 0.0)
        .map(|rate| rate / 100.0);
    let millis = number("keyFrameInterval").filter(|n| *n > 0);
    let audio = root.child("Audio").filter(|audio| {
        audio
            .text_of("enabled")
            .and_then(as_bool)
            .unwrap_or_default()
    });
    let codec = video.text_of("videoCodecType").map(codec_name);
    let is_h264 = codec.as_deref() == Some("H264");
    Some(EncoderSettings {
        profile: video
            .text_of("H264Profile")
            .filter(|_| is_h264)
            .and_then(Profile::parse),
        codec,
        size: number("videoResolutionWidth").zip(number("videoResolutionHeight")),
        fps,
        bitrate_kbps: number(first).or_else(|| number(second)),
        keyframe_frames: number("GovLength")
            .filter(|n| *n > 0)
            .or_else(|| frames_of(millis?, fps?)),
        smart_codec: video
            .child("SmartCodec")
            .and_then(|codec| codec.text_of("enabled"))
            .and_then(as_bool),
        audio: audio
            .and_then(|audio| audio.text_of("audioCompressionType"))
            .map(str::to_owned),
    })
}

/// Milliseconds as frames.
fn frames_of(millis: u32, fps: f64) -> Option<u32> {
    let frames = (f64::from(millis) * fps / 1000.0).round();
    // By the line below it is in range.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    (1.0..=1_000_000.0)
        .contains(&frames)
        .then_some(frames as u32)
}

/// What a stream can be set to, from its capabilities: the same document, with choices in `opt`,
/// `min` and `max`.
fn options(root: &Element) -> EncoderOptions {
    let video = root.child("Video");
    let list = |from: Option<&Element>, name: &str| -> Vec<String> {
        let choices = from
            .and_then(|e| e.child(name))
            .and_then(|e| e.attribute("opt"));
        choices
            .unwrap_or_default()
            .split(',')
            .map(|item| item.trim().to_owned())
            .filter(|item| !item.is_empty())
            .collect()
    };
    let range = |name: &str| {
        let field = video?.child(name)?;
        let end = |end: &str| field.attribute(end).and_then(|t| t.parse().ok());
        Some((end("min")?, end("max")?))
    };
    let numbers = |name: &str| -> Vec<u32> {
        let list = list(video, name);
        list.iter().filter_map(|t| t.parse().ok()).collect()
    };
    let (widths, heights) = (
        numbers("videoResolutionWidth"),
        numbers("videoResolutionHeight"),
    );
    // Lists of equal length are pairs; anything else can't be paired.
    let sizes = if widths.len() == heights.len() {
        widths.into_iter().zip(heights).collect()
    } else {
        Vec::new()
    };
    let rates: Vec<f64> = list(video, "maxFrameRate")
        .iter()
        .filter_map(|rate| as_number(rate))
        .filter(|rate| *rate > 0.0)
        .map(|rate| rate / 100.0)
        .collect();
    EncoderOptions {
        codecs: list(video, "videoCodecType")
            .iter()
            .map(|c| codec_name(c))
            .collect(),
        profiles: list(video, "H264Profile")
            .iter()
            .filter_map(|p| Profile::parse(p))
            .collect(),
        sizes,
        fps: (!rates.is_empty()).then_some(Rates::Of(rates)),
        bitrate_kbps: range("vbrUpperCap").or_else(|| range("constantBitRate")),
        keyframe_frames: range("GovLength"),
        audio: list(root.child("Audio"), "audioCompressionType"),
    }
}

/// The document with the change in it, and everything else as it was.
fn changed(document: &[u8], change: &EncoderChange) -> Result<Vec<u8>, CameraError> {
    let refused =
        |why: String| CameraError::BadAnswer(format!("its settings can't be written back: {why}"));
    let mut whole = Whole::parse(document).map_err(|why| refused(why.to_string()))?;
    let root = whole.at_mut(&["Video"]);
    let video = root.ok_or_else(|| refused("they have no Video".to_owned()))?;
    if change.codec.is_some() {
        video.set(&["videoCodecType"], "H.264");
    }
    if let Some(profile) = change.profile {
        video.put("H264Profile", profile.name(), &BEFORE_PROFILE);
    }
    if let Some((width, height)) = change.size {
        video.set(&["videoResolutionWidth"], &width.to_string());
        video.set(&["videoResolutionHeight"], &height.to_string());
    }
    if let Some(fps) = change.fps {
        video.set(&["maxFrameRate"], &format!("{:.0}", fps * 100.0));
    }
    if let Some(kbps) = change.bitrate_kbps {
        let variable = video
            .at(&["videoQualityControlType"])
            .is_none_or(|kind| kind.text().eq_ignore_ascii_case("VBR"));
        let name = if variable {
            "vbrUpperCap"
        } else {
            "constantBitRate"
        };
        video.set(&[name], &kbps.to_string());
    }
    if let Some(frames) = change.keyframe_frames {
        video.set(&["GovLength"], &frames.to_string());
        // The same in milliseconds; firmwares differ in which of the two they heed.
        if let Some(seconds) = change.keyframe_seconds() {
            video.set(&["keyFrameInterval"], &format!("{:.0}", seconds * 1000.0));
        }
    }
    if change.smart_codec == Some(false) {
        video.set(&["SmartCodec", "enabled"], "false");
    }
    if let Some(audio) = &change.audio {
        whole.set(&["Audio", "audioCompressionType"], audio);
    }
    Ok(whole.document())
}

/// A document as it came.
fn read_raw(
    client: &mut IsapiClient,
    target: &str,
    deadline: Instant,
) -> Result<Vec<u8>, CameraError> {
    let response = client.send(&Call::get(target), MAX_DOCUMENT, deadline)?;
    match judge(&response)? {
        Some(_) => Ok(response.body),
        None => {
            let words = "no document where settings were expected".to_owned();
            Err(CameraError::BadAnswer(words))
        }
    }
}

impl IsapiCamera {
    fn stream(
        &mut self,
        name: StreamName,
        at: SocketAddr,
        deadline: Instant,
    ) -> Result<EncoderStream, CameraError> {
        let channel = self.channel();
        let path = path(channel, name);
        let root = self.client().read(&Call::get(path.as_str()), deadline)?;
        let settings = settings(&root).ok_or_else(|| {
            let words = "no StreamingChannel where one was expected".to_owned();
            CameraError::BadAnswer(words)
        })?;
        let asked = Call::get(format!("{path}/capabilities"));
        let options = match self.client().read(&asked, deadline) {
            Ok(root) => options(&root),
            Err(
                error @ (CameraError::LoginRefused(_)
                | CameraError::Unreachable(_)
                | CameraError::Certificate(_)),
            ) => {
                return Err(error);
            }
            // It does not say what can be set.
            Err(_) => EncoderOptions::default(),
        };
        let id = id(channel, name);
        Ok(EncoderStream {
            name,
            url: Some(format!("rtsp://{at}/Streaming/Channels/{id}")),
            settings,
            options,
        })
    }
}

impl EncoderDevice for IsapiCamera {
    fn encoders(&mut self, deadline: Instant) -> Result<Vec<EncoderStream>, CameraError> {
        let at = self.rtsp_place(deadline)?;
        let mut streams = vec![self.stream(StreamName::Main, at, deadline)?];
        match self.stream(StreamName::Sub, at, deadline) {
            Ok(sub) => streams.push(sub),
            Err(
                error @ (CameraError::LoginRefused(_)
                | CameraError::Unreachable(_)
                | CameraError::Certificate(_)),
            ) => {
                return Err(error);
            }
            // There is none.
            Err(_) => {}
        }
        Ok(streams)
    }

    fn backup(
        &mut self,
        stream: StreamName,
        _change: &EncoderChange,
        deadline: Instant,
    ) -> Result<EncoderBackup, CameraError> {
        let path = path(self.channel(), stream);
        let document = read_raw(self.client(), &path, deadline)?;
        // Before anything is written it is known that it can be written back.
        changed(&document, &EncoderChange::default())?;
        Ok(EncoderBackup(vec![(path, document)]))
    }

    fn change(
        &mut self,
        backup: &EncoderBackup,
        change: &EncoderChange,
        deadline: Instant,
    ) -> Result<(), ChangeError> {
        let calls = backup.0.iter().map(|(target, document)| {
            let document = changed(document, change)?;
            Ok(write(target, document))
        });
        let calls: Vec<Call> = calls.collect::<Result<_, CameraError>>()?;
        write_in_turn(calls.iter().map(|call| {
            self.client().call(call, deadline)?;
            Ok(())
        }))
    }

    fn restore(&mut self, backup: &EncoderBackup, deadline: Instant) -> Result<(), CameraError> {
        write_each(backup.0.iter().map(|(target, document)| {
            let call = write(target, document.clone());
            self.client().call(&call, deadline)?;
            Ok(())
        }))
    }

    fn keyframe(&mut self, stream: StreamName, deadline: Instant) -> Result<bool, CameraError> {
        if !self.memory().with(|m| m.keyframes.take(Instant::now()))? {
            return Ok(false);
        }
        let call = request_keyframe(self.channel(), stream);
        let result = self.client().call(&call, deadline);
        let result = result.map(|_| true).map_err(CameraError::from);
        self.memory().with(|m| m.keyframes.answered(&result));
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infrastructure::xml::parse;

    const READ: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<StreamingChannel version=\"2.0\" xmlns=\"http://www.hikvision.com/ver20/XMLSchema\">\n<id>102</id><channelName>Yard &amp; Gate</channelName><Transport><maxPacketSize>1000</maxPacketSize></Transport><Video><enabled>true</enabled><videoCodecType>H.265</videoCodecType><videoResolutionWidth>640</videoResolutionWidth><videoResolutionHeight>360</videoResolutionHeight><videoQualityControlType>VBR</videoQualityControlType><constantBitRate>512</constantBitRate><vbrUpperCap>768</vbrUpperCap><maxFrameRate>2500</maxFrameRate><keyFrameInterval>4000</keyFrameInterval><snapShotImageType>JPEG</snapShotImageType><GovLength>100</GovLength><SVC><enabled>false</enabled></SVC><SmartCodec><enabled>true</enabled></SmartCodec></Video><Audio><enabled>true</enabled><audioCompressionType>AAC</audioCompressionType></Audio><Oem xmlns=\"urn:x\"><a b=\"1\"/></Oem>\n</StreamingChannel>";

    #[test]
    fn settings_are_read_and_written_back_whole() {
        let read = |bytes: &[u8]| settings(&parse(bytes).unwrap()).unwrap();
        let before = read(READ.as_bytes());
        assert_eq!(before.codec.as_deref(), Some("H265"));
        assert_eq!(before.size, Some((640, 360)));
        assert_eq!(before.bitrate_kbps, Some(768));
        assert_eq!(before.keyframe_seconds(), Some(4.0));
        assert_eq!(before.smart_codec, Some(true));
        assert_eq!(before.audio.as_deref(), Some("AAC"));
        let change = EncoderChange {
            codec: Some("H264".into()),
            profile: Some(Profile::Baseline),
            bitrate_kbps: Some(512),
            fps: Some(12.5),
            keyframe_frames: Some(25),
            keyframe_fps: Some(12.5),
            smart_codec: Some(false),
            audio: Some("G.711alaw".into()),
            size: None,
        };
        let written = changed(READ.as_bytes(), &change).unwrap();
        let after = read(&written);
        assert_eq!(change.missing_in(&after), Vec::<&str>::new());
        let text = String::from_utf8(written).unwrap();
        for kept in [
            "<StreamingChannel xmlns=\"http://www.hikvision.com/ver20/XMLSchema\" version=\"2.0\">",
            "<channelName>Yard &amp; Gate</channelName>",
            "<maxPacketSize>1000</maxPacketSize>",
            "<constantBitRate>512</constantBitRate><vbrUpperCap>512</vbrUpperCap><maxFrameRate>1250</maxFrameRate><keyFrameInterval>2000</keyFrameInterval><snapShotImageType>JPEG</snapShotImageType><H264Profile>Baseline</H264Profile><GovLength>25</GovLength>",
            "<SVC><enabled>false</enabled></SVC><SmartCodec><enabled>false</enabled></SmartCodec>",
            "<Oem xmlns=\"urn:x\"><a b=\"1\"></a></Oem>",
        ] {
            assert!(text.contains(kept), "{kept} in {text}");
        }
    }

    #[test]
    fn what_can_be_set() {
        let caps = parse(b"<StreamingChannel><Video><videoCodecType opt='H.264,H.265,MJPEG'>H.264</videoCodecType><videoResolutionWidth opt='640,352'/><videoResolutionHeight opt='360,288'/><vbrUpperCap min='32' max='8192'/><maxFrameRate opt='2500,0,1250'/><GovLength min='1' max='400'/><H264Profile opt='Baseline,Main,High'/></Video><Audio><audioCompressionType opt='G.711alaw,AAC'/></Audio></StreamingChannel>").unwrap();
        let found = options(&caps);
        assert_eq!(found.codecs, ["H264", "H265", "JPEG"]);
        assert_eq!(
            found.profiles,
            [Profile::Baseline, Profile::Main, Profile::High]
        );
        assert_eq!(found.sizes, [(640, 360), (352, 288)]);
        assert_eq!(found.fps, Some(Rates::Of(vec![25.0, 12.5])));
        assert_eq!(found.bitrate_kbps, Some((32, 8192)));
        assert_eq!(found.keyframe_frames, Some((1, 400)));
        assert_eq!(found.audio, ["G.711alaw", "AAC"]);
        assert_eq!(
            options(&Element::default()),
            EncoderOptions::default(),
            "nothing said, nothing offered"
        );
    }

    #[test]
    fn what_is_no_stream_is_not_written() {
        for bad in ["<StreamingChannel/>", "<a:b/>", "", "{}"] {
            assert!(changed(bad.as_bytes(), &EncoderChange::default()).is_err());
        }
        assert_eq!(settings(&Element::default()), None);
    }
}
