//! Which camera is to be asked what it is, and when: once, and again when its address or its
//! login has changed. A machine: the time comes in; who asks is not its business.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::inventory::{Askable, CameraKey};
use crate::domain::camera::Credentials;

/// Most cameras that are asked at a time.
pub const AT_A_TIME: usize = 2;
/// A camera that could not be asked is asked again after so long, then after twice as long, …
const AGAIN_FIRST: Duration = Duration::from_secs(300);
/// … but not longer than this.
const AGAIN_MOST: Duration = Duration::from_secs(3_600);

/// One camera to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Which, and where.
    pub camera: Askable,
    /// That of its address; `None` = nobody has told one, so it is asked as strangers may.
    pub login: Option<Credentials>,
}

/// How asking went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// There is no more to be learnt, or this login is refused: not before something changes.
    Settled,
    /// It did not answer, or was busy.
    Failed,
}

/// What was asked of each camera.
#[derive(Debug, Default)]
pub struct Learning {
    cameras: BTreeMap<CameraKey, Record>,
}

#[derive(Debug)]
struct Record {
    ip: IpAddr,
    login: Option<Credentials>,
    rtsp_port: Option<u16>,
    vendor: Option<String>,
    tells: bool,
    /// Asked without an answer so often in a row.
    failures: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Asking,
    Settled,
    /// Again then.
    Failed(Instant),
}

impl Learning {
    /// The cameras to ask now; they count as being asked. `login` tells the login of an address.
    pub fn due(
        &mut self,
        cameras: impl IntoIterator<Item = Askable>,
        login: impl Fn(IpAddr) -> Option<Credentials>,
        now: Instant,
    ) -> Vec<Job> {
        let mut free = AT_A_TIME.saturating_sub(self.asking());
        let mut jobs = Vec::new();
        for camera in cameras {
            if free == 0 {
                break;
            }
            let job = Job {
                login: login(camera.ip),
                camera,
            };
            if !job.has_a_question() || !self.is_due(&job, now) {
                continue;
            }
            self.begin(&job);
            jobs.push(job);
            free -= 1;
        }
        jobs
    }

    /// It was asked. `true` if what was learnt still counts: it is still there, under the same
    /// address.
    pub fn ended(&mut self, job: &Job, outcome: Outcome, now: Instant) -> bool {
        let Some(record) = self.cameras.get_mut(&job.camera.key) else {
            return false;
        };
        record.state = match outcome {
            Outcome::Settled => {
                record.failures = 0;
                State::Settled
            }
            Outcome::Failed => {
                let wait = AGAIN_FIRST * 2u32.pow(record.failures.min(4));
                record.failures = record.failures.saturating_add(1);
                State::Failed(now + wait.min(AGAIN_MOST))
            }
        };
        true
    }

    /// Forgets cameras that are no longer listed.
    pub fn keep(&mut self, is_listed: impl Fn(CameraKey) -> bool) {
        self.cameras
            .retain(|key, record| record.state == State::Asking || is_listed(*key));
    }

    /// When somebody is to be asked again.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.asking() >= AT_A_TIME {
            return None;
        }
        let again = |record: &Record| match record.state {
            State::Failed(at) => Some(at),
            _ => None,
        };
        self.cameras.values().filter_map(again).min()
    }

    fn asking(&self) -> usize {
        let is_asking = |record: &&Record| record.state == State::Asking;
        self.cameras.values().filter(is_asking).count()
    }

    fn is_due(&self, job: &Job, now: Instant) -> bool {
        let Some(record) = self.cameras.get(&job.camera.key) else {
            return true;
        };
        match record.state {
            State::Asking => false,
            _ if record.is_another(job) => true,
            State::Settled => false,
            State::Failed(at) => at <= now,
        }
    }

    fn begin(&mut self, job: &Job) {
        let failures = match self.cameras.get(&job.camera.key) {
            Some(record) if !record.is_another(job) => record.failures,
            _ => 0,
        };
        let record = Record {
            ip: job.camera.ip,
            login: job.login.clone(),
            rtsp_port: job.camera.rtsp_port,
            vendor: job.camera.vendor.clone(),
            tells: job.camera.tells,
            failures,
            state: State::Asking,
        };
        self.cameras.insert(job.camera.key, record);
    }
}

impl Record {
    /// Whether there is something new to be asked. That a port does not answer any more is not.
    fn is_another(&self, job: &Job) -> bool {
        let camera = &job.camera;
        self.ip != camera.ip
            || self.login != job.login
            || camera.rtsp_port.is_some() && camera.rtsp_port != self.rtsp_port
            || camera.tells && !self.tells && job.login.is_some()
            // With a login it is the camera's own word.
            || camera.vendor != self.vendor && job.login.is_none()
    }
}

impl Job {
    /// A stranger can only be asked about a stream, and only where there is an idea of its place.
    pub fn has_a_question(&self) -> bool {
        self.login.is_some() || self.camera.rtsp_port.is_some() && self.camera.vendor.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::secret::Secret;

    fn camera(key: u64, ip: &str) -> Askable {
        Askable {
            key: CameraKey(key),
            ip: ip.parse().unwrap(),
            rtsp_port: Some(554),
            vendor: Some("HIKVISION".into()),
            tells: true,
        }
    }

    fn login(password: &str) -> Credentials {
        Credentials::new("admin", Secret::new(password)).unwrap()
    }

    fn due(
        learning: &mut Learning,
        camera: &Askable,
        login: Option<&Credentials>,
        at: Instant,
    ) -> Vec<Job> {
        learning.due([camera.clone()], |_| login.cloned(), at)
    }

    #[test]
    fn once_and_again_only_for_a_new_login_or_address() {
        let now = Instant::now();
        let mut learning = Learning::default();
        let cam = camera(1, "192.168.0.64");
        let (one, two) = (login("one-1"), login("two-2"));
        let jobs = due(&mut learning, &cam, Some(&one), now);
        assert_eq!(jobs.len(), 1);
        assert!(
            due(&mut learning, &cam, Some(&one), now).is_empty(),
            "asking"
        );
        assert!(learning.ended(&jobs[0], Outcome::Settled, now));
        let much_later = now + 1000 * AGAIN_MOST;
        assert!(due(&mut learning, &cam, Some(&one), much_later).is_empty());
        assert_eq!(learning.next_deadline(), None);
        // Its RTSP port is silent for once: no reason to ask again, neither then nor after.
        let silent = Askable {
            rtsp_port: None,
            ..cam.clone()
        };
        assert!(due(&mut learning, &silent, Some(&one), now).is_empty());
        assert!(due(&mut learning, &cam, Some(&one), now).is_empty());
        let jobs = due(&mut learning, &cam, Some(&two), now);
        assert_eq!(jobs.len(), 1, "a new login");
        learning.ended(&jobs[0], Outcome::Settled, now);
        let moved = camera(1, "192.168.0.70");
        assert_eq!(due(&mut learning, &moved, Some(&two), now).len(), 1);
    }

    #[test]
    fn a_failure_is_tried_again_later_and_later() {
        let mut now = Instant::now();
        let mut learning = Learning::default();
        let (cam, password) = (camera(1, "192.168.0.64"), login("one-1"));
        let mut waits = Vec::new();
        for _ in 0..6 {
            let jobs = due(&mut learning, &cam, Some(&password), now);
            learning.ended(&jobs[0], Outcome::Failed, now);
            let next = learning.next_deadline().unwrap();
            waits.push((next - now).as_secs());
            assert!(due(&mut learning, &cam, Some(&password), now).is_empty());
            now = next;
        }
        assert_eq!(waits, [300, 600, 1200, 2400, 3600, 3600]);
    }

    #[test]
    fn few_at_a_time_and_no_stranger_without_a_question() {
        let now = Instant::now();
        let mut learning = Learning::default();
        let all: Vec<Askable> = (1..=5).map(|n| camera(n, &format!("10.0.0.{n}"))).collect();
        let jobs = learning.due(all.clone(), |_| Some(login("one-1")), now);
        assert_eq!(jobs.len(), AT_A_TIME);
        assert!(learning.due(all.clone(), |_| None, now).is_empty());
        learning.ended(&jobs[0], Outcome::Settled, now);
        let next = learning.due(all, |_| Some(login("one-1")), now);
        assert_eq!(next.len(), 1);
        assert_eq!(next[0].camera.key, CameraKey(3));

        let mut learning = Learning::default();
        let unknown = Askable {
            vendor: None,
            ..camera(9, "10.0.0.9")
        };
        assert!(due(&mut learning, &unknown, None, now).is_empty());
        assert_eq!(
            due(&mut learning, &camera(8, "10.0.0.8"), None, now).len(),
            1
        );
    }

    #[test]
    fn who_is_not_listed_any_more_is_forgotten() {
        let now = Instant::now();
        let mut learning = Learning::default();
        let cam = camera(1, "192.168.0.64");
        let jobs = due(&mut learning, &cam, None, now);
        learning.keep(|_| false);
        assert!(
            learning.ended(&jobs[0], Outcome::Settled, now),
            "was being asked"
        );
        learning.keep(|_| false);
        assert!(!learning.ended(&jobs[0], Outcome::Settled, now));
    }
}
