//! The lock-out guard: which login may be tried where, so that no camera locks its account
//! (contract 7). Knows no clock.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::domain::camera::Credentials;

/// A refused login rests so long, unless the camera says how long its lock lasts.
const REST: Duration = Duration::from_secs(30 * 60);
/// One that has worked before gets its second try after so long.
const SECOND_TRY: Duration = Duration::from_secs(10);
/// Most refusals that an address and user see in [`REST`].
const MAX_REFUSALS: usize = 3;
/// Most logins remembered; the one touched longest ago goes first.
const MAX_LOGINS: usize = 512;

#[derive(Debug)]
struct Entry {
    ip: IpAddr,
    login: Credentials,
    worked: bool,
    /// Since it last worked.
    refusals: Vec<Instant>,
    rests_until: Option<Instant>,
    /// The camera said so: holds for every password of this user.
    locked_until: Option<Instant>,
    touched: u64,
}

/// What was refused where.
#[derive(Debug, Default)]
pub(super) struct Lockout {
    entries: Vec<Entry>,
    touches: u64,
}

impl Lockout {
    /// Until when a login must not be tried; `None` = it may go out. A stop with a login that
    /// has worked always goes out.
    pub fn until(
        &self,
        ip: IpAddr,
        login: &Credentials,
        stop: bool,
        now: Instant,
    ) -> Option<Instant> {
        let own = self
            .entries
            .iter()
            .find(|e| e.ip == ip && e.login == *login);
        if stop && own.is_some_and(|e| e.worked) {
            return None;
        }
        let of_user = || {
            self.entries
                .iter()
                .filter(|e| e.ip == ip && e.login.username() == login.username())
        };
        let locked = of_user().filter_map(|e| e.locked_until).max();
        let mut refusals: Vec<Instant> = of_user()
            .flat_map(|e| e.refusals.iter().copied())
            .filter(|at| now.saturating_duration_since(*at) < REST)
            .collect();
        refusals.sort_unstable();
        let too_many = refusals
            .len()
            .checked_sub(MAX_REFUSALS)
            .and_then(|first| refusals.get(first))
            .map(|at| *at + REST);
        let rests = own.and_then(|e| e.rests_until);
        [locked, too_many, rests]
            .into_iter()
            .flatten()
            .filter(|until| *until > now)
            .max()
    }

    /// The camera has taken it: whatever was refused before counts no more, there as here.
    pub fn accepted(&mut self, ip: IpAddr, login: &Credentials) {
        let own = self.own(ip, login);
        own.worked = true;
        own.rests_until = None;
        for entry in &mut self.entries {
            if entry.ip == ip && entry.login.username() == login.username() {
                entry.refusals.clear();
                entry.locked_until = None;
            }
        }
    }

    /// The camera has refused it, and says for how long.
    pub fn refused(
        &mut self,
        ip: IpAddr,
        login: &Credentials,
        unlock_after: Option<Duration>,
        now: Instant,
    ) {
        let own = self.own(ip, login);
        own.refusals
            .retain(|at| now.saturating_duration_since(*at) < REST);
        own.refusals.push(now);
        let first = own.worked && own.refusals.len() == 1;
        let rest = match unlock_after {
            Some(told) => told,
            None if first => SECOND_TRY,
            None => REST,
        };
        own.rests_until = Some(now + rest);
        own.locked_until = unlock_after.map(|told| now + told);
    }

    fn own(&mut self, ip: IpAddr, login: &Credentials) -> &mut Entry {
        self.touches += 1;
        let touched = self.touches;
        let known = self
            .entries
            .iter()
            .position(|e| e.ip == ip && e.login == *login);
        let index = known.unwrap_or_else(|| {
            if self.entries.len() >= MAX_LOGINS {
                let oldest = (0..self.entries.len())
                    .min_by_key(|i| self.entries.get(*i).map(|e| e.touched))
                    .unwrap_or(0);
                self.entries.swap_remove(oldest);
            }
            self.entries.push(Entry {
                ip,
                login: login.clone(),
                worked: false,
                refusals: Vec::new(),
                rests_until: None,
                locked_until: None,
                touched,
            });
            self.entries.len() - 1
        });
        #[allow(clippy::indexing_slicing)] // Found or pushed just now.
        let entry = &mut self.entries[index];
        entry.touched = touched;
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::secret::Secret;

    const IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 0, 64));

    fn login(password: &str) -> Credentials {
        Credentials::new("admin", Secret::new(password)).unwrap()
    }

    #[test]
    fn a_refused_login_rests_half_an_hour() {
        let (mut guard, now) = (Lockout::default(), Instant::now());
        guard.refused(IP, &login("a"), None, now);
        assert_eq!(guard.until(IP, &login("a"), false, now), Some(now + REST));
        assert_eq!(guard.until(IP, &login("a"), false, now + REST), None);
        // Others pass at once, but only so many.
        for password in ["b", "c"] {
            assert_eq!(guard.until(IP, &login(password), false, now), None);
            guard.refused(IP, &login(password), None, now);
        }
        assert_eq!(guard.until(IP, &login("d"), false, now), Some(now + REST));
        let elsewhere = IpAddr::from([192, 168, 0, 65]);
        assert_eq!(guard.until(elsewhere, &login("d"), false, now), None);
    }

    #[test]
    fn what_has_worked_gets_one_more_try_and_its_stops_always() {
        let (mut guard, now) = (Lockout::default(), Instant::now());
        let good = login("good");
        guard.accepted(IP, &good);
        guard.refused(IP, &good, None, now);
        assert_eq!(guard.until(IP, &good, false, now), Some(now + SECOND_TRY));
        assert_eq!(guard.until(IP, &good, true, now), None);
        let again = now + SECOND_TRY;
        assert_eq!(guard.until(IP, &good, false, again), None);
        guard.refused(IP, &good, None, again);
        assert_eq!(guard.until(IP, &good, false, again), Some(again + REST));
        assert_eq!(guard.until(IP, &good, true, again), None);
        guard.accepted(IP, &good);
        assert_eq!(guard.until(IP, &good, false, again), None);
    }

    #[test]
    fn the_camera_s_own_time_counts_for_every_password() {
        let (mut guard, now) = (Lockout::default(), Instant::now());
        let told = Duration::from_secs(1712);
        guard.refused(IP, &login("a"), Some(told), now);
        for password in ["a", "b"] {
            assert_eq!(
                guard.until(IP, &login(password), false, now),
                Some(now + told)
            );
        }
        assert_eq!(guard.until(IP, &login("a"), false, now + told), None);
    }

    #[test]
    fn its_memory_is_bounded() {
        let (mut guard, now) = (Lockout::default(), Instant::now());
        for n in 0..2_000 {
            guard.refused(IP, &login(&n.to_string()), None, now);
        }
        assert_eq!(guard.entries.len(), MAX_LOGINS);
    }
}
