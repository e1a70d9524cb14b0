//! The last keyframe group, cut into payloads, so that a new session has a picture at once; and the
//! order and pace in which pictures go out.
//!
//! A group in one burst overruns receivers (one was seen to miss 43 packets in a row), so it goes out at
//! a few times the speed of life until it has caught up. Nobody waits for it: what does not fit is left
//! out in whole groups.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::infrastructure::media::h264::packetizer::packetize;
use crate::infrastructure::media::h264::picture::Picture;

/// Most of a payload: what fits into 1,200 bytes with the header, extensions, a resend's own number and
/// the tag.
const MOST: usize = 1_140;
/// Most that is kept: a longer or larger group is not.
const MAX_BYTES: usize = 3 << 20;
const MAX_TICKS: u64 = 4 * TICKS;
/// A second's.
const TICKS: u64 = 90_000;
/// How much faster than life a kept group goes out.
const HURRY: u32 = 4;
/// Most that waits to go out.
const MAX_WAITING: usize = 2 * MAX_BYTES;

/// One picture.
#[derive(Debug, PartialEq, Eq)]
pub struct Cut {
    /// Payloads, the last one ends it.
    pub payloads: Vec<Arc<[u8]>>,
    /// On the stream's clock.
    pub ticks: u64,
    key: bool,
    bytes: usize,
}

impl Cut {
    fn of(picture: &Picture, ticks: u64) -> Self {
        let mut payloads = Vec::new();
        packetize(picture, MOST, |payload, _| {
            payloads.push(Arc::<[u8]>::from(payload));
        });
        Self {
            bytes: payloads.iter().map(|payload| payload.len()).sum(),
            payloads,
            ticks,
            key: picture.key,
        }
    }

    /// Bytes of all payloads.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Nothing in it.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Group {
    /// From the last key picture on; empty where none is kept.
    kept: Vec<Arc<Cut>>,
    kept_bytes: usize,
    /// To go out, in order.
    waiting: VecDeque<Arc<Cut>>,
    waiting_bytes: usize,
    /// A session takes pictures: since when, and from what tick on.
    open: Option<(Instant, Option<u64>)>,
    left_out: u64,
}

impl Group {
    /// A session is up: what is kept goes out first.
    pub fn open(&mut self, now: Instant) {
        self.close();
        self.open = Some((now, None));
        for cut in self.kept.clone() {
            self.wait(cut);
        }
    }

    /// No session takes pictures.
    pub fn close(&mut self) {
        self.open = None;
        self.waiting.clear();
        self.waiting_bytes = 0;
    }

    /// The next picture of the camera.
    pub fn push(&mut self, picture: &Picture, ticks: u64) {
        let cut = Arc::new(Cut::of(picture, ticks));
        if cut.is_empty() {
            return;
        }
        self.keep(&cut);
        if self.open.is_some() {
            self.wait(cut);
        }
    }

    /// The next picture to send now.
    pub fn next(&mut self, now: Instant) -> Option<Arc<Cut>> {
        if self.due()? > now {
            return None;
        }
        let cut = self.waiting.pop_front()?;
        self.waiting_bytes = self.waiting_bytes.saturating_sub(cut.bytes);
        Some(cut)
    }

    /// When the next picture is to be sent.
    pub fn due(&self) -> Option<Instant> {
        let (opened, first) = self.open?;
        let ticks = self.waiting.front()?.ticks.saturating_sub(first?);
        let after = Duration::from_micros(ticks.saturating_mul(100) / 9) / HURRY;
        opened.checked_add(after)
    }

    /// Pictures that were left out because too many waited.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    fn keep(&mut self, cut: &Arc<Cut>) {
        if cut.key {
            self.kept.clear();
            self.kept_bytes = 0;
        } else if self.kept.is_empty() {
            return;
        }
        let since = self.kept.first().map_or(cut.ticks, |first| first.ticks);
        self.kept_bytes += cut.bytes;
        if self.kept_bytes > MAX_BYTES || cut.ticks.saturating_sub(since) > MAX_TICKS {
            self.kept = Vec::new();
            self.kept_bytes = 0;
        } else {
            self.kept.push(Arc::clone(cut));
        }
    }

    fn wait(&mut self, cut: Arc<Cut>) {
        let Some((_, first)) = &mut self.open else {
            return;
        };
        // A decoder begins with a key picture.
        if first.is_none() && !cut.key {
            return;
        }
        if self.waiting_bytes + cut.bytes > MAX_WAITING {
            self.left_out += self.waiting.len() as u64 + 1;
            self.waiting.clear();
            self.waiting_bytes = 0;
            *first = None;
            return;
        }
        first.get_or_insert(cut.ticks);
        self.waiting_bytes += cut.bytes;
        self.waiting.push_back(cut);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn picture(key: bool, size: usize) -> Picture {
        let mut picture = Picture::begin(0);
        picture.key = key;
        picture.push(&vec![if key { 0x65 } else { 0x41 }; size]);
        picture
    }

    /// 25 pictures a second, a key picture each second.
    fn push(group: &mut Group, numbers: std::ops::Range<u64>, size: usize) {
        for number in numbers {
            group.push(&picture(number % 25 == 0, size), number * 3600);
        }
    }

    fn sent(group: &mut Group, now: Instant) -> Vec<u64> {
        std::iter::from_fn(|| group.next(now))
            .map(|cut| cut.ticks / 3600)
            .collect()
    }

    #[test]
    fn a_new_session_gets_the_kept_group_at_a_pace_and_then_what_comes() {
        let (mut group, t0) = (Group::default(), Instant::now());
        push(&mut group, 0..45, 100);
        assert_eq!(sent(&mut group, t0), [0; 0], "no session");
        group.open(t0);
        assert_eq!(sent(&mut group, t0), [25]);
        assert_eq!(group.due(), Some(t0 + 10 * MS));
        assert_eq!(sent(&mut group, t0 + 30 * MS), [26, 27, 28]);
        push(&mut group, 45..46, 100);
        assert_eq!(
            sent(&mut group, t0 + 1000 * MS),
            (29..46).collect::<Vec<_>>()
        );
        push(&mut group, 46..47, 100);
        assert_eq!(sent(&mut group, t0 + 1000 * MS), [46], "it has caught up");
        group.close();
        push(&mut group, 47..49, 100);
        assert_eq!(group.due(), None);
    }

    #[test]
    fn without_a_group_it_begins_with_the_next_key_picture() {
        let (mut group, t0) = (Group::default(), Instant::now());
        push(&mut group, 3..20, 100);
        group.open(t0);
        push(&mut group, 20..27, 100);
        assert_eq!(sent(&mut group, t0 + 100 * MS), [25, 26]);
    }

    #[test]
    fn what_is_too_long_or_too_large_is_not_kept() {
        let t0 = Instant::now();
        let mut long = Group::default();
        long.push(&picture(true, 100), 0);
        for number in 1..=101 {
            long.push(&picture(false, 100), number * 3600);
        }
        long.open(t0);
        assert_eq!(long.due(), None);
        let mut large = Group::default();
        push(&mut large, 0..5, MAX_BYTES / 4);
        assert!(large.kept.is_empty());
    }

    #[test]
    fn where_too_much_waits_whole_groups_are_left_out() {
        let (mut group, t0) = (Group::default(), Instant::now());
        group.open(t0);
        push(&mut group, 0..8, MAX_BYTES / 3);
        // Five fit.
        assert_eq!(group.left_out(), 6);
        assert_eq!(sent(&mut group, t0 + 1000 * MS), [0; 0]);
        push(&mut group, 8..27, 100);
        assert_eq!(sent(&mut group, t0 + 1000 * MS), [25, 26]);
    }

    #[test]
    fn payloads_fit_into_a_datagram() {
        let cut = Cut::of(&picture(true, 5000), 7);
        assert!(cut.payloads.len() == 5 && cut.payloads.iter().all(|p| p.len() <= MOST));
        assert_eq!(cut.ticks, 7);
        assert!(cut.len() > 5000);
    }
}
