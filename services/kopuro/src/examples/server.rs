//! Serving the example systems over mutual TLS, to their own gateway only.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
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
use kopuro_trust::pki::spki_of_pem_certificate;
use kopuro_trust::tls::Identity;
use tokio::sync::watch;
use tonic::service::Routes;

use crate::client::trust_store;
use crate::config::{Config, SystemConfig};
use crate::development::{Agency, Development};

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

/// Example systems at work, each behind the certificate that a development instance made for it.
pub struct Systems {
    /// Where each serves, by its subsystem's code.
    pub endpoints: BTreeMap<String, String>,
    _listeners: Vec<Listener>,
}

impl Systems {
    /// The example systems of those subsystems for which `config` names no system, each named there in turn: whoever
    /// names a system of his own takes the example's place.
    ///
    /// # Errors
    /// As [`Self::start_with`].
    pub async fn stand_in(
        development: &Development,
        config: &mut Config,
        payments: &Violations,
    ) -> anyhow::Result<Self> {
        let examples = [
            ("civil-registry", civil_registry()),
            ("pensions", pensions()),
            ("violations", violations(payments.clone())),
        ];
        let missing = examples.into_iter().filter(|(code, _)| vacancy(development, config, code).is_some());
        let started = Self::start_with(development, missing.collect::<Vec<_>>()).await?;
        for (code, endpoint) in &started.endpoints {
            if let Some((gateway, subsystem)) = vacancy(development, config, code) {
                let system = SystemConfig { subsystem, endpoint: endpoint.clone() };
                config.gateways[gateway].systems.push(system);
            }
        }
        Ok(started)
    }

    /// Systems of a development instance, by subsystem code, each let in by its agency's gateway only.
    ///
    /// # Errors
    /// When a certificate of the instance cannot be used, or no port is free.
    pub async fn start_with(
        development: &Development,
        served: impl IntoIterator<Item = (&str, Router)>,
    ) -> anyhow::Result<Self> {
        let trust = trust_store(&development.tls_authority()).context("the authority cannot be read")?;
        let (mut endpoints, mut listeners) = (BTreeMap::new(), Vec::new());
        for (code, router) in served {
            let files = development.system(code);
            let identity = Identity::from_pem_files(&files.chain, &files.key)?;
            let agency = Agency::of_system(code).context("an example system belongs to an agency")?;
            let certificate = std::fs::read(development.gateway(agency.gateway).chain)?;
            let gateway = KeyId::of_spki(&spki_of_pem_certificate(&certificate)?);
            let listener = serve(&identity, Arc::clone(&trust), gateway, router).await?;
            endpoints.insert(code.to_owned(), format!("https://{}", listener.local_addr()));
            listeners.push(listener);
        }
        Ok(Self { endpoints, _listeners: listeners })
    }
}

/// The gateway behind which a subsystem of the example agencies belongs, and the subsystem, when no system is named for
/// it there.
fn vacancy(development: &Development, config: &Config, code: &str) -> Option<(usize, String)> {
    let agency = Agency::of_system(code)?;
    let system = agency.systems.iter().find(|system| system.code == code)?;
    let subsystem = agency.subsystem(development.instance(), system).to_string();
    let at = config.gateways.iter().position(|gateway| gateway.id == agency.gateway)?;
    let named = config.gateways[at].systems.iter().any(|named| named.subsystem == subsystem);
    (!named).then_some((at, subsystem))
}

/// Serves `router` on a free port of the loopback, to the holder of `gateway_key` only.
async fn serve(
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
