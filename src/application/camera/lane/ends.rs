//! What the end of a request does to the lane.

use super::{Abandoned, Flight, Lane};
use crate::application::camera::motor::{MoveEnd, StopEnd};
use crate::application::camera::order::{Outcome, RequestId, Success};
use crate::application::camera::waiting::Source;
use crate::domain::error::Fault;
use crate::domain::ptz::Drive;
use crate::util::time::Now;

impl<D> Lane<D> {
    pub(super) fn ended(&mut self, request: RequestId, outcome: Outcome<D>, now: Now) {
        if let Some(flight) = self.control.take_if(|f| f.request == request) {
            return self.control_ended(flight, outcome, now);
        }
        if let Some(flight) = self.query.take_if(|f| f.request == request) {
            let result = match outcome {
                Outcome::Done(done) => Ok(Success {
                    data: done.data,
                    ..Success::default()
                }),
                Outcome::Refused(fault) | Outcome::Lost(fault) => Err(fault),
            };
            return self.reply(flight.command, result);
        }
        if let Some(index) = self.abandoned.iter().position(|a| a.request == request) {
            if let Some(Abandoned {
                moves: Some((drive, camera)),
                ..
            }) = self.abandoned.remove(index)
            {
                // It may have been carried out until now.
                let motor = self.motor(drive);
                if !motor.runs_free() {
                    motor.stop(&camera, None, now.mono);
                }
            }
            return;
        }
        for drive in Drive::ALL {
            let motor = self.motor(drive);
            if motor.trying.as_ref().is_some_and(|t| t.request == request) {
                let fault = match outcome {
                    Outcome::Done(_) => None,
                    Outcome::Refused(fault) | Outcome::Lost(fault) => Some(fault),
                };
                return self.stop_ended(drive, fault.as_ref(), now);
            }
        }
    }

    pub(super) fn control_ended(&mut self, flight: Flight, outcome: Outcome<D>, now: Now) {
        if let Some(drive) = flight.moves {
            let repeat = flight.source == Source::Repeat;
            let end = match &outcome {
                Outcome::Lost(_) if flight.runs_on => MoveEnd::Lost,
                Outcome::Done(done) if flight.stops_at.is_some() => MoveEnd::Done(done.ends_after),
                Outcome::Refused(_) if flight.stops_at.is_some() && !repeat => MoveEnd::Refused,
                _ => MoveEnd::Nothing,
            };
            let motor = self.motor(drive);
            if flight.runs_on
                && flight.stops_at.is_none()
                && !matches!(outcome, Outcome::Refused(_))
                && let Some(camera) = flight.source.camera()
            {
                motor.sent_on_its_way(camera);
            }
            let halt_is_off =
                motor.move_ended(flight.request, end, flight.prior, flight.sent_at, now.mono);
            // Nobody knows whether it moves, and the sender is told that it does not. Of a tour
            // also: what it did before would run on into the next waypoint.
            let tours = matches!(flight.source, Source::Patrol { .. });
            let runs_on = end == MoveEnd::Lost
                || (end == MoveEnd::Refused && tours && motor.moving.is_some());
            if runs_on && !motor.is_halting() {
                let camera = flight.source.camera().cloned().or_else(|| {
                    let moving = motor.moving.as_ref();
                    moving.map(|m| m.camera.clone())
                });
                if let Some(camera) = camera {
                    motor.stop(&camera, None, now.mono);
                }
            }
            if halt_is_off {
                self.stop_done(drive, Ok(true));
            }
        }
        let result = match outcome {
            Outcome::Done(done) => Ok(Success {
                stops_at: flight.stops_at,
                preset: done.preset,
                data: done.data,
                ..Success::default()
            }),
            Outcome::Refused(fault) | Outcome::Lost(fault) => Err(fault),
        };
        match flight.source {
            Source::Command { id, .. } => self.reply(id, result),
            Source::Patrol { tour, .. } => {
                self.tour_heard(Some(tour), result.as_ref().err(), now);
            }
            Source::Repeat => {}
        }
    }

    pub(super) fn stop_ended(&mut self, drive: Drive, fault: Option<&Fault>, now: Now) {
        let unanswered = self.control.as_ref().map(|f| f.request);
        let motor = self.motor(drive);
        let tour = motor.halted_tour();
        match motor.stop_ended(fault, unanswered, now.mono) {
            StopEnd::Probed => {}
            StopEnd::Failing => {
                self.probe_no_more();
                let first = self.motor(drive).take_tour();
                for waiter in &mut self.stops {
                    if waiter.need.contains(drive) {
                        waiter.fault = fault.cloned();
                    }
                }
                self.tour_heard(first, fault, now);
            }
            StopEnd::Hopeless => {
                self.probe_no_more();
                if let Some(fault) = fault {
                    self.stop_done(drive, Err(fault));
                }
                self.tour_heard(tour, fault, now);
            }
            StopEnd::Accepted => {
                self.motor(drive).take_tour();
                self.stop_done(drive, Ok(false));
                self.tour_heard(tour, None, now);
            }
            StopEnd::Obeyed => {
                self.stop_done(drive, Ok(false));
                self.tour_heard(tour, None, now);
            }
        }
    }

    /// A camera that refuses one stop refuses the others too, and each may count towards its lock.
    fn probe_no_more(&mut self) {
        for drive in Drive::ALL {
            self.motor(drive).wants_probe = false;
        }
    }

    /// A drive has obeyed (or something newer moves it: `Ok(true)`), or never will. Answers the
    /// stops that waited for it alone.
    pub(super) fn stop_done(&mut self, drive: Drive, how: Result<bool, &Fault>) {
        let mut answered = Vec::new();
        self.stops.retain_mut(|waiter| {
            if !waiter.need.contains(drive) {
                return true;
            }
            waiter.need.remove(drive);
            match how {
                Ok(_) => waiter.obeyed = true,
                Err(fault) => waiter.fault = Some(fault.clone()),
            }
            if !waiter.need.is_empty() {
                return true;
            }
            let result = match (&waiter.fault, waiter.obeyed) {
                // What could move has stopped; the rest can't move.
                (_, true) => Ok(Success {
                    superseded: how == Ok(true),
                    ..Success::default()
                }),
                (Some(fault), false) => Err(fault.clone()),
                (None, false) => Ok(Success::default()),
            };
            answered.push((waiter.command, result));
            false
        });
        for (command, result) in answered {
            self.reply(command, result);
        }
    }
}
