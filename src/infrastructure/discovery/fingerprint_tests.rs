//! What cameras are known to say, and what is made of it.

use proptest::prelude::*;

use super::*;

/// Vendor and certainty, as one word each.
fn seen(change: impl FnOnce(&mut Signs)) -> String {
    let mut signs = Signs::default();
    change(&mut signs);
    guess(&signs).map_or_else(|| NOBODY.to_owned(), |g| is(&g.vendor, g.certainty))
}

fn is(vendor: &str, certainty: Certainty) -> String {
    format!("{vendor} {certainty:?}")
}

const NOBODY: &str = "nobody";

#[test]
fn each_sign_by_itself() {
    use Certainty::{Likely, Said};
    let realm = |realm: &str| seen(|s| s.realms = vec!["router".to_owned(), realm.to_owned()]);
    assert_eq!(realm("IP Camera(C1214)"), is("HIKVISION", Likely));
    assert_eq!(realm("DS-2CD2143G0-I"), is("HIKVISION", Likely));
    assert_eq!(realm("fe12f37b12345678fe12f37b"), is("HIKVISION", Likely));
    assert_eq!(realm("Login to 6M0A11BPAG3F2C1"), is("DAHUA", Likely));
    assert_eq!(realm("AXIS_ACCC8E012345"), is("AXIS", Likely));
    assert_eq!(realm("TP-LINK IP-Camera"), is("TP-LINK", Likely));
    assert_eq!(realm("Surveillance Server"), NOBODY);

    let http = |name: &str| seen(|s| s.http_server = Some(name.into()));
    assert_eq!(http("App-webs/"), is("HIKVISION", Likely));
    assert_eq!(http("hikvision-webs"), is("HIKVISION", Likely));
    assert_eq!(http("DNVRS-Webs"), is("HIKVISION", Likely));
    assert_eq!(http("uc-httpd 1.0.0"), is("XM", Likely));
    for nobody in [
        "gSOAP/2.8",
        "webserver",
        "lighttpd",
        "nginx",
        "Boa/0.94",
        "",
    ] {
        assert_eq!(http(nobody), NOBODY, "{nobody}");
    }

    assert_eq!(
        seen(|s| s.rtsp_server = Some("H264DVR 1.0".into())),
        is("XM", Likely)
    );
    assert_eq!(
        seen(|s| s.rtsp_server = Some("GStreamer RTSP server".into())),
        NOBODY
    );
    assert_eq!(
        seen(|s| s.rtsp_server = Some("Rtsp Server/3.0".into())),
        NOBODY
    );

    let title = |text: &str| seen(|s| s.http_title = Some(text.into()));
    assert_eq!(title("WEB SERVICE"), is("DAHUA", Likely));
    assert_eq!(title("NETSurveillance WEB"), is("XM", Likely));
    assert_eq!(title("Reolink"), is("REOLINK", Likely));
    assert_eq!(title("index"), NOBODY);
    let page = |text: &str| seen(|s| s.pages = vec![text.to_owned()]);
    assert_eq!(page("/doc/page/login.asp?_16412"), is("HIKVISION", Likely));
    assert_eq!(page("our web services"), NOBODY);

    let hardware = |text: &str| seen(|s| s.scopes_hardware = Some(text.into()));
    assert_eq!(hardware("DS-2CD2012-I"), is("HIKVISION", Likely));
    assert_eq!(hardware("TV-IP320PI"), is("TRENDNET", Likely));
    assert_eq!(hardware("HD_PREDATOR"), NOBODY);
    assert_eq!(
        seen(|s| s.scopes_name = Some("HIKVISION DS-2CD2012-I".into())),
        is("HIKVISION", Said)
    );
}

#[test]
fn one_weak_sign_is_nobody_and_two_that_agree_are_somebody() {
    use Certainty::Weak;
    assert_eq!(seen(|s| s.open_ports = vec![37777]), NOBODY);
    assert_eq!(seen(|s| s.open_ports = vec![80, 554, 8000]), NOBODY);
    assert_eq!(seen(|s| s.open_ports = vec![554, 2020]), NOBODY);
    assert_eq!(seen(|s| s.mac = Some("44:19:b6:00:00:01".into())), NOBODY);
    assert_eq!(
        seen(|s| {
            s.mac = Some("4419-b600-0001".into());
            s.open_ports = vec![8000];
        }),
        is("HIKVISION", Weak)
    );
    assert_eq!(
        seen(|s| {
            s.mac = Some("3C:EF:8C:11:22:33".into());
            s.open_ports = vec![37777, 554];
        }),
        is("DAHUA", Weak)
    );
    assert_eq!(
        seen(|s| s.open_ports = vec![8000, 9000]),
        is("REOLINK", Weak)
    );
    assert_eq!(
        seen(|s| {
            s.mac = Some("44:19:b6:00:00:01".into());
            s.open_ports = vec![37777];
        }),
        NOBODY,
        "two that disagree"
    );
    assert_eq!(
        seen(|s| {
            s.mac = Some("44:19:b6:00:00:01".into());
            s.open_ports = vec![8000, 9000];
        }),
        NOBODY,
        "two against two"
    );
    assert_eq!(
        seen(|s| s.mac = Some("44:19:b6".into())),
        NOBODY,
        "not an address"
    );
}

#[test]
fn the_strongest_sign_wins() {
    use Certainty::{Likely, Said};
    // A Hikvision board under another name: what speaks ISAPI is driven by ISAPI.
    assert_eq!(
        seen(|s| {
            s.isapi = true;
            s.scopes_name = Some("TRENDNET TV-IP320PI".into());
            s.realms = vec!["Login to 6M0A".to_owned()];
        }),
        is("HIKVISION", Said)
    );
    assert_eq!(
        seen(|s| {
            s.scopes_name = Some("AXIS M3045-V".into());
            s.realms = vec!["IP Camera(C1214)".to_owned()];
        }),
        is("AXIS", Said)
    );
    assert_eq!(
        seen(|s| {
            s.realms = vec!["Login to 6M0A".to_owned()];
            s.http_server = Some("uc-httpd 1.0.0".into());
            s.mac = Some("44:19:b6:00:00:01".into());
            s.open_ports = vec![8000];
        }),
        is("DAHUA", Likely),
        "the realm before the server, and either before weak ones"
    );
    assert_eq!(seen(|_| {}), NOBODY);
}

#[test]
fn models() {
    let of = |name: Option<&str>, hardware: Option<&str>, realm: Option<&str>| {
        model(&Signs {
            scopes_name: name.map(str::to_owned),
            scopes_hardware: hardware.map(str::to_owned),
            realms: realm.map(str::to_owned).into_iter().collect(),
            ..Signs::default()
        })
    };
    assert_eq!(
        of(Some("HIKVISION DS-2CD2012-I"), Some("DS-2CD2012-I"), None),
        Some("DS-2CD2012-I".into())
    );
    assert_eq!(
        of(Some("HIKVISION DS-2CD2012-I"), None, None),
        Some("DS-2CD2012-I".into())
    );
    assert_eq!(
        of(Some("AXIS M3045-V"), Some("AXIS M3045-V"), None),
        Some("M3045-V".into())
    );
    assert_eq!(of(Some("Camera"), Some("Camera"), None), None);
    assert_eq!(
        of(Some("Front door 2"), None, None),
        None,
        "somebody's name for it"
    );
    assert_eq!(of(Some("AXIS_ACCC8E012345"), None, None), None);
    assert_eq!(of(Some("Reolink"), Some("HIKVISION"), None), None);
    assert_eq!(
        of(None, Some("IPC"), Some("DS-2CD2143G0-I")),
        Some("DS-2CD2143G0-I".into())
    );
    assert_eq!(of(None, None, Some("IP Camera(C1214)")), None);
    let long = of(None, Some(&"x".repeat(500)), None).unwrap();
    assert_eq!(long.len(), MAX_MODEL);
}

#[test]
fn the_tables_are_sound() {
    for (vendor, prefixes) in OUIS {
        for prefix in *prefixes {
            assert_eq!(
                oui(&format!("{prefix}:00:00:01")),
                Some(*vendor),
                "{prefix} twice"
            );
            assert_eq!(prefix.len(), 8);
        }
    }
    for (at, row) in TABLE.iter().enumerate() {
        assert!(!TABLE[..at].contains(row), "{row:?} twice");
        assert_eq!(row.2, row.2.to_uppercase());
        if row.0 == Kind::Ports {
            assert!(
                row.1.split('+').all(|p| p.parse::<u16>().is_ok()),
                "{row:?}"
            );
            assert_eq!(row.3, Certainty::Weak);
        }
    }
}

proptest! {
    #[test]
    fn any_words_make_no_panic(texts in proptest::collection::vec("\\PC{0,40}", 7)) {
        let signs = Signs {
            http_server: Some(texts[0].clone()),
            http_title: Some(texts[1].clone()),
            realms: vec![texts[2].clone()],
            rtsp_server: Some(texts[3].clone()),
            isapi: false,
            scopes_name: Some(texts[4].clone()),
            scopes_hardware: Some(texts[5].clone()),
            mac: Some(texts[6].clone()),
            open_ports: vec![],
            pages: texts.clone(),
        };
        let _ = guess(&signs);
        if let Some(model) = model(&signs) {
            prop_assert!(!model.is_empty() && model.chars().count() <= MAX_MODEL);
        }
    }
}
