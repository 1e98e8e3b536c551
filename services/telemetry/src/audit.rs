//! The audit trail: what was refused, repeated, or looked wrong, with identifiers and never with content.

use kopuro_core::error::Reason;
use kopuro_core::id::{ExchangeId, MethodId, SubsystemId};
use kopuro_core::time::UnixMillis;
use serde::Serialize;

/// Something that an auditor may want to know years later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEvent {
    /// When it was noticed.
    pub time: UnixMillis,
    /// What happened, from the catalogue.
    pub reason: Reason,
    /// What is known of this case; never content.
    pub detail: String,
    /// The exchange, where it is known.
    pub exchange: Option<ExchangeId>,
    /// The consumer, where it was authenticated.
    pub consumer: Option<SubsystemId>,
    /// The provider, where it is known.
    pub provider: Option<SubsystemId>,
    /// The method, where it was resolved.
    pub method: Option<MethodId>,
}

impl AuditEvent {
    /// An event of which only the reason is known.
    pub fn new(time: UnixMillis, reason: Reason) -> Self {
        Self {
            time,
            reason,
            detail: String::new(),
            exchange: None,
            consumer: None,
            provider: None,
            method: None,
        }
    }

    /// The event as one line of JSON.
    pub fn to_json(&self) -> String {
        let Self { time, reason, detail, exchange, consumer, provider, method } = self;
        let line = AuditLine {
            time_unix_ms: time.as_u64(),
            reason: reason.name(),
            side: reason.entry().side.name(),
            detail,
            exchange_id: exchange.map(|id| id.to_string()),
            consumer: consumer.as_ref().map(SubsystemId::as_str),
            provider: provider.as_ref().map(SubsystemId::as_str),
            method: method.as_ref().map(ToString::to_string),
        };
        serde_json::to_string(&line).expect("text and numbers always serialize")
    }
}

#[derive(Serialize)]
struct AuditLine<'a> {
    time_unix_ms: u64,
    reason: &'static str,
    side: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    exchange_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
}

/// Where audit events go. Recording never blocks and never fails the exchange; a sink that cannot keep up says so in a
/// metric.
pub trait AuditSink: Send + Sync + 'static {
    /// Takes an event.
    fn record(&self, event: AuditEvent);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_what_is_known() {
        let event = AuditEvent::new(UnixMillis::new(5), Reason::DuplicateRecord);
        assert_eq!(event.to_json(), r#"{"time_unix_ms":5,"reason":"DUPLICATE_RECORD","side":"bus"}"#);
    }
}
