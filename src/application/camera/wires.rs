//! The threads that wait for a camera: one for its control connection, one for queries, and one
//! for each stop that needs a connection of its own. Each request ends by its time-out.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::contact::{Contact, KeptDevice};
use super::order::{Outcome, RequestId, Send, Wire};
use crate::domain::error::{ErrorCode, Fault};
use crate::util::time::Now;

/// Requests that wait for a worker. The lane sends one at a time, and goes round one that is
/// stuck.
const WAITING: usize = 2;

pub(super) type Answers = Sender<(RequestId, Outcome)>;
/// A request, and when it was handed over.
type Job = (Send, Instant);

/// A camera's connections. Dropping it ends the workers that wait.
pub(super) struct Wires {
    contact: Arc<Contact>,
    answers: Answers,
    control: Option<Sender<Job>>,
    query: Option<Sender<Job>>,
}

impl Wires {
    /// No thread yet.
    pub fn new(contact: Arc<Contact>, answers: Answers) -> Self {
        Self {
            contact,
            answers,
            control: None,
            query: None,
        }
    }

    /// Sends a request; its answer comes to the channel.
    pub fn send(&mut self, send: Send) {
        #[cfg(test)]
        let Some(send) = super::explore::take_request(&self.contact, &self.answers, send) else {
            return;
        };
        let job = (send, Now::read().mono);
        let unsent = match job.0.wire {
            Wire::Control => post(&mut self.control, &self.contact, &self.answers, job),
            Wire::Query => post(&mut self.query, &self.contact, &self.answers, job),
            Wire::Fresh => {
                let id = job.0.id;
                let (jobs, queue) = bounded(1);
                let _ = jobs.send(job);
                drop(jobs);
                start(&self.contact, &self.answers, queue).err().map(|_| id)
            }
        };
        if let Some(id) = unsent {
            let fault = Fault::new(
                ErrorCode::NodeBusy,
                "no thread can be started for this request",
            );
            log::error!(camera:% = self.contact.place(); "{}", fault.message);
            // There is room for it: the lane's own thread, which takes them out, is this one, and
            // it has few requests out.
            let _ = self.answers.try_send((id, Outcome::Refused(fault)));
        }
    }
}

/// Hands a job to a worker that stays, starting it where there is none. `Some` = not sent.
fn post(
    worker: &mut Option<Sender<Job>>,
    contact: &Arc<Contact>,
    answers: &Answers,
    job: Job,
) -> Option<RequestId> {
    let id = job.0.id;
    let mut job = job;
    if let Some(jobs) = worker {
        match jobs.try_send(job) {
            Ok(()) => return None,
            Err(refused) => job = refused.into_inner(),
        }
    }
    let (jobs, queue) = bounded(WAITING);
    let _ = jobs.try_send(job);
    if start(contact, answers, queue).is_err() {
        return Some(id);
    }
    *worker = Some(jobs);
    None
}

fn start(contact: &Arc<Contact>, answers: &Answers, queue: Receiver<Job>) -> std::io::Result<()> {
    let (contact, answers) = (Arc::clone(contact), answers.clone());
    std::thread::Builder::new()
        .name("camera-wire".to_owned())
        .stack_size(1024 * 1024)
        .spawn(move || work(&contact, &answers, &queue))?;
    Ok(())
}

fn work(contact: &Contact, answers: &Answers, queue: &Receiver<Job>) {
    let mut seat = KeptDevice::default();
    // Until the lane ends, or has put another in this one's place.
    for (send, since) in queue {
        let deadline = since + send.timeout;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            contact.perform(&mut seat, &send, deadline)
        }))
        .unwrap_or_else(|_| {
            seat = KeptDevice::default();
            log::error!(camera:% = contact.place(); "a camera request failed by a fault of lss itself");
            Outcome::Lost(Fault::new(
                ErrorCode::InternalError,
                "a fault of lss itself; its log says more",
            ))
        });
        if answers.send((send.id, outcome)).is_err() {
            return;
        }
    }
}
