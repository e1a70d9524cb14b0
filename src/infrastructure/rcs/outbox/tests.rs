use super::*;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

fn callback(task: &str, kind: TaskEventKind, n: usize) -> Callback {
    Callback {
        task: task.to_owned(),
        kind,
        body: Arc::from(n.to_string().into_bytes()),
    }
}

fn update(task: &str, n: usize) -> Callback {
    callback(task, TaskEventKind::StatusUpdate, n)
}

fn number(callback: &Callback) -> usize {
    std::str::from_utf8(&callback.body)
        .unwrap()
        .parse()
        .unwrap()
}

fn sent(next: Next) -> (Ticket, Callback) {
    match next {
        Next::Send(ticket, callback) => (ticket, callback),
        other => panic!("nothing to send: {other:?}"),
    }
}

fn take(outbox: &mut Outbox, now: Instant) -> usize {
    let (ticket, callback) = sent(outbox.next(now));
    let outcome = outbox.finish(ticket, Fate::Taken, now);
    assert!(matches!(outcome, Outcome::Taken { .. }), "{outcome:?}");
    number(&callback)
}

/// The pause that follows from a try that failed.
fn pause(outcome: Outcome) -> Duration {
    match outcome {
        Outcome::Kept { pause, .. } => pause,
        other => panic!("not kept: {other:?}"),
    }
}

#[test]
fn without_failures_everything_leaves_as_it_came() {
    let now = Instant::now();
    let mut outbox = Outbox::new(10, Pace::default(), 1);
    assert_eq!(outbox.next(now), Next::Idle);
    for (n, task) in ["a", "b", "a", "c", "b"].iter().enumerate() {
        assert!(outbox.push(update(task, n)).is_empty());
    }
    let order: Vec<usize> = (0..5).map(|_| take(&mut outbox, now)).collect();
    assert_eq!(order, [0, 1, 2, 3, 4]);
    assert!(outbox.is_empty());
    assert!(
        outbox.lanes.is_empty(),
        "nothing is kept of tasks that are done"
    );
}

#[test]
fn one_at_a_time() {
    let now = Instant::now();
    let mut outbox = Outbox::new(10, Pace::default(), 1);
    outbox.push(update("a", 0));
    outbox.push(update("b", 1));
    let (ticket, _) = sent(outbox.next(now));
    assert_eq!(outbox.next(now), Next::Idle);
    assert_eq!(outbox.len(), 2);
    outbox.finish(ticket, Fate::Taken, now);
    assert_eq!(take(&mut outbox, now), 1);
}

#[test]
fn a_dead_link_pauses_everything_and_nothing_is_lost() {
    let mut now = Instant::now();
    let mut outbox = Outbox::new(10, Pace::default(), 1);
    outbox.push(update("a", 0));
    outbox.push(update("b", 1));
    for n in 0..12u32 {
        let (ticket, _) = sent(outbox.next(now));
        let outcome = outbox.finish(ticket, Fate::Unwell, now);
        let pause = pause(outcome);
        assert_eq!(
            outcome,
            Outcome::Kept {
                pause,
                news: n == 0
            },
            "said once"
        );
        let least = Pace::default().after(n);
        assert!(pause >= least && pause <= least.mul_f64(1.2), "{n}");
        assert_eq!(outbox.next(now), Next::Wait(now + pause));
        outbox.push(update("c", 100 + n as usize));
        assert_eq!(
            outbox.next(now),
            Next::Wait(now + pause),
            "pushing is no cure"
        );
        if n > 7 {
            assert!(outbox.len() >= 10);
        }
        now += pause;
    }
    let (ticket, _) = sent(outbox.next(now));
    let outcome = outbox.finish(ticket, Fate::Taken, now);
    assert_eq!(outcome, Outcome::Taken { recovered: true });
    // Recovered: the rest goes without a pause.
    while !outbox.is_empty() {
        take(&mut outbox, now);
    }
}

#[test]
fn a_callback_that_rcs_chokes_on_delays_its_own_task_only() {
    let mut now = Instant::now();
    let mut outbox = Outbox::new(100, Pace::default(), 1);
    outbox.push(update("bad", 0));
    outbox.push(update("bad", 1));
    for n in 2..6 {
        outbox.push(update("good", n));
    }
    let mut got = Vec::new();
    let end = now + SECOND * 1_200;
    while now < end {
        match outbox.next(now) {
            Next::Send(ticket, callback) => {
                let fate = if callback.task == "bad" {
                    Fate::NotTaken
                } else {
                    got.push(number(&callback));
                    Fate::Taken
                };
                outbox.finish(ticket, fate, now);
            }
            Next::Wait(until) => now = until,
            Next::Idle => break,
        }
    }
    assert_eq!(got, [2, 3, 4, 5]);
    assert_eq!(outbox.len(), 2);
    // And the choking ends one day, in order.
    now += Duration::from_secs(100);
    assert_eq!(take(&mut outbox, now), 0);
    assert_eq!(take(&mut outbox, now), 1);
}

#[test]
fn even_a_try_that_ends_without_an_answer_goes_behind_the_others() {
    let mut now = Instant::now();
    let mut outbox = Outbox::new(100, Pace::default(), 1);
    outbox.push(update("hangs", 0));
    outbox.push(update("good", 1));
    let (ticket, first) = sent(outbox.next(now));
    assert_eq!(first.task, "hangs");
    now += pause(outbox.finish(ticket, Fate::Unwell, now));
    assert_eq!(take(&mut outbox, now), 1);
    assert_eq!(take(&mut outbox, now), 0);
}

#[test]
fn an_rcs_that_is_not_well_is_not_hammered_by_many_tasks() {
    let mut now = Instant::now();
    let start = now;
    let mut outbox = Outbox::new(1000, Pace::default(), 1);
    for n in 0..500 {
        outbox.push(update(&format!("t{n}"), n));
    }
    let mut tries = 0;
    while now < start + Duration::from_secs(600) {
        match outbox.next(now) {
            Next::Send(ticket, _) => {
                tries += 1;
                outbox.finish(ticket, Fate::Unwell, now);
            }
            Next::Wait(until) => now = until,
            Next::Idle => panic!("idle with callbacks waiting"),
        }
    }
    assert!(tries < 25, "{tries} tries in ten minutes");
    // Once RCS is back, nobody waits for a pause of his own.
    let mut taken = 0;
    while let Next::Send(ticket, _) = outbox.next(now) {
        outbox.finish(ticket, Fate::Taken, now);
        taken += 1;
    }
    assert_eq!(taken, 500);
}

#[test]
fn many_tasks_that_rcs_refuses_take_turns() {
    let mut now = Instant::now();
    let start = now;
    let mut outbox = Outbox::new(1000, Pace::default(), 1);
    outbox.heartbeat(true);
    for n in 0..500 {
        outbox.push(update(&format!("t{n}"), n));
    }
    let mut tries = 0;
    while now < start + Duration::from_secs(600) {
        match outbox.next(now) {
            Next::Send(ticket, _) => {
                tries += 1;
                outbox.finish(ticket, Fate::NotTaken, now);
            }
            Next::Wait(until) => now = until,
            Next::Idle => panic!("idle with callbacks waiting"),
        }
    }
    // Two for each, then one a second.
    assert!(tries <= 2 * 500 + 600, "{tries} tries in ten minutes");
    // Once it takes one of them, the others are not held up.
    while now < start + Duration::from_secs(700) && !outbox.is_empty() {
        match outbox.next(now) {
            Next::Send(ticket, _) => {
                outbox.finish(ticket, Fate::Taken, now);
            }
            Next::Wait(until) => now = until,
            Next::Idle => panic!("idle with callbacks waiting"),
        }
    }
    assert!(outbox.is_empty());
}

/// Eight tasks that RCS will never take anything of, tried often enough to be known for it.
fn poisoned(fate: Fate) -> (Outbox, Instant) {
    let mut now = Instant::now();
    let mut outbox = Outbox::new(20, Pace::default(), 1);
    outbox.heartbeat(true);
    for n in 0..8 {
        let task = format!("poison-{n}");
        outbox.push(callback(&task, TaskEventKind::Started, n));
        outbox.push(callback(&task, TaskEventKind::Stopped, 100 + n));
    }
    let end = now + SECOND * 300;
    while now < end {
        match outbox.next(now) {
            Next::Send(ticket, _) => {
                outbox.finish(ticket, fate, now);
            }
            Next::Wait(until) => now = until,
            Next::Idle => panic!("idle"),
        }
    }
    (outbox, now)
}

#[test]
fn poisoned_callbacks_cost_healthy_ones_nothing() {
    // By a code, and by a 5xx or no answer while heartbeats are taken.
    for fate in [Fate::NotTaken, Fate::Unwell] {
        let (mut outbox, mut now) = poisoned(fate);
        for n in 0..60 {
            // Whatever of the poisoned ones is due: a healthy one that comes goes next.
            now += SECOND;
            let task = format!("sound-{n}");
            outbox.push(callback(&task, TaskEventKind::Started, 1_000 + n));
            assert_eq!(take(&mut outbox, now), 1_000 + n, "{fate:?}");
            if let Next::Send(ticket, _) = outbox.next(now) {
                outbox.finish(ticket, fate, now);
            }
        }
    }
}

#[test]
fn nor_do_they_at_the_end() {
    let (mut outbox, now) = poisoned(Fate::NotTaken);
    outbox.hurry();
    outbox.push(callback("sound-1", TaskEventKind::Stopped, 1_001));
    outbox.push(callback("sound-2", TaskEventKind::Stopped, 1_002));
    assert_eq!(take(&mut outbox, now), 1_001);
    let (ticket, sound) = sent(outbox.next(now));
    assert_eq!(number(&sound), 1_002);
    // Even one that has to be sent again.
    outbox.finish(ticket, Fate::Unwell, now);
    let mut now = now;
    let mut poisoned_tries = 0;
    loop {
        match outbox.next(now) {
            Next::Send(_, callback) if callback.task == "sound-2" => break,
            Next::Send(ticket, _) => {
                poisoned_tries += 1;
                outbox.finish(ticket, Fate::NotTaken, now);
            }
            Next::Wait(until) => now = until,
            Next::Idle => panic!("idle"),
        }
    }
    assert!(
        poisoned_tries <= 16,
        "each is tried twice at most meanwhile"
    );
}

#[test]
fn a_poisoned_task_whose_tries_hang_leaves_the_sender_free_most_of_the_time() {
    let mut now = Instant::now();
    let start = now;
    let mut outbox = Outbox::new(20, Pace::default(), 1);
    outbox.heartbeat(true);
    for n in 0..8 {
        outbox.push(update(&format!("hangs-{n}"), n));
    }
    let mut busy = Duration::ZERO;
    let hang = SECOND * 30;
    while now < start + SECOND * 7_200 {
        match outbox.next(now) {
            Next::Send(ticket, _) => {
                now += hang;
                busy += hang;
                outbox.finish(ticket, Fate::Unwell, now);
            }
            Next::Wait(until) => now = until,
            Next::Idle => panic!("idle"),
        }
    }
    assert!(busy < SECOND * 7_200 / 3, "{busy:?} of two hours");
}

#[test]
fn while_rcs_takes_heartbeats_only_the_task_waits() {
    let now = Instant::now();
    let mut outbox = Outbox::new(10, Pace::default(), 1);
    outbox.heartbeat(true);
    outbox.push(update("chokes", 0));
    outbox.push(update("sound", 1));
    let (ticket, _) = sent(outbox.next(now));
    outbox.finish(ticket, Fate::Unwell, now);
    assert_eq!(take(&mut outbox, now), 1);
    // It does not take them any more: everything waits, until it does again.
    outbox.heartbeat(false);
    outbox.push(update("sound", 2));
    let (ticket, _) = sent(outbox.next(now));
    let until = now + pause(outbox.finish(ticket, Fate::Unwell, now));
    outbox.push(update("sound", 3));
    assert_eq!(outbox.next(now), Next::Wait(until));
    outbox.heartbeat(true);
    assert_eq!(take(&mut outbox, now), 2);
    assert_eq!(take(&mut outbox, now), 3);
}

#[test]
fn what_is_refused_for_an_hour_is_dropped_and_the_next_of_its_task_has_its_turn() {
    let mut now = Instant::now();
    let start = now;
    let mut outbox = Outbox::new(10, Pace::default(), 1);
    outbox.push(update("a", 0));
    outbox.push(update("a", 1));
    let dropped_at = loop {
        match outbox.next(now) {
            Next::Send(ticket, callback) => {
                assert_eq!(number(&callback), 0);
                match outbox.finish(ticket, Fate::NotTaken, now) {
                    Outcome::Expired => break now,
                    Outcome::Kept { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
            Next::Wait(until) => now = until,
            Next::Idle => panic!("idle"),
        }
    };
    let took = dropped_at - start;
    assert!(took >= MAX_REFUSED && took < MAX_REFUSED + SECOND * 80);
    assert_eq!(outbox.len(), 1);
    let Next::Wait(until) = outbox.next(now) else {
        panic!("its task still keeps its pace");
    };
    assert_eq!(take(&mut outbox, until), 1);
    assert!(outbox.lanes.is_empty());
    // An outage makes nothing old.
    outbox.push(update("b", 2));
    for _ in 0..100 {
        now += SECOND * 100;
        let (ticket, _) = sent(outbox.next(now));
        assert!(pause(outbox.finish(ticket, Fate::Unwell, now)) < SECOND * 73);
    }
    now += SECOND * 100;
    assert_eq!(take(&mut outbox, now), 2);
}

#[test]
fn with_no_room_what_rcs_refuses_goes_before_anything_of_a_live_task() {
    use TaskEventKind::{Started, StatusUpdate, Stopped};
    let now = Instant::now();
    let mut outbox = Outbox::new(5, Pace::default(), 1);
    let fill = [
        ("live", Started),
        ("dead", Started),
        ("dead", Stopped),
        ("dead", StatusUpdate),
        ("live", StatusUpdate),
    ];
    for (n, (task, kind)) in fill.iter().enumerate() {
        assert!(outbox.push(callback(task, *kind, n)).is_empty());
    }
    assert_eq!(take(&mut outbox, now), 0);
    let (ticket, dead) = sent(outbox.next(now));
    assert_eq!(dead.task, "dead");
    outbox.finish(ticket, Fate::NotTaken, now);
    let mut dropped = |task: &str, kind, n| {
        let gone = outbox.push(callback(task, kind, n));
        gone.iter().map(number).collect::<Vec<_>>()
    };
    assert!(dropped("live-2", Started, 10).is_empty());
    assert_eq!(dropped("live-3", Started, 11), [3], "its STATUS_UPDATE");
    assert_eq!(dropped("live-4", Started, 12), [4], "then any");
    assert_eq!(
        dropped("live-5", Started, 13),
        [1],
        "then all that is refused"
    );
    assert_eq!(dropped("live-6", Started, 14), [10], "what is left is live");
}

#[test]
fn a_refused_callback_is_gone_and_the_next_of_its_task_follows() {
    let now = Instant::now();
    let mut outbox = Outbox::new(10, Pace::default(), 1);
    outbox.push(update("a", 0));
    outbox.push(update("a", 1));
    let (ticket, _) = sent(outbox.next(now));
    assert_eq!(outbox.finish(ticket, Fate::Refused, now), Outcome::Refused);
    assert_eq!(take(&mut outbox, now), 1);
}

#[test]
fn what_goes_first_when_there_is_no_room() {
    use TaskEventKind::{Error, Started, StatusUpdate, Stopped};
    let mut outbox = Outbox::new(8, Pace::default(), 1);
    let fill = [
        ("a", Stopped),
        ("a", Started),
        ("a", Stopped),
        ("b", Started),
        ("c", Started),
        ("c", Error),
        ("b", StatusUpdate),
        ("d", StatusUpdate),
    ];
    for (n, (task, kind)) in fill.iter().enumerate() {
        assert!(outbox.push(callback(task, *kind, n)).is_empty());
    }
    let mut dropped = |kind, n| {
        let gone = outbox.push(callback("z", kind, n));
        assert_eq!(gone.len(), 1);
        number(&gone[0])
    };
    // Oldest STATUS_UPDATE, then the next.
    assert_eq!(dropped(Stopped, 100), 6);
    assert_eq!(dropped(Stopped, 101), 7);
    // A new STATUS_UPDATE is then itself the oldest.
    assert_eq!(dropped(StatusUpdate, 102), 102);
    // STARTED whose end waits, the oldest first; then the STARTED that still holds.
    assert_eq!(dropped(Stopped, 103), 1);
    assert_eq!(dropped(Stopped, 104), 4);
    assert_eq!(dropped(Stopped, 105), 3);
    // Ends that a later end of the same task stands behind; then the oldest.
    assert_eq!(dropped(Stopped, 106), 0);
    assert_eq!(dropped(Stopped, 107), 100);
    assert_eq!(outbox.len(), 8);
}

#[test]
fn what_is_on_its_way_is_not_dropped() {
    let now = Instant::now();
    let mut outbox = Outbox::new(1, Pace::default(), 1);
    outbox.push(update("a", 0));
    let (ticket, _) = sent(outbox.next(now));
    assert!(
        outbox
            .push(callback("a", TaskEventKind::Stopped, 1))
            .is_empty()
    );
    assert_eq!(number(&outbox.push(update("a", 2))[0]), 2);
    // It comes back into an outbox that is full: one more than the bound for as long as it takes.
    outbox.finish(ticket, Fate::Unwell, now);
    assert_eq!(outbox.len(), 2);
    let later = now + SECOND * 2;
    assert_eq!(take(&mut outbox, later), 0);
    assert_eq!(take(&mut outbox, later), 1);
}

#[test]
fn bytes_are_bounded_too() {
    let mut outbox = Outbox::new(1000, Pace::default(), 1);
    let big = |task: &str| Callback {
        task: task.to_owned(),
        kind: TaskEventKind::StatusUpdate,
        body: Arc::from(vec![b' '; MAX_BYTES / 4]),
    };
    for n in 0..20 {
        outbox.push(big(&n.to_string()));
        assert!(outbox.bytes <= MAX_BYTES);
    }
    assert_eq!(outbox.len(), 4);
}

#[test]
fn hurry_ends_every_pause() {
    let now = Instant::now();
    let mut outbox = Outbox::new(10, Pace::default(), 1);
    outbox.push(update("a", 0));
    outbox.push(update("b", 1));
    for _ in 0..9 {
        let at = now + SECOND * 1000;
        let (ticket, _) = sent(outbox.next(at));
        outbox.finish(ticket, Fate::Unwell, at);
        outbox.hurry();
    }
    outbox.hurried = false;
    let (ticket, _) = sent(outbox.next(now));
    outbox.finish(ticket, Fate::NotTaken, now);
    outbox.hurry();
    let (ticket, _) = sent(outbox.next(now));
    let pause = pause(outbox.finish(ticket, Fate::Unwell, now));
    assert!(pause <= HURRIED.mul_f64(1.2), "{pause:?}");
}

#[test]
fn a_stale_ticket_changes_nothing() {
    let now = Instant::now();
    let mut outbox = Outbox::new(10, Pace::default(), 1);
    outbox.push(update("a", 0));
    let (old, _) = sent(outbox.next(now));
    outbox.abandon();
    let (new, again) = sent(outbox.next(now));
    assert_eq!(number(&again), 0);
    assert_eq!(outbox.finish(old, Fate::Taken, now), Outcome::Stale);
    assert_eq!(outbox.len(), 1);
    outbox.finish(new, Fate::Taken, now);
    assert!(outbox.is_empty());
}

#[test]
fn debug_shows_no_body() {
    let callback = Callback {
        task: "a".to_owned(),
        kind: TaskEventKind::Started,
        body: Arc::from(&b"https://play.example/canary"[..]),
    };
    assert_eq!(format!("{callback:?}"), "a STARTED (27 B)");
}

const KINDS: [TaskEventKind; 4] = [
    TaskEventKind::Started,
    TaskEventKind::StatusUpdate,
    TaskEventKind::Stopped,
    TaskEventKind::Error,
];

#[derive(Debug, Clone)]
enum Step {
    Push(u8, u8),
    Try(u8),
    Elapse(u32),
    Abandon,
    Heartbeat(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0u8..5, 0u8..4).prop_map(|(task, kind)| Step::Push(task, kind)),
        4 => (0u8..8).prop_map(Step::Try),
        2 => (0u32..90_000).prop_map(Step::Elapse),
        1 => Just(Step::Abandon),
        1 => any::<bool>().prop_map(Step::Heartbeat),
    ];
    proptest::collection::vec(step, 0..200)
}

struct Run {
    pushed: Vec<Callback>,
    taken: Vec<Callback>,
    refused: Vec<usize>,
    dropped: Vec<Callback>,
}

/// Lives through `steps`, then lets RCS recover and take everything.
fn live(limit: usize, steps: &[Step]) -> Run {
    let mut now = Instant::now();
    let mut outbox = Outbox::new(limit, Pace::default(), 3);
    let mut run = Run {
        pushed: Vec::new(),
        taken: Vec::new(),
        refused: Vec::new(),
        dropped: Vec::new(),
    };
    for step in steps {
        match step {
            Step::Push(task, kind) => {
                let n = run.pushed.len();
                let new = callback(&format!("t{task}"), KINDS[usize::from(*kind)], n);
                run.pushed.push(new.clone());
                run.dropped.extend(outbox.push(new));
            }
            Step::Try(fate) => {
                if let Next::Send(ticket, callback) = outbox.next(now) {
                    let fate = match fate {
                        0..=2 => Fate::Taken,
                        3 => Fate::Refused,
                        4 | 5 => Fate::NotTaken,
                        _ => Fate::Unwell,
                    };
                    match outbox.finish(ticket, fate, now) {
                        Outcome::Taken { .. } => run.taken.push(callback),
                        Outcome::Refused | Outcome::Expired => run.refused.push(number(&callback)),
                        Outcome::Kept { .. } => {}
                        Outcome::Stale => panic!("the ticket is new"),
                    }
                }
            }
            Step::Elapse(ms) => now += Duration::from_millis(u64::from(*ms)),
            Step::Abandon => {
                let _ = outbox.next(now);
                outbox.abandon();
            }
            Step::Heartbeat(taken) => outbox.heartbeat(*taken),
        }
        assert!(outbox.len() <= limit + 1);
    }
    for _ in 0..10_000 {
        match outbox.next(now) {
            Next::Send(ticket, callback) => {
                run.taken.push(callback);
                outbox.finish(ticket, Fate::Taken, now);
            }
            Next::Wait(until) => {
                assert!(until > now && until <= now + Duration::from_secs(72));
                now = until;
            }
            Next::Idle => break,
        }
    }
    assert!(outbox.is_empty() && outbox.lanes.is_empty() && outbox.bytes == 0);
    run
}

proptest! {
    #[test]
    fn order_per_task_is_kept(steps in steps(), limit in 1usize..40) {
        let run = live(limit, &steps);
        for task in 0..5 {
            let task = format!("t{task}");
            let order: Vec<usize> =
                run.taken.iter().filter(|c| c.task == task).map(number).collect();
            prop_assert!(order.is_sorted(), "{task}: {order:?}");
        }
    }

    #[test]
    fn every_callback_has_exactly_one_fate_and_none_is_dropped_below_the_bound(steps in steps()) {
        let run = live(1_000, &steps);
        prop_assert!(run.dropped.is_empty());
        let mut seen: Vec<usize> =
            run.taken.iter().map(number).chain(run.refused.iter().copied()).collect();
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..run.pushed.len()).collect::<Vec<_>>());
    }

    #[test]
    fn nothing_but_updates_is_dropped_while_one_waits(steps in steps(), limit in 1usize..12) {
        // Replayed beside the outbox: what waits is what was pushed and has had no fate yet.
        let now = Instant::now();
        let mut outbox = Outbox::new(limit, Pace::default(), 3);
        let mut waiting: Vec<Callback> = Vec::new();
        for step in steps {
            match step {
                Step::Push(task, kind) => {
                    let new = callback(&format!("t{task}"), KINDS[usize::from(kind)], waiting.len());
                    waiting.push(new.clone());
                    for gone in outbox.push(new) {
                        let oldest_update = waiting
                            .iter()
                            .position(|c| c.kind == TaskEventKind::StatusUpdate);
                        let at = waiting.iter().position(|c| c.task == gone.task && c.kind == gone.kind);
                        if let Some(update) = oldest_update {
                            prop_assert_eq!(gone.kind, TaskEventKind::StatusUpdate);
                            prop_assert_eq!(Some(update), at);
                        }
                        waiting.remove(at.unwrap());
                    }
                }
                Step::Try(_) => {
                    if let Next::Send(ticket, sent) = outbox.next(now) {
                        outbox.finish(ticket, Fate::Taken, now);
                        let at = waiting
                            .iter()
                            .position(|c| c.task == sent.task && c.kind == sent.kind);
                        waiting.remove(at.unwrap());
                    }
                }
                Step::Elapse(_) | Step::Abandon | Step::Heartbeat(_) => {}
            }
            prop_assert_eq!(outbox.len(), waiting.len());
        }
    }
}
