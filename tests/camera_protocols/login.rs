//! Logging in: which challenge is answered, how often, and what is never sent.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lss::domain::camera::Credentials;
use lss::infrastructure::http::camera_client::{CameraClient, Request, Resend};
use lss::infrastructure::http::doors::Doors;
use lss::infrastructure::http::login_client::{LoginClient, LoginError, LoginRules};
use lss::util::secret::Secret;

use crate::support::camera_http::{Fault, HttpServer, Incoming, Outgoing, Site};
use crate::support::digest_server::{Gate, GateRules, Offer, Verdict};

/// A page behind a gate.
struct Page(Gate);

impl Site for Page {
    fn answer(&mut self, request: &Incoming) -> Outgoing {
        match self.0.judge(request) {
            Verdict::Pass if request.target == "/definite" => {
                Outgoing::new(403, "text/plain", "definite")
            }
            Verdict::Pass if request.target == "/led" => {
                Outgoing::new(302, "text/plain", "").with("Location", "/there?a=b")
            }
            Verdict::Pass if request.target == "/astray" => {
                Outgoing::new(302, "text/plain", "").with("Location", "http://192.0.2.1/there")
            }
            Verdict::Pass => Outgoing::new(200, "text/plain", request.body.clone()),
            Verdict::Stop {
                status, headers, ..
            } => {
                let mut reply = Outgoing::new(status, "text/html", "<html>no</html>");
                reply.headers.extend(headers);
                reply
            }
        }
    }
}

fn serve(rules: GateRules) -> HttpServer<Page> {
    HttpServer::start(Page(Gate::new(rules)))
}

fn client(addr: SocketAddr, password: &str, allow_basic: bool) -> LoginClient {
    let login = Credentials::new(GateRules::default().user, Secret::new(password)).unwrap();
    LoginClient::new(
        CameraClient::new(addr, Duration::from_secs(3), Doors::default()),
        Some(login),
        LoginRules {
            allow_basic,
            is_definite: |response| response.body == b"definite",
        },
    )
}

fn good(addr: SocketAddr) -> LoginClient {
    client(addr, &GateRules::default().password, false)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(8)
}

fn request(method: &'static str, target: &'static str) -> Request<'static> {
    Request {
        method,
        target,
        content_type: (method == "PUT").then_some("text/plain"),
        soap_action: None,
        body: (method == "PUT").then_some(b"hello"),
        resend: Resend::Always,
        max_reply: 10_000,
        secret: false,
    }
}

#[test]
fn every_algorithm_form_and_order() {
    let forms = [
        vec![Offer::Md5],
        vec![Offer::Md5Sess],
        vec![Offer::Sha256],
        vec![Offer::Sha256Sess],
        vec![Offer::Basic, Offer::Md5, Offer::Sha256],
        vec![Offer::Sha256, Offer::Md5, Offer::Basic],
    ];
    for offers in forms {
        for one_header in [false, true] {
            for qop in [false, true] {
                for opaque in [None, Some(String::new()), Some("5b\"6e".to_owned())] {
                    let server = serve(GateRules {
                        offers: offers.clone(),
                        one_header,
                        qop,
                        opaque: opaque.clone().map(|o| o.replace('"', "")),
                        ..GateRules::default()
                    });
                    let mut client = good(server.addr);
                    for target in ["/a?x=1&y=2", "/b", "/a?x=1&y=2"] {
                        let response = client.send(&request("PUT", target), soon()).unwrap();
                        assert_eq!(response.body, b"hello");
                    }
                    server.with(|page| {
                        assert_eq!(page.0.violations, Vec::<String>::new(), "{offers:?}");
                        assert_eq!((page.0.strangers, page.0.refused), (1, 0), "{offers:?}");
                    });
                    assert_eq!(server.connections(), 1);
                }
            }
        }
    }
}

#[test]
fn after_the_primer_every_request_is_one_round_trip() {
    let server = serve(GateRules::default());
    let mut client = good(server.addr);
    client.prime("/primer", soon()).unwrap();
    for _ in 0..5 {
        client.prime("/primer", soon()).unwrap();
        client.send(&request("PUT", "/move"), soon()).unwrap();
    }
    let lines = server.take_lines();
    assert_eq!(lines[0], "GET /primer");
    assert_eq!(lines[1..], vec!["PUT /move"; 5]);
    assert!(client.is_logged_in());
}

#[test]
fn a_wrong_password_is_sent_once() {
    let server = serve(GateRules::default());
    let mut client = client(server.addr, "wrong", false);
    for expected in 1..=2 {
        let error = client.send(&request("PUT", "/move"), soon()).unwrap_err();
        assert!(
            matches!(error, LoginError::Refused { tried: true, .. }),
            "{error:?}"
        );
        server.with(|page| assert_eq!(page.0.refused, expected));
    }
    assert!(!client.is_logged_in());
}

#[test]
fn a_wrong_password_after_a_right_one_is_sent_at_most_twice() {
    // The nonce was good before, so the first refusal may be about the nonce.
    let server = serve(GateRules {
        says_stale: false,
        ..GateRules::default()
    });
    let mut client = good(server.addr);
    client.send(&request("GET", "/"), soon()).unwrap();
    server.with(|page| page.0.rules.password = "changed".to_owned());
    let error = client.send(&request("GET", "/"), soon()).unwrap_err();
    assert!(matches!(error, LoginError::Refused { tried: true, .. }));
    server.with(|page| assert_eq!(page.0.refused, 2));
}

#[test]
fn old_nonces_are_replaced_whether_or_not_they_are_called_stale() {
    for (says_stale, old_is_403) in [(true, false), (false, false), (true, true)] {
        let server = serve(GateRules {
            nonce_uses: Some(3),
            says_stale,
            old_is_403,
            ..GateRules::default()
        });
        let mut client = good(server.addr);
        for _ in 0..10 {
            let response = client.send(&request("PUT", "/move"), soon()).unwrap();
            assert_eq!(response.status, 200);
        }
        server.with(|page| {
            assert_eq!(page.0.refused, 0);
            assert_eq!(page.0.stale, 3, "{says_stale} {old_is_403}");
            assert!(page.0.violations.is_empty());
        });
    }
}

#[test]
fn a_camera_that_takes_a_nonce_once_is_not_asked_twice() {
    let server = serve(GateRules {
        nonce_uses: Some(1),
        says_stale: false,
        ..GateRules::default()
    });
    let mut client = good(server.addr);
    for _ in 0..8 {
        client.prime("/primer", soon()).unwrap();
        client.send(&request("PUT", "/move"), soon()).unwrap();
    }
    server.with(|page| {
        assert_eq!(page.0.stale, 2, "learnt after two");
        assert_eq!(page.0.refused, 0);
    });
    server.take_lines();
    client.prime("/primer", soon()).unwrap();
    client.send(&request("PUT", "/move"), soon()).unwrap();
    assert_eq!(server.take_lines(), ["GET /primer", "PUT /move"]);
}

#[test]
fn nonces_bound_to_a_connection_or_a_target() {
    let server = serve(GateRules {
        bound_to_connection: true,
        ..GateRules::default()
    });
    let mut client = good(server.addr);
    for _ in 0..3 {
        client.send(&request("PUT", "/move"), soon()).unwrap();
        client.hang_up();
    }
    let server = serve(GateRules {
        bound_to_target: true,
        says_stale: false,
        ..GateRules::default()
    });
    let mut client = good(server.addr);
    for target in ["/a", "/a", "/b", "/b", "/a"] {
        client.send(&request("PUT", target), soon()).unwrap();
    }
    server.with(|page| assert_eq!(page.0.refused, 0));
}

#[test]
fn nonces_that_are_always_stale_end_in_an_error_that_is_no_refusal() {
    let server = serve(GateRules {
        nonce_uses: Some(0),
        ..GateRules::default()
    });
    let error = good(server.addr)
        .send(&request("GET", "/"), soon())
        .unwrap_err();
    assert_eq!(error, LoginError::StaleForEver);
    assert!(server.log().len() <= 3);
}

#[test]
fn basic_only_where_it_is_allowed_and_never_after_digest() {
    let basic = || GateRules {
        offers: vec![Offer::Basic],
        ..GateRules::default()
    };
    let server = serve(basic());
    let error = good(server.addr)
        .send(&request("GET", "/"), soon())
        .unwrap_err();
    assert_eq!(error, LoginError::BasicOnly);
    assert!(
        server
            .log()
            .iter()
            .all(|r| r.header("Authorization").is_none())
    );

    let mut client = client(server.addr, &GateRules::default().password, true);
    client.send(&request("GET", "/"), soon()).unwrap();
    assert!(client.is_logged_in());

    // A camera that has offered Digest does not get the password in clear later.
    server.with(|page| {
        page.0.rules.offers = vec![Offer::Md5];
        page.0.rules.password = "new".to_owned();
    });
    client.send(&request("GET", "/"), soon()).unwrap_err();
    server.with(|page| page.0.rules.offers = vec![Offer::Basic]);
    let error = client.send(&request("GET", "/"), soon()).unwrap_err();
    assert_eq!(error, LoginError::BasicOnly);
}

#[test]
fn basic_follows_no_lead() {
    let server = serve(GateRules {
        offers: vec![Offer::Basic],
        ..GateRules::default()
    });
    let mut client = client(server.addr, &GateRules::default().password, true);
    let error = client.send(&request("GET", "/led"), soon()).unwrap_err();
    assert_eq!(error, LoginError::BasicOnly);
    let sent = server.log();
    assert!(sent.iter().any(|r| r.target.starts_with("/there")));
    for request in sent.iter().filter(|r| r.target.starts_with("/there")) {
        assert_eq!(request.header("Authorization"), None);
    }
    // Where it is not led, it goes on.
    client.send(&request("GET", "/"), soon()).unwrap();
}

#[test]
fn what_is_asked_for_next_hides_no_refusal() {
    for next in [vec![Offer::Basic], vec![]] {
        let server = serve(GateRules::default());
        let mut client = good(server.addr);
        client.send(&request("GET", "/"), soon()).unwrap();
        server.with(|page| {
            page.0.rules.password = "new".to_owned();
            page.0.rules.offers.clone_from(&next);
        });
        let error = client.send(&request("GET", "/"), soon()).unwrap_err();
        assert!(
            matches!(error, LoginError::Refused { tried: true, .. }),
            "{next:?}: {error:?}"
        );
    }
}

#[test]
fn a_definite_403_is_no_old_nonce() {
    let server = serve(GateRules::default());
    let mut client = good(server.addr);
    client.send(&request("GET", "/"), soon()).unwrap();
    server.take_lines();
    let response = client.send(&request("GET", "/definite"), soon()).unwrap();
    assert_eq!(response.status, 403);
    assert_eq!(server.take_lines().len(), 1);
}

#[test]
fn led_on_once_and_only_on_the_same_host() {
    let server = serve(GateRules::default());
    let mut client = good(server.addr);
    let response = client.send(&request("GET", "/led"), soon()).unwrap();
    assert_eq!(response.status, 200);
    assert_eq!(server.take_lines().last().unwrap(), "GET /there?a=b");
    let error = client.send(&request("GET", "/astray"), soon()).unwrap_err();
    assert!(matches!(error, LoginError::Elsewhere(_)));
    let error = client.send(&request("PUT", "/led"), soon()).unwrap_err();
    assert!(
        matches!(error, LoginError::Elsewhere(_)),
        "a body is not led on"
    );
    server.with(|page| assert!(page.0.violations.is_empty(), "{:?}", page.0.violations));
}

#[test]
fn a_dead_kept_connection_costs_no_login() {
    let server = serve(GateRules::default());
    let mut client = good(server.addr);
    client.send(&request("GET", "/"), soon()).unwrap();
    server.fault("/", Fault::Reset, 1);
    let response = client.send(&request("GET", "/again"), soon()).unwrap();
    assert_eq!(response.status, 200);
    server.with(|page| {
        assert!(page.0.violations.is_empty(), "{:?}", page.0.violations);
        assert_eq!(page.0.refused, 0);
    });
    assert_eq!(server.connections(), 2);
}

#[test]
fn without_credentials_nothing_is_answered() {
    let server = serve(GateRules::default());
    let mut client = LoginClient::new(
        CameraClient::new(server.addr, Duration::from_secs(3), Doors::default()),
        None,
        LoginRules {
            allow_basic: true,
            is_definite: |_| true,
        },
    );
    let error = client.send(&request("GET", "/"), soon()).unwrap_err();
    assert!(matches!(error, LoginError::Refused { tried: false, .. }));
    assert_eq!(server.log().len(), 1);
}

#[test]
fn what_was_not_tried_is_not_called_wrong() {
    use lss::domain::camera::{CameraDevice, CameraError};
    use lss::infrastructure::http::camera::CameraOptions;
    use lss::infrastructure::isapi::IsapiCamera;

    for (asked, words) in [
        (Some("Negotiate"), "not known, so none was sent: Negotiate"),
        (
            Some("Digest realm=\"r\", nonce=\"n\", algorithm=SHA-512-256"),
            "not known, so none was sent: Digest",
        ),
        (Some("Basic realm=\"r\""), "offers only Basic"),
        (None, "offers no way to log in"),
    ] {
        let server = serve(GateRules::default());
        let mut refusal = Outgoing::new(401, "text/html", "<html>401</html>");
        if let Some(asked) = asked {
            refusal = refusal.with("WWW-Authenticate", asked);
        }
        server.fault("/", Fault::Instead(refusal), 99);
        let target = crate::steps::target(server.addr, &GateRules::default().password);
        let mut camera = IsapiCamera::new(
            target,
            CameraOptions::default(),
            lss::infrastructure::isapi::client::Memory::default(),
        );
        let Err(CameraError::LoginRefused(refusal)) = camera.check(soon()) else {
            panic!("{asked:?}")
        };
        assert!(!refusal.tried, "{asked:?}");
        assert!(refusal.words.contains(words), "{}", refusal.words);
        let sent = server.log();
        assert!(sent.iter().all(|r| r.header("Authorization").is_none()));
    }
}
