//! A gateway's settings.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use kopuro_core::id::SubsystemId;
use kopuro_exchange::settings::ExchangeSettings;
use kopuro_rpc::channel::{ChannelSettings, Endpoint};
use kopuro_rpc::listener::ListenerSettings;
use kopuro_rpc::unary::IntakeSettings;
use kopuro_trust::tls::Identity;

/// What a gateway is told at its start.
#[derive(Debug)]
pub struct GatewaySettings {
    /// The gateway's name in the registry.
    pub id: String,
    /// Where members' systems connect; port 0 lets the system choose one.
    pub listen: SocketAddr,
    /// Where operators ask for metrics and readiness, in plaintext; port 0 lets the system choose one.
    pub operations: SocketAddr,
    /// The members' systems that serve, and where. A subsystem that is not here only calls.
    pub systems: HashMap<SubsystemId, Endpoint>,
    /// The gateway's certificate and key, shown to systems that call and to systems that are called.
    pub identity: Identity,
    /// How much it takes.
    pub limits: Limits,
}

/// How much a gateway takes.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections of systems.
    pub listener: ListenerSettings,
    /// Requests at once.
    pub intake: IntakeSettings,
    /// The engine's bounds.
    pub exchange: ExchangeSettings,
    /// Connections to systems.
    pub channel: ChannelSettings,
    /// How long calls and requests in work may take when the node drains.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            listener: ListenerSettings::default(),
            intake: IntakeSettings::default(),
            exchange: ExchangeSettings::default(),
            channel: ChannelSettings::default(),
            drain: Duration::from_secs(30),
        }
    }
}
