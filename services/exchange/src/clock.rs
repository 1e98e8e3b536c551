//! Where the engine gets the time from: the one place in it that reads a clock.

use std::time::{SystemTime, UNIX_EPOCH};

use kopuro_core::time::UnixMillis;

/// A source of the time. Tests hand in one of their own, to make requests expire or clocks disagree.
pub trait Clock: Send + Sync + 'static {
    /// The time.
    fn now(&self) -> UnixMillis;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixMillis {
        let span = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMillis::new(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
    }
}
