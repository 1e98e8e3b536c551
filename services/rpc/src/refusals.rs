//! Refusals at the edge: each gets an exchange id, is counted and audited, and leaves as a status.

use std::sync::Arc;

use axum::body::Body;
use http::{HeaderValue, Response};
use kopuro_core::error::Refusal;
use kopuro_core::id::{ExchangeId, MethodId, SubsystemId};
use kopuro_core::time::{Clock, UnixMillis};
use kopuro_telemetry::audit::{AuditEvent, AuditSink};
use kopuro_telemetry::metrics::{Metrics, Role};
use kopuro_trust::random;

use crate::status;
use crate::unary;

/// The header that names the exchange, on every answer of the bus.
pub const EXCHANGE_ID: &str = "kopuro-exchange-id";
/// The header that says at which side a failure arose.
pub const SIDE: &str = "kopuro-side";

/// What is known of a request that is refused.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The consumer, once it is authenticated.
    pub consumer: Option<SubsystemId>,
    /// The provider, where it is known.
    pub provider: Option<SubsystemId>,
    /// The method, where the path names one.
    pub method: Option<MethodId>,
}

/// Counts, audits and writes refusals.
pub struct Refusals {
    metrics: Arc<Metrics>,
    audit: Arc<dyn AuditSink>,
    clock: Arc<dyn Clock>,
}

impl Refusals {
    /// Refusals that are counted in `metrics` and recorded in `audit`.
    pub fn new(metrics: Arc<Metrics>, audit: Arc<dyn AuditSink>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { metrics, audit, clock })
    }

    /// The time.
    pub fn now(&self) -> UnixMillis {
        self.clock.now()
    }

    /// A name for an exchange that begins.
    pub fn begin(&self) -> ExchangeId {
        ExchangeId::new(self.now(), random::bytes())
    }

    /// Refuses an exchange: counts and audits it, and gives the answer that leaves the process.
    pub fn refuse(&self, exchange: &ExchangeId, refusal: &Refusal, facts: Facts) -> Response<Body> {
        self.metrics.refused(Role::Consumer, refusal.reason);
        let Facts { consumer, provider, method } = facts;
        self.audit.record(AuditEvent {
            detail: refusal.detail.clone(),
            exchange: Some(*exchange),
            consumer,
            provider,
            method,
            ..AuditEvent::new(self.now(), refusal.reason)
        });
        let mut response = unary::failure(status::to_status(refusal, Some(exchange)));
        let side = HeaderValue::from_static(refusal.reason.entry().side.name());
        response.headers_mut().insert(EXCHANGE_ID, exchange_value(exchange));
        response.headers_mut().insert(SIDE, side);
        response
    }
}

/// An exchange id as a header's value.
pub fn exchange_value(exchange: &ExchangeId) -> HeaderValue {
    HeaderValue::try_from(exchange.to_string()).expect("a UUID is a header value")
}
