//! How one drive of one camera is made to stand still by the guard: by which login, which way, when
//! next, and until when. Sends nothing; time is an argument.

use std::time::{Duration, Instant};

use crate::domain::camera::{CameraError, StopWay};

/// So long after the daemon's end the guard gives up.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// From one try to the next.
const PACE: [Duration; 3] = [
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
];
/// While a later daemon tries to move the camera.
const PUT_OFF: Duration = Duration::from_millis(500);
/// Where every login was refused: each further try counts towards the account's lock.
const SLOW_PACE: Duration = Duration::from_secs(10);

/// The tries of one drive.
#[derive(Debug)]
pub(super) struct Tries {
    ends_at: Instant,
    next: Option<Instant>,
    count: usize,
    way: StopWay,
    login: usize,
    logins: usize,
    /// Refused in a row.
    refused: usize,
}

impl Tries {
    /// Begins at once. `logins` are tried in their order.
    pub fn new(logins: usize, now: Instant) -> Self {
        Self {
            ends_at: now + PATIENCE,
            next: Some(now),
            count: 0,
            way: StopWay::Stop,
            login: 0,
            logins: logins.max(1),
            refused: 0,
        }
    }

    /// When the next try is due; `None` when there is none.
    pub fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Whether none has been made yet.
    pub fn is_first(&self) -> bool {
        self.count == 0
    }

    /// By which way and login.
    pub fn how(&self) -> (StopWay, usize) {
        (self.way, self.login)
    }

    /// Somebody else is just about to move it: not now.
    pub fn put_off(&mut self, now: Instant) {
        self.next = Some(now + PUT_OFF).filter(|at| *at < self.ends_at);
    }

    /// Somebody else cares for the camera now.
    pub fn stand_down(&mut self) {
        self.next = None;
    }

    /// A try has ended.
    pub fn ended(&mut self, result: &Result<(), CameraError>, now: Instant) {
        self.count += 1;
        let pace = match result {
            Ok(()) => {
                self.next = None;
                return;
            }
            Err(CameraError::LoginRefused(_) | CameraError::Forbidden(_)) => {
                self.login = (self.login + 1) % self.logins;
                self.refused += 1;
                if self.refused.is_multiple_of(self.logins) {
                    SLOW_PACE
                } else {
                    Duration::ZERO
                }
            }
            Err(_) => {
                self.refused = 0;
                self.way = self.way.other();
                let step = (self.count - 1).min(PACE.len() - 1);
                PACE.get(step).copied().unwrap_or(SLOW_PACE)
            }
        };
        self.next = Some(now + pace).filter(|at| *at < self.ends_at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::camera::LoginRefusal;

    const S: Duration = Duration::from_secs(1);

    fn gone() -> Result<(), CameraError> {
        Err(CameraError::Unreachable("no route".to_owned()))
    }

    #[test]
    fn one_stop_that_is_obeyed_is_all() {
        let now = Instant::now();
        let mut tries = Tries::new(1, now);
        assert_eq!((tries.next(), tries.how()), (Some(now), (StopWay::Stop, 0)));
        tries.ended(&Ok(()), now + S);
        assert_eq!(tries.next(), None);
    }

    #[test]
    fn a_camera_that_is_not_there_is_given_up_after_a_minute() {
        let begun = Instant::now();
        let mut tries = Tries::new(2, begun);
        let (mut now, mut ways) = (begun, Vec::new());
        while let Some(at) = tries.next() {
            now = now.max(at);
            assert!(now < begun + PATIENCE);
            ways.push(tries.how());
            // Each takes two seconds to find nobody.
            now += 2 * S;
            tries.ended(&gone(), now);
        }
        assert!(now + 2 * S >= begun + PATIENCE);
        assert!(ways.len() >= 20, "{}", ways.len());
        // Both ways in turn, by the login that set it in motion.
        assert!(ways.chunks(2).all(|two| two[0] == (StopWay::Stop, 0)));
        assert!(
            ways.iter()
                .skip(1)
                .step_by(2)
                .all(|w| *w == (StopWay::ZeroVelocity, 0))
        );
    }

    #[test]
    fn a_refused_login_gives_way_to_the_next_and_none_is_hurried() {
        let begun = Instant::now();
        let refusal = || {
            Err(CameraError::LoginRefused(LoginRefusal {
                tried: true,
                unlock_after: None,
                tries_left: None,
                words: "401".to_owned(),
            }))
        };
        let forbidden = || Err(CameraError::Forbidden("viewer".to_owned()));
        let mut tries = Tries::new(2, begun);
        tries.ended(&forbidden(), begun);
        assert_eq!((tries.next(), tries.how().1), (Some(begun), 1));
        tries.ended(&refusal(), begun);
        assert_eq!((tries.next(), tries.how().1), (Some(begun + 10 * S), 0));
        let (mut count, mut now) = (2, begun);
        while let Some(at) = tries.next() {
            now = now.max(at);
            tries.ended(&refusal(), now);
            count += 1;
        }
        assert_eq!(count, 12, "six of each login in a minute");
    }
}
