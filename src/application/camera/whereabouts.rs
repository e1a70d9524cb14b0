//! Where host names lead: the address each was last found at, and the commands that wait for a
//! lookup. Sans-IO; the thread that asks is the service's.
//!
//! A lane belongs to an address, so that one camera has one lane whatever it is called. A name
//! whose camera has a lane leads to it at once, and is asked for anew beside that; so no stop waits
//! for a name service. Any other is looked up first, and its commands keep their order meanwhile.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::book::NamedChannel;
use super::order::{CameraReply, Command, Order};
use super::overtaken::Call;
use crate::domain::error::{ErrorCode, Fault};

/// How long an answer is used without asking again.
const FRESH: Duration = Duration::from_secs(60);
/// Most names remembered.
const MAX_NAMES: usize = 256;
/// Most names that are looked up at a time.
const MAX_ASKED: usize = 8;
/// Most commands that wait for one name, stops not counted.
const MAX_WAITING: usize = 16;
/// Most stops that wait for one name: each has a caller, and those are few.
const MAX_STOPS: usize = 64;

/// A command on its way to its lane.
pub(super) struct Job {
    /// As the command has it.
    pub place: NamedChannel,
    pub command: Command,
    /// How it named its camera, and when; `None` = lss's own.
    pub call: Option<Call>,
    pub reply: Sender<CameraReply>,
    /// When it was handed in.
    pub since: Instant,
}

#[derive(Default)]
struct Name {
    at: Option<IpAddr>,
    asked: Option<Instant>,
    asking: bool,
    /// There while commands wait for the lookup that is under way.
    waiting: Option<VecDeque<Job>>,
}

/// What is to be done with a command.
pub(super) struct Routed {
    /// To be handed over now, there; else it waits.
    pub now: Option<(Job, IpAddr)>,
    /// The name is to be looked up; [`Whereabouts::take`] gives what waits for it.
    pub ask: bool,
}

#[derive(Default)]
pub(super) struct Whereabouts {
    names: BTreeMap<String, Name>,
}

impl Whereabouts {
    /// Where a name led when it was last asked for.
    pub fn last(&self, name: &str) -> Option<IpAddr> {
        self.names.get(name).and_then(|known| known.at)
    }

    /// Whether commands wait for a lookup of it.
    pub fn is_awaited(&self, name: &str) -> bool {
        let known = self.names.get(name);
        known.is_some_and(|known| known.waiting.is_some())
    }

    /// Takes a command for a name in. `lane` = its camera has a lane at the last known address.
    pub fn route(
        &mut self,
        name: &str,
        job: Job,
        lane: bool,
        now: Instant,
    ) -> Result<Routed, Fault> {
        let asked = self.names.values().filter(|known| known.asking).count();
        self.make_room(name);
        let known = self.names.entry(name.to_owned()).or_default();
        let fresh = known
            .asked
            .is_some_and(|asked| now.saturating_duration_since(asked) < FRESH);
        if let Some(at) = known.at
            && known.waiting.is_none()
            && (fresh || lane)
        {
            let ask = !fresh && !known.asking && asked < MAX_ASKED;
            known.asking |= ask;
            return Ok(Routed {
                now: Some((job, at)),
                ask,
            });
        }
        let bound = match job.command.order {
            Order::Stop(_) => MAX_STOPS,
            _ => MAX_WAITING,
        };
        let waiting = known.waiting.as_ref().map_or(0, VecDeque::len);
        if waiting >= bound || (!known.asking && asked >= MAX_ASKED) {
            return Err(Fault::new(
                ErrorCode::NodeBusy,
                "the name service is slow, and too many commands wait for it",
            ));
        }
        known.waiting.get_or_insert_default().push_back(job);
        let ask = !std::mem::replace(&mut known.asking, true);
        Ok(Routed { now: None, ask })
    }

    /// What waits for a name, oldest first, now that its lookup has ended. To be asked for until
    /// nothing is left: what comes meanwhile waits its turn too.
    pub fn take(&mut self, name: &str, found: Option<IpAddr>, now: Instant) -> VecDeque<Job> {
        let Some(known) = self.names.get_mut(name) else {
            return VecDeque::new();
        };
        if found.is_some() {
            (known.at, known.asked) = (found, Some(now));
        }
        let jobs = known.waiting.take().unwrap_or_default();
        known.asking = !jobs.is_empty();
        known.waiting = (!jobs.is_empty()).then(VecDeque::new);
        jobs
    }

    /// Nothing remembered is believed without asking again.
    #[cfg(test)]
    pub fn distrust(&mut self) {
        for known in self.names.values_mut() {
            known.asked = None;
        }
    }

    fn make_room(&mut self, name: &str) {
        if self.names.len() < MAX_NAMES || self.names.contains_key(name) {
            return;
        }
        let oldest = self
            .names
            .iter()
            .filter(|(_, known)| !known.asking)
            .min_by_key(|(_, known)| known.asked)
            .map(|(name, _)| name.clone());
        if let Some(oldest) = oldest {
            self.names.remove(&oldest);
        }
    }
}

/// The address of a name with these: the one it led to before, if that is still among them, else
/// the first of IPv4, which is what cameras speak where a name has both.
pub(super) fn pick(found: &[IpAddr], before: Option<IpAddr>) -> Option<IpAddr> {
    before
        .filter(|ip| found.contains(ip))
        .or_else(|| found.iter().find(|ip| ip.is_ipv4()).copied())
        .or_else(|| found.first().copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::camera::{Action, CommandId, Host, Origin};
    use crate::domain::ptz::Drives;
    use crate::domain::stream::Id;

    const AT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9));

    fn job(number: u64, order: Order) -> Job {
        Job {
            place: NamedChannel {
                host: Host::Name("cam".into()),
                port: 80,
                port_is_said: false,
                channel: 1,
            },
            command: Command {
                id: CommandId(number),
                camera: Id::parse("cameraId", "c").unwrap(),
                origin: Origin::Rest,
                age: Duration::ZERO,
                overtaken: false,
                order,
            },
            call: None,
            reply: crossbeam_channel::bounded(1).0,
            since: Instant::now(),
        }
    }

    fn numbers(jobs: &VecDeque<Job>) -> Vec<u64> {
        jobs.iter().map(|job| job.command.id.0).collect()
    }

    #[test]
    fn commands_wait_in_order_until_nothing_is_left() {
        let (mut names, now) = (Whereabouts::default(), Instant::now());
        let stop = || Order::Stop(Drives::ALL);
        for (number, ask) in [(1, true), (2, false)] {
            let routed = names.route(
                "cam",
                job(number, Order::Act(Action::FocusAuto)),
                false,
                now,
            );
            let routed = routed.unwrap();
            assert!(routed.now.is_none());
            assert_eq!(routed.ask, ask);
        }
        // One that comes while the first are handed over waits its turn, a stop too.
        assert_eq!(numbers(&names.take("cam", Some(AT), now)), [1, 2]);
        assert!(names.is_awaited("cam"));
        let routed = names.route("cam", job(3, stop()), true, now).unwrap();
        assert!(routed.now.is_none() && !routed.ask);
        assert_eq!(numbers(&names.take("cam", Some(AT), now)), [3]);
        assert_eq!(numbers(&names.take("cam", Some(AT), now)), [0; 0]);
        assert!(!names.is_awaited("cam"));
        let routed = names.route("cam", job(4, stop()), false, now).unwrap();
        assert_eq!(routed.now.unwrap().1, AT);
        assert!(!routed.ask);
    }

    #[test]
    fn an_old_answer_is_used_where_a_lane_is_and_asked_for_beside() {
        let (mut names, now) = (Whereabouts::default(), Instant::now());
        names
            .route("cam", job(1, Order::Act(Action::FocusAuto)), false, now)
            .unwrap();
        names.take("cam", Some(AT), now);
        names.take("cam", Some(AT), now);
        let later = now + FRESH;
        for ask in [true, false] {
            let routed = names.route("cam", job(2, Order::Act(Action::FocusAuto)), true, later);
            let routed = routed.unwrap();
            assert_eq!((routed.now.unwrap().1, routed.ask), (AT, ask));
        }
        // Without a lane nothing moves there, and the name may lead elsewhere by now.
        let routed = names.route("cam", job(3, Order::Act(Action::FocusAuto)), false, later);
        let routed = routed.unwrap();
        assert!(routed.now.is_none() && !routed.ask);
        // The lookup fails: what is known stays.
        assert_eq!(numbers(&names.take("cam", None, later)), [3]);
        assert_eq!(names.last("cam"), Some(AT));
    }

    #[test]
    fn bounds() {
        let (mut names, now) = (Whereabouts::default(), Instant::now());
        for number in 0..16 {
            names
                .route(
                    "cam",
                    job(number, Order::Act(Action::FocusAuto)),
                    false,
                    now,
                )
                .unwrap();
        }
        let full = names.route("cam", job(16, Order::Act(Action::FocusAuto)), false, now);
        assert_eq!(full.err().unwrap().code, ErrorCode::NodeBusy);
        let stop = names.route("cam", job(17, Order::Stop(Drives::ALL)), false, now);
        assert!(stop.is_ok());
        for number in 1..8 {
            let name = format!("cam{number}");
            names
                .route(&name, job(1, Order::Act(Action::FocusAuto)), false, now)
                .unwrap();
        }
        let full = names.route("cam8", job(1, Order::Act(Action::FocusAuto)), false, now);
        assert_eq!(full.err().unwrap().code, ErrorCode::NodeBusy);
        for number in 0..300 {
            let name = format!("other{number}");
            names.take("cam", Some(AT), now);
            names.take("cam", Some(AT), now);
            names
                .route(&name, job(1, Order::Act(Action::FocusAuto)), false, now)
                .unwrap();
            names.take(&name, Some(AT), now);
            names.take(&name, Some(AT), now);
        }
        assert!(names.names.len() <= MAX_NAMES);
    }

    #[test]
    fn the_address_that_it_led_to_before_else_the_first_of_ipv4() {
        let v6: IpAddr = "fd00::9".parse().unwrap();
        let other: IpAddr = "10.0.0.10".parse().unwrap();
        assert_eq!(pick(&[v6, other, AT], None), Some(other));
        assert_eq!(pick(&[v6, other, AT], Some(AT)), Some(AT));
        assert_eq!(pick(&[v6, other], Some(AT)), Some(other));
        assert_eq!(pick(&[v6], None), Some(v6));
        assert_eq!(pick(&[], Some(AT)), None);
    }
}
