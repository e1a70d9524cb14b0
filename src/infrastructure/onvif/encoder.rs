//! Encoder settings by ONVIF, by either media service: configurations, written back whole, and
//! keyframes on demand. The reading and changing are pure.

use std::time::Instant;

use super::answer::media;
use super::camera::OnvifCamera;
use super::memory::{KnownEncoder, Learnt};
use super::outcome::Trouble;
use super::request::{self, AUDIO_ENCODERS, Operation, Service, VIDEO_ENCODERS};
use crate::domain::camera::CameraError;
use crate::domain::camera::fit::{
    ChangeError, EncoderBackup, EncoderChange, EncoderDevice, EncoderOptions, EncoderSettings,
    EncoderStream, Profile, Rates, StreamName, codec_name, write_each, write_in_turn,
};
use crate::infrastructure::http::camera_client::Resend;
use crate::infrastructure::xml::whole::Whole;
use crate::infrastructure::xml::{Element, XmlWriter, as_number};

const TT: &str = "http://www.onvif.org/ver10/schema";
/// A profile's encoders as its answer has them.
struct Found<'a> {
    token: String,
    source: Option<String>,
    video: &'a Element,
    audio: Option<&'a Element>,
}

fn found(content: &Element, service: Service) -> Vec<Found<'_>> {
    let profiles = content.children_of("Profiles");
    profiles
        .filter_map(|profile| {
            // In the second version, everything is a level deeper under shorter names.
            let part = |old: &str, new: &str| match service {
                Service::Media2 => profile.at(&["Configurations", new]),
                _ => profile.child(old),
            };
            let source = part("VideoSourceConfiguration", "VideoSource");
            Some(Found {
                token: profile.attribute("token")?.to_owned(),
                source: source
                    .and_then(|s| s.text_of("SourceToken"))
                    .map(str::to_owned),
                video: part("VideoEncoderConfiguration", "VideoEncoder")
                    .filter(|v| v.attribute("token").is_some())?,
                audio: part("AudioEncoderConfiguration", "AudioEncoder"),
            })
        })
        .collect()
}

fn settings(video: &Element, audio: Option<&Element>) -> EncoderSettings {
    let number = |path: &[&str]| {
        video
            .text_at(path)
            .and_then(as_number)
            .filter(|n| *n > 0.0 && *n < 1e9)
    };
    // By the line above it is in range.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let whole = |path: &[&str]| number(path).map(|n| n as u32);
    let codec = video.text_of("Encoding").map(codec_name);
    let is_h264 = codec.as_deref() == Some("H264");
    // An attribute in the second version.
    let profile = video
        .attribute("Profile")
        .or_else(|| video.text_at(&["H264", "H264Profile"]));
    let frames = match video.attribute("GovLength") {
        Some(text) => text.parse().ok(),
        None => whole(&["H264", "GovLength"]),
    };
    EncoderSettings {
        codec,
        profile: profile.filter(|_| is_h264).and_then(Profile::parse),
        size: whole(&["Resolution", "Width"]).zip(whole(&["Resolution", "Height"])),
        fps: number(&["RateControl", "FrameRateLimit"]),
        bitrate_kbps: whole(&["RateControl", "BitrateLimit"]),
        keyframe_frames: frames.filter(|n| *n > 0),
        smart_codec: None,
        audio: audio.and_then(|a| a.text_of("Encoding")).map(str::to_owned),
    }
}

fn size(element: &Element) -> Option<(u32, u32)> {
    let number = |name| element.text_of(name).and_then(|t| t.parse().ok());
    Some((number("Width")?, number("Height")?))
}

/// `Min` and `Max` below, or two numbers in one text.
fn range(element: Option<&Element>) -> Option<(u32, u32)> {
    let element = element?;
    let number = |name| element.text_of(name).and_then(|t| t.parse().ok());
    Some((number("Min")?, number("Max")?))
}

fn listed(text: Option<&str>) -> Vec<&str> {
    let text = text.unwrap_or_default();
    text.split([' ', ',', '\n', '\t'])
        .filter(|item| !item.is_empty())
        .collect()
}

/// What a stream can be set to; of H.264 where the camera tells its codecs apart.
fn options(content: &Element, service: Service) -> EncoderOptions {
    let mut options = EncoderOptions::default();
    if service == Service::Media2 {
        for of in content.children_of("Options") {
            let codec = codec_name(of.text_of("Encoding").unwrap_or_default());
            if codec == "H264" {
                let sizes = of.children_of("ResolutionsAvailable");
                options.sizes = sizes.filter_map(size).collect();
                let profiles = listed(of.attribute("ProfilesSupported"));
                options.profiles = profiles.into_iter().filter_map(Profile::parse).collect();
                let rates = listed(of.attribute("FrameRatesSupported"));
                let rates: Vec<f64> = rates.into_iter().filter_map(as_number).collect();
                options.fps = (!rates.is_empty()).then_some(Rates::Of(rates));
                let group: Vec<u32> = listed(of.attribute("GovLengthRange"))
                    .into_iter()
                    .filter_map(|n| n.parse().ok())
                    .collect();
                options.keyframe_frames = group.first().copied().zip(group.last().copied());
                options.bitrate_kbps = range(of.child("BitrateRange"));
            }
            options.codecs.push(codec);
        }
        return options;
    }
    let Some(of) = content.child("Options") else {
        return options;
    };
    for codec in ["H264", "H265", "MPEG4", "JPEG"] {
        if of.child(codec).is_some() || of.at(&["Extension", codec]).is_some() {
            options.codecs.push(codec.to_owned());
        }
    }
    // Repeated with more detail in the extension.
    for h264 in [of.child("H264"), of.at(&["Extension", "H264"])]
        .into_iter()
        .flatten()
    {
        let sizes: Vec<_> = h264
            .children_of("ResolutionsAvailable")
            .filter_map(size)
            .collect();
        if !sizes.is_empty() {
            options.sizes = sizes;
        }
        let profiles: Vec<_> = h264
            .children_of("H264ProfilesSupported")
            .filter_map(|p| Profile::parse(p.text()))
            .collect();
        if !profiles.is_empty() {
            options.profiles = profiles;
        }
        if let Some((low, high)) = range(h264.child("FrameRateRange")) {
            options.fps = Some(Rates::Between(f64::from(low), f64::from(high)));
        }
        options.keyframe_frames = range(h264.child("GovLengthRange")).or(options.keyframe_frames);
        options.bitrate_kbps = range(h264.child("BitrateRange")).or(options.bitrate_kbps);
    }
    options
}

/// The sound that can be chosen: codec, first bitrate, first sample rate.
fn audio_options(content: &Element) -> Vec<(String, Option<String>, Option<String>)> {
    let all = content.find_all("Encoding");
    let parents = content
        .children_of("Options")
        .flat_map(|o| std::iter::once(o).chain(o.children_of("Options")));
    let mut found: Vec<_> = parents
        .filter_map(|of| {
            let first = |list: &str| {
                let items = of.child(list)?.text_of("Items")?;
                items.split_whitespace().next().map(str::to_owned)
            };
            let codec = of.text_of("Encoding")?.to_owned();
            Some((codec, first("BitrateList"), first("SampleRateList")))
        })
        .collect();
    if found.is_empty() {
        found = all
            .into_iter()
            .map(|e| (e.text().to_owned(), None, None))
            .collect();
    }
    found
}

/// The configuration with the change in it, and everything else as it was.
fn changed(document: &[u8], service: Service, change: &EncoderChange) -> Result<Whole, String> {
    let mut whole = Whole::parse(document).map_err(|why| why.to_string())?;
    if change.codec.is_some() {
        whole.set(&["Encoding"], "H264");
    }
    if let Some((width, height)) = change.size {
        whole.set(&["Resolution", "Width"], &width.to_string());
        whole.set(&["Resolution", "Height"], &height.to_string());
    }
    if let Some(fps) = change.fps {
        whole.set(
            &["RateControl", "FrameRateLimit"],
            &rate(fps, service == Service::Media2),
        );
    }
    if let Some(kbps) = change.bitrate_kbps {
        whole.set(&["RateControl", "BitrateLimit"], &kbps.to_string());
    }
    if service == Service::Media2 {
        if let Some(frames) = change.keyframe_frames {
            whole.put_attribute("GovLength", &frames.to_string());
        }
        if let Some(profile) = change.profile {
            whole.put_attribute("Profile", profile.name());
        }
        return Ok(whole);
    }
    let wants_part = change.keyframe_frames.is_some() || change.profile.is_some();
    if wants_part && whole.at(&["H264"]).is_none() {
        // One that was no H.264 has no such part; its two fields stand in this order.
        let part = Whole::new(TT, "H264", Vec::new());
        whole.insert(
            part,
            &["Encoding", "Resolution", "Quality", "RateControl", "MPEG4"],
        );
        let part = whole.at_mut(&["H264"]).ok_or("no place for H264")?;
        let frames = change.keyframe_frames.or_else(|| {
            let fps = change.keyframe_fps.or(change.fps).unwrap_or(25.0);
            format!("{:.0}", fps * 2.0).parse().ok()
        });
        part.put("GovLength", &frames.unwrap_or(50).to_string(), &[]);
        let profile = change.profile.unwrap_or(Profile::Main);
        part.put("H264Profile", profile.name(), &["GovLength"]);
        return Ok(whole);
    }
    if let Some(part) = whole.at_mut(&["H264"]) {
        if let Some(frames) = change.keyframe_frames {
            part.set(&["GovLength"], &frames.to_string());
        }
        if let Some(profile) = change.profile {
            part.set(&["H264Profile"], profile.name());
        }
    }
    Ok(whole)
}

/// Whole numbers in the first version.
fn rate(fps: f64, parts: bool) -> String {
    if parts && (fps - fps.round()).abs() > 0.01 {
        format!("{fps:.2}")
    } else {
        format!("{fps:.0}")
    }
}

fn read(service: Service, name: &'static str) -> Operation {
    operation(service, name, Resend::Always, true, "")
}

fn operation(
    service: Service,
    name: &'static str,
    resend: Resend,
    asks: bool,
    inside: &str,
) -> Operation {
    let body = XmlWriter::fragment(|w| {
        w.element(name, &[("xmlns", service.namespace())], |w| {
            w.fragment_inside(inside);
        });
    });
    Operation {
        service,
        name,
        body,
        resend,
        asks,
    }
}

/// Writes a configuration.
fn write(service: Service, name: &'static str, whole: Whole) -> Operation {
    let namespace = service.namespace();
    let inside = XmlWriter::fragment(|w| {
        whole
            .renamed(namespace, "Configuration")
            .write(w, namespace);
        if service != Service::Media2 {
            w.leaf("ForcePersistence", "true");
        }
    });
    operation(service, name, Resend::Never, false, &inside)
}

fn synchronization_point(service: Service, profile: &str) -> Operation {
    let inside = XmlWriter::fragment(|w| w.leaf("ProfileToken", profile));
    operation(
        service,
        "SetSynchronizationPoint",
        Resend::WhenCrossed,
        false,
        &inside,
    )
}

fn audio_encoder_options(service: Service, profile: &str) -> Operation {
    let inside = XmlWriter::fragment(|w| w.leaf("ProfileToken", profile));
    let name = "GetAudioEncoderConfigurationOptions";
    operation(service, name, Resend::Always, true, &inside)
}

/// Which document of a backup it is.
fn label(service: Service, name: &str) -> String {
    format!("{service:?} {name}")
}

fn unlabelled(label: &str) -> Option<(Service, bool)> {
    [Service::Media2, Service::Media]
        .into_iter()
        .flat_map(|service| {
            [
                (service, VIDEO_ENCODERS, false),
                (service, AUDIO_ENCODERS, true),
            ]
        })
        .find(|(service, name, _)| self::label(*service, name) == label)
        .map(|(service, _, sound)| (service, sound))
}

impl OnvifCamera {
    /// The media services, the second version first where the camera has one: only that tells of
    /// H.265.
    fn media_services(&mut self, deadline: Instant) -> Result<Vec<Service>, Trouble> {
        let mut services = self.client.services(deadline)?;
        if services.address(Service::Media2).is_none()
            && let Ok(more) = self.client.ask_services(deadline)
        {
            services = services.or(more);
            let known = services.clone();
            self.memory().with(|m| m.services = Some(known));
        }
        let mut ways = vec![Service::Media];
        if services.address(Service::Media2).is_some() {
            ways.insert(0, Service::Media2);
        }
        Ok(ways)
    }

    fn find_encoders(&mut self, deadline: Instant) -> Result<Vec<EncoderStream>, Trouble> {
        let channel = self.target.channel;
        let mut result = Ok(Vec::new());
        for service in self.media_services(deadline)? {
            let content = match self.client.call(&request::profiles(service), deadline) {
                Ok(content) => content,
                // The other service is not asked with a login that was refused.
                Err(Trouble::Other(error)) => return Err(error.into()),
                Err(trouble) => {
                    result = Err(trouble);
                    continue;
                }
            };
            let all = media::profiles(&content, service);
            let named = self.target.manner.profile.clone();
            let order = self.source_order(&all, service, deadline)?;
            let view = match &named {
                Some(token) => all.iter().find(|p| p.token == *token),
                None => media::choose(&all, &order, channel),
            };
            let source = view.and_then(|p| p.source.clone());
            let mut ours: Vec<Found<'_>> = found(&content, service)
                .into_iter()
                .filter(|f| f.source == source)
                .collect();
            if ours.iter().any(|f| !is_jpeg(f)) {
                ours.retain(|f| !is_jpeg(f));
            }
            // The largest first; of several profiles with one encoder the first.
            let area = |f: &Found<'_>| {
                let size = settings(f.video, None).size.unwrap_or_default();
                u64::from(size.0) * u64::from(size.1)
            };
            ours.sort_by_key(|f| std::cmp::Reverse(area(f)));
            let mut seen: Vec<&str> = Vec::new();
            ours.retain(|f| {
                let token = f.video.attribute("token").unwrap_or_default();
                let new = !seen.contains(&token);
                seen.push(token);
                new
            });
            if ours.is_empty() {
                continue;
            }
            return self.tell(service, &ours, deadline);
        }
        result
    }

    fn tell(
        &mut self,
        service: Service,
        ours: &[Found<'_>],
        deadline: Instant,
    ) -> Result<Vec<EncoderStream>, Trouble> {
        let (mut streams, mut known) = (Vec::new(), Vec::new());
        for (name, found) in [StreamName::Main, StreamName::Sub].into_iter().zip(ours) {
            let asked = request::video_encoder_options(service, &found.token);
            let mut options = match self.client.call(&asked, deadline) {
                Ok(content) => options(&content, service),
                Err(trouble) if trouble.is_about_the_question() => EncoderOptions::default(),
                Err(trouble) => return Err(trouble),
            };
            if found.audio.is_some() {
                let asked = audio_encoder_options(service, &found.token);
                if let Ok(content) = self.client.call(&asked, deadline) {
                    let list = audio_options(&content);
                    options.audio = list.into_iter().map(|(codec, ..)| codec).collect();
                }
            }
            let asked = request::stream_uri(service, &found.token);
            let uri = self.client.call(&asked, deadline).ok();
            let ip = self.target.address.ip;
            streams.push(EncoderStream {
                name,
                url: uri
                    .and_then(|content| media::uri(&content))
                    .and_then(|uri| super::address::stream_address(&uri, ip)),
                settings: settings(found.video, found.audio),
                options,
            });
            let token = |e: &Element| e.attribute("token").map(str::to_owned);
            known.push(KnownEncoder {
                name,
                service,
                profile: found.token.clone(),
                video: token(found.video).unwrap_or_default(),
                audio: found.audio.and_then(token),
            });
        }
        self.memory().with(|m| m.encoders = known);
        Ok(streams)
    }

    fn known(&mut self, name: StreamName, deadline: Instant) -> Result<KnownEncoder, CameraError> {
        let find = |m: &mut Learnt| m.encoders.iter().find(|e| e.name == name).cloned();
        if let Some(known) = self.memory().with(find) {
            return Ok(known);
        }
        self.find_encoders(deadline)?;
        self.memory().with(find).ok_or_else(|| {
            CameraError::NotSupported(format!("it tells of no {} stream", name.name()))
        })
    }

    /// A configuration as it came, as a document of its own.
    fn whole(
        &mut self,
        service: Service,
        name: &'static str,
        token: &str,
        deadline: Instant,
    ) -> Result<Vec<u8>, CameraError> {
        self.client.call(&read(service, name), deadline)?;
        let refused = |why: String| {
            CameraError::BadAnswer(format!("its settings can't be written back: {why}"))
        };
        let raw = self.client.take_whole();
        let answer = Whole::parse(&raw).map_err(|why| refused(why.to_string()))?;
        answer
            .find_all("Configurations")
            .into_iter()
            .find(|c| c.attribute("token") == Some(token))
            .map(Whole::document)
            .ok_or_else(|| refused("they are not in its list".to_owned()))
    }

    fn write(
        &mut self,
        service: Service,
        sound: bool,
        whole: Whole,
        deadline: Instant,
    ) -> Result<(), CameraError> {
        let name = if sound {
            "SetAudioEncoderConfiguration"
        } else {
            "SetVideoEncoderConfiguration"
        };
        self.client.call(&write(service, name, whole), deadline)?;
        Ok(())
    }

    /// The sound's configuration with another codec, and what goes with that.
    fn changed_sound(
        &mut self,
        service: Service,
        document: &[u8],
        codec: &str,
        deadline: Instant,
    ) -> Result<Whole, CameraError> {
        let broken = |why: String| CameraError::BadAnswer(why);
        let mut whole = Whole::parse(document).map_err(|why| broken(why.to_string()))?;
        let token = whole.attribute("token").unwrap_or_default().to_owned();
        let profile = self.memory().with(|m| {
            let of = m.encoders.iter();
            of.clone()
                .find(|e| e.audio.as_ref() == Some(&token))
                .map(|e| e.profile.clone())
        });
        let asked = audio_encoder_options(service, &profile.unwrap_or_default());
        let content = self.client.call(&asked, deadline)?;
        let chosen = audio_options(&content).into_iter().find(|o| o.0 == codec);
        whole.set(&["Encoding"], codec);
        if let Some((_, bitrate, sample_rate)) = chosen {
            for (field, value) in [("Bitrate", bitrate), ("SampleRate", sample_rate)] {
                if let Some(value) = value {
                    whole.set(&[field], &value);
                }
            }
        }
        Ok(whole)
    }
}

fn is_jpeg(found: &Found<'_>) -> bool {
    settings(found.video, None).codec.as_deref() == Some("JPEG")
}

impl EncoderDevice for OnvifCamera {
    fn encoders(&mut self, deadline: Instant) -> Result<Vec<EncoderStream>, CameraError> {
        Ok(self.find_encoders(deadline)?)
    }

    fn backup(
        &mut self,
        stream: StreamName,
        change: &EncoderChange,
        deadline: Instant,
    ) -> Result<EncoderBackup, CameraError> {
        let known = self.known(stream, deadline)?;
        let service = known.service;
        let video = EncoderChange {
            audio: None,
            ..change.clone()
        };
        let mut documents = Vec::new();
        if !video.is_empty() {
            let document = self.whole(service, VIDEO_ENCODERS, &known.video, deadline)?;
            documents.push((label(service, VIDEO_ENCODERS), document));
        }
        if let Some(token) = known.audio.filter(|_| change.audio.is_some()) {
            let document = self.whole(service, AUDIO_ENCODERS, &token, deadline)?;
            documents.push((label(service, AUDIO_ENCODERS), document));
        }
        Ok(EncoderBackup(documents))
    }

    fn change(
        &mut self,
        backup: &EncoderBackup,
        change: &EncoderChange,
        deadline: Instant,
    ) -> Result<(), ChangeError> {
        let mut documents = Vec::new();
        for (label, document) in &backup.0 {
            match (unlabelled(label), &change.audio) {
                (Some((service, true)), Some(codec)) => {
                    let whole = self.changed_sound(service, document, codec, deadline)?;
                    documents.push((service, true, whole));
                }
                (Some((service, false)), _) => {
                    let whole =
                        changed(document, service, change).map_err(CameraError::BadAnswer)?;
                    documents.push((service, false, whole));
                }
                _ => {}
            }
        }
        let documents = documents.into_iter();
        write_in_turn(
            documents.map(|(service, sound, whole)| self.write(service, sound, whole, deadline)),
        )
    }

    fn restore(&mut self, backup: &EncoderBackup, deadline: Instant) -> Result<(), CameraError> {
        write_each(backup.0.iter().map(|(label, document)| {
            let Some((service, sound)) = unlabelled(label) else {
                return Ok(());
            };
            let whole =
                Whole::parse(document).map_err(|why| CameraError::BadAnswer(why.to_string()))?;
            self.write(service, sound, whole, deadline)
        }))
    }

    fn keyframe(&mut self, stream: StreamName, deadline: Instant) -> Result<bool, CameraError> {
        let known = self.known(stream, deadline)?;
        if !self.memory().with(|m| m.keyframes.take(Instant::now()))? {
            return Ok(false);
        }
        let asked = synchronization_point(known.service, &known.profile);
        let result = self.client.call(&asked, deadline);
        let result = result.map(|_| true).map_err(CameraError::from);
        self.memory().with(|m| m.keyframes.answered(&result));
        result
    }
}

#[cfg(test)]
mod tests {
    use super::super::answer::content;
    use super::*;
    use crate::infrastructure::xml::parse;

    #[test]
    fn settings_of_real_cameras() {
        let profiles = content("onvif-nvt/hikvision-fixed/media/GetProfiles.Response.xml");
        let all = found(&profiles, Service::Media);
        assert_eq!(all.len(), 2);
        let first = settings(all[0].video, all[0].audio);
        assert_eq!(first.codec.as_deref(), Some("H264"));
        assert_eq!(first.size, Some((1280, 720)));
        assert_eq!(first.keyframe_seconds(), Some(0.2));
        assert!(first.profile.is_some());
        let told = content("elixir-onvif/get_video_encoder_configuration_options_response.xml");
        let found = options(&told, Service::Media);
        assert_eq!(found.codecs, ["H264", "JPEG"]);
        assert!(!found.profiles.is_empty());
        assert!(found.keyframe_frames.is_some());
    }

    #[test]
    fn what_the_second_version_offers() {
        let told = parse(b"<r><Options GovLengthRange='1 200' FrameRatesSupported='25 12.5' ProfilesSupported='Main High'><Encoding>H264</Encoding><ResolutionsAvailable><Width>640</Width><Height>360</Height></ResolutionsAvailable><BitrateRange><Min>64</Min><Max>4096</Max></BitrateRange></Options><Options ProfilesSupported='Main'><Encoding>H265</Encoding></Options></r>").unwrap();
        let found = options(&told, Service::Media2);
        assert_eq!(found.codecs, ["H264", "H265"]);
        assert_eq!(found.profiles, [Profile::Main, Profile::High]);
        assert_eq!(found.keyframe_frames, Some((1, 200)));
        assert_eq!(found.fps, Some(Rates::Of(vec![25.0, 12.5])));
        assert_eq!(found.bitrate_kbps, Some((64, 4096)));
        let sound = parse(b"<r><Options><Options><Encoding>G711</Encoding><BitrateList><Items>64</Items></BitrateList><SampleRateList><Items>8</Items></SampleRateList></Options><Options><Encoding>AAC</Encoding></Options></Options></r>").unwrap();
        let found = audio_options(&sound);
        let first = (
            "G711".to_owned(),
            Some("64".to_owned()),
            Some("8".to_owned()),
        );
        assert_eq!(found.first(), Some(&first));
        assert_eq!(found.len(), 2);
    }

    fn change() -> EncoderChange {
        EncoderChange {
            codec: Some("H264".into()),
            profile: Some(Profile::Baseline),
            keyframe_frames: Some(50),
            keyframe_fps: Some(25.0),
            ..EncoderChange::default()
        }
    }

    #[test]
    fn a_configuration_is_written_back_whole() {
        let read = "<x:Configurations xmlns:x='http://www.onvif.org/ver10/media/wsdl' xmlns:tt='http://www.onvif.org/ver10/schema' token='v &amp; 1'><tt:Name>n</tt:Name><tt:UseCount>2</tt:UseCount><tt:Encoding>JPEG</tt:Encoding><tt:Resolution><tt:Width>640</tt:Width><tt:Height>360</tt:Height></tt:Resolution><tt:Quality>3</tt:Quality><tt:Multicast><tt:Port>0</tt:Port></tt:Multicast><tt:SessionTimeout>PT60S</tt:SessionTimeout><o:Oem xmlns:o='urn:o' q='1'/></x:Configurations>";
        let whole = changed(read.as_bytes(), Service::Media, &change()).unwrap();
        let written = write(Service::Media, "SetVideoEncoderConfiguration", whole).body;
        assert_eq!(
            written,
            "<SetVideoEncoderConfiguration xmlns=\"http://www.onvif.org/ver10/media/wsdl\"><Configuration token=\"v &amp; 1\"><Name xmlns=\"http://www.onvif.org/ver10/schema\">n</Name><UseCount xmlns=\"http://www.onvif.org/ver10/schema\">2</UseCount><Encoding xmlns=\"http://www.onvif.org/ver10/schema\">H264</Encoding><Resolution xmlns=\"http://www.onvif.org/ver10/schema\"><Width>640</Width><Height>360</Height></Resolution><Quality xmlns=\"http://www.onvif.org/ver10/schema\">3</Quality><H264 xmlns=\"http://www.onvif.org/ver10/schema\"><GovLength>50</GovLength><H264Profile>Baseline</H264Profile></H264><Multicast xmlns=\"http://www.onvif.org/ver10/schema\"><Port>0</Port></Multicast><SessionTimeout xmlns=\"http://www.onvif.org/ver10/schema\">PT60S</SessionTimeout><Oem xmlns=\"urn:o\" q=\"1\"></Oem></Configuration><ForcePersistence>true</ForcePersistence></SetVideoEncoderConfiguration>"
        );
    }

    #[test]
    fn and_so_is_one_of_the_second_version() {
        let read = "<c xmlns='http://www.onvif.org/ver20/media/wsdl' xmlns:tt='http://www.onvif.org/ver10/schema' token='v' GovLength='100' Profile='Main'><tt:Name>n</tt:Name><tt:UseCount>1</tt:UseCount><tt:Encoding>H265</tt:Encoding><tt:RateControl ConstantBitRate='true'><tt:FrameRateLimit>25</tt:FrameRateLimit></tt:RateControl></c>";
        let whole = changed(read.as_bytes(), Service::Media2, &change()).unwrap();
        let written = write(Service::Media2, "SetVideoEncoderConfiguration", whole).body;
        assert!(
            written.starts_with("<SetVideoEncoderConfiguration xmlns=\"http://www.onvif.org/ver20/media/wsdl\"><Configuration token=\"v\" GovLength=\"50\" Profile=\"Baseline\">"),
            "{written}"
        );
        assert!(written.contains("ConstantBitRate=\"true\""), "{written}");
        assert!(!written.contains("ForcePersistence"), "{written}");
    }

    #[test]
    fn labels() {
        for service in [Service::Media, Service::Media2] {
            assert_eq!(
                unlabelled(&label(service, VIDEO_ENCODERS)),
                Some((service, false))
            );
            assert_eq!(
                unlabelled(&label(service, AUDIO_ENCODERS)),
                Some((service, true))
            );
        }
        assert_eq!(unlabelled("x"), None);
    }
}
