//! Cameras whose movements are watched: every device that is opened here tells, before a movement
//! leaves, what may be moving from then on, and after a stop that was obeyed, what is not.
//!
//! Where a camera has said that it ends a movement by itself, it is believed from then on, and
//! nobody is told. What was lost, or refused in doubt, counts as moving.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::Claim;
use super::job::{Job, place};
use crate::domain::camera::fit::EncoderDevice;
use crate::domain::camera::{
    CameraAddress, CameraDevice, CameraDeviceInfo, CameraError, CameraGateway, CameraTarget,
    Checked, Credentials, Manner, Motion, MoveAccepted, PresetInfo, Protocol, ProtocolOffer,
    SnapshotWish, StopWay, StreamSettings,
};
use crate::domain::camera_trust::{CameraTrust, KeptCertificate};
use crate::domain::ptz::{Drive, Drives, Velocity};

/// Logins that are remembered of an address.
const LOGINS: usize = 4;
/// Addresses and places that are remembered; beyond that those that stand still go.
const REMEMBERED: usize = 256;
/// A movement waits so long for the guard to be told; it leaves without, rather than not at all.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

/// Tells the guard; what comes back is ready when that is done.
pub type Tell = Box<dyn Fn(Job) -> Receiver<()> + Send + Sync>;
/// Says of a camera whose it is, to an older guard.
pub type Say = Box<dyn Fn(&str, Claim) + Send + Sync>;

/// See the module.
pub struct Watched {
    inner: Arc<dyn CameraGateway>,
    watch: Arc<Watch>,
}

impl Watched {
    /// Watches what is opened through `inner`.
    pub fn new(inner: Arc<dyn CameraGateway>, tell: Tell, claim: Say) -> Self {
        let watch = Watch {
            state: Mutex::default(),
            trust: Box::new({
                let inner = Arc::clone(&inner);
                move |ip| inner.trust(ip)
            }),
            tell,
            claim,
        };
        Self {
            inner,
            watch: Arc::new(watch),
        }
    }
}

impl CameraGateway for Watched {
    fn protocols(&self) -> &[ProtocolOffer] {
        self.inner.protocols()
    }

    fn open(
        &self,
        target: &CameraTarget,
        protocol: Protocol,
    ) -> Result<Box<dyn CameraDevice>, CameraError> {
        Ok(Box::new(WatchedDevice {
            inner: self.inner.open(target, protocol)?,
            target: target.clone(),
            watch: Arc::clone(&self.watch),
        }))
    }

    fn speaks(
        &self,
        address: &CameraAddress,
        protocol: Protocol,
        deadline: Instant,
    ) -> Result<bool, CameraError> {
        self.inner.speaks(address, protocol, deadline)
    }

    fn trust(&self, ip: IpAddr) -> CameraTrust {
        self.inner.trust(ip)
    }

    fn forget_certificates(&self, ip: IpAddr) -> Vec<KeptCertificate> {
        self.inner.forget_certificates(ip)
    }
}

struct Watch {
    state: Mutex<State>,
    trust: Box<dyn Fn(IpAddr) -> CameraTrust + Send + Sync>,
    tell: Tell,
    claim: Say,
}

#[derive(Default)]
struct State {
    places: HashMap<(CameraAddress, u16), Place>,
    /// Logins that an address has taken, the last first.
    taken: HashMap<IpAddr, Vec<Credentials>>,
}

struct Place {
    protocol: Protocol,
    moving: Drives,
    /// Drives whose movements the camera ends by itself.
    ends_itself: Drives,
    /// By which the last movement was asked for.
    login: Option<Credentials>,
    /// And how.
    manner: Manner,
    /// What the guard was told last of its certificates.
    trust: CameraTrust,
}

impl Watch {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is known of a place, and tells if the guard has to know. In the order of the
    /// changes: what is told only enters a queue while the lock is held.
    fn change(
        &self,
        target: &CameraTarget,
        protocol: Protocol,
        what: impl FnOnce(&mut Place) -> bool,
    ) -> Option<Receiver<()>> {
        let trust = (self.trust)(target.address.ip);
        let mut state = self.state();
        let State { places, taken } = &mut *state;
        if places.len() >= REMEMBERED {
            places.retain(|_, place| !place.moving.is_empty());
        }
        let key = (target.address.clone(), target.channel);
        let place = places.entry(key).or_insert_with(|| Place {
            protocol,
            moving: Drives::NONE,
            ends_itself: Drives::NONE,
            login: None,
            manner: Manner::default(),
            trust: CameraTrust::default(),
        });
        let changed = what(place);
        // The certificate of a camera's first movement is seen on its way.
        let seen = !place.moving.is_empty() && place.trust != trust;
        if !changed && !seen {
            return None;
        }
        place.trust.clone_from(&trust);
        let mut logins: Vec<Credentials> = place.login.iter().cloned().collect();
        for login in taken.get(&target.address.ip).into_iter().flatten() {
            if !logins.contains(login) {
                logins.push(login.clone());
            }
        }
        Some((self.tell)(Job {
            address: target.address.clone(),
            channel: target.channel,
            protocol: place.protocol,
            drives: place.moving,
            logins,
            manner: place.manner.clone(),
            trust,
        }))
    }

    /// A movement is about to leave.
    fn leaves(&self, target: &CameraTarget, protocol: Protocol, drive: Drive) -> bool {
        (self.claim)(&place(&target.address, target.channel), Claim::Begins);
        let mut before = false;
        let told = self.change(target, protocol, |place| {
            before = place.moving.contains(drive);
            if place.ends_itself.contains(drive) && !before {
                return false;
            }
            place.protocol = protocol;
            place.login.clone_from(&target.credentials);
            place.manner.clone_from(&target.manner);
            place.moving.insert(drive);
            true
        });
        if let Some(told) = told {
            let _ = told.recv_timeout(TOLD_WITHIN);
        }
        before
    }

    /// What the camera said to it. `before`: the drive was moving already.
    fn answered(
        &self,
        target: &CameraTarget,
        protocol: Protocol,
        drive: Drive,
        before: bool,
        result: &Result<MoveAccepted, CameraError>,
    ) {
        let acted = match result {
            Ok(_) => true,
            Err(error) => error.may_have_acted(),
        };
        let claim = if acted { Claim::Holds } else { Claim::Fails };
        (self.claim)(&place(&target.address, target.channel), claim);
        let moves = match result {
            Ok(accepted) => accepted.ends_after.is_none(),
            Err(_) => acted || before,
        };
        self.change(target, protocol, |place| {
            let was = place.moving.contains(drive);
            if moves {
                place.moving.insert(drive);
            } else {
                place.moving.remove(drive);
            }
            match result {
                Ok(MoveAccepted {
                    ends_after: Some(_),
                }) => place.ends_itself.insert(drive),
                Ok(_) => place.ends_itself.remove(drive),
                Err(_) => {}
            }
            if moves && !was {
                place.login.clone_from(&target.credentials);
            }
            was != moves
        });
    }

    /// A stop was obeyed.
    fn stands(&self, target: &CameraTarget, protocol: Protocol, drive: Drive) {
        self.change(target, protocol, |place| {
            let was = place.moving.contains(drive);
            place.moving.remove(drive);
            was
        });
    }

    /// What became of the login of a request.
    fn heard<T>(&self, target: &CameraTarget, result: &Result<T, CameraError>) {
        let Some(login) = &target.credentials else {
            return;
        };
        let mut state = self.state();
        let taken = &mut state.taken;
        match result {
            Ok(_) => {
                if taken.len() >= REMEMBERED && !taken.contains_key(&target.address.ip) {
                    taken.clear();
                }
                let logins = taken.entry(target.address.ip).or_default();
                if logins.first() != Some(login) {
                    logins.retain(|other| other != login);
                    logins.insert(0, login.clone());
                    logins.truncate(LOGINS);
                }
            }
            Err(CameraError::LoginRefused(_)) => {
                if let Some(logins) = taken.get_mut(&target.address.ip) {
                    logins.retain(|other| other != login);
                }
            }
            Err(_) => {}
        }
    }
}

struct WatchedDevice {
    inner: Box<dyn CameraDevice>,
    target: CameraTarget,
    watch: Arc<Watch>,
}

impl WatchedDevice {
    fn heard<T>(&self, result: Result<T, CameraError>) -> Result<T, CameraError> {
        self.watch.heard(&self.target, &result);
        result
    }
}

impl CameraDevice for WatchedDevice {
    fn protocol(&self) -> Protocol {
        self.inner.protocol()
    }

    fn hang_up(&mut self) {
        self.inner.hang_up();
    }

    fn check(&mut self, deadline: Instant) -> Result<Checked, CameraError> {
        let result = self.inner.check(deadline);
        if !matches!(&result, Ok(checked) if !checked.authenticated) {
            self.watch.heard(&self.target, &result);
        }
        result
    }

    fn probe(&mut self, deadline: Instant) -> Result<CameraDeviceInfo, CameraError> {
        let result = self.inner.probe(deadline);
        self.heard(result)
    }

    fn move_at(
        &mut self,
        drive: Drive,
        velocity: Velocity,
        limit: Duration,
        deadline: Instant,
    ) -> Result<MoveAccepted, CameraError> {
        let protocol = self.inner.protocol();
        let before = self.watch.leaves(&self.target, protocol, drive);
        let result = self.inner.move_at(drive, velocity, limit, deadline);
        self.watch
            .answered(&self.target, protocol, drive, before, &result);
        self.heard(result)
    }

    fn focus_auto(&mut self, deadline: Instant) -> Result<(), CameraError> {
        let result = self.inner.focus_auto(deadline);
        self.heard(result)
    }

    fn stop(&mut self, drive: Drive, way: StopWay, deadline: Instant) -> Result<(), CameraError> {
        let result = self.inner.stop(drive, way, deadline);
        if result.is_ok() {
            let protocol = self.inner.protocol();
            self.watch.stands(&self.target, protocol, drive);
        }
        self.heard(result)
    }

    fn encoders(&mut self) -> Option<&mut dyn EncoderDevice> {
        self.inner.encoders()
    }

    fn motion(&mut self, deadline: Instant) -> Result<Motion, CameraError> {
        self.inner.motion(deadline)
    }

    fn presets(&mut self, deadline: Instant) -> Result<Vec<PresetInfo>, CameraError> {
        let result = self.inner.presets(deadline);
        self.heard(result)
    }

    fn goto_preset(
        &mut self,
        preset: &str,
        force: bool,
        deadline: Instant,
    ) -> Result<(), CameraError> {
        let result = self.inner.goto_preset(preset, force, deadline);
        self.heard(result)
    }

    fn set_preset(
        &mut self,
        preset: Option<&str>,
        name: Option<&str>,
        deadline: Instant,
    ) -> Result<String, CameraError> {
        self.inner.set_preset(preset, name, deadline)
    }

    fn delete_preset(&mut self, preset: &str, deadline: Instant) -> Result<(), CameraError> {
        self.inner.delete_preset(preset, deadline)
    }

    fn start_patrol(&mut self, patrol: &str, deadline: Instant) -> Result<(), CameraError> {
        self.inner.start_patrol(patrol, deadline)
    }

    fn stop_patrol(&mut self, patrol: &str, deadline: Instant) -> Result<(), CameraError> {
        self.inner.stop_patrol(patrol, deadline)
    }

    fn snapshot(&mut self, wish: SnapshotWish, deadline: Instant) -> Result<Vec<u8>, CameraError> {
        self.inner.snapshot(wish, deadline)
    }

    fn stream_uri(&mut self, deadline: Instant) -> Result<Option<String>, CameraError> {
        self.inner.stream_uri(deadline)
    }

    fn stream_settings(&mut self, deadline: Instant) -> Result<StreamSettings, CameraError> {
        self.inner.stream_settings(deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::secret::Secret;
    use crossbeam_channel::{Sender, bounded, unbounded};

    struct Bench {
        watch: Watch,
        told: Receiver<Job>,
        claimed: Receiver<(String, Claim)>,
    }

    fn bench() -> Bench {
        let (say, told) = unbounded();
        let (take, claimed): (Sender<(String, Claim)>, _) = unbounded();
        let watch = Watch {
            state: Mutex::default(),
            trust: Box::new(|_| CameraTrust::default()),
            tell: Box::new(move |job| {
                say.send(job).unwrap();
                let (done, ready) = bounded(1);
                done.send(()).unwrap();
                ready
            }),
            claim: Box::new(move |place, claim| take.send((place.to_owned(), claim)).unwrap()),
        };
        Bench {
            watch,
            told,
            claimed,
        }
    }

    fn target(user: &str) -> CameraTarget {
        CameraTarget {
            address: CameraAddress::new([10, 0, 0, 9].into(), 80),
            credentials: Some(Credentials::new(user, Secret::new("canary")).unwrap()),
            channel: 2,
            manner: Manner::default(),
        }
    }

    fn users(job: &Job) -> Vec<&str> {
        job.logins.iter().map(Credentials::username).collect()
    }

    const PTZ: Drive = Drive::PanTiltZoom;

    impl Bench {
        fn moves(&self, user: &str, result: &Result<MoveAccepted, CameraError>) {
            let at = target(user);
            let before = self.watch.leaves(&at, Protocol::ONVIF, PTZ);
            self.watch
                .answered(&at, Protocol::ONVIF, PTZ, before, result);
        }

        fn told(&self) -> Vec<Job> {
            self.told.try_iter().collect()
        }
    }

    fn accepted(ends_after: Option<Duration>) -> MoveAccepted {
        MoveAccepted { ends_after }
    }

    #[test]
    fn what_moves_is_told_before_it_leaves_and_with_its_login() {
        let bench = bench();
        bench.watch.heard(&target("viewer"), &Ok(()));
        assert!(!bench.watch.leaves(&target("admin"), Protocol::ONVIF, PTZ));
        let told = bench.told();
        assert_eq!(told.len(), 1);
        assert_eq!(
            (told[0].drives, users(&told[0])),
            (Drives::only(PTZ), vec!["admin", "viewer"])
        );
        assert_eq!(
            bench.claimed.try_recv(),
            Ok(("10.0.0.9/2".to_owned(), Claim::Begins))
        );
        // Another login that is taken meanwhile does not push its way in.
        bench.watch.heard(&target("viewer"), &Ok(()));
        bench.watch.answered(
            &target("admin"),
            Protocol::ONVIF,
            PTZ,
            false,
            &Ok(accepted(None)),
        );
        assert!(bench.told().is_empty());
        bench.watch.stands(&target("viewer"), Protocol::ONVIF, PTZ);
        assert!(bench.told()[0].drives.is_empty());
        bench.watch.stands(&target("viewer"), Protocol::ONVIF, PTZ);
        assert!(bench.told().is_empty());
    }

    #[test]
    fn a_certificate_that_a_movement_has_met_is_told() {
        let kept = Arc::new(Mutex::new(CameraTrust::default()));
        let bench = {
            let seen = Arc::clone(&kept);
            let mut bench = bench();
            bench.watch.trust = Box::new(move |_| seen.lock().unwrap().clone());
            bench
        };
        let at = target("admin");
        let accepted = || Ok(accepted(None));
        let before = bench.watch.leaves(&at, Protocol::ONVIF, PTZ);
        let certificate = KeptCertificate {
            at: ([10, 0, 0, 9], 443).into(),
            fingerprint: [1; 32],
            since: std::time::UNIX_EPOCH,
            entrances: Vec::new(),
        };
        kept.lock().unwrap().kept.push(certificate);
        bench
            .watch
            .answered(&at, Protocol::ONVIF, PTZ, before, &accepted());
        let told = bench.told();
        let trusts: Vec<usize> = told.iter().map(|job| job.trust.kept.len()).collect();
        assert_eq!(trusts, [0, 1]);
        assert!(told.iter().all(|job| job.drives == Drives::only(PTZ)));
        // Once.
        bench
            .watch
            .answered(&at, Protocol::ONVIF, PTZ, true, &accepted());
        assert!(bench.told().is_empty());
    }

    #[test]
    fn a_camera_that_ends_it_by_itself_needs_no_guard_from_then_on() {
        let bench = bench();
        bench.moves("admin", &Ok(accepted(Some(Duration::from_secs(5)))));
        let drives: Vec<Drives> = bench.told().iter().map(|j| j.drives).collect();
        assert_eq!(drives, [Drives::only(PTZ), Drives::NONE]);
        bench.moves("admin", &Ok(accepted(Some(Duration::from_secs(5)))));
        assert!(bench.told().is_empty());
        // It has changed its mind.
        bench.moves("admin", &Ok(accepted(None)));
        assert_eq!(bench.told()[0].drives, Drives::only(PTZ));
    }

    #[test]
    fn doubt_is_movement() {
        let bench = bench();
        bench.moves("admin", &Err(CameraError::NoAnswer("late".to_owned())));
        assert_eq!(bench.told().last().unwrap().drives, Drives::only(PTZ));
        // Refused, but it moved before.
        bench.moves("admin", &Err(CameraError::Busy("panel".to_owned())));
        assert_eq!(bench.told().last().unwrap().drives, Drives::only(PTZ));
        bench.watch.stands(&target("admin"), Protocol::ONVIF, PTZ);
        bench.told();
        bench.moves("admin", &Err(CameraError::Busy("panel".to_owned())));
        assert_eq!(bench.told().last().unwrap().drives, Drives::NONE);
    }

    #[test]
    fn a_camera_is_claimed_by_what_it_has_taken() {
        let bench = bench();
        let gone = || Err(CameraError::Unreachable("no route".to_owned()));
        let late = || Err(CameraError::NoAnswer("late".to_owned()));
        let mut said = Vec::new();
        for result in [gone(), late(), Ok(accepted(None))] {
            bench.moves("admin", &result);
            said.extend(bench.claimed.try_iter().map(|(_, claim)| claim));
        }
        let in_turn = [Claim::Fails, Claim::Holds, Claim::Holds];
        let expected: Vec<Claim> = in_turn
            .iter()
            .flat_map(|end| [Claim::Begins, *end])
            .collect();
        assert_eq!(said, expected);
    }

    #[test]
    fn a_move_that_is_answered_after_its_stop_counts_again() {
        let bench = bench();
        let at = target("admin");
        let before = bench.watch.leaves(&at, Protocol::ONVIF, PTZ);
        bench.watch.stands(&at, Protocol::ONVIF, PTZ);
        bench
            .watch
            .answered(&at, Protocol::ONVIF, PTZ, before, &Ok(accepted(None)));
        let drives: Vec<bool> = bench.told().iter().map(|j| j.drives.is_empty()).collect();
        assert_eq!(drives, [false, true, false]);
    }

    #[test]
    fn a_refused_login_is_forgotten_and_four_are_kept() {
        let bench = bench();
        for user in ["a", "b", "c", "d", "e"] {
            bench.watch.heard(&target(user), &Ok(()));
        }
        let refused: Result<(), _> = Err(CameraError::LoginRefused(
            crate::domain::camera::LoginRefusal {
                tried: true,
                unlock_after: None,
                tries_left: None,
                words: "401".to_owned(),
            },
        ));
        bench.watch.heard(&target("d"), &refused);
        bench.watch.leaves(&target("e"), Protocol::ONVIF, PTZ);
        assert_eq!(users(&bench.told()[0]), ["e", "c", "b"]);
    }
}
