//! SOAP answers and discovery datagrams of anybody on the camera network.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use lss::domain::camera::CameraAddress;
use lss::infrastructure::onvif::address::{picture_places, service_places, stream_address};
use lss::infrastructure::onvif::answer::{device, imaging, media, ptz};
use lss::infrastructure::onvif::discovery;
use lss::infrastructure::onvif::reply::{self, Reply};
use lss::infrastructure::onvif::request::Service;

fuzz_target!(|data: &[u8]| {
    let ip = IpAddr::from([10, 0, 0, 9]);
    if let Ok(answer) = discovery::read(data) {
        for found in answer.matches {
            let _ = (found.is_camera(), found.place(ip));
        }
    }
    let content = match reply::read(data) {
        Ok(Reply::Content(content)) => content,
        Ok(Reply::Fault(fault)) => {
            let _ = (fault.kind(), fault.tries_left(), fault.error());
            return;
        }
        Err(_) => return,
    };
    let _ = device::DeviceInformation::read(&content);
    let _ = device::system_time(&content);
    let _ = device::Scopes::read(&content);
    let _ = device::mac_address(&content);
    let services =
        device::ServiceList::of_capabilities(&content).or(device::ServiceList::of_services(&content));
    let reached = CameraAddress::new(ip, 80);
    for service in Service::ALL {
        for place in service_places(services.address(service), (&reached, false), service.usual_path()) {
            assert!(place.path.bytes().all(|b| b.is_ascii_graphic()));
        }
    }
    for service in [Service::Media, Service::Media2] {
        let profiles = media::profiles(&content, service);
        let order = media::sources(&profiles);
        let _ = (
            media::choose(&profiles, &order, 1),
            media::choose(&profiles, &order, 9),
        );
        let _ = media::video_options(&content, service);
    }
    if let Some(uri) = media::uri(&content) {
        let _ = (picture_places(&uri, (&reached, true)), stream_address(&uri, ip));
    }
    let _ = (ptz::nodes(&content), ptz::configuration_options(&content));
    let _ = (ptz::motion(&content), ptz::tokens(&content, "Preset"));
    let _ = (imaging::focus_speeds(&content), imaging::iris_range(&content));
});
