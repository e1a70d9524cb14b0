//! What a sweep looks at, and what it leaves out.

use super::*;
use crate::application::camera::OwnAddress;
use proptest::prelude::*;

const TIMEOUT: Duration = Duration::from_secs(30);

fn rules(own: &[(&str, u8)], allow_loopback: bool) -> AddressRules {
    AddressRules {
        allow_loopback,
        own: own
            .iter()
            .map(|(ip, prefix)| OwnAddress {
                ip: ip.parse().unwrap(),
                prefix: *prefix,
            })
            .collect(),
    }
}

fn listed(texts: &[&str]) -> Networks {
    parse(texts, true).unwrap()
}

fn parse(texts: &[&str], allow_loopback: bool) -> Result<Networks, Fault> {
    let texts: Vec<String> = texts.iter().map(|t| (*t).to_owned()).collect();
    Networks::parse("subnet", &texts, allow_loopback)
}

fn shown(ranges: &[AddressRange]) -> Vec<String> {
    ranges
        .iter()
        .map(|r| format!("{}-{}", r.first, r.last))
        .collect()
}

fn ips(list: &[Ipv4Addr]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_refused_and_in_which_words() {
    for (text, code, word) in [
        ("eth0", 20003, "`eth0`"),
        ("", 20003, "192.168.0.0/24"),
        ("fe80::/64", 20003, "IPv4"),
        ("10.0.0.0/99", 20003, "10.0.0.0/99"),
        ("10.0.0.0/8", 20005, "10.0.0.0/8"),
        ("224.0.0.0/24", 20005, "224.0.0.0/24"),
        ("8.8.8.0/24", 20005, "8.8.8.0/24"),
        ("169.254.169.254", 20005, "169.254.169.254"),
        ("127.0.0.0/24", 20005, "allow_loopback"),
    ] {
        let fault = parse(&[text], false).unwrap_err();
        assert_eq!(fault.code.number(), code, "{text}");
        assert!(fault.message.starts_with("subnet "), "{}", fault.message);
        assert!(fault.message.contains(word), "{}", fault.message);
    }
    let fault = parse(&["10.0.0.0/16", "10.1.0.0/16"], false).unwrap_err();
    assert_eq!(fault.code.number(), 20005);
    let nasty = parse(&["\u{1b}[2J\n"], false).unwrap_err();
    assert!(!nasty.message.chars().any(char::is_control));
    assert_eq!(parse(&["Auto"], false), Ok(Networks::Auto));
    assert!(parse(&["auto", "10.0.0.0/24"], false).is_err());
    assert!(parse(&["127.0.0.0/24"], true).is_ok());
    assert!(parse(&[], false).unwrap().is_empty());
}

#[test]
fn our_own_address_and_the_ends_are_left_out() {
    let rules = rules(
        &[("127.0.0.1", 8), ("192.168.0.5", 24), ("fd00::5", 64)],
        false,
    );
    let plan = plan(&listed(&["192.168.0.0/24"]), &rules, [], TIMEOUT);
    assert_eq!(shown(&plan.order.ranges), ["192.168.0.0-192.168.0.255"]);
    assert_eq!(
        ips(&plan.order.except),
        ["192.168.0.0", "192.168.0.5", "192.168.0.255"]
    );
    assert!(plan.order.multicast && plan.notes.is_empty());
    assert_eq!(plan.order.timeout, TIMEOUT);
}

#[test]
fn a_part_of_our_network_has_no_ends() {
    let rules = rules(&[("10.0.0.9", 22)], false);
    let part = plan(&listed(&["10.0.1.0/24"]), &rules, [], TIMEOUT);
    assert_eq!(ips(&part.order.except), [] as [&str; 0]);
    // A network that is not ours has.
    let far = plan(&listed(&["10.9.1.0/24"]), &rules, [], TIMEOUT);
    assert_eq!(ips(&far.order.except), ["10.9.1.0", "10.9.1.255"]);
}

#[test]
fn auto_is_what_this_machine_is_in() {
    let own = [
        ("127.0.0.1", 8),
        ("10.20.30.40", 8),
        ("192.168.7.2", 24),
        ("192.168.7.3", 24),
        ("10.8.0.2", 32),
        ("203.0.113.9", 24),
        ("fe80::1", 64),
    ];
    let plan = plan(&Networks::Auto, &rules(&own, false), [], TIMEOUT);
    let nets: Vec<String> = plan.networks.iter().map(Cidr::to_string).collect();
    assert_eq!(nets, ["10.20.28.0/22", "192.168.7.0/24"]);
    assert_eq!(plan.notes.len(), 2, "{:?}", plan.notes);
    assert!(plan.notes[0].contains("10.0.0.0/8 is narrowed to 10.20.28.0/22"));
    assert!(plan.notes[1].contains("203.0.113.0/24 is not a private network"));
    assert!(ips(&plan.order.except).contains(&"10.20.30.40".to_owned()));
    assert!(ips(&plan.order.except).contains(&"192.168.7.3".to_owned()));
}

#[test]
fn auto_without_a_network_asks_by_multicast_alone() {
    let plan = plan(
        &Networks::Auto,
        &rules(&[("127.0.0.1", 8)], false),
        [],
        TIMEOUT,
    );
    assert!(plan.order.ranges.is_empty() && plan.order.multicast);
    assert_eq!(plan.notes.len(), 1);
}

#[test]
fn loopback_bothers_nobody_else() {
    let rules = rules(&[("127.0.0.1", 8), ("192.168.0.5", 24)], true);
    let plan = plan(&listed(&["127.77.3.0/28"]), &rules, [], TIMEOUT);
    assert!(!plan.order.multicast && plan.order.loopback);
}

#[test]
fn cameras_known_beyond_the_networks_are_looked_at_again() {
    let rules = rules(&[("192.168.0.5", 24)], false);
    let also = [
        "10.1.1.7",
        "192.168.0.64",
        "192.168.0.5",
        "127.0.0.1",
        "fe80::7",
    ]
    .map(|ip| ip.parse().unwrap());
    let plan = plan(&listed(&["192.168.0.0/24"]), &rules, also, TIMEOUT);
    assert_eq!(
        shown(&plan.order.ranges),
        ["10.1.1.7-10.1.1.7", "192.168.0.0-192.168.0.255"]
    );
}

#[test]
fn neighbours_become_one_range() {
    let plan = plan(
        &listed(&["10.0.1.0/24", "10.0.0.0/24", "10.0.0.128/25", "10.0.3.0/24"]),
        &AddressRules::default(),
        [],
        TIMEOUT,
    );
    assert_eq!(
        shown(&plan.order.ranges),
        ["10.0.0.0-10.0.1.255", "10.0.3.0-10.0.3.255"]
    );
    assert!(covers_all(
        &plan.order.ranges,
        Cidr::parse("10.0.0.0/23").unwrap()
    ));
    assert!(!covers_all(
        &plan.order.ranges,
        Cidr::parse("10.0.2.0/23").unwrap()
    ));
}

proptest! {
    /// Whatever is asked and wherever we are: no forbidden address is ever swept, and ranges are
    /// in order and apart.
    #[test]
    fn no_forbidden_address_is_swept(
        asked in proptest::collection::vec((any::<u32>(), 20u8..=32), 0..4),
        own in proptest::collection::vec((any::<u32>(), 8u8..=32), 0..4),
        auto in any::<bool>(),
        allow_loopback in any::<bool>(),
    ) {
        let rules = AddressRules {
            allow_loopback,
            own: own.iter().map(|(ip, prefix)| OwnAddress {
                ip: Ipv4Addr::from_bits(*ip).into(), prefix: *prefix,
            }).collect(),
        };
        let texts: Vec<String> = asked.iter()
            .map(|(ip, prefix)| format!("{}/{prefix}", Ipv4Addr::from_bits(*ip)))
            .filter(|text| Networks::parse("s", std::slice::from_ref(text), allow_loopback).is_ok())
            .collect();
        let networks = if auto { Networks::Auto } else {
            Networks::parse("s", &texts, allow_loopback).unwrap()
        };
        let plan = plan(&networks, &rules, [], TIMEOUT);
        for pair in plan.order.ranges.windows(2) {
            prop_assert!(pair[0].last.to_bits() + 1 < pair[1].first.to_bits());
        }
        let forbidden = own.iter().map(|(ip, _)| Ipv4Addr::from_bits(*ip))
            .filter(|ip| rules.check((*ip).into()).is_err())
            .chain([Ipv4Addr::new(169, 254, 169, 254)]);
        for ip in forbidden {
            prop_assert!(
                !covers(&plan.order.ranges, ip) || plan.order.except.contains(&ip), "{}", ip
            );
        }
        for cidr in &plan.networks {
            prop_assert!(cidr.is_private());
            prop_assert!(allow_loopback || !cidr.first().is_loopback());
        }
    }
}
