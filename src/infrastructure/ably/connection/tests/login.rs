use super::super::types::{RequestId, Token, TokenFault};
use super::*;

fn tokens() -> Settings {
    Settings {
        credentials: Credentials::Tokens,
        ..settings()
    }
}

fn asked(out: &[Output]) -> Option<RequestId> {
    out.iter().find_map(|one| match one {
        Output::FetchToken(id, _) => Some(*id),
        _ => None,
    })
}

fn token(text: &str, lifetime: Option<u64>) -> Token {
    Token {
        value: Secret::new(text),
        lifetime: lifetime.map(Duration::from_secs),
    }
}

fn no_token(forbidden: bool) -> TokenFault {
    TokenFault {
        forbidden,
        text: "HTTP 500".to_owned(),
    }
}

fn up(lifetime: Option<u64>) -> Bench {
    let mut bench = Bench::new(tokens());
    let id = asked(&bench.feed(Input::Connect)).unwrap();
    bench.feed(Input::Token(id, Ok(token("t1", lifetime))));
    bench.connected("A", "k1");
    bench.attached(C, "c1", 0);
    bench.attached(R, "r1", 0);
    bench
}

#[test]
fn a_token_is_fetched_before_the_connect() {
    let bench = up(None);
    assert!(bench.path.contains("&accessToken=t1&"));
    assert!(!bench.path.contains("key="));
}

#[test]
fn a_key_that_meets_a_token_error_fails() {
    let mut bench = Bench::new(settings());
    bench.feed(Input::Connect);
    bench.error(None, 40142, 401);
    assert_eq!(bench.state(), ConnectionState::Failed);
    assert_eq!(
        bench.machine.status().connection.reason.unwrap().code,
        40171
    );
    let mut bench = Bench::up();
    bench.frame(&json!({"action": 6, "error": {"code": 40142, "statusCode": 401}}));
    assert_eq!(
        bench.machine.status().connection.reason.unwrap().code,
        40171
    );
}

#[test]
fn a_token_error_while_connecting_is_mended_once() {
    let mut bench = Bench::new(tokens());
    let id = asked(&bench.feed(Input::Connect)).unwrap();
    bench.feed(Input::Token(id, Ok(token("old", None))));
    let out = bench.error(None, 40142, 401);
    assert_eq!(asked(&out), None, "it was asked just now");
    let out = bench.wait(SEC * 10);
    let id = asked(&out).expect("renewed");
    bench.feed(Input::Token(id, Ok(token("new", None))));
    assert!(bench.path.contains("accessToken=new"));
    let out = bench.error(None, 40142, 401);
    assert_eq!(asked(&out), None);
    assert_eq!(states(&out), [ConnectionState::Disconnected], "RTN14b");
    let out = bench.wait(SEC * 15);
    assert!(asked(&out).is_some(), "and the next round asks again");
}

#[test]
fn a_token_error_on_resume_keeps_the_resume() {
    let mut bench = up(None);
    bench.wait(SEC * 10);
    bench.lose();
    let id = asked(&bench.error(None, 40142, 401)).unwrap();
    bench.feed(Input::Token(id, Ok(token("t2", None))));
    assert!(bench.path.contains("accessToken=t2"));
    assert!(bench.path.ends_with("&resume=k1"), "RTN15c5");
}

#[test]
fn disconnected_for_its_token_means_a_new_token_and_resume() {
    let mut bench = up(None);
    bench.wait(SEC * 10);
    let out = bench.frame(&json!({"action": 6, "error": {"code": 40142, "statusCode": 401}}));
    let id = asked(&out).expect("RTN15h2");
    assert_eq!(opens(&out), 0);
    bench.feed(Input::Token(id, Ok(token("t2", None))));
    assert!(bench.path.contains("accessToken=t2") && bench.path.ends_with("resume=k1"));
    // A second token error right away is not met with a third token.
    let out = bench.error(None, 40142, 401);
    assert_eq!(asked(&out), None);
    assert_eq!(bench.state(), ConnectionState::Disconnected);
}

#[test]
fn auth_from_the_server_is_answered_within_the_connection() {
    let mut bench = up(None);
    bench.wait(SEC * 10);
    let id = asked(&bench.frame(&json!({"action": 17}))).unwrap();
    assert_eq!(asked(&bench.frame(&json!({"action": 17}))), None, "once");
    // Messages keep flowing meanwhile.
    assert_eq!(ids(&bench.message("m1", "c2")), ["m1"]);
    let out = bench.feed(Input::Token(id, Ok(token("t2", None))));
    assert_eq!(
        sent(&out),
        [json!({"action": 17, "auth": {"accessToken": "t2"}})]
    );
    let out = bench.connected("A", "k2");
    assert!(states(&out).is_empty(), "RTN24");
    bench.lose();
    assert!(bench.path.contains("accessToken=t2"));
}

#[test]
fn a_token_that_says_when_it_ends_is_renewed_before() {
    let mut bench = up(Some(600));
    let out = bench.wait_alive(SEC * 530);
    assert_eq!(asked(&out), None);
    let out = bench.wait_alive(SEC * 10);
    let id = asked(&out).expect("a minute before its end");
    // The source fails: the connection stays, and it is asked again soon (RSA4c3).
    let out = bench.feed(Input::Token(id, Err(no_token(false))));
    assert!(states(&out).is_empty());
    let out = bench.wait(SEC * 10);
    assert!(asked(&out).is_some());
    // It does not answer: the same.
    let out = bench.wait_alive(SEC * 20);
    assert!(asked(&out).is_some());
    assert_eq!(bench.state(), ConnectionState::Connected);
}

#[test]
fn an_ended_token_is_not_even_tried() {
    let mut bench = up(Some(100));
    bench.lose();
    bench.fault(FaultKind::Connect);
    bench.machine.link.suspend_at = Some(bench.now.mono + SEC * 900);
    bench.machine.link.retry_at = Some(bench.now.mono + SEC * 200);
    let out = bench.wait(SEC * 200);
    assert!(asked(&out).is_some());
}

/// Lives with a service that refuses every token and a source that answers `lifetime`, for half an
/// hour. Returns when the source was asked.
fn asked_when(lifetime: Option<u64>) -> Vec<Instant> {
    let mut bench = Bench::new(tokens());
    let end = bench.now.mono + SEC * 1_800;
    let mut times = Vec::new();
    let mut notes = 0;
    let mut out = bench.feed(Input::Connect);
    while bench.now.mono < end {
        notes += out.iter().filter(|o| matches!(o, Output::Note(_))).count();
        out = if let Some(id) = asked(&out) {
            times.push(bench.now.mono);
            bench.feed(Input::Token(id, Ok(token("old", lifetime))))
        } else if opens(&out) > 0 {
            bench.error(None, 40142, 401)
        } else {
            let at = bench.machine.next_deadline().unwrap();
            bench.wait(at.saturating_duration_since(bench.now.mono))
        };
    }
    assert!(notes <= 1, "said once, not {notes} times");
    times
}

#[test]
fn a_source_whose_tokens_have_ended_is_not_hammered() {
    // Says so itself; has a lifetime of nothing, of a blink, of ages; says nothing.
    for lifetime in [Some(0), Some(1), Some(3_600), Some(u64::MAX / 2), None] {
        let times = asked_when(lifetime);
        assert!(times.len() > 40, "it is asked again: {}", times.len());
        for pair in times.windows(2) {
            assert!(pair[1] - pair[0] >= SEC * 10, "{lifetime:?}");
        }
    }
}

#[test]
fn the_service_can_t_make_us_hammer_the_source_either() {
    let mut bench = up(None);
    let mut times = vec![bench.now.mono];
    for _ in 0..600 {
        let mut out = bench.frame(&json!({"action": 17}));
        out.extend(bench.wait(SEC));
        if let Some(id) = asked(&out) {
            times.push(bench.now.mono);
            bench.feed(Input::Token(id, Ok(token("t", None))));
        }
        if times.len() % 7 == 0 {
            bench.frame(&json!({"action": 0}));
        }
    }
    assert!(times.len() > 40);
    for pair in times.windows(2) {
        assert!(
            pair[1] - pair[0] >= SEC * 9,
            "within the second that was waited"
        );
    }
}

#[test]
fn a_lifetime_that_can_t_be_meant_is_said_and_ignored() {
    for seconds in [0, 19, 401 * 24 * 3_600] {
        let mut bench = Bench::new(tokens());
        let id = asked(&bench.feed(Input::Connect)).unwrap();
        let out = bench.feed(Input::Token(id, Ok(token("t1", Some(seconds)))));
        let said = |o: &Output| matches!(o, Output::Note(text) if text.contains("can't be meant"));
        assert!(out.iter().any(said), "{seconds}");
        assert_eq!(opens(&out), 1, "it is used all the same");
        bench.connected("A", "k1");
        bench.attached(C, "c1", 0);
        bench.attached(R, "r1", 0);
        assert_eq!(asked(&bench.wait_alive(SEC * 1_000)), None);
    }
    let mut bench = Bench::new(tokens());
    let id = asked(&bench.feed(Input::Connect)).unwrap();
    let out = bench.feed(Input::Token(id, Ok(token("t1", Some(20)))));
    assert!(!out.iter().any(|o| matches!(o, Output::Note(_))));
}

#[test]
fn no_token_no_connection_but_another_try() {
    let mut bench = Bench::new(tokens());
    let id = asked(&bench.feed(Input::Connect)).unwrap();
    bench.feed(Input::Token(id, Err(no_token(false))));
    assert_eq!(bench.state(), ConnectionState::Disconnected);
    assert_eq!(
        bench.machine.status().connection.reason.unwrap().code,
        80019
    );
    // A source that hangs is given ten seconds.
    let out = bench.wait(SEC * 15);
    let id = asked(&out).unwrap();
    let out = bench.wait(SEC * 11);
    assert_eq!(states(&out), [ConnectionState::Disconnected]);
    assert!(
        bench
            .feed(Input::Token(id, Ok(token("late", None))))
            .is_empty()
    );
}

#[test]
fn a_source_that_forbids_is_fatal() {
    let mut bench = Bench::new(tokens());
    let id = asked(&bench.feed(Input::Connect)).unwrap();
    bench.feed(Input::Token(id, Err(no_token(true))));
    assert_eq!(bench.state(), ConnectionState::Failed, "RSA4d");
    let mut bench = up(None);
    bench.wait(SEC * 10);
    let id = asked(&bench.frame(&json!({"action": 17}))).unwrap();
    bench.feed(Input::Token(id, Err(no_token(true))));
    assert_eq!(bench.state(), ConnectionState::Failed);
}

#[test]
fn an_error_after_auth_is_fatal() {
    let mut bench = up(None);
    bench.error(None, 40142, 401);
    assert_eq!(bench.state(), ConnectionState::Failed, "RTN15j");
    let out = bench.wait(SEC * 60);
    assert!(asked(&out).is_some(), "with a fresh token");
}

#[test]
fn nothing_of_keys_and_tokens_shows() {
    let mut bench = up(None);
    let out = bench.lose();
    assert!(!format!("{out:?}").contains("t1"), "{out:?}");
    let settings = format!("{:?}", settings().credentials);
    assert!(!settings.contains("secret"));
}
