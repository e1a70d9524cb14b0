//! What a session does when nothing is wrong but its ends.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

#[test]
fn a_session_from_connect_to_close() {
    let rig = Rig::new().up();
    rig.standin
        .until("a member", |model| members(model) == [NODE]);
    let id = rig.send("first");
    let delivery = rig.command();
    assert_eq!(text(&delivery), "first");
    assert_eq!(delivery.message.id.as_deref(), Some(id.as_str()));
    assert_eq!(delivery.message.client_id.as_deref(), Some("rcs"));
    assert!(!delivery.replayed);
    rig.result("r1").unwrap();
    rig.all_sent();
    assert_eq!(rig.arrived(), ["r1"]);
    let status = rig.handle.status();
    assert_eq!((status.results_waiting, status.connects), (0, 1));
    rig.end();
}

#[test]
fn the_end_is_told_and_nothing_is_taken_after_it() {
    let rig = Rig::new().up();
    assert!(rig.handle.close(PATIENCE));
    rig.event("the end", |event| {
        matches!(event, AblyEvent::Ended).then_some(())
    });
    assert!(rig.events.recv().is_err(), "the thread is gone");
    assert_eq!(rig.result("late"), Err(Refusal::Ended));
    assert_eq!(rig.handle.status().results_waiting, 0, "its place is free");
    assert!(rig.handle.close(SEC), "again is fine");
}

#[test]
fn data_of_every_encoding_arrives_decoded() {
    let rig = Rig::new().up();
    for (data, encoding, expected) in [
        (json!("plain"), None, Data::Text("plain".into())),
        (
            json!("{\"a\":1}"),
            Some("json"),
            Data::Json(json!({"a": 1})),
        ),
        (
            json!("eyJhIjoxfQ=="),
            Some("json/utf-8/base64"),
            Data::Json(json!({"a": 1})),
        ),
        (
            json!("3q2+7w=="),
            Some("base64"),
            Data::Binary(vec![0xde, 0xad, 0xbe, 0xef]),
        ),
        (json!("{broken"), Some("json"), Data::Text("{broken".into())),
        (Value::Null, None, Data::None),
    ] {
        let mut message = json!({"name": "command"});
        if !data.is_null() {
            message["data"] = data;
        }
        if let Some(encoding) = encoding {
            message["encoding"] = json!(encoding);
        }
        rig.standin.publish(COMMANDS, &message);
        assert_eq!(rig.command().message.data, expected);
    }
    rig.end();
}

#[test]
fn a_consumer_that_rests_loses_nothing_and_stops_nothing_else() {
    let standin = Standin::with_config(Config {
        max_idle: 100,
        ..Config::default()
    });
    let mut timing = quick();
    timing.request = 300 * MS;
    let settings = |standin: &Standin| ClientSettings {
        timing: timing.clone(),
        ..settings(standin)
    };
    let rig = Rig::start(standin, settings, 8).attached();
    for n in 0..3_000 {
        rig.send(&n.to_string());
    }
    rig.status("full", |_| rig.events.is_full());
    // Publishes still go out.
    rig.result("r1").unwrap();
    rig.standin
        .until("the result", |model| log(model, STATUS) == ["r1"]);
    // And for far longer than a dead line would be believed, this one is.
    let until = Instant::now() + SEC;
    rig.status("a second", |_| Instant::now() > until);
    let expected: Vec<String> = (0..3_000).map(|n| n.to_string()).collect();
    assert_eq!(rig.commands(3_000), expected);
    rig.all_sent();
    assert_eq!(rig.handle.status().connects, 1);
    rig.standin.assert_clean();
}

#[test]
fn three_thousand_commands_in_a_row() {
    let rig = Rig::start(Standin::start(), settings, 4).attached();
    for n in 0..3_000 {
        rig.send(&n.to_string());
    }
    let expected: Vec<String> = (0..3_000).map(|n| n.to_string()).collect();
    assert_eq!(rig.commands(3_000), expected);
    assert_eq!(rig.handle.status().connects, 1);
}

#[test]
fn a_watched_link_that_falls_silent_is_told_soon() {
    let rig = Rig::new().up();
    rig.handle.watch_link(true);
    let lost = |rig: &Rig| {
        rig.event("the loss", |event| {
            matches!(event, AblyEvent::LinkLost).then_some(())
        });
    };
    // Unanswered pings, on a line that lives otherwise.
    rig.standin.model(|model| model.faults.ignore_pings = 1);
    lost(&rig);
    assert_eq!(
        rig.handle.status().connection.state,
        ConnectionState::Connected
    );
    // A cut, whether or not a ping was answered since.
    rig.standin.cut(NODE);
    lost(&rig);
    rig.handle.watch_link(false);
    rig.status("up again", |s| s.connects == 2 && s.present);
    rig.end();
}

#[test]
fn a_clone_is_told() {
    let mut timing = quick();
    timing.clone_after = 200 * MS;
    let rig = Rig::on(Standin::start(), |standin| ClientSettings {
        timing: timing.clone(),
        ..settings(standin)
    })
    .up();
    let cloned = |rig: &Rig| {
        rig.event("the verdict", |event| match event {
            AblyEvent::ClonedMachineId(cloned) => Some(cloned),
            _ => None,
        })
    };
    rig.standin
        .with(|model, now| ((), model.stranger(REGISTRY, "elsewhere", NODE, true, now)));
    assert!(cloned(&rig));
    rig.standin
        .with(|model, now| ((), model.stranger(REGISTRY, "elsewhere", NODE, false, now)));
    assert!(!cloned(&rig));
    rig.end();
}

#[test]
fn ages_are_true_by_a_clock_that_is_years_off() {
    let standin = Standin::with_config(Config {
        stamps: false,
        ..Config::default()
    });
    let rig = Rig::on(standin, settings).up();
    // Known once `/time` is answered, which is asked at each connect.
    for _ in 0..3 {
        let until = Instant::now() + PATIENCE;
        let age = loop {
            rig.send("how old");
            let command = rig.command();
            if let Some(age) = command.age_when_received {
                break age;
            }
            assert!(Instant::now() < until);
        };
        assert!(age < SEC, "{age:?}");
        rig.standin.cut(NODE);
        // Sent while it is away: until the time is known again it counts as old.
        rig.send("late");
        let late = rig.command();
        assert!(late.replayed || late.age_when_received.is_some());
    }
    let asked = rig.standin.http(|http| http.requests.clone());
    let asked = asked.iter().filter(|r| r.starts_with("GET /time"));
    assert!(asked.count() >= 3);
    rig.end();
}

#[test]
fn two_hundred_at_once_stay_under_the_rate() {
    let rig = Rig::new().up();
    for n in 0..200 {
        rig.result(&format!("r{n}")).unwrap();
    }
    rig.all_sent();
    let expected: Vec<String> = (0..200).map(|n| format!("r{n}")).collect();
    assert_eq!(rig.arrived(), expected);
    rig.end();
}

#[test]
fn too_large_is_refused_before_it_is_sent() {
    let rig = Rig::on(
        Standin::with_config(Config {
            max_message_size: 1_000,
            ..Config::default()
        }),
        settings,
    )
    .up();
    let place = rig.handle.reserve(Priority::Ordinary).unwrap();
    let big = |kind| {
        rig.handle.publish(Outgoing {
            channel: STATUS.to_owned(),
            name: "n".to_owned(),
            data: Data::Text("x".repeat(1_000)),
            id: "big".to_owned(),
            kind,
        })
    };
    let too_large = Refusal::TooLarge {
        size: 1_001,
        max: 1_000,
    };
    assert_eq!(big(PublishKind::Event), Err(too_large.clone()));
    // What must not be lost comes back with its place.
    assert_eq!(big(PublishKind::Kept(place)), Ok(()));
    let kept = rig.event("the refusal", |event| match event {
        AblyEvent::Refused { why, kept, .. } => {
            assert_eq!(why, too_large);
            Some(kept.map(|kept| kept.id))
        }
        _ => None,
    });
    assert_eq!(kept.as_deref(), Some("big"));
    assert_eq!(rig.arrived(), Vec::<String>::new());
    rig.end();
}

#[test]
fn places_run_out_and_come_back() {
    let standin = Standin::start();
    standin.mute(true);
    let rig = Rig::on(standin, settings);
    let mut sent = 0;
    while let Some(place) = rig.handle.reserve(Priority::Ordinary) {
        rig.handle
            .publish(Outgoing {
                channel: STATUS.to_owned(),
                name: "n".to_owned(),
                data: Data::Text(sent.to_string()),
                id: format!("r{sent}"),
                kind: PublishKind::Kept(place),
            })
            .unwrap();
        sent += 1;
    }
    assert_eq!(sent, 1_936);
    assert!(!rig.handle.has_room());
    assert!(rig.handle.reserve(Priority::High).is_some());
    for n in 0..2_000 {
        rig.handle
            .publish(Outgoing {
                channel: STATUS.to_owned(),
                name: "heartbeat".to_owned(),
                data: Data::Text(n.to_string()),
                id: format!("h{n}"),
                kind: PublishKind::Latest,
            })
            .unwrap();
    }
    rig.status("one heartbeat", |s| s.publishes_waiting == 1_937);
    let aborted = !rig.handle.close(Duration::ZERO);
    assert!(aborted);
    assert!(rig.handle.has_room(), "everything is let go at the end");
}

#[test]
fn a_handle_that_is_dropped_ends_the_client() {
    let rig = Rig::new().up();
    drop(rig.handle.clone());
    rig.send("still there");
    assert_eq!(rig.command().message.name.as_deref(), Some("command"));
    let Rig {
        standin,
        handle,
        events,
    } = rig;
    drop(handle);
    standin.until("it is gone", |model| model.sockets_of(NODE).is_empty());
    while events.recv_timeout(PATIENCE).is_ok() {}
}

#[test]
fn a_consumer_that_is_gone_ends_the_client_in_order() {
    let rig = Rig::new().up();
    let Rig {
        standin,
        handle,
        events,
    } = rig;
    drop(events);
    standin.publish(COMMANDS, &json!({"data": "for nobody"}));
    standin.until("it has left", |model| members(model).is_empty());
    assert!(handle.close(PATIENCE));
    standin.assert_clean();
}

#[test]
fn a_panic_in_the_predicate_is_an_end_that_shows() {
    let rig = Rig::on(Standin::start(), |standin| ClientSettings {
        urgent: Arc::new(|_| panic!("a bug of ours")),
        ..settings(standin)
    })
    .up();
    rig.standin.model(|model| {
        model.faults.refuse_continuity = 1;
    });
    rig.standin.cut(NODE);
    rig.send("judge this");
    let until = Instant::now() + PATIENCE;
    while !rig.is_over() {
        // Should it have come live, another loss gives the predicate its chance.
        assert!(Instant::now() < until, "it lives");
        rig.standin
            .model(|model| model.faults.refuse_continuity = 1);
        rig.standin.cut(NODE);
        rig.send("judge this");
        std::thread::park_timeout(20 * MS);
    }
    assert!(rig.handle.close(SEC), "there is nothing to wait for");
}

#[test]
fn what_a_broken_client_had_not_delivered_the_next_one_does() {
    let bug = Arc::new(AtomicBool::new(false));
    let buggy = Arc::clone(&bug);
    let mut rig = Rig::on(Standin::start(), |standin| ClientSettings {
        urgent: {
            let bug = Arc::clone(&buggy);
            Arc::new(move |_| {
                assert!(!bug.load(Ordering::Relaxed), "a bug of ours");
                false
            })
        },
        ..settings(standin)
    })
    .up();
    // Taken by the service, but the client does not hear of it; then two that wait.
    rig.standin.model(|model| model.faults.lose_acks = 1_000);
    rig.result("r0").unwrap();
    rig.standin
        .until("the first result", |model| log(model, STATUS).len() == 1);
    bug.store(true, Ordering::Relaxed);
    let until = Instant::now() + PATIENCE;
    while !rig.is_over() {
        assert!(Instant::now() < until, "it lives");
        rig.standin
            .model(|model| model.faults.refuse_continuity = 1);
        rig.standin.cut(NODE);
        rig.send("judge this");
        std::thread::park_timeout(20 * MS);
    }
    rig.result("r1").unwrap();
    rig.standin.model(|model| model.faults.lose_acks = 0);
    let broken = rig.handle.clone();
    let (sender, events) = bounded(1_000);
    rig.handle = AblyClient::start(settings(&rig.standin), sender).unwrap();
    rig.events = events;
    rig.handle.inherit(&broken);
    rig.all_sent();
    // The first one once: the service knows its id.
    assert_eq!(rig.arrived(), ["r0", "r1"]);
    assert_eq!(broken.status().results_waiting, 0);
    rig.handle.close(PATIENCE);
}
