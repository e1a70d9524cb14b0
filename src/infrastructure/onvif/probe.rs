//! Everything that a camera tells about itself. What it does not answer stays unknown.

use std::time::{Instant, SystemTime};

use super::answer::device::{DeviceInformation, Scopes, mac_address, normal_mac};
use super::answer::media::{self, Profile};
use super::answer::{imaging, ptz};
use super::camera::OnvifCamera;
use super::outcome::Trouble;
use super::reply::FaultKind;
use super::request::{self, Operation, Service};
use crate::domain::camera::{
    AudioCapabilities, CameraCapabilities, CameraDeviceInfo, Protocol, ProtocolSupport,
    PtzCapabilities, VideoCapabilities,
};
use crate::infrastructure::xml::Element;

/// Asks one question after another; only the first has to be answered.
pub(super) fn probe(
    camera: &mut OnvifCamera,
    deadline: Instant,
) -> Result<CameraDeviceInfo, Trouble> {
    let content = camera
        .client
        .call(&request::device_information(), deadline)?;
    let info = DeviceInformation::read(&content);
    // Another device at this address has other paths and tokens.
    camera.memory().with(|m| {
        if m.serial_number != info.serial_number {
            if m.serial_number.is_some() {
                m.forget_paths();
            }
            m.serial_number.clone_from(&info.serial_number);
        }
    });
    let mut services = camera.client.services(deadline).unwrap_or_default();
    if let Ok(more) = camera.client.ask_services(deadline) {
        services = services.or(more);
    }
    let scopes = ask(camera, &request::scopes(), deadline)
        .ok()
        .map(|content| Scopes::read(&content))
        .unwrap_or_default();
    let mac = ask(camera, &request::network_interfaces(), deadline)
        .ok()
        .and_then(|content| mac_address(&content))
        .or_else(|| scopes.value("mac").and_then(normal_mac));
    let capabilities = capabilities(camera, services.address(Service::Ptz).is_some(), deadline);
    let mut protocol_support = ProtocolSupport::speaks(Protocol::ONVIF);
    protocol_support.onvif_version = services
        .version
        .map(|(major, minor)| format!("{major}.{minor:02}"));
    Ok(CameraDeviceInfo {
        address: camera.target.address.clone(),
        manufacturer: info.manufacturer,
        model: info.model,
        serial_number: info.serial_number,
        firmware_version: info.firmware,
        hardware_id: info.hardware_id,
        mac_address: mac,
        device_name: scopes.value("name").map(str::to_owned),
        probe_method: Protocol::ONVIF,
        protocol_support,
        capabilities,
        probe_time: SystemTime::now(),
    })
}

fn ask(
    camera: &mut OnvifCamera,
    operation: &Operation,
    deadline: Instant,
) -> Result<Element, Trouble> {
    camera.client.call(operation, deadline)
}

/// `None` where not even profiles were told.
fn capabilities(
    camera: &mut OnvifCamera,
    has_service: bool,
    deadline: Instant,
) -> Option<CameraCapabilities> {
    let (service, all) = camera.profiles(deadline).ok()?;
    let chosen = camera.profile(deadline).ok().map(|(_, profile)| profile);
    let mut ptz = movement(camera, has_service, chosen.as_ref(), deadline);
    if let Some(source) = chosen.as_ref().and_then(|p| p.source.as_deref()) {
        (ptz.focus, ptz.iris) = lens(camera, source, deadline);
    }
    let options = chosen.as_ref().and_then(|profile| {
        let operation = request::video_encoder_options(service, &profile.token);
        let content = ask(camera, &operation, deadline).ok()?;
        Some(media::video_options(&content, service))
    });
    Some(CameraCapabilities {
        ptz,
        video: video(&all, options),
        audio: audio(&all),
    })
}

fn movement(
    camera: &mut OnvifCamera,
    has_service: bool,
    profile: Option<&Profile>,
    deadline: Instant,
) -> PtzCapabilities {
    let Some(configuration) = profile.and_then(|p| p.ptz.clone()) else {
        // Nothing in its profiles moves, whatever service it names.
        return PtzCapabilities {
            supported: Some(false),
            ..PtzCapabilities::default()
        };
    };
    let nodes = ask(camera, &request::nodes(), deadline)
        .map(|content| ptz::nodes(&content))
        .unwrap_or_default();
    let node = nodes
        .iter()
        .find(|n| Some(&n.token) == configuration.node.as_ref())
        .or(nodes.first());
    let options = configuration.token.as_deref().and_then(|token| {
        let operation = request::configuration_options(token);
        let content = ask(camera, &operation, deadline).ok()?;
        Some(ptz::configuration_options(&content))
    });
    let spaces = node
        .and_then(|n| n.spaces)
        .or(options.and_then(|o| o.spaces));
    let max_presets = node.and_then(|n| n.max_presets);
    let max_patrols = node.and_then(|n| n.max_tours);
    PtzCapabilities {
        // A profile with a movement that no service is named for may still turn, or not.
        supported: has_service.then_some(true).or(spaces.map(|_| true)),
        continuous_move: spaces.map(|s| s.continuous),
        absolute_move: spaces.map(|s| s.absolute),
        relative_move: spaces.map(|s| s.relative),
        preset: max_presets.map(|n| n > 0),
        max_presets,
        patrol: max_patrols.map(|n| n > 0),
        max_patrols,
        zoom: spaces.map(|s| s.zoom),
        focus: None,
        iris: None,
    }
}

/// Whether focus and iris can be driven; `None` where the camera gave no usable answer.
fn lens(camera: &mut OnvifCamera, source: &str, deadline: Instant) -> (Option<bool>, Option<bool>) {
    let mut told = |operation: Operation, read: fn(&Element) -> bool| match ask(
        camera, &operation, deadline,
    ) {
        Ok(content) => Some(read(&content)),
        Err(trouble) if trouble.kind() == Some(FaultKind::NotSupported) => Some(false),
        Err(_) => None,
    };
    let focus = told(request::move_options(source), |c| {
        imaging::focus_speeds(c).is_some()
    });
    let iris = told(request::imaging_options(source), |c| {
        imaging::iris_range(c).is_some()
    });
    (focus, iris)
}

/// What can be set; where that is not told, what is set.
fn video(profiles: &[Profile], options: Option<media::VideoOptions>) -> VideoCapabilities {
    let options = options.unwrap_or_default();
    let mut codecs = options.codecs;
    let mut sizes = options.resolutions;
    if codecs.is_empty() {
        codecs = distinct(profiles.iter().filter_map(|p| p.video_codec.clone()));
    }
    if sizes.is_empty() {
        sizes = distinct(profiles.iter().filter_map(|p| p.resolution));
        sizes.sort_by_key(|(w, h)| std::cmp::Reverse(u64::from(*w) * u64::from(*h)));
    }
    let set_rate = profiles
        .iter()
        .filter_map(|p| p.frame_rate)
        .max_by(f64::total_cmp);
    VideoCapabilities {
        codecs: (!codecs.is_empty()).then_some(codecs),
        resolutions: (!sizes.is_empty())
            .then(|| sizes.iter().map(|(w, h)| format!("{w}x{h}")).collect()),
        max_fps: options.max_fps.or(set_rate),
    }
}

/// A profile with sound shows that there is some; none with it says nothing.
fn audio(profiles: &[Profile]) -> AudioCapabilities {
    let codecs = distinct(profiles.iter().filter_map(|p| p.audio_codec.clone()));
    AudioCapabilities {
        supported: (!codecs.is_empty()).then_some(true),
        codecs: (!codecs.is_empty()).then_some(codecs),
    }
}

fn distinct<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut out = Vec::new();
    for item in items {
        if !out.contains(&item) {
            out.push(item);
        }
    }
    out
}
