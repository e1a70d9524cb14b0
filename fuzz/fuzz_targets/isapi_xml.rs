//! ISAPI replies.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lss::infrastructure::http::response::Response;
use lss::infrastructure::isapi::{answer, body as request, detect, status};
use lss::infrastructure::xml;

fuzz_target!(|data: &[u8]| {
    let (code, body) = match data.split_first() {
        Some((first, rest)) => (200 + u16::from(*first) * 2, rest),
        None => (200, data),
    };
    let response = Response {
        status: code,
        headers: Vec::new(),
        body: body.to_vec(),
    };
    let _ = status::judge(&response);
    let _ = status::read_refusal(body);
    let _ = detect::is_isapi(&response);
    let _ = request::focus_settings_auto(1, body);
    if let Ok(root) = xml::parse(body) {
        let _ = answer::DeviceInfo::read(&root);
        let _ = answer::PtzChannel::read(&root);
        let _ = answer::presets(&root, None);
        let _ = answer::position(&root);
        let _ = answer::stream(&root);
    }
});
