use super::*;

fn pings(out: &[Output]) -> Vec<String> {
    sent_of(out, 0)
        .iter()
        .map(|frame| frame["id"].as_str().unwrap().to_owned())
        .collect()
}

fn lost(out: &[Output]) -> usize {
    out.iter()
        .filter(|one| matches!(one, Output::LinkLost))
        .count()
}

fn answer(bench: &mut Bench, id: &str) -> Vec<Output> {
    bench.frame(&json!({"action": 0, "id": id}))
}

#[test]
fn a_watched_link_is_pinged_every_two_seconds() {
    let mut bench = Bench::up();
    assert!(pings(&bench.wait_alive(SEC * 60)).is_empty(), "not before");
    let mut out = bench.feed(Input::WatchLink(true));
    for _ in 0..5 {
        let ping = pings(&out);
        assert_eq!(ping.len(), 1);
        assert_eq!(lost(&answer(&mut bench, &ping[0])), 0);
        out = bench.wait(SEC * 2);
        assert_eq!(lost(&out), 0);
    }
    bench.feed(Input::WatchLink(false));
    assert!(pings(&bench.wait_alive(SEC * 20)).is_empty());
}

#[test]
fn no_answer_in_three_seconds_is_a_lost_link_but_not_a_lost_connection() {
    let mut bench = Bench::up();
    let ping = pings(&bench.feed(Input::WatchLink(true)));
    // Only the reply with the same id counts (RTN13e).
    answer(&mut bench, "another");
    bench.frame(&json!({"action": 0}));
    assert_eq!(lost(&bench.wait(Duration::from_millis(2_900))), 0);
    let out = bench.wait(Duration::from_millis(100));
    assert_eq!(lost(&out), 1);
    assert_eq!(bench.state(), ConnectionState::Connected);
    // Told again with every ping that is lost: a move may have begun in between.
    let next = pings(&out);
    assert_eq!(next.len(), 1);
    assert_ne!(ping, next);
    let out = bench.wait(SEC * 3);
    assert_eq!(lost(&out), 1);
    // So is a cut, whatever was told before.
    assert_eq!(lost(&bench.lose()), 1);
}

#[test]
fn an_answer_ends_the_losses() {
    let mut bench = Bench::up();
    bench.feed(Input::WatchLink(true));
    let out = bench.wait(SEC * 3);
    assert_eq!(lost(&out), 1);
    answer(&mut bench, &pings(&out)[0]);
    assert_eq!(lost(&bench.wait(SEC * 2)), 0);
}

#[test]
fn leaving_connected_is_a_lost_link_at_once() {
    let mut bench = Bench::up();
    bench.feed(Input::WatchLink(true));
    assert_eq!(lost(&bench.lose()), 1);
    assert_eq!(lost(&bench.fault(FaultKind::Connect)), 0, "once");
    bench.wait(SEC * 15);
    let out = bench.connected("A", "k2");
    assert_eq!(pings(&out).len(), 1, "watched again");
    assert_eq!(lost(&bench.error(None, 40000, 400)), 1);
}

#[test]
fn watching_a_link_that_is_down_says_so() {
    let mut bench = Bench::new(settings());
    assert_eq!(lost(&bench.feed(Input::WatchLink(true))), 1);
    assert_eq!(lost(&bench.feed(Input::WatchLink(true))), 0);
    bench.feed(Input::WatchLink(false));
    assert_eq!(lost(&bench.feed(Input::WatchLink(true))), 1);
}

#[test]
fn an_unwatched_link_tells_nothing() {
    let mut bench = Bench::up();
    assert_eq!(lost(&bench.lose()), 0);
}

#[test]
fn a_ping_is_answered_or_lost() {
    let mut bench = Bench::up();
    let ping = pings(&bench.feed(Input::Ping));
    bench.wait(SEC / 4);
    let out = answer(&mut bench, &ping[0]);
    assert!(matches!(out[..], [Output::PingAnswered(took)] if took == SEC / 4));
    bench.feed(Input::Ping);
    let is_lost = |out: &[Output]| out.iter().any(|o| matches!(o, Output::PingLost));
    assert!(is_lost(&bench.wait(SEC * 10)), "RTN13c");
    bench.feed(Input::Ping);
    assert!(is_lost(&bench.lose()));
    assert!(is_lost(&bench.feed(Input::Ping)), "RTN13b");
}
