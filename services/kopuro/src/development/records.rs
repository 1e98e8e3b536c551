//! The signed records that found a development instance, one file each, in the order in which they are submitted.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use kopuro_core::digest::Digest;
use kopuro_core::id::{Instance, MemberId, SubsystemId};
use kopuro_core::time::UnixMillis;
use kopuro_proto::registry::v1 as wire;
use kopuro_proto::registry::v1::registry_record::Resource;
use kopuro_registry::compose::sign_record;
use kopuro_trust::pki::{NewKey, Validity};
use kopuro_trust::signing::Signer;

use super::agencies::{Agency, ContractSource, Right, System};
use super::{folder, signer};

/// The partitions of each topic of a development member.
const PARTITIONS: u32 = 3;

/// What a delegated key is for.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    Checkpoint,
    Attestation,
}

/// Signs and writes records.
pub(super) struct Records {
    instance: Instance,
    now: UnixMillis,
    validity: Validity,
    authority: Signer,
    administrations: HashMap<MemberId, Signer>,
    folder: PathBuf,
    written: u32,
}

impl Records {
    pub(super) fn new(
        instance: Instance,
        now: UnixMillis,
        validity: Validity,
        authority: Signer,
        folder: PathBuf,
    ) -> Self {
        Self { instance, now, validity, authority, administrations: HashMap::new(), folder, written: 0 }
    }

    pub(super) fn delegate(&mut self, key: &NewKey, purpose: Purpose) -> io::Result<()> {
        let purpose = match purpose {
            Purpose::Checkpoint => wire::KeyPurpose::Checkpoint,
            Purpose::Attestation => wire::KeyPurpose::Attestation,
        };
        let record = self.key(key.spki_der(), purpose, None);
        self.by_authority(Resource::Key(record))
    }

    /// Member, administration key, gateway, subsystems and package of an agency.
    pub(super) fn agency(&mut self, agency: &Agency, administration: &NewKey) -> io::Result<()> {
        let (member, state) = (agency.member(&self.instance), active());
        self.by_authority(Resource::Member(wire::Member {
            id: member.to_string(),
            title: agency.title.into(),
            state,
            partitions: PARTITIONS,
        }))?;
        let key = self.key(administration.spki_der(), wire::KeyPurpose::Administration, Some(&member));
        self.by_authority(Resource::Key(key))?;
        self.by_authority(Resource::Gateway(wire::Gateway {
            id: agency.gateway.into(),
            members: vec![member.to_string()],
            state,
        }))?;
        for system in agency.systems {
            let id = agency.subsystem(&self.instance, system).to_string();
            self.by_authority(Resource::Subsystem(wire::Subsystem {
                id,
                title: system.title.into(),
                state,
            }))?;
        }
        if let Some(package) = agency.package {
            self.by_authority(Resource::PackageOwnership(wire::PackageOwnership {
                package: package.into(),
                member: member.to_string(),
                state,
            }))?;
        }
        self.administrations.insert(member, signer(administration));
        Ok(())
    }

    /// The transport and signing keys of an agency's gateway.
    pub(super) fn gateway_keys(
        &mut self,
        agency: &Agency,
        transport: &[u8],
        signing: &[u8],
    ) -> io::Result<()> {
        let member = agency.member(&self.instance);
        let subsystems: Vec<String> = agency
            .systems
            .iter()
            .map(|system| agency.subsystem(&self.instance, system).to_string())
            .collect();
        for (spki, purpose) in
            [(transport, wire::KeyPurpose::Transport), (signing, wire::KeyPurpose::Signing)]
        {
            let key = wire::Key {
                subsystems: subsystems.clone(),
                gateway: agency.gateway.into(),
                ..self.key(spki, purpose, Some(&member))
            };
            self.by_member(&member, Resource::Key(key))?;
        }
        Ok(())
    }

    /// The transport and sealing keys of a system.
    pub(super) fn system_keys(
        &mut self,
        agency: &Agency,
        system: &System,
        transport: &[u8],
        sealing: &[u8],
    ) -> io::Result<()> {
        let member = agency.member(&self.instance);
        for (spki, purpose) in
            [(transport, wire::KeyPurpose::Transport), (sealing, wire::KeyPurpose::Sealing)]
        {
            let subsystems = vec![agency.subsystem(&self.instance, system).to_string()];
            let key = wire::Key { subsystems, ..self.key(spki, purpose, Some(&member)) };
            self.by_member(&member, Resource::Key(key))?;
        }
        Ok(())
    }

    pub(super) fn contract(
        &mut self,
        agency: &Agency,
        system: &System,
        contract: &ContractSource,
    ) -> io::Result<()> {
        let ContractSource { package, services, descriptor_set } = contract;
        let record = wire::Contract {
            package: (*package).into(),
            subsystem: agency.subsystem(&self.instance, system).to_string(),
            digest: Digest::of(descriptor_set).as_bytes().to_vec(),
            size_bytes: descriptor_set.len() as u64,
            services: services.iter().map(|service| (*service).to_owned()).collect(),
            version: 1,
            state: active(),
            deprecated_after: None,
        };
        self.by_member(&agency.member(&self.instance), Resource::Contract(record))?;
        folder::write_new(&self.folder.join(format!("{:04}.descriptors", self.written)), descriptor_set)
    }

    pub(super) fn right(&mut self, right: &Right) -> io::Result<()> {
        let Right { provider, consumer, service } = right;
        let grantee = wire::grantee::Grantee::Subsystem(consumer.to_string());
        let record = wire::AccessRight {
            provider: provider.to_string(),
            grantee: Some(wire::Grantee { grantee: Some(grantee) }),
            service: (*service).into(),
            state: active(),
            ..wire::AccessRight::default()
        };
        self.by_member(&SubsystemId::member(provider), Resource::AccessRight(record))
    }

    fn key(&self, spki: &[u8], purpose: wire::KeyPurpose, member: Option<&MemberId>) -> wire::Key {
        wire::Key {
            spki: spki.to_vec(),
            purpose: purpose.into(),
            state: wire::KeyState::Active.into(),
            member: member.map(ToString::to_string).unwrap_or_default(),
            not_before: Some(self.validity.not_before.to_proto()),
            not_after: Some(self.validity.not_after.to_proto()),
            ..wire::Key::default()
        }
    }

    fn by_authority(&mut self, resource: Resource) -> io::Result<()> {
        let envelope = sign_record(&self.instance, None, self.now, resource, &[&self.authority]);
        self.write(&envelope)
    }

    fn by_member(&mut self, member: &MemberId, resource: Resource) -> io::Result<()> {
        let administration = &self.administrations[member];
        let envelope = sign_record(&self.instance, None, self.now, resource, &[administration]);
        self.write(&envelope)
    }

    fn write(&mut self, envelope: &[u8]) -> io::Result<()> {
        self.written += 1;
        folder::write_new(&self.folder.join(format!("{:04}.record", self.written)), envelope)
    }
}

fn active() -> i32 {
    wire::ResourceState::Active.into()
}
