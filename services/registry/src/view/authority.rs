//! Who may make which change.
//!
//! The authority signs membership, trust and global groups; a member's administration key signs its contracts, access
//! rights, local groups and own keys. Every signature on a record must verify, or the record counts for nothing.

use kopuro_core::digest::KeyId;
use kopuro_core::envelope::Envelope;
use kopuro_core::id::MemberId;
use kopuro_core::time::UnixMillis;
use kopuro_trust::signing::VerifyingKey;

use super::{ApplyError, KeyMaterial, View};
use crate::record::{Key, KeyPurpose, KeyState, PackageOwnership, Resource, ResourceState};

/// Who must have signed.
enum MustSign<'a> {
    /// As many of the authority's keys as the anchor asks for.
    Authority,
    /// The member's administration key, and nobody in its stead: nobody else lets callers in to a member's data.
    Member(&'a MemberId),
    /// The member's administration key, or the authority, which can thereby end a key that its member has lost, and no
    /// more: an active key of its own making would speak for the member.
    MemberOrAuthority(&'a MemberId),
}

impl View {
    pub(super) fn check_signatures(
        &self,
        envelope: &Envelope,
        resource: &Resource,
        create_time: UnixMillis,
    ) -> Result<(), ApplyError> {
        self.check_scope(resource)?;
        match self.must_sign(resource)? {
            MustSign::Authority => self.check_authority(envelope, create_time),
            MustSign::Member(member) => self.check_member(envelope, member, create_time),
            MustSign::MemberOrAuthority(member) => match self.check_authority(envelope, create_time) {
                Ok(()) => Ok(()),
                Err(_) => self.check_member(envelope, member, create_time),
            },
        }
    }

    /// Checks that an entry is signed by one key of a purpose that the authority delegates, usable when it was made.
    pub(super) fn check_delegate(
        &self,
        envelope: &Envelope,
        purpose: KeyPurpose,
        create_time: UnixMillis,
    ) -> Result<(), ApplyError> {
        let [signature] = envelope.signatures.as_slice() else {
            return Err(ApplyError::NotAuthorized("one signature is needed"));
        };
        let known = self.keys.get(&signature.key_id);
        let key = known.filter(|known| usable(&known.key, purpose, create_time));
        let key = key.and_then(|known| verifying(&known.material));
        let key =
            key.ok_or(ApplyError::NotAuthorized("the signing key has another purpose or is not active"))?;
        verify(key, envelope, &signature.bytes)
    }

    fn must_sign<'a>(&'a self, resource: &'a Resource) -> Result<MustSign<'a>, ApplyError> {
        match resource {
            Resource::Member(_)
            | Resource::Subsystem(_)
            | Resource::Gateway(_)
            | Resource::PackageOwnership(_) => Ok(MustSign::Authority),
            Resource::Key(key) => Ok(match (&key.purpose, &key.member) {
                (KeyPurpose::Transport | KeyPurpose::Signing | KeyPurpose::Sealing, Some(member)) => {
                    match key.state {
                        KeyState::Active => MustSign::Member(member),
                        KeyState::Retired | KeyState::Revoked => MustSign::MemberOrAuthority(member),
                    }
                }
                (_, _) => MustSign::Authority,
            }),
            Resource::Group(group) => {
                Ok(group.id.member.as_ref().map_or(MustSign::Authority, MustSign::Member))
            }
            Resource::Contract(contract) => self.package_owner(contract).map(MustSign::Member),
            Resource::AccessRight(right) => {
                let subsystem = self.subsystems.get_key_value(&right.provider);
                let member = subsystem.and_then(|(id, _)| self.members.get_key_value(&id.member()));
                member
                    .map(|(member, _)| MustSign::Member(member))
                    .ok_or(ApplyError::Rule("the right is given by a subsystem that is not registered"))
            }
        }
    }

    fn package_owner(&self, contract: &crate::record::Contract) -> Result<&MemberId, ApplyError> {
        let owner = self.owner_of(contract.package.as_str());
        owner.ok_or(ApplyError::NotAuthorized("no member owns the contract's package"))
    }

    /// The member to whom the authority granted the longest prefix of a package. While that grant is suspended,
    /// nobody owns the package; once it is removed, the owner of the next longer prefix does.
    pub(super) fn owner_of(&self, package: &str) -> Option<&MemberId> {
        let mut prefix = package;
        loop {
            let grant = self.packages.get(prefix).map(AsRef::as_ref);
            match grant.map(|PackageOwnership { member, state, .. }| (state, member)) {
                Some((ResourceState::Active, member)) => return Some(member),
                Some((ResourceState::Suspended, _)) => return None,
                Some((ResourceState::Removed, _)) | None => prefix = prefix.rsplit_once('.')?.0,
            }
        }
    }

    /// Whether what a record speaks of lies within the member that it names.
    fn check_scope(&self, resource: &Resource) -> Result<(), ApplyError> {
        match resource {
            Resource::Key(key) => self.check_key_scope(key),
            Resource::Contract(contract) => {
                let owner = self.package_owner(contract)?;
                if contract.subsystem.belongs_to(owner) {
                    Ok(())
                } else {
                    Err(ApplyError::NotAuthorized("the package belongs to another member"))
                }
            }
            Resource::Member(_)
            | Resource::Subsystem(_)
            | Resource::Gateway(_)
            | Resource::PackageOwnership(_)
            | Resource::AccessRight(_)
            | Resource::Group(_) => Ok(()),
        }
    }

    fn check_key_scope(&self, key: &Key) -> Result<(), ApplyError> {
        let gateway = match &key.gateway {
            Some(gateway) => {
                Some(self.gateways.get(gateway).ok_or(ApplyError::Rule("the gateway is not registered"))?)
            }
            None => None,
        };
        let within = key.subsystems.iter().all(|subsystem| match (&key.member, gateway) {
            (Some(member), _) => subsystem.belongs_to(member),
            (None, Some(gateway)) => gateway.members.iter().any(|member| subsystem.belongs_to(member)),
            (None, None) => false,
        });
        let member_at_gateway = match (&key.member, gateway) {
            (Some(member), Some(gateway)) => gateway.members.contains(member),
            (Some(_) | None, _) => true,
        };
        if within && member_at_gateway {
            Ok(())
        } else {
            Err(ApplyError::Rule("the key speaks for a subsystem of another member or gateway"))
        }
    }

    fn check_authority(&self, envelope: &Envelope, create_time: UnixMillis) -> Result<(), ApplyError> {
        let mut verified = 0;
        for signature in &envelope.signatures {
            let key = self.authority_key(&signature.key_id, create_time);
            let key = key.ok_or(ApplyError::NotAuthorized("a signing key is not the authority's"))?;
            verify(key, envelope, &signature.bytes)?;
            verified += 1;
        }
        if verified >= self.anchor.authority_signatures {
            Ok(())
        } else {
            Err(ApplyError::NotAuthorized("too few of the authority's keys have signed"))
        }
    }

    fn check_member(
        &self,
        envelope: &Envelope,
        member: &MemberId,
        create_time: UnixMillis,
    ) -> Result<(), ApplyError> {
        let [signature] = envelope.signatures.as_slice() else {
            return Err(ApplyError::NotAuthorized("one signature of the member is needed"));
        };
        let key = self.administration_key(&signature.key_id, member, create_time);
        let key =
            key.ok_or(ApplyError::NotAuthorized("the signing key is not the member's administration key"))?;
        verify(key, envelope, &signature.bytes)
    }

    fn administration_key(&self, id: &KeyId, member: &MemberId, at: UnixMillis) -> Option<&VerifyingKey> {
        let in_force = self.members.get(member).is_some_and(|known| known.state == ResourceState::Active);
        let known =
            self.keys.get(id).filter(|known| in_force && known.key.member.as_ref() == Some(member))?;
        usable(&known.key, KeyPurpose::Administration, at).then_some(())?;
        verifying(&known.material)
    }

    fn authority_key(&self, id: &KeyId, at: UnixMillis) -> Option<&VerifyingKey> {
        match self.keys.get(id) {
            Some(known) if usable(&known.key, KeyPurpose::Authority, at) => verifying(&known.material),
            Some(_) => None,
            None => self.anchor.authority_keys.iter().find(|key| key.key_id() == *id),
        }
    }
}

fn usable(key: &Key, purpose: KeyPurpose, at: UnixMillis) -> bool {
    key.purpose == purpose && key.state == KeyState::Active && (key.not_before..=key.not_after).contains(&at)
}

fn verifying(material: &KeyMaterial) -> Option<&VerifyingKey> {
    match material {
        KeyMaterial::Verifying(key) => Some(key),
        KeyMaterial::Transport | KeyMaterial::Sealing(_) => None,
    }
}

fn verify(key: &VerifyingKey, envelope: &Envelope, signature: &[u8]) -> Result<(), ApplyError> {
    key.verify(&envelope.signed_bytes(), signature)
        .map_err(|_| ApplyError::NotAuthorized("a signature does not verify"))
}
