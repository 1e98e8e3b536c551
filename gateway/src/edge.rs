//! Transparent calls: any registered unary method, called with an ordinary gRPC client.

mod answer;
pub(crate) mod metadata;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use kopuro_core::error::{Reason, Refusal};
use kopuro_core::id::{ExchangeId, MethodId, SubsystemId};
use kopuro_exchange::settings::ExchangeSettings;
use kopuro_exchange::{Call, Exchange};
use kopuro_registry::views::Views;
use kopuro_rpc::callers::Caller;
use kopuro_rpc::deadline;
use kopuro_rpc::refusals::{Facts, Refusals};
use kopuro_rpc::unary::{self, Intake, Slot};
use kopuro_telemetry::trace;
use tracing::{Instrument as _, Span, field};

use metadata::CallMetadata;

/// Takes calls and hands them to the engine.
pub(crate) struct Edge {
    pub(crate) gateway: String,
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) views: Arc<Views>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) intake: Intake,
    pub(crate) settings: ExchangeSettings,
}

/// Answers one call. Every answer, good or bad, names its exchange.
pub(crate) async fn call(edge: Arc<Edge>, request: Request<Body>) -> Response<Body> {
    let exchange = edge.refusals.begin();
    let span = span(&exchange, &request);
    let mut facts = Facts::default();
    let answered = unary::contained(edge.answer(exchange, request, &mut facts).instrument(span)).await;
    match answered.unwrap_or_else(|reason| Err(reason.into())) {
        Ok(response) => response,
        Err(refusal) => edge.refusals.refuse(&exchange, &refusal, facts),
    }
}

impl Edge {
    async fn answer(
        &self,
        exchange: ExchangeId,
        request: Request<Body>,
        facts: &mut Facts,
    ) -> Result<Response<Body>, Refusal> {
        let started = Instant::now();
        let mut slot = self.intake.admit()?;
        let method = method_of(&request)?;
        facts.method = Some(method.clone());
        let caller = request.extensions().get::<Arc<Caller>>().cloned().ok_or(Reason::CertificateRequired)?;
        let timeout = deadline::read(request.headers())?;
        let CallMetadata { client, provider, request: id, context } = CallMetadata::read(request.headers())?;
        facts.provider.clone_from(&provider);
        let consumer = self.consumer(&caller, client)?;
        facts.consumer = Some(consumer.clone());
        Span::current()
            .record("consumer", field::display(&consumer))
            .record("method", field::display(&method));
        let message = self.receive(request, &mut slot, timeout).await?;
        let timeout = timeout.map(|timeout| timeout.saturating_sub(started.elapsed()));
        let call = Call { exchange, request: id, consumer, provider, method, context, message, timeout };
        let answered = self.exchange.call(call).await?;
        Ok(answer::response(&exchange, answered, slot))
    }

    /// Reads the message, within the time that the call has.
    async fn receive(
        &self,
        request: Request<Body>,
        slot: &mut Slot,
        timeout: Option<Duration>,
    ) -> Result<Bytes, Refusal> {
        let limit = timeout.unwrap_or(self.settings.deadline_default).min(self.settings.request_life_max);
        let received = tokio::time::timeout(limit, unary::receive(request, slot)).await;
        received.map_err(|_| Reason::Expired)?
    }

    /// The subsystem that calls: the one that the caller names, or the only one that its key speaks for. The gateway must
    /// speak for its member, or the provider's gateway could not believe the statement.
    fn consumer(&self, caller: &Caller, named: Option<SubsystemId>) -> Result<SubsystemId, Refusal> {
        let consumer = resolve(caller, named)?;
        if self.views.current().gateway_serves(&self.gateway, &consumer) {
            Ok(consumer)
        } else {
            Err(Refusal::with(
                Reason::ClientMismatch,
                "this gateway does not speak for the subsystem's member",
            ))
        }
    }
}

fn resolve(caller: &Caller, named: Option<SubsystemId>) -> Result<SubsystemId, Reason> {
    match (named, caller.subsystems.as_slice()) {
        (Some(named), own) if own.contains(&named) => Ok(named),
        (Some(_), _) => Err(Reason::ClientMismatch),
        (None, [only]) => Ok(only.clone()),
        (None, []) => Err(Reason::CertificateUnknown),
        (None, [_, _, ..]) => Err(Reason::ClientAmbiguous),
    }
}

/// The method that the path names. A query is no part of a gRPC path, and a path that has one names no method.
fn method_of(request: &Request<Body>) -> Result<MethodId, Reason> {
    let path = request.uri().path_and_query().map_or("", |path| path.as_str());
    MethodId::parse_path(path).map_err(|_| Reason::MethodUnknown)
}

fn span(exchange: &ExchangeId, request: &Request<Body>) -> Span {
    let span = tracing::info_span!("exchange", %exchange, consumer = field::Empty, method = field::Empty);
    if let Some(parent) = request.headers().get(trace::TRACEPARENT).and_then(|value| value.to_str().ok()) {
        trace::continue_from(&span, parent);
    }
    span
}

#[cfg(test)]
mod tests {
    use kopuro_core::digest::KeyId;

    use super::*;

    fn subsystem(code: &str) -> SubsystemId {
        SubsystemId::parse(&format!("KG/GOV/70000005/{code}")).unwrap()
    }

    fn caller(codes: &[&str]) -> Caller {
        Caller {
            key_id: KeyId::of_spki(b"key"),
            subsystems: codes.iter().map(|code| subsystem(code)).collect(),
            gateway: None,
            member: None,
        }
    }

    #[test]
    fn the_consumer_is_named_or_the_only_one() {
        let (portal, office) = (subsystem("portal"), subsystem("office"));
        let table = [
            (&["portal"][..], None, Ok(portal.clone())),
            (&["portal"], Some(&portal), Ok(portal.clone())),
            (&["portal", "office"], Some(&office), Ok(office.clone())),
            (&["portal"], Some(&office), Err(Reason::ClientMismatch)),
            (&[], Some(&office), Err(Reason::ClientMismatch)),
            (&["portal", "office"], None, Err(Reason::ClientAmbiguous)),
            (&[], None, Err(Reason::CertificateUnknown)),
        ];
        for (own, named, expected) in table {
            assert_eq!(resolve(&caller(own), named.cloned()), expected, "{own:?} {named:?}");
        }
    }

    #[test]
    fn only_a_bare_path_names_a_method() {
        let method = |path: &str| {
            let request =
                Request::builder().uri(format!("https://gateway{path}")).body(Body::empty()).unwrap();
            method_of(&request)
        };
        assert!(method("/kg.socialfund.v1.PensionService/GetPensionInfo").is_ok());
        for path in ["/", "/a.B/C?", "/a.B/C?x=1", "/a.B/%43", "/a.B/C/", "//a.B/C", "/a.B/../a.B/C"] {
            assert_eq!(method(path), Err(Reason::MethodUnknown), "{path}");
        }
    }
}
