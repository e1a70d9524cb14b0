//! The local REST API and clients of every kind: unusual, slow, idle, greedy, impatient.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests too

mod rest_support;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use lss::adapter::rest::Limits;
use rest_support::*;

#[test]
fn unusual_but_right_requests() {
    let site = Site::new();
    // Chunks, an expectation, an absolute target, HTTP/1.0, lines that end in LF alone.
    let body = start_body("chunked");
    let (one, two) = body.split_at(7);
    let chunked = format!(
        "POST /api/stream/start HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{one}\r\n{:X};a=b\r\n{two}\r\n0\r\n\r\n",
        one.len(),
        two.len()
    );
    assert_eq!(site.raw(chunked.as_bytes()).data()["taskId"], "chunked");

    let mut client = site.connect();
    let body = start_body("expected");
    let head = format!(
        "POST /api/stream/start HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
         Expect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    client.write_all(head.as_bytes()).unwrap();
    let mut interim = [0; 25];
    client.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(body.as_bytes()).unwrap();
    assert_eq!(read_reply(&mut client).data()["taskId"], "expected");

    for text in [
        "GET http://127.0.0.1:1/livez HTTP/1.1\r\nHost: evil\r\n\r\n",
        "GET /livez HTTP/1.0\r\n\r\n",
        "GET /livez HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "GET /livez?x=y HTTP/1.1\nHost: a\n\n",
        "\r\nGET /livez HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: a\r\nTE: chunked\r\nX-Umlaut: \u{e4}\r\n\r\n",
    ] {
        assert_eq!(site.raw(text.as_bytes()).outcome(), (200, 0), "{text:?}");
    }

    // A client that closes its side behind the request still gets the answer.
    let mut client = site.connect();
    client.write_all(&request("GET", "/livez", "", "")).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_reply(&mut client).outcome(), (200, 0));
}

#[test]
fn malformed_requests() {
    let site = Site::new();
    let post =
        |lines: &str| format!("POST /api/stream/stop HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}");
    for (text, status) in [
        ("\r\n\r\n\r\nnonsense\r\n\r\n".to_owned(), 400),
        ("GET /livez\r\n\r\n".into(), 400),
        ("GET /livez HTTP/1.1\r\n\r\n".into(), 400),
        ("GET /livez HTTP/2.0\r\nHost: a\r\n\r\n".into(), 400),
        ("\x16\x03\x01\x02\x00\x01\x00".into(), 400),
        (
            post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            400,
        ),
        (
            post("Content-Length: 4\r\nContent-Length: 40\r\n\r\n{}  "),
            400,
        ),
        (post("Transfer-Encoding: chunked\r\n\r\nzz\r\n"), 400),
        (post("Transfer-Encoding: identity\r\n\r\n{}"), 400),
        (post(&format!("X: {}\r\n\r\n", "y".repeat(20_000))), 431),
        (post(&"X: y\r\n".repeat(100)), 431),
        (format!("GET /{} HTTP/1.1\r\n", "y".repeat(1_000_000)), 431),
    ] {
        let mut client = site.connect();
        // An early answer may come while a large request is still being written.
        let _ = client.write_all(text.as_bytes());
        let _ = client.shutdown(Shutdown::Write);
        let reply = read_reply(&mut client);
        assert_eq!(reply.outcome(), (status, 20001), "{text:.80?}: {reply:?}");
    }
}

#[test]
fn what_follows_a_request_is_no_second_one() {
    let site = Site::new();
    let mut bytes = request("GET", "/livez", "", "");
    bytes.extend(request(
        "POST",
        "/api/stream/start",
        &start_body("smuggled"),
        "",
    ));
    bytes.extend(vec![b'#'; 100_000]);
    assert_eq!(site.raw(&bytes).outcome(), (200, 0));
    assert!(site.owner.tasks.lock().unwrap().is_empty());
}

#[test]
fn five_hundred_idle_connections() {
    let site = Site::new();
    let idle: Vec<_> = (0..500).map(|_| site.connect()).collect();
    for round in 0..50 {
        let asked = Instant::now();
        assert_eq!(site.get("/livez").outcome(), (200, 0));
        assert_eq!(site.start(&format!("task_{round}")).outcome(), (200, 0));
        assert!(
            asked.elapsed() < Duration::from_secs(1),
            "{:?}",
            asked.elapsed()
        );
    }
    drop(idle);
}

#[test]
fn half_sent_requests_do_not_hold_the_workers() {
    let site = Site::new();
    let half: Vec<_> = (0..100)
        .map(|_| {
            let mut client = site.connect();
            // The head is complete, the body is not: this is where a worker would wait.
            client
                .write_all(
                    b"POST /api/stream/start HTTP/1.1\r\nHost: 127.0.0.1\r\n\
                      Content-Type: application/json\r\nContent-Length: 5000\r\n\r\n{\"taskId\"",
                )
                .unwrap();
            client
        })
        .collect();
    let asked = Instant::now();
    for _ in 0..20 {
        assert_eq!(site.get("/api/stream/tasks").outcome(), (200, 0));
    }
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "{:?}",
        asked.elapsed()
    );
    drop(half);
}

#[test]
fn who_was_closed_for_room_is_told_so() {
    let site = Site::with(Setup {
        limits: Limits {
            connections: 2,
            ..Limits::default()
        },
        ..Setup::default()
    });
    let mut first = site.connect();
    let mut second = site.connect();
    first.write_all(b"GET /livez HT").unwrap();
    second.write_all(b"GET /livez HT").unwrap();
    let mut third = site.connect();
    third.write_all(b"GET /livez HT").unwrap();
    let reply = read_reply(&mut first);
    assert_eq!(reply.outcome(), (503, 30302));
    assert!(reply.header("Retry-After").is_some());
    for client in [&mut second, &mut third] {
        client.write_all(b"TP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!(read_reply(client).outcome(), (200, 0));
    }
}

#[test]
fn requests_held_are_bounded_in_bytes() {
    let site = Site::with(Setup {
        limits: Limits {
            buffered: 2 * 1024 * 1024,
            ..Limits::default()
        },
        ..Setup::default()
    });
    let head = b"POST /api/stream/start HTTP/1.1\r\nHost: 127.0.0.1\r\n\
        Content-Type: application/json\r\nContent-Length: 200001\r\n\r\n";
    let mut half: Vec<_> = (0..30)
        .map(|_| {
            let mut client = site.connect();
            // Who is closed for room may see a reset while it writes.
            let _ = client.write_all(head);
            let _ = client.write_all(&vec![b' '; 200_000]);
            client
        })
        .collect();
    assert_eq!(site.get("/livez").outcome(), (200, 0));
    let mut served = 0;
    for client in &mut half {
        let _ = client.write_all(b" ");
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer);
        // An empty body asks for nothing: 400. Turned away: 503, or cut off.
        served += usize::from(answer.starts_with(b"HTTP/1.1 400 "));
    }
    assert!((1..=10).contains(&served), "{served} of 30 were held");
}

#[test]
fn a_slow_sender_is_cut_off() {
    let site = Site::with(Setup {
        limits: Limits {
            request: Duration::from_millis(400),
            ..Limits::default()
        },
        ..Setup::default()
    });
    let mut client = site.connect();
    client.set_nodelay(true).unwrap();
    let began = Instant::now();
    let endless = b"POST /api/stream/start HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ";
    client.write_all(endless).unwrap();
    client
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    // A byte now and then: each wait for an answer is the pause between two of them.
    loop {
        match client.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
            Err(_) => drop(client.write_all(b"a")),
        }
        assert!(began.elapsed() < PATIENCE);
    }
    assert_eq!(parse_reply(&answer).outcome(), (408, 20001));
    assert!(began.elapsed() >= Duration::from_millis(400));
    assert_eq!(site.get("/livez").status, 200);
}

#[test]
fn slow_readers_hold_nobody_up_and_are_cut_off() {
    let site = Site::with(Setup {
        limits: Limits {
            stall: Duration::from_secs(8),
            buffered: 64 * 1024 * 1024,
            ..Limits::default()
        },
        ..Setup::default()
    });
    site.start("big").data();
    site.owner.tasks.lock().unwrap()[0].mode_reason = "x".repeat(6_000_000);
    let expected = 6_000_000;
    let slow: Vec<_> = (0..4)
        .map(|_| {
            let mut client = Unconnected::small().connect(site.address);
            client
                .write_all(&request("GET", "/api/stream/tasks", "", ""))
                .unwrap();
            client
        })
        .collect();
    for _ in 0..20 {
        let asked = Instant::now();
        assert_eq!(site.get("/livez").status, 200);
        assert!(
            asked.elapsed() < Duration::from_secs(6),
            "{:?}",
            asked.elapsed()
        );
    }
    // Whoever reads gets everything.
    assert!(site.get("/api/stream/tasks").body.len() > expected);
    for mut client in slow {
        // Never read until the gate gave up: what is left is what the kernel held.
        eventually("the gate has closed", || is_reset(&client));
        let mut rest = Vec::new();
        let _ = client.read_to_end(&mut rest);
        assert!(rest.len() < expected, "{}", rest.len());
    }
}

/// Whether the peer's reset has arrived, unread bytes or not.
fn is_reset(client: &std::net::TcpStream) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    let mut fds = [PollFd::new(client.as_fd(), PollFlags::empty())];
    poll(&mut fds, PollTimeout::from(50u8)).unwrap();
    fds[0].any().unwrap_or(false)
}

#[test]
fn stops_that_take_their_time_hold_no_worker() {
    let site = Site::new();
    let mut waiting = Vec::new();
    for number in 0..20 {
        site.start(&format!("slow_{number}")).data();
        let mut client = site.connect();
        let body = format!(r#"{{"taskId":"slow_{number}"}}"#);
        client
            .write_all(&request("POST", "/api/stream/stop", &body, ""))
            .unwrap();
        waiting.push(client);
    }
    eventually("all stops are under way", || {
        site.owner.held.lock().unwrap().len() == 20
    });
    assert_eq!(site.get("/api/stream/tasks").status, 200);
    for (task, done) in site.owner.held.lock().unwrap().drain(..) {
        done.send(Ok(task)).unwrap();
    }
    for (number, mut client) in waiting.into_iter().enumerate() {
        let data = read_reply(&mut client).data();
        assert_eq!(data["taskId"], format!("slow_{number}"));
    }
}

#[test]
fn more_waiting_stops_than_places() {
    let site = Site::with(Setup {
        limits: Limits {
            connections: 4,
            ..Limits::default()
        },
        ..Setup::default()
    });
    for number in 0..4 {
        site.start(&format!("slow_{number}")).data();
    }
    let stop = |number: usize| {
        let body = format!(r#"{{"taskId":"slow_{number}"}}"#);
        let mut client = site.connect();
        client
            .write_all(&request("POST", "/api/stream/stop", &body, ""))
            .unwrap();
        eventually("the stop is under way", || {
            site.owner.held.lock().unwrap().len() == number + 1
        });
        client
    };
    let waiting: Vec<_> = (0..3).map(stop).collect();
    // A start whose answer nobody could wait for is not begun.
    assert_eq!(site.start("late").outcome(), (503, 30302));
    // The stop is carried out, only its end can't be waited for.
    let reply = read_reply(&mut stop(3));
    assert_eq!(reply.outcome(), (503, 30302));
    assert!(
        reply.json()["message"]
            .as_str()
            .unwrap()
            .contains("under way")
    );
    assert_eq!(site.get("/livez").status, 200);
    drop(waiting);
}

#[test]
fn a_stop_that_never_ends_is_answered() {
    let site = Site::with(Setup {
        late_limit: Duration::from_millis(200),
        ..Setup::default()
    });
    site.start("slow_1").data();
    let reply = site.call("POST", "/api/stream/stop", r#"{"taskId":"slow_1"}"#);
    assert_eq!(reply.outcome(), (500, 30105));
}

#[test]
fn the_time_for_answers_follows_a_reload() {
    let site = Site::new();
    site.start("slow_1").data();
    site.start("slow_2").data();
    let rest = site.rest.as_ref().unwrap();
    rest.set_late_limit(Duration::from_millis(200));
    let reply = site.call("POST", "/api/stream/stop", r#"{"taskId":"slow_1"}"#);
    assert_eq!(reply.outcome(), (500, 30105));
    rest.set_late_limit(Duration::from_secs(60));
    let mut waits = site.connect();
    waits
        .write_all(&request(
            "POST",
            "/api/stream/stop",
            r#"{"taskId":"slow_2"}"#,
            "",
        ))
        .unwrap();
    eventually("the stop is under way", || {
        site.owner.held.lock().unwrap().len() == 2
    });
    let (task, done) = site.owner.held.lock().unwrap().pop().unwrap();
    done.send(Ok(task)).unwrap();
    assert_eq!(read_reply(&mut waits).outcome(), (200, 0));
}

#[test]
fn a_panic_costs_one_answer() {
    let site = Site::new();
    site.node_panics.store(true, Ordering::Relaxed);
    for _ in 0..8 {
        assert_eq!(site.get("/api/stream/node").outcome(), (500, 50001));
    }
    site.node_panics.store(false, Ordering::Relaxed);
    assert_eq!(site.get("/api/stream/node").outcome(), (200, 0));
}

#[test]
fn stopping() {
    let mut site = Site::new();
    site.start("slow_1").data();
    let mut late = site.connect();
    late.write_all(&request(
        "POST",
        "/api/stream/stop",
        r#"{"taskId":"slow_1"}"#,
        "",
    ))
    .unwrap();
    eventually("the stop is under way", || {
        !site.owner.held.lock().unwrap().is_empty()
    });
    let mut half = site.connect();
    half.write_all(b"GET /livez HT").unwrap();

    site.rest.as_ref().unwrap().refuse_new();
    assert_eq!(site.get("/api/stream/tasks").outcome(), (503, 50003));
    assert_eq!(site.start("task_2").outcome(), (503, 50003));
    assert_eq!(site.get("/livez").status, 200);

    let began = Instant::now();
    site.rest.take().unwrap().stop(Duration::from_secs(5));
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(read_reply(&mut late).outcome(), (503, 50003));
    assert_eq!(read_reply(&mut half).outcome(), (503, 50003));
    assert!(std::net::TcpStream::connect(site.address).is_err());
}
