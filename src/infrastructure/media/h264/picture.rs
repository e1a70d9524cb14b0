//! One coded picture, whole.

use std::sync::Arc;

/// The slices of one picture, and the parameter sets that go in front of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// The camera's, of its first slice.
    pub timestamp: u32,
    /// A decoder can begin with it.
    pub key: bool,
    /// Every key picture has them, and one before which they have changed.
    pub sets: Option<Arc<[Vec<u8>]>>,
    /// The slices behind each other, and where each ends.
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Picture {
    /// Without a slice yet.
    pub fn begin(timestamp: u32) -> Self {
        Self {
            timestamp,
            key: false,
            sets: None,
            bytes: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// One more slice, header byte included.
    pub fn push(&mut self, slice: &[u8]) {
        self.bytes.extend_from_slice(slice);
        self.ends.push(self.bytes.len());
    }

    /// Its slices, in order.
    pub fn slices(&self) -> impl DoubleEndedIterator<Item = &[u8]> + ExactSizeIterator {
        (0..self.ends.len()).map(|at| {
            let end = self.ends.get(at).copied().unwrap_or(0);
            let start = match at.checked_sub(1) {
                Some(before) => self.ends.get(before).copied().unwrap_or(0),
                None => 0,
            };
            self.bytes.get(start..end).unwrap_or(&[])
        })
    }

    /// Bytes of all slices.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Nothing in it.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// As a byte stream with start codes (annex B), for decoders.
    pub fn annex_b(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.bytes.len() + 64);
        let sets = self.sets.iter().flat_map(|sets| sets.iter());
        for unit in sets.map(Vec::as_slice).chain(self.slices()) {
            bytes.extend_from_slice(&[0, 0, 0, 1]);
            bytes.extend_from_slice(unit);
        }
        bytes
    }
}
