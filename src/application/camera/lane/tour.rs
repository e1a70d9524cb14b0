//! The camera's tour: its commands, and its steps as requests of the lane.

use super::Lane;
use super::motor::TourNumber;
use super::waiting::{Ends, Source, Waiting, Wanted};
use crate::application::camera::order::{
    Action, CommandId, Output, PatrolOrder, PresetOrder, Success,
};
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::patrol::{Patrol, PatrolState, PatrolStatus, Plan, Step, TourId};
use crate::domain::ptz::Drive;
use crate::domain::stream::CameraId;
use crate::util::time::Now;

/// The tour that runs or is paused.
#[derive(Debug)]
pub(super) struct Tour {
    number: TourNumber,
    camera: CameraId,
    pub(super) machine: Patrol,
}

impl Lane {
    pub(super) fn patrol_order(
        &mut self,
        id: CommandId,
        camera: CameraId,
        order: PatrolOrder,
        now: Now,
    ) {
        let tour = match order {
            PatrolOrder::Start(plan) => {
                self.start_patrol(camera, *plan, now);
                let status = self.patrol();
                return self.reply(id, Ok(patrol_success(status)));
            }
            PatrolOrder::Status => {
                let status = self.patrol_or_none(camera);
                return self.reply(id, Ok(patrol_success(Some(status))));
            }
            PatrolOrder::Stop(ref tour)
            | PatrolOrder::Pause(ref tour)
            | PatrolOrder::Resume(ref tour) => tour.as_ref(),
        };
        let found = self
            .tour
            .as_mut()
            .ok_or_else(|| Fault::new(ErrorCode::NotFound, "there is no patrol on this camera"));
        let found = found.and_then(|running| match tour {
            Some(tour) if tour != running.machine.tour() => Err(other_tour(running.machine.tour())),
            _ => Ok(running),
        });
        match found {
            Err(fault) => self.reply(id, Err(fault)),
            Ok(tour) => {
                match order {
                    PatrolOrder::Stop(_) => tour.machine.stop("by command"),
                    PatrolOrder::Pause(_) => tour.machine.pause("by command", now.mono),
                    _ => tour.machine.resume(now.mono),
                }
                let status = tour.machine.status();
                if status.state == PatrolState::Running {
                    self.head_is_the_tours();
                }
                self.reply(id, Ok(patrol_success(Some(status))));
                self.walk(now);
            }
        }
    }

    pub(super) fn patrol_or_none(&self, camera: CameraId) -> PatrolStatus {
        self.patrol().unwrap_or_else(|| PatrolStatus::none(camera))
    }

    pub(super) fn start_patrol(&mut self, camera: CameraId, plan: Plan, now: Now) {
        if let Some(old) = &mut self.tour {
            old.machine.stop("replaced by another tour");
            self.walk(now);
        }
        self.head_is_the_tours();
        self.tours += 1;
        self.tour = Some(Tour {
            number: self.tours,
            camera,
            machine: Patrol::start(plan, now.mono),
        });
        self.walk(now);
    }

    /// A tour begins or goes on: older movements of the head that still wait are pointless.
    fn head_is_the_tours(&mut self) {
        let cancelled = self
            .queue
            .take_if(|w| w.wanted.moves() == Some(Drive::PanTiltZoom));
        self.superseded(cancelled);
    }

    /// The tour that was started under an id which leads elsewhere now ends.
    pub(super) fn tour_left(&mut self, camera: &CameraId, now: Now) {
        if let Some(tour) = self.tour.as_mut().filter(|tour| tour.camera == *camera) {
            tour.machine.stop("the camera's id leads elsewhere now");
            self.walk(now);
        }
    }

    pub(super) fn pause_for_manual(&mut self, now: Now) {
        if let Some(tour) = &mut self.tour {
            tour.machine.pause("a manual PTZ command", now.mono);
            self.walk(now);
        }
    }

    /// Does what the tour says is due.
    pub(super) fn walk(&mut self, now: Now) {
        while let Some(tour) = &mut self.tour {
            let (number, camera) = (tour.number, tour.camera.clone());
            let Some(step) = tour.machine.poll(now.mono) else {
                break;
            };
            let wanted = match step {
                Step::Event(event) => {
                    self.out.push(Output::Patrol(event));
                    continue;
                }
                Step::Finished => {
                    self.tour = None;
                    continue;
                }
                Step::Halt => {
                    // Its own steps that wait are pointless; nobody waits for an answer.
                    self.queue
                        .take_if(|w| matches!(w.source, Source::Patrol { .. }));
                    self.motor(Drive::PanTiltZoom)
                        .stop(&camera, Some(number), now.mono);
                    continue;
                }
                Step::Move { velocity, until } => Wanted::Move {
                    drive: Drive::PanTiltZoom,
                    velocity,
                    ends: Ends::At(until),
                },
                Step::GotoPreset(preset) => Wanted::Act(Action::Preset(PresetOrder::Goto {
                    preset,
                    force: false,
                })),
            };
            let pushed_out = self.queue.push(Waiting {
                source: Source::Patrol {
                    tour: number,
                    camera,
                },
                wanted,
                stale_at: None,
                hold: None,
            });
            self.superseded(pushed_out);
        }
    }

    pub(super) fn tour_heard(
        &mut self,
        number: Option<TourNumber>,
        fault: Option<&Fault>,
        now: Now,
    ) {
        if let Some(tour) = &mut self.tour
            && Some(tour.number) == number
        {
            match fault {
                None => tour.machine.succeeded(),
                Some(fault) => tour.machine.failed(&fault.message, now.mono),
            }
        }
    }
}

fn patrol_success(status: Option<PatrolStatus>) -> Success {
    Success {
        patrol: status,
        ..Success::default()
    }
}

fn other_tour(running: &TourId) -> Fault {
    Fault::new(
        ErrorCode::NotFound,
        format!("the camera's patrol is another one: {running}"),
    )
}
