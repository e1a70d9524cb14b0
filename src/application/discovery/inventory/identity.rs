//! Which finds are which camera.
//!
//! The order of evidence: the MAC address; the id that the device gives itself, where vendor and
//! model agree with it (copied firmware copies that id, so two MAC addresses make two cameras);
//! the address, unless what is there now is plainly another device.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::known::{Face, Known};
use super::{CameraKey, MAX_FACES};
use crate::domain::discovery::{Find, VendorGuess};

/// Finds that are one camera.
pub(super) enum Group<'a> {
    /// One that is listed.
    Of(CameraKey, Vec<&'a Find>),
    /// One that is not.
    New(Vec<&'a Find>),
}

/// Sorts finds by camera. Each is in one group, each camera has one group at most.
pub(super) fn assign<'a>(
    cameras: &BTreeMap<CameraKey, Known>,
    finds: &[&'a Find],
) -> Vec<Group<'a>> {
    let by_ip: BTreeMap<IpAddr, CameraKey> = cameras
        .iter()
        .flat_map(|(key, known)| known.faces.keys().map(|ip| (*ip, *key)))
        .collect();
    let mut known: BTreeMap<CameraKey, Vec<&'a Find>> = BTreeMap::new();
    let mut fresh: Vec<Vec<&'a Find>> = Vec::new();
    for &find in finds {
        let at_ip = by_ip.get(&find.ip).and_then(|key| {
            let camera = cameras.get(key)?;
            Some((*key, camera.faces.get(&find.ip)?))
        });
        // Exactly what was there before needs no comparing with others.
        if let Some((key, face)) = at_ip
            && face.mac.is_some()
            && face.mac == find.mac
        {
            known.entry(key).or_default().push(find);
            continue;
        }
        let fits = |key: &CameraKey| {
            known.get(key).is_none_or(|others| {
                let apart = |other: &&Find| differ(other.mac.as_ref(), find.mac.as_ref());
                others.len() < MAX_FACES && !others.iter().any(apart)
            })
        };
        match owner(cameras, at_ip, find).filter(fits) {
            Some(key) => known.entry(key).or_default().push(find),
            None => match fresh.iter_mut().find(|group| is_same(group, find)) {
                Some(group) => group.push(find),
                None => fresh.push(vec![find]),
            },
        }
    }
    let known = known.into_iter().map(|(key, finds)| Group::Of(key, finds));
    known.chain(fresh.into_iter().map(Group::New)).collect()
}

/// The listed camera that a find is.
fn owner(
    cameras: &BTreeMap<CameraKey, Known>,
    at_ip: Option<(CameraKey, &Face)>,
    find: &Find,
) -> Option<CameraKey> {
    if let Some(mac) = &find.mac {
        let has_it = |known: &Known| {
            let told = known.told.as_ref().and_then(|told| told.mac.as_ref());
            let seen =
                |face: &Face| face.mac.as_ref() == Some(mac) && !is_other(face, &Face::of(find));
            told == Some(mac) || known.faces.values().any(seen)
        };
        if let Some((key, _)) = cameras.iter().find(|(_, known)| has_it(known)) {
            return Some(*key);
        }
    }
    let new = Face::of(find);
    // What stands at the address, unless its MAC address is another, or that of the camera's other
    // addresses is and the camera itself has not said that all are its own.
    let here = at_ip.filter(|(key, face)| {
        let strange = cameras.get(key).is_some_and(|known| {
            known.told.is_none()
                && known
                    .faces
                    .values()
                    .any(|face| differ(face.mac.as_ref(), new.mac.as_ref()))
        });
        !strange && !differ(face.mac.as_ref(), new.mac.as_ref())
    });
    if new.endpoint.is_some() {
        if let Some((key, face)) = here
            && face.endpoint == new.endpoint
        {
            return Some(key);
        }
        let is_it = |known: &Known| {
            let known_mac = known.faces.values().any(|face| face.mac.is_some());
            let agrees = |face: &Face| face.endpoint == new.endpoint && is_same_make(face, &new);
            !(known_mac && new.mac.is_some()) && known.faces.values().any(agrees)
        };
        if let Some((key, _)) = cameras.iter().find(|(_, known)| is_it(known)) {
            return Some(*key);
        }
    }
    here.filter(|(_, face)| !is_other(face, &new))
        .map(|(key, _)| key)
}

/// Whether a find is the camera of a group of new ones.
fn is_same(group: &[&Find], find: &Find) -> bool {
    let apart = |other: &&Find| differ(other.mac.as_ref(), find.mac.as_ref());
    if group.len() >= MAX_FACES || group.iter().any(apart) {
        return false;
    }
    let new = Face::of(find);
    group.iter().any(|other| {
        let face = Face::of(other);
        if new.mac.is_some() && new.mac == face.mac {
            return !is_other(&face, &new);
        }
        new.endpoint.is_some() && new.endpoint == face.endpoint && is_same_make(&face, &new)
    })
}

/// Plainly another device: it has another id of its own, and is another model or make.
fn is_other(one: &Face, other: &Face) -> bool {
    differ(one.endpoint.as_ref(), other.endpoint.as_ref())
        && (differ(one.model.as_ref(), other.model.as_ref())
            || differ(name(one.vendor.as_ref()), name(other.vendor.as_ref())))
}

fn is_same_make(one: &Face, other: &Face) -> bool {
    one.model == other.model && name(one.vendor.as_ref()) == name(other.vendor.as_ref())
}

/// Both are known, and they are not the same.
fn differ<T: PartialEq + ?Sized>(one: Option<&T>, other: Option<&T>) -> bool {
    matches!((one, other), (Some(one), Some(other)) if one != other)
}

fn name(guess: Option<&VendorGuess>) -> Option<&str> {
    guess.map(|guess| guess.vendor.as_str())
}
