//! How a session comes about: hosts, TLS, keys, tokens.

use super::*;

#[test]
fn refused_by_the_service_and_let_in_later() {
    let standin = Standin::start();
    standin.model(|model| {
        model.faults.connect_error.push_back((40101, 401));
        model.faults.connect_error.push_back((40101, 401));
    });
    let rig = Rig::on(standin, settings);
    rig.result("kept").unwrap();
    assert_eq!(
        rig.state(ConnectionState::Failed).as_deref(),
        Some("refused (40101)")
    );
    let rig = rig.up();
    rig.all_sent();
    assert_eq!(rig.arrived(), ["kept"]);
    rig.end();
}

#[test]
fn a_service_that_does_not_answer_holds_up_no_close() {
    let standin = Standin::start();
    standin.mute(true);
    let mut timing = quick();
    timing.close_step = 100 * MS;
    let rig = Rig::on(standin, |standin| ClientSettings {
        timing: timing.clone(),
        ..settings(standin)
    });
    rig.state(ConnectionState::Connecting);
    let start = Instant::now();
    assert!(rig.handle.close(PATIENCE));
    assert!(start.elapsed() < SEC, "{:?}", start.elapsed());
}

#[test]
fn a_service_that_does_not_answer_is_given_its_time_and_no_more() {
    let standin = Standin::start();
    standin.mute(true);
    let mut timing = quick();
    timing.request = 200 * MS;
    let rig = Rig::on(standin, |standin| ClientSettings {
        timing: timing.clone(),
        ..settings(standin)
    });
    let reason = rig.state(ConnectionState::Disconnected).unwrap();
    assert!(reason.contains("80014"), "{reason}");
    rig.standin.mute(false);
    rig.up().end();
}

#[test]
fn fallbacks_are_tried_where_the_primary_does_not_answer() {
    // Nobody listens at that address.
    let away = |standin: &Standin| ClientSettings {
        endpoint: "127.0.0.77".to_owned(),
        fallback_hosts: Some(vec!["127.0.0.1".to_owned()]),
        ..settings(standin)
    };
    let rig = Rig::on(Standin::start(), away).up();
    assert_eq!(rig.handle.status().host, "127.0.0.1");
    let asked = rig.standin.http(|http| http.requests.clone());
    assert!(asked.iter().any(|r| r.starts_with("GET /up")), "{asked:?}");
    rig.end();
    // Behind a captive portal there is nothing to be tried.
    let standin = Standin::start();
    standin.http(|http| http.connectivity = "<html>log in</html>".to_owned());
    let rig = Rig::on(standin, away);
    let reason = rig.state(ConnectionState::Disconnected).unwrap();
    assert!(reason.contains("no way to the internet"), "{reason}");
    assert!(rig.standin.model(|model| model.connects.is_empty()));
}

#[test]
fn an_http_error_in_place_of_the_upgrade() {
    let standin = Standin::start();
    standin.http(|http| http.upgrade_status.extend([503, 404]));
    let rig = Rig::on(standin, |standin| ClientSettings {
        fallback_hosts: Some(vec!["127.0.0.1".to_owned()]),
        ..settings(standin)
    });
    // 503 leads to the fallback, its 404 to the end of the round.
    let reason = rig.state(ConnectionState::Disconnected).unwrap();
    assert!(reason.contains("HTTP 404"), "{reason}");
    rig.up().end();
}

#[test]
fn every_kind_of_token_source() {
    for answer in [
        TokenAnswer::Plain,
        TokenAnswer::Details,
        TokenAnswer::Request,
    ] {
        let standin = Standin::start();
        standin.http(|http| http.token = answer.clone());
        let rig = Rig::on(standin, tokens).up();
        let asked = rig.standin.http(|http| http.requests.clone());
        assert!(
            asked.contains(&"GET /auth?site=7&clientId=lss-test header-secret".to_owned()),
            "{asked:?}"
        );
        rig.send("one");
        assert_eq!(rig.commands(1), ["one"]);
        rig.end();
    }
}

#[test]
fn token_sources_that_fail_are_asked_again() {
    for (answer, words) in [
        (TokenAnswer::Status(500), "HTTP 500"),
        (TokenAnswer::Html, "text/html"),
        (TokenAnswer::Hang, "80019"),
    ] {
        let standin = Standin::start();
        standin.http(|http| http.token = answer.clone());
        let rig = Rig::on(standin, |standin| {
            let mut settings = tokens(standin);
            settings.timing.request = 300 * MS;
            settings
        });
        let reason = rig.state(ConnectionState::Disconnected).unwrap();
        assert!(reason.contains(words), "{answer:?}: {reason}");
        rig.standin.http(|http| http.token = TokenAnswer::Plain);
        rig.up().end();
    }
    // One that forbids is believed, for a while.
    let standin = Standin::start();
    standin.http(|http| http.token = TokenAnswer::Status(403));
    let rig = Rig::on(standin, tokens);
    rig.state(ConnectionState::Failed);
    rig.standin.http(|http| http.token = TokenAnswer::Plain);
    rig.up().end();
}

#[test]
fn tokens_that_end_are_renewed() {
    let standin = Standin::start();
    // So short that it is renewed within the test, before its end.
    standin.http(|http| {
        http.token = TokenAnswer::Details;
        http.token_life = 1500 * MS;
    });
    let rig = Rig::on(standin, tokens).up();
    rig.standin.http(|http| http.token_life = 3_600 * SEC);
    rig.standin.until("a renewal", |model| model.auths == 1);
    rig.send("one");
    assert_eq!(rig.commands(1), ["one"]);
    assert_eq!(rig.handle.status().connects, 1, "within the connection");
    // Asked for by the service.
    let socket = rig.standin.model(|model| model.sockets_of(NODE)[0]);
    rig.standin
        .with(|model, now| ((), model.inject(socket, json!({"action": 17}), now)));
    rig.standin
        .until("another renewal", |model| model.auths == 2);
    // Thrown out for it.
    rig.standin
        .with(|model, now| ((), model.disconnect(socket, 40142, 401, now)));
    rig.status("up again", |s| s.connects == 2 && s.present);
    let tokens = rig.standin.http(|http| {
        let asked = http.requests.iter();
        asked.filter(|r| r.starts_with("GET /auth")).count()
    });
    assert_eq!(tokens, 4);
    rig.end();
}

#[test]
fn over_tls() {
    let standin = Standin::start();
    let front = TlsFront::start(standin.address);
    let secure = |standin: &Standin, trust: bool| {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ureq::tls::TlsConfig::builder()
            .root_certs(ureq::tls::RootCerts::from(vec![front.pem()]))
            .unversioned_rustls_crypto_provider(provider)
            .build();
        let http = ureq::Agent::config_builder().proxy(None).tls_config(tls);
        ClientSettings {
            endpoint: "localhost".to_owned(),
            port: front.address.port(),
            tls: Some(front.client(trust)),
            http: http.build().new_agent(),
            ..settings(standin)
        }
    };
    // A certificate that nobody vouches for.
    let rig = Rig::on(standin, |standin| secure(standin, false));
    let reason = rig.state(ConnectionState::Disconnected).unwrap();
    assert!(reason.contains("TLS"), "{reason}");
    assert!(rig.standin.model(|model| model.connects.is_empty()));
    assert!(rig.handle.close(PATIENCE));
    let Rig { standin, .. } = rig;

    let rig = Rig::on(standin, |standin| secure(standin, true)).up();
    let long = "z".repeat(200_000);
    rig.send(&long);
    assert_eq!(rig.commands(1), [long]);
    for n in 0..50 {
        rig.result(&format!("r{n}")).unwrap();
    }
    rig.all_sent();
    assert_eq!(rig.arrived().len(), 50);
    rig.standin.cut(NODE);
    rig.send("after the cut");
    assert_eq!(rig.commands(1), ["after the cut"]);
    rig.status("the time is known", |s| s.present);
    let asked = rig.standin.http(|http| http.requests.clone());
    assert!(
        asked.iter().any(|r| r.starts_with("GET /time")),
        "{asked:?}"
    );
    rig.end();
}

#[test]
fn a_key_does_not_travel_in_the_clear() {
    let standin = Standin::start();
    for (endpoint, fallbacks) in [
        ("main", None),
        ("ably.example.org", None),
        ("192.0.2.1", None),
        ("localhost", Some(vec!["192.0.2.2".to_owned()])),
    ] {
        let refused = AblyClient::start(
            ClientSettings {
                endpoint: endpoint.to_owned(),
                fallback_hosts: fallbacks,
                ..settings(&standin)
            },
            bounded(1).0,
        );
        assert!(
            matches!(refused, Err(StartError::NotLoopback(_))),
            "{endpoint}"
        );
    }
}

/// Everything that is logged in this process, at any level.
struct Tape(Mutex<Vec<(String, String)>>);

impl log::Log for Tape {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        struct Pairs(String);
        impl<'kvs> log::kv::VisitSource<'kvs> for Pairs {
            fn visit_pair(
                &mut self,
                key: log::kv::Key<'kvs>,
                value: log::kv::Value<'kvs>,
            ) -> Result<(), log::kv::Error> {
                use std::fmt::Write as _;
                let _ = write!(self.0, " {key}={value}");
                Ok(())
            }
        }
        let mut pairs = Pairs(String::new());
        let _ = record.key_values().visit(&mut pairs);
        let line = format!("{} {}{}", record.level(), record.args(), pairs.0);
        self.0
            .lock()
            .unwrap()
            .push((record.target().to_owned(), line));
    }

    fn flush(&self) {}
}

static TAPE: Tape = Tape(Mutex::new(Vec::new()));

#[test]
fn no_key_and_no_token_in_any_log() {
    log::set_logger(&TAPE).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let key = "canary.app:canary/secret+key";
    let standin = Standin::with_config(Config {
        keys: vec![key.to_owned()],
        ..Config::default()
    });
    standin.http(|http| http.upgrade_status.push_back(500));
    standin.model(|model| model.faults.connect_error.push_back((40101, 401)));
    let rig = Rig::on(standin, |standin| ClientSettings {
        auth: Auth::Key(Secret::new(key)),
        ..settings(standin)
    })
    .up();
    rig.standin.cut(NODE);
    rig.status("up again", |s| s.connects == 2 && s.present);
    rig.end();

    let rig = Rig::on(Standin::start(), tokens).up();
    let socket = rig.standin.model(|model| model.sockets_of(NODE)[0]);
    rig.standin
        .with(|model, now| ((), model.disconnect(socket, 40142, 401, now)));
    rig.status("up again", |s| s.connects == 2 && s.present);
    rig.end();

    log::set_max_level(log::LevelFilter::Off);
    let tape = std::mem::take(&mut *TAPE.0.lock().unwrap());
    let ours: Vec<&(String, String)> = tape.iter().filter(|(t, _)| t.starts_with("lss")).collect();
    assert!(
        ours.iter().any(|(_, line)| line.contains("CONNECTED")),
        "{ours:?}"
    );
    for (target, line) in &tape {
        for secret in ["canary/secret", "canary%2Fsecret"] {
            assert!(!line.contains(secret), "{target}: {line}");
        }
        // At trace the websocket and HTTP libraries show whole frames; the daemon's logger is not
        // to let them.
        if target.starts_with("lss") || !line.starts_with("TRACE") {
            for secret in ["!k1", "!k2", "token-1", "token-2", "header-secret"] {
                assert!(!line.contains(secret), "{target}: {line}");
            }
        }
    }
}
