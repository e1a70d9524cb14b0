//! A lane's thread: turns the clock, the queue and the camera's answers into calls of the
//! [`Lane`] machine, and does what it says. Decides nothing itself.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, at, bounded, never, select};

use super::contact::Contact;
use super::lanes::{Flags, Input, Registry};
use super::latency::Kind;
use super::order::{CameraReply, Command, CommandId, Outcome, Output, RequestId};
use super::wires::Wires;
use super::{Lane, LanePolicy};
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::gateway::CameraObserver;
use crate::domain::ptz::Drives;
use crate::domain::stream::CameraId;
use crate::util::time::Now;

/// A lane with nothing to do and nothing in motion ends after so long.
const IDLE: Duration = Duration::from_secs(600);
/// Answers that wait for the lane's thread; who brings one more waits.
const ANSWERS: usize = 16;

/// What a lane's thread begins with.
pub(super) struct Start {
    pub contact: Arc<Contact>,
    /// Where the lane takes itself out.
    pub registry: Arc<Registry>,
    pub inputs: Receiver<Input>,
    pub flags: Arc<Flags>,
    pub generation: u64,
    pub alive: Sender<()>,
}

/// Starts the thread `camera-<place>`.
pub(super) fn start(start: Start) -> io::Result<()> {
    #[cfg(test)]
    let Some(start) = super::explore::take_lane(start) else {
        return Ok(());
    };
    let name = format!("camera-{}", start.contact.place());
    std::thread::Builder::new()
        .name(name)
        .stack_size(256 * 1024)
        .spawn(move || LaneThread::new(start).run())?;
    Ok(())
}

pub(super) struct LaneThread {
    lane: Lane,
    policy: LanePolicy,
    contact: Arc<Contact>,
    registry: Arc<Registry>,
    wires: Wires,
    inputs: Receiver<Input>,
    answers: Receiver<(RequestId, Outcome)>,
    flags: Arc<Flags>,
    generation: u64,
    waiting: HashMap<CommandId, Waiting>,
    link_down: bool,
    stopping: bool,
    /// Let go for want of room: no command comes any more.
    cut: bool,
    /// For the lane that takes over after a panic.
    moving: Drives,
    next_request: RequestId,
    announced: Option<CameraId>,
    last_camera: CameraId,
    _alive: Sender<()>,
}

/// Who waits for a command's answer, and since when.
struct Waiting {
    camera: CameraId,
    reply: Sender<CameraReply>,
    since: Instant,
    kind: Option<Kind>,
}

/// What woke the thread.
enum Event {
    Answer(RequestId, Outcome),
    Command(Command),
    Left(CameraId),
    Look,
    Time,
}

impl LaneThread {
    pub(super) fn new(start: Start) -> Self {
        let (sender, answers) = bounded(ANSWERS);
        let policy = start.contact.policy();
        Self {
            lane: Lane::new(policy),
            policy,
            wires: Wires::new(Arc::clone(&start.contact), sender),
            last_camera: start.contact.camera(),
            contact: start.contact,
            registry: start.registry,
            inputs: start.inputs,
            answers,
            flags: start.flags,
            generation: start.generation,
            waiting: HashMap::new(),
            link_down: false,
            stopping: false,
            cut: false,
            moving: Drives::NONE,
            next_request: RequestId(1),
            announced: None,
            _alive: start.alive,
        }
    }

    fn run(mut self) {
        let mut inputs = self.inputs.clone();
        loop {
            let since = self.note_rest();
            if self.cut && self.lane.tries_in_vain() {
                self.fail_all(&Fault::new(
                    ErrorCode::Unavailable,
                    "the camera was not reached, and gave its place to the stop of another one",
                ));
                break;
            }
            let idle_at = since.map(|since| since + IDLE);
            if since.is_some()
                && (self.stopping || self.cut || idle_at.is_some_and(|at| Now::read().mono >= at))
            {
                let place = self.contact.place();
                if self.registry.let_go(place, self.generation, &self.inputs) {
                    break;
                }
            }
            if self.stopping && self.lane.is_idle() {
                break;
            }
            let timer = self
                .lane
                .next_deadline()
                .into_iter()
                .chain(idle_at)
                .min()
                .map_or_else(never, at);
            let event = select! {
                recv(self.answers) -> answer => match answer {
                    Ok((request, outcome)) => Event::Answer(request, outcome),
                    // The wires hold the other end, and we hold the wires.
                    Err(_) => break,
                },
                recv(inputs) -> input => match input {
                    Ok(input) => self.heard(input),
                    // What came before is finished.
                    Err(_) => {
                        inputs = never();
                        self.cut = true;
                        Event::Look
                    }
                },
                recv(timer) -> _ => Event::Time,
            };
            self.turn(event);
        }
        self.moves_for_cloud(false);
        // Nobody is left waiting, whatever happened.
        let fault = Fault::new(ErrorCode::NodeOffline, "the node is stopping");
        self.fail_all(&fault);
    }

    /// Says how the lane is to those outside; since when it has been quiet.
    fn note_rest(&self) -> Option<Instant> {
        let quiet = self.lane.is_quiet() && self.waiting.is_empty();
        self.flags.note(quiet, self.lane.tries_in_vain())
    }

    fn heard(&mut self, input: Input) -> Event {
        match input {
            Input::Command(command, host, reply) => {
                let waiting = Waiting {
                    camera: command.camera.clone(),
                    reply,
                    since: Now::read().mono,
                    kind: Kind::of(&command.order),
                };
                self.waiting.insert(command.id, waiting);
                self.contact.named(&command.camera, &host);
                self.last_camera = command.camera.clone();
                Event::Command(command)
            }
            Input::Left(camera) => Event::Left(camera),
            Input::Look => Event::Look,
        }
    }

    /// One turn of the machine. A bug in it must not leave the camera moving.
    fn turn(&mut self, event: Event) {
        let now = Now::read();
        let (link_down, stopping) = (
            self.flags.link_down.load(Ordering::Relaxed),
            self.flags.stopping.load(Ordering::Relaxed),
        );
        let link_changed = std::mem::replace(&mut self.link_down, link_down) != link_down;
        let stop_now = stopping && !std::mem::replace(&mut self.stopping, true);
        self.policy = self.contact.policy();
        let (lane, policy) = (&mut self.lane, self.policy);
        let turned = catch_unwind(AssertUnwindSafe(|| {
            lane.set_policy(policy);
            let mut out = Vec::new();
            if link_changed && link_down {
                out.extend(lane.link_lost(now));
            } else if link_changed {
                lane.link_back();
            }
            if stop_now {
                out.extend(lane.shut_down(now));
            }
            out.extend(match event {
                Event::Answer(request, outcome) => lane.answer(request, outcome, now),
                Event::Command(command) => lane.command(command, now),
                Event::Left(camera) => lane.left(&camera, now),
                Event::Look | Event::Time => lane.tick(now),
            });
            out
        }));
        if let Ok(out) = turned {
            self.perform(out);
            self.moving = self.lane.moving();
            self.next_request = self.lane.next_request();
            self.announced = self.lane.announced().cloned();
            let moves = self.lane.moves_for_cloud();
            self.moves_for_cloud(moves);
        } else {
            self.replace(now);
        }
    }

    fn moves_for_cloud(&self, moves: bool) {
        if self.flags.moves_for_cloud.swap(moves, Ordering::Relaxed) != moves {
            self.tell(|observer| observer.moves_for_cloud(moves));
        }
    }

    /// Whoever is told must not be able to end the thread that stops the camera.
    fn tell(&self, what: impl FnOnce(&dyn CameraObserver)) {
        let observer = self.contact.observer();
        if catch_unwind(AssertUnwindSafe(|| what(observer.as_ref()))).is_err() {
            log::error!("an event of a camera could not be told by a fault of lss itself");
        }
    }

    fn replace(&mut self, now: Now) {
        log::error!(
            camera = self.last_camera.as_str();
            "a camera's lane failed by a fault of lss itself and is replaced; what may move is stopped"
        );
        let fault = Fault::new(
            ErrorCode::InternalError,
            "a fault of lss itself; its log says more",
        );
        self.fail_all(&fault);
        // Beyond what the broken turn may have given out.
        let next = RequestId(self.next_request.0 + 1_000);
        // What the broken turn may have set in motion is not known: everything is stopped.
        self.lane = Lane::after_panic(
            self.policy,
            &self.last_camera,
            Drives::ALL,
            next,
            self.announced.take(),
            now,
        );
        self.next_request = next;
        let mut out = Vec::new();
        if self.link_down {
            out.extend(self.lane.link_lost(now));
        }
        if self.stopping {
            out.extend(self.lane.shut_down(now));
        }
        out.extend(self.lane.tick(now));
        self.perform(out);
    }

    fn perform(&mut self, out: Vec<Output>) {
        for each in out {
            match each {
                Output::Send(send) => self.wires.send(send),
                Output::Reply(id, result) => {
                    if let Some(waiting) = self.waiting.remove(&id) {
                        if let Some(kind) = waiting.kind {
                            let took = waiting.since.elapsed();
                            self.contact
                                .common()
                                .latencies
                                .note(kind, took, result.is_ok());
                        }
                        let _ = waiting.reply.try_send(CameraReply {
                            camera: waiting.camera,
                            protocol: self.contact.protocol(),
                            result,
                        });
                    }
                }
                Output::Ptz(event) => {
                    log::warn!(
                        camera = event.camera.as_str(), event = event.kind.name();
                        "{}", event.reason
                    );
                    self.tell(|observer| observer.ptz_event(&event, Now::read().wall));
                }
                Output::Patrol(event) => {
                    log::info!(
                        camera = event.camera.as_str(), tour = event.tour.as_str(),
                        event = event.kind.name(), loops = event.current_loop,
                        reason = event.reason.as_deref().unwrap_or("");
                        "patrol"
                    );
                    self.tell(|observer| observer.patrol_event(&event, Now::read().wall));
                }
            }
        }
    }

    fn fail_all(&mut self, fault: &Fault) {
        for (_, waiting) in self.waiting.drain() {
            let _ = waiting.reply.try_send(CameraReply {
                camera: waiting.camera,
                protocol: None,
                result: Err(fault.clone()),
            });
        }
    }
}

/// For tests that take the thread's place: time and answers come when they say so.
#[cfg(test)]
impl LaneThread {
    /// Does all that is to be done now.
    pub(super) fn catch_up(&mut self) {
        loop {
            let event = if let Ok((request, outcome)) = self.answers.try_recv() {
                Event::Answer(request, outcome)
            } else if let Ok(input) = self.inputs.try_recv() {
                self.heard(input)
            } else if self.deadline().is_some_and(|at| at <= Now::read().mono) {
                Event::Time
            } else {
                break;
            };
            self.turn(event);
            self.note_rest();
        }
    }

    /// When it has something to do by itself.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.lane.next_deadline()
    }

    /// What becomes of it when a turn of its machine panics.
    pub(super) fn fail(&mut self) {
        self.replace(Now::read());
    }

    pub(super) fn contact(&self) -> &Contact {
        &self.contact
    }
}
