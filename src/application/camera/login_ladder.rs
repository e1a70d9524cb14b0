//! Which login a request is sent with next, given what the camera has said to those before. Pure:
//! whoever sends asks for a login, tries it under the guard, and says what came of it.

use std::collections::VecDeque;

use super::login::Login;

/// Most logins that a request which is no stop is sent with.
const TRIES: usize = 3;
/// Most of those that the camera may refuse.
const REFUSALS: usize = 2;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Errand {
    /// Stop: with every login there is, until one is let.
    Stop,
    /// Whether this very login is right: no other tells.
    Judge,
    /// Anything else.
    Other,
}

/// What came of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rung {
    /// The guard has not let it out.
    Guarded,
    /// The camera does not take it.
    Refused,
    /// The camera takes it, and does not let it do this.
    Forbidden,
    /// The answer has nothing to do with the login.
    Answered,
}

/// One request's way through the logins.
#[derive(Debug)]
pub(super) struct Ladder {
    errand: Errand,
    left: VecDeque<Login>,
    tries: usize,
    refusals: usize,
}

impl Ladder {
    /// `in_force` = by which the camera has taken what it is doing now; `known` = all others, best
    /// first.
    pub fn new(errand: Errand, in_force: Option<Login>, known: Vec<Login>) -> Self {
        let first = in_force.filter(|_| errand == Errand::Stop);
        let mut left: VecDeque<Login> = first.into_iter().collect();
        for login in known {
            if !left.contains(&login) {
                left.push_back(login);
            }
        }
        if errand == Errand::Judge {
            left.truncate(1);
        }
        Self {
            errand,
            left,
            tries: 0,
            refusals: 0,
        }
    }

    /// The login to try next; `None` = there is no more to try.
    pub fn next(&mut self) -> Option<Login> {
        let spent = self.tries >= TRIES || self.refusals >= REFUSALS;
        if spent && self.errand != Errand::Stop {
            return None;
        }
        self.left.pop_front()
    }

    /// What came of it.
    pub fn told(&mut self, rung: Rung) {
        match rung {
            Rung::Guarded => {}
            Rung::Forbidden => self.tries += 1,
            Rung::Refused => {
                self.tries += 1;
                self.refusals += 1;
            }
            Rung::Answered => self.left.clear(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::secret::Secret;

    fn login(user: &str) -> Login {
        Login::parse(user, &Secret::new("p-1")).unwrap()
    }

    /// The users that are tried where every try ends so.
    fn climb(errand: Errand, in_force: Option<&str>, rung: Rung) -> Vec<String> {
        let known = ["a", "b", "c", "d", "e"].map(login).to_vec();
        let mut ladder = Ladder::new(errand, in_force.map(login), known);
        let mut tried = Vec::new();
        while let Some(login) = ladder.next() {
            tried.push(login.user);
            ladder.told(rung);
        }
        tried
    }

    #[test]
    fn a_stop_begins_with_the_login_in_force_and_goes_through_all() {
        for rung in [Rung::Guarded, Rung::Refused, Rung::Forbidden] {
            let tried = climb(Errand::Stop, Some("c"), rung);
            assert_eq!(tried, ["c", "a", "b", "d", "e"], "{rung:?}");
        }
        let tried = climb(Errand::Stop, Some("gone"), Rung::Answered);
        assert_eq!(tried, ["gone"]);
        assert_eq!(climb(Errand::Stop, None, Rung::Answered), ["a"]);
    }

    #[test]
    fn anything_else_tries_few() {
        let other = |rung| climb(Errand::Other, Some("c"), rung);
        assert_eq!(other(Rung::Refused), ["a", "b"]);
        assert_eq!(other(Rung::Forbidden), ["a", "b", "c"]);
        assert_eq!(other(Rung::Answered), ["a"]);
        // What the guard keeps back has cost nothing.
        assert_eq!(other(Rung::Guarded), ["a", "b", "c", "d", "e"]);
    }

    #[test]
    fn who_asks_of_a_login_hears_of_that_one() {
        for rung in [Rung::Guarded, Rung::Refused, Rung::Forbidden] {
            assert_eq!(climb(Errand::Judge, Some("c"), rung), ["a"]);
        }
    }
}
