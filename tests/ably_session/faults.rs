//! What goes wrong in the middle of a session.

use super::*;

#[test]
fn a_cut_is_mended_at_once_and_loses_nothing() {
    let rig = Rig::new().up();
    rig.send("before");
    assert_eq!(rig.commands(1), ["before"]);
    let cut = Instant::now();
    rig.standin.cut(NODE);
    let meanwhile = rig.send("meanwhile");
    rig.result("r1").unwrap();
    let delivery = rig.command();
    assert_eq!(delivery.message.id.as_deref(), Some(meanwhile.as_str()));
    println!("cut to command: {:?}", cut.elapsed());
    rig.all_sent();
    assert_eq!(rig.arrived(), ["r1"]);
    let status = rig.handle.status();
    assert_eq!((status.connects, status.continuity_lost), (2, 0));
    rig.status("present", |s| s.present);
    rig.end();
}

#[test]
fn what_was_not_acknowledged_is_sent_again_and_arrives_once() {
    let rig = Rig::new().up();
    for refuse_resume in [0, 1] {
        rig.standin.model(|model| model.faults.lose_acks = 3);
        for n in 0..3 {
            rig.result(&format!("r{refuse_resume}-{n}")).unwrap();
        }
        rig.standin.until("three without ACK", |model| {
            log(model, STATUS).len() == 3 * (1 + refuse_resume as usize)
        });
        rig.standin
            .model(|model| model.faults.refuse_resume = refuse_resume);
        rig.standin.cut(NODE);
        rig.all_sent();
    }
    let expected = ["r0-0", "r0-1", "r0-2", "r1-0", "r1-1", "r1-2"];
    assert_eq!(rig.arrived(), expected);
    rig.status("present", |s| s.present);
    rig.end();
}

#[test]
fn lost_acks_on_a_line_that_lives_are_noticed() {
    let rig = Rig::new().up();
    rig.standin.model(|model| model.faults.lose_acks = 1);
    rig.result("r1").unwrap();
    // Nothing follows that would tell: the client has to lose patience.
    rig.all_sent();
    assert_eq!(rig.arrived(), ["r1"]);
    assert_eq!(rig.handle.status().connects, 2);
    rig.status("present", |s| s.present);
    rig.end();
}

#[test]
fn where_continuity_is_lost_the_stored_commands_come_in_order() {
    let rig = Rig::new().up();
    rig.send("done");
    assert_eq!(rig.commands(1), ["done"]);
    rig.standin.model(|model| {
        model.faults.refuse_resume = 1;
        model.faults.refuse_continuity = 2;
    });
    rig.standin.cut(NODE);
    for n in 0..5 {
        rig.send(&format!("missed {n}"));
    }
    rig.send_named("stop", "the stop");
    let rewinding = rig.event("the loss", |event| match event {
        AblyEvent::ContinuityLost { rewinding } => Some(rewinding),
        _ => None,
    });
    assert!(rewinding);
    let mut got = rig.commands(6);
    // Those that were published after the rewind came live; the stop went first, or in its turn
    // if it was live itself.
    assert!(got.contains(&"the stop".to_owned()));
    got.retain(|text| text != "the stop");
    assert_eq!(
        got,
        (0..5).map(|n| format!("missed {n}")).collect::<Vec<_>>()
    );
    assert_eq!(rig.handle.status().continuity_lost, 1);
    rig.status("present", |s| s.present);
    rig.end();
}

#[test]
fn a_dead_line_is_noticed_by_its_silence() {
    let standin = Standin::with_config(Config {
        max_idle: 100,
        ..Config::default()
    });
    let mut timing = quick();
    timing.request = 400 * MS;
    let rig = Rig::on(standin, |standin| ClientSettings {
        timing: timing.clone(),
        ..settings(standin)
    })
    .up();
    rig.standin.silence(NODE);
    rig.send("into the void");
    rig.result("r1").unwrap();
    assert_eq!(rig.commands(1), ["into the void"]);
    rig.all_sent();
    assert_eq!(rig.handle.status().connects, 2);
    // `delivered` was not said of what was swallowed, so the serials were checked too.
    rig.status("present", |s| s.present);
    rig.end();
}

#[test]
fn nacks_are_waited_out_or_told() {
    let rig = Rig::new().up();
    rig.standin.model(|model| {
        model.faults.nack.push_back((42911, 429));
        model.faults.nack.push_back((50003, 503));
    });
    rig.result("slow").unwrap();
    rig.all_sent();
    assert_eq!(rig.arrived(), ["slow"]);
    rig.standin
        .model(|model| model.faults.nack.push_back((40160, 401)));
    rig.result("never").unwrap();
    rig.event("the refusal", |event| match event {
        AblyEvent::Refused {
            id, channel, why, ..
        } => {
            assert_eq!((id.as_str(), channel.as_str()), ("never", STATUS));
            assert!(matches!(why, Refusal::Refused(e) if e.code == 40160));
            Some(())
        }
        _ => None,
    });
    assert_eq!(rig.handle.status().results_waiting, 0);
    rig.end();
}

#[test]
fn detached_and_disconnected_by_the_service() {
    let rig = Rig::new().up();
    let socket = rig.standin.model(|model| model.sockets_of(NODE)[0]);
    rig.standin.with(|model, now| {
        let out = model.detach(socket, COMMANDS, 90198, now);
        ((), out)
    });
    rig.standin
        .until("attached again", |model| model.is_attached(NODE, COMMANDS));
    rig.send("one");
    assert_eq!(rig.commands(1), ["one"]);
    rig.standin.with(|model, now| {
        let out = model.detach(socket, REGISTRY, 91007, now);
        ((), out)
    });
    rig.standin
        .until("a member again", |model| members(model) == [NODE]);
    rig.standin.with(|model, now| {
        let out = model.disconnect(socket, 80003, 400, now);
        ((), out)
    });
    rig.send("two");
    assert_eq!(rig.commands(1), ["two"]);
    rig.status("present", |s| s.present);
    rig.end();
}

#[test]
fn a_channel_that_is_refused_is_tried_again() {
    let standin = Standin::start();
    standin.model(|model| {
        model.faults.attach_error.push_back((40160, 401));
        model.faults.attach_error.push_back((40160, 401));
    });
    let rig = Rig::on(standin, settings).up();
    rig.send("one");
    assert_eq!(rig.commands(1), ["one"]);
    rig.end();
}

#[test]
fn presence_that_is_refused_is_told_and_tried_again() {
    let rig = Rig::new().up();
    rig.standin
        .model(|model| model.faults.nack.push_back((91003, 400)));
    rig.handle.set_presence(Data::Json(json!({"v": 2})));
    rig.event("the refusal", |event| match event {
        AblyEvent::PresenceRefused(error) => (error.code == 91003).then_some(()),
        _ => None,
    });
    rig.standin.until("the new data", |model| {
        let member = model.channels[REGISTRY].members.values().next();
        member.is_some_and(|m| m.entry["data"] == json!("{\"v\":2}"))
    });
    rig.end();
}

#[test]
fn doubles_are_delivered_once() {
    let rig = Rig::new().up();
    rig.standin.model(|model| model.faults.duplicate = 2);
    for data in ["a", "b", "c"] {
        rig.send(data);
    }
    assert_eq!(rig.commands(3), ["a", "b", "c"]);
    rig.end();
}

#[test]
fn frames_in_crumbs() {
    let standin = Standin::start();
    standin.shape(Shape {
        fragment: Some(5),
        dribble: Some((3, Duration::from_micros(200))),
    });
    let rig = Rig::on(standin, settings).up();
    let long = "x".repeat(2_000);
    rig.send(&long);
    rig.send("short");
    rig.result("r1").unwrap();
    assert_eq!(rig.commands(2), [long, "short".to_owned()]);
    rig.all_sent();
    rig.end();
}

#[test]
fn nonsense_on_the_wire_changes_nothing() {
    let rig = Rig::new().up();
    let text = |text: &str| support::ably::frames(text.as_bytes(), None);
    for bytes in [
        text("this is not JSON"),
        text("[1,2,3]"),
        text("{}"),
        text("{\"action\":\"15\"}"),
        text("{\"action\":15,\"channel\":7,\"messages\":{\"a\":1}}"),
        text("{\"action\":1,\"msgSerial\":-5,\"count\":1e300}"),
        text("{\"action\":4711,\"news\":[[[]]]}"),
        text(&"[".repeat(100_000)),
        // Binary, and text that is no UTF-8.
        vec![0x82, 3, 1, 2, 3],
        vec![0x81, 3, b'{', 0xC3, b'}'],
        // Pings and pongs.
        vec![0x89, 2, b'h', b'i'],
        vec![0x8A, 0],
    ] {
        rig.standin.raw(NODE, &bytes);
    }
    let deep = "[".repeat(100_000);
    rig.standin.publish(
        COMMANDS,
        &json!({"data": deep, "encoding": "json/utf-8/nonsense/base64"}),
    );
    assert_eq!(rig.commands(1), [deep]);
    let large = "y".repeat(600_000);
    rig.send(&large);
    assert_eq!(rig.commands(1), [large]);
    rig.send("and on it goes");
    assert_eq!(rig.commands(1), ["and on it goes"]);
    assert_eq!(rig.handle.status().connects, 1);
    rig.end();
}

#[test]
fn a_message_without_an_id_is_delivered() {
    let rig = Rig::new().up();
    let socket = rig.standin.model(|model| model.sockets_of(NODE)[0]);
    for _ in 0..2 {
        rig.standin.with(|model, now| {
            let frame = json!({"action": 15, "channel": COMMANDS, "messages": [{"data": "anon"}]});
            ((), model.inject(socket, frame, now))
        });
        let delivery = rig.command();
        assert_eq!(
            (delivery.message.id.as_deref(), text(&delivery)),
            (None, "anon".into())
        );
    }
    rig.end();
}

#[test]
fn a_frame_over_a_megabyte_costs_the_transport_and_no_memory() {
    let rig = Rig::new().up();
    // Only its header: nobody waits for the rest.
    rig.standin.raw(NODE, &[0x81, 127, 0, 0, 0, 1, 0, 0, 0, 0]);
    let reason = rig.state(ConnectionState::Disconnected).unwrap();
    assert!(reason.contains("4294967296 bytes"), "{reason}");
    rig.status("up again", |s| s.connects == 2 && s.present);
    rig.send("fine");
    assert_eq!(rig.commands(1), ["fine"]);
    // A broken websocket is the same.
    rig.standin.raw(NODE, &[0xFF, 0xFF, 0xFF]);
    rig.status("up again", |s| s.connects == 3 && s.present);
    rig.end();
}
