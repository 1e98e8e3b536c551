//! The current view, shared by everything in a process: read without a lock, replaced whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use kopuro_core::error::Reason;
use kopuro_core::time::UnixMillis;
use tokio::sync::watch;

use crate::view::View;

/// The current view and what is known of its freshness.
#[derive(Debug)]
pub struct Views {
    current: ArcSwap<View>,
    size: watch::Sender<u64>,
    confirmed_unix_ms: AtomicU64,
    doubtful: AtomicBool,
    age_max: Duration,
}

impl Views {
    /// Shares `view`, which decides nothing until a checkpoint confirms it, nor once it is older than `age_max`.
    pub fn new(view: View, age_max: Duration) -> Arc<Self> {
        let (size, _) = watch::channel(view.stamp().size);
        Arc::new(Self {
            current: ArcSwap::from_pointee(view),
            size,
            confirmed_unix_ms: AtomicU64::new(0),
            doubtful: AtomicBool::new(false),
            age_max,
        })
    }

    /// The current view, whatever its age.
    pub fn current(&self) -> Arc<View> {
        self.current.load_full()
    }

    /// The current view, if it may decide.
    ///
    /// # Errors
    /// [`Reason::RegistryUnavailable`] when no checkpoint has confirmed a view for too long, or one contradicts it.
    pub fn deciding(&self, now: UnixMillis) -> Result<Arc<View>, Reason> {
        if self.doubtful.load(Ordering::Acquire) || self.age(now) > self.age_max {
            return Err(Reason::RegistryUnavailable);
        }
        Ok(self.current())
    }

    /// How long ago a checkpoint last confirmed the view.
    pub fn age(&self, now: UnixMillis) -> Duration {
        now.since(UnixMillis::new(self.confirmed_unix_ms.load(Ordering::Acquire)))
    }

    /// Replaces the view.
    pub fn publish(&self, view: View) {
        let size = view.stamp().size;
        self.current.store(Arc::new(view));
        self.size.send_replace(size);
    }

    /// Takes note that a checkpoint made at `at` agrees with the view.
    pub fn confirm(&self, at: UnixMillis) {
        self.confirmed_unix_ms.fetch_max(at.as_u64(), Ordering::AcqRel);
    }

    /// Takes note that a checkpoint contradicts the view: nothing is decided from here on until a person acts.
    pub fn fail_closed(&self) {
        self.doubtful.store(true, Ordering::Release);
    }

    /// Waits until the view has at least `size` records, for at most `limit`; says whether it has.
    pub async fn reaches(&self, size: u64, limit: Duration) -> bool {
        let mut sizes = self.size.subscribe();
        tokio::time::timeout(limit, sizes.wait_for(|current| *current >= size))
            .await
            .is_ok_and(|size| size.is_ok())
    }

    /// Follows the size of the view, to act on changes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.size.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{NOW, World};

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_view_decides_for_as_long_as_it_is_young() {
        let views = Views::new(World::new().view, MINUTE);
        let decides = |now| views.deciding(now).map(drop);
        assert_eq!(decides(NOW), Err(Reason::RegistryUnavailable));
        views.confirm(NOW);
        assert_eq!((decides(NOW), decides(NOW.plus(MINUTE))), (Ok(()), Ok(())));
        let later = NOW.plus(MINUTE).plus(Duration::from_millis(1));
        assert_eq!(decides(later), Err(Reason::RegistryUnavailable));
        // An older checkpoint makes the view no older, a newer one makes it young again.
        views.confirm(NOW.minus(MINUTE));
        assert_eq!(decides(NOW.plus(MINUTE)), Ok(()));
        views.confirm(later);
        assert_eq!(decides(later), Ok(()));
    }

    #[test]
    fn a_contradicted_view_decides_nothing_any_more() {
        let views = Views::new(World::new().view, MINUTE);
        views.confirm(NOW);
        views.fail_closed();
        views.confirm(NOW.plus(MINUTE));
        views.publish(World::new().view);
        assert_eq!(views.deciding(NOW.plus(MINUTE)).map(drop), Err(Reason::RegistryUnavailable));
    }

    #[tokio::test]
    async fn whoever_waits_for_a_size_is_woken() {
        let mut world = World::new();
        let views = Views::new(world.view.clone(), MINUTE);
        let size = world.view.stamp().size;
        assert!(views.reaches(size, Duration::ZERO).await);
        assert!(!views.reaches(size + 1, Duration::ZERO).await);
        world.by_authority(crate::compose::member(&world.fund.member, "a title", 3)).unwrap();
        let (reached, ()) =
            tokio::join!(views.reaches(size + 1, MINUTE), async { views.publish(world.view.clone()) });
        assert!(reached);
        assert_eq!(views.current().stamp().size, size + 1);
    }
}
