//! What goes to the camera next, and on which connection.

use std::time::Duration;

use super::{Flight, GRACE, Lane, QueryFlight};
use crate::application::camera::motor::{Motion, Motor};
use crate::application::camera::order::{DeviceRequest, Output, RequestId, Send, Wire};
use crate::application::camera::waiting::{Ends, Source, Waiting, Wanted};
use crate::domain::ptz::Drive;
use crate::util::time::Now;

/// The dead man's switch of a tour's movement strikes so long after the tour should have ended it.
const TOUR_SLACK: Duration = Duration::from_millis(500);

impl<D> Lane<D> {
    pub(super) fn dispatch(&mut self, now: Now) {
        if self.closing.as_ref().is_some_and(|c| c.closed) {
            return;
        }
        self.clear_the_way(now);
        for drive in Drive::ALL {
            if self.motor(drive).stop_is_due(now.mono) {
                self.send_stop(drive, now);
            }
        }
        while self.control_is_free() && self.first_may_go() {
            let Some(waiting) = self.queue.pop() else {
                break;
            };
            self.send(waiting, now);
        }
        if self.closing.is_some() {
            return;
        }
        for drive in Drive::ALL {
            let quiet = self.control_is_free()
                && self.queue.is_empty()
                && self.motors.iter().all(|m| m.trying.is_none());
            if quiet && self.motor(drive).wants_probe {
                self.send_stop(drive, now);
            }
        }
        if self.query.is_none()
            && let Some(next) = self.queries.pop_front()
        {
            let timeout = self.policy.query_timeout;
            let wire = self.usable(Wire::Query);
            let request = self.request(wire, timeout, DeviceRequest::Query(next.query));
            self.query = Some(QueryFlight {
                request,
                wire,
                command: next.command,
                gives_up_at: now.mono + timeout + GRACE,
            });
        }
    }

    /// A preset or a tour of the camera's own comes next: a movement whose end is ours to send is
    /// ended first, lest that end strike it later.
    pub(super) fn clear_the_way(&mut self, now: Now) {
        let Some(first) = self.queue.first().filter(|_| self.control_is_free()) else {
            return;
        };
        if matches!(first.wanted, Wanted::Move { .. }) {
            return;
        }
        if let Some(drive) = first.wanted.moves() {
            let motor = self.motor(drive);
            if motor.runs_free()
                && let Some(camera) = motor.moving.as_ref().map(|m| m.camera.clone())
            {
                motor.stop(&camera, None, now.mono);
            }
        }
    }

    pub(super) fn control_is_free(&self) -> bool {
        let stop = |m: &Motor| m.trying.as_ref().is_some_and(|t| t.wire == Wire::Control);
        self.control.is_none() && !self.motors.iter().any(stop)
    }

    /// Whether nothing must come before the first that waits.
    pub(super) fn first_may_go(&self) -> bool {
        let Some(first) = self.queue.first() else {
            return false;
        };
        let moves = first.wanted.moves();
        Drive::ALL.into_iter().all(|drive| {
            let motor = self.motors.get(drive);
            let concerned = drive == Drive::PanTiltZoom || moves == Some(drive);
            // A stop that is out comes first. One that the camera refuses again and again does
            // not keep it from moving on; but what ends by itself begins from standing still.
            let from_rest = moves.is_some() && matches!(first.wanted, Wanted::Other(_));
            let in_the_way = motor.trying.is_some() || (from_rest && motor.may_move());
            !(concerned && in_the_way)
        })
    }

    pub(super) fn send_stop(&mut self, drive: Drive, now: Now) {
        let behind = self
            .control
            .as_ref()
            .filter(|f| f.moves == Some(drive))
            .map(|f| f.request);
        let wire = if self.control_is_free() && self.motor(drive).is_first_try() {
            self.usable(Wire::Control)
        } else {
            Wire::Fresh
        };
        let id = RequestId(self.next_request);
        let (brief, long) = (self.policy.stop_timeout, self.policy.request_timeout);
        let motor = self.motor(drive);
        let timeout = motor.stop_patience(brief, long);
        let times_out_at = now.mono + timeout;
        let way = motor.stop_sent(id, wire, behind, times_out_at, now.mono);
        let may_move = self.may_move(drive);
        self.post(wire, timeout, may_move, DeviceRequest::Stop { drive, way });
    }

    /// Whether something that this lane has set in motion may be running: what was taken, what is
    /// unanswered, and what was given up on.
    pub(super) fn may_move(&self, drive: Drive) -> bool {
        self.motors.get(drive).runs_for_us()
            || self
                .control
                .as_ref()
                .is_some_and(|f| f.moves == Some(drive))
            || self
                .abandoned
                .iter()
                .any(|a| a.moves.as_ref().is_some_and(|(d, _)| *d == drive))
    }

    pub(super) fn send(&mut self, waiting: Waiting, now: Now) {
        let moves = waiting.wanted.moves();
        let timeout = self.policy.request_timeout;
        let wire = self.usable(Wire::Control);
        let mut flight = Flight {
            request: RequestId(self.next_request),
            wire,
            source: waiting.source,
            moves,
            runs_on: false,
            prior: None,
            stops_at: None,
            sent_at: now.mono,
            gives_up_at: now.mono + timeout + GRACE,
        };
        let request = match waiting.wanted {
            Wanted::Other(request) => {
                flight.runs_on = matches!(request, DeviceRequest::CameraPatrol { start: true, .. });
                request
            }
            Wanted::Move {
                drive,
                velocity,
                ends,
            } => {
                let stops_at = match ends {
                    Ends::After(duration) => now.mono + duration,
                    Ends::ByLimit => now.mono + self.policy.max_move,
                    Ends::At(at) => at,
                };
                let limit = stops_at.saturating_duration_since(now.mono);
                if limit.is_zero() {
                    // Its time has passed while it waited: only a tour's can be so late.
                    return;
                }
                // A tour ends its movements itself: the switch is there in case it does not, and
                // strikes after the next movement could have taken over.
                let ends_at = match &flight.source {
                    Source::Patrol { .. } => stops_at + TOUR_SLACK,
                    _ => stops_at,
                };
                flight.runs_on = true;
                flight.stops_at = Some(now.wall + limit);
                let request = DeviceRequest::Move {
                    drive,
                    velocity,
                    limit,
                };
                let origin = flight.source.origin();
                let repeat = flight.source == Source::Repeat;
                let motor = self.motors.get_mut(drive);
                match flight.source.camera() {
                    Some(camera) => {
                        let motion = Motion {
                            camera: camera.clone(),
                            origin,
                            velocity,
                            ends_at,
                            by_limit: ends == Ends::ByLimit,
                            repeat_at: None,
                        };
                        flight.prior = motor.move_sent(flight.request, motion);
                    }
                    // What it repeats has ended meanwhile.
                    None if repeat && !motor.is_repeatable(ends_at) => return,
                    None => {}
                }
                request
            }
        };
        self.control = Some(flight);
        self.request(wire, timeout, request);
    }

    /// `wire`, unless somebody is stuck on it.
    fn usable(&self, wire: Wire) -> Wire {
        if self.abandoned.iter().any(|a| a.wire == wire) {
            Wire::Fresh
        } else {
            wire
        }
    }

    pub(super) fn request(
        &mut self,
        wire: Wire,
        timeout: Duration,
        request: DeviceRequest,
    ) -> RequestId {
        self.post(wire, timeout, false, request)
    }

    fn post(
        &mut self,
        wire: Wire,
        timeout: Duration,
        may_move: bool,
        request: DeviceRequest,
    ) -> RequestId {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        self.out.push(Output::Send(Send {
            id,
            wire,
            timeout,
            may_move,
            request,
        }));
        id
    }
}
