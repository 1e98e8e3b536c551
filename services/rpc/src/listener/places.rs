//! Places that are bounded in all and for each address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The part of all places that one address may have: a half.
const SHARE: usize = 2;

/// A bounded number of places.
#[derive(Clone, Debug)]
pub(super) struct Places {
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
    in_all: usize,
    for_each: usize,
}

/// A place that is taken until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    address: IpAddr,
}

impl Places {
    /// As many places in all, of which one address may have a half.
    pub(super) fn new(in_all: usize) -> Self {
        let for_each = if in_all > SHARE { in_all / SHARE } else { in_all };
        Self { taken: Arc::default(), in_all, for_each }
    }

    /// A place for `address`; `None` when it has its share or all are taken.
    pub(super) fn take(&self, address: IpAddr) -> Option<Place> {
        let mut taken = self.lock();
        let in_all: usize = taken.values().sum();
        let own = taken.get(&address).copied().unwrap_or_default();
        if in_all >= self.in_all || own >= self.for_each {
            return None;
        }
        taken.insert(address, own + 1);
        Some(Place { places: self.clone(), address })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        let left = taken.get(&self.address).map_or(0, |own| own.saturating_sub(1));
        if left == 0 {
            taken.remove(&self.address);
        } else {
            taken.insert(self.address, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_share_and_all_have_a_bound() {
        let places = Places::new(4);
        let address = |last: u8| IpAddr::from([10, 0, 0, last]);
        let mut kept = vec![places.take(address(1)).unwrap(), places.take(address(1)).unwrap()];
        assert!(places.take(address(1)).is_none(), "one address has more than its share");
        kept.extend([places.take(address(2)).unwrap(), places.take(address(3)).unwrap()]);
        assert!(places.take(address(4)).is_none(), "more places than there are");
        kept.remove(0);
        assert!(places.take(address(1)).is_some());
        drop(kept);
        assert!(places.lock().is_empty(), "addresses are remembered for ever");
    }
}
