//! What librdkafka tells: its log lines and whether any broker can be reached.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use tokio::sync::Notify;

use crate::port::BrokerError;

/// librdkafka's log facilities for connections that fail, which it repeats with every attempt.
const CONNECTION_LOST: [&str; 2] = ["FAIL", "ERROR"];

/// How long what was wrong with a secure connection explains a loss: librdkafka tells of a fault that goes on twice a
/// minute.
const TOLD_WITHIN: Duration = Duration::from_secs(60);

/// Whether the cluster can be reached, as far as is known.
#[derive(Default)]
pub(super) struct Reach {
    lost: AtomicBool,
    stirred: Notify,
    /// What was last wrong with a secure connection, and when.
    distrust: Mutex<Option<(Instant, String)>>,
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

    /// Waits until no broker can be reached and one of them has made known that it is for certificates.
    pub(super) async fn distrusted(&self) {
        while !(self.is_lost() && matches!(self.fault(), BrokerError::Untrusted(_))) {
            self.stirred.notified().await;
        }
    }

    /// Why the cluster cannot be reached.
    pub(super) fn fault(&self) -> BrokerError {
        match &*self.distrust.lock().expect("no holder of the lock panics") {
            Some((at, reason)) if at.elapsed() < TOLD_WITHIN => BrokerError::Untrusted(reason.clone()),
            Some(_) | None => BrokerError::Unavailable("no Kafka broker can be reached".into()),
        }
    }

    /// Takes note of a secure connection that failed, and tells it once.
    fn distrust(&self, reason: &str) {
        let mut distrust = self.distrust.lock().expect("no holder of the lock panics");
        let last = distrust.replace((Instant::now(), reason.to_owned()));
        self.stirred.notify_one();
        if last.is_none_or(|(at, _)| at.elapsed() >= TOLD_WITHIN) {
            tracing::error!(reason, "a secure connection to a Kafka broker cannot be made");
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
        let Some(reach) = &self.reach else { return };
        if is_distrust(reason) {
            reach.distrust(reason);
        }
        if code == Some(AllBrokersDown) && are_all_down(reason) {
            reach.lose();
        }
    }

    fn stats(&self, _: Statistics) {}
}

impl ConsumerContext for Context {}

/// Whether a report that all brokers are down bears itself out. librdkafka counts wrong while it exchanges the connections
/// to the addresses it was given for those to the brokers it found there, and then says for example "0/3 brokers are down".
fn are_all_down(reason: &str) -> bool {
    let counts = reason.split_once(' ').and_then(|(counts, _)| counts.split_once('/'));
    counts.is_none_or(|(down, all)| down == all)
}

/// Whether a fault is one of trust: this client refuses the broker's certificate, or the broker sends an alert about this
/// client's. librdkafka tells it by its text only; a connection that merely ends is told otherwise.
fn is_distrust(reason: &str) -> bool {
    reason.contains("certificate verify failed") || reason.contains("SSL alert number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_brokers_are_down_when_as_many_are_as_there_are() {
        assert!(are_all_down("3/3 brokers are down"));
        assert!(are_all_down("another wording"));
        for reason in ["0/3 brokers are down", "2/3 brokers are down"] {
            assert!(!are_all_down(reason), "{reason}");
        }
    }

    #[test]
    fn a_loss_is_explained_by_certificates_only_where_they_were_refused() {
        let reach = Arc::new(Reach::default());
        let context = Context::watching("producer", reach.clone());
        let tell = |reason| {
            context.error(KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure), reason);
        };
        tell("ssl://a:1/1: SSL handshake failed: Disconnected");
        assert!(matches!(reach.fault(), BrokerError::Unavailable(_)));
        tell(
            "ssl://a:1/1: Receive failed: error:0A000412:SSL routines::sslv3 alert bad certificate: SSL alert number 42",
        );
        assert!(matches!(reach.fault(), BrokerError::Untrusted(_)));
    }
}
