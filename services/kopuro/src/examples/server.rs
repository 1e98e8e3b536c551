//! Serving the example systems over mutual TLS, to their own gateway only.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use kopuro_core::digest::KeyId;
use kopuro_core::error::Reason;
use kopuro_core::time::{Clock, UnixMillis};
use kopuro_proto::examples::kg::civilregistry::v1::civil_registry_service_server::CivilRegistryServiceServer;
use kopuro_proto::examples::kg::socialfund::v1::pension_service_server::PensionServiceServer;
use kopuro_proto::examples::kg::socialfund::v1::personal_account_service_server::PersonalAccountServiceServer;
use kopuro_proto::examples::kg::traffic::v1::violation_service_server::ViolationServiceServer;
use kopuro_rpc::callers::{Caller, Callers};
use kopuro_rpc::listener::{ListenError, Listener, ListenerParts, ListenerSettings};
use kopuro_rpc::refusals::Refusals;
use kopuro_telemetry::audit::{AuditEvent, AuditSink};
use kopuro_telemetry::clock::SystemClock;
use kopuro_telemetry::metrics::Metrics;
use kopuro_trust::certificate::{TrustStore, VerifiedCertificate};
use kopuro_trust::tls::Identity;
use tokio::sync::watch;
use tonic::service::Routes;

use super::{CivilRegistry, Pensions, PersonalAccounts, Violations};

/// The pension system's services.
pub fn pensions() -> Router {
    let routes = Routes::new(PensionServiceServer::new(Pensions));
    routes.add_service(PersonalAccountServiceServer::new(PersonalAccounts)).into_axum_router()
}

/// The traffic police's service.
pub fn violations(violations: Violations) -> Router {
    Routes::new(ViolationServiceServer::new(violations)).into_axum_router()
}

/// The civil registry's service.
pub fn civil_registry() -> Router {
    Routes::new(CivilRegistryServiceServer::new(CivilRegistry::default())).into_axum_router()
}

/// Serves `router` on a free port of the loopback, to the holder of `gateway_key` only.
///
/// # Errors
/// [`ListenError`].
pub async fn serve(
    identity: &Identity,
    trust: Arc<TrustStore>,
    gateway_key: KeyId,
    router: Router,
) -> Result<Listener, ListenError> {
    let metrics = Metrics::new();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (_, changes) = watch::channel(0);
    let parts = ListenerParts {
        router,
        callers: Arc::new(OnlyGateway(gateway_key)),
        changes,
        refusals: Refusals::new(Arc::clone(&metrics), Arc::new(NoAudit), clock),
        metrics,
    };
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    Listener::start(address, (identity, trust), ListenerSettings::default(), parts).await
}

/// Lets in the agency's own gateway.
struct OnlyGateway(KeyId);

impl Callers for OnlyGateway {
    fn identify(&self, certificate: &VerifiedCertificate, _now: UnixMillis) -> Result<Caller, Reason> {
        let key_id = certificate.key_id();
        if key_id != self.0 {
            return Err(Reason::CertificateUnknown);
        }
        Ok(Caller { key_id, subsystems: Vec::new(), gateway: None, member: None })
    }
}

/// An agency's system keeps its own journal, if it keeps one; the examples keep none.
struct NoAudit;

impl AuditSink for NoAudit {
    fn record(&self, _event: AuditEvent) {}
}
