//! The audit trail on the broker: events are queued without waiting, and appended in order to the instance's audit topic.

use std::sync::Arc;

use kopuro_broker::{Broker, Record, TopicPartition};
use kopuro_core::id::Instance;
use kopuro_core::topic::{InstanceTopic, TopicName};
use kopuro_telemetry::audit::{AuditEvent, AuditSink};
use kopuro_telemetry::metrics::{Alarm, Metrics};
use tokio::sync::{mpsc, watch};

/// Events queued and not yet appended.
const QUEUE_LEN: usize = 4096;

/// An audit sink that appends to the broker, and writes each event to the log as well.
pub struct BrokerAudit {
    queue: mpsc::Sender<AuditEvent>,
    metrics: Arc<Metrics>,
    /// Events whose fate is not known yet.
    unsettled: Arc<watch::Sender<usize>>,
}

impl BrokerAudit {
    /// Starts a sink for `instance`. Its topic must exist.
    pub fn start(broker: Arc<dyn Broker>, instance: &Instance, metrics: Arc<Metrics>) -> Arc<Self> {
        let (queue, events) = mpsc::channel(QUEUE_LEN);
        let topic = TopicName::of_instance(InstanceTopic::Audit, instance);
        let target = TopicPartition { topic, partition: 0 };
        let unsettled = Arc::new(watch::Sender::new(0));
        tokio::spawn(append(broker, target, events, Arc::clone(&metrics), Arc::clone(&unsettled)));
        Arc::new(Self { queue, metrics, unsettled })
    }

    /// Waits until every event taken so far is durable or lost; those that were lost have raised an alarm.
    pub async fn settled(&self) {
        let waited = self.unsettled.subscribe().wait_for(|count| *count == 0).await.map(drop);
        waited.expect("this value holds the sender");
    }
}

impl AuditSink for BrokerAudit {
    fn record(&self, event: AuditEvent) {
        tracing::info!(
            target: "kopuro::audit",
            reason = event.reason.name(),
            exchange = event.exchange.map(tracing::field::display),
            consumer = event.consumer.as_ref().map(tracing::field::display),
            provider = event.provider.as_ref().map(tracing::field::display),
            method = event.method.as_ref().map(tracing::field::display),
            detail = event.detail,
            "audit"
        );
        self.unsettled.send_modify(|count| *count += 1);
        if self.queue.try_send(event).is_err() {
            self.metrics.alarm(Alarm::AuditLost);
            self.unsettled.send_modify(|count| *count -= 1);
        }
    }
}

async fn append(
    broker: Arc<dyn Broker>,
    target: TopicPartition,
    mut events: mpsc::Receiver<AuditEvent>,
    metrics: Arc<Metrics>,
    unsettled: Arc<watch::Sender<usize>>,
) {
    while let Some(event) = events.recv().await {
        let record = Record { value: event.to_json().into_bytes().into(), ..Record::default() };
        let appending = broker.append(&target, record);
        let (metrics, unsettled) = (Arc::clone(&metrics), Arc::clone(&unsettled));
        tokio::spawn(async move {
            if appending.await.is_err() {
                metrics.alarm(Alarm::AuditLost);
            }
            unsettled.send_modify(|count| *count -= 1);
        });
    }
}
