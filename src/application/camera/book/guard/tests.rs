//! The guard in simulated time.

use super::*;
use proptest::prelude::*;

pub(super) const MINUTES: fn(u64) -> Duration = |m| Duration::from_secs(m * 60);

pub(super) fn ip(n: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, n])
}

pub(super) fn login(user: &str, password: &str) -> Credentials {
    Credentials::new(user, Secret::new(password)).unwrap()
}

/// A guard, the time, and one camera at 10.0.0.1.
pub(super) struct Sim {
    pub(super) guard: Guard,
    pub(super) now: Now,
}

impl Sim {
    pub(super) fn new() -> Self {
        Self {
            guard: Guard::new(),
            now: Now::read(),
        }
    }

    pub(super) fn pass(&mut self, by: Duration) {
        self.now = self.now.after(by);
    }

    pub(super) fn may(&mut self, password: &str) -> Result<(), Fault> {
        let login = login("admin", password);
        self.guard.may_try(ip(1), &login, Purpose::Other, self.now)
    }

    pub(super) fn may_stop(&mut self, password: &str) -> bool {
        let login = login("admin", password);
        self.guard
            .may_try(ip(1), &login, Purpose::Stop, self.now)
            .is_ok()
    }

    pub(super) fn accepted(&mut self, password: &str) {
        self.guard
            .accepted(ip(1), &login("admin", password), self.now);
    }

    pub(super) fn refused(&mut self, password: &str, unlock: Option<Duration>) {
        self.guard
            .refused(ip(1), &login("admin", password), unlock, self.now);
    }

    /// Tries and is refused; false when guarded.
    pub(super) fn wrong(&mut self, password: &str) -> bool {
        let goes = self.may(password).is_ok();
        if goes {
            self.refused(password, None);
        }
        goes
    }
}

#[test]
fn a_refused_login_is_not_tried_for_half_an_hour() {
    let mut sim = Sim::new();
    assert!(sim.wrong("wrong-1"));
    let fault = sim.may("wrong-1").unwrap_err();
    assert_eq!(fault.code, ErrorCode::Unauthorized);
    let until = rfc3339(sim.now.wall + MINUTES(30));
    assert!(
        fault.message.starts_with(&format!("guarded until {until}")),
        "{fault}"
    );
    assert!(!fault.message.contains("wrong-1"));
    sim.pass(MINUTES(30).saturating_sub(Duration::from_millis(1)));
    assert!(sim.may("wrong-1").is_err());
    sim.pass(Duration::from_millis(1));
    assert!(sim.wrong("wrong-1"));
    assert!(sim.may("wrong-1").is_err());
}

#[test]
fn new_ones_pass_at_once_three_times() {
    let mut sim = Sim::new();
    assert!(sim.wrong("wrong-1") && sim.wrong("wrong-2") && sim.wrong("wrong-3"));
    assert!(!sim.wrong("wrong-4"));
    // Another user or camera is another account.
    let other = login("operator", "wrong-4");
    assert!(
        sim.guard
            .may_try(ip(1), &other, Purpose::Other, sim.now)
            .is_ok()
    );
    let there = login("admin", "wrong-4");
    assert!(
        sim.guard
            .may_try(ip(2), &there, Purpose::Other, sim.now)
            .is_ok()
    );
    sim.pass(MINUTES(30));
    assert!(sim.wrong("wrong-4"));
}

#[test]
fn one_that_has_worked_gets_one_more_try_after_ten_seconds() {
    let mut sim = Sim::new();
    sim.may("good").unwrap();
    sim.accepted("good");
    assert!(sim.wrong("good"));
    sim.pass(Duration::from_millis(9_999));
    assert!(sim.may("good").is_err());
    sim.pass(Duration::from_millis(1));
    sim.may("good").unwrap();
    assert!(sim.may("good").is_err(), "one more, not two at once");
    sim.refused("good", None);
    sim.pass(MINUTES(30).saturating_sub(Duration::from_millis(1)));
    assert!(sim.may("good").is_err());
    sim.pass(Duration::from_millis(1));
    sim.may("good").unwrap();
    sim.accepted("good");
    sim.may("good").unwrap();
    sim.may("good").unwrap();
}

#[test]
fn stragglers_of_the_first_refusal_do_not_cost_the_second_try() {
    let mut sim = Sim::new();
    sim.accepted("good");
    for _ in 0..2 {
        sim.may("good").unwrap();
    }
    sim.refused("good", None);
    sim.pass(Duration::from_secs(1));
    sim.refused("good", None);
    sim.pass(Duration::from_secs(9));
    assert!(sim.may("good").is_ok());
}

#[test]
fn a_second_try_without_a_verdict_may_be_made_again() {
    let mut sim = Sim::new();
    sim.accepted("good");
    assert!(sim.wrong("good"));
    sim.pass(SECOND_TRY);
    sim.may("good").unwrap();
    sim.guard.unknown(ip(1), &login("admin", "good"), sim.now);
    assert!(sim.may("good").is_ok());
    // Its sender has died: it counts no longer than a try can last.
    assert!(sim.may("good").is_err());
    sim.pass(TRY_LASTS);
    assert!(sim.may("good").is_ok());
}

#[test]
fn stops_with_a_login_that_has_worked_always_go_out() {
    let mut sim = Sim::new();
    assert!(sim.may_stop("wrong-1"));
    sim.refused("wrong-1", None);
    assert!(!sim.may_stop("wrong-1"));
    sim.accepted("good");
    for _ in 0..20 {
        assert!(sim.may_stop("good"));
        sim.refused("good", Some(MINUTES(30)));
    }
    assert!(sim.may("good").is_err());
}

#[test]
fn a_lock_that_the_camera_tells_of_holds_for_every_password_until_it_ends() {
    let mut sim = Sim::new();
    sim.may("wrong-1").unwrap();
    sim.refused("wrong-1", Some(MINUTES(10)));
    assert!(sim.may("right").is_err());
    sim.pass((MINUTES(10) + UNLOCK_MARGIN).saturating_sub(Duration::from_millis(1)));
    assert!(sim.may("right").is_err() && sim.may("wrong-1").is_err());
    sim.pass(Duration::from_millis(1));
    assert!(sim.may("right").is_ok());
    // Nonsense is not believed for longer than a day.
    sim.refused("right", Some(Duration::MAX));
    sim.pass(MAX_LOCK + UNLOCK_MARGIN);
    assert!(sim.may("other").is_ok());
}

#[test]
fn parallel_tries_of_new_ones_count_before_they_end() {
    let mut sim = Sim::new();
    for _ in 0..3 {
        sim.may("new").unwrap();
    }
    assert!(sim.may("new").is_err() && sim.may("newer").is_err());
    sim.accepted("new");
    assert!(sim.may("new").is_ok());
}

#[test]
fn an_address_in_two_spellings_is_one() {
    let mut sim = Sim::new();
    assert!(sim.wrong("wrong-1"));
    let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
    let login = login("admin", "wrong-1");
    assert!(
        sim.guard
            .may_try(mapped, &login, Purpose::Other, sim.now)
            .is_err()
    );
}

#[test]
fn memory_is_bounded_and_guards_go_last() {
    let mut sim = Sim::new();
    assert!(sim.wrong("wrong-1"));
    for n in 0..5000_u32 {
        let address = IpAddr::from(n.to_be_bytes());
        let login = login("admin", "x");
        let _ = sim.guard.may_try(address, &login, Purpose::Other, sim.now);
        sim.guard.accepted(address, &login, sim.now);
        sim.pass(Duration::from_millis(10));
    }
    assert!(sim.guard.accounts.len() <= MAX_ACCOUNTS);
    assert!(sim.may("wrong-1").is_err());
    for n in 0..100 {
        sim.accepted(&format!("password-{n}"));
    }
    let account = sim.guard.accounts.values().map(|a| a.passwords.len()).max();
    assert!(account <= Some(MAX_PASSWORDS));
    assert!(sim.may("wrong-1").is_err());
}

#[test]
fn crowded_is_what_passes_when_a_try_has_ended() {
    let mut sim = Sim::new();
    let new = login("admin", "new");
    let crowded = |sim: &mut Sim| sim.guard.is_crowded(ip(1), &new, sim.now);
    for _ in 0..MAX_REFUSALS {
        assert!(!crowded(&mut sim));
        assert!(sim.may("new").is_ok());
    }
    assert!(crowded(&mut sim));
    let fault = sim.may("new").unwrap_err();
    assert!(fault.message.contains("under way"), "{}", fault.message);
    // Taken: all that wait may go.
    sim.guard.accepted(ip(1), &new, sim.now);
    for _ in 0..20 {
        assert!(!crowded(&mut sim) && sim.may("new").is_ok());
    }
    // Refused: none may, and there is nothing to wait for.
    let mut sim = Sim::new();
    for _ in 0..MAX_REFUSALS {
        assert!(sim.may("new").is_ok());
    }
    sim.guard.refused(ip(1), &new, None, sim.now);
    assert!(!crowded(&mut sim) && sim.may("new").is_err());
    // Nobody tells how they ended: they count for a while.
    let mut sim = Sim::new();
    for _ in 0..MAX_REFUSALS {
        assert!(sim.may("new").is_ok());
    }
    sim.pass(TRY_LASTS);
    assert!(!crowded(&mut sim) && sim.may("new").is_ok());
}

#[test]
fn crowded_too_is_who_waits_for_the_one_more_try() {
    let mut sim = Sim::new();
    sim.accepted("good");
    assert!(sim.wrong("good"));
    let good = login("admin", "good");
    assert!(!sim.guard.is_crowded(ip(1), &good, sim.now), "guarded");
    sim.pass(SECOND_TRY);
    sim.may("good").unwrap();
    assert!(sim.guard.is_crowded(ip(1), &good, sim.now));
    assert!(sim.may("good").is_err());
    sim.refused("good", None);
    assert!(!sim.guard.is_crowded(ip(1), &good, sim.now), "guarded");
}

#[test]
fn what_http_takes_does_not_let_refusals_of_the_stream_pass() {
    let mut sim = Sim::new();
    let login = login("admin", "good");
    let mut refused = 0;
    // Half an hour of snapshots, one in five seconds: HTTP takes the login, RTSP never does.
    for _ in 0..360 {
        assert!(sim.may("good").is_ok(), "HTTP goes on");
        sim.accepted("good");
        if sim.guard.may_stream(ip(1), &login, sim.now).is_ok() {
            sim.guard.stream_refused(ip(1), &login, sim.now);
            refused += 1;
        }
        sim.pass(Duration::from_secs(5));
    }
    assert_eq!(refused, 2, "the one, and one more try");
    // Taken by RTSP, it is as before.
    sim.pass(MINUTES(30));
    assert!(sim.guard.may_stream(ip(1), &login, sim.now).is_ok());
    sim.guard.stream_accepted(ip(1), &login, sim.now);
    for _ in 0..10 {
        assert!(sim.guard.may_stream(ip(1), &login, sim.now).is_ok());
        sim.guard.stream_accepted(ip(1), &login, sim.now);
    }
}

#[test]
fn a_changed_password_is_refused_three_times_at_most_by_all_protocols() {
    let login = login("admin", "good");
    for first_by_stream in [true, false] {
        let mut sim = Sim::new();
        sim.accepted("good");
        sim.guard.stream_accepted(ip(1), &login, sim.now);
        let mut refused = 0;
        for step in 0..1200 {
            if (step % 2 == 0) == first_by_stream {
                if sim.guard.may_stream(ip(1), &login, sim.now).is_ok() {
                    sim.guard.stream_refused(ip(1), &login, sim.now);
                    refused += 1;
                }
            } else if sim.wrong("good") {
                refused += 1;
            }
            sim.pass(Duration::from_secs(1));
        }
        assert!((2..=3).contains(&refused), "{refused}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// A camera that locks after four wrong logins in half an hour is never locked by us, one
    /// try after the other, whatever is tried; and nothing is guarded for longer than half an
    /// hour. The right password may change at any time.
    #[test]
    fn no_camera_is_ever_locked(
        steps in proptest::collection::vec((0..6u8, 0..2u8, 0..900u64), 1..200),
    ) {
        let mut sim = Sim::new();
        let mut right = [0u8; 2];
        let mut refusals: [Vec<Instant>; 2] = [Vec::new(), Vec::new()];
        for (password, user, pause) in steps {
            sim.pass(Duration::from_secs(pause / 3));
            let u = usize::from(user);
            if password == 5 {
                right[u] = (right[u] + 1) % 5;
                continue;
            }
            let login = login(["admin", "guest"][u], &format!("password-{password}"));
            match sim.guard.may_try(ip(1), &login, Purpose::Other, sim.now) {
                Err(fault) => prop_assert_eq!(fault.code, ErrorCode::Unauthorized),
                Ok(()) if password == right[u] => {
                    sim.guard.accepted(ip(1), &login, sim.now);
                }
                Ok(()) => {
                    sim.guard.refused(ip(1), &login, None, sim.now);
                    refusals[u].push(sim.now.mono);
                }
            }
            let recent = refusals[u]
                .iter()
                .filter(|at| **at + WINDOW > sim.now.mono)
                .count();
            prop_assert!(recent <= MAX_REFUSALS, "{recent} refusals in half an hour");
        }
        sim.pass(WINDOW);
        for password in 0..5 {
            let password = format!("password-{password}");
            prop_assert!(sim.may(&password).is_ok(), "guarded for longer than half an hour");
            sim.guard.unknown(ip(1), &login("admin", &password), sim.now);
        }
    }

    /// The same, with the verdicts of parallel tries of passwords that have never worked
    /// coming late.
    #[test]
    fn parallel_tries_do_not_lock_it_either(
        steps in proptest::collection::vec((0..5u8, any::<bool>(), 0..19_000u64), 1..200),
    ) {
        let mut sim = Sim::new();
        let mut out: VecDeque<Credentials> = VecDeque::new();
        let mut refusals: Vec<Instant> = Vec::new();
        for (password, ends, pause) in steps {
            if ends {
                if let Some(login) = out.pop_front() {
                    sim.guard.refused(ip(1), &login, None, sim.now);
                    refusals.push(sim.now.mono);
                }
            } else {
                let login = login("admin", &format!("password-{password}"));
                if sim.guard.may_try(ip(1), &login, Purpose::Other, sim.now).is_ok() {
                    out.push_back(login);
                }
            }
            let recent = refusals
                .iter()
                .filter(|at| **at + WINDOW > sim.now.mono)
                .count();
            prop_assert!(recent <= MAX_REFUSALS, "{recent} refusals in half an hour");
            // Verdicts come before a try is taken for dead.
            if out.is_empty() {
                sim.pass(Duration::from_millis(pause));
            }
        }
    }
}
