//! The series of a process, and what distinguishes them.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::labels::{Alarm, Direction, Ending, Of, Role, Stage};

/// The upper bounds of the latency buckets. **Units:** seconds.
const LATENCY_BUCKETS: [f64; 18] = [
    0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.025,
    0.05, 0.1, 0.25, 1.0, 5.0, 30.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ExchangeLabels {
    pub(super) role: Role,
    pub(super) ending: Ending,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RefusalLabels {
    pub(super) role: Role,
    pub(super) reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StageLabels {
    pub(super) stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RoleLabels {
    pub(super) role: Role,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct AlarmLabels {
    pub(super) alarm: Alarm,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReasonLabels {
    pub(super) reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct DirectionLabels {
    pub(super) direction: Direction,
}

/// Subsystems that the node serves by its own configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct SubsystemLabels {
    pub(super) subsystem: String,
}

/// No label but the gateway's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Alone;

impl EncodeLabelSet for Alone {
    fn encode(&self, _: &mut LabelSetEncoder<'_>) -> fmt::Result {
        Ok(())
    }
}

/// Every family of series. Cloning shares them.
#[derive(Clone, Debug)]
pub(super) struct Families {
    pub(super) exchanges: Family<Of<ExchangeLabels>, Counter>,
    pub(super) refusals: Family<Of<RefusalLabels>, Counter>,
    pub(super) stages: Family<Of<StageLabels>, Histogram>,
    pub(super) in_flight: Family<Of<RoleLabels>, Gauge>,
    pub(super) alarms: Family<Of<AlarmLabels>, Counter>,
    pub(super) dead_letters: Family<Of<ReasonLabels>, Counter>,
    pub(super) duplicates: Family<Of<Alone>, Counter>,
    pub(super) broker_records: Family<Of<DirectionLabels>, Counter>,
    pub(super) broker_bytes: Family<Of<DirectionLabels>, Counter>,
    pub(super) broker_lag: Family<Of<SubsystemLabels>, Gauge>,
    pub(super) registry_size: Gauge,
    pub(super) registry_age: Gauge,
    pub(super) connections: Family<Of<Alone>, Gauge>,
}

impl Default for Families {
    fn default() -> Self {
        Self {
            exchanges: Family::default(),
            refusals: Family::default(),
            stages: Family::new_with_constructor(latency_histogram as fn() -> Histogram),
            in_flight: Family::default(),
            alarms: Family::default(),
            dead_letters: Family::default(),
            duplicates: Family::default(),
            broker_records: Family::default(),
            broker_bytes: Family::default(),
            broker_lag: Family::default(),
            registry_size: Gauge::default(),
            registry_age: Gauge::default(),
            connections: Family::default(),
        }
    }
}

impl Families {
    /// Names and explains each family. Behind a name the registry writes its unit, and `_total` for a counter.
    pub(super) fn register(&self) -> Registry {
        let mut registry = Registry::default();
        registry.register("kopuro_exchanges", "Exchanges by how they ended", self.exchanges.clone());
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
            "Requests appended and not yet done",
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
        registry
    }
}

fn latency_histogram() -> Histogram {
    Histogram::new(LATENCY_BUCKETS)
}
