use proptest::prelude::*;

use super::*;

const IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
const CLOCKS: [&str; 5] = [
    include_str!("../../../tests/fixtures/cameras/agsh-onvif/GetSystemDateAndTime.xml"),
    include_str!("../../../tests/fixtures/cameras/elixir-onvif/get_system_date_and_time.xml"),
    include_str!(
        "../../../tests/fixtures/cameras/onvif-nvt/hikvision-fixed/core/GetSystemDateAndTime.Response.xml"
    ),
    include_str!(
        "../../../tests/fixtures/cameras/onvif-nvt/trendnet/core/GetSystemDateAndTime.Response.xml"
    ),
    // A namespace on each element instead of prefixes.
    "<Envelope xmlns=\"http://www.w3.org/2003/05/soap-envelope\"><Body><GetSystemDateAndTimeResponse xmlns=\"http://www.onvif.org/ver10/device/wsdl\"/></Body></Envelope>",
];
const FAULT: &str = include_str!(
    "../../../tests/fixtures/cameras/onvif-nvt/hikvision-fixed/core/GetServices.Error.xml"
);

fn all() -> Questions {
    Questions {
        isapi: true,
        onvif: true,
        hinted: None,
        page: true,
    }
}

fn http(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Talks with a device that answers by the request's first line; `None` = it hangs up. The
/// first lines it saw, connections, and what was learnt.
fn with(
    questions: Questions,
    answer: impl Fn(&str) -> Option<String>,
) -> (Vec<String>, u32, Facts) {
    let mut talk = HttpTalk::new(IP, 8080, questions);
    let mut lines = Vec::new();
    let mut connections = 1;
    let mut request = talk.begin();
    loop {
        let text = String::from_utf8(request.clone()).unwrap();
        assert!(text.contains("\r\nHost: 192.0.2.9:8080\r\n"), "{text}");
        assert!(!text.to_ascii_lowercase().contains("authorization"));
        let line = text.lines().next().unwrap().to_owned();
        lines.push(line.clone());
        assert!(lines.len() < 12, "{lines:?}");
        let next = match answer(&line) {
            Some(bytes) => match talk.received(bytes.as_bytes()) {
                Next::More => talk.ended(End::Closed),
                next => next,
            },
            None => talk.ended(End::Closed),
        };
        match next {
            Next::Send(bytes) => request = bytes,
            Next::Again => {
                connections += 1;
                request = talk.begin();
            }
            Next::Over => return (lines, connections, talk.facts()),
            Next::More => panic!("more after the end"),
        }
    }
}

#[test]
fn onvif_by_every_captured_clock_on_one_connection() {
    for clock in CLOCKS {
        let (lines, connections, facts) = with(all(), |line| {
            Some(if line.starts_with("POST ") {
                http("200 OK", "Server: gSOAP/2.8\r\n", clock)
            } else {
                http("404 Not Found", "", "")
            })
        });
        assert_eq!(
            lines,
            [
                "GET /ISAPI/System/deviceInfo HTTP/1.1",
                "POST /onvif/device_service HTTP/1.1",
                "GET / HTTP/1.1"
            ]
        );
        assert_eq!(connections, 1);
        assert_eq!(
            facts.onvif.as_deref(),
            Some("/onvif/device_service"),
            "{clock}"
        );
        assert!(!facts.isapi && facts.http && facts.is_camera());
        assert_eq!(facts.http_server.as_deref(), Some("gSOAP/2.8"));
    }
}

#[test]
fn a_success_without_a_word_is_asked_again_in_other_forms() {
    for understood in ["action=", "SOAPAction: "] {
        let mut talk = HttpTalk::new(
            IP,
            80,
            Questions {
                onvif: true,
                ..Questions::default()
            },
        );
        let mut request = talk.begin();
        let mut asked = 0;
        loop {
            let text = String::from_utf8(request).unwrap();
            asked += 1;
            assert!(asked <= 3, "{text}");
            assert!(text.contains("\r\nAccept-Encoding: identity\r\n"), "{text}");
            let reply = if text.contains(understood) {
                http("200 OK", "", CLOCKS[1])
            } else {
                http("200 OK", "", "")
            };
            match talk.received(reply.as_bytes()) {
                Next::Send(bytes) => request = bytes,
                Next::Over => break,
                other => panic!("{other:?}"),
            }
        }
        assert!(talk.facts().onvif.is_some(), "{understood}");
    }
}

#[test]
fn isapi_says_enough_without_the_home_page() {
    let (lines, _, facts) = with(all(), |line| {
        Some(if line.contains("/ISAPI/") {
            http(
                "401 Unauthorized",
                "Server: App-webs/\r\nWWW-Authenticate: Digest qop=\"auth\", realm=\"IP Camera(F1598)\", nonce=\"4e\"\r\n",
                "<html>",
            )
        } else {
            http("404 Not Found", "", "")
        })
    });
    assert!(facts.isapi && facts.onvif.is_none());
    assert_eq!(lines.len(), 2);
    assert_eq!(facts.realms, ["IP Camera(F1598)"]);
}

#[test]
fn a_router_and_a_printer_are_no_cameras() {
    let (_, _, router) = with(all(), |line| {
        Some(if line.starts_with("GET / ") {
            http(
                "200 OK",
                "Server: lighttpd\r\n",
                "<HTML><TITLE lang=en> My\n Router </TITLE>",
            )
        } else {
            http(
                "401 Unauthorized",
                "WWW-Authenticate: Basic realm=\"Router\"\r\n",
                "",
            )
        })
    });
    assert!(!router.is_camera());
    assert_eq!(router.note, "a web page \"My Router\" (lighttpd)");
    let fault = "<s:Envelope xmlns:s=\"u\"><s:Body><s:Fault><s:Code><s:Value>s:Sender</s:Value></s:Code></s:Fault></s:Body></s:Envelope>";
    let (_, _, printer) = with(all(), |_| Some(http("500 Error", "", fault)));
    assert!(!printer.is_camera(), "{printer:?}");
}

#[test]
fn faults_of_onvif_are_onvif() {
    let (_, _, facts) = with(all(), |line| {
        line.starts_with("POST ")
            .then(|| http("400 Bad Request", "", FAULT))
    });
    assert!(facts.onvif.is_some());
    let refused = "<s:Envelope xmlns:s=\"u\"><s:Body><s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value>x:NotAuthorized</s:Value></s:Subcode></s:Code></s:Fault></s:Body></s:Envelope>";
    let (_, _, facts) = with(all(), |_| Some(http("200 OK", "", refused)));
    assert!(facts.onvif.is_some());
}

#[test]
fn a_place_that_was_named_comes_first_and_its_login_counts() {
    let questions = Questions {
        hinted: Some("/onvif/devices".to_owned()),
        ..all()
    };
    let login = "WWW-Authenticate: Digest realm=\"x\", nonce=\"1\", qop=\"auth\"\r\n";
    let (lines, _, facts) = with(questions, |line| {
        Some(if line.contains("/onvif/devices") {
            http("401 Unauthorized", login, "")
        } else {
            http("404 Not Found", "", "")
        })
    });
    assert_eq!(lines[0], "POST /onvif/devices HTTP/1.1");
    assert_eq!(facts.onvif.as_deref(), Some("/onvif/devices"));
    assert!(!lines.iter().any(|l| l.contains("device_service")));
    // Where nobody named it, a login is no sign of ONVIF.
    let (_, _, facts) = with(all(), |_| Some(http("401 Unauthorized", login, "")));
    assert_eq!(facts.onvif, None);
    // The usual place is asked once.
    let talk = HttpTalk::new(
        IP,
        80,
        Questions {
            hinted: Some("/onvif/device_service".to_owned()),
            onvif: true,
            ..Questions::default()
        },
    );
    assert_eq!(talk.asks.len(), 1);
    let long = Questions {
        hinted: Some(format!("/{}", "a".repeat(600))),
        ..Questions::default()
    };
    assert!(HttpTalk::new(IP, 80, long).is_empty());
}

#[test]
fn one_request_a_connection_is_put_up_with() {
    let (lines, connections, facts) = with(all(), |line| {
        Some(if line.starts_with("POST ") {
            format!("HTTP/1.0 200 OK\r\n\r\n{}", CLOCKS[0])
        } else {
            http("404 Not Found", "Connection: close\r\n", "")
        })
    });
    assert_eq!((lines.len(), connections), (3, 3));
    assert!(facts.onvif.is_some());
}

#[test]
fn hanging_up_on_what_is_unknown_does_not_hide_the_rest() {
    let (lines, connections, facts) = with(all(), |line| {
        line.starts_with("POST ")
            .then(|| http("200 OK", "Connection: close\r\n", CLOCKS[0]))
    });
    assert!(facts.onvif.is_some());
    assert!(lines.len() <= 4 && connections <= 4, "{lines:?}");
    let (lines, connections, facts) = with(all(), |_| None);
    assert_eq!(facts.note, "closes at once");
    assert!(lines.len() <= 4 && connections <= 4, "{lines:?}");
}

#[test]
fn a_kept_connection_that_was_closed_is_opened_again() {
    let mut talk = HttpTalk::new(IP, 80, all());
    talk.begin();
    let Next::Send(_) = talk.received(http("404 x", "", "").as_bytes()) else {
        panic!()
    };
    assert_eq!(talk.ended(End::Closed), Next::Again);
    let again = String::from_utf8(talk.begin()).unwrap();
    assert!(again.starts_with("POST /onvif/device_service "));
}

#[test]
fn silence_ends_it() {
    let mut talk = HttpTalk::new(IP, 80, all());
    talk.begin();
    assert_eq!(talk.ended(End::Late), Next::Over);
    let facts = talk.facts();
    assert!(facts.silent && facts.note == "silence");
    // A body that never comes: its head counts.
    let mut talk = HttpTalk::new(IP, 80, all());
    talk.begin();
    let head = "HTTP/1.1 401 x\r\nServer: App-webs/\r\nContent-Length: 500\r\nWWW-Authenticate: Digest realm=\"x\", nonce=\"1\"\r\n\r\n";
    assert_eq!(talk.received(head.as_bytes()), Next::More);
    assert_eq!(talk.ended(End::Late), Next::Again);
    assert!(talk.facts().isapi);
}

#[test]
fn no_http_at_all() {
    let (_, _, facts) = with(all(), |_| Some("SSH-2.0-x\r\n".to_owned()));
    assert!(!facts.http && facts.note == "an SSH banner");
    let (_, _, facts) = with(all(), |_| Some("RTSP/1.0 400 Bad\r\n\r\n".to_owned()));
    assert_eq!(facts.note, "an RTSP server");
}

#[test]
fn where_the_home_page_leads() {
    let (_, _, facts) = with(all(), |line| {
        Some(if line.starts_with("GET / ") {
            http("302 Found", "Location: /doc/page/login.asp?_\r\n", "")
        } else {
            http("404 Not Found", "", "")
        })
    });
    assert_eq!(facts.pages, ["/doc/page/login.asp?_"]);
}

proptest! {
    #[test]
    fn any_answers_end_within_the_bounds(
        answers in proptest::collection::vec(
            (proptest::sample::select(vec!["", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 401 x\r\nContent-Length: 9\r\n\r\n"]),
             proptest::collection::vec(any::<u8>(), 0..80), any::<bool>()), 1..12),
    ) {
        let mut talk = HttpTalk::new(IP, 80, Questions { hinted: Some("/x".into()), ..all() });
        let mut requests = 1;
        let mut connections = 1;
        talk.begin();
        for (head, body, late) in answers {
            let next = match talk.received(&[head.as_bytes(), &body].concat()) {
                Next::More => talk.ended(if late { End::Late } else { End::Closed }),
                next => next,
            };
            match next {
                Next::Send(_) => requests += 1,
                Next::Again => { talk.begin(); requests += 1; connections += 1 }
                Next::Over => break,
                Next::More => prop_assert!(false),
            }
        }
        prop_assert!(connections <= 4 && requests <= 8, "{connections} {requests}");
        let _ = talk.facts();
    }
}
