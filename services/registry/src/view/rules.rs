//! What a record may say, whoever signed it.

use kopuro_core::id::{MemberId, SubsystemId};
use kopuro_trust::sealing::SealingPublicKey;
use kopuro_trust::signing::{SignatureAlgorithm, VerifyingKey};

use super::{ApplyError, KeyMaterial, View};
use crate::record::{Contract, Key, KeyPurpose, KeyState, Member, Resource};

impl View {
    pub(super) fn check_rules(&self, resource: &Resource) -> Result<(), ApplyError> {
        match resource {
            Resource::Member(member) => self.check_member_rules(member),
            Resource::Subsystem(subsystem) => {
                self.check_instance(&subsystem.id.instance())?;
                self.require_member(&subsystem.id.member())
            }
            Resource::Gateway(gateway) => gateway.members.iter().try_for_each(|id| self.require_member(id)),
            Resource::Key(key) => self.check_key_rules(key),
            Resource::PackageOwnership(ownership) => self.require_member(&ownership.member),
            Resource::Contract(contract) => self.check_contract_rules(contract),
            Resource::AccessRight(right) => self.require_subsystem(&right.provider),
            Resource::Group(group) => {
                group.id.member.as_ref().map_or(Ok(()), |member| self.require_member(member))
            }
        }
    }

    fn check_member_rules(&self, member: &Member) -> Result<(), ApplyError> {
        self.check_instance(&member.id.instance())?;
        match self.members.get(&member.id) {
            Some(known) if known.partitions != member.partitions => {
                Err(ApplyError::Rule("a member's number of partitions is fixed"))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn check_key_rules(&self, key: &Key) -> Result<(), ApplyError> {
        if let Some(known) = self.keys.get(&key.id) {
            let Key { purpose, member, state, .. } = &known.key;
            if *purpose != key.purpose || *member != key.member {
                return Err(ApplyError::Rule("a key keeps its purpose and its member"));
            }
            if *state == KeyState::Revoked {
                return Err(ApplyError::Rule("a revoked key stays revoked"));
            }
        }
        // A key is registered without proof of its possession: a member could otherwise take the authority's away by
        // registering it as its own.
        if key.purpose != KeyPurpose::Authority && self.anchors(key) {
            return Err(ApplyError::Rule("the key is the authority's"));
        }
        key.member.as_ref().map_or(Ok(()), |member| self.require_member(member))?;
        key.subsystems.iter().try_for_each(|subsystem| self.require_subsystem(subsystem))?;
        ready(key).map(drop)
    }

    fn anchors(&self, key: &Key) -> bool {
        self.anchor.authority_keys.iter().any(|known| known.key_id() == key.id)
    }

    fn check_contract_rules(&self, contract: &Contract) -> Result<(), ApplyError> {
        self.require_subsystem(&contract.subsystem)?;
        let versions = self.contracts.get(&contract.subsystem).map_or([].as_slice(), Vec::as_slice);
        let same = |known: &&_| {
            let Contract { package, version, .. } = std::sync::Arc::as_ref(known);
            *package == contract.package && *version == contract.version
        };
        match versions.iter().find(same) {
            Some(known) if known.digest != contract.digest || known.services != contract.services => {
                Err(ApplyError::Rule("a contract version keeps its descriptor set and its services"))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn require_member(&self, member: &MemberId) -> Result<(), ApplyError> {
        if self.members.contains_key(member) {
            Ok(())
        } else {
            Err(ApplyError::Rule("the member is not registered"))
        }
    }

    fn require_subsystem(&self, subsystem: &SubsystemId) -> Result<(), ApplyError> {
        if self.subsystems.contains_key(subsystem) {
            Ok(())
        } else {
            Err(ApplyError::Rule("the subsystem is not registered"))
        }
    }
}

/// Makes a key ready for its purpose.
pub(super) fn ready(key: &Key) -> Result<KeyMaterial, ApplyError> {
    let unusable = ApplyError::Rule("the public key is of no kind that its purpose uses");
    let material = match key.purpose {
        KeyPurpose::Transport => Some(KeyMaterial::Transport),
        KeyPurpose::Sealing => SealingPublicKey::from_spki_der(&key.spki).ok().map(KeyMaterial::Sealing),
        // Checkpoints are signed notes, which know no P-256.
        KeyPurpose::Checkpoint => verifying(key)
            .filter(|key| key.algorithm() == SignatureAlgorithm::Ed25519)
            .map(KeyMaterial::Verifying),
        KeyPurpose::Signing
        | KeyPurpose::Administration
        | KeyPurpose::Attestation
        | KeyPurpose::Authority => verifying(key).map(KeyMaterial::Verifying),
    };
    material.ok_or(unusable)
}

fn verifying(key: &Key) -> Option<VerifyingKey> {
    VerifyingKey::from_spki_der(&key.spki).ok()
}
