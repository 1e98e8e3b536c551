//! Composing and signing records, for the command line and for tests.
//!
//! Each function gives a resource that is in force, as it stands in a record. For another state take the type from
//! [`crate::record`], set its state, and write it with [`to_wire`].

use std::ops::RangeInclusive;

use kopuro_core::digest::{Digest, KeyId};
use kopuro_core::envelope::{Envelope, PayloadType, Signature, pre_authentication_encoding};
use kopuro_core::id::{Instance, MemberId, PackageName, ServiceName, SubsystemId};
use kopuro_core::time::UnixMillis;
use kopuro_proto::registry::v1 as wire;
use kopuro_proto::registry::v1::registry_record::Resource as WireResource;
use kopuro_schema::ContractError;
use kopuro_trust::signing::Signer;
use prost::Message as _;

use crate::record::{
    AccessRight, Contract, Gateway, Grantee, Group, GroupId, Key, KeyPurpose, KeyState, Member,
    PackageOwnership, Resource, ResourceState, Subsystem, to_wire,
};

/// Why a resource could not be composed.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// The descriptor set is no contract; its owner must act.
    #[error("the descriptor set is no contract")]
    Contract(#[from] ContractError),
    /// The descriptor set defines no service in the package.
    #[error("the descriptor set defines no service in package {0}")]
    NoService(PackageName),
}

/// Signs a record that sets `resource`, replacing revision `replaces` of it.
///
/// **Shape:** the canonical encoding of a DSSE envelope, its signatures in the order of their key ids. Without a signer,
/// or with the same one twice, nobody accepts it.
pub fn sign_record(
    instance: &Instance,
    replaces: Option<u64>,
    now: UnixMillis,
    resource: WireResource,
    signers: &[&Signer],
) -> Vec<u8> {
    let record = wire::RegistryRecord {
        instance: instance.to_string(),
        replaces,
        create_time: Some(now.to_proto()),
        resource: Some(resource),
    };
    sign(PayloadType::RegistryRecord, record.encode_to_vec(), signers)
}

/// Signs the word that the contract with this digest was vetted.
pub fn sign_attestation(instance: &Instance, digest: &Digest, now: UnixMillis, signer: &Signer) -> Vec<u8> {
    let attestation = wire::Attestation {
        instance: instance.to_string(),
        digest: digest.as_bytes().to_vec(),
        create_time: Some(now.to_proto()),
    };
    sign(PayloadType::Attestation, attestation.encode_to_vec(), &[signer])
}

/// A member whose topics have `partitions` partitions each.
pub fn member(id: &MemberId, title: &str, partitions: u32) -> WireResource {
    let (id, title) = (id.clone(), title.to_owned());
    to_wire(&Resource::Member(Member { id, title, state: ResourceState::Active, partitions }))
}

/// A subsystem.
pub fn subsystem(id: &SubsystemId, title: &str) -> WireResource {
    let (id, title) = (id.clone(), title.to_owned());
    to_wire(&Resource::Subsystem(Subsystem { id, title, state: ResourceState::Active }))
}

/// A gateway that speaks for `members`.
pub fn gateway(id: &str, members: &[MemberId]) -> WireResource {
    let (id, members) = (id.to_owned(), members.to_vec());
    to_wire(&Resource::Gateway(Gateway { id, members, state: ResourceState::Active }))
}

/// Begins a key record for the public key `spki_der`, an active key of the authority unless more is said.
pub fn key(spki_der: &[u8], purpose: KeyPurpose, validity: RangeInclusive<UnixMillis>) -> KeyDraft {
    let (not_before, not_after) = validity.into_inner();
    KeyDraft(Key {
        id: KeyId::of_spki(spki_der),
        spki: spki_der.to_vec(),
        purpose,
        state: KeyState::Active,
        member: None,
        subsystems: Vec::new(),
        gateway: None,
        not_before,
        not_after,
    })
}

/// A key record in the making.
#[derive(Clone, Debug)]
pub struct KeyDraft(Key);

impl KeyDraft {
    /// Says whose key it is.
    #[must_use]
    pub fn of_member(mut self, member: &MemberId) -> Self {
        self.0.member = Some(member.clone());
        self
    }

    /// Says for which subsystems it speaks.
    #[must_use]
    pub fn for_subsystems(mut self, subsystems: &[SubsystemId]) -> Self {
        self.0.subsystems = subsystems.to_vec();
        self
    }

    /// Says which gateway holds it.
    #[must_use]
    pub fn held_by(mut self, gateway: &str) -> Self {
        self.0.gateway = Some(gateway.to_owned());
        self
    }

    /// Retires or revokes it.
    #[must_use]
    pub fn in_state(mut self, state: KeyState) -> Self {
        self.0.state = state;
        self
    }

    /// The finished key.
    pub fn build(self) -> WireResource {
        to_wire(&Resource::Key(self.0))
    }
}

/// The grant of a package, and what lies beneath it, to a member.
pub fn package_ownership(package: &PackageName, member: &MemberId) -> WireResource {
    let (package, member) = (package.clone(), member.clone());
    to_wire(&Resource::PackageOwnership(PackageOwnership { package, member, state: ResourceState::Active }))
}

/// A version of the contract that `subsystem` offers: all services that the descriptor set defines in `package`.
///
/// # Errors
/// [`ComposeError`]; the contract's owner must act.
pub fn contract(
    subsystem: &SubsystemId,
    package: &PackageName,
    version: u32,
    descriptor_set: &[u8],
) -> Result<WireResource, ComposeError> {
    let loaded = kopuro_schema::Contract::load(descriptor_set)?;
    let services = services_of(&loaded, package);
    if services.is_empty() {
        return Err(ComposeError::NoService(package.clone()));
    }
    Ok(to_wire(&Resource::Contract(Contract {
        package: package.clone(),
        subsystem: subsystem.clone(),
        digest: loaded.digest(),
        size_bytes: descriptor_set.len() as u64,
        services,
        version,
        state: ResourceState::Active,
        deprecated_after: None,
    })))
}

/// The services that a contract defines in exactly this package, by name.
pub(crate) fn services_of(contract: &kopuro_schema::Contract, package: &PackageName) -> Vec<ServiceName> {
    contract.services().into_iter().filter(|service| service.package() == *package).cloned().collect()
}

/// The right of `grantee` to call one method of a service of `provider`, or all of it, without end.
pub fn access_right(
    provider: &SubsystemId,
    grantee: Grantee,
    service: &ServiceName,
    method: Option<&str>,
) -> WireResource {
    to_wire(&Resource::AccessRight(AccessRight {
        provider: provider.clone(),
        grantee,
        service: service.clone(),
        method: method.map(str::to_owned),
        state: ResourceState::Active,
        not_before: None,
        not_after: None,
        contract_version_min: 0,
    }))
}

/// A group of subsystems.
pub fn group(id: GroupId, subsystems: &[SubsystemId]) -> WireResource {
    let subsystems = subsystems.to_vec();
    to_wire(&Resource::Group(Group { id, subsystems, state: ResourceState::Active }))
}

fn sign(payload_type: PayloadType, payload: Vec<u8>, signers: &[&Signer]) -> Vec<u8> {
    let signed_bytes = pre_authentication_encoding(payload_type, &payload);
    let sign = |signer: &&Signer| Signature { key_id: signer.key_id(), bytes: signer.sign(&signed_bytes) };
    let mut signatures: Vec<_> = signers.iter().map(sign).collect();
    signatures.sort_by_key(|signature| signature.key_id);
    Envelope { payload_type, payload, signatures }.encode()
}
