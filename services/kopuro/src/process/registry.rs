//! The registry's role: the one writer of the log, as a service.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use kopuro_gateway::{RegisteredCallers, trust_of};
use kopuro_proto::registry::v1::registry_service_server::RegistryServiceServer;
use kopuro_registry::publish::{Publisher, PublisherKeys};
use kopuro_registry::service::RegistryEndpoint;
use kopuro_rpc::authorize::{Rule, Table};
use kopuro_rpc::listener::{Listener, ListenerParts, ListenerSettings};
use kopuro_rpc::refusals::Refusals;
use kopuro_trust::signing::Signer;
use kopuro_trust::tls::Identity;
use tonic::service::Routes;

use super::{Shared, bootstrap};
use crate::config::RegistryConfig;

/// Who may call what: whoever has a registered key may read and submit, since a record's signature decides what it may
/// change.
const TABLE: [(&str, Rule); 4] = [
    ("/kopuro.registry.v1.RegistryService/SubmitRecord", Rule::AnyCaller),
    ("/kopuro.registry.v1.RegistryService/ListRecords", Rule::AnyCaller),
    ("/kopuro.registry.v1.RegistryService/GetCheckpoint", Rule::AnyCaller),
    ("/kopuro.registry.v1.RegistryService/GetContract", Rule::AnyCaller),
];

/// The registry service at work.
pub(super) struct RegistryRole {
    listener: Listener,
    _publisher: Arc<Publisher>,
}

impl RegistryRole {
    pub(super) async fn start(config: &RegistryConfig, shared: &Shared) -> anyhow::Result<Self> {
        let identity =
            Identity::from_pem_files(&config.certificate, &config.key).context("certificate or key")?;
        let keys = PublisherKeys {
            checkpoint: Signer::from_pem_file(&config.checkpoint_key).context("the checkpoint key")?,
            attestation: Signer::from_pem_file(&config.attestation_key).context("the attestation key")?,
        };
        let publisher = Publisher::open(
            Arc::clone(&shared.broker),
            shared.anchor.clone(),
            keys,
            Arc::clone(&shared.clock),
            Arc::clone(&shared.metrics),
        )
        .await?;
        if let Some(folder) = &config.bootstrap {
            let submitted = bootstrap::submit(&publisher, folder).await?;
            tracing::info!(records = submitted, "the founding records are in the log");
        }
        let listener = listen(config.listen, &identity, shared, &publisher).await?;
        Ok(Self { listener, _publisher: publisher })
    }

    pub(super) fn local_addr(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    pub(super) async fn stop(self) {
        self.listener.stop();
        self.listener.stopped().await;
    }
}

async fn listen(
    address: SocketAddr,
    identity: &Identity,
    shared: &Shared,
    publisher: &Arc<Publisher>,
) -> anyhow::Result<Listener> {
    let views = Arc::clone(&shared.following.views);
    let (audit, metrics) = (Arc::clone(&shared.audit), Arc::clone(&shared.metrics));
    let refusals = Refusals::new(Arc::clone(&metrics), audit, Arc::clone(&shared.clock));
    let endpoint = RegistryEndpoint::new(Arc::clone(publisher), Arc::clone(&shared.following.contracts));
    let routes = Routes::new(RegistryServiceServer::new(endpoint)).prepare().into_axum_router();
    let parts = ListenerParts {
        router: Table::new(TABLE).guard(routes, Arc::clone(&refusals)),
        changes: views.changes(),
        callers: Arc::new(RegisteredCallers { views }),
        refusals,
        metrics,
    };
    let trust = trust_of(&shared.anchor)?;
    Ok(Listener::start(address, (identity, trust), ListenerSettings::default(), parts).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_of_the_registry_stands_in_the_table() {
        let table = Table::new(TABLE);
        let services = ["kopuro.registry.v1.RegistryService"];
        let differences = table.differences(kopuro_proto::FILE_DESCRIPTOR_SET, &services);
        assert_eq!(differences, [Vec::<String>::new(), Vec::new()]);
    }
}
