use std::time::Duration;

use super::*;
use crate::domain::whip_fit::Grade;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn by(who: &str, offset: i64) -> (String, i64) {
    (who.to_owned(), offset)
}

#[test]
fn how_wrong_a_clock_may_be() {
    let judged = |offset| clock(&[by("Ably", offset)]);
    for (offset, status) in [
        (0, Grade::Pass),
        (-5, Grade::Pass),
        (6, Grade::Warn),
        (-60, Grade::Warn),
        (61, Grade::Fail),
        (i64::MIN, Grade::Fail),
    ] {
        assert_eq!(judged(offset).status, status, "{offset}");
    }
    let behind = judged(31_536_000);
    assert!(behind.words.contains("365 days behind"), "{}", behind.words);
    assert!(behind.words.contains("ONVIF") && behind.words.contains("certificates"));
    assert!(judged(-90).words.contains("90 s ahead"));
    assert!(clock(&[]).words.contains("not compared"));
}

#[test]
fn others_may_disagree_about_the_time() {
    let check = clock(&[by("Ably", 0), by("rcs.test", 4_000)]);
    assert_eq!(check.status, Grade::Warn);
    assert!(check.words.contains("rcs.test +4000 s"));
    let check = clock(&[by("Ably", 100), by("rcs.test", 99)]);
    assert_eq!(check.status, Grade::Fail, "one second is no quarrel");
}

fn certificate(until: u64) -> CertificateFacts {
    CertificateFacts {
        subject: "login.hotel.test".to_owned(),
        issuer: "Gate CA".to_owned(),
        from: Some(now() - Duration::from_secs(86_400)),
        until: Some(now() + Duration::from_secs(until)),
    }
}

fn judged(verdict: TlsVerdict, until: u64) -> Check {
    let look = HostLook {
        host: "rcs.test".to_owned(),
        port: 443,
        names: Ok(vec!["10.1.2.3".parse().unwrap()]),
        tcp: Some(Ok("10.1.2.3:443".parse().unwrap())),
        tls: Some(TlsLook {
            verdict,
            certificate: Some(certificate(until)),
        }),
        clock: None,
    };
    let mut checks = host(&look, now());
    assert_eq!(checks.len(), 3);
    assert!(checks.iter().all(|c| c.subject == "rcs.test:443"));
    checks.pop().unwrap()
}

#[test]
fn certificates() {
    let year = 365 * 86_400;
    assert_eq!(judged(TlsVerdict::Good, year).status, Grade::Pass);
    let soon = judged(TlsVerdict::Good, 3 * 86_400);
    assert!(soon.status == Grade::Warn && soon.words.contains("3 days"));
    for (verdict, word) in [
        (TlsVerdict::Stranger, "“Gate CA”"),
        (TlsVerdict::NotNow, "2027-01-15T08:00:00.000Z"),
        (TlsVerdict::OtherName, "login.hotel.test"),
        (TlsVerdict::Refused("bad".to_owned()), "bad"),
        (TlsVerdict::NoTls("a page".to_owned()), "does not speak TLS"),
        (TlsVerdict::Silent("late".to_owned()), "says nothing"),
    ] {
        let check = judged(verdict, year);
        assert_eq!(check.status, Grade::Fail);
        assert!(check.words.contains(word), "{}", check.words);
        assert!(check.advice.is_some());
    }
}

#[test]
fn each_way_not_to_reach_a_host_has_its_advice() {
    let look = |names, tcp| {
        let look = HostLook {
            host: "h".to_owned(),
            port: 443,
            names,
            tcp,
            tls: None,
            clock: None,
        };
        host(&look, now()).pop().unwrap()
    };
    let dns = look(Err("no such name".to_owned()), None);
    assert_eq!((dns.check, dns.status), ("dns", Grade::Fail));
    let ip = || Ok(vec!["10.0.0.1".parse().unwrap()]);
    for (why, word) in [
        (NoConnection::Refused, "refuse"),
        (NoConnection::Silent, "firewall"),
        (NoConnection::NoRoute, "ip route"),
        (NoConnection::Other("x".to_owned()), "firewall"),
    ] {
        let check = look(ip(), Some(Err(why)));
        assert_eq!((check.check, check.status), ("tcp", Grade::Fail));
        assert!(check.advice.unwrap().contains(word));
    }
}

#[test]
fn udp_in_each_way() {
    let server = Some("stun.test:3478");
    let answered = UdpLook::Answered {
        ours: "192.168.0.9:5000".parse().unwrap(),
        seen: "203.0.113.9:6000".parse().unwrap(),
        took: Duration::from_millis(21),
    };
    let check = udp(server, Some(&answered));
    assert_eq!(check.status, Grade::Pass);
    assert!(check.words.contains("203.0.113.9") && check.words.contains("21 ms"));
    assert_eq!(udp(server, Some(&UdpLook::Silent)).status, Grade::Fail);
    let failed = UdpLook::Failed("x".to_owned());
    assert_eq!(udp(server, Some(&failed)).status, Grade::Fail);
    let nameless = UdpLook::NoName("x".to_owned());
    assert_eq!(udp(server, Some(&nameless)).status, Grade::Warn);
    assert!(udp(None, None).words.contains("not checked"));
}
