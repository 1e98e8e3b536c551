//! A listener's bounds.

use std::time::Duration;

/// How much a listener takes, and how long it waits.
#[derive(Clone, Debug)]
pub struct ListenerSettings {
    /// The most connections open. One address may have a half of them.
    pub connections_max: usize,
    /// The most handshakes at once. One address may have a half of them.
    pub handshakes_max: usize,
    /// How long a handshake may take.
    pub handshake_limit: Duration,
    /// The most requests at once on one connection.
    pub streams_max: u32,
    /// How often a silent peer is asked whether it is there.
    pub keep_alive: Duration,
    /// How long a connection may live; it never outlives its certificate.
    pub age_max: Duration,
    /// How long requests in work may take once a connection is to end.
    pub grace: Duration,
    /// How long a connection may live on which every request is refused.
    pub refused_age_max: Duration,
}

impl Default for ListenerSettings {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            handshakes_max: 256,
            handshake_limit: Duration::from_secs(10),
            streams_max: 256,
            keep_alive: Duration::from_secs(30),
            age_max: Duration::from_secs(3600),
            grace: Duration::from_secs(30),
            refused_age_max: Duration::from_secs(10),
        }
    }
}
