//! Plans are prepared on a thread of their own: an FFmpeg that hangs when it is asked what
//! it can do, or a disk that does, holds up the tasks that need it and nobody else.
//!
//! The table says what is to be prepared and until when that is waited for; this only does it.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::domain::engine::{Engine, Plan};
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::stream::{SourceFacts, StreamSpec};

/// Tasks that wait for their plan; one more is answered with 30302.
pub const MAX_PREPARING: usize = 32;

/// So long a plan may take: longer than an FFmpeg that hangs is asked.
pub const PREPARE_WITHIN: Duration = Duration::from_secs(30);

/// Names one task while a plan is prepared for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What to prepare: a task, and what its source has said of itself if it has been asked.
pub type Order = (Ticket, Box<StreamSpec>, Option<Box<SourceFacts>>);
/// What came of it.
pub type Prepared = (Ticket, Result<Plan, Fault>);

/// Starts the thread `stream-prepare`; it ends when the sender of its orders is gone.
pub fn start(engine: Arc<dyn Engine>) -> io::Result<(Sender<Order>, Receiver<Prepared>)> {
    let (orders, incoming) = bounded::<Order>(MAX_PREPARING);
    let (done, prepared) = bounded(MAX_PREPARING);
    std::thread::Builder::new()
        .name("stream-prepare".to_owned())
        .spawn(move || {
            for (ticket, spec, facts) in incoming {
                let plan = prepare(engine.as_ref(), &spec, facts.as_deref());
                // The owner waits for nothing but its queues, so there is room soon, or nobody.
                if done.send((ticket, plan)).is_err() {
                    break;
                }
            }
        })?;
    Ok((orders, prepared))
}

fn prepare(
    engine: &dyn Engine,
    spec: &StreamSpec,
    facts: Option<&SourceFacts>,
) -> Result<Plan, Fault> {
    catch_unwind(AssertUnwindSafe(|| engine.prepare(spec, facts))).unwrap_or_else(|_| {
        log::error!(task = spec.task_id.as_str(); "preparing a plan panicked");
        Err(Fault::new(
            ErrorCode::InternalError,
            "a fault of lss itself; its log says more",
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::stream::{StartCommand, StreamRules};
    use crate::util::secret::Secret;

    struct Panics;
    impl Engine for Panics {
        fn prepare(&self, spec: &StreamSpec, _: Option<&SourceFacts>) -> Result<Plan, Fault> {
            assert_ne!(spec.task_id.as_str(), "panic", "as the test asked");
            Err(Fault::new(ErrorCode::FfmpegNotFound, "none"))
        }
    }

    #[test]
    fn a_panic_costs_one_start() {
        let (orders, prepared) = start(Arc::new(Panics)).unwrap();
        for (number, id, code) in [
            (1, "panic", ErrorCode::InternalError),
            (2, "t", ErrorCode::FfmpegNotFound),
        ] {
            let command = StartCommand {
                task_id: Some(id.to_owned()),
                source_url: Some(Secret::new("rtsp://127.0.0.1/x")),
                whip_url: Some(Secret::new("https://whip.example/y")),
                ..StartCommand::default()
            };
            let spec = command.validate(&StreamRules::default()).unwrap();
            orders.send((Ticket(number), Box::new(spec), None)).unwrap();
            let (ticket, plan) = prepared.recv().unwrap();
            assert_eq!(ticket, Ticket(number));
            assert_eq!(plan.unwrap_err().code, code);
        }
    }
}
