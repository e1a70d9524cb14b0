use super::*;

#[test]
fn the_primary_host_first_with_every_parameter() {
    let mut bench = Bench::new(settings());
    let out = bench.feed(Input::Connect);
    assert_eq!(states(&out), [ConnectionState::Connecting]);
    assert_eq!(bench.host, "primary");
    assert_eq!(
        bench.path,
        "/?v=6&format=json&key=app.key%3Asecret&clientId=node&echo=false&heartbeats=true&agent=lss%2Ftest"
    );
}

#[test]
fn no_connected_in_ten_seconds_is_a_failed_attempt() {
    let mut bench = Bench::new(settings());
    bench.feed(Input::Connect);
    bench.feed(Input::Opened(bench.transport));
    bench.wait(SEC * 9);
    assert_eq!(bench.state(), ConnectionState::Connecting);
    let out = bench.wait(SEC);
    assert!(matches!(out[0], Output::CloseTransport(_)));
    assert_eq!(states(&out), [ConnectionState::Disconnected]);
    assert_eq!(
        bench.machine.status().connection.reason.unwrap().code,
        80014
    );
}

fn with_fallbacks() -> Settings {
    let mut settings = settings();
    settings.hosts.fallbacks = ["f1", "f2", "f3", "f4", "f5"].map(str::to_owned).to_vec();
    settings
}

fn check(out: &[Output]) -> Option<crate::infrastructure::ably::connection::types::RequestId> {
    out.iter().find_map(|one| match one {
        Output::CheckConnectivity(id) => Some(*id),
        _ => None,
    })
}

#[test]
fn fallbacks_after_a_connectivity_check_three_at_most_then_the_primary_again() {
    let mut bench = Bench::new(with_fallbacks());
    bench.feed(Input::Connect);
    let out = bench.fault(FaultKind::Connect);
    let id = check(&out).expect("checked before the first fallback");
    bench.feed(Input::Connectivity(id, true));
    let mut tried = vec![bench.host.clone()];
    for _ in 0..2 {
        let out = bench.fault(FaultKind::Timeout);
        assert!(check(&out).is_none(), "once a round");
        tried.push(bench.host.clone());
    }
    tried.sort();
    tried.dedup();
    assert_eq!(tried.len(), 3);
    assert!(tried.iter().all(|host| host.starts_with('f')));
    let out = bench.fault(FaultKind::Resolve);
    assert_eq!(states(&out), [ConnectionState::Disconnected]);
    bench.wait(SEC * 15);
    assert_eq!(bench.host, "primary", "RTN17i");
}

#[test]
fn no_internet_no_fallback() {
    let mut bench = Bench::new(with_fallbacks());
    bench.feed(Input::Connect);
    let out = bench.fault(FaultKind::Resolve);
    let id = check(&out).unwrap();
    let out = bench.feed(Input::Connectivity(id, false));
    assert_eq!(opens(&out), 0);
    assert_eq!(bench.state(), ConnectionState::Disconnected);
    // An answer that comes too late changes nothing.
    assert!(bench.feed(Input::Connectivity(id, true)).is_empty());
}

#[test]
fn which_faults_lead_to_a_fallback() {
    let http = |status, cloudfront| FaultKind::Http { status, cloudfront };
    for (kind, qualifies) in [
        (FaultKind::Resolve, true),
        (FaultKind::Connect, true),
        (FaultKind::Timeout, true),
        (http(503, false), true),
        (http(404, true), true),
        (http(404, false), false),
        (http(505, false), false),
        (FaultKind::Tls, false),
        (FaultKind::Closed, false),
        (FaultKind::Protocol, false),
    ] {
        let mut bench = Bench::new(with_fallbacks());
        bench.feed(Input::Connect);
        let out = bench.fault(kind);
        assert_eq!(check(&out).is_some(), qualifies, "{kind:?}");
    }
    let mut bench = Bench::new(with_fallbacks());
    bench.feed(Input::Connect);
    let out = bench.error(None, 50003, 503);
    assert!(check(&out).is_none(), "not for an ERROR");
}

#[test]
fn a_503_disconnected_leads_to_a_fallback_at_once() {
    let gone = json!({"action": 6, "error": {"code": 50003, "statusCode": 503}});
    let mut bench = Bench::up_with(with_fallbacks());
    let out = bench.frame(&gone);
    assert!(check(&out).is_some());
    // Without fallbacks the primary has to do.
    let mut bench = Bench::up();
    let out = bench.frame(&gone);
    assert_eq!((opens(&out), bench.host.as_str()), (1, "primary"));
}

#[test]
fn retries_wait_longer_each_time() {
    let mut bench = Bench::new(settings());
    bench.feed(Input::Connect);
    for full in [15.0, 20.0, 25.0, 30.0] {
        bench.fault(FaultKind::Connect);
        assert_eq!(bench.state(), ConnectionState::Disconnected);
        let wait = bench.until_retry();
        assert!((full * 0.8..=full).contains(&wait), "{wait} of {full}");
        bench.wait(Duration::from_secs_f64(wait));
        assert_eq!(bench.state(), ConnectionState::Connecting);
    }
}

#[test]
fn suspended_after_two_minutes_then_every_thirty_seconds_with_resume() {
    let mut bench = Bench::up();
    bench.lose();
    let start = bench.now.mono;
    while bench.state() != ConnectionState::Suspended {
        if bench.state() == ConnectionState::Connecting {
            bench.fault(FaultKind::Connect);
        }
        bench.wait(SEC);
    }
    let took = bench.now.mono.duration_since(start).as_secs();
    assert!((120..=121).contains(&took), "{took}");
    assert_eq!(bench.channel_state(), ChannelState::Suspended, "RTL3c");
    for _ in 0..20 {
        let out = bench.wait(SEC * 30);
        assert_eq!(opens(&out), 1);
        assert!(bench.path.ends_with("&resume=k1"), "RTN14h");
        bench.fault(FaultKind::Connect);
        assert_eq!(bench.state(), ConnectionState::Suspended);
    }
    bench.wait(SEC * 30);
    let out = bench.connected("B", "k2");
    let attach = sent_of(&out, 10);
    assert_eq!(attach[0]["channelSerial"], "c1", "kept through SUSPENDED");
}

#[test]
fn lost_means_reconnect_at_once_with_the_newest_key() {
    let mut bench = Bench::up();
    bench.frame(&json!({"action": 4, "connectionId": "A",
        "connectionDetails": {"connectionKey": "k2"}}));
    let out = bench.lose();
    assert_eq!(
        states(&out),
        [ConnectionState::Disconnected, ConnectionState::Connecting]
    );
    assert!(bench.path.ends_with("&resume=k2"));
    let out = bench.connected("A", "k3");
    assert_eq!(states(&out), [ConnectionState::Connected]);
    bench.wait_alive(SEC * 20);
    bench.frame(&json!({"action": 6, "error": {"code": 80003, "statusCode": 400}}));
    assert!(bench.path.ends_with("&resume=k3"), "RTN15h3");
}

#[test]
fn a_server_that_accepts_and_drops_causes_no_loop() {
    let mut bench = Bench::up();
    let start = bench.now.mono;
    let mut times = Vec::new();
    for _ in 0..8 {
        bench.lose();
        while bench.state() != ConnectionState::Connecting {
            bench.wait(SEC / 10);
        }
        times.push(bench.now.mono.duration_since(start).as_secs());
        bench.connected("A", "k");
    }
    assert_eq!(times, [0, 1, 3, 7, 15, 30, 45, 60]);
    // Once it has held for a while, the next loss is mended at once again.
    bench.wait_alive(SEC * 40);
    assert_eq!(opens(&bench.lose()), 1);
}

#[test]
fn an_error_without_a_channel_is_fatal_and_tried_again_slowly() {
    let mut bench = Bench::up();
    let out = bench.error(None, 40101, 401);
    assert_eq!(states(&out), [ConnectionState::Failed]);
    assert_eq!(bench.channel_state(), ChannelState::Failed, "RTL3a");
    for minutes in [1, 2, 4, 5, 5] {
        assert_eq!(opens(&bench.wait(SEC * (60 * minutes - 1))), 0);
        assert_eq!(opens(&bench.wait(SEC)), 1);
        assert!(!bench.path.contains("resume"), "RTN11d");
        bench.error(None, 40101, 401);
        assert_eq!(bench.state(), ConnectionState::Failed);
    }
}

#[test]
fn an_error_on_resume_is_fatal_too_but_one_in_connected_is_not() {
    let mut bench = Bench::up();
    bench.lose();
    let out = bench.error(None, 80018, 400);
    assert_eq!(states(&out), [ConnectionState::Failed], "RTN15c4");

    let mut bench = Bench::up();
    bench.lose();
    let out = bench.frame(&json!({"action": 4, "connectionId": "B",
        "connectionDetails": {"connectionKey": "k9"}, "error": {"code": 80008, "statusCode": 400}}));
    assert_eq!(states(&out), [ConnectionState::Connected], "RTN15c7");
    assert_eq!(
        bench.machine.status().connection.reason.unwrap().code,
        80008
    );
}

#[test]
fn another_client_id_than_ours_is_fatal() {
    let connected = |id: &str| {
        json!({"action": 4, "connectionId": "A",
            "connectionDetails": {"clientId": id, "connectionKey": "k"}})
    };
    for (id, state) in [
        ("other", ConnectionState::Failed),
        ("*", ConnectionState::Connected),
        ("node", ConnectionState::Connected),
    ] {
        let mut bench = Bench::new(settings());
        bench.feed(Input::Connect);
        bench.frame(&connected(id));
        assert_eq!(bench.state(), state, "{id}");
    }
    let mut bench = Bench::new(settings());
    bench.feed(Input::Connect);
    bench.frame(&connected("other"));
    assert_eq!(
        bench.machine.status().connection.reason.unwrap().code,
        40102
    );
}

#[test]
fn connected_again_changes_details_and_nothing_else() {
    let mut bench = Bench::up();
    let out = bench.frame(
        &json!({"action": 4, "connectionId": "A", "connectionDetails":
        {"connectionKey": "k2", "maxMessageSize": 100, "maxIdleInterval": 1000}}),
    );
    assert!(states(&out).is_empty() && sent(&out).is_empty(), "RTN24");
    assert_eq!(bench.machine.status().max_message_size, 100);
    let out = bench.wait(SEC * 11);
    assert_eq!(states(&out)[0], ConnectionState::Disconnected);
}

#[test]
fn silence_of_twenty_five_seconds_ends_a_transport() {
    let mut bench = Bench::up();
    bench.wait(SEC * 24);
    assert_eq!(bench.state(), ConnectionState::Connected);
    // What we send proves nothing; what we hear does, be it only a websocket ping.
    bench.publish("p");
    bench.feed(Input::Activity(bench.transport));
    bench.wait(SEC * 24);
    assert_eq!(bench.state(), ConnectionState::Connected);
    bench.publish("q");
    let out = bench.wait(SEC);
    assert!(out.iter().any(|o| matches!(o, Output::CloseTransport(_))));
    assert_eq!(
        states(&out),
        [ConnectionState::Disconnected, ConnectionState::Connecting]
    );
}

#[test]
fn no_idle_timer_without_a_promise() {
    let mut bench = Bench::new(settings());
    bench.feed(Input::Connect);
    bench.frame(&json!({"action": 4, "connectionId": "A",
        "connectionDetails": {"connectionKey": "k", "maxIdleInterval": 0}}));
    bench.attached(C, "c", 0);
    bench.attached(R, "r", 0);
    bench.wait(SEC * 3600);
    assert_eq!(bench.state(), ConnectionState::Connected);
}

#[test]
fn while_nobody_takes_what_is_read_silence_proves_nothing() {
    let mut bench = Bench::new(settings());
    bench.feed(Input::Connect);
    bench.wait(SEC * 9);
    bench.machine.not_listening(bench.now);
    bench.wait(SEC * 9);
    assert_eq!(bench.state(), ConnectionState::Connecting);
    bench.connected("A", "k1");
    bench.publish("p");
    for _ in 0..20 {
        bench.wait(SEC * 9);
        bench.machine.not_listening(bench.now);
    }
    assert_eq!(bench.state(), ConnectionState::Connected);
    assert_eq!(bench.channel_state(), ChannelState::Attaching);
    bench.wait(SEC * 10);
    assert_eq!(
        bench.channel_state(),
        ChannelState::Suspended,
        "now it does"
    );
}

#[test]
fn what_an_old_transport_says_is_dropped() {
    let mut bench = Bench::up();
    let old = bench.transport;
    bench.lose();
    bench.connected("A", "k2");
    let new = std::mem::replace(&mut bench.transport, old);
    assert!(bench.error(None, 40000, 400).is_empty());
    assert!(bench.lose().is_empty());
    assert!(bench.message("m", "c2").is_empty());
    bench.transport = new;
    assert_eq!(bench.state(), ConnectionState::Connected);
}

#[test]
fn heartbeats_are_not_answered_and_the_unknown_is_ignored() {
    let mut bench = Bench::up();
    for frame in [
        json!({"action": 0}),
        json!({"action": 0, "id": "theirs"}),
        json!({"action": 18}),
        json!({"action": 21, "channel": C}),
        json!({"action": 999, "new": {"a": [1]}}),
        json!({"action": 3}),
        json!({"action": 11, "channel": "not ours", "channelSerial": "x"}),
        json!({"action": 1}),
        json!({"action": 17}),
    ] {
        assert!(bench.frame(&frame).is_empty(), "{frame}");
    }
    assert_eq!(bench.state(), ConnectionState::Connected);
}

#[test]
fn no_duration_the_server_names_can_hurt() {
    let mut bench = Bench::new(settings());
    bench.feed(Input::Connect);
    bench.frame(
        &json!({"action": 4, "connectionId": "A", "timestamp": i64::MAX,
        "connectionDetails": {"connectionKey": "k", "maxIdleInterval": u64::MAX,
            "connectionStateTtl": u64::MAX, "maxMessageSize": 0, "maxInboundRate": u64::MAX}}),
    );
    assert_eq!(bench.state(), ConnectionState::Connected);
    assert_eq!(bench.machine.status().max_message_size, 65536);
    bench.lose();
    bench.fault(FaultKind::Connect);
    assert_eq!(bench.state(), ConnectionState::Disconnected);
}

#[test]
fn channels_change_before_connected_is_told() {
    let mut bench = Bench::up();
    bench.lose();
    let out = bench.connected("A", "k2");
    let told = |o: &Output| matches!(o, Output::Connection(_));
    let attaching = |o: &Output| matches!(o, Output::Channel(_, change) if change.state == ChannelState::Attaching);
    let connected = out.iter().position(told).unwrap();
    let channels: Vec<usize> = (0..out.len()).filter(|i| attaching(&out[*i])).collect();
    assert_eq!(channels.len(), 2, "RTL3d");
    assert!(channels.iter().all(|at| *at < connected), "RTL3d1");
}

#[test]
fn close_leaves_then_closes_then_ends() {
    let mut bench = Bench::up();
    bench.feed(Input::PresenceData(Data::Text("here".to_owned())));
    bench.ack(0, 1);
    let out = bench.feed(Input::Close);
    assert_eq!(sent_of(&out, 14)[0]["presence"], json!([{"action": 3}]));
    assert!(sent_of(&out, 7).is_empty(), "the ACK is waited for");
    let out = bench.ack(1, 1);
    assert_eq!(sent(&out), [json!({"action": 7})]);
    assert_eq!(states(&out), [ConnectionState::Closing]);
    let out = bench.frame(&json!({"action": 8}));
    assert_eq!(states(&out), [ConnectionState::Closed]);
    assert!(matches!(out.last(), Some(Output::Ended)));
    assert_eq!(bench.machine.next_deadline(), None);
    assert_eq!(bench.channel_state(), ChannelState::Detached, "RTL3b");
}

#[test]
fn close_waits_for_nothing_longer_than_two_seconds() {
    let mut bench = Bench::up();
    bench.feed(Input::PresenceData(Data::Text("here".to_owned())));
    bench.ack(0, 1);
    bench.feed(Input::Close);
    assert!(bench.wait(Duration::from_millis(1900)).is_empty());
    let out = bench.wait(Duration::from_millis(100));
    assert_eq!(sent_of(&out, 7).len(), 1);
    let out = bench.wait(SEC * 2);
    assert_eq!(states(&out), [ConnectionState::Closed]);
}

#[test]
fn close_lets_the_last_publishes_go_first() {
    let mut bench = Bench::up();
    bench.publish("last");
    assert!(sent_of(&bench.feed(Input::Close), 7).is_empty());
    let out = bench.ack(0, 1);
    assert_eq!(sent_of(&out, 7).len(), 1);
}

#[test]
fn close_in_any_other_state() {
    // Not asked for yet, or waiting: at once.
    let mut bench = Bench::new(settings());
    assert_eq!(states(&bench.feed(Input::Close)), [ConnectionState::Closed]);
    let mut bench = Bench::new(settings());
    bench.feed(Input::Connect);
    bench.fault(FaultKind::Connect);
    assert_eq!(states(&bench.feed(Input::Close)), [ConnectionState::Closed]);
    assert_eq!(bench.machine.next_deadline(), None);
    // On the way: CLOSE if CONNECTED still comes (RTN12f).
    let mut bench = Bench::new(settings());
    bench.feed(Input::Connect);
    bench.feed(Input::Close);
    assert_eq!(bench.state(), ConnectionState::Closing);
    assert_eq!(sent(&bench.connected("A", "k")), [json!({"action": 7})]);
    assert_eq!(states(&bench.lose()), [ConnectionState::Closed]);
    // On the way, and nothing comes.
    let mut bench = Bench::new(settings());
    bench.feed(Input::Connect);
    bench.feed(Input::Close);
    assert_eq!(states(&bench.wait(SEC * 2)), [ConnectionState::Closed]);
    // Losing the connection in the middle of leaving ends it too.
    let mut bench = Bench::up();
    bench.publish("p");
    bench.feed(Input::Close);
    assert_eq!(states(&bench.lose()), [ConnectionState::Closed]);
}

#[test]
fn after_closed_a_connect_begins_anew() {
    let mut bench = Bench::up();
    bench.feed(Input::Close);
    bench.frame(&json!({"action": 8}));
    let out = bench.feed(Input::Connect);
    assert_eq!(opens(&out), 1);
    assert!(!bench.path.contains("resume"), "RTN11d");
}

#[test]
fn connect_while_waiting_does_not_wait() {
    let mut bench = Bench::new(settings());
    bench.feed(Input::Connect);
    bench.fault(FaultKind::Connect);
    assert_eq!(opens(&bench.feed(Input::Connect)), 1);
    assert_eq!(opens(&bench.feed(Input::Connect)), 0, "on its way already");
}

#[test]
fn closed_by_the_service_leads_to_a_new_connection() {
    let mut bench = Bench::up();
    let out = bench.frame(&json!({"action": 8}));
    assert_eq!(opens(&out), 1);
    assert!(!bench.path.contains("resume"));
}
