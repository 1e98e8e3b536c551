//! What roots the log has had.

use std::collections::VecDeque;

use kopuro_core::digest::Digest;
use kopuro_core::statement::ViewStamp;

/// How many sizes back a checkpoint can be compared. **Units:** 32 bytes each.
const SIZES_MAX: usize = 4096;

/// The roots of the log at its latest sizes.
#[derive(Debug)]
pub(crate) struct History {
    first_size: u64,
    roots: VecDeque<Digest>,
}

impl History {
    /// Begins with the root of an empty log.
    pub(crate) fn new() -> Self {
        Self { first_size: 0, roots: VecDeque::from([Digest::of(b"")]) }
    }

    /// Notes the root at the next size.
    pub(crate) fn push(&mut self, stamp: ViewStamp) {
        debug_assert_eq!(stamp.size, self.first_size + self.roots.len() as u64, "the log grows one by one");
        self.roots.push_back(stamp.root);
        if self.roots.len() > SIZES_MAX {
            self.roots.pop_front();
            self.first_size += 1;
        }
    }

    /// The root at a size; `None` when it is too long ago, or yet to come.
    pub(crate) fn root_at(&self, size: u64) -> Option<Digest> {
        let place = size.checked_sub(self.first_size)?;
        self.roots.get(usize::try_from(place).ok()?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_the_latest_sizes() {
        let mut history = History::new();
        let root = |size: u64| Digest::of(&size.to_be_bytes());
        for size in 1..=5_000 {
            history.push(ViewStamp { size, root: root(size) });
        }
        assert_eq!(history.root_at(5_000), Some(root(5_000)));
        assert_eq!(history.root_at(5_001 - SIZES_MAX as u64), Some(root(5_001 - SIZES_MAX as u64)));
        assert_eq!(history.root_at(5_000 - SIZES_MAX as u64), None);
        assert_eq!(history.root_at(5_001), None);
    }
}
