//! Which offset may be committed when requests finish in another order than they came.

use std::collections::BTreeMap;

/// Offsets of one partition that are in work.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    open: BTreeMap<u64, bool>,
}

impl Offsets {
    /// A record at `offset` is in work. Offsets begin in rising order.
    pub(super) fn begin(&mut self, offset: u64) {
        self.open.insert(offset, false);
    }

    /// The record at `offset` is done. Gives the offset up to which, exclusively, all are done, if it moved.
    pub(super) fn finish(&mut self, offset: u64) -> Option<u64> {
        *self.open.get_mut(&offset)? = true;
        let mut next = None;
        while let Some(entry) = self.open.first_entry().filter(|entry| *entry.get()) {
            next = Some(entry.key() + 1);
            entry.remove();
        }
        next
    }

    /// How many records are in work, or done behind one that is.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_committed_when_all_before_it_are_done() {
        let mut offsets = Offsets::default();
        for offset in [3, 4, 7] {
            offsets.begin(offset);
        }
        assert_eq!(offsets.finish(4), None);
        assert_eq!(offsets.finish(3), Some(5));
        assert_eq!(offsets.finish(3), None);
        assert_eq!(offsets.finish(7), Some(8));
        assert_eq!(offsets.len(), 0);
    }
}
