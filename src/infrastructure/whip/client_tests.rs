use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::thread::JoinHandle;

use super::*;

const SDP: &str = "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n";

/// Answers one request after the other, each by what stands for its path, and keeps what was asked.
struct Endpoint {
    at: String,
    asked: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Endpoint {
    fn on(host: &str, answers: Vec<String>) -> Self {
        let listener = TcpListener::bind((host, 0)).unwrap();
        let at = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let thread = std::thread::spawn(move || {
            for answer in answers {
                let (mut peer, _) = listener.accept().unwrap();
                seen.lock().unwrap().push(request(&mut peer));
                peer.write_all(answer.as_bytes()).unwrap();
            }
        });
        Self {
            at,
            asked,
            thread: Some(thread),
        }
    }

    fn one(answer: &str) -> Self {
        Self::on("127.0.0.1", vec![answer.to_owned()])
    }

    fn open(&mut self, hosts: &[&str]) -> (Result<Session, Refusal>, Vec<String>) {
        let result = client(&format!("{}/whip/x?k=1", self.at), hosts).open("v=0\r\noffer");
        self.thread.take().unwrap().join().unwrap();
        (result, self.asked.lock().unwrap().clone())
    }
}

fn request(peer: &mut TcpStream) -> String {
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let n = peer.read(&mut buffer).unwrap();
        request.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&request).to_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.split("content-length: ").nth(1);
        let length = length.and_then(|rest| rest.split("\r\n").next()?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            return String::from_utf8(request).unwrap();
        }
    }
}

fn client(endpoint: &str, hosts: &[&str]) -> Client {
    let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
    Client::new(
        Secret::url(endpoint),
        Some(Secret::new("canary-bearer-6d2a")),
        hosts.into(),
        Duration::from_secs(5),
        Arc::new(TrustStore::new(None)),
    )
}

fn answer(head: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn an_offer_is_posted_and_the_session_is_where_the_location_says() {
    let mut endpoint = Endpoint::one(&answer(
        "201 Created\r\nContent-Type: application/sdp\r\nLocation: ../res/7",
        SDP,
    ));
    let (session, asked) = endpoint.open(&[]);
    let session = session.unwrap();
    assert_eq!(session.answer, SDP);
    assert_eq!(
        session.url.unwrap().expose(),
        format!("{}/res/7", endpoint.at)
    );
    let (head, body) = asked[0].split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "v=0\r\noffer");
    assert!(head.starts_with("POST /whip/x?k=1 HTTP/1.1\r\n"), "{head}");
    let head = head.to_ascii_lowercase();
    assert!(head.contains("content-type: application/sdp"), "{head}");
    assert!(head.contains("authorization: bearer canary-bearer-6d2a"));
}

#[test]
fn an_answer_in_chunks_with_headers_in_lower_case_is_read() {
    // As simple-whip-server sends it.
    let (first, second) = SDP.split_at(10);
    let mut endpoint = Endpoint::one(&format!(
        "HTTP/1.1 201 Created\r\nlocation: /whip/resource/ab\r\netag: \"x\"\r\n\
         transfer-encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
        first.len(),
        second.len()
    ));
    let session = endpoint.open(&[]).0.unwrap();
    assert_eq!(session.answer, SDP);
    let url = session.url.unwrap();
    assert!(url.expose().ends_with("/whip/resource/ab"));
    assert!(url.expose().starts_with(&endpoint.at));
}

#[test]
fn a_session_on_a_third_host_is_never_asked_for_anything() {
    for (location, hosts, url, elsewhere) in [
        ("", &[][..], None, None),
        ("http://127.0.0.9:1/s", &[], None, Some("127.0.0.9")),
        (
            "http://127.0.0.9:1/s",
            &["127.0.0.9"],
            Some("http://127.0.0.9:1/s"),
            None,
        ),
    ] {
        let head = match location {
            "" => "200 OK".to_owned(),
            there => format!("201 Created\r\nLocation: {there}"),
        };
        let session = Endpoint::one(&answer(&head, SDP)).open(hosts).0.unwrap();
        assert_eq!(session.url.as_ref().map(Secret::expose), url);
        assert_eq!(session.elsewhere.as_deref(), elsewhere);
    }
}

#[test]
fn a_temporary_redirect_is_followed_on_the_same_host_and_the_session_is_from_there() {
    for status in ["307 Temporary Redirect", "308 Permanent Redirect"] {
        let there = answer("201 Created\r\nLocation: s1", SDP);
        let here = answer(&format!("{status}\r\nLocation: /edge/9/"), "");
        let (session, asked) = Endpoint::on("127.0.0.1", vec![here, there]).open(&[]);
        let url = session.unwrap().url.unwrap();
        assert!(url.expose().ends_with("/edge/9/s1"), "{}", url.expose());
        assert_eq!(asked.len(), 2);
        assert!(asked[1].starts_with("POST /edge/9/ HTTP/1.1\r\n"));
        assert!(asked[1].ends_with("v=0\r\noffer"));
        assert!(asked[1].contains("canary-bearer-6d2a"));
    }
}

#[test]
fn a_redirect_to_a_third_host_is_followed_only_where_the_operator_knows_it() {
    let mut other = Endpoint::on(
        "127.0.0.2",
        vec![answer("201 Created\r\nLocation: /s", SDP)],
    );
    let sends_on = answer(&format!("307 There\r\nLocation: {}/w", other.at), "");
    let (refused, _) = Endpoint::one(&sends_on).open(&[]);
    let refused = refused.unwrap_err();
    assert_eq!(refused.why.cause, Cause::WhipStream);
    for word in ["127.0.0.2", "whip_hosts"] {
        assert!(refused.why.detail.contains(word), "{refused:?}");
    }
    assert!(other.asked.lock().unwrap().is_empty(), "nothing was sent");
    let (session, _) = Endpoint::one(&sends_on).open(&["127.0.0.2"]);
    let url = session.unwrap().url.unwrap();
    assert_eq!(url.expose(), format!("{}/s", other.at));
    other.thread.take().unwrap().join().unwrap();
}

#[test]
fn other_redirects_and_circles_are_refused() {
    for status in [301, 302, 303] {
        let head = format!("{status} Moved\r\nLocation: /login");
        let (refused, asked) = Endpoint::one(&answer(&head, "<html>")).open(&[]);
        let why = refused.unwrap_err().why;
        assert_eq!(why.cause, Cause::WhipStream);
        assert!(why.detail.contains("captive portal"), "{}", why.detail);
        assert_eq!(asked.len(), 1);
    }
    let (refused, _) = Endpoint::one(&answer("307 Nowhere", "")).open(&[]);
    assert!(refused.unwrap_err().why.detail.contains("nowhere"));
    let circle = vec![answer("307 On\r\nLocation: /whip/x?k=1", ""); 4];
    let (refused, asked) = Endpoint::on("127.0.0.1", circle).open(&[]);
    assert!(refused.unwrap_err().why.detail.contains("without end"));
    assert_eq!(asked.len(), 4);
}

#[test]
fn refusals_have_the_causes_and_words_that_ffmpegs_have() {
    for (head, code, words) in [
        ("401 Unauthorized", 40202, "refused the login"),
        ("403 Forbidden", 40202, "denied access"),
        ("404 Not Found", 40203, "no such WHIP endpoint"),
        ("409 Conflict", 40201, "another publisher"),
        ("422 No", 40203, "refused the offer (422)"),
        ("500 Oops", 40201, "trouble of its own (500)"),
    ] {
        let refused = Endpoint::one(&answer(head, "words")).open(&[]).0;
        let refused = refused.unwrap_err();
        assert_eq!(refused.why.cause.code() as u32, code, "{head}");
        assert!(refused.why.detail.contains(words), "{refused:?}");
        assert_eq!(refused.retry_after, None);
    }
    for head in ["429 Slow", "503 Busy"] {
        let head = format!("{head}\r\nretry-after: 37");
        let refused = Endpoint::one(&answer(&head, "")).open(&[]).0.unwrap_err();
        assert_eq!(refused.retry_after, Some(Duration::from_secs(37)));
        assert_eq!(refused.why.cause, Cause::WhipUnreachable);
    }
}

#[test]
fn what_is_no_answer_is_no_session() {
    let endless = format!("{SDP}{}", "a=x\r\n".repeat(20_000));
    for (body, words) in [
        ("<!DOCTYPE html><html>", "web page"),
        ("", "no usable session description"),
        ("{\"ok\":true}", "no usable session description"),
        (endless.as_str(), "no usable session description"),
    ] {
        let refused = Endpoint::one(&answer("200 OK", body)).open(&[]).0;
        let why = refused.unwrap_err().why;
        assert_eq!(why.cause, Cause::WhipStream);
        assert!(why.detail.contains(words), "{}", why.detail);
    }
    let refused = Endpoint::one("220 smtp.example ESMTP\r\n").open(&[]).0;
    assert!(refused.is_err());
}

#[test]
fn an_endpoint_that_can_not_be_had_is_told_apart() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = nobody.local_addr().unwrap().port();
    drop(nobody);
    let refused = client(&format!("http://127.0.0.1:{port}/w"), &[]).open("v=0");
    assert_eq!(refused.unwrap_err().why.detail, words::REFUSED);

    let hangs_up = Endpoint::one("").open(&[]).0.unwrap_err();
    assert_eq!(hangs_up.why.cause, Cause::WhipUnreachable);

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/w", silent.local_addr().unwrap());
    let impatient = Client::new(
        Secret::url(url),
        None,
        Arc::from([]),
        Duration::from_millis(200),
        Arc::new(TrustStore::new(None)),
    );
    let late = impatient.open("v=0").unwrap_err().why;
    assert_eq!(
        (late.cause, late.detail.as_str()),
        (Cause::WhipUplink, words::SILENT)
    );

    let plain = Client::new(
        Secret::url("rtsp://h/x"),
        None,
        Arc::from([]),
        Duration::from_secs(1),
        Arc::new(TrustStore::new(None)),
    );
    assert_eq!(plain.open("v=0").unwrap_err().why.cause, Cause::BadCommand);
}
