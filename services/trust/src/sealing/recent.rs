//! A bounded map that forgets the entry unused for longest, read far more often than written.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// A bounded, thread-safe cache.
///
/// Time is counted in insertions and not in reads, so that readers of a warm cache write to no shared memory: an
/// insertion happens at an even tick, every read until the next one at the odd tick after it. A full cache pays one pass over its entries per insertion, little beside the HPKE operation that precedes it.
pub(super) struct Recent<K, V> {
    entries: RwLock<HashMap<K, Entry<V>>>,
    ticks: AtomicU64,
    entries_max: usize,
}

struct Entry<V> {
    value: Arc<V>,
    used_at: AtomicU64,
}

impl<K: Hash + Eq + Clone, V> Recent<K, V> {
    /// Makes an empty cache of at most `entries_max` entries, and of one at least.
    pub(super) fn new(entries_max: usize) -> Self {
        let entries_max = entries_max.max(1);
        Self { entries: RwLock::default(), ticks: AtomicU64::new(0), entries_max }
    }

    pub(super) fn get(&self, key: &K) -> Option<Arc<V>> {
        // A panic inside the lock leaves a whole map behind: entries are put in and taken out in one step.
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get(key)?;
        let tick = self.ticks.load(Ordering::Relaxed) + 1;
        if entry.used_at.load(Ordering::Relaxed) != tick {
            entry.used_at.store(tick, Ordering::Relaxed);
        }
        Some(Arc::clone(&entry.value))
    }

    pub(super) fn insert(&self, key: K, value: Arc<V>) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= self.entries_max && !entries.contains_key(&key) {
            forget_oldest(&mut entries);
        }
        let tick = self.ticks.fetch_add(2, Ordering::Relaxed) + 2;
        entries.insert(key, Entry { value, used_at: AtomicU64::new(tick) });
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.read().unwrap().len()
    }
}

fn forget_oldest<K: Hash + Eq + Clone, V>(entries: &mut HashMap<K, Entry<V>>) {
    let oldest = entries.iter().min_by_key(|(_, entry)| entry.used_at.load(Ordering::Relaxed));
    if let Some(key) = oldest.map(|(key, _)| key.clone()) {
        entries.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_unused_for_longest_is_forgotten() {
        let recent = Recent::new(2);
        for key in [1, 2] {
            recent.insert(key, Arc::new(key));
        }
        assert_eq!(recent.get(&1).as_deref(), Some(&1));
        recent.insert(3, Arc::new(3));
        assert_eq!((recent.get(&1).as_deref(), recent.get(&2).as_deref()), (Some(&1), None));
        recent.insert(3, Arc::new(33));
        assert_eq!((recent.get(&3).as_deref(), recent.len()), (Some(&33), 2));
    }
}
