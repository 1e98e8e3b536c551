//! One process with any of the bus's roles, composed from a configuration.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kopuro_broker::{Broker, BrokerError, EmbeddedBroker, KafkaBroker};
use kopuro_core::time::Clock;
use kopuro_registry::anchor::{Anchor, AnchorError};
use kopuro_telemetry::clock::SystemClock;
use kopuro_telemetry::metrics::Metrics;

use crate::config::{BrokerConfig, Config};

/// How long a draining process waits for what is in work.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(25);

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
