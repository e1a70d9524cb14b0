//! The lock-out guard (contract 7). Cameras lock an account after a few wrong passwords, for all
//! protocols at once; so whatever authenticates (ISAPI, ONVIF, RTSP) asks here first and reports
//! how it went.
//!
//! Knows no socket and no clock. What it holds is bounded; the least recently used goes first.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

mod kept;

use self::kept::{Keeping, WaitingPassword};
use crate::domain::camera::Credentials;
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::login_memory::Seal;
use crate::util::secret::Secret;
use crate::util::time::{Now, rfc3339};

/// A refused password is not tried again for so long, and refusals are counted over so long.
const WINDOW: Duration = Duration::from_secs(30 * 60);
/// Most refusals that an address and user see in a [`WINDOW`].
const MAX_REFUSALS: usize = 3;
/// A login that has worked before gets its one more try after so long.
const SECOND_TRY: Duration = Duration::from_secs(10);
/// A try that nobody has reported the end of counts for so long.
const TRY_LASTS: Duration = Duration::from_secs(20);
/// Added to the time that a camera says it stays locked.
const UNLOCK_MARGIN: Duration = Duration::from_secs(5);
/// Longest lock that a camera is believed.
const MAX_LOCK: Duration = Duration::from_secs(24 * 3600);
/// Most addresses and users that are remembered.
const MAX_ACCOUNTS: usize = 1024;
/// Most passwords of one address and user that are remembered.
const MAX_PASSWORDS: usize = 8;

/// What a login is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Stopping a camera where a movement of ours may be running: goes out with a login that has
    /// worked, whatever happened since.
    Stop,
    /// Anything else.
    Other,
}

#[derive(Debug)]
struct Refused {
    /// Not tried before.
    until: Instant,
    /// One more try is out since then.
    trying: Option<Instant>,
}

#[derive(Debug)]
struct Known {
    password: Secret,
    /// It has worked at some time.
    worked: bool,
    /// It is the one that worked last.
    current: bool,
    /// The camera has refused it since it last worked.
    refused: Option<Refused>,
    /// Tries whose end is not known, of a password that has never worked.
    tries: VecDeque<Instant>,
    /// Not tried by RTSP before: the camera has refused it there since RTSP last took it, whatever
    /// HTTP thinks of it.
    no_stream_until: Option<Instant>,
    /// What it is called where it is kept.
    which: Option<Seal>,
    used: Instant,
}

#[derive(Debug, Default)]
struct Account {
    /// Within the last [`WINDOW`], oldest first.
    refusals: VecDeque<Instant>,
    /// The camera has said so.
    locked_until: Option<Instant>,
    passwords: Vec<Known>,
    /// What it is called where it is kept.
    who: Option<Seal>,
    /// Kept by an earlier run, and not asked for in this one.
    waiting: Vec<WaitingPassword>,
}

/// The guard. One for the whole node.
#[derive(Debug, Default)]
pub struct Guard {
    accounts: BTreeMap<(IpAddr, String), Account>,
    /// `None` = nothing outlives this run.
    keeping: Option<Keeping>,
    /// Something that is kept has changed.
    changed: bool,
}

impl Guard {
    /// Nothing has been refused yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether `login` may be sent to `ip` now; if not, 10001 "guarded until …". Each pass is to
    /// be followed by exactly one of [`accepted`](Self::accepted), [`refused`](Self::refused),
    /// [`unknown`](Self::unknown).
    pub fn may_try(
        &mut self,
        ip: IpAddr,
        login: &Credentials,
        purpose: Purpose,
        now: Now,
    ) -> Result<(), Fault> {
        let account = self.account(ip, login, now.mono);
        account.forget(now.mono);
        let refusals = account.refusals.len();
        let soonest = account.refusals.front().map(|at| *at + WINDOW);
        let out: usize = account.passwords.iter().map(Known::tries_out).sum();
        let room = account.room(login);
        let locked = account.locked_until.filter(|until| *until > now.mono);
        let known = account.known(login.password(), now.mono);
        if known.worked && purpose == Purpose::Stop {
            return Ok(());
        }
        if let Some(until) = locked {
            return Err(guarded(
                ip,
                "the camera has locked this account",
                until,
                now,
            ));
        }
        if let Some(refused) = &known.refused {
            let until = match refused.trying {
                Some(since) => since + TRY_LASTS,
                None => refused.until,
            };
            if until > now.mono {
                let why = "the camera has refused this login";
                return Err(guarded(ip, why, until, now));
            }
        }
        if known.passes() {
            return Ok(());
        }
        if refusals + out >= room {
            // With room for refusals it is the tries under way that fill it, and they end soon.
            let (until, why) = match soonest {
                Some(until) if refusals >= room => {
                    (until, "the camera has refused this user's logins too often")
                }
                _ => (
                    now.mono + TRY_LASTS,
                    "as many tries of this user's logins as it may refuse are under way",
                ),
            };
            return Err(guarded(ip, why, until, now));
        }
        match &mut known.refused {
            Some(refused) => refused.trying = Some(now.mono),
            None => known.tries.push_back(now.mono),
        }
        Ok(())
    }

    /// Whether nothing but tries that are under way keeps [`may_try`](Self::may_try) from letting
    /// `login` pass: then it is to be asked again when one of them has ended, and they all end
    /// within [`TRY_LASTS`].
    pub fn is_crowded(&mut self, ip: IpAddr, login: &Credentials, now: Now) -> bool {
        let account = self.account(ip, login, now.mono);
        account.forget(now.mono);
        let out: usize = account.passwords.iter().map(Known::tries_out).sum();
        let locked = account.locked_until.is_some();
        let refusals = account.refusals.len();
        let room = account.room(login);
        let known = account.known(login.password(), now.mono);
        let (passes, guarded) = (known.passes(), known.is_guarded(now.mono));
        // The one more try of a login that was refused is out: it tells.
        let again = known.refused.as_ref().is_some_and(|r| r.trying.is_some());
        let full = refusals < room && refusals + out >= room;
        !passes && !locked && !guarded && (again || full)
    }

    /// The camera has taken the login.
    pub fn accepted(&mut self, ip: IpAddr, login: &Credentials, now: Now) {
        let account = self.account(ip, login, now.mono);
        let mut cleared = account.locked_until.take().is_some();
        for known in &mut account.passwords {
            known.current = false;
        }
        let known = account.known(login.password(), now.mono);
        known.worked = true;
        known.current = true;
        cleared |= known.refused.take().is_some();
        known.tries.clear();
        self.changed |= cleared;
    }

    /// The camera has refused the login; `unlock` is how long it says it stays locked, if it says
    /// so. (An unauthenticated challenge is no refusal.)
    pub fn refused(&mut self, ip: IpAddr, login: &Credentials, unlock: Option<Duration>, now: Now) {
        self.changed = true;
        let account = self.account(ip, login, now.mono);
        account.count_refusal(now.mono);
        let lock = unlock
            .filter(|lock| !lock.is_zero())
            .map(|lock| now.mono + lock.min(MAX_LOCK) + UNLOCK_MARGIN);
        if lock.is_some() {
            account.locked_until = lock;
        }
        let known = account.known(login.password(), now.mono);
        known.tries.pop_front();
        match &mut known.refused {
            // Sent before the first refusal came back: it tells nothing new.
            Some(refused) if refused.trying.is_none() && refused.until > now.mono => {
                refused.until = lock.unwrap_or(refused.until);
            }
            refused => {
                let first_of_one_that_worked = known.worked && refused.is_none();
                let pause = if first_of_one_that_worked {
                    SECOND_TRY
                } else {
                    WINDOW
                };
                *refused = Some(Refused {
                    until: lock.unwrap_or(now.mono + pause),
                    trying: None,
                });
            }
        }
    }

    /// As [`may_try`](Self::may_try), for RTSP. What HTTP takes, RTSP may refuse (cameras have
    /// accounts of their own for it): each yes of HTTP would let the next refusal pass.
    pub fn may_stream(&mut self, ip: IpAddr, login: &Credentials, now: Now) -> Result<(), Fault> {
        let known = self
            .account(ip, login, now.mono)
            .known(login.password(), now.mono);
        if let Some(until) = known.no_stream_until.filter(|until| *until > now.mono) {
            let why = "the camera has refused this login for its stream";
            return Err(guarded(ip, why, until, now));
        }
        self.may_try(ip, login, Purpose::Other, now)
    }

    /// As [`accepted`](Self::accepted), by RTSP.
    pub fn stream_accepted(&mut self, ip: IpAddr, login: &Credentials, now: Now) {
        self.accepted(ip, login, now);
        let account = self.account(ip, login, now.mono);
        let known = account.known(login.password(), now.mono);
        let cleared = known.no_stream_until.take().is_some();
        self.changed |= cleared;
    }

    /// As [`refused`](Self::refused), by RTSP. A login that works is not taken from HTTP by that:
    /// if it is wrong there too, that is one refusal more, and counts. Whether HTTP keeps it.
    pub fn stream_refused(&mut self, ip: IpAddr, login: &Credentials, now: Now) -> bool {
        self.changed = true;
        let account = self.account(ip, login, now.mono);
        let kept = account.known(login.password(), now.mono).passes();
        if kept {
            account.count_refusal(now.mono);
        } else {
            self.refused(ip, login, None, now);
        }
        let account = self.account(ip, login, now.mono);
        let known = account.known(login.password(), now.mono);
        // A straggler, sent before the first refusal came back, tells nothing new.
        if known.no_stream_until.is_none_or(|until| until <= now.mono) {
            let again = known.worked && known.no_stream_until.is_none();
            let pause = if again { SECOND_TRY } else { WINDOW };
            known.no_stream_until = Some(now.mono + pause);
        }
        kept
    }

    /// The try has ended, and nobody knows what the camera thinks of the login.
    pub fn unknown(&mut self, ip: IpAddr, login: &Credentials, now: Now) {
        let known = self
            .account(ip, login, now.mono)
            .known(login.password(), now.mono);
        known.tries.pop_front();
        if let Some(refused) = &mut known.refused {
            refused.trying = None;
        }
    }

    /// Whether what is to be kept has changed since this was asked last.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Whether the camera has ever taken the login.
    pub fn has_worked(&self, ip: IpAddr, login: &Credentials) -> bool {
        self.accounts
            .get(&(ip.to_canonical(), login.username().to_owned()))
            .is_some_and(|account| {
                account
                    .passwords
                    .iter()
                    .any(|k| k.worked && k.password == *login.password())
            })
    }

    fn account(&mut self, ip: IpAddr, login: &Credentials, now: Instant) -> &mut Account {
        let key = (ip.to_canonical(), login.username().to_owned());
        if !self.accounts.contains_key(&key) && self.accounts.len() >= MAX_ACCOUNTS {
            let least = self
                .accounts
                .iter()
                .min_by_key(|(_, account)| account.worth(now))
                .map(|(key, _)| key.clone());
            if let Some(least) = least {
                self.accounts.remove(&least);
            }
        }
        let keeping = &mut self.keeping;
        self.accounts.entry(key).or_insert_with_key(|(ip, user)| {
            let mut account = Account::default();
            if let Some(keeping) = keeping {
                keeping.adopt(*ip, user, &mut account);
            }
            account
        })
    }
}

impl Account {
    /// Drops what is past.
    fn forget(&mut self, now: Instant) {
        while self.refusals.front().is_some_and(|at| *at + WINDOW <= now) {
            self.refusals.pop_front();
        }
        self.locked_until = self.locked_until.filter(|until| *until > now);
        for known in &mut self.passwords {
            while known
                .tries
                .front()
                .is_some_and(|since| *since + TRY_LASTS <= now)
            {
                known.tries.pop_front();
            }
            if let Some(refused) = &mut known.refused {
                refused.trying = refused.trying.filter(|since| *since + TRY_LASTS > now);
            }
        }
    }

    fn count_refusal(&mut self, now: Instant) {
        self.forget(now);
        if self.refusals.len() >= MAX_PASSWORDS {
            self.refusals.pop_front();
        }
        self.refusals.push_back(now);
    }

    /// How many refusals a login may bring it to. The one that works keeps a refusal in reserve,
    /// for when it no longer does.
    fn room(&self, login: &Credentials) -> usize {
        let reserve = self
            .passwords
            .iter()
            .any(|k| k.current && k.refused.is_none() && k.password != *login.password());
        MAX_REFUSALS.saturating_sub(usize::from(reserve))
    }

    /// What is known of a password, put in if nothing is.
    fn known(&mut self, password: &Secret, now: Instant) -> &mut Known {
        let index = match self.passwords.iter().position(|k| k.password == *password) {
            Some(index) => index,
            None => {
                if self.passwords.len() >= MAX_PASSWORDS {
                    let least = self
                        .passwords
                        .iter()
                        .enumerate()
                        .min_by_key(|(_, k)| (k.is_guarded(now), k.worked, k.used))
                        .map(|(index, _)| index);
                    if let Some(least) = least {
                        self.passwords.swap_remove(least);
                    }
                }
                let (which, kept) = self.kept(password);
                self.passwords.push(Known {
                    password: password.clone(),
                    worked: kept.is_some_and(|kept| kept.worked),
                    current: false,
                    refused: kept.and_then(|kept| kept::refused(&kept)),
                    tries: VecDeque::new(),
                    no_stream_until: kept.and_then(|kept| kept.no_stream_until),
                    which,
                    used: now,
                });
                self.passwords.len() - 1
            }
        };
        // The index was found or made above.
        #[allow(clippy::indexing_slicing)]
        let known = &mut self.passwords[index];
        known.used = now;
        known
    }

    /// What is worth least is forgotten first: what guards nothing, then what is oldest.
    fn worth(&self, now: Instant) -> (bool, Option<Instant>) {
        let guards = self.locked_until.is_some_and(|until| until > now)
            || self.refusals.back().is_some_and(|at| *at + WINDOW > now);
        (guards, self.passwords.iter().map(|k| k.used).max())
    }
}

impl Known {
    /// It worked last, and nothing has been heard against it since.
    fn passes(&self) -> bool {
        self.current && self.refused.is_none()
    }

    /// Tries that may still end in a refusal.
    fn tries_out(&self) -> usize {
        let again = self.refused.as_ref().and_then(|r| r.trying);
        self.tries.len() + usize::from(again.is_some())
    }

    fn is_guarded(&self, now: Instant) -> bool {
        self.refused.as_ref().is_some_and(|r| r.until > now)
    }
}

fn guarded(ip: IpAddr, why: &str, until: Instant, now: Now) -> Fault {
    let wall = now.wall + until.saturating_duration_since(now.mono);
    Fault::new(
        ErrorCode::Unauthorized,
        format!(
            "guarded until {}: {why}, and more tries would lock it at {ip}; \
             check user and password",
            rfc3339(wall)
        ),
    )
}

#[cfg(test)]
mod tests;
