//! Whole pictures out of the packets of a camera (RFC 6184), whatever the camera makes of the rules.
//!
//! What is passed on can be decoded: after a loss, nothing until the next key picture, because all
//! in between refers to what is missing. A picture ends where the next one begins; the marker bit
//! ends it at once, but only when it has proven right, because cameras set it on parameter sets, on
//! each slice, or never.

use super::nal::{self, Kind};
use super::picture::Picture;
use super::sets::ParameterSets;
use crate::infrastructure::media::rtp::Packet;

/// Most bytes of one picture. A key picture of 4K at high quality has about two million.
const MAX_PICTURE: usize = 5 << 20;
/// Most slices of one picture. Cameras that send one a packet need some 1,500 for as many bytes; each
/// costs memory of its own further on, however short it is.
const MAX_SLICES: usize = 2048;
/// Pictures in a row that a marker must have ended rightly before it is trusted.
const PROVEN: u32 = 30;
/// Packets after which the numbering is judged.
const NUMBERING_WINDOW: u32 = 64;

/// Why a stream can't be passed on, whatever is done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// RFC 6184 5.4: packets out of order on purpose.
    #[error("the camera sends H.264 in packetization mode 2 (interleaved)")]
    Interleaved,
}

/// What has happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Pictures that were passed on.
    pub pictures: u64,
    /// Those that were not: damaged, or in need of one that was.
    pub dropped: u64,
    /// Packets that are missing, by their numbers.
    pub lost: u64,
}

/// Puts the pictures of one stream together.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts of the stream, none a state of one machine"
)]
pub struct Assembler {
    sets: ParameterSets,
    numbering: Numbering,
    markers: Markers,
    fragment: Option<Fragment>,
    /// In hand: not known to be whole yet.
    picture: Option<Picture>,
    /// Something of the picture in hand is missing.
    damaged: bool,
    /// Since the last picture that carried them.
    sets_changed: bool,
    /// The last unit was part of a picture.
    after_slice: bool,
    /// Timestamp of the last picture that was begun.
    begun: Option<u32>,
    /// The last picture was passed on, so the next one has what it refers to.
    runs: bool,
    /// A B slice has been seen.
    bidirectional: bool,
    tally: Tally,
}

/// A unit that comes in pieces.
#[derive(Debug)]
struct Fragment {
    bytes: Vec<u8>,
    timestamp: u32,
}

impl Assembler {
    /// `sets` = what the stream's description brought (`sprop-parameter-sets`); what comes in the
    /// stream takes their place.
    pub fn new<'a>(sets: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut new = Self::default();
        for unit in sets.into_iter().flat_map(nal::split) {
            new.sets.take(unit);
        }
        new
    }

    /// Takes the next packet in; pictures that are whole by it go to `out`.
    pub fn push(&mut self, packet: &Packet<'_>, out: &mut Vec<Picture>) -> Result<(), Unfit> {
        match self.numbering.next(packet.sequence) {
            Step::Next => {}
            Step::Again => return Ok(()),
            Step::Gap(missing) => {
                self.tally.lost = self.tally.lost.saturating_add(u64::from(missing));
                self.lose();
            }
        }
        let Some((&head, body)) = packet.payload.split_first() else {
            return Ok(());
        };
        match head & 0x1f {
            24 => {
                self.end_fragment(out);
                for unit in nal::aggregated(body) {
                    self.unit(unit, packet.timestamp, out);
                }
            }
            25..=27 | 29 => return Err(Unfit::Interleaved),
            28 => self.fragment(head, body, packet.timestamp, out),
            30 | 31 => return Ok(()),
            _ => {
                self.end_fragment(out);
                self.unit(packet.payload, packet.timestamp, out);
            }
        }
        if packet.marker {
            self.marker(out);
        }
        Ok(())
    }

    /// Packets were lost in a way that their numbers don't show (a torn connection).
    pub fn lose(&mut self) {
        self.fragment = None;
        self.damaged |= self.picture.is_some();
        self.runs = false;
    }

    /// Nothing can be passed on before the next key picture.
    pub fn wants_key(&self) -> bool {
        !self.runs
    }

    /// A slice that refers to later pictures has come: such a stream can't be shown by a browser.
    pub fn has_bidirectional(&self) -> bool {
        self.bidirectional
    }

    /// The parameter sets in force.
    pub fn sets(&self) -> &ParameterSets {
        &self.sets
    }

    /// What has happened so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// A piece of a unit (5.8). Only the first piece's kind counts: cameras write another one, or
    /// none, into those that follow.
    fn fragment(&mut self, head: u8, body: &[u8], timestamp: u32, out: &mut Vec<Picture>) {
        let Some((&state, piece)) = body.split_first() else {
            return;
        };
        if state & 0x80 != 0 {
            self.end_fragment(out);
            let mut bytes = vec![head & 0xe0 | state & 0x1f];
            bytes.extend_from_slice(piece);
            self.fragment = Some(Fragment { bytes, timestamp });
        } else if let Some(fragment) = &mut self.fragment {
            if fragment.bytes.len() + piece.len() > MAX_PICTURE {
                self.lose();
                return;
            }
            fragment.bytes.extend_from_slice(piece);
        } else {
            // Its beginning is missing.
            self.lose();
        }
        if state & 0x40 != 0 {
            self.end_fragment(out);
        }
    }

    /// Also without a last piece: no packet is missing, so what is there is all.
    fn end_fragment(&mut self, out: &mut Vec<Picture>) {
        if let Some(Fragment { bytes, timestamp }) = self.fragment.take() {
            self.unit(&bytes, timestamp, out);
        }
    }

    /// A unit as it came: some cameras put a piece of byte stream in its place.
    fn unit(&mut self, bytes: &[u8], timestamp: u32, out: &mut Vec<Picture>) {
        for unit in nal::split(bytes) {
            let kind = nal::kind(unit);
            match kind {
                Kind::Slice | Kind::KeySlice if unit.len() > 1 => {
                    self.slice(unit, kind == Kind::KeySlice, timestamp, out);
                }
                Kind::Sps | Kind::Pps => {
                    self.end_picture(out);
                    self.sets_changed |= self.sets.take(unit);
                    self.after_slice = false;
                }
                Kind::Beside => {
                    self.end_picture(out);
                    self.after_slice = false;
                }
                Kind::Slice | Kind::KeySlice | Kind::Other => {}
            }
        }
    }

    fn slice(&mut self, unit: &[u8], key: bool, timestamp: u32, out: &mut Vec<Picture>) {
        let head = nal::read_slice(unit);
        self.bidirectional |= head.is_some_and(|slice| slice.bidirectional);
        let begins = head.is_some_and(|slice| slice.begins);
        let new = begins || self.begun != Some(timestamp);
        self.markers.judge(new && self.begun.is_some(), new);
        if new {
            self.end_picture(out);
        }
        self.begun = Some(timestamp);
        self.after_slice = true;
        let picture = self.picture.get_or_insert_with(|| {
            // Where the first slice is missing, so is a part of the picture.
            self.damaged = !begins;
            Picture::begin(timestamp)
        });
        picture.key |= key;
        if picture.len() + unit.len() > MAX_PICTURE || picture.slices().len() >= MAX_SLICES {
            self.damaged = true;
        } else {
            picture.push(unit);
        }
    }

    fn marker(&mut self, out: &mut Vec<Picture>) {
        if self.fragment.is_some() {
            // The last piece without its mark.
            self.end_fragment(out);
        }
        // On parameter sets and the like it ends nothing.
        if self.after_slice && self.begun.is_some() && self.markers.set() {
            self.end_picture(out);
        }
    }

    fn end_picture(&mut self, out: &mut Vec<Picture>) {
        let Some(mut picture) = self.picture.take() else {
            return;
        };
        let damaged = std::mem::take(&mut self.damaged);
        let sets = self.sets.together();
        if damaged || sets.is_none() || !(picture.key || self.runs) {
            self.runs = false;
            self.tally.dropped += 1;
            return;
        }
        if picture.key || self.sets_changed {
            picture.sets = sets;
            self.sets_changed = false;
        }
        self.runs = true;
        self.tally.pictures += 1;
        out.push(picture);
    }
}

/// How a packet's number follows the one before.
enum Step {
    Next,
    /// The same once more.
    Again,
    /// So many are missing; 1 where the numbers have jumped.
    Gap(u16),
}

/// The numbers of packets, as long as they mean something: some cameras write any.
#[derive(Debug, Default)]
struct Numbering {
    last: Option<u16>,
    seen: u32,
    odd: u32,
    meaningless: bool,
}

impl Numbering {
    fn next(&mut self, number: u16) -> Step {
        let Some(last) = self.last.replace(number) else {
            return Step::Next;
        };
        let step = number.wrapping_sub(last);
        self.seen += 1;
        self.odd += u32::from(step != 1);
        if self.seen == NUMBERING_WINDOW {
            self.meaningless = self.odd > NUMBERING_WINDOW / 2;
            (self.seen, self.odd) = (0, 0);
        }
        match step {
            _ if self.meaningless => Step::Next,
            1 => Step::Next,
            0 => Step::Again,
            2..=0x3fff => Step::Gap(step - 1),
            _ => Step::Gap(1),
        }
    }
}

/// Whether the marker bit tells where a picture ends.
#[derive(Debug, Default)]
struct Markers {
    /// Pictures in a row that ended with it and no sooner.
    right: u32,
    /// It was set on the last slice.
    pending: bool,
}

impl Markers {
    /// Set on a slice; `true` if that ends the picture for certain.
    fn set(&mut self) -> bool {
        self.pending = true;
        self.right >= PROVEN
    }

    /// The next slice has come: with one before it or not, and it begins a picture or not.
    fn judge(&mut self, after_another: bool, begins: bool) {
        match (std::mem::take(&mut self.pending), begins) {
            (true, true) => self.right = self.right.saturating_add(1),
            // In the middle of a picture, or none at its end.
            (true, false) => self.right = 0,
            (false, true) if after_another => self.right = 0,
            (false, _) => {}
        }
    }
}

#[cfg(test)]
#[path = "assembler_tests.rs"]
mod tests;
