//! The gateway's role.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use kopuro_core::id::SubsystemId;
use kopuro_exchange::settings::ExchangeSettings;
use kopuro_gateway::{Gateway, GatewayParts, GatewaySettings, Limits};
use kopuro_rpc::channel::Endpoint;
use kopuro_trust::tls::Identity;

use super::Shared;
use crate::config::{GatewayConfig, SystemConfig};
use crate::keys;

/// Where operators are answered when the configuration names no address.
const OPERATIONS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

pub(super) async fn start(config: &GatewayConfig, shared: &Shared) -> anyhow::Result<Gateway> {
    let identity =
        Identity::from_pem_files(&config.certificate, &config.key).context("certificate or key")?;
    let exchange = ExchangeSettings { calls_max: config.calls_max, ..ExchangeSettings::default() };
    let settings = GatewaySettings {
        id: config.id.clone(),
        listen: config.listen,
        operations: config.operations.unwrap_or(OPERATIONS),
        systems: systems(&config.systems)?,
        identity,
        limits: Limits { exchange, ..Limits::default() },
    };
    let parts = GatewayParts {
        broker: Arc::clone(&shared.broker),
        views: Arc::clone(&shared.following.views),
        contracts: Arc::clone(&shared.following.contracts),
        replica: Arc::new(keys::replica(config)?),
        audit: Arc::clone(&shared.audit),
        metrics: shared.metrics.of_gateway(&config.id),
        clock: Arc::clone(&shared.clock),
    };
    Ok(Gateway::start(settings, parts).await?)
}

fn systems(configured: &[SystemConfig]) -> anyhow::Result<HashMap<SubsystemId, Endpoint>> {
    let read = |system: &SystemConfig| {
        Ok((SubsystemId::parse(&system.subsystem)?, Endpoint::parse(&system.endpoint)?))
    };
    configured.iter().map(read).collect()
}
