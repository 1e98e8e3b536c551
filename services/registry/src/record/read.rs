//! From wire records to types. Every wire type is taken apart in full, so a new field does not compile unread.

use kopuro_core::digest::{Digest, KeyId};
use kopuro_core::id::{IdError, Instance, MemberId, MethodId, PackageName, ServiceName, SubsystemId};
use kopuro_core::time::UnixMillis;
use kopuro_proto::registry::v1 as wire;
use kopuro_proto::registry::v1::registry_record::Resource as WireResource;
use prost_types::Timestamp;

use super::resource::{
    AccessRight, Contract, Gateway, Grantee, Group, GroupId, Key, KeyPurpose, KeyState, Member,
    PackageOwnership, Resource, ResourceState, Subsystem,
};
use super::{Change, Entry, RecordError, is_label};

const TITLE_LEN_MAX: usize = 200;
const SPKI_LEN_MAX: usize = 1024;
const PARTITIONS_MAX: u32 = 64;
const LIST_LEN_MAX: usize = 10_000;

type Read<T> = Result<T, RecordError>;

pub(super) fn change(record: wire::RegistryRecord) -> Read<Change> {
    let wire::RegistryRecord { instance, replaces, create_time, resource } = record;
    let instance = id(Instance::parse(&instance), "instance")?;
    let resource = read_resource(resource.ok_or(RecordError::Field("resource"))?)?;
    let create_time = required_time(create_time.as_ref(), "create_time")?;
    Ok(Change { instance, replaces, create_time, resource })
}

pub(super) fn attestation(attestation: &wire::Attestation) -> Read<Entry> {
    let wire::Attestation { instance, digest, create_time } = attestation;
    let create_time = required_time(create_time.as_ref(), "create_time")?;
    let instance = id(Instance::parse(instance), "instance")?;
    Ok(Entry::Attestation { instance, digest: read_digest(digest)?, create_time })
}

fn read_resource(resource: WireResource) -> Read<Resource> {
    match resource {
        WireResource::Member(member) => read_member(member).map(Resource::Member),
        WireResource::Subsystem(subsystem) => read_subsystem(subsystem).map(Resource::Subsystem),
        WireResource::Gateway(gateway) => read_gateway(gateway).map(Resource::Gateway),
        WireResource::Key(key) => read_key(key).map(Resource::Key),
        WireResource::PackageOwnership(ownership) => {
            read_ownership(&ownership).map(Resource::PackageOwnership)
        }
        WireResource::Contract(contract) => read_contract(&contract).map(Resource::Contract),
        WireResource::AccessRight(right) => read_right(right).map(Resource::AccessRight),
        WireResource::Group(group) => read_group(&group).map(Resource::Group),
        // Policies are reserved: nothing reads them yet, so none may enter the log and be thought to hold.
        WireResource::Policy(_) => Err(RecordError::Field("policy")),
    }
}

fn read_member(member: wire::Member) -> Read<Member> {
    let wire::Member { id: text, title, state, partitions } = member;
    require((1..=PARTITIONS_MAX).contains(&partitions), "partitions")?;
    let id = id(MemberId::parse(&text), "id")?;
    Ok(Member { id, title: read_title(title)?, state: read_state(state)?, partitions })
}

fn read_subsystem(subsystem: wire::Subsystem) -> Read<Subsystem> {
    let wire::Subsystem { id: text, title, state } = subsystem;
    Ok(Subsystem {
        id: id(SubsystemId::parse(&text), "id")?,
        title: read_title(title)?,
        state: read_state(state)?,
    })
}

fn read_gateway(gateway: wire::Gateway) -> Read<Gateway> {
    let wire::Gateway { id, members, state } = gateway;
    Ok(Gateway { id: read_label(id)?, members: read_members(&members)?, state: read_state(state)? })
}

fn read_key(key: wire::Key) -> Read<Key> {
    let wire::Key { spki, purpose, state, member, subsystems, gateway, not_before, not_after, title } = key;
    read_title(title)?;
    require(!spki.is_empty() && spki.len() <= SPKI_LEN_MAX, "spki")?;
    let not_before = required_time(not_before.as_ref(), "not_before")?;
    let not_after = required_time(not_after.as_ref(), "not_after")?;
    require(not_after > not_before, "not_after")?;
    let key = Key {
        id: KeyId::of_spki(&spki),
        spki,
        purpose: read_purpose(purpose)?,
        state: read_key_state(state)?,
        member: optional_member(&member)?,
        subsystems: read_subsystems(&subsystems)?,
        gateway: if gateway.is_empty() { None } else { Some(read_label(gateway)?) },
        not_before,
        not_after,
    };
    require(speaks_as_its_purpose(&key), "purpose")?;
    Ok(key)
}

/// Whether a key names whom it speaks for exactly where its purpose is to speak for somebody.
fn speaks_as_its_purpose(key: &Key) -> bool {
    let for_nobody = key.subsystems.is_empty() && key.gateway.is_none();
    match key.purpose {
        KeyPurpose::Transport => true,
        KeyPurpose::Signing | KeyPurpose::Sealing => !key.subsystems.is_empty(),
        KeyPurpose::Administration => for_nobody && key.member.is_some(),
        KeyPurpose::Checkpoint | KeyPurpose::Attestation | KeyPurpose::Authority => {
            for_nobody && key.member.is_none()
        }
    }
}

fn read_ownership(ownership: &wire::PackageOwnership) -> Read<PackageOwnership> {
    let wire::PackageOwnership { package, member, state } = ownership;
    Ok(PackageOwnership {
        package: id(PackageName::parse(package), "package")?,
        member: id(MemberId::parse(member), "member")?,
        state: read_state(*state)?,
    })
}

fn read_contract(contract: &wire::Contract) -> Read<Contract> {
    let wire::Contract { package, subsystem, digest, size_bytes, services, version, state, deprecated_after } =
        contract;
    let package = id(PackageName::parse(package), "package")?;
    let services = bounded(services)?
        .iter()
        .map(|service| id(ServiceName::parse(service), "services"))
        .collect::<Read<Vec<_>>>()?;
    require(!services.is_empty() && services.iter().all(|service| service.package() == package), "services")?;
    require(*version > 0, "version")?;
    Ok(Contract {
        package,
        subsystem: id(SubsystemId::parse(subsystem), "subsystem")?,
        digest: read_digest(digest)?,
        size_bytes: *size_bytes,
        services,
        version: *version,
        state: read_state(*state)?,
        deprecated_after: optional_time(deprecated_after.as_ref(), "deprecated_after")?,
    })
}

fn read_right(right: wire::AccessRight) -> Read<AccessRight> {
    let wire::AccessRight {
        provider,
        grantee,
        service,
        method,
        state,
        not_before,
        not_after,
        contract_version_min,
    } = right;
    let service = id(ServiceName::parse(&service), "service")?;
    if !method.is_empty() {
        id(MethodId::new(service.clone(), &method), "method")?;
    }
    Ok(AccessRight {
        provider: id(SubsystemId::parse(&provider), "provider")?,
        grantee: read_grantee(grantee)?,
        service,
        method: (!method.is_empty()).then_some(method),
        state: read_state(state)?,
        not_before: optional_time(not_before.as_ref(), "not_before")?,
        not_after: optional_time(not_after.as_ref(), "not_after")?,
        contract_version_min,
    })
}

fn read_grantee(grantee: Option<wire::Grantee>) -> Read<Grantee> {
    let wire::Grantee { grantee } = grantee.ok_or(RecordError::Field("grantee"))?;
    match grantee.ok_or(RecordError::Field("grantee"))? {
        wire::grantee::Grantee::Subsystem(text) => {
            id(SubsystemId::parse(&text), "grantee.subsystem").map(Grantee::Subsystem)
        }
        wire::grantee::Grantee::Group(text) => {
            let (member, name) = text.rsplit_once('/').unwrap_or(("", &text));
            let member = optional_member(member)?;
            Ok(Grantee::Group(GroupId { member, name: read_label(name.to_owned())? }))
        }
    }
}

fn read_group(group: &wire::Group) -> Read<Group> {
    let wire::Group { id, member, subsystems, state } = group;
    let id = GroupId { member: optional_member(member)?, name: read_label(id.clone())? };
    Ok(Group { id, subsystems: read_subsystems(subsystems)?, state: read_state(*state)? })
}

fn read_state(state: i32) -> Read<ResourceState> {
    match wire::ResourceState::try_from(state) {
        Ok(wire::ResourceState::Active) => Ok(ResourceState::Active),
        Ok(wire::ResourceState::Suspended) => Ok(ResourceState::Suspended),
        Ok(wire::ResourceState::Removed) => Ok(ResourceState::Removed),
        Ok(wire::ResourceState::Unspecified) | Err(_) => Err(RecordError::Field("state")),
    }
}

fn read_key_state(state: i32) -> Read<KeyState> {
    match wire::KeyState::try_from(state) {
        Ok(wire::KeyState::Active) => Ok(KeyState::Active),
        Ok(wire::KeyState::Retired) => Ok(KeyState::Retired),
        Ok(wire::KeyState::Revoked) => Ok(KeyState::Revoked),
        Ok(wire::KeyState::Unspecified) | Err(_) => Err(RecordError::Field("state")),
    }
}

fn read_purpose(purpose: i32) -> Read<KeyPurpose> {
    match wire::KeyPurpose::try_from(purpose) {
        Ok(wire::KeyPurpose::Transport) => Ok(KeyPurpose::Transport),
        Ok(wire::KeyPurpose::Signing) => Ok(KeyPurpose::Signing),
        Ok(wire::KeyPurpose::Sealing) => Ok(KeyPurpose::Sealing),
        Ok(wire::KeyPurpose::Administration) => Ok(KeyPurpose::Administration),
        Ok(wire::KeyPurpose::Checkpoint) => Ok(KeyPurpose::Checkpoint),
        Ok(wire::KeyPurpose::Attestation) => Ok(KeyPurpose::Attestation),
        Ok(wire::KeyPurpose::Authority) => Ok(KeyPurpose::Authority),
        Ok(wire::KeyPurpose::Unspecified) | Err(_) => Err(RecordError::Field("purpose")),
    }
}

fn read_members(members: &[String]) -> Read<Vec<MemberId>> {
    bounded(members)?.iter().map(|member| id(MemberId::parse(member), "members")).collect()
}

fn read_subsystems(subsystems: &[String]) -> Read<Vec<SubsystemId>> {
    bounded(subsystems)?.iter().map(|subsystem| id(SubsystemId::parse(subsystem), "subsystems")).collect()
}

fn optional_member(text: &str) -> Read<Option<MemberId>> {
    if text.is_empty() { Ok(None) } else { id(MemberId::parse(text), "member").map(Some) }
}

fn read_title(title: String) -> Read<String> {
    let valid = title.len() <= TITLE_LEN_MAX && !title.chars().any(char::is_control);
    if valid { Ok(title) } else { Err(RecordError::Field("title")) }
}

fn read_label(label: String) -> Read<String> {
    if is_label(&label) { Ok(label) } else { Err(RecordError::Field("id")) }
}

fn read_digest(bytes: &[u8]) -> Read<Digest> {
    Digest::from_slice(bytes).ok_or(RecordError::Field("digest"))
}

fn required_time(timestamp: Option<&Timestamp>, field: &'static str) -> Read<UnixMillis> {
    optional_time(timestamp, field)?.ok_or(RecordError::Field(field))
}

fn optional_time(timestamp: Option<&Timestamp>, field: &'static str) -> Read<Option<UnixMillis>> {
    timestamp.map(|timestamp| UnixMillis::from_proto(timestamp).ok_or(RecordError::Field(field))).transpose()
}

fn bounded<T>(list: &[T]) -> Read<&[T]> {
    if list.len() <= LIST_LEN_MAX { Ok(list) } else { Err(RecordError::Size) }
}

fn id<T>(parsed: Result<T, IdError>, field: &'static str) -> Read<T> {
    parsed.map_err(|_| RecordError::Field(field))
}

fn require(holds: bool, field: &'static str) -> Read<()> {
    if holds { Ok(()) } else { Err(RecordError::Field(field)) }
}
