//! One process with any of the bus's roles, composed from a configuration.

mod bootstrap;
mod gateway;
mod registry;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kopuro_broker::{Broker, BrokerError, EmbeddedBroker, KafkaBroker, TopicSettings};
use kopuro_core::id::Instance;
use kopuro_core::time::Clock;
use kopuro_core::topic::{InstanceTopic, TopicName};
use kopuro_exchange::audit::BrokerAudit;
use kopuro_gateway::Gateway;
use kopuro_registry::anchor::Anchor;
use kopuro_registry::follow::{FollowSettings, Follower, Following};
use kopuro_telemetry::audit::AuditSink;
use kopuro_telemetry::clock::SystemClock;
use kopuro_telemetry::metrics::Metrics;

use crate::config::{BrokerConfig, Config};
use registry::RegistryRole;

/// How long audit events are kept: operators of such centres keep their journals for three years.
const AUDIT_RETENTION: Duration = Duration::from_secs(3 * 366 * 24 * 3600);
/// The largest audit event. **Units:** bytes.
const AUDIT_BYTES_MAX: u32 = 64 * 1024;

/// Opens the configured broker.
///
/// # Errors
/// [`BrokerError`].
pub async fn open_broker(config: &BrokerConfig) -> Result<OpenBroker, BrokerError> {
    match config {
        BrokerConfig::Embedded { folder } => EmbeddedBroker::open(folder).map(OpenBroker::Embedded),
        BrokerConfig::Kafka(settings) => KafkaBroker::connect(settings.clone()).await.map(OpenBroker::Kafka),
    }
}

/// A broker that this process has opened, and must close.
#[derive(Clone)]
pub enum OpenBroker {
    /// The log of this process.
    Embedded(Arc<EmbeddedBroker>),
    /// A connection to a cluster.
    Kafka(Arc<KafkaBroker>),
}

impl OpenBroker {
    /// The broker as the engine sees it.
    pub fn port(&self) -> Arc<dyn Broker> {
        match self {
            Self::Embedded(broker) => Arc::clone(broker) as Arc<dyn Broker>,
            Self::Kafka(broker) => Arc::clone(broker) as Arc<dyn Broker>,
        }
    }

    /// Writes out what is queued.
    pub async fn close(&self) {
        match self {
            Self::Embedded(broker) => broker.close().await,
            Self::Kafka(broker) => broker.flush().await,
        }
    }
}

/// What the roles of a process share.
struct Shared {
    broker: Arc<dyn Broker>,
    following: Following,
    audit: Arc<dyn AuditSink>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    anchor: Anchor,
}

/// A process at work.
pub struct Process {
    gateways: Vec<(String, Gateway)>,
    registry: Option<RegistryRole>,
    shared: Shared,
}

impl Process {
    /// Starts the roles of `config` on `broker`. Everything listens when this returns.
    ///
    /// # Errors
    /// What is wrong with a role; the operator must act.
    pub async fn start(config: &Config, broker: Arc<dyn Broker>) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(&config.anchor).context("the anchor cannot be read")?;
        let shared = share(Anchor::parse(&text)?, broker).await?;
        let registry = match &config.registry {
            Some(registry) => Some(RegistryRole::start(registry, &shared).await.context("the registry")?),
            None => None,
        };
        let mut gateways = Vec::new();
        for gateway in &config.gateways {
            let started = gateway::start(gateway, &shared).await;
            let started = started.with_context(|| format!("gateway {}", gateway.id))?;
            gateways.push((gateway.id.clone(), started));
        }
        Ok(Self { gateways, registry, shared })
    }

    /// Waits until every gateway can do its work.
    pub async fn ready(&self) {
        for (_, gateway) in &self.gateways {
            gateway.ready().await;
        }
    }

    /// The gateways and the addresses that systems connect to.
    pub fn gateways(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.gateways.iter().map(|(id, gateway)| (id.as_str(), gateway.local_addr()))
    }

    /// The address that systems of a gateway connect to.
    pub fn gateway(&self, id: &str) -> Option<SocketAddr> {
        self.gateways().find(|(known, _)| *known == id).map(|(_, address)| address)
    }

    /// The address where a gateway's operators ask.
    pub fn operations(&self, id: &str) -> Option<SocketAddr> {
        let found = self.gateways.iter().find(|(known, _)| known == id);
        found.map(|(_, gateway)| gateway.operations_addr())
    }

    /// The address of the registry service.
    pub fn registry(&self) -> Option<SocketAddr> {
        self.registry.as_ref().map(RegistryRole::local_addr)
    }

    /// The metrics of the process.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Takes no new calls, finishes those in work, and ends.
    pub async fn drain(self) {
        let draining = self.gateways.into_iter().map(|(_, gateway)| gateway.drain());
        futures::future::join_all(draining).await;
        if let Some(registry) = self.registry {
            registry.stop().await;
        }
    }
}

async fn share(anchor: Anchor, broker: Arc<dyn Broker>) -> anyhow::Result<Shared> {
    let (metrics, clock) = (Metrics::new(), Arc::new(SystemClock) as Arc<dyn Clock>);
    ensure_audit(&*broker, &anchor.instance).await?;
    let audit = BrokerAudit::start(Arc::clone(&broker), &anchor.instance, Arc::clone(&metrics));
    let following = Follower::start(
        Arc::clone(&broker),
        anchor.clone(),
        Arc::clone(&metrics),
        Arc::clone(&clock),
        FollowSettings::default(),
    )
    .await?;
    Ok(Shared { broker, following, audit, metrics, clock, anchor })
}

async fn ensure_audit(broker: &dyn Broker, instance: &Instance) -> Result<(), BrokerError> {
    let topic = TopicName::of_instance(InstanceTopic::Audit, instance);
    let retention = Some(AUDIT_RETENTION);
    let settings = TopicSettings { partitions: 1, retention, record_bytes_max: AUDIT_BYTES_MAX };
    broker.ensure_topic(&topic, &settings).await
}
