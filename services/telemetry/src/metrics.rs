//! The metrics of a process, in the OpenMetrics text format. `docs/metrics.md` tells operators what each means.
//!
//! Names follow `kopuro_<area>_<noun>_<unit>[_total]`, and labels take values of closed sets in `snake_case`, but for
//! reasons, which stand as the catalogue writes them, and what the process's own configuration names.

use std::sync::Arc;
use std::time::Duration;

use kopuro_core::error::Reason;
use kopuro_core::id::SubsystemId;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use families::{
    AlarmLabels, Alone, DirectionLabels, ExchangeLabels, Families, ReasonLabels, RefusalLabels, RoleLabels,
    StageLabels, SubsystemLabels,
};
use labels::Of;
pub use labels::{Alarm, Direction, Ending, Role, Stage};

mod families;
mod labels;
#[cfg(test)]
mod tests;

/// Records what one gateway does, or the process itself, and shows what all of the process do. Cheap to share; recording
/// takes no lock beyond the first use of a label.
#[derive(Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    families: Families,
    gateway: Option<Arc<str>>,
}

impl Metrics {
    /// Makes and registers the metrics of one process.
    pub fn new() -> Arc<Self> {
        let families = Families::default();
        Self { registry: Arc::new(families.register()), families, gateway: None }.shown()
    }

    /// The metrics of the same process, for what the gateway of that id records: its series have the label `gateway`.
    #[must_use]
    pub fn of_gateway(&self, id: &str) -> Arc<Self> {
        let Self { registry, families, gateway: _ } = self;
        Self { registry: Arc::clone(registry), families: families.clone(), gateway: Some(id.into()) }.shown()
    }

    /// Shows from the beginning, as zero, what should stay there: an increase is seen only in a series that was there.
    fn shown(self) -> Arc<Self> {
        let raised_here = |alarm: &&Alarm| alarm.is_of_process() == self.gateway.is_none();
        for alarm in Alarm::ALL.iter().filter(raised_here) {
            self.alarms(*alarm);
        }
        self.duplicates();
        drop(self.connection());
        Arc::new(self)
    }

    /// An exchange ended.
    pub fn exchange_ended(&self, role: Role, ending: Ending) {
        self.families.exchanges.get_or_create(&self.of(ExchangeLabels { role, ending })).inc();
    }

    /// A request was refused.
    pub fn refused(&self, role: Role, reason: Reason) {
        self.families.refusals.get_or_create(&self.of(RefusalLabels { role, reason: reason.name() })).inc();
    }

    /// A stage took `span`.
    pub fn stage(&self, stage: Stage, span: Duration) {
        self.families.stages.get_or_create(&self.of(StageLabels { stage })).observe(span.as_secs_f64());
    }

    /// Counts an exchange in work until the guard is dropped.
    #[must_use]
    pub fn in_flight(&self, role: Role) -> InFlight {
        let gauge = self.families.in_flight.get_or_create(&self.of(RoleLabels { role })).clone();
        gauge.inc();
        InFlight(gauge)
    }

    /// Counts a connection until the guard is dropped.
    #[must_use]
    pub fn connection(&self) -> InFlight {
        let gauge = self.families.connections.get_or_create(&self.of(Alone)).clone();
        gauge.inc();
        InFlight(gauge)
    }

    /// A sign of a faulty or hostile broker.
    pub fn alarm(&self, alarm: Alarm) {
        self.families.alarms.get_or_create(&self.of(AlarmLabels { alarm })).inc();
    }

    /// How often an alarm was raised, for health and tests.
    pub fn alarms(&self, alarm: Alarm) -> u64 {
        self.families.alarms.get_or_create(&self.of(AlarmLabels { alarm })).get()
    }

    /// A record was put aside.
    pub fn dead_letter(&self, reason: Reason) {
        self.families.dead_letters.get_or_create(&self.of(ReasonLabels { reason: reason.name() })).inc();
    }

    /// A record was delivered again.
    pub fn duplicate(&self) {
        self.families.duplicates.get_or_create(&self.of(Alone)).inc();
    }

    /// How many records were delivered again, for tests and the demonstration.
    pub fn duplicates(&self) -> u64 {
        self.families.duplicates.get_or_create(&self.of(Alone)).get()
    }

    /// A record of `bytes` went to or came from the broker.
    pub fn broker_record(&self, direction: Direction, bytes: usize) {
        self.families.broker_records.get_or_create(&self.of(DirectionLabels { direction })).inc();
        self.families
            .broker_bytes
            .get_or_create(&self.of(DirectionLabels { direction }))
            .inc_by(bytes as u64);
    }

    /// How many requests to a subsystem of the node's own members wait in the broker.
    pub fn set_broker_lag(&self, subsystem: &SubsystemId, records: u64) {
        let labels = self.of(SubsystemLabels { subsystem: subsystem.to_string() });
        self.families.broker_lag.get_or_create(&labels).set(i64::try_from(records).unwrap_or(i64::MAX));
    }

    /// The view's size and the time since a checkpoint confirmed it.
    pub fn set_registry(&self, size: u64, age: Duration) {
        self.families.registry_size.set(i64::try_from(size).unwrap_or(i64::MAX));
        self.families.registry_age.set(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
    }

    /// The metrics of the process, all its gateways', in the OpenMetrics text format.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .expect("writing to a string does not fail");
        text
    }

    fn of<L>(&self, labels: L) -> Of<L> {
        Of { gateway: self.gateway.clone(), labels }
    }
}

/// Counts one thing in a gauge for as long as it lives.
#[derive(Debug)]
pub struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
