//! What a worker does when the arbiter asks for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kopuro_broker::AppendError;
use kopuro_core::effect::{Action, MarkerFacts, NoDispatch, OutcomeFacts, Ticket};
use kopuro_core::error::{Reason, Refusal};
use kopuro_core::time::UnixMillis;
use kopuro_telemetry::audit::AuditEvent;
use kopuro_telemetry::metrics::{Role, Stage};
use kopuro_trust::member_secret::MemberSecret;
use tracing::Instrument as _;

use super::{Pending, Worker, marker_record};
use crate::failure;
use crate::provider::effects::{self, MarkerEntry};
use crate::provider::outcomes;
use crate::provider::tasks::{Report, report};

impl Worker {
    /// Carries out what the arbiter asks for. Says whether the partition is still owned.
    pub(super) fn act(&mut self, secret: &Arc<MemberSecret>) -> bool {
        while let Some(action) = self.arbiter.poll_action() {
            match action {
                Action::Ready => {}
                Action::Fenced => {
                    tracing::warn!(target = %self.target, "a later owner has claimed the partition");
                    return false;
                }
                Action::AppendMarker(marker) => self.append_marker(secret, marker),
                Action::Dispatch { ticket, not_after } => self.dispatch(secret, ticket, not_after),
                Action::AppendNoDispatch { marker, cause } => self.record_no_dispatch(secret, marker, cause),
                Action::Answer(ticket, outcome) => self.answer(secret, ticket, outcome),
                Action::RefuseReused(ticket) => self.refuse(ticket, Reason::RequestIdReused.into()),
                Action::RefuseNotDispatched(ticket) => self.refuse(ticket, Reason::DispatchDeferred.into()),
                Action::RefuseOverloaded(ticket) => {
                    let overloaded = Refusal::new(Reason::Overloaded);
                    self.refuse(ticket, overloaded.retry_after(Duration::from_secs(1)));
                }
            }
        }
        true
    }

    fn append_marker(&self, secret: &MemberSecret, marker: MarkerFacts) {
        let entry = effects::write_marker(secret, &self.target, &MarkerEntry::Marker(self.claim, marker));
        let broker = &self.provider.node.parts.broker;
        let appending = broker.append(&self.markers, marker_record(entry, marker.key.as_bytes()));
        let reports = self.reports.clone();
        tokio::spawn(async move {
            match appending.await {
                Ok(_) | Err(AppendError::Unknown(_)) => {}
                Err(AppendError::NotAppended(_) | AppendError::QueueFull | AppendError::TooLarge) => {
                    report(&reports, Report::MarkerFailed(marker.key)).await;
                }
            }
        });
    }

    fn dispatch(&self, secret: &Arc<MemberSecret>, ticket: Ticket, not_after: UnixMillis) {
        let Some(pending) = self.pending.get(&ticket) else { return };
        let (provider, secret, reports) =
            (Arc::clone(&self.provider), Arc::clone(secret), self.reports.clone());
        let (request, target) = (Arc::clone(&pending.request), self.outcomes.clone());
        let window = provider.node.parts.settings.arbiter.outcome_window;
        let marker = MarkerFacts {
            keep_until: self.now().plus(window).max(pending.marker.keep_until),
            ..pending.marker
        };
        provider.node.parts.metrics.stage(Stage::Marker, pending.asked.elapsed());
        let span = pending.span.clone();
        let dispatching = async move {
            let payload = provider.dispatch(&request, not_after).await;
            let started = Instant::now();
            let recorded = outcomes::record(&provider.node, &secret, &target, &marker, &payload).await;
            provider.node.parts.metrics.stage(Stage::Outcome, started.elapsed());
            report(&reports, if recorded { Report::Completed(marker.key) } else { Report::Lost }).await;
        };
        tokio::spawn(dispatching.instrument(span));
    }

    fn record_no_dispatch(&self, secret: &Arc<MemberSecret>, marker: MarkerFacts, cause: NoDispatch) {
        let reason = match cause {
            NoDispatch::Interrupted => Reason::DispatchInterrupted,
            NoDispatch::TooLate => Reason::NotDispatched,
        };
        let parts = &self.provider.node.parts;
        parts.metrics.refused(Role::Provider, reason);
        parts.audit.record(AuditEvent {
            detail: format!("request {}", marker.request_digest),
            exchange: Some(marker.exchange),
            provider: Some(self.provider.subsystem.clone()),
            ..AuditEvent::new(self.now(), reason)
        });
        let (provider, secret, reports) =
            (Arc::clone(&self.provider), Arc::clone(secret), self.reports.clone());
        let target = self.outcomes.clone();
        tokio::spawn(async move {
            let payload = failure::payload_of(&reason.into(), &marker.exchange);
            if !outcomes::record(&provider.node, &secret, &target, &marker, &payload).await {
                report(&reports, Report::Lost).await;
            }
        });
    }

    fn answer(&mut self, secret: &Arc<MemberSecret>, ticket: Ticket, outcome: OutcomeFacts) {
        let Some(Pending { offset, request, .. }) = self.pending.remove(&ticket) else { return };
        let (provider, secret, reports) =
            (Arc::clone(&self.provider), Arc::clone(secret), self.reports.clone());
        let (target, recent) = (self.outcomes.clone(), self.recent.find(outcome.offset));
        tokio::spawn(async move {
            let payload = match recent {
                Some(payload) => Some(payload),
                None => outcomes::fetch(&provider.node, &secret, &target, &outcome).await,
            };
            let statement = &request.statement;
            match payload {
                Some(payload) => {
                    provider.answer(statement, request.digest, outcome.request_digest, payload).await;
                }
                None => {
                    let gone =
                        Refusal::with(Reason::DispatchInterrupted, "the recorded outcome cannot be read");
                    provider.refuse(statement, request.digest, &gone).await;
                }
            }
            report(&reports, Report::Finished(offset)).await;
        });
    }

    fn refuse(&mut self, ticket: Ticket, refusal: Refusal) {
        let Some(Pending { offset, request, .. }) = self.pending.remove(&ticket) else { return };
        let (provider, reports) = (Arc::clone(&self.provider), self.reports.clone());
        tokio::spawn(async move {
            provider.refuse(&request.statement, request.digest, &refusal).await;
            report(&reports, Report::Finished(offset)).await;
        });
    }
}
