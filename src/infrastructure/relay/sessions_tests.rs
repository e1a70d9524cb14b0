use std::sync::Arc;

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);
const MS: Duration = Duration::from_millis(1);

/// A peer that does as the test says.
#[derive(Debug, Default)]
struct Fake {
    events: VecDeque<Event>,
    bad_answer: bool,
    accepted: Option<String>,
    woken: u32,
    received: Vec<Vec<u8>>,
    datagrams: VecDeque<Vec<u8>>,
    closed: bool,
}

fn address() -> SocketAddr {
    "127.0.0.1:9".parse().unwrap()
}

impl Peer for Fake {
    fn accept(&mut self, answer: &str, _: Instant) -> Result<(), String> {
        self.accepted = Some(answer.to_owned());
        if self.bad_answer {
            Err("no fingerprint".to_owned())
        } else {
            Ok(())
        }
    }
    fn receive(&mut self, _: SocketAddr, _: SocketAddr, bytes: &[u8], _: Instant) {
        self.received.push(bytes.to_vec());
    }
    fn timeout(&mut self, _: Instant) {
        self.woken += 1;
    }
    fn poll(&mut self, now: Instant) -> Output {
        if let Some(event) = self.events.pop_front() {
            return Output::Event(event);
        }
        match self.datagrams.pop_front() {
            Some(bytes) => Output::Transmit {
                from: address(),
                to: address(),
                bytes,
            },
            None => Output::Wait(now + 100 * MS),
        }
    }
    fn video(&mut self, _: &[Arc<[u8]>], _: u64, _: Instant) {}
    fn close(&mut self) {
        self.closed = true;
        self.datagrams.push_back(b"bye".to_vec());
    }
    fn uplink(&self) -> UplinkStats {
        UplinkStats::default()
    }
}

fn session(number: u32) -> Session {
    Session {
        url: Some(Secret::url(format!("https://whip.example/s/{number}"))),
        elsewhere: None,
        answer: "v=0 answer".to_owned(),
    }
}

fn refusal(cause: Cause) -> Refusal {
    Refusal {
        why: Diagnosis {
            cause,
            detail: "as it says".to_owned(),
        },
        retry_after: None,
    }
}

struct Test {
    sessions: Sessions<Fake>,
    now: Instant,
}

impl Test {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            sessions: Sessions::new(PATIENCE, 7, now),
            now,
        }
    }

    /// One that was up is lost; what is left to do until the fresh one's POST.
    fn anew(&mut self, number: u32) {
        self.now += STEADY;
        self.happens(Event::Lost("no consent".to_owned())).unwrap();
        let lost = Told::Lost("no consent".to_owned());
        assert_eq!(self.sessions.told(), Some(lost));
        assert_eq!(self.sessions.order(), delete(number));
        self.pauses(Duration::ZERO, FIRST_WITHIN);
        self.posts(Fake::default());
    }

    /// Nothing is asked for a while.
    fn pauses(&mut self, least: Duration, most: Duration) {
        assert_eq!(self.sessions.order(), None);
        let at = self.sessions.next_tick().unwrap();
        assert!((self.now + least..=self.now + most).contains(&at));
        self.now = at;
        self.sessions.tick(at).unwrap();
    }

    /// Up to the POST.
    fn posts(&mut self, peer: Fake) {
        assert_eq!(self.sessions.order(), Some(Order::Prepare));
        let made = Ok((peer, "offer".to_owned()));
        self.sessions.prepared(made, self.now).unwrap();
        assert_eq!(self.sessions.order(), Some(Order::Post("offer".to_owned())));
        assert!(self.sessions.is_posting());
    }

    fn up(number: u32) -> Self {
        let mut test = Self::new();
        test.sessions.begin(test.now);
        test.posts(Fake::default());
        test.connects(number);
        test
    }

    fn connects(&mut self, number: u32) {
        self.sessions.opened(Ok(session(number)), self.now).unwrap();
        let url = session(number).url.unwrap();
        assert_eq!(self.sessions.told(), Some(Told::Made(url)));
        assert!(self.sessions.up().is_none());
        self.now += 150 * MS;
        self.happens(Event::Connected).unwrap();
        assert!(matches!(self.sessions.told(), Some(Told::Up(_))));
        assert!(self.sessions.up().is_some());
    }

    fn happens(&mut self, event: Event) -> Result<(), End> {
        self.sessions.peer().unwrap().events.push_back(event);
        self.sessions.transmit(self.now).map(|_| ())
    }
}

fn delete(number: u32) -> Option<Order> {
    session(number).url.map(Order::Delete)
}

#[test]
fn a_session_is_prepared_asked_for_and_connected() {
    let mut test = Test::new();
    assert_eq!(test.sessions.next_tick(), None);
    test.sessions.begin(test.now);
    test.sessions.begin(test.now);
    test.posts(Fake {
        datagrams: [b"one".to_vec(), b"two".to_vec()].into(),
        ..Fake::default()
    });
    assert_eq!(test.sessions.order(), None, "begun once");
    let until = test.now + PATH;
    test.sessions.opened(Ok(session(1)), test.now).unwrap();
    assert_eq!(test.sessions.next_tick(), Some(until));
    for bytes in [b"one", b"two"] {
        let sent = test.sessions.transmit(test.now).unwrap();
        assert_eq!(sent.unwrap().2, bytes);
    }
    assert_eq!(test.sessions.transmit(test.now).unwrap(), None);
    assert_eq!(test.sessions.next_tick(), Some(test.now + 100 * MS));
    test.now += 100 * MS;
    test.sessions.tick(test.now).unwrap();
    test.sessions.receive(address(), address(), b"in", test.now);
    let peer = test.sessions.peer().unwrap();
    assert_eq!(peer.accepted.as_deref(), Some("v=0 answer"));
    assert_eq!((peer.woken, peer.received.len()), (1, 1));
    test.happens(Event::Connected).unwrap();
    test.sessions.told();
    assert_eq!(test.sessions.told(), Some(Told::Up(100 * MS)));
}

#[test]
fn a_lost_session_is_ended_and_a_fresh_one_is_made() {
    let mut test = Test::up(1);
    test.anew(1);
    // The endpoint still thinks that the first is there.
    let taken = Err(refusal(Cause::WhipUnreachable));
    test.sessions.opened(taken, test.now).unwrap();
    test.pauses(PAUSE, 2 * PAUSE);
    test.posts(Fake::default());
    test.connects(2);
    // And that is that: the ten seconds count no more.
    test.now += ANEW_WITHIN;
    test.sessions.tick(test.now).unwrap();
    assert!(test.sessions.up().is_some());
}

#[test]
fn those_that_are_lost_together_do_not_come_back_together() {
    let mut first = std::collections::BTreeSet::new();
    let mut second = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let mut test = Test::up(1);
        test.sessions.random = fastrand::Rng::with_seed(seed);
        let lost = test.now + STEADY;
        test.anew(1);
        first.insert((test.now - lost).as_millis() / 250);
        let asked = test.now;
        let taken = Err(refusal(Cause::WhipUnreachable));
        test.sessions.opened(taken, test.now).unwrap();
        test.pauses(PAUSE, 2 * PAUSE);
        second.insert((test.now - asked).as_millis() / 250);
    }
    assert_eq!((first.len(), second.len()), (4, 4));
}

#[test]
fn one_that_is_lost_as_soon_as_it_is_up_is_the_end() {
    for number in [1, 2] {
        let mut test = Test::up(1);
        if number == 2 {
            test.anew(1);
            test.connects(2);
        }
        test.now += STEADY.saturating_sub(MS);
        let end = test.happens(Event::Lost("thrown out".to_owned()));
        let end = end.unwrap_err();
        assert_eq!((end.why.cause, end.own), (Cause::WhipStream, false));
        assert!(end.why.detail.contains("thrown out"), "{end:?}");
        assert_eq!(test.sessions.order(), delete(number));
        assert_eq!(test.sessions.order(), None, "and none is tried");
        assert_eq!(test.sessions.told(), None);
    }
}

#[test]
fn without_a_fresh_one_in_time_it_ends_and_says_why() {
    let mut test = Test::up(1);
    test.anew(1);
    let end = test.sessions.tick(test.now + ANEW_WITHIN).unwrap_err();
    assert_eq!((end.why.cause, end.own), (Cause::WhipStream, false));
    assert!(end.why.detail.contains("no consent"), "{end:?}");
    // An answer that is under way is waited for: it names a session that is to be ended.
    assert!(test.sessions.is_posting());

    // The last reason is why, and what it is counted as.
    for cause in [Cause::WhipUplink, Cause::WhipUnreachable] {
        let mut test = Test::up(1);
        test.anew(1);
        test.sessions.opened(Err(refusal(cause)), test.now).unwrap();
        test.now += ANEW_WITHIN;
        let end = test.sessions.tick(test.now).unwrap_err();
        assert_eq!((end.why.cause, end.own), (cause, false));
        assert!(end.why.detail.contains("as it says"), "{end:?}");
    }

    // One that is made, and has no path yet, is ended.
    let mut test = Test::up(1);
    test.anew(1);
    let lost = test.now;
    test.sessions.opened(Ok(session(2)), test.now).unwrap();
    test.now = lost + ANEW_WITHIN;
    test.sessions.tick(test.now).unwrap_err();
    test.sessions.leave();
    assert_eq!(test.sessions.order(), delete(2));
}

#[test]
fn an_endpoint_that_is_gone_or_wants_to_be_left_alone_is_not_asked_again() {
    let gone = refusal(Cause::WhipGone);
    let busy = Refusal {
        retry_after: Some(Duration::from_secs(60)),
        ..refusal(Cause::WhipUnreachable)
    };
    for refusal in [gone, busy] {
        let mut test = Test::up(1);
        test.anew(1);
        let (cause, wait) = (refusal.why.cause, refusal.retry_after);
        let end = test.sessions.opened(Err(refusal), test.now).unwrap_err();
        assert_eq!((end.why.cause, end.retry_after), (cause, wait));
        assert_eq!(test.sessions.order(), None);
    }
}

#[test]
fn a_path_that_does_not_come_up_is_the_relays_own_failure() {
    for says_so in [true, false] {
        let mut test = Test::new();
        test.sessions.begin(test.now);
        test.posts(Fake::default());
        test.sessions.opened(Ok(session(1)), test.now).unwrap();
        let end = if says_so {
            test.happens(Event::Lost("nobody answers".to_owned()))
        } else {
            test.now += PATH;
            test.sessions.tick(test.now)
        };
        let end = end.unwrap_err();
        assert!(end.own);
        assert_eq!(end.why.cause, Cause::WhipUnreachable);
        assert!(end.why.detail.contains("UDP"), "{end:?}");
        assert_eq!(test.sessions.order(), delete(1));
    }
}

#[test]
fn where_an_answer_may_not_take_long_a_path_may_not() {
    let mut test = Test::new();
    test.sessions.patience = Duration::from_secs(2);
    test.sessions.begin(test.now);
    test.posts(Fake::default());
    test.sessions.opened(Ok(session(1)), test.now).unwrap();
    let until = test.now + Duration::from_secs(2);
    assert_eq!(test.sessions.next_tick(), Some(until));
    assert!(test.sessions.tick(until).unwrap_err().own);
}

#[test]
fn refusals_are_the_endpoints_and_bad_answers_the_relays() {
    let mut test = Test::new();
    test.sessions.begin(test.now);
    test.posts(Fake::default());
    let refused = Refusal {
        retry_after: Some(Duration::from_secs(37)),
        ..refusal(Cause::WhipUnreachable)
    };
    let end = test.sessions.opened(Err(refused), test.now).unwrap_err();
    assert_eq!(
        (end.own, end.retry_after),
        (false, Some(Duration::from_secs(37)))
    );
    assert_eq!(test.sessions.order(), None);

    let mut test = Test::new();
    test.sessions.begin(test.now);
    test.posts(Fake {
        bad_answer: true,
        ..Fake::default()
    });
    let end = test.sessions.opened(Ok(session(1)), test.now).unwrap_err();
    assert!(
        end.own && end.why.detail.contains("no fingerprint"),
        "{end:?}"
    );
    assert_eq!(test.sessions.order(), delete(1));

    let mut test = Test::new();
    test.sessions.begin(test.now);
    test.sessions.order();
    let none = Err("no address".to_owned());
    assert!(test.sessions.prepared(none, test.now).unwrap_err().own);
}

#[test]
fn somebody_in_between_is_the_end_and_no_other_way_is_tried() {
    let mut test = Test::up(1);
    let end = test.happens(Event::FingerprintWrong).unwrap_err();
    assert_eq!((end.why.cause, end.own), (Cause::WhipAuth, false));
    assert_eq!(end.why.cause.code() as u32, 40202);
    assert_eq!(test.sessions.order(), delete(1));
}

#[test]
fn key_pictures_are_asked_for_now_and_then() {
    let mut test = Test::up(1);
    let mut asked = 0;
    for _ in 0..50 {
        test.happens(Event::KeyframeWanted).unwrap();
        asked += usize::from(test.sessions.told().is_some());
        test.now += 100 * MS;
    }
    assert_eq!(asked, 3, "in five seconds");
}

#[test]
fn leaving_tells_the_peer_and_ends_the_session() {
    let mut test = Test::up(1);
    assert!(test.sessions.uplink().is_some());
    test.sessions.leave();
    assert_eq!(test.sessions.order(), delete(1));
    assert!(test.sessions.uplink().is_none());
    assert_eq!(
        test.sessions.last_words(test.now),
        [(address(), address(), b"bye".to_vec())]
    );
    // One that is elsewhere is not ended, and said.
    let mut test = Test::new();
    test.sessions.begin(test.now);
    test.posts(Fake::default());
    let elsewhere = Session {
        url: None,
        elsewhere: Some("sfu.example".to_owned()),
        answer: String::new(),
    };
    test.sessions.opened(Ok(elsewhere), test.now).unwrap();
    assert_eq!(
        test.sessions.told(),
        Some(Told::Elsewhere("sfu.example".to_owned()))
    );
    test.sessions.leave();
    assert_eq!(test.sessions.order(), None);
}
