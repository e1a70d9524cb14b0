//! Login challenges, and the answers that are made of them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lss::infrastructure::http::digest::{Challenge, Session, parse_challenges, strongest};

fuzz_target!(|data: &[u8]| {
    let found = parse_challenges(data.split(|b| *b == b'\n'));
    let _ = strongest(&found);
    for challenge in found {
        if let Challenge::Digest(digest) = challenge {
            let mut session = Session::new(digest);
            let value = session.authorization("us\"er", "pass", "PUT", "/x?y=z", "c");
            assert!(!value.iter().any(u8::is_ascii_control));
        }
    }
});
