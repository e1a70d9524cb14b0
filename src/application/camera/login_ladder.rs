//! Which login a request is sent with next, given what the camera has said to those before. Pure:
//! whoever sends asks for a login, tries it under the guard, and says what came of it.

use std::collections::VecDeque;

use super::book::accounts::Use;
use super::order::{DeviceRequest, Query};
use crate::domain::camera::{CameraError, Credentials};

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

impl Errand {
    pub fn of(request: &DeviceRequest) -> Self {
        match request {
            DeviceRequest::Stop { .. } => Self::Stop,
            DeviceRequest::Query(Query::Check | Query::DeviceInfo | Query::OnvifProbe) => {
                Self::Judge
            }
            _ => Self::Other,
        }
    }
}

/// What a request wants a login for.
pub(super) fn use_of(request: &DeviceRequest) -> Use {
    match request {
        // What is written is written by whoever may control.
        DeviceRequest::Query(Query::Fit(ask)) if ask.apply => Use::Control,
        DeviceRequest::Query(_) => Use::View,
        _ => Use::Control,
    }
}

/// Whether a request leaves something running that a stop has to end: then its login is in force.
pub(super) fn sets_in_motion(request: &DeviceRequest) -> bool {
    match request {
        DeviceRequest::Move { .. } => true,
        DeviceRequest::Act(action) => action.moves().is_some(),
        DeviceRequest::Stop { .. } | DeviceRequest::Query(_) => false,
    }
}

/// Why a login did not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rung {
    /// The guard has not let it out.
    Guarded,
    /// The camera does not take it.
    Refused,
    /// The camera takes it, and does not let it do this.
    Forbidden,
}

/// One request's way through the logins.
#[derive(Debug)]
pub(super) struct Ladder {
    errand: Errand,
    left: VecDeque<Credentials>,
    tries: usize,
    refusals: usize,
    /// What the first one met with, and the first one that the camera refused.
    first: Option<CameraError>,
    refused: Option<CameraError>,
}

impl Ladder {
    /// `in_force` = by which the camera has taken what it is doing now; `known` = all others, best
    /// first.
    pub fn new(errand: Errand, in_force: Option<Credentials>, known: Vec<Credentials>) -> Self {
        let first = in_force.filter(|_| errand == Errand::Stop);
        let mut left: VecDeque<Credentials> = first.into_iter().collect();
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
            first: None,
            refused: None,
        }
    }

    /// No login is known.
    pub fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// The login to try next; `None` = there is no more to try.
    pub fn next(&mut self) -> Option<Credentials> {
        let spent = self.tries >= TRIES || self.refusals >= REFUSALS;
        if spent && self.errand != Errand::Stop {
            return None;
        }
        self.left.pop_front()
    }

    /// The login did not do.
    pub fn told(&mut self, rung: Rung, error: CameraError) {
        self.tries += usize::from(rung != Rung::Guarded);
        if rung == Rung::Refused {
            self.refusals += 1;
            self.refused.get_or_insert_with(|| error.clone());
        }
        self.first.get_or_insert(error);
    }

    /// The request has failed for a reason that has nothing to do with its login: what is to be
    /// told. A refusal before it sets the pace of what comes next: each more try of that login
    /// counts towards a lock.
    pub fn failed(self, error: CameraError) -> CameraError {
        let acted = error.may_have_acted() && self.errand != Errand::Stop;
        self.refused.filter(|_| !acted).unwrap_or(error)
    }

    /// No login has done: what is to be told. `None` = there was none to try.
    pub fn spent(self) -> Option<CameraError> {
        self.first
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::camera::LoginRefusal;
    use crate::util::secret::Secret;

    fn login(user: &str) -> Credentials {
        Credentials::new(user, Secret::new("p-1")).unwrap()
    }

    fn forbidden() -> CameraError {
        CameraError::Forbidden("may not".to_owned())
    }

    fn refused() -> CameraError {
        CameraError::LoginRefused(LoginRefusal {
            tried: true,
            unlock_after: None,
            tries_left: None,
            words: "wrong".to_owned(),
        })
    }

    fn ladder(errand: Errand, in_force: Option<&str>) -> Ladder {
        let known = ["a", "b", "c", "d", "e"].map(login).to_vec();
        Ladder::new(errand, in_force.map(login), known)
    }

    /// The users that are tried where every try ends so.
    fn climb(errand: Errand, in_force: Option<&str>, rung: Rung) -> Vec<String> {
        let mut ladder = ladder(errand, in_force);
        let mut tried = Vec::new();
        while let Some(login) = ladder.next() {
            tried.push(login.username().to_owned());
            ladder.told(rung, forbidden());
        }
        assert_eq!(ladder.spent(), Some(forbidden()));
        tried
    }

    #[test]
    fn a_stop_begins_with_the_login_in_force_and_goes_through_all() {
        for rung in [Rung::Guarded, Rung::Refused, Rung::Forbidden] {
            let tried = climb(Errand::Stop, Some("c"), rung);
            assert_eq!(tried, ["c", "a", "b", "d", "e"], "{rung:?}");
        }
        let mut ladder = ladder(Errand::Stop, Some("gone"));
        assert_eq!(ladder.next(), Some(login("gone")));
        let mut nothing = Ladder::new(Errand::Stop, None, Vec::new());
        assert_eq!(nothing.next(), None);
        assert_eq!(nothing.spent(), None);
    }

    #[test]
    fn anything_else_tries_few() {
        let other = |rung| climb(Errand::Other, Some("c"), rung);
        assert_eq!(other(Rung::Refused), ["a", "b"]);
        assert_eq!(other(Rung::Forbidden), ["a", "b", "c"]);
        // What the guard keeps back has cost nothing.
        assert_eq!(other(Rung::Guarded), ["a", "b", "c", "d", "e"]);
    }

    #[test]
    fn who_asks_of_a_login_hears_of_that_one() {
        for rung in [Rung::Guarded, Rung::Refused, Rung::Forbidden] {
            assert_eq!(climb(Errand::Judge, Some("c"), rung), ["a"]);
        }
    }

    #[test]
    fn a_refusal_sets_the_pace_whatever_the_next_one_meets_with() {
        let silence = || CameraError::NoAnswer("silence".to_owned());
        let gone = || CameraError::Unreachable("gone".to_owned());
        let told = |errand, rung, error| {
            let mut ladder = ladder(errand, None);
            ladder.next();
            ladder.told(rung, refused());
            ladder.next();
            ladder.failed(error)
        };
        assert_eq!(told(Errand::Stop, Rung::Refused, silence()), refused());
        assert_eq!(told(Errand::Stop, Rung::Refused, gone()), refused());
        assert_eq!(told(Errand::Other, Rung::Refused, gone()), refused());
        // It may move: that is what counts.
        assert_eq!(told(Errand::Other, Rung::Refused, silence()), silence());
        // Nothing was refused: a stop is tried again soon.
        for rung in [Rung::Guarded, Rung::Forbidden] {
            assert_eq!(told(Errand::Stop, rung, silence()), silence());
        }
    }
}
