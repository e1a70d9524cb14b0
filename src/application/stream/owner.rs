//! The owner's thread: feeds the [`Table`] and does what it decides. No decision is made here.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, at, never, select_biased};

use super::effect::{Effect, FailedTry};
use super::policy::Policy;
use super::prepare::{Order, Prepared};
use super::service::StreamRequest;
use super::table::Table;
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::gateway::{ProcessGateway, RunEvent, TaskObserver};
use crate::domain::stream::{StopReason, StreamStatus, TaskEvent, TaskEventKind};
use crate::util::time::Now;

/// Orders from the daemon.
#[derive(Debug, Clone)]
pub enum Control {
    /// End all tasks, then the thread.
    ShutDown,
    /// The same without grace.
    KillAll,
    /// Answer, to show that the loop turns.
    Ping(Sender<()>),
    /// New limits, from now on. What runs goes on.
    Limits(Policy),
}

/// Everything the thread needs.
pub struct Owner {
    /// What it decides by.
    pub table: Table,
    /// What it runs children with. The parent-death signal of a child follows the thread that
    /// spawned it: this one, which lives as long as there are children.
    pub gateway: Box<dyn ProcessGateway>,
    /// Who prepares plans; the answers come to [`run`](Self::run).
    pub prepare: Sender<Order>,
    /// Told of every change.
    pub observers: Vec<Box<dyn TaskObserver>>,
    /// Orders; a closed channel is an order to end.
    pub control: Receiver<Control>,
    /// Told of the active tasks and of maintenance whenever they may have changed.
    pub on_turn: Box<dyn FnMut(&Table) + Send>,
}

impl Owner {
    /// Runs until shut down and idle. Child events go before deadlines, deadlines before
    /// requests: a flood of requests must not starve them.
    pub fn run(
        mut self,
        children: &Receiver<RunEvent>,
        mut prepared: Receiver<Prepared>,
        mut requests: Receiver<StreamRequest>,
    ) {
        let mut stopping = false;
        let mut control = std::mem::replace(&mut self.control, never());
        loop {
            if stopping && self.table.is_idle() {
                break;
            }
            let timer = self.table.next_deadline().map_or_else(never, at);
            let effects = select_biased! {
                recv(control) -> order => match order {
                    Ok(Control::Ping(answer)) => {
                        let _ = answer.try_send(());
                        Vec::new()
                    }
                    Ok(Control::Limits(policy)) => {
                        self.table.set_policy(policy);
                        Vec::new()
                    }
                    Ok(Control::KillAll) => {
                        stopping = true;
                        self.table.kill_all(Now::read())
                    }
                    Ok(Control::ShutDown) => {
                        stopping = true;
                        self.table.shut_down(Now::read())
                    }
                    Err(_) => {
                        control = never();
                        stopping = true;
                        self.table.shut_down(Now::read())
                    }
                },
                recv(children) -> event => match event {
                    Ok(event) => self.table.child(event, Now::read()),
                    Err(_) => break,
                },
                recv(timer) -> _ => self.table.tick(Now::read()),
                recv(prepared) -> done => match done {
                    Ok((ticket, plan)) => self.table.prepared(ticket, plan, Now::read()),
                    // Its thread is gone: what waits for it is given up by the table's deadline.
                    Err(_) => {
                        prepared = never();
                        Vec::new()
                    }
                },
                recv(requests) -> request => match request {
                    Ok(request) => self.table.request(request, Now::read()),
                    // Every door is gone.
                    Err(_) => {
                        requests = never();
                        stopping = true;
                        self.table.shut_down(Now::read())
                    }
                },
            };
            self.perform(effects);
            (self.on_turn)(&self.table);
        }
        self.gateway.finish(Instant::now() + Duration::from_secs(3));
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        let mut queue: std::collections::VecDeque<Effect> = effects.into();
        while let Some(effect) = queue.pop_front() {
            match effect {
                Effect::Prepare(ticket, spec, facts) => {
                    if let Err(refused) = self.prepare.try_send((ticket, spec, facts)) {
                        let fault = not_prepared(&refused);
                        queue.extend(self.table.prepared(ticket, Err(fault), Now::read()));
                    }
                }
                Effect::Start(run, launch) => {
                    let outcome = self.gateway.start(run, &launch);
                    queue.extend(self.table.started(run, outcome, Now::read()));
                }
                Effect::Terminate(run) => self.gateway.terminate(run),
                Effect::Kill(run) => self.gateway.kill(run),
                Effect::Reap(run) => self.gateway.reap(run),
                Effect::FailedTry(failed) => tell_failed_try(&failed),
                Effect::Event(event) => {
                    tell_log(&event);
                    for observer in &self.observers {
                        observer.task_changed(&event);
                    }
                }
            }
        }
    }
}

fn not_prepared(refused: &TrySendError<Order>) -> Fault {
    match refused {
        TrySendError::Full(_) => Fault::new(
            ErrorCode::NodeBusy,
            "too many streams are being started; try again in a moment",
        ),
        TrySendError::Disconnected(_) => Fault::new(
            ErrorCode::InternalError,
            "nobody prepares plans any more; the log says more",
        ),
    }
}

/// One line a try, so that the log tells of a camera that is away for a day, too.
fn tell_failed_try(failed: &FailedTry) {
    log::info!(
        task = failed.task.as_str(), cause = failed.cause.name(), code = failed.why.code.number(),
        why = failed.why.message.as_str(), retry = failed.counted,
        next_in_ms = u64::try_from(failed.next_in.as_millis()).unwrap_or(u64::MAX);
        "a try has failed"
    );
}

/// One line a change, for people.
fn tell_log(event: &TaskEvent) {
    let task = &event.task;
    let id = task.spec.task_id.as_str();
    let status = task.status.name();
    let (level, words) = match (event.kind, task.status) {
        (TaskEventKind::Started, _) => (log::Level::Info, "stream started"),
        (TaskEventKind::Stopped, _) => (log::Level::Info, "stream stopped"),
        (TaskEventKind::Error, _) => (log::Level::Error, "stream given up"),
        (_, StreamStatus::Reconnecting) => (log::Level::Warn, "stream lost, trying again"),
        (_, StreamStatus::Streaming) => (log::Level::Info, "stream is back"),
        _ => (log::Level::Info, "stream starting"),
    };
    let code = task.error.as_ref().map_or(0, |f| f.code.number());
    let why = task.error.as_ref().map_or("", |f| f.message.as_str());
    let reason = task.stop_reason.map_or("", StopReason::name);
    log::log!(
        level,
        task = id, status = status, pid = task.process_id.unwrap_or(0), retry = task.retry_count,
        code = code, why = why, reason = reason;
        "{words}"
    );
}
