//! Commands for host names: looked up on threads of their own, then handed to the lane of where
//! the name leads. Decides nothing of the order; [`Whereabouts`](super::whereabouts::Whereabouts)
//! does.

use std::net::IpAddr;
use std::time::Duration;

use crossbeam_channel::bounded;

use super::book::NamedChannel;
use super::book::address::Host;
use super::order::{
    CameraReply, CheckReport, Command, CommandResult, Order, Origin, PatrolOrder, Query, QueryData,
    Success,
};
use super::service::CameraService;
use super::whereabouts::{Job, pick};
use crate::domain::camera::CameraError;
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::stream::CameraId;
use crate::util::time::Now;

/// Longest that a host name is looked up.
const LOOKUP: Duration = Duration::from_secs(3);

impl CameraService {
    /// Hands a command over to where its host's name leads, now or when that is known.
    pub(super) fn by_name(&self, name: &str, job: Job, lane: bool) -> Result<(), Fault> {
        let now = Now::read().mono;
        let routed = self.shared.whereabouts().route(name, job, lane, now)?;
        if routed.ask {
            let asking = Asking {
                service: self.clone(),
                name: name.to_owned(),
                ended: false,
            };
            let started = std::thread::Builder::new()
                .name("camera-name".to_owned())
                .stack_size(256 * 1024)
                .spawn(move || asking.run());
            if let Err(why) = started {
                // What waits was answered when the thread's work was dropped.
                log::error!(host = name; "no thread can be started to look the name up: {why}");
            }
        }
        match routed.now {
            Some((job, ip)) => self.hand_over(job, ip),
            None => Ok(()),
        }
    }

    /// A stream's source calls a camera by a name that nobody has looked up yet, and its id has set
    /// something in motion: whether that is elsewhere is to be found out.
    pub(super) fn look_up_for(&self, camera: &CameraId, name: &str, place: NamedChannel) {
        let job = Job {
            place,
            command: Command {
                id: self.shared.command_id(),
                camera: camera.clone(),
                origin: Origin::Internal,
                age: Duration::ZERO,
                overtaken: false,
                // Asks the lane for nothing: it is the way there that counts.
                order: Order::Patrol(PatrolOrder::Status),
            },
            call: None,
            reply: bounded(1).0,
            since: Now::read().mono,
        };
        let place = job.place.clone();
        if self.by_name(name, job, false).is_err() {
            self.settle(camera, &place, None);
        }
    }

    /// Where a name leads is known now, or that nobody knows: what the ids of its cameras set in
    /// motion elsewhere is stopped.
    fn arrived(&self, name: &str, ip: Option<IpAddr>) {
        let host = Host::Name(name.to_owned());
        let ip = ip.or_else(|| self.shared.book().address(&host));
        for (camera, place) in self.shared.book().places_by(&host) {
            self.settle(&camera, &place, ip);
        }
    }
}

/// The lookup of a name, on a thread of its own. Whatever becomes of it, nothing waits for ever:
/// when it is dropped, what still waits is answered.
struct Asking {
    service: CameraService,
    name: String,
    /// From then on what waits is another thread's.
    ended: bool,
}

impl Asking {
    fn run(mut self) {
        let (service, name) = (&self.service, &self.name);
        let before = service.shared.whereabouts().last(name);
        let found = match (self.look_up(before), before) {
            (Err(CameraError::Unreachable(why)), Some(before)) => {
                log::debug!(host = name.as_str(); "{why}; the last known address is used");
                Ok(before)
            }
            (found, _) => found.map_err(|error| error.fault()),
        };
        if let Ok(ip) = found {
            service.shared.book().leads_to(name, ip);
        }
        service.arrived(name, found.as_ref().ok().copied());
        self.hand_on(&found);
        self.ended = true;
    }

    /// A name with one address that is none for a camera is no camera's name.
    fn look_up(&self, before: Option<IpAddr>) -> Result<IpAddr, CameraError> {
        let parts = &self.service.shared.common.parts;
        let found = parts.names.lookup(&self.name, Now::read().mono + LOOKUP)?;
        let judged: Result<Vec<IpAddr>, Fault> =
            found.into_iter().map(|ip| parts.book.check(ip)).collect();
        let judged = judged.map_err(|fault| CameraError::NotSupported(fault.message))?;
        pick(&judged, before)
            .ok_or_else(|| CameraError::Unreachable("the host name has no address".to_owned()))
    }

    /// Hands what waits on to its lane, or answers it.
    fn hand_on(&self, found: &Result<IpAddr, Fault>) {
        let service = &self.service;
        loop {
            let ip = found.as_ref().ok().copied();
            let now = Now::read().mono;
            let jobs = service.shared.whereabouts().take(&self.name, ip, now);
            if jobs.is_empty() {
                return;
            }
            for job in jobs {
                let (camera, reply) = (job.command.camera.clone(), job.reply.clone());
                let check = matches!(job.command.order, Order::Query(Query::Check));
                let outcome = match found {
                    Ok(ip) => service.hand_over(job, *ip),
                    Err(fault) => Err(fault.clone()),
                };
                if let Err(fault) = outcome {
                    let _ = reply.try_send(CameraReply {
                        camera,
                        protocol: None,
                        result: without_camera(check, fault),
                    });
                }
            }
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // The thread could not be started, or has panicked.
        self.hand_on(&Err(Fault::new(
            ErrorCode::InternalError,
            "the host name was not looked up; the log says more",
        )));
    }
}

/// Whoever asks whether a camera is there is told that it is not.
fn without_camera(check: bool, fault: Fault) -> CommandResult {
    if !check {
        return Err(fault);
    }
    Ok(Success {
        data: Some(QueryData::Check(CheckReport {
            online: false,
            protocol: None,
            latency: None,
            authenticated: false,
            fault: Some(fault),
        })),
        ..Success::default()
    })
}
