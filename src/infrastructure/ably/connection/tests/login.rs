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
    let id = asked(&out).expect("renewed at once");
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
    bench.lose();
    let id = asked(&bench.error(None, 40142, 401)).unwrap();
    bench.feed(Input::Token(id, Ok(token("t2", None))));
    assert!(bench.path.contains("accessToken=t2"));
    assert!(bench.path.ends_with("&resume=k1"), "RTN15c5");
}

#[test]
fn disconnected_for_its_token_means_a_new_token_and_resume() {
    let mut bench = up(None);
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
