//! Tasks that are carried by our own publisher.

use super::*;

/// A node whose plans are what the test makes them.
fn relaying() -> Sim {
    let mut sim = Sim::new();
    sim.hold_prepared = true;
    sim
}

fn launch(sim: &Sim, engine: EngineKind, mode: TaskMode) -> Launch {
    Launch {
        audio: TaskAudio::None,
        ..sim.launch(engine, mode, "the source fits")
    }
}

/// The relay, and FFmpeg behind it.
fn both(sim: &Sim) -> Plan {
    Plan::new(
        launch(sim, EngineKind::Relay, TaskMode::Relay),
        [Ok(launch(sim, EngineKind::Ffmpeg, TaskMode::Copy))],
    )
}

fn planned(sim: &mut Sim, plan: Plan) {
    let (ticket, _) = sim.held.pop_front().expect("nothing is being prepared");
    let effects = sim.table.prepared(ticket, Ok(plan), sim.now);
    sim.perform(effects);
}

fn started(sim: &mut Sim, task: &str) -> RunId {
    sim.start(task).0.ok();
    let plan = both(sim);
    planned(sim, plan);
    sim.live()
}

fn no_path() -> Diagnosis {
    Diagnosis {
        cause: Cause::WhipUnreachable,
        detail: "no media path came up".to_owned(),
    }
}

/// Its own way of sending fails, and it ends.
fn fails_alone(sim: &mut Sim, run: RunId) {
    sim.child_event(run, ChildEvent::FailingAlone(no_path()));
    let effects = sim.exit_effects(run, Some(0), None, Some(no_path()));
    sim.perform(effects);
}

#[test]
fn a_lost_session_is_away_until_the_fresh_one_shows_pictures() {
    let mut sim = relaying();
    let run = started(&mut sim, "t");
    sim.stream();
    sim.stream_for(run, 20);
    let lost = Diagnosis {
        cause: Cause::WhipStream,
        detail: "consent is lost".to_owned(),
    };
    sim.child_event(run, ChildEvent::SessionLost(lost));
    let task = sim.get("t");
    assert_eq!(task.status, StreamStatus::Reconnecting);
    assert_eq!(task.error.unwrap().code, ErrorCode::WhipStreamError);
    sim.pass(Duration::from_secs(3));
    sim.child_event(run, ChildEvent::SessionUp(None));
    assert_eq!(
        sim.get("t").status,
        StreamStatus::Reconnecting,
        "no picture"
    );
    sim.send_media(run, 90_000);
    sim.pass(Duration::from_secs(2));
    let task = sim.get("t");
    assert_eq!(task.status, StreamStatus::Streaming);
    assert_eq!((task.retry_count, task.tally.runs), (0, 1));
    assert!(task.error.is_none() && task.exit_history.is_empty());
    let told = [
        (TaskEventKind::Started, StreamStatus::Streaming),
        (TaskEventKind::StatusUpdate, StreamStatus::Reconnecting),
        (TaskEventKind::StatusUpdate, StreamStatus::Streaming),
    ];
    let kinds = sim.kinds();
    assert_eq!(kinds[kinds.len() - 3..], told);
}

#[test]
fn without_a_fresh_session_the_run_is_one_that_has_streamed() {
    let mut sim = relaying();
    let run = started(&mut sim, "t");
    sim.stream();
    sim.stream_for(run, 20);
    sim.child_event(run, ChildEvent::SessionLost(no_path()));
    sim.pass(Duration::from_secs(10));
    sim.child_event(run, ChildEvent::Failing(no_path()));
    sim.exit(run, 0, Some(Cause::WhipStream));
    // One that showed pictures for more than ten seconds is tried for ever.
    let task = sim.get("t");
    assert_eq!(task.status, StreamStatus::Reconnecting);
    assert_eq!(task.retry_count, 0);

    // One that neither gets a session nor ends is ended.
    let mut sim = relaying();
    let run = started(&mut sim, "t");
    sim.stream();
    sim.child_event(run, ChildEvent::SessionLost(no_path()));
    sim.pass(Duration::from_secs(30));
    assert!(!sim.children.contains_key(&run), "it is left hanging");
}

#[test]
fn what_does_not_fit_is_prepared_anew_with_what_was_met() {
    let mut sim = relaying();
    let run = started(&mut sim, "t");
    sim.child_event(run, ChildEvent::Unfit("it has B-frames".to_owned()));
    let effects = sim.exit_effects(run, Some(0), None, None);
    let prepared = effects.iter().find_map(|effect| match effect {
        Effect::Prepare(_, _, Some(facts)) => facts.video.unsendable.clone().map(|found| found.why),
        _ => None,
    });
    assert_eq!(prepared.as_deref(), Some("it has B-frames"));
    sim.perform(effects);
    let encoded = Plan::only(launch(&sim, EngineKind::Ffmpeg, TaskMode::Transcode));
    planned(&mut sim, encoded);
    sim.stream();
    let task = sim.get("t");
    assert_eq!(
        (task.status, task.mode),
        (StreamStatus::Streaming, TaskMode::Transcode)
    );
    assert_eq!(task.retry_count, 0);
    assert!(task.exit_history.is_empty() && sim.failed_tries.is_empty());
    assert_eq!(sim.engines, [EngineKind::Relay, EngineKind::Ffmpeg]);
}

#[test]
fn two_failures_of_its_own_leave_the_task_to_ffmpeg() {
    let mut sim = relaying();
    let run = started(&mut sim, "t");
    fails_alone(&mut sim, run);
    let task = sim.get("t");
    assert_eq!(
        (task.status, task.retry_count),
        (StreamStatus::Reconnecting, 1)
    );
    sim.until_launch();
    let run = sim.live();
    fails_alone(&mut sim, run);
    // At once, and no retry is counted.
    assert_eq!(
        sim.engines,
        [EngineKind::Relay, EngineKind::Relay, EngineKind::Ffmpeg]
    );
    sim.stream();
    let task = sim.get("t");
    assert_eq!(
        (task.status, task.mode),
        (StreamStatus::Streaming, TaskMode::Copy)
    );
    assert_eq!(task.retry_count, 1);
    assert!(
        task.mode_reason.contains("no media path"),
        "{}",
        task.mode_reason
    );
    // Another task with the same endpoint has failed at nothing.
    started(&mut sim, "other");
    assert_eq!(sim.engines.last(), Some(&EngineKind::Relay));
}

/// A media plane that is away for a moment fails every camera's relay once: that is no second failure.
#[test]
fn one_hiccup_of_the_endpoint_moves_nobody() {
    let mut sim = relaying();
    for task in ["a", "b", "c"] {
        let run = started(&mut sim, task);
        fails_alone(&mut sim, run);
    }
    assert_eq!(sim.engines, [EngineKind::Relay; 3]);
}

/// Where FFmpeg fares no better, the relay has the next turn, and is taken back for good once it works.
#[test]
fn where_ffmpeg_fails_at_the_endpoint_too_the_relay_has_the_next_turn() {
    let mut sim = relaying();
    let run = started(&mut sim, "t");
    fails_alone(&mut sim, run);
    sim.until_launch();
    let run = sim.live();
    fails_alone(&mut sim, run);
    let run = sim.live();
    sim.stream();
    sim.stream_for(run, 33);
    assert_eq!(sim.engines.last(), Some(&EngineKind::Ffmpeg));
    sim.exit(run, 1, Some(Cause::WhipStream));
    sim.until_launch();
    assert_eq!(sim.engines.last(), Some(&EngineKind::Relay));
    assert_eq!(sim.get("t").mode, TaskMode::Relay);
    // One that streamed, and lost its camera, stays with FFmpeg for the hour.
    let mut sim = relaying();
    let run = started(&mut sim, "t");
    fails_alone(&mut sim, run);
    sim.until_launch();
    let run = sim.live();
    fails_alone(&mut sim, run);
    let run = sim.live();
    sim.stream();
    sim.stream_for(run, 33);
    sim.exit(run, 1, Some(Cause::SourceStream));
    sim.until_launch();
    assert_eq!(sim.engines.last(), Some(&EngineKind::Ffmpeg));
    let run = sim.live();
    sim.stream();
    sim.stream_for(run, 60 * 60);
    sim.exit(run, 1, Some(Cause::SourceStream));
    sim.until_launch();
    assert_eq!(
        sim.engines.last(),
        Some(&EngineKind::Relay),
        "an hour is over"
    );
}

#[test]
fn what_ffmpeg_would_share_and_what_nobody_else_can_do_is_no_hand_over() {
    // The endpoint's refusals.
    let mut sim = relaying();
    started(&mut sim, "t");
    for _ in 0..3 {
        let run = sim.live();
        sim.child_event(run, ChildEvent::Failing(no_path()));
        sim.exit(run, 0, Some(Cause::WhipUnreachable));
        sim.until_launch();
    }
    assert!(
        sim.engines
            .iter()
            .all(|engine| *engine == EngineKind::Relay)
    );
    // Nothing stands behind it.
    let mut sim = relaying();
    sim.start("t").0.ok();
    let alone = Plan::only(launch(&sim, EngineKind::Relay, TaskMode::Relay));
    planned(&mut sim, alone);
    for _ in 0..3 {
        let run = sim.live();
        fails_alone(&mut sim, run);
        sim.until_launch();
    }
    assert_eq!(sim.engines, [EngineKind::Relay; 4]);
    assert_eq!(sim.get("t").error.unwrap().code, ErrorCode::WhipConnFailed);
    // Somebody in between: for good, and by no other way.
    let mut sim = relaying();
    let run = started(&mut sim, "t");
    sim.exit(run, 0, Some(Cause::WhipAuth));
    let task = sim.get("t");
    assert_eq!(task.status, StreamStatus::Error);
    assert_eq!(task.error.unwrap().code, ErrorCode::WhipAuthFailed);
    assert_eq!(sim.engines, [EngineKind::Relay]);
}

#[test]
fn a_stop_meanwhile_is_a_stop() {
    for step in 0..3 {
        let mut sim = relaying();
        let run = started(&mut sim, "t");
        sim.stream();
        match step {
            0 => sim.child_event(run, ChildEvent::SessionLost(no_path())),
            1 => sim.child_event(run, ChildEvent::Unfit("no".to_owned())),
            _ => sim.child_event(run, ChildEvent::FailingAlone(no_path())),
        }
        let stopped = sim.stop("t", false);
        sim.pass(Duration::from_secs(30));
        let task = stopped.try_recv().unwrap().unwrap();
        assert_eq!(task.status, StreamStatus::Stopped, "{step}");
        assert!(sim.children.is_empty());
    }
}

#[test]
fn a_wanted_keyframe_is_asked_of_the_camera_while_the_run_goes_on() {
    let mut sim = relaying();
    let run = started(&mut sim, "t");
    sim.stream();
    sim.child_event(run, ChildEvent::KeyframeWanted);
    assert_eq!(sim.door.keyframes(), 1);
    sim.stop("t", false);
    sim.child_event(run, ChildEvent::KeyframeWanted);
    assert_eq!(sim.door.keyframes(), 1, "it is being ended");
}
