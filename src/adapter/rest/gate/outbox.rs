//! Bytes that wait to be written.

/// A queue of bytes that gives its memory back when it is empty.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    written: usize,
}

impl Outbox {
    /// Adds bytes at the end.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// What waits, oldest first.
    pub fn waiting(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.written >= self.bytes.len()
    }

    /// `count` of the waiting bytes are written.
    pub fn took(&mut self, count: usize) {
        self.written = self.written.saturating_add(count);
        if self.is_empty() {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_in_first_out_and_empty_again() {
        let mut outbox = Outbox::default();
        outbox.push(b"abc");
        outbox.took(1);
        outbox.push(b"d");
        assert_eq!(outbox.waiting(), b"bcd");
        outbox.took(3);
        assert!(outbox.is_empty());
        assert_eq!(outbox.bytes.capacity(), 0);
    }
}
