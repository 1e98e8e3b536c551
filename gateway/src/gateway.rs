//! One gateway replica, put together.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use kopuro_broker::Broker;
use kopuro_core::time::Clock;
use kopuro_exchange::replica::Replica;
use kopuro_exchange::{Exchange, Parts};
use kopuro_registry::anchor::Anchor;
use kopuro_registry::contracts::Contracts;
use kopuro_registry::views::Views;
use kopuro_rpc::channel::EndpointError;
use kopuro_rpc::health::{Health, Serving};
use kopuro_rpc::listener::{ListenError, Listener, ListenerParts};
use kopuro_rpc::operations::{Operations, Readiness};
use kopuro_rpc::reflection;
use kopuro_rpc::refusals::Refusals;
use kopuro_rpc::unary::Intake;
use kopuro_telemetry::audit::AuditSink;
use kopuro_telemetry::metrics::Metrics;
use kopuro_trust::certificate::{CertificateError, TrustStore};
use kopuro_trust::tls::{self, Identity, Protocols, TlsError};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::callers::RegisteredCallers;
use crate::disclosure::RegisteredDisclosure;
use crate::edge::{self, Edge};
use crate::readiness::{Tell, Watcher};
use crate::serving::{Progress, Server};
use crate::settings::{GatewaySettings, Limits};
use crate::systems::{Reach, Systems};

/// The parts that a gateway works with.
#[derive(Clone)]
pub struct GatewayParts {
    /// The broker.
    pub broker: Arc<dyn Broker>,
    /// The registry's current view, which somebody keeps following.
    pub views: Arc<Views>,
    /// Contracts by digest, which somebody keeps following.
    pub contracts: Arc<Contracts>,
    /// This replica's keys, and its members' secrets.
    pub replica: Arc<Replica>,
    /// Where audit events go.
    pub audit: Arc<dyn AuditSink>,
    /// The process's metrics, as this gateway records them.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Why a gateway could not begin; the operator must act.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The anchor's certificate authorities cannot be used.
    #[error("the anchor names a certificate authority that cannot be used")]
    Authorities(#[source] CertificateError),
    /// The anchor's certificate authorities cannot be read.
    #[error("the anchor names a certificate authority that cannot be read")]
    AuthorityPem(#[source] rustls_pki_types::pem::Error),
    /// The gateway's own certificate or key cannot be used.
    #[error("the gateway's own certificate or key cannot be used")]
    Identity(#[from] TlsError),
    /// The endpoint of a system cannot be used.
    #[error("the endpoint of a system cannot be used")]
    Endpoint(#[from] EndpointError),
    /// Systems cannot connect.
    #[error("the gateway cannot take connections")]
    Listen(#[from] ListenError),
    /// Operators cannot connect.
    #[error("the operations address {0} cannot be listened on")]
    Operations(SocketAddr, #[source] std::io::Error),
}

/// A gateway at work. Dropping it stops it without waiting; [`Self::drain`] waits.
pub struct Gateway {
    listener: Listener,
    operations: Operations,
    exchange: Arc<Exchange>,
    readiness: watch::Receiver<Readiness>,
    draining: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    drain_limit: Duration,
}

impl Gateway {
    /// Starts a gateway. It listens when this returns, and is ready once [`Self::ready`] is.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn start(settings: GatewaySettings, parts: GatewayParts) -> Result<Self, GatewayError> {
        let GatewaySettings { id, listen, operations, systems, identity, limits } = settings;
        let trust = trust_of(parts.views.current().anchor())?;
        let endpoints: BTreeSet<_> = systems.keys().cloned().collect();
        let systems = Systems::new(systems, &reach(&identity, &trust, &parts, &limits)?)?;
        let exchange = Arc::new(Exchange::new(engine_parts(&parts, &limits), systems));

        let (tell_health, health) = watch::channel(Arc::new(Serving::default()));
        let starting = Readiness { ready: false, reasons: vec!["the gateway is starting".to_owned()] };
        let (tell_readiness, readiness) = watch::channel(starting);
        let listener_parts = listener_parts(&id, &parts, &exchange, health, &limits);
        let listener = Listener::start(listen, (&identity, trust), limits.listener, listener_parts).await?;
        let operations = Operations::start(operations, Arc::clone(&parts.metrics), readiness.clone())
            .await
            .map_err(|error| GatewayError::Operations(operations, error))?;

        let draining = CancellationToken::new();
        let (tell_progress, progress) = watch::channel(Progress::default());
        let server = Server {
            gateway: id,
            exchange: Arc::clone(&exchange),
            views: Arc::clone(&parts.views),
            endpoints,
            members: parts.replica.members().cloned().collect(),
        };
        let watcher = watcher(parts, &exchange, progress, &draining);
        let tasks = vec![
            tokio::spawn(server.run(tell_progress, draining.clone())),
            tokio::spawn(watcher.run(Tell { readiness: tell_readiness, health: tell_health })),
        ];
        Ok(Self { listener, operations, exchange, readiness, draining, tasks, drain_limit: limits.drain })
    }

    /// The address that systems connect to.
    pub fn local_addr(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    /// The address that operators connect to.
    pub fn operations_addr(&self) -> SocketAddr {
        self.operations.local_addr()
    }

    /// Whether the node can do its work, and what is missing.
    pub fn readiness(&self) -> watch::Receiver<Readiness> {
        self.readiness.clone()
    }

    /// Waits until the node can do its work.
    pub async fn ready(&self) {
        // The watcher ends only when the node drains, and then nobody should wait.
        let _ = self.readiness.clone().wait_for(|readiness| readiness.ready).await;
    }

    /// Takes no more connections and calls, finishes what is in work as far as the limit allows, and ends.
    pub async fn drain(mut self) {
        let until = tokio::time::Instant::now() + self.drain_limit;
        self.draining.cancel();
        for task in std::mem::take(&mut self.tasks) {
            // A task that panicked has been reported by the runtime, and leaves nothing to wait for.
            let _ = task.await;
        }
        self.listener.stop();
        self.exchange.drain(self.drain_limit).await;
        if tokio::time::timeout_at(until, self.listener.stopped()).await.is_err() {
            tracing::warn!("connections were still open when the drain ended");
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.draining.cancel();
        // The engine's tasks end when they are told to, and telling them is asynchronous.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let exchange = Arc::clone(&self.exchange);
            runtime.spawn(async move { exchange.drain(Duration::ZERO).await });
        }
    }
}

fn listener_parts(
    id: &str,
    parts: &GatewayParts,
    exchange: &Arc<Exchange>,
    health: watch::Receiver<Arc<Serving>>,
    limits: &Limits,
) -> ListenerParts {
    let GatewayParts { views, audit, metrics, clock, .. } = parts;
    let refusals = Refusals::new(Arc::clone(metrics), Arc::clone(audit), Arc::clone(clock));
    let edge = Edge {
        gateway: id.to_owned(),
        exchange: Arc::clone(exchange),
        views: Arc::clone(views),
        refusals: Arc::clone(&refusals),
        intake: Intake::new(limits.intake),
        settings: limits.exchange.clone(),
    };
    ListenerParts {
        router: router(parts, health, &refusals, edge),
        callers: Arc::new(RegisteredCallers { views: Arc::clone(views) }),
        changes: views.changes(),
        refusals,
        metrics: Arc::clone(metrics),
    }
}

fn watcher(
    parts: GatewayParts,
    exchange: &Arc<Exchange>,
    progress: watch::Receiver<Progress>,
    draining: &CancellationToken,
) -> Watcher {
    let GatewayParts { broker, views, clock, .. } = parts;
    Watcher { broker, views, exchange: Arc::clone(exchange), clock, progress, draining: draining.clone() }
}

/// The services of the bus itself, guarded, and behind them whatever the registry knows.
fn router(
    parts: &GatewayParts,
    health: watch::Receiver<Arc<Serving>>,
    refusals: &Arc<Refusals>,
    edge: Edge,
) -> Router {
    let disclosure = RegisteredDisclosure::shared(
        Arc::clone(&parts.views),
        Arc::clone(&parts.contracts),
        Arc::clone(&parts.clock),
    );
    let (v1, v1alpha) = reflection::servers(&disclosure);
    let routes = Routes::new(Health::server(health)).add_service(v1).add_service(v1alpha);
    let table = Health::table().and(reflection::table());
    let guarded = table.guard(routes.into_axum_router(), Arc::clone(refusals));
    let edge = Arc::new(edge);
    guarded.fallback(move |request| edge::call(Arc::clone(&edge), request))
}

fn engine_parts(parts: &GatewayParts, limits: &Limits) -> Parts {
    let GatewayParts { broker, views, contracts, replica, audit, metrics, clock } = parts.clone();
    Parts { broker, views, contracts, replica, audit, metrics, clock, settings: limits.exchange.clone() }
}

fn reach(
    identity: &Identity,
    trust: &Arc<TrustStore>,
    parts: &GatewayParts,
    limits: &Limits,
) -> Result<Reach, TlsError> {
    Ok(Reach {
        tls: Arc::new(tls::client_config(identity, Arc::clone(trust), Protocols::Http2)?),
        views: Arc::clone(&parts.views),
        clock: Arc::clone(&parts.clock),
        settings: limits.channel,
    })
}

/// The authorities under which systems and gateways have their certificates.
///
/// # Errors
/// [`GatewayError::Authorities`] or [`GatewayError::AuthorityPem`].
pub fn trust_of(anchor: &Anchor) -> Result<Arc<TrustStore>, GatewayError> {
    let mut authorities = Vec::new();
    for pem in &anchor.tls_authorities {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        authorities.extend(read.map_err(GatewayError::AuthorityPem)?);
    }
    TrustStore::new(authorities, []).map(Arc::new).map_err(GatewayError::Authorities)
}
