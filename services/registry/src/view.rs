//! The view: what the registry's records add up to, verified one by one.
//!
//! A view is plain data. It is built by applying log entries in order, and asked by the lookups in this module's
//! children; nothing in it can be had without a signature that allows it.

mod authority;
mod lookup;
mod retirement;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use kopuro_core::digest::{Digest, KeyId};
use kopuro_core::envelope::Envelope;
use kopuro_core::id::{Instance, MemberId, ServiceName, SubsystemId};
use kopuro_core::statement::ViewStamp;
use kopuro_core::time::UnixMillis;
use kopuro_tlog::Frontier;
use kopuro_trust::sealing::SealingPublicKey;
use kopuro_trust::signing::VerifyingKey;

use crate::anchor::Anchor;
use crate::record::{
    AccessRight, Change, Contract, Entry, Gateway, Grantee, Group, GroupId, Key, KeyPurpose, Member,
    PackageOwnership, RecordError, Resource, ResourceState, Subsystem, entry_digest,
};

pub use lookup::Offer;
pub use retirement::Retirement;

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
    /// When it was retired, if it is.
    pub retirement: Option<Retirement>,
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

/// Everything known of the instance at one size of the log. Cloning it shares what lies beneath the maps, since a view
/// is cloned for every change that it makes visible.
#[derive(Clone, Debug)]
pub struct View {
    anchor: Arc<Anchor>,
    log: Frontier,
    revisions: HashMap<Arc<str>, u64>,
    members: HashMap<MemberId, Arc<Member>>,
    subsystems: HashMap<SubsystemId, Arc<Subsystem>>,
    gateways: HashMap<String, Arc<Gateway>>,
    keys: HashMap<KeyId, Arc<KnownKey>>,
    sealing_keys: HashMap<SubsystemId, Arc<Vec<KeyId>>>,
    packages: HashMap<String, Arc<PackageOwnership>>,
    contracts: HashMap<SubsystemId, Vec<Arc<Contract>>>,
    offers: HashMap<ServiceName, Vec<SubsystemId>>,
    attested: HashSet<Digest>,
    rights: HashMap<SubsystemId, Arc<HashMap<ServiceName, Rights>>>,
    groups: HashMap<GroupId, Arc<HashSet<SubsystemId>>>,
}

/// The rights to one service of one provider, found by whom they let in: a popular service has thousands.
#[derive(Clone, Debug, Default)]
struct Rights {
    of_subsystems: HashMap<SubsystemId, Vec<Arc<AccessRight>>>,
    of_groups: Vec<Arc<AccessRight>>,
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

    /// What the view trusts from the start.
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

    /// Whether [`Self::apply`] would take an entry, and what the entry says.
    ///
    /// # Errors
    /// [`ApplyError`]; the submitter must act.
    pub fn check(&self, bytes: &[u8]) -> Result<Entry, ApplyError> {
        let (envelope, entry) = Entry::decode(bytes)?;
        match &entry {
            Entry::Change(change) => self.check_change(&envelope, change)?,
            Entry::Attestation { instance, digest, create_time } => {
                self.check_instance(instance)?;
                self.check_delegate(&envelope, KeyPurpose::Attestation, *create_time)?;
                // Otherwise the entry, appended again by anybody, would count as another one.
                if self.attested.contains(digest) {
                    return Err(ApplyError::Rule("the contract is attested"));
                }
            }
        }
        Ok(entry)
    }

    /// Adds the next log entry, if it is well-formed, signed by those who may, and replaces the latest revision.
    /// Gives back its revision. On an error the view is unchanged.
    ///
    /// # Errors
    /// [`ApplyError`]; the submitter must act, or, for an entry read from the broker, the operator.
    pub fn apply(&mut self, bytes: &[u8]) -> Result<u64, ApplyError> {
        let revision = self.log.size();
        match self.check(bytes)? {
            Entry::Change(Change { instance: _, replaces: _, create_time, resource }) => {
                let name = resource.name();
                self.set(resource, revision, create_time)?;
                self.revisions.insert(name.into(), revision);
            }
            Entry::Attestation { instance: _, digest, create_time: _ } => {
                self.attested.insert(digest);
            }
        }
        self.log.push(&entry_digest(bytes));
        Ok(revision)
    }

    fn check_change(&self, envelope: &Envelope, change: &Change) -> Result<(), ApplyError> {
        let Change { instance, replaces, create_time, resource } = change;
        self.check_instance(instance)?;
        self.check_signatures(envelope, resource, *create_time)?;
        let latest = self.revision(&resource.name());
        if latest != *replaces {
            return Err(ApplyError::Conflict { latest });
        }
        self.check_rules(resource)
    }

    fn check_instance(&self, instance: &Instance) -> Result<(), ApplyError> {
        if *instance == self.anchor.instance { Ok(()) } else { Err(ApplyError::Instance) }
    }

    /// Sets a resource that was checked. Nothing is changed before the last thing that can fail.
    fn set(&mut self, resource: Resource, revision: u64, create_time: UnixMillis) -> Result<(), ApplyError> {
        match resource {
            Resource::Member(member) => {
                self.members.insert(member.id.clone(), Arc::new(member));
            }
            Resource::Subsystem(subsystem) => {
                self.subsystems.insert(subsystem.id.clone(), Arc::new(subsystem));
            }
            Resource::Gateway(gateway) => {
                self.gateways.insert(gateway.id.clone(), Arc::new(gateway));
            }
            Resource::Key(key) => {
                let material = rules::ready(&key)?;
                self.set_key(key, material, Retirement { revision, create_time });
            }
            Resource::PackageOwnership(ownership) => {
                self.packages.insert(ownership.package.as_str().to_owned(), Arc::new(ownership));
            }
            Resource::Contract(contract) => self.set_contract(contract),
            Resource::AccessRight(right) => self.set_right(right),
            Resource::Group(Group { id, subsystems, state }) => {
                let in_force = state == ResourceState::Active;
                let subsystems = if in_force { subsystems.into_iter().collect() } else { HashSet::new() };
                self.groups.insert(id, Arc::new(subsystems));
            }
        }
        Ok(())
    }

    fn set_key(&mut self, key: Key, material: KeyMaterial, record: Retirement) {
        if key.purpose == KeyPurpose::Sealing {
            self.index_sealing_key(&key);
        }
        let retirement = Retirement::after(record, &key, self.keys.get(&key.id).map(AsRef::as_ref));
        self.keys.insert(key.id, Arc::new(KnownKey { key, material, retirement }));
    }

    /// Keeps, for every subsystem, the sealing keys that speak for it, in the order in which they first did.
    fn index_sealing_key(&mut self, key: &Key) {
        let before = self.keys.get(&key.id).map_or([].as_slice(), |known| known.key.subsystems.as_slice());
        for dropped in before.iter().filter(|subsystem| !key.subsystems.contains(subsystem)) {
            self.sealing_keys
                .entry(dropped.clone())
                .and_modify(|keys| Arc::make_mut(keys).retain(|id| *id != key.id));
        }
        for subsystem in &key.subsystems {
            let keys = Arc::make_mut(self.sealing_keys.entry(subsystem.clone()).or_default());
            if !keys.contains(&key.id) {
                keys.push(key.id);
            }
        }
    }

    fn set_contract(&mut self, contract: Contract) {
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
    }

    fn set_right(&mut self, right: AccessRight) {
        let services = Arc::make_mut(self.rights.entry(right.provider.clone()).or_default());
        let rights = services.entry(right.service.clone()).or_default();
        let rights = match &right.grantee {
            Grantee::Subsystem(subsystem) => rights.of_subsystems.entry(subsystem.clone()).or_default(),
            Grantee::Group(_) => &mut rights.of_groups,
        };
        rights.retain(|known| known.grantee != right.grantee || known.method != right.method);
        rights.push(Arc::new(right));
    }
}
