//! Answers that take their time, so that no worker waits for them.
//!
//! A handler that must wait for another thread takes a [`WaitSlot`] first (so that nothing is set
//! going that nobody could wait for), sets the work going, and returns a [`Deferred`]: the
//! receiver of the outcome, how to show it, and until when to wait. One thread, `rest-late`,
//! waits for all of them. Knows no route and no HTTP server: it gets a closure that responds.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Select, Sender, TryRecvError, bounded};

use super::reply::Reply;
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::metrics::QueueMetric;

/// Sends a reply to whoever asked.
pub type Respond = Box<dyn FnOnce(Reply) + Send>;

/// An answer that is not there yet.
pub struct Deferred {
    outcome: Box<dyn Outcome>,
    deadline: Instant,
    overdue: Fault,
    _place: WaitSlot,
}

impl Deferred {
    /// Waits at most `limit` for `receiver`, shows what comes with `render`, and answers
    /// `overdue` if nothing does.
    pub fn new<T: Send + 'static>(
        place: WaitSlot,
        receiver: Receiver<T>,
        limit: Duration,
        overdue: Fault,
        render: impl FnOnce(T) -> Reply + Send + 'static,
    ) -> Self {
        Self {
            outcome: Box::new(Awaited {
                receiver,
                render: Some(render),
            }),
            deadline: Instant::now() + limit,
            overdue,
            _place: place,
        }
    }
}

/// How long an answer is waited for at most that depends on a process or a camera.
#[derive(Debug)]
pub struct LateLimit(AtomicU64);

impl LateLimit {
    pub fn new(limit: Duration) -> Self {
        let this = Self(AtomicU64::new(0));
        this.set(limit);
        this
    }

    pub fn set(&self, limit: Duration) {
        let millis = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        self.0.store(millis, Ordering::Relaxed);
    }

    pub fn get(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// One of the bounded places to wait in. Given back when dropped.
pub struct WaitSlot(Arc<AtomicUsize>);

impl Drop for WaitSlot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The handle to the `rest-late` thread.
pub struct Late {
    queue: Sender<Message>,
    taken: Arc<AtomicUsize>,
    places: usize,
}

enum Message {
    New(Waiting),
    Close,
}

struct Waiting {
    deferred: Deferred,
    respond: Respond,
}

impl Late {
    /// Starts the thread. At most `places` answers are waited for at a time.
    pub fn start(places: usize) -> std::io::Result<(Self, JoinHandle<()>)> {
        // One more, for the end.
        let (queue, incoming) = bounded(places + 1);
        let thread = std::thread::Builder::new()
            .name("rest-late".to_owned())
            .spawn(move || run(&incoming))?;
        let late = Self {
            queue,
            taken: Arc::new(AtomicUsize::new(0)),
            places,
        };
        Ok((late, thread))
    }

    /// What is waited for.
    pub fn queue(&self) -> QueueMetric {
        let waiting = self.taken.load(Ordering::Relaxed);
        QueueMetric::bounded("rest_late_answers", waiting, self.places)
    }

    /// A place to wait in, if there is one.
    pub fn place(&self) -> Option<WaitSlot> {
        self.taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| {
                (taken < self.places).then_some(taken + 1)
            })
            .ok()
            .map(|_| WaitSlot(Arc::clone(&self.taken)))
    }

    /// Hands an answer over to be waited for.
    pub fn wait(&self, deferred: Deferred, respond: Respond) {
        // There is room: who has a place has one in the queue too. So only a closed one refuses.
        let new = Message::New(Waiting { deferred, respond });
        if let Err(refused) = self.queue.try_send(new)
            && let Message::New(waiting) = refused.into_inner()
        {
            finish(waiting, Reply::fault(&stopping()));
        }
    }

    /// Ends the thread: what is still waited for is answered with 50003.
    pub fn close(&self) {
        // Full only after a first close, disconnected only after its end.
        let _ = self.queue.try_send(Message::Close);
    }
}

/// 50001: whoever should have answered is gone.
fn lost() -> Fault {
    Fault::new(
        ErrorCode::InternalError,
        "the answer was lost inside lss; the log says more",
    )
}

fn stopping() -> Fault {
    Fault::new(
        ErrorCode::Unavailable,
        "the node is stopping; what was asked for goes on without an answer",
    )
}

/// A receiver of any type with its way to be shown.
trait Outcome: Send {
    fn watch<'a>(&'a self, select: &mut Select<'a>);
    /// The reply, if the outcome is there.
    fn take(&mut self) -> Option<Reply>;
}

struct Awaited<T, F> {
    receiver: Receiver<T>,
    render: Option<F>,
}

impl<T: Send, F: FnOnce(T) -> Reply + Send> Outcome for Awaited<T, F> {
    fn watch<'a>(&'a self, select: &mut Select<'a>) {
        select.recv(&self.receiver);
    }

    fn take(&mut self) -> Option<Reply> {
        match self.receiver.try_recv() {
            Ok(outcome) => Some(match self.render.take() {
                Some(render) => render(outcome),
                None => Reply::fault(&lost()),
            }),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Reply::fault(&lost())),
        }
    }
}

fn run(incoming: &Receiver<Message>) {
    let mut waiting: Vec<Waiting> = Vec::new();
    loop {
        let ready = {
            let mut select = Select::new();
            for each in &waiting {
                each.deferred.outcome.watch(&mut select);
            }
            select.recv(incoming);
            match waiting.iter().map(|each| each.deferred.deadline).min() {
                None => Some(select.ready()),
                Some(soonest) => select.ready_deadline(soonest).ok(),
            }
        };
        match ready {
            // Operations count in the order they were added: the queue comes last.
            Some(at) if at == waiting.len() => match incoming.try_recv() {
                Ok(Message::New(new)) => waiting.push(new),
                Err(TryRecvError::Empty) => {}
                Ok(Message::Close) | Err(TryRecvError::Disconnected) => break,
            },
            Some(at) => {
                let reply = waiting
                    .get_mut(at)
                    .and_then(|each| shown(&mut each.deferred));
                if let Some(reply) = reply {
                    finish(waiting.swap_remove(at), reply);
                }
            }
            None => {}
        }
        expire(&mut waiting, Instant::now());
    }
    let queued = incoming.try_iter().filter_map(|message| match message {
        Message::New(new) => Some(new),
        Message::Close => None,
    });
    for each in waiting.into_iter().chain(queued) {
        finish(each, Reply::fault(&stopping()));
    }
}

/// The reply, if it is there; 50001 if showing it panics.
fn shown(deferred: &mut Deferred) -> Option<Reply> {
    catch_unwind(AssertUnwindSafe(|| deferred.outcome.take())).unwrap_or_else(|_| {
        log::error!("showing an answer panicked; it was answered with 50001");
        Some(Reply::fault(&lost()))
    })
}

fn expire(waiting: &mut Vec<Waiting>, now: Instant) {
    while let Some(at) = waiting
        .iter()
        .position(|each| each.deferred.deadline <= now)
    {
        let each = waiting.swap_remove(at);
        let reply = Reply::fault(&each.deferred.overdue);
        finish(each, reply);
    }
}

fn finish(waiting: Waiting, reply: Reply) {
    let Waiting { deferred, respond } = waiting;
    // The place first: who hears the answer may ask again at once.
    drop(deferred);
    if catch_unwind(AssertUnwindSafe(|| respond(reply))).is_err() {
        log::error!("sending a late answer panicked");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn overdue() -> Fault {
        Fault::new(ErrorCode::TaskStopFailed, "overdue")
    }

    fn watched(late: &Late, deferred: Deferred) -> Receiver<Reply> {
        let (tx, rx) = bounded(1);
        late.wait(deferred, Box::new(move |reply| drop(tx.send(reply))));
        rx
    }

    fn code(replies: &Receiver<Reply>) -> u32 {
        replies
            .recv_timeout(Duration::from_secs(10))
            .unwrap()
            .code
            .number()
    }

    #[test]
    fn answers_come_in_any_order_and_free_their_places() {
        let (late, thread) = Late::start(3).unwrap();
        let mut outcomes = Vec::new();
        let mut replies = Vec::new();
        for _ in 0..3 {
            let (tx, rx) = bounded::<u8>(1);
            let place = late.place().unwrap();
            let deferred = Deferred::new(place, rx, LONG, overdue(), |n| Reply::ok(&n));
            replies.push(watched(&late, deferred));
            outcomes.push(tx);
        }
        assert!(late.place().is_none(), "three places, no fourth");
        outcomes[2].send(7).unwrap();
        assert_eq!(code(&replies[2]), 0);
        drop(outcomes.remove(0));
        assert_eq!(code(&replies[0]), 50001, "nobody is left to answer");
        let place = late.place();
        assert!(place.is_some(), "the first two are free again");
        drop(place);
        late.close();
        assert_eq!(
            code(&replies[1]),
            50003,
            "the thread ends, the caller hears"
        );
        thread.join().unwrap();
    }

    #[test]
    fn overdue_and_panicking_ones_are_answered() {
        let (late, thread) = Late::start(2).unwrap();
        let (_never, rx) = bounded::<u8>(1);
        let place = late.place().unwrap();
        let deferred = Deferred::new(place, rx, Duration::ZERO, overdue(), |n| Reply::ok(&n));
        assert_eq!(code(&watched(&late, deferred)), 30105);

        let (tx, rx) = bounded::<u8>(1);
        tx.send(1).unwrap();
        let place = late.place().unwrap();
        let deferred = Deferred::new(place, rx, LONG, overdue(), |_| panic!("a bug"));
        assert_eq!(code(&watched(&late, deferred)), 50001);
        drop(late);
        thread.join().unwrap();
    }
}
