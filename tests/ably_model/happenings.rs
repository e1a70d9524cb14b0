//! What happens in a simulation: faults, commands of an RCS, work of the node.

use lss::infrastructure::ably::connection::ledger::Priority;
use lss::infrastructure::ably::connection::types::{Input, Publish, PublishKind};
use lss::infrastructure::ably::data::Data;
use serde_json::json;

use super::sim::{COMMANDS, Event, MINUTE, REGISTRY, STATUS, Sim};

impl Sim {
    pub(super) fn fault(&mut self) {
        let server_ms = self.server_ms();
        let current = self.wires.keys().next_back().copied();
        let socket = current.map(|id| id.0).unwrap_or_default();
        match self.rng.u32(0..18) {
            0..=3 => {
                if let Some(id) = current.filter(|id| self.is_alive(*id)) {
                    self.cut(id);
                }
            }
            4 => {
                // Silent death: neither side hears anything, nobody closes.
                if let Some(wire) = current.and_then(|id| self.wires.get_mut(&id)) {
                    wire.alive = false;
                }
            }
            5..=6 => {
                self.down_until = self.now + self.rng.i64(1..self.weather.outage.max(2));
                if let Some(id) = current.filter(|id| self.is_alive(*id)) {
                    self.cut(id);
                }
            }
            7 => self.model.faults.refuse_resume += 1,
            8 => self.model.faults.refuse_continuity += 1,
            9 => self.model.faults.lose_acks += self.rng.u32(1..5),
            10 => {
                let error = [(42911, 429), (50000, 500), (50003, 503)];
                let error = error[self.rng.usize(0..error.len())];
                self.model.faults.nack.push_back(error);
            }
            11 => {
                let name = if self.rng.bool() { COMMANDS } else { REGISTRY };
                let out = self.model.detach(socket, name, 91007, server_ms);
                self.server_says(out);
            }
            12 => self.model.faults.duplicate += self.rng.u32(1..4),
            13 => self.model.faults.ignore_attach += 1,
            14 => {
                let error = if self.rng.bool() {
                    (50003, 503)
                } else {
                    (80003, 400)
                };
                let out = self.model.disconnect(socket, error.0, error.1, server_ms);
                self.server_says(out);
            }
            15 if self.rng.u32(0..4) == 0 => {
                let out = self.model.fail(socket, 40101, 401, server_ms);
                self.server_says(out);
            }
            16 if self.rng.u32(0..4) == 0 => {
                self.model.faults.attach_error.push_back((40160, 401));
                // Twice in a row it would be believed.
                if self.now > self.rewind_refused + 10 * MINUTE {
                    self.model.faults.refuse_rewind = 1;
                    self.rewind_refused = self.now;
                }
            }
            17 if self.weather.tokens => {
                if self.rng.bool() {
                    let out = self.model.inject(socket, json!({"action": 17}), server_ms);
                    self.server_says(out);
                } else {
                    let out = self.model.disconnect(socket, 40142, 401, server_ms);
                    self.server_says(out);
                }
            }
            _ => {}
        }
        self.schedule_fault();
    }

    pub(super) fn schedule_fault(&mut self) {
        let next = self.now + 1 + self.rng.i64(0..2 * self.weather.calm);
        if next < self.faults_until {
            self.at(next, Event::Fault);
        }
    }

    pub(super) fn command(&mut self) {
        let stop = self.rng.u32(0..8) == 0;
        let name = if stop { "stop" } else { "command" };
        let message = json!({"name": name, "encoding": "json",
            "data": json!({"n": self.commands.len()}).to_string()});
        let now = self.server_ms();
        let (id, out) = self.model.publish(COMMANDS, &message, now);
        self.commands.push((id, self.now));
        self.server_says(out);
        // At most about 60 in two minutes: a rewind reaches back 100.
        let next = self.now + 1_000 + self.rng.i64(0..8_000);
        if next < self.faults_until {
            self.at(next, Event::Command);
        }
    }

    pub(super) fn work(&mut self) {
        let id = format!("r-{}", self.published.len());
        let kind = match self.rng.u32(0..10) {
            0..=1 => PublishKind::Latest,
            2..=3 => PublishKind::Event,
            _ => {
                let place = self.machine.ledger().take(Priority::Ordinary);
                self.published.insert(id.clone());
                PublishKind::Kept(place.expect("room"))
            }
        };
        let kept = matches!(kind, PublishKind::Kept(_));
        let id = if kept {
            id
        } else {
            format!("x-{}", self.next_event)
        };
        let channel = if matches!(kind, PublishKind::Event) {
            format!("task:t{}:events", self.rng.u32(0..3))
        } else {
            STATUS.to_owned()
        };
        self.feed(Input::Publish(Publish {
            channel,
            name: "x".to_owned(),
            data: Data::Json(json!({"id": id})).encode(),
            id,
            kind,
        }));
        if self.rng.u32(0..20) == 0 {
            let data = Data::Json(json!({"at": self.now}));
            self.feed(Input::PresenceData(data));
        }
        let next = self.now + 1 + self.rng.i64(0..6_000);
        if next < self.faults_until {
            self.at(next, Event::Work);
        }
    }
}
