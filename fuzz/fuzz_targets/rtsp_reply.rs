//! What a stranger on port 554 says to a client that asks and logs in.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lss::domain::camera::Credentials;
use lss::infrastructure::rtsp::hello;
use lss::infrastructure::rtsp::message::{Inbox, Incoming, request_url};
use lss::infrastructure::rtsp::sdp::Sdp;
use lss::infrastructure::rtsp::talk::{Event, Talk};
use lss::util::secret::Secret;

fuzz_target!(|data: &[u8]| {
    // The first byte says where the rest is cut in two.
    let Some((cut, bytes)) = data.split_first() else {
        return;
    };
    let (first, second) = bytes.split_at(usize::from(*cut).min(bytes.len()));

    let whole = read(&[bytes]);
    assert_eq!(whole, read(&[first, second]), "the cut matters");
    for incoming in &whole {
        if let Incoming::Response(response) = incoming {
            let _ = (hello::server(response), hello::only_receives(response));
            let _ = Sdp::parse(&response.body).tracks();
            if let Some(location) = response.header("location") {
                let url = request_url(&location);
                assert!(url.is_none_or(|u| !u.bytes().any(|b| b.is_ascii_control())));
            }
        }
    }

    let login = Credentials::new("admin", Secret::unlisted("pass word")).ok();
    let mut talk = Talk::new(login, "c".to_owned());
    talk.request(
        "DESCRIBE",
        Secret::unlisted("rtsp://10.0.0.9/x"),
        Vec::new(),
    );
    let mut logins = 0;
    for part in [first, second] {
        talk.feed(part);
        loop {
            let event = talk.next_event();
            let sent = talk.take_output();
            logins += sent
                .windows(16)
                .filter(|w| w == b"\nAuthorization: ")
                .count();
            match event {
                Ok(Some(Event::Frame { .. })) => {}
                Ok(None) => break,
                Ok(Some(Event::Answer(_))) | Err(_) => return,
            }
        }
    }
    let _ = talk.end();
    // One, and another for a nonce that was called stale.
    assert!(logins <= 2, "{logins} logins");
});

/// All messages up to the first fault.
fn read(parts: &[&[u8]]) -> Vec<Incoming> {
    let mut inbox = Inbox::default();
    let mut out = Vec::new();
    for part in parts {
        inbox.feed(part);
        while let Ok(Some(incoming)) = inbox.next_message() {
            out.push(incoming);
        }
    }
    out
}
