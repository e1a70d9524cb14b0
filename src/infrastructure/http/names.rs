//! Name lookups for ureq: bounded in time and number, remembered for a minute.
//!
//! ureq's own resolver starts an unnamed thread for every single request (a request on an open
//! connection included) and panics where none can be started. This one asks the system only when
//! its answer is older than that or was [`distrust`](Names::distrust)ed after a failure, and
//! goes on with the old answer while the name service is away, so that an open connection does
//! not fail for want of a name it no longer needs.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use crate::util::address;

/// How long an answer is used without asking again.
const FRESH: Duration = Duration::from_secs(60);
/// Lookups that hang at a time; the system gives each up after half a minute or so.
const MAX_RUNNING: usize = 4;
/// Hosts remembered; nobody here talks to more.
const MAX_HOSTS: usize = 64;
/// Addresses kept of one host; what ureq has room for.
const MAX_ADDRESSES: usize = 16;

type Lookup = fn(&str) -> io::Result<Vec<SocketAddr>>;

/// A resolver with a memory. Clones share it.
#[derive(Clone)]
pub struct Names {
    shared: Arc<NamesShared>,
}

struct NamesShared {
    lookup: Lookup,
    known: Mutex<HashMap<String, Known>>,
    running: AtomicUsize,
}

#[derive(Clone)]
struct Known {
    addresses: Vec<SocketAddr>,
    fresh_until: Option<Instant>,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

impl Default for Names {
    fn default() -> Self {
        Self::with_lookup(|host_port| Ok(host_port.to_socket_addrs()?.collect()))
    }
}

impl Names {
    fn with_lookup(lookup: Lookup) -> Self {
        Self {
            shared: Arc::new(NamesShared {
                lookup,
                known: Mutex::default(),
                running: AtomicUsize::new(0),
            }),
        }
    }

    /// A request has failed: ask again before the next one. Old answers stay as the last resort.
    pub fn distrust(&self) {
        for known in self.known().values_mut() {
            known.fresh_until = None;
        }
    }

    /// The addresses of a host, for those who open their connections themselves. Never empty.
    pub fn lookup(&self, host: &str, port: u16, timeout: Duration) -> io::Result<Vec<SocketAddr>> {
        let host_port = if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        };
        let found = self.addresses(&host_port, timeout);
        found.map_err(|why| match why {
            Failure::Unknown => io::Error::new(io::ErrorKind::NotFound, "no such name"),
            Failure::Timeout => {
                io::Error::new(io::ErrorKind::TimedOut, "the name service does not answer")
            }
            Failure::Busy => io::Error::other("name lookups hang"),
            Failure::Io(why) => why,
        })
    }

    /// The addresses of `host_port`, asked for at most `timeout` long, without those where no peer
    /// of ours can be.
    fn addresses(&self, host_port: &str, timeout: Duration) -> Result<Vec<SocketAddr>, Failure> {
        let mut found = self.any_addresses(host_port, timeout)?;
        found.retain(|address| may_be_a_peer(address.ip()));
        if found.is_empty() {
            return Err(Failure::Io(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the name leads to a link-local, multicast or metadata address, where no peer can be",
            )));
        }
        Ok(found)
    }

    fn any_addresses(
        &self,
        host_port: &str,
        timeout: Duration,
    ) -> Result<Vec<SocketAddr>, Failure> {
        if let Ok(literal) = host_port.parse::<SocketAddr>() {
            return Ok(vec![literal]);
        }
        let old = self.known().get(host_port).cloned();
        if let Some(known) = &old
            && known
                .fresh_until
                .is_some_and(|until| Instant::now() < until)
        {
            return Ok(known.addresses.clone());
        }
        let (addresses, failure) = match (self.ask(host_port, timeout), old) {
            (Ok(addresses), _) if !addresses.is_empty() => (addresses, None),
            (Ok(_), None) => return Err(Failure::Unknown),
            (Err(why), None) => return Err(why),
            (Ok(_), Some(old)) => (old.addresses, Some(Failure::Unknown)),
            (Err(why), Some(old)) => (old.addresses, Some(why)),
        };
        if let Some(why) = failure {
            log::debug!(host = host_port, reason:? = why; "name lookup failed; the last known addresses are used");
        }
        let mut known = self.known();
        if known.len() >= MAX_HOSTS && !known.contains_key(host_port) {
            known.clear();
        }
        known.insert(
            host_port.to_owned(),
            Known {
                addresses: addresses.clone(),
                fresh_until: Some(Instant::now() + FRESH),
            },
        );
        Ok(addresses)
    }

    fn ask(&self, host_port: &str, timeout: Duration) -> Result<Vec<SocketAddr>, Failure> {
        let running = LookupCount::begin(&self.shared).ok_or(Failure::Busy)?;
        let (tx, rx) = crossbeam_channel::bounded(1);
        let (lookup, host) = (self.shared.lookup, host_port.to_owned());
        std::thread::Builder::new()
            .name("dns".to_owned())
            .spawn(move || {
                let _running = running;
                // Nobody may be waiting any more; then the answer comes too late.
                let _ = tx.send(lookup(&host));
            })
            .map_err(Failure::Io)?;
        match rx.recv_timeout(timeout) {
            Ok(answer) => answer.map_err(Failure::Io),
            Err(_) => Err(Failure::Timeout),
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, Known>> {
        self.shared
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A cloud's metadata service answers whoever is on the machine; a name that somebody else controls
/// must not lead us there, nor to a link-local address, where no cloud is.
fn may_be_a_peer(ip: IpAddr) -> bool {
    let link_local = match address::plain(ip) {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !link_local && address::objection(ip).is_none()
}

/// Counts a lookup for as long as it lives.
struct LookupCount(Arc<NamesShared>);

impl LookupCount {
    fn begin(shared: &Arc<NamesShared>) -> Option<Self> {
        let counted = Self(shared.clone());
        let before = shared.running.fetch_add(1, Ordering::Relaxed);
        (before < MAX_RUNNING).then_some(counted)
    }
}

impl Drop for LookupCount {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
enum Failure {
    Unknown,
    Timeout,
    Busy,
    Io(io::Error),
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        _config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let bad = || ureq::Error::BadUri("no host".to_owned());
        let host = uri.host().ok_or_else(bad)?;
        let port = match (uri.port_u16(), uri.scheme_str()) {
            (Some(port), _) => port,
            (None, Some("https")) => 443,
            (None, Some("http")) => 80,
            (None, _) => return Err(bad()),
        };
        // An agent of ours always has a connect timeout; this is for one that has none.
        let patience = timeout
            .not_zero()
            .map_or(Duration::from_secs(30), |after| *after);
        let found = self
            .addresses(&format!("{host}:{port}"), patience)
            .map_err(|why| match why {
                Failure::Unknown => ureq::Error::HostNotFound,
                Failure::Timeout => ureq::Error::Timeout(timeout.reason),
                Failure::Busy => io::Error::other("name lookups hang").into(),
                Failure::Io(why) => ureq::Error::Io(why),
            })?;
        let mut out = self.empty();
        for address in found.into_iter().take(MAX_ADDRESSES) {
            out.push(address);
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn literals_are_not_asked_for() {
        let names = Names::with_lookup(|_| panic!("asked"));
        for literal in ["127.0.0.1:80", "[::1]:443"] {
            assert_eq!(
                names.addresses(literal, SECOND).unwrap(),
                vec![literal.parse().unwrap()]
            );
        }
    }

    #[test]
    fn nobody_is_led_to_a_metadata_service() {
        let names = Names::with_lookup(|host| {
            Ok(vec![match host {
                "both.test:80" => {
                    return Ok(vec![
                        SocketAddr::from(([169, 254, 169, 254], 80)),
                        SocketAddr::from(([127, 0, 0, 1], 80)),
                    ]);
                }
                _ => SocketAddr::from(([169, 254, 169, 254], 80)),
            }])
        });
        for refused in ["[fe80::1]:80", "[64:ff9b::a9fe:1]:80", "metadata.test:80"]
            .map(str::to_owned)
            .into_iter()
            .chain(
                address::tests::NOWHERE
                    .map(|ip| SocketAddr::new(ip.parse().unwrap(), 80).to_string()),
            )
        {
            let refused = refused.as_str();
            let why = names.addresses(refused, SECOND);
            assert!(
                matches!(&why, Err(Failure::Io(e)) if e.kind() == io::ErrorKind::PermissionDenied),
                "{refused}: {why:?}"
            );
        }
        let left = names.addresses("both.test:80", SECOND).unwrap();
        assert_eq!(left, vec![SocketAddr::from(([127, 0, 0, 1], 80))]);
    }

    #[test]
    fn a_lookup_puts_ipv6_into_brackets_and_says_what_is_wrong() {
        let names = Names::with_lookup(|_| Ok(Vec::new()));
        let found = names.lookup("::1", 443, SECOND).unwrap();
        assert_eq!(found, vec!["[::1]:443".parse().unwrap()]);
        let why = names.lookup("nobody.test", 443, SECOND).unwrap_err();
        assert_eq!(why.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn asked_once_and_again_after_distrust_and_old_answers_outlive_the_service() {
        static ASKED: AtomicU32 = AtomicU32::new(0);
        let names = Names::with_lookup(|_| match ASKED.fetch_add(1, Ordering::Relaxed) {
            0 => Ok(vec![SocketAddr::from(([127, 0, 0, 9], 80))]),
            _ => Err(io::Error::other("no service")),
        });
        let first = names.addresses("rcs.test:80", SECOND).unwrap();
        assert_eq!(names.addresses("rcs.test:80", SECOND).unwrap(), first);
        assert_eq!(ASKED.load(Ordering::Relaxed), 1);
        names.distrust();
        assert_eq!(names.addresses("rcs.test:80", SECOND).unwrap(), first);
        assert_eq!(ASKED.load(Ordering::Relaxed), 2);
        assert!(names.addresses("other.test:80", SECOND).is_err());
    }

    #[test]
    fn a_lookup_that_hangs_is_left_behind_and_few_hang_at_a_time() {
        static HANG: Mutex<()> = Mutex::new(());
        let held = HANG.lock().unwrap();
        let names = Names::with_lookup(|_| {
            drop(HANG.lock());
            Ok(vec![SocketAddr::from(([127, 0, 0, 1], 1))])
        });
        for _ in 0..MAX_RUNNING {
            let why = names.addresses("slow.test:80", Duration::from_millis(1));
            assert!(matches!(why, Err(Failure::Timeout)));
        }
        let why = names.addresses("slow.test:80", SECOND);
        assert!(matches!(why, Err(Failure::Busy)));
        drop(held);
        let deadline = Instant::now() + Duration::from_secs(10);
        while names.addresses("slow.test:80", SECOND).is_err() {
            assert!(Instant::now() < deadline, "lookups never end");
            std::thread::yield_now();
        }
    }
}
