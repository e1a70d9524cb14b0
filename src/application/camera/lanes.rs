//! The lanes that there are, one a camera, as the service sees them: their queues and flags, and
//! which of them goes when another camera wants its place. Starts no thread and knows no command.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};

use super::book::ChannelAddress;
use super::book::address::Host;
use super::order::{CameraReply, Command};
use super::overtaken::Overtaken;
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::stream::CameraId;
use crate::util::time::Now;

/// Most cameras that have a lane at a time, those not counted whose stop is tried in vain.
const MAX_LANES: usize = 64;
/// Places beyond those, for stops.
const FOR_STOPS: usize = 64;

/// Most ids of one camera that are remembered.
const MAX_MOVERS: usize = 16;

/// What comes to a lane from outside.
pub(super) enum Input {
    /// A command, the host that it finds its camera by, and who waits for its answer.
    Command(Command, Host, Sender<CameraReply>),
    /// An id leads elsewhere: what it set in motion here is ended.
    Left(CameraId),
    /// Look at the [`Flags`]. May be lost where the queue is full: then the thread looks anyway.
    Look,
}

/// What is true of a lane, for those outside.
#[derive(Default)]
pub(super) struct Flags {
    /// Set outside: the cloud's line is down.
    pub link_down: AtomicBool,
    /// Set outside: end.
    pub stopping: AtomicBool,
    /// Set inside: something moves by a manual command of the cloud.
    pub moves_for_cloud: AtomicBool,
    rest: Mutex<Rest>,
}

/// Since when a lane may go.
#[derive(Clone, Copy, Default)]
struct Rest {
    quiet: Option<Instant>,
    in_vain: Option<Instant>,
}

impl Flags {
    /// Since when the lane has had nothing to do; `None` while it has.
    pub fn quiet_since(&self) -> Option<Instant> {
        self.rest().quiet
    }

    /// Since when it has tried nothing but a stop of what lss has not moved, at a camera that
    /// gives no sign; `None` while it does anything else.
    pub fn in_vain_since(&self) -> Option<Instant> {
        self.rest().in_vain
    }

    /// Notes how the lane is; since when it has been quiet.
    pub fn note(&self, quiet: bool, in_vain: bool) -> Option<Instant> {
        let mut rest = self.rest();
        let since = |before: Option<Instant>| before.unwrap_or_else(|| Now::read().mono);
        rest.quiet = quiet.then(|| since(rest.quiet));
        rest.in_vain = in_vain.then(|| since(rest.in_vain));
        rest.quiet
    }

    fn rest(&self) -> MutexGuard<'_, Rest> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One lane.
pub(super) struct LaneHandle {
    pub queue: Sender<Input>,
    pub flags: Arc<Flags>,
    pub generation: u64,
    /// The ids by which movements and tours were ordered, the last one last.
    pub movers: Vec<CameraId>,
}

/// All of them, by the camera's place.
#[derive(Default)]
pub(super) struct Lanes {
    pub map: HashMap<ChannelAddress, LaneHandle>,
    /// Under the same lock: a movement is judged by it and put in its queue at one stroke.
    pub overtaken: Overtaken,
    generations: u64,
}

/// All of them, behind one lock: shared by the service, which makes them, and the lanes, which end.
#[derive(Default)]
pub(super) struct Registry(Mutex<Lanes>);

impl Registry {
    pub fn lock(&self) -> MutexGuard<'_, Lanes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a quiet lane out, unless something has come for it. `true` = its thread may end.
    pub fn let_go(
        &self,
        place: &ChannelAddress,
        generation: u64,
        inputs: &Receiver<Input>,
    ) -> bool {
        let mut lanes = self.lock();
        if !inputs.is_empty() {
            return false;
        }
        lanes.remove(place, generation);
        true
    }
}

impl Lanes {
    /// The number of a lane that is about to be made: its place may have had one before.
    pub fn next_generation(&mut self) -> u64 {
        self.generations += 1;
        self.generations
    }

    /// Room for one more: where there is none, the lane that has been quiet longest goes. For a
    /// stop there are more places, and then the lane goes that has longest tried in vain to stop
    /// what lss has not moved, so that a stop always finds room.
    pub fn make_room(&mut self, stop: bool) -> Result<(), Fault> {
        let in_vain = |handle: &LaneHandle| handle.flags.in_vain_since();
        let vain = self.map.values().filter(|h| in_vain(h).is_some()).count();
        let all = self.map.len();
        if all - vain < MAX_LANES && all < MAX_LANES + FOR_STOPS {
            return Ok(());
        }
        if self.let_oldest_go(|handle| handle.flags.quiet_since())
            || (stop && (all < MAX_LANES + FOR_STOPS || self.let_oldest_go(in_vain)))
        {
            return Ok(());
        }
        Err(Fault::new(
            ErrorCode::NodeBusy,
            format!("{MAX_LANES} cameras are being steered already"),
        ))
    }

    /// Its thread sees the queue cut, finishes what came in between, and ends.
    fn let_oldest_go(&mut self, since: impl Fn(&LaneHandle) -> Option<Instant>) -> bool {
        let oldest = self
            .map
            .iter()
            .filter_map(|(place, handle)| Some((since(handle)?, *place)))
            .min_by_key(|(since, _)| *since);
        oldest.is_some_and(|(_, place)| self.map.remove(&place).is_some())
    }

    /// Takes a lane out, unless its place has another one by now.
    pub fn remove(&mut self, place: &ChannelAddress, generation: u64) {
        if self
            .map
            .get(place)
            .is_some_and(|h| h.generation == generation)
        {
            self.map.remove(place);
        }
    }

    /// Raises or lowers a flag of every lane, and has each look at it.
    pub fn signal(&self, flag: impl Fn(&Flags)) {
        for handle in self.map.values() {
            flag(&handle.flags);
            // A full queue is looked at anyway.
            let _ = handle.queue.try_send(Input::Look);
        }
    }

    /// The lane of a place: that very one; where its port is only inferred, one of that address and
    /// channel that is in use, if there is one.
    pub fn find(
        &self,
        at: ChannelAddress,
        port_is_said: bool,
        camera: &CameraId,
    ) -> ChannelAddress {
        if port_is_said || self.map.contains_key(&at) {
            return at;
        }
        self.map
            .iter()
            .filter(|(spot, handle)| {
                spot.ip == at.ip && spot.channel == at.channel && handle.is_in_use()
            })
            .max_by_key(|(_, handle)| (handle.movers.contains(camera), handle.generation))
            .map_or(at, |(spot, _)| *spot)
    }

    /// The lanes that a camera's id has moved something in, and that it does not lead to any more.
    /// Who calls a camera `by_address` alone means the port and channel that he says with it: that
    /// is no camera that has gone elsewhere.
    pub fn left_by(
        &self,
        camera: &CameraId,
        by_address: bool,
        now_at: Option<ChannelAddress>,
    ) -> Vec<Sender<Input>> {
        let same_ip = |spot: &ChannelAddress| now_at.is_some_and(|now| now.ip == spot.ip);
        self.map
            .iter()
            .filter(|(spot, handle)| {
                let elsewhere = Some(**spot) != now_at && !(by_address && same_ip(spot));
                elsewhere && handle.movers.contains(camera)
            })
            .map(|(_, handle)| handle.queue.clone())
            .collect()
    }
}

impl LaneHandle {
    /// Whether something waits, runs or moves there.
    fn is_in_use(&self) -> bool {
        self.flags.quiet_since().is_none() || !self.queue.is_empty()
    }

    /// An id orders something that moves.
    pub fn moved_by(&mut self, camera: &CameraId) {
        self.movers.retain(|known| known != camera);
        if self.movers.len() >= MAX_MOVERS {
            self.movers.remove(0);
        }
        self.movers.push(camera.clone());
    }
}
