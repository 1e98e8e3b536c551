//! The machine's clock: the one place where a node reads the time.

use std::time::{SystemTime, UNIX_EPOCH};

use kopuro_core::time::{Clock, UnixMillis};

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixMillis {
        let span = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMillis::new(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
    }
}
