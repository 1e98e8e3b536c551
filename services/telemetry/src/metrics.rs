//! The metrics of a node, in the OpenMetrics text format.
//!
//! Names follow `kopuro_<area>_<noun>_<unit>[_total]`.

use std::sync::Arc;
use std::time::Duration;

use kopuro_core::error::Reason;
use kopuro_core::id::SubsystemId;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// The upper bounds of the latency buckets. **Units:** seconds.
const LATENCY_BUCKETS: [f64; 18] = [
    0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.025,
    0.05, 0.1, 0.25, 1.0, 5.0, 30.0,
];

/// The part that a node plays in an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Role {
    /// It makes the request.
    Consumer,
    /// It has the request served.
    Provider,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Ending {
    /// With a message.
    Message,
    /// With a status of the provider's system.
    ProviderStatus,
    /// With a refusal of the bus.
    Refused,
}

/// A stage of an exchange, for the latency histograms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Stage {
    /// The wire scan and the rules, on a request or a response.
    Validate,
    /// Encrypting content, signing, wrapping.
    Seal,
    /// From giving a record to the broker until it is durable.
    Append,
    /// From the broker's append time until the record is read.
    Fetch,
    /// Decoding a record and verifying its signature.
    Verify,
    /// Unwrapping the key and decrypting content.
    Open,
    /// From asking for a marker until it may be acted on.
    Marker,
    /// The provider's system.
    Dispatch,
    /// From giving an outcome to the outcome topic until it is read back.
    Outcome,
    /// All of it, as the consumer's system sees it.
    Total,
}

/// What a signer's chain or a view showed of the broker's delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Alarm {
    /// Statements are missing.
    ChainGap,
    /// A statement came late or again.
    ChainLate,
    /// A statement names another predecessor.
    ChainForked,
    /// A registry record does not verify.
    RegistryRecord,
    /// The registry view and a checkpoint disagree.
    RegistryFork,
    /// The registry view is old.
    RegistryStale,
    /// An audit event could not be kept.
    AuditLost,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ExchangeLabels {
    role: Role,
    ending: Ending,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    role: Role,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabels {
    stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RoleLabels {
    role: Role,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AlarmLabels {
    alarm: Alarm,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

/// Which way a record goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Direction {
    /// To the broker.
    Appended,
    /// From the broker.
    Fetched,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabels {
    direction: Direction,
}

/// Subsystems that the node serves by its own configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SubsystemLabels {
    subsystem: String,
}

/// The metrics of one node. Cheap to share; recording takes no lock beyond the first use of a label.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    exchanges: Family<ExchangeLabels, Counter>,
    refusals: Family<RefusalLabels, Counter>,
    stages: Family<StageLabels, Histogram>,
    in_flight: Family<RoleLabels, Gauge>,
    alarms: Family<AlarmLabels, Counter>,
    dead_letters: Family<ReasonLabels, Counter>,
    duplicates: Counter,
    broker_records: Family<DirectionLabels, Counter>,
    broker_bytes: Family<DirectionLabels, Counter>,
    broker_lag: Family<SubsystemLabels, Gauge>,
    registry_size: Gauge,
    registry_age: Gauge,
    connections: Gauge,
}

impl Metrics {
    /// Makes and registers the metrics of one node.
    pub fn new() -> Arc<Self> {
        let stages = Family::new_with_constructor(latency_histogram as fn() -> Histogram);
        let mut metrics = Self {
            registry: Registry::default(),
            exchanges: Family::default(),
            refusals: Family::default(),
            stages,
            in_flight: Family::default(),
            alarms: Family::default(),
            dead_letters: Family::default(),
            duplicates: Counter::default(),
            broker_records: Family::default(),
            broker_bytes: Family::default(),
            broker_lag: Family::default(),
            registry_size: Gauge::default(),
            registry_age: Gauge::default(),
            connections: Gauge::default(),
        };
        metrics.register();
        Arc::new(metrics)
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("kopuro_exchange_exchanges", "Exchanges by how they ended", self.exchanges.clone());
        registry.register("kopuro_exchange_refusals", "Refusals by reason", self.refusals.clone());
        registry.register_with_unit(
            "kopuro_exchange_stage",
            "Time spent in each stage of an exchange",
            Unit::Seconds,
            self.stages.clone(),
        );
        registry.register("kopuro_exchange_in_flight", "Exchanges in work", self.in_flight.clone());
        registry.register(
            "kopuro_exchange_alarms",
            "Signs of a faulty or hostile broker",
            self.alarms.clone(),
        );
        registry.register("kopuro_exchange_dead_letters", "Records put aside", self.dead_letters.clone());
        registry.register("kopuro_exchange_duplicates", "Records delivered again", self.duplicates.clone());
        registry.register(
            "kopuro_broker_records",
            "Records appended and fetched",
            self.broker_records.clone(),
        );
        registry.register_with_unit(
            "kopuro_broker_record",
            "Bytes appended and fetched",
            Unit::Bytes,
            self.broker_bytes.clone(),
        );
        registry.register(
            "kopuro_broker_lag_records",
            "Requests appended and not yet read",
            self.broker_lag.clone(),
        );
        registry.register("kopuro_registry_size_records", "Records in the view", self.registry_size.clone());
        registry.register_with_unit(
            "kopuro_registry_age",
            "Time since the view was last confirmed by a checkpoint",
            Unit::Seconds,
            self.registry_age.clone(),
        );
        registry.register("kopuro_rpc_connections", "Open connections", self.connections.clone());
    }

    /// An exchange ended.
    pub fn exchange_ended(&self, role: Role, ending: Ending) {
        self.exchanges.get_or_create(&ExchangeLabels { role, ending }).inc();
    }

    /// A request was refused.
    pub fn refused(&self, role: Role, reason: Reason) {
        self.refusals.get_or_create(&RefusalLabels { role, reason: reason.name() }).inc();
    }

    /// A stage took `span`.
    pub fn stage(&self, stage: Stage, span: Duration) {
        self.stages.get_or_create(&StageLabels { stage }).observe(span.as_secs_f64());
    }

    /// Counts an exchange in work until the guard is dropped.
    #[must_use]
    pub fn in_flight(&self, role: Role) -> InFlight {
        let gauge = self.in_flight.get_or_create(&RoleLabels { role }).clone();
        gauge.inc();
        InFlight(gauge)
    }

    /// Counts a connection until the guard is dropped.
    #[must_use]
    pub fn connection(&self) -> InFlight {
        self.connections.inc();
        InFlight(self.connections.clone())
    }

    /// A sign of a faulty or hostile broker.
    pub fn alarm(&self, alarm: Alarm) {
        self.alarms.get_or_create(&AlarmLabels { alarm }).inc();
    }

    /// How often an alarm was raised, for health and tests.
    pub fn alarms(&self, alarm: Alarm) -> u64 {
        self.alarms.get_or_create(&AlarmLabels { alarm }).get()
    }

    /// A record was put aside.
    pub fn dead_letter(&self, reason: Reason) {
        self.dead_letters.get_or_create(&ReasonLabels { reason: reason.name() }).inc();
    }

    /// A record was delivered again.
    pub fn duplicate(&self) {
        self.duplicates.inc();
    }

    /// How many records were delivered again, for tests and the demonstration.
    pub fn duplicates(&self) -> u64 {
        self.duplicates.get()
    }

    /// A record of `bytes` went to or came from the broker.
    pub fn broker_record(&self, direction: Direction, bytes: usize) {
        self.broker_records.get_or_create(&DirectionLabels { direction }).inc();
        self.broker_bytes.get_or_create(&DirectionLabels { direction }).inc_by(bytes as u64);
    }

    /// How many requests to a subsystem of the node's own members wait in the broker.
    pub fn set_broker_lag(&self, subsystem: &SubsystemId, records: u64) {
        let labels = SubsystemLabels { subsystem: subsystem.to_string() };
        self.broker_lag.get_or_create(&labels).set(i64::try_from(records).unwrap_or(i64::MAX));
    }

    /// The view's size and the time since a checkpoint confirmed it.
    pub fn set_registry(&self, size: u64, age: Duration) {
        self.registry_size.set(i64::try_from(size).unwrap_or(i64::MAX));
        self.registry_age.set(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
    }

    /// The metrics in the OpenMetrics text format.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .expect("writing to a string does not fail");
        text
    }
}

fn latency_histogram() -> Histogram {
    Histogram::new(LATENCY_BUCKETS)
}

/// Counts one thing in a gauge for as long as it lives.
#[derive(Debug)]
pub struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_shown() {
        let metrics = Metrics::new();
        metrics.refused(Role::Provider, Reason::AccessDenied);
        metrics.stage(Stage::Verify, Duration::from_micros(60));
        let guard = metrics.in_flight(Role::Consumer);
        let text = metrics.encode();
        assert!(
            text.contains(r#"kopuro_exchange_refusals_total{role="Provider",reason="ACCESS_DENIED"} 1"#),
            "{text}"
        );
        assert!(text.contains(r#"kopuro_exchange_in_flight{role="Consumer"} 1"#), "{text}");
        assert!(text.contains(r#"kopuro_exchange_stage_seconds_count{stage="Verify"} 1"#), "{text}");
        drop(guard);
        assert!(metrics.encode().contains(r#"kopuro_exchange_in_flight{role="Consumer"} 0"#));
    }
}
