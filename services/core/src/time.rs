//! Points in time as the bus writes them: whole milliseconds since the Unix epoch, in UTC.

use std::fmt;
use std::time::Duration;

/// The last millisecond of the year 9999, the largest instant a `google.protobuf.Timestamp` may hold.
const UNIX_MILLIS_MAX: u64 = 253_402_300_799_999;

/// A point in time.
///
/// **Units:** milliseconds since 1970-01-01T00:00:00Z, without leap seconds.
/// **Limits:** up to the end of the year 9999 when written to the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(u64);

impl UnixMillis {
    /// Takes a count of milliseconds since the Unix epoch.
    pub const fn new(unix_ms: u64) -> Self {
        Self(unix_ms)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The instant `span` later, or the largest one there is.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis_of(span)))
    }

    /// The instant `span` earlier, or the Unix epoch.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(millis_of(span)))
    }

    /// How long after `earlier` this instant is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Writes the instant as a protobuf timestamp.
    pub fn to_proto(self) -> prost_types::Timestamp {
        let bounded = self.0.min(UNIX_MILLIS_MAX);
        prost_types::Timestamp {
            seconds: i64::try_from(bounded / 1_000).unwrap_or(i64::MAX),
            nanos: i32::try_from(bounded % 1_000 * 1_000_000).unwrap_or(0),
        }
    }

    /// Reads a protobuf timestamp; `None` unless it is a whole number of milliseconds between the Unix
    /// epoch and the end of the year 9999, so that an instant has one encoding only.
    pub fn from_proto(timestamp: &prost_types::Timestamp) -> Option<Self> {
        let prost_types::Timestamp { seconds, nanos } = *timestamp;
        let seconds_ms = u64::try_from(seconds).ok()?.checked_mul(1_000)?;
        let nanos =
            u64::try_from(nanos).ok().filter(|nanos| *nanos < 1_000_000_000 && nanos % 1_000_000 == 0)?;
        let unix_ms = seconds_ms.checked_add(nanos / 1_000_000)?;
        (unix_ms <= UNIX_MILLIS_MAX).then_some(Self(unix_ms))
    }
}

/// A source of the time. Tests hand in one of their own, to make requests expire or clocks disagree.
pub trait Clock: Send + Sync + 'static {
    /// The time.
    fn now(&self) -> UnixMillis;
}

impl fmt::Display for UnixMillis {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

fn millis_of(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_survives_the_wire() {
        for unix_ms in [0, 1, 999, 1_000, 1_795_000_000_123, UNIX_MILLIS_MAX] {
            let instant = UnixMillis::new(unix_ms);
            assert_eq!(UnixMillis::from_proto(&instant.to_proto()), Some(instant));
        }
    }

    #[test]
    fn a_second_spelling_of_an_instant_is_refused() {
        for (seconds, nanos) in [(-1, 0), (0, -1), (0, 1), (0, 1_000_000_000), (253_402_300_800, 0)] {
            assert_eq!(UnixMillis::from_proto(&prost_types::Timestamp { seconds, nanos }), None);
        }
    }
}
