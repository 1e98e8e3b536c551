//! Waiting for what the bus records about a fault.

use std::time::Duration;

use anyhow::{Context as _, bail};
use kopuro_broker::Tail;
use kopuro_core::error::Reason;
use serde::Deserialize;

/// Audit events, as they come.
pub(in crate::demo) struct AuditTrail(Box<dyn Tail>);

/// Records put aside, as they come.
pub(in crate::demo) struct DeadLetters(Box<dyn Tail>);

#[derive(Deserialize)]
struct Line {
    reason: String,
    exchange_id: Option<String>,
}

impl AuditTrail {
    pub(super) fn new(tail: Box<dyn Tail>) -> Self {
        Self(tail)
    }

    /// The exchange of the next event with this reason; `None` when none comes in time.
    pub(in crate::demo) async fn next_exchange(
        &mut self,
        reason: Reason,
        limit: Duration,
    ) -> anyhow::Result<Option<String>> {
        let search = async {
            loop {
                let line: Line = serde_json::from_slice(&self.0.next().await?.record.value)?;
                if line.reason == reason.name() {
                    return anyhow::Ok(line.exchange_id);
                }
            }
        };
        tokio::time::timeout(limit, search).await.unwrap_or(Ok(None))
    }
}

impl DeadLetters {
    pub(super) fn new(tail: Box<dyn Tail>) -> Self {
        Self(tail)
    }

    /// The reason for which the next record was put aside.
    pub(in crate::demo) async fn next_reason(mut self, limit: Duration) -> anyhow::Result<String> {
        let stored =
            tokio::time::timeout(limit, self.0.next()).await.context("nothing was put aside in time")??;
        let reason = stored.record.headers.iter().find(|(name, _)| name == "kopuro-reason");
        match reason {
            Some((_, value)) => Ok(String::from_utf8_lossy(value).into_owned()),
            None => bail!("a record was put aside without a reason"),
        }
    }
}
