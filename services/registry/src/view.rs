//! The view: what the registry's records add up to, verified one by one.
//!
//! A view is plain data. It is built by applying log entries in order, and asked by the lookups in this module's
//! children; nothing in it can be had without a signature that allows it.

mod authority;
mod lookup;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use kopuro_core::digest::{Digest, KeyId};
use kopuro_core::envelope::Envelope;
use kopuro_core::id::{MemberId, PackageName, ServiceName, SubsystemId};
use kopuro_core::statement::ViewStamp;
use kopuro_tlog::Frontier;
use kopuro_trust::sealing::SealingPublicKey;
use kopuro_trust::signing::VerifyingKey;

use crate::anchor::Anchor;
use crate::record::{
    AccessRight, Change, Contract, Entry, Gateway, Group, GroupId, Key, KeyPurpose, Member, PackageOwnership,
    RecordError, Resource, Subsystem,
};

pub use lookup::Offer;

/// Why an entry does not become part of the view.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The entry is malformed.
    #[error("the entry is malformed")]
    Record(#[from] RecordError),
    /// The entry is for another instance.
    #[error("the record is for another instance")]
    Instance,
    /// A signature does not verify, or those who must sign have not.
    #[error("the record is not signed by those who may make the change: {0}")]
    NotAuthorized(&'static str),
    /// The resource has another revision than the one that the record replaces.
    #[error("the record replaces a revision that is not the latest one")]
    Conflict {
        /// The latest revision of the resource.
        latest: Option<u64>,
    },
    /// The record contradicts what the view holds.
    #[error("the record breaks a rule: {0}")]
    Rule(&'static str),
}

/// A key with what is computed from it once.
#[derive(Clone, Debug)]
pub struct KnownKey {
    /// The record.
    pub key: Key,
    /// The key itself, ready to use.
    pub material: KeyMaterial,
}

/// A public key, ready for its purpose.
#[derive(Clone, Debug)]
pub enum KeyMaterial {
    /// It is only compared with the key of a certificate.
    Transport,
    /// It verifies signatures.
    Verifying(VerifyingKey),
    /// It seals content.
    Sealing(SealingPublicKey),
}

/// Everything known of the instance at one size of the log.
#[derive(Clone, Debug)]
pub struct View {
    anchor: Arc<Anchor>,
    log: Frontier,
    revisions: HashMap<String, u64>,
    members: HashMap<MemberId, Arc<Member>>,
    subsystems: HashMap<SubsystemId, Arc<Subsystem>>,
    gateways: HashMap<String, Arc<Gateway>>,
    keys: HashMap<KeyId, Arc<KnownKey>>,
    sealing_keys: HashMap<SubsystemId, Vec<KeyId>>,
    packages: HashMap<PackageName, Arc<PackageOwnership>>,
    contracts: HashMap<SubsystemId, Vec<Arc<Contract>>>,
    offers: HashMap<ServiceName, Vec<SubsystemId>>,
    attested: HashSet<Digest>,
    rights: HashMap<SubsystemId, HashMap<ServiceName, Vec<Arc<AccessRight>>>>,
    groups: HashMap<GroupId, Arc<HashSet<SubsystemId>>>,
}

impl View {
    /// The view of an empty log.
    pub fn new(anchor: Anchor) -> Self {
        Self {
            anchor: Arc::new(anchor),
            log: Frontier::default(),
            revisions: HashMap::new(),
            members: HashMap::new(),
            subsystems: HashMap::new(),
            gateways: HashMap::new(),
            keys: HashMap::new(),
            sealing_keys: HashMap::new(),
            packages: HashMap::new(),
            contracts: HashMap::new(),
            offers: HashMap::new(),
            attested: HashSet::new(),
            rights: HashMap::new(),
            groups: HashMap::new(),
        }
    }

    /// What the view was built from.
    pub fn anchor(&self) -> &Anchor {
        &self.anchor
    }

    /// The size and Merkle root of the log that the view was built from.
    pub fn stamp(&self) -> ViewStamp {
        ViewStamp { size: self.log.size(), root: self.log.root() }
    }

    /// The latest revision of a resource, by the name that [`Resource::name`] gives it.
    pub fn revision(&self, resource_name: &str) -> Option<u64> {
        self.revisions.get(resource_name).copied()
    }

    /// Adds the next log entry, if it is well-formed, signed by those who may, and replaces the latest revision.
    /// Gives back its revision. On an error the view is unchanged.
    ///
    /// # Errors
    /// [`ApplyError`]; the submitter must act, or, for an entry read from the broker, the operator.
    pub fn apply(&mut self, bytes: &[u8]) -> Result<u64, ApplyError> {
        let (envelope, entry) = Entry::decode(bytes)?;
        match entry {
            Entry::Change(change) => self.apply_change(&envelope, change)?,
            Entry::Attestation { instance, digest } => {
                self.check_instance(&instance)?;
                self.check_delegate(&envelope, KeyPurpose::Attestation)?;
                self.attested.insert(digest);
            }
        }
        let revision = self.log.size();
        self.log.push(&crate::record::entry_digest(bytes));
        Ok(revision)
    }

    fn apply_change(&mut self, envelope: &Envelope, change: Change) -> Result<(), ApplyError> {
        let Change { instance, replaces, create_time, resource } = change;
        self.check_instance(&instance)?;
        self.check_resource_instance(&resource)?;
        self.check_signatures(envelope, &resource, create_time)?;
        let name = resource.name();
        let latest = self.revision(&name);
        if latest != replaces {
            return Err(ApplyError::Conflict { latest });
        }
        self.set(resource)?;
        self.revisions.insert(name, self.log.size());
        Ok(())
    }

    fn check_instance(&self, instance: &kopuro_core::id::Instance) -> Result<(), ApplyError> {
        if *instance == self.anchor.instance { Ok(()) } else { Err(ApplyError::Instance) }
    }

    fn check_resource_instance(&self, resource: &Resource) -> Result<(), ApplyError> {
        let instance = match resource {
            Resource::Member(member) => member.id.instance(),
            Resource::Subsystem(subsystem) => subsystem.id.instance(),
            Resource::Contract(contract) => contract.subsystem.instance(),
            Resource::AccessRight(right) => right.provider.instance(),
            Resource::PackageOwnership(ownership) => ownership.member.instance(),
            Resource::Gateway(_) | Resource::Key(_) | Resource::Group(_) => return Ok(()),
        };
        self.check_instance(&instance)
    }

    fn set(&mut self, resource: Resource) -> Result<(), ApplyError> {
        match resource {
            Resource::Member(member) => self.set_member(member),
            Resource::Subsystem(subsystem) => self.set_subsystem(subsystem),
            Resource::Gateway(gateway) => {
                self.gateways.insert(gateway.id.clone(), Arc::new(gateway));
                Ok(())
            }
            Resource::Key(key) => self.set_key(key),
            Resource::PackageOwnership(ownership) => {
                self.require_member(&ownership.member)?;
                self.packages.insert(ownership.package.clone(), Arc::new(ownership));
                Ok(())
            }
            Resource::Contract(contract) => self.set_contract(contract),
            Resource::AccessRight(right) => self.set_right(right),
            Resource::Group(Group { id, subsystems, state }) => {
                let in_force = state == crate::record::ResourceState::Active;
                let subsystems = if in_force { subsystems.into_iter().collect() } else { HashSet::new() };
                self.groups.insert(id, Arc::new(subsystems));
                Ok(())
            }
        }
    }

    fn set_member(&mut self, member: Member) -> Result<(), ApplyError> {
        let partitions = self.members.get(&member.id).map(|known| known.partitions);
        if partitions.is_some_and(|partitions| partitions != member.partitions) {
            return Err(ApplyError::Rule("a member's number of partitions is fixed"));
        }
        self.members.insert(member.id.clone(), Arc::new(member));
        Ok(())
    }

    fn set_subsystem(&mut self, subsystem: Subsystem) -> Result<(), ApplyError> {
        self.require_member(&subsystem.id.member())?;
        self.subsystems.insert(subsystem.id.clone(), Arc::new(subsystem));
        Ok(())
    }

    fn set_key(&mut self, key: Key) -> Result<(), ApplyError> {
        if let Some(known) = self.keys.get(&key.id) {
            let Key { purpose, member, .. } = &known.key;
            if *purpose != key.purpose || *member != key.member {
                return Err(ApplyError::Rule("a key keeps its purpose and its member"));
            }
            if known.key.state == crate::record::KeyState::Revoked {
                return Err(ApplyError::Rule("a revoked key stays revoked"));
            }
        }
        if key.subsystems.iter().any(|subsystem| !self.subsystems.contains_key(subsystem)) {
            return Err(ApplyError::Rule("the key speaks for a subsystem that is not registered"));
        }
        let material = ready(&key)?;
        if key.purpose == KeyPurpose::Sealing {
            for subsystem in &key.subsystems {
                let keys = self.sealing_keys.entry(subsystem.clone()).or_default();
                keys.retain(|id| *id != key.id);
                keys.push(key.id);
            }
        }
        self.keys.insert(key.id, Arc::new(KnownKey { key, material }));
        Ok(())
    }

    fn set_contract(&mut self, contract: Contract) -> Result<(), ApplyError> {
        if !self.subsystems.contains_key(&contract.subsystem) {
            return Err(ApplyError::Rule("the contract is offered by a subsystem that is not registered"));
        }
        for service in &contract.services {
            let offers = self.offers.entry(service.clone()).or_default();
            if !offers.contains(&contract.subsystem) {
                offers.push(contract.subsystem.clone());
            }
        }
        let versions = self.contracts.entry(contract.subsystem.clone()).or_default();
        versions.retain(|known| known.package != contract.package || known.version != contract.version);
        versions.push(Arc::new(contract));
        versions.sort_by_key(|known| std::cmp::Reverse(known.version));
        Ok(())
    }

    fn set_right(&mut self, right: AccessRight) -> Result<(), ApplyError> {
        if !self.subsystems.contains_key(&right.provider) {
            return Err(ApplyError::Rule("the right is given by a subsystem that is not registered"));
        }
        let services = self.rights.entry(right.provider.clone()).or_default();
        let rights = services.entry(right.service.clone()).or_default();
        rights.retain(|known| known.grantee != right.grantee || known.method != right.method);
        rights.push(Arc::new(right));
        Ok(())
    }

    fn require_member(&self, member: &MemberId) -> Result<(), ApplyError> {
        if self.members.contains_key(member) {
            Ok(())
        } else {
            Err(ApplyError::Rule("the member is not registered"))
        }
    }
}

fn ready(key: &Key) -> Result<KeyMaterial, ApplyError> {
    let unusable = ApplyError::Rule("the public key is of no kind that the bus uses");
    match key.purpose {
        KeyPurpose::Transport => Ok(KeyMaterial::Transport),
        KeyPurpose::Sealing => {
            SealingPublicKey::from_spki_der(&key.spki).map(KeyMaterial::Sealing).map_err(|_| unusable)
        }
        KeyPurpose::Signing
        | KeyPurpose::Administration
        | KeyPurpose::Checkpoint
        | KeyPurpose::Attestation
        | KeyPurpose::Authority => {
            VerifyingKey::from_spki_der(&key.spki).map(KeyMaterial::Verifying).map_err(|_| unusable)
        }
    }
}
