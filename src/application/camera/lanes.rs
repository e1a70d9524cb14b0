//! The lanes that there are, one a camera, as the service sees them: their queues and flags, and
//! which of them goes when another camera wants its place. Starts no thread and knows no command.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use crossbeam_channel::Sender;

use super::address::Host;
use super::book::Spot;
use super::running::{Flags, Input};
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::stream::CameraId;

/// Most cameras that have a lane at a time.
const MAX_LANES: usize = 64;

/// One lane.
pub(super) struct LaneHandle {
    pub queue: Sender<Input>,
    pub flags: Arc<Flags>,
    pub generation: u64,
    /// As the last command named its camera, and the host that it found it by.
    pub named: (CameraId, Host),
}

/// All of them, by the camera's place.
#[derive(Default)]
pub(super) struct Lanes {
    pub map: HashMap<Spot, LaneHandle>,
    generations: u64,
}

impl Lanes {
    /// The number of a lane that is about to be made: its place may have had one before.
    pub fn next_generation(&mut self) -> u64 {
        self.generations += 1;
        self.generations
    }

    /// Room for one more: where there is none, the lane that has been quiet longest goes.
    pub fn make_room(&mut self) -> Result<(), Fault> {
        if self.map.len() < MAX_LANES {
            return Ok(());
        }
        let oldest = self
            .map
            .iter()
            .filter_map(|(place, handle)| Some((handle.flags.quiet_since()?, *place)))
            .min_by_key(|(since, _)| *since);
        let Some((_, place)) = oldest else {
            return Err(Fault::new(
                ErrorCode::NodeBusy,
                format!("{MAX_LANES} cameras are being steered already"),
            ));
        };
        // Its thread sees the queue cut, finishes what came in between, and ends.
        self.map.remove(&place);
        Ok(())
    }

    /// Takes a lane out, unless its place has another one by now.
    pub fn remove(&mut self, place: &Spot, generation: u64) {
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

    /// The lanes at an address whose last command found them by that host.
    pub fn by(&self, ip: IpAddr, host: &Host) -> Vec<(Spot, CameraId)> {
        self.map
            .iter()
            .filter(|(spot, handle)| spot.ip == ip && handle.named.1 == *host)
            .map(|(spot, handle)| (*spot, handle.named.0.clone()))
            .collect()
    }
}
