//! The directory: what is learnt, what is forgotten, and where logins go.

use super::*;
use crate::application::camera::fakes::PROTOCOLS;
use crate::util::secret::Secret;
use proptest::prelude::*;

fn id(text: &str) -> CameraId {
    CameraId::parse("cameraId", text).unwrap()
}

fn host(text: &str) -> Host {
    Host::parse("ip", text).unwrap()
}

fn login(password: &str) -> Credentials {
    Credentials::new("admin", Secret::new(password)).unwrap()
}

fn at(address: &str, password: Option<&str>) -> CameraParams {
    CameraParams {
        host: Some(host(address)),
        login: password.map(login),
        ..CameraParams::default()
    }
}

fn configured(matches: &str, password: &str) -> ConfiguredLogin {
    ConfiguredLogin {
        matches: matches.to_owned(),
        login: login(password),
        vendor: None,
        manner: Manner::default(),
    }
}

fn empty() -> Directory {
    Directory::new(AddressRules::default(), Vec::new())
}

/// The password that a movement begins with.
fn password(directory: &mut Directory, camera: &str) -> Option<String> {
    let host = directory.resolve(&id(camera)).unwrap().at.host;
    let logins = directory.logins(&id(camera), &host, Use::Control);
    logins.first().map(|l| l.password().expose().to_owned())
}

/// The one that a stop begins with where nothing was moved.
fn stop_password(directory: &mut Directory, camera: &str) -> Option<String> {
    let host = directory.resolve(&id(camera)).unwrap().at.host;
    let logins = directory.taken_logins(&id(camera), &host, Use::Control);
    logins.first().map(|l| l.password().expose().to_owned())
}

#[test]
fn nothing_known_says_what_to_send() {
    let fault = empty().resolve(&id("cam")).unwrap_err();
    assert_eq!(fault.code, ErrorCode::NotFound);
    assert!(fault.message.contains("send ip, username and password"));
}

#[test]
fn a_command_teaches_and_a_later_one_need_not_repeat() {
    let mut directory = empty();
    directory
        .learn(
            &id("cam"),
            CameraParams {
                port: Some(8080),
                vendor: Vendor::parse("hik"),
                channel: Some(3),
                ..at("192.168.0.64", Some("one-1"))
            },
        )
        .unwrap();
    let target = directory.resolve(&id("cam")).unwrap();
    assert_eq!(target.protocol(PROTOCOLS), Some(Protocol::ISAPI));
    assert_eq!(
        (target.at.host, target.at.port, target.at.channel),
        (host("192.168.0.64"), 8080, 3)
    );
    assert_eq!(password(&mut directory, "cam").unwrap(), "one-1");
    // By its address it is the same camera.
    let by_address = directory.resolve(&id("192.168.0.64")).unwrap();
    assert!(!by_address.at.port_is_said && by_address.at.port == 8080);
    assert_eq!(password(&mut directory, "192.168.0.64").unwrap(), "one-1");
}

#[test]
fn the_rtsp_port_is_never_the_http_port() {
    let mut directory = empty();
    let url = "rtsp://admin:p%40ss-1@192.168.0.64:8554/Streaming/Channels/201";
    directory.learn_source(&id("cam"), &MediaUrl::parse("sourceUrl", url).unwrap());
    let target = directory.resolve(&id("cam")).unwrap();
    assert_eq!(target.at.port, 80);
    assert_eq!(password(&mut directory, "cam").unwrap(), "p@ss-1");
    assert_eq!(target.at.channel, 2);
    assert_eq!(target.vendor, Vendor::parse("HIKVISION"));
    let said = CameraParams {
        port: Some(554),
        ..CameraParams::default()
    };
    directory.learn(&id("cam"), said).unwrap();
    assert_eq!(directory.resolve(&id("cam")).unwrap().at.port, 80);
}

#[test]
fn sources_that_are_no_cameras_teach_nothing() {
    let mut directory = empty();
    for url in [
        "rtsp://127.0.0.1:8554/cam",
        "rtmp://192.168.0.9/live/x",
        "srt://192.168.0.9:9000",
        "rtsp://239.1.1.1/x",
    ] {
        directory.learn_source(&id("cam"), &MediaUrl::parse("sourceUrl", url).unwrap());
        assert!(directory.resolve(&id("cam")).is_err(), "{url}");
    }
    directory
        .learn(&id("cam"), at("192.168.0.64", None))
        .unwrap();
    let proxy = MediaUrl::parse("sourceUrl", "rtsp://127.0.0.1:8554/cam").unwrap();
    directory.learn_source(&id("cam"), &proxy);
    assert_eq!(
        directory.resolve(&id("cam")).unwrap().at.host,
        host("192.168.0.64")
    );
}

#[test]
fn what_was_said_outright_counts_for_more_than_a_path() {
    let mut directory = empty();
    let said = CameraParams {
        vendor: Vendor::parse("DAHUA"),
        channel: Some(4),
        ..at("192.168.0.64", None)
    };
    directory.learn(&id("cam"), said).unwrap();
    let url = "rtsp://192.168.0.64/Streaming/Channels/101";
    directory.learn_source(&id("cam"), &MediaUrl::parse("sourceUrl", url).unwrap());
    let target = directory.resolve(&id("cam")).unwrap();
    assert_eq!(
        (target.vendor, target.at.channel),
        (Vendor::parse("DAHUA"), 4)
    );
    // Of another device nothing was said.
    let url = "rtsp://192.168.0.65/Streaming/Channels/201";
    directory.learn_source(&id("cam"), &MediaUrl::parse("sourceUrl", url).unwrap());
    let target = directory.resolve(&id("cam")).unwrap();
    assert_eq!(
        (target.vendor, target.at.channel),
        (Vendor::parse("HIKVISION"), 2)
    );
}

#[test]
fn paths_tell() {
    let told = |path| {
        let (vendor, channel) = told_by_path(path);
        (vendor.map(|v| v.0).unwrap_or_default(), channel)
    };
    let of = |vendor: &str, channel| (vendor.to_owned(), channel);
    assert_eq!(told("/Streaming/Channels/101"), of("HIKVISION", Some(1)));
    assert_eq!(
        told("/ISAPI/Streaming/channels/1602?x=1"),
        of("HIKVISION", Some(16))
    );
    assert_eq!(told("/Streaming/Channels/2"), of("HIKVISION", Some(2)));
    assert_eq!(told("/Streaming/Channels/"), of("HIKVISION", None));
    assert_eq!(
        told("/Streaming/Channels/99999999999999"),
        of("HIKVISION", None)
    );
    assert_eq!(
        told("/cam/realmonitor?channel=3&subtype=0"),
        of("DAHUA", Some(3))
    );
    assert_eq!(told("/cam/realmonitor?channel=0"), of("DAHUA", None));
    assert_eq!(told("/stream1"), of("", None));
}

#[test]
fn a_candidate_is_tried_and_the_accepted_one_stays_the_fallback() {
    let mut directory = empty();
    let (cam, there) = (id("cam"), host("192.168.0.64"));
    directory
        .learn(&cam, at("192.168.0.64", Some("old-1")))
        .unwrap();
    assert_eq!(stop_password(&mut directory, "cam").unwrap(), "old-1");
    directory.accepted(&there, &login("old-1"), Use::Control);
    directory
        .learn(&cam, at("192.168.0.64", Some("new-1")))
        .unwrap();
    assert_eq!(password(&mut directory, "cam").unwrap(), "new-1");
    assert_eq!(stop_password(&mut directory, "cam").unwrap(), "old-1");
    directory.refused(&there, &login("new-1"));
    assert_eq!(directory.said_login(&cam, &there), None);
    assert_eq!(password(&mut directory, "cam").unwrap(), "old-1");
    directory.refused(&there, &login("old-1"));
    assert_eq!(password(&mut directory, "cam").unwrap(), "old-1");
    directory
        .learn(&cam, at("192.168.0.64", Some("new-2")))
        .unwrap();
    directory.accepted(&there, &login("new-2"), Use::Control);
    assert_eq!(password(&mut directory, "cam").unwrap(), "new-2");
    assert_eq!(stop_password(&mut directory, "cam").unwrap(), "new-2");
}

#[test]
fn stored_logins_go_only_where_they_belong() {
    let mut directory = Directory::new(
        AddressRules::default(),
        vec![configured("192.168.0.0/24", "configured-1")],
    );
    let cam = id("cam");
    directory
        .learn(&cam, at("192.168.0.64", Some("one-1")))
        .unwrap();
    directory.accepted(&host("192.168.0.64"), &login("one-1"), Use::Control);
    // Somebody says that the camera is elsewhere now.
    directory.learn(&cam, at("203.0.113.9", None)).unwrap();
    assert_eq!(password(&mut directory, "cam"), None);
    assert_eq!(stop_password(&mut directory, "cam"), None);
    directory.learn(&cam, at("evil.example", None)).unwrap();
    assert_eq!(password(&mut directory, "cam"), None);
    // And back.
    directory.learn(&cam, at("192.168.0.64", None)).unwrap();
    assert_eq!(password(&mut directory, "cam").unwrap(), "one-1");
}

#[test]
fn a_new_address_forgets_what_was_the_old_devices() {
    let mut directory = empty();
    let cam = id("cam");
    let said = CameraParams {
        port: Some(8000),
        vendor: Vendor::parse("HIKVISION"),
        ..at("192.168.0.64", None)
    };
    directory.learn(&cam, said).unwrap();
    directory.learn_protocol(&cam, Protocol::ONVIF);
    let target = directory.resolve(&cam).unwrap();
    assert_eq!(target.protocol, Some(Protocol::ONVIF));
    directory.learn(&cam, at("192.168.0.65", None)).unwrap();
    let target = directory.resolve(&cam).unwrap();
    assert_eq!(
        (target.at.port, target.vendor, target.protocol),
        (80, None, None)
    );
}

#[test]
fn configured_logins_by_fit() {
    let mut directory = Directory::new(
        AddressRules::default(),
        vec![
            configured("10.0.0.0/8", "wide-1"),
            configured("10.1.0.0/16", "narrow-1"),
            configured("10.1.2.3", "exact-1"),
            configured("cam-7", "id-1"),
            configured("gate.local", "name-1"),
            configured("fd12::/16", "six-1"),
            configured("0.0.0.0/0", "any-1"),
            configured("10.1.0.0/99", "nonsense"),
        ],
    );
    for (camera, address, wanted) in [
        ("a", "10.9.9.9", "wide-1"),
        ("b", "10.1.9.9", "narrow-1"),
        ("c", "10.1.2.3", "exact-1"),
        ("cam-7", "10.1.2.3", "id-1"),
        ("d", "Gate.Local", "name-1"),
        ("e", "fd12::77", "six-1"),
        ("f", "203.0.113.9", "any-1"),
    ] {
        directory.learn(&id(camera), at(address, None)).unwrap();
        assert_eq!(password(&mut directory, camera).unwrap(), wanted);
    }
    directory.learn(&id("g"), at("other.local", None)).unwrap();
    assert_eq!(password(&mut directory, "g"), None);
    // What a command says goes first.
    let cam = id("cam-7");
    directory
        .learn(&cam, at("10.1.2.3", Some("said-1")))
        .unwrap();
    assert_eq!(password(&mut directory, "cam-7").unwrap(), "said-1");
    directory.refused(&host("10.1.2.3"), &login("said-1"));
    assert_eq!(password(&mut directory, "cam-7").unwrap(), "id-1");
}

#[test]
fn an_entry_says_how_its_cameras_are_spoken_with_and_basic_is_its_own_login_s() {
    let entry = ConfiguredLogin {
        manner: Manner {
            profile: Some("view-1".to_owned()),
            onvif_path: Some("/onvif/services".to_owned()),
            allow_basic: true,
        },
        ..configured("10.1.2.3", "entry-1")
    };
    let mut directory = Directory::new(AddressRules::default(), vec![entry]);
    directory
        .learn(&id("a"), at("10.1.2.3", Some("said-1")))
        .unwrap();
    let target = directory.resolve(&id("a")).unwrap();
    let manner = target.manner(Some(&login("entry-1")));
    assert_eq!(manner.profile.as_deref(), Some("view-1"));
    assert_eq!(manner.onvif_path.as_deref(), Some("/onvif/services"));
    assert!(manner.allow_basic && target.has_onvif);
    for other in [None, Some(&login("said-1"))] {
        assert!(!target.manner(other).allow_basic, "{other:?}");
    }
    // What is said of the camera counts first.
    let said = CameraParams {
        profile: Some("view-2".to_owned()),
        ..at("10.1.2.3", None)
    };
    directory.learn(&id("a"), said).unwrap();
    let manner = directory.resolve(&id("a")).unwrap().manner(None);
    assert_eq!(manner.profile.as_deref(), Some("view-2"));
    // Elsewhere the entry says nothing.
    directory.learn(&id("b"), at("10.1.2.4", None)).unwrap();
    let elsewhere = directory.resolve(&id("b")).unwrap();
    assert_eq!(elsewhere.manner(Some(&login("entry-1"))), Manner::default());
}

#[test]
fn addresses_that_are_none_of_a_camera() {
    let mut directory = empty();
    let cam = id("cam");
    directory
        .learn(&cam, at("192.168.0.64", Some("one-1")))
        .unwrap();
    for bad in ["127.0.0.1", "224.0.0.1", "169.254.169.254", "0.0.0.0"] {
        let fault = directory.learn(&cam, at(bad, Some("two-1"))).unwrap_err();
        assert_eq!(fault.code, ErrorCode::ValidationFailed, "{bad}");
        assert!(directory.resolve(&id(bad)).is_err(), "{bad}");
    }
    assert_eq!(password(&mut directory, "cam").unwrap(), "one-1");
    // A reload may forbid what was allowed.
    directory.learn(&cam, at("10.0.0.7", None)).unwrap();
    let own = crate::application::camera::book::address::OwnAddress {
        ip: "10.0.0.7".parse().unwrap(),
        prefix: 24,
    };
    let rules = AddressRules {
        own: vec![own],
        ..AddressRules::default()
    };
    directory.configure(rules, Vec::new());
    assert!(directory.resolve(&cam).is_err());
}

#[test]
fn discovery_helps_where_nobody_said_anything() {
    let mut directory = empty();
    let ip = "192.168.0.64".parse().unwrap();
    directory.learn_find(&Sighting {
        ip,
        vendor: Some("Dahua".into()),
        http_port: Some(8080),
        rtsp_port: Some(8554),
        onvif_path: None,
    });
    directory
        .learn(&id("cam"), at("192.168.0.64", None))
        .unwrap();
    let target = directory.resolve(&id("cam")).unwrap();
    assert_eq!(
        (target.at.port, target.protocol(PROTOCOLS)),
        (8080, Some(Protocol::ONVIF))
    );
    let said = CameraParams {
        port: Some(81),
        vendor: Vendor::parse("HIK"),
        ..CameraParams::default()
    };
    directory.learn(&id("cam"), said).unwrap();
    let target = directory.resolve(&id("cam")).unwrap();
    assert_eq!(
        (target.at.port, target.protocol(PROTOCOLS)),
        (81, Some(Protocol::ISAPI))
    );
    assert_eq!(directory.ids_at(ip), [id("cam")]);
}

#[test]
fn memory_is_bounded() {
    let mut directory = empty();
    directory.learn(&id("first"), at("10.0.0.1", None)).unwrap();
    for n in 0..3000_u32 {
        let camera = id(&format!("cam-{n}"));
        directory
            .learn(&camera, at("10.0.0.2", Some("one-1")))
            .unwrap();
        directory.resolve(&id("first")).unwrap();
    }
    for n in 0..9000_u32 {
        directory.learn_find(&Sighting {
            ip: IpAddr::from((0x0b00_0000 + n).to_be_bytes()),
            vendor: None,
            http_port: None,
            rtsp_port: None,
            onvif_path: None,
        });
    }
    assert!(directory.cameras.len() <= MAX_CAMERAS);
    assert!(directory.finds.len() <= MAX_FINDS);
    assert!(
        directory.resolve(&id("first")).is_ok(),
        "the one in use went"
    );
    assert!(directory.resolve(&id("cam-1")).is_err());
}

#[test]
fn nothing_shows_a_password() {
    let mut directory = empty();
    directory
        .learn(&id("cam"), at("10.0.0.1", Some("canary-77")))
        .unwrap();
    let target = directory.resolve(&id("cam")).unwrap();
    assert!(!format!("{directory:?} {target:?}").contains("canary"));
}

proptest! {
    /// Whatever is said in whatever order: a login goes only to the address that it was given
    /// for, or that the configuration names.
    #[test]
    fn a_login_never_goes_elsewhere(
        steps in proptest::collection::vec((0..5u8, 0..3u8, 0..4u8, 0..3u8), 1..80),
    ) {
        let mut directory = Directory::new(
            AddressRules::default(),
            vec![configured("10.0.0.3", "10.0.0.3")],
        );
        let cameras = ["a", "b", "10.0.0.2"].map(id);
        for (what, camera, address, other) in steps {
            let camera = &cameras[usize::from(camera)];
            // The password is the address it is meant for.
            let address = format!("10.0.0.{address}");
            let meant = login(&address);
            match what {
                0 => directory.learn(camera, at(&address, Some(&address))).unwrap(),
                1 => directory.learn(camera, at(&address, None)).unwrap(),
                2 => directory.accepted(&host(&address), &meant, Use::Stream),
                3 => directory.accepted(&host(&address), &meant, Use::Control),
                _ => directory.refused(&host(&address), &meant),
            }
            let look = &cameras[usize::from(other)];
            if let Ok(target) = directory.resolve(look) {
                let own = directory.logins(look, &target.at.host, Use::Control);
                let taken = directory.taken_logins(look, &target.at.host, Use::View);
                for login in own.into_iter().chain(taken) {
                    prop_assert_eq!(login.password().expose(), target.at.host.to_string());
                }
            }
        }
    }
}

#[test]
fn a_login_goes_to_the_address_it_belongs_to_when_discovery_asks() {
    let configured = vec![
        configured("192.168.0.0/24", "site-1"),
        configured("cam-7", "seven-7"),
    ];
    let mut directory = Directory::new(AddressRules::default(), configured);
    let login_at = |directory: &Directory, ip: &str| {
        let login = directory.login_at(ip.parse().unwrap());
        login.map(|l| l.password().expose().to_owned())
    };
    assert_eq!(login_at(&directory, "10.0.0.1"), None);
    assert_eq!(
        login_at(&directory, "192.168.0.64").as_deref(),
        Some("site-1")
    );
    directory.learn(&id("cam-7"), at("10.0.0.7", None)).unwrap();
    assert_eq!(login_at(&directory, "10.0.0.7").as_deref(), Some("seven-7"));
    directory
        .learn(&id("cam"), at("10.0.0.8", Some("given-2")))
        .unwrap();
    assert_eq!(login_at(&directory, "10.0.0.8").as_deref(), Some("given-2"));
    // A new one is not taken yet: the one that works is the one to use.
    directory.accepted(&host("10.0.0.8"), &login("given-2"), Use::Control);
    directory
        .learn(&id("cam"), at("10.0.0.8", Some("given-3")))
        .unwrap();
    assert_eq!(login_at(&directory, "10.0.0.8").as_deref(), Some("given-2"));
    // The id is elsewhere now; its login stays where it was taken, and does not go along.
    directory.learn(&id("cam"), at("10.0.0.9", None)).unwrap();
    assert_eq!(login_at(&directory, "10.0.0.8").as_deref(), Some("given-2"));
    assert_eq!(login_at(&directory, "10.0.0.9"), None);
}

#[test]
fn who_only_discovery_asks_is_listed_by_discovery_alone() {
    let mut directory = empty();
    let ip: IpAddr = "192.168.0.64".parse().unwrap();
    let by_address = directory.introduce(ip).unwrap();
    assert_eq!(by_address, id("192.168.0.64"));
    directory
        .learn(&by_address, CameraParams::default())
        .unwrap();
    assert_eq!(directory.known().count(), 0);
    directory.forget_find(ip);
    assert!(directory.cameras.is_empty());
    // A command speaks of it: it stays.
    directory.introduce(ip).unwrap();
    directory
        .learn(&by_address, at("192.168.0.64", None))
        .unwrap();
    directory.forget_find(ip);
    assert_eq!(directory.known().count(), 1);
    // Under the name that commands have for it.
    directory
        .learn(&id("cam"), at("192.168.0.65", None))
        .unwrap();
    assert_eq!(
        directory
            .introduce("192.168.0.65".parse().unwrap())
            .unwrap(),
        id("cam")
    );
    assert!(directory.introduce("127.0.0.1".parse().unwrap()).is_err());
}

#[test]
fn the_port_of_rtsp_is_that_of_the_stream_or_of_discovery() {
    let mut directory = empty();
    let source = MediaUrl::parse("sourceUrl", "rtsp://192.168.0.64:10554/live").unwrap();
    directory.learn_source(&id("cam"), &source);
    let target = directory.resolve(&id("cam")).unwrap();
    assert_eq!((target.rtsp_port, target.at.port), (Some(10554), 80));
    directory
        .learn(&id("other"), at("192.168.0.65", None))
        .unwrap();
    assert_eq!(directory.resolve(&id("other")).unwrap().rtsp_port, None);
    directory.learn_find(&Sighting {
        ip: "192.168.0.65".parse().unwrap(),
        vendor: None,
        http_port: None,
        rtsp_port: Some(8554),
        onvif_path: None,
    });
    assert_eq!(
        directory.resolve(&id("other")).unwrap().rtsp_port,
        Some(8554)
    );
}

#[test]
fn what_is_known_by_a_name_holds_where_the_name_leads_and_nowhere_else() {
    let (ip, other) = (
        "192.168.0.64".parse().unwrap(),
        "192.168.0.65".parse().unwrap(),
    );
    let mut directory = empty();
    let said = CameraParams {
        port: Some(8080),
        ..at("dome.lan", Some("one"))
    };
    directory.learn(&id("cam"), said).unwrap();
    assert_eq!(password(&mut directory, "192.168.0.64"), None);
    directory.leads_to("dome.lan", ip);
    assert!(directory.is_same(&host("dome.lan"), &host("192.168.0.64")));
    assert_eq!(
        password(&mut directory, "192.168.0.64").as_deref(),
        Some("one")
    );
    let target = directory.resolve(&id("192.168.0.64")).unwrap();
    assert_eq!(target.at.port, 8080);
    // The same camera by another word for the same place forgets nothing.
    directory
        .learn(&id("cam"), at("192.168.0.64", None))
        .unwrap();
    assert_eq!(directory.resolve(&id("cam")).unwrap().at.port, 8080);
    directory.learn(&id("cam"), at("dome.lan", None)).unwrap();
    // It moves away: the old address gets its login no more.
    directory.leads_to("dome.lan", other);
    assert_eq!(password(&mut directory, "192.168.0.64"), None);
    assert_eq!(
        password(&mut directory, "192.168.0.65").as_deref(),
        Some("one")
    );
    assert_eq!(password(&mut directory, "cam").as_deref(), Some("one"));
    for number in 0..2_000 {
        directory.leads_to(&format!("dome{number}.lan"), ip);
    }
    assert!(!directory.is_same(&host("dome.lan"), &host("192.168.0.65")));
}

fn source(directory: &mut Directory, camera: &str, url: &str) {
    let url = MediaUrl::parse("sourceUrl", url).unwrap();
    directory.learn_source(&id(camera), &url);
}

#[test]
fn a_guess_is_replaced_by_a_newer_guess_and_by_what_is_said() {
    let mut directory = empty();
    let channel = |directory: &mut Directory| directory.resolve(&id("cam")).unwrap().at.channel;
    for (stream, wanted) in [(501, 5), (601, 6), (501, 5)] {
        let url = format!("rtsp://192.168.0.64/Streaming/Channels/{stream}");
        source(&mut directory, "cam", &url);
        assert_eq!(channel(&mut directory), wanted);
    }
    // A path that tells nothing changes nothing.
    source(&mut directory, "cam", "rtsp://192.168.0.64/live");
    assert_eq!(channel(&mut directory), 5);
    for (said, wanted) in [(7, 7), (8, 8)] {
        let said = CameraParams {
            channel: Some(said),
            ..CameraParams::default()
        };
        directory.learn(&id("cam"), said).unwrap();
        let url = "rtsp://192.168.0.64/Streaming/Channels/101";
        source(&mut directory, "cam", url);
        assert_eq!(channel(&mut directory), wanted);
    }
    // The make is one such fact too.
    let vendor = |directory: &mut Directory| directory.resolve(&id("cam")).unwrap().vendor;
    assert_eq!(vendor(&mut directory), Vendor::parse("HIKVISION"));
    let url = "rtsp://192.168.0.64/cam/realmonitor?channel=1";
    source(&mut directory, "cam", url);
    assert_eq!(vendor(&mut directory), Vendor::parse("DAHUA"));
}

#[test]
fn a_sweep_does_not_move_a_port_that_has_proven_itself() {
    let mut directory = empty();
    let ip: IpAddr = "192.168.0.64".parse().unwrap();
    let sweep = |directory: &mut Directory, port| {
        directory.learn_find(&Sighting {
            ip,
            vendor: None,
            http_port: Some(port),
            rtsp_port: None,
            onvif_path: None,
        });
    };
    let port = |directory: &mut Directory| {
        let target = directory.resolve(&id("cam")).unwrap();
        assert!(!target.at.port_is_said);
        target.at.port
    };
    sweep(&mut directory, 8899);
    directory
        .learn(&id("cam"), at("192.168.0.64", None))
        .unwrap();
    assert_eq!(port(&mut directory), 8899);
    // A guess gives way to a newer one.
    sweep(&mut directory, 8000);
    assert_eq!(port(&mut directory), 8000);
    sweep(&mut directory, 8899);
    directory.proven(ip, 8899);
    sweep(&mut directory, 80);
    assert_eq!(port(&mut directory), 8899);
    directory.forget_find(ip);
    assert_eq!(port(&mut directory), 8899);
    // Nobody answers there any more: the sweep's word is tried, and is no better.
    sweep(&mut directory, 80);
    directory.failed_at(ip, 8899);
    assert_eq!(port(&mut directory), 80);
    directory.failed_at(ip, 80);
    assert_eq!(port(&mut directory), 8899);
    // It is better: that is where the camera is now.
    directory.failed_at(ip, 8899);
    directory.proven(ip, 80);
    assert_eq!(port(&mut directory), 80);
    // What is said counts for most.
    let said = CameraParams {
        port: Some(8081),
        ..CameraParams::default()
    };
    directory.learn(&id("cam"), said).unwrap();
    directory.proven(ip, 80);
    assert_eq!(directory.resolve(&id("cam")).unwrap().at.port, 8081);
}

#[test]
fn cameras_at_several_ports_of_one_address_speak_for_themselves() {
    let mut directory = empty();
    for (camera, port, vendor) in [("a", 8081, "DAHUA"), ("b", 8082, "HIKVISION")] {
        let said = CameraParams {
            port: Some(port),
            vendor: Vendor::parse(vendor),
            ..at("192.168.0.64", None)
        };
        directory.learn(&id(camera), said).unwrap();
    }
    directory.learn_protocol(&id("a"), Protocol::ONVIF);
    let protocol = directory.resolve(&id("b")).unwrap().protocol(PROTOCOLS);
    assert_eq!(protocol, Some(Protocol::ISAPI));
}

#[test]
fn a_viewing_account_of_a_stream_does_not_displace_the_one_that_controls() {
    let mut directory = empty();
    let (cam, there) = (id("cam"), host("192.168.0.64"));
    let first = |directory: &Directory, purpose| {
        let logins = directory.logins(&cam, &there, purpose);
        logins.first().map(|login| login.username().to_owned())
    };
    directory
        .learn(&cam, at("192.168.0.64", Some("admins")))
        .unwrap();
    directory.accepted(&there, &login("admins"), Use::Control);
    source(&mut directory, "cam", "rtsp://viewer:v-1@192.168.0.64/live");
    let viewer = Credentials::new("viewer", Secret::new("v-1")).unwrap();
    directory.accepted(&there, &viewer, Use::Stream);
    assert_eq!(first(&directory, Use::Control).as_deref(), Some("admin"));
    // Said by a command, and found to be for looking only.
    let said = CameraParams {
        login: Some(viewer.clone()),
        ..CameraParams::default()
    };
    directory.learn(&cam, said).unwrap();
    assert_eq!(first(&directory, Use::Control).as_deref(), Some("admin"));
    directory.accepted(&there, &viewer, Use::View);
    assert_eq!(first(&directory, Use::View).as_deref(), Some("viewer"));
    directory.forbidden(&there, &viewer, Use::Control);
    assert_eq!(first(&directory, Use::Control).as_deref(), Some("admin"));
}
