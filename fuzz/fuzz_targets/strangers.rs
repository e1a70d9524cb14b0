//! What strangers say on ports that cameras have, in pieces, to the scanner's conversations; and
//! lines of the neighbour table.
#![no_main]

use std::net::Ipv4Addr;

use libfuzzer_sys::fuzz_target;
use lss::infrastructure::discovery::http_talk::{HttpTalk, Questions};
use lss::infrastructure::discovery::neighbours;
use lss::infrastructure::discovery::rtsp_talk::RtspTalk;
use lss::infrastructure::discovery::facts::{End, Next};
use lss::infrastructure::discovery::talk::Talk;

const IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);

// The first byte chooses the conversation and the size of the pieces; the rest is what the other
// side says, a 0x00 at the end of a piece being its hanging up and 0x01 its silence.
fuzz_target!(|data: &[u8]| {
    let Some((choice, said)) = data.split_first() else {
        return;
    };
    if let Ok(text) = std::str::from_utf8(said) {
        let _ = neighbours::parse_line(text);
    }
    let mut talk = if choice & 1 == 0 {
        Talk::Rtsp(RtspTalk::new(IP, 554))
    } else {
        Talk::Http(HttpTalk::new(
            IP,
            80,
            Questions {
                isapi: true,
                onvif: true,
                hinted: (choice & 2 != 0).then(|| "/onvif/devices".to_owned()),
                page: true,
            },
        ))
    };
    assert!(!talk.begin().is_empty());
    let (mut connections, mut requests) = (1, 1);
    for piece in said.chunks(usize::from(choice >> 2) * 8 + 1) {
        let next = match talk.received(piece) {
            Next::More => match piece.last() {
                Some(0) => talk.ended(End::Closed),
                Some(1) => talk.ended(End::Late),
                _ => Next::More,
            },
            next => next,
        };
        match next {
            Next::More => {}
            Next::Send(bytes) => {
                assert!(!bytes.is_empty());
                requests += 1;
            }
            Next::Again => {
                assert!(!talk.begin().is_empty());
                connections += 1;
                requests += 1;
            }
            Next::Over => break,
        }
        assert!(connections <= 4 && requests <= 8, "{connections} {requests}");
    }
    let facts = talk.facts();
    assert!(facts.note.len() < 4096 && facts.realms.len() <= 4);
    assert!(facts.pages.iter().all(|page| page.chars().count() <= 1024));
});
