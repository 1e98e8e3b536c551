//! How long things may take, for every node of an instance alike: what one node may still make, another must still take.

use std::time::Duration;

/// The longest life of a request.
pub const REQUEST_LIFE_MAX: Duration = Duration::from_secs(600);
/// How long an outcome may still be read after its request has expired.
pub const OUTCOME_LIFE: Duration = Duration::from_secs(30);
/// Beyond this age a view of the registry decides nothing.
pub const VIEW_AGE_MAX: Duration = Duration::from_secs(15 * 60);
/// How far two clocks may differ.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(5);
