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
