//! What the time does to the lane.

use super::{Abandoned, Lane, MAX_ABANDONED, busy, no_answer, stopping};
use crate::application::camera::motor::STOP_FAILS;
use crate::application::camera::order::{CommandId, Outcome};
use crate::application::camera::waiting::{Ends, Source, Waiting, Wanted};
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::ptz::{Drive, PtzEventKind};
use crate::util::time::Now;

impl<D> Lane<D> {
    pub(super) fn due(&mut self, now: Now) {
        if self.closing.as_ref().is_some_and(|c| c.closed) {
            return;
        }
        self.give_up(now);
        for drive in Drive::ALL {
            self.motor_due(drive, now);
        }
        let mut late = Vec::new();
        self.stops.retain(|waiter| {
            let fails = now.mono >= waiter.fails_at;
            if fails {
                late.push((waiter.command, disobeyed(waiter.fault.as_ref())));
            }
            !fails
        });
        for (command, fault) in late {
            self.reply(command, Err(fault));
        }
        for source in self.queue.take_stale(now.mono) {
            let stale = self.stale();
            self.refuse(&source, stale);
        }
        while self
            .queries
            .front()
            .is_some_and(|q| q.expires_at <= now.mono)
        {
            if let Some(query) = self.queries.pop_front() {
                self.reply(query.command, Err(busy("queries")));
            }
        }
        self.walk(now);
        if self.closing.as_ref().is_some_and(|c| now.mono >= c.ends) {
            self.close();
        }
    }

    /// Requests that whoever sent them should have ended by now.
    pub(super) fn give_up(&mut self, now: Now) {
        let last_call = self
            .closing
            .as_ref()
            .is_some_and(|c| now.mono >= c.last_call);
        if let Some(flight) = self
            .control
            .take_if(|f| f.gives_up_at <= now.mono || last_call)
        {
            let camera = flight.source.camera().cloned();
            self.abandon(Abandoned {
                request: flight.request,
                wire: flight.wire,
                moves: flight.moves.filter(|_| flight.runs_on).zip(camera),
            });
            self.control_ended(flight, Outcome::Lost(no_answer()), now);
        }
        if let Some(flight) = self.query.take_if(|f| f.gives_up_at <= now.mono) {
            self.abandon(Abandoned {
                request: flight.request,
                wire: flight.wire,
                moves: None,
            });
            self.reply(flight.command, Err(no_answer()));
        }
        for drive in Drive::ALL {
            let out = self.motor(drive).trying.as_ref();
            if let Some(out) = out.filter(|t| t.gives_up_at <= now.mono) {
                let (request, wire) = (out.request, out.wire);
                self.abandon(Abandoned {
                    request,
                    wire,
                    moves: None,
                });
                self.stop_ended(drive, Some(&no_answer()), now);
            }
        }
    }

    fn abandon(&mut self, abandoned: Abandoned) {
        if self.abandoned.len() >= MAX_ABANDONED {
            self.abandoned.pop_front();
        }
        self.abandoned.push_back(abandoned);
    }

    pub(super) fn motor_due(&mut self, drive: Drive, now: Now) {
        let motor = self.motor(drive);
        if let Some(motion) = motor.overdue(now.mono) {
            let (camera, by_limit) = (motion.camera.clone(), motion.by_limit);
            motor.stop(&camera, None, now.mono);
            if by_limit {
                let limit = self.policy.max_move;
                self.tell(
                    &camera,
                    PtzEventKind::StoppedByLimit,
                    &format!(
                        "nobody repeated or ended the movement of {} within {} s",
                        drive.name(),
                        limit.as_secs_f32()
                    ),
                );
            }
        }
        self.motor(drive).echo(now.mono);
        let runs = self.may_move(drive);
        if let Some(camera) = self.motor(drive).take_failed(runs, now.mono)
            && self.announced.is_none()
        {
            self.announced = Some(camera.clone());
            self.tell(
                &camera,
                PtzEventKind::StopFailed,
                &format!(
                    "the camera has not obeyed the stop of {} for {} s; it is tried on every 10 s",
                    drive.name(),
                    STOP_FAILS.as_secs()
                ),
            );
        }
        if self.motor(drive).take_repeat(now.mono) {
            self.repeat(drive);
        }
    }

    /// Puts the running movement in the queue once more, unless something newer waits.
    pub(super) fn repeat(&mut self, drive: Drive) {
        if self.queue.moves(drive) {
            return;
        }
        let Some(motion) = &self.motor(drive).moving else {
            return;
        };
        let wanted = Wanted::Move {
            drive,
            velocity: motion.velocity,
            ends: Ends::At(motion.ends_at),
        };
        self.queue.push(Waiting {
            source: Source::Repeat,
            wanted,
            stale_at: None,
        });
    }

    pub(super) fn close(&mut self) {
        let Some(closing) = &mut self.closing else {
            return;
        };
        closing.closed = true;
        self.tour = None;
        let unanswered: Vec<(CommandId, Fault)> = self
            .stops
            .drain(..)
            .map(|w| (w.command, disobeyed(w.fault.as_ref())))
            .collect();
        for (command, fault) in unanswered {
            self.reply(command, Err(fault));
        }
        for source in self.queue.take_if(|_| true) {
            self.refuse(&source, stopping());
        }
        if let Some(flight) = self.control.take() {
            self.refuse(&flight.source, no_answer());
        }
    }
}

fn disobeyed(fault: Option<&Fault>) -> Fault {
    let why = fault.map_or("it gives no reason", |f| f.message.as_str());
    Fault::new(
        ErrorCode::Unavailable,
        format!("the camera has not obeyed the stop: {why}"),
    )
}
