//! The guard's own process: listens to its pipe, and stops what may move when that closes unasked.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use zeroize::Zeroize;

use super::Claim;
use super::job::{self, GuardOrder, Job, MAX_LINE};
use super::tries::Tries;
use crate::domain::camera::{CameraDevice, CameraError, CameraGateway, Motion, ProtocolOffer};
use crate::domain::ptz::Drive;

/// One try takes at most so long: paths, profile and login are found out anew.
const TRY: Duration = Duration::from_secs(5);

/// Listens until the daemon has said that it is done, or is gone. Gives back what may move then, and
/// where the node's locks are. `offers` = the protocols there are.
pub fn listen(pipe: impl Read, offers: &[ProtocolOffer]) -> (Vec<Job>, Vec<PathBuf>) {
    let mut pipe = BufReader::new(pipe);
    let (mut jobs, mut locks): (Vec<Job>, Vec<PathBuf>) = (Vec::new(), Vec::new());
    let mut line = Vec::with_capacity(MAX_LINE);
    loop {
        line.zeroize();
        let most = MAX_LINE as u64;
        match pipe.by_ref().take(most).read_until(b'\n', &mut line) {
            Ok(0) => return (jobs, locks),
            Ok(_) => {}
            Err(why) if why.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => return (jobs, locks),
        }
        match job::read(&line, offers) {
            None => {}
            Some(GuardOrder::Done) => return (Vec::new(), Vec::new()),
            Some(GuardOrder::Locks(paths)) => locks = paths,
            Some(GuardOrder::Job(new)) => {
                jobs.retain(|old| (&old.address, old.channel) != (&new.address, new.channel));
                if !new.drives.is_empty() {
                    jobs.push(new);
                }
            }
        }
    }
}

/// What a later daemon says of a camera.
pub type Claimed<'a> = &'a (dyn Fn(&str) -> Option<Claim> + Sync);

/// Stops what may move, all cameras side by side. `claimed` tells what a later daemon says of a
/// camera: what that has moved is stopped no more. Ends after a minute at the latest.
pub fn stop_all(jobs: &[Job], gateway: &dyn CameraGateway, claimed: Claimed<'_>) {
    std::thread::scope(|scope| {
        for job in jobs {
            let started = std::thread::Builder::new()
                .name("guard-stop".to_owned())
                .spawn_scoped(scope, move || stop(job, gateway, claimed));
            if started.is_err() {
                // Then one after the other.
                stop(job, gateway, claimed);
            }
        }
    });
}

fn stop(job: &Job, gateway: &dyn CameraGateway, claimed: Claimed<'_>) {
    let begun = Instant::now();
    let mut drives: Vec<(Drive, Tries)> = job
        .drives
        .iter()
        .map(|drive| (drive, Tries::new(job.logins.len(), begun)))
        .collect();
    let mut devices: Vec<Option<Box<dyn CameraDevice>>> = Vec::new();
    devices.resize_with(job.logins.len().max(1), || None);
    loop {
        let soonest = drives
            .iter_mut()
            .filter_map(|(drive, tries)| Some((tries.next()?, *drive, tries)))
            .min_by_key(|(at, ..)| *at);
        let Some((at, drive, tries)) = soonest else {
            return;
        };
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        // The first goes out at once: nobody can have come after us yet, and the claims of the
        // daemon that is just ending may still stand.
        if !tries.is_first() {
            match claimed(&job.place()) {
                Some(Claim::Holds) => {
                    tries.stand_down();
                    continue;
                }
                Some(Claim::Begins) => {
                    tries.put_off(Instant::now());
                    continue;
                }
                Some(Claim::Fails) | None => {}
            }
        }
        let (way, login) = tries.how();
        let Some(slot) = devices.get_mut(login) else {
            return;
        };
        let device = match slot {
            Some(device) => device,
            None => match gateway.open(&job.target(job.logins.get(login)), job.protocol) {
                Ok(device) => slot.insert(device),
                // Nothing here speaks it: no try can succeed.
                Err(_) => return,
            },
        };
        let by = Instant::now() + TRY;
        let result = device
            .stop(drive, way, by)
            .and_then(|()| stands(device.as_mut(), drive, by));
        if result.is_err() {
            device.hang_up();
        }
        tries.ended(&result, Instant::now());
    }
}

/// Some accept a stop and move on. A camera that does not tell is believed.
fn stands(device: &mut dyn CameraDevice, drive: Drive, by: Instant) -> Result<(), CameraError> {
    if drive != Drive::PanTiltZoom {
        return Ok(());
    }
    match device.motion(by) {
        Ok(Motion {
            moving: Some(true), ..
        }) => Err(CameraError::Device(
            "it has accepted the stop and still moves".to_owned(),
        )),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Whether this process was started by a daemon: its input is a pipe and it carries the mark.
pub fn is_meant(marked: bool) -> bool {
    use std::os::unix::fs::FileTypeExt;
    marked && std::fs::metadata("/proc/self/fd/0").is_ok_and(|meta| meta.file_type().is_fifo())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::camera::{CameraAddress, Credentials, Protocol};
    use crate::domain::camera_trust::CameraTrust;
    use crate::domain::ptz::Drives;
    use crate::util::secret::Secret;

    const OFFERS: [ProtocolOffer; 1] = [ProtocolOffer {
        protocol: Protocol::ONVIF,
        vendors: &[],
    }];

    fn job(port: u16, drives: Drives) -> Job {
        Job {
            address: CameraAddress::new([127, 0, 0, 1].into(), port),
            channel: 1,
            protocol: Protocol::ONVIF,
            drives,
            trust: CameraTrust::default(),
            logins: vec![Credentials::new("admin", Secret::new("canary")).unwrap()],
            manner: crate::domain::camera::Manner::default(),
        }
    }

    fn told(lines: &[GuardOrder]) -> Vec<u8> {
        lines.iter().flat_map(|t| job::write(t).to_vec()).collect()
    }

    #[test]
    fn what_stands_still_is_forgotten() {
        let moving = |port| GuardOrder::Job(job(port, Drives::ALL));
        let lines = told(&[
            GuardOrder::Locks(vec!["/l".into()]),
            moving(1),
            moving(2),
            GuardOrder::Job(job(1, Drives::NONE)),
            moving(2),
        ]);
        let (jobs, locks) = listen(lines.as_slice(), &OFFERS);
        assert_eq!(
            (jobs, locks),
            (vec![job(2, Drives::ALL)], vec!["/l".into()])
        );
    }

    #[test]
    fn done_is_done_and_a_cut_line_is_nothing() {
        let moving = GuardOrder::Job(job(1, Drives::ALL));
        let mut lines = told(&[moving, GuardOrder::Done]);
        assert!(listen(lines.as_slice(), &OFFERS).0.is_empty());
        lines.truncate(lines.len() - 3);
        assert_eq!(listen(lines.as_slice(), &OFFERS).0.len(), 1);
    }
}
