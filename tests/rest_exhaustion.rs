//! The REST API in a process that has run out of file descriptors. A test binary of its own,
//! with one test: the limit holds for the whole process.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests too

mod rest_support;

use std::fs::File;
use std::io::Write;
use std::net::TcpStream;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rest_support::*;

#[test]
fn the_api_lives_without_descriptors_and_recovers() {
    let site = Site::new();

    // Clients must be able to connect: their descriptors are made before the shortage.
    let made =
        |count: usize| -> Vec<Unconnected> { (0..count).map(|_| Unconnected::new()).collect() };
    let mut before_shortage = made(40);
    let mut for_idle = made(10);

    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let used = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    setrlimit(Resource::RLIMIT_NOFILE, used + 20, hard).unwrap();
    let mut eaten = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        eaten.push(file);
    }
    assert!(eaten.len() >= 15, "{}", eaten.len());

    // Idle connections on top: none of them may hold the only place.
    let idle: Vec<TcpStream> = for_idle
        .drain(..)
        .map(|socket| socket.connect(site.address))
        .collect();
    // The HTTP server behind the gate may have met the shortage before the gate did, and died of
    // it, with a request of ours on its way; then that one, and no other, is turned away.
    let mut turned_away = 0;
    for round in 0..40 {
        let mut client = before_shortage.pop().unwrap().connect(site.address);
        let target = if round % 2 == 0 {
            "/livez"
        } else {
            "/api/stream/tasks"
        };
        client.write_all(&request("GET", target, "", "")).unwrap();
        let reply = read_reply(&mut client);
        if reply.outcome() == (503, 50003) && turned_away == 0 {
            turned_away += 1;
        } else {
            assert_eq!(reply.outcome(), (200, 0), "round {round}: {reply:?}");
        }
    }

    // Enough again: as if nothing had been.
    drop((eaten, idle));
    for _ in 0..20 {
        assert_eq!(site.get("/api/stream/tasks").outcome(), (200, 0));
    }
    drop(site);
}
