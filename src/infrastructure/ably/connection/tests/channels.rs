use super::*;

#[test]
fn both_channels_are_attached_with_their_modes_and_no_serial_at_first() {
    let mut bench = Bench::new(settings());
    bench.feed(Input::Connect);
    let out = bench.connected("A", "k");
    assert_eq!(
        sent(&out),
        [
            json!({"action": 10, "channel": C, "flags": 262_144}),
            json!({"action": 10, "channel": R, "flags": 65_536 + 524_288}),
        ]
    );
    assert_eq!(bench.channel_state(), ChannelState::Attaching);
    bench.attached(C, "c1", 0);
    assert_eq!(bench.channel_state(), ChannelState::Attached);
}

#[test]
fn every_connected_attaches_again_with_the_stored_serial() {
    for id in ["A", "B"] {
        let mut bench = Bench::up();
        bench.message("m", "c5");
        bench.lose();
        assert_eq!(bench.channel_state(), ChannelState::Attached, "RTL3e");
        let attach = sent_of(&bench.connected(id, "k2"), 10);
        assert_eq!(attach[0]["channelSerial"], "c5", "resumed or not: {id}");
        assert_eq!(attach[1]["channelSerial"], "r1");
        assert_eq!(attach[0].get("params"), None);
    }
}

#[test]
fn serials_come_from_attached_message_and_presence_not_from_sync() {
    let serial = |bench: &mut Bench, index: usize| {
        bench.lose();
        let out = bench.connected("A", "k");
        let serial = sent_of(&out, 10)[index]["channelSerial"].clone();
        bench.attached(C, "c1", 4);
        bench.attached(R, "r1", 4);
        bench.wait_alive(SEC * 60);
        serial
    };
    let mut bench = Bench::up();
    bench.message("m", "c2");
    assert_eq!(serial(&mut bench, 0), "c2");
    bench.frame(&json!({"action": 14, "channel": R, "channelSerial": "r2", "presence": []}));
    assert_eq!(serial(&mut bench, 1), "r2");
    bench.frame(&json!({"action": 16, "channel": R, "channelSerial": "s:1", "presence": []}));
    assert_eq!(serial(&mut bench, 1), "r1", "RTP18");
    bench.frame(&json!({"action": 15, "channel": C, "messages": []}));
    assert_eq!(serial(&mut bench, 0), "c1", "absent: kept");
}

#[test]
fn no_attached_in_ten_seconds_is_suspended_and_tried_again_with_growing_delays() {
    let mut bench = Bench::new(settings());
    bench.feed(Input::Connect);
    bench.connected("A", "k");
    bench.attached(R, "r", 0);
    bench.wait(SEC * 10);
    assert_eq!(bench.channel_state(), ChannelState::Suspended, "RTL4f");
    assert_eq!(bench.machine.status().commands.reason.unwrap().code, 90007);
    for full in [15.0, 20.0, 25.0, 30.0, 30.0] {
        bench.frame(&json!({"action": 0}));
        let at = bench.machine.commands.next_deadline(true).unwrap();
        let wait = at.duration_since(bench.now.mono).as_secs_f64();
        assert!((full * 0.8..=full).contains(&wait), "{wait} of {full}");
        let out = bench.wait_alive(Duration::from_secs_f64(wait + 0.001));
        assert_eq!(sent_of(&out, 10).len(), 1);
        bench.frame(&json!({"action": 13, "channel": C}));
        assert_eq!(bench.channel_state(), ChannelState::Suspended, "RTL13b");
    }
}

#[test]
fn channel_retries_stop_without_a_connection() {
    let mut bench = Bench::up();
    bench.frame(&json!({"action": 13, "channel": C}));
    bench.frame(&json!({"action": 13, "channel": C}));
    assert_eq!(bench.channel_state(), ChannelState::Suspended);
    bench.lose();
    assert_eq!(bench.machine.commands.next_deadline(true), None, "RTL13c");
    let out = bench.connected("A", "k2");
    assert_eq!(sent_of(&out, 10).len(), 2, "attached again anyway");
}

#[test]
fn a_detached_from_the_server_is_answered_with_attach_and_the_serial() {
    let mut bench = Bench::up();
    bench.message("m", "c2");
    let out = bench.frame(&json!({"action": 13, "channel": C, "error": {"code": 90198}}));
    assert_eq!(
        sent(&out),
        [json!({"action": 10, "channel": C, "flags": 262_144, "channelSerial": "c2"})],
        "RTL13a"
    );
    bench.attached(C, "c2", 4);
    // Again within the second: not in a loop.
    let out = bench.frame(&json!({"action": 13, "channel": C}));
    assert!(sent(&out).is_empty());
    assert_eq!(bench.channel_state(), ChannelState::Suspended);
}

#[test]
fn an_error_on_a_channel_fails_it_alone_and_it_is_tried_again_slowly() {
    let mut bench = Bench::up();
    bench.error(Some(R), 40160, 401);
    assert_eq!(bench.state(), ConnectionState::Connected);
    assert_eq!(bench.channel_state(), ChannelState::Attached);
    assert_eq!(bench.machine.status().registry.state, ChannelState::Failed);
    for minutes in [1, 2, 4, 5, 5] {
        let out = bench.wait_alive(SEC * (60 * minutes - 1));
        assert!(sent_of(&out, 10).is_empty());
        let out = bench.wait_alive(SEC * 2);
        let attach = sent_of(&out, 10);
        assert_eq!(attach.len(), 1, "RTL4g");
        assert_eq!(attach[0].get("channelSerial"), None, "RTL15b2");
        bench.error(Some(R), 40160, 401);
    }
}

#[test]
fn a_failed_channel_waits_for_its_time_across_connections() {
    let mut bench = Bench::up();
    bench.error(Some(R), 40160, 401);
    bench.wait_alive(SEC * 30);
    bench.lose();
    let out = bench.connected("A", "k2");
    assert_eq!(sent_of(&out, 10).len(), 1, "only the command channel");
    bench.attached(C, "c1", 4);
    bench.lose();
    bench.wait(SEC * 40);
    bench.now = bench.now.after(SEC);
    while bench.state() != ConnectionState::Connecting {
        bench.wait(SEC);
    }
    let out = bench.connected("A", "k3");
    assert_eq!(sent_of(&out, 10).len(), 2, "its time has come meanwhile");
}

#[test]
fn an_error_about_a_superseded_transport_repeats_the_attach() {
    let mut bench = Bench::up();
    let out = bench.error(Some(C), 80016, 400);
    assert_eq!(sent_of(&out, 10).len(), 1);
    assert_eq!(bench.channel_state(), ChannelState::Attaching);
}

#[test]
fn an_error_on_a_channel_that_is_only_published_to_is_told() {
    let mut bench = Bench::up();
    let out = bench.error(Some("task:1:events"), 40160, 401);
    assert!(matches!(&out[..], [Output::Note(text)] if text.contains("task:1:events")));
}

#[test]
fn messages_are_delivered_once_in_order_while_attached() {
    let mut bench = Bench::up();
    let out = bench.frame(&json!({"action": 15, "channel": C, "id": "f:1", "channelSerial": "c2",
        "messages": [{"name": "a", "data": "1"}, {"name": "b", "data": "2"}, {"name": "u", "action": 1}]}));
    assert_eq!(ids(&out), ["f:1:0", "f:1:1"], "RTL21, TM2a, TM5");
    let out = bench.frame(&json!({"action": 15, "channel": C, "id": "f:1", "messages":
        [{"name": "a", "data": "1"}]}));
    assert!(deliveries(&out).is_empty());
    // Without any id a message can't be recognised, and is delivered.
    for _ in 0..2 {
        let out =
            bench.frame(&json!({"action": 15, "channel": C, "messages": [{"data": "no id"}]}));
        assert_eq!(deliveries(&out).len(), 1);
    }
    bench.frame(&json!({"action": 13, "channel": C}));
    assert_eq!(bench.channel_state(), ChannelState::Attaching);
    assert!(ids(&bench.message("m9", "c9")).is_empty(), "RTL17");
}

#[test]
fn four_thousand_ids_are_remembered() {
    let mut bench = Bench::up();
    for n in 0..4097 {
        assert_eq!(ids(&bench.message(&format!("m{n}"), "c2")).len(), 1);
    }
    assert!(ids(&bench.message("m1", "c2")).is_empty());
    assert_eq!(
        ids(&bench.message("m0", "c2")),
        ["m0"],
        "the oldest is gone"
    );
    // A publisher may choose huge ids; they are told apart all the same.
    let (a, b) = ("x".repeat(60_000), format!("{}y", "x".repeat(59_999)));
    assert_eq!(ids(&bench.message(&a, "c2")).len(), 1);
    assert_eq!(ids(&bench.message(&b, "c2")).len(), 1);
    assert!(ids(&bench.message(&a, "c2")).is_empty());
}

#[test]
fn an_extra_attached_with_resumed_changes_nothing() {
    let mut bench = Bench::up();
    assert!(bench.attached(C, "c1", 4).is_empty(), "RTL12");
    assert!(bench.attached(R, "r1", 4).is_empty());
}

#[test]
fn a_reason_that_comes_with_resumed_is_shown() {
    let mut bench = Bench::up();
    let out =
        bench.frame(&json!({"action": 11, "channel": C, "flags": 4, "error": {"code": 80020}}));
    assert!(matches!(&out[..], [Output::Channel(_, change)] if change.resumed));
    assert_eq!(bench.machine.status().commands.reason.unwrap().code, 80020);
}

#[test]
fn ages_are_told_by_the_servers_clock() {
    let mut bench = Bench::new(settings());
    bench.feed(Input::Connect);
    bench.frame(
        &json!({"action": 4, "connectionId": "A", "timestamp": 4_000_000_000_000_i64,
        "connectionDetails": {"connectionKey": "k"}}),
    );
    bench.attached(C, "c1", 0);
    bench.wait(SEC * 5);
    let out = bench.named("m", "c2", "command", 4_000_000_002_000);
    let delivery = deliveries(&out)[0];
    assert_eq!(delivery.age(bench.now.mono), Some(SEC * 3));
    assert_eq!(delivery.age(bench.now.mono + SEC), Some(SEC * 4));
    // Not known: not said.
    let mut bench = Bench::up();
    let out = bench.named("m", "c2", "command", 4_000_000_002_000);
    assert_eq!(deliveries(&out)[0].age(bench.now.mono), None);
}

#[test]
fn the_servers_time_is_asked_for_at_each_connect_and_hourly() {
    use super::super::types::TimeAnswer;
    let asked = |out: &[Output]| {
        out.iter().find_map(|one| match one {
            Output::FetchTime(id, host) => Some((*id, host.clone())),
            _ => None,
        })
    };
    let mut bench = Bench::new(settings());
    bench.feed(Input::Connect);
    let (id, host) = asked(&bench.connected("A", "k")).unwrap();
    assert_eq!(host, "primary");
    bench.attached(C, "c1", 0);
    bench.attached(R, "r1", 0);
    let answer = TimeAnswer {
        server_ms: 5_000_000,
        at: bench.now.mono,
        round_trip: Duration::from_millis(100),
    };
    bench.feed(Input::ServerTime(id, Some(answer)));
    let out = bench.named("m", "c2", "command", 5_000_000);
    let age = deliveries(&out)[0].age_when_received;
    assert_eq!(age, Some(Duration::from_millis(50)));
    assert!(asked(&bench.wait_alive(SEC * 3590)).is_none());
    let (id, _) = asked(&bench.wait_alive(SEC * 20)).unwrap();
    // No answer, or one that took so long that it says little: again in a minute.
    bench.feed(Input::ServerTime(id, None));
    assert!(asked(&bench.wait_alive(SEC * 50)).is_none());
    let (id, _) = asked(&bench.wait_alive(SEC * 20)).unwrap();
    let slow = TimeAnswer {
        server_ms: 9_000_000,
        at: bench.now.mono,
        round_trip: SEC * 4,
    };
    bench.feed(Input::ServerTime(id, Some(slow)));
    assert!(asked(&bench.wait_alive(SEC * 50)).is_none());
    assert!(asked(&bench.wait_alive(SEC * 20)).is_some());
    // Whatever was under way or known: at the next connect anew.
    bench.lose();
    let out = bench.connected("A", "k2");
    assert!(asked(&out).is_some());
}

#[test]
fn a_machine_that_slept_takes_nothing_old_for_fresh() {
    use super::super::types::TimeAnswer;
    const RESUMED: u64 = 4;
    let asked = |out: &[Output]| {
        out.iter().find_map(|one| match one {
            Output::FetchTime(id, _) => Some(*id),
            _ => None,
        })
    };
    let mut bench = Bench::new(settings());
    bench.feed(Input::Connect);
    let id = asked(&bench.connected("A", "k")).unwrap();
    bench.attached(C, "c1", 0);
    bench.attached(R, "r1", 0);
    let quick = |bench: &Bench, server_ms| TimeAnswer {
        server_ms,
        at: bench.now.mono,
        round_trip: Duration::from_millis(20),
    };
    let answer = quick(&bench, 5_000_000);
    bench.feed(Input::ServerTime(id, Some(answer)));
    // A minute and a half asleep: our clock stood still. What was stored comes with the resume.
    bench.lose();
    let id = asked(&bench.connected("A", "k2")).unwrap();
    bench.attached(C, "c1", RESUMED);
    let out = bench.named("old", "c2", "command", 5_000_000);
    let delivery = deliveries(&out)[0];
    assert_eq!(
        (delivery.replayed, delivery.age_when_received),
        (true, None)
    );
    // Once the server has told its time, ages are known, and they are true.
    let answer = quick(&bench, 5_090_000);
    bench.feed(Input::ServerTime(id, Some(answer)));
    let out = bench.named("old too", "c3", "command", 5_000_010);
    assert_eq!(deliveries(&out)[0].age_when_received, Some(SEC * 90));
}

#[test]
fn what_was_held_while_the_clock_was_in_doubt_has_an_age_when_it_comes_out() {
    use super::super::types::TimeAnswer;
    let asked = |out: &[Output]| {
        out.iter().find_map(|one| match one {
            Output::FetchTime(id, _) => Some(*id),
            _ => None,
        })
    };
    let mut bench = Bench::up();
    bench.wait_alive(SEC * 20);
    bench.lose();
    let id = asked(&bench.connected("B", "k2")).unwrap();
    bench.attached(R, "r1", 4);
    // Continuity is lost; the rewound backlog comes in before the service tells its time.
    bench.attached(C, "c2", 0);
    bench.frame(&json!({"action": 13, "channel": C}));
    bench.attached(C, "c2", 2);
    bench.named("m", "c3", "command", 7_000_000);
    bench.feed(Input::ServerTime(
        id,
        Some(TimeAnswer {
            server_ms: 7_003_000,
            at: bench.now.mono,
            round_trip: Duration::ZERO,
        }),
    ));
    let out = bench.wait(SEC);
    let delivery = deliveries(&out)[0];
    assert!(delivery.replayed);
    assert_eq!(delivery.age_when_received, Some(SEC * 3));
}
