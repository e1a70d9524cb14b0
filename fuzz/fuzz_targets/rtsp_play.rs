//! A camera's side of a whole session: description, set-up, media, keep-alive.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use lss::domain::camera::Credentials;
use lss::infrastructure::rtsp::play::{Event, Player};
use lss::util::secret::Secret;

fuzz_target!(|data: &[u8]| {
    let mut now = Instant::now();
    let at = ([10, 0, 0, 9], 554).into();
    let url = Secret::unlisted("rtsp://10.0.0.9/x");
    let login = Credentials::new("admin", Secret::unlisted("pass word")).ok();
    let Ok(mut player) = Player::new(at, &url, login, "c".to_owned(), now) else {
        return;
    };
    for part in data.chunks(97) {
        player.feed(part);
        loop {
            match player.next_event(now) {
                Ok(Some(Event::Described(sdp))) => {
                    if player.set_up(&sdp, &[0, 1], now).is_err() {
                        return;
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
        let sent = player.take_output();
        assert!(sent.len() < 64 * 1024);
        // Longer than any answer is awaited, once in a while.
        now += Duration::from_millis(1500);
        if player.tick(now).is_err() {
            return;
        }
    }
    player.tear_down();
});
