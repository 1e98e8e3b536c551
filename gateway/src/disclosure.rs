//! What reflection shows a caller: the methods that a subsystem of its may call.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use kopuro_core::digest::Digest;
use kopuro_core::error::Reason;
use kopuro_core::id::ServiceName;
use kopuro_core::time::{Clock, UnixMillis};
use kopuro_registry::contracts::Contracts;
use kopuro_registry::view::{Offer, View};
use kopuro_registry::views::Views;
use kopuro_rpc::callers::Caller;
use kopuro_rpc::reflection::{Disclosure, Shown};
use kopuro_schema::Contract;
use tokio::sync::Semaphore;

/// How many callers are told at once: compiling contracts is work.
const AT_ONCE: usize = 2;

/// Tells callers what the registry allows them.
pub(crate) struct RegisteredDisclosure {
    views: Arc<Views>,
    contracts: Arc<Contracts>,
    clock: Arc<dyn Clock>,
    turns: Semaphore,
}

impl RegisteredDisclosure {
    pub(crate) fn shared(
        views: Arc<Views>,
        contracts: Arc<Contracts>,
        clock: Arc<dyn Clock>,
    ) -> Arc<dyn Disclosure> {
        Arc::new(Self { views, contracts, clock, turns: Semaphore::new(AT_ONCE) })
    }
}

#[async_trait]
impl Disclosure for RegisteredDisclosure {
    async fn shown_to(&self, caller: &Caller) -> Result<Vec<Shown>, Reason> {
        let _turn = self.turns.acquire().await.map_err(|_| Reason::Internal)?;
        let now = self.clock.now();
        let view = self.views.deciding(now)?;
        let mut shown: HashMap<Digest, Shown> = HashMap::new();
        for service in view.services() {
            let Ok(offer) = view.offer(service, None, now) else { continue };
            // A contract that cannot be loaded can be called by nobody either.
            let Ok(contract) = self.contracts.get(&offer.contract.digest).await else { continue };
            let methods = callable(&view, caller, &offer, &contract, service, now);
            for (service, method) in methods {
                let descriptor_set = contract.descriptor_set();
                let shown = shown.entry(contract.digest()).or_insert_with(|| Shown {
                    descriptor_set: descriptor_set.clone(),
                    methods: BTreeMap::new(),
                });
                shown.methods.entry(service).or_default().insert(method);
            }
        }
        Ok(shown.into_values().collect())
    }
}

/// The methods of `service` that any subsystem of the caller may call, with the service's name.
fn callable(
    view: &View,
    caller: &Caller,
    offer: &Offer,
    contract: &Contract,
    service: &ServiceName,
    now: UnixMillis,
) -> Vec<(String, String)> {
    let Offer { provider, contract: registered } = offer;
    let methods =
        contract.methods().filter(|method| method.id().service() == service && !method.is_streaming());
    let allowed = methods.filter(|method| {
        let allows = |consumer| view.allows(consumer, provider, method.id(), registered.version, now).is_ok();
        caller.subsystems.iter().any(allows)
    });
    allowed.map(|method| (service.to_string(), method.id().method().to_owned())).collect()
}
