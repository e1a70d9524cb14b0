//! The logins that are known for each address, and what each has proved good for (contract 7).
//!
//! A login belongs to the address that it was given for or that has taken it, never to the id of a
//! camera: what is re-pointed takes none along. Pure and bounded; what is worth least goes first.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::address::Host;
use crate::domain::camera::Credentials;

/// Most addresses whose logins are remembered.
const MAX_HOSTS: usize = 1024;
/// Most logins of one address.
const MAX_LOGINS: usize = 8;

/// What a login is wanted for. Cameras have accounts that may look and not move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Use {
    /// Movements, presets, stops.
    Control,
    /// Questions and pictures.
    View,
    /// Streams by RTSP.
    Stream,
}

/// When something was last so, in the directory's count; 0 = never.
type Tick = u64;

#[derive(Debug, Clone)]
struct Account {
    login: Credentials,
    /// Somebody has said it.
    given: Tick,
    taken: [Tick; 3],
    /// The camera knows it, and does not let it do this.
    forbidden: [Tick; 3],
    /// The camera does not know it any more.
    refused: Tick,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    hosts: BTreeMap<Host, (Tick, Vec<Account>)>,
    clock: Tick,
}

/// How good a login is for a purpose; the first is the best.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// What whoever asks has said himself.
    Own,
    /// Taken for this.
    Proven,
    /// Taken for something else.
    Taken,
    /// Taken once, and refused since: the guard paces it.
    Refused,
    /// Given by somebody, and never tried.
    Given,
    /// Of the configuration, and never tried.
    Configured,
    /// Known to have no right to this, as far as is known.
    Forbidden,
}

impl Accounts {
    /// Somebody has said a login for a host.
    pub fn give(&mut self, host: &Host, login: &Credentials) {
        let now = self.tick();
        self.account(host, login).given = now;
    }

    /// A camera has taken a login.
    pub fn taken(&mut self, host: &Host, login: &Credentials, purpose: Use) {
        let now = self.tick();
        *slot(&mut self.account(host, login).taken, purpose) = now;
    }

    /// A camera knows a login, and does not let it do this.
    pub fn forbidden(&mut self, host: &Host, login: &Credentials, purpose: Use) {
        let now = self.tick();
        *slot(&mut self.account(host, login).forbidden, purpose) = now;
    }

    /// A camera does not take a login. One that was never taken is forgotten.
    pub fn refused(&mut self, is_there: impl Fn(&Host) -> bool, login: &Credentials) {
        let now = self.tick();
        let there = self.hosts.iter_mut().filter(|(host, _)| is_there(host));
        let mut lists: Vec<&mut Vec<Account>> = there.map(|(_, (_, list))| list).collect();
        let known = lists
            .iter()
            .flat_map(|list| list.iter())
            .any(|a| a.login == *login && a.was_taken());
        for list in &mut lists {
            if known {
                let same = list.iter_mut().filter(|a| a.login == *login);
                same.for_each(|account| account.refused = now);
            } else {
                list.retain(|a| a.login != *login);
            }
        }
        self.hosts.retain(|_, (_, list)| !list.is_empty());
    }

    /// The logins for a purpose at a place, best first. `own` = what whoever asks has said himself;
    /// it comes first unless it is known not to do, or to be for something else.
    pub fn for_use(
        &self,
        is_there: impl Fn(&Host) -> bool,
        own: Option<&Credentials>,
        configured: Option<&Credentials>,
        purpose: Use,
    ) -> Vec<Credentials> {
        let mut known: Vec<Account> = Vec::new();
        let there = self.hosts.iter().filter(|(host, _)| is_there(host));
        for account in there.flat_map(|(_, (_, list))| list) {
            match known.iter_mut().find(|a| a.login == account.login) {
                Some(same) => same.join(account),
                None => known.push(account.clone()),
            }
        }
        if let Some(login) = configured
            && !known.iter().any(|a| a.login == *login)
        {
            known.push(Account::new(login));
        }
        let proven = |a: &Account| a.is_proven(purpose);
        let another_is_proven =
            |login: &Credentials| known.iter().any(|a| a.login != *login && proven(a));
        let mut ranked: Vec<(Rank, Reverse<Tick>, Credentials)> = known
            .iter()
            .map(|account| {
                let login = account.login.clone();
                let is_own = own == Some(&login)
                    && (!account.was_taken()
                        || account.is_proven(purpose)
                        || account.is_proven(Use::Control)
                        || !another_is_proven(&login));
                let rank = account.rank(is_own, purpose);
                (rank, Reverse(account.newest(purpose)), login)
            })
            .collect();
        ranked.sort_by(|(rank, newest, _), (other, older, _)| (rank, newest).cmp(&(other, older)));
        ranked.into_iter().map(|(_, _, login)| login).collect()
    }

    fn account(&mut self, host: &Host, login: &Credentials) -> &mut Account {
        if self.hosts.len() >= MAX_HOSTS && !self.hosts.contains_key(host) {
            let oldest = self.hosts.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(oldest) = oldest.map(|(host, _)| host.clone()) {
                self.hosts.remove(&oldest);
            }
        }
        let (used, list) = self.hosts.entry(host.clone()).or_default();
        *used = self.clock;
        let index = match list.iter().position(|a| a.login == *login) {
            Some(index) => index,
            None => {
                if list.len() >= MAX_LOGINS {
                    let least = list.iter().enumerate().min_by_key(|(_, a)| a.worth());
                    if let Some((least, _)) = least {
                        list.remove(least);
                    }
                }
                list.push(Account::new(login));
                list.len() - 1
            }
        };
        // The index was found or made above.
        #[allow(clippy::indexing_slicing)]
        let account = &mut list[index];
        account
    }

    fn tick(&mut self) -> Tick {
        self.clock += 1;
        self.clock
    }

    #[cfg(test)]
    pub fn sizes(&self) -> (usize, usize) {
        let most = self.hosts.values().map(|(_, list)| list.len()).max();
        (self.hosts.len(), most.unwrap_or(0))
    }
}

impl Account {
    fn new(login: &Credentials) -> Self {
        Self {
            login: login.clone(),
            given: 0,
            taken: [0; 3],
            forbidden: [0; 3],
            refused: 0,
        }
    }

    fn join(&mut self, other: &Self) {
        self.given = self.given.max(other.given);
        self.refused = self.refused.max(other.refused);
        for (mine, theirs) in self.taken.iter_mut().zip(other.taken) {
            *mine = theirs.max(*mine);
        }
        for (mine, theirs) in self.forbidden.iter_mut().zip(other.forbidden) {
            *mine = theirs.max(*mine);
        }
    }

    fn was_taken(&self) -> bool {
        self.last_taken() > 0
    }

    fn last_taken(&self) -> Tick {
        self.taken.iter().copied().max().unwrap_or(0)
    }

    fn is_refused(&self) -> bool {
        self.refused > self.last_taken()
    }

    fn may_not(&self, purpose: Use) -> bool {
        at(&self.forbidden, purpose) > at(&self.taken, purpose)
    }

    fn is_proven(&self, purpose: Use) -> bool {
        at(&self.taken, purpose) > 0 && !self.may_not(purpose) && !self.is_refused()
    }

    fn rank(&self, is_own: bool, purpose: Use) -> Rank {
        if self.may_not(purpose) {
            Rank::Forbidden
        } else if self.was_taken() && self.is_refused() {
            Rank::Refused
        } else if is_own {
            Rank::Own
        } else if at(&self.taken, purpose) > 0 {
            Rank::Proven
        } else if self.was_taken() {
            Rank::Taken
        } else if self.given > 0 {
            Rank::Given
        } else {
            Rank::Configured
        }
    }

    /// Among equals the newest comes first.
    fn newest(&self, purpose: Use) -> Tick {
        match at(&self.taken, purpose) {
            0 => self.last_taken().max(self.given),
            taken => taken,
        }
    }

    /// What controls the camera is kept longest, then what was taken at all.
    fn worth(&self) -> (bool, bool, Tick) {
        let controls = self.is_proven(Use::Control);
        (
            controls,
            self.was_taken(),
            self.given.max(self.last_taken()),
        )
    }
}

fn at(ticks: &[Tick; 3], purpose: Use) -> Tick {
    let [control, view, stream] = ticks;
    match purpose {
        Use::Control => *control,
        Use::View => *view,
        Use::Stream => *stream,
    }
}

fn slot(ticks: &mut [Tick; 3], purpose: Use) -> &mut Tick {
    let [control, view, stream] = ticks;
    match purpose {
        Use::Control => control,
        Use::View => view,
        Use::Stream => stream,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::secret::Secret;

    fn host() -> Host {
        Host::parse("ip", "192.168.0.64").unwrap()
    }

    fn login(user: &str) -> Credentials {
        Credentials::new(user, Secret::new("p-1")).unwrap()
    }

    fn users(accounts: &Accounts, own: Option<&str>, purpose: Use) -> Vec<String> {
        let own = own.map(login);
        let configured = login("configured");
        let logins = accounts.for_use(|h| *h == host(), own.as_ref(), Some(&configured), purpose);
        logins
            .iter()
            .map(|login| login.username().to_owned())
            .collect()
    }

    #[test]
    fn what_a_login_is_good_for_decides() {
        let mut accounts = Accounts::default();
        accounts.give(&host(), &login("given"));
        accounts.taken(&host(), &login("admin"), Use::Control);
        accounts.taken(&host(), &login("viewer"), Use::Stream);
        accounts.taken(&host(), &login("viewer"), Use::View);
        let control = users(&accounts, None, Use::Control);
        assert_eq!(control, ["admin", "viewer", "given", "configured"]);
        let view = users(&accounts, None, Use::View);
        assert_eq!(view, ["viewer", "admin", "given", "configured"]);
        // Said by whoever asks: first, unless it is known for something else.
        assert_eq!(users(&accounts, Some("given"), Use::Control)[0], "given");
        assert_eq!(users(&accounts, Some("viewer"), Use::Control)[0], "admin");
        assert_eq!(users(&accounts, Some("admin"), Use::View)[0], "admin");
        // It may not: last, until it may.
        accounts.forbidden(&host(), &login("given"), Use::Control);
        let control = users(&accounts, Some("given"), Use::Control);
        assert_eq!(control, ["admin", "viewer", "configured", "given"]);
        accounts.taken(&host(), &login("given"), Use::Control);
        assert_eq!(users(&accounts, None, Use::Control)[0], "given");
    }

    #[test]
    fn refused_is_forgotten_unless_it_was_ever_taken() {
        let mut accounts = Accounts::default();
        accounts.give(&host(), &login("given"));
        accounts.taken(&host(), &login("old"), Use::Control);
        accounts.taken(&host(), &login("viewer"), Use::View);
        for user in ["given", "old"] {
            accounts.refused(|h| *h == host(), &login(user));
        }
        let control = users(&accounts, Some("old"), Use::Control);
        assert_eq!(control, ["viewer", "old", "configured"]);
        accounts.taken(&host(), &login("old"), Use::View);
        assert_eq!(users(&accounts, None, Use::Control)[0], "old");
    }

    #[test]
    fn memory_is_bounded_and_what_controls_stays() {
        let mut accounts = Accounts::default();
        accounts.taken(&host(), &login("admin"), Use::Control);
        for number in 0..50 {
            accounts.taken(&host(), &login(&format!("viewer-{number}")), Use::View);
        }
        assert_eq!(users(&accounts, None, Use::Control)[0], "admin");
        for number in 0..3_000_u32 {
            let host = Host::Ip(std::net::IpAddr::from(number.to_be_bytes()));
            accounts.give(&host, &login("x"));
        }
        let (hosts, logins) = accounts.sizes();
        assert!(hosts <= MAX_HOSTS && logins <= MAX_LOGINS);
    }
}
