//! The cloud's door: messages → commands → results (contract 5, 6).
//!
//! One thread, `commands`, takes messages in order, hands each to its owner and waits for many
//! answers at a time; it runs no command itself, so a slow one delays no other. A command takes
//! its answer's place in the outgoing store first: where there is none left it is refused, but
//! for stops. Knows no websocket.

mod events;
pub mod heartbeat;
mod overtaken;
mod pending;
mod request;
mod wire;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Receiver;

pub use events::{CameraEvents, TaskEvents};
use overtaken::Overtaken;
use pending::{Outcome, Pending};
use request::{Command, Request};
use wire::CommandResult;

use crate::adapter::wire::{Audience, TaskJson};
use crate::application::camera::{CameraService, Origin, Sent};
use crate::application::stream::StreamService;
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::gateway::{AnswerSlot, CloudLine, CloudMessage};
use crate::domain::stream::StreamTask;
use crate::util::time::Now;

/// What the door opens to.
pub struct CommandDoor {
    /// The stream owner.
    pub streams: StreamService,
    pub cameras: CameraService,
    /// Where answers go.
    pub line: Arc<dyn CloudLine>,
    /// `lss-{machineId}`
    pub node_id: String,
}

impl CommandDoor {
    /// Starts the thread; it ends when the senders of `messages` are gone and every answer is
    /// out.
    pub fn start(self, messages: Receiver<CloudMessage>) -> io::Result<JoinHandle<()>> {
        std::thread::Builder::new()
            .name("commands".to_owned())
            .spawn(move || pending::serve(&self, &messages))
    }

    /// Takes one message: `Some` is an answer that is still to come.
    fn take(&self, message: &CloudMessage, stops: &mut Overtaken) -> Option<Pending> {
        let request = match request::read(message, self.line.max_answer()) {
            Ok(request) => self.found(request),
            Err(unreadable) => {
                log::warn!(
                    message = message.id.as_str(), name = message.name.as_str(),
                    code = unreadable.fault.code.number();
                    "a message from the cloud can't be understood: {}", unreadable.fault.message
                );
                if let Some(slot) = self.line.reserve(true) {
                    self.answer(slot, &unreadable.about, Outcome::Refused(unreadable.fault));
                }
                return None;
            }
        };
        let Some(slot) = self.line.reserve(request.is_stop()) else {
            let stop = request.is_stop();
            let full = Fault::new(
                ErrorCode::NodeBusy,
                "too many results wait for the cloud to take them; try again later",
            );
            log::error!(command = request.about.command.as_str(); "{}", full.message);
            if stop {
                let _ = stops.pass(&request, message.place);
                // Done all the same; its answer has no place.
                let _ = self.execute(request, sent(message));
            } else if let Some(slot) = self.line.reserve(true) {
                self.answer(slot, &request.about, Outcome::Refused(full));
            }
            return None;
        };
        log::info!(
            command = request.about.command.as_str(), message = message.id.as_str(),
            task = request.about.task_id.as_deref().unwrap_or(""), replayed = message.replayed;
            "command from the cloud"
        );
        if let Err(fault) = stops.pass(&request, message.place) {
            self.answer(slot, &request.about, Outcome::Refused(fault));
            return None;
        }
        let about = request.about.clone();
        match self.execute(request, sent(message)) {
            Execution::Done(outcome) => {
                self.answer(slot, &about, outcome);
                None
            }
            Execution::Later(wait) => Some(Pending::new(wait, slot, about)),
        }
    }

    /// A stop whose address can't be a camera's goes to where its id is known to be.
    fn found(&self, mut request: Request) -> Request {
        if let Command::Camera { ask, order, .. } = &mut request.command
            && order.is_stop()
            && self.cameras.leave_refused_host(ask)
        {
            request.about.ignored.push("ip");
        }
        request
    }

    fn execute(&self, request: Request, sent: Sent) -> Execution {
        match request.command {
            Command::Start(command) => match self.streams.start_and_watch(&command) {
                Ok(first_try) => Execution::Later(pending::Wait::FirstTry(first_try)),
                Err(fault) => Execution::Done(Outcome::Refused(fault)),
            },
            Command::Stop { force } => {
                match self.streams.stop(request.about.task_id.as_deref(), force) {
                    Ok(done) => Execution::Later(pending::Wait::Stop(done)),
                    Err(fault) => Execution::Done(Outcome::Refused(fault)),
                }
            }
            Command::QueryStatus => Execution::Done(match &request.about.task_id {
                Some(id) => match self.streams.get(Some(id)) {
                    Ok(task) => Outcome::Task(Box::new(task)),
                    Err(fault) => Outcome::Refused(fault),
                },
                None => match self.streams.list(false) {
                    Ok(tasks) => Outcome::Tasks(tasks),
                    Err(fault) => Outcome::Refused(fault),
                },
            }),
            Command::Camera { ask, order, shape } => {
                match self.cameras.submit(&ask, Origin::Ably, sent, order) {
                    Ok(done) => Execution::Later(pending::Wait::Camera(done, shape)),
                    Err(fault) => Execution::Done(Outcome::Refused(fault)),
                }
            }
        }
    }

    /// For a command whose handling panicked: its own slot went with it.
    fn answer_own_fault(&self) {
        if let Some(slot) = self.line.reserve(true) {
            let fault = Fault::new(
                ErrorCode::InternalError,
                "a fault of lss itself; its log says more",
            );
            self.answer(slot, &request::About::default(), Outcome::Refused(fault));
        }
    }

    fn answer(&self, slot: Box<dyn AnswerSlot>, about: &request::About, outcome: Outcome) {
        let now = Now::read().wall;
        let result = CommandResult::new(&self.node_id, about, outcome, now);
        log::info!(
            command = about.command.as_str(), task = about.task_id.as_deref().unwrap_or(""),
            success = result.success, code = result.error_code;
            "command answered"
        );
        slot.publish(result.json());
    }
}

/// When a command was sent. While the cloud's clock is unknown only what was replayed counts as
/// old.
fn sent(message: &CloudMessage) -> Sent {
    Sent {
        age: match message.age {
            Some(age) => age,
            None if message.replayed => Duration::MAX,
            None => Duration::ZERO,
        },
        place: Some(message.place),
        received: message.received,
    }
}

/// A command's outcome now, or where it will come from.
enum Execution {
    Done(Outcome),
    Later(pending::Wait),
}

/// Tasks as the cloud sees them.
fn shown(task: &StreamTask) -> TaskJson {
    TaskJson::new(task, Audience::Rcs)
}

/// Whether a message must not wait behind others: anything that stops something, as the door itself
/// reads it. Quick: called on the thread of the line.
pub fn is_urgent(text: &str) -> bool {
    request::is_stop(text)
}

#[cfg(test)]
mod tests;
