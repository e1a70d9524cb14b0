//! A site that changes at random, swept at random: what must hold whatever happens.

use std::collections::BTreeSet;

use super::tests::{find, order, report, start};
use super::*;
use proptest::prelude::*;

/// A device as it is in this world.
#[derive(Debug, Clone)]
struct Device {
    host: u8,
    /// Its MAC address is its own.
    has_mac: bool,
    /// Which id it gives itself; several devices may have one.
    endpoint: Option<u8>,
    up: bool,
}

#[derive(Debug, Clone)]
enum Event {
    /// Sweeps hosts from..=to; MAC addresses are heard or not.
    Sweep {
        from: u8,
        to: u8,
        cut_short: bool,
        hears_macs: bool,
    },
    /// A device goes up or down.
    Toggle(usize),
    /// A device gets another address, if it is free.
    Lease(usize, u8),
    Wait(u16),
    /// Somebody has asked a camera.
    Learn(usize, u8),
}

const HOSTS: u8 = 12;

fn device() -> impl Strategy<Value = (bool, Option<u8>)> {
    (any::<bool>(), proptest::option::of(0u8..3))
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..HOSTS, 0..HOSTS, any::<bool>(), any::<bool>()).prop_map(
            |(from, to, cut_short, hears_macs)| Event::Sweep { from, to, cut_short, hears_macs }
        ),
        3 => (Just(0), Just(HOSTS - 1), Just(false), any::<bool>()).prop_map(
            |(from, to, cut_short, hears_macs)| Event::Sweep { from, to, cut_short, hears_macs }
        ),
        2 => (0usize..5).prop_map(Event::Toggle),
        2 => (0usize..5, 0..HOSTS).prop_map(|(d, host)| Event::Lease(d, host)),
        1 => (0u16..900).prop_map(Event::Wait),
        1 => (0usize..5, 0u8..3).prop_map(|(c, mac)| Event::Learn(c, mac)),
    ]
}

fn seen(number: usize, device: &Device, hears_macs: bool) -> Find {
    Find {
        endpoint: device.endpoint.map(|id| format!("urn:{id}")),
        mac: (device.has_mac && hears_macs).then(|| format!("mac-{number}")),
        ..find(&format!("10.0.0.{}", device.host))
    }
}

proptest! {
    #[test]
    fn the_list_is_sound_whatever_happens(
        kinds in proptest::collection::vec(device(), 5),
        events in proptest::collection::vec(event(), 1..60),
    ) {
        let mut devices: Vec<Device> = kinds.into_iter().enumerate()
            .map(|(n, (has_mac, endpoint))| Device {
                host: u8::try_from(n).unwrap(), has_mac, endpoint, up: true,
            })
            .collect();
        let mut list = Inventory::default();
        let mut now = start();
        for event in events {
            now = now.after(Duration::from_secs(1));
            list.expire(now);
            match event {
                Event::Toggle(d) => devices[d].up = !devices[d].up,
                Event::Lease(d, host) => {
                    if devices.iter().all(|other| other.host != host) {
                        devices[d].host = host;
                    }
                }
                Event::Wait(secs) => {
                    now = now.after(Duration::from_secs(secs.into()));
                    list.expire(now);
                }
                Event::Learn(at, mac) => {
                    let key = list.askable().nth(at).map(|a| a.key);
                    if let Some(key) = key {
                        let lesson = Lesson {
                            mac: Some(format!("told-{mac}")),
                            ..Lesson::default()
                        };
                        list.learnt(key, &lesson);
                    }
                }
                Event::Sweep { from, to, cut_short, hears_macs } => {
                    let order = order(&format!("10.0.0.{from}"), &format!("10.0.0.{to}"));
                    let finds: Vec<Find> = devices.iter().enumerate()
                        .filter(|(_, d)| d.up && (from..=to).contains(&d.host))
                        .map(|(n, d)| seen(n, d, hears_macs))
                        .collect();
                    let mut report = report(finds.clone());
                    report.cut_short = cut_short;
                    let before = list.cameras();
                    let swept = list.swept(&order, &report, now);
                    prop_assert_eq!(swept.left_out, 0);
                    let addresses: BTreeSet<IpAddr> = list.addresses().collect();
                    for find in &finds {
                        prop_assert!(addresses.contains(&find.ip), "{} is lost", find.ip);
                    }
                    if cut_short {
                        prop_assert!(
                            swept.changes.iter().all(|c| c.kind != ChangeKind::Gone),
                            "{:?}", swept.changes
                        );
                    } else {
                        // Online = has an address that was seen, or that was not looked at.
                        let looked = |ip: IpAddr| looked_at(&order, ip);
                        for (key, known) in &list.cameras {
                            let there = known.faces.keys().any(|ip| {
                                !looked(*ip) || finds.iter().any(|f| f.ip == *ip)
                            });
                            let was = before.iter().any(|c| c.online && c.ip == known.primary.to_string());
                            prop_assert!(there || !known.online, "{key:?}");
                            prop_assert!(there || !was || known.gone == Some(now.mono));
                        }
                    }
                    // The same again is no news.
                    let again = list.swept(&order, &report, now);
                    prop_assert!(again.changes.is_empty(), "{:?}", again.changes);
                }
            }
            let mut owners = BTreeSet::new();
            for known in list.cameras.values() {
                prop_assert!(!known.faces.is_empty() && known.faces.len() <= MAX_FACES);
                prop_assert!(known.faces.contains_key(&known.primary));
                prop_assert!(known.online == known.gone.is_none());
                for ip in known.faces.keys() {
                    prop_assert!(owners.insert(*ip), "{ip} belongs to two");
                }
                // Nobody is gone for longer than it is kept.
                if let Some(gone) = known.gone {
                    prop_assert!(now.mono < gone + KEPT);
                }
            }
            // Two cameras with MAC addresses of their own are never one, but by their own word.
            for known in list.cameras.values().filter(|k| k.told.is_none()) {
                let macs: BTreeSet<&String> =
                    known.faces.values().filter_map(|f| f.mac.as_ref()).collect();
                prop_assert!(macs.len() <= 1, "{macs:?}");
            }
        }
    }

    #[test]
    fn every_device_with_a_mac_address_keeps_its_entry(
        hosts in proptest::collection::vec(proptest::sample::subsequence((0..HOSTS).collect::<Vec<u8>>(), 4).prop_shuffle(), 2..12),
    ) {
        let mut list = Inventory::default();
        let mut now = start();
        let order = order("10.0.0.0", "10.0.0.255");
        let mut keys: Vec<CameraKey> = Vec::new();
        for addresses in hosts {
            now = now.after(Duration::from_secs(60));
            let finds: Vec<Find> = addresses.iter().enumerate()
                .map(|(n, host)| Find {
                    mac: Some(format!("mac-{n}")),
                    ..find(&format!("10.0.0.{host}"))
                })
                .collect();
            list.swept(&order, &report(finds), now);
            let present: Vec<CameraKey> = addresses.iter().map(|host| {
                let ip: IpAddr = format!("10.0.0.{host}").parse().unwrap();
                list.askable().find(|a| a.ip == ip).unwrap().key
            }).collect();
            if keys.is_empty() {
                keys.clone_from(&present);
            }
            prop_assert_eq!(&present, &keys);
            prop_assert_eq!(list.cameras().len(), 4);
        }
    }
}
