//! The engine's bounds.

use std::time::Duration;

use kopuro_core::bounds::{CLOCK_SKEW_MAX, REQUEST_LIFE_MAX};
use kopuro_core::effect::ArbiterSettings;

/// How much the engine takes, and how long it waits.
#[derive(Clone, Debug)]
pub struct ExchangeSettings {
    /// The most calls of own consumers in flight.
    pub calls_max: usize,
    /// The most requests being served at once for one subsystem.
    pub requests_max: usize,
    /// The deadline of a call that names none.
    pub deadline_default: Duration,
    /// The longest life of a request.
    pub request_life_max: Duration,
    /// How far two clocks may differ.
    pub skew: Duration,
    /// How long a provider's gateway waits for its registry view to reach the one that the sender decided by.
    pub view_wait: Duration,
    /// The arbitration of effects.
    pub arbiter: ArbiterSettings,
}

impl Default for ExchangeSettings {
    fn default() -> Self {
        Self {
            calls_max: 1024,
            requests_max: 1024,
            deadline_default: Duration::from_secs(30),
            request_life_max: REQUEST_LIFE_MAX,
            skew: CLOCK_SKEW_MAX,
            view_wait: Duration::from_secs(2),
            arbiter: ArbiterSettings { skew: CLOCK_SKEW_MAX, ..ArbiterSettings::default() },
        }
    }
}
