//! One connection after its handshake.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use futures::future::BoxFuture;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kopuro_core::error::{Reason, Refusal};
use kopuro_core::id::MethodId;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::admission::{Admitted, Peer};
use super::{ListenerSettings, Shared, head};
use crate::callers::Caller;
use crate::refusals::{Facts, Refusals};
use crate::unary;

/// How long a peer may stay silent after it was asked whether it is there.
const KEEP_ALIVE_LIMIT: Duration = Duration::from_secs(20);
/// How many requests at once a connection takes on which every one is refused.
const REFUSED_STREAMS_MAX: u32 = 8;

/// Answers the requests of one connection.
#[derive(Clone)]
struct Service {
    shared: Arc<Shared>,
    verdict: Arc<Result<Peer, Refusal>>,
    router: Router,
    /// Cancelled when the connection is to end.
    ending: CancellationToken,
}

/// Serves a connection until it ends.
pub(super) async fn serve(admitted: Admitted, shared: &Arc<Shared>) {
    let _counted = shared.parts.metrics.connection();
    let Admitted { stream, verdict } = admitted;
    let service = Service {
        shared: Arc::clone(shared),
        verdict: Arc::new(verdict),
        router: shared.parts.router.clone(),
        ending: shared.stop.child_token(),
    };
    let builder = http2_builder(&shared.settings, service.verdict.is_ok());
    let connection = builder.serve_connection(TokioIo::new(stream), service.clone());
    let mut connection = pin!(connection);
    let grace = tokio::select! {
        ended = connection.as_mut() => return note(ended),
        grace = service.until_over() => grace,
    };
    connection.as_mut().graceful_shutdown();
    match tokio::time::timeout(grace, connection).await {
        Ok(ended) => note(ended),
        Err(_) => tracing::debug!("a connection was cut: requests were still in work"),
    }
}

impl Service {
    /// Waits until the connection must end, and says how long the requests in work may take then.
    async fn until_over(&self) -> Duration {
        let ListenerSettings { age_max, grace, refused_age_max, .. } = self.shared.settings;
        let now = self.shared.parts.refusals.now();
        let age = match &*self.verdict {
            Ok(peer) => age_max.min(peer.certificate.not_after().since(now)),
            Err(_) => refused_age_max,
        };
        tokio::select! {
            () = self.ending.cancelled() => {}
            () = tokio::time::sleep(age) => {}
            () = self.until_unwelcome() => return grace.min(refused_age_max),
        }
        if self.verdict.is_ok() { grace } else { grace.min(refused_age_max) }
    }

    /// Waits until a peer that was good is so no longer, by the registry or by the authorities trusted.
    async fn until_unwelcome(&self) {
        let Ok(peer) = &*self.verdict else { return std::future::pending().await };
        let parts = &self.shared.parts;
        let (mut registry, mut admissions) = (parts.changes.clone(), self.shared.admissions.changes());
        registry.mark_changed();
        loop {
            let changed = tokio::select! {
                changed = registry.changed() => changed,
                changed = admissions.changed() => changed,
            };
            // When nobody can change anything any more, the age of the connection is its only bound.
            if changed.is_err() {
                return std::future::pending().await;
            }
            let now = parts.refusals.now();
            let known = parts.callers.identify(&peer.certificate, now).is_ok();
            if !known || !self.shared.admissions.is_good(peer, now) {
                return;
            }
        }
    }

    fn identify(&self) -> Result<Caller, Refusal> {
        let peer = self.verdict.as_ref().as_ref().map_err(Clone::clone)?;
        let parts = &self.shared.parts;
        let now = parts.refusals.now();
        if now > peer.certificate.not_after() {
            return Err(Refusal::with(Reason::CertificateInvalid, "it has expired"));
        }
        Ok(parts.callers.identify(&peer.certificate, now)?)
    }
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let refused = |refusal| {
            let response = refuse(&self.shared.parts.refusals, &refusal, request.uri().path());
            Box::pin(std::future::ready(Ok(response)))
        };
        match self.identify() {
            Ok(caller) => {
                if let Err(refusal) = head::check(&request) {
                    return refused(refusal);
                }
                request.extensions_mut().insert(Arc::new(caller));
                let answer = answer(self.router.clone(), Arc::clone(&self.shared.parts.refusals), request);
                Box::pin(answer)
            }
            Err(refusal) => {
                self.ending.cancel();
                refused(refusal)
            }
        }
    }
}

async fn answer(
    router: Router,
    refusals: Arc<Refusals>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().clone();
    match unary::contained(router.oneshot(request)).await {
        Ok(answered) => answered,
        Err(reason) => Ok(refuse(&refusals, &reason.into(), path.path())),
    }
}

fn refuse(refusals: &Refusals, refusal: &Refusal, path: &str) -> Response<Body> {
    let facts = Facts { method: MethodId::parse_path(path).ok(), ..Facts::default() };
    refusals.refuse(&refusals.begin(), refusal, facts)
}

fn http2_builder(settings: &ListenerSettings, welcome: bool) -> http2::Builder<TokioExecutor> {
    let streams_max = if welcome { settings.streams_max } else { REFUSED_STREAMS_MAX };
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(streams_max)
        .max_header_list_size(head::LIST_READ_MAX)
        .keep_alive_interval(settings.keep_alive)
        .keep_alive_timeout(KEEP_ALIVE_LIMIT);
    builder
}

fn note(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke off");
    }
}
