use super::*;

/// Publishes and their serials, as written.
fn pairs(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
    expected
        .iter()
        .map(|(id, n)| ((*id).to_owned(), *n))
        .collect()
}

#[test]
fn serials_count_frames_of_all_channels_from_zero() {
    let mut bench = Bench::up();
    assert_eq!(published(&bench.publish("a")), pairs(&[("a", 0)]));
    bench.feed(Input::PresenceData(Data::Text("here".to_owned())));
    assert_eq!(published(&bench.publish("b")), pairs(&[("b", 2)]), "RTN7b");
    let out = bench.publish("c");
    assert_eq!(
        sent(&out),
        [json!({"action": 15, "channel": "status", "msgSerial": 3,
            "messages": [{"id": "c", "name": "n", "data": "c"}]})],
        "no clientId (RTL6g1), no ATTACH (RTL6c5)"
    );
}

#[test]
fn queued_until_connected_and_sent_before_attached() {
    let mut bench = Bench::new(settings());
    assert!(sent(&bench.publish("a")).is_empty());
    bench.feed(Input::Connect);
    bench.publish("b");
    let out = bench.connected("A", "k");
    assert_eq!(published(&out), pairs(&[("a", 0), ("b", 1)]), "RTL3d");
}

#[test]
fn an_ack_covers_its_count() {
    let mut bench = Bench::up();
    for id in ["a", "b", "c"] {
        bench.publish(id);
    }
    assert_eq!(acked(&bench.ack(0, 2)), ["a", "b"]);
    assert_eq!(bench.machine.status().results_waiting, 1);
    // Repeated, empty, absurd: nothing breaks.
    assert!(acked(&bench.ack(0, 2)).is_empty());
    assert!(acked(&bench.ack(2, 0)).is_empty());
    bench.frame(&json!({"action": 1, "count": 5}));
    assert_eq!(acked(&bench.ack(2, u64::MAX)), ["c"]);
    assert_eq!(bench.machine.status().results_waiting, 0);
}

#[test]
fn an_ack_without_a_count_is_for_one() {
    let mut bench = Bench::up();
    bench.publish("a");
    bench.publish("b");
    let out = bench.frame(&json!({"action": 1, "msgSerial": 0}));
    assert_eq!(acked(&out), ["a"]);
}

#[test]
fn what_an_ack_skips_is_sent_again_under_its_id() {
    let mut bench = Bench::up();
    for id in ["a", "b", "c"] {
        bench.publish(id);
    }
    let out = bench.ack(1, 1);
    assert_eq!(acked(&out), ["b"]);
    assert_eq!(published(&out), pairs(&[("a", 3)]));
}

#[test]
fn on_a_resumed_connection_the_same_serials_on_a_new_one_new_ones() {
    let lost = || {
        let mut bench = Bench::up();
        bench.publish("acked");
        bench.publish("a");
        bench.publish("b");
        bench.ack(0, 1);
        bench.lose();
        bench.publish("later");
        bench
    };
    let out = lost().connected("A", "k2");
    assert_eq!(
        published(&out),
        pairs(&[("a", 1), ("b", 2), ("later", 3)]),
        "RTN19a2"
    );
    let out = lost().connected("B", "k2");
    assert_eq!(
        published(&out),
        pairs(&[("a", 0), ("b", 1), ("later", 2)]),
        "RTN15c7"
    );
}

#[test]
fn kept_through_suspended_and_failed() {
    let mut bench = Bench::up();
    bench.publish("a");
    bench.lose();
    while bench.state() != ConnectionState::Suspended {
        if bench.state() == ConnectionState::Connecting {
            bench.fault(FaultKind::Connect);
        }
        bench.wait(SEC);
    }
    bench.publish("b");
    bench.wait(SEC * 30);
    let out = bench.error(None, 40101, 401);
    assert_eq!(bench.state(), ConnectionState::Failed);
    assert!(refused(&out).is_empty(), "contract 5, not RTN7e");
    bench.publish("c");
    bench.wait(SEC * 60);
    let out = bench.connected("B", "k");
    assert_eq!(published(&out), pairs(&[("a", 0), ("b", 1), ("c", 2)]));
}

#[test]
fn a_refusal_for_good_is_told_and_ends_it() {
    let mut bench = Bench::up();
    bench.publish("a");
    bench.publish("b");
    let out = bench.nack(0, 40160, 401);
    assert!(matches!(refused(&out)[..], [("a", Refusal::Refused(e))] if e.code == 40160));
    assert_eq!(acked(&bench.ack(1, 1)), ["b"], "only its own frame");
    assert_eq!(bench.machine.status().results_waiting, 0);
}

#[test]
fn slow_down_and_server_trouble_are_waited_out() {
    for (code, status) in [(42911, 429), (42910, 429), (50000, 500), (50003, 503)] {
        let mut bench = Bench::up();
        bench.publish("a");
        let out = bench.nack(0, code, status);
        assert!(refused(&out).is_empty() && published(&out).is_empty());
        // Nothing overtakes it meanwhile.
        assert!(published(&bench.publish("b")).is_empty());
        let out = bench.wait(SEC);
        assert_eq!(published(&out), pairs(&[("a", 1), ("b", 2)]), "{code}");
    }
}

#[test]
fn pauses_double_to_half_a_minute() {
    let mut bench = Bench::up();
    bench.publish("a");
    let mut serial = 0;
    for pause in [1, 2, 4, 8, 16, 30, 30_u32] {
        bench.nack(serial, 42911, 429);
        assert!(published(&bench.wait_alive(SEC * 9 / 10 * pause)).is_empty());
        let out = bench.wait_alive(SEC / 5 * pause);
        assert_eq!(published(&out).len(), 1, "after {pause} s");
        serial = published(&out)[0].1;
    }
    bench.ack(serial, 1);
    bench.publish("b");
    bench.nack(serial + 1, 42911, 429);
    assert_eq!(published(&bench.wait(SEC)).len(), 1, "an ACK ends it");
}

#[test]
fn too_large_is_refused_at_once_and_comes_back_with_its_place() {
    let mut bench = Bench::up();
    let place = bench.machine.ledger().take(Priority::Ordinary).unwrap();
    let out = bench.feed(Input::Publish(Publish {
        channel: "status".to_owned(),
        name: "nn".to_owned(),
        data: Data::Text("x".repeat(65_535)).encode(),
        id: "big".to_owned(),
        kind: PublishKind::Kept(place),
    }));
    let [(id, Refusal::TooLarge { size, max })] = refused(&out)[..] else {
        panic!("{out:?}")
    };
    assert_eq!((id, *size, *max), ("big", 65_537, 65_536));
    assert!(sent(&out).is_empty());
    assert_eq!(bench.machine.ledger().places(), 1, "for what goes instead");
    let kept = out.into_iter().find_map(|one| match one {
        Output::Refused { kept, .. } => kept,
        _ => None,
    });
    let mut instead = *kept.unwrap();
    assert_eq!(instead.data.size, 65_535);
    instead.data = Data::Text("too large".to_owned()).encode();
    let out = bench.feed(Input::Publish(instead));
    assert_eq!(published(&out).len(), 1);
    bench.ack(0, 1);
    assert_eq!(bench.machine.ledger().places(), 0);
}

#[test]
fn what_the_service_finds_too_large_comes_back_and_nothing_else_does() {
    for (code, comes_back) in [(40009, true), (40160, false)] {
        let mut bench = Bench::up();
        bench.publish("a");
        let out = bench.nack(0, code, 400);
        let back =
            |one: &Output| matches!(one, Output::Refused { kept: Some(p), .. } if p.id == "a");
        assert_eq!(out.iter().any(back), comes_back, "{code}");
        drop(out);
        assert_eq!(bench.machine.ledger().places(), 0);
    }
    let mut bench = Bench::up();
    bench.publish_as("h", PublishKind::Latest);
    let out = bench.nack(0, 40009, 400);
    assert!(matches!(out[..], [Output::Refused { kept: None, .. }]));
}

#[test]
fn a_limit_that_shrinks_refuses_what_waits() {
    let mut bench = Bench::new(settings());
    let text = "x".repeat(2_000);
    bench.publish(&text);
    bench.publish("small");
    bench.feed(Input::Connect);
    let out = bench.frame(&json!({"action": 4, "connectionId": "A",
        "connectionDetails": {"connectionKey": "k", "maxMessageSize": 1000}}));
    assert!(matches!(refused(&out)[..], [(_, Refusal::TooLarge { .. })]));
    assert_eq!(published(&out), pairs(&[("small", 0)]));
}

#[test]
fn of_heartbeats_only_the_newest_waits() {
    let mut bench = Bench::up();
    bench.publish_as("h1", PublishKind::Latest);
    bench.lose();
    for id in ["h2", "h3", "h4"] {
        bench.publish_as(id, PublishKind::Latest);
    }
    bench.publish("r");
    assert_eq!(bench.machine.status().publishes_waiting, 3);
    let out = bench.connected("B", "k2");
    assert_eq!(published(&out), pairs(&[("h4", 0), ("r", 1)]));
}

#[test]
fn the_newest_heartbeat_takes_the_place_of_the_one_it_replaces() {
    // Twelve hundred results wait, and as many come as go; a heartbeat each ten seconds.
    let mut bench = Bench::up();
    for n in 0..1_200 {
        bench.publish(&format!("p{n}"));
    }
    let (mut beats, mut next_serial) = (Vec::new(), 0);
    for second in 0..120 {
        if second % 10 == 0 {
            bench.publish_as(&format!("beat-{second}"), PublishKind::Latest);
        }
        let mut left = 20;
        while left > 0 {
            left -= 1;
            let out = bench.wait(SEC / 20);
            let seen = published(&out);
            let ids = seen.iter().filter(|(id, _)| id.starts_with("beat-"));
            beats.extend(ids.map(|(id, _)| (second, id.clone())));
            for _ in &seen {
                bench.publish("another");
            }
            next_serial = seen.iter().map(|(_, n)| n + 1).max().unwrap_or(next_serial);
            bench.ack(0, next_serial);
        }
        bench.frame(&json!({"action": 0}));
    }
    assert!(beats.len() >= 3, "they starve: {beats:?}");
    for (second, id) in &beats {
        let made: i32 = id.trim_start_matches("beat-").parse().unwrap();
        assert!(second - made <= 10, "the newest goes: {beats:?}");
    }
}

#[test]
fn a_heartbeat_that_is_to_go_again_gives_way_to_a_newer_one() {
    let mut bench = Bench::up();
    bench.publish_as("h1", PublishKind::Latest);
    bench.nack(0, 50003, 503);
    bench.publish("r");
    bench.publish_as("h2", PublishKind::Latest);
    let out = bench.wait(SEC);
    assert_eq!(published(&out), pairs(&[("h2", 1), ("r", 2)]));
    // Refused for the moment while a newer one waits already.
    let mut bench = Bench::up();
    bench.publish_as("h1", PublishKind::Latest);
    bench.publish("r1");
    bench.nack(1, 50003, 503);
    bench.publish_as("h2", PublishKind::Latest);
    bench.nack(0, 50003, 503);
    let out = bench.wait(SEC * 2);
    assert_eq!(published(&out), pairs(&[("h2", 2), ("r1", 3)]));
}

#[test]
fn of_events_the_oldest_go_when_too_many_wait() {
    let mut bench = Bench::new(settings());
    for n in 0..600 {
        bench.publish_as(&format!("e{n}"), PublishKind::Event);
    }
    bench.publish("r");
    let status = bench.machine.status();
    assert_eq!(
        (status.publishes_waiting, status.events_dropped),
        (501, 100)
    );
    bench.feed(Input::Connect);
    let out = bench.connected("A", "k");
    assert_eq!(published(&out)[0].0, "e100");
}

#[test]
fn the_rate_stays_under_what_the_service_takes() {
    let mut bench = Bench::up();
    for n in 0..300 {
        bench.publish(&format!("p{n}"));
    }
    let start = bench.now.mono;
    let (mut times, mut serial) = (vec![start; 10], 10);
    while times.len() < 300 {
        bench.ack(0, serial);
        let at = bench.machine.next_deadline().unwrap();
        let out = bench.wait(at.saturating_duration_since(bench.now.mono));
        for (_, n) in published(&out) {
            times.push(bench.now.mono);
            serial = serial.max(n + 1);
        }
    }
    for (i, first) in times.iter().enumerate() {
        let second = times[i..].iter().take_while(|at| **at < *first + SEC);
        assert!(second.count() <= 50);
    }
    assert!(bench.now.mono - start < SEC * 9);
}

#[test]
fn no_more_than_forty_are_unacknowledged() {
    let mut bench = Bench::up();
    for n in 0..100 {
        bench.publish(&format!("p{n}"));
    }
    let mut out = bench.wait(SEC * 5);
    assert_eq!(published(&out).len(), 30, "and the ten of the burst before");
    out = bench.ack(0, 40);
    out.extend(bench.wait(SEC * 5));
    assert_eq!(published(&out).len(), 40);
}

#[test]
fn publishes_without_an_answer_for_a_minute_end_the_transport() {
    let mut bench = Bench::up();
    bench.publish("a");
    bench.wait_alive(SEC * 50);
    assert_eq!(bench.state(), ConnectionState::Connected);
    let out = bench.wait_alive(SEC * 10);
    assert!(states(&out).contains(&ConnectionState::Disconnected));
    let out = bench.connected("A", "k2");
    assert_eq!(
        published(&out),
        pairs(&[("a", 0)]),
        "resent, not renumbered"
    );
}

#[test]
fn presence_waits_until_what_is_sent_again_is_out() {
    let mut bench = Bench::up();
    for n in 0..30 {
        bench.publish(&format!("p{n}"));
    }
    bench.wait(SEC);
    bench.feed(Input::PresenceData(Data::Text("x".to_owned())));
    bench.lose();
    bench.connected("A", "k2");
    let mut out = bench.attached(R, "r1", 0);
    out.extend(bench.wait(SEC * 2));
    let serials: Vec<u64> = sent(&out)
        .iter()
        .filter_map(|f| f["msgSerial"].as_u64())
        .collect();
    assert!(serials.is_sorted(), "{serials:?}");
    assert_eq!(serials.last(), Some(&31), "presence comes last");
}
