//! Metrics of sweeps, and of what they found.

use std::collections::BTreeMap;

use super::{by, count, flag, gauge, moment, size};
use crate::application::discovery::{DiscoveryService, SweepEnd};
use crate::domain::metrics::Metric;
use crate::domain::node::Camera;
use crate::domain::vendor;
use crate::json::vendor as vendor_word;

pub(super) fn metrics(discovery: &DiscoveryService, cameras: &[Camera], out: &mut Vec<Metric>) {
    let online = cameras.iter().filter(|camera| camera.online).count();
    let listed = [("true", online), ("false", cameras.len() - online)];
    out.push(Metric::gauge(
        "lss_discovered_cameras",
        "Cameras that discovery lists.",
        by("online", listed.map(|(is, n)| (is, size(n)))).collect(),
    ));
    let mut vendors: BTreeMap<&'static str, usize> = BTreeMap::new();
    for camera in cameras {
        *vendors.entry(label(vendor_word(camera))).or_default() += 1;
    }
    out.push(Metric::gauge(
        "lss_discovered_cameras_by_vendor",
        "Cameras that discovery lists, by who makes them: a name that lss knows, `other`, or `unknown`.",
        by("vendor", vendors.into_iter().map(|(name, n)| (name, size(n)))).collect(),
    ));
    let tally = discovery.tally();
    let ends = SweepEnd::ALL.map(|how| (how.name(), count(tally.ended(how))));
    out.push(Metric::counter(
        "lss_discovery_sweeps_total",
        "Sweeps of the network, by how they ended.",
        by("outcome", ends).collect(),
    ));
    out.push(gauge(
        "lss_discovery_sweep_in_progress",
        "Whether a sweep is under way.",
        flag(tally.under_way),
    ));
    if let Some(every) = discovery.every() {
        out.push(gauge(
            "lss_discovery_interval_seconds",
            "How often sweeps come round by themselves; left out where they do not.",
            every.as_secs_f64(),
        ));
    }
    let Some(last) = tally.last else {
        return;
    };
    out.push(gauge(
        "lss_discovery_last_sweep_timestamp_seconds",
        "When the last sweep ended that did not fail.",
        moment(last.ended),
    ));
    out.push(gauge(
        "lss_discovery_last_sweep_duration_seconds",
        "How long that sweep took.",
        last.took.as_secs_f64(),
    ));
    out.push(gauge(
        "lss_discovery_last_sweep_addresses",
        "Addresses that it connected to.",
        count(last.addresses.into()),
    ));
}

/// A camera may call its vendor anything.
fn label(vendor: &str) -> &'static str {
    if vendor.is_empty() {
        return "unknown";
    }
    vendor::named_in(vendor).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_camera_says_of_itself_is_no_label() {
        for (said, shown) in [
            ("HIKVISION", "HIKVISION"),
            ("Hangzhou Hikvision Digital Technology", "HIKVISION"),
            ("", "unknown"),
            ("\"}\nlss_panics_total 7", "other"),
            ("rtsp://admin:pass@10.0.0.1/", "other"),
        ] {
            assert_eq!(label(said), shown, "{said}");
        }
    }
}
