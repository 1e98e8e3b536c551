//! What librdkafka tells: its log lines and whether any broker can be reached.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use tokio::sync::Notify;

/// librdkafka's log facilities for connections that fail, which it repeats with every attempt.
const CONNECTION_LOST: [&str; 2] = ["FAIL", "ERROR"];

/// Whether the cluster can be reached, as far as is known.
#[derive(Default)]
pub(super) struct Reach {
    lost: AtomicBool,
    stirred: Notify,
}

impl Reach {
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    pub(super) fn lose(&self) {
        if !self.lost.swap(true, Ordering::AcqRel) {
            tracing::warn!("no Kafka broker can be reached");
            self.stirred.notify_one();
        }
    }

    pub(super) fn regain(&self) {
        if self.lost.swap(false, Ordering::AcqRel) {
            tracing::info!("Kafka can be reached again");
        }
    }

    /// Waits until the cluster has been lost.
    pub(super) async fn lost(&self) {
        while !self.is_lost() {
            self.stirred.notified().await;
        }
    }
}

/// The context of one librdkafka client.
#[derive(Clone)]
pub(super) struct Context {
    role: &'static str,
    reach: Option<Arc<Reach>>,
}

impl Context {
    pub(super) fn new(role: &'static str) -> Self {
        Self { role, reach: None }
    }

    /// A context whose client's losses count for `reach`.
    pub(super) fn watching(role: &'static str, reach: Arc<Reach>) -> Self {
        Self { role, reach: Some(reach) }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let role = self.role;
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(target: "librdkafka", role, facility, "{message}");
            }
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning if !CONNECTION_LOST.contains(&facility) => {
                tracing::warn!(target: "librdkafka", role, facility, "{message}");
            }
            RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning
            | RDKafkaLogLevel::Notice
            | RDKafkaLogLevel::Info
            | RDKafkaLogLevel::Debug => {
                tracing::debug!(target: "librdkafka", role, facility, "{message}");
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure};
        let (role, code) = (self.role, error.rdkafka_error_code());
        if matches!(code, Some(AllBrokersDown | BrokerTransportFailure)) {
            // Every client repeats these with every attempt to reconnect; one of them tells it once.
            tracing::debug!(target: "librdkafka", role, %error, "{reason}");
        } else {
            tracing::warn!(target: "librdkafka", role, %error, "{reason}");
        }
        if code == Some(AllBrokersDown)
            && let Some(reach) = &self.reach
        {
            reach.lose();
        }
    }

    fn stats(&self, _: Statistics) {}
}

impl ConsumerContext for Context {}
