use super::*;

const BACKLOG: u64 = 2;
const RESUMED: u64 = 4;

/// Up, something was delivered, and a reconnect found that continuity was lost.
fn lost() -> (Bench, Vec<Output>) {
    let mut bench = Bench::up();
    bench.wait_alive(SEC * 20);
    bench.named("m1", "c2", "command", 1_000);
    bench.lose();
    bench.connected("B", "k2");
    bench.attached(R, "r1", RESUMED);
    let out = bench.frame(&json!({"action": 11, "channel": C, "channelSerial": "c9",
        "error": {"code": 90003, "statusCode": 404}}));
    (bench, out)
}

fn told(out: &[Output]) -> Option<bool> {
    out.iter().find_map(|one| match one {
        Output::ContinuityLost { rewinding, .. } => Some(*rewinding),
        _ => None,
    })
}

fn rewound(attach: &Value) -> bool {
    attach["params"] == json!({"rewind": "2m"}) && attach.get("channelSerial").is_none()
}

#[test]
fn a_loss_is_told_and_leads_to_detach_and_attach_with_rewind() {
    let (mut bench, out) = lost();
    assert_eq!(told(&out), Some(true));
    assert_eq!(sent(&out), [json!({"action": 12, "channel": C})]);
    assert_eq!(bench.channel_state(), ChannelState::Detaching);
    assert_eq!(bench.machine.status().continuity_lost, 1);
    let out = bench.frame(&json!({"action": 13, "channel": C}));
    let attach = sent_of(&out, 10);
    assert!(rewound(&attach[0]), "{attach:?}");
    // Its answer has no RESUMED either, and is no new loss.
    let out = bench.attached(C, "c5", BACKLOG);
    assert_eq!(told(&out), None);
    assert!(sent(&out).is_empty());
    assert_eq!(bench.channel_state(), ChannelState::Attached);
    assert_eq!(bench.machine.status().continuity_lost, 1);
    // From here on it is an attach like any other.
    bench.lose();
    bench.wait(SEC);
    let attach = sent_of(&bench.connected("B", "k3"), 10);
    assert_eq!(attach[0]["channelSerial"], "c5");
    assert_eq!(attach[0].get("params"), None);
}

#[test]
fn the_first_attach_of_the_process_never_rewinds() {
    let mut bench = Bench::new(settings());
    bench.feed(Input::Connect);
    bench.connected("A", "k");
    // Not even after it failed to attach at first.
    bench.error(Some(C), 40160, 401);
    let out = bench.wait_alive(SEC * 70);
    let attach = sent_of(&out, 10);
    assert_eq!(attach[0].get("params"), None, "{attach:?}");
    assert_eq!(told(&bench.attached(C, "c1", 0)), None);
}

fn rewinding(flags: u64) -> (Bench, Vec<Output>) {
    let (mut bench, _) = lost();
    bench.frame(&json!({"action": 13, "channel": C}));
    let out = bench.attached(C, "c5", flags);
    (bench, out)
}

#[test]
fn commands_are_held_and_come_in_the_order_of_their_times() {
    let (mut bench, _) = lost();
    // On the way to DETACHED: a live one.
    assert!(ids(&bench.named("m5", "c10", "command", 5_000)).is_empty());
    assert_eq!(bench.machine.status().commands_held, 1);
    bench.frame(&json!({"action": 13, "channel": C}));
    bench.attached(C, "c5", BACKLOG);
    for (id, at) in [
        ("m1", 1_000),
        ("m2", 2_000),
        ("m3", 3_000),
        ("m4", 4_000),
        ("m5", 5_000),
    ] {
        assert!(ids(&bench.named(id, "c6", "command", at)).is_empty());
    }
    let out = bench.wait(SEC);
    assert_eq!(ids(&out), ["m2", "m3", "m4", "m5"], "m1 was done");
    assert!(deliveries(&out).iter().all(|d| d.place.held));
    let replayed: Vec<bool> = deliveries(&out).iter().map(|d| d.replayed).collect();
    assert_eq!(replayed, [true, true, true, false]);
    assert_eq!(ids(&bench.named("m6", "c11", "command", 6_000)), ["m6"]);
}

#[test]
fn stops_pass_at_once_and_only_once() {
    let (mut bench, _) = lost();
    assert_eq!(ids(&bench.named("s1", "c10", "stop", 5_000)), ["s1"]);
    bench.frame(&json!({"action": 13, "channel": C}));
    bench.attached(C, "c5", BACKLOG);
    bench.named("m2", "c6", "command", 2_000);
    assert_eq!(ids(&bench.named("s2", "c7", "stop", 3_000)), ["s2"]);
    assert!(ids(&bench.named("s1", "c8", "stop", 5_000)).is_empty());
    assert_eq!(ids(&bench.wait(SEC)), ["m2"]);
}

#[test]
fn without_a_backlog_nothing_is_waited_for() {
    let (mut bench, _) = lost();
    bench.named("m5", "c10", "command", 5_000);
    bench.frame(&json!({"action": 13, "channel": C}));
    assert_eq!(ids(&bench.attached(C, "c5", 0)), ["m5"]);
}

#[test]
fn a_live_message_ends_the_backlog() {
    let mut bench = Bench::new(settings());
    bench.feed(Input::Connect);
    bench.frame(
        &json!({"action": 4, "connectionId": "A", "timestamp": 1_000_000,
        "connectionDetails": {"connectionKey": "k"}}),
    );
    bench.attached(C, "c1", 0);
    bench.wait(SEC);
    bench.attached(C, "c2", 0);
    bench.frame(&json!({"action": 13, "channel": C}));
    bench.attached(C, "c2", BACKLOG);
    assert!(ids(&bench.named("old", "c3", "command", 1_000_500)).is_empty());
    let out = bench.named("live", "c4", "command", 1_001_500);
    assert_eq!(ids(&out), ["old", "live"]);
}

#[test]
fn a_backlog_that_trickles_ends_after_five_seconds() {
    let (mut bench, _) = rewinding(BACKLOG);
    let mut released = Vec::new();
    for n in 0..20 {
        let out = bench.named(&format!("t{n}"), "c6", "command", 2_000 + n);
        released.extend(ids(&out).into_iter().map(str::to_owned));
        let out = bench.wait(SEC / 2);
        released.extend(ids(&out).into_iter().map(str::to_owned));
        if n == 8 {
            assert!(released.is_empty(), "4.5 s: still held");
        }
    }
    assert_eq!(released.len(), 20);
    assert_eq!((released[0].as_str(), released[19].as_str()), ("t0", "t19"));
}

#[test]
fn nothing_is_held_for_more_than_half_a_minute() {
    let (mut bench, _) = lost();
    bench.named("m5", "c10", "command", 5_000);
    bench.lose();
    // No connection comes about any more.
    let mut out = Vec::new();
    for _ in 0..35 {
        if bench.state() == ConnectionState::Connecting {
            bench.fault(FaultKind::Connect);
        }
        out.extend(bench.wait(SEC));
    }
    assert_eq!(ids(&out), ["m5"]);
}

#[test]
fn nor_are_more_than_a_thousand() {
    let (mut bench, _) = rewinding(BACKLOG);
    let mut released = 0;
    for n in 0..1_000 {
        released += ids(&bench.named(&format!("h{n}"), "c6", "command", 2_000 + n)).len();
    }
    assert_eq!(released, 1_000);
}

#[test]
fn what_is_older_than_our_first_attached_was_an_earlier_runs() {
    let mut bench = Bench::new(settings());
    bench.feed(Input::Connect);
    bench.connected("A", "k");
    bench.frame(&json!({"action": 11, "channel": C, "channelSerial": "c1", "timestamp": 10_000}));
    bench.attached(R, "r1", 0);
    bench.wait_alive(SEC * 5);
    bench.attached(C, "c2", 0);
    bench.frame(&json!({"action": 13, "channel": C}));
    bench.attached(C, "c0", BACKLOG);
    bench.named("before", "c1", "command", 9_999);
    bench.named("after", "c1", "command", 10_001);
    assert_eq!(ids(&bench.wait(SEC)), ["after"]);
}

/// Attached for the first time at 10 s of the server's clock, lost continuity five seconds later.
fn rewound_by_the_clock() -> Bench {
    let mut bench = Bench::new(settings());
    bench.feed(Input::Connect);
    bench.connected("A", "k");
    bench.frame(&json!({"action": 11, "channel": C, "channelSerial": "c1", "timestamp": 10_000}));
    bench.attached(R, "r1", 0);
    bench.wait_alive(SEC * 5);
    bench.attached(C, "c2", 0);
    bench.frame(&json!({"action": 13, "channel": C}));
    bench.attached(C, "c0", BACKLOG);
    bench
}

#[test]
fn on_a_slow_line_an_earlier_runs_command_comes_late_and_is_dropped_all_the_same() {
    let mut bench = rewound_by_the_clock();
    // The hold is over; the backlog is not.
    bench.wait_alive(SEC * 20);
    assert_eq!(bench.machine.status().commands_held, 0);
    assert!(ids(&bench.named("before", "c1", "command", 9_999)).is_empty());
    let out = bench.named("stored", "c1", "command", 12_000);
    assert!(deliveries(&out)[0].replayed, "and is no live one");
    assert_eq!(deliveries(&out)[0].age_when_received, Some(SEC * 23));
    let out = bench.named("live", "c3", "command", 35_000);
    assert!(!deliveries(&out)[0].replayed);
    // For two minutes after the rewind; each one begins them anew.
    bench.wait_alive(SEC * 99);
    assert!(ids(&bench.named("before too", "c1", "command", 9_998)).is_empty());
    bench.wait_alive(SEC);
    let out = bench.named("whenever", "c4", "command", 9_997);
    assert!(!deliveries(&out)[0].replayed);
    bench.attached(C, "c5", 0);
    bench.frame(&json!({"action": 13, "channel": C}));
    bench.attached(C, "c0", BACKLOG);
    bench.wait_alive(SEC * 100);
    assert!(ids(&bench.named("again", "c1", "command", 9_996)).is_empty());
}

#[test]
fn bytes_on_the_line_are_not_quiet() {
    let mut bench = rewound_by_the_clock();
    bench.named("m1", "c1", "command", 12_000);
    // A long frame that comes in parts.
    for _ in 0..5 {
        let out = bench.wait(SEC * 9 / 10);
        assert!(ids(&out).is_empty());
        bench.feed(Input::Activity(bench.transport));
    }
    assert!(ids(&bench.named("m0", "c1", "command", 11_000)).is_empty());
    assert_eq!(ids(&bench.wait(SEC)), ["m0", "m1"], "five seconds at most");
}

#[test]
fn an_earlier_run_is_known_even_without_the_servers_clock() {
    // Attached for 50 s. A message of now in the backlog proves that the clock says at least so
    // much; what is 60 s older than it was made before us.
    let mut bench = Bench::up();
    bench.wait_alive(SEC * 50);
    bench.named("now", "c2", "command", 1_000_000);
    bench.attached(C, "c3", 0);
    bench.frame(&json!({"action": 13, "channel": C}));
    bench.attached(C, "c0", BACKLOG);
    bench.named("earlier run", "c1", "command", 940_000);
    bench.named("ours", "c1", "command", 960_000);
    assert_eq!(ids(&bench.wait(SEC)), ["ours"]);
}

#[test]
fn a_drop_in_the_middle_of_the_backlog_goes_on_from_there() {
    let (mut bench, _) = rewinding(BACKLOG);
    bench.named("m2", "c6", "command", 2_000);
    bench.lose();
    bench.wait(SEC);
    let attach = sent_of(&bench.connected("B", "k3"), 10);
    assert_eq!(attach[0]["channelSerial"], "c6");
    bench.attached(C, "c6", RESUMED | BACKLOG);
    assert!(ids(&bench.named("m3", "c7", "command", 3_000)).is_empty());
    assert_eq!(ids(&bench.wait(SEC)), ["m2", "m3"]);
}

#[test]
fn a_drop_while_detaching_sends_detach_again() {
    for id in ["B", "other"] {
        let (mut bench, _) = lost();
        bench.lose();
        bench.wait(SEC);
        let out = bench.connected(id, "k3");
        assert_eq!(sent_of(&out, 12).len(), 1, "RTN19b");
        let out = bench.frame(&json!({"action": 13, "channel": C}));
        assert!(rewound(&sent_of(&out, 10)[0]));
    }
}

#[test]
fn a_drop_before_the_rewound_attached_begins_it_again() {
    let (mut bench, _) = lost();
    bench.frame(&json!({"action": 13, "channel": C}));
    bench.lose();
    bench.wait(SEC);
    // The service may have attached us: out of that first.
    let out = bench.connected("B", "k3");
    assert_eq!(sent_of(&out, 12).len(), 1);
    let out = bench.frame(&json!({"action": 13, "channel": C}));
    assert!(rewound(&sent_of(&out, 10)[0]));
    // On a new connection it can't have.
    bench.lose();
    bench.wait(SEC * 3);
    let out = bench.connected("other", "k4");
    assert!(rewound(&sent_of(&out, 10)[0]));
}

#[test]
fn an_attached_while_detaching_is_answered_with_detach() {
    let (mut bench, _) = lost();
    let out = bench.attached(C, "c9", RESUMED);
    assert_eq!(sent(&out), [json!({"action": 12, "channel": C})], "RTL5k");
}

#[test]
fn no_detached_in_ten_seconds_rewinds_all_the_same() {
    let (mut bench, _) = lost();
    let out = bench.wait(SEC * 10);
    assert!(rewound(&sent_of(&out, 10)[0]));
}

#[test]
fn a_channel_that_failed_comes_back_with_a_rewind() {
    let mut bench = Bench::up();
    bench.error(Some(C), 40160, 401);
    assert_eq!(bench.channel_state(), ChannelState::Failed);
    let out = bench.wait_alive(SEC * 70);
    assert!(rewound(&sent_of(&out, 10)[0]), "no DETACH is needed");
    let out = bench.attached(C, "c5", BACKLOG);
    assert_eq!(told(&out), Some(true), "now the loss is told");
    bench.named("m2", "c6", "command", 2_000);
    assert_eq!(ids(&bench.wait(SEC)), ["m2"]);
}

#[test]
fn so_does_one_whose_connection_failed() {
    let mut bench = Bench::up();
    bench.error(None, 40101, 401);
    bench.wait(SEC * 60);
    let out = bench.connected("B", "k2");
    assert!(rewound(&sent_of(&out, 10)[0]));
}

#[test]
fn a_service_that_refuses_to_rewind_does_not_leave_us_deaf() {
    let (mut bench, _) = lost();
    bench.named("m5", "c10", "command", 5_000);
    bench.frame(&json!({"action": 13, "channel": C}));
    bench.error(Some(C), 40160, 401);
    assert_eq!(bench.channel_state(), ChannelState::Failed, "RTL14");
    let out = bench.wait(SEC * 5);
    assert!(rewound(&sent_of(&out, 10)[0]), "asked once more");
    let out = bench.error(Some(C), 40160, 401);
    assert_eq!(
        sent_of(&out, 10),
        [json!({"action": 10, "channel": C, "flags": 262_144})]
    );
    let out = bench.attached(C, "c12", 0);
    assert_eq!(told(&out), Some(false));
    assert_eq!(ids(&out), ["m5"], "what was held goes out");
    assert_eq!(bench.channel_state(), ChannelState::Attached);
    // The next loss is met with a rewind again.
    bench.wait_alive(SEC * 10);
    assert_eq!(told(&bench.attached(C, "c13", 0)), Some(true));
}

#[test]
fn losses_in_a_row_are_spaced_and_none_is_forgotten() {
    let (mut bench, _) = rewinding(0);
    // The server says it again at once.
    let out = bench.attached(C, "c20", 0);
    assert_eq!(told(&out), Some(true));
    assert!(sent(&out).is_empty(), "not in a loop");
    bench.named("m7", "c21", "command", 7_000);
    assert!(bench.attached(C, "c21", RESUMED).is_empty());
    let out = bench.wait(SEC);
    assert_eq!(sent_of(&out, 12).len(), 1, "but it is done");
    // Also if the connection is lost before its time has come.
    let (mut bench, _) = rewinding(0);
    bench.attached(C, "c20", 0);
    bench.lose();
    bench.wait(SEC);
    let out = bench.connected("B", "k3");
    assert_eq!(sent_of(&out, 12).len(), 1);
}

#[test]
fn a_resumed_stream_is_marked_as_replayed_until_it_is_quiet() {
    let mut bench = Bench::up();
    bench.lose();
    bench.connected("A", "k2");
    bench.attached(C, "c1", RESUMED);
    let out = bench.named("m1", "c2", "command", 1_000);
    assert!(deliveries(&out)[0].replayed && !deliveries(&out)[0].place.held);
    bench.wait(SEC * 2);
    let out = bench.named("m2", "c3", "command", 9_000);
    assert!(!deliveries(&out)[0].replayed);
}

#[test]
fn the_registry_needs_no_rewind() {
    let mut bench = Bench::up();
    let out = bench.attached(R, "r9", 0);
    assert_eq!(told(&out), None);
    assert!(sent_of(&out, 12).is_empty());
}

#[test]
fn places_tell_what_was_sent_before_a_stop_that_has_passed_it() {
    let (mut bench, _) = lost();
    let place = |out: &[Output], id: &str| {
        let found = deliveries(out)
            .into_iter()
            .find(|d| d.message.id.as_deref() == Some(id));
        found.unwrap().place
    };
    // Live, before the backlog: a movement, its stop within the same millisecond, another.
    bench.named("m3", "c10", "command", 5_000);
    let stop = place(&bench.named("s4", "c11", "stop", 5_000), "s4");
    bench.named("m5", "c12", "command", 5_000);
    bench.frame(&json!({"action": 13, "channel": C}));
    bench.attached(C, "c5", BACKLOG);
    bench.named("a1", "c6", "command", 4_999);
    bench.named("m2", "c7", "command", 5_000);
    // What is stored comes again, the stop too; then two of one array.
    bench.named("s4", "c11", "stop", 5_000);
    let out = bench.frame(
        &json!({"action": 15, "channel": C, "id": "f", "timestamp": 6_000,
        "messages": [{"name": "command"}, {"name": "stop"}, {"name": "command"}]}),
    );
    let in_array = place(&out, "f:1");
    let out = bench.wait(SEC);
    assert_eq!(ids(&out), ["a1", "m2", "m3", "m5", "f:0", "f:2"]);
    for (id, before) in [("a1", true), ("m2", true), ("m3", true), ("m5", false)] {
        assert_eq!(place(&out, id).is_before(&stop), before, "{id}");
    }
    assert!(place(&out, "f:0").is_before(&in_array));
    assert!(!place(&out, "f:2").is_before(&in_array));
    // Later, without a hold, the stream's own order counts.
    let late = place(&bench.named("m6", "c20", "command", 5_999), "m6");
    assert!(!late.is_before(&in_array));
}
