//! What is done for a request beside its worker, so that none waits for another.

use std::sync::Arc;

use kopuro_broker::{Record, StoredRecord};
use kopuro_core::digest::Digest;
use kopuro_core::effect::{EffectKey, EffectRequest};
use kopuro_core::error::Reason;
use kopuro_core::statement::Statement;
use kopuro_telemetry::metrics::Role;
use kopuro_telemetry::trace;
use tokio::sync::mpsc;
use tracing::Span;

use super::Provider;
use super::request::{Admitted, Request};
use crate::dead_letter;
use crate::inbox::Verified;

/// What tasks report to their worker.
pub(super) enum Report {
    /// A request must be arbitrated.
    Once { offset: u64, request: Box<Request>, effect: EffectRequest, span: Span },
    /// A marker certainly did not become durable.
    MarkerFailed(EffectKey),
    /// A dispatch ended and its outcome was given to the outcome topic.
    Completed(EffectKey),
    /// A record is done.
    Finished(u64),
    /// The seal of a statement opened, or need not be.
    Opened(Digest),
    /// The seal of a statement did not open.
    NotOpened(Digest),
    /// Something could not be recorded: the partition is read again from what is known to be done.
    Lost,
}

/// Takes a verified request as far as it goes without arbitration.
pub(super) async fn serve(
    provider: Arc<Provider>,
    reports: mpsc::Sender<Report>,
    offset: u64,
    verified: Verified,
    stored: StoredRecord,
) {
    let metrics = Arc::clone(&provider.node.parts.metrics);
    let _in_flight = metrics.in_flight(Role::Provider);
    let digest = verified.digest;
    let admitted = provider.admit(verified).await;
    let altered = admitted.as_ref().is_err_and(|(_, _, refusal)| is_unverified(refusal.reason));
    report(&reports, if altered { Report::NotOpened(digest) } else { Report::Opened(digest) }).await;
    match admitted {
        Err((_, _, refusal)) if altered => {
            return put_aside(&provider, &reports, &stored, refusal.reason).await;
        }
        Err((statement, digest, refusal)) => provider.refuse(&statement, digest, &refusal).await,
        Ok(Admitted::Once(request, effect)) => {
            let (request, span) = (Box::new(request), Span::current());
            return report(&reports, Report::Once { offset, request, effect, span }).await;
        }
        Ok(Admitted::Repeatable(request)) => {
            let payload = provider.dispatch(&request, request.statement.expire_time).await;
            provider.answer(&request.statement, digest, digest, payload).await;
        }
    }
    report(&reports, Report::Finished(offset)).await;
}

/// Whether a refusal says that the record is not its sender's, which then gets no answer.
fn is_unverified(reason: Reason) -> bool {
    matches!(reason, Reason::SealBroken | Reason::SignerUnknown)
}

/// Refuses a verified request for a reason that needs no look at its content.
pub(super) async fn refuse(
    provider: Arc<Provider>,
    reports: mpsc::Sender<Report>,
    offset: u64,
    verified: Verified,
    reason: Reason,
) {
    provider.refuse(&verified.statement, verified.digest, &reason.into()).await;
    report(&reports, Report::Finished(offset)).await;
}

/// Puts a record aside that nothing can be done with. One that cannot be put aside is not done with either, and when its
/// worker has stopped, it is the next one's.
pub(super) async fn put_aside(
    provider: &Provider,
    reports: &mpsc::Sender<Report>,
    stored: &StoredRecord,
    reason: Reason,
) {
    let keeping = dead_letter::put_aside(&provider.node, &provider.subsystem, stored, reason);
    tokio::select! {
        kept = keeping => {
            let ended = if kept { Report::Finished(stored.position.offset) } else { Report::Lost };
            report(reports, ended).await;
        }
        () = reports.closed() => {}
    }
}

/// The span of an exchange on the provider's side, part of the trace that the consumer's gateway began.
pub(super) fn span_of(statement: &Statement, record: &Record) -> Span {
    let Statement { exchange, sender, recipient, method, .. } = statement;
    let span = tracing::info_span!("provide", %exchange, consumer = %sender, provider = %recipient, %method);
    let context = record.headers.iter().find(|(name, _)| name == trace::TRACEPARENT);
    if let Some(context) = context.and_then(|(_, value)| std::str::from_utf8(value).ok()) {
        trace::continue_from(&span, context);
    }
    span
}

/// Reports to the worker; one that has stopped no longer wants to know.
pub(super) async fn report(reports: &mpsc::Sender<Report>, report: Report) {
    let _ = reports.send(report).await;
}
