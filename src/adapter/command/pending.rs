//! Waiting for many answers at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crossbeam_channel::{Receiver, Select};
use serde_json::Value;

use super::CommandDoor;
use super::overtaken::Overtaken;
use super::request::About;
use crate::adapter::camera_wire::{self, Shape};
use crate::application::camera::CameraDone;
use crate::application::stream::{FirstTry, StopDone};
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::gateway::{AnswerSlot, CloudMessage};
use crate::domain::stream::StreamTask;

/// How a command ended.
pub enum Outcome {
    Task(Box<StreamTask>),
    /// All tasks.
    Tasks(Vec<StreamTask>),
    /// Not done.
    Refused(Fault),
    /// What a camera command brought, and what is wrong.
    Camera(Value, Option<Fault>),
    /// Tried; the task as it is now.
    Failed(Fault, Option<Box<StreamTask>>),
}

/// Where an answer will come from.
pub enum Wait {
    /// START_STREAM: the end of the first try.
    FirstTry(FirstTry),
    /// STOP_STREAM: the reaping.
    Stop(StopDone),
    /// A camera's answer, and how it is shown.
    Camera(CameraDone, Shape),
}

/// A command whose answer is to come. The stream owner and the cameras' lanes answer each one
/// (their deadlines see to that), so what waits here is bounded by the places in the outgoing store.
pub struct Pending {
    wait: Wait,
    slot: Box<dyn AnswerSlot>,
    about: About,
}

impl Pending {
    /// Waits for `wait`; the answer goes to `slot`.
    pub fn new(wait: Wait, slot: Box<dyn AnswerSlot>, about: About) -> Self {
        Self { wait, slot, about }
    }

    fn outcome(&self) -> Option<Outcome> {
        let gone = || {
            Outcome::Refused(Fault::new(
                ErrorCode::NodeOffline,
                "the node stopped before the command had ended",
            ))
        };
        match &self.wait {
            Wait::FirstTry(receiver) => match receiver.try_recv() {
                Ok(Ok(task)) => Some(Outcome::Task(Box::new(task))),
                Ok(Err((fault, task))) => Some(Outcome::Failed(fault, task)),
                Err(why) => why.is_disconnected().then(gone),
            },
            Wait::Stop(receiver) => match receiver.try_recv() {
                Ok(Ok(task)) => Some(Outcome::Task(Box::new(task))),
                Ok(Err(fault)) => Some(Outcome::Refused(fault)),
                Err(why) => why.is_disconnected().then(gone),
            },
            Wait::Camera(receiver, shape) => match receiver.try_recv() {
                Ok(reply) => {
                    let (data, fault) = camera_wire::outcome(*shape, reply);
                    Some(Outcome::Camera(data, fault))
                }
                Err(why) => why.is_disconnected().then(gone),
            },
        }
    }
}

/// The loop of the thread `commands`.
pub fn serve(door: &CommandDoor, messages: &Receiver<CloudMessage>) {
    let mut waiting: Vec<Pending> = Vec::new();
    let mut stops = Overtaken::default();
    let mut open = true;
    while open || !waiting.is_empty() {
        let ready = {
            let mut select = Select::new();
            for pending in &waiting {
                match &pending.wait {
                    Wait::FirstTry(receiver) => select.recv(receiver),
                    Wait::Stop(receiver) => select.recv(receiver),
                    Wait::Camera(receiver, _) => select.recv(receiver),
                };
            }
            if open {
                select.recv(messages);
            }
            select.ready()
        };
        if ready < waiting.len() {
            let outcome = waiting.get(ready).and_then(Pending::outcome);
            if let Some(outcome) = outcome {
                let pending = waiting.swap_remove(ready);
                door.answer(pending.slot, &pending.about, outcome);
            }
            continue;
        }
        match messages.try_recv() {
            Ok(message) => {
                // A bug in one command must not silence the line.
                match catch_unwind(AssertUnwindSafe(|| door.take(&message, &mut stops))) {
                    Ok(pending) => waiting.extend(pending),
                    Err(_) => {
                        log::error!(message = message.id.as_str(); "a command failed by a fault of lss itself; the line before says where");
                        door.answer_own_fault();
                    }
                }
            }
            Err(why) => open = !why.is_disconnected(),
        }
    }
}
