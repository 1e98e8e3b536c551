//! The authority of KG, the Social Fund and the traffic police.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use kopuro_core::digest::Digest;
use kopuro_core::id::{Instance, MemberId, PackageName, ServiceName, SubsystemId};
use kopuro_core::time::{Clock, UnixMillis};
use kopuro_proto::registry::v1::registry_record::Resource as WireResource;
use kopuro_tlog::checkpoint::Checkpoint;
use kopuro_trust::pki::NewKey;
use kopuro_trust::signing::{SignatureAlgorithm, Signer};

use crate::anchor::Anchor;
use crate::publish::PublisherKeys;
use crate::record::{Change, Entry, KeyPurpose};
use crate::view::{ApplyError, View};
use crate::{checkpoint, compose};

/// When the tests take place.
pub(crate) const NOW: UnixMillis = UnixMillis::new(1_795_000_000_000);

/// A clock that stands still until it is moved.
#[derive(Clone, Debug)]
pub(crate) struct FixedClock(Arc<AtomicU64>);

impl FixedClock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(NOW.as_u64())))
    }

    pub(crate) fn advance(&self, span: Duration) {
        self.0.store(self.now().plus(span).as_u64(), Ordering::SeqCst);
    }
}

impl Clock for FixedClock {
    fn now(&self) -> UnixMillis {
        UnixMillis::new(self.0.load(Ordering::SeqCst))
    }
}

/// An agency with one system behind one gateway.
#[derive(Clone)]
pub(crate) struct Agency {
    pub(crate) member: MemberId,
    pub(crate) system: SubsystemId,
    pub(crate) gateway: &'static str,
    pub(crate) administration: Arc<Signer>,
}

impl Agency {
    fn new(member: &str, system: &str, gateway: &'static str) -> Self {
        let member = MemberId::parse(member).unwrap();
        Self { system: member.subsystem(system).unwrap(), member, gateway, administration: ecdsa() }
    }
}

/// A view with the agencies in it, and the keys of everybody.
pub(crate) struct World {
    delegated: Arc<[NewKey; 2]>,
    pub(crate) authority: Arc<Signer>,
    pub(crate) checkpoint: Arc<Signer>,
    pub(crate) attestation: Arc<Signer>,
    pub(crate) fund: Agency,
    pub(crate) police: Agency,
    pub(crate) view: View,
    /// The log, entry by entry.
    pub(crate) log: Vec<Bytes>,
}

impl World {
    /// Nothing is registered.
    pub(crate) fn empty() -> Self {
        let authority = ecdsa();
        let view = View::new(anchor_of(&[&authority], 1));
        let delegated =
            [SignatureAlgorithm::Ed25519, SignatureAlgorithm::EcdsaP256Sha256].map(NewKey::signing);
        let [checkpoint, attestation] = delegated.each_ref().map(|key| Arc::new(read(key)));
        Self {
            delegated: Arc::new(delegated),
            authority,
            checkpoint,
            attestation,
            fund: Agency::new("KG/GOV/70000005", "pensions", "fund-1"),
            police: Agency::new("KG/GOV/70000006", "portal", "police-1"),
            view,
            log: Vec::new(),
        }
    }

    /// The registry's keys and both agencies are registered, and the fund owns its package.
    pub(crate) fn new() -> Self {
        let mut world = Self::empty();
        for resource in world.foundations() {
            world.by_authority(resource).unwrap();
        }
        world
    }

    /// What the authority registers first.
    pub(crate) fn foundations(&self) -> Vec<WireResource> {
        let key = |signer: &Signer, purpose| compose::key(signer.public_spki_der(), purpose, validity());
        let mut resources = vec![
            key(&self.checkpoint, KeyPurpose::Checkpoint).build(),
            key(&self.attestation, KeyPurpose::Attestation).build(),
        ];
        for Agency { member, system, gateway, administration } in [&self.fund, &self.police] {
            resources.push(compose::member(member, "an agency", 3));
            resources.push(compose::subsystem(system, "its system"));
            resources.push(compose::gateway(gateway, std::slice::from_ref(member)));
            resources.push(key(administration, KeyPurpose::Administration).of_member(member).build());
        }
        resources.push(compose::package_ownership(&package("kg.socialfund"), &self.fund.member));
        resources
    }

    /// The same world once more, to go another way.
    pub(crate) fn fork(&self) -> Self {
        let same = |signer: &Arc<Signer>| Arc::clone(signer);
        Self {
            delegated: Arc::clone(&self.delegated),
            authority: same(&self.authority),
            checkpoint: same(&self.checkpoint),
            attestation: same(&self.attestation),
            fund: self.fund.clone(),
            police: self.police.clone(),
            view: self.view.clone(),
            log: self.log.clone(),
        }
    }

    /// The keys that the authority delegates, for a publisher.
    pub(crate) fn publisher_keys(&self) -> PublisherKeys {
        let [checkpoint, attestation] = self.delegated.each_ref().map(read);
        PublisherKeys { checkpoint, attestation }
    }

    pub(crate) fn anchor(&self) -> Anchor {
        self.view.anchor().clone()
    }

    /// Signs a record that replaces the latest revision of its resource.
    pub(crate) fn sign(&self, resource: WireResource, signers: &[&Signer]) -> Bytes {
        let replaces = self.view.revision(&name_of(&resource));
        let instance = &self.view.anchor().instance;
        compose::sign_record(instance, replaces, NOW, resource, signers).into()
    }

    /// Signs a record and applies it.
    pub(crate) fn set(&mut self, resource: WireResource, signers: &[&Signer]) -> Result<u64, ApplyError> {
        self.apply(self.sign(resource, signers))
    }

    pub(crate) fn by_authority(&mut self, resource: WireResource) -> Result<u64, ApplyError> {
        self.apply(self.sign(resource, &[&self.authority]))
    }

    pub(crate) fn by_fund(&mut self, resource: WireResource) -> Result<u64, ApplyError> {
        self.apply(self.sign(resource, &[&self.fund.administration]))
    }

    pub(crate) fn apply(&mut self, envelope: Bytes) -> Result<u64, ApplyError> {
        let revision = self.view.apply(&envelope)?;
        self.log.push(envelope);
        Ok(revision)
    }

    pub(crate) fn attest(&mut self, digest: &Digest) -> Result<u64, ApplyError> {
        let instance = &self.view.anchor().instance;
        let envelope = compose::sign_attestation(instance, digest, NOW, &self.attestation);
        self.apply(envelope.into())
    }

    /// The fund's contract, version `version`.
    pub(crate) fn contract(&self, version: u32) -> WireResource {
        let (system, set) = (&self.fund.system, pension_descriptors());
        compose::contract(system, &pension_package(), version, &set).unwrap()
    }

    /// A checkpoint of the log at one size, as its key signs it.
    pub(crate) fn note(&self, size: u64, root: Digest, time: UnixMillis) -> Bytes {
        notes_of(&self.view.anchor().instance, &self.checkpoint, size, root, time)
    }
}

/// A checkpoint under any key.
pub(crate) fn notes_of(
    instance: &Instance,
    signer: &Signer,
    size: u64,
    root: Digest,
    time: UnixMillis,
) -> Bytes {
    let key = checkpoint::log_key(instance, &signer.verifying_key()).unwrap();
    let checkpoint = Checkpoint { origin: key.name().into(), size, root, time, extensions: Vec::new() };
    checkpoint.sign(&key, |bytes| signer.sign(bytes)).unwrap().into()
}

pub(crate) fn anchor_of(authority: &[&Signer], signatures: usize) -> Anchor {
    Anchor {
        instance: Instance::parse("KG").unwrap(),
        authority_keys: authority.iter().map(|signer| signer.verifying_key()).collect(),
        authority_signatures: signatures,
        tls_authorities: vec!["a certificate".into()],
    }
}

pub(crate) fn validity() -> RangeInclusive<UnixMillis> {
    NOW.minus(Duration::from_secs(3_600))..=NOW.plus(Duration::from_secs(3_600))
}

pub(crate) fn ecdsa() -> Arc<Signer> {
    signer(SignatureAlgorithm::EcdsaP256Sha256)
}

pub(crate) fn ed25519() -> Arc<Signer> {
    signer(SignatureAlgorithm::Ed25519)
}

fn signer(algorithm: SignatureAlgorithm) -> Arc<Signer> {
    Arc::new(read(&NewKey::signing(algorithm)))
}

fn read(key: &NewKey) -> Signer {
    Signer::from_pkcs8_der(key.pkcs8_der()).unwrap()
}

pub(crate) fn pension_descriptors() -> Bytes {
    Bytes::from_static(kopuro_proto::examples::kg::socialfund::v1::FILE_DESCRIPTOR_SET)
}

pub(crate) fn pension_package() -> PackageName {
    package("kg.socialfund.v1")
}

pub(crate) fn pension_service() -> ServiceName {
    ServiceName::parse("kg.socialfund.v1.PensionService").unwrap()
}

fn package(name: &str) -> PackageName {
    PackageName::parse(name).unwrap()
}

fn name_of(resource: &WireResource) -> String {
    let probe =
        compose::sign_record(&Instance::parse("KG").unwrap(), None, NOW, resource.clone(), &[&ecdsa()]);
    match Entry::decode(&probe) {
        Ok((_, Entry::Change(Change { resource, .. }))) => resource.name(),
        other => panic!("{other:?}"),
    }
}
