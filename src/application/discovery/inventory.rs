//! The cameras that sweeps have seen, as one list (contract 9).
//!
//! A machine: what a sweep saw and the time come in, changes come out. It knows which finds are
//! the same camera (seen at two addresses, or at a new one), and which camera is gone. Knows no
//! socket, no clock and no login.

mod identity;
mod known;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use self::identity::{Group, assign};
use self::known::Known;
pub use self::known::{Lesson, StreamPlace};
use super::networks;
use crate::application::camera::Sighting;
use crate::domain::discovery::{Find, SweepOrder, SweepReport};
use crate::domain::node::Camera;
use crate::util::time::Now;

/// A camera that is gone stays listed for so long (contract 9).
pub const KEPT: Duration = Duration::from_secs(600);
/// Most cameras that are listed.
pub const MAX_CAMERAS: usize = 1_024;
/// Most addresses of one camera.
const MAX_FACES: usize = 8;

/// One camera, as long as it is listed. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CameraKey(pub u64);

/// What has become of a camera.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeKind {
    /// Seen for the first time.
    Found,
    /// Not there any more.
    Gone,
    /// There again.
    Back,
    /// It has another address now.
    Moved {
        /// The one before.
        from: IpAddr,
    },
    /// Its vendor or model is known now, or better than before.
    Learnt,
    /// It turned out to be the camera of another entry, which stays.
    Joined {
        /// The address of that one.
        with: IpAddr,
    },
    /// Gone for too long, or another camera has its address: no longer listed.
    Forgotten,
}

/// A change, and the camera as it is after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// To which camera.
    pub camera: Camera,
}

/// What a sweep brought.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Swept {
    /// In the order of the cameras' age.
    pub changes: Vec<Change>,
    /// New cameras for which there was no room.
    pub left_out: usize,
}

/// What somebody who wants to ask a camera has to know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Askable {
    /// Which.
    pub key: CameraKey,
    /// Where.
    pub ip: IpAddr,
    /// The port that answered RTSP.
    pub rtsp_port: Option<u16>,
    /// The vendor as it is listed, `None` while unknown.
    pub vendor: Option<String>,
    /// It answers ONVIF or ISAPI, so it can be asked what it is.
    pub tells: bool,
}

/// The list.
#[derive(Debug, Default)]
pub struct Inventory {
    cameras: BTreeMap<CameraKey, Known>,
    last_key: u64,
}

impl Inventory {
    /// Takes in what a sweep saw. What it was ordered to look at and did not see is gone, unless
    /// it was cut short.
    pub fn swept(&mut self, order: &SweepOrder, report: &SweepReport, now: Now) -> Swept {
        let finds = unique(&report.finds);
        let groups = assign(&self.cameras, &finds);
        let mut out = Swept::default();
        let mut taken: BTreeMap<CameraKey, Vec<&Find>> = BTreeMap::new();
        let mut fresh = Vec::new();
        for group in groups {
            match group {
                Group::Of(key, finds) => {
                    taken.insert(key, finds);
                }
                Group::New(finds) => fresh.push(finds),
            }
        }
        self.hand_over_addresses(&taken, &fresh);
        let looked = |ip: IpAddr| !report.cut_short && looked_at(order, ip);
        for (key, known) in &mut self.cameras {
            let seen = taken.get(key).map_or(&[][..], Vec::as_slice);
            known.update(seen, report.cut_short, looked, now, &mut out.changes);
        }
        self.forget_faceless(&mut out.changes);
        for finds in fresh {
            if self.make_room(&mut out.changes) {
                self.last_key += 1;
                let known = Known::new(&finds, now);
                out.changes.push(Change {
                    kind: ChangeKind::Found,
                    camera: known.camera(),
                });
                self.cameras.insert(CameraKey(self.last_key), known);
            } else {
                out.left_out += 1;
            }
        }
        out
    }

    /// Takes in what a camera told to somebody with its login.
    pub fn learnt(&mut self, key: CameraKey, lesson: &Lesson) -> Vec<Change> {
        let mut changes = Vec::new();
        let Some(known) = self.cameras.get_mut(&key) else {
            return changes;
        };
        known.learn(lesson, &mut changes);
        self.join(key, &mut changes);
        changes
    }

    /// Drops what has been gone for too long.
    pub fn expire(&mut self, now: Now) -> Vec<Change> {
        let mut changes = Vec::new();
        self.cameras.retain(|_, known| {
            let over = known.gone.is_some_and(|at| at + KEPT <= now.mono);
            if over {
                changes.push(known.change(ChangeKind::Forgotten));
            }
            !over
        });
        changes
    }

    /// When [`expire`](Self::expire) has something to do again.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.cameras
            .values()
            .filter_map(|known| known.gone)
            .min()
            .map(|at| at + KEPT)
    }

    /// As it is told to others, by address.
    pub fn cameras(&self) -> Vec<Camera> {
        let mut list: Vec<(IpAddr, Camera)> = self
            .cameras
            .values()
            .map(|known| (known.primary, known.camera()))
            .collect();
        list.sort_by_key(|(ip, _)| *ip);
        list.into_iter().map(|(_, camera)| camera).collect()
    }

    /// The cameras that are there.
    pub fn askable(&self) -> impl Iterator<Item = Askable> {
        self.cameras
            .iter()
            .filter(|(_, known)| known.online)
            .map(|(key, known)| known.askable(*key))
    }

    /// Whether it is listed.
    pub fn has(&self, key: CameraKey) -> bool {
        self.cameras.contains_key(&key)
    }

    /// Every address of every listed camera, and what answers there.
    pub fn facts(&self) -> impl Iterator<Item = Sighting> {
        self.cameras.values().flat_map(Known::facts)
    }

    /// Every address of every listed camera.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.cameras.values().flat_map(|k| k.faces.keys().copied())
    }

    /// Addresses that are another camera's now.
    fn hand_over_addresses(
        &mut self,
        taken: &BTreeMap<CameraKey, Vec<&Find>>,
        fresh: &[Vec<&Find>],
    ) {
        let mut owners: BTreeMap<IpAddr, Option<CameraKey>> = BTreeMap::new();
        for (key, finds) in taken {
            owners.extend(finds.iter().map(|find| (find.ip, Some(*key))));
        }
        for finds in fresh {
            owners.extend(finds.iter().map(|find| (find.ip, None)));
        }
        for (key, known) in &mut self.cameras {
            known
                .faces
                .retain(|ip, _| owners.get(ip).is_none_or(|owner| *owner == Some(*key)));
        }
    }

    fn forget_faceless(&mut self, changes: &mut Vec<Change>) {
        self.cameras.retain(|_, known| {
            let faceless = known.faces.is_empty();
            if faceless {
                changes.push(known.change(ChangeKind::Forgotten));
            }
            !faceless
        });
    }

    /// Whether there is room for one more; whoever has been gone longest makes it.
    fn make_room(&mut self, changes: &mut Vec<Change>) -> bool {
        if self.cameras.len() < MAX_CAMERAS {
            return true;
        }
        let oldest = self
            .cameras
            .iter()
            .filter_map(|(key, known)| Some((known.gone?, *key)))
            .min();
        let Some((_, key)) = oldest else { return false };
        if let Some(known) = self.cameras.remove(&key) {
            changes.push(known.change(ChangeKind::Forgotten));
        }
        true
    }

    /// Two entries that turned out to be one camera: the older one stays.
    fn join(&mut self, key: CameraKey, changes: &mut Vec<Change>) {
        let Some(told) = self.cameras.get(&key).and_then(|k| k.told.as_ref()) else {
            return;
        };
        let same = self
            .cameras
            .iter()
            .find(|(other, known)| {
                **other != key
                    && known
                        .told
                        .as_ref()
                        .is_some_and(|other| told.is_same_device(other))
            })
            .map(|(other, _)| *other);
        let Some(other) = same else { return };
        let (stays, goes) = (key.min(other), key.max(other));
        let Some(gone) = self.cameras.remove(&goes) else {
            return;
        };
        if let Some(known) = self.cameras.get_mut(&stays) {
            let with = known.primary;
            changes.push(gone.change(ChangeKind::Joined { with }));
            known.absorb(gone, changes);
        }
    }
}

/// One find an address, the first.
fn unique(finds: &[Find]) -> Vec<&Find> {
    let mut by_ip: BTreeMap<IpAddr, &Find> = BTreeMap::new();
    for find in finds {
        by_ip.entry(find.ip).or_insert(find);
    }
    by_ip.into_values().collect()
}

/// Whether a sweep would have seen a camera at an address. IPv6 is asked by multicast alone.
fn looked_at(order: &SweepOrder, ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => networks::covers(&order.ranges, v4) && !order.except.contains(&v4),
        IpAddr::V6(_) => order.multicast,
    }
}

#[cfg(test)]
#[path = "inventory/inventory_props.rs"]
mod props;
#[cfg(test)]
#[path = "inventory/inventory_tests.rs"]
pub(super) mod tests;
