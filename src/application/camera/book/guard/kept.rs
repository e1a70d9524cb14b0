//! What the guard remembers over a restart: it tells what still counts, sealed, and takes it back
//! when a login that it belongs to is asked for again. Pure: where that is written is not known here.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};

use super::{Account, Guard, MAX_LOCK, MAX_PASSWORDS, Refused, UNLOCK_MARGIN, WINDOW};
use crate::domain::login_memory::{KeptAccount, KeptPassword, LoginMemory, Seal};
use crate::util::secret::Secret;
use crate::util::time::Now;

/// Most accounts that are kept; those refused last.
pub const MAX_KEPT: usize = 256;
/// 2024-01-01. A clock that shows an earlier time has not been set.
const PLAUSIBLE: Duration = Duration::from_secs(1_704_067_200);

/// What was kept and nobody has asked for yet.
#[derive(Debug)]
pub(super) struct Keeping {
    salt: [u8; 16],
    waiting: BTreeMap<Seal, Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    refusals: VecDeque<Instant>,
    locked_until: Option<Instant>,
    passwords: Vec<WaitingPassword>,
}

/// A password whose hash alone is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct WaitingPassword {
    which: Seal,
    pub worked: bool,
    pub until: Option<Instant>,
    pub no_stream_until: Option<Instant>,
}

impl Keeping {
    /// Puts what was kept of an account that is asked for into its place.
    pub fn adopt(&mut self, ip: IpAddr, user: &str, account: &mut Account) {
        let who = seal(&[
            &self.salt,
            ip.to_string().as_bytes(),
            b"\0",
            user.as_bytes(),
        ]);
        account.who = Some(who);
        if let Some(waiting) = self.waiting.remove(&who) {
            account.refusals = waiting.refusals;
            account.locked_until = waiting.locked_until;
            account.waiting = waiting.passwords;
        }
    }
}

impl Account {
    /// The seal of a password, and what was kept of it.
    pub(super) fn kept(&mut self, password: &Secret) -> (Option<Seal>, Option<WaitingPassword>) {
        let Some(who) = self.who else {
            return (None, None);
        };
        let which = seal(&[&who, password.expose().as_bytes()]);
        let at = self.waiting.iter().position(|w| w.which == which);
        (Some(which), at.map(|at| self.waiting.swap_remove(at)))
    }
}

impl Guard {
    /// Takes back what was kept, and tells from now on what is to be kept.
    pub fn remember(&mut self, memory: &LoginMemory, now: Now) {
        let clock = Clock {
            written: memory.written,
            now,
        };
        let waiting = memory
            .accounts
            .iter()
            .take(MAX_KEPT)
            .map(|account| (account.who, clock.waiting(account)))
            .collect();
        self.keeping = Some(Keeping {
            salt: memory.salt,
            waiting,
        });
    }

    /// What still counts; `None` where nothing is to be kept.
    pub fn memory(&self, now: Now) -> Option<LoginMemory> {
        let keeping = self.keeping.as_ref()?;
        let wall = |at: Instant| now.wall + at.saturating_duration_since(now.mono);
        let past = |at: Instant| now.wall - now.mono.saturating_duration_since(at);
        let ahead = |until: Option<Instant>| until.filter(|until| *until > now.mono).map(wall);
        let refusals = |all: &VecDeque<Instant>| -> Vec<SystemTime> {
            all.iter()
                .filter(|at| **at + WINDOW > now.mono)
                .map(|at| past(*at))
                .collect()
        };
        let password = |which, worked, until, no_stream| KeptPassword {
            which,
            worked,
            until: ahead(until),
            no_stream_until: ahead(no_stream),
        };
        let unseen = |w: &WaitingPassword| password(w.which, w.worked, w.until, w.no_stream_until);
        let asked = self.accounts.values().filter_map(|account| {
            let known = account.passwords.iter().filter_map(|known| {
                let until = known.refused.as_ref().map(|r| r.until);
                Some(password(
                    known.which?,
                    known.worked,
                    until,
                    known.no_stream_until,
                ))
            });
            Some(KeptAccount {
                who: account.who?,
                refusals: refusals(&account.refusals),
                locked_until: ahead(account.locked_until),
                passwords: known.chain(account.waiting.iter().map(unseen)).collect(),
            })
        });
        let unasked = keeping.waiting.iter().map(|(who, waiting)| KeptAccount {
            who: *who,
            refusals: refusals(&waiting.refusals),
            locked_until: ahead(waiting.locked_until),
            passwords: waiting.passwords.iter().map(unseen).collect(),
        });
        let mut accounts: Vec<KeptAccount> = asked
            .chain(unasked)
            .map(|mut account| {
                let counts = |p: &KeptPassword| p.until.or(p.no_stream_until).is_some();
                account.passwords.retain(counts);
                account
            })
            .filter(|a| {
                !a.refusals.is_empty() || a.locked_until.is_some() || !a.passwords.is_empty()
            })
            .collect();
        accounts.sort_by_key(|account| std::cmp::Reverse(account.refusals.last().copied()));
        accounts.truncate(MAX_KEPT);
        Some(LoginMemory {
            salt: keeping.salt,
            written: now.wall,
            accounts,
        })
    }
}

/// Reads moments of another run's clock by ours. Either may be wrong: a machine without a battery
/// wakes up in 1970 and hears the time later.
struct Clock {
    written: SystemTime,
    now: Now,
}

impl Clock {
    fn waiting(&self, account: &KeptAccount) -> Waiting {
        Waiting {
            refusals: account
                .refusals
                .iter()
                .take(MAX_PASSWORDS)
                .map(|at| self.past(*at))
                .filter(|at| *at + WINDOW > self.now.mono)
                .collect(),
            locked_until: self.ahead(account.locked_until, MAX_LOCK + UNLOCK_MARGIN),
            passwords: account
                .passwords
                .iter()
                .take(MAX_PASSWORDS)
                .map(|p| WaitingPassword {
                    which: p.which,
                    worked: p.worked,
                    // A camera's lock may be longer than our own pause.
                    until: self.ahead(p.until, MAX_LOCK + UNLOCK_MARGIN),
                    no_stream_until: self.ahead(p.no_stream_until, WINDOW),
                })
                .collect(),
        }
    }

    /// How long ago it was written. No time at all where the clocks can't be compared: then
    /// what is kept counts for too long rather than too short, and never longer than it did.
    fn since(&self) -> Duration {
        let set = |at: SystemTime| at.duration_since(UNIX_EPOCH).is_ok_and(|t| t >= PLAUSIBLE);
        if set(self.written) && set(self.now.wall) {
            let since = self.now.wall.duration_since(self.written);
            since.unwrap_or_default()
        } else {
            Duration::ZERO
        }
    }

    fn ahead(&self, until: Option<SystemTime>, most: Duration) -> Option<Instant> {
        let then = until?.duration_since(self.written).unwrap_or_default();
        let left = then.min(most).checked_sub(self.since())?;
        (!left.is_zero()).then(|| self.now.mono + left)
    }

    fn past(&self, at: SystemTime) -> Instant {
        let age = self.written.duration_since(at).unwrap_or_default() + self.since();
        let now = self.now.mono;
        now.checked_sub(age.min(WINDOW)).unwrap_or(now)
    }
}

/// What is adopted of a password.
pub(super) fn refused(kept: &WaitingPassword) -> Option<Refused> {
    kept.until.map(|until| Refused {
        until,
        trying: None,
    })
}

fn seal(parts: &[&[u8]]) -> Seal {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{MINUTES, Sim, ip, login};
    use super::*;

    fn empty(now: Now) -> LoginMemory {
        LoginMemory {
            salt: [7; 16],
            written: now.wall,
            accounts: Vec::new(),
        }
    }

    impl Sim {
        fn keeping() -> Self {
            let mut sim = Self::new();
            let memory = empty(sim.now);
            sim.guard.remember(&memory, sim.now);
            sim
        }

        /// The next run; `off` = how far its clock is off when it starts.
        fn restarted(&self, after: Duration, off: i64) -> Self {
            let memory = self.guard.memory(self.now).unwrap();
            let mut next = Self::new();
            next.now = self.now.after(after);
            let shift = Duration::from_secs(off.unsigned_abs());
            next.now.wall = if off < 0 {
                next.now.wall.checked_sub(shift).unwrap()
            } else {
                next.now.wall + shift
            };
            next.guard.remember(&memory, next.now);
            next
        }
    }

    #[test]
    fn a_wrong_password_is_tried_once_however_often_it_is_restarted() {
        let mut sim = Sim::keeping();
        assert!(sim.wrong("wrong-1"));
        let mut tried = 0;
        for _ in 0..29 {
            sim = sim.restarted(MINUTES(1), 0);
            tried += u32::from(sim.wrong("wrong-1"));
        }
        assert_eq!(tried, 0);
        sim = sim.restarted(MINUTES(1), 0);
        assert!(sim.wrong("wrong-1"));
    }

    #[test]
    fn refusals_of_a_user_count_over_restarts_and_other_users_are_free() {
        let mut sim = Sim::keeping();
        for n in 0..3 {
            assert!(sim.wrong(&format!("wrong-{n}")));
            sim = sim.restarted(MINUTES(1), 0);
        }
        assert!(sim.may("right").is_err());
        let other = login("operator", "x");
        assert!(sim.guard.may_stream(ip(1), &other, sim.now).is_ok());
        assert!(
            sim.guard
                .may_stream(ip(2), &login("admin", "x"), sim.now)
                .is_ok()
        );
        // The next run hears of it even if nobody asked in this one.
        let idle = sim.restarted(MINUTES(1), 0);
        let mut next = idle.restarted(MINUTES(1), 0);
        assert!(next.may("right").is_err());
        let mut later = sim.restarted(MINUTES(30), 0);
        assert!(later.may("right").is_ok());
    }

    #[test]
    fn a_lock_and_a_stream_s_refusal_are_kept_too() {
        let mut sim = Sim::keeping();
        sim.may("wrong-1").unwrap();
        sim.refused("wrong-1", Some(MINUTES(120)));
        let mut next = sim.restarted(MINUTES(119), 0);
        assert!(next.may("right").is_err());
        assert!(sim.restarted(MINUTES(121), 0).may("right").is_ok());

        let mut sim = Sim::keeping();
        let good = login("admin", "good");
        sim.accepted("good");
        sim.guard.stream_refused(ip(1), &good, sim.now);
        sim.pass(Duration::from_secs(10));
        sim.guard.stream_refused(ip(1), &good, sim.now);
        let mut next = sim.restarted(MINUTES(20), 0);
        assert!(next.guard.may_stream(ip(1), &good, next.now).is_err());
        assert!(next.may("good").is_ok());
    }

    #[test]
    fn what_is_taken_again_is_not_kept() {
        let mut sim = Sim::keeping();
        assert!(sim.wrong("changed"));
        assert!(sim.guard.take_changed() && !sim.guard.take_changed());
        sim.accepted("changed");
        assert!(sim.guard.take_changed());
        sim.accepted("changed");
        assert!(!sim.guard.take_changed(), "nothing to be written");
        let mut next = sim.restarted(MINUTES(1), 0);
        assert!(next.may("changed").is_ok());
        // Nor what is long past.
        sim.pass(MINUTES(30));
        assert!(sim.guard.memory(sim.now).unwrap().accounts.is_empty());
    }

    /// Seconds that the next run's clock is off.
    #[test]
    fn clocks_that_jump_neither_open_nor_close_for_long() {
        let years = 50 * 365 * 86_400;
        for off in [-years, -86_400, 86_400, years] {
            let mut sim = Sim::keeping();
            assert!(sim.wrong("wrong-1"));
            let mut next = sim.restarted(MINUTES(1), off);
            // One that is ahead can't be told from time that has passed.
            assert_eq!(next.may("wrong-1").is_err(), off < 0, "{off}");
            next.pass(MINUTES(30));
            assert!(
                next.may("wrong-1").is_ok(),
                "{off}: for half an hour at most"
            );
        }
        // It was the clock of then that was not set: that is no time that has passed.
        let mut sim = Sim::keeping();
        sim.now.wall = UNIX_EPOCH + Duration::from_secs(60);
        assert!(sim.wrong("wrong-1"));
        let mut next = sim.restarted(MINUTES(1), years);
        assert!(next.may("wrong-1").is_err());
        next.pass(MINUTES(30));
        assert!(next.may("wrong-1").is_ok());
    }

    #[test]
    fn no_login_is_in_it_and_it_is_bounded() {
        let mut sim = Sim::keeping();
        for n in 0..2_000_u32 {
            let login = login("admin", "canary-password");
            let at = IpAddr::from(n.to_be_bytes());
            if sim.guard.may_stream(at, &login, sim.now).is_ok() {
                sim.guard.refused(at, &login, None, sim.now);
            }
        }
        let memory = sim.guard.memory(sim.now).unwrap();
        assert_eq!(memory.accounts.len(), MAX_KEPT);
        let shown = format!("{memory:?}");
        assert!(!shown.contains("canary") && !shown.contains("admin"));
        // Another salt makes other hashes.
        let mut other = Sim::new();
        let salted = LoginMemory {
            salt: [8; 16],
            ..empty(other.now)
        };
        other.guard.remember(&salted, other.now);
        assert!(other.wrong("wrong-1"));
        let mut one = Sim::keeping();
        assert!(one.wrong("wrong-1"));
        let who = |sim: &Sim| sim.guard.memory(sim.now).unwrap().accounts[0].who;
        assert_ne!(who(&one), who(&other));
    }

    #[test]
    fn without_a_place_to_keep_it_nothing_is_told() {
        let mut sim = Sim::new();
        assert!(sim.wrong("wrong-1"));
        assert_eq!(sim.guard.memory(sim.now), None);
    }
}
