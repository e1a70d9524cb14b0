//! What a command does to the lane.

use super::{Lane, MAX_QUERIES, MAX_STOPS, QUERY_WAITS, StopWaiter, WaitingQuery, busy, stopping};
use crate::application::camera::motor::STOP_FAILS;
use crate::application::camera::order::{
    Command, CommandId, DeviceRequest, Order, Origin, Query, Success,
};
use crate::application::camera::waiting::{Ends, Source, Waiting, Wanted};
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::ptz::{Drive, Drives};
use crate::domain::stream::CameraId;
use crate::util::time::Now;

impl<D> Lane<D> {
    pub(super) fn take(&mut self, command: Command, now: Now) {
        let Command {
            id,
            camera,
            origin,
            age,
            overtaken,
            order,
        } = command;
        if let Some(closing) = &self.closing
            && (closing.closed || !matches!(order, Order::Stop(_)))
        {
            return self.reply(id, Err(stopping()));
        }
        if overtaken {
            let patrol = matches!(order, Order::Patrol(_)).then(|| self.patrol_or_none(camera));
            let superseded = Success {
                patrol,
                ..Success::superseded()
            };
            return self.reply(id, Ok(superseded));
        }
        if age >= self.policy.command_ttl && !order.is_never_stale() {
            return self.reply(id, Err(self.stale()));
        }
        let stale_at = now.mono + self.policy.command_ttl.saturating_sub(age);
        let source = Source::Command {
            id,
            camera: camera.clone(),
            origin,
        };
        let wanted = match order {
            Order::Query(query) => return self.enqueue_query(id, query, now),
            Order::Patrol(order) => return self.patrol_order(id, camera, order, now),
            Order::Stop(drives) => {
                self.pause_for_manual(now);
                return self.stop(id, &camera, drives, now);
            }
            Order::Move {
                drive,
                velocity,
                duration,
            } => {
                if velocity.is_zero() {
                    self.pause_for_manual(now);
                    return self.stop(id, &camera, Drives::only(drive), now);
                }
                if self.link_down && origin == Origin::Ably {
                    let why = "the link to the cloud is down, so nobody could stop the camera";
                    return self.reply(id, Err(Fault::new(ErrorCode::Unavailable, why)));
                }
                Wanted::Move {
                    drive,
                    velocity,
                    ends: duration.map_or(Ends::ByLimit, Ends::After),
                }
            }
            Order::Preset(order) => Wanted::Other(DeviceRequest::Preset(order)),
            Order::FocusAuto => Wanted::Other(DeviceRequest::FocusAuto),
            Order::CameraPatrol { patrol, start } => {
                Wanted::Other(DeviceRequest::CameraPatrol { patrol, start })
            }
        };
        if wanted.moves().is_none() && !self.queue.has_room() {
            return self.reply(id, Err(busy("commands")));
        }
        self.pause_for_manual(now);
        let pushed_out = self.queue.push(Waiting {
            source,
            wanted,
            stale_at: Some(stale_at),
        });
        self.superseded(pushed_out);
    }

    pub(super) fn enqueue_query(&mut self, command: CommandId, query: Query, now: Now) {
        if self.queries.len() >= MAX_QUERIES {
            return self.reply(command, Err(busy("queries")));
        }
        self.queries.push_back(WaitingQuery {
            command,
            query,
            expires_at: now.mono + QUERY_WAITS,
        });
    }

    /// A stop: overtakes and cancels what waits for these drives.
    pub(super) fn stop(&mut self, command: CommandId, camera: &CameraId, drives: Drives, now: Now) {
        let cancelled = self
            .queue
            .take_if(|w| w.wanted.moves().is_some_and(|d| drives.contains(d)));
        self.superseded(cancelled);
        let closing = self.closing.is_some();
        let mut need = Drives::NONE;
        for drive in drives.iter() {
            let all = drives == Drives::ALL;
            let motor = self.motor(drive);
            // Focus and iris cost requests of their own: they are stopped where lss has moved
            // them, and once where it does not know how they stand.
            if drive == Drive::PanTiltZoom || motor.may_move() || !all {
                motor.stop(camera, None, now.mono);
                need.insert(drive);
            } else if !closing {
                motor.probe();
            }
        }
        if need.is_empty() {
            return self.reply(command, Ok(Success::default()));
        }
        if self.stops.len() >= MAX_STOPS {
            return self.reply(command, Err(busy("stops; the camera is being stopped")));
        }
        self.stops.push(StopWaiter {
            command,
            need,
            obeyed: false,
            fault: None,
            fails_at: now.mono + STOP_FAILS,
        });
    }
}
