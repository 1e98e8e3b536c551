//! What the registry knows, as types.

use std::fmt;

use kopuro_core::digest::{Digest, KeyId};
use kopuro_core::id::{MemberId, PackageName, ServiceName, SubsystemId};
use kopuro_core::time::UnixMillis;

/// Whether a resource is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResourceState {
    /// In force.
    Active,
    /// Out of force; it may come back.
    Suspended,
    /// Gone.
    Removed,
}

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyPurpose {
    /// TLS connections.
    Transport,
    /// Statements of a gateway replica.
    Signing,
    /// Content sealed to a subsystem.
    Sealing,
    /// A member's own records.
    Administration,
    /// Checkpoints of the registry.
    Checkpoint,
    /// Attestations of vetted contracts.
    Attestation,
    /// The authority's own records.
    Authority,
}

/// Whether a key may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyState {
    /// For new and existing messages.
    Active,
    /// For existing messages only.
    Retired,
    /// For nothing.
    Revoked,
}

/// An agency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its identifier.
    pub id: MemberId,
    /// Its name for people.
    pub title: String,
    /// Whether it takes part.
    pub state: ResourceState,
    /// The number of partitions of its topics, 1 to 64.
    pub partitions: u32,
}

/// An information system of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subsystem {
    /// Its identifier.
    pub id: SubsystemId,
    /// Its name for people.
    pub title: String,
    /// Whether it takes part.
    pub state: ResourceState,
}

/// A node that speaks for members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Its name.
    pub id: String,
    /// The members it may speak for.
    pub members: Vec<MemberId>,
    /// Whether it takes part.
    pub state: ResourceState,
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// SHA-256 of the DER SubjectPublicKeyInfo.
    pub id: KeyId,
    /// The DER SubjectPublicKeyInfo.
    pub spki: Vec<u8>,
    /// What it is for.
    pub purpose: KeyPurpose,
    /// Whether it may be used.
    pub state: KeyState,
    /// The member it belongs to; none for the authority's own and for a gateway of several members.
    pub member: Option<MemberId>,
    /// The subsystems it speaks for.
    pub subsystems: Vec<SubsystemId>,
    /// The gateway that holds it; none for an agency's own system.
    pub gateway: Option<String>,
    /// Not used before.
    pub not_before: UnixMillis,
    /// Not used after.
    pub not_after: UnixMillis,
}

/// Ownership of a protobuf package and what lies beneath it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageOwnership {
    /// The package.
    pub package: PackageName,
    /// Its owner.
    pub member: MemberId,
    /// Whether the grant is in force.
    pub state: ResourceState,
}

/// A contract version that a subsystem offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contract {
    /// The package.
    pub package: PackageName,
    /// The subsystem that offers it.
    pub subsystem: SubsystemId,
    /// The descriptor set's digest.
    pub digest: Digest,
    /// The descriptor set's size. **Units:** bytes.
    pub size_bytes: u64,
    /// The services offered.
    pub services: Vec<ServiceName>,
    /// The version's number, from 1.
    pub version: u32,
    /// Whether the version is in force.
    pub state: ResourceState,
    /// After this the version is no longer served.
    pub deprecated_after: Option<UnixMillis>,
}

/// Names a group: global, or local to a member. Written `name` or `KG/GOV/70000005/name`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GroupId {
    /// The member of a local group.
    pub member: Option<MemberId>,
    /// The group's own name.
    pub name: String,
}

impl fmt::Display for GroupId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.member {
            Some(member) => write!(formatter, "{member}/{}", self.name),
            None => formatter.write_str(&self.name),
        }
    }
}

/// Who is let in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Grantee {
    /// One subsystem.
    Subsystem(SubsystemId),
    /// All subsystems of a group.
    Group(GroupId),
}

impl fmt::Display for Grantee {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subsystem(subsystem) => write!(formatter, "{subsystem}"),
            Self::Group(group) => write!(formatter, "group:{group}"),
        }
    }
}

/// A provider's permission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRight {
    /// The subsystem that lets in.
    pub provider: SubsystemId,
    /// Who is let in.
    pub grantee: Grantee,
    /// The service.
    pub service: ServiceName,
    /// The method; none for all of the service.
    pub method: Option<String>,
    /// Whether the right is in force.
    pub state: ResourceState,
    /// Not in force before.
    pub not_before: Option<UnixMillis>,
    /// Not in force after.
    pub not_after: Option<UnixMillis>,
    /// The lowest contract version that may be called.
    pub contract_version_min: u32,
}

/// A named set of subsystems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub id: GroupId,
    /// The subsystems in it.
    pub subsystems: Vec<SubsystemId>,
    /// Whether it is in force.
    pub state: ResourceState,
}

/// Anything a record can set.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each variant is the type of its name")]
pub enum Resource {
    Member(Member),
    Subsystem(Subsystem),
    Gateway(Gateway),
    Key(Key),
    PackageOwnership(PackageOwnership),
    Contract(Contract),
    AccessRight(AccessRight),
    Group(Group),
}

impl Resource {
    /// The resource's name, unique in the instance; two records with one name set the same resource.
    pub fn name(&self) -> String {
        match self {
            Self::Member(member) => format!("member/{}", member.id),
            Self::Subsystem(subsystem) => format!("subsystem/{}", subsystem.id),
            Self::Gateway(gateway) => format!("gateway/{}", gateway.id),
            Self::Key(key) => format!("key/{}", key.id),
            Self::PackageOwnership(ownership) => format!("package/{}", ownership.package),
            Self::Contract(contract) => {
                format!("contract/{}/{}/{}", contract.subsystem, contract.package, contract.version)
            }
            Self::AccessRight(right) => {
                let method = right.method.as_deref().unwrap_or("*");
                format!("right/{}/{}/{method}/{}", right.provider, right.service, right.grantee)
            }
            Self::Group(group) => format!("group/{}", group.id),
        }
    }
}
