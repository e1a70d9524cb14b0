//! The list of cameras, in simulated time.

use super::*;
use crate::domain::discovery::{AddressRange, Certainty, VendorGuess};
use std::time::UNIX_EPOCH;

pub(super) fn start() -> Now {
    Now {
        mono: Instant::now(),
        wall: UNIX_EPOCH,
    }
}

pub fn find(ip: &str) -> Find {
    Find {
        ip: ip.parse().unwrap(),
        endpoint: None,
        mac: None,
        rtsp_port: Some(554),
        http_port: Some(80),
        onvif: None,
        isapi: false,
        vendor: None,
        model: None,
        name: None,
    }
}

fn with_mac(ip: &str, mac: &str) -> Find {
    Find {
        mac: Some(mac.into()),
        ..find(ip)
    }
}

fn cloned(ip: &str, mac: Option<&str>) -> Find {
    Find {
        endpoint: Some("urn:uuid:1".into()),
        mac: mac.map(Into::into),
        vendor: Some(guess("XM", Certainty::Said)),
        model: Some("IPC".into()),
        ..find(ip)
    }
}

fn guess(vendor: &str, certainty: Certainty) -> VendorGuess {
    VendorGuess {
        vendor: vendor.into(),
        certainty,
    }
}

pub(super) fn order(first: &str, last: &str) -> SweepOrder {
    SweepOrder {
        ranges: vec![AddressRange {
            first: first.parse().unwrap(),
            last: last.parse().unwrap(),
        }],
        except: Vec::new(),
        multicast: true,
        loopback: false,
        timeout: Duration::from_secs(30),
    }
}

fn site() -> SweepOrder {
    order("192.168.0.0", "192.168.0.255")
}

pub(super) fn report(finds: Vec<Find>) -> SweepReport {
    SweepReport {
        finds,
        ..SweepReport::default()
    }
}

/// `kind ip` of each change.
fn told(changes: &[Change]) -> Vec<String> {
    changes
        .iter()
        .map(|change| match change.kind {
            ChangeKind::Moved { from } => format!("Moved {from} {}", change.camera.ip),
            ChangeKind::Joined { with } => format!("Joined {} {with}", change.camera.ip),
            ref kind => format!("{kind:?} {}", change.camera.ip),
        })
        .collect()
}

struct Site {
    list: Inventory,
    now: Now,
}

impl Site {
    fn new() -> Self {
        Self {
            list: Inventory::default(),
            now: start(),
        }
    }

    fn sweep(&mut self, finds: Vec<Find>) -> Vec<String> {
        self.sweep_of(&site(), &report(finds))
    }

    fn sweep_of(&mut self, order: &SweepOrder, report: &SweepReport) -> Vec<String> {
        self.now = self.now.after(Duration::from_secs(60));
        let mut changes = self.list.expire(self.now);
        changes.extend(self.list.swept(order, report, self.now).changes);
        told(&changes)
    }

    fn ips(&self) -> Vec<(String, bool)> {
        let list = self.list.cameras().into_iter();
        list.map(|c| (c.ip, c.online)).collect()
    }

    fn key(&self, ip: &str) -> CameraKey {
        let ip: IpAddr = ip.parse().unwrap();
        self.list.askable().find(|a| a.ip == ip).unwrap().key
    }
}

#[test]
fn found_gone_back_gone_and_forgotten() {
    let mut site = Site::new();
    assert_eq!(
        site.sweep(vec![find("192.168.0.65"), find("192.168.0.64")]),
        ["Found 192.168.0.64", "Found 192.168.0.65"]
    );
    assert!(
        site.sweep(vec![find("192.168.0.64"), find("192.168.0.65")])
            .is_empty()
    );
    let seen = site.now.wall;
    assert_eq!(
        site.sweep(vec![find("192.168.0.64")]),
        ["Gone 192.168.0.65"]
    );
    assert_eq!(site.list.cameras()[1].last_seen, seen);
    assert!(
        site.sweep(vec![find("192.168.0.64")]).is_empty(),
        "told once"
    );
    assert_eq!(
        site.sweep(vec![find("192.168.0.64"), find("192.168.0.65")]),
        ["Back 192.168.0.65"]
    );
    assert_eq!(site.list.next_deadline(), None);
    assert_eq!(
        site.sweep(vec![find("192.168.0.64")]),
        ["Gone 192.168.0.65"]
    );
    let gone = site.now;
    assert_eq!(site.list.next_deadline(), Some(gone.mono + KEPT));
    assert!(
        site.list
            .expire(gone.after(KEPT.saturating_sub(Duration::from_millis(1))))
            .is_empty()
    );
    assert_eq!(site.ips().len(), 2);
    assert_eq!(
        told(&site.list.expire(gone.after(KEPT))),
        ["Forgotten 192.168.0.65"]
    );
    assert_eq!(site.ips(), [("192.168.0.64".to_owned(), true)]);
}

#[test]
fn what_was_not_looked_at_is_not_gone() {
    let mut site = Site::new();
    site.sweep(vec![find("192.168.0.64"), find("192.168.0.200")]);
    let lower = order("192.168.0.1", "192.168.0.127");
    assert_eq!(
        site.sweep_of(&lower, &report(Vec::new())),
        ["Gone 192.168.0.64"]
    );
    let mut spared = order("192.168.0.128", "192.168.0.255");
    spared.except = vec!["192.168.0.200".parse().unwrap()];
    assert!(site.sweep_of(&spared, &report(Vec::new())).is_empty());
    // Cut short: nobody knows what was left.
    let cut = SweepReport {
        cut_short: true,
        ..SweepReport::default()
    };
    let all = order("192.168.0.0", "192.168.0.255");
    assert!(site.sweep_of(&all, &cut).is_empty());
    assert_eq!(
        site.sweep_of(&all, &report(Vec::new())),
        ["Gone 192.168.0.200"]
    );
}

#[test]
fn a_sweep_that_was_cut_short_takes_nothing_back() {
    let mut site = Site::new();
    site.sweep(vec![find("192.168.0.64")]);
    let half = Find {
        rtsp_port: None,
        http_port: None,
        ..find("192.168.0.64")
    };
    let cut = SweepReport {
        finds: vec![half.clone()],
        cut_short: true,
        ..SweepReport::default()
    };
    let all = order("192.168.0.0", "192.168.0.255");
    site.sweep_of(&all, &cut);
    assert_eq!(site.list.cameras()[0].port, 554);
    site.sweep(vec![Find {
        http_port: Some(8080),
        ..half
    }]);
    assert_eq!(site.list.cameras()[0].port, 8080, "no RTSP any more");
}

#[test]
fn a_new_lease_is_a_new_address_and_not_a_new_camera() {
    let mut site = Site::new();
    site.sweep(vec![with_mac("192.168.0.64", "a")]);
    assert_eq!(
        site.sweep(vec![with_mac("192.168.0.70", "a")]),
        ["Moved 192.168.0.64 192.168.0.70"]
    );
    // Another gets the old address; the list has both.
    assert_eq!(
        site.sweep(vec![
            with_mac("192.168.0.64", "b"),
            with_mac("192.168.0.70", "a")
        ]),
        ["Found 192.168.0.64"]
    );
    // They change places.
    assert_eq!(
        site.sweep(vec![
            with_mac("192.168.0.70", "b"),
            with_mac("192.168.0.64", "a")
        ]),
        [
            "Moved 192.168.0.70 192.168.0.64",
            "Moved 192.168.0.64 192.168.0.70"
        ]
    );
    // By the device's own id, where no MAC address is known.
    let mut site = Site::new();
    site.sweep(vec![cloned("192.168.0.64", None)]);
    assert_eq!(
        site.sweep(vec![cloned("192.168.0.65", None)]),
        ["Moved 192.168.0.64 192.168.0.65"]
    );
    // It is back after it was gone, elsewhere.
    site.sweep(Vec::new());
    assert_eq!(
        site.sweep(vec![cloned("192.168.0.66", None)]),
        ["Moved 192.168.0.65 192.168.0.66", "Back 192.168.0.66"]
    );
}

#[test]
fn two_addresses_are_one_camera() {
    let mut site = Site::new();
    let both = || vec![with_mac("192.168.0.64", "a"), with_mac("192.168.1.64", "a")];
    assert_eq!(site.sweep(both()), ["Found 192.168.0.64"]);
    assert!(site.sweep(both()).is_empty());
    assert_eq!(site.ips().len(), 1);
    assert_eq!(site.list.addresses().count(), 2);
    // The second address was only seen by chance: that it is not seen says nothing.
    assert!(site.sweep(vec![with_mac("192.168.0.64", "a")]).is_empty());
    // The first is gone, the second is there: that is the address now.
    assert_eq!(
        site.sweep(vec![with_mac("192.168.1.64", "a")]),
        ["Moved 192.168.0.64 192.168.1.64"]
    );
    // Link-local and IPv6 stand back as soon as there is a better one.
    let mut site = Site::new();
    site.sweep(vec![with_mac("fe80::5", "a")]);
    assert_eq!(
        site.sweep(vec![with_mac("fe80::5", "a"), with_mac("192.168.0.9", "a")]),
        ["Moved fe80::5 192.168.0.9"]
    );
}

#[test]
fn copied_firmware_makes_no_single_camera_of_two() {
    let mut site = Site::new();
    let two = || {
        vec![
            cloned("192.168.0.64", Some("a")),
            cloned("192.168.0.65", Some("b")),
        ]
    };
    assert_eq!(site.sweep(two()).len(), 2);
    assert!(site.sweep(two()).is_empty());
    // A sweep that does not hear their MAC addresses changes nothing.
    let deaf = vec![cloned("192.168.0.64", None), cloned("192.168.0.65", None)];
    assert!(site.sweep(deaf).is_empty());
    assert_eq!(site.ips().len(), 2);
    // Without any MAC address the id is all there is ...
    let mut site = Site::new();
    let deaf = vec![cloned("192.168.0.64", None), cloned("192.168.0.65", None)];
    assert_eq!(site.sweep(deaf), ["Found 192.168.0.64"]);
    // ... until they are told apart.
    assert_eq!(site.sweep(two()), ["Found 192.168.0.65"]);
    assert_eq!(site.ips().len(), 2);
    // The same id, another model: two.
    let mut site = Site::new();
    let other = Find {
        model: Some("PTZ".into()),
        ..cloned("192.168.0.65", None)
    };
    assert_eq!(
        site.sweep(vec![cloned("192.168.0.64", None), other]).len(),
        2
    );
}

#[test]
fn behind_a_repeater_many_have_one_mac_address() {
    let mut site = Site::new();
    let behind = |ip: &str, id: &str, model: &str| Find {
        endpoint: Some(id.into()),
        model: Some(model.into()),
        ..with_mac(ip, "repeater")
    };
    let two = || {
        vec![
            behind("192.168.0.64", "1", "dome"),
            behind("192.168.0.65", "2", "bullet"),
        ]
    };
    assert_eq!(site.sweep(two()).len(), 2);
    assert!(site.sweep(two()).is_empty());
}

#[test]
fn another_device_at_the_address_is_another_camera() {
    let mut site = Site::new();
    site.sweep(vec![with_mac("192.168.0.64", "a")]);
    assert_eq!(
        site.sweep(vec![with_mac("192.168.0.64", "b")]),
        ["Forgotten 192.168.0.64", "Found 192.168.0.64"]
    );
    // A camera with a new id after a reset is the same one.
    let mut site = Site::new();
    site.sweep(vec![cloned("192.168.0.64", None)]);
    let reset = Find {
        endpoint: Some("urn:uuid:2".into()),
        ..cloned("192.168.0.64", None)
    };
    assert!(site.sweep(vec![reset]).is_empty());
}

#[test]
fn a_weaker_sign_of_the_vendor_takes_nothing_back() {
    let mut site = Site::new();
    let sign = |vendor, certainty| Find {
        vendor: Some(guess(vendor, certainty)),
        ..find("192.168.0.64")
    };
    site.sweep(vec![find("192.168.0.64")]);
    assert_eq!(site.list.cameras()[0].vendor, None);
    assert_eq!(site.list.cameras()[0].rtsp_url, "");
    assert_eq!(
        site.sweep(vec![sign("DAHUA", Certainty::Weak)]),
        ["Learnt 192.168.0.64"]
    );
    // Nobody is spoken to as a Dahua for that.
    assert_eq!(site.list.facts().next().unwrap().vendor, None);
    assert_eq!(
        site.sweep(vec![sign("HIKVISION", Certainty::Said)]),
        ["Learnt 192.168.0.64"]
    );
    assert!(
        site.sweep(vec![sign("DAHUA", Certainty::Likely)])
            .is_empty()
    );
    let camera = site.list.cameras().remove(0);
    assert_eq!(camera.vendor.as_deref(), Some("HIKVISION"));
    assert_eq!(
        camera.rtsp_url,
        "rtsp://192.168.0.64:554/Streaming/Channels/101"
    );
    let facts = site.list.facts().next().unwrap();
    assert_eq!(facts.vendor.as_deref(), Some("HIKVISION"));
    assert_eq!((facts.http_port, facts.rtsp_port), (Some(80), Some(554)));
}

#[test]
fn an_oem_camera_that_speaks_isapi_is_spoken_to_as_a_hikvision() {
    let mut site = Site::new();
    site.sweep(vec![Find {
        isapi: true,
        vendor: Some(guess("ANNKE", Certainty::Said)),
        ..find("192.168.0.64")
    }]);
    assert_eq!(site.list.cameras()[0].vendor.as_deref(), Some("ANNKE"));
    let facts = site.list.facts().next().unwrap();
    assert_eq!(facts.vendor.as_deref(), Some("HIKVISION"));
}

#[test]
fn what_a_camera_told_counts_more_and_its_stream_goes_where_it_goes() {
    let mut site = Site::new();
    site.sweep(vec![with_mac("192.168.0.64", "a")]);
    let key = site.key("192.168.0.64");
    let lesson = Lesson {
        manufacturer: Some("Hikvision".into()),
        model: Some(" DS-2CD2\u{1b}[2J ".into()),
        stream: Some(StreamPlace::At {
            port: Some(10554),
            path: "/Streaming/Channels/101?transportmode=unicast".into(),
        }),
        ..Lesson::default()
    };
    assert_eq!(
        told(&site.list.learnt(key, &lesson)),
        ["Learnt 192.168.0.64"]
    );
    assert!(site.list.learnt(key, &lesson).is_empty(), "no news");
    site.sweep(vec![Find {
        vendor: Some(guess("DAHUA", Certainty::Likely)),
        model: Some("scope".into()),
        ..with_mac("192.168.0.70", "a")
    }]);
    let camera = site.list.cameras().remove(0);
    assert_eq!(
        (camera.vendor.as_deref(), camera.model.as_str()),
        (Some("HIKVISION"), "DS-2CD2 [2J")
    );
    assert_eq!(
        camera.rtsp_url,
        "rtsp://192.168.0.70:10554/Streaming/Channels/101?transportmode=unicast"
    );
    let nowhere = Lesson {
        stream: Some(StreamPlace::Nowhere),
        ..Lesson::default()
    };
    site.list.learnt(key, &nowhere);
    assert_eq!(site.list.cameras()[0].rtsp_url, "");
    assert!(site.list.learnt(CameraKey(99), &lesson).is_empty());
}

#[test]
fn two_entries_that_tell_one_serial_number_are_one_camera() {
    let mut site = Site::new();
    site.sweep(vec![
        find("192.168.0.64"),
        find("192.168.0.65"),
        find("192.168.0.66"),
    ]);
    let serial = |serial: &str, mac: Option<&str>| Lesson {
        manufacturer: Some("Axis".into()),
        serial: Some(serial.into()),
        mac: mac.map(Into::into),
        ..Lesson::default()
    };
    let keys = ["192.168.0.64", "192.168.0.65", "192.168.0.66"].map(|ip| site.key(ip));
    // Numbers that copied firmware has.
    for key in keys {
        let changes = site.list.learnt(key, &serial("00000000", None));
        assert!(changes.iter().all(|c| c.kind == ChangeKind::Learnt));
    }
    site.list.learnt(keys[2], &serial("ACCC8E12F", None));
    assert_eq!(
        told(&site.list.learnt(keys[0], &serial("ACCC8E12F", None))),
        ["Joined 192.168.0.66 192.168.0.64"]
    );
    assert_eq!(site.ips().len(), 2);
    // And stay so.
    assert!(
        site.sweep(vec![
            find("192.168.0.64"),
            find("192.168.0.65"),
            find("192.168.0.66")
        ])
        .is_empty()
    );
    // The same number and two MAC addresses of their own: two.
    let mut site = Site::new();
    site.sweep(vec![find("192.168.0.64"), find("192.168.0.65")]);
    for (ip, mac) in [("192.168.0.64", "a1"), ("192.168.0.65", "b1")] {
        let key = site.key(ip);
        site.list.learnt(key, &serial("ACCC8E12F", Some(mac)));
    }
    assert_eq!(site.ips().len(), 2);
}

#[test]
fn the_list_has_an_end_and_who_is_gone_makes_room() {
    let all: Vec<Find> = (0..MAX_CAMERAS + 3)
        .map(|n| find(&format!("10.0.{}.{}", n / 250, n % 250 + 1)))
        .collect();
    let mut list = Inventory::default();
    let order = order("10.0.0.0", "10.0.255.255");
    let now = start();
    let swept = list.swept(&order, &report(all.clone()), now);
    assert_eq!((swept.changes.len(), swept.left_out), (MAX_CAMERAS, 3));
    assert_eq!(list.cameras().len(), MAX_CAMERAS);
    let without_first = all[1..].to_vec();
    let later = now.after(Duration::from_secs(60));
    let swept = list.swept(&order, &report(without_first), later);
    assert_eq!(swept.left_out, 2);
    assert_eq!(list.cameras().len(), MAX_CAMERAS);
}
