//! What a gateway asks of the view. Each answer is a fact or the reason of the refusal.

use std::sync::Arc;

use kopuro_core::digest::{Digest, KeyId};
use kopuro_core::error::Reason;
use kopuro_core::id::{MemberId, MethodId, ServiceName, SubsystemId};
use kopuro_core::statement::Statement;
use kopuro_core::time::UnixMillis;
use kopuro_trust::sealing::SealingPublicKey;
use kopuro_trust::signing::VerifyingKey;

use super::{KeyMaterial, View};
use crate::record::{AccessRight, Contract, Grantee, Key, KeyPurpose, KeyState, ResourceState};

/// A service as one subsystem offers it.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The provider.
    pub provider: SubsystemId,
    /// The newest contract version in force that has the service.
    pub contract: Arc<Contract>,
}

impl View {
    /// The key of a TLS peer, if it may connect now.
    ///
    /// # Errors
    /// [`Reason::CertificateUnknown`] or [`Reason::CertificateRevoked`].
    pub fn transport_key(&self, id: &KeyId, now: UnixMillis) -> Result<&Key, Reason> {
        let known = self.keys.get(id).filter(|known| known.key.purpose == KeyPurpose::Transport);
        let key = &known.ok_or(Reason::CertificateUnknown)?.key;
        if fresh(key, now) && self.holder_in_force(key) { Ok(key) } else { Err(Reason::CertificateRevoked) }
    }

    /// The key that verifies a statement. A retired key verifies what its signer made before it could have heard of
    /// the retirement, for as long as that may be on its way: less than half an hour after the record that retired it
    /// was signed.
    ///
    /// # Errors
    /// [`Reason::SignerUnknown`] when the key may not speak for the sender, or not any more.
    pub fn signing_key(
        &self,
        id: &KeyId,
        statement: &Statement,
        now: UnixMillis,
    ) -> Result<&VerifyingKey, Reason> {
        let sender = &statement.sender;
        let known = self.keys.get(id).filter(|known| {
            let Key { purpose, state, subsystems, not_before, not_after, .. } = &known.key;
            *purpose == KeyPurpose::Signing
                && *state != KeyState::Revoked
                && known.retirement.is_none_or(|retirement| retirement.spares(statement, now))
                && (*not_before..=*not_after).contains(&now)
                && subsystems.contains(sender)
                && self.holder_serves(&known.key, sender)
        });
        match known.map(|known| &known.material) {
            Some(KeyMaterial::Verifying(key)) => Ok(key),
            Some(KeyMaterial::Transport | KeyMaterial::Sealing(_)) | None => Err(Reason::SignerUnknown),
        }
    }

    /// The newest active key to which content for `subsystem` is sealed.
    ///
    /// # Errors
    /// [`Reason::RecipientKeyMissing`].
    pub fn sealing_key(&self, subsystem: &SubsystemId, now: UnixMillis) -> Result<&SealingPublicKey, Reason> {
        let ids = self.sealing_keys.get(subsystem).map_or([].as_slice(), |ids| ids.as_slice());
        let known = ids.iter().rev().filter_map(|id| self.keys.get(id)).find(|known| fresh(&known.key, now));
        match known.map(|known| &known.material) {
            Some(KeyMaterial::Sealing(key)) => Ok(key),
            Some(KeyMaterial::Transport | KeyMaterial::Verifying(_)) | None => {
                Err(Reason::RecipientKeyMissing)
            }
        }
    }

    /// The active keys that the authority delegates for a purpose. Their validity is for the caller to hold against the
    /// time of what they signed.
    pub fn delegate_keys(&self, purpose: KeyPurpose) -> impl Iterator<Item = (&Key, &VerifyingKey)> {
        let active = self.keys.values().filter(move |known| {
            known.key.purpose == purpose && known.key.state == KeyState::Active && known.key.member.is_none()
        });
        active.filter_map(|known| match &known.material {
            KeyMaterial::Verifying(key) => Some((&known.key, key)),
            KeyMaterial::Transport | KeyMaterial::Sealing(_) => None,
        })
    }

    /// Whether the registry has vouched for the contract with this digest.
    pub fn is_attested(&self, digest: &Digest) -> bool {
        self.attested.contains(digest)
    }

    /// Who provides a service: the owner of its package, or the subsystem that the caller names.
    ///
    /// # Errors
    /// [`Reason::ServiceUnknown`] when nobody offers it, [`Reason::ProviderUnknown`] when the one named does not.
    pub fn offer(
        &self,
        service: &ServiceName,
        named: Option<&SubsystemId>,
        now: UnixMillis,
    ) -> Result<Offer, Reason> {
        let offers = self.offers.get(service).map_or([].as_slice(), Vec::as_slice);
        let mut offers =
            offers.iter().filter_map(|provider| self.offer_of(provider, service, now)).peekable();
        offers.peek().ok_or(Reason::ServiceUnknown)?;
        match named {
            Some(named) => offers.find(|offer| offer.provider == *named).ok_or(Reason::ProviderUnknown),
            None => offers.next().ok_or(Reason::ServiceUnknown),
        }
    }

    fn offer_of(&self, provider: &SubsystemId, service: &ServiceName, now: UnixMillis) -> Option<Offer> {
        let contract = self.newest(provider, service, now)?;
        Some(Offer { provider: provider.clone(), contract: Arc::clone(contract) })
    }

    fn newest(
        &self,
        provider: &SubsystemId,
        service: &ServiceName,
        now: UnixMillis,
    ) -> Option<&Arc<Contract>> {
        self.contracts.get(provider)?.iter().find(|contract| self.serves(contract, service, now))
    }

    fn serves(&self, contract: &Contract, service: &ServiceName, now: UnixMillis) -> bool {
        contract.state == ResourceState::Active
            && contract.deprecated_after.is_none_or(|end| now <= end)
            && self.attested.contains(&contract.digest)
            && contract.services.contains(service)
            && self.owns_package_of(contract)
    }

    /// Whether the package is still the member's who offers it: the authority may have granted it to another since.
    fn owns_package_of(&self, contract: &Contract) -> bool {
        let owner = self.owner_of(contract.package.as_str());
        owner.is_some_and(|owner| contract.subsystem.belongs_to(owner))
    }

    /// The contract version, of whatever age, by which `provider` serves `service` under the digest that a statement
    /// names.
    pub fn contract_under(
        &self,
        provider: &SubsystemId,
        service: &ServiceName,
        digest: &Digest,
        now: UnixMillis,
    ) -> Option<&Arc<Contract>> {
        let versions = self.contracts.get(provider)?;
        versions.iter().find(|contract| contract.digest == *digest && self.serves(contract, service, now))
    }

    /// Every contract in force that `provider` offers, newest first.
    pub fn contracts_of(&self, provider: &SubsystemId) -> impl Iterator<Item = &Arc<Contract>> {
        let versions = self.contracts.get(provider).map_or([].as_slice(), Vec::as_slice);
        versions.iter().filter(|contract| contract.state == ResourceState::Active)
    }

    /// Every service that anybody offers.
    pub fn services(&self) -> impl Iterator<Item = &ServiceName> {
        self.offers.keys()
    }

    /// Whether `consumer` may call `method` of `provider`.
    ///
    /// # Errors
    /// [`Reason::MemberSuspended`] or [`Reason::AccessDenied`].
    pub fn allows(
        &self,
        consumer: &SubsystemId,
        provider: &SubsystemId,
        method: &MethodId,
        contract_version: u32,
        now: UnixMillis,
    ) -> Result<(), Reason> {
        self.takes_part(consumer)?;
        self.takes_part(provider)?;
        let rights = self.rights.get(provider).and_then(|services| services.get(method.service()));
        let granted = rights.is_some_and(|rights| {
            let own = rights.of_subsystems.get(consumer).map_or([].as_slice(), Vec::as_slice);
            let by_groups = rights.of_groups.iter().filter(|right| self.lets_in(&right.grantee, consumer));
            own.iter().chain(by_groups).any(|right| in_force(right, method, contract_version, now))
        });
        if granted { Ok(()) } else { Err(Reason::AccessDenied) }
    }

    fn lets_in(&self, grantee: &Grantee, consumer: &SubsystemId) -> bool {
        match grantee {
            Grantee::Subsystem(subsystem) => subsystem == consumer,
            Grantee::Group(group) => self.groups.get(group).is_some_and(|group| group.contains(consumer)),
        }
    }

    /// Whether a subsystem and its member are in force.
    ///
    /// # Errors
    /// [`Reason::MemberSuspended`].
    pub fn takes_part(&self, subsystem: &SubsystemId) -> Result<(), Reason> {
        let known = self.subsystems.get(subsystem).is_some_and(|known| known.state == ResourceState::Active);
        let member = self.members.get(&subsystem.member());
        let in_force = known && member.is_some_and(|member| member.state == ResourceState::Active);
        if in_force { Ok(()) } else { Err(Reason::MemberSuspended) }
    }

    /// The number of partitions of a member's topics.
    pub fn partitions(&self, member: &MemberId) -> Option<u32> {
        self.members.get(member).map(|member| member.partitions)
    }

    /// Whether `gateway` is in force and speaks for the member of `subsystem`.
    pub fn gateway_serves(&self, gateway: &str, subsystem: &SubsystemId) -> bool {
        self.gateways.get(gateway).is_some_and(|known| {
            let member = known.members.iter().any(|member| subsystem.belongs_to(member));
            known.state == ResourceState::Active && member
        })
    }

    /// Whether the gateway that holds a key, if one does, is in force.
    fn holder_in_force(&self, key: &Key) -> bool {
        key.gateway.as_ref().is_none_or(|gateway| {
            self.gateways.get(gateway).is_some_and(|known| known.state == ResourceState::Active)
        })
    }

    /// Whether the gateway that holds a key, if one does, is in force and speaks for the member of `sender`.
    fn holder_serves(&self, key: &Key, sender: &SubsystemId) -> bool {
        key.gateway.as_ref().is_none_or(|gateway| self.gateway_serves(gateway, sender))
    }

    /// Every subsystem that the members of `gateway` have.
    pub fn subsystems_of_gateway<'a>(&'a self, gateway: &'a str) -> impl Iterator<Item = &'a SubsystemId> {
        self.subsystems.keys().filter(move |subsystem| self.gateway_serves(gateway, subsystem))
    }
}

fn fresh(key: &Key, now: UnixMillis) -> bool {
    key.state == KeyState::Active && (key.not_before..=key.not_after).contains(&now)
}

fn in_force(right: &AccessRight, method: &MethodId, contract_version: u32, now: UnixMillis) -> bool {
    right.state == ResourceState::Active
        && right.method.as_deref().is_none_or(|granted| granted == method.method())
        && right.not_before.is_none_or(|start| now >= start)
        && right.not_after.is_none_or(|end| now <= end)
        && contract_version >= right.contract_version_min
}
